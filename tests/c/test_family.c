/*
 * test_family.c - the arena's mapping, and how a process comes into its family, or does not
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"
#include "rights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

static uint64_t base(void) {
    return (uint64_t)(uintptr_t)mproc__family;
}

TEST_BARE(family_is_made_once) {
    CHECK(mproc__family == NULL);
    CHECK_EQ(mproc__family_fd(), MPROC_EARENA);
    size_t fds = test_open_fds();
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_EQ(test_open_fds(), fds + 1);
    uint64_t first = base();
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_EQ(base(), first);
    CHECK_EQ(test_open_fds(), fds + 1);
    CHECK_EQ(fcntl(mproc__family_fd(), F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(mproc__family_fd(), F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
             F_SEAL_SHRINK | F_SEAL_GROW);
}

TEST_BARE(family_is_made_by_the_first_use) {
    mproc_lock *lock = made_lock(0);
    mproc_member self;
    CHECK(lock != NULL);
    CHECK_OK(mproc_self(&self));
    CHECK_EQ(self.pid, getpid());
    mproc_drop(lock);
}

static void *join_it(void *arg) {
    (void)arg;
    CHECK_EQ(mproc__family_join(), 0);
    CHECK(mproc__family != NULL);
    void *p = mproc_alloc(10);
    CHECK(p != NULL);
    mproc_free(p);
    return NULL;
}

TEST_BARE(family_is_made_by_one_of_many_threads) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, join_it, NULL));
    }
    for (int i = 0; i < 8; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
    CHECK_EQ(mproc_members(NULL, 0), 1);
    CHECK_EQ(test_arena_used(), 0);
}

/* ---------------------------------------------------------------- addresses */

/* The addresses where families go, in order; family.c has the list. */
static const uint64_t places[] = {UINT64_C(0x7e8000000000), UINT64_C(0x7d8000000000),
                                  UINT64_C(0x7b8000000000), UINT64_C(0x200000000000)};
enum { PLACES = sizeof places / sizeof *places };

/* Maps a page where the arena would go; false if something is there already. */
static bool occupy(uint64_t address) {
    void *want = (void *)(uintptr_t)(address + 4096 * 100);
    return mmap(want, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
           want;
}

static void *use_the_library(void *unused) {
    void *block = mproc_alloc(10);
    CHECK(block != NULL);
    mproc_free(block);
    return unused;
}

static void use_in_child(void *arg) {
    (void)use_the_library(arg);
}

/* The child has the family that its parent joins meanwhile, or founds one of its own. */
static void join_and_fork(void *delay) {
    pthread_t thread;
    CHECK_OK(pthread_create(&thread, NULL, use_the_library, NULL));
    for (volatile unsigned i = 0; i < *(unsigned *)delay; i++) {
    }
    pid_t child = child_fork(use_in_child, NULL);
    CHECK_OK(pthread_join(thread, NULL));
    child_join(child);
}

TEST_BARE(family_is_joined_by_another_thread_during_a_fork) {
    for (unsigned delay = 0; delay < 200; delay++) {
        unsigned loops = delay * 1000;
        child_join(child_fork(join_and_fork, &loops));
    }
}

TEST_BARE(family_goes_where_there_is_room) {
    if (!occupy(places[0])) {
        test_skip("the first place is taken already");
    }
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_NE(base(), places[0]);
    void *p = mproc_alloc(100);
    CHECK(p != NULL && mproc_in_arena(p));
    mproc_free(p);
    check_family();
}

TEST_BARE(family_finds_no_address) {
    for (int i = 0; i < PLACES; i++) {
        (void)occupy(places[i]);
    }
    CHECK_EQ(mproc__family_join(),
             MPROC_EADDRESS); /* the C library's memory grows with the first */
    size_t fds = test_open_fds(), maps = test_mappings();
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(mproc__family_join(), MPROC_EADDRESS);
        CHECK(mproc__family == NULL);
        CHECK(mproc_alloc(10) == NULL);
        mproc_queue *queue = NULL;
        mproc_lock *lock = NULL;
        CHECK_EQ(mproc_queue_new(&queue, 0), MPROC_EADDRESS);
        CHECK_EQ(mproc_lock_new(&lock, 0), MPROC_EADDRESS);
        CHECK(queue == NULL && lock == NULL);
        CHECK_EQ(mproc_arena_check(NULL, 0), MPROC_EADDRESS);
        CHECK_EQ(mproc_member_check(NULL, 0), MPROC_EADDRESS);
        mproc_arena_stats s;
        mproc_arena_stat(&s);
        CHECK_EQ(s.span, 0);
    }
    CHECK_EQ(test_open_fds(), fds);
    CHECK_MAPPINGS(maps);
    munmap((void *)(uintptr_t)(places[0] + 4096 * 100), 4096);
    CHECK_EQ(mproc__family_join(), 0); /* after a failure it may be tried again */
}

/* ---------------------------------------------------------------- limits */

TEST_BARE(family_limited_by_its_environment) {
    mproc_arena_stats s;
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "0x100000", 1));
    CHECK_EQ(mproc__family_join(), 0);
    mproc_arena_stat(&s);
    CHECK_EQ(s.limit, 1 << 20);
    CHECK_EQ(s.used, 0);
    CHECK_EQ(s.blocks, 0);
    CHECK_EQ(s.warm, 0);
    CHECK_GT(s.span, s.high_water);
}

TEST_BARE(family_limit_larger_than_the_span) {
    mproc_arena_stats s;
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", "0xffffffffffffffff", 1));
    CHECK_EQ(mproc__family_join(), 0);
    mproc_arena_stat(&s);
    CHECK_LT(s.limit, s.span);
    CHECK(mproc_alloc(s.span) == NULL);
}

TEST_BARE(family_under_ulimit) {
    mproc_arena_stats s;
    struct rlimit r = {UINT64_C(1) << 30, UINT64_C(1) << 30};
    give_up_right_to_resources();
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &r));
    CHECK_EQ(mproc__family_join(), 0);
    mproc_arena_stat(&s);
    CHECK_LE(s.span, 1 << 30);
    CHECK_GE(s.span, 1 << 29);
    char *p = mproc_alloc(100 << 20);
    CHECK(p != NULL);
    p[0] = p[(100 << 20) - 1] = 1;
    mproc_free(p);
    check_family();
}

TEST_BARE(family_without_address_space) {
    struct rlimit r = {4 << 20, 4 << 20};
    give_up_right_to_resources();
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &r));
    size_t fds = test_open_fds(), maps = test_mappings();
    CHECK_EQ(mproc__family_join(), -ENOMEM);
    CHECK(mproc_alloc(1) == NULL);
    CHECK_EQ(test_open_fds(), fds);
    CHECK_MAPPINGS(maps);
}

TEST_BARE(family_without_descriptors) {
    struct rlimit r = {0, 4096};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &r));
    CHECK_EQ(mproc__family_join(), -EMFILE);
    CHECK(mproc__family == NULL);
    r.rlim_cur = 256;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &r));
    CHECK_EQ(mproc__family_join(), 0);
}

/* ---------------------------------------------------------------- strangers */

/* A process with such words in its environment founds a family of its own and removes the words. */
static void is_a_stranger(const char *words) {
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        mproc_member self;
        CHECK_OK(setenv(MPROC__ENV, words, 1));
        if (mproc__family_join() != 0) {
            test_fail(__FILE__, __LINE__, "%s: %d", words, mproc__family_join());
        }
        CHECK(getenv(MPROC__ENV) == NULL);
        CHECK_OK(mproc_self(&self));
        CHECK_STR(self.name, "main");
        CHECK_EQ(self.serial, 1);
        check_family();
        _exit(0);
    }
    child_join(pid);
}

TEST_BARE(family_of_a_stranger_with_odd_words) {
    static const char *const words[] = {"",
                                        "x",
                                        "1",
                                        "1:2:3",
                                        "::::",
                                        "0:0:0:0",
                                        "0:0:0:0:0",
                                        "ffffffff:7e8000000000:1000000000:200000002:100000001",
                                        "63:7e8000000000:1000000000:200000002:100000001",
                                        "1:1000:0:0:0",
                                        "1:ffffffffffffffff:ffffffffffffffff:1:1",
                                        "-1:-1:-1:-1:-1",
                                        "99999999999999999999:1:1:1:1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        is_a_stranger(words[i]);
    }
}

/* The number of the descriptor belongs to another file by now. */
TEST_BARE(family_of_a_stranger_with_another_file) {
    char text[128];
    int fds[5] = {open("/dev/null", O_RDWR | O_CLOEXEC), open("/proc/self/exe", O_RDONLY),
                  memfd_create("other", MFD_CLOEXEC), memfd_create("empty", MFD_CLOEXEC),
                  open("/", O_RDONLY)};
    CHECK_OK(ftruncate(fds[2], 1 << 20));
    for (int i = 0; i < 5; i++) {
        CHECK_GE(fds[i], 0);
        snprintf(text, sizeof text, "%x:7e8000000000:40000000:200000002:100000001", fds[i]);
        is_a_stranger(text);
        snprintf(text, sizeof text, "%x:7e8000000000:100000:200000002:100000001", fds[i]);
        is_a_stranger(text);
        close(fds[i]);
    }
}

struct ticket {
    char text[MPROC__ENV_MAX];
    uint64_t token;
};

static void ask(int fd, const struct ticket *t, uint64_t token) {
    char text[128];
    unsigned long long base, span, starter;
    CHECK_EQ(sscanf(t->text, MPROC__ENV "=%*x:%llx:%llx:%*x:%llx", &base, &span, &starter), 3);
    snprintf(text, sizeof text, "%x:%llx:%llx:%llx:%llx", fd, base, span, (unsigned long long)token,
             starter);
    is_a_stranger(text);
}

/* A process that got the arena's descriptor may join only if its parent has reserved a place for
 * it. This process was forked before there was a family, so no place is reserved for it or its
 * children. */
static void ask_in_vain(int end) {
    struct ticket t;
    int fd;
    size_t n;
    CHECK_OK(mproc_pipe_recv_size(end, &n));
    CHECK_EQ(n, sizeof t);
    CHECK_OK(mproc_pipe_recv_body(end, &t, sizeof t));
    CHECK_OK(mproc_pipe_recv_fds(end, &fd, 1, &n));
    ask(fd, &t, t.token);
    ask(fd, &t, t.token + ((uint64_t)1 << 32)); /* a serial that no member has */
    ask(fd, &t, t.token + 1);
    ask(fd, &t, 0);
    ask(fd, &t, UINT64_MAX);
}

TEST_BARE(family_lets_in_whom_it_expects) {
    int ends[2];
    struct ticket t = {"", 0};
    CHECK_OK(mproc_pipe_new(ends, 1));
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        ask_in_vain(ends[1]);
        _exit(0);
    }
    CHECK_EQ(mproc__family_join(), 0);
    CHECK_OK(mproc__member_expect("kid", MPROC_SPAWN, 0, &t.token));
    mproc__family_describe(t.token, t.text);
    CHECK_EQ(strncmp(t.text, MPROC__ENV "=", strlen(MPROC__ENV) + 1), 0);
    int fd = mproc__family_fd();
    CHECK_OK(mproc_pipe_send(ends[0], &t, sizeof t));
    CHECK_OK(mproc_pipe_send_fds(ends[0], &fd, 1));
    child_join(pid);
    CHECK_EQ(mproc_members(NULL, 0), 1);
    CHECK(!mproc__token_dead(t.token));
    mproc__reap_dead(t.token);
    check_family();
    close(ends[0]);
    close(ends[1]);
}

static void leave_the_family(void *arg) {
    size_t fds = test_open_fds();
    void *arena = mproc__family;
    mproc_member m;
    CHECK_OK(msync(arena, 4096, MS_ASYNC));
    mproc__family_leave();
    CHECK_EQ(msync(arena, 4096, MS_ASYNC), -1);
    CHECK_EQ(errno, ENOMEM); /* nothing is mapped there */
    CHECK_EQ(test_open_fds(), fds - 1);
    CHECK_EQ(mproc_self(&m), MPROC_EINIT);
    CHECK(!mproc_in_arena(arg));
    void *p = mproc_alloc(10); /* a family of its own */
    CHECK(p != NULL);
    CHECK_OK(mproc_self(&m));
    CHECK_EQ(m.serial, 1);
    mproc_free(p);
}

TEST(family_forgotten) {
    uint64_t *word = mproc_calloc(1, 8);
    child_join(child_fork(leave_the_family, word));
    CHECK_EQ(*word, 0);
    mproc_reap();
    mproc_free(word);
    check_family();
}
