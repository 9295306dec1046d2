/*
 * image.c - an image filter: processes smooth bands of an image that is in named shared memory
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include <mproc.h>

#define WIDTH 320
#define HEIGHT 240
#define BANDS 4
#define SIZE ((size_t)WIDTH * HEIGHT)

struct job {
    char source[64], target[64]; /* names */
    int band;
};

static unsigned at(const unsigned char *image, int x, int y) {
    x = x < 0 ? 0 : x >= WIDTH ? WIDTH - 1 : x;
    y = y < 0 ? 0 : y >= HEIGHT ? HEIGHT - 1 : y;
    return image[y * WIDTH + x];
}

/* Each pixel becomes the mean of itself and its four neighbours, rounded down. */
static void smooth_band(const unsigned char *old, unsigned char *new, int band) {
    for (int y = band * HEIGHT / BANDS; y < (band + 1) * HEIGHT / BANDS; y++) {
        for (int x = 0; x < WIDTH; x++) {
            unsigned total = at(old, x, y) + at(old, x - 1, y) + at(old, x + 1, y);
            new[y * WIDTH + x] =
                (unsigned char)((total + at(old, x, y - 1) + at(old, x, y + 1)) / 5);
        }
    }
}

static int smooth(void *arg, size_t size) {
    const struct job *job = arg;
    mproc_shm *source = NULL, *target = NULL;
    void *old, *new;
    (void)size;
    int failed = mproc_shm_open(&source, job->source) != 0 ||
                 mproc_shm_open(&target, job->target) != 0 || mproc_shm_data(source, &old) != 0 ||
                 mproc_shm_data(target, &new) != 0;
    if (!failed) {
        smooth_band(old, new, job->band);
    }
    mproc_shm_drop(source);
    mproc_shm_drop(target);
    return failed;
}

static unsigned long checksum(const unsigned char *pixels) {
    unsigned long total = 0;
    for (size_t i = 0; i < SIZE; i++) {
        total = (total + pixels[i] * (i % 251 + 1)) % 1000003;
    }
    return total;
}

static int run_workers(const char *source, const char *target) {
    mproc_process *workers[BANDS];
    int failed = 0, code;
    for (int i = 0; i < BANDS; i++) {
        struct job job = {.band = i};
        snprintf(job.source, sizeof job.source, "%s", source);
        snprintf(job.target, sizeof job.target, "%s", target);
        int r = mproc_process_start(&workers[i], smooth, &job, sizeof job, NULL);
        if (r != 0) {
            fprintf(stderr, "image: %s\n", mproc_strerror(r));
            return 1;
        }
    }
    for (int i = 0; i < BANDS; i++) {
        failed |= mproc_process_join(workers[i], MPROC_FOREVER) != 0 ||
                  mproc_process_exitcode(workers[i], &code) != 0 || code != 0;
        failed |= mproc_process_drop(workers[i]) != 0;
    }
    return failed;
}

static int make(mproc_shm **out, unsigned char **pixels) {
    void *data;
    int r = mproc_shm_create(out, NULL, SIZE, NULL);
    if (r == 0) {
        r = mproc_shm_data(*out, &data);
    }
    if (r == 0) {
        *pixels = data;
    }
    return r;
}

static int filter(mproc_shm *source, unsigned char *old, mproc_shm *target,
                  const unsigned char *new) {
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            old[y * WIDTH + x] = (unsigned char)(x * x + y * 7 + (x ^ y));
        }
    }
    if (run_workers(mproc_shm_name(source), mproc_shm_name(target)) != 0) {
        return 1;
    }
    printf("before: %lu\nafter: %lu\n", checksum(old), checksum(new));
    return 0;
}

int main(int argc, char **argv) {
    mproc_shm *source = NULL, *target = NULL;
    unsigned char *old = NULL, *new = NULL;
    int r = mproc_init(argc, argv);
    if (r != 0 || (r = make(&source, &old)) != 0 || (r = make(&target, &new)) != 0) {
        fprintf(stderr, "image: %s\n", mproc_strerror(r));
    }
    int failed = r != 0 || filter(source, old, target, new);
    if (source != NULL) {
        failed |= mproc_shm_unlink(mproc_shm_name(source)) != 0;
    }
    if (target != NULL) {
        failed |= mproc_shm_unlink(mproc_shm_name(target)) != 0;
    }
    mproc_shm_drop(source);
    mproc_shm_drop(target);
    return failed;
}
