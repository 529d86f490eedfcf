/* The Delta LSTM forward, with or without a tape; the twin of edgelearn/engine/forward.py.
 *
 * Source: Chen et al., AAAI 2024 (arXiv 2312.09391).
 */
#include "edgelearn.h"
#include "fixed.h"

static const el_state *state_of(const el_stream *stream, int k)
{
    return stream->learning ? &el_layers[k].learning : &el_layers[k].listening;
}

void el_state_reset(const el_stream *stream)
{
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        const el_state *state = state_of(stream, k);
        for (int r = 0; r < 4 * layer->hidden; r++) {
            state->memory[r] = layer->bias[r];
        }
        for (int j = 0; j < layer->hidden; j++) {
            state->c[j] = state->h[j] = state->h_hat[j] = 0;
        }
        for (int j = 0; j < layer->inputs; j++) {
            state->x_hat[j] = 0;
        }
    }
}

/* M += W d, four columns at a time so that M is loaded and stored once for them. */
void el_accumulate(const el_layer *layer, const uint16_t *columns, const int16_t *deltas, int32_t used, int32_t *memory)
{
    int32_t rows = 4 * layer->hidden, k = 0;
    for (; k + 4 <= used; k += 4) {
        const int8_t *w0 = layer->hi + columns[k] * rows, *w1 = layer->hi + columns[k + 1] * rows;
        const int8_t *w2 = layer->hi + columns[k + 2] * rows, *w3 = layer->hi + columns[k + 3] * rows;
        int32_t d0 = deltas[k], d1 = deltas[k + 1], d2 = deltas[k + 2], d3 = deltas[k + 3];
        for (int32_t r = 0; r < rows; r++) {
            memory[r] += (w0[r] * d0 + w1[r] * d1) + (w2[r] * d2 + w3[r] * d3);
        }
    }
    for (; k < used; k++) {
        const int8_t *w = layer->hi + columns[k] * rows;
        int32_t d = deltas[k];
        for (int32_t r = 0; r < rows; r++) {
            memory[r] += w[r] * d;
        }
    }
}

void el_state_rebuild(const el_stream *stream)
{
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        const el_state *state = state_of(stream, k);
        int32_t used = 0;
        for (int j = 0; j < layer->inputs + layer->hidden; j++) {
            int16_t value = j < layer->inputs ? state->x_hat[j] : state->h_hat[j - layer->inputs];
            stream->columns[used] = (uint16_t)j;
            stream->deltas[used] = value;
            used += value != 0;
        }
        for (int r = 0; r < 4 * layer->hidden; r++) {
            state->memory[r] = layer->bias[r];
        }
        el_accumulate(layer, stream->columns, stream->deltas, used, state->memory);
    }
}

/* List and transmit a value if it moved by theta or more; returns the new number of entries. */
static inline int32_t gather(
    const el_stream *stream, int32_t value, int16_t *hat, int32_t theta, int32_t column, int32_t used)
{
    int32_t delta = value - *hat;
    if ((delta < 0 ? -delta : delta) >= theta) {
        *hat = (int16_t)value;
        stream->columns[used] = (uint16_t)column;
        stream->deltas[used] = (int16_t)delta;
        used++;
    }
    return used;
}

static inline int32_t preactivation(int32_t memory, int32_t weight_shift)
{
    return (el_limit(memory >> weight_shift, -65535, 65533) + 1) >> 1;
}

/* From M to gates, c and h. */
static void step_cell(const int32_t *memory, int32_t weight_shift, int32_t units, int16_t *c, int16_t *h, int16_t *gates)
{
    for (int32_t r = 0; r < 2 * units; r++) {
        gates[r] = (int16_t)el_sigmoid(preactivation(memory[r], weight_shift));
    }
    for (int32_t r = 2 * units; r < 3 * units; r++) {
        gates[r] = (int16_t)el_tanh(preactivation(memory[r], weight_shift));
    }
    for (int32_t r = 3 * units; r < 4 * units; r++) {
        gates[r] = (int16_t)el_sigmoid(preactivation(memory[r], weight_shift));
    }
    for (int32_t j = 0; j < units; j++) {
        int32_t written = gates[units + j] * c[j] + el_rshift(gates[j] * gates[2 * units + j], 3);
        int32_t exact = el_rshift(written, 15), kept = el_limit(exact, -32768, 32767);
        el_device.saturations += kept != exact;
        c[j] = (int16_t)kept;
        h[j] = (int16_t)el_rshift(gates[3 * units + j] * el_tanh(kept), 17);
    }
}

static void copy(int16_t *target, const int16_t *source, int32_t count)
{
    for (int32_t j = 0; j < count; j++) {
        target[j] = source[j];
    }
}

/* Copy a layer's deltas of a frame to the tape's pool; returns the new end of the pool, -1 if they do not fit. */
static int32_t tape_deltas(const el_stream *stream, int k, int32_t frame, int32_t end, int32_t used)
{
    if (end + used > EL_TAPE_ENTRIES) {
        return -1;
    }
    el_memory.tape_nnz[k * EL_TAPE_FRAMES + frame] = (uint16_t)used;
    for (int32_t n = 0; n < used; n++) {
        el_memory.tape_columns[end + n] = stream->columns[n];
        el_memory.tape_deltas[end + n] = stream->deltas[n];
    }
    return end + used;
}

/* x8: the frame, for the lowest layer; else the layer below gives the input. Returns the new end of the pool. */
static int32_t step_layer(const el_stream *stream, int k, const int8_t *x8, int32_t end)
{
    const el_layer *layer = &el_layers[k];
    const el_state *state = state_of(stream, k);
    const int16_t *x = k ? state_of(stream, k - 1)->h : NULL;
    int32_t used = 0, frame = el_memory.tape_fill[0], theta_x = layer->theta_x[stream->rough];
    int32_t theta_h = layer->theta_h[stream->rough];
    int16_t *gates = stream->gates;
    for (int32_t j = 0; j < layer->inputs; j++) {
        used = gather(stream, x ? x[j] : x8[j] * 128, &state->x_hat[j], theta_x, j, used);
    }
    for (int32_t j = 0; j < layer->hidden; j++) {
        used = gather(stream, state->h[j], &state->h_hat[j], theta_h, layer->inputs + j, used);
    }
    el_device.active += (uint32_t)used;
    if (end >= 0) {
        end = tape_deltas(stream, k, frame, end, used);
    }
    if (end >= 0) {
        gates = layer->gates + frame * 4 * layer->hidden;
        if (frame == 0) {
            copy(layer->c, state->c, layer->hidden);
        }
    }
    el_accumulate(layer, stream->columns, stream->deltas, used, state->memory);
    step_cell(state->memory, layer->weight_shift, layer->hidden, state->c, state->h, gates);
    if (end >= 0) {
        copy(layer->c + (frame + 1) * layer->hidden, state->c, layer->hidden);
    }
    return end;
}

void el_forward(const el_stream *stream, const int8_t *frame, int taping)
{
    int32_t *fill = el_memory.tape_fill; /* frames taped, entries used, frames left out, backward done */
    int32_t end = taping && fill[2] == 0 && fill[0] < EL_TAPE_FRAMES ? fill[1] : -1;
    const int16_t *h = state_of(stream, EL_LAYERS - 1)->h;
    for (int k = 0; k < EL_LAYERS; k++) {
        end = step_layer(stream, k, frame, end);
    }
    if (taping && end >= 0) {
        fill[0]++;
        fill[1] = end;
    } else if (taping) {
        fill[2]++;
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        stream->pool[j] += h[j];
    }
}
