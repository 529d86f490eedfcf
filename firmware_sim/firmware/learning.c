/* An utterance through the network, and a gradient step on one, in slices; the twin of edgelearn/learning/learner.py.
 *
 * A slice ends where nothing is in registers but counters: after a frame of the forward pass, a frame of the backward
 * pass, a column of the update, or the biases. All else is in the arena and in `el_device`.
 */
#include "learning.h"
#include "fixed.h"
#include "edgelearn_tables.h"

#define LEAST_SHIFT 4 /* of an update's rate */

/* How many times as fast a voice is, and where each band is read, Q8: see edgelearn/learning/variants.py. */
static int32_t tempo_q8(int32_t voice)
{
    return el_voices_q8[2 * voice - 2];
}

static int32_t formant_q8(int32_t voice)
{
    return el_voices_q8[2 * voice - 1];
}

void el_run_begin(const int8_t *frames, int32_t first, int32_t count, int32_t taped_from)
{
    el_run *run = &el_device.run;
    run->frames = frames;
    run->t = first;
    run->count = run->spoken = count;
    run->taped_from = taped_from;
    run->voice = 0;
    el_state_reset(&el_learning);
    el_clear(el_memory.learning_pool, EL_HIDDEN);
}

void el_run_again(int32_t voice)
{
    el_run *run = &el_device.run;
    int32_t spoken = run->spoken, count = spoken ? (spoken - 1) * 256 / tempo_q8(voice) + 1 : 0;
    el_run_begin(run->frames, 0, count, count);
    run->spoken = spoken;
    run->voice = voice;
}

/* Frame t in another voice: between two frames, and in them between two bands. */
static void frame_in_voice(const el_run *run, int8_t *out)
{
    int32_t at = run->t * tempo_q8(run->voice), late = at & 255, next = (at >> 8) + 1 < run->spoken;
    const int8_t *low = run->frames + (at >> 8) * EL_INPUTS, *high = low + next * EL_INPUTS;
    for (int32_t k = 0; k < EL_INPUTS; k++) {
        int32_t band = el_limit(k * formant_q8(run->voice), 0, (EL_INPUTS - 1) * 256), b = band >> 8;
        int32_t up = b + 1 < EL_INPUTS ? b + 1 : b, share = band & 255;
        int32_t here = low[b] * (256 - late) + high[b] * late, there = low[up] * (256 - late) + high[up] * late;
        out[k] = (int8_t)el_rshift(here * (256 - share) + there * share, 16);
    }
}

int el_run_frame(void)
{
    el_run *run = &el_device.run;
    if (run->t < run->count) {
        uint32_t active = el_device.active; /* what listens is counted apart from what learns */
        int8_t voiced[EL_INPUTS];
        if (run->voice) {
            frame_in_voice(run, voiced);
        }
        el_forward(&el_learning, run->voice ? voiced : run->frames + run->t * EL_INPUTS, run->t >= run->taped_from);
        el_device.active = active;
        run->t++;
    }
    return run->t < run->count;
}

void el_embed(const int8_t *frames, int32_t count)
{
    el_run_begin(frames, 0, count, count);
    while (el_run_frame()) {
    }
    el_unit_embedding(el_memory.learning_pool);
}

/* The learning rate in the units of this step's normalised gradient, as mult / 2^shift. */
static int32_t step_rate(const el_step *step, int32_t rate_q16, int32_t *shift)
{
    int32_t length = step->length > 1 ? step->length : 1;
    int64_t mult = (int64_t)rate_q16 * 16 * step->magnitude_q23 * 4096 / length;
    *shift = 37 - el_layers[0].weight_shift;
    while (mult > 32767 && *shift > LEAST_SHIFT) {
        mult = (mult + 1) >> 1;
        (*shift)--;
    }
    return mult < 32767 ? (int32_t)mult : 32767;
}

void el_step_begin(const el_record *record, uint32_t seed, int32_t rate_q16)
{
    el_gradient_step *work = &el_device.gradient_step;
    int32_t before = record->frames > EL_TAPE_FRAMES ? record->frames - EL_TAPE_FRAMES : 0;
    work->pass = EL_PASS_FORWARD;
    work->row = record->row;
    work->rate_q16 = rate_q16;
    work->seed = seed;
    work->result.left_out = before;
    el_records_decode(&el_rehearsal, record, el_memory.learning_frames);
    el_run_begin(el_memory.learning_frames, 0, record->frames, before);
    for (int k = 0; k < 4; k++) {
        el_memory.tape_fill[k] = 0;
    }
}

int el_step_slice(void)
{
    el_gradient_step *work = &el_device.gradient_step;
    switch (work->pass) {
    case EL_PASS_FORWARD:
        if (!el_run_frame()) {
            work->result.left_out += el_memory.tape_fill[2];
            work->pass = EL_PASS_HEAD;
        }
        return 1;
    case EL_PASS_HEAD:
        el_head_step(el_memory.learning_pool, work->row, &work->result);
        el_backward_begin();
        work->pass = EL_PASS_BACKWARD;
        return work->result.magnitude_q23 != 0;
    case EL_PASS_BACKWARD:
        if (!el_backward_frame(el_memory.classifier_gradient)) {
            int32_t shift, mult = step_rate(&work->result, work->rate_q16, &shift);
            el_update_begin(mult, shift);
            work->pass = EL_PASS_UPDATE;
        }
        return 1;
    default:
        el_device.changing = el_update_column();
        el_device.changes += !el_device.changing;
        return el_device.changing;
    }
}
