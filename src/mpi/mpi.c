/*
 * mpi.c - libmproc_mpi: the nodes of an engine are the ranks of an MPI program
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. A message is one or more sends of at most PIECE bytes: all but the last have the
 * tag MORE. Messages between two ranks do not overtake each other, so the receiver puts the pieces
 * together by their source. Sends are begun and looked after at each later call; a receive is
 * begun when a probe has found something. Nothing here waits, but MPI_Init and MPI_Finalize.
 *
 * All of it is called by one thread of a process of its own (engine/carrier.c), so no process with
 * MPI forks, and the program itself knows nothing of MPI.
 */
#include <errno.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/transport.h"

#define PATIENCE 1                /* seconds for what is on its way when the engine ends */
#define PIECE ((size_t)256 << 20) /* MPI counts bytes by an int */

enum tag { TAG_LAST = 1, TAG_MORE };

/* A send on its way. */
struct out {
    MPI_Request request;
    char *bytes;
    struct out *next;
};

/* The beginning of a message that has come. */
struct in {
    char *bytes;
    size_t size;
};

static MPI_Comm comm = MPI_COMM_NULL;
static struct out *outs;
static struct in *ins; /* by rank */
static int ranks;

static int say(char *why, size_t size, const char *what, int code) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;
    MPI_Error_string(code, text, &n);
    snprintf(why, size, "%s: %s", what, text);
    return -EIO;
}

/* Ranks on this machine. */
static int count_here(unsigned *out) {
    MPI_Comm here;
    int n = 1, r = MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here);
    if (r == MPI_SUCCESS) {
        r = MPI_Comm_size(here, &n);
        MPI_Comm_free(&here);
    }
    *out = (unsigned)n;
    return r;
}

static int open_mpi(struct mproc__transport_place *out, char *why, size_t size) {
    int provided = 0, rank = 0;
    int r = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    if (r != MPI_SUCCESS) {
        return say(why, size, "MPI_Init_thread", r);
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    r = MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    if (r == MPI_SUCCESS) {
        MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
        MPI_Comm_rank(comm, &rank);
        MPI_Comm_size(comm, &ranks);
        r = count_here(&out->here);
    }
    if (r != MPI_SUCCESS) {
        return say(why, size, "MPI_Comm_dup", r);
    }
    out->rank = (unsigned)rank;
    out->ranks = (unsigned)ranks;
    ins = calloc((size_t)ranks, sizeof *ins);
    snprintf(why, size, "no memory");
    return ins != NULL ? 0 : -ENOMEM;
}

/* ---------------------------------------------------------------- sending */

/* Frees what has arrived. */
static int look_after_outs(void) {
    struct out **link = &outs;
    while (*link != NULL) {
        struct out *out = *link;
        int done = 0, r = MPI_Test(&out->request, &done, MPI_STATUS_IGNORE);
        if (r != MPI_SUCCESS) {
            return -EIO;
        }
        if (!done) {
            link = &out->next;
            continue;
        }
        *link = out->next;
        free(out->bytes);
        free(out);
    }
    return 0;
}

/* `owned` are the piece's bytes. */
static int send_piece(unsigned to, char *owned, size_t size, enum tag tag) {
    struct out *out = malloc(sizeof *out);
    if (out == NULL) {
        free(owned);
        return -ENOMEM;
    }
    out->bytes = owned;
    if (MPI_Isend(owned, (int)size, MPI_BYTE, (int)to, tag, comm, &out->request) != MPI_SUCCESS) {
        free(owned);
        free(out);
        return -EIO;
    }
    out->next = outs;
    outs = out;
    return 0;
}

/* Copies `size` bytes from `offset` on. */
static void gather(const struct iovec *pieces, int n, size_t offset, char *to, size_t size) {
    for (int i = 0; i < n && size > 0; i++) {
        if (offset >= pieces[i].iov_len) {
            offset -= pieces[i].iov_len;
            continue;
        }
        size_t some = pieces[i].iov_len - offset;
        some = some < size ? some : size;
        memcpy(to, (const char *)pieces[i].iov_base + offset, some);
        to += some;
        size -= some;
        offset = 0;
    }
}

static int send_mpi(unsigned to, const struct iovec *pieces, int n) {
    size_t total = 0, sent = 0;
    for (int i = 0; i < n; i++) {
        total += pieces[i].iov_len;
    }
    (void)look_after_outs(); /* that a send to another rank has failed says nothing of this one */
    int r;
    do {
        size_t some = total - sent < PIECE ? total - sent : PIECE;
        char *bytes = malloc(some != 0 ? some : 1);
        if (bytes == NULL) { /* of half a message the receiver could make nothing */
            return sent == 0 ? -ENOMEM : -EIO;
        }
        gather(pieces, n, sent, bytes, some);
        sent += some;
        r = send_piece(to, bytes, some, sent < total ? TAG_MORE : TAG_LAST);
    } while (r == 0 && sent < total);
    return r;
}

/* ---------------------------------------------------------------- receiving */

/* One piece, behind what has come of its message. */
static int receive_piece(MPI_Message *message, int from, size_t size) {
    struct in *in = &ins[from];
    char *bytes = realloc(in->bytes, in->size + size + 1);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    in->bytes = bytes;
    int r = MPI_Mrecv(bytes + in->size, (int)size, MPI_BYTE, message, MPI_STATUS_IGNORE);
    in->size += size;
    return r == MPI_SUCCESS ? 0 : -EIO;
}

static int receive_mpi(unsigned *from, void **bytes, size_t *size) {
    MPI_Message message;
    MPI_Status status;
    int found = 0, count = 0;
    int r = outs != NULL ? look_after_outs() : 0;
    if (r == 0 &&
        MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &found, &message, &status) != MPI_SUCCESS) {
        r = -EIO;
    }
    if (r != 0 || !found) {
        return r;
    }
    MPI_Get_count(&status, MPI_BYTE, &count);
    r = receive_piece(&message, status.MPI_SOURCE, (size_t)count);
    if (r != 0 || status.MPI_TAG != TAG_LAST) {
        return r;
    }
    struct in *in = &ins[status.MPI_SOURCE];
    *from = (unsigned)status.MPI_SOURCE;
    *bytes = in->bytes;
    *size = in->size;
    *in = (struct in){NULL, 0};
    return 1;
}

/* ---------------------------------------------------------------- the end */

/* With a rank that is lost, MPI_Finalize would wait for it: this process ends without. */
static void close_mpi(bool graceful) {
    if (graceful) {
        double end = MPI_Wtime() + PATIENCE;
        while (outs != NULL && look_after_outs() == 0 && MPI_Wtime() < end) {
        }
        for (struct out *out = outs; out != NULL; out = out->next) {
            MPI_Request_free(&out->request); /* nobody receives it any more */
        }
        MPI_Comm_free(&comm);
        MPI_Finalize();
    } else {
        _Exit(0);
    }
    for (int i = 0; i < ranks; i++) {
        free(ins[i].bytes);
    }
    free(ins);
}

__attribute__((visibility("default"))) const struct mproc__transport *mproc_transport(void);

const struct mproc__transport *mproc_transport(void) {
    static const struct mproc__transport transport = {.version = MPROC__TRANSPORT_VERSION,
                                                      .open = open_mpi,
                                                      .send = send_mpi,
                                                      .receive = receive_mpi,
                                                      .close = close_mpi};
    return &transport;
}
