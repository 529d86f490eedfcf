/* Samples in, words out, and learning; the twin of edgelearn/runtime/recognizer.py and edgelearn/learning/learner.py. */
#include "edgelearn.h"
#include "fixed.h"

el_arena el_memory;
el_device_state el_device;
const el_layer el_layers[EL_LAYERS] = EL_LAYER_TABLE;
const el_stream el_listening = {
    0, el_memory.listening_state_scratch_columns, el_memory.listening_state_scratch_deltas,
    el_memory.listening_state_scratch_gates, el_memory.listening_pool};
const el_stream el_learning = {
    1, el_memory.learning_state_scratch_columns, el_memory.learning_state_scratch_deltas,
    el_memory.learning_state_scratch_gates, el_memory.learning_pool};
const el_records el_rehearsal = {
    el_memory.rehearsal_records, EL_REHEARSAL_BYTES, el_memory.rehearsal_hat, el_memory.rehearsal_used};
const el_records el_last = {el_memory.last_records, EL_LAST_BYTES, el_memory.last_hat, el_memory.last_used};

#define LEAST_SHIFT 4 /* of an update's rate */
#define SCORE_FLOOR (-(1 << 14))
#define ABOVE_BACKGROUND_Q14 328 /* 0.02 */
#define BELOW_TAKES_Q14 1638     /* 0.1 */

/* -- listening */

void el_gap(void)
{
    el_frontend_reset();
    el_endpoint_reset();
    el_device.start = -1;
}

void el_reset(void)
{
    el_gap();
    el_device.frames = 0;
    el_device.fed = el_device.last = -1;
    el_device.stale = 0;
    for (int32_t n = 0; n < el_device.words; n++) {
        el_device.word[n].last_heard = EL_NEVER;
    }
}

static void clear_pool(const el_stream *stream)
{
    for (int j = 0; j < EL_HIDDEN; j++) {
        stream->pool[j] = 0;
    }
}

/* Run the network on the frames of the ring up to `stop`. */
static void feed(int32_t stop)
{
    if (el_device.stale) {
        el_state_rebuild(&el_listening);
        el_device.stale = 0;
    }
    for (; el_device.fed < stop; el_device.fed++) {
        el_forward(&el_listening, el_memory.listening_ring + el_device.fed % EL_RING_FRAMES * EL_INPUTS, 0);
    }
}

/* An utterance has ended: returns whether it was a word. */
static int decide(int32_t now, el_event *event)
{
    int32_t score = 0, best;
    el_word *word;
    el_unit_embedding(el_memory.listening_pool);
    el_cosines();
    best = el_best_word(&score);
    el_records_add(
        &el_last, 0, el_memory.listening_ring, el_device.start, el_device.fed - el_device.start, EL_RING_FRAMES);
    if (best < 0) {
        return 0;
    }
    word = &el_device.word[best];
    if (score - word->threshold_q14 < -EL_BIAS_Q14 || word->rejects) {
        return 0;
    }
    if (word->last_heard != EL_NEVER && now - word->last_heard < EL_REFRACTORY_FRAMES) {
        return 0;
    }
    word->last_heard = now;
    event->word = best;
    event->score_q14 = score;
    event->start = el_device.start;
    event->stop = el_device.fed;
    event->last = el_device.last;
    event->decided = now;
    event->active = el_device.active;
    event->columns = (uint32_t)(el_device.fed - el_device.start) * EL_COLUMNS;
    return 1;
}

static int push_frame(const int8_t *frame, el_event *event)
{
    int32_t now = el_device.frames++;
    int8_t *place = el_memory.listening_ring + now % EL_RING_FRAMES * EL_INPUTS;
    for (int b = 0; b < EL_BANDS; b++) {
        place[b] = frame[b];
    }
    switch (el_endpoint_push(frame)) {
    case EL_ONSET:
        el_device.start = now - EL_ONSET_FRAMES + 1 - EL_PRE_FRAMES;
        el_device.start = el_device.start > 0 ? el_device.start : 0;
        el_device.fed = el_device.start;
        el_state_reset(&el_listening);
        el_device.stale = 0;
        el_device.active = 0;
        clear_pool(&el_listening);
        feed(now + 1);
        el_device.last = now;
        return 0;
    case EL_SPEECH:
        feed(now + 1);
        el_device.last = now;
        return 0;
    case EL_END:
        feed(el_device.last + 1 + EL_POST_FRAMES);
        return decide(now, event);
    case EL_TOO_LONG:
        el_device.start = -1; /* running speech is no command */
        return 0;
    default:
        return 0;
    }
}

size_t el_push(const int16_t *samples, size_t count, el_event *event, int *heard)
{
    int8_t features[EL_BANDS];
    int whole;
    size_t taken = el_frontend_push(samples, count, features, &whole);
    *heard = whole ? push_frame(features, event) : 0;
    return taken;
}

/* -- learning */

/* What listens is counted apart from what learns. */
static void forward_learning(const int8_t *frame, int taping)
{
    uint32_t active = el_device.active;
    el_forward(&el_learning, frame, taping);
    el_device.active = active;
}

void el_embed(const int8_t *frames, int32_t count)
{
    el_state_reset(&el_learning);
    clear_pool(&el_learning);
    for (int32_t t = 0; t < count; t++) {
        forward_learning(frames + t * EL_INPUTS, 0);
    }
    el_unit_embedding(el_memory.learning_pool);
}

static void embed_record(const el_record *record)
{
    el_records_decode(&el_rehearsal, record, el_memory.learning_frames);
    el_embed(el_memory.learning_frames, record->frames);
}

int32_t el_enrol_begin(void)
{
    if (el_device.rows == EL_ROWS) {
        return -1;
    }
    for (int j = 0; j < EL_HIDDEN; j++) {
        el_memory.learning_enrolled[j] = 0;
    }
    el_device.takes = 0;
    return el_device.rows;
}

el_status el_enrol_take(int32_t row, const int8_t *frames, int32_t count)
{
    el_embed(frames, count);
    for (int j = 0; j < EL_HIDDEN; j++) {
        el_memory.learning_enrolled[j] += el_memory.classifier_embedding[j];
    }
    el_device.takes++;
    count = count < EL_RING_FRAMES ? count : EL_RING_FRAMES;
    return el_records_add(&el_rehearsal, row, frames, 0, count, count > 0 ? count : 1);
}

/* Sum of the embeddings of a row's exemplars, int32 [EL_HIDDEN]; returns how many there are. */
static int32_t sum_exemplars(int32_t row, int32_t *sum)
{
    el_record record;
    int32_t count = 0;
    for (int j = 0; j < EL_HIDDEN; j++) {
        sum[j] = 0;
    }
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, &record); at += record.size) {
        if (record.row == row) {
            embed_record(&record);
            for (int j = 0; j < EL_HIDDEN; j++) {
                sum[j] += el_memory.classifier_embedding[j];
            }
            count++;
        }
    }
    return count;
}

void el_enrol_end(int32_t row)
{
    el_device.rows = row + 1;
    el_set_row(row, el_memory.learning_enrolled, 1, NULL, 0);
    sum_exemplars(row, el_memory.learning_kept);
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

void el_learn(const el_record *record, uint32_t seed, int32_t rate_q16, el_step *step)
{
    int32_t before = record->frames > EL_TAPE_FRAMES ? record->frames - EL_TAPE_FRAMES : 0, mult, shift;
    el_records_decode(&el_rehearsal, record, el_memory.learning_frames);
    el_state_reset(&el_learning);
    clear_pool(&el_learning);
    for (int k = 0; k < 4; k++) {
        el_memory.tape_fill[k] = 0;
    }
    for (int32_t t = 0; t < record->frames; t++) {
        forward_learning(el_memory.learning_frames + t * EL_INPUTS, t >= before);
    }
    step->left_out = before + el_memory.tape_fill[2];
    el_head_step(el_memory.learning_pool, record->row, step);
    if (step->magnitude_q23) {
        el_backward(el_memory.classifier_gradient);
        mult = step_rate(step, rate_q16, &shift);
        el_update(mult, shift, seed);
        el_device.stale = 1;
    }
}

void el_follow(int32_t row)
{
    int32_t *moved = el_memory.classifier_gradient; /* free between two learning steps */
    int32_t count = sum_exemplars(row, moved);
    for (int j = 0; j < EL_HIDDEN; j++) {
        moved[j] -= el_memory.learning_kept[j];
    }
    el_set_row(row, el_memory.learning_enrolled, count, moved, el_device.takes);
}

void el_count_right(int32_t but_row, int32_t *right, int32_t *total)
{
    el_record record;
    *right = *total = 0;
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, &record); at += record.size) {
        if (record.row != but_row) {
            embed_record(&record);
            el_cosines();
            *right += el_nearest() == record.row;
            ++*total;
        }
    }
}

int32_t el_threshold(int32_t row, int32_t least_q14)
{
    el_record record;
    int32_t background = SCORE_FLOOR, own = 0, takes = 0, threshold;
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, &record); at += record.size) {
        int32_t score;
        embed_record(&record);
        el_cosines();
        score = el_score(row);
        if (record.row == row) {
            own += score;
            takes++;
        } else if (score > background) {
            background = score;
        }
    }
    background += ABOVE_BACKGROUND_Q14;
    threshold = background > least_q14 ? background : least_q14;
    if (takes) {
        int32_t most = (int32_t)el_floor_div(own, takes) - BELOW_TAKES_Q14;
        threshold = threshold < most ? threshold : most;
    }
    return threshold;
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
