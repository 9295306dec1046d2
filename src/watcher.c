/*
 * watcher.c - the process that outlives a family to unlink what the family left on /dev/shm
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The first named segment that a family makes starts its watcher: a bare copy of the
 * maker, orphaned at once, with a session of its own, all signals blocked, no descriptor but stderr and
 * (but for a few small pages) none of the maker's memory. It runs nothing of the program's. It watches
 * a member through a pidfd, then another one, until there is none; then it unlinks what the family's
 * register still names, says so on stderr, and ends. That it cannot be taken along by a signal to the
 * process group or by a pattern that matches the program's command line is the point of it.
 *
 * Nothing waits for the watcher, and no member ever speaks to it: all it needs stands in the arena.
 *
 * Shared state.
 *   shms->starting  a mutex, over the start.
 *   shms->watcher   the watcher's pid; written by its starter under `starting`, or by the short-lived
 *                   process between the two, whichever comes first: both write the same.
 *   shms->life      written by the watcher when it begins, and by the system when it dies: so makers
 *                   need not ask the system whether there is one. Zeroed under `starting`.
 *
 * If a member dies here: killed while it starts a watcher, it leaves either none, and the next maker
 * starts one, or a whole one. The watcher itself may be killed: the next maker starts another. Two
 * watchers do no harm: a name is unlinked once.
 *
 * When the last members die while a child of theirs is on its way, the reserved slot decides: either the
 * child turns it LIVE or the watcher turns it DYING, and then the child is nobody's.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "family.h"
#include "os.h"

#define RETRY (20 * MPROC_MSEC) /* when a pid is not known yet, or no pidfd can be had */

/* ---------------------------------------------------------------- watching */

static void nap(void) {
    static const uint32_t never;
    (void)mproc__os_futex_wait(&never, 0, RETRY);
}

/* Members ask mproc__token_dead(), which takes the asker for one and may allocate memory. */
static bool runs(const struct mproc__slot *slot, unsigned kind) {
    pid_t pid = (pid_t)mproc__load32((const uint32_t *)&slot->pid);
    uint64_t when = kind == MPROC__SLOT_LIVE ? mproc__load64(&slot->born) : UINT64_MAX;
    return pid > 0 && mproc__os_process_is(pid, when) != 0;
}

static bool has_starter(const struct mproc__slot *slot) {
    const struct mproc__slot *starter = mproc__token_slot(mproc__load64(&slot->parent));
    return starter != NULL && runs(starter, mproc__load64(&starter->state) & 0xff);
}

/* False: the slot stands for nobody, or for a child that its living starter stands for. A child whose
 * starter has died before anybody knew its pid is turned away. */
static bool stands_for_somebody(struct mproc__slot *slot) {
    uint64_t state = mproc__load64(&slot->state);
    unsigned kind = state & 0xff;
    if (kind == MPROC__SLOT_FREE || kind == MPROC__SLOT_DYING) {
        return false;
    }
    if (runs(slot, kind)) {
        return true;
    }
    return kind == MPROC__SLOT_UNBORN && !has_starter(slot) &&
           !mproc__cas64(&slot->state, &state, (state & ~UINT64_C(0xff)) | MPROC__SLOT_DYING);
}

static struct mproc__slot *somebody(void) {
    for (uint32_t i = 0; i < mproc__members_seen(); i++) {
        if (stands_for_somebody(&mproc__family->slots[i])) {
            return &mproc__family->slots[i];
        }
    }
    return NULL;
}

/* Until the process in the slot has ended, or for a moment if that cannot be known. */
static void watch(struct mproc__slot *slot) {
    int fd = mproc__os_pidfd_open((pid_t)mproc__load32((const uint32_t *)&slot->pid));
    if (fd < 0) {
        nap();
        return;
    }
    if (stands_for_somebody(slot)) { /* so the descriptor is its, not that of a later namesake */
        (void)mproc__os_pidfd_wait(fd, MPROC_FOREVER);
    }
    close(fd);
}

/* ---------------------------------------------------------------- the end */

struct list {
    unsigned count;
    size_t used;
    char text[1024];
};

static void add_text(struct list *list, const char *text) {
    size_t n = strlen(text);
    if (list->used + n < sizeof list->text) {
        memcpy(list->text + list->used, text, n + 1);
        list->used += n;
    }
}

static void add_name(void *arg, const char *name) {
    struct list *list = arg;
    add_text(list, list->count == 0 ? "'/" : ", '/");
    add_text(list, name);
    add_text(list, "'");
    list->count++;
}

static void tell(const struct list *list) {
    char text[sizeof list->text + 128];
    int n =
        snprintf(text, sizeof text,
                 "mproc: resource_tracker: There appear to be %u leaked shared_memory objects to "
                 "clean up at shutdown: {%s}\n",
                 list->count, list->text);
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0) {
        return; /* nobody listens */
    }
}

static void run(void *family) {
    struct list list = {0};
    struct mproc__slot *slot;
    mproc__family = family;
    mproc__os_sign_of_life(&mproc__family->shms.life);
    while ((slot = somebody()) != NULL) {
        watch(slot);
    }
    mproc__shms_unlink_all(add_name, &list);
    if (list.count > 0) {
        tell(&list);
    }
}

/* ---------------------------------------------------------------- starting */

static bool is_there(void) {
    uint32_t life = mproc__load32(&mproc__family->shms.life);
    if (mproc__likely(life != 0)) {
        return (life & MPROC__OS_DEAD) == 0;
    }
    uint64_t pid = mproc__load64(&mproc__family->shms.watcher);
    return pid != 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

int mproc__watcher_need(void) {
    int r = 0;
    if (mproc__likely(is_there())) {
        return 0;
    }
    struct mproc__mutex *starting = &mproc__family->shms.starting;
    (void)mproc__mutex_acquire(starting, MPROC_FOREVER, MPROC__FOR_SECTION, NULL);
    if (!is_there()) {
        mproc__store64(&mproc__family->shms.watcher, 0);
        mproc__program_order();
        mproc__store32(&mproc__family->shms.life, 0);
        r = mproc__os_orphan("mproc-watcher", run, mproc__family, &mproc__family->shms.watcher);
    }
    (void)mproc__mutex_release(starting);
    return r;
}
