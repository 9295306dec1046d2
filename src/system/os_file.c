/*
 * os_file.c - os.h for Linux: files that are memory, and have names
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "system/os.h"
#include "system/os_linux.h"

/* ---------------------------------------------------------------- making */

int mproc__os_file_nameless(const char *directory, mode_t mode) {
    return os_kept(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
}

int mproc__os_file_new(const char *path, mode_t mode) {
    return os_kept(open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, mode));
}

int mproc__os_file_open(const char *path) {
    return os_kept(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
}

int mproc__os_random(void *out, size_t size) {
    return getrandom(out, size, 0) == (ssize_t)size ? 0 : -EAGAIN;
}

/* ---------------------------------------------------------------- names */

/* By descriptor if the kernel lets us (root always, others from 6.10 on), through /proc
 * otherwise. */
int mproc__os_file_link(int fd, const char *path) {
    char from[32];
    if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    if (errno != ENOENT && errno != EPERM) {
        return -errno;
    }
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    return os_result(linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

int mproc__os_file_unlink(const char *path) {
    return os_result(unlink(path));
}

uint64_t mproc__os_file_inode(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 ? st.st_ino : 0;
}

/* ---------------------------------------------------------------- contents */

int mproc__os_file_look(int fd, size_t *size, uint64_t *inode) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    *size = (size_t)st.st_size;
    *inode = st.st_ino;
    return 0;
}

/* A file system without limits says 0 blocks of 0. */
int mproc__os_file_room(int fd, size_t size) {
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0) {
        return 0;
    }
    uint64_t need = (size + fs.f_bsize - 1) / fs.f_bsize;
    return need <= fs.f_bavail ? 0 : -ENOSPC;
}

int mproc__os_file_resize(int fd, size_t size) {
    if (ftruncate(fd, (off_t)size) != 0) {
        return errno == EFBIG || errno == EINVAL ? -ENOMEM : -errno;
    }
    return 0;
}

int mproc__os_file_write(int fd, const char *lent, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, lent + done, size - done, (off_t)done);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Linux' generic numbers; C libraries name them on demand only. */
#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

static struct flock lock_of(short type, uint64_t byte) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
}

int mproc__os_file_lock(int fd, uint64_t byte) {
    char path[32];
    struct flock lock = lock_of(F_RDLCK, byte);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int opened = os_kept(open(path, O_RDONLY | O_CLOEXEC));
    if (opened >= 0 && fcntl(opened, F_OFD_SETLK, &lock) != 0) {
        int error = errno;
        close(opened);
        return -error;
    }
    return opened;
}

/* What would be in the way of a lock that bears no other. */
bool mproc__os_file_locked(int fd, uint64_t byte) {
    struct flock lock = lock_of(F_WRLCK, byte);
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int mproc__os_file_map(int fd, size_t size, void **out) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    *out = p;
    return 0;
}
