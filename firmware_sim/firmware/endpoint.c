/* Where an utterance starts and ends, and its noise taken off; the twin of edgelearn/audio/endpoint.py and noise.py. */
#include "edgelearn.h"
#include "edgelearn_tables.h"
#include "fixed.h"

enum { RUN, LENGTH, SILENCE, PRIMED, EXCESS, PEAK, AT };

void el_endpoint_reset(void)
{
    for (int k = RUN; k <= AT; k++) {
        el_memory.endpoint_state[k] = 0;
    }
}

/* Lift the noise floor of each band to what its frames did not fall below; by how many steps in all. */
static int32_t raise_floor(const int8_t *frame, int32_t *floor_q8, int32_t at)
{
    int32_t within = at % EL_BLOCK_FRAMES, raised = 0;
    int8_t *block = el_memory.endpoint_least + at / EL_BLOCK_FRAMES * EL_BANDS;
    for (int b = 0; b < EL_BANDS; b++) {
        block[b] = within && block[b] < frame[b] ? block[b] : frame[b];
        if (within == EL_BLOCK_FRAMES - 1) {
            int32_t stayed = el_memory.endpoint_least[b], lift;
            for (int k = 1; k < EL_BLOCKS; k++) {
                int8_t least = el_memory.endpoint_least[k * EL_BANDS + b];
                stayed = least < stayed ? least : stayed;
            }
            int32_t known = stayed + EL_SPREAD < 127 ? stayed + EL_SPREAD : 127;
            lift = known - (floor_q8[b] >> 8);
            if (stayed > -128 && lift > 0) {
                floor_q8[b] = known * 256;
                raised += lift;
            }
        }
    }
    return raised;
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
        for (int k = 0; k < EL_BLOCKS * EL_BANDS; k++) {
            el_memory.endpoint_least[k] = -128;
        }
        state[PRIMED] = 1;
    }
    int32_t raised = raise_floor(frame, floor_q8, (int32_t)state[AT]);
    state[AT] = (state[AT] + 1) % (EL_BLOCKS * EL_BLOCK_FRAMES);
    for (int b = 0; b < EL_BANDS; b++) {
        int32_t over = frame[b] - (floor_q8[b] >> 8) - EL_MARGIN;
        excess += over > 0 ? over : 0;
    }
    state[EXCESS] = excess;
    state[PEAK] = state[PEAK] > raised ? state[PEAK] - raised : 0; /* at least as loud as it would have been above this floor */
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
        begins = state[LENGTH] >= EL_BACKGROUND_FRAMES && 2 * (int64_t)excess >= 3 * state[PEAK] &&
                 excess >= EL_ONSET_EXCESS;
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
        /* a noise that falls now and then, and never ends: the next frame is the new floor */
        state[LENGTH] = state[RUN] = state[PRIMED] = 0;
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
