/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting the engine's records over all profiles, and writing them as a file image. */
#ifndef TENON_PLAN_EMIT_H
#define TENON_PLAN_EMIT_H

#include "base/buf.h"
#include "plan/stage.h"

typedef struct tenon_interned { uint64_t hash; uint32_t index; } tenon_interned;

struct tenon_emitter {
    tenon_cx *cx;
    tenon_arena *arena;
    tenon_buf section[TENON_SECTION_COUNT]; /* in the order of tenon_section_kind */
    tenon_interned *string; size_t string_count, string_capacity; /* open addressing by hash */
    tenon_rec_header header;
    size_t symbol_count;
    bool refit;
    /* of the profile being emitted */
    tenon_plan *plan;
    uint32_t *dim_record;   /* by dim id */
    size_t dim_capacity;
};

void tenon_emitter_init(tenon_emitter *em, tenon_cx *cx, tenon_arena *arena);
void tenon_emitter_free(tenon_emitter *em);
/* Number of records in a section so far. */
uint32_t tenon_emit_count(const tenon_emitter *em, tenon_section_kind kind);
tenon_status tenon_emit_string(tenon_emitter *em, const char *s, uint32_t *out);
/* Dims of this plan's pool follow. */
tenon_status tenon_emit_begin(tenon_emitter *em, tenon_plan *plan);
tenon_status tenon_emit_dim(tenon_emitter *em, const tenon_dim *d, uint32_t *out);
/* A symbol and its dims record; a name that is known is nothing new. */
tenon_status tenon_emit_symbol(tenon_emitter *em, const char *name);
/* Weight data of equal bytes, type and dims is stored once. */
tenon_status tenon_emit_weight(tenon_emitter *em, const tenon_tensor *data, const tenon_rec_weight *program, uint32_t *out);
/* The packed weights and kept constants of the plan (weights.c). */
tenon_status tenon_emit_constant(tenon_emitter *em, tenon_place *p);
tenon_status tenon_emit_pack(tenon_emitter *em, const tenon_plan_step *s, const tenon_pack *pack, uint32_t *out);
tenon_status tenon_emit_finish(tenon_emitter *em);
/* The finished image, freed by tenon_free_aligned. */
tenon_status tenon_emit_image(tenon_emitter *em, uint8_t **data, size_t *bytes);

#endif
