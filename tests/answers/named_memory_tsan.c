/*
 * named_memory_tsan.c - named memory under ThreadSanitizer
 *
 * SPDX-License-Identifier: MIT
 *
 * run: built with -fsanitize=thread
 */
#include "answers.h"

static void create(const char *question, unsigned flags) {
    const mproc_shm_options options = {.flags = flags};
    mproc_shm *segment;
    int r = mproc_shm_create(&segment, NULL, 100, &options);
    answer_code(question, r);
    if (r == 0) {
        answer_code("unlink", mproc_shm_unlink(mproc_shm_name(segment)));
        mproc_shm_drop(segment);
    }
}

int main(int argc, char **argv) {
    if (mproc_init(argc, argv) != 0) {
        return 1;
    }
    create("create", 0);
    create("create to keep", MPROC_SHM_KEPT);
    return 0;
}
