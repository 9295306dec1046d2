/*
 * fuzz_family.c - what a started child reads in its environment, and in the file that is named
 * there
 *
 * SPDX-License-Identifier: MIT
 *
 * What is fed. The words of MPROC_FAMILY: any text, or six numbers of which each is the right one
 * or not. The descriptors that they may name: an arena's file, shorter ones, unsealed ones, a pipe,
 * none. The first bytes of the arena and two slots of it, right or scribbled on. They are mapped at
 * their address all the time; for os.h's calls this file notes only that they are.
 *
 * What must hold. The process becomes a member only of a family whose words all fit, in a slot that
 * was reserved for it; otherwise it is left as it was, with nothing mapped, and one of the
 * documented codes says so. The variable is gone afterwards. A stranger founds a family of its own:
 * the memory for that is refused here.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/family.h"
#include "mproc.h"
#include "system/os.h"

#define SPAN ((uint64_t)128 << 20)
#define BASE UINT64_C(0x7d8000000000)
#define SLOT 5
#define SERIAL 77
#define FIRST_FD 900

static struct mproc__family *file; /* the arena's first bytes */
static bool mapped;
static int masters[6];
static bool founding;

int __wrap_mproc__os_memory_new(const char *name, size_t size);
int __wrap_mproc__os_memory_map(int fd, void *address, size_t size);
int __wrap_mproc__os_memory_unmap(void *address, size_t size);
void __wrap_mproc__os_life_begin(struct mproc__os_life *life);

int __wrap_mproc__os_memory_new(const char *name, size_t size) {
    (void)name;
    (void)size;
    founding = true;
    return -ENOMEM;
}

int __wrap_mproc__os_memory_map(int fd, void *address, size_t size) {
    struct stat s;
    MUST(fstat(fd, &s) == 0 && (size_t)s.st_size == size && !mapped);
    if (address != file || fd < FIRST_FD) { /* the masters are not to be closed */
        return (uintptr_t)address % 4096 == 0 ? -EEXIST : -EINVAL;
    }
    mapped = true;
    return 0;
}

int __wrap_mproc__os_memory_unmap(void *address, size_t size) {
    MUST(mapped && address == file && size >= SPAN);
    mapped = false;
    return 0;
}

/* The thread that it would be the life of goes on with other inputs. */
void __wrap_mproc__os_life_begin(struct mproc__os_life *life) {
    (void)life;
}

static int make_file(uint64_t size, bool sealed) {
    int fd = memfd_create("fuzz", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    MUST(!sealed || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    int ends[2];
    (void)argc;
    (void)argv;
    MUST(pipe(ends) == 0);
    masters[0] = make_file(SPAN, true);
    masters[1] = make_file(SPAN, false);
    masters[2] = make_file(4096, true);
    masters[3] = make_file(2 * SPAN, true);
    masters[4] = ends[0];
    masters[5] = open("/dev/null", O_RDWR | O_CLOEXEC);
    file = mmap((void *)(uintptr_t)BASE, sizeof *file, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    MUST(masters[5] >= 0 && (uintptr_t)file == BASE);
    return 0;
}

/* ---------------------------------------------------------------- the arena's file */

static uint64_t or_other(struct feed *input, uint64_t right) {
    uint8_t how = feed_byte(input);
    switch (how % 8) {
    case 1: return feed_u64(input);
    case 2: return right + feed_byte(input);
    case 3: return right ^ (UINT64_C(1) << (feed_byte(input) % 64));
    default: return right;
    }
}

static void fill_slot(struct mproc__slot *slot, struct feed *input) {
    memset(slot, 0, sizeof *slot);
    slot->state = or_other(input, (uint64_t)SERIAL << 8 | MPROC__SLOT_UNBORN);
    slot->parent = or_other(input, mproc__token(SLOT + 1, SERIAL));
    slot->pid = (int32_t)or_other(input, feed_byte(input) & 1 ? 0 : (uint64_t)getpid());
    slot->ppid = (int32_t)or_other(input, (uint64_t)getppid());
    slot->flags = (uint32_t)or_other(input, 0);
}

static void fill_file(struct feed *input) {
    file->magic = or_other(input, MPROC__MAGIC);
    file->base = or_other(input, BASE);
    file->span = or_other(input, SPAN);
    file->layout = or_other(input, mproc__layout);
    fill_slot(&file->table.slots[SLOT], input);
    fill_slot(&file->table.slots[SLOT + 1], input);
}

/* ---------------------------------------------------------------- the words */

static void set_raw(struct feed *input) {
    char text[200];
    size_t n = feed_bytes(input, text, feed_byte(input) % sizeof text);
    text[n] = 0;
    setenv(MPROC__ENV, text, 1);
}

static void set_numbers(struct feed *input) {
    char text[200];
    snprintf(text, sizeof text, "%x:%llx:%llx:%llx:%llx:%x",
             (unsigned)or_other(input, FIRST_FD + feed_below(input, 6)),
             (unsigned long long)or_other(input, BASE), (unsigned long long)or_other(input, SPAN),
             (unsigned long long)or_other(input, mproc__token(SLOT, SERIAL)),
             (unsigned long long)or_other(input, mproc__token(SLOT + 1, SERIAL)),
             (unsigned)or_other(input, (uint64_t)getppid()));
    setenv(MPROC__ENV, text, 1);
}

/* ---------------------------------------------------------------- the look at it all */

static void look_at_member(void) {
    const struct mproc__slot *slot = mproc__self_slot();
    uint32_t number = mproc__token_number(mproc__self_token());
    MUST(mproc__family != NULL && mproc__family->base == (uint64_t)(uintptr_t)mproc__family);
    MUST(number < MPROC__MEMBERS && slot == &mproc__family->table.slots[number]);
    MUST((slot->state & 0xff) == MPROC__SLOT_LIVE);
    MUST(mproc__self_token() == mproc__token(number, slot->state >> 8));
    MUST(slot->pid == getpid() && slot->ppid == getppid());
    mproc__family_forget();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct feed input = {data, size};
    for (int i = 0; i < 6; i++) {
        MUST(dup2(masters[i], FIRST_FD + i) == FIRST_FD + i);
    }
    fill_file(&input);
    feed_byte(&input) & 1 ? set_raw(&input) : set_numbers(&input);
    founding = false;
    int r = mproc__family_begin();
    MUST(getenv(MPROC__ENV) == NULL);
    if (r == 1) {
        look_at_member();
    } else {
        MUST(founding
                 ? r == -ENOMEM
                 : r == -ESRCH || r == MPROC_EADDRESS || r == MPROC_EBUILD || r == MPROC_EARENA);
    }
    MUST(mproc__family == NULL && !mapped);
    return 0;
}
