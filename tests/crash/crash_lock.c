/*
 * crash_lock.c - the lock and its undo record, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * The member that acquires the lock after the kill must find the guarded words all old or all
 * new. It is told of a dead holder if the victim died between its first and its last
 * instruction as the holder. If the victim died right before the last one, the change is
 * committed already.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/guard.h"
#include "core/object.h"

#define WORDS 24

struct scene {
    mproc_lock *lock;
    uint64_t word[WORDS]; /* all equal whenever the lock is free */
};

/* In crash_room(). */
struct side {
    uint64_t serial;   /* of the victim */
    uint32_t released; /* the survivor has released the lock that the victim waits for */
    pid_t victim;
    pid_t helper;
    int result;
    uint32_t held; /* the victim holds the lock */
    uint32_t dead; /* the victim is dead */
};

static struct side *side(void) {
    return crash_room();
}

static uint32_t seen(const uint32_t *flag) {
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(uint32_t *flag) {
    __atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

static void wait_for(const uint32_t *flag) {
    while (!seen(flag)) {
        usleep(200);
    }
}

static void *make(void) {
    struct scene *scene = crash_calloc(sizeof *scene);
    scene->lock = made_lock(WORDS);
    crash_require(scene->lock != NULL);
    return scene;
}

static void unmake(void *object) {
    struct scene *scene = object;
    mproc_drop(scene->lock);
    mproc_free(scene);
}

static void note_victim(void *object) {
    mproc_member self;
    (void)object;
    crash_equal(mproc_self(&self), 0);
    side()->victim = self.pid;
    side()->serial = self.serial;
}

static void hold_lock(void *object) {
    struct scene *scene = object;
    note_victim(object);
    crash_equal(mproc_lock_acquire(scene->lock, CRASH_SOON), 0);
}

static void change(struct scene *scene) {
    uint64_t value = scene->word[0] + 1;
    for (int i = 0; i < WORDS; i++) {
        if (mproc_lock_save(scene->lock, &scene->word[i]) != 0) {
            abort();
        }
        *(volatile uint64_t *)&scene->word[i] = value;
    }
}

static uint64_t common_value(const struct scene *scene) {
    for (int i = 1; i < WORDS; i++) {
        crash_equal(scene->word[i], scene->word[0]);
    }
    return scene->word[0];
}

/* The lock still works: a change as a whole, a change that is rolled back, a known holder. */
static void use(struct scene *scene) {
    mproc_lock_holder holder;
    uint64_t was = common_value(scene);
    crash_equal(mproc_lock_acquire(scene->lock, CRASH_SOON), 0);
    mproc_lock_owner(scene->lock, &holder);
    crash_equal(holder.pid, getpid());
    crash_equal(mproc_lock_acquire(scene->lock, 0), -ETIMEDOUT);
    change(scene);
    mproc_lock_rollback(scene->lock);
    crash_equal(common_value(scene), was);
    change(scene);
    crash_equal(mproc_lock_release(scene->lock), 0);
    crash_equal(common_value(scene), was + 1);
    mproc_lock_owner(scene->lock, &holder);
    crash_equal(holder.pid, 0);
    crash_equal(mproc_lock_release(scene->lock), MPROC_ENOTHELD);
    crash_check(mproc_lock_check(scene->lock, why, sizeof why));
}

/* Acquires after the kill; returns whether the victim died holding the lock. */
static bool inherit(struct scene *scene) {
    mproc_lock_holder dead;
    int r = mproc_lock_acquire(scene->lock, CRASH_SOON);
    crash_require(r == 0 || r == -EOWNERDEAD);
    if (r == -EOWNERDEAD) {
        mproc_lock_dead_owner(scene->lock, &dead);
        crash_equal(dead.serial, side()->serial);
        crash_require(dead.pid == side()->victim || dead.pid == 0);
    }
    common_value(scene);
    crash_check(mproc_lock_check(scene->lock, why, sizeof why));
    crash_equal(mproc_lock_release(scene->lock), 0);
    return r == -EOWNERDEAD;
}

/* ---- acquire */

static void acquire(void *object) {
    struct scene *scene = object;
    side()->result = mproc_lock_acquire(scene->lock, CRASH_SOON);
}

static void verify_acquire(void *object) {
    struct scene *scene = object;
    bool died_holding = inherit(scene);
    if (crash_returned()) {
        crash_require(died_holding);
    }
    crash_equal(common_value(scene), 0);
    use(scene);
}

/* ---- release */

static void release(void *object) {
    struct scene *scene = object;
    mproc_lock_release(scene->lock);
}

static void verify_release(void *object) {
    struct scene *scene = object;
    bool died_holding = inherit(scene);
    if (crash_returned()) {
        crash_require(!died_holding);
    }
    crash_equal(common_value(scene), 0);
    use(scene);
}

/* ---- release of what another member holds: the lock is a signal */

static void verify_signal(void *object) {
    struct scene *scene = object;
    int r = mproc_lock_release(scene->lock);
    crash_require(r == 0 || r == MPROC_ENOTHELD);
    if (crash_returned()) {
        crash_equal(r, MPROC_ENOTHELD);
    }
    crash_require(!inherit(scene));
    use(scene);
}

/* ---- a change under the lock, committed by release or taken back */

static void change_and_release(void *object) {
    struct scene *scene = object;
    change(scene);
    mproc_lock_release(scene->lock);
}

static void verify_change(void *object) {
    struct scene *scene = object;
    bool died_holding = inherit(scene);
    uint64_t value = common_value(scene);
    crash_require(value == 1 || (value == 0 && died_holding));
    if (crash_returned()) {
        crash_require(!died_holding);
    }
    use(scene);
}

static void prepare_rollback(void *object) {
    hold_lock(object);
    change(object);
}

static void roll_back(void *object) {
    struct scene *scene = object;
    mproc_lock_rollback(scene->lock);
}

static void verify_rollback(void *object) {
    struct scene *scene = object;
    crash_require(inherit(scene));
    crash_equal(common_value(scene), 0);
    use(scene);
}

/* ---- acquire while another member holds, and is asleep before it releases */

static void *make_held(void) {
    struct scene *scene = make();
    crash_equal(mproc_lock_acquire(scene->lock, CRASH_SOON), 0);
    return scene;
}

static void let_go(void *object) {
    struct scene *scene = object;
    crash_equal(mproc_lock_release(scene->lock), 0);
    set(&side()->released);
}

static void verify_contended(void *object) {
    if (!seen(&side()->released)) {
        let_go(object);
    }
    verify_acquire(object);
}

/* The victim holds the lock in any case. */
static void verify_own(void *object) {
    struct scene *scene = object;
    crash_require(inherit(scene) || !crash_returned());
    crash_equal(common_value(scene), 0);
    use(scene);
}

static void acquire_in_vain(void *object) {
    struct scene *scene = object;
    side()->result = mproc_lock_acquire(scene->lock, 3 * MPROC_MSEC);
}

static void verify_timeout(void *object) {
    struct scene *scene = object;
    let_go(object);
    crash_require(!inherit(scene));
    if (crash_returned()) {
        crash_equal(side()->result, -ETIMEDOUT);
    }
    use(scene);
}

/* ---- release while another member sleeps in acquire: it must get the lock */

static void wait_and_acquire(void *object) {
    struct scene *scene = object;
    wait_for(&side()->held);
    int r = mproc_lock_acquire(scene->lock, CRASH_SOON);
    if (r != 0 && r != -EOWNERDEAD) {
        exit(2);
    }
    for (int i = 0; i < WORDS; i++) {
        if (scene->word[i] != scene->word[0] || (r == 0 && scene->word[i] != 1)) {
            exit(3);
        }
    }
    if (mproc_lock_release(scene->lock) != 0) {
        exit(4);
    }
}

static void *make_with_waiter(void) {
    struct scene *scene = make();
    side()->helper = crash_helper(wait_and_acquire, scene);
    return scene;
}

static void hold_before_waiter(void *object) {
    hold_lock(object);
    set(&side()->held);
    crash_wait_asleep(side()->helper);
}

static void verify_waiter(void *object) {
    struct scene *scene = object;
    crash_helper_join(side()->helper);
    common_value(scene);
    use(scene);
}

/* ---- a sleeper starves, and the lock is handed over */

#define STARVED UINT64_C(0x40000000)

/* The first fields of the struct in lock.c. */
struct inside {
    struct mproc__object object;
    struct mproc__guard guard;
};

static bool somebody_starves(const struct scene *scene) {
    const struct inside *in = (const struct inside *)(const void *)scene->lock;
    return (mproc__load64(&in->guard.mutex.word) & STARVED) != 0;
}

static void hold_before_starving(void *object) {
    hold_lock(object);
    set(&side()->held);
    while (!somebody_starves(object)) {
        usleep(200);
    }
    change(object);
}

/* Releases the lock when the victim has marked that it starves, or is dead. */
static void let_go_late(void *object) {
    while (!somebody_starves(object) && !seen(&side()->dead)) {
        usleep(200);
    }
    struct scene *scene = object;
    if (mproc_lock_release(scene->lock) != 0) {
        exit(2);
    }
}

static void start_helper(void *object) {
    side()->helper = crash_helper(let_go_late, object);
}

static void verify_handed_over(void *object) {
    set(&side()->dead);
    if (side()->helper == 0) {
        start_helper(object);
    }
    crash_helper_join(side()->helper);
    verify_acquire(object);
}

/* ---- acquire after a death: the heir dies while it puts things right */

static void die_holding(void *object) {
    struct scene *scene = object;
    if (mproc_lock_acquire(scene->lock, CRASH_SOON) != 0) {
        exit(2);
    }
    change(scene);
    crash_die_here();
}

static void *make_orphaned(void) {
    struct scene *scene = make();
    crash_casualty(die_holding, scene);
    return scene;
}

/* The last holder died, be it the victim or another one: the next to acquire is told. */
static void verify_heir(void *object) {
    struct scene *scene = object;
    crash_equal(mproc_lock_acquire(scene->lock, CRASH_SOON), -EOWNERDEAD);
    crash_equal(common_value(scene), 0);
    crash_check(mproc_lock_check(scene->lock, why, sizeof why));
    crash_equal(mproc_lock_release(scene->lock), 0);
    use(scene);
}

/* ---- new and drop: nothing of it survives the victim */

static void new_lock(void *object) {
    (void)object;
    if (made_lock(WORDS) == NULL) {
        abort();
    }
}

static void new_and_drop(void *object) {
    (void)object;
    mproc_drop(made_lock(WORDS));
}

static void verify_gone(void *object) {
    (void)object;
    struct scene *scene = make();
    use(scene);
    unmake(scene);
}

static const struct crash_op ops[] = {
    {.name = "lock acquire",
     .setup = make,
     .prepare = note_victim,
     .operate = acquire,
     .verify = verify_acquire,
     .teardown = unmake},
    {.name = "lock release",
     .setup = make,
     .prepare = hold_lock,
     .operate = release,
     .verify = verify_release,
     .teardown = unmake},
    {.name = "lock save and change, release",
     .setup = make,
     .prepare = hold_lock,
     .operate = change_and_release,
     .verify = verify_change,
     .teardown = unmake},
    {.name = "lock rollback",
     .setup = make,
     .prepare = prepare_rollback,
     .operate = roll_back,
     .verify = verify_rollback,
     .teardown = unmake},
    {.name = "lock acquire (held by another)",
     .setup = make_held,
     .prepare = note_victim,
     .operate = acquire,
     .meanwhile = let_go,
     .verify = verify_contended,
     .teardown = unmake},
    {.name = "lock release (held by another)",
     .setup = make_held,
     .prepare = note_victim,
     .operate = release,
     .verify = verify_signal,
     .teardown = unmake},
    {.name = "lock acquire (held by itself)",
     .setup = make,
     .prepare = hold_lock,
     .operate = acquire,
     .meanwhile = let_go,
     .verify = verify_own,
     .teardown = unmake},
    {.name = "lock acquire (timeout)",
     .setup = make_held,
     .prepare = note_victim,
     .operate = acquire_in_vain,
     .verify = verify_timeout,
     .teardown = unmake},
    {.name = "lock release (another sleeps)",
     .setup = make_with_waiter,
     .prepare = hold_before_waiter,
     .operate = change_and_release,
     .verify = verify_waiter,
     .teardown = unmake},
    {.name = "lock release (to one who starves)",
     .setup = make_with_waiter,
     .prepare = hold_before_starving,
     .operate = release,
     .verify = verify_waiter,
     .teardown = unmake},
    {.name = "lock acquire (by one who starves)",
     .setup = make_held,
     .prepare = note_victim,
     .operate = acquire,
     .meanwhile = start_helper,
     .verify = verify_handed_over,
     .teardown = unmake,
     .sample = 400},
    {.name = "lock acquire (holder dead)",
     .setup = make_orphaned,
     .prepare = note_victim,
     .operate = acquire,
     .verify = verify_heir,
     .teardown = unmake},
    {.name = "lock new",
     .setup = crash_no_object,
     .operate = new_lock,
     .verify = verify_gone,
     .teardown = crash_nothing},
    {.name = "lock new, drop",
     .setup = crash_no_object,
     .operate = new_and_drop,
     .verify = verify_gone,
     .teardown = crash_nothing},
};

CRASH_MAIN(ops)
