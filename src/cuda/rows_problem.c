/* SPDX-License-Identifier: Apache-2.0 */
/* Problems of rows: from operator, axes and formats to a walk over axes. The axes are walked in the order of x's memory, kept axes outside
   those of a row, but for the innermost ones: where these are kept, neighbouring threads take neighbouring rows. */
#include "cuda/rows_problem.h"

#include "op/reduce.h"

#include <inttypes.h>
#include <string.h>

/* What rows.cu calls it, and how often it walks over a row. */
static const struct { const tenon_op *op; const char *kind; int passes; } kinds[] = {
    {&tenon_op_reduce_mean, "ROW_MEAN", 1}, {&tenon_op_reduce_sum, "ROW_SUM", 1}, {&tenon_op_reduce_max, "ROW_MAX", 1},
    {&tenon_op_reduce_min, "ROW_MIN", 1}, {&tenon_op_reduce_prod, "ROW_PROD", 1}, {&tenon_op_reduce_l1, "ROW_L1", 1},
    {&tenon_op_reduce_l2, "ROW_L2", 1}, {&tenon_op_reduce_sum_square, "ROW_SUM_SQUARE", 1}, {&tenon_op_reduce_log_sum,
        "ROW_LOG_SUM", 1},
    {&tenon_op_reduce_log_sum_exp, "ROW_LOG_SUM_EXP", 2}, {&tenon_op_arg_max, "ROW_ARG_MAX", 1}, {&tenon_op_arg_min,
        "ROW_ARG_MIN", 1},
    {&tenon_op_softmax, "ROW_SOFTMAX", 3}, {&tenon_op_log_softmax, "ROW_LOG_SOFTMAX", 3}, {&tenon_op_hardmax, "ROW_HARDMAX", 2},
    {&tenon_op_layer_norm, "ROW_LAYER_NORM", 3}, {&tenon_op_rms_norm, "ROW_RMS_NORM", 2}, {&tenon_op_instance_norm,
        "ROW_CHANNEL_NORM", 3},
    {&tenon_op_group_norm, "ROW_CHANNEL_NORM", 3}, {&tenon_op_batch_norm, "ROW_BATCH_NORM", 1}, {&tenon_op_lp_norm,
        "ROW_LP_NORM", 2},
};

static bool is_reduction(const tenon_op *op) { return strncmp(op->name, "reduce_", 7) == 0; }
static bool is_arg(const tenon_op *op) { return op == &tenon_op_arg_max || op == &tenon_op_arg_min; }

static int axis_of(const tenon_node *n)
{
    const int64_t axis = tenon_node_int(n, "axis");
    return (int)(axis < 0 ? axis + n->src[0]->type.rank : axis);
}

/* ---- which axes of x a row has ---- */
static const char *mark_row(const tenon_node *n, bool *row)
{
    const int rank = n->src[0]->type.rank;
    memset(row, 0, TENON_MAX_RANK * sizeof *row);
    if (is_reduction(n->op)) return tenon_reduce_axes(n, row) ? NULL : "the axes are not attributes";
    const bool channels = n->op == &tenon_op_instance_norm || n->op == &tenon_op_group_norm || n->op == &tenon_op_batch_norm;
    const bool trailing = n->op == &tenon_op_layer_norm || n->op == &tenon_op_rms_norm;
    const int from = channels ? 2 : axis_of(n), to = channels || trailing ? rank : from + 1;
    for (int i = from; i < to; i++) row[i] = true;
    if (n->op == &tenon_op_group_norm) row[1] = true;
    return NULL;
}

/* ---- the walk ---- */
enum { OUTER, ROW, ROW_CHANNEL, ROW_INNER, ACROSS };

static void walk(const tenon_problem *p, const tenon_node *n, const bool *row, tenon_cuda_rows *r)
{
    const tenon_type *x = &n->src[0]->type;
    uint8_t memory[TENON_MAX_RANK], order[TENON_MAX_RANK], group[TENON_MAX_RANK] = {0};
    int count = 0, last = x->rank - 1;
    tenon_format_order(&p->src[r->x].format, x->rank, memory);
    while (last >= 0 && tenon_dim_is(x->dim[memory[last]], 1)) last--;
    r->columns = last >= 0 && !row[memory[last]];
    int across = x->rank; /* places from here on run across rows */
    while (r->columns && across > 0 && (!row[memory[across - 1]] || tenon_dim_is(x->dim[memory[across - 1]], 1))) across--;
    for (int pass = 0; pass < 3; pass++)
        for (int i = 0; i < x->rank; i++) {
            const int a = memory[i], which = i >= across ? 2 : row[a] ? 1 : 0;
            if (which != pass) continue;
            /* the channels of a group are a part of their axis, so this axis stays alone */
            const bool alone = r->groups > 1 && a == 1, behind = which == 1 && r->groups > 1 && count > 0 &&
                group[count - 1] >= ROW_CHANNEL;
            group[count] = which == 0 ? OUTER : which == 2 ? ACROSS : alone ? ROW_CHANNEL : behind ? ROW_INNER : ROW;
            order[count++] = (uint8_t)a;
        }
    tenon_cuda_space_init(&r->space, p->graph->dims, x->rank, (const tenon_dim *const *)x->dim, order);
    memcpy(r->space.group, group, sizeof group);
}

static int add_source(const tenon_problem *p, const tenon_node *n, int i, const int *axis, tenon_cuda_rows *r)
{
    const int src = tenon_problem_src(p, n->src[i]);
    if (src < 0) return -1;
    const int t = tenon_cuda_space_add(&r->space, &n->src[i]->type, &p->src[src].format, axis);
    if (t >= 0) r->value[t] = n->src[i];
    return t;
}

/* Scale, bias, mean and variance. */
static const char *add_parameters(const tenon_problem *p, const tenon_node *n, tenon_cuda_rows *r)
{
    int channel[TENON_MAX_RANK];
    int *const slot[] = {NULL, &r->scale, &r->bias, &r->mean, &r->variance};
    const bool along_rows = n->op == &tenon_op_layer_norm || n->op == &tenon_op_rms_norm;
    if (is_reduction(n->op)) return NULL;
    for (int i = 0; i < TENON_MAX_RANK; i++) channel[i] = i == 1 && !r->by_group ? 0 : -1;
    for (int i = 1; i < n->src_count && i < (int)TENON_COUNTOF(slot); i++) {
        if (!n->src[i]) continue;
        *slot[i] = add_source(p, n, i, along_rows ? NULL : channel, r);
        if (*slot[i] < 0) return "a parameter is not a source";
        if (!tenon_cuda_type(n->src[i]->type.dtype)) return "a parameter's type";
        if (r->by_group && tenon_cuda_known_stride(&r->space.tensor[*slot[i]],
            0) != 1) return "parameters of groups with a stride";
    }
    return NULL;
}

static const char *add_statistics(const tenon_problem *p, const tenon_node *n, tenon_cuda_rows *r)
{
    for (int i = 1; i < n->dst_count; i++) {
        const int dst = n->dst[i] ? tenon_problem_dst(p, n->dst[i]) : -1;
        if (dst < 0) continue; /* nobody asked for it */
        if (i > 2) return "more results than the statistics";
        if (!tenon_cuda_type(n->dst[i]->type.dtype)) return "the statistics' type";
        const int t = tenon_cuda_space_add(&r->space, &n->dst[i]->type, &p->dst[dst].format, NULL);
        if (t < 0) return "too many tensors";
        r->value[t] = n->dst[i];
        r->stats[i - 1] = t;
    }
    return NULL;
}

static const char *add_program(const tenon_problem *p, const tenon_node *n, const bool *row, tenon_cuda_rows *r)
{
    const tenon_program *post = p->anchor[0].post;
    const bool folds = is_reduction(n->op) || is_arg(n->op), keeps = folds && tenon_node_int(n, "keepdims") != 0;
    int axis[TENON_MAX_RANK] = {0};
    for (int i = 0, k = 0; i < n->src[0]->type.rank; i++) {
        axis[i] = folds && row[i] ? -1 : k;
        k += !folds || keeps || !row[i];
    }
    const char *why = tenon_cuda_program_add_mapped(p, post, n->dst[0], axis, &r->space, &r->program);
    if (why) return why;
    for (int i = 0; post && i < post->operand_count; i++)
        if (r->program.operand[i] >= 0) r->value[r->program.operand[i]] = post->operand[i];
    for (int i = 0; i < (post ? post->result_count : 1); i++) r->value[r->program.result[i]] = post ? post->result[i] : n->dst[0];
    return NULL;
}

static const char *find_groups(const tenon_node *n, tenon_cuda_rows *r)
{
    if (n->op != &tenon_op_group_norm) return NULL;
    const int64_t groups = tenon_node_int(n, "num_groups");
    const tenon_dim *channels = n->src[0]->type.dim[1], *scale = n->src[1]->type.dim[0];
    if (!tenon_dim_is_const(channels) || groups < 1 || groups > channels->value ||
        channels->value % groups) return "channels that are no multiple of the groups";
    r->groups = (int)groups;
    r->by_group = groups > 1 && scale->value == groups && groups != channels->value;
    if (tenon_dim_is(scale, 1) && !tenon_dim_is(channels, 1)) r->by_group = true; /* one group */
    return r->by_group && groups == 1 ? "one scale for all channels" : NULL;
}

/* ---- a program in front ---- */
static bool same_shape(const tenon_type *a, const tenon_type *b)
{
    for (int i = 0; i < a->rank && a->rank == b->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return a->rank == b->rank;
}

/* The operand of x's shape that lies in the order in which the rows are walked; the widest of them. */
static const char *find_x(const tenon_problem *p, const tenon_node *n, const tenon_program *before, tenon_cuda_rows *r)
{
    r->x = -1;
    for (int i = 0; before && i < before->operand_count; i++) {
        const tenon_value *v = before->operand[i];
        if (before->operand_scalar[i]) continue;
        if (!tenon_cuda_type(v->type.dtype)) return "the type of an operand before it";
        if (!same_shape(&v->type, &n->src[0]->type)) continue;
        const int src = tenon_problem_src(p, v);
        if (src >= 0 && (r->x < 0 || tenon_dtype_get(v->type.dtype)->bits > tenon_dtype_get(p->src[r->x].value->type.dtype)->bits)) r->x = src;
    }
    if (!before) r->x = tenon_problem_src(p, n->src[0]);
    if (r->x >= 0) return NULL;
    return before ? "nothing before it has the shape of x" : "x is not a source, or the result is not wanted";
}

static const char *add_before(const tenon_problem *p, tenon_cuda_rows *r)
{
    bool placed = false;
    for (int i = 0; r->before && i < r->before->operand_count; i++) {
        const tenon_value *v = r->before->operand[i];
        r->before_tensor[i] = -1;
        if (r->before->operand_scalar[i]) continue;
        const int src = tenon_problem_src(p, v);
        if (src < 0 || v->type.rank > r->space.domain_rank) return "an operand before it is not a source, or of a higher rank";
        const bool first = src == r->x && !placed;
        placed |= first;
        const int t = first ? 0 : tenon_cuda_space_add(&r->space, &v->type, &p->src[src].format, NULL);
        if (t < 0) return "too many tensors";
        r->before_tensor[i] = t;
        r->value[t] = v;
    }
    return NULL;
}

static int kind_of(const tenon_op *op)
{
    for (int i = 0; i < (int)TENON_COUNTOF(kinds); i++)
        if (kinds[i].op == op) return i;
    return -1;
}

const char *tenon_cuda_rows_make(const tenon_problem *p, tenon_cuda_rows *r)
{
    const tenon_anchor *a = &p->anchor[0];
    const tenon_node *n = a->node;
    bool row[TENON_MAX_RANK];
    *r = (tenon_cuda_rows){.groups = 1, .group_axis = -1, .scale = -1, .bias = -1, .mean = -1, .variance = -1, .stats = {-1, -1}};
    const int kind = kind_of(n->op);
    if (kind < 0) return "no operator of rows";
    r->kind = kinds[kind].kind;
    r->passes = kinds[kind].passes;
    for (int i = 1; i < (int)TENON_COUNTOF(a->pre); i++)
        if (a->pre[i]) return "a program before a parameter";
    r->before = a->pre[0];
    if (r->before && (r->before->result_count != 1 || r->before->has_anchor)) return "a program before it of several results";
    if (!n->dst[0]) return "the result is not wanted";
    if (!tenon_cuda_type(n->src[0]->type.dtype)) return "the type of x";
    const char *why = find_x(p, n, r->before, r);
    if (!why) why = mark_row(n, row);
    if (!why) why = find_groups(n, r);
    if (why) return why;
    walk(p, n, row, r);
    r->value[0] = p->src[r->x].value;
    if (tenon_cuda_space_add(&r->space, &r->value[0]->type, &p->src[r->x].format, NULL) != 0) return "too many tensors";
    if ((why = add_parameters(p, n, r)) != NULL || (why = add_program(p, n, row, r)) != NULL || (why = add_statistics(p, n,
        r)) != NULL || (why = add_before(p, r)) != NULL) return why;
    if (!tenon_cuda_space_finish(&r->space, 0)) return "sizes too large to reckon with";
    for (int j = 0; j < r->space.rank; j++) {
        const int g = r->space.axis_group[j];
        if (g >= ROW && g <= ROW_INNER) r->row_mask |= 1u << j;
        if (g == ROW_CHANNEL) r->group_axis = j;
    }
    r->columns = r->columns && r->space.rank > 0;
    return NULL;
}

/* ---- text ---- */
static const char *number_type(const tenon_node *n)
{
    const tenon_dtype t = n->src[0]->type.dtype;
    const bool real = n->op == &tenon_op_reduce_l2 || n->op == &tenon_op_reduce_log_sum || n->op == &tenon_op_reduce_log_sum_exp;
    if (t == TENON_F64 || (!tenon_is_float(t) && real)) return "double";
    return tenon_is_float(t) ? "float" : "long long";
}

static void print_load(const tenon_cuda_rows *r, tenon_buf *b, const char *name, int t, const char *count)
{
    if (t < 0) {
        tenon_buf_printf(b, "#define TENON_LOAD_%s(args, where, out)\n", name);
        return;
    }
    tenon_buf_printf(b, "#define TENON_LOAD_%s(args, where, out) "
                        "tenon_load<%s, %s, %s>(args.at[%d], where[%d], tenon_step(args, %d, RANK - 1), args.aligned >> %d & 1, out)\n",
                     name, tenon_cuda_type(r->space.tensor[t].type->dtype), count,
                         r->by_group ? "TENON_ONE" : tenon_cuda_access(&r->space, t), t, t, t, t);
}

static void print_statistics(const tenon_cuda_rows *r, tenon_buf *b)
{
    static const char *const name[] = {"mean", "inverse"};
    tenon_buf_str(b, "template <class N> static __device__ __forceinline__ void tenon_statistics(const tenon_args &args, const long long *at, const N *mean, "
                     "const N *inverse)\n{\n");
    for (int i = 0; i < 2; i++)
        if (r->stats[i] >= 0)
            tenon_buf_printf(b, "    tenon_store<%s, COLUMNS ? VECTOR : 1, %s>(args.at[%d], at[%d], "
                                "tenon_step(args, %d, RANK - 1), args.aligned >> %d & 1, %s);\n",
                             tenon_cuda_type(r->space.tensor[r->stats[i]].type->dtype), tenon_cuda_access(&r->space,
                                 r->stats[i]), r->stats[i], r->stats[i],
                             r->stats[i], r->stats[i], name[i]);
    tenon_buf_str(b, "}\n");
}

void tenon_cuda_rows_print(const tenon_problem *p, const tenon_cuda_rows *r, tenon_buf *b)
{
    const tenon_node *n = p->anchor[0].node;
    const char *number = number_type(n), *suffix = strcmp(number, "float") == 0 ? "f" : "", *real = *suffix ? "float" : "double";
    const tenon_dtype y = n->dst[0]->type.dtype;
    double epsilon = 0;
    if (tenon_attr_find(n->op, "epsilon") >= 0) epsilon = tenon_node_float(n, "epsilon");
    tenon_cuda_space_print(&r->space, b);
    tenon_cuda_program_print(&r->program, &r->space, b);
    if (r->before) tenon_cuda_before_print(r->before, r->before_tensor, &r->space, n->src[0]->type.dtype, b);
    tenon_buf_printf(b, "#define BEFORE %d\n", r->before != NULL);
    tenon_buf_printf(b, "#define KIND %s\n#define ROW_CLASS %s\n#define ROW_MASK %u\n#define COLUMNS %d\n#define GROUPS %d\n"
        "#define GROUP_AXIS %d\n#define BY_GROUP %d\n",
                     r->kind, number, r->row_mask, r->columns, r->groups, r->group_axis, r->by_group);
    tenon_buf_printf(b, "#define X_TYPE %s\n#define X_ACCESS %s\n#define Y_TYPE %s\n#define WRAPS %d\n#define LAST_INDEX %d\n"
        "#define LP %d\n#define EPSILON %a\n",
                     tenon_cuda_type(n->src[0]->type.dtype), tenon_cuda_access(&r->space, 0), tenon_cuda_type(y),
                         !tenon_is_float(y),
                     is_arg(n->op) && tenon_node_int(n, "select_last_index") != 0,
                         n->op == &tenon_op_lp_norm ? (int)tenon_node_int(n, "p") : 0, epsilon);
    tenon_buf_printf(b, "#define TENON_EXP(v) exp%s((%s)(v))\n#define TENON_LOG(v) log%s((%s)(v))\n"
        "#define TENON_SQRT(v) sqrt%s((%s)(v))\n#define SCALE %d\n#define SHIFT %d\n", suffix,
                     real, suffix, real, suffix, real, r->scale >= 0, r->bias >= 0);
    print_load(r, b, "SCALE", r->scale, "VECTOR");
    print_load(r, b, "SHIFT", r->bias, "VECTOR");
    print_load(r, b, "MEAN", r->mean, "ALONG");
    print_load(r, b, "VARIANCE", r->variance, "ALONG");
    print_statistics(r, b);
}

/* ---- sizes ---- */
void tenon_cuda_rows_at_opt(const tenon_problem *p, const tenon_cuda_rows *r, int64_t *rows, int64_t *columns, int64_t *length)
{
    *rows = r->groups;
    *columns = *length = 1;
    for (int j = 0; j < r->space.rank; j++) {
        const int64_t size = tenon_dim_at_opt(p->graph->dims, r->space.dim[j]);
        if (r->row_mask >> j & 1) *length *= size;
        else if (r->columns && j == r->space.rank - 1) *columns = size;
        else *rows *= size;
    }
    *length = TENON_MAX(*length / r->groups, 1);
}

int64_t tenon_cuda_rows_divisor(const tenon_cuda_rows *r, int j)
{
    return j == r->group_axis ? r->space.dim[j]->value / r->groups : r->space.dim[j]->divisor;
}

void tenon_cuda_rows_bound(const tenon_bind *b, const tenon_cuda_rows *r, tenon_tensor *out)
{
    for (int t = 0; t < r->space.count; t++) {
        const int dst = tenon_problem_dst(b->problem, r->value[t]);
        out[t] = dst >= 0 ? b->dst[dst] : b->src[tenon_problem_src(b->problem, r->value[t])];
    }
}

void tenon_cuda_rows_domain(const tenon_cuda_rows *r, const tenon_tensor *x, int64_t *out)
{
    for (int d = 0; d < r->space.domain_rank; d++) out[d] = x->dim[d];
}
