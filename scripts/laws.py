#!/usr/bin/env python3
"""Usage: scripts/laws.py [--root DIR] [--list] [LAW…]

Checks the laws that a script can check; CONTRIBUTING.md and docs/architecture.md state them. A
breach is printed as `path:line: law: what`, and the exit status is then 1. The source is read, not
compiled: comments and strings are blanked first, so a name in a comment is not a use of it. Every
exception stands in a table below with its reason; one that nothing needs any more is a breach.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

# ---------------------------------------------------------------- exceptions, each with its reason

ATOMICS = {
    "src/system/atomic.h": "the law names it",
    "include/mproc.h": "mproc_atomic_load() and _store() are inline: one instruction each",
    "python/_mproc/threads.h": "fields of Python objects in an interpreter without its lock",
}

WATCHER = "runs without the C library, whose errno would be another process's: bare_call() only"

# What a file may include beside the C standard library, and why.
HEADERS_FOR_ALL = {
    "pthread.h": "threads are the C library's",
    "sys/types.h": "pid_t, ssize_t",
    "sys/uio.h": "struct iovec, which mproc.h names",
}
HEADERS = {
    "src/engine/carrier.c": ("dlfcn.h", "the transport is a library, loaded by its name"),
    "src/mpi/mpi.c": ("mpi.h", "what this library is about"),
    "src/core/guard.c": ("setjmp.h", "an attempt is left from whatever it has called"),
    "src/process/function.c": ("elf.h link.h", "the loader's list of loaded objects"),
    "src/watcher/bare.h": ("", WATCHER),
    "src/watcher/follower_run.c": ("poll.h sys/prctl.h unistd.h", WATCHER),
    "src/watcher/watcher_bare.c": ("fcntl.h sys/mman.h unistd.h", WATCHER),
    "src/watcher/watcher_main.c": ("sys/mman.h unistd.h", WATCHER),
    "src/watcher/watcher_run.c": (
        "fcntl.h linux/futex.h linux/stat.h poll.h sys/prctl.h unistd.h",
        WATCHER,
    ),
    "python/_mproc/arena.c": (
        "sys/resource.h unistd.h",
        "RLIMIT_AS, and whether a pid is the caller's",
    ),
    "python/_mproc/blocking.h": ("", "clock_gettime(): a deadline for CPython's own waits"),
    "python/_mproc/connection.c": ("unistd.h", "close() on a user's descriptor"),
    "python/_mproc/descriptor.c": (
        "sys/mman.h sys/syscall.h unistd.h",
        "what the module os of another build would do",
    ),
    "python/_mproc/incoming.c": ("unistd.h", "read() on a user's descriptor"),
    "python/_mproc/luggage.c": ("endian.h", "pickles are little-endian"),
    "python/_mproc/msgpack_write.c": ("endian.h", "MessagePack is big-endian"),
    "python/_mproc/pickle_read.c": ("endian.h", "pickles are little-endian, but for floats"),
    "python/_mproc/pickle_write.c": ("endian.h", "pickles are little-endian, but for floats"),
    "python/_mproc/interrupt.c": (
        "sys/syscall.h unistd.h",
        "sigaction() beside the interpreter's own handlers",
    ),
    "python/_mproc/fork.c": ("unistd.h", "os.fork()'s own steps, in its order"),
    "python/_mproc/semlock.c": ("fcntl.h semaphore.h", "named semaphores, as CPython's SemLock"),
}

# Files whose first lines are not a comment.
HEADLESS = {
    "examples/c/hello.c": "README shows it whole",
}

# Words with operations of acquire or release that order nothing else, or are ordered by others.
KERNEL = "the other end is the kernel"
UNTAGGED = {
    "src/array.c: at": "a number of the program's",
    "src/core/ledger.c: link": "under the object's mutex",
    "src/core/ledger.h: next": "under the object's mutex",
    "src/core/look.h: word": "a noun's word, and tagged there",
    "src/core/family.c: mapped": "falls after the chunks' room has, under their guard",
    "src/core/family.c: pid": "its starter's word, or its own",
    "src/core/join.c: mproc__family_joined": "a forked child has one thread",
    "src/core/member.c: hint": "whose turn it is: a hint",
    "src/core/member.c: serial": "a number for a name, and no more",
    "src/core/member.c: top": "slots from it on are zero, whoever looks at one",
    "src/core/mutex.c: since": "its reader is another program, which reads by the system",
    "src/core/reaper.c: pid": "under the members' guard",
    "src/core/shm_register.c: busy": "under the register's guard",
    "src/core/shm_register.c: inode": "before `busy` is cleared, under the register's guard",
    "src/core/trace.c: ": "its reader is another program, which reads by the system",
    "src/core/trace_ring.c: ": "its reader is another program, which reads by the system",
    "src/core/trace.c: dropped": "a number for people",
    "src/core/wait.c: unnoted": "a number for people",
    "src/core/trace.c: hash": "whoever uses a name writes its text first",
    "src/dict/write.c: next_rank": "a number for the order, and no more",
    "src/pool/taskq.c: claim": "written in a section of the queue",
    "src/pool/wait.c: news": "changed under the pool's lock; the kernel compares it",
    "src/process/init.c: attached": "says who is first, and no more",
    "src/process/process.c: count": "a number for names",
    "src/process/template.c: state": "its starter's request came through the kernel",
    "src/shareable_list.c: room": "constant since the file has its name",
    "src/shareable_list.c: word_at": "constant since the file has its name",
    "src/system/os_memory.c: next": "shares out the work; pthread_join() orders it",
    "src/system/os_process.c: word": KERNEL,
    "src/system/os_start.c: in_use": KERNEL,
    "src/system/os_start.c: where": KERNEL,
    "src/watcher/watcher.c: watcher": KERNEL,
    "src/watcher/watcher_run.c: pid": KERNEL,
    "src/watcher/watcher_run.c: word": KERNEL,
}

# Files that may name functions of those that stand above them.
REGISTRATIONS = {
    "src/core/kinds.c": "the table of destructors: what an object does when its last hold is gone",
}

# Lower may not know of higher. Longest prefix wins.
LEVELS = {
    "include/": 0,
    "src/system/": 1,
    "src/core/": 2,
    "src/watcher/": 3,
    "src/": 4,
    "src/process/": 4,
    "src/pool/": 5,
    "src/engine/": 6,
    "src/inspect/": 6,
    "src/mpi/": 7,
    "python/_mproc/": 6,
}

# ---------------------------------------------------------------- reading


class Breach(NamedTuple):
    path: str
    line: int
    what: str


def blank(text: str, pattern: re.Pattern[str]) -> str:
    """The text with what matches replaced by spaces; lines stay where they are."""
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|' + r"'(?:[^'\\\n]|\\.)*'")
DECLARED = re.compile(r"^(?!static|return)[A-Za-z_][^;{}()=]*\([^;{}]*;|^extern [^;{}]*;", re.M)
COMMENT_OR_LITERAL = re.compile(f"{COMMENT.pattern}|{LITERAL.pattern}", re.S)


class Source:
    """One file: its text, and for C the code without comments and without strings."""

    def __init__(self, root: Path, path: str) -> None:
        self.path = path
        self.text = (root / path).read_text(encoding="utf-8")

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def code(self) -> str:
        return blank(self.text, COMMENT_OR_LITERAL)

    @cached_property
    def code_lines(self) -> list[str]:
        return self.code.split("\n")

    @cached_property
    def words(self) -> frozenset[str]:
        """Names that are used; a declaration is no use, and a structure's tag is no name."""
        code = re.sub(r"\b(struct|union|enum)\s+\w+", "", blank(self.code, DECLARED))
        return frozenset(re.findall(r"\b[A-Za-z_]\w*", code))

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def includes(self) -> list[tuple[int, str, bool]]:
        """(line, name, whether in angle brackets)"""
        found = []
        for number, line in enumerate(self.lines, 1):
            if m := re.match(r'\s*#\s*include\s+([<"])([^>"]+)', line):
                found.append((number, m[2], m[1] == "<"))
        return found

    def line_of(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def breach(self, line: int, what: str) -> Breach:
        return Breach(self.path, line, what)

    def find(self, pattern: str) -> Iterator[tuple[int, str]]:
        """Lines and matches in the code."""
        for number, line in enumerate(self.code_lines, 1):
            for m in re.finditer(pattern, line):
                yield number, m.group()


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache: dict[str, Source] = {}

    def source(self, path: str) -> Source:
        if path not in self.cache:
            self.cache[path] = Source(self.root, path)
        return self.cache[path]

    def sources(self, *globs: str) -> list[Source]:
        paths = {p.relative_to(self.root).as_posix() for g in globs for p in self.root.glob(g)}
        return [self.source(p) for p in sorted(paths) if "/__pycache__/" not in p]

    def library(self) -> list[Source]:
        return self.sources("src/**/*.c", "src/**/*.h")

    def c_client(self) -> list[Source]:
        return self.sources("python/_mproc/*.c", "python/_mproc/*.h")

    def all_c(self) -> list[Source]:
        places = ("include", "src", "python/_mproc", "tests", "bench", "examples")
        return self.sources(*(f"{place}/**/*.[ch]" for place in places))


Law = Callable[[Tree], Iterable[Breach]]
LAWS: dict[str, Law] = {}


def law(name: str) -> Callable[[Law], Law]:
    def enter(check: Law) -> Law:
        LAWS[name] = check
        return check

    return enter


def unused(tree: Tree, law: str, table: Iterable[str], used: set[str]) -> Iterator[Breach]:
    """Exceptions without need, of a tree that has this script."""
    if (tree.root / "scripts/laws.py").exists():
        for entry in set(table) - used:
            yield Breach("scripts/laws.py", 1, f"nothing needs {entry} as an exception from {law}")


# ---------------------------------------------------------------- C: where things may stand


@law("atomics")
def atomics(tree: Tree) -> Iterator[Breach]:
    """Memory orders stand in atomic.h only. Tests and benchmarks may have their own."""
    names = r"\b__(atomic|sync)_\w+|\b_Atomic\b|\bmemory_order_\w+"
    used = set()
    for source in tree.library() + tree.c_client() + tree.sources("include/*.h"):
        found = list(source.find(names))
        if source.path in ATOMICS:
            used |= {source.path} if found else set()
            continue
        for line, name in found:
            yield source.breach(line, f"{name} stands outside of {', '.join(ATOMICS)}")
        for line, header, _ in source.includes:
            if header == "stdatomic.h":
                yield source.breach(line, "<stdatomic.h> is not used here")
    yield from unused(tree, "atomics", ATOMICS, used)


STANDARD = re.compile(
    r"(assert|complex|ctype|errno|float|inttypes|limits|math|signal|stdalign|stdarg|stdbool|stddef"
    r"|stdint|stdio|stdlib|stdnoreturn|string|time|Python|structmember)\.h"
)
SYSTEM_CALL = (
    r"(?<![\w.>])(?:_exit|accept|access|bare_call|bind|chdir|clock_gettime|clone|close|connect|dup[23]?|eventfd"
    r"|execveat|execve|fallocate|fcntl|fork|fstat|fstatvfs|ftruncate|getpid|getppid|getrandom"
    r"|getrlimit|kill|linkat|listen|lseek|lstat|madvise|memfd_create|mmap|mprotect|munmap|nanosleep"
    r"|open|openat|pipe2?|poll|posix_spawn|ppoll|prctl|p?readv?2?|p?writev?2?|raise|recv|recvfrom"
    r"|recvmsg|sched_yield|select|send|sendmsg|sendto|setrlimit|setsid|shutdown|sigaction|signal"
    r"|socket|socketpair|stat|statvfs|sysconf|syscall|truncate|unlink|unlinkat|usleep|vfork|wait4"
    r"|waitid|waitpid)\("
)


def calls_the_system(source: Source) -> Iterator[Breach]:
    allowed = {*HEADERS_FOR_ALL, *HEADERS.get(source.path, ("", ""))[0].split()}
    for line, header, angled in source.includes:
        if angled and header not in allowed and not STANDARD.fullmatch(header):
            yield source.breach(line, f"<{header}>: what it offers belongs into src/system")
    own = set(re.findall(r"^static .*?\b(\w+)\(|\(\*(\w+)\)\(", source.code, re.M))
    if source.path not in HEADERS:
        for line, call in source.find(SYSTEM_CALL):
            if not any(call[:-1] in names for names in own):
                yield source.breach(line, f"{call}): system calls belong into src/system")


@law("system")
def system(tree: Tree) -> Iterator[Breach]:
    """System calls, and the headers that bring them, are src/system's."""
    used = set()
    for source in tree.library() + tree.c_client():
        if source.path.startswith("src/system/"):
            continue
        used |= {f"{source.path}: {name}" for _, name, angled in source.includes if angled}
        yield from calls_the_system(source)
    table = [f"{path}: {name}" for path, (names, _) in HEADERS.items() for name in names.split()]
    yield from unused(tree, "system", table, used)


@law("prototypes")
def prototypes(tree: Tree) -> Iterator[Breach]:
    """A function stands below those that it calls, so that a file declares none of its own."""
    declared = re.compile(r"^static [^=;{}()]*?\b(\w+)\([^;{}]*\)[^;{}]*;", re.M)
    for source in tree.sources("src/**/*.c"):
        for m in declared.finditer(source.code):
            what = f"{m[1]}() is declared before it is defined: put it above its callers"
            yield source.breach(source.line_of(m.start()), what)


# ---------------------------------------------------------------- C: what meets across threads

OPERATION = re.compile(
    r"\bmproc__(?P<kind>load|store|cas|exchange|add|clear|publish|copy|peek|poke|guard_publish)"
    r"_?(\d+|pid|byte|fence|number)?\((?=(?P<word>[^;{]*))"
)
RELEASES = {"store", "cas", "exchange", "add", "clear", "guard_publish"}
ACQUIRES = {"load", "cas", "exchange", "add", "clear", "copy", "peek"}  # peek: behind a fence
TAG = re.compile(r"SYNC\(([\w.]+)\)")
NEAR = 4  # lines of code behind a tag that may hold its operation


class Tag(NamedTuple):
    name: str
    line: int
    operation: int  # its line; 0: the tag stands where the word is described
    kinds: set[str]


def tag_at(source: Source, index: int, name: str) -> Tag:
    """A tag with the operation in its line, or in the first line behind it that has one."""
    seen = 0
    for at, line in enumerate(source.code_lines[index:], index + 1):
        kinds = {m["kind"] for m in OPERATION.finditer(line)}
        if kinds:
            return Tag(name, index + 1, at, kinds)
        seen += 1 if line.strip() else 0
        if seen > NEAR or line.startswith("}"):
            break
    return Tag(name, index + 1, 0, set())


def tags_in(source: Source) -> list[Tag]:
    lines = enumerate(source.lines)
    return [tag_at(source, i, m[1]) for i, line in lines for m in TAG.finditer(line)]


def word_of(argument: str) -> str:
    """The name of the word that an operation is on: `&a->b(x)->c[i], 1)` is on c."""
    depth, kept = 0, ""
    for char in argument:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(char, 0)
        if depth < 0 or (depth == 0 and char == ","):
            break
        kept += char if depth == 0 else " "
    names = re.findall(r"\w+", re.split(r" [+/] ", kept)[0])
    return names[-1] if names else ""


def untagged(source: Source, words: set[str], used: set[str]) -> Iterator[Breach]:
    """Operations of acquire and release whose word has no tag in the module, and no reason."""
    lines = {tag.operation for tag in tags_in(source)}
    for m in OPERATION.finditer(source.code):
        line, word = source.line_of(m.start()), word_of(m["word"])
        if m["kind"] in ("peek", "poke", "copy", "guard_publish") or word in words or line in lines:
            continue
        if (entry := f"{source.path}: {word}") in UNTAGGED:
            used.add(entry)
        else:
            yield source.breach(line, f"no SYNC tag says with what {m['kind']} of {word} pairs")


@law("sync")
def sync(tree: Tree) -> Iterator[Breach]:
    """Each word that orders others has a tag, which stands at a release and at an acquire."""
    used: set[str] = set()
    sources = [s for s in tree.library() if s.path != "src/system/atomic.h"]
    all_tags: dict[str, list[tuple[Source, Tag]]] = {}
    words: dict[str, set[str]] = {}
    for source in sources:
        for tag in tags_in(source):
            all_tags.setdefault(tag.name, []).append((source, tag))
            words.setdefault(module_of(source.path), set()).add(tag.name.rsplit(".", 1)[-1])
    for source in sources:
        yield from untagged(source, words.get(module_of(source.path), set()), used)
    for name, places in sorted(all_tags.items()):
        source, tag = places[0]
        ends = [tag.kinds for _, tag in places if tag.kinds]
        if not any(kinds & RELEASES for kinds in ends):
            yield source.breach(tag.line, f"SYNC({name}) has no release")
        elif not any(kinds & ACQUIRES for kinds in ends):
            yield source.breach(tag.line, f"SYNC({name}) has no acquire")
        elif len(ends) < 2:
            yield source.breach(tag.line, f"SYNC({name}) stands at one end only")
    yield from unused(tree, "sync", UNTAGGED, used)


# ---------------------------------------------------------------- C: who knows whom


def level(path: str) -> int:
    return LEVELS[max((p for p in LEVELS if path.startswith(p)), key=len)]


DEFINITION = re.compile(
    r"^(?!static|typedef|extern)[A-Za-z_][\w *]*?\b(mproc_\w+)\s*(\(|=|;|\[)", re.M
)


def definitions(source: Source) -> Iterator[str]:
    """Functions with a body and variables that the file gives to others."""
    for m in DEFINITION.finditer(source.code):
        if re.match(r"(struct|union|enum) \w+;", m.group()):
            continue
        if m[2] != "(" or re.match(r"[^;{]*\{", source.code[m.end() :]):
            yield m[1]
    for m in re.finditer(r"^static inline [^;{]*?\b(mproc_\w+)\([^;{]*\{", source.code, re.M):
        yield m[1]


def module_of(path: str) -> str:
    return path.rsplit(".", 1)[0]


def owners(tree: Tree) -> dict[str, str]:
    """Which file defines a name."""
    owner: dict[str, str] = {}
    for source in tree.library():
        for name in definitions(source):
            owner.setdefault(name, source.path)
    return owner


@law("down")
def down(tree: Tree) -> Iterator[Breach]:
    """No include and no used name points up; a client includes mproc.h only."""
    owner = owners(tree)
    for source in tree.library():
        if source.path not in REGISTRATIONS:
            for name in sorted(source.words & set(owner)):
                if level(owner[name]) > level(source.path):
                    line = next(source.find(rf"\b{name}\b"))[0]
                    yield source.breach(line, f"{name} of {owner[name]} stands above {source.path}")
    for source in tree.library() + tree.c_client():
        client = source.path.startswith("python/")
        for line, name, angled in source.includes:
            places = (source.path.rsplit("/", 1)[0], "src", "include")
            paths = (f"{place}/{name}" for place in places)
            target = next((p for p in paths if (tree.root / p).exists()), "")
            if angled or not target:
                continue
            if level(target) > level(source.path):
                yield source.breach(line, f"{name} stands above {source.path}")
            elif client and target.startswith("src/"):
                yield source.breach(line, f"{name} is the library's own: a client includes mproc.h")


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


@law("circles")
def library_circles(tree: Tree) -> Iterator[Breach]:
    """No circle among files: who uses a name depends on its definer. X.c and X.h count as one."""
    owner = owners(tree)
    edges: dict[str, set[str]] = {}
    for source in tree.library():
        used = {owner[word] for word in source.words if word in owner}
        edges.setdefault(source.path, set()).update(used - {source.path})
    kept = {path for path in REGISTRATIONS if edges.pop(path, None)}
    for group in circles(edges):
        if len({module_of(path) for path in group}) > 1:
            yield Breach(group[0], 1, "a circle: " + " ".join(group))
    yield from unused(tree, "circles", REGISTRATIONS, kept)


# ---------------------------------------------------------------- C: what is written down

DECLARATION = re.compile(
    r"^(?:MPROC_API )?(?!static|typedef|extern)(\w[^;{}()=#]*?)\b(mproc_\w+)\(([^;{]*)\)[^;{()]*;",
    re.M,
)
CODES = re.compile(
    r"-E[A-Z]\w+|MPROC_E[A-Z]\w+|[Cc]annot fail|[Nn]ever fails|[Nn]on-zero|[Ee]rrors"
    r"|[Aa]s (those of |mproc_\w)|\bThe same\b"
)


def comment_above(source: Source, offset: int) -> str:
    """The comments that a declaration has: behind it, above it, or above the group that it ends."""
    start = source.text.rfind("\n\n", 0, offset)
    group = source.text[start if start >= 0 else 0 : source.text.find("\n", offset)]
    return re.sub(r"\s*\n[ *]*", " ", " ".join(COMMENT.findall(group)))


@law("manual")
def manual(tree: Tree) -> Iterator[Breach]:
    """Each function of mproc.h and os.h has a comment; if it can fail, that names its errors."""
    for source in tree.sources("include/mproc.h", "src/system/os.h"):
        for m in DECLARATION.finditer(source.code):
            line, comment = source.line_of(m.start()), comment_above(source, m.start())
            returns = m[1].strip()
            if not comment:
                yield source.breach(line, f"{m[2]}() has no comment")
            elif returns in ("int", "ssize_t") and not CODES.search(comment):
                yield source.breach(line, f"{m[2]}(): its comment names no error")
            if m[2].endswith("_new") and returns != "int":
                yield source.breach(line, f"{m[2]}(): a constructor returns an int")


@law("head")
def head(tree: Tree) -> Iterator[Breach]:
    """Each C file begins with a comment that says its name, what it is, and its licence."""
    for source in tree.all_c():
        if source.path in HEADLESS:
            continue
        name = re.escape(source.path.rsplit("/", 1)[1])
        comment = COMMENT.match(source.text)
        if not comment or not re.match(rf"/\*\n \* {name} - \S", comment.group()):
            yield source.breach(1, "no comment that begins with the file's name and what it is")
        elif "SPDX-License-Identifier: MIT" not in comment.group():
            yield source.breach(1, "no SPDX-License-Identifier in the first comment")


@law("columns")
def columns(tree: Tree) -> Iterator[Breach]:
    """Lines of C have at most 100 columns, those of Markdown 120, tables and output excepted."""
    for source in tree.all_c():
        for number, line in enumerate(source.lines, 1):
            if len(line) > 100:
                yield source.breach(number, f"{len(line)} columns")
    for source in tree.sources("*.md", "docs/*.md", "bench/*.md"):
        fenced = False
        for number, line in enumerate(source.lines, 1):
            fenced ^= line.startswith("```")
            if len(line) > 120 and not fenced and not re.match(r"    | *\|", line):
                yield source.breach(number, f"{len(line)} columns")


# ---------------------------------------------------------------- words

# What the house says instead stands in docs/architecture.md's glossary.
POETRY = (
    r"bereav(e[ds]?|ing)|mourn(s|ed|ing|ers?)?|bur(y|ies|ied|ying|ials?)|condemn(s|ed|ing)?|cradles?|doomed"
    r"|stillborn|obituar(y|ies)|loan(s|ed)?|lenders?|lots?|cargos?|slips?|cells?|kin|boss(es)?|worlds?"
)
PLAIN_USES = re.compile(r"hello,? world|COMM_WORLD|cell_contents|make_cell", re.I)
WORD = re.compile(rf"(?<![A-Za-z])({POETRY})(?![a-z])", re.I)


@law("words")
def words(tree: Tree) -> Iterator[Breach]:
    """Words that cost a reader: names, comments and pages do without them."""
    python = tree.sources("python/**/*.py", "python/**/*.pyi", "tests/**/*.py", "scripts/*")
    for source in tree.all_c() + python + tree.sources("*.md", "docs/*.md", "bench/*.md"):
        if source.path in ("scripts/laws.py", "tests/python/test_laws.py"):
            continue
        for number, line in enumerate(source.lines, 1):
            for m in WORD.finditer(PLAIN_USES.sub("", line)):
                yield source.breach(number, f"'{m.group()}' is not a word of the house")


# ---------------------------------------------------------------- Python


def module_level(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is imported."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.dump(node.test):
                yield from module_level(node.body)
            yield from module_level(node.orelse)
        elif isinstance(node, ast.Try):
            for part in (node.body, node.orelse, node.finalbody):
                yield from module_level(part)
            for handler in node.handlers:
                yield from module_level(handler.body)
        elif isinstance(node, ast.With | ast.ClassDef):
            yield from module_level(node.body)


def imported(source: Source, node: ast.Import | ast.ImportFrom, modules: Iterable[str]) -> set[str]:
    """Modules of the package that an import names; their packages' own __init__ is not meant."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & set(modules)
    base = node.module or ""
    if node.level:
        package = module_name(source.path).split(".")
        up = node.level - (1 if source.path.endswith("__init__.py") else 0)
        base = ".".join(package[: len(package) - up] + ([base] if base else []))
    named = {f"{base}.{alias.name}" for alias in node.names}
    inner = named & set(modules)
    return inner | ({base} & set(modules) if named - inner else set())


def module_name(path: str) -> str:
    name = path.removeprefix("python/").removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


@law("imports")
def imports(tree: Tree) -> Iterator[Breach]:
    """No circle among the package's modules when they are imported."""
    modules = {module_name(s.path): s for s in tree.sources("python/mproc/**/*.py")}
    edges: dict[str, set[str]] = {}
    for name, source in modules.items():
        for node in module_level(source.tree.body):
            edges.setdefault(name, set()).update(imported(source, node, modules) - {name})
    for group in circles(edges):
        yield modules[group[0]].breach(1, "a circle of imports: " + " ".join(group))


def names_of_modules(source: Source, modules: Iterable[str]) -> Iterator[str]:
    """The local names that a module has for others of the package."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (a.asname or a.name for a in node.names if a.name in modules)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                one = ast.ImportFrom(node.module, [alias], node.level)
                if any(name.endswith(f".{alias.name}") for name in imported(source, one, modules)):
                    yield alias.asname or alias.name


def what_is_set(node: ast.AST) -> ast.expr | None:
    """The object whose attribute a node sets or deletes, None if it does neither."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        return node.value
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
        return node.args[0] if node.args else None
    return None


@law("variables")
def variables(tree: Tree) -> Iterator[Breach]:
    """No module of the package sets a variable of another one."""
    modules = {module_name(s.path): s for s in tree.sources("python/mproc/**/*.py")}
    for source in modules.values():
        names = set(names_of_modules(source, modules))
        for node in ast.walk(source.tree):
            target = what_is_set(node)
            if target is not None and ast.unparse(target) in names:
                yield source.breach(target.lineno, f"sets a module's variable: {ast.unparse(node)}")


# Documented, in spite of their names.
DOCUMENTED = {
    "_thread", "_exit", "_getframe", "_current_frames", "_xoptions", "_CData", "_SimpleCData",
    "_Pointer", "_CFuncPtr",
}  # fmt: skip


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def is_stdlib(node: ast.ImportFrom) -> bool:
    return not node.level and (node.module or "").split(".")[0] in sys.stdlib_module_names


def private_uses(source: Source) -> Iterator[Breach]:
    stdlib: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                if top in sys.stdlib_module_names:
                    stdlib.add(alias.asname or top)
                    if is_private(top):
                        yield source.breach(node.lineno, f"{top} is private to CPython")
        elif isinstance(node, ast.ImportFrom) and is_stdlib(node):
            for name in (node.module or "", *(alias.name for alias in node.names)):
                if is_private(name):
                    yield source.breach(node.lineno, f"{name} is private to CPython")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            value = ast.unparse(node.value)
            if value.split(".")[0] in stdlib and re.fullmatch(r"[\w.]+", value):
                yield source.breach(node.lineno, f"{value}.{node.attr} is private to CPython")


def unguarded(source: Source) -> Iterator[Breach]:
    """Private names of the C API outside of #if … PY_VERSION_HEX."""
    guards: list[bool] = []
    for number, line in enumerate(source.code_lines, 1):
        if m := re.match(r"\s*#\s*(if|elif|else|endif)\w*(.*)", line):
            if m[1] == "if":
                guards.append("PY_VERSION_HEX" in m[2])
            elif m[1] == "endif":
                guards.pop()
        elif not any(guards):
            for name in re.findall(r"\b_Py\w+", line):
                yield source.breach(number, f"{name} is private to CPython, and not guarded")


@law("private")
def private(tree: Tree) -> Iterator[Breach]:
    """What is private to CPython is used by _cpython.py only, in C behind version guards."""
    for source in tree.sources("python/mproc/**/*.py"):
        if source.path != "python/mproc/_cpython.py":
            yield from private_uses(source)
    for source in tree.c_client():
        yield from unguarded(source)


# ---------------------------------------------------------------- main


def main(argv: list[str]) -> int:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--list", action="store_true", help="name the laws")
    parser.add_argument("laws", nargs="*", metavar="LAW", help=", ".join(LAWS))
    options = parser.parse_args(argv)
    if options.list:
        for name, check in LAWS.items():
            print(f"{name:11} {check.__doc__}")
        return 0
    if wrong := set(options.laws) - set(LAWS):
        parser.error(f"no such law: {', '.join(sorted(wrong))}")
    tree = Tree(options.root)
    status = 0
    for name in options.laws or LAWS:
        for breach in LAWS[name](tree):
            print(f"{breach.path}:{breach.line}: {name}: {breach.what}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
