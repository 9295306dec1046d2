/*
 * threads.h - what the interpreter's lock does for the extension, where there is none
 *
 * SPDX-License-Identifier: MIT
 *
 * With the lock, all that a function does between two calls of Python is one step for the other
 * threads. A free-threaded interpreter (Py_GIL_DISABLED) has no such lock, and then what this
 * header defines takes its place. In all other builds it comes to the plain statements that stood
 * there, and costs nothing.
 *
 * The discipline. 1. What is set once and stays is set by THREADS_SET_FIRST: of two threads that
 * come at the same time the first one's counts, and the other drops its own. What belongs together
 * is complete before the field by which others know that it is there. 2. A field that others
 * replace is read and replaced under the object's critical section, or under the mutex that stands
 * beside it; a reference that is read there is owned before the section ends. 3. No section and no
 * mutex is held while the code sleeps, or calls what may run Python code; a hold of an object of
 * the core is taken under one, since its last handle may be going. A section is held all the same
 * where calls are to keep an order that the lock keeps: it lets others in while Python waits. 4. A
 * list or dict of the program's is walked as a copy. 5. Shared objects of the core need none of
 * this: they are made for threads of many processes.
 *
 * A fork by the interpreter stops all threads where they hold no mutex, so a child finds all free.
 * The exception is the interpreter's: a mutex for which a thread has waited for a millisecond is
 * given to that thread before it runs, and stays taken in a child that is forked in between.
 */
#ifndef MPROC_PYTHON_THREADS_H
#define MPROC_PYTHON_THREADS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030d0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

#ifdef Py_GIL_DISABLED

#define THREADS_LOAD(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define THREADS_STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELEASE)

/* Whether a place was NULL, and is what is given now. */
#define THREADS_SET_FIRST(place, fresh)                                                            \
    __atomic_compare_exchange_n(&(place), &(__typeof__(place)){NULL}, (fresh), 0,                  \
                                __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* What stood in a place, which has the value from now on. */
static inline int threads_exchange(int *place, int value) {
    return __atomic_exchange_n(place, value, __ATOMIC_ACQ_REL);
}

/* A mutex is a field of this type that is there in these builds only. */
#define THREADS_LOCK(mutex) PyMutex_Lock(mutex)
#define THREADS_UNLOCK(mutex) PyMutex_Unlock(mutex)

/* 1: objects that are walked have one reference more, that of the copy which is walked. */
#define THREADS_COPIES 1

/* The items of a list, or the dict itself, as nobody changes them: a new reference, or NULL with an
 * exception. To copy a dict from which much was deleted may compare keys. */
static inline PyObject *threads_list(PyObject *list) {
    return PyList_AsTuple(list);
}

static inline PyObject *threads_dict(PyObject *dict) {
    return PyDict_Copy(dict);
}

/* As PySequence_Fast(): its items are walked as nobody changes them. */
static inline PyObject *threads_sequence(PyObject *sequence, const char *message) {
    return PyList_CheckExact(sequence) ? PyList_AsTuple(sequence)
                                       : PySequence_Fast(sequence, message);
}

/* An item of a list: a new reference; NULL, no exception: the list has become shorter. */
static inline PyObject *threads_item(PyObject *list, Py_ssize_t i) {
    PyObject *item = PyList_GetItemRef(list, i);
    if (item == NULL) {
        PyErr_Clear();
    }
    return item;
}

/* Takes the first item out of a list: a new reference; NULL, perhaps with an exception: there is
 * none. */
static inline PyObject *threads_pop(PyObject *list) {
    PyObject *first = PyObject_CallMethod(list, "pop", "i", 0);
    if (first == NULL && PyErr_ExceptionMatches(PyExc_IndexError)) {
        PyErr_Clear();
    }
    return first;
}

/* Gives back what list, dict and item above have returned. */
static inline void threads_drop(PyObject *copy) {
    Py_DECREF(copy);
}

/* A new reference; NULL, perhaps with an exception: there is none. */
static inline PyObject *threads_value(PyObject *dict, PyObject *key) {
    PyObject *value = NULL;
    (void)PyDict_GetItemRef(dict, key, &value);
    return value;
}

#else

#define THREADS_LOAD(place) (place)
#define THREADS_STORE(place, value) ((void)((place) = (value)))
#define THREADS_SET_FIRST(place, fresh) ((place) == NULL && (((place) = (fresh)), 1))
#define THREADS_LOCK(mutex) ((void)0)
#define THREADS_UNLOCK(mutex) ((void)0)
#define THREADS_COPIES 0

static inline int threads_exchange(int *place, int value) {
    int old = *place;
    *place = value;
    return old;
}

static inline PyObject *threads_list(PyObject *list) {
    return list;
}

static inline PyObject *threads_dict(PyObject *dict) {
    return dict;
}

static inline PyObject *threads_sequence(PyObject *sequence, const char *message) {
    return PySequence_Fast(sequence, message);
}

static inline PyObject *threads_item(PyObject *list, Py_ssize_t i) {
    return i < PyList_GET_SIZE(list) ? PyList_GET_ITEM(list, i) : NULL;
}

static inline PyObject *threads_pop(PyObject *list) {
    PyObject *first = PyList_GET_SIZE(list) > 0 ? Py_NewRef(PyList_GET_ITEM(list, 0)) : NULL;
    if (first != NULL && PyList_SetSlice(list, 0, 1, NULL) < 0) {
        Py_CLEAR(first);
    }
    return first;
}

static inline void threads_drop(PyObject *copy) {
    (void)copy;
}

static inline PyObject *threads_value(PyObject *dict, PyObject *key) {
    return Py_XNewRef(PyDict_GetItemWithError(dict, key));
}

#endif

/* As threads_item(), but a new reference in all builds. */
static inline PyObject *threads_own_item(PyObject *list, Py_ssize_t i) {
    PyObject *item = Py_XNewRef(threads_item(list, i));
    if (item != NULL) {
        threads_drop(item);
    }
    return item;
}

#endif
