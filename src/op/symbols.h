/* SPDX-License-Identifier: Apache-2.0 */
/* The other way from symbols to shapes: what the symbols of a problem are, from the dims that its operands have. A symbol is found
   where a dim is the symbol itself or a multiple of it; in what is reckoned from several, nobody looks for it. */
#ifndef TENON_OP_SYMBOLS_H
#define TENON_OP_SYMBOLS_H

#include "ir/graph.h"

enum { TENON_SYMBOLS_MAX = 64 };
typedef struct tenon_symbols {
    int64_t value[TENON_SYMBOLS_MAX];
    bool known[TENON_SYMBOLS_MAX];
} tenon_symbols; /* all zero: nothing is known. Of a pool of at most TENON_SYMBOLS_MAX symbols. */

/* What the type says by the dims of `t`. The first finding stays. */
void tenon_symbols_learn(tenon_symbols *s, const tenon_type *type, const tenon_tensor *t);
/* The same without numbers: all that may be found is marked as known. */
void tenon_symbols_mark(tenon_symbols *s, const tenon_type *type);
bool tenon_symbols_know(const tenon_symbols *s, const tenon_dim *d);
/* False: something in it is not known, or the numbers do not fit. */
bool tenon_symbols_eval(const tenon_symbols *s, const tenon_dim *d, int64_t *out);

#endif
