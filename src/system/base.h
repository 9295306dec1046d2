/*
 * base.h - small things that every file of the core uses
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_BASE_H
#define MPROC_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mproc.h"

#define MPROC__LINE 64 /* bytes of a cache line: hot words of different writers are kept apart */

#define mproc__container(pointer, type, field)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, field)))

#if defined(__GNUC__)
#define mproc__likely(x) __builtin_expect(!!(x), 1)
#define mproc__unlikely(x) __builtin_expect(!!(x), 0)
#define MPROC__PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MPROC__NOINLINE __attribute__((noinline))
#define MPROC__INLINE inline __attribute__((always_inline)) /* a path of its own for each caller */
#define MPROC__HIDDEN __attribute__((visibility("hidden")))
#else
#define mproc__likely(x) (x)
#define mproc__unlikely(x) (x)
#define MPROC__PRINTF(f, a)
#define MPROC__NOINLINE
#define MPROC__INLINE inline
#define MPROC__HIDDEN
#endif

/* The extension is loaded late. glibc's loader keeps some bytes for late comers, into which these
 * fit: to find them takes no call. musl's keeps none, and refuses what asks for them. */
#if defined(__GLIBC__)
#define MPROC__THREAD _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define MPROC__THREAD _Thread_local
#endif

/* A bug of the library: says which invariant broke, and aborts. Never for what happens outside. */
#define MPROC__LOG_MAX 512 /* bytes of a line, the closing 0 included */

/* Says something that no code can tell: to the program's log hook, or on stderr. */
void mproc__log(const char *format, ...) MPROC__PRINTF(1, 2);

_Noreturn void mproc__panic(const char *format, ...) MPROC__PRINTF(1, 2);

/* For _check functions: words the finding into `why` and returns MPROC_ECORRUPT. */
int mproc__corrupt(char *why, size_t size, const char *format, ...) MPROC__PRINTF(3, 4);

/* ---- deadlines: a timeout becomes one point in time, once. */

#define MPROC__NEVER INT64_MAX

int64_t mproc__deadline(int64_t timeout);
/* The timeout that ends at a deadline. */
int64_t mproc__until(int64_t deadline);

/* Waits are cut into slices, so that a waker that died between its commit and its wake, or an owner
 * that died with a lock, costs a sleeper one slice at the most. 10 ms doubles up to 50 ms. A
 * shorter first one would be due before the system's next tick (4 ms or 10 ms), so that every sleep
 * programs the timer: in a virtual machine that doubles what sleeping and being woken costs (6 us
 * and 13 us). */
#define MPROC__SLICE_FIRST (10 * MPROC_MSEC)

struct mproc__slices {
    int64_t deadline;
    int64_t next;
    bool begun;     /* the first slice is over */
    bool idle;      /* nothing has come in the last one, for waits that ask */
    bool deaf;      /* this thread need not look for signals any more */
    int64_t looked; /* when a wait that is woken often has looked for signals last */
    int64_t now;    /* the time at the first slice, if the caller has just read it; or 0 */
};

static inline struct mproc__slices mproc__slices_until(int64_t deadline) {
    struct mproc__slices s = {.deadline = deadline, .next = MPROC__SLICE_FIRST};
    return s;
}

/* The same for a timeout that begins now. Nobody looks for signals in its first slice. */
struct mproc__slices mproc__slices_from(int64_t now, int64_t timeout);

/* From now on every wait calls that function after its first slice and each further one. */
void mproc__every_slice(void (*look)(void));

/* How long to sleep now, in ns; -1: the deadline has passed. */
int64_t mproc__slice(struct mproc__slices *slices);

/* The same for a wait that a signal may end: before every slice but the first the caller's runtime
 * looks for signals (mproc_wait_hook()). No lock is held, no section entered, and the caller has
 * looked whether its wait is over. Negative: why it ends, -ETIMEDOUT or -EINTR. */
int64_t mproc__user_slice(struct mproc__slices *slices);

/* Whether the caller's runtime wants its threads to look for signals. */
bool mproc__hooked(void);
/* Looks, for a wait that does so elsewhere than between two slices. True: a signal ends it. */
bool mproc__signal_seen(struct mproc__slices *slices);

#endif
