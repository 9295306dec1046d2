/*
 * dict_map.cpp - the dict's peer std::unordered_map: a hash table of one process, without any lock
 *
 * SPDX-License-Identifier: MIT
 */
#include <cstdint>
#include <cstring>
#include <unordered_map>

#include "store.h"

namespace {

struct key {
    uint64_t words[2];
    bool operator==(const key &other) const {
        return words[0] == other.words[0] && words[1] == other.words[1];
    }
};

struct hash {
    size_t operator()(const key &k) const {
        uint64_t h = k.words[0] * UINT64_C(0x9fb21c651e98df25) ^ k.words[1];
        h = (h ^ h >> 32) * UINT64_C(0xff51afd7ed558ccd);
        return h ^ h >> 32;
    }
};

struct value {
    char bytes[STORE_VALUE];
};

std::unordered_map<key, value, hash> *map;

key key_of(const void *bytes) {
    key k;
    memcpy(&k, bytes, sizeof k);
    return k;
}

const char *open_map(uint64_t n) {
    map = new std::unordered_map<key, value, hash>;
    map->reserve(n);
    return nullptr;
}

void get_map(const void *bytes, void *room) {
    auto found = map->find(key_of(bytes));
    if (found == map->end()) {
        bench_die("unordered_map: find");
    }
    memcpy(room, found->second.bytes, STORE_VALUE);
}

void set_map(const void *bytes, const void *from) {
    memcpy((*map)[key_of(bytes)].bytes, from, STORE_VALUE);
}

void close_map() {
    delete map;
}

} // namespace

extern "C" const struct store store_map;
const struct store store_map = {"std::unordered_map, private",
                                open_map,
                                nullptr,
                                get_map,
                                set_map,
                                nullptr,
                                nullptr,
                                nullptr,
                                close_map};
