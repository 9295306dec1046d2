/*
 * test_surroundings.c - what the library finds around it: closed standard streams, limits of the
 * system, settings
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "made.h"
#include "members.h"
#include "system/os.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

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
