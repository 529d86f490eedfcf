/* The directions in which the takes of a taught word differ; the twin of edgelearn/learning/directions.py, where they are
 * explained and their bounds are. */
#include "learning.h"
#include "fixed.h"

enum { TAKES, MEAN }; /* of a word, in classifier_directions_heard */

/* The vectors that are made orthogonal, int32 Q14: those that are kept, and the newest behind them. Enrolling is between
 * two lessons, so that what is idle in a lesson is idle there, too. */
static int32_t *vector(int k)
{
    return el_idle.i32 + k * EL_HIDDEN;
}

typedef char el_the_gates_hold_the_vectors
    [sizeof el_idle.i32 >= sizeof(int32_t) * (EL_DIRECTIONS + 1) * EL_HIDDEN ? 1 : -1];

static int8_t *direction(int32_t n, int k)
{
    return el_memory.classifier_directions_vectors + (n * EL_DIRECTIONS + k) * EL_HIDDEN;
}

static int64_t product(const int32_t *first, const int32_t *second)
{
    int64_t sum = 0;
    for (int j = 0; j < EL_HIDDEN; j++) {
        sum += (int64_t)first[j] * second[j];
    }
    return sum;
}

static void make_orthogonal(int32_t *first, int32_t *second)
{
    int64_t apart = product(second, second) - product(first, first), both = 2 * product(first, second);
    int against = (apart < 0) != (both < 0);
    int64_t tangent_q15, cosine_q15, sine_q15;
    apart = apart < 0 ? -apart : apart;
    both = both < 0 ? -both : both;
    while (apart >> 30 || both >> 30) {
        apart >>= 1;
        both >>= 1;
    }
    if (!both) {
        return;
    }
    tangent_q15 = (both << 15) / (apart + el_isqrt(apart * apart + both * both));
    cosine_q15 = (INT64_C(1) << 30) / el_isqrt((INT64_C(1) << 30) + tangent_q15 * tangent_q15);
    sine_q15 = (cosine_q15 * tangent_q15 + (1 << 14)) >> 15;
    sine_q15 = against ? -sine_q15 : sine_q15;
    for (int j = 0; j < EL_HIDDEN; j++) {
        int64_t one = first[j], other = second[j];
        first[j] = (int32_t)((cosine_q15 * one - sine_q15 * other + (1 << 14)) >> 15);
        second[j] = (int32_t)((sine_q15 * one + cosine_q15 * other + (1 << 14)) >> 15);
    }
}

void el_no_directions(int32_t row)
{
    int32_t n = row - EL_BASE_ROWS;
    for (int j = 0; j < EL_DIRECTIONS * EL_HIDDEN; j++) {
        direction(n, 0)[j] = 0;
    }
    el_clear(el_memory.classifier_directions_norms + n * EL_DIRECTIONS, EL_DIRECTIONS);
    el_clear(el_memory.classifier_directions_lengths + n * EL_DIRECTIONS, EL_DIRECTIONS);
    el_clear(el_memory.classifier_directions_heard + n * 2, 2);
}

void el_directions_add(int32_t row, const int32_t *sum)
{
    int32_t n = row - EL_BASE_ROWS, *heard = el_memory.classifier_directions_heard + n * 2;
    int32_t *norms = el_memory.classifier_directions_norms + n * EL_DIRECTIONS;
    int32_t *lengths = el_memory.classifier_directions_lengths + n * EL_DIRECTIONS;
    int32_t *newest = vector(EL_DIRECTIONS), *shortest = newest;
    const int16_t *unit = el_memory.classifier_embedding;
    int64_t takes = heard[TAKES], sum_q14 = takes * heard[MEAN], share_q14, along_q28 = 0, square_q28;
    if (takes >= EL_MOST_TAKES) {
        return;
    }
    for (int k = 0; k < EL_DIRECTIONS; k++) {
        for (int j = 0; j < EL_HIDDEN; j++) {
            int64_t scaled = (int64_t)direction(n, k)[j] * lengths[k] * 256;
            vector(k)[j] = (int32_t)el_floor_div(scaled, norms[k] > 1 ? norms[k] : 1);
        }
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        newest[j] = unit[j];
    }
    share_q14 = el_isqrt((takes << 28) / (takes + 1));
    el_unit_embedding(sum);
    for (int j = 0; j < EL_HIDDEN; j++) {
        int64_t apart_q28 = (int64_t)newest[j] * 16384 - (int64_t)heard[MEAN] * unit[j];
        along_q28 += (int64_t)newest[j] * unit[j];
        newest[j] = (int32_t)((apart_q28 * share_q14) >> 28);
    }
    for (int round = 0; round < EL_ROUNDS; round++) {
        for (int k = 0; k < EL_DIRECTIONS; k++) {
            for (int other = k + 1; other <= EL_DIRECTIONS; other++) {
                make_orthogonal(vector(k), vector(other));
            }
        }
    }
    for (int k = 0; k < EL_DIRECTIONS; k++) {
        shortest = product(vector(k), vector(k)) < product(shortest, shortest) ? vector(k) : shortest;
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        shortest[j] = newest[j];
    }
    for (int k = 0; k < EL_DIRECTIONS; k++) {
        lengths[k] = (int32_t)el_isqrt(product(vector(k), vector(k)));
        norms[k] = el_quantise(vector(k), 1, NULL, 0, direction(n, k));
    }
    square_q28 = sum_q14 * sum_q14 + 2 * sum_q14 * (along_q28 >> 14) + (INT64_C(1) << 28);
    /* unit vectors are rounded: of a take that is the mean's very opposite it can be below 0 */
    heard[MEAN] = (int32_t)(el_isqrt(square_q28 > 0 ? square_q28 : 0) / (takes + 1));
    heard[TAKES]++;
}

int el_directions_have_a_say(int32_t row)
{
    return el_memory.classifier_directions_heard[2 * (row - EL_BASE_ROWS) + TAKES] >= EL_DIRECTION_TAKES;
}

int32_t el_taken_back(int32_t row, const int8_t *prototype, int32_t norm_q8)
{
    int32_t n = row - EL_BASE_ROWS;
    int64_t total = 0;
    if (!el_directions_have_a_say(row)) {
        return 0;
    }
    for (int k = 0; k < EL_DIRECTIONS; k++) {
        const int8_t *along = direction(n, k);
        int64_t norm = el_memory.classifier_directions_norms[n * EL_DIRECTIONS + k];
        int64_t length = el_memory.classifier_directions_lengths[n * EL_DIRECTIONS + k], apart_q14, share_q15;
        int32_t of_unit = 0, of_row = 0;
        for (int j = 0; j < EL_HIDDEN; j++) {
            of_unit += el_memory.classifier_embedding[j] * along[j];
            of_row += prototype[j] * along[j];
        }
        apart_q14 = el_floor_div((int64_t)of_unit * 256, norm) -
                    el_floor_div((int64_t)of_row * (INT64_C(1) << 30), norm * norm_q8);
        share_q15 = ((length * length) << 15) / (length * length + EL_COMPARED_Q28);
        total += (apart_q14 * apart_q14 * share_q15) >> 29;
    }
    return (int32_t)(total >> 1);
}

void el_directions_put(int32_t row, const int32_t *numbers, const int8_t *vectors)
{
    int32_t n = row - EL_BASE_ROWS, *values = el_memory.classifier_gradient; /* free between two learning steps */
    for (int k = 0; k < 2; k++) {
        el_memory.classifier_directions_heard[2 * n + k] = numbers[k];
    }
    for (int k = 0; k < EL_DIRECTIONS; k++) {
        el_memory.classifier_directions_lengths[n * EL_DIRECTIONS + k] = numbers[2 + k];
        for (int j = 0; j < EL_HIDDEN; j++) {
            values[j] = vectors[k * EL_HIDDEN + j];
        }
        el_memory.classifier_directions_norms[n * EL_DIRECTIONS + k] = el_quantise(values, 1, NULL, 0, direction(n, k));
    }
}

const int8_t *el_directions_get(int32_t row, int32_t *numbers)
{
    int32_t n = row - EL_BASE_ROWS;
    for (int k = 0; k < 2; k++) {
        numbers[k] = el_memory.classifier_directions_heard[2 * n + k];
    }
    for (int k = 0; k < EL_DIRECTIONS; k++) {
        numbers[2 + k] = el_memory.classifier_directions_lengths[n * EL_DIRECTIONS + k];
    }
    return direction(n, 0);
}
