/*
 * watch_fd.c - a descriptor for one operation on one object
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each is a watch with one request (watch.c), kept in a list of the process by object
 * and operation. Asking for it again gives the same descriptor, and arms it again.
 *
 * State: private to the process, under `lock`. `owner` is the token of the member whose list it is;
 * with CHANGING, a thread of that member is about to make the list its own: the first one in a
 * forked child gives back what it has inherited.
 *
 * If a member dies here: as watch.c says.
 */
#include <pthread.h>
#include <stdlib.h>

#include "core/object.h"
#include "core/token.h"
#include "system/os.h"
#include "ticket.h"
#include "watch.h"

#define CHANGING UINT64_C(0x80000000) /* a bit that tokens leave free */

struct entry {
    struct entry *next;
    void *object;
    mproc_watch_for what;
    mproc_watch *watch;
    int number;
};

static struct entry *entries;
static uint64_t owner;
static pthread_mutex_t lock;

static void forget_all(void) {
    while (entries != NULL) {
        struct entry *entry = entries;
        entries = entry->next;
        mproc_watch_drop(entry->watch);
        free(entry);
    }
}

static void enter(void) {
    uint64_t mine = mproc__self_token(), seen = mproc__load64(&owner); /* SYNC(watch_fd.owner) */
    while (seen != mine) {
        if (seen == (mine | CHANGING)) {
            mproc__os_yield();
            seen = mproc__load64(&owner);                          /* SYNC(watch_fd.owner) */
        } else if (mproc__cas64(&owner, &seen, mine | CHANGING)) { /* SYNC(watch_fd.owner) */
            pthread_mutex_init(&lock, NULL);
            forget_all();
            mproc__store64(&owner, mine); /* SYNC(watch_fd.owner): the list, before whose it is */
            seen = mine;
        }
    }
    pthread_mutex_lock(&lock);
}

static void leave(void) {
    pthread_mutex_unlock(&lock);
}

static struct entry **find(const void *object, mproc_watch_for what) {
    struct entry **at = &entries;
    while (*at != NULL && ((*at)->object != object || (*at)->what != what)) {
        at = &(*at)->next;
    }
    return at;
}

static struct entry **find_fd(int fd) {
    struct entry **at = &entries;
    while (*at != NULL && mproc_watch_fd((*at)->watch) != fd) {
        at = &(*at)->next;
    }
    return at;
}

static int make(void *object, mproc_watch_for what, struct entry **out) {
    struct entry *entry = calloc(1, sizeof *entry);
    int r = entry != NULL ? mproc_watch_new(&entry->watch) : -ENOMEM;
    if (r == 0) {
        entry->object = object;
        entry->what = what;
        entry->number = mproc_watch_add(entry->watch, object, what);
        r = entry->number < 0 ? entry->number : 0;
    }
    if (r != 0) {
        if (entry != NULL) {
            mproc_watch_drop(entry->watch);
        }
        free(entry);
        return r;
    }
    *out = entry;
    return 0;
}

/* What has come so far has been answered by the caller's tries. */
static int arm(const struct entry *entry) {
    while (mproc_watch_next(entry->watch) >= 0) {
    }
    int r = mproc__watch_arm_or_tell(entry->watch, entry->number);
    return r == 0 ? mproc_watch_fd(entry->watch) : r;
}

/* The entry for an operation, armed: its descriptor. Inside the lock. */
static int armed(void *object, mproc_watch_for what, struct entry ***at) {
    *at = find(object, what);
    int r = **at != NULL ? 0 : make(object, what, *at);
    return r == 0 ? arm(**at) : r;
}

static int fd_of(void *object, mproc_watch_for what) {
    struct entry **at;
    enter();
    int r = armed(object, what, &at);
    leave();
    return r;
}

int mproc_queue_fd(mproc_queue *queue, mproc_watch_for what) {
    if (!mproc__expect(queue, MPROC__KIND_QUEUE)) {
        return MPROC_EOTHER;
    }
    return fd_of(queue, what);
}

int mproc_lock_fd(mproc_lock *lock_) {
    return mproc__expect(lock_, MPROC__KIND_LOCK) ? fd_of(lock_, MPROC_WATCH_ACQUIRE)
                                                  : MPROC_EOTHER;
}

int mproc_semaphore_fd(mproc_semaphore *semaphore) {
    return mproc__expect(semaphore, MPROC__KIND_SEMAPHORE) ? fd_of(semaphore, MPROC_WATCH_ACQUIRE)
                                                           : MPROC_EOTHER;
}

int mproc_bsemaphore_fd(mproc_bsemaphore *semaphore) {
    return mproc__expect(semaphore, MPROC__KIND_BSEMAPHORE) ? fd_of(semaphore, MPROC_WATCH_ACQUIRE)
                                                            : MPROC_EOTHER;
}

int mproc_event_fd(mproc_event *event) {
    return mproc__expect(event, MPROC__KIND_EVENT) ? fd_of(event, MPROC_WATCH_WAIT) : MPROC_EOTHER;
}

int mproc_fd_drop(int fd) {
    if (mproc__table == NULL) {
        return -EBADF;
    }
    enter();
    struct entry **at = find_fd(fd), *entry = *at;
    if (entry != NULL) {
        *at = entry->next;
        mproc_watch_drop(entry->watch);
        free(entry);
    }
    leave();
    return entry != NULL ? 0 : -EBADF;
}

/* The object's descriptor, armed; readable at once if the ticket's wait was over by then. */
static int ticket_fd(void *object, const mproc_ticket *ticket,
                     bool (*over)(const void *object, const mproc_ticket *ticket)) {
    struct entry **at;
    enter();
    int r = armed(object, MPROC_WATCH_WAIT, &at);
    if (r >= 0 && *at != NULL && over(object, ticket)) {
        mproc__watch_tell((*at)->watch);
    }
    leave();
    return r;
}

static bool is_notified(const void *condition, const mproc_ticket *ticket) {
    return mproc_condition_notified(condition, ticket) == 1;
}

int mproc_condition_fd(mproc_condition *condition, const mproc_ticket *ticket) {
    int r = mproc__ticket_door(condition, MPROC__KIND_CONDITION, ticket);
    return r == 0 ? ticket_fd(condition, ticket, is_notified) : r;
}

static bool has_moved(const void *barrier, const mproc_ticket *ticket) {
    return mproc__barrier_moved(barrier, ticket);
}

int mproc_barrier_fd(mproc_barrier *barrier, const mproc_ticket *ticket) {
    int r = mproc__ticket_door(barrier, MPROC__KIND_BARRIER, ticket);
    return r == 0 ? ticket_fd(barrier, ticket, has_moved) : r;
}
