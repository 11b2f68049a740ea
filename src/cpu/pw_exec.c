/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler of pointwise programs and the loop that runs them over a tile.

   The SSA list becomes an accumulator machine: the value in the eight registers is the newest one; a value that is wanted
   later is spilled to a temporary tile when it is made; other operands come from memory, one value a row, an immediate, or,
   where a type or a stride is awkward, from a temporary that a `stage` body fills without touching the registers. */
#include "cpu/pw_exec.h"

#include "base/half.h"
#include "base/isa.h"
#include "cpu/pw_scalar.h"
#include "cpu/pw_table.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
static const tenon_pw_bodies *const bodies_of[] = { &tenon_pw_bodies_avx512, &tenon_pw_bodies_avx2, NULL };
static const unsigned bodies_need[] = { TENON_ISA_AVX512, TENON_ISA_AVX2 };
#else
static const tenon_pw_bodies *const bodies_of[] = { NULL };
static const unsigned bodies_need[] = { 0 };
#endif

enum { NOWHERE = -1 };

typedef struct builder {
    const tenon_program *p;
    const tenon_pw_bodies *bodies;
    tenon_pw_code *code;
    const uint8_t *kind;
    int acc;                                    /* instruction whose value is in the registers, or NOWHERE */
    int alias[TENON_PROGRAM_MAX];               /* what an identity stands for: an instruction, or ~operand */
    int uses[TENON_PROGRAM_MAX], operand_uses[TENON_PROGRAM_OPERANDS];
    int temp[TENON_PROGRAM_MAX], operand_temp[TENON_PROGRAM_OPERANDS];
    uint32_t temps;                             /* bits of those in use */
    tenon_pw_cell sink;                         /* what is written once it is full */
    bool full;                                  /* of cells or temporaries: the interpreter takes the program */
} builder;

/* ---- cells ---- */
static tenon_pw_cell *cell(builder *b, tenon_pw_any body)
{
    if (b->code->cell_count + 1 >= TENON_PW_CELLS) b->full = true;
    if (b->full) return &b->sink;
    tenon_pw_cell *c = &b->code->u.fast.wide[b->code->cell_count++];
    *c = (tenon_pw_cell){ .body = body, .port = TENON_PW_NO_PORT };
    return c;
}
static void cell_port(builder *b, tenon_pw_any body, int port) { cell(b, body)->port = (uint8_t)port; }
static void cell_imm(builder *b, tenon_pw_any body, float v) { cell(b, body)->imm[0] = v; }
static void cell_floats(builder *b, tenon_pw_any body, float x, float y)
{
    tenon_pw_cell *c = cell(b, body);
    c->imm[0] = x;
    c->imm[1] = y;
}

static int temp_take(builder *b)
{
    for (int i = 0; i < TENON_PW_TEMPS; i++)
        if (!(b->temps >> i & 1)) {
            b->temps |= 1u << i;
            if (i >= b->code->temp_count) b->code->temp_count = (uint8_t)(i + 1);
            return i;
        }
    b->full = true;
    return 0;
}
static void temp_drop(builder *b, int *t)
{
    if (*t != NOWHERE) b->temps &= ~(1u << *t);
    *t = NOWHERE;
}

/* ---- sources ---- */
static int resolve(const builder *b, int src)
{
    while (src >= 0 && b->alias[src] != src) src = b->alias[src];
    return src;
}
static bool is_const(const builder *b, int src) { return src < 0 && b->p->operand_scalar[~src]; }
static float const_of(const builder *b, int src) { return (float)b->p->operand_value[~src]; }
static bool is_f32(const builder *b, int operand) { return b->code->operand_dtype[operand] == TENON_F32; }

static void use(builder *b, int src, int by)
{
    if (src >= 0) b->uses[src] += by;
    else b->operand_uses[~src] += by;
}
/* A use is over: the temporary of a value that nobody wants any more is free. */
static void done_with(builder *b, int src)
{
    use(b, src, -1);
    if (src >= 0 && b->uses[src] == 0) temp_drop(b, &b->temp[src]);
    if (src < 0 && b->operand_uses[~src] == 0) temp_drop(b, &b->operand_temp[~src]);
}

/* Into the registers. */
static void load(builder *b, int src)
{
    const tenon_pw_bodies *t = b->bodies;
    if (src >= 0) {
        if (b->acc == src) return;
        cell_port(b, t->load_temp, TENON_PW_PORT_TEMP + b->temp[src]);
        return;
    }
    const int k = ~src;
    if (is_const(b, src)) cell_imm(b, t->load_imm, const_of(b, src));
    else if (b->operand_temp[k] != NOWHERE) cell_port(b, t->load_temp, TENON_PW_PORT_TEMP + b->operand_temp[k]);
    else if (b->kind[k] == TENON_PW_VECTOR && t->load[b->code->operand_dtype[k]])
        cell_port(b, t->load[b->code->operand_dtype[k]], k);
    else if (b->kind[k] == TENON_PW_SPLAT && is_f32(b, k)) cell_port(b, t->load_splat, k);
    else cell_port(b, t->load_any, k);
}

/* A port from which full vectors of f32 can be read, staging where needed. */
static int vector_port(builder *b, int src)
{
    const tenon_pw_bodies *t = b->bodies;
    if (src >= 0) return TENON_PW_PORT_TEMP + b->temp[src];
    const int k = ~src, dtype = b->code->operand_dtype[k];
    if (!is_const(b, src) && b->kind[k] == TENON_PW_VECTOR && is_f32(b, k)) return k;
    if (b->operand_temp[k] == NOWHERE) {
        const int to = TENON_PW_PORT_TEMP + (b->operand_temp[k] = temp_take(b));
        if (is_const(b, src)) {
            tenon_pw_cell *c = cell(b, t->stage_imm);
            c->port = (uint8_t)to;
            c->imm[0] = const_of(b, src);
        } else {
            const bool vector = b->kind[k] == TENON_PW_VECTOR && t->stage[dtype];
            const bool splat = b->kind[k] == TENON_PW_SPLAT && is_f32(b, k);
            cell_port(b, vector ? t->stage[dtype] : splat ? t->stage_splat : t->stage_any, to);
            cell_port(b, NULL, k);
        }
    }
    return TENON_PW_PORT_TEMP + b->operand_temp[k];
}

static const tenon_pw_row *find_row(const tenon_pw_bodies *t, const char *name)
{
    for (const tenon_pw_row *r = t->row; r->name; r++)
        if (strcmp(r->name, name) == 0) return r;
    return NULL;
}

bool tenon_pw_has_body(unsigned isa, const tenon_op *op)
{
    for (int i = 0; bodies_of[i]; i++)
        if ((isa & bodies_need[i]) == bodies_need[i])
            return op == &tenon_op_identity || op == &tenon_op_cast || find_row(bodies_of[i], op->name) != NULL;
    return false;
}

/* ---- operations ---- */
static void scalar_cell(builder *b, const tenon_instr *in)
{
    cell_floats(b, (tenon_pw_any)in->op->pw->f32, in->param[0], in->param[1]);
}

static void emit_unary(builder *b, const tenon_instr *in, const tenon_pw_row *row)
{
    cell_floats(b, row ? row->body : b->bodies->call[0], in->param[0], in->param[1]);
    if (!row || row->params == TENON_PW_GUARDED) scalar_cell(b, in);
}

/* The body that takes `src` as the second operand (first when reversed) in its own form; NULL: only through vector_port. */
static tenon_pw_any special(const builder *b, const tenon_pw_row *row, int src, bool reversed)
{
    if (!row || src >= 0) return NULL;
    if (is_const(b, src)) return isnan(const_of(b, src)) ? NULL : reversed ? row->imm_r : row->imm;
    if (b->kind[~src] == TENON_PW_SPLAT && is_f32(b, ~src)) return reversed ? row->splat_r : row->splat;
    return NULL;
}

static void emit_binary(builder *b, const tenon_instr *in, const tenon_pw_row *row, int other, bool reversed)
{
    const tenon_pw_any form = special(b, row, other, reversed);
    if (form && is_const(b, other)) {
        cell_imm(b, form, const_of(b, other));
    } else if (form) {
        cell_port(b, form, ~other);
    } else {
        const int port = vector_port(b, other);
        cell_port(b, !row ? b->bodies->call[1] : reversed ? row->body_r : row->body, port);
        if (!row || row->params == TENON_PW_GUARDED) scalar_cell(b, in);
    }
}

/* Which source an instruction takes from the registers when value `acc` is in them: 0, 1 (reversed), or NOWHERE. */
static int takes(const builder *b, int i, int acc)
{
    const tenon_instr *in = &b->p->instr[i];
    const int arity = in->op->pw->arity;
    if (acc < 0) return NOWHERE;
    if (resolve(b, in->src[0]) == acc) return 0;
    if (arity == 2 && resolve(b, in->src[1]) == acc) {
        const tenon_pw_row *row = find_row(b->bodies, in->op->name);
        if (row && row->body_r) return 1;
    }
    return NOWHERE;
}

/* Instruction i is nothing but another name of its source. */
static bool is_alias(const tenon_instr *in)
{
    if (strcmp(in->op->name, "identity") == 0) return true;
    return strcmp(in->op->name, "cast") == 0 && (tenon_dtype)in->param64[0] == TENON_F32;
}

static bool is_power_of_two(float v)
{
    int e;
    return isnormal(v) && fabsf(frexpf(v, &e)) == 0.5f && isnormal(1.0f / v);
}

/* x^2 -> x*x, x^-1 -> 1/x, x/2^k -> x*2^-k, clip by constants, casts to small floats; true: done. */
static bool emit_simplified(builder *b, const tenon_instr *in, const int *src)
{
    const char *name = in->op->name;
    const tenon_pw_bodies *t = b->bodies;
    if (strcmp(name, "clip") == 0 && is_const(b, src[1]) && is_const(b, src[2]) && !isnan(const_of(b, src[1])) &&
        !isnan(const_of(b, src[2]))) {
        cell_floats(b, t->clip_imm, const_of(b, src[1]), const_of(b, src[2]));
        return true;
    }
    if (strcmp(name, "pow") == 0 && is_const(b, src[1]) && (const_of(b, src[1]) == 2.0f || const_of(b, src[1]) == -1.0f)) {
        cell(b, find_row(t, const_of(b, src[1]) == 2.0f ? "square" : "reciprocal")->body);
        return true;
    }
    if (strcmp(name, "div") == 0 && is_const(b, src[1]) && is_power_of_two(const_of(b, src[1]))) {
        cell_imm(b, find_row(t, "mul")->imm, 1.0f / const_of(b, src[1]));
        return true;
    }
    if (strcmp(name, "cast") == 0) {
        const tenon_dtype to = (tenon_dtype)in->param64[0];
        const char *row = to == TENON_F16 ? "round_f16" : to == TENON_BF16 ? "round_bf16" : NULL;
        if (!row) return false;
        cell(b, find_row(t, row)->body);
        return true;
    }
    return false;
}

static void emit_instr(builder *b, int i)
{
    const tenon_instr *in = &b->p->instr[i];
    const int arity = in->op->pw->arity;
    int src[TENON_PW_ARITY] = { 0 };
    for (int s = 0; s < arity; s++) src[s] = resolve(b, in->src[s]);
    const tenon_pw_row *row = find_row(b->bodies, in->op->name);
    int from = takes(b, i, b->acc);
    if (from == NOWHERE && arity == 2 && is_const(b, src[0]) && row && row->body_r) { /* constant - x, constant / x */
        load(b, src[1]);
        from = 1;
    } else if (from == NOWHERE) {
        load(b, src[0]);
        from = 0;
    }
    if (arity == 2 && src[0] == src[1] && strcmp(in->op->name, "mul") == 0) cell(b, find_row(b->bodies, "square")->body);
    else if (from == 0 && emit_simplified(b, in, src)) (void)0;
    else if (arity == 1) emit_unary(b, in, row);
    else if (arity == 2) emit_binary(b, in, row, src[1 - from], from == 1);
    else {
        const int p1 = vector_port(b, src[1]), p2 = vector_port(b, src[2]);
        cell_port(b, row ? row->body : b->bodies->call[2], p1);
        cell_port(b, NULL, p2);
        if (!row) scalar_cell(b, in);
    }
    for (int s = 0; s < arity; s++) done_with(b, src[s]);
    b->acc = i;
}

/* The value just made goes to a temporary unless the next instruction is its only user and takes it from the registers. */
static void keep_if_wanted(builder *b, int i, int next)
{
    int wanted = b->uses[i];
    if (next >= 0 && takes(b, next, i) != NOWHERE) {
        const tenon_instr *in = &b->p->instr[next];
        const bool square = in->op->pw->arity == 2 && resolve(b, in->src[0]) == resolve(b, in->src[1]) &&
            strcmp(in->op->name, "mul") == 0;
        wanted -= square ? 2 : 1;
    }
    if (wanted <= 0) return;
    b->temp[i] = temp_take(b);
    cell_port(b, b->bodies->spill, TENON_PW_PORT_TEMP + b->temp[i]);
}

/* With several results, an operand that is one of them must be read before anything is stored. */
static void keep_operand_results(builder *b)
{
    for (int r = 0; r < b->p->result_count && b->p->result_count > 1; r++) {
        const int src = b->p->result_instr[r] < 0 ? b->p->result_instr[r] : resolve(b, b->p->result_instr[r]);
        if (src >= 0 || is_const(b, src) || b->operand_temp[~src] != NOWHERE) continue;
        load(b, src);
        b->operand_temp[~src] = temp_take(b);
        cell_port(b, b->bodies->spill, TENON_PW_PORT_TEMP + b->operand_temp[~src]);
    }
}

static void emit_results(builder *b)
{
    const tenon_program *p = b->p;
    bool stored[TENON_PROGRAM_RESULTS] = { false };
    for (int pass = 0; pass < 2; pass++) /* first what is in the registers */
        for (int r = 0; r < p->result_count; r++) {
            const int src = p->result_instr[r] < 0 ? p->result_instr[r] : resolve(b, p->result_instr[r]);
            if (stored[r] || (pass == 0 && (src < 0 || src != b->acc))) continue;
            if (pass == 1) load(b, src);
            const tenon_pw_any store = b->bodies->store[b->code->result_dtype[r]];
            cell_port(b, store ? store : b->bodies->store_any, TENON_PW_PORT_RESULT + r);
            if (pass == 1) b->acc = src >= 0 ? src : NOWHERE;
            stored[r] = true;
        }
}

/* One body for two: load+add, add+relu, x*number+number, that+clip, min and max by ordered bounds, the last operation, the
   last store and the end. Gives the count of cells that are left of the two; 2 also where the second became data of the first. */
static int fuse(const tenon_pw_bodies *t, tenon_pw_cell *two, bool *done)
{
    const tenon_pw_any first = two[0].body, second = two[1].body;
    const float x = two[0].imm[0], y = two[1].imm[0];
    *done = true;
    for (int k = 0; second == t->store_f32_end && t->lasts[k].body; k++)
        if (first == t->lasts[k].body) {
            two[0].body = t->lasts[k].with_store;
            two[0].port = two[1].port;
            return 1;
        }
    if (first == t->load[TENON_F32] && second == t->add_mem) {
        two[0].body = t->load_add;
        two[1].body = NULL;
        return 2;
    }
    if (first == t->affine_imm && second == t->clip_imm) {
        two[0].body = t->affine_clip;
        two[1].body = NULL;
        return 2;
    }
    if (first == t->add_mem && second == t->relu) {
        two[0].body = t->add_relu;
    } else if (first == t->store[TENON_F32] && second == t->end) {
        two[0].body = t->store_f32_end;
    } else if (first == t->mul_imm && second == t->add_imm) {
        two[0].body = t->affine_imm;
        two[0].imm[1] = y;
    } else if ((first == t->min_imm && second == t->max_imm && y <= x) || (first == t->max_imm && second == t->min_imm &&
                                                                           x <= y)) {
        two[0].body = t->clip_imm;
        two[0].imm[0] = TENON_MIN(x, y);
        two[0].imm[1] = TENON_MAX(x, y);
    } else {
        *done = false;
        return 2;
    }
    return 1;
}
/* Cells of data have no body of these, and nothing jumps but to the next cell. */
static void fuse_pairs(const tenon_pw_bodies *t, tenon_pw_code *code)
{
    tenon_pw_cell *c = code->u.fast.wide;
    for (int i = 0; i + 1 < code->cell_count;) {
        bool done;
        const int left = fuse(t, &c[i], &done);
        if (left == 1) {
            code->cell_count--;
            memmove(&c[i + 1], &c[i + 2], (size_t)(code->cell_count - i - 1) * sizeof *c);
        }
        if (done && i > 0) i--; /* what was made here may go with the cell before */
        else if (!done || left == 2) i++;
    }
    for (int i = 0; i + 2 < code->cell_count; i++) { /* a third port behind two */
        if (c[i].body != t->load_add || (c[i + 2].body != t->add_mem && c[i + 2].body != t->add_relu)) continue;
        c[i].body = c[i + 2].body == t->add_mem ? t->load_add_add : t->load_add_add_relu;
        c[i + 2].body = NULL;
    }
}

static uint8_t shift_of_port(const tenon_pw_code *code, int port)
{
    for (int i = 0; i < code->live_count; i++)
        if (code->live[i] == port) return code->live_shift[i];
    return 0;
}
/* Gives every cell with a port the next place, and its other body. */
static void finish(const tenon_pw_bodies *t, const uint8_t *kind, tenon_pw_code *code)
{
    int count = 0;
    for (int i = 0; i < code->cell_count; i++) {
        tenon_pw_cell *c = &code->u.fast.wide[i], *narrow = &code->u.fast.narrow[i];
        if (c->port != TENON_PW_NO_PORT) {
            c->at = (uint16_t)(offsetof(tenon_pw_frame, place) + sizeof(tenon_pw_place) * (size_t)count);
            code->u.fast.touch[count].port = c->port;
            code->u.fast.touch[count++].shift = shift_of_port(code, c->port);
        }
        *narrow = *c;
        for (int k = 0; t->twins[k].wide; k++)
            if (t->twins[k].wide == c->body) narrow->body = t->twins[k].narrow;
    }
    code->u.fast.touch_count = (uint8_t)count;
    code->u.fast.plain = true;
    for (int i = 0; i < count; i++) {
        const int k = code->u.fast.touch[i].port;
        const bool operand = k < TENON_PW_PORT_RESULT;
        if (k >= TENON_PW_PORT_TEMP) continue;
        if (operand && kind[k] != TENON_PW_VECTOR) code->u.fast.plain = false;
        if ((operand ? code->operand_dtype[k] : code->result_dtype[k - TENON_PW_PORT_RESULT]) != TENON_F32)
            code->u.fast.plain = false;
    }
}

static bool compile(const tenon_program *p, const tenon_pw_bodies *bodies, const uint8_t *kind, tenon_pw_code *code)
{
    builder b = { .p = p, .bodies = bodies, .code = code, .kind = kind, .acc = NOWHERE };
    for (int i = 0; i < TENON_PROGRAM_OPERANDS; i++) b.operand_temp[i] = NOWHERE;
    for (int i = 0; i < p->instr_count; i++) {
        const tenon_instr *in = &p->instr[i];
        b.temp[i] = NOWHERE;
        b.alias[i] = is_alias(in) ? in->src[0] : i;
        if (b.alias[i] == i)
            for (int s = 0; s < in->op->pw->arity; s++) use(&b, resolve(&b, in->src[s]), 1);
    }
    for (int r = 0; r < p->result_count; r++) use(&b, p->result_instr[r] < 0 ? p->result_instr[r]
                                                  : resolve(&b, p->result_instr[r]), 1);
    code->cell_count = 0;
    keep_operand_results(&b);
    for (int i = 0; i < p->instr_count; i++) {
        if (b.alias[i] != i || b.uses[i] == 0) continue; /* a value nobody uses has no effect */
        int next = i + 1;
        while (next < p->instr_count && (b.alias[next] != next || b.uses[next] == 0)) next++;
        emit_instr(&b, i);
        const bool last = next >= p->instr_count;
        if (!last) keep_if_wanted(&b, i, next);
    }
    emit_results(&b);
    cell(&b, bodies->end);
    if (b.full) return false;
    fuse_pairs(bodies, code);
    finish(bodies, kind, code);
    return true;
}

static tenon_status check_types(tenon_cx *cx, const tenon_program *p, const tenon_pw_code *code)
{
    for (int i = 0; i < p->operand_count; i++)
        if (!code->operand_const[i] && tenon_dtype_get(code->operand_dtype[i])->bits < 8)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "pointwise: operand %d has type %s", i,
            tenon_dtype_name(code->operand_dtype[i]));
    for (int i = 0; i < p->result_count; i++)
        if (tenon_dtype_get(code->result_dtype[i])->bits < 8)
            return TENON_FAIL(cx, TENON_UNSUPPORTED, "pointwise: result %d has type %s", i,
            tenon_dtype_name(code->result_dtype[i]));
    return TENON_OK;
}

static void live(tenon_pw_code *code, int port, uint8_t dtype)
{
    code->live[code->live_count] = (uint8_t)port;
    uint8_t *shift = &code->live_shift[code->live_count++];
    for (int bytes = tenon_dtype_get((tenon_dtype)dtype)->bits / 8; bytes > 1; bytes /= 2) ++*shift;
}

tenon_status tenon_pw_compile(tenon_cx *cx, const tenon_program *p, unsigned isa, const uint8_t *operand_kind,
                              const tenon_dtype *result_dtype, tenon_pw_code *out)
{
    static const uint8_t vectors[TENON_PROGRAM_OPERANDS] = { 0 };
    memset(out, 0, sizeof *out);
    out->class_ = (uint8_t)p->class_;
    out->operand_count = (uint8_t)p->operand_count;
    out->result_count = (uint8_t)p->result_count;
    for (int i = 0; i < p->operand_count; i++) {
        const bool tile = i == 0 && p->has_anchor;
        const tenon_dtype t = p->operand[i] ? p->operand[i]->type.dtype : TENON_F32;
        out->operand_const[i] = p->operand_scalar[i];
        out->operand_dtype[i] = (uint8_t)(tile && p->class_ == TENON_CLASS_F32 ? TENON_F32 : t);
    }
    for (int i = 0; i < p->result_count; i++)
        out->result_dtype[i] = (uint8_t)(result_dtype ? result_dtype[i] : p->result[i]->type.dtype);
    TENON_TRY(check_types(cx, p, out));
    for (int i = 0; i < p->operand_count; i++)
        if (!p->operand_scalar[i]) live(out, i, out->operand_dtype[i]);
    out->live_operands = out->live_count;
    for (int i = 0; i < p->result_count; i++) live(out, TENON_PW_PORT_RESULT + i, out->result_dtype[i]);
    if (p->class_ == TENON_CLASS_F32)
        for (int i = 0; bodies_of[i]; i++)
            if ((isa & bodies_need[i]) == bodies_need[i] && compile(p, bodies_of[i], operand_kind ? operand_kind : vectors, out))
            {
                out->mode = (uint8_t)(i + 1);
                return TENON_OK;
            }
    return tenon_pw_compile_slow(cx, p, out);
}

/* ---- running ---- */

/* One row when every operand and result goes on from the end of a row to the start of the next. */
static bool contiguous(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t cols)
{
    int i = 0;
    for (; i < code->live_operands; i++) {
        const tenon_pw_operand *o = &operand[code->live[i]];
        if (o->row_stride != o->col_stride * cols) return false;
    }
    for (int r = 0; i < code->live_count; i++, r++)
        if (result[r].row_stride != result[r].col_stride * cols) return false;
    return true;
}

void tenon_pw_run(const tenon_pw_code *code, const tenon_pw_operand *operand, const tenon_pw_result *result, int64_t rows,
                  int64_t cols)
{
    if (rows <= 0 || cols <= 0) return;
    if (code->mode == 0) {
        tenon_pw_run_slow(code, operand, result, rows, cols);
        return;
    }
    if (rows > 1 && contiguous(code, operand, result, cols)) {
        cols *= rows;
        rows = 1;
    }
    bodies_of[code->mode - 1]->run(code, operand, result, rows, cols);
}
