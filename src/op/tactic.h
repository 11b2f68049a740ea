/* SPDX-License-Identifier: Apache-2.0 */
/* What the tuner may pick, and the backends that hold tables of it.

   A tactic does problems of one pattern. Life of one: reject (NULL = can do it, over the whole range of the problem's symbols),
   plan (at build: workspace, packed weights, kernels), bind (shapes or addresses changed: fills a launch record of fixed size,
   allocates nothing), run (from the launch record alone; allocates nothing, takes no lock). */
#ifndef TENON_OP_TACTIC_H
#define TENON_OP_TACTIC_H

#include "op/problem.h"

typedef struct tenon_device tenon_device; /* a backend's own */
typedef struct tenon_tactic tenon_tactic;

/* Parameters of a tactic for one problem. p[] mean what the tactic says; all zero is the default. Stored in engines. */
typedef struct tenon_variant { int32_t p[8]; } tenon_variant;
typedef struct tenon_reason { char text[192]; } tenon_reason;

enum { TENON_MAX_PACK = 6, TENON_RECORD_MAX = 32768, TENON_MAX_KERNELS = 4 };

/* A packed weight: the result of one TENON_OP_WEIGHT operator (op/pack_*.c) on one or more weight sources. */
typedef struct tenon_pack {
    const tenon_op *op;
    int src[4];            /* problem sources; -1 ends the list */
    int64_t attr[8];       /* values of the operator's INT attributes, in table order */
} tenon_pack;

/* Device code a CUDA tactic needs; source text is in the library, options and defines specialise it. */
typedef struct tenon_kernel_source { const char *name, *source, *entry; char options[512]; } tenon_kernel_source;

typedef struct tenon_tactic_plan {
    size_t record_bytes;      /* of the launch record, <= TENON_RECORD_MAX */
    size_t workspace_bytes;   /* shared by the members; from the activation block */
    size_t scratch_bytes;     /* private to each member (CPU); reused by every step */
    int pack_count;
    tenon_pack pack[TENON_MAX_PACK];
    uint32_t src_packed;      /* bit i: source i is read only through its packed form (its own bytes are not kept) */
    bool in_place;            /* result 0 may lie exactly on an operand that only the (last) post program, or the program alone,
                                 reads: each of its elements is read before it is written, and only for that element */
    int kernel_count;
    tenon_kernel_source kernel[TENON_MAX_KERNELS];
    int shape_count;          /* numbers that the kernels read from the shape block */
    const void *own;          /* the tactic's, for bind; in the arena of the problem's graph */
} tenon_tactic_plan;

typedef struct tenon_bind {
    const tenon_problem *problem;
    const tenon_variant *variant;
    const tenon_tactic_plan *plan;
    const tenon_tensor *src;     /* concrete dims, strides, addresses; src_packed ones have data == NULL */
    const tenon_tensor *dst;
    const tenon_tensor *pack;    /* packed weights, in plan order */
    void *workspace;
    int threads;
    tenon_device *device;
    void *const *kernel;         /* loaded kernels, in plan order (CUDA) */
    /* The shape block: what depends on sizes is not in the launch record but in shape_count numbers in device memory, so that a
       graph captured from the records stays right when sizes change. bind writes `shape`; whoever binds copies it to
       `shape_device` before the launch. Grids are sized for src_most and dst_most: dims (alone are set) at the upper end of the
       bucket of shapes; surplus blocks find that they are surplus and exit. All unset where the plan's shape_count is 0. */
    int64_t *shape;
    const void *shape_device;
    const tenon_tensor *src_most, *dst_most;
} tenon_bind;

/* What a CPU tactic's run gets; one a team member. */
typedef struct tenon_worker {
    tenon_cx *cx;               /* for messages of the member 0 only */
    struct tenon_team *team;
    int member, count;
    void *scratch;              /* 64-byte aligned, at least the plan's scratch_bytes */
} tenon_worker;

enum {
    TENON_TACTIC_REFERENCE = 1u << 0,     /* slow: logged and counted as a gap */
    TENON_TACTIC_DETERMINISTIC = 1u << 1, /* same bits at every run with the same thread count */
    TENON_TACTIC_BARRIER = 1u << 2,       /* calls tenon_team_barrier itself */
    TENON_TACTIC_SERIAL = 1u << 3,        /* run by member 0 alone */
    TENON_TACTIC_HOST = 1u << 4,          /* CUDA: its run works on the host, so no graph can hold it */
    TENON_TACTIC_TF32 = 1u << 5,          /* f32 operands are rounded to 10 bits of mantissa: only where the build permits it */
    TENON_TACTIC_FINITE = 1u << 6,        /* a library that promises nothing of results where operands hold Inf or NaN */
};

struct tenon_tactic {
    const char *name;            /* "cpu.conv_f32_avx512"; stable: stored in engines and timing caches */
    const char *pattern;         /* matches tenon_problem.pattern exactly; "*" any */
    unsigned need;               /* TENON_ISA_* bits (CPU) or compute capability * 10 (CUDA) */
    unsigned flags;
    /* Enumerates parameter records, at most `max`; NULL: only the default. The first is the preferred one when nothing is
       timed. */
    int (*variants)(const tenon_problem *p, const tenon_device *device, tenon_variant *out, int max);
    /* NULL, or why this tactic cannot do the problem (a literal, or text put in `scratch`). */
    const char *(*reject)(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, tenon_reason *scratch);
    tenon_status (*plan)(tenon_cx *cx, const tenon_problem *p, const tenon_variant *v, const tenon_device *device,
                         tenon_tactic_plan *out);
    tenon_status (*bind)(tenon_cx *cx, const tenon_bind *b, void *record);
    /* exec: const tenon_worker * (CPU), the backend's queue otherwise. */
    tenon_status (*run)(const void *record, void *exec);
    /* Seconds by a model, for plans where nothing is timed; NULL: the backend's roofline of flops and bytes. */
    double (*cost)(const tenon_problem *p, const tenon_variant *v, const tenon_device *device, const tenon_tensor *src,
                   const tenon_tensor *dst);
    const char *source_hash_of;  /* CUDA: name of the embedded source that goes in the timing key; NULL */
};

/* A bound step, ready to run. */
typedef struct tenon_launch {
    const tenon_tactic *tactic;
    const void *record;
    unsigned flags; /* TENON_LAUNCH_* */
} tenon_launch;
enum { TENON_LAUNCH_NO_BARRIER = 1u << 0 /* the next step does not depend on this one */ };

typedef struct tenon_device_info {
    char name[160];          /* "Intel(R) Xeon(R), 2 threads, avx512" */
    char fingerprint[192]; /* what an engine and a timing cache depend on: device, threads, ISA or compute capability, versions */
    double peak_flops, bandwidth, step_seconds; /* cost model: f32 flop/s, bytes/s from the last cache, cost of a step */
    int threads;
    size_t memory_bytes;
    int index;               /* as it was opened by */
    unsigned have;           /* what tactics' `need` is compared with: TENON_ISA_* bits, or compute capability * 10 */
    bool offline;            /* stands for a device that is not here: plans and compiles for it, allocates and runs nothing */
} tenon_device_info;

/* What a device does at most, as measured: flop/s by tenon_arithmetic, bytes/s from its memory and from its caches. */
typedef struct tenon_device_peak {
    double flops[TENON_ARITHMETICS], memory_bandwidth, cache_bandwidth;
    size_t cache_bytes;      /* what is read again from the caches if it is no more than this */
} tenon_device_peak;

typedef void (*tenon_part_fn)(void *user, const char *name, bool found, const char *text);

/* A backend: device memory, streams and a table of tactics. Device memory of CPU and null is host memory. */
typedef struct tenon_backend {
    const char *name;                          /* "cpu", "cuda", "null" */
    const tenon_tactic *const *tactics;        /* in order of preference, the reference last; NULL-terminated */
    /* index: which device; below 0 (CUDA): none of this machine, but one of compute capability * 10 == -index that is offline;
       threads: 0 = all. TENON_DEVICE with what is missing and what to do when there is none. */
    tenon_status (*open)(tenon_cx *cx, int index, int threads, tenon_device **out);
    void (*close)(tenon_device **device);
    const tenon_device_info *(*info)(const tenon_device *device);
    tenon_status (*alloc)(tenon_cx *cx, tenon_device *device, size_t bytes, void **out);
    void (*release)(tenon_device *device, void *p);
    tenon_status (*upload)(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes);   /* synchronous */
    tenon_status (*download)(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes); /* synchronous */
    /* From device memory to device memory, in the device's own stream; NULL where host_memory. */
    tenon_status (*copy)(tenon_cx *cx, tenon_device *device, void *dst, const void *src, size_t bytes);
    bool host_memory;                          /* device pointers are host pointers */
    /* Runs bound steps in order. CPU: on the caller's thread and the device's team, returns when done; callers in several
       threads take turns at the team (a device of one thread runs each on its own thread, without a lock). CUDA: enqueues on
       `stream`; the `run` of a tactic is called by several threads at once, for different streams: what it shares it must lock.
       scratch: the caller's, info->threads pieces of scratch_bytes (a multiple of 64), 64-byte aligned; NULL when 0. */
    tenon_status (*launch)(tenon_cx *cx, tenon_device *device, void *stream, const tenon_launch *step, size_t count,
                           void *scratch, size_t scratch_bytes);
    tenon_status (*synchronize)(tenon_cx *cx, tenon_device *device, void *stream);
    /* Kernels: compile to an image at build (stored in the engine), load the image at run. NULL: the backend has none. */
    tenon_status (*kernel_compile)(tenon_cx *cx, tenon_device *device, const tenon_kernel_source *source, tenon_buf *image);
    /* Compiles those that are not there yet, at the same time, so that kernel_compile finds them; NULL: nothing is gained. A
       source that does not compile is told by kernel_compile. */
    tenon_status (*kernel_prepare)(tenon_cx *cx, tenon_device *device, const tenon_kernel_source *const *source, size_t count);
    tenon_status (*kernel_load)(tenon_cx *cx, tenon_device *device, const void *image, size_t bytes, const char *entry,
                                void **kernel);
    void (*kernel_unload)(tenon_device *device, void *kernel);
    /* Whether engines can be built here (a machine may run them and lack the compiler); NULL: always. */
    tenon_status (*can_build)(tenon_cx *cx, tenon_device *device);
    /* Queues of the device (CUDA); NULL: it has none and `launch` computes on the caller's thread. A stream is a handle of these,
       or one of the caller's own; NULL is the device's, which copies go through. Streams run beside each other. */
    tenon_status (*stream_create)(tenon_cx *cx, tenon_device *device, void **out);
    void (*stream_destroy)(tenon_device *device, void *stream);
    void *stream_default; /* the handle that a caller's own NULL stands for */
    /* A mark stands for all that is in the stream now; what is put in another stream after stream_after runs behind that. Both
       may be called between graph_begin and graph_end, to record branches: a stream that waits for a mark of a recording is part
       of it. */
    tenon_status (*stream_mark)(tenon_cx *cx, tenon_device *device, void *stream, void **mark);
    tenon_status (*stream_after)(tenon_cx *cx, tenon_device *device, void *stream, void *mark);
    void (*mark_free)(tenon_device *device, void *mark); /* whoever waits for it still does */
    /* Whether its owner is recording what is put in it into a graph of his own. */
    tenon_status (*stream_capturing)(tenon_cx *cx, tenon_device *device, void *stream, bool *out);
    /* A copy in the order of the stream; `src` has been read when it returns, but where it is memory of host_alloc, which is read
       when the stream comes there. */
    tenon_status (*stream_upload)(tenon_cx *cx, tenon_device *device, void *stream, void *dst, const void *src, size_t bytes);
    /* The same to memory of host_alloc, which is written when the stream comes there. */
    tenon_status (*stream_download)(tenon_cx *cx, tenon_device *device, void *stream, void *dst, const void *src, size_t bytes);
    /* Host memory that the device reads and writes by itself (page-locked), 64-byte aligned; NULL where host_memory. */
    tenon_status (*host_alloc)(tenon_cx *cx, tenon_device *device, size_t bytes, void **out);
    void (*host_release)(tenon_device *device, void *p);
    /* Whether machine code made for a device of that fingerprint runs on this one, with the reason if not; NULL: it does. */
    tenon_status (*accepts)(tenon_cx *cx, const tenon_device *device, const char *fingerprint);
    /* The libraries that it opens, found or not, with version and file or what their absence costs, for listings; NULL: none. */
    void (*parts)(tenon_cx *cx, tenon_part_fn give, void *user);
    /* Graph segments (CUDA); NULL: steps are launched one by one. graph_begin gives a stream that records what the calling thread
       launches into it, until graph_end with that stream, which takes it away again. Threads may record at the same time. */
    tenon_status (*graph_begin)(tenon_cx *cx, tenon_device *device, void **stream);
    tenon_status (*graph_end)(tenon_cx *cx, tenon_device *device, void *stream, void **graph);
    tenon_status (*graph_launch)(tenon_cx *cx, tenon_device *device, void *stream, void *graph);
    void (*graph_destroy)(tenon_device *device, void *graph);
    /* Seconds of one launch list, cold weights as in a network: median or minimum as fits the device. For the tuner. */
    tenon_status (*time)(tenon_cx *cx, tenon_device *device, const tenon_launch *step, size_t count, size_t scratch_bytes,
                         double budget_seconds, double *out);
    /* Measures, with the whole device, for some tenths of a second. TENON_DEVICE where something is missing; NULL: there is nothing to
       measure. */
    tenon_status (*peak)(tenon_cx *cx, tenon_device *device, tenon_device_peak *out);
    /* Cost model: what a step takes whatever tactic does it, given the seconds that its tactic reckons; NULL: just these. */
    double (*step_cost)(const tenon_device *device, const tenon_problem *p, const tenon_tensor *src, const tenon_tensor *dst,
                        double seconds);
} tenon_backend;

const tenon_tactic *tenon_tactic_find(const tenon_backend *backend, const char *name, size_t length);
/* Everything that speaks against the tactic: pattern, hardware, reject. NULL: it can. */
const char *tenon_tactic_rejects(const tenon_tactic *t, const tenon_problem *p, const tenon_variant *v,
                                 const tenon_device *device, unsigned have, tenon_reason *scratch);

/* Contents of a parameter that stands in the problem (integers, at most `max`), for the shapes that are bound; an absent source gives
   -1. TENON_INVALID: the shapes do not say them. */
tenon_status tenon_bind_ints(tenon_cx *cx, const tenon_bind *b, const tenon_value *v, int max, int64_t *out, int *count);
/* Whether source i of the node is absent or stands in the problem: then tenon_bind_ints knows it. */
bool tenon_problem_has_param(const tenon_problem *p, const tenon_node *n, int i);

/* Type of a packed weight, by the packing operator's infer rule on the types of the problem's sources. */
tenon_status tenon_pack_type(tenon_cx *cx, const tenon_problem *p, const tenon_pack *pack, tenon_tensor *out);
/* Sets the INT attributes of a node of pack->op. */
tenon_status tenon_pack_attrs(tenon_graph *g, tenon_node *n, const tenon_pack *pack);

#endif
