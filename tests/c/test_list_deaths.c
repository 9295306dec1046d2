/*
 * test_list_deaths.c - lists whose member died in a change, before one that asks how many there are
 *
 * SPDX-License-Identifier: MIT
 */
#include "children.h"
#include "list/inside.h"
#include "made.h"

static mproc_list *make(void) {
    mproc_list *list = made_list();
    CHECK(list != NULL);
    CHECK_OK(mproc_list_append(list, "a", 1));
    CHECK_OK(mproc_list_append(list, "b", 1));
    return list;
}

static void drop(mproc_list *list) {
    char why[200] = "";
    if (mproc_list_check(list, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
    (void)mproc_reap();
    mproc_drop(list);
}

/* It has counted an element that it has not taken out. */
static void die_in_a_delete(void *arg) {
    mproc_list *list = arg;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__list_enter(list, hand);
    mproc__list_begin(list);
    mproc__list_put_word(list, &list->body.count, 0);
    raise(SIGKILL);
}

TEST(list_count_leaves_out_what_the_dead_have_not_done) {
    mproc_list *list = make();
    pid_t pid = child_fork(die_in_a_delete, list);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(mproc_list_count(list), 2);
    drop(list);
}
