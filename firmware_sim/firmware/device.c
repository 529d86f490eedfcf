/* Samples in, words out; the twin of edgelearn/runtime/recognizer.py.
 *
 * What has a deadline is apart from what has time: el_hear makes features and looks for utterances, el_listen runs the
 * network for what was heard, a frame a call. While weights are half changed frames wait, as they do while an utterance
 * that has ended is heard in other voices.
 */
#include "edgelearn.h"

el_arena el_memory;
el_device_state el_device;
const el_layer el_layers[EL_LAYERS] = EL_LAYER_TABLE;
const el_stream el_listening = {
    0, 0, el_memory.listening_state_scratch_columns, el_memory.listening_state_scratch_deltas,
    el_memory.listening_state_scratch_gates, el_memory.listening_pool};
const el_stream el_learning = {
    1, 0, el_memory.learning_state_scratch_columns, el_memory.learning_state_scratch_deltas,
    el_memory.learning_state_scratch_gates, el_memory.learning_pool};
const el_stream el_rough = {
    1, 1, el_memory.learning_state_scratch_columns, el_memory.learning_state_scratch_deltas,
    el_memory.learning_state_scratch_gates, el_memory.learning_pool};
const el_records el_rehearsal = {
    el_memory.rehearsal_records, EL_REHEARSAL_BYTES, el_memory.rehearsal_hat, el_memory.rehearsal_used};
const el_records el_last = {el_memory.last_records, EL_LAST_BYTES, el_memory.last_hat, el_memory.last_used};

#define GAP 0x80 /* behind a frame that waits sound is missing */
#define MOST_FRAMES (1 << 30) /* after eight months frames count from 0 again, in a pause */

static int32_t newest(void)
{
    return (el_device.next + el_device.waiting - 1) % EL_WAITING;
}

/* What was heard and said before this frame is of no account for what comes. */
static void forget(void)
{
    el_device.start = -1;
    el_device.since = el_device.quiet = el_device.frames;
    el_device.command = EL_NEVER;
    el_activity_reset(&el_device.activity);
    for (int32_t n = 0; n < el_device.words; n++) {
        el_device.word[n].last_heard = EL_NEVER;
    }
}

void el_gap(void)
{
    el_frontend_reset();
    el_endpoint_reset();
    if (el_device.waiting) {
        el_device.code[newest()] |= GAP;
    } else {
        forget();
    }
}

void el_reset(void)
{
    el_device.waiting = el_device.next = el_device.taken_up = el_device.ending = el_device.noise_goes_on = 0;
    el_device.frames = 0;
    el_gap();
    el_device.fed = el_device.goal = el_device.last = -1;
    el_device.built = el_device.changes;
}

/* Whether the utterance is said in the middle of a talk. */
static int within_talk(void)
{
    int32_t talk = el_device.activity.talk;
    return talk > el_device.command && el_device.start - talk < EL_PAUSE_FRAMES;
}

/* The best word for what is pooled, -1 without words, and how far its score is above what it needs. */
static int32_t judge(int32_t *score, int32_t *margin)
{
    int32_t best;
    el_embedding(el_memory.listening_pool);
    el_cosines();
    best = el_best_word(score);
    if (best < 0) {
        *margin = INT32_MIN;
    } else {
        *margin = *score - el_device.word[best].threshold_q14 + EL_BIAS_Q14;
        *margin -= el_device.activity.spoken ? 0 : EL_UNSPOKEN_Q14;
        *margin -= within_talk() ? EL_WITHIN_TALK_Q14 : 0;
    }
    return best;
}

/* Take the noise off the frames of the ring up to `stop` that still have it. */
static void subtract(int32_t stop)
{
    for (; el_device.quiet < stop; el_device.quiet++) {
        el_subtract_floor(
            el_memory.listening_ring + el_device.quiet % EL_RING_FRAMES * EL_INPUTS, el_memory.listening_floor);
    }
}

static int32_t sooner(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t later(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* What is around the utterance that has ended, as far as it is there. */
static void look_around(void)
{
    el_device.before = el_device.noisy ? sooner(EL_OUTER_PRE_FRAMES, el_device.start - el_device.since) : 0;
    el_device.after = el_device.noisy ? sooner(EL_OUTER_POST_FRAMES, el_device.frames - el_device.fed) : 0;
    subtract(el_device.fed + el_device.after);
    el_device.first = el_device.start;
    el_device.sounding = el_sounding(
        el_memory.listening_ring, EL_RING_FRAMES, &el_device.first, el_device.fed - el_device.start, el_device.before,
        el_device.after);
}

/* Whether an utterance that has ended is to be heard in another voice, which begins here if the one before is done; in
 * none if it is far from every word in its own. */
static int another_voice(void)
{
    int32_t score = 0, margin;
    if (el_device.voice) {
        if (el_device.voiced < el_voice_frames(el_device.voice, el_device.sounding)) {
            return 1;
        }
        if (el_device.voice == EL_VOICES) {
            return 0;
        }
    } else {
        look_around();
        judge(&score, &margin);
        if (margin < -EL_FAR_Q14) {
            return 0;
        }
        el_own_voice_done(el_listening.pool);
    }
    el_device.voice++;
    el_device.voiced = 0;
    el_state_reset(&el_listening);
    el_device.built = el_device.changes;
    return 1;
}

/* An utterance has ended: returns whether it was a word. */
static int decide(int32_t now, el_event *event)
{
    int32_t score = 0, margin, best = judge(&score, &margin);
    el_word *word;
    if (el_records_add(&el_last, 0, el_memory.listening_ring, el_device.start, el_device.fed - el_device.start,
                       EL_RING_FRAMES, el_device.before, el_device.after) != EL_OK) {
        *el_last.used = 0; /* the last one is never an older one */
    }
    if (best < 0) {
        return 0;
    }
    word = &el_device.word[best];
    if (margin < 0 || word->rejects) {
        return 0;
    }
    if (!within_talk()) {
        el_device.command = now;
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
    event->columns = el_device.spoken * EL_COLUMNS;
    return 1;
}

/* The network hears frames start <= t < goal from the beginning. */
static void hear(int32_t start, int32_t goal)
{
    el_device.start = el_device.fed = start;
    el_device.goal = goal;
    el_device.quiet = later(el_device.quiet, el_device.noisy ? start - EL_OUTER_PRE_FRAMES : start);
    subtract(start);
    el_state_reset(&el_listening);
    el_device.built = el_device.changes;
    el_clear(el_listening.pool, EL_HIDDEN);
}

/* An utterance begins with frame `start` and is under way in frame `now`, the one that was taken up. */
static void begin(int32_t start, int32_t now, int anew, int decided)
{
    int32_t noise = 0;
    for (int b = 0; b < EL_BANDS; b++) {
        el_memory.listening_floor[b] = el_device.floor[el_device.next][b];
        noise += el_memory.listening_floor[b] > EL_QUIET_FLOOR;
    }
    el_device.noisy = 2 * noise >= EL_BANDS;
    el_device.active = el_device.spoken = 0;
    hear(start, now + 1);
    el_device.last = now;
    el_activity_begin(&el_device.activity, now, anew, decided);
}

/* What is heard so far is all of the utterance. */
static void end(void)
{
    el_device.ending = 1;
    el_device.voice = 0;
}

/* Begin anew where speech begins behind a noise, decide where it has ended and a noise goes on: returns whether there is
 * more to hear before the next frame. */
static int follow_speech(int32_t now)
{
    int32_t stop;
    switch (el_activity_push(&el_device.activity, now)) {
    case EL_BEGINS:
        begin(later(el_device.start, now - EL_BEGUN_FRAMES - EL_PRE_FRAMES), now, 1, 0);
        return 1;
    case EL_ENDED:
        el_device.last = later(el_device.start, el_device.activity.last);
        stop = el_device.last + EL_POST_FRAMES;
        hear(el_device.start, sooner(stop, now) + 1);
        end();
        el_device.noise_goes_on = 1;
        return 1;
    default:
        return 0;
    }
}

/* Take up the next frame that waits: into the ring, and what the end pointer said of it. */
static void take_up(void)
{
    const int8_t *frame = el_device.frame[el_device.next];
    int32_t now;
    int8_t *place;
    if (el_device.frames >= MOST_FRAMES && (el_device.code[el_device.next] & ~GAP) == EL_IDLE) {
        el_device.frames = 0;
        forget();
    }
    now = el_device.frames++;
    place = el_memory.listening_ring + now % EL_RING_FRAMES * EL_INPUTS;
    for (int b = 0; b < EL_BANDS; b++) {
        place[b] = frame[b];
    }
    el_device.followed = 1;
    switch (el_device.code[el_device.next] & ~GAP) {
    case EL_ONSET:
        begin(later(el_device.since, now - EL_ONSET_FRAMES + 1 - EL_PRE_FRAMES), now, 0, 0);
        break;
    case EL_SPEECH:
        el_device.goal = now + 1;
        el_device.last = now;
        el_device.followed = 0;
        break;
    case EL_END:
        if (!el_device.activity.decided) {
            el_device.goal = el_device.last + 1 + EL_POST_FRAMES;
            end();
        }
        break;
    case EL_TOO_LONG: /* only what was behind a noise may be a command */
        if (el_device.activity.anew && el_device.activity.spoke) {
            end();
        }
        break;
    default:
        break;
    }
}

/* The frame that was taken up is done with. */
static void let_go(void)
{
    if (el_device.code[el_device.next] & GAP) {
        forget();
    }
    el_device.next = (el_device.next + 1) % EL_WAITING;
    el_device.waiting--;
    el_device.taken_up = 0;
}

size_t el_hear(const int16_t *samples, size_t count, int *frame)
{
    int8_t *features = el_device.frame[(el_device.next + el_device.waiting) % EL_WAITING];
    size_t taken;
    *frame = 0;
    if (el_device.waiting == EL_WAITING) {
        return 0;
    }
    taken = el_frontend_push(samples, count, features, frame);
    if (*frame) {
        el_device.waiting++;
        el_device.code[newest()] = (uint8_t)el_endpoint_push(features);
        if (el_device.code[newest()] == EL_ONSET || el_device.code[newest()] == EL_SPEECH) {
            for (int b = 0; b < EL_BANDS; b++) { /* the end pointer goes on before the network begins */
                el_device.floor[newest()][b] = (int8_t)(el_memory.endpoint_floor[b] >> 8);
            }
        }
    }
    return taken;
}

int el_listen(el_event *event, int *heard)
{
    int32_t now;
    *heard = 0;
    if (el_device.changing || !el_device.waiting) {
        return 0;
    }
    if (!el_device.taken_up) {
        take_up();
        el_device.taken_up = 1;
    } else if (el_device.built != el_device.changes) {
        el_state_rebuild(&el_listening);
        el_device.built = el_device.changes;
    } else if (el_device.fed < el_device.goal) {
        subtract(el_device.fed + 1);
        el_forward(&el_listening, el_memory.listening_ring + el_device.fed % EL_RING_FRAMES * EL_INPUTS, 0);
        el_device.fed++;
        el_device.spoken++;
    } else {
        int8_t voiced[EL_INPUTS];
        el_voice_frame(
            el_device.voice, el_device.voiced, el_memory.listening_ring, el_device.first, el_device.sounding,
            EL_RING_FRAMES, voiced);
        el_forward(&el_listening, voiced, 0);
        el_device.voiced++;
        el_device.spoken++;
    }
    if (el_device.fed < el_device.goal || (el_device.ending && another_voice())) {
        return 1;
    }
    now = el_device.frames - 1;
    if (el_device.ending) {
        el_device.ending = 0;
        *heard = decide(now, event);
        if (el_device.noise_goes_on) {
            el_device.noise_goes_on = 0;
            begin(later(el_device.start, now + 1 - EL_PRE_FRAMES), now, 0, 1);
            return 1;
        }
    }
    if (!el_device.followed) {
        el_device.followed = 1;
        if (follow_speech(now)) {
            return 1;
        }
    }
    let_go();
    return 1;
}

size_t el_push(const int16_t *samples, size_t count, el_event *event, int *heard)
{
    int frame;
    size_t taken = el_hear(samples, count, &frame);
    *heard = 0;
    while (!*heard && el_listen(event, heard)) {
    }
    return taken;
}
