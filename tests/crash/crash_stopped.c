/*
 * crash_stopped.c - a member is stopped after each instruction of an operation, and goes on later
 *
 * SPDX-License-Identifier: MIT
 *
 * While the victim stands still, the survivor makes calls that must return: those with a timeout,
 * tries, an allocation, the join of a child and fork(). Each has its timeout, 0.1 s for each
 * section that the victim may be in, and the scheduler's time. Then the victim goes on, and both
 * must agree on what was done: each message that was put is in the queue or was got, once.
 *
 * What a stopped member may delay for longer is not in the table but in docs/limits.md.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/os.h"

#define TIMEOUT (MPROC_SEC / 5)
#define BOUND (4 * MPROC_SEC) /* what waits for the victim has no end at all */
#define LARGE 20000

/* In crash_room(). */
struct scene {
    mproc_queue *queue;
    mproc_lock *lock;
    mproc_semaphore *semaphore;
    mproc_event *event;
    mproc_process *child;
    mproc_channel *channel;
    int ends[2];
    void *kept, *block;  /* of the arena */
    uint64_t put, got;   /* by the survivor, beside the victim */
    uint64_t puts, gets; /* by the victim; written when the call has returned */
};

static struct scene *scene(void) {
    return crash_room();
}

/* ---------------------------------------------------------------- queues */

static char payload[LARGE];

static int put(mproc_queue *queue, size_t size) {
    return mproc_queue_put(queue, payload, size, TIMEOUT);
}

static int get(mproc_queue *queue, int64_t timeout) {
    char room[64];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_queue_get(queue, &m, timeout);
    if (r == 0) {
        crash_require(m.size == 8 || m.size == LARGE);
        mproc_message_drop(&m);
    }
    return r;
}

static void make_queue(size_t size) {
    scene()->queue = made_queue(0);
    for (int i = 0; i < 3; i++) {
        crash_require(put(scene()->queue, size) == 0);
    }
}

static void *make_small(void) {
    make_queue(8);
    return scene()->queue;
}

static void put_small(void *queue) {
    crash_require(mproc_queue_put(queue, payload, 8, MPROC_FOREVER) == 0);
    scene()->puts++;
}

static void get_one(void *queue) {
    crash_require(get(queue, MPROC_FOREVER) == 0);
    scene()->gets++;
}

/* Each ends within its own time. */
static void within(int64_t start, const char *call) {
    int64_t took = mproc__os_now() - start;
    if (took > BOUND) {
        crash_fail(__FILE__, __LINE__, "%s took %lld ms", call, (long long)(took / MPROC_MSEC));
    }
}

#define SOON(call)                                                                                 \
    __extension__({                                                                                \
        int64_t soon_start = mproc__os_now();                                                      \
        __typeof__(call) soon_r = (call);                                                          \
        within(soon_start, #call);                                                                 \
        soon_r;                                                                                    \
    })

static void count(int r, uint64_t *done) {
    crash_require(r == 0 || r == -ETIMEDOUT);
    *done += r == 0;
}

static void put_and_get(void *queue) {
    count(SOON(put(queue, 8)), &scene()->put);
    count(SOON(get(queue, TIMEOUT)), &scene()->got);
    count(SOON(get(queue, 0)), &scene()->got);
}

/* Nothing is lost, and nothing is there twice. */
static void verify_queue(void *queue) {
    const struct scene *s = scene();
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_equal(mproc_queue_count(queue), 3 + s->put + s->puts - s->got - s->gets);
    while (mproc_queue_count(queue) != 0) {
        crash_require(get(queue, CRASH_SOON) == 0);
    }
    crash_require(put(queue, 8) == 0);
    crash_require(get(queue, CRASH_SOON) == 0);
}

static void drop(void *object) {
    mproc_drop(object);
}

/* ---------------------------------------------------------------- memory and objects */

static void make_and_drop(void *queue) {
    (void)queue;
    mproc_lock *lock = made_lock(0);
    crash_require(lock != NULL);
    mproc_drop(lock);
}

static void allocate(void *queue) {
    (void)queue;
    void *block = mproc_alloc(LARGE);
    crash_require(block != NULL);
    mproc_free(block);
}

/* Its child is a member. */
static void fork_beside(void *object) {
    int status = 0;
    mproc_member me;
    int64_t start = mproc__os_now();
    pid_t pid = fork();
    within(start, "fork()");
    crash_require(pid >= 0);
    if (pid == 0) {
        _exit(mproc_self(&me) != 0 || me.pid != getpid());
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    crash_equal(status, 0);
    (void)object;
}

static void fork_without_hands(void *object) {
    crash_without_hands(fork_beside, object);
}

static void allocate_beside(void *object) {
    (void)object;
    void *block = SOON(mproc_alloc(LARGE));
    crash_require(block != NULL);
    scene()->block = block; /* given back later: that may wait */
}

/* The class has room: nobody needs another chunk, whose section the victim could be in. */
static void *make_room(void) {
    scene()->kept = mproc_alloc(LARGE);
    crash_require(scene()->kept != NULL);
    return make_small();
}

static void verify_block(void *object) {
    verify_queue(object);
    mproc_free(scene()->block);
    mproc_free(scene()->kept);
}

/* ---------------------------------------------------------------- what synchronises */

static void *make_all(void) {
    struct scene *s = scene();
    s->lock = made_lock(0);
    s->semaphore = made_semaphore(1);
    s->event = made_event();
    return s;
}

static void drop_all(void *object) {
    struct scene *s = object;
    mproc_drop(s->lock);
    mproc_drop(s->semaphore);
    mproc_drop(s->event);
}

static void use_lock(void *object) {
    struct scene *s = object;
    crash_require(mproc_lock_acquire(s->lock, MPROC_FOREVER) == 0);
    crash_require(mproc_lock_release(s->lock) == 0);
}

static void use_semaphore(void *object) {
    struct scene *s = object;
    crash_require(mproc_semaphore_acquire(s->semaphore, MPROC_FOREVER) == 0);
    crash_require(mproc_semaphore_release(s->semaphore) == 0);
}

static void use_event(void *object) {
    struct scene *s = object;
    mproc_event_set(s->event);
    mproc_event_clear(s->event);
}

static void locks_beside(void *object) {
    struct scene *s = object;
    int r = SOON(mproc_lock_acquire(s->lock, TIMEOUT));
    crash_require(r == 0 || r == -ETIMEDOUT);
    if (r == 0) {
        crash_require(mproc_lock_release(s->lock) == 0);
    }
    r = SOON(mproc_lock_acquire(s->lock, 0));
    crash_require(r == 0 || r == -ETIMEDOUT);
    if (r == 0) {
        crash_require(mproc_lock_release(s->lock) == 0);
    }
    r = SOON(mproc_semaphore_acquire(s->semaphore, TIMEOUT));
    crash_require(r == 0 || r == -ETIMEDOUT);
    if (r == 0) {
        crash_require(mproc_semaphore_release(s->semaphore) == 0);
    }
    r = SOON(mproc_event_wait(s->event, TIMEOUT));
    crash_require(r == 0 || r == -ETIMEDOUT);
}

static void verify_all(void *object) {
    struct scene *s = object;
    crash_require(mproc_lock_acquire(s->lock, CRASH_SOON) == 0);
    crash_require(mproc_lock_release(s->lock) == 0);
    crash_require(mproc_semaphore_acquire(s->semaphore, CRASH_SOON) == 0);
    crash_require(mproc_semaphore_release(s->semaphore) == 0);
    crash_equal(mproc_semaphore_value(s->semaphore), 1);
}

/* ---------------------------------------------------------------- channels */

/* The next messages go through the ring: a receiver has looked in vain. */
static void *make_channel(int duplex) {
    struct scene *s = scene();
    char room[8];
    size_t n;
    crash_require(mproc_channel_new(&s->channel, s->ends, duplex) == 0);
    crash_require(mproc_channel_try_recv(s->channel, 0, s->ends[0], room, sizeof room, &n) ==
                  -EAGAIN);
    return s;
}

static void *make_pipe(void) {
    return make_channel(0);
}

static void *make_socket(void) {
    return make_channel(1);
}

static void send_one(struct scene *s) {
    crash_require(mproc_channel_send(s->channel, 1, s->ends[1], payload, 8) == 0);
}

static void receive_one(struct scene *s) {
    char room[8];
    size_t n;
    int r = mproc_channel_recv(s->channel, 0, s->ends[0], room, sizeof room, &n);
    crash_require(r == 0 ||
                  (r == MPROC_CHANNEL_BODY && mproc_pipe_recv_body(s->ends[0], room, n) == 0));
    crash_equal(n, 8);
}

static void *fill_pipe(void) {
    send_one(make_channel(0));
    return scene();
}

static void *fill_socket(void) {
    send_one(make_channel(1));
    return scene();
}

static void use_sender(void *object) {
    send_one(object);
    scene()->puts++;
}

static void use_receiver(void *object) {
    receive_one(object);
    scene()->gets++;
}

/* What it says depends on how far the victim is. */
static void poll_beside(void *object) {
    struct scene *s = object;
    crash_require(SOON(mproc_channel_poll(s->channel, 0, s->ends[0], TIMEOUT)) >= 0);
    crash_require(SOON(mproc_channel_poll(s->channel, 0, s->ends[0], 0)) >= 0);
}

/* What was sent and not received is there, and nothing more. */
static void verify_channel(void *object) {
    struct scene *s = object;
    crash_check(mproc_channel_check(s->channel, why, sizeof why));
    if (s->gets == 0) {
        receive_one(s);
    }
    crash_equal(mproc_channel_poll(s->channel, 0, s->ends[0], 0), 0);
    send_one(s);
    crash_equal(mproc_channel_poll(s->channel, 0, s->ends[0], MPROC_FOREVER), 1);
    receive_one(s);
}

static void drop_channel(void *object) {
    struct scene *s = object;
    mproc_drop(s->channel);
    close(s->ends[0]);
    close(s->ends[1]);
}

/* ---------------------------------------------------------------- children */

static int end_at_once(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 0;
}

static void *make_child(void) {
    crash_require(mproc_process_start(&scene()->child, end_at_once, NULL, 0, NULL) == 0);
    crash_require(mproc__os_pidfd_wait(mproc_process_sentinel(scene()->child), CRASH_SOON) == 1);
    return scene();
}

/* What it held cannot be given back yet: that is no reason to keep its exit code back. */
static void join_beside(void *object) {
    int code = 77;
    (void)object;
    crash_require(SOON(mproc_process_join(scene()->child, TIMEOUT)) == 0);
    crash_require(SOON(mproc_process_exitcode(scene()->child, &code)) == 0);
    crash_equal(code, 0);
}

static void drop_child(void *object) {
    (void)object;
    crash_require(mproc_process_drop(scene()->child) == 0);
}

/* ---------------------------------------------------------------- the table */

#define OP(name_, setup_, operate_, beside_, verify_, teardown_)                                   \
    {                                                                                              \
        .name = (name_), .setup = (setup_), .operate = (operate_), .beside = (beside_),            \
        .verify = (verify_), .teardown = (teardown_), .sample = 50                                 \
    }

static const struct crash_op ops[] = {
    OP("put; put and get beside it", make_small, put_small, put_and_get, verify_queue, drop),
    OP("get; put and get beside it", make_small, get_one, put_and_get, verify_queue, drop),
    OP("object made and dropped; fork beside it", make_small, make_and_drop, fork_beside,
       verify_queue, drop),
    OP("memory; fork beside it", make_small, allocate, fork_beside, verify_queue, drop),
    OP("fork; fork beside it", make_small, fork_beside, fork_beside, verify_queue, drop),
    OP("fork without hands; the same beside it", make_small, fork_without_hands, fork_without_hands,
       verify_queue, drop),
    OP("memory; memory beside it", make_room, allocate, allocate_beside, verify_block, drop),
    OP("lock; timeouts beside it", make_all, use_lock, locks_beside, verify_all, drop_all),
    OP("semaphore; timeouts beside it", make_all, use_semaphore, locks_beside, verify_all,
       drop_all),
    OP("event; timeouts beside it", make_all, use_event, locks_beside, verify_all, drop_all),
    OP("send into a pipe; poll beside it", make_pipe, use_sender, poll_beside, verify_channel,
       drop_channel),
    OP("send into a socket; poll beside it", make_socket, use_sender, poll_beside, verify_channel,
       drop_channel),
    OP("recv from a pipe; poll beside it", fill_pipe, use_receiver, poll_beside, verify_channel,
       drop_channel),
    OP("recv from a socket; poll beside it", fill_socket, use_receiver, poll_beside, verify_channel,
       drop_channel),
    OP("object made and dropped; join beside it", make_child, make_and_drop, join_beside,
       crash_nothing, drop_child),
};

CRASH_MAIN(ops)
