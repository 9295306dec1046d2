/*
 * fuzz_shm_register.c - the register of named segments, and the calls that change it
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. Calls that make, open, unlink, keep and claim segments of any name; strangers who
 * make and unlink files meanwhile; members that die while they are at an entry. In half of the
 * inputs entries of arbitrary contents are put into the register as well: names of any bytes and
 * length, inodes, tokens, counts. A directory of this file's own stands in for /dev/shm, behind
 * os.h's calls; it gives the inodes of files that have gone to new ones, as disks do.
 *
 * What must hold. Only paths in /dev/shm itself are ever touched. Calls answer with their
 * documented codes. A register that nobody has scribbled on passes its check after each step, and
 * names every file that the family made and did not unlink or keep (S3). No block and no descriptor
 * is left over.
 */
#include "fuzz.h"

#include <errno.h>

#include "core/family.h"
#include "core/hand.h"
#include "core/heap.h"
#include "core/join.h"
#include "core/shm_register.h"
#include "mproc.h"
#include "system/os.h"
#include "watcher/watcher.h"

#define FIRST_FD 1000000
#define FILES 12
#define STEPS 24
#define DEAD_TOKEN (UINT64_C(99) << 32 | 7)
#define OTHER_TOKEN (UINT64_C(99) << 32 | 8)

struct file {
    char name[256]; /* "": there is none */
    uint64_t inode;
    bool ours; /* the family made it, and has neither unlinked nor kept it */
};

static struct file files[FILES];
static uint64_t of_fd[256]; /* inodes */
static int next_fd, open_fds;
static uint64_t next_inode;
static struct feed *input;
static bool scribbled;

int __wrap_mproc__watcher_need(void);
void __real_mproc__os_close(int fd);
void __wrap_mproc__os_close(int fd);
int __wrap_mproc__os_file_nameless(const char *directory, mode_t mode);
int __wrap_mproc__os_file_new(const char *path, mode_t mode);
int __wrap_mproc__os_file_open(const char *path);
int __wrap_mproc__os_file_link(int fd, const char *path);
int __wrap_mproc__os_file_unlink(const char *path);
uint64_t __wrap_mproc__os_file_inode(const char *path);
int __real_mproc__os_file_look(int fd, size_t *size, uint64_t *inode);
int __wrap_mproc__os_file_look(int fd, size_t *size, uint64_t *inode);
int __wrap_mproc__os_file_room(int fd, size_t size);
int __wrap_mproc__os_file_resize(int fd, size_t size);

/* ---------------------------------------------------------------- the directory */

/* The name in a path, which must be one of /dev/shm itself. */
static const char *name_in(const char *path) {
    const char *name = path + strlen(MPROC__SHM_PLACE "/");
    MUST(strlen(path) < MPROC__SHM_PATH);
    MUST(strncmp(path, MPROC__SHM_PLACE "/", strlen(MPROC__SHM_PLACE "/")) == 0);
    MUST(*name != 0 && strchr(name, '/') == NULL);
    MUST(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    return name;
}

static struct file *find_file(const char *name) {
    for (int i = 0; i < FILES; i++) {
        if (strcmp(files[i].name, name) == 0) {
            return &files[i];
        }
    }
    return NULL;
}

static bool is_used(uint64_t inode) {
    for (int i = 0; i < FILES; i++) {
        if (files[i].name[0] != 0 && files[i].inode == inode) {
            return true;
        }
    }
    for (int i = 0; i < next_fd; i++) {
        if (of_fd[i] == inode) {
            return true;
        }
    }
    return false;
}

static uint64_t new_inode(void) {
    uint64_t old = 1 + feed_below(input, 8);
    return feed_byte(input) % 4 == 0 && !is_used(old) ? old : next_inode++;
}

static int open_fd(uint64_t inode) {
    MUST(next_fd < 256);
    open_fds++;
    of_fd[next_fd] = inode;
    return FIRST_FD + next_fd++;
}

static bool fails(void) {
    return feed_byte(input) == 0x77;
}

static int add_file(const char *name, uint64_t inode) {
    struct file *f = find_file("");
    if (find_file(name) != NULL) {
        return -EEXIST;
    }
    if (f == NULL || fails()) {
        return -ENOSPC;
    }
    memcpy(f->name, name, strlen(name) + 1);
    f->inode = inode;
    f->ours = false;
    return 0;
}

int __wrap_mproc__watcher_need(void) {
    return 0;
}

void __wrap_mproc__os_close(int fd) {
    if (fd < FIRST_FD) {
        __real_mproc__os_close(fd);
        return;
    }
    MUST(fd < FIRST_FD + next_fd && of_fd[fd - FIRST_FD] != 0);
    of_fd[fd - FIRST_FD] = 0;
    open_fds--;
}

int __wrap_mproc__os_file_nameless(const char *directory, mode_t mode) {
    (void)mode;
    MUST(strcmp(directory, MPROC__SHM_PLACE) == 0);
    return fails() ? -EMFILE : open_fd(new_inode());
}

int __wrap_mproc__os_file_new(const char *path, mode_t mode) {
    uint64_t inode = new_inode();
    (void)mode;
    int r = add_file(name_in(path), inode);
    return r != 0 ? r : open_fd(inode);
}

int __wrap_mproc__os_file_open(const char *path) {
    const struct file *f = find_file(name_in(path));
    return f != NULL ? open_fd(f->inode) : -ENOENT;
}

int __wrap_mproc__os_file_link(int fd, const char *path) {
    return add_file(name_in(path), of_fd[fd - FIRST_FD]);
}

int __wrap_mproc__os_file_unlink(const char *path) {
    struct file *f = find_file(name_in(path));
    if (f == NULL || fails()) {
        return f == NULL ? -ENOENT : -EPERM;
    }
    f->name[0] = 0;
    return 0;
}

uint64_t __wrap_mproc__os_file_inode(const char *path) {
    const struct file *f = find_file(name_in(path));
    return f != NULL ? f->inode : 0;
}

int __wrap_mproc__os_file_look(int fd, size_t *size, uint64_t *inode) {
    if (fd < FIRST_FD) { /* the arena's own */
        return __real_mproc__os_file_look(fd, size, inode);
    }
    *size = 1;
    *inode = of_fd[fd - FIRST_FD];
    return 0;
}

int __wrap_mproc__os_file_room(int fd, size_t size) {
    (void)fd;
    (void)size;
    return fails() ? -ENOSPC : 0;
}

int __wrap_mproc__os_file_resize(int fd, size_t size) {
    (void)fd;
    (void)size;
    return fails() ? -ENOMEM : 0;
}

/* ---------------------------------------------------------------- the register */

static struct mproc__shms *shms(void) {
    return &mproc__family->shms;
}

static struct mproc__segment *segment_at(uint64_t word) {
    return (struct mproc__segment *)(uintptr_t)word;
}

static bool is_registered(const struct file *f) {
    for (uint64_t i = shms()->first; i != 0; i = segment_at(i)->next) {
        if (segment_at(i)->inode == f->inode && strcmp(segment_at(i)->name, f->name) == 0) {
            return true;
        }
    }
    return false;
}

static void check(void) {
    char why[100];
    int r = mproc_shm_check(why, sizeof why);
    MUST(r == 0 || (r == MPROC_ECORRUPT && scribbled));
    for (int i = 0; i < FILES && !scribbled; i++) {
        MUST(files[i].name[0] == 0 || !files[i].ours || is_registered(&files[i]));
    }
}

static uint64_t other_word(uint64_t inode) {
    return feed_byte(input) % 4 == 0 ? feed_u64(input) : inode;
}

/* An entry of any contents. Pointers are the family's own: these nobody judges. */
static void scribble(void) {
    struct mproc__hand *hand = mproc__hand_get();
    MUST(mproc__heap_alloc(hand, sizeof(struct mproc__segment) + 400, &hand->block) == 0);
    struct mproc__segment *s = segment_at(hand->block);
    size_t length = feed_byte(input);
    s->inode = other_word(feed_below(input, 8));
    s->busy = feed_below(input, 3) == 0 ? DEAD_TOKEN : other_word(0);
    s->doubt = feed_byte(input) % 2;
    memset(s->name, 'x', 400);
    (void)feed_bytes(input, s->name, length < input->left ? length : input->left);
    s->name[length + feed_below(input, 100)] = 0;
    s->next = shms()->first;
    shms()->first = hand->block;
    shms()->count = other_word(shms()->count + 1);
    shms()->limit = other_word(shms()->limit);
    hand->block = 0;
    mproc__hand_put(hand);
    scribbled = true;
}

/* All entries go: the next input finds an empty register, and the heap as it was. */
static void empty(void) {
    struct mproc__hand *hand = mproc__hand_get();
    while (shms()->first != 0) {
        hand->block = shms()->first;
        shms()->first = segment_at(hand->block)->next;
        mproc__heap_free(hand, &hand->block);
    }
    mproc__hand_put(hand);
    shms()->count = 0;
    shms()->limit = 64;
}

/* ---------------------------------------------------------------- steps */

static const char *next_name(void) {
    static char name[301];
    size_t which = feed_below(input, 16);
    if (which < 12) {
        snprintf(name, sizeof name, "/n%zu", which % 6);
    } else {
        size_t n = feed_bytes(input, name, which == 12 ? 300 : feed_below(input, 24));
        name[n] = 0;
    }
    return name;
}

static bool is_error(int r) {
    return r == -EINVAL || r == -ENAMETOOLONG || r == -EEXIST || r == -ENOSPC || r == -EMFILE ||
           r == -ENOMEM || r == -ENOENT || r == -EPERM;
}

static struct file *file_of(const char *name) {
    return find_file(name + strspn(name, "/"));
}

static void create(bool named) {
    mproc_shm_options o = {.flags = feed_byte(input) % 4 == 0 ? MPROC_SHM_KEPT : 0};
    mproc_shm *shm = NULL;
    const char *name = named ? next_name() : NULL;
    int r = mproc_shm_create(&shm, name, 1 + feed_byte(input), &o);
    MUST(r == 0 ? shm != NULL : is_error(r) && shm == NULL);
    if (r == 0) {
        struct file *f = find_file(mproc_shm_name(shm));
        MUST(f != NULL);
        f->ours = o.flags == 0;
        mproc_shm_drop(shm);
    }
}

static void open_one(void) {
    mproc_shm *shm = NULL;
    int r = mproc_shm_open(&shm, next_name());
    MUST(r == 0 ? shm != NULL : is_error(r) && shm == NULL);
    mproc_shm_drop(shm);
}

static void keep(void) {
    const char *name = next_name();
    int r = mproc_shm_keep(name);
    MUST(r == 0 || is_error(r));
    if (r == 0) {
        file_of(name)->ours = false;
    }
}

static void claim(void) {
    const char *name = next_name();
    int r = mproc_shm_claim(name);
    MUST(r == 0 || is_error(r));
    if (r == 0) {
        file_of(name)->ours = true;
    }
}

static void stranger(void) {
    char name[4];
    snprintf(name, sizeof name, "n%u", (unsigned)feed_below(input, 6));
    struct file *f = find_file(name);
    if (f != NULL) {
        f->name[0] = 0;
    } else {
        (void)add_file(name, new_inode());
    }
}

/* Another member is at an entry, and somebody unlinks the name; then it dies. */
static void die(void) {
    struct mproc__segment *s = segment_at(shms()->first);
    if (s == NULL || s->busy != 0) {
        return;
    }
    s->busy = DEAD_TOKEN;
    if (feed_byte(input) & 1) {
        int r = mproc_shm_unlink(next_name());
        MUST(r == 0 || is_error(r));
    }
    struct mproc__hand *hand = mproc__hand_get();
    mproc__shms_reap(hand, DEAD_TOKEN);
    mproc__hand_put(hand);
}

static void reap(void) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__shms_reap(hand, feed_byte(input) & 1 ? DEAD_TOKEN : OTHER_TOKEN);
    mproc__hand_put(hand);
}

static void step(bool may_scribble) {
    int r;
    switch (feed_below(input, 11)) {
    case 0:
    case 1: create(true); break;
    case 2: create(false); break;
    case 3:
    case 4:
        r = mproc_shm_unlink(next_name());
        MUST(r == 0 || is_error(r));
        break;
    case 5: keep(); break;
    case 6: claim(); break;
    case 7: stranger(); break;
    case 8: die(); break;
    case 9: may_scribble ? scribble() : open_one(); break;
    default: reap(); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static size_t blocks_before;
    size_t blocks, bytes;
    struct feed all = {data, size};
    input = &all;
    if (blocks_before == 0) {
        MUST(mproc__family_need() == 0);
        mproc__heap_count(&blocks_before, &bytes);
        blocks_before++;
    }
    memset(files, 0, sizeof files);
    memset(of_fd, 0, sizeof of_fd);
    next_inode = 100;
    next_fd = open_fds = 0;
    scribbled = false;
    bool may_scribble = feed_byte(input) & 1;
    for (int i = 0; i < STEPS && input->left > 0; i++) {
        step(may_scribble);
        check();
    }
    MUST(open_fds == 0);
    empty();
    mproc__heap_count(&blocks, &bytes);
    MUST(blocks + 1 == blocks_before);
    return 0;
}
