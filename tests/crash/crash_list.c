/*
 * crash_list.c - lists, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * Each change of a list is there whole or not at all: the list is as it was, or as the operation
 * makes it. Both are computed beforehand, element by element.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define SMALL ((size_t)40)
#define LARGE ((size_t)9000)
#define MOST 800
#define CHUNK 128 /* elements of a chunk, as in src/list */

struct numbers {
    uint64_t at[MOST];
    size_t n;
};

/* In crash_room(). */
struct scene {
    mproc_list *list;
    struct numbers before, after;
};

static struct scene *scene(void) {
    return crash_room();
}

/* ---- elements that are numbers; large ones from 1000 on */

static size_t size_of(uint64_t number) {
    return number >= 1000 ? LARGE : SMALL;
}

static char *bytes_of(uint64_t number) {
    static char bytes[LARGE];
    memset(bytes, (int)number, sizeof bytes);
    memcpy(bytes, &number, sizeof number);
    return bytes;
}

static void append(uint64_t number) {
    crash_equal(mproc_list_append(scene()->list, bytes_of(number), size_of(number)), 0);
}

static uint64_t number_in(const mproc_message *m) {
    uint64_t number;
    crash_require(m->size >= sizeof number);
    memcpy(&number, m->data, sizeof number);
    crash_equal(m->size, size_of(number));
    crash_require(memcmp(m->data, bytes_of(number), m->size) == 0);
    return number;
}

/* ---- scenes */

/* Elements 1 to n, the middle one large; `after` is as `before`, and to be changed. */
static void *make(size_t n) {
    struct scene *s = scene();
    s->list = made_list();
    crash_require(s->list != NULL);
    s->before.n = n;
    for (size_t i = 0; i < n; i++) {
        s->before.at[i] = i == n / 2 ? 1000 + i : i + 1;
        append(s->before.at[i]);
    }
    s->after = s->before;
    return s->list;
}

/* The elements begin behind the beginning of a chunk. */
static void *make_late(size_t n, size_t late) {
    struct scene *s = scene();
    (void)make(n);
    for (size_t i = 0; i < late; i++) {
        append(i + 1);
        crash_equal(mproc_list_delete(s->list, 0, MPROC_LIST_ANY), 0);
        memmove(&s->before.at[0], &s->before.at[1], (n - 1) * sizeof s->before.at[0]);
        s->before.at[n - 1] = i + 1;
    }
    s->after = s->before;
    return s->list;
}

static void unmake(void *list) {
    mproc_drop(list);
}

/* `after` has `in` new elements, from 500 or 2000 on, in the place of `out` of them. */
static void replace(size_t at, size_t out, size_t in, uint64_t first) {
    struct numbers *a = &scene()->after;
    memmove(&a->at[at + in], &a->at[at + out], (a->n - at - out) * sizeof a->at[0]);
    for (size_t i = 0; i < in; i++) {
        a->at[at + i] = first + i;
    }
    a->n += in - out;
}

/* ---- what is there afterwards */

static bool is(const mproc_list_snapshot *s, const struct numbers *wanted) {
    bool same = mproc_list_snapshot_count(s) == wanted->n;
    for (size_t i = 0; same && i < wanted->n; i++) {
        mproc_message m;
        crash_equal(mproc_list_snapshot_item(s, i, &m), 0);
        same = number_in(&m) == wanted->at[i];
    }
    return same;
}

/* Everything works still, at both ends and in the middle. */
static void use(void) {
    mproc_list *l = scene()->list;
    uint64_t n = mproc_list_count(l);
    for (uint64_t i = 0; i < 3; i++) {
        append(700 + i);
        crash_equal(mproc_list_insert(l, 0, bytes_of(3000 + i), size_of(3000 + i)), 0);
        crash_equal(mproc_list_insert(l, 2, bytes_of(600 + i), size_of(600 + i)), 0);
    }
    for (int i = 0; i < 3; i++) {
        crash_equal(mproc_list_delete(l, 1, MPROC_LIST_ANY), 0);
        crash_equal(mproc_list_delete(l, -1, MPROC_LIST_ANY), 0);
        crash_equal(mproc_list_delete(l, 0, MPROC_LIST_ANY), 0);
    }
    crash_equal(mproc_list_count(l), n);
    crash_check(mproc_list_check(l, why, sizeof why));
    crash_equal(mproc_list_clear(l), 0);
    append(1);
    crash_equal(mproc_list_count(l), 1);
    crash_check(mproc_list_check(l, why, sizeof why));
}

static void verify(void *list) {
    struct scene *s = scene();
    mproc_list_snapshot *all;
    crash_check(mproc_list_check(list, why, sizeof why));
    crash_equal(mproc_list_snapshot_new(&all, list, 0, INT64_MAX, 1), 0);
    bool before = is(all, &s->before), after = is(all, &s->after);
    mproc_list_snapshot_drop(all);
    crash_require(before || after);
    crash_require(!crash_returned() || after);
    use();
}

/* ---- operations */

static void victim_does(int r) {
    if (r != 0) {
        abort();
    }
}

/* What the survivor's helpers keep warm is not the operation's. */
static void prepare(void *list) {
    (void)list;
    (void)bytes_of(1);
}

static void insert(void *list, int64_t i, uint64_t number) {
    victim_does(mproc_list_insert(list, i, bytes_of(number), size_of(number)));
}

static void *first_of_all(void) {
    void *list = make(0);
    replace(0, 0, 1, 500);
    return list;
}

static void *append_small(void) {
    void *list = make(3);
    replace(3, 0, 1, 500);
    return list;
}

static void *append_large(void) {
    void *list = make(3);
    replace(3, 0, 1, 2000);
    return list;
}

static void *append_grows(void) {
    void *list = make(CHUNK);
    replace(CHUNK, 0, 1, 500);
    return list;
}

/* The directory has four places. */
static void *append_grows_directory(void) {
    void *list = make((size_t)4 * CHUNK);
    replace((size_t)4 * CHUNK, 0, 1, 500);
    return list;
}

static void operate_append(void *list) {
    const struct numbers *a = &scene()->after;
    uint64_t number = a->at[a->n - 1];
    victim_does(mproc_list_append(list, bytes_of(number), size_of(number)));
}

static void *insert_first(void) {
    void *list = make_late(5, 3);
    replace(0, 0, 1, 500);
    return list;
}

static void *insert_first_grows(void) {
    void *list = make(5);
    replace(0, 0, 1, 2000);
    return list;
}

static void operate_insert_first(void *list) {
    insert(list, 0, scene()->after.at[0]);
}

static void *insert_second(void) {
    void *list = make(7);
    replace(1, 0, 1, 2000);
    return list;
}

static void operate_insert_second(void *list) {
    insert(list, 1, 2000);
}

static void *insert_last_but_one(void) {
    void *list = make(7);
    replace(6, 0, 1, 500);
    return list;
}

static void operate_insert_last_but_one(void *list) {
    insert(list, 6, 500);
}

static void *set_third(void) {
    void *list = make(5);
    replace(2, 1, 1, 500); /* a large one goes */
    return list;
}

static void *set_third_large(void) {
    void *list = make(5);
    replace(2, 1, 1, 2000);
    return list;
}

static void operate_set(void *list) {
    uint64_t number = scene()->after.at[2];
    victim_does(mproc_list_set(list, 2, bytes_of(number), size_of(number)));
}

static void *delete_first(void) {
    void *list = make_late(5, 2);
    replace(0, 1, 0, 0);
    return list;
}

static void *delete_last(void) {
    void *list = make(5);
    replace(4, 1, 0, 0);
    return list;
}

static void *delete_large(void) { /* the only one */
    void *list = make(1);
    replace(0, 1, 0, 0);
    return list;
}

/* Three chunks were in use; the second one is kept as long as the first one has an element. */
static void *delete_shrinks(void) {
    void *list = make((size_t)2 * CHUNK + 1);
    while (scene()->after.n > 1) {
        crash_equal(mproc_list_delete(list, -1, MPROC_LIST_ANY), 0);
        replace(scene()->after.n - 1, 1, 0, 0);
    }
    scene()->before = scene()->after;
    replace(0, 1, 0, 0);
    return list;
}

static void operate_delete_first(void *list) {
    victim_does(mproc_list_delete(list, 0, MPROC_LIST_ANY));
}

static void operate_delete_last(void *list) {
    victim_does(mproc_list_delete(list, -1, MPROC_LIST_ANY));
}

static void *delete_middle(void) {
    void *list = make(7);
    replace(3, 1, 0, 0);
    return list;
}

static void operate_delete_middle(void *list) {
    victim_does(mproc_list_delete(list, 3, MPROC_LIST_ANY));
}

static void operate_pop(void *list) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_list_pop(list, scene()->before.n == 7 ? 3 : -1, &m));
    mproc_message_drop(&m);
}

/* Several new ones come in the place of several, in the front half or behind. */
static void *splice_front(void) {
    void *list = make(9);
    replace(2, 1, 3, 500);
    return list;
}

static void *splice_back(void) {
    void *list = make(9);
    replace(6, 1, 3, 500);
    return list;
}

static void *splice_fewer(void) {
    void *list = make(9);
    replace(1, 5, 3, 500);
    return list;
}

static void *splice_fewer_back(void) {
    void *list = make(9);
    replace(4, 4, 3, 500);
    return list;
}

static void splice(void *list, int64_t start, int64_t stop, size_t n, uint64_t first) {
    struct iovec pieces[3];
    mproc_list_value values[3];
    char bytes[3][SMALL];
    for (size_t i = 0; i < n; i++) {
        memcpy(bytes[i], bytes_of(first + i), SMALL);
        pieces[i] = (struct iovec){bytes[i], SMALL};
        values[i] = (mproc_list_value){.pieces = &pieces[i], .n = 1};
    }
    victim_does(mproc_list_assign(list, start, stop, 1, values, n));
}

static void operate_splice_front(void *list) {
    splice(list, 2, 3, 3, 500);
}

static void operate_splice_back(void *list) {
    splice(list, 6, 7, 3, 500);
}

static void operate_splice_fewer(void *list) {
    splice(list, 1, 6, 3, 500);
}

static void operate_splice_fewer_back(void *list) {
    splice(list, 4, 8, 3, 500);
}

/* A new chunk for what comes behind. */
static void *extend_grows(void) {
    void *list = make(CHUNK - 1);
    replace(CHUNK - 1, 0, 3, 500);
    return list;
}

static void operate_extend(void *list) {
    splice(list, INT64_MAX, INT64_MAX, 3, 500);
}

static void *cut_every_second(void) {
    void *list = make(5);
    for (size_t i = 0; i < 3; i++) {
        replace(i, 1, 0, 0);
    }
    return list;
}

static void operate_cut(void *list) {
    victim_does(mproc_list_cut(list, 0, INT64_MAX, 2));
}

static void *cut_most(void) {
    void *list = make((size_t)3 * CHUNK);
    replace(1, (size_t)3 * CHUNK - 1, 0, 0);
    return list;
}

static void operate_cut_most(void *list) {
    victim_does(mproc_list_cut(list, 1, INT64_MAX, 1));
}

static void *reversed(void) {
    void *list = make(6);
    struct numbers *a = &scene()->after;
    for (size_t i = 0; i < a->n; i++) {
        a->at[i] = scene()->before.at[a->n - 1 - i];
    }
    return list;
}

static void operate_reverse(void *list) {
    victim_does(mproc_list_reverse(list));
}

static void operate_arrange(void *list) {
    const uint64_t order[] = {5, 4, 3, 2, 1, 0};
    victim_does(mproc_list_arrange(list, order, 6, MPROC_LIST_ANY));
}

static void *swapped(void) {
    void *list = make(5);
    struct numbers *a = &scene()->after;
    a->at[0] = scene()->before.at[3];
    a->at[3] = scene()->before.at[0];
    return list;
}

static void operate_swap(void *list) {
    victim_does(mproc_list_swap(list, 0, 3));
}

static void *cleared(void) {
    void *list = make(10);
    scene()->after.n = 0;
    return list;
}

static void operate_clear(void *list) {
    victim_does(mproc_list_clear(list));
}

static void *unchanged(void) {
    return make(5);
}

static void operate_get(void *list) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_list_get(list, 0, &m, NULL));
    mproc_message_drop(&m);
}

static void operate_get_large(void *list) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_list_get(list, 2, &m, NULL));
    mproc_message_drop(&m);
}

static void operate_find(void *list) {
    uint64_t at;
    victim_does(mproc_list_find(list, bytes_of(4), SMALL, 0, INT64_MAX, &at));
}

static void operate_snapshot(void *list) {
    mproc_list_snapshot *s;
    victim_does(mproc_list_snapshot_new(&s, list, 0, INT64_MAX, 1));
    mproc_list_snapshot_drop(s);
}

/* ---- birth and end */

static void operate_new(void *unused) {
    (void)unused;
    if (made_list() == NULL) {
        abort();
    }
}

static void make_own(void *unused) {
    (void)unused;
    (void)make(20);
}

static void operate_drop_own(void *unused) {
    (void)unused;
    victim_does(mproc_drop(scene()->list));
}

static void verify_new(void *unused) {
    (void)unused;
    void *list = unchanged();
    verify(list);
    unmake(list);
}

#define OP(name_, setup_, operate_)                                                                \
    {                                                                                              \
        .name = "list " name_, .setup = (setup_), .prepare = prepare, .operate = (operate_),       \
        .verify = verify, .teardown = unmake, .sample = 80                                         \
    }

static const struct crash_op ops[] = {
    OP("append (first of all)", first_of_all, operate_append),
    OP("append", append_small, operate_append),
    OP("append (large)", append_large, operate_append),
    OP("append (new chunk)", append_grows, operate_append),
    OP("append (new directory)", append_grows_directory, operate_append),
    OP("insert (first)", insert_first, operate_insert_first),
    OP("insert (first, large, new chunk)", insert_first_grows, operate_insert_first),
    OP("insert (front, large)", insert_second, operate_insert_second),
    OP("insert (back)", insert_last_but_one, operate_insert_last_but_one),
    OP("set (small for large)", set_third, operate_set),
    OP("set (large for large)", set_third_large, operate_set),
    OP("delete (first)", delete_first, operate_delete_first),
    OP("delete (last)", delete_last, operate_delete_last),
    OP("delete (large)", delete_large, operate_delete_last),
    OP("delete (gives back)", delete_shrinks, operate_delete_last),
    OP("delete (middle, large)", delete_middle, operate_delete_middle),
    OP("pop", delete_last, operate_pop),
    OP("pop (middle, large)", delete_middle, operate_pop),
    OP("assign (more, front)", splice_front, operate_splice_front),
    OP("assign (more, back)", splice_back, operate_splice_back),
    OP("assign (fewer, front)", splice_fewer, operate_splice_fewer),
    OP("assign (fewer, back)", splice_fewer_back, operate_splice_fewer_back),
    OP("extend (new chunk)", extend_grows, operate_extend),
    OP("cut (step 2)", cut_every_second, operate_cut),
    OP("cut (gives back)", cut_most, operate_cut_most),
    OP("reverse", reversed, operate_reverse),
    OP("arrange", reversed, operate_arrange),
    OP("swap", swapped, operate_swap),
    OP("clear", cleared, operate_clear),
    OP("get", unchanged, operate_get),
    OP("get (large)", unchanged, operate_get_large),
    OP("find", unchanged, operate_find),
    OP("snapshot", unchanged, operate_snapshot),
    {.name = "list new",
     .setup = crash_no_object,
     .operate = operate_new,
     .verify = verify_new,
     .teardown = crash_nothing,
     .sample = 200},
    {.name = "list drop (last hold)",
     .setup = crash_no_object,
     .prepare = make_own,
     .operate = operate_drop_own,
     .verify = verify_new,
     .teardown = crash_nothing,
     .sample = 200},
};

CRASH_MAIN(ops)
