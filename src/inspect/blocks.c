/*
 * blocks.c - a walk through all blocks of an arena, for a picture
 *
 * SPDX-License-Identifier: MIT
 *
 * How it works. The heap is copied chunk by chunk. Chunks are in the arena's span, and what the
 * table of chunks says of one is judged before it is used, so the walk ends whatever stands there.
 */
#include "inspect/blocks.h"

#include <stdlib.h>

#include "inspect/find.h"
#include "inspect/grow.h"
#include "inspect/objects.h"

#define DESCRIPTORS 64 /* of chunks, which are copied at once */
#define BULK 1024      /* bytes; of larger blocks the heads are looked at one by one */
#define LABELS_MOST (2 * MPROC__CHUNK / sizeof(struct mproc__object)) /* of a chunk's objects */

struct heap_walk {
    const struct mproc__outside *arena;
    struct mproc__picture *picture;
    struct mproc__chunks chunks;
    uint64_t described; /* the chunks before it are described by the last copy of the table */
    struct mproc__chunk descriptors[DESCRIPTORS];
    char bytes[MPROC__CHUNK];
};

static int see_all_at_once(struct heap_walk *walk, uint64_t at, uint64_t size, uint64_t n) {
    int r = n != 0 ? mproc__outside_read(walk->arena, at, walk->bytes, n * size) : 0;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = mproc__see_block(walk->arena, walk->picture, at + i * size, size,
                             walk->bytes + i * size, size);
    }
    return r;
}

/* A block whose contents nobody asked for, mostly: messages, which others write at this moment.
 * Each cache line that is read here has to come back to them. */
static int see_large(struct heap_walk *walk, uint64_t at, uint64_t size) {
    size_t most = size < MPROC__OBJECT_BYTES ? (size_t)size : MPROC__OBJECT_BYTES;
    size_t head = sizeof(struct mproc__object);
    int r = mproc__outside_read(walk->arena, at, walk->bytes, head);
    if (r == 0 && mproc__is_looked_at(walk->bytes, head) &&
        mproc__kind_of(walk->bytes, head) != MPROC__KIND_DICT) {
        r = mproc__outside_read(walk->arena, at, walk->bytes, most);
        head = most;
    }
    return r == 0 ? mproc__see_block(walk->arena, walk->picture, at, size, walk->bytes, head) : r;
}

static int see_one_by_one(struct heap_walk *walk, uint64_t at, uint64_t size, uint64_t n) {
    int r = 0;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = see_large(walk, at + i * size, size);
    }
    return r;
}

static int see_small(struct heap_walk *walk, uint64_t at, const struct mproc__chunk *d) {
    unsigned class = mproc__chunk_class(d->state);
    if (class >= MPROC__CLASSES) {
        return 0;
    }
    size_t size = mproc__heap_class_size(class), most = MPROC__CHUNK / size;
    uint64_t n = d->bump < most ? d->bump : most;
    if (size < sizeof(struct mproc__object)) {
        mproc__count_blocks(walk->picture, MPROC__KIND_NONE, size, d->used < n ? d->used : n);
        return 0;
    }
    uint64_t blocks = walk->picture->blocks;
    int r = size < BULK ? see_all_at_once(walk, at, size, n) : see_one_by_one(walk, at, size, n);
    /* Blocks that are free are among those without a kind. */
    uint64_t free = n - (d->used < n ? d->used : n);
    if (walk->picture->blocks - blocks >= free && walk->picture->of_kind[0] >= free) {
        walk->picture->blocks -= free;
        walk->picture->bytes -= free * size;
        walk->picture->of_kind[0] -= free;
        walk->picture->bytes_of_kind[0] -= free * size;
    }
    return r;
}

/* ---------------------------------------------------------------- labels */

static void see_label(struct mproc__picture *p, const struct mproc__label *label,
                      const char *text) {
    int i = mproc__picture_at(p, label->object);
    struct mproc__seen_object *o = i >= 0 ? &p->objects[i] : NULL;
    if (o == NULL || o->address != label->object) {
        return;
    }
    if (label->kind == MPROC__LABEL_NAME) {
        o->name = mproc__picture_text(p, text);
    } else if (label->kind == MPROC__LABEL_ORIGIN) {
        o->origin = mproc__picture_text(p, text);
    }
}

/* What was freed meanwhile, or is rubbish, mostly names no object here. */
static void see_labels(const struct mproc__outside *arena, struct mproc__picture *p, uint64_t at) {
    for (unsigned n = 0; at != 0 && n < LABELS_MOST && p->reads < MPROC__READS_MOST; n++) {
        struct mproc__label label;
        char text[MPROC__LABEL_MOST + 1] = "";
        p->reads++;
        if (mproc__outside_read(arena, at, &label, sizeof label) != 0 ||
            label.length > MPROC__LABEL_MOST ||
            mproc__outside_read(arena, at + sizeof label, text, label.length) != 0) {
            break;
        }
        text[label.length] = 0;
        see_label(p, &label, text);
        at = label.next;
    }
}

/* ---------------------------------------------------------------- chunks */

/* What the table says of chunk number i, which is below `top`. */
static int describe(struct heap_walk *walk, uint64_t i, uint64_t top, struct mproc__chunk *out) {
    uint64_t first = i - i % DESCRIPTORS, left = top - first;
    uint64_t n = left < DESCRIPTORS ? left : DESCRIPTORS;
    if (i >= walk->described) {
        int r = mproc__outside_read(walk->arena, walk->chunks.table + first * sizeof *out,
                                    walk->descriptors, n * sizeof *out);
        if (r != 0) {
            return r;
        }
        walk->described = first + n;
    }
    *out = walk->descriptors[i - first];
    return 0;
}

/* Chunk number i; what lies outside of the arena is passed over. Returns how many chunks it is. */
static int see_chunk(struct heap_walk *walk, uint64_t i, uint64_t top, uint64_t *length) {
    struct mproc__chunk d;
    uint64_t at = walk->chunks.first + (i << MPROC__CHUNK_SHIFT);
    int r = describe(walk, i, top, &d);
    *length = 1;
    if (r == 0 && mproc__chunk_kind(d.state) == MPROC__CHUNK_SMALL) {
        r = see_small(walk, at, &d);
    } else if (r == 0 && mproc__chunk_kind(d.state) == MPROC__CHUNK_RUN) {
        uint64_t run = mproc__chunk_length(d.state);
        *length = run > 0 && run <= top - i ? run : 1;
        r = see_large(walk, at, *length << MPROC__CHUNK_SHIFT);
    } else {
        return r == -EFAULT ? 0 : r;
    }
    if (r == 0) {
        see_labels(walk->arena, walk->picture, d.labels);
    }
    return r == -EFAULT ? 0 : r;
}

static bool is_good(const struct mproc__outside *arena, const struct mproc__chunks *c) {
    uint64_t head = arena->base + sizeof(struct mproc__family);
    uint64_t end = arena->base + arena->span;
    return c->table >= head && c->table < end && c->first > c->table && c->first < end &&
           c->first % MPROC__CHUNK == 0 && c->top <= (end - c->first) >> MPROC__CHUNK_SHIFT &&
           c->top <= (c->first - c->table) / sizeof(struct mproc__chunk);
}

int mproc__see_heap(const struct mproc__outside *arena, struct mproc__picture *p) {
    struct heap_walk *walk = malloc(sizeof *walk);
    if (walk == NULL) {
        return -ENOMEM;
    }
    walk->arena = arena;
    walk->picture = p;
    walk->described = 0;
    int r = mproc__outside_read(arena, arena->base + offsetof(struct mproc__family, chunks),
                                &walk->chunks, sizeof walk->chunks);
    if (r == 0 && !is_good(arena, &walk->chunks)) {
        r = MPROC_ECORRUPT;
    }
    uint64_t top = r == 0 ? walk->chunks.top : 0, length = 1;
    for (uint64_t i = 0; r == 0 && i < top; i += length) {
        r = see_chunk(walk, i, top, &length);
    }
    p->used = walk->chunks.used << MPROC__CHUNK_SHIFT;
    p->warm = walk->chunks.warm << MPROC__CHUNK_SHIFT;
    p->limit = walk->chunks.limit << MPROC__CHUNK_SHIFT;
    free(walk);
    return r;
}
