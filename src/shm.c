/*
 * shm.c - named shared memory, as shm_open() and Python's SharedMemory know it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A segment is a file of the tmpfs on /dev/shm; unrelated processes meet there by its
 * name. Such a file outlives everybody unless it is unlinked. So the family keeps a register of the
 * segments that it has made, name and inode, and a watcher (watcher.c) that unlinks what is still
 * registered when the last member has gone. What the family has merely attached is never
 * registered, but for files that a member claims, such as the named semaphores that sem_open() made
 * for it.
 *
 * A file that is to have a certain name is made without one (O_TMPFILE), sized, registered by its
 * inode, and only then linked to its name: nobody ever finds it half made. A file whose name was
 * made up is registered by that name first and then made under it, which is two thirds of the work;
 * nobody can know the name before mproc_shm_create() has returned. So at no instant is there a
 * named file that the register does not know. Names are compared together with inodes: a file that
 * somebody else made under the same name later is left alone.
 *
 * Memory. A tmpfs gives pages when they are touched, and raises SIGBUS when it has none left. The
 * room is therefore looked at when a segment is made, and its pages are taken before its maker
 * first sees the memory: not earlier, since many segments are made in one process and filled in
 * another.
 *
 * What must hold for the register, and what if a member dies: see shm_register.c.
 */
#define _GNU_SOURCE
#include "shm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/handle.h"
#include "core/join.h"
#include "system/os.h"
#include "watcher/watcher.h"

#define NAME_TRIES 64 /* made-up names have 32 random bits */
#define NUMBERS 16    /* random numbers that are asked for at a time */

struct mproc_shm {
    uint32_t handle; /* MPROC__HANDLE_SHM */
    int fd;
    bool made;   /* by this handle, so its pages are taken before they are used */
    bool backed; /* which they have been already */
    mode_t mode;
    size_t size;
    uint64_t inode;
    pthread_mutex_t lock; /* over data's becoming mapped */
    uint64_t data;        /* where it is mapped; 0: not yet */
    char name[MPROC__SHM_NAME];
};

/* ---------------------------------------------------------------- making */

/* The file's first bytes are its pages, too. */
static int give_size(mproc_shm *shm, const void *contents) {
    if (contents != NULL) {
        shm->backed = true;
        return mproc__os_file_write(shm->fd, contents, shm->size);
    }
    return mproc__os_file_resize(shm->fd, shm->size);
}

/* Makes of a new file a segment. Contents find out by themselves whether there is room. */
static int shape(mproc_shm *shm, const void *contents) {
    int r = contents != NULL ? 0 : mproc__os_file_room(shm->fd, shm->size);
    if (r == 0) {
        r = give_size(shm, contents);
    }
    return r != 0 ? r : mproc__os_file_look(shm->fd, &shm->size, &shm->inode);
}

static int link_name(const mproc_shm *shm) {
    char path[MPROC__SHM_PATH];
    return mproc__os_file_link(shm->fd, mproc__shm_path(shm->name, path));
}

/* An entry that is there already is of a file that has gone, whose inode the system has given to
 * the new one. -EEXIST: another member is at that entry. */
static int enter_new(struct mproc__hand *hand, const mproc_shm *shm, struct mproc__segment **out) {
    int r = mproc__segment_enter(hand, shm->name, shm->inode, out);
    if (r == 0 && *out == NULL) {
        mproc__segment_forget(hand, shm->name, shm->inode);
        r = mproc__segment_enter(hand, shm->name, shm->inode, out);
    }
    return r == 0 && *out == NULL ? -EEXIST : r;
}

static int link_registered(const mproc_shm *shm) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s;
    int r = enter_new(hand, shm, &s);
    if (r == 0) {
        r = link_name(shm);
        if (r == 0) {
            mproc__segment_settle(hand, s, shm->inode);
        } else {
            mproc__segment_drop(hand, s);
        }
    }
    mproc__hand_put(hand);
    return r;
}

/* A segment of a given name: no process finds it before it is whole. */
static int make_given(mproc_shm *shm, const void *contents, bool kept) {
    shm->fd = mproc__os_file_nameless(MPROC__SHM_PLACE, shm->mode);
    if (shm->fd < 0) {
        return shm->fd;
    }
    int r = shape(shm, contents);
    if (r != 0) {
        return r;
    }
    return kept ? link_name(shm) : link_registered(shm);
}

/* A thread's random numbers; a forked child is another member and gets new ones. */
struct numbers {
    uint64_t token;
    size_t left;
    uint32_t numbers[NUMBERS];
};

static int make_up_name(char name[MPROC__SHM_NAME]) {
    static _Thread_local struct numbers random;
    static const char digits[] = "0123456789abcdef";
    if (random.left == 0 || random.token != mproc__self_token()) {
        int r = mproc__os_random(random.numbers, sizeof random.numbers);
        if (r != 0) {
            return r;
        }
        random.left = NUMBERS;
        random.token = mproc__self_token();
    }
    uint32_t number = random.numbers[--random.left];
    memcpy(name, "psm_", 4);
    for (int i = 0; i < 8; i++, number >>= 4) {
        name[4 + i] = digits[number & 15];
    }
    name[12] = 0;
    return 0;
}

/* -EEXIST: nothing has happened. */
static int make_under_name(mproc_shm *shm, const void *contents) {
    char path[MPROC__SHM_PATH];
    shm->fd = mproc__os_file_new(mproc__shm_path(shm->name, path), shm->mode);
    if (shm->fd < 0) {
        return shm->fd;
    }
    int r = shape(shm, contents);
    if (r != 0) {
        (void)mproc__os_file_unlink(path);
    }
    return r;
}

static int make_registered(mproc_shm *shm, const void *contents) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s;
    int r = mproc__segment_enter(hand, shm->name, 0, &s);
    if (r == 0) {
        r = make_under_name(shm, contents);
        if (r == 0) {
            mproc__segment_settle(hand, s, shm->inode);
        } else {
            mproc__segment_drop(hand, s);
        }
    }
    mproc__hand_put(hand);
    return r;
}

/* A segment of any name. */
static int make_any(mproc_shm *shm, const void *contents, bool kept) {
    int r = -EEXIST;
    for (int i = 0; r == -EEXIST && i < NAME_TRIES; i++) {
        r = make_up_name(shm->name);
        if (r == 0) {
            r = kept ? make_under_name(shm, contents) : make_registered(shm, contents);
        }
    }
    return r;
}

static int make(mproc_shm *shm, const char *name, const void *contents, unsigned flags) {
    bool kept = (flags & MPROC_SHM_KEPT) != 0;
    int r = kept ? 0 : mproc__watcher_need();
    if (r == 0 && name != NULL) {
        r = mproc__shm_name_clean(name, shm->name);
    }
    if (r != 0) {
        return r;
    }
    return name != NULL ? make_given(shm, contents, kept) : make_any(shm, contents, kept);
}

static mproc_shm *new_handle(void) {
    mproc_shm *shm = calloc(1, sizeof *shm);
    if (shm != NULL) {
        shm->handle = MPROC__HANDLE_SHM;
        pthread_mutex_init(&shm->lock, NULL);
        shm->fd = -1;
    }
    return shm;
}

int mproc__shm_make(mproc_shm **out, const char *name, const void *contents, size_t size,
                    const mproc_shm_options *options) {
    static const mproc_shm_options defaults;
    const mproc_shm_options *o = options != NULL ? options : &defaults;
    if (size == 0 || (o->flags & ~(unsigned)MPROC_SHM_KEPT) != 0) {
        return -EINVAL;
    }
    if (size > PTRDIFF_MAX) {
        return -ENOMEM;
    }
    int r = mproc__family_need();
    if (r != 0) {
        return r;
    }
    mproc_shm *shm = new_handle();
    if (shm == NULL) {
        return -ENOMEM;
    }
    shm->made = true;
    shm->size = size;
    shm->mode = o->mode != 0 ? o->mode : 0600;
    r = make(shm, name, contents, o->flags);
    if (r != 0) {
        mproc_shm_drop(shm);
        return r;
    }
    *out = shm;
    return 0;
}

int mproc_shm_create(mproc_shm **out, const char *name, size_t size,
                     const mproc_shm_options *options) {
    return mproc__shm_make(out, name, NULL, size, options);
}

/* ---------------------------------------------------------------- attaching */

static int attach(mproc_shm *shm) {
    char path[MPROC__SHM_PATH];
    shm->fd = mproc__os_file_open(mproc__shm_path(shm->name, path));
    int r = shm->fd < 0 ? shm->fd : mproc__os_file_look(shm->fd, &shm->size, &shm->inode);
    if (r != 0) {
        return r;
    }
    return shm->size != 0 ? 0 : -ENODATA;
}

int mproc_shm_open(mproc_shm **out, const char *name) {
    mproc_shm *shm = new_handle();
    if (shm == NULL) {
        return -ENOMEM;
    }
    int r = mproc__shm_name_clean(name, shm->name);
    if (r == 0) {
        r = attach(shm);
    }
    if (r != 0) {
        mproc_shm_drop(shm);
        return r;
    }
    *out = shm;
    return 0;
}

/* ---------------------------------------------------------------- using */

static int map(mproc_shm *shm) {
    void *p;
    int r = mproc__os_file_map(shm->fd, shm->size, &p);
    if (r != 0) {
        return r;
    }
    r = shm->made && !shm->backed ? mproc__os_memory_populate(shm->fd, p, shm->size) : 0;
    if (r != 0) {
        (void)mproc__os_memory_unmap(p, shm->size);
        return r;
    }
    mproc__store64(&shm->data, (uint64_t)(uintptr_t)p); /* SYNC(shm.data): mapped, before said so */
    return 0;
}

static int map_once(mproc_shm *shm) {
    pthread_mutex_lock(&shm->lock);
    int r = shm->data != 0 ? 0 : map(shm);
    pthread_mutex_unlock(&shm->lock);
    return r;
}

int mproc__shm_view(mproc_shm *shm, void **data, size_t *size) {
    if (!mproc__expect_handle(shm, MPROC__HANDLE_SHM)) {
        return MPROC_EOTHER;
    }
    /* SYNC(shm.data) */
    int r = mproc__likely(mproc__load64(&shm->data) != 0) ? 0 : map_once(shm);
    if (r == 0) {
        *data = (void *)(uintptr_t)shm->data;
        *size = shm->size;
    }
    return r;
}

int mproc_shm_data(mproc_shm *shm, void **out) {
    size_t size;
    return mproc__shm_view(shm, out, &size);
}

size_t mproc_shm_size(const mproc_shm *shm) {
    if (!mproc__expect_handle(shm, MPROC__HANDLE_SHM)) {
        return 0;
    }
    return shm->size;
}

const char *mproc_shm_name(const mproc_shm *shm) {
    if (!mproc__expect_handle(shm, MPROC__HANDLE_SHM)) {
        return "";
    }
    return shm->name;
}

int mproc_shm_fd(const mproc_shm *shm) {
    if (!mproc__expect_handle(shm, MPROC__HANDLE_SHM)) {
        return -1;
    }
    return shm->fd;
}

void mproc_shm_drop(mproc_shm *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_SHM)) {
        return;
    }
    if (owned->data != 0) {
        (void)mproc__os_memory_unmap((void *)(uintptr_t)owned->data, owned->size);
    }
    if (owned->fd >= 0) {
        mproc__os_close(owned->fd);
    }
    pthread_mutex_destroy(&owned->lock);
    mproc__handle_wreck(owned);
    free(owned);
}

/* ---------------------------------------------------------------- unlinking */

static int unlink_name(const char *name) {
    char path[MPROC__SHM_PATH];
    return mproc__os_file_unlink(mproc__shm_path(name, path));
}

/* What was unlinked may have been a newer file, or one whose entry was busy: hence the second
 * look. */
static int unlink_registered(const char *name) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s = mproc__segment_claim(hand, name);
    int r = unlink_name(name);
    if (s != NULL && (r == 0 || r == -ENOENT)) {
        mproc__segment_drop(hand, s);
    } else if (s != NULL) {
        mproc__segment_review(hand, s);
    }
    if (r == 0 && (s = mproc__segment_claim(hand, name)) != NULL) {
        mproc__segment_review(hand, s);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_shm_unlink(const char *name) {
    char clean[MPROC__SHM_NAME];
    int r = mproc__shm_name_clean(name, clean);
    if (r != 0) {
        return r;
    }
    return mproc__family == NULL ? unlink_name(clean) : unlink_registered(clean);
}

static void keep_file(const char *name, uint64_t inode) {
    struct mproc__hand *hand = mproc__hand_get();
    if (inode != 0) {
        mproc__segment_forget(hand, name, inode);
    } else { /* it was unlinked meanwhile, and may be made anew right now */
        struct mproc__segment *s = mproc__segment_claim(hand, name);
        if (s != NULL) {
            mproc__segment_review(hand, s);
        }
    }
    mproc__hand_put(hand);
}

int mproc_shm_keep(const char *name) {
    char clean[MPROC__SHM_NAME];
    int r = mproc__shm_name_clean(name, clean);
    if (r != 0) {
        return r;
    }
    uint64_t inode = mproc__shm_inode(clean);
    if (mproc__family != NULL) {
        keep_file(clean, inode);
    }
    return inode != 0 ? 0 : -ENOENT;
}

static int claim_file(const char *name) {
    uint64_t inode = mproc__shm_inode(name);
    if (inode == 0) {
        return -ENOENT;
    }
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s;
    int r = mproc__segment_enter(hand, name, inode, &s);
    if (r == 0 && s != NULL) {
        mproc__segment_settle(hand, s, inode);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_shm_claim(const char *name) {
    char clean[MPROC__SHM_NAME];
    int r = mproc__shm_name_clean(name, clean);
    if (r == 0) {
        r = mproc__family_need();
    }
    if (r == 0) {
        r = mproc__watcher_need();
    }
    return r == 0 ? claim_file(clean) : r;
}

/* ---------------------------------------------------------------- check */

int mproc_shm_check(char *why, size_t size) {
    int r = mproc__family_need();
    return r != 0 ? r : mproc__shms_check(why, size);
}
