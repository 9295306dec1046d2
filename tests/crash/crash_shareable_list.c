/*
 * crash_shareable_list.c - items of a list in a named segment, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * Items are set and read. Wherever the victim dies, the next reader finds the old item or the
 * new one, all of it, and the next writer does not get stuck.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ITEM 1 /* the item that is changed; its neighbours are checked */
#define OLD_TEXT "an old text of several words"
#define NEW_TEXT "another, which is as long  !"

struct scene {
    mproc_shm *list;
    char name[48];
    mproc_item before, after;
};

static mproc_item integer(int64_t value) {
    return (mproc_item){.kind = MPROC_ITEM_INT, .integer = value};
}

static mproc_item text(const char *value) {
    return (mproc_item){.kind = MPROC_ITEM_STR, .data = value, .size = strlen(value)};
}

static mproc_item bytes(const char *value) {
    return (mproc_item){.kind = MPROC_ITEM_BYTES, .data = value, .size = strlen(value)};
}

static bool is(const mproc_item *a, const mproc_item *b) {
    return a->kind == b->kind && a->integer == b->integer && a->size == b->size &&
           (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

static void expect(const struct scene *scene, size_t i, const mproc_item *want,
                   const mproc_item *or_else) {
    char room[64];
    mproc_item got;
    crash_equal(mproc_shareable_list_get(scene->list, i, &got, room, sizeof room), 0);
    crash_require(is(&got, want) || is(&got, or_else));
}

/* Starts the watcher, so that it is not started in the window. */
static struct scene *make(mproc_item before, mproc_item after) {
    struct scene *scene = crash_room();
    mproc_item items[] = {text("left neighbour"), text(OLD_TEXT), integer(12345)};
    crash_equal(mproc_shareable_list_create(&scene->list, NULL, items, 3, NULL), 0);
    crash_equal(mproc_shareable_list_set(scene->list, ITEM, &before), 0);
    scene->before = before;
    scene->after = after;
    return scene;
}

static void *make_text(void) {
    return make(text(OLD_TEXT), text(NEW_TEXT));
}

/* NULs at the end of a text are part of it. */
static void *make_zeros(void) {
    mproc_item before = text(OLD_TEXT), after = text(NEW_TEXT);
    after.data = "zeros at the end\0\0";
    after.size = 18;
    return make(before, after);
}

static void *make_text_to_int(void) {
    return make(text(OLD_TEXT), integer(-7));
}

static void *make_int_to_text(void) {
    return make(integer(77), bytes(NEW_TEXT));
}

static void *make_int(void) {
    return make(integer(77), integer(INT64_MIN));
}

/* The record of a change after the items of a list; shareable_list.c explains it. */
struct change {
    uint64_t magic, room, owner, sequence, index, format, kind, pad, old[4];
};

static struct change *change_of(const struct scene *scene) {
    void *data;
    crash_equal(mproc_shm_data(scene->list, &data), 0);
    return (struct change *)(void *)((char *)data + mproc_shm_size(scene->list) -
                                     sizeof(struct change));
}

/* Leaves half a change by a dead writer, which both the victim and the survivor find. */
static void *make_half(void) {
    struct scene *scene = make(text(OLD_TEXT), text(OLD_TEXT));
    struct change *c = change_of(scene);
    char *data, old[32] = OLD_TEXT;
    pid_t dead = fork();
    if (dead == 0) {
        _exit(0);
    }
    crash_equal(waitpid(dead, NULL, 0), dead);
    mproc_reap();
    crash_equal(mproc_shm_data(scene->list, (void *)&data), 0);
    crash_equal(c->room, 32);
    memcpy(c->old, old, sizeof old);
    memcpy(&c->format, "32s\0\0\0\0", 8);
    c->kind = 1;
    c->index = ITEM;
    c->owner = (uint64_t)dead << 42 | 1;
    c->sequence = 7;
    memcpy(data + 40 + 16, "a torn te", 9); /* length, four offsets, the left neighbour */
    return scene;
}

static void set_it(void *object) {
    const struct scene *scene = object;
    if (mproc_shareable_list_set(scene->list, ITEM, &scene->after) != 0) {
        abort();
    }
}

static void get_it(void *object) {
    const struct scene *scene = object;
    char room[64];
    mproc_item got;
    if (mproc_shareable_list_get(scene->list, ITEM, &got, room, sizeof room) != 0 ||
        !is(&got, &scene->before)) {
        abort();
    }
}

static void verify(void *object) {
    const struct scene *scene = object;
    mproc_item left = text("left neighbour"), right = integer(12345), last = text("the last one");
    expect(scene, ITEM, crash_returned() ? &scene->after : &scene->before, &scene->after);
    expect(scene, 0, &left, &left);
    expect(scene, 2, &right, &right);
    crash_check(mproc_shareable_list_check(scene->list, why, sizeof why));
    crash_equal(mproc_shareable_list_set(scene->list, ITEM, &last), 0);
    expect(scene, ITEM, &last, &last);
    crash_equal(change_of(scene)->owner, 0);
    crash_equal(change_of(scene)->sequence & 1, 0);
    crash_check(mproc_shareable_list_check(scene->list, why, sizeof why));
}

static void unmake(void *object) {
    const struct scene *scene = object;
    crash_equal(mproc_shm_unlink(mproc_shm_name(scene->list)), 0);
    mproc_shm_drop(scene->list);
    crash_end_watcher();
}

/* ---------------------------------------------------------------- a list with a name of its own */

static void *make_name(void) {
    struct scene *scene = make(text(OLD_TEXT), text(OLD_TEXT));
    snprintf(scene->name, sizeof scene->name, "mproc_crash_list_%d", (int)getpid());
    return scene;
}

static void create(void *object) {
    const struct scene *scene = object;
    mproc_shm *list;
    mproc_item items[] = {integer(1), text(NEW_TEXT)};
    if (mproc_shareable_list_create(&list, scene->name, items, 2, NULL) != 0) {
        abort();
    }
}

/* The list does not exist yet, or all of it exists. */
static void verify_create(void *object) {
    const struct scene *scene = object;
    struct scene made = {0};
    mproc_item one = integer(1), two = text(NEW_TEXT);
    mproc_reap();
    int r = mproc_shm_open(&made.list, scene->name);
    crash_require(r == 0 || (r == -ENOENT && !crash_returned()));
    if (r == 0) {
        expect(&made, 0, &one, &one);
        expect(&made, 1, &two, &two);
        crash_check(mproc_shareable_list_check(made.list, why, sizeof why));
        mproc_shm_drop(made.list);
        crash_equal(mproc_shm_unlink(scene->name), 0);
    }
}

static const struct crash_op ops[] = {
    {.name = "list set (text)",
     .setup = make_text,
     .operate = set_it,
     .verify = verify,
     .teardown = unmake},
    {.name = "list set (text that ends with NULs)",
     .setup = make_zeros,
     .operate = set_it,
     .verify = verify,
     .teardown = unmake},
    {.name = "list set (text to int)",
     .setup = make_text_to_int,
     .operate = set_it,
     .verify = verify,
     .teardown = unmake},
    {.name = "list set (int to bytes)",
     .setup = make_int_to_text,
     .operate = set_it,
     .verify = verify,
     .teardown = unmake},
    {.name = "list set (int)",
     .setup = make_int,
     .operate = set_it,
     .verify = verify,
     .teardown = unmake},
    {.name = "list get (half a change)",
     .setup = make_half,
     .operate = get_it,
     .verify = verify,
     .teardown = unmake},
    {.name = "list create",
     .setup = make_name,
     .operate = create,
     .verify = verify_create,
     .teardown = unmake},
};

CRASH_MAIN(ops)
