/*
 * views.c - pages of the arena that are one process' own, and fork()
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A process that has received a copy may use it as its own memory (view.c). But the
 * arena is shared with forked children, where memory of a process' own would be copied on write. So
 * before a fork the pages of its views are mapped anew, privately: both processes then have the
 * pages of the arena's file until they write to them, and nobody writes to the file itself. Before
 * a view goes its pages are mapped as they were, since the block may be another one's next.
 *
 * Shared state: none. Private to the process, under the lock of pages (hand.h): the list of pages,
 * and `parted`.
 *
 * Invariants.
 *   V1  Pages are mapped privately exactly if they are `parted`.
 *   V2  Pages that are mapped privately belong to a block that this process holds.
 *
 * If a member dies here: its mappings go with it. A process whose arena has lost its descriptor
 * cannot map it. It shares its views with the children that it forks, and keeps the hold of those
 * that are parted for as long as it lives (V2).
 */
#include "core/views.h"

#include "core/family.h"
#include "core/hand.h"
#include "system/os.h"

static struct mproc__pages *list;

/* False: it cannot be. */
static bool map(const struct mproc__pages *pages, bool privately) {
    uint64_t offset = (uint64_t)(uintptr_t)pages->start - mproc__family->base;
    int fd = mproc__family_fd();
    return pages->size > 0 && fd >= 0 &&
           mproc__os_memory_remap(fd, pages->start, pages->size, offset, privately) == 0;
}

void mproc__pages_enlist(struct mproc__pages *pages) {
    pthread_mutex_lock(&mproc__fork_locks.pages);
    pages->parted = false;
    pages->prev = NULL;
    pages->next = list;
    if (list != NULL) {
        list->prev = pages;
    }
    list = pages;
    pthread_mutex_unlock(&mproc__fork_locks.pages);
}

bool mproc__pages_delist(struct mproc__pages *pages) {
    pthread_mutex_lock(&mproc__fork_locks.pages);
    if (pages->next != NULL) {
        pages->next->prev = pages->prev;
    }
    if (pages->prev != NULL) {
        pages->prev->next = pages->next;
    } else {
        list = pages->next;
    }
    pthread_mutex_unlock(&mproc__fork_locks.pages);
    return !pages->parted || (mproc__family != NULL && map(pages, false));
}

void mproc__pages_freeze(void) {
    pthread_mutex_lock(&mproc__fork_locks.pages);
    for (struct mproc__pages *p = list; mproc__family != NULL && p != NULL; p = p->next) {
        p->parted = p->parted || map(p, true);
    }
}

void mproc__pages_thaw(void) {
    pthread_mutex_unlock(&mproc__fork_locks.pages);
}
