/*
 * test_event.c - the event: a flag between members
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/object.h"
#include "made.h"
#include "members.h"

#include <errno.h>

static mproc_event *make(void) {
    mproc_event *event = made_event();
    CHECK(event != NULL);
    return event;
}

TEST(event_is_a_flag) {
    mproc_event *event = make();
    CHECK_EQ(mproc_event_is_set(event), 0);
    CHECK_EQ(mproc_event_wait(event, 0), -ETIMEDOUT);
    mproc_event_clear(event);
    mproc_event_set(event);
    mproc_event_set(event);
    CHECK_EQ(mproc_event_is_set(event), 1);
    CHECK_OK(mproc_event_wait(event, 0));
    CHECK_OK(mproc_event_wait(event, MPROC_FOREVER));
    mproc_event_clear(event);
    CHECK_EQ(mproc_event_is_set(event), 0);
    CHECK_EQ(mproc_event_wait(event, 0), -ETIMEDOUT);
    CHECK_OK(mproc_event_check(event, NULL, 0));
    mproc_drop(event);
}

TEST(event_counts_how_often_it_was_set) {
    mproc_event *event = make();
    CHECK_EQ(mproc_event_times(event), 0);
    mproc_event_set(event);
    mproc_event_set(event); /* it was set already */
    mproc_event_clear(event);
    CHECK_EQ(mproc_event_times(event), 1);
    mproc_event_set(event);
    CHECK_EQ(mproc_event_times(event), 2);
    mproc_drop(event);
}

TEST(event_wait_lasts_its_timeout) {
    mproc_event *event = make();
    int64_t start = mproc__os_now();
    CHECK_EQ(mproc_event_wait(event, 20 * MPROC_MSEC), -ETIMEDOUT);
    CHECK_GE(mproc__os_now() - start, 20 * MPROC_MSEC);
    mproc_drop(event);
}

struct scene {
    mproc_event *event;
    uint64_t come, gone;
};

static void wait_once(void *arg) {
    struct scene *s = arg;
    mproc__add64(&s->come, 1);
    CHECK_OK(mproc_event_wait(s->event, MPROC_FOREVER));
    mproc__add64(&s->gone, 1);
}

static struct scene *stage(void) {
    struct scene *s = mproc_calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->event = make();
    return s;
}

static void strike(struct scene *s) {
    (void)mproc_reap();
    mproc_drop(s->event);
    mproc_free(s);
}

TEST(event_set_lets_all_sleepers_go) {
    struct scene *s = stage();
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = child_fork(wait_once, s);
    }
    for (int i = 0; i < 4; i++) {
        wait_for_futex(pids[i]);
    }
    mproc_event_set(s->event);
    for (int i = 0; i < 4; i++) {
        child_join(pids[i]);
    }
    CHECK_EQ(s->gone, 4);
    strike(s);
}

TEST(event_set_and_clear_lets_those_go_who_waited) {
    struct scene *s = stage();
    pid_t pid = child_fork(wait_once, s);
    wait_for_futex(pid);
    mproc_event_set(s->event);
    mproc_event_clear(s->event);
    child_join(pid);
    CHECK_EQ(mproc_event_wait(s->event, 0), -ETIMEDOUT);
    strike(s);
}

TEST(event_forgets_dead_waiters) {
    struct scene *s = stage();
    pid_t dead = child_fork(wait_once, s), living = child_fork(wait_once, s);
    wait_for_futex(dead);
    wait_for_futex(living);
    child_kill(dead);
    mproc_event_set(s->event);
    child_join(living);
    CHECK_EQ(s->gone, 1);
    strike(s);
}

static void wait_interrupted(void *arg) {
    struct scene *s = arg;
    handle_signal(SIGUSR1);
    mproc__store64(&s->come, 1);
    CHECK_EQ(mproc_event_wait(s->event, MPROC_FOREVER), -EINTR);
}

TEST(event_wait_ends_when_a_handler_ran) {
    struct scene *s = stage();
    pid_t pid = child_fork(wait_interrupted, s);
    wait_for_word(&s->come, 1);
    child_interrupt(pid);
    strike(s);
}

TEST(event_check_names_what_is_wrong) {
    mproc_event *event = make();
    CHECK_BREAKS(&((struct mproc__object *)(void *)event)->kind, 0,
                 mproc_event_check(event, why, sizeof why), "E");
    mproc_drop(event);
}

/* Two members send a number back and forth; what one writes before set() the other sees after
 * wait(). */
#define ROUNDS 2000

struct rally {
    mproc_event *to[2];
    uint64_t ball; /* not atomic: the events order it */
};

static void play(struct rally *r, int me) {
    for (uint64_t i = 0; i < ROUNDS; i++) {
        CHECK_OK(mproc_event_wait(r->to[me], MPROC_FOREVER));
        mproc_event_clear(r->to[me]);
        CHECK_EQ(r->ball, 2 * i + (uint64_t)me);
        r->ball++;
        mproc_event_set(r->to[1 - me]);
    }
}

static void play_first(void *arg) {
    play(arg, 0);
}

static void play_second(void *arg) {
    play(arg, 1);
}

TEST(event_stress_rally) {
    struct rally r = {{make(), make()}, 0};
    struct member_thread threads[2] = {{.run = play_first, .arg = &r},
                                       {.run = play_second, .arg = &r}};
    mproc_event_set(r.to[0]);
    member_threads_run(threads, 2);
    CHECK_EQ(r.ball, 2 * ROUNDS);
    mproc_drop(r.to[0]);
    mproc_drop(r.to[1]);
}
