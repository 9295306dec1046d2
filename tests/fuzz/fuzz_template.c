/*
 * fuzz_template.c - requests to a template
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. Requests: packets of any size with any token and any number of descriptors, some of
 * which have got lost on the way; signals; and the end of the stream, in one of its forms. A kernel
 * of this file's own stands in for os.h's receive, send, close and fork, so nothing is forked, and
 * each descriptor is counted.
 *
 * What must hold. The template forks for a token only if that is a child's that is reserved and not
 * born yet, and answers each request with its token, and with the pid or an error. Every descriptor
 * that came is closed again. At the end of the stream it is no template any more.
 */
#include "fuzz.h"

#include <errno.h>

#include <unistd.h>

#include "core/family.h"
#include "core/join.h"
#include "core/reaper.h"
#include "mproc.h"
#include "process/process.h"
#include "system/os.h"

#define CONTROL 1000000 /* descriptors that only the kernel below knows */
#define FIRST_FD 1000001
#define REQUESTS 16

static struct feed *input;
static int requests;
static int open_fds, given_fds;
static bool control_open;
static uint64_t asked; /* the token of the last whole request */
static bool answered;
static pid_t born; /* for that request; 0: nobody */
static uint64_t tokens[4];

int __wrap_mproc__os_close_on_exec(int fd);
void __real_mproc__os_close(int fd);
void __wrap_mproc__os_close(int fd);
int __wrap_mproc__os_send(int socket, const void *lent, size_t size, const int *fds, size_t n);
ssize_t __wrap_mproc__os_receive(int socket, void *out, size_t size, int *fds, size_t *n,
                                 bool *lost);
pid_t __wrap_mproc__os_fork_sibling(pid_t *where);

int __wrap_mproc__os_close_on_exec(int fd) {
    MUST(fd == CONTROL);
    return 0;
}

void __wrap_mproc__os_close(int fd) {
    if (fd == CONTROL) {
        MUST(control_open);
        control_open = false;
    } else if (fd > CONTROL) {
        MUST(fd < FIRST_FD + given_fds && open_fds > 0);
        open_fds--;
    } else {
        __real_mproc__os_close(fd);
    }
}

static uint64_t next_token(void) {
    uint8_t which = feed_byte(input);
    uint64_t token = which & 0x80 ? feed_u64(input) : tokens[which % 4];
    return which & 0x40 ? token ^ feed_byte(input) : token;
}

ssize_t __wrap_mproc__os_receive(int socket, void *out, size_t size, int *fds, size_t *n,
                                 bool *lost) {
    MUST(socket == CONTROL && control_open && size == sizeof(uint64_t) && (asked == 0 || answered));
    uint8_t what = feed_byte(input);
    asked = 0;
    if (requests++ == REQUESTS || what == 0) {
        *n = 0;
        *lost = false;
        return 0;
    }
    if (what == 1 || what == 2) {
        return what == 1 ? -EINTR : -ECONNRESET;
    }
    uint64_t token = next_token();
    size_t took = what == 3 ? feed_below(input, sizeof token) : sizeof token;
    memcpy(out, &token, took);
    *n = what & 0x80 ? feed_byte(input) % (MPROC__OS_FDS_MAX + 1) : 0;
    *lost = (what & 0x40) != 0;
    for (size_t i = 0; i < *n; i++) {
        fds[i] = FIRST_FD + given_fds++;
    }
    open_fds += (int)*n;
    if (took == sizeof token) {
        asked = token;
        answered = false;
        born = 0;
    }
    return (ssize_t)took;
}

/* As the kernel does, writes the pid before the child runs. */
pid_t __wrap_mproc__os_fork_sibling(pid_t *where) {
    struct mproc__slot *slot = mproc__token_slot(asked);
    uint64_t state = slot != NULL ? mproc__load64(&slot->state) : 0;
    MUST(slot != NULL && where == &slot->pid);
    MUST((state & 0xff) == MPROC__SLOT_UNBORN && slot->pid == 0);
    MUST(asked >> 32 == state >> 8);
    if (feed_byte(input) % 4 == 0) {
        return -EAGAIN;
    }
    born = *where = 4000000;
    return born;
}

int __wrap_mproc__os_send(int socket, const void *lent, size_t size, const int *fds, size_t n) {
    struct {
        uint64_t token;
        int32_t pid;
    } reply = {0};
    (void)fds;
    MUST(socket == CONTROL && control_open && n == 0 && !answered && size == 16);
    if (feed_byte(input) == 1) {
        return -EINTR;
    }
    memcpy(&reply, lent, sizeof reply);
    MUST(reply.token == asked);
    MUST(born != 0 ? reply.pid == born : reply.pid < 0);
    answered = true;
    return feed_byte(input) == 2 ? -EPIPE : 0;
}

/* Two children to be, of which one is born already; this process; and somebody who has gone. */
static void make_tokens(void) {
    if (tokens[0] == 0) {
        MUST(mproc__family_need() == 0);
        for (int i = 0; i < 4; i++) {
            MUST(mproc__member_expect("child", MPROC_FORKSERVER, 0, &tokens[i]) == 0);
        }
        mproc__member_expected_pid(tokens[1], getpid());
        mproc__reap_dead(tokens[3]);
        tokens[2] = mproc__self_token();
    }
    mproc__token_slot(tokens[0])->pid = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct mproc__args args;
    struct feed all = {data, size};
    int r;
    make_tokens();
    input = &all;
    requests = open_fds = given_fds = 0;
    control_open = true;
    asked = 0;
    args = (struct mproc__args){.kind = MPROC__ARGS_TEMPLATE, .control = CONTROL};
    mproc__self_slot()->args = (uint64_t)(uintptr_t)&args;
    do {
        r = mproc_template_serve(NULL);
        MUST(r == 0 || r == -EINTR);
    } while (r == -EINTR);
    MUST(!control_open && open_fds == 0 && args.kind != MPROC__ARGS_TEMPLATE);
    MUST(mproc_template_serve(NULL) == -EINVAL);
    mproc__self_slot()->args = 0;
    return 0;
}
