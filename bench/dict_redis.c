/*
 * dict_redis.c - the dict's peer Redis: a server, here over a Unix socket, that keeps nothing on
 * disk
 *
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store.h"

#if BENCH_REDIS
#include <hiredis/hiredis.h>

#define FILL_BATCH 1000
#define TRIES 2000 /* of a millisecond each, until the server answers */

static char path[64];
static pid_t server;
static redisContext *context;
static unsigned in_batch;

static redisContext *try_connect(void) {
    redisContext *c = redisConnectUnix(path);
    if (c != NULL && c->err != 0) {
        redisFree(c);
        c = NULL;
    }
    return c;
}

static const char *open_redis(uint64_t n) {
    (void)n;
    snprintf(path, sizeof path, "/tmp/mproc-bench-%d.sock", (int)getpid());
    server = fork();
    if (server == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--logfile", "/dev/null", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < TRIES && context == NULL; i++) {
        usleep(1000);
        context = try_connect();
    }
    return context != NULL ? NULL : "redis-server does not start";
}

/* A connection is of one process. */
static void enter_redis(bool child) {
    if (child && (context = try_connect()) == NULL) {
        bench_die("redis: connect");
    }
}

static redisReply *must(void *reply) {
    redisReply *r = reply;
    if (r == NULL || r->type == REDIS_REPLY_ERROR || r->type == REDIS_REPLY_NIL) {
        bench_die("redis: command");
    }
    return r;
}

static void get_redis(const void *key, void *room) {
    redisReply *r = must(redisCommand(context, "GET %b", key, (size_t)STORE_KEY));
    memcpy(room, r->str, STORE_VALUE);
    freeReplyObject(r);
}

static void set_redis(const void *key, const void *value) {
    freeReplyObject(must(
        redisCommand(context, "SET %b %b", key, (size_t)STORE_KEY, value, (size_t)STORE_VALUE)));
}

static void filled_redis(void) {
    for (; in_batch > 0; in_batch--) {
        void *reply = NULL;
        (void)redisGetReply(context, &reply);
        freeReplyObject(must(reply));
    }
}

static void fill_redis(const void *key, const void *value) {
    redisAppendCommand(context, "SET %b %b", key, (size_t)STORE_KEY, value, (size_t)STORE_VALUE);
    if (++in_batch == FILL_BATCH) {
        filled_redis();
    }
}

static void close_redis(void) {
    redisFree(context);
    context = NULL;
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    unlink(path);
}

const struct store store_redis = {
    "Redis, Unix socket", open_redis,   enter_redis, get_redis,  set_redis,
    fill_redis,           filled_redis, NULL,        close_redis};
#else
static const char *absent(uint64_t n) {
    (void)n;
    return "libhiredis-dev was not there when this was built";
}

const struct store store_redis = {.name = "Redis, Unix socket", .open = absent};
#endif
