/*
 * frames.c - frames of a camera: one process fills them, others look at them, and none is copied
 *
 * SPDX-License-Identifier: MIT
 *
 * The frames are made once, in shared memory. They go round: the camera fills one that is free and
 * puts it into a queue, a viewer looks at it and gives it back. A message has a hold on its frame,
 * so a frame lives wherever it is, and goes with the last queue.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include <mproc.h>

#define FRAMES 4
#define HEIGHT 480
#define WIDTH 640
#define PICTURES 40
#define VIEWERS 2
#define NONE (-1)

/* In the arena, so that every process sees it at the same address. */
struct studio {
    mproc_queue *free, *full;
    int64_t sums[PICTURES];
};

static int put(mproc_queue *queue, int number, mproc_buffer *frame) {
    struct iovec piece = {&number, sizeof number};
    return mproc_queue_put_with(queue, &piece, 1, &frame, frame != NULL, MPROC_FOREVER);
}

/* The frame is the message's, until that is dropped. */
static int get(mproc_queue *queue, mproc_message *message, int *number) {
    *message = (mproc_message)MPROC_MESSAGE_INIT(NULL, 0);
    int r = mproc_queue_get(queue, message, MPROC_FOREVER);
    if (r == 0) {
        memcpy(number, message->data, sizeof *number);
    }
    return r;
}

static int take_picture(struct studio *studio, int number) {
    mproc_message message;
    int ignored;
    int r = get(studio->free, &message, &ignored);
    if (r == 0) {
        mproc_buffer *frame = mproc_message_buffer(&message, 0);
        memset(mproc_buffer_data(frame), number, mproc_buffer_size(frame)); /* as a driver would */
        r = put(studio->full, number, frame);
        mproc_message_drop(&message);
    }
    return r;
}

static int camera(void *arg, size_t size) {
    struct studio *studio = arg;
    int r = 0;
    (void)size;
    for (int i = 0; r == 0 && i < PICTURES; i++) {
        r = take_picture(studio, i);
    }
    for (int i = 0; r == 0 && i < VIEWERS; i++) {
        r = put(studio->full, NONE, NULL);
    }
    return r != 0;
}

static int64_t sum_of(mproc_buffer *frame) {
    const unsigned char *bytes = mproc_buffer_data(frame);
    int64_t sum = 0;
    for (size_t i = 0; i < mproc_buffer_size(frame); i++) {
        sum += bytes[i];
    }
    return sum;
}

static int viewer(void *arg, size_t size) {
    struct studio *studio = arg;
    int number = 0, r = 0;
    (void)size;
    while (r == 0 && number != NONE) {
        mproc_message message;
        r = get(studio->full, &message, &number);
        if (r == 0 && number != NONE) {
            mproc_buffer *frame = mproc_message_buffer(&message, 0);
            studio->sums[number] = sum_of(frame);
            r = put(studio->free, number, frame);
        }
        if (r == 0) {
            mproc_message_drop(&message);
        }
    }
    return r != 0;
}

static int make_frames(struct studio *studio) {
    int r = 0;
    for (int i = 0; r == 0 && i < FRAMES; i++) {
        mproc_buffer *frame;
        r = mproc_buffer_new(&frame, HEIGHT * WIDTH);
        if (r == 0) {
            r = put(studio->free, i, frame);
            mproc_drop(frame); /* the message has a hold of its own */
        }
    }
    return r;
}

static int run(struct studio *studio) {
    mproc_process *processes[1 + VIEWERS];
    int failed = 0, code;
    for (int i = 0; i < 1 + VIEWERS; i++) {
        int r = mproc_process_start(&processes[i], i == 0 ? camera : viewer, studio, 0, NULL);
        if (r != 0) {
            fprintf(stderr, "frames: %s\n", mproc_strerror(r));
            return 1;
        }
    }
    for (int i = 0; i < 1 + VIEWERS; i++) {
        failed |= mproc_process_join(processes[i], MPROC_FOREVER) != 0 ||
                  mproc_process_exitcode(processes[i], &code) != 0 || code != 0;
        failed |= mproc_process_drop(processes[i]) != 0;
    }
    return failed;
}

static void report(const struct studio *studio) {
    int64_t all = 0;
    for (int i = 0; i < PICTURES; i++) {
        all += studio->sums[i];
    }
    printf("%d pictures of %d x %d went through %d frames\n", PICTURES, HEIGHT, WIDTH, FRAMES);
    printf("picture 7: %" PRId64 "\n", studio->sums[7]);
    printf("all: %" PRId64 "\n", all);
}

int main(int argc, char **argv) {
    int r = mproc_init(argc, argv);
    struct studio *studio = r == 0 ? mproc_calloc(1, sizeof *studio) : NULL;
    if (studio == NULL || mproc_queue_new(&studio->free, 0) != 0 ||
        mproc_queue_new(&studio->full, 0) != 0 || make_frames(studio) != 0) {
        fprintf(stderr, "frames: no room\n");
        return 1;
    }
    int failed = run(studio);
    if (!failed) {
        report(studio);
    }
    mproc_drop(studio->free);
    mproc_drop(studio->full);
    mproc_free(studio);
    return failed;
}
