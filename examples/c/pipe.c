/*
 * pipe.c - two processes talk through a pipe that is memory while both are awake
 *
 * SPDX-License-Identifier: MIT
 *
 * The child counts the letters of what it is sent, and ends when it is told so by the end of the
 * stream: all copies of the parent's end are closed. Messages may have any size.
 */
#include <mproc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the child is given: a side has the number of its descriptor in `ends`. */
struct pipe {
    mproc_channel *channel;
    int ends[2];
};

static void must(int code) {
    if (code < 0) {
        fprintf(stderr, "pipe: %s\n", mproc_strerror(code));
        exit(1);
    }
}

static size_t letters(const char *text, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        n += (text[i] | 32) >= 'a' && (text[i] | 32) <= 'z';
    }
    return n;
}

/* The child, on side 1. It gets a message of any size without a copy, where it fits into `room` or
 * lies in the arena; of another one the bytes come from the descriptor. */
static int count(void *arg, size_t size) {
    const struct pipe *pipe = arg;
    char room[65536];
    int r;
    (void)size;
    close(pipe->ends[0]); /* the copy of a fork: the end of the stream would never come */
    for (;;) {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        r = mproc_channel_recv_message(pipe->channel, 1, pipe->ends[1], &message);
        if (r == MPROC_CHANNEL_BODY && message.size <= sizeof room) {
            r = mproc_pipe_recv_body(pipe->ends[1], room, message.size);
            message.data = room;
        }
        if (r != 0) {
            return r == MPROC_EEOF ? 0 : 1;
        }
        size_t n = letters(message.data, message.size);
        mproc_message_drop(&message);
        must(mproc_channel_send(pipe->channel, 1, pipe->ends[1], &n, sizeof n));
    }
}

static void ask(const struct pipe *pipe, const char *text, size_t size) {
    size_t n, got;
    must(mproc_channel_send(pipe->channel, 0, pipe->ends[0], text, size));
    int r = mproc_channel_recv(pipe->channel, 0, pipe->ends[0], &n, sizeof n, &got);
    if (r == MPROC_CHANNEL_BODY) {
        r = mproc_pipe_recv_body(pipe->ends[0], &n, sizeof n);
    }
    must(r);
    printf("%zu of %zu are letters\n", n, size);
}

int main(int argc, char **argv) {
    static char large[50000];
    struct pipe pipe;
    mproc_process *child;
    int code = 1;
    must(mproc_init(argc, argv));
    must(mproc_channel_new(&pipe.channel, pipe.ends, 1));
    must(mproc_process_start(&child, count, &pipe, sizeof pipe, NULL));
    close(pipe.ends[1]);

    ask(&pipe, "hello, child", 12);
    ask(&pipe, "", 0);
    memset(large, 'x', sizeof large);
    ask(&pipe, large, sizeof large);

    mproc_channel_leave(pipe.channel, 0);
    close(pipe.ends[0]);
    must(mproc_process_join(child, MPROC_FOREVER));
    must(mproc_process_exitcode(child, &code));
    printf("the child ended with %d\n", code);
    must(mproc_process_drop(child));
    must(mproc_drop(pipe.channel));
    return code;
}
