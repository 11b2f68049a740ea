/* SPDX-License-Identifier: Apache-2.0 */
/* Problems of moves: which operator reads which sources how, and what of that allows vectors. */
#include "cuda/moves_problem.h"

#include "op/pad.h"

#include <inttypes.h>
#include <string.h>

enum {
    CONCAT, SPLIT, GATHER, GATHER_ELEMENTS, GATHER_ND, SCATTER_ELEMENTS, SCATTER_ND, PAD, TILE, EXPAND, SLICE, RESHAPE,
    DEPTH_TO_SPACE, SPACE_TO_DEPTH,
    REVERSE_SEQUENCE, TRILU, ONE_HOT, EYE_LIKE, RANGE, CONSTANT_OF_SHAPE, KINDS
};
static const struct { const tenon_op *op; const char *name; } kinds[KINDS] = {
    [CONCAT] = {&tenon_op_concat, "CONCAT"}, [SPLIT] = {&tenon_op_split, "SPLIT"}, [GATHER] = {&tenon_op_gather, "GATHER"},
    [GATHER_ELEMENTS] = {&tenon_op_gather_elements, "GATHER_ELEMENTS"}, [GATHER_ND] = {&tenon_op_gather_nd, "GATHER_ND"},
    [SCATTER_ELEMENTS] = {&tenon_op_scatter_elements, "SCATTER_ELEMENTS"}, [SCATTER_ND] = {&tenon_op_scatter_nd, "SCATTER_ND"},
    [PAD] = {&tenon_op_pad, "PAD"}, [TILE] = {&tenon_op_tile, "TILE"}, [EXPAND] = {&tenon_op_expand, "EXPAND"},
    [SLICE] = {&tenon_op_slice, "SLICE"}, [RESHAPE] = {&tenon_op_reshape, "RESHAPE"},
    [DEPTH_TO_SPACE] = {&tenon_op_depth_to_space, "DEPTH_TO_SPACE"}, [SPACE_TO_DEPTH] = {&tenon_op_space_to_depth,
        "SPACE_TO_DEPTH"},
    [REVERSE_SEQUENCE] = {&tenon_op_reverse_sequence, "REVERSE_SEQUENCE"}, [TRILU] = {&tenon_op_trilu, "TRILU"},
    [ONE_HOT] = {&tenon_op_one_hot, "ONE_HOT"}, [EYE_LIKE] = {&tenon_op_eye_like, "EYE_LIKE"}, [RANGE] = {&tenon_op_range,
        "RANGE"},
    [CONSTANT_OF_SHAPE] = {&tenon_op_constant_of_shape, "CONSTANT_OF_SHAPE"},
};

/* What moves.cu knows under these names; 0 where an operator has no such thing. */
typedef struct names { int64_t batch, depth, mode, block, crd, k, upper, reduction; } names;

static int64_t attr_int(const tenon_node *n, const char *name)
{
    return tenon_attr_find(n->op, name) < 0 ? 0 : tenon_node_int(n, name);
}
static const tenon_value *src_of(const tenon_node *n, int i) { return i < n->src_count ? n->src[i] : NULL; }
static int64_t const_size(const tenon_value *v, int axis)
{
    return v && axis >= 0 && axis < v->type.rank && tenon_dim_is_const(v->type.dim[axis]) ? v->type.dim[axis]->value : -1;
}

static int word_of(const char *s, const char *const *word, int count)
{
    int i = 0;
    while (i < count && strcmp(s, word[i]) != 0) i++;
    return i;
}

static int wrap_axis(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }

static void find_names(const tenon_cuda_moves *m, const tenon_node *n, names *out)
{
    static const char *const pad_mode[] = {"constant", "reflect", "edge", "wrap"}, *const reduction[] = {"none", "add", "mul",
        "min", "max"};
    const int rank = n->src[0]->type.rank;
    *out = (names){.batch = attr_int(n, "batch_dims"), .block = attr_int(n, "blocksize"), .k = attr_int(n, "k"), .upper = attr_int(n, "upper")};
    if (m->kind == REVERSE_SEQUENCE) out->batch = wrap_axis(tenon_node_int(n, "batch_axis"), rank);
    if (m->kind == GATHER_ND || m->kind == SCATTER_ND) out->depth = const_size(n->src[1], n->src[1]->type.rank - 1);
    if (m->kind == PAD) out->mode = word_of(tenon_node_attr(n, "mode")->s, pad_mode, 4);
    if (m->kind == DEPTH_TO_SPACE || m->kind == SPACE_TO_DEPTH) out->crd = strcmp(tenon_node_attr(n, "mode")->s, "CRD") == 0;
    if (m->kind == SCATTER_ELEMENTS || m->kind == SCATTER_ND) out->reduction = word_of(tenon_node_attr(n, "reduction")->s,
        reduction, 5);
}

/* ---- the walk ---- */
/* In the order of memory, sizes of 1 outside. */
static void walk(const tenon_problem *p, const tenon_format *format, tenon_cuda_moves *m)
{
    const tenon_type *t = &m->domain->type;
    uint8_t memory[TENON_MAX_RANK], order[TENON_MAX_RANK];
    int count = 0;
    tenon_format_order(format, t->rank, memory);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->rank; i++)
            if (tenon_dim_is(t->dim[memory[i]], 1) == (pass == 0)) order[count++] = memory[i];
    tenon_cuda_space_init(&m->space, p->graph->dims, t->rank, (const tenon_dim *const *)t->dim, order);
}

static const char *make_space(const tenon_problem *p, const tenon_node *n, tenon_cuda_moves *m)
{
    const tenon_program *post = p->anchor[0].post;
    if (m->kind == SPLIT) {
        const int src = tenon_problem_src(p, n->src[0]);
        if (src < 0 || post) return "a split with a program, or of what is no source";
        m->domain = n->src[0];
        walk(p, &p->src[src].format, m);
        m->value[0] = n->src[0];
        (void)tenon_cuda_space_add(&m->space, &n->src[0]->type, &p->src[src].format, NULL);
    } else {
        if (!n->dst[0]) return "no result is wanted";
        m->domain = post ? post->result[0] : n->dst[0];
        const int dst = tenon_problem_dst(p, m->domain);
        if (dst < 0) return "the result is not a destination";
        walk(p, &p->dst[dst].format, m);
        const char *why = tenon_cuda_program_add(p, post, n->dst[0], &m->space, &m->program);
        if (why) return why;
        for (int i = 0; post && i < post->operand_count; i++)
            if (m->program.operand[i] >= 0) m->value[m->program.operand[i]] = post->operand[i];
        for (int i = 0; i < (post ? post->result_count : 1); i++) m->value[m->program.result[i]] = post ?
            post->result[i] : n->dst[0];
    }
    return tenon_cuda_space_finish(&m->space, m->domain->type.rank) ? NULL : "sizes too large to reckon with";
}

/* ---- the sources ---- */
/* The axis of source s that the result's axis a runs along; -1: none. */
static int along(const tenon_cuda_moves *m, const tenon_node *n, const names *k, int s, int a)
{
    const int rank0 = n->src[0]->type.rank, rank1 = src_of(n, 1) ? n->src[1]->type.rank : 0, result = m->domain->type.rank;
    switch (m->kind) {
    case CONCAT:
    case SPLIT: return a;
    case GATHER: return s ? -1 : a < m->axis ? a : a < m->axis + rank1 ? -1 : a - rank1 + 1;
    case GATHER_ND: return s || a < rank1 - 1 ? -1 : a - (rank1 - 1) + (int)(k->batch + k->depth);
    case SCATTER_ND: return s == 1 || a < k->depth ? -1 : s ? rank1 - 1 + a - (int)k->depth : a;
    case TILE:
    case EXPAND:
        a -= result - rank0;
        return s || a < 0 || (m->kind == EXPAND && n->src[0]->type.dim[a] != m->domain->type.dim[a + result - rank0]) ? -1 : a;
    case PAD: return s == 0 && m->params_known && !m->param[a] && n->src[0]->type.dim[a] == m->domain->type.dim[a] ? a : -1;
    case DEPTH_TO_SPACE:
    case SPACE_TO_DEPTH: return a == 1 && !k->crd ? 1 : -1;
    case REVERSE_SEQUENCE: return s || a == m->axis || a == k->batch ? -1 : a;
    default: return -1;
    }
}

static const char *add_sources(const tenon_problem *p, const tenon_node *n, const names *k, tenon_cuda_moves *m)
{
    const int last = m->space.rank ? m->space.order[m->space.rank - 1] : -1;
    int first = tenon_cuda_space_numbers(&m->space);
    m->source_count = m->kind == SPLIT ? n->dst_count : m->kind == CONSTANT_OF_SHAPE || m->kind == EYE_LIKE ? 0 : n->src_count;
    if (m->source_count > TENON_CUDA_MOVE_SOURCES || m->space.count + m->source_count > TENON_CUDA_TENSORS)
        return "too many tensors";
    for (int i = 0; i < m->source_count; i++) {
        tenon_cuda_move_source *s = &m->source[i];
        s->value = m->kind == SPLIT ? n->dst[i] : n->src[i];
        s->along = -1;
        if (m->kind != SPLIT && s->value && s->value->is_const && tenon_problem_src(p, s->value) < 0) s->value = NULL; /* a parameter */
        if (!s->value) {
            if (m->kind == SPLIT) return "a part that is not wanted";
            continue;
        }
        const int at = m->kind == SPLIT ? tenon_problem_dst(p, s->value) : tenon_problem_src(p, s->value);
        if (at < 0) return "an operand is neither a source nor a result";
        s->tensor = (tenon_cuda_tensor){.type = &s->value->type,
            .format = m->kind == SPLIT ? &p->dst[at].format : &p->src[at].format};
        s->first = first;
        first += 2 * s->value->type.rank;
        if (last >= 0) s->along = along(m, n, k, i, last);
    }
    return NULL;
}

static bool plain(tenon_dtype t) { return tenon_dtype_get(t)->bits >= 8 && t < TENON_STRING; }

static const char *check(const tenon_node *n, const names *k, const tenon_cuda_moves *m, bool program)
{
    const tenon_value *x = m->kind == SPLIT ? n->src[0] : n->dst[0];
    if (!plain(x->type.dtype)) return "elements without plain storage";
    const bool computes = program || k->reduction || m->kind == EYE_LIKE || m->kind == RANGE;
    if (computes && !tenon_cuda_type(x->type.dtype)) return "the element type";
    if (m->kind == ONE_HOT && !tenon_cuda_type(n->src[0]->type.dtype)) return "the type of the indices";
    if (m->kind != ONE_HOT && m->kind != CONCAT && src_of(n, 1) &&
        !tenon_cuda_type(n->src[1]->type.dtype)) return "the type of the indices";
    return k->depth < 0 ? "a rank that is not known" : NULL;
}

/* ---- parameters ---- */
static bool is_source(const tenon_problem *p, const tenon_node *n, int i)
{
    return src_of(n, i) && tenon_problem_src(p, n->src[i]) >= 0;
}

static bool is_dense_row(const tenon_format *f) { return f->layout == TENON_ROW && !f->ld; }

/* Constant pads do not depend on shapes: all the source's dims may be anything. */
static bool known_begins(const tenon_node *n, int64_t *begin)
{
    const tenon_tensor *pads = n->src[1]->data, *axes = src_of(n, 3) ? n->src[3]->data : NULL;
    const int rank = n->src[0]->type.rank;
    if (!pads || (src_of(n, 3) && !axes)) return false;
    const int64_t count = tenon_tensor_count(pads) / 2;
    if (axes && tenon_tensor_count(axes) != count) return false;
    memset(begin, 0, (size_t)rank * sizeof *begin);
    for (int64_t k = 0; k < count; k++) {
        const int64_t axis = axes ? tenon_tensor_get_i64(axes, k) : k, at = axis < 0 ? axis + rank : axis;
        if (at < 0 || at >= rank) return false;
        begin[at] = tenon_tensor_get_i64(pads, k);
    }
    return true;
}

static const char *find_params(const tenon_problem *p, const tenon_node *n, tenon_cuda_moves *m)
{
    const int rank = n->src[0]->type.rank;
    if (m->kind == PAD || m->kind == SLICE || m->kind == RESHAPE)
        for (int i = 1; i < n->src_count; i++)
            if ((m->kind != PAD || i != 2) && !tenon_problem_has_param(p, n, i)) return "what it does is not in the problem";
    if (m->kind == PAD && src_of(n, 2) && !is_source(p, n, 2) && (!n->src[2]->data || n->src[2]->type.dtype != n->src[0]->type.dtype))
        return "a value of another type";
    if (m->kind == PAD) {
        m->param_count = rank;
        m->params_known = known_begins(n, m->param);
    }
    if (m->kind == SLICE) m->param_count = rank + 1;
    if (m->kind == RESHAPE && (tenon_problem_src(p, n->src[0]) < 0 || !is_dense_row(&p->src[tenon_problem_src(p, n->src[0])].format)))
        return "a reshape of what is not dense row-major";
    if (m->kind != RANGE || tenon_is_float(n->dst[0]->type.dtype)) return NULL;
    m->param_count = 2;
    m->params_known = true;
    for (int i = 0; i < 2; i++) { /* one that is a source is read where it is */
        const tenon_tensor *t = is_source(p, n, 2 * i) ? NULL : n->src[2 * i]->data;
        if (t) m->param[i] = tenon_tensor_get_i64(t, 0);
        else m->params_known &= is_source(p, n, 2 * i);
    }
    return NULL;
}

tenon_status tenon_cuda_moves_params(tenon_cx *cx, const tenon_bind *b, const tenon_cuda_moves *m, int64_t *out)
{
    const tenon_node *n = b->problem->anchor[0].node;
    int64_t given[4][TENON_MAX_RANK], pads[2 * TENON_MAX_RANK], axes[TENON_MAX_RANK], dim[TENON_MAX_RANK];
    int count[4] = {0};
    if (!m->param_count || m->params_known) return TENON_OK;
    for (int i = 0; m->kind == RANGE && i < 2; i++) {
        out[i] = 0;
        if (!is_source(b->problem, n, 2 * i)) TENON_TRY(tenon_bind_ints(cx, b, n->src[2 * i], 1, &out[i], &count[0]));
    }
    if (m->kind == RANGE) return TENON_OK;
    const tenon_tensor *x = &b->src[tenon_problem_src(b->problem, n->src[0])];
    if (m->kind == PAD) {
        TENON_TRY(tenon_bind_ints(cx, b, n->src[1], 2 * TENON_MAX_RANK, pads, &count[0]));
        TENON_TRY(tenon_bind_ints(cx, b, src_of(n, 3), TENON_MAX_RANK, axes, &count[1]));
        return tenon_pad_box(cx, x, pads, count[0], axes, count[1], out, dim);
    }
    for (int i = 0; i < 4; i++) TENON_TRY(tenon_bind_ints(cx, b, src_of(n, i + 1), TENON_MAX_RANK, given[i], &count[i]));
    TENON_TRY(tenon_slice_box(cx, x, (const int64_t (*)[TENON_MAX_RANK])given, count, &out[0], dim, &out[1]));
    const int64_t *domain = tenon_cuda_moves_domain(b, m, false);
    for (int i = 0; i < x->rank; i++)
        if (dim[i] != domain[i]) return TENON_FAIL(cx, TENON_INVALID, "slice: axis %d of the result has another size", i);
    return TENON_OK;
}

const char *tenon_cuda_moves_make(const tenon_problem *p, tenon_cuda_moves *m)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    names k;
    memset(m, 0, sizeof *m);
    while (m->kind < KINDS && kinds[m->kind].op != n->op) m->kind++;
    if (m->kind == KINDS) return "no operator of moves";
    for (int i = 0; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before it";
    const int rank = n->src[0]->type.rank;
    m->axis = m->kind == REVERSE_SEQUENCE ? wrap_axis(tenon_node_int(n, "time_axis"), rank) : wrap_axis(attr_int(n, "axis"),
        rank + (m->kind == ONE_HOT));
    find_names(m, n, &k);
    const char *why = make_space(p, n, m);
    if (!why) why = check(n, &k, m, a->post != NULL);
    if (!why) why = find_params(p, n, m);
    if (!why) why = add_sources(p, n, &k, m);
    m->bounded = true;
    for (int i = 0; !why && i < m->domain->type.rank; i++) m->bounded &= !tenon_dim_depends_on_data(p->graph->dims,
        m->domain->type.dim[i]);
    return why;
}

/* ---- vectors ---- */
static bool runs_whole(const tenon_cuda_moves *m, int vector)
{
    const tenon_cuda_space *s = &m->space;
    const int last = s->order[s->rank - 1];
    bool any = m->kind == CONSTANT_OF_SHAPE;
    if (s->dim[s->rank - 1]->divisor % vector) return false;
    for (int i = 0; i < m->source_count; i++) {
        const tenon_cuda_move_source *f = &m->source[i];
        if (!f->value || f->along < 0) continue;
        any = true;
        const bool part = ((m->kind == CONCAT || m->kind == SPLIT) && last == m->axis) || m->kind == TILE ||
            m->kind == SPACE_TO_DEPTH;
        if (part && f->value->type.dim[f->along]->divisor % vector) return false;
        if (tenon_cuda_known_stride(&f->tensor, f->along) != 1) return false;
    }
    return any;
}

int tenon_cuda_moves_vector(const tenon_cuda_moves *m)
{
    const tenon_cuda_space *s = &m->space;
    const int y = m->kind == SPLIT ? 0 : m->program.result[0];
    int vector = 16 / (tenon_dtype_get(m->domain->type.dtype)->bits / 8);
    if (s->rank == 0 || !tenon_cuda_space_is_unit(s, y)) return 1;
    if (m->program.program) vector = TENON_MIN(vector, 8);
    while (vector > 1 && !runs_whole(m, vector)) vector /= 2;
    return vector;
}

int tenon_cuda_moves_numbers(const tenon_cuda_moves *m)
{
    int count = tenon_cuda_space_numbers(&m->space);
    for (int i = 0; i < m->source_count; i++)
        if (m->source[i].value) count += 2 * m->source[i].value->type.rank;
    return count + (m->params_known ? 0 : m->param_count);
}

/* ---- text ---- */
static void print_sources(const tenon_cuda_moves *m, tenon_buf *b, bool steps)
{
    tenon_buf_printf(b, "static __device__ __forceinline__ long long tenon_src_%s(const tenon_args &args, int source, int axis)\n"
                        "{\n    switch (source * %d + axis) {\n",
                     steps ? "step" : "dim", TENON_MAX_RANK);
    for (int i = 0; i < m->source_count; i++) {
        const tenon_cuda_move_source *s = &m->source[i];
        for (int k = 0; s->value && k < s->value->type.rank; k++) {
            const tenon_dim *d = s->value->type.dim[k];
            const int64_t step = steps ? tenon_cuda_known_stride(&s->tensor, k) : 0;
            const bool known = steps ? step != TENON_CUDA_UNKNOWN : tenon_dim_is_const(d);
            tenon_buf_printf(b, "    case %d: return ", i * TENON_MAX_RANK + k);
            if (known) tenon_buf_printf(b, "%" PRId64 ";\n", steps ? step : d->value);
            else tenon_buf_printf(b, "args.shape[%d];\n", s->first + k + (steps ? s->value->type.rank : 0));
        }
    }
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
}

static void print_params(const tenon_cuda_moves *m, tenon_buf *b)
{
    const int first = tenon_cuda_moves_numbers(m) - (m->params_known ? 0 : m->param_count);
    tenon_buf_str(b, "static __device__ __forceinline__ long long tenon_param(const tenon_args &args, int i)\n{\n    switch (i) {\n");
    for (int i = 0; i < m->param_count; i++) {
        if (m->params_known) tenon_buf_printf(b, "    case %d: return %" PRId64 "ll;\n", i, m->param[i]);
        else tenon_buf_printf(b, "    case %d: return args.shape[%d];\n", i, first + i);
    }
    tenon_buf_str(b, "    }\n    return 0;\n}\n");
}

/* The bits of a constant of one element. */
static uint64_t bits_of(const tenon_tensor *t)
{
    uint64_t bits = 0;
    if (t) memcpy(&bits, t->data, TENON_MIN(tenon_dtype_bytes(t->dtype, 1), sizeof bits));
    return bits;
}

/* Start or delta of a range, as a number that the kernel reckons with. */
static void print_range(const tenon_problem *p, const tenon_node *n, int i, const char *name, tenon_buf *b)
{
    if (is_source(p, n, i)) {
        tenon_buf_printf(b, "#define %s tenon_to<tenon_number>::value(*tenon_source<tenon_element>(args, %d))\n", name, i);
    } else if (!tenon_is_float(n->dst[0]->type.dtype)) {
        tenon_buf_printf(b, "#define %s tenon_param(args, %d)\n", name, i / 2);
    } else {
        const double v = tenon_tensor_get_f64(n->src[i]->data, 0);
        int64_t bits;
        memcpy(&bits, &v, sizeof bits);
        tenon_buf_printf(b, "#define %s __longlong_as_double(%" PRId64 "ll)\n", name, bits);
    }
}

static void print_axes(const tenon_cuda_moves *m, tenon_buf *b)
{
    const tenon_cuda_space *s = &m->space;
    tenon_buf_str(b, "static __device__ __forceinline__ int tenon_axis(int place)\n{\n    switch (place) {\n");
    for (int j = 0; j < s->rank; j++) tenon_buf_printf(b, "    case %d: return %d;\n", j, s->order[j]);
    tenon_buf_str(b, "    }\n    return 0;\n}\n"
                     "static __device__ __forceinline__ long long tenon_domain(const tenon_args &args, int axis)\n{\n    switch (axis) {\n");
    for (int j = 0; j < s->rank; j++) tenon_buf_printf(b, "    case %d: return tenon_size(args, %d);\n", s->order[j], j);
    tenon_buf_str(b, "    }\n    return 1;\n}\n");
}

static void print_give(const tenon_cuda_moves *m, tenon_buf *b)
{
    if (m->kind == SPLIT) return;
    tenon_buf_str(b, "static __device__ __forceinline__ void tenon_give(const tenon_args &args, const long long *at, const tenon_element *v)\n{\n");
    if (m->program.program)
        tenon_buf_str(b, "    tenon_class x[VECTOR];\n#pragma unroll\n"
            "    for (int i = 0; i < VECTOR; i++) x[i] = tenon_to<tenon_class>::value(v[i]);\n"
                         "    tenon_body<VECTOR>(args, at, x);\n}\n");
    else
        tenon_buf_str(b, "    tenon_element *p = (tenon_element *)args.at[0] + at[0];\n"
            "    if (VECTOR > 1 && (args.aligned & 1)) {\n"
                         "        tenon_vector<tenon_element, VECTOR> all;\n#pragma unroll\n"
                             "        for (int i = 0; i < VECTOR; i++) all.lane[i] = v[i];\n"
                         "        *(tenon_vector<tenon_element, VECTOR> *)p = all;\n    } else {\n#pragma unroll\n"
                         "        for (int i = 0; i < VECTOR; i++) p[i * tenon_step(args, 0, RANK - 1)] = v[i];\n    }\n}\n");
}

static void print_types(const tenon_node *n, const names *k, const tenon_cuda_moves *m, tenon_buf *b)
{
    static const char *const word[] = {[1] = "unsigned char", [2] = "unsigned short", [4] = "unsigned",
        [8] = "unsigned long long"};
    const tenon_dtype t = m->kind == SPLIT ? n->src[0]->type.dtype : n->dst[0]->type.dtype;
    const bool computes = m->program.program || k->reduction || m->kind == EYE_LIKE || m->kind == RANGE;
    const char *number = !tenon_is_float(t) ? "long long" : t == TENON_F64 || m->kind == RANGE ? "double" : "float";
    tenon_buf_printf(b, "typedef %s tenon_element;\ntypedef %s tenon_number;\n",
        computes ? tenon_cuda_type(t) : word[tenon_dtype_get(t)->bits / 8], number);
    if (m->kind == ONE_HOT)
        tenon_buf_printf(b, "#define X_TYPE %s\n#define ONE_HOT_NUMBER %s\n", tenon_cuda_type(n->src[0]->type.dtype),
                         tenon_is_float(n->src[0]->type.dtype) ? "double" : "long long");
    else if (m->kind != CONCAT && m->kind != RANGE && src_of(n, 1)) tenon_buf_printf(b, "#define INDEX_TYPE %s\n",
        tenon_cuda_type(n->src[1]->type.dtype));
    tenon_buf_printf(b, "#define UNSIGNED64 %d\n", t == TENON_U64);
}

void tenon_cuda_moves_print(const tenon_problem *p, const tenon_cuda_moves *m, tenon_buf *b)
{
    const tenon_node *n = p->anchor[0].node;
    names k;
    find_names(m, n, &k);
    tenon_cuda_space_print(&m->space, b);
    if (m->program.program) tenon_cuda_program_print(&m->program, &m->space, b);
    print_types(n, &k, m, b);
    tenon_buf_printf(b, "#define MOVE_%s\n#define SOURCES %d\n#define RANK0 %d\n#define RANK1 %d\n#define AXIS %d\n",
        kinds[m->kind].name, m->source_count,
                     n->src[0]->type.rank, src_of(n, 1) ? n->src[1]->type.rank : 0, m->axis);
    tenon_buf_printf(b, "#define BATCH %" PRId64 "\n#define DEPTH %" PRId64 "\n"
        "#define MODE %" PRId64 "\n#define BLOCK %" PRId64 "\n#define CRD %" PRId64 "\n",
                     k.batch, k.depth, k.mode, k.block, k.crd);
    tenon_buf_printf(b, "#define K %" PRId64 "ll\n#define UPPER %" PRId64 "\n#define REDUCTION %" PRId64 "\n#define HAS_K %d\n", k.k,
                     k.upper, k.reduction, m->kind == TRILU && src_of(n, 1) != NULL);
    tenon_buf_printf(b, "#define REPEATS %d\n#define TO_SPACE %d\n", m->kind == TILE, m->kind == DEPTH_TO_SPACE);
    const tenon_tensor *fill = m->kind == CONSTANT_OF_SHAPE ? tenon_node_attr(n, "value")->tensor
                               : m->kind == PAD && src_of(n, 2) ? n->src[2]->data : NULL;
    tenon_buf_printf(b, "#define FILL_BITS 0x%" PRIx64 "ull\n#define FILL_SOURCE %d\n", bits_of(fill),
                     m->kind == PAD && is_source(p, n, 2));
    if (m->kind == RANGE) {
        print_range(p, n, 0, "START", b);
        print_range(p, n, 2, "DELTA", b);
    }
    print_params(m, b);
    print_sources(m, b, false);
    print_sources(m, b, true);
    print_axes(m, b);
    print_give(m, b);
}

/* ---- binding ---- */
static const tenon_tensor *bound(const tenon_bind *b, const tenon_value *v)
{
    const int dst = tenon_problem_dst(b->problem, v);
    return dst >= 0 ? &b->dst[dst] : &b->src[tenon_problem_src(b->problem, v)];
}

const tenon_tensor *tenon_cuda_moves_bound(const tenon_bind *b, const tenon_cuda_moves *m, int t)
{
    const tenon_value *v = t < m->space.count ? m->value[t] : m->source[t - m->space.count].value;
    return v ? bound(b, v) : NULL;
}

const int64_t *tenon_cuda_moves_domain(const tenon_bind *b, const tenon_cuda_moves *m, bool most)
{
    const int dst = tenon_problem_dst(b->problem, m->domain);
    if (dst >= 0) return (most && b->dst_most ? b->dst_most : b->dst)[dst].dim;
    return (most && b->src_most ? b->src_most : b->src)[tenon_problem_src(b->problem, m->domain)].dim;
}
