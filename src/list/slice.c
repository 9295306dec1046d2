/*
 * slice.c - several elements of a list are changed in one step
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A batch is made with the new elements and with room for those that go out. The
 * section looks whether the batch still suits the list, and makes it the list's plan (slots.c). So
 * the change is there when the section has been left, and it is carried out by whoever enters next,
 * which is the caller, unless it dies.
 *
 * A splice moves the elements of one side, the shorter one. What is not one piece (a slice with a
 * step, a new order) writes all slots anew.
 *
 * If a member dies here: as slots.c says.
 */
#include "list/slice.h"

#include "core/heap.h"
#include "core/parcel.h"

/* Enters once more: what is planned is done then, and what went out is destroyed. */
static void settle(mproc_list *list, struct mproc__hand *hand, bool fewer) {
    mproc__list_enter(list, hand);
    mproc__list_leave(list, hand);
    mproc__list_sweep(list, hand);
    if (fewer) {
        mproc__list_trim(list, hand);
    }
}

int mproc__list_expect(const mproc_list *list, const mproc_list_value *values, size_t n) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    for (size_t i = 0; i < n; i++) {
        if (!mproc__go_along(values[i].buffers, values[i].nbuffers)) {
            return MPROC_EOTHER;
        }
        if (values[i].n < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- one piece */

/* Where it is now: *at, and how many elements go out. Under the guard, or a guess. */
static int locate(const mproc_list *list, const struct mproc__list_where *where, uint64_t *at,
                  uint64_t *out) {
    uint64_t count = mproc__peek64(&list->body.count);
    if (where->one) {
        *out = 1;
        return mproc__list_index(where->start, count, at) ? 0 : -ERANGE;
    }
    struct mproc__list_range range = mproc__list_range(where->start, where->stop, 1, count);
    *at = range.start;
    *out = range.count;
    return 0;
}

/* In the section. -EAGAIN: slots are missing; -EBUSY: the batch does not suit. */
static int begin_splice(mproc_list *list, struct mproc__hand *hand,
                        const struct mproc__list_where *where) {
    struct mproc__list_batch *batch = mproc__list_batch_at(hand->message);
    uint64_t at, out;
    int r = locate(list, where, &at, &out);
    if (r != 0) {
        return r;
    }
    if (where->one && where->version != MPROC_LIST_ANY &&
        mproc__list_item(&list->body, at)->serial != where->version) {
        return -ESTALE;
    }
    if (out != batch->out) {
        return -EBUSY;
    }
    uint64_t more = batch->in > out ? batch->in - out : 0;
    bool front = at < list->body.count - at - out;
    if (!mproc__list_has_room(&list->body, front ? more : 0, front ? 0 : more)) {
        return -EAGAIN;
    }
    batch->kind = MPROC__LIST_SPLICE;
    batch->at = at;
    batch->front = front;
    mproc__list_begin(list);
    mproc__list_plan(list, hand);
    return 0;
}

/* The slots that the change would need if it came now. */
static int reserve(mproc_list *list, struct mproc__hand *hand,
                   const struct mproc__list_where *where, uint64_t in) {
    uint64_t at, out;
    int r = locate(list, where, &at, &out);
    uint64_t count = mproc__peek64(&list->body.count), more = in > out ? in - out : 0;
    bool front = at < count - at - out;
    return r != 0 || more == 0
               ? r
               : mproc__list_reserve(list, hand, front ? more : 0, front ? 0 : more);
}

static int splice_once(mproc_list *list, struct mproc__hand *hand,
                       const struct mproc__list_where *where, const mproc_list_value *values,
                       uint64_t n) {
    uint64_t at, out;
    int r = locate(list, where, &at, &out);
    if (r == 0) {
        r = reserve(list, hand, where, n);
    }
    if (r == 0) {
        r = mproc__list_make_batch(hand, values, n, out, 0);
    }
    if (r == 0) {
        mproc__list_enter(list, hand);
        r = begin_splice(list, hand, where);
        mproc__list_leave(list, hand);
        mproc__list_discard(hand);
    }
    if (r == 0) {
        settle(list, hand, out > n);
    }
    return r;
}

int mproc__list_splice(mproc_list *list, struct mproc__hand *hand, struct mproc__list_where where,
                       const mproc_list_value *values, uint64_t n) {
    int r;
    do {
        r = splice_once(list, hand, &where, values, n);
    } while (r == -EAGAIN || r == -EBUSY);
    return r;
}

int mproc_list_extend(mproc_list *list, const mproc_list_value *values, size_t n) {
    return mproc_list_assign(list, INT64_MAX, INT64_MAX, 1, values, n);
}

/* ---------------------------------------------------------------- all slots anew */

/* What the words of a batch become, in the section: `out` and `all`, of the slots as they are. */
struct anew {
    struct mproc__list_range range;
    const uint64_t *order; /* or NULL */
    bool takes_out;        /* the elements of the range, else new ones come in their place */
};

static void take_order(const mproc_list *list, const struct anew *anew, uint64_t *all) {
    for (uint64_t i = 0; i < list->body.count; i++) {
        uint64_t from = anew->order != NULL ? anew->order[i] : list->body.count - 1 - i;
        all[i] = *mproc__list_slot(&list->body, from);
    }
}

/* Is element i in the range? Then *which says the how many-th. */
static bool is_in(const struct mproc__list_range *range, uint64_t i, uint64_t *which) {
    bool down = range->step < 0;
    uint64_t stride = down ? -(uint64_t)range->step : (uint64_t)range->step;
    uint64_t distance = down ? range->start - i : i - range->start;
    *which = distance / stride;
    return (down ? i <= range->start : i >= range->start) && distance % stride == 0 &&
           *which < range->count;
}

static void take_range(const mproc_list *list, const struct anew *anew,
                       struct mproc__list_batch *batch) {
    uint64_t *out = batch->words + batch->in, *all = out + batch->out, n = 0;
    for (uint64_t i = 0; i < list->body.count; i++) {
        uint64_t which, word = *mproc__list_slot(&list->body, i);
        bool goes = is_in(&anew->range, i, &which);
        if (goes) {
            out[which] = word;
        }
        if (!(goes && anew->takes_out)) {
            all[n++] = goes ? batch->words[which] : word;
        }
    }
}

static void begin_anew(mproc_list *list, struct mproc__hand *hand, const struct anew *anew) {
    struct mproc__list_batch *batch = mproc__list_batch_at(hand->message);
    batch->kind = MPROC__LIST_REWRITE;
    if (batch->out != 0) {
        take_range(list, anew, batch);
    } else {
        take_order(list, anew, batch->words);
    }
    mproc__list_begin(list);
    mproc__list_plan(list, hand);
}

/* -ESTALE: the list is not the one that was looked at. */
static int change_anew(mproc_list *list, struct mproc__hand *hand, const struct anew *anew,
                       const mproc_list_value *values, uint64_t count, uint64_t version) {
    uint64_t out = anew->range.count, in = anew->takes_out ? 0 : out;
    int r = mproc__list_make_batch(hand, values, in, out, count - (out - in));
    if (r != 0) {
        return r;
    }
    mproc__list_enter(list, hand);
    if (list->body.count != count || (version != MPROC_LIST_ANY && list->version != version)) {
        r = -ESTALE;
    } else {
        begin_anew(list, hand, anew);
    }
    mproc__list_leave(list, hand);
    mproc__list_discard(hand);
    if (r == 0) {
        settle(list, hand, out > in);
    }
    return r;
}

/* ---------------------------------------------------------------- slices */

static int change_range(mproc_list *list, struct mproc__hand *hand, const int64_t bounds[3],
                        const mproc_list_value *values, uint64_t n, bool takes_out) {
    int r;
    do {
        uint64_t count = mproc__peek64(&list->body.count);
        struct anew anew = {mproc__list_range(bounds[0], bounds[1], bounds[2], count), NULL,
                            takes_out};
        if (!takes_out && anew.range.count != n) {
            return -ERANGE;
        }
        r = anew.range.count == 0 ? 0
                                  : change_anew(list, hand, &anew, values, count, MPROC_LIST_ANY);
    } while (r == -ESTALE);
    return r;
}

int mproc_list_assign(mproc_list *list, int64_t start, int64_t stop, int64_t step,
                      const mproc_list_value *values, size_t n) {
    int r = mproc__list_expect(list, values, n);
    if (r == 0 && step == 0) {
        r = -EINVAL;
    }
    if (r == 0) {
        struct mproc__hand *hand = mproc__hand_get();
        const struct mproc__list_where where = {.start = start, .stop = stop};
        r = step == 1 ? mproc__list_splice(list, hand, where, values, n)
                      : change_range(list, hand, (int64_t[]){start, stop, step}, values, n, false);
        mproc__hand_put(hand);
    }
    return r;
}

int mproc_list_cut(mproc_list *list, int64_t start, int64_t stop, int64_t step) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    if (step == 0) {
        return -EINVAL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    const struct mproc__list_where where = {.start = start, .stop = stop};
    int r = step == 1 ? mproc__list_splice(list, hand, where, NULL, 0)
                      : change_range(list, hand, (int64_t[]){start, stop, step}, NULL, 0, true);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- another order */

int mproc_list_reverse(mproc_list *list) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    const struct anew anew = {.range = {0, 1, 0}};
    int r;
    do {
        r = change_anew(list, hand, &anew, NULL, mproc__peek64(&list->body.count), MPROC_LIST_ANY);
    } while (r == -ESTALE);
    mproc__hand_put(hand);
    return r;
}

/* Is it each number below n once? 1, 0, -ENOMEM. */
static int is_order(struct mproc__hand *hand, const uint64_t *order, uint64_t n) {
    int r = mproc__heap_alloc(hand, n + 1, &hand->block);
    if (r != 0) {
        return -ENOMEM;
    }
    unsigned char *seen = (unsigned char *)(uintptr_t)hand->block;
    memset(seen, 0, n);
    r = 1;
    for (uint64_t i = 0; r == 1 && i < n; i++) {
        r = order[i] < n && !seen[order[i]];
        if (r == 1) {
            seen[order[i]] = 1;
        }
    }
    mproc__heap_free(hand, &hand->block);
    return r;
}

int mproc_list_arrange(mproc_list *list, const uint64_t *order, uint64_t n, uint64_t version) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    const struct anew anew = {.range = {0, 1, 0}, .order = order};
    int r = is_order(hand, order, n);
    if (r >= 0) {
        r = r == 0 ? -EINVAL : change_anew(list, hand, &anew, NULL, n, version);
    }
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- nothing left */

/* In the section. The batch in the hand gets all that the list has. */
static void hand_over(mproc_list *list, struct mproc__hand *hand) {
    struct mproc__list_body *from = &list->body;
    struct mproc__list_body *to = &mproc__list_batch_at(hand->message)->body;
    mproc__list_begin(list);
    mproc__list_put_word(list, &to->directory, from->directory);
    mproc__list_put_word(list, &to->chunks, from->chunks);
    mproc__list_put_word(list, &to->first, from->first);
    mproc__list_put_word(list, &to->count, from->count);
    mproc__list_put_word(list, &from->directory, 0);
    mproc__list_put_word(list, &from->chunks, 0);
    mproc__list_put_word(list, &from->first, 0);
    mproc__list_put_word(list, &from->count, 0);
    mproc__list_put_word(list, &list->taken, list->taken + 1);
    mproc__list_publish(list);
}

int mproc_list_clear(mproc_list *list) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = mproc__list_make_batch(hand, NULL, 0, 0, 0);
    if (r == 0) {
        mproc__list_enter(list, hand);
        hand_over(list, hand);
        mproc__list_leave(list, hand);
        mproc__list_discard(hand);
    }
    mproc__hand_put(hand);
    return r;
}
