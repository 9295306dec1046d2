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
 *       queue's, or is in the list of what is due.
 *   O4  prev_of_member and next_of_member agree.
 *   O5  A record in an object's list names that object. It is a member's, or a message's.
 *   O6  A member whose `estate` is not 0 has a parent with `heirs` set, and the record that it
 *       names is in that one's list. No hold of a member goes, and none is looked at, before what
 *       it has not inherited, and what its children have not, is copied.
 *   O7  What is in the list of what is due has no records, is whole, and is there once; each is
 *       linked by its own first record's next_of_object.
 *
 * A forked child has a copy of each of its parent's holds. The parent copies them before the fork,
 * unless another member is stopped in a section that this takes: a fork waits for nobody. Then the
 * rest is the child's *estate*, and whoever is the first to change the holds of either of the two,
 * to look at them or to reap, copies it: settle().
 *
 * A message that takes buffers along has a record for each in itself (parcel.c): in the buffer's
 * list, in no member's. So is the record of a container that keeps an object: it is the object's
 * own first one.
 *
 * Such an object may have objects inside that nothing else holds any more: a list in a dict. To
 * destroy them from there would be a recursion, and need a second word of the hand. So an object
 * that loses its last record to a message becomes *due*, in the section in which it loses it. Who
 * has an empty hand again destroys what is due, one after the other, and each may make others due.
 * When it dies, its reaper goes on.
 *
 * If a member dies here: a copied record and the step of `estate` behind it are one section. The
 * guard puts the lists back or leaves them done; an object that lost its
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

#define DUE_MOST (UINT64_C(1) << 32) /* a list that is longer is a circle */

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

/* While fork() copies a member's list, its other threads stand still. They take that lock inside
 * the section only, so a fork() does not wait for one that waits for the section. */
void mproc__holds_freeze(void) {
    pthread_mutex_lock(&mproc__fork_locks.holds);
}

void mproc__holds_thaw(void) {
    pthread_mutex_unlock(&mproc__fork_locks.holds);
}

static void enter_frozen(struct mproc__hand *hand) {
    enter(hand);
    while (pthread_mutex_trylock(&mproc__fork_locks.holds) != 0) {
        leave(hand); /* another thread forks, and may want the section */
        mproc__holds_freeze();
        mproc__holds_thaw();
        enter(hand);
    }
}

static void leave_frozen(struct mproc__hand *hand) {
    mproc__holds_thaw();
    leave(hand);
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

/* ---------------------------------------------------------------- one hold more */

/* A hold for a member that has none yet may need a record: one is ready in hand->node
 * afterwards. */
static int prepare_node(struct mproc__hand *hand) {
    return hand->node != 0 ? 0 : mproc__heap_alloc(hand, sizeof(struct mproc__hold), &hand->node);
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

/* ---------------------------------------------------------------- inheriting */

#define ESTATE_WHOLE 1u /* nothing of it has been copied yet; else the next record of the parent */

/* Under the guard: the next record of the parent's list is copied for its heir. Each of the
 * parent's handles has a copy in the child, beside what it was given by name. -EAGAIN as in
 * hold_with(). */
static int copy_next(struct mproc__hand *hand, struct mproc__slot *heir, uint64_t token,
                     const struct mproc__slot *parent) {
    struct mproc__hold *h = hold_at(heir->estate == ESTATE_WHOLE ? parent->holds : heir->estate);
    int r = h != NULL ? hold_with(hand, object_at(h->object), heir, token) : 0;
    if (r == 0 && h != NULL) {
        struct mproc__hold *copy = find(object_at(h->object), token);
        set(&copy->count, copy->count + h->count - 1);
    }
    if (r == 0) {
        set(&heir->estate, h != NULL ? h->next_of_member : 0);
    }
    return r;
}

/* The heir may be dead and reaped by now, and its slot another's. */
static int copy_if_due(struct mproc__hand *hand, uint64_t token) {
    struct mproc__slot *heir = mproc__token_slot(token);
    return heir != NULL && heir->estate != 0
               ? copy_next(hand, heir, token, mproc__token_slot(heir->parent))
               : 0;
}

/* As mproc__hold_for(). -ETIMEDOUT: another member is in a section that is needed. */
static int copy_within(struct mproc__hand *hand, uint64_t token, int64_t patience) {
    if (!mproc__guard_enter_within(&registry->guard, hand, patience)) {
        return -ETIMEDOUT;
    }
    int r = copy_if_due(hand, token);
    leave(hand);
    return r == -EAGAIN ? mproc__heap_alloc_soon(hand, sizeof(struct mproc__hold), &hand->node) : r;
}

static bool is_settled(uint64_t token) {
    const struct mproc__slot *slot = mproc__token_slot(token);
    return slot == NULL || mproc__peek64(&slot->estate) == 0;
}

static uint64_t parent_of(uint64_t token) {
    const struct mproc__slot *slot = mproc__token_slot(token);
    return slot != NULL ? mproc__peek64(&slot->parent) : 0;
}

/* Of the members that have to inherit before that one can: the one whose parent has done so. */
static uint64_t eldest(uint64_t token) {
    uint64_t parent = parent_of(token);
    while (!is_settled(parent)) {
        token = parent;
        parent = parent_of(token);
    }
    return token;
}

/* All that a member inherits. hand->node is 0 afterwards. -ENOMEM. */
static int settle(struct mproc__hand *hand, uint64_t token) {
    int r = 0;
    while (r == 0 && !is_settled(token)) {
        uint64_t next = eldest(token);
        enter(hand);
        r = copy_if_due(hand, next);
        leave(hand);
        r = r == -EAGAIN ? prepare_node(hand) : r;
    }
    mproc__heap_free(hand, &hand->node);
    return r;
}

/* A child that has not inherited all of that member's holds yet; 0: there is none. Under the
 * guard, and no thread of that member forks. */
static uint64_t find_heir(struct mproc__slot *slot, uint64_t token) {
    for (uint32_t i = 0; mproc__peek64(&slot->heirs) != 0 && i < mproc__table_top(); i++) {
        struct mproc__slot *heir = &mproc__table->slots[i];
        uint64_t state = mproc__load64(&heir->state); /* SYNC(slot.state) */
        if (mproc__peek64(&heir->parent) == token && mproc__peek64(&heir->estate) != 0) {
            return mproc__token(i, state >> 8);
        }
    }
    mproc__poke64(&slot->heirs, 0);
    return 0;
}

/* The member that has to inherit before that member's holds may change; 0: there is none. Under
 * the guard. */
static uint64_t find_unsettled(struct mproc__slot *slot, uint64_t token) {
    return mproc__likely((slot->estate | slot->heirs) == 0) ? 0
           : slot->estate != 0                              ? token
                                                            : find_heir(slot, token);
}

/* Enters the section for a change of the caller's own holds. -ENOMEM: in the section, too, but a
 * child does not have its copies yet: holds may come, and none may go. */
static int enter_own(struct mproc__hand *hand) {
    uint64_t unsettled;
    int r = 0;
    enter_frozen(hand);
    while (r == 0 && (unsettled = find_unsettled(mproc__self_slot(), mproc__self_token())) != 0) {
        leave_frozen(hand);
        r = settle(hand, unsettled);
        enter_frozen(hand);
    }
    return r;
}

int mproc__holds_inherit(struct mproc__hand *hand, uint64_t token) {
    struct mproc__slot *slot = mproc__token_slot(token), *mine = mproc__self_slot();
    if (slot == NULL) {
        return MPROC_ESTRANGER;
    }
    if (mine->holds == 0 && mine->estate == 0) {
        return 0;
    }
    mproc__poke64(&slot->estate, ESTATE_WHOLE);
    int r = mine->estate == 0 ? 0 : -ETIMEDOUT;
    while (r == 0 && slot->estate != 0) {
        r = copy_within(hand, token, MPROC__PATIENCE);
    }
    if (r == -ETIMEDOUT) {
        mproc__poke64(&mine->heirs, 1); /* before the child is there */
        r = 0;
    } else if (r != 0) {
        mproc__poke64(&slot->estate, 0); /* there will be no child */
    }
    if (hand->node != 0 && slot->spare == 0) {
        mproc__hand_move(hand, &hand->node, &slot->spare);
    }
    mproc__heap_free(hand, &hand->node); /* of a second try to start that child */
    return r;
}

/* ---------------------------------------------------------------- taking */

/* For the caller or a child that it prepares. */
static int hold_once(struct mproc__hand *hand, uint64_t token, struct mproc__object *object) {
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL) {
        return MPROC_ESTRANGER;
    }
    (void)enter_own(hand);
    int r = hold_with(hand, object, slot, token);
    leave_frozen(hand);
    return r;
}

int mproc__hold_for(struct mproc__hand *hand, uint64_t token, void *pointer) {
    int r = -EAGAIN;
    while (r == -EAGAIN) {
        r = hold_once(hand, token, pointer);
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
    int r = mproc__hold_for(hand, mproc__self_token(), object);
    mproc__hand_put(hand);
    return r;
}

/* ---------------------------------------------------------------- giving back */

/* Under the guard. */
static void drop_once(struct mproc__hand *hand, struct mproc__hold *h) {
    if (h->count > 1) {
        set(&h->count, h->count - 1);
    } else {
        retire(hand, mproc__self_slot(), h, &hand->unheld);
    }
}

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
    bool unsettled = enter_own(hand) != 0; /* then it keeps the hold until it ends */
    struct mproc__hold *h = find(object, mproc__self_token());
    assert(h != NULL);
    if (h != NULL && !unsettled) {
        drop_once(hand, h);
    }
    leave_frozen(hand);
    mproc__heap_free(hand, &hand->node);
    mproc__object_destroy(hand, &hand->unheld);
    mproc__objects_due(hand);
    mproc__hand_put(hand);
    return h != NULL ? 0 : -EINVAL;
}

/* What a dead member has not inherited it needs for its own children only. */
static int settle_heirs(struct mproc__hand *hand, struct mproc__slot *slot, uint64_t token) {
    uint64_t heir;
    int r = 0;
    do {
        enter(hand);
        heir = find_heir(slot, token);
        if (heir == 0) {
            set(&slot->estate, 0);
        }
        leave(hand);
        r = heir != 0 ? settle(hand, heir) : 0;
    } while (r == 0 && heir != 0);
    return r;
}

int mproc__holds_clear(struct mproc__hand *hand, struct mproc__slot *slot) {
    uint32_t number = (uint32_t)(slot - mproc__table->slots);
    int r = settle_heirs(hand, slot, mproc__token(number, mproc__load64(&slot->state) >> 8));
    if (r != 0) {
        return r;
    }
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
    mproc__objects_due(hand);
    return 0;
}

size_t mproc_holds(const void *pointer) {
    if (!mproc__object_can_be_held(pointer)) {
        return 0;
    }
    struct mproc__hand *hand = mproc__hand_get();
    (void)enter_own(hand);
    struct mproc__hold *h = find(pointer, mproc__self_token());
    size_t count = h != NULL ? h->count : 0;
    leave_frozen(hand);
    mproc__hand_put(hand);
    return count;
}

int mproc_held_elsewhere(const void *pointer) {
    if (!mproc__object_can_be_held(pointer)) {
        return 0;
    }
    const struct mproc__object *object = pointer;
    struct mproc__hand *hand = mproc__hand_get();
    (void)enter_own(hand);
    const struct mproc__hold *h = hold_at(object->holds);
    while (h != NULL && h->token == mproc__self_token()) {
        h = hold_at(h->next_of_object);
    }
    leave_frozen(hand);
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
    (void)enter_own(hand);
    link_hold(object, mproc__self_slot(), mproc__self_token(), &object->first);
    set(word, 0);
    leave_frozen(hand);
}

int mproc__object_disown(struct mproc__hand *hand, void *pointer, uint64_t *word) {
    struct mproc__object *object = pointer;
    int unsettled = enter_own(hand);
    struct mproc__hold *h = find(object, mproc__self_token());
    int r = h == NULL ? -EINVAL : object->holds == word_of(h) && h->next_of_object == 0;
    if (r == 1 && unsettled == 0) {
        retire(hand, mproc__self_slot(), h, word);
    }
    leave_frozen(hand);
    r = r == 1 && unsettled != 0 ? 0 : r; /* the child that has not inherited yet holds it, too */
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

/* ---------------------------------------------------------------- what is due */

/* Under the guard. */
static void become_due(struct mproc__object *object) {
    set(&object->first.next_of_object, registry->due);
    set(&registry->due, word_of(object));
}

/* Takes one into hand->unheld, which is 0. False: there is none. */
static bool take_due(struct mproc__hand *hand) {
    enter(hand);
    struct mproc__object *object = object_at(registry->due);
    if (object != NULL) {
        set(&registry->due, object->first.next_of_object);
        set(&hand->unheld, word_of(object));
    }
    leave(hand);
    return object != NULL;
}

void mproc__objects_due(struct mproc__hand *hand) {
    while (mproc__unlikely(mproc__peek64(&registry->due) != 0) &&
           (hand->unheld | hand->message) == 0 && take_due(hand)) {
        mproc__object_destroy(hand, &hand->unheld);
    }
}

/* ---------------------------------------------------------------- messages' holds */

int mproc__object_attach(struct mproc__hand *hand, void *pointer, struct mproc__hold *record) {
    struct mproc__object *object = pointer;
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
    bool is_last = false;
    if (object != NULL) {
        unlink_from_object(object, record);
        set(&record->object, 0);
        is_last = object->holds == 0;
    }
    if (is_last && mproc__destroyers[object->kind] != NULL) {
        become_due(object);
    } else if (is_last) {
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
    mproc__objects_due(hand);
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
    do {
        (void)enter_own(hand);
        r = hold_if(hand, object, word, value);
        leave_frozen(hand);
        int e = r == -EAGAIN ? prepare_node(hand) : 0;
        r = e != 0 ? e : r;
    } while (r == -EAGAIN);
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

static int check_due(char *why, size_t size) {
    uint64_t n = 0;
    for (uint64_t i = registry->due; i != 0; i = object_at(i)->first.next_of_object) {
        if (!mproc__object_can_be_held(object_at(i)) || object_at(i)->holds != 0 ||
            ++n > DUE_MOST) {
            return mproc__corrupt(why, size, "O7: %p is no object that is due",
                                  (void *)object_at(i));
        }
    }
    return 0;
}

int mproc__holds_check(struct mproc__hand *hand, char *why, size_t size) {
    enter(hand);
    int r = check_due(why, size);
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
