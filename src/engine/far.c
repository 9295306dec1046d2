/*
 * far.c - the tasks of pools that are out on nodes
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The carrier sits in all seats of each pool of main's. It takes a task into a free
 * seat, sends it to the node that has the most room for its workers, and hands in what comes back
 * from there. It moves the task's record as a worker does (pool/start.c): to RUNNING before the
 * task is sent, to FINISHED before its result is handed in.
 *
 * A node knows a pool from the first task on that it gets of it. Of a pool's workers each node has
 * a share, by the number of workers that it said it had room for.
 *
 * If the carrier dies here: the seats say which tasks it had (pool/engine.c).
 *
 * What it does not do: begin a task anew. The owner does, if the task's options say so.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/inside.h"
#include "system/os.h"

enum seat_state { SEAT_FREE = 0, SEAT_OUT };

struct seat {
    enum seat_state state;
    unsigned node;
    uint32_t next;                 /* the next free one */
    uint32_t kind;                 /* enum mproc__message_kind */
    struct mproc__start *start;    /* of a task; NULL: it has none */
    struct mproc__map_shared *map; /* of a chunk */
    uint64_t first;                /* likewise: its first item */
};

struct share {
    unsigned workers; /* of this pool on this node */
    unsigned busy;    /* seats that are out there */
    bool told;        /* it knows the pool */
};

struct mproc__far {
    struct mproc__far *next;
    struct mproc__engine_order order;
    mproc_taskq *tasks;
    struct seat *seats;
    uint32_t free; /* the first free seat; order.seats: none */
    struct share *shares;
    int socket; /* for mproc__notify_owner() */
};

/* ---------------------------------------------------------------- pools */

static struct mproc__far *find(const struct mproc__far_pools *pools, uint32_t pool) {
    struct mproc__far *far = pools->first;
    while (far != NULL && far->order.pool != pool) {
        far = far->next;
    }
    return far;
}

/* By the largest remainder, so that the shares are the workers in all. */
static void share_workers(struct mproc__far *far, const struct mproc__nodes *nodes) {
    uint64_t all = mproc__nodes_workers(nodes), given = 0, seen = 0;
    for (unsigned i = 0; i < nodes->n; i++) {
        seen += nodes->all[i].workers;
        uint64_t until = all != 0 ? (far->order.workers * seen + all / 2) / all : 0;
        far->shares[i].workers = (unsigned)(until - given);
        given = until;
    }
}

static void free_far(struct mproc__far *far) {
    if (far != NULL) {
        free(far->seats);
        free(far->shares);
        free(far);
    }
}

static int join_seats(struct mproc__far *far) {
    int r = mproc_hold(far->order.place);
    for (uint32_t i = 0; r == 0 && i < far->order.seats; i++) {
        r = mproc_taskq_join(far->tasks, i);
        far->seats[i].next = i + 1;
    }
    return r;
}

int mproc__far_new(struct mproc__far_pools *pools, const struct mproc__engine_order *order) {
    struct mproc__far *far = calloc(1, sizeof *far);
    if (far == NULL) {
        return -ENOMEM;
    }
    far->order = *order;
    far->tasks = mproc__place_tasks(order->place);
    far->socket = -1;
    far->seats = calloc(order->seats, sizeof *far->seats);
    far->shares = calloc(pools->nodes->n, sizeof *far->shares);
    int r = far->seats != NULL && far->shares != NULL ? join_seats(far) : -ENOMEM;
    if (r != 0) {
        free_far(far);
        return r;
    }
    share_workers(far, pools->nodes);
    far->next = pools->first;
    pools->first = far;
    return 0;
}

/* ---------------------------------------------------------------- what comes back */

static void free_seat(struct mproc__far *far, uint32_t number) {
    struct seat *seat = &far->seats[number];
    far->shares[seat->node].busy--;
    seat->state = SEAT_FREE;
    seat->next = far->free;
    far->free = number;
}

/* Hands in what has become of the seat's task. A result that there is no room for is a failure. */
static void hand_in(struct mproc__far *far, uint32_t seat, const struct mproc__reply *reply,
                    const void *bytes, size_t size) {
    struct iovec pieces[2] = {{(void *)(uintptr_t)reply, sizeof *reply},
                              {(void *)(uintptr_t)bytes, size}};
    struct mproc__reply failed = {.pid = reply->pid};
    const struct mproc__load load = {pieces, size != 0 ? 2 : 1, NULL, 0};
    int r = mproc__taskq_finish(far->tasks, seat, &load);
    if (r != 0) {
        failed.code = r;
        pieces[0].iov_base = &failed;
        const struct mproc__load without = {pieces, 1, NULL, 0};
        (void)mproc__taskq_finish(far->tasks, seat, &without);
    }
    mproc__notify_owner(far->order.place, &far->socket);
}

/* The owner may have ended it meanwhile. */
static bool may_finish(const struct seat *seat) {
    return seat->start == NULL ||
           mproc__start_move(seat->start, MPROC__START_RUNNING, MPROC__START_FINISHED);
}

static void hand_in_failure(struct mproc__far *far, uint32_t number,
                            const struct mproc__wire_reply *from) {
    const struct seat *seat = &far->seats[number];
    bool ended = !may_finish(seat);
    struct mproc__reply reply = {ended ? -ECANCELED : from->code, from->pid};
    struct mproc__reply_detail detail = {.item = from->item,
                                         .ran = from->ran,
                                         .memory = from->memory,
                                         .exitcode = from->exitcode,
                                         .node = seat->node};
    hand_in(far, number, &reply, &detail, sizeof detail);
}

/* A chunk's items go where the map wants them. False: there are not as many as there should be. */
static bool write_items(const struct seat *seat, const void *bytes, size_t size) {
    const struct mproc__map_shared *map = seat->map;
    uint64_t n = mproc__map_chunk(map, seat->first) * map->out_size;
    if (size != n) {
        return false;
    }
    if (n != 0) {
        memcpy((char *)(uintptr_t)map->out + seat->first * map->out_size, bytes, n);
    }
    return true;
}

static void hand_in_result(struct mproc__far *far, uint32_t number,
                           const struct mproc__wire_reply *from, const void *bytes, size_t size) {
    const struct seat *seat = &far->seats[number];
    struct mproc__reply reply = {0, from->pid};
    struct mproc__wire_reply bad = *from;
    if (seat->kind == MPROC__MESSAGE_CHUNK) {
        bad.code = MPROC_EFRAME;
        bad.item = seat->first;
        if (!write_items(seat, bytes, size)) {
            hand_in_failure(far, number, &bad);
            return;
        }
        size = 0;
    } else if (!may_finish(seat)) {
        reply.code = -ECANCELED;
        size = 0;
    }
    hand_in(far, number, &reply, bytes, size);
}

void mproc__far_reply(struct mproc__far_pools *pools, unsigned node, const struct mproc__wire *head,
                      const void *bytes, size_t size) {
    struct mproc__far *far = find(pools, head->pool);
    struct mproc__wire_reply reply;
    if (far == NULL || head->seat >= far->order.seats || size < sizeof reply ||
        far->seats[head->seat].state != SEAT_OUT || far->seats[head->seat].node != node) {
        return; /* of a pool that has ended, or of a task that was given up */
    }
    memcpy(&reply, bytes, sizeof reply);
    if (reply.code == 0) {
        hand_in_result(far, head->seat, &reply, (const char *)bytes + sizeof reply,
                       size - sizeof reply);
    } else {
        hand_in_failure(far, head->seat, &reply);
    }
    free_seat(far, head->seat);
}

/* ---------------------------------------------------------------- what goes out */

static void copy_name(const struct mproc__function_ref *from, uint32_t *has,
                      struct mproc__function_ref *to) {
    *has = from != NULL;
    if (from != NULL) {
        *to = *from;
    }
}

static const struct mproc__function_ref *ref_at(uint64_t word) {
    const struct mproc__pool_function *function = (struct mproc__pool_function *)(uintptr_t)word;
    return function != NULL ? &function->ref : NULL;
}

static int tell_pool(struct mproc__far_pools *pools, struct mproc__far *far, unsigned node) {
    const mproc_workplace *place = far->order.place;
    struct mproc__wire head = {.kind = MPROC__WIRE_POOL, .pool = far->order.pool};
    struct mproc__wire_pool what = {.workers = far->shares[node].workers,
                                    .method = far->order.method,
                                    .max_tasks = place->max_tasks};
    copy_name(ref_at(place->init), &what.has_init, &what.init);
    copy_name(ref_at(place->exit), &what.has_exit, &what.exit);
    copy_name(ref_at(place->handler), &what.has_handler, &what.handler);
    memcpy(what.name, far->order.name, sizeof what.name);
    const struct iovec piece = {&what, sizeof what};
    int r = mproc__node_send(pools->nodes, node, &head, &piece, 1);
    far->shares[node].told = r == 0;
    return r;
}

/* The node whose workers of this pool have the most room; nodes->n: none has any. */
static unsigned choose_node(const struct mproc__far_pools *pools, const struct mproc__far *far) {
    const struct mproc__nodes *nodes = pools->nodes;
    unsigned best = nodes->n;
    double least = MPROC__ENGINE_AHEAD;
    for (unsigned i = 0; i < nodes->n; i++) {
        const struct share *share = &far->shares[i];
        double load = share->workers != 0 ? (double)share->busy / share->workers : least;
        if (!nodes->all[i].lost && load < least) {
            best = i;
            least = load;
        }
    }
    return best;
}

struct parcel {
    struct mproc__wire head;
    struct mproc__wire_task task;
    struct iovec bytes;
};

static void pack_call(struct parcel *out, const struct seat *seat,
                      const struct mproc__task_message *head, size_t size) {
    const struct mproc__function_ref *ref = ref_at(head->function);
    out->task.kind = ref != NULL ? MPROC__MESSAGE_CALL : MPROC__MESSAGE_BYTES;
    if (ref != NULL) {
        out->task.function = *ref;
    }
    if (seat->start != NULL) {
        out->task.timeout = (int64_t)seat->start->timeout;
        out->task.memory = seat->start->memory;
    }
    out->bytes = (struct iovec){(void *)(uintptr_t)(head + 1), size - sizeof *head};
}

static void pack_chunk(struct parcel *out, const struct seat *seat) {
    const struct mproc__map_shared *map = seat->map;
    out->task.kind = MPROC__MESSAGE_CHUNK;
    out->task.function = *ref_at(map->function);
    out->task.in_size = map->in_size;
    out->task.out_size = map->out_size;
    out->task.first = seat->first;
    out->task.n = mproc__map_chunk(map, seat->first);
    out->bytes = (struct iovec){(void *)(uintptr_t)(map->in + seat->first * map->in_size),
                                out->task.n * map->in_size};
}

static int send_task(struct mproc__far_pools *pools, struct mproc__far *far, uint32_t number,
                     const struct mproc__task_message *head, size_t size) {
    const struct seat *seat = &far->seats[number];
    struct parcel out = {
        .head = {.kind = MPROC__WIRE_TASK, .pool = far->order.pool, .seat = number}};
    if (seat->kind == MPROC__MESSAGE_CHUNK) {
        pack_chunk(&out, seat);
    } else {
        pack_call(&out, seat, head, size);
    }
    const struct iovec pieces[2] = {{&out.task, sizeof out.task}, out.bytes};
    int r = far->shares[seat->node].told ? 0 : tell_pool(pools, far, seat->node);
    return r == 0 ? mproc__node_send(pools->nodes, seat->node, &out.head, pieces, 2) : r;
}

/* A task that was taken back, or a chunk of a map that has failed, is not sent. */
static bool may_begin(const struct seat *seat) {
    if (seat->map != NULL) {
        return mproc__peek32(&seat->map->cancelled) == 0;
    }
    return seat->start == NULL ||
           mproc__start_move(seat->start, MPROC__START_PENDING, MPROC__START_RUNNING);
}

static void occupy(struct mproc__far *far, uint32_t number, unsigned node,
                   const struct mproc__task_message *head) {
    struct seat *seat = &far->seats[number];
    bool chunk = head->kind == MPROC__MESSAGE_CHUNK;
    void *subject = (void *)(uintptr_t)head->subject;
    far->free = seat->next;
    *seat = (struct seat){.state = SEAT_OUT,
                          .node = node,
                          .kind = head->kind,
                          .start = chunk ? NULL : subject,
                          .map = chunk ? subject : NULL,
                          .first = head->first};
    far->shares[node].busy++;
    if (seat->start != NULL) {
        seat->start->seat = number;
    }
}

static void dispatch(struct mproc__far_pools *pools, struct mproc__far *far, unsigned node,
                     const mproc_message *message) {
    const struct mproc__task_message *head = message->data;
    uint32_t number = far->free;
    occupy(far, number, node, head);
    if (!may_begin(&far->seats[number])) {
        const struct mproc__reply skipped = {.code = MPROC__POOL_SKIPPED};
        hand_in(far, number, &skipped, NULL, 0);
        free_seat(far, number);
        return;
    }
    int r = send_task(pools, far, number, head, message->size);
    if (r != 0 && r != -ENOMEM && node != 0) {
        mproc__far_lose(pools, node); /* with this seat; its transport knows before its silence */
    } else if (r != 0) {
        const struct mproc__wire_reply failed = {.code = r, .item = far->seats[number].first};
        hand_in_failure(far, number, &failed);
        free_seat(far, number);
    }
}

static bool feed_one(struct mproc__far_pools *pools, struct mproc__far *far) {
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
    mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
    uint64_t ticket;
    unsigned node = far->free < far->order.seats ? choose_node(pools, far) : pools->nodes->n;
    if (node == pools->nodes->n ||
        mproc_taskq_take(far->tasks, far->free, &message, &ticket, 0) != 0) {
        return false;
    }
    dispatch(pools, far, node, &message);
    mproc_message_drop(&message);
    return true;
}

bool mproc__far_feed(struct mproc__far_pools *pools) {
    bool fed = false;
    for (struct mproc__far *far = pools->first; far != NULL; far = far->next) {
        while (feed_one(pools, far)) {
            fed = true;
        }
    }
    return fed;
}

void mproc__far_kill(struct mproc__far_pools *pools, uint32_t pool, uint32_t seat) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_KILL, .pool = pool, .seat = seat};
    struct mproc__far *far = find(pools, pool);
    if (far != NULL && seat < far->order.seats && far->seats[seat].state == SEAT_OUT) {
        (void)mproc__node_send(pools->nodes, far->seats[seat].node, &head, NULL, 0);
    }
}

/* ---------------------------------------------------------------- ends */

static void lose_seats(struct mproc__far *far, unsigned node) {
    for (uint32_t i = 0; i < far->order.seats; i++) {
        const struct seat *seat = &far->seats[i];
        if (seat->state == SEAT_OUT && seat->node == node) {
            const struct mproc__wire_reply lost = {.code = MPROC_EDIED, .item = seat->first};
            hand_in_failure(far, i, &lost);
            free_seat(far, i);
        }
    }
}

void mproc__far_lose(struct mproc__far_pools *pools, unsigned node) {
    struct mproc__node *lost = &pools->nodes->all[node];
    if (lost->lost) {
        return;
    }
    lost->lost = true;
    pools->nodes->present--;
    for (struct mproc__far *far = pools->first; far != NULL; far = far->next) {
        lose_seats(far, node);
    }
}

static void give_up_seats(struct mproc__far *far) {
    for (uint32_t i = 0; i < far->order.seats; i++) {
        if (far->seats[i].state == SEAT_OUT) {
            const struct mproc__wire_reply given_up = {.code = -ECANCELED};
            hand_in_failure(far, i, &given_up);
            free_seat(far, i);
        }
    }
}

static void tell_end(struct mproc__far_pools *pools, const struct mproc__far *far) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_DROP, .pool = far->order.pool};
    for (unsigned i = 0; i < pools->nodes->n; i++) {
        if (far->shares[i].told) {
            (void)mproc__node_send(pools->nodes, i, &head, NULL, 0);
        }
    }
}

void mproc__far_drop(struct mproc__far_pools *pools, uint32_t pool) {
    struct mproc__far **link = &pools->first;
    while (*link != NULL && (*link)->order.pool != pool) {
        link = &(*link)->next;
    }
    struct mproc__far *far = *link;
    if (far == NULL) {
        return;
    }
    *link = far->next;
    tell_end(pools, far);
    give_up_seats(far);
    if (far->socket >= 0) {
        mproc__os_close(far->socket);
    }
    mproc__store32(&far->order.place->left, 1); /* SYNC(place.left): all of the above, before */
    (void)mproc__os_futex_wake(&far->order.place->left, INT32_MAX);
    mproc_drop(far->order.place);
    free_far(far);
}
