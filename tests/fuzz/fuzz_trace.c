/*
 * fuzz_trace.c - a recording of a family whose rings a broken program has scribbled on
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The arena of a family with two rings. The input says which words of the rings, of
 * their heads, of the names and of the tables around them read as something else, twice: for two
 * rounds of the recorder.
 *
 * Then the page's drawing of the rings is made of what stands there last.
 *
 * What must hold. Each round ends. The events are lines of JSON with text that is UTF-8 and needs
 * no escape, and what is begun is ended.
 */
#include "fuzz.h"

#include <errno.h>

#include "core/trace.h"
#include "inspect/drain.h"
#include "inspect/show.h"
#include "inspect/text.h"
#include "inspect/timeline.h"
#include "mproc.h"
#include "scribbled.h"

#define WORDS 64
#define RECORDS 40 /* that are there, and are scribbled on */

static uint64_t rings[2];
static FILE *null;

int __wrap_mproc__os_process_see(pid_t pid, struct mproc__os_seen *out) {
    *out = (struct mproc__os_seen){.state = pid % 8 == 0 ? 'Z' : 'S'};
    return pid % 16 == 15 ? -ESRCH : 0;
}

/* ---------------------------------------------------------------- the family */

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    mproc_lock *lock;
    (void)argc;
    (void)argv;
    null = fopen("/dev/null", "w");
    MUST(null != NULL);
    setenv("MPROC_ARENA_SPAN", "32M", 1);
    MUST(mproc_lock_new(&lock, 0) == 0);
    mproc__poke64(&mproc__trace->until, UINT64_MAX);
    mproc__store32(&mproc__trace->on, MPROC__TRACE_BY_TIME);
    for (int i = 0; i < RECORDS / 2; i++) {
        MUST(mproc_lock_acquire(lock, 0) == 0 && mproc_lock_release(lock) == 0);
    }
    MUST(mproc__trace_name("a function") == 1);
    rings[0] = *mproc__trace_place();
    void *other = mproc_calloc(1, sizeof(struct mproc__trace_ring));
    MUST(other != NULL);
    memcpy(other, (const void *)(uintptr_t)rings[0], sizeof(struct mproc__trace_ring));
    rings[1] = (uint64_t)(uintptr_t)other;
    mproc__trace->rings[1] = rings[1];
    mproc__store32(&mproc__trace->on, MPROC__TRACE_OFF);
    return 0;
}

/* ---------------------------------------------------------------- an input */

static uint64_t next_place(struct feed *input) {
    const uint64_t base = mproc__family->base, trace = offsetof(struct mproc__family, trace);
    uint64_t at = feed_u32(input), ring = rings[at % 2] - base;
    at /= 2;
    switch (feed_below(input, 8)) {
    case 0: return offsetof(struct mproc__family, table.top);
    case 1: return trace + offsetof(struct mproc__trace, rings) + at % 48 * 8;
    case 2: return trace + offsetof(struct mproc__trace, names) + at % 64 * 8;
    case 3: return ring + at % 2 * 8;
    case 4: return offsetof(struct mproc__family, table.slots) + at % 64 * 8;
    default: return ring + offsetof(struct mproc__trace_ring, records) + at % (RECORDS * 4) * 8;
    }
}

static uint64_t next_value(struct feed *input) {
    uint64_t n = feed_u32(input);
    switch (feed_below(input, 6)) {
    case 0: return feed_u64(input);
    case 1: return n % (4 * MPROC__TRACE_RECORDS);
    case 2: return mproc__family->base + n % mproc__family->span;
    case 3: return rings[n % 2];
    case 4: return (n % 16) << 56 | (n >> 4 & 0xff) << 48 | (mproc__family->base + (n >> 12) * 16);
    default: return n % 64 << 32 | (n >> 6) % 4;
    }
}

static void read_input(struct feed *input) {
    nchanged = 0;
    while (nchanged < WORDS && input->left > 0) {
        changed[nchanged].offset = next_place(input);
        changed[nchanged].value = next_value(input);
        nchanged++;
        if (feed_below(input, 16) == 0) {
            break;
        }
    }
}

/* ---------------------------------------------------------------- what comes of it */

static int64_t spans, held;

static void check_line(const char *line, const char *end) {
    MUST(end - line > 9 && memcmp(line, "{\"ph\":\"", 7) == 0);
    char phase = line[7];
    spans += phase == 'B' ? 1 : phase == 'E' ? -1 : 0;
    held += phase == 'b' ? 1 : phase == 'e' ? -1 : 0;
    MUST(spans >= 0 && held >= 0);
    int depth = 0;
    bool quoted = false;
    for (const char *s = line; s < end;) {
        int n = mproc__text_character((const unsigned char *)s);
        MUST(n > 0 && (unsigned char)*s >= ' ' && *s != '\\' && *s != 127);
        quoted ^= *s == '"';
        depth += quoted ? 0 : *s == '{' ? 1 : *s == '}' ? -1 : 0;
        MUST(depth > 0 || s == end - 1);
        s += n;
    }
    MUST(depth == 0 && !quoted);
}

static void check_text(struct mproc__timeline *timeline, bool *first) {
    size_t size;
    const char *text = mproc__timeline_take(timeline, &size);
    const char *end = size > 0 ? text + size : text;
    while (text < end) {
        MUST(*first || (end - text > 2 && memcmp(text, ",\n", 2) == 0));
        text += *first ? 0 : 2;
        *first = false;
        const char *next = memmem(text, (size_t)(end - text), ",\n", 2);
        check_line(text, next != NULL ? next : end);
        text = next != NULL ? next : end;
    }
}

/* What the page shows of the rings. */
static void draw(const struct mproc__outside *arena) {
    struct mproc__picture picture;
    if (mproc__picture_take(arena, &picture) == 0) {
        const struct mproc__show show = {null, arena, &picture, 0, NULL};
        mproc__show_strip(&show);
        mproc__picture_drop(&picture);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed input = {data, size};
    const struct mproc__outside arena = {-1, 0, mproc__family->base, mproc__family->span};
    const struct mproc__timeline_scale scale = {feed_u32(&input), 0.5};
    struct mproc__timeline *timeline;
    struct mproc__drain *drain;
    bool first = true;
    nchanged = 0;
    mproc__poke64(&((struct mproc__trace_ring *)(uintptr_t)rings[0])->next, 0);
    MUST(mproc__drain_new(&drain, &arena) == 0);
    mproc__poke64(&((struct mproc__trace_ring *)(uintptr_t)rings[0])->next, RECORDS);
    MUST(mproc__timeline_new(&timeline, &arena, &scale) == 0);
    spans = held = 0;
    for (int i = 0; i < 2; i++) {
        read_input(&input);
        int64_t n = mproc__drain(drain, mproc__timeline_add, timeline);
        MUST(n >= 0 || n == MPROC_ECORRUPT || n == -EIO || n == -EFAULT);
        mproc__timeline_end(timeline, feed_u32(&input), i == 1);
        check_text(timeline, &first);
    }
    MUST(spans == 0 && held == 0 && !mproc__timeline_failed(timeline));
    mproc__timeline_drop(timeline);
    mproc__drain_drop(drain);
    if (size % 4 == 0) {
        draw(&arena);
    }
    return 0;
}
