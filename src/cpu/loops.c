/* SPDX-License-Identifier: Apache-2.0 */
/* What the tactics that are plain loops share. */
#include "cpu/loops.h"

#include <string.h>

const char *tenon_loop_reject(const tenon_problem *p)
{
    const tenon_anchor *a = &p->anchor[0];
    if (a->post) return "a program after it";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    for (int i = 0; i < a->node->src_count; i++) {
        if (!a->node->src[i]) continue;
        if (tenon_problem_src(p, a->node->src[i]) < 0) return "an operand is not a source";
        if (!tenon_loop_plain(a->node->src[i]->type.dtype)) return "elements without plain storage";
    }
    for (int i = 0; i < a->node->dst_count; i++) {
        if (!a->node->dst[i]) continue;
        if (tenon_problem_dst(p, a->node->dst[i]) < 0) return "a result is not a destination";
        if (!tenon_loop_plain(a->node->dst[i]->type.dtype)) return "elements without plain storage";
    }
    return NULL;
}

const char *tenon_loop_reject_order(const tenon_problem *p)
{
    for (int i = 0; i < p->src_count; i++)
        if (p->src[i].format.layout != TENON_ROW || p->src[i].format.ld) return "not dense row-major";
    for (int i = 0; i < p->dst_count; i++)
        if (p->dst[i].format.layout != TENON_ROW || p->dst[i].format.ld) return "not dense row-major";
    return NULL;
}

const tenon_tensor *tenon_loop_src(const tenon_bind *b, int i)
{
    const tenon_node *n = b->problem->anchor[0].node;
    return i < n->src_count && n->src[i] ? &b->src[tenon_problem_src(b->problem, n->src[i])] : NULL;
}

const tenon_tensor *tenon_loop_dst(const tenon_bind *b, int i)
{
    const tenon_node *n = b->problem->anchor[0].node;
    const int dst = i < n->dst_count && n->dst[i] ? tenon_problem_dst(b->problem, n->dst[i]) : -1;
    return dst >= 0 ? &b->dst[dst] : NULL;
}

int tenon_loop_axis(const tenon_node *n, int rank)
{
    const int64_t axis = tenon_node_int(n, "axis");
    return (int)(axis < 0 ? axis + rank : axis);
}

void tenon_lines_init(tenon_lines *l, const tenon_tensor *first, int axis)
{
    int64_t dim[TENON_MAX_RANK];
    int rank = 0;
    memset(l, 0, sizeof *l);
    for (int i = 0; i < first->rank; i++)
        if (i != axis) dim[rank++] = first->dim[i];
    tenon_nd_init(&l->other, rank, dim);
    l->length = first->dim[axis];
    l->count = tenon_nd_count(&l->other, rank);
    tenon_lines_add(l, first, axis);
}

void tenon_lines_add(tenon_lines *l, const tenon_tensor *t, int axis)
{
    int64_t stride[TENON_MAX_RANK] = { 0 };
    const bool whole = t->rank > l->other.rank;
    for (int i = 0, k = 0; i < t->rank; i++)
        if (!whole || i != axis) stride[k++] = t->stride[i];
    l->step[l->other.count] = whole ? t->stride[axis] : 0;
    tenon_nd_add_strides(&l->other, stride);
}
