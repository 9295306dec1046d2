/*
 * os_terminal.c - a terminal whose whole screen a program has
 *
 * SPDX-License-Identifier: MIT
 *
 * Part of the program mproc, not of the library. The sequences are those of ECMA-48 and xterm,
 * which all terminals of today have, but those that TERM calls dumb, or does not name.
 *
 * Signals come in only while a key is awaited, so none is missed between a look at what they say
 * and the sleep. A stop gives the screen back first, and takes it again when the program goes on.
 */
#include "system/os_terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Another screen, no cursor, and what is too long for a line is not shown. */
#define BEGIN "\033[?1049h\033[?25l\033[?7l"
#define END "\033[?7h\033[?25h\033[?1049l"

static const int noted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};

static struct termios before;
static sigset_t signals_before; /* that were blocked */
static volatile sig_atomic_t left, stop, resumed;

static void note(int signal) {
    if (signal == SIGTSTP) {
        stop = 1;
    } else if (signal == SIGCONT) {
        resumed = 1;
    } else if (signal != SIGWINCH) {
        left = 1;
    }
}

static void write_all(const char *text) {
    size_t n = strlen(text), done = 0;
    while (done < n) {
        ssize_t r = write(STDOUT_FILENO, text + done, n - done);
        if (r < 0 && errno != EINTR) {
            return;
        }
        done += r > 0 ? (size_t)r : 0;
    }
}

bool mproc__os_terminal_is(void) {
    const char *term = getenv("TERM");
    return term != NULL && *term != 0 && strcmp(term, "dumb") != 0 && isatty(STDIN_FILENO) &&
           isatty(STDOUT_FILENO);
}

static int take(void) {
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) != 0) {
        return -errno;
    }
    write_all(BEGIN);
    return 0;
}

static void give_back(void) {
    write_all(END);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

/* From now on those signals are noted, and come in only where they are let in. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = note};
    sigset_t caught;
    sigemptyset(&caught);
    for (size_t i = 0; i < sizeof noted / sizeof *noted; i++) {
        (void)sigaddset(&caught, noted[i]);
        (void)sigaction(noted[i], &action, NULL);
    }
    (void)sigprocmask(SIG_BLOCK, &caught, &signals_before);
    for (size_t i = 0; i < sizeof noted / sizeof *noted; i++) {
        (void)sigdelset(&signals_before, noted[i]);
    }
}

int mproc__os_terminal_begin(void) {
    if (tcgetattr(STDIN_FILENO, &before) != 0) {
        return -errno;
    }
    int r = take();
    if (r == 0) {
        catch_signals();
    }
    return r;
}

void mproc__os_terminal_end(void) {
    give_back();
}

/* Whoever had the terminal meanwhile may have set it. */
static void take_again(void) {
    resumed = 0;
    left = left || take() != 0;
}

void mproc__os_terminal_stop(void) {
    stop = 0;
    give_back();
    (void)raise(SIGSTOP); /* until a SIGCONT */
    take_again();         /* before anything is drawn */
}

void mproc__os_terminal_size(int *rows, int *columns) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
    *rows = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
}

int mproc__os_terminal_key(int64_t timeout) {
    const struct timespec until = {timeout / MPROC_SEC, timeout % MPROC_SEC};
    struct pollfd keys = {STDIN_FILENO, POLLIN, 0};
    unsigned char key = 0;
    int r = left || stop ? 0 : ppoll(&keys, 1, &until, &signals_before);
    if (resumed) {
        take_again();
    }
    if (left || (r > 0 && read(STDIN_FILENO, &key, 1) != 1)) {
        return MPROC__TERMINAL_LEFT;
    }
    if (stop) {
        return MPROC__TERMINAL_STOP;
    }
    return key;
}
