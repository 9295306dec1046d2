/*
 * test_trace.c - records of what threads do: written, read from outside, shown as a timeline
 *
 * SPDX-License-Identifier: MIT
 *
 * The recorder is the test itself, which reads the rings of its own family as a stranger would.
 */
#include "children.h"
#include "core/heap.h"
#include "core/trace_ring.h"
#include "inspect/drain.h"
#include "inspect/timeline.h"
#include "made.h"
#include "pools.h"
#include "test.h"

#include <pthread.h>
#include <sys/uio.h>

#define SEEN 200000

static struct mproc__outside arena;
static struct mproc__drain *drain;
static struct mproc__trace_record seen[SEEN];
static size_t nseen;
static uint64_t lost;

/* ---------------------------------------------------------------- recording */

static void begin(void) {
    CHECK_OK(mproc__outside_open(getpid(), &arena));
    CHECK_OK(mproc__drain_new(&drain, &arena));
    nseen = lost = 0;
    mproc__poke64(&mproc__trace->until, UINT64_MAX);
    mproc__store32(&mproc__trace->on, MPROC__TRACE_BY_TIME);
}

/* Rings stay for good otherwise, and the harness would miss their bytes. */
static void end(void) {
    char why[256] = "";
    CHECK_OK(mproc_arena_check(why, sizeof why));
    mproc__store32(&mproc__trace->on, MPROC__TRACE_OFF);
    mproc__drain_drop(drain);
    mproc__outside_close(&arena);
    struct mproc__hand *hand = mproc__hand_get();
    for (uint32_t i = 0; i < mproc__table_top() * MPROC__TRACE_HANDS; i++) {
        mproc__heap_free(hand, &mproc__trace->rings[i]);
    }
    mproc__trace_enter(mproc__trace); /* threads remember where theirs were */
    mproc__hand_put(hand);
}

static void keep(void *sink, unsigned ring, const struct mproc__trace_record *lent, size_t n,
                 uint64_t l) {
    (void)sink;
    (void)ring;
    CHECK_LE(nseen + n, SEEN);
    for (size_t i = 0; i < n; i++) {
        if (mproc__trace_event_of(lent[i].what) != MPROC__TRACE_MEMBER) {
            seen[nseen++] = lent[i];
        }
    }
    lost += l;
}

/* Names of members are left out. */
static int64_t read_all(void) {
    int64_t n = mproc__drain(drain, keep, NULL);
    CHECK_GE(n, 0);
    return n;
}

static int count_of(enum mproc__trace_event event, const void *object) {
    int n = 0;
    for (size_t i = 0; i < nseen; i++) {
        n += mproc__trace_event_of(seen[i].what) == event &&
             mproc__trace_address_of(seen[i].what) == (uint64_t)(uintptr_t)object;
    }
    return n;
}

/* ---------------------------------------------------------------- what is recorded */

TEST(trace_is_off_and_makes_no_ring) {
    mproc_lock *lock = made_lock(0);
    size_t used = test_arena_used();
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_OK(mproc_lock_release(lock));
    CHECK_EQ(test_arena_used(), used);
    CHECK_EQ(mproc__trace->dropped, 0);
    mproc_drop(lock);
}

static void use_queue(mproc_queue *queue) {
    char room[64], other[64];
    struct iovec pieces[2] = {{"ab", 2}, {"c", 1}};
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    mproc_message several[2] = {MPROC_MESSAGE_INIT(room, sizeof room),
                                MPROC_MESSAGE_INIT(other, sizeof other)};
    size_t n;
    CHECK_OK(mproc_queue_put(queue, "abc", 3, 0));
    CHECK_OK(mproc_queue_putv(queue, pieces, 2, 0));
    CHECK_OK(mproc_queue_get(queue, &m, 0));
    CHECK_OK(mproc_queue_get(queue, &m, 0));
    CHECK_OK(mproc_queue_put_many(queue, pieces, 2, &n, 0));
    CHECK_OK(mproc_queue_get_many(queue, several, 2, &n, 0));
    CHECK_EQ(n, 2);
    CHECK_OK(mproc_queue_reserve(queue, 10, &m));
    CHECK_OK(mproc_queue_commit(queue, &m, 0));
    m = (mproc_message)MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_queue_get(queue, &m, 0));
    mproc_message_drop(&m);
    CHECK_EQ(mproc_queue_get(queue, &m, 0), -ETIMEDOUT);
}

TEST(trace_tells_of_puts_and_gets_and_not_of_what_was_in_vain) {
    mproc_queue *queue = made_queue(10);
    begin();
    use_queue(queue);
    CHECK_EQ(read_all(), 8 + MPROC__TRACE_PIECES);
    CHECK_EQ(count_of(MPROC__TRACE_PUT, queue), 4);
    CHECK_EQ(count_of(MPROC__TRACE_GET, queue), 4);
    CHECK_EQ(seen[4].count, 2);
    CHECK_EQ(seen[5].count, 2);
    for (size_t i = 0; i < nseen; i++) {
        CHECK_EQ(seen[i].thread, mproc__self_thread());
        CHECK(i == 0 || seen[i].time >= seen[i - 1].time);
    }
    CHECK_EQ(read_all(), 0);
    end();
    mproc_drop(queue);
}

TEST(trace_tells_of_locks_and_semaphores) {
    mproc_lock *lock = made_lock(0);
    mproc_rlock *rlock = made_rlock();
    mproc_semaphore *semaphore = made_semaphore(1);
    mproc_bsemaphore *bsemaphore = made_bsemaphore(1);
    begin();
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_EQ(mproc_lock_acquire(lock, 0), -ETIMEDOUT);
    CHECK_OK(mproc_lock_release(lock));
    CHECK_EQ(mproc_lock_release(lock), MPROC_ENOTHELD);
    CHECK_OK(mproc_rlock_acquire(rlock, 0));
    CHECK_OK(mproc_rlock_acquire(rlock, 0)); /* a level more is no event */
    CHECK_OK(mproc_rlock_release(rlock));
    CHECK_OK(mproc_rlock_release(rlock));
    CHECK_OK(mproc_semaphore_acquire(semaphore, 0));
    CHECK_EQ(mproc_semaphore_acquire(semaphore, 0), -ETIMEDOUT);
    CHECK_OK(mproc_semaphore_release(semaphore));
    CHECK_OK(mproc_bsemaphore_acquire(bsemaphore, 0));
    CHECK_OK(mproc_bsemaphore_release(bsemaphore));
    CHECK_EQ(mproc_bsemaphore_release(bsemaphore), MPROC_ENOTHELD);
    read_all();
    void *objects[] = {lock, rlock, semaphore, bsemaphore};
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(count_of(MPROC__TRACE_ACQUIRE, objects[i]), 1);
        CHECK_EQ(count_of(MPROC__TRACE_RELEASE, objects[i]), 1);
        mproc_drop(objects[i]);
    }
    CHECK_EQ(nseen, 8);
    end();
}

static int twice(const void *in, size_t size, mproc_result *out) {
    CHECK_EQ(size, sizeof(long));
    long n = *(const long *)in * 2;
    return mproc_result_write(out, &n, sizeof n);
}

static int twice_each(const void *in, void *out, void *context) {
    (void)context;
    *(long *)out = *(const long *)in * 2;
    return 0;
}

/* Tasks whose begin or end was seen; *name is that of the last. */
static int tasks(enum mproc__trace_event event, const char **name) {
    int n = 0;
    for (size_t i = 0; i < nseen; i++) {
        if (mproc__trace_event_of(seen[i].what) == event) {
            unsigned number = mproc__trace_detail_of(seen[i].what);
            *name = (const char *)mproc__trace->names[number].text;
            n++;
        }
    }
    return n;
}

/* Tasks of which neither their end is said nor the beginning of the next one of their thread. */
static int tasks_at_the_end(void) {
    int open = 0;
    for (size_t i = 0; i < nseen; i++) {
        bool last = true;
        for (size_t later = i + 1; later < nseen; later++) {
            enum mproc__trace_event event = mproc__trace_event_of(seen[later].what);
            bool says = event == MPROC__TRACE_TASK || event == MPROC__TRACE_TASK_END;
            last = last && !(says && seen[later].thread == seen[i].thread);
        }
        open += last && mproc__trace_event_of(seen[i].what) == MPROC__TRACE_TASK;
    }
    return open;
}

TEST(trace_tells_of_tasks_and_their_functions) {
    long in[20] = {1, 2, 3}, out[20];
    const char *name = NULL;
    begin();
    mproc_pool *pool = pool_of(MPROC_FORK, 2);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(outcome(submit(pool, twice, in, sizeof *in)).code, 0);
    }
    CHECK_OK(mproc_pool_map(pool, twice_each, in, sizeof *in, out, sizeof *out, 20,
                            &(mproc_map_options){.chunk = 1}));
    CHECK_EQ(out[2], 6);
    mproc_pool_close(pool); /* a worker that is killed says no end */
    CHECK_OK(mproc_pool_join(pool, MPROC_FOREVER));
    finish(pool);
    read_all();
    CHECK_EQ(tasks_at_the_end(), 0);
    CHECK_EQ(tasks(MPROC__TRACE_TASK, &name), 23);
    CHECK(strstr(name, "+0x") != NULL); /* a static function: its place */
    end();
}

/* ---------------------------------------------------------------- waits */

static void get_one(void *queue) {
    char room[64];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_queue_put(queue, "a", 1, 0)); /* its ring is there */
    CHECK_OK(mproc_queue_get(queue, &m, MPROC_FOREVER));
    CHECK_OK(mproc_queue_get(queue, &m, MPROC_FOREVER));
}

static int events(enum mproc__trace_event event) {
    int n = 0;
    for (size_t i = 0; i < nseen; i++) {
        n += mproc__trace_event_of(seen[i].what) == event;
    }
    return n;
}

TEST(trace_tells_of_waits) {
    mproc_queue *queue = made_queue(0);
    begin();
    pid_t child = child_fork(get_one, queue);
    while (events(MPROC__TRACE_WAIT) == 0) {
        read_all();
    }
    CHECK_OK(mproc_queue_put(queue, "b", 1, 0));
    child_join(child);
    read_all();
    CHECK_EQ(events(MPROC__TRACE_WAIT), events(MPROC__TRACE_WAIT_END));
    end();
    mproc_drop(queue);
}

/* ---------------------------------------------------------------- what can be lost */

static void join_without_name(void) {
    mproc__poke32(&mproc__self()->named, 1);
    mproc__trace_join();
}

static uint64_t mixed(uint64_t n) {
    return (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* A record whose words depend on each other. */
static void write_number(uint64_t n) {
    mproc__trace_write_at(mixed(n), mixed(mixed(n)), n + 1);
}

static void check_number(const struct mproc__trace_record *record) {
    uint64_t n = record->time - 1;
    CHECK(record->what == mixed(n) && record->count == mixed(mixed(n)));
}

static size_t whole;
static uint64_t last; /* number of the record that was read last */

static void check_all(void *sink, unsigned ring, const struct mproc__trace_record *lent, size_t n,
                      uint64_t l) {
    (void)sink;
    (void)ring;
    for (size_t i = 0; i < n; i++) {
        check_number(&lent[i]);
        last = lent[i].time;
    }
    whole += n;
    lost += l;
}

TEST(trace_overwrites_the_oldest_and_says_how_many) {
    whole = 0;
    begin();
    join_without_name();
    for (uint64_t i = 0; i < 3 * MPROC__TRACE_RECORDS; i++) {
        write_number(i);
    }
    CHECK_EQ(mproc__drain(drain, check_all, NULL), MPROC__TRACE_RECORDS - 1);
    CHECK_EQ(lost, 2 * MPROC__TRACE_RECORDS + 1);
    CHECK_EQ(last, 3 * MPROC__TRACE_RECORDS);
    end();
}

#define STRESS 2000000

static void *write_numbers(void *arg) {
    (void)arg;
    join_without_name();
    for (uint64_t i = 0; i < STRESS; i++) {
        write_number(i);
    }
    return NULL;
}

/* Read while two threads write as fast as they can: what is read is whole, and all is accounted
 * for. */
TEST(trace_is_read_whole_while_it_is_written) {
    pthread_t threads[2];
    begin();
    whole = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, write_numbers, NULL));
    }
    for (int i = 0; i < 200; i++) {
        CHECK_GE(mproc__drain(drain, check_all, NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
    CHECK_GE(mproc__drain(drain, check_all, NULL), 0);
    CHECK_EQ(whole + lost, 2 * STRESS);
    end();
}

static void write_for_ever(void *arg) {
    (void)arg;
    join_without_name();
    for (uint64_t i = 0;; i++) {
        write_number(i);
    }
}

/* Members die anywhere in a record, and others go on in their rings. */
TEST(trace_is_whole_after_deaths) {
    begin();
    whole = 0;
    for (int i = 0; i < 50; i++) {
        pid_t child = child_fork(write_for_ever, NULL);
        size_t before = whole;
        while (whole == before) {
            CHECK_GE(mproc__drain(drain, check_all, NULL), 0);
        }
        child_kill(child);
        CHECK_GE(mproc__drain(drain, check_all, NULL), 0);
        (void)mproc_reap();
    }
    end();
}

TEST(trace_says_who_writes) {
    struct mproc__timeline *t;
    size_t size;
    mproc_queue *queue = made_queue(0);
    begin();
    CHECK_OK(mproc__timeline_new(&t, &arena, &(struct mproc__timeline_scale){0, 1}));
    CHECK_OK(mproc_queue_put(queue, "a", 1, 0));
    mproc__self_slot()->name[0] = 0; /* as when the slot is another's by now */
    CHECK_EQ(mproc__drain(drain, mproc__timeline_add, t), 1 + MPROC__TRACE_PIECES);
    const char *text = mproc__timeline_take(t, &size);
    CHECK(memmem(text, size, "{\"name\":\"main\"}", 15) != NULL);
    mproc__timeline_drop(t);
    end();
    mproc_drop(queue);
}

TEST(timeline_calls_objects_by_their_names) {
    struct mproc__timeline *t;
    size_t size;
    char expected[80];
    mproc_lock *lock = made_lock(0);
    CHECK_OK(mproc_name(lock, "or\"ders"));
    begin();
    CHECK_OK(mproc__timeline_new(&t, &arena, &(struct mproc__timeline_scale){0, 1}));
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_OK(mproc_lock_release(lock));
    CHECK_EQ(mproc__drain(drain, mproc__timeline_add, t), 2 + MPROC__TRACE_PIECES);
    const char *text = mproc__timeline_take(t, &size);
    int n = snprintf(expected, sizeof expected, "\"name\":\"lock or?ders @%llx\"",
                     (unsigned long long)((uint64_t)(uintptr_t)lock - mproc__family->base));
    CHECK(memmem(text, size, expected, (size_t)n) != NULL);
    mproc__timeline_drop(t);
    end();
    mproc_drop(lock);
}

TEST(trace_ends_when_its_recorder_has_died) {
    mproc_queue *queue = made_queue(0);
    begin();
    mproc__poke64(&mproc__trace->until, (uint64_t)mproc__os_now() - 1);
    CHECK_OK(mproc_queue_put(queue, "a", 1, 0));
    CHECK_EQ(mproc__trace_on(), MPROC__TRACE_OFF);
    CHECK_EQ(read_all(), 0);
    end();
    mproc_drop(queue);
}

TEST(trace_takes_no_ring_where_the_program_needs_the_memory) {
    mproc_lock *lock = made_lock(0);
    uint64_t limit = mproc__chunks_limit();
    mproc__poke64(&mproc__family->chunks.limit, 64);
    void *held[64];
    size_t n = 0;
    while (mproc__chunks_have_half(8)) {
        held[n] = mproc_alloc(MPROC__CHUNK);
        CHECK(held[n++] != NULL);
    }
    begin();
    size_t used = test_arena_used();
    CHECK_OK(mproc_lock_acquire(lock, 0));
    CHECK_OK(mproc_lock_release(lock));
    CHECK_EQ(test_arena_used(), used);
    CHECK_EQ(mproc__drain_without_ring(drain), 2);
    while (n > 0) {
        mproc_free(held[--n]);
    }
    CHECK_OK(mproc_lock_acquire(lock, 0)); /* it has one from now on */
    CHECK_OK(mproc_lock_release(lock));
    CHECK_EQ(mproc__drain_without_ring(drain), 2);
    end();
    mproc__poke64(&mproc__family->chunks.limit, limit);
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- names */

TEST(trace_names_are_numbered_once) {
    char text[200];
    begin();
    unsigned first = mproc__trace_name("first"), second = mproc__trace_name("second");
    CHECK(first != 0 && second != 0 && first != second);
    CHECK_EQ(mproc__trace_name("first"), first);
    CHECK_STR((const char *)mproc__trace->names[second].text, "second");
    memset(mproc__trace->names[second].text, 0, MPROC__TRACE_TEXT); /* whoever took it has died */
    CHECK_EQ(mproc__trace_name("second"), second);
    CHECK_STR((const char *)mproc__trace->names[second].text, "second");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    CHECK_EQ(strlen((const char *)mproc__trace->names[mproc__trace_name(text)].text),
             MPROC__TRACE_TEXT - 1);
    for (int i = 0; i < MPROC__TRACE_NAMES; i++) {
        snprintf(text, sizeof text, "name %d", i);
        (void)mproc__trace_name(text);
    }
    CHECK_EQ(mproc__trace_name("one too many"), 0);
    CHECK_EQ(mproc__trace_name("first"), first);
    end();
}

/* ---------------------------------------------------------------- the timeline */

static const struct mproc__timeline_scale plain = {0, 1};

static struct mproc__trace_record made_record(uint64_t time, enum mproc__trace_event event,
                                              unsigned detail) {
    return (struct mproc__trace_record){time, mproc__trace_what(event, detail, mproc__family),
                                        mproc__self_thread(), 1};
}

static int occurrences(const char *text, size_t size, const char *word) {
    int n = 0;
    for (const char *p = text; (p = memmem(p, size - (size_t)(p - text), word, strlen(word)));
         p++) {
        n++;
    }
    return n;
}

/* Spans that are begun are ended, whatever is lost, and an end without a beginning is left out. */
TEST(timeline_ends_what_it_begins) {
    struct mproc__timeline *t;
    size_t size;
    begin();
    CHECK_OK(mproc__timeline_new(&t, &arena, &plain));
    const struct mproc__trace_record records[] = {
        made_record(1, MPROC__TRACE_TASK_END, 0),
        made_record(2, MPROC__TRACE_TASK, 0),
        made_record(3, MPROC__TRACE_WAIT, 0),
        made_record(4, MPROC__TRACE_TASK_END, 0), /* with the wait in it */
        made_record(5, MPROC__TRACE_WAIT_END, 0),
        made_record(6, MPROC__TRACE_TASK, 0),
        made_record(7, MPROC__TRACE_TASK, 0), /* the end of the one before is lost */
        made_record(8, MPROC__TRACE_RELEASE, MPROC__KIND_LOCK),
        made_record(9, MPROC__TRACE_ACQUIRE, MPROC__KIND_LOCK),
        made_record(10, MPROC__TRACE_ACQUIRE, MPROC__KIND_LOCK),
        made_record(11, MPROC__TRACE_EVENTS, 0),
    };
    mproc__timeline_add(t, 0, records, sizeof records / sizeof *records, 7);
    mproc__timeline_end(t, 20, false); /* this process lives */
    const char *text = mproc__timeline_take(t, &size);
    CHECK_EQ(occurrences(text, size, "\"ph\":\"B\""), 4);
    CHECK_EQ(occurrences(text, size, "\"ph\":\"E\""), 3);
    CHECK_EQ(occurrences(text, size, "7 events are lost"), 1);
    mproc__timeline_end(t, 20, true);
    text = mproc__timeline_take(t, &size);
    CHECK_EQ(occurrences(text, size, "\"ph\":\"E\""), 1);
    CHECK_EQ(occurrences(text, size, "\"ph\":\"e\""), 1);
    CHECK_EQ(mproc__timeline_lost(t), 7);
    CHECK(!mproc__timeline_failed(t));
    mproc__timeline_drop(t);
    end();
}
