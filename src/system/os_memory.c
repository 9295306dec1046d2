/*
 * os_memory.c - os.h for Linux: the memory that processes share, and how much there is
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* ---------------------------------------------------------------- mappings */

/* RLIMIT_FSIZE is for files that take room on a disk. A process may lift its own limit as far as
 * the hard one, one with CAP_SYS_RESOURCE further. True: files of the size are allowed now though
 * they were not before, and the limit to go back to is in `before`. */
static bool lift_file_limit(uint64_t size, struct rlimit *before) {
    if (getrlimit(RLIMIT_FSIZE, before) != 0 || before->rlim_cur >= size) {
        return false;
    }
    struct rlimit lifted = {size, before->rlim_max > size ? before->rlim_max : size};
    return setrlimit(RLIMIT_FSIZE, &lifted) == 0;
}

/* For the time of one system call other threads may write as much, too. A file that is not allowed
 * would be a SIGXFSZ. */
static int give_size(int fd, size_t size) {
    struct rlimit before = {RLIM_INFINITY, RLIM_INFINITY};
    bool lifted = lift_file_limit(size, &before);
    int r = lifted || before.rlim_cur >= size ? os_result(ftruncate(fd, (off_t)size)) : -EFBIG;
    if (lifted) {
        (void)setrlimit(RLIMIT_FSIZE, &before); /* less than there is: always allowed */
    }
    return r;
}

int mproc__os_memory_new(const char *name, size_t size) {
    int fd = os_kept(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0) {
        return fd;
    }
    int r = give_size(fd, size);
    if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        r = -errno;
    }
    if (r != 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* Has the process asked for its new mappings to be locked (mlockall(MCL_FUTURE))? The system then
 * fills a mapping with pages before mmap() returns. A page that nobody has touched tells. */
static bool fills_mappings(void) {
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char resident = 0;
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return false;
    }
    bool fills = mincore(page, size, &resident) == 0 && (resident & 1) != 0;
    munmap(page, size);
    return fills;
}

static int map_at(int fd, void *address, size_t size, int protection) {
    void *p =
        mmap(address, size, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    if (p != address) { /* a kernel before 4.17 takes the flag for a hint */
        munmap(p, size);
        return -EEXIST;
    }
    return 0;
}

/* A mapping without access gets no pages. Then its pages are to be locked as they are touched,
 * which is what the process wants of them, and after that it is opened. */
static int map_unfilled(int fd, void *address, size_t size) {
    int r = map_at(fd, address, size, PROT_NONE);
    if (r != 0) {
        return r;
    }
    if (mlock2(address, size, MLOCK_ONFAULT) != 0) {
        (void)munlock(address, size);
    }
    r = os_result(mprotect(address, size, PROT_READ | PROT_WRITE));
    if (r != 0) {
        munmap(address, size);
    }
    return r;
}

/* The mapping is left out of core dumps: the system would fill all of it with pages to write them.
 * A system that cannot leave it out has no core dumps. */
int mproc__os_memory_map(int fd, void *address, size_t size) {
    int r = fills_mappings() ? map_unfilled(fd, address, size)
                             : map_at(fd, address, size, PROT_READ | PROT_WRITE);
    if (r == 0) {
        (void)madvise(address, size, MADV_DONTDUMP);
    }
    return r;
}

int mproc__os_memory_remap(int fd, void *address, size_t size, size_t offset, bool privately) {
    int flags = MAP_FIXED | MAP_NORESERVE | (privately ? MAP_PRIVATE : MAP_SHARED);
    if (mmap(address, size, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset) == MAP_FAILED) {
        return -errno;
    }
    (void)madvise(address, size, privately ? MADV_DODUMP : MADV_DONTDUMP);
    return 0;
}

bool mproc__os_memory_is(int fd, size_t size) {
    struct stat s;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstat(fd, &s) == 0 &&
           (uint64_t)s.st_size == size;
}

int mproc__os_memory_unmap(void *address, size_t size) {
    return os_result(munmap(address, size));
}

int mproc__os_memory_commit(int fd, size_t offset, size_t size) {
    int r;
    do {
        r = os_result(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size));
    } while (r == -EINTR);
    return r;
}

/* ---- large ranges: the work is to clear and to copy, which two threads do in half the time */

#define SHARE_STEP ((size_t)2 << 20)   /* what a thread takes at a time */
#define SHARE_LEAST ((size_t)16 << 20) /* from here on: some 5 ms, fifty times a thread's start */

struct shared_work {
    int (*step)(const struct shared_work *work, size_t at, size_t size);
    int fd;
    char *address;
    const char *from;
    size_t size;
    bool shared;    /* by two threads */
    uint64_t next;  /* offset of what no thread has taken yet */
    uint64_t error; /* errno */
};

static void *work_steps(void *arg) {
    struct shared_work *work = arg;
    size_t at;
    while (mproc__peek64(&work->error) == 0 &&
           (at = (size_t)mproc__add64(&work->next, SHARE_STEP)) < work->size) {
        size_t left = work->size - at;
        int r = work->step(work, at, left < SHARE_STEP ? left : SHARE_STEP);
        if (r != 0) {
            mproc__poke64(&work->error, (uint64_t)-r);
        }
    }
    return NULL;
}

/* The helper sees no signals but those of its own faults, which a program's handler may mend. It is
 * gone when this returns. */
static void work_with_helper(struct shared_work *work) {
    sigset_t all, before;
    pthread_t helper;
    work->shared = true;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&helper, NULL, work_steps, work);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)work_steps(work);
    if (r == 0) {
        pthread_join(helper, NULL);
    }
}

static int work_off(struct shared_work *work) {
    if (work->size >= SHARE_LEAST && mproc__os_cpus() > 1) {
        work_with_helper(work);
    } else {
        (void)work_steps(work);
    }
    return -(int)work->error;
}

/* Pages that the file has already cost an eighth less to map than those that a fault has to find.
 * Kernels before 5.14 know no populating: there the mapping gets them when they are touched. EFAULT
 * is what would have been a SIGBUS. */
static int populate_step(const struct shared_work *work, size_t at, size_t size) {
    int r = mproc__os_memory_commit(work->fd, at, size);
    if (r == 0 && madvise(work->address + at, size, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
        r = errno == EFAULT ? -ENOSPC : -errno;
    }
    return r;
}

int mproc__os_memory_populate(int fd, void *address, size_t size) {
    struct shared_work work = {.step = populate_step, .fd = fd, .address = address, .size = size};
    return work_off(&work);
}

/* What a copy of a megabyte costs is not the copy, where its memory is new: each page of it is
 * found by a fault, cleared, and then written again. So pages are asked for before they are
 * written, many at once and without faults; and few enough that they are still in the cache when
 * they are written.
 *
 * Memory that was used before has its pages. To ask for them once more would cost half as much as
 * the copy, to look whether they are there costs a hundredth of that. A file's pages may be there
 * but not be mapped in this process: then a write maps one, and takes four times as long as the
 * copy of it, while a read maps all that lie around it. (Pages that a fork shares are there, too;
 * the first write of each copies it.)
 *
 * Huge pages, of which there are 512 times fewer, are not asked for. The host of a virtual machine
 * takes back such blocks as soon as they are free, and then a new one costs four times as much as
 * its small pages, which come from blocks that are in use.
 *
 * It is a hint: a kernel that does not know it (before 5.14), or has no memory, leaves the pages to
 * the faults.
 *
 * A page that cannot be had, as behind the end of a file that somebody has cut, is a SIGBUS at
 * memcpy(), and a program's handler may leave by siglongjmp(). So two threads touch nothing that
 * has not been looked at: when one has found such a page, both stop, and the caller copies all once
 * more alone. A file that is cut between the look and the copy may hit the helper. */

#define COPY_STEP ((uintptr_t)1 << 20) /* of what is asked for, then written */
#define SMALLEST_PAGE 4096
#define MAPPED_AROUND ((uintptr_t)1 << 16) /* what a read of one page maps, unless told otherwise */

/* Whether each page of a range of COPY_STEP, and one page, at most has its memory. */
static bool has_pages(uintptr_t first, uintptr_t end) {
    unsigned char present[COPY_STEP / SMALLEST_PAGE + 1];
    memset(present, 1, sizeof present); /* mincore() sets one for each page, of whatever size */
    return mincore((void *)first, end - first, present) == 0 &&
           memchr(present, 0, sizeof present) == NULL;
}

static void map_pages(uintptr_t first, uintptr_t end) {
    for (uintptr_t at = first; at < end; at = (at | (MAPPED_AROUND - 1)) + 1) {
        (void)*(const volatile char *)at;
    }
}

/* False: touching them would be a SIGBUS. */
static bool populate_pages(uintptr_t first, uintptr_t end, int advice) {
    return madvise((void *)first, end - first, advice) == 0 ||
           (errno != EFAULT && errno != EHWPOISON);
}

static uintptr_t page_of(uintptr_t at) {
    return at & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
}

static uintptr_t page_after(uintptr_t at) {
    return (at | ((uintptr_t)sysconf(_SC_PAGESIZE) - 1)) + 1;
}

/* Before a range is written. False: it cannot be. */
static bool ask_for_pages(uintptr_t start, uintptr_t end) {
    uintptr_t first = page_of(start), last = page_after(end - 1);
    if (!has_pages(first, last)) {
        return populate_pages(first, last, MADV_POPULATE_WRITE);
    }
    map_pages(start, end);
    return true;
}

static bool can_be_read(uintptr_t start, uintptr_t end) {
    uintptr_t first = page_of(start), last = page_after(end - 1);
    return has_pages(first, last) || populate_pages(first, last, MADV_POPULATE_READ);
}

static int copy_step(const struct shared_work *work, size_t at, size_t size) {
    for (size_t end = at + size, n; at < end; at += n) {
        char *to = work->address + at;
        uintptr_t from = (uintptr_t)(work->from + at);
        n = COPY_STEP - (uintptr_t)to % COPY_STEP;
        n = n < end - at ? n : end - at;
        bool there = ask_for_pages((uintptr_t)to, (uintptr_t)to + n);
        if (work->shared && !(there && can_be_read(from, from + n))) {
            return -EFAULT;
        }
        memcpy(to, work->from + at, n);
    }
    return 0;
}

void mproc__os_memory_copy_much(void *to, const void *from, size_t size) {
    struct shared_work work = {.step = copy_step, .address = to, .from = from, .size = size};
    if (work_off(&work) != 0) {
        memcpy(to, from, size);
    }
}

int mproc__os_memory_secure(void *address, size_t size) {
    return madvise(address, size, MADV_POPULATE_WRITE) == 0 || errno == EINVAL ? 0 : -ENOMEM;
}

int mproc__os_memory_release(void *address, size_t size) {
    return os_result(madvise(address, size, MADV_REMOVE));
}

/* ---------------------------------------------------------------- limits */

bool mproc__os_memory_is_strict(void) {
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "re");
    int mode = f != NULL ? fgetc(f) : EOF;
    if (f != NULL) {
        fclose(f);
    }
    return mode == '2';
}

uint64_t mproc__os_cache_own(void) {
    long size = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE /* not in musl */
    size = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return size > 0 ? (uint64_t)size : 0;
}

uint64_t mproc__os_memory_total(void) {
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t group = mproc__os_memory_quota("/proc");
    return group != 0 && group < machine ? group : machine;
}

uint64_t mproc__os_memory_most(void) {
    struct rlimit before;
    if (getrlimit(RLIMIT_FSIZE, &before) != 0) {
        return UINT64_MAX;
    }
    if (lift_file_limit(RLIM_INFINITY, &before)) {
        (void)setrlimit(RLIMIT_FSIZE, &before);
        return UINT64_MAX;
    }
    return before.rlim_max == RLIM_INFINITY ? UINT64_MAX : before.rlim_max;
}

uint64_t mproc__os_space_taken(void) {
    uint64_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        pages = fscanf(f, "%" SCNu64, &pages) == 1 ? pages : 0;
        fclose(f);
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t mproc__os_space_left(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_AS, &r) != 0 || r.rlim_cur == RLIM_INFINITY) {
        return UINT64_MAX;
    }
    uint64_t taken = mproc__os_space_taken();
    return taken < r.rlim_cur ? r.rlim_cur - taken : 0;
}
