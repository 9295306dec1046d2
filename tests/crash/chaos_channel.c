/*
 * chaos_channel.c - one of two members that talk through a channel is killed, again and again
 *
 * SPDX-License-Identifier: MIT
 *
 * Each round has a channel of its own, over a socket or a pipe, and two children: one sends
 * numbered messages of all kinds, one receives them. Some go through the ring, some as bytes, some
 * are offered, some name buffers that were left at the channel; now and then one side polls, or
 * goes plain. The receiver keeps some of the large messages and buffers, where they lie in the
 * arena, and looks at them again later. The supervisor kills one of the two at a random moment.
 * Then
 *
 *   the other one ends by itself: it is told that nobody is left;
 *   what was sent (the send had returned) was received, once and in order, if the sender is the one
 *       that was killed; the message that it was sending has come whole or not at all;
 *   the channel passes its check, and in the end nothing is in use that was not before, though the
 *       killed had views of the arena.
 */
#include "supervisor.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../c/made.h"

#define HUGE_SIZE ((size_t)700000)
#define ROOM ((size_t)12000)
#define VIEWS 5     /* that a receiver keeps */
#define PATIENCE 20 /* seconds */

enum { DISORDER = CHILD_FINDINGS, TORN, NO_BUFFER };

static const char *const findings[] = {"got a message out of order", "got a torn message",
                                       "got a name without its buffer"};

struct message {
    uint64_t number;
    uint64_t name; /* of a buffer; 0: none */
    char rest[];
};

/* In the arena. */
struct shared {
    mproc_channel *channel;
    int ends[2];
    uint64_t meant, sent, taken; /* numbers of messages */
    uint64_t viewed;             /* how many views the receiver has */
};

static struct shared *shared;
static uint64_t rounds, killed[2], messages, orphaned;

/* ---------------------------------------------------------------- messages */

static uint64_t mix(uint64_t number) {
    return (number + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
}

static size_t size_of(uint64_t number) {
    uint64_t n = mix(number);
    size_t more = n % 97 == 0 ? HUGE_SIZE : n % 31 == 0 ? ROOM - 100 : n % 5 == 0 ? 3000 : n % 100;
    return sizeof(struct message) + more;
}

static bool has_buffer(uint64_t number) {
    return mix(number) % 7 == 0;
}

static void fill(struct message *m, uint64_t number) {
    m->number = number;
    m->name = 0;
    memset(m->rest, (int)number, size_of(number) - sizeof *m);
}

static void verify(const struct message *m, size_t size, uint64_t expected) {
    if (size < sizeof *m || m->number != expected) {
        _exit(DISORDER);
    }
    size_t rest = size - sizeof *m;
    if (size != size_of(expected) || (rest > 0 && (m->rest[0] != (char)expected ||
                                                   memcmp(m->rest, m->rest + 1, rest - 1) != 0))) {
        _exit(TORN);
    }
}

/* ---------------------------------------------------------------- the sender */

/* 0; -EAGAIN: the channel is plain. */
static int give(struct message *m) {
    mproc_buffer *buffer = made_buffer(sizeof m->number);
    if (buffer == NULL) {
        _exit(CHILD_ODD_RESULT);
    }
    memcpy(mproc_buffer_data(buffer), &m->number, sizeof m->number);
    int r = mproc_channel_give(shared->channel, 1, &buffer, 1, &m->name);
    child_expect(mproc_drop(buffer));
    return r;
}

static void go_plain_sometimes(uint64_t number, int side) {
    if (mix(number * 2 + (uint64_t)side) % 5000 == 0) {
        child_expect(mproc_channel_plain(shared->channel, side, shared->ends[side]));
    }
}

static void send_all(void) {
    struct message *m = malloc(sizeof *m + HUGE_SIZE);
    int r = 0;
    close(shared->ends[0]);
    for (uint64_t number = 0; r == 0 && m != NULL; number++) {
        fill(m, number);
        mproc__store64(&shared->meant, number + 1);
        if (has_buffer(number) && give(m) == -EAGAIN) {
            m->name = 0;
        }
        r = mproc_channel_send(shared->channel, 1, shared->ends[1], m, size_of(number));
        if (r == 0) {
            mproc__store64(&shared->sent, number + 1);
            go_plain_sometimes(number, 1);
        }
    }
    child_expect(r == MPROC_EEOF ? 0 : r);
}

/* ---------------------------------------------------------------- the receiver */

/* A message or a buffer that stays where it lies. */
struct view {
    mproc_message message; /* no block: there is none */
    uint64_t number;
};

static struct view views[VIEWS];

static bool has_number(mproc_buffer *buffer, uint64_t number) {
    return memcmp(mproc_buffer_data(buffer), &number, sizeof number) == 0;
}

static void let_go(struct view *view) {
    mproc_message *m = &view->message;
    if (m->block == NULL) {
        return;
    }
    if (mproc_message_buffer(m, 0) == NULL) {
        verify(m->data, m->size, view->number);
    } else if (!has_number(mproc_message_buffer(m, 0), view->number)) {
        _exit(TORN);
    }
    mproc_message_drop(m);
    mproc__store64(&shared->viewed, shared->viewed - 1);
}

/* In place of an older one. */
static void keep(const mproc_message *owned, uint64_t number) {
    struct view *view = &views[mix(number) % VIEWS];
    let_go(view);
    *view = (struct view){*owned, number};
    mproc__store64(&shared->viewed, shared->viewed + 1);
}

static void take_buffer(const struct message *m) {
    mproc_message given = MPROC_MESSAGE_INIT(NULL, 0);
    if (m->name == 0) {
        return;
    }
    if (mproc_channel_fetch(shared->channel, m->name, &given) != 0 ||
        !has_number(mproc_message_buffer(&given, 0), m->number)) {
        _exit(NO_BUFFER);
    }
    keep(&given, m->number);
}

/* 0; MPROC_EEOF, MPROC_EFRAME: the sender has ended. */
static int take(uint64_t number, struct message *room) {
    mproc_message in = MPROC_MESSAGE_INIT(room, ROOM);
    int r = mproc_channel_recv_message(shared->channel, 0, shared->ends[0], &in);
    if (r == MPROC_CHANNEL_BODY) {
        r = mproc_pipe_recv_body(shared->ends[0], room, in.size);
        in.data = room;
    }
    if (r == 0) {
        verify(in.data, in.size, number);
        take_buffer(in.data);
    }
    if (r == 0 && in.block != NULL) {
        keep(&in, number);
    }
    return r;
}

static void receive_all(void) {
    struct message *room = malloc(sizeof *room + HUGE_SIZE);
    int r = 0;
    close(shared->ends[1]);
    for (uint64_t number = 0; r == 0 && room != NULL; number++) {
        if (mix(number) % 11 == 0 &&
            mproc_channel_poll(shared->channel, 0, shared->ends[0], MPROC_MSEC) < 0) {
            _exit(CHILD_ODD_RESULT);
        }
        r = take(number, room);
        if (r == 0) {
            mproc__store64(&shared->taken, number + 1);
            go_plain_sometimes(number, 0);
        }
    }
    for (int i = 0; i < VIEWS; i++) {
        let_go(&views[i]);
    }
    child_expect(r == MPROC_EEOF || r == MPROC_EFRAME ? 0 : r);
}

/* ---------------------------------------------------------------- the supervisor */

static pid_t start(void (*run)(void)) {
    pid_t pid = supervisor_fork();
    if (pid == 0) {
        run();
        _exit(0);
    }
    return pid;
}

static void collect(pid_t pid, const char *who, bool kill_it) {
    bool by_us;
    if (!supervisor_await_end(pid, PATIENCE)) {
        char where[64];
        supervisor_where(pid, where);
        supervisor_fail("round %llu: the %s does not end; it is in %s", (unsigned long long)rounds,
                        who, where);
    }
    const char *wrong = supervisor_judge(pid, kill_it, &by_us, findings, 3);
    if (wrong != NULL) {
        supervisor_fail("round %llu: the %s %s", (unsigned long long)rounds, who, wrong);
    }
}

static void begin_round(void) {
    memset(shared, 0, sizeof *shared);
    supervisor_require(
        mproc_channel_new(&shared->channel, shared->ends, supervisor_random_below(2) ? 1 : 0),
        "a channel");
}

/* All that was sent has come, if its receiver was there until the end. */
static void account(int victim) {
    uint64_t taken = shared->taken;
    if (taken > shared->meant || (victim == 1 && taken < shared->sent)) {
        supervisor_fail("round %llu: %llu meant, %llu sent, %llu received",
                        (unsigned long long)rounds, (unsigned long long)shared->meant,
                        (unsigned long long)shared->sent, (unsigned long long)taken);
    }
    messages += taken;
    orphaned += shared->viewed;
    supervisor_check(mproc_channel_check(shared->channel, why, sizeof why));
}

static void play_round(void) {
    begin_round();
    pid_t pids[2] = {start(receive_all), start(send_all)};
    close(shared->ends[0]);
    close(shared->ends[1]);
    supervisor_nap(supervisor_random_below(20000));
    int victim = (int)supervisor_random_below(2);
    kill(pids[victim], SIGKILL);
    killed[victim]++;
    if (supervisor_random_below(2) == 0) {
        mproc_reap(); /* or the other child has to notice */
    }
    collect(pids[victim], victim == 0 ? "receiver" : "sender", true);
    collect(pids[1 - victim], victim == 0 ? "sender" : "receiver", false);
    mproc_reap();
    account(victim);
    mproc_drop(shared->channel);
}

int main(int argc, char **argv) {
    double seconds = supervisor_begin(argc, argv, "chaos_channel", 3);
    shared = supervisor_calloc(sizeof *shared);
    for (; supervisor_elapsed() < seconds; rounds++) {
        play_round();
    }
    printf("chaos_channel: killed %llu receivers, with %llu views, %llu senders; %llu messages "
           "received\n",
           (unsigned long long)killed[0], (unsigned long long)orphaned,
           (unsigned long long)killed[1], (unsigned long long)messages);
    mproc_free(shared);
    return supervisor_end();
}
