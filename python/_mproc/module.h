/*
 * module.h - the extension module mproc._mproc, as its nouns see it
 *
 * SPDX-License-Identifier: MIT
 *
 * The module holds no static mutable state: what outlives a call stands in struct module_state,
 * which each interpreter's copy of the module owns.
 *
 * To add a noun: write its file with `int <noun>_add(PyObject *module)`, which makes its types and
 * functions, and name it in MODULE_NOUNS. To give it a type: name the type in MODULE_TYPES and make
 * it with module_add_type; the state's field <name>_type is visited and cleared for you.
 */
#ifndef MPROC_PYTHON_MODULE_H
#define MPROC_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "buffer.h"
#include "look.h"
#include "msgpack.h"
#include "pickling.h"
#include "threads.h"

/* Nouns in the order in which they are added: a noun that needs the types of another stands below
 * it. */
#define MODULE_NOUNS(X)                                                                            \
    X(arena)                                                                                       \
    X(codec)                                                                                       \
    X(label)                                                                                       \
    X(connection)                                                                                  \
    X(luggage)                                                                                     \
    X(process)                                                                                     \
    X(interrupt)                                                                                   \
    X(fork)                                                                                        \
    X(template)                                                                                    \
    X(started)                                                                                     \
    X(program)                                                                                     \
    X(c_call)                                                                                      \
    X(buffer)

/* X(name, noun): a noun that is added when the module is asked for this name of it (module.c). Each
 * type costs the program some 10 us, and most programs use few of them. Until then the state's
 * field of its type is NULL: see module_is_a(). */
#define MODULE_LATE_NOUNS(X)                                                                       \
    X(Connection, connection_type)                                                                 \
    X(Template, template_type)                                                                     \
    X(Lock, lock)                                                                                  \
    X(RLock, rlock)                                                                                \
    X(Event, event)                                                                                \
    X(Semaphore, semaphore)                                                                        \
    X(BoundedSemaphore, bsemaphore)                                                                \
    X(Condition, condition)                                                                        \
    X(Barrier, barrier)                                                                            \
    X(Queue, queue)                                                                                \
    X(SimpleQueue, queue)                                                                          \
    X(SemLock, semlock)                                                                            \
    X(pidfd_open, descriptor)                                                                      \
    X(pidfd_send_signal, descriptor)                                                               \
    X(memfd_create, descriptor)                                                                    \
    X(sem_unlink, semlock)                                                                         \
    X(semaphore_file_prefix, semlock)                                                              \
    X(Segment, shm)                                                                                \
    X(ShareableList, shareable_list)                                                               \
    X(Memory, array)                                                                               \
    X(Synchronized, synchronized)                                                                  \
    X(SynchronizedArray, synchronized)

/* Nouns of pools, added when the first pool is made. */
#define MODULE_POOL_NOUNS(X)                                                                       \
    X(job)                                                                                         \
    X(result)                                                                                      \
    X(name)                                                                                        \
    X(pool)                                                                                        \
    X(workplace)                                                                                   \
    X(turn)                                                                                        \
    X(engine)

/* Nouns that only executors have, only imaps, and only pools with their books in Python. */
#define MODULE_EXECUTOR_NOUNS(X)                                                                   \
    X(future)                                                                                      \
    X(backlog)
#define MODULE_IMAP_NOUNS(X) X(stream)
#define MODULE_THREAD_NOUNS(X) X(restarts) X(task) X(books)

/* Nouns of containers, added when mproc.dicts or mproc.lists is imported. */
#define MODULE_CONTAINER_NOUNS(X) X(blocking) X(share) X(dict) X(list)

/* Heap types that the module owns. */
#define MODULE_TYPES(X)                                                                            \
    X(connection)                                                                                  \
    X(lock)                                                                                        \
    X(rlock)                                                                                       \
    X(event)                                                                                       \
    X(semaphore)                                                                                   \
    X(bsemaphore)                                                                                  \
    X(semlock)                                                                                     \
    X(condition)                                                                                   \
    X(barrier)                                                                                     \
    X(segment)                                                                                     \
    X(shareable_list)                                                                              \
    X(memory)                                                                                      \
    X(buffer)                                                                                      \
    X(view)                                                                                        \
    X(synchronized)                                                                                \
    X(synchronized_array)                                                                          \
    X(cursor)                                                                                      \
    X(queue)                                                                                       \
    X(simple_queue)                                                                                \
    X(dict)                                                                                        \
    X(list)                                                                                        \
    X(share)                                                                                       \
    X(future)                                                                                      \
    X(backlog)                                                                                     \
    X(job)                                                                                         \
    X(result)                                                                                      \
    X(stream)                                                                                      \
    X(restarts)                                                                                    \
    X(task)                                                                                        \
    X(books)                                                                                       \
    X(pool)                                                                                        \
    X(workplace)                                                                                   \
    X(turn)                                                                                        \
    X(engine)                                                                                      \
    X(child)                                                                                       \
    X(watch)                                                                                       \
    X(template)

/* X(name, module, class): exceptions of Python's, imported when they are raised for the first
 * time. */
#define MODULE_EXCEPTIONS(X)                                                                       \
    X(FULL, "queue", "Full")                                                                       \
    X(EMPTY, "queue", "Empty")                                                                     \
    X(SHUT_DOWN, "mproc._queues.shut", "ShutDown")                                                 \
    X(BROKEN_BARRIER, "threading", "BrokenBarrierError")                                           \
    X(BUFFER_TOO_SHORT, "mproc.context", "BufferTooShort")                                         \
    X(TIMEOUT, "mproc.context", "TimeoutError")                                                    \
    X(MAYBE_ENCODING, "mproc._pool.errors", "MaybeEncodingError")

enum module_exception {
#define X(name, module, class) MODULE_##name,
    MODULE_EXCEPTIONS(X)
#undef X
        MODULE_EXCEPTION_COUNT
};

/* Attributes that start() takes from a process object: fork.c. */
#define MODULE_TAKEN 4

/* Names that an engine looks up: engine.c. */
#define MODULE_ENGINE_NAMES 13

/* Types that are added together, when they are needed. */
enum module_group {
    MODULE_POOL,
    MODULE_EXECUTOR,
    MODULE_IMAP,
    MODULE_THREADS,
    MODULE_WATCH,
    MODULE_CONTAINERS,
    MODULE_GROUPS
};

struct module_state {
    struct pickling pickling;
    struct msgpack_keys keys;
    struct buffers buffers;
    struct look young_connections;
    PyObject *taken[MODULE_TAKEN];                /* their names */
    PyObject *ctx_name;                           /* "_name", by which a context knows itself */
    PyObject *bootstrap_name;                     /* of the method that a forked child runs */
    PyObject *engine_names[MODULE_ENGINE_NAMES];  /* NULL: there has been no pool */
    PyObject *exceptions[MODULE_EXCEPTION_COUNT]; /* NULL: not raised yet */
    char groups[MODULE_GROUPS];                   /* 1: all of it has been added */
#define X(name) PyTypeObject *name##_type;
    MODULE_TYPES(X)
#undef X
};

#define X(noun) int noun##_add(PyObject *module);
MODULE_NOUNS(X)
MODULE_POOL_NOUNS(X)
MODULE_EXECUTOR_NOUNS(X)
MODULE_IMAP_NOUNS(X)
MODULE_THREAD_NOUNS(X)
MODULE_CONTAINER_NOUNS(X)
#undef X
#define X(name, noun) int noun##_add(PyObject *module);
MODULE_LATE_NOUNS(X)
#undef X
/* Where the calling thread is in Python, for mproc_stack_new(): as many bytes of text as fit. 0:
 * nowhere but in the package. The caller has the interpreter's lock. */
size_t label_stack(char *out, size_t size);
#define LABEL_ORIGIN 256 /* bytes of "file:line", with its 0 */
/* With MPROC_ORIGIN=1, writes where the program is into `room`: what the thread makes from now on,
 * while it has given the interpreter's lock away, was made there. Called with that lock. */
void label_keep_origin(char room[LABEL_ORIGIN]);
void label_forget_origin(void);
int watch_type_add(PyObject *module); /* when mproc.aio is imported */

/* A function as a table of methods takes it. */
#define MODULE_METHOD(function) ((PyCFunction)(void (*)(void))(function))

extern struct PyModuleDef module_definition;

/* The state of a module object; NULL with an exception if it has none. */
static inline struct module_state *module_state(PyObject *module) {
    return (struct module_state *)PyModule_GetState(module);
}

/* The state of the module that made the type of self, or one of its base types; NULL with TypeError
 * for a foreign object. */
static inline struct module_state *module_state_of(PyObject *self) {
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &module_definition);
    return module != NULL ? module_state(module) : NULL;
}

/* Whether an object is of a type of the module's: never, while that type has not been added. */
static inline int module_is_a(PyObject *object, PyTypeObject *type) {
    return type != NULL && PyObject_TypeCheck(object, type);
}

/* Raises an exception of MODULE_EXCEPTIONS, about a value unless that is NULL. NULL. */
PyObject *module_raise(struct module_state *state, enum module_exception which, PyObject *value);

/* Makes a heap type from spec and keeps it in *slot, a field of the module's state. With publish
 * the module gets it as an attribute too, under the last part of its name. 0, or -1 with an
 * exception. */
int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot, int publish);
/* The same for a type that is derived from another one, and published. */
int module_derive_type(PyObject *module, PyType_Spec *spec, PyObject *base, PyTypeObject **slot);

#endif
