/*
 * module.c - the definition of the extension module mproc._mproc
 *
 * SPDX-License-Identifier: MIT
 *
 * Multi-phase initialisation: the interpreter makes the module object, then runs module_exec, which
 * lets each noun of MODULE_NOUNS add itself. Each interpreter gets a module and a state of its own.
 *
 * Invariants: 1. A field of the state is NULL or an owned reference, at every moment at which the
 * garbage collector may look. 2. No noun keeps mutable data outside the state.
 */
#include "module.h"

#include "blocking.h"

typedef int (*noun_add)(PyObject *module);

#define X(noun) noun##_add,
static const noun_add nouns[] = {MODULE_NOUNS(X)};
static const noun_add pool_nouns[] = {MODULE_POOL_NOUNS(X)};
static const noun_add executor_nouns[] = {MODULE_EXECUTOR_NOUNS(X)};
static const noun_add imap_nouns[] = {MODULE_IMAP_NOUNS(X)};
static const noun_add thread_nouns[] = {MODULE_THREAD_NOUNS(X)};
static const noun_add container_nouns[] = {MODULE_CONTAINER_NOUNS(X)};
#undef X
static const noun_add watch_nouns[] = {watch_type_add};

static const struct {
    const char *name;
    noun_add add;
} late_nouns[] = {
#define X(name, noun) {#name, noun##_add},
    MODULE_LATE_NOUNS(X)
#undef X
};

#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

static int add_version(PyObject *module) {
    return PyModule_AddStringConstant(
        module, "version",
        TEXT(MPROC_VERSION_MAJOR) "." TEXT(MPROC_VERSION_MINOR) "." TEXT(MPROC_VERSION_PATCH));
}

static int add_all(PyObject *module, const noun_add *some, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (some[i](module) < 0) {
            return -1;
        }
    }
    return 0;
}

static int module_exec(PyObject *module) {
    blocking_init();
    module_state(module)->ctx_name = PyUnicode_InternFromString("_name");
    if (module_state(module)->ctx_name == NULL || add_version(module) < 0) {
        return -1;
    }
    return add_all(module, nouns, sizeof nouns / sizeof nouns[0]);
}

#define GROUP(some)                                                                                \
    { some, sizeof(some) / sizeof *(some) }

static const struct {
    const noun_add *nouns;
    size_t n;
} groups[MODULE_GROUPS] = {
    [MODULE_POOL] = GROUP(pool_nouns),   [MODULE_EXECUTOR] = GROUP(executor_nouns),
    [MODULE_IMAP] = GROUP(imap_nouns),   [MODULE_THREADS] = GROUP(thread_nouns),
    [MODULE_WATCH] = GROUP(watch_nouns), [MODULE_CONTAINERS] = GROUP(container_nouns),
};

static int needs_pool(enum module_group group) {
    return group == MODULE_EXECUTOR || group == MODULE_IMAP || group == MODULE_THREADS;
}

/* Types that exist stay: objects of them may be about. A group says that it is there when all of it
 * is: another thread may come while it is added, and then adds what there is not. */
static int add_group(PyObject *module, enum module_group group) {
    char *there = &module_state(module)->groups[group];
    if (!THREADS_LOAD(*there)) {
        if ((needs_pool(group) && add_group(module, MODULE_POOL) < 0) ||
            add_all(module, groups[group].nouns, groups[group].n) < 0) {
            return -1;
        }
        THREADS_STORE(*there, 1);
    }
    return 0;
}

static PyObject *group_added(PyObject *module, enum module_group group) {
    return add_group(module, group) == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyObject *add_pool(PyObject *module, PyObject *Py_UNUSED(unused)) {
    return group_added(module, MODULE_POOL);
}

static PyObject *add_executor(PyObject *module, PyObject *Py_UNUSED(unused)) {
    return group_added(module, MODULE_EXECUTOR);
}

static PyObject *add_imap(PyObject *module, PyObject *Py_UNUSED(unused)) {
    return group_added(module, MODULE_IMAP);
}

static PyObject *add_threads(PyObject *module, PyObject *Py_UNUSED(unused)) {
    return group_added(module, MODULE_THREADS);
}

static PyObject *add_watch(PyObject *module, PyObject *Py_UNUSED(unused)) {
    return group_added(module, MODULE_WATCH);
}

static PyObject *add_containers(PyObject *module, PyObject *Py_UNUSED(unused)) {
    return group_added(module, MODULE_CONTAINERS);
}

/* What adds the noun of this name, or NULL. */
static noun_add adder_of(PyObject *name) {
    for (size_t i = 0; i < sizeof late_nouns / sizeof late_nouns[0]; i++) {
        if (PyUnicode_CompareWithASCIIString(name, late_nouns[i].name) == 0) {
            return late_nouns[i].add;
        }
    }
    return NULL;
}

/* Returns a name of one of the groups, and adds groups until it is there. NULL: no group has it, or
 * with an exception. A program may have all imports done late (`-X lazy_imports=all`): a name is
 * asked for then before the module of the package that adds its group has run. */
static PyObject *find_in_groups(PyObject *module, PyObject *name) {
    PyObject *found = NULL;
    for (int group = 0; found == NULL && group < MODULE_GROUPS; group++) {
        if (add_group(module, (enum module_group)group) < 0) {
            return NULL;
        }
        found = threads_value(PyModule_GetDict(module), name);
    }
    return found;
}

/* Returns the name, whose noun or group is added. NULL: there is none, or with an exception. */
static PyObject *find_public(PyObject *module, PyObject *name) {
    noun_add add = adder_of(name);
    if (add == NULL) {
        return find_in_groups(module, name);
    }
    return add(module) == 0 ? threads_value(PyModule_GetDict(module), name) : NULL;
}

/* The interpreter calls this for a name that it has not found. The import system asks for names of
 * its own, and does so before the module has a state. */
static PyObject *find_later(PyObject *module, PyObject *name) {
    int is_public = PyUnicode_Check(name) && PyUnicode_GetLength(name) > 0 &&
                    PyUnicode_ReadChar(name, 0) != '_';
    PyObject *found = is_public ? find_public(module, name) : NULL;
    if (found == NULL && !PyErr_Occurred()) {
        PyErr_Format(PyExc_AttributeError, "module 'mproc._mproc' has no attribute %R", name);
    }
    return found;
}

static PyMethodDef module_methods[] = {
    {"__getattr__", find_later, METH_O, "Find a name that the module adds late."},
    {"_add_pool", add_pool, METH_NOARGS, "Add the types of pools to the module, once."},
    {"_add_executor", add_executor, METH_NOARGS,
     "Add the types that only executors have to the module, once; with those of pools."},
    {"_add_imap", add_imap, METH_NOARGS,
     "Add the types that only imaps have to the module, once; with those of pools."},
    {"_add_threads", add_threads, METH_NOARGS,
     "Add the types that only pools with their books in Python have, once; with those of pools."},
    {"_add_watch", add_watch, METH_NOARGS, "Add the type Watch to the module, once."},
    {"_add_containers", add_containers, METH_NOARGS,
     "Add the types of containers to the module, once."},
    {NULL, NULL, 0, NULL},
};

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    struct module_state *state = module_state(module);
#define X(name) Py_VISIT(state->name##_type);
    MODULE_TYPES(X)
#undef X
    for (size_t i = 0; i < MODULE_EXCEPTION_COUNT; i++) {
        Py_VISIT(state->exceptions[i]);
    }
    int r = buffers_traverse(&state->buffers, visit, arg);
    return r != 0 ? r : pickling_traverse(&state->pickling, visit, arg);
}

static int module_clear(PyObject *module) {
    struct module_state *state = module_state(module);
#define X(name) Py_CLEAR(state->name##_type);
    MODULE_TYPES(X)
#undef X
    for (size_t i = 0; i < MODULE_TAKEN; i++) {
        Py_CLEAR(state->taken[i]);
    }
    for (size_t i = 0; i < MODULE_ENGINE_NAMES; i++) {
        Py_CLEAR(state->engine_names[i]);
    }
    Py_CLEAR(state->ctx_name);
    Py_CLEAR(state->bootstrap_name);
    for (size_t i = 0; i < MODULE_EXCEPTION_COUNT; i++) {
        Py_CLEAR(state->exceptions[i]);
    }
    msgpack_keys_clear(&state->keys);
    buffers_clear(&state->buffers);
    pickling_clear(&state->pickling);
    return 0;
}

static void module_free(void *module) {
    (void)module_clear((PyObject *)module);
}

static PyObject *import_class(const char *module_name, const char *class_name) {
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *class = module == NULL ? NULL : PyObject_GetAttrString(module, class_name);
    Py_XDECREF(module);
    return class;
}

PyObject *module_raise(struct module_state *state, enum module_exception which, PyObject *value) {
    static const struct {
        const char *module;
        const char *class;
    } names[] = {
#define X(name, module, class) {module, class},
        MODULE_EXCEPTIONS(X)
#undef X
    };
    PyObject **place = &state->exceptions[which];
    if (THREADS_LOAD(*place) == NULL) {
        PyObject *class = import_class(names[which].module, names[which].class);
        if (class == NULL) {
            return NULL;
        }
        if (!THREADS_SET_FIRST(*place, class)) { /* another thread came here during the import */
            Py_DECREF(class);
        }
    }
    PyErr_SetObject(*place, value);
    return NULL;
}

/* A type that is there stays, as there may be objects of it: another thread has made it meanwhile,
 * or adding its noun failed half-way. */
static int add_type(PyObject *module, PyType_Spec *spec, PyObject *base, PyTypeObject **slot,
                    int publish) {
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, base);
    if (type == NULL) {
        return -1;
    }
    if (!THREADS_SET_FIRST(*slot, type)) {
        Py_DECREF(type);
    }
    return publish ? PyModule_AddType(module, *slot) : 0;
}

int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot, int publish) {
    return add_type(module, spec, NULL, slot, publish);
}

int module_derive_type(PyObject *module, PyType_Spec *spec, PyObject *base, PyTypeObject **slot) {
    return add_type(module, spec, base, slot, 1);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED}, /* threads.h says what stands in for it */
#endif
    {0, NULL},
};

struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mproc._mproc",
    .m_doc = "The C half of mproc: a client of libmproc.",
    .m_size = sizeof(struct module_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__mproc(void); /* the interpreter finds it by name */

PyMODINIT_FUNC PyInit__mproc(void) {
    return PyModuleDef_Init(&module_definition);
}
