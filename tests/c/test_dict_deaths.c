/*
 * test_dict_deaths.c - dicts whose member died in a change, or with the lock of a key
 *
 * SPDX-License-Identifier: MIT
 */
#include "children.h"
#include "dict/table.h"
#include "made.h"

#include <errno.h>

struct scene {
    mproc_dict *dict;
    uint64_t held;
    char other[32]; /* a key of the same shard */
};

static struct mproc__dict_shard *shard_of(mproc_dict *dict, const char *key) {
    struct mproc__dict_key k;
    mproc__dict_key_of(dict, key, strlen(key), &k);
    return mproc__dict_shard_of(dict, &k);
}

static struct scene *stage(void) {
    struct scene *s = mproc_calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->dict = made_dict();
    CHECK(s->dict != NULL);
    for (int i = 0; i == 0 || shard_of(s->dict, s->other) != shard_of(s->dict, "key"); i++) {
        snprintf(s->other, sizeof s->other, "other %d", i);
    }
    return s;
}

static void strike(struct scene *s) {
    char why[200] = "";
    if (mproc_dict_check(s->dict, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
    (void)mproc_reap();
    mproc_drop(s->dict);
    mproc_free(s);
}

static void lock_and_sleep(void *arg) {
    struct scene *s = arg;
    CHECK_OK(mproc_dict_lock(s->dict, "key", 3, MPROC_FOREVER));
    mproc__store64(&s->held, 1);
    sleep_until_killed();
}

static void inherit(void *arg) {
    const struct scene *s = arg;
    CHECK_EQ(mproc_dict_lock(s->dict, "key", 3, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc_dict_unlock(s->dict, "key", 3));
}

static void lock_another_all_the_time(void *arg) {
    const struct scene *s = arg;
    for (;;) {
        CHECK_OK(mproc_dict_lock(s->dict, s->other, strlen(s->other), MPROC_FOREVER));
        CHECK_OK(mproc_dict_unlock(s->dict, s->other, strlen(s->other)));
    }
}

/* Each release in a shard wakes all who wait there, so that none sleeps for a whole slice. */
TEST(dict_lock_of_the_dead_goes_to_one_who_is_woken_all_the_time) {
    struct scene *s = stage();
    pid_t dying = child_fork(lock_and_sleep, s);
    wait_for_word(&s->held, 1);
    pid_t waiting = child_fork(inherit, s);
    wait_for_futex(waiting);
    pid_t busy = child_fork(lock_another_all_the_time, s);
    child_kill(dying);
    child_join(waiting);
    child_kill(busy);
    strike(s);
}

/* It has counted an entry that it has not taken out. */
static void die_in_a_delete(void *arg) {
    const struct scene *s = arg;
    struct mproc__dict_shard *shard = shard_of(s->dict, "key");
    struct mproc__hand *hand = mproc__hand_get();
    mproc__dict_enter(shard, hand);
    (void)mproc__dict_begin(shard);
    mproc__dict_put_word(shard, &shard->count, shard->count - 1);
    raise(SIGKILL);
}

TEST(dict_count_leaves_out_what_the_dead_have_not_done) {
    struct scene *s = stage();
    CHECK_OK(mproc_dict_set(s->dict, "key", 3, "value", 5));
    pid_t pid = child_fork(die_in_a_delete, s);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(mproc_dict_count(s->dict), 1);
    strike(s);
}
