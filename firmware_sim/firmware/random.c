/* The order of examples and the seeds of a lesson: numpy.random.default_rng, of which only two draws are used.
 *
 * Source: PCG64 (XSL RR 128/64), M. O'Neill, pcg-random.org; `permutation` is NumPy's shuffle from the end, with masked
 * rejection.
 */
#include "edgelearn.h"

#define MULTIPLIER_HIGH UINT64_C(0x2360ED051FC65DA4)
#define MULTIPLIER_LOW UINT64_C(0x4385DF649FCCF645)

void el_random_start(el_random *random)
{
    random->high = EL_SEED_STATE_HIGH;
    random->low = EL_SEED_STATE_LOW;
    random->half = 0;
    random->has_half = 0;
}

/* The upper 64 bits of a product. */
static uint64_t multiply_high(uint64_t a, uint64_t b)
{
    uint64_t a0 = a & UINT32_MAX, a1 = a >> 32, b0 = b & UINT32_MAX, b1 = b >> 32;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & UINT32_MAX);
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

static uint64_t next64(el_random *random)
{
    uint64_t low = random->low * MULTIPLIER_LOW + EL_SEED_INCREMENT_LOW, value;
    uint64_t carry = low < EL_SEED_INCREMENT_LOW;
    int turn;
    random->high = multiply_high(random->low, MULTIPLIER_LOW) + random->low * MULTIPLIER_HIGH +
                   random->high * MULTIPLIER_LOW + EL_SEED_INCREMENT_HIGH + carry;
    random->low = low;
    value = random->high ^ random->low;
    turn = (int)(random->high >> 58);
    return turn ? value >> turn | value << (64 - turn) : value;
}

uint32_t el_random_next(el_random *random)
{
    uint64_t value;
    random->has_half = !random->has_half;
    if (!random->has_half) {
        return random->half;
    }
    value = next64(random);
    random->half = (uint32_t)(value >> 32);
    return (uint32_t)(value & UINT32_MAX);
}

/* Shuffle `count` numbers. */
void el_random_shuffle(el_random *random, int16_t *numbers, int32_t count)
{
    uint32_t mask = 1;
    while (mask < (uint32_t)count) {
        mask = 2 * mask + 1;
    }
    for (int32_t i = count - 1; i > 0; i--) {
        int16_t number = numbers[i];
        uint32_t j;
        while (mask >> 1 >= (uint32_t)i) {
            mask >>= 1;
        }
        do {
            j = el_random_next(random) & mask;
        } while (j > (uint32_t)i);
        numbers[i] = numbers[j];
        numbers[j] = number;
    }
}
