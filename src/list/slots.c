/*
 * slots.c - the list's insides: a ring of chunks, and changes of many slots
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. An element is a block that does not change; a slot leads to it. Slots lie in chunks
 * of 128, and a directory names the chunks. The slots of all places of the directory form a ring,
 * and the elements are in successive slots of that. So both ends are near, an index is found in one
 * step, and to grow means a new chunk, or at times a directory of twice the size, which has a word
 * for 128 elements.
 *
 * A change of one slot, or at an end, is a section that saves the words which it changes. A change
 * of many slots is more than an undo record has room for. It is not undone but carried out: a batch
 * says what is to be done, its section only commits the batch to the list as the list's plan, and
 * whoever enters the list next carries the plan out before anything else. Each of its steps can be
 * done again after a death, with the same result.
 *
 * Shared state, all under the guard.
 *   version    Even: the list is whole. Odd: it is being changed, or there is a plan, or a member
 *              died while it changed it. Goes up only. Its store at a change's end publishes it.
 *   taken      Goes up when an element with a large value goes out (dict/table.c says what for).
 *   serial     The last serial that an element got.
 *   body       The directory, its chunks, and which slots are in use. Others read `count` without
 *              the guard, between two looks at the version.
 *   plan       A batch that is to be carried out.
 *   garbage    Batches that were carried out, with what they have taken out of the list.
 *
 * Invariants.
 *   E1  chunks is 0, or a power of two, and the directory a block of so many words.
 *   E2  The elements fit into the ring, and do not begin and end in the same chunk from both sides:
 *       first % 128 + count <= chunks * 128. Each of their slots has a chunk.
 *   E3  An element is a block with a size that fits in, and a serial, which no other element has,
 *       and which is at most `serial`.
 *   E4  A large value is a message object with the list's hold, a plain one or a parcel.
 *   E5  Between sections a plan is there only if the version is odd.
 *
 * If a member dies here: a section is undone, unless its version was published. A plan that was
 * committed is carried out by the next one to enter. An odd version without a plan is that of a
 * change which was put back, and the next one to enter raises it. New elements are in the hand, by
 * `block` and `unheld`, or, in a batch, by `message`, until the list has them; what went out is in
 * the hand, or in the garbage. A chunk that was added and is not used yet is given back by a later
 * change.
 */
#include <string.h>

#include "core/heap.h"
#include "core/kinds.h"
#include "core/parcel.h"
#include "list/inside.h"
#include "system/pieces.h"

static void set(mproc_list *list, uint64_t *word, uint64_t value) {
    mproc__list_put_word(list, word, value);
}

/* ---------------------------------------------------------------- items */

/* Makes the object of a large value, in hand->unheld. */
static int make_large(struct mproc__hand *hand, const mproc_list_value *value, size_t size) {
    if (!mproc__heap_can_have(size + mproc__parcel_head(value->nbuffers))) {
        return MPROC_ETOOBIG;
    }
    int r = mproc__parcel_make(hand, value->buffers, value->nbuffers, size);
    if (r == 0) {
        mproc__object_keep((struct mproc__object *)(uintptr_t)hand->unheld);
    }
    return r;
}

int mproc__list_make_item(struct mproc__hand *hand, const mproc_list_value *value) {
    size_t size = mproc__pieces_size(value->pieces, value->n);
    bool large = size > MPROC_MESSAGE_INLINE || value->nbuffers != 0;
    if (size > SIZE_MAX / 2) {
        return MPROC_ETOOBIG;
    }
    int r = large ? make_large(hand, value, size) : 0;
    if (r == 0) {
        size_t room = large ? sizeof(uint64_t) : size;
        r = mproc__heap_alloc(hand, sizeof(struct mproc__list_item) + room, &hand->block);
    }
    if (r != 0) {
        mproc__list_discard(hand);
        return r;
    }
    struct mproc__list_item *item = mproc__list_item_at(hand->block);
    item->size = size << 1 | large;
    item->serial = 0;
    if (large) {
        memcpy(item->bytes, &hand->unheld, sizeof hand->unheld);
    }
    mproc__pieces_copy(large
                           ? mproc__parcel_payload((struct mproc__object *)(uintptr_t)hand->unheld)
                           : item->bytes,
                       value->pieces, value->n);
    return 0;
}

void mproc__list_discard(struct mproc__hand *hand) {
    mproc__heap_free(hand, &hand->block);
    mproc__object_destroy(hand, &hand->unheld);
    if (mproc__unlikely(hand->message != 0)) {
        mproc__object_release(hand, &hand->message);
    }
}

void mproc__list_free_item(struct mproc__hand *hand, uint64_t *word) {
    if (*word == 0) {
        return;
    }
    const struct mproc__list_item *item = mproc__list_item_at(*word);
    if (mproc__list_item_large(item)) {
        mproc__object_release(hand, mproc__list_item_word(item));
    }
    mproc__heap_free(hand, word);
}

/* ---------------------------------------------------------------- batches */

/* The element in the hand becomes a word of the batch's. Between the two moves the element is the
 * batch's and does not name its object. */
static void hand_over(struct mproc__hand *hand, uint64_t *word) {
    uint64_t *object = mproc__list_item_word(mproc__list_item_at(hand->block));
    bool large = mproc__list_item_large(mproc__list_item_at(hand->block));
    if (large) {
        *object = 0;
        mproc__program_order();
    }
    mproc__hand_move(hand, &hand->block, word);
    if (large) {
        mproc__hand_move(hand, &hand->unheld, object);
    }
}

int mproc__list_make_batch(struct mproc__hand *hand, const mproc_list_value *values, uint64_t in,
                           uint64_t out, uint64_t all) {
    uint64_t words = in + out + all;
    size_t size = sizeof(struct mproc__list_batch) + words * sizeof(uint64_t);
    if (words > SIZE_MAX / 32 || !mproc__heap_can_have(size)) {
        return -ENOMEM;
    }
    int r = mproc__object_alloc(hand, MPROC__KIND_BATCH, size);
    if (r != 0) {
        return r;
    }
    struct mproc__list_batch *batch = mproc__list_batch_at(hand->unheld);
    batch->in = in;
    batch->out = out;
    batch->all = all;
    batch->owned_end = in;
    mproc__hand_move(hand, &hand->unheld, &hand->message);
    for (uint64_t i = 0; i < in; i++) {
        r = mproc__list_make_item(hand, &values[i]); /* after an error the batch is gone */
        if (r != 0) {
            return r;
        }
        hand_over(hand, &batch->words[i]);
    }
    return 0;
}

void mproc__list_batch_destroy(struct mproc__hand *hand, void *object) {
    struct mproc__list_batch *batch = object;
    for (uint64_t i = batch->owned; i < batch->owned_end; i++) {
        mproc__list_free_item(hand, &batch->words[i]);
    }
    mproc__list_free_body(hand, &batch->body);
}

void mproc__list_free_body(struct mproc__hand *hand, struct mproc__list_body *body) {
    uint64_t *directory = (uint64_t *)(uintptr_t)body->directory;
    for (; directory != NULL && body->count > 0; body->count--) {
        mproc__list_free_item(hand, mproc__list_slot(body, body->count - 1));
    }
    for (uint64_t i = 0; directory != NULL && i < body->chunks; i++) {
        mproc__heap_free(hand, &directory[i]);
    }
    mproc__heap_free(hand, &body->directory);
}

/* ---------------------------------------------------------------- carrying a plan out */

/* Move number m of a splice: `delta` slots further, from the end that no move has passed yet. */
static void move_one(const struct mproc__list_body *body, const struct mproc__list_batch *plan,
                     uint64_t delta, uint64_t m) {
    uint64_t behind = plan->at + plan->out, count = body->count;
    bool grows = plan->in > plan->out;
    uint64_t from;
    if (plan->front) {
        from = grows ? m : plan->at - 1 - m;
        *mproc__list_slot(body, from - delta) = *mproc__list_slot(body, from);
    } else {
        from = grows ? count - 1 - m : behind + m;
        *mproc__list_slot(body, from + delta) = *mproc__list_slot(body, from);
    }
}

static void splice(const mproc_list *list, struct mproc__list_batch *plan) {
    const struct mproc__list_body *body = &list->body;
    uint64_t delta = plan->in - plan->out; /* may be less than 0 */
    uint64_t moves = plan->front ? plan->at : body->count - plan->at - plan->out;
    if (!plan->staged) {
        for (uint64_t i = 0; i < plan->out; i++) {
            plan->words[plan->in + i] = *mproc__list_slot(body, plan->at + i);
        }
        mproc__program_order();
        mproc__poke64(&plan->staged, 1);
        mproc__program_order();
    }
    while (delta != 0 && plan->moved < moves) {
        move_one(body, plan, delta, plan->moved);
        mproc__program_order();
        mproc__poke64(&plan->moved, plan->moved + 1);
        mproc__program_order();
    }
    uint64_t at = plan->front ? plan->at - delta : plan->at;
    for (uint64_t i = 0; i < plan->in; i++) {
        *mproc__list_slot(body, at + i) = plan->words[i];
    }
}

static void rewrite(const mproc_list *list, const struct mproc__list_batch *plan) {
    const uint64_t *all = plan->words + plan->in + plan->out;
    for (uint64_t i = 0; i < plan->all; i++) {
        *mproc__list_slot(&list->body, i) = all[i];
    }
}

/* The elements are in their slots: from now on the list has them, and the batch what went out. */
static void finish(mproc_list *list, struct mproc__list_batch *plan) {
    struct mproc__list_body *body = &list->body;
    uint64_t delta = plan->in - plan->out;
    if (plan->kind == MPROC__LIST_SPLICE) {
        set(list, &body->count, body->count + delta);
        if (plan->front) {
            uint64_t slots = body->chunks * MPROC__LIST_CHUNK;
            set(list, &body->first, (body->first - delta) & (slots - 1));
        }
    } else {
        set(list, &body->count, plan->all);
    }
    set(list, &plan->owned, plan->in);
    set(list, &plan->owned_end, plan->in + plan->out);
    set(list, &plan->next, list->garbage);
    set(list, &list->garbage, list->plan);
    set(list, &list->plan, 0);
    if (plan->out != 0) {
        set(list, &list->taken, list->taken + 1);
    }
    mproc__list_publish(list);
}

static void carry_out(mproc_list *list) {
    struct mproc__list_batch *plan = mproc__list_batch_at(list->plan);
    if (plan->kind == MPROC__LIST_SPLICE) {
        splice(list, plan);
    } else {
        rewrite(list, plan);
    }
    mproc__program_order();
    finish(list, plan);
}

void mproc__list_plan(mproc_list *list, struct mproc__hand *hand) {
    struct mproc__list_batch *plan = mproc__list_batch_at(hand->message);
    for (uint64_t i = 0; i < plan->in; i++) {
        mproc__list_item_at(plan->words[i])->serial = list->serial + 1 + i;
    }
    set(list, &list->serial, list->serial + plan->in);
    set(list, &list->plan, hand->message);
    set(list, &hand->message, 0);
}

/* ---------------------------------------------------------------- sections */

void mproc__list_enter(mproc_list *list, struct mproc__hand *hand) {
    mproc__guard_enter(&list->guard, hand);
    while (mproc__unlikely(list->version & 1)) {
        if (list->plan == 0) {
            /* SYNC(list.version): what was put back, before readers look again. */
            mproc__store64(&list->version, list->version + 1);
        } else {
            carry_out(list);
            mproc__guard_leave(&list->guard, hand); /* a section publishes once */
            mproc__guard_enter(&list->guard, hand);
        }
    }
}

void mproc__list_leave(mproc_list *list, struct mproc__hand *hand) {
    mproc__guard_leave(&list->guard, hand);
}

void mproc__list_begin(mproc_list *list) {
    mproc__poke64(&list->version, list->version + 1);
    mproc__store_fence(); /* SYNC(list.version): that it changes, before it does. */
    mproc__program_order();
}

void mproc__list_publish(mproc_list *list) {
    /* SYNC(list.version): the change, before the version that says that it is whole. */
    mproc__guard_publish(&list->guard, &list->version, list->version + 1);
}

/* ---------------------------------------------------------------- room */

/* Slots of the ring from the beginning of the first one's chunk to the last one's end. */
static uint64_t span(uint64_t first, uint64_t count) {
    return first % MPROC__LIST_CHUNK + count;
}

/* Slots that a ring needs to have. */
static uint64_t span_with(const struct mproc__list_body *body, uint64_t front, uint64_t back) {
    return span(body->first - front, front + body->count + back);
}

/* The place in the directory that is k places behind that of element 0. */
static uint64_t *place(const struct mproc__list_body *body, uint64_t k) {
    uint64_t *directory = (uint64_t *)(uintptr_t)body->directory;
    return &directory[(body->first / MPROC__LIST_CHUNK + k) & (body->chunks - 1)];
}

/* Places of the directory that so many slots take. */
static uint64_t places(uint64_t slots) {
    return (slots + MPROC__LIST_CHUNK - 1) / MPROC__LIST_CHUNK;
}

/* The first place without a chunk, from the `done` first ones on, of those that will be in use.
 * NULL: none. `done` is moved on. */
static uint64_t *missing(const struct mproc__list_body *body, uint64_t front, uint64_t back,
                         uint64_t *done) {
    uint64_t n = places(span_with(body, front, back)), own = body->first % MPROC__LIST_CHUNK;
    uint64_t before = front > own ? places(front - own) : 0;
    for (; *done < n; ++*done) {
        uint64_t *at = place(body, *done - before);
        if (*at == 0) {
            return at;
        }
    }
    return NULL;
}

bool mproc__list_has_room(const struct mproc__list_body *body, uint64_t front, uint64_t back) {
    uint64_t done = 0;
    return span_with(body, front, back) <= body->chunks * MPROC__LIST_CHUNK &&
           missing(body, front, back, &done) == NULL;
}

bool mproc__list_has_slot(const struct mproc__list_body *body, bool front) {
    uint64_t slot = body->first + (front ? UINT64_MAX : body->count);
    return span_with(body, front, !front) <= body->chunks * MPROC__LIST_CHUNK &&
           *place(body, slot / MPROC__LIST_CHUNK - body->first / MPROC__LIST_CHUNK) != 0;
}

/* Inside a section: the directory in the hand takes the place of the list's. All its places that
 * are left out have no chunk. */
static void change_directory(mproc_list *list, struct mproc__hand *hand, uint64_t n) {
    struct mproc__list_body *body = &list->body;
    uint64_t *directory = (uint64_t *)(uintptr_t)hand->block, old = body->directory;
    memset(directory, 0, n * sizeof *directory);
    for (uint64_t k = 0; k < n && k < body->chunks; k++) {
        directory[k] = *place(body, k);
    }
    mproc__list_begin(list);
    set(list, &body->directory, hand->block);
    set(list, &body->chunks, n);
    set(list, &body->first, body->first % MPROC__LIST_CHUNK);
    set(list, &hand->block, old);
    mproc__list_publish(list);
}

/* Chunks that a directory has if it is to have room for so many slots. */
static uint64_t directory_for(uint64_t slots) {
    uint64_t n = MPROC__LIST_FIRST;
    while (n * MPROC__LIST_CHUNK < slots) {
        n *= 2;
    }
    return n;
}

/* What is missing, found and put in under the guard, and made in between. */
struct lack {
    uint64_t front, back;
    uint64_t done; /* places that are known to have chunks */
    uint64_t size; /* of the block that is needed next; 0: none is */
};

static void look(const mproc_list *list, struct lack *lack) {
    const struct mproc__list_body *body = &list->body;
    uint64_t slots = span_with(body, lack->front, lack->back);
    lack->size = 0;
    if (slots > body->chunks * MPROC__LIST_CHUNK) {
        lack->size = directory_for(slots) * sizeof(uint64_t);
    } else if (missing(body, lack->front, lack->back, &lack->done) != NULL) {
        lack->size = MPROC__LIST_CHUNK * sizeof(uint64_t);
    }
}

/* Puts the block in the hand where it is needed, if that has not changed meanwhile. */
static void fill_in(mproc_list *list, struct mproc__hand *hand, struct lack *lack) {
    struct mproc__list_body *body = &list->body;
    uint64_t size = lack->size, slots = span_with(body, lack->front, lack->back);
    look(list, lack);
    if (lack->size != size) {
        return;
    }
    if (slots > body->chunks * MPROC__LIST_CHUNK) {
        change_directory(list, hand, size / sizeof(uint64_t));
    } else {
        set(list, missing(body, lack->front, lack->back, &lack->done), hand->block);
        set(list, &hand->block, 0);
    }
}

int mproc__list_reserve(mproc_list *list, struct mproc__hand *hand, uint64_t front, uint64_t back) {
    struct lack lack = {front, back, 0, 0};
    if (front > UINT64_MAX / 64 || back > UINT64_MAX / 64) {
        return -ENOMEM;
    }
    for (;;) {
        mproc__list_enter(list, hand);
        look(list, &lack);
        mproc__list_leave(list, hand);
        if (lack.size == 0) {
            return 0;
        }
        int r = mproc__heap_alloc(hand, lack.size, &hand->block);
        if (r != 0) {
            return -ENOMEM;
        }
        mproc__list_enter(list, hand);
        fill_in(list, hand, &lack);
        mproc__list_leave(list, hand);
        mproc__heap_free(hand, &hand->block);
    }
}

/* ---------------------------------------------------------------- giving back */

/* A chunk that no element is in, from the k-th place behind the elements on; NULL: none. */
static uint64_t *idle(const struct mproc__list_body *body, uint64_t k, uint64_t end) {
    for (k += places(span(body->first, body->count)); k < end; k++) {
        if (*place(body, k) != 0) {
            return place(body, k);
        }
    }
    return NULL;
}

/* Could the directory be half as large, and more than that? */
static bool is_sparse(const struct mproc__list_body *body) {
    return body->chunks > MPROC__LIST_FIRST &&
           places(span(body->first, body->count)) <= body->chunks / 8;
}

/* Takes the idle chunk into the hand. */
static bool take_idle(mproc_list *list, struct mproc__hand *hand, uint64_t spare) {
    struct mproc__list_body *body = &list->body;
    uint64_t *at = body->chunks > spare ? idle(body, spare, body->chunks - spare) : NULL;
    if (at != NULL) {
        mproc__list_begin(list);
        set(list, &hand->block, *at);
        set(list, at, 0);
        mproc__list_publish(list);
    }
    return at != NULL;
}

static void halve(mproc_list *list, struct mproc__hand *hand) {
    uint64_t n = mproc__peek64(&list->body.chunks) / 2;
    if (mproc__heap_alloc(hand, n * sizeof(uint64_t), &hand->block) != 0) {
        return;
    }
    mproc__list_enter(list, hand);
    if (is_sparse(&list->body) && list->body.chunks / 2 == n &&
        idle(&list->body, 0, list->body.chunks) == NULL) {
        change_directory(list, hand, n);
    }
    mproc__list_leave(list, hand);
    mproc__heap_free(hand, &hand->block);
}

/* One chunk at each end stays, so that an element more or less is not always a chunk more or less;
 * none does where the directory is too large, too. */
static bool trim_one(mproc_list *list, struct mproc__hand *hand) {
    mproc__list_enter(list, hand);
    bool sparse = is_sparse(&list->body);
    bool more = take_idle(list, hand, sparse ? 0 : 1);
    mproc__list_leave(list, hand);
    mproc__heap_free(hand, &hand->block);
    if (sparse && !more) {
        uint64_t before = mproc__peek64(&list->body.chunks);
        halve(list, hand);
        more = mproc__peek64(&list->body.chunks) < before;
    }
    return more;
}

void mproc__list_trim(mproc_list *list, struct mproc__hand *hand) {
    while (trim_one(list, hand)) {
    }
}

bool mproc__list_at_border(const struct mproc__list_body *body, bool front) {
    return (front ? body->first : span(body->first, body->count)) % MPROC__LIST_CHUNK == 0;
}

void mproc__list_sweep(mproc_list *list, struct mproc__hand *hand) {
    while (mproc__unlikely(mproc__peek64(&list->garbage) != 0)) {
        mproc__list_enter(list, hand);
        if (list->garbage != 0) {
            set(list, &hand->message, list->garbage);
            set(list, &list->garbage, mproc__list_batch_at(list->garbage)->next);
        }
        mproc__list_leave(list, hand);
        mproc__list_discard(hand);
    }
}

/* ---------------------------------------------------------------- slices */

/* A bound of a slice as the index that it is, from -1 (or 0) to n (or n - 1). */
static int64_t bound(int64_t i, int64_t n, int64_t low, int64_t high) {
    i = i < 0 ? (i < -n ? low - 1 : i + n) : i;
    return i < low ? low : i > high ? high : i;
}

struct mproc__list_range mproc__list_range(int64_t start, int64_t stop, int64_t step, uint64_t n) {
    bool down = step < 0;
    int64_t last = (int64_t)n, low = down ? -1 : 0, high = down ? last - 1 : last;
    int64_t from = bound(start, last, low, high), to = bound(stop, last, low, high);
    struct mproc__list_range range = {(uint64_t)from, step, 0};
    if (down && to < from) {
        range.count = (uint64_t)(from - to - 1) / (0 - (uint64_t)step) + 1;
    } else if (step > 0 && from < to) {
        range.count = (uint64_t)(to - from - 1) / (uint64_t)step + 1;
    }
    return range;
}
