/* Prototypes, cosines, scores, softmax, the gradient that enters BPTT and that of the prototypes; the twin of
 * edgelearn/learning/head.py, classifier.py and adaptation.py, where formats and bounds are proved. */
#include "edgelearn.h"
#include "fixed.h"
#include "edgelearn_tables.h"

static int16_t *const unit = el_memory.classifier_embedding;
static int32_t *const cosine = el_memory.classifier_cosines;
static int32_t *const weight = el_memory.classifier_weights;
static int32_t *const gradient = el_memory.classifier_gradient;
static int32_t *const whitened = el_memory.classifier_whitened;
static int32_t *const norm_q8 = el_memory.classifier_norms;
static int32_t *const near_q14 = el_memory.classifier_nearness;

static int8_t *prototype(int32_t row)
{
    return el_memory.classifier_prototypes + row * EL_HIDDEN;
}

int64_t el_isqrt(int64_t rest)
{
    int64_t root = 0, bit = INT64_C(1) << 60;
    while (bit > rest) {
        bit >>= 2;
    }
    for (; bit > 0; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root;
}

int32_t el_unit_embedding(const int32_t *vector)
{
    int64_t sum = 0, length;
    for (int j = 0; j < EL_HIDDEN; j++) {
        sum += (int64_t)vector[j] * vector[j];
    }
    length = el_isqrt(sum);
    length = length > 1 ? length : 1;
    for (int j = 0; j < EL_HIDDEN; j++) {
        unit[j] = (int16_t)el_floor_div((int64_t)vector[j] * 16384 + (length >> 1), length);
    }
    return (int32_t)length;
}

/* whitened = the whitening times the unit vector at hand. */
static void multiply(void)
{
    const int8_t *row = el_whitening;
    for (int i = 0; i < EL_HIDDEN; i++, row += EL_HIDDEN) {
        int32_t sum = 0;
        for (int j = 0; j < EL_HIDDEN; j++) {
            sum += row[j] * unit[j];
        }
        whitened[i] = sum;
    }
}

/* Whiten the unit vector at hand; returns how long it was then, in Q14 and the scale of the whitening, 1 without one. */
static int32_t whiten(void)
{
    if (!EL_WHITENED) {
        return 1;
    }
    multiply();
    return el_unit_embedding(whitened);
}

void el_embedding(const int32_t *pool)
{
    el_unit_embedding(pool);
    whiten();
}

/* The best cosine (Q14) of a row to another base row. */
static int32_t nearness(int32_t row)
{
    int64_t best = -16384;
    for (int32_t k = 0; k < EL_BASE_ROWS; k++) {
        int32_t dot = 0;
        int64_t cosine_q14;
        if (k == row) {
            continue;
        }
        for (int j = 0; j < EL_HIDDEN; j++) {
            dot += prototype(row)[j] * prototype(k)[j];
        }
        cosine_q14 = el_floor_div(dot * (INT64_C(1) << 30), (int64_t)norm_q8[row] * norm_q8[k]);
        best = cosine_q14 > best ? cosine_q14 : best;
    }
    return (int32_t)best;
}

static int is_background(int32_t row)
{
    return row < EL_BASE_ROWS && row >= EL_BASE_ROWS - EL_BACKGROUND_ROWS;
}

int32_t el_quantise(const int32_t *a, int32_t times_a, const int32_t *b, int32_t times_b, int8_t *row)
{
    int64_t peak = 1, sum = 0, norm;
    for (int j = 0; j < EL_HIDDEN; j++) {
        int64_t value = (int64_t)a[j] * times_a + (b ? (int64_t)b[j] * times_b : 0);
        value = value < 0 ? -value : value;
        peak = value > peak ? value : peak;
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        int64_t value = (int64_t)a[j] * times_a + (b ? (int64_t)b[j] * times_b : 0);
        value = el_floor_div(value * 254 + peak, 2 * peak);
        row[j] = (int8_t)value;
        sum += value * value;
    }
    norm = el_isqrt(sum * 65536);
    return norm > 1 ? (int32_t)norm : 1;
}

void el_set_row(int32_t row, const int32_t *a, int32_t times_a, const int32_t *b, int32_t times_b)
{
    int32_t norm = el_quantise(a, times_a, b, times_b, prototype(row));
    norm_q8[row] = is_background(row) ? norm * 8 / 7 : norm;
    if (row >= EL_BASE_ROWS) {
        el_set_nearness(row);
    }
}

void el_set_nearness(int32_t row)
{
    near_q14[row] = nearness(row);
}

static void plain_cosines(void)
{
    for (int32_t k = 0; k < el_device.rows; k++) {
        const int8_t *row = prototype(k);
        int32_t dot = 0;
        for (int j = 0; j < EL_HIDDEN; j++) {
            dot += unit[j] * row[j];
        }
        cosine[k] = (int32_t)el_floor_div((int64_t)dot * 256, norm_q8[k]);
    }
}

void el_cosines(void)
{
    plain_cosines();
    for (int32_t k = EL_BASE_ROWS; k < el_device.rows; k++) {
        cosine[k] += el_taken_back(k, prototype(k), norm_q8[k]);
    }
}

int32_t el_nearest(void)
{
    int32_t best = 0;
    for (int32_t k = 1; k < el_device.rows; k++) {
        best = cosine[k] > cosine[best] ? k : best;
    }
    return best;
}

int32_t el_closest_class(int32_t row)
{
    int32_t best = -(1 << 14);
    el_unit_row(row);
    el_cosines();
    for (int32_t k = 0; k < el_device.rows; k++) {
        best = k != row && !is_background(k) && cosine[k] > best ? cosine[k] : best;
    }
    return best;
}

int32_t el_score(int32_t row)
{
    int32_t rival = -32768, other = 0;
    for (int32_t k = 0; k < EL_BASE_ROWS; k++) {
        rival = k != row && cosine[k] > rival ? cosine[k] : rival;
    }
    for (int32_t k = EL_BASE_ROWS; row >= EL_BASE_ROWS && k < el_device.rows; k++) {
        other = k != row && cosine[k] > other ? cosine[k] : other;
    }
    return cosine[row] - ((3 * rival) >> 2) - (near_q14[row] >> 2) - (other >> 2);
}

int32_t el_best_word(int32_t *score_q14)
{
    int32_t best = -1;
    for (int32_t n = 0; n < el_device.words; n++) {
        int32_t score = el_score(el_device.word[n].row);
        if (best < 0 || score > *score_q14) {
            best = n;
            *score_q14 = score;
        }
    }
    /* a word and what was refused of it are each other's rivals: between the two the nearer one counts */
    for (int32_t n = 0; best >= 0 && n < el_device.words; n++) {
        if (el_device.word[n].rejects == best + 1) {
            return cosine[el_device.word[n].row] > cosine[el_device.word[best].row] ? n : best;
        }
    }
    return best;
}

/* e^-x, Q10 to Q15, for x >= 0. */
static int32_t exp_neg_q15(int32_t x_q10)
{
    int64_t power_q16 = ((int64_t)x_q10 * 23637) >> 8;
    int32_t fraction = (int32_t)(power_q16 & 65535), index = fraction >> 10, low = el_exp2_q15[index];
    if (power_q16 >> 16 > 16) {
        return 0;
    }
    return (low + (((el_exp2_q15[index + 1] - low) * (fraction & 1023) + 512) >> 10)) >> (power_q16 >> 16);
}

/* weight = e^(16 (cosine - best)) of all rows, Q15; returns their sum. */
static int64_t exponentials(void)
{
    int32_t best = cosine[el_nearest()];
    int64_t total = 0;
    for (int32_t k = 0; k < el_device.rows; k++) {
        weight[k] = exp_neg_q15(best - cosine[k]);
        total += weight[k];
    }
    return total;
}

/* Scale the gradient so that its largest magnitude is 2^bits; returns what it was, 0 if there is nothing to scale. */
static int64_t to_largest(int bits)
{
    int64_t peak = 0;
    for (int j = 0; j < EL_HIDDEN; j++) {
        int64_t magnitude = gradient[j] < 0 ? -(int64_t)gradient[j] : gradient[j];
        peak = magnitude > peak ? magnitude : peak;
    }
    for (int j = 0; peak && j < EL_HIDDEN; j++) {
        gradient[j] = (int32_t)el_floor_div((int64_t)gradient[j] * (1 << bits), peak);
    }
    return peak;
}

/* Take the gradient of a whitened embedding back to the pool, whose whitened unit vector was `stretched` long, and scale
 * it to 2^15; returns the magnitude that this stands for. */
static int64_t through_whitening(int32_t stretched)
{
    int64_t peak = to_largest(14), magnitude;
    if (peak == 0) {
        return 0;
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        unit[j] = (int16_t)gradient[j];
    }
    multiply();
    for (int j = 0; j < EL_HIDDEN; j++) {
        gradient[j] = whitened[j];
    }
    magnitude = peak * to_largest(15) / stretched;
    return magnitude < EL_MOST_MAGNITUDE_Q23 ? magnitude : EL_MOST_MAGNITUDE_Q23;
}

void el_head_step(const int32_t *pool, int32_t target, el_step *step)
{
    int64_t total, along = 0;
    int32_t rows = el_device.rows, stretched;
    step->length = el_unit_embedding(pool);
    stretched = whiten();
    plain_cosines();
    total = exponentials();
    step->loss_q10 =
        (((el_log2_q10((uint64_t)total) - (15 << 10)) * 11357) >> 14) + cosine[el_nearest()] - cosine[target];
    for (int32_t k = 0; k < rows; k++) {
        int64_t share_q15 = (int64_t)weight[k] * 32768 / total - (k == target ? 32768 : 0);
        weight[k] = (int32_t)el_floor_div(share_q15 * 65536, norm_q8[k]);
    }
    el_clear(gradient, EL_HIDDEN);
    for (int32_t k = 0; k < rows; k++) {
        const int8_t *row = prototype(k);
        for (int j = 0; weight[k] && j < EL_HIDDEN; j++) {
            gradient[j] += weight[k] * row[j];
        }
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        along += (int64_t)gradient[j] * unit[j];
    }
    along >>= 14;
    for (int j = 0; j < EL_HIDDEN; j++) {
        gradient[j] -= (int32_t)((along * unit[j]) >> 14);
    }
    step->magnitude_q23 = (int32_t)(EL_WHITENED ? through_whitening(stretched) : to_largest(15));
}

void el_add_row_gradient(int32_t target, int32_t weight_q15, int32_t *sums)
{
    int64_t total;
    plain_cosines();
    total = exponentials();
    for (int32_t k = EL_BASE_ROWS; k < el_device.rows; k++, sums += EL_HIDDEN) {
        int64_t share_q15 = (int64_t)weight[k] * 32768 / total - (k == target ? 32768 : 0);
        int32_t share_q23 = (int32_t)((share_q15 * weight_q15) >> 7);
        for (int j = 0; share_q23 && j < EL_HIDDEN; j++) {
            sums[j] += (int32_t)(((int64_t)share_q23 * unit[j]) >> 8);
        }
    }
}

void el_move_row(int32_t row, int32_t *sum, int32_t rate_q16)
{
    for (int j = 0; j < EL_HIDDEN; j++) {
        int64_t component = el_floor_div((int64_t)prototype(row)[j] * (INT64_C(1) << 35), norm_q8[row]);
        sum[j] = (int32_t)(component - (((int64_t)sum[j] * 16 * rate_q16) >> 18)); /* Q27, see `descend` */
    }
    el_set_row(row, sum, 1, NULL, 0);
}

void el_unit_row(int32_t row)
{
    int32_t *scaled = el_memory.learning_pool; /* free between two utterances */
    for (int j = 0; j < EL_HIDDEN; j++) {
        scaled[j] = prototype(row)[j] * 4096;
    }
    el_unit_embedding(scaled);
}
