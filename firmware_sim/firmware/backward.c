/* Sparse BPTT over the tape, with the masks of the forward pass; the twin of edgelearn/engine/backward.py.
 *
 * Gradients are int32 in G units and saturate at +-2^30, which is counted. Source: Chen et al., AAAI 2024.
 */
#include "edgelearn.h"
#include "fixed.h"

#define DOT_BLOCK 512 /* rows that an int32 can sum */

/* gradient * factor / 2^bits, rounded half up, in two parts of 32 bits. */
static inline int32_t scale(int32_t gradient, int32_t factor, int bits)
{
    int32_t high = gradient >> bits, low = gradient & ((1 << bits) - 1);
    return high * factor + el_rshift(low * factor, bits);
}

static inline int32_t limited(int32_t exact, uint32_t *saturated)
{
    int32_t kept = el_limit(exact, -EL_GRADIENT_LIMIT, EL_GRADIENT_LIMIT);
    *saturated += kept != exact;
    return kept;
}

static inline int32_t limited64(int64_t exact, uint32_t *saturated)
{
    int32_t kept = (int32_t)el_limit64(exact, -EL_GRADIENT_LIMIT, EL_GRADIENT_LIMIT);
    *saturated += kept != exact;
    return kept;
}

/* From Ch and Cc of a frame to its CM, and Cc of the frame before; CM16 takes the place of the gates. */
static void backward_cell(const el_layer *layer, int32_t t, const int32_t *grad_h)
{
    int32_t units = layer->hidden;
    int16_t *gates = layer->gates + t * 4 * units;
    const int16_t *c_before = layer->c + t * units, *c = c_before + units;
    int32_t *mi = layer->grad_memory, *mf = mi + units, *mg = mf + units, *mo = mg + units;
    int32_t *grad_c = layer->grad_c, *own_h = layer->grad_h;
    uint32_t saturated = 0; /* in a register, as nothing else could be what a store of a gradient changes */
    for (int32_t j = 0; j < units; j++) {
        int32_t i = gates[j], f = gates[units + j], g = gates[2 * units + j], o = gates[3 * units + j];
        int32_t tc = el_tanh(c[j]), ch, cc, factor;
        ch = limited64((int64_t)own_h[j] + (grad_h ? grad_h[j] : 0), &saturated);
        factor = el_rshift(o * (32768 - el_rshift(tc * tc, 15)), 15);
        cc = limited(grad_c[j] + scale(ch, factor, 15), &saturated);
        factor = el_rshift(tc * el_rshift(o * (32768 - o), 15), 15);
        mo[j] = limited(mo[j] + scale(ch, factor, 15), &saturated);
        factor = el_rshift(g * el_rshift(i * (32768 - i), 15), 15);
        mi[j] = limited(mi[j] + scale(cc, factor, 15), &saturated);
        factor = el_rshift(i * (32768 - el_rshift(g * g, 15)), 15);
        mg[j] = limited(mg[j] + scale(cc, factor, 15), &saturated);
        factor = el_limit(el_rshift(c_before[j] * el_rshift(f * (32768 - f), 15), 13), -32767, 32767);
        mf[j] = limited64((int64_t)mf[j] + scale(cc, factor, 14), &saturated);
        grad_c[j] = scale(cc, f, 15);
        own_h[j] = 0;
    }
    for (int32_t r = 0; r < 4 * units; r++) {
        int32_t rounded = el_rshift(layer->grad_memory[r], EL_GRADIENT_EXTRA_BITS);
        int32_t low = el_limit(rounded, -32768, 32767);
        saturated += low != rounded;
        gates[r] = (int16_t)low;
    }
    el_device.saturations += saturated;
}

/* W^T CM16 of one column. */
static int64_t dot(const int8_t *weights, const int16_t *cm16, int32_t rows)
{
    int64_t sum = 0;
    for (int32_t block = 0; block < rows; block += DOT_BLOCK) {
        int32_t part = 0, end = rows < block + DOT_BLOCK ? rows : block + DOT_BLOCK;
        for (int32_t r = block; r < end; r++) {
            part += weights[r] * cm16[r];
        }
        sum += part;
    }
    return sum;
}

/* Of the entries from *at down to `start` that lie at column `base` or above: C += C^ + Cd, C^ = -Cd. */
static void backward_columns(
    const el_layer *layer, const int16_t *cm16, int32_t start, int32_t stop, int32_t base, int32_t *hat, int32_t *target)
{
    int32_t rows = 4 * layer->hidden, right = layer->weight_shift - EL_GRADIENT_EXTRA_BITS;
    uint32_t saturated = 0;
    for (int32_t k = start; k < stop; k++) {
        int32_t column = el_memory.tape_columns[k], j = column - base, cd;
        int64_t exact = dot(layer->hi + column * rows, cm16, rows);
        exact = right >= 0 ? el_rshift64(exact, right) : exact * (1 << -right);
        cd = limited64(exact, &saturated);
        target[j] = limited64((int64_t)target[j] + hat[j] + cd, &saturated);
        hat[j] = -cd;
    }
    el_device.saturations += saturated;
}

void el_clear(int32_t *values, int32_t count)
{
    for (int32_t j = 0; j < count; j++) {
        values[j] = 0;
    }
}

void el_backward_begin(void)
{
    el_device.gradient_step.frame = el_memory.tape_fill[0];
    el_device.gradient_step.stop = el_memory.tape_fill[1];
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        el_clear(layer->grad_h, layer->hidden);
        el_clear(layer->grad_c, layer->hidden);
        el_clear(layer->grad_memory, 4 * layer->hidden);
        el_clear(layer->grad_h_hat, layer->hidden);
        el_clear(layer->grad_x_hat, k ? layer->inputs : 0);
    }
}

int el_backward_frame(const int32_t *grad_h)
{
    int32_t t = el_device.gradient_step.frame - 1, stop = el_device.gradient_step.stop;
    for (int k = EL_LAYERS - 1; t >= 0 && k >= 0; k--) {
        const el_layer *layer = &el_layers[k];
        const int16_t *cm16 = layer->gates + t * 4 * layer->hidden;
        int32_t start = stop - el_memory.tape_nnz[k * EL_TAPE_FRAMES + t], middle = start;
        while (middle < stop && el_memory.tape_columns[middle] < layer->inputs) {
            middle++; /* entries are in ascending order of the column: x first, then h */
        }
        backward_cell(layer, t, k == EL_LAYERS - 1 ? grad_h : NULL);
        if (t > 0) {
            backward_columns(layer, cm16, middle, stop, layer->inputs, layer->grad_h_hat, layer->grad_h);
        }
        if (k > 0) {
            backward_columns(layer, cm16, start, middle, 0, layer->grad_x_hat, el_layers[k - 1].grad_h);
        }
        stop = start;
    }
    el_device.gradient_step.frame = t;
    el_device.gradient_step.stop = stop;
    el_memory.tape_fill[3] = t <= 0;
    return t > 0;
}
