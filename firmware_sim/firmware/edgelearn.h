/* The device in C: listening, learning and its model, the same integers as the Python engine.
 *
 * There is no heap. Everything large lies in one static arena, `el_memory`, whose layout `edgelearn export` writes to
 * edgelearn_config.h; what else is remembered is `el_device`. One device, one thread.
 */
#ifndef EDGELEARN_H
#define EDGELEARN_H

#include <stddef.h>
#include <stdint.h>

#include "edgelearn_config.h"

/* What a stream of frames remembers of a layer: M, c, h, h^, x^. */
typedef struct {
    int32_t *memory;
    int16_t *c, *h, *h_hat, *x_hat;
} el_state;

/* A layer: shape and formats, weights, its two states, its part of the tape, its gradients. */
typedef struct {
    int32_t inputs, hidden, weight_shift, bias_limit;
    int32_t theta_x[2], theta_h[2]; /* delta thresholds: those of el_rough last */
    int8_t *hi, *lo; /* [inputs + hidden][4 hidden]: a column is contiguous */
    int32_t *bias;
    el_state listening, learning;
    int16_t *gates, *c; /* of the tape: [EL_TAPE_FRAMES][4 hidden], later CM16; [EL_TAPE_FRAMES + 1][hidden] */
    int32_t *grad_h, *grad_c, *grad_memory, *grad_h_hat, *grad_x_hat;
} el_layer;

extern const el_layer el_layers[EL_LAYERS];
extern el_arena el_memory;

/* A run of frames through all layers: which of the two states, which thresholds, its scratch of one frame, and its sum
 * of h. */
typedef struct {
    int learning, rough;
    uint16_t *columns;
    int16_t *deltas, *gates;
    int32_t *pool;
} el_stream;

/* el_rough: el_learning at the larger thresholds of the steps and checks of a lesson. */
extern const el_stream el_listening, el_learning, el_rough;

/* Records of utterances, packed without holes: see records.c. */
typedef struct {
    uint8_t *bytes;
    int32_t capacity;
    int8_t *hat;
    int32_t *used;
} el_records;

extern const el_records el_rehearsal, el_last;

typedef struct {
    int32_t offset, size, row, frames;
    int32_t surrounded; /* whether it has what is around the word; else that is made of its first and its last frame */
} el_record;

/* A word of the vocabulary. */
typedef struct {
    int16_t row;
    int16_t rejects; /* position + 1 of the word whose false alarms it collects: it is never reported itself; else 0 */
    int32_t threshold_q14;
    int32_t last_heard; /* frame, or EL_NEVER */
} el_word;

#define EL_NEVER INT32_MIN
/* Frames of an utterance that only its other voices hear. */
#define EL_OUTER_FRAMES (EL_OUTER_PRE_FRAMES + EL_OUTER_POST_FRAMES)
/* Frames that can wait while weights are half changed, or an utterance is heard in other voices. */
#define EL_WAITING 16

typedef enum { EL_IDLE, EL_ONSET, EL_SPEECH, EL_HANG, EL_END, EL_TOO_LONG } el_code;

typedef enum { EL_GOES_ON, EL_BEGINS, EL_ENDED } el_told;

/* Of the utterance under way, see VoiceActivity in edgelearn/audio/activity.py. */
typedef struct {
    int32_t silent, run, last;
    int32_t sure, sure_before_run, talk; /* frames, or EL_NEVER */
    uint8_t in_noise, spoke, spoken, anew, decided;
} el_activity;

/* numpy.random.default_rng: a PCG64, and the half of its last number that is still to be used. */
typedef struct {
    uint64_t high, low;
    uint32_t half;
    int32_t has_half;
} el_random;

/* One gradient step: what it found, and frames that the tape had no room for. */
typedef struct {
    int32_t loss_q10, magnitude_q23, length;
    int32_t left_out;
} el_step;

typedef enum {
    EL_OK,
    EL_TOO_SHORT,
    EL_NOT_A_MODEL,
    EL_OTHER_VERSION,
    EL_OTHER_NETWORK,
    EL_WRONG_SIZE,
    EL_DAMAGED,
    EL_BAD_NUMBER,
    EL_FULL,
    EL_NOT_SAVED, /* weights, or rows besides the one that is taught, are not those of the image */
    EL_REFUSED,   /* the lesson cost the old words too much and was undone */
    EL_BUSY,      /* slices of something else are left, or the row is not the one that is being enrolled */
    EL_NOT_ENROLLED /* another row than this was enrolled last, or none since the model was loaded */
} el_status;

/* How a word is learned, see LearnerConfig in edgelearn/learning/learner.py. */
typedef struct {
    int32_t steps, rate_q16, least_takes, least_spread, sweeps, many_takes, alike_q14, row_rate_q16;
    int32_t most_old_loss_q16;
    int32_t least_q14; /* of the word's threshold */
} el_lesson_config;

extern const el_lesson_config el_lesson_default;

/* An utterance on its way through the network, in its own voice, voice 0, that hears `spoken` of its frames, and in voices
 * 1 .. `voices`, that hear `sounding` frames, the first of them `first` after that of its own (before it, if negative):
 * of the voice under way frames t .. count - 1 are left. */
typedef struct {
    const el_stream *stream;
    const int8_t *frames;
    int32_t t, count, taped_from, spoken, first, sounding, voice, voices;
} el_run;

/* A gradient step: its result, and where it stands. */
typedef struct {
    el_step result;
    enum { EL_PASS_FORWARD, EL_PASS_HEAD, EL_PASS_BACKWARD, EL_PASS_UPDATE } pass;
    int32_t row, rate_q16;
    uint32_t seed;
    int32_t frame, stop;                /* of the backward pass: frames and entries that are left */
    int32_t mult, shift, layer, column; /* of the update: its rate, and the column that is next */
} el_gradient_step;

/* The stages of a lesson, in their order. */
typedef enum {
    EL_CHECK_SAVED,
    EL_CHECK_BEFORE,
    EL_KEPT,
    EL_FOLLOW,
    EL_GRADIENT_STEP,
    EL_FOLLOW_LAST,
    EL_CHOOSE_ROWS,
    EL_KEEP_UNITS,
    EL_SWEEP,
    EL_CHECK_AFTER,
    EL_PUT_BACK_WEIGHTS,
    EL_PUT_BACK_ROWS,
    EL_NEARNESS,
    EL_THRESHOLD
} el_stage;

/* A lesson: its result, and where it stands. */
typedef struct {
    el_status status;
    int32_t gained;                     /* whether what was learned was kept; if not, the row is the mean of its takes */
    int32_t old_before, old_after, old; /* exemplars of other rows that are nearest to their own row, of all */
    int32_t threshold_q14;              /* the score from which the word counts as said */
    int32_t steps, sweeps, left_out;
    el_lesson_config config;
    const uint8_t *image;
    el_stage stage;
    int32_t row, separation;
    int32_t at, variant, running;  /* the exemplar under way: offset of its record */
    int32_t number, layer, column; /* the utterance or row of a sweep; what is chosen, compared or put back */
    int32_t right, total, own, takes, best_other, units;
    int32_t spread;  /* sum of the variances of the word's takes */
    uint32_t moved;  /* the rows of taught words that sweeps are for, a bit each */
    el_random random, order[2]; /* order, left: of the queues of old and of new exemplars, the state before they */
    int32_t left[2];            /* were drawn, and how many are left */
} el_lesson;

/* What goes on outside of the arena. Frames count from the start of the stream. */
typedef struct {
    int32_t frames, start, fed, last;
    int32_t since;                   /* the first frame that nothing is missing behind: an utterance has none before it */
    int32_t command;                 /* the frame in which a word was heard last that was not within a talk */
    int32_t quiet;                   /* the frames before it are without their noise already */
    int32_t goal, ending;            /* the network is to run up to this frame, and whether to decide then */
    int32_t followed, noise_goes_on; /* whether it was asked who speaks, and whether to hear on when that is decided */
    int32_t voice, voiced;           /* the voice in which it is heard, and frames of it that were; 0: its own */
    int32_t noisy, before, after;    /* whether there is noise, and frames around it that are heard then */
    int32_t first, sounding;         /* what the other voices hear: its first frame, and how many */
    int32_t waiting, next, taken_up; /* frames that were heard, and whether the next of them is being listened to */
    int8_t frame[EL_WAITING][EL_BANDS];
    int8_t floor[EL_WAITING][EL_BANDS]; /* of the noise, where an utterance is under way */
    uint8_t code[EL_WAITING];
    el_activity activity;
    uint32_t active, spoken; /* of the utterance under way: deltas that were not skipped, frames in all voices */
    uint32_t saturations;    /* numbers clipped since el_load */
    uint32_t changes, built; /* how often weights or prototypes changed, and had when M was made */
    int32_t changing;        /* they are half changed: nothing can be listened to */
    int32_t rows, words;
    int32_t takes; /* of the word that was enrolled last */
    int32_t enrolling, enrolled; /* the row that takes join now, and the one that may be taught: -1, none */
    uint32_t generation;
    el_word word[EL_ROWS];
    enum { EL_JOB_NONE, EL_JOB_TAKE, EL_JOB_STEP, EL_JOB_LESSON } job;
    el_run run;
    el_gradient_step gradient_step;
    el_lesson lesson;
} el_device_state;

extern el_device_state el_device;

/* A word that was heard; the frames are those of edgelearn.runtime.recognizer. */
typedef struct {
    int32_t word; /* position in el_device.word */
    int32_t score_q14, start, stop, last, decided;
    uint32_t active, columns; /* deltas that were not skipped, of all */
} el_event;

/* -- frontend.c, endpoint.c */

void el_frontend_reset(void);
/* Take up to `count` samples, and stop after one whole frame: returns how many were taken; *frame becomes 1 if
 * `features` (int8 Q6 [EL_BANDS]) was written. */
size_t el_frontend_push(const int16_t *samples, size_t count, int8_t *features, int *frame);
int32_t el_log2_q10(uint64_t value); /* of value > 0 */
void el_endpoint_reset(void);
el_code el_endpoint_push(const int8_t *frame);
void el_subtract_floor(int8_t *frame, const int8_t *floor);

/* -- activity.c */

void el_activity_reset(el_activity *activity);
void el_activity_begin(el_activity *activity, int32_t now, int anew, int decided);
el_told el_activity_push(el_activity *activity, int32_t now); /* after the network has heard frame `now` */

/* -- voices.c */

void el_own_voice_done(int32_t *pool); /* the sum of h of an utterance in its own voice: other voices will be added */

/* What the other voices hear of an utterance, frames first, first + 1, ... (modulo `ring`) that its own voice hears and
 * `before` and `after` around them: its first frame, and how many (returned). Frames around it that repeat the next one
 * in stand for sound that is not there, and are not heard. */
int32_t el_sounding(
    const int8_t *frames, int32_t ring, int32_t *first, int32_t count, int32_t before, int32_t after);

/* Of an utterance of `spoken` frames, first, first + 1, ... (modulo `ring`) of `frames` (int8 Q6 [..][EL_INPUTS]), as
 * voice 1 .. EL_VOICES would have said it: how many frames, and frame t of them. */
int32_t el_voice_frames(int32_t voice, int32_t spoken);
void el_voice_frame(
    int32_t voice, int32_t t, const int8_t *frames, int32_t first, int32_t spoken, int32_t ring, int8_t *out);

/* -- forward.c, backward.c, update.c */

void el_state_reset(const el_stream *stream);
void el_state_rebuild(const el_stream *stream);
/* One frame (int8 Q6). taping: whether the tape takes it if it has room. */
void el_forward(const el_stream *stream, const int8_t *frame, int taping);
void el_accumulate(const el_layer *layer, const uint16_t *columns, const int16_t *deltas, int32_t used, int32_t *memory);
/* The backward pass, a frame a call, and the update, a column or the biases of a layer a call: 0 after the last one.
 * grad_h: dL/dh of the last layer, the same for every frame, int32 [EL_HIDDEN]. */
void el_clear(int32_t *values, int32_t count);
void el_backward_begin(void);
int el_backward_frame(const int32_t *grad_h);
void el_update_begin(int32_t mult, int32_t shift);
int el_update_column(void);

/* -- head.c: works on classifier_embedding (the unit vector at hand) and classifier_cosines (its cosines) */

int64_t el_isqrt(int64_t value); /* integer square root of 0 <= value < 2^62, rounded down */
int32_t el_unit_embedding(const int32_t *vector); /* its direction becomes the unit vector at hand; returns its length */
void el_embedding(const int32_t *pool);           /* the embedding of a sum of h does: whitened, if the model whitens */
/* The direction of a times_a + b times_b (b may be NULL) in int8, and its norm in Q8. */
int32_t el_quantise(const int32_t *a, int32_t times_a, const int32_t *b, int32_t times_b, int8_t *row);
/* A row in the direction of a times_a + b times_b (b may be NULL). */
void el_set_row(int32_t row, const int32_t *a, int32_t times_a, const int32_t *b, int32_t times_b);
void el_set_nearness(int32_t row); /* how near a row is to another base row, when base rows have changed */
void el_cosines(void); /* of taught words with what is taken back of them */
int32_t el_nearest(void);         /* the row of the largest cosine */
int32_t el_closest_class(int32_t row); /* the best cosine (Q14) of a row to another class: background rows are none */
int32_t el_score(int32_t row);    /* the score (Q14) of a word at this row */
int32_t el_best_word(int32_t *score_q14); /* its position in el_device.word, -1 without words */
/* Loss against row `target`; leaves dL/dh in classifier_gradient. */
void el_head_step(const int32_t *pool, int32_t target, el_step *step);
/* Add the gradient of the unit vector, of row `target`, for all taught rows to sums (int32 [rows][EL_HIDDEN], Q29). */
void el_add_row_gradient(int32_t target, int32_t weight_q15, int32_t *sums);
void el_move_row(int32_t row, int32_t *sum, int32_t rate_q16); /* down its gradient, which is lost */
void el_unit_row(int32_t row);                                 /* a prototype becomes the unit vector at hand */

/* -- directions.c: of the takes of the word at a taught row */

void el_no_directions(int32_t row);
/* The unit vector at hand is a take, and joins them; sum: of the word's takes before it. It is at hand no more. */
void el_directions_add(int32_t row, const int32_t *sum);
int el_directions_have_a_say(int32_t row); /* whether the word has as many takes as they need */
/* To be added to the cosine (Q14) of the unit vector at hand to this row. */
int32_t el_taken_back(int32_t row, const int8_t *prototype, int32_t norm_q8);
/* As an image has them: how many takes, the length of their mean (Q14) and of each direction (Q14), EL_DIRECTION_NUMBERS in
 * all, and the directions, int8 [EL_DIRECTIONS][EL_HIDDEN]. */
void el_directions_put(int32_t row, const int32_t *numbers, const int8_t *vectors);
const int8_t *el_directions_get(int32_t row, int32_t *numbers);

#define EL_DIRECTION_NUMBERS (2 + EL_DIRECTIONS)

/* -- random.c */

void el_random_start(el_random *random); /* from the seed of the learner's configuration */
uint32_t el_random_next(el_random *random);
void el_random_shuffle(el_random *random, int16_t *numbers, int32_t count);

/* -- records.c */

/* Store an utterance: frames first, first + 1, ... (modulo `ring`) of `frames` that its own voice hears, and `before` and
 * `after` around them if the other voices hear more than these; EL_FULL if one record does not fit alone. */
el_status el_records_add(
    const el_records *records, int32_t row, const int8_t *frames, int32_t first, int32_t count, int32_t ring,
    int32_t before, int32_t after);
int el_records_next(const el_records *records, int32_t offset, el_record *record); /* 0 at the end */
int32_t el_records_count(const el_records *records, int32_t row);
/* The bytes of the records of rows below `rows`, the first ones: a word that is being enrolled has the last. */
int32_t el_records_below(const el_records *records, int32_t rows);
int32_t el_exemplars(void);                         /* records of the rehearsal memory */
int el_exemplar(int32_t number, el_record *record); /* one of them, in order of arrival; 0 if there is none */
void el_records_decode(const el_records *records, const el_record *record, int8_t *frames);
int el_records_whole(const uint8_t *bytes, int32_t size, int32_t rows);

/* -- image.c */

uint32_t el_crc32(uint32_t crc, const uint8_t *bytes, size_t count); /* start from 0 */
el_status el_load(const uint8_t *image, size_t size);
size_t el_image_bytes(void); /* of the model as it is now */
/* Sizes and records of an image that was checked when it was written. */
el_status el_image_sizes(const uint8_t *image, size_t size);
/* A column of a layer, or behind the last one the biases: whether it is that of the image; put_back: it becomes that. */
int el_image_column(const uint8_t *image, int k, int32_t column, int put_back);
int32_t el_image_rows(const uint8_t *image);
void el_image_row(const uint8_t *image, int32_t row); /* put back */
int el_image_same_row(const uint8_t *image, int32_t row); /* whether a row and its directions are those of the image */
void el_image_records(const uint8_t *image); /* put back, with the number of rows and the directions of taught ones */
/* Hand the model as it is now to `write`, piece by piece; generation: of the image. */
void el_save(uint32_t generation, void (*write)(void *context, const uint8_t *bytes, size_t count), void *context);

/* -- device.c: listening */

void el_reset(void); /* forget the stream */
void el_gap(void);   /* sound is missing here */
/* Features and end pointer: take samples, stop after one whole frame, return how many were taken; *frame becomes 1 if
 * there was one. None is taken while EL_WAITING frames wait for el_listen. */
size_t el_hear(const int16_t *samples, size_t count, int *frame);
/* One frame through the network, in its own or another voice, or one decision; 0 if there is nothing to do, or weights
 * are half changed. *event is
 * filled and *heard becomes 1 if a word has ended. */
int el_listen(el_event *event, int *heard);
/* Both: take samples, stop after one whole frame or one word, return how many were taken. */
size_t el_push(const int16_t *samples, size_t count, el_event *event, int *heard);

/* -- teach.c: what a program calls to teach, in slices or not. Nothing begins (EL_BUSY, -1) while slices are left. */

/* The unit vector of an utterance in all voices goes to classifier_embedding. An utterance is int8 Q6 [count][EL_BANDS]:
 * EL_OUTER_PRE_FRAMES before what its own voice hears, and EL_OUTER_POST_FRAMES after it. */
el_status el_embed(const int8_t *frames, int32_t count);
/* Do one slice of what was begun last: a frame of the network, or little more; about ten where a take ends or a lesson was
 * refused. Returns 0 when it is done. */
int el_slice(void);
int32_t el_enrol_begin(void);                         /* the row of a new word, or -1: no room */
el_status el_enrol_more(int32_t row, int32_t weight); /* takes join a row that stands for `weight` takes already */
/* A take, an utterance that is kept until it is done: the unit vector, then the record. */
el_status el_take_begin(int32_t row, const int8_t *frames, int32_t count);
el_status el_enrol_end(int32_t row);
/* Give up what is being enrolled: takes, and those that made room for them, are again what they are in the image. Without it
 * takes of a word that was given up last until another is enrolled; no image has them. */
el_status el_enrol_cancel(const uint8_t *image, size_t size);
/* The row that was enrolled last. image: the model in flash before it was enrolled, which what is not kept comes from; kept
 * until the lesson is done. Its result is el_device.lesson. */
el_status el_lesson_begin(int32_t row, const el_lesson_config *config, const uint8_t *image, size_t size);
el_status el_add_word(int32_t row, int32_t threshold_q14);
/* One gradient step on a record of the rehearsal memory; its result is el_device.gradient_step.result. */
el_status el_learn_begin(const el_record *record, uint32_t seed, int32_t rate_q16);
/* The same, begun and done. */
el_status el_enrol_take(int32_t row, const int8_t *frames, int32_t count);
el_status el_teach(int32_t row, const el_lesson_config *config, const uint8_t *image, size_t size);
el_status el_learn(const el_record *record, uint32_t seed, int32_t rate_q16, el_step *step);

#endif
