/*
 * factory.c - a camera in C, a look at its pictures, and a count of what was found
 *
 * SPDX-License-Identifier: MIT
 *
 * By itself it starts two members that are this program again: a camera, which puts pictures into
 * a queue, and a counter, which adds up what was found; the looking it does itself. The Python
 * example of the same name starts the same camera and counter, and looks with numpy: what goes
 * through the queues are plain values, so neither side knows in which language the other one is
 * written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mproc.h>

#define PICTURES 40
#define HEIGHT 480
#define WIDTH 640
#define BRIGHT 200
#define PLACES 8

/* Ends the program with a word about what is wrong. */
static void must(int r, const mproc_value_reader *reader) {
    if (r != 0) {
        fprintf(stderr, "factory: %s %s\n", mproc_strerror(r),
                reader != NULL ? mproc_value_reason(reader) : "");
        exit(1);
    }
}

/* ---------------------------------------------------------------- the camera */

/* A bright spot that wanders over a dark picture. */
static void expose(unsigned char *pixels, size_t height, size_t width, int64_t number) {
    memset(pixels, 10, height * width);
    size_t row = (size_t)(number * 11) % (height - 8), column = (size_t)(number * 16) % (width - 8);
    for (size_t i = 0; i < 8; i++) {
        memset(pixels + (row + i) * width + column, 250, 8);
    }
}

/* The picture is written into a buffer of its own, which travels with the message. */
static void send_picture(mproc_queue *pictures, mproc_value_writer *out, int64_t number,
                         size_t height, size_t width) {
    mproc_buffer *buffer;
    must(mproc_buffer_new(&buffer, height * width), NULL);
    expose(mproc_buffer_data(buffer), height, width, number);
    const mproc_value_array picture = {.type = 'u',
                                       .item_size = 1,
                                       .ndim = 2,
                                       .shape = {height, width},
                                       .data = mproc_buffer_data(buffer),
                                       .size = height * width,
                                       .buffer = buffer};
    must(mproc_value_write_tuple(out, 2), NULL);
    must(mproc_value_write_int(out, number), NULL);
    must(mproc_value_write_array(out, &picture), NULL);
    must(mproc_value_put(out, pictures, MPROC_FOREVER), NULL);
    must(mproc_drop(buffer), NULL);
}

static void camera(mproc_value_reader *args) {
    mproc_queue *pictures;
    mproc_value_writer *out;
    int64_t n, height, width;
    size_t two;
    must(mproc_value_read_queue(args, &pictures), args);
    must(mproc_value_read_int(args, &n), args);
    must(mproc_value_read_list(args, &two), args);
    must(mproc_value_read_int(args, &height), args);
    must(mproc_value_read_int(args, &width), args);
    must(mproc_value_writer_new(&out), NULL);
    for (int64_t i = 0; i < n; i++) {
        send_picture(pictures, out, i, (size_t)height, (size_t)width);
    }
    must(mproc_value_write_none(out), NULL);
    must(mproc_value_put(out, pictures, MPROC_FOREVER), NULL);
    mproc_value_writer_drop(out);
}

/* ---------------------------------------------------------------- the counter */

static void count_column(mproc_array *histogram, int64_t column) {
    must(mproc_array_add(histogram, (size_t)column * PLACES / WIDTH, 1, NULL), NULL);
}

/* {"picture": …, "at": an array of columns}: the other keys do not matter here. */
static void count_finding(mproc_value_reader *in, mproc_array *histogram) {
    const char *key;
    size_t pairs, size;
    must(mproc_value_read_map(in, &pairs), in);
    for (size_t i = 0; i < pairs; i++) {
        mproc_value_array at;
        must(mproc_value_read_text(in, &key, &size), in);
        if (size != 2 || memcmp(key, "at", 2) != 0) {
            must(mproc_value_skip(in), in);
            continue;
        }
        must(mproc_value_read_array(in, &at), in);
        for (size_t k = 0; k < at.size / sizeof(int64_t); k++) {
            int64_t column;
            memcpy(&column, (const char *)at.data + k * sizeof column, sizeof column);
            count_column(histogram, column);
        }
    }
}

/* Each finding under the array's lock: nobody sees half of one. */
static void counter(mproc_value_reader *args) {
    mproc_queue *findings;
    mproc_array *histogram;
    mproc_rlock *lock;
    must(mproc_value_read_queue(args, &findings), args);
    must(mproc_value_read_numbers(args, &histogram, &lock), args);
    for (int end = 0; !end;) {
        mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
        mproc_value_reader in;
        must(mproc_queue_get(findings, &message, MPROC_FOREVER), NULL);
        mproc_value_read_message(&in, &message);
        end = mproc_value_read_none(&in) == 0;
        if (!end) {
            must(mproc_rlock_acquire(lock, MPROC_FOREVER), NULL);
            count_finding(&in, histogram);
            must(mproc_rlock_release(lock), NULL);
        }
        mproc_message_drop(&message);
    }
}

/* ---------------------------------------------------------------- the looking */

static void send_finding(mproc_queue *findings, mproc_value_writer *out, int64_t number,
                         const mproc_value_array *picture) {
    const unsigned char *pixels = picture->data;
    static int64_t columns[HEIGHT * WIDTH];
    size_t n = 0;
    for (size_t i = 0; i < picture->size; i++) {
        if (pixels[i] > BRIGHT) {
            columns[n++] = (int64_t)(i % (size_t)picture->shape[1]);
        }
    }
    const mproc_value_array at = {.type = 'i',
                                  .item_size = 8,
                                  .ndim = 1,
                                  .shape = {n},
                                  .data = columns,
                                  .size = n * sizeof *columns};
    must(mproc_value_write_map(out, 2), NULL);
    must(mproc_value_write_text(out, "picture", 7), NULL);
    must(mproc_value_write_int(out, number), NULL);
    must(mproc_value_write_text(out, "at", 2), NULL);
    must(mproc_value_write_array(out, &at), NULL);
    must(mproc_value_put(out, findings, MPROC_FOREVER), NULL);
}

/* 0 at the end of the pictures. */
static int look_at_one(mproc_queue *pictures, mproc_queue *findings, mproc_value_writer *out) {
    mproc_message message = MPROC_MESSAGE_INIT(NULL, 0);
    mproc_value_reader in;
    mproc_value_array picture;
    int64_t number;
    size_t two;
    must(mproc_queue_get(pictures, &message, MPROC_FOREVER), NULL);
    mproc_value_read_message(&in, &message);
    int more = mproc_value_read_none(&in) != 0;
    if (more) {
        must(mproc_value_read_list(&in, &two), &in);
        must(mproc_value_read_int(&in, &number), &in);
        must(mproc_value_read_array(&in, &picture), &in);
        send_finding(findings, out, number, &picture);
    } else {
        must(mproc_value_write_none(out), NULL);
        must(mproc_value_put(out, findings, MPROC_FOREVER), NULL);
    }
    mproc_message_drop(&message);
    return more;
}

static mproc_process *start(const char *what, mproc_value_writer *args) {
    const char *const argv[] = {"/proc/self/exe", what, NULL};
    const mproc_process_options options = {.flags = MPROC_ATTACHED | MPROC_JOINS};
    mproc_process *child;
    must(mproc_process_start_program(&child, argv, args, &options), NULL);
    return child;
}

static mproc_process *start_camera(mproc_value_writer *args, mproc_queue *pictures) {
    must(mproc_value_write_tuple(args, 3), NULL);
    must(mproc_value_write_object(args, pictures, NULL), NULL);
    must(mproc_value_write_int(args, PICTURES), NULL);
    must(mproc_value_write_tuple(args, 2), NULL);
    must(mproc_value_write_int(args, HEIGHT), NULL);
    must(mproc_value_write_int(args, WIDTH), NULL);
    return start("camera", args);
}

static mproc_process *start_counter(mproc_value_writer *args, mproc_queue *findings,
                                    mproc_array *histogram) {
    must(mproc_value_write_tuple(args, 2), NULL);
    must(mproc_value_write_object(args, findings, NULL), NULL);
    must(mproc_value_write_object(args, histogram, NULL), NULL);
    return start("counter", args);
}

static void finish(mproc_process *child) {
    int code;
    must(mproc_process_join(child, MPROC_FOREVER), NULL);
    must(mproc_process_exitcode(child, &code), NULL);
    must(mproc_process_drop(child), NULL);
    if (code != 0) {
        exit(1);
    }
}

static void report(mproc_array *histogram) {
    const int64_t *places = mproc_array_data(histogram);
    int64_t all = 0;
    printf("%d pictures of %d x %d\nbright spots by place: [", PICTURES, HEIGHT, WIDTH);
    for (int i = 0; i < PLACES; i++) {
        printf("%s%" PRId64, i > 0 ? ", " : "", places[i]);
        all += places[i];
    }
    printf("]\nall: %" PRId64 "\n", all);
}

static void factory(void) {
    mproc_queue *pictures, *findings;
    mproc_array *histogram;
    mproc_value_writer *writer;
    must(mproc_queue_new(&pictures, 4), NULL);
    must(mproc_queue_new(&findings, 0), NULL);
    must(mproc_array_new(&histogram, MPROC_INT64, PLACES), NULL);
    must(mproc_value_writer_new(&writer), NULL);
    mproc_process *children[] = {start_camera(writer, pictures),
                                 start_counter(writer, findings, histogram)};
    while (look_at_one(pictures, findings, writer)) {
    }
    finish(children[0]);
    finish(children[1]);
    report(histogram);
    mproc_value_writer_drop(writer);
    must(mproc_drop(histogram), NULL);
    must(mproc_drop(findings), NULL);
    must(mproc_drop(pictures), NULL);
}

int main(int argc, char **argv) {
    mproc_value_reader args;
    must(mproc_init(argc, argv), NULL);
    if (argc == 1) {
        factory();
        return 0;
    }
    must(mproc_child_values(&args), &args);
    strcmp(argv[1], "camera") == 0 ? camera(&args) : counter(&args);
    return 0;
}
