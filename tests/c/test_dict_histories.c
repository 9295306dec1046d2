/*
 * test_dict_histories.c - what several members saw of a dict has to fit into one order
 *
 * SPDX-License-Identifier: MIT
 *
 * See histories.h. Keys are checked one by one, which is as good as all of them together.
 */
#define _GNU_SOURCE
#include "histories.h"

#define KEYS 2

enum kind { GET, SET, INSERT, DELETE, POP, REPLACE, CLEAR, HAS, KINDS };

static const char *const names[] = {"get", "set",     "insert", "delete",
                                    "pop", "replace", "clear",  "has"};

/* ---------------------------------------------------------------- the checker */

/* A state is the value of one key, 0 for none. `value` is what a call sets, and `old` what REPLACE
 * wants to find; what it said is the value that was read, or 0 and 1 for no and yes.
 *
 * What the call does to a state, and whether it could say what it said. */
static bool fits(const struct call *call, struct state *state) {
    uint8_t *value = &state->at[0], before = *value;
    bool done = call->ended != 0, yes = true;
    switch (call->kind) {
    case GET: return !done || call->said == before;
    case HAS: return !done || call->said == (before != 0);
    case SET: *value = call->value; return true;
    case CLEAR: *value = 0; return true;
    case POP: *value = 0; return !done || call->said == before;
    case DELETE:
        yes = before != 0;
        *value = 0;
        break;
    case INSERT:
        yes = before == 0;
        *value = yes ? call->value : before;
        break;
    default:
        yes = before == call->old && before != 0;
        *value = yes ? call->value : before;
        break;
    }
    return !done || call->said == yes;
}

static bool concerns(const struct call *call, uint8_t key) {
    return call->key == key || call->kind == CLEAR;
}

static bool fits_key(const struct call *calls, unsigned n, uint8_t key) {
    const struct state none = {1, {0}};
    return linearizable(fits, calls, n, &none, concerns, key);
}

static bool all_fit(const struct call *calls, uint32_t round) {
    (void)round;
    for (uint8_t key = 0; key < KEYS; key++) {
        if (!fits_key(calls, MOST, key)) {
            printf("# key %u\n", key);
            return false;
        }
    }
    return true;
}

TEST(dict_histories_checker_knows_right_from_wrong) {
    const struct call right[] = {
        {SET, 0, 5, 0, 0, 1, 4}, {GET, 0, 0, 0, 0, 2, 3}, {GET, 0, 0, 0, 5, 5, 6}};
    CHECK(fits_key(right, 3, 0));
    const struct call late[] = {{SET, 0, 5, 0, 0, 1, 2}, {GET, 0, 0, 0, 0, 3, 4}};
    CHECK(!fits_key(late, 2, 0));
    const struct call back[] = {
        {SET, 0, 5, 0, 0, 1, 9}, {GET, 0, 0, 0, 5, 2, 3}, {GET, 0, 0, 0, 0, 4, 5}};
    CHECK(!fits_key(back, 3, 0));
    const struct call twice[] = {
        {SET, 0, 5, 0, 0, 1, 2}, {POP, 0, 0, 0, 5, 3, 6}, {POP, 0, 0, 0, 5, 4, 7}};
    CHECK(!fits_key(twice, 3, 0));
    const struct call killed[] = {
        {SET, 0, 5, 0, 0, 1, 0}, {GET, 0, 0, 0, 0, 2, 3}, {GET, 0, 0, 0, 5, 4, 5}};
    CHECK(fits_key(killed, 3, 0));
    const struct call undone[] = {
        {SET, 0, 5, 0, 0, 1, 0}, {GET, 0, 0, 0, 5, 2, 3}, {GET, 0, 0, 0, 0, 4, 5}};
    CHECK(!fits_key(undone, 3, 0));
    const struct call both[] = {{INSERT, 0, 5, 0, 1, 1, 9}, {INSERT, 0, 6, 0, 1, 2, 8}};
    CHECK(!fits_key(both, 2, 0));
    const struct call cleared[] = {
        {SET, 1, 5, 0, 0, 1, 2}, {CLEAR, 0, 0, 0, 0, 3, 4}, {HAS, 1, 0, 0, 1, 5, 6}};
    CHECK(!fits_key(cleared, 3, 1));
}

/* ---------------------------------------------------------------- the members */

static int32_t make_call(void *d, const struct call *c, uint32_t round) {
    uint32_t key[2] = {round, c->key};
    char room[256];
    mproc_message m = MPROC_MESSAGE_INIT(room, c->value % 2 ? sizeof room : 0);
    int r;
    switch (c->kind) {
    case GET: r = mproc_dict_get(d, key, sizeof key, &m, NULL); break;
    case POP: r = mproc_dict_pop(d, key, sizeof key, &m); break;
    case HAS: return mproc_dict_has(d, key, sizeof key) != 0;
    case CLEAR: mproc_dict_clear(d); return 0;
    case SET:
        CHECK_OK(mproc_dict_set(d, key, sizeof key, bytes_of(c->value), size_of(c->value)));
        return 0;
    case INSERT:
        r = mproc_dict_insert(d, key, sizeof key, bytes_of(c->value), size_of(c->value));
        return yes_or_no(r, -EEXIST);
    case DELETE: return yes_or_no(mproc_dict_delete(d, key, sizeof key, MPROC_DICT_ANY), -ENOENT);
    default: {
        char old[10000];
        memset(old, c->old, size_of(c->old));
        r = mproc_dict_replace(d, key, sizeof key, old, size_of(c->old), bytes_of(c->value),
                               size_of(c->value));
        return yes_or_no(r == -ESTALE ? -ENOENT : r, -ENOENT);
    }
    }
    CHECK(r == 0 || r == -ENOENT);
    return r == 0 ? value_of(&m) : 0;
}

static void draw(struct call *c, uint64_t dice) {
    c->kind = (uint8_t)(dice % 40 == 0 ? CLEAR : dice % KINDS);
    c->kind = c->kind == CLEAR && dice % 40 != 0 ? SET : c->kind;
    c->key = (uint8_t)(dice >> 8) % KEYS;
    c->value = (uint8_t)(1 + (dice >> 16) % 12);
    c->old = (uint8_t)(1 + (dice >> 32) % 12);
}

static int check(void *dict, char *why, size_t size) {
    return mproc_dict_check(dict, why, size);
}

TEST(dict_histories_fit_into_one_order) {
    static const struct history history = {draw, make_call, NULL, all_fit, check, names};
    histories_run(&history, made_dict());
}
