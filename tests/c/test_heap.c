/*
 * test_heap.c - memory of the arena: classes, runs, warm and cold, exhaustion, many members
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "deny.h"
#include "made.h"
#include "members.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define KIB ((size_t)1024)
#define MIB (KIB * 1024)

static mproc_arena_stats stat_now(void) {
    mproc_arena_stats s;
    mproc_arena_stat(&s);
    return s;
}

/* How many bytes of memory the system has given to the arena. */
static size_t resident(void) {
    struct stat s;
    CHECK_OK(fstat(mproc__family_fd(), &s));
    return (size_t)s.st_blocks * 512;
}

/* Founds a family whose memory is limited; for TEST_BARE. */
static void limited_to(const char *bytes) {
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", bytes, 1));
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_EQ(stat_now().limit, strtoull(bytes, NULL, 0));
}

static int exhaust(size_t size, void **blocks, int cap) {
    int n = 0;
    while (n < cap && (blocks[n] = mproc_alloc(size)) != NULL) {
        n++;
    }
    CHECK_LT(n, cap);
    return n;
}

static void *must(size_t size) {
    void *p = mproc_alloc(size);
    CHECK(p != NULL);
    return p;
}

/* ---------------------------------------------------------------- one member */

TEST(heap_edges_of_the_calls) {
    CHECK(mproc_alloc(0) == NULL);
    CHECK(mproc_calloc(0, 8) == NULL);
    CHECK(mproc_calloc(8, 0) == NULL);
    CHECK(mproc_calloc(SIZE_MAX / 2, 3) == NULL);
    CHECK(mproc_alloc(SIZE_MAX) == NULL);
    CHECK(mproc_alloc(stat_now().span) == NULL);
    mproc_free(NULL);
    int local;
    CHECK(!mproc_in_arena(&local));
    CHECK(!mproc_in_arena(NULL));
    CHECK(mproc_in_arena(mproc__family));
    CHECK(mproc_in_arena((char *)mproc__family + stat_now().span - 1));
    CHECK(!mproc_in_arena((char *)mproc__family + stat_now().span));
}

TEST(heap_calloc_clears_what_was_used) {
    size_t sizes[] = {40, 5000, 32768, 32769, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = must(sizes[i]);
        memset(p, 0xa5, sizes[i]);
        mproc_free(p);
        unsigned char *q = mproc_calloc(sizes[i], 1);
        CHECK(q != NULL);
        for (size_t j = 0; j < sizes[i]; j++) {
            CHECK_EQ(q[j], 0);
        }
        mproc_free(q);
    }
}

/* There are four classes per doubling, so at most a fifth of a block, or 15 bytes, is unused. */
TEST(heap_size_classes) {
    size_t classes = 0, last = 0;
    for (size_t size = 1; size <= 32768; size++) {
        char *p = must(size);
        size_t real = mproc__heap_size(p);
        CHECK_EQ((uintptr_t)p % 16, 0);
        CHECK_GE(real, size);
        CHECK(real - size < 16 || real * 4 < size * 5 + 5);
        p[0] = p[size - 1] = 1;
        if (real != last) {
            CHECK_GT(real, last);
            CHECK_EQ(size, last + 1); /* a class begins where the one before ends */
            last = real;
            classes++;
        }
        mproc_free(p);
    }
    CHECK_EQ(classes, MPROC__CLASSES);
    CHECK_EQ(last, 32768);
    check_family();
}

TEST(heap_runs_are_chunks) {
    size_t sizes[] = {32769, 65535, 65536, 65537, 131072, 131073, 5 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *p = must(sizes[i]);
        CHECK_EQ((uintptr_t)p % MPROC__CHUNK, 0);
        CHECK_EQ(mproc__heap_size(p), (sizes[i] + MPROC__CHUNK - 1) / MPROC__CHUNK * MPROC__CHUNK);
        p[0] = p[sizes[i] - 1] = 1;
        CHECK_EQ(stat_now().used, mproc__heap_size(p));
        CHECK_EQ(stat_now().blocks, 1);
        mproc_free(p);
        CHECK_EQ(stat_now().used, 0);
    }
    check_family();
}

/* The chunks of a class: full ones leave the list, and empty ones except one go back. */
TEST(heap_class_fills_and_empties_its_chunks) {
    enum { N = 5000 };
    static void *blocks[N];
    for (int order = 0; order < 3; order++) {
        for (int i = 0; i < N; i++) {
            blocks[i] = must(100); /* 112 bytes each, 585 blocks in a chunk */
            memset(blocks[i], i, 112);
        }
        CHECK_EQ(stat_now().blocks, N);
        CHECK_EQ(stat_now().used, N * 112);
        check_family();
        for (int i = 0; i < N; i++) {
            int j = order == 0 ? i : order == 1 ? N - 1 - i : i * 7919 % N;
            mproc_free(blocks[j]);
        }
        CHECK_EQ(stat_now().blocks, 0);
        CHECK_LE(mproc__family->chunks.used, 1);
        check_family();
    }
}

struct owned {
    uint64_t *block;
    size_t words;
    uint64_t tag;
};

static void own(struct owned *o, size_t size, uint64_t tag) {
    o->block = must(size);
    o->words = size / 8;
    o->tag = tag;
    for (size_t i = 0; i < o->words; i++) {
        o->block[i] = tag ^ i;
    }
}

static void disown(struct owned *o) {
    for (size_t i = 0; i < o->words; i++) {
        CHECK_EQ(o->block[i], o->tag ^ i);
    }
    mproc_free(o->block);
    o->block = NULL;
}

static size_t random_size(uint64_t *seed) {
    uint64_t r = test_random(seed);
    return r % 100 < 80   ? 1 + (r >> 8) % 600
           : r % 100 < 96 ? 1 + (r >> 8) % 40000
                          : 1 + (r >> 8) % 400000;
}

static void churn(uint64_t seed, int steps) {
    enum { N = 300 };
    struct owned all[N] = {{0}};
    for (int step = 0; step < steps; step++) {
        struct owned *o = &all[test_random(&seed) % N];
        if (o->block != NULL) {
            disown(o);
        } else {
            own(o, random_size(&seed), test_random(&seed));
        }
    }
    for (int i = 0; i < N; i++) {
        if (all[i].block != NULL) {
            disown(&all[i]);
        }
    }
}

TEST(heap_gives_no_byte_to_two_owners) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
        churn(seed * 77, 4000);
        check_family();
        CHECK_EQ(stat_now().used, 0);
    }
}

static void free_twice(void *p) {
    mproc_free(p);
    mproc_free(p);
}

static void free_inside(void *p) {
    mproc_free((char *)p + 8);
}

TEST(heap_wild_pointers_are_asserted) {
#ifdef NDEBUG
    test_skip("assertions are off");
#endif
    void *big = must(MIB), *small = must(64);
    child_aborts(free_twice, big);
    child_aborts(free_inside, small);
    /* The children did free the blocks before they died: blocks belong to the family, not to a
     * member. */
    mproc_reap();
    CHECK_EQ(stat_now().blocks, 1);
    mproc_free(small);
    check_family();
}

/* ---------------------------------------------------------------- warm and cold */

TEST(heap_warm_memory_is_used_again) {
    char *p = must(512 * KIB);
    memset(p, 7, 512 * KIB);
    mproc_free(p);
    CHECK_EQ(stat_now().warm, 512 * KIB);
    size_t before = resident(), high = stat_now().high_water;
    char *q = must(512 * KIB);
    CHECK(q == p);
    CHECK_EQ(q[100], 7); /* its pages are still resident */
    CHECK_EQ(stat_now().warm, 0);
    CHECK_EQ(resident(), before);
    CHECK_EQ(stat_now().high_water, high);
    mproc_free(q);
}

TEST_BARE(heap_big_blocks_give_their_pages_back) {
    limited_to("67108864"); /* so 1 MiB may stay warm */
    size_t before = resident(), high = stat_now().high_water;
    for (int i = 0; i < 3; i++) {
        char *p = must(16 * MIB);
        memset(p, 1, 16 * MIB);
        CHECK_GE(resident(), before + 16 * MIB);
        mproc_free(p);
        CHECK_LE(stat_now().warm, stat_now().limit / 64);
        CHECK_LE(resident(), before + stat_now().limit / 64 + 64 * KIB);
        p = must(16 * MIB);
        CHECK_EQ(p[5 * MIB], 0); /* cold memory reads as zero */
        mproc_free(p);
        CHECK_EQ(stat_now().high_water, high + 16 * MIB);
    }
    check_family();
}

TEST_BARE(heap_many_big_blocks_give_their_pages_back) {
    enum { N = 60 };
    char *blocks[N];
    limited_to("67108864");
    size_t before = resident();
    for (int i = 0; i < N; i++) {
        blocks[i] = must(MIB);
        memset(blocks[i], 1, MIB);
    }
    for (int i = 0; i < N; i++) {
        mproc_free(blocks[i * 7 % N]);
        CHECK_LE(stat_now().warm, stat_now().limit / 64);
        check_family();
    }
    CHECK_LE(resident(), before + stat_now().limit / 64 + 128 * KIB);
    CHECK_EQ(stat_now().used, 0);
}

/* To look it up takes longer than all else that a family begins with. */
TEST_BARE(heap_limit_is_looked_up_when_it_matters) {
    CHECK(mproc__family == NULL);
    CHECK_EQ(mproc__family_join(), 0);
    void *small = must(2 * MIB);
    CHECK_EQ(mproc__family->chunks.limit, 0);
    void *big = must(3 * MIB); /* together more than 4 MiB */
    uint64_t limit = mproc__family->chunks.limit;
    CHECK_EQ(limit * 64 * KIB, mproc__os_memory_total() / 4 * 3 & ~(64 * KIB - 1));
    CHECK_EQ(stat_now().limit, limit * 64 * KIB);
    mproc_free(small);
    mproc_free(big);
    CHECK_EQ(mproc__family->chunks.limit, limit);
    check_family();
}

TEST_BARE(heap_limit_is_there_for_who_asks) {
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_EQ(mproc__family->chunks.limit, 0);
    CHECK_GT(stat_now().limit, 0);
}

TEST(heap_neighbours_are_merged) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i = 0; i < 6; i++) {
        char *three[3], *wall;
        for (int j = 0; j < 3; j++) {
            three[j] = must(128 * KIB);
        }
        wall = must(128 * KIB);
        CHECK(three[1] == three[0] + 128 * KIB && wall == three[0] + 384 * KIB);
        for (int j = 0; j < 3; j++) {
            mproc_free(three[orders[i][j]]);
            check_family();
        }
        char *whole = must(384 * KIB);
        CHECK(whole == three[0]);
        mproc_free(whole);
        mproc_free(wall);
    }
    size_t high = stat_now().high_water;
    mproc_free(must(512 * KIB));
    CHECK_EQ(stat_now().high_water, high);
}

static int by_address(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return (*x > *y) - (*x < *y);
}

/* The span is small, so a large block can only be made by joining fragments. */
TEST_BARE(heap_fragments_become_whole_again) {
    enum { CAP = 4096 };
    static void *blocks[CAP];
    CHECK_OK(setenv("MPROC_ARENA_SPAN", "128M", 1));
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_EQ(stat_now().span, 128 * MIB);
    size_t all = stat_now().limit / (64 * KIB), n = all;
    while (n % 2 == 0 || n % 3 == 0 || n % 5 == 0) { /* each stride is coprime to n */
        n--;
    }
    for (size_t stride = 1; stride <= 5; stride++) {
        CHECK_EQ(exhaust(64 * KIB, blocks, CAP), all);
        qsort(blocks, all, sizeof *blocks, by_address);
        for (size_t i = 0; i < n; i++) {
            mproc_free(blocks[i * stride % n]);
            CHECK_LE(stat_now().warm, stat_now().limit / 64);
        }
        CHECK_GT(stat_now().warm, 0);
        void *whole = must(n * 64 * KIB);
        CHECK(whole == blocks[0]);
        CHECK_EQ(stat_now().warm, 0);
        check_family();
        mproc_free(whole);
        for (size_t i = n; i < all; i++) {
            mproc_free(blocks[i]);
        }
        CHECK_EQ(stat_now().used, 0);
        check_family();
    }
}

/* ---------------------------------------------------------------- copies */

#define MUCH (36 * MIB)
#define GUARD 0x5a

static unsigned char *pages_of(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static unsigned char *numbered(size_t size) {
    unsigned char *p = pages_of(size);
    for (size_t i = 0; i < size; i++) {
        p[i] = (unsigned char)(i % 251);
    }
    return p;
}

/* To a place that is used already from `room` + `offset` + `size` on. */
static void check_copy(unsigned char *room, size_t offset, const unsigned char *from, size_t size) {
    unsigned char *to = room + offset;
    to[size] = GUARD;
    mproc_copy(to, from, size);
    CHECK(memcmp(to, from, size) == 0);
    CHECK_EQ(to[size], GUARD);
    CHECK(offset == 0 || to[-1] == 0);
}

static void check_copies_to(unsigned char *(*make)(size_t size), void (*drop)(void *, size_t)) {
    static const size_t sizes[] = {0,       1,           4095,         MIB - 1,  MIB,
                                   MIB + 1, 5 * MIB + 7, 16 * MIB - 1, 16 * MIB, 33 * MIB + 5};
    static const size_t offsets[] = {0, 1, 4096, 4097};
    unsigned char *from = numbered(MUCH);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t j = 0; j < sizeof offsets / sizeof *offsets; j++) {
            size_t size = offsets[j] + sizes[i] + 1;
            unsigned char *room = make(size);
            check_copy(room, offsets[j], from + j, sizes[i]);
            check_copy(room, offsets[j], from, sizes[i]);
            drop(room, size);
        }
    }
    munmap(from, MUCH);
}

static void drop_pages(void *owned, size_t size) {
    munmap(owned, size);
}

static unsigned char *arena_of(size_t size) {
    return mproc_calloc(size, 1);
}

static void drop_block(void *owned, size_t size) {
    (void)size;
    mproc_free(owned);
}

TEST(copy_to_new_memory) {
    check_copies_to(pages_of, drop_pages);
}

TEST(copy_to_the_arena) {
    check_copies_to(arena_of, drop_block);
    check_family();
}

TEST(copy_beside_a_kernel_that_populates_nothing) {
    deny(SYS_madvise, -1, EINVAL);
    check_copies_to(pages_of, drop_pages);
}

TEST(copy_beside_a_kernel_that_tells_nothing) {
    deny(SYS_mincore, -1, ENOSYS);
    check_copies_to(pages_of, drop_pages);
}

static void copy_alone(void *unused) {
    (void)unused;
    deny_clone(EAGAIN);
    check_copies_to(pages_of, drop_pages);
}

/* In a child, which just ends: LeakSanitizer needs a process at an orderly end. */
TEST(copy_without_a_helper) {
    child_join(child_fork(copy_alone, NULL));
}

static sigjmp_buf before_copy;
static pid_t copier;
static unsigned char *locked;

static void leave_copy(int number) {
    (void)number;
    siglongjmp(before_copy, gettid() == copier ? 1 : 2);
}

static void handle(int number, void (*handler)(int number)) {
    struct sigaction action = {.sa_handler = handler};
    copier = gettid();
    CHECK_OK(sigaction(number, &action, NULL));
}

/* What siglongjmp() said at a copy of MUCH without a byte; 0: there was no signal. */
static int leave_a_copy(void *to, const void *from) {
    int left = sigsetjmp(before_copy, 1);
    if (left == 0) {
        mproc_copy(to, from, MUCH - 1);
    }
    return left;
}

/* Its last pages are behind the file's end. */
static unsigned char *cut_file_of(size_t size, size_t kept) {
    int fd = memfd_create("cut", MFD_CLOEXEC);
    CHECK_OK(ftruncate(fd, (off_t)size));
    unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    memset(p, 1, size);
    CHECK_OK(ftruncate(fd, (off_t)kept));
    close(fd);
    return p;
}

/* As with memcpy(): the handler runs in the thread that copies, and no other one goes on. */
TEST(copy_of_a_file_that_was_cut) {
    static const size_t kept[] = {0, 7 * MIB, MUCH / 2 + 4096, MUCH - 4096};
    unsigned char *memory = numbered(MUCH);
    unsigned char *probe = cut_file_of(4096, 0);
    if (madvise(probe, 4096, MADV_POPULATE_READ) == 0 || errno != EFAULT || TEST_TSAN) {
        test_skip("this kernel does not tell which pages cannot be had, or signals come late");
    }
    munmap(probe, 4096);
    handle(SIGBUS, leave_copy);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        unsigned char *cut = cut_file_of(MUCH, kept[i]);
        CHECK_EQ(leave_a_copy(memory, cut), 1);
        CHECK_EQ(leave_a_copy(memory + 1, cut), 1);
        CHECK_EQ(leave_a_copy(memory, cut + 1), 1);
        CHECK_EQ(leave_a_copy(cut, memory), 1);
        CHECK_EQ(leave_a_copy(cut + 1, memory), 1);
        munmap(cut, MUCH);
    }
    munmap(memory, MUCH);
}

static void unlock(int number) {
    (void)number;
    (void)mprotect(locked, MUCH, PROT_READ | PROT_WRITE);
}

/* A program learns by SIGSEGV what is written first: whichever thread it is, its handler runs. */
TEST(copy_to_memory_that_a_handler_unlocks) {
    unsigned char *from = numbered(MUCH);
    handle(SIGSEGV, unlock);
    for (int used = 0; used < 2; used++) {
        locked = pages_of(MUCH);
        memset(locked, used, used != 0 ? MUCH : 0);
        CHECK_OK(mprotect(locked, MUCH, PROT_READ));
        mproc_copy(locked, from, MUCH);
        CHECK(memcmp(locked, from, MUCH) == 0);
        munmap(locked, MUCH);
    }
    munmap(from, MUCH);
}

/* A block that another member has written has its pages, but not in this process. */
TEST(copy_maps_many_pages_by_one_fault) {
    struct rusage before, after;
    size_t size = 8 * MIB;
    if (TEST_TSAN || getenv("MPROC_TEST_EMULATED") != NULL) {
        test_skip("faults are those of a shadow, or of an emulator");
    }
    unsigned char *from = numbered(size), *block = must(size);
    memset(block, 1, size);
    CHECK_OK(madvise(block, size, MADV_DONTNEED)); /* the file still has them */
    CHECK_OK(getrusage(RUSAGE_SELF, &before));
    mproc_copy(block, from, size);
    CHECK_OK(getrusage(RUSAGE_SELF, &after));
    CHECK_LT((size_t)(after.ru_minflt - before.ru_minflt), size / 4096 / 2);
    CHECK(memcmp(block, from, size) == 0);
    mproc_free(block);
    munmap(from, size);
}

/* ---------------------------------------------------------------- exhaustion */

TEST_BARE(heap_exhausted) {
    enum { CAP = 200000 };
    void **blocks = malloc(CAP * sizeof *blocks);
    size_t sizes[] = {16, 100, 4096, 32768, 65536, 300000, 524288};
    limited_to("2097152");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int n = exhaust(sizes[i], blocks, CAP);
        CHECK_GT(n, 0);
        CHECK(mproc_alloc(sizes[i]) == NULL);
        CHECK_GE((size_t)n * mproc__heap_size(blocks[0]), 2097152 - 2097152 / 4);
        CHECK_LE(stat_now().used, stat_now().limit);
        check_family();
        mproc_free(blocks[n / 2]);
        blocks[n / 2] = must(sizes[i]);
        for (int j = 0; j < n; j++) {
            mproc_free(blocks[j]);
        }
        CHECK_EQ(stat_now().used, 0);
        check_family();
    }
    CHECK(mproc_alloc(2097153) == NULL);
    free(blocks);
}

static void no_room_for_nouns(void) {
    void *none = NULL;
    CHECK_EQ(mproc_queue_new((mproc_queue **)&none, 0), -ENOMEM);
    CHECK_EQ(mproc_taskq_new((mproc_taskq **)&none, 3), -ENOMEM);
    CHECK_EQ(mproc_lock_new((mproc_lock **)&none, 0), -ENOMEM);
    CHECK_EQ(mproc_lock_new((mproc_lock **)&none, 100), -ENOMEM);
    CHECK_EQ(mproc_rlock_new((mproc_rlock **)&none), -ENOMEM);
    CHECK_EQ(mproc_semaphore_new((mproc_semaphore **)&none, 1), -ENOMEM);
    CHECK_EQ(mproc_bsemaphore_new((mproc_bsemaphore **)&none, 1), -ENOMEM);
    CHECK_EQ(mproc_event_new((mproc_event **)&none), -ENOMEM);
    CHECK_EQ(mproc_condition_new((mproc_condition **)&none), -ENOMEM);
    CHECK_EQ(mproc_barrier_new((mproc_barrier **)&none, 2), -ENOMEM);
    CHECK_EQ(mproc_array_new((mproc_array **)&none, MPROC_INT8, 1), -ENOMEM);
    CHECK_EQ(mproc_array_new_raw((mproc_array **)&none, MPROC_INT8, 1), -ENOMEM);
    CHECK(none == NULL);
}

TEST_BARE(heap_exhausted_for_every_noun) {
    static void *blocks[200000];
    limited_to("1048576");
    mproc_queue *queue = made_queue(0);
    int big = exhaust(65536, blocks, 64);
    for (size_t size = 32768; size >= 16; size /= 2) {
        big += exhaust(size, blocks + big, 200000 - big);
    }
    no_room_for_nouns();
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_EQ(mproc_queue_reserve(queue, 5, &m), -ENOMEM);
    CHECK(m.data == NULL && m.block == NULL);
    CHECK_EQ(mproc_queue_put(queue, blocks[0], 9000, MPROC_FOREVER), -ENOMEM);
    int puts = 0, r;
    while ((r = mproc_queue_put(queue, "0123456", 8, MPROC_FOREVER)) == 0) {
        puts++;
    }
    CHECK_EQ(r, -ENOMEM);
    CHECK_EQ(mproc_queue_count(queue), puts);
    CHECK_EQ(mproc_queue_get(queue, &m, 0),
             -ENOMEM); /* the message would need a block of its own */
    CHECK_EQ(mproc_queue_count(queue), puts);
    check_family();
    for (int i = 0; i < big; i++) {
        mproc_free(blocks[i]);
    }
    char room[8];
    for (int i = 0; i < puts; i++) {
        m = (mproc_message)MPROC_MESSAGE_INIT(room, sizeof room);
        CHECK_OK(mproc_queue_get(queue, &m, 0));
        CHECK_MEM(m.data, "0123456", 8);
        mproc_message_drop(&m);
    }
    mproc_drop(queue);
    CHECK_EQ(stat_now().used, 0);
    check_family();
}

/* ---------------------------------------------------------------- many members */

enum { TABLE = 64 };

/* Puts filled blocks into a table and frees those that were there, most of which another member
 * put. */
static void swap_blocks(uint64_t *table, uint64_t seed, int steps) {
    for (int i = 0; i < steps; i++) {
        size_t words = 2 + test_random(&seed) % (i % 50 == 0 ? 20000 : 100);
        uint64_t *p = must(words * 8), tag = test_random(&seed);
        p[0] = words;
        p[1] = tag;
        for (size_t j = 2; j < words; j++) {
            p[j] = tag + j;
        }
        uint64_t *old = (uint64_t *)(uintptr_t)mproc__exchange64(&table[test_random(&seed) % TABLE],
                                                                 (uint64_t)(uintptr_t)p);
        for (size_t j = 2; old != NULL && j < old[0]; j++) {
            CHECK_EQ(old[j], old[1] + j);
        }
        mproc_free(old);
    }
}

static void swapper(void *arg) {
    swap_blocks(arg, (uint64_t)mproc__os_tid() * 7919, 3000);
}

static void clear_table(uint64_t *table) {
    for (int i = 0; i < TABLE; i++) {
        mproc_free((void *)(uintptr_t)table[i]);
    }
    mproc_free(table);
}

TEST(heap_shared_by_processes) {
    uint64_t *table = mproc_calloc(TABLE, 8);
    pid_t kids[4];
    for (int i = 0; i < 4; i++) {
        kids[i] = child_fork(swapper, table);
    }
    for (int i = 0; i < 4; i++) {
        child_join(kids[i]);
    }
    check_family();
    clear_table(table);
}

TEST(heap_shared_by_threads_as_members) {
    uint64_t *table = mproc_calloc(TABLE, 8);
    struct member_thread threads[4];
    for (int i = 0; i < 4; i++) {
        threads[i] = (struct member_thread){swapper, table, 0};
    }
    member_threads_run(threads, 4);
    check_family();
    clear_table(table);
}

static void checker(void *arg) {
    for (int i = 0; i < 200; i++) {
        (void)arg;
        check_family();
        (void)stat_now();
    }
}

TEST(heap_checked_while_others_go_on) {
    uint64_t *table = mproc_calloc(TABLE, 8);
    struct member_thread threads[3] = {
        {swapper, table, 0}, {swapper, table, 0}, {checker, NULL, 0}};
    member_threads_run(threads, 3);
    clear_table(table);
}

/* Moves blocks between words of the arena, so that a member that dies loses none. */
static void transfer_for_ever(void *arg) {
    uint64_t *table = arg, seed = (uint64_t)getpid() * 77;
    uint64_t *mine = table + 1 + seed / 77 % 4 * TABLE;
    mproc__add64(&table[0], 1);
    for (;;) {
        uint64_t *word = &mine[test_random(&seed) % TABLE];
        struct mproc__hand *hand = mproc__hand_get();
        if (*word != 0) {
            mproc__heap_free(hand, word);
        } else {
            (void)mproc__heap_alloc(hand, random_size(&seed), word);
        }
        mproc__hand_put(hand);
    }
}

TEST(heap_loses_nothing_with_the_killed) {
    uint64_t *table = mproc_calloc(1 + 4 * TABLE, 8);
    for (uint64_t round = 0; round < 100; round++) {
        pid_t a = child_fork(transfer_for_ever, table);
        wait_for_word(&table[0], round + 1);
        usleep(round * 37 % 900);
        child_kill(a);
        CHECK_EQ(mproc_reap(), 1);
        check_family();
    }
    struct mproc__hand *hand = mproc__hand_get();
    for (int i = 1; i <= 4 * TABLE; i++) {
        mproc__heap_free(hand, &table[i]);
    }
    mproc__hand_put(hand);
    mproc_free(table);
    CHECK_EQ(stat_now().used, 0);
}

/* ---------------------------------------------------------------- checks see */

#define ARENA mproc_arena_check(why, sizeof why)

TEST(heap_check_sees_broken_chunks) {
    struct mproc__chunks *all = &mproc__family->chunks;
    char *a = must(128 * KIB), *b = must(128 * KIB), *c = must(128 * KIB);
    mproc_free(a);
    uint64_t first = mproc__chunk_number(a), second = mproc__chunk_number(b);
    check_family();
    CHECK_BREAKS(&mproc__chunk(second)->state, 9 | 2 << 16, ARENA, "C1");
    CHECK_BREAKS(&all->top, all->top - 1, ARENA, "C1");
    CHECK_BREAKS(&mproc__chunk(first + 1)->state, 0, ARENA, "C2");
    CHECK_BREAKS(&mproc__chunk(first)->prev, 3, ARENA, "C3");
    CHECK_BREAKS(&all->bins[0][1], 0, ARENA, "C3");
    CHECK_BREAKS(&all->used, all->used + 1, ARENA, "C5");
    CHECK_BREAKS(&all->warm, all->warm - 1, ARENA, "C5");
    char text[128] = "";
    uint64_t whole[2] = {mproc__chunk(first)->state, mproc__chunk(first + 1)->state};
    uint64_t half = mproc__chunk_state(MPROC__CHUNK_WARM, 0, 1);
    mproc__chunk(first)->state = mproc__chunk(first + 1)->state = half;
    CHECK_EQ(mproc_arena_check(text, sizeof text), MPROC_ECORRUPT);
    CHECK_EQ(strncmp(text, "C4", 2), 0);
    mproc__chunk(first)->state = whole[0];
    mproc__chunk(first + 1)->state = whole[1];
    mproc_free(b);
    mproc_free(c);
    check_family();
}

TEST(heap_check_sees_broken_classes) {
    void *a = must(64), *b = must(64);
    mproc_free(a);
    uint64_t number = mproc__chunk_number(b);
    struct mproc__chunk *d = mproc__chunk(number);
    struct mproc__class *class = &mproc__family->heap.classes[3];
    CHECK_BREAKS(&class->partial, 0, ARENA, "H1");
    CHECK_BREAKS(&d->used, d->used + 1, ARENA, "H2");
    CHECK_BREAKS(&d->free, 0, ARENA, "H2");
    CHECK_BREAKS(&d->free, d->free + 8, ARENA, "H3");
    CHECK_BREAKS(&d->bump, 0, ARENA, "H3");
    mproc_free(b);
    CHECK_EQ(mproc_arena_check(NULL, 0), 0);
}

#ifdef MPROC_POISON
/* A check overwrites free blocks, so code that goes on using a block it has freed is found out. */
TEST(heap_check_poisons_what_is_free) {
    uint64_t *mine = must(64), *freed = must(64);
    mine[7] = freed[7] = 7;
    mproc_free(freed);
    check_family();
    CHECK_EQ(mine[7], 7);
    CHECK_EQ(freed[7], UINT64_C(0xdfdfdfdfdfdfdfdf));
    mproc_free(mine);
}
#endif
