/* Passes over the exemplars of a lesson: each is decoded, run frame by frame, and heard once; see learning.h. */
#include "learning.h"

#define SCORE_FLOOR (-(1 << 14))
#define VARIANTS 4 /* as which a take is heard: as it is, late, quieter, covered */

static el_lesson *const lesson = &el_device.lesson;

int16_t *el_kept_unit(int32_t n)
{
    return el_idle.i16 + 2 * (el_device.rows - EL_BASE_ROWS) * EL_HIDDEN + n * EL_HIDDEN;
}

static int32_t room_for_units(void)
{
    return (EL_IDLE_NUMBERS - 2 * (el_device.rows - EL_BASE_ROWS) * EL_HIDDEN) / EL_HIDDEN;
}

void el_add_unit(int32_t *sum, int32_t weight)
{
    for (int j = 0; j < EL_HIDDEN; j++) {
        sum[j] += weight * el_memory.classifier_embedding[j];
    }
}

void el_lesson_enter(el_stage stage)
{
    lesson->stage = stage;
    lesson->at = lesson->number = lesson->variant = lesson->column = lesson->layer = 0;
    lesson->running = 0;
}

/* The smallest value of which more than a third of all lie at or below. */
static int8_t softest_third(const int8_t *values, int32_t count)
{
    int32_t low = -128, high = 127;
    while (low < high) {
        int32_t middle = (low + high + 256) / 2 - 128, below = 0;
        for (int32_t n = 0; n < count; n++) {
            below += values[n] <= middle;
        }
        if (below > count / 3) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return (int8_t)low;
}

void el_exemplar_begin(const el_record *record, int32_t variant, int rough)
{
    int8_t *frames = el_own_frames;
    int32_t own = record->frames - EL_OUTER_FRAMES, late = variant == 1 && own > 2 ? 2 : 0, floor = -128;
    int32_t count = own * EL_BANDS;
    el_records_decode(&el_rehearsal, record, el_memory.learning_frames);
    if (variant == 3) {
        floor = softest_third(frames, count);
    }
    for (int32_t n = 0; variant >= 2 && n < count; n++) {
        int32_t value = variant == 2 ? frames[n] - 8 : frames[n];
        frames[n] = (int8_t)(value > floor ? value : floor);
    }
    el_run_begin(
        rough ? &el_rough : &el_learning, frames + late * EL_BANDS, own - late, own,
        rough ? 0 : EL_VOICES);
    lesson->running = 1;
}

/* Of all features of an utterance, in feature steps squared. */
static int32_t variance(const int8_t *values, int32_t count)
{
    int32_t total = 0;
    int64_t squares = 0;
    for (int32_t n = 0; n < count; n++) {
        total += values[n];
        squares += values[n] * values[n];
    }
    return count ? (int32_t)((count * squares - (int64_t)total * total) / ((int64_t)count * count)) : 0;
}

/* What a pass does with an exemplar, whose unit vector is in classifier_embedding. */
static void hear(const el_record *record)
{
    int own = record->row == lesson->row;
    switch (lesson->stage) {
    case EL_CHECK_BEFORE:
    case EL_CHECK_AFTER:
    case EL_THRESHOLD: {
        int32_t score;
        el_cosines();
        score = el_score(lesson->row);
        lesson->own += own ? score : 0;
        lesson->takes += own;
        lesson->total += !own;
        lesson->right += !own && el_nearest() == record->row;
        lesson->best_other = !own && score > lesson->best_other ? score : lesson->best_other;
        break;
    }
    case EL_KEPT:
        el_add_unit(el_memory.learning_kept, 1);
        lesson->spread += variance(el_own_frames, (record->frames - EL_OUTER_FRAMES) * EL_BANDS);
        break;
    case EL_FOLLOW:
    case EL_FOLLOW_LAST:
        el_add_unit(el_memory.classifier_gradient, 1); /* free between two gradient steps */
        lesson->takes++;
        break;
    default: /* EL_KEEP_UNITS */
        for (int j = 0; j < EL_HIDDEN; j++) {
            el_kept_unit(lesson->units)[j] = el_memory.classifier_embedding[j];
        }
        lesson->units++;
    }
}

/* Whether an utterance of another word that is heard in its own voice could raise the threshold once it is in all. */
static int is_near(void)
{
    el_cosines();
    return el_score(lesson->row) >= lesson->config.least_q14 - EL_ABOVE_BACKGROUND_Q14 - EL_FAR_Q14;
}

static int wanted(const el_record *record)
{
    switch (lesson->stage) {
    case EL_KEPT:
    case EL_FOLLOW:
    case EL_FOLLOW_LAST:
        return record->row == lesson->row;
    case EL_KEEP_UNITS:
        return lesson->units < room_for_units();
    default:
        return 1;
    }
}

int el_pass_slice(void)
{
    el_record record;
    int32_t variants = lesson->stage == EL_CHECK_BEFORE || lesson->stage == EL_CHECK_AFTER ? VARIANTS : 1;
    int rough = lesson->stage != EL_KEEP_UNITS && lesson->stage != EL_THRESHOLD;
    while (el_records_next(&el_rehearsal, lesson->at, &record)) {
        if (wanted(&record)) {
            if (!lesson->running) {
                el_exemplar_begin(&record, lesson->variant, rough);
                if (lesson->stage == EL_THRESHOLD && record.row != lesson->row) {
                    el_device.run.voices = 0; /* the others will see */
                }
            } else if (!el_run_frame()) {
                el_embedding(el_memory.learning_pool);
                if (lesson->stage == EL_THRESHOLD && el_device.run.voices == 0 && el_device.run.spoken && is_near()) {
                    el_device.run.voices = EL_VOICES;
                    return 1;
                }
                hear(&record);
                lesson->running = 0;
                lesson->variant = record.row == lesson->row && lesson->variant + 1 < variants ? lesson->variant + 1 : 0;
                lesson->at += lesson->variant ? 0 : record.size;
            }
            return 1;
        }
        lesson->at += record.size;
    }
    return 0;
}

void el_pass_begin(el_stage stage)
{
    el_lesson_enter(stage);
    lesson->right = lesson->total = lesson->own = lesson->takes = 0;
    lesson->best_other = SCORE_FLOOR;
    if (stage == EL_KEPT) {
        el_clear(el_memory.learning_kept, EL_HIDDEN);
        lesson->spread = 0;
    } else if (stage == EL_FOLLOW || stage == EL_FOLLOW_LAST) {
        el_clear(el_memory.classifier_gradient, EL_HIDDEN);
    } else if (stage == EL_KEEP_UNITS) {
        lesson->units = 0;
    }
}
