/*
 * test_shm.c - named shared memory: names, sizes, owners, and what is unlinked when all are dead
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "deny.h"
#include "made.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/join.h"

static const char *own_name(const char *what) {
    static char name[64];
    snprintf(name, sizeof name, "mproc_test_%s_%d", what, (int)getpid());
    return name;
}

static bool exists(const char *name) {
    char path[300];
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    return access(path, F_OK) == 0;
}

static void until_gone(const char *name) {
    while (exists(name)) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static mproc_shm *make(const char *name, size_t size) {
    mproc_shm *shm;
    CHECK_OK(mproc_shm_create(&shm, name, size, NULL));
    return shm;
}

static char *data(mproc_shm *shm) {
    void *p;
    CHECK_OK(mproc_shm_data(shm, &p));
    return p;
}

static void check(void) {
    char why[200] = "";
    if (mproc_shm_check(why, sizeof why) != 0) {
        test_fail(__FILE__, __LINE__, "%s", why);
    }
}

TEST(shm_is_shared_by_name) {
    const char *name = own_name("shared");
    mproc_shm *one = make(name, 1000), *two;
    CHECK_OK(mproc_shm_open(&two, name));
    CHECK_STR(mproc_shm_name(two), name);
    CHECK_EQ(mproc_shm_size(one), 1000);
    CHECK_EQ(mproc_shm_size(two), 1000);
    CHECK_NE(mproc_shm_fd(one), mproc_shm_fd(two));
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(data(two)[i], 0);
    }
    strcpy(data(one) + 900, "hello");
    CHECK_STR(data(two) + 900, "hello");
    CHECK(data(one) == data(one));
    mproc_shm_drop(two);
    check();
    CHECK_OK(mproc_shm_unlink(name));
    CHECK(!exists(name));
    CHECK_STR(data(one) + 900, "hello"); /* the memory lives as long as a mapping of it */
    mproc_shm_drop(one);
    check();
}

TEST(shm_gets_a_name_and_permissions) {
    char path[300];
    struct stat st;
    mproc_shm *a = make(NULL, 1), *b;
    CHECK_OK(mproc_shm_create(&b, NULL, 1, &(mproc_shm_options){.mode = 0640}));
    CHECK(strncmp(mproc_shm_name(a), "psm_", 4) == 0);
    CHECK_NE(strcmp(mproc_shm_name(a), mproc_shm_name(b)), 0);
    snprintf(path, sizeof path, "/dev/shm/%s", mproc_shm_name(a));
    CHECK_OK(stat(path, &st));
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK_OK(fstat(mproc_shm_fd(b), &st));
    CHECK_EQ(st.st_mode & 0777, 0640 & ~umask(0));
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(a)));
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(b)));
    mproc_shm_drop(a);
    mproc_shm_drop(b);
    mproc_shm_drop(NULL);
}

TEST(shm_is_interchangeable_with_posix) {
    const char *name = own_name("posix");
    char with_slash[80];
    mproc_shm *shm = make(name, 4096);
    snprintf(with_slash, sizeof with_slash, "/%s", name);
    int fd = shm_open(with_slash, O_RDWR, 0);
    CHECK_GE(fd, 0);
    char *theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    strcpy(theirs, "theirs");
    CHECK_STR(data(shm), "theirs");
    CHECK_OK(shm_unlink(with_slash));
    CHECK_EQ(mproc_shm_unlink(with_slash), -ENOENT);
    check();
    mproc_shm_drop(shm);

    close(fd);
    fd = shm_open(with_slash, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK_EQ(mproc_shm_open(&shm, with_slash), -ENODATA);
    CHECK_OK(ftruncate(fd, 5000));
    CHECK_OK(mproc_shm_open(&shm, with_slash));
    CHECK_EQ(mproc_shm_size(shm), 5000);
    CHECK_OK(mproc_shm_unlink(name));
    mproc_shm_drop(shm);
    munmap(theirs, 4096);
    close(fd);
}

TEST(shm_refuses_bad_input) {
    const char *name = own_name("bad");
    mproc_shm *shm = NULL, *again;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[255] = 0;
    CHECK_EQ(mproc_shm_create(&shm, name, 0, NULL), -EINVAL);
    CHECK_EQ(mproc_shm_create(&shm, "", 1, NULL), -EINVAL);
    CHECK_EQ(mproc_shm_create(&shm, "/", 1, NULL), -EINVAL);
    CHECK_EQ(mproc_shm_create(&shm, "..", 1, NULL), -EINVAL);
    CHECK_EQ(mproc_shm_create(&shm, "a/b", 1, NULL), -EINVAL);
    CHECK_EQ(mproc_shm_create(&shm, longest, 1, NULL), -ENAMETOOLONG);
    CHECK_EQ(mproc_shm_create(&shm, name, SIZE_MAX, NULL), -ENOMEM);
    CHECK_EQ(mproc_shm_create(&shm, name, (size_t)1 << 60, NULL), -ENOSPC);
    CHECK_EQ(mproc_shm_create(&shm, name, 1, &(mproc_shm_options){.flags = 8}), -EINVAL);
    CHECK_EQ(mproc_shm_open(&shm, name), -ENOENT);
    CHECK_EQ(mproc_shm_open(&shm, "a/b"), -EINVAL);
    CHECK_EQ(mproc_shm_unlink(name), -ENOENT);
    CHECK_EQ(mproc_shm_unlink("a/b"), -EINVAL);
    CHECK_EQ(mproc_shm_keep(name), -ENOENT);
    CHECK_EQ(mproc_shm_claim(name), -ENOENT);
    CHECK_EQ(mproc_shm_claim("a/b"), -EINVAL);
    CHECK(shm == NULL);
    shm = make(name, 1);
    CHECK_EQ(mproc_shm_create(&again, name, 1, NULL), -EEXIST);
    check();
    CHECK_OK(mproc_shm_unlink(name));
    mproc_shm_drop(shm);
    longest[254] = 0;
    shm = make(longest, 1);
    CHECK_OK(mproc_shm_unlink(longest));
    mproc_shm_drop(shm);
}

TEST(shm_leaves_the_arena_as_it_was) {
    mproc_shm *first = make(NULL, 1);
    size_t used = test_arena_used(), fds = test_open_fds(), mappings = test_mappings();
    for (int i = 0; i < 100; i++) {
        mproc_shm *shm = make(NULL, 10000);
        data(shm)[9999] = 1;
        CHECK_OK(mproc_shm_unlink(mproc_shm_name(shm)));
        mproc_shm_drop(shm);
    }
    CHECK_EQ(test_arena_used(), used);
    CHECK_EQ(test_open_fds(), fds);
    CHECK_EQ(test_mappings(), mappings);
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(first)));
    mproc_shm_drop(first);
}

/* A segment that a stranger has unlinked is forgotten when a member wants to unlink or keep it. */
TEST(shm_unlinked_by_a_stranger_is_forgotten) {
    mproc_shm *first = make(NULL, 1), *shm;
    size_t used = test_arena_used();
    shm = make(own_name("strange"), 1);
    CHECK_OK(shm_unlink(mproc_shm_name(shm)));
    CHECK_EQ(mproc_shm_unlink(mproc_shm_name(shm)), -ENOENT);
    CHECK_EQ(test_arena_used(), used);
    mproc_shm_drop(shm);
    shm = make(own_name("strange"), 1);
    CHECK_OK(shm_unlink(mproc_shm_name(shm)));
    CHECK_EQ(mproc_shm_keep(mproc_shm_name(shm)), -ENOENT);
    CHECK_EQ(test_arena_used(), used);
    mproc_shm_drop(shm);
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(first)));
    mproc_shm_drop(first);
}

/* Segments that strangers unlinked and no member asks for are forgotten when there are too many:
 * the register never has many more entries than there are segments. */
TEST(shm_register_does_not_grow_with_what_strangers_unlink) {
    enum { STAYING = 100, GONE = 1000 };
    mproc_shm *staying[STAYING];
    for (int i = 0; i < STAYING; i++) {
        staying[i] = make(NULL, 1);
    }
    CHECK_EQ(mproc__family->shms.count, STAYING);
    for (int i = 0; i < GONE; i++) {
        mproc_shm *shm = make(NULL, 1);
        CHECK_OK(shm_unlink(mproc_shm_name(shm)));
        mproc_shm_drop(shm);
        CHECK_LE(mproc__family->shms.count, 2 * STAYING + 1);
        CHECK_LE(mproc__family->shms.limit, 2 * STAYING + 2);
    }
    check();
    for (int i = 0; i < STAYING; i++) {
        CHECK_OK(mproc_shm_unlink(mproc_shm_name(staying[i])));
        mproc_shm_drop(staying[i]);
    }
    CHECK_GT(mproc__family->shms.count, 0);
    mproc__store64(&mproc__family->shms.limit,
                   0); /* the next creation reviews the whole register */
    mproc_shm *last = make(NULL, 1);
    CHECK_EQ(mproc__family->shms.count, 1);
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(last)));
    mproc_shm_drop(last);
}

/* A forked child goes on as its parent's thread, but draws other random numbers. */
TEST(shm_made_up_names_differ_between_parent_and_child) {
    int status;
    mproc_shm *shm = make(NULL, 1);
    pid_t child = fork();
    mproc_shm *next = make(NULL, 1);
    if (child == 0) {
        char *name = data(shm); /* which the child inherited */
        _exit(name == NULL || mproc_shm_unlink(mproc_shm_name(next)) != 0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK(exists(mproc_shm_name(next)));
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(next)));
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(shm)));
    mproc_shm_drop(next);
    mproc_shm_drop(shm);
}

/* ---------------------------------------------------------------- no room */

/* Mounts a /dev/shm of that size for this process and its children. */
static void own_place(const char *size) {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("own", "/dev/shm", "tmpfs", 0, size) != 0) {
        test_skip("may not mount a /dev/shm of its own");
    }
}

static void small_place(void) {
    own_place("size=1m");
}

static size_t count_names(void) {
    size_t n = 0;
    DIR *place = opendir("/dev/shm");
    CHECK(place != NULL);
    for (struct dirent *e; (e = readdir(place)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    closedir(place);
    return n;
}

TEST(shm_without_room_is_an_error_when_made) {
    mproc_shm *a, *b;
    small_place();
    CHECK_EQ(mproc_shm_create(&a, "big", (1 << 20) + 1, NULL), -ENOSPC);
    a = make("half", 600000);
    data(a);
    CHECK_EQ(mproc_shm_create(&b, "half2", 600000, NULL), -ENOSPC);
    CHECK(!exists("half2"));
    size_t used = test_arena_used();
    CHECK_EQ(mproc_shm_create(&b, NULL, 600000, NULL), -ENOSPC);
    CHECK_EQ(test_arena_used(), used);
    CHECK_EQ(count_names(), 1);
    b = make("rest", 400000);
    memset(data(a), 1, 600000);
    memset(data(b), 1, 400000);
    check();
    CHECK_OK(mproc_shm_unlink("half"));
    CHECK_OK(mproc_shm_unlink("rest"));
    mproc_shm_drop(a);
    mproc_shm_drop(b);
}

/* Two threads populate the pages of a big segment; afterwards one thread is left. */
TEST(shm_that_is_big_has_all_its_pages_or_none) {
    void *p;
    mproc_shm *big, *small;
    unsigned char there[(40 << 20) / 4096];
    own_place("size=48m");
    big = make("big", 40 << 20);
    small = make("small", 10 << 20);
    data(small);
    CHECK_EQ(mproc_shm_data(big, &p), -ENOSPC);
    CHECK_OK(mproc_shm_unlink("small"));
    mproc_shm_drop(small);
    CHECK_OK(mincore(data(big), 40 << 20, there));
    for (size_t i = 0; i < sizeof there; i++) {
        CHECK(there[i] & 1);
    }
    memset(data(big), 1, 40 << 20);
    CHECK_OK(mproc_shm_unlink("big"));
    mproc_shm_drop(big);
}

/* As with kernels before 5.14: the file has its pages, but they are not mapped yet. */
TEST(shm_without_populating_has_its_room_too) {
    void *p;
    mproc_shm *a, *b;
    small_place();
    a = make("a", 600000);
    b = make("b", 600000);
    deny(SYS_madvise, -1, EINVAL);
    memset(data(a), 1, 600000);
    CHECK_EQ(mproc_shm_data(b, &p), -ENOSPC);
    CHECK_OK(mproc_shm_unlink("a"));
    CHECK_OK(mproc_shm_unlink("b"));
    mproc_shm_drop(a);
    mproc_shm_drop(b);
}

TEST(shm_that_lost_its_room_is_an_error_when_first_used) {
    void *p;
    mproc_shm *a, *b;
    small_place();
    a = make("a", 600000);
    b = make("b", 600000);
    memset(data(a), 1, 600000);
    CHECK_EQ(mproc_shm_data(b, &p), -ENOSPC);
    CHECK_OK(mproc_shm_unlink("a"));
    mproc_shm_drop(a);
    memset(data(b), 1, 600000);
    CHECK_OK(mproc_shm_unlink("b"));
    mproc_shm_drop(b);
}

/* ---------------------------------------------------------------- families that end */

/* Starts a family of its own, by a plain fork() of a process that has no family yet. */
static pid_t start_family(void (*run)(int out), int *in) {
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        close(ends[0]);
        run(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    *in = ends[0];
    return pid;
}

static void say(int out, const char *name) {
    char text[64] = "";
    snprintf(text, sizeof text, "%s", name);
    if (write(out, text, sizeof text) != sizeof text) {
        _exit(3);
    }
}

static void hear(int in, char name[64]) {
    CHECK_EQ(read(in, name, 64), 64);
}

static void expect_killed(pid_t pid) {
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void quiet(void) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDERR_FILENO);
}

static void make_and_wait(int out) {
    quiet();
    mproc_shm *shm = make(NULL, 5000);
    data(shm);
    say(out, mproc_shm_name(shm));
    pause();
}

TEST_BARE(shm_of_a_killed_family_is_unlinked) {
    char name[64];
    int in;
    pid_t pid = start_family(make_and_wait, &in);
    hear(in, name);
    CHECK(exists(name));
    kill(pid, SIGKILL);
    expect_killed(pid);
    until_gone(name);
    close(in);
}

/* Leaves a segment as if its maker had died between making the file and learning its inode. No
 * other process can know the inode. */
static void make_half(int out) {
    dup2(out, STDERR_FILENO);
    mproc_shm *shm = make(NULL, 5000);
    struct mproc__segment *s =
        (struct mproc__segment *)(uintptr_t)mproc__family->shms.first; /* the newest */
    s->inode = 0;
    s->busy = mproc__self_token();
    check();
    say(out, mproc_shm_name(shm));
    kill(getpid(), SIGKILL);
}

TEST_BARE(shm_half_made_by_a_killed_family_is_unlinked_silently) {
    char name[64], byte;
    int in;
    pid_t pid = start_family(make_half, &in);
    hear(in, name);
    expect_killed(pid);
    CHECK_EQ(read(in, &byte, 1), 0); /* to the watcher's end */
    CHECK(!exists(name));
    close(in);
}

/* Leaves an entry as only a stray write can: its name leads out of the directory to a file. */
static struct mproc__segment *misname(uint64_t busy, char file[6]) {
    char path[32];
    mproc_shm *shm = make(NULL, 5000);
    struct mproc__segment *s = (struct mproc__segment *)(uintptr_t)mproc__family->shms.first;
    snprintf(path, sizeof path, "/dev/shm/%s", mproc_shm_name(shm));
    CHECK_OK(unlink(path));
    mproc_shm_drop(shm);
    snprintf(file, 6, "fz%03u", (unsigned)getpid() % 1000);
    snprintf(path, sizeof path, "/dev/shm/%s", file);
    close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    CHECK(exists(file));
    snprintf(s->name, 13, "../shm/%s", file); /* as long as the name that was there */
    s->inode = 0;
    s->busy = busy;
    return s;
}

static void make_misnamed(int out) {
    char file[6], why[100];
    dup2(out, STDERR_FILENO);
    (void)misname(mproc__self_token(), file);
    CHECK_EQ(mproc_shm_check(why, sizeof why), MPROC_ECORRUPT);
    say(out, file);
    kill(getpid(), SIGKILL);
}

static void remove_file(const char *file) {
    char path[80];
    snprintf(path, sizeof path, "/dev/shm/%s", file);
    CHECK_OK(unlink(path));
}

TEST_BARE(shm_watcher_unlinks_nothing_by_a_bad_name) {
    char file[64], byte;
    int in;
    pid_t pid = start_family(make_misnamed, &in);
    hear(in, file);
    expect_killed(pid);
    CHECK_EQ(read(in, &byte, 1), 0); /* to the watcher's end */
    CHECK(exists(file));
    remove_file(file);
    close(in);
}

TEST_BARE(shm_reaper_unlinks_nothing_by_a_bad_name) {
    const uint64_t dead = UINT64_C(99) << 32 | 7;
    char file[6];
    (void)misname(dead, file);
    struct mproc__hand *hand = mproc__hand_get();
    mproc__shms_reap(hand, dead);
    mproc__hand_put(hand);
    CHECK(exists(file));
    CHECK_EQ(mproc__family->shms.first, 0);
    check();
    remove_file(file);
}

/* The maker of the segment dies. Another member of the family lives on, then dies, too. */
static void make_in_a_child(int out) {
    quiet();
    mproc_member self;
    mproc_lock *lock = made_lock(0); /* founds the family */
    CHECK(lock != NULL && mproc_self(&self) == 0);
    pid_t child = fork();
    if (child == 0) {
        mproc_shm *shm = make(NULL, 5000);
        say(out, mproc_shm_name(shm));
        kill(getpid(), SIGKILL);
    }
    waitpid(child, NULL, 0);
    mproc_reap();
    say(out, "");
    pause();
}

TEST_BARE(shm_lives_as_long_as_its_family) {
    char name[64], ignored[64];
    int in;
    pid_t pid = start_family(make_in_a_child, &in);
    hear(in, name);
    hear(in, ignored);
    CHECK(exists(name)); /* its maker is dead and reaped, the family is not */
    mproc_shm *shm;
    CHECK_OK(mproc_shm_open(&shm, name)); /* a stranger attaches and goes */
    mproc_shm_drop(shm);
    CHECK(exists(name));
    kill(pid, SIGKILL);
    expect_killed(pid);
    until_gone(name);
    close(in);
}

static void attach_and_end(int out) {
    char name[64];
    mproc_shm *own, *other;
    dup2(out, STDERR_FILENO);
    CHECK_OK(mproc_shm_create(&own, NULL, 1, NULL)); /* there is a watcher */
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(own)));
    snprintf(name, sizeof name, "mproc_test_attached_%d", (int)getppid());
    CHECK_OK(mproc_shm_open(&other, name));
    void *p;
    CHECK_OK(mproc_shm_data(other, &p));
}

/* The segment would go if attaching made an owner. When stderr ends, the watcher has ended. */
TEST_BARE(shm_attached_by_strangers_stays) {
    const char *name = own_name("attached");
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), in;
    CHECK_OK(ftruncate(fd, 100));
    close(fd);
    pid_t pid = start_family(attach_and_end, &in);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    char byte;
    CHECK_EQ(read(in, &byte, 1), 0);
    CHECK(exists(name));
    CHECK_OK(shm_unlink(name));
    close(in);
}

static void make_kept(int out) {
    mproc_shm *a, *b;
    quiet();
    CHECK_OK(mproc_shm_create(&a, NULL, 1, &(mproc_shm_options){.flags = MPROC_SHM_KEPT}));
    CHECK_OK(mproc_shm_create(&b, NULL, 1, NULL));
    CHECK_OK(mproc_shm_keep(mproc_shm_name(b)));
    mproc_shm *c = make(
        NULL, 1); /* the watcher must unlink this one: when it is gone, the watcher has been here */
    say(out, mproc_shm_name(a));
    say(out, mproc_shm_name(b));
    say(out, mproc_shm_name(c));
}

TEST_BARE(shm_that_is_kept_stays) {
    char a[64], b[64], c[64];
    int in;
    pid_t pid = start_family(make_kept, &in);
    hear(in, a);
    hear(in, b);
    hear(in, c);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    until_gone(c);
    CHECK(exists(a) && exists(b));
    CHECK_OK(mproc_shm_unlink(a));
    CHECK_OK(mproc_shm_unlink(b));
    close(in);
}

#ifdef __GLIBC__
#define SEMAPHORE_FILE "sem.%s"
#else /* musl */
#define SEMAPHORE_FILE "%s"
#endif

/* Claims the file of a semaphore that sem_open() made, and a segment that was to be kept. */
static void claim_two(int out) {
    char name[64], file[80];
    mproc_shm *kept;
    quiet();
    snprintf(name, sizeof name, "mproc_test_claim_%d", (int)getpid());
    snprintf(file, sizeof file, SEMAPHORE_FILE, name);
    CHECK(sem_open(name, O_CREAT | O_EXCL, 0600, 1) != SEM_FAILED);
    CHECK_OK(mproc_shm_create(&kept, NULL, 1, &(mproc_shm_options){.flags = MPROC_SHM_KEPT}));
    CHECK_OK(mproc_shm_claim(file));
    CHECK_OK(mproc_shm_claim(mproc_shm_name(kept)));
    CHECK_OK(mproc_shm_claim(mproc_shm_name(kept))); /* it is the family's already: S2 holds */
    check();
    say(out, file);
    say(out, mproc_shm_name(kept));
    pause();
}

TEST_BARE(shm_that_is_claimed_goes_with_the_family) {
    char semaphore[64], kept[64];
    int in;
    pid_t pid = start_family(claim_two, &in);
    hear(in, semaphore);
    hear(in, kept);
    CHECK(exists(semaphore) && exists(kept));
    kill(pid, SIGKILL);
    expect_killed(pid);
    until_gone(semaphore);
    until_gone(kept);
    close(in);
}

/* A segment that a stranger made under an unlinked one's name does not belong to the family. */
static void make_then_replace(int out) {
    quiet();
    mproc_shm *shm = make(NULL, 100), *last;
    CHECK_OK(shm_unlink(mproc_shm_name(shm)));
    int fd = shm_open(mproc_shm_name(shm), O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK_OK(ftruncate(fd, 100));
    last = make(NULL, 1);
    say(out, mproc_shm_name(shm));
    say(out, mproc_shm_name(last));
}

TEST_BARE(shm_replaced_by_a_stranger_stays) {
    char name[64], last[64];
    int in;
    pid_t pid = start_family(make_then_replace, &in);
    hear(in, name);
    hear(in, last);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    until_gone(last);
    CHECK(exists(name));
    CHECK_OK(mproc_shm_unlink(name));
    close(in);
}

/* ---------------------------------------------------------------- soak */

#define SOAK_SEGMENTS 2000
#define SOAK_MEMBERS 3
#define SOAK_NAMES 40

/* In the arena. */
struct soak {
    uint64_t made;
    uint64_t failed; /* a code that was not expected */
};

static void expect_one_of(struct soak *soak, int r, int other) {
    if (r != 0 && r != other) {
        mproc__store64(&soak->failed, (uint64_t)-r);
    }
}

static void soak_once(struct soak *soak, unsigned *seed) {
    char name[32];
    mproc_shm *shm = NULL;
    unsigned what = (unsigned)rand_r(seed) % 8;
    snprintf(name, sizeof name, "soak_%u", (unsigned)rand_r(seed) % SOAK_NAMES);
    if (what < 3) {
        expect_one_of(soak, mproc_shm_create(&shm, what == 0 ? name : NULL, 5000, NULL), -EEXIST);
        mproc__add64(&soak->made, shm != NULL);
    } else if (what < 6) {
        expect_one_of(soak, mproc_shm_open(&shm, name), -ENOENT);
    } else {
        expect_one_of(soak, mproc_shm_unlink(name), -ENOENT);
    }
    if (shm != NULL) {
        void *p;
        expect_one_of(soak, what % 2 ? mproc_shm_data(shm, &p) : 0, 0);
        if (rand_r(seed) % 4 != 0) { /* otherwise it is left behind */
            expect_one_of(soak, mproc_shm_unlink(mproc_shm_name(shm)), -ENOENT);
        }
        mproc_shm_drop(shm);
    }
}

static pid_t start_soaking(struct soak *soak, unsigned seed) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    while (pid == 0) {
        soak_once(soak, &seed);
    }
    return pid;
}

static const struct mproc__segment *segment_at(uint64_t word) {
    return (const struct mproc__segment *)(uintptr_t)word;
}

static size_t count_registered(void) {
    size_t n = 0;
    for (uint64_t i = mproc__family->shms.first; i != 0; i = segment_at(i)->next) {
        n++;
    }
    return n;
}

static bool is_registered(const char *name) {
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "/dev/shm/%s", name);
    CHECK_OK(stat(path, &st));
    for (uint64_t i = mproc__family->shms.first; i != 0; i = segment_at(i)->next) {
        if (strcmp(segment_at(i)->name, name) == 0 && segment_at(i)->inode == st.st_ino) {
            return true;
        }
    }
    return false;
}

static void expect_registered(void) {
    DIR *place = opendir("/dev/shm");
    CHECK(place != NULL);
    for (struct dirent *e; (e = readdir(place)) != NULL;) {
        CHECK(e->d_name[0] == '.' || is_registered(e->d_name));
    }
    closedir(place);
}

static void soak_all(int out) {
    pid_t pids[SOAK_MEMBERS] = {0};
    unsigned seed = 1, killed = 0;
    quiet();
    mproc_shm_drop(make("soak_first", 1));
    struct soak *soak = mproc_calloc(1, sizeof *soak);
    CHECK(soak != NULL);
    for (unsigned i = 0; mproc__load64(&soak->made) < SOAK_SEGMENTS; i++) {
        pid_t *pid = &pids[i % SOAK_MEMBERS];
        if (*pid != 0) {
            kill(*pid, SIGKILL);
            expect_killed(*pid);
            killed++;
        }
        *pid = start_soaking(soak, i);
        nanosleep(&(struct timespec){0, rand_r(&seed) % 500000}, NULL);
        check();
    }
    for (int i = 0; i < SOAK_MEMBERS && pids[i] != 0; i++) {
        kill(pids[i], SIGKILL);
        expect_killed(pids[i]);
    }
    mproc_reap();
    check();
    CHECK_EQ(mproc__load64(&soak->failed), 0);
    expect_registered();
    CHECK_LE(count_registered(),
             count_names() +
                 killed); /* each killed member may have left a registered name without a file */
    say(out, "done");
    pause();
}

/* Members make, attach and unlink segments and are killed at random. Every segment that exists is
 * registered, nothing else is, and all of them go with the family. */
TEST_BARE(shm_of_many_killed_members_leaves_nothing) {
    char done[64] = "";
    int in;
    own_place("size=64m");
    pid_t pid = start_family(soak_all, &in);
    hear(in, done);
    CHECK_STR(done, "done");
    CHECK_GE(count_names(), 2);
    kill(pid, SIGKILL);
    expect_killed(pid);
    while (count_names() > 0) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    close(in);
}

/* ---------------------------------------------------------------- the watcher */

/* Returns the watcher, which is an orphan and so a child of this subreaper; 0 if there is none. */
static pid_t find_watcher(void) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    long pid, found = 0;
    while (f != NULL && fscanf(f, "%ld", &pid) == 1) {
        snprintf(path, sizeof path, "/proc/%ld/comm", pid);
        FILE *comm = fopen(path, "re");
        if (comm != NULL && fgets(text, sizeof text, comm) != NULL &&
            strcmp(text, "mproc-watcher\n") == 0) {
            found = pid;
        }
        if (comm != NULL) {
            fclose(comm);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return (pid_t)found;
}

static pid_t wait_for_watcher(void) {
    pid_t pid;
    while ((pid = find_watcher()) == 0) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    return pid;
}

static size_t count_fds(pid_t pid) {
    char path[64];
    size_t n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        n += lstat(path, &st) == 0;
    }
    return n;
}

/* Waits until the process has so many descriptors. A watcher has one more while it looks at a
 * member. */
static void await_fds(pid_t pid, size_t n) {
    while (count_fds(pid) != n) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

#if !TEST_ASAN && !TEST_TSAN
/* Resident pages of private anonymous memory, in KiB. */
static long anonymous_of(pid_t pid) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        sscanf(line, "Anonymous: %ld", &kib);
    }
    if (f != NULL) {
        fclose(f);
    }
    return kib;
}
#endif

static void big_maker(int out) {
    size_t size = (size_t)64 << 20;
    char *big = malloc(size);
    CHECK(big != NULL);
    memset(big, 1, size);
    make_and_wait(out);
}

/* A family whose first member has made a segment, and its watcher. */
struct watched {
    pid_t maker, watcher;
    int in;
    char name[64]; /* of the segment */
};

static struct watched start_watched(void (*maker)(int out)) {
    struct watched w;
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    w.maker = start_family(maker, &w.in);
    hear(w.in, w.name);
    w.watcher = wait_for_watcher();
    return w;
}

/* Kills the maker. The watcher has to unlink the segment and to end. */
static void end_watched(const struct watched *w) {
    kill(w->maker, SIGKILL);
    expect_killed(w->maker);
    until_gone(w->name);
    CHECK_EQ(waitpid(w->watcher, NULL, 0), w->watcher);
    close(w->in);
}

TEST_BARE(watcher_is_small_and_apart) {
    char path[64], text[64] = "";
    struct watched w = start_watched(big_maker);
    CHECK_EQ(getsid(w.watcher), w.watcher);
    await_fds(w.watcher, 2); /* stderr, a pidfd */
#if !TEST_ASAN && !TEST_TSAN
    /* The watcher runs by now and soon gives the memory back. */
    while (anonymous_of(w.watcher) > 8 << 10) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
#endif
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)w.watcher);
    FILE *f = fopen(path, "re");
    CHECK(f != NULL && fgets(text, sizeof text, f) != NULL);
    fclose(f);
    CHECK_MEM(text, "mproc-watch", 11);
    CHECK_OK(kill(w.watcher, SIGTERM)); /* the watcher ignores it */
    CHECK_OK(kill(w.watcher, SIGINT));
    end_watched(&w);
}

/* The watcher is a child of the system: its maker has no child. */
TEST(watcher_is_no_child_of_its_maker) {
    mproc_shm *shm = make(NULL, 1);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(shm)));
    mproc_shm_drop(shm);
}

static void make_twice(int out) {
    quiet();
    say(out, mproc_shm_name(make(NULL, 1)));
    kill(getpid(), SIGSTOP);
    say(out, mproc_shm_name(make(NULL, 1)));
    pause();
}

static void expect_replaced(void (*run)(int out)) {
    char second[64];
    int status;
    struct watched w = start_watched(run);
    CHECK_EQ(waitpid(w.maker, &status, WUNTRACED), w.maker);
    kill(w.watcher, SIGKILL);
    CHECK_EQ(waitpid(w.watcher, NULL, 0), w.watcher);
    kill(w.maker, SIGCONT);
    hear(w.in, second);
    CHECK_NE(wait_for_watcher(), w.watcher);
    kill(w.maker, SIGKILL);
    expect_killed(w.maker);
    until_gone(w.name);
    until_gone(second);
    close(w.in);
    while (wait(NULL) > 0) {
    }
}

TEST_BARE(watcher_that_was_killed_is_replaced) {
    expect_replaced(make_twice);
}

static void make_twice_without_sign_of_life(int out) {
    deny(SYS_set_robust_list, -1, ENOSYS);
    make_twice(out);
}

/* Without the sign of life each maker asks the system whether the watcher lives. */
TEST_BARE(watcher_without_a_sign_of_life_is_replaced) {
    expect_replaced(make_twice_without_sign_of_life);
}

/* Closes all descriptors, as daemons do. Then those of the arena and of the watcher's program are
 * among the first three. */
static void make_without_streams(int out) {
    int high = fcntl(out, F_DUPFD_CLOEXEC, 10);
    for (int fd = 0; fd < 10; fd++) {
        close(fd);
    }
    say(high, mproc_shm_name(make(NULL, 5000)));
    pause();
}

TEST_BARE(watcher_of_a_family_without_streams) {
    struct watched w = start_watched(make_without_streams);
    await_fds(w.watcher, 1); /* a pidfd */
    end_watched(&w);
}

static void make_in_vain(int out) {
    mproc_shm *shm = NULL;
    CHECK_OK(mproc__family_need());
    size_t fds = count_fds(getpid());
    const char *name = own_name("refused");
    deny(SYS_clone, -1, EAGAIN);
    CHECK_EQ(mproc_shm_create(&shm, name, 1, NULL), -EAGAIN);
    CHECK_EQ(mproc_shm_create(&shm, name, 1, NULL), -EAGAIN);
    CHECK(shm == NULL);
    CHECK(!exists(name));
    CHECK_EQ(count_fds(getpid()), fds);
    CHECK_OK(mproc_shm_create(&shm, name, 1, &(mproc_shm_options){.flags = MPROC_SHM_KEPT}));
    CHECK_OK(mproc_shm_unlink(name)); /* a segment that is kept needs no watcher */
    say(out, "done");
}

/* Without a process for the watcher no segment is made, and the attempt leaves nothing behind. */
TEST_BARE(watcher_needs_a_process) {
    char done[64];
    int in, status;
    pid_t pid = start_family(make_in_vain, &in);
    hear(in, done);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(in);
}

/* A watcher that may not execute its program does its work in its maker's memory. */
static void expect_watched(void (*maker)(int out)) {
    struct watched w = start_watched(maker);
    await_fds(w.watcher, 2); /* stderr, and the pidfd through which it watches */
    CHECK_EQ(getsid(w.watcher), w.watcher);
    CHECK(exists(w.name));
    end_watched(&w);
}

static void make_without_execution(int out) {
    deny(SYS_execveat, -1, EACCES);
    make_and_wait(out);
}

TEST_BARE(watcher_that_may_not_execute) {
    expect_watched(make_without_execution);
}

static void make_without_files(int out) {
    CHECK_OK(mproc__family_need());
    deny(SYS_memfd_create, -1, EMFILE);
    make_and_wait(out);
}

TEST_BARE(watcher_that_gets_no_file) {
    expect_watched(make_without_files);
}

static void make_without_proc(int out) {
    CHECK(deny_proc());
    make_and_wait(out);
}

/* The /proc of a small container may be missing or hide processes. What is missing there does not
 * mean that a member is dead. */
TEST_BARE(watcher_without_proc) {
    if (getuid() != 0) {
        test_skip("may not mount a /proc of its own");
    }
    expect_watched(make_without_proc);
}

static void leave_two(int out) {
    dup2(out, STDERR_FILENO);
    make("mproc_test_left_a", 1);
    make("mproc_test_left_b", 1);
    mproc_shm *c = make("mproc_test_left_c", 1);
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(c)));
}

static void leave_none(int out) {
    dup2(out, STDERR_FILENO);
    mproc_shm *c = make(NULL, 1);
    CHECK_OK(mproc_shm_unlink(mproc_shm_name(c)));
}

static size_t read_all(int in, char *text, size_t size) {
    size_t used = 0;
    ssize_t n;
    while ((n = read(in, text + used, size - 1 - used)) > 0) {
        used += (size_t)n;
    }
    text[used] = 0;
    close(in);
    return used;
}

TEST_BARE(watcher_names_what_was_left_and_nothing_else) {
    char text[2048];
    int in;
    pid_t pid = start_family(leave_two, &in);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    read_all(in, text, sizeof text); /* to the watcher's end */
    CHECK(strstr(text, "There appear to be 2 leaked shared_memory objects") != NULL);
    CHECK(strstr(text, "mproc_test_left_a") != NULL && strstr(text, "mproc_test_left_b") != NULL);
    CHECK(strstr(text, "mproc_test_left_c") == NULL);
    CHECK(!exists("mproc_test_left_a") && !exists("mproc_test_left_b"));

    pid = start_family(leave_none, &in);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(read_all(in, text, sizeof text), 0);
}
