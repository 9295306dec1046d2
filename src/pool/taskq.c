/*
 * taskq.c - the engine under every pool: tasks out, results back, none lost with its worker
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Two queues, and a seat per worker. Taking a task writes its ticket into the
 * worker's seat in the same step (queue.h: a claim); putting the result clears the seat in the
 * same step. So when a worker is dead and reaped, its seat tells exactly whether a task died with
 * it: there is no instant at which a task is in nobody's books.
 *
 * Shared state.
 *   tasks, results   see queue/state.h; made with the task queue, constant. A result with the
 *                    ticket NOTICE is none: the owner wakes itself by it.
 *   seat->claim      ticket + 1 of the task that the worker has, 0: none. The worker's; the owner
 *                    reads.
 *   seat->token      the worker that has the seat, 0: free. By compare-and-swap; freed by the
 *                    owner.
 *   seat->item, state   a pool's; see taskq.h.
 *   seat->failed     how many tasks have failed there, for those who look from outside. The worker
 *                    counts before it hands in, in one store that names the task; the owner counts
 *                    the task of a worker that is dead and reaped, unless that task is named there.
 *   seat->name       a pool's worker writes it when the function is another than that of the task
 *                    before. Between two tasks it says what the last one was.
 *   seat->noted      a pool's owner writes it when it looks after its workers. Both are for those
 *                    who look from outside.
 *
 * Invariants.
 *   T1  A seat with a claim has a token, and the claim is below the next ticket.
 *   T2  Those of both queues.
 *   T3  seat->name is 0 or a row of names; seat->noted is 0 or names a time that has been.
 *
 * If a worker dies here: taking or finishing is undone or done by the queue's guards, with the
 * seat.
 */
#include <string.h>
#include <sys/uio.h>

#include "core/facts.h"
#include "core/family.h"
#include "core/kinds.h"
#include "core/make.h"
#include "core/trace.h"
#include "pool/taskq.h"
#include "queue.h"

#define PIECES_MAX 1024
#define NOTICE UINT64_MAX

struct mproc_taskq {
    struct mproc__object object;
    uint64_t tasks;   /* mproc_queue * */
    uint64_t results; /* mproc_queue *; each message: the ticket, then the result */
    uint64_t seats;
    struct mproc__seat seat[]; /* cache line by cache line, whatever the block's start is */
};

static mproc_queue *tasks_of(const mproc_taskq *q) {
    return (mproc_queue *)(uintptr_t)q->tasks;
}

static mproc_queue *results_of(const mproc_taskq *q) {
    return (mproc_queue *)(uintptr_t)q->results;
}

/* ---------------------------------------------------------------- life */

void mproc__taskq_destroy(struct mproc__hand *hand, void *object) {
    mproc_taskq *q = object;
    mproc__object_destroy(hand, &q->tasks);
    mproc__object_destroy(hand, &q->results);
}

static int fill(struct mproc__hand *hand, void *object, const void *seats) {
    mproc_taskq *q = object;
    q->seats = *(const unsigned *)seats;
    int r = mproc__queue_make(hand, 0, &q->tasks);
    return r == 0 ? mproc__queue_make(hand, 0, &q->results) : r;
}

static size_t size_of(unsigned seats) {
    return sizeof(mproc_taskq) + seats * sizeof(struct mproc__seat);
}

int mproc__taskq_make(struct mproc__hand *hand, unsigned seats, uint64_t *word) {
    int r = mproc__object_make(hand, MPROC__KIND_TASKQ, size_of(seats), word);
    return r == 0 ? fill(hand, (mproc_taskq *)(uintptr_t)*word, &seats) : r;
}

int mproc_taskq_new(mproc_taskq **out, unsigned seats) {
    if (seats == 0 || seats > MPROC_SEATS_MAX) {
        return -EINVAL;
    }
    return mproc__object_build(out, MPROC__KIND_TASKQ, size_of(seats), fill, &seats);
}

/* ---------------------------------------------------------------- owner */

static bool is_taskq(const mproc_taskq *tasks) {
    return mproc__expect(tasks, MPROC__KIND_TASKQ);
}

int mproc_taskq_put(mproc_taskq *tasks, const struct iovec *lent, int n, uint64_t *ticket) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    return n >= 0 ? mproc__queue_put(tasks_of(tasks), lent, n, MPROC_FOREVER, NULL, ticket)
                  : -EINVAL;
}

int mproc__taskq_put(mproc_taskq *tasks, const struct mproc__load *load, uint64_t *ticket) {
    return mproc__queue_put_load(tasks_of(tasks), load, MPROC_FOREVER, NULL, ticket);
}

int mproc__taskq_put_many(mproc_taskq *tasks, const struct iovec *head, const struct iovec *lent,
                          size_t n, size_t *put, uint64_t *ticket) {
    return mproc__queue_put_many(tasks_of(tasks), head, lent, n, put, ticket);
}

/* Takes the ticket off a result. False: it is a notice, and dropped. */
static bool read_ticket(mproc_message *message, uint64_t *ticket) {
    uint64_t number;
    assert(message->size >= sizeof number);
    memcpy(&number, message->data, sizeof number);
    if (number == NOTICE) {
        mproc_message_drop(message);
        return false;
    }
    *ticket = number;
    message->data = (char *)message->data + sizeof number;
    message->size -= sizeof number;
    return true;
}

int mproc_taskq_collect(mproc_taskq *tasks, mproc_message *message, uint64_t *ticket,
                        int64_t timeout) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    int r = mproc_queue_get(results_of(tasks), message, timeout);
    return r != 0 ? r : read_ticket(message, ticket) ? 0 : -EAGAIN;
}

int mproc__taskq_collect_many(mproc_taskq *tasks, mproc_message *messages, uint64_t *tickets,
                              size_t n, size_t *got, bool *noticed, int64_t timeout) {
    size_t all = 0, kept = 0;
    int r = mproc_queue_get_many(results_of(tasks), messages, n, &all, timeout);
    for (size_t i = 0; r == 0 && i < all; i++) {
        if (read_ticket(&messages[i], &tickets[kept])) {
            messages[kept++] = messages[i];
        }
    }
    *got = kept;
    *noticed = r == 0 && kept < all;
    return r;
}

int mproc_taskq_notify(mproc_taskq *tasks) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    static const uint64_t notice = NOTICE;
    const struct iovec piece = {(void *)(uintptr_t)&notice, sizeof notice};
    return mproc__queue_put(results_of(tasks), &piece, 1, MPROC_FOREVER, NULL, NULL);
}

int mproc_taskq_worker_died(mproc_taskq *tasks, unsigned seat, uint64_t *ticket) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    if (seat >= tasks->seats) {
        return -EINVAL;
    }
    struct mproc__seat *s = &tasks->seat[seat];
    uint64_t token = mproc__load64(&s->token);
    if (token == 0) {
        return 0; /* it ended before it joined */
    }
    mproc__reap_dead(token); /* now the seat says what its last finished step said */
    uint64_t claim = mproc__load64(&s->claim);
    mproc__poke64(&s->claim, 0);
    mproc__store64(&s->token, 0); /* SYNC(seat.token): it has no task, before another takes it */
    if (claim == 0) {
        return 0;
    }
    *ticket = claim - 1;
    return 1;
}

void mproc_taskq_close(mproc_taskq *tasks) {
    if (!is_taskq(tasks)) {
        return;
    }
    mproc_queue_close(tasks_of(tasks));
}

uint64_t mproc_taskq_waiting(const mproc_taskq *tasks) {
    if (!is_taskq(tasks)) {
        return 0;
    }
    return mproc_queue_count(tasks_of(tasks));
}

int mproc_taskq_current(const mproc_taskq *tasks, unsigned seat, uint64_t *ticket) {
    if (!is_taskq(tasks)) {
        return 0;
    }
    uint64_t claim = seat < tasks->seats ? mproc__load64(&tasks->seat[seat].claim) : 0;
    if (claim == 0) {
        return 0;
    }
    *ticket = claim - 1;
    return 1;
}

struct mproc__seat *mproc__taskq_seat(mproc_taskq *tasks, unsigned seat) {
    return &tasks->seat[seat];
}

uint64_t mproc__taskq_results(const mproc_taskq *tasks) {
    return mproc_queue_count(results_of(tasks));
}

/* -ETIMEDOUT although there are tasks: a worker is in the queue, and has been for too long. */
void mproc__taskq_discard(mproc_taskq *tasks) {
    char room[MPROC_MESSAGE_INLINE];
    int r;
    do {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        r = mproc_queue_get(tasks_of(tasks), &message, 0);
        mproc_message_drop(&message);
    } while (r == 0 || (r == -ETIMEDOUT && mproc_queue_count(tasks_of(tasks)) > 0));
}

/* ---------------------------------------------------------------- worker */

/* A child that a task forks has its parent's handles, but not its seat. */
static bool has_seat(const mproc_taskq *tasks, unsigned seat) {
    return seat < tasks->seats && mproc__peek64(&tasks->seat[seat].token) == mproc__self_token();
}

int mproc_taskq_join(mproc_taskq *tasks, unsigned seat) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    if (seat >= tasks->seats) {
        return -EINVAL;
    }
    uint64_t nobody = 0;
    /* SYNC(seat.token) */
    return mproc__cas64(&tasks->seat[seat].token, &nobody, mproc__self_token()) ? 0 : -EBUSY;
}

int mproc_taskq_take(mproc_taskq *tasks, unsigned seat, mproc_message *message, uint64_t *ticket,
                     int64_t timeout) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    if (!has_seat(tasks, seat)) {
        return MPROC_ESTRANGER;
    }
    struct mproc__claim claim = {&tasks->seat[seat].claim, 0};
    int r = mproc__queue_get(tasks_of(tasks), message, timeout, &claim);
    if (r == 0) {
        *ticket = mproc__peek64(&tasks->seat[seat].claim) - 1;
    }
    return r;
}

int mproc__taskq_finish(mproc_taskq *tasks, unsigned seat, const struct mproc__load *load) {
    struct mproc__claim claim = {&tasks->seat[seat].claim, 0};
    uint64_t ticket = mproc__peek64(claim.word) - 1;
    struct iovec pieces[PIECES_MAX];
    if (load->n < 0 || load->n >= PIECES_MAX || ticket == UINT64_MAX) {
        return -EINVAL;
    }
    pieces[0] = (struct iovec){&ticket, sizeof ticket};
    if (load->n > 0) {
        memcpy(pieces + 1, load->pieces, (size_t)load->n * sizeof *pieces);
    }
    const struct mproc__load all = {pieces, load->n + 1, load->buffers, load->nbuffers};
    return mproc__queue_put_load(results_of(tasks), &all, MPROC_FOREVER, &claim, NULL);
}

int mproc_taskq_finish(mproc_taskq *tasks, unsigned seat, const struct iovec *lent, int n) {
    if (!is_taskq(tasks)) {
        return MPROC_EOTHER;
    }
    const struct mproc__load load = {lent, n, NULL, 0};
    return has_seat(tasks, seat) ? mproc__taskq_finish(tasks, seat, &load) : MPROC_ESTRANGER;
}

/* ---------------------------------------------------------------- check */

static bool is_noted_well(const struct mproc__seat *seat) {
    uint64_t ms = mproc__peek64(&seat->noted) >> MPROC__SEAT_CLAIM_BITS;
    return mproc__peek32(&seat->name) < MPROC__TRACE_NAMES &&
           ms <= (uint64_t)(mproc__os_now() / MPROC_MSEC + 1);
}

int mproc_taskq_check(mproc_taskq *tasks, char *why, size_t size) {
    if (!mproc__object_is(tasks, MPROC__KIND_TASKQ)) {
        return mproc__corrupt(why, size, "T: %p is no task queue", (void *)tasks);
    }
    for (uint64_t i = 0; i < tasks->seats; i++) {
        struct mproc__seat *s = &tasks->seat[i];
        if (mproc__load64(&s->claim) != 0 && mproc__load64(&s->token) == 0) {
            return mproc__corrupt(why, size, "T1: seat %llu has a task but no worker",
                                  (unsigned long long)i);
        }
        if (!is_noted_well(s)) {
            return mproc__corrupt(why, size, "T3: seat %llu has a name %u and a time to come",
                                  (unsigned long long)i, mproc__peek32(&s->name));
        }
    }
    int r = mproc_queue_check(tasks_of(tasks), why, size);
    return r == 0 ? mproc_queue_check(results_of(tasks), why, size) : r;
}

/* ---------------------------------------------------------------- from outside */

void mproc__taskq_count_failure(mproc_taskq *tasks, unsigned seat, uint64_t ticket) {
    struct mproc__seat *s = &tasks->seat[seat];
    uint64_t claim = (ticket + 1) & MPROC__SEAT_CLAIM;
    uint64_t failed = mproc__peek64(&s->failed);
    if ((failed & MPROC__SEAT_CLAIM) != claim) {
        uint64_t count = (failed >> MPROC__SEAT_CLAIM_BITS) + 1;
        mproc__poke64(&s->failed, count << MPROC__SEAT_CLAIM_BITS | claim);
    }
}

static size_t seats_in(const mproc_taskq *copy, size_t size) {
    size_t seats = (size - sizeof *copy) / sizeof *copy->seat;
    return copy->seats < seats ? (size_t)copy->seats : seats;
}

bool mproc__taskq_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_taskq *q = copy;
    if (size < sizeof *q) {
        return false;
    }
    size_t seats = seats_in(q, size);
    out->inside[0] = q->tasks;
    out->inside[1] = q->results;
    for (size_t i = 0; i < seats; i++) {
        out->failed += q->seat[i].failed >> MPROC__SEAT_CLAIM_BITS;
        out->total += q->seat[i].token != 0;
        out->done += q->seat[i].token != 0 && q->seat[i].claim != 0;
    }
    return true;
}

bool mproc__taskq_seat_facts(const void *copy, size_t size, size_t i,
                             struct mproc__seat_facts *seat) {
    const mproc_taskq *q = copy;
    *seat = (struct mproc__seat_facts){0};
    if (size < sizeof *q || i >= seats_in(q, size)) {
        return false;
    }
    const struct mproc__seat *s = &q->seat[i];
    seat->token = s->token;
    seat->ticket = s->claim - 1;
    seat->works = s->token != 0 && s->claim != 0;
    seat->name = s->name;
    if ((s->noted & MPROC__SEAT_CLAIM) == (s->claim & MPROC__SEAT_CLAIM)) {
        seat->since = (s->noted >> MPROC__SEAT_CLAIM_BITS) * (uint64_t)MPROC_MSEC;
    }
    return true;
}
