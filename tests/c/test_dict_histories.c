/*
 * test_dict_histories.c - what several members saw of a dict has to fit into one order
 *
 * SPDX-License-Identifier: MIT
 *
 * Four processes make random calls for a few keys at the same time, and note for each call when it
 * began, when it ended, and what it said. A checker then looks for an order of the calls in which
 * each could have said that, one after the other, and in which no call comes before one that had
 * ended when it began: the history is linearizable (Herlihy and Wing, 1990). Keys are checked one
 * by one, which is as good as all of them together. The search is that of Wing and Gong (1993), and
 * remembers where it was.
 *
 * In some rounds a process is killed. The call that it was in has happened, or has not.
 *
 * HISTORY_SECONDS=60 goes on for that long.
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"

#include <sched.h>
#include <time.h>

#define MEMBERS 4
#define KEYS 2
#define CALLS 7 /* of a member in a round */
#define MOST (MEMBERS * CALLS)
#define ROUNDS 400

enum kind { GET, SET, INSERT, DELETE, POP, REPLACE, CLEAR, HAS, KINDS };

/* Values are 1 to 200; 0 stands for none. */
struct call {
    uint8_t kind;
    uint8_t key;
    uint8_t value;         /* that it sets */
    uint8_t old;           /* that REPLACE wants to find */
    int16_t said;          /* the value that was read, or 0 and 1 for no and yes */
    uint64_t began, ended; /* ended 0: it has not, or its member was killed */
};

/* ---------------------------------------------------------------- the checker */

/* What the call does to a value, and whether it could say what it said. */
static bool fits(const struct call *call, uint8_t *value) {
    uint8_t before = *value;
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

struct search {
    const struct call *calls[MOST];
    unsigned n;
    uint64_t been[1 << 16]; /* sets and values that led nowhere, by their hash */
};

/* May it be the next one, when those in `made` have been? */
static bool is_next(const struct search *s, uint64_t made, unsigned i) {
    for (unsigned j = 0; j < s->n; j++) {
        if (!(made >> j & 1) && s->calls[j]->ended != 0 &&
            s->calls[j]->ended < s->calls[i]->began) {
            return false;
        }
    }
    return true;
}

static bool all_made(const struct search *s, uint64_t made) {
    for (unsigned j = 0; j < s->n; j++) {
        if (!(made >> j & 1) && s->calls[j]->ended != 0) {
            return false;
        }
    }
    return true;
}

static bool order_exists(struct search *s, uint64_t made, uint8_t value) {
    if (all_made(s, made)) {
        return true;
    }
    uint64_t state = made << 8 | value;
    uint64_t *been = &s->been[(state * UINT64_C(0x9e3779b97f4a7c15)) >> 48];
    if (*been == state) {
        return false;
    }
    for (unsigned i = 0; i < s->n; i++) {
        uint8_t after = value;
        if (!(made >> i & 1) && is_next(s, made, i) && fits(s->calls[i], &after) &&
            order_exists(s, made | UINT64_C(1) << i, after)) {
            return true;
        }
    }
    *been = state;
    return false;
}

static bool linearizable(const struct call *calls, unsigned n, uint8_t key) {
    static struct search s;
    memset(&s, 0, sizeof s);
    memset(s.been, 0xff, sizeof s.been);
    for (unsigned i = 0; i < n; i++) {
        if (calls[i].began != 0 && (calls[i].key == key || calls[i].kind == CLEAR)) {
            s.calls[s.n++] = &calls[i];
        }
    }
    return order_exists(&s, 0, 0);
}

TEST(dict_histories_checker_knows_right_from_wrong) {
    const struct call right[] = {
        {SET, 0, 5, 0, 0, 1, 4}, {GET, 0, 0, 0, 0, 2, 3}, {GET, 0, 0, 0, 5, 5, 6}};
    CHECK(linearizable(right, 3, 0));
    const struct call late[] = {{SET, 0, 5, 0, 0, 1, 2}, {GET, 0, 0, 0, 0, 3, 4}};
    CHECK(!linearizable(late, 2, 0));
    const struct call back[] = {
        {SET, 0, 5, 0, 0, 1, 9}, {GET, 0, 0, 0, 5, 2, 3}, {GET, 0, 0, 0, 0, 4, 5}};
    CHECK(!linearizable(back, 3, 0));
    const struct call twice[] = {
        {SET, 0, 5, 0, 0, 1, 2}, {POP, 0, 0, 0, 5, 3, 6}, {POP, 0, 0, 0, 5, 4, 7}};
    CHECK(!linearizable(twice, 3, 0));
    const struct call killed[] = {
        {SET, 0, 5, 0, 0, 1, 0}, {GET, 0, 0, 0, 0, 2, 3}, {GET, 0, 0, 0, 5, 4, 5}};
    CHECK(linearizable(killed, 3, 0));
    const struct call undone[] = {
        {SET, 0, 5, 0, 0, 1, 0}, {GET, 0, 0, 0, 5, 2, 3}, {GET, 0, 0, 0, 0, 4, 5}};
    CHECK(!linearizable(undone, 3, 0));
    const struct call both[] = {{INSERT, 0, 5, 0, 1, 1, 9}, {INSERT, 0, 6, 0, 1, 2, 8}};
    CHECK(!linearizable(both, 2, 0));
    const struct call cleared[] = {
        {SET, 1, 5, 0, 0, 1, 2}, {CLEAR, 0, 0, 0, 0, 3, 4}, {HAS, 1, 0, 0, 1, 5, 6}};
    CHECK(!linearizable(cleared, 3, 1));
}

/* ---------------------------------------------------------------- the members */

/* In the arena. */
struct scene {
    mproc_dict *dict;
    uint32_t round, pad;     /* what the members are to do; they wait for the next one */
    uint64_t clock;          /* each call of the test takes the next number */
    uint32_t done[MEMBERS];  /* the last round that it has done */
    struct call calls[MOST]; /* member after member */
};

struct member {
    struct scene *scene;
    uint32_t number;
    uint32_t from; /* the round that it begins with */
};

/* Every fifth value is a large one, which is lent. */
static size_t size_of(uint8_t value) {
    return value % 5 == 0 ? 9000 + value : value;
}

static const char *bytes_of(uint8_t value) {
    static char bytes[10000];
    memset(bytes, value, size_of(value));
    return bytes;
}

static int16_t value_of(mproc_message *m) {
    uint8_t value = *(uint8_t *)m->data;
    CHECK_EQ(m->size, size_of(value));
    for (size_t i = 0; i < m->size; i++) {
        CHECK_EQ(((uint8_t *)m->data)[i], value); /* of one piece */
    }
    mproc_message_drop(m);
    return value;
}

static int16_t yes_or_no(int r, int no) {
    CHECK(r == 0 || r == no);
    return r == 0;
}

static int16_t make_call(mproc_dict *d, const struct call *c, uint32_t round) {
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

static void do_round(struct scene *s, uint32_t number, uint32_t round, uint64_t *random) {
    for (uint32_t i = 0; i < CALLS; i++) {
        struct call *c = &s->calls[number * CALLS + i];
        draw(c, test_random(random));
        mproc__store64(&c->began, mproc__add64(&s->clock, 1));
        c->said = make_call(s->dict, c, round);
        mproc__store64(&c->ended, mproc__add64(&s->clock, 1));
        if (i % 3 == number % 3) {
            sched_yield();
        }
    }
}

static void play(void *arg) {
    struct member *m = arg;
    uint64_t random = 88172645463325252u + m->number * 1000003u + m->from;
    for (uint32_t round = m->from;; round++) {
        while (mproc__load32(&m->scene->round) < round) {
            sched_yield();
        }
        do_round(m->scene, m->number, round, &random);
        mproc__store32(&m->scene->done[m->number], round);
    }
}

/* ---------------------------------------------------------------- the rounds */

static pid_t start(struct scene *s, uint32_t number, uint32_t round) {
    struct member m = {s, number, round};
    return child_fork(play, &m);
}

/* A killed one may have done its round, or a part of it. */
static void await_round(struct scene *s, uint32_t round, pid_t *pids, int victim) {
    for (uint32_t i = 0; i < MEMBERS; i++) {
        if ((int)i == victim) {
            continue;
        }
        while (mproc__load32(&s->done[i]) < round) {
            int status;
            CHECK_EQ(waitpid(pids[i], &status, WNOHANG), 0); /* no check of its own has failed */
            sched_yield();
        }
    }
}

static void print_history(const struct scene *s) {
    static const char *names[] = {"get", "set",     "insert", "delete",
                                  "pop", "replace", "clear",  "has"};
    for (int i = 0; i < MOST; i++) {
        const struct call *c = &s->calls[i];
        printf("# member %d: %s of key %d, value %d, old %d: %d, from %llu to %llu\n", i / CALLS,
               names[c->kind], c->key, c->value, c->old, c->said, (unsigned long long)c->began,
               (unsigned long long)c->ended);
    }
}

static void one_round(struct scene *s, uint32_t round, pid_t *pids) {
    int victim = round % 8 == 0 ? (int)(round / 8 % MEMBERS) : -1;
    memset(s->calls, 0, sizeof s->calls);
    mproc__store64(&s->clock, 1);
    mproc__store32(&s->round, round);
    if (victim >= 0) {
        uint64_t until = 5 + round % 40;
        while (mproc__load64(&s->clock) < until) {
            sched_yield();
        }
        child_kill(pids[victim]);
    }
    await_round(s, round, pids, victim);
    for (uint8_t key = 0; key < KEYS; key++) {
        if (!linearizable(s->calls, MOST, key)) {
            print_history(s);
            test_fail(__FILE__, __LINE__, "round %u, key %u: no order fits", round, key);
        }
    }
    if (victim >= 0) {
        (void)mproc_reap();
        pids[victim] = start(s, (uint32_t)victim, round + 1);
    }
}

static void check(mproc_dict *d) {
    char why[256] = "";
    if (mproc_dict_check(d, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

TEST(dict_histories_fit_into_one_order) {
    const char *seconds = getenv("HISTORY_SECONDS");
    time_t end = time(NULL) + (seconds != NULL ? atoi(seconds) : 0);
    struct scene *s = mproc_calloc(1, sizeof *s);
    pid_t pids[MEMBERS];
    s->dict = made_dict();
    for (uint32_t i = 0; i < MEMBERS; i++) {
        pids[i] = start(s, i, 1);
    }
    for (uint32_t round = 1; round <= ROUNDS || time(NULL) < end; round++) {
        one_round(s, round, pids);
        if (round % 64 == 0) {
            check(s->dict);
        }
    }
    for (int i = 0; i < MEMBERS; i++) {
        child_kill(pids[i]);
    }
    (void)mproc_reap();
    check(s->dict);
    mproc_drop(s->dict);
    mproc_free(s);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}
