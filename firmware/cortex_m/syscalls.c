/* syscalls.c: what newlib asks of a system, for libraries that bring stdio along, as TensorFlow Lite Micro's
 * DebugLog() does. Text goes to the console. There are no files. Programs without stdio link none of this.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "console.h"
#include "semihosting.h"

/* newlib's small stdio allocates its FILE objects and a buffer, and writes to address 0 where it cannot. */
#define HEAP_BYTES 4096

int _close(int file);
int _fstat(int file, struct stat *status);
int _getpid(void);
int _isatty(int file);
int _kill(int process, int signal);
off_t _lseek(int file, off_t offset, int whence);
int _read(int file, char *bytes, int count);
void *_sbrk(ptrdiff_t increment);
int _write(int file, const char *bytes, int count);
void _exit(int code);

int _write(int file, const char *bytes, int count)
{
    char text[64];
    size_t left = (size_t)count;

    (void)file;
    while (left > 0u) {
        const size_t part = (left < sizeof(text) - 1u) ? left : sizeof(text) - 1u;
        (void)memcpy(text, bytes, part);
        text[part] = '\0';
        console_text(text);
        bytes += part;
        left -= part;
    }
    return count;
}

void *_sbrk(ptrdiff_t increment)
{
    static char heap[HEAP_BYTES] __attribute__((aligned(8)));
    static ptrdiff_t used;
    void *start = (void *)-1;

    if ((increment <= HEAP_BYTES - used) && (increment >= -used)) {
        start = &heap[used];
        used += increment;
    } else {
        errno = ENOMEM;
    }
    return start;
}

int _fstat(int file, struct stat *status)
{
    (void)file;
    status->st_mode = S_IFCHR;
    return 0;
}

int _isatty(int file)
{
    (void)file;
    return 1;
}

int _close(int file)
{
    (void)file;
    errno = EBADF;
    return -1;
}

off_t _lseek(int file, off_t offset, int whence)
{
    (void)file;
    (void)offset;
    (void)whence;
    errno = ESPIPE;
    return -1;
}

int _read(int file, char *bytes, int count)
{
    (void)file;
    (void)bytes;
    (void)count;
    return 0;
}

int _getpid(void)
{
    return 1;
}

int _kill(int process, int signal)
{
    (void)process;
    (void)signal;
    errno = EINVAL;
    return -1;
}

void _exit(int code)
{
    semihosting_exit(code);
}
