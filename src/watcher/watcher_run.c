/*
 * watcher_run.c - watching a family to its end, then unlinking what it left on /dev/shm
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. It watches a member through a pidfd, then another one, until there is none; then it
 * unlinks what the family's register still names, and says so on stderr. Neither a signal to the
 * process group nor a pattern that matches the program's command line reaches it: that is the point
 * of it.
 *
 * When the last members die while a child of theirs is on its way, the reserved slot decides:
 * either the child turns it LIVE, or the watcher turns it DYING, and then the child is turned away.
 *
 * It is not a member: it takes no mutex, allocates nothing, and reads the register only when no
 * member is left that could write. It uses no C library: it may have none (watcher_main.c), or be
 * in the memory of another process (watcher_bare.c).
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/stat.h>
#include <poll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "core/family.h"
#include "system/bare_call.h"
#include "system/proc_stat.h"
#include "watcher/bare_text.h"
#include "watcher/watcher.h"

#ifndef SYS_pidfd_open /* Linux' generic number; old C libraries do not name it */
#define SYS_pidfd_open 434
#endif

#define RETRY (20 * MPROC_MSEC) /* when a pid is not known yet, or no pidfd can be had */
#define TICKS 100               /* a second has, in what the system tells of processes */

/* ---------------------------------------------------------------- system calls */

static int open_pidfd(pid_t pid) {
    return (int)bare_call(SYS_pidfd_open, pid, 0, 0, 0, 0, 0);
}

static void close_fd(int fd) {
    (void)bare_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* 1 if the process has ended. */
static int wait_pidfd(int fd, const struct timespec *timeout) {
    struct pollfd p = {fd, POLLIN, 0};
    return (int)bare_call(SYS_ppoll, BARE_ARG(&p), 1, BARE_ARG(timeout), 0, 0, 0);
}

static void nap(void) {
    const struct timespec t = {0, RETRY};
    (void)bare_call(SYS_ppoll, 0, 0, BARE_ARG(&t), 0, 0, 0);
}

static uint64_t inode_of(const char *path) {
    struct statx st = {0};
    long r = bare_call(SYS_statx, AT_FDCWD, BARE_ARG(path), AT_SYMLINK_NOFOLLOW, STATX_INO,
                       BARE_ARG(&st), 0);
    return r == 0 ? st.stx_ino : 0;
}

static bool unlink_path(const char *path) {
    return bare_call(SYS_unlinkat, AT_FDCWD, BARE_ARG(path), 0, 0, 0, 0) == 0;
}

static void say(const struct bare_text *text) {
    (void)bare_call(SYS_write, STDERR_FILENO, BARE_ARG(text->bytes), (long)text->used, 0, 0, 0);
}

/* ---------------------------------------------------------------- processes */

static bool has_ended(pid_t pid) {
    const struct timespec now = {0, 0};
    int fd = open_pidfd(pid);
    if (fd < 0) {
        return fd == -ESRCH;
    }
    int r = wait_pidfd(fd, &now);
    close_fd(fd);
    return r == 1;
}

/* What the system tells of a process; -ENOENT: there is none, or /proc is not there, or hides
 * it. */
static long read_stat(pid_t pid, char out[MPROC__STAT_SIZE]) {
    char name[32];
    struct bare_text path = {0, sizeof name, name};
    bare_add(&path, "/proc/");
    bare_add_number(&path, (uint64_t)pid);
    bare_add(&path, "/stat");
    long fd = bare_call(SYS_openat, AT_FDCWD, BARE_ARG(name), O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0) {
        return fd;
    }
    long n = bare_call(SYS_read, fd, BARE_ARG(out), MPROC__STAT_SIZE - 1, 0, 0, 0);
    close_fd((int)fd);
    out[n > 0 ? n : 0] = 0;
    return n;
}

/* As mproc__os_process_is() for members. A process that cannot be looked at is taken to be
 * there. */
static bool process_is(pid_t pid, uint64_t when) {
    char text[MPROC__STAT_SIZE];
    uint64_t ticks;
    bool ended;
    long n = read_stat(pid, text);
    if (n < 0) {
        return !has_ended(pid);
    }
    if (!mproc__stat_parse(text, &ended, &ticks) || (ended && has_ended(pid))) {
        return false;
    }
    return mproc__stat_was_there(ticks, when, TICKS);
}

/* ---------------------------------------------------------------- watching */

static pid_t pid_of(const struct mproc__slot *slot) {
    return mproc__load_pid(&slot->pid);
}

static bool runs(const struct mproc__slot *slot, unsigned kind) {
    uint64_t when = kind == MPROC__SLOT_LIVE ? mproc__peek64(&slot->born) : UINT64_MAX;
    return pid_of(slot) > 0 && process_is(pid_of(slot), when);
}

static bool has_starter(const struct mproc__slot *slot) {
    const struct mproc__slot *starter = mproc__token_slot(mproc__peek64(&slot->parent));
    return starter != NULL && runs(starter, mproc__load64(&starter->state) & 0xff);
}

/* False: the slot is free, or reserved for a child by a starter that lives and is watched itself.
 * If the starter died before any member knew the child's pid, the child is turned away. */
static bool stands_for_somebody(struct mproc__slot *slot) {
    uint64_t state = mproc__load64(&slot->state); /* SYNC(slot.state) */
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

/* Until the process in the slot has ended, or for a moment if that cannot be known. */
static void watch(struct mproc__slot *slot) {
    int fd = open_pidfd(pid_of(slot));
    if (fd < 0) {
        nap();
        return;
    }
    if (stands_for_somebody(slot)) { /* so the descriptor is its, not that of a later namesake */
        (void)wait_pidfd(fd, NULL);
    }
    close_fd(fd);
}

/* False: no member is left. */
static bool watch_somebody(void) {
    for (uint32_t i = 0; i < mproc__table_top(); i++) {
        struct mproc__slot *slot = &mproc__table->slots[i];
        if (stands_for_somebody(slot)) {
            watch(slot);
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- the end */

static void add_name(struct bare_text *names, const char *name) {
    bare_add(names, names->used == 0 ? "'/" : ", '/");
    bare_add(names, name);
    bare_add(names, "'");
}

/* False: there is no such file any more, or no caller was told of it yet. */
static bool unlink_segment(const struct mproc__segment *segment) {
    char bytes[MPROC__SHM_PATH];
    struct bare_text path = {0, sizeof bytes, bytes};
    bool known = segment->inode != 0; /* to the caller that had it made */
    if (!mproc__segment_is_named(segment)) {
        return false;
    }
    bare_add(&path, MPROC__SHM_PLACE "/");
    bare_add(&path, segment->name);
    return (!known || inode_of(bytes) == segment->inode) && unlink_path(bytes) && known;
}

/* No member is left: whoever died inside the guard is put right first. */
static uint64_t unlink_all(struct bare_text *names) {
    struct mproc__shms *shms = &mproc__family->shms;
    uint64_t count = 0;
    mproc__guard_rollback(&shms->guard);
    for (uint64_t i = shms->first; i != 0;) {
        const struct mproc__segment *segment = (const struct mproc__segment *)(uintptr_t)i;
        if (unlink_segment(segment)) {
            add_name(names, segment->name);
            count++;
        }
        i = segment->next;
    }
    return count;
}

static void clean_up(void) {
    static char line[1280], list[1024];
    struct bare_text text = {0, sizeof line, line}, names = {0, sizeof list, list};
    uint64_t count = unlink_all(&names);
    if (count > 0) {
        bare_add(&text, "mproc: resource_tracker: There appear to be ");
        bare_add_number(&text, count);
        bare_add(&text, " leaked shared_memory objects to clean up at shutdown: {");
        bare_add(&text, list);
        bare_add(&text, "}\n");
        say(&text);
    }
}

/* ---------------------------------------------------------------- all of it */

/* A robust futex that is never released. Should the system refuse the list, nothing is promised. */
static void give_sign_of_life(uint32_t *word) {
    static struct robust_list_head head;
    static struct robust_list node;
    node.next = &head.list;
    head.list.next = &node;
    head.futex_offset = (long)((uintptr_t)word - (uintptr_t)&node);
    if (bare_call(SYS_set_robust_list, BARE_ARG(&head), sizeof head, 0, 0, 0, 0) == 0) {
        mproc__store32(word, (uint32_t)bare_call(SYS_gettid, 0, 0, 0, 0, 0, 0));
    }
}

/* It has a name of its own in lists of processes, and keeps no directory busy. */
static void stand_apart(void) {
    (void)bare_call(SYS_setsid, 0, 0, 0, 0, 0, 0);
    (void)bare_call(SYS_chdir, BARE_ARG("/"), 0, 0, 0, 0, 0);
    (void)bare_call(SYS_prctl, PR_SET_NAME, BARE_ARG("mproc-watcher"), 0, 0, 0, 0);
}

void mproc__watcher_run(void) {
    stand_apart();
    give_sign_of_life(&mproc__family->shms.life.word);
    while (watch_somebody()) {
    }
    clean_up();
}
