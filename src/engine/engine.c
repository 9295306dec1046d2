/*
 * engine.c - workers on several machines: what the program sees of them
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. Each machine runs the program. mproc_engine_new() starts a carrier there
 * (carrier.c), which starts an agent (agent.c), and learns from the transport which rank the
 * machine has. With rank 0 the program goes on; with another one it waits until its carrier ends,
 * and exits. So on each machine there are these processes, each a child of the one before it:
 *
 *     the program - its carrier - its agent - the agent's workers
 *
 * A task of a pool on the engine: owner -> task queue -> carrier 0 -> transport -> carrier n ->
 * queue -> agent n -> task queue -> worker; and its result back the same way. On the machine of
 * rank 0 the transport is left out. The pool's half is pool/engine.c.
 *
 * Private state: struct mproc_engine, the owner's; `lock` guards the count of pools only. The
 * engines of a process are in a list, for exit().
 *
 * If a carrier dies here: pool/engine.c says what that does to pools. If the owner dies, its
 * carrier does, and the other machines hear no more of it.
 */
#include "pool/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/inside.h"
#include "process/process.h"
#include "system/os.h"

#define PATIENCE (30 * MPROC_SEC)
#define SILENCE (20 * MPROC_SEC)
#define QUIT_MOST (15 * MPROC_SEC) /* that the carrier has to end */

static pthread_mutex_t engines_lock = PTHREAD_MUTEX_INITIALIZER;
static mproc_engine *engines;

/* ---------------------------------------------------------------- making */

static int make_ways(mproc_engine *engine) {
    int r = mproc_queue_new(&engine->orders, 0);
    r = r == 0 ? mproc_queue_new(&engine->news, 0) : r;
    r = r == 0 ? mproc_queue_new(&engine->down, 0) : r;
    return r == 0 ? mproc_queue_new(&engine->up, 0) : r;
}

static void free_engine(mproc_engine *engine) {
    if (mproc__family != NULL) {
        mproc_drop(engine->orders);
        mproc_drop(engine->news);
        mproc_drop(engine->down);
        mproc_drop(engine->up);
    }
    pthread_mutex_destroy(&engine->lock);
    mproc__handle_wreck(engine);
    free(engine);
}

static int start_carrier(mproc_engine *engine, const char *name,
                         const mproc_engine_options *options) {
    struct mproc__carrier_arg arg = {
        .ways = {engine->orders, engine->news, engine->down, engine->up},
        .patience = options->patience != 0 ? options->patience : PATIENCE,
        .silence = options->silence != 0 ? options->silence : SILENCE};
    const mproc_process_options how = {.name = "mproc-carrier"};
    memcpy(arg.name, name, strnlen(name, sizeof arg.name - 1));
    return mproc_process_start(&engine->carrier, mproc__carrier_main, &arg, sizeof arg, &how);
}

static void end_carrier(mproc_engine *engine, int64_t patience) {
    if (engine->carrier != NULL) {
        mproc__process_finish(engine->carrier, patience);
        (void)mproc_process_drop(engine->carrier);
    }
}

/* The carrier says once how its beginning went, or has ended without a word. */
static int hear(mproc_engine *engine, struct mproc__engine_news *news) {
    mproc_message message = MPROC_MESSAGE_INIT(news, sizeof *news);
    int r = -ETIMEDOUT, code;
    while (r == -ETIMEDOUT || r == -EINTR) {
        bool ended = mproc__engine_has_ended(engine, &code);
        r = mproc_queue_get(engine->news, &message, ended ? 0 : 100 * MPROC_MSEC);
        if (ended && r == -ETIMEDOUT) {
            snprintf(news->why, sizeof news->why, "its carrier has ended with %d", code);
            return MPROC_EENGINE;
        }
    }
    return r == 0 ? news->code : r;
}

/* A rank that is not 0 is a node until the engine ends. */
static void serve_and_exit(mproc_engine *engine) {
    int code = 1;
    while (mproc_process_join(engine->carrier, MPROC_FOREVER) == -EINTR) {
    }
    int r = mproc_process_exitcode(engine->carrier, &code);
    exit(r == 0 && code == 0 ? 0 : 1);
}

static int begin(mproc_engine *engine, const char *name, const mproc_engine_options *options) {
    struct mproc__engine_news news = {.why = "no memory, or no process"};
    int r = start_carrier(engine, name, options);
    r = r == 0 ? hear(engine, &news) : r;
    if (r != 0) {
        fprintf(stderr, "mproc: engine %s: %s\n", name, news.why);
        return r;
    }
    if (news.rank != 0) {
        serve_and_exit(engine);
    }
    engine->nodes = news.nodes;
    engine->workers = news.workers;
    return 0;
}

/* ---------------------------------------------------------------- the list */

static void drop_all(void) {
    while (engines != NULL) {
        mproc_engine_drop(engines);
    }
}

static void enter(mproc_engine *engine) {
    static bool registered;
    pthread_mutex_lock(&engines_lock);
    engine->next = engines;
    engines = engine;
    if (!registered) {
        registered = atexit(drop_all) == 0;
    }
    pthread_mutex_unlock(&engines_lock);
}

static void leave(mproc_engine *engine) {
    pthread_mutex_lock(&engines_lock);
    mproc_engine **link = &engines;
    while (*link != NULL && *link != engine) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        *link = engine->next;
    }
    pthread_mutex_unlock(&engines_lock);
}

/* ---------------------------------------------------------------- the functions */

static int check(const char *name, const mproc_engine_options *options) {
    bool good = name != NULL && name[0] != '\0' && strchr(name, '/') == NULL &&
                options->patience >= 0 && options->silence >= 0;
    return good ? mproc__family_need() : -EINVAL;
}

int mproc_engine_new(mproc_engine **out, const char *name, const mproc_engine_options *options) {
    static const mproc_engine_options defaults = {0};
    const mproc_engine_options *o = options != NULL ? options : &defaults;
    int r = check(name, o);
    mproc_engine *engine = r == 0 ? calloc(1, sizeof *engine) : NULL;
    if (engine == NULL) {
        return r != 0 ? r : -ENOMEM;
    }
    engine->handle = MPROC__HANDLE_ENGINE;
    engine->owner = mproc__self_pid();
    pthread_mutex_init(&engine->lock, NULL);
    r = make_ways(engine);
    r = r == 0 ? begin(engine, name, o) : r;
    if (r != 0) {
        end_carrier(engine, 0);
        free_engine(engine);
        return r;
    }
    enter(engine);
    *out = engine;
    return 0;
}

unsigned mproc_engine_nodes(const mproc_engine *engine) {
    return mproc__expect_handle(engine, MPROC__HANDLE_ENGINE) ? engine->nodes : 0;
}

unsigned mproc_engine_workers(const mproc_engine *engine) {
    return mproc__expect_handle(engine, MPROC__HANDLE_ENGINE) ? engine->workers : 0;
}

static void quit(mproc_engine *engine) {
    const struct mproc__engine_order what = {.kind = MPROC__ORDER_QUIT};
    int r = mproc_queue_put(engine->orders, &what, sizeof what, MPROC_FOREVER);
    end_carrier(engine, r == 0 ? QUIT_MOST : 0);
}

void mproc_engine_drop(mproc_engine *owned) {
    if (owned == NULL || !mproc__expect_handle(owned, MPROC__HANDLE_ENGINE)) {
        return;
    }
    leave(owned);
    if (owned->owner == mproc__self_pid()) {
        quit(owned);
    } else {
        (void)mproc_process_drop(owned->carrier);
    }
    free_engine(owned);
}
