/*
 * list_deque.cpp - the list's peer std::deque: of one process, without any lock
 *
 * SPDX-License-Identifier: MIT
 */
#include "list_deque.h"

#include <cstring>
#include <deque>
#include <string>

namespace {

std::deque<std::string> elements;

std::string element(const void *value) {
    return std::string(static_cast<const char *>(value), LIST_VALUE);
}

void open_deque() {
    elements.clear();
}

void append_deque(const void *value) {
    elements.push_back(element(value));
}

void get_deque(int64_t i, void *room) {
    std::memcpy(room, elements[static_cast<size_t>(i)].data(), LIST_VALUE);
}

void insert_deque(int64_t i, const void *value) {
    elements.insert(elements.begin() + i, element(value));
}

void remove_deque(int64_t i) {
    elements.erase(elements.begin() + i);
}

} // namespace

extern "C" const struct list_store store_deque = {"std::deque", open_deque,   append_deque,
                                                  get_deque,    insert_deque, remove_deque};
