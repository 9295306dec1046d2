/*
 * name.c - functions and classes that go to workers by their names
 *
 * SPDX-License-Identifier: MIT
 *
 * Most functions that a pool is given pickle as a mere name. Then their name itself is sent, a
 * string, "module:qualified.name": for pools whose arguments and results are plain values, neither
 * the owner nor a worker has to import pickle, which takes as long as a fork.
 *
 * A name is sent only if the owner itself finds that very object by it, and only where pickle would
 * do the same: for plain functions and classes, which no reducer is ever asked about, and unless
 * the program has chosen a pickler of its own.
 */
#include "name.h"

#include "module.h"

#define SEPARATOR ':'

/* The object of a qualified name in a module; NULL with AttributeError. */
static PyObject *find_in(PyObject *module, PyObject *qualified) {
    PyObject *dot = PyUnicode_FromString(".");
    PyObject *steps = dot == NULL ? NULL : PyUnicode_Split(qualified, dot, -1);
    PyObject *found = steps == NULL ? NULL : Py_NewRef(module);
    for (Py_ssize_t i = 0; found != NULL && i < PyList_GET_SIZE(steps); i++) {
        PyObject *next = PyObject_GetAttr(found, PyList_GET_ITEM(steps, i));
        Py_DECREF(found);
        found = next;
    }
    Py_XDECREF(steps);
    Py_XDECREF(dot);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Format(PyExc_AttributeError, "Can't get attribute %R on %R", qualified, module);
    }
    return found;
}

PyObject *name_find(PyObject *name) {
    Py_ssize_t size = PyUnicode_GetLength(name);
    Py_ssize_t at = PyUnicode_FindChar(name, SEPARATOR, 0, size, 1);
    if (at < 0) {
        return PyErr_Format(PyExc_ValueError, "corrupt message: %R names nothing", name);
    }
    PyObject *path = PyUnicode_Substring(name, 0, at);
    PyObject *qualified = PyUnicode_Substring(name, at + 1, size);
    PyObject *module = path != NULL && qualified != NULL ? PyImport_Import(path) : NULL;
    PyObject *found = module != NULL ? find_in(module, qualified) : NULL;
    Py_XDECREF(module);
    Py_XDECREF(qualified);
    Py_XDECREF(path);
    return found;
}

/* 1: the module that is there has the function under that name; 0: it has not; -1: exception. */
static int is_there(PyObject *path, PyObject *qualified, PyObject *function) {
    PyObject *module = PyImport_GetModule(path);
    if (module == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *found = find_in(module, qualified);
    Py_DECREF(module);
    if (found == NULL) {
        int r = PyErr_ExceptionMatches(PyExc_Exception) ? 0 : -1;
        if (r == 0) {
            PyErr_Clear();
        }
        return r;
    }
    Py_DECREF(found);
    return found == function;
}

static PyObject *name_from(PyObject *path, PyObject *qualified, PyObject *function) {
    if (!PyUnicode_Check(path) || !PyUnicode_Check(qualified) ||
        PyUnicode_FindChar(path, SEPARATOR, 0, PyUnicode_GetLength(path), 1) >= 0) {
        Py_RETURN_NONE;
    }
    int r = is_there(path, qualified, function);
    if (r < 0) {
        return NULL;
    }
    return r == 0 ? Py_NewRef(Py_None) : PyUnicode_FromFormat("%U%c%U", path, SEPARATOR, qualified);
}

static PyObject *name_of(PyObject *module, PyObject *function) {
    PyTypeObject *type = Py_TYPE(function);
    if (module_state(module)->pickling.chosen != NULL ||
        (type != &PyFunction_Type && type != &PyType_Type)) {
        Py_RETURN_NONE;
    }
    PyObject *path = PyObject_GetAttrString(function, "__module__");
    PyObject *qualified = path == NULL ? NULL : PyObject_GetAttrString(function, "__qualname__");
    PyObject *name = qualified == NULL ? NULL : name_from(path, qualified, function);
    Py_XDECREF(qualified);
    Py_XDECREF(path);
    return name;
}

/* is_a_name(function): a function of a module, or a class without a metaclass. */
static PyObject *is_a_name(PyObject *Py_UNUSED(module), PyObject *function) {
    if (Py_TYPE(function) != &PyCFunction_Type) {
        return PyBool_FromLong(PyFunction_Check(function) || Py_TYPE(function) == &PyType_Type);
    }
    const PyObject *self = PyCFunction_GET_SELF(function);
    return PyBool_FromLong(self == NULL || PyModule_Check(self));
}

static PyMethodDef functions[] = {
    {"is_a_name", is_a_name, METH_O,
     "is_a_name($module, function, /)\n--\n\n"
     "Return whether a function pickles as a mere name, so that a worker may look it up once."},
    {"name_of", name_of, METH_O,
     "name_of($module, function, /)\n--\n\n"
     "The name by which a worker finds a function or class; None: it has to be pickled."},
    {NULL, NULL, 0, NULL},
};

int name_add(PyObject *module) {
    return PyModule_AddFunctions(module, functions);
}
