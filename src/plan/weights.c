/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of the engine: constants that steps read as they are, and packed weights, each evaluated here from its weight
   expression. Equal bytes are stored once, whatever step or profile wants them. In a refittable engine each also carries its
   weight program as graph text over named source weights, which run/ evaluates again when a source is replaced. */
#include "plan/emit.h"

#include "op/eval.h"

#include <string.h>
#include <xxhash.h>

enum { LITERAL = 16 };

/* ---- storing ---- */
tenon_status tenon_emit_weight(tenon_emitter *em, const tenon_tensor *t, const tenon_rec_weight *program, uint32_t *out)
{
    const size_t bytes = tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t));
    tenon_rec_weight w = {
        .dtype = t->dtype, .rank = (uint32_t)t->rank, .bytes = bytes, .hash = XXH3_64bits(t->data, bytes), .program = TENON_NONE};
    for (int i = 0; i < t->rank; i++) w.dim[i] = t->dim[i];
    if (program) {
        w.program = program->program;
        w.source_first = program->source_first;
        w.source_count = program->source_count;
    }
    tenon_buf *data = &em->section[TENON_SECTION_WEIGHT_DATA];
    const uint32_t count = tenon_emit_count(em, TENON_SECTION_WEIGHTS);
    uint64_t offset = UINT64_MAX;
    for (uint32_t i = 0; i < count && offset == UINT64_MAX; i++) {
        const tenon_rec_weight *k = &((const tenon_rec_weight *)(const void *)em->section[TENON_SECTION_WEIGHTS].data)[i];
        if (k->hash != w.hash || k->bytes != w.bytes || memcmp(data->data + k->offset, t->data, bytes) != 0) continue;
        if (k->dtype == w.dtype && k->rank == w.rank && memcmp(k->dim, w.dim, sizeof w.dim) == 0 && k->program == w.program) {
            *out = i;
            return TENON_OK;
        }
        offset = k->offset;
    }
    if (offset == UINT64_MAX) {
        tenon_buf_align(data, TENON_ENGINE_ALIGN);
        offset = data->length;
        tenon_buf_bytes(data, t->data, bytes);
    }
    w.offset = offset;
    *out = count;
    tenon_buf_bytes(&em->section[TENON_SECTION_WEIGHTS], &w, sizeof w);
    return tenon_buf_status(data);
}

/* ---- weight programs ---- */
typedef struct programmer {
    tenon_emitter *em;
    tenon_graph *graph;
    tenon_value **clone;        /* by value id of the network */
    uint32_t source[64]; int source_count;
} programmer;

/* A constant without a name of the model's is kept too, unnamed, because programs read it. */
static tenon_status add_source(tenon_emitter *em, const tenon_value *v, const tenon_tensor *t, uint32_t *out)
{
    tenon_rec_source s = {
        .dtype = t->dtype, .rank = (uint32_t)t->rank, .bytes = tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t))};
    TENON_TRY(tenon_emit_string(em, tenon_plan_is_source(v) ? v->source_name : NULL, &s.name));
    const uint32_t count = tenon_emit_count(em, TENON_SECTION_SOURCES);
    const tenon_rec_source *known = (const void *)em->section[TENON_SECTION_SOURCES].data;
    tenon_buf *data = &em->section[TENON_SECTION_WEIGHT_DATA];
    for (int i = 0; i < t->rank; i++) s.dim[i] = t->dim[i];
    for (uint32_t i = 0; i < count; i++) {
        const bool same = known[i].name == s.name && known[i].dtype == s.dtype && known[i].rank == s.rank &&
                          memcmp(known[i].dim, s.dim, sizeof s.dim) == 0;
        if (same && (s.bytes == 0 || memcmp(data->data + known[i].offset, t->data, s.bytes) == 0)) {
            *out = i;
            return TENON_OK;
        }
    }
    tenon_buf_align(data, TENON_ENGINE_ALIGN);
    s.offset = data->length;
    tenon_buf_bytes(data, t->data, s.bytes);
    *out = count;
    tenon_buf_bytes(&em->section[TENON_SECTION_SOURCES], &s, sizeof s);
    return tenon_buf_status(data);
}

static tenon_status clone_type(tenon_graph *g, const tenon_type *from, tenon_type *to)
{
    *to = *from;
    for (int i = 0; i < from->rank; i++) {
        to->dim[i] = tenon_dim_const(g->dims, from->dim[i]->value);
        if (!to->dim[i]) return TENON_NOMEM;
    }
    return TENON_OK;
}

static tenon_status clone_value(programmer *p, tenon_value *v, tenon_value **out);

static tenon_status clone_leaf(programmer *p, tenon_value *v, tenon_value **out)
{
    tenon_plan *plan = p->em->plan;
    const tenon_tensor *t;
    TENON_TRY(tenon_eval_const(p->em->cx, plan->graph, v, &t));
    if (!tenon_plan_is_source(v) && tenon_tensor_count(t) <= LITERAL) return tenon_graph_const(p->graph, v->name, t, false, out);
    if (p->source_count == (int)TENON_COUNTOF(p->source))
        return TENON_FAIL(p->em->cx, TENON_UNSUPPORTED, "refit: a weight made of more than %zu sources",
                          TENON_COUNTOF(p->source));
    tenon_type type;
    TENON_TRY(clone_type(p->graph, &v->type, &type));
    TENON_TRY(tenon_graph_value(p->graph, v->name, &type, out));
    TENON_TRY(tenon_graph_add_input(p->graph, *out));
    return add_source(p->em, v, t, &p->source[p->source_count++]);
}

static tenon_status clone_node(programmer *p, const tenon_node *n, tenon_node **out)
{
    tenon_value *src[16];
    if (n->src_count > (int)TENON_COUNTOF(src))
        return TENON_FAIL(p->em->cx, TENON_UNSUPPORTED, "refit: weight expression '%s' has %d sources", n->name, n->src_count);
    for (int i = 0; i < n->src_count; i++) {
        src[i] = NULL;
        if (n->src[i]) TENON_TRY(clone_value(p, n->src[i], &src[i]));
    }
    TENON_TRY(tenon_graph_node(p->graph, n->op, n->name, n->src_count, src, n->dst_count, out));
    if (n->attr) memcpy((*out)->attr, n->attr, (size_t)tenon_attr_count(n->op) * sizeof *n->attr);
    return tenon_infer_node(p->em->cx, p->graph, *out);
}

static tenon_status clone_value(programmer *p, tenon_value *v, tenon_value **out)
{
    tenon_value **known = &p->clone[v->id];
    if (!*known && v->expr) {
        tenon_node *n;
        TENON_TRY(clone_node(p, v->expr, &n));
        for (int i = 0; i < n->dst_count; i++)
            if (v->expr->dst[i] == v) *known = n->dst[i];
        if (!*known) *known = n->dst[0];
    } else if (!*known) {
        TENON_TRY(clone_leaf(p, v, known));
    }
    *out = *known;
    return TENON_OK;
}

/* On top of a program: the packing node, or the order that a constant is kept in. Neither: the constant itself. */
typedef struct finish { const tenon_pack *pack; const tenon_place *place; } finish;

/* The memory order of a constant that does not lie row-major; false: it does. */
static bool order_of(const tenon_place *p, int64_t *perm)
{
    uint8_t order[TENON_MAX_RANK];
    tenon_format f = {.layout = p->layout};
    memcpy(f.order, p->order, sizeof f.order);
    tenon_format_order(&f, p->value->type.rank, order);
    for (int i = 0; i < p->value->type.rank; i++) perm[i] = order[i];
    return p->layout != TENON_ROW;
}

static tenon_status finish_program(tenon_emitter *em, tenon_graph *g, const finish *f, int count, tenon_value *const *src,
                                   tenon_value **out)
{
    int64_t perm[TENON_MAX_RANK];
    tenon_node *n;
    *out = src[0];
    if (!f->pack && !order_of(f->place, perm)) return TENON_OK;
    TENON_TRY(tenon_graph_node(g, f->pack ? f->pack->op : &tenon_op_transpose, "pack", count, src, 1, &n));
    if (f->pack) TENON_TRY(tenon_pack_attrs(g, n, f->pack));
    else TENON_TRY(tenon_node_set_ints(g, n, "perm", perm, (size_t)f->place->value->type.rank));
    TENON_TRY(tenon_infer_node(em->cx, g, n));
    *out = n->dst[0];
    return TENON_OK;
}

static tenon_status weight_program(tenon_emitter *em, tenon_value *const *v, int count, const finish *top, tenon_rec_weight *out)
{
    programmer p = {.em = em};
    tenon_dim_pool *pool = tenon_arena_alloc(em->arena, sizeof *pool);
    p.clone = tenon_arena_array(em->arena, em->plan->graph->value_count + 1, sizeof *p.clone);
    if (!pool || !p.clone) return TENON_NOMEM;
    tenon_dim_pool_init(pool, em->arena);
    TENON_TRY(tenon_graph_create(em->cx, em->arena, pool, NULL, &p.graph));
    tenon_value *src[4];
    for (int i = 0; i < count; i++) TENON_TRY(clone_value(&p, v[i], &src[i]));
    tenon_value *result;
    TENON_TRY(finish_program(em, p.graph, top, count, src, &result));
    TENON_TRY(tenon_graph_add_output(p.graph, result));
    tenon_buf text;
    tenon_buf_init(&text, em->cx);
    tenon_graph_print(&text, p.graph);
    tenon_status status = tenon_buf_status(&text);
    if (status == TENON_OK) status = tenon_emit_string(em, text.data, &out->program);
    tenon_buf_free(&text);
    out->source_first = tenon_emit_count(em, TENON_SECTION_INDICES);
    out->source_count = (uint32_t)p.source_count;
    tenon_buf_bytes(&em->section[TENON_SECTION_INDICES], p.source, (size_t)p.source_count * sizeof *p.source);
    return status;
}

/* ---- the two kinds of weight ---- */
tenon_status tenon_plan_constant(tenon_plan *plan, const tenon_place *p, tenon_heap *heap, tenon_tensor *out)
{
    const tenon_tensor *t;
    int64_t perm[TENON_MAX_RANK];
    TENON_TRY(tenon_eval_const(plan->cx, plan->graph, p->value, &t));
    *out = *t;
    if (!order_of(p, perm)) return TENON_OK;
    tenon_tensor seen = *t;
    for (int i = 0; i < t->rank; i++) {
        out->dim[i] = seen.dim[i] = t->dim[perm[i]];
        seen.stride[i] = t->stride[perm[i]];
    }
    tenon_tensor_dense(out);
    out->data = tenon_heap_alloc(heap, tenon_dtype_bytes(t->dtype, (size_t)tenon_tensor_count(t)));
    if (!out->data) return TENON_NOMEM;
    tenon_tensor_copy(out, &seen);
    return TENON_OK;
}

tenon_status tenon_emit_constant(tenon_emitter *em, tenon_place *p)
{
    if (p->weight != TENON_NONE) return TENON_OK;
    if (tenon_dtype_get(p->value->type.dtype)->bits == 0)
        return TENON_FAIL(em->cx, TENON_UNSUPPORTED, "constant '%s' of type %s", p->value->name,
                          tenon_dtype_get(p->value->type.dtype)->name);
    tenon_rec_weight program = {.program = TENON_NONE};
    if (em->refit) TENON_TRY(weight_program(em, &p->value, 1, &(finish){.place = p}, &program));
    tenon_heap heap;
    tenon_tensor t;
    tenon_heap_init(&heap, em->cx);
    tenon_status status = tenon_plan_constant(em->plan, p, &heap, &t);
    if (status == TENON_OK) status = tenon_emit_weight(em, &t, &program, &p->weight);
    tenon_heap_free(&heap);
    return status;
}

static tenon_status pack_sources(tenon_plan *plan, const tenon_plan_step *s, const tenon_pack *pack, tenon_value **value,
                                 int *count)
{
    for (*count = 0; *count < 4 && pack->src[*count] >= 0; ++*count) {
        tenon_value *v = value[*count] = s->src[pack->src[*count]];
        if (!v->is_const)
            return TENON_FAIL(plan->cx, TENON_INTERNAL, "step '%s' packs '%s', which is not constant", s->group->node[0]->name,
                              v->name);
    }
    return TENON_OK;
}

tenon_status tenon_plan_pack(tenon_plan *plan, const tenon_plan_step *s, const tenon_pack *pack, tenon_heap *heap,
                             tenon_tensor *out)
{
    tenon_value *value[4], *in[4];
    tenon_tensor src[4];
    int count;
    tenon_graph *g;
    tenon_dim_pool pool;
    TENON_TRY(pack_sources(plan, s, pack, value, &count));
    tenon_dim_pool_init(&pool, plan->arena);
    TENON_TRY(tenon_graph_create(plan->cx, plan->arena, &pool, NULL, &g));
    for (int i = 0; i < count; i++) {
        const tenon_tensor *t;
        tenon_type type;
        TENON_TRY(tenon_eval_const(plan->cx, plan->graph, value[i], &t));
        src[i] = *t;
        TENON_TRY(clone_type(g, &value[i]->type, &type));
        TENON_TRY(tenon_graph_value(g, "w", &type, &in[i]));
    }
    tenon_node *n;
    TENON_TRY(tenon_graph_node(g, pack->op, "pack", count, in, 1, &n));
    TENON_TRY(tenon_pack_attrs(g, n, pack));
    TENON_TRY(tenon_infer_node(plan->cx, g, n));
    out->dtype = n->dst[0]->type.dtype;
    out->data = NULL;
    tenon_eval_call call = {.node = n, .src_count = count, .dst_count = 1, .src = src, .dst = out, .heap = heap};
    return tenon_eval_node(plan->cx, &call);
}

tenon_status tenon_emit_pack(tenon_emitter *em, const tenon_plan_step *s, const tenon_pack *pack, uint32_t *out)
{
    tenon_value *value[4];
    int count;
    TENON_TRY(pack_sources(em->plan, s, pack, value, &count));
    tenon_rec_weight program = {.program = TENON_NONE};
    if (em->refit) TENON_TRY(weight_program(em, value, count, &(finish){.pack = pack}, &program));
    tenon_heap heap;
    tenon_tensor packed;
    tenon_heap_init(&heap, em->cx);
    tenon_status status = tenon_plan_pack(em->plan, s, pack, &heap, &packed);
    if (status == TENON_OK) status = tenon_emit_weight(em, &packed, &program, out);
    tenon_heap_free(&heap);
    return status;
}
