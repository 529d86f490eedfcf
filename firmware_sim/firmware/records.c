/* Utterances as delta streams in a bounded block of bytes; the twin of edgelearn/learning/rehearsal.py.
 *
 * A record is a header of 4 bytes (row, frames, size with the header in 15 bits, little endian, and in the highest bit
 * whether what is around the word is in it), then for each frame a bit mask of the bands that were transmitted and their
 * new values.
 */
#include "edgelearn.h"
#include "fixed.h"

#define HEADER 4
#define WITH_SURROUNDINGS 128
#define MASK ((EL_BANDS + 7) / 8)

typedef char el_the_frames_of_a_record_are_a_byte[EL_RING_FRAMES <= 255 ? 1 : -1];

/* Frames of an utterance in a ring: `count` that its own voice hears, with `before` and `after` around them. */
typedef struct {
    const int8_t *frames;
    int32_t first, count, ring, before, after;
} el_cut;

/* Write frames to `out`, unless it is NULL; returns the bytes that they take. surrounded: with as many frames around them
 * as an utterance has, of which the first and the last are repeated where there are fewer; what is transmitted begins
 * anew with the first that its own voice hears. */
static int32_t encode(const el_cut *cut, int surrounded, int8_t *hat, uint8_t *out)
{
    int32_t at = 0, first = surrounded ? -EL_OUTER_PRE_FRAMES : 0;
    int32_t stop = cut->count + (surrounded ? EL_OUTER_POST_FRAMES : 0);
    for (int32_t n = first; n < stop; n++) {
        int32_t t = cut->first + el_limit(n, -cut->before, cut->count + cut->after - 1);
        const int8_t *frame = cut->frames + t % cut->ring * EL_BANDS;
        uint8_t *mask = out ? out + at : NULL;
        at += MASK;
        for (int b = 0; (n == 0 || n == first) && b < EL_BANDS; b++) {
            hat[b] = 0;
        }
        for (int m = 0; out && m < MASK; m++) {
            mask[m] = 0;
        }
        for (int b = 0; b < EL_BANDS; b++) {
            int32_t delta = frame[b] - hat[b];
            if ((delta < 0 ? -delta : delta) * 128 >= el_layers[0].theta_x[0]) {
                hat[b] = frame[b];
                if (out) {
                    mask[b / 8] |= (uint8_t)(1 << b % 8);
                    out[at] = (uint8_t)frame[b];
                }
                at++;
            }
        }
    }
    return at;
}

int el_records_next(const el_records *records, int32_t offset, el_record *record)
{
    const uint8_t *header = records->bytes + offset;
    if (offset >= *records->used) {
        return 0;
    }
    record->offset = offset;
    record->row = header[0];
    record->surrounded = header[3] / WITH_SURROUNDINGS;
    record->frames = header[1] + (record->surrounded || !header[1] ? 0 : EL_OUTER_FRAMES);
    record->size = header[2] | (header[3] & (WITH_SURROUNDINGS - 1)) << 8;
    return 1;
}

int32_t el_records_count(const el_records *records, int32_t row)
{
    el_record record;
    int32_t count = 0;
    for (int32_t at = 0; el_records_next(records, at, &record); at += record.size) {
        count += record.row == row;
    }
    return count;
}

int32_t el_records_below(const el_records *records, int32_t rows)
{
    el_record record;
    int32_t at = 0;
    while (el_records_next(records, at, &record) && record.row < rows) {
        at += record.size;
    }
    return at;
}

int32_t el_exemplars(void)
{
    el_record record;
    int32_t count = 0;
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, &record); at += record.size) {
        count++;
    }
    return count;
}

/* Exemplar `number`, in order of arrival. */
int el_exemplar(int32_t number, el_record *record)
{
    for (int32_t at = 0; el_records_next(&el_rehearsal, at, record); at += record->size) {
        if (number-- == 0) {
            return 1;
        }
    }
    return 0;
}

/* Drop the oldest record of the best represented word, of the newcomer's own only when all others are down to one; among
 * equals it is the lowest row. */
static void drop_one(const el_records *records, int32_t newcomer)
{
    el_record record, oldest = {-1, 0, 0, 0, 0};
    int32_t most = 0, most_spare = 0;
    for (int32_t at = 0; el_records_next(records, at, &record); at += record.size) {
        int32_t count = el_records_count(records, record.row), spare = record.row != newcomer && count > 1;
        int better = spare != most_spare ? spare > most_spare
                     : count != most     ? count > most
                                         : record.row < oldest.row;
        if (oldest.offset < 0 || better) {
            oldest = record;
            most = count;
            most_spare = spare;
        }
    }
    for (int32_t at = oldest.offset + oldest.size; at < *records->used; at++) {
        records->bytes[at - oldest.size] = records->bytes[at];
    }
    *records->used -= oldest.size;
}

el_status el_records_add(
    const el_records *records, int32_t row, const int8_t *frames, int32_t first, int32_t count, int32_t ring,
    int32_t before, int32_t after)
{
    const el_cut cut = {frames, first, count, ring, before, after};
    uint8_t *header;
    int32_t sounding = first;
    int surrounded = el_sounding(frames, ring, &sounding, count, before, after) > count;
    int32_t size = HEADER + encode(&cut, surrounded, records->hat, NULL);
    if (size > records->capacity) {
        return EL_FULL; /* without it others would be dropped for nothing */
    }
    while (*records->used + size > records->capacity) {
        drop_one(records, row);
    }
    header = records->bytes + *records->used;
    header[0] = (uint8_t)row;
    header[1] = (uint8_t)(count + (surrounded ? EL_OUTER_FRAMES : 0));
    header[2] = (uint8_t)(size & 255);
    header[3] = (uint8_t)(size >> 8 | (surrounded ? WITH_SURROUNDINGS : 0));
    encode(&cut, surrounded, records->hat, header + HEADER);
    *records->used += size;
    return EL_OK;
}

void el_records_decode(const el_records *records, const el_record *record, int8_t *frames)
{
    const uint8_t *data = records->bytes + record->offset + HEADER;
    int32_t first = record->surrounded ? 0 : EL_OUTER_PRE_FRAMES;
    int32_t stop = record->frames - (record->surrounded ? 0 : EL_OUTER_POST_FRAMES);
    for (int32_t t = first; t < stop; t++) {
        const uint8_t *mask = data;
        int8_t *frame = frames + t * EL_BANDS;
        data += MASK;
        for (int b = 0; b < EL_BANDS; b++) {
            if (mask[b / 8] >> b % 8 & 1) {
                int32_t value = *data++;
                frame[b] = (int8_t)(value < 128 ? value : value - 256);
            } else {
                frame[b] = t != first && t != EL_OUTER_PRE_FRAMES ? frame[b - EL_BANDS] : 0;
            }
        }
    }
    for (int32_t n = 0; !record->surrounded && n < record->frames * EL_BANDS; n++) {
        int32_t t = n / EL_BANDS;
        if (t < first || t >= stop) {
            frames[n] = frames[(t < first ? first : stop - 1) * EL_BANDS + n % EL_BANDS];
        }
    }
}

int el_records_whole(const uint8_t *bytes, int32_t size, int32_t rows)
{
    int32_t at = 0;
    while (at < size) {
        int32_t end, frames;
        if (size - at < HEADER || bytes[at] >= rows) {
            return 0;
        }
        frames = bytes[at + 1];
        if (frames + (bytes[at + 3] < WITH_SURROUNDINGS ? EL_OUTER_FRAMES : 0) > EL_RING_FRAMES) {
            return 0;
        }
        end = at + (bytes[at + 2] | (bytes[at + 3] & (WITH_SURROUNDINGS - 1)) << 8);
        at += HEADER;
        if (end > size) {
            return 0;
        }
        for (int32_t t = 0; t < frames; t++) {
            const uint8_t *mask = bytes + at;
            at += MASK;
            if (at > end) {
                return 0;
            }
            for (int b = 0; b < EL_BANDS; b++) {
                at += mask[b / 8] >> b % 8 & 1;
            }
        }
        if (at != end) {
            return 0;
        }
    }
    return 1;
}
