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
    int32_t inputs, hidden, weight_shift, theta_x, theta_h, bias_limit;
    int8_t *hi, *lo; /* [inputs + hidden][4 hidden]: a column is contiguous */
    int32_t *bias;
    el_state listening, learning;
    int16_t *gates, *c; /* of the tape: [EL_TAPE_FRAMES][4 hidden], later CM16; [EL_TAPE_FRAMES + 1][hidden] */
    int32_t *grad_h, *grad_c, *grad_memory, *grad_h_hat, *grad_x_hat;
} el_layer;

extern const el_layer el_layers[EL_LAYERS];
extern el_arena el_memory;

/* A run of frames through all layers: which of the two states, its scratch of one frame, and its sum of h. */
typedef struct {
    int learning;
    uint16_t *columns;
    int16_t *deltas, *gates;
    int32_t *pool;
} el_stream;

extern const el_stream el_listening, el_learning;

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
} el_record;

/* A word of the vocabulary. */
typedef struct {
    int16_t row;
    int16_t rejects; /* it collects false alarms and is never reported */
    int32_t threshold_q14;
    int32_t last_heard; /* frame, or EL_NEVER */
} el_word;

#define EL_NEVER INT32_MIN

typedef enum { EL_IDLE, EL_ONSET, EL_SPEECH, EL_HANG, EL_END, EL_TOO_LONG } el_code;

/* What goes on outside of the arena. Frames count from the start of the stream. */
typedef struct {
    int32_t frames, start, fed, last;
    uint32_t active;      /* of the utterance under way: deltas that were not skipped */
    uint32_t saturations; /* numbers clipped since el_load */
    int32_t stale;        /* the weights changed: M has to be rebuilt before it is used */
    int32_t rows, words;
    int32_t takes; /* of the word that was enrolled last */
    uint32_t generation;
    el_word word[EL_ROWS];
} el_device_state;

extern el_device_state el_device;

/* A word that was heard; the frames are those of edgelearn.runtime.recognizer. */
typedef struct {
    int32_t word; /* position in el_device.word */
    int32_t score_q14, start, stop, last, decided;
    uint32_t active, columns; /* deltas that were not skipped, of all */
} el_event;

/* One gradient step. */
typedef struct {
    int32_t loss_q10, magnitude_q23, length;
    int32_t left_out; /* frames that the tape had no room for */
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
    EL_FULL
} el_status;

/* -- frontend.c, endpoint.c */

void el_frontend_reset(void);
/* Take up to `count` samples, and stop after one whole frame: returns how many were taken; *frame becomes 1 if
 * `features` (int8 Q6 [EL_BANDS]) was written. */
size_t el_frontend_push(const int16_t *samples, size_t count, int8_t *features, int *frame);
int32_t el_log2_q10(uint64_t value); /* of value > 0 */
void el_endpoint_reset(void);
el_code el_endpoint_push(const int8_t *frame);

/* -- forward.c, backward.c, update.c */

void el_state_reset(const el_stream *stream);
void el_state_rebuild(const el_stream *stream);
/* One frame (int8 Q6). taping: whether the tape takes it if it has room. */
void el_forward(const el_stream *stream, const int8_t *frame, int taping);
void el_accumulate(const el_layer *layer, const uint16_t *columns, const int16_t *deltas, int32_t used, int32_t *memory);
void el_backward(const int32_t *grad_h); /* dL/dh of the last layer, the same for every frame, int32 [EL_HIDDEN] */
void el_update(int32_t mult, int32_t shift, uint32_t seed);

/* -- head.c: works on classifier_embedding (the unit vector at hand) and classifier_cosines (its cosines) */

int32_t el_unit_embedding(const int32_t *pool); /* of a sum of h; returns its length */
/* A row in the direction of a times_a + b times_b (b may be NULL). */
void el_set_row(int32_t row, const int32_t *a, int32_t times_a, const int32_t *b, int32_t times_b);
void el_cosines(void);
int32_t el_nearest(void);         /* the row of the largest cosine */
int32_t el_score(int32_t row);    /* the score (Q14) of a word at this row */
int32_t el_best_word(int32_t *score_q14); /* its position in el_device.word, -1 without words */
/* Loss against row `target`; leaves dL/dh in classifier_gradient. */
void el_head_step(const int32_t *pool, int32_t target, el_step *step);

/* -- records.c */

/* Store frames first, first + 1, ... (modulo `ring`) of `frames`; EL_FULL if one record does not fit alone. */
el_status el_records_add(
    const el_records *records, int32_t row, const int8_t *frames, int32_t first, int32_t count, int32_t ring);
int el_records_next(const el_records *records, int32_t offset, el_record *record); /* 0 at the end */
void el_records_decode(const el_records *records, const el_record *record, int8_t *frames);
int el_records_whole(const uint8_t *bytes, int32_t size, int32_t rows);

/* -- image.c */

uint32_t el_crc32(uint32_t crc, const uint8_t *bytes, size_t count); /* start from 0 */
el_status el_load(const uint8_t *image, size_t size);
size_t el_image_bytes(void); /* of the model as it is now */
/* Hand the model as it is now to `write`, piece by piece; generation: of the image. */
void el_save(uint32_t generation, void (*write)(void *context, const uint8_t *bytes, size_t count), void *context);

/* -- device.c */

void el_reset(void); /* forget the stream */
void el_gap(void);   /* sound is missing here */
/* Take samples; stops after one whole frame and returns how many were taken. *event is filled and *heard becomes 1 if a
 * word ended in it. */
size_t el_push(const int16_t *samples, size_t count, el_event *event, int *heard);
/* The unit vector of an utterance, int8 Q6 [count][EL_BANDS], goes to classifier_embedding. */
void el_embed(const int8_t *frames, int32_t count);
int32_t el_enrol_begin(void); /* the row of a new word, or -1: no room */
el_status el_enrol_take(int32_t row, const int8_t *frames, int32_t count);
void el_enrol_end(int32_t row);
/* One gradient step on a record of the rehearsal memory. */
void el_learn(const el_record *record, uint32_t seed, int32_t rate_q16, el_step *step);
void el_follow(int32_t row); /* the prototype of the word that was enrolled last follows the weights */
/* Of the exemplars of all rows but one: how many are nearest to their own row. */
void el_count_right(int32_t but_row, int32_t *right, int32_t *total);
int32_t el_threshold(int32_t row, int32_t least_q14); /* the score (Q14) from which a taught word counts as said */
el_status el_add_word(int32_t row, int32_t threshold_q14);

#endif
