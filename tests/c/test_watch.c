/*
 * test_watch.c - waiting with a descriptor
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/family.h"
#include "core/object.h"
#include "made.h"
#include "members.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

static bool readable(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    CHECK_GE(fd, 0);
    return poll(&one, 1, 0) == 1;
}

/* The timer may tick just now; asking again arms it again. */
#define CHECK_QUIET(ask)                                                                           \
    do {                                                                                           \
        bool quiet = false;                                                                        \
        for (int i = 0; i < 100 && !quiet; i++) {                                                  \
            quiet = !readable(ask);                                                                \
        }                                                                                          \
        CHECK(quiet);                                                                              \
    } while (0)

static int asked_again(mproc_watch *watch) {
    CHECK_EQ(mproc_watch_next(watch), -EAGAIN);
    return mproc_watch_fd(watch);
}

static void wait_readable(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    CHECK_EQ(poll(&one, 1, -1), 1);
}

static bool take_one(mproc_queue *queue) {
    char room[16];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_queue_get(queue, &message, 0);
    CHECK(r == 0 || r == -ETIMEDOUT || r == MPROC_ECLOSED);
    if (r == 0) {
        mproc_message_drop(&message);
    }
    return r == 0;
}

static void put_one(void *queue) {
    CHECK_OK(mproc_queue_put(queue, "x", 1, MPROC_FOREVER));
}

/* How many rows of the family's table are in use. */
static int bells_taken(void) {
    int n = 0;
    for (int i = 0; i < MPROC__BELLS; i++) {
        n += mproc__family->bells.rows[i].owner != 0;
    }
    return n;
}

TEST(watch_queue_fd_is_readable_while_a_message_is_there) {
    mproc_queue *queue = made_queue(0);
    int fd = mproc_queue_fd(queue, MPROC_WATCH_GET);
    CHECK_QUIET(mproc_queue_fd(queue, MPROC_WATCH_GET));
    put_one(queue);
    CHECK(readable(fd));
    CHECK_EQ(mproc_queue_fd(queue, MPROC_WATCH_GET), fd); /* still there: still readable */
    CHECK(readable(fd));
    CHECK(take_one(queue));
    CHECK_EQ(mproc_queue_fd(queue, MPROC_WATCH_GET), fd);
    CHECK_QUIET(mproc_queue_fd(queue, MPROC_WATCH_GET));
    CHECK_OK(mproc_fd_drop(fd));
    CHECK_EQ(mproc_fd_drop(fd), -EBADF);
    CHECK_EQ(bells_taken(), 0);
    mproc_drop(queue);
}

TEST(watch_queue_fd_of_put_is_readable_while_there_is_room) {
    mproc_queue *queue = made_queue(1);
    int fd = mproc_queue_fd(queue, MPROC_WATCH_PUT);
    CHECK(readable(fd));
    put_one(queue);
    CHECK_EQ(mproc_queue_fd(queue, MPROC_WATCH_PUT), fd);
    CHECK_QUIET(mproc_queue_fd(queue, MPROC_WATCH_PUT));
    CHECK(take_one(queue));
    CHECK(readable(fd));
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(queue);
}

TEST(watch_queue_fd_of_join_is_readable_when_all_is_done) {
    mproc_queue *queue = made_queue(0);
    put_one(queue);
    int fd = mproc_queue_fd(queue, MPROC_WATCH_JOIN);
    CHECK_QUIET(mproc_queue_fd(queue, MPROC_WATCH_JOIN));
    CHECK(take_one(queue));
    CHECK_QUIET(mproc_queue_fd(queue, MPROC_WATCH_JOIN));
    CHECK_OK(mproc_queue_task_done(queue));
    CHECK(readable(fd));
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(queue);
}

TEST(watch_queue_fd_is_readable_when_the_queue_is_closed) {
    mproc_queue *queue = made_queue(1);
    int get = mproc_queue_fd(queue, MPROC_WATCH_GET);
    put_one(queue);
    CHECK(take_one(queue));
    CHECK_EQ(mproc_queue_fd(queue, MPROC_WATCH_GET), get);
    CHECK_QUIET(mproc_queue_fd(queue, MPROC_WATCH_GET));
    mproc_queue_close(queue);
    CHECK(readable(get));
    CHECK_OK(mproc_fd_drop(get));
    mproc_drop(queue);
}

TEST(watch_event_fd_is_readable_when_it_is_set) {
    mproc_event *event = made_event();
    int fd = mproc_event_fd(event);
    CHECK_QUIET(mproc_event_fd(event));
    mproc_event_set(event);
    CHECK(readable(fd));
    mproc_event_clear(event);
    CHECK_EQ(mproc_event_fd(event), fd);
    CHECK_QUIET(mproc_event_fd(event));
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(event);
}

TEST(watch_semaphore_fd_is_readable_while_there_is_a_permit) {
    mproc_semaphore *semaphore = made_semaphore(0);
    int fd = mproc_semaphore_fd(semaphore);
    CHECK_QUIET(mproc_semaphore_fd(semaphore));
    CHECK_OK(mproc_semaphore_release(semaphore));
    CHECK(readable(fd));
    CHECK_OK(mproc_semaphore_acquire(semaphore, 0));
    CHECK_EQ(mproc_semaphore_fd(semaphore), fd);
    CHECK_QUIET(mproc_semaphore_fd(semaphore));
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(semaphore);
}

TEST(watch_bsemaphore_fd_is_readable_while_there_is_a_permit) {
    mproc_bsemaphore *semaphore = made_bsemaphore(1);
    CHECK_OK(mproc_bsemaphore_acquire(semaphore, 0));
    int fd = mproc_bsemaphore_fd(semaphore);
    CHECK_QUIET(mproc_bsemaphore_fd(semaphore));
    CHECK_OK(mproc_bsemaphore_release(semaphore));
    CHECK(readable(fd));
    CHECK_OK(mproc_fd_drop(fd));
    CHECK_OK(mproc_bsemaphore_check(semaphore, NULL, 0));
    mproc_drop(semaphore);
}

TEST(watch_lock_fd_is_readable_when_it_is_free) {
    mproc_lock *lock = made_lock(0);
    int fd = mproc_lock_fd(lock);
    CHECK(readable(fd));
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_EQ(mproc_lock_fd(lock), fd);
    CHECK_QUIET(mproc_lock_fd(lock));
    CHECK_OK(mproc_lock_release(lock));
    CHECK(readable(fd));
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(lock);
}

static void hold_it(void *lock) {
    CHECK_OK(mproc_lock_acquire(lock, MPROC_FOREVER));
}

/* Nobody rings; the timer does. */
TEST(watch_lock_fd_is_readable_when_the_holder_has_died) {
    mproc_lock *lock = made_lock(0);
    child_join(child_fork(hold_it, lock));
    int fd = mproc_lock_fd(lock);
    wait_readable(fd);
    CHECK_EQ(mproc_lock_acquire(lock, MPROC_MSEC / 10), -EOWNERDEAD);
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(lock);
}

TEST(watch_fd_is_told_by_another_process) {
    mproc_queue *queue = made_queue(0);
    int fd = mproc_queue_fd(queue, MPROC_WATCH_GET);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    for (int i = 0; i < 3; i++) {
        pid_t child = child_fork(put_one, queue);
        while (!take_one(queue)) {
            CHECK_EQ(epoll_wait(epoll, &event, 1, -1), 1);
            CHECK_EQ(mproc_queue_fd(queue, MPROC_WATCH_GET), fd);
        }
        child_join(child);
    }
    close(epoll);
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(queue);
}

static void get_by_descriptor(void *queue) {
    int fd = mproc_queue_fd(queue, MPROC_WATCH_GET);
    while (!take_one(queue)) {
        wait_readable(fd);
        CHECK_EQ(mproc_queue_fd(queue, MPROC_WATCH_GET), fd);
    }
}

/* The child's descriptor is another one than that which it has inherited. */
TEST(watch_fd_of_several_processes_at_once) {
    mproc_queue *queue = made_queue(0);
    int fd = mproc_queue_fd(queue, MPROC_WATCH_GET);
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = child_fork(get_by_descriptor, queue);
    }
    for (int i = 0; i < 3; i++) {
        put_one(queue);
    }
    for (int i = 0; i < 3; i++) {
        child_join(children[i]);
    }
    CHECK_EQ(mproc_queue_count(queue), 0);
    CHECK_OK(mproc_fd_drop(fd));
    (void)mproc_reap();
    CHECK_EQ(bells_taken(), 0);
    mproc_drop(queue);
}

static void arm_and_die(void *queue) {
    CHECK_GE(mproc_queue_fd(queue, MPROC_WATCH_GET), 0);
    raise(SIGKILL);
}

TEST(watch_of_a_dead_process_is_cleared_away) {
    mproc_queue *queue = made_queue(0);
    int status;
    pid_t child = child_fork(arm_and_die, queue);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(bells_taken(), 1);
    put_one(queue); /* rings at nobody */
    (void)mproc_reap();
    CHECK_EQ(bells_taken(), 0);
    CHECK_EQ(mproc_holds(queue), 1);
    mproc_drop(queue);
}

TEST(watch_is_one_descriptor_for_several_things) {
    mproc_watch *watch;
    mproc_queue *queue = made_queue(0);
    mproc_event *event = made_event();
    CHECK_OK(mproc_watch_new(&watch));
    int get = mproc_watch_add(watch, queue, MPROC_WATCH_GET);
    int set = mproc_watch_add(watch, event, MPROC_WATCH_WAIT);
    CHECK_EQ(mproc_watch_arm(watch, get), 0);
    CHECK_EQ(mproc_watch_arm(watch, set), 0);
    CHECK_QUIET(asked_again(watch));
    put_one(queue);
    CHECK(readable(mproc_watch_fd(watch)));
    CHECK_EQ(mproc_watch_next(watch), get);
    CHECK_QUIET(asked_again(watch));
    put_one(queue); /* nobody asked again */
    CHECK_QUIET(asked_again(watch));
    CHECK_EQ(mproc_watch_arm(watch, get), 1); /* it would succeed */
    CHECK_EQ(mproc_watch_disarm(watch, set), 0);
    mproc_event_set(event);
    CHECK_EQ(mproc_watch_next(watch), -EAGAIN);
    CHECK_OK(mproc_watch_remove(watch, get));
    CHECK_EQ(mproc_watch_remove(watch, get), -EINVAL);
    CHECK_EQ(mproc_watch_add(watch, event, MPROC_WATCH_WAIT), get); /* the lowest free number */
    CHECK_EQ(mproc_watch_add(watch, event, MPROC_WATCH_GET), -EINVAL);
    mproc_watch_drop(watch);
    mproc_watch_drop(NULL);
    CHECK_EQ(bells_taken(), 0);
    CHECK_EQ(mproc_holds(queue), 1);
    mproc_drop(event);
    mproc_drop(queue);
}

static void use_inherited(void *arg) {
    mproc_watch *watch = arg;
    CHECK_EQ(mproc_watch_arm(watch, 0), MPROC_ESTRANGER);
    CHECK_EQ(mproc_watch_disarm(watch, 0), MPROC_ESTRANGER);
    CHECK_EQ(mproc_watch_remove(watch, 0), MPROC_ESTRANGER);
    CHECK_EQ(mproc_watch_next(watch), MPROC_ESTRANGER);
    mproc_watch_drop(watch);
}

TEST(watch_of_a_parent_is_no_watch_of_its_child) {
    mproc_watch *watch;
    mproc_queue *queue = made_queue(0);
    CHECK_OK(mproc_watch_new(&watch));
    CHECK_EQ(mproc_watch_add(watch, queue, MPROC_WATCH_GET), 0);
    CHECK_EQ(mproc_watch_arm(watch, 0), 0);
    child_join(child_fork(use_inherited, watch));
    put_one(queue); /* still rings here */
    CHECK(readable(mproc_watch_fd(watch)));
    CHECK_EQ(mproc_watch_next(watch), 0);
    mproc_watch_drop(watch);
    mproc_drop(queue);
}

/* As if the members that make changes from now on were killed before they ring. */
static void silence_bells(void) {
    for (int i = 0; i < MPROC__BELLS; i++) {
        memset(mproc__family->bells.rows[i].address, 'x', MPROC__BELL_ADDRESS);
    }
}

TEST(watch_ticks_when_nobody_rings) {
    mproc_watch *watch;
    mproc_queue *queue = made_queue(0);
    CHECK_OK(mproc_watch_new(&watch));
    CHECK_EQ(mproc_watch_add(watch, queue, MPROC_WATCH_GET), 0);
    CHECK_EQ(mproc_watch_arm(watch, 0), 0);
    silence_bells();
    put_one(queue);
    wait_readable(mproc_watch_fd(watch));
    CHECK_EQ(mproc_watch_next(watch), 0);
    mproc_watch_drop(watch);
    mproc_drop(queue);
}

TEST(watch_tells_of_an_event_that_was_set_in_silence_and_is_cleared) {
    mproc_watch *watch;
    mproc_event *event = made_event();
    CHECK_OK(mproc_watch_new(&watch));
    CHECK_EQ(mproc_watch_add(watch, event, MPROC_WATCH_WAIT), 0);
    CHECK_EQ(mproc_watch_arm(watch, 0), 0);
    silence_bells();
    mproc_event_set(event);
    mproc_event_clear(event);
    wait_readable(mproc_watch_fd(watch));
    CHECK_EQ(mproc_watch_next(watch), 0);
    CHECK_EQ(mproc_watch_arm(watch, 0), 0); /* who comes now waits */
    mproc_watch_drop(watch);
    mproc_drop(event);
}

/* ---------------------------------------------------------------- tickets */

static void notify_one(void *condition) {
    mproc_condition_notify(condition, 1);
}

TEST(watch_condition_fd_is_readable_when_the_ticket_is_notified) {
    mproc_condition *condition = made_condition();
    mproc_ticket one, two;
    CHECK_OK(mproc_condition_begin(condition, &one));
    CHECK_OK(mproc_condition_begin(condition, &two));
    CHECK_EQ(mproc_condition_waiting(condition), 2);
    int fd = mproc_condition_fd(condition, &one);
    CHECK_QUIET(mproc_condition_fd(condition, &one));
    child_join(child_fork(notify_one, condition));
    CHECK(readable(fd));
    CHECK_EQ(mproc_condition_notified(condition, &one), 1);
    CHECK_EQ(mproc_condition_notified(condition, &two), 0);
    CHECK_QUIET(mproc_condition_fd(condition, &two));
    CHECK_EQ(mproc_condition_fd(condition, &one), fd); /* it was notified before it was asked */
    CHECK(readable(fd));
    CHECK_OK(mproc_condition_end(condition, &one));
    CHECK_EQ(mproc_condition_end(condition, &one), -EINVAL);
    CHECK_EQ(mproc_condition_end(condition, &two), -ETIMEDOUT);
    CHECK_EQ(mproc_condition_waiting(condition), 0);
    CHECK_OK(mproc_condition_check(condition, NULL, 0));
    CHECK_OK(mproc_fd_drop(fd));
    mproc_drop(condition);
}

static void begin_at(void *condition) {
    mproc_ticket ticket;
    CHECK_OK(mproc_condition_begin(condition, &ticket));
    pause();
}

/* A notified member is killed before it looks; the descriptor's tick hands the notification on. */
TEST(watch_condition_fd_gets_the_notification_of_a_dead_member) {
    mproc_condition *condition = made_condition();
    mproc_ticket mine;
    pid_t first = child_fork(begin_at, condition);
    while (mproc_condition_waiting(condition) == 0) {
        usleep(200);
    }
    CHECK_OK(mproc_condition_begin(condition, &mine));
    int fd = mproc_condition_fd(condition, &mine);
    mproc_condition_notify(condition, 1);
    CHECK_EQ(mproc_condition_notified(condition, &mine), 0);
    child_kill(first);
    while (mproc_condition_notified(condition, &mine) == 0) {
        wait_readable(fd);
        CHECK_EQ(mproc_condition_fd(condition, &mine), fd);
    }
    CHECK_OK(mproc_condition_end(condition, &mine));
    CHECK_OK(mproc_condition_check(condition, NULL, 0));
    CHECK_OK(mproc_fd_drop(fd));
    (void)mproc_reap();
    mproc_drop(condition);
}

static void pass_barrier(void *barrier) {
    CHECK_OK(mproc_barrier_wait(barrier, MPROC_FOREVER, NULL));
}

TEST(watch_barrier_fd_is_readable_when_all_have_come) {
    mproc_barrier *barrier = made_barrier(2);
    mproc_ticket ticket;
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(mproc_barrier_begin(barrier, 0, &ticket), -EAGAIN);
        int fd = mproc_barrier_fd(barrier, &ticket);
        CHECK_QUIET(mproc_barrier_fd(barrier, &ticket));
        CHECK_EQ(mproc_barrier_try(barrier, &ticket), -EAGAIN);
        child_join(child_fork(pass_barrier, barrier));
        CHECK(readable(fd));
        CHECK_EQ(mproc_barrier_fd(barrier, &ticket), fd);
        CHECK(readable(fd));
        CHECK_OK(mproc_barrier_try(barrier, &ticket));
        CHECK_EQ(ticket.index, 0);
        CHECK_EQ(mproc_barrier_try(barrier, &ticket), -EINVAL);
        CHECK_OK(mproc_fd_drop(fd));
    }
    CHECK_OK(mproc_barrier_check(barrier, NULL, 0));
    mproc_drop(barrier);
}

TEST(watch_barrier_ticket_that_is_given_up_has_not_come) {
    mproc_barrier *barrier = made_barrier(2);
    mproc_ticket one, two;
    CHECK_EQ(mproc_barrier_begin(barrier, 0, &one), -EAGAIN);
    CHECK_EQ(mproc_barrier_end(barrier, &one), -EAGAIN);
    CHECK_EQ(mproc_barrier_waiting(barrier), 0);
    CHECK_EQ(mproc_barrier_begin(barrier, 0, &one), -EAGAIN);
    CHECK_OK(mproc_barrier_begin(barrier, 0, &two));
    CHECK_EQ(two.index, 1);
    CHECK_OK(mproc_barrier_end(barrier, &one)); /* too late: all had come */
    CHECK_OK(mproc_barrier_check(barrier, NULL, 0));
    mproc_drop(barrier);
}

/* The party that gives up while the action runs was counted; the entry is used again later. */
TEST(watch_barrier_ticket_that_is_given_up_while_the_action_runs) {
    mproc_barrier *barrier = made_barrier(2);
    for (int i = 0; i < 20; i++) {
        mproc_ticket one, two, late;
        CHECK_EQ(mproc_barrier_begin(barrier, 1, &one), -EAGAIN);
        CHECK_EQ(mproc_barrier_begin(barrier, 1, &two), 1);
        CHECK_EQ(mproc_barrier_begin(barrier, 1, &late), -EAGAIN);
        CHECK_OK(mproc_barrier_end(barrier, &one));
        CHECK_EQ(mproc_barrier_try(barrier, &late), -EAGAIN);
        CHECK_OK(mproc_barrier_check(barrier, NULL, 0));
        CHECK_OK(mproc_barrier_open(barrier));
        CHECK_EQ(mproc_barrier_try(barrier, &late), -EAGAIN); /* it has come to the next one */
        CHECK_EQ(mproc_barrier_waiting(barrier), 1);
        CHECK_EQ(mproc_barrier_end(barrier, &late), -EAGAIN);
    }
    CHECK_OK(mproc_barrier_check(barrier, NULL, 0));
    mproc_drop(barrier);
}

static void come_and_stay(void *barrier) {
    mproc_ticket ticket;
    CHECK_EQ(mproc_barrier_begin(barrier, 0, &ticket), -EAGAIN);
    pause();
}

TEST(watch_barrier_fd_tells_that_a_party_has_died) {
    mproc_barrier *barrier = made_barrier(3);
    mproc_ticket ticket;
    pid_t child = child_fork(come_and_stay, barrier);
    while (mproc_barrier_waiting(barrier) == 0) {
        usleep(200);
    }
    CHECK_EQ(mproc_barrier_begin(barrier, 0, &ticket), -EAGAIN);
    int fd = mproc_barrier_fd(barrier, &ticket), r;
    child_kill(child);
    while ((r = mproc_barrier_try(barrier, &ticket)) == -EAGAIN) {
        wait_readable(fd);
        CHECK_EQ(mproc_barrier_fd(barrier, &ticket), fd);
    }
    CHECK_EQ(r, MPROC_EBROKEN);
    CHECK_OK(mproc_fd_drop(fd));
    (void)mproc_reap();
    mproc_drop(barrier);
}

TEST(watch_check_sees_a_bell_of_nobody) {
    char why[80] = "";
    CHECK_OK(mproc_member_check(why, sizeof why));
    mproc__family->bells.top = 1;
    mproc__family->bells.rows[0].armed = 1;
    CHECK_EQ(mproc_member_check(why, sizeof why), MPROC_ECORRUPT);
    CHECK(strstr(why, "W1") != NULL);
    mproc__family->bells.rows[0].armed = 0;
    mproc__family->bells.rows[1].owner = mproc__self_token();
    CHECK_EQ(mproc_member_check(why, sizeof why), MPROC_ECORRUPT);
    CHECK(strstr(why, "W3") != NULL);
    mproc__family->bells.rows[1].owner = 0;
}

/* Messages to several processes that sleep, or wait with a descriptor: none is left over. */
struct crowd {
    mproc_queue *queue;
    uint64_t got;
};

#define EACH 2000

static void take_some(void *arg) {
    struct crowd *crowd = arg;
    int fd = mproc_queue_fd(crowd->queue, MPROC_WATCH_GET);
    while (mproc__load64(&crowd->got) < (uint64_t)4 * EACH) {
        if (take_one(crowd->queue)) {
            mproc__add64(&crowd->got, 1);
        } else {
            struct pollfd one = {fd, POLLIN, 0};
            CHECK_EQ(mproc_queue_fd(crowd->queue, MPROC_WATCH_GET), fd);
            (void)poll(&one, 1, 10);
        }
    }
}

static void put_some(void *arg) {
    struct crowd *crowd = arg;
    for (int i = 0; i < EACH; i++) {
        put_one(crowd->queue);
    }
}

TEST(watch_stress) {
    struct crowd *crowd = mproc_calloc(1, sizeof *crowd);
    pid_t children[8];
    crowd->queue = made_queue(16);
    for (int i = 0; i < 8; i++) {
        children[i] = child_fork(i < 4 ? take_some : put_some, crowd);
    }
    for (int i = 0; i < 8; i++) {
        child_join(children[i]);
    }
    CHECK_EQ(crowd->got, 4 * EACH);
    CHECK_OK(mproc_queue_check(crowd->queue, NULL, 0));
    (void)mproc_reap();
    CHECK_EQ(bells_taken(), 0);
    mproc_drop(crowd->queue);
    mproc_free(crowd);
}
