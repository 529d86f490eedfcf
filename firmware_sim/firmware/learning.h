/* What learning.c, passes.c, lesson.c and teach.c share: work in slices, begun once and then called until it returns 0. */
#ifndef EDGELEARN_LEARNING_H
#define EDGELEARN_LEARNING_H

#include "edgelearn.h"

/* Between two gradient steps the gates on the tape are idle: the order of the exemplars is drawn there, and the sweeps
 * keep the gradients of the taught rows there (int32 [rows][EL_HIDDEN]), and behind them unit embeddings of exemplars. */
#define el_idle (el_memory.EL_IDLE_REGION)
/* What its own voice hears of the exemplar that is decoded in learning_frames. */
#define el_own_frames (el_memory.learning_frames + EL_OUTER_PRE_FRAMES * EL_BANDS)
#define EL_IDLE_NUMBERS ((int32_t)(sizeof el_idle.i16 / sizeof el_idle.i16[0]))

/* Frames (int8 Q6 [count][EL_BANDS], kept until it is done) that the own voice of an utterance hears from a zero state,
 * then they and what is around them as voices 1 .. `voices` would have said it, each from a zero state; the tape takes
 * those of its own voice from `taped_from` on. A slice is a frame; at the end learning_pool holds the sum of h of all
 * voices. stream: el_learning or el_rough. */
void el_run_begin(
    const el_stream *stream, const int8_t *frames, int32_t count, int32_t taped_from, int32_t voices);
int el_run_frame(void);
void el_utterance_begin(const int8_t *frames, int32_t count); /* with what is around it, in all voices, on el_learning */

/* One gradient step on a record of the rehearsal memory. */
void el_step_begin(const el_record *record, uint32_t seed, int32_t rate_q16);
int el_step_slice(void);

/* Passes over exemplars, see passes.c. A stage of a lesson is entered; one that is a pass, begun. A slice returns 0 when
 * all exemplars that the stage wants were heard. */
void el_lesson_enter(el_stage stage);
void el_pass_begin(el_stage stage);
int el_pass_slice(void);
/* Decode a record, as one of its variants (0: as it is), and begin to run it; rough: in its own voice, on el_rough. */
void el_exemplar_begin(const el_record *record, int32_t variant, int rough);
int16_t *el_kept_unit(int32_t n); /* int16 Q14 [EL_HIDDEN], of the first lesson->units exemplars */
void el_add_unit(int32_t *sum, int32_t weight); /* what is in classifier_embedding, to int32 [EL_HIDDEN] */

int el_busy(void); /* whether slices of something are left, see teach.c */

/* A lesson, see lesson.c. */
int el_lesson_slice(void);

#endif
