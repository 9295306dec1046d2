/*
 * watch.c - one descriptor for several things that a process waits for
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The descriptor is an epoll instance, which can itself be waited for. In it are a
 * socket, to which other members write when they ring one of the watch's bells (core/bell.c), and a
 * timer. A watch has requests: each is for one operation on one object, and has a bell. A request
 * that is armed is told of once. Its owner tries the operation then, and arms the request again if
 * that was in vain, so that nothing is written while nobody waits.
 *
 * The socket has an abstract address, so that members reach it however they were started.
 *
 * The timer. A member that is killed after its change and before its ring tells nobody. So while
 * requests are armed the watch ticks: the descriptor becomes readable each TICK, and the owner's
 * next mproc_watch_next() looks at all of them. This also is how the death of a lock's holder is
 * noticed, and of one who waits at a condition or a barrier. An event that was set, by a member
 * that was killed before it rang, and has been cleared by another one since, is told of then, too:
 * its count has changed.
 *
 * State: private to the process, and to one thread at a time. `token` is the member whose the watch
 * is: a forked child has a copy, which it can only drop. A request is `asked` from its arming until
 * it was told of.
 *
 * If a member dies here: its bells and holds go with it (core/bell.c, core/reaper.c).
 */
#include "watch.h"

#include <stdlib.h>

#include "core/handle.h"
#include "core/join.h"
#include "core/kinds.h"
#include "core/object.h"
#include "source.h"
#include "system/os.h"

#define TICK (250 * MPROC_MSEC)

struct request {
    struct mproc__source source; /* object NULL: the number is free */
    struct mproc__bell *bell;
    uint32_t moment; /* of the source, when it was armed */
    bool asked;
};

struct mproc_watch {
    uint32_t handle; /* MPROC__HANDLE_WATCH */
    uint32_t address_size;
    uint64_t token;
    int fd, socket, timer;
    int64_t due; /* of the next tick; MPROC_FOREVER: the timer is not set */
    struct request *requests;
    int room, next; /* next: the first one that mproc_watch_next() looks at */
    char address[MPROC__BELL_ADDRESS];
};

/* ---------------------------------------------------------------- life */

static void close_one(int fd) {
    if (fd >= 0) {
        mproc__os_close(fd);
    }
}

static void close_all(const mproc_watch *watch) {
    close_one(watch->fd);
    close_one(watch->socket);
    close_one(watch->timer);
}

static int keep(int *where, int fd) {
    *where = fd;
    return fd >= 0 ? 0 : fd;
}

static int open_all(mproc_watch *watch) {
    watch->fd = watch->socket = watch->timer = -1;
    int r = keep(&watch->socket, mproc__os_mailbox_new(watch->address, sizeof watch->address,
                                                       &watch->address_size));
    if (r == 0) {
        r = keep(&watch->timer, mproc__os_timer_new());
    }
    if (r == 0) {
        r = keep(&watch->fd, mproc__os_watch_new());
    }
    if (r == 0) {
        r = mproc__os_watch_add(watch->fd, watch->socket);
    }
    if (r == 0) {
        r = mproc__os_watch_add(watch->fd, watch->timer);
    }
    if (r != 0) {
        close_all(watch);
    }
    return r;
}

int mproc_watch_new(mproc_watch **out) {
    int r = mproc__family_need();
    mproc_watch *watch = r == 0 ? calloc(1, sizeof *watch) : NULL;
    if (watch == NULL) {
        return r != 0 ? r : -ENOMEM;
    }
    r = open_all(watch);
    if (r != 0) {
        free(watch);
        return r;
    }
    watch->handle = MPROC__HANDLE_WATCH;
    watch->token = mproc__self_token();
    watch->due = MPROC_FOREVER;
    *out = watch;
    return 0;
}

static bool is_ours(const mproc_watch *watch) {
    return watch->token == mproc__self_token();
}

/* A forked child has a hold of its own on the object, and the bell is its parent's. */
static void forget(const mproc_watch *watch, struct request *request) {
    if (request->source.object == NULL) {
        return;
    }
    if (is_ours(watch)) {
        mproc__bell_give(request->bell);
    }
    (void)mproc_drop(request->source.object);
    *request = (struct request){0};
}

void mproc_watch_drop(mproc_watch *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_WATCH)) {
        return;
    }
    for (int i = 0; i < owned->room; i++) {
        forget(owned, &owned->requests[i]);
    }
    close_all(owned);
    free(owned->requests);
    mproc__handle_wreck(owned);
    free(owned);
}

/* ---------------------------------------------------------------- requests */

static bool source_of(void *object, mproc_watch_for what, struct mproc__source *out) {
    if (mproc__object_is(object, MPROC__KIND_QUEUE) && what <= MPROC_WATCH_JOIN) {
        *out = mproc__queue_source(object, what);
    } else if (mproc__object_is(object, MPROC__KIND_EVENT) && what == MPROC_WATCH_WAIT) {
        *out = mproc__event_source(object);
    } else if (mproc__object_is(object, MPROC__KIND_CONDITION) && what == MPROC_WATCH_WAIT) {
        *out = mproc__condition_source(object);
    } else if (mproc__object_is(object, MPROC__KIND_BARRIER) && what == MPROC_WATCH_WAIT) {
        *out = mproc__barrier_source(object);
    } else if (mproc__object_is(object, MPROC__KIND_LOCK) && what == MPROC_WATCH_ACQUIRE) {
        *out = mproc__lock_source(object);
    } else if (mproc__object_is(object, MPROC__KIND_SEMAPHORE) && what == MPROC_WATCH_ACQUIRE) {
        *out = mproc__semaphore_source(object);
    } else if (mproc__object_is(object, MPROC__KIND_BSEMAPHORE) && what == MPROC_WATCH_ACQUIRE) {
        *out = mproc__bsemaphore_source(object);
    } else {
        return false;
    }
    return true;
}

/* The lowest free number. -ENOMEM. */
static int free_number(mproc_watch *watch) {
    int number = 0;
    while (number < watch->room && watch->requests[number].source.object != NULL) {
        number++;
    }
    if (number == watch->room) {
        int room = watch->room == 0 ? 1 : 2 * watch->room;
        struct request *more = realloc(watch->requests, (size_t)room * sizeof *more);
        if (more == NULL) {
            return -ENOMEM;
        }
        for (int i = watch->room; i < room; i++) {
            more[i] = (struct request){0};
        }
        watch->requests = more;
        watch->room = room;
    }
    return number;
}

static int door(const mproc_watch *watch) {
    if (!mproc__expect_handle(watch, MPROC__HANDLE_WATCH)) {
        return MPROC_EOTHER;
    }
    return is_ours(watch) ? 0 : MPROC_ESTRANGER;
}

int mproc_watch_fd(const mproc_watch *watch) {
    int r = door(watch);
    return r == 0 ? watch->fd : r;
}

int mproc_watch_add(mproc_watch *watch, void *object, mproc_watch_for what) {
    struct mproc__source source;
    struct mproc__bell *bell;
    int r = door(watch);
    if (r != 0 || !source_of(object, what, &source)) {
        return r != 0 ? r : -EINVAL;
    }
    int number = free_number(watch);
    r = number >= 0 ? mproc_hold(object) : number;
    if (r != 0) {
        return r;
    }
    r = mproc__bell_take(source.bells, watch->address, watch->address_size, &bell);
    if (r != 0) {
        (void)mproc_drop(object);
        return r;
    }
    watch->requests[number] = (struct request){source, bell, 0, false};
    return number;
}

static struct request *request_of(mproc_watch *watch, int number) {
    bool is = number >= 0 && number < watch->room && watch->requests[number].source.object != NULL;
    return is ? &watch->requests[number] : NULL;
}

int mproc_watch_remove(mproc_watch *watch, int number) {
    int r = door(watch);
    struct request *request = r == 0 ? request_of(watch, number) : NULL;
    if (request == NULL) {
        return r != 0 ? r : -EINVAL;
    }
    forget(watch, request);
    return 0;
}

/* ---------------------------------------------------------------- arming */

static void set_timer(mproc_watch *watch, int64_t due) {
    watch->due = due;
    (void)mproc__os_timer_set(watch->timer, due == MPROC_FOREVER ? -1 : due);
}

static uint32_t moment(const struct request *request) {
    return request->source.moment != NULL ? request->source.moment(request->source.object) : 0;
}

/* Or was since it was armed. */
static bool is_ready(const struct request *request) {
    const struct mproc__source *source = &request->source;
    bool now = source->ready != NULL && source->ready(source->object);
    return now || moment(request) != request->moment;
}

/* True: its operation would succeed now, and it is not armed. Otherwise whoever changes that from
 * now on rings. */
static bool arm(mproc_watch *watch, struct request *request) {
    if (watch->due == MPROC_FOREVER) {
        set_timer(watch, mproc__os_now() + TICK);
    }
    request->moment = moment(request);
    mproc__bell_arm(request->bell);
    if (request->source.announce != NULL) {
        request->source.announce(request->source.object);
    }
    request->asked = !is_ready(request) || !mproc__bell_disarm(request->bell);
    return !request->asked;
}

int mproc_watch_arm(mproc_watch *watch, int number) {
    int r = door(watch);
    struct request *request = r == 0 ? request_of(watch, number) : NULL;
    if (request == NULL) {
        return r != 0 ? r : -EINVAL;
    }
    return arm(watch, request);
}

int mproc_watch_disarm(mproc_watch *watch, int number) {
    int r = door(watch);
    struct request *request = r == 0 ? request_of(watch, number) : NULL;
    if (request == NULL) {
        return r != 0 ? r : -EINVAL;
    }
    (void)mproc__bell_disarm(request->bell);
    request->asked = false;
    return 0;
}

void mproc__watch_tell(const mproc_watch *watch) {
    int fd = watch->socket;
    mproc__os_mailbox_send(&fd, watch->address, watch->address_size);
}

int mproc__watch_arm_or_tell(mproc_watch *watch, int number) {
    int r = mproc_watch_arm(watch, number);
    if (r == 1) {
        mproc__watch_tell(watch);
    }
    return r < 0 ? r : 0;
}

/* ---------------------------------------------------------------- being told */

/* Nobody may be left to tell of what has happened: the requests whose operation would succeed are
 * told of as if somebody had. */
static void tick(mproc_watch *watch) {
    bool any = false;
    for (int i = 0; i < watch->room; i++) {
        struct request *request = &watch->requests[i];
        if (request->asked && request->source.tend != NULL) {
            request->source.tend(request->source.object);
        }
        if (request->asked && is_ready(request)) {
            (void)mproc__bell_disarm(request->bell);
        }
        any = any || request->asked;
    }
    set_timer(watch, any ? mproc__os_now() + TICK : MPROC_FOREVER);
}

static void begin_round(mproc_watch *watch) {
    mproc__os_mailbox_drain(watch->socket);
    if (watch->due != MPROC_FOREVER && mproc__os_now() >= watch->due) {
        tick(watch);
    }
}

int mproc_watch_next(mproc_watch *watch) {
    int r = door(watch);
    if (r != 0) {
        return r;
    }
    if (watch->next == 0) {
        begin_round(watch);
    }
    while (watch->next < watch->room) {
        struct request *request = &watch->requests[watch->next++];
        if (request->asked && !mproc__bell_armed(request->bell)) {
            request->asked = false;
            return watch->next - 1;
        }
    }
    watch->next = 0;
    return -EAGAIN;
}
