/* The weight update, column by column, with stochastic rounding; the twin of edgelearn/engine/optimizer.py.
 *
 * There is no buffer for the gradient of the weights: one walk over the deltas of all frames finds the frames in which a
 * column was active, sums its gradient and applies it. A column that was never active is neither read nor written.
 */
#include "edgelearn.h"
#include "fixed.h"

#define NO_COLUMN 0xFFFF
#define CHANGE_LIMIT (1 << 14)
#define PRODUCT_BITS 15 /* that the product of CM16 and a delta loses before it is summed */
#define BIAS_SHIFT 3    /* gradients of biases are in finer units than those of masters */

static int32_t *const total = el_memory.tape_update_total;
static int32_t *const position = el_memory.tape_update_cursor;
static int32_t *const next = el_memory.tape_update_cursor + EL_TAPE_FRAMES; /* entries left << 16 | column */

static void set_cursor(int32_t t, int32_t at, int32_t left)
{
    position[t] = at;
    next[t] = left * 65536 + (left > 0 ? el_memory.tape_columns[at] : NO_COLUMN);
}

static void point_cursors(int layer)
{
    int32_t at = 0;
    for (int32_t t = 0; t < el_memory.tape_fill[0]; t++) {
        for (int k = 0; k < EL_LAYERS; k++) {
            int32_t entries = el_memory.tape_nnz[k * EL_TAPE_FRAMES + t];
            if (k == layer) {
                set_cursor(t, at, entries);
            }
            at += entries;
        }
    }
}

/* List the frames and deltas of a column, and move their cursors on; returns how many. */
static int32_t take_column(int32_t column)
{
    int32_t used = 0;
    for (int32_t t = 0; t < el_memory.tape_fill[0]; t++) {
        if ((next[t] & NO_COLUMN) == column) {
            el_memory.tape_update_frames[used] = (uint16_t)t;
            el_memory.tape_update_deltas[used++] = el_memory.tape_deltas[position[t]];
            set_cursor(t, position[t] + 1, (next[t] >> 16) - 1);
        }
    }
    return used;
}

static inline int32_t product(int32_t cm16, int32_t delta)
{
    return el_rshift(cm16 * delta, PRODUCT_BITS);
}

/* total (+)= CM16 times delta of four frames from entry k on. */
static inline void add_four(const int16_t *cm16, int32_t rows, int32_t k, int first)
{
    const uint16_t *frames = el_memory.tape_update_frames + k;
    const int16_t *deltas = el_memory.tape_update_deltas + k;
    const int16_t *m0 = cm16 + frames[0] * rows, *m1 = cm16 + frames[1] * rows;
    const int16_t *m2 = cm16 + frames[2] * rows, *m3 = cm16 + frames[3] * rows;
    int32_t d0 = deltas[0], d1 = deltas[1], d2 = deltas[2], d3 = deltas[3];
    for (int32_t r = 0; r < rows; r++) {
        int32_t sum = (product(m0[r], d0) + product(m1[r], d1)) + (product(m2[r], d2) + product(m3[r], d3));
        total[r] = first ? sum : total[r] + sum;
    }
}

/* The same of one frame. */
static inline void add_one(const int16_t *cm16, int32_t rows, int32_t k, int first)
{
    const int16_t *m = cm16 + el_memory.tape_update_frames[k] * rows;
    int32_t d = el_memory.tape_update_deltas[k];
    for (int32_t r = 0; r < rows; r++) {
        total[r] = product(m[r], d) + (first ? 0 : total[r]);
    }
}

/* total = sum of CM16 times delta over the `used` > 0 frames of a column. */
static void sum_gradient(const int16_t *cm16, int32_t rows, int32_t used)
{
    int32_t k = used >= 4 ? 4 : 1;
    if (used >= 4) {
        add_four(cm16, rows, 0, 1);
    } else {
        add_one(cm16, rows, 0, 1);
    }
    for (; k + 4 <= used; k += 4) {
        add_four(cm16, rows, k, 0);
    }
    for (; k < used; k++) {
        add_one(cm16, rows, k, 0);
    }
}

/* What `scaled` needs of a shift: bits to go right, and where it is below 31, a limit and a factor before that. */
typedef struct {
    int32_t mult, limit, left, right;
} scaling;

static scaling scaling_of(int32_t mult, int32_t shift)
{
    scaling s = {mult, INT32_MAX, 1, shift - 31};
    if (shift < 31) {
        s.limit = (CHANGE_LIMIT << 16) >> (31 - shift);
        s.left = 1 << (31 - shift);
        s.right = 0;
    }
    return s;
}

/* gradient * mult / 2^(shift - 16), rounded down, in 32 bits: a master's change with 16 fraction bits. A sum of up to 1024
 * products is below 2^25, and so is the quotient: it reaches its limit only where it has to grow. */
static inline int32_t scaled(int32_t gradient, scaling s, int grows)
{
    int32_t quotient = (gradient >> 15) * s.mult + (((gradient & 32767) * s.mult) >> 15);
    return grows ? el_limit(quotient, -s.limit, s.limit) * s.left : quotient >> s.right;
}

/* Returns whether the master was clipped. */
static inline uint32_t move_master(int8_t *hi, int8_t *lo, int32_t change)
{
    int32_t exact = *hi * 256 + *lo - change, master = exact, high;
    if ((uint32_t)(exact - EL_MASTER_MIN) > EL_MASTER_MAX - EL_MASTER_MIN) {
        master = el_limit(exact, EL_MASTER_MIN, EL_MASTER_MAX);
    }
    high = (master + 128) >> 8;
    *hi = (int8_t)high;
    *lo = (int8_t)(master - high * 256);
    return master != exact;
}

/* One draw of 32 bits serves a row of the first half and the row across from it. */
static inline uint32_t move_rows(
    int8_t *restrict hi, int8_t *restrict lo, int32_t half, scaling s, uint32_t key, int grows)
{
    uint32_t saturated = 0;
    for (int32_t r = 0; r < half; r++) {
        uint32_t bits = el_random_bits(key, (uint32_t)r);
        int32_t near = scaled(total[r], s, grows) + (int32_t)(bits & 0xFFFF);
        int32_t far = scaled(total[half + r], s, grows) + (int32_t)(bits >> 16);
        saturated += move_master(&hi[r], &lo[r], near >> 16);
        saturated += move_master(&hi[half + r], &lo[half + r], far >> 16);
    }
    return saturated;
}

static void move_column(int8_t *hi, int8_t *lo, int32_t rows, scaling s, uint32_t key)
{
    el_device.saturations +=
        s.left > 1 ? move_rows(hi, lo, rows / 2, s, key, 1) : move_rows(hi, lo, rows / 2, s, key, 0);
}

static void move_bias(const el_layer *layer, int32_t mult, int32_t shift, uint32_t key)
{
    int dropped = shift + BIAS_SHIFT;
    for (int32_t r = 0; r < 4 * layer->hidden; r++) {
        int64_t bits = el_random_bits(key, (uint32_t)r);
        int64_t noise = dropped >= 32 ? bits * (INT64_C(1) << (dropped - 32)) : bits >> (32 - dropped);
        int64_t change = ((int64_t)layer->grad_memory[r] * mult + noise) >> dropped;
        int64_t exact = layer->bias[r] - change, kept = el_limit64(exact, -layer->bias_limit, layer->bias_limit);
        el_device.saturations += kept != exact;
        layer->bias[r] = (int32_t)kept;
    }
}

void el_update_begin(int32_t mult, int32_t shift)
{
    el_device.gradient_step.mult = mult;
    el_device.gradient_step.shift = shift;
    el_device.gradient_step.layer = 0;
    el_device.gradient_step.column = 0;
}

int el_update_column(void)
{
    el_gradient_step *work = &el_device.gradient_step;
    int32_t k = work->layer;
    const el_layer *layer = &el_layers[k];
    int32_t rows = 4 * layer->hidden, columns = layer->inputs + layer->hidden;
    int32_t shift = work->shift + el_layers[0].weight_shift - layer->weight_shift;
    if (work->column == 0) {
        point_cursors(k);
    }
    while (work->column < columns) {
        int32_t column = work->column++, used = take_column(column);
        if (used > 0) {
            uint32_t key = el_column_key(work->seed, (uint32_t)k, (uint32_t)column);
            int8_t *hi = layer->hi + column * rows, *lo = layer->lo + column * rows;
            sum_gradient(layer->gates, rows, used);
            move_column(hi, lo, rows, scaling_of(work->mult, shift), key);
            return 1;
        }
    }
    move_bias(layer, work->mult, shift, el_column_key(work->seed, (uint32_t)k, (uint32_t)columns));
    work->column = 0;
    work->layer++;
    return work->layer < EL_LAYERS;
}
