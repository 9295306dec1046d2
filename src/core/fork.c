/*
 * fork.c - fork() by anybody makes a member
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. fork() may be called by the program, by a library or by process.c. The handler
 * before it reserves a slot for the child and copies the caller's holds into it; the one in the
 * child adopts the slot; the one in the parent marks that the child is there, since only the child
 * knows its pid. While fork() runs, no other thread of the process changes the holds, whose copies
 * the child gets. Its views are mapped privately from then on (views.c).
 *
 * A fork() waits for no other member, which may be stopped: a slot is reserved without a section,
 * and of the holds is copied what can be within a moment. The rest is the child's estate, which
 * whoever changes the holds of either copies first (object.c). Nor does it wait for threads of its
 * own process that wait for such a member: it works with a hand that is kept for it (hand.c), and
 * the locks that it takes are held by nobody who waits.
 *
 * Shared state: that of member.c.
 *
 * If a member dies here. The parent, before the fork: its reservation is reaped with it. The child,
 * before it has adopted: token.c finds that none of the parent's children is without a slot. The
 * parent, while the child has not run yet: a witness keeps the child's slot (witness.c).
 */
#include "core/fork.h"

#include <errno.h>

#include "core/member.h"
#include "core/object.h"
#include "core/reaper.h"
#include "core/views.h"
#include "core/witness.h"

static _Thread_local uint64_t next_fork;

/* What the forking thread keeps between the handlers. */
static _Thread_local struct {
    uint64_t token; /* of the child, 0: none */
    bool ours;      /* reserved here, not by a starter that gives it up itself */
    bool without;   /* there was no memory for its holds: it is not to be a member */
    int witness;    /* of the child, negative: none */
    int error;      /* errno as fork() found it */
} forking;

void mproc__fork_next(uint64_t token) {
    next_fork = token;
    forking.without = false;
}

bool mproc__fork_without_holds(void) {
    return forking.without;
}

static void choose_slot(bool member) {
    forking.token = next_fork;
    forking.ours = next_fork == 0;
    next_fork = 0;
    if (!member ||
        (forking.ours && mproc__member_expect("fork", (mproc_method)0, 0, &forking.token) != 0)) {
        forking.token = 0;
    }
}

/* A child that ends with its parent needs none: it is killed when its parent has ended first. */
static int witness_for(uint64_t token) {
    const struct mproc__slot *slot = mproc__token_slot(token);
    bool outlives = forking.ours || (slot != NULL && (slot->flags & MPROC_DETACHED) != 0);
    return outlives ? mproc__witness_new(token) : -ESRCH;
}

/* A child for which there is no slot, or no memory for its holds, or whose parent died meanwhile,
 * goes on without a family and without the arena. It could not keep its parent's objects from going
 * while it uses them, and would then use what others have made in their place. */
void mproc__fork_before(void) {
    forking.error = errno;
    struct mproc__hand *hand = mproc__hand_fork_begin();
    choose_slot(hand != NULL);
    mproc__holds_freeze();
    mproc__pages_freeze();
    forking.witness = -ESRCH;
    if (forking.token != 0) {
        forking.witness = witness_for(forking.token); /* before it is said that a child may come */
        mproc__member_forking(forking.token);
        forking.without = mproc__holds_inherit(hand, forking.token) != 0;
    }
    errno = 0;
}

static void tell(bool failed) {
    if (forking.token == 0) {
        return;
    }
    if (!forking.ours) {
        if (failed) {
            mproc__member_not_forked(forking.token);
        }
    } else if (failed || forking.without) {
        mproc__reap_dead_soon(forking.token);
    } else {
        mproc__member_forked(forking.token);
    }
}

/* Nothing else says that fork() has failed; success leaves errno alone. */
void mproc__fork_after_in_parent(void) {
    bool failed = errno == EAGAIN || errno == ENOMEM;
    int error = failed ? errno : forking.error;
    mproc__pages_thaw();
    mproc__holds_thaw();
    tell(failed);
    mproc__witness_leave(forking.witness);
    mproc__hand_fork_end();
    if (forking.without && forking.ours && !failed) {
        mproc__log("no memory to give a forked child its parent's holds: it is no member");
    }
    if (errno != error) {
        errno = error;
    }
}

bool mproc__fork_after_in_child(void) {
    mproc__thread_id = 0;
    mproc__pages_thaw();
    mproc__holds_thaw();
    mproc__hand_fork_end_in_child();
    if (mproc__table == NULL) {
        return true;
    }
    bool adopted =
        forking.token != 0 && !forking.without && mproc__member_adopt(forking.token) == 0;
    mproc__witness_leave(forking.witness);
    errno = forking.error;
    return adopted;
}

int mproc__fork_adopt(uint64_t token) {
    mproc__thread_id = 0;
    mproc__hand_forget();
    return mproc__member_adopt(token);
}
