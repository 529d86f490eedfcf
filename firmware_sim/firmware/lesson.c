/* A whole lesson in slices: the twin of `Learner.teach` in edgelearn/learning/learner.py, and of what follows it.
 *
 * A stage is a pass over exemplars (passes.c), the gradient steps, the sweeps, or weights being put back from the image
 * in flash column by column. A slice is one frame, column or utterance of these.
 */
#include "learning.h"
#include "fixed.h"

#define WEIGHT_ONE 32768

typedef char el_the_gates_hold_the_gradients_of_all_taught_rows
    [sizeof el_idle.i32 >= sizeof(int32_t) * (EL_ROWS - EL_BASE_ROWS) * EL_HIDDEN ? 1 : -1];
typedef char el_a_bit_for_each_taught_row[EL_ROWS - EL_BASE_ROWS <= 32 ? 1 : -1];
/* a component of a moved row is at most 2^27 (1 + 16 rate) */
typedef char el_a_moved_row_is_in_32_bits[EL_ROW_RATE_Q16 < 61440 ? 1 : -1];

const el_lesson_config el_lesson_default = {
    EL_STEPS, EL_RATE_Q16, EL_LEAST_TAKES, EL_LEAST_SPREAD,
    EL_SWEEPS, EL_MANY_TAKES, EL_ALIKE_Q14, EL_ROW_RATE_Q16, EL_MOST_OLD_LOSS_Q16, EL_OPEN_SET_Q14};

static el_lesson *const lesson = &el_device.lesson;

el_status el_lesson_begin(int32_t row, const el_lesson_config *config, const uint8_t *image, size_t size)
{
    if (el_busy()) {
        return EL_BUSY;
    }
    /* nothing that is read of it is of the one before */
    lesson->gained = lesson->old_before = lesson->old_after = lesson->old = lesson->threshold_q14 = 0;
    lesson->steps = lesson->sweeps = lesson->left_out = 0;
    lesson->status = row == el_device.enrolled ? el_image_sizes(image, size) : EL_NOT_ENROLLED;
    if (lesson->status != EL_OK) {
        return lesson->status;
    }
    if (el_device.rows != el_image_rows(image) + (row == el_image_rows(image))) {
        return lesson->status = EL_NOT_SAVED; /* another row could not be put back */
    }
    if (el_exemplars() > EL_IDLE_NUMBERS) {
        return lesson->status = EL_FULL;
    }
    lesson->config = *config;
    lesson->image = image;
    lesson->row = row;
    lesson->left[0] = lesson->left[1] = 0;
    el_random_start(&lesson->random);
    el_device.job = EL_JOB_LESSON;
    el_lesson_enter(EL_CHECK_SAVED);
    return EL_OK;
}

static int32_t separation(void)
{
    return (int32_t)el_floor_div(lesson->own, lesson->takes > 1 ? lesson->takes : 1) - lesson->best_other;
}

/* The mean of all takes, moved as those moved that the memory still has. */
static void follow(void)
{
    int32_t *moved = el_memory.classifier_gradient;
    for (int j = 0; j < EL_HIDDEN; j++) {
        moved[j] -= el_memory.learning_kept[j];
    }
    el_set_row(lesson->row, el_memory.learning_enrolled, lesson->takes, moved, el_device.takes);
    el_device.changes++;
}

/* The score from which the word counts as said: above the background, and below its own takes. */
static int32_t threshold(void)
{
    int32_t least = lesson->best_other + EL_ABOVE_BACKGROUND_Q14;
    least = least > lesson->config.least_q14 ? least : lesson->config.least_q14;
    if (lesson->takes) {
        int32_t most = (int32_t)el_floor_div(lesson->own, lesson->takes) - EL_BELOW_TAKES_Q14;
        least = least < most ? least : most;
    }
    return least;
}

/* -- gradient steps, on takes and rehearsal in turn */

/* The exemplars of the row, or of all others, in the order of the queue under way; returns how many. */
static int32_t draw(int fresh)
{
    el_random again = lesson->order[fresh];
    el_record record;
    int32_t count = 0, n = 0;
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, &record); at += record.size, n++) {
        if ((record.row == lesson->row) == fresh) {
            el_idle.i16[count++] = (int16_t)n;
        }
    }
    el_random_shuffle(&again, el_idle.i16, count);
    if (!lesson->left[fresh]) {
        lesson->random = again;
    }
    return count;
}

/* Whether no noise fills what is soft in the word's takes: that is what gradients would learn. */
static int is_clear(void)
{
    int32_t least = lesson->config.least_spread * lesson->config.least_spread;
    return lesson->spread >= least * el_records_count(&el_rehearsal, lesson->row);
}

/* Begin the next gradient step; the row follows the weights first where a round of its takes is over. */
static void next_step(void)
{
    int32_t own = el_records_count(&el_rehearsal, lesson->row), others = el_exemplars() - own;
    int fresh = lesson->steps % 2 == 0 || others == 0;
    el_record record;
    if (own < lesson->config.least_takes || !is_clear() || lesson->steps >= lesson->config.steps) {
        el_pass_begin(EL_FOLLOW_LAST);
        return;
    }
    if (!lesson->left[fresh]) {
        lesson->order[fresh] = lesson->random;
        lesson->left[fresh] = draw(fresh);
        if (fresh && lesson->steps) {
            el_pass_begin(EL_FOLLOW);
            return;
        }
    }
    draw(fresh);
    el_exemplar(el_idle.i16[--lesson->left[fresh]], &record);
    el_step_begin(&record, el_random_next(&lesson->random), lesson->config.rate_q16);
    el_lesson_enter(EL_GRADIENT_STEP);
}

/* -- sweeps */

/* Whether sweeps are for one more of the taught words, see `rows_to_move` in edgelearn/learning/adaptation.py; returns 0
 * after the last. */
static int choose_slice(void)
{
    const el_lesson_config *config = &lesson->config;
    int32_t row = EL_BASE_ROWS + lesson->number++, kept = el_records_count(&el_rehearsal, row);
    int many = kept >= config->many_takes, some = kept >= config->least_takes;
    if ((is_clear() || !el_directions_have_a_say(row)) &&
        (many || (some && el_closest_class(row) >= config->alike_q14))) {
        lesson->moved |= UINT32_C(1) << (row - EL_BASE_ROWS);
    }
    return row + 1 < el_device.rows;
}

/* One utterance of a sweep, or one row that moves by its gradient; returns 0 when the sweep is over. */
static int sweep_slice(void)
{
    int32_t all = 0, taught = 0, n = lesson->number, row;
    el_record record;
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, &record); at += record.size) {
        all++;
        taught += record.row >= EL_BASE_ROWS;
    }
    row = n - all;
    if (n == 0 && !lesson->running) {
        el_clear(el_idle.i32, (el_device.rows - EL_BASE_ROWS) * EL_HIDDEN);
    }
    if (n < all + EL_BASE_ROWS) {
        int32_t among = all - taught + EL_BASE_ROWS;
        if (n >= all) {
            el_unit_row(row);
        } else {
            el_exemplar(n, &record);
            row = record.row;
            if (row >= EL_BASE_ROWS) {
                among = taught;
            }
            if (n < lesson->units) {
                for (int j = 0; j < EL_HIDDEN; j++) {
                    el_memory.classifier_embedding[j] = el_kept_unit(n)[j];
                }
            } else if (!lesson->running) {
                el_exemplar_begin(&record, 0, 0);
                return 1;
            } else if (el_run_frame()) {
                return 1;
            } else {
                el_embedding(el_memory.learning_pool);
                lesson->running = 0;
            }
        }
        el_add_row_gradient(row, WEIGHT_ONE / 2 / among, el_idle.i32);
    } else if (lesson->moved >> (row - EL_BASE_ROWS) & 1) {
        el_move_row(row, el_idle.i32 + (row - EL_BASE_ROWS) * EL_HIDDEN, lesson->config.row_rate_q16);
        el_device.changes++;
    }
    lesson->number++;
    return lesson->number < all + el_device.rows;
}

/* -- what the image in flash has */

/* One column (or the biases) of a layer against the image, or from it, then one row against it; returns 0 at the end. */
static int image_slice(int put_back)
{
    int k = lesson->layer, same = 1;
    if (k == EL_LAYERS) {
        int32_t row = lesson->number++;
        same = row == lesson->row || el_image_same_row(lesson->image, row);
    } else {
        same = el_image_column(lesson->image, k, lesson->column, put_back);
        if (++lesson->column > el_layers[k].inputs + el_layers[k].hidden) {
            lesson->column = 0;
            lesson->layer++;
        }
    }
    if (!same) {
        lesson->status = EL_NOT_SAVED;
        return 0;
    }
    return lesson->layer < EL_LAYERS || (!put_back && lesson->number < el_image_rows(lesson->image));
}

/* One row of the table as it was before: from the image, but what was enrolled from the sum of its takes. */
static int put_back_row(void)
{
    int32_t row = lesson->number++, saved = el_image_rows(lesson->image);
    if (lesson->status == EL_OK && row == lesson->row) {
        el_set_row(row, el_memory.learning_enrolled, 1, NULL, 0);
    } else if (row < saved) {
        el_image_row(lesson->image, row);
    }
    return lesson->number < el_device.rows;
}

/* What a base row that moved changes, for itself and for all others: one row. */
static int nearness_row(void)
{
    el_set_nearness(lesson->number++);
    return lesson->number < el_device.rows;
}

/* After weights and rows are what they are to be. */
static void settle(void)
{
    if (lesson->row < EL_BASE_ROWS) {
        el_device.changing = 1;
        el_lesson_enter(EL_NEARNESS);
    } else {
        el_pass_begin(EL_THRESHOLD);
    }
}

static int end(el_status status)
{
    lesson->status = status;
    return 0;
}

/* After a pass or another stage: what comes next. Returns 0 at the end of the lesson. */
static int next_stage(void)
{
    switch (lesson->stage) {
    case EL_CHECK_SAVED:
        if (lesson->status != EL_OK) {
            return end(lesson->status);
        }
        el_pass_begin(EL_CHECK_BEFORE);
        break;
    case EL_CHECK_BEFORE:
        lesson->old_before = lesson->right;
        lesson->old = lesson->total;
        lesson->separation = separation();
        el_pass_begin(EL_KEPT);
        break;
    case EL_FOLLOW:
        follow();
        next_step();
        break;
    case EL_GRADIENT_STEP:
        lesson->steps++;
        lesson->left_out += el_device.gradient_step.result.left_out;
        next_step();
        break;
    case EL_KEPT:
        next_step();
        break;
    case EL_FOLLOW_LAST:
        follow();
        lesson->moved = 0;
        el_lesson_enter(EL_CHOOSE_ROWS);
        break;
    case EL_CHOOSE_ROWS:
        if (lesson->moved) {
            el_pass_begin(EL_KEEP_UNITS);
        } else if (lesson->steps) {
            el_pass_begin(EL_CHECK_AFTER);
        } else { /* nothing has changed, which no second check has to find */
            lesson->gained = 0;
            lesson->old_after = lesson->old_before;
            settle();
        }
        break;
    case EL_KEEP_UNITS:
        if (lesson->config.sweeps) {
            el_lesson_enter(EL_SWEEP);
        } else {
            el_pass_begin(EL_CHECK_AFTER);
        }
        break;
    case EL_SWEEP:
        if (++lesson->sweeps < lesson->config.sweeps) {
            el_lesson_enter(EL_SWEEP);
        } else {
            el_pass_begin(EL_CHECK_AFTER);
        }
        break;
    case EL_CHECK_AFTER:
        lesson->old_after = lesson->right;
        if ((int64_t)(lesson->old_before - lesson->right) * 65536 >
            (int64_t)lesson->config.most_old_loss_q16 * lesson->old) {
            lesson->status = EL_REFUSED;
        } else {
            lesson->gained = separation() > lesson->separation + EL_LEAST_GAIN_Q14;
        }
        if (lesson->status == EL_OK && lesson->gained) {
            settle();
        } else {
            el_device.changing = 1;
            el_lesson_enter(EL_PUT_BACK_WEIGHTS);
        }
        break;
    case EL_PUT_BACK_WEIGHTS:
        el_lesson_enter(EL_PUT_BACK_ROWS);
        break;
    case EL_PUT_BACK_ROWS:
        el_device.changing = 0;
        el_device.changes++;
        if (lesson->status == EL_REFUSED) {
            el_image_records(lesson->image); /* the word that was enrolled is gone with its takes */
            el_device.enrolled = -1;
            return end(EL_REFUSED);
        }
        lesson->old_after = lesson->old_before;
        settle();
        break;
    case EL_NEARNESS:
        el_device.changing = 0;
        el_device.changes++;
        el_pass_begin(EL_THRESHOLD);
        break;
    default: /* EL_THRESHOLD */
        lesson->threshold_q14 = threshold();
        return end(EL_OK);
    }
    return 1;
}

int el_lesson_slice(void)
{
    int more;
    switch (lesson->stage) {
    case EL_CHECK_SAVED:
    case EL_PUT_BACK_WEIGHTS:
        more = image_slice(lesson->stage == EL_PUT_BACK_WEIGHTS);
        break;
    case EL_PUT_BACK_ROWS:
        more = put_back_row();
        break;
    case EL_NEARNESS:
        more = nearness_row();
        break;
    case EL_GRADIENT_STEP:
        more = el_step_slice();
        break;
    case EL_CHOOSE_ROWS:
        more = choose_slice();
        break;
    case EL_SWEEP:
        more = sweep_slice();
        break;
    default:
        more = el_pass_slice();
    }
    return more || next_stage();
}
