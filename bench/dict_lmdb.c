/*
 * dict_lmdb.c - the dict's peer LMDB: a B+ tree in a mapped file, here on a file system in memory
 *
 * SPDX-License-Identifier: MIT
 *
 * Each get is a read transaction of its own, which is kept and renewed, each set a write
 * transaction that is committed without being written to a disk (MDB_NOSYNC).
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

#if BENCH_LMDB
#include <lmdb.h>

#define FILL_BATCH 10000

static char directory[64];
static size_t map_size;
static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *reading, *filling;
static unsigned in_batch;

static void must(int r, const char *what) {
    if (r != 0) {
        fprintf(stderr, "%s: %s\n", what, mdb_strerror(r));
        bench_die("lmdb");
    }
}

static void open_env(void) {
    MDB_txn *txn;
    must(mdb_env_create(&env), "mdb_env_create");
    must(mdb_env_set_mapsize(env, map_size), "mdb_env_set_mapsize");
    must(mdb_env_open(env, directory, MDB_NOSYNC, 0600), "mdb_env_open");
    must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    must(mdb_dbi_open(txn, NULL, MDB_CREATE, &dbi), "mdb_dbi_open");
    must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static const char *open_lmdb(uint64_t n) {
    snprintf(directory, sizeof directory, "/dev/shm/mproc-bench-%d", (int)getpid());
    map_size = (size_t)n * 1024 + ((size_t)64 << 20);
    if (mkdir(directory, 0700) != 0) {
        return "no directory in /dev/shm";
    }
    open_env();
    return NULL;
}

/* An environment does not survive fork(): the child opens its own. */
static void enter_lmdb(bool child) {
    if (child) {
        open_env();
    }
    must(mdb_txn_begin(env, NULL, MDB_RDONLY, &reading), "mdb_txn_begin");
    mdb_txn_reset(reading);
}

static void leave_lmdb(void) {
    mdb_txn_abort(reading);
}

static void get_lmdb(const void *key, void *room) {
    MDB_val k = {STORE_KEY, (void *)(uintptr_t)key}, v;
    must(mdb_txn_renew(reading), "mdb_txn_renew");
    must(mdb_get(reading, dbi, &k, &v), "mdb_get");
    memcpy(room, v.mv_data, STORE_VALUE);
    mdb_txn_reset(reading);
}

static void put(MDB_txn *txn, const void *key, const void *value) {
    MDB_val k = {STORE_KEY, (void *)(uintptr_t)key}, v = {STORE_VALUE, (void *)(uintptr_t)value};
    must(mdb_put(txn, dbi, &k, &v, 0), "mdb_put");
}

static void set_lmdb(const void *key, const void *value) {
    MDB_txn *txn;
    must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
    put(txn, key, value);
    must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void filled_lmdb(void) {
    if (in_batch != 0) {
        must(mdb_txn_commit(filling), "mdb_txn_commit");
        in_batch = 0;
    }
}

static void fill_lmdb(const void *key, const void *value) {
    if (in_batch == 0) {
        must(mdb_txn_begin(env, NULL, 0, &filling), "mdb_txn_begin");
    }
    put(filling, key, value);
    if (++in_batch == FILL_BATCH) {
        filled_lmdb();
    }
}

static void close_lmdb(void) {
    char path[96];
    mdb_env_close(env);
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    unlink(path);
    snprintf(path, sizeof path, "%s/lock.mdb", directory);
    unlink(path);
    rmdir(directory);
}

const struct store store_lmdb = {"LMDB, MDB_NOSYNC", open_lmdb,   enter_lmdb, get_lmdb,  set_lmdb,
                                 fill_lmdb,          filled_lmdb, leave_lmdb, close_lmdb};
#else
static const char *absent(uint64_t n) {
    (void)n;
    return "liblmdb-dev was not there when this was built";
}

const struct store store_lmdb = {.name = "LMDB, MDB_NOSYNC", .open = absent};
#endif
