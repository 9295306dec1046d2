/*
 * wordcount.cpp - word frequencies of many files, counted by a pool of processes
 *
 * SPDX-License-Identifier: MIT
 *
 *     wordcount PATH...
 *
 * A PATH is a file. A word is a longest run of the bytes A-Z, a-z and _. The ten most frequent
 * words go to stdout. examples/c/wordcount.c does the same.
 *
 * How it works: the paths lie in the arena, one after the other. Each task is a file: a lambda with
 * the place of its path. Its result is a text, a line `count word` for each word, and the owner
 * adds these up.
 */
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mproc.hpp"

namespace {

using counts = std::map<std::string, long>;

bool in_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

counts count_words(const std::string &text) {
    counts words;
    for (auto at = text.begin(); at != text.end();) {
        const auto start = std::find_if(at, text.end(), in_word);
        at = std::find_if_not(start, text.end(), in_word);
        if (start != at) {
            words[std::string(start, at)]++;
        }
    }
    return words;
}

/* Runs in a worker. What it throws is thrown by the task's get(), in the owner. */
std::string count_file(const char *path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw std::runtime_error(std::string(path) + ": cannot be read");
    }
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    std::ostringstream lines;
    for (const auto &[word, count] : count_words(text)) {
        lines << count << ' ' << word << '\n';
    }
    return lines.str();
}

void add(counts &total, const std::string &lines) {
    std::istringstream in(lines);
    std::string word;
    for (long count = 0; in >> count >> word;) {
        total[word] += count;
    }
}

void report(const counts &total, size_t files) {
    std::vector<std::pair<std::string, long>> all(total.begin(), total.end());
    std::stable_sort(all.begin(), all.end(),
                     [](const auto &a, const auto &b) { return a.second > b.second; });
    long words = 0;
    for (const auto &[word, count] : all) {
        words += count;
    }
    for (size_t i = 0; i < all.size() && i < 10; i++) {
        std::printf("%8ld %s\n", all[i].second, all[i].first.c_str());
    }
    std::printf("%ld words, %zu different, in %zu files\n", words, all.size(), files);
}

void run(const std::vector<std::string> &files) {
    std::vector<char, mproc::allocator<char>> paths;
    std::vector<size_t> places;
    for (const std::string &file : files) {
        places.push_back(paths.size());
        paths.insert(paths.end(), file.c_str(), file.c_str() + file.size() + 1);
    }

    const mproc::pool pool;
    std::vector<mproc::task<std::string>> tasks;
    for (size_t place : places) {
        tasks.push_back(pool.submit([path = paths.data() + place] { return count_file(path); }));
    }
    counts total;
    for (const mproc::task<std::string> &task : tasks) {
        add(total, task.get());
    }
    report(total, files.size());
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: wordcount PATH...\n");
        return 2;
    }
    try {
        mproc::init(argc, argv);
        run(std::vector<std::string>(argv + 1, argv + argc));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "wordcount: %s\n", e.what());
        return 1;
    }
}
