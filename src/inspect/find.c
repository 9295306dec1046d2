/*
 * find.c - looking things up in a picture
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/find.h"

#include "core/token.h"

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
