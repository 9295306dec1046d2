/*
 * value_read.c - reading plain values
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A reader stands at a value. decode() looks at it and moves nothing; commit() goes
 * behind it, or, for a container, to what is in it. `open` is a stack of the containers around the
 * reader: how many values each still has, and where it has to end.
 *
 * Nothing is trusted. Every length is compared with what is left before the limit of the innermost
 * container, every count as well, since each value needs a byte at least.
 *
 * Shared state: none. A reader is its caller's.
 *
 * Invariants: 1. start <= at <= limit <= end, and bytes are read below the limit only. 2. depth <=
 * MPROC_VALUE_DEPTH, and open[0..depth) have values left. 3. `error` is 0, or what every further
 * read says: the bytes break the format there.
 *
 * If a member dies here: nothing that others see has changed.
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/object.h"
#include "value.h"

struct decoded {
    mproc_value value;
    const unsigned char *body;  /* where to go on */
    const unsigned char *limit; /* of a tuple: where it ends; NULL: not said */
};

/* ---------------------------------------------------------------- errors */

/* The text begins with what the reader stands at. */
MPROC__PRINTF(2, 3)
static void say(mproc_value_reader *rd, const char *format, ...) {
    va_list args;
    int n = rd->objects && rd->depth == 1
                ? snprintf(rd->reason, sizeof rd->reason,
                           "argument %zu: ", rd->arguments - (size_t)rd->open[0].left + 1)
                : snprintf(rd->reason, sizeof rd->reason, "byte %td: ", rd->at - rd->start);
    va_start(args, format);
    vsnprintf(rd->reason + n, sizeof rd->reason - (size_t)n, format, args);
    va_end(args);
}

/* There is no way on behind such bytes. */
static int broken(mproc_value_reader *rd, const char *what) {
    rd->error = MPROC_EVALUE;
    say(rd, "%s", what);
    return MPROC_EVALUE;
}

static const char *const kind_names[] = {
    [MPROC_VALUE_NONE] = "None",
    [MPROC_VALUE_BOOL] = "a truth value",
    [MPROC_VALUE_INT] = "an integer",
    [MPROC_VALUE_UINT] = "an integer above INT64_MAX",
    [MPROC_VALUE_FLOAT] = "a float",
    [MPROC_VALUE_TEXT] = "text",
    [MPROC_VALUE_BYTES] = "bytes",
    [MPROC_VALUE_LIST] = "a list",
    [MPROC_VALUE_TUPLE] = "a tuple",
    [MPROC_VALUE_MAP] = "a map",
    [MPROC_VALUE_ARRAY] = "an array",
    [MPROC_VALUE_QUEUE] = "a queue",
    [MPROC_VALUE_LOCK] = "a lock",
    [MPROC_VALUE_RLOCK] = "a recursive lock",
    [MPROC_VALUE_SEMAPHORE] = "a semaphore",
    [MPROC_VALUE_BSEMAPHORE] = "a bounded semaphore",
    [MPROC_VALUE_EVENT] = "an event",
    [MPROC_VALUE_CONDITION] = "a condition",
    [MPROC_VALUE_BARRIER] = "a barrier",
    [MPROC_VALUE_NUMBERS] = "a shared array or value",
    [MPROC_VALUE_BUFFER] = "a buffer",
    [MPROC_VALUE_SHARED_DICT] = "a shared dict",
    [MPROC_VALUE_SHARED_LIST] = "a shared list",
};

static int other_kind(mproc_value_reader *rd, mproc_value_kind wanted, mproc_value_kind found) {
    say(rd, "%s is wanted, and %s stands there", kind_names[wanted], kind_names[found]);
    return MPROC_EKIND;
}

const char *mproc_value_reason(const mproc_value_reader *reader) {
    return reader->reason;
}

/* ---------------------------------------------------------------- beginning */

static const unsigned char *limit_of(const mproc_value_reader *rd) {
    return rd->depth > 0 ? rd->open[rd->depth - 1].limit : rd->end;
}

void mproc_value_read(mproc_value_reader *out, const void *lent, size_t size) {
    memset(out, 0, offsetof(mproc_value_reader, open));
    out->reason[0] = 0;
    out->start = out->at = lent;
    out->end = out->start + size;
}

/* A value that takes buffers along stands between a header and the list of its parts. */
void mproc_value_read_message(mproc_value_reader *out, const mproc_message *lent) {
    const unsigned char *data = lent->data;
    size_t left = lent->size - MPROC__PARTS_HEADER;
    mproc_value_read(out, data, lent->size);
    if (lent->size < MPROC__PARTS_HEADER || data[0] != 0xd7 || data[1] != MPROC_EXT_VALUE_PARTS) {
        return;
    }
    uint64_t length = mproc__load_big(data + 2, 8);
    if (length > left || (left - length) % sizeof(mproc_value_part) != 0) {
        (void)broken(out, "a length that is not the value's");
        return;
    }
    out->at += MPROC__PARTS_HEADER;
    out->end = out->at + length;
    out->message = lent;
    out->parts = out->end;
    out->nparts = (left - length) / sizeof(mproc_value_part);
}

/* ---------------------------------------------------------------- one value */

/* A number of so many bytes behind the first one; the body is what follows it. */
static int take(mproc_value_reader *rd, struct decoded *d, size_t width, uint64_t *out) {
    if ((size_t)(limit_of(rd) - d->body) < width) {
        return broken(rd, "the bytes end inside a value");
    }
    *out = mproc__load_big(d->body, width);
    d->body += width;
    return 0;
}

static int decode_data(mproc_value_reader *rd, struct decoded *d, mproc_value_kind kind,
                       uint64_t size) {
    if ((uint64_t)(limit_of(rd) - d->body) < size) {
        return broken(rd, "the bytes end inside a value");
    }
    if (kind == MPROC_VALUE_TEXT && !mproc__is_utf8(d->body, size)) {
        return broken(rd, "text that is not UTF-8");
    }
    d->value.kind = kind;
    d->value.data = d->body;
    d->value.size = size;
    d->body += size;
    return 0;
}

static int decode_container(mproc_value_reader *rd, struct decoded *d, mproc_value_kind kind,
                            uint64_t count) {
    const unsigned char *limit = d->limit != NULL ? d->limit : limit_of(rd);
    uint64_t values = kind == MPROC_VALUE_MAP ? 2 * count : count;
    if (values > (uint64_t)(limit - d->body)) {
        return broken(rd, "more values are announced than can follow");
    }
    if (rd->depth == MPROC_VALUE_DEPTH) {
        return broken(rd, "containers stand too deep in each other");
    }
    d->value.kind = kind;
    d->value.count = count;
    return 0;
}

static int decode_int(struct decoded *d, uint64_t bits, unsigned width) {
    unsigned unused = 64 - 8 * width;
    d->value.kind = MPROC_VALUE_INT;
    d->value.integer = (int64_t)(bits << unused) >> unused;
    return 0;
}

static int decode_uint(struct decoded *d, uint64_t v) {
    d->value.kind = v > INT64_MAX ? MPROC_VALUE_UINT : MPROC_VALUE_INT;
    d->value.natural = v;
    return 0;
}

static int decode_float(struct decoded *d, uint64_t bits, unsigned width) {
    d->value.kind = MPROC_VALUE_FLOAT;
    if (width == 4) {
        uint32_t half = (uint32_t)bits;
        float number;
        memcpy(&number, &half, sizeof number);
        d->value.number = number;
    } else {
        memcpy(&d->value.number, &bits, sizeof bits);
    }
    return 0;
}

static int decode_bool(struct decoded *d, int truth) {
    d->value.kind = MPROC_VALUE_BOOL;
    d->value.integer = truth;
    return 0;
}

/* ---------------------------------------------------------------- extensions */

static int decode_tuple(mproc_value_reader *rd, struct decoded *d, uint64_t size) {
    const unsigned char *at = d->body;
    uint64_t count = 0;
    if (size == 0) {
        return broken(rd, "a tuple without an array");
    }
    d->limit = at + size;
    d->body++;
    if ((*at & 0xf0) == 0x90) {
        return decode_container(rd, d, MPROC_VALUE_TUPLE, *at & 0x0f);
    }
    size_t width = *at == 0xdc ? 2 : *at == 0xdd ? 4 : 0;
    if (width == 0 || size <= width) {
        return broken(rd, "a tuple without an array");
    }
    int r = take(rd, d, width, &count);
    return r != 0 ? r : decode_container(rd, d, MPROC_VALUE_TUPLE, count);
}

static int find_part(mproc_value_reader *rd, uint64_t number, mproc_value_array *array) {
    mproc_value_part part;
    if (number >= rd->nparts) {
        return broken(rd, "an array whose items are nowhere");
    }
    memcpy(&part, rd->parts + number * sizeof part, sizeof part);
    mproc_buffer *buffer = mproc_message_buffer(rd->message, part.buffer / 2);
    size_t size = buffer != NULL ? mproc_buffer_size(buffer) : 0;
    if (buffer == NULL || part.size != array->size || part.offset > size ||
        part.size > size - part.offset) {
        return broken(rd, "an array that is in no buffer of the message");
    }
    array->buffer = buffer;
    array->data = (const char *)mproc_buffer_data(buffer) + part.offset;
    array->flags |= (part.buffer & 1) != 0 ? MPROC_VALUE_SHARED : 0;
    return 0;
}

static int decode_array(mproc_value_reader *rd, struct decoded *d, uint64_t size) {
    uint64_t part;
    int r = mproc_value_array_find(d->body, size, &d->value.array, &part);
    if (r < 0) {
        return broken(rd, "an array that is none");
    }
    d->value.kind = MPROC_VALUE_ARRAY;
    d->body += size;
    return r == 0 ? 0 : find_part(rd, part, &d->value.array);
}

static mproc_value_kind kind_of_object(const void *pointer) {
    static const struct {
        enum mproc__kind object;
        mproc_value_kind value;
    } kinds[] = {
        {MPROC__KIND_QUEUE, MPROC_VALUE_QUEUE},
        {MPROC__KIND_LOCK, MPROC_VALUE_LOCK},
        {MPROC__KIND_RLOCK, MPROC_VALUE_RLOCK},
        {MPROC__KIND_SEMAPHORE, MPROC_VALUE_SEMAPHORE},
        {MPROC__KIND_BSEMAPHORE, MPROC_VALUE_BSEMAPHORE},
        {MPROC__KIND_EVENT, MPROC_VALUE_EVENT},
        {MPROC__KIND_CONDITION, MPROC_VALUE_CONDITION},
        {MPROC__KIND_BARRIER, MPROC_VALUE_BARRIER},
        {MPROC__KIND_ARRAY, MPROC_VALUE_NUMBERS},
        {MPROC__KIND_BUFFER, MPROC_VALUE_BUFFER},
        {MPROC__KIND_DICT, MPROC_VALUE_SHARED_DICT},
        {MPROC__KIND_LIST, MPROC_VALUE_SHARED_LIST},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (mproc__object_is(pointer, kinds[i].object)) {
            return kinds[i].value;
        }
    }
    return 0;
}

/* An array's lock is a recursive one, a condition's is either, and nothing else has any. */
static bool lock_fits(mproc_value_kind kind, const void *lock) {
    mproc_value_kind of_lock = lock != NULL ? kind_of_object(lock) : 0;
    switch (kind) {
    case MPROC_VALUE_NUMBERS: return lock == NULL || of_lock == MPROC_VALUE_RLOCK;
    case MPROC_VALUE_CONDITION:
        return lock == NULL || of_lock == MPROC_VALUE_RLOCK || of_lock == MPROC_VALUE_LOCK;
    default: return lock == NULL;
    }
}

mproc_value_kind mproc_value_object(const void *object, const void *lock) {
    mproc_value_kind kind = object != NULL ? kind_of_object(object) : 0;
    return kind != 0 && lock_fits(kind, lock) ? kind : 0;
}

static int decode_object(mproc_value_reader *rd, struct decoded *d, uint64_t size) {
    void *addresses[2];
    if (!rd->objects) {
        return broken(rd, "an object of the family, which is no value of a message");
    }
    if (size != sizeof addresses) {
        return broken(rd, "an object that is none");
    }
    memcpy(addresses, d->body, size);
    d->value.object = addresses[0];
    d->value.lock = addresses[1];
    d->value.kind = mproc_value_object(addresses[0], addresses[1]);
    d->body += size;
    return d->value.kind != 0 ? 0 : broken(rd, "an object that the family does not have");
}

static int unknown(mproc_value_reader *rd, unsigned char type) {
    rd->error = MPROC_EEXTENSION;
    if (type >= 0x20 && type < 0x7f) {
        say(rd, "extension type %d ('%c') is not known here", type, type);
    } else {
        say(rd, "extension type %d is not known here", (signed char)type);
    }
    return MPROC_EEXTENSION;
}

static int decode_ext(mproc_value_reader *rd, struct decoded *d, uint64_t size) {
    uint64_t type = 0;
    int r = take(rd, d, 1, &type);
    if (r != 0) {
        return r;
    }
    bool pickle =
        type == MPROC_EXT_PICKLE || type == MPROC_EXT_LONG_PICKLE || type == MPROC_EXT_PARTS;
    if (pickle && rd->depth == 0 && rd->at == rd->start) {
        rd->error = MPROC_EPICKLE;
        say(rd, "Python has pickled this object: it is no plain value");
        return MPROC_EPICKLE;
    }
    if ((uint64_t)(limit_of(rd) - d->body) < size) {
        return broken(rd, "the bytes end inside a value");
    }
    switch (type) {
    case MPROC_EXT_TUPLE: return decode_tuple(rd, d, size);
    case MPROC_EXT_ARRAY: return decode_array(rd, d, size);
    case MPROC_EXT_OBJECT: return decode_object(rd, d, size);
    default:
        return pickle ? broken(rd, "a pickle inside another value")
                      : unknown(rd, (unsigned char)type);
    }
}

/* ---------------------------------------------------------------- first bytes */

/* Values whose length, count or number stands in `width` bytes behind the first one. */
static int decode_wide(mproc_value_reader *rd, struct decoded *d, unsigned char lead) {
    static const unsigned char widths[32] = {
        [0xc4 - 0xc0] = 1, [0xc5 - 0xc0] = 2, [0xc6 - 0xc0] = 4, [0xc7 - 0xc0] = 1,
        [0xc8 - 0xc0] = 2, [0xc9 - 0xc0] = 4, [0xca - 0xc0] = 4, [0xcb - 0xc0] = 8,
        [0xcc - 0xc0] = 1, [0xcd - 0xc0] = 2, [0xce - 0xc0] = 4, [0xcf - 0xc0] = 8,
        [0xd0 - 0xc0] = 1, [0xd1 - 0xc0] = 2, [0xd2 - 0xc0] = 4, [0xd3 - 0xc0] = 8,
        [0xd9 - 0xc0] = 1, [0xda - 0xc0] = 2, [0xdb - 0xc0] = 4, [0xdc - 0xc0] = 2,
        [0xdd - 0xc0] = 4, [0xde - 0xc0] = 2, [0xdf - 0xc0] = 4,
    };
    unsigned width = widths[lead - 0xc0];
    uint64_t n = 0;
    int r = take(rd, d, width, &n);
    if (r != 0) {
        return r;
    }
    switch (lead) {
    case 0xc4:
    case 0xc5:
    case 0xc6: return decode_data(rd, d, MPROC_VALUE_BYTES, n);
    case 0xc7:
    case 0xc8:
    case 0xc9: return decode_ext(rd, d, n);
    case 0xca:
    case 0xcb: return decode_float(d, n, width);
    case 0xd9:
    case 0xda:
    case 0xdb: return decode_data(rd, d, MPROC_VALUE_TEXT, n);
    case 0xdc:
    case 0xdd: return decode_container(rd, d, MPROC_VALUE_LIST, n);
    case 0xde:
    case 0xdf: return decode_container(rd, d, MPROC_VALUE_MAP, n);
    default: return lead < 0xd0 ? decode_uint(d, n) : decode_int(d, n, width);
    }
}

static int decode_kind(mproc_value_reader *rd, struct decoded *d, unsigned char lead) {
    switch (lead) {
    case 0xc0: d->value.kind = MPROC_VALUE_NONE; return 0;
    case 0xc1: return broken(rd, "the unused byte 0xc1");
    case 0xc2:
    case 0xc3: return decode_bool(d, lead & 1);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return decode_ext(rd, d, 1u << (lead - 0xd4));
    default: return decode_wide(rd, d, lead);
    }
}

/* The value at which the reader stands. All but the array of it is set. */
static int decode(mproc_value_reader *rd, struct decoded *d) {
    int error = rd->error;
    rd->reason[0] = 0;
    if (error != 0) {
        say(rd, "an earlier value breaks the format");
        return error;
    }
    if (rd->depth == 0 && rd->at == rd->end && rd->at > rd->start) {
        say(rd, "no value is left");
        return -ENODATA;
    }
    if (rd->at == limit_of(rd)) {
        return broken(rd, "the bytes end where a value is to begin");
    }
    memset(&d->value, 0, offsetof(mproc_value, array));
    d->limit = NULL;
    d->body = rd->at + 1;
    unsigned char lead = *rd->at;
    if (lead < 0x80 || lead >= 0xe0) {
        return decode_int(d, lead, 1);
    }
    if (lead < 0x90) {
        return decode_container(rd, d, MPROC_VALUE_MAP, lead & 0x0f);
    }
    if (lead < 0xa0) {
        return decode_container(rd, d, MPROC_VALUE_LIST, lead & 0x0f);
    }
    return lead < 0xc0 ? decode_data(rd, d, MPROC_VALUE_TEXT, lead & 0x1f)
                       : decode_kind(rd, d, lead);
}

/* ---------------------------------------------------------------- going on */

static void enter(mproc_value_reader *rd, const struct decoded *d) {
    const unsigned char *limit = limit_of(rd);
    uint64_t n = d->value.count;
    rd->open[rd->depth].left = d->value.kind == MPROC_VALUE_MAP ? 2 * n : n;
    rd->open[rd->depth].limit = d->limit != NULL ? d->limit : limit;
    rd->open[rd->depth].closes = d->limit != NULL;
    rd->depth++;
}

/* Leaves the containers that have no value left. */
static int leave(mproc_value_reader *rd) {
    while (rd->depth > 0 && rd->open[rd->depth - 1].left == 0) {
        rd->depth--;
        if (rd->open[rd->depth].closes && rd->at != rd->open[rd->depth].limit) {
            return broken(rd, "bytes are left over in a tuple");
        }
    }
    if (rd->depth == 0 && rd->at != rd->end) {
        return broken(rd, "bytes are left over");
    }
    return 0;
}

static int commit(mproc_value_reader *rd, const struct decoded *d) {
    rd->at = d->body;
    if (rd->depth > 0) {
        rd->open[rd->depth - 1].left--;
    }
    if (d->value.kind >= MPROC_VALUE_LIST && d->value.kind <= MPROC_VALUE_MAP) {
        enter(rd, d);
    }
    return leave(rd);
}

static void copy_value(mproc_value *out, const mproc_value *from) {
    size_t size = from->kind == MPROC_VALUE_ARRAY ? sizeof *out : offsetof(mproc_value, array);
    memcpy(out, from, size);
}

int mproc_value_next(mproc_value_reader *reader, mproc_value *out) {
    struct decoded d;
    int r = decode(reader, &d);
    if (r == 0) {
        r = commit(reader, &d);
    }
    if (r == 0) {
        copy_value(out, &d.value);
    }
    return r;
}

int mproc_value_skip(mproc_value_reader *reader) {
    struct decoded d;
    unsigned depth = reader->depth;
    int r;
    do {
        r = decode(reader, &d);
        if (r == 0) {
            r = commit(reader, &d);
        }
    } while (r == 0 && reader->depth > depth);
    return r;
}

int mproc_value_end(mproc_value_reader *reader) {
    struct decoded d;
    int r = decode(reader, &d);
    if (r == -ENODATA) {
        reader->reason[0] = 0;
        return 0;
    }
    if (r != 0) {
        return r;
    }
    say(reader, "%s is left", kind_names[d.value.kind]);
    return -EEXIST;
}

/* ---------------------------------------------------------------- values of a kind */

static int read_kind(mproc_value_reader *reader, mproc_value_kind kind, struct decoded *d) {
    int r = decode(reader, d);
    if (r == 0 && d->value.kind != kind) {
        r = other_kind(reader, kind, d->value.kind);
    }
    return r != 0 ? r : commit(reader, d);
}

int mproc_value_read_none(mproc_value_reader *reader) {
    struct decoded d;
    return read_kind(reader, MPROC_VALUE_NONE, &d);
}

int mproc_value_read_bool(mproc_value_reader *reader, int *out) {
    struct decoded d;
    int r = read_kind(reader, MPROC_VALUE_BOOL, &d);
    if (r == 0) {
        *out = (int)d.value.integer;
    }
    return r;
}

int mproc_value_read_int(mproc_value_reader *reader, int64_t *out) {
    struct decoded d;
    int r = read_kind(reader, MPROC_VALUE_INT, &d);
    if (r == 0) {
        *out = d.value.integer;
    }
    return r;
}

int mproc_value_read_uint(mproc_value_reader *reader, uint64_t *out) {
    struct decoded d;
    int r = decode(reader, &d);
    if (r == 0 && d.value.kind == MPROC_VALUE_INT && d.value.integer < 0) {
        say(reader, "an integer from 0 on is wanted, and %lld stands there",
            (long long)d.value.integer);
        return MPROC_EKIND;
    }
    if (r == 0 && d.value.kind != MPROC_VALUE_INT && d.value.kind != MPROC_VALUE_UINT) {
        return other_kind(reader, MPROC_VALUE_INT, d.value.kind);
    }
    if (r == 0) {
        r = commit(reader, &d);
    }
    if (r == 0) {
        *out = d.value.natural;
    }
    return r;
}

static double as_double(const mproc_value *value) {
    switch (value->kind) {
    case MPROC_VALUE_INT: return (double)value->integer;
    case MPROC_VALUE_UINT: return (double)value->natural;
    default: return value->number;
    }
}

int mproc_value_read_float(mproc_value_reader *reader, double *out) {
    struct decoded d;
    int r = decode(reader, &d);
    if (r == 0 && (d.value.kind < MPROC_VALUE_INT || d.value.kind > MPROC_VALUE_FLOAT)) {
        return other_kind(reader, MPROC_VALUE_FLOAT, d.value.kind);
    }
    if (r == 0) {
        r = commit(reader, &d);
    }
    if (r == 0) {
        *out = as_double(&d.value);
    }
    return r;
}

int mproc_value_read_text(mproc_value_reader *reader, const char **out, size_t *size) {
    struct decoded d;
    int r = read_kind(reader, MPROC_VALUE_TEXT, &d);
    if (r == 0) {
        *out = d.value.data;
        *size = d.value.size;
    }
    return r;
}

int mproc_value_read_bytes(mproc_value_reader *reader, const void **out, size_t *size) {
    struct decoded d;
    int r = read_kind(reader, MPROC_VALUE_BYTES, &d);
    if (r == 0) {
        *out = d.value.data;
        *size = d.value.size;
    }
    return r;
}

int mproc_value_read_list(mproc_value_reader *reader, size_t *count) {
    struct decoded d;
    int r = decode(reader, &d);
    if (r == 0 && d.value.kind != MPROC_VALUE_LIST && d.value.kind != MPROC_VALUE_TUPLE) {
        return other_kind(reader, MPROC_VALUE_LIST, d.value.kind);
    }
    if (r == 0) {
        r = commit(reader, &d);
    }
    if (r == 0) {
        *count = d.value.count;
    }
    return r;
}

int mproc_value_read_map(mproc_value_reader *reader, size_t *count) {
    struct decoded d;
    int r = read_kind(reader, MPROC_VALUE_MAP, &d);
    if (r == 0) {
        *count = d.value.count;
    }
    return r;
}

int mproc_value_read_array(mproc_value_reader *reader, mproc_value_array *out) {
    struct decoded d;
    int r = read_kind(reader, MPROC_VALUE_ARRAY, &d);
    if (r == 0) {
        *out = d.value.array;
    }
    return r;
}

/* ---------------------------------------------------------------- objects */

static void *read_object(mproc_value_reader *reader, mproc_value_kind kind, void **lock, int *r) {
    struct decoded d;
    *r = read_kind(reader, kind, &d);
    if (*r == 0 && lock != NULL) {
        *lock = d.value.lock;
    }
    return *r == 0 ? d.value.object : NULL;
}

#define READ_OBJECT(noun, kind) READ_OBJECT_AS(noun, noun, kind)
#define READ_OBJECT_AS(name, noun, kind)                                                           \
    int mproc_value_read_##name(mproc_value_reader *reader, mproc_##noun **out) {                  \
        int r;                                                                                     \
        mproc_##noun *found = read_object(reader, kind, NULL, &r);                                 \
        *out = r == 0 ? found : *out;                                                              \
        return r;                                                                                  \
    }

READ_OBJECT(queue, MPROC_VALUE_QUEUE)
READ_OBJECT(lock, MPROC_VALUE_LOCK)
READ_OBJECT(rlock, MPROC_VALUE_RLOCK)
READ_OBJECT(semaphore, MPROC_VALUE_SEMAPHORE)
READ_OBJECT(bsemaphore, MPROC_VALUE_BSEMAPHORE)
READ_OBJECT(event, MPROC_VALUE_EVENT)
READ_OBJECT(barrier, MPROC_VALUE_BARRIER)
READ_OBJECT(buffer, MPROC_VALUE_BUFFER)
READ_OBJECT_AS(shared_dict, dict, MPROC_VALUE_SHARED_DICT)
READ_OBJECT_AS(shared_set, set, MPROC_VALUE_SHARED_DICT)
READ_OBJECT_AS(shared_list, list, MPROC_VALUE_SHARED_LIST)

int mproc_value_read_condition(mproc_value_reader *reader, mproc_condition **out, void **lock) {
    int r;
    mproc_condition *found = read_object(reader, MPROC_VALUE_CONDITION, lock, &r);
    *out = r == 0 ? found : *out;
    return r;
}

/* An array of C's has a lock of its own. */
int mproc_value_read_numbers(mproc_value_reader *reader, mproc_array **out, mproc_rlock **lock) {
    int r;
    void *beside;
    mproc_array *found = read_object(reader, MPROC_VALUE_NUMBERS, &beside, &r);
    if (r == 0) {
        *out = found;
        if (lock != NULL) {
            *lock = beside != NULL ? beside : mproc_array_lock(found);
        }
    }
    return r;
}

/* ---------------------------------------------------------------- a program's arguments */

int mproc_child_values(mproc_value_reader *out) {
    size_t size, count;
    const void *bytes = mproc_child_args(&size);
    if (bytes == NULL) {
        mproc_value_read(out, "", 0);
        mproc_member self;
        int r = mproc_self(&self);
        say(out, "no starter has given this process arguments");
        return r != 0 ? r : MPROC_EINIT;
    }
    mproc_value_read(out, bytes, size);
    struct decoded d;
    int r = size > 0 ? decode(out, &d) : broken(out, "there are no arguments");
    if (r == 0 && d.value.kind != MPROC_VALUE_TUPLE) {
        r = broken(out, "what the starter has given are no arguments");
    }
    if (r != 0) {
        out->error = MPROC_EVALUE;
        return MPROC_EVALUE;
    }
    count = d.value.count;
    out->objects = 1;
    out->arguments = count;
    return commit(out, &d);
}
