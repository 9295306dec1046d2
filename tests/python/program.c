/*
 * program.c - the C side of tests/python/test_program.py
 *
 * SPDX-License-Identifier: MIT
 *
 * The first word of the command line says what it does with what it is given. It ends with 0; what
 * goes wrong is said on stderr, and ends it with 3.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mproc.h"

enum { TROUBLE = 3 };

static _Noreturn void fail(const char *what, int code, const mproc_value_reader *reader) {
    fprintf(stderr, "%s: %s: %s\n", what, mproc_strerror(code),
            reader != NULL ? mproc_value_reason(reader) : "");
    exit(TROUBLE);
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int r_ = (call);                                                                           \
        if (r_ != 0) {                                                                             \
            fail(#call, r_, reader_);                                                              \
        }                                                                                          \
    } while (0)

static const mproc_value_reader *reader_; /* whose reasons are said */

static void read_arguments(mproc_value_reader *args) {
    reader_ = args;
    TRY(mproc_child_values(args));
}

/* ---------------------------------------------------------------- echo */

static void copy_value(mproc_value_writer *out, const mproc_value *v) {
    switch (v->kind) {
    case MPROC_VALUE_NONE: TRY(mproc_value_write_none(out)); break;
    case MPROC_VALUE_BOOL: TRY(mproc_value_write_bool(out, (int)v->integer)); break;
    case MPROC_VALUE_INT: TRY(mproc_value_write_int(out, v->integer)); break;
    case MPROC_VALUE_UINT: TRY(mproc_value_write_uint(out, v->natural)); break;
    case MPROC_VALUE_FLOAT: TRY(mproc_value_write_float(out, v->number)); break;
    case MPROC_VALUE_TEXT: TRY(mproc_value_write_text(out, v->data, v->size)); break;
    case MPROC_VALUE_BYTES: TRY(mproc_value_write_bytes(out, v->data, v->size)); break;
    case MPROC_VALUE_LIST: TRY(mproc_value_write_list(out, v->count)); break;
    case MPROC_VALUE_TUPLE: TRY(mproc_value_write_tuple(out, v->count)); break;
    case MPROC_VALUE_MAP: TRY(mproc_value_write_map(out, v->count)); break;
    case MPROC_VALUE_ARRAY: TRY(mproc_value_write_array(out, &v->array)); break;
    default: exit(TROUBLE);
    }
}

/* What cannot be read goes back as the text of the reason. */
static void send_back(mproc_queue *queue, const mproc_message *message) {
    mproc_value_writer *out;
    mproc_value_reader in;
    mproc_value value;
    int r;
    reader_ = &in;
    TRY(mproc_value_writer_new(&out));
    mproc_value_read_message(&in, message);
    while ((r = mproc_value_next(&in, &value)) == 0) {
        copy_value(out, &value);
    }
    if (r != -ENODATA) {
        const char *reason = mproc_value_reason(&in);
        mproc_value_clear(out);
        TRY(mproc_value_write_text(out, reason, strlen(reason)));
    }
    TRY(mproc_value_put(out, queue, MPROC_FOREVER));
    mproc_value_writer_drop(out);
}

/* (queue, queue): what comes by the first goes into the second, to the end, which is None. */
static void echo(void) {
    mproc_value_reader args, in;
    mproc_queue *from, *to;
    read_arguments(&args);
    TRY(mproc_value_read_queue(&args, &from));
    TRY(mproc_value_read_queue(&args, &to));
    for (bool end = false; !end;) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        TRY(mproc_queue_get(from, &m, MPROC_FOREVER));
        mproc_value_read_message(&in, &m);
        end = mproc_value_read_none(&in) == 0;
        send_back(to, &m);
        mproc_message_drop(&m);
    }
}

/* ---------------------------------------------------------------- objects */

static void use_locks(mproc_value_reader *args) {
    mproc_lock *lock;
    mproc_rlock *rlock;
    TRY(mproc_value_read_lock(args, &lock));
    TRY(mproc_value_read_rlock(args, &rlock));
    TRY(mproc_lock_acquire(lock, MPROC_FOREVER));
    TRY(mproc_lock_release(lock));
    TRY(mproc_rlock_acquire(rlock, MPROC_FOREVER));
    TRY(mproc_rlock_release(rlock));
}

static void use_semaphores(mproc_value_reader *args) {
    mproc_semaphore *semaphore;
    mproc_bsemaphore *bounded;
    TRY(mproc_value_read_semaphore(args, &semaphore));
    TRY(mproc_value_read_bsemaphore(args, &bounded));
    TRY(mproc_semaphore_release(semaphore));
    TRY(mproc_bsemaphore_acquire(bounded, MPROC_FOREVER));
}

static void use_meetings(mproc_value_reader *args) {
    mproc_event *event;
    mproc_condition *condition;
    mproc_barrier *barrier;
    void *lock;
    TRY(mproc_value_read_event(args, &event));
    TRY(mproc_value_read_condition(args, &condition, &lock));
    TRY(mproc_value_read_barrier(args, &barrier));
    mproc_event_set(event);
    TRY(mproc_barrier_wait(barrier, MPROC_FOREVER, NULL));
    TRY(mproc_rlock_acquire(lock, MPROC_FOREVER));
    mproc_condition_notify_all(condition);
    TRY(mproc_rlock_release(lock));
}

/* Adds 1 to each number under the lock that came with them. */
static void count_up(mproc_value_reader *args) {
    mproc_array *array;
    mproc_rlock *lock;
    TRY(mproc_value_read_numbers(args, &array, &lock));
    if (lock != NULL) {
        TRY(mproc_rlock_acquire(lock, MPROC_FOREVER));
    }
    for (size_t i = 0; i < mproc_array_count(array); i++) {
        int32_t number;
        TRY(mproc_array_get(array, i, &number));
        number++;
        TRY(mproc_array_set(array, i, &number));
    }
    if (lock != NULL) {
        TRY(mproc_rlock_release(lock));
    }
}

static void use_memory(mproc_value_reader *args) {
    mproc_buffer *buffer;
    for (int i = 0; i < 3; i++) { /* an Array, a Value, a RawArray */
        count_up(args);
    }
    TRY(mproc_value_read_buffer(args, &buffer));
    memset(mproc_buffer_data(buffer), 'C', mproc_buffer_size(buffer));
}

/* Counts itself in the dict, puts the number 3 behind what is in the list, and itself into the set,
 * which has the text "P". */
static void use_containers(mproc_value_reader *args) {
    mproc_dict *dict;
    mproc_list *list;
    TRY(mproc_value_read_shared_dict(args, &dict));
    TRY(mproc_value_read_shared_list(args, &list));
    TRY(mproc_dict_add(dict,
                       "\xa1"
                       "C",
                       2, 1, NULL)); /* the text "C", as Python writes it */
    TRY(mproc_list_append(list, "\x03", 1));
    mproc_set *set;
    TRY(mproc_value_read_shared_set(args, &set));
    TRY(mproc_set_add(set,
                      "\xa1"
                      "C",
                      2));
    TRY(mproc_set_add(set,
                      "\xa1"
                      "P",
                      2) +
        EEXIST);
}

/* Every kind of object, and what is left is put into the queue, which came first. */
static void objects(void) {
    mproc_value_reader args;
    mproc_queue *queue;
    mproc_value_writer *out;
    mproc_value value;
    read_arguments(&args);
    TRY(mproc_value_read_queue(&args, &queue));
    use_locks(&args);
    use_semaphores(&args);
    use_memory(&args);
    use_containers(&args);
    use_meetings(&args);
    TRY(mproc_value_writer_new(&out));
    while (mproc_value_next(&args, &value) == 0) {
        copy_value(out, &value);
    }
    TRY(mproc_value_put(out, queue, MPROC_FOREVER));
    mproc_value_writer_drop(out);
}

/* ---------------------------------------------------------------- a member among others */

/* Adds 1 to both numbers under the lock. A member that died in between has left them unequal. */
static void count_both(mproc_lock *lock, mproc_array *array) {
    int64_t volatile *numbers = mproc_array_data(array);
    int r = mproc_lock_acquire(lock, MPROC_FOREVER);
    if (r == -EOWNERDEAD) {
        numbers[1] = numbers[0];
    } else {
        TRY(r);
    }
    numbers[0] = numbers[0] + 1;
    numbers[1] = numbers[1] + 1;
    TRY(mproc_lock_release(lock));
}

/* What chaos_mixed.py says of its members: (work, done, lock, numbers, hands, seat, name). */
static void member(void) {
    mproc_value_reader args, in;
    mproc_queue *work, *done;
    mproc_lock *lock;
    mproc_array *array, *hands;
    mproc_value_writer *out;
    int64_t number, seat, name;
    read_arguments(&args);
    TRY(mproc_value_read_queue(&args, &work));
    TRY(mproc_value_read_queue(&args, &done));
    TRY(mproc_value_read_lock(&args, &lock));
    TRY(mproc_value_read_numbers(&args, &array, NULL));
    TRY(mproc_value_read_numbers(&args, &hands, NULL));
    TRY(mproc_value_read_int(&args, &seat));
    TRY(mproc_value_read_int(&args, &name));
    int64_t volatile *hand = (int64_t *)mproc_array_data(hands) + seat;
    TRY(mproc_value_writer_new(&out));
    reader_ = &in;
    for (;;) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        TRY(mproc_queue_get(work, &m, MPROC_FOREVER));
        mproc_value_read_message(&in, &m);
        if (mproc_value_read_none(&in) == 0) {
            mproc_message_drop(&m);
            break;
        }
        TRY(mproc_value_read_int(&in, &number));
        *hand = number + 1;
        mproc_message_drop(&m);
        count_both(lock, array);
        TRY(mproc_value_write_tuple(out, 2));
        TRY(mproc_value_write_int(out, number));
        TRY(mproc_value_write_int(out, name));
        TRY(mproc_value_put(out, done, MPROC_FOREVER));
        *hand = 0;
    }
    mproc_value_writer_drop(out);
}

/* ---------------------------------------------------------------- Python's starter */

/* Starts `python -m mproc SCRIPT` with one object of each kind, and says what the script has put
 * into the queue. */
static void start(const char *python, const char *script) {
    const char *const argv[] = {python, "-m", "mproc", script, NULL};
    const mproc_value_array grid = {.type = 'f',
                                    .item_size = 8,
                                    .ndim = 1,
                                    .shape = {2},
                                    .data = (const double[]){1, 2},
                                    .size = 16};
    mproc_value_writer *args;
    mproc_queue *queue;
    mproc_lock *lock;
    mproc_rlock *rlock;
    mproc_semaphore *semaphore;
    mproc_bsemaphore *bounded;
    mproc_event *event;
    mproc_condition *condition;
    mproc_barrier *barrier;
    mproc_array *array;
    mproc_buffer *buffer;
    mproc_process *child;
    int code;
    TRY(mproc_queue_new(&queue, 5));
    TRY(mproc_lock_new(&lock, 0));
    TRY(mproc_rlock_new(&rlock));
    TRY(mproc_semaphore_new(&semaphore, 0));
    TRY(mproc_bsemaphore_new(&bounded, 2));
    TRY(mproc_event_new(&event));
    TRY(mproc_condition_new(&condition));
    TRY(mproc_barrier_new(&barrier, 1));
    TRY(mproc_array_new_raw(&array, MPROC_INT32, 3));
    TRY(mproc_buffer_new(&buffer, 100));
    void *const things[][2] = {{queue, NULL},   {lock, NULL},  {rlock, NULL},     {semaphore, NULL},
                               {bounded, NULL}, {event, NULL}, {condition, lock}, {barrier, NULL},
                               {array, rlock},  {array, NULL}, {buffer, NULL}};
    size_t n = sizeof things / sizeof *things;
    TRY(mproc_value_writer_new(&args));
    TRY(mproc_value_write_tuple(args, n + 2));
    for (size_t i = 0; i < n; i++) {
        TRY(mproc_value_write_object(args, things[i][0], things[i][1]));
    }
    TRY(mproc_value_write_text(args, "from C", 6));
    TRY(mproc_value_write_array(args, &grid));
    TRY(mproc_process_start_program(&child, argv, args, NULL));
    mproc_value_writer_drop(args);
    TRY(mproc_process_join(child, MPROC_FOREVER));
    TRY(mproc_process_exitcode(child, &code));
    if (code == 0) {
        mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
        mproc_value_reader in;
        const char *text;
        size_t size;
        int32_t number;
        TRY(mproc_queue_get(queue, &m, 0));
        mproc_value_read_message(&in, &m);
        reader_ = &in;
        TRY(mproc_value_read_text(&in, &text, &size));
        TRY(mproc_array_get(array, 2, &number));
        printf("%.*s %d %d %d %d %c\n", (int)size, text, number, mproc_event_is_set(event),
               (int)mproc_semaphore_value(semaphore), (int)mproc_bsemaphore_value(bounded),
               *(char *)mproc_buffer_data(buffer));
        mproc_message_drop(&m);
    }
    TRY(mproc_process_drop(child));
    for (size_t i = 0; i < n; i++) {
        if (i != 9) { /* the array stands twice */
            TRY(mproc_drop(things[i][0]));
        }
    }
    mproc_arena_stats stats;
    mproc_arena_stat(&stats);
    fprintf(stderr, "%d: %zu blocks\n", code, stats.blocks);
    exit(code);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "early") == 0) {
        abort();
    }
    int r = mproc_init(argc, argv);
    if (r != 0) {
        fprintf(stderr, "mproc_init: %s: %s\n", mproc_strerror(r), mproc_join_reason(r));
        return TROUBLE;
    }
    if (strcmp(what, "echo") == 0) {
        echo();
    } else if (strcmp(what, "objects") == 0) {
        objects();
    } else if (strcmp(what, "member") == 0) {
        member();
    } else if (strcmp(what, "start") == 0 && argc == 4) {
        start(argv[2], argv[3]);
    } else if (strcmp(what, "stay") == 0) {
        for (;;) {
            pause();
        }
    }
    return 0;
}
