/*
 * write.h - one entry is set, inserted, added to or taken out
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_DICT_WRITE_H
#define MPROC_DICT_WRITE_H

#include "dict/table.h"

/* If the entry has that version (0: if there is none; MPROC_DICT_ANY: in any case), it gets the
 * value. -EEXIST (0 was asked for), -ESTALE, -ENOMEM, MPROC_ETOOBIG; -EINVAL: nobody holds one of
 * the buffers. */
int mproc__dict_write(mproc_dict *dict, const struct mproc__dict_key *key,
                      const mproc_dict_value *value, uint64_t version);

/* The same taken out. -ENOENT: there is none. -ESTALE. */
int mproc__dict_remove(mproc_dict *dict, const struct mproc__dict_key *key, uint64_t version);

#endif
