/* sha256.c: the functions and constants have the names and numbers that FIPS 180-4 gives them. */
#include "sha256.h"

#include <string.h>

#define BLOCK_BYTES 64u
#define LENGTH_BYTES 8u
#define ROUNDS 64u
#define WORDS 8u

static const uint32_t k_constants[ROUNDS] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};

static uint32_t rotr(uint32_t x, unsigned n)
{
    return (x >> n) | (x << (32u - n));
}

static uint32_t load_be32(const uint8_t *bytes)
{
    return ((uint32_t)bytes[0] << 24) | ((uint32_t)bytes[1] << 16) | ((uint32_t)bytes[2] << 8) | (uint32_t)bytes[3];
}

static void store_be32(uint8_t *bytes, uint32_t word)
{
    bytes[0] = (uint8_t)(word >> 24);
    bytes[1] = (uint8_t)(word >> 16);
    bytes[2] = (uint8_t)(word >> 8);
    bytes[3] = (uint8_t)word;
}

static void add_block(uint32_t state[WORDS], const uint8_t *block)
{
    uint32_t w[ROUNDS];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

    for (unsigned t = 0u; t < 16u; t++) {
        w[t] = load_be32(&block[4u * t]);
    }
    for (unsigned t = 16u; t < ROUNDS; t++) {
        const uint32_t sigma0 = rotr(w[t - 15u], 7u) ^ rotr(w[t - 15u], 18u) ^ (w[t - 15u] >> 3);
        const uint32_t sigma1 = rotr(w[t - 2u], 17u) ^ rotr(w[t - 2u], 19u) ^ (w[t - 2u] >> 10);
        w[t] = sigma1 + w[t - 7u] + sigma0 + w[t - 16u];
    }
    for (unsigned t = 0u; t < ROUNDS; t++) {
        const uint32_t sum1 = rotr(e, 6u) ^ rotr(e, 11u) ^ rotr(e, 25u);
        const uint32_t ch = (e & f) ^ (~e & g);
        const uint32_t t1 = h + sum1 + ch + k_constants[t] + w[t];
        const uint32_t sum0 = rotr(a, 2u) ^ rotr(a, 13u) ^ rotr(a, 22u);
        const uint32_t maj = (a & b) ^ (a & c) ^ (b & c);
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + sum0 + maj;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void sha256(const uint8_t *data, size_t size, uint8_t digest[SHA256_BYTES])
{
    uint32_t state[WORDS] = {
        0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
    };
    const uint64_t bits = (uint64_t)size * 8u;
    uint8_t last[2u * BLOCK_BYTES] = {0};
    size_t left = size;
    size_t last_bytes;

    for (; left >= BLOCK_BYTES; left -= BLOCK_BYTES) {
        add_block(state, data);
        data += BLOCK_BYTES;
    }
    if (left > 0u) {
        (void)memcpy(last, data, left);
    }
    last[left] = 0x80u;
    last_bytes = (left + 1u + LENGTH_BYTES <= BLOCK_BYTES) ? BLOCK_BYTES : 2u * BLOCK_BYTES;
    store_be32(&last[last_bytes - 8u], (uint32_t)(bits >> 32));
    store_be32(&last[last_bytes - 4u], (uint32_t)bits);
    for (size_t at = 0u; at < last_bytes; at += BLOCK_BYTES) {
        add_block(state, &last[at]);
    }
    for (unsigned i = 0u; i < WORDS; i++) {
        store_be32(&digest[4u * i], state[i]);
    }
}
