/*
 * arena.c - what the family's arena holds and who has it, for tests and for a search for leaks; its
 * address space
 *
 * SPDX-License-Identifier: MIT
 *
 * A program that limits its address space by resource.setrlimit() knows nothing of the arena, which
 * counts there. The interpreter tells audit hooks before it calls setrlimit(2), and the arena's
 * mapping is cut to fit. While a process has a hook, each open() and each import costs it more, so
 * there is none until the program has the module `resource`: this module stands in sys.meta_path as
 * a finder that finds nothing, and learns there what is imported.
 */
#include "error.h"
#include "handle.h"
#include "module.h"
#include "mproc.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static PyObject *arena_stat(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    mproc_arena_stats now;
    mproc_arena_stat(&now);
    return Py_BuildValue("{s:n,s:n,s:n,s:n,s:n,s:n}", "span", (Py_ssize_t)now.span, "limit",
                         (Py_ssize_t)now.limit, "used", (Py_ssize_t)now.used, "blocks",
                         (Py_ssize_t)now.blocks, "warm", (Py_ssize_t)now.warm, "high_water",
                         (Py_ssize_t)now.high_water);
}

static PyObject *arena_check(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    char why[256] = "";
    int r = mproc_arena_check(why, sizeof why);
    return r == 0 ? Py_NewRef(Py_None) : error_raise_for(r, why);
}

static PyObject *reap(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused)) {
    return PyLong_FromSize_t(mproc_reap());
}

static PyObject *hold(PyObject *Py_UNUSED(module), PyObject *address) {
    void *object = handle_object_at(address);
    if (object == NULL) {
        return NULL;
    }
    int r = mproc_hold(object);
    return r == 0 ? Py_NewRef(Py_None) : error_raise(r);
}

static PyObject *drop(PyObject *Py_UNUSED(module), PyObject *address) {
    void *object = handle_object_at(address);
    if (object == NULL) {
        return NULL;
    }
    int r = mproc_drop(object);
    return r == 0 ? Py_NewRef(Py_None) : error_raise(r);
}

static PyObject *held_elsewhere(PyObject *Py_UNUSED(module), PyObject *address) {
    const void *object = PyLong_AsVoidPtr(address);
    if (object == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return PyBool_FromLong(mproc_held_elsewhere(object));
}

/* Whether one of so many living members is that process; -1 with an exception. */
static int has_member(pid_t pid, size_t most) {
    mproc_member *members = PyMem_New(mproc_member, most);
    if (members == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t n = mproc_members(members, most);
    int found = 0;
    for (size_t i = 0; found == 0 && i < n && i < most; i++) {
        found = members[i].pid == pid;
    }
    PyMem_Free(members);
    return found;
}

static PyObject *is_member(PyObject *Py_UNUSED(module), PyObject *number) {
    long pid = PyLong_AsLong(number);
    if (pid == -1 && PyErr_Occurred()) {
        return NULL;
    }
    size_t n = mproc_members(NULL, 0);
    int r = n == 0 ? 0 : has_member((pid_t)pid, n + 8); /* some may come meanwhile */
    return r < 0 ? NULL : PyBool_FromLong(r);
}

static PyMethodDef arena_functions[] = {
    {"arena_stat", arena_stat, METH_NOARGS,
     "arena_stat($self, /)\n--\n\n"
     "Bytes of the family's arena, and its blocks, at this moment; see mproc_arena_stats."},
    {"arena_check", arena_check, METH_NOARGS,
     "arena_check($self, /)\n--\n\n"
     "Verify every invariant of the arena. SystemError names what is wrong."},
    {"reap", reap, METH_NOARGS,
     "reap($self, /)\n--\n\n"
     "Release what dead members of the family held; return how many were found dead."},
    {"hold", hold, METH_O,
     "hold($self, address, /)\n--\n\n"
     "Take a hold on the object there, for a handle that is made by adopt(). ValueError: there is\n"
     "none in this family's arena."},
    {"drop", drop, METH_O,
     "drop($self, address, /)\n--\n\n"
     "Give a hold on the object there back, of a handle that is not used any more, and stays "
     "until\n"
     "the process ends."},
    {"held_elsewhere", held_elsewhere, METH_O,
     "held_elsewhere($self, address, /)\n--\n\n"
     "Whether another process, or a message, holds the object there."},
    {"is_member", is_member, METH_O,
     "is_member($self, pid, /)\n--\n\n"
     "Whether that process is a living member of this process' family."},
    {NULL, NULL, 0, NULL},
};

/* ---------------------------------------------------------------- limits of address space */

/* A limit that the interpreter itself will refuse is none. */
static void fit(PyObject *resource, PyObject *limits) {
    PyObject *soft = PySequence_Check(limits) ? PySequence_GetItem(limits, 0) : NULL;
    long long bytes = soft != NULL ? PyLong_AsLongLong(soft) : -1;
    if (!PyErr_Occurred() && bytes >= 0 && PyLong_AsLong(resource) == RLIMIT_AS) {
        mproc_arena_fit((uint64_t)bytes);
    }
    PyErr_Clear();
    Py_XDECREF(soft);
}

/* setrlimit(resource, limits), and prlimit(pid, resource, limits) of this process. */
static int on_event(const char *event, PyObject *args, void *Py_UNUSED(unused)) {
    if (event[0] != 'r' || !PyTuple_Check(args)) {
        return 0;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(args);
    if (strcmp(event, "resource.setrlimit") == 0 && n == 2) {
        fit(PyTuple_GET_ITEM(args, 0), PyTuple_GET_ITEM(args, 1));
    } else if (strcmp(event, "resource.prlimit") == 0 && n == 3) {
        long pid = PyLong_AsLong(PyTuple_GET_ITEM(args, 0));
        PyErr_Clear();
        if (pid == 0 || pid == getpid()) {
            fit(PyTuple_GET_ITEM(args, 1), PyTuple_GET_ITEM(args, 2));
        }
    }
    return 0;
}

/* Hooks are the process', not an interpreter's, and stay. */
static int add_hook(void) {
    static const char *added;
    if (!THREADS_SET_FIRST(added, "yes")) {
        return 0;
    }
    return PySys_AddAuditHook(on_event, NULL);
}

/* Asked for each module that is imported, before the finders that find one. It stays in the list
 * once `resource` is there: the interpreter may be going through the list right now. */
static PyObject *find_spec(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n) {
    if (n >= 1 && PyUnicode_Check(args[0]) &&
        PyUnicode_CompareWithASCIIString(args[0], "resource") == 0 && add_hook() < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef finder_functions[] = {
    {"find_spec", MODULE_METHOD(find_spec), METH_FASTCALL,
     "find_spec($module, name, path=None, target=None, /)\n--\n\n"
     "Note that a module is about to be imported, and leave it to other finders: None."},
    {NULL, NULL, 0, NULL},
};

/* Adds the hook at once where `resource` is there already, or no import can be seen. */
static int await_resource(PyObject *module) {
    PyObject *modules = PySys_GetObject("modules"), *finders = PySys_GetObject("meta_path");
    if (modules == NULL || !PyDict_Check(modules) || finders == NULL || !PyList_Check(finders) ||
        PyDict_GetItemString(modules, "resource") != NULL) {
        return add_hook();
    }
    return PyList_Insert(finders, 0, module);
}

int arena_add(PyObject *module) {
    if (PyModule_AddFunctions(module, arena_functions) < 0 ||
        PyModule_AddFunctions(module, finder_functions) < 0) {
        return -1;
    }
    return await_resource(module);
}
