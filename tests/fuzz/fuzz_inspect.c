/*
 * fuzz_inspect.c - a look from outside at an arena that a broken program has scribbled on
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The arena of a family with an object of each kind, in use. The input names words of
 * it that read as something else: numbers, or addresses of the arena. The words themselves stay as
 * they are: what the looker reads is changed on its way.
 *
 * What must hold. Each look ends, with a picture or an error of those that are documented. A
 * picture can be asked for deadlocks and shown in every form. Indexes in it are in their arrays.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/uio.h>

#include "inspect/blame.h"
#include "inspect/show.h"
#include "mproc.h"
#include "pool/taskq.h"
#include "scribbled.h"

#define WORDS 24

static FILE *null;

int __wrap_mproc__os_process_see(pid_t pid, struct mproc__os_seen *out) {
    *out = (struct mproc__os_seen){.state = pid % 8 == 0 ? 'T' : 'S', .threads = 1 + pid % 3};
    return pid % 16 == 15 ? -ESRCH : 0;
}

/* ---------------------------------------------------------------- the family */

static void fill(mproc_queue *queue) {
    static char large[20000];
    for (int i = 0; i < 40; i++) {
        MUST(mproc_queue_put(queue, large, i % 5 == 0 ? sizeof large : 100, 0) == 0);
    }
}

static void make(void) {
    mproc_lock *lock;
    mproc_rlock *rlock;
    mproc_semaphore *semaphore;
    mproc_bsemaphore *bsemaphore;
    mproc_event *event;
    mproc_condition *condition;
    mproc_barrier *barrier;
    mproc_array *array;
    mproc_buffer *buffer;
    mproc_queue *queue;
    mproc_taskq *taskq;
    mproc_channel *channel;
    mproc_stack *stack;
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    uint64_t ticket;
    int ends[2];
    MUST(mproc_lock_new(&lock, 4) == 0 && mproc_lock_acquire(lock, 0) == 0);
    MUST(mproc_rlock_new(&rlock) == 0 && mproc_rlock_acquire(rlock, 0) == 0);
    MUST(mproc_semaphore_new(&semaphore, 0) == 0 && mproc_event_new(&event) == 0);
    MUST(mproc_bsemaphore_new(&bsemaphore, 1) == 0 && mproc_bsemaphore_acquire(bsemaphore, 0) == 0);
    MUST(mproc_bsemaphore_acquire(bsemaphore, MPROC_MSEC) == -ETIMEDOUT); /* its ledger is in use */
    MUST(mproc_condition_new(&condition) == 0 && mproc_barrier_new(&barrier, 3) == 0);
    MUST(mproc_array_new(&array, MPROC_INT64, 100) == 0 && mproc_buffer_new(&buffer, 70000) == 0);
    MUST(mproc_queue_new(&queue, 50) == 0 && mproc_taskq_new(&taskq, 3) == 0);
    MUST(mproc_channel_new(&channel, ends, 1) == 0);
    MUST(mproc_stack_new(&stack, "take (shop.py:12)\nserve (shop.py:40)") == 0);
    const struct iovec task = {(void *)(uintptr_t) "task", 4};
    MUST(mproc_taskq_put(taskq, &task, 1, &ticket) == 0 && mproc_taskq_join(taskq, 1) == 0);
    MUST(mproc_taskq_take(taskq, 1, &message, &ticket, 0) == 0);
    mproc__taskq_seat(taskq, 1)->name = mproc__trace_name("work");
    mproc__seat_note(mproc__taskq_seat(taskq, 1), mproc__os_now());
    fill(queue);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    setenv("MPROC_ARENA_SPAN", "32M", 1);
    null = fopen("/dev/null", "w");
    MUST(null != NULL);
    make();
    return 0;
}

/* ---------------------------------------------------------------- an input */

/* Where words are that mean something. */
static uint64_t next_place(struct feed *input) {
    const uint64_t base = mproc__family->base;
    uint64_t at = feed_u32(input) / 8;
    switch (feed_below(input, 8)) {
    case 0: return at % 5 * 8;
    case 1:
        return at % 4 != 3 ? offsetof(struct mproc__family, table.top)
                           : offsetof(struct mproc__family, trace.names) +
                                 at / 4 % (4 * sizeof(struct mproc__trace_name) / 8) * 8;
    case 2:
        return offsetof(struct mproc__family, chunks) + at % (sizeof(struct mproc__chunks) / 8) * 8;
    case 3: return offsetof(struct mproc__family, shms.first);
    case 4: return mproc__family->chunks.table - base + at % 256 * 8;
    case 5:
    case 6:
        return mproc__family->chunks.first - base +
               at % (mproc__family->chunks.top * MPROC__CHUNK / 8) * 8;
    default:
        return offsetof(struct mproc__family, table.slots) +
               at % (4 * sizeof(struct mproc__slot) / 8) * 8;
    }
}

static uint64_t next_value(struct feed *input) {
    const struct mproc__chunks *chunks = &mproc__family->chunks;
    uint64_t n = feed_u32(input);
    switch (feed_below(input, 6)) {
    case 0: return feed_u64(input);
    case 1: return n % 16;
    case 2: return chunks->first + n % (chunks->top * MPROC__CHUNK) / 16 * 16;
    case 3: return mproc__family->base + n % mproc__family->span;
    case 4: return MPROC__OBJECT_MAGIC | (uint64_t)(n % MPROC__KINDS) << 32;
    default: return n;
    }
}

static void read_input(struct feed *input) {
    nchanged = 0;
    while (nchanged < WORDS && input->left > 0) {
        changed[nchanged].offset = next_place(input);
        changed[nchanged].value = next_value(input);
        nchanged++;
    }
}

/* ---------------------------------------------------------------- the look */

static void check(const struct mproc__picture *p) {
    for (int i = 0; i < p->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        MUST(w->member >= 0 && w->member < p->nmembers);
        MUST(w->object >= -1 && w->object < p->nobjects);
        MUST(w->target >= -1 && w->target < p->nmembers);
        MUST(w->object >= 0 || w->target >= 0 || w->fd >= 0);
        MUST(w->stack < p->ntexts);
        MUST(w->stuck ? w->group >= 0 && p->waits[w->group].group == w->group : w->group == -1);
    }
    for (int i = 0; i < p->nobjects; i++) {
        const struct mproc__seen_object *o = &p->objects[i];
        MUST(o->facts >= -1 && o->facts < p->nfacts && o->within < p->nobjects);
        MUST(o->first + o->holders <= p->nholders);
        MUST(mproc__picture_held(p, i) >= -1 && mproc__picture_oldest(p, i) >= -1);
        for (int t = 0; t < MPROC__FACTS_TAKERS; t++) {
            MUST(mproc__picture_taken(p, i, t) >= -1);
        }
    }
    for (int i = 0; i < p->ntasks; i++) {
        const struct mproc__seen_task *task = &p->tasks[i];
        MUST(task->tasks >= 0 && task->tasks < p->nobjects && task->name < p->ntexts);
        MUST(mproc__picture_running(p, task) >= -1);
    }
}

/* In one form: those that look at the same need not be tried with the same words. */
static void show(const struct mproc__outside *arena, const struct mproc__picture *before,
                 const struct mproc__picture *p, int groups, unsigned form) {
    static const mproc__show_fn forms[] = {mproc__show_ps,   mproc__show_locks, mproc__show_queues,
                                           mproc__show_json, mproc__show_graph, mproc__show_dot,
                                           mproc__show_html};
    const struct mproc__show all = {null, arena, p, groups, before};
    forms[form % (sizeof forms / sizeof *forms)](&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed input = {data, size};
    struct mproc__outside arena = {.fd = -1};
    struct mproc__picture first, second;
    unsigned form = size > 0 ? data[size - 1] : 0;
    read_input(&input);
    int r = mproc__outside_check(&arena);
    MUST(r == 0 || r == MPROC_ECORRUPT || r == MPROC_EBUILD);
    r = r == 0 ? mproc__picture_take(&arena, &first) : r;
    if (r != 0) {
        MUST(r == MPROC_ECORRUPT || r == MPROC_EBUILD);
        return 0;
    }
    (void)mproc__blame(&first);
    check(&first);
    nchanged /= 2; /* it has changed meanwhile */
    if (mproc__picture_take(&arena, &second) == 0) {
        int groups = mproc__blame_again(&second, &first);
        mproc__picture_compare(&second, &first);
        check(&second);
        show(&arena, &first, &second, groups, form);
        mproc__picture_drop(&second);
    }
    mproc__picture_drop(&first);
    return 0;
}
