/* SPDX-License-Identifier: Apache-2.0 */
/* top_k of numbers of at most 32 bits along any axis of any format. An element and its index are one 64-bit key whose order is
   the order of the results (equal elements: the lower index first; NaN is the largest), so that a heap of the k best keys is all:
   most elements fail one comparison with its worst. Members share the lines. */
#include "base/team.h"
#include "cpu/loops.h"

#include <math.h>
#include <string.h>

enum { K_MOST = 1 << 20 };

typedef struct record {
    tenon_lines lines;  /* 0: source; then the wanted results */
    tenon_tensor x;     /* for access by offset */
    char *value;        /* NULL: not wanted */
    int64_t *index;
    int value_at, index_at; /* their numbers in `lines` */
    int64_t k;
    bool largest, is_float;
} record;
_Static_assert(sizeof(record) <= TENON_RECORD_MAX, "record");

static const tenon_dim *k_of(const tenon_node *n)
{
    const tenon_type *t = &n->dst[n->dst[0] ? 0 : 1]->type;
    return t->dim[tenon_loop_axis(n, t->rank)];
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    (void)v, (void)device, (void)scratch;
    const tenon_node *n = p->anchor[0].node;
    const tenon_type *x = &n->src[0]->type;
    if (!tenon_problem_has_param(p, n, 1)) return "k is not in the problem";
    if (tenon_dtype_get(x->dtype)->bits > 32 || x->dtype == TENON_U32) return "elements of more than 31 bits and a sign";
    if (x->dim[tenon_loop_axis(n, x->rank)]->hi > INT32_MAX) return "an axis without bound";
    if (k_of(n)->hi > K_MOST) return "k is above a million";
    return tenon_loop_reject(p);
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out)
{
    (void)cx, (void)v, (void)device;
    out->record_bytes = sizeof(record);
    out->scratch_bytes = ((size_t)(k_of(p->anchor[0].node)->hi + 1) * sizeof(uint64_t) + 63) / 64 * 64;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *out)
{
    record *r = out;
    const tenon_node *n = b->problem->anchor[0].node;
    const tenon_tensor *x = tenon_loop_src(b, 0), *value = tenon_loop_dst(b, 0), *index = tenon_loop_dst(b, 1);
    const int axis = tenon_loop_axis(n, x->rank);
    memset(r, 0, sizeof *r);
    tenon_lines_init(&r->lines, x, axis);
    if (value) {
        r->value_at = r->lines.other.count;
        r->value = value->data;
        tenon_lines_add(&r->lines, value, axis);
    }
    if (index) {
        r->index_at = r->lines.other.count;
        r->index = index->data;
        tenon_lines_add(&r->lines, index, axis);
    }
    tenon_lines_seal(&r->lines);
    r->x = *x;
    r->k = (value ? value : index)->dim[axis];
    r->largest = tenon_node_int(n, "largest") != 0;
    r->is_float = tenon_is_float(x->dtype);
    if (r->k > r->lines.length)
        return TENON_FAIL(cx, TENON_INVALID, "top_k: k is %lld, the axis has %lld elements", (long long)r->k,
                          (long long)r->lines.length);
    return TENON_OK;
}

/* Unsigned numbers in the order of the floats; -0 is 0, NaN the largest. */
static uint32_t order_of_float(float f)
{
    uint32_t u;
    if (isnan(f)) return UINT32_MAX;
    f += 0.0f;
    memcpy(&u, &f, sizeof u);
    return u >> 31 ? ~u : u | UINT32_C(1) << 31;
}

static uint64_t key_of(const record *r, int64_t at, int64_t i)
{
    const uint32_t order = r->x.dtype == TENON_F32 ? order_of_float(((const float *)r->x.data)[at])
                           : r->is_float           ? order_of_float((float)tenon_tensor_get_f64(&r->x, at))
                                                   : (uint32_t)tenon_tensor_get_i64(&r->x, at) ^ UINT32_C(1) << 31;
    return (uint64_t)(r->largest ? order : ~order) << 32 | (uint32_t)~i;
}

/* heap[0] is the smallest: `key` takes its place and sinks. */
static void sink(uint64_t *heap, int64_t count, uint64_t key)
{
    int64_t at = 0;
    for (int64_t child = 1; child < count; child = 2 * at + 1) {
        child += child + 1 < count && heap[child + 1] < heap[child];
        if (heap[child] >= key) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

static void rise(uint64_t *heap, int64_t at, uint64_t key)
{
    for (; at > 0 && heap[(at - 1) / 2] > key; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = key;
}

static void select_line(const record *r, int64_t x, uint64_t *heap)
{
    const int64_t step = r->lines.step[0], n = r->lines.length, k = r->k;
    for (int64_t i = 0; i < k; i++) rise(heap, i, key_of(r, x + i * step, i));
    for (int64_t i = k; i < n; i++) {
        const uint64_t key = key_of(r, x + i * step, i);
        if (key > heap[0]) sink(heap, k, key);
    }
    for (int64_t left = k - 1; left > 0; left--) { /* the smallest goes to the end */
        const uint64_t least = heap[0];
        sink(heap, left, heap[left]);
        heap[left] = least;
    }
}

static tenon_status run(const void *launch, void *exec)
{
    const record *r = launch;
    const tenon_worker *w = exec;
    const int bytes = tenon_loop_bytes(r->x.dtype);
    uint64_t *heap = w->scratch;
    int64_t begin, end;
    tenon_split(r->lines.count, 1, w->member, w->count, &begin, &end);
    for (int64_t line = begin; line < end && r->k > 0; line++) {
        const int64_t x = tenon_lines_at(&r->lines, 0, line);
        const int64_t value = tenon_lines_at(&r->lines, r->value_at, line), index = tenon_lines_at(&r->lines, r->index_at, line);
        select_line(r, x, heap);
        for (int64_t i = 0; i < r->k; i++) {
            const int64_t at = (int64_t)(uint32_t)~heap[i];
            if (r->index) r->index[index + i * r->lines.step[r->index_at]] = at;
            if (r->value)
                memcpy(r->value + (value + i * r->lines.step[r->value_at]) * bytes,
                       (const char *)r->x.data + (x + at * r->lines.step[0]) * bytes, (size_t)bytes);
        }
    }
    return TENON_OK;
}

const tenon_tactic tenon_cpu_top_k = {
    .name = "cpu.top_k", .pattern = "top_k", .flags = TENON_TACTIC_DETERMINISTIC, .reject = reject, .plan = plan, .bind = bind,
    .run = run,
};
