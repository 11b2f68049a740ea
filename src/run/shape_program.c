/* SPDX-License-Identifier: Apache-2.0 */
/* The shape program: one walk over the records, no allocation. */
#include "base/checked.h"
#include "run/engine.h"

static int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

static bool apply(const tenon_rec_dim *r, int64_t a, int64_t b, int64_t c, int64_t *out)
{
    switch ((tenon_dim_kind)r->kind) {
    case TENON_DIM_ADD: return tenon_add_i64(a, b, out);
    case TENON_DIM_MUL: return tenon_mul_i64(a, b, out);
    case TENON_DIM_FLOORDIV:
        if (b == 0 || (b == -1 && a == INT64_MIN)) return false;
        *out = floor_div(a, b);
        return true;
    case TENON_DIM_CEILDIV:
        if (b == 0 || a == INT64_MIN) return false;
        *out = -floor_div(-a, b);
        return true;
    case TENON_DIM_MOD:
        if (b == 0 || b == -1) return b != 0 && (*out = 0, true);
        *out = a - floor_div(a, b) * b;
        return true;
    case TENON_DIM_MIN: *out = TENON_MIN(a, b); return true;
    case TENON_DIM_MAX: *out = TENON_MAX(a, b); return true;
    case TENON_DIM_EQ: *out = a == b; return true;
    case TENON_DIM_LT: *out = a < b; return true;
    case TENON_DIM_SELECT: *out = a ? b : c; return true;
    case TENON_DIM_CONST:
    case TENON_DIM_SYM: break;
    }
    return false;
}

bool tenon_shape_run(const tenon_rec_dim *dim, uint32_t count, const int64_t *symbol_value, int64_t *value, uint32_t *bad)
{
    for (uint32_t i = 0; i < count; i++) {
        const tenon_rec_dim *r = &dim[i];
        bool ok = true;
        if (r->kind == TENON_DIM_CONST) value[i] = r->value;
        else if (r->kind == TENON_DIM_SYM) value[i] = symbol_value[r->value];
        else ok = apply(r, value[r->a], value[r->b], value[r->c], &value[i]);
        if (!ok) {
            *bad = i;
            return false;
        }
    }
    return true;
}
