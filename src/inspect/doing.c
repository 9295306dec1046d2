/*
 * doing.c - what the threads of a member wait for, and which locks it holds: the end of its line
 *
 * SPDX-License-Identifier: MIT
 */
#include "inspect/doing.h"

#include <stdlib.h>

#include "inspect/blame.h"
#include "inspect/words.h"

#define HELD_MOST 4 /* locks in a member's line */

void mproc__doing_find(const struct mproc__show *show, struct mproc__doing *out) {
    const struct mproc__picture *p = show->picture;
    out->first = malloc(((size_t)p->nmembers + 1) * sizeof *out->first);
    out->next = malloc(((size_t)p->nfacts + 1) * sizeof *out->next);
    if (out->first == NULL || out->next == NULL) {
        fputs("there is no memory to say who holds which locks\n", show->out);
        mproc__doing_drop(out);
        return;
    }
    for (int i = 0; i < p->nmembers; i++) {
        out->first[i] = -1;
    }
    for (int i = p->nobjects - 1; i >= 0; i--) {
        uint64_t owner = mproc__picture_facts(p, i)->owner;
        int m = owner != 0 ? mproc__picture_member(p, owner) : -1;
        if (m >= 0) {
            out->next[p->objects[i].facts] = out->first[m];
            out->first[m] = i;
        }
    }
}

void mproc__doing_drop(struct mproc__doing *owned) {
    free(owned->first);
    free(owned->next);
    *owned = (struct mproc__doing){0};
}

bool mproc__doing_is_said(const struct mproc__picture *p, int wait) {
    const struct mproc__seen_wait *w = &p->waits[wait];
    for (int i = wait - 1; i >= 0 && p->waits[i].member == w->member; i--) {
        if (w->object >= 0 && p->objects[w->object].kind == MPROC__KIND_POOL &&
            p->waits[i].object == w->object && p->waits[i].group == w->group) {
            return true;
        }
    }
    return false;
}

void mproc__doing_since(FILE *out, int64_t held) {
    char span[32];
    if (held >= 0) {
        fprintf(out, " for %s or longer", mproc__say_span((double)held / 1e9, span));
    }
}

/* The line is the process': of its first thread nothing more is to be said. */
static void say_waits(const struct mproc__show *show, const struct mproc__seen_member *m) {
    const struct mproc__picture *p = show->picture;
    const char *before = ": ";
    for (int i = m->first_wait; i < m->first_wait + m->nwaits; i++) {
        const struct mproc__seen_wait *w = &p->waits[i];
        if (mproc__doing_is_said(p, i)) {
            continue;
        }
        fputs(before, show->out);
        if (w->thread != 0 && w->thread != (uint32_t)m->pid) {
            fprintf(show->out, "thread %u ", (unsigned)w->thread);
        }
        mproc__say_wait(show->out, show->arena, p, w);
        mproc__say_waited(show->out, p, w);
        before = "; ";
    }
    mproc__say_unnoted(show->out, before, m->unnoted);
}

static void say_held(const struct mproc__show *show, int member, const struct mproc__doing *doing) {
    const struct mproc__picture *p = show->picture;
    char what[MPROC__SAY];
    int n = 0, first = doing->first != NULL ? doing->first[member] : -1;
    for (int i = first; i >= 0; i = doing->next[p->objects[i].facts]) {
        if (n++ == HELD_MOST) {
            fputs(", ...", show->out);
            return;
        }
        fprintf(show->out, "%s%s", n == 1 ? "; holds " : ", ",
                mproc__say_object(show->arena, p, i, what));
        mproc__doing_since(show->out, mproc__picture_held(p, i));
    }
}

void mproc__doing_say(const struct mproc__show *show, int member,
                      const struct mproc__doing *doing) {
    say_waits(show, &show->picture->members[member]);
    say_held(show, member, doing);
}
