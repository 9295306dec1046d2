/*
 * test_object.c - holds: the members that keep a shared object alive
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"

struct room {
    mproc_lock *lock;
    uint64_t ready, go;
};

static struct room *make(void) {
    struct room *r = mproc_calloc(1, sizeof *r);
    CHECK(r != NULL);
    r->lock = made_lock(0);
    CHECK(r->lock != NULL);
    return r;
}

static size_t used_without(struct room *r) {
    return test_arena_used() - mproc__heap_size(r);
}

TEST(object_holds_are_counted) {
    mproc_lock *lock = made_lock(0);
    CHECK_EQ(mproc_holds(lock), 1);
    for (size_t i = 1; i < 100; i++) {
        CHECK_OK(mproc_hold(lock));
        CHECK_EQ(mproc_holds(lock), i + 1);
    }
    for (size_t i = 99; i > 0; i--) {
        mproc_drop(lock);
        CHECK_EQ(mproc_holds(lock), i);
        check_family();
    }
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_OK(mproc_lock_release(lock));
    mproc_drop(lock);
    CHECK_EQ(test_arena_used(), 0);
    mproc_drop(NULL);
}

static void drop_twice(void *lock) {
    mproc_drop(lock);
    mproc_drop(lock);
}

static void drop_what_is_none(void *block) {
    mproc_drop(block);
}

TEST(object_over_release_is_asserted) {
#ifdef NDEBUG
    test_skip("assertions are off");
#endif
    mproc_lock *lock = made_lock(0);
    void *block = mproc_calloc(1, 200);
    child_aborts(drop_twice,
                 lock); /* the parent still holds the object: only the child has no hold left */
    child_aborts(drop_what_is_none, block);
    mproc_reap();
    CHECK_EQ(mproc_holds(lock), 1);
    mproc_free(block);
    mproc_drop(lock);
    check_family();
}

/* ---------------------------------------------------------------- children */

static void note_holds(void *arg) {
    struct room *r = arg;
    mproc__store64(&r->ready, mproc_holds(r->lock));
    wait_for_word(&r->go, 1);
}

TEST(object_holds_are_inherited) {
    struct room *r = make();
    CHECK_OK(mproc_hold(r->lock));
    CHECK_OK(mproc_hold(r->lock));
    pid_t pid = child_fork(note_holds, r);
    wait_for_word(&r->ready, 1);
    CHECK_EQ(r->ready, 3); /* each of its handles is a copy */
    CHECK_EQ(mproc_holds(r->lock), 3);
    for (int i = 0; i < 3; i++) {
        mproc_drop(r->lock);
    }
    check_family();
    CHECK_GT(used_without(r), 0); /* the holds of the children keep it alive */
    mproc__store64(&r->go, 1);
    child_join(pid);
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(used_without(r), 0);
    mproc_free(r);
    check_family();
}

TEST(object_held_by_other_members) {
    struct room *r = make();
    CHECK_OK(mproc_hold(r->lock));
    CHECK(!mproc_held_elsewhere(r->lock));
    pid_t pid = child_fork(note_holds, r);
    wait_for_word(&r->ready, 1);
    CHECK(mproc_held_elsewhere(r->lock));
    mproc__store64(&r->go, 1);
    child_join(pid);
    CHECK_EQ(mproc_reap(), 1);
    CHECK(!mproc_held_elsewhere(r->lock));
    CHECK(!mproc_held_elsewhere(r)); /* a block, and no object */
    mproc_drop(r->lock);
    mproc_drop(r->lock);
    mproc_free(r);
    check_family();
}

static void use_until_told(void *arg) {
    struct room *r = arg;
    mproc__add64(&r->ready, 1);
    while (mproc__load64(&r->go) == 0) {
        int e = mproc_lock_acquire(r->lock, MPROC_FOREVER);
        CHECK(e == 0 || e == -EOWNERDEAD);
        CHECK_OK(mproc_lock_release(r->lock));
    }
}

TEST(object_dropped_by_its_maker_while_a_child_uses_it) {
    struct room *r = make();
    pid_t pid = child_fork(use_until_told, r);
    wait_for_word(&r->ready, 1);
    mproc_drop(r->lock);
    void *noise[200]; /* these would get the memory of the object if it were free */
    for (int i = 0; i < 200; i++) {
        noise[i] = mproc_alloc(mproc__heap_size(r->lock));
        CHECK(noise[i] != (void *)r->lock);
        memset(noise[i], 0xff, mproc__heap_size(r->lock));
    }
    mproc__store64(&r->go, 1);
    child_join(pid);
    for (int i = 0; i < 200; i++) {
        mproc_free(noise[i]);
    }
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(used_without(r), 0);
    mproc_free(r);
}

static void drop_all_and_wait(void *arg) {
    struct room *r = arg;
    while (mproc_holds(r->lock) > 0) {
        mproc_drop(r->lock);
    }
    mproc__store64(&r->ready, 1);
    sleep_until_killed();
}

TEST(object_dropped_by_a_child_stays_its_makers) {
    struct room *r = make();
    CHECK_OK(mproc_hold(r->lock));
    pid_t pid = child_fork(drop_all_and_wait, r);
    wait_for_word(&r->ready, 1);
    CHECK_EQ(mproc_holds(r->lock), 2);
    CHECK_OK(mproc_lock_acquire(r->lock, 0));
    CHECK_OK(mproc_lock_release(r->lock));
    child_kill(pid);
    CHECK_EQ(mproc_reap(), 1);
    CHECK_EQ(mproc_holds(r->lock), 2);
    mproc_drop(r->lock);
    mproc_drop(r->lock);
    CHECK_EQ(used_without(r), 0);
    mproc_free(r);
}

static void make_and_leave(void *arg) {
    for (int i = 0; i < 5; i++) {
        mproc_lock *lock = made_lock(3);
        mproc_queue *queue = made_queue(0);
        CHECK(lock != NULL && queue != NULL);
        static char much[9000];
        for (int j = 0; j < 20; j++) {
            CHECK_OK(mproc_queue_put(queue, much, j % 2 ? sizeof much : 100, 0));
        }
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(queue, &m, 0));
        CHECK_OK(mproc_queue_reserve(queue, 70000, &m));
        CHECK_OK(mproc_hold(lock));
        CHECK_OK(mproc_lock_acquire(lock, 0));
    }
    if (arg != NULL) {
        raise(SIGKILL);
    }
}

TEST(object_of_the_dead_goes_with_them) {
    static char yes;
    for (int killed = 0; killed < 2; killed++) {
        int status;
        pid_t pid = child_fork(make_and_leave, killed ? &yes : NULL);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, killed ? SIGKILL : 0);
        CHECK_GT(test_arena_used(), 0);
        CHECK_EQ(mproc_reap(), 1);
        CHECK_EQ(test_arena_used(), 0);
        check_family();
    }
}

enum { FEW = 6 };

/* Several members have records at one object; the records end in any order. */
TEST(object_of_many_members) {
    static const int orders[4][FEW] = {
        {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {2, 4, 0, 5, 1, 3}, {3, 0, 5, 1, 4, 2}};
    for (int i = 0; i < 4; i++) {
        struct room *r = make();
        pid_t kids[FEW];
        for (int j = 0; j < FEW; j++) {
            kids[j] = child_fork(use_until_told, r);
        }
        wait_for_word(&r->ready, FEW);
        for (int j = 0; j < FEW; j++) {
            if (j == FEW / 2) {
                mproc_drop(r->lock);
            }
            CHECK_GT(used_without(r), 0);
            child_kill(kids[orders[i][j]]);
            CHECK_EQ(mproc_reap(), 1);
            check_family();
        }
        CHECK_EQ(used_without(r), 0);
        mproc_free(r);
    }
}

/* hold, holds and hold_for refuse the pointer, and nothing has changed then. */
static void refuse(mproc_process *child, void *pointer) {
    CHECK_EQ(mproc_hold(pointer), -EINVAL);
    CHECK_EQ(mproc_holds(pointer), 0);
    CHECK_EQ(mproc_hold_for(child, pointer), -EINVAL);
    CHECK_OK(mproc_member_check(NULL, 0));
    CHECK_OK(mproc_arena_check(NULL, 0));
}

TEST(object_is_what_can_be_held) {
    static _Alignas(16) char private[256];
    char *block = mproc_calloc(1, 256);
    mproc_array *array = made_array(MPROC_INT32, 1);
    mproc_lock *gone = made_lock(0);
    mproc_queue *queue = made_queue(0);
    mproc_process *child;
    mproc_message m;
    CHECK_OK(mproc_process_prepare(&child, NULL));
    CHECK_OK(mproc_drop(gone));
    refuse(child, NULL);
    refuse(child, private);
    refuse(child, child);
    refuse(child, block);
    refuse(child, (char *)array + 8);
    refuse(child, (char *)mproc__family); /* the arena's own tables */
    refuse(child, mproc_array_lock(array));
    refuse(child, gone);
    CHECK_OK(mproc_queue_reserve(queue, 100, &m));
    void *message = m.block;
    CHECK_OK(mproc_hold(message)); /* a message in a block of its own is an object */
    CHECK_OK(mproc_drop(message));
    CHECK_OK(mproc_queue_commit(queue, &m, 0));
    refuse(child, message); /* it belongs to the queue now */
    CHECK_OK(mproc_process_drop(child));
    CHECK_OK(mproc_drop(queue));
    CHECK_OK(mproc_drop(array));
    mproc_free(block);
}

TEST(object_held_for_a_child) {
    mproc_lock *lock = made_lock(0);
    size_t used = test_arena_used();
    uint64_t token;
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &token));
    struct mproc__hand *hand = mproc__hand_get();
    CHECK_OK(mproc__hold_for(hand, token, lock));
    CHECK_OK(mproc__hold_for(hand, token, lock));
    mproc_drop(lock);
    CHECK_GE(test_arena_used(), used); /* held for the child that is expected */
    check_family();
    mproc__reap_dead(token); /* the child was never born */
    CHECK_EQ(test_arena_used(), 0);
    mproc_queue *queue = made_queue(0);
    CHECK_EQ(mproc__hold_for(hand, token, queue), MPROC_ESTRANGER);
    mproc__hand_put(hand);
    mproc_drop(queue);
}

static void *second_record(void *arg) {
    struct room *r = arg;
    CHECK_OK(mproc__thread_becomes_member());
    CHECK_EQ(mproc_holds(r->lock), 0);
    CHECK_EQ(mproc_hold(r->lock), -ENOMEM); /* the object has room for one record only */
    CHECK_EQ(mproc_holds(r->lock), 0);
    mproc__thread_leaves();
    return NULL;
}

TEST_BARE(object_hold_without_memory) {
    pthread_t thread;
    static void *blocks[200000];
    size_t n = 0;
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "1048576", 1));
    CHECK_EQ(mproc__family_join(), 0);
    struct room *r = make();
    for (size_t size = 65536; size >= 16; size /= 2) {
        while ((blocks[n] = mproc_alloc(size)) != NULL) {
            n++;
        }
    }
    CHECK_OK(pthread_create(&thread, NULL, second_record, r));
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(mproc_holds(r->lock), 1);
    while (n-- > 0) {
        mproc_free(blocks[n]);
    }
    mproc_drop(r->lock);
    mproc_free(r);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* ---------------------------------------------------------------- many at once */

static void hold_and_drop(void *arg) {
    struct room *r = arg;
    for (int i = 0; i < 1500; i++) {
        CHECK_OK(mproc_hold(r->lock));
        CHECK_OK(mproc_hold(r->lock));
        mproc_lock *own = made_lock(2);
        CHECK(own != NULL);
        CHECK_EQ(mproc_holds(own), 1);
        mproc_drop(r->lock);
        mproc_drop(own);
        mproc_drop(r->lock);
    }
}

static void check_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 300; i++) {
        check_family();
    }
}

TEST(object_held_and_dropped_by_threads_as_members) {
    struct room *r = make();
    struct member_thread threads[4] = {{hold_and_drop, r, 0},
                                       {hold_and_drop, r, 0},
                                       {hold_and_drop, r, 0},
                                       {check_often, NULL, 0}};
    member_threads_run(threads, 4);
    CHECK_EQ(mproc_holds(r->lock), 1);
    mproc_drop(r->lock);
    CHECK_EQ(used_without(r), 0);
    mproc_free(r);
}

static void hold_for_ever(void *arg) {
    mproc__add64(&((struct room *)arg)->ready, 1);
    for (;;) {
        hold_and_drop(arg);
    }
}

TEST(object_loses_no_hold_with_the_killed) {
    struct room *r = make();
    for (uint64_t round = 0; round < 60; round++) {
        mproc__store64(&r->ready, 0);
        pid_t a = child_fork(hold_for_ever, r), b = child_fork(hold_for_ever, r);
        wait_for_word(&r->ready, 2);
        usleep(round * 41 % 1100);
        child_kill(a);
        child_kill(b);
        CHECK_EQ(mproc_reap(), 2);
        CHECK_EQ(mproc_holds(r->lock), 1);
        check_family();
    }
    mproc_drop(r->lock);
    CHECK_EQ(used_without(r), 0);
    mproc_free(r);
}

/* ---------------------------------------------------------------- checks see */

#define MEMBERS mproc_member_check(why, sizeof why)

TEST(object_check_sees) {
    mproc_lock *a = made_lock(0), *b = made_lock(0);
    struct mproc__object *o = (struct mproc__object *)(void *)a;
    struct mproc__hold *h = &o->first;
    CHECK_EQ(h->count, 1);
    CHECK_BREAKS(&h->object, 0, MEMBERS, "O1");
    CHECK_BREAKS(&o->magic, 0, MEMBERS, "O1");
    CHECK_BREAKS(&o->kind, MPROC__KINDS, MEMBERS, "O1");
    CHECK_BREAKS(&h->count, 0, MEMBERS, "O2");
    CHECK_BREAKS(&h->token, 12345, MEMBERS, "O2");
    CHECK_BREAKS(&o->holds, 0, MEMBERS, "O2");
    CHECK_BREAKS(&h->prev_of_member, h->next_of_member, MEMBERS, "O4");
    CHECK_BREAKS(&mproc__family->registry.due, (uint64_t)(uintptr_t)a, MEMBERS, "O7");
    CHECK_BREAKS(&mproc__family->registry.due, 8, MEMBERS, "O7");
    mproc_drop(a);
    mproc_drop(b);
}
