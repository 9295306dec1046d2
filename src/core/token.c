/*
 * token.c - which member the caller is, and which members live
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A member's slot holds a robust mutex that the first thread of its process took at
 * birth and never releases (struct mproc__os_life): as long as the kernel has not marked it, the
 * member lives, and a look at memory has told. A mark means that the system must be asked, because
 * the first thread may end before its process.
 *
 * Shared state: only read here. A slot that is freed and given to another member gets another
 * serial, so what a slot says counts only if its state still bears the token's serial afterwards.
 *
 * Invariants.
 *   P1  A serial is given once; a token therefore names at most one process, for ever.
 *   P2  A LIVE slot's pid is its process', and was at `born`; `life` is its first thread's, or
 *       nobody's.
 *
 * If a member dies here: nothing is written.
 */
#include "core/token.h"

#include "core/witness.h"

#define CHILDREN_MAX 1024    /* of a process with more, an early death stays unnoticed */
#define ASK_AGAIN MPROC_MSEC /* asking costs 15 us, a failed try 10 ns */

struct mproc__table *mproc__table;
struct mproc__self mproc__process_self;
MPROC__THREAD struct mproc__self *mproc__thread_self;
MPROC__THREAD uint64_t mproc__thread_id;

void mproc__table_enter(struct mproc__table *table) {
    mproc__table = table;
}

uint64_t mproc__thread_ask(void) {
    mproc__thread_id = (uint64_t)mproc__os_pid() << 32 | (uint32_t)mproc__os_tid();
    return mproc__thread_id;
}

/* ---------------------------------------------------------------- which members live */

static bool has_slot(pid_t pid) {
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        if (mproc__load_pid(&mproc__table->slots[i].pid) == pid) {
            return true;
        }
    }
    return false;
}

/* Is every living child of the process known by its own slot? */
static bool children_known(pid_t parent) {
    pid_t children[CHILDREN_MAX];
    int n = mproc__os_process_children(parent, children, CHILDREN_MAX);
    if (n < 0 || n > CHILDREN_MAX) {
        return false;
    }
    while (n-- > 0) {
        if (mproc__os_process_is(children[n], UINT64_MAX) != 0 && !has_slot(children[n])) {
            return false;
        }
    }
    return true;
}

/* A forked child that was killed before it could say its pid is not among its parent's children.
 * One that lives is, and has no slot of its own until it has said its pid. The look is made twice,
 * because a child whose thread ends moves to another thread's list. */
static bool died_unknown(const struct mproc__slot *slot) {
    for (int i = 0; i < 2; i++) {
        /* SYNC(slot.pid) */
        if (!children_known(slot->ppid) || mproc__load_pid(&slot->pid) != MPROC__PID_UNKNOWN) {
            return false;
        }
    }
    return true;
}

/* Has the process of a LIVE slot, or of an UNBORN one whose starter told the pid, ended? */
static bool process_ended(const struct mproc__slot *slot, unsigned state) {
    pid_t pid = mproc__load_pid(&slot->pid);
    if (pid == 0 || pid < MPROC__PID_UNKNOWN || pid == mproc__self_pid()) {
        return false;
    }
    if (pid == MPROC__PID_UNKNOWN) {
        return died_unknown(slot);
    }
    return mproc__os_process_is(pid, state == MPROC__SLOT_LIVE ? slot->born : UINT64_MAX) == 0;
}

bool mproc__token_alive(uint64_t token) {
    uint32_t number = mproc__token_number(token);
    if (number >= MPROC__MEMBERS) {
        return false;
    }
    struct mproc__slot *slot = &mproc__table->slots[number];
    bool certain = mproc__os_life_certain(&slot->life);
    return certain && mproc__load64(&slot->state) == mproc__token_state(token, MPROC__SLOT_LIVE);
}

/* Is it the child of a fork() that has been made, or is about to be, and may it still come? It has
 * a witness until it has adopted its slot (witness.c), though its parent may have ended. Without
 * one it has ended if its slot is still UNBORN now. */
static bool may_come(const struct mproc__slot *slot, uint64_t token, unsigned state) {
    if (state != MPROC__SLOT_UNBORN || mproc__load_pid(&slot->pid) >= 0) {
        return false;
    }
    /* SYNC(slot.state) */
    return mproc__witness_stands(token) ||
           mproc__load64(&slot->state) != mproc__token_state(token, MPROC__SLOT_UNBORN);
}

/* *starter: of a child that is not born, whose starter's end is its own; else 0. A child that has a
 * pid is on its way, and a detached one comes without its starter. */
static bool has_ended(uint64_t token, uint64_t *starter) {
    *starter = 0;
    if (mproc__token_alive(token)) {
        return false;
    }
    struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL) {
        return true;
    }
    unsigned state = mproc__load64(&slot->state) & 0xff; /* SYNC(slot.state) */
    if (state == MPROC__SLOT_DYING) {
        return true;
    }
    if (may_come(slot, token, state)) {
        return false;
    }
    if (process_ended(slot, state)) {
        return true;
    }
    if (state == MPROC__SLOT_UNBORN && mproc__load_pid(&slot->pid) <= 0) {
        *starter = mproc__peek64(&slot->parent);
    }
    return false;
}

/* A starter is born: it is not asked for its own. */
bool mproc__token_dead(uint64_t token) {
    uint64_t starter, its_own;
    return has_ended(token, &starter) || (starter != 0 && has_ended(starter, &its_own));
}

bool mproc__token_left(uint64_t token) {
    uint32_t number = mproc__token_number(token);
    if (number >= MPROC__MEMBERS) {
        return false;
    }
    struct mproc__slot *slot = &mproc__table->slots[number];
    /* SYNC(slot.exiting): a reaper that took the word back has set `left` before. */
    bool said = mproc__token_slot(token) != NULL && mproc__load32(&slot->exiting) != 0;
    return said || mproc__peek32(&slot->left) == token >> 32;
}

bool mproc__token_may_ask(const void *about) {
    static MPROC__THREAD const void *last;
    static MPROC__THREAD int64_t at;
    int64_t now = mproc__os_now();
    if (about == last && now - at < ASK_AGAIN) {
        return false;
    }
    last = about;
    at = now;
    return true;
}

/* The thread may be another member's, which died while it took something from the first one's. Then
 * its process need not be collected yet, and the number stands for nothing that lives. A process of
 * another pid namespace is not known here by its numbers: nothing is said about it. */
bool mproc__thread_ended(uint64_t token, uint64_t thread) {
    pid_t pid = (pid_t)(thread >> 32);
    bool ended = mproc__os_thread_ended(pid, (pid_t)(thread & 0xffffffff));
    const struct mproc__slot *slot = mproc__token_slot(token);
    if (slot == NULL) {
        return false;
    }
    if (mproc__load_pid(&slot->pid) != pid) {
        return ended || mproc__os_process_is(pid, UINT64_MAX) == 0;
    }
    return ended && (pid == mproc__self_pid() || mproc__os_process_is(pid, slot->born) == 1);
}
