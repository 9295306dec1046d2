/*
 * bench_latency.c - how long a message takes from one process to another, under half load
 *
 * SPDX-License-Identifier: MIT
 *
 * First a stream of messages of 16 bytes says how many a contender carries in a second. Then the
 * child sends half as many: each message has its time, and says when that was. A child that is late
 * sends at once, so that what waits behind a slow message counts as late, too. The parent, on
 * another CPU, notes the time of each, and the percentiles count: half of the messages were faster
 * than p50, one in a thousand was slower than p99.9. A run takes several samples, of which the best
 * counts: while another program has the CPU, its time slice is measured.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "channel.h"
#include "mproc.h"

#define SIZE ((size_t)16)
#define STREAM 0.02  /* seconds that the stream takes at least */
#define SAMPLE 0.003 /* seconds of half load */
#define SAMPLES 24   /* of a run, of which the best counts */
#define KEPT ((size_t)1 << 21)

/* ---------------------------------------------------------------- a run */

struct stamped {
    double due;
    double unused;
};

struct run {
    const struct channel *channel;
    double percentile;
    double gap; /* seconds between two messages; 0: a stream */
};

static double *latencies; /* KEPT of them, in shared memory */

static void enter(void *arg, bool child) {
    struct run *r = arg;
    struct stamped message = {0, 0};
    if (r->channel->enter != NULL) {
        r->channel->enter(child);
    }
    if (child) { /* connections are made */
        r->channel->put(CHANNEL_UP, &message, SIZE);
    } else {
        r->channel->get(CHANNEL_UP, &message, SIZE);
    }
}

static void leave(void *arg, bool child) {
    struct run *r = arg;
    if (r->channel->leave != NULL) {
        r->channel->leave(child);
    }
}

static void send_all(const struct run *r, uint64_t n) {
    double begun = bench_now();
    for (uint64_t i = 0; i < n; i++) {
        double now = bench_now();
        struct stamped message = {begun + (double)i * r->gap, 0};
        while (now < message.due) {
            now = bench_now();
        }
        r->channel->put(CHANNEL_UP, &message, SIZE);
    }
}

static void side(void *arg, bool child, uint64_t n) {
    struct run *r = arg;
    if (child) {
        send_all(r, n);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        struct stamped message;
        r->channel->get(CHANNEL_UP, &message, SIZE);
        latencies[i % KEPT] = bench_now() - message.due;
    }
}

static double pair_up(void *arg, uint64_t n) {
    struct bench_pair pair = {enter, side, leave, 0, 1};
    return bench_run_pair(&pair, arg, n);
}

static double seconds_of(struct run *r, uint64_t n) {
    double seconds = channel_apart(r->channel) ? bench_apart(pair_up, r, n) : pair_up(r, n);
    r->channel->close();
    return seconds;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Messages a second in a stream; negative: it cannot take part. */
static double capacity(struct run *r) {
    r->gap = 0;
    for (uint64_t n = 256;; n *= 4) {
        const char *why = r->channel->open(SIZE);
        if (why != NULL) {
            return bench_cannot(why);
        }
        double seconds = seconds_of(r, n);
        if (seconds >= STREAM) {
            return (double)n / seconds;
        }
    }
}

static double sample(struct run *r) {
    uint64_t sent = 1 + (uint64_t)(SAMPLE / r->gap);
    size_t kept = sent < KEPT ? (size_t)sent : KEPT;
    (void)r->channel->open(SIZE);
    (void)seconds_of(r, sent);
    qsort(latencies, kept, sizeof *latencies, ascending);
    return latencies[(size_t)((double)(kept - 1) * r->percentile)];
}

static double run(void *arg, uint64_t n) {
    struct run *r = arg;
    double best = INFINITY, rate = capacity(r);
    if (rate < 0) {
        return rate;
    }
    r->gap = 2 / rate;
    for (int i = 0; i < SAMPLES; i++) {
        best = fmin(best, sample(r));
    }
    return best * (double)n;
}

static void compare(const char *title, double percentile) {
    static const struct channel *const channels[] = {
        &channel_mproc, &channel_mq, &channel_datagram, &channel_zmq, &channel_nng, &channel_boost};
    struct run runs[6];
    struct bench_contender contenders[6];
    for (size_t i = 0; i < 6; i++) {
        runs[i] = (struct run){channels[i], percentile, 0};
        contenders[i] = (struct bench_contender){channels[i]->name, run, &runs[i], i == 0};
    }
    struct bench_table table = {title, "us", 1e6, false, contenders, 6, {0, 0}, true};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    latencies = mmap(NULL, KEPT * sizeof *latencies, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (latencies == MAP_FAILED) {
        bench_die("mmap");
    }
    bench_heading("latency: one way, 16 B, under half load");
    if (bench_cpus() < 2) {
        printf("\nthe two sides need a CPU each\n");
        return 0;
    }
    compare("p50", 0.5);
    compare("p99", 0.99);
    compare("p99.9", 0.999);
    return 0;
}
