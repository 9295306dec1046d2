/*
 * shm.c - mproc._mproc.Segment: a named segment of shared memory as a buffer
 *
 * SPDX-License-Identifier: MIT
 *
 * Each view of the memory has a reference to the segment, by way of its buffer, and close() refuses
 * while there is a view. So nothing is unmapped under a view, whichever of the two goes first. Nor
 * under a call of another thread: what is closed meanwhile is left to the last such call.
 */
#include "shm.h"

#include "error.h"
#include "threads.h"

struct segment {
    PyObject_HEAD mproc_shm *shm; /* NULL: closed */
    mproc_shm *left;              /* closed while calls were in it, the last of which drops it */
    Py_ssize_t exports;
    Py_ssize_t calls; /* that are in it */
};

static struct segment *segment_of(PyObject *self) {
    return (struct segment *)self;
}

static PyObject *closed(void) {
    PyErr_SetString(PyExc_ValueError, "the shared memory is closed");
    return NULL;
}

/* An OSError names the segment, as those of files name the file. Before the segment has a name
 * (None), it names the place where the segment was to be. */
PyObject *segment_raise(int code, PyObject *name) {
    if (code == -ENODATA) {
        return PyErr_Format(PyExc_ValueError, "shared memory %R is empty", name);
    }
    if (code == -ENOMEM || code < -4096) {
        return error_raise(code);
    }
    errno = -code;
    if (name == Py_None) {
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, "/dev/shm");
    }
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, name);
}

PyObject *segment_wrap(PyTypeObject *type, mproc_shm *owned) {
    struct segment *self = (struct segment *)type->tp_alloc(type, 0);
    if (self == NULL) {
        mproc_shm_drop(owned);
        return NULL;
    }
    self->shm = owned;
    return (PyObject *)self;
}

static const char *name_of(PyObject *name) {
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &length);
    if (text != NULL && strlen(text) != (size_t)length) {
        PyErr_SetString(PyExc_ValueError, "embedded null character");
        return NULL;
    }
    return text;
}

int segment_arguments(PyObject *name, PyObject *kept, PyObject *mode, const char **out,
                      mproc_shm_options *options) {
    *out = name != Py_None ? name_of(name) : NULL;
    int flag = PyObject_IsTrue(kept);
    unsigned long bits = PyLong_AsUnsignedLong(mode);
    *options = (mproc_shm_options){flag ? MPROC_SHM_KEPT : 0, (mode_t)bits};
    return PyErr_Occurred() ? -1 : 0;
}

/* create(name, size, kept, mode) */
static PyObject *segment_create(PyObject *type, PyObject *const *args, Py_ssize_t n) {
    mproc_shm_options options;
    const char *name;
    mproc_shm *shm;
    if (n != 4) {
        return PyErr_Format(PyExc_TypeError, "create() takes 4 arguments, not %zd", n);
    }
    Py_ssize_t size = PyNumber_AsSsize_t(args[1], PyExc_OverflowError);
    if ((size == -1 && PyErr_Occurred()) ||
        segment_arguments(args[0], args[2], args[3], &name, &options) < 0) {
        return NULL;
    }
    int r = mproc_shm_create(&shm, name, (size_t)size, &options);
    return r == 0 ? segment_wrap((PyTypeObject *)type, shm) : segment_raise(r, args[0]);
}

static PyObject *segment_attach(PyObject *type, PyObject *name) {
    const char *text = name_of(name);
    mproc_shm *shm;
    if (text == NULL) {
        return NULL;
    }
    int r = mproc_shm_open(&shm, text);
    return r == 0 ? segment_wrap((PyTypeObject *)type, shm) : segment_raise(r, name);
}

static PyObject *with_name(int (*act)(const char *name), PyObject *name) {
    const char *text = name_of(name);
    if (text == NULL) {
        return NULL;
    }
    int r = act(text);
    if (r != 0) {
        return segment_raise(r, name);
    }
    Py_RETURN_NONE;
}

static PyObject *segment_unlink(PyObject *Py_UNUSED(type), PyObject *name) {
    return with_name(mproc_shm_unlink, name);
}

static PyObject *segment_claim(PyObject *Py_UNUSED(type), PyObject *name) {
    return with_name(mproc_shm_claim, name);
}

static PyObject *segment_keep(PyObject *Py_UNUSED(type), PyObject *name) {
    return with_name(mproc_shm_keep, name);
}

/* ---------------------------------------------------------------- the memory */

/* As segment_enter(), without an exception. */
static mproc_shm *enter(PyObject *self) {
    struct segment *segment = segment_of(self);
    mproc_shm *shm;
    Py_BEGIN_CRITICAL_SECTION(self);
    shm = segment->shm;
    segment->calls += shm != NULL;
    Py_END_CRITICAL_SECTION();
    return shm;
}

mproc_shm *segment_enter(PyObject *self) {
    mproc_shm *shm = enter(self);
    if (shm == NULL) {
        closed();
    }
    return shm;
}

void segment_leave(PyObject *self) {
    struct segment *segment = segment_of(self);
    mproc_shm *left = NULL;
    Py_BEGIN_CRITICAL_SECTION(self);
    if (--segment->calls == 0) {
        left = segment->left;
        segment->left = NULL;
    }
    Py_END_CRITICAL_SECTION();
    mproc_shm_drop(left);
}

/* NULL with OSError when there is no memory for it. */
static void *data_of(mproc_shm *shm, size_t *size) {
    void *data;
    int r = mproc_shm_data(shm, &data);
    if (r != 0) {
        PyObject *name = PyUnicode_FromFormat("/%s", mproc_shm_name(shm));
        if (name != NULL) {
            segment_raise(r, name);
            Py_DECREF(name);
        }
        return NULL;
    }
    *size = mproc_shm_size(shm);
    return data;
}

/* One more view, or one less: the segment, or NULL when it is closed. */
static mproc_shm *export(PyObject *self, int change) {
    struct segment *segment = segment_of(self);
    mproc_shm *shm;
    Py_BEGIN_CRITICAL_SECTION(self);
    shm = segment->shm;
    segment->exports += shm != NULL ? change : 0;
    Py_END_CRITICAL_SECTION();
    return shm;
}

/* The view is counted before it is there, so that no other thread closes the segment meanwhile. */
static int segment_getbuffer(PyObject *self, Py_buffer *view, int flags) {
    size_t size;
    mproc_shm *shm = export(self, 1);
    void *data = shm != NULL ? data_of(shm, &size) : closed();
    if (data != NULL && PyBuffer_FillInfo(view, self, data, (Py_ssize_t)size, 0, flags) == 0) {
        return 0;
    }
    if (shm != NULL) {
        (void)export(self, -1);
    }
    view->obj = NULL;
    return -1;
}

static void segment_releasebuffer(PyObject *self, Py_buffer *Py_UNUSED(view)) {
    (void)export(self, -1);
}

/* Takes the segment out, unless it has views. *owned is NULL if calls are in it still. */
static int take_out(PyObject *self, mproc_shm **owned) {
    struct segment *segment = segment_of(self);
    int busy;
    *owned = NULL;
    Py_BEGIN_CRITICAL_SECTION(self);
    busy = segment->exports > 0;
    if (!busy && segment->shm != NULL) {
        *(segment->calls > 0 ? &segment->left : owned) = segment->shm;
        segment->shm = NULL;
    }
    Py_END_CRITICAL_SECTION();
    return busy ? -1 : 0;
}

static PyObject *segment_close(PyObject *self, PyObject *Py_UNUSED(unused)) {
    mproc_shm *owned;
    if (take_out(self, &owned) < 0) {
        PyErr_SetString(PyExc_BufferError, "cannot close exported pointers exist");
        return NULL;
    }
    mproc_shm_drop(owned);
    Py_RETURN_NONE;
}

/* Maps the segment; its maker also has the system reserve its pages. */
static PyObject *segment_commit(PyObject *self, PyObject *Py_UNUSED(unused)) {
    size_t size;
    mproc_shm *shm = segment_enter(self);
    if (shm == NULL) {
        return NULL;
    }
    const void *data = data_of(shm, &size);
    segment_leave(self);
    return data != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyObject *segment_size(PyObject *self, void *Py_UNUSED(unused)) {
    mproc_shm *shm = segment_enter(self);
    if (shm == NULL) {
        return NULL;
    }
    PyObject *size = PyLong_FromSize_t(mproc_shm_size(shm));
    segment_leave(self);
    return size;
}

static PyObject *segment_name(PyObject *self, void *Py_UNUSED(unused)) {
    mproc_shm *shm = segment_enter(self);
    if (shm == NULL) {
        return NULL;
    }
    PyObject *name = PyUnicode_FromString(mproc_shm_name(shm));
    segment_leave(self);
    return name;
}

static PyObject *segment_fd(PyObject *self, void *Py_UNUSED(unused)) {
    mproc_shm *shm = enter(self);
    int fd = -1;
    if (shm != NULL) {
        fd = mproc_shm_fd(shm);
        segment_leave(self);
    }
    return PyLong_FromLong(fd);
}

static void segment_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    mproc_shm_drop(segment_of(self)->shm);
    mproc_shm_drop(segment_of(self)->left); /* of a call whose thread a fork has left behind */
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef segment_methods[] = {
    {"create", MODULE_METHOD(segment_create), METH_FASTCALL | METH_CLASS,
     "create($type, name, size, kept, mode, /)\n--\n\n"
     "Make a segment; name: None makes one up; kept: it outlives the family."},
    {"attach", segment_attach, METH_O | METH_CLASS,
     "attach($type, name, /)\n--\n\nAttach a segment."},
    {"unlink", segment_unlink, METH_O | METH_STATIC, "unlink(name, /)\n--\n\nRemove a name."},
    {"claim", segment_claim, METH_O | METH_STATIC,
     "claim(name, /)\n--\n\nHave a file unlinked when the family has ended."},
    {"keep", segment_keep, METH_O | METH_STATIC,
     "keep(name, /)\n--\n\nHave a file stay when the family has ended."},
    {"close", segment_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Unmap the segment. BufferError: something looks into it still."},
    {"commit", segment_commit, METH_NOARGS,
     "commit($self, /)\n--\n\nMap the segment, and back it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef segment_getset[] = {
    {"size", segment_size, NULL, "Bytes.", NULL},
    {"name", segment_name, NULL, "Without a slash.", NULL},
    {"fd", segment_fd, NULL, "The descriptor, -1 once closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot segment_slots[] = {
    {Py_tp_doc, "A named segment of shared memory; a buffer."},
    {Py_tp_dealloc, (void *)segment_dealloc},
    {Py_tp_methods, segment_methods},
    {Py_tp_getset, segment_getset},
    {Py_bf_getbuffer, (void *)segment_getbuffer},
    {Py_bf_releasebuffer, (void *)segment_releasebuffer},
    {0, NULL},
};

static PyType_Spec segment_spec = {
    .name = "mproc._mproc.Segment",
    .basicsize = sizeof(struct segment),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = segment_slots,
};

int shm_add(PyObject *module) {
    return module_add_type(module, &segment_spec, &module_state(module)->segment_type, 1);
}
