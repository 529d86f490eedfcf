/* The test bench: obeys a script of binary commands and prints what the device answers.
 *
 * Every command is a letter and up to three little-endian uint32; sound and features follow theirs.
 */
#include "edgelearn.h"
#include "edgelearn_model.h"
#include "selftest.h"
#include "port.h"

#define BLOCK 160

static uint32_t features_crc;

static uint32_t number(void)
{
    uint8_t b[4] = {0, 0, 0, 0};
    port_read(b, 4);
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void print_digits(uint32_t value)
{
    char text[12], *end = text + 11;
    *end = 0;
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    port_print(end);
}

static void print_number(const char *name, uint32_t value)
{
    port_print(name);
    port_print(" ");
    print_digits(value);
}

static void print_line(const char *name, int32_t value)
{
    port_print(name);
    port_print(value < 0 ? " -" : " ");
    print_digits(value < 0 ? 0u - (uint32_t)value : (uint32_t)value);
    port_print("\n");
}

/* Hear sound, frame by frame; the features go through the front end of the device once. */
static void hear(uint32_t count)
{
    static int16_t block[BLOCK];
    while (count) {
        size_t samples = count < BLOCK ? count : BLOCK, at = 0;
        uint8_t *bytes = (uint8_t *)block;
        if (port_read(bytes, 2 * samples) < 2 * samples) {
            return;
        }
        for (size_t n = 0; n < samples; n++) { /* little endian, whatever the machine is */
            uint32_t value = bytes[2 * n] | (uint32_t)bytes[2 * n + 1] << 8;
            block[n] = (int16_t)(value < 32768 ? (int32_t)value : (int32_t)value - 65536);
        }
        while (at < samples) {
            el_event event;
            int heard;
            int32_t frames = el_device.frames;
            at += el_push(block + at, samples - at, &event, &heard);
            if (el_device.frames != frames) {
                const int8_t *frame = el_memory.listening_ring + frames % EL_RING_FRAMES * EL_INPUTS;
                features_crc = el_crc32(features_crc, (const uint8_t *)frame, EL_BANDS);
            }
            if (heard) {
                print_number("word", (uint32_t)event.word);
                print_number(" score", (uint32_t)event.score_q14);
                print_number(" start", (uint32_t)event.start);
                print_number(" stop", (uint32_t)event.stop);
                print_number(" last", (uint32_t)event.last);
                print_number(" decided", (uint32_t)event.decided);
                print_number(" active", event.active);
                print_number(" columns", event.columns);
                port_print("\n");
            }
        }
        count -= (uint32_t)samples;
    }
}

static void learn(uint32_t wanted, uint32_t seed, uint32_t rate_q16)
{
    el_record record;
    el_step step;
    if (wanted > INT32_MAX || !el_exemplar((int32_t)wanted, &record)) {
        port_print("no such record\n");
        return;
    }
    el_learn(&record, seed, (int32_t)rate_q16, &step);
    print_number("loss", (uint32_t)step.loss_q10);
    print_number(" magnitude", (uint32_t)step.magnitude_q23);
    print_number(" length", (uint32_t)step.length);
    print_number(" left_out", (uint32_t)step.left_out);
    port_print("\n");
}

/* A whole lesson: numbers of steps, of sweeps, of takes from which on a word is swept, and the loss of old words (Q16) that is
 * not refused. */
static void teach(int32_t row)
{
    el_lesson_config config = el_lesson_default;
    const el_lesson *lesson = &el_device.lesson;
    config.steps = (int32_t)number();
    config.sweeps = (int32_t)number();
    config.many_takes = (int32_t)number();
    config.most_old_loss_q16 = (int32_t)number();
    if (el_lesson_begin(row, &config, el_model_image, sizeof el_model_image) == EL_OK) {
        do {
            port_mark(); /* an instruction counter sees every slice */
        } while (el_slice());
    }
    print_line("lesson", (int32_t)lesson->status);
    print_line("steps", lesson->steps);
    print_line("gained", lesson->gained);
    print_line("before", lesson->old_before);
    print_line("after", lesson->old_after);
    print_line("old", lesson->old);
    print_line("left_out", lesson->left_out);
    print_line("threshold", lesson->status == EL_OK ? lesson->threshold_q14 : 0);
}

static void print_state(void)
{
    uint32_t crc = 0;
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        size_t weights = (size_t)((layer->inputs + layer->hidden) * 4 * layer->hidden);
        crc = el_crc32(crc, (const uint8_t *)layer->hi, weights);
        crc = el_crc32(crc, (const uint8_t *)layer->lo, weights);
        crc = el_crc32(crc, (const uint8_t *)layer->bias, (size_t)(16 * layer->hidden));
    }
    print_number("weights", crc);
    print_number(
        " prototypes", el_crc32(0, (const uint8_t *)el_memory.classifier_prototypes, (size_t)(el_device.rows * EL_HIDDEN)));
    print_number(" rehearsal", el_crc32(0, el_rehearsal.bytes, (size_t)*el_rehearsal.used));
    print_number(" last", el_crc32(0, el_last.bytes, (size_t)*el_last.used));
    print_number(" features", features_crc);
    print_number(" frames", (uint32_t)el_device.frames);
    port_print("\n");
}

static void add_to_crc(void *context, const uint8_t *bytes, size_t count)
{
    uint32_t *crc = context;
    *crc = el_crc32(*crc, bytes, count);
}

int bench_run(void)
{
    uint8_t command;
    int32_t row = -1;
    el_load(el_model_image, sizeof el_model_image);
    while (port_read(&command, 1)) {
        switch (command) {
        case 'l':
            print_line("load", (int32_t)el_load(el_model_image, sizeof el_model_image));
            break;
        case 'g':
            print_line("selftest", el_selftest());
            break;
        case 'h':
            hear(number());
            break;
        case 'b':
            row = el_enrol_begin();
            print_line("row", row);
            break;
        case 't': {
            uint32_t frames = number();
            uint8_t *take = (uint8_t *)el_memory.learning_frames;
            if (frames > EL_RING_FRAMES || row < 0 || port_read(take, frames * EL_BANDS) < frames * EL_BANDS) {
                return 2;
            }
            print_line("take", (int32_t)el_enrol_take(row, el_memory.learning_frames, (int32_t)frames));
            break;
        }
        case 'e':
            if (row < 0) {
                return 2;
            }
            el_enrol_end(row);
            break;
        case 'M': {
            uint32_t known = number();
            row = (int32_t)known;
            el_enrol_more(row, (int32_t)number());
            break;
        }
        case 'L':
            if (row < 0) {
                return 2;
            }
            teach(row);
            break;
        case 's': {
            uint32_t record = number(), seed = number();
            learn(record, seed, number());
            break;
        }
        case 'w':
            print_line("added", (int32_t)el_add_word(row < 0 ? 0 : row, el_device.lesson.threshold_q14));
            break;
        case 'i': {
            uint32_t crc = 0;
            el_save(number(), add_to_crc, &crc);
            print_number("image", crc);
            port_print("\n");
            break;
        }
        case 'c':
            print_state();
            break;
        case 'm':
            port_mark();
            break;
        case 'k':
            print_line("stack", (int32_t)port_stack_bytes());
            break;
        default:
            return 2;
        }
    }
    return 0;
}
