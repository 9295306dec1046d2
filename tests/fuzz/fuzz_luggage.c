/*
 * fuzz_luggage.c - messages that name buffers: what is made of any bytes, and of a call's own
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The first byte says what a message is: the rest of the input as it is; or the rest
 * with a head and a tail around it, and then perhaps with bytes written over, or cut short. The
 * channel is an address that nobody looks at.
 *
 * What must hold. The reader reads no byte beyond the message, which is a block of its own. A
 * message that was left as it was made is recognised, with its name and the bytes inside, and is a
 * pickle that calls mproc.connection._with_luggage() with the same three. One of another channel is
 * not. What is recognised otherwise lies within the message, and its head is the one that would be
 * written for it.
 */
#include "embed.h"

#include "luggage.h"

#define CHANGES 4

static PyObject *loads;

/* In place of the function that fetches: it returns what it was called with. */
static const char double_of_connection[] =
    "import sys, types\n"
    "def _with_luggage(channel, name, inside): return channel, name, inside\n"
    "double = types.ModuleType('mproc.connection')\n"
    "double._with_luggage = _with_luggage\n"
    "sys.modules['mproc'] = types.ModuleType('mproc')\n"
    "sys.modules['mproc.connection'] = double\n";

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    embed_python();
    MUST(PyRun_SimpleString(double_of_connection) == 0);
    PyObject *pickle = PyImport_ImportModule("_pickle");
    MUST(pickle != NULL);
    loads = PyObject_GetAttrString(pickle, "loads");
    MUST(loads != NULL);
    Py_DECREF(pickle);
    return 0;
}

struct luggage {
    const mproc_channel *channel;
    uint64_t name;
    const void *inside;
    size_t size;
};

static uint64_t number_in(PyObject *tuple, Py_ssize_t i) {
    uint64_t number = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(tuple, i));
    MUST(!PyErr_Occurred());
    return number;
}

/* The pickle says the same as what was read. */
static void unpickle(const uint8_t *message, size_t size, const struct luggage *luggage) {
    PyObject *said = PyObject_CallFunction(loads, "y#", (const char *)message, (Py_ssize_t)size);
    MUST(said != NULL && PyTuple_CheckExact(said) && PyTuple_GET_SIZE(said) == 3);
    MUST(number_in(said, 0) == (uintptr_t)luggage->channel);
    MUST(number_in(said, 1) == luggage->name);
    PyObject *inside = PyTuple_GET_ITEM(said, 2);
    MUST(PyBytes_CheckExact(inside) && (size_t)PyBytes_GET_SIZE(inside) == luggage->size);
    MUST(memcmp(PyBytes_AS_STRING(inside), luggage->inside, luggage->size) == 0);
    Py_DECREF(said);
}

static bool read_message(const mproc_channel *channel, const uint8_t *message, size_t size,
                         struct luggage *out) {
    const void *data = message;
    size_t left = size;
    uint64_t name = 0;
    if (!luggage_unwrap(channel, &data, &left, &name)) {
        MUST(data == message && left == size);
        return false;
    }
    unsigned char head[LUGGAGE_HEAD];
    luggage_wrap(head, channel, name, left);
    MUST(memcmp(message, head, LUGGAGE_HEAD) == 0);
    MUST((const uint8_t *)data == message + LUGGAGE_HEAD);
    MUST(left + LUGGAGE_HEAD + LUGGAGE_TAIL_SIZE == size);
    *out = (struct luggage){channel, name, data, left};
    return true;
}

/* A message of the bytes that are left of the input; its size is `size`. */
static uint8_t *wrap(struct feed *feed, const mproc_channel *channel, uint64_t name, size_t *size) {
    size_t inside = feed->left;
    *size = LUGGAGE_HEAD + inside + LUGGAGE_TAIL_SIZE;
    uint8_t *message = malloc(*size);
    luggage_wrap(message, channel, name, inside);
    (void)feed_bytes(feed, message + LUGGAGE_HEAD, inside);
    memcpy(message + LUGGAGE_HEAD + inside, LUGGAGE_TAIL, LUGGAGE_TAIL_SIZE);
    return message;
}

static void read_own(struct feed *feed, const mproc_channel *channel) {
    struct luggage luggage, other;
    size_t size;
    uint64_t name = feed_u64(feed);
    uint8_t *message = wrap(feed, channel, name, &size);
    MUST(read_message(channel, message, size, &luggage) && luggage.name == name);
    unpickle(message, size, &luggage);
    MUST(!read_message((const mproc_channel *)((uintptr_t)channel + 64), message, size, &other));
    free(message);
}

static void read_changed(struct feed *feed, const mproc_channel *channel) {
    struct luggage luggage;
    uint16_t where[CHANGES];
    uint8_t what[CHANGES], n = (uint8_t)feed_below(feed, CHANGES + 1);
    (void)feed_bytes(feed, where, sizeof where);
    (void)feed_bytes(feed, what, sizeof what);
    size_t size, short_of = feed_byte(feed);
    uint64_t name = feed_u64(feed);
    uint8_t *whole = wrap(feed, channel, name, &size);
    for (unsigned i = 0; i < n; i++) {
        whole[where[i] % size] = what[i];
    }
    size -= short_of < size ? short_of : 0;
    uint8_t *message = malloc(size);
    memcpy(message, whole, size);
    free(whole);
    (void)read_message(channel, message, size, &luggage);
    free(message);
}

static void read_any(struct feed *feed, const mproc_channel *channel) {
    struct luggage luggage;
    size_t size = feed->left;
    uint8_t *message = malloc(size + 1);
    (void)feed_bytes(feed, message + 1, size); /* the block ends where the message does */
    (void)read_message(channel, message + 1, size, &luggage);
    free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed feed = {data, size};
    unsigned kind = feed_byte(&feed) % 3;
    const mproc_channel *channel = (const mproc_channel *)(uintptr_t)feed_u64(&feed);
    if (kind == 0) {
        read_any(&feed, channel);
    } else if (kind == 1) {
        read_own(&feed, channel);
    } else {
        read_changed(&feed, channel);
    }
    return 0;
}
