/*
 * shm.c - named shared memory, as shm_open() and Python's SharedMemory know it
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A segment is a file of the tmpfs on /dev/shm; unrelated processes meet there by its
 * name. Such a file outlives everybody unless it is unlinked. So the family keeps a register of the
 * segments that it has made, name and inode, and a watcher (watcher.c) that unlinks what is still
 * registered when the last member has gone. What the family has merely attached is never registered,
 * but for files that a member claims, such as the named semaphores that sem_open() made for it.
 *
 * A file that is to have a certain name is made without one (O_TMPFILE), sized, registered by its
 * inode, and only then linked to its name: nobody ever finds it half made. A file whose name was made up
 * is registered by that name first and then made under it, which is two thirds of the work; nobody can
 * know the name before mproc_shm_create() has returned. So at no instant is there a named file that the
 * register does not know. Names are compared together with inodes: a file that somebody else made under
 * the same name later is left alone.
 *
 * Memory. A tmpfs gives pages when they are touched, and raises SIGBUS when it has none left. The room
 * is therefore looked at when a segment is made, and its pages are taken before its maker first sees
 * the memory: not earlier, since many segments are made in one process and filled in another.
 *
 * Shared state.
 *   first, next  the register's list; under its guard.
 *   inode, busy  of an entry: written by the member whose token is in `busy`; who finds 0 there may write
 *                its own token, under the guard.
 *   doubt        of an entry: set by who unlinks the name while another member is busy with it; under the
 *                guard.
 *
 * Invariants.
 *   S1  An entry's name is 1 to 254 bytes without a slash; its inode is not 0 unless it is busy.
 *   S2  There is one entry of an inode at most.
 *   S3  A name that a member of the family made and did not unlink is in the register, unless it was
 *       made to be kept.
 *   S4  A busy entry is taken out only by the member whose token it bears, or by its reaper.
 *
 * If a member dies here: while it makes or unlinks a name, the entry bears its token. The reaper looks
 * whether that file is there and keeps or drops the entry; a file without an inode in its entry goes,
 * since nobody but the dead knew its name (a file of somebody else's could only be there if it had the
 * same 32 random bits). A member that dies after it has unlinked a name that another one was busy with may
 * leave an entry without a file, until that one closes its handle or dies. The nameless file of a dead maker goes with its descriptor.
 */
#define _GNU_SOURCE
#include "shm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "family.h"
#include "os.h"

#define PLACE "/dev/shm"
#define PATH_SIZE (sizeof PLACE + 1 + NAME_SIZE)
#define NAME_SIZE 255 /* shm_open()'s limit, the closing 0 included */
#define NAME_TRIES 64 /* made-up names have 32 random bits */
#define NUMBERS 16    /* random numbers that are asked for at a time */

struct mproc_shm {
    int fd;
    bool made;   /* by this handle, so its pages are taken before they are used */
    bool backed; /* which they have been already */
    mode_t mode;
    size_t size;
    uint64_t inode;
    pthread_mutex_t lock; /* over data's becoming mapped */
    uint64_t data;        /* where it is mapped; 0: not yet */
    char name[NAME_SIZE];
};

static struct mproc__shms *shms(void) {
    return &mproc__family->shms;
}

static void set(uint64_t *word, uint64_t value) {
    mproc__guard_set(&shms()->guard, word, value);
}

static struct mproc__segment *segment_at(uint64_t word) {
    return (struct mproc__segment *)(uintptr_t)word;
}

void mproc__shms_init(void) {
    mproc__guard_init(&shms()->guard, shms()->log, MPROC__SHM_UNDO);
}

/* ---------------------------------------------------------------- names */

/* shm_open() ignores leading slashes and refuses others. */
static int clean_name(const char *name, char out[NAME_SIZE]) {
    name += strspn(name, "/");
    size_t length = strlen(name);
    if (length == 0 || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    if (length >= NAME_SIZE) {
        return -ENAMETOOLONG;
    }
    memcpy(out, name, length + 1);
    return 0;
}

static const char *path_of(const char *name, char path[PATH_SIZE]) {
    memcpy(path, PLACE "/", sizeof PLACE);
    memcpy(path + sizeof PLACE, name, strlen(name) + 1);
    return path;
}

/* The inode of the file that has the name now, 0: there is none. */
static uint64_t inode_of(const char *name) {
    char path[PATH_SIZE];
    struct stat st;
    return lstat(path_of(name, path), &st) == 0 ? st.st_ino : 0;
}

/* ---------------------------------------------------------------- the register; under the guard */

static uint64_t *find(const char *name, uint64_t inode) {
    uint64_t *link = &shms()->first;
    while (*link != 0) {
        struct mproc__segment *s = segment_at(*link);
        if (mproc__load64(&s->inode) == inode && strcmp(s->name, name) == 0) {
            return link;
        }
        link = &s->next;
    }
    return NULL;
}

/* Under one name there may be older entries, of files that strangers have unlinked: the first counts. */
static struct mproc__segment *find_named(const char *name) {
    for (uint64_t i = shms()->first; i != 0; i = segment_at(i)->next) {
        if (strcmp(segment_at(i)->name, name) == 0) {
            return segment_at(i);
        }
    }
    return NULL;
}

static uint64_t *find_link(const struct mproc__segment *segment) {
    uint64_t *link = &shms()->first;
    while (*link != 0 && segment_at(*link) != segment) {
        link = &segment_at(*link)->next;
    }
    return *link != 0 ? link : NULL;
}

static void take_out(struct mproc__hand *hand, uint64_t *link) {
    struct mproc__segment *s = segment_at(*link);
    set(&hand->block, *link);
    set(link, s->next);
}

/* ---------------------------------------------------------------- the register */

/* Enters a file whose name is about to be there, or that is there and not yet ours; the entry is the
 * caller's until it is settled. *out is NULL if the file is ours already. */
static int enter_segment(struct mproc__hand *hand, const char *name, uint64_t inode,
                         struct mproc__segment **out) {
    size_t length = strlen(name);
    int r = mproc__heap_alloc(hand, sizeof(struct mproc__segment) + length + 1, &hand->block);
    if (r != 0) {
        return r;
    }
    struct mproc__segment *s = segment_at(hand->block);
    s->inode = inode;
    s->busy = mproc__self_token();
    s->doubt = 0;
    memcpy(s->name, name, length + 1);
    mproc__guard_enter(&shms()->guard, hand);
    bool ours = inode != 0 && find(name, inode) != NULL;
    if (!ours) {
        set(&s->next, shms()->first);
        set(&shms()->first, hand->block);
        set(&hand->block, 0);
    }
    mproc__guard_leave(&shms()->guard, hand);
    if (ours) {
        mproc__heap_free(hand, &hand->block);
    }
    *out = ours ? NULL : s;
    return 0;
}

/* An entry that is the caller's goes. */
static void drop_segment(struct mproc__hand *hand, struct mproc__segment *owned) {
    mproc__guard_enter(&shms()->guard, hand);
    uint64_t *link = find_link(owned);
    if (link != NULL) {
        take_out(hand, link);
    }
    mproc__guard_leave(&shms()->guard, hand);
    mproc__heap_free(hand, &hand->block);
}

/* An entry that is the caller's becomes everybody's. False: somebody has unlinked the name meanwhile, so
 * it is the caller's still. */
static bool release_segment(struct mproc__hand *hand, struct mproc__segment *owned) {
    mproc__guard_enter(&shms()->guard, hand);
    bool doubt = owned->doubt != 0;
    set(doubt ? &owned->doubt : &owned->busy, 0);
    mproc__guard_leave(&shms()->guard, hand);
    return !doubt;
}

/* An entry that is the caller's stays or goes, as its file does. */
static void review_segment(struct mproc__hand *hand, struct mproc__segment *owned) {
    while (inode_of(owned->name) == mproc__load64(&owned->inode)) {
        if (release_segment(hand, owned)) {
            return;
        }
    }
    drop_segment(hand, owned);
}

/* The file of an entry that is the caller's has its name. */
static void settle_segment(struct mproc__hand *hand, struct mproc__segment *owned, uint64_t inode) {
    mproc__store64(&owned->inode, inode);
    mproc__program_order();
    if (!release_segment(hand, owned)) {
        review_segment(hand, owned);
    }
}

/* Makes the entry of a name the caller's. NULL: there is none, or whoever is at it is told to look again
 * before it says that the name is there. */
static struct mproc__segment *claim_segment(struct mproc__hand *hand, const char *name) {
    mproc__guard_enter(&shms()->guard, hand);
    struct mproc__segment *s = find_named(name);
    if (s != NULL && mproc__load64(&s->busy) != 0) {
        set(&s->doubt, 1);
        s = NULL;
    }
    if (s != NULL) {
        set(&s->busy, mproc__self_token());
    }
    mproc__guard_leave(&shms()->guard, hand);
    return s;
}

static void forget_segment(struct mproc__hand *hand, const char *name, uint64_t inode) {
    mproc__guard_enter(&shms()->guard, hand);
    uint64_t *link = find(name, inode);
    if (link != NULL && mproc__load64(&segment_at(*link)->busy) == 0) {
        take_out(hand, link);
    }
    mproc__guard_leave(&shms()->guard, hand);
    mproc__heap_free(hand, &hand->block);
}

/* An entry of a member; NULL: it has none. */
static struct mproc__segment *find_busy(struct mproc__hand *hand, uint64_t token) {
    struct mproc__segment *found = NULL;
    mproc__guard_enter(&shms()->guard, hand);
    for (uint64_t i = shms()->first; i != 0 && found == NULL; i = segment_at(i)->next) {
        if (mproc__load64(&segment_at(i)->busy) == token) {
            found = segment_at(i);
        }
    }
    mproc__guard_leave(&shms()->guard, hand);
    return found;
}

void mproc__shms_reap(struct mproc__hand *hand, uint64_t token) {
    char path[PATH_SIZE];
    struct mproc__segment *s;
    while (mproc__peek64(&shms()->first) != 0 && (s = find_busy(hand, token)) != NULL) {
        uint64_t inode = mproc__load64(&s->inode);
        if (inode == 0) {
            (void)unlink(path_of(s->name, path));
            drop_segment(hand, s);
        } else {
            review_segment(hand, s);
        }
    }
}

/* No member is left: whoever died inside the guard is put right first. */
void mproc__shms_unlink_all(void (*tell)(void *arg, const char *name), void *arg) {
    char path[PATH_SIZE];
    mproc__guard_rollback(&shms()->guard);
    for (uint64_t i = shms()->first; i != 0; i = segment_at(i)->next) {
        struct mproc__segment *s = segment_at(i);
        bool known = s->inode != 0; /* to whom it was made for */
        if ((!known || inode_of(s->name) == s->inode) && unlink(path_of(s->name, path)) == 0 &&
            known) {
            tell(arg, s->name);
        }
    }
}

/* ---------------------------------------------------------------- making */

/* Room for the segment at this moment. A file system without limits says 0 blocks of 0. */
static int look_for_room(int fd, size_t size) {
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0) {
        return 0;
    }
    uint64_t need = (size + fs.f_bsize - 1) / fs.f_bsize;
    return need <= fs.f_bavail ? 0 : -ENOSPC;
}

/* The file's first bytes; they are its pages too. */
static int write_contents(const mproc_shm *shm, const char *contents) {
    for (size_t done = 0; done < shm->size;) {
        ssize_t n = pwrite(shm->fd, contents + done, shm->size - done, (off_t)done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int give_size(mproc_shm *shm, const void *contents) {
    if (contents != NULL) {
        shm->backed = true;
        return write_contents(shm, contents);
    }
    if (ftruncate(shm->fd, (off_t)shm->size) != 0) {
        return errno == EFBIG || errno == EINVAL ? -ENOMEM : -errno;
    }
    return 0;
}

/* Makes of a new file a segment. */
static int shape(mproc_shm *shm, const void *contents) {
    struct stat st;
    int r = look_for_room(shm->fd, shm->size);
    if (r == 0) {
        r = give_size(shm, contents);
    }
    if (r == 0 && fstat(shm->fd, &st) != 0) {
        r = -errno;
    }
    if (r == 0) {
        shm->inode = st.st_ino;
    }
    return r;
}

/* By descriptor if the kernel lets us (root always, others from 6.10 on), through /proc otherwise. */
static int link_name(const mproc_shm *shm) {
    char from[32], path[PATH_SIZE];
    path_of(shm->name, path);
    if (linkat(shm->fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    if (errno != ENOENT && errno != EPERM) {
        return -errno;
    }
    snprintf(from, sizeof from, "/proc/self/fd/%d", shm->fd);
    return linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

static int link_registered(const mproc_shm *shm) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s;
    int r = enter_segment(hand, shm->name, shm->inode, &s);
    if (r == 0) {
        r = link_name(shm);
        if (r == 0) {
            settle_segment(hand, s, shm->inode);
        } else {
            drop_segment(hand, s);
        }
    }
    mproc__hand_put(hand);
    return r;
}

/* A segment of a given name: nobody finds it before it is whole. */
static int make_given(mproc_shm *shm, const void *contents, bool kept) {
    shm->fd = open(PLACE, O_TMPFILE | O_RDWR | O_CLOEXEC, shm->mode);
    if (shm->fd < 0) {
        return -errno;
    }
    int r = shape(shm, contents);
    if (r != 0) {
        return r;
    }
    return kept ? link_name(shm) : link_registered(shm);
}

/* A thread's random numbers; a forked child is another member and gets new ones. */
struct lot {
    uint64_t token;
    size_t left;
    uint32_t numbers[NUMBERS];
};

static int make_up_name(char name[NAME_SIZE]) {
    static _Thread_local struct lot lot;
    static const char digits[] = "0123456789abcdef";
    if (lot.left == 0 || lot.token != mproc__self_token()) {
        if (getrandom(lot.numbers, sizeof lot.numbers, 0) != sizeof lot.numbers) {
            return -EAGAIN;
        }
        lot.left = NUMBERS;
        lot.token = mproc__self_token();
    }
    uint32_t number = lot.numbers[--lot.left];
    memcpy(name, "psm_", 4);
    for (int i = 0; i < 8; i++, number >>= 4) {
        name[4 + i] = digits[number & 15];
    }
    name[12] = 0;
    return 0;
}

/* -EEXIST: nothing has happened. */
static int make_under_name(mproc_shm *shm, const void *contents) {
    char path[PATH_SIZE];
    shm->fd = open(path_of(shm->name, path), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW,
                   shm->mode);
    if (shm->fd < 0) {
        return -errno;
    }
    int r = shape(shm, contents);
    if (r != 0) {
        (void)unlink(path);
    }
    return r;
}

static int make_registered(mproc_shm *shm, const void *contents) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s;
    int r = enter_segment(hand, shm->name, 0, &s);
    if (r == 0) {
        r = make_under_name(shm, contents);
        if (r == 0) {
            settle_segment(hand, s, shm->inode);
        } else {
            drop_segment(hand, s);
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
        r = clean_name(name, shm->name);
    }
    if (r != 0) {
        return r;
    }
    return name != NULL ? make_given(shm, contents, kept) : make_any(shm, contents, kept);
}

static mproc_shm *new_handle(void) {
    mproc_shm *shm = calloc(1, sizeof *shm);
    if (shm != NULL) {
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
    shm->mode = o->mode != 0 ? o->mode : S_IRUSR | S_IWUSR;
    r = make(shm, name, contents, o->flags);
    if (r != 0) {
        mproc_shm_close(shm);
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
    char path[PATH_SIZE];
    struct stat st;
    shm->fd = open(path_of(shm->name, path), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (shm->fd < 0 || fstat(shm->fd, &st) != 0) {
        return -errno;
    }
    shm->size = (size_t)st.st_size;
    shm->inode = st.st_ino;
    return shm->size != 0 ? 0 : -ENODATA;
}

int mproc_shm_open(mproc_shm **out, const char *name) {
    mproc_shm *shm = new_handle();
    if (shm == NULL) {
        return -ENOMEM;
    }
    int r = clean_name(name, shm->name);
    if (r == 0) {
        r = attach(shm);
    }
    if (r != 0) {
        mproc_shm_close(shm);
        return r;
    }
    *out = shm;
    return 0;
}

/* ---------------------------------------------------------------- using */

static int map(mproc_shm *shm) {
    void *p = mmap(NULL, shm->size, PROT_READ | PROT_WRITE, MAP_SHARED, shm->fd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    int r = shm->made && !shm->backed ? mproc__os_memory_populate(shm->fd, p, shm->size) : 0;
    if (r != 0) {
        munmap(p, shm->size);
        return r;
    }
    mproc__store64(&shm->data, (uint64_t)(uintptr_t)p);
    return 0;
}

static int map_once(mproc_shm *shm) {
    pthread_mutex_lock(&shm->lock);
    int r = shm->data != 0 ? 0 : map(shm);
    pthread_mutex_unlock(&shm->lock);
    return r;
}

int mproc_shm_data(mproc_shm *shm, void **out) {
    int r = mproc__likely(mproc__load64(&shm->data) != 0) ? 0 : map_once(shm);
    if (r == 0) {
        *out = (void *)(uintptr_t)shm->data;
    }
    return r;
}

size_t mproc_shm_size(const mproc_shm *shm) {
    return shm->size;
}

const char *mproc_shm_name(const mproc_shm *shm) {
    return shm->name;
}

int mproc_shm_fd(const mproc_shm *shm) {
    return shm->fd;
}

/* A stranger may have unlinked the name: then nobody else tells the register. */
static void forget_unlinked(const mproc_shm *shm) {
    struct stat st;
    if (mproc__family != NULL && fstat(shm->fd, &st) == 0 && st.st_nlink == 0) {
        struct mproc__hand *hand = mproc__hand_get();
        forget_segment(hand, shm->name, shm->inode);
        mproc__hand_put(hand);
    }
}

void mproc_shm_close(mproc_shm *owned) {
    if (owned == NULL) {
        return;
    }
    if (owned->made && owned->inode != 0) {
        forget_unlinked(owned);
    }
    if (owned->data != 0) {
        munmap((void *)(uintptr_t)owned->data, owned->size);
    }
    if (owned->fd >= 0) {
        close(owned->fd);
    }
    pthread_mutex_destroy(&owned->lock);
    free(owned);
}

/* ---------------------------------------------------------------- unlinking */

static int unlink_name(const char *name) {
    char path[PATH_SIZE];
    return unlink(path_of(name, path)) == 0 ? 0 : -errno;
}

/* What was unlinked may have been a newer file, or one whose entry was busy: hence the second look. */
static int unlink_registered(const char *name) {
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s = claim_segment(hand, name);
    int r = unlink_name(name);
    if (s != NULL && (r == 0 || r == -ENOENT)) {
        drop_segment(hand, s);
    } else if (s != NULL) {
        review_segment(hand, s);
    }
    if (r == 0 && mproc__peek64(&shms()->first) != 0 && (s = claim_segment(hand, name)) != NULL) {
        review_segment(hand, s);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_shm_unlink(const char *name) {
    char clean[NAME_SIZE];
    int r = clean_name(name, clean);
    if (r != 0) {
        return r;
    }
    return mproc__family == NULL ? unlink_name(clean) : unlink_registered(clean);
}

static void keep_file(const char *name, uint64_t inode) {
    struct mproc__hand *hand = mproc__hand_get();
    if (inode != 0) {
        forget_segment(hand, name, inode);
    } else { /* somebody else has unlinked it, and maybe somebody makes it anew right now */
        struct mproc__segment *s = claim_segment(hand, name);
        if (s != NULL) {
            review_segment(hand, s);
        }
    }
    mproc__hand_put(hand);
}

int mproc_shm_keep(const char *name) {
    char clean[NAME_SIZE];
    int r = clean_name(name, clean);
    if (r != 0) {
        return r;
    }
    uint64_t inode = inode_of(clean);
    if (mproc__family != NULL) {
        keep_file(clean, inode);
    }
    return inode != 0 ? 0 : -ENOENT;
}

static int claim_file(const char *name) {
    uint64_t inode = inode_of(name);
    if (inode == 0) {
        return -ENOENT;
    }
    struct mproc__hand *hand = mproc__hand_get();
    struct mproc__segment *s;
    int r = enter_segment(hand, name, inode, &s);
    if (r == 0 && s != NULL) {
        settle_segment(hand, s, inode);
    }
    mproc__hand_put(hand);
    return r;
}

int mproc_shm_claim(const char *name) {
    char clean[NAME_SIZE];
    int r = clean_name(name, clean);
    if (r == 0) {
        r = mproc__family_need();
    }
    if (r == 0) {
        r = mproc__watcher_need();
    }
    return r == 0 ? claim_file(clean) : r;
}

/* ---------------------------------------------------------------- check */

static int check_segment(const struct mproc__segment *s, char *why, size_t size) {
    size_t length = strnlen(s->name, NAME_SIZE);
    bool half = mproc__load64(&s->busy) != 0; /* read first: the inode is written before it is 0 */
    uint64_t inode = mproc__load64(&s->inode);
    if (length == 0 || length == NAME_SIZE || strchr(s->name, '/') != NULL ||
        (inode == 0 && !half)) {
        return mproc__corrupt(why, size, "S1: a segment without a good name or inode");
    }
    for (uint64_t i = s->next; i != 0; i = segment_at(i)->next) {
        if (inode != 0 && mproc__load64(&segment_at(i)->inode) == inode) {
            return mproc__corrupt(why, size, "S2: segment %s is registered twice", s->name);
        }
    }
    return 0;
}

int mproc__shms_check(char *why, size_t size) {
    int r = 0;
    struct mproc__hand *hand = mproc__hand_get();
    mproc__guard_enter(&shms()->guard, hand);
    for (uint64_t i = shms()->first; r == 0 && i != 0; i = segment_at(i)->next) {
        r = check_segment(segment_at(i), why, size);
    }
    mproc__guard_leave(&shms()->guard, hand);
    mproc__hand_put(hand);
    return r;
}

int mproc_shm_check(char *why, size_t size) {
    int r = mproc__family_need();
    return r != 0 ? r : mproc__shms_check(why, size);
}
