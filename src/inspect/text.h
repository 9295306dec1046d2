/*
 * text.h - text of a program that is looked at, made harmless for who reads it
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MPROC_TEXT_H
#define MPROC_TEXT_H

#include <stdio.h>

/* How many bytes the character there has in UTF-8; 0: it is none. */
int mproc__text_character(const unsigned char *s);
/* The same of a character that stands for itself; 0: it is none, or a terminal or a page would obey
 * it: a control of ASCII or of ISO 6429, an end of a line, a change of the direction. */
int mproc__text_printable(const unsigned char *s);
/* The number of the character there, which has so many bytes. */
unsigned mproc__text_code(const unsigned char *s, int bytes);

/* Question marks in place of what is not printable. A text that is cut is cut between characters.
 */
void mproc__text_clean(const char *from, char *to, size_t size);
void mproc__text_print(FILE *out, const char *text);
/* The same for XML and HTML, in which line feeds stay. */
void mproc__text_escaped(FILE *out, const char *text);

/* The last line that has something; line feeds at the text's end are taken away. */
const char *mproc__text_last_line(char *text);

#endif
