/*
 * crash_heap.c - allocation and freeing, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * Inside the library an allocation moves a block into a word of the arena. So after the kill
 * the word holds a block or the block is free, and the number of blocks in use says which, to
 * the byte.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/family.h"
#include "core/heap.h"
#include "core/member.h"

#define SMALL ((size_t)48)
#define HALF_CHUNK ((size_t)32768) /* the largest small class: two blocks in a chunk */
#define CHUNK ((size_t)65536)
#define ARENA ((size_t)128 << 20) /* so small that pages are given back and memory runs out soon */
#define KEPT 64

struct scene {
    uint64_t word; /* the block that the operation is about */
    size_t size;
    size_t blocks; /* blocks in use before the operation, without that one */
    size_t kept;
    void *keep[KEPT];
};

static void allocate(struct scene *scene) {
    struct mproc__hand *hand = mproc__hand_get();
    if (mproc__heap_alloc(hand, scene->size, &scene->word) != 0) {
        abort();
    }
    mproc__hand_put(hand);
}

static void release(struct scene *scene) {
    struct mproc__hand *hand = mproc__hand_get();
    mproc__heap_free(hand, &scene->word);
    mproc__hand_put(hand);
}

/* ---- scenes: what the heap looks like before */

static struct scene *scene_of(size_t size) {
    struct scene *scene = crash_calloc(sizeof *scene);
    scene->size = size;
    return scene;
}

static struct scene *ready(struct scene *scene) {
    scene->blocks = crash_blocks() - (scene->word != 0);
    return scene;
}

static void *keep(struct scene *scene, size_t size) {
    void *block = mproc_alloc(size);
    crash_require(block != NULL && scene->kept < KEPT);
    scene->keep[scene->kept++] = block;
    return block;
}

static void unkeep(struct scene *scene, size_t i) {
    mproc_free(scene->keep[i]);
    scene->keep[i] = NULL;
}

static void *first_small(void) {
    return ready(scene_of(SMALL));
}

static void *warm_small(void) {
    struct scene *scene = scene_of(SMALL);
    unkeep(scene, (keep(scene, SMALL), 0));
    return ready(scene);
}

/* The class has chunks, and all are full. */
static void *full_class(void) {
    struct scene *scene = scene_of(HALF_CHUNK);
    for (int i = 0; i < 4; i++) {
        keep(scene, HALF_CHUNK);
    }
    return ready(scene);
}

static void *one_chunk(void) {
    return ready(scene_of(CHUNK));
}

static void *many_chunks(void) {
    return ready(scene_of(5 * CHUNK));
}

/* More than a family may use before it has looked how much memory there is. */
static void *limit_unknown(void) {
    struct scene *scene = ready(scene_of(70 * CHUNK));
    mproc__poke64(&mproc__family->chunks.limit, 0);
    return scene;
}

/* A free run that is larger than needed is split. */
static void *split_run(void) {
    struct scene *scene = scene_of(3 * CHUNK);
    keep(scene, 7 * CHUNK);
    keep(scene, CHUNK);
    unkeep(scene, 0);
    return ready(scene);
}

static void *small_in_use(void) {
    struct scene *scene = scene_of(SMALL);
    allocate(scene);
    return ready(scene);
}

/* The chunk is full; when the block is freed, the class has room again. */
static void *in_full_chunk(void) {
    struct scene *scene = scene_of(HALF_CHUNK);
    allocate(scene);
    keep(scene, HALF_CHUNK);
    return ready(scene);
}

/* Freeing the block empties a chunk that is not the only one with room, so the chunk goes back to
 * the chunk heap. */
static void *last_of_chunk(void) {
    struct scene *scene = scene_of(HALF_CHUNK);
    for (int i = 0; i < 3; i++) {
        keep(scene, HALF_CHUNK);
    }
    allocate(scene);
    unkeep(scene, 0);
    unkeep(scene, 2);
    return ready(scene);
}

static void *chunks_in_use(void) {
    struct scene *scene = scene_of(5 * CHUNK);
    allocate(scene);
    return ready(scene);
}

/* The run lies between two free runs and is merged with them. */
static void *between_free_runs(void) {
    struct scene *scene = scene_of(3 * CHUNK);
    keep(scene, 3 * CHUNK);
    allocate(scene);
    keep(scene, 4 * CHUNK);
    keep(scene, CHUNK);
    unkeep(scene, 0);
    unkeep(scene, 2);
    return ready(scene);
}

/* The block is larger than what is kept warm, so its pages go back to the system. */
static void *big_in_use(void) {
    struct scene *scene = scene_of(ARENA / 4);
    keep(scene, CHUNK);
    allocate(scene);
    keep(scene, CHUNK);
    return ready(scene);
}

static void fill_up(struct scene *scene) {
    for (size_t size = ARENA; size >= CHUNK; size /= 2) {
        void *block = mproc_alloc(size);
        while (block != NULL) {
            crash_require(scene->kept < KEPT);
            scene->keep[scene->kept++] = block;
            block = mproc_alloc(size);
        }
    }
}

/* All chunks are in use except a warm run and a cold run beside it, which are long enough only
 * together. */
static void *fragments(void) {
    struct scene *scene = scene_of(50 * CHUNK);
    keep(scene, 40 * CHUNK);
    keep(scene, 10 * CHUNK);
    fill_up(scene);
    unkeep(scene, 0);
    unkeep(scene, 1);
    return ready(scene);
}

static void *exhausted(void) {
    struct scene *scene = scene_of(2 * CHUNK);
    fill_up(scene);
    return ready(scene);
}

/* ---- the operations */

static void operate_alloc(void *object) {
    allocate(object);
}

static void operate_free(void *object) {
    release(object);
}

static void operate_public_free(void *object) {
    struct scene *scene = object;
    mproc_free((void *)(uintptr_t)scene->word);
}

static void operate_alloc_in_vain(void *object) {
    struct scene *scene = object;
    if (mproc_alloc(scene->size) != NULL) {
        abort();
    }
}

/* ---- and afterwards */

static void fill_block(void *block, size_t size) {
    crash_require(mproc__heap_size(block) >= size);
    crash_require((uintptr_t)block % (size >= CHUNK ? CHUNK : 16) == 0);
    memset(block, 0xa5, size < 2 * CHUNK ? size : 2 * CHUNK);
}

static void use(struct scene *scene) {
    void *blocks[3];
    size_t size = scene->size < CHUNK * 4 ? scene->size : CHUNK;
    for (int i = 0; i < 3; i++) {
        blocks[i] = mproc_alloc(size);
        crash_require(blocks[i] != NULL);
        fill_block(blocks[i], size);
        for (int j = 0; j < i; j++) {
            crash_require(blocks[i] != blocks[j]);
        }
    }
    crash_equal(crash_blocks(), scene->blocks + 3);
    for (int i = 0; i < 3; i++) {
        mproc_free(blocks[i]);
    }
    crash_equal(crash_blocks(), scene->blocks);
}

static void verify_word(struct scene *scene) {
    mproc_reap(); /* a block in the victim's hand is in use until then */
    crash_equal(crash_blocks(), scene->blocks + (scene->word != 0));
    if (scene->word != 0) {
        void *block = (void *)(uintptr_t)scene->word;
        size_t size = mproc__heap_size(block);
        /* While a big block is allocated, the word may hold a smaller one. */
        fill_block(block, size < scene->size && !crash_returned() ? size : scene->size);
        release(scene);
    }
    crash_equal(crash_blocks(), scene->blocks);
}

static void verify_alloc(void *object) {
    struct scene *scene = object;
    if (crash_returned()) {
        crash_require(scene->word != 0);
    }
    verify_word(scene);
    if (scene->size < 50 * CHUNK) {
        use(scene);
    }
}

static void verify_free(void *object) {
    struct scene *scene = object;
    if (crash_returned()) {
        crash_equal(scene->word, 0);
    }
    verify_word(scene);
    use(scene);
}

/* The victim calls the public function, whose word is the victim's own. */
static void verify_public_free(void *object) {
    struct scene *scene = object;
    mproc_reap();
    if (crash_blocks() == scene->blocks) {
        scene->word = 0;
    }
    verify_free(object);
}

static void verify_exhausted(void *object) {
    struct scene *scene = object;
    mproc_reap();
    crash_equal(crash_blocks(), scene->blocks);
    crash_require(mproc_alloc(scene->size) == NULL);
    crash_equal(crash_blocks(), scene->blocks);
}

static void clear(void *object) {
    struct scene *scene = object;
    for (size_t i = 0; i < scene->kept; i++) {
        mproc_free(scene->keep[i]);
    }
    mproc_free(scene);
}

#define ALLOC(name_, setup_)                                                                       \
    {                                                                                              \
        .name = "alloc " name_, .setup = (setup_), .operate = operate_alloc,                       \
        .verify = verify_alloc, .teardown = clear                                                  \
    }
#define FREE(name_, setup_)                                                                        \
    {                                                                                              \
        .name = "free " name_, .setup = (setup_), .operate = operate_free, .verify = verify_free,  \
        .teardown = clear                                                                          \
    }

static const struct crash_op ops[] = {
    ALLOC("small (first of its class)", first_small),
    ALLOC("small (warm)", warm_small),
    ALLOC("small (class needs a chunk)", full_class),
    ALLOC("one chunk", one_chunk),
    ALLOC("five chunks", many_chunks),
    ALLOC("seventy chunks (the limit is looked up)", limit_unknown),
    ALLOC("three chunks (splits a run)", split_run),
    ALLOC("fifty chunks (from fragments)", fragments),
    {.name = "alloc in vain",
     .setup = exhausted,
     .operate = operate_alloc_in_vain,
     .verify = verify_exhausted,
     .teardown = clear},
    FREE("small", small_in_use),
    FREE("small (in a full chunk)", in_full_chunk),
    FREE("small (last of its chunk)", last_of_chunk),
    FREE("five chunks", chunks_in_use),
    FREE("three chunks (merges both sides)", between_free_runs),
    FREE("big (pages go back)", big_in_use),
    {.name = "free small (public)",
     .setup = small_in_use,
     .operate = operate_public_free,
     .verify = verify_public_free,
     .teardown = clear},
};

int main(int argc, char **argv) {
    char span[32];
    snprintf(span, sizeof span, "%llu", (unsigned long long)ARENA);
    if (setenv("MPROC_ARENA_SPAN", span, 1) != 0) {
        return 70;
    }
    return crash_main(&crash_family, ops, sizeof ops / sizeof ops[0], argc, argv);
}
