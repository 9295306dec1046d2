/*
 * crash_straight.c - locks, their like and containers, before survivors that only try
 *
 * SPDX-License-Identifier: MIT
 *
 * A check of an object takes its locks, and so mends what a dead member had half done; and who
 * waits looks for the dead when a slice ends. The survivors here do neither: they try, between
 * other work, as a program does that knows of no death, and what they look for comes. Only at the
 * end do they check. Those of queues stand in crash_queue_straight.c, those of channels in
 * crash_channel.c.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define PARTIES 3

/* ---- what is tried until it succeeds; who never does so hangs, and fails the point */

static int until_had(int (*try_)(void *), void *object) {
    int r;
    while ((r = try_(object)) == -ETIMEDOUT || r == -EAGAIN) {
        sched_yield();
    }
    return r;
}

static void dropped(void *object) {
    mproc_drop(object);
}

/* ---- lock */

static void *make_lock(void) {
    mproc_lock *lock = made_lock(0);
    crash_require(lock != NULL);
    return lock;
}

static void use_lock(void *lock) {
    if (mproc_lock_acquire(lock, CRASH_SOON) != 0 || mproc_lock_release(lock) != 0) {
        abort();
    }
}

static int try_lock(void *lock) {
    return mproc_lock_acquire(lock, 0);
}

static void verify_lock(void *lock) {
    int r = until_had(try_lock, lock);
    crash_require(r == 0 || (r == -EOWNERDEAD && !crash_returned()));
    crash_equal(mproc_lock_release(lock), 0);
    crash_equal(try_lock(lock), 0);
    crash_equal(mproc_lock_release(lock), 0);
    crash_check(mproc_lock_check(lock, why, sizeof why));
}

/* ---- recursive lock */

static void *make_rlock(void) {
    mproc_rlock *lock = made_rlock();
    crash_require(lock != NULL);
    return lock;
}

static void use_rlock(void *lock) {
    if (mproc_rlock_acquire(lock, CRASH_SOON) != 0 || mproc_rlock_release(lock) != 0) {
        abort();
    }
}

static void store_number(void *lock) {
    uint64_t one = 1;
    if (mproc_rlock_store(lock, sizeof one, crash_room(), &one) != 0) {
        abort();
    }
}

static int try_rlock(void *lock) {
    return mproc_rlock_acquire(lock, 0);
}

static void verify_rlock(void *lock) {
    int r = until_had(try_rlock, lock);
    crash_require(r == 0 || (r == -EOWNERDEAD && !crash_returned()));
    crash_equal(mproc_rlock_depth(lock), 1);
    crash_equal(try_rlock(lock), 0);
    crash_equal(mproc_rlock_release(lock), 0);
    crash_equal(mproc_rlock_release(lock), 0);
    crash_check(mproc_rlock_check(lock, why, sizeof why));
}

/* ---- bounded semaphore */

static void *make_bsemaphore(void) {
    mproc_bsemaphore *semaphore = made_bsemaphore(2);
    crash_require(semaphore != NULL);
    return semaphore;
}

/* The survivor has one of the two permits, so both are counted in the ledger. */
static void *make_shared_bsemaphore(void) {
    mproc_bsemaphore *semaphore = make_bsemaphore();
    crash_equal(mproc_bsemaphore_acquire(semaphore, 0), 0);
    return semaphore;
}

static void acquire_bsemaphore(void *semaphore) {
    if (mproc_bsemaphore_acquire(semaphore, CRASH_SOON) != 0) {
        abort();
    }
}

static void use_bsemaphore(void *semaphore) {
    acquire_bsemaphore(semaphore);
    if (mproc_bsemaphore_release(semaphore) != 0) {
        abort();
    }
}

static int try_bsemaphore(void *semaphore) {
    return mproc_bsemaphore_acquire(semaphore, 0);
}

static void verify_permits(mproc_bsemaphore *semaphore, unsigned more) {
    for (unsigned i = 0; i < more; i++) {
        crash_equal(until_had(try_bsemaphore, semaphore), 0);
    }
    crash_equal(mproc_bsemaphore_acquire(semaphore, 0), -ETIMEDOUT);
    crash_equal(mproc_bsemaphore_release(semaphore), 0);
    crash_equal(mproc_bsemaphore_release(semaphore), 0);
    crash_equal(mproc_bsemaphore_release(semaphore), MPROC_ENOTHELD);
    crash_check(mproc_bsemaphore_check(semaphore, why, sizeof why));
}

static void verify_bsemaphore(void *semaphore) {
    verify_permits(semaphore, 2);
}

static void verify_shared_bsemaphore(void *semaphore) {
    verify_permits(semaphore, 1);
}

/* ---- event */

static void *make_event(void) {
    mproc_event *event = made_event();
    crash_require(event != NULL);
    return event;
}

static void set_event(void *event) {
    mproc_event_set(event);
}

static int try_event(void *event) {
    return mproc_event_wait(event, 0);
}

static void verify_event(void *event) {
    int r = try_event(event);
    crash_require(r == 0 || !crash_returned());
    mproc_event_set(event);
    crash_equal(try_event(event), 0);
}

/* ---- barrier */

struct meeting {
    mproc_barrier *barrier;
    mproc_ticket ticket;
};

static void *make_meeting(unsigned parties) {
    struct meeting *m = crash_room();
    m->barrier = made_barrier(parties);
    crash_require(m->barrier != NULL);
    return m;
}

static void *make_barrier(void) {
    return make_meeting(PARTIES);
}

static void *make_barrier_of_one(void) {
    return make_meeting(1);
}

static void come(void *object) {
    const struct meeting *m = object;
    mproc_ticket ticket;
    if (mproc_barrier_begin(m->barrier, 0, &ticket) != -EAGAIN) {
        abort();
    }
}

static void act(void *object) {
    const struct meeting *m = object;
    if (mproc_barrier_arrive(m->barrier, CRASH_SOON, NULL) != 1 ||
        mproc_barrier_open(m->barrier) != 0) {
        abort();
    }
}

static int try_barrier(void *object) {
    struct meeting *m = object;
    return mproc_barrier_try(m->barrier, &m->ticket);
}

static void still_works(mproc_barrier *barrier) {
    mproc_barrier_reset(barrier);
    crash_check(mproc_barrier_check(barrier, why, sizeof why));
    crash_equal(mproc_barrier_broken(barrier), 0);
    crash_equal(mproc_barrier_waiting(barrier), 0);
}

/* Who has come and died breaks the barrier. If the victim has not come, the survivor is alone. */
static void verify_barrier(void *object) {
    struct meeting *m = object;
    int r = mproc_barrier_begin(m->barrier, 0, &m->ticket);
    crash_require(r == -EAGAIN || r == MPROC_EBROKEN);
    if (r == -EAGAIN && mproc_barrier_waiting(m->barrier) == 1) {
        crash_require(!crash_returned());
        crash_equal(mproc_barrier_end(m->barrier, &m->ticket), -EAGAIN);
    } else if (r == -EAGAIN) {
        crash_equal(until_had(try_barrier, m), MPROC_EBROKEN);
    }
    still_works(m->barrier);
}

static void verify_acted(void *object) {
    struct meeting *m = object;
    int r = mproc_barrier_begin(m->barrier, 0, &m->ticket);
    if (r == -EAGAIN) {
        crash_require(!crash_returned());
        r = until_had(try_barrier, m);
    }
    crash_require(r == 0 || (r == MPROC_EBROKEN && !crash_returned()));
    still_works(m->barrier);
}

static void leave_barrier(void *object) {
    const struct meeting *m = object;
    mproc_drop(m->barrier);
}

/* ---- dict */

static void *make_dict(void) {
    mproc_dict *dict = made_dict();
    crash_require(dict != NULL);
    crash_equal(mproc_dict_set(dict, "key", 3, "old", 3), 0);
    return dict;
}

static void set_entry(void *dict) {
    if (mproc_dict_set(dict, "key", 3, "new", 3) != 0) {
        abort();
    }
}

static void insert_entry(void *dict) {
    if (mproc_dict_set(dict, "other", 5, "new", 3) != 0) {
        abort();
    }
}

static void delete_entry(void *dict) {
    if (mproc_dict_delete(dict, "key", 3, MPROC_DICT_ANY) != 0) {
        abort();
    }
}

static void clear_dict(void *dict) {
    mproc_dict_clear(dict);
}

static bool has(mproc_dict *dict, const char *key, const char *value) {
    char room[8];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_dict_get(dict, key, strlen(key), &message, NULL);
    crash_require(r == 0 || r == -ENOENT);
    return r == 0 && message.size == strlen(value) && memcmp(room, value, message.size) == 0;
}

static void still_a_dict(mproc_dict *dict) {
    crash_equal(mproc_dict_set(dict, "key", 3, "last", 4), 0);
    crash_require(has(dict, "key", "last"));
    crash_check(mproc_dict_check(dict, why, sizeof why));
}

static void verify_set(void *dict) {
    bool new = has(dict, "key", "new");
    crash_require(new || (!crash_returned() && has(dict, "key", "old")));
    crash_equal(mproc_dict_count(dict), 1);
    still_a_dict(dict);
}

/* Counted first: what is counted is there. */
static void verify_inserted(void *dict) {
    uint64_t count = mproc_dict_count(dict);
    bool new = has(dict, "other", "new");
    crash_require(new || !crash_returned());
    crash_require(has(dict, "key", "old"));
    crash_equal(count, 1 + new);
    still_a_dict(dict);
}

static void verify_gone(void *dict) {
    uint64_t count = mproc_dict_count(dict);
    bool old = has(dict, "key", "old");
    crash_require(!old || !crash_returned());
    crash_equal(count, old);
    still_a_dict(dict);
}

/* ---- list */

static void *make_list(void) {
    mproc_list *list = made_list();
    crash_require(list != NULL);
    crash_equal(mproc_list_append(list, "a", 1), 0);
    crash_equal(mproc_list_append(list, "b", 1), 0);
    crash_equal(mproc_list_append(list, "c", 1), 0);
    return list;
}

static void append_element(void *list) {
    if (mproc_list_append(list, "x", 1) != 0) {
        abort();
    }
}

static void insert_element(void *list) {
    if (mproc_list_insert(list, 1, "x", 1) != 0) {
        abort();
    }
}

static void delete_element(void *list) {
    if (mproc_list_delete(list, 1, MPROC_LIST_ANY) != 0) {
        abort();
    }
}

/* Takes all elements out from the end, and says what they were, the last first. */
static void pop_all(mproc_list *list, char text[8]) {
    size_t n = 0;
    int r = 0;
    while (r == 0) {
        char room[8];
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        r = mproc_list_pop(list, -1, &message);
        if (r == 0) {
            crash_require(n < 7 && message.size == 1);
            text[n++] = room[0];
        }
    }
    crash_equal(r, -ERANGE);
    crash_equal(mproc_list_count(list), 0);
    text[n] = 0;
}

static void verify_list(mproc_list *list, const char *after) {
    char text[8];
    uint64_t count = mproc_list_count(list);
    pop_all(list, text);
    crash_equal(count, strlen(text));
    crash_require(strcmp(text, after) == 0 || (!crash_returned() && strcmp(text, "cba") == 0));
    crash_equal(mproc_list_append(list, "z", 1), 0);
    crash_check(mproc_list_check(list, why, sizeof why));
}

static void verify_appended(void *list) {
    verify_list(list, "xcba");
}

static void verify_inserted_element(void *list) {
    verify_list(list, "cbxa");
}

static void verify_deleted(void *list) {
    verify_list(list, "ca");
}

#define OP(title, setup_, operate_, verify_, teardown_)                                            \
    {                                                                                              \
        .name = title, .setup = setup_, .operate = operate_, .verify = verify_,                    \
        .teardown = teardown_                                                                      \
    }

static const struct crash_op ops[] = {
    OP("lock acquire and release, then tries", make_lock, use_lock, verify_lock, dropped),
    OP("rlock acquire and release, then tries", make_rlock, use_rlock, verify_rlock, dropped),
    OP("rlock store, then tries", make_rlock, store_number, verify_rlock, dropped),
    OP("bounded semaphore acquire, then tries", make_bsemaphore, acquire_bsemaphore,
       verify_bsemaphore, dropped),
    OP("bounded semaphore acquire and release, then tries", make_bsemaphore, use_bsemaphore,
       verify_bsemaphore, dropped),
    OP("bounded semaphore acquire beside another, then tries", make_shared_bsemaphore,
       acquire_bsemaphore, verify_shared_bsemaphore, dropped),
    OP("bounded semaphore acquire and release beside another, then tries", make_shared_bsemaphore,
       use_bsemaphore, verify_shared_bsemaphore, dropped),
    OP("event set, then tries", make_event, set_event, verify_event, dropped),
    OP("barrier begin, then tries", make_barrier, come, verify_barrier, leave_barrier),
    OP("barrier arrive and open, then tries", make_barrier_of_one, act, verify_acted,
       leave_barrier),
    OP("dict set, then gets", make_dict, set_entry, verify_set, dropped),
    OP("dict set (new), then gets", make_dict, insert_entry, verify_inserted, dropped),
    OP("dict delete, then gets", make_dict, delete_entry, verify_gone, dropped),
    OP("dict clear, then gets", make_dict, clear_dict, verify_gone, dropped),
    OP("list append, then pops", make_list, append_element, verify_appended, dropped),
    OP("list insert, then pops", make_list, insert_element, verify_inserted_element, dropped),
    OP("list delete, then pops", make_list, delete_element, verify_deleted, dropped),
};

CRASH_MAIN(ops)
