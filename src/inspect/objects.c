/*
 * objects.c - the objects of a family, in a picture
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A block that begins as an object does is taken for one. Its words are read by the
 * function of its kind (core/facts.h), and its list of holds is followed. A list has at most as
 * many records as there can be members, whatever the arena says.
 */
#include "inspect/objects.h"

#include <string.h>

#include "core/ledger.h"
#include "core/stack.h"
#include "inspect/grow.h"

#define HOLDERS_MOST (MPROC__MEMBERS + 64)
#define PAGES_MOST (MPROC__MEMBERS / MPROC__LEDGER_PAGE + 16) /* of a ledger */

typedef bool (*facts_fn)(const void *copy, size_t size, struct mproc__facts *out);

static const facts_fn readers[MPROC__KINDS] = {
    [MPROC__KIND_ARRAY] = mproc__array_facts,
    [MPROC__KIND_BARRIER] = mproc__barrier_facts,
    [MPROC__KIND_BSEMAPHORE] = mproc__bsemaphore_facts,
    [MPROC__KIND_BUFFER] = mproc__buffer_facts,
    [MPROC__KIND_CHANNEL] = mproc__channel_facts,
    [MPROC__KIND_CONDITION] = mproc__condition_facts,
    [MPROC__KIND_EVENT] = mproc__event_facts,
    [MPROC__KIND_LIST] = mproc__list_facts,
    [MPROC__KIND_LOCK] = mproc__lock_facts,
    [MPROC__KIND_POOL] = mproc__pool_facts,
    [MPROC__KIND_QUEUE] = mproc__queue_facts,
    [MPROC__KIND_RLOCK] = mproc__rlock_facts,
    [MPROC__KIND_SEMAPHORE] = mproc__semaphore_facts,
    [MPROC__KIND_TASKQ] = mproc__taskq_facts,
};

/* There may be a million locks, of which few are held: the others need no room. */
static bool says_nothing(enum mproc__kind kind, const struct mproc__facts *facts) {
    bool one_word = kind == MPROC__KIND_LOCK || kind == MPROC__KIND_RLOCK ||
                    kind == MPROC__KIND_EVENT || kind == MPROC__KIND_SEMAPHORE ||
                    kind == MPROC__KIND_CONDITION;
    return one_word && facts->owner == 0 && facts->thread == 0 && facts->count == 0;
}

static bool read_dict(const struct mproc__outside *arena, uint64_t address,
                      struct mproc__facts *out) {
    uint64_t generation;
    char copy[MPROC__DICT_LOOK];
    int r = mproc__outside_read(arena, address + mproc__dict_generation_at(), &generation,
                                sizeof generation);
    for (unsigned i = 0; r == 0 && i < mproc__dict_looks(); i++) {
        r = mproc__outside_read(arena, address + mproc__dict_look_at(i), copy, sizeof copy);
        out->count += r == 0 ? mproc__dict_look_count(copy, generation) : 0;
    }
    return r == 0;
}

/* `copy` begins a cache line, as the object does whose words it has. */
static bool read_facts(const struct mproc__outside *arena, const struct mproc__seen_object *o,
                       const void *copy, size_t size, struct mproc__facts *out) {
    if (o->kind == MPROC__KIND_DICT) {
        return read_dict(arena, o->address, out);
    }
    return readers[o->kind] != NULL && readers[o->kind](copy, size, out) &&
           !says_nothing(o->kind, out);
}

/* Those who hold permits of a bounded semaphore and have no room in the object. */
static void read_pages(const struct mproc__outside *arena, struct mproc__picture *p,
                       struct mproc__facts *out) {
    struct mproc__ledger page;
    uint64_t at = out->more;
    for (int n = 0; at != 0 && n < PAGES_MOST && p->reads < MPROC__READS_MOST; n++) {
        p->reads++;
        if (mproc__outside_read(arena, at, &page, sizeof page) != 0) {
            break;
        }
        at = mproc__bsemaphore_page_facts(&page, out);
    }
}

static int add_facts(const struct mproc__outside *arena, struct mproc__picture *p,
                     struct mproc__seen_object *o, const void *copy, size_t size) {
    struct mproc__facts facts = {0};
    o->facts = -1;
    if (!read_facts(arena, o, copy, size, &facts)) {
        return 0;
    }
    read_pages(arena, p, &facts);
    struct mproc__facts *f = MPROC__GROW(p->facts, p->nfacts);
    if (f == NULL) {
        return -ENOMEM;
    }
    *f = facts;
    o->facts = p->nfacts++;
    return 0;
}

static int add_holder(struct mproc__picture *p, struct mproc__seen_object *o,
                      const struct mproc__hold *hold) {
    o->under_way = o->under_way || hold->token == MPROC__TOKEN_OF_MESSAGES;
    if (hold->token == 0 || hold->token == MPROC__TOKEN_OF_MESSAGES) {
        return 0;
    }
    uint64_t *token = MPROC__GROW(p->holders, p->nholders);
    if (token == NULL) {
        return -ENOMEM;
    }
    *token = hold->token;
    p->nholders++;
    o->holders++;
    return 0;
}

/* The list begins in the object, and mostly ends there. */
static int add_holders(const struct mproc__outside *arena, struct mproc__picture *p,
                       struct mproc__seen_object *o, const struct mproc__object *copy) {
    uint64_t at = copy->holds, first = o->address + offsetof(struct mproc__object, first);
    int r = 0;
    o->first = p->nholders;
    for (int n = 0; at != 0 && n < HOLDERS_MOST && p->reads < MPROC__READS_MOST && r == 0; n++) {
        p->reads += at != first;
        struct mproc__hold hold = copy->first;
        if ((at != first && mproc__outside_read(arena, at, &hold, sizeof hold) != 0) ||
            hold.object != o->address) {
            break;
        }
        r = add_holder(p, o, &hold);
        at = hold.next_of_object;
    }
    return r;
}

void mproc__count_blocks(struct mproc__picture *p, enum mproc__kind kind, uint64_t size,
                         uint64_t n) {
    p->blocks += n;
    p->bytes += n * size;
    p->of_kind[kind] += n;
    p->bytes_of_kind[kind] += n * size;
}

/* Most blocks are none, and are passed over by their first bytes. */
static bool looks_like_object(const char *bytes, size_t size) {
    uint32_t first[2];
    if (size < sizeof(struct mproc__object)) {
        return false;
    }
    memcpy(first, bytes, sizeof first);
    return first[0] == MPROC__OBJECT_MAGIC && first[1] != 0 && first[1] < MPROC__KINDS;
}

static int see_tasks(const struct mproc__outside *arena, struct mproc__picture *p, const void *copy,
                     size_t size) {
    struct mproc__seat_facts seat;
    char name[MPROC__TRACE_TEXT];
    for (size_t i = 0; mproc__taskq_seat_facts(copy, size, i, &seat); i++) {
        if (!seat.works) {
            continue;
        }
        struct mproc__seen_task *task = MPROC__GROW(p->tasks, p->ntasks);
        if (task == NULL) {
            return -ENOMEM;
        }
        int64_t since = seat.since < (uint64_t)p->now ? (int64_t)seat.since : p->now;
        (void)mproc__outside_function(arena, seat.name, name);
        *task = (struct mproc__seen_task){p->nobjects, seat.token, seat.ticket, since, 0};
        task->name = name[0] != 0 ? mproc__picture_text(p, name) : 0;
        p->ntasks++;
    }
    return 0;
}

static int see_object(const struct mproc__outside *arena, struct mproc__picture *p,
                      uint64_t address, uint64_t block, const char *bytes, size_t size) {
    _Alignas(MPROC__LINE) char copy[MPROC__OBJECT_BYTES];
    struct mproc__object head;
    memcpy(&head, bytes, sizeof head);
    struct mproc__seen_object *o = MPROC__GROW(p->objects, p->nobjects);
    if (o == NULL || p->nobjects == INT32_MAX) {
        return -ENOMEM;
    }
    *o = (struct mproc__seen_object){.address = address,
                                     .size = block,
                                     .kind = (enum mproc__kind)head.kind,
                                     .facts = -1,
                                     .within = -1};
    size = size < sizeof copy ? size : sizeof copy;
    memcpy(copy, bytes, size);
    int r = add_facts(arena, p, o, copy, size);
    r = r == 0 ? add_holders(arena, p, o, &head) : r;
    r = r == 0 && head.kind == MPROC__KIND_TASKQ ? see_tasks(arena, p, copy, size) : r;
    p->nobjects++;
    return r;
}

/* It is no object that somebody would ask about. The words end where the block does, at the
 * latest. */
static int see_stack(struct mproc__picture *p, const char *bytes, size_t size) {
    mproc_stack head;
    char words[MPROC_STACK_MOST + 1];
    if (size <= sizeof head) {
        return 0;
    }
    memcpy(&head, bytes, sizeof head);
    size_t length = size - sizeof head < sizeof words ? size - sizeof head : sizeof words;
    memcpy(words, bytes + sizeof head, length);
    words[length - 1] = 0;
    struct mproc__seen_stack *stack = MPROC__GROW(p->stacks, p->nstacks);
    if (stack == NULL) {
        return -ENOMEM;
    }
    *stack =
        (struct mproc__seen_stack){head.owner, head.thread, head.at, mproc__picture_text(p, words)};
    p->nstacks++;
    return 0;
}

enum mproc__kind mproc__kind_of(const char *bytes, size_t size) {
    uint32_t kind = MPROC__KIND_NONE;
    if (looks_like_object(bytes, size)) {
        memcpy(&kind, bytes + offsetof(struct mproc__object, kind), sizeof kind);
    }
    return (enum mproc__kind)kind;
}

bool mproc__is_looked_at(const char *bytes, size_t size) {
    enum mproc__kind kind = mproc__kind_of(bytes, size);
    return kind != MPROC__KIND_NONE && kind != MPROC__KIND_MESSAGE && kind != MPROC__KIND_PARCEL;
}

int mproc__see_block(const struct mproc__outside *arena, struct mproc__picture *p, uint64_t address,
                     uint64_t block, const char *bytes, size_t size) {
    enum mproc__kind kind = mproc__kind_of(bytes, size);
    mproc__count_blocks(p, kind, block, 1);
    if (!mproc__is_looked_at(bytes, size)) {
        return 0;
    }
    if (kind == MPROC__KIND_STACK) {
        return see_stack(p, bytes, size);
    }
    return see_object(arena, p, address, block, bytes, size);
}
