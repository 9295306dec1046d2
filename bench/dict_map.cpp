/*
 * dict_map.cpp - the dict's peer std::unordered_map: a hash table of one process, without any lock
 *
 * SPDX-License-Identifier: MIT
 *
 * Two of them. One takes keys and values of any size, as the dict does: std::string to std::string,
 * with the hash that the standard library has for them. The other is made for the sizes of this
 * benchmark: keys and values lie in the node, and the compiler knows how long they are.
 */
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>

#include "store.h"

namespace {

struct key {
    uint64_t words[2];
    bool operator==(const key &other) const {
        return words[0] == other.words[0] && words[1] == other.words[1];
    }
    void assign(const char *bytes, size_t size) {
        memcpy(words, bytes, size);
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
    const char *data() const {
        return bytes;
    }
    size_t size() const {
        return sizeof bytes;
    }
    void assign(const char *from, size_t size) {
        memcpy(bytes, from, size);
    }
};

template <class map> struct peer {
    static map *entries;

    static const char *open(uint64_t n) {
        entries = new map;
        entries->reserve(n);
        return nullptr;
    }

    /* The same object each time: a new std::string would cost an allocation a call. */
    static const typename map::key_type &key_of(const void *bytes) {
        static typename map::key_type key;
        key.assign(static_cast<const char *>(bytes), STORE_KEY);
        return key;
    }

    static void get(const void *bytes, void *room) {
        auto found = entries->find(key_of(bytes));
        if (found == entries->end()) {
            bench_die("unordered_map: find");
        }
        memcpy(room, found->second.data(), found->second.size());
    }

    static void set(const void *bytes, const void *from) {
        (*entries)[key_of(bytes)].assign(static_cast<const char *>(from), STORE_VALUE);
    }

    static void close() {
        delete entries;
    }

    static constexpr struct store named(const char *name) {
        return {name, open, nullptr, get, set, nullptr, nullptr, nullptr, close};
    }
};

template <class map> map *peer<map>::entries;

using any_size = peer<std::unordered_map<std::string, std::string>>;
using one_size = peer<std::unordered_map<key, value, hash>>;

} // namespace

extern "C" const struct store store_map, store_map_fixed;
const struct store store_map = any_size::named("unordered_map<string, string>");
const struct store store_map_fixed = one_size::named("unordered_map of these sizes");
