/*
 * test_mproc.c - what mproc.h says of all nouns, and a family in which any member may die
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"

#include <fcntl.h>
#include <sys/resource.h>

/* ---------------------------------------------------------------- errors */

struct error {
    const char *name;
    int value;
    const char *message;
};

#define ERROR_ROW(name, value, message) {#name, name, message},
static const struct error errors[] = {MPROC_ERRORS(ERROR_ROW)};
enum { ERRORS = sizeof errors / sizeof *errors };

TEST_BARE(mproc_errors_have_words) {
    for (int i = 0; i < ERRORS; i++) {
        CHECK_LT(errors[i].value, -4096);
        CHECK_STR(mproc_strerror(errors[i].value), errors[i].message);
        for (int j = 0; j < i; j++) {
            CHECK_NE(errors[i].value, errors[j].value);
            CHECK(strcmp(errors[i].message, errors[j].message) != 0);
        }
    }
    CHECK_STR(mproc_strerror(-ETIMEDOUT), strerror(ETIMEDOUT));
    CHECK_STR(mproc_strerror(-ENOMEM), strerror(ENOMEM));
    static const int odd[] = {0, 1, -1, -4095, -4096, -5000, -5999, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        CHECK(mproc_strerror(odd[i]) != NULL);
        CHECK_GT(strlen(mproc_strerror(odd[i])), 0);
    }
}

/* ---------------------------------------------------------------- log */

static int log_pipe[2];

static void keep_line(const char *line) {
    CHECK_EQ(write(log_pipe[1], line, strlen(line)), strlen(line));
}

static const char *kept(void) {
    static char line[600];
    ssize_t n = read(log_pipe[0], line, sizeof line - 1);
    line[n > 0 ? n : 0] = 0;
    return line;
}

static int nothing(void *arg, size_t size) {
    (void)arg, (void)size;
    return 0;
}

/* stderr is a pipe, too, so that it would show what went there. */
TEST(mproc_log_hook_gets_what_stderr_would) {
    mproc_process_setup setup = {.directory = "/no/such/directory"};
    mproc_process_options options = {.setup = &setup};
    mproc_process *child = NULL;
    char expected[200], byte;
    int err[2], old = dup(2);
    CHECK_OK(pipe2(log_pipe, O_CLOEXEC));
    CHECK_OK(pipe2(err, O_CLOEXEC | O_NONBLOCK));
    CHECK_EQ(dup2(err[1], 2), 2);
    mproc_log_hook(keep_line);
    CHECK_OK(mproc_process_start(&child, nothing, NULL, 0, &options));
    snprintf(expected, sizeof expected, "process %d: directory /no/such/directory: %s",
             (int)mproc_process_pid(child), strerror(ENOENT));
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_drop(child));
    CHECK_STR(kept(), expected);
    CHECK_EQ(read(err[0], &byte, 1), -1);
    mproc_log_hook(NULL);
    mproc__log("%s", "a word");
    CHECK_EQ(dup2(old, 2), 2);
    char said[20] = "";
    CHECK_EQ(read(err[0], said, sizeof said - 1), 14);
    CHECK_STR(said, "mproc: a word\n");
    close(old);
    for (int i = 0; i < 2; i++) {
        close(err[i]);
        close(log_pipe[i]);
    }
}

TEST_BARE(mproc_log_hook_gets_a_broken_invariant) {
    int status;
    CHECK_OK(pipe2(log_pipe, O_CLOEXEC));
    mproc_log_hook(keep_line);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        CHECK_OK(setrlimit(RLIMIT_CORE, &no_core));
        mproc__panic("X1: %d is not %d", 1, 2);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK_STR(kept(), "broken invariant: X1: 1 is not 2");
    mproc_log_hook(NULL);
    close(log_pipe[0]);
    close(log_pipe[1]);
}

/* ---------------------------------------------------------------- time */

TEST(mproc_zero_only_tries) {
    mproc_lock *lock = made_lock(0);
    mproc_queue *queue = made_queue(1);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_EQ(mproc_lock_acquire(lock, 0), -ETIMEDOUT);
    CHECK_EQ(mproc_queue_get(queue, &m, 0), -ETIMEDOUT);
    CHECK_OK(mproc_queue_put(queue, "", 0, 0));
    CHECK_EQ(mproc_queue_put(queue, "", 0, 0), -ETIMEDOUT);
    mproc_drop(lock);
    mproc_drop(queue);
}

TEST(mproc_a_timeout_beyond_all_time_is_for_ever) {
    mproc_lock *lock = made_lock(0);
    mproc_queue *queue = made_queue(0);
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_lock_acquire(lock, INT64_MAX));
    CHECK_OK(mproc_queue_put(queue, "", 0, INT64_MAX));
    CHECK_OK(mproc_queue_get(queue, &m, INT64_MAX));
    CHECK_EQ(mproc__deadline(INT64_MAX), MPROC__NEVER);
    CHECK_EQ(mproc__deadline(MPROC_FOREVER), MPROC__NEVER);
    CHECK_EQ(mproc__deadline(INT64_MIN), MPROC__NEVER);
    mproc_drop(lock);
    mproc_drop(queue);
}

TEST_BARE(mproc_slices_end_at_the_deadline) {
    struct mproc__slices s = mproc__slices_until(MPROC__NEVER);
    int64_t last = 0, slice;
    for (int i = 0; i < 20; i++) {
        slice = mproc__slice(&s);
        CHECK_GE(slice, last);
        CHECK_LE(slice, 50 * MPROC_MSEC);
        last = slice;
    }
    CHECK_EQ(last, 50 * MPROC_MSEC);
    s = mproc__slices_until(mproc__os_now() + 3 * MPROC_MSEC);
    slice = mproc__slice(&s);
    CHECK_LE(slice, 3 * MPROC_MSEC);
    s = mproc__slices_until(mproc__os_now() - 1);
    CHECK_EQ(mproc__slice(&s), -1);
}

/* ---------------------------------------------------------------- pointers */

static void follow(void *arg) {
    uint64_t ***p = arg;
    CHECK_EQ(***p, 42);
    ***p = 43;
}

TEST(mproc_pointers_into_the_arena_are_everybodys) {
    uint64_t ***a = mproc_alloc(8);
    *a = mproc_alloc(8);
    **a = mproc_alloc(100000);
    ***a = 42;
    child_join(child_fork(follow, a));
    CHECK_EQ(***a, 43);
    mproc_free(**a);
    mproc_free(*a);
    mproc_free(a);
    mproc_reap();
}

/* ---------------------------------------------------------------- anybody may die */

enum { COINS = 200, PLAYERS = 4, DEATHS = 150 };

/* Coins are numbered messages that wander between two queues. The sums are words under a lock; a
 * death must never leave them half changed. */
struct bank {
    mproc_queue *queues[2];
    mproc_lock *lock;
    uint64_t sums[3]; /* the first is the sum of the others */
    uint64_t steps;
};

static void acquire(struct bank *bank) {
    int r = mproc_lock_acquire(bank->lock, MPROC_FOREVER);
    CHECK(r == 0 || r == -EOWNERDEAD);
    CHECK_EQ(bank->sums[0], bank->sums[1] + bank->sums[2]);
}

static void add(struct bank *bank, uint64_t amount) {
    acquire(bank);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(mproc_lock_save(bank->lock, &bank->sums[i]));
    }
    bank->sums[0] += amount + 1;
    bank->sums[1] += amount;
    bank->sums[2] += 1;
    CHECK_OK(mproc_lock_release(bank->lock));
}

/* A coin of more than 8 KiB is a message object of its own. */
static size_t coin_size(uint64_t coin) {
    return coin % 5 == 0 ? 10000 : 8 + coin % 300;
}

static void put_coin(mproc_queue *queue, uint64_t coin) {
    static unsigned char bytes[10000];
    memcpy(bytes, &coin, sizeof coin);
    CHECK_OK(mproc_queue_put(queue, bytes, coin_size(coin), MPROC_FOREVER));
}

static bool get_coin(mproc_queue *queue, uint64_t *coin) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    if (mproc_queue_get(queue, &m, MPROC_MSEC) != 0) {
        return false;
    }
    memcpy(coin, m.data, sizeof *coin);
    CHECK_EQ(m.size, coin_size(*coin));
    mproc_message_drop(&m);
    return true;
}

static void play(void *arg) {
    struct bank *bank = arg;
    uint64_t seed = (uint64_t)getpid() * 7919 + 1, coin;
    for (;;) {
        uint64_t r = test_random(&seed);
        if (r % 4 == 0) {
            add(bank, r % 1000);
        } else if (r % 4 == 1) {
            CHECK_OK(mproc_hold(bank->lock));
            mproc_queue *own = made_queue(0);
            CHECK(own != NULL);
            CHECK_OK(mproc_queue_put(own, &r, sizeof r, 0));
            mproc_drop(own);
            mproc_drop(bank->lock);
        } else if (get_coin(bank->queues[r >> 8 & 1], &coin)) {
            put_coin(bank->queues[r >> 9 & 1], coin);
        }
        mproc__add64(&bank->steps, 1);
    }
}

static void check_bank(struct bank *bank) {
    char why[256] = "";
    check_family();
    for (int i = 0; i < 2; i++) {
        if (mproc_queue_check(bank->queues[i], why, sizeof why) != 0) {
            test_fail(__FILE__, __LINE__, "%s", why);
        }
    }
    CHECK_OK(mproc_lock_check(bank->lock, why, sizeof why));
}

/* Each coin is there once, except those that a player had in its hands when it died. */
static void count_coins(struct bank *bank) {
    unsigned char seen[COINS] = {0};
    uint64_t coin;
    int found = 0;
    for (int i = 0; i < 2; i++) {
        while (get_coin(bank->queues[i], &coin)) {
            CHECK_LT(coin, COINS);
            CHECK_EQ(seen[coin]++, 0);
            found++;
        }
    }
    CHECK_GE(found, COINS - DEATHS - PLAYERS);
}

TEST(mproc_family_in_which_anybody_may_die) {
    struct bank *bank = mproc_calloc(1, sizeof *bank);
    pid_t players[PLAYERS];
    uint64_t seed = 12345;
    bank->queues[0] = made_queue(0);
    bank->queues[1] = made_queue(0);
    bank->lock = made_lock(3);
    for (uint64_t i = 0; i < COINS; i++) {
        put_coin(bank->queues[i % 2], i);
    }
    for (int i = 0; i < PLAYERS; i++) {
        players[i] = child_fork(play, bank);
    }
    for (int death = 0; death < DEATHS; death++) {
        uint64_t before = mproc__load64(&bank->steps);
        wait_for_word(&bank->steps, before + 20); /* the others go on */
        usleep((unsigned)(test_random(&seed) % 500));
        pid_t *victim = &players[test_random(&seed) % PLAYERS];
        child_kill(*victim);
        *victim = child_fork(play, bank);
        if (death % 10 == 0) {
            check_bank(bank);
        }
    }
    for (int i = 0; i < PLAYERS; i++) {
        child_kill(players[i]);
    }
    mproc_reap();
    check_bank(bank);
    acquire(bank);
    CHECK_OK(mproc_lock_release(bank->lock));
    count_coins(bank);
    CHECK_EQ(mproc_members(NULL, 0), 1);
    mproc_drop(bank->queues[0]);
    mproc_drop(bank->queues[1]);
    mproc_drop(bank->lock);
    mproc_free(bank);
    CHECK_EQ(test_arena_used(), 0);
}
