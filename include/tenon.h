/* SPDX-License-Identifier: Apache-2.0 */
/* Tenon: an inference optimizer and runtime. This header is the whole public C API.

   A network (ONNX) is built into an engine for one device; an engine is run through contexts.

       tenon_cx *cx;             tenon_cx_create(NULL, &cx);
       tenon_network *network;   tenon_network_read_file(cx, "model.onnx", NULL, &network);
       tenon_config *config;     tenon_config_create(cx, &config);
       tenon_engine *engine;     tenon_build(cx, network, config, &engine);
       tenon_context *context;   tenon_context_create(cx, engine, NULL, &context);
       tenon_context_set_address(context, "x", x, x_bytes);   tenon_context_set_address(context, "y", y, y_bytes);
       tenon_context_run(context);

   Rules that hold everywhere
   - Status: every function that can fail returns a tenon_status; TENON_OK is 0. The message of the last failure is
     tenon_cx_message(cx), or tenon_context_message(context) for functions that take a context. Nothing aborts or exits.
   - Ownership: pointers passed in are borrowed unless the argument is named take_...; `_create` functions give ownership;
     `_destroy(T **)` accepts NULL and clears the caller's pointer. Strings returned live as long as the object they came from.
   - Threads: a tenon_cx, and a tenon_context, belong to one thread at a time. An engine may be shared by all threads. A context
     in a stream's queue belongs to the stream: what would change or read its run is refused until the stream was waited for.
   - Sizes: `_bytes` are bytes, `_count` elements; strides are in elements. Shapes are in ONNX's order (n, c, h, w).
   - Out parameters come last and are set to NULL first. */
#ifndef TENON_H
#define TENON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_VERSION_MAJOR 0
#define TENON_VERSION_MINOR 1
#define TENON_VERSION_PATCH 0

#if defined(_WIN32)
#define TENON_API
#else
#define TENON_API __attribute__((visibility("default")))
#endif
#define TENON_MUST_USE __attribute__((warn_unused_result))

enum { TENON_MAX_RANK = 8 };

typedef enum {
    TENON_OK = 0,
    TENON_INVALID,     /* bad argument, model, shape or flag */
    TENON_UNSUPPORTED, /* understood, but not done by this build or device */
    TENON_NOMEM,       /* out of host or device memory */
    TENON_CORRUPT,     /* damaged engine, cache or model file */
    TENON_DEVICE,      /* device, driver or library missing or failing */
    TENON_INTERNAL,    /* a fault of ours */
    TENON_CANCELLED,   /* the progress callback said stop */
} tenon_status;

typedef enum {
    TENON_DTYPE_NONE = 0,
    TENON_F32, TENON_F64, TENON_F16, TENON_BF16, TENON_F8E4M3, TENON_F8E5M2,
    TENON_I8, TENON_I16, TENON_I32, TENON_I64, TENON_U8, TENON_U16, TENON_U32, TENON_U64,
    TENON_I4, TENON_U4,
    TENON_BOOL,
    TENON_STRING, TENON_SEQUENCE, TENON_OPTIONAL,
} tenon_dtype;

/* ---- session: allocator, log, progress, last message ---- */
typedef struct tenon_cx tenon_cx;

typedef enum { TENON_ERROR = 0, TENON_WARNING, TENON_INFO, TENON_VERBOSE } tenon_severity;
/* May be called on a thread of the library's own while a call is in progress, by one thread at a time for one session. */
typedef void (*tenon_log_fn)(void *user, tenon_severity severity, const char *message);
/* phase: "read", "passes", "timing", ...; done of total steps (total 0: unknown). Non-zero cancels: the call in progress
   returns TENON_CANCELLED and leaves nothing behind. Called on the thread of that call. */
typedef int (*tenon_progress_fn)(void *user, const char *phase, size_t done, size_t total);
/* A call failed: once for each failing call with the session, or with a network, configuration, context or stream made in it; and
   before that once for each single fault where a call finds several (operators of a model that nothing converts). The message is
   the one that the object gives afterwards; it lives until the callback returns. Called on the thread of the failing call. */
typedef void (*tenon_error_fn)(void *user, tenon_status status, const char *message);

/* Called on any thread, by several at a time while an engine is built or contexts run. */
typedef struct tenon_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void *(*realloc)(void *user, void *p, size_t bytes); /* p may be NULL */
    void (*free)(void *user, void *p);                   /* p may be NULL */
    void *user;
} tenon_allocator;

typedef struct tenon_cx_options {
    const tenon_allocator *allocator; /* NULL: malloc */
    tenon_log_fn log;                 /* NULL: standard error */
    void *log_user;
    tenon_severity severity;          /* least important severity that is logged; 0 with log == NULL means TENON_WARNING */
    tenon_progress_fn progress;       /* NULL: none */
    void *progress_user;
    tenon_error_fn error;             /* NULL: none */
    void *error_user;
} tenon_cx_options;

TENON_API TENON_MUST_USE tenon_status tenon_cx_create(const tenon_cx_options *options, tenon_cx **out); /* options may be NULL */
TENON_API void tenon_cx_destroy(tenon_cx **cx);
/* Message of the last failure on this cx: names the node, tensor, file or flag and says what to do. "" if none. */
TENON_API const char *tenon_cx_message(const tenon_cx *cx);
TENON_API const char *tenon_status_name(tenon_status status); /* "invalid", ... */
TENON_API const char *tenon_version(void);                    /* "0.1.0" */
TENON_API const char *tenon_dtype_name(tenon_dtype dtype);    /* "f32" */
TENON_API size_t tenon_dtype_bits(tenon_dtype dtype);         /* storage bits of an element; 0: no plain storage */

/* ---- network ---- */
typedef struct tenon_network tenon_network;

typedef struct tenon_read_options {
    const char *base_path; /* for tenon_network_read: file the bytes came from, so that external data is found; may be NULL */
    bool keep_nodes;       /* do not run the rewriting passes (for inspection) */
} tenon_read_options;

/* Reads ONNX. The file is mapped; weights are not copied. The network owns the mapping. */
TENON_API TENON_MUST_USE tenon_status tenon_network_read_file(tenon_cx *cx, const char *path, const tenon_read_options *options,
                                                              tenon_network **out);
/* `data` is borrowed until the network is destroyed. */
TENON_API TENON_MUST_USE tenon_status tenon_network_read(tenon_cx *cx, const void *data, size_t bytes,
                                                         const tenon_read_options *options, tenon_network **out);
TENON_API void tenon_network_destroy(tenon_network **network);

typedef enum { TENON_INPUT, TENON_OUTPUT } tenon_io;
typedef struct tenon_binding_info {
    const char *name;
    tenon_io io;
    tenon_dtype dtype;
    int rank;
    int64_t dim[TENON_MAX_RANK]; /* -1: dynamic */
    const char *dim_name[TENON_MAX_RANK]; /* symbol or expression of a dynamic dimension, else NULL */
    bool by_data;            /* of an engine: an output whose size only a run tells (tenon_context_output, or an output allocator) */
    bool on_host;            /* of an engine: its memory is host memory; else device memory */
} tenon_binding_info;        /* all are dense row-major, one element after the other, without vectors of elements */
TENON_API size_t tenon_network_binding_count(const tenon_network *network);
TENON_API TENON_MUST_USE tenon_status tenon_network_binding(tenon_cx *cx, const tenon_network *network, size_t index,
                                                            tenon_binding_info *out);
/* The network as Tenon's text, after the passes when `optimized`. Freed by tenon_text_free. */
TENON_API TENON_MUST_USE tenon_status tenon_network_text(tenon_cx *cx, tenon_network *network, bool optimized, char **out);
TENON_API void tenon_text_free(tenon_cx *cx, char **text);

/* ---- network by adding nodes ----
   An empty network, or one that was read, takes inputs, constants and nodes one by one. A node is typed when it is added: what
   does not fit is TENON_INVALID or TENON_UNSUPPORTED with a message that names the node, what is wrong and what is allowed, and
   the network is as it was before the call. What is built thus goes the same way as a model that was read.

       tenon_network *network;   tenon_network_create(cx, NULL, &network);
       tenon_value *x, *w, *y;   tenon_network_add_input(cx, network, "x", TENON_F32, 2, (int64_t[]){-1, 64}, NULL, &x);
       tenon_network_add_constant(cx, network, &(tenon_host_tensor){"w", TENON_F32, 2, {64, 10}, weights}, TENON_COPY, &w);
       tenon_network_add_node(cx, network, &(tenon_node_desc){.op = "MatMul", .input = (tenon_value *[]){x, w}, .input_count = 2,
                                                              .output_count = 1}, &y);
       tenon_network_mark_output(cx, network, y, "y");

   A network may not be changed by one thread while another uses it. */
typedef struct tenon_value tenon_value; /* a tensor of a network: an input, a constant or a node's result; lives as long as it */

/* A tensor in host memory, dense row-major. TENON_STRING: data is an array of zero-terminated texts (const char *). */
typedef struct tenon_host_tensor {
    const char *name;
    tenon_dtype dtype;
    int rank;
    int64_t dim[TENON_MAX_RANK];
    void *data;
} tenon_host_tensor;

typedef struct tenon_network_options {
    const char *name;      /* NULL: none */
    int opset;             /* of ONNX's operators, 7 to the newest; 0: the newest that this version knows */
} tenon_network_options;
TENON_API TENON_MUST_USE tenon_status tenon_network_create(tenon_cx *cx, const tenon_network_options *options,
                                                           tenon_network **out);

/* dim: `rank` numbers, -1 where the size is not known yet. dim_name: NULL, or `rank` names (NULL entries: none) of those: the same
   name is the same size, and an expression of names that were given before ("2*seq+1") follows from them. Without a name every
   such axis varies by itself. In a body (below) an unnamed one is known only at run time. */
TENON_API TENON_MUST_USE tenon_status tenon_network_add_input(tenon_cx *cx, tenon_network *network, const char *name,
                                                              tenon_dtype dtype, int rank, const int64_t *dim,
                                                              const char *const *dim_name, tenon_value **out);
typedef enum {
    TENON_COPY,            /* the data is copied before the call returns */
    TENON_BORROW,          /* the data is aligned to its element, and stays and does not change until the network is destroyed */
} tenon_ownership;
/* tensor->name NULL: one is made. A named constant can be replaced in engines built refittable (tenon_engine_set_weight). */
TENON_API TENON_MUST_USE tenon_status tenon_network_add_constant(tenon_cx *cx, tenon_network *network,
                                                                 const tenon_host_tensor *tensor, tenon_ownership ownership,
                                                                 tenon_value **out);

typedef enum {
    TENON_ATTRIBUTE_INT, TENON_ATTRIBUTE_FLOAT, TENON_ATTRIBUTE_TEXT, TENON_ATTRIBUTE_INTS, TENON_ATTRIBUTE_FLOATS,
    TENON_ATTRIBUTE_TEXTS,
    TENON_ATTRIBUTE_DTYPE, /* i is a tenon_dtype ("to" of Cast) */
    TENON_ATTRIBUTE_TENSOR,/* copied */
    TENON_ATTRIBUTE_BODY,  /* body of an If, Loop, Scan, ... */
} tenon_attribute_kind;
/* Copied, but for the body. */
typedef struct tenon_attribute {
    const char *name;
    tenon_attribute_kind kind;
    int64_t i;
    double f;
    const char *text;
    size_t count;                    /* of the lists */
    const int64_t *ints;
    const double *floats;
    const char *const *texts;
    const tenon_host_tensor *tensor;
    tenon_network *body;
} tenon_attribute;
typedef struct tenon_node_desc {
    const char *op;                  /* of ONNX ("Conv", "com.microsoft.Gelu") or of Tenon's table ("rms_norm", `tenon list ops`) */
    const char *name;                /* for messages, layer names and results without a name; NULL: one is made */
    tenon_value *const *input;       /* of this network, in a body of those around it too; NULL entries: left out */
    size_t input_count;
    const tenon_attribute *attribute;
    size_t attribute_count;
    const char *const *output_name;  /* NULL, or one a result; NULL entries: made of the node's name; "": it is not wanted */
    size_t output_count;
} tenon_node_desc;
/* out: output_count handles; NULL for a result that is not wanted. It may be the array of the inputs. */
TENON_API TENON_MUST_USE tenon_status tenon_network_add_node(tenon_cx *cx, tenon_network *network, const tenon_node_desc *node,
                                                             tenon_value **out);
/* The next output of the network. name NULL: it keeps its own. An input, a constant, or what is an output already is copied by an
   identity node, so *out (may be NULL) is the handle of what is given. */
TENON_API TENON_MUST_USE tenon_status tenon_network_mark_output(tenon_cx *cx, tenon_network *network, tenon_value *value,
                                                                const char *name, tenon_value **out);
/* It is no output any more. What only it needs is not computed. */
TENON_API TENON_MUST_USE tenon_status tenon_network_unmark_output(tenon_cx *cx, tenon_network *network, tenon_value *value);

/* The body of a control-flow node, filled like a network: its inputs and outputs are those that ONNX lays down for the node (Loop:
   turn, condition, states; condition, states, what is collected). Its nodes may take values of the networks around it. It is given
   to a node of `outer` as an attribute, which types it again with what the node hands in; after that it cannot be changed. It
   belongs to `outer` and goes with it; tenon_network_destroy only clears the pointer. */
TENON_API TENON_MUST_USE tenon_status tenon_network_create_body(tenon_cx *cx, tenon_network *outer, const char *name,
                                                                tenon_network **out);

typedef struct tenon_value_info {
    const char *name;
    tenon_dtype dtype;
    int rank;                             /* -1: not known before it runs */
    int64_t dim[TENON_MAX_RANK];          /* -1: dynamic */
    const char *dim_name[TENON_MAX_RANK]; /* symbol or expression of a dynamic dimension, else NULL */
    bool is_input, is_output, is_constant;
    const void *data;                     /* of a constant, dense row-major, else NULL */
} tenon_value_info;
TENON_API TENON_MUST_USE tenon_status tenon_network_value_info(tenon_cx *cx, tenon_network *network, const tenon_value *value,
                                                               tenon_value_info *out);
/* By its name; *out NULL and TENON_INVALID: there is none. */
TENON_API TENON_MUST_USE tenon_status tenon_network_find_value(tenon_cx *cx, tenon_network *network, const char *name,
                                                               tenon_value **out);
typedef struct tenon_node_info {
    const char *op;                  /* Tenon's canonical operator: a node of ONNX may have become several */
    const char *name;
    tenon_value *const *input;       /* NULL entries: left out */
    size_t input_count;
    tenon_value *const *output;      /* NULL entries: not wanted */
    size_t output_count;
} tenon_node_info;
TENON_API size_t tenon_network_node_count(const tenon_network *network);
TENON_API TENON_MUST_USE tenon_status tenon_network_node_info(tenon_cx *cx, const tenon_network *network, size_t index,
                                                              tenon_node_info *out);

/* ---- configuration ---- */
typedef struct tenon_config tenon_config;
typedef struct tenon_timing_cache tenon_timing_cache;

/* Where weights and activations of a device lie. alloc: device memory of the engine's device (on the CPU host memory), aligned to
   `alignment`, which is a power of two; NULL: there is none, and the call in progress gives TENON_NOMEM. free: p is not NULL, and
   nothing on the device uses it any more. Called on the thread of the call that needs or gives up the memory, which for an
   engine's weights is whichever ends its last context. The memory that a build measures tactics in is not taken from it, nor
   are small blocks of the driver's own. Weights of CPU engines are read where the engine's file is mapped. */
typedef struct tenon_device_allocator {
    void *(*alloc)(void *user, size_t bytes, size_t alignment);
    void (*free)(void *user, void *p);
    void *user;
} tenon_device_allocator;

TENON_API TENON_MUST_USE tenon_status tenon_config_create(tenon_cx *cx, tenon_config **out);
TENON_API void tenon_config_destroy(tenon_config **config);
/* "cpu", "cuda", "null" or "auto", the default: the GPU if there are one, its driver and NVRTC, else the CPU, and the log says why.
   index of the device.
   "cuda:sm_75", _80, _86, _89, _90, _100 or _120 (index 0): for a GPU that is not here. Nothing is timed then; the engine can be
   saved and inspected, and runs where such a GPU is. TENON_CUDA_OFFLINE=90 in the environment makes "cuda" mean that. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_device(tenon_config *config, const char *backend, int index);
/* CPU; 0: all usable cores. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_threads(tenon_config *config, int threads);
/* Limit of a step's workspace; SIZE_MAX: none. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_workspace(tenon_config *config, size_t bytes);
/* 0 no timing .. 5 most; default 3. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_optimization_level(tenon_config *config, int level);
/* False: cost model only, plans are reproducible. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_timing(tenon_config *config, bool timed);
/* Borrowed until tenon_build returns; NULL: none. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_timing_cache(tenon_config *config, tenon_timing_cache *cache);
/* Keep weight programs so that weights can be replaced. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_refit(tenon_config *config, bool refittable);
/* GPUs: f32 products may round their operands to TF32 (8 bits of exponent, 10 of mantissa) where that is faster; sums stay f32.
   Default true, as in TensorRT and onnxruntime. Nothing changes on a CPU. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_tf32(tenon_config *config, bool permitted);
/* True: TENON_UNSUPPORTED, with the reasons, where a step has no tactic of the device and would run on the slow reference (for a
   GPU: on the host, between copies, by a tactic of the CPU or the reference). Else that is logged, counted and listed by
   tenon_engine_inspect. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_strict(tenon_config *config, bool strict);
/* Of the engine that tenon_build gives, and of its contexts; copied. NULL: the device's own. */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_device_allocator(tenon_config *config,
                                                                        const tenon_device_allocator *allocator);
/* Profiles. A profile fixes a range for each dynamic input dimension. Returns its index in *out. */
TENON_API TENON_MUST_USE tenon_status tenon_config_add_profile(tenon_config *config, int *out);
/* dims: `rank` values each. Inputs that are not named keep their declared dims (dynamic ones: batch-like 1). */
TENON_API TENON_MUST_USE tenon_status tenon_config_set_shape(tenon_config *config, int profile, const char *input, int rank,
                                                             const int64_t *min, const int64_t *opt, const int64_t *max);
/* What is set. */
typedef struct tenon_config_info {
    const char *backend;     /* as tenon_config_set_device takes it, "cuda:sm_90" too; until the next such call */
    int device, threads, optimization_level, profile_count;
    size_t workspace_bytes;
    bool timed, refit, tf32, strict;
} tenon_config_info;
TENON_API TENON_MUST_USE tenon_status tenon_config_describe(tenon_config *config, tenon_config_info *out);
/* The range of an input in a profile; TENON_INVALID: none was set. Arrays of TENON_MAX_RANK. */
TENON_API TENON_MUST_USE tenon_status tenon_config_shape(tenon_config *config, int profile, const char *input, int *rank,
                                                         int64_t *min, int64_t *opt, int64_t *max);
TENON_API const char *tenon_config_message(const tenon_config *config); /* of the last failed tenon_config_set/add call */

/* ---- timing cache ---- */
/* data NULL: empty. */
TENON_API TENON_MUST_USE tenon_status tenon_timing_cache_create(tenon_cx *cx, const void *data, size_t bytes,
                                                                tenon_timing_cache **out);
TENON_API void tenon_timing_cache_destroy(tenon_timing_cache **cache);
/* A missing file gives an empty cache. */
TENON_API TENON_MUST_USE tenon_status tenon_timing_cache_load(tenon_cx *cx, const char *path, tenon_timing_cache **out);
TENON_API TENON_MUST_USE tenon_status tenon_timing_cache_save(tenon_cx *cx, tenon_timing_cache *cache, const char *path);
TENON_API size_t tenon_timing_cache_count(const tenon_timing_cache *cache);

/* ---- engine ---- */
typedef struct tenon_engine tenon_engine;

TENON_API TENON_MUST_USE tenon_status tenon_build(tenon_cx *cx, tenon_network *network, const tenon_config *config,
                                                  tenon_engine **out);
TENON_API TENON_MUST_USE tenon_status tenon_engine_save(tenon_cx *cx, const tenon_engine *engine, const char *path);
/* The file image; borrowed from the engine. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_data(tenon_cx *cx, const tenon_engine *engine, const void **data,
                                                        size_t *bytes);

typedef struct tenon_load_options {
    int threads;          /* CPU: 0 = as the engine was built */
    int device_index;     /* below 0: open an engine for a GPU that is not here, to inspect it: -90 for sm_90 */
    const tenon_device_allocator *device_allocator; /* of the engine and its contexts; copied. NULL: the device's own */
} tenon_load_options;
/* Maps the file; weights stay in the page cache, shared between processes. options may be NULL. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_load(tenon_cx *cx, const char *path, const tenon_load_options *options,
                                                        tenon_engine **out);
/* From wherever the bytes come, in pieces. read: fills up to `bytes` bytes from where the last call ended and returns how many, 0 at the
   end, below 0 when it failed. seek may be NULL; else it moves to `offset` from where the engine begins and returns 0, or not 0
   when it failed; with it the length that the engine claims is tried before memory is taken for it, without it memory grows as
   bytes come. Reads not a byte behind the engine. */
typedef struct tenon_reader {
    int64_t (*read)(void *user, void *dst, size_t bytes);
    int (*seek)(void *user, uint64_t offset);
    void *user;
} tenon_reader;
TENON_API TENON_MUST_USE tenon_status tenon_engine_load_reader(tenon_cx *cx, const tenon_reader *reader,
                                                               const tenon_load_options *options, tenon_engine **out);
/* To wherever the bytes go, in pieces of at most 16 MiB. Returns how many of `bytes` it took, at least 1, or below 0: it failed. */
typedef int64_t (*tenon_write_fn)(void *user, const void *src, size_t bytes);
TENON_API TENON_MUST_USE tenon_status tenon_engine_save_writer(tenon_cx *cx, const tenon_engine *engine, tenon_write_fn write,
                                                               void *user);
/* Copies `data`. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_load_memory(tenon_cx *cx, const void *data, size_t bytes,
                                                               const tenon_load_options *options, tenon_engine **out);
TENON_API void tenon_engine_destroy(tenon_engine **engine); /* contexts keep what they need alive */
TENON_API size_t tenon_engine_binding_count(const tenon_engine *engine);
TENON_API TENON_MUST_USE tenon_status tenon_engine_binding(tenon_cx *cx, const tenon_engine *engine, size_t index,
                                                           tenon_binding_info *out);
/* Whether the output may be given the very address of the input, so that it replaces it: the plan reads all of the input before it
   writes the output, or element by element in one step. A run in which an output overlaps an input or another output in any other
   way is refused: TENON_INVALID with the step that would read what is gone. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_alias(tenon_cx *cx, const tenon_engine *engine, int profile, const char *input,
                                                         const char *output, bool *out);
TENON_API int tenon_engine_profile_count(const tenon_engine *engine);
TENON_API TENON_MUST_USE tenon_status tenon_engine_profile_shape(tenon_cx *cx, const tenon_engine *engine, int profile,
                                                                 const char *input, int64_t *min, int64_t *opt, int64_t *max);
enum { /* who made the code of an engine's steps: bits */
    TENON_SOURCE_OWN = 1, TENON_SOURCE_REFERENCE = 2, TENON_SOURCE_CUBLASLT = 4, TENON_SOURCE_CUDNN = 8,
};
typedef struct tenon_engine_info {
    const char *version;     /* of Tenon, that built it */
    const char *backend;     /* "cpu", ... */
    const char *built_on;    /* device, libraries and instruction set that it depends on; other devices refuse it where it matters */
    int threads;             /* CPU: that it was planned for */
    bool refittable;
    unsigned sources;        /* TENON_SOURCE_* */
    int profile_count;
    size_t binding_count, file_bytes, weight_bytes;
} tenon_engine_info;
TENON_API TENON_MUST_USE tenon_status tenon_engine_describe(tenon_cx *cx, const tenon_engine *engine, tenon_engine_info *out);
/* A layer is a step of a profile's plan: one or more nodes of the network, or a copy between them. */
typedef struct tenon_layer_info {
    const char *name;        /* of the node that does the work */
    const char *origin;      /* of all nodes that it stands for */
    const char *problem;     /* what it computes, as text; of a graph step the graph */
    const char *tactic;      /* "" for a graph step */
    double seconds;          /* as timed or estimated at build */
    double flops;            /* at the profile's optimum */
    size_t weight_bytes, workspace_bytes;
    bool timed, conversion, reference, synchronises;
} tenon_layer_info;
TENON_API size_t tenon_engine_layer_count(const tenon_engine *engine, int profile);
TENON_API TENON_MUST_USE tenon_status tenon_engine_layer(tenon_cx *cx, const tenon_engine *engine, int profile, size_t index,
                                                         tenon_layer_info *out);
/* One layer as tenon_engine_inspect shows it, with its operands. Freed by tenon_text_free. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_layer_inspect(tenon_cx *cx, const tenon_engine *engine, int profile, size_t index,
                                                                 char **json);
/* Bytes that a binding takes at the profile's largest shapes; 0 for an output whose size only a run tells. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_binding_bytes(tenon_cx *cx, const tenon_engine *engine, int profile,
                                                                 const char *binding, size_t *out);
/* Layer information as JSON: steps with problem, tactic, formats, memory. Freed by tenon_text_free. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_inspect(tenon_cx *cx, const tenon_engine *engine, char **json);
/* The source weights that can be replaced: none unless the engine was built refittable. */
typedef struct tenon_weight_info {
    const char *name;
    tenon_dtype dtype;
    int rank;
    int64_t dim[TENON_MAX_RANK];
    size_t bytes;
    bool pending;            /* replaced since the last tenon_engine_refit */
} tenon_weight_info;
TENON_API size_t tenon_engine_weight_count(const tenon_engine *engine);
TENON_API TENON_MUST_USE tenon_status tenon_engine_weight_info(tenon_cx *cx, const tenon_engine *engine, size_t index,
                                                          tenon_weight_info *out);
/* Replaces one source weight (ONNX initializer name) of an engine built refittable; packed forms are evaluated again at
   tenon_engine_refit. No context of the engine may be running. */
TENON_API TENON_MUST_USE tenon_status tenon_engine_set_weight(tenon_cx *cx, tenon_engine *engine, const char *name,
                                                              tenon_dtype dtype, const void *data, size_t bytes);
TENON_API TENON_MUST_USE tenon_status tenon_engine_refit(tenon_cx *cx, tenon_engine *engine);

/* ---- context ---- */
typedef struct tenon_context tenon_context;
typedef struct tenon_stream tenon_stream;

typedef struct tenon_context_options {
    int profile;
    void *memory;         /* caller's device memory for activations, 64-byte aligned; NULL: allocated here */
    size_t memory_bytes;
    bool memory_later;    /* no memory for activations yet: tenon_context_set_memory gives it before the first run */
    const tenon_device_allocator *device_allocator; /* of this context; copied. NULL: the engine's */
} tenon_context_options;

TENON_API size_t tenon_engine_context_bytes(const tenon_engine *engine, int profile); /* activations at the profile's maximum */
TENON_API TENON_MUST_USE tenon_status tenon_context_create(tenon_cx *cx, tenon_engine *engine,
                                                           const tenon_context_options *options, tenon_context **out);
/* Another place for the activations, from the next run on: device memory, 64-byte aligned, of tenon_engine_context_bytes. What was
   there before is the caller's again when what was enqueued is done; what the context had allocated is freed. Contexts that never
   run at the same time may share it. TENON_INVALID for less memory than needed. */
TENON_API TENON_MUST_USE tenon_status tenon_context_set_memory(tenon_context *context, void *memory, size_t bytes);
TENON_API void tenon_context_destroy(tenon_context **context);
TENON_API const char *tenon_context_message(const tenon_context *context);
/* Shape of an input for the next runs; within the profile. Static inputs need none. */
TENON_API TENON_MUST_USE tenon_status tenon_context_set_shape(tenon_context *context, const char *input, int rank,
                                                              const int64_t *dim);
/* The first input whose shape is dynamic and not set yet; NULL: a run lacks none. */
TENON_API const char *tenon_context_unset_input(const tenon_context *context);
/* Shape of any binding for the shapes set; outputs whose size depends on data: dim -1 until run. */
TENON_API TENON_MUST_USE tenon_status tenon_context_shape(tenon_context *context, const char *binding, int *rank, int64_t *dim);
/* Address of a binding (device memory of the engine's device; host memory on the CPU); stays set until changed. Input data is
   dense row-major. bytes is checked against the shape. */
TENON_API TENON_MUST_USE tenon_status tenon_context_set_address(tenon_context *context, const char *binding, void *address,
                                                                size_t bytes);
/* Memory for an output as it is needed, in place of tenon_context_set_address. reallocate: `current` is what it gave last for this
   output, NULL at first; it gives device memory of at least `bytes` bytes, `current` where that is large enough, or NULL: the run
   fails with TENON_NOMEM. notify (may be NULL): the shape of what will lie, or lies, there. Where shapes say the size both are called by
   tenon_context_run or _enqueue before anything is computed; where data say it, at the run's end, on the thread that computes:
   that of the run, or the stream's own on the CPU. Of a context that is in a stream's queue on the CPU tenon_context_enqueue waits
   for the run before, so that each asks. The memory stays the callee's. */
typedef struct tenon_output_allocator {
    void *(*reallocate)(void *user, const char *output, void *current, size_t bytes, size_t alignment);
    void (*notify)(void *user, const char *output, int rank, const int64_t *dim);
    void *user;
} tenon_output_allocator;
/* Copied. NULL: none any more; the address that was given last stays set. */
TENON_API TENON_MUST_USE tenon_status tenon_context_set_output_allocator(tenon_context *context, const char *output,
                                                                         const tenon_output_allocator *allocator);
/* For outputs whose size depends on data: data pointer of the last run, owned by the context. */
TENON_API TENON_MUST_USE tenon_status tenon_context_output(tenon_context *context, const char *binding, const void **data,
                                                           size_t *bytes);
/* Runs on the caller's thread and returns when the outputs are there. Allocates nothing, save for steps whose values are not
   plain tensors or have sizes that depend on data. */
TENON_API TENON_MUST_USE tenon_status tenon_context_run(tenon_context *context);
/* Puts the run in the stream's queue and returns. An error inside is given by the next call on the stream. On the CPU a context
   may stand in one queue at a time, as often as there is room. On a GPU it is launched by the caller's thread: nothing is
   allocated and nothing waits, save that the second run with the same shapes and addresses makes a graph of it, and for steps
   that run on the host (tenon_engine_inspect says which). Shapes and addresses may be set again while a run is on its way; a run
   in another stream comes after it. */
TENON_API TENON_MUST_USE tenon_status tenon_context_enqueue(tenon_context *context, tenon_stream *stream);

/* An in-order queue: a thread on the CPU, a CUDA stream on a GPU. In the child of a fork it can only be destroyed; contexts and
   engines of the CPU work there. A GPU's stream may be used by all engines of that GPU. */
TENON_API TENON_MUST_USE tenon_status tenon_stream_create(tenon_cx *cx, const tenon_engine *engine, tenon_stream **out);
/* The caller's own queue, a cudaStream_t or CUstream of the device's primary context; NULL: the default stream. It must outlive
   the wrapper, whose destruction waits for it. Where the caller captures it into a graph, the run is recorded instead: enqueue
   once before with the same shapes, and keep the context while the graph is used, with these shapes whenever it is launched,
   since the graph reads sizes and activations in the context's memory. TENON_UNSUPPORTED on the CPU. */
TENON_API TENON_MUST_USE tenon_status tenon_stream_wrap(tenon_cx *cx, const tenon_engine *engine, void *native,
                                                        tenon_stream **out);
/* The handle on a GPU, to record events or launch kernels in it; NULL on the CPU. */
TENON_API void *tenon_stream_native(const tenon_stream *stream);
TENON_API TENON_MUST_USE tenon_status tenon_stream_synchronize(tenon_cx *cx, tenon_stream *stream);
TENON_API void tenon_stream_destroy(tenon_stream **stream);

/* Per-step times of the last profiled run, in the order of the steps. */
typedef void (*tenon_profile_fn)(void *user, size_t step, const char *layer, double seconds);
/* Runs once, timing each step. */
TENON_API TENON_MUST_USE tenon_status tenon_context_profile(tenon_context *context, tenon_profile_fn fn, void *user);

/* All runs of tenon_context_profile so far, as JSON: for each layer how many, total, least and most seconds. Freed by
   tenon_text_free. TENON_INVALID: there was none. */
TENON_API TENON_MUST_USE tenon_status tenon_context_profile_report(tenon_context *context, char **json);

/* ---- devices and tables ---- */
/* A device of this machine, and what this version of Tenon does faster on it than in f32. Asking opens it. TENON_DEVICE: it is not
   there, and why. */
typedef struct tenon_platform {
    char name[160];          /* "Intel(R) Xeon(R), 2 threads, avx512" */
    char fingerprint[192];   /* what engines and timing caches depend on */
    int threads;             /* CPU: of its team when all cores are used */
    int compute_capability;  /* GPU: 90 for 9.0; else 0 */
    size_t memory_bytes;
    bool fast_tf32, fast_f16, fast_bf16, fast_int8;
    int most_threads;        /* that tenon_config_set_threads takes */
    int dla_cores;           /* 0: Tenon uses none */
} tenon_platform;
TENON_API TENON_MUST_USE tenon_status tenon_platform_query(tenon_cx *cx, const char *backend, int index, tenon_platform *out);
/* what: "ops", "tactics", "passes", "devices"; JSON text, freed by tenon_text_free. */
TENON_API TENON_MUST_USE tenon_status tenon_list(tenon_cx *cx, const char *what, char **json);
/* Device memory for engines of that device. */
TENON_API TENON_MUST_USE tenon_status tenon_device_alloc(tenon_cx *cx, const tenon_engine *engine, size_t bytes, void **out);
TENON_API void tenon_device_free(tenon_cx *cx, const tenon_engine *engine, void *p);
TENON_API TENON_MUST_USE tenon_status tenon_device_upload(tenon_cx *cx, const tenon_engine *engine, void *dst, const void *src,
                                                          size_t bytes);
TENON_API TENON_MUST_USE tenon_status tenon_device_download(tenon_cx *cx, const tenon_engine *engine, void *dst,
                                                            const void *src, size_t bytes);

/* ---- experimental: may change in any release ---- */
/* Runs the network by the slow reference. Outputs are allocated, and freed by tenon_reference_free. */
TENON_API TENON_MUST_USE tenon_status tenon_network_run_reference(tenon_cx *cx, tenon_network *network,
                                             const tenon_host_tensor *input, size_t input_count, tenon_host_tensor *output,
                                              size_t output_count);
TENON_API void tenon_reference_free(tenon_cx *cx, tenon_host_tensor *output, size_t output_count);

/* What an engine's device does at most, measured here and now by the whole device (some tenths of a second): the rate of each kind
   of arithmetic, and of reading. A kind that the device has no faster means for has the rate of F32. TENON_UNSUPPORTED for a device
   without one (null), TENON_DEVICE where something is missing to measure it. */
typedef enum { TENON_ARITHMETIC_F32, TENON_ARITHMETIC_TF32, TENON_ARITHMETIC_HALF, TENON_ARITHMETIC_INT8, TENON_ARITHMETICS } tenon_arithmetic;
typedef struct tenon_peak {
    char device[160];                   /* "Intel(R) Xeon(R), 2 threads, avx512" */
    double flops[TENON_ARITHMETICS];    /* operations a second; a multiply-add is two */
    double memory_bandwidth, cache_bandwidth; /* bytes a second */
    size_t cache_bytes;                 /* what is read again from the caches if it is no more than this */
    double step_seconds;                /* about what a step costs that computes nothing; a model, not measured */
} tenon_peak;
TENON_API TENON_MUST_USE tenon_status tenon_engine_peak(tenon_cx *cx, const tenon_engine *engine, tenon_peak *out);
/* The device's name alone; borrowed from the engine. */
TENON_API const char *tenon_engine_device(const tenon_engine *engine);

/* What a step has to do for the shapes that are set, whichever tactic does it: each operand is read once, each result written once. */
typedef struct tenon_step_work {
    tenon_arithmetic arithmetic;
    double flops, weight_bytes, source_bytes, result_bytes; /* sources: but for weights */
} tenon_step_work;
/* One for each step of the context's profile, in the order of tenon_engine_inspect; `count` of them are there. Addresses must be set.
   Steps that the references evaluate as a graph have zeros. */
TENON_API TENON_MUST_USE tenon_status tenon_context_work(tenon_context *context, size_t count, tenon_step_work *out);

#ifdef __cplusplus
}
#endif
#endif
