/*
 * function.c - a C function's name across processes: build-id and offset
 *
 * SPDX-License-Identifier: MIT
 *
 * Every process of one program maps the same objects, at addresses of its own. So a function is
 * named by the object that holds it, which the linker's build-id identifies to the bit, and by its
 * offset from the object's load base. Nothing is registered, static functions have names too, and a
 * program that was built anew does not run the wrong code: the name is unknown to it.
 *
 * dl_iterate_phdr() shows the loaded objects under the loader's lock. A pool names one function for
 * each task, so each thread remembers its last answers; they hold as long as no object has been
 * unloaded (the loader counts that), which is asked each time. The names themselves are kept once a
 * process, for ever: a name is a hundred bytes, and the memory of threads is scarce where a library
 * is loaded late (the loader has some 1,500 bytes for all such libraries together).
 *
 * Shared state: `names`, a list that only grows, by one atomic step; within a process. The
 * remembered answers are the thread's own.
 */
#define _GNU_SOURCE
#include "process/function.h"

#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/atomic.h"

#define NAMES_MOST 256 /* that are kept: each new one is compared with all of them */
#define REMEMBERED 4 /* a thread uses few functions at a time; direct-mapped by address or offset */

struct build_id {
    const uint8_t *bytes; /* in the object's memory; NULL: it has none */
    uint32_t size;
};

struct name {
    struct mproc__function_ref ref;
    uint64_t next; /* struct name * */
};

struct answer {
    mproc__function fn; /* NULL: none remembered */
    unsigned long long unloads;
    const struct mproc__function_ref *ref;
};

struct search {
    uintptr_t address;                     /* naming: of the function */
    const struct mproc__function_ref *ref; /* finding */
    struct mproc__function_ref out;
    uintptr_t found;
    struct build_id other; /* of an object with the same name and another build-id */
    int result;
};

static _Thread_local struct answer named[REMEMBERED], found[REMEMBERED];
static uint64_t names; /* struct name * */

/* ---------------------------------------------------------------- an object and its build-id */

/* Does one loaded segment with these flags hold all of the range? */
static bool maps(const struct dl_phdr_info *object, uintptr_t offset, size_t size, uint32_t flags) {
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &object->dlpi_phdr[i];
        if (h->p_type == PT_LOAD && (h->p_flags & flags) == flags && offset >= h->p_vaddr &&
            size <= h->p_memsz && offset - h->p_vaddr <= h->p_memsz - size) {
            return true;
        }
    }
    return false;
}

static size_t round_up(size_t n, size_t align) {
    return (n + align - 1) & ~(align - 1);
}

/* A note: sizes of its name and its contents, its type, then both, each padded. */
static struct build_id build_id_in(const uint8_t *note, size_t size, size_t align) {
    ElfW(Nhdr) h;
    while (size >= sizeof h) {
        memcpy(&h, note, sizeof h);
        size_t contents = round_up(sizeof h + h.n_namesz, align);
        size_t next = round_up(contents + h.n_descsz, align);
        if (contents > size || h.n_descsz > size - contents) {
            break;
        }
        if (h.n_type == NT_GNU_BUILD_ID && h.n_namesz == 4 && h.n_descsz > 0 &&
            memcmp(note + sizeof h, "GNU", 4) == 0) {
            return (struct build_id){note + contents, h.n_descsz};
        }
        if (next > size) {
            break;
        }
        note += next;
        size -= next;
    }
    return (struct build_id){NULL, 0};
}

static struct build_id build_id(const struct dl_phdr_info *object) {
    struct build_id id = {NULL, 0};
    for (size_t i = 0; id.bytes == NULL && i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &object->dlpi_phdr[i];
        if (h->p_type == PT_NOTE && maps(object, h->p_vaddr, h->p_memsz, PF_R)) {
            id = build_id_in((const uint8_t *)(object->dlpi_addr + h->p_vaddr), h->p_memsz,
                             h->p_align == 8 ? 8 : 4);
        }
    }
    return id;
}

static bool same_id(const struct mproc__function_ref *ref, struct build_id id) {
    size_t n = id.size < MPROC__BUILD_ID_MAX ? id.size : MPROC__BUILD_ID_MAX;
    return id.bytes != NULL && ref->id_size == id.size && memcmp(ref->id, id.bytes, n) == 0;
}

/* The end of the path that fits into `size` bytes with its terminating 0: the file's name. */
static const char *short_name(const char *path, size_t size) {
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t n = strlen(name);
    return n < size ? name : name + n - (size - 1);
}

/* ---------------------------------------------------------------- visits */

static int name_in(struct dl_phdr_info *object, size_t size, void *arg) {
    struct search *s = arg;
    uintptr_t offset = s->address - object->dlpi_addr;
    struct build_id id;

    (void)size;
    if (!maps(object, offset, 1, PF_X)) {
        return 0;
    }
    id = build_id(object);
    if (id.bytes == NULL) {
        return 1;
    }
    s->out.offset = offset;
    s->out.id_size = id.size;
    memcpy(s->out.id, id.bytes, id.size < MPROC__BUILD_ID_MAX ? id.size : MPROC__BUILD_ID_MAX);
    const char *name = short_name(object->dlpi_name, sizeof s->out.object);
    memcpy(s->out.object, name, strlen(name));
    s->result = 0;
    return 1;
}

/* The same file may be loaded under two names: the right name wins, any will do. */
static int find_in(struct dl_phdr_info *object, size_t size, void *arg) {
    struct search *s = arg;
    struct build_id id = build_id(object);
    const char *name = short_name(object->dlpi_name, sizeof s->ref->object);
    bool same_name = strncmp(name, s->ref->object, sizeof s->ref->object) == 0;

    (void)size;
    if (!same_id(s->ref, id)) {
        if (same_name && s->result == MPROC_EFUNCTION) {
            s->other = id;
            s->result = MPROC_EBUILD;
        }
        return 0;
    }
    if (!maps(object, (uintptr_t)s->ref->offset, 1, PF_X)) {
        return 0;
    }
    s->found = object->dlpi_addr + (uintptr_t)s->ref->offset;
    s->result = 0;
    return same_name;
}

static int read_unloads(struct dl_phdr_info *object, size_t size, void *arg) {
    if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof object->dlpi_subs) {
        *(unsigned long long *)arg = object->dlpi_subs;
    }
    return 1;
}

static unsigned long long unloads(void) {
    unsigned long long n = 0;
    dl_iterate_phdr(read_unloads, &n);
    return n;
}

/* ---------------------------------------------------------------- names */

/* Two threads may keep the same name at the same time. NULL: no memory, or enough names. */
static const struct mproc__function_ref *keep(const struct mproc__function_ref *ref) {
    uint64_t first = mproc__load64(&names); /* SYNC(function.names) */
    size_t n = 0;
    for (uint64_t at = first; at != 0;) {
        const struct name *name = (const struct name *)(uintptr_t)at;
        if (memcmp(&name->ref, ref, sizeof *ref) == 0) {
            return &name->ref;
        }
        at = name->next;
        n++;
    }
    struct name *fresh = n < NAMES_MOST ? calloc(1, sizeof *fresh) : NULL;
    if (fresh == NULL) {
        return NULL;
    }
    fresh->ref = *ref;
    do {
        fresh->next = first;
        /* SYNC(function.names): what is in the name, before the list has it. */
    } while (!mproc__cas64(&names, &first, (uint64_t)(uintptr_t)fresh));
    return &fresh->ref;
}

static void remember(struct answer *a, mproc__function fn, unsigned long long unloads,
                     const struct mproc__function_ref *ref) {
    const struct mproc__function_ref *kept = keep(ref);
    if (kept != NULL) {
        *a = (struct answer){fn, unloads, kept};
    }
}

int mproc__function_name(mproc__function fn, struct mproc__function_ref *out) {
    struct answer *a = &named[((uintptr_t)fn >> 4) % REMEMBERED];
    struct search s = {.address = (uintptr_t)fn, .result = MPROC_EFUNCTION};
    unsigned long long now = unloads();

    if (fn == NULL || a->fn != fn || a->unloads != now) {
        dl_iterate_phdr(name_in, &s);
        if (s.result != 0) {
            return s.result;
        }
        remember(a, fn, now, &s.out);
        *out = s.out;
        return 0;
    }
    *out = *a->ref;
    return 0;
}

int mproc__function_find(const struct mproc__function_ref *ref, mproc__function *fn) {
    struct answer *a = &found[(ref->offset >> 4) % REMEMBERED];
    struct search s = {.ref = ref, .result = MPROC_EFUNCTION};
    unsigned long long now = unloads();

    if (a->fn == NULL || a->unloads != now || memcmp(a->ref, ref, sizeof *ref) != 0) {
        dl_iterate_phdr(find_in, &s);
        if (s.result != 0) {
            return s.result;
        }
        remember(a, (mproc__function)s.found, now, ref);
        *fn = (mproc__function)s.found;
        return 0;
    }
    *fn = a->fn;
    return 0;
}

static void print_id(FILE *out, const uint8_t *bytes, uint32_t size) {
    for (uint32_t i = 0; i < size && i < MPROC__BUILD_ID_MAX; i++) {
        fprintf(out, "%02x", bytes[i]);
    }
}

void mproc__function_complain(const struct mproc__function_ref *ref, int error) {
    struct search s = {.ref = ref, .result = MPROC_EFUNCTION};
    char text[MPROC__LOG_MAX];
    FILE *out = fmemopen(text, sizeof text, "w");

    if (out == NULL) {
        return;
    }
    fprintf(out, "%s: function at +0x%llx of %.*s, build-id ", mproc_strerror(error),
            (unsigned long long)ref->offset, (int)sizeof ref->object,
            ref->object[0] != 0 ? ref->object : "the program");
    print_id(out, ref->id, ref->id_size);
    dl_iterate_phdr(find_in, &s);
    if (s.result == MPROC_EBUILD && s.other.bytes != NULL) {
        fputs("; here it has build-id ", out);
        print_id(out, s.other.bytes, s.other.size);
    } else if (s.result == MPROC_EBUILD) {
        fputs("; here it has no build-id", out);
    } else {
        fputs("; it is not loaded here", out);
    }
    fclose(out);
    text[sizeof text - 1] = 0;
    mproc__log("%s", text);
}
