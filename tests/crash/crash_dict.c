/*
 * crash_dict.c - dicts, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * Each change of an entry is there whole or not at all, and all other entries are as they were. The
 * operations are those of tables of different sizes: one that splits a bucket, one that needs a new
 * piece of memory for its buckets, one that shrinks and gives a piece back.
 */
#include "../c/made.h"
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define SMALL ((size_t)40)
#define LARGE ((size_t)20000)
#define MOST ((size_t)4000)

/* In crash_room(). */
struct scene {
    mproc_dict *dict;
    uint64_t key;  /* that the operation is about */
    uint64_t last; /* that setup inserted last */
    size_t keys;   /* others, from 1 on */
    size_t size;   /* of the new value */
    size_t old;    /* of the old value plus 1; 0: the key is not there */
    mproc_message message;
    uint64_t version;
    uint64_t ran;
};

static struct scene *scene(void) {
    return crash_room();
}

static char *filled(uint64_t number, size_t size) {
    static char bytes[LARGE + 1];
    memset(bytes, (int)(number * 31 + size), size);
    return bytes;
}

static void expect_filled(const mproc_message *m, uint64_t number, size_t size) {
    crash_equal(m->size, size);
    crash_require(memcmp(m->data, filled(number, size), size) == 0);
}

/* ---- scenes */

static void put(uint64_t key, size_t size) {
    crash_equal(mproc_dict_set(scene()->dict, &key, sizeof key, filled(key, size), size), 0);
}

static void *make(size_t keys, size_t size, size_t old) {
    struct scene *s = scene();
    s->dict = made_dict();
    crash_require(s->dict != NULL);
    s->keys = keys;
    s->size = size;
    s->old = old;
    s->key = 1000000;
    for (size_t i = 1; i <= keys; i++) {
        put(i, SMALL);
    }
    if (old != 0) {
        put(s->key, old - 1);
    }
    return s->dict;
}

static void unmake(void *dict) {
    mproc_drop(dict);
}

static void *empty(void) {
    return make(0, SMALL, 0);
}

static void *three(void) {
    return make(3, SMALL, 0);
}

static void *three_want_large(void) {
    return make(3, LARGE, 0);
}

static void *small_there(void) {
    return make(3, SMALL, SMALL + 1);
}

/* The shard has a spare entry already. */
static void *small_there_and_spare(void) {
    void *dict = make(3, SMALL, SMALL + 1);
    put(scene()->key, SMALL);
    return dict;
}

static void *small_there_want_large(void) {
    return make(3, LARGE, SMALL + 1);
}

static void *large_there(void) {
    return make(3, SMALL, LARGE + 1);
}

static void *large_there_want_large(void) {
    return make(3, LARGE, LARGE + 1);
}

static void *many_there(void) {
    return make(300, SMALL, SMALL + 1);
}

/* The next insertion splits a bucket, and then needs memory for more of them. Which insertion that
 * is shows in the blocks that it takes: one for the entry, one for the buckets. */
static void *about_to_grow(void) {
    struct scene *s = scene();
    mproc_dict *trial = made_dict();
    uint64_t n = 0;
    size_t before, blocks;
    crash_require(trial != NULL);
    do {
        n++;
        before = crash_blocks();
        crash_equal(mproc_dict_set(trial, &n, sizeof n, filled(n, SMALL), SMALL), 0);
        blocks = crash_blocks();
    } while (blocks == before + 1 && n < MOST);
    crash_equal(blocks, before + 2);
    mproc_drop(trial);
    void *dict = make((size_t)n - 1, SMALL, 0);
    s->key = n;
    return dict;
}

/* The next deletion gives a piece back. */
static void *about_to_shrink(void) {
    struct scene *s = scene();
    s->dict = make(600, SMALL, 0);
    for (uint64_t n = 1; n < 600; n++) {
        mproc_dict *d = s->dict;
        size_t before = crash_blocks();
        crash_equal(mproc_dict_delete(d, &n, sizeof n, MPROC_DICT_ANY), 0);
        if (crash_blocks() == before - 2) {
            mproc_drop(d);
            make(600, SMALL, 0);
            for (uint64_t i = 1; i < n; i++) {
                crash_equal(mproc_dict_delete(s->dict, &i, sizeof i, MPROC_DICT_ANY), 0);
            }
            s->key = n;
            s->old = SMALL + 1;
            s->last = 600;
            return s->dict;
        }
    }
    crash_fail(__FILE__, __LINE__, "no deletion gives a piece back");
}

/* ---- what is there afterwards */

static size_t first_key(void) {
    return scene()->last != 0 ? scene()->key + 1 : 1;
}

static size_t last_key(void) {
    return scene()->last != 0 ? scene()->last : scene()->keys;
}

static int get(uint64_t key, mproc_message *m) {
    return mproc_dict_get(scene()->dict, &key, sizeof key, m, NULL);
}

static void expect_others(void) {
    for (uint64_t i = first_key(); i <= last_key(); i++) {
        char room[SMALL];
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        crash_equal(get(i, &m), 0);
        expect_filled(&m, i, SMALL);
    }
}

/* Whether the key is there. */
static bool look(size_t *size) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    int r = get(scene()->key, &m);
    crash_require(r == 0 || r == -ENOENT);
    if (r == 0) {
        *size = m.size;
        expect_filled(&m, scene()->key, m.size);
        mproc_message_drop(&m);
    }
    return r == 0;
}

/* Everything works still: for each of the shards, and with growth. */
static void use(bool there) {
    mproc_dict *d = scene()->dict;
    size_t others = last_key() + 1 - first_key();
    crash_check(mproc_dict_check(d, why, sizeof why));
    crash_equal(mproc_dict_count(d), others + there);
    for (uint64_t i = 2000000; i < 2000060; i++) {
        put(i, i % 20 == 0 ? LARGE : SMALL);
    }
    for (uint64_t i = 2000000; i < 2000060; i++) {
        crash_equal(mproc_dict_delete(d, &i, sizeof i, MPROC_DICT_ANY), 0);
    }
    put(scene()->key, SMALL);
    crash_equal(mproc_dict_count(d), others + 1);
    crash_check(mproc_dict_check(d, why, sizeof why));
    expect_others();
}

/* The key had no value, or the old one; it has it, or the new one. */
static void verify_set(void *dict) {
    struct scene *s = scene();
    size_t size = 0;
    bool there = look(&size);
    (void)dict;
    expect_others();
    crash_require(there ? size == s->size || (s->old != 0 && size == s->old - 1) : s->old == 0);
    if (crash_returned()) {
        crash_require(there && size == s->size);
    }
    use(there);
}

static void verify_gone_or_same(void *dict) {
    struct scene *s = scene();
    size_t size = 0;
    bool there = look(&size);
    (void)dict;
    expect_others();
    crash_require(!there || (s->old != 0 && size == s->old - 1));
    crash_require(!(crash_returned() && there));
    use(there);
}

static void verify_same(void *dict) {
    struct scene *s = scene();
    size_t size = 0;
    bool there = look(&size);
    (void)dict;
    expect_others();
    crash_require(there == (s->old != 0) && (!there || size == s->old - 1));
    use(there);
}

/* ---- operations */

static void victim_does(int r) {
    if (r != 0) {
        abort();
    }
}

/* What the survivor's helpers keep warm is not the operation's. */
static void prepare(void *dict) {
    (void)dict;
    (void)filled(scene()->key, scene()->size);
}

static void operate_set(void *dict) {
    struct scene *s = scene();
    static char bytes[LARGE];
    memcpy(bytes, filled(s->key, s->size), s->size);
    victim_does(mproc_dict_set(dict, &s->key, sizeof s->key, bytes, s->size));
}

static void operate_insert(void *dict) {
    struct scene *s = scene();
    victim_does(mproc_dict_insert(dict, &s->key, sizeof s->key, filled(s->key, s->size), s->size));
}

static void operate_insert_in_vain(void *dict) {
    struct scene *s = scene();
    victim_does(mproc_dict_insert(dict, &s->key, sizeof s->key, "x", 1) + EEXIST);
}

static void operate_delete(void *dict) {
    struct scene *s = scene();
    victim_does(mproc_dict_delete(dict, &s->key, sizeof s->key, MPROC_DICT_ANY));
}

static void operate_get(void *dict) {
    struct scene *s = scene();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_dict_get(dict, &s->key, sizeof s->key, &m, NULL));
    mproc_message_drop(&m);
}

static void operate_pop(void *dict) {
    struct scene *s = scene();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    victim_does(mproc_dict_pop(dict, &s->key, sizeof s->key, &m));
    mproc_message_drop(&m);
}

static void operate_popitem(void *dict) {
    mproc_message key = MPROC_MESSAGE_INIT(NULL, 0), value = key;
    victim_does(mproc_dict_popitem(dict, &key, &value));
    mproc_message_drop(&key);
    mproc_message_drop(&value);
}

static void operate_snapshot(void *dict) {
    mproc_dict_snapshot *s;
    victim_does(mproc_dict_snapshot_new(&s, dict, 1));
    mproc_dict_snapshot_drop(s);
}

/* ---- a dict in a dict, with a large value, and a list in it */

static void put_object(mproc_dict *dict, uint64_t key, void *object) {
    mproc_buffer *along[] = {object};
    const mproc_dict_value value = {.buffers = along, .nbuffers = 1};
    if (mproc_dict_put(dict, &key, sizeof key, &value, MPROC_DICT_ANY) != 0) {
        abort();
    }
}

static mproc_dict *make_inner(void) {
    mproc_dict *inner = made_dict();
    mproc_list *list = made_list();
    uint64_t one = 1;
    if (inner == NULL || list == NULL || mproc_list_append(list, filled(3, LARGE), LARGE) != 0 ||
        mproc_dict_set(inner, &one, sizeof one, filled(1, LARGE), LARGE) != 0) {
        abort();
    }
    put_object(inner, 2, list);
    mproc_drop(list);
    return inner;
}

static void *nested_there(void) {
    void *dict = make(3, SMALL, 0);
    mproc_dict *inner = make_inner();
    put_object(dict, scene()->key, inner);
    mproc_drop(inner);
    return dict;
}

static mproc_dict *victims_inner; /* the victim holds it, too */

static void prepare_inner(void *dict) {
    (void)dict;
    victims_inner = make_inner();
}

static void operate_put_inner(void *dict) {
    put_object(dict, scene()->key, victims_inner);
    mproc_drop(victims_inner);
}

static void *object_in(mproc_dict *dict, uint64_t key, mproc_message *m) {
    crash_equal(mproc_dict_get(dict, &key, sizeof key, m, NULL), 0);
    void *object = mproc_message_object(m, 0);
    crash_require(object != NULL);
    return object;
}

/* Whether the key is there with the inner dict, which then is whole and can be used. */
static bool look_at_inner(mproc_dict *dict) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0), n = m, e = m;
    uint64_t key = scene()->key;
    if (!mproc_dict_has(dict, &key, sizeof key)) {
        return false;
    }
    mproc_dict *inner = object_in(dict, key, &m);
    crash_check(mproc_dict_check(inner, why, sizeof why));
    uint64_t one = 1;
    crash_equal(mproc_dict_get(inner, &one, sizeof one, &e, NULL), 0);
    expect_filled(&e, 1, LARGE);
    mproc_message_drop(&e);
    mproc_list *list = object_in(inner, 2, &n);
    crash_check(mproc_list_check(list, why, sizeof why));
    crash_equal(mproc_list_get(list, 0, &e, NULL), 0);
    expect_filled(&e, 3, LARGE);
    mproc_message_drop(&e);
    crash_equal(mproc_dict_delete(inner, &one, sizeof one, MPROC_DICT_ANY), 0);
    mproc_message_drop(&m); /* the list outlives the dict that it is in, as long as it is lent */
    crash_equal(mproc_dict_delete(dict, &key, sizeof key, MPROC_DICT_ANY), 0);
    crash_equal(mproc_list_count(list), 1);
    mproc_message_drop(&n);
    return true;
}

static void verify_inner_came(void *dict) {
    crash_require(look_at_inner(dict) || !crash_returned());
    use(false);
}

static void verify_inner_went(void *dict) {
    size_t size = 0;
    uint64_t key = scene()->key;
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    bool there = mproc_dict_get(dict, &key, sizeof key, &m, NULL) == 0;
    bool inner = there && mproc_message_object(&m, 0) != NULL;
    mproc_message_drop(&m);
    crash_require(!(crash_returned() && inner));
    if (inner) {
        crash_require(look_at_inner(dict));
        there = false;
    }
    crash_require(!there || look(&size));
    use(there);
}

static void make_own_nested(void *unused) {
    (void)unused;
    nested_there();
}

/* ---- clear */

static void operate_clear(void *dict) {
    mproc_dict_clear(dict);
}

/* All, or none. */
static void verify_clear(void *dict) {
    struct scene *s = scene();
    size_t size;
    bool there = look(&size);
    crash_require(!(crash_returned() && there));
    crash_equal(mproc_dict_count(dict), there ? s->keys + 1 : 0);
    crash_check(mproc_dict_check(dict, why, sizeof why));
    if (there) {
        expect_others();
    } else {
        for (uint64_t i = 1; i <= s->keys; i++) {
            crash_require(!mproc_dict_has(dict, &i, sizeof i));
            put(i, SMALL);
        }
    }
    use(there);
}

/* ---- numbers */

static void *number_there(void) {
    void *dict = make(3, SMALL, 0);
    crash_equal(mproc_dict_add(dict, "n", 1, 1000, NULL), 0);
    return dict;
}

static void operate_add(void *dict) {
    victim_does(mproc_dict_add(dict, "n", 1, 70000, NULL));
}

static int double_it(void *arg, const mproc_message *old, mproc_dict_value *value) {
    static char room[2 * 9];
    static struct iovec piece;
    int64_t n = 0;
    (void)arg;
    if (mproc_dict_number(old->data, old->size, &n) != 0) {
        return -EINVAL;
    }
    room[0] = '\xd2';
    for (int i = 0; i < 4; i++) {
        room[1 + i] = (char)((n + 70000) >> 8 * (3 - i));
    }
    piece = (struct iovec){room, 5};
    *value = (mproc_dict_value){.pieces = &piece, .n = 1};
    return 0;
}

static void operate_update(void *dict) {
    victim_does(mproc_dict_update(dict, "n", 1, double_it, NULL));
}

static void verify_add(void *dict) {
    int64_t sum;
    crash_equal(mproc_dict_update(dict, "n", 1, double_it, NULL), 0);
    crash_equal(mproc_dict_add(dict, "n", 1, 0, &sum), 0);
    crash_require(sum == 71000 || sum == 141000);
    crash_require(!(crash_returned() && sum != 141000));
    crash_equal(mproc_dict_delete(dict, "n", 1, MPROC_DICT_ANY), 0);
    use(false);
}

/* ---- locks and waits */

static void lock(void *dict) {
    victim_does(mproc_dict_lock(dict, "k", 1, CRASH_SOON));
}

static void unlock(void *dict) {
    victim_does(mproc_dict_unlock(dict, "k", 1));
}

static void lock_twice_and_unlock(void *dict) {
    lock(dict);
    lock(dict);
    unlock(dict);
    unlock(dict);
}

static void verify_lock(void *dict) {
    int r = mproc_dict_lock(dict, "k", 1, CRASH_SOON);
    crash_require(r == 0 || r == -EOWNERDEAD);
    crash_equal(mproc_dict_unlock(dict, "k", 1), 0);
    crash_equal(mproc_dict_unlock(dict, "k", 1), MPROC_ENOTHELD);
    verify_same(dict);
}

static void verify_unlocked(void *dict) {
    if (crash_returned()) {
        crash_equal(mproc_dict_lock(dict, "k", 1, CRASH_SOON), 0);
        crash_equal(mproc_dict_unlock(dict, "k", 1), 0);
    }
    verify_lock(dict);
}

static void *locked(void) {
    void *dict = small_there();
    crash_equal(mproc_dict_lock(dict, "k", 1, 0), 0);
    return dict;
}

static void let_go(void *dict) {
    crash_equal(mproc_dict_unlock(dict, "k", 1), 0);
    scene()->ran = 1;
}

static void verify_after_wait(void *dict) {
    if (scene()->ran == 0) {
        let_go(dict);
    }
    verify_lock(dict);
}

static void operate_wait(void *dict) {
    struct scene *s = scene();
    uint64_t version = 0;
    victim_does(mproc_dict_wait(dict, &s->key, sizeof s->key, &version, CRASH_SOON));
}

static void set_meanwhile(void *dict) {
    (void)dict;
    put(scene()->key, SMALL);
    scene()->ran = 1;
}

static void verify_waited(void *dict) {
    if (scene()->ran == 0) {
        set_meanwhile(dict);
    }
    scene()->old = SMALL + 1;
    verify_same(dict);
}

/* ---- birth and end */

static void operate_new(void *unused) {
    (void)unused;
    if (made_dict() == NULL) {
        abort();
    }
}

static void make_own(void *unused) {
    (void)unused;
    make(40, LARGE, LARGE + 1);
}

static void operate_drop_own(void *unused) {
    (void)unused;
    victim_does(mproc_drop(scene()->dict));
}

static void verify_new(void *unused) {
    (void)unused;
    void *dict = small_there();
    verify_same(dict);
    unmake(dict);
}

#define OP(name_, setup_, operate_, verify_)                                                       \
    {                                                                                              \
        .name = "dict " name_, .setup = (setup_), .prepare = prepare, .operate = (operate_),       \
        .verify = (verify_), .teardown = unmake, .sample = 80                                      \
    }

static const struct crash_op ops[] = {
    OP("set (new)", three, operate_set, verify_set),
    OP("set (first of all)", empty, operate_set, verify_set),
    OP("set (in place of another)", small_there, operate_set, verify_set),
    OP("set (spare)", small_there_and_spare, operate_set, verify_set),
    OP("set (large)", three_want_large, operate_set, verify_set),
    OP("set (large for small)", small_there_want_large, operate_set, verify_set),
    OP("set (small for large)", large_there, operate_set, verify_set),
    OP("set (large for large)", large_there_want_large, operate_set, verify_set),
    OP("set (grows)", about_to_grow, operate_set, verify_set),
    OP("insert", three, operate_insert, verify_set),
    OP("insert (in vain)", small_there, operate_insert_in_vain, verify_same),
    OP("delete", small_there, operate_delete, verify_gone_or_same),
    OP("delete (large)", large_there, operate_delete, verify_gone_or_same),
    OP("delete (shrinks)", about_to_shrink, operate_delete, verify_gone_or_same),
    OP("get", small_there, operate_get, verify_same),
    OP("get (large)", large_there, operate_get, verify_same),
    OP("pop", small_there, operate_pop, verify_gone_or_same),
    OP("pop (large)", large_there, operate_pop, verify_gone_or_same),
    OP("popitem", small_there, operate_popitem, verify_gone_or_same),
    OP("snapshot", large_there, operate_snapshot, verify_same),
    {.name = "dict clear",
     .setup = many_there,
     .operate = operate_clear,
     .verify = verify_clear,
     .teardown = unmake,
     .sample = 300},
    {.name = "dict put (a dict in it)",
     .setup = three,
     .prepare = prepare_inner,
     .operate = operate_put_inner,
     .verify = verify_inner_came,
     .teardown = unmake,
     .sample = 300},
    {.name = "dict set (in place of a dict)",
     .setup = nested_there,
     .prepare = prepare,
     .operate = operate_set,
     .verify = verify_inner_went,
     .teardown = unmake,
     .sample = 300},
    {.name = "dict delete (a dict in it)",
     .setup = nested_there,
     .operate = operate_delete,
     .verify = verify_inner_went,
     .teardown = unmake,
     .sample = 300},
    {.name = "dict drop (a dict in it)",
     .setup = crash_no_object,
     .prepare = make_own_nested,
     .operate = operate_drop_own,
     .verify = verify_new,
     .teardown = crash_nothing,
     .sample = 300},
    OP("add", number_there, operate_add, verify_add),
    OP("update", number_there, operate_update, verify_add),
    OP("lock", small_there, lock, verify_lock),
    OP("lock, lock, unlock, unlock", small_there, lock_twice_and_unlock, verify_unlocked),
    {.name = "dict lock (another has it)",
     .setup = locked,
     .operate = lock,
     .meanwhile = let_go,
     .verify = verify_after_wait,
     .teardown = unmake},
    {.name = "dict wait",
     .setup = three,
     .operate = operate_wait,
     .meanwhile = set_meanwhile,
     .verify = verify_waited,
     .teardown = unmake},
    {.name = "dict new",
     .setup = crash_no_object,
     .operate = operate_new,
     .verify = verify_new,
     .teardown = crash_nothing,
     .sample = 400},
    {.name = "dict drop (last hold)",
     .setup = crash_no_object,
     .prepare = make_own,
     .operate = operate_drop_own,
     .verify = verify_new,
     .teardown = crash_nothing,
     .sample = 400},
};

CRASH_MAIN(ops)
