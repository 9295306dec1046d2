/*
 * object.c - shared objects with holds: which members keep what alive
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. An object is a block of the arena that starts with struct mproc__object. Every
 * member that uses it has one record with the count of its holds; records hang in a list of the
 * object and in a list of the member. With the last record the object goes. So the death of a
 * member gives back exactly what it held, and no count can be lost: the records are the count.
 *
 * Shared state: object->holds, all records and slot->holds, under the registry's guard.
 *
 * Invariants.
 *   O1  A record in use (object != 0) is in its object's list and in its member's, once each.
 *   O2  An object has at most one record per member; count >= 1.
 *   O3  An object without records is named by one word, a hand's `unheld` or `message`, or a
 *       queue's.
 *   O4  prev_of_member and next_of_member agree.
 *   O5  A record in an object's list names that object. It is a member's, or a message's.
 *
 * A message that takes buffers along has a record for each in itself (parcel.c): in the buffer's
 * list, in no member's. So is the record of a container that keeps an object: it is the object's
 * own first one.
 *
 * If a member dies here: the guard puts the lists back or leaves them done; an object that lost its
 * last record went into `unheld` in the same section, and the reaper goes on destroying it.
 *
 * The records of an object are searched one after the other: there are as many as members that use
 * it.
 */
#include "core/object.h"

#include <string.h>

#include "core/hand.h"
#include "core/heap.h"
#include "core/label.h"
#include "core/token.h"

static struct mproc__registry *registry;

static void set(uint64_t *word, uint64_t value) {
    mproc__guard_set(&registry->guard, word, value);
}

static void enter(struct mproc__hand *hand) {
    mproc__guard_enter(&registry->guard, hand);
}

static void leave(struct mproc__hand *hand) {
    mproc__guard_leave(&registry->guard, hand);
}

static uint64_t word_of(const void *pointer) {
    return (uint64_t)(uintptr_t)pointer;
}

static struct mproc__hold *hold_at(uint64_t word) {
    return (struct mproc__hold *)(uintptr_t)word;
}

static struct mproc__object *object_at(uint64_t word) {
    return (struct mproc__object *)(uintptr_t)word;
}

void mproc__registry_init(struct mproc__registry *all) {
    mproc__guard_init(&all->guard, all->log, MPROC__REGISTRY_UNDO);
}

void mproc__registry_enter(struct mproc__registry *all) {
    registry = all;
}

/* While fork() copies a member's list, its other threads stand still. */
void mproc__holds_freeze(void) {
    pthread_mutex_lock(&mproc__fork_locks.holds);
}

void mproc__holds_thaw(void) {
    pthread_mutex_unlock(&mproc__fork_locks.holds);
}

/* ---------------------------------------------------------------- records; all under the guard */

static struct mproc__hold *find(const struct mproc__object *object, uint64_t token) {
    struct mproc__hold *h = hold_at(object->holds);
    while (h != NULL && h->token != token) {
        h = hold_at(h->next_of_object);
    }
    return h;
}

static void link_hold(struct mproc__object *object, struct mproc__slot *slot, uint64_t token,
                      struct mproc__hold *h) {
    set(&h->object, word_of(object));
    set(&h->token, token);
    set(&h->count, 1);
    set(&h->next_of_object, object->holds);
    set(&h->next_of_member, slot->holds);
    set(&h->prev_of_member, 0);
    if (slot->holds != 0) {
        set(&hold_at(slot->holds)->prev_of_member, word_of(h));
    }
    set(&object->holds, word_of(h));
    set(&slot->holds, word_of(h));
}

static void unlink_from_object(struct mproc__object *object, struct mproc__hold *h) {
    uint64_t *link = &object->holds;
    while (*link != word_of(h)) {
        link = &hold_at(*link)->next_of_object;
    }
    set(link, h->next_of_object);
}

static void unlink_hold(struct mproc__slot *slot, struct mproc__hold *h) {
    unlink_from_object(object_at(h->object), h);
    if (h->prev_of_member != 0) {
        set(&hold_at(h->prev_of_member)->next_of_member, h->next_of_member);
    } else {
        set(&slot->holds, h->next_of_member);
    }
    if (h->next_of_member != 0) {
        set(&hold_at(h->next_of_member)->prev_of_member, h->prev_of_member);
    }
    set(&h->object, 0);
}

/* Takes a record out of both lists; what is to be freed then moves into the hand: the record,
 * unless it is the object's own, and the object, if that was its last. */
static void retire(struct mproc__hand *hand, struct mproc__slot *slot, struct mproc__hold *h,
                   uint64_t *object_word) {
    struct mproc__object *object = object_at(h->object);
    unlink_hold(slot, h);
    if (h != &object->first) {
        set(&hand->node, word_of(h));
    }
    if (object->holds == 0) {
        set(object_word, word_of(object));
    }
}

/* ---------------------------------------------------------------- taking */

/* A hold for a member that has none yet may need a record: one is ready in hand->node
 * afterwards. */
static int prepare_node(struct mproc__hand *hand) {
    return mproc__heap_alloc(hand, sizeof(struct mproc__hold), &hand->node);
}

/* Under the guard. -EAGAIN: a record is needed; -EINVAL: an object without any holds, which is on
 * its way somewhere, or goes with another one. */
static int hold_with(struct mproc__hand *hand, struct mproc__object *object,
                     struct mproc__slot *slot, uint64_t token) {
    struct mproc__hold *h = find(object, token);
    if (object->holds == 0) {
        return -EINVAL;
    }
    if (h != NULL) {
        set(&h->count, h->count + 1);
    } else if (object->first.object == 0) {
        link_hold(object, slot, token, &object->first);
    } else if (hand->node != 0) {
        link_hold(object, slot, token, hold_at(hand->node));
        set(&hand->node, 0);
    } else {
        return -EAGAIN;
    }
    return 0;
}

/* Is it a live object, of whatever kind? Any pointer may be asked about. */
bool mproc__object_can_be_held(const void *pointer) {
    const struct mproc__object *object = pointer;
    return mproc__chunks_contain(pointer) && (uintptr_t)pointer % 16 == 0 &&
           object->magic == MPROC__OBJECT_MAGIC && object->kind < MPROC__KINDS;
}

int mproc__hold_for(struct mproc__hand *hand, uint64_t token, void *pointer) {
    struct mproc__slot *slot = mproc__token_slot(token);
    int r = slot != NULL ? -EAGAIN : MPROC_ESTRANGER;
    while (r == -EAGAIN) {
        enter(hand);
        r = hold_with(hand, pointer, slot, token);
        leave(hand);
        if (r == -EAGAIN) {
            int e = prepare_node(hand);
            r = e != 0 ? e : r;
        }
    }
    mproc__heap_free(hand, &hand->node); /* if another thread made the record meanwhile */
    return r;
}

int mproc_hold(void *object) {
    if (!mproc__object_can_be_held(object)) {
        return -EINVAL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__holds_freeze();
    int r = mproc__hold_for(hand, mproc__self_token(), object);
    mproc__holds_thaw();
    mproc__hand_put(hand);
    return r;
}

int mproc__holds_inherit(struct mproc__hand *hand, uint64_t token) {
    uint64_t next = mproc__self_slot()->holds;
    while (next != 0) {
        struct mproc__hold *h = hold_at(next);
        int r = mproc__hold_for(hand, token, object_at(h->object));
        if (r != 0) {
            return r;
        }
        /* Each of the parent's handles has a copy in the child, beside what it was given by
         * name. */
        enter(hand);
        struct mproc__hold *childs = find(object_at(h->object), token);
        set(&childs->count, childs->count + h->count - 1);
        leave(hand);
        next = h->next_of_member;
    }
    return 0;
}

/* ---------------------------------------------------------------- giving back */

int mproc_drop(void *owned) {
    struct mproc__object *object = owned;
    if (object == NULL || registry == NULL) { /* an outsider's copies of handles hold nothing */
        return 0;
    }
    assert(mproc__object_can_be_held(object));
    if (!mproc__object_can_be_held(object)) {
        return -EINVAL;
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__holds_freeze();
    enter(hand);
    struct mproc__hold *h = find(object, mproc__self_token());
    assert(h != NULL);
    if (h != NULL && h->count > 1) {
        set(&h->count, h->count - 1);
    } else if (h != NULL) {
        retire(hand, mproc__self_slot(), h, &hand->unheld);
    }
    leave(hand);
    mproc__holds_thaw();
    mproc__heap_free(hand, &hand->node);
    mproc__object_destroy(hand, &hand->unheld);
    mproc__hand_put(hand);
    return h != NULL ? 0 : -EINVAL;
}

void mproc__holds_clear(struct mproc__hand *hand, struct mproc__slot *slot) {
    bool more = true;
    while (more) {
        enter(hand);
        more = slot->holds != 0;
        if (more) {
            retire(hand, slot, hold_at(slot->holds), &hand->unheld);
        }
        leave(hand);
        mproc__heap_free(hand, &hand->node);
        mproc__object_destroy(hand, &hand->unheld);
    }
}

size_t mproc_holds(const void *pointer) {
    if (!mproc__object_can_be_held(pointer)) {
        return 0;
    }
    struct mproc__hand *hand = mproc__hand_get();
    enter(hand);
    struct mproc__hold *h = find(pointer, mproc__self_token());
    size_t count = h != NULL ? h->count : 0;
    leave(hand);
    mproc__hand_put(hand);
    return count;
}

int mproc_held_elsewhere(const void *pointer) {
    if (!mproc__object_can_be_held(pointer)) {
        return 0;
    }
    const struct mproc__object *object = pointer;
    struct mproc__hand *hand = mproc__hand_get();
    enter(hand);
    const struct mproc__hold *h = hold_at(object->holds);
    while (h != NULL && h->token == mproc__self_token()) {
        h = hold_at(h->next_of_object);
    }
    leave(hand);
    mproc__hand_put(hand);
    return h != NULL;
}

/* ---------------------------------------------------------------- making and destroying */

static void write_header(struct mproc__object *object, enum mproc__kind kind, size_t size) {
    memset(object, 0, size);
    object->magic = MPROC__OBJECT_MAGIC;
    object->kind = kind;
    mproc__program_order();
}

int mproc__object_alloc(struct mproc__hand *hand, enum mproc__kind kind, size_t size) {
    int r = mproc__heap_alloc(hand, size, &hand->block);
    if (r != 0) {
        return r;
    }
    /* A message's payload and a buffer's bytes are filled by their owner anyway. */
    bool bare = kind == MPROC__KIND_MESSAGE || kind == MPROC__KIND_BUFFER;
    write_header(object_at(hand->block), kind, bare ? sizeof(struct mproc__object) : size);
    mproc__hand_move(hand, &hand->block, &hand->unheld);
    return 0;
}

int mproc__object_make(struct mproc__hand *hand, enum mproc__kind kind, size_t size,
                       uint64_t *word) {
    int r = mproc__heap_alloc(hand, size, &hand->block);
    if (r == 0) {
        write_header(object_at(hand->block), kind, size);
        mproc__hand_move(hand, &hand->block, word);
    }
    return r;
}

void mproc__object_adopt(struct mproc__hand *hand, uint64_t *word) {
    struct mproc__object *object = object_at(*word);
    mproc__holds_freeze();
    enter(hand);
    link_hold(object, mproc__self_slot(), mproc__self_token(), &object->first);
    set(word, 0);
    leave(hand);
    mproc__holds_thaw();
}

int mproc__object_disown(struct mproc__hand *hand, void *pointer, uint64_t *word) {
    struct mproc__object *object = pointer;
    mproc__holds_freeze();
    enter(hand);
    struct mproc__hold *h = find(object, mproc__self_token());
    int r = h == NULL ? -EINVAL : object->holds == word_of(h) && h->next_of_object == 0;
    if (r == 1) {
        retire(hand, mproc__self_slot(), h, word);
    }
    leave(hand);
    mproc__holds_thaw();
    mproc__heap_free(hand, &hand->node);
    return r;
}

void mproc__object_destroy(struct mproc__hand *hand, uint64_t *word) {
    if (*word == 0) {
        return;
    }
    struct mproc__object *object = object_at(*word);
    mproc__destroy_fn destroy = mproc__destroyers[object->kind];
    mproc__poke32(&object->magic,
                  MPROC__OBJECT_DEAD); /* a caller that still has its address is told */
    mproc__labels_drop(hand, object);
    if (destroy != NULL) {
        destroy(hand, object);
    }
    mproc__heap_free(hand, word);
}

/* ---------------------------------------------------------------- messages' holds */

int mproc__object_attach(struct mproc__hand *hand, void *buffer, struct mproc__hold *record) {
    struct mproc__object *object = buffer;
    enter(hand);
    int r = object->holds != 0 ? 0 : -EINVAL;
    if (r == 0) {
        set(&record->object, word_of(object));
        set(&record->token, MPROC__TOKEN_OF_MESSAGES);
        set(&record->count, 1);
        set(&record->next_of_object, object->holds);
        set(&object->holds, word_of(record));
    }
    leave(hand);
    return r;
}

void mproc__object_detach(struct mproc__hand *hand, struct mproc__hold *record) {
    enter(hand);
    struct mproc__object *object = object_at(record->object);
    if (object != NULL) {
        unlink_from_object(object, record);
        set(&record->object, 0);
    }
    if (object != NULL && object->holds == 0) {
        set(&hand->block, word_of(object));
    }
    leave(hand);
    if (hand->block != 0) {
        mproc__poke32(&object->magic, MPROC__OBJECT_DEAD);
        mproc__labels_drop(hand, object);
    }
    mproc__heap_free(hand, &hand->block);
}

/* ---------------------------------------------------------------- containers' holds */

void mproc__object_keep(struct mproc__object *object) {
    object->first = (struct mproc__hold){
        .object = word_of(object), .token = MPROC__TOKEN_OF_MESSAGES, .count = 1};
    object->holds = word_of(&object->first);
}

void mproc__object_release(struct mproc__hand *hand, uint64_t *word) {
    if (*word == 0) {
        return;
    }
    enter(hand);
    struct mproc__object *object = object_at(*word);
    if (object->first.object != 0 && object->first.token == MPROC__TOKEN_OF_MESSAGES) {
        unlink_from_object(object, &object->first);
        set(&object->first.object, 0);
    }
    if (object->holds != 0) {
        set(word, 0);
    }
    leave(hand);
    mproc__object_destroy(hand, word);
}

/* Under the guard, under which the container's hold is given back, too: if the word is unchanged,
 * that has not happened yet. */
static int hold_if(struct mproc__hand *hand, struct mproc__object *object, const uint64_t *word,
                   uint64_t value) {
    return mproc__peek64(word) == value
               ? hold_with(hand, object, mproc__self_slot(), mproc__self_token())
               : -ESTALE;
}

int mproc__hold_while(struct mproc__hand *hand, struct mproc__object *object, const uint64_t *word,
                      uint64_t value) {
    int r;
    mproc__holds_freeze();
    do {
        enter(hand);
        r = hold_if(hand, object, word, value);
        leave(hand);
        int e = r == -EAGAIN ? prepare_node(hand) : 0;
        r = e != 0 ? e : r;
    } while (r == -EAGAIN);
    mproc__holds_thaw();
    mproc__heap_free(hand, &hand->node);
    return r;
}

/* ---------------------------------------------------------------- check */

static int check_hold(struct mproc__hold *h, uint64_t token, uint64_t before, char *why,
                      size_t size) {
    struct mproc__object *object = object_at(h->object);
    if (object == NULL || object->magic != MPROC__OBJECT_MAGIC || object->kind >= MPROC__KINDS) {
        return mproc__corrupt(why, size, "O1: a hold of %llx names no object",
                              (unsigned long long)token);
    }
    if (h->token != token || h->count == 0 || find(object, token) != h) {
        return mproc__corrupt(why, size, "O2: a hold of %llx on %p is not the object's",
                              (unsigned long long)token, (void *)object);
    }
    if (h->prev_of_member != before) {
        return mproc__corrupt(why, size, "O4: the holds of %llx are badly linked",
                              (unsigned long long)token);
    }
    return 0;
}

static int check_slot(uint32_t number, char *why, size_t size) {
    struct mproc__slot *slot = &mproc__table->slots[number];
    uint64_t state = mproc__load64(&slot->state);
    if ((state & 0xff) != MPROC__SLOT_LIVE && (state & 0xff) != MPROC__SLOT_UNBORN) {
        return 0;
    }
    uint64_t before = 0;
    for (uint64_t i = slot->holds; i != 0; i = hold_at(i)->next_of_member) {
        int r = check_hold(hold_at(i), mproc__token(number, state >> 8), before, why, size);
        if (r != 0) {
            return r;
        }
        before = i;
    }
    return 0;
}

int mproc__holds_check(struct mproc__hand *hand, char *why, size_t size) {
    int r = 0;
    enter(hand);
    for (uint32_t i = 0; r == 0 && i < mproc__table_top(); i++) {
        r = check_slot(i, why, size);
    }
    leave(hand);
    return r;
}

static bool is_good(const struct mproc__hold *h, const struct mproc__object *object) {
    return h->object == word_of(object) && h->count >= 1 &&
           (h->token == MPROC__TOKEN_OF_MESSAGES || find(object, h->token) == h);
}

int mproc__object_check(struct mproc__hand *hand, const void *pointer, char *why, size_t size) {
    const struct mproc__object *object = pointer;
    int r = 0;
    enter(hand);
    for (uint64_t i = object->holds; r == 0 && i != 0; i = hold_at(i)->next_of_object) {
        if (!is_good(hold_at(i), object)) {
            r = mproc__corrupt(why, size, "O5: a record in the list of %p is another's", pointer);
        }
    }
    leave(hand);
    return r;
}
