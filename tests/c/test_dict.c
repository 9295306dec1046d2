/*
 * test_dict.c - every call of a dict, beside a model; its order, growth, limits and waits
 *
 * SPDX-License-Identifier: MIT
 *
 * What several members do at once is in test_dict_histories.c.
 */
#define _GNU_SOURCE
#include "dict/table.h"
#include "made.h"
#include "members.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define MIB ((size_t)1 << 20)

static void check(mproc_dict *d) {
    char why[256] = "";
    if (mproc_dict_check(d, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

static void drop_and_check(mproc_dict *d) {
    check(d);
    mproc_drop(d);
    (void)mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

static void set(mproc_dict *d, const char *key, const char *value) {
    CHECK_OK(mproc_dict_set(d, key, strlen(key), value, strlen(value)));
}

static void expect(mproc_dict *d, const char *key, const char *value) {
    char room[64];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_dict_get(d, key, strlen(key), &m, NULL));
    CHECK_EQ(m.size, strlen(value));
    CHECK_MEM(m.data, value, m.size);
    CHECK(mproc_dict_has(d, key, strlen(key)));
    mproc_message_drop(&m);
}

static void expect_absent(mproc_dict *d, const char *key) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_dict_get(d, key, strlen(key), &m, NULL), -ENOENT);
    CHECK(!mproc_dict_has(d, key, strlen(key)));
}

static uint64_t version_of(mproc_dict *d, const char *key) {
    uint64_t version = 0;
    char room[64];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_dict_get(d, key, strlen(key), &m, &version);
    CHECK(r == 0 || r == -ENOENT);
    mproc_message_drop(&m);
    return version;
}

/* ---------------------------------------------------------------- one entry */

TEST(dict_entries_come_and_go) {
    mproc_dict *d = made_dict();
    CHECK_EQ(mproc_dict_count(d), 0);
    expect_absent(d, "a");
    set(d, "a", "one");
    set(d, "b", "");
    set(d, "", "the empty key");
    CHECK_EQ(mproc_dict_count(d), 3);
    expect(d, "a", "one");
    expect(d, "b", "");
    expect(d, "", "the empty key");
    set(d, "a", "a longer value than before");
    expect(d, "a", "a longer value than before");
    CHECK_EQ(mproc_dict_count(d), 3);
    CHECK_OK(mproc_dict_delete(d, "a", 1, MPROC_DICT_ANY));
    CHECK_EQ(mproc_dict_delete(d, "a", 1, MPROC_DICT_ANY), -ENOENT);
    expect_absent(d, "a");
    CHECK_EQ(mproc_dict_count(d), 2);
    drop_and_check(d);
}

TEST(dict_insert_and_replace_look_first) {
    mproc_dict *d = made_dict();
    CHECK_EQ(mproc_dict_replace(d, "k", 1, "", 0, "x", 1), -ENOENT);
    CHECK_OK(mproc_dict_insert(d, "k", 1, "x", 1));
    CHECK_EQ(mproc_dict_insert(d, "k", 1, "y", 1), -EEXIST);
    expect(d, "k", "x");
    CHECK_EQ(mproc_dict_replace(d, "k", 1, "y", 1, "z", 1), -ESTALE);
    CHECK_EQ(mproc_dict_replace(d, "k", 1, "xx", 2, "z", 1), -ESTALE);
    CHECK_OK(mproc_dict_replace(d, "k", 1, "x", 1, "z", 1));
    expect(d, "k", "z");
    drop_and_check(d);
}

TEST(dict_versions_tell_values_apart) {
    mproc_dict *d = made_dict();
    mproc_dict_value value = {.pieces = &(struct iovec){"new", 3}, .n = 1};
    CHECK_EQ(version_of(d, "k"), 0);
    CHECK_EQ(mproc_dict_put(d, "k", 1, &value, 17), -ESTALE);
    CHECK_OK(mproc_dict_put(d, "k", 1, &value, 0));
    CHECK_EQ(mproc_dict_put(d, "k", 1, &value, 0), -EEXIST);
    uint64_t first = version_of(d, "k");
    CHECK_NE(first, 0);
    CHECK_OK(mproc_dict_put(d, "k", 1, &value, first));
    uint64_t second = version_of(d, "k");
    CHECK_NE(second, first);
    CHECK_EQ(mproc_dict_put(d, "k", 1, &value, first), -ESTALE);
    CHECK_EQ(mproc_dict_delete(d, "k", 1, first), -ESTALE);
    CHECK_OK(mproc_dict_delete(d, "k", 1, second));
    CHECK_OK(mproc_dict_put(d, "k", 1, &value, 0));
    CHECK_NE(version_of(d, "k"), first);
    CHECK_NE(version_of(d, "k"), second);
    value.n = -1;
    CHECK_EQ(mproc_dict_put(d, "k", 1, &value, MPROC_DICT_ANY), -EINVAL);
    drop_and_check(d);
}

TEST(dict_pop_gives_the_value) {
    mproc_dict *d = made_dict();
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_EQ(mproc_dict_pop(d, "k", 1, &m), -ENOENT);
    set(d, "k", "value");
    CHECK_OK(mproc_dict_pop(d, "k", 1, &m));
    CHECK_EQ(m.size, 5);
    CHECK_MEM(m.data, "value", 5);
    CHECK_EQ(mproc_dict_pop(d, "k", 1, &m), -ENOENT);
    mproc_message_drop(&m);
    CHECK_EQ(mproc_dict_count(d), 0);
    drop_and_check(d);
}

TEST(dict_keys_are_their_bytes) {
    mproc_dict *d = made_dict();
    char key[MPROC_DICT_KEY_MAX + 1];
    for (size_t size = 0; size <= MPROC_DICT_KEY_MAX; size += size < 70 ? 1 : 1001) {
        memset(key, 0, size);
        CHECK_OK(mproc_dict_insert(d, key, size, &size, sizeof size));
        for (size_t i = 0; i < size && i < 40; i++) { /* each byte counts */
            key[i] = 1;
            CHECK(!mproc_dict_has(d, key, size));
            key[i] = 0;
        }
    }
    memset(key, 0, sizeof key);
    CHECK_EQ(mproc_dict_set(d, key, sizeof key, "", 0), MPROC_ETOOBIG);
    CHECK(!mproc_dict_has(d, key, sizeof key));
    drop_and_check(d);
}

/* Short keys have a way of their own: it finds what was set, and nothing that was not. */
TEST(dict_gets_by_keys_of_every_size) {
    mproc_dict *d = made_dict();
    unsigned char key[40], room[16];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t version = 0;
    for (size_t size = 0; size <= sizeof key; size++) {
        for (size_t i = 0; i < sizeof key; i++) {
            key[i] = (unsigned char)(size * 37 + i * 11 + 129);
        }
        CHECK_OK(mproc_dict_set(d, key, size, &size, sizeof size));
        CHECK_OK(mproc_dict_get(d, key, size, &m, &version));
        CHECK_EQ(m.size, sizeof size);
        CHECK_MEM(m.data, &size, sizeof size);
        CHECK(m.data == room && m.block == NULL && version != 0);
        for (size_t i = 0; i < size; i++) {
            key[i] ^= 0x80;
            CHECK_EQ(mproc_dict_get(d, key, size, &m, NULL), -ENOENT);
            key[i] ^= 0x80;
        }
        CHECK_OK(mproc_dict_delete(d, key, size, version));
        CHECK_EQ(mproc_dict_get(d, key, size, &m, NULL), -ENOENT);
        CHECK_OK(mproc_dict_set(d, key, size, "", 0));
        CHECK_OK(mproc_dict_get(d, key, size, &m, NULL));
        CHECK_EQ(m.size, 0);
        mproc_dict_clear(d);
        CHECK_EQ(mproc_dict_get(d, key, size, &m, NULL), -ENOENT);
    }
    drop_and_check(d);
}

/* ---------------------------------------------------------------- values of every size */

static const size_t sizes[] = {0,    1,    7,     100,   1000,    1024,          8191,
                               8192, 8193, 20000, 65536, 1 << 20, (1 << 20) + 1, 5 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void fill(unsigned char *p, size_t size, size_t number) {
    for (size_t i = 0; i < size; i++) {
        p[i] = (unsigned char)((number + i) * 167 + (i >> 8));
    }
}

static void expect_filled(const mproc_message *m, size_t size, size_t number) {
    const unsigned char *p = m->data;
    CHECK_EQ(m->size, size);
    for (size_t i = 0; i < size; i++) {
        if (p[i] != (unsigned char)((number + i) * 167 + (i >> 8))) {
            test_fail(__FILE__, __LINE__, "byte %zu of a value of %zu", i, size);
        }
    }
}

static void set_filled(mproc_dict *d, size_t key, size_t size, size_t number) {
    unsigned char *p = malloc(size + 1);
    CHECK(p != NULL);
    fill(p, size, number);
    CHECK_OK(mproc_dict_set(d, &key, sizeof key, p, size));
    free(p);
}

TEST(dict_values_of_every_size) {
    mproc_dict *d = made_dict();
    unsigned char room[9000];
    for (size_t a = 0; a < SIZES; a++) {
        for (size_t b = 0; b < SIZES; b++) { /* one in the place of another one */
            set_filled(d, a, sizes[b], a + b);
            check(d);
        }
        set_filled(d, a, sizes[a], a);
    }
    for (size_t a = 0; a < SIZES; a++) {
        for (size_t most = 0; most <= sizeof room; most += 4500) {
            mproc_message m = MPROC_MESSAGE_INIT(room, most);
            CHECK_OK(mproc_dict_get(d, &a, sizeof a, &m, NULL));
            expect_filled(&m, sizes[a], a);
            CHECK_EQ(m.block != NULL, sizes[a] > MPROC_MESSAGE_INLINE || sizes[a] > most);
            mproc_message_drop(&m);
        }
    }
    drop_and_check(d);
}

TEST(dict_lent_values_outlive_their_entry) {
    mproc_dict *d = made_dict();
    size_t key = 1;
    mproc_message a = MPROC_MESSAGE_INIT(NULL, 0), b = a, c = a;
    set_filled(d, key, MIB, 5);
    CHECK_OK(mproc_dict_get(d, &key, sizeof key, &a, NULL));
    CHECK_OK(mproc_dict_get(d, &key, sizeof key, &b, NULL));
    CHECK(a.data == b.data); /* lent, not copied */
    set_filled(d, key, MIB, 6);
    CHECK_OK(mproc_dict_get(d, &key, sizeof key, &c, NULL));
    CHECK_OK(mproc_dict_delete(d, &key, sizeof key, MPROC_DICT_ANY));
    mproc_message_drop(&b);
    check(d);
    mproc_drop(d);
    expect_filled(&a, MIB, 5);
    expect_filled(&c, MIB, 6);
    mproc_message_drop(&a);
    mproc_message_drop(&c);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* ---------------------------------------------------------------- objects as values */

static void put_object(mproc_dict *d, const char *key, void *object) {
    mproc_buffer *along[] = {object};
    const mproc_dict_value value = {.buffers = along, .nbuffers = 1};
    CHECK_OK(mproc_dict_put(d, key, strlen(key), &value, MPROC_DICT_ANY));
}

static void *object_of(mproc_dict *d, const char *key, mproc_message *m) {
    *m = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_dict_get(d, key, strlen(key), m, NULL));
    CHECK(mproc_message_buffer(m, 0) == NULL && mproc_message_object(m, 1) == NULL);
    return mproc_message_object(m, 0);
}

TEST(dict_values_bring_objects_of_any_kind) {
    mproc_dict *d = made_dict(), *inner = made_dict();
    mproc_message m;
    void *const objects[] = {made_lock(0),      made_rlock(),    made_queue(0),
                             made_event(),      made_list(),     made_condition(),
                             made_semaphore(3), made_barrier(2), made_array(8, 3)};
    size_t n = sizeof objects / sizeof *objects;
    set(inner, "k", "deep");
    put_object(d, "dict", inner);
    mproc_drop(inner);
    for (size_t i = 0; i < n; i++) {
        put_object(d, (char[]){(char)('a' + i), 0}, objects[i]);
        mproc_drop(objects[i]);
        CHECK(object_of(d, (char[]){(char)('a' + i), 0}, &m) == objects[i]);
        mproc_message_drop(&m);
        check_family();
    }
    CHECK(object_of(d, "dict", &m) == inner);
    expect(inner, "k", "deep");
    CHECK_OK(mproc_hold(inner)); /* it can be kept */
    mproc_message_drop(&m);
    CHECK_OK(mproc_dict_delete(d, "dict", 4, MPROC_DICT_ANY));
    expect(inner, "k", "deep");
    mproc_drop(inner);
    drop_and_check(d);
}

TEST(dict_lets_go_of_objects_that_lie_deep) {
    enum { DEEP = 20000 };
    mproc_dict *d = made_dict();
    size_t before = test_arena_used();
    void *inside = made_list();
    for (int i = 0; i < DEEP; i++) {
        mproc_list *outside = made_list();
        mproc_buffer *along[] = {inside};
        const mproc_list_value value = {.buffers = along, .nbuffers = 1};
        CHECK_OK(mproc_list_insert_value(outside, 0, &value));
        mproc_drop(inside);
        inside = outside;
    }
    put_object(d, "k", inside);
    mproc_drop(inside);
    CHECK(test_arena_used() > before + (size_t)DEEP * 100);
    set(d, "k", "small");
    CHECK(test_arena_used() < before + 10000);
    drop_and_check(d);
}

TEST(dict_values_bring_no_messages) {
    mproc_dict *d = made_dict();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    mproc_buffer *along[] = {NULL};
    const mproc_dict_value value = {.buffers = along, .nbuffers = 1};
    CHECK_OK(mproc_dict_set(d, "m", 1, "message", 7));
    CHECK_OK(mproc_dict_get(d, "m", 1, &m, NULL));
    CHECK_EQ(mproc_dict_put(d, "k", 1, &value, MPROC_DICT_ANY), MPROC_EOTHER);
    along[0] = m.block;
    CHECK_EQ(mproc_dict_put(d, "k", 1, &value, MPROC_DICT_ANY), MPROC_EOTHER);
    mproc_message_drop(&m);
    expect_absent(d, "k");
    drop_and_check(d);
}

TEST(dict_values_bring_buffers) {
    mproc_dict *d = made_dict();
    mproc_buffer *buffer = made_buffer(100000);
    mproc_dict_value value = {&(struct iovec){"see there", 9}, 1, &buffer, 1};
    memset(mproc_buffer_data(buffer), 7, 100000);
    CHECK_OK(mproc_dict_put(d, "k", 1, &value, MPROC_DICT_ANY));
    CHECK_EQ(mproc_dict_replace(d, "k", 1, "see there", 9, "x", 1), -ESTALE);
    mproc_drop(buffer);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_dict_get(d, "k", 1, &m, NULL));
    CHECK_OK(mproc_dict_delete(d, "k", 1, MPROC_DICT_ANY));
    CHECK(mproc_message_buffer(&m, 0) == buffer && mproc_message_buffer(&m, 1) == NULL);
    CHECK_EQ(((char *)mproc_buffer_data(buffer))[99999], 7);
    mproc_message_drop(&m);
    drop_and_check(d);
}

TEST(dict_value_of_a_gigabyte) {
    if (TEST_ASAN || TEST_TSAN) {
        test_skip("a sanitizer makes that slow");
    }
    mproc_dict *d = made_dict();
    mproc_dict_value value = {.n = 1};
    char *p = calloc(1, 1024 * MIB);
    CHECK(p != NULL);
    p[1024 * MIB - 1] = 9;
    value.pieces = &(struct iovec){p, 1024 * MIB};
    int r = mproc_dict_put(d, "k", 1, &value, 0);
    free(p);
    if (r == -ENOMEM || r == MPROC_ETOOBIG) {
        CHECK_EQ(mproc_dict_count(d), 0);
        mproc_drop(d);
        test_skip("this machine has no memory for that");
    }
    CHECK_OK(r);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_dict_pop(d, "k", 1, &m));
    CHECK_EQ(((char *)m.data)[1024 * MIB - 1], 9);
    mproc_message_drop(&m);
    drop_and_check(d);
}

/* ---------------------------------------------------------------- against a model */

#define MODEL_KEYS 3000

struct model {
    size_t size[MODEL_KEYS]; /* of the value, plus 1; 0: it is not there */
    uint64_t order[MODEL_KEYS];
    uint64_t next, count;
};

static size_t size_for(uint64_t dice) {
    return dice % 100 == 0 ? 9000 : dice % 7 == 0 ? dice % 700 : dice % 90;
}

static void model_set(mproc_dict *d, struct model *m, size_t key, size_t size) {
    set_filled(d, key, size, key);
    if (m->size[key] == 0) {
        m->order[key] = ++m->next;
        m->count++;
    }
    m->size[key] = size + 1;
}

static void model_delete(mproc_dict *d, struct model *m, size_t key) {
    int r = mproc_dict_delete(d, &key, sizeof key, MPROC_DICT_ANY);
    CHECK_EQ(r, m->size[key] != 0 ? 0 : -ENOENT);
    m->count -= m->size[key] != 0;
    m->size[key] = 0;
}

static void model_get(mproc_dict *d, const struct model *m, size_t key) {
    char room[128];
    mproc_message got = MPROC_MESSAGE_INIT(room, sizeof room);
    int r = mproc_dict_get(d, &key, sizeof key, &got, NULL);
    CHECK_EQ(r, m->size[key] != 0 ? 0 : -ENOENT);
    if (r == 0) {
        expect_filled(&got, m->size[key] - 1, key);
        mproc_message_drop(&got);
    }
}

static void model_compare(mproc_dict *d, const struct model *m) {
    mproc_dict_snapshot *s;
    uint64_t before = 0;
    check(d);
    CHECK_EQ(mproc_dict_count(d), m->count);
    CHECK_OK(mproc_dict_snapshot_new(&s, d, 1));
    CHECK_EQ(mproc_dict_snapshot_count(s), m->count);
    for (size_t i = 0; i < m->count; i++) {
        mproc_dict_item item;
        size_t key;
        CHECK_OK(mproc_dict_snapshot_item(s, i, &item));
        CHECK_EQ(item.key_size, sizeof key);
        memcpy(&key, item.key, sizeof key);
        CHECK_LT(before, m->order[key]);
        before = m->order[key];
        expect_filled(&item.value, m->size[key] - 1, key);
    }
    mproc_dict_snapshot_drop(s);
}

TEST(dict_does_what_its_model_does) {
    static struct model model;
    mproc_dict *d = made_dict();
    uint64_t state = 12345;
    memset(&model, 0, sizeof model);
    for (int i = 0; i < 60000; i++) {
        uint64_t dice = test_random(&state);
        size_t key = (dice >> 20) % MODEL_KEYS;
        bool growing = i / 15000 % 2 == 0; /* and shrinking in between */
        unsigned what = (unsigned)(dice >> 8) % 10;
        if (what < (growing ? 6 : 2)) {
            model_set(d, &model, key, size_for(dice >> 32));
        } else if (what < 8) {
            model_delete(d, &model, key);
        } else {
            model_get(d, &model, key);
        }
        if (i % 5000 == 4999) {
            model_compare(d, &model);
        }
    }
    drop_and_check(d);
}

/* ---------------------------------------------------------------- order */

static void expect_keys(mproc_dict *d, const char *keys) {
    mproc_dict_snapshot *s;
    mproc_dict_item item;
    CHECK_OK(mproc_dict_snapshot_new(&s, d, 0));
    CHECK_EQ(mproc_dict_snapshot_count(s), strlen(keys));
    for (size_t i = 0; keys[i] != 0; i++) {
        CHECK_OK(mproc_dict_snapshot_item(s, i, &item));
        CHECK_EQ(item.key_size, 1);
        CHECK_EQ(*(const char *)item.key, keys[i]);
        CHECK(item.value.data == NULL);
    }
    CHECK_EQ(mproc_dict_snapshot_item(s, strlen(keys), &item), -EINVAL);
    mproc_dict_snapshot_drop(s);
}

TEST(dict_order_is_that_of_insertion) {
    mproc_dict *d = made_dict();
    for (const char *c = "qwertyuiop"; *c != 0; c++) {
        CHECK_OK(mproc_dict_set(d, c, 1, c, 1));
    }
    expect_keys(d, "qwertyuiop");
    set(d, "e", "a new value keeps its place");
    expect_keys(d, "qwertyuiop");
    CHECK_OK(mproc_dict_delete(d, "w", 1, MPROC_DICT_ANY));
    set(d, "w", "comes last");
    expect_keys(d, "qertyuiopw");
    mproc_dict_snapshot_drop(NULL);
    drop_and_check(d);
}

/* Of a dict that has had many more entries than it has: the ranks have up to 60 bits. */
TEST(dict_order_is_kept_where_ranks_are_far_apart) {
    mproc_dict *d = made_dict();
    const char *keys = "qwertyuiopasdfghjklz";
    for (unsigned i = 0; keys[i] != 0; i++) {
        CHECK_OK(mproc_dict_set(d, &keys[i], 1, "v", 1));
        d->next_rank += UINT64_C(1) << (i * 3 + 1);
    }
    expect_keys(d, keys);
    for (int i = 0; i < 17; i++) {
        CHECK_OK(mproc_dict_delete(d, &keys[i], 1, MPROC_DICT_ANY));
    }
    expect_keys(d, "klz");
    CHECK_OK(mproc_dict_delete(d, "k", 1, MPROC_DICT_ANY));
    CHECK_OK(mproc_dict_delete(d, "z", 1, MPROC_DICT_ANY));
    expect_keys(d, "l");
    drop_and_check(d);
}

TEST(dict_popitem_takes_the_newest) {
    mproc_dict *d = made_dict();
    char letter;
    mproc_message key = MPROC_MESSAGE_INIT(&letter, 1), value = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_dict_popitem(d, &key, &value), -ENOENT);
    const char *all = "qwertyuiopasdfghjklzxcvbnm";
    for (const char *c = all; *c != 0; c++) {
        CHECK_OK(mproc_dict_set(d, c, 1, c, 1));
    }
    CHECK_OK(mproc_dict_delete(d, "m", 1, MPROC_DICT_ANY));
    for (size_t i = strlen(all) - 1; i-- > 0;) {
        CHECK_OK(mproc_dict_popitem(d, &key, &value));
        CHECK_EQ(letter, all[i]);
        CHECK_EQ(value.size, 1);
        CHECK_EQ(*(char *)value.data, all[i]);
        mproc_message_drop(&value);
        check(d);
        if (i == 5) { /* and what comes meanwhile */
            set(d, "!", "!");
            CHECK_OK(mproc_dict_popitem(d, &key, &value));
            CHECK_EQ(letter, '!');
            mproc_message_drop(&value);
        }
    }
    CHECK_EQ(mproc_dict_popitem(d, &key, &value), -ENOENT);
    set(d, "a key without room for it", "v");
    key = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_dict_popitem(d, &key, &value));
    CHECK_EQ(key.size, 25);
    CHECK_MEM(key.data, "a key without room for it", 25);
    mproc_message_drop(&key);
    mproc_message_drop(&value);
    drop_and_check(d);
}

/* ---------------------------------------------------------------- clear, growth, memory */

static void insert_numbers(mproc_dict *d, size_t from, size_t to) {
    char value[100] = "";
    for (size_t i = from; i < to; i++) {
        uint64_t key[2] = {i, i};
        CHECK_OK(mproc_dict_insert(d, key, sizeof key, value, sizeof value));
    }
}

static void delete_numbers(mproc_dict *d, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        uint64_t key[2] = {i, i};
        CHECK_OK(mproc_dict_delete(d, key, sizeof key, MPROC_DICT_ANY));
    }
}

TEST(dict_memory_is_twice_the_payload_and_given_back) {
    const size_t n = 50000;
    mproc_dict *d = made_dict();
    size_t empty = test_arena_used();
    insert_numbers(d, 0, n);
    check(d);
    CHECK_LE(test_arena_used() - empty, 2 * n * 116);
    delete_numbers(d, 0, n);
    check(d);
    CHECK_LE(test_arena_used() - empty, (size_t)32768);
    insert_numbers(d, 0, n);
    mproc_dict_clear(d);
    CHECK_LE(test_arena_used() - empty, (size_t)32768);
    drop_and_check(d);
}

TEST(dict_clear_takes_all_out) {
    mproc_dict *d = made_dict();
    mproc_dict_clear(d);
    insert_numbers(d, 0, 1000);
    mproc_dict_clear(d);
    CHECK_EQ(mproc_dict_count(d), 0);
    expect_keys(d, "");
    insert_numbers(d, 0, 1000);
    CHECK_EQ(mproc_dict_count(d), 1000);
    drop_and_check(d);
}

/* The dict's own memory and what its blocks share in a family of 2 MiB. */
TEST_BARE(dict_full_arena_leaves_it_as_it_was) {
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "2M", 1));
    char value[100] = "", *large = calloc(1, 2 * MIB);
    CHECK(large != NULL);
    mproc_dict *d = made_dict();
    CHECK(d != NULL);
    size_t n = 0;
    int r;
    do { /* through several steps of growth, until nothing fits any more */
        r = mproc_dict_insert(d, &n, sizeof n, value, sizeof value);
        n += r == 0;
    } while (r == 0);
    CHECK_EQ(r, -ENOMEM);
    check(d);
    CHECK_EQ(mproc_dict_count(d), n);
    CHECK_EQ(mproc_dict_set(d, "large", 5, large, MIB), -ENOMEM);
    CHECK_EQ(mproc_dict_set(d, "large", 5, large, (size_t)1 << 60), MPROC_ETOOBIG);
    for (size_t i = 0; i < n; i++) {
        CHECK(mproc_dict_has(d, &i, sizeof i));
        CHECK_OK(mproc_dict_delete(d, &i, sizeof i, MPROC_DICT_ANY));
    }
    insert_numbers(d, 0, n / 2); /* it grows again */
    free(large);
    drop_and_check(d);
}

/* ---------------------------------------------------------------- numbers and functions */

static int64_t number_of(mproc_dict *d, const char *key) {
    char room[16];
    int64_t number;
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_dict_get(d, key, strlen(key), &m, NULL));
    CHECK_OK(mproc_dict_number(m.data, m.size, &number));
    return number;
}

TEST(dict_add_of_every_width) {
    mproc_dict *d = made_dict();
    static const int64_t numbers[] = {
        0,        1,         127,        128,        255,       256,       65535,
        65536,    INT32_MAX, 4294967295, 4294967296, INT64_MAX, -1,        -32,
        -33,      -128,      -129,       -32768,     -32769,    INT32_MIN, (int64_t)INT32_MIN - 1,
        INT64_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t sum = 5;
        CHECK_OK(mproc_dict_add(d, "n", 1, numbers[i], &sum));
        CHECK_EQ(sum, numbers[i]);
        CHECK_EQ(number_of(d, "n"), numbers[i]);
        CHECK_OK(mproc_dict_delete(d, "n", 1, MPROC_DICT_ANY));
    }
    for (int i = 0; i < 1000; i++) {
        CHECK_OK(mproc_dict_add(d, "n", 1, 3, NULL));
    }
    CHECK_EQ(number_of(d, "n"), 3000);
    CHECK_EQ(mproc_dict_add(d, "n", 1, INT64_MAX, NULL), -EOVERFLOW);
    CHECK_EQ(number_of(d, "n"), 3000);
    set(d, "s", "no number");
    CHECK_EQ(mproc_dict_add(d, "s", 1, 1, NULL), -EINVAL);
    set_filled(d, 7, 9000, 0);
    CHECK_EQ(mproc_dict_add(d, &(size_t){7}, sizeof(size_t), 1, NULL), -EINVAL);
    drop_and_check(d);
}

TEST(dict_number_refuses_what_is_none) {
    int64_t number = 17;
    CHECK_EQ(mproc_dict_number("", 0, &number), -EINVAL);
    CHECK_EQ(mproc_dict_number("\xc3", 1, &number), -EINVAL); /* true */
    CHECK_EQ(mproc_dict_number("\xa1x", 2, &number), -EINVAL);
    CHECK_EQ(mproc_dict_number("\x01\x01", 2, &number), -EINVAL);
    CHECK_EQ(mproc_dict_number("\xcd\x01", 2, &number), -EINVAL);
    CHECK_EQ(mproc_dict_number("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, &number), -EINVAL);
    CHECK_EQ(number, 17);
    CHECK_OK(mproc_dict_number("\xd3\xff\xff\xff\xff\xff\xff\xff\xfe", 9, &number));
    CHECK_EQ(number, -2);
}

struct appending {
    mproc_dict *dict;
    char text[64];
    struct iovec piece;
    int calls;
    bool meddle;
};

static int append_letter(void *arg, const mproc_message *old, mproc_dict_value *value) {
    struct appending *a = arg;
    size_t size = old != NULL ? old->size : 0;
    if (size != 0) {
        memcpy(a->text, old->data, size);
    }
    a->text[size] = 'x';
    a->piece = (struct iovec){a->text, size + 1};
    *value = (mproc_dict_value){.pieces = &a->piece, .n = 1};
    if (a->calls++ == 0 && a->meddle) {
        set(a->dict, "k", "other");
    }
    return size > 7 ? 42 : 0;
}

TEST(dict_update_calls_until_nothing_came_between) {
    mproc_dict *d = made_dict();
    struct appending a = {.dict = d};
    CHECK_OK(mproc_dict_update(d, "k", 1, append_letter, &a));
    expect(d, "k", "x");
    CHECK_OK(mproc_dict_update(d, "k", 1, append_letter, &a));
    expect(d, "k", "xx");
    CHECK_EQ(a.calls, 2);
    a.calls = 0;
    a.meddle = true;
    CHECK_OK(mproc_dict_update(d, "k", 1, append_letter, &a));
    CHECK_EQ(a.calls, 2);
    expect(d, "k", "otherx");
    set(d, "k", "12345678");
    CHECK_EQ(mproc_dict_update(d, "k", 1, append_letter, &a), 42);
    expect(d, "k", "12345678");
    CHECK_EQ(mproc_dict_unlock(d, "k", 1), MPROC_ENOTHELD);
    drop_and_check(d);
}

/* ---------------------------------------------------------------- locks */

struct locker {
    mproc_dict *dict;
    uint32_t *step;
};

static void lock_and_stay(void *arg) {
    struct locker *l = arg;
    CHECK_OK(mproc_dict_lock(l->dict, "k", 1, MPROC_FOREVER));
    mproc__store32(l->step, 1);
    sleep_until_killed();
}

TEST(dict_lock_is_of_one_key_and_one_thread) {
    mproc_dict *d = made_dict();
    struct locker l = {d, mproc_calloc(1, sizeof *l.step)};
    CHECK_OK(mproc_dict_lock(d, "k", 1, 0));
    CHECK_OK(mproc_dict_lock(d, "k", 1, 0));
    CHECK_OK(mproc_dict_lock(d, "other", 5, 0));
    CHECK_OK(mproc_dict_unlock(d, "k", 1));
    CHECK_OK(mproc_dict_unlock(d, "k", 1));
    CHECK_EQ(mproc_dict_unlock(d, "k", 1), MPROC_ENOTHELD);
    pid_t child = child_fork(lock_and_stay, &l);
    while (mproc__load32(l.step) == 0) {
        usleep(1000);
    }
    CHECK_EQ(mproc_dict_lock(d, "k", 1, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_dict_lock(d, "k", 1, MPROC_MSEC), -ETIMEDOUT);
    CHECK_EQ(mproc_dict_unlock(d, "k", 1), MPROC_ENOTHELD);
    set(d, "k", "calls that do not lock go on");
    check(d);
    child_kill(child);
    CHECK_EQ(mproc_dict_lock(d, "k", 1, MPROC_FOREVER), -EOWNERDEAD);
    mproc_lock_holder dead;
    mproc_dict_dead_owner(d, "k", 1, &dead);
    CHECK_EQ(dead.pid, child);
    CHECK_EQ(dead.tid, child);
    mproc_dict_dead_owner(d, "other", 5, &dead);
    CHECK_EQ(dead.pid, 0);
    CHECK_OK(mproc_dict_unlock(d, "k", 1));
    CHECK_OK(mproc_dict_unlock(d, "other", 5));
    mproc_free(l.step);
    drop_and_check(d);
}

struct counting {
    mproc_dict *dict;
    uint64_t *plain; /* changed under the key's lock */
};

static void count_under_lock(void *arg) {
    struct counting *c = arg;
    for (int i = 0; i < 300; i++) {
        CHECK_OK(mproc_dict_lock(c->dict, "k", 1, MPROC_FOREVER));
        *c->plain += 1;
        CHECK_OK(mproc_dict_unlock(c->dict, "k", 1));
        CHECK_OK(mproc_dict_add(c->dict, "sum", 3, 1, NULL));
    }
}

TEST(dict_lock_keeps_others_out) {
    mproc_dict *d = made_dict();
    struct counting c = {d, mproc_calloc(1, sizeof *c.plain)};
    struct member_thread threads[4];
    for (int i = 0; i < 4; i++) {
        threads[i] = (struct member_thread){.run = count_under_lock, .arg = &c};
    }
    member_threads_run(threads, 4);
    CHECK_EQ(*c.plain, 1200);
    CHECK_EQ(number_of(d, "sum"), 1200);
    mproc_free(c.plain);
    drop_and_check(d);
}

static void never_unlock(void *arg) {
    CHECK_OK(mproc_dict_lock(arg, "k", 1, 0));
}

TEST(dict_goes_with_the_locks_of_the_dead) {
    mproc_dict *d = made_dict();
    child_join(child_fork(never_unlock, d));
    drop_and_check(d);
}

/* ---------------------------------------------------------------- waiting */

static void set_soon(void *arg) {
    usleep(2000);
    set(arg, "noise", "x");
    set(arg, "k", "come");
}

TEST(dict_wait_for_a_key) {
    mproc_dict *d = made_dict();
    uint64_t version = 0;
    CHECK_EQ(mproc_dict_wait(d, "k", 1, &version, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_dict_wait(d, "k", 1, &version, MPROC_MSEC), -ETIMEDOUT);
    pid_t child = child_fork(set_soon, d);
    CHECK_OK(mproc_dict_wait(d, "k", 1, &version, MPROC_FOREVER));
    expect(d, "k", "come");
    CHECK_EQ(version, version_of(d, "k"));
    child_join(child);
    set(d, "noise", "y");
    CHECK_EQ(mproc_dict_wait(d, "k", 1, &version, 0), -ETIMEDOUT);
    CHECK_OK(mproc_dict_delete(d, "k", 1, MPROC_DICT_ANY));
    CHECK_OK(mproc_dict_wait(d, "k", 1, &version, 0));
    CHECK_EQ(version, 0);
    drop_and_check(d);
}

TEST(dict_wait_for_any_change) {
    mproc_dict *d = made_dict();
    uint64_t version = 0;
    CHECK_EQ(mproc_dict_wait(d, NULL, 0, &version, 0), -ETIMEDOUT);
    pid_t child = child_fork(set_soon, d);
    CHECK_OK(mproc_dict_wait(d, NULL, 0, &version, MPROC_FOREVER));
    child_join(child);
    (void)!mproc_dict_wait(d, NULL, 0, &version, 0); /* what the child did after that */
    CHECK_EQ(mproc_dict_wait(d, NULL, 0, &version, 0), -ETIMEDOUT);
    mproc_dict_clear(d);
    CHECK_OK(mproc_dict_wait(d, NULL, 0, &version, 0));
    drop_and_check(d);
}

/* ---------------------------------------------------------------- while others change it */

struct churn {
    mproc_dict *dict;
    uint32_t *stop;
    uint32_t number;
};

#define KEPT 500 /* keys that stay */

/* Inserts and deletes so many that the table grows and shrinks all the time. */
static void churn(void *arg) {
    struct churn *c = arg;
    if (c->number == 0) { /* the one that looks */
        for (int i = 0; i < (TEST_TSAN ? 20 : 60); i++) {
            mproc_dict_snapshot *s;
            size_t kept = 0;
            CHECK_OK(mproc_dict_snapshot_new(&s, c->dict, i % 2));
            for (size_t k = 0; k < mproc_dict_snapshot_count(s); k++) {
                mproc_dict_item item;
                size_t key;
                CHECK_OK(mproc_dict_snapshot_item(s, k, &item));
                memcpy(&key, item.key, sizeof key);
                if (key < KEPT) {
                    CHECK_EQ(key, kept); /* in order, each once */
                    kept++;
                    if (i % 2) {
                        expect_filled(&item.value, key % 50 == 0 ? 9000 : key % 60, key);
                    }
                }
            }
            CHECK_EQ(kept, KEPT);
            mproc_dict_snapshot_drop(s);
        }
        mproc__store32(c->stop, 1);
        return;
    }
    while (mproc__load32(c->stop) == 0) {
        size_t first = KEPT + c->number * 100000, many = 3000;
        for (size_t i = first; i < first + many; i++) {
            CHECK_OK(mproc_dict_set(c->dict, &i, sizeof i, &i, sizeof i));
            size_t k = i % KEPT;
            set_filled(c->dict, k, k % 50 == 0 ? 9000 : k % 60, k);
        }
        for (size_t i = first; i < first + many; i++) {
            CHECK_OK(mproc_dict_delete(c->dict, &i, sizeof i, MPROC_DICT_ANY));
        }
    }
}

TEST(dict_snapshot_has_what_stays) {
    mproc_dict *d = made_dict();
    struct churn all[3];
    struct member_thread threads[3];
    uint32_t *stop = mproc_calloc(1, sizeof *stop);
    for (size_t k = 0; k < KEPT; k++) {
        set_filled(d, k, k % 50 == 0 ? 9000 : k % 60, k);
    }
    for (uint32_t i = 0; i < 3; i++) {
        all[i] = (struct churn){d, stop, i};
        threads[i] = (struct member_thread){.run = churn, .arg = &all[i]};
    }
    member_threads_run(threads, 3);
    CHECK_EQ(mproc_dict_count(d), KEPT);
    mproc_free(stop);
    drop_and_check(d);
}

/* A reader is caught in the middle of its copy: the second page of its room cannot be written at
 * first, and whoever is told of that changes the entry before it lets the copy go on. */
static struct {
    mproc_dict *dict;
    unsigned char *room; /* of two pages */
    size_t page;
    int caught;
} copying;

static void set_page(unsigned char byte) {
    static unsigned char bytes[MPROC_MESSAGE_INLINE];
    memset(bytes, byte, sizeof bytes);
    CHECK_OK(mproc_dict_set(copying.dict, "k", 1, bytes, sizeof bytes));
}

static void catch_copy(int signal) {
    (void)signal;
    copying.caught++;
    set_page(2); /* the entry's block is free, and filled with rubbish */
    set_page(3);
    CHECK_OK(mprotect(copying.room, 2 * copying.page, PROT_READ | PROT_WRITE));
}

static void read_page(unsigned char byte) {
    mproc_message m = MPROC_MESSAGE_INIT(copying.room + copying.page - MPROC_MESSAGE_INLINE / 2,
                                         MPROC_MESSAGE_INLINE);
    CHECK_OK(mproc_dict_get(copying.dict, "k", 1, &m, NULL));
    CHECK_EQ(m.size, MPROC_MESSAGE_INLINE);
    for (size_t i = 0; i < m.size; i++) {
        CHECK_EQ(((unsigned char *)m.data)[i], byte);
    }
}

TEST(dict_readers_see_no_mixture) {
    struct sigaction action = {.sa_handler = catch_copy};
    copying.dict = made_dict();
    copying.page = (size_t)sysconf(_SC_PAGESIZE);
    copying.room =
        mmap(NULL, 2 * copying.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(copying.room != MAP_FAILED);
    set_page(1);
    read_page(1);
    if (!TEST_TSAN) { /* whose readers take the guard: nobody changes the entry meanwhile */
        CHECK_OK(sigaction(SIGSEGV, &action, NULL));
        CHECK_OK(mprotect(copying.room + copying.page, copying.page, PROT_NONE));
        read_page(3);
        CHECK_EQ(copying.caught, 1);
    }
    CHECK_OK(munmap(copying.room, 2 * copying.page));
    drop_and_check(copying.dict);
}

static void drop_late(void *arg) {
    usleep(1000);
    for (int i = 0; i < 100; i++) {
        set(arg, "k", "v");
        expect(arg, "k", "v");
    }
    CHECK_OK(mproc_drop(arg));
}

TEST(dict_lives_while_somebody_holds_it) {
    mproc_dict *d = made_dict();
    pid_t child = child_fork(drop_late, d);
    CHECK_OK(mproc_drop(d));
    child_join(child);
    (void)mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}
