/*
 * test_list_histories.c - what several members saw of a list has to fit into one order
 *
 * SPDX-License-Identifier: MIT
 *
 * See histories.h. Each round begins with an empty list.
 */
#define _GNU_SOURCE
#include "histories.h"

#include <sys/uio.h>

enum kind {
    APPEND,
    INSERT,
    EXTEND,
    GET,
    SET,
    POP,
    DELETE,
    SWAP,
    FIND,
    COUNT,
    COPY,
    CUT,
    REVERSE,
    CLEAR,
    KINDS
};

static const char *const names[] = {"append", "insert", "extend",  "get",  "set",
                                    "pop",    "delete", "swap",    "find", "count",
                                    "copy",   "cut",    "reverse", "clear"};

/* The indexes of calls: `key` and `old` are numbers of them. */
static const int indexes[] = {0, -1, 1, -2, 2, 5};

static int index_of(uint8_t number) {
    return indexes[number % (sizeof indexes / sizeof indexes[0])];
}

/* ---------------------------------------------------------------- the checker */

/* Where that index is, -1: nowhere. */
static int place(const struct state *s, uint8_t number) {
    int i = index_of(number);
    i += i < 0 ? s->n : 0;
    return i >= 0 && i < s->n ? i : -1;
}

/* A bound of an insertion or a slice, cut to the list. */
static int bound(const struct state *s, uint8_t number) {
    int i = index_of(number);
    i += i < 0 ? s->n : 0;
    return i < 0 ? 0 : i > s->n ? s->n : i;
}

static void put_in(struct state *s, int i, uint8_t value) {
    CHECK(s->n < LONGEST);
    memmove(s->at + i + 1, s->at + i, (size_t)(s->n - i));
    s->at[i] = value;
    s->n++;
}

static void take_out(struct state *s, int i, int n) {
    memmove(s->at + i, s->at + i + n, (size_t)(s->n - i - n));
    s->n = (uint8_t)(s->n - n);
}

static void turn_round(struct state *s) {
    for (int i = 0; i < s->n / 2; i++) {
        uint8_t other = s->at[i];
        s->at[i] = s->at[s->n - 1 - i];
        s->at[s->n - 1 - i] = other;
    }
}

static int32_t sum_of(int32_t before, uint8_t value) {
    return (before * 31 + value) & 0xffffff;
}

/* What it says of elements: those that a swap or a slice names. */
static int32_t change_at(const struct call *call, struct state *s) {
    int i = place(s, call->key), j = place(s, call->old), from, to;
    switch (call->kind) {
    case SWAP:
        if (i < 0 || j < 0) {
            return 0;
        }
        uint8_t other = s->at[i];
        s->at[i] = s->at[j];
        s->at[j] = other;
        return 1;
    case CUT:
        from = bound(s, call->key), to = bound(s, call->old);
        if (from < to) {
            take_out(s, from, to - from);
        }
        return 0;
    case SET:
        if (i >= 0) {
            s->at[i] = call->value;
        }
        return i >= 0;
    case GET: return i < 0 ? -1 : s->at[i];
    default: { /* POP, DELETE */
        int32_t said = call->kind == DELETE ? i >= 0 : i < 0 ? -1 : s->at[i];
        if (i >= 0) {
            take_out(s, i, 1);
        }
        return said;
    }
    }
}

/* What the call says, and does to the state. */
static int32_t change(const struct call *call, struct state *s) {
    int32_t sum = 0;
    switch (call->kind) {
    case EXTEND: put_in(s, s->n, (uint8_t)(call->value + 1)); /* fall through */
    case APPEND: put_in(s, call->kind == EXTEND ? s->n - 1 : s->n, call->value); return 0;
    case INSERT: put_in(s, bound(s, call->key), call->value); return 0;
    case REVERSE: turn_round(s); return 0;
    case CLEAR: s->n = 0; return 0;
    case COUNT: return s->n;
    case FIND: {
        const uint8_t *found = memchr(s->at, call->value, s->n);
        return found == NULL ? -1 : (int32_t)(found - s->at);
    }
    case COPY:
        for (int i = 0; i < s->n; i++) {
            sum = sum_of(sum, s->at[i]);
        }
        return sum;
    default: return change_at(call, s);
    }
}

static bool fits(const struct call *call, struct state *s) {
    int32_t said = change(call, s);
    return call->ended == 0 || said == call->said;
}

static bool all_fit(const struct call *calls, uint32_t round) {
    const struct state empty = {0};
    (void)round;
    return linearizable(fits, calls, MOST, &empty, NULL, 0);
}

static bool are_right(const struct call *calls, unsigned n) {
    const struct state empty = {0};
    return linearizable(fits, calls, n, &empty, NULL, 0);
}

TEST(list_histories_checker_knows_right_from_wrong) {
    const struct call right[] = {{APPEND, 0, 5, 0, 0, 1, 4},
                                 {COUNT, 0, 0, 0, 0, 2, 3},
                                 {GET, 1, 0, 0, 5, 5, 6},
                                 {POP, 0, 0, 0, 5, 7, 8},
                                 {POP, 0, 0, 0, -1, 9, 10}};
    CHECK(are_right(right, 5));
    const struct call late[] = {{APPEND, 0, 5, 0, 0, 1, 2}, {COUNT, 0, 0, 0, 0, 3, 4}};
    CHECK(!are_right(late, 2));
    const struct call twice[] = {
        {APPEND, 0, 5, 0, 0, 1, 2}, {POP, 0, 0, 0, 5, 3, 6}, {POP, 0, 0, 0, 5, 4, 7}};
    CHECK(!are_right(twice, 3));
    const struct call half[] = {{EXTEND, 0, 5, 0, 0, 1, 9}, {COUNT, 0, 0, 0, 1, 2, 3}};
    CHECK(!are_right(half, 2));
    const struct call order[] = {{EXTEND, 0, 5, 0, 0, 1, 2},
                                 {REVERSE, 0, 0, 0, 0, 3, 4},
                                 {FIND, 0, 5, 0, 1, 5, 6},
                                 {SWAP, 0, 0, 1, 1, 7, 8},
                                 {FIND, 0, 5, 0, 0, 9, 10}};
    CHECK(are_right(order, 5));
    const struct call killed[] = {
        {APPEND, 0, 5, 0, 0, 1, 0}, {COUNT, 0, 0, 0, 1, 2, 3}, {COUNT, 0, 0, 0, 0, 4, 5}};
    CHECK(!are_right(killed, 3));
}

/* ---------------------------------------------------------------- the members */

static int32_t copy(mproc_list *list) {
    mproc_list_snapshot *snapshot;
    mproc_message m;
    int32_t sum = 0;
    CHECK_OK(mproc_list_snapshot_new(&snapshot, list, 0, INT64_MAX, 1));
    for (size_t i = 0; i < mproc_list_snapshot_count(snapshot); i++) {
        CHECK_OK(mproc_list_snapshot_item(snapshot, i, &m));
        sum = sum_of(sum, value_in(m.data, m.size));
    }
    mproc_list_snapshot_drop(snapshot);
    return sum;
}

static int32_t extend(mproc_list *list, uint8_t value) {
    char more[10000];
    uint8_t next = (uint8_t)(value + 1);
    memset(more, next, size_of(next));
    struct iovec first = {(void *)(uintptr_t)bytes_of(value), size_of(value)};
    struct iovec second = {more, size_of(next)};
    mproc_list_value values[2] = {{&first, 1, NULL, 0}, {&second, 1, NULL, 0}};
    CHECK_OK(mproc_list_extend(list, values, 2));
    return 0;
}

static int32_t find(mproc_list *list, uint8_t value) {
    uint64_t where;
    int r = mproc_list_find(list, bytes_of(value), size_of(value), 0, INT64_MAX, &where);
    CHECK(r == 0 || r == -ENOENT);
    return r == 0 ? (int32_t)where : -1;
}

static int32_t read_or_take(mproc_list *list, const struct call *c) {
    char room[256];
    mproc_message m = MPROC_MESSAGE_INIT(room, c->value % 2 ? sizeof room : 0);
    int i = index_of(c->key);
    int r = c->kind == GET ? mproc_list_get(list, i, &m, NULL) : mproc_list_pop(list, i, &m);
    CHECK(r == 0 || r == -ERANGE);
    return r == 0 ? value_of(&m) : -1;
}

static int32_t make_call(void *list, const struct call *c, uint32_t round) {
    const char *bytes = bytes_of(c->value);
    size_t size = size_of(c->value);
    int i = index_of(c->key), j = index_of(c->old);
    (void)round;
    switch (c->kind) {
    case APPEND: CHECK_OK(mproc_list_append(list, bytes, size)); return 0;
    case INSERT: CHECK_OK(mproc_list_insert(list, i, bytes, size)); return 0;
    case EXTEND: return extend(list, c->value);
    case SET: return yes_or_no(mproc_list_set(list, i, bytes, size), -ERANGE);
    case DELETE: return yes_or_no(mproc_list_delete(list, i, MPROC_LIST_ANY), -ERANGE);
    case SWAP: return yes_or_no(mproc_list_swap(list, i, j), -ERANGE);
    case FIND: return find(list, c->value);
    case COUNT: return (int32_t)mproc_list_count(list);
    case COPY: return copy(list);
    case CUT: CHECK_OK(mproc_list_cut(list, i, j, 1)); return 0;
    case REVERSE: CHECK_OK(mproc_list_reverse(list)); return 0;
    case CLEAR: CHECK_OK(mproc_list_clear(list)); return 0;
    default: return read_or_take(list, c);
    }
}

static void draw(struct call *c, uint64_t dice) {
    c->kind = (uint8_t)(dice % KINDS);
    c->kind = c->kind == CLEAR && dice % 3 != 0 ? APPEND : c->kind;
    c->key = (uint8_t)((dice >> 8) % 6);
    c->value = (uint8_t)(1 + (dice >> 16) % 12);
    c->old = (uint8_t)((dice >> 32) % 6);
}

static void begin(void *list) {
    CHECK_OK(mproc_list_clear(list));
}

static int check(void *list, char *why, size_t size) {
    return mproc_list_check(list, why, size);
}

TEST(list_histories_fit_into_one_order) {
    static const struct history history = {draw, make_call, begin, all_fit, check, names};
    histories_run(&history, made_list());
}
