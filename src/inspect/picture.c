/*
 * picture.c - what a family looks like at one moment, as far as it can be seen without stopping it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The table of members is copied slot by slot, the heap chunk by chunk. A block that
 * begins as an object does is taken for one. Then each thing that was found is put in its place:
 * which object belongs to which, who holds it, who waits for it.
 *
 * Every walk has an end that does not depend on what the arena says: tables have the sizes that
 * the library gives them, chunks are in the arena's span, a list of holds has at most as many
 * records as there can be members.
 */
#include "inspect/picture.h"

#include <stdlib.h>
#include <string.h>

#include "core/wait.h"
#include "inspect/blocks.h"
#include "inspect/grow.h"
#include "inspect/members.h"
#include "system/os.h"

#define SEGMENTS_MOST 65536

/* ---------------------------------------------------------------- named segments */

static int see_segments(const struct mproc__outside *arena, struct mproc__picture *p) {
    const uint64_t names = offsetof(struct mproc__segment, name);
    uint64_t at = 0;
    int r = mproc__outside_read(arena, arena->base + offsetof(struct mproc__family, shms.first),
                                &at, sizeof at);
    uint64_t seen = 0; /* one of the last half: in a ring it comes again */
    while (r == 0 && at != 0 && at != seen && p->nsegments < SEGMENTS_MOST) {
        seen = (p->nsegments & (p->nsegments - 1)) == 0 ? at : seen;
        struct mproc__seen_segment *s = MPROC__GROW(p->segments, p->nsegments);
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
    for (int i = 0; i < p->nmembers; i++) { /* they are no more than the threads that it has */
        struct mproc__seen_member *m = &p->members[i];
        int others = m->os.threads > m->nwaits ? m->os.threads - m->nwaits : 0;
        m->unnoted = m->unnoted < others ? m->unnoted : others;
    }
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
    int r = p.by_slot != NULL && p.texts != NULL ? mproc__see_bells(arena, &p) : -ENOMEM;
    r = r == 0 ? mproc__see_members(arena, &p) : r;
    r = r == 0 ? mproc__see_heap(arena, &p) : r;
    r = r == 0 ? see_segments(arena, &p) : r;
    if (r == 0) {
        link_inside(&p);
        resolve_all(arena, &p);
        r = mproc__find_since(arena, &p);
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
