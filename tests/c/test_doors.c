/*
 * test_doors.c - every public function, given what it is not for
 *
 * SPDX-License-Identifier: MIT
 *
 * A table has a line for each function that takes an object or a handle (the header itself says
 * which those are). Each is called, in a child of its own, with an object of every other kind, with
 * one that is gone, with memory of the arena that is no object, and with private memory. Against a
 * debug build the child must end by an assertion; against a release build (test_doors_release) the
 * function must say no. Either way the family must be whole afterwards.
 */
#define _GNU_SOURCE
#include "made.h"
#include "manual.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- doors */

/* What a function that returns nothing says. */
#define NOTHING 0
#define OTHER MPROC_EOTHER

static char room[64];
static mproc_lock_holder holder;
static mproc_ticket held;
static mproc_message message;
static size_t ignored_size;
static uint64_t number;
static void *address;
static uint64_t ticket;
static mproc_task *task;
static mproc_task_error error;
static mproc_worker *worker;
static const mproc_value_array no_array = {.type = 'u', .item_size = 1};
static mproc_dict_snapshot *snapshot;
static mproc_dict_item item;
static mproc_list_snapshot *list_snapshot;
static mproc_inspect_totals totals;
static mproc_inspect_member_seen member_seen;
static mproc_inspect_object_seen object_seen;
static mproc_inspect_wait_seen wait_seen;

static int no_task(const void *in, size_t size, mproc_result *result) {
    (void)in, (void)size, (void)result;
    return 0;
}

static int no_update(void *arg, const mproc_message *old, mproc_dict_value *value) {
    (void)arg, (void)old, (void)value;
    return 0;
}

static int no_item(const void *in, void *out, void *context) {
    (void)in, (void)out, (void)context;
    return 0;
}

/* noun, function, what it says of a pointer `o` that is none, the call */
#define DOORS(X)                                                                                   \
    X(lock, any_thread, NOTHING, (mproc_lock_any_thread(o), 0))                                    \
    X(lock, acquire, OTHER, mproc_lock_acquire(o, 0))                                              \
    X(lock, release, OTHER, mproc_lock_release(o))                                                 \
    X(lock, rollback, OTHER, mproc_lock_rollback(o))                                               \
    X(lock, owner, NOTHING, (mproc_lock_owner(o, &holder), holder.pid))                            \
    X(lock, is_mine, 0, mproc_lock_is_mine(o))                                                     \
    X(lock, dead_owner, NOTHING, (mproc_lock_dead_owner(o, &holder), holder.pid))                  \
    X(lock, check, MPROC_ECORRUPT, mproc_lock_check(o, NULL, 0))                                   \
    X(rlock, acquire, OTHER, mproc_rlock_acquire(o, 0))                                            \
    X(rlock, release, OTHER, mproc_rlock_release(o))                                               \
    X(rlock, load, OTHER, mproc_rlock_load(o, 8, &number, room))                                   \
    X(rlock, store, OTHER, mproc_rlock_store(o, 8, &number, room))                                 \
    X(rlock, depth, 0, mproc_rlock_depth(o))                                                       \
    X(rlock, owner, NOTHING, (mproc_rlock_owner(o, &holder), holder.pid))                          \
    X(rlock, dead_owner, NOTHING, (mproc_rlock_dead_owner(o, &holder), holder.pid))                \
    X(rlock, check, MPROC_ECORRUPT, mproc_rlock_check(o, NULL, 0))                                 \
    X(semaphore, acquire, OTHER, mproc_semaphore_acquire(o, 0))                                    \
    X(semaphore, release, OTHER, mproc_semaphore_release(o))                                       \
    X(semaphore, value, 0, mproc_semaphore_value(o))                                               \
    X(semaphore, check, MPROC_ECORRUPT, mproc_semaphore_check(o, NULL, 0))                         \
    X(bsemaphore, acquire, OTHER, mproc_bsemaphore_acquire(o, 0))                                  \
    X(bsemaphore, release, OTHER, mproc_bsemaphore_release(o))                                     \
    X(bsemaphore, value, 0, mproc_bsemaphore_value(o))                                             \
    X(bsemaphore, bound, 0, mproc_bsemaphore_bound(o))                                             \
    X(bsemaphore, check, MPROC_ECORRUPT, mproc_bsemaphore_check(o, NULL, 0))                       \
    X(event, set, NOTHING, (mproc_event_set(o), 0))                                                \
    X(event, clear, NOTHING, (mproc_event_clear(o), 0))                                            \
    X(event, is_set, 0, mproc_event_is_set(o))                                                     \
    X(event, times, 0, (int)mproc_event_times(o))                                                  \
    X(event, wait, OTHER, mproc_event_wait(o, 0))                                                  \
    X(event, check, MPROC_ECORRUPT, mproc_event_check(o, NULL, 0))                                 \
    X(condition, wait, OTHER, mproc_condition_wait(o, things[LOCK].pointer, 0))                    \
    X(condition, notify, NOTHING, (mproc_condition_notify(o, 1), 0))                               \
    X(condition, notify_all, NOTHING, (mproc_condition_notify_all(o), 0))                          \
    X(condition, waiting, 0, mproc_condition_waiting(o))                                           \
    X(condition, begin, OTHER, mproc_condition_begin(o, &held))                                    \
    X(condition, notified, OTHER, mproc_condition_notified(o, &held))                              \
    X(condition, end, OTHER, mproc_condition_end(o, &held))                                        \
    X(condition, fd, OTHER, mproc_condition_fd(o, &held))                                          \
    X(condition, check, MPROC_ECORRUPT, mproc_condition_check(o, NULL, 0))                         \
    X(barrier, wait, OTHER, mproc_barrier_wait(o, 0, NULL))                                        \
    X(barrier, arrive, OTHER, mproc_barrier_arrive(o, 0, NULL))                                    \
    X(barrier, open, OTHER, mproc_barrier_open(o))                                                 \
    X(barrier, abort, NOTHING, (mproc_barrier_abort(o), 0))                                        \
    X(barrier, reset, NOTHING, (mproc_barrier_reset(o), 0))                                        \
    X(barrier, broken, 0, mproc_barrier_broken(o))                                                 \
    X(barrier, waiting, 0, mproc_barrier_waiting(o))                                               \
    X(barrier, parties, 0, mproc_barrier_parties(o))                                               \
    X(barrier, begin, OTHER, mproc_barrier_begin(o, 0, &held))                                     \
    X(barrier, try, OTHER, mproc_barrier_try(o, &held))                                            \
    X(barrier, end, OTHER, mproc_barrier_end(o, &held))                                            \
    X(barrier, fd, OTHER, mproc_barrier_fd(o, &held))                                              \
    X(barrier, check, MPROC_ECORRUPT, mproc_barrier_check(o, NULL, 0))                             \
    X(queue, put, OTHER, mproc_queue_put(o, "x", 1, 0))                                            \
    X(queue, putv, OTHER, mproc_queue_putv(o, NULL, 0, 0))                                         \
    X(queue, put_with, OTHER, mproc_queue_put_with(o, NULL, 0, NULL, 0, 0))                        \
    X(queue, get, OTHER, mproc_queue_get(o, &message, 0))                                          \
    X(queue, put_many, OTHER, mproc_queue_put_many(o, NULL, 0, &ignored_size, 0))                  \
    X(queue, get_many, OTHER, mproc_queue_get_many(o, &message, 0, &ignored_size, 0))              \
    X(queue, reserve, OTHER, mproc_queue_reserve(o, 10, &message))                                 \
    X(queue, commit, OTHER, mproc_queue_commit(o, &message, 0))                                    \
    X(queue, task_done, OTHER, mproc_queue_task_done(o))                                           \
    X(queue, join, OTHER, mproc_queue_join(o, 0))                                                  \
    X(queue, wait, OTHER, mproc_queue_wait(o, 0))                                                  \
    X(queue, count, 0, mproc_queue_count(o))                                                       \
    X(queue, shutdown, NOTHING, (mproc_queue_shutdown(o, 1), 0))                                   \
    X(queue, bound_bytes, OTHER, mproc_queue_bound_bytes(o, 1))                                    \
    X(queue, bytes, 0, (int)mproc_queue_bytes(o, NULL))                                            \
    X(queue, close, NOTHING, (mproc_queue_close(o), 0))                                            \
    X(queue, check, MPROC_ECORRUPT, mproc_queue_check(o, NULL, 0))                                 \
    X(channel, send, OTHER, mproc_channel_send(o, 0, -1, "x", 1))                                  \
    X(channel, sendv, OTHER, mproc_channel_sendv(o, 0, -1, NULL, 0))                               \
    X(channel, try_sendv, OTHER, mproc_channel_try_sendv(o, 0, -1, NULL, 0))                       \
    X(channel, send_with, OTHER, mproc_channel_send_with(o, 0, -1, NULL, 0, NULL, 0))              \
    X(channel, offers, NOTHING, mproc_channel_offers(o, 0, -1) == SIZE_MAX ? 0 : 1)                \
    X(channel, give, OTHER, mproc_channel_give(o, 0, NULL, 0, &ticket))                            \
    X(channel, given, 0, mproc_channel_given(o))                                                   \
    X(channel, fetch, OTHER, mproc_channel_fetch(o, 0, &message))                                  \
    X(channel, recv_message, OTHER, mproc_channel_recv_message(o, 0, -1, &message))                \
    X(channel, try_recv_message, OTHER, mproc_channel_try_recv_message(o, 0, -1, &message))        \
    X(channel, recv, OTHER, mproc_channel_recv(o, 0, -1, room, sizeof room, &ignored_size))        \
    X(channel, try_recv, OTHER,                                                                    \
      mproc_channel_try_recv(o, 0, -1, room, sizeof room, &ignored_size))                          \
    X(channel, poll, OTHER, mproc_channel_poll(o, 0, -1, 0))                                       \
    X(channel, look, OTHER, mproc_channel_look(o, 0, -1))                                          \
    X(channel, plain, OTHER, mproc_channel_plain(o, 0, -1))                                        \
    X(channel, leave, NOTHING, (mproc_channel_leave(o, 0), 0))                                     \
    X(channel, check, MPROC_ECORRUPT, mproc_channel_check(o, NULL, 0))                             \
    X(array, count, 0, mproc_array_count(o))                                                       \
    X(array, type, 0, mproc_array_type(o))                                                         \
    X(array, data, 0, mproc_array_data(o) != NULL)                                                 \
    X(array, lock, 0, mproc_array_lock(o) != NULL)                                                 \
    X(array, get, OTHER, mproc_array_get(o, 0, room))                                              \
    X(array, set, OTHER, mproc_array_set(o, 0, room))                                              \
    X(array, read, OTHER, mproc_array_read(o, 0, 1, room))                                         \
    X(array, write, OTHER, mproc_array_write(o, 0, 1, room))                                       \
    X(array, add, OTHER, mproc_array_add(o, 0, 1, NULL))                                           \
    X(array, exchange, OTHER, mproc_array_exchange(o, 0, 1, NULL))                                 \
    X(array, compare_exchange, OTHER, mproc_array_compare_exchange(o, 0, &(int64_t){0}, 1))        \
    X(array, check, MPROC_ECORRUPT, mproc_array_check(o, NULL, 0))                                 \
    X(dict, get, OTHER, mproc_dict_get(o, "k", 1, &message, NULL))                                 \
    X(dict, has, 0, mproc_dict_has(o, "k", 1))                                                     \
    X(dict, set, OTHER, mproc_dict_set(o, "k", 1, "v", 1))                                         \
    X(dict, insert, OTHER, mproc_dict_insert(o, "k", 1, "v", 1))                                   \
    X(dict, replace, OTHER, mproc_dict_replace(o, "k", 1, "v", 1, "w", 1))                         \
    X(dict, put, OTHER, mproc_dict_put(o, "k", 1, &(mproc_dict_value){0}, 0))                      \
    X(dict, delete, OTHER, mproc_dict_delete(o, "k", 1, MPROC_DICT_ANY))                           \
    X(dict, pop, OTHER, mproc_dict_pop(o, "k", 1, &message))                                       \
    X(dict, popitem, OTHER, mproc_dict_popitem(o, &message, &message))                             \
    X(dict, add, OTHER, mproc_dict_add(o, "k", 1, 1, NULL))                                        \
    X(dict, update, OTHER, mproc_dict_update(o, "k", 1, no_update, NULL))                          \
    X(dict, lock, OTHER, mproc_dict_lock(o, "k", 1, 0))                                            \
    X(dict, dead_owner, NOTHING, (mproc_dict_dead_owner(o, "k", 1, &holder), holder.pid))          \
    X(dict, unlock, OTHER, mproc_dict_unlock(o, "k", 1))                                           \
    X(dict, wait, OTHER, mproc_dict_wait(o, "k", 1, &number, 0))                                   \
    X(dict, count, 0, mproc_dict_count(o))                                                         \
    X(dict, clear, NOTHING, (mproc_dict_clear(o), 0))                                              \
    X(dict, snapshot_new, OTHER, mproc_dict_snapshot_new(&snapshot, o, 0))                         \
    X(dict, check, MPROC_ECORRUPT, mproc_dict_check(o, NULL, 0))                                   \
    /* A set is a dict. */                                                                         \
    X(dict, set_add, OTHER, mproc_set_add(o, "k", 1))                                              \
    X(dict, set_has, 0, mproc_set_has(o, "k", 1))                                                  \
    X(dict, set_remove, OTHER, mproc_set_remove(o, "k", 1))                                        \
    X(dict, set_pop, OTHER, mproc_set_pop(o, &message))                                            \
    X(dict, set_wait, OTHER, mproc_set_wait(o, "k", 1, &number, 0))                                \
    X(dict, set_count, 0, mproc_set_count(o))                                                      \
    X(dict, set_clear, NOTHING, (mproc_set_clear(o), 0))                                           \
    X(dict, set_snapshot_new, OTHER, mproc_set_snapshot_new(&snapshot, o))                         \
    X(dict, set_check, MPROC_ECORRUPT, mproc_set_check(o, NULL, 0))                                \
    X(snapshot, count, 0, mproc_dict_snapshot_count(o))                                            \
    X(snapshot, item, OTHER, mproc_dict_snapshot_item(o, 0, &item))                                \
    X(snapshot, drop, NOTHING, (mproc_dict_snapshot_drop(o), 0))                                   \
    X(list, get, OTHER, mproc_list_get(o, 0, &message, NULL))                                      \
    X(list, set, OTHER, mproc_list_set(o, 0, "v", 1))                                              \
    X(list, put, OTHER, mproc_list_put(o, 0, &(mproc_list_value){0}, MPROC_LIST_ANY))              \
    X(list, append, OTHER, mproc_list_append(o, "v", 1))                                           \
    X(list, insert, OTHER, mproc_list_insert(o, 0, "v", 1))                                        \
    X(list, insert_value, OTHER, mproc_list_insert_value(o, 0, &(mproc_list_value){0}))            \
    X(list, extend, OTHER, mproc_list_extend(o, NULL, 0))                                          \
    X(list, delete, OTHER, mproc_list_delete(o, 0, MPROC_LIST_ANY))                                \
    X(list, pop, OTHER, mproc_list_pop(o, 0, &message))                                            \
    X(list, assign, OTHER, mproc_list_assign(o, 0, 0, 1, NULL, 0))                                 \
    X(list, cut, OTHER, mproc_list_cut(o, 0, 0, 1))                                                \
    X(list, swap, OTHER, mproc_list_swap(o, 0, 0))                                                 \
    X(list, reverse, OTHER, mproc_list_reverse(o))                                                 \
    X(list, arrange, OTHER, mproc_list_arrange(o, NULL, 0, MPROC_LIST_ANY))                        \
    X(list, find, OTHER, mproc_list_find(o, "v", 1, 0, 1, &number))                                \
    X(list, count, 0, mproc_list_count(o))                                                         \
    X(list, clear, OTHER, mproc_list_clear(o))                                                     \
    X(list, snapshot_new, OTHER, mproc_list_snapshot_new(&list_snapshot, o, 0, 1, 1))              \
    X(list, check, MPROC_ECORRUPT, mproc_list_check(o, NULL, 0))                                   \
    X(list_snapshot, count, 0, mproc_list_snapshot_count(o))                                       \
    X(list_snapshot, version, 0, mproc_list_snapshot_version(o))                                   \
    X(list_snapshot, item, OTHER, mproc_list_snapshot_item(o, 0, &message))                        \
    X(list_snapshot, drop, NOTHING, (mproc_list_snapshot_drop(o), 0))                              \
    X(buffer, data, 0, mproc_buffer_data(o) != NULL)                                               \
    X(buffer, size, 0, mproc_buffer_size(o))                                                       \
    X(buffer, check, MPROC_ECORRUPT, mproc_buffer_check(o, NULL, 0))                               \
    X(view, data, 0, mproc_view_data(o) != NULL)                                                   \
    X(view, size, 0, mproc_view_size(o))                                                           \
    X(view, drop, NOTHING, (mproc_view_drop(o), 0))                                                \
    X(lock, fd, OTHER, mproc_lock_fd(o))                                                           \
    X(semaphore, fd, OTHER, mproc_semaphore_fd(o))                                                 \
    X(bsemaphore, fd, OTHER, mproc_bsemaphore_fd(o))                                               \
    X(event, fd, OTHER, mproc_event_fd(o))                                                         \
    X(queue, fd, OTHER, mproc_queue_fd(o, MPROC_WATCH_GET))                                        \
    X(watch, fd, OTHER, mproc_watch_fd(o))                                                         \
    X(watch, add, OTHER, mproc_watch_add(o, NULL, MPROC_WATCH_GET))                                \
    X(watch, arm, OTHER, mproc_watch_arm(o, 0))                                                    \
    X(watch, disarm, OTHER, mproc_watch_disarm(o, 0))                                              \
    X(watch, remove, OTHER, mproc_watch_remove(o, 0))                                              \
    X(watch, next, OTHER, mproc_watch_next(o))                                                     \
    X(watch, drop, NOTHING, (mproc_watch_drop(o), 0))                                              \
    X(process, launch, OTHER, mproc_process_launch(o, NULL, 0))                                    \
    X(process, pass, OTHER, mproc_process_pass(o, 0))                                              \
    X(process, pid, 0, mproc_process_pid(o))                                                       \
    X(process, sentinel, -1, mproc_process_sentinel(o))                                            \
    X(process, join, OTHER, mproc_process_join(o, 0))                                              \
    X(process, joined, 0, mproc_process_joined(o))                                                 \
    X(process, exitcode, OTHER, mproc_process_exitcode(o, &(int){0}))                              \
    X(process, signal, OTHER, mproc_process_signal(o, 0))                                          \
    X(process, terminate, OTHER, mproc_process_terminate(o))                                       \
    X(process, kill, OTHER, mproc_process_kill(o))                                                 \
    X(process, interrupt, OTHER, mproc_process_interrupt(o))                                       \
    X(process, drop, OTHER, mproc_process_drop(o))                                                 \
    X(template, pid, 0, mproc_template_pid(o))                                                     \
    X(template, drop, NOTHING, (mproc_template_drop(o), 0))                                        \
    X(shm, data, OTHER, mproc_shm_data(o, &address))                                               \
    X(shm, size, 0, mproc_shm_size(o))                                                             \
    X(shm, name, 0, mproc_shm_name(o)[0])                                                          \
    X(shm, fd, -1, mproc_shm_fd(o))                                                                \
    X(shm, drop, NOTHING, (mproc_shm_drop(o), 0))                                                  \
    X(shm, length, OTHER, mproc_shareable_list_length(o, &ignored_size))                           \
    X(shm, get, OTHER, mproc_shareable_list_get(o, 0, &(mproc_item){0}, NULL, 0))                  \
    X(shm, set, OTHER, mproc_shareable_list_set(o, 0, &(mproc_item){0}))                           \
    X(shm, room, OTHER, mproc_shareable_list_room(o, 0, &ignored_size))                            \
    X(shm, format, OTHER, mproc_shareable_list_format(o, 0, room))                                 \
    X(shm, list_check, OTHER, mproc_shareable_list_check(o, NULL, 0))                              \
    X(taskq, put, OTHER, mproc_taskq_put(o, NULL, 0, &ticket))                                     \
    X(taskq, collect, OTHER, mproc_taskq_collect(o, &message, &ticket, 0))                         \
    X(taskq, notify, OTHER, mproc_taskq_notify(o))                                                 \
    X(taskq, worker_died, OTHER, mproc_taskq_worker_died(o, 0, &ticket))                           \
    X(taskq, join, OTHER, mproc_taskq_join(o, 0))                                                  \
    X(taskq, take, OTHER, mproc_taskq_take(o, 0, &message, &ticket, 0))                            \
    X(taskq, finish, OTHER, mproc_taskq_finish(o, 0, NULL, 0))                                     \
    X(taskq, close, NOTHING, (mproc_taskq_close(o), 0))                                            \
    X(taskq, waiting, 0, mproc_taskq_waiting(o))                                                   \
    X(taskq, current, 0, mproc_taskq_current(o, 0, &ticket))                                       \
    X(taskq, check, MPROC_ECORRUPT, mproc_taskq_check(o, NULL, 0))                                 \
    X(pool, submit, OTHER, mproc_pool_submit(o, no_task, NULL, 0, NULL, &task))                    \
    X(pool, put, OTHER, mproc_pool_put(o, NULL, 0, NULL, &task))                                   \
    X(pool, put_part, OTHER, mproc_pool_put_part(o, NULL, 0, NULL, 0))                             \
    X(pool, put_parts, OTHER, mproc_pool_put_parts(o, NULL, 0, NULL, 0, &ignored_size))            \
    X(pool, map, OTHER, mproc_pool_map(o, no_item, NULL, 0, NULL, 0, 0, NULL))                     \
    X(pool, rank, OTHER, mproc_pool_rank(o, 1))                                                    \
    X(pool, collect, OTHER, mproc_pool_collect(o, 0))                                              \
    X(pool, notify, OTHER, mproc_pool_notify(o))                                                   \
    X(pool, note_wait, OTHER, mproc_pool_note_wait(o))                                             \
    X(pool, fd, OTHER, mproc_pool_fd(o))                                                           \
    X(pool, resize, OTHER, mproc_pool_resize(o, 1))                                                \
    X(pool, workers, 0, mproc_pool_workers(o, NULL, 0))                                            \
    X(pool, open, 0, mproc_pool_open(o))                                                           \
    X(pool, waiting, 0, mproc_pool_waiting(o))                                                     \
    X(pool, workplace, 0, mproc_pool_workplace(o) != NULL)                                         \
    X(pool, close, NOTHING, (mproc_pool_close(o), 0))                                              \
    X(pool, terminate, NOTHING, (mproc_pool_terminate(o), 0))                                      \
    X(pool, abandon, NOTHING, (mproc_pool_abandon(o), 0))                                          \
    X(pool, is_broken, 0, mproc_pool_is_broken(o))                                                 \
    X(pool, join, OTHER, mproc_pool_join(o, 0))                                                    \
    X(pool, drop, NOTHING, (mproc_pool_drop(o), 0))                                                \
    X(pool, check, MPROC_ECORRUPT, mproc_pool_check(o, NULL, 0))                                   \
    X(engine, nodes, 0, mproc_engine_nodes(o))                                                     \
    X(engine, workers, 0, mproc_engine_workers(o))                                                 \
    X(engine, drop, NOTHING, (mproc_engine_drop(o), 0))                                            \
    X(workplace, work, 125, mproc_pool_work(o, 0, NULL, NULL, 0))                                  \
    X(workplace, worker_join, OTHER, mproc_worker_join(&worker, o, 0))                             \
    X(task, wait, OTHER, mproc_task_wait(o, 0))                                                    \
    X(task, is_done, 0, mproc_task_is_done(o))                                                     \
    X(task, result, OTHER, mproc_task_result(o, NULL, NULL))                                       \
    X(task, buffer, 0, mproc_task_buffer(o, 0) != NULL)                                            \
    X(task, failure, NOTHING, (mproc_task_failure(o, &error), error.code))                         \
    X(task, cancel, OTHER, mproc_task_cancel(o))                                                   \
    X(task, kill, OTHER, mproc_task_kill(o))                                                       \
    X(task, drop, NOTHING, (mproc_task_drop(o), 0))                                                \
    X(task, any, OTHER, mproc_task_wait_any((mproc_task *const *)&o, 1, 0, &ignored_size))         \
    X(task, all, OTHER, mproc_task_wait_all((mproc_task *const *)&o, 1, 0))                        \
    X(worker, take, OTHER, mproc_worker_take(o, (const void **)&address, &ignored_size, 0))        \
    X(worker, finish, OTHER, mproc_worker_finish(o, 0, NULL, 0))                                   \
    X(worker, finish_with, OTHER, mproc_worker_finish_with(o, NULL, 0, NULL, 0))                   \
    X(worker, buffer, 0, mproc_worker_buffer(o, 0) != NULL)                                        \
    X(worker, is_traced, 0, mproc_worker_is_traced(o))                                             \
    X(worker, runs, NOTHING, (mproc_worker_runs(o, "f"), 0))                                       \
    X(worker, fails, NOTHING, (mproc_worker_fails(o), 0))                                          \
    X(worker, done, 0, mproc_worker_done(o))                                                       \
    X(worker, drop, NOTHING, (mproc_worker_drop(o), 0))                                            \
    X(writer, none, OTHER, mproc_value_write_none(o))                                              \
    X(writer, bool, OTHER, mproc_value_write_bool(o, 1))                                           \
    X(writer, int, OTHER, mproc_value_write_int(o, -1000))                                         \
    X(writer, uint, OTHER, mproc_value_write_uint(o, 1))                                           \
    X(writer, float, OTHER, mproc_value_write_float(o, 1))                                         \
    X(writer, text, OTHER, mproc_value_write_text(o, "x", 1))                                      \
    X(writer, bytes, OTHER, mproc_value_write_bytes(o, "x", 1))                                    \
    X(inspection, total, NOTHING, (mproc_inspect_total(o, &totals), 0))                            \
    X(inspection, member, OTHER, mproc_inspect_member(o, 0, &member_seen))                         \
    X(inspection, object, OTHER, mproc_inspect_object(o, 0, &object_seen))                         \
    X(inspection, holder, OTHER, mproc_inspect_holder(o, 0, 0))                                    \
    X(inspection, wait, OTHER, mproc_inspect_wait(o, 0, &wait_seen))                               \
    X(inspection, words, OTHER, mproc_inspect_words(o, 0, room, sizeof room))                      \
    X(inspection, drop, NOTHING, (mproc_inspect_drop(o), 0))                                       \
    X(stack, check, MPROC_ECORRUPT, mproc_stack_check(o, NULL, 0))                                 \
    X(writer, list, OTHER, mproc_value_write_list(o, 1))                                           \
    X(writer, tuple, OTHER, mproc_value_write_tuple(o, 1))                                         \
    X(writer, map, OTHER, mproc_value_write_map(o, 1))                                             \
    X(writer, array, OTHER, mproc_value_write_array(o, &no_array))                                 \
    X(writer, object, OTHER, mproc_value_write_object(o, things[QUEUE].pointer, NULL))             \
    X(writer, written, OTHER, mproc_value_written(o, (const void **)&address, &ignored_size))      \
    X(writer, put, OTHER, mproc_value_put(o, things[QUEUE].pointer, 0))                            \
    X(writer, clear, NOTHING, (mproc_value_clear(o), 0))                                           \
    X(writer, drop, NOTHING, (mproc_value_writer_drop(o), 0))

/* Functions of the same form that are tested elsewhere. */
static const char *const elsewhere[] = {
    "mproc_lock_save",      /* here, below: release builds do not look */
    "mproc_message_buffer", /* as the next two */
    "mproc_message_object", /* as the next one */
    "mproc_message_drop",   /* a message is the caller's own structure; what it names is dropped */
    "mproc_hold",           /* test_object.c, as the next four: they take any pointer */
    "mproc_drop",           "mproc_holds",           "mproc_held_elsewhere", "mproc_hold_for",
    "mproc_name", /* test_label.c, as the next two */
    "mproc_name_of",        "mproc_origin_of",       "mproc_free", /* test_heap.c */
    "mproc_in_arena",                                              /* any pointer */
    "mproc_copy",                                                  /* any memory */
    "mproc_strerror",                                              /* a number */
    "mproc_type_size",                                             /* a number */
    "mproc_dict_number",                                           /* any bytes */
    "mproc_result_write", /* a task's function has it from the library, and only while it runs */
    "mproc_result_room",    "mproc_task_error_text", /* the caller's own structure */
};

/* ---------------------------------------------------------------- what is given */

enum kind {
    LOCK,
    RLOCK,
    SEMAPHORE,
    BSEMAPHORE,
    EVENT,
    CONDITION,
    BARRIER,
    QUEUE,
    CHANNEL,
    ARRAY,
    DICT,
    SNAPSHOT,
    LIST,
    LIST_SNAPSHOT,
    BUFFER,
    TASKQ,
    MESSAGE,
    PROCESS,
    TEMPLATE,
    SHM,
    POOL,
    WORKPLACE,
    VIEW,
    WATCH,
    TASK,
    WORKER,
    WRITER,
    INSPECTION,
    STACK,
    ENGINE,
    BLOCK,   /* memory of the arena */
    INSIDE,  /* an address inside of an object */
    PRIVATE, /* memory of this process */
    GONE,    /* an object of the function's own kind that has been dropped */
    THINGS
};

static struct thing {
    const char *noun;
    void *pointer;
    void *gone; /* the address of one that was dropped */
} things[THINGS] = {
    [LOCK] = {"lock", NULL, NULL},
    [RLOCK] = {"rlock", NULL, NULL},
    [SEMAPHORE] = {"semaphore", NULL, NULL},
    [BSEMAPHORE] = {"bsemaphore", NULL, NULL},
    [EVENT] = {"event", NULL, NULL},
    [CONDITION] = {"condition", NULL, NULL},
    [BARRIER] = {"barrier", NULL, NULL},
    [QUEUE] = {"queue", NULL, NULL},
    [CHANNEL] = {"channel", NULL, NULL},
    [ARRAY] = {"array", NULL, NULL},
    [DICT] = {"dict", NULL, NULL},
    [SNAPSHOT] = {"snapshot", NULL, NULL},
    [LIST] = {"list", NULL, NULL},
    [LIST_SNAPSHOT] = {"list_snapshot", NULL, NULL},
    [BUFFER] = {"buffer", NULL, NULL},
    [TASKQ] = {"taskq", NULL, NULL},
    [MESSAGE] = {"message", NULL, NULL},
    [PROCESS] = {"process", NULL, NULL},
    [TEMPLATE] = {"template", NULL, NULL},
    [SHM] = {"shm", NULL, NULL},
    [POOL] = {"pool", NULL, NULL},
    [WORKPLACE] = {"workplace", NULL, NULL},
    [VIEW] = {"view", NULL, NULL},
    [WATCH] = {"watch", NULL, NULL},
    [TASK] = {"task", NULL, NULL},
    [WORKER] = {"worker", NULL, NULL},
    [WRITER] = {"writer", NULL, NULL},
    [INSPECTION] = {"inspection", NULL, NULL},
    [STACK] = {"stack", NULL, NULL},
    [ENGINE] = {"engine", NULL, NULL},
    [BLOCK] = {"block of the arena", NULL, NULL},
    [INSIDE] = {"address inside of an object", NULL, NULL},
    [PRIVATE] = {"private memory", NULL, NULL},
    [GONE] = {"dropped one", NULL, NULL},
};

static void *made_message(void) {
    mproc_message m;
    CHECK_OK(mproc_queue_reserve(things[QUEUE].pointer, 100, &m));
    return m.block;
}

static void *made_snapshot(void) {
    mproc_dict_snapshot *made = NULL;
    CHECK_OK(mproc_dict_snapshot_new(&made, things[DICT].pointer, 1));
    return made;
}

static void *made_list_snapshot(void) {
    mproc_list_snapshot *made = NULL;
    CHECK_OK(mproc_list_snapshot_new(&made, things[LIST].pointer, 0, INT64_MAX, 1));
    return made;
}

static void *made_view(void) {
    mproc_view *made = NULL;
    mproc_buffer *buffer = made_buffer(100);
    CHECK_OK(mproc_view_new(&made, buffer));
    mproc_drop(buffer);
    return made;
}

static void *made_watch(void) {
    mproc_watch *made = NULL;
    CHECK_OK(mproc_watch_new(&made));
    return made;
}

static void *made_process(void) {
    mproc_process *process = NULL;
    CHECK_OK(mproc_process_prepare(&process, NULL));
    return process;
}

static void *made_template(void) {
    static const char *const program[] = {"/bin/cat", NULL}; /* nobody asks it for anything */
    mproc_process_options o = {.argv = program};
    mproc_template *one = NULL;
    CHECK_OK(mproc_template_new(&one, &o));
    return one;
}

static void *made_shm(void) {
    mproc_shm *shm = NULL;
    CHECK_OK(mproc_shm_create(&shm, NULL, 100, NULL));
    return shm;
}

static void *made_pool(void) {
    mproc_pool *pool = NULL;
    CHECK_OK(mproc_pool_new(&pool, &(mproc_pool_options){.workers = 1}));
    return pool;
}

/* It outlives its pool, since it is held. */
static void *made_workplace(void) {
    mproc_pool *pool = made_pool();
    mproc_workplace *place = mproc_pool_workplace(pool);
    CHECK_OK(mproc_hold(place));
    mproc_pool_drop(pool);
    return place;
}

static void *made_task(void) {
    mproc_task *made = NULL;
    CHECK_OK(mproc_pool_submit(things[POOL].pointer, no_task, NULL, 0, NULL, &made));
    CHECK_OK(mproc_task_wait(made, MPROC_FOREVER));
    return made;
}

static void *made_worker(void) {
    static unsigned seat = 10;
    mproc_worker *made = NULL;
    CHECK_OK(mproc_worker_join(&made, things[WORKPLACE].pointer, seat++));
    return made;
}

static void *made_channel(void) {
    int ends[2];
    mproc_channel *made = NULL;
    CHECK_OK(mproc_channel_new(&made, ends, 1));
    close(ends[0]);
    close(ends[1]);
    return made;
}

static void *made_inspection(void) {
    mproc_inspection *made = NULL;
    CHECK_OK(mproc_inspect_new(&made, 0));
    return made;
}

static void *made_writer(void) {
    mproc_value_writer *made = NULL;
    CHECK_OK(mproc_value_writer_new(&made));
    return made;
}

static void *make(enum kind kind) {
    switch (kind) {
    case LOCK: return made_lock(2);
    case RLOCK: return made_rlock();
    case SEMAPHORE: return made_semaphore(1);
    case BSEMAPHORE: return made_bsemaphore(1);
    case EVENT: return made_event();
    case CONDITION: return made_condition();
    case BARRIER: return made_barrier(1);
    case QUEUE: return made_queue(0);
    case CHANNEL: return made_channel();
    case ARRAY: return made_array(MPROC_INT64, 4);
    case DICT: return made_dict();
    case SNAPSHOT: return made_snapshot();
    case LIST: return made_list();
    case LIST_SNAPSHOT: return made_list_snapshot();
    case BUFFER: return made_buffer(100);
    case VIEW: return made_view();
    case WATCH: return made_watch();
    case TASKQ: return made_taskq(2);
    case MESSAGE: return made_message();
    case PROCESS: return made_process();
    case TEMPLATE: return made_template();
    case SHM: return made_shm();
    case POOL: return made_pool();
    case WORKPLACE: return made_workplace();
    case TASK: return made_task();
    case WORKER: return made_worker();
    case WRITER: return made_writer();
    case STACK: return made_stack("take (shop.py:12)");
    case INSPECTION: return made_inspection();
    case ENGINE: return made_engine();
    default: return mproc_calloc(1, 4096);
    }
}

static void unmake(enum kind kind, void *owned) {
    switch (kind) {
    case PROCESS: CHECK_OK(mproc_process_drop(owned)); break;
    case TEMPLATE: mproc_template_drop(owned); break;
    case SHM:
        CHECK_OK(mproc_shm_unlink(mproc_shm_name(owned)));
        mproc_shm_drop(owned);
        break;
    case POOL: mproc_pool_drop(owned); break;
    case TASK: mproc_task_drop(owned); break;
    case SNAPSHOT: mproc_dict_snapshot_drop(owned); break;
    case LIST_SNAPSHOT: mproc_list_snapshot_drop(owned); break;
    case VIEW: mproc_view_drop(owned); break;
    case WATCH: mproc_watch_drop(owned); break;
    case WORKER: mproc_worker_drop(owned); break;
    case WRITER: mproc_value_writer_drop(owned); break;
    case INSPECTION: mproc_inspect_drop(owned); break;
    case ENGINE: mproc_engine_drop(owned); break;
    case BLOCK: mproc_free(owned); break;
    default: CHECK_OK(mproc_drop(owned));
    }
}

static void make_all(void) {
    static uint64_t private[512];
    for (enum kind k = LOCK; k <= BLOCK; k++) {
        things[k].pointer = make(k);
        CHECK(things[k].pointer != NULL);
    }
    for (enum kind k = LOCK; k < BLOCK; k++) { /* later: or they would get the same addresses */
        things[k].gone = make(k);
        unmake(k, things[k].gone);
    }
    things[INSIDE].pointer = (char *)things[QUEUE].pointer + 8;
    things[PRIVATE].pointer = private;
}

static void unmake_all(void) {
    for (enum kind k = BLOCK + 1; k-- > LOCK;) {
        unmake(k, things[k].pointer);
    }
}

/* ---------------------------------------------------------------- the table */

struct door {
    const char *noun;
    const char *name;
    long long refusal;
    long long (*call)(void *o);
};

#define DOOR_FUNCTION(noun, verb, refusal, expression)                                             \
    static long long call_##noun##_##verb(void *o) {                                               \
        return (long long)(expression);                                                            \
    }
DOORS(DOOR_FUNCTION)

#define DOOR_LINE(noun, verb, refusal, expression)                                                 \
    {#noun, #expression, refusal, call_##noun##_##verb},
static const struct door doors[] = {DOORS(DOOR_LINE)};

#define DOOR_COUNT (sizeof doors / sizeof *doors)

/* Does the line call that function? */
static bool calls(const struct door *door, const char *function) {
    const char *at = strstr(door->name, function);
    return at != NULL && at[strlen(function)] == '(';
}

static bool is_elsewhere(const char *function) {
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        if (strcmp(elsewhere[i], function) == 0) {
            return true;
        }
    }
    return false;
}

/* A noun of the library, or anything at all. */
static bool takes_an_object(const struct manual_function *f) {
    return strstr(f->first, "mproc_") != NULL && strchr(f->first, '*') != NULL &&
           strstr(f->first, "**") == NULL && strstr(f->first, "options") == NULL &&
           strstr(f->first, "mproc_member ") == NULL && strstr(f->first, "stats") == NULL &&
           strstr(f->first, "hooks") == NULL && strstr(f->first, "value_reader") == NULL &&
           strstr(f->first, "value_array") == NULL && strstr(f->first, "restarts") == NULL;
}

TEST(doors_are_those_of_the_header) {
    struct manual *m = manual_read();
    size_t found = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct manual_function *f = &m->functions[i];
        bool listed = is_elsewhere(f->name);
        for (size_t d = 0; !listed && d < DOOR_COUNT; d++) {
            listed = calls(&doors[d], f->name);
            found += listed;
        }
        if (takes_an_object(f) && !listed) {
            test_fail(__FILE__, __LINE__, "%s(%s ...) has no line here", f->name, f->first);
        }
    }
    CHECK_EQ(found, DOOR_COUNT);
    manual_drop(m);
}

/* ---------------------------------------------------------------- going through them */

/* What became of the call: its result, or the signal that ended the child. */
static long long attempt(const struct door *door, void *pointer, int *by_signal) {
    long long *result = mproc_calloc(1, sizeof *result);
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        if (freopen("/dev/null", "w", stderr) == NULL || setrlimit(RLIMIT_CORE, &no_core) != 0) {
            _exit(1);
        }
        *result = door->call(pointer);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    *by_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    long long r = *result;
    mproc_free(result);
    return r;
}

static bool asserts(const struct door *door) {
#ifdef NDEBUG
    (void)door;
    return false;
#else
    return strstr(door->name, "_check(") == NULL ||
           strstr(door->name, "shareable_list_check(") != NULL;
#endif
}

static void refuse(const struct door *door, enum kind kind, void *pointer) {
    int by_signal, wanted = asserts(door) ? SIGABRT : 0;
    long long r = attempt(door, pointer, &by_signal);
    if (by_signal != wanted || (by_signal == 0 && r != door->refusal)) {
        test_fail(__FILE__, __LINE__, "%s of a %s: %lld, signal %d", door->name, things[kind].noun,
                  r, by_signal);
    }
}

static void check_family(const struct door *door) {
    char why[200] = "";
    mproc_reap();
    if (mproc_arena_check(why, sizeof why) != 0 || mproc_member_check(why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "after %s: %s", door->name, why);
    }
}

/* A handle that is gone is memory of malloc(), which a sanitizer does not let be looked at. */
static bool may_look(const struct thing *own) {
#if TEST_ASAN
    return mproc_in_arena(own->gone);
#else
    return own->gone != NULL;
#endif
}

static void try_door(const struct door *door) {
    const struct thing *own = NULL;
    for (enum kind k = LOCK; k < GONE; k++) {
        if (strcmp(things[k].noun, door->noun) == 0) {
            own = &things[k];
        } else {
            refuse(door, k, things[k].pointer);
        }
    }
    CHECK(own != NULL);
    if (may_look(own)) {
        refuse(door, GONE, own->gone);
    }
    check_family(door);
}

static void try_some(size_t part) {
    CHECK_OK(mproc_init(0, NULL));
    make_all();
    for (size_t i = part; i < DOOR_COUNT; i += 2) {
        try_door(&doors[i]);
    }
    unmake_all();
}

TEST_BARE(doors_keep_others_out) {
    try_some(0);
}

TEST_BARE(doors_keep_others_out_as_well) {
    try_some(1);
}

/* ---------------------------------------------------------------- words that cannot be saved */

struct bank {
    mproc_lock *lock;
    uint64_t word;
};

/* Saves a word of its own memory, as only a release build lets it, and dies with the lock. */
static void save_private_and_die(struct bank *bank) {
    static uint64_t private = 7;
    CHECK_OK(mproc_lock_acquire(bank->lock, 0));
    CHECK_OK(mproc_lock_save(bank->lock, &bank->word));
    CHECK_OK(mproc_lock_save(bank->lock, &private));
    CHECK_OK(mproc_lock_save(bank->lock, (char *)&bank->word + 4));
    bank->word = 5;
    raise(SIGKILL);
}

/* Whoever takes the lock over puts back what can be, and is not led astray by the rest. */
TEST(doors_of_the_undo_record) {
    struct bank *bank = mproc_calloc(1, sizeof *bank);
    int status;
    bank->lock = made_lock(4);
    bank->word = 3;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(1);
        }
        save_private_and_die(bank);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
#ifdef NDEBUG
    CHECK_EQ(WTERMSIG(status), SIGKILL);
#else
    CHECK_EQ(WTERMSIG(status), SIGABRT);
#endif
    CHECK_EQ(mproc_lock_acquire(bank->lock, MPROC_FOREVER), -EOWNERDEAD);
    CHECK_EQ(bank->word, 3);
    CHECK_OK(mproc_lock_release(bank->lock));
    CHECK_OK(mproc_lock_check(bank->lock, NULL, 0));
    CHECK_OK(mproc_drop(bank->lock));
    mproc_free(bank);
    mproc_reap();
}

/* ---------------------------------------------------------------- what release builds ignore */

#ifdef NDEBUG
TEST(doors_of_the_heap) {
    char private[64];
    void *small = mproc_alloc(48), *other = mproc_alloc(48), *large = mproc_alloc(200000);
    mproc_free(small);
    mproc_free(small);
    mproc_free(private);
    mproc_free(large);
    mproc_free(large);
    CHECK_OK(mproc_arena_check(NULL, 0));
    void *again = mproc_alloc(48), *more = mproc_alloc(48);
    CHECK(again != more && again != other && more != other);
    mproc_free(again);
    mproc_free(more);
    mproc_free(other);
    CHECK_OK(mproc_arena_check(NULL, 0));
}

TEST(doors_of_drop) {
    static _Alignas(16) char private[256];
    mproc_lock *lock = made_lock(0), *kept = made_lock(0);
    void *block = mproc_calloc(1, 256);
    CHECK_OK(mproc_drop(lock));
    CHECK_EQ(mproc_drop(lock), -EINVAL);
    CHECK_EQ(mproc_drop(private), -EINVAL);
    CHECK_EQ(mproc_drop(block), -EINVAL);
    CHECK_EQ(mproc_drop((char *)kept + 8), -EINVAL);
    CHECK_EQ(mproc_holds(kept), 1);
    CHECK_OK(mproc_drop(kept));
    mproc_free(block);
    CHECK_OK(mproc_member_check(NULL, 0));
    CHECK_OK(mproc_arena_check(NULL, 0));
}
#endif
