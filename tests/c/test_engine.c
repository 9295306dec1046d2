/*
 * test_engine.c - pools on an engine: two nodes on this machine, and what happens when they die
 *
 * SPDX-License-Identifier: MIT
 *
 * The transport is transport_sockets.c. With MPROC_TEST_ENGINE=mpi the tests are run under mpirun
 * instead, one by one, by tests/engines.
 */
#define _GNU_SOURCE
#include "made.h"
#include "pool/engine.h"
#include "pools.h"
#include "process/process.h"
#include "system/os.h"
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- the machines */

static char directory[64];
static pid_t others[8];
static int64_t silence; /* 0: an engine's own */

enum { OUT = MPROC__ENGINE_AHEAD }; /* tasks that a node with one worker gets */

static const char *engine_name(void) {
    const char *name = getenv("MPROC_TEST_ENGINE");
    return name != NULL ? name : "sockets";
}

static bool is_real(void) {
    return strcmp(engine_name(), "sockets") != 0;
}

static mproc_engine *join_engine(void) {
    const mproc_engine_options options = {.silence = silence};
    mproc_engine *engine = NULL;
    CHECK_OK(mproc_engine_new(&engine, engine_name(), &options));
    return engine;
}

static void be_rank(unsigned rank) {
    char text[16];
    snprintf(text, sizeof text, "%u", rank);
    CHECK_OK(setenv("MPROC_TEST_RANK", text, 1));
}

/* An engine of n nodes: under mpirun, of as many as there are. */
static mproc_engine *engine_of(unsigned n) {
    if (is_real()) {
        return join_engine();
    }
    char text[16];
    snprintf(directory, sizeof directory, "/tmp/mproc-test-engine.XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    snprintf(text, sizeof text, "%u", n);
    CHECK_OK(setenv("MPROC_TEST_DIRECTORY", directory, 1));
    CHECK_OK(setenv("MPROC_TEST_RANKS", text, 1));
    for (unsigned i = 1; i < n; i++) {
        others[i] = fork();
        if (others[i] == 0) {
            be_rank(i);
            (void)join_engine();
            _exit(TEST_FAILED); /* only rank 0 comes back */
        }
    }
    be_rank(0);
    return join_engine();
}

static int status_of(unsigned rank) {
    int status = 0;
    CHECK_EQ(waitpid(others[rank], &status, 0), others[rank]);
    others[rank] = 0;
    return status;
}

/* One that notices soon that a node is silent. */
static mproc_engine *engine_of_two_that_loses_one(void) {
    silence = 3 * MPROC_SEC;
    return engine_of(2);
}

/* All machines end well. */
static void end_engine(mproc_engine *engine) {
    char file[80];
    mproc_engine_drop(engine);
    for (unsigned i = 1; i < sizeof others / sizeof *others; i++) {
        if (others[i] != 0) {
            CHECK_EQ(status_of(i), 0);
        }
    }
    if (!is_real()) {
        snprintf(file, sizeof file, "%s/rank0", directory);
        CHECK_OK(unlink(file));
        CHECK_OK(rmdir(directory));
    }
}

static mproc_pool *pool_on(mproc_engine *engine, unsigned workers) {
    return pool_with(&(mproc_pool_options){.engine = engine, .workers = workers});
}

/* ---------------------------------------------------------------- tasks */

static int twice(const void *in, size_t size, mproc_result *result) {
    long long value;
    CHECK_EQ(size, sizeof value);
    memcpy(&value, in, sizeof value);
    value *= 2;
    return mproc_result_write(result, &value, sizeof value);
}

/* In memory that all machines have from the first one. */
static uint32_t *met;

static void begin_meeting(void) {
    met = mmap(NULL, sizeof *met, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(met != MAP_FAILED);
}

/* Waits until as many tasks are there as it was given. */
static int meet(const void *in, size_t size, mproc_result *result) {
    long long pid = getpid(), all;
    CHECK_EQ(size, sizeof all);
    memcpy(&all, in, sizeof all);
    mproc__add32(met, 1);
    await_word(met, (uint32_t)all);
    return mproc_result_write(result, &pid, sizeof pid);
}

static int die_if_asked(const void *in, size_t size, mproc_result *result) {
    long long value;
    memcpy(&value, in, sizeof value);
    if (value < 0) {
        raise(SIGKILL);
    }
    return twice(in, size, result);
}

static int fail_with_7(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return 7;
}

static int sleep_long(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    mproc__os_poll(NULL, 0, 100 * MPROC_SEC);
    return 0;
}

static int much(const void *in, size_t size, mproc_result *result) {
    size_t n;
    CHECK_EQ(size, sizeof n);
    memcpy(&n, in, sizeof n);
    char *room = mproc_result_room(result, n);
    CHECK(room != NULL);
    memset(room, 'm', n);
    return 0;
}

static int use_memory(const void *in, size_t size, mproc_result *result) {
    size_t n = (size_t)200 << 20;
    volatile char *memory = malloc(n); /* or a compiler sees that nobody needs it */
    (void)in, (void)size, (void)result;
    CHECK(memory != NULL);
    for (size_t i = 0; i < n; i += 512) {
        memory[i] = 1;
    }
    mproc__os_poll(NULL, 0, 100 * MPROC_SEC);
    return memory[n / 2];
}

static int fail_first(const void *in, size_t size, mproc_result *result) {
    char path[64];
    CHECK_LT(size, sizeof path);
    memcpy(path, in, size);
    path[size] = '\0';
    if (unlink(path) == 0) {
        raise(SIGKILL);
    }
    long long one = 1;
    return mproc_result_write(result, &one, sizeof one);
}

static mproc_task *submit_number(mproc_pool *pool, mproc_task_fn fn, long long value) {
    return submit(pool, fn, &value, sizeof value);
}

TEST_BARE(engine_runs_tasks_on_all_nodes) {
    enum { N = 1000 };
    static mproc_task *tasks[N];
    mproc_engine *engine = engine_of(3);
    CHECK_EQ(mproc_engine_nodes(engine), 3);
    CHECK_GE(mproc_engine_workers(engine), 3);
    mproc_pool *pool = pool_on(engine, 3);
    for (long long i = 0; i < N; i++) {
        tasks[i] = submit_number(pool, twice, i);
    }
    for (long long i = 0; i < N; i++) {
        CHECK_EQ(number(tasks[i]), 2 * i);
    }
    finish(pool);
    end_engine(engine);
}

/* Each of them has a task at the same time. */
TEST_BARE(engine_spreads_its_workers) {
    enum { N = 4 };
    begin_meeting();
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, N);
    mproc_task *tasks[N];
    long long pids[N];
    for (int i = 0; i < N; i++) {
        tasks[i] = submit_number(pool, meet, N);
    }
    for (int i = 0; i < N; i++) {
        pids[i] = number(tasks[i]);
        for (int k = 0; k < i; k++) {
            CHECK_NE(pids[i], pids[k]);
        }
    }
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_has_one_node_alone) {
    mproc_engine *engine = engine_of(1);
    mproc_pool *pool = pool_on(engine, 0);
    CHECK_EQ(number(submit_number(pool, twice, 21)), 42);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_reports_tasks_that_kill_their_worker) {
    const char *asked = getenv("MPROC_TASKS");
    long long n = asked != NULL ? atoll(asked) : 400, every = n / 40;
    mproc_task **tasks = calloc((size_t)n, sizeof *tasks);
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 4);
    long long lost = 0;
    for (long long i = 0; i < n; i++) {
        tasks[i] = submit_number(pool, die_if_asked, i % every == 7 ? -1 : i);
    }
    for (long long i = 0; i < n; i++) {
        if (i % every != 7) {
            CHECK_EQ(number(tasks[i]), 2 * i);
            continue;
        }
        mproc_task_error error = outcome(tasks[i]);
        CHECK_EQ(error.code, MPROC_EDIED);
        CHECK_EQ(error.exitcode, -SIGKILL);
        CHECK_EQ(error.task, i);
        CHECK_GT(error.pid, 0);
        lost++;
    }
    CHECK_EQ(lost, 40);
    free(tasks);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_tells_what_a_task_returned) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task_error error = outcome(submit(pool, fail_with_7, NULL, 0));
    CHECK_EQ(error.code, 7);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_brings_large_results) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    for (int i = 0; i < 4; i++) {
        size_t n = (size_t)5000001 * (size_t)i, size;
        const void *data;
        mproc_task *task = submit(pool, much, &n, sizeof n);
        CHECK_OK(mproc_task_wait(task, MPROC_FOREVER));
        CHECK_OK(mproc_task_result(task, &data, &size));
        CHECK_EQ(size, n);
        CHECK(n == 0 || (((const char *)data)[0] == 'm' && ((const char *)data)[n - 1] == 'm'));
        mproc_task_drop(task);
    }
    finish(pool);
    end_engine(engine);
}

/* ---------------------------------------------------------------- options */

TEST_BARE(engine_ends_tasks_whose_time_is_up) {
    static const mproc_task_options options = {.timeout = 200 * MPROC_MSEC};
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    for (int i = 0; i < 3; i++) {
        mproc_task_error error = outcome(submit_with(pool, sleep_long, NULL, 0, &options));
        CHECK_EQ(error.code, -ETIMEDOUT);
        CHECK_GE(error.ran, 200 * MPROC_MSEC);
        CHECK_GT(error.pid, 0);
    }
    CHECK_EQ(number(submit_number(pool, twice, 4)), 8);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_ends_tasks_that_use_too_much) {
    static const mproc_task_options options = {.memory = (uint64_t)50 << 20};
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task_error error = outcome(submit_with(pool, use_memory, NULL, 0, &options));
    CHECK_EQ(error.code, MPROC_EMEMORY);
    CHECK_GT(error.memory, (uint64_t)50 << 20);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_tries_again) {
    static const mproc_task_options options = {.retries = 1};
    char path[] = "/tmp/mproc-test-once.XXXXXX";
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    int file = mkstemp(path);
    CHECK(file >= 0 && close(file) == 0);
    CHECK_EQ(number(submit_with(pool, fail_first, path, strlen(path), &options)), 1);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_cancels_and_kills) {
    enum { N = 60 };
    static mproc_task *tasks[N];
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    int cancelled = 0;
    for (int i = 0; i < N; i++) {
        tasks[i] = submit(pool, sleep_long, NULL, 0);
    }
    for (int i = N - 1; i >= 0; i--) {
        int r = mproc_task_cancel(tasks[i]);
        CHECK(r == 0 || r == -EBUSY);
        cancelled += r == 0;
    }
    CHECK_GE(cancelled, N - 2 * OUT); /* what is out on the nodes is too late */
    for (int i = 0; i < N; i++) {
        int r = mproc_task_is_done(tasks[i]) ? 0 : mproc_task_kill(tasks[i]);
        CHECK(r == 0 || r == -EBUSY);
        CHECK_EQ(outcome(tasks[i]).code, -ECANCELED);
    }
    CHECK_EQ(number(submit_number(pool, twice, 4)), 8);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_keeps_priorities) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_with(&(mproc_pool_options){.engine = engine, .workers = 2, .ahead = 2});
    mproc_task *tasks[100];
    for (long long i = 0; i < 100; i++) {
        const mproc_task_options options = {.priority = (int)(i % 7)};
        tasks[i] = submit_with(pool, twice, &i, sizeof i, &options);
    }
    for (long long i = 0; i < 100; i++) {
        CHECK_EQ(number(tasks[i]), 2 * i);
    }
    finish(pool);
    end_engine(engine);
}

/* ---------------------------------------------------------------- maps */

static int square_item(const void *in, void *out, void *context) {
    long long value = *(const long long *)in;
    CHECK(context == NULL);
    if (value == -5) {
        return 55;
    }
    if (value == -6) {
        raise(SIGKILL);
    }
    *(long long *)out = value * value;
    return 0;
}

TEST_BARE(engine_maps) {
    enum { N = 10000 };
    static long long in[N], out[N];
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 4);
    mproc_task_error error;
    const mproc_map_options options = {.error = &error, .chunk = 10};
    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    CHECK_OK(mproc_pool_map(pool, square_item, in, sizeof *in, out, sizeof *out, N, NULL));
    for (int i = 0; i < N; i++) {
        CHECK_EQ(out[i], (long long)i * i);
    }
    in[777] = -5;
    CHECK_EQ(mproc_pool_map(pool, square_item, in, sizeof *in, out, sizeof *out, N, &options), 55);
    CHECK_EQ(error.task, 777);
    in[777] = -6;
    CHECK_EQ(mproc_pool_map(pool, square_item, in, sizeof *in, out, sizeof *out, N, &options),
             MPROC_EDIED);
    CHECK_EQ(error.task, 770); /* the chunk's first one */
    in[777] = 777;
    CHECK_OK(mproc_pool_map(pool, square_item, in, sizeof *in, in, sizeof *in, N, NULL));
    CHECK_EQ(in[N - 1], (long long)(N - 1) * (N - 1));
    finish(pool);
    end_engine(engine);
}

/* ---------------------------------------------------------------- pools */

static int count_bytes(void *arg, const void *in, size_t size, mproc_result *result) {
    long long n = (long long)size;
    CHECK(arg == NULL);
    (void)in;
    return mproc_result_write(result, &n, sizeof n);
}

static long long begun;

static int begin_worker(void *arg) {
    CHECK(arg == NULL);
    begun = 17;
    return 0;
}

static int refuse(void *arg) {
    (void)arg;
    return 3;
}

static int tell_begun(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size;
    return mproc_result_write(result, &begun, sizeof begun);
}

TEST_BARE(engine_gives_bytes_to_the_handler) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool =
        pool_with(&(mproc_pool_options){.engine = engine, .workers = 2, .handler = count_bytes});
    const struct iovec pieces[2] = {{"abc", 3}, {"defg", 4}};
    mproc_task *task = NULL;
    CHECK_OK(mproc_pool_put(pool, pieces, 2, NULL, &task));
    CHECK_EQ(number(task), 7);
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_begins_its_workers) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_with(&(mproc_pool_options){
        .engine = engine, .workers = 2, .init = begin_worker, .max_tasks = 3});
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(number(submit(pool, tell_begun, NULL, 0)), 17);
    }
    finish(pool);
    mproc_pool *broken =
        pool_with(&(mproc_pool_options){.engine = engine, .workers = 2, .init = refuse});
    for (int i = 0; i < 5; i++) { /* a node's pool that is broken by now says so, too */
        mproc_task_error error = outcome(submit(broken, tell_begun, NULL, 0));
        CHECK_EQ(error.code, MPROC_EDIED);
        CHECK_EQ(error.exitcode, 3);
        CHECK_GT(error.pid, 0); /* 0: a node would be lost */
    }
    finish(broken);
    end_engine(engine);
}

TEST_BARE(engine_serves_several_pools) {
    mproc_engine *engine = engine_of(2);
    for (int round = 0; round < 3; round++) {
        mproc_pool *a = pool_on(engine, 2), *b = pool_on(engine, 2);
        mproc_task *one = submit_number(a, twice, 1), *two = submit_number(b, twice, 2);
        mproc_task *stays = submit(b, sleep_long, NULL, 0);
        CHECK_EQ(number(two), 4);
        CHECK_EQ(number(one), 2);
        finish(a);
        finish(b);
        CHECK_EQ(outcome(stays).code, -ECANCELED);
    }
    end_engine(engine);
}

TEST_BARE(engine_closes_and_joins_a_pool) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *tasks[50];
    for (long long i = 0; i < 50; i++) {
        tasks[i] = submit_number(pool, twice, i);
    }
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    for (long long i = 0; i < 50; i++) {
        CHECK_EQ(number(tasks[i]), 2 * i);
    }
    finish(pool);
    end_engine(engine);
}

TEST_BARE(engine_has_a_descriptor) {
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *task = submit_number(pool, twice, 5);
    struct pollfd one = {mproc_pool_fd(pool), POLLIN, 0};
    CHECK_GE(one.fd, 0);
    while (!mproc_task_is_done(task)) {
        CHECK_EQ(mproc__os_poll(&one, 1, 20 * MPROC_SEC), 1);
        collect(pool, 0);
    }
    CHECK_EQ(number(task), 10);
    finish(pool);
    end_engine(engine);
}

/* ---------------------------------------------------------------- what does not travel */

static int never_starts(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    (void)arg, (void)place, (void)seat, (void)out;
    return -EAGAIN;
}

TEST_BARE(engine_refuses_what_does_not_travel) {
    mproc_engine *engine = engine_of(1);
    void *shared = mproc_alloc(16);
    static const mproc_process_setup setup = {0};
    const mproc_pool_options bad[] = {
        {.engine = engine, .init = begin_worker, .init_arg = shared},
        {.engine = engine, .handler = count_bytes, .handler_arg = shared},
        {.engine = engine, .setup = &setup},
        {.engine = engine, .start = never_starts},
        {.engine = engine, .idle = 1},
        {.engine = engine, .fragile = 1},
        {.engine = engine, .most = 5}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mproc_pool *pool = NULL;
        CHECK_EQ(mproc_pool_new(&pool, &bad[i]), -EINVAL);
    }
    mproc_pool *pool = pool_on(engine, 1);
    long long one = 1;
    CHECK_EQ(mproc_pool_map(pool, square_item, &one, sizeof one, &one, sizeof one, 1,
                            &(mproc_map_options){.context = shared}),
             -EINVAL);
    CHECK_EQ(mproc_pool_resize(pool, 1), -EINVAL);
    mproc_buffer *buffer = made_buffer(100);
    mproc_task *task = NULL;
    CHECK_EQ(mproc_pool_submit(pool, twice, &one, sizeof one,
                               &(mproc_task_options){.buffers = &buffer, .nbuffers = 1}, &task),
             -EINVAL);
    mproc_drop(buffer);
    finish(pool);
    mproc_free(shared);
    end_engine(engine);
}

TEST_BARE(engine_is_its_makers) {
    mproc_engine *engine = engine_of(1);
    pid_t child = fork();
    if (child == 0) {
        mproc_pool *pool = NULL;
        CHECK_EQ(mproc_pool_new(&pool, &(mproc_pool_options){.engine = engine}), MPROC_ESTRANGER);
        mproc_engine_drop(engine); /* its copy */
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    mproc_pool *pool = pool_on(engine, 1);
    CHECK_EQ(number(submit_number(pool, twice, 3)), 6);
    finish(pool);
    end_engine(engine);
}

/* ---------------------------------------------------------------- beginnings that fail */

TEST_BARE(engine_says_why_it_cannot_begin) {
    mproc_engine *engine = NULL;
    CHECK_EQ(mproc_engine_new(&engine, NULL, NULL), -EINVAL);
    CHECK_EQ(mproc_engine_new(&engine, "", NULL), -EINVAL);
    CHECK_EQ(mproc_engine_new(&engine, "../x", NULL), -EINVAL);
    CHECK_EQ(mproc_engine_new(&engine, "mpi", &(mproc_engine_options){.patience = -1}), -EINVAL);
    CHECK_EQ(mproc_engine_new(&engine, "nosuch", NULL), MPROC_EENGINE);
    if (is_real()) {
        return;
    }
    CHECK_OK(setenv("MPROC_TEST_RANKS", "1", 1));
    be_rank(0);
    CHECK_OK(setenv("MPROC_TEST_VERSION", "1", 1));
    CHECK_EQ(mproc_engine_new(&engine, "sockets", NULL), MPROC_EENGINE);
    CHECK_OK(unsetenv("MPROC_TEST_VERSION"));
    CHECK_OK(setenv("MPROC_TEST_FAILS", "1", 1));
    CHECK_EQ(mproc_engine_new(&engine, "sockets", NULL), -EIO);
    CHECK(engine == NULL);
}

/* ---------------------------------------------------------------- deaths */

static pid_t only_child_of(pid_t parent) {
    pid_t children[4];
    int n = 0;
    for (int i = 0; i < 500 && n != 1; i++) {
        n = mproc__os_process_children(parent, children, 4);
        mproc__os_poll(NULL, 0, n == 1 ? 0 : 10 * MPROC_MSEC);
    }
    CHECK_EQ(n, 1);
    return children[0];
}

static pid_t parent_of(pid_t pid) {
    char path[64];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    CHECK_EQ(fscanf(file, "%*d %*s %*c %d", &parent), 1);
    CHECK_OK(fclose(file));
    return parent;
}

/* Which process of node 1 is killed. */
enum victim { MACHINE, CARRIER, AGENT };

static pid_t victim_on(unsigned rank, enum victim which) {
    pid_t pid = others[rank];
    for (int i = MACHINE; i < (int)which; i++) {
        pid = only_child_of(pid);
    }
    return pid;
}

/* Cancels the tasks or, where they run, kills them. */
static void take_back(mproc_task *const *tasks, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        int r = mproc_task_cancel(tasks[i]);
        CHECK(r == 0 || mproc_task_kill(tasks[i]) == 0);
        CHECK_EQ(outcome(tasks[i]).code, -ECANCELED);
    }
}

/* Sleeps until the carrier has taken all tasks but so many. */
static void await_taken(mproc_pool *pool, size_t but) {
    while (mproc_pool_waiting(pool) != but) {
        mproc__os_poll(NULL, 0, MPROC_MSEC);
    }
}

static void lose_a_node(enum victim which, int signal) {
    enum { N = 12 };
    mproc_engine *engine = engine_of_two_that_loses_one();
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *stay[N];
    unsigned died = 0;
    for (int i = 0; i < N; i++) {
        stay[i] = submit(pool, sleep_long, NULL, 0);
    }
    await_taken(pool, N - 2 * OUT);
    pid_t victim = victim_on(1, which);
    CHECK_OK(kill(victim, signal));
    for (int i = 0; i < OUT; i++) { /* those that were out there */
        size_t index;
        CHECK_OK(mproc_task_wait_any(stay, N - died, 30 * MPROC_SEC, &index));
        mproc_task_error error = outcome(stay[index]);
        CHECK_EQ(error.code, MPROC_EDIED);
        CHECK_EQ(error.pid, 0);
        CHECK_EQ(error.node, 1);
        stay[index] = stay[N - ++died];
    }
    take_back(stay, N - died);
    CHECK_EQ(number(submit_number(pool, twice, 9)), 18); /* the other node goes on */
    finish(pool);
    if (signal == SIGSTOP) {
        CHECK_OK(kill(victim, SIGKILL));
    }
    (void)status_of(1);
    end_engine(engine);
}

TEST_BARE(engine_loses_a_machine) {
    lose_a_node(MACHINE, SIGKILL);
}

TEST_BARE(engine_loses_a_carrier) {
    lose_a_node(CARRIER, SIGKILL);
}

TEST_BARE(engine_loses_an_agent) {
    lose_a_node(AGENT, SIGKILL);
}

TEST_BARE(engine_loses_an_agent_that_is_stopped) {
    lose_a_node(AGENT, SIGSTOP);
}

static void kill_and_see_it_end(pid_t pid) {
    int fd = mproc__os_pidfd_open(pid);
    CHECK_GE(fd, 0);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(mproc__os_pidfd_wait(fd, MPROC_FOREVER), 1);
    CHECK_OK(close(fd));
}

/* The transport knows that the other side has gone; that it is silent is not noticed yet. */
TEST_BARE(engine_loses_a_node_that_it_is_sending_to) {
    enum { N = 12 };
    mproc_engine *engine = engine_of_two_that_loses_one();
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *stay[N];
    size_t index;
    kill_and_see_it_end(victim_on(1, CARRIER));
    for (int i = 0; i < N; i++) {
        stay[i] = submit(pool, sleep_long, NULL, 0);
    }
    CHECK_OK(mproc_task_wait_any(stay, N, 30 * MPROC_SEC, &index));
    mproc_task_error error = outcome(stay[index]);
    CHECK_EQ(error.code, MPROC_EDIED);
    CHECK_EQ(error.node, 1);
    stay[index] = stay[N - 1];
    take_back(stay, N - 1); /* nothing more is sent there */
    CHECK_EQ(number(submit_number(pool, twice, 9)), 18);
    finish(pool);
    (void)status_of(1);
    end_engine(engine);
}

/* A task for which there was no memory fails alone: its node goes on. */
TEST_BARE(engine_without_memory_for_a_task_loses_no_node) {
    enum { STAY = 2 * OUT - 1 }; /* the next one is for node 1 */
    static char large[100000];
    begin_meeting();
    CHECK_OK(setenv("MPROC_TEST_MOST", "50000", 1));
    mproc_engine *engine = engine_of(2);
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *stay[STAY], *two[2];
    for (int i = 0; i < STAY; i++) {
        stay[i] = submit(pool, sleep_long, NULL, 0);
    }
    mproc_task_error error = outcome(submit(pool, sleep_long, large, sizeof large));
    CHECK_EQ(error.code, -ENOMEM);
    CHECK_EQ(error.node, 1);
    take_back(stay, STAY);
    for (int i = 0; i < 2; i++) {
        two[i] = submit_number(pool, meet, 2);
    }
    CHECK_NE(number(two[0]), number(two[1])); /* each on a node of its own */
    finish(pool);
    end_engine(engine);
}

/* A task kills the machine that it runs on, if that is another one than this. */
static int kill_other_machine(const void *in, size_t size, mproc_result *result) {
    pid_t ours;
    (void)result;
    CHECK_EQ(size, sizeof ours);
    memcpy(&ours, in, sizeof ours);
    pid_t machine = parent_of(parent_of(getppid()));
    if (machine == ours) {
        mproc__os_poll(NULL, 0, 10 * MPROC_MSEC);
        return 0;
    }
    CHECK_OK(kill(machine, SIGKILL));
    mproc__os_poll(NULL, 0, 100 * MPROC_SEC);
    return 0;
}

/* Has tasks done that lose the other machine, sooner or later, and ones after it. */
static void lose_other_machine(mproc_engine *engine, mproc_task_fn lose) {
    enum { N = 40 };
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *tasks[N];
    pid_t ours = getpid();
    int lost = 0;
    for (int i = 0; i < N; i++) {
        tasks[i] = submit(pool, lose, &ours, sizeof ours);
    }
    for (int i = 0; i < N; i++) {
        mproc_task_error error = outcome(tasks[i]);
        CHECK(error.code == 0 || (error.code == MPROC_EDIED && error.node == 1));
        lost += error.code != 0;
    }
    CHECK_GE(lost, 1);
    CHECK_LE(lost, OUT); /* that were out there */
    CHECK_EQ(number(submit_number(pool, twice, 9)), 18);
    finish(pool);
}

/* Nothing here knows the other machine's pids: under mpirun, too. */
TEST_BARE(engine_loses_a_rank) {
    mproc_engine *engine = engine_of_two_that_loses_one();
    lose_other_machine(engine, kill_other_machine);
    if (!is_real()) {
        (void)status_of(1);
    }
    end_engine(engine);
}

/* On another machine than the program's, a task says which process is that one's carrier. */
static int tell_carrier(const void *in, size_t size, mproc_result *result) {
    const char *path = getenv("MPROC_TEST_VICTIM");
    pid_t ours, carrier = parent_of(getppid());
    (void)result;
    CHECK_EQ(size, sizeof ours);
    memcpy(&ours, in, sizeof ours);
    if (parent_of(carrier) == ours) {
        mproc__os_poll(NULL, 0, 10 * MPROC_MSEC);
        return 0;
    }
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK_GT(fprintf(file, "%d\n", (int)carrier), 0);
    CHECK_OK(fclose(file));
    mproc__os_poll(NULL, 0, 100 * MPROC_SEC);
    return 0;
}

/* The program that runs this test does something to the other machine when it has the carrier's
 * pid. */
TEST_BARE_ON_DEMAND(engine_loses_a_rank_by_another_hand) {
    mproc_engine *engine = engine_of_two_that_loses_one();
    lose_other_machine(engine, tell_carrier);
    end_engine(engine);
}

TEST_BARE(engine_loses_its_own_carrier) {
    mproc_engine *engine = engine_of_two_that_loses_one();
    mproc_pool *pool = pool_on(engine, 2);
    mproc_task *out = submit(pool, sleep_long, NULL, 0);
    await_taken(pool, 0);
    pid_t children[4];
    int n = mproc__os_process_children(getpid(), children, 4);
    for (int i = 0; i < n; i++) {
        CHECK_OK(children[i] == others[1] ? 0 : kill(children[i], SIGKILL));
    }
    CHECK_EQ(outcome(out).code, MPROC_EDIED);
    mproc_task *task = NULL;
    CHECK_EQ(mproc_pool_submit(pool, twice, NULL, 0, NULL, &task), MPROC_EENGINE);
    finish(pool);
    mproc_pool *another = NULL;
    CHECK_EQ(mproc_pool_new(&another, &(mproc_pool_options){.engine = engine}), MPROC_EENGINE);
    (void)status_of(1); /* it has heard nothing for long enough */
    end_engine(engine);
}
