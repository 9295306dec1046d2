/*
 * functions.c - a shared library for tests/python/test_c_functions.py
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mproc.h"

int add(mproc_call *call);
int twice(mproc_call *call);
int refuse(mproc_call *call);
int say_nothing(mproc_call *call);
int crash(mproc_call *call);
int large(mproc_call *call);

static int refuse_with(mproc_call *call, int code, const char *text) {
    int r = call->write(call, text, strlen(text));
    return r != 0 ? r : code;
}

static int write_number(mproc_call *call, double number) {
    mproc_value_writer *out;
    const void *bytes;
    size_t size;
    int r = mproc_value_writer_new(&out);
    if (r != 0) {
        return r;
    }
    r = mproc_value_write_float(out, number);
    if (r == 0) {
        r = mproc_value_written(out, &bytes, &size);
    }
    if (r == 0) {
        r = call->write(call, bytes, size);
    }
    mproc_value_writer_drop(out);
    return r;
}

/* The sum of its arguments, which are numbers or arrays of floats. */
int add(mproc_call *call) {
    mproc_value_reader in;
    mproc_value_array array;
    double sum = 0, number;
    size_t n;
    int r;
    mproc_value_read(&in, call->in, call->size);
    r = mproc_value_read_list(&in, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (mproc_value_read_float(&in, &number) == 0) {
            sum += number;
        } else if ((r = mproc_value_read_array(&in, &array)) == 0) {
            for (size_t k = 0; k < array.size / sizeof number; k++) {
                memcpy(&number, (const char *)array.data + k * sizeof number, sizeof number);
                sum += number;
            }
        }
    }
    return r == 0 ? write_number(call, sum) : refuse_with(call, r, mproc_value_reason(&in));
}

int twice(mproc_call *call) {
    int r = call->write(call, call->in, call->size);
    return r != 0 ? r : call->write(call, call->in, call->size);
}

int refuse(mproc_call *call) {
    return refuse_with(call, 7, "no, thank you");
}

int say_nothing(mproc_call *call) {
    return call->size > 0 ? 0 : 1;
}

int crash(mproc_call *call) {
    (void)call;
    abort();
}

/* A hundred thousand bytes, in small pieces. */
int large(mproc_call *call) {
    int r = 0;
    for (int i = 0; r == 0 && i < 10000; i++) {
        r = call->write(call, "0123456789", 10);
    }
    return r;
}
