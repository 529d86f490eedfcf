/* Number formats and the scalar arithmetic that everything else is made of; the twin of edgelearn/engine/fixedpoint.py.
 *
 * All of it rounds half up and saturates, never wraps. Left shifts are multiplications, because C99 leaves those of
 * negative numbers undefined; right shifts must keep the sign, which the build checks.
 */
#ifndef EDGELEARN_FIXED_H
#define EDGELEARN_FIXED_H

#include <stdint.h>

typedef char el_right_shifts_must_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];

#define EL_GRADIENT_LIMIT (1 << 30) /* Ch, Cc, CM, Cx^ and Ch^ saturate at +-2^30 */
#define EL_GRADIENT_EXTRA_BITS 6    /* of a gradient below CM16 */
#define EL_MASTER_MIN (-32640)
#define EL_MASTER_MAX 32639

static inline int32_t el_limit(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static inline int64_t el_limit64(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* value / 2^bits, rounded half up; 1 <= bits <= 31. */
static inline int32_t el_rshift(int32_t value, int bits)
{
    return (value + (INT32_C(1) << (bits - 1))) >> bits;
}

static inline int64_t el_rshift64(int64_t value, int bits)
{
    return (value + ((INT64_C(1) << bits) >> 1)) >> bits;
}

/* Quotient rounded down; divisor > 0. */
static inline int64_t el_floor_div(int64_t value, int64_t divisor)
{
    int64_t quotient = value / divisor;
    return quotient - (value % divisor < 0);
}

static inline int32_t el_tanh_half_piece(int32_t t, int32_t c0, int32_t c1, int32_t c2, int32_t c3, int32_t c4)
{
    int32_t y = ((c4 * t) >> 16) + c3;
    y = ((y * t) >> 16) + c2;
    y = ((y * t) >> 16) + c1;
    return ((y * t) >> 16) + c0;
}

/* tanh(a/2), Q12 to Q15, |a| <= 32767: polynomials over [0, 2), [2, 4) and [4, 8), odd. */
static inline int32_t el_tanh_half(int32_t a)
{
    int32_t u = a < 0 ? -a : a;
    int32_t y;
    if (u >= 16384) {
        y = el_tanh_half_piece((u & 16383) * 4 - 32768, 32606, 620, -1250, 2127, -2000);
    } else if (u >= 8192) {
        y = el_tanh_half_piece((u & 8191) * 8 - 32768, 29660, 5924, -5368, 2841, -714);
    } else {
        y = el_tanh_half_piece((u & 8191) * 8 - 32768, 15142, 25782, -11840, -3294, 4752);
    }
    return a < 0 ? -y : y;
}

static inline int32_t el_sigmoid(int32_t a)
{
    return 16384 + el_rshift(el_tanh_half(a), 1);
}

static inline int32_t el_tanh(int32_t a)
{
    return el_tanh_half(el_limit(2 * a, -32767, 32767));
}

/* lowbias32 (C. Wellons, hash-prospector). */
static inline uint32_t el_hash(uint32_t x)
{
    x ^= x >> 16;
    x *= UINT32_C(0x7FEB352D);
    x ^= x >> 15;
    x *= UINT32_C(0x846CA68B);
    return x ^ (x >> 16);
}

/* The key of a weight column in an update step, and the 32 random bits of one of its rows. */
static inline uint32_t el_column_key(uint32_t seed, uint32_t layer, uint32_t column)
{
    return el_hash(el_hash(seed) ^ ((layer << 16) | column));
}

static inline uint32_t el_random_bits(uint32_t key, uint32_t row)
{
    return el_hash(key + row * UINT32_C(0x9E3779B9));
}

#endif
