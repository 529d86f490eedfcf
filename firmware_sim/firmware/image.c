/* The model as bytes in flash; the twin of edgelearn/firmware/image.py, where the format is described.
 *
 * Nothing of an image is trusted, and the device is left as it is until all of it was checked.
 */
#include "edgelearn.h"
#include "fixed.h"

#define MAGIC UINT32_C(0x314D4C45) /* "ELM1" */
#define VERSION 3
#define HEADER_BYTES 36
#define CHECKED_FROM 16
#define WORD_BYTES 8
#define MOST_THRESHOLD_Q14 65536 /* no score is as far from 0 */
#define DIRECTION_BYTES (4 * EL_DIRECTION_NUMBERS + EL_DIRECTIONS * EL_HIDDEN) /* of a taught row */

enum { AT_MAGIC = 0, AT_VERSION = 4, AT_BYTES = 8, AT_CRC = 12, AT_GENERATION = 16, AT_DIGEST = 20, AT_ROWS = 24,
       AT_WORDS = 28, AT_REHEARSAL = 32 };

uint32_t el_crc32(uint32_t crc, const uint8_t *bytes, size_t count)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    crc = ~crc;
    for (size_t n = 0; n < count; n++) {
        crc ^= bytes[n];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

static uint32_t read32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int32_t signed32(const uint8_t *p)
{
    uint32_t value = read32(p);
    return value < UINT32_C(0x80000000) ? (int32_t)value : (int32_t)(value - UINT32_C(0x80000000)) - INT32_MAX - 1;
}

static void read_numbers(const uint8_t *p, int32_t *numbers)
{
    for (int k = 0; k < EL_DIRECTION_NUMBERS; k++) {
        numbers[k] = signed32(p + 4 * k);
    }
}

static int32_t signed16(const uint8_t *p)
{
    int32_t value = p[0] | p[1] << 8;
    return value < 32768 ? value : value - 65536;
}

static int32_t signed8(uint8_t value)
{
    return value < 128 ? value : value - 256;
}

static void write32(uint8_t *p, uint32_t value)
{
    for (int k = 0; k < 4; k++) {
        p[k] = (uint8_t)(value >> 8 * k);
    }
}

static uint32_t layer_weights(const el_layer *layer)
{
    return (uint32_t)((layer->inputs + layer->hidden) * 4 * layer->hidden);
}

static uint32_t image_bytes(uint32_t rows, uint32_t words, uint32_t rehearsal)
{
    uint32_t bytes = HEADER_BYTES + rows * EL_HIDDEN + (rows - EL_BASE_ROWS) * DIRECTION_BYTES + words * WORD_BYTES + rehearsal;
    for (int k = 0; k < EL_LAYERS; k++) {
        bytes += 2 * layer_weights(&el_layers[k]) + 16 * (uint32_t)el_layers[k].hidden;
    }
    return bytes;
}

size_t el_image_bytes(void)
{
    uint32_t rehearsal = (uint32_t)el_records_below(&el_rehearsal, el_device.rows);
    return image_bytes((uint32_t)el_device.rows, (uint32_t)el_device.words, rehearsal);
}

/* All of the header but the checksum. */
static el_status check_sizes(const uint8_t *image, size_t size)
{
    uint32_t rows, words, rehearsal;
    if (size < HEADER_BYTES) {
        return EL_TOO_SHORT;
    }
    if (read32(image + AT_MAGIC) != MAGIC) {
        return EL_NOT_A_MODEL;
    }
    if (read32(image + AT_VERSION) != VERSION) {
        return EL_OTHER_VERSION;
    }
    if (read32(image + AT_DIGEST) != EL_DIGEST) {
        return EL_OTHER_NETWORK;
    }
    rows = read32(image + AT_ROWS);
    words = read32(image + AT_WORDS);
    rehearsal = read32(image + AT_REHEARSAL);
    if (rows < EL_BASE_ROWS || rows > EL_ROWS || words > EL_ROWS || rehearsal > EL_REHEARSAL_BYTES) {
        return EL_FULL;
    }
    if (read32(image + AT_BYTES) != image_bytes(rows, words, rehearsal) || read32(image + AT_BYTES) > size) {
        return EL_WRONG_SIZE;
    }
    return EL_OK;
}

static el_status check_header(const uint8_t *image, size_t size)
{
    el_status status = check_sizes(image, size);
    if (status != EL_OK) {
        return status;
    }
    if (el_crc32(0, image + CHECKED_FROM, read32(image + AT_BYTES) - CHECKED_FROM) != read32(image + AT_CRC)) {
        return EL_DAMAGED;
    }
    return EL_OK;
}

/* Where the planes of a layer begin in an image; k = EL_LAYERS: the prototypes. */
static const uint8_t *layer_at(const uint8_t *image, int k)
{
    const uint8_t *p = image + HEADER_BYTES;
    for (int below = 0; below < k; below++) {
        p += 2 * layer_weights(&el_layers[below]) + 16 * (uint32_t)el_layers[below].hidden;
    }
    return p;
}

static const uint8_t *directions_at(const uint8_t *image)
{
    return layer_at(image, EL_LAYERS) + read32(image + AT_ROWS) * EL_HIDDEN;
}

static const uint8_t *words_at(const uint8_t *image)
{
    return directions_at(image) + (read32(image + AT_ROWS) - EL_BASE_ROWS) * DIRECTION_BYTES;
}

static const uint8_t *records_at(const uint8_t *image)
{
    return words_at(image) + read32(image + AT_WORDS) * WORD_BYTES;
}

el_status el_image_sizes(const uint8_t *image, size_t size)
{
    el_status status = check_sizes(image, size);
    if (status == EL_OK) {
        int32_t bytes = (int32_t)read32(image + AT_REHEARSAL), rows = (int32_t)read32(image + AT_ROWS);
        status = el_records_whole(records_at(image), bytes, rows) ? EL_OK : EL_BAD_NUMBER;
    }
    return status;
}

int el_image_column(const uint8_t *image, int k, int32_t column, int put_back)
{
    const el_layer *layer = &el_layers[k];
    int32_t rows = 4 * layer->hidden, columns = layer->inputs + layer->hidden, same = 1;
    const uint8_t *hi = layer_at(image, k) + column * rows, *lo = hi + columns * rows;
    const uint8_t *bias = layer_at(image, k) + 2 * columns * rows;
    for (int32_t r = 0; r < rows; r++) {
        if (column == columns) {
            layer->bias[r] = put_back ? signed32(bias + 4 * r) : layer->bias[r];
            same &= layer->bias[r] == signed32(bias + 4 * r);
        } else {
            int8_t *own_hi = layer->hi + column * rows + r, *own_lo = layer->lo + column * rows + r;
            *own_hi = put_back ? (int8_t)signed8(hi[r]) : *own_hi;
            *own_lo = put_back ? (int8_t)signed8(lo[r]) : *own_lo;
            same &= *own_hi == signed8(hi[r]) && *own_lo == signed8(lo[r]);
        }
    }
    return same;
}

int32_t el_image_rows(const uint8_t *image)
{
    return (int32_t)read32(image + AT_ROWS);
}

/* A row goes where the gradient is, which is free between two learning steps. */
static void read_row(const uint8_t *image, int32_t row)
{
    const uint8_t *p = layer_at(image, EL_LAYERS) + row * EL_HIDDEN;
    for (int j = 0; j < EL_HIDDEN; j++) {
        el_memory.classifier_gradient[j] = signed8(p[j]);
    }
}

void el_image_row(const uint8_t *image, int32_t row)
{
    read_row(image, row);
    el_set_row(row, el_memory.classifier_gradient, 1, NULL, 0);
}

int el_image_same_row(const uint8_t *image, int32_t row)
{
    const int8_t *own = el_memory.classifier_prototypes + row * EL_HIDDEN;
    int32_t kept[EL_DIRECTION_NUMBERS], numbers[EL_DIRECTION_NUMBERS], same = 1;
    int8_t saved[EL_HIDDEN];
    const uint8_t *p;
    read_row(image, row);
    el_quantise(el_memory.classifier_gradient, 1, NULL, 0, saved);
    for (int j = 0; j < EL_HIDDEN; j++) {
        same &= own[j] == saved[j];
    }
    if (row >= EL_BASE_ROWS) {
        const int8_t *vectors = el_directions_get(row, numbers);
        p = directions_at(image) + (row - EL_BASE_ROWS) * DIRECTION_BYTES;
        read_numbers(p, kept);
        for (int k = 0; k < EL_DIRECTION_NUMBERS; k++) {
            same &= numbers[k] == kept[k];
        }
        for (int j = 0; j < EL_DIRECTIONS * EL_HIDDEN; j++) {
            same &= vectors[j] == signed8(p[4 * EL_DIRECTION_NUMBERS + j]);
        }
    }
    return same;
}

void el_image_records(const uint8_t *image)
{
    const uint8_t *p = directions_at(image);
    el_device.rows = el_image_rows(image);
    for (int32_t row = EL_BASE_ROWS; row < el_device.rows; row++, p += DIRECTION_BYTES) {
        int32_t numbers[EL_DIRECTION_NUMBERS];
        read_numbers(p, numbers);
        el_directions_put(row, numbers, (const int8_t *)p + 4 * EL_DIRECTION_NUMBERS);
    }
    for (int32_t row = el_device.rows; row < EL_ROWS; row++) {
        el_no_directions(row);
    }
    p = records_at(image);
    *el_rehearsal.used = (int32_t)read32(image + AT_REHEARSAL);
    for (int32_t n = 0; n < *el_rehearsal.used; n++) {
        el_rehearsal.bytes[n] = p[n];
    }
}

static el_status check_numbers(const uint8_t *image)
{
    const uint8_t *p = image + HEADER_BYTES;
    int32_t rows = (int32_t)read32(image + AT_ROWS);
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        uint32_t weights = layer_weights(layer);
        for (uint32_t n = 0; n < weights; n++) {
            int32_t master = signed8(p[n]) * 256 + signed8(p[weights + n]);
            if (master < EL_MASTER_MIN || master > EL_MASTER_MAX) {
                return EL_BAD_NUMBER;
            }
        }
        p += 2 * weights;
        for (int r = 0; r < 4 * layer->hidden; r++, p += 4) {
            int32_t bias = signed32(p);
            if (bias < -layer->bias_limit || bias > layer->bias_limit) {
                return EL_BAD_NUMBER;
            }
        }
    }
    p += rows * EL_HIDDEN;
    for (int32_t row = EL_BASE_ROWS; row < rows; row++, p += DIRECTION_BYTES) {
        int32_t numbers[EL_DIRECTION_NUMBERS];
        read_numbers(p, numbers);
        for (int k = 0; k < EL_DIRECTION_NUMBERS; k++) {
            int32_t most = k == 0 ? EL_MOST_TAKES : k == 1 ? 16384 : EL_MOST_LENGTH_Q14;
            if (numbers[k] < 0 || numbers[k] > most) {
                return EL_BAD_NUMBER;
            }
        }
    }
    for (uint32_t n = 0; n < read32(image + AT_WORDS); n++, p += WORD_BYTES) {
        int32_t rejects = signed16(p + 2);
        int32_t threshold = signed32(p + 4);
        if (signed16(p) < 0 || signed16(p) >= rows || rejects < 0 || rejects > (int32_t)read32(image + AT_WORDS)) {
            return EL_BAD_NUMBER;
        }
        if (threshold < -MOST_THRESHOLD_Q14 || threshold > MOST_THRESHOLD_Q14) {
            return EL_BAD_NUMBER;
        }
    }
    return el_records_whole(p, (int32_t)read32(image + AT_REHEARSAL), rows) ? EL_OK : EL_BAD_NUMBER;
}

static void take_over(const uint8_t *image)
{
    const uint8_t *p = image + HEADER_BYTES;
    el_device.generation = read32(image + AT_GENERATION);
    el_device.rows = (int32_t)read32(image + AT_ROWS);
    el_device.words = (int32_t)read32(image + AT_WORDS);
    el_device.saturations = 0;
    el_device.takes = 0;
    el_device.enrolling = el_device.enrolled = -1;
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        uint32_t weights = layer_weights(layer);
        for (uint32_t n = 0; n < weights; n++) {
            layer->hi[n] = (int8_t)signed8(p[n]);
            layer->lo[n] = (int8_t)signed8(p[weights + n]);
        }
        p += 2 * weights;
        for (int r = 0; r < 4 * layer->hidden; r++, p += 4) {
            layer->bias[r] = signed32(p);
        }
    }
    for (int32_t row = 0; row < el_device.rows; row++) {
        el_image_row(image, row);
    }
    for (int32_t row = 0; row < EL_BASE_ROWS; row++) {
        el_set_nearness(row);
    }
    p = words_at(image);
    for (int32_t n = 0; n < el_device.words; n++, p += WORD_BYTES) {
        el_word *word = &el_device.word[n];
        word->row = (int16_t)signed16(p);
        word->rejects = (int16_t)signed16(p + 2);
        word->threshold_q14 = signed32(p + 4);
        word->last_heard = EL_NEVER;
    }
    el_image_records(image);
    *el_last.used = 0;
    el_device.job = EL_JOB_NONE;
    el_device.changing = 0;
    el_device.changes++;
}

el_status el_load(const uint8_t *image, size_t size)
{
    el_status status = check_header(image, size);
    if (status == EL_OK) {
        status = check_numbers(image);
    }
    if (status == EL_OK) {
        take_over(image);
        el_reset();
    }
    return status;
}

/* Where the pieces of an image go, and their CRC. */
typedef struct {
    void (*write)(void *context, const uint8_t *bytes, size_t count);
    void *context;
    uint32_t crc;
} sink;

static void put(sink *to, const uint8_t *bytes, size_t count)
{
    to->crc = el_crc32(to->crc, bytes, count);
    if (to->write) {
        to->write(to->context, bytes, count);
    }
}

/* Everything behind the header's checksum. */
static void put_contents(sink *to, const uint8_t *header)
{
    uint8_t bytes[WORD_BYTES];
    put(to, header + CHECKED_FROM, HEADER_BYTES - CHECKED_FROM);
    for (int k = 0; k < EL_LAYERS; k++) {
        const el_layer *layer = &el_layers[k];
        put(to, (const uint8_t *)layer->hi, layer_weights(layer));
        put(to, (const uint8_t *)layer->lo, layer_weights(layer));
        for (int r = 0; r < 4 * layer->hidden; r++) {
            write32(bytes, (uint32_t)layer->bias[r]);
            put(to, bytes, 4);
        }
    }
    put(to, (const uint8_t *)el_memory.classifier_prototypes, (size_t)(el_device.rows * EL_HIDDEN));
    for (int32_t row = EL_BASE_ROWS; row < el_device.rows; row++) {
        int32_t numbers[EL_DIRECTION_NUMBERS];
        const int8_t *vectors = el_directions_get(row, numbers);
        for (int k = 0; k < EL_DIRECTION_NUMBERS; k++) {
            write32(bytes, (uint32_t)numbers[k]);
            put(to, bytes, 4);
        }
        put(to, (const uint8_t *)vectors, EL_DIRECTIONS * EL_HIDDEN);
    }
    for (int32_t n = 0; n < el_device.words; n++) {
        const el_word *word = &el_device.word[n];
        write32(bytes, (uint32_t)word->row | (uint32_t)word->rejects << 16);
        write32(bytes + 4, (uint32_t)word->threshold_q14);
        put(to, bytes, WORD_BYTES);
    }
    put(to, el_rehearsal.bytes, (size_t)el_records_below(&el_rehearsal, el_device.rows));
}

void el_save(uint32_t generation, void (*write)(void *context, const uint8_t *bytes, size_t count), void *context)
{
    uint8_t header[HEADER_BYTES];
    sink check = {NULL, NULL, 0}, out = {write, context, 0};
    write32(header + AT_MAGIC, MAGIC);
    write32(header + AT_VERSION, VERSION);
    write32(header + AT_BYTES, (uint32_t)el_image_bytes());
    write32(header + AT_GENERATION, generation);
    write32(header + AT_DIGEST, EL_DIGEST);
    write32(header + AT_ROWS, (uint32_t)el_device.rows);
    write32(header + AT_WORDS, (uint32_t)el_device.words);
    write32(header + AT_REHEARSAL, (uint32_t)el_records_below(&el_rehearsal, el_device.rows));
    put_contents(&check, header);
    write32(header + AT_CRC, check.crc);
    write(context, header, CHECKED_FROM);
    put_contents(&out, header);
}
