/*
 * os_terminal.c - a terminal whose whole screen a program has
 *
 * SPDX-License-Identifier: MIT
 *
 * Part of the program mproc, not of the library. The sequences are those of ECMA-48 and xterm,
 * which all terminals of today have.
 */
#include "system/os_terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define BEGIN "\033[?1049h\033[?25l" /* another screen, no cursor */
#define END "\033[?25h\033[?1049l"

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
#define ENDING (sizeof ending / sizeof *ending)

static struct termios before;
static volatile sig_atomic_t left;

static void note(int signal) {
    left = left || signal != SIGWINCH;
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
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

int mproc__os_terminal_begin(void) {
    struct sigaction action = {.sa_handler = note};
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &before) != 0) {
        return -errno;
    }
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) != 0) {
        return -errno;
    }
    for (size_t i = 0; i < ENDING; i++) {
        (void)sigaction(ending[i], &action, NULL);
    }
    (void)sigaction(SIGWINCH, &action, NULL);
    write_all(BEGIN);
    return 0;
}

void mproc__os_terminal_end(void) {
    write_all(END);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

void mproc__os_terminal_size(int *rows, int *columns) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0;
    *rows = known ? size.ws_row : 24;
    *columns = known ? size.ws_col : 80;
}

int mproc__os_terminal_key(int64_t timeout) {
    struct pollfd keys = {STDIN_FILENO, POLLIN, 0};
    unsigned char key = 0;
    int r = left ? 0 : poll(&keys, 1, (int)((timeout + MPROC_MSEC - 1) / MPROC_MSEC));
    if (left || (r > 0 && read(STDIN_FILENO, &key, 1) != 1)) {
        return MPROC__TERMINAL_LEFT;
    }
    return key;
}
