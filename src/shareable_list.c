/*
 * shareable_list.c - lists of fixed length in named segments, as Python's ShareableList lays them
 * out
 *
 * SPDX-License-Identifier: MIT
 *
 * Byte layout; all numbers are little-endian words of 64 bits:
 *
 *     length n
 *     offsets[n + 1]    where each slot begins, from the first slot on; the last one ends the slots
 *     slots             8 bytes, or for str and bytes a multiple of 8 that is never all full at
 *                       first
 *     formats[n]        8 bytes each, NUL-padded, in the terms of Python's struct: q, d, xxxxxxx?
 *                       (bool), xxxxxx?x (None), and for str and bytes the slot's size and s: 16s;
 *                       one that ends with NULs has its own size, s and x: 3sx
 *     kinds[n]          a byte each: 0 as the format says, 1 str, 2 bytes, 3 None
 *     struct change     at the next multiple of 64; only in lists that were made here
 *
 * The question that the last part answers: how can an item of several words change at once? Before
 * such a change the item's old words are saved in it, and the sequence number becomes odd; when all
 * is written it becomes even. A reader that finds it odd, or changed after reading, reads again.
 * Whoever finds it odd and its owner dead takes the old words back. An item whose format stays and
 * whose slot is one word changes by one store. Writers exclude each other by `owner`.
 *
 * The standard library knows nothing of this. It sees, during a change of format, None, as
 * everybody does in a list without that part, where a text of several words can be found half
 * written.
 *
 * Shared state, of struct change.
 *   owner         0, or the process that writes (pid, and a time at which it was there, so that
 *                 strangers of another family can judge); by compare-and-swap.
 *   all others    the owner.
 * What stands in a segment may be written by strangers meanwhile, or be anything: every number is
 * read once into a local and judged before it is used.
 *
 * Invariants.
 *   L1  Slots are whole words, do not overlap, and lie between offsets and formats.
 *   L2  The sequence is odd only while it has an owner, which may be dead.
 *   L3  While it is odd, index, format, kind and old are the item's before the change.
 *
 * If a member dies here: as owner with an even sequence it has changed nothing, or all; the next
 * writer takes its place. With an odd one the next reader or writer takes its place and puts the
 * old item back, which may be repeated by another if that one dies too.
 *
 * Owners are judged by their pid: processes that write to one list must be in one pid namespace.
 */
#include "mproc.h"

#include <stdlib.h>
#include <string.h>

#include "core/join.h"
#include "shm.h"
#include "system/os.h"

#define WORD 8
#define MAGIC UINT64_C(0x31636f72706d4c53) /* "SLmproc1" in memory order */
#define ALIGNMENT 64                       /* the change's own cache line */
#define TEXT_MAX 9999999                   /* what a format has room for: seven digits and an s */
#define EXACT_MAX 999999                   /* the same: six digits, an s and an x */
#define READS 16  /* in vain, before a reader waits for its turn like a writer */
#define SPINS 100 /* some us; a change is shorter unless its text is long */
#define YIELDS 16
#define SLICE_MAX (50 * MPROC_MSEC)

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the layout's numbers are");

/* Values of `kinds`. */
enum { CODE_PLAIN = 0, CODE_STR = 1, CODE_BYTES = 2, CODE_NONE = 3 };

struct change {
    uint64_t magic;
    uint64_t room; /* bytes of old; constant */
    uint64_t owner;
    uint64_t sequence;
    uint64_t index;
    uint64_t format;
    uint64_t kind;
    uint64_t pad;
    uint64_t old[];
};

static_assert(sizeof(struct change) == ALIGNMENT, "others read this");

/* A list, judged. */
struct list {
    char *base;
    size_t size;
    size_t n;
    size_t last;           /* bytes of all slots */
    struct change *change; /* NULL: the list was not made by this library */
    size_t saved;          /* bytes that the change can save, as they were judged */
};

/* One item's places. */
struct place {
    uint64_t *slot;
    size_t room;
    uint64_t *format;
    unsigned char *kind;
};

/* A value on its way into a slot. */
struct value {
    unsigned char kind;
    uint64_t format; /* 0: text, the slot says */
    uint64_t word;   /* of anything but text */
    const char *text;
    size_t length;
};

static uint64_t word_of(const char eight[WORD]) {
    uint64_t word;
    memcpy(&word, eight, WORD);
    return word;
}

#define FORMAT_INT word_of("q\0\0\0\0\0\0")
#define FORMAT_FLOAT word_of("d\0\0\0\0\0\0")
#define FORMAT_BOOL word_of("xxxxxxx?")
#define FORMAT_NONE word_of("xxxxxx?x")

/* ---------------------------------------------------------------- layout */

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* Bytes before the slots, and behind them. */
static size_t head_of(size_t n) {
    return WORD * (n + 2);
}

static size_t tail_of(size_t n) {
    return (WORD + 1) * n;
}

static uint64_t *word_at(const struct list *l, size_t offset) {
    return (uint64_t *)(void *)(l->base + offset);
}

/* The change, if the segment has a whole one. */
static struct change *find_change(struct list *l) {
    size_t at = round_up(head_of(l->n) + l->last + tail_of(l->n), ALIGNMENT);
    if (at > l->size || l->size - at < sizeof(struct change)) {
        return NULL;
    }
    struct change *c = (struct change *)(void *)(l->base + at);
    uint64_t room = mproc__load64(&c->room);
    bool whole =
        mproc__peek64(&c->magic) == MAGIC && room % WORD == 0 && room <= l->size - at - sizeof *c;
    l->saved = whole ? (size_t)room : 0;
    return whole ? c : NULL;
}

static int judge(struct list *l) {
    if (l->size < 2 * WORD) {
        return -EBADMSG;
    }
    uint64_t n = mproc__load64(word_at(l, 0));
    if (n > (l->size - 2 * WORD) / (2 * WORD + 1)) {
        return -EBADMSG;
    }
    l->n = (size_t)n;
    uint64_t last = mproc__load64(word_at(l, WORD * (l->n + 1)));
    size_t most = l->size - head_of(l->n) - tail_of(l->n);
    if (last > most || last % WORD != 0) {
        return -EBADMSG;
    }
    l->last = (size_t)last;
    l->change = find_change(l);
    return 0;
}

static int find_list(mproc_shm *shm, struct list *out) {
    void *data;
    int r = mproc__shm_view(shm, &data, &out->size);
    if (r != 0) {
        return r;
    }
    out->base = data;
    return judge(out);
}

static int find_place(const struct list *l, size_t i, struct place *out) {
    uint64_t begin = mproc__load64(word_at(l, WORD * (i + 1)));
    uint64_t end = mproc__load64(word_at(l, WORD * (i + 2)));
    if (begin > end || end > l->last || end - begin < WORD || begin % WORD != 0 ||
        end % WORD != 0) {
        return -EBADMSG;
    }
    size_t behind = head_of(l->n) + l->last;
    out->slot = word_at(l, head_of(l->n) + (size_t)begin);
    out->room = (size_t)(end - begin);
    out->format = word_at(l, behind + WORD * i);
    out->kind = (unsigned char *)l->base + behind + WORD * l->n + i;
    return 0;
}

static int find_item(mproc_shm *shm, size_t i, struct list *list, struct place *place) {
    int r = find_list(shm, list);
    if (r != 0) {
        return r;
    }
    return i < list->n ? find_place(list, i, place) : -ERANGE;
}

/* ---------------------------------------------------------------- values */

static int text_value(const mproc_item *item, struct value *out) {
    if (item->size > TEXT_MAX) {
        return -EMSGSIZE;
    }
    out->kind = item->kind == MPROC_ITEM_STR ? CODE_STR : CODE_BYTES;
    out->text = item->data;
    out->length = item->size;
    return 0;
}

static int value_of(const mproc_item *item, struct value *out) {
    *out = (struct value){.length = WORD};
    switch (item->kind) {
    case MPROC_ITEM_INT:
        out->format = FORMAT_INT;
        out->word = (uint64_t)item->integer;
        return 0;
    case MPROC_ITEM_FLOAT:
        out->format = FORMAT_FLOAT;
        memcpy(&out->word, &item->number, WORD);
        return 0;
    case MPROC_ITEM_BOOL:
        out->format = FORMAT_BOOL;
        out->word = (uint64_t)(item->integer != 0) << 56;
        return 0;
    case MPROC_ITEM_NONE:
        out->format = FORMAT_NONE;
        out->kind = CODE_NONE;
        return 0;
    case MPROC_ITEM_STR:
    case MPROC_ITEM_BYTES: return text_value(item, out);
    }
    return -EINVAL;
}

static size_t count_characters(const char *text, size_t length) {
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return n;
}

/* The slot that a value gets at first: always a byte more than it needs, rounded up to words; a
 * str's length counts in characters there, as the standard library counts it, unless its bytes need
 * more. */
static size_t first_room(const struct value *v) {
    if (v->format != 0) {
        return WORD;
    }
    size_t counted = v->kind == CODE_STR ? count_characters(v->text, v->length) : v->length;
    size_t room = WORD * (counted / WORD + 1), least = round_up(v->length, WORD);
    return room > least ? room : least;
}

/* NULs at the end of a text are taken for the slot's rest, unless the format says that they are
 * not: its size is the text's then. The standard library takes the x for a byte of padding. To it
 * such an item is as any other: it drops the NULs, and the next text may fill the slot. */
static bool is_exact(const struct value *v) {
    return v->text != NULL && v->length > 0 && v->length <= EXACT_MAX &&
           v->text[v->length - 1] == 0;
}

static uint64_t format_of(const struct value *v, size_t room) {
    char text[WORD] = {0}, digits[WORD];
    size_t left = room < TEXT_MAX ? room : TEXT_MAX;
    int n = 0;
    if (v->format != 0) {
        return v->format;
    }
    if (is_exact(v)) {
        left = v->length;
    }
    for (; left > 0; left /= 10) {
        digits[n++] = (char)('0' + left % 10);
    }
    for (int i = 0; i < n; i++) {
        text[i] = digits[n - 1 - i];
    }
    text[n] = 's';
    if (is_exact(v)) {
        text[n + 1] = 'x';
    }
    return word_of(text);
}

/* The number before the s of a text's format; 0 if it is none. *exact: the NULs belong to it. */
static size_t text_size(uint64_t format, bool *exact) {
    char text[WORD];
    size_t size = 0, i = 0;
    memcpy(text, &format, WORD);
    for (; i < WORD && text[i] >= '0' && text[i] <= '9'; i++) {
        size = size * 10 + (size_t)(text[i] - '0');
    }
    *exact = i + 1 < WORD && text[i + 1] == 'x';
    return i < WORD && text[i] == 's' ? size : 0;
}

/* A word of a text, behind whose end there are zeros. */
static uint64_t text_word(const struct value *v, size_t at) {
    char word[WORD] = {0};
    if (at < v->length) {
        memcpy(word, v->text + at, v->length - at < WORD ? v->length - at : WORD);
    }
    return word_of(word);
}

/* The first word last: a text that fits into it changes at once. */
static void write_words(const struct place *p, const struct value *v) {
    for (size_t at = WORD; v->format == 0 && at < p->room; at += WORD) {
        mproc__poke64(p->slot + at / WORD, text_word(v, at));
    }
    /* SYNC(list.slot): in a text of several words that nobody guards, the others before the
     * first. */
    mproc__store64(p->slot, v->format != 0 ? v->word : text_word(v, 0));
}

/* The format last, and None meanwhile, for readers that do not look at the sequence. */
static void write_all(const struct place *p, const struct value *v, uint64_t format) {
    bool same = mproc__peek64(p->format) == format && mproc__load_byte(p->kind) == v->kind;
    if (!same) {
        mproc__store64(p->format, FORMAT_NONE);
        mproc__store_byte(p->kind, v->kind); /* SYNC(list.kind): None, before another kind */
    }
    write_words(p, v);
    if (!same) {
        mproc__store64(p->format, format); /* SYNC(list.format): the value, before what it is */
    }
}

/* ---------------------------------------------------------------- writing */

#define WHEN_BITS 42
#define WHEN_MASK ((UINT64_C(1) << WHEN_BITS) - 1)
#define WHEN_UNIT 20 /* 2^20 ns since boot: a millisecond */

/* The calling process, in *out; never 0. Its slot has its pid and its birth. */
static int self(uint64_t *out) {
    int r = mproc__family_need();
    if (r == 0) {
        const struct mproc__slot *slot = mproc__self_slot();
        *out = (uint64_t)(uint32_t)slot->pid << WHEN_BITS | (slot->born >> WHEN_UNIT & WHEN_MASK);
    }
    return r;
}

/* A moment of the last millisecond counts as that process' life: no pid comes round so soon. A
 * number that is no pid names a writer that will never be done. */
static bool is_dead(uint64_t owner) {
    uint64_t when = ((owner & WHEN_MASK) + 1) << WHEN_UNIT;
    pid_t pid = (pid_t)(owner >> WHEN_BITS);
    return pid == 0 || mproc__os_process_is(pid, when) == 0;
}

/* Puts the old item back. A record that cannot be one is left alone. */
static void roll_back(const struct list *l) {
    struct change *c = l->change;
    struct place p;
    size_t i = (size_t)mproc__peek64(&c->index);
    if (i < l->n && find_place(l, i, &p) == 0) {
        for (size_t at = 0; at < (p.room < l->saved ? p.room : l->saved); at += WORD) {
            mproc__poke64(p.slot + at / WORD, mproc__peek64(&c->old[at / WORD]));
        }
        mproc__store_byte(p.kind, (unsigned char)mproc__peek64(&c->kind));
        mproc__store64(p.format, mproc__peek64(&c->format));
    }
    /* SYNC(list.sequence): the item's words, before the even number. */
    mproc__store64(&c->sequence, mproc__peek64(&c->sequence) + 1);
}

/* One try. A thread that waits for an owner is not woken: after a slice it looks again, and whether
 * the owner lives. */
static bool try_own(struct change *c, uint64_t me, bool judge_owner) {
    uint64_t owner = mproc__load64(&c->owner);
    if (owner != 0 && (!judge_owner || !is_dead(owner))) {
        return false;
    }
    /* SYNC(list.owner): what the last owner wrote, before this one looks at it. */
    return mproc__cas64(&c->owner, &owner, me);
}

static void wait_own(struct change *c, uint64_t me) {
    int64_t slice = MPROC_MSEC;
    for (int i = 0; i < SPINS + YIELDS; i++) {
        i < SPINS ? mproc__pause() : mproc__os_yield();
        if (try_own(c, me, false)) {
            return;
        }
    }
    while (!try_own(c, me, true)) {
        uint64_t owner = mproc__load64(&c->owner);
        if (owner != 0) {
            (void)mproc__os_futex_wait((const uint32_t *)(const void *)&c->owner, (uint32_t)owner,
                                       slice);
        }
        slice = slice < SLICE_MAX / 2 ? slice * 2 : SLICE_MAX;
    }
}

/* Becomes the only writer of a whole list. */
static void own(const struct list *l, uint64_t me) {
    if (!try_own(l->change, me, false)) {
        wait_own(l->change, me);
    }
    if (mproc__unlikely(mproc__load64(&l->change->sequence) & 1)) {
        roll_back(l);
    }
}

static void disown(const struct list *l) {
    mproc__store64(&l->change->owner, 0); /* SYNC(list.owner) */
}

/* Saves an item; from here to end_change() a death takes everything back. */
static void begin_change(const struct list *l, size_t i, const struct place *p) {
    struct change *c = l->change;
    mproc__poke64(&c->index, i);
    mproc__poke64(&c->format, mproc__peek64(p->format));
    mproc__poke64(&c->kind, mproc__load_byte(p->kind));
    for (size_t at = 0; at < p->room; at += WORD) {
        mproc__poke64(&c->old[at / WORD], mproc__peek64(p->slot + at / WORD));
    }
    mproc__program_order();
    /* An exchange keeps the item's stores behind it. SYNC(list.begin): odd, before the item's
     * words. */
    (void)mproc__exchange64(&c->sequence, mproc__peek64(&c->sequence) + 1);
}

static void end_change(const struct list *l) {
    struct change *c = l->change;
    /* SYNC(list.sequence): the item's words, before the even number. */
    mproc__store64(&c->sequence, mproc__peek64(&c->sequence) + 1);
}

/* ---------------------------------------------------------------- set */

static void write_owned(const struct list *l, size_t i, const struct place *p,
                        const struct value *v) {
    uint64_t format = format_of(v, p->room);
    bool same = mproc__peek64(p->format) == format && mproc__load_byte(p->kind) == v->kind;
    if (same && (v->format != 0 || p->room == WORD)) {
        write_words(p, v);
        return;
    }
    begin_change(l, i, p);
    write_all(p, v, format);
    end_change(l);
}

int mproc_shareable_list_set(mproc_shm *list, size_t i, const mproc_item *item) {
    struct list l;
    struct place p;
    struct value v;
    int r = find_item(list, i, &l, &p);
    if (r == 0) {
        r = value_of(item, &v);
    }
    if (r == 0 && v.length > p.room) {
        r = -EMSGSIZE;
    }
    if (r != 0) {
        return r;
    }
    if (l.change == NULL || p.room > l.saved) {
        write_all(&p, &v, format_of(&v, p.room));
        return 0;
    }
    uint64_t me;
    r = self(&me);
    if (r == 0) {
        own(&l, me);
        write_owned(&l, i, &p, &v);
        disown(&l);
    }
    return r;
}

/* ---------------------------------------------------------------- get */

/* Without the zeros at its end. The loads are acquiring, so the sequence is read again after
 * them. */
static size_t text_length(const struct place *p, size_t length) {
    while (length > 0) {
        uint64_t word = mproc__load64(p->slot + (length - 1) / WORD);
        if (((word >> (length - 1) % WORD * 8) & 0xff) != 0) {
            break;
        }
        length--;
    }
    return length;
}

static int read_text(const struct place *p, uint64_t format, mproc_item *out, void *room,
                     size_t size) {
    bool exact;
    size_t stretch = text_size(format, &exact), length = stretch < p->room ? stretch : p->room;
    length = exact ? length : text_length(p, length);
    if (stretch == 0 || length > size) {
        return stretch == 0 ? -EPROTO : -ENOBUFS;
    }
    for (size_t at = 0; at < length; at += WORD) {
        uint64_t word = mproc__load64(p->slot + at / WORD);
        memcpy((char *)room + at, &word, length - at < WORD ? length - at : WORD);
    }
    /* SYNC(list.kind) */
    out->kind = mproc__load_byte(p->kind) == CODE_STR ? MPROC_ITEM_STR : MPROC_ITEM_BYTES;
    out->data = room;
    out->size = length;
    return 0;
}

static int read_item(const struct place *p, mproc_item *out, void *room, size_t size) {
    uint64_t format = mproc__load64(p->format); /* SYNC(list.format) */
    uint64_t word = mproc__load64(p->slot);     /* SYNC(list.slot) */
    *out = (mproc_item){.kind = MPROC_ITEM_INT, .integer = (int64_t)word};
    if (format == FORMAT_INT) {
        return 0;
    }
    if (format == FORMAT_FLOAT) {
        out->kind = MPROC_ITEM_FLOAT;
        memcpy(&out->number, &word, WORD);
        return 0;
    }
    if (format == FORMAT_BOOL) {
        out->kind = MPROC_ITEM_BOOL;
        out->integer = word >> 56 != 0;
        return 0;
    }
    out->integer = 0;
    if (format == FORMAT_NONE) {
        out->kind = MPROC_ITEM_NONE;
        return 0;
    }
    return read_text(p, format, out, room, size);
}

/* By a writer, which is alone. */
static int read_owned(const struct list *l, const struct place *p, mproc_item *out, void *room,
                      size_t size) {
    uint64_t me;
    int r = self(&me);
    if (r == 0) {
        own(l, me);
        r = read_item(p, out, room, size);
        disown(l);
    }
    return r;
}

int mproc_shareable_list_get(mproc_shm *list, size_t i, mproc_item *out, void *room, size_t size) {
    struct list l;
    struct place p;
    mproc_item item;
    int r = find_item(list, i, &l, &p);
    if (r != 0) {
        return r;
    }
    for (int reads = 0;; reads++) {
        /* SYNC(list.sequence): the even number, before the item's words. */
        uint64_t before = l.change != NULL ? mproc__load64(&l.change->sequence) : 0;
        if (mproc__unlikely((before & 1) != 0 || reads == READS)) {
            r = read_owned(&l, &p, &item, room, size);
            break;
        }
        r = read_item(&p, &item, room, size);
        /* SYNC(list.begin): a reader that has read a word of a change sees the odd number. */
        if (l.change == NULL || mproc__load64(&l.change->sequence) == before) {
            break;
        }
    }
    if (r == 0) {
        *out = item;
    }
    return r;
}

/* ---------------------------------------------------------------- making */

/* Bytes of the slots, and of the largest of them. */
static int measure(const mproc_item *items, size_t n, size_t *slots, size_t *largest) {
    struct value v;
    *slots = 0;
    *largest = WORD;
    for (size_t i = 0; i < n; i++) {
        int r = value_of(&items[i], &v);
        if (r != 0) {
            return r;
        }
        size_t room = first_room(&v);
        *slots += room;
        *largest = room > *largest ? room : *largest;
    }
    return 0;
}

/* Into zero-filled memory. */
static void lay_out(struct list *l, const mproc_item *items, size_t largest) {
    size_t offset = 0;
    *word_at(l, 0) = l->n;
    for (size_t i = 0; i < l->n; i++) {
        struct value v;
        struct place p;
        if (value_of(&items[i], &v) != 0) {
            return; /* never: it has been measured */
        }
        *word_at(l, WORD * (i + 1)) = offset;
        offset += first_room(&v);
        *word_at(l, WORD * (i + 2)) = offset;
        if (find_place(l, i, &p) != 0) {
            return; /* never: these are the offsets */
        }
        *p.format = format_of(&v, p.room);
        *p.kind = v.kind;
        write_words(&p, &v);
    }
    size_t at = round_up(head_of(l->n) + l->last + tail_of(l->n), ALIGNMENT);
    struct change *c = (struct change *)(void *)(l->base + at);
    c->magic = MAGIC;
    c->room = largest;
}

int mproc_shareable_list_create(mproc_shm **out, const char *name, const mproc_item *items,
                                size_t n, const mproc_shm_options *options) {
    size_t largest;
    struct list l = {.n = n};
    int r = measure(items, n, &l.last, &largest);
    if (r != 0) {
        return r;
    }
    l.size =
        round_up(head_of(n) + l.last + tail_of(n), ALIGNMENT) + sizeof(struct change) + largest;
    l.base = calloc(1, l.size);
    if (l.base == NULL) {
        return -ENOMEM;
    }
    lay_out(&l, items, largest);
    r = mproc__shm_make(out, name, l.base, l.size, options);
    free(l.base);
    return r;
}

/* ---------------------------------------------------------------- questions */

int mproc_shareable_list_length(mproc_shm *list, size_t *out) {
    struct list l;
    int r = find_list(list, &l);
    if (r == 0) {
        *out = l.n;
    }
    return r;
}

int mproc_shareable_list_room(mproc_shm *list, size_t i, size_t *out) {
    struct list l;
    struct place p;
    int r = find_item(list, i, &l, &p);
    if (r == 0) {
        *out = p.room;
    }
    return r;
}

int mproc_shareable_list_format(mproc_shm *list, size_t i, char out[9]) {
    struct list l;
    struct place p;
    int r = find_item(list, i, &l, &p);
    if (r == 0) {
        uint64_t format = mproc__load64(p.format);
        memcpy(out, &format, WORD);
        out[WORD] = 0;
    }
    return r;
}

/* ---------------------------------------------------------------- check */

static int check_item(const struct list *l, size_t i, char *why, size_t size) {
    bool exact;
    struct place p;
    uint64_t next = i + 1 < l->n ? mproc__load64(word_at(l, WORD * (i + 2))) : l->last;
    uint64_t end = mproc__load64(word_at(l, WORD * (i + 2)));
    if (find_place(l, i, &p) != 0 || end != next) {
        return mproc__corrupt(why, size, "L1: the slot of item %zu", i);
    }
    uint64_t format = mproc__load64(p.format);
    if (format != FORMAT_INT && format != FORMAT_FLOAT && format != FORMAT_BOOL &&
        format != FORMAT_NONE && text_size(format, &exact) == 0) {
        return mproc__corrupt(why, size, "L1: the format of item %zu", i);
    }
    return 0;
}

/* Read twice: between the two looks a whole change may end. */
static int check_change(const struct change *c, char *why, size_t size) {
    uint64_t sequence = mproc__load64(&c->sequence);
    if ((sequence & 1) != 0 && mproc__load64(&c->owner) == 0 &&
        mproc__load64(&c->sequence) == sequence) {
        return mproc__corrupt(why, size, "L2: a change without an owner");
    }
    return 0;
}

int mproc_shareable_list_check(mproc_shm *list, char *why, size_t size) {
    struct list l;
    int r = find_list(list, &l);
    if (r != 0) {
        return r == -EBADMSG ? mproc__corrupt(why, size, "L1: the length or the offsets") : r;
    }
    for (size_t i = 0; r == 0 && i < l.n; i++) {
        r = check_item(&l, i, why, size);
    }
    return r == 0 && l.change != NULL ? check_change(l.change, why, size) : r;
}
