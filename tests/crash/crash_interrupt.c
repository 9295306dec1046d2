/*
 * crash_interrupt.c - every wait of the library, interrupted after each of its instructions
 *
 * SPDX-License-Identifier: MIT
 *
 * The laboratory itself has what the victim waits for: it holds the lock, fills the queue, never
 * sets the event.
 */
#include "../c/made.h"
#include "fixture.h"
#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static void drop(void *object) {
    mproc_drop(object);
}

/* ---------------------------------------------------------------- queues */

static void *empty_queue(void) {
    mproc_queue *queue = made_queue(0);
    crash_require(queue != NULL);
    return queue;
}

static void *full_queue(void) {
    mproc_queue *queue = made_queue(1);
    crash_require(queue != NULL);
    crash_equal(mproc_queue_put(queue, "x", 1, 0), 0);
    return queue;
}

static int get(void *queue) {
    char room[64];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    return mproc_queue_get(queue, &message, MPROC_FOREVER);
}

static int get_many(void *queue) {
    mproc_message messages[2] = {MPROC_MESSAGE_INIT(NULL, 0), MPROC_MESSAGE_INIT(NULL, 0)};
    size_t got;
    return mproc_queue_get_many(queue, messages, 2, &got, MPROC_FOREVER);
}

static int wait_for_message(void *queue) {
    return mproc_queue_wait(queue, MPROC_FOREVER);
}

static int put(void *queue) {
    return mproc_queue_put(queue, "y", 1, MPROC_FOREVER);
}

static int put_large(void *queue) {
    static char large[100000];
    return mproc_queue_put(queue, large, sizeof large, MPROC_FOREVER);
}

static int put_many(void *queue) {
    struct iovec pieces[2] = {{(void *)(uintptr_t) "a", 1}, {(void *)(uintptr_t) "b", 1}};
    size_t n;
    return mproc_queue_put_many(queue, pieces, 2, &n, MPROC_FOREVER);
}

static int commit(void *queue) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    crash_equal(mproc_queue_reserve(queue, 20000, &message), 0);
    return mproc_queue_commit(queue, &message, MPROC_FOREVER);
}

static int join_queue(void *queue) {
    return mproc_queue_join(queue, MPROC_FOREVER);
}

static void verify_empty(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_equal(mproc_queue_count(queue), 0);
}

static void verify_full(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_equal(mproc_queue_count(queue), 1);
}

/* ---------------------------------------------------------------- locks */

static void *held_lock(void) {
    mproc_lock *lock = made_lock(0);
    crash_require(lock != NULL);
    crash_equal(mproc_lock_acquire(lock, 0), 0);
    return lock;
}

static void *held_rlock(void) {
    mproc_rlock *lock = made_rlock();
    crash_require(lock != NULL);
    crash_equal(mproc_rlock_acquire(lock, 0), 0);
    return lock;
}

static void *no_permits(void) {
    mproc_semaphore *semaphore = made_semaphore(0);
    crash_require(semaphore != NULL);
    return semaphore;
}

static void *all_taken(void) {
    mproc_bsemaphore *semaphore = made_bsemaphore(1);
    crash_require(semaphore != NULL);
    crash_equal(mproc_bsemaphore_acquire(semaphore, 0), 0);
    return semaphore;
}

static int acquire_lock(void *lock) {
    return mproc_lock_acquire(lock, MPROC_FOREVER);
}

static int acquire_rlock(void *lock) {
    return mproc_rlock_acquire(lock, MPROC_FOREVER);
}

static int acquire_semaphore(void *semaphore) {
    return mproc_semaphore_acquire(semaphore, MPROC_FOREVER);
}

static int acquire_bsemaphore(void *semaphore) {
    return mproc_bsemaphore_acquire(semaphore, MPROC_FOREVER);
}

static void verify_lock(void *lock) {
    crash_check(mproc_lock_check(lock, why, sizeof why));
    crash_equal(mproc_lock_acquire(lock, 0), -ETIMEDOUT);
}

static void verify_rlock(void *lock) {
    crash_equal(mproc_rlock_depth(lock), 1);
}

/* ---------------------------------------------------------------- what synchronises */

static void *unset_event(void) {
    mproc_event *event = made_event();
    crash_require(event != NULL);
    return event;
}

static int wait_for_event(void *event) {
    return mproc_event_wait(event, MPROC_FOREVER);
}

static struct meeting {
    mproc_condition *condition;
    mproc_rlock *lock;
} meeting;

static void *condition(void) {
    meeting = (struct meeting){made_condition(), made_rlock()};
    crash_require(meeting.condition != NULL && meeting.lock != NULL);
    return &meeting;
}

static void acquire_first(void *object) {
    struct meeting *m = object;
    int r = mproc_rlock_acquire(m->lock, MPROC_FOREVER);
    crash_require(r == 0 || r == -EOWNERDEAD); /* the victim before this one has ended with it */
}

static int wait_for_notify(void *object) {
    struct meeting *m = object;
    int r = mproc_condition_wait(m->condition, m->lock, MPROC_FOREVER);
    return mproc_rlock_depth(m->lock) == 1 ? r : -ENOLCK;
}

static void verify_condition(void *object) {
    struct meeting *m = object;
    crash_equal(mproc_condition_waiting(m->condition), 0);
    int r = mproc_rlock_acquire(m->lock, CRASH_SOON);
    crash_require(r == 0 || r == -EOWNERDEAD); /* the victim has ended with it */
    crash_equal(mproc_rlock_release(m->lock), 0);
}

static void drop_condition(void *object) {
    struct meeting *m = object;
    mproc_drop(m->condition);
    mproc_drop(m->lock);
}

static void *barrier(void) {
    mproc_barrier *barrier = made_barrier(2);
    crash_require(barrier != NULL);
    return barrier;
}

static int wait_at_barrier(void *object) {
    return mproc_barrier_wait(object, MPROC_FOREVER, NULL);
}

static void verify_barrier(void *object) {
    crash_require(!mproc_barrier_broken(object));
    crash_equal(mproc_barrier_waiting(object), 0);
}

/* ---------------------------------------------------------------- processes and tasks */

static mproc_process *child;
static mproc_pool *pool;
static mproc_task *task;

static int sleep_for_ever(void *arg, size_t size) {
    (void)arg, (void)size;
    while (pause() < 0) { /* until it is killed */
    }
    return 0;
}

static int task_for_ever(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return sleep_for_ever(NULL, 0);
}

/* A map ends when the items that have begun have ended. After the signal that is soon. But all of
 * them together take a while even then: the map must not be done before the victim has looked. */
static int item_for_long(const void *in, void *out, void *context) {
    (void)in, (void)out, (void)context;
    for (int i = 0; i < 500 && (i < 10 || !interrupt_has_come()); i++) {
        usleep(10000);
    }
    return 0;
}

static void start_child(void *unused) {
    (void)unused;
    crash_equal(mproc_process_start(&child, sleep_for_ever, NULL, 0, NULL), 0);
}

static int join_child(void *unused) {
    (void)unused;
    return mproc_process_join(child, MPROC_FOREVER);
}

static void start_pool(void *unused) {
    (void)unused;
    mproc_pool_options options = {.workers = 1};
    crash_equal(mproc_pool_new(&pool, &options), 0);
}

static void start_task(void *unused) {
    start_pool(unused);
    crash_equal(mproc_pool_submit(pool, task_for_ever, NULL, 0, NULL, &task), 0);
}

static int wait_for_task(void *unused) {
    (void)unused;
    return mproc_task_wait(task, MPROC_FOREVER);
}

static int wait_for_any_task(void *unused) {
    size_t index;
    (void)unused;
    return mproc_task_wait_any(&task, 1, MPROC_FOREVER, &index);
}

static int wait_for_all_tasks(void *unused) {
    (void)unused;
    return mproc_task_wait_all(&task, 1, MPROC_FOREVER);
}

static int collect_task(void *unused) {
    (void)unused;
    return mproc_pool_collect(pool, MPROC_FOREVER);
}

static void close_pool(void *unused) {
    start_task(unused);
    mproc_pool_close(pool);
}

static int join_pool(void *unused) {
    (void)unused;
    return mproc_pool_join(pool, MPROC_FOREVER);
}

static int map_for_long(void *unused) {
    static char in[4], out[4]; /* for 20 s */
    mproc_map_options options = {.chunk = 1, .stop_on_signal = 1};
    (void)unused;
    return mproc_pool_map(pool, item_for_long, in, 1, out, 1, sizeof in, &options);
}

static void *tasks(void) {
    mproc_taskq *tasks = made_taskq(1);
    crash_require(tasks != NULL);
    return tasks;
}

static void take_seat(void *object) {
    crash_equal(mproc_taskq_join(object, 0), 0);
}

static int take_task(void *object) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t ticket;
    return mproc_taskq_take(object, 0, &message, &ticket, MPROC_FOREVER);
}

static int collect_result(void *object) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t ticket;
    return mproc_taskq_collect(object, &message, &ticket, MPROC_FOREVER);
}

static void verify_tasks(void *object) {
    uint64_t ticket;
    crash_equal(mproc_taskq_worker_died(object, 0, &ticket), 0);
    crash_check(mproc_taskq_check(object, why, sizeof why));
}

/* ---------------------------------------------------------------- connections */

static int ends[2];

static void *open_pipe(int duplex) {
    crash_equal(mproc_pipe_new(ends, duplex), 0);
    return ends;
}

static void *socket_pair(void) {
    return open_pipe(1);
}

static void *simple_pipe(void) {
    return open_pipe(0);
}

static void close_pipe(void *unused) {
    (void)unused;
    close(ends[0]);
    close(ends[1]);
}

/* From then on nothing more can be sent. */
static void *fill(void *pipe) {
    static const char bytes[1 << 12];
    int flags = fcntl(ends[1], F_GETFL);
    crash_equal(fcntl(ends[1], F_SETFL, flags | O_NONBLOCK), 0);
    for (size_t n = sizeof bytes; n > 0;) {
        n = write(ends[1], bytes, n) < 0 ? n / 2 : n;
    }
    crash_equal(fcntl(ends[1], F_SETFL, flags), 0);
    return pipe;
}

static void *full_pipe(void) {
    return fill(simple_pipe());
}

static void *full_socket(void) {
    return fill(socket_pair());
}

static int poll_end(void *unused) {
    (void)unused;
    return mproc_pipe_poll(ends[0], MPROC_FOREVER);
}

static int wait_for_ends(void *unused) {
    unsigned char ready[1];
    (void)unused;
    return mproc_wait(ends, 1, ready, MPROC_FOREVER);
}

static int receive(void *unused) {
    size_t size;
    (void)unused;
    return mproc_pipe_recv_size(ends[0], &size);
}

static int receive_descriptors(void *unused) {
    int fds[4];
    size_t n;
    (void)unused;
    return mproc_pipe_recv_fds(ends[0], fds, 4, &n);
}

static int send_bytes(void *unused) {
    (void)unused;
    return mproc_pipe_send(ends[1], "x", 1);
}

static int send_descriptors(void *unused) {
    int fd = 0;
    (void)unused;
    return mproc_pipe_send_fds(ends[1], &fd, 1);
}

/* ---------------------------------------------------------------- channels */

static mproc_channel *channel;

static void *open_channel(void) {
    crash_equal(mproc_channel_new(&channel, ends, 1), 0);
    return channel;
}

static int receive_from_channel(void *unused) {
    char room[8];
    size_t size;
    (void)unused;
    return mproc_channel_recv(channel, 0, ends[0], room, sizeof room, &size);
}

/* The ring is in use, and empty. */
static void *open_ring(void) {
    char room[8];
    size_t size;
    open_channel();
    crash_equal(mproc_channel_try_recv(channel, 0, ends[0], room, sizeof room, &size), -EAGAIN);
    crash_equal(mproc_channel_send(channel, 1, ends[1], "x", 1), 0);
    crash_equal(receive_from_channel(NULL), 0);
    return channel;
}

static int poll_channel(void *unused) {
    (void)unused;
    return mproc_channel_poll(channel, 0, ends[0], MPROC_FOREVER);
}

static void verify_channel(void *unused) {
    (void)unused;
    crash_check(mproc_channel_check(channel, why, sizeof why));
    crash_equal(mproc_channel_send(channel, 1, ends[1], "y", 1), 0);
    char room[8];
    size_t size;
    int r = mproc_channel_recv(channel, 0, ends[0], room, sizeof room, &size);
    crash_require(r == 0 || r == MPROC_CHANNEL_BODY);
    crash_equal(size, 1);
    if (r == MPROC_CHANNEL_BODY) {
        crash_equal(mproc_pipe_recv_body(ends[0], room, size), 0);
    }
    crash_equal(room[0], 'y');
}

static void close_channel(void *unused) {
    close_pipe(unused);
    drop(channel);
}

/* ---------------------------------------------------------------- the table */

#define WAIT(text, make, before, call, after, give_back)                                           \
    {                                                                                              \
        .name = text, .setup = make, .prepare = before, .wait = call, .verify = after,             \
        .teardown = give_back                                                                      \
    }

static const struct interrupt_wait waits[] = {
    WAIT("event wait", unset_event, NULL, wait_for_event, NULL, drop),
    WAIT("queue get", empty_queue, NULL, get, verify_empty, drop),
    WAIT("queue get_many", empty_queue, NULL, get_many, verify_empty, drop),
    WAIT("queue wait", empty_queue, NULL, wait_for_message, verify_empty, drop),
    WAIT("queue put", full_queue, NULL, put, verify_full, drop),
    WAIT("queue put (large)", full_queue, NULL, put_large, verify_full, drop),
    WAIT("queue put_many", full_queue, NULL, put_many, verify_full, drop),
    WAIT("queue commit", full_queue, NULL, commit, verify_full, drop),
    WAIT("queue join", full_queue, NULL, join_queue, verify_full, drop),
    WAIT("lock acquire", held_lock, NULL, acquire_lock, verify_lock, drop),
    WAIT("rlock acquire", held_rlock, NULL, acquire_rlock, verify_rlock, drop),
    WAIT("semaphore acquire", no_permits, NULL, acquire_semaphore, NULL, drop),
    WAIT("bounded semaphore acquire", all_taken, NULL, acquire_bsemaphore, NULL, drop),
    WAIT("condition wait", condition, acquire_first, wait_for_notify, verify_condition,
         drop_condition),
    WAIT("barrier wait", barrier, NULL, wait_at_barrier, verify_barrier, drop),
    WAIT("process join", crash_no_object, start_child, join_child, NULL, crash_nothing),
    WAIT("task wait", crash_no_object, start_task, wait_for_task, NULL, crash_nothing),
    WAIT("task wait_any", crash_no_object, start_task, wait_for_any_task, NULL, crash_nothing),
    WAIT("task wait_all", crash_no_object, start_task, wait_for_all_tasks, NULL, crash_nothing),
    WAIT("pool collect", crash_no_object, start_task, collect_task, NULL, crash_nothing),
    WAIT("pool map", crash_no_object, start_pool, map_for_long, NULL, crash_nothing),
    WAIT("pool join", crash_no_object, close_pool, join_pool, NULL, crash_nothing),
    WAIT("task queue take", tasks, take_seat, take_task, verify_tasks, drop),
    WAIT("task queue collect", tasks, NULL, collect_result, verify_tasks, drop),
    WAIT("pipe poll", simple_pipe, NULL, poll_end, NULL, close_pipe),
    WAIT("pipe poll (socket)", socket_pair, NULL, poll_end, NULL, close_pipe),
    WAIT("wait for several", simple_pipe, NULL, wait_for_ends, NULL, close_pipe),
    WAIT("pipe recv", simple_pipe, NULL, receive, NULL, close_pipe),
    WAIT("pipe recv (socket)", socket_pair, NULL, receive, NULL, close_pipe),
    WAIT("pipe recv_fds", socket_pair, NULL, receive_descriptors, NULL, close_pipe),
    WAIT("pipe send", full_pipe, NULL, send_bytes, NULL, close_pipe),
    WAIT("pipe send (socket)", full_socket, NULL, send_bytes, NULL, close_pipe),
    WAIT("channel recv", open_channel, NULL, receive_from_channel, verify_channel, close_channel),
    WAIT("channel recv (ring)", open_ring, NULL, receive_from_channel, verify_channel,
         close_channel),
    WAIT("channel poll (ring)", open_ring, NULL, poll_channel, verify_channel, close_channel),
    WAIT("pipe send_fds", full_socket, NULL, send_descriptors, NULL, close_pipe),
};

int main(int argc, char **argv) {
    return interrupt_main(waits, sizeof waits / sizeof waits[0], argc, argv);
}
