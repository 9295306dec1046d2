/*
 * shm_name.c - the names of segments, and the files on /dev/shm that they stand for
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "core/shm_register.h"

/* shm_open() ignores leading slashes and refuses others. */
int mproc__shm_name_clean(const char *name, char out[MPROC__SHM_NAME]) {
    name += strspn(name, "/");
    size_t length = strlen(name);
    if (length == 0 || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    if (length >= MPROC__SHM_NAME) {
        return -ENAMETOOLONG;
    }
    memcpy(out, name, length + 1);
    return 0;
}

const char *mproc__shm_path(const char *name, char path[MPROC__SHM_PATH]) {
    memcpy(path, MPROC__SHM_PLACE "/", sizeof MPROC__SHM_PLACE);
    memcpy(path + sizeof MPROC__SHM_PLACE, name, strlen(name) + 1);
    return path;
}

/* The inode of the file that has the name now, 0: there is none. */
uint64_t mproc__shm_inode(const char *name) {
    char path[MPROC__SHM_PATH];
    return mproc__os_file_inode(mproc__shm_path(name, path));
}
