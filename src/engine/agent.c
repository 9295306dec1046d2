/*
 * agent.c - a node's own side: a pool of this machine for each pool of the program
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The agent is a child of the carrier, forked before the transport begins, and is the
 * owner of ordinary pools. A task comes from the carrier through one queue, goes into its pool, and
 * what becomes of it goes back through another one when the pool says that it is done. A chunk of a
 * map is a task here, too, whose bytes are the items. The agent sleeps on the descriptors of its
 * queue and its pools, and gives a sign of life once a second: whoever hears none takes the node
 * for lost.
 *
 * If the agent dies here: its workers end with it, and the carrier tells rank 0 that the node is
 * lost.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/inside.h"
#include "system/os.h"

#define POOLS_MOST 64 /* that are waited for by their descriptors; of others it hears later */

struct part;

/* A task that is open here. */
struct job {
    struct part *part;
    uint32_t seat;
    bool is_chunk;
    mproc_task *task;
    struct job *next, *before; /* in part->jobs */
};

/* A pool of the program: its share of it. */
struct part {
    struct part *next;
    uint32_t number;
    mproc_pool *pool;
    int error; /* why there is none */
    struct job *jobs;
    struct agent *agent;
};

struct agent {
    mproc_queue *down, *up;
    struct part *parts;
    bool ends;
};

/* ---------------------------------------------------------------- replies */

static void say(struct agent *agent, const struct mproc__wire *head, const struct iovec *pieces,
                int n) {
    struct iovec all[3] = {{(void *)(uintptr_t)head, sizeof *head}};
    if (n > 0) {
        memcpy(all + 1, pieces, (size_t)n * sizeof *pieces);
    }
    int r;
    do { /* a node without memory for its words waits until it has some */
        r = mproc_queue_putv(agent->up, all, n + 1, MPROC_FOREVER);
    } while (r == -EINTR || (r == -ENOMEM && mproc__os_poll(NULL, 0, MPROC_MSEC) == 0));
}

static void reply(struct part *part, uint32_t seat, const struct mproc__wire_reply *what,
                  const void *bytes, size_t size) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_REPLY, .pool = part->number, .seat = seat};
    const struct iovec pieces[2] = {{(void *)(uintptr_t)what, sizeof *what},
                                    {(void *)(uintptr_t)bytes, size}};
    say(part->agent, &head, pieces, size != 0 ? 2 : 1);
}

/* A pool that takes no task because it is broken says how its last worker has ended: a failure that
 * names no worker would be a lost node's. */
static void reply_refusal(struct part *part, uint32_t seat, int code, uint64_t item) {
    struct mproc__wire_reply refused = {.code = code, .item = item};
    if (part->pool != NULL && part->pool->last.code == code) {
        refused.pid = part->pool->last.pid;
        refused.exitcode = part->pool->last.exitcode;
    }
    reply(part, seat, &refused, NULL, 0);
}

/* ---------------------------------------------------------------- chunks */

/* What a chunk's result begins with; its items follow. */
struct chunk_end {
    int32_t code;
    uint32_t pad;
    uint64_t item; /* that failed */
};

/* In a worker. */
static int run_chunk(const void *in, size_t size, mproc_result *result) {
    const struct mproc__wire_task *task = in;
    struct chunk_end *end = mproc_result_room(result, sizeof *end + task->n * task->out_size);
    mproc__function fn;
    (void)size;
    if (end == NULL) {
        return -ENOMEM;
    }
    int r = mproc__function_find(&task->function, &fn);
    const char *from = (const char *)(task + 1);
    char *to = (char *)(end + 1);
    uint64_t i = 0;
    while (r == 0 && i < task->n) {
        r = ((mproc_item_fn)fn)(from + i * task->in_size, to + i * task->out_size, NULL);
        i += r == 0;
    }
    *end = (struct chunk_end){.code = r, .item = task->first + i};
    return 0;
}

static void reply_chunk(struct job *job, struct mproc__wire_reply *what, const void *bytes,
                        size_t size) {
    struct chunk_end end = {.code = MPROC_EFRAME};
    if (size >= sizeof end) {
        memcpy(&end, bytes, sizeof end);
    }
    what->code = end.code;
    what->item = end.item;
    bool good = end.code == 0;
    reply(job->part, job->seat, what, good ? (const char *)bytes + sizeof end : NULL,
          good ? size - sizeof end : 0);
}

/* ---------------------------------------------------------------- jobs */

static void forget(struct job *job) {
    struct part *part = job->part;
    *(job->before != NULL ? &job->before->next : &part->jobs) = job->next;
    if (job->next != NULL) {
        job->next->before = job->before;
    }
    mproc_task_drop(job->task);
    free(job);
}

/* Called by the pool. */
static void ended(mproc_task *task, void *arg) {
    struct job *job = arg;
    mproc_task_error error;
    const void *bytes = NULL;
    size_t size = 0;
    mproc_task_failure(task, &error);
    int r = mproc_task_result(task, &bytes, &size);
    struct mproc__wire_reply what = {.code = r,
                                     .pid = error.pid,
                                     .exitcode = error.exitcode,
                                     .item = UINT64_MAX,
                                     .ran = error.ran,
                                     .memory = error.memory};
    if (r == 0 && job->is_chunk) {
        reply_chunk(job, &what, bytes, size);
    } else {
        reply(job->part, job->seat, &what, bytes, r == 0 ? size : 0);
    }
    job->task = task;
    forget(job);
}

static struct job *add_job(struct part *part, uint32_t seat, bool is_chunk) {
    struct job *job = calloc(1, sizeof *job);
    if (job != NULL) {
        *job = (struct job){.part = part, .seat = seat, .is_chunk = is_chunk, .next = part->jobs};
        if (part->jobs != NULL) {
            part->jobs->before = job;
        }
        part->jobs = job;
    }
    return job;
}

/* The chunk's head goes along, since its worker reads it. */
static int submit(struct job *job, const struct mproc__wire_task *task, size_t size) {
    const mproc_task_options options = {
        .done = ended, .done_arg = job, .timeout = task->timeout, .memory = task->memory};
    mproc_pool *pool = job->part->pool;
    const void *bytes = task + 1;
    mproc__function fn;
    int r;
    switch (task->kind) {
    case MPROC__MESSAGE_CALL:
        r = mproc__function_find(&task->function, &fn);
        return r != 0 ? r
                      : mproc_pool_submit(pool, (mproc_task_fn)fn, bytes, size - sizeof *task,
                                          &options, &job->task);
    case MPROC__MESSAGE_CHUNK:
        return task->n * task->in_size == size - sizeof *task
                   ? mproc_pool_submit(pool, run_chunk, task, size, &options, &job->task)
                   : MPROC_EFRAME;
    default: break;
    }
    const struct iovec piece = {(void *)(uintptr_t)bytes, size - sizeof *task};
    return mproc_pool_put(pool, &piece, 1, &options, &job->task);
}

static void begin_task(struct part *part, uint32_t seat, const void *bytes, size_t size) {
    const struct mproc__wire_task *task = bytes;
    if (size < sizeof *task) {
        return;
    }
    struct job *job =
        part->error == 0 ? add_job(part, seat, task->kind == MPROC__MESSAGE_CHUNK) : NULL;
    int r = part->error != 0 ? part->error : job == NULL ? -ENOMEM : submit(job, task, size);
    if (r != 0) {
        reply_refusal(part, seat, r, task->first);
        if (job != NULL) {
            forget(job);
        }
    }
}

static void kill_task(struct part *part, uint32_t seat) {
    struct job *job = part->jobs;
    while (job != NULL && job->seat != seat) {
        job = job->next;
    }
    if (job != NULL && mproc_task_kill(job->task) != 0) {
        return; /* its end is on the way */
    }
}

/* ---------------------------------------------------------------- pools */

static int find_function(uint32_t has, const struct mproc__function_ref *ref,
                         mproc__function *out) {
    int r = has != 0 ? mproc__function_find(ref, out) : 0;
    if (r != 0) {
        mproc__function_complain(ref, r);
    }
    return r;
}

static int make_pool(struct part *part, const struct mproc__wire_pool *what) {
    mproc__function init = NULL, leave = NULL, handler = NULL;
    int r = find_function(what->has_init, &what->init, &init);
    r = r == 0 ? find_function(what->has_exit, &what->exit, &leave) : r;
    r = r == 0 ? find_function(what->has_handler, &what->handler, &handler) : r;
    const mproc_pool_options options = {.workers = what->workers,
                                        .method = (mproc_method)what->method,
                                        .max_tasks = (unsigned)what->max_tasks,
                                        .name = what->name,
                                        .init = (int (*)(void *))init,
                                        .exit = (void (*)(void *))leave,
                                        .handler = (mproc_handler_fn)handler};
    return r == 0 ? mproc_pool_new(&part->pool, &options) : r;
}

static struct part *find_part(const struct agent *agent, uint32_t number) {
    struct part *part = agent->parts;
    while (part != NULL && part->number != number) {
        part = part->next;
    }
    return part;
}

static void begin_part(struct agent *agent, uint32_t number, const void *bytes, size_t size) {
    const struct mproc__wire_pool *what = bytes;
    struct part *part = size >= sizeof *what ? calloc(1, sizeof *part) : NULL;
    if (part == NULL) {
        return; /* without memory for that the tasks will say so */
    }
    part->agent = agent;
    part->number = number;
    part->error = make_pool(part, what);
    part->next = agent->parts;
    agent->parts = part;
}

static void end_part(struct part *part) {
    if (part->pool != NULL) {
        mproc_pool_drop(part->pool); /* calls ended() of what is open */
    }
    while (part->jobs != NULL) {
        forget(part->jobs);
    }
    free(part);
}

static void drop_part(struct agent *agent, uint32_t number) {
    struct part **link = &agent->parts;
    while (*link != NULL && (*link)->number != number) {
        link = &(*link)->next;
    }
    struct part *part = *link;
    if (part != NULL) {
        *link = part->next;
        end_part(part);
    }
}

/* ---------------------------------------------------------------- the loop */

static void obey(struct agent *agent, const mproc_message *message) {
    const struct mproc__wire *head = message->data;
    if (message->size < sizeof *head) {
        return;
    }
    struct part *part = find_part(agent, head->pool);
    const void *bytes = head + 1;
    size_t size = message->size - sizeof *head;
    switch (head->kind) {
    case MPROC__WIRE_POOL: begin_part(agent, head->pool, bytes, size); break;
    case MPROC__WIRE_DROP: drop_part(agent, head->pool); break;
    case MPROC__WIRE_QUIT: agent->ends = true; break;
    case MPROC__WIRE_TASK:
        if (part != NULL) {
            begin_task(part, head->seat, bytes, size);
        }
        break;
    case MPROC__WIRE_KILL:
        if (part != NULL) {
            kill_task(part, head->seat);
        }
        break;
    default: break;
    }
}

/* 0; MPROC_ECLOSED, and other codes after which nothing will come. */
static int obey_all(struct agent *agent) {
    _Alignas(16) char room[MPROC_MESSAGE_INLINE];
    int r = 0;
    while (r == 0 && !agent->ends) {
        mproc_message message = MPROC_MESSAGE_INIT(room, sizeof room);
        r = mproc_queue_get(agent->down, &message, 0);
        if (r == 0) {
            obey(agent, &message);
            mproc_message_drop(&message);
        }
    }
    return r == -ETIMEDOUT || r == -EINTR || r == -ENOMEM ? 0 : r;
}

static void collect_all(struct agent *agent) {
    for (struct part *part = agent->parts; part != NULL; part = part->next) {
        int r = 0;
        while (part->pool != NULL && r == 0) {
            r = mproc_pool_collect(part->pool, 0);
        }
    }
}

static void rest(struct agent *agent) {
    struct pollfd polls[1 + POOLS_MOST];
    size_t n = 0;
    polls[n++] = (struct pollfd){mproc_queue_fd(agent->down, MPROC_WATCH_GET), POLLIN, 0};
    for (struct part *part = agent->parts; part != NULL && n < 1 + POOLS_MOST; part = part->next) {
        if (part->pool != NULL) {
            polls[n++] = (struct pollfd){mproc_pool_fd(part->pool), POLLIN, 0};
        }
    }
    (void)mproc__os_poll(polls, n, MPROC__BEAT);
}

static int64_t beat(struct agent *agent, int64_t last) {
    const struct mproc__wire head = {.kind = MPROC__WIRE_BEAT};
    int64_t now = mproc__os_now();
    if (now - last < MPROC__BEAT) {
        return last;
    }
    say(agent, &head, NULL, 0);
    return now;
}

int mproc__agent_main(void *arg, size_t size) {
    const struct mproc__engine_ways *ways = arg;
    struct agent agent = {.down = ways->down, .up = ways->up};
    int64_t last = 0;
    int r = 0;
    assert(size == sizeof *ways);
    (void)size;
    while (r == 0 && !agent.ends) {
        last = beat(&agent, last);
        r = obey_all(&agent);
        collect_all(&agent);
        if (r == 0 && !agent.ends) {
            rest(&agent);
        }
    }
    while (agent.parts != NULL) {
        drop_part(&agent, agent.parts->number);
    }
    return r == 0 ? 0 : 1;
}
