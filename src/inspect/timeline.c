/*
 * timeline.c - records as events of Chrome's trace format, which Perfetto and speedscope show
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Tasks and waits are spans of a thread: a ring belongs to one thread at a time, so a
 * small stack for each ring says which of them are open. A lock that is held is a span of its
 * process, which any of its threads may end. All else is a point in time. A span that is begun is
 * ended in any case: by its record, by the end of its member, by a loss of records, or by the end
 * of the recording. A record that ends what has not been begun here is left out.
 *
 * Invariants.
 *   T1  In each ring's thread the events B and E are in pairs, one within the other.
 *   T2  Of a lock in a process b and e take turns, b first.
 */
#include "inspect/timeline.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/label.h"
#include "core/wait.h"
#include "inspect/picture.h"
#include "inspect/text.h"

#define RINGS ((size_t)MPROC__MEMBERS * MPROC__TRACE_HANDS)
#define DEPTH 16        /* spans of a thread within each other that are shown */
#define HELD_MOST 65536 /* locks that are held at a time; more are not shown */
#define LOOKED_AT 4096  /* bytes before an address in which its object begins */
#define KNOWN 1024      /* addresses that were looked up */
#define LABEL 160
#define NAME 40         /* bytes of an object's name that are shown */
#define LABELS_MOST 256 /* of a chunk that are looked at */

struct ring {
    uint64_t thread;                                     /* whose it is; 0: nobody's yet */
    uint8_t open[DEPTH], nopen;                          /* the events that began them */
    char name[MPROC__TRACE_PIECES * MPROC__TRACE_PIECE]; /* of its member, while it comes */
};

struct held {
    uint64_t address, since;
    uint32_t pid, kind;
};

/* What is at an address that somebody waited for. */
struct known {
    uint64_t address, object;
    uint32_t kind;
};

/* What the program calls an object: a space and the name, or "". */
struct named {
    uint64_t address;
    uint32_t round; /* in which it was looked up; names are given and go */
    char text[NAME + 2];
};

struct mproc__timeline {
    const struct mproc__outside *arena;
    struct mproc__timeline_scale scale;
    char *text;
    size_t size, cap;
    bool begun, failed;
    uint64_t lost;
    struct held *held;
    size_t nheld, held_cap;
    struct known known[KNOWN];
    struct named named[KNOWN];
    uint32_t round;        /* that is under way, from 1 on */
    uint64_t table, first; /* addresses of the chunks' descriptions, and of the first chunk */
    char names[MPROC__TRACE_NAMES][3 * MPROC__TRACE_TEXT]; /* escaped; "": not read yet */
    size_t top;                                            /* rings below were used */
    struct ring rings[RINGS];
};

/* ---------------------------------------------------------------- text */

static bool make_room(struct mproc__timeline *t, size_t more) {
    if (t->size + more <= t->cap) {
        return true;
    }
    size_t cap = t->cap * 2 > t->size + more ? t->cap * 2 : t->size + more + 65536;
    char *text = realloc(t->text, cap);
    if (text == NULL) {
        t->failed = true;
        return false;
    }
    t->text = text;
    t->cap = cap;
    return true;
}

static void add(struct mproc__timeline *t, const char *bytes, size_t n) {
    memcpy(t->text + t->size, bytes, n);
    t->size += n;
}

#define ADD(t, literal) add(t, literal, sizeof(literal) - 1)

static void add_text(struct mproc__timeline *t, const char *text) {
    add(t, text, strlen(text));
}

static void add_digits(struct mproc__timeline *t, uint64_t n, int least) {
    char digits[20];
    int i = 20;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0 || 20 - i < least);
    add(t, digits + i, (size_t)(20 - i));
}

static uint64_t ns_of(const struct mproc__timeline *t, uint64_t time) {
    double ns = time > t->scale.zero ? (double)(time - t->scale.zero) * t->scale.each_ns : 0;
    return ns < 9e18 ? (uint64_t)ns : UINT64_C(9000000000000000000);
}

#define EVENT_MOST (size_t)(5 * LABEL + 8 * MPROC__TRACE_TEXT)

/* Begins an event: its phase, thread and time, in microseconds. False: there is no memory. What
 * follows is at most EVENT_MOST bytes, and ends with end_event(). */
static bool begin_event(struct mproc__timeline *t, char phase, uint64_t thread, uint64_t time) {
    if (!make_room(t, EVENT_MOST)) {
        return false;
    }
    uint64_t ns = ns_of(t, time);
    add(t, ",\n", t->begun ? 2 : 0);
    t->begun = true;
    ADD(t, "{\"ph\":\"");
    add(t, &phase, 1);
    ADD(t, "\",\"pid\":");
    add_digits(t, thread >> 32, 1);
    ADD(t, ",\"tid\":");
    add_digits(t, thread & UINT32_MAX, 1);
    ADD(t, ",\"ts\":");
    add_digits(t, ns / 1000, 1);
    ADD(t, ".");
    add_digits(t, ns % 1000, 3);
    return true;
}

static void end_event(struct mproc__timeline *t) {
    ADD(t, "}");
}

/* Text of a program for JSON, in at most three times as many bytes: what is no character becomes a
 * question mark, as do quotation marks. */
static void escape(char *out, const char *text, size_t size) {
    const unsigned char *s = (const unsigned char *)text, *end = s + size;
    while (s < end && *s != 0) {
        int n = mproc__text_printable(s);
        if (n == 0 || *s == '"' || *s == '\\') {
            *out++ = '?';
            s++;
        } else {
            memcpy(out, s, (size_t)n);
            out += n;
            s += n;
        }
    }
    *out = 0;
}

/* ---------------------------------------------------------------- what things are called */

static const char *name_of(struct mproc__timeline *t, unsigned number) {
    char text[MPROC__TRACE_TEXT], *name = t->names[number];
    if (number != 0 && name[0] == 0) {
        escape(name, mproc__outside_function(t->arena, number, text), MPROC__TRACE_TEXT);
    }
    return name[0] != 0 ? name : "task";
}

static const char *kind_of(unsigned kind) {
    return kind < MPROC__KINDS ? mproc__kind_name((enum mproc__kind)kind) : "object";
}

static uint64_t read_word(const struct mproc__timeline *t, uint64_t offset) {
    uint64_t word = 0;
    (void)mproc__outside_read(t->arena, t->arena->base + offset, &word, sizeof word);
    return word;
}

/* The label of an object among those of its chunk; false: it has no name. */
static bool find_label(const struct mproc__timeline *t, uint64_t object, uint64_t *at,
                       struct mproc__label *out) {
    struct mproc__chunk chunk = {0};
    uint64_t i = (object - t->first) >> MPROC__CHUNK_SHIFT;
    (void)mproc__outside_read(t->arena, t->table + i * sizeof chunk, &chunk, sizeof chunk);
    *at = chunk.labels;
    for (int n = 0; *at != 0 && n < LABELS_MOST; n++) {
        if (mproc__outside_read(t->arena, *at, out, sizeof *out) != 0) {
            return false;
        }
        if (out->object == object && out->kind == MPROC__LABEL_NAME) {
            return true;
        }
        *at = out->next;
    }
    return false;
}

static void look_up_name(const struct mproc__timeline *t, uint64_t object, struct named *out) {
    struct mproc__label label;
    uint64_t at;
    char text[NAME] = "";
    *out = (struct named){.address = object, .round = t->round};
    if (read_word(t, offsetof(struct mproc__family, labels.used)) != 0 &&
        find_label(t, object, &at, &label)) {
        size_t n = label.length < NAME ? label.length : NAME;
        (void)mproc__outside_read(t->arena, at + sizeof label, text, n);
        out->text[0] = ' ';
        escape(out->text + 1, text, n);
    }
}

static const char *object_name(struct mproc__timeline *t, uint64_t object) {
    struct named *named = &t->named[object / 64 % KNOWN];
    if (named->address != object || named->round != t->round) {
        look_up_name(t, object, named);
    }
    return named->text;
}

/* The last object that begins at or before an address, if it is not far. */
static void look_up(const struct mproc__timeline *t, uint64_t address, struct known *out) {
    uint64_t words[LOOKED_AT / 8];
    uint64_t first = (address & ~(uint64_t)15) - (LOOKED_AT - 16);
    *out = (struct known){.address = address};
    if (mproc__outside_read(t->arena, first, words, sizeof words) != 0) {
        return;
    }
    for (size_t i = LOOKED_AT / 8; i > 0 && out->object == 0; i -= 2) {
        uint64_t word = words[i - 2];
        if ((uint32_t)word == MPROC__OBJECT_MAGIC && word >> 32 < MPROC__KINDS) {
            out->object = first + (i - 2) * 8;
            out->kind = (uint32_t)(word >> 32);
        }
    }
}

static const struct known *look(struct mproc__timeline *t, uint64_t address) {
    struct known *known = &t->known[address / 16 % KNOWN];
    if (known->address != address || known->object == 0) {
        look_up(t, address, known);
    }
    return known;
}

/* The slot's pid; 0: the address is no slot's. */
static uint32_t pid_of_slot(const struct mproc__timeline *t, uint64_t address) {
    int32_t pid = 0;
    uint64_t table = t->arena->base + offsetof(struct mproc__family, table.slots);
    bool is = address >= table && address - table < MPROC__MEMBERS * sizeof(struct mproc__slot);
    uint64_t slot =
        table + (address - table) / sizeof(struct mproc__slot) * sizeof(struct mproc__slot);
    if (is) {
        (void)mproc__outside_read(t->arena, slot + offsetof(struct mproc__slot, pid), &pid,
                                  sizeof pid);
    }
    return pid > 0 ? (uint32_t)pid : 0;
}

/* What a note of a wait (wait.c) means. */
static void label_wait(struct mproc__timeline *t, uint64_t word, char out[LABEL]) {
    uint64_t address = word & ~(uint64_t)MPROC__WAIT_TIMED;
    if ((word & MPROC__WAIT_FD) != 0) {
        snprintf(out, LABEL, "waits at descriptor %d", (int)(word >> 2 & INT32_MAX));
        return;
    }
    uint32_t pid = pid_of_slot(t, address);
    const struct known *known = look(t, address);
    if (pid != 0) {
        snprintf(out, LABEL, "waits for the end of %" PRIu32, pid);
    } else if (known->object != 0) {
        snprintf(out, LABEL, "waits: %s%s @%" PRIx64, kind_of(known->kind),
                 object_name(t, known->object), known->object - t->arena->base);
    } else {
        snprintf(out, LABEL, "waits @%" PRIx64, address - t->arena->base);
    }
}

/* ---------------------------------------------------------------- spans of a thread */

static void close_top(struct mproc__timeline *t, struct ring *ring, uint64_t time) {
    ring->nopen--;
    if (begin_event(t, 'E', ring->thread, time)) {
        end_event(t);
    }
}

static void close_all(struct mproc__timeline *t, struct ring *ring, uint64_t time) {
    while (ring->nopen > 0) {
        close_top(t, ring, time);
    }
}

static void open_span(struct mproc__timeline *t, struct ring *ring,
                      const struct mproc__trace_record *record, const char *category,
                      const char *name) {
    if (ring->nopen == DEPTH || !begin_event(t, 'B', ring->thread, record->time)) {
        return;
    }
    ring->open[ring->nopen++] = (uint8_t)(record->what >> 56);
    ADD(t, ",\"cat\":\"");
    add_text(t, category);
    ADD(t, "\",\"name\":\"");
    add_text(t, name);
    ADD(t, "\"");
    end_event(t);
}

/* With those that were begun within it, and whose ends are lost. */
static void close_span(struct mproc__timeline *t, struct ring *ring, uint8_t event, uint64_t time) {
    int i = ring->nopen - 1;
    while (i >= 0 && ring->open[i] != event) {
        i--;
    }
    while (i >= 0 && ring->nopen > i) {
        close_top(t, ring, time);
    }
}

/* ---------------------------------------------------------------- locks that are held */

static void add_lock(struct mproc__timeline *t, const struct held *held, char phase,
                     uint64_t thread, uint64_t time) {
    char name[LABEL];
    if (!begin_event(t, phase, thread, time)) {
        return;
    }
    snprintf(name, sizeof name, "@%" PRIx64, held->address - t->arena->base);
    ADD(t, ",\"cat\":\"lock\",\"id2\":{\"local\":\"");
    add_text(t, name);
    ADD(t, "\"},\"name\":\"");
    add_text(t, kind_of(held->kind));
    add_text(t, object_name(t, held->address));
    ADD(t, " ");
    add_text(t, name);
    ADD(t, "\"");
    end_event(t);
}

static uint64_t first_thread(uint32_t pid) {
    return (uint64_t)pid << 32 | pid;
}

static void let_go(struct mproc__timeline *t, size_t i, uint64_t thread, uint64_t time) {
    add_lock(t, &t->held[i], 'e', thread, time);
    t->held[i] = t->held[--t->nheld];
}

/* Whoever had it has it no more: it was killed, or its record is lost. Rings are read one after the
 * other: a release that is seen late is not that of somebody who has acquired since. */
static void release(struct mproc__timeline *t, uint64_t address, uint64_t thread, uint64_t time) {
    for (size_t i = t->nheld; i-- > 0;) {
        if (t->held[i].address == address && t->held[i].since <= time) {
            bool same = t->held[i].pid == thread >> 32;
            let_go(t, i, same ? thread : first_thread(t->held[i].pid), time);
            return;
        }
    }
}

static void acquire(struct mproc__timeline *t, const struct mproc__trace_record *record) {
    uint64_t address = mproc__trace_address_of(record->what);
    release(t, address, record->thread, record->time);
    if (t->nheld == t->held_cap) {
        size_t cap = t->held_cap == 0 ? 64 : 2 * t->held_cap;
        struct held *held = cap <= HELD_MOST ? realloc(t->held, cap * sizeof *held) : NULL;
        if (held == NULL) {
            return;
        }
        t->held = held;
        t->held_cap = cap;
    }
    t->held[t->nheld] = (struct held){address, record->time, (uint32_t)(record->thread >> 32),
                                      mproc__trace_detail_of(record->what)};
    add_lock(t, &t->held[t->nheld++], 'b', record->thread, record->time);
}

/* ---------------------------------------------------------------- points in time */

static void add_point(struct mproc__timeline *t, const struct mproc__trace_record *record,
                      const char *verb) {
    char name[LABEL];
    if (!begin_event(t, 'i', record->thread, record->time)) {
        return;
    }
    uint64_t address = mproc__trace_address_of(record->what);
    snprintf(name, sizeof name, ",\"s\":\"t\",\"cat\":\"%s\",\"name\":\"%s%s @%" PRIx64 "\"", verb,
             verb, object_name(t, address), address - t->arena->base);
    add_text(t, name);
    if (record->count > 1) {
        ADD(t, ",\"args\":{\"messages\":");
        add_digits(t, record->count, 1);
        ADD(t, "}");
    }
    end_event(t);
}

static void add_lost(struct mproc__timeline *t, uint64_t thread, uint64_t time, uint64_t lost) {
    t->lost += lost;
    if (begin_event(t, 'i', thread, time)) {
        ADD(t, ",\"s\":\"t\",\"cat\":\"lost\",\"name\":\"");
        add_digits(t, lost, 1);
        ADD(t, " events are lost\"");
        end_event(t);
    }
}

static void add_name(struct mproc__timeline *t, uint64_t thread, const char *text, size_t size) {
    char name[3 * MPROC__TRACE_PIECES * MPROC__TRACE_PIECE + 1];
    if (begin_event(t, 'M', thread, t->scale.zero)) {
        escape(name, text, size);
        ADD(t, ",\"name\":\"process_name\",\"args\":{\"name\":\"");
        add_text(t, name);
        ADD(t, "\"}");
        end_event(t);
    }
}

/* A piece of a name; with the last one it is whole. */
static void add_piece(struct mproc__timeline *t, struct ring *ring,
                      const struct mproc__trace_record *record) {
    unsigned i = mproc__trace_detail_of(record->what);
    uint64_t address = mproc__trace_address_of(record->what);
    if (i >= MPROC__TRACE_PIECES) {
        return;
    }
    char *at = ring->name + (size_t)i * MPROC__TRACE_PIECE;
    memcpy(at, &address, MPROC__TRACE_PIECE - sizeof record->count);
    memcpy(at + MPROC__TRACE_PIECE - sizeof record->count, &record->count, sizeof record->count);
    if (i == MPROC__TRACE_PIECES - 1 && ring->name[0] != 0) {
        add_name(t, record->thread, ring->name, sizeof ring->name);
        memset(ring->name, 0, sizeof ring->name);
    }
}

/* A member's name, if it still has its place: it may have said it before this recording. */
static void add_process(struct mproc__timeline *t, unsigned number, uint64_t thread) {
    struct mproc__slot slot;
    uint64_t at = t->arena->base + offsetof(struct mproc__family, table.slots) +
                  number / MPROC__TRACE_HANDS * sizeof slot;
    if (mproc__outside_read(t->arena, at, &slot, sizeof slot) != 0 || slot.pid <= 0 ||
        (uint32_t)slot.pid != thread >> 32) {
        return;
    }
    add_name(t, thread, slot.name, sizeof slot.name);
}

/* ---------------------------------------------------------------- records */

static bool is_lock(const struct mproc__trace_record *record) {
    unsigned kind = mproc__trace_detail_of(record->what);
    return kind == MPROC__KIND_LOCK || kind == MPROC__KIND_RLOCK;
}

static void add_record(struct mproc__timeline *t, struct ring *ring,
                       const struct mproc__trace_record *record) {
    char label[LABEL];
    uint64_t address = mproc__trace_address_of(record->what);
    switch (mproc__trace_event_of(record->what)) {
    case MPROC__TRACE_PUT: add_point(t, record, "put queue"); break;
    case MPROC__TRACE_GET: add_point(t, record, "get queue"); break;
    case MPROC__TRACE_ACQUIRE:
        is_lock(record) ? acquire(t, record) : add_point(t, record, "acquire semaphore");
        break;
    case MPROC__TRACE_RELEASE:
        is_lock(record) ? release(t, address, record->thread, record->time)
                        : add_point(t, record, "release semaphore");
        break;
    case MPROC__TRACE_TASK:
        close_all(t, ring, record->time); /* a thread has one task at a time */
        open_span(t, ring, record, "task", name_of(t, mproc__trace_detail_of(record->what)));
        break;
    case MPROC__TRACE_TASK_END: close_span(t, ring, MPROC__TRACE_TASK, record->time); break;
    case MPROC__TRACE_WAIT:
        close_span(t, ring, MPROC__TRACE_WAIT, record->time); /* nor two waits */
        label_wait(t, address, label);
        open_span(t, ring, record, "wait", label);
        break;
    case MPROC__TRACE_MEMBER: add_piece(t, ring, record); break;
    case MPROC__TRACE_WAIT_END: close_span(t, ring, MPROC__TRACE_WAIT, record->time); break;
    default: break;
    }
}

/* Another thread has the ring from now on. */
static void change_thread(struct mproc__timeline *t, unsigned number, uint64_t thread,
                          uint64_t time) {
    struct ring *ring = &t->rings[number];
    close_all(t, ring, time);
    if (ring->thread >> 32 != thread >> 32) {
        add_process(t, number, thread);
    }
    ring->thread = thread;
}

void mproc__timeline_add(void *timeline, unsigned number, const struct mproc__trace_record *lent,
                         size_t n, uint64_t lost) {
    struct mproc__timeline *t = timeline;
    struct ring *ring = &t->rings[number];
    t->top = number >= t->top ? number + 1 : t->top;
    for (size_t i = 0; i < n; i++) {
        const struct mproc__trace_record *record = &lent[i];
        if (record->thread != ring->thread) {
            change_thread(t, number, record->thread, record->time);
        }
        if (i == 0 && lost > 0) {
            close_all(t, ring, record->time);
            add_lost(t, record->thread, record->time, lost);
        }
        add_record(t, ring, record);
    }
    if (n == 0) {
        t->lost += lost;
    }
}

/* ---------------------------------------------------------------- ends */

static bool has_ended(uint32_t pid) {
    struct mproc__os_seen seen;
    int r = mproc__os_process_see((pid_t)pid, &seen);
    return r == -ESRCH || (r == 0 && (seen.state == 'Z' || seen.state == 'X'));
}

void mproc__timeline_end(struct mproc__timeline *t, uint64_t time, bool all) {
    for (size_t i = 0; i < t->top; i++) {
        struct ring *ring = &t->rings[i];
        if (ring->nopen > 0 && (all || has_ended((uint32_t)(ring->thread >> 32)))) {
            close_all(t, ring, time);
        }
    }
    for (size_t i = t->nheld; i-- > 0;) {
        if (all || has_ended(t->held[i].pid)) {
            let_go(t, i, first_thread(t->held[i].pid), time);
        }
    }
}

const char *mproc__timeline_take(struct mproc__timeline *t, size_t *size) {
    *size = t->size;
    t->size = 0;
    t->round++;
    return t->text;
}

uint64_t mproc__timeline_lost(const struct mproc__timeline *t) {
    return t->lost;
}

bool mproc__timeline_failed(const struct mproc__timeline *t) {
    return t->failed;
}

int mproc__timeline_new(struct mproc__timeline **out, const struct mproc__outside *arena,
                        const struct mproc__timeline_scale *scale) {
    struct mproc__timeline *t = calloc(1, sizeof *t); /* most of it is never touched */
    if (t == NULL) {
        return -ENOMEM;
    }
    t->arena = arena;
    t->scale = *scale;
    t->round = 1;
    t->table = read_word(t, offsetof(struct mproc__family, chunks.table));
    t->first = read_word(t, offsetof(struct mproc__family, chunks.first));
    *out = t;
    return 0;
}

void mproc__timeline_drop(struct mproc__timeline *owned) {
    free(owned->text);
    free(owned->held);
    free(owned);
}
