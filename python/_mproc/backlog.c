/*
 * backlog.c - mproc._mproc.Backlog: what an executor has not given to its workers yet
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. What is submitted is handed on to the tasks of the engine at once, as long as the
 * workers have little before them. Everything else waits here, where it can be cancelled. Whoever
 * submits or pumps feeds: he hands on the oldest calls, as many as there is room for. A call that
 * waits stands in its future, and the futures are linked, so each is taken out in one step.
 *
 * Room. The workers may have a task each before them and EXTRA more, or as many as they are likely
 * to begin within AHEAD ns: `window` in all. There is room while fewer tasks are open, or fewer
 * wait for a worker: results that nobody has collected yet keep no worker busy.
 *
 * Priorities. The list is in the order in which calls are handed on: those of a higher priority
 * first, equal ones as they were submitted. For each priority there is a lane, which says where in
 * the list the next such call belongs. Nearly always there is one lane.
 *
 * An interrupt finds a call in the backlog, in the tasks, or failed with the interrupt, because
 * nothing that changes the links runs Python code. A call that is being handed on belongs to the
 * thread that does it.
 *
 * Links, lanes and numbers are changed under the interpreter's lock, or under `lock` where there is
 * none. There, feed_in_order() keeps calls in their order.
 *
 * Invariants: 1. A future is linked if and only if its `backlog` is this one; the backlog owns it
 * then. 2. `count` is the number of links. 3. The lanes are in the list's order, and there is one
 * for each priority of a future that is linked.
 */
#include "backlog.h"

#include "blocking.h"
#include "error.h"
#include "future.h"
#include "job.h"

#include <stdbool.h>

#define EXTRA 1               /* tasks beyond one for each worker, at least */
#define AHEAD (2 * 1000000.0) /* ns of work that the workers may have before them */
#define WINDOW_MOST 512       /* tasks beyond one for each worker, at most */

/* Attributes of engine and tasks. */
#define NAMES(X)                                                                                   \
    X(tasks, "_tasks")                                                                             \
    X(open, "open")                                                                                \
    X(waiting, "waiting")                                                                          \
    X(submit, "submit")                                                                            \
    X(submit_map, "submit_map")                                                                    \
    X(refuses, "_refuses")

enum {
#define X(name, text) NAME_##name,
    NAMES(X)
#undef X
        NAME_COUNT
};

/* The futures of one priority: the youngest is the last of them in the list. */
struct lane {
    int priority;
    PyObject *youngest;
};

struct backlog {
    PyObject_HEAD PyTypeObject *future_type; /* owned, as the others; what to make */
    PyTypeObject *job_type;                  /* of the job that books a future's result */
    PyObject *function;                      /* of the last call, if it is a mere name, or NULL */
    PyObject *message;                       /* its message */
    PyObject *names[NAME_COUNT];
    PyObject *oldest, *youngest; /* the first of the list and the last; NULL: there is none */
    struct lane *lanes;
    Py_ssize_t nlanes, lanes_room;
    Py_ssize_t count;
    Py_ssize_t seats;
    Py_ssize_t window;
    Py_ssize_t handed;   /* tasks that were handed on, ever */
    Py_ssize_t finished; /* of these, as many as the last look could be sure of */
    int64_t looked;      /* when that was */
    Py_ssize_t submitted;
#ifdef Py_GIL_DISABLED
    PyMutex lock;
#endif
};

static struct backlog *of(PyObject *self) {
    return (struct backlog *)self;
}

/* ---------------------------------------------------------------- links */

/* What follows is done under the lock, up to link_behind() and unlink_one(). */

/* The index of the first lane whose priority is not higher. */
static Py_ssize_t find_lane(const struct backlog *b, int priority) {
    Py_ssize_t low = 0, high = b->nlanes;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (b->lanes[middle].priority > priority) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_lane(const struct backlog *b, Py_ssize_t at, int priority) {
    return at < b->nlanes && b->lanes[at].priority == priority;
}

static int add_lane(struct backlog *b, Py_ssize_t at, int priority) {
    if (b->nlanes == b->lanes_room) {
        Py_ssize_t room = 2 * b->lanes_room + 1;
        struct lane *lanes = PyMem_Realloc(b->lanes, (size_t)room * sizeof *lanes);
        if (lanes == NULL) {
            return -1;
        }
        b->lanes = lanes;
        b->lanes_room = room;
    }
    memmove(b->lanes + at + 1, b->lanes + at, (size_t)(b->nlanes - at) * sizeof *b->lanes);
    b->lanes[at] = (struct lane){priority, NULL};
    b->nlanes++;
    return 0;
}

/* The youngest of a lane is about to go: the one before it is that now, or the lane goes, too. */
static void shift_lane(struct backlog *b, int priority, PyObject *older) {
    Py_ssize_t at = find_lane(b, priority);
    if (older != NULL && future_waiting(older)->priority == priority) {
        b->lanes[at].youngest = older;
        return;
    }
    b->nlanes--;
    memmove(b->lanes + at, b->lanes + at + 1, (size_t)(b->nlanes - at) * sizeof *b->lanes);
}

static void link_behind(PyObject *self, PyObject *future, PyObject *older) {
    struct backlog *b = of(self);
    struct waiting *w = future_waiting(future);
    w->backlog = self;
    w->older = older;
    w->younger = older != NULL ? future_waiting(older)->younger : b->oldest;
    if (older != NULL) {
        future_waiting(older)->younger = future;
    } else {
        b->oldest = future;
    }
    if (w->younger != NULL) {
        future_waiting(w->younger)->older = future;
    } else {
        b->youngest = future;
    }
    THREADS_STORE(b->count, b->count + 1);
}

/* Puts a future into its place, and takes a reference to it. -1: no memory. */
static int link_one(PyObject *self, PyObject *future) {
    struct backlog *b = of(self);
    int priority = future_waiting(future)->priority;
    Py_ssize_t at = find_lane(b, priority);
    if (!is_lane(b, at, priority) && add_lane(b, at, priority) < 0) {
        return -1;
    }
    PyObject *older = b->lanes[at].youngest;
    if (older == NULL && at > 0) {
        older = b->lanes[at - 1].youngest;
    }
    link_behind(self, Py_NewRef(future), older);
    b->lanes[at].youngest = future;
    b->submitted++;
    return 0;
}

/* Takes a future out, whose reference is the caller's now. */
static void unlink_one(PyObject *self, PyObject *future) {
    struct backlog *b = of(self);
    struct waiting *w = future_waiting(future);
    if (b->lanes[find_lane(b, w->priority)].youngest == future) {
        shift_lane(b, w->priority, w->older);
    }
    if (w->older != NULL) {
        future_waiting(w->older)->younger = w->younger;
    } else {
        b->oldest = w->younger;
    }
    if (w->younger != NULL) {
        future_waiting(w->younger)->older = w->older;
    } else {
        b->youngest = w->older;
    }
    w->backlog = w->older = w->younger = NULL;
    THREADS_STORE(b->count, b->count - 1);
}

/* -1 with MemoryError. */
static int append(PyObject *self, PyObject *future) {
    THREADS_LOCK(&of(self)->lock);
    int r = link_one(self, future);
    THREADS_UNLOCK(&of(self)->lock);
    if (r < 0) {
        PyErr_NoMemory();
    }
    return r;
}

/* The oldest future, whose reference is the caller's; NULL: there is none. */
static PyObject *take_oldest(PyObject *self) {
    THREADS_LOCK(&of(self)->lock);
    PyObject *future = of(self)->oldest;
    if (future != NULL) {
        unlink_one(self, future);
    }
    THREADS_UNLOCK(&of(self)->lock);
    return future;
}

/* Takes a future out, if it is here: whether it was. Its reference is the caller's then. */
static bool take(PyObject *self, PyObject *future) {
    THREADS_LOCK(&of(self)->lock);
    bool there = future_waiting(future)->backlog == self;
    if (there) {
        unlink_one(self, future);
    }
    THREADS_UNLOCK(&of(self)->lock);
    return there;
}

static Py_ssize_t count_of(PyObject *self) {
    return THREADS_LOAD(of(self)->count);
}

/* ---------------------------------------------------------------- making and freeing */

static int make_names(struct backlog *b) {
    static const char *const texts[] = {
#define X(name, text) text,
        NAMES(X)
#undef X
    };
    for (int i = 0; i < NAME_COUNT; i++) {
        b->names[i] = PyUnicode_InternFromString(texts[i]);
        if (b->names[i] == NULL) {
            return -1;
        }
    }
    return 0;
}

static PyObject *backlog_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct module_state *state = module_state(PyType_GetModule(type));
    static char *names[] = {"future_type", "job_type", "seats", NULL};
    PyTypeObject *future_type;
    PyTypeObject *job_type;
    Py_ssize_t seats;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!n:Backlog", names, &PyType_Type,
                                     &future_type, &PyType_Type, &job_type, &seats)) {
        return NULL;
    }
    if (!PyType_IsSubtype(future_type, state->future_type) ||
        !PyType_IsSubtype(job_type, state->job_type)) {
        PyErr_SetString(PyExc_TypeError, "the types must be derived from Future and Job");
        return NULL;
    }
    PyObject *self = type->tp_alloc(type, 0);
    if (self == NULL || make_names(of(self)) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    of(self)->future_type = (PyTypeObject *)Py_NewRef(future_type);
    of(self)->job_type = (PyTypeObject *)Py_NewRef(job_type);
    of(self)->seats = seats;
    of(self)->window = seats + EXTRA;
    return self;
}

static int backlog_traverse(PyObject *self, visitproc visit, void *arg) {
    struct backlog *b = of(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(b->future_type);
    Py_VISIT(b->job_type);
    Py_VISIT(b->function);
    for (PyObject *f = b->oldest; f != NULL; f = future_waiting(f)->younger) {
        Py_VISIT(f);
    }
    return 0;
}

static int backlog_clear(PyObject *self) {
    struct backlog *b = of(self);
    Py_CLEAR(b->future_type);
    Py_CLEAR(b->job_type);
    Py_CLEAR(b->function);
    for (PyObject *future; (future = take_oldest(self)) != NULL;) {
        Py_DECREF(future);
    }
    return 0;
}

static void backlog_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)backlog_clear(self);
    Py_CLEAR(of(self)->message);
    PyMem_Free(of(self)->lanes);
    for (int i = 0; i < NAME_COUNT; i++) {
        Py_CLEAR(of(self)->names[i]);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---------------------------------------------------------------- the window */

/* A number among the attributes of the tasks; -1 with an exception. */
static Py_ssize_t number_of(PyObject *tasks, PyObject *name) {
    PyObject *value = PyObject_GetAttr(tasks, name);
    if (value == NULL) {
        return -1;
    }
    Py_ssize_t number = PyLong_AsSsize_t(value);
    Py_DECREF(value);
    return number;
}

/* The window is chosen under the lock. */

/* Chooses the window by how fast tasks are finished: those that are booked, and those that do not
 * wait and cannot be with a worker. One of each worker within AHEAD ns may have been any time in
 * the making, and says nothing yet. False: none is finished, since the last look. */
static bool adapt(struct backlog *b, Py_ssize_t open, Py_ssize_t waiting) {
    Py_ssize_t unfinished = waiting + b->seats < open ? waiting + b->seats : open;
    Py_ssize_t more = b->handed - unfinished - b->finished;
    if (more <= 0) {
        return false;
    }
    int64_t now = blocking_now();
    double passed = (double)(now - b->looked + 1);
    if (more <= b->seats && passed < AHEAD) {
        return true;
    }
    double ahead = AHEAD * (double)more / passed;
    Py_ssize_t extra = ahead < WINDOW_MOST ? (Py_ssize_t)ahead : WINDOW_MOST;
    b->window = b->seats + (extra > EXTRA ? extra : EXTRA);
    b->finished += more;
    b->looked = now;
    return true;
}

/* A large window holds for tasks as fast as the last ones. After AHEAD ns that is to be seen anew:
 * what is handed on cannot be cancelled any more, nor be overtaken. */
static bool is_stale(const struct backlog *b) {
    return b->window > b->seats + EXTRA && (double)(blocking_now() - b->looked) > AHEAD;
}

/* 1: the workers may be given another task; 0: they have enough; -1: exception. */
static int has_room(struct backlog *b, PyObject *tasks) {
    Py_ssize_t open = number_of(tasks, b->names[NAME_open]);
    THREADS_LOCK(&b->lock);
    bool has = open < b->window, stale = has && is_stale(b);
    THREADS_UNLOCK(&b->lock);
    if (has && !stale) {
        return PyErr_Occurred() ? -1 : 1;
    }
    Py_ssize_t waiting = number_of(tasks, b->names[NAME_waiting]);
    if (waiting < 0 && PyErr_Occurred()) {
        return -1;
    }
    THREADS_LOCK(&b->lock);
    if (!adapt(b, open, waiting) && has) {
        b->window = b->seats + EXTRA;
    }
    has = waiting + b->seats < b->window;
    THREADS_UNLOCK(&b->lock);
    return has;
}

/* ---------------------------------------------------------------- handing on */

static void keep_message(struct backlog *b, PyObject *function, PyObject *message) {
    THREADS_LOCK(&b->lock);
    PyObject *old_function = b->function, *old_message = b->message;
    b->function = Py_NewRef(function);
    b->message = Py_NewRef(message);
    THREADS_UNLOCK(&b->lock);
    Py_XDECREF(old_function);
    Py_XDECREF(old_message);
}

/* The message that tells workers of a function, a new reference, and whether that is a mere name;
 * -1 with an exception. */
static int find_message(struct backlog *b, PyObject *engine, PyObject *function,
                        PyObject **message) {
    THREADS_LOCK(&b->lock);
    bool known = function == b->function;
    *message = known ? Py_NewRef(b->message) : NULL;
    THREADS_UNLOCK(&b->lock);
    if (known) {
        return 1;
    }
    PyObject *both = PyObject_CallMethod(engine, "_message_of", "O", function);
    int named;
    if (both == NULL || !PyArg_ParseTuple(both, "Sp", message, &named)) {
        Py_XDECREF(both);
        return -1;
    }
    Py_INCREF(*message);
    Py_DECREF(both);
    if (named) {
        keep_message(b, function, *message);
    }
    return named;
}

static PyObject *submit_call(struct backlog *b, PyObject *tasks, PyObject *job, PyObject *message,
                             PyObject *named, const struct waiting *w) {
    bool bare = w->kwargs == NULL || PyDict_GET_SIZE(w->kwargs) == 0;
    PyObject *arguments = PyTuple_Pack(2, w->args, bare ? Py_None : w->kwargs);
    if (arguments == NULL) {
        return NULL;
    }
    PyObject *parts[] = {tasks, job, message, named, arguments, w->options};
    size_t n = w->options != NULL ? 6 : 5;
    PyObject *r = PyObject_VectorcallMethod(b->names[NAME_submit], parts,
                                            n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(arguments);
    return r;
}

static PyObject *submit_chunk(struct backlog *b, PyObject *tasks, PyObject *job, PyObject *message,
                              PyObject *named, const struct waiting *w) {
    PyObject *size = PyLong_FromSsize_t(PyList_GET_SIZE(w->args));
    PyObject *first = PyLong_FromSsize_t(w->first);
    PyObject *r = NULL;
    if (size != NULL && first != NULL) {
        PyObject *parts[] = {tasks, job, message, named, Py_True, w->args, size, first, w->options};
        size_t n = w->options != NULL ? 9 : 8;
        r = PyObject_VectorcallMethod(b->names[NAME_submit_map], parts,
                                      n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(size);
    Py_XDECREF(first);
    return r;
}

static int submit(struct backlog *b, PyObject *engine, PyObject *tasks, PyObject *future,
                  const struct waiting *w) {
    PyObject *message;
    int named = find_message(b, engine, w->function, &message);
    if (named < 0) {
        return -1;
    }
    PyObject *job = job_for_future(b->job_type, future);
    PyObject *r = NULL;
    if (job != NULL) {
        r = (PyList_Check(w->args) ? submit_chunk : submit_call)(b, tasks, job, message,
                                                                 named ? Py_True : Py_False, w);
    }
    Py_XDECREF(job);
    Py_DECREF(message);
    Py_XDECREF(r);
    THREADS_LOCK(&b->lock);
    b->handed += r != NULL;
    THREADS_UNLOCK(&b->lock);
    return r == NULL ? -1 : 0;
}

/* A call could not be handed on, because of the exception that is set: its future fails. What is no
 * Exception is the caller's all the same; so is an interrupt that comes meanwhile. Then: -1. */
static int fail(PyObject *engine, PyObject *future, const struct waiting *w) {
    bool mine = PyErr_ExceptionMatches(PyExc_Exception);
    PyObject *error = error_take(), *instead = NULL, *raised = NULL;
    if (mine) {
        instead = PyObject_CallMethod(engine, "_instead_of", "OOOOn", error, w->function, w->args,
                                      w->kwargs != NULL ? w->kwargs : Py_None, w->first);
        raised = instead == NULL && !PyErr_ExceptionMatches(PyExc_Exception) ? error_take() : NULL;
        PyErr_Clear(); /* what cannot be told leaves the error as it is */
    } else {
        raised = Py_NewRef(error);
    }
    int r = future_settle(future, 1, instead != NULL ? instead : error);
    if (raised != NULL) {
        PyErr_Clear();
        error_give_back(raised);
        r = -1;
    }
    Py_XDECREF(instead);
    Py_DECREF(error);
    return r;
}

/* Wakes those who wait for a future that has failed here; r as fail() returned it. */
static int tell(PyObject *engine, int r) {
    PyObject *raised = r < 0 ? error_take() : NULL;
    PyObject *told = PyObject_CallMethod(engine, "_tell", NULL);
    Py_XDECREF(told);
    if (raised != NULL) {
        PyErr_Clear();
        error_give_back(raised);
    }
    return told == NULL ? -1 : r;
}

/* What a future has waited with, which is the caller's from now on. Its place, which is none any
 * more, is not written: other threads look at it under the lock. */
static struct waiting take_call(PyObject *future) {
    struct waiting *w = future_waiting(future);
    struct waiting call = {
        .function = w->function,
        .args = w->args,
        .kwargs = w->kwargs,
        .first = w->first,
        .options = w->options,
        .priority = w->priority,
    };
    w->function = w->args = w->kwargs = w->options = NULL;
    w->first = w->priority = 0;
    return call;
}

/* Begins a call that is in no backlog any more: as future_begin(). *call: what it is, the caller's.
 */
static int begin(PyObject *future, struct waiting *call) {
    int r = future_begin(future);
    *call = take_call(future);
    return r;
}

static void drop_call(struct waiting *owned) {
    Py_DECREF(owned->function);
    Py_DECREF(owned->args);
    Py_XDECREF(owned->kwargs);
    Py_XDECREF(owned->options);
}

/* Hands a call on that is in no backlog any more. 0, or -1 with an exception. */
static int hand_on(struct backlog *b, PyObject *engine, PyObject *tasks, PyObject *future) {
    struct waiting call;
    int r = begin(future, &call);
    if (r == 0) {
        r = future_let_go(future);
    } else if (r > 0) {
        r = submit(b, engine, tasks, future, &call);
        if (r < 0) {
            r = tell(engine, fail(engine, future, &call));
        }
    }
    drop_call(&call);
    return r;
}

/* Hands the oldest call on, if there is room: 1; 0: there is none, or no call; -1: exception. */
static int feed_one(PyObject *self, PyObject *engine, PyObject *tasks) {
    int room = has_room(of(self), tasks);
    PyObject *future = room > 0 ? take_oldest(self) : NULL;
    if (future == NULL) {
        return room < 0 ? -1 : 0; /* what has_room() has run may have taken it */
    }
    int r = hand_on(of(self), engine, tasks, future);
    Py_DECREF(future);
    return r < 0 ? -1 : 1;
}

/* Of threads that feed at the same time, each takes a call and hands it on before the next does.
 * The section lets others in where Python code waits, as the interpreter's lock does. */
static int feed_in_order(PyObject *self, PyObject *engine, PyObject *tasks) {
    int r;
    Py_BEGIN_CRITICAL_SECTION(self);
    r = feed_one(self, engine, tasks);
    Py_END_CRITICAL_SECTION();
    return r;
}

static int feed_tasks(PyObject *self, PyObject *engine, PyObject *tasks) {
    int r = 1;
    while (r > 0 && count_of(self) > 0) {
        r = feed_in_order(self, engine, tasks);
    }
    return r < 0 ? -1 : 0;
}

/* Hands a future on or lets it wait behind the others. */
static int accept(PyObject *self, PyObject *engine, PyObject *future) {
    PyObject *tasks = PyObject_GetAttr(engine, of(self)->names[NAME_tasks]);
    if (tasks == NULL) {
        return -1;
    }
    int r = append(self, future);
    if (r == 0) {
        r = feed_tasks(self, engine, tasks);
    }
    Py_DECREF(tasks);
    return r;
}

static PyObject *put(PyObject *self, PyObject *engine, const struct waiting *call) {
    PyObject *future = future_new(of(self)->future_type, engine);
    if (future == NULL) {
        return NULL;
    }
    struct waiting *w = future_waiting(future);
    w->function = Py_NewRef(call->function);
    w->args = Py_NewRef(call->args);
    w->kwargs = Py_XNewRef(call->kwargs);
    w->first = call->first;
    w->options = Py_XNewRef(call->options);
    w->priority = call->priority;
    if (accept(self, engine, future) < 0) {
        Py_CLEAR(future);
    }
    return future;
}

/* Options are None or (priority, what the tasks take). -1 with an exception. */
static int set_options(struct waiting *call, PyObject *options) {
    if (options == NULL || options == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(options)) {
        PyErr_SetString(PyExc_TypeError, "options are a tuple");
        return -1;
    }
    return PyArg_ParseTuple(options, "iO", &call->priority, &call->options) ? 0 : -1;
}

/* put(engine, fn, args, kwargs, options=None) */
static PyObject *backlog_put(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs < 4 || nargs > 5 || !PyTuple_Check(args[2]) || !PyDict_Check(args[3])) {
        PyErr_SetString(PyExc_TypeError, "put() takes an engine, a function, a tuple and a dict");
        return NULL;
    }
    struct waiting call = {.function = args[1], .args = args[2]};
    call.kwargs = PyDict_GET_SIZE(args[3]) > 0 ? args[3] : NULL;
    if (nargs > 4 && set_options(&call, args[4]) < 0) {
        return NULL;
    }
    return put(self, args[0], &call);
}

/* put_chunk(engine, fn, chunk, first, options=None) */
static PyObject *backlog_put_chunk(PyObject *self, PyObject *args) {
    PyObject *engine, *options = Py_None;
    struct waiting call = {0};
    if (!PyArg_ParseTuple(args, "OOO!n|O:put_chunk", &engine, &call.function, &PyList_Type,
                          &call.args, &call.first, &options) ||
        set_options(&call, options) < 0) {
        return NULL;
    }
    return put(self, engine, &call);
}

/* Up to n items of an iterator; none: it has ended. */
static PyObject *next_chunk(PyObject *iterator, Py_ssize_t n) {
    PyObject *chunk = PyList_New(0);
    while (chunk != NULL && PyList_GET_SIZE(chunk) < n) {
        PyObject *item = PyIter_Next(iterator);
        if (item == NULL && !PyErr_Occurred()) {
            break;
        }
        if (item == NULL || PyList_Append(chunk, item) < 0) {
            Py_CLEAR(chunk);
        }
        Py_XDECREF(item);
    }
    return chunk;
}

/* The engine's own way, for the first chunk: workers are started, and the helper. */
static PyObject *put_first(PyObject *engine, PyObject *function, PyObject *chunk,
                           PyObject *options) {
    return options == Py_None
               ? PyObject_CallMethod(engine, "_submit_chunk", "OOi", function, chunk, 0)
               : PyObject_CallMethod(engine, "_submit_chunk", "OOiO", function, chunk, 0, options);
}

/* Raises what keeps calls from being submitted: before the first one, and when that may have come
 * while the items did. */
static int check(struct backlog *b, PyObject *engine, bool first) {
    PyObject *refuses = PyObject_GetAttr(engine, b->names[NAME_refuses]);
    PyObject *r = refuses;
    if (refuses != NULL && (first || refuses != Py_False)) {
        r = PyObject_CallMethod(engine, "_check", NULL);
        Py_DECREF(refuses);
    }
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* 1: put the next chunk, and added its future; 0: there is none; -1: exception. */
static int put_next(PyObject *self, PyObject *engine, struct waiting *call, PyObject *items,
                    Py_ssize_t size, PyObject *options, PyObject *futures) {
    PyObject *chunk = next_chunk(items, size);
    if (chunk == NULL || PyList_GET_SIZE(chunk) == 0 ||
        check(of(self), engine, call->first == 0) < 0) {
        int r = chunk == NULL || PyErr_Occurred() ? -1 : 0;
        Py_XDECREF(chunk);
        return r;
    }
    call->args = chunk;
    PyObject *future = call->first == 0 ? put_first(engine, call->function, chunk, options)
                                        : put(self, engine, call);
    Py_DECREF(chunk);
    int r = future == NULL ? -1 : PyList_Append(futures, future);
    Py_XDECREF(future);
    return r < 0 ? -1 : 1;
}

/* put_chunks(engine, fn, items, chunksize, first, most, options=None) */
static PyObject *backlog_put_chunks(PyObject *self, PyObject *args) {
    PyObject *engine, *items, *options = Py_None;
    Py_ssize_t size, most;
    struct waiting call = {0};
    if (!PyArg_ParseTuple(args, "OOOnnn|O:put_chunks", &engine, &call.function, &items, &size,
                          &call.first, &most, &options) ||
        set_options(&call, options) < 0) {
        return NULL;
    }
    if (!PyIter_Check(items)) {
        PyErr_SetString(PyExc_TypeError, "put_chunks() takes an iterator");
        return NULL;
    }
    PyObject *futures = PyList_New(0);
    for (int r = 1; futures != NULL && r == 1 && PyList_GET_SIZE(futures) < most;) {
        r = put_next(self, engine, &call, items, size, options, futures);
        call.first += size;
        if (r < 0) {
            Py_CLEAR(futures);
        }
    }
    return futures;
}

static PyObject *backlog_feed(PyObject *self, PyObject *engine) {
    PyObject *tasks = PyObject_GetAttr(engine, of(self)->names[NAME_tasks]);
    int r = tasks == NULL ? -1 : feed_tasks(self, engine, tasks);
    Py_XDECREF(tasks);
    return r < 0 ? NULL : Py_NewRef(Py_None);
}

/* Fails a call that is in no backlog any more with what make() returns or, if an interrupt comes,
 * raises: that is the caller's, too. */
static int refuse(PyObject *future, PyObject *make) {
    struct waiting call;
    int r = begin(future, &call);
    if (r == 0) {
        r = future_let_go(future);
    } else if (r > 0) {
        PyObject *error = PyObject_CallNoArgs(make);
        PyObject *raised = error == NULL ? error_take() : NULL;
        r = future_settle(future, 1, error != NULL ? error : raised);
        Py_XDECREF(error);
        if (raised != NULL && r == 0) {
            error_give_back(Py_NewRef(raised));
            r = -1;
        }
        Py_XDECREF(raised);
    }
    drop_call(&call);
    return r;
}

/* fail_all(make): all that wait are failed in one call, so none is lost by an interrupt. */
static PyObject *backlog_fail_all(PyObject *self, PyObject *make) {
    PyObject *future, *first = NULL;
    while ((future = take_oldest(self)) != NULL) {
        if (refuse(future, make) < 0) {
            PyObject *error = error_take();
            if (first == NULL) {
                first = Py_NewRef(error);
            }
            Py_DECREF(error);
        }
        Py_DECREF(future);
    }
    error_give_back(first);
    return first != NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *backlog_pop(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyObject *future = take_oldest(self);
    return future != NULL ? future : Py_NewRef(Py_None);
}

static PyObject *backlog_remove(PyObject *self, PyObject *future) {
    if (!PyObject_TypeCheck(future, of(self)->future_type)) {
        PyErr_SetString(PyExc_TypeError, "no future of this backlog's kind");
        return NULL;
    }
    bool there = take(self, future);
    if (there) {
        Py_DECREF(future);
    }
    return PyBool_FromLong(there);
}

static PyObject *backlog_futures(PyObject *self, PyObject *Py_UNUSED(unused)) {
    PyObject *list = PyList_New(0);
    int r = list != NULL ? 0 : -1;
    THREADS_LOCK(&of(self)->lock);
    for (PyObject *f = of(self)->oldest; r == 0 && f != NULL; f = future_waiting(f)->younger) {
        r = PyList_Append(list, f);
    }
    THREADS_UNLOCK(&of(self)->lock);
    if (r < 0) {
        Py_CLEAR(list);
    }
    return list;
}

static Py_ssize_t backlog_length(PyObject *self) {
    return count_of(self);
}

static PyMethodDef backlog_methods[] = {
    {"put", MODULE_METHOD(backlog_put), METH_FASTCALL,
     "put($self, engine, fn, args, kwargs, options=None, /)\n--\n\n"
     "Take a call; return its future. It is handed on at once if there is room. options:\n"
     "(priority, what the tasks take as the task's options)."},
    {"put_chunk", backlog_put_chunk, METH_VARARGS,
     "put_chunk($self, engine, fn, chunk, first, options=None, /)\n--\n\n"
     "The same for a chunk of a map: a list of tuples, the first of which has that number."},
    {"put_chunks", backlog_put_chunks, METH_VARARGS,
     "put_chunks($self, engine, fn, items, chunksize, first, most, options=None, /)\n--\n\n"
     "Take up to so many chunks of the items of an iterator; return their futures. first: the\n"
     "number of the first item; chunk 0 goes by engine._submit_chunk()."},
    {"feed", backlog_feed, METH_O,
     "feed($self, engine, /)\n--\n\nHand on as many calls as there is room for."},
    {"fail_all", backlog_fail_all, METH_O,
     "fail_all($self, make, /)\n--\n\n"
     "Take every future out, and have each fail with an exception that make() returns for it."},
    {"pop", backlog_pop, METH_NOARGS,
     "pop($self, /)\n--\n\nTake the first future out; None: there is none."},
    {"remove", backlog_remove, METH_O,
     "remove($self, future, /)\n--\n\nTake a future out; return whether it was there."},
    {"futures", backlog_futures, METH_NOARGS,
     "futures($self, /)\n--\n\nAll, in the order in which they are handed on."},
    {NULL, NULL, 0, NULL},
};

/* Under the lock: other threads put and hand on meanwhile. */
static PyObject *get_number(PyObject *self, void *offset) {
    THREADS_LOCK(&of(self)->lock);
    Py_ssize_t number = *(const Py_ssize_t *)((const char *)self + (uintptr_t)offset);
    THREADS_UNLOCK(&of(self)->lock);
    return PyLong_FromSsize_t(number);
}

static PyGetSetDef backlog_getset[] = {
    {"window", get_number, NULL, "Tasks that workers may have before them.",
     (void *)offsetof(struct backlog, window)},
    {"submitted", get_number, NULL, "Calls that were put, ever.",
     (void *)offsetof(struct backlog, submitted)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot backlog_slots[] = {
    {Py_tp_doc, "Backlog(future_type, job_type, seats)\n--\n\nCalls that no worker may have yet."},
    {Py_tp_new, (void *)backlog_new},
    {Py_tp_dealloc, (void *)backlog_dealloc},
    {Py_tp_traverse, (void *)backlog_traverse},
    {Py_tp_clear, (void *)backlog_clear},
    {Py_tp_methods, backlog_methods},
    {Py_tp_getset, backlog_getset},
    {Py_sq_length, (void *)backlog_length},
    {0, NULL},
};

static PyType_Spec backlog_spec = {
    .name = "mproc._mproc.Backlog",
    .basicsize = sizeof(struct backlog),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = backlog_slots,
};

int backlog_add(PyObject *module) {
    return module_add_type(module, &backlog_spec, &module_state(module)->backlog_type, 1);
}
