/*
 * errors_value.c - errors of plain values
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "errors.h"

static mproc_value_writer *writer(void) {
    mproc_value_writer *made = NULL;
    CHECK_OK(mproc_value_writer_new(&made));
    return made;
}

static mproc_value_writer *written(void) {
    mproc_value_writer *one = writer();
    CHECK_OK(mproc_value_write_int(one, 1));
    return one;
}

PROVOKE(mproc_value_writer_new, -ENOMEM) {
    mproc_value_writer *made;
    no_malloc();
    return mproc_value_writer_new(&made);
}

PROVOKE(mproc_value_write_text, -EILSEQ) {
    return mproc_value_write_text(writer(), "\xff", 1);
}

PROVOKE(mproc_value_write_array, -EINVAL) {
    const mproc_value_array strange = {.type = 'f', .item_size = 3, .size = 3};
    return mproc_value_write_array(writer(), &strange);
}

PROVOKE(mproc_value_write_object, -EINVAL) {
    begin();
    return mproc_value_write_object(writer(), mproc_calloc(1, 64), NULL);
}

PROVOKE(mproc_value_written, -EINVAL) {
    const void *bytes;
    size_t size;
    return mproc_value_written(writer(), &bytes, &size);
}

PROVOKE(mproc_value_put, -EINVAL) {
    return mproc_value_put(writer(), made_queue(0), 0);
}

PROVOKE(mproc_value_put, MPROC_ECLOSED) {
    mproc_queue *queue = made_queue(0);
    mproc_queue_close(queue);
    return mproc_value_put(written(), queue, 0);
}

static mproc_queue *full(void) {
    mproc_queue *queue = made_queue(1);
    CHECK_OK(mproc_queue_put(queue, "x", 1, 0));
    return queue;
}

PROVOKE(mproc_value_put, -ETIMEDOUT) {
    return mproc_value_put(written(), full(), 0);
}

PROVOKE(mproc_value_put, -EINTR) {
    interrupt();
    return mproc_value_put(written(), full(), without_end);
}

static mproc_value_writer *large(size_t size) {
    mproc_value_writer *one = writer();
    void *bytes = calloc(1, size);
    CHECK(bytes != NULL);
    CHECK_OK(mproc_value_write_bytes(one, bytes, size));
    free(bytes);
    return one;
}

PROVOKE(mproc_value_put, MPROC_ETOOBIG) {
    begin_small();
    return mproc_value_put(large((size_t)1 << 21), made_queue(0), 0);
}

PROVOKE(mproc_value_put, -ENOMEM) {
    begin_small();
    mproc_queue *queue = made_queue(0);
    fill_arena();
    return mproc_value_put(large(100000), queue, 0);
}

PROVOKE(mproc_value_end, -EEXIST) {
    mproc_value_reader reader;
    mproc_value_read(&reader, "\x01", 1);
    return mproc_value_end(&reader);
}

PROVOKE(mproc_value_array_find, MPROC_EVALUE) {
    mproc_value_array array;
    uint64_t part;
    return mproc_value_array_find("f\x03\0\0", 4, &array, &part);
}

PROVOKE(mproc_child_values, MPROC_EINIT) {
    mproc_value_reader reader;
    return mproc_child_values(&reader);
}

static int ask(void *arg, size_t size) {
    mproc_value_reader reader;
    (void)arg, (void)size;
    return -mproc_child_values(&reader) & 0xff;
}

PROVOKE(mproc_child_values, MPROC_EVALUE) {
    mproc_process *child;
    int code;
    begin();
    CHECK_OK(mproc_process_start(&child, ask, "x", 1, NULL));
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(child, &code));
    return code == (-MPROC_EVALUE & 0xff) ? MPROC_EVALUE : code;
}

PROVOKE(mproc_process_start_program, -EINVAL) {
    static const char *const program[] = {"/bin/true", NULL};
    mproc_process *child;
    begin();
    return mproc_process_start_program(&child, program, written(), NULL); /* no tuple */
}
