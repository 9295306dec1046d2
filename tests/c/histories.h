/*
 * histories.h - what several members saw of an object has to fit into one order
 *
 * SPDX-License-Identifier: MIT
 *
 * Four processes make random calls for an object at the same time, and note for each call when it
 * began, when it ended, and what it said. A checker then looks for an order of the calls in which
 * each could have said that, one after the other, and in which no call comes before one that had
 * ended when it began: the history is linearizable (Herlihy and Wing, 1990). The search is that of
 * Wing and Gong (1993), and remembers where it was.
 *
 * In some rounds a process is killed. The call that it was in has happened, or has not.
 *
 * HISTORY_SECONDS=60 goes on for that long.
 */
#ifndef MPROC_TEST_HISTORIES_H
#define MPROC_TEST_HISTORIES_H

#include <time.h>

#include "made.h"
#include "members.h"

#define MEMBERS 4
#define CALLS 7 /* of a member in a round */
#define MOST (MEMBERS * CALLS)
#define ROUNDS 400
#define LONGEST (2 * MOST) /* values of a state */

/* What `kind`, `key`, `value` and `old` mean, the test knows. Values are 1 to 200. */
struct call {
    uint8_t kind;
    uint8_t key;
    uint8_t value;
    uint8_t old;
    int32_t said;
    uint64_t began, ended; /* ended 0: it has not, or its member was killed */
};

/* What an object is, for the checker. */
struct state {
    uint8_t n;
    uint8_t at[LONGEST];
};

/* What the call does to a state, and whether it could say what it said. */
typedef bool (*history_fits)(const struct call *call, struct state *state);

/* ---------------------------------------------------------------- the checker */

struct search {
    history_fits fits;
    const struct call *calls[MOST];
    unsigned n;
    uint64_t been[1 << 16]; /* sets of calls and states that led nowhere, as hashes */
};

/* May it be the next one, when those in `made` have been? */
static inline bool is_next(const struct search *s, uint64_t made, unsigned i) {
    for (unsigned j = 0; j < s->n; j++) {
        if (!(made >> j & 1) && s->calls[j]->ended != 0 &&
            s->calls[j]->ended < s->calls[i]->began) {
            return false;
        }
    }
    return true;
}

static inline bool all_made(const struct search *s, uint64_t made) {
    for (unsigned j = 0; j < s->n; j++) {
        if (!(made >> j & 1) && s->calls[j]->ended != 0) {
            return false;
        }
    }
    return true;
}

/* FNV-1a, stirred once more: two of a search's states have the same number as good as never. */
static inline uint64_t number_of(uint64_t made, const struct state *state) {
    uint64_t hash = made * UINT64_C(0x9e3779b97f4a7c15) ^ state->n;
    for (unsigned i = 0; i < state->n; i++) {
        hash = (hash ^ state->at[i]) * UINT64_C(0x100000001b3);
    }
    hash ^= hash >> 32;
    return hash * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

/* As deep as a round has calls. */
static inline bool order_exists(struct search *s, uint64_t made, const struct state *state) {
    if (all_made(s, made)) {
        return true;
    }
    uint64_t number = number_of(made, state);
    uint64_t *been = &s->been[number >> 48];
    if (*been == number) {
        return false;
    }
    for (unsigned i = 0; i < s->n; i++) {
        struct state after = *state;
        if (!(made >> i & 1) && is_next(s, made, i) && s->fits(s->calls[i], &after) &&
            order_exists(s, made | UINT64_C(1) << i, &after)) {
            return true;
        }
    }
    *been = number;
    return false;
}

/* Does an order exist of those calls that were begun and that `concerns`, which may be NULL, says
 * yes to? */
static inline bool linearizable(history_fits fits, const struct call *calls, unsigned n,
                                const struct state *first,
                                bool (*concerns)(const struct call *, uint8_t), uint8_t key) {
    static struct search s;
    memset(&s, 0, sizeof s);
    s.fits = fits;
    for (unsigned i = 0; i < n; i++) {
        if (calls[i].began != 0 && (concerns == NULL || concerns(&calls[i], key))) {
            s.calls[s.n++] = &calls[i];
        }
    }
    return order_exists(&s, 0, first);
}

/* ---------------------------------------------------------------- the members */

/* What a test has to say. */
struct history {
    void (*draw)(struct call *call, uint64_t dice);
    int32_t (*make)(void *object, const struct call *call, uint32_t round);
    void (*begin)(void *object);                            /* a round; NULL: nothing */
    bool (*fits)(const struct call *calls, uint32_t round); /* the whole of a round */
    int (*check)(void *object, char *why, size_t size);     /* of its invariants */
    const char *const *names;                               /* of the kinds */
};

/* In the arena. */
struct scene {
    const struct history *history; /* the same address in all forks */
    void *object;
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
static inline size_t size_of(uint8_t value) {
    return value % 5 == 0 ? 9000 + value : value;
}

static inline const char *bytes_of(uint8_t value) {
    static char bytes[10000];
    memset(bytes, value, size_of(value));
    return bytes;
}

/* Checks that it is of one piece. */
static inline uint8_t value_in(const void *data, size_t size) {
    uint8_t value = *(const uint8_t *)data;
    CHECK_EQ(size, size_of(value));
    for (size_t i = 0; i < size; i++) {
        CHECK_EQ(((const uint8_t *)data)[i], value);
    }
    return value;
}

static inline int32_t value_of(mproc_message *m) {
    uint8_t value = value_in(m->data, m->size);
    mproc_message_drop(m);
    return value;
}

static inline int32_t yes_or_no(int r, int no) {
    CHECK(r == 0 || r == no);
    return r == 0;
}

/* Sleeps until another process has stored that number, or a larger one; or for 50 ms. */
static inline bool has_come(const uint32_t *word, uint32_t number) {
    uint32_t seen = mproc__load32(word);
    if (seen < number) {
        (void)mproc__os_futex_wait(word, seen, 50 * MPROC_MSEC);
    }
    return mproc__load32(word) >= number;
}

static inline void tell(uint32_t *word, uint32_t number) {
    mproc__store32(word, number);
    (void)mproc__os_futex_wake(word, INT32_MAX);
}

static inline void do_round(struct scene *s, uint32_t number, uint32_t round, uint64_t *random) {
    for (uint32_t i = 0; i < CALLS; i++) {
        struct call *c = &s->calls[number * CALLS + i];
        s->history->draw(c, test_random(random));
        mproc__store64(&c->began, mproc__add64(&s->clock, 1));
        c->said = s->history->make(s->object, c, round);
        mproc__store64(&c->ended, mproc__add64(&s->clock, 1));
        if (i % 3 == number % 3) {
            (void)usleep(1); /* the others go on; one that yields instead may wait for long */
        }
    }
}

static inline void play(void *arg) {
    struct member *m = arg;
    uint64_t random = 88172645463325252u + m->number * 1000003u + m->from;
    for (uint32_t round = m->from;; round++) {
        while (!has_come(&m->scene->round, round)) {
        }
        do_round(m->scene, m->number, round, &random);
        tell(&m->scene->done[m->number], round);
    }
}

/* ---------------------------------------------------------------- the rounds */

static inline pid_t start(struct scene *s, uint32_t number, uint32_t round) {
    struct member m = {s, number, round};
    return child_fork(play, &m);
}

/* A killed one may have done its round, or a part of it. */
static inline void await_round(struct scene *s, uint32_t round, pid_t *pids, int victim) {
    for (uint32_t i = 0; i < MEMBERS; i++) {
        if ((int)i == victim) {
            continue;
        }
        while (!has_come(&s->done[i], round)) {
            int status;
            CHECK_EQ(waitpid(pids[i], &status, WNOHANG), 0); /* no check of its own has failed */
        }
    }
}

static inline void print_history(const struct scene *s) {
    for (int i = 0; i < MOST; i++) {
        const struct call *c = &s->calls[i];
        printf("# member %d: %s of key %d, value %d, old %d: %d, from %llu to %llu\n", i / CALLS,
               s->history->names[c->kind], c->key, c->value, c->old, (int)c->said,
               (unsigned long long)c->began, (unsigned long long)c->ended);
    }
}

static inline void one_round(struct scene *s, uint32_t round, pid_t *pids) {
    int victim = round % 8 == 0 ? (int)(round / 8 % MEMBERS) : -1;
    memset(s->calls, 0, sizeof s->calls);
    if (s->history->begin != NULL) {
        s->history->begin(s->object);
    }
    mproc__store64(&s->clock, 1);
    tell(&s->round, round);
    if (victim >= 0) {
        uint64_t until = 5 + round % 40;
        while (mproc__load64(&s->clock) < until) {
            (void)usleep(1);
        }
        child_kill(pids[victim]);
    }
    await_round(s, round, pids, victim);
    if (!s->history->fits(s->calls, round)) {
        print_history(s);
        test_fail(__FILE__, __LINE__, "round %u: no order fits", round);
    }
    if (victim >= 0) {
        (void)mproc_reap();
        pids[victim] = start(s, (uint32_t)victim, round + 1);
    }
}

static inline void check_object(const struct history *history, void *object) {
    char why[256] = "";
    if (history->check(object, why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

/* Makes rounds, and drops the object. */
static inline void histories_run(const struct history *history, void *owned) {
    const char *seconds = getenv("HISTORY_SECONDS");
    time_t end = time(NULL) + (seconds != NULL ? atoi(seconds) : 0);
    struct scene *s = mproc_calloc(1, sizeof *s);
    pid_t pids[MEMBERS];
    s->history = history;
    s->object = owned;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        pids[i] = start(s, i, 1);
    }
    for (uint32_t round = 1; round <= ROUNDS || time(NULL) < end; round++) {
        one_round(s, round, pids);
        if (round % 64 == 0) {
            check_object(history, owned);
        }
    }
    for (int i = 0; i < MEMBERS; i++) {
        child_kill(pids[i]);
    }
    (void)mproc_reap();
    check_object(history, owned);
    mproc_drop(owned);
    mproc_free(s);
    CHECK_EQ(test_arena_used(), 0);
    check_family();
}

#endif
