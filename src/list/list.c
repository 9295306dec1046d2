/*
 * list.c - elements in an order, for all members
 *
 * SPDX-License-Identifier: MIT
 *
 * The calls that concern one element, and the list as a whole. How the elements lie stands in
 * slots.c, how many of them are changed at once in slice.c. All calls enter the list's section,
 * reading ones too: what they do there is short. Only the number of elements is read without.
 *
 * An element that is neither the first nor the last is taken out, or put in, as a slice of one.
 *
 * What a list does not do: bound its size, outlive its family.
 */
#include <string.h>
#include <sys/uio.h>

#include "core/facts.h"
#include "core/heap.h"
#include "core/kinds.h"
#include "core/make.h"
#include "core/parcel.h"
#include "list/slice.h"

#define LOOKS 8 /* at the number of elements, before the section is entered for it */

static void set(mproc_list *list, uint64_t *word, uint64_t value) {
    mproc__list_put_word(list, word, value);
}

/* ---------------------------------------------------------------- life */

static int fill(struct mproc__hand *hand, void *object, const void *unused) {
    mproc_list *list = object;
    (void)hand, (void)unused;
    mproc__guard_init(&list->guard, list->log, MPROC__LIST_UNDO);
    return 0;
}

int mproc_list_new(mproc_list **out) {
    return mproc__object_build(out, MPROC__KIND_LIST, sizeof(mproc_list), fill, NULL);
}

void mproc__list_destroy(struct mproc__hand *hand, void *object) {
    mproc_list *list = object;
    if (list->guard.log == NULL) { /* its maker died before it was one */
        return;
    }
    mproc__list_enter(list, hand); /* what was planned is done */
    mproc__list_leave(list, hand);
    while (list->garbage != 0) {
        uint64_t next = mproc__list_batch_at(list->garbage)->next;
        mproc__list_enter(list, hand);
        set(list, &hand->message, list->garbage);
        set(list, &list->garbage, next);
        mproc__list_leave(list, hand);
        mproc__object_destroy(hand, &hand->message);
    }
    mproc__list_free_body(hand, &list->body);
}

/* ---------------------------------------------------------------- reading */

static void describe(mproc_message *message, void *data, size_t size, void *block) {
    message->data = data;
    message->size = size;
    message->block = block;
}

/* What a look at an element has found. */
struct look {
    size_t size;
    uint64_t serial;
    struct mproc__object *large; /* NULL: a small one */
    uint64_t taken;
};

/* A small value is copied to `room`. -ERANGE: there is no such element; -ENOBUFS: there are only
 * `most` bytes of room. */
static int read_element(mproc_list *list, struct mproc__hand *hand, int64_t i, void *room,
                        size_t most, struct look *out) {
    uint64_t at;
    int r = 0;
    mproc__list_enter(list, hand);
    if (!mproc__list_index(i, list->body.count, &at)) {
        r = -ERANGE;
    } else {
        const struct mproc__list_item *item = mproc__list_item(&list->body, at);
        *out = (struct look){mproc__list_item_size(item), item->serial, NULL, list->taken};
        if (mproc__list_item_large(item)) {
            out->large = (struct mproc__object *)(uintptr_t)*mproc__list_item_word(item);
        } else if (out->size > most) {
            r = -ENOBUFS;
        } else if (out->size != 0) {
            memcpy(room, item->bytes, out->size);
        }
    }
    mproc__list_leave(list, hand);
    return r;
}

/* A small value that does not fit into the room comes in a block of its own, made before. */
static int read_into_block(mproc_list *list, struct mproc__hand *hand, int64_t i,
                           mproc_message *message, struct look *out) {
    size_t most = out->size;
    int r = mproc__parcel_make(hand, NULL, 0, most);
    if (r == 0) {
        struct mproc__object *block = (struct mproc__object *)(uintptr_t)hand->unheld;
        void *room = mproc__parcel_payload(block);
        r = read_element(list, hand, i, room, most, out);
        if (r == 0 && out->large == NULL) {
            mproc__object_adopt(hand, &hand->unheld);
            describe(message, room, out->size, block);
        }
        mproc__object_destroy(hand, &hand->unheld);
    }
    return r;
}

int mproc__list_lend(const mproc_list *list, struct mproc__hand *hand, uint64_t taken,
                     struct mproc__object *large) {
    return mproc__hold_while(hand, large, &list->taken, taken);
}

static int fetch(mproc_list *list, struct mproc__hand *hand, int64_t i, mproc_message *message,
                 uint64_t *serial) {
    struct look look;
    int r;
    do {
        r = read_element(list, hand, i, message->room, message->room_size, &look);
        if (r == 0 && look.large == NULL) {
            describe(message, message->room, look.size, NULL);
        }
        if (r == -ENOBUFS) {
            r = read_into_block(list, hand, i, message, &look);
        }
        if (r == 0 && look.large != NULL) {
            r = mproc__list_lend(list, hand, look.taken, look.large);
            if (r == 0) {
                describe(message, mproc__parcel_payload(look.large), look.size, look.large);
            }
        }
    } while (r == -ENOBUFS || r == -ESTALE);
    if (r == 0) {
        *serial = look.serial;
    }
    return r;
}

int mproc_list_get(mproc_list *list, int64_t i, mproc_message *message, uint64_t *version) {
    uint64_t unwanted;
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = fetch(list, hand, i, message, version != NULL ? version : &unwanted);
    mproc__hand_put(hand);
    return r;
}

bool mproc__list_facts(const void *copy, size_t size, struct mproc__facts *out) {
    const mproc_list *list = copy;
    if (size < sizeof *list) {
        return false;
    }
    out->count = list->body.count;
    return true;
}

/* False: it is being changed, or a member died while it changed it. */
static bool count_at_once(const mproc_list *list, uint64_t *count) {
    uint64_t version = mproc__load64(&list->version); /* SYNC(list.version) */
    *count = mproc__peek64(&list->body.count);
    mproc__load_fence(); /* SYNC(list.version): what was read, before the last look. */
    return !(version & 1) && mproc__peek64(&list->version) == version;
}

static uint64_t count_inside(mproc_list *list) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__list_enter(list, hand);
    uint64_t count = list->body.count;
    mproc__list_leave(list, hand);
    mproc__hand_put(hand);
    return count;
}

uint64_t mproc_list_count(const mproc_list *list) {
    uint64_t count;
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return 0;
    }
    for (int i = 0; i < LOOKS; i++) {
        if (mproc__likely(count_at_once(list, &count))) {
            return count;
        }
        mproc__pause();
    }
    return count_inside((mproc_list *)(uintptr_t)list);
}

/* ---------------------------------------------------------------- setting */

/* In the section. The element in the hand takes the place of element i. */
static int exchange(mproc_list *list, struct mproc__hand *hand, int64_t i, uint64_t version) {
    uint64_t at;
    if (!mproc__list_index(i, list->body.count, &at)) {
        return -ERANGE;
    }
    uint64_t *slot = mproc__list_slot(&list->body, at), old = *slot;
    const struct mproc__list_item *item = mproc__list_item_at(old);
    if (version != MPROC_LIST_ANY && version != item->serial) {
        return -ESTALE;
    }
    mproc__list_begin(list);
    set(list, &list->serial, list->serial + 1);
    mproc__list_item_at(hand->block)->serial = list->serial;
    set(list, slot, hand->block);
    set(list, &hand->block, old);
    set(list, &hand->unheld, 0);
    if (mproc__list_item_large(item)) {
        set(list, &hand->message, *mproc__list_item_word(item));
        set(list, &list->taken, list->taken + 1);
    }
    mproc__list_publish(list);
    return 0;
}

int mproc_list_put(mproc_list *list, int64_t i, const mproc_list_value *value, uint64_t version) {
    int r = mproc__list_expect(list, value, 1);
    if (r != 0) {
        return r;
    }
    struct mproc__hand *hand = mproc__hand_get();
    r = mproc__list_make_item(hand, value);
    if (r == 0) {
        mproc__list_enter(list, hand);
        r = exchange(list, hand, i, version);
        mproc__list_leave(list, hand);
    }
    mproc__list_discard(hand);
    mproc__hand_put(hand);
    return r;
}

int mproc_list_set(mproc_list *list, int64_t i, const void *lent, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)lent, size};
    return mproc_list_put(list, i, &(mproc_list_value){.pieces = &piece, .n = 1}, MPROC_LIST_ANY);
}

static int swap(mproc_list *list, int64_t i, int64_t j) {
    uint64_t a, b;
    if (!mproc__list_index(i, list->body.count, &a) ||
        !mproc__list_index(j, list->body.count, &b)) {
        return -ERANGE;
    }
    uint64_t *one = mproc__list_slot(&list->body, a), *other = mproc__list_slot(&list->body, b);
    uint64_t word = *one;
    mproc__list_begin(list);
    set(list, one, *other);
    set(list, other, word);
    mproc__list_publish(list);
    return 0;
}

int mproc_list_swap(mproc_list *list, int64_t i, int64_t j) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__list_enter(list, hand);
    int r = swap(list, i, j);
    mproc__list_leave(list, hand);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- putting in */

/* In the section. -EAGAIN: there is no slot; -EBUSY: that index is not at an end. */
static int try_add(mproc_list *list, struct mproc__hand *hand, int64_t i) {
    struct mproc__list_body *body = &list->body;
    bool back = i >= 0 && (uint64_t)i >= body->count;
    bool front = !back && (i == 0 || (i < 0 && 0 - (uint64_t)i >= body->count));
    if (!front && !back) {
        return -EBUSY;
    }
    if (!mproc__list_has_slot(body, front)) {
        return -EAGAIN;
    }
    *mproc__list_slot(body, front ? UINT64_MAX : body->count) = hand->block; /* nobody's yet */
    mproc__list_begin(list);
    set(list, &list->serial, list->serial + 1);
    mproc__list_item_at(hand->block)->serial = list->serial;
    if (front) {
        uint64_t slots = body->chunks * MPROC__LIST_CHUNK;
        set(list, &body->first, (body->first - 1) & (slots - 1));
    }
    set(list, &body->count, body->count + 1);
    set(list, &hand->block, 0);
    set(list, &hand->unheld, 0);
    mproc__list_publish(list);
    return 0;
}

static int add_at_end(mproc_list *list, struct mproc__hand *hand, int64_t i,
                      const mproc_list_value *value) {
    int r;
    do {
        r = mproc__list_make_item(hand, value);
        if (r != 0) {
            return r;
        }
        mproc__list_enter(list, hand);
        r = try_add(list, hand, i);
        mproc__list_leave(list, hand);
        mproc__list_discard(hand);
        if (r == -EAGAIN) {
            int e = mproc__list_reserve(list, hand, i <= 0, i > 0 || list->body.count == 0);
            r = e != 0 ? e : r;
        }
    } while (r == -EAGAIN);
    return r;
}

int mproc_list_insert_value(mproc_list *list, int64_t i, const mproc_list_value *value) {
    int r = mproc__list_expect(list, value, 1);
    if (r == 0) {
        struct mproc__hand *hand = mproc__hand_get();
        r = add_at_end(list, hand, i, value);
        if (r == -EBUSY) {
            r = mproc__list_splice(list, hand, (struct mproc__list_where){.start = i, .stop = i},
                                   value, 1);
        }
        mproc__hand_put(hand);
    }
    return r;
}

int mproc_list_insert(mproc_list *list, int64_t i, const void *lent, size_t size) {
    struct iovec piece = {(void *)(uintptr_t)lent, size};
    return mproc_list_insert_value(list, i, &(mproc_list_value){.pieces = &piece, .n = 1});
}

int mproc_list_append(mproc_list *list, const void *lent, size_t size) {
    return mproc_list_insert(list, INT64_MAX, lent, size);
}

/* ---------------------------------------------------------------- taking out */

/* In the section. -EBUSY: it is not at an end. */
static int try_remove(mproc_list *list, struct mproc__hand *hand, int64_t i, uint64_t version,
                      bool *emptied) {
    struct mproc__list_body *body = &list->body;
    uint64_t at;
    if (!mproc__list_index(i, body->count, &at)) {
        return -ERANGE;
    }
    uint64_t word = *mproc__list_slot(body, at);
    const struct mproc__list_item *item = mproc__list_item_at(word);
    if (version != MPROC_LIST_ANY && version != item->serial) {
        return -ESTALE;
    }
    bool back = at == body->count - 1;
    if (at != 0 && !back) {
        return -EBUSY;
    }
    mproc__list_begin(list);
    set(list, &hand->block, word);
    if (mproc__list_item_large(item)) {
        set(list, &hand->message, *mproc__list_item_word(item));
        set(list, &list->taken, list->taken + 1);
    }
    if (!back) {
        uint64_t slots = body->chunks * MPROC__LIST_CHUNK;
        set(list, &body->first, (body->first + 1) & (slots - 1));
    }
    set(list, &body->count, body->count - 1);
    *emptied = mproc__list_at_border(body, !back);
    mproc__list_publish(list);
    return 0;
}

static int remove_element(mproc_list *list, struct mproc__hand *hand, int64_t i, uint64_t version) {
    bool emptied = false;
    mproc__list_enter(list, hand);
    int r = try_remove(list, hand, i, version, &emptied);
    mproc__list_leave(list, hand);
    mproc__list_discard(hand);
    if (emptied) {
        mproc__list_trim(list, hand);
    }
    if (r == -EBUSY) {
        const struct mproc__list_where where = {.start = i, .one = true, .version = version};
        r = mproc__list_splice(list, hand, where, NULL, 0);
    }
    return r;
}

int mproc_list_delete(mproc_list *list, int64_t i, uint64_t version) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r = remove_element(list, hand, i, version);
    mproc__hand_put(hand);
    return r;
}

/* Read, and taken out if it is still the same one. */
static int pop_once(mproc_list *list, struct mproc__hand *hand, int64_t i, mproc_message *message) {
    mproc_message got = MPROC_MESSAGE_INIT(message->room, message->room_size);
    uint64_t serial;
    int r = fetch(list, hand, i, &got, &serial);
    if (r != 0) {
        return r;
    }
    r = remove_element(list, hand, i, serial);
    if (r == 0) {
        *message = got;
    } else {
        mproc_message_drop(&got);
    }
    return r == -ERANGE ? -ESTALE : r; /* it is shorter now: is there another one? */
}

int mproc_list_pop(mproc_list *list, int64_t i, mproc_message *message) {
    if (!mproc__expect(list, MPROC__KIND_LIST)) {
        return MPROC_EOTHER;
    }
    struct mproc__hand *hand = mproc__hand_get();
    int r;
    do {
        r = pop_once(list, hand, i, message);
    } while (r == -ESTALE);
    mproc__hand_put(hand);
    return r;
}
