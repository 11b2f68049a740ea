/* SPDX-License-Identifier: Apache-2.0 */
/* A run of views (reshape, transpose, slice, split) over one source, understood as a whole. The axes of the source are cut into
   atoms, as finely as the reshapes demand; the run's result is then a list of atoms for each of its axes,
       and a range of each source axis.
   Axes of size 1 have no atoms. From that the shortest run is written: slice, reshape, transpose, reshape,
       each only where needed.

     (197, b, 2304)  atoms  197 | b | 3 12 64    select 1 of 3, then  b | 12 | 197 | 64                                         */
#ifndef TENON_PASS_VIEW_CHAIN_H
#define TENON_PASS_VIEW_CHAIN_H

#include "pass/rewrite.h"

enum { TENON_CHAIN_ATOMS = 16, TENON_CHAIN_NODES = 16 };

typedef struct tenon_atom {
    const tenon_dim *size;
    int axis;               /* of the source */
} tenon_atom;

typedef struct tenon_chain {
    tenon_value *source;
    int rank;                                   /* of the source */
    const tenon_dim *dim[TENON_MAX_RANK];       /* of the source after its slice */
    const tenon_dim *start[TENON_MAX_RANK];     /* of that slice; NULL: the axis is whole */
    tenon_atom atom[TENON_CHAIN_ATOMS];
    int atom_count;                             /* in the source's order */
    int result_rank;
    int first[TENON_MAX_RANK + 1];              /* axis i of the result has atoms list[first[i] .. first[i + 1]) */
    int list[TENON_CHAIN_ATOMS];
    tenon_node *node[TENON_CHAIN_NODES];        /* from the source down */
    int node_count;
} tenon_chain;

/* The longest run that ends in v and can be understood. node_count 0: v itself. */
tenon_status tenon_chain_of(tenon_rw *rw, tenon_value *v, tenon_chain *out);
bool tenon_chain_is_bijective(const tenon_chain *c); /* nothing is cut off */
/* How many nodes writing it takes, and writing it. *out NULL: a shape would have to be computed. `final`: the result's dims. */
int tenon_chain_cost(tenon_rw *rw, const tenon_chain *c, int rank, const tenon_dim *const *final);
tenon_status tenon_chain_write(tenon_rw *rw, const tenon_chain *c, tenon_value *x, int rank, const tenon_dim *const *final,
    tenon_value **out);
/* The other way round, of a bijective chain: from a value with the dims of its result to one with the dims of its source. */
tenon_status tenon_chain_inverse(tenon_rw *rw, const tenon_chain *c, const tenon_type *result, tenon_chain *out);

/* The same run for a source that has size 1 wherever `narrow` (of the result's rank) has. False: an axis of the source would be
   cut. */
bool tenon_chain_narrow(tenon_rw *rw, tenon_chain *c, const tenon_type *narrow);
/* Nothing is transposed. */
bool tenon_chain_is_ordered(const tenon_chain *c);

#endif
