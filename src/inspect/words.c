/*
 * words.c - numbers and states of a family for a person
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/words.h"

#include <stdio.h>

const char *mproc__say_bytes(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    unsigned u = 0;
    while (n >= 1024 && u < 4) {
        n /= 1024;
        u++;
    }
    snprintf(out, 32, u == 0 || n >= 100 ? "%.0f %s" : "%.1f %s", n, units[u]);
    return out;
}

const char *mproc__say_many(uint64_t n, const char *one, const char *many) {
    return n == 1 ? one : many;
}

const char *mproc__say_span(double seconds, char out[32]) {
    if (seconds < 0) {
        seconds = 0;
    }
    if (seconds < 60) {
        snprintf(out, 32, "%.1f s", seconds);
    } else if (seconds < 3600) {
        snprintf(out, 32, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    } else {
        snprintf(out, 32, "%.0f h %02d min", seconds / 3600 - 0.5, (int)(seconds / 60) % 60);
    }
    return out;
}

const char *mproc__say_method(uint32_t method) {
    switch (method) {
    case MPROC_FORK: return "fork";
    case MPROC_SPAWN: return "spawn";
    case MPROC_FORKSERVER: return "forkserver";
    default: return "-";
    }
}

const char *mproc__say_state(const struct mproc__seen_member *m) {
    if (m->state == MPROC__SLOT_UNBORN) {
        return "starting";
    }
    if (!m->lives) {
        return "ended";
    }
    switch (m->os.state) {
    case 'R': return "runs";
    case 'T':
    case 't': return "stopped";
    case 'D': return "disk";
    default: return m->stuck != 0 ? "stuck" : m->nwaits != 0 ? "waits" : "sleeps";
    }
}

/* A thread in a section, and an event loop, have not noted when that began. */
void mproc__say_waited(FILE *out, const struct mproc__picture *p,
                       const struct mproc__seen_wait *w) {
    char span[32];
    if (w->note != 0) {
        fprintf(out, ", for %s", mproc__say_span((double)(p->now - w->since) / 1e9, span));
    }
}

void mproc__say_unnoted(FILE *out, const char *before, int threads) {
    if (threads > 0) {
        fprintf(out, "%s%d more %s, of which nothing is noted", before, threads,
                mproc__say_many((uint64_t)threads, "thread waits", "threads wait"));
    }
}
