/*
 * test_stopped.c - members that are stopped in a section, and what must not wait for them
 *
 * SPDX-License-Identifier: MIT
 *
 * Each section that a fork() could want is held by a child that is stopped in it. Then its parent
 * forks, and both parent and child must have what they have beside a member that runs. So they must
 * where other threads of the parent wait for that section already, with all hands that there are,
 * and where one waits for a template that is stopped.
 */
#include <pthread.h>

#include "children.h"
#include "made.h"
#include "members.h"
#include "stopped.h"

#include "core/family.h"
#include "core/fork.h"
#include "core/heap.h"
#include "core/member.h"
#include "core/object.h"
#include "process/process.h"

#define SOON (5 * MPROC_SEC) /* what waits for a stopped child takes longer: for ever */
#define OBJECTS 5

/* ---------------------------------------------------------------- a child that holds a section */

static void stop_in(void *arg) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(arg, hand);
    raise(SIGSTOP);
    mproc__guard_leave(arg, hand);
    mproc__hand_put(hand);
}

static void stop_as_reaper(void *arg) {
    CHECK_OK(mproc__mutex_acquire(arg, MPROC_FOREVER, MPROC__FOR_SECTION, NULL));
    raise(SIGSTOP);
    CHECK_OK(mproc__mutex_release(arg));
}

static pid_t stop(void (*run)(void *), void *arg) {
    pid_t child = child_fork(run, arg);
    CHECK_EQ(waitpid(child, NULL, WUNTRACED), child);
    return child;
}

static void go_on(pid_t child) {
    CHECK_OK(kill(child, SIGCONT));
    child_join(child);
}

static struct mproc__guard *registry(void) {
    return &mproc__family->registry.guard;
}

static struct mproc__guard *class_of(size_t size) {
    for (unsigned i = 0; i < MPROC__CLASSES; i++) {
        if (mproc__heap_class_size(i) >= size) {
            return &mproc__family->heap.classes[i].guard;
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- memory */

/* What comes of another class, or is a whole chunk, has all that is counted on in a block. */
TEST(stopped_in_a_class_and_the_blocks_of_others) {
    void *first[MPROC__CLASSES]; /* of a chunk, which would be aligned whatever its size is */
    for (unsigned i = 0; i < MPROC__CLASSES; i++) {
        first[i] = mproc_alloc(mproc__heap_class_size(i));
    }
    for (unsigned i = 0; i < MPROC__CLASSES; i++) {
        size_t size = mproc__heap_class_size(i), power = size & (~size + 1);
        pid_t child = stop(stop_in, class_of(size));
        void *block = mproc_alloc(size);
        CHECK(block != NULL);
        CHECK_EQ((uintptr_t)block % (power < MPROC__LINE ? power : MPROC__LINE), 0);
        memset(block, 1, size);
        mproc_free(block);
        go_on(child);
    }
    for (unsigned i = 0; i < MPROC__CLASSES; i++) {
        mproc_free(first[i]);
    }
    check_family();
}

/* ---------------------------------------------------------------- fork() */

static mproc_lock *locks[OBJECTS];

static void hold_some(void) {
    for (int i = 0; i < OBJECTS; i++) {
        locks[i] = made_lock(0);
        for (int n = 0; n < i; n++) {
            CHECK_OK(mproc_hold(locks[i]));
        }
    }
}

static void check_holds(void) {
    for (int i = 0; i < OBJECTS; i++) {
        CHECK_EQ(mproc_holds(locks[i]), (size_t)i + 1);
    }
}

static void drop_all(void) {
    for (int i = 0; i < OBJECTS; i++) {
        for (int n = 0; n <= i; n++) {
            CHECK_OK(mproc_drop(locks[i]));
        }
    }
}

/* A child that lives until it is told, and then has what its parent had when it forked. */
struct heir {
    int told[2];
    pid_t pid;
};

static void use_holds(int fd) {
    mproc_member me;
    char byte;
    CHECK_OK(mproc_self(&me));
    CHECK_EQ(me.pid, getpid());
    CHECK_EQ(read(fd, &byte, 1), 1);
    check_holds();
    for (int i = 0; i < OBJECTS; i++) {
        CHECK_OK(mproc_lock_acquire(locks[i], SOON));
        CHECK_OK(mproc_lock_release(locks[i]));
    }
    drop_all();
    check_family();
}

static void fork_soon(struct heir *heir) {
    CHECK_OK(pipe(heir->told));
    fflush(stdout);
    int64_t start = mproc__os_now();
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        use_holds(heir->told[0]);
        _exit(0);
    }
    heir->pid = pid; /* by the parent alone: it may be in the arena */
    CHECK_LE(mproc__os_now() - start, SOON);
}

static void join_heir(const struct heir *heir) {
    CHECK_EQ(write(heir->told[1], "x", 1), 1);
    child_join(heir->pid);
    close(heir->told[0]);
    close(heir->told[1]);
}

static void nothing(void *arg) {
    (void)arg;
}

/* Beside what stops; the parent's holds go before the child has looked at its own, or after. */
static void fork_beside(void (*run)(void *), void *arg, bool drop_first) {
    struct heir heir;
    hold_some();
    child_join(child_fork(nothing, NULL)); /* there is one to be reaped */
    pid_t child = stop(run, arg);
    fork_soon(&heir);
    go_on(child);
    check_family();
    if (drop_first) {
        drop_all();
    }
    join_heir(&heir);
    if (!drop_first) {
        check_holds();
        drop_all();
    }
    mproc_reap();
    check_family();
    CHECK_EQ(test_arena_used(), 0);
}

TEST(stopped_in_the_registry_and_a_fork) {
    fork_beside(stop_in, registry(), false);
    fork_beside(stop_in, registry(), true);
}

TEST(stopped_among_the_members_and_a_fork) {
    fork_beside(stop_in, &mproc__family->members.guard, false);
    fork_beside(stop_in, &mproc__family->members.guard, true);
}

TEST(stopped_as_a_reaper_and_a_fork) {
    fork_beside(stop_as_reaper, &mproc__family->members.reaper, false);
    fork_beside(stop_as_reaper, &mproc__family->members.reaper, true);
}

TEST(stopped_in_the_class_of_records_and_a_fork) {
    fork_beside(stop_in, class_of(sizeof(struct mproc__hold)), false);
    fork_beside(stop_in, class_of(sizeof(struct mproc__hold)), true);
}

TEST(stopped_in_the_chunks_and_a_fork) {
    fork_beside(stop_in, &mproc__family->chunks.guard, false);
    fork_beside(stop_in, &mproc__family->chunks.guard, true);
}

/* The heirs are forked one after the other, and one of another one. */
static void fork_further(int fd, int ready) {
    struct heir own;
    fork_soon(&own);
    char byte = 0;
    CHECK_EQ(write(ready, &byte, 1), 1);
    CHECK_EQ(read(fd, &byte, 1), 1);
    join_heir(&own);
    check_holds();
}

TEST(stopped_in_the_registry_and_forks_of_forks) {
    struct heir first, second;
    int ready[2];
    char byte;
    CHECK_OK(pipe(ready));
    hold_some();
    pid_t child = stop(stop_in, registry());
    fork_soon(&first);
    CHECK_OK(pipe(second.told));
    fflush(stdout);
    second.pid = fork();
    CHECK_GE(second.pid, 0);
    if (second.pid == 0) {
        fork_further(second.told[0], ready[1]);
        _exit(0);
    }
    CHECK_EQ(read(ready[0], &byte, 1), 1); /* before the section is free */
    go_on(child);
    drop_all();
    join_heir(&first);
    join_heir(&second);
    close(ready[0]);
    close(ready[1]);
    mproc_reap();
    check_family();
    CHECK_EQ(test_arena_used(), 0);
}

static void fork_and_die(void *arg) {
    struct heir *heir = arg;
    fork_soon(heir);
    while (mproc_members(NULL, 0) != 4) { /* or its child would not come without its parent */
        usleep(1000);
    }
    raise(SIGKILL);
}

/* The parent dies before its child has inherited; so the reaper has to see to that. */
TEST(stopped_in_the_registry_and_a_dead_parent) {
    struct heir *heir = mproc_alloc(sizeof *heir);
    CHECK(heir != NULL);
    hold_some();
    pid_t child = stop(stop_in, registry());
    fflush(stdout);
    pid_t parent = fork();
    if (parent == 0) {
        fork_and_die(heir);
    }
    CHECK_EQ(waitpid(parent, NULL, 0), parent);
    go_on(child);
    drop_all();
    mproc_reap();
    check_family();
    for (int i = 0; i < OBJECTS; i++) {
        CHECK(mproc__object_can_be_held(locks[i])); /* the orphan's by now */
    }
    CHECK_GT(heir->pid, 0);
    CHECK_OK(kill(heir->pid, SIGKILL));
    while (mproc_members(NULL, 0) != 1) {
        usleep(1000);
    }
    mproc_reap();
    mproc_free(heir);
    check_family();
    CHECK_EQ(test_arena_used(), 0);
}

/* ---------------------------------------------------------------- beside threads of its own */

#define CROWD 40 /* threads: more than there are hands */

static void *hold_one(void *lock) {
    CHECK_OK(mproc_hold(lock));
    CHECK_OK(mproc_drop(lock));
    return NULL;
}

static bool is_taken(pthread_mutex_t *mutex) {
    bool taken = pthread_mutex_trylock(mutex) != 0;
    if (!taken) {
        pthread_mutex_unlock(mutex);
    }
    return taken;
}

/* Each waits for the section of a stopped child; one has the shared hand, others wait for it. */
static void crowd_begin(pthread_t *threads) {
    for (int i = 0; i < CROWD; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, hold_one, locks[0]));
    }
    while (mproc__load32(&mproc__self()->taken) != (1u << (MPROC__HANDS - 2)) - 1 ||
           !is_taken(&mproc__fork_locks.hand)) {
        usleep(1000);
    }
}

static void crowd_end(const pthread_t *threads) {
    for (int i = 0; i < CROWD; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
}

static void *fork_in_thread(void *heir) {
    fork_soon(heir);
    return NULL;
}

/* Of threads that are interrupted in the middle of a call: the first has a hand, the last has not.
 */
static struct heir of_handlers[2];
static uint64_t handled;

static void fork_in_handler(int number) {
    (void)number;
    fork_soon(&of_handlers[mproc__load64(&handled)]);
    mproc__add64(&handled, 1);
}

static void interrupt_to_fork(pthread_t thread, uint64_t forks) {
    CHECK_OK(pthread_kill(thread, SIGUSR1));
    wait_for_word(&handled, forks);
}

TEST(stopped_in_the_registry_and_forks_of_a_crowd) {
    pthread_t crowd[CROWD], forker;
    struct heir of_main, of_thread;
    hold_some();
    pid_t child = stop(stop_in, registry());
    crowd_begin(crowd);
    fork_soon(&of_main);
    CHECK_OK(pthread_create(&forker, NULL, fork_in_thread, &of_thread));
    CHECK_OK(pthread_join(forker, NULL));
    signal(SIGUSR1, fork_in_handler);
    interrupt_to_fork(crowd[0], 1);
    interrupt_to_fork(crowd[CROWD - 1], 2);
    go_on(child);
    crowd_end(crowd);
    check_family();
    join_heir(&of_main);
    join_heir(&of_thread);
    join_heir(&of_handlers[0]);
    join_heir(&of_handlers[1]);
    check_holds();
    drop_all();
    mproc_reap();
    check_family();
    CHECK_EQ(test_arena_used(), 0);
}

TEST(stopped_and_the_hand_that_is_kept_for_forks) {
    struct mproc__hand *hand = &mproc__self_slot()->hands[MPROC__HANDS - 2];
    child_join(child_fork(nothing, NULL));
    CHECK_BREAKS(&hand->node, 8, mproc_member_check(why, sizeof why), "H1");
    CHECK_BREAKS(&hand->guard, 8, mproc_member_check(why, sizeof why), "H1");
}

static int end_with_seven(void *arg, size_t size) {
    (void)arg;
    (void)size;
    return 7;
}

static void *start_by_template(void *arg) {
    const mproc_process_options options = {.method = MPROC_FORKSERVER};
    mproc_process *process;
    int code = 0;
    (void)arg;
    CHECK_OK(mproc_process_start(&process, end_with_seven, NULL, 0, &options));
    CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(process, &code));
    CHECK_EQ(code, 7);
    CHECK_OK(mproc_process_drop(process));
    return NULL;
}

/* The child has a template of its own. */
static void start_one(void *arg) {
    (void)start_by_template(arg);
    mproc__template_stop_default();
}

TEST(stopped_template_and_a_fork) {
    pthread_t starter;
    (void)start_by_template(NULL);
    pid_t template = mproc__template_default_pid();
    CHECK_OK(kill(template, SIGSTOP));
    CHECK_EQ(waitpid(template, NULL, WUNTRACED), template);
    CHECK_OK(pthread_create(&starter, NULL, start_by_template, NULL));
    while (!is_taken(&mproc__fork_locks.turn)) {
        usleep(1000);
    }
    int64_t start = mproc__os_now();
    pid_t child = child_fork(start_one, NULL);
    CHECK_LE(mproc__os_now() - start, SOON);
    child_join(child);
    CHECK_OK(kill(template, SIGCONT));
    CHECK_OK(pthread_join(starter, NULL));
    mproc__template_stop_default();
    mproc_reap();
    check_family();
}

/* ---------------------------------------------------------------- at random instants */

/* In the arena. */
struct shift {
    mproc_queue *queue;
    uint64_t over;
};

/* Does much of what members do. */
static void work(void *arg) {
    const struct shift *shift = arg;
    char room[64];
    while (mproc__load64(&shift->over) == 0) {
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        mproc_lock *lock = made_lock(0);
        CHECK_OK(mproc_queue_put(shift->queue, "hello", 6, MPROC_FOREVER));
        CHECK_OK(mproc_queue_get(shift->queue, &m, MPROC_FOREVER));
        void *block = mproc_alloc(20000);
        mproc_free(block);
        mproc_drop(lock);
        (void)mproc_reap();
    }
}

static void *work_in_thread(void *shift) {
    work(shift);
    return NULL;
}

static void fork_one(void *arg) {
    (void)arg;
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        mproc_member me;
        _exit(mproc_self(&me) == 0 && mproc_holds(arg) == 1 ? 0 : 1);
    }
    /* Its end may have to wait for the one that is stopped, and is seen to later. */
}

/* A child works and is stopped now and then, so many threads of the test work as well, and it
 * forks. */
static void fork_beside_anything(int threads) {
    pthread_t crowd[CROWD];
    struct shift *shift = mproc_calloc(1, sizeof *shift);
    CHECK(shift != NULL);
    shift->queue = made_queue(0);
    pid_t child = child_fork(work, shift);
    for (int i = 0; i < threads; i++) {
        CHECK_OK(pthread_create(&crowd[i], NULL, work_in_thread, shift));
    }
    CHECK_EQ(stopped_meet(child, 5, fork_one, shift->queue), 0);
    mproc__store64(&shift->over, 1);
    for (int i = 0; i < threads; i++) {
        CHECK_OK(pthread_join(crowd[i], NULL));
    }
    int status = 0;
    while (waitpid(-1, &status, 0) > 0) {
        CHECK_EQ(status, 0);
    }
    mproc_reap();
    mproc_drop(shift->queue);
    mproc_free(shift);
    check_family();
}

TEST(stopped_anywhere_and_a_fork) {
    fork_beside_anything(0);
}

TEST(stopped_anywhere_and_a_fork_of_a_crowd) {
    fork_beside_anything(CROWD);
}
