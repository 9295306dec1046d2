/*
 * test_set_histories.c - what several members saw of a set has to fit into one order
 *
 * SPDX-License-Identifier: MIT
 *
 * See histories.h. The elements are two, and are checked together: pop() and clear() concern both.
 */
#define _GNU_SOURCE
#include "histories.h"

#define ELEMENTS 2

enum kind { ADD, REMOVE, HAS, CLEAR, KINDS };

static const char *const names[] = {"add", "remove", "has", "clear"};

/* A state says of each element whether it is there. What a call said is yes or no. */
static bool fits(const struct call *call, struct state *state) {
    bool before = state->at[call->key];
    switch (call->kind) {
    case ADD: state->at[call->key] = 1; return call->ended == 0 || call->said == !before;
    case REMOVE: state->at[call->key] = 0; return call->ended == 0 || call->said == before;
    case HAS: return call->ended == 0 || call->said == before;
    default: memset(state->at, 0, ELEMENTS); return true;
    }
}

static bool fit(const struct call *calls, unsigned n) {
    const struct state none = {ELEMENTS, {0}};
    return linearizable(fits, calls, n, &none, NULL, 0);
}

static bool all_fit(const struct call *calls, uint32_t round) {
    (void)round;
    return fit(calls, MOST);
}

TEST(set_histories_checker_knows_right_from_wrong) {
    const struct call right[] = {
        {ADD, 0, 0, 0, 1, 1, 4}, {HAS, 0, 0, 0, 0, 2, 3}, {HAS, 0, 0, 0, 1, 5, 6}};
    CHECK(fit(right, 3));
    const struct call both_new[] = {{ADD, 0, 0, 0, 1, 1, 9}, {ADD, 0, 0, 0, 1, 2, 8}};
    CHECK(!fit(both_new, 2));
    const struct call taken_twice[] = {
        {ADD, 1, 0, 0, 1, 1, 2}, {REMOVE, 1, 0, 0, 1, 3, 6}, {REMOVE, 1, 0, 0, 1, 4, 7}};
    CHECK(!fit(taken_twice, 3));
    const struct call half_cleared[] = {{ADD, 0, 0, 0, 1, 1, 2},
                                        {ADD, 1, 0, 0, 1, 3, 4},
                                        {CLEAR, 0, 0, 0, 0, 5, 0},
                                        {HAS, 0, 0, 0, 0, 6, 7},
                                        {HAS, 1, 0, 0, 1, 8, 9}};
    CHECK(!fit(half_cleared, 5));
    const struct call killed[] = {
        {ADD, 0, 0, 0, 0, 1, 0}, {HAS, 0, 0, 0, 0, 2, 3}, {HAS, 0, 0, 0, 1, 4, 5}};
    CHECK(fit(killed, 3));
}

/* ---------------------------------------------------------------- the members */

static int32_t make_call(void *set, const struct call *c, uint32_t round) {
    uint32_t element[2] = {round, c->key};
    switch (c->kind) {
    case ADD: return yes_or_no(mproc_set_add(set, element, sizeof element), -EEXIST);
    case REMOVE: return yes_or_no(mproc_set_remove(set, element, sizeof element), -ENOENT);
    case HAS: return mproc_set_has(set, element, sizeof element) != 0;
    default: mproc_set_clear(set); return 0;
    }
}

static void draw(struct call *c, uint64_t dice) {
    c->kind = (uint8_t)(dice % 20 == 0 ? CLEAR : dice % CLEAR);
    c->key = (uint8_t)(dice >> 8) % ELEMENTS;
}

static int check(void *set, char *why, size_t size) {
    return mproc_set_check(set, why, size);
}

TEST(set_histories_fit_into_one_order) {
    static const struct history history = {draw, make_call, NULL, all_fit, check, names};
    histories_run(&history, made_set());
}
