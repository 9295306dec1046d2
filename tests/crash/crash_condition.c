/*
 * crash_condition.c - the condition, killed after each instruction of wait and notify
 *
 * SPDX-License-Identifier: MIT
 *
 * The waiters wait for a turn, the number `turn`. Wherever the victim died, a waiter that waits
 * for the turn gets it.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct scene {
    mproc_condition *condition;
    mproc_rlock *lock;
    uint64_t turn;
};

static pid_t *helper(void) {
    return crash_room();
}

static void *make(void) {
    struct scene *scene = crash_calloc(sizeof *scene);
    scene->condition = made_condition();
    scene->lock = made_rlock();
    crash_require(scene->condition != NULL && scene->lock != NULL);
    return scene;
}

static void unmake(void *object) {
    struct scene *scene = object;
    mproc_drop(scene->condition);
    mproc_drop(scene->lock);
    mproc_free(scene);
}

/* A holder may have died: the lock guards one word, which is whole in any case. */
static void lock(struct scene *scene) {
    int r = mproc_rlock_acquire(scene->lock, CRASH_SOON);
    if (r != 0 && r != -EOWNERDEAD) {
        abort();
    }
}

static void unlock(struct scene *scene) {
    if (mproc_rlock_release(scene->lock) != 0) {
        abort();
    }
}

static void await_turn(void *object) {
    struct scene *scene = object;
    lock(scene);
    while (scene->turn == 0) {
        int r = mproc_condition_wait(scene->condition, scene->lock, CRASH_SOON);
        if (r != 0 && r != -EOWNERDEAD) {
            abort();
        }
    }
    scene->turn--;
    unlock(scene);
}

static void give_turn(void *object) {
    struct scene *scene = object;
    lock(scene);
    scene->turn++;
    mproc_condition_notify(scene->condition, 1);
    unlock(scene);
}

static void *make_with_waiter(void) {
    struct scene *scene = make();
    *helper() = crash_helper(await_turn, scene);
    while (mproc_condition_waiting(scene->condition) == 0) {
        usleep(200);
    }
    crash_wait_asleep(*helper());
    return scene;
}

/* ---- windows */

static void prepare_wait(void *object) {
    lock(object);
}

static void wait_in_vain(void *object) {
    struct scene *scene = object;
    if (mproc_condition_wait(scene->condition, scene->lock, 3 * MPROC_MSEC) != -ETIMEDOUT) {
        abort();
    }
}

static void wait_for_notice(void *object) {
    struct scene *scene = object;
    if (mproc_condition_wait(scene->condition, scene->lock, CRASH_SOON) != 0) {
        abort();
    }
}

/* A helper waits behind the victim; the victim is notified. */
static void give_turn_with_another(void *object) {
    struct scene *scene = object;
    *helper() = crash_helper(await_turn, scene);
    while (mproc_condition_waiting(scene->condition) < 2) {
        usleep(200);
    }
    lock(scene);
    mproc_condition_notify(scene->condition, 1);
    unlock(scene);
}

static void notify_all(void *object) {
    struct scene *scene = object;
    mproc_condition_notify_all(scene->condition);
}

static void notify(void *object) {
    struct scene *scene = object;
    mproc_condition_notify(scene->condition, 1);
}

static void prepare_notify(void *object) {
    struct scene *scene = object;
    lock(scene);
    scene->turn++;
}

/* ---- afterwards */

static void use(struct scene *scene) {
    crash_check(mproc_condition_check(scene->condition, why, sizeof why));
    crash_equal(mproc_condition_waiting(scene->condition), 0);
    lock(scene);
    scene->turn = 0;
    crash_equal(mproc_condition_wait(scene->condition, scene->lock, MPROC_MSEC), -ETIMEDOUT);
    unlock(scene);
    pid_t waiter = crash_helper(await_turn, scene);
    give_turn(scene);
    crash_helper_join(waiter);
    crash_check(mproc_condition_check(scene->condition, why, sizeof why));
}

static void verify_wait(void *object) {
    use(object);
}

/* A victim that has returned from its wait held the lock when it died. */
static void verify_notified(void *object) {
    struct scene *scene = object;
    int r = mproc_rlock_acquire(scene->lock, CRASH_SOON);
    crash_require(r == -EOWNERDEAD || (r == 0 && !crash_returned()));
    unlock(scene);
    use(scene);
}

/* There is no helper if the victim died before it slept. */
static void verify_notified_with_another(void *object) {
    give_turn(object);
    if (*helper() != 0) {
        crash_helper_join(*helper());
    }
    use(object);
}

/* The victim is dead. The helper, which waited before or behind it, gets its turn in any case. */
static void verify_waiter(void *object) {
    give_turn(object);
    crash_helper_join(*helper());
    use(object);
}

/* The victim gave a turn. Its notification was delivered, or the survivor gives it again. */
static void verify_notify(void *object) {
    struct scene *scene = object;
    if (!crash_returned()) {
        lock(scene);
        mproc_condition_notify(scene->condition, 1);
        unlock(scene);
    } else {
        lock(scene); /* takes the lock from a dead holder, for the helper waits for it, too */
        unlock(scene);
    }
    crash_helper_join(*helper());
    use(scene);
}

static const struct crash_op ops[] = {
    {.name = "condition wait (timeout)",
     .setup = make,
     .prepare = prepare_wait,
     .operate = wait_in_vain,
     .verify = verify_wait,
     .teardown = unmake},
    {.name = "condition wait (another waits)",
     .setup = make_with_waiter,
     .prepare = prepare_wait,
     .operate = wait_in_vain,
     .verify = verify_waiter,
     .teardown = unmake},
    {.name = "condition wait (notified)",
     .setup = make,
     .prepare = prepare_wait,
     .operate = wait_for_notice,
     .meanwhile = give_turn,
     .verify = verify_notified,
     .teardown = unmake},
    {.name = "condition wait (notified, another waits behind)",
     .setup = make,
     .prepare = prepare_wait,
     .operate = wait_for_notice,
     .meanwhile = give_turn_with_another,
     .verify = verify_notified_with_another,
     .teardown = unmake},
    {.name = "condition notify all",
     .setup = make_with_waiter,
     .prepare = prepare_notify,
     .operate = notify_all,
     .verify = verify_notify,
     .teardown = unmake},
    {.name = "condition notify",
     .setup = make_with_waiter,
     .prepare = prepare_notify,
     .operate = notify,
     .verify = verify_notify,
     .teardown = unmake},
};

CRASH_MAIN(ops)
