/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of boxes: rows by memcpy where both sides are contiguous, 2-d blocks where each side is contiguous along another axis
   (a line of each then stays in the first cache), element by element otherwise. */
#include "cpu/copy_nd.h"

#include "base/team.h"

#include <string.h>

enum { BLOCK = 16, REPEATED = 1024 /* bytes of a line that is worth repeating in larger pieces */ };

void tenon_copy_make(tenon_copy *c, int rank, const int64_t *dim, const int64_t *dst_stride, const int64_t *src_stride, int bytes,
                     void *dst, const void *src)
{
    memset(c, 0, sizeof *c);
    c->bytes = bytes;
    c->dst = dst;
    c->src = src;
    tenon_nd_init(&c->nd, rank, dim);
    tenon_nd_add_strides(&c->nd, dst_stride);
    tenon_nd_add_strides(&c->nd, src_stride);
    tenon_nd_simplify(&c->nd, 0);
    c->across = -1;
    const int last = c->nd.rank - 1;
    for (int i = 0; i < last; i++)
        if (c->nd.stride[1][i] == 1 && c->nd.stride[1][last] != 1 && c->nd.dim[i] > 1) c->across = i;
}

#define ELEMENTS(T)                                                                                                         \
    for (int64_t i = 0; i < n; i++) memcpy(dst + i * ds * (int64_t)sizeof(T), src + i * ss * (int64_t)sizeof(T), sizeof(T));
typedef struct pair16 { uint64_t x[2]; } pair16;

/* What is there already is copied behind itself, in pieces that stay in the first cache. */
void tenon_fill_run(void *dst, const void *element, int bytes, int64_t n)
{
    enum { PIECE = 4096 };
    char *to = dst;
    const char *e = element;
    const size_t all = (size_t)n * (size_t)bytes;
    bool same = true;
    if (n <= 0) return;
    for (int i = 1; i < bytes && same; i++) same = e[i] == e[0];
    if (same) {
        memset(to, e[0], all);
        return;
    }
    memcpy(to, e, (size_t)bytes);
    for (size_t done = (size_t)bytes; done < all;) {
        const size_t next = TENON_MIN(TENON_MIN(done, all - done), (size_t)PIECE / (size_t)bytes * (size_t)bytes);
        memcpy(to + done, to, next);
        done += next;
    }
}

static void copy_line(char *dst, int64_t ds, const char *src, int64_t ss, int64_t n, int bytes)
{
    if (ds == 1 && ss == 1) {
        memcpy(dst, src, (size_t)(n * bytes));
        return;
    }
    if (ds == 1 && ss == 0) {
        tenon_fill_run(dst, src, bytes, n);
        return;
    }
    switch (bytes) {
    case 1: ELEMENTS(uint8_t) break;
    case 2: ELEMENTS(uint16_t) break;
    case 4: ELEMENTS(uint32_t) break;
    case 8: ELEMENTS(uint64_t) break;
    default: ELEMENTS(pair16) break;
    }
}

/* dst[i][k] = src[k][i] for a block; dst contiguous along k, src along i. */
#define TRANSPOSE(T)                                                                                                        \
    for (int64_t i = 0; i < ni; i++)                                                                                        \
        for (int64_t k = 0; k < nk; k++)                                                                                    \
            memcpy(dst + (i * di + k) * (int64_t)sizeof(T), src + (k * sk + i) * (int64_t)sizeof(T), sizeof(T));
static void transpose_block(char *dst, int64_t di, const char *src, int64_t sk, int64_t ni, int64_t nk, int bytes)
{
    switch (bytes) {
    case 1: TRANSPOSE(uint8_t) break;
    case 2: TRANSPOSE(uint16_t) break;
    case 4: TRANSPOSE(uint32_t) break;
    case 8: TRANSPOSE(uint64_t) break;
    default: TRANSPOSE(pair16) break;
    }
}

/* The two axes of the blocks are `across` and the last; all others are walked. Members share the blocks. */
static void run_blocks(const tenon_copy *c, int member, int count)
{
    const tenon_nd *nd = &c->nd;
    const int last = nd->rank - 1;
    tenon_nd rest = *nd;
    rest.dim[c->across] = rest.dim[last] = 1;
    const int64_t ni = nd->dim[c->across], nk = nd->dim[last];
    const int64_t bi = (ni + BLOCK - 1) / BLOCK, bk = (nk + BLOCK - 1) / BLOCK, di = nd->stride[0][c->across], sk =
        nd->stride[1][last];
    int64_t begin, end;
    tenon_split(tenon_nd_count(&rest, nd->rank) * bi * bk, 1, member, count, &begin, &end);
    for (int64_t b = begin; b < end; b++) {
        const int64_t outer = b / (bi * bk), i = b / bk % bi * BLOCK, k = b % bk * BLOCK;
        const int64_t to = tenon_nd_offset(&rest, 0, nd->rank, outer) + i * di + k * nd->stride[0][last];
        const int64_t from = tenon_nd_offset(&rest, 1, nd->rank, outer) + i + k * sk;
        transpose_block(c->dst + to * c->bytes, di, c->src + from * c->bytes, sk, TENON_MIN(ni - i, BLOCK),
                        TENON_MIN(nk - k, BLOCK), c->bytes);
    }
}

/* A line that is there several times, one behind the other. */
static bool repeats_lines(const tenon_nd *nd)
{
    const int last = nd->rank - 1;
    return last > 0 && nd->stride[0][last] == 1 && nd->stride[1][last] == 1 && nd->stride[1][last - 1] == 0 &&
           nd->stride[0][last - 1] == nd->dim[last];
}

static void run_repeats(const tenon_copy *c, int member, int count)
{
    const tenon_nd *nd = &c->nd;
    const int axes = nd->rank - 2;
    const int64_t n = nd->dim[axes + 1], repeats = nd->dim[axes];
    int64_t row = 0, last = tenon_nd_count(nd, axes), begin = 0, end = repeats;
    if (last >= 2 * (int64_t)count) tenon_split(last, 1, member, count, &row, &last);
    else tenon_split(repeats, 1, member, count, &begin, &end);
    if (row >= last) return;
    tenon_nd_walk walk;
    for (tenon_nd_walk_start(&walk, nd, axes, row); row < last; row++, tenon_nd_walk_next(&walk, nd, axes))
        tenon_fill_run(c->dst + (walk.offset[0] + begin * n) * c->bytes, c->src + walk.offset[1] * c->bytes, (int)(n * c->bytes),
                       end - begin);
}

void tenon_copy_run(const tenon_copy *c, int member, int count)
{
    const tenon_nd *nd = &c->nd;
    if (tenon_nd_count(nd, nd->rank) == 0) return;
    if (repeats_lines(nd) && nd->dim[nd->rank - 1] * c->bytes <= REPEATED) {
        run_repeats(c, member, count);
        return;
    }
    if (c->across >= 0 && nd->stride[0][nd->rank - 1] == 1) {
        run_blocks(c, member, count);
        return;
    }
    const int axes = nd->rank > 0 ? nd->rank - 1 : 0;
    const int64_t n = nd->rank > 0 ? nd->dim[axes] : 1, rows = tenon_nd_count(nd, axes);
    const int64_t ds = nd->rank > 0 ? nd->stride[0][axes] : 1, ss = nd->rank > 0 ? nd->stride[1][axes] : 1;
    int64_t row = 0, last = rows, begin = 0, end = n;
    if (rows >= 2 * (int64_t)count) tenon_split(rows, 1, member, count, &row, &last);
    else tenon_split(n, 256, member, count, &begin, &end);
    if (row >= last || begin >= end) return;
    tenon_nd_walk walk;
    for (tenon_nd_walk_start(&walk, nd, axes, row); row < last; row++, tenon_nd_walk_next(&walk, nd, axes))
        copy_line(c->dst + (walk.offset[0] + begin * ds) * c->bytes, ds, c->src + (walk.offset[1] + begin * ss) * c->bytes, ss,
                  end - begin, c->bytes);
}
