/*
 * crash_queue.c - the queue, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * A put leaves its message whole, behind all others, or not at all. A get takes the oldest
 * message whole, or not at all. Every message has its number and bytes that depend on it, so a
 * torn, doubled or swapped message is noticed.
 */
#define _GNU_SOURCE
#include "../c/made.h"
#include "fixture.h"
#include "queue/near.h"
#include "queue/state.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define SMALL ((size_t)64)
#define LARGE ((size_t)20000)
#define HUGE ((size_t)140000)
#define VICTIMS 1000 /* number of the first message that a victim puts */
#define SURVIVORS 2000
#define ROUNDS 40

/* In crash_room(). */
struct scene {
    mproc_queue *queue;
    uint64_t first;    /* oldest message in the queue before the operation */
    uint64_t next;     /* the number after the youngest */
    size_t size;       /* of the message that the operation is about */
    uint64_t consumed; /* number of the message that a helper got */
    uint32_t served;   /* meanwhile() has run */
    pid_t helper;
    mproc_message message;
    mproc_message messages[5];
    size_t done; /* how many a call has put or got */
    pid_t helpers[2];
    char buffer[32768];
};

static struct scene *scene(void) {
    return crash_room();
}

static char *big; /* HUGE bytes of private memory */

/* ---- messages */

static char pattern(uint64_t number, size_t i) {
    return (char)(number * 31 + i * 7);
}

static void compose(char *out, uint64_t number, size_t size) {
    for (size_t i = sizeof number; i < size; i++) {
        out[i] = pattern(number, i);
    }
    memcpy(out, &number, sizeof number);
}

static uint64_t read_message(const char *data, size_t size) {
    uint64_t number;
    crash_require(size >= sizeof number);
    memcpy(&number, data, sizeof number);
    for (size_t i = sizeof number; i < size; i++) {
        crash_require(data[i] == pattern(number, i));
    }
    return number;
}

static char *big_buffer(void) {
    if (big == NULL) {
        big = malloc(HUGE);
        crash_require(big != NULL);
    }
    return big;
}

static void put(mproc_queue *queue, uint64_t number, size_t size) {
    char *text = malloc(size);
    crash_require(text != NULL);
    compose(text, number, size);
    crash_equal(mproc_queue_put(queue, text, size, CRASH_SOON), 0);
    free(text);
}

/* Gets a message that must be there; returns its number. */
static uint64_t get(mproc_queue *queue, size_t *size) {
    char room[128];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    crash_equal(mproc_queue_get(queue, &message, CRASH_SOON), 0);
    uint64_t number = read_message(message.data, message.size);
    *size = message.size;
    mproc_message_drop(&message);
    return number;
}

/* ---- scenes */

static void *make(uint64_t bound, uint64_t count, size_t each, size_t size) {
    struct scene *s = scene();
    s->queue = made_queue(bound);
    crash_require(s->queue != NULL);
    s->size = size;
    for (s->next = 0; s->next < count; s->next++) {
        put(s->queue, s->next, each);
    }
    return s->queue;
}

static void unmake(void *queue) {
    mproc_drop(queue);
}

static void *empty(void) {
    return make(0, 0, SMALL, SMALL);
}

static void *three(void) {
    return make(0, 3, SMALL, SMALL);
}

static void *three_want_large(void) {
    return make(0, 3, SMALL, LARGE);
}

static void *three_want_huge(void) {
    return make(0, 3, SMALL, HUGE);
}

static void *three_large(void) {
    return make(0, 3, LARGE, LARGE);
}

static void *full(void) {
    return make(1, 1, SMALL, SMALL);
}

/* Returns how many small messages go into a new queue before it needs memory. */
static uint64_t first_segment_holds(void) {
    uint64_t n = 0;
    mproc_queue *trial = made_queue(0);
    crash_require(trial != NULL);
    size_t blocks = crash_blocks();
    do {
        put(trial, n++, SMALL);
    } while (crash_blocks() == blocks);
    mproc_drop(trial);
    return n - 1;
}

static void *segment_full(void) {
    return make(0, first_segment_holds(), SMALL, SMALL);
}

/* The next get leaves the first segment. */
static void *segment_drained(void) {
    size_t size;
    uint64_t n = first_segment_holds();
    mproc_queue *queue = make(0, n + 3, SMALL, SMALL);
    for (; scene()->first < n; scene()->first++) {
        crash_equal(get(queue, &size), scene()->first);
    }
    return queue;
}

static void *take_first(void *queue) {
    size_t size;
    crash_equal(get(queue, &size), scene()->first++);
    return NULL;
}

/* Another thread has taken one of them, and those that are there are 1 MiB and more. */
static void *far_ahead(void) {
    pthread_t thread;
    mproc_queue *queue = make(0, 9, HUGE, HUGE);
    crash_equal(pthread_create(&thread, NULL, take_first, queue), 0);
    crash_equal(pthread_join(thread, NULL), 0);
    return queue;
}

static void *closed(void) {
    mproc_queue *queue = three();
    mproc_queue_close(queue);
    return queue;
}

/* ---- afterwards */

static void use(mproc_queue *queue) {
    size_t size;
    size_t sizes[] = {SMALL, LARGE, SMALL, HUGE};
    for (uint64_t i = 0; i < 4; i++) {
        put(queue, SURVIVORS + i, sizes[i]);
        crash_equal(get(queue, &size), SURVIVORS + i);
        crash_equal(size, sizes[i]);
    }
    char c;
    mproc_message message = MPROC_MESSAGE_INIT(&c, 1);
    crash_equal(mproc_queue_get(queue, &message, 0), -ETIMEDOUT);
    crash_equal(mproc_queue_count(queue), 0);
    crash_check(mproc_queue_check(queue, why, sizeof why));
}

/* Expects all messages from `first` on, in order. */
static void expect_rest(mproc_queue *queue, uint64_t first) {
    size_t size;
    for (uint64_t i = first; i < scene()->next; i++) {
        crash_equal(get(queue, &size), i);
    }
}

static void verify_put(void *queue) {
    size_t size;
    crash_check(mproc_queue_check(queue, why, sizeof why));
    expect_rest(queue, scene()->first);
    uint64_t more = mproc_queue_count(queue);
    crash_require(more <= 1);
    if (crash_returned()) {
        crash_equal(more, 1);
    }
    if (more == 1) {
        crash_equal(get(queue, &size), VICTIMS);
        crash_equal(size, scene()->size);
    }
    use(queue);
}

/* The queue has the same messages as before the operation. */
static void verify_same(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_equal(mproc_queue_count(queue), scene()->next - scene()->first);
    expect_rest(queue, scene()->first);
    use(queue);
}

static void verify_get(void *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    uint64_t left = mproc_queue_count(queue), were = scene()->next - scene()->first;
    crash_require(left == were - 1 || (left == were && !crash_returned()));
    expect_rest(queue, scene()->next - left);
    use(queue);
}

/* ---- put */

static void prepare_message(void *queue) {
    (void)queue;
    compose(big_buffer(), VICTIMS, scene()->size);
}

/* The consumer's CPU is this one, and has a large cache: the producer naps before it puts. */
static void prepare_near(void *queue) {
    cpu_set_t here;
    unsigned cpu = (unsigned)sched_getcpu();
    mproc__queue_near = 1 << 20;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    crash_equal(sched_setaffinity(0, sizeof here, &here), 0);
    mproc__poke32(&((mproc_queue *)queue)->consumer_cpu, cpu);
    prepare_message(queue);
}

static void operate_put(void *queue) {
    if (mproc_queue_put(queue, big, scene()->size, CRASH_SOON) != 0) {
        abort();
    }
}

static void operate_putv(void *queue) {
    size_t size = scene()->size;
    struct iovec pieces[] = {{big, 5}, {NULL, 0}, {big + 5, size - 5}};
    if (mproc_queue_putv(queue, pieces, 3, CRASH_SOON) != 0) {
        abort();
    }
}

static void operate_put_in_vain(void *queue) {
    int r = mproc_queue_put(queue, big, scene()->size, 3 * MPROC_MSEC);
    if (r != -ETIMEDOUT) {
        abort();
    }
}

static void operate_put_closed(void *queue) {
    if (mproc_queue_put(queue, big, scene()->size, 0) != MPROC_ECLOSED) {
        abort();
    }
}

static void verify_near(void *queue) {
    if (crash_returned()) {
        crash_equal(((mproc_queue *)queue)->near.sleepers, 1);
    }
    verify_put(queue);
    crash_equal(((mproc_queue *)queue)->near.sleepers, 0);
}

static void make_space(void *queue) {
    size_t size;
    scene()->served = 1;
    crash_equal(get(queue, &size), scene()->first++);
}

static void verify_put_after_wait(void *queue) {
    if (!scene()->served) {
        make_space(queue);
    }
    /* use() needs room for one message only */
    verify_put(queue);
}

static void verify_closed(void *queue) {
    char c;
    mproc_message message = MPROC_MESSAGE_INIT(&c, 1);
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_equal(mproc_queue_count(queue), scene()->next);
    expect_rest(queue, 0);
    crash_equal(mproc_queue_get(queue, &message, CRASH_SOON), MPROC_ECLOSED);
}

/* ---- put while a consumer sleeps: it gets the message, or the next one */

static void consume_one(void *queue) {
    size_t size;
    uint64_t number = get(queue, &size);
    if (number != VICTIMS && number != SURVIVORS) {
        exit(2);
    }
    scene()->consumed = number;
}

static void *with_consumer(void) {
    mproc_queue *queue = empty();
    scene()->helper = crash_helper(consume_one, queue);
    crash_wait_asleep(scene()->helper);
    return queue;
}

static void verify_consumer(void *queue) {
    put(queue, SURVIVORS, SMALL);
    crash_helper_join(scene()->helper);
    if (crash_returned()) {
        crash_equal(scene()->consumed, VICTIMS);
    }
    if (scene()->consumed == VICTIMS) {
        size_t size;
        crash_equal(get(queue, &size), SURVIVORS);
    }
    crash_equal(mproc_queue_count(queue), 0);
    use(queue);
}

/* ---- get */

static void operate_get(void *queue) {
    struct scene *s = scene();
    s->message = (mproc_message)MPROC_MESSAGE_INIT(s->buffer, sizeof s->buffer);
    if (mproc_queue_get(queue, &s->message, CRASH_SOON) != 0) {
        abort();
    }
}

static void operate_get_boxed(void *queue) {
    struct scene *s = scene();
    s->message = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    if (mproc_queue_get(queue, &s->message, CRASH_SOON) != 0) {
        abort();
    }
}

static void operate_get_in_vain(void *queue) {
    struct scene *s = scene();
    s->message = (mproc_message)MPROC_MESSAGE_INIT(s->buffer, sizeof s->buffer);
    if (mproc_queue_get(queue, &s->message, 3 * MPROC_MSEC) != -ETIMEDOUT) {
        abort();
    }
}

static void put_meanwhile(void *queue) {
    scene()->served = 1;
    put(queue, scene()->next++, scene()->size);
}

static void verify_get_after_wait(void *queue) {
    if (!scene()->served) {
        put_meanwhile(queue);
    }
    verify_get(queue);
}

static void operate_message_drop(void *queue) {
    (void)queue;
    mproc_message_drop(&scene()->message);
}

/* ---- get while a producer sleeps for want of room: it gets it, or the next one does */

static void produce_one(void *queue) {
    put(queue, scene()->next, SMALL);
}

static void *with_producer(void) {
    mproc_queue *queue = full();
    scene()->helper = crash_helper(produce_one, queue);
    crash_wait_asleep(scene()->helper);
    return queue;
}

static void verify_producer(void *queue) {
    size_t size;
    uint64_t number = get(queue, &size);
    crash_require(number == 1 || (number == 0 && !crash_returned()));
    if (number == 0) {
        crash_equal(get(queue, &size), 1);
    }
    crash_helper_join(scene()->helper);
    crash_equal(mproc_queue_count(queue), 0);
    use(queue);
}

/* ---- many rounds: over the borders of segments, with spare ones */

static void operate_rounds(void *queue) {
    char room[128];
    for (uint64_t i = 0; i < ROUNDS; i++) {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        memcpy(big, &(uint64_t){VICTIMS + i}, sizeof(uint64_t));
        if (mproc_queue_put(queue, big, SMALL, 0) != 0) {
            abort();
        }
        if (mproc_queue_get(queue, &message, 0) != 0) {
            abort();
        }
    }
}

static void verify_rounds(void *queue) {
    char room[128];
    uint64_t last = 0;
    crash_check(mproc_queue_check(queue, why, sizeof why));
    uint64_t count = mproc_queue_count(queue);
    crash_require(count <= 4 && count >= 2);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number;
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        crash_equal(mproc_queue_get(queue, &message, 0), 0);
        crash_equal(message.size, SMALL);
        memcpy(&number, room, sizeof number);
        crash_require(i == 0 || number == last + 1 || (number == VICTIMS && last == 2));
        last = number;
    }
    use(queue);
}

/* ---- many at once: all of them, or none */

#define FIVE 5

static void *three_with_one_large(void) {
    mproc_queue *queue = three();
    put(queue, scene()->next++, LARGE);
    put(queue, scene()->next++, SMALL);
    return queue;
}

static void *eight(void) {
    return make(0, 8, SMALL, SMALL);
}

static void *large_first(void) {
    mproc_queue *queue = make(0, 1, LARGE, LARGE);
    put(queue, scene()->next++, SMALL);
    put(queue, scene()->next++, SMALL);
    return queue;
}

/* There is room for two. */
static void *nearly_full(void) {
    return make(4, 2, SMALL, SMALL);
}

static struct iovec pieces[FIVE];

/* The first has the scene's size, the others are small. */
static void prepare_many(void *queue) {
    static char small[FIVE][SMALL];
    prepare_message(queue);
    pieces[0] = (struct iovec){big, scene()->size};
    for (uint64_t i = 1; i < FIVE; i++) {
        compose(small[i], VICTIMS + i, SMALL);
        pieces[i] = (struct iovec){small[i], SMALL};
    }
}

/* The same, and behind two of them one that does not go with them. */
static void prepare_many_then_large(void *queue) {
    prepare_many(queue);
    pieces[2] = (struct iovec){big, LARGE};
}

static void operate_put_many(void *queue) {
    if (mproc_queue_put_many(queue, pieces, FIVE, &scene()->done, CRASH_SOON) != 0) {
        abort();
    }
}

static void operate_put_many_in_vain(void *queue) {
    if (mproc_queue_put_many(queue, pieces, FIVE, &scene()->done, 3 * MPROC_MSEC) != -ETIMEDOUT) {
        abort();
    }
}

/* `together` of the victim's messages are there, or none. */
static void verify_put_together(void *queue, uint64_t together) {
    size_t size;
    crash_check(mproc_queue_check(queue, why, sizeof why));
    expect_rest(queue, scene()->first);
    uint64_t more = mproc_queue_count(queue);
    crash_require(more == together || (more == 0 && !crash_returned()));
    if (crash_returned()) {
        crash_equal(scene()->done, together);
    }
    for (uint64_t i = 0; i < more; i++) {
        crash_equal(get(queue, &size), VICTIMS + i);
        crash_equal(size, i == 0 ? scene()->size : SMALL);
    }
    use(queue);
}

static void verify_put_five(void *queue) {
    verify_put_together(queue, FIVE);
}

static void verify_put_two(void *queue) {
    verify_put_together(queue, 2);
}

static void verify_put_one(void *queue) {
    verify_put_together(queue, 1);
}

static void verify_put_one_after_wait(void *queue) {
    if (!scene()->served) {
        make_space(queue);
    }
    verify_put_one(queue);
}

static void operate_get_many(void *queue) {
    struct scene *s = scene();
    for (size_t i = 0; i < FIVE; i++) {
        s->messages[i] = (mproc_message)MPROC_MESSAGE_INIT(s->buffer + i * SMALL, SMALL);
    }
    if (mproc_queue_get_many(queue, s->messages, FIVE, &s->done, CRASH_SOON) != 0) {
        abort();
    }
}

/* `together` of the messages are gone, or none. */
static void verify_got_together(void *queue, uint64_t together) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    uint64_t left = mproc_queue_count(queue), were = scene()->next - scene()->first;
    crash_require(left == were - together || (left == were && !crash_returned()));
    if (crash_returned()) {
        crash_equal(scene()->done, together);
    }
    expect_rest(queue, scene()->next - left);
    use(queue);
}

static void verify_got_five(void *queue) {
    verify_got_together(queue, FIVE);
}

static void verify_got_four(void *queue) {
    verify_got_together(queue, 4);
}

static void verify_got_three(void *queue) {
    verify_got_together(queue, 3);
}

static void verify_got_one(void *queue) {
    verify_got_together(queue, 1);
}

static void verify_got_one_after_wait(void *queue) {
    if (!scene()->served) {
        put_meanwhile(queue);
    }
    verify_got_one(queue);
}

/* Two consumers sleep; each gets one of the victim's messages, or one of the survivor's. */
static void consume_any(void *queue) {
    size_t size;
    (void)get(queue, &size);
}

static void *with_two_consumers(void) {
    mproc_queue *queue = empty();
    for (int i = 0; i < 2; i++) {
        scene()->helpers[i] = crash_helper(consume_any, queue);
        crash_wait_asleep(scene()->helpers[i]);
    }
    return queue;
}

static void verify_two_consumers(void *queue) {
    size_t size;
    put(queue, SURVIVORS, SMALL);
    put(queue, SURVIVORS + 1, SMALL);
    crash_helper_join(scene()->helpers[0]);
    crash_helper_join(scene()->helpers[1]);
    uint64_t left = mproc_queue_count(queue);
    crash_require(left == FIVE || (left == 0 && !crash_returned()));
    while (left-- > 0) {
        (void)get(queue, &size);
    }
    use(queue);
}

/* ---- reserve and commit */

static void reserve(void *queue) {
    if (mproc_queue_reserve(queue, scene()->size, &scene()->message) != 0) {
        abort();
    }
    compose(scene()->message.data, VICTIMS, scene()->size);
}

static void operate_reserve(void *queue) {
    if (mproc_queue_reserve(queue, scene()->size, &scene()->message) != 0) {
        abort();
    }
}

static void operate_commit(void *queue) {
    if (mproc_queue_commit(queue, &scene()->message, CRASH_SOON) != 0) {
        abort();
    }
}

/* The survivor has a reservation, of which the victim inherits a hold. */
static void *reserved_before(void) {
    mproc_queue *queue = three_want_large();
    reserve(queue);
    return queue;
}

static void operate_commit_inherited(void *queue) {
    mproc_message copy = scene()->message;
    if (mproc_queue_commit(queue, &copy, CRASH_SOON) != 0) {
        abort();
    }
}

static void verify_commit_inherited(void *queue) {
    verify_put(queue);
    crash_equal(read_message(scene()->message.data, scene()->message.size), VICTIMS);
    mproc_message_drop(&scene()->message);
}

/* ---- close */

static void operate_close(void *queue) {
    mproc_queue_close(queue);
}

static void verify_close(void *queue) {
    if (crash_returned()) {
        char c = 0;
        crash_equal(mproc_queue_put(queue, &c, 1, 0), MPROC_ECLOSED);
    }
    mproc_queue_close(queue);
    verify_closed(queue);
}

static void consume_until_closed(void *queue) {
    char c;
    mproc_message message = MPROC_MESSAGE_INIT(&c, 1);
    if (mproc_queue_get(queue, &message, CRASH_SOON) != MPROC_ECLOSED) {
        exit(2);
    }
}

static void *with_waiting_consumer(void) {
    mproc_queue *queue = empty();
    scene()->helper = crash_helper(consume_until_closed, queue);
    crash_wait_asleep(scene()->helper);
    return queue;
}

static void verify_close_wakes(void *queue) {
    if (!crash_returned()) {
        mproc_queue_close(queue);
    }
    crash_helper_join(scene()->helper);
    verify_close(queue);
}

/* ---- shutdown: all messages are there, or none is */

static void operate_shutdown(void *queue) {
    mproc_queue_shutdown(queue, 1);
}

static void verify_shutdown(void *queue) {
    uint64_t n = mproc_queue_count(queue);
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_require(n == 0 || (n == scene()->next - scene()->first && !crash_returned()));
    if (n > 0) {
        expect_rest(queue, scene()->first);
    }
    for (uint64_t i = 0; i < scene()->first + n; i++) { /* what was taken, now or before */
        crash_equal(mproc_queue_task_done(queue), 0);
    }
    crash_equal(mproc_queue_join(queue, 0), 0);
    crash_equal(mproc_queue_task_done(queue), MPROC_EDONE);
    mproc_queue_shutdown(queue, 1);
    crash_check(mproc_queue_check(queue, why, sizeof why));
}

static void verify_shutdown_wakes(void *queue) {
    if (!crash_returned()) {
        mproc_queue_shutdown(queue, 1);
    }
    crash_helper_join(scene()->helper);
    verify_shutdown(queue);
}

/* ---- a bound of bytes: what is in the queue is what was counted */

static void *three_bounded_by_bytes(void) {
    mproc_queue *queue = make(0, 0, SMALL, SMALL);
    crash_equal(mproc_queue_bound_bytes(queue, 1000), 0);
    for (; scene()->next < 3; scene()->next++) {
        put(queue, scene()->next, SMALL);
    }
    return queue;
}

static void count_bytes(mproc_queue *queue) {
    crash_check(mproc_queue_check(queue, why, sizeof why));
    crash_equal(mproc_queue_bytes(queue, NULL), SMALL * mproc_queue_count(queue));
}

/* Entering both guards puts back what a dead member has left. */
static void verify_bytes(void *queue) {
    size_t size;
    put(queue, SURVIVORS, SMALL);
    (void)get(queue, &size);
    count_bytes(queue);
    while (mproc_queue_count(queue) > 0) {
        (void)get(queue, &size);
    }
    count_bytes(queue);
}

/* ---- life */

static void operate_new(void *object) {
    (void)object;
    if (made_queue(0) == NULL) {
        abort();
    }
}

/* Only the victim has the queue; messages of both kinds fill more than one segment. */
static void make_own(void *object) {
    (void)object;
    mproc_queue *queue = made_queue(0);
    crash_require(queue != NULL);
    for (uint64_t i = 0; i < 20; i++) {
        put(queue, i, i % 8 == 3 ? LARGE : SMALL);
    }
    scene()->queue = queue;
}

static void operate_drop_own(void *object) {
    (void)object;
    mproc_drop(scene()->queue);
}

static void verify_gone(void *object) {
    (void)object;
    mproc_queue *queue = three_large();
    verify_same(queue);
    mproc_drop(queue);
}

/* ---- reaping: the member that reaps a dead one is killed, too */

/* Dies in the middle of its work, with a queue of its own and a message in its hands. */
static void die_rich(void *queue) {
    make_own(NULL);
    operate_get(queue);
    if (mproc_queue_reserve(queue, HUGE, &scene()->message) != 0) {
        exit(2);
    }
    crash_die_here();
}

/* The helper dies after the last birth, since a birth reaps the dead as well. */
static void see_one_die(void *queue) {
    crash_casualty(die_rich, queue);
    scene()->first = 1;
}

/* The same with messages that were got at once, a large one among them. */
static void die_with_many(void *queue) {
    operate_get_many(queue);
    crash_die_here();
}

static void see_one_die_with_many(void *queue) {
    crash_casualty(die_with_many, queue);
    scene()->first = 4;
}

static void operate_reap(void *object) {
    (void)object;
    if (mproc_reap() == 0) {
        abort();
    }
}

#define OP(name_, setup_, prepare_, operate_, verify_)                                             \
    {                                                                                              \
        .name = "queue " name_, .setup = (setup_), .prepare = (prepare_), .operate = (operate_),   \
        .verify = (verify_), .teardown = unmake, .sample = 1000                                    \
    }

static const struct crash_op ops[] = {
    OP("put (inline)", three, prepare_message, operate_put, verify_put),
    OP("putv (inline)", three, prepare_message, operate_putv, verify_put),
    OP("put (large)", three_want_large, prepare_message, operate_put, verify_put),
    OP("putv (large)", three_want_large, prepare_message, operate_putv, verify_put),
    OP("put (huge)", three_want_huge, prepare_message, operate_put, verify_put),
    OP("put (far ahead of its consumer)", far_ahead, prepare_near, operate_put, verify_near),
    OP("put (segment grows)", segment_full, prepare_message, operate_put, verify_put),
    OP("put (full, timeout)", full, prepare_message, operate_put_in_vain, verify_same),
    {.name = "queue put (full, then room)",
     .setup = full,
     .prepare = prepare_message,
     .operate = operate_put,
     .meanwhile = make_space,
     .verify = verify_put_after_wait,
     .teardown = unmake},
    OP("put (closed)", closed, prepare_message, operate_put_closed, verify_closed),
    OP("put (a consumer sleeps)", with_consumer, prepare_message, operate_put, verify_consumer),
    OP("get (inline)", three, NULL, operate_get, verify_get),
    OP("get (inline, no room)", three, NULL, operate_get_boxed, verify_get),
    OP("get (large)", three_large, NULL, operate_get, verify_get),
    OP("get (segment drained)", segment_drained, NULL, operate_get, verify_get),
    OP("get (empty, timeout)", empty, NULL, operate_get_in_vain, verify_same),
    {.name = "queue get (empty, then a message)",
     .setup = empty,
     .operate = operate_get,
     .meanwhile = put_meanwhile,
     .verify = verify_get_after_wait,
     .teardown = unmake},
    OP("get (a producer sleeps)", with_producer, NULL, operate_get, verify_producer),
    OP("put many (small)", three, prepare_many, operate_put_many, verify_put_five),
    OP("put many (large first)", three_want_large, prepare_many, operate_put_many, verify_put_five),
    OP("put many (then a large one)", three, prepare_many_then_large, operate_put_many,
       verify_put_two),
    OP("put many (segment grows)", segment_full, prepare_many, operate_put_many, verify_put_five),
    OP("put many (nearly full)", nearly_full, prepare_many, operate_put_many, verify_put_two),
    OP("put many (full, timeout)", full, prepare_many, operate_put_many_in_vain, verify_same),
    {.name = "queue put many (full, then room)",
     .setup = full,
     .prepare = prepare_many,
     .operate = operate_put_many,
     .meanwhile = make_space,
     .verify = verify_put_one_after_wait,
     .teardown = unmake},
    OP("put many (two consumers sleep)", with_two_consumers, prepare_many, operate_put_many,
       verify_two_consumers),
    OP("get many (small)", three, NULL, operate_get_many, verify_got_three),
    OP("get many (more are there)", eight, NULL, operate_get_many, verify_got_five),
    OP("get many (large in between)", three_with_one_large, NULL, operate_get_many,
       verify_got_four),
    OP("get many (large first)", large_first, NULL, operate_get_many, verify_got_one),
    OP("get many (segment drained)", segment_drained, NULL, operate_get_many, verify_got_three),
    {.name = "queue get many (empty, then a message)",
     .setup = empty,
     .operate = operate_get_many,
     .meanwhile = put_meanwhile,
     .verify = verify_got_one_after_wait,
     .teardown = unmake},
    OP("get many (a producer sleeps)", with_producer, NULL, operate_get_many, verify_producer),
    OP("message drop", three_large, operate_get, operate_message_drop, verify_get),
    OP("put and get, 40 rounds", three, prepare_message, operate_rounds, verify_rounds),
    OP("reserve", three_want_large, NULL, operate_reserve, verify_same),
    OP("reserve, then drop", three_want_large, reserve, operate_message_drop, verify_same),
    OP("commit", three_want_large, reserve, operate_commit, verify_put),
    OP("commit (another holds too)", reserved_before, NULL, operate_commit_inherited,
       verify_commit_inherited),
    OP("close", three, NULL, operate_close, verify_close),
    OP("close (a consumer sleeps)", with_waiting_consumer, NULL, operate_close, verify_close_wakes),
    OP("put (bound of bytes)", three_bounded_by_bytes, prepare_message, operate_put, verify_bytes),
    OP("get (bound of bytes)", three_bounded_by_bytes, NULL, operate_get, verify_bytes),
    OP("shutdown (bound of bytes)", three_bounded_by_bytes, NULL, operate_shutdown,
       verify_shutdown),
    OP("shutdown", three, NULL, operate_shutdown, verify_shutdown),
    OP("shutdown (large messages)", three_large, NULL, operate_shutdown, verify_shutdown),
    OP("shutdown (over segments)", segment_drained, NULL, operate_shutdown, verify_shutdown),
    OP("shutdown (a consumer sleeps)", with_waiting_consumer, NULL, operate_shutdown,
       verify_shutdown_wakes),
    {.name = "queue new",
     .setup = crash_no_object,
     .operate = operate_new,
     .verify = verify_gone,
     .teardown = crash_nothing},
    {.name = "queue drop (last hold, full of messages)",
     .setup = crash_no_object,
     .prepare = make_own,
     .operate = operate_drop_own,
     .verify = verify_gone,
     .teardown = crash_nothing},
    OP("reap of a member with queue and messages", three_large, see_one_die, operate_reap,
       verify_same),
    OP("reap of a member that got many", three_with_one_large, see_one_die_with_many, operate_reap,
       verify_same),
};

CRASH_MAIN(ops)
