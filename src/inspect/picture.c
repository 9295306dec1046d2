/*
 * picture.c - what a family looks like at one moment, as far as it can be seen without stopping it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The table of members is copied slot by slot, the heap chunk by chunk. A block that
 * begins as an object does is taken for one. Then each thing that was found is put in its place:
 * which object belongs to which, who holds it, who waits for it.
 *
 * Who gets a lock at once does not write down when: that would be a look at the clock for each
 * acquire. It is known from those who wait. A lock says when somebody who had to wait for it saw
 * its owner first (mutex.c, M5). And a thread that waits acquires nothing meanwhile: what it has,
 * it has had since its wait began, if it is in the same wait before and after the lock was looked
 * at. The earlier one counts; both say "since then, or earlier". Of the permits of a bounded
 * semaphore members are known, not threads: one of which all threads wait takes no more.
 *
 * Every walk has an end that does not depend on what the arena says: tables have the sizes that
 * the library gives them, chunks are in the arena's span, a list of holds has at most as many
 * records as there can be members.
 */
#include "inspect/picture.h"

#include <stdlib.h>
#include <string.h>

#include "core/stack.h"
#include "core/wait.h"
#include "system/os.h"

#define OBJECT_BYTES 16384 /* of an object that are looked at: a task queue's seats are the most */
#define BULK 1024          /* bytes; of larger blocks the heads are looked at one by one */
#define HOLDERS_MOST (MPROC__MEMBERS + 64)
#define READS_MOST 4000000 /* records of holds: some seconds */
#define SEGMENTS_MOST 65536
#define TEXTS_MOST ((uint64_t)1 << 30)
#define LABELS_MOST (2 * MPROC__CHUNK / sizeof(struct mproc__object)) /* of a chunk's objects */
#define TASKS_TRIED 4096 /* of an earlier picture, for each task: that of other pools, mostly */
#define AGAIN 2          /* further looks at a slot that changes meanwhile */

/* ---------------------------------------------------------------- growing arrays */

/* Room for one more behind n. The next power of two is allocated when n is one. */
static void *grow(void **array, uint64_t n, size_t size) {
    if ((n & (n - 1)) == 0) {
        void *more = realloc(*array, (n == 0 ? 1 : 2 * n) * size);
        if (more == NULL) {
            return NULL;
        }
        *array = more;
    }
    return (char *)*array + n * size;
}

#define GROW(array, n) grow((void **)&(array), (uint64_t)(n), sizeof *(array))

uint32_t mproc__picture_text(struct mproc__picture *p, const char *text) {
    uint64_t at = p->ntexts, size = strlen(text) + 1;
    if (at + size > TEXTS_MOST) {
        return 0;
    }
    for (uint64_t i = 0; i < size; i++) {
        char *place = GROW(p->texts, p->ntexts);
        if (place == NULL) {
            p->ntexts = at;
            return 0;
        }
        *place = text[i];
        p->ntexts++;
    }
    return (uint32_t)at;
}

/* ---------------------------------------------------------------- looking things up */

int mproc__picture_member(const struct mproc__picture *p, uint64_t token) {
    uint32_t number = mproc__token_number(token);
    int i = number < MPROC__MEMBERS ? p->by_slot[number] : -1;
    return i >= 0 && p->members[i].token == token ? i : -1;
}

int mproc__picture_wait(const struct mproc__picture *p, int member, uint32_t thread) {
    const struct mproc__seen_member *m = member >= 0 ? &p->members[member] : NULL;
    for (int i = 0; m != NULL && i < m->nwaits; i++) {
        if (p->waits[m->first_wait + i].thread == thread) {
            return m->first_wait + i;
        }
    }
    return -1;
}

const struct mproc__facts *mproc__picture_facts(const struct mproc__picture *p, int object) {
    static const struct mproc__facts none;
    return object >= 0 && p->objects[object].facts >= 0 ? &p->facts[p->objects[object].facts]
                                                        : &none;
}

int mproc__picture_outer(const struct mproc__picture *p, int object) {
    for (int steps = 0; steps < 4 && object >= 0 && p->objects[object].within >= 0; steps++) {
        object = p->objects[object].within;
    }
    return object;
}

int mproc__picture_at(const struct mproc__picture *p, uint64_t address) {
    int low = 0, high = p->nobjects;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (p->objects[middle].address <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool in = low > 0 && address - p->objects[low - 1].address < p->objects[low - 1].size;
    return in ? low - 1 : -1;
}

const struct mproc__facts *mproc__picture_facts_before(const struct mproc__picture *p,
                                                       const struct mproc__picture *before,
                                                       int object) {
    uint64_t address = p->objects[object].address;
    int then = mproc__picture_at(before, address);
    bool found = then >= 0 && before->objects[then].address == address &&
                 before->objects[then].kind == p->objects[object].kind;
    return found ? mproc__picture_facts(before, then) : NULL;
}

int mproc__picture_inner(const struct mproc__picture *p, int pool, int which) {
    int tasks = pool;
    if (p->objects[pool].kind == MPROC__KIND_POOL) {
        uint64_t at = mproc__picture_facts(p, pool)->inside[0];
        tasks = at != 0 ? mproc__picture_at(p, at) : -1;
    }
    if (tasks < 0 || p->objects[tasks].kind != MPROC__KIND_TASKQ) {
        return -1;
    }
    uint64_t at = mproc__picture_facts(p, tasks)->inside[which];
    int queue = at != 0 ? mproc__picture_at(p, at) : -1;
    return queue >= 0 && p->objects[queue].kind == MPROC__KIND_QUEUE ? queue : -1;
}

const char *mproc__kind_name(enum mproc__kind kind) {
    static const char *const names[MPROC__KINDS] = {
        [MPROC__KIND_NONE] = "block",          [MPROC__KIND_MESSAGE] = "message",
        [MPROC__KIND_LOCK] = "lock",           [MPROC__KIND_QUEUE] = "queue",
        [MPROC__KIND_TASKQ] = "task queue",    [MPROC__KIND_POOL] = "pool",
        [MPROC__KIND_RLOCK] = "rlock",         [MPROC__KIND_EVENT] = "event",
        [MPROC__KIND_SEMAPHORE] = "semaphore", [MPROC__KIND_BSEMAPHORE] = "bounded semaphore",
        [MPROC__KIND_ARRAY] = "array",         [MPROC__KIND_CONDITION] = "condition",
        [MPROC__KIND_BARRIER] = "barrier",     [MPROC__KIND_BUFFER] = "buffer",
        [MPROC__KIND_PARCEL] = "parcel",       [MPROC__KIND_CHANNEL] = "channel",
        [MPROC__KIND_DICT] = "dict",           [MPROC__KIND_LIST] = "list",
        [MPROC__KIND_BATCH] = "list's batch",  [MPROC__KIND_STACK] = "stack",
    };
    return names[kind] != NULL ? names[kind] : "object";
}

/* ---------------------------------------------------------------- members */

/* In what has to fit together, and changes while its member lives. What has no note needs no second
 * look. The guards are not among it: a busy member has another one each time, and each cache line
 * that is read once more has to come back to it once more. */
static bool is_same(const struct mproc__slot *a, const struct mproc__slot *b) {
    bool same = a->state == b->state && a->pid == b->pid;
    for (int i = 0; i < MPROC__HANDS && same; i++) {
        same = a->hands[i].waits == b->hands[i].waits && a->since[i] == b->since[i] &&
               a->waiter[i] == b->waiter[i];
    }
    return same;
}

static bool has_note(const struct mproc__slot *slot) {
    bool has = false;
    for (int i = 0; i < MPROC__HANDS && !has; i++) {
        has = slot->hands[i].waits != 0;
    }
    return has;
}

static bool is_in_use(uint64_t state) {
    return (state & 0xff) != MPROC__SLOT_FREE && (state & 0xff) <= MPROC__SLOT_DYING;
}

/* Of one that is not in use nothing but its state. */
static int read_slot(const struct mproc__outside *arena, uint32_t i, struct mproc__slot *out) {
    const uint64_t at =
        arena->base + offsetof(struct mproc__family, table.slots) + i * (uint64_t)sizeof *out;
    struct mproc__slot before;
    int r = mproc__outside_read(arena, at, &out->state, sizeof out->state);
    if (r != 0 || !is_in_use(out->state)) {
        return r;
    }
    r = mproc__outside_read(arena, at, out, sizeof *out);
    for (int n = 0; r == 0 && n < AGAIN && has_note(out); n++) {
        before = *out;
        r = mproc__outside_read(arena, at, out, sizeof *out);
        if (is_same(&before, out)) {
            break;
        }
    }
    return r;
}

static void describe(const struct mproc__slot *slot, uint32_t i, struct mproc__seen_member *out) {
    memset(out, 0, sizeof *out);
    out->token = mproc__token(i, slot->state >> 8);
    out->state = (enum mproc__slot_state)(slot->state & 3);
    out->parent = slot->parent;
    out->born = slot->born;
    out->pid = slot->pid;
    out->method = slot->method;
    memcpy(out->name, slot->name, sizeof out->name);
    out->name[sizeof out->name - 1] = 0;
    bool there = slot->pid > 0 && mproc__os_process_see(slot->pid, &out->os) == 0 &&
                 out->os.state != 'Z' && out->os.state != 'X';
    out->lives = there && (out->state == MPROC__SLOT_UNBORN ||
                           (out->state == MPROC__SLOT_LIVE && out->os.began <= slot->born));
}

/* Of the member that was added last. */
static struct mproc__seen_wait *new_wait(struct mproc__picture *p) {
    struct mproc__seen_wait *w = GROW(p->waits, p->nwaits);
    if (w != NULL) {
        *w = (struct mproc__seen_wait){.member = p->nmembers - 1, .object = -1, .target = -1};
        w->fd = w->group = -1;
        p->nwaits++;
    }
    return w;
}

static int add_wait(struct mproc__picture *p, const struct mproc__slot *slot, uint32_t number,
                    int i) {
    const struct mproc__hand *hand = &slot->hands[i];
    if (hand->waits == 0 && hand->guard == 0) {
        return 0;
    }
    struct mproc__seen_wait *w = new_wait(p);
    if (w == NULL) {
        return -ENOMEM;
    }
    w->slot = number;
    w->hand = (uint32_t)i;
    w->note = hand->waits;
    if (hand->waits != 0) {
        w->timed = (hand->waits & MPROC__WAIT_TIMED) != 0;
        w->since = (int64_t)slot->since[i];
        w->thread = slot->waiter[i];
        if ((hand->waits & MPROC__WAIT_FD) != 0) {
            w->role = MPROC__AWAITS_FD;
            w->fd = (int)(hand->waits >> 2 & INT32_MAX);
        } else {
            w->address = hand->waits & ~(uint64_t)MPROC__WAIT_TIMED;
        }
    } else {
        w->address = hand->guard;
        w->role = MPROC__AWAITS_SECTION;
        w->since = p->now;
    }
    return 0;
}

static int add_bells(struct mproc__picture *p, uint64_t token) {
    for (int i = 0; i < p->nbells; i++) {
        if (p->bells[i].owner == token) {
            struct mproc__seen_wait *w = new_wait(p);
            if (w == NULL) {
                return -ENOMEM;
            }
            w->role = MPROC__AWAITS_BELL;
            w->address = p->bells[i].target;
            w->since = p->now;
        }
    }
    return 0;
}

static int add_member(struct mproc__picture *p, const struct mproc__slot *slot, uint32_t i) {
    struct mproc__seen_member *m = GROW(p->members, p->nmembers);
    if (m == NULL) {
        return -ENOMEM;
    }
    describe(slot, i, m);
    p->by_slot[i] = p->nmembers++;
    int r = 0;
    for (int h = 0; h < MPROC__HANDS && r == 0 && m->lives; h++) {
        r = add_wait(p, slot, i, h);
    }
    return r == 0 && p->members[p->nmembers - 1].lives
               ? add_bells(p, p->members[p->nmembers - 1].token)
               : r;
}

static int see_bells(const struct mproc__outside *arena, struct mproc__picture *p) {
    const uint64_t all = arena->base + offsetof(struct mproc__family, bells);
    uint64_t top = 0;
    int r = mproc__outside_read(arena, all + offsetof(struct mproc__bells, top), &top, sizeof top);
    for (uint64_t i = 0; r == 0 && i < top && i < MPROC__BELLS; i++) {
        struct mproc__bell row;
        r = mproc__outside_read(arena, all + offsetof(struct mproc__bells, rows) + i * sizeof row,
                                &row, sizeof row);
        if (r == 0 && row.owner != 0 && row.armed != 0) {
            struct mproc__bell *more = GROW(p->bells, p->nbells);
            if (more == NULL) {
                return -ENOMEM;
            }
            *more = row;
            p->nbells++;
        }
    }
    return r;
}

static int see_members(const struct mproc__outside *arena, struct mproc__picture *p) {
    uint64_t top = 0;
    int r = mproc__outside_read(arena, arena->base + offsetof(struct mproc__family, table.top),
                                &top, sizeof top);
    for (uint32_t i = 0; r == 0 && i < top && i < MPROC__MEMBERS; i++) {
        struct mproc__slot slot;
        r = read_slot(arena, i, &slot);
        if (r == 0 && is_in_use(slot.state)) {
            r = add_member(p, &slot, i);
        }
    }
    return r;
}

/* ---------------------------------------------------------------- one object */

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

static int add_facts(const struct mproc__outside *arena, struct mproc__picture *p,
                     struct mproc__seen_object *o, const void *copy, size_t size) {
    struct mproc__facts facts = {0};
    o->facts = -1;
    if (!read_facts(arena, o, copy, size, &facts)) {
        return 0;
    }
    struct mproc__facts *f = GROW(p->facts, p->nfacts);
    if (f == NULL) {
        return -ENOMEM;
    }
    *f = facts;
    o->facts = p->nfacts++;
    return 0;
}

static int add_holder(struct mproc__picture *p, struct mproc__seen_object *o,
                      const struct mproc__hold *hold) {
    if (hold->token == 0 || hold->token == MPROC__TOKEN_OF_MESSAGES) {
        return 0;
    }
    uint64_t *token = GROW(p->holders, p->nholders);
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
    for (int n = 0; at != 0 && n < HOLDERS_MOST && p->reads < READS_MOST && r == 0; n++) {
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

static void count(struct mproc__picture *p, enum mproc__kind kind, uint64_t size, uint64_t n) {
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
        struct mproc__seen_task *task = GROW(p->tasks, p->ntasks);
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
    _Alignas(MPROC__LINE) char copy[OBJECT_BYTES];
    struct mproc__object head;
    memcpy(&head, bytes, sizeof head);
    struct mproc__seen_object *o = GROW(p->objects, p->nobjects);
    if (o == NULL || p->nobjects == INT32_MAX) {
        return -ENOMEM;
    }
    *o = (struct mproc__seen_object){address, block, (enum mproc__kind)head.kind, -1, -1, 0, 0,
                                     0,       0};
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
    struct mproc__seen_stack *stack = GROW(p->stacks, p->nstacks);
    if (stack == NULL) {
        return -ENOMEM;
    }
    *stack =
        (struct mproc__seen_stack){head.owner, head.thread, head.at, mproc__picture_text(p, words)};
    p->nstacks++;
    return 0;
}

static enum mproc__kind kind_of(const char *bytes, size_t size) {
    uint32_t kind = MPROC__KIND_NONE;
    if (looks_like_object(bytes, size)) {
        memcpy(&kind, bytes + offsetof(struct mproc__object, kind), sizeof kind);
    }
    return (enum mproc__kind)kind;
}

/* Messages and the like are counted, and that is all. */
static bool is_looked_at(const char *bytes, size_t size) {
    enum mproc__kind kind = kind_of(bytes, size);
    return kind != MPROC__KIND_NONE && kind != MPROC__KIND_MESSAGE && kind != MPROC__KIND_PARCEL;
}

/* A block of which `size` bytes have been copied. */
static int see_block(const struct mproc__outside *arena, struct mproc__picture *p, uint64_t address,
                     uint64_t block, const char *bytes, size_t size) {
    enum mproc__kind kind = kind_of(bytes, size);
    count(p, kind, block, 1);
    if (!is_looked_at(bytes, size)) {
        return 0;
    }
    if (kind == MPROC__KIND_STACK) {
        return see_stack(p, bytes, size);
    }
    return see_object(arena, p, address, block, bytes, size);
}

/* ---------------------------------------------------------------- the heap */

struct heap_walk {
    const struct mproc__outside *arena;
    struct mproc__picture *picture;
    struct mproc__chunks chunks;
    char bytes[MPROC__CHUNK];
};

static int see_all_at_once(struct heap_walk *walk, uint64_t at, uint64_t size, uint64_t n) {
    int r = n != 0 ? mproc__outside_read(walk->arena, at, walk->bytes, n * size) : 0;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = see_block(walk->arena, walk->picture, at + i * size, size, walk->bytes + i * size,
                      size);
    }
    return r;
}

/* A block whose contents nobody asked for, mostly: messages, which others write at this moment.
 * Each cache line that is read here has to come back to them. */
static int see_large(struct heap_walk *walk, uint64_t at, uint64_t size) {
    size_t most = size < OBJECT_BYTES ? (size_t)size : OBJECT_BYTES;
    size_t head = sizeof(struct mproc__object);
    int r = mproc__outside_read(walk->arena, at, walk->bytes, head);
    if (r == 0 && is_looked_at(walk->bytes, head) &&
        kind_of(walk->bytes, head) != MPROC__KIND_DICT) {
        r = mproc__outside_read(walk->arena, at, walk->bytes, most);
        head = most;
    }
    return r == 0 ? see_block(walk->arena, walk->picture, at, size, walk->bytes, head) : r;
}

static int see_one_by_one(struct heap_walk *walk, uint64_t at, uint64_t size, uint64_t n) {
    int r = 0;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = see_large(walk, at + i * size, size);
    }
    return r;
}

static int see_small(struct heap_walk *walk, uint64_t at, const struct mproc__chunk *d) {
    unsigned class = mproc__chunk_class(d->state);
    if (class >= MPROC__CLASSES) {
        return 0;
    }
    size_t size = mproc__heap_class_size(class), most = MPROC__CHUNK / size;
    uint64_t n = d->bump < most ? d->bump : most;
    if (size < sizeof(struct mproc__object)) {
        count(walk->picture, MPROC__KIND_NONE, size, d->used < n ? d->used : n);
        return 0;
    }
    uint64_t blocks = walk->picture->blocks;
    int r = size < BULK ? see_all_at_once(walk, at, size, n) : see_one_by_one(walk, at, size, n);
    /* Blocks that are free are among those without a kind. */
    uint64_t free = n - (d->used < n ? d->used : n);
    if (walk->picture->blocks - blocks >= free && walk->picture->of_kind[0] >= free) {
        walk->picture->blocks -= free;
        walk->picture->bytes -= free * size;
        walk->picture->of_kind[0] -= free;
        walk->picture->bytes_of_kind[0] -= free * size;
    }
    return r;
}

/* ---------------------------------------------------------------- labels */

static void see_label(struct mproc__picture *p, const struct mproc__label *label,
                      const char *text) {
    int i = mproc__picture_at(p, label->object);
    struct mproc__seen_object *o = i >= 0 ? &p->objects[i] : NULL;
    if (o == NULL || o->address != label->object) {
        return;
    }
    if (label->kind == MPROC__LABEL_NAME) {
        o->name = mproc__picture_text(p, text);
    } else if (label->kind == MPROC__LABEL_ORIGIN) {
        o->origin = mproc__picture_text(p, text);
    }
}

/* What was freed meanwhile, or is rubbish, mostly names no object here. */
static void see_labels(const struct mproc__outside *arena, struct mproc__picture *p, uint64_t at) {
    for (unsigned n = 0; at != 0 && n < LABELS_MOST && p->reads < READS_MOST; n++) {
        struct mproc__label label;
        char text[MPROC__LABEL_MOST + 1] = "";
        p->reads++;
        if (mproc__outside_read(arena, at, &label, sizeof label) != 0 ||
            label.length > MPROC__LABEL_MOST ||
            mproc__outside_read(arena, at + sizeof label, text, label.length) != 0) {
            break;
        }
        text[label.length] = 0;
        see_label(p, &label, text);
        at = label.next;
    }
}

/* ---------------------------------------------------------------- chunks */

/* Chunk number i; what lies outside of the arena is passed over. Returns how many chunks it is. */
static int see_chunk(struct heap_walk *walk, uint64_t i, uint64_t top, uint64_t *length) {
    struct mproc__chunk d;
    uint64_t at = walk->chunks.first + (i << MPROC__CHUNK_SHIFT);
    int r = mproc__outside_read(walk->arena, walk->chunks.table + i * sizeof d, &d, sizeof d);
    *length = 1;
    if (r == 0 && mproc__chunk_kind(d.state) == MPROC__CHUNK_SMALL) {
        r = see_small(walk, at, &d);
    } else if (r == 0 && mproc__chunk_kind(d.state) == MPROC__CHUNK_RUN) {
        uint64_t run = mproc__chunk_length(d.state);
        *length = run > 0 && run <= top - i ? run : 1;
        r = see_large(walk, at, *length << MPROC__CHUNK_SHIFT);
    } else {
        return r == -EFAULT ? 0 : r;
    }
    if (r == 0) {
        see_labels(walk->arena, walk->picture, d.labels);
    }
    return r == -EFAULT ? 0 : r;
}

static bool is_good(const struct mproc__outside *arena, const struct mproc__chunks *c) {
    uint64_t head = arena->base + sizeof(struct mproc__family);
    uint64_t end = arena->base + arena->span;
    return c->table >= head && c->table < end && c->first > c->table && c->first < end &&
           c->first % MPROC__CHUNK == 0 && c->top <= (end - c->first) >> MPROC__CHUNK_SHIFT &&
           c->top <= (c->first - c->table) / sizeof(struct mproc__chunk);
}

static int see_heap(const struct mproc__outside *arena, struct mproc__picture *p) {
    struct heap_walk *walk = malloc(sizeof *walk);
    if (walk == NULL) {
        return -ENOMEM;
    }
    walk->arena = arena;
    walk->picture = p;
    int r = mproc__outside_read(arena, arena->base + offsetof(struct mproc__family, chunks),
                                &walk->chunks, sizeof walk->chunks);
    if (r == 0 && !is_good(arena, &walk->chunks)) {
        r = MPROC_ECORRUPT;
    }
    uint64_t top = r == 0 ? walk->chunks.top : 0, length = 1;
    for (uint64_t i = 0; r == 0 && i < top; i += length) {
        r = see_chunk(walk, i, top, &length);
    }
    p->used = walk->chunks.used << MPROC__CHUNK_SHIFT;
    p->warm = walk->chunks.warm << MPROC__CHUNK_SHIFT;
    p->limit = walk->chunks.limit << MPROC__CHUNK_SHIFT;
    free(walk);
    return r;
}

/* ---------------------------------------------------------------- named segments */

static int see_segments(const struct mproc__outside *arena, struct mproc__picture *p) {
    const uint64_t names = offsetof(struct mproc__segment, name);
    uint64_t at = 0;
    int r = mproc__outside_read(arena, arena->base + offsetof(struct mproc__family, shms.first),
                                &at, sizeof at);
    uint64_t seen = 0; /* one of the last half: in a ring it comes again */
    while (r == 0 && at != 0 && at != seen && p->nsegments < SEGMENTS_MOST) {
        seen = (p->nsegments & (p->nsegments - 1)) == 0 ? at : seen;
        struct mproc__seen_segment *s = GROW(p->segments, p->nsegments);
        if (s == NULL) {
            return -ENOMEM;
        }
        size_t most = sizeof s->name; /* a short block at the arena's end has less behind it */
        while (most > 16 && mproc__outside_read(arena, at + names, s->name, most) != 0) {
            most -= 16;
        }
        s->name[most - 1] = 0;
        if (most <= 16 || mproc__outside_read(arena, at, &at, sizeof at) != 0) {
            break;
        }
        p->nsegments++;
    }
    return r;
}

/* ---------------------------------------------------------------- putting it together */

static void link_inside(struct mproc__picture *p) {
    for (int i = 0; i < p->nobjects; i++) {
        const struct mproc__facts *facts = mproc__picture_facts(p, i);
        for (int n = 0; n < 2; n++) {
            int inner = facts->inside[n] != 0 ? mproc__picture_at(p, facts->inside[n]) : -1;
            if (inner >= 0 && inner != i && p->objects[inner].holders == 0) {
                p->objects[inner].within = i;
            }
        }
    }
}

static int member_of_slot(const struct mproc__outside *arena, const struct mproc__picture *p,
                          uint64_t address) {
    uint64_t first = arena->base + offsetof(struct mproc__family, table.slots);
    uint64_t number = (address - first) / sizeof(struct mproc__slot);
    if (address < first || number >= MPROC__MEMBERS) {
        return -1;
    }
    return p->by_slot[number];
}

/* A thread that has named a guard is in its section, or waits for the one that is. */
static void resolve_section(const struct mproc__outside *arena, const struct mproc__picture *p,
                            struct mproc__seen_wait *w) {
    uint64_t word = 0;
    (void)mproc__outside_read(arena, w->address, &word, sizeof word);
    int owner = mproc__picture_member(p, mproc__mutex_token(word));
    w->target = owner != w->member ? owner : -1;
}

static void resolve(const struct mproc__outside *arena, const struct mproc__picture *p,
                    struct mproc__seen_wait *w) {
    if (w->role == MPROC__AWAITS_FD) {
        return;
    }
    w->object = mproc__picture_at(p, w->address);
    if (w->role == MPROC__AWAITS_SECTION) {
        resolve_section(arena, p, w);
    } else if (w->object < 0) {
        w->target = w->role == MPROC__AWAITS_IT ? member_of_slot(arena, p, w->address) : -1;
    } else if (w->role == MPROC__AWAITS_IT) {
        const struct mproc__facts *facts = mproc__picture_facts(p, w->object);
        uint64_t offset = w->address - p->objects[w->object].address;
        if (offset != 0 && (offset == facts->room_at[0] || offset == facts->room_at[1])) {
            w->role = MPROC__AWAITS_ROOM;
        } else if (offset != 0 && offset == facts->idle_at) {
            w->role = MPROC__AWAITS_DONE;
        }
    }
}

static bool is_known(const struct mproc__seen_wait *w) {
    return w->object >= 0 || w->target >= 0 || w->fd >= 0;
}

/* Members in a section that is their own do not wait, and a note may lead nowhere. */
static void resolve_all(const struct mproc__outside *arena, struct mproc__picture *p) {
    int kept = 0;
    for (int i = 0; i < p->nwaits; i++) {
        struct mproc__seen_wait w = p->waits[i];
        resolve(arena, p, &w);
        if (w.role == MPROC__AWAITS_SECTION ? w.target >= 0 : is_known(&w)) {
            struct mproc__seen_member *m = &p->members[w.member];
            m->first_wait = m->nwaits++ == 0 ? kept : m->first_wait;
            p->waits[kept++] = w;
        }
    }
    p->nwaits = kept;
}

/* Each thread has one wait. Of words that it has left several times the last ones count. */
static void place_stacks(struct mproc__picture *p) {
    for (int i = 0; i < p->nstacks; i++) {
        const struct mproc__seen_stack *s = &p->stacks[i];
        int wait =
            s->thread <= UINT32_MAX
                ? mproc__picture_wait(p, mproc__picture_member(p, s->owner), (uint32_t)s->thread)
                : -1;
        struct mproc__seen_wait *w = wait >= 0 ? &p->waits[wait] : NULL;
        if (w != NULL && (w->stack == 0 || w->stack_at < s->at)) {
            w->stack = s->text;
            w->stack_at = s->at;
        }
    }
}

/* ---------------------------------------------------------------- since when locks are held */

/* Has the thread been in that wait all the time since it was seen? No two have the same time. */
static bool still_waits(const struct mproc__outside *arena, const struct mproc__seen_wait *w) {
    const uint64_t slot = arena->base + offsetof(struct mproc__family, table.slots) +
                          w->slot * (uint64_t)sizeof(struct mproc__slot);
    uint64_t note = 0, since = 0;
    int r = mproc__outside_read(arena,
                                slot + offsetof(struct mproc__slot, hands) +
                                    w->hand * sizeof(struct mproc__hand) +
                                    offsetof(struct mproc__hand, waits),
                                &note, sizeof note);
    r = r == 0 ? mproc__outside_read(
                     arena, slot + offsetof(struct mproc__slot, since) + w->hand * sizeof since,
                     &since, sizeof since)
               : r;
    return r == 0 && note != 0 && note == w->note && since == (uint64_t)w->since;
}

/* For each wait: 0: not asked yet; 1: it lasts; 2: it does not. */
static bool lasts(const struct mproc__outside *arena, const struct mproc__picture *p, int wait,
                  char *known) {
    if (known[wait] == 0) {
        known[wait] = still_waits(arena, &p->waits[wait]) ? 1 : 2;
    }
    return known[wait] == 1;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void judge_since(const struct mproc__outside *arena, const struct mproc__picture *p,
                        struct mproc__facts *f, char *known) {
    const uint64_t now = (uint64_t)p->now;
    int m = mproc__picture_member(p, f->owner);
    bool thread_is_its = m >= 0 && f->thread >> 32 == (uint64_t)p->members[m].pid;
    int wait = thread_is_its ? mproc__picture_wait(p, m, (uint32_t)(f->thread & UINT32_MAX)) : -1;
    f->since = f->since < now ? f->since : f->since != 0 ? now : 0;
    if (wait >= 0 && p->waits[wait].since > 0 && (uint64_t)p->waits[wait].since < now &&
        lasts(arena, p, wait, known)) {
        f->since = earlier(f->since, (uint64_t)p->waits[wait].since);
    }
}

/* A member takes nothing while all of its threads wait: since the last one of them began to. 0: one
 * may run. */
static uint64_t all_wait_since(const struct mproc__outside *arena, const struct mproc__picture *p,
                               int member, char *known) {
    const struct mproc__seen_member *m = &p->members[member];
    int64_t since = 0;
    if (m->nwaits != m->os.threads) {
        return 0;
    }
    for (int i = m->first_wait; i < m->first_wait + m->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        if (w->note == 0 || w->since <= 0 || w->since >= p->now || !lasts(arena, p, i, known)) {
            return 0;
        }
        since = w->since > since ? w->since : since;
    }
    return (uint64_t)since;
}

static void judge_takers(const struct mproc__outside *arena, const struct mproc__picture *p,
                         struct mproc__facts *f, char *known) {
    const uint64_t now = (uint64_t)p->now;
    for (int i = 0; i < MPROC__FACTS_TAKERS; i++) {
        int m = f->takers[i].token != 0 ? mproc__picture_member(p, f->takers[i].token) : -1;
        uint64_t seen = f->takers[i].since, waits = m >= 0 ? all_wait_since(arena, p, m, known) : 0;
        f->takers[i].since = earlier(seen < now ? seen : now, waits);
    }
}

static int find_since(const struct mproc__outside *arena, struct mproc__picture *p) {
    char *known = calloc((size_t)p->nwaits + 1, 1);
    if (known == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < p->nfacts; i++) {
        if (p->facts[i].owner != 0) {
            judge_since(arena, p, &p->facts[i], known);
        }
        judge_takers(arena, p, &p->facts[i], known);
    }
    free(known);
    return 0;
}

int64_t mproc__picture_held(const struct mproc__picture *p, int object) {
    const struct mproc__facts *f = mproc__picture_facts(p, object);
    return f->owner != 0 && f->since != 0 ? p->now - (int64_t)f->since : -1;
}

int64_t mproc__picture_taken(const struct mproc__picture *p, int object, int taker) {
    uint64_t since = mproc__picture_facts(p, object)->takers[taker].since;
    return since != 0 ? p->now - (int64_t)since : -1;
}

/* ---------------------------------------------------------------- by two pictures */

int64_t mproc__picture_oldest(const struct mproc__picture *p, int queue) {
    const struct mproc__facts *f = mproc__picture_facts(p, queue);
    bool known = p->objects[queue].kind == MPROC__KIND_QUEUE && f->count != 0 && f->since != 0;
    return known ? p->now - (int64_t)f->since : -1;
}

int64_t mproc__picture_running(const struct mproc__picture *p,
                               const struct mproc__seen_task *task) {
    return task->since != 0 ? p->now - task->since : -1;
}

/* It is mostly where it was. */
static const struct mproc__seen_task *same_task(const struct mproc__picture *before, int first,
                                                const struct mproc__seen_task *task) {
    for (int n = 0; n < before->ntasks && n < TASKS_TRIED; n++) {
        const struct mproc__seen_task *t = &before->tasks[(first + n) % before->ntasks];
        if (t->worker == task->worker && t->ticket == task->ticket) {
            return t;
        }
    }
    return NULL;
}

/* The one that was the oldest then, and nothing has been got since. */
static void compare_queue(struct mproc__picture *p, const struct mproc__picture *before, int i) {
    struct mproc__facts *f = &p->facts[p->objects[i].facts];
    const struct mproc__facts *then = mproc__picture_facts_before(p, before, i);
    if (then != NULL && then->count != 0 && f->count != 0 &&
        then->total - then->count == f->total - f->count) {
        f->since = then->since != 0 ? then->since : (uint64_t)before->now;
    }
}

void mproc__picture_compare(struct mproc__picture *p, const struct mproc__picture *before) {
    for (int i = 0; i < p->nobjects; i++) {
        if (p->objects[i].kind == MPROC__KIND_QUEUE && p->objects[i].facts >= 0) {
            compare_queue(p, before, i);
        }
    }
    for (int i = 0; i < p->ntasks; i++) {
        struct mproc__seen_task *task = &p->tasks[i];
        const struct mproc__seen_task *then = same_task(before, i, task);
        if (then != NULL) {
            int64_t since = then->since != 0 ? then->since : before->now;
            task->since = task->since == 0 || since < task->since ? since : task->since;
        }
    }
}

static void count_holds(struct mproc__picture *p) {
    for (uint64_t i = 0; i < p->nholders; i++) {
        int m = mproc__picture_member(p, p->holders[i]);
        if (m >= 0) {
            p->members[m].holds++;
        }
    }
}

static int *no_members(void) {
    int *by_slot = malloc(MPROC__MEMBERS * sizeof *by_slot);
    for (int i = 0; by_slot != NULL && i < MPROC__MEMBERS; i++) {
        by_slot[i] = -1;
    }
    return by_slot;
}

int mproc__picture_take(const struct mproc__outside *arena, struct mproc__picture *out) {
    struct mproc__picture p = {.by_slot = no_members()};
    p.now = mproc__os_now();
    p.boot_now = mproc__os_boot_now();
    p.span = arena->span;
    (void)mproc__picture_text(&p, "");
    int r = p.by_slot != NULL && p.texts != NULL ? see_bells(arena, &p) : -ENOMEM;
    r = r == 0 ? see_members(arena, &p) : r;
    r = r == 0 ? see_heap(arena, &p) : r;
    r = r == 0 ? see_segments(arena, &p) : r;
    if (r == 0) {
        link_inside(&p);
        resolve_all(arena, &p);
        r = find_since(arena, &p);
    }
    if (r != 0) {
        mproc__picture_drop(&p);
        return r == -EFAULT ? MPROC_ECORRUPT : r;
    }
    place_stacks(&p);
    count_holds(&p);
    *out = p;
    return 0;
}

void mproc__picture_drop(struct mproc__picture *owned) {
    free(owned->members);
    free(owned->objects);
    free(owned->waits);
    free(owned->facts);
    free(owned->segments);
    free(owned->stacks);
    free(owned->tasks);
    free(owned->holders);
    free(owned->texts);
    free(owned->bells);
    free(owned->by_slot);
    *owned = (struct mproc__picture){0};
}

/* ---------------------------------------------------------------- a queue's messages */

uint64_t mproc__picture_queue_bytes(const struct mproc__outside *arena,
                                    const struct mproc__picture *p,
                                    const struct mproc__facts *queue) {
    char *copy = aligned_alloc(MPROC__LINE, MPROC__SEGMENT_MOST);
    uint64_t left = queue->count, bytes = 0, seen = 0;
    uint64_t at = queue->segments[0], offset = queue->segments[1];
    /* Segments are no more than what is used. */
    while (copy != NULL && left > 0 && at != 0 && seen <= p->used) {
        size_t size = MPROC__SEGMENT_MOST;
        while (size > 0 && mproc__outside_read(arena, at, copy, size) != 0) {
            size /= 2;
        }
        seen += MPROC__SEGMENT_MOST / 64; /* the smallest */
        at = mproc__queue_segment(copy, size, offset, &left, &bytes);
        offset = mproc__queue_segment_first();
    }
    free(copy);
    return bytes;
}

bool mproc__picture_lives(const struct mproc__picture *p) {
    for (int i = 0; i < p->nmembers; i++) {
        const struct mproc__seen_member *m = &p->members[i];
        if (m->lives && mproc__os_process_is(m->pid, m->born) == 1) {
            return true;
        }
    }
    return false;
}
