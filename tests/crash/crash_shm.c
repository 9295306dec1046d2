/*
 * crash_shm.c - named segments made and unlinked, killed after each instruction
 *
 * SPDX-License-Identifier: MIT
 *
 * Wherever the victim dies, a name that exists is registered, so that the watcher will unlink
 * it, and a name that does not exist is not registered. The register is the only memory in the
 * arena that a segment needs, so one block more than before is one registered name.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/family.h"

struct scene {
    mproc_shm *shm;
    char name[48];
    size_t blocks; /* blocks of the arena in use without the name */
    mode_t mode;
};

static bool exists(const char *name) {
    char path[80];
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    return access(path, F_OK) == 0;
}

/* Starts the watcher, so that it is not started in the window. */
static void *make(void) {
    mproc_shm *first;
    struct scene *scene = crash_room();
    crash_equal(mproc_shm_create(&first, NULL, 1, NULL), 0);
    crash_equal(mproc_shm_unlink(mproc_shm_name(first)), 0);
    mproc_shm_drop(first);
    snprintf(scene->name, sizeof scene->name, "mproc_crash_%d", (int)getpid());
    scene->blocks = crash_blocks();
    return scene;
}

static void *make_with_segment(void) {
    struct scene *scene = make();
    crash_equal(mproc_shm_create(&scene->shm, scene->name, 5000, NULL), 0);
    return scene;
}

static void *make_with_kept(void) {
    static const mproc_shm_options kept = {.flags = MPROC_SHM_KEPT};
    struct scene *scene = make();
    crash_equal(mproc_shm_create(&scene->shm, scene->name, 5000, &kept), 0);
    return scene;
}

static void unmake(void *object) {
    struct scene *scene = object;
    crash_require(!exists(scene->name));
    mproc_shm_drop(scene->shm);
    crash_end_watcher();
}

/* What the victim left is consistent, and the same name can be used again. */
static void use(struct scene *scene) {
    mproc_shm *shm;
    void *data;
    crash_check(mproc_shm_check(why, sizeof why));
    mproc_reap(); /* blocks are counted from here on */
    crash_equal(crash_blocks() - scene->blocks, exists(scene->name) ? 1 : 0);
    if (exists(scene->name)) {
        crash_equal(mproc_shm_open(&shm, scene->name), 0);
        crash_equal(mproc_shm_size(shm), 5000); /* never half made */
        mproc_shm_drop(shm);
        crash_equal(mproc_shm_unlink(scene->name), 0);
    }
    crash_equal(crash_blocks(), scene->blocks);
    crash_equal(mproc_shm_create(&shm, scene->name, 100, NULL), 0);
    crash_equal(mproc_shm_data(shm, &data), 0);
    memset(data, 1, 100);
    crash_equal(mproc_shm_unlink(scene->name), 0);
    mproc_shm_drop(shm);
    crash_equal(crash_blocks(), scene->blocks);
}

static void create(void *object) {
    struct scene *scene = object;
    mproc_shm *shm;
    if (mproc_shm_create(&shm, scene->name, 5000, NULL) != 0) {
        abort();
    }
}

static void verify_create(void *object) {
    struct scene *scene = object;
    if (crash_returned()) {
        crash_require(exists(scene->name));
    }
    use(scene);
}

/* ---- under a made-up name, which nobody knows but the victim: a mode tells which file is its */

/* Never 0600, which the segments of other programs have. */
static mode_t own_mode(void) {
    return S_IRUSR | S_IWUSR | S_IXOTH | ((unsigned)getpid() & 077);
}

/* How many segments with made-up names this family has; all have their size. */
static unsigned find_made_up(char name[48]) {
    char path[300];
    struct stat st;
    struct dirent *e;
    unsigned n = 0;
    DIR *place = opendir("/dev/shm");
    crash_require(place != NULL);
    while ((e = readdir(place)) != NULL) {
        snprintf(path, sizeof path, "/dev/shm/%s", e->d_name);
        if (strncmp(e->d_name, "psm_", 4) == 0 && stat(path, &st) == 0 &&
            (st.st_mode & 0777) == own_mode() && (st.st_size == 0 || st.st_size == 54321)) {
            crash_equal(st.st_size, 54321); /* never half made */
            snprintf(name, 48, "%.47s", e->d_name);
            n++;
        }
    }
    closedir(place);
    return n;
}

static void *make_with_mode(void) {
    umask(0);
    struct scene *scene = make();
    scene->mode = own_mode();
    return scene;
}

static void create_made_up(void *object) {
    const struct scene *scene = object;
    mproc_shm *shm;
    if (mproc_shm_create(&shm, NULL, 54321, &(mproc_shm_options){.mode = scene->mode}) != 0) {
        abort();
    }
}

static void verify_made_up(void *object) {
    struct scene *scene = object;
    char name[48];
    crash_check(mproc_shm_check(why, sizeof why));
    mproc_reap();
    unsigned n = find_made_up(name);
    crash_require(n <= 1 && (n == 1 || !crash_returned()));
    crash_equal(crash_blocks() - scene->blocks, n);
    if (n == 1) {
        crash_equal(mproc_shm_unlink(name), 0);
    }
    use(scene);
}

static void create_in_vain(void *object) {
    struct scene *scene = object;
    mproc_shm *shm;
    if (mproc_shm_create(&shm, scene->name, 100, NULL) != -EEXIST) {
        abort();
    }
}

static void verify_in_vain(void *object) {
    struct scene *scene = object;
    crash_require(exists(scene->name));
    use(scene);
}

static void unlink_it(void *object) {
    struct scene *scene = object;
    if (mproc_shm_unlink(scene->name) != 0) {
        abort();
    }
}

static void verify_unlink(void *object) {
    struct scene *scene = object;
    if (crash_returned()) {
        crash_require(!exists(scene->name));
    }
    use(scene);
}

static void use_data(void *object) {
    struct scene *scene = object;
    void *data;
    if (mproc_shm_data(scene->shm, &data) != 0) {
        abort();
    }
    mproc_shm_drop(scene->shm);
}

static void claim(void *object) {
    struct scene *scene = object;
    if (mproc_shm_claim(scene->name) != 0) {
        abort();
    }
}

/* The file is registered as the family's, or it is not. */
static void verify_claim(void *object) {
    struct scene *scene = object;
    crash_check(mproc_shm_check(why, sizeof why));
    mproc_reap();
    size_t registered = crash_blocks() - scene->blocks;
    crash_require(registered == 1 || (registered == 0 && !crash_returned()));
    crash_equal(mproc_shm_claim(scene->name), 0);
    use(scene);
}

/* ---- after a review of all others: one name that exists, two that a stranger unlinked */

static void other_name(const struct scene *scene, char letter, char out[64]) {
    snprintf(out, 64, "%s%c", scene->name, letter);
}

static void *make_with_others(void) {
    struct scene *scene = make();
    for (char letter = 'a'; letter <= 'c'; letter++) {
        char name[64];
        mproc_shm *shm;
        other_name(scene, letter, name);
        crash_equal(mproc_shm_create(&shm, name, 1, NULL), 0);
        mproc_shm_drop(shm);
        if (letter != 'b') {
            crash_equal(shm_unlink(name), 0);
        }
    }
    mproc__store64(&mproc__family->shms.limit, 0);
    return scene;
}

static void verify_review(void *object) {
    struct scene *scene = object;
    char name[64];
    mproc_shm *shm;
    crash_check(mproc_shm_check(why, sizeof why));
    mproc_reap();
    mproc__store64(&mproc__family->shms.limit, 0);
    crash_equal(mproc_shm_create(&shm, NULL, 1, NULL), 0);
    crash_equal(crash_blocks() - scene->blocks, exists(scene->name) ? 3 : 2);
    crash_equal(mproc_shm_unlink(mproc_shm_name(shm)), 0);
    mproc_shm_drop(shm);
    other_name(scene, 'b', name);
    crash_require(exists(name));
    crash_equal(mproc_shm_unlink(name), 0);
    verify_create(object);
}

static const struct crash_op ops[] = {
    {.name = "shm create",
     .setup = make,
     .operate = create,
     .verify = verify_create,
     .teardown = unmake},
    {.name = "shm create (made-up name)",
     .setup = make_with_mode,
     .operate = create_made_up,
     .verify = verify_made_up,
     .teardown = unmake},
    {.name = "shm create (reviews all)",
     .setup = make_with_others,
     .operate = create,
     .verify = verify_review,
     .teardown = unmake},
    {.name = "shm create (name taken)",
     .setup = make_with_segment,
     .operate = create_in_vain,
     .verify = verify_in_vain,
     .teardown = unmake},
    {.name = "shm unlink",
     .setup = make_with_segment,
     .operate = unlink_it,
     .verify = verify_unlink,
     .teardown = unmake},
    {.name = "shm claim",
     .setup = make_with_kept,
     .operate = claim,
     .verify = verify_claim,
     .teardown = unmake},
    {.name = "shm data, close",
     .setup = make_with_segment,
     .operate = use_data,
     .verify = verify_in_vain,
     .teardown = unmake},
};

CRASH_MAIN(ops)
