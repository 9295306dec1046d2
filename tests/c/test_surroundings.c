/*
 * test_surroundings.c - what the library finds around it: closed standard streams, limits of the
 * system, settings
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/setting.h"
#include "deny.h"
#include "made.h"
#include "members.h"
#include "methods.h"
#include "rights.h"
#include "system/os.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* A sanitizer reserves terabytes, which the limits count and mlockall() fills. */
static void unless_sanitized(void) {
    if (TEST_ASAN) {
        test_skip("the sanitizer has taken more");
    }
}

/* ---------------------------------------------------------------- filters of system calls */

/* Such a filter says EPERM where an old kernel says ENOSYS. */
static void send_and_receive(void *arg) {
    const long *refused = arg;
    int ends[2];
    char out[100000], in[sizeof out];
    size_t size;
    memset(out, 'x', sizeof out);
    deny(SYS_preadv2, -1, (int)*refused);
    deny(SYS_pwritev2, -1, (int)*refused);
    for (int duplex = 0; duplex < 2; duplex++) {
        CHECK_OK(mproc_pipe_new(ends, duplex));
        CHECK_OK(mproc_pipe_send(ends[1], "abc", 3));
        size = 0;
        CHECK_OK(mproc_pipe_recv_size(ends[0], &size));
        CHECK_LE(size, sizeof in);
        CHECK_OK(mproc_pipe_recv_body(ends[0], in, size));
        CHECK_EQ(size, 3);
        CHECK_MEM(in, "abc", 3);
        pid_t sender = fork();
        if (sender == 0) {
            _exit(mproc_pipe_send(ends[1], out, sizeof out) == 0 ? 0 : 1);
        }
        CHECK_OK(mproc_pipe_recv_size(ends[0], &size));
        CHECK_LE(size, sizeof in);
        CHECK_OK(mproc_pipe_recv_body(ends[0], in, size));
        CHECK_EQ(size, sizeof out);
        CHECK_MEM(in, out, sizeof out);
        child_join(sender);
        CHECK_OK(close(ends[0]));
        CHECK_OK(close(ends[1]));
    }
}

TEST_BARE(filter_refuses_preadv2_and_pwritev2) {
    long errors[] = {EPERM, ENOSYS};
    child_join(child_fork(send_and_receive, &errors[0]));
    child_join(child_fork(send_and_receive, &errors[1]));
}

static int wait_for_signal(void *arg, size_t size) {
    (void)arg;
    (void)size;
    sleep_until_killed();
    return 0;
}

static void send_signals(void *arg) {
    const mproc_process_options options = {.method = *(mproc_method *)arg};
    mproc_process *process;
    int code;
    deny(424 /* pidfd_send_signal */, -1, EPERM);
    CHECK_OK(mproc_process_start(&process, wait_for_signal, NULL, 0, &options));
    CHECK_OK(mproc_process_signal(process, 0));
    CHECK_OK(mproc_process_kill(process));
    CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(process, &code));
    CHECK_EQ(code, -SIGKILL);
    CHECK_EQ(mproc_process_kill(process), -ESRCH);
    CHECK_OK(mproc_process_drop(process));
    mproc__template_stop_default();
}

TEST_METHODS(filter_refuses_pidfd_send_signal) {
    child_join(child_fork(send_signals, &method));
    mproc_reap();
}

struct held {
    mproc_lock *lock;
    mproc_event *taken;
};

static int hold_until_killed(void *arg, size_t size) {
    const struct held *held = arg;
    (void)size;
    CHECK_OK(mproc_lock_acquire(held->lock, MPROC_FOREVER));
    mproc_event_set(held->taken);
    sleep_until_killed();
    return 0;
}

/* What a filter may refuse, or an old system lacks, while the rest is there. */
static void lose_a_holder(void *arg) {
    static const long refused[] = {SYS_set_robust_list, SYS_get_robust_list, 435 /* clone3 */,
                                   436 /* close_range */};
    const mproc_process_options options = {.method = *(mproc_method *)arg};
    mproc_process *process;
    struct held held;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        deny(refused[i], -1, ENOSYS);
    }
    CHECK_OK(mproc_lock_new(&held.lock, 0));
    CHECK_OK(mproc_event_new(&held.taken));
    CHECK_OK(mproc_process_start(&process, hold_until_killed, &held, sizeof held, &options));
    CHECK_OK(mproc_event_wait(held.taken, MPROC_FOREVER));
    CHECK_OK(mproc_process_kill(process));
    CHECK_EQ(mproc_lock_acquire(held.lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_OK(mproc_lock_release(held.lock));
    CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
    CHECK_OK(mproc_process_drop(process));
    mproc__template_stop_default();
}

TEST_METHODS(filter_refuses_newer_calls) {
    child_join(child_fork(lose_a_holder, &method));
    mproc_reap();
}

static void join_without_memory(void *unused) {
    (void)unused;
    deny(SYS_memfd_create, -1, EPERM);
    CHECK_EQ(mproc__family_join(), -EPERM);
    CHECK(strstr(mproc_join_reason(-EPERM), "memfd_create") != NULL);
}

TEST_BARE(filter_refuses_memfd_create) {
    child_join(child_fork(join_without_memory, NULL));
}

/* ---------------------------------------------------------------- standard streams */

/* Nothing of the library has the number of a standard stream. */
static void check_streams_closed(void) {
    for (int fd = 0; fd < 3; fd++) {
        CHECK_EQ(fcntl(fd, F_GETFD), -1);
        CHECK_EQ(errno, EBADF);
    }
}

static void close_streams(void) {
    for (int fd = 0; fd < 3; fd++) {
        (void)close(fd);
    }
}

static void check_high(int fd) {
    CHECK_GE(fd, 3);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_OK(close(fd));
    check_streams_closed();
}

static void make_pairs(void) {
    static int (*const pairs[])(int ends[2]) = {mproc__os_pipe_new, mproc__os_socket_pair,
                                                mproc__os_packet_pair};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        int ends[2];
        CHECK_OK(pairs[i](ends));
        CHECK_EQ(mproc__os_write_quiet(ends[1], &(struct iovec){"x", 1}, 1), 1);
        char byte = 0;
        CHECK_EQ(mproc__os_read(ends[0], &byte, 1), 1);
        CHECK_EQ(byte, 'x');
        check_high(ends[0]);
        check_high(ends[1]);
    }
}

static void make_descriptors(void *arg) {
    (void)arg;
    char address[128];
    uint32_t size;
    int sender = -1;
    close_streams();
    make_pairs();
    check_high(mproc__os_memory_new("test", 4096));
    check_high(mproc__os_file_nameless("/tmp", 0600));
    check_high(mproc__os_file_open("/dev/null"));
    check_high(mproc__os_pidfd_open(getpid()));
    check_high(mproc__os_event_new());
    check_high(mproc__os_watch_new());
    check_high(mproc__os_timer_new());
    int mailbox = mproc__os_mailbox_new(address, sizeof address, &size);
    check_high(mproc__os_descriptor_copy(mailbox));
    mproc__os_mailbox_send(&sender, address, size);
    check_high(sender);
    check_high(mailbox);
}

TEST_BARE(streams_are_not_replaced_by_descriptors) {
    child_join(child_fork(make_descriptors, NULL));
}

static void receive_descriptors(void *arg) {
    (void)arg;
    int ends[2], fds[MPROC__OS_FDS_MAX];
    size_t n = 0;
    bool lost = true;
    char byte;
    CHECK_OK(mproc__os_packet_pair(ends));
    const int sent[3] = {ends[0], ends[1], ends[0]};
    CHECK_OK(mproc__os_send(ends[0], "x", 1, sent, 3));
    close_streams();
    CHECK_EQ(mproc__os_receive(ends[1], &byte, 1, fds, &n, &lost), 1);
    CHECK_EQ(n, 3);
    CHECK(!lost);
    for (size_t i = 0; i < n; i++) {
        check_high(fds[i]);
    }
}

TEST_BARE(streams_are_not_replaced_by_what_is_received) {
    child_join(child_fork(receive_descriptors, NULL));
}

/* Without a number from 3 on there is no descriptor, and none is left behind. */
static void make_none(void *arg) {
    (void)arg;
    const struct rlimit few = {3, 3};
    int ends[2] = {-1, -1}, rest[MPROC__OS_FDS_MAX];
    size_t n = 9;
    bool lost = false;
    char byte;
    CHECK_OK(mproc__os_packet_pair(ends));
    CHECK_OK(mproc__os_send(ends[0], "x", 1, ends, 2));
    close_streams();
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
    CHECK_EQ(mproc__os_receive(ends[1], &byte, 1, rest, &n, &lost), 1);
    CHECK_EQ(n, 0);
    CHECK(lost);
    check_streams_closed();
    CHECK_EQ(mproc__os_pipe_new(ends), -EMFILE);
    CHECK_EQ(mproc__os_event_new(), -EMFILE);
    CHECK_EQ(mproc__os_descriptor_copy(4), -EMFILE);
    CHECK_EQ(mproc__family_join(), -EMFILE);
    check_streams_closed();
}

TEST_BARE(streams_stay_free_when_there_are_no_descriptors) {
    child_join(child_fork(make_none, NULL));
}

static int put_its_streams(void *queue, size_t size) {
    (void)size;
    char open[3];
    for (int fd = 0; fd < 3; fd++) {
        open[fd] = fcntl(fd, F_GETFD) != -1;
    }
    return mproc_queue_put(queue, open, sizeof open, MPROC_FOREVER);
}

/* A child of that method has no standard streams either, and uses the queue. */
static void child_by(unsigned method, mproc_queue *queue) {
    char open[3] = "xxx", room[16];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    mproc_process *child;
    const mproc_process_options options = {.method = method};
    CHECK_OK(mproc_process_start(&child, put_its_streams, queue, 0, &options));
    CHECK_OK(mproc_queue_get(queue, &m, 20 * MPROC_SEC));
    CHECK_EQ(m.size, sizeof open);
    CHECK_EQ(memcmp(m.data, "\0\0\0", sizeof open), 0);
    mproc_message_drop(&m);
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_drop(child));
}

static void use_the_family(void *arg) {
    (void)arg;
    char name[] = "test", *argv[] = {name, NULL};
    close_streams();
    CHECK_OK(mproc_init(1, argv));
    mproc_queue *queue = made_queue(0);
    check_streams_closed();
    for (int i = 0; i < 1000; i++) { /* what a program says to nobody */
        CHECK_EQ(write(i % 3, "a warning that went into the arena\n", 35), -1);
    }
    child_by(MPROC_FORK, queue);
    child_by(MPROC_SPAWN, queue);
    check_streams_closed();
    mproc_drop(queue);
    check_family();
}

TEST_BARE(streams_are_not_replaced_by_a_family) {
    child_join(child_fork(use_the_family, NULL));
}

/* ---------------------------------------------------------------- core dumps */

/* Has the arena's mapping that flag in /proc/self/smaps? */
static bool arena_has_flag(const char *flag) {
    char line[4096], start[32];
    bool here = false, found = false, has = false;
    snprintf(start, sizeof start, "%llx-", (unsigned long long)(uintptr_t)mproc__family);
    FILE *f = fopen("/proc/self/smaps", "re");
    CHECK(f != NULL);
    while (!found && fgets(line, sizeof line, f) != NULL) {
        here = here || strncmp(line, start, strlen(start)) == 0;
        if (here && strncmp(line, "VmFlags:", 8) == 0) {
            has = strstr(line, flag) != NULL;
            found = true;
        }
    }
    CHECK_OK(fclose(f));
    CHECK(found);
    return has;
}

static int tell_flag(void *queue, size_t size) {
    (void)size;
    char has = arena_has_flag(" dd");
    return mproc_queue_put(queue, &has, 1, MPROC_FOREVER);
}

TEST(core_dumps_have_no_arena) {
    static const unsigned methods[] = {MPROC_FORK, MPROC_SPAWN};
    mproc_queue *queue = made_queue(0);
    CHECK(arena_has_flag(" dd"));
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char has = 9;
        mproc_message m = MPROC_MESSAGE_INIT(&has, 1);
        mproc_process *child;
        const mproc_process_options options = {.method = methods[i]};
        CHECK_OK(mproc_process_start(&child, tell_flag, queue, 0, &options));
        CHECK_OK(mproc_queue_get(queue, &m, 20 * MPROC_SEC));
        CHECK_EQ(has, 1);
        mproc_message_drop(&m);
        CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
        CHECK_OK(mproc_process_drop(child));
    }
    mproc_drop(queue);
}

/* ---------------------------------------------------------------- locked memory */

static uint64_t arena_resident(void) {
    struct stat st;
    CHECK_OK(fstat(mproc__family_fd(), &st));
    return (uint64_t)st.st_blocks * 512;
}

/* The limit is that of the machines of continuous integration, too: a small span, in case. */
static void lock_memory(int flags) {
    unless_sanitized();
    CHECK_OK(setenv("MPROC_ARENA_SPAN", "256M", 1));
    if (mlockall(flags) != 0) {
        test_skip("mlockall: %s", strerror(errno));
    }
}

static void fill_a_little(void) {
    mproc_queue *queue = made_queue(0);
    char room[8];
    mproc_message m = MPROC_MESSAGE_INIT(room, sizeof room);
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    CHECK_OK(mproc_queue_get(queue, &m, 0));
    CHECK_EQ(room[0], 'x');
    mproc_message_drop(&m);
    mproc_drop(queue);
    check_family();
}

TEST_BARE(locked_memory_is_what_is_used) {
    lock_memory(MCL_CURRENT | MCL_FUTURE);
    fill_a_little();
    CHECK(arena_has_flag(" lo"));
    CHECK_LT(arena_resident(), 32 << 20);
    CHECK_OK(munlockall());
}

TEST_BARE(locked_memory_on_fault_is_what_is_used) {
    CHECK_OK(setenv("MPROC_ARENA_SPAN", "256M", 1));
    fill_a_little();
    lock_memory(MCL_CURRENT | MCL_ONFAULT);
    fill_a_little();
    CHECK_LT(arena_resident(), 32 << 20);
    CHECK_OK(munlockall());
}

/* A user without rights, who may lock less than the least arena. */
TEST_BARE(locked_memory_that_is_too_little) {
    mproc_lock *lock;
    const struct rlimit little = {1 << 20, 1 << 20};
    unless_sanitized();
    CHECK_OK(setrlimit(RLIMIT_MEMLOCK, &little));
    if (geteuid() == 0) {
        CHECK_OK(setuid(65534));
    }
    CHECK_OK(mlockall(MCL_FUTURE));
    size_t fds = test_open_fds();
    CHECK_EQ(mproc_lock_new(&lock, 0), -ENOMEM);
    CHECK(strstr(mproc_join_reason(-ENOMEM), "RLIMIT_MEMLOCK (ulimit -l)") != NULL);
    CHECK_EQ(test_open_fds(), fds);
    CHECK_OK(munlockall());
    CHECK_OK(mproc_lock_new(&lock, 0));
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- strict accounting */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* This process reads that the system accounts strictly; it goes on as it did. */
static void pretend_strict(void) {
    char path[] = "/tmp/mproc-test-strict.XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    CHECK(f != NULL && fputs("2\n", f) >= 0 && fclose(f) == 0);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(path, "/proc/sys/vm/overcommit_memory", NULL, MS_BIND, NULL) != 0) {
        test_skip("nothing can be mounted here");
    }
    (void)unlink(path);
}

/* No page can be had that was not there before. */
static void deny_pages(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_POPULATE_WRITE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EFAULT), /* instead of SIGBUS */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        test_skip("no system call filters here");
    }
}

TEST_BARE(strict_accounting_fetches_pages_ahead) {
    size_t size = 8 << 20, pages = size / 4096, there = 0;
    unsigned char resident[2048];
    pretend_strict();
    char *block = mproc_alloc(size);
    CHECK(block != NULL);
    if (madvise(block, size, MADV_POPULATE_WRITE) != 0 && errno == EINVAL) {
        test_skip("the kernel fetches no pages ahead");
    }
    mproc_free(block);
    block = mproc_alloc(size);
    CHECK(block != NULL);
    CHECK_OK(mincore(block, size, resident));
    for (size_t i = 0; i < pages; i++) {
        there += resident[i] & 1;
    }
    CHECK_EQ(there, pages);
    mproc_free(block);
}

TEST_BARE(strict_accounting_that_has_no_page_is_an_error) {
    static char data[100000];
    char why[256] = "";
    size_t puts = 0;
    int r;
    pretend_strict();
    mproc_queue *q = made_queue(0);
    deny_pages();
    while ((r = mproc_queue_put(q, data, sizeof data, 0)) == 0 && puts < 1000) {
        puts++;
    }
    CHECK_EQ(r, -ENOMEM); /* and no SIGBUS */
    CHECK(puts > 0 && puts < 100);
    CHECK(mproc_alloc(8 << 20) == NULL);
    if (mproc_arena_check(why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
    for (; puts > 0; puts--) { /* what is there can be used again */
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        CHECK_OK(mproc_queue_get(q, &m, 0));
        CHECK_EQ(m.size, sizeof data);
        mproc_message_drop(&m);
    }
    mproc_drop(q);
}

/* ---------------------------------------------------------------- settings */

TEST_BARE(settings_are_numbers_of_bytes) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1", 1},
                {"1048576", 1 << 20},
                {"010", 10},
                {"0x100000", 1 << 20},
                {"0XfF", 255},
                {"32K", 32 << 10},
                {"32k", 32 << 10},
                {"32kib", 32 << 10},
                {"32M", 32 << 20},
                {"32MiB", 32 << 20},
                {"32mib", 32 << 20},
                {"3g", UINT64_C(3) << 30},
                {"3GiB", UINT64_C(3) << 30},
                {"2T", UINT64_C(2) << 40},
                {"2TIB", UINT64_C(2) << 40},
                {"18446744073709551615", UINT64_MAX},
                {"16777215T", UINT64_C(16777215) << 40}};
    static const char *const bad[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "M",
                                      "KiB",
                                      "x",
                                      "0x",
                                      "1KB",
                                      "1Ki",
                                      "1MM",
                                      "1.5G",
                                      "1e9",
                                      "1P",
                                      "1B",
                                      "1 M",
                                      "18446744073709551616",
                                      "16777216T",
                                      "99999999999999999999999999",
                                      "1M\n",
                                      "1,000",
                                      "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 77;
        if (!mproc__setting_parse(good[i].text, &bytes) || bytes != good[i].bytes) {
            test_fail(__FILE__, __LINE__, "%s", good[i].text);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 77;
        if (mproc__setting_parse(bad[i], &bytes) || bytes != 77) {
            test_fail(__FILE__, __LINE__, "%s is refused", bad[i]);
        }
    }
}

/* What stderr gets while a process with that setting fails to join, several times. */
static void join_by(const char *name, const char *value, int end) {
    mproc_lock *lock = NULL;
    CHECK_EQ(dup2(end, 2), 2);
    CHECK_OK(setenv(name, value, 1));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(mproc_lock_new(&lock, 0), MPROC_ESETTING);
        CHECK(lock == NULL);
        const char *reason = mproc_join_reason(MPROC_ESETTING);
        CHECK_EQ(strncmp(reason, name, strlen(name)), 0);
        CHECK(strstr(reason, value) != NULL);
        CHECK_STR(mproc_join_reason(-ENOMEM), "");
        CHECK_STR(mproc_join_reason(0), "");
    }
    CHECK_OK(unsetenv(name));
    CHECK_OK(mproc_lock_new(&lock, 0));
    CHECK_STR(mproc_join_reason(MPROC_ESETTING), "");
    mproc_drop(lock);
}

static void refused(const char *name, const char *value) {
    char said[512] = "", want[512];
    int ends[2], status;
    CHECK_OK(pipe(ends));
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        join_by(name, value, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    CHECK_GE(read(ends[0], said, sizeof said - 1), 0);
    close(ends[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    snprintf(want, sizeof want, "mproc: %s=%s: ", name, value);
    CHECK_EQ(strncmp(said, want, strlen(want)), 0);
    CHECK(strchr(said, '\n') == said + strlen(said) - 1); /* once */
}

TEST_BARE(settings_of_nonsense_are_refused) {
    static const char *const names[] = {"MPROC_ARENA_LIMIT", "MPROC_ARENA_SPAN"};
    static const char *const values[] = {"0", "-1", "1", "32Q", "much", "99999999999999999999",
                                         "0K"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            refused(names[i], values[j]);
        }
    }
    refused("MPROC_ARENA_SPAN", "4M"); /* not even the tables */
}

static mproc_arena_stats stats_with(const char *limit, const char *span) {
    mproc_arena_stats s;
    CHECK_OK(setenv("MPROC_ARENA_LIMIT", limit, 1)); /* an empty one is none */
    CHECK_OK(setenv("MPROC_ARENA_SPAN", span, 1));
    mproc_arena_stat(&s);
    CHECK_NE(s.span, 0);
    mproc__family_leave();
    return s;
}

TEST_BARE(settings_make_the_arena) {
    mproc_arena_stats s = stats_with("32M", "");
    CHECK_EQ(s.limit, 32 << 20);
    CHECK_EQ(s.span, 512 << 20); /* a small limit is a small reservation */
    s = stats_with("64K", "");
    CHECK_EQ(s.limit, 64 << 10);
    CHECK_EQ(s.span, 64 << 20);
    s = stats_with("32MiB", "1g");
    CHECK_EQ(s.limit, 32 << 20);
    CHECK_EQ(s.span, 1 << 30);
    s = stats_with("1G", "64M"); /* no more than there is room for */
    CHECK_EQ(s.span, 64 << 20);
    CHECK_LT(s.limit, 64 << 20);
    CHECK_GT(s.limit, 50 << 20);
    s = stats_with("", "");
    CHECK_GT(s.span, 1 << 30);
}

/* ---------------------------------------------------------------- limits of the system */

static void limit_to(int resource, uint64_t bytes) {
    const struct rlimit r = {bytes, bytes};
    CHECK_OK(setrlimit(resource, &r));
}

static int put_its_bytes(void *queue, size_t size) {
    (void)size;
    static char bytes[100000];
    memset(bytes, 'b', sizeof bytes);
    return mproc_queue_put(queue, bytes, sizeof bytes, MPROC_FOREVER);
}

/* Children by each method, and a message that does not fit into the queue itself. */
static void use_children(void) {
    static const unsigned methods[] = {MPROC_FORK, MPROC_SPAWN};
    char name[] = "test", *argv[] = {name, NULL};
    CHECK_OK(mproc_init(1, argv));
    mproc_queue *queue = made_queue(0);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        mproc_process *child;
        const mproc_process_options options = {.method = methods[i]};
        CHECK_OK(mproc_process_start(&child, put_its_bytes, queue, 0, &options));
        CHECK_OK(mproc_queue_get(queue, &m, 20 * MPROC_SEC));
        CHECK_EQ(m.size, 100000);
        CHECK_EQ(((char *)m.data)[99999], 'b');
        mproc_message_drop(&m);
        CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
        CHECK_OK(mproc_process_drop(child));
    }
    mproc_drop(queue);
    check_family();
}

static size_t span(void) {
    mproc_arena_stats s;
    mproc_arena_stat(&s);
    return s.span;
}

TEST_BARE(limit_of_files) {
    give_up_right_to_resources();
    limit_to(RLIMIT_FSIZE, UINT64_C(20000) * 1024); /* ulimit -f 20000 */
    use_children();
    CHECK_LE(span(), 20000 * 1024);
    CHECK_GT(span(), 19000 * 1024);
    check_family();
}

TEST_BARE(limit_of_files_in_half_kilobytes) {
    give_up_right_to_resources();
    limit_to(RLIMIT_FSIZE, UINT64_C(20000) * 512); /* the unit of some shells */
    use_children();
    CHECK_LE(span(), 20000 * 512);
}

TEST_BARE(limit_of_files_that_is_too_low) {
    mproc_lock *lock;
    give_up_right_to_resources();
    limit_to(RLIMIT_FSIZE, 1 << 20);
    CHECK_EQ(mproc_lock_new(&lock, 0), -ENOMEM);
    CHECK(strstr(mproc_join_reason(-ENOMEM), "RLIMIT_FSIZE (ulimit -f) allows 1024 KiB") != NULL);
}

/* The soft limit stays what it is, for the program and for its children. */
TEST_BARE(limit_of_files_that_is_soft) {
    give_up_right_to_resources();
    struct rlimit r;
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &r));
    const struct rlimit low = {1000, r.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &low));
    use_children();
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &r));
    CHECK_EQ(r.rlim_cur, 1000);
    CHECK_EQ(r.rlim_max, low.rlim_max);
    if (low.rlim_max == RLIM_INFINITY) {
        CHECK_GT(span(), 20000 * 1024); /* as without a limit */
    }
}

TEST_BARE(limit_of_files_that_is_lifted_by_right) {
    const struct rlimit all = {4000, 4000};
    struct rlimit r = {4001, 4001};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &all));
    if (setrlimit(RLIMIT_FSIZE, &r) != 0) {
        return; /* it has not that right */
    }
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &all));
    use_children();
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &r));
    CHECK_EQ(r.rlim_cur, 4000);
    CHECK_EQ(r.rlim_max, 4000);
}

TEST_BARE(limit_of_address_space) {
    unless_sanitized();
    limit_to(RLIMIT_AS, UINT64_C(200000) * 1024); /* ulimit -v 200000 */
    use_children();
    CHECK_LE(span(), 50 << 20); /* most is left to the program */
    CHECK_GE(span(), 40 << 20);
    CHECK_EQ(span() % 65536, 0);
}

TEST_BARE(limit_of_address_space_and_a_setting) {
    unless_sanitized();
    limit_to(RLIMIT_AS, UINT64_C(200000) * 1024);
    CHECK_OK(setenv("MPROC_ARENA_SPAN", "100M", 1));
    use_children();
    CHECK_EQ(span(), 100 << 20);
}

TEST_BARE(limit_of_address_space_that_is_too_low) {
    mproc_lock *lock;
    unless_sanitized();
    limit_to(RLIMIT_AS, 1 << 20);
    CHECK_EQ(mproc_lock_new(&lock, 0), -ENOMEM);
    CHECK(strstr(mproc_join_reason(-ENOMEM), "RLIMIT_AS (ulimit -v) leaves 0 KiB") != NULL);
}

TEST_BARE(limit_of_descriptors) {
    mproc_lock *lock;
    const struct rlimit none = {0, 4096}, some = {256, 4096};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_EQ(mproc_lock_new(&lock, 0), -EMFILE);
    CHECK(strstr(mproc_join_reason(-EMFILE), "RLIMIT_NOFILE") != NULL);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &some));
    CHECK_OK(mproc_lock_new(&lock, 0));
    CHECK_STR(mproc_join_reason(-EMFILE), "");
    mproc_drop(lock);
}

/* A sandbox that refuses the call behind the arena is named, with what it said. */
TEST_BARE(limit_of_a_sandbox) {
    mproc_lock *lock;
    deny(SYS_memfd_create, -1, EPERM);
    size_t fds = test_open_fds();
    CHECK_EQ(mproc_lock_new(&lock, 0), -EPERM);
    const char *reason = mproc_join_reason(-EPERM);
    CHECK(strstr(reason, "the system refuses the arena's memory") != NULL);
    CHECK(strstr(reason, mproc_strerror(-EPERM)) != NULL);
    CHECK_EQ(test_open_fds(), fds);
}

TEST_BARE(limit_of_an_old_kernel) {
    mproc_lock *lock;
    deny(SYS_memfd_create, -1, ENOSYS);
    CHECK_EQ(mproc_lock_new(&lock, 0), -ENOSYS);
    CHECK(strstr(mproc_join_reason(-ENOSYS), mproc_strerror(-ENOSYS)) != NULL);
}

/* A kernel that cannot tell or lock by page maps the arena all the same. */
TEST_BARE(locked_memory_where_the_system_cannot_tell) {
    deny(SYS_mincore, -1, ENOSYS);
    fill_a_little();
    CHECK(!arena_has_flag(" lo"));
}

TEST_BARE(locked_memory_where_pages_cannot_be_locked_later) {
    deny(SYS_mlock2, -1, ENOSYS);
    lock_memory(MCL_CURRENT | MCL_FUTURE);
    fill_a_little();
    CHECK(!arena_has_flag(" lo"));
    CHECK_LT(arena_resident(), 32 << 20);
    CHECK_OK(munlockall());
}

/* ---------------------------------------------------------------- a limit that comes later */

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static void limit_space(size_t bytes) {
    const struct rlimit limit = {bytes, bytes};
    mproc_arena_fit(bytes);
    CHECK_OK(setrlimit(RLIMIT_AS, &limit));
}

static size_t span_now(void) {
    mproc_arena_stats stats;
    mproc_arena_stat(&stats);
    return stats.span;
}

/* Memory of its own and of the family is to be had; at the end of the latter is an error. */
static int use_memory(void *arg, size_t size) {
    void *own = malloc(GIB / 4), *blocks[257];
    size_t n = 0;
    (void)arg;
    (void)size;
    CHECK(own != NULL);
    free(own);
    while (n < 257 && (blocks[n] = mproc_alloc(MIB)) != NULL) {
        memset(blocks[n++], 1, 4096);
    }
    CHECK_GE(n, 20);
    CHECK_LE(n, 256);
    CHECK_OK(mproc_arena_check(NULL, 0));
    while (n > 0) { /* nothing frees them when this process ends */
        mproc_free(blocks[--n]);
    }
    CHECK_OK(mproc_member_check(NULL, 0));
    return 7;
}

static void limit_after_joining(void *unused) {
    (void)unused;
    mproc_arena_fit(1);
    char *block = mproc_alloc(100);
    strcpy(block, "kept");
    CHECK_GT(span_now(), 2 * GIB);
    mproc_arena_fit(1024 * GIB); /* nothing is in the way */
    CHECK_GT(span_now(), 2 * GIB);
    limit_space(GIB);
    CHECK_LE(span_now(), GIB / 4);
    CHECK_STR(block, "kept");
    mproc_free(block);
    mproc_shm *segment;
    CHECK_OK(mproc_shm_create(&segment, NULL, 4096, NULL));
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(segment)));
    mproc_shm_drop(segment);
    pid_t child = fork();
    if (child == 0) {
        _exit(use_memory(NULL, 0));
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(WEXITSTATUS(status), 7);
}

TEST_BARE(space_is_limited_after_joining) {
    unless_sanitized();
    child_join(child_fork(limit_after_joining, NULL));
}

/* More is in use than the process should leave to the arena. */
static void limit_below_use(void *unused) {
    (void)unused;
    char *block = mproc_alloc(100 * MIB);
    CHECK(block != NULL);
    block[0] = block[100 * MIB - 1] = 'x';
    limit_space(512 * MIB);
    CHECK_EQ(block[100 * MIB - 1], 'x');
    void *own = malloc(64 * MIB);
    CHECK(own != NULL);
    free(own);
    mproc_free(block);
    CHECK_OK(mproc_arena_check(NULL, 0));
    block = mproc_alloc(100 * MIB);
    CHECK(block != NULL);
    block[100 * MIB - 1] = 'y';
    mproc_free(block);
}

TEST_BARE(space_is_limited_below_what_is_used) {
    unless_sanitized();
    child_join(child_fork(limit_below_use, NULL));
}

static int limit_and_use(void *arg, size_t size) {
    limit_space(GIB);
    return use_memory(arg, size);
}

static void start_limited(void *arg) {
    const mproc_limit limit = {RLIMIT_AS, GIB, GIB};
    const mproc_process_setup setup = {.limits = &limit, .nlimits = 1};
    mproc_process_options options = {.method = *(mproc_method *)arg};
    for (int i = 0; i < 2; i++) { /* the child itself, or its setup */
        mproc_process *process;
        int code;
        CHECK_OK(
            mproc_process_start(&process, i == 0 ? limit_and_use : use_memory, NULL, 0, &options));
        CHECK_OK(mproc_process_join(process, MPROC_FOREVER));
        CHECK_OK(mproc_process_exitcode(process, &code));
        CHECK_EQ(code, 7);
        CHECK_OK(mproc_process_drop(process));
        options.setup = &setup;
    }
    CHECK_OK(mproc_arena_check(NULL, 0));
    mproc__template_stop_default();
}

TEST_METHODS(space_of_a_child_is_limited) {
    unless_sanitized();
    child_join(child_fork(start_limited, &method));
    mproc_reap();
}
