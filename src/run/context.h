/* SPDX-License-Identifier: Apache-2.0 */
/* Inside run/: the context. All of its memory is allocated at creation, sized by the engine's records; setting shapes and
   addresses evaluates the shape program, resolves slots to tensors and binds steps into launch records; a run only launches
   those.

   State: shapes_dirty -> (evaluate, resolve, bind) -> ready -> run. Setting an address only rebinds. */
#ifndef TENON_RUN_CONTEXT_H
#define TENON_RUN_CONTEXT_H

#include "op/eval.h"
#include "run/load.h"

#include <stdatomic.h>

/* A device graph made from a segment's launch records; good for whatever gives the same records again. */
typedef struct tenon_captured { uint64_t key, last_use; uint32_t uses; void *graph; bool refused; } tenon_captured; /* refused: no memory */
enum { TENON_CAPTURES = 4 };

/* An operand of a step on the host: `bytes` at `device` stand at `host` while the step runs. */
typedef struct tenon_staged { void *device, *host; size_t bytes; bool fetch, send; } tenon_staged;
/* The steps on the host of a device's engine (host_step.c), one after another in the same memory. */
typedef struct tenon_host_step {
    tenon_tensor *src, *dst;     /* as the step sees them */
    tenon_staged *operand;       /* sources, then results; bytes 0: nothing to be copied */
    size_t staging_bytes;        /* operands and workspace, for the sizes that are set */
} tenon_host_step;

/* Steps between graph steps are launched together; where the backend has graphs, those that cannot be in one stand apart. */
typedef struct tenon_segment {
    uint32_t first, count;
    bool alone, direct;          /* alone: a graph step, or one of a device's engine that runs on the host */
    uint64_t key;                /* hash of the bound records, where graphs are used */
    tenon_captured *captured;    /* TENON_CAPTURES of them, or NULL */
} tenon_segment;

/* An output whose memory an output allocator gives. */
typedef struct tenon_given_output { tenon_output_allocator from; void *current; } tenon_given_output;

/* Times of one step over all profiled runs. */
typedef struct tenon_profiled { uint64_t runs; double total, least, most; } tenon_profiled;

struct tenon_context {
    tenon_cx cx;                 /* messages of this context */
    tenon_engine *engine;        /* retained */
    const tenon_rec_profile *profile;
    const tenon_rec_range *range;
    tenon_arena arena;           /* every array below */
    int64_t *symbol_value;       /* -1: not set */
    int64_t *dim_value;
    void **address;              /* by binding */
    size_t *address_bytes;
    uint8_t *block;              /* activations */
    void *owned_block;           /* == block when allocated here */
    tenon_device_allocator hook; /* where its device memory comes from */
    tenon_given_output *given;   /* by binding; NULL until an output allocator is set */
    tenon_profiled *profiled;    /* by step; NULL until a run was profiled */
    uint8_t *scratch, *owned_scratch;
    tenon_host_step **host_step; /* by step; NULL: another */
    uint8_t *staging;            /* page-locked */
    size_t staging_bytes, host_scratch_bytes; /* the latter: of each thread, in owned_scratch */
    void **symbolic;             /* by slot of the profile: device memory of SYMBOLIC slots, else NULL */
    int64_t *contents;           /* room for the largest of these, from where it goes there in one copy */
    tenon_tensor *slot;          /* resolved, by slot of the profile */
    tenon_tensor *heap_entry;    /* by heap id */
    tenon_heap heap;             /* results of graph steps of the last run */
    tenon_tensor **src, **dst;   /* by step */
    uint8_t **record;
    tenon_launch *launch;
    tenon_segment *segment;      uint32_t segment_count;
    /* the shape block: numbers of step i begin at shape_first[i]; on the device under shape_device */
    int64_t *shape;              uint32_t shape_count;
    uint32_t *shape_first;
    void *shape_device;
    int64_t *symbol_most, *dim_most; /* at the upper end of the bucket that the symbols' values lie in */
    uint64_t graphs_made, graph_launches, launches; /* segments captured; launched as a graph; all launched */
    int lanes_most;              /* of the graphs made: how many branches run beside each other */
    bool shapes_dirty, binding_dirty;
    /* host: the stream that it waits or runs in; set by its owner, cleared by the stream's thread */
    _Atomic(tenon_stream *) queue;
    /* device: the stream of tenon_context_run; where the last run was put, NULL when it was waited for */
    tenon_stream *own, *last;
    void *stream;                /* device: the handle that the call in progress works in... */
    bool capturing;              /* ...and its owner records it: nothing may wait, copy from the host or launch a graph */
    uint64_t shape_hash;         /* of the shape block on the device; 0: none there yet */
    uint32_t generation;         /* of the engine when bound */
};

/* TENON_INVALID while it is in a stream's queue: the stream's thread reads and writes it then. */
tenon_status tenon_context_idle(tenon_context *c);
/* The calls that follow work in the context's own stream (device), after whatever it has been put in. */
tenon_status tenon_context_own_stream(tenon_context *c);
/* Waits for the stream that the context works in. */
tenon_status tenon_context_wait(tenon_context *c);
/* To the device, before what is launched afterwards in the stream that the context works in. */
tenon_status tenon_context_upload(tenon_context *c, void *dst, const void *src, size_t bytes);
/* Returns when the context is in no queue, and has no stream any more. */
void tenon_stream_release(tenon_context *c);
/* Evaluates, resolves and binds what changed. */
tenon_status tenon_context_prepare(tenon_context *c);
/* Contents of SYMBOLIC slot `i` of the profile from the dims' values. */
tenon_status tenon_context_write_symbolic(tenon_context *c, uint32_t i);
/* Operands about to be bound have the dims and strides that the problem says (fits.c). */
tenon_status tenon_operands_fit(tenon_cx *cx, const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst);
/* Runs the prepared steps, or puts them in the stream that the context works in. */
tenon_status tenon_context_launch(tenon_context *c);
/* Steps on the host (host_step.c): what they need of a context at its creation; where operands stand, for the sizes and addresses
   that are set; binding; a run, which waits for what is in the stream. */
tenon_status tenon_host_steps_allocate(tenon_context *c);
tenon_status tenon_host_steps_place(tenon_context *c);
tenon_status tenon_host_step_bind(tenon_context *c, uint32_t i, tenon_bind *bind);
tenon_status tenon_host_step_run(tenon_context *c, uint32_t i);
/* TENON_INVALID naming a step that runs on the host, if there is one: no recording can hold it. */
tenon_status tenon_context_check_recordable(tenon_context *c);
/* A device graph of the segment's steps, whose branches run beside each other (capture.c). */
tenon_status tenon_segment_capture(tenon_context *c, const tenon_segment *s, void **graph);
/* Outputs with an output allocator (outputs.c): those whose size the shapes say get their addresses; those that a run has found
   out are copied to where the allocator says. Shapes are evaluated. */
tenon_status tenon_outputs_place(tenon_context *c);
tenon_status tenon_outputs_give(tenon_context *c);
/* TENON_INVALID: an output overlaps an input or another output in a way that the plan does not allow (aliases.c). Slots are resolved. */
tenon_status tenon_aliases_check(tenon_context *c);
/* Room for the times of all steps, and one more time of step i (profiled.c). */
tenon_status tenon_profile_begin(tenon_context *c);
void tenon_profile_note(tenon_context *c, uint32_t i, double seconds);
/* Index of a binding by name; message in c->cx when there is none. */
tenon_status tenon_context_find(tenon_context *c, const char *name, uint32_t *out);

#endif
