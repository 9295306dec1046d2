/*
 * queue_mq.c - the queue's peer POSIX mq: message queues of the kernel
 *
 * SPDX-License-Identifier: MIT
 *
 * With rights enough a queue is as deep as ours. Without them it has what the system's settings
 * allow, 10 messages as a rule, and says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "channel.h"

static mqd_t mqs[2];

static long mq_limit(const char *path) {
    long limit = 0;
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fscanf(f, "%ld", &limit) != 1) {
            limit = 0;
        }
        fclose(f);
    }
    return limit;
}

static mqd_t open_one(int way, long depth, size_t size) {
    char name[64];
    struct mq_attr attr = {.mq_maxmsg = depth, .mq_msgsize = (long)size};
    snprintf(name, sizeof name, "/mproc-bench-%d-%d", (int)getpid(), way);
    mqd_t mq = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attr);
    if (mq >= 0) {
        mq_unlink(name);
    }
    return mq;
}

static const char *open_mq(size_t size) {
    static const struct rlimit without = {RLIM_INFINITY, RLIM_INFINITY};
    long settings = mq_limit("/proc/sys/fs/mqueue/msg_max");
    (void)setrlimit(RLIMIT_MSGQUEUE, &without);
    for (int way = 0; way < 2; way++) {
        mqs[way] = open_one(way, (long)channel_depth(size), size);
        if (mqs[way] < 0) {
            mqs[way] = open_one(way, settings, size);
        }
        if (mqs[way] < 0) {
            return errno == EINVAL ? "its messages are smaller (fs.mqueue.msgsize_max)"
                                   : "mq_open failed";
        }
    }
    return NULL;
}

static void put_mq(int way, const void *lent, size_t size) {
    if (mq_send(mqs[way], lent, size, 0) != 0) {
        bench_die("mq_send");
    }
}

static void get_mq(int way, void *room, size_t size) {
    if (mq_receive(mqs[way], room, size, NULL) != (ssize_t)size) {
        bench_die("mq_receive");
    }
}

static void close_mq(void) {
    mq_close(mqs[0]);
    mq_close(mqs[1]);
}

const struct channel channel_mq = {"POSIX mq", open_mq, NULL, put_mq, get_mq, NULL, close_mq, NULL};
