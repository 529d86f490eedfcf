/* Where an utterance starts and ends, and its noise taken off; the twin of edgelearn/audio/endpoint.py and noise.py. */
#include "edgelearn.h"
#include "edgelearn_tables.h"
#include "fixed.h"

enum { RUN, LENGTH, SILENCE, PRIMED, EXCESS, PEAK };

void el_endpoint_reset(void)
{
    for (int k = RUN; k <= PEAK; k++) {
        el_memory.endpoint_state[k] = 0;
    }
}

el_code el_endpoint_push(const int8_t *frame)
{
    int32_t *floor_q8 = el_memory.endpoint_floor;
    int64_t *state = el_memory.endpoint_state;
    int32_t excess = 0;
    if (!state[PRIMED]) {
        for (int b = 0; b < EL_BANDS; b++) {
            floor_q8[b] = frame[b] * 256;
        }
        state[PRIMED] = 1;
    }
    for (int b = 0; b < EL_BANDS; b++) {
        int32_t over = frame[b] - (floor_q8[b] >> 8) - EL_MARGIN;
        excess += over > 0 ? over : 0;
    }
    state[EXCESS] = excess;
    int speaking = state[LENGTH] > 0;
    int32_t part = state[LENGTH] >= EL_LATE_FRAMES && EL_FADE > EL_LATE_FADE ? EL_LATE_FADE : EL_FADE;
    int32_t faded = (int32_t)state[PEAK] / part;
    int active = excess >= (speaking ? (faded > EL_RELEASE ? faded : EL_RELEASE) : EL_ONSET_EXCESS);
    for (int b = 0; b < EL_BANDS; b++) {
        int32_t error = frame[b] * 256 - floor_q8[b];
        floor_q8[b] += error >> (error < 0 ? 3 : active || speaking ? 8 : 4);
    }
    int begins;
    if (speaking) { /* what went on for so long was the room, and here is the word: it begins anew */
        begins = state[LENGTH] >= EL_BACKGROUND_FRAMES && 2 * (int64_t)excess >= 3 * state[PEAK];
    } else {
        state[RUN] = active ? state[RUN] + 1 : 0;
        begins = state[RUN] >= EL_ONSET_FRAMES;
    }
    if (begins) {
        state[LENGTH] = EL_ONSET_FRAMES;
        state[SILENCE] = 0;
        state[PEAK] = excess;
        return EL_ONSET;
    }
    if (!speaking) {
        return EL_IDLE;
    }
    state[LENGTH]++;
    state[PEAK] = excess > state[PEAK] ? excess : state[PEAK];
    state[SILENCE] = active ? 0 : state[SILENCE] + 1;
    if (state[LENGTH] >= EL_LONGEST) {
        state[LENGTH] = state[RUN] = state[PRIMED] = 0; /* what never ends is noise: the next frame is the new floor */
        return EL_TOO_LONG;
    }
    if (state[SILENCE] >= EL_HANG_FRAMES) {
        state[LENGTH] = state[RUN] = 0;
        return EL_END;
    }
    return active ? EL_SPEECH : EL_HANG;
}

void el_subtract_floor(int8_t *frame, const int8_t *floor)
{
    for (int b = 0; b < EL_BANDS; b++) {
        if (floor[b] > EL_QUIET_FLOOR) {
            int32_t above = frame[b] - floor[b];
            int32_t left = frame[b] + el_subtraction[above > 0 ? above : 0];
            frame[b] = (int8_t)(left > -128 ? left : -128);
        }
    }
}
