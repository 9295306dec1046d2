/*
 * members.c - the members of a family, in a picture
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The table of members is copied slot by slot. A slot whose member notes something at
 * this moment is looked at again.
 */
#include "inspect/members.h"

#include "core/wait.h"
#include "inspect/grow.h"
#include "system/os.h"

#define AGAIN 2 /* further looks at a slot that changes meanwhile */

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

/* What the kernel says of it. One that it does not speak of (hidepid) has not ended. The first
 * thread of a process that has ended is there still, beside those that go on. */
static int see_process(pid_t pid, struct mproc__os_seen *out, bool *there) {
    int r = pid > 0 ? mproc__os_process_see(pid, out) : -ESRCH;
    bool first_ended = r == 0 && (out->state == 'Z' || out->state == 'X');
    out->threads -= first_ended && out->threads > 0; /* one that just ends may have none */
    *there = r == 0 ? !first_ended || out->threads > 0 : r != -ESRCH;
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM ? r : 0;
}

static int describe(const struct mproc__slot *slot, uint32_t i, struct mproc__seen_member *out) {
    bool there;
    memset(out, 0, sizeof *out);
    out->token = mproc__token(i, slot->state >> 8);
    out->state = (enum mproc__slot_state)(slot->state & 3);
    out->parent = slot->parent;
    out->born = slot->born;
    out->pid = slot->pid;
    out->method = slot->method;
    memcpy(out->name, slot->name, sizeof out->name);
    out->name[sizeof out->name - 1] = 0;
    int r = see_process(slot->pid, &out->os, &there);
    out->lives = there && (out->state == MPROC__SLOT_UNBORN ||
                           (out->state == MPROC__SLOT_LIVE && out->os.began <= slot->born));
    out->unnoted = out->lives && slot->unnoted <= INT32_MAX ? (int)slot->unnoted : 0;
    return r;
}

/* Of the member that was added last. */
static struct mproc__seen_wait *new_wait(struct mproc__picture *p) {
    struct mproc__seen_wait *w = MPROC__GROW(p->waits, p->nwaits);
    if (w != NULL) {
        *w = (struct mproc__seen_wait){.member = p->nmembers - 1, .object = -1, .target = -1};
        w->fd = w->group = w->handler = -1;
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
        w->since = slot->since[i] <= INT64_MAX ? (int64_t)slot->since[i] : p->now;
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
    struct mproc__seen_member *m = MPROC__GROW(p->members, p->nmembers);
    if (m == NULL) {
        return -ENOMEM;
    }
    int r = describe(slot, i, m);
    p->by_slot[i] = p->nmembers++;
    for (int h = 0; h < MPROC__HANDS && r == 0 && m->lives; h++) {
        r = add_wait(p, slot, i, h);
    }
    return r == 0 && p->members[p->nmembers - 1].lives
               ? add_bells(p, p->members[p->nmembers - 1].token)
               : r;
}

int mproc__see_bells(const struct mproc__outside *arena, struct mproc__picture *p) {
    const uint64_t all = arena->base + offsetof(struct mproc__family, bells);
    uint64_t top = 0;
    int r = mproc__outside_read(arena, all + offsetof(struct mproc__bells, top), &top, sizeof top);
    for (uint64_t i = 0; r == 0 && i < top && i < MPROC__BELLS; i++) {
        struct mproc__bell row;
        r = mproc__outside_read(arena, all + offsetof(struct mproc__bells, rows) + i * sizeof row,
                                &row, sizeof row);
        if (r == 0 && row.owner != 0 && row.armed != 0) {
            struct mproc__bell *more = MPROC__GROW(p->bells, p->nbells);
            if (more == NULL) {
                return -ENOMEM;
            }
            *more = row;
            p->nbells++;
        }
    }
    return r;
}

int mproc__see_members(const struct mproc__outside *arena, struct mproc__picture *p) {
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
