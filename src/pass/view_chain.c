/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of views as atoms; contract in view_chain.h. */
#include "pass/view_chain.h"

#include <string.h>

/* ---- understanding ---- */
static bool begin(tenon_rw *rw, tenon_chain *c, tenon_value *source)
{
    (void)rw;
    memset(c, 0, sizeof *c);
    c->source = source;
    c->rank = c->result_rank = source->type.rank;
    if (c->rank < 0) return false;
    for (int i = 0; i < c->rank; i++) {
        c->dim[i] = source->type.dim[i];
        c->first[i] = c->atom_count;
        if (tenon_dim_is(c->dim[i], 1)) continue;
        c->list[c->atom_count] = c->atom_count;
        c->atom[c->atom_count++] = (tenon_atom){c->dim[i], i};
    }
    c->first[c->rank] = c->atom_count;
    return true;
}

/* a / b when it divides and that can be said, else NULL. */
static const tenon_dim *quotient(tenon_dim_pool *p, const tenon_dim *a, const tenon_dim *b)
{
    if (a == b) return tenon_dim_const(p, 1);
    if (tenon_dim_is(b, 0) || tenon_dim_is(a, 0)) return NULL;
    const tenon_dim *q = tenon_dim_floordiv(p, a, b);
    return q && !tenon_dim_is(q, 0) && tenon_dim_mul(p, q, b) == a ? q : NULL;
}

/* Cuts the atom at place `at` of `flat` into (outer, inner). */
static bool cut(tenon_chain *c, int *flat, int *count, int at, const tenon_dim *outer, const tenon_dim *inner)
{
    const int i = flat[at];
    if (c->atom_count == TENON_CHAIN_ATOMS) return false;
    for (int k = c->atom_count++; k > i + 1; k--) c->atom[k] = c->atom[k - 1];
    c->atom[i + 1] = (tenon_atom){inner, c->atom[i].axis};
    c->atom[i].size = outer;
    for (int k = 0; k < *count; k++)
        if (flat[k] > i) flat[k]++;
    for (int k = (*count)++; k > at + 1; k--) flat[k] = flat[k - 1];
    flat[at + 1] = i + 1;
    return true;
}

static bool apply_reshape(tenon_rw *rw, tenon_chain *c, const tenon_type *to)
{
    tenon_dim_pool *p = rw->g->dims;
    int flat[TENON_CHAIN_ATOMS], count = c->first[c->result_rank], at = 0;
    memcpy(flat, c->list, sizeof flat);
    c->result_rank = to->rank;
    for (int i = 0; i < to->rank; i++) {
        const tenon_dim *need = to->dim[i];
        c->first[i] = at;
        while (!tenon_dim_is(need, 1)) {
            if (at == count) return false;
            const tenon_dim *a = c->atom[flat[at]].size, *q = quotient(p, need, a);
            if (!q) {
                const tenon_dim *inner = quotient(p, a, need);
                if (!inner || !cut(c, flat, &count, at, need, inner)) return false;
                q = tenon_dim_const(p, 1);
            }
            need = q;
            at++;
        }
    }
    if (at != count || to->rank < 0) return false;
    c->first[to->rank] = at;
    memcpy(c->list, flat, sizeof flat);
    return !p->failed;
}

static bool apply_transpose(tenon_chain *c, const tenon_node *n)
{
    const tenon_chain old = *c;
    int64_t perm[TENON_MAX_RANK];
    tenon_rw_perm(n, perm);
    int at = 0;
    for (int i = 0; i < c->result_rank; i++) {
        c->first[i] = at;
        for (int k = old.first[perm[i]]; k < old.first[perm[i] + 1]; k++) c->list[at++] = old.list[k];
    }
    c->first[c->result_rank] = at;
    return true;
}

static void drop_atom(tenon_chain *c, int atom)
{
    int w = 0;
    for (int i = 0; i < c->result_rank; i++) {
        const int from = c->first[i], to = c->first[i + 1];
        c->first[i] = w;
        for (int k = from; k < to; k++)
            if (c->list[k] != atom) c->list[w++] = c->list[k] - (c->list[k] > atom);
        if (i + 1 < c->result_rank) continue;
        c->first[c->result_rank] = w;
    }
    for (int k = atom; k + 1 < c->atom_count; k++) c->atom[k] = c->atom[k + 1];
    c->atom_count--;
}

/* Axis `axis` of the result keeps [start, start + size). The cut goes up to the source when it cuts whole pieces of the
   outermost atom of a source axis. */
static bool apply_range(tenon_rw *rw, tenon_chain *c, int axis, const tenon_dim *start, const tenon_dim *size)
{
    tenon_dim_pool *p = rw->g->dims;
    if (c->first[axis] == c->first[axis + 1]) return false;
    const int atom = c->list[c->first[axis]];
    const int source_axis = c->atom[atom].axis;
    if (atom > 0 && c->atom[atom - 1].axis == source_axis) return false;
    const tenon_dim *inner = tenon_dim_const(p, 1), *below = inner;
    for (int k = c->first[axis] + 1; k < c->first[axis + 1]; k++) inner = tenon_dim_mul(p, inner, c->atom[c->list[k]].size);
    for (int k = atom + 1; k < c->atom_count && c->atom[k].axis == source_axis; k++) below = tenon_dim_mul(p, below,
        c->atom[k].size);
    const tenon_dim *first = tenon_dim_is(start, 0) ? start : quotient(p, start, inner), *count = quotient(p, size, inner);
    if (!first || !count || !below) return false;
    const tenon_dim *offset = tenon_dim_mul(p, first, below), *before = c->start[source_axis];
    c->start[source_axis] = before ? tenon_dim_add(p, before, offset) : offset;
    c->dim[source_axis] = tenon_dim_mul(p, count, below);
    c->atom[atom].size = count;
    if (tenon_dim_is(count, 1)) drop_atom(c, atom);
    return !p->failed;
}

static bool apply_slice(tenon_rw *rw, tenon_chain *c, const tenon_node *n)
{
    int64_t v[4][TENON_MAX_RANK];
    int count[4] = {-1, -1, -1, -1};
    const tenon_type *x = &n->src[0]->type, *y = &n->dst[0]->type;
    for (int i = 0; i < 4; i++)
        if (tenon_rw_src(n, 1 + i) && (count[i] = tenon_rw_ints(rw, n->src[1 + i], v[i], TENON_MAX_RANK)) < 0) return false;
    for (int k = 0; k < count[0]; k++) {
        int axis = (int)(count[2] >= 0 ? v[2][k] : k);
        if (axis < 0) axis += x->rank;
        if (count[3] >= 0 && v[3][k] != 1) return false;
        if (y->dim[axis] == x->dim[axis]) continue;
        if (!tenon_dim_is_const(x->dim[axis]) || !tenon_dim_is_const(y->dim[axis])) return false;
        int64_t start = v[0][k] < 0 ? v[0][k] + x->dim[axis]->value : v[0][k];
        start = TENON_MAX(TENON_MIN(start, x->dim[axis]->value), 0);
        const tenon_dim *s = tenon_dim_const(rw->g->dims, start);
        if (!s || y->dim[axis]->value < 1 || !apply_range(rw, c, axis, s, y->dim[axis])) return false;
    }
    return true;
}

static bool apply_split(tenon_rw *rw, tenon_chain *c, const tenon_node *n, int index)
{
    const int rank = n->src[0]->type.rank;
    const int axis = (int)((tenon_node_int(n, "axis") + rank) % rank);
    const tenon_dim *start = tenon_dim_const(rw->g->dims, 0);
    for (int i = 0; i < index; i++) {
        if (!n->dst[i]) return false;
        start = tenon_dim_add(rw->g->dims, start, n->dst[i]->type.dim[axis]);
    }
    const tenon_dim *size = n->dst[index]->type.dim[axis];
    return start && !tenon_dim_is(size, 0) && apply_range(rw, c, axis, start, size);
}

static bool apply(tenon_rw *rw, tenon_chain *c, tenon_node *n, const tenon_value *result)
{
    if (c->node_count == TENON_CHAIN_NODES) return false;
    bool ok = false;
    if (n->op == &tenon_op_transpose) ok = apply_transpose(c, n);
    else if (n->op == &tenon_op_slice) ok = apply_slice(rw, c, n);
    else if (n->op == &tenon_op_split) ok = apply_split(rw, c, n, result->index);
    else ok = apply_reshape(rw, c, &result->type);
    if (ok) c->node[c->node_count++] = n;
    return ok;
}

static bool is_link(const tenon_node *n)
{
    return n && (n->op == &tenon_op_reshape || n->op == &tenon_op_transpose || n->op == &tenon_op_slice ||
        n->op == &tenon_op_split ||
                 n->op == &tenon_op_squeeze || n->op == &tenon_op_unsqueeze || n->op == &tenon_op_flatten);
}

tenon_status tenon_chain_of(tenon_rw *rw, tenon_value *v, tenon_chain *out)
{
    tenon_value *link[TENON_CHAIN_NODES];
    int count = 0;
    tenon_value *x = v;
    for (tenon_node *n; count < TENON_CHAIN_NODES && is_link(n = tenon_rw_from(x, NULL)) && n->src[0]->type.rank >= 0 &&
        x->type.rank >= 0; x = n->src[0]) link[count++] = x;
    if (!begin(rw, out, x)) return TENON_OK;
    while (count-- > 0) {
        const tenon_chain before = *out;
        if (apply(rw, out, link[count]->producer, link[count])) continue;
        *out = before;
        if (!begin(rw, out, link[count])) return TENON_OK; /* what is above cannot be understood together: begin anew here */
    }
    return rw->g->dims->failed ? TENON_NOMEM : TENON_OK;
}

bool tenon_chain_is_bijective(const tenon_chain *c)
{
    for (int i = 0; i < c->rank; i++)
        if (c->start[i]) return false;
    return true;
}

bool tenon_chain_is_ordered(const tenon_chain *c)
{
    for (int k = 1; k < c->first[c->result_rank]; k++)
        if (c->list[k] < c->list[k - 1]) return false;
    return true;
}

bool tenon_chain_narrow(tenon_rw *rw, tenon_chain *c, const tenon_type *narrow)
{
    tenon_dim_pool *p = rw->g->dims;
    const tenon_dim *one = tenon_dim_const(p, 1);
    for (int i = 0; i < c->result_rank; i++)
        while (tenon_dim_is(narrow->dim[i], 1) && c->first[i] < c->first[i + 1]) drop_atom(c, c->list[c->first[i]]);
    for (int a = 0; a < c->rank; a++) {
        const tenon_dim *left = one;
        for (int k = 0; k < c->atom_count; k++)
            if (c->atom[k].axis == a) left = tenon_dim_mul(p, left, c->atom[k].size);
        if (left != one && left != c->dim[a]) return false;
        c->dim[a] = left;
    }
    return one && !p->failed;
}

/* ---- writing ---- */
/* Slice (of the source), reshape to `pre`, transpose by `perm`, reshape to the final dims. */
typedef struct script {
    bool sliced, reshaped, transposed, again;
    int rank;
    const tenon_dim *pre[TENON_MAX_RANK], *turned[TENON_MAX_RANK];
    int64_t perm[TENON_MAX_RANK];
    bool possible;
} script;

static bool same_dims(int ra, const tenon_dim *const *a, int rb, const tenon_dim *const *b)
{
    if (ra != rb) return false;
    for (int i = 0; i < ra; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* A group: atoms that stand together, in the same order, in the source and in the result. */
typedef struct group { int first, count, place; const tenon_dim *size; } group;

static int groups_of(tenon_rw *rw, const tenon_chain *c, bool by_axis, group *out)
{
    const int count = c->first[c->result_rank];
    int found = 0, axis = 0;
    for (int k = 0; k < count; k++) {
        bool new_axis = false;
        while (axis < c->result_rank && k >= c->first[axis + 1]) axis++, new_axis = true;
        const bool joins = found && c->list[k] == c->list[k - 1] + 1 && !(by_axis && (new_axis || k == c->first[axis]));
        if (!joins) out[found++] = (group){.first = c->list[k], .size = tenon_dim_const(rw->g->dims, 1)};
        out[found - 1].count++;
        out[found - 1].size = tenon_dim_mul(rw->g->dims, out[found - 1].size, c->atom[c->list[k]].size);
    }
    for (int i = 0; i < found; i++) {
        out[i].place = 0;
        for (int k = 0; k < found; k++) out[i].place += out[k].first < out[i].first;
    }
    return found;
}

/* Each result axis is one group (or has size 1): a transpose alone, if the source has these axes; units keep their order. */
static void plan_axes(const tenon_chain *c, const group *g, int groups, const tenon_dim *const *final, script *s)
{
    int unit[TENON_MAX_RANK], units = 0, used = 0, group_axis[TENON_MAX_RANK], k = 0;
    for (int i = 0; i < c->result_rank; i++) {
        if (c->first[i] == c->first[i + 1]) unit[units++] = i;
        else group_axis[k++] = i;
    }
    s->rank = c->result_rank;
    /* slots of the source: groups where it has them, a unit where it has one */
    int at = 0, place = 0;
    for (int i = 0; i < c->rank && at < s->rank; i++) {
        if (tenon_dim_is(c->dim[i], 1)) {
            if (used == units) continue;
            s->pre[at] = c->dim[i];
            s->perm[unit[used++]] = at++;
            continue;
        }
        for (int j = 0; j < groups; j++) {
            const group *q = &g[j];
            if (q->place != place || c->atom[q->first].axis > i) continue;
            s->pre[at] = q->size;
            s->perm[group_axis[j]] = at++;
            place++;
            j = -1;
            if (place == groups) break;
        }
    }
    for (; used < units && at < s->rank; used++) {
        s->pre[at] = final[unit[used]];
        s->perm[unit[used]] = at++;
    }
    s->possible = at == s->rank && place == groups;
    for (int i = 0; i < s->rank && s->possible; i++) s->turned[i] = s->pre[s->perm[i]];
}

/* Groups in the source's order with its units in front, turned, then merged. */
static void plan_groups(const tenon_chain *c, const group *g, int groups, script *s)
{
    int units = 0;
    bool direct = true; /* each group is exactly one axis of the source */
    for (int i = 0; i < groups; i++) direct &= g[i].size == c->dim[c->atom[g[i].first].axis];
    for (int i = 0; i < c->rank; i++) units += tenon_dim_is(c->dim[i], 1);
    s->possible = groups <= TENON_MAX_RANK;
    if (!s->possible) return;
    if (direct && groups + units == c->rank) {
        int at = 0;
        s->rank = c->rank;
        for (int i = 0; i < c->rank; i++) {
            s->pre[i] = c->dim[i];
            if (tenon_dim_is(c->dim[i], 1)) s->perm[at++] = i;
        }
        for (int i = 0; i < groups; i++) s->perm[at++] = c->atom[g[i].first].axis;
    } else {
        s->rank = groups;
        for (int i = 0; i < groups; i++) {
            s->pre[g[i].place] = g[i].size;
            s->perm[i] = g[i].place;
        }
    }
    for (int i = 0; i < s->rank; i++) s->turned[i] = s->pre[s->perm[i]];
}

static script plan(tenon_rw *rw, const tenon_chain *c, int rank, const tenon_dim *const *final)
{
    script s = {.possible = true};
    group g[TENON_CHAIN_ATOMS];
    for (int i = 0; i < c->rank; i++) s.sliced |= c->start[i] != NULL;
    if (tenon_chain_is_ordered(c)) {
        s.rank = c->rank;
        memcpy(s.pre, c->dim, sizeof s.pre);
        s.again = !same_dims(c->rank, c->dim, rank, final);
        return s;
    }
    s.transposed = true;
    int groups = groups_of(rw, c, true, g), axes = 0;
    for (int i = 0; i < c->result_rank; i++) axes += c->first[i] < c->first[i + 1];
    s.possible = false;
    if (groups == axes) plan_axes(c, g, groups, final, &s);
    if (!s.possible) {
        groups = groups_of(rw, c, false, g);
        plan_groups(c, g, groups, &s);
    }
    if (!s.possible) return s;
    s.reshaped = !same_dims(c->rank, c->dim, s.rank, s.pre);
    s.again = !same_dims(s.rank, s.turned, rank, final);
    return s;
}

int tenon_chain_cost(tenon_rw *rw, const tenon_chain *c, int rank, const tenon_dim *const *final)
{
    const script s = plan(rw, c, rank, final);
    return s.possible ? s.sliced + s.reshaped + s.transposed + s.again : TENON_CHAIN_NODES + 1;
}

static tenon_status write_slice(tenon_rw *rw, const tenon_chain *c, tenon_value **x)
{
    int64_t list[4][TENON_MAX_RANK];
    int count = 0;
    tenon_value *src[5] = {*x};
    for (int i = 0; i < c->rank; i++) {
        if (!c->start[i]) continue;
        list[0][count] = c->start[i]->value;
        list[1][count] = c->start[i]->value + c->dim[i]->value;
        list[2][count] = i;
        list[3][count++] = 1;
    }
    for (int i = 0; i < 4; i++) TENON_TRY(tenon_rw_list(rw, list[i], count, &src[1 + i]));
    return tenon_rw_op(rw, &tenon_op_slice, src, 5, x);
}

static tenon_status write_reshape(tenon_rw *rw, int rank, const tenon_dim *const *dim, tenon_value **x)
{
    TENON_TRY(tenon_rw_reshape(rw, *x, rank, dim, x));
    const tenon_node *n = tenon_rw_from(*x, &tenon_op_reshape);
    if (n && tenon_rw_from(n->src[1], NULL)) *x = NULL; /* two free dimensions */
    return TENON_OK;
}

tenon_status tenon_chain_write(tenon_rw *rw, const tenon_chain *c, tenon_value *x, int rank, const tenon_dim *const *final,
    tenon_value **out)
{
    const script s = plan(rw, c, rank, final);
    *out = NULL;
    for (int i = 0; i < c->rank; i++)
        if (c->start[i] && (!tenon_dim_is_const(c->start[i]) || !tenon_dim_is_const(c->dim[i]))) return TENON_OK;
    if (!s.possible || rw->g->dims->failed) return rw->g->dims->failed ? TENON_NOMEM : TENON_OK;
    if (s.sliced) TENON_TRY(write_slice(rw, c, &x));
    if (s.reshaped) TENON_TRY(write_reshape(rw, s.rank, s.pre, &x));
    if (x && s.transposed) TENON_TRY(tenon_rw_transpose(rw, x, s.perm, &x));
    if (x && s.again) TENON_TRY(write_reshape(rw, rank, final, &x));
    *out = x;
    return TENON_OK;
}

tenon_status tenon_chain_inverse(tenon_rw *rw, const tenon_chain *c, const tenon_type *result, tenon_chain *out)
{
    (void)rw;
    memset(out, 0, sizeof *out);
    int place[TENON_CHAIN_ATOMS];
    out->rank = result->rank;
    out->result_rank = c->rank;
    out->atom_count = c->atom_count;
    for (int i = 0; i < result->rank; i++) {
        out->dim[i] = result->dim[i];
        for (int k = c->first[i]; k < c->first[i + 1]; k++) {
            out->atom[k] = (tenon_atom){c->atom[c->list[k]].size, i};
            place[c->list[k]] = k;
        }
    }
    int at = 0;
    for (int i = 0; i < c->rank; i++) {
        out->first[i] = at;
        for (; at < c->atom_count && c->atom[at].axis == i; at++) out->list[at] = place[at];
    }
    out->first[c->rank] = at;
    return TENON_OK;
}
