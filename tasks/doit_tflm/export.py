"""What other build systems take from a build: the C sources in a directory of theirs, and what these depend on.

A build system runs `export` when one of the dependencies is newer than the stamp, and finds them in the depfile,
which is written anew each time: the specifications, the archives, and all that was read on the way.
"""

from __future__ import annotations

import glob
import io
import json
import os
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from doit_tflm.actions import Stage
from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import Stamp, digest_bytes, replacing, stamp, write_if_changed
from doit_tflm.journal import Journal
from doit_tflm.observe import input_file
from doit_tflm.plan import resolver_stage, stages
from doit_tflm.project import inside, run_doit

__all__ = [
    "Built",
    "build_sources",
    "built",
    "put_sources",
    "render_depfile",
    "stale_sources",
    "write_stamp",
]

_ASIDE = ("accuracy", "evaluate", "report", "train")
"""Stages that no C source needs, unless the specification asks for them."""
_ATTEMPTS = 3
_LISTING = ".doit-tflm.json"
"""What an export put into a directory: digests by file name."""


@dataclass
class Built:
    """C sources that are up to date.

    Attributes
    ----------
    sources : dict of str to bytes
        By file name.
    dependencies : list of str
        Absolute paths of the files and directories that decide them, sorted.
    began_ns : int
        When the build began, in ns of the file system's clock. None of the dependencies was written since.
    """

    sources: dict[str, bytes] = field(default_factory=dict)
    dependencies: list[str] = field(default_factory=list)
    began_ns: int = 0


def build_sources(root: Path, names: Sequence[str], output: TextIO) -> tuple[Built, int]:
    """Build models, and return their C sources.

    A dependency that is written while the build runs would look older than what is made of it. The archives are
    written by the build itself. So it is repeated, which takes no time, until nothing is written any more.

    Parameters
    ----------
    root : Path
        The project's directory.
    names : sequence of str
        The models.
    output : TextIO
        Where the line of each stage goes.

    Returns
    -------
    built, code
        The sources, none if the build failed; and doit's exit code.
    """
    before: dict[str, Stamp | None] = {}
    with inside(root):
        config = read_config()
        for attempt in range(_ATTEMPTS):
            began_ns = _now_ns(config)
            console = io.StringIO() if attempt else output
            code = run_doit(config, names, console)
            if code:
                output.write(console.getvalue() if isinstance(console, io.StringIO) and attempt else "")
                return Built(), code
            found = built(config, names)
            now = {path: stamp(path) for path in found.dependencies}
            late = [path for path in now if _mtime_ns(path) >= began_ns]
            found.began_ns = began_ns
            if all(path in before and before[path] == now[path] for path in late):
                break
            before = now
    return found, 0


def built(config: Config, names: Sequence[str]) -> Built:
    """Return the C sources of models of the project in the current directory, as the last build left them.

    Raises
    ------
    UserError
        If a model was not built, or a source was changed since.
    """
    journal = Journal(config.journal)
    journal.lock.acquire()
    try:
        journal.refresh()
        found = Built()
        inputs: set[str] = {"pyproject.toml"}
        for stage, record in _records(journal, names, config):
            inputs |= {*stage.inputs, *record["inputs"]}
            if stage.verb in ("header", "resolver"):
                found.sources |= dict(_read(path, digest) for path, digest in _sources(record))
        found.dependencies = sorted(_files_behind(inputs, config))
        return found
    finally:
        journal.lock.release()


def _records(journal: Journal, names: Sequence[str], config: Config) -> Iterable[tuple[Stage, dict[str, Any]]]:
    """Yield what decides the sources of models: stages, and what is recorded of them."""
    for name in names:
        found = {stage.task: stage for stage in stages(config.spec_of(name), config)}
        first = journal.get(f"spec:{name}", "_values_:") or {}
        for task, stage in found.items():
            if task.partition(":")[0] in _ASIDE and task not in first.get("task_dep", ()):
                continue
            yield stage, _record(journal, task, name)
    for program, models in sorted(config.programs.items()):
        if {*models} <= {*names}:
            stage = resolver_stage(program, models, config)
            yield stage, _record(journal, stage.task, program)


def _record(journal: Journal, task: str, name: str) -> dict[str, Any]:
    record: dict[str, Any] | None = journal.get(task, "_values_:")
    if record is None:
        raise UserError("was not built", name, "run `doit quantize` first")
    return record


def _sources(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the paths and digests of the C sources among a stage's outputs."""
    return [(path, digest) for path, digest in record["outputs"].items() if not path.endswith(".json")]


def _read(path: str, digest: str) -> tuple[str, bytes]:
    """Return a source's file name and bytes, if it is what the build left."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        data = b""
    if digest_bytes(data) != digest:
        raise UserError("is not what the build wrote", path, "run `doit quantize` again")
    return os.path.basename(path), data


def _files_behind(inputs: Iterable[str], config: Config) -> Iterable[str]:
    """Yield the absolute paths behind keys, without what the build makes itself: it follows from the rest."""
    own = os.path.abspath(config.build_dir) + os.sep
    for key in inputs:
        kind, _, rest = key.partition(":")
        if kind == "glob":
            paths = [os.path.abspath(directory) for directory in _directories(rest)]
        elif kind == "version":
            paths = [str(_version_file(rest))]
        else:
            file = input_file(key)
            paths = [os.path.abspath(file)] if file else []
        yield from (path for path in paths if os.path.exists(path) and not f"{path}{os.sep}".startswith(own))


def _directories(pattern: str) -> set[str]:
    """Return the directories whose listing decides what matches a glob, also those without a match yet."""
    found: set[str] = set()
    above = f"{pattern}/" if os.path.basename(pattern) == "**" else pattern
    while glob.has_magic(above):
        above = os.path.dirname(above)
        found |= {os.path.normpath(path) for path in glob.glob(os.path.join(above, ""), recursive=True)}
    if above == pattern:
        above = os.path.dirname(above)
    while above and not os.path.isdir(above):
        above = os.path.dirname(above)
    return found | {os.path.normpath(above)}


def _version_file(package: str) -> Path:
    """Return a file that is replaced when a package is installed in another version.

    Where there is none, it is the directory that packages are installed into.
    """
    if package == "doit-tflm":
        return Path(__file__).with_name("_version.py")
    site = Path(sysconfig.get_path("purelib"))
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return site
    # The usual place, which saves reading the list of thousands of files.
    usual = f"{package.replace('-', '_')}-{distribution.version}.dist-info/METADATA"
    path = Path(str(distribution.locate_file(usual)))
    if not path.is_file():
        listed = (file for file in distribution.files or () if file.name in ("METADATA", "PKG-INFO"))
        path = next((Path(str(file.locate())) for file in listed), site)
    return path


def _now_ns(config: Config) -> int:
    """Return the time as the file system tells it, which ticks more slowly than the clock."""
    Path(config.build_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=config.build_dir) as probe:
        return os.fstat(probe.fileno()).st_mtime_ns


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def put_sources(sources: dict[str, bytes], directory: Path) -> list[str]:
    """Make a directory hold the sources, and no longer what an earlier export put there beside them.

    Unchanged files are left alone.

    Returns
    -------
    list of str
        The names of files that were written or removed, sorted.
    """
    listing = directory / _LISTING
    former: dict[str, str] = json.loads(listing.read_bytes()) if listing.exists() else {}
    now = {name: digest_bytes(data) for name, data in sources.items()}
    gone = [name for name in former if name not in now and (directory / name).is_file()]
    write_if_changed(listing, (json.dumps({**former, **now}, indent=2, sort_keys=True) + "\n").encode())
    changed = [name for name, data in sources.items() if write_if_changed(directory / name, data)]
    for name in gone:
        if digest_bytes((directory / name).read_bytes()) == former[name]:
            (directory / name).unlink()
            changed.append(name)
    write_if_changed(listing, (json.dumps(now, indent=2, sort_keys=True) + "\n").encode())
    return sorted(changed)


def stale_sources(sources: dict[str, bytes], directory: Path) -> list[str]:
    """Return the names of files that `put_sources` would write or remove, sorted."""
    listing = directory / _LISTING
    former: dict[str, str] = json.loads(listing.read_bytes()) if listing.exists() else {}
    wrong = [name for name, data in sources.items() if not _holds(directory / name, data)]
    return sorted(wrong + [name for name in former if name not in sources and (directory / name).exists()])


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def render_depfile(target: str, dependencies: Sequence[str]) -> str:
    """Return a Makefile rule without commands, as compilers write for ``-MD``.

    Parameters
    ----------
    target : str
        What depends on them.
    dependencies : sequence of str
        Paths. A path with a line break cannot be written, and is left out.
    """
    paths = [_escaped(path) for path in dependencies if "\n" not in path]
    return " \\\n  ".join([f"{_escaped(target)}:", *paths]) + "\n"


def _escaped(path: str) -> str:
    """Return a path as Make and Ninja read it in a depfile."""
    return path.replace(" ", "\\ ").replace("#", "\\#").replace("$", "$$")


def write_stamp(path: Path, found: Built) -> None:
    """Write a file as old as the build's beginning; it lists the sources, as comments that Make can include."""
    with replacing(path) as stream:
        stream.write("".join(f"# {name}\n" for name in sorted(found.sources)).encode())
        stream.flush()
        os.utime(stream.fileno(), ns=(found.began_ns, found.began_ns))
