/*
 * test_value.c - plain values: what is written is read, and nothing else
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "core/object.h"
#include "made.h"
#include "members.h"
#include "value.h"

#define LARGE ((size_t)1 << 20)

static mproc_value_writer *made_writer(void) {
    mproc_value_writer *made = NULL;
    CHECK_OK(mproc_value_writer_new(&made));
    return made;
}

/* A reader of what has been written; the writer stays. */
static mproc_value_reader reader_of(mproc_value_writer *writer) {
    mproc_value_reader reader;
    const void *bytes;
    size_t size;
    CHECK_OK(mproc_value_written(writer, &bytes, &size));
    mproc_value_read(&reader, bytes, size);
    return reader;
}

#define BYTES(reader, text) mproc_value_read(&(reader), (text), sizeof(text) - 1)

/* ---------------------------------------------------------------- there and back */

TEST_BARE(value_integers_of_every_width) {
    static const int64_t numbers[] = {
        0,   1,   127,  128,  255,    256,    65535,     65536,     INT32_MAX,     INT64_MAX,  -1,
        -32, -33, -128, -129, -32768, -32769, INT32_MIN, INT64_MIN, INT64_MIN + 1, UINT32_MAX,
    };
    mproc_value_writer *writer = made_writer();
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t number;
        CHECK_OK(mproc_value_write_int(writer, numbers[i]));
        mproc_value_reader reader = reader_of(writer);
        CHECK_OK(mproc_value_read_int(&reader, &number));
        CHECK_EQ(number, numbers[i]);
        CHECK_OK(mproc_value_end(&reader));
        mproc_value_clear(writer);
    }
    mproc_value_writer_drop(writer);
}

TEST_BARE(value_unsigned) {
    mproc_value_writer *writer = made_writer();
    uint64_t number;
    int64_t none;
    CHECK_OK(mproc_value_write_uint(writer, UINT64_MAX));
    mproc_value_reader reader = reader_of(writer);
    CHECK_EQ(mproc_value_read_int(&reader, &none), MPROC_EKIND);
    CHECK_OK(mproc_value_read_uint(&reader, &number));
    CHECK(number == UINT64_MAX);
    mproc_value_clear(writer);
    CHECK_OK(mproc_value_write_int(writer, -1));
    reader = reader_of(writer);
    CHECK_EQ(mproc_value_read_uint(&reader, &number), MPROC_EKIND);
    CHECK(strstr(mproc_value_reason(&reader), "-1 stands there") != NULL);
    mproc_value_writer_drop(writer);
}

static void write_scene(mproc_value_writer *writer) {
    CHECK_OK(mproc_value_write_tuple(writer, 3));
    CHECK_OK(mproc_value_write_map(writer, 2));
    CHECK_OK(mproc_value_write_text(writer, "name", 4));
    CHECK_OK(mproc_value_write_text(writer, "f\xc3\xbcnf", 5));
    CHECK_OK(mproc_value_write_int(writer, -7));
    CHECK_OK(mproc_value_write_list(writer, 0));
    CHECK_OK(mproc_value_write_tuple(writer, 0));
    CHECK_OK(mproc_value_write_list(writer, 4));
    CHECK_OK(mproc_value_write_none(writer));
    CHECK_OK(mproc_value_write_bool(writer, 3));
    CHECK_OK(mproc_value_write_float(writer, 0.5));
    CHECK_OK(mproc_value_write_bytes(writer, "\0\1", 2));
}

TEST_BARE(value_containers) {
    mproc_value_writer *writer = made_writer();
    const char *text;
    const void *bytes;
    size_t n, size;
    double number;
    int64_t key;
    int truth = 0;
    write_scene(writer);
    mproc_value_reader reader = reader_of(writer);
    CHECK_OK(mproc_value_read_list(&reader, &n));
    CHECK_EQ(n, 3);
    CHECK_OK(mproc_value_read_map(&reader, &n));
    CHECK_EQ(n, 2);
    CHECK_OK(mproc_value_skip(&reader));
    CHECK_OK(mproc_value_read_text(&reader, &text, &size));
    CHECK_EQ(size, 5);
    CHECK_MEM(text, "f\xc3\xbcnf", 5);
    CHECK_OK(mproc_value_read_int(&reader, &key));
    CHECK_EQ(key, -7);
    CHECK_OK(mproc_value_read_list(&reader, &n));
    CHECK_EQ(n, 0);
    CHECK_OK(mproc_value_read_list(&reader, &n));
    CHECK_EQ(n, 0);
    CHECK_OK(mproc_value_read_list(&reader, &n));
    CHECK_EQ(n, 4);
    CHECK_OK(mproc_value_read_none(&reader));
    CHECK_OK(mproc_value_read_bool(&reader, &truth));
    CHECK_EQ(truth, 1);
    CHECK_OK(mproc_value_read_float(&reader, &number));
    CHECK(number == 0.5);
    CHECK_EQ(mproc_value_end(&reader), -EEXIST);
    CHECK_OK(mproc_value_read_bytes(&reader, &bytes, &size));
    CHECK_EQ(size, 2);
    CHECK_MEM(bytes, "\0\1", 2);
    CHECK_OK(mproc_value_end(&reader));
    CHECK_EQ(mproc_value_skip(&reader), -ENODATA);
    mproc_value_writer_drop(writer);
}

TEST_BARE(value_skipped_as_a_whole) {
    mproc_value_writer *writer = made_writer();
    write_scene(writer);
    mproc_value_reader reader = reader_of(writer);
    CHECK_OK(mproc_value_skip(&reader));
    CHECK_OK(mproc_value_end(&reader));
    mproc_value_writer_drop(writer);
}

TEST_BARE(value_of_every_length) {
    static const size_t sizes[] = {0, 31, 32, 255, 256, 65535, 65536, 100000};
    char *content = malloc(100000);
    mproc_value_writer *writer = made_writer();
    memset(content, 'x', 100000);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *text;
        const void *bytes;
        size_t size, n;
        CHECK_OK(mproc_value_write_list(writer, 2));
        CHECK_OK(mproc_value_write_text(writer, content, sizes[i]));
        CHECK_OK(mproc_value_write_bytes(writer, content, sizes[i]));
        mproc_value_reader reader = reader_of(writer);
        CHECK_OK(mproc_value_read_list(&reader, &n));
        CHECK_OK(mproc_value_read_text(&reader, &text, &size));
        CHECK_EQ(size, sizes[i]);
        CHECK_OK(mproc_value_read_bytes(&reader, &bytes, &size));
        CHECK_EQ(size, sizes[i]);
        CHECK_MEM(bytes, content, size);
        CHECK_OK(mproc_value_end(&reader));
        mproc_value_clear(writer);
    }
    mproc_value_writer_drop(writer);
    free(content);
}

TEST_BARE(value_lists_of_every_length) {
    static const size_t sizes[] = {15, 16, 65535, 65536};
    mproc_value_writer *writer = made_writer();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n;
        CHECK_OK(mproc_value_write_tuple(writer, sizes[i]));
        for (size_t k = 0; k < sizes[i]; k++) {
            CHECK_OK(mproc_value_write_none(writer));
        }
        mproc_value_reader reader = reader_of(writer);
        CHECK_OK(mproc_value_read_list(&reader, &n));
        CHECK_EQ(n, sizes[i]);
        for (size_t k = 0; k < n; k++) {
            CHECK_OK(mproc_value_read_none(&reader));
        }
        CHECK_OK(mproc_value_end(&reader));
        mproc_value_clear(writer);
    }
    mproc_value_writer_drop(writer);
}

/* ---------------------------------------------------------------- the writer's caller */

TEST_BARE(value_that_is_complete_takes_no_more) {
    mproc_value_writer *writer = made_writer();
    CHECK_OK(mproc_value_write_list(writer, 1));
    const void *bytes;
    size_t size;
    CHECK_EQ(mproc_value_written(writer, &bytes, &size), -EINVAL);
    CHECK_OK(mproc_value_write_int(writer, 1));
    CHECK_EQ(mproc_value_write_int(writer, 2), -EINVAL);
    CHECK_EQ(mproc_value_write_list(writer, 0), -EINVAL);
    CHECK_OK(mproc_value_written(writer, &bytes, &size));
    CHECK_EQ(size, 2);
    mproc_value_writer_drop(writer);
    mproc_value_writer_drop(NULL);
}

TEST_BARE(value_as_deep_as_can_be) {
    mproc_value_writer *writer = made_writer();
    size_t n;
    for (int i = 0; i < MPROC_VALUE_DEPTH; i++) {
        CHECK_OK(i % 2 ? mproc_value_write_list(writer, 1) : mproc_value_write_tuple(writer, 1));
    }
    CHECK_EQ(mproc_value_write_list(writer, 0), -EINVAL);
    CHECK_OK(mproc_value_write_int(writer, 5));
    mproc_value_reader reader = reader_of(writer);
    for (int i = 0; i < MPROC_VALUE_DEPTH; i++) {
        CHECK_OK(mproc_value_read_list(&reader, &n));
    }
    CHECK_OK(mproc_value_skip(&reader));
    CHECK_OK(mproc_value_end(&reader));
    char deeper[MPROC_VALUE_DEPTH + 2];
    memset(deeper, '\x91', sizeof deeper - 1);
    deeper[sizeof deeper - 1] = 0;
    mproc_value_read(&reader, deeper, sizeof deeper);
    CHECK_EQ(mproc_value_skip(&reader), MPROC_EVALUE);
    mproc_value_writer_drop(writer);
}

TEST_BARE(value_text_must_be_utf8) {
    static const char *const bad[] = {"\x80",
                                      "\xc3",
                                      "\xc0\x80",
                                      "\xed\xa0\x80",
                                      "\xe0\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80"};
    static const char *const good[] = {"", "a", "\xc2\x80", "\xe2\x82\xac", "\xf4\x8f\xbf\xbf"};
    mproc_value_writer *writer = made_writer();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(mproc_value_write_text(writer, bad[i], strlen(bad[i])), -EILSEQ);
    }
    CHECK_OK(mproc_value_write_list(writer, sizeof good / sizeof *good));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK_OK(mproc_value_write_text(writer, good[i], strlen(good[i])));
    }
    mproc_value_writer_drop(writer);
}

/* ---------------------------------------------------------------- the reader's bad input */

TEST_BARE(value_of_bytes_that_are_none) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } bad[] = {
        {"", 0, "end where a value is to begin"},
        {"\xc1", 1, "0xc1"},
        {"\xcd\1", 2, "end inside"},
        {"\xa2x", 2, "end inside"},
        {"\xa1\xff", 2, "UTF-8"},
        {"\xdd\xff\xff\xff\xff", 5, "more values"},
        {"\xdf\xff\xff\xff\xff", 5, "more values"},
        {"\1\1", 2, "left over"},
        {"\xc7\2T\x90\xc0", 5, "left over in a tuple"},
        {"\xc7\1T\xc0", 4, "without an array"},
        {"\xc7\0T", 3, "without an array"},
        {"\xc7\2T\xdc\0", 5, "without an array"},
        {"\x91\xc7\1P.", 5, "pickle inside"},
        {"\xd8Oxxxxxxxxxxxxxxxx", 18, "object of the family"},
        {"\xc7\4Af\3\0\0", 7, "array that is none"},
        {"\xc7\4A", 3, "end inside"},
        {"\xd7V\0\0\0\0\0\0\0\1x", 11, "not known"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mproc_value_reader reader;
        mproc_value value;
        int r;
        mproc_value_read(&reader, bad[i].bytes, bad[i].size);
        do {
            r = mproc_value_next(&reader, &value);
        } while (r == 0);
        if ((r != MPROC_EVALUE && r != MPROC_EEXTENSION) ||
            strstr(mproc_value_reason(&reader), bad[i].says) == NULL) {
            test_fail(__FILE__, __LINE__, "%zu: %d, %s", i, r, mproc_value_reason(&reader));
        }
        CHECK_EQ(mproc_value_skip(&reader), r); /* there is no way on */
    }
}

TEST_BARE(value_with_an_unknown_extension) {
    mproc_value_reader reader;
    BYTES(reader, "\xd4Wx");
    CHECK_EQ(mproc_value_skip(&reader), MPROC_EEXTENSION);
    CHECK_STR(mproc_value_reason(&reader), "byte 0: extension type 87 ('W') is not known here");
    BYTES(reader, "\x92\1\xd4\xff"
                  "x");
    CHECK_EQ(mproc_value_skip(&reader), MPROC_EEXTENSION);
    CHECK_STR(mproc_value_reason(&reader), "byte 2: extension type -1 is not known here");
}

TEST_BARE(value_that_is_a_pickle) {
    mproc_value_reader reader;
    int64_t number;
    BYTES(reader, "\xc9\0\0\0\3P\x80\5.");
    CHECK_EQ(mproc_value_read_int(&reader, &number), MPROC_EPICKLE);
    CHECK(strstr(mproc_value_reason(&reader), "pickled") != NULL);
    BYTES(reader, "\xd7L\0\0\0\0\0\0\0\3\x80\5.");
    CHECK_EQ(mproc_value_skip(&reader), MPROC_EPICKLE);
    BYTES(reader, "\xd7"
                  "B\0\0\0\0\0\0\0\3\x80\5.");
    CHECK_EQ(mproc_value_skip(&reader), MPROC_EPICKLE);
}

TEST_BARE(value_of_another_kind_can_be_asked_for_again) {
    mproc_value_reader reader;
    const char *text;
    const void *bytes;
    size_t size;
    int64_t number;
    double real;
    BYTES(reader, "\x05");
    CHECK_EQ(mproc_value_read_text(&reader, &text, &size), MPROC_EKIND);
    CHECK_STR(mproc_value_reason(&reader), "byte 0: text is wanted, and an integer stands there");
    CHECK_EQ(mproc_value_read_bytes(&reader, &bytes, &size), MPROC_EKIND);
    CHECK_EQ(mproc_value_read_list(&reader, &size), MPROC_EKIND);
    CHECK_EQ(mproc_value_read_map(&reader, &size), MPROC_EKIND);
    CHECK_OK(mproc_value_read_int(&reader, &number));
    CHECK_EQ(number, 5);
    CHECK_STR(mproc_value_reason(&reader), "");
    BYTES(reader, "\xca\x3f\0\0\0");
    CHECK_EQ(mproc_value_read_int(&reader, &number), MPROC_EKIND);
    CHECK_OK(mproc_value_read_float(&reader, &real));
    CHECK(real == 0.5);
}

/* ---------------------------------------------------------------- arrays */

static mproc_value_array grid(const void *data, size_t rows, size_t columns) {
    return (mproc_value_array){.type = 'f',
                               .item_size = 8,
                               .ndim = 2,
                               .shape = {rows, columns},
                               .data = data,
                               .size = rows * columns * 8};
}

TEST_BARE(value_small_array) {
    static const double numbers[6] = {1, 2, 3, 4, 5, 6};
    mproc_value_writer *writer = made_writer();
    mproc_value_array sent = grid(numbers, 2, 3), got;
    sent.flags = MPROC_VALUE_FORTRAN | MPROC_VALUE_READONLY;
    CHECK_OK(mproc_value_write_array(writer, &sent));
    mproc_value_reader reader = reader_of(writer);
    CHECK_OK(mproc_value_read_array(&reader, &got));
    CHECK_OK(mproc_value_end(&reader));
    CHECK_EQ(got.type, 'f');
    CHECK_EQ(got.item_size, 8);
    CHECK_EQ(got.ndim, 2);
    CHECK_EQ(got.shape[0], 2);
    CHECK_EQ(got.shape[1], 3);
    CHECK_EQ(got.flags, sent.flags);
    CHECK_EQ(got.size, sizeof numbers);
    CHECK(got.buffer == NULL);
    CHECK_MEM(got.data, numbers, sizeof numbers);
    mproc_value_writer_drop(writer);
}

TEST_BARE(value_arrays_that_are_none) {
    static const double numbers[4];
    mproc_value_writer *writer = made_writer();
    const mproc_value_array good = grid(numbers, 2, 2);
    mproc_value_array bad[7];
    for (size_t i = 0; i < 7; i++) {
        bad[i] = good;
    }
    bad[0].type = 'O';
    bad[1].item_size = 3;
    bad[2].ndim = MPROC_VALUE_DIMENSIONS + 1;
    bad[3].size--;
    bad[4].shape[0] = UINT64_MAX;
    bad[5].flags = MPROC_VALUE_SHARED;
    bad[6].shape[0] = 0;
    for (size_t i = 0; i < 7; i++) {
        CHECK_EQ(mproc_value_write_array(writer, &bad[i]), -EINVAL);
    }
    CHECK_OK(mproc_value_write_array(writer, &good));
    mproc_value_writer_drop(writer);
}

static mproc_message get(mproc_queue *queue) {
    mproc_message m = MPROC_MESSAGE_INIT(NULL, 0);
    CHECK_OK(mproc_queue_get(queue, &m, MPROC_SEC));
    return m;
}

/* Two arrays, a copied one and a shared one, in a list with other values. */
static void put_arrays(mproc_queue *queue, mproc_buffer *shared) {
    mproc_value_writer *writer = made_writer();
    double *numbers = calloc(1, LARGE);
    numbers[7] = 7;
    mproc_value_array copied = grid(numbers, 128, LARGE / 8 / 128);
    mproc_value_array lent = grid((double *)mproc_buffer_data(shared) + 4, 3, 4);
    lent.flags = MPROC_VALUE_SHARED;
    lent.buffer = shared;
    CHECK_OK(mproc_value_write_list(writer, 3));
    CHECK_OK(mproc_value_write_array(writer, &copied));
    CHECK_OK(mproc_value_write_int(writer, 9));
    CHECK_OK(mproc_value_write_array(writer, &lent));
    free(numbers);
    CHECK_OK(mproc_value_put(writer, queue, 0));
    mproc_value_writer_drop(writer);
}

TEST(value_large_arrays_go_beside_the_message) {
    mproc_queue *queue = made_queue(0);
    mproc_buffer *shared = made_buffer(1000);
    ((double *)mproc_buffer_data(shared))[5] = 5;
    mproc_value_reader reader;
    mproc_value_array got;
    size_t n;
    put_arrays(queue, shared);
    mproc_message m = get(queue);
    CHECK_LT(m.size, 400);
    mproc_value_read_message(&reader, &m);
    CHECK_OK(mproc_value_read_list(&reader, &n));
    CHECK_EQ(n, 3);
    CHECK_OK(mproc_value_read_array(&reader, &got));
    CHECK_EQ(got.size, LARGE);
    CHECK_EQ(got.flags, 0);
    CHECK(got.buffer != NULL && ((const double *)got.data)[7] == 7);
    CHECK_OK(mproc_value_skip(&reader));
    CHECK_OK(mproc_value_read_array(&reader, &got));
    CHECK(got.buffer == shared && ((const double *)got.data)[1] == 5);
    CHECK_EQ(got.flags, MPROC_VALUE_SHARED);
    CHECK_OK(mproc_value_end(&reader));
    mproc_message_drop(&m);
    mproc_drop(shared);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(value_writer_gives_its_buffers_back) {
    mproc_value_writer *writer = made_writer();
    void *zeros = calloc(1, LARGE);
    mproc_value_array array = grid(zeros, 1, LARGE / 8);
    const void *bytes;
    size_t size;
    CHECK_OK(mproc_value_write_array(writer, &array));
    CHECK_GT(test_arena_used(), 0);
    CHECK_EQ(mproc_value_written(writer, &bytes, &size), -EINVAL);
    mproc_value_clear(writer);
    CHECK_EQ(test_arena_used(), 0);
    CHECK_OK(mproc_value_write_array(writer, &array));
    mproc_value_writer_drop(writer);
    CHECK_EQ(test_arena_used(), 0);
    free(zeros);
}

TEST(value_whose_parts_are_nowhere) {
    static const char no_part[] = "\xd7V\0\0\0\0\0\0\0\x0f\xc7\x0c"
                                  "Au\1\x80\0\0\0\0\0\0\0\0\0";
    static const char bad_length[] = "\xd7V\0\0\0\0\0\0\0\x7f\1";
    mproc_queue *queue = made_queue(0);
    mproc_value_reader reader;
    mproc_value_array array;
    CHECK_OK(mproc_queue_put(queue, no_part, sizeof no_part - 1, 0));
    CHECK_OK(mproc_queue_put(queue, bad_length, sizeof bad_length - 1, 0));
    mproc_message m = get(queue);
    mproc_value_read_message(&reader, &m);
    CHECK_EQ(mproc_value_read_array(&reader, &array), MPROC_EVALUE);
    CHECK(strstr(mproc_value_reason(&reader), "nowhere") != NULL);
    mproc_message_drop(&m);
    m = get(queue);
    mproc_value_read_message(&reader, &m);
    CHECK_EQ(mproc_value_skip(&reader), MPROC_EVALUE);
    mproc_message_drop(&m);
    mproc_drop(queue);
}

/* ---------------------------------------------------------------- a program's arguments */

static int read_arguments(void *arg, size_t size) {
    mproc_value_reader args;
    mproc_queue *queue;
    mproc_lock *lock;
    mproc_array *array;
    mproc_rlock *guard;
    int64_t number;
    (void)arg, (void)size;
    CHECK_OK(mproc_child_values(&args));
    CHECK_OK(mproc_value_read_queue(&args, &queue));
    CHECK_EQ(mproc_value_read_queue(&args, &queue), MPROC_EKIND);
    CHECK_STR(mproc_value_reason(&args), "argument 2: a queue is wanted, and a lock stands there");
    CHECK_OK(mproc_value_read_lock(&args, &lock));
    CHECK_OK(mproc_value_read_numbers(&args, &array, &guard));
    CHECK(guard == mproc_array_lock(array));
    CHECK_OK(mproc_value_read_int(&args, &number));
    CHECK_OK(mproc_value_end(&args));
    CHECK_EQ(mproc_value_skip(&args), -ENODATA);
    return mproc_queue_put(queue, &number, sizeof number, 0) == 0 ? 7 : 1;
}

/* The bytes of a writer that has objects are for mproc_process_start_program(); a fork has them by
 * the same way. */
static void write_arguments(mproc_value_writer *writer, void *const *objects) {
    CHECK_OK(mproc_value_write_tuple(writer, 4));
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(mproc_value_write_object(writer, objects[i], NULL));
    }
    CHECK_OK(mproc_value_write_int(writer, 42));
}

TEST(value_arguments_have_objects) {
    mproc_queue *queue = made_queue(0);
    void *objects[] = {queue, made_lock(0), made_array(MPROC_INT32, 3)};
    mproc_value_writer *writer = made_writer();
    mproc_process *child;
    const void *bytes;
    size_t size;
    int code;
    write_arguments(writer, objects);
    CHECK_EQ(mproc_value_put(writer, queue, 0), -EINVAL);
    CHECK_EQ(mproc_value_written(writer, &bytes, &size), -EINVAL);
    CHECK_OK(mproc__value_bytes(writer, &bytes, &size));
    CHECK_OK(mproc_process_start(&child, read_arguments, bytes, size, NULL));
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(child, &code));
    CHECK_EQ(code, 7);
    mproc_message m = get(queue);
    CHECK_EQ(*(int64_t *)m.data, 42);
    mproc_message_drop(&m);
    CHECK_OK(mproc_process_drop(child));
    mproc_value_writer_drop(writer);
    for (size_t i = 0; i < 3; i++) {
        mproc_drop(objects[i]);
    }
    CHECK_EQ(test_arena_used(), 0);
}

TEST(value_objects_that_are_none) {
    mproc_value_writer *writer = made_writer();
    mproc_queue *queue = made_queue(0);
    mproc_lock *lock = made_lock(0);
    void *block = mproc_alloc(100);
    int private = 0;
    CHECK_EQ(mproc_value_write_object(writer, block, NULL), -EINVAL);
    CHECK_EQ(mproc_value_write_object(writer, &private, NULL), -EINVAL);
    CHECK_EQ(mproc_value_write_object(writer, NULL, NULL), -EINVAL);
    CHECK_EQ(mproc_value_write_object(writer, queue, lock), -EINVAL);
    CHECK_OK(mproc_value_write_object(writer, lock, NULL));
    mproc_value_writer_drop(writer);
    mproc_free(block);
    mproc_drop(queue);
    mproc_drop(lock);
}

/* ---------------------------------------------------------------- programs */

static int end_of(mproc_process *child, bool *joined) {
    int code;
    CHECK_OK(mproc_process_join(child, MPROC_FOREVER));
    CHECK_OK(mproc_process_exitcode(child, &code));
    *joined = mproc_process_joined(child) != 0;
    CHECK_OK(mproc_process_drop(child));
    return code;
}

/* An emulator of another processor (scripts/cross.sh) starts no programs. */
static void need_programs(void) {
    if (getenv("MPROC_TEST_EMULATED") != NULL) {
        test_skip("the emulator starts no programs");
    }
}

TEST(value_program_that_never_joins_gives_its_holds_back) {
    need_programs();
    static const char *const program[] = {"/bin/true", NULL};
    mproc_queue *queue = made_queue(0);
    mproc_value_writer *writer = made_writer();
    mproc_process *child;
    bool joined;
    CHECK_OK(mproc_value_write_tuple(writer, 2));
    CHECK_OK(mproc_value_write_object(writer, queue, NULL));
    CHECK_OK(mproc_value_write_object(writer, queue, NULL));
    CHECK_OK(mproc_process_start_program(&child, program, writer, NULL));
    CHECK_EQ(mproc_process_joined(child), 0);
    mproc_drop(queue); /* the child's reservation keeps it */
    CHECK_EQ(end_of(child, &joined), 0);
    CHECK(!joined);
    CHECK_OK(mproc_process_start_program(&child, program, NULL, NULL));
    CHECK_EQ(end_of(child, &joined), 0);
    mproc_value_writer_drop(writer);
    CHECK_EQ(test_arena_used(), 0);
}

TEST(value_program_that_cannot_be_started) {
    need_programs();
    static const char *const nowhere[] = {"/nowhere/at/all", NULL}, *const nothing[] = {NULL};
    const mproc_process_options fork = {.method = MPROC_FORK}, other = {.argv = nowhere};
    mproc_queue *queue = made_queue(0);
    mproc_value_writer *writer = made_writer();
    mproc_process *child;
    CHECK_EQ(mproc_process_start_program(&child, nothing, NULL, NULL), -EINVAL);
    CHECK_EQ(mproc_process_start_program(&child, nowhere, NULL, &fork), -EINVAL);
    CHECK_EQ(mproc_process_start_program(&child, nowhere, NULL, &other), -EINVAL);
    CHECK_OK(mproc_value_write_tuple(writer, 1));
    CHECK_EQ(mproc_process_start_program(&child, nowhere, writer, NULL), -EINVAL);
    CHECK_OK(mproc_value_write_object(writer, queue, NULL));
    CHECK_EQ(mproc_process_start_program(&child, nowhere, writer, NULL), -ENOENT);
    mproc_drop(queue);
    CHECK_EQ(test_arena_used(), 0); /* the child that never came had a hold */
    mproc_value_writer_drop(writer);
}

static int ask_nothing(void *arg, size_t size) {
    (void)arg, (void)size;
    return 0;
}

TEST(value_forked_child_has_joined) {
    mproc_process *child;
    bool joined;
    CHECK_OK(mproc_process_start(&child, ask_nothing, NULL, 0, NULL));
    CHECK_EQ(end_of(child, &joined), 0);
    CHECK(joined);
}
