/*
 * test_pipe.c - framing, ends, waiting and passing descriptors
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "deny.h"
#include "system/os.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void make(int ends[2], int duplex) {
    CHECK_OK(mproc_pipe_new(ends, duplex));
}

static void drop(const int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

static void expect(int end, const void *data, size_t size) {
    size_t n = 99;
    unsigned char *got = malloc(size + 1);
    CHECK_OK(mproc_pipe_recv_size(end, &n));
    CHECK_EQ(n, size);
    CHECK_OK(mproc_pipe_recv_body(end, got, n));
    CHECK_MEM(got, data, size);
    free(got);
}

static void non_blocking(int fd) {
    CHECK_OK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

static unsigned char *pattern(size_t size) {
    unsigned char *p = malloc(size);
    CHECK(p != NULL);
    for (size_t i = 0; i < size; i++) {
        p[i] = (unsigned char)(i * 31 + (i >> 8) + (i >> 16));
    }
    return p;
}

/* ---------------------------------------------------------------- messages */

static void small_messages(int from, int to) {
    CHECK_OK(mproc_pipe_send(from, "hello", 5));
    CHECK_OK(mproc_pipe_send(from, "", 0));
    CHECK_OK(mproc_pipe_send(from, NULL, 0));
    CHECK_OK(mproc_pipe_send(from, "x", 1));
    expect(to, "hello", 5);
    expect(to, "", 0);
    expect(to, "", 0);
    expect(to, "x", 1);
}

TEST(pipe_carries_messages) {
    int one[2], both[2];
    make(one, 0);
    small_messages(one[1], one[0]);
    drop(one);
    make(both, 1);
    small_messages(both[0], both[1]);
    small_messages(both[1], both[0]);
    drop(both);
}

TEST(pipe_is_one_way_unless_duplex) {
    int ends[2];
    size_t n;
    make(ends, 0);
    CHECK_EQ(mproc_pipe_send(ends[0], "x", 1), -EBADF);
    CHECK_EQ(mproc_pipe_recv_size(ends[1], &n), -EBADF);
    drop(ends);
}

TEST(pipe_ends_close_on_exec) {
    for (int duplex = 0; duplex < 2; duplex++) {
        int ends[2];
        make(ends, duplex);
        CHECK_EQ(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
        CHECK_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
        drop(ends);
    }
}

TEST(pipe_new_without_descriptors) {
    struct rlimit none = {0, 0}, old;
    int ends[2] = {-7, -8};
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
    none.rlim_max = old.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &none));
    CHECK_EQ(mproc_pipe_new(ends, 0), -EMFILE);
    CHECK_EQ(mproc_pipe_new(ends, 1), -EMFILE);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &old));
    CHECK(ends[0] == -7 && ends[1] == -8);
}

TEST(pipe_wire_format) {
    int ends[2];
    unsigned char wire[8];
    make(ends, 0);
    CHECK_OK(mproc_pipe_send(ends[1], "abc", 3));
    CHECK_EQ(read(ends[0], wire, 8), 7);
    CHECK_MEM(wire, "\0\0\0\3abc", 7);
    CHECK_EQ(write(ends[1], "\0\0\1\2", 4), 4);
    size_t n;
    CHECK_OK(mproc_pipe_recv_size(ends[0], &n));
    CHECK_EQ(n, 258);
    drop(ends);
}

TEST(pipe_long_header_is_read) {
    int ends[2];
    size_t n;
    make(ends, 0);
    CHECK_EQ(write(ends[1], "\xff\xff\xff\xff\0\0\0\1\0\0\0\2", 12), 12);
    CHECK_OK(mproc_pipe_recv_size(ends[0], &n));
    CHECK(n == ((size_t)1 << 32) + 2);
    CHECK_EQ(write(ends[1], "\xff\xff\xff\xff\0\0\0\0\0\0\0\3", 12), 12); /* longer than needed */
    CHECK_OK(mproc_pipe_recv_size(ends[0], &n));
    CHECK_EQ(n, 3);
    drop(ends);
}

/* The reader reads 4 KiB of 2 GiB + 5 bytes and closes: enough to see the header without moving it
 * all. */
TEST(pipe_long_header_is_written) {
    size_t size = ((size_t)1 << 31) + 5;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int ends[2];
    if (data == MAP_FAILED) {
        test_skip("no address space for 2 GiB");
    }
    make(ends, 0);
    pid_t pid = fork();
    if (pid == 0) {
        unsigned char wire[12];
        size_t n;
        close(ends[1]);
        CHECK_OK(mproc_pipe_recv_size(ends[0], &n));
        CHECK(n == size);
        CHECK_EQ(read(ends[0], wire, 12), 12);
        _exit(0);
    }
    close(ends[0]);
    CHECK_EQ(mproc_pipe_send(ends[1], data, size), MPROC_EEOF);
    close(ends[1]);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    munmap(data, size);
}

struct sender {
    int end;
    const unsigned char *data;
    size_t size;
    int result;
};

static void *send_in_thread(void *arg) {
    struct sender *s = arg;
    s->result = mproc_pipe_send(s->end, s->data, s->size);
    return NULL;
}

static void large_message(int duplex, bool block_sender, bool block_receiver) {
    int ends[2];
    size_t size = 3000001;
    unsigned char *data = pattern(size);
    pthread_t thread;
    make(ends, duplex);
    if (!block_sender) {
        non_blocking(ends[1]);
    }
    if (!block_receiver) {
        non_blocking(ends[0]);
    }
    struct sender s = {ends[1], data, size, 1};
    CHECK_OK(pthread_create(&thread, NULL, send_in_thread, &s));
    expect(ends[0], data, size);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(s.result);
    drop(ends);
    free(data);
}

TEST(pipe_larger_than_its_buffer) {
    for (int i = 0; i < 8; i++) {
        large_message(i & 1, (i & 2) != 0, (i & 4) != 0);
    }
}

TEST(pipe_gathers_pieces) {
    int ends[2];
    struct iovec pieces[100];
    unsigned char *data = pattern(5000);
    size_t at = 0;
    make(ends, 1);
    for (int i = 0; i < 100; i++) { /* lengths 0, 1, 2, ..., so empty ones and many */
        size_t n = (size_t)i;
        pieces[i] = (struct iovec){data + at, n};
        at += n;
    }
    CHECK_OK(mproc_pipe_sendv(ends[0], pieces, 100));
    expect(ends[1], data, at);
    CHECK_OK(mproc_pipe_sendv(ends[0], NULL, 0));
    expect(ends[1], "", 0);
    drop(ends);
    free(data);
}

TEST(pipe_refuses_lengths_beyond_all_memory) {
    int ends[2];
    char byte = 0;
    struct iovec pieces[2] = {{&byte, SSIZE_MAX / 2 + 1}, {&byte, SSIZE_MAX / 2 + 1}};
    make(ends, 1);
    CHECK_EQ(mproc_pipe_sendv(ends[0], pieces, 2), -EINVAL);
    CHECK_EQ(mproc_pipe_sendv(ends[0], pieces, -1), -EINVAL);
    CHECK_EQ(mproc_pipe_poll(ends[1], 0), 0);
    drop(ends);
}

/* ---------------------------------------------------------------- the other end goes */

TEST(pipe_receiver_gone) {
    for (int duplex = 0; duplex < 2; duplex++) {
        int ends[2];
        make(ends, duplex);
        close(ends[0]);
        CHECK_EQ(mproc_pipe_send(ends[1], "x", 1), MPROC_EEOF); /* SIGPIPE would end the test */
        CHECK_EQ(mproc_pipe_send(ends[1], "x", 1), MPROC_EEOF);
        close(ends[1]);
    }
}

static _Atomic int handled; /* signals arrive at two threads */

static void count_signal(int number) {
    (void)number;
    handled++;
}

TEST(pipe_raises_no_sigpipe_and_keeps_one) {
    int ends[2];
    sigset_t sigpipe, pending;
    signal(SIGPIPE, count_signal);
    make(ends, 0);
    close(ends[0]);
    CHECK_EQ(mproc_pipe_send(ends[1], "x", 1), MPROC_EEOF);
    CHECK_EQ(handled, 0);
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    raise(SIGPIPE);
    CHECK_EQ(mproc_pipe_send(ends[1], "x", 1), MPROC_EEOF);
    sigpending(&pending);
    CHECK_EQ(sigismember(&pending, SIGPIPE), 1); /* it was pending before, so it stays pending */
    pthread_sigmask(SIG_UNBLOCK, &sigpipe, NULL);
    CHECK_EQ(handled, 1);
    close(ends[1]);
}

/* A kernel that cannot write to a pipe without SIGPIPE. */
TEST(pipe_on_an_old_kernel) {
    deny(SYS_pwritev2, -1, EOPNOTSUPP);
    sigset_t sigpipe, mask;
    for (int duplex = 0; duplex < 2; duplex++) {
        int ends[2];
        make(ends, duplex);
        small_messages(ends[1], ends[0]);
        close(ends[0]);
        CHECK_EQ(mproc_pipe_send(ends[1], "x", 1), MPROC_EEOF);
        sigpending(&sigpipe);
        CHECK_EQ(sigismember(&sigpipe, SIGPIPE), 0);
        pthread_sigmask(SIG_BLOCK, NULL, &mask);
        CHECK_EQ(sigismember(&mask, SIGPIPE), 0);
        close(ends[1]);
    }
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    raise(SIGPIPE);
    int ends[2];
    make(ends, 0);
    close(ends[0]);
    CHECK_EQ(mproc_pipe_send(ends[1], "x", 1), MPROC_EEOF);
    sigpending(&mask);
    CHECK_EQ(sigismember(&mask, SIGPIPE), 1); /* it was pending before, so it stays pending */
    close(ends[1]);
}

TEST(pipe_sender_gone_between_messages) {
    for (int duplex = 0; duplex < 2; duplex++) {
        int ends[2];
        size_t n = 77;
        make(ends, duplex);
        CHECK_OK(mproc_pipe_send(ends[1], "last", 4));
        close(ends[1]);
        expect(ends[0], "last", 4);
        CHECK_EQ(mproc_pipe_poll(ends[0], MPROC_FOREVER), 1);
        CHECK_EQ(mproc_pipe_recv_size(ends[0], &n), MPROC_EEOF);
        CHECK_EQ(n, 77);
        close(ends[0]);
    }
}

static int recv_of(const char *wire, size_t size) {
    int ends[2], r;
    char body[16];
    size_t n;
    make(ends, 0);
    CHECK_EQ(write(ends[1], wire, size), (ssize_t)size);
    close(ends[1]);
    r = mproc_pipe_recv_size(ends[0], &n);
    if (r == 0) {
        r = mproc_pipe_recv_body(ends[0], body, n);
    }
    close(ends[0]);
    return r;
}

TEST(pipe_stream_broken_off) {
    CHECK_EQ(recv_of("", 0), MPROC_EEOF);
    CHECK_EQ(recv_of("\0\0\0\3abc", 7), 0);
    CHECK_EQ(recv_of("\0\0", 2), MPROC_EFRAME);
    CHECK_EQ(recv_of("\0\0\0\3", 4), MPROC_EFRAME);
    CHECK_EQ(recv_of("\0\0\0\3ab", 6), MPROC_EFRAME);
    CHECK_EQ(recv_of("\xff\xff\xff\xff", 4), MPROC_EFRAME);
    CHECK_EQ(recv_of("\xff\xff\xff\xff\0\0\0", 7), MPROC_EFRAME);
}

static void nothing_to_wait_for(int duplex) {
    int ends[2];
    size_t size = 99;
    make(ends, duplex);
    CHECK_EQ(mproc_pipe_try_size(ends[0], &size), -EAGAIN);
    CHECK_EQ(size, 99);
    CHECK_EQ(mproc_pipe_send(ends[1], "hello", 5), 0);
    CHECK_EQ(mproc_pipe_try_size(ends[0], &size), 0);
    CHECK_EQ(size, 5);
    char data[5];
    CHECK_EQ(mproc_pipe_recv_body(ends[0], data, 5), 0);
    CHECK_EQ(mproc_pipe_try_size(ends[0], &size), -EAGAIN);
    CHECK_EQ(write(ends[1], "\0\0", 2), 2);
    close(ends[1]);
    CHECK_EQ(mproc_pipe_try_size(ends[0], &size), MPROC_EFRAME);
    CHECK_EQ(mproc_pipe_try_size(ends[0], &size), MPROC_EEOF);
    close(ends[0]);
}

TEST(pipe_tried) {
    nothing_to_wait_for(0);
    nothing_to_wait_for(1);
    size_t size;
    CHECK_EQ(mproc_pipe_try_size(-1, &size), -EBADF);
}

TEST(pipe_tried_on_an_old_kernel) {
    deny(SYS_preadv2, -1, EOPNOTSUPP);
    nothing_to_wait_for(0);
    nothing_to_wait_for(1);
    size_t size;
    CHECK_EQ(mproc_pipe_try_size(-1, &size), -EBADF);
}

/* The length comes in two parts: a try waits for the rest of a length that has begun. */
static void *finish_later(void *end) {
    CHECK_EQ(write(*(int *)end, "\xff\xff\0\0\0\0\0\0\0\3abc", 13), 13);
    return NULL;
}

TEST(pipe_tried_in_the_middle_of_a_length) {
    int ends[2];
    size_t size;
    char data[3];
    pthread_t thread;
    make(ends, 0);
    CHECK_EQ(write(ends[1], "\xff\xff", 2), 2);
    CHECK_EQ(pthread_create(&thread, NULL, finish_later, &ends[1]), 0);
    CHECK_EQ(mproc_pipe_try_size(ends[0], &size), 0);
    CHECK_EQ(size, 3);
    CHECK_EQ(mproc_pipe_recv_body(ends[0], data, 3), 0);
    CHECK_EQ(memcmp(data, "abc", 3), 0);
    pthread_join(thread, NULL);
    drop(ends);
}

TEST(pipe_bad_lengths) {
    CHECK_EQ(recv_of("\xff\xff\xff\xfe", 4), MPROC_EFRAME);
    CHECK_EQ(recv_of("\x80\0\0\0", 4), MPROC_EFRAME);
    CHECK_EQ(recv_of("\xff\xff\xff\xff\xff\0\0\0\0\0\0\0", 12), MPROC_EFRAME);
}

TEST(pipe_connection_reset) {
    int ends[2];
    size_t n;
    make(ends, 1);
    CHECK_OK(mproc_pipe_send(ends[0], "never read", 10));
    close(ends[1]); /* closed with unread bytes, which resets the other side */
    CHECK_EQ(mproc_pipe_recv_size(ends[0], &n), MPROC_EEOF);
    close(ends[0]);
}

/* ---------------------------------------------------------------- signals */

static void handle(int number) {
    struct sigaction action = {.sa_handler = count_signal};
    sigaction(number, &action, NULL);
}

struct poker {
    pthread_t whom;
    int stop;
};

/* Signals a thread until `stop` is set: at least one signal interrupts its blocking call. */
static void *poke(void *arg) {
    struct poker *p = arg;
    while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) {
        pthread_kill(p->whom, SIGUSR1);
        usleep(500);
    }
    return NULL;
}

static pthread_t start_poking(struct poker *p) {
    pthread_t thread;
    handle(SIGUSR1);
    *p = (struct poker){pthread_self(), 0};
    CHECK_OK(pthread_create(&thread, NULL, poke, p));
    return thread;
}

static void stop_poking(struct poker *p, pthread_t thread) {
    __atomic_store_n(&p->stop, 1, __ATOMIC_RELEASE);
    CHECK_OK(pthread_join(thread, NULL));
}

TEST(pipe_interrupted_before_the_first_byte) {
    for (int blocking = 0; blocking < 2; blocking++) {
        int ends[2];
        size_t n = 5;
        unsigned char ready[1], body[1];
        static const char much[65536];
        struct poker p;
        make(ends, 0);
        if (!blocking) {
            non_blocking(ends[0]);
            non_blocking(ends[1]);
        }
        pthread_t thread = start_poking(&p);
        CHECK_EQ(mproc_pipe_recv_size(ends[0], &n), -EINTR);
        CHECK_EQ(mproc_pipe_recv_body(ends[0], body, 1), -EINTR);
        CHECK_EQ(mproc_pipe_poll(ends[0], MPROC_FOREVER), -EINTR);
        CHECK_EQ(mproc_wait(ends, 1, ready, MPROC_FOREVER), -EINTR);
        int r = 0;
        while (r == 0) { /* until the pipe is full */
            r = mproc_pipe_send(ends[1], much, 4092);
        }
        CHECK_EQ(r, -EINTR);
        stop_poking(&p, thread);
        CHECK_OK(
            mproc_pipe_recv_size(ends[0], &n)); /* a call that returns -EINTR has done nothing */
        CHECK_EQ(n, 4092);
        drop(ends);
    }
}

/* Signals arrive at both sides all the time, inside messages larger than the pipe. */
static void *send_under_fire(void *arg) {
    struct sender *s = arg;
    struct poker p;
    pthread_t thread = start_poking(&p);
    do {
        s->result = mproc_pipe_send(s->end, s->data, s->size);
    } while (s->result == -EINTR);
    stop_poking(&p, thread);
    return NULL;
}

TEST(pipe_interrupted_inside_a_message) {
    int ends[2];
    size_t size = 1 << 20, n, done = 0;
    unsigned char *data = pattern(size), *got = malloc(size);
    pthread_t thread, poking;
    struct poker p;
    make(ends, 0);
    struct sender s = {ends[1], data, size, 1};
    CHECK_OK(pthread_create(&thread, NULL, send_under_fire, &s));
    poking = start_poking(&p);
    int r;
    while ((r = mproc_pipe_recv_size(ends[0], &n)) == -EINTR) {
    }
    CHECK_OK(r);
    CHECK_EQ(n, size);
    while (done < size) { /* so slow that the sender sleeps in between */
        size_t step = size - done < 4096 ? size - done : 4096;
        r = mproc_pipe_recv_body(ends[0], got + done, step);
        done += r == 0 ? step : 0;
        CHECK(r == 0 || r == -EINTR);
        if (done % 65536 == 0) {
            usleep(1000);
        }
    }
    stop_poking(&p, poking);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_OK(s.result);
    CHECK_MEM(got, data, size);
    drop(ends);
    free(data);
    free(got);
}

/* ---------------------------------------------------------------- waiting */

TEST(pipe_poll) {
    int ends[2];
    make(ends, 0);
    CHECK_EQ(mproc_pipe_poll(ends[0], 0), 0);
    int64_t before = mproc__os_now();
    CHECK_EQ(mproc_pipe_poll(ends[0], 20 * MPROC_MSEC), 0);
    CHECK_GE(mproc__os_now() - before, 20 * MPROC_MSEC);
    CHECK_OK(mproc_pipe_send(ends[1], "", 0));
    CHECK_EQ(mproc_pipe_poll(ends[0], 0), 1);
    CHECK_EQ(mproc_pipe_poll(ends[0], MPROC_FOREVER), 1);
    drop(ends);
    CHECK_EQ(mproc_pipe_poll(ends[0], 0), -EBADF);
    CHECK_EQ(mproc_pipe_poll(-1, 0), -EBADF);
}

TEST(wait_for_some_of_many) {
    enum { N = 100 }; /* more than fit on the stack */
    int ends[N][2], fds[N];
    unsigned char ready[N];
    for (int i = 0; i < N; i++) {
        make(ends[i], 0);
        fds[i] = ends[i][0];
    }
    CHECK_EQ(mproc_wait(fds, N, ready, 0), 0);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(ready[i], 0);
    }
    CHECK_OK(mproc_pipe_send(ends[3][1], "x", 1));
    close(ends[99][1]);
    CHECK_EQ(mproc_wait(fds, N, ready, MPROC_FOREVER), 2);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(ready[i], i == 3 || i == 99);
    }
    for (int i = 0; i < N; i++) {
        close(ends[i][0]);
        if (i != 99) {
            close(ends[i][1]);
        }
    }
}

TEST(wait_for_nothing) {
    int64_t before = mproc__os_now();
    CHECK_EQ(mproc_wait(NULL, 0, NULL, 10 * MPROC_MSEC), 0);
    CHECK_GE(mproc__os_now() - before, 10 * MPROC_MSEC);
}

TEST(wait_for_what_is_not_open) {
    int ends[2], fds[2];
    unsigned char ready[2] = {7, 7};
    make(ends, 0);
    fds[0] = ends[0];
    fds[1] = ends[1];
    drop(ends);
    CHECK_EQ(mproc_wait(fds, 2, ready, MPROC_FOREVER), -EBADF);
    CHECK_EQ(ready[0], 7);
}

TEST(wait_gives_the_same_descriptor_twice) {
    int ends[2];
    unsigned char ready[2];
    make(ends, 0);
    int fds[2] = {ends[0], ends[0]};
    close(ends[1]);
    CHECK_EQ(mproc_wait(fds, 2, ready, MPROC_FOREVER), 2);
    CHECK(ready[0] == 1 && ready[1] == 1);
    close(ends[0]);
}

/* ---------------------------------------------------------------- descriptors */

TEST(pipe_passes_descriptors) {
    int ends[2], inner[2], got[2];
    size_t n = 0;
    make(ends, 1);
    make(inner, 0);
    CHECK_OK(mproc_pipe_send_fds(ends[0], inner, 2));
    drop(inner);
    CHECK_OK(mproc_pipe_recv_fds(ends[1], got, 2, &n));
    CHECK_EQ(n, 2);
    CHECK_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    small_messages(got[1], got[0]);
    drop(got);
    drop(ends);
}

TEST(pipe_passes_as_many_as_linux_can) {
    int ends[2], many[254], got[253];
    size_t n = 0;
    make(ends, 1);
    for (int i = 0; i < 254; i++) {
        many[i] = ends[0];
    }
    CHECK_EQ(mproc_pipe_send_fds(ends[0], many, 254), -EINVAL);
    CHECK_EQ(mproc_pipe_send_fds(ends[0], many, 0), -EINVAL);
    CHECK_OK(mproc_pipe_send_fds(ends[0], many, 253));
    CHECK_OK(mproc_pipe_recv_fds(ends[1], got, 253, &n));
    CHECK_EQ(n, 253);
    for (int i = 0; i < 253; i++) {
        close(got[i]);
    }
    drop(ends);
}

TEST(pipe_closes_what_is_too_much) {
    int ends[2], got[2] = {-5, -5};
    size_t n = 9, before;
    make(ends, 1);
    before = test_open_fds();
    CHECK_OK(mproc_pipe_send_fds(ends[0], (int[]){0, 0, 0}, 3));
    CHECK_EQ(mproc_pipe_recv_fds(ends[1], got, 2, &n), MPROC_EFRAME);
    CHECK_EQ(test_open_fds(), before);
    CHECK(got[0] == -5 && n == 9);
    CHECK_EQ(write(ends[0], "x", 1), 1); /* a byte that brings none */
    CHECK_EQ(mproc_pipe_recv_fds(ends[1], got, 2, &n), MPROC_EFRAME);
    drop(ends);
}

TEST(pipe_descriptors_of_a_closed_end) {
    int ends[2], got[1];
    size_t n;
    make(ends, 1);
    CHECK_EQ(mproc_pipe_send_fds(ends[0], (int[]){-1}, 1), -EBADF);
    close(ends[0]);
    CHECK_EQ(mproc_pipe_recv_fds(ends[1], got, 1, &n), MPROC_EEOF);
    CHECK_EQ(mproc_pipe_send_fds(ends[1], (int[]){1}, 1), MPROC_EEOF);
    close(ends[1]);
    make(ends, 0);
    CHECK_EQ(mproc_pipe_send_fds(ends[1], (int[]){1}, 1), -ENOTSOCK);
    drop(ends);
}

TEST(pipe_descriptors_non_blocking) {
    int ends[2], got[1];
    size_t n;
    struct poker p;
    make(ends, 1);
    non_blocking(ends[0]);
    non_blocking(ends[1]);
    pthread_t thread = start_poking(&p);
    CHECK_EQ(mproc_pipe_recv_fds(ends[1], got, 1, &n), -EINTR);
    int r = 0;
    while (r == 0) { /* until the socket's buffer is full */
        r = mproc_pipe_send_fds(ends[0], (int[]){1}, 1);
    }
    CHECK(r == -EINTR || r == -ETOOMANYREFS);
    stop_poking(&p, thread);
    CHECK_OK(mproc_pipe_recv_fds(ends[1], got, 1, &n));
    close(got[0]);
    drop(ends);
}
