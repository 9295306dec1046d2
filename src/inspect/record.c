/*
 * record.c - what a family does, recorded from outside into a file: `mproc record`
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The recorder turns tracing on in the arena (core/trace.c), copies what has come in
 * the rings every few milliseconds, and appends it to the file as events. After each append the
 * file is whole: its end is written behind the events, and is written over by the next ones. So
 * whatever becomes of the family, the file can be read; a recorder that is itself killed in the
 * middle of an append leaves a file that ends early. The two words that it writes are all that
 * members see of it. `until` is a time soon to come: a recorder that was killed leaves tracing on
 * for that long.
 *
 * Words for people take ten times as long as copies. So while much comes, copies are only laid by
 * (inspect/backlog.c), and are put in words when the family is calm, a few at a time: the family
 * needs the CPUs more than the file does, and a ring is full in milliseconds.
 *
 * Two recorders of one family do not disturb each other: reading takes nothing out of the rings.
 * The one that ends first leaves tracing on if `until` is not what it has written last.
 */
#include "inspect/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "inspect/backlog.h"
#include "inspect/clock.h"
#include "inspect/drain.h"
#include "inspect/timeline.h"
#include "system/os_tool.h"

#define LEASE (5 * MPROC_SEC) /* a recorder that gets no CPU for so long is taken for dead */
#define OFTEN (2 * MPROC_MSEC)
#define SELDOM (5 * MPROC_MSEC)
#define MANY 500               /* records in a round: the next one comes soon */
#define CALM 2                 /* rounds one after the other that have fewer */
#define SLICE 2000             /* records that are put in words at a time, in about a millisecond */
#define LOOK (50 * MPROC_MSEC) /* between two looks at which members live */

struct recorder {
    struct mproc__outside arena;
    struct mproc__trace *trace; /* mapped, to write */
    void *map;
    size_t map_size;
    struct mproc__drain *drain;
    struct mproc__timeline *timeline;
    struct mproc__backlog *backlog;
    uint64_t unkept; /* records for which there was no memory */
    int calm;        /* rounds with few records, up to the last one */
    struct mproc__clock clock;
    uint64_t until; /* that was written last */
    uint32_t alive; /* the slot of a member that lived when it was looked at */
    int file;
    uint64_t at; /* where the next events go */
};

/* ---------------------------------------------------------------- on and off */

/* Another recorder may have chosen the clock: it is the same on one machine. */
static void keep_on(struct recorder *r) {
    r->until = mproc__clock_now(&r->clock) + (uint64_t)((double)LEASE / r->clock.each_ns);
    mproc__poke64(&r->trace->until, r->until);
    if (mproc__peek32(&r->trace->on) != r->clock.which) {
        mproc__poke32(&r->trace->on, r->clock.which);
    }
}

static void turn_off(struct recorder *r) {
    if (mproc__peek64(&r->trace->until) == r->until) {
        mproc__poke32(&r->trace->on, MPROC__TRACE_OFF);
    }
}

static int map_trace(struct recorder *r, pid_t pid) {
    const size_t offset = offsetof(struct mproc__family, trace);
    int fd = mproc__os_memory_open_to_write(pid, r->arena.inode);
    if (fd < 0) {
        return fd == -EBADF ? MPROC_EARENA : fd;
    }
    r->map_size = offset + sizeof *r->trace;
    int e = mproc__os_file_map(fd, r->map_size, &r->map);
    mproc__os_close(fd);
    r->trace = e == 0 ? (struct mproc__trace *)(void *)((char *)r->map + offset) : NULL;
    return e;
}

/* ---------------------------------------------------------------- is the family there? */

struct person {
    uint64_t state, parent;
    int32_t pid, ppid;
    uint64_t born;
};

static_assert(offsetof(struct mproc__slot, born) == offsetof(struct person, born), "a slot begins");

static bool lives(const struct recorder *r, uint32_t i) {
    struct person p;
    uint64_t at = r->arena.base + offsetof(struct mproc__family, table.slots) +
                  i * (uint64_t)sizeof(struct mproc__slot);
    return mproc__outside_read(&r->arena, at, &p, sizeof p) == 0 &&
           (p.state & 0xff) == MPROC__SLOT_LIVE && p.pid > 0 &&
           mproc__os_process_is(p.pid, p.born) == 1;
}

static bool family_lives(struct recorder *r) {
    uint64_t top = 0;
    if (lives(r, r->alive)) {
        return true;
    }
    (void)mproc__outside_read(&r->arena, r->arena.base + offsetof(struct mproc__family, table.top),
                              &top, sizeof top);
    for (uint32_t i = 0; i < top && i < MPROC__MEMBERS; i++) {
        if (lives(r, i)) {
            r->alive = i;
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- the file */

static const char file_head[] = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";

static uint64_t lost(const struct recorder *r) {
    return mproc__timeline_lost(r->timeline) + mproc__drain_without_ring(r->drain) + r->unkept;
}

#define TAIL 96

static size_t make_tail(const struct recorder *r, char tail[TAIL]) {
    int n = snprintf(tail, TAIL, "\n],\"otherData\":{\"lost\":\"%" PRIu64 "\"}}\n", lost(r));
    return (size_t)n;
}

/* There was no room for all of it: the end is written anew where it was. */
static void take_back(const struct recorder *r) {
    char tail[TAIL];
    size_t n = make_tail(r, tail);
    if (mproc__os_write_at(r->file, tail, n, r->at) == 0) {
        (void)mproc__os_file_resize(r->file, r->at + n);
    }
}

/* Appends what the timeline has, and the file's end. */
static int append(struct recorder *r) {
    size_t size;
    char tail[TAIL];
    const char *events = mproc__timeline_take(r->timeline, &size);
    size_t n = make_tail(r, tail);
    char *whole = malloc(size + n);
    if (whole == NULL) {
        return -ENOMEM;
    }
    if (size > 0) {
        memcpy(whole, events, size);
    }
    memcpy(whole + size, tail, n);
    int e = mproc__os_write_at(r->file, whole, size + n, r->at);
    free(whole);
    if (e != 0) {
        take_back(r);
    } else {
        r->at += size;
    }
    return e != 0 || !mproc__timeline_failed(r->timeline) ? e : -ENOMEM;
}

static int open_file(struct recorder *r, const char *path) {
    r->file = mproc__os_file_replace(path, 0666);
    r->at = sizeof file_head - 1;
    return r->file < 0 ? r->file : mproc__os_write_at(r->file, file_head, r->at, 0);
}

/* ---------------------------------------------------------------- recording */

/* Of what was laid by, the oldest is put in words. */
static void settle(struct recorder *r) {
    mproc__backlog_take(r->backlog, SLICE, mproc__timeline_add, r->timeline);
}

/* A mproc__drain_fn. */
static void lay_by(void *recorder, unsigned ring, const struct mproc__trace_record *lent, size_t n,
                   uint64_t without) {
    struct recorder *r = recorder;
    bool kept = mproc__backlog_add(r->backlog, ring, lent, n, without);
    while (!kept && !mproc__backlog_is_empty(r->backlog)) {
        settle(r);
        kept = mproc__backlog_add(r->backlog, ring, lent, n, without);
    }
    if (!kept) {
        r->unkept += n + without;
    }
}

/* Is there something to put in words, and time for it? */
static bool is_time(const struct recorder *r) {
    return !mproc__backlog_is_empty(r->backlog) &&
           (r->calm >= CALM || mproc__backlog_is_full(r->backlog));
}

/* 0, or an error. */
static int round_of(struct recorder *r) {
    keep_on(r);
    int64_t n = mproc__drain(r->drain, lay_by, r);
    if (n < 0) {
        return (int)n;
    }
    r->calm = n < MANY ? r->calm + (r->calm < CALM) : 0;
    if (!is_time(r)) {
        return 0;
    }
    settle(r);
    return append(r);
}

/* Whatever members that have ended were doing has ended. */
static int look_for_ended(struct recorder *r) {
    if (!mproc__backlog_is_empty(r->backlog)) {
        return 0; /* the timeline is behind */
    }
    mproc__timeline_end(r->timeline, mproc__clock_now(&r->clock), false);
    return append(r);
}

/* What is left is written a few at a time, too: it may be a thousand times as much. */
static int write_all(struct recorder *r) {
    int e = 0;
    while (e == 0 && !mproc__backlog_is_empty(r->backlog)) {
        settle(r);
        e = append(r);
    }
    return e;
}

/* What began is ended, and all is in the file. */
static int finish(struct recorder *r) {
    turn_off(r);
    int64_t n = mproc__drain(r->drain, lay_by, r);
    int e = write_all(r);
    if (e == 0) {
        mproc__timeline_end(r->timeline, mproc__clock_now(&r->clock), true);
        e = append(r);
    }
    return e != 0 ? e : n < 0 ? (int)n : 0;
}

static int64_t pause_of(const struct recorder *r) {
    return is_time(r) ? 0 : r->calm >= CALM ? SELDOM : OFTEN;
}

static int go_on(struct recorder *r, int64_t end) {
    int64_t look = mproc__os_now() + LOOK;
    int e = 0;
    while (e == 0 && !mproc__os_asked_to_end() && (end == 0 || mproc__os_now() < end)) {
        e = round_of(r);
        if (e == 0 && mproc__os_now() >= look) {
            e = look_for_ended(r);
            if (!family_lives(r)) {
                break;
            }
            look = mproc__os_now() + LOOK;
        }
        if (e == 0) {
            (void)mproc__os_poll(NULL, 0, pause_of(r));
        }
    }
    int last = finish(r);
    return e != 0 ? e : last;
}

static int prepare(struct recorder *r, const struct mproc__record *what, const char *path) {
    r->clock = mproc__clock_choose();
    int e = mproc__backlog_new(&r->backlog);
    if (e == 0) {
        e = mproc__drain_new(&r->drain, &r->arena);
    }
    if (e == 0) {
        const struct mproc__timeline_scale scale = {mproc__clock_now(&r->clock), r->clock.each_ns};
        e = mproc__timeline_new(&r->timeline, &r->arena, &scale);
    }
    if (e == 0) {
        e = map_trace(r, what->pid);
    }
    if (e == 0) {
        e = open_file(r, path);
    }
    return e == 0 ? append(r) : e;
}

static void forget(struct recorder *r) {
    if (r->file >= 0) {
        mproc__os_close(r->file);
    }
    if (r->map != NULL) {
        (void)mproc__os_memory_unmap(r->map, r->map_size);
    }
    if (r->timeline != NULL) {
        mproc__timeline_drop(r->timeline);
    }
    if (r->drain != NULL) {
        mproc__drain_drop(r->drain);
    }
    if (r->backlog != NULL) {
        mproc__backlog_drop(r->backlog);
    }
    mproc__outside_close(&r->arena);
}

/* `ready`: a pipe's end; a byte there says that it records. */
static int record(const struct mproc__record *what, struct mproc__recorded *out, int ready) {
    struct recorder r = {.file = -1};
    int e = mproc__outside_open(what->pid, &r.arena);
    if (e != 0) {
        out->path[0] = 0;
        return e;
    }
    e = prepare(&r, what, out->path);
    if (e == 0) {
        mproc__os_end_when_asked();
        keep_on(&r);
        if (ready >= 0) {
            out->errors = mproc__os_tool_keep_errors();
            mproc__os_go_behind();
            (void)mproc__os_write_quiet(ready, &(struct iovec){"", 1}, 1);
            mproc__os_close(ready);
        }
        int64_t end = what->seconds > 0 ? mproc__os_now() + (int64_t)(what->seconds * 1e9) : 0;
        e = go_on(&r, end);
        out->events_lost = lost(&r);
    }
    forget(&r);
    return e;
}

/* ---------------------------------------------------------------- in a process of its own */

/* In the process that was asked: waits until the other one records, or has said why it does not. */
static int await(int ready) {
    char byte;
    ssize_t n;
    do {
        n = mproc__os_read(ready, &byte, 1);
    } while (n == -EINTR);
    return n == 1 ? 0 : -ECHILD;
}

static int record_behind(const struct mproc__record *what, struct mproc__recorded *out) {
    int ends[2];
    int r = mproc__os_pipe_new(ends);
    if (r != 0) {
        return r;
    }
    pid_t pid = mproc__os_fork();
    if (pid == 0) {
        mproc__os_close(ends[0]);
        return record(what, out, ends[1]);
    }
    mproc__os_close(ends[1]);
    r = pid < 0 ? pid : await(ends[0]);
    mproc__os_close(ends[0]);
    return r;
}

/* The path, with the pid in place of %p. */
static int name_file(const struct mproc__record *what, char *out, size_t size) {
    const char *p = strstr(what->path, "%p");
    int before = p != NULL ? (int)(p - what->path) : (int)strnlen(what->path, size);
    int n = p != NULL ? snprintf(out, size, "%.*s%d%s", before, what->path, (int)what->pid, p + 2)
                      : snprintf(out, size, "%s", what->path);
    return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int mproc__record(const struct mproc__record *what, struct mproc__recorded *out) {
    *out = (struct mproc__recorded){0};
    int r = name_file(what, out->path, sizeof out->path);
    if (r != 0) {
        return r;
    }
    return what->behind ? record_behind(what, out) : record(what, out, -1);
}
