/* What learning.c and lesson.c share: work in slices, begun once and then called until it returns 0. */
#ifndef EDGELEARN_LEARNING_H
#define EDGELEARN_LEARNING_H

#include "edgelearn.h"

#define el_idle (el_memory.EL_IDLE)

/* Frames first .. count - 1 (int8 Q6 [count][EL_BANDS], kept until it is done) from a zero state; the tape takes those
 * from `taped_from` on. A slice is a frame; at the end learning_pool holds the sum of h. */
void el_run_begin(const int8_t *frames, int32_t first, int32_t count, int32_t taped_from);
/* The same frames, all of them, as voice 1 .. EL_VOICES - 1 would have said them; nothing is taped. */
#define EL_VOICES 3
void el_run_again(int32_t voice);

/* Of a take in the sum of a word's takes; of the first one its own voice counts twice, every other once. */
#define EL_OWN_VOICE_WEIGHT 2
#define EL_TAKE_WEIGHT (EL_OWN_VOICE_WEIGHT + EL_VOICES - 1)
int el_run_frame(void);

/* One gradient step on a record of the rehearsal memory. */
void el_step_begin(const el_record *record, uint32_t seed, int32_t rate_q16);
int el_step_slice(void);

/* A lesson, see lesson.c. */
int el_lesson_slice(void);

#endif
