/* Teaching, begun and then done in slices, so that a main loop can listen between any two of them.
 *
 * One thing at a time: nothing begins while slices of another are left, which share its scratch.
 */
#include "learning.h"

int el_busy(void)
{
    return el_device.job != EL_JOB_NONE;
}

static void enrol(int32_t row)
{
    *el_rehearsal.used = el_records_below(&el_rehearsal, el_device.rows); /* without those of a word that was given up */
    el_clear(el_memory.learning_enrolled, EL_HIDDEN);
    el_device.enrolling = row;
    el_device.enrolled = -1;
}

int32_t el_enrol_begin(void)
{
    if (el_busy() || el_device.rows == EL_ROWS) {
        return -1;
    }
    enrol(el_device.rows);
    el_device.takes = 0;
    el_no_directions(el_device.rows);
    return el_device.rows;
}

el_status el_enrol_more(int32_t row, int32_t weight)
{
    if (el_busy()) {
        return EL_BUSY;
    }
    enrol(row);
    el_unit_row(row);
    el_add_unit(el_memory.learning_enrolled, weight);
    el_device.takes = weight;
    return EL_OK;
}

el_status el_enrol_cancel(const uint8_t *image, size_t size)
{
    el_status status = el_busy() ? EL_BUSY : el_image_sizes(image, size);
    if (status == EL_OK && el_device.enrolling < 0) {
        status = EL_NOT_ENROLLED;
    }
    if (status == EL_OK && el_device.rows != el_image_rows(image)) {
        status = EL_NOT_SAVED;
    }
    if (status == EL_OK) {
        el_image_records(image);
        el_device.enrolling = -1;
        el_device.changes++; /* of directions */
    }
    return status;
}

el_status el_take_begin(int32_t row, const int8_t *frames, int32_t count)
{
    if (el_busy() || row != el_device.enrolling) {
        return EL_BUSY;
    }
    el_utterance_begin(frames, count);
    el_device.job = EL_JOB_TAKE;
    return EL_OK;
}

static int take_slice(void)
{
    const el_run *run = &el_device.run;
    int32_t most = EL_RING_FRAMES - EL_OUTER_FRAMES, count = run->spoken < most ? run->spoken : most;
    int32_t before = count ? EL_OUTER_PRE_FRAMES : 0, after = count ? EL_OUTER_POST_FRAMES : 0; /* none of no word */
    if (el_run_frame()) {
        return 1;
    }
    el_embedding(el_memory.learning_pool);
    if (el_device.enrolling >= EL_BASE_ROWS) {
        el_directions_add(el_device.enrolling, el_memory.learning_enrolled);
        el_embedding(el_memory.learning_pool);
    }
    el_add_unit(el_memory.learning_enrolled, 1);
    el_device.takes++;
    el_device.lesson.status =
        el_records_add(
            &el_rehearsal, el_device.enrolling, run->frames - EL_OUTER_PRE_FRAMES * EL_INPUTS, EL_OUTER_PRE_FRAMES,
            count, EL_RING_FRAMES, before, after);
    return 0;
}

el_status el_enrol_end(int32_t row)
{
    if (el_busy() || row != el_device.enrolling) {
        return EL_BUSY;
    }
    el_device.rows = row < el_device.rows ? el_device.rows : row + 1;
    el_set_row(row, el_memory.learning_enrolled, 1, NULL, 0);
    el_device.enrolling = -1;
    el_device.enrolled = row;
    el_device.changes++;
    return EL_OK;
}

el_status el_add_word(int32_t row, int32_t threshold_q14)
{
    el_word *word = &el_device.word[el_device.words];
    if (el_device.words == EL_ROWS) {
        return EL_FULL;
    }
    word->row = (int16_t)row;
    word->rejects = 0;
    word->threshold_q14 = threshold_q14;
    word->last_heard = EL_NEVER;
    el_device.words++;
    return EL_OK;
}

el_status el_learn_begin(const el_record *record, uint32_t seed, int32_t rate_q16)
{
    if (el_busy()) {
        return EL_BUSY;
    }
    el_step_begin(record, seed, rate_q16);
    el_device.job = EL_JOB_STEP;
    return EL_OK;
}

el_status el_embed(const int8_t *frames, int32_t count)
{
    if (el_busy()) {
        return EL_BUSY;
    }
    el_utterance_begin(frames, count);
    while (el_run_frame()) {
    }
    el_embedding(el_memory.learning_pool);
    return EL_OK;
}

int el_slice(void)
{
    int more = 0;
    switch (el_device.job) {
    case EL_JOB_TAKE:
        more = take_slice();
        break;
    case EL_JOB_STEP:
        more = el_step_slice();
        break;
    case EL_JOB_LESSON:
        more = el_lesson_slice();
        break;
    default:
        break;
    }
    el_device.job = more ? el_device.job : EL_JOB_NONE;
    return more;
}

static void finish(void)
{
    while (el_slice()) {
    }
}

el_status el_enrol_take(int32_t row, const int8_t *frames, int32_t count)
{
    el_status status = el_take_begin(row, frames, count);
    if (status == EL_OK) {
        finish();
        status = el_device.lesson.status;
    }
    return status;
}

el_status el_teach(int32_t row, const el_lesson_config *config, const uint8_t *image, size_t size)
{
    el_status status = el_lesson_begin(row, config, image, size);
    if (status == EL_OK) {
        finish();
        status = el_device.lesson.status;
    }
    return status;
}

el_status el_learn(const el_record *record, uint32_t seed, int32_t rate_q16, el_step *step)
{
    el_status status = el_learn_begin(record, seed, rate_q16);
    if (status == EL_OK) {
        finish();
        *step = el_device.gradient_step.result;
    }
    return status;
}
