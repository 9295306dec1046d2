/*
 * eventloop.c - an event loop that waits for two queues at once, in one thread
 *
 * SPDX-License-Identifier: MIT
 *
 * Each worker puts numbers into a queue of its own and closes it. The loop is epoll's; libuv's or
 * any other that waits for descriptors is used in the same way.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <mproc.h>

#define QUEUES 2
#define NUMBERS 1000
#define ROOM 10 /* so that the workers wait for the loop, and the loop for the workers */

struct job {
    mproc_queue *queue;
    int64_t factor;
};

static int work(void *arg, size_t size) {
    const struct job *job = arg;
    int r = 0;
    (void)size;
    for (int64_t i = 1; r == 0 && i <= NUMBERS; i++) {
        int64_t number = i * job->factor;
        r = mproc_queue_put(job->queue, &number, sizeof number, MPROC_FOREVER);
    }
    mproc_queue_close(job->queue);
    return r == 0 ? 0 : 1;
}

/* Adds all that is there. MPROC_ECLOSED: there is no more to come; -ETIMEDOUT: at present. */
static int add_up(mproc_queue *queue, int64_t *sum) {
    int r = 0;
    while (r == 0) {
        int64_t number;
        mproc_message message = MPROC_MESSAGE_INIT(&number, sizeof number);
        r = mproc_queue_get(queue, &message, 0);
        if (r == 0) {
            *sum += number;
            mproc_message_drop(&message);
        }
    }
    return r;
}

/* Asks for the queue's descriptor, which arms it; the first time, the loop gets to know it. */
static int watch(int loop, mproc_queue *queue, uint32_t number, int known) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    int fd = mproc_queue_fd(queue, MPROC_WATCH_GET);
    return fd < 0 || known || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0 ? fd : -1;
}

static int run(mproc_queue *const queues[QUEUES], int64_t sums[QUEUES]) {
    int loop = epoll_create1(EPOLL_CLOEXEC), fds[QUEUES], open = QUEUES, failed = loop < 0;
    for (uint32_t i = 0; !failed && i < QUEUES; i++) {
        fds[i] = watch(loop, queues[i], i, 0);
        failed = fds[i] < 0;
    }
    while (!failed && open > 0) {
        struct epoll_event event;
        if (epoll_wait(loop, &event, 1, -1) != 1) {
            continue;
        }
        uint32_t i = event.data.u32;
        if (add_up(queues[i], &sums[i]) == MPROC_ECLOSED) {
            open--;
            failed = mproc_fd_drop(fds[i]) != 0;
        } else {
            failed = watch(loop, queues[i], i, 1) < 0;
        }
    }
    close(loop);
    return failed;
}

int main(int argc, char **argv) {
    mproc_queue *queues[QUEUES];
    mproc_process *workers[QUEUES];
    int64_t sums[QUEUES] = {0};
    int failed = mproc_init(argc, argv) != 0, code = 0;
    for (int i = 0; !failed && i < QUEUES; i++) {
        failed = mproc_queue_new(&queues[i], ROOM) != 0;
        struct job job = {failed ? NULL : queues[i], i + 1};
        failed = failed || mproc_process_start(&workers[i], work, &job, sizeof job, NULL) != 0;
    }
    failed = failed || run(queues, sums) != 0;
    for (int i = 0; !failed && i < QUEUES; i++) {
        failed = mproc_process_join(workers[i], MPROC_FOREVER) != 0 ||
                 mproc_process_exitcode(workers[i], &code) != 0 || code != 0 ||
                 mproc_process_drop(workers[i]) != 0;
        printf("queue %d: the sum is %" PRId64 "\n", i + 1, sums[i]);
        mproc_drop(queues[i]);
    }
    return failed;
}
