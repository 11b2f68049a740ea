/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the printer and the parser of the graph text: what may stand without backquotes, and how numbers are written. */
#ifndef TENON_IR_TEXT_H
#define TENON_IR_TEXT_H

#include "ir/graph.h"

enum { TENON_TEXT_LITERALS = 16 };

static inline bool tenon_text_is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/' ||
           c == '$';
}

/* In attr_text.c */
void tenon_text_print_float(tenon_buf *b, double v, bool single); /* shortest that reads back the same */
void tenon_text_print_string(tenon_buf *b, const char *s, size_t length);
void tenon_text_print_elements(tenon_buf *b, const tenon_tensor *t, char separator);
/* Reads `count` elements from *at, moves it behind them. */
tenon_status tenon_text_read_elements(tenon_graph *g, const char **at, const char *end, char separator, const tenon_tensor *t);

#endif
