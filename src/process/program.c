/*
 * program.c - starting a program of its own with values and objects for arguments
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The arguments are a value in the block that every child gets. Before the launch the
 * starter takes the holds that the child will have on the objects among them.
 *
 * Shared state: none of its own.
 *
 * If a member dies here: the starter's reservation of the child goes with it, and the holds with
 * the reservation.
 */
#include "core/object.h"
#include "process/process.h"
#include "value.h"

static int hold_object(mproc_process *process, const mproc_value *value) {
    int r = mproc_hold_for(process, value->object);
    return r == 0 && value->lock != NULL ? mproc_hold_for(process, value->lock) : r;
}

/* One hold for each time that an object is named. */
static int hold_objects(mproc_process *process, const void *bytes, size_t size) {
    mproc_value_reader reader;
    mproc_value value;
    int r;
    mproc_value_read(&reader, bytes, size);
    reader.objects = 1;
    while ((r = mproc_value_next(&reader, &value)) == 0) {
        bool object = value.kind >= MPROC_VALUE_QUEUE;
        if (object && (r = hold_object(process, &value)) != 0) {
            return r;
        }
    }
    return r == -ENODATA ? 0 : r;
}

static bool is_tuple(const unsigned char *bytes, size_t size) {
    return size > 6 && bytes[0] == 0xc9 && bytes[5] == MPROC_EXT_TUPLE;
}

static int launch(mproc_process *process, const void *bytes, size_t size) {
    int r = hold_objects(process, bytes, size);
    return r == 0 ? mproc_process_launch(process, bytes, size) : r;
}

static int start(mproc_process **out, const mproc_process_options *options, const void *bytes,
                 size_t size) {
    mproc_process *process;
    int r = mproc_process_prepare(&process, options);
    if (r != 0) {
        return r;
    }
    r = launch(process, bytes, size);
    if (r != 0) {
        (void)mproc_process_drop(process);
        return r;
    }
    *out = process;
    return 0;
}

int mproc_process_start_program(mproc_process **out, const char *const *argv,
                                mproc_value_writer *args, const mproc_process_options *options) {
    static const unsigned char none[] = {0xc9, 0, 0, 0, 1, MPROC_EXT_TUPLE, 0x90};
    mproc_process_options o = options != NULL ? *options : (mproc_process_options){0};
    const void *bytes = none;
    size_t size = sizeof none;
    if (argv == NULL || argv[0] == NULL || o.argv != NULL ||
        (o.method != 0 && o.method != MPROC_SPAWN)) {
        return -EINVAL;
    }
    int r = args != NULL ? mproc__value_bytes(args, &bytes, &size) : 0;
    if (r != 0 || !is_tuple(bytes, size)) {
        return r != 0 ? r : -EINVAL;
    }
    o.method = MPROC_SPAWN;
    o.argv = argv;
    r = start(out, &o, bytes, size);
    if (r == 0 && args != NULL) {
        mproc_value_clear(args);
    }
    return r;
}
