#include "selftest.h"

#include "edgelearn.h"
#include "edgelearn_golden.h"
#include "edgelearn_model.h"

#define SAMPLES (sizeof el_golden_samples / sizeof el_golden_samples[0])

/* Features alone, in the place where the learner decodes an utterance. */
static uint32_t features_crc(void)
{
    uint32_t crc = 0;
    int whole;
    el_reset();
    for (size_t at = 0; at < SAMPLES;) {
        int8_t *features = el_memory.learning_frames;
        at += el_frontend_push(el_golden_samples + at, SAMPLES - at, features, &whole);
        crc = whole ? el_crc32(crc, (const uint8_t *)features, EL_BANDS) : crc;
    }
    el_reset();
    return crc;
}

static int words_differ(void)
{
    int32_t found = 0;
    for (size_t at = 0; at < SAMPLES;) {
        el_event event;
        int heard;
        at += el_push(el_golden_samples + at, SAMPLES - at, &event, &heard);
        if (heard) {
            const int32_t *expected = el_golden_events[found];
            if (found == EL_GOLDEN_EVENTS || event.word != expected[0] || event.score_q14 != expected[1] ||
                event.last != expected[2] || event.decided != expected[3]) {
                return 1;
            }
            found++;
        }
    }
    return found != EL_GOLDEN_EVENTS;
}

/* A short lesson: the first exemplar is taught as a new word, from this one take. */
static int lesson_differs(void)
{
    el_lesson_config config = el_lesson_default;
    el_record record;
    int32_t row = el_enrol_begin();
    if (!EL_GOLDEN_LESSON) {
        return 0;
    }
    config.steps = EL_GOLDEN_LESSON_STEPS;
    config.sweeps = EL_GOLDEN_LESSON_SWEEPS;
    config.least_takes = config.many_takes = 1;
    config.least_spread = 0;
    config.most_old_loss_q16 = 65536;
    if (row < 0 || !el_exemplar(0, &record)) {
        return 1;
    }
    el_records_decode(&el_rehearsal, &record, el_memory.learning_frames);
    if (el_enrol_take(row, el_memory.learning_frames, record.frames) != EL_OK) {
        return 1;
    }
    el_enrol_end(row);
    return el_teach(row, &config, el_model_image, sizeof el_model_image) != EL_OK ||
           el_device.lesson.gained != EL_GOLDEN_GAINED || el_device.lesson.threshold_q14 != EL_GOLDEN_THRESHOLD_Q14;
}

static int losses_differ(void)
{
    int32_t count = el_exemplars();
    el_record record;
    for (int32_t n = 0; n < EL_GOLDEN_STEPS; n++) {
        el_step step;
        if (!el_exemplar(n * 7 % count, &record)) {
            return 1;
        }
        el_learn(&record, (uint32_t)n, EL_RATE_Q16, &step);
        if (step.loss_q10 != el_golden_losses_q10[n]) {
            return 1;
        }
    }
    return 0;
}

int el_selftest(void)
{
    uint32_t crc = 0;
    if (el_load(el_model_image, sizeof el_model_image) != EL_OK) {
        return 1;
    }
    if (words_differ()) {
        return 2;
    }
    if (features_crc() != EL_GOLDEN_FEATURES_CRC) {
        return 3;
    }
    if (lesson_differs()) {
        return 4;
    }
    if (losses_differ()) {
        return 5;
    }
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        size_t weights = (size_t)((layer->inputs + layer->hidden) * 4 * layer->hidden);
        crc = el_crc32(crc, (const uint8_t *)layer->hi, weights);
        crc = el_crc32(crc, (const uint8_t *)layer->lo, weights);
        crc = el_crc32(crc, (const uint8_t *)layer->bias, (size_t)(16 * layer->hidden)); /* little endian */
    }
    if (crc != EL_GOLDEN_WEIGHTS_CRC) {
        return 6;
    }
    crc = el_crc32(0, (const uint8_t *)el_memory.classifier_prototypes, (size_t)(el_device.rows * EL_HIDDEN));
    return crc == EL_GOLDEN_PROTOTYPES_CRC ? 0 : 7;
}
