/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions, places of extremes, soft maxima and normalisations: everything that treats a tensor as rows. Rows lie along any axes of any
   format; sums of the smaller floats are in f32, integers are exact. Programs on x and on the result are printed into the kernel.
   Variants: {elements an access, threads of a block that share a row, threads of a block, blocks that share a row}; they are offered in the
   order of a model. */
#include "cuda/estimate.h"
#include "cuda/rows_problem.h"

#include "base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_rows[];

enum { P_VECTOR, P_SLICES, P_THREADS, P_CLUSTER, CLUSTER_MOST = 8, BLOCK_MOST = 512, HELD_MOST = 64, HOLDS_MOST = 8 };

typedef struct own {
    tenon_cuda_rows rows;
    int vector, slices, threads, cluster;
} own;

static int cluster_of(const tenon_variant *v) { return v->p[P_CLUSTER] ? v->p[P_CLUSTER] : 1; }

/* ---- how a row is shared ---- */
static int widest(const tenon_cuda_rows *r)
{
    const tenon_cuda_space *s = &r->space;
    int vector = (int)TENON_MAX(16 / (tenon_dtype_get(s->tensor[0].type->dtype)->bits / 8), 1);
    vector = TENON_MIN(vector, 8);
    if (s->rank == 0 || !tenon_cuda_space_is_unit(s, 0)) return 1;
    while (vector > 1 && tenon_cuda_rows_divisor(r, s->rank - 1) % vector) vector /= 2;
    return vector;
}

static tenon_variant in_rows(const tenon_cuda_rows *r, int vector, int64_t rows, int64_t length, int multiprocessors)
{
    const int64_t units = TENON_MAX(length / vector, 1);
    int64_t slices = units <= 32 ? tenon_pow2_up(units) : TENON_MIN(TENON_MAX(tenon_pow2_up((units + 3) / 4), 32), BLOCK_MOST);
    while (slices < BLOCK_MOST && slices < units && rows * slices < multiprocessors * 128) slices *= 2; /* few rows: more threads each */
    const int64_t all = rows * slices / multiprocessors;
    const int64_t threads = TENON_MAX(slices, all >= 512 ? 256 : all >= 128 ? 128 : 64);
    (void)r;
    return (tenon_variant){{vector, (int32_t)slices, (int32_t)threads}};
}

static tenon_variant in_columns(const tenon_cuda_rows *r, int vector, int64_t rows, int64_t columns, int64_t length,
    int multiprocessors)
{
    const int64_t units = TENON_MAX(columns / vector, 1), bytes = vector * tenon_dtype_get(r->space.tensor[0].type->dtype)->bits / 8;
    int64_t lanes = TENON_MIN(tenon_pow2_up(units), TENON_MIN(TENON_MAX(128 / bytes, 1), 32));
    int64_t slices = TENON_MIN(tenon_pow2_up((length + 7) / 8), BLOCK_MOST / lanes);
    while (lanes * slices < BLOCK_MOST && slices < length && rows * tenon_ceil_div(units,
        lanes) * lanes * slices < multiprocessors * 128) slices *= 2;
    while (lanes * slices < 64 && lanes < 32 && lanes < units) lanes *= 2;
    slices = TENON_MAX(slices, 32 / lanes);
    return (tenon_variant){{vector, (int32_t)slices, (int32_t)(lanes * slices)}};
}

static tenon_variant modelled(const tenon_problem *p, const tenon_cuda_rows *r, int vector, int multiprocessors)
{
    int64_t rows, columns, length;
    tenon_cuda_rows_at_opt(p, r, &rows, &columns, &length);
    return r->columns ? in_columns(r, vector, rows, columns, length, multiprocessors) : in_rows(r, vector, rows, length,
        multiprocessors);
}

static bool good_variant(const tenon_cuda_rows *r, const tenon_variant *v)
{
    const int vector = v->p[P_VECTOR], slices = v->p[P_SLICES], threads = v->p[P_THREADS];
    if (vector < 1 || slices < 1 || threads < 32 || threads > BLOCK_MOST || threads % 32 || tenon_pow2_up(slices) != slices ||
        tenon_pow2_up(threads) != threads ||
        tenon_pow2_up(vector) != vector || slices > threads)
        return false;
    return (!r->columns || threads / slices <= 32) && vector <= widest(r);
}

/* Blocks share rows where one block has one, or the same columns, and what they tell one another fits. */
static bool good_cluster(const tenon_cuda_rows *r, const tenon_variant *v, const tenon_device *device)
{
    const int cluster = cluster_of(v);
    if (cluster == 1) return true;
    if (tenon_cuda_sm(device) < 90 || cluster < 1 || cluster > CLUSTER_MOST || tenon_pow2_up(cluster) != cluster) return false;
    if (strcmp(r->kind, "ROW_BATCH_NORM") == 0 || tenon_dtype_get(r->space.tensor[0].type->dtype)->bits < 16) return false;
    return r->columns || v->p[P_SLICES] == v->p[P_THREADS];
}

static int variants(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max)
{
    static const struct { int by, vector, cluster; } change[] = {{1, 1, 1}, {1, 1, 4}, {1, 1, 8}, {1, 1, 2},
                                                                 {2, 1, 1}, {-2, 1, 1}, {4, 1, 1}, {1, 2, 1}};
    tenon_cuda_rows r;
    int64_t rows, columns, length;
    int count = 0;
    if (tenon_cuda_rows_make(p, &r)) return 0;
    tenon_cuda_rows_at_opt(p, &r, &rows, &columns, &length);
    for (size_t i = 0; i < TENON_COUNTOF(change) && count < max; i++) {
        const int vector = widest(&r), cluster = change[i].cluster;
        if (vector / change[i].vector < 1) continue;
        tenon_variant v = modelled(p, &r, vector / change[i].vector, tenon_cuda_multiprocessors(device));
        const int lanes = v.p[P_THREADS] / v.p[P_SLICES], slices = change[i].by < 0 ?
            v.p[P_SLICES] / -change[i].by : v.p[P_SLICES] * change[i].by;
        v.p[P_THREADS] = TENON_MIN(TENON_MAX(r.columns ? lanes * slices : TENON_MAX(v.p[P_THREADS], slices), 32), BLOCK_MOST);
        v.p[P_SLICES] = slices;
        v.p[P_CLUSTER] = cluster;
        /* blocks share rows where one is not enough of them, and each still has something to do */
        const int64_t work = r.columns ? length : length / v.p[P_VECTOR];
        const bool idle = cluster > 1 && (work < (int64_t)slices * cluster || rows * (r.columns ? columns : 1) > 1 << 20);
        bool known = !good_variant(&r, &v) || !good_cluster(&r, &v, device) || idle;
        for (int k = 0; k < count && !known; k++) known = memcmp(&out[k], &v, sizeof v) == 0;
        if (!known) out[count++] = v;
    }
    return count;
}

static const char *reject(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch)
{
    tenon_cuda_rows r;
    const char *why = tenon_cuda_rows_make(p, &r);
    if (why) return why;
    const tenon_program *post = p->anchor[0].post;
    if (post && (why = tenon_cuda_program_rejects(post, scratch)) != NULL) return why;
    if (r.before && (why = tenon_cuda_program_rejects(r.before, scratch)) != NULL) return why;
    if (!good_variant(&r, v) || !good_cluster(&r, v, device)) return "no such variant";
    return tenon_cuda_space_most(&r.space) > INT32_MAX ? "more elements than 32-bit indices reach" : NULL;
}

static void use_variant(const tenon_variant *v, own *o)
{
    o->vector = v->p[P_VECTOR], o->slices = v->p[P_SLICES], o->threads = v->p[P_THREADS], o->cluster = cluster_of(v);
}

/* Vectors of a row a thread keeps in registers, or 0: the row is read again. */
static int holds(const own *o)
{
    int64_t most = 1;
    if (!o->rows.passes || o->rows.passes == 1) return 0;
    for (int j = 0; j < o->rows.space.rank; j++)
        if (o->rows.row_mask >> j & 1 && !tenon_mul_i64(most, TENON_MAX(o->rows.space.dim[j]->hi, 1), &most)) return 0;
    if (o->rows.groups > 1) most = tenon_ceil_div(most, o->rows.groups);
    const int64_t each = tenon_ceil_div(o->rows.columns ? most : tenon_ceil_div(most, o->vector), (int64_t)o->slices * o->cluster);
    return each <= HOLDS_MOST && each * o->vector <= HELD_MOST ? (int)each : 0;
}

static tenon_status plan(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
    tenon_tactic_plan *out)
{
    (void)device;
    own *o = tenon_arena_alloc(p->graph->arena, sizeof *o);
    if (!o) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a step");
    const char *why = tenon_cuda_rows_make(p, &o->rows);
    if (why) return TENON_FAIL(cx, TENON_INTERNAL, "cuda.rows: %s", why);
    use_variant(v, o);
    tenon_buf b;
    tenon_buf_init(&b, cx);
    tenon_buf_str(&b, o->cluster > 1 ? "#include \"prelude.cu\"\n#include \"mma.cu\"\n" : "#include \"prelude.cu\"\n");
    tenon_cuda_rows_print(p, &o->rows, &b);
    TENON_TRY(tenon_cuda_kernel_plan(cx, p, &b, tenon_cuda_src_rows, "tenon_rows", TENON_MAX(tenon_cuda_space_numbers(&o->rows.space), 1), o,
                                     out));
    snprintf(out->kernel[0].options, sizeof out->kernel[0].options, "-DTHREADS=%d -DVECTOR=%d -DSLICES=%d -DHOLD=%d -DCLUSTER=%d",
        o->threads, o->vector, o->slices,
             holds(o), o->cluster);
    out->in_place = true;
    return TENON_OK;
}

static tenon_status bind(tenon_cx *cx, const tenon_bind *b, void *record)
{
    tenon_cuda_record *r = record;
    const own *o = b->plan->own;
    const tenon_cuda_space *s = &o->rows.space;
    tenon_tensor tensor[TENON_CUDA_TENSORS];
    const tenon_tensor *bound[TENON_CUDA_TENSORS];
    int64_t domain[TENON_MAX_RANK], size[TENON_MAX_RANK], rows = 1;
    memset(r, 0, sizeof *r);
    tenon_cuda_rows_bound(b, &o->rows, tensor);
    for (int t = 0; t < s->count; t++) bound[t] = &tensor[t];
    tenon_cuda_rows_domain(&o->rows, &b->src[o->rows.x], domain);
    TENON_TRY(tenon_cuda_space_bind(cx, s, domain, bound, b->shape));
    for (int t = 0; t < s->count; t++) {
        r->args.at[t] = tensor[t].data;
        r->args.aligned |= (uint32_t)tenon_cuda_space_is_aligned(s, t, b->shape, &tensor[t], o->vector) << t;
    }
    tenon_cuda_rows_domain(&o->rows, &(b->src_most ? b->src_most : b->src)[o->rows.x], domain);
    tenon_cuda_space_sizes(s, domain, size);
    for (int j = 0; j < s->rank; j++) {
        const bool fast = o->rows.columns && j == s->rank - 1;
        if (fast) rows *= tenon_ceil_div(size[j] / o->vector, o->threads / o->slices);
        else if (!(o->rows.row_mask >> j & 1)) rows *= size[j];
    }
    rows *= o->rows.groups;
    r->args.shape = b->shape_device;
    r->function = ((const tenon_cuda_kernel *)b->kernel[0])->function;
    r->grid[0] = (uint32_t)((o->rows.columns ? rows : tenon_ceil_div(rows, o->threads / o->slices)) * o->cluster);
    r->cluster = (uint32_t)o->cluster;
    r->grid[1] = r->grid[2] = 1;
    r->threads = (uint32_t)o->threads;
    return TENON_OK;
}

static double cost(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst)
{
    own o;
    int64_t rows, columns, length;
    if (tenon_cuda_rows_make(p, &o.rows)) return 1;
    use_variant(v, &o);
    tenon_cuda_rows_at_opt(p, &o.rows, &rows, &columns, &length);
    const tenon_tensor *x = &src[o.rows.x];
    const double each = (double)tenon_dtype_bytes(x->dtype, (size_t)o.vector);
    const double units = (double)(o.rows.columns ? length : length / o.vector);
    const int lanes = o.threads / o.slices, held = holds(&o), turns = o.rows.passes > 2 ? 2 : 1;
    const double mine = TENON_MAX(units / ((double)o.slices * o.cluster), 1); /* vectors a thread reads, by fours */
    const int64_t across = tenon_ceil_div(tenon_ceil_div(columns, o.vector), lanes);
    const double blocks = (double)(o.rows.columns ? rows * across : tenon_ceil_div(rows, lanes));
    tenon_cuda_work w = {.threads = blocks * o.threads * o.cluster, .in_flight = each * TENON_MIN(mine, held ? held : 4)};
    for (int i = 0; i < p->src_count; i++) w.bytes += tenon_cuda_bytes(&src[i]);
    for (int i = 0; i < p->dst_count; i++) w.bytes += tenon_cuda_bytes(&dst[i]);
    if (!held) w.bytes += 0.5 * (o.rows.passes - 1) * tenon_cuda_bytes(x); /* again, from the cache */
    w.flops = tenon_problem_flops(p, src, dst) * 2;
    w.waits = turns * ((o.slices > 32 || o.rows.columns ? 1 : 0.5) + (o.cluster > 1 ? 2 : 0));
    return tenon_cuda_estimate(device, &w);
}

#define ROWS(op)                                                                                                            \
    const tenon_tactic tenon_cuda_##op = {                                                                                  \
        .name = "cuda." #op, .pattern = #op, .flags = TENON_TACTIC_DETERMINISTIC, .variants = variants, .reject = reject,   \
        .plan = plan, .bind = bind, .run = tenon_cuda_run, .cost = cost, .source_hash_of = "rows" }
ROWS(arg_max);
ROWS(arg_min);
ROWS(batch_norm);
ROWS(group_norm);
ROWS(hardmax);
ROWS(instance_norm);
ROWS(layer_norm);
ROWS(log_softmax);
ROWS(lp_norm);
ROWS(reduce_l1);
ROWS(reduce_l2);
ROWS(reduce_log_sum);
ROWS(reduce_log_sum_exp);
ROWS(reduce_max);
ROWS(reduce_mean);
ROWS(reduce_min);
ROWS(reduce_prod);
ROWS(reduce_sum);
ROWS(reduce_sum_square);
ROWS(rms_norm);
ROWS(softmax);
