/*
 * facts.c - what a dict says of itself to those who look from outside
 *
 * SPDX-License-Identifier: MIT
 *
 * A dict is much larger than what there is to see of it: a count in each shard, which counts if the
 * shard's generation is the dict's. So a looker reads these words alone.
 */
#include <string.h>

#include "core/facts.h"
#include "dict/table.h"

static_assert(offsetof(struct mproc__dict_shard, count) <= MPROC__DICT_LOOK - sizeof(uint64_t),
              "the count is in the part that is looked at");

unsigned mproc__dict_looks(void) {
    return MPROC__DICT_SHARDS;
}

uint64_t mproc__dict_generation_at(void) {
    return offsetof(mproc_dict, generation);
}

uint64_t mproc__dict_look_at(unsigned shard) {
    return offsetof(mproc_dict, shards) + shard * sizeof(struct mproc__dict_shard);
}

uint64_t mproc__dict_look_count(const char copy[MPROC__DICT_LOOK], uint64_t generation) {
    uint64_t its, count;
    memcpy(&its, copy + offsetof(struct mproc__dict_shard, generation), sizeof its);
    memcpy(&count, copy + offsetof(struct mproc__dict_shard, count), sizeof count);
    return its == generation ? count : 0;
}
