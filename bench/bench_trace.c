/*
 * bench_trace.c - what it costs a call that somebody records
 *
 * SPDX-License-Identifier: MIT
 *
 * Each pair of calls writes two records into the ring of the thread. Nobody reads them: that is
 * another process' work, on another CPU.
 */
#include "bench.h"
#include "core/trace.h"
#include "mproc.h"

static mproc_lock *lock;
static mproc_queue *queue;

struct kind {
    void (*pair)(void);
    uint32_t clock; /* enum mproc__trace_clock */
};

static void lock_pair(void) {
    if (mproc_lock_acquire(lock, 0) != 0 || mproc_lock_release(lock) != 0) {
        bench_die("mproc_lock_acquire");
    }
}

static void queue_pair(void) {
    char room[64];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    if (mproc_queue_put(queue, "sixteen bytes...", 16, 0) != 0 ||
        mproc_queue_get(queue, &message, 0) != 0) {
        bench_die("mproc_queue_put");
    }
}

static double pairs(void *arg, uint64_t n) {
    const struct kind *k = arg;
    mproc__poke64(&mproc__trace->until, UINT64_MAX);
    mproc__poke32(&mproc__trace->on, k->clock);
    bench_pin(0);
    double start = bench_now();
    while (n-- > 0) {
        k->pair();
    }
    double seconds = bench_now() - start;
    bench_unpin();
    mproc__poke32(&mproc__trace->on, MPROC__TRACE_OFF);
    return seconds;
}

static void compare(const char *title, void (*pair)(void)) {
    struct kind off = {pair, MPROC__TRACE_OFF}, ticks = {pair, MPROC__TRACE_BY_TICKS},
                time = {pair, MPROC__TRACE_BY_TIME};
    const struct bench_contender contenders[] = {
        {"nobody records", pairs, &off, true},
        {"recorded by the processor's counter", pairs, &ticks, true},
        {"recorded by the system's clock", pairs, &time, true}};
    const struct bench_table table = {title, "ns", 1e9, false, contenders, 3, {0, 0}, false};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0 || mproc_lock_new(&lock, 0) != 0 ||
        mproc_queue_new(&queue, 0) != 0) {
        bench_die("mproc_init");
    }
    bench_heading("trace: two calls that can be recorded");
    compare("acquire and release of a lock", lock_pair);
    compare("put and get, 16 B", queue_pair);
    return 0;
}
