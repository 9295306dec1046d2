/*
 * test_pool_parts.c - parts: tasks without a handle, of whose ends the pool tells
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "methods.h"
#include "pools.h"
#include "test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/uio.h>

#define MOST 3000

/* What has been told. */
struct told {
    mproc_pool *pool;
    unsigned ends, failed;
    size_t order[MOST]; /* the parts, in the order in which they were told of */
    unsigned times[MOST];
    mproc_task_error error; /* of the last one that failed */
    uint32_t *again;        /* a part of it is put from within the callback; 0: none */
    bool waits;             /* the callback waits for another task */
    size_t awaits;          /* the first callback waits until it has been told of that part, too */
};

/* What the handler does: it gives back what it gets, or dies of "!", or fails with "?". */
static int answer(void *arg, const void *task, size_t size, mproc_result *result) {
    const char *text = task;
    (void)arg;
    CHECK_EQ((uintptr_t)task % 8, 0);
    if (size == 1 && text[0] == '!') {
        _exit(9);
    }
    return size == 1 && text[0] == '?' ? 17 : mproc_result_write(result, task, size);
}

/* A part's bytes are its number, as often as the number says, or a word. */
static size_t size_of(size_t part) {
    return sizeof part * (1 + part % 5);
}

static void check_data(size_t part, const void *data, size_t size) {
    CHECK_EQ(size, size_of(part));
    for (size_t i = 0; i < size / sizeof part; i++) {
        size_t word;
        memcpy(&word, (const char *)data + i * sizeof word, sizeof word);
        CHECK_EQ(word, part);
    }
}

static void part_ended(void *arg, void *parts, size_t part, const mproc_message *result,
                       const mproc_task_error *error) {
    struct told *told = parts;
    CHECK(arg == told);
    CHECK_LT(part, MOST);
    CHECK_EQ(error->code != 0, result == NULL);
    if (result == NULL) {
        told->failed++;
        told->error = *error;
    } else if (part < MOST - 100) {
        CHECK_EQ((uintptr_t)result->data % 8, 0);
        check_data(part, result->data, result->size);
    }
    told->order[told->ends++] = part;
    told->times[part]++;
    if (told->again != NULL && part < 100) {
        struct iovec piece = {"again", 5};
        CHECK_OK(mproc_pool_put_part(told->pool, &piece, 1, told, MOST - 100 + part));
    }
    if (told->awaits != 0) {
        size_t awaited = told->awaits;
        told->awaits = 0;
        while (told->times[awaited] == 0) {
            CHECK_OK(mproc_pool_collect(told->pool, MPROC_FOREVER));
        }
    }
    if (told->waits) {
        long long seven = 7;
        told->waits = false;
        CHECK_EQ(number(submit(told->pool, square, &seven, sizeof seven)), 49);
    }
}

static mproc_pool *pool_telling(struct told *told, mproc_pool_options options) {
    memset(told, 0, sizeof *told);
    options.handler = answer;
    options.part = part_ended;
    options.part_arg = told;
    told->pool = pool_with(&options);
    return told->pool;
}

static void put_text(struct told *told, const char *text, size_t part) {
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    CHECK_OK(mproc_pool_put_part(told->pool, &piece, 1, told, part));
}

/* Puts those numbers together. */
static void put_numbers(struct told *told, size_t first, size_t n) {
    static size_t words[MOST][5];
    static struct iovec pieces[MOST];
    size_t put = 0;
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; k < 5; k++) {
            words[i][k] = first + i;
        }
        pieces[i] = (struct iovec){words[i], size_of(first + i)};
    }
    CHECK_OK(mproc_pool_put_parts(told->pool, pieces, n, told, first, &put));
    CHECK_EQ(put, n);
}

static void await_ends(struct told *told, unsigned n) {
    while (told->ends < n) {
        collect(told->pool, MPROC_SEC);
    }
    CHECK_EQ(told->ends, n);
}

static void each_was_told_once(const struct told *told, size_t n) {
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(told->times[i], 1);
    }
}

static struct told told;

TEST_METHODS(pool_parts_each_end_once) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 2, .method = method});
    put_numbers(&told, 0, 2000);
    put_numbers(&told, 2000, 1);
    await_ends(&told, 2001);
    each_was_told_once(&told, 2001);
    CHECK_EQ(told.failed, 0);
    CHECK_EQ(mproc_pool_open(pool), 0);
    finish(pool);
}

TEST(pool_parts_of_nothing) {
    size_t put = 7;
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    CHECK_OK(mproc_pool_put_parts(pool, NULL, 0, &told, 0, &put));
    CHECK_EQ(put, 0);
    CHECK_OK(mproc_pool_put_part(pool, NULL, 0, &told, MOST - 1));
    await_ends(&told, 1);
    finish(pool);
}

/* One by one, from several pieces, small and large, between small ones that are put together. */
TEST(pool_parts_have_any_size) {
    static const size_t sizes[] = {0, 1, 8000, 8150, 8192, 8193, 20000, 1000000, 3};
    static char bytes[1000000];
    enum { N = sizeof sizes / sizeof *sizes };
    struct iovec pieces[N];
    size_t put = 0;
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 2});
    for (size_t i = 0; i < N; i++) {
        pieces[i] = (struct iovec){bytes, sizes[i]};
        CHECK_OK(mproc_pool_put_part(pool, (struct iovec[]){{"ab", 2}, pieces[i]}, 2, &told,
                                     MOST - 1 - i));
    }
    CHECK_OK(mproc_pool_put_parts(pool, pieces, N, &told, MOST - 50, &put));
    CHECK_EQ(put, N);
    await_ends(&told, 2 * N);
    CHECK_EQ(told.failed, 0);
    finish(pool);
}

/* They come in the order in which they were put, as far as one worker does them. */
TEST(pool_parts_of_one_worker_come_in_order) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    put_numbers(&told, 0, 500);
    await_ends(&told, 500);
    for (size_t i = 0; i < 500; i++) {
        CHECK_EQ(told.order[i], i);
    }
    finish(pool);
}

TEST_METHODS(pool_part_dies_with_its_worker) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 2, .method = method});
    put_numbers(&told, 0, 50);
    put_text(&told, "!", 50);
    put_numbers(&told, 51, 50);
    await_ends(&told, 101);
    each_was_told_once(&told, 101);
    CHECK_EQ(told.failed, 1);
    CHECK_EQ(told.error.code, MPROC_EDIED);
    CHECK_EQ(told.error.exitcode, 9);
    CHECK_EQ(told.error.task, 50);
    CHECK_EQ(told.error.tries, 1);
    CHECK_GT(told.error.pid, 0);
    finish(pool);
}

TEST(pool_part_fails_with_its_code) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    put_text(&told, "?", 3);
    await_ends(&told, 1);
    CHECK_EQ(told.error.code, 17);
    CHECK_GT(told.error.pid, 0);
    finish(pool);
}

/* A callback may put more, and may wait: then other parts are told of inside of it. */
TEST(pool_parts_callbacks_use_the_pool) {
    uint32_t *word = word_new();
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 2});
    told.again = word;
    told.waits = true;
    put_numbers(&told, 0, 100);
    await_ends(&told, 200);
    each_was_told_once(&told, 100);
    CHECK_EQ(told.failed, 0);
    finish(pool);
    mproc_free(word);
}

/* What came together with it is told of inside of a callback that waits. */
TEST(pool_parts_callback_waits_for_the_next_one) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    for (size_t i = 0; i < 20; i++) {
        told.awaits = 50 * i + 20;
        put_numbers(&told, 50 * i, 50);
        while (mproc_pool_waiting(pool) > 0) {
            usleep(200);
        }
        await_ends(&told, 50 * (unsigned)(i + 1));
    }
    each_was_told_once(&told, 1000);
    finish(pool);
}

TEST(pool_parts_beside_tasks) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 2});
    mproc_task *tasks[20];
    for (int i = 0; i < 20; i++) {
        long long value = i;
        put_numbers(&told, (size_t)i * 10, 10);
        tasks[i] = submit(pool, square, &value, sizeof value);
    }
    CHECK_EQ(mproc_pool_open(pool) > 0, 1);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(number(tasks[i]), i * i);
    }
    await_ends(&told, 200);
    each_was_told_once(&told, 200);
    finish(pool);
}

/* Those that are open when the pool ends are told of: none is forgotten. */
static void end_with_parts(void (*end)(mproc_pool *pool)) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    struct gate *gate = gate_new();
    mproc_task *running = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    put_numbers(&told, 0, 200);
    mproc__store32(&gate->opened, 1);
    end(pool);
    CHECK_EQ(told.ends, 200);
    each_was_told_once(&told, 200);
    if (told.failed > 0) {
        CHECK_EQ(told.error.code, -ECANCELED);
    }
    mproc_task_drop(running);
    mproc_free(gate);
}

static void terminate_and_drop(mproc_pool *pool) {
    mproc_pool_terminate(pool);
    CHECK_EQ(mproc_pool_open(pool), 0);
    finish(pool);
}

static void close_and_join(mproc_pool *pool) {
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    CHECK_EQ(told.failed, 0);
    finish(pool);
}

static void abandon_and_drop(mproc_pool *pool) {
    mproc_pool_abandon(pool);
    CHECK_EQ(mproc_pool_open(pool), 0);
    finish(pool);
}

TEST(pool_parts_and_terminate) {
    end_with_parts(terminate_and_drop);
}

TEST(pool_parts_and_drop) {
    end_with_parts(mproc_pool_drop);
}

TEST(pool_parts_and_close) {
    end_with_parts(close_and_join);
}

TEST(pool_parts_and_abandon) {
    end_with_parts(abandon_and_drop);
}

TEST(pool_parts_told_by_the_descriptor) {
    mproc_pool *pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    struct pollfd one = {mproc_pool_fd(pool), POLLIN, 0};
    CHECK_GE(one.fd, 0);
    put_numbers(&told, 0, 20);
    while (told.ends < 20) {
        CHECK_EQ(poll(&one, 1, -1), 1);
        collect(pool, 0);
    }
    finish(pool);
}

static void *collect_too(void *arg) {
    struct told *t = arg;
    while (__atomic_load_n(&t->ends, __ATOMIC_ACQUIRE) < 2000) {
        collect(t->pool, MPROC_MSEC);
    }
    return NULL;
}

static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;

static void count_only(void *arg, void *parts, size_t part, const mproc_message *result,
                       const mproc_task_error *error) {
    struct told *t = arg;
    (void)parts;
    CHECK_OK(error->code);
    check_data(part, result->data, result->size);
    pthread_mutex_lock(&telling);
    t->times[part]++;
    __atomic_store_n(&t->ends, t->ends + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&telling);
}

TEST(pool_parts_and_threads_that_collect) {
    pthread_t thread;
    memset(&told, 0, sizeof told);
    told.pool = pool_with(&(mproc_pool_options){
        .workers = 2, .handler = answer, .part = count_only, .part_arg = &told});
    CHECK_OK(pthread_create(&thread, NULL, collect_too, &told));
    for (size_t i = 0; i < 20; i++) {
        put_numbers(&told, 100 * i, 100);
    }
    (void)collect_too(&told);
    pthread_join(thread, NULL);
    each_was_told_once(&told, 2000);
    finish(told.pool);
}

TEST(pool_parts_refused) {
    size_t put = 7;
    struct iovec piece = {"a", 1};
    mproc_pool *pool = pool_of(MPROC_FORK, 1);
    CHECK_EQ(mproc_pool_put_part(pool, &piece, 1, NULL, 0), -EINVAL);
    CHECK_EQ(mproc_pool_put_parts(pool, &piece, 1, NULL, 0, &put), -EINVAL);
    CHECK_EQ(put, 0);
    finish(pool);
    pool = pool_telling(&told, (mproc_pool_options){.workers = 1});
    CHECK_EQ(mproc_pool_put_part(pool, NULL, 1, &told, 0), -EINVAL);
    CHECK_EQ(mproc_pool_put_part(pool, &piece, -1, &told, 0), -EINVAL);
    CHECK_OK(mproc_pool_rank(pool, 2));
    CHECK_EQ(mproc_pool_put_part(pool, &piece, 1, &told, 0), -EBUSY);
    finish(pool);
}

/* ---------------------------------------------------------------- priorities from now on */

static int say_number(void *arg, const void *task, size_t size, mproc_result *result) {
    uint32_t *next = arg, at = __atomic_fetch_add(&next[0], 1, __ATOMIC_ACQ_REL);
    (void)result;
    CHECK_EQ(size, sizeof(uint32_t));
    memcpy(&next[1 + at], task, sizeof(uint32_t));
    return 0;
}

static mproc_task *put_number(mproc_pool *pool, uint32_t n, const mproc_task_options *options) {
    mproc_task *task = NULL;
    struct iovec piece = {&n, sizeof n};
    CHECK_OK(mproc_pool_put(pool, &piece, 1, options, &task));
    return task;
}

TEST(pool_ranks_from_now_on) {
    uint32_t *said = mproc_calloc(16, sizeof *said);
    static const uint32_t expected[] = {1, 2, 5, 6, 3, 4};
    mproc_pool *pool =
        pool_with(&(mproc_pool_options){.workers = 1, .handler = say_number, .handler_arg = said});
    struct gate *gate = gate_new();
    mproc_task *tasks[7];
    const mproc_task_options urgent = {.priority = 1};
    mproc_task *refused = NULL;
    struct iovec piece = {"", 0};
    tasks[0] = submit(pool, pass_gate, &gate, sizeof gate);
    await_word(&gate->entered, 1);
    CHECK_EQ(mproc_pool_put(pool, &piece, 1, &urgent, &refused), -EINVAL);
    tasks[1] = put_number(pool, 1, &(mproc_task_options){.retries = 1});
    tasks[2] = put_number(pool, 2, NULL);
    CHECK_EQ(mproc_pool_rank(pool, 0), -EINVAL);
    CHECK_OK(mproc_pool_rank(pool, 1));
    tasks[3] = put_number(pool, 3, NULL);
    tasks[4] = put_number(pool, 4, &(mproc_task_options){.retries = 1});
    tasks[5] = put_number(pool, 5, &urgent);
    tasks[6] = put_number(pool, 6, &urgent);
    check(pool);
    mproc__store32(&gate->opened, 1);
    CHECK_OK(mproc_task_wait_all(tasks, 7, MPROC_FOREVER));
    CHECK_EQ(said[0], 6);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(said[1 + i], expected[i]);
    }
    for (int i = 0; i < 7; i++) {
        mproc_task_drop(tasks[i]);
    }
    mproc_pool_close(pool);
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    finish(pool);
    mproc_free(gate);
    mproc_free(said);
}

/* ---------------------------------------------------------------- workers that live on */

static mproc_process *left[2];

struct post {
    mproc_workplace *place;
    uint32_t *said;
    uint64_t seat;
};

static int serve(void *arg, size_t size) {
    struct post a;
    CHECK_EQ(size, sizeof a);
    memcpy(&a, arg, sizeof a);
    return mproc_pool_work(a.place, (unsigned)a.seat, say_number, a.said, 0);
}

static int start_worker(void *arg, mproc_workplace *place, unsigned seat, mproc_process **out) {
    struct post a = {place, arg, seat};
    return mproc_process_start(out, serve, &a, sizeof a, NULL);
}

static void keep_process(void *arg, unsigned seat, mproc_process *owned) {
    (void)arg;
    left[seat] = owned;
}

TEST(pool_outlived_by_its_workers) {
    uint32_t *said = mproc_calloc(64, sizeof *said);
    const mproc_pool_options options = {
        .workers = 2, .start = start_worker, .end = keep_process, .start_arg = said, .outlived = 1};
    mproc_pool *pool = pool_with(&options);
    mproc_task *tasks[40];
    for (uint32_t i = 0; i < 40; i++) {
        tasks[i] = put_number(pool, i, NULL);
    }
    finish(pool);
    for (int i = 0; i < 2; i++) {
        int code = -1;
        CHECK(left[i] != NULL);
        CHECK_OK(mproc_process_join(left[i], MPROC_FOREVER));
        CHECK_OK(mproc_process_exitcode(left[i], &code));
        CHECK_EQ(code, 0);
        CHECK_OK(mproc_process_drop(left[i]));
    }
    CHECK_EQ(said[0], 40);
    for (int i = 0; i < 40; i++) {
        CHECK(mproc_task_is_done(tasks[i]));
        mproc_task_drop(tasks[i]);
    }
    mproc_free(said);
}

TEST(pool_outlived_needs_an_end) {
    mproc_pool *pool;
    const mproc_pool_options options = {.workers = 1, .outlived = 1};
    CHECK_EQ(mproc_pool_new(&pool, &options), -EINVAL);
}
