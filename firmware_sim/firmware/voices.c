/* An utterance as other voices would have said it, a frame at a time; the twin of edgelearn/learning/variants.py. */
#include "edgelearn.h"
#include "fixed.h"
#include "edgelearn_tables.h"

/* How many times as fast voice 1 .. EL_VOICES is, and where it reads each band, Q8. */
static int32_t tempo_q8(int32_t voice)
{
    return el_voices_q8[2 * voice - 2];
}

static int32_t formant_q8(int32_t voice)
{
    return el_voices_q8[2 * voice - 1];
}

void el_own_voice_done(int32_t *pool)
{
    for (int j = 0; j < EL_HIDDEN; j++) {
        pool[j] *= EL_OWN_VOICE_WEIGHT;
    }
}

static int same(const int8_t *frames, int32_t ring, int32_t a, int32_t b)
{
    for (int32_t k = 0; k < EL_INPUTS; k++) {
        if (frames[a % ring * EL_INPUTS + k] != frames[b % ring * EL_INPUTS + k]) {
            return 0;
        }
    }
    return 1;
}

int32_t el_sounding(
    const int8_t *frames, int32_t ring, int32_t *first, int32_t count, int32_t before, int32_t after)
{
    int32_t own = *first, stop = own + count + after;
    *first = own - before;
    while (*first < own && same(frames, ring, *first, *first + 1)) {
        ++*first;
    }
    while (stop > own + count && same(frames, ring, stop - 1, stop - 2)) {
        stop--;
    }
    return stop - *first;
}

int32_t el_voice_frames(int32_t voice, int32_t spoken)
{
    return spoken ? (spoken - 1) * 256 / tempo_q8(voice) + 1 : 0;
}

void el_voice_frame(
    int32_t voice, int32_t t, const int8_t *frames, int32_t first, int32_t spoken, int32_t ring, int8_t *out)
{
    int32_t at = t * tempo_q8(voice), late = at & 255, next = (at >> 8) + 1 < spoken;
    const int8_t *low = frames + (first + (at >> 8)) % ring * EL_INPUTS;
    const int8_t *high = frames + (first + (at >> 8) + next) % ring * EL_INPUTS;
    for (int32_t k = 0; k < EL_INPUTS; k++) { /* between two frames, and in them between two bands */
        int32_t band = el_limit(k * formant_q8(voice), 0, (EL_INPUTS - 1) * 256), b = band >> 8;
        int32_t up = b + 1 < EL_INPUTS ? b + 1 : b, share = band & 255;
        int32_t here = low[b] * (256 - late) + high[b] * late, there = low[up] * (256 - late) + high[up] * late;
        out[k] = (int8_t)el_rshift(here * (256 - share) + there * share, 16);
    }
}
