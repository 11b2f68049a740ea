/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: its file format and its form in memory, which are the same bytes. The planner fills arrays of these records, the
   writer (plan/emit.c) lays them out as sections, the loader (run/load.c) maps the file, checks every offset, count and index
   once and then uses the records in place. Little endian; all records are multiples of 8 bytes; sections start at 64 bytes, the
   weight section at a page.

     header | section table | sections...                       every section has an XXH3 of its bytes, the header of itself

   Symbols are the free dimensions. `dims` is the shape program: record i is computed from records before it, so that one walk
   with the symbols' values gives every dimension, stride and offset in the engine. Nothing else is computed at set-shape time. */
#ifndef TENON_RUN_ENGINE_H
#define TENON_RUN_ENGINE_H

#include "op/tactic.h"

#define TENON_ENGINE_MAGIC "\x89TENON\r\n"
enum { TENON_ENGINE_VERSION = 1, TENON_ENGINE_ALIGN = 64, TENON_ENGINE_PAGE = 4096 };
#define TENON_NONE UINT32_MAX

typedef enum {
    TENON_SECTION_STRINGS,        /* zero-terminated; offset 0 is "" */
    TENON_SECTION_DIMS,           /* tenon_rec_dim */
    TENON_SECTION_SYMBOLS,        /* tenon_rec_symbol */
    TENON_SECTION_RANGES,         /* tenon_rec_range: symbol_count a profile */
    TENON_SECTION_BINDINGS,       /* tenon_rec_binding */
    TENON_SECTION_PROFILES,       /* tenon_rec_profile */
    TENON_SECTION_SLOTS,          /* tenon_rec_slot */
    TENON_SECTION_STEPS,          /* tenon_rec_step */
    TENON_SECTION_INDICES,        /* uint32_t: slots of operands, packs and kernels of steps, dims of symbolic slots */
    TENON_SECTION_WEIGHTS,        /* tenon_rec_weight */
    TENON_SECTION_WEIGHT_DATA,
    TENON_SECTION_SOURCES,        /* tenon_rec_source: refittable source weights */
    TENON_SECTION_KERNELS,        /* tenon_rec_kernel */
    TENON_SECTION_KERNEL_DATA,
    TENON_SECTION_INFO,           /* JSON text: pass events, rejected tactics, build options */
    TENON_SECTION_COUNT
} tenon_section_kind;

extern const uint32_t tenon_section_element_bytes[TENON_SECTION_COUNT]; /* of one record; image.c */

typedef struct tenon_rec_section { uint32_t kind, element_bytes; uint64_t offset, bytes, hash; } tenon_rec_section;

typedef struct tenon_rec_header {
    uint8_t magic[8];
    uint32_t format_version, section_count;
    uint64_t file_bytes;
    uint64_t hash;               /* XXH3 of header (this field 0) and section table */
    char tenon_version[16], backend[16];
    char fingerprint[192];       /* of the device it was built for */
    uint32_t isa;                /* TENON_ISA_* bits that its steps on a CPU need */
    uint32_t threads;
    uint32_t flags;              /* TENON_ENGINE_REFIT */
    uint32_t host_threads;       /* that its TENON_STEP_HOST were planned for */
} tenon_rec_header;
enum { TENON_ENGINE_REFIT = 1u << 0 };

/* kind is a tenon_dim_kind; ADD and MUL have two arguments; a, b, c are earlier records. SYM: value is the symbol's index. */
typedef struct tenon_rec_dim { uint32_t kind; uint32_t a, b, c; int64_t value; } tenon_rec_dim;

typedef struct tenon_rec_symbol {
    uint32_t name;
    uint32_t binding, axis;      /* input dimension it is read from; data-dependent: binding TENON_NONE */
    uint32_t slot, slot_axis;    /* data-dependent: the heap slot whose dimension gives it, once produced; else TENON_NONE */
    uint32_t pad;
} tenon_rec_symbol;

typedef struct tenon_rec_range { int64_t lo, opt, hi, divisor; } tenon_rec_range;

typedef struct tenon_rec_binding {
    uint32_t name, io, dtype, rank;
    uint32_t dim[TENON_MAX_RANK]; /* dims records */
    uint32_t slot;                /* of the first profile's procedure; TENON_NONE: unused input */
    uint32_t pad;
} tenon_rec_binding;

/* Where a value lies. address = base + offset * element size; base: ARENA: block + base bytes; BINDING: its address; WEIGHT:
   weight data; HEAP: context heap entry `base`, dims and strides from the tensor there; SYMBOLIC: i64 contents evaluated from
   dims (indices [base, base+count)). */
typedef enum { TENON_SLOT_ARENA, TENON_SLOT_BINDING, TENON_SLOT_WEIGHT, TENON_SLOT_HEAP, TENON_SLOT_SYMBOLIC } tenon_slot_kind;
typedef struct tenon_rec_slot {
    uint32_t kind, dtype, rank, name;
    uint64_t base;                /* bytes, binding, weight, heap entry or first index */
    uint32_t offset;              /* dims record, elements; TENON_NONE: 0 */
    uint32_t count;               /* SYMBOLIC: elements */
    uint32_t dim[TENON_MAX_RANK];
    uint32_t stride[TENON_MAX_RANK];
} tenon_rec_slot;

enum {
    TENON_STEP_GRAPH = 1u << 0,      /* problem is graph text, evaluated by the references; results go to heap slots */
    TENON_STEP_NO_BARRIER = 1u << 1, /* the next step does not depend on this one */
    TENON_STEP_CONVERSION = 1u << 2, /* a copy between formats, not in the model */
    TENON_STEP_REFERENCE = 1u << 3,  /* a gap: runs on the slow reference */
    TENON_STEP_HOST = 1u << 4,       /* of a device's engine: tactic of tenon_backend_host, between copies (host_step.c) */
};
typedef struct tenon_rec_step {
    uint32_t name, origin, problem, tactic; /* strings */
    int32_t variant[8];
    uint32_t src_first, src_count;   /* indices -> slots; TENON_NONE entries: read packed only */
    uint32_t dst_first, dst_count;
    uint32_t pack_first, pack_count; /* indices -> weights */
    uint32_t kernel_first, kernel_count;
    uint32_t flags, record_bytes;
    uint64_t workspace_offset, workspace_bytes; /* in the activation block */
    uint64_t scratch_bytes;
    double seconds;                  /* as timed or estimated at build */
    double flops;                    /* at the profile's opt */
    uint32_t timed, pad;
} tenon_rec_step;

typedef struct tenon_rec_profile {
    uint32_t range_first;            /* symbol_count ranges */
    uint32_t step_first, step_count;
    uint32_t slot_first, slot_count;
    uint32_t heap_count;
    uint64_t block_bytes;            /* activations and workspaces at the profile's maximum */
    uint64_t lower_bound_bytes;      /* largest sum of what must be alive at one step */
    uint64_t scratch_bytes;          /* a team member */
} tenon_rec_profile;

typedef struct tenon_rec_weight {
    uint32_t dtype, rank;
    int64_t dim[TENON_MAX_RANK];
    uint64_t offset, bytes;          /* in the weight data */
    uint64_t hash;                   /* XXH3 of the bytes */
    uint32_t program;                /* string: graph text over named sources; TENON_NONE: plain */
    uint32_t source_first, source_count; /* indices -> sources, inputs of the program */
    uint32_t pad;
} tenon_rec_weight;

typedef struct tenon_rec_source {
    uint32_t name, dtype, rank, pad;
    int64_t dim[TENON_MAX_RANK];
    uint64_t offset, bytes;          /* in the weight data */
} tenon_rec_source;

typedef struct tenon_rec_kernel { uint32_t name, entry; uint64_t offset, bytes; uint64_t hash; } tenon_rec_kernel;

/* A loaded engine: immutable but for refit, shared between contexts, reference counted. */
struct tenon_engine {
    _Atomic int references;
    tenon_allocator alloc;
    const uint8_t *data;             /* the file image */
    size_t bytes;
    struct tenon_engine_image *image; /* who owns the bytes: mapping, copy or build buffer */
    const tenon_backend *backend;
    tenon_device *device, *host_device; /* host_device: of tenon_backend_host; NULL where no step is TENON_STEP_HOST */
    const tenon_rec_header *header;
    const char *strings;             size_t strings_bytes;
    const tenon_rec_dim *dim;        uint32_t dim_count;
    const tenon_rec_symbol *symbol;  uint32_t symbol_count;
    const tenon_rec_range *range;    uint32_t range_count;
    const tenon_rec_binding *binding; uint32_t binding_count;
    const tenon_rec_profile *profile; uint32_t profile_count;
    const tenon_rec_slot *slot;      uint32_t slot_count;
    const tenon_rec_step *step;      uint32_t step_count;
    const uint32_t *index;           uint32_t index_count;
    const tenon_rec_weight *weight;  uint32_t weight_count;
    const uint8_t *weight_data;      size_t weight_bytes;
    const tenon_rec_source *source;  uint32_t source_count;
    const tenon_rec_kernel *kernel;  uint32_t kernel_count;
    const uint8_t *kernel_data;      size_t kernel_bytes;
    const char *info;                size_t info_bytes;
    /* made at load, one a step or weight */
    struct tenon_step_state *step_state;   /* parsed problems, tactics, plans */
    void **weight_address;                 /* device address of each weight; NULL: read on the host alone */
    void **kernel_handle;
    tenon_cx *own_cx;                      /* of the arena; outlives the cx the engine was loaded with */
    tenon_arena arena;                     /* of the parsed problems */
    struct tenon_refit *refit;             /* weights replaced so far (refit.c); NULL: none */
    _Atomic uint32_t generation;           /* counts refits: contexts bind again when it moved */
    tenon_device_allocator hook;           /* where its weights lie, and its contexts unless they say otherwise; alloc NULL: the device */
};

/* What the loader makes of a step record. */
typedef struct tenon_step_state {
    const tenon_rec_step *rec;
    tenon_problem *problem;          /* NULL for TENON_STEP_GRAPH */
    tenon_graph *graph;              /* of TENON_STEP_GRAPH */
    const tenon_tactic *tactic;
    tenon_variant variant;
    tenon_tactic_plan plan;
    uint32_t weight_slots;           /* how many sources are WEIGHT slots */
} tenon_step_state;

static inline const char *tenon_engine_string(const tenon_engine *e, uint32_t offset) { return e->strings + offset; }

/* Takes `image` (any outcome): checks it whole, opens the device, parses problems, uploads weights. TENON_CORRUPT names the
   section. */
struct tenon_engine_image {
    uint8_t *data;
    size_t bytes;
    enum { TENON_IMAGE_MAPPED, TENON_IMAGE_HEAP } kind; /* HEAP: of tenon_alloc_aligned */
};
tenon_status tenon_engine_open(tenon_cx *cx, struct tenon_engine_image *take_image, const tenon_load_options *options,
                               const char *what, tenon_engine **out);
void tenon_engine_retain(tenon_engine *engine);
/* Backends of this build, by name. A lean runtime may have fewer. */
const tenon_backend *tenon_backend_find(const char *name);
extern const tenon_backend *const tenon_backend_host; /* the CPU's: for steps that no tactic of a device does */
extern const tenon_backend *const tenon_backends[]; /* NULL-terminated, in order of preference for "auto" */

/* Device memory from `hook`, or the device's own where hook->alloc is NULL (device_memory.c). p may be NULL. */
tenon_status tenon_hook_check(tenon_cx *cx, const tenon_device_allocator *hook); /* NULL, or both functions are there */
tenon_status tenon_hook_alloc(tenon_cx *cx, const tenon_engine *e, const tenon_device_allocator *hook, size_t bytes, void **out);
void tenon_hook_free(const tenon_engine *e, const tenon_device_allocator *hook, void *p);

/* Shape program: values of all dims records for the symbols' values. False with the record in *bad on overflow or division by
   zero. */
bool tenon_shape_run(const tenon_rec_dim *dim, uint32_t count, const int64_t *symbol_value, int64_t *value, uint32_t *bad);

#endif
