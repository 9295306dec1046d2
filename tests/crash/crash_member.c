/*
 * crash_member.c - birth, end and holds of members, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * The starter or the child dies anywhere in a birth. In the end no slot, no hold and no block
 * of the dead one is left, and the other one goes on. A spawned child is a new program: its
 * addresses are those of the parent, since the laboratory switches their randomisation off.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/family.h"
#include "trace.h"

/* In crash_room(). */
struct scene {
    mproc_lock *lock;
    mproc_lock *own;       /* only the victim holds it */
    mproc_process *handle; /* the victim's */
    uint64_t came;         /* children that were members, and could use the lock */
    uint32_t slots;        /* slots in use that the parent found after the newborn's death */
    int exitcode;
};

static struct scene *scene(void) {
    return crash_room();
}

/* Slots that are in use or reserved. */
static uint32_t slots(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        n += (mproc__load64(&mproc__table->slots[i].state) & 0xff) != MPROC__SLOT_FREE;
    }
    return n;
}

static void *make(void) {
    scene()->lock = made_lock(4);
    crash_require(scene()->lock != NULL);
    return scene()->lock;
}

static void unmake(void *lock) {
    mproc_drop(lock);
}

static int take_and_drop(mproc_lock *lock) {
    return mproc_hold(lock) == 0 && mproc_lock_acquire(lock, CRASH_SOON) == 0 &&
                   mproc_lock_release(lock) == 0
               ? (mproc_drop(lock), 0)
               : 1;
}

/* The same by who comes first. A child that is ended with its parent may have had the lock. */
static int take_first(mproc_lock *lock) {
    int r = mproc_hold(lock) == 0 ? mproc_lock_acquire(lock, CRASH_SOON) : -1;
    return (r == 0 || r == -EOWNERDEAD) && mproc_lock_release(lock) == 0 ? (mproc_drop(lock), 0)
                                                                         : 1;
}

/* The survivor is the only one left, still holds the lock once, and can start another member. */
static void verify_alone(void *lock) {
    crash_orphans();
    mproc_reap();
    crash_equal(slots(), 1);
    crash_equal(mproc_members(NULL, 0), 1);
    crash_equal(mproc_holds(lock), 1);
    pid_t pid = fork();
    crash_require(pid >= 0);
    if (pid == 0) {
        _exit(take_first(lock));
    }
    crash_helper_join(pid);
    crash_equal(take_and_drop(lock), 0);
    mproc_reap();
    crash_equal(slots(), 1);
    crash_check(mproc_lock_check(lock, why, sizeof why));
}

/* ---- fork() by the program */

static void operate_fork(void *lock) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(take_and_drop(lock));
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

static void operate_fork_without_hands(void *lock) {
    crash_without_hands(operate_fork, lock);
}

/* The parent of a dead newborn notes how many slots are in use. */
static void look_around(void) {
    mproc_reap();
    scene()->slots = slots();
}

static void operate_be_forked(void *lock) {
    (void)lock;
    pid_t pid = fork();
    if (pid == 0) {
        crash_newborn_done();
        _exit(0);
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    look_around();
}

/* The survivor and the parent are left. */
static void verify_newborn(void *lock) {
    crash_orphans();
    crash_equal(scene()->slots, 2);
    verify_alone(lock);
}

/* ---- a child that is started, by fork and by spawn */

static int child_works(void *arg, size_t size) {
    mproc_lock *lock = *(mproc_lock **)arg;
    return size == sizeof lock ? take_and_drop(lock) : 3;
}

static int child_is_victim(void *arg, size_t size) {
    (void)arg;
    crash_newborn_done();
    return size == sizeof(mproc_lock *) ? 0 : 3;
}

static void start(mproc_method method, mproc_main_fn fn, void *lock) {
    mproc_process *child;
    mproc_process_options options = {.method = method};
    if (mproc_process_start(&child, fn, &lock, sizeof lock, &options) != 0) {
        abort();
    }
    while (mproc_process_join(child, CRASH_SOON) == -EINTR) {
    }
    if (mproc_process_exitcode(child, &scene()->exitcode) != 0) {
        abort();
    }
    if (mproc_process_drop(child) != 0) {
        abort();
    }
}

static void operate_start(void *lock) {
    start(MPROC_FORK, child_works, lock);
    if (scene()->exitcode != 0) {
        abort();
    }
}

static void operate_spawn(void *lock) {
    start(MPROC_SPAWN, child_works, lock);
    if (scene()->exitcode != 0) {
        abort();
    }
}

static void operate_be_started(void *lock) {
    start(MPROC_FORK, child_is_victim, lock);
    look_around();
}

static void operate_be_spawned(void *lock) {
    start(MPROC_SPAWN, child_is_victim, lock);
    look_around();
}

static void verify_started(void *lock) {
    crash_orphans();
    crash_require(scene()->exitcode == -9 || (crash_returned() && scene()->exitcode == 0));
    verify_newborn(lock);
}

/* ---- a child that is prepared, given a hold, and given up */

static void operate_prepare(void *lock) {
    mproc_process_options options = {.method = MPROC_SPAWN};
    if (mproc_process_prepare(&scene()->handle, &options) != 0) {
        abort();
    }
    if (mproc_hold_for(scene()->handle, lock) != 0) {
        abort();
    }
    if (mproc_process_drop(scene()->handle) != 0) {
        abort();
    }
}

/* ---- holds */

static void operate_hold(void *lock) {
    if (mproc_hold(lock) != 0) {
        abort();
    }
}

static void hold_twice(void *lock) {
    operate_hold(lock);
    operate_hold(lock);
}

static void operate_drop(void *lock) {
    mproc_drop(lock);
}

/* The victim inherits no hold, so its first hold needs a record. */
static void hold_none(void *lock) {
    mproc_drop(lock);
}

static void make_own(void *lock) {
    (void)lock;
    scene()->own = made_lock(4);
    crash_require(scene()->own != NULL);
}

static void operate_drop_last(void *lock) {
    (void)lock;
    mproc_drop(scene()->own);
}

/* ---- reaping: the member that reaps a dead one is killed, too */

static void die_with_holds(void *lock) {
    make_own(lock);
    operate_hold(lock);
    if (mproc_lock_acquire(scene()->own, CRASH_SOON) != 0) {
        exit(2);
    }
    if (mproc_process_prepare(&scene()->handle, NULL) != 0) {
        exit(3);
    }
    if (mproc_hold_for(scene()->handle, lock) != 0) {
        exit(4);
    }
    crash_die_here();
}

/* The helper dies after the last birth, since a birth reaps the dead as well. */
static void see_one_die(void *lock) {
    crash_casualty(die_with_holds, lock);
}

static void operate_reap(void *lock) {
    (void)lock;
    if (mproc_reap() == 0) {
        abort();
    }
}

/* ---- beside a member that is stopped in the registry a child inherits later */

static void stop_in_registry(void *lock) {
    struct mproc__guard *guard = &mproc__family->registry.guard;
    struct mproc__hand *hand = mproc__hand_get();
    (void)lock;
    mproc__guard_enter(guard, hand);
    raise(SIGSTOP);
    mproc__guard_leave(guard, hand);
    mproc__hand_put(hand);
}

static pid_t stopped_helper(void) {
    pid_t helper = crash_helper(stop_in_registry, NULL);
    crash_require(waitpid(helper, NULL, WUNTRACED) == helper);
    return helper;
}

/* It ends with the victim. */
static void stop_one(void *lock) {
    (void)lock;
    (void)stopped_helper();
}

/* The child cannot do more than end before the one that is stopped goes on. */
static void operate_fork_only(void *lock) {
    pid_t pid = fork();
    (void)lock;
    if (pid == 0) {
        _exit(0);
    }
}

/* ---- a child that is forked when its parent ends, and has not run by then */

static bool newborns_stop; /* of the victim */

static void stop_before_birth(void) {
    if (newborns_stop) {
        raise(SIGSTOP);
    }
}

/* In a child, before the library's own handler: that one is registered by a constructor, too. */
__attribute__((constructor(101))) static void register_stop(void) {
    pthread_atfork(NULL, NULL, stop_before_birth);
}

static void stop_newborns(void *lock) {
    (void)lock;
    newborns_stop = true;
}

static void operate_fork_and_leave(void *lock) {
    pid_t pid = fork();
    if (pid == 0) {
        mproc_member me;
        bool came = mproc_self(&me) == 0 && take_first(lock) == 0;
        mproc__add64(&scene()->came, came);
        _exit(0);
    }
}

/* The child runs when all that reap have looked at its slot: it is a member all the same. */
static void verify_late(void *lock) {
    uint64_t stopped = 0;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WUNTRACED | __WALL)) > 0 || errno == EINTR) {
        if (pid > 0 && WIFSTOPPED(status)) {
            mproc_reap();
            stopped++;
            crash_require(kill(pid, SIGCONT) == 0);
        }
    }
    crash_equal(scene()->came, stopped);
    crash_require(!crash_returned() || stopped == 1);
    verify_alone(lock);
}

static void sleep_on(void *lock) {
    (void)lock;
    pause();
}

/* A child that has inherited nothing, and nobody is stopped any more. */
static void fork_an_heir(void *lock) {
    pid_t helper = stopped_helper();
    (void)crash_helper(sleep_on, lock);
    crash_require(kill(helper, SIGCONT) == 0);
    crash_helper_join(helper);
    crash_require(mproc__peek64(&mproc__self_slot()->heirs) == 1);
}

static void die_with_an_heir(void *lock) {
    make_own(lock);
    fork_an_heir(lock);
    crash_die_here();
}

static void see_one_die_with_an_heir(void *lock) {
    crash_casualty(die_with_an_heir, lock);
}

#define OP(name_, setup_, prepare_, operate_)                                                      \
    {                                                                                              \
        .name = "member " name_, .setup = (setup_), .prepare = (prepare_), .operate = (operate_),  \
        .verify = verify_alone, .teardown = unmake, .sample = 1000                                 \
    }
#define NEWBORN(name_, operate_, verify_, marked_)                                                 \
    {                                                                                              \
        .name = "member " name_, .setup = make, .operate = (operate_), .verify = (verify_),        \
        .teardown = unmake, .newborn = true, .marked = (marked_), .sample = 1000                   \
    }
/* A fork leaves something to its heir once it has waited for a stopped member: that takes time at
 * each point. */
#define HEIR(name_, prepare_, operate_)                                                            \
    {                                                                                              \
        .name = "member " name_, .setup = make, .prepare = (prepare_), .operate = (operate_),      \
        .verify = verify_alone, .teardown = unmake, .sample = 60                                   \
    }

static const struct crash_op ops[] = {
    OP("fork, parent killed", make, NULL, operate_fork),
    OP("fork without hands, parent killed", make, NULL, operate_fork_without_hands),
    NEWBORN("fork, child killed", operate_be_forked, verify_newborn, false),
    OP("start by fork, parent killed", make, NULL, operate_start),
    NEWBORN("start by fork, child killed", operate_be_started, verify_started, false),
    OP("start by spawn, parent killed", make, NULL, operate_spawn),
    NEWBORN("start by spawn, child killed", operate_be_spawned, verify_started, true),
    OP("prepare, hold for, give up", make, NULL, operate_prepare),
    OP("hold (first)", make, hold_none, operate_hold),
    OP("hold (further)", make, NULL, operate_hold),
    OP("drop (not the last)", make, hold_twice, operate_drop),
    OP("drop (the member's last)", make, NULL, operate_drop),
    OP("drop (the last of all)", make, make_own, operate_drop_last),
    OP("reap of a member with holds and a child to come", make, see_one_die, operate_reap),
    {.name = "member fork beside a stopped one, parent killed",
     .setup = make,
     .prepare = stop_one,
     .operate = operate_fork_only,
     .verify = verify_alone,
     .teardown = unmake,
     .sample = 60},
    {.name = "member fork, parent killed before the child runs",
     .setup = make,
     .prepare = stop_newborns,
     .operate = operate_fork_and_leave,
     .verify = verify_late,
     .teardown = unmake,
     .sample = 1000},
    HEIR("drop (a child has not inherited yet)", fork_an_heir, operate_drop),
    HEIR("reap of a member whose child has not inherited yet", see_one_die_with_an_heir,
         operate_reap),
};

/* Gives every program that is started from here the same addresses. */
static void stop_randomisation(char **argv) {
    int persona = personality(0xffffffff);
    if (persona >= 0 && (persona & ADDR_NO_RANDOMIZE) == 0 &&
        personality((unsigned long)persona | ADDR_NO_RANDOMIZE) >= 0) {
        execv("/proc/self/exe", argv);
    }
}

int main(int argc, char **argv) {
    if (getenv(MPROC__ENV) != NULL) {
        if (getenv("CRASH_MARK") != NULL) {
            trace_mark_begin();
        }
        return mproc_init(argc, argv); /* does not return */
    }
    stop_randomisation(argv);
    return crash_main(&crash_family, ops, sizeof ops / sizeof ops[0], argc, argv);
}
