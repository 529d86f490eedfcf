/* Utterances as delta streams in a bounded block of bytes; the twin of edgelearn/learning/rehearsal.py.
 *
 * A record is a header of 4 bytes (row, frames, size with the header in 16 bits, little endian), then for each frame a
 * bit mask of the bands that were transmitted and their new values.
 */
#include "edgelearn.h"

#define HEADER 4
#define MASK ((EL_BANDS + 7) / 8)
#define MOST_FRAMES 255

/* Write frames to `out`, unless it is NULL; returns the bytes that they take. */
static int32_t encode(const int8_t *frames, int32_t first, int32_t count, int32_t ring, int8_t *hat, uint8_t *out)
{
    int32_t at = 0;
    for (int b = 0; b < EL_BANDS; b++) {
        hat[b] = 0;
    }
    for (int32_t t = first; t < first + count; t++) {
        const int8_t *frame = frames + t % ring * EL_BANDS;
        uint8_t *mask = out ? out + at : NULL;
        at += MASK;
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
    record->frames = header[1];
    record->size = header[2] | header[3] << 8;
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
    el_record record, oldest = {-1, 0, 0, 0};
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
    const el_records *records, int32_t row, const int8_t *frames, int32_t first, int32_t count, int32_t ring)
{
    uint8_t *header;
    int32_t size;
    count = count < MOST_FRAMES ? count : MOST_FRAMES;
    size = HEADER + encode(frames, first, count, ring, records->hat, NULL);
    if (size > records->capacity) {
        return EL_FULL; /* without it others would be dropped for nothing */
    }
    while (*records->used + size > records->capacity) {
        drop_one(records, row);
    }
    header = records->bytes + *records->used;
    header[0] = (uint8_t)row;
    header[1] = (uint8_t)count;
    header[2] = (uint8_t)(size & 255);
    header[3] = (uint8_t)(size >> 8);
    encode(frames, first, count, ring, records->hat, header + HEADER);
    *records->used += size;
    return EL_OK;
}

void el_records_decode(const el_records *records, const el_record *record, int8_t *frames)
{
    const uint8_t *data = records->bytes + record->offset + HEADER;
    for (int32_t t = 0; t < record->frames; t++) {
        const uint8_t *mask = data;
        int8_t *frame = frames + t * EL_BANDS;
        data += MASK;
        for (int b = 0; b < EL_BANDS; b++) {
            if (mask[b / 8] >> b % 8 & 1) {
                int32_t value = *data++;
                frame[b] = (int8_t)(value < 128 ? value : value - 256);
            } else {
                frame[b] = t > 0 ? frame[b - EL_BANDS] : 0;
            }
        }
    }
}

int el_records_whole(const uint8_t *bytes, int32_t size, int32_t rows)
{
    int32_t at = 0;
    while (at < size) {
        int32_t end, frames;
        if (size - at < HEADER || bytes[at] >= rows || bytes[at + 1] > EL_RING_FRAMES) {
            return 0;
        }
        frames = bytes[at + 1];
        end = at + (bytes[at + 2] | bytes[at + 3] << 8);
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
