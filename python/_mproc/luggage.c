/*
 * luggage.c - messages of a channel that name buffers, as pickles
 *
 * SPDX-License-Identifier: MIT
 */
#include "luggage.h"

#include "codec.h"
#include "error.h"
#include "module.h"

#include <endian.h>
#include <string.h>

#define CALL_SIZE (sizeof LUGGAGE_CALL - 1)

static unsigned char *put_number(unsigned char *at, const char *code, size_t code_size,
                                 uint64_t v) {
    memcpy(at, code, code_size);
    v = htole64(v);
    memcpy(at + code_size, &v, sizeof v);
    return at + code_size + sizeof v;
}

/* NULL: there stands another opcode. */
static const unsigned char *take_number(const unsigned char *at, const char *code, size_t code_size,
                                        uint64_t *v) {
    if (memcmp(at, code, code_size) != 0) {
        return NULL;
    }
    memcpy(v, at + code_size, sizeof *v);
    *v = le64toh(*v);
    return at + code_size + sizeof *v;
}

void luggage_wrap(unsigned char head[LUGGAGE_HEAD], const mproc_channel *channel, uint64_t name,
                  size_t size) {
    memcpy(head, LUGGAGE_CALL, CALL_SIZE);
    unsigned char *at = put_number(head + CALL_SIZE, "\x8a\x08", 2, (uintptr_t)channel);
    at = put_number(at, "\x8a\x08", 2, name);
    put_number(at, "\x8e", 1, size);
}

bool luggage_unwrap(const mproc_channel *channel, const void **data, size_t *size, uint64_t *name) {
    const unsigned char *at = *data;
    uint64_t address = 0, inside;
    if (*size < LUGGAGE_HEAD + LUGGAGE_TAIL_SIZE || memcmp(at, LUGGAGE_CALL, CALL_SIZE) != 0) {
        return false;
    }
    at = take_number(at + CALL_SIZE, "\x8a\x08", 2, &address);
    at = at != NULL ? take_number(at, "\x8a\x08", 2, name) : NULL;
    at = at != NULL ? take_number(at, "\x8e", 1, &inside) : NULL;
    if (at == NULL || address != (uintptr_t)channel ||
        inside != *size - LUGGAGE_HEAD - LUGGAGE_TAIL_SIZE) {
        return false;
    }
    *data = at;
    *size = (size_t)inside;
    return true;
}

/* ---------------------------------------------------------------- for who has only the bytes */

static PyObject *decode(PyObject *module, const mproc_message *given, const Py_buffer *inside) {
    return codec_decode_with_parts(module_state(module), inside->buf, (size_t)inside->len,
                                   parts_of_message(given));
}

/* The channel is held meanwhile: its other holders may go. */
static int fetch(mproc_channel *channel, uint64_t name, mproc_message *given) {
    if (!mproc_in_arena(channel) || mproc_hold(channel) != 0) {
        return -ENOENT;
    }
    int r = mproc_channel_fetch(channel, name, given);
    (void)mproc_drop(channel);
    return r;
}

static PyObject *with_luggage(PyObject *module, PyObject *args) {
    PyObject *address;
    unsigned long long name;
    Py_buffer inside;
    mproc_message given = MPROC_MESSAGE_INIT(NULL, 0);
    if (!PyArg_ParseTuple(args, "OKy*:with_luggage", &address, &name, &inside)) {
        return NULL;
    }
    mproc_channel *channel = PyLong_AsVoidPtr(address);
    PyObject *object = NULL;
    if (channel == NULL && PyErr_Occurred()) {
        PyBuffer_Release(&inside);
        return NULL;
    }
    if (fetch(channel, name, &given) != 0) {
        PyErr_SetString(PyExc_ValueError,
                        "the shared arrays of this message are not to be had: it was unpickled "
                        "before, its pipe is no more, or this process is not of its family");
    } else {
        object = decode(module, &given, &inside);
        mproc_message_drop(&given);
    }
    PyBuffer_Release(&inside);
    return object;
}

static PyMethodDef functions[] = {
    {"with_luggage", with_luggage, METH_VARARGS,
     "with_luggage($module, channel, name, inside, /)\n--\n\n"
     "The object that a message of a channel stands for, with the shared arrays that it names."},
    {NULL, NULL, 0, NULL},
};

int luggage_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}
