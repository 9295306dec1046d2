/*
 * shm_register.c - which named segments the family has made and not unlinked yet
 *
 * SPDX-License-Identifier: MIT
 *
 * Shared state.
 *   first, next  the register's list; under its guard.
 *   inode, busy  of an entry: the member whose token is in `busy` writes them. A member that finds
 *                0 there may write its own token, under the guard.
 *   doubt        of an entry: a member that unlinks the name while another member is busy with it
 *                sets it, under the guard.
 *   count        of the entries; under the guard.
 *   limit        of count, from which on a new entry has all others reviewed first; under the
 *                guard.
 *
 * Invariants.
 *   S1  An entry's name is 1 to 254 bytes without a slash, and not . or ..; its inode is not 0
 *       unless it is busy. No file is touched for an entry with another name.
 *   S2  There is one entry of a name and an inode at most. Strangers may link one file to two
 *       names, and the system may give a new file the inode of one that has gone.
 *   S3  A name that a member of the family made and did not unlink is in the register, unless it
 *       was made to be kept.
 *   S4  count is the length of the list.
 *   S5  A busy entry is taken out only by the member whose token it bears, or by its reaper.
 *
 * What strangers unlink nobody tells the register. Its entries are reviewed when there are twice as
 * many as after the last time, so a look at a file is paid for by a file made, and entries of files
 * that have gone are at most half of them.
 *
 * If a member dies here: while it makes or unlinks a name, the entry bears its token. The reaper
 * looks whether that file is there and keeps or drops the entry; a file without an inode in its
 * entry goes, since nobody but the dead knew its name (a file of somebody else's could only be
 * there if it had the same 32 random bits). A member that dies after it has unlinked a name that
 * another one was busy with may leave an entry without a file, until that one closes its handle or
 * dies. The nameless file of a dead maker goes with its descriptor.
 */
#include "core/shm_register.h"

#include <inttypes.h>
#include <string.h>

#include "core/heap.h"
#include "core/token.h"

#define FEW 64 /* entries that are never reviewed */

static struct mproc__shms *shms;

static void set(uint64_t *word, uint64_t value) {
    mproc__guard_set(&shms->guard, word, value);
}

static struct mproc__segment *segment_at(uint64_t word) {
    return (struct mproc__segment *)(uintptr_t)word;
}

void mproc__shms_init(struct mproc__shms *all) {
    mproc__guard_init(&all->guard, all->log, MPROC__SHM_UNDO);
    all->limit = FEW;
}

void mproc__shms_enter(struct mproc__shms *all) {
    shms = all;
}

/* ---------------------------------------------------------------- the register; under the guard */

static uint64_t *find(const char *name, uint64_t inode) {
    uint64_t *link = &shms->first;
    while (*link != 0) {
        struct mproc__segment *s = segment_at(*link);
        if (mproc__load64(&s->inode) == inode && strcmp(s->name, name) == 0) {
            return link;
        }
        link = &s->next;
    }
    return NULL;
}

/* Under one name there may be older entries, of files that strangers have unlinked: the first
 * counts. */
static struct mproc__segment *find_named(const char *name) {
    for (uint64_t i = shms->first; i != 0; i = segment_at(i)->next) {
        if (strcmp(segment_at(i)->name, name) == 0) {
            return segment_at(i);
        }
    }
    return NULL;
}

static uint64_t *find_link(const struct mproc__segment *segment) {
    uint64_t *link = &shms->first;
    while (*link != 0 && segment_at(*link) != segment) {
        link = &segment_at(*link)->next;
    }
    return *link != 0 ? link : NULL;
}

static void take_out(struct mproc__hand *hand, uint64_t *link) {
    struct mproc__segment *s = segment_at(*link);
    set(&shms->count, shms->count - 1);
    set(&hand->block, *link);
    set(link, s->next);
}

/* ---------------------------------------------------------------- reviewing all */

/* Makes the next entry that no member is busy with the caller's: behind `owned`, which is, or from
 * the first on (NULL). */
static struct mproc__segment *claim_behind(struct mproc__hand *hand, struct mproc__segment *owned) {
    mproc__guard_enter(&shms->guard, hand);
    struct mproc__segment *s = segment_at(owned != NULL ? owned->next : shms->first);
    while (s != NULL && mproc__load64(&s->busy) != 0) {
        s = segment_at(s->next);
    }
    if (s != NULL) {
        set(&s->busy, mproc__self_token());
    }
    mproc__guard_leave(&shms->guard, hand);
    return s;
}

static void set_limit(struct mproc__hand *hand) {
    mproc__guard_enter(&shms->guard, hand);
    uint64_t twice = 2 * shms->count;
    set(&shms->limit, twice > FEW ? twice : FEW);
    mproc__guard_leave(&shms->guard, hand);
}

static void review_all(struct mproc__hand *hand) {
    struct mproc__segment *s = claim_behind(hand, NULL);
    while (s != NULL) {
        struct mproc__segment *next = claim_behind(hand, s);
        mproc__segment_review(hand, s);
        s = next;
    }
    set_limit(hand);
}

/* ---------------------------------------------------------------- the register */

/* Enters a file whose name is about to be there, or that is there and not yet ours; the entry is
 * the caller's until it is settled. *out is NULL if the file is ours already. */
int mproc__segment_enter(struct mproc__hand *hand, const char *name, uint64_t inode,
                         struct mproc__segment **out) {
    size_t length = strlen(name);
    if (mproc__unlikely(mproc__peek64(&shms->count) >= mproc__peek64(&shms->limit))) {
        review_all(hand);
    }
    int r = mproc__heap_alloc(hand, sizeof(struct mproc__segment) + length + 1, &hand->block);
    if (r != 0) {
        return r;
    }
    struct mproc__segment *s = segment_at(hand->block);
    s->inode = inode;
    s->busy = mproc__self_token();
    s->doubt = 0;
    memcpy(s->name, name, length + 1);
    mproc__guard_enter(&shms->guard, hand);
    bool ours = inode != 0 && find(name, inode) != NULL;
    if (!ours) {
        set(&s->next, shms->first);
        set(&shms->first, hand->block);
        set(&shms->count, shms->count + 1);
        set(&hand->block, 0);
    }
    mproc__guard_leave(&shms->guard, hand);
    if (ours) {
        mproc__heap_free(hand, &hand->block);
    }
    *out = ours ? NULL : s;
    return 0;
}

/* An entry that is the caller's goes. */
void mproc__segment_drop(struct mproc__hand *hand, struct mproc__segment *owned) {
    mproc__guard_enter(&shms->guard, hand);
    uint64_t *link = find_link(owned);
    if (link != NULL) {
        take_out(hand, link);
    }
    mproc__guard_leave(&shms->guard, hand);
    mproc__heap_free(hand, &hand->block);
}

/* The caller is no longer busy with its entry. False: another member has unlinked the name
 * meanwhile, so the entry is still the caller's. */
static bool release(struct mproc__hand *hand, struct mproc__segment *owned) {
    mproc__guard_enter(&shms->guard, hand);
    bool doubt = owned->doubt != 0;
    set(doubt ? &owned->doubt : &owned->busy, 0);
    mproc__guard_leave(&shms->guard, hand);
    return !doubt;
}

static bool has_file(const struct mproc__segment *s) {
    return mproc__segment_is_named(s) && mproc__shm_inode(s->name) == mproc__load64(&s->inode);
}

/* An entry that is the caller's stays or goes, as its file does. */
void mproc__segment_review(struct mproc__hand *hand, struct mproc__segment *owned) {
    while (has_file(owned)) {
        if (release(hand, owned)) {
            return;
        }
    }
    mproc__segment_drop(hand, owned);
}

/* The file of an entry that is the caller's has its name. */
void mproc__segment_settle(struct mproc__hand *hand, struct mproc__segment *owned, uint64_t inode) {
    mproc__store64(&owned->inode, inode);
    mproc__program_order();
    if (!release(hand, owned)) {
        mproc__segment_review(hand, owned);
    }
}

/* Makes the entry of a name the caller's. NULL: there is none, or whoever is at it is told to look
 * again before it says that the name is there. */
struct mproc__segment *mproc__segment_claim(struct mproc__hand *hand, const char *name) {
    if (mproc__peek64(&shms->first) == 0) {
        return NULL;
    }
    mproc__guard_enter(&shms->guard, hand);
    struct mproc__segment *s = find_named(name);
    if (s != NULL && mproc__load64(&s->busy) != 0) {
        set(&s->doubt, 1);
        s = NULL;
    }
    if (s != NULL) {
        set(&s->busy, mproc__self_token());
    }
    mproc__guard_leave(&shms->guard, hand);
    return s;
}

void mproc__segment_forget(struct mproc__hand *hand, const char *name, uint64_t inode) {
    mproc__guard_enter(&shms->guard, hand);
    uint64_t *link = find(name, inode);
    if (link != NULL && mproc__load64(&segment_at(*link)->busy) == 0) {
        take_out(hand, link);
    }
    mproc__guard_leave(&shms->guard, hand);
    mproc__heap_free(hand, &hand->block);
}

/* An entry of a member; NULL: it has none. */
static struct mproc__segment *find_busy(struct mproc__hand *hand, uint64_t token) {
    struct mproc__segment *found = NULL;
    mproc__guard_enter(&shms->guard, hand);
    for (uint64_t i = shms->first; i != 0 && found == NULL; i = segment_at(i)->next) {
        if (mproc__load64(&segment_at(i)->busy) == token) {
            found = segment_at(i);
        }
    }
    mproc__guard_leave(&shms->guard, hand);
    return found;
}

void mproc__shms_reap(struct mproc__hand *hand, uint64_t token) {
    char path[MPROC__SHM_PATH];
    struct mproc__segment *s;
    while (mproc__peek64(&shms->first) != 0 && (s = find_busy(hand, token)) != NULL) {
        uint64_t inode = mproc__load64(&s->inode);
        if (inode == 0) {
            if (mproc__segment_is_named(s)) {
                (void)mproc__os_file_unlink(mproc__shm_path(s->name, path));
            }
            mproc__segment_drop(hand, s);
        } else {
            mproc__segment_review(hand, s);
        }
    }
}

/* ---------------------------------------------------------------- check */

static int check_segment(const struct mproc__segment *s, char *why, size_t size) {
    bool half = mproc__load64(&s->busy) != 0; /* read first: the inode is written before it is 0 */
    uint64_t inode = mproc__load64(&s->inode);
    if (!mproc__segment_is_named(s) || (inode == 0 && !half)) {
        return mproc__corrupt(why, size, "S1: a segment without a good name or inode");
    }
    for (uint64_t i = s->next; i != 0; i = segment_at(i)->next) {
        bool same = inode != 0 && mproc__load64(&segment_at(i)->inode) == inode;
        if (same && strncmp(segment_at(i)->name, s->name, MPROC__SHM_NAME) == 0) {
            return mproc__corrupt(why, size, "S2: segment %s is registered twice", s->name);
        }
    }
    return 0;
}

int mproc__shms_check(char *why, size_t size) {
    int r = 0;
    uint64_t n = 0;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&shms->guard, hand);
    for (uint64_t i = shms->first; r == 0 && i != 0; i = segment_at(i)->next, n++) {
        r = check_segment(segment_at(i), why, size);
    }
    if (r == 0 && n != shms->count) {
        r = mproc__corrupt(why, size, "S4: %" PRIu64 " segments are counted as %" PRIu64, n,
                           shms->count);
    }
    mproc__guard_leave(&shms->guard, hand);
    mproc__hand_put(hand);
    return r;
}
