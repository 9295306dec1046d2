/*
 * test_list.c - every call of a list, beside a model; its order, growth, and what others see
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"

#include <sys/uio.h>

#define MOST 3000 /* elements of the model */
#define LARGE ((size_t)9000)

static void check(mproc_list *l) {
    char why[256] = "";
    if (mproc_list_check(l, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

static void drop_and_check(mproc_list *l) {
    check(l);
    mproc_drop(l);
    (void)mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

/* ---------------------------------------------------------------- elements that are numbers */

/* A value that says which number it is of, in as many bytes as the number says. */
static size_t size_of(uint64_t number) {
    return number % 97 == 0 ? LARGE + number % 7 : number % 13 == 0 ? 700 : 8 + number % 40;
}

static char *value_of(uint64_t number) {
    static _Thread_local char bytes[LARGE + 8];
    memset(bytes, (int)number, sizeof bytes);
    memcpy(bytes, &number, sizeof number);
    return bytes;
}

static uint64_t number_in(const mproc_message *m) {
    uint64_t number;
    CHECK(m->size >= sizeof number);
    memcpy(&number, m->data, sizeof number);
    CHECK_EQ(m->size, size_of(number));
    CHECK_MEM(m->data, value_of(number), m->size);
    return number;
}

static void append(mproc_list *l, uint64_t number) {
    CHECK_OK(mproc_list_append(l, value_of(number), size_of(number)));
}

static uint64_t get(mproc_list *l, int64_t i) {
    char room[64];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_list_get(l, i, &m, NULL));
    uint64_t number = number_in(&m);
    mproc_message_drop(&m);
    return number;
}

static uint64_t version_of(mproc_list *l, int64_t i) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t version;
    CHECK_OK(mproc_list_get(l, i, &m, &version));
    mproc_message_drop(&m);
    return version;
}

/* What the list is to have. */
static struct {
    uint64_t at[MOST];
    size_t n;
} model;

static void expect_model(mproc_list *l) {
    mproc_list_snapshot *s;
    CHECK_OK(mproc_list_snapshot_new(&s, l, 0, INT64_MAX, 1));
    CHECK_EQ(mproc_list_count(l), model.n);
    CHECK_EQ(mproc_list_snapshot_count(s), model.n);
    for (size_t i = 0; i < model.n; i++) {
        mproc_message m;
        CHECK_OK(mproc_list_snapshot_item(s, i, &m));
        CHECK_EQ(number_in(&m), model.at[i]);
    }
    mproc_list_snapshot_drop(s);
    check(l);
}

static void model_replace(size_t at, size_t out, size_t in, const uint64_t *numbers) {
    memmove(&model.at[at + in], &model.at[at + out], (model.n - at - out) * sizeof model.at[0]);
    for (size_t i = 0; i < in; i++) {
        model.at[at + i] = numbers[i];
    }
    model.n += in - out;
}

static void fill(mproc_list *l, size_t n) {
    model.n = n;
    for (size_t i = 0; i < n; i++) {
        model.at[i] = i + 1;
        append(l, i + 1);
    }
}

/* Values for a call that takes several. */
struct values {
    mproc_list_value list[MOST];
    struct iovec pieces[MOST];
    uint64_t numbers[MOST];
    char *bytes;
};

static struct values *values_new(size_t n, uint64_t first) {
    struct values *v = calloc(1, sizeof *v);
    size_t used = 0;
    CHECK(v != NULL);
    v->bytes = malloc(n * (LARGE + 8) + 1);
    CHECK(v->bytes != NULL);
    for (size_t i = 0; i < n; i++) {
        uint64_t number = first + i;
        size_t size = size_of(number);
        v->numbers[i] = number;
        memcpy(v->bytes + used, value_of(number), size);
        v->pieces[i] = (struct iovec){v->bytes + used, size};
        v->list[i] = (mproc_list_value){.pieces = &v->pieces[i], .n = 1};
        used += size;
    }
    return v;
}

static void values_drop(struct values *v) {
    free(v->bytes);
    free(v);
}

/* ---------------------------------------------------------------- one element */

TEST(list_elements_come_and_go) {
    mproc_list *l = made_list();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_list_count(l), 0);
    CHECK_EQ(mproc_list_get(l, 0, &m, NULL), -ERANGE);
    CHECK_EQ(mproc_list_pop(l, -1, &m), -ERANGE);
    append(l, 1);
    append(l, 97); /* a large one */
    CHECK_OK(mproc_list_insert(l, 0, value_of(3), size_of(3)));
    CHECK_EQ(get(l, 0), 3);
    CHECK_EQ(get(l, 1), 1);
    CHECK_EQ(get(l, 2), 97);
    CHECK_EQ(get(l, -1), 97);
    CHECK_EQ(get(l, -3), 3);
    CHECK_EQ(mproc_list_get(l, 3, &m, NULL), -ERANGE);
    CHECK_EQ(mproc_list_get(l, -4, &m, NULL), -ERANGE);
    CHECK_EQ(mproc_list_get(l, INT64_MIN, &m, NULL), -ERANGE);
    CHECK_OK(mproc_list_set(l, 1, value_of(194), size_of(194)));
    CHECK_EQ(get(l, 1), 194);
    CHECK_EQ(mproc_list_set(l, 3, "", 0), -ERANGE);
    CHECK_OK(mproc_list_pop(l, -1, &m));
    CHECK_EQ(number_in(&m), 97);
    mproc_message_drop(&m);
    CHECK_OK(mproc_list_pop(l, 0, &m));
    CHECK_EQ(number_in(&m), 3);
    mproc_message_drop(&m);
    CHECK_EQ(mproc_list_delete(l, 1, MPROC_LIST_ANY), -ERANGE);
    CHECK_OK(mproc_list_delete(l, 0, MPROC_LIST_ANY));
    CHECK_EQ(mproc_list_count(l), 0);
    drop_and_check(l);
}

TEST(list_takes_no_bytes_at_all) {
    mproc_list *l = made_list();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_list_append(l, NULL, 0));
    CHECK_OK(mproc_list_get(l, 0, &m, NULL));
    CHECK_EQ(m.size, 0);
    mproc_message_drop(&m);
    drop_and_check(l);
}

TEST(list_insert_counts_as_python_does) {
    mproc_list *l = made_list();
    fill(l, 5);
    const struct {
        int64_t given;
        size_t at;
    } cases[] = {{0, 0},  {3, 3},   {7, 7},         {100, 8},      {INT64_MAX, 9},
                 {-1, 9}, {-10, 1}, {INT64_MIN, 0}, {-1000000, 0}, {2, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t number = 100 + i;
        CHECK_OK(mproc_list_insert(l, cases[i].given, value_of(number), size_of(number)));
        model_replace(cases[i].at, 0, 1, &number);
        expect_model(l);
    }
    drop_and_check(l);
}

TEST(list_versions_tell_elements_apart) {
    mproc_list *l = made_list();
    fill(l, 4);
    uint64_t first = version_of(l, 0), second = version_of(l, 1);
    mproc_list_value value = {.pieces = &(struct iovec){value_of(7), size_of(7)}, .n = 1};
    CHECK_NE(first, second);
    CHECK_EQ(mproc_list_put(l, 0, &value, second), -ESTALE);
    CHECK_EQ(mproc_list_put(l, 9, &value, second), -ERANGE);
    CHECK_OK(mproc_list_put(l, 0, &value, first));
    CHECK_EQ(mproc_list_put(l, 0, &value, first), -ESTALE);
    CHECK_EQ(mproc_list_delete(l, 0, first), -ESTALE);
    CHECK_EQ(mproc_list_delete(l, 1, first), -ESTALE); /* one in the middle */
    CHECK_OK(mproc_list_swap(l, 0, 1));
    CHECK_EQ(version_of(l, 0), second);
    CHECK_OK(mproc_list_delete(l, 0, second));
    CHECK_EQ(mproc_list_count(l), 3);
    value.n = -1;
    CHECK_EQ(mproc_list_put(l, 0, &value, MPROC_LIST_ANY), -EINVAL);
    drop_and_check(l);
}

TEST(list_lends_what_is_large) {
    mproc_list *l = made_list();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    append(l, 97);
    CHECK_OK(mproc_list_get(l, 0, &m, NULL));
    CHECK_OK(mproc_list_clear(l));
    CHECK_EQ(number_in(&m), 97);
    mproc_message_drop(&m);
    drop_and_check(l);
}

TEST(list_elements_bring_buffers) {
    mproc_list *l = made_list();
    mproc_buffer *buffer = made_buffer(100);
    mproc_list_value value = {
        .pieces = &(struct iovec){"x", 1}, .n = 1, .buffers = &buffer, .nbuffers = 1};
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t at;
    CHECK_OK(mproc_list_insert_value(l, 0, &value));
    CHECK_OK(mproc_list_extend(l, &value, 1));
    CHECK_EQ(mproc_list_find(l, "x", 1, 0, INT64_MAX, &at), -ENOENT);
    mproc_drop(buffer);
    CHECK_OK(mproc_list_pop(l, 0, &m));
    CHECK(mproc_message_buffer(&m, 0) == buffer);
    mproc_message_drop(&m);
    drop_and_check(l);
}

/* ---------------------------------------------------------------- slices and orders */

TEST(list_slices_are_as_in_python) {
    mproc_list *l = made_list();
    fill(l, 10);
    const struct {
        int64_t start, stop, step;
        const char *numbers;
    } cases[] = {
        {0, INT64_MAX, 1, "123456789:"},
        {2, 5, 1, "345"},
        {-3, INT64_MAX, 1, "89:"},
        {5, 2, 1, ""},
        {0, INT64_MAX, 3, "147:"},
        {INT64_MAX, INT64_MIN, -1, ":987654321"},
        {8, 2, -2, "975"},
        {-100, 100, 4, "159"},
        {INT64_MIN, 3, 1, "123"},
        {3, INT64_MIN, -1, "4321"},
        {0, INT64_MAX, INT64_MAX, "1"},
        {INT64_MAX, INT64_MIN, INT64_MIN, ":"},
        {-1, -4, -1, ":98"},
        {20, 30, 1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mproc_list_snapshot *s;
        CHECK_OK(mproc_list_snapshot_new(&s, l, cases[i].start, cases[i].stop, cases[i].step));
        CHECK_EQ(mproc_list_snapshot_count(s), strlen(cases[i].numbers));
        for (size_t k = 0; k < mproc_list_snapshot_count(s); k++) {
            mproc_message m;
            CHECK_OK(mproc_list_snapshot_item(s, k, &m));
            CHECK_EQ(number_in(&m) + '0', (uint64_t)cases[i].numbers[k]);
        }
        mproc_message m;
        CHECK_EQ(mproc_list_snapshot_item(s, strlen(cases[i].numbers), &m), -EINVAL);
        mproc_list_snapshot_drop(s);
    }
    drop_and_check(l);
}

TEST(list_slices_with_a_step_are_assigned_and_cut) {
    mproc_list *l = made_list();
    struct values *v = values_new(5, 1000);
    fill(l, 10);
    CHECK_EQ(mproc_list_assign(l, 0, INT64_MAX, 2, v->list, 4), -ERANGE);
    CHECK_EQ(mproc_list_assign(l, 0, INT64_MAX, 0, v->list, 4), -EINVAL);
    CHECK_OK(mproc_list_assign(l, INT64_MAX, INT64_MIN, -2, v->list, 5));
    for (size_t i = 0; i < 5; i++) {
        model.at[9 - 2 * i] = v->numbers[i];
    }
    expect_model(l);
    CHECK_OK(mproc_list_cut(l, 0, INT64_MAX, 3));
    for (size_t i = 0; i < 4; i++) {
        model_replace(2 * i, 1, 0, NULL);
    }
    expect_model(l);
    CHECK_OK(mproc_list_cut(l, 2, 2, 3));
    CHECK_EQ(mproc_list_cut(l, 0, 1, 0), -EINVAL);
    expect_model(l);
    values_drop(v);
    drop_and_check(l);
}

TEST(list_orders) {
    mproc_list *l = made_list();
    mproc_list_snapshot *s;
    uint64_t order[] = {3, 1, 4, 0, 2};
    fill(l, 5);
    CHECK_OK(mproc_list_reverse(l));
    CHECK_EQ(get(l, 0), 5);
    CHECK_OK(mproc_list_reverse(l));
    CHECK_OK(mproc_list_snapshot_new(&s, l, 0, INT64_MAX, 1));
    uint64_t version = mproc_list_snapshot_version(s);
    mproc_list_snapshot_drop(s);
    CHECK_EQ(mproc_list_arrange(l, order, 4, version), -EINVAL);
    CHECK_OK(mproc_list_arrange(l, order, 5, version));
    for (size_t i = 0; i < 5; i++) {
        model.at[i] = order[i] + 1;
    }
    expect_model(l);
    CHECK_EQ(mproc_list_arrange(l, order, 5, version), -ESTALE);
    order[0] = 1;
    CHECK_EQ(mproc_list_arrange(l, order, 5, MPROC_LIST_ANY), -EINVAL);
    order[0] = 5;
    CHECK_EQ(mproc_list_arrange(l, order, 5, MPROC_LIST_ANY), -EINVAL);
    CHECK_EQ(mproc_list_swap(l, 0, 5), -ERANGE);
    CHECK_EQ(mproc_list_swap(l, -6, 0), -ERANGE);
    CHECK_OK(mproc_list_swap(l, -1, 0));
    CHECK_EQ(get(l, 0), 3);
    drop_and_check(l);
}

TEST(list_find) {
    mproc_list *l = made_list();
    uint64_t at = 77;
    fill(l, 300);
    CHECK_OK(mproc_list_find(l, value_of(194), size_of(194), 0, INT64_MAX, &at));
    CHECK_EQ(at, 193);
    CHECK_OK(mproc_list_find(l, value_of(5), size_of(5), 0, INT64_MAX, &at));
    CHECK_EQ(at, 4);
    CHECK_EQ(mproc_list_find(l, value_of(5), size_of(5), 5, INT64_MAX, &at), -ENOENT);
    CHECK_EQ(mproc_list_find(l, value_of(5), size_of(5), 0, 4, &at), -ENOENT);
    CHECK_EQ(mproc_list_find(l, "", 0, 0, INT64_MAX, &at), -ENOENT);
    CHECK_EQ(at, 4);
    drop_and_check(l);
}

/* ---------------------------------------------------------------- beside the model */

static uint64_t draw(uint64_t *state, uint64_t below) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return below == 0 ? 0 : (*state >> 33) % below;
}

static void change_at_random(mproc_list *l, uint64_t *state, uint64_t *next) {
    size_t room = MOST - model.n, at = draw(state, model.n + 1);
    size_t out = draw(state, draw(state, 8) == 0 ? model.n - at + 1 : 4);
    size_t in = draw(state, draw(state, 8) == 0 ? room + 1 : 4);
    out = out > model.n - at ? model.n - at : out;
    in = in > room ? room : in;
    struct values *v = values_new(in, *next);
    *next += in;
    CHECK_OK(mproc_list_assign(l, (int64_t)at, (int64_t)(at + out), 1, v->list, in));
    model_replace(at, out, in, v->numbers);
    values_drop(v);
}

static void change_an_end(mproc_list *l, uint64_t *state, uint64_t *next) {
    bool front = draw(state, 2) != 0;
    for (uint64_t n = draw(state, 200); n > 0; n--) {
        size_t at = front ? 0 : model.n;
        if (draw(state, 3) != 0 && model.n < MOST) {
            CHECK_OK(mproc_list_insert(l, (int64_t)at, value_of(*next), size_of(*next)));
            model_replace(at, 0, 1, next);
            ++*next;
        } else if (model.n > 0) {
            CHECK_OK(mproc_list_delete(l, front ? 0 : -1, MPROC_LIST_ANY));
            model_replace(front ? 0 : model.n - 1, 1, 0, NULL);
        }
    }
}

static void change_the_order(mproc_list *l) {
    CHECK_OK(mproc_list_reverse(l));
    for (size_t i = 0; i < model.n / 2; i++) {
        uint64_t number = model.at[i];
        model.at[i] = model.at[model.n - 1 - i];
        model.at[model.n - 1 - i] = number;
    }
}

TEST(list_is_as_its_model) {
    mproc_list *l = made_list();
    uint64_t state = 1, next = 1;
    model.n = 0;
    for (int i = 0; i < (TEST_TSAN ? 60 : 400); i++) {
        switch (draw(&state, 6)) {
        case 0: change_the_order(l); break;
        case 1:
        case 2: change_an_end(l, &state, &next); break;
        default: change_at_random(l, &state, &next); break;
        }
        if (draw(&state, 40) == 0) {
            CHECK_OK(mproc_list_clear(l));
            model.n = 0;
        }
        expect_model(l);
    }
    drop_and_check(l);
}

/* ---------------------------------------------------------------- growth and memory */

/* One end grows while the other one shrinks: the ring is gone round many times. */
TEST(list_moves_on) {
    mproc_list *l = made_list();
    uint64_t first = 0, next = 0;
    for (int i = 0; i < 300; i++) {
        append(l, next++);
    }
    size_t used = test_arena_used();
    for (int i = 0; i < 5000; i++) {
        append(l, next++);
        CHECK_EQ(get(l, 0), first);
        CHECK_OK(mproc_list_delete(l, 0, MPROC_LIST_ANY));
        first++;
    }
    check(l);
    CHECK(test_arena_used() < 2 * used);
    for (int i = 0; i < 5000; i++) {
        CHECK_OK(mproc_list_insert(l, 0, value_of(first - 1), size_of(first - 1)));
        first--;
        CHECK_OK(mproc_list_delete(l, -1, MPROC_LIST_ANY));
    }
    CHECK_EQ(get(l, 0), first);
    drop_and_check(l);
}

TEST(list_takes_twice_its_bytes_at_most_and_gives_them_back) {
    mproc_list *l = made_list();
    char bytes[100] = "";
    const size_t n = 100000;
    size_t before = test_arena_used();
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(mproc_list_append(l, bytes, sizeof bytes));
    }
    CHECK(test_arena_used() - before < 2 * n * sizeof bytes);
    check(l);
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(mproc_list_delete(l, i % 2 ? 0 : -1, MPROC_LIST_ANY));
    }
    CHECK_EQ(mproc_list_count(l), 0);
    CHECK(test_arena_used() - before < 65536);
    drop_and_check(l);
}

/* Whatever fails for want of memory has changed nothing, and what needs none goes on. */
TEST_BARE(list_full_arena_leaves_it_as_it_was) {
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "2M", 1));
    CHECK_OK(mproc_init(0, NULL));
    mproc_list *l = made_list();
    struct values *v = values_new(200, 1);
    uint64_t n = 0;
    int r;
    while ((r = mproc_list_append(l, &n, sizeof n)) == 0) {
        n++;
    }
    CHECK_EQ(r, -ENOMEM);
    CHECK(n > MOST);
    CHECK_EQ(mproc_list_extend(l, v->list, 200), -ENOMEM);
    CHECK_EQ(mproc_list_assign(l, 5, 10, 1, v->list, 200), -ENOMEM);
    CHECK_EQ(mproc_list_assign(l, 0, 400, 2, v->list, 200), -ENOMEM);
    CHECK_EQ(mproc_list_reverse(l), -ENOMEM);
    check(l);
    CHECK_EQ(mproc_list_count(l), n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t number;
        mproc_message m = MPROC_MESSAGE_INIT(&number, sizeof number);
        CHECK_OK(mproc_list_get(l, (int64_t)i, &m, NULL));
        CHECK_EQ(number, i);
    }
    for (uint64_t i = 0; i < n / 2; i++) {
        CHECK_OK(mproc_list_delete(l, -1, MPROC_LIST_ANY));
    }
    CHECK_OK(mproc_list_reverse(l));
    CHECK_OK(mproc_list_clear(l));
    append(l, 1);
    values_drop(v);
    drop_and_check(l);
}

/* ---------------------------------------------------------------- what others see */

struct sharing {
    mproc_list *list;
    uint64_t *taken; /* numbers that were taken out, added up */
    uint64_t number;
};

#define EACH (TEST_TSAN ? (uint64_t)300 : (uint64_t)3000)

/* Each puts in numbers of its own, at all places, and takes as many out. */
static void share(void *arg) {
    const struct sharing *s = arg;
    uint64_t state = s->number + 1, sum = 0;
    for (uint64_t i = 0; i < EACH; i++) {
        uint64_t number = s->number * EACH + i;
        char room[64];
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        int64_t at = (int64_t)draw(&state, 2000) - 1000;
        CHECK_OK(mproc_list_insert(s->list, at, value_of(number), size_of(number)));
        if (i % 100 == 0) {
            CHECK_OK(mproc_list_reverse(s->list));
        }
        if (i % 2 == 1) {
            CHECK_OK(mproc_list_pop(s->list, i % 4 == 1 ? 0 : -1, &m));
            sum += number_in(&m);
            mproc_message_drop(&m);
        }
    }
    mproc__add64(s->taken, sum);
}

TEST(list_loses_nothing_between_members) {
    mproc_list *l = made_list();
    uint64_t *taken = mproc_calloc(1, sizeof *taken), sum = 0;
    struct sharing all[4];
    struct member_thread threads[4];
    for (uint64_t i = 0; i < 4; i++) {
        all[i] = (struct sharing){l, taken, i};
        threads[i] = (struct member_thread){.run = share, .arg = &all[i]};
    }
    member_threads_run(threads, 4);
    CHECK_EQ(mproc_list_count(l), 2 * EACH);
    for (uint64_t i = 0; i < 2 * EACH; i++) {
        sum += get(l, (int64_t)i);
    }
    CHECK_EQ(sum + *taken, 4 * EACH * (4 * EACH - 1) / 2);
    mproc_free(taken);
    drop_and_check(l);
}

struct turning {
    mproc_list *list;
    uint32_t *stop;
    bool looks;
};

#define TURNED 500

/* The list goes round; whoever looks sees it between two turns. */
static void turn(void *arg) {
    const struct turning *t = arg;
    while (!t->looks && mproc__load32(t->stop) == 0) {
        struct values *v = values_new(1, 1);
        char room[64];
        mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_OK(mproc_list_get(t->list, 0, &m, NULL));
        v->pieces[0] = (struct iovec){m.data, m.size};
        CHECK_OK(mproc_list_assign(t->list, TURNED / 3, TURNED / 3 + 10, 1, v->list, 1));
        for (int i = 0; i < 9; i++) {
            CHECK_OK(mproc_list_reverse(t->list));
        }
        struct values *more = values_new(9, 1);
        CHECK_OK(mproc_list_assign(t->list, 50, 50, 1, more->list, 9));
        values_drop(more);
        values_drop(v);
        mproc_message_drop(&m);
    }
    for (int i = 0; t->looks && i < 300; i++) {
        mproc_list_snapshot *s;
        CHECK_OK(mproc_list_snapshot_new(&s, t->list, 0, INT64_MAX, 1));
        size_t n = mproc_list_snapshot_count(s);
        CHECK(n == TURNED || n == TURNED - 9);
        for (size_t k = 0; k < n; k++) {
            mproc_message m;
            CHECK_OK(mproc_list_snapshot_item(s, k, &m));
            (void)number_in(&m);
        }
        mproc_list_snapshot_drop(s);
    }
    if (t->looks) {
        mproc__store32(t->stop, 1);
    }
}

TEST(list_changes_of_many_are_one_step) {
    mproc_list *l = made_list();
    uint32_t *stop = mproc_calloc(1, sizeof *stop);
    struct turning both[2] = {{l, stop, false}, {l, stop, true}};
    struct member_thread threads[2];
    fill(l, TURNED);
    for (int i = 0; i < 2; i++) {
        threads[i] = (struct member_thread){.run = turn, .arg = &both[i]};
    }
    member_threads_run(threads, 2);
    mproc_free(stop);
    drop_and_check(l);
}

static void drop_late(void *arg) {
    usleep(1000);
    append(arg, 97);
    CHECK_OK(mproc_drop(arg));
}

TEST(list_lives_while_somebody_holds_it) {
    mproc_list *l = made_list();
    pid_t child = child_fork(drop_late, l);
    CHECK_OK(mproc_drop(l));
    child_join(child);
    (void)mproc_reap();
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}
