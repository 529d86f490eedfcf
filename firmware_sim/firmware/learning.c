/* An utterance through the network, and a gradient step on one, in slices; the twin of hearing.py and `Learner.step` in
 * edgelearn/learning/.
 *
 * A slice ends where nothing is in registers but counters: after a frame of the forward pass, a frame of the backward
 * pass, a column of the update, or the biases. All else is in the arena and in `el_device`.
 */
#include "learning.h"
#include "fixed.h"
#include "edgelearn_tables.h"

#define LEAST_SHIFT 4 /* of an update's rate */

void el_run_begin(
    const el_stream *stream, const int8_t *frames, int32_t count, int32_t taped_from, int32_t voices)
{
    el_run *run = &el_device.run;
    run->stream = stream;
    run->frames = frames;
    run->t = 0;
    run->count = run->spoken = count > 0 ? count : 0;
    run->taped_from = taped_from;
    run->voice = 0;
    run->voices = count > 0 ? voices : 0;
    el_state_reset(stream);
    el_clear(el_memory.learning_pool, EL_HIDDEN);
}

/* Where a voice is done, begin the next one; 0 when all are. */
static int frames_left(el_run *run)
{
    while (run->t == run->count && run->voice < run->voices) {
        if (run->voice == 0) {
            int32_t first = EL_OUTER_PRE_FRAMES;
            run->sounding = el_sounding(
                run->frames - EL_OUTER_PRE_FRAMES * EL_INPUTS, run->spoken + EL_OUTER_FRAMES, &first, run->spoken,
                EL_OUTER_PRE_FRAMES, EL_OUTER_POST_FRAMES);
            run->first = first - EL_OUTER_PRE_FRAMES;
            el_own_voice_done(el_memory.learning_pool);
        }
        run->voice++;
        run->t = 0;
        run->count = el_voice_frames(run->voice, run->sounding);
        el_state_reset(run->stream);
    }
    return run->t < run->count;
}

int el_run_frame(void)
{
    el_run *run = &el_device.run;
    if (frames_left(run)) {
        uint32_t active = el_device.active; /* what listens is counted apart from what learns */
        int8_t voiced[EL_INPUTS];
        if (run->voice) {
            el_voice_frame(
                run->voice, run->t, run->frames + run->first * EL_INPUTS, 0, run->sounding, run->sounding, voiced);
            el_forward(run->stream, voiced, 0);
        } else {
            el_forward(run->stream, run->frames + run->t * EL_INPUTS, run->t >= run->taped_from);
        }
        el_device.active = active;
        run->t++;
    }
    return frames_left(run);
}

void el_utterance_begin(const int8_t *frames, int32_t count)
{
    el_run_begin(
        &el_learning, frames + EL_OUTER_PRE_FRAMES * EL_INPUTS, count - EL_OUTER_FRAMES, count, EL_VOICES);
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
    int32_t own = record->frames - EL_OUTER_FRAMES, before = own > EL_TAPE_FRAMES ? own - EL_TAPE_FRAMES : 0;
    work->pass = EL_PASS_FORWARD;
    work->row = record->row;
    work->rate_q16 = rate_q16;
    work->seed = seed;
    work->result.left_out = before;
    el_records_decode(&el_rehearsal, record, el_memory.learning_frames);
    el_run_begin(&el_rough, el_own_frames, own, before, 0);
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
