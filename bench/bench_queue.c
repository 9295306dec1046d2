/*
 * bench_queue.c - the queue against what else carries messages between two processes
 *
 * SPDX-License-Identifier: MIT
 *
 * Throughput: the child puts and the parent gets, on two CPUs. With two producers and two
 * consumers, parent and child each have a helper on the same CPU that does half of the work. For
 * small messages a second row puts and gets up to 64 of them a call. Messages of 1 MiB: the row
 * that counts copies them in and out, as the peers do; the other rows show what a receiver gains
 * that takes a view. Round trip: one message goes back and forth. On two CPUs the queue spins for
 * it; on one CPU it cannot, and sleeps as the peers do. Wake-up: the time from the put until the
 * get returns in a receiver that slept on another CPU. "Not behind the best peer" means at least
 * 0.95 of it, for two runs of one program differ by as much.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "mproc.h"

#define LARGE ((size_t)1 << 20)
#define WAKES 4096 /* latencies that are kept */
#define BATCH 64

static unsigned char *outgoing, *incoming; /* LARGE bytes each, warm */

/* ---------------------------------------------------------------- mproc */

static mproc_queue *queues[2];

static const char *open_queue(size_t size) {
    for (int way = 0; way < 2; way++) {
        if (mproc_queue_new(&queues[way], channel_depth(size)) != 0) {
            bench_die("mproc_queue_new");
        }
    }
    return NULL;
}

static void put_queue(int way, const void *lent, size_t size) {
    if (mproc_queue_put(queues[way], lent, size, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_put");
    }
}

static void put_reserved(int way, const void *lent, size_t size) {
    mproc_message m;
    if (mproc_queue_reserve(queues[way], size, &m) != 0) {
        bench_die("mproc_queue_reserve");
    }
    memcpy(m.data, lent, size);
    if (mproc_queue_commit(queues[way], &m, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_commit");
    }
}

/* A large message comes as a view. One word of each of its pages is read, as a user would. */
static void get_queue(int way, void *room, size_t size) {
    mproc_message m = MPROC_MESSAGE_INIT(room, size);
    if (mproc_queue_get(queues[way], &m, MPROC_FOREVER) != 0 || m.size != size) {
        bench_die("mproc_queue_get");
    }
    for (size_t i = 0; m.block != NULL && i < size; i += 4096) {
        (void)*(volatile unsigned char *)((unsigned char *)m.data + i);
    }
    mproc_message_drop(&m);
}

static void get_copied(int way, void *room, size_t size) {
    mproc_message m = MPROC_MESSAGE_INIT(room, size);
    if (mproc_queue_get(queues[way], &m, MPROC_FOREVER) != 0 || m.size != size) {
        bench_die("mproc_queue_get");
    }
    if (m.block != NULL) {
        memcpy(room, m.data, size);
    }
    mproc_message_drop(&m);
}

/* A buffer goes by reference, the same one each time. A word of each of its pages is read. */
static void put_buffer(int way, const void *lent, size_t size) {
    static mproc_buffer *buffer;
    struct iovec piece = {(void *)(uintptr_t)lent, 1};
    if (buffer == NULL && mproc_buffer_new(&buffer, size) == 0) {
        memcpy(mproc_buffer_data(buffer), lent, size);
    }
    if (mproc_queue_put_with(queues[way], &piece, 1, &buffer, 1, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_put_with");
    }
}

static void get_buffer(int way, void *room, size_t size) {
    mproc_message m = MPROC_MESSAGE_INIT(room, size);
    if (mproc_queue_get(queues[way], &m, MPROC_FOREVER) != 0) {
        bench_die("mproc_queue_get");
    }
    const unsigned char *bytes = mproc_buffer_data(mproc_message_buffer(&m, 0));
    for (size_t i = 0; i < size; i += 4096) {
        (void)*(const volatile unsigned char *)(bytes + i);
    }
    mproc_message_drop(&m);
}

static void put_batches(int way, const void *lent, size_t size, uint64_t n) {
    struct iovec pieces[BATCH];
    size_t put;
    for (size_t i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){(void *)(uintptr_t)lent, size};
    }
    for (; n > 0; n -= put) {
        if (mproc_queue_put_many(queues[way], pieces, n < BATCH ? n : BATCH, &put, MPROC_FOREVER) !=
            0) {
            bench_die("mproc_queue_put_many");
        }
    }
}

static void get_batches(int way, void *room, size_t size, uint64_t n) {
    mproc_message messages[BATCH];
    size_t got;
    for (size_t i = 0; i < BATCH; i++) {
        messages[i] = (mproc_message)MPROC_MESSAGE_INIT((char *)room + i * size, size);
    }
    for (; n > 0; n -= got) {
        if (mproc_queue_get_many(queues[way], messages, n < BATCH ? n : BATCH, &got,
                                 MPROC_FOREVER) != 0) {
            bench_die("mproc_queue_get_many");
        }
        for (size_t i = 0; i < got; i++) {
            mproc_message_drop(&messages[i]);
        }
    }
}

static void close_queue(void) {
    mproc_reap();
    mproc_drop(queues[0]);
    mproc_drop(queues[1]);
}

static const struct channel channel_two_ways = {"mproc queue", open_queue, NULL,        put_queue,
                                                get_queue,     NULL,       close_queue, NULL};
static const struct channel channel_batches = {"mproc queue, up to 64 a call",
                                               open_queue,
                                               NULL,
                                               put_queue,
                                               get_queue,
                                               NULL,
                                               close_queue,
                                               NULL};
static const struct channel channel_copied = {"mproc queue, copied in and out",
                                              open_queue,
                                              NULL,
                                              put_queue,
                                              get_copied,
                                              NULL,
                                              close_queue,
                                              NULL};
static const struct channel channel_view = {"mproc queue, a view comes out",
                                            open_queue,
                                            NULL,
                                            put_queue,
                                            get_queue,
                                            NULL,
                                            close_queue,
                                            NULL};
static const struct channel channel_buffer = {"mproc queue, a buffer by reference",
                                              open_queue,
                                              NULL,
                                              put_buffer,
                                              get_buffer,
                                              NULL,
                                              close_queue,
                                              NULL};
static const struct channel channel_reserved = {"mproc queue, made in place, a view",
                                                open_queue,
                                                NULL,
                                                put_reserved,
                                                get_queue,
                                                NULL,
                                                close_queue,
                                                NULL};

static mproc_channel *pipes[2];
static int pipe_ends[2][2];

static const char *open_channel(size_t size) {
    (void)size;
    for (int way = 0; way < 2; way++) {
        if (mproc_channel_new(&pipes[way], pipe_ends[way], 1) != 0) {
            bench_die("mproc_channel_new");
        }
    }
    return NULL;
}

static void send_channel(int way, const void *lent, size_t size) {
    if (mproc_channel_send(pipes[way], 1, pipe_ends[way][1], lent, size) != 0) {
        bench_die("mproc_channel_send");
    }
}

static void recv_channel(int way, void *room, size_t size) {
    size_t got = 0;
    int r = mproc_channel_recv(pipes[way], 0, pipe_ends[way][0], room, size, &got);
    if (r == MPROC_CHANNEL_BODY) {
        r = mproc_pipe_recv_body(pipe_ends[way][0], room, got);
    }
    if (r != 0 || got != size) {
        bench_die("mproc_channel_recv");
    }
}

static void close_channel(void) {
    mproc_reap();
    for (int way = 0; way < 2; way++) {
        close(pipe_ends[way][0]);
        close(pipe_ends[way][1]);
        mproc_drop(pipes[way]);
    }
}

/* Two of them, each used one way. */
static const struct channel channel_pipe = {
    "mproc channel", open_channel, NULL, send_channel, recv_channel, NULL, close_channel, NULL};

/* ---------------------------------------------------------------- what is measured */

struct run {
    const struct channel *channel;
    const struct kind *kind;
    size_t size;
    double latency; /* wake-up: the median over all messages */
};

struct kind {
    void (*side)(void *arg, bool child, uint64_t n);
    unsigned cpu_of_child;
    bool rate;
    bool crowd; /* both sides have a helper */
};

/* Sends one message each way first, so that connections are made and pages touched. */
static void enter(void *arg, bool child) {
    struct run *r = arg;
    if (r->channel->enter != NULL) {
        r->channel->enter(child);
    }
    if (child) {
        r->channel->put(CHANNEL_UP, outgoing, r->size);
        r->channel->get(CHANNEL_DOWN, incoming, r->size);
    } else {
        r->channel->get(CHANNEL_UP, incoming, r->size);
        r->channel->put(CHANNEL_DOWN, outgoing, r->size);
    }
}

static void leave(void *arg, bool child) {
    struct run *r = arg;
    if (r->channel->leave != NULL) {
        r->channel->leave(child);
    }
}

static void stream_batches(const struct run *r, bool child, uint64_t n) {
    if (child) {
        put_batches(CHANNEL_UP, outgoing, r->size, n);
    } else {
        get_batches(CHANNEL_UP, incoming, r->size, n);
    }
}

static void stream(const struct run *r, bool child, uint64_t n) {
    if (r->channel == &channel_batches) {
        stream_batches(r, child, n);
        return;
    }
    while (n-- > 0) {
        if (child) {
            r->channel->put(CHANNEL_UP, outgoing, r->size);
        } else {
            r->channel->get(CHANNEL_UP, incoming, r->size);
        }
    }
}

static void stream_side(void *arg, bool child, uint64_t n) {
    stream(arg, child, n);
}

/* The helper of a side. It is forked before the clock starts, is told its share of the messages,
 * and is waited for when the clock has stopped. */
struct helper {
    uint64_t share; /* its number of messages + 1; 0: not told yet */
    uint64_t done;
    pid_t pid;
};

static struct helper *helpers; /* in shared memory: that of the parent, that of the child */

static void await_word(const uint64_t *word) {
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0) {
        sched_yield();
    }
}

static void enter_crowd(void *arg, bool child) {
    struct helper *h = &helpers[child];
    enter(arg, child);
    *h = (struct helper){0, 0, 0};
    pid_t pid = fork();
    if (pid < 0) {
        bench_die("fork");
    }
    if (pid == 0) {
        await_word(&h->share);
        stream(arg, child, h->share - 1);
        __atomic_store_n(&h->done, 1, __ATOMIC_SEQ_CST);
        _exit(0);
    }
    h->pid = pid;
}

static void crowd_side(void *arg, bool child, uint64_t n) {
    struct helper *h = &helpers[child];
    __atomic_store_n(&h->share, n / 2 + 1, __ATOMIC_SEQ_CST);
    stream(arg, child, n - n / 2);
    await_word(&h->done);
}

static void leave_crowd(void *arg, bool child) {
    leave(arg, child);
    if (waitpid(helpers[child].pid, NULL, 0) < 0) {
        bench_die("waitpid");
    }
}

static void round_trip_side(void *arg, bool child, uint64_t n) {
    struct run *r = arg;
    while (n-- > 0) {
        if (child) {
            r->channel->get(CHANNEL_DOWN, incoming, r->size);
            r->channel->put(CHANNEL_UP, outgoing, r->size);
        } else {
            r->channel->put(CHANNEL_DOWN, outgoing, r->size);
            r->channel->get(CHANNEL_UP, incoming, r->size);
        }
    }
}

static double now_after(const void *message) {
    double sent, now = bench_now();
    memcpy(&sent, message, sizeof sent);
    return now - sent;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The child sends the time, after a sleep that is long enough for any receiver to fall asleep, too.
 * The median counts: while another program has the CPU, its time slice is measured. */
static void wake_side(void *arg, bool child, uint64_t n) {
    static double latencies[WAKES];
    struct run *r = arg;
    struct timespec pause = {0, 300000};
    size_t kept = 0;
    while (n-- > 0) {
        if (child) {
            nanosleep(&pause, NULL);
            double sent = bench_now();
            memcpy(outgoing, &sent, sizeof sent);
            r->channel->put(CHANNEL_UP, outgoing, r->size);
        } else {
            r->channel->get(CHANNEL_UP, incoming, r->size);
            latencies[kept++ % WAKES] = now_after(incoming);
        }
    }
    kept = kept < WAKES ? kept : WAKES;
    qsort(latencies, kept, sizeof *latencies, ascending);
    r->latency = latencies[kept / 2];
}

static const struct kind throughput = {stream_side, 1, true, false};
static const struct kind crowded = {crowd_side, 1, true, true};
static const struct kind spinning = {round_trip_side, 1, false, false};
static const struct kind blocking = {round_trip_side, 0, false, false};
static const struct kind wake_up = {wake_side, 1, false, false};

/* Whether two processes can use one end. Messages in a stream would be torn, and a socket of ZeroMQ
 * belongs to one process. */
static bool shareable(const struct channel *channel) {
    return channel != &channel_stream && channel != &channel_pipe && channel != &channel_zmq &&
           channel != &channel_nng;
}

static double run_here(void *arg, uint64_t n) {
    struct run *r = arg;
    bool crowd = r->kind->crowd;
    struct bench_pair pair = {crowd ? enter_crowd : enter, r->kind->side,
                              crowd ? leave_crowd : leave, 0, r->kind->cpu_of_child};
    const char *why = crowd && !shareable(r->channel) ? "its ends have one owner each"
                                                      : r->channel->open(r->size);
    if (why != NULL) {
        return bench_cannot(why);
    }
    double seconds = bench_run_pair(&pair, r, n);
    r->channel->close();
    return r->kind == &wake_up ? r->latency * (double)n : seconds;
}

static double run(void *arg, uint64_t n) {
    const struct run *r = arg;
    bool apart = channel_apart(r->channel) && !r->kind->crowd;
    return apart ? bench_apart(run_here, arg, n) : run_here(arg, n);
}

static void compare(const char *title, const struct kind *kind, size_t size, bool large,
                    const char *unit, double scale, struct bench_target target) {
    static const struct channel *const small[] = {&channel_two_ways, &channel_pipe,
                                                  &channel_batches};
    static const struct channel *const big[] = {&channel_copied, &channel_view, &channel_reserved,
                                                &channel_buffer};
    const struct channel *const *ours = large ? big : small;
    static const struct channel *const peers[] = {&channel_mq,  &channel_datagram, &channel_stream,
                                                  &channel_zmq, &channel_nng,      &channel_boost};
    struct run runs[10];
    struct bench_contender contenders[10];
    size_t n = 0, variants = large ? 4 : kind->rate && size <= 100 ? 3 : 2;
    for (size_t i = 0; i < variants; i++, n++) {
        runs[n] = (struct run){ours[i], kind, size, 0};
    }
    for (size_t i = 0; i < 6; i++, n++) {
        runs[n] = (struct run){peers[i], kind, size, 0};
    }
    for (size_t i = 0; i < n; i++) {
        contenders[i] = (struct bench_contender){runs[i].channel->name, run, &runs[i], i < n - 6};
    }
    struct bench_table table = {title, unit, scale, kind->rate, contenders, n, target, false};
    bench_compare(&table);
}

int main(int argc, char **argv) {
    struct bench_target many = {5, 5}, none = {0, 0};
    if (mproc_init(argc, argv) != 0) {
        bench_die("mproc_init");
    }
    outgoing = calloc(1, LARGE);
    incoming = calloc(1, LARGE);
    if (outgoing == NULL || incoming == NULL) {
        bench_die("calloc");
    }
    helpers =
        mmap(NULL, 2 * sizeof *helpers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (helpers == MAP_FAILED) {
        bench_die("mmap");
    }
    memset(outgoing, 1, LARGE);
    memset(incoming, 2, LARGE);
    bench_heading("queue");
    compare("throughput, 16 B", &throughput, 16, false, "M msg/s", 1e-6, many);
    compare("throughput, 100 B", &throughput, 100, false, "M msg/s", 1e-6, many);
    compare("throughput, 4 KiB", &throughput, 4096, false, "M msg/s", 1e-6, none);
    compare("throughput, 1 MiB", &throughput, LARGE, true, "GB/s", 1048576e-9,
            (struct bench_target){0, 6});
    compare("throughput, 16 B, two producers, two consumers", &crowded, 16, false, "M msg/s", 1e-6,
            none);
    if (bench_cpus() > 1) {
        compare("round trip, 16 B, two CPUs: the queue spins, the others sleep", &spinning, 16,
                false, "us", 1e6, (struct bench_target){0, 1});
    } else {
        printf("\nround trip on two CPUs: there is only one here\n");
    }
    compare("round trip, 16 B, one CPU: all of them block", &blocking, 16, false, "us", 1e6,
            (struct bench_target){0.95, 0});
    compare("from put to get, 16 B, the receiver sleeps on another CPU", &wake_up, 16, false, "us",
            1e6, (struct bench_target){0.95, 0});
    return 0;
}
