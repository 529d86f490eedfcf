/* The log-mel front end in integers; the twin of edgelearn/audio/frontend.py, where formats and bounds are proved. */
#include "edgelearn.h"
#include "fixed.h"
#include "edgelearn_tables.h"

#define HALF (EL_FRAME / 2)
#define FOURS (HALF / 4)
#define HALF_Q30 (1 << 29)
#define WINDOW_SHIFT (14 + 15 - 6) /* emphasised Q14 x window Q15 to Q6 */

static int32_t *const spectrum = el_memory.frontend_spectrum;
static int32_t *const scratch = el_memory.frontend_scratch.values;

static int32_t turned(int32_t a, int64_t c, int32_t b, int64_t s)
{
    return (int32_t)((a * c + b * s + HALF_Q30) >> 30);
}

static void window_frame(void)
{
    const int16_t *history = el_memory.frontend_history;
    for (int m = 0; m < EL_FRAME; m++) {
        int32_t step = history[m + 1] * (1 << 14) - EL_PREEMPHASIS_Q14 * history[m];
        scratch[m] = (int32_t)(((int64_t)step * el_window_q15[m] + (1 << (WINDOW_SHIFT - 1))) >> WINDOW_SHIFT);
    }
}

/* The stages whose factors are 1 and -i: two of them on 256 complex values, one on 128. */
static void first_stages(const int32_t *in, int32_t *re, int32_t *im)
{
#if HALF == 256
    for (int q = 0; q < 64; q++) {
        const int32_t *a = in + 2 * el_reverse[q], *b = a + 256, *c = a + 128, *d = a + 384;
        int32_t even0_re = a[0] + b[0], even0_im = a[1] + b[1], even1_re = a[0] - b[0], even1_im = a[1] - b[1];
        int32_t odd0_re = c[0] + d[0], odd0_im = c[1] + d[1], odd1_re = c[0] - d[0], odd1_im = c[1] - d[1];
        re[q] = even0_re + odd0_re;
        im[q] = even0_im + odd0_im;
        re[q + 64] = even1_re + odd1_im;
        im[q + 64] = even1_im - odd1_re;
        re[q + 128] = even0_re - odd0_re;
        im[q + 128] = even0_im - odd0_im;
        re[q + 192] = even1_re - odd1_im;
        im[q + 192] = even1_im + odd1_re;
    }
#else
    for (int q = 0; q < 64; q++) {
        const int32_t *a = in + 2 * el_reverse[q], *b = a + 128;
        re[q] = a[0] + b[0];
        im[q] = a[1] + b[1];
        re[q + 64] = a[0] - b[0];
        im[q + 64] = a[1] - b[1];
    }
#endif
}

/* Two stages of the transform on fours of neighbours; factors int32 Q30 [4][FOURS]. */
static void two_stages(
    const int32_t *re, const int32_t *im, const int32_t *factors, int32_t *out_re, int32_t *out_im)
{
    for (int q = 0; q < FOURS; q++) {
        int64_t c = factors[q], s = factors[FOURS + q];
        int32_t b_re = turned(re[4 * q + 1], c, im[4 * q + 1], s), b_im = turned(im[4 * q + 1], c, re[4 * q + 1], -s);
        int32_t d_re = turned(re[4 * q + 3], c, im[4 * q + 3], s), d_im = turned(im[4 * q + 3], c, re[4 * q + 3], -s);
        int32_t even0_re = re[4 * q] + b_re, even0_im = im[4 * q] + b_im;
        int32_t even1_re = re[4 * q] - b_re, even1_im = im[4 * q] - b_im;
        int32_t odd0_re = re[4 * q + 2] + d_re, odd0_im = im[4 * q + 2] + d_im;
        int32_t odd1_re = re[4 * q + 2] - d_re, odd1_im = im[4 * q + 2] - d_im;
        int32_t t0_re, t0_im, t1_re, t1_im;
        c = factors[2 * FOURS + q];
        s = factors[3 * FOURS + q];
        t0_re = turned(odd0_re, c, odd0_im, s);
        t0_im = turned(odd0_im, c, odd0_re, -s);
        t1_re = turned(odd1_im, c, odd1_re, -s);
        t1_im = turned(odd1_re, -c, odd1_im, -s);
        out_re[q] = even0_re + t0_re;
        out_im[q] = even0_im + t0_im;
        out_re[q + FOURS] = even1_re + t1_re;
        out_im[q + FOURS] = even1_im + t1_im;
        out_re[q + 2 * FOURS] = even0_re - t0_re;
        out_im[q + 2 * FOURS] = even0_im - t0_im;
        out_re[q + 3 * FOURS] = even1_re - t1_re;
        out_im[q + 3 * FOURS] = even1_im - t1_im;
    }
}

static void store_power(int k, int64_t re, int64_t im)
{
    uint64_t square = (uint64_t)(re * re + im * im) >> 10;
    spectrum[k] = (int32_t)(uint32_t)square;
    spectrum[HALF + 1 + k] = (int32_t)(square >> 32);
}

/* |X|^2 (Q2) of the real sequence from the transform of its even and odd samples. */
static void power_spectrum(const int32_t *re, const int32_t *im)
{
    store_power(0, (int64_t)re[0] + im[0], 0);
    store_power(HALF / 2, re[HALF / 2], im[HALF / 2]);
    store_power(HALF, (int64_t)re[0] - im[0], 0);
    for (int k = 1; k < HALF / 2; k++) {
        int m = HALF - k;
        int32_t even_re = re[k] + re[m], even_im = im[k] - im[m], odd_re = im[k] + im[m], odd_im = re[m] - re[k];
        int64_t c = el_turns_q30[k], s = el_turns_q30[HALF / 2 + k];
        int64_t product = odd_re * c + odd_im * s;
        int32_t t_re = (int32_t)((product + HALF_Q30) >> 30), m_re = (int32_t)((HALF_Q30 - product) >> 30);
        int32_t t_im = turned(odd_im, c, odd_re, -s);
        store_power(k, (even_re + t_re + 1) >> 1, (even_im + t_im + 1) >> 1);
        store_power(m, (even_re + m_re + 1) >> 1, (t_im - even_im + 1) >> 1);
    }
}

static int64_t band_energy(const int32_t *low, const int32_t *high, const int32_t *weights_q12, int width)
{
    uint64_t sum_low = 0;
    int32_t sum_high = 0;
    for (int k = 0; k < width; k++) {
        sum_low += (uint64_t)(uint32_t)low[k] * (uint32_t)weights_q12[k];
        sum_high += high[k] * weights_q12[k];
    }
    return (int64_t)(((uint64_t)(uint32_t)sum_high << 32) + sum_low);
}

int32_t el_log2_q10(uint64_t value)
{
    int top = 0;
    for (uint64_t rest = value >> 1; rest; rest >>= 1) {
        top++;
    }
    uint64_t mantissa = value << (63 - top);
    int32_t index = (int32_t)((mantissa >> 56) & 127), fraction = (int32_t)((mantissa >> 40) & 65535);
    int32_t low = el_log_q16[index], chord = el_log_q16[index + 1] - low;
    int32_t q16 = low + ((chord * fraction) >> 16);
    return (top << 10) + ((q16 + 32) >> 6);
}

static void make_frame(int8_t *features)
{
    int64_t *energies = el_memory.frontend_scratch.energies; /* over the transform, which is done with */
    const int32_t *weights = el_bank_q12;
    window_frame();
    first_stages(scratch, spectrum, spectrum + HALF + 1);
    two_stages(spectrum, spectrum + HALF + 1, el_twiddles_q30, scratch, scratch + HALF);
    two_stages(scratch, scratch + HALF, el_twiddles_q30 + 4 * FOURS, spectrum, spectrum + HALF + 1);
    two_stages(spectrum, spectrum + HALF + 1, el_twiddles_q30 + 8 * FOURS, scratch, scratch + HALF);
    power_spectrum(scratch, scratch + HALF);
    for (int b = 0; b < EL_BANDS; b++) {
        const int32_t *low = spectrum + el_band_first[b];
        energies[b] = band_energy(low, low + HALF + 1, weights, el_band_width[b]);
        weights += el_band_width[b];
    }
    for (int b = 0; b < EL_BANDS; b++) {
        int32_t log_q10 = el_log2_q10(energies[b] > 1 ? (uint64_t)energies[b] : 1) - EL_UNIT_Q10;
        int64_t scaled = ((int64_t)(log_q10 - EL_CENTRE_Q10) * EL_GAIN_Q20 + (1 << 19)) >> 20;
        el_memory.frontend_log[b] = log_q10;
        features[b] = (int8_t)el_limit64(scaled, -128, 127);
    }
}

void el_frontend_reset(void)
{
    for (int m = 0; m <= EL_FRAME; m++) {
        el_memory.frontend_history[m] = 0;
    }
    el_memory.frontend_counter[0] = 0;
}

size_t el_frontend_push(const int16_t *samples, size_t count, int8_t *features, int *frame)
{
    int16_t *history = el_memory.frontend_history;
    int filled = (int)el_memory.frontend_counter[0];
    size_t taken = 0;
    *frame = 0;
    while (taken < count && filled < EL_FRAME) {
        history[1 + filled++] = samples[taken++];
    }
    if (filled == EL_FRAME) {
        make_frame(features);
        *frame = 1;
        for (int m = 0; m < EL_FRAME + 1 - EL_HOP; m++) {
            history[m] = history[m + EL_HOP];
        }
        filled -= EL_HOP;
    }
    el_memory.frontend_counter[0] = filled;
    return taken;
}
