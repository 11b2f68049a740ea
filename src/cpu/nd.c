/* SPDX-License-Identifier: Apache-2.0 */
/* Index domains: ordering axes by memory and merging them. */
#include "cpu/nd.h"

#include <string.h>

void tenon_nd_init(tenon_nd *nd, int rank, const int64_t *dim)
{
    memset(nd, 0, sizeof *nd);
    nd->rank = rank;
    for (int i = 0; i < rank; i++) nd->dim[i] = dim[i];
}

int tenon_nd_add(tenon_nd *nd, const tenon_tensor *t)
{
    for (int i = 0; i < t->rank; i++) nd->stride[nd->count][nd->rank - t->rank + i] = t->dim[i] == 1 ? 0 : t->stride[i];
    return nd->count++;
}

int tenon_nd_add_strides(tenon_nd *nd, const int64_t *stride)
{
    for (int i = 0; i < nd->rank; i++) nd->stride[nd->count][i] = stride[i];
    return nd->count++;
}

static void move_axis(tenon_nd *nd, int from, int to)
{
    nd->dim[to] = nd->dim[from];
    for (int t = 0; t < nd->count; t++) nd->stride[t][to] = nd->stride[t][from];
}

static void swap_axes(tenon_nd *nd, int a, int b)
{
    const int64_t d = nd->dim[a];
    nd->dim[a] = nd->dim[b];
    nd->dim[b] = d;
    for (int t = 0; t < nd->count; t++) {
        const int64_t s = nd->stride[t][a];
        nd->stride[t][a] = nd->stride[t][b];
        nd->stride[t][b] = s;
    }
}

static bool can_merge(const tenon_nd *nd, int outer, int inner)
{
    for (int t = 0; t < nd->count; t++)
        if (nd->stride[t][outer] != nd->stride[t][inner] * nd->dim[inner]) return false;
    return true;
}

static int64_t magnitude(int64_t s) { return s < 0 ? -s : s; }

void tenon_nd_simplify(tenon_nd *nd, int by)
{
    int rank = 0;
    for (int i = 0; i < nd->rank; i++)
        if (nd->dim[i] != 1) move_axis(nd, i, rank++);
    for (int i = 1; i < rank; i++)
        for (int k = i; k > 0 && magnitude(nd->stride[by][k]) > magnitude(nd->stride[by][k - 1]); k--) swap_axes(nd, k, k - 1);
    nd->rank = rank;
    tenon_nd_merge(nd);
}

void tenon_nd_merge(tenon_nd *nd)
{
    int last = 0, rank = 0;
    for (int i = 0; i < nd->rank; i++)
        if (nd->dim[i] != 1) move_axis(nd, i, rank++);
    for (int i = 1; i < rank; i++) {
        if (can_merge(nd, last, i)) {
            const int64_t d = nd->dim[last];
            move_axis(nd, i, last);
            nd->dim[last] *= d;
        } else {
            move_axis(nd, i, ++last);
        }
    }
    nd->rank = rank ? last + 1 : 0;
}

int64_t tenon_nd_count(const tenon_nd *nd, int axes)
{
    int64_t n = 1;
    for (int i = 0; i < axes; i++) n *= nd->dim[i];
    return n;
}

int64_t tenon_nd_offset(const tenon_nd *nd, int t, int axes, int64_t i)
{
    int64_t offset = 0;
    for (int k = axes - 1; k > 0; k--) {
        offset += i % nd->dim[k] * nd->stride[t][k];
        i /= nd->dim[k];
    }
    return axes > 0 ? offset + i * nd->stride[t][0] : 0;
}
