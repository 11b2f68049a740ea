/* SPDX-License-Identifier: Apache-2.0 */
/* cuDNN's backend interface in our own declarations, and its fused convolutions as kernels of an engine: a convolution and the
   operations behind it become an operation graph, the heuristic names engines for it, and the plan that finalizes is kept as the
   text (JSON) from which cuDNN makes it again without choosing or compiling. */
#ifndef TENON_CUDA_CUDNN_H
#define TENON_CUDA_CUDNN_H

#include "cuda/libraries.h"

typedef struct tenon_dnn_handle_object *tenon_dnn_handle;
typedef void *tenon_dnn_descriptor;

/* Numbers of the library's interface. */
enum {
    TENON_DNN_F32 = 0,
    TENON_DNN_F16 = 2,
    TENON_DNN_BF16 = 9,
    /* kinds of descriptors */
    TENON_DNN_POINTWISE = 0,
    TENON_DNN_CONVOLUTION = 1,
    TENON_DNN_ENGINE = 2,
    TENON_DNN_CONFIG = 3,
    TENON_DNN_HEURISTIC = 4,
    TENON_DNN_PLAN = 5,
    TENON_DNN_CONVOLVE = 10,
    TENON_DNN_APPLY = 13,
    TENON_DNN_GRAPH = 15,
    TENON_DNN_PACK = 16,
    TENON_DNN_TENSOR = 17,
    /* types of attributes */
    TENON_DNN_T_HANDLE = 0,
    TENON_DNN_T_DTYPE = 1,
    TENON_DNN_T_BOOL = 2,
    TENON_DNN_T_I64 = 3,
    TENON_DNN_T_F32 = 4,
    TENON_DNN_T_F64 = 5,
    TENON_DNN_T_POINTER = 6,
    TENON_DNN_T_CONV_MODE = 7,
    TENON_DNN_T_HEURISTIC_MODE = 8,
    TENON_DNN_T_NAN = 10,
    TENON_DNN_T_NOTE = 11,
    TENON_DNN_T_POINTWISE_MODE = 14,
    TENON_DNN_T_DESCRIPTOR = 15,
    TENON_DNN_T_CHAR = 24,
    /* attributes */
    TENON_DNN_PW_MODE = 0,
    TENON_DNN_PW_TYPE = 1,
    TENON_DNN_PW_NAN = 2,
    TENON_DNN_PW_LOWER = 3,
    TENON_DNN_PW_UPPER = 4,
    TENON_DNN_PW_SLOPE = 5,
    TENON_DNN_PW_SWISH_BETA = 8,
    TENON_DNN_CONV_TYPE = 100,
    TENON_DNN_CONV_MODE = 101,
    TENON_DNN_CONV_DILATIONS = 102,
    TENON_DNN_CONV_STRIDES = 103,
    TENON_DNN_CONV_END = 104,
    TENON_DNN_CONV_BEGIN = 105,
    TENON_DNN_CONV_AXES = 106,
    TENON_DNN_HEURISTIC_MODE = 200,
    TENON_DNN_HEURISTIC_GRAPH = 201,
    TENON_DNN_HEURISTIC_RESULTS = 202,
    TENON_DNN_CONFIG_ENGINE = 300,
    TENON_DNN_PLAN_HANDLE = 400,
    TENON_DNN_PLAN_CONFIG = 401,
    TENON_DNN_PLAN_WORKSPACE = 402,
    TENON_DNN_PLAN_JSON = 405,
    TENON_DNN_CONVOLVE_ALPHA = 700,
    TENON_DNN_CONVOLVE_BETA = 701,
    TENON_DNN_CONVOLVE_CONV = 702,
    TENON_DNN_CONVOLVE_W = 703,
    TENON_DNN_CONVOLVE_X = 704,
    TENON_DNN_CONVOLVE_Y = 705,
    TENON_DNN_APPLY_POINTWISE = 750,
    TENON_DNN_APPLY_X = 751,
    TENON_DNN_APPLY_B = 752,
    TENON_DNN_APPLY_Y = 753,
    TENON_DNN_GRAPH_HANDLE = 800,
    TENON_DNN_GRAPH_OPS = 801,
    TENON_DNN_TENSOR_ALIGN = 900,
    TENON_DNN_TENSOR_TYPE = 901,
    TENON_DNN_TENSOR_DIMS = 902,
    TENON_DNN_TENSOR_STRIDES = 903,
    TENON_DNN_TENSOR_ID = 906,
    TENON_DNN_TENSOR_VIRTUAL = 907,
    TENON_DNN_PACK_IDS = 1000,
    TENON_DNN_PACK_POINTERS = 1001,
    TENON_DNN_PACK_WORKSPACE = 1003,
    TENON_DNN_ENGINE_NOTES = 1303,
    /* values */
    TENON_DNN_CROSS_CORRELATION = 1,
    TENON_DNN_FALLBACK = 2,
    TENON_DNN_MODE_A = 3,
    TENON_DNN_PROPAGATE_NAN = 1,
    TENON_DNN_NOTE_TENSOR_CORE = 0,
    TENON_DNN_NOTE_DOWN_CONVERTS = 1,
    TENON_DNN_NOTE_NONDETERMINISTIC = 4,
    TENON_DNN_ADD = 0,
    TENON_DNN_MUL = 1,
    TENON_DNN_MIN = 2,
    TENON_DNN_MAX = 3,
    TENON_DNN_SUB = 9,
    TENON_DNN_RELU = 100,
    TENON_DNN_TANH = 101,
    TENON_DNN_SIGMOID = 102,
    TENON_DNN_GELU = 104,
    TENON_DNN_SWISH = 106,
    TENON_DNN_GELU_TANH = 107,
    TENON_DNN_FIRST_NOT_SUPPORTED = 3000,
    TENON_DNN_LAST_NOT_SUPPORTED = 3999,
    TENON_DNN_NO_MEMORY = 4003,
};

#define SYMBOL(returns, name, arguments, need) returns(*name) arguments;
typedef struct tenon_cudnn {
    tenon_dl dl;
    int version; /* 91400 */
#include "cuda/sym/cudnn.def"
} tenon_cudnn;
#undef SYMBOL

extern const tenon_cuda_library tenon_cudnn_library;
/* The library, opened at the first call of the process and never closed. NULL: it is not there, with the reason. */
const tenon_cudnn *tenon_cudnn_open(tenon_cx *cx, const char **missing);
void tenon_dnn_context_destroy(tenon_cuda_libraries *libraries);
tenon_status tenon_dnn_check(tenon_cx *cx, const tenon_cudnn *dnn, int error, const char *what);
/* The device's handle, made at the first call. Used with libraries->turn held: a handle belongs to one thread at a time. */
tenon_status tenon_dnn_handle_of(tenon_cx *cx, tenon_cuda_libraries *libraries, const tenon_cudnn **dnn,
                                 tenon_dnn_handle *handle);

/* A convolution and a chain of operations behind it, all numbers: what the text of a "kernel" holds. Channels-last, four axes. */
enum {
    TENON_DNN_OPERATIONS = 6,
    TENON_DNN_X = 1,
    TENON_DNN_W,
    TENON_DNN_Y,
    TENON_DNN_OPERANDS
}; /* ids of tensors; operand i has OPERANDS + i */
typedef struct tenon_dnn_operation {
    int64_t mode;
    int64_t operand;      /* 0: none; 1: one value a channel; 2: of the result's shape */
    int64_t lower, upper; /* bits of floats, for relu; upper 0: none */
} tenon_dnn_operation;
typedef struct tenon_dnn_convolution {
    int64_t type, tf32;
    int64_t x[4], w[4], y[4]; /* n c h w; k c/group r s */
    int64_t stride[2], dilation[2], begin[2], end[2];
    int64_t operation_count;
    tenon_dnn_operation operation[TENON_DNN_OPERATIONS];
    int64_t rank, workspace_bytes; /* the rank-th plan that finalizes, within the workspace */
} tenon_dnn_convolution;

typedef struct tenon_dnn_plan {
    tenon_cuda_loaded head;
    tenon_cuda_libraries *libraries;
    const tenon_cudnn *dnn;
    tenon_dnn_handle handle;
    tenon_dnn_descriptor descriptor;
    size_t workspace_bytes;
} tenon_dnn_plan;

/* Enqueues a plan with these tensors. The library keeps books of its own while it does. */
tenon_status tenon_dnn_execute(tenon_cx *cx, const tenon_dnn_plan *plan, int count, const int64_t *id, void *const *address,
                               void *workspace, tenon_cu_stream stream);

/* What is known of a convolution's configurations: the first `tried` of the heuristic's list were, those in config[] do it. */
enum { TENON_DNN_RANKS = 8 };
typedef struct tenon_dnn_memo {
    struct tenon_dnn_memo *next;
    tenon_dnn_convolution convolution; /* rank 0 */
    int tried, good;
    uint8_t config[TENON_DNN_RANKS];
} tenon_dnn_memo;
struct tenon_dnn_context {
    tenon_dnn_handle handle;
    tenon_dnn_memo *memo;
};

/* cudnn_graph.c: the wanted plan, which the caller destroys. With libraries->turn held. */
tenon_status tenon_dnn_make_plan(tenon_cx *cx, tenon_cuda_libraries *libraries, const tenon_cudnn *dnn,
                                 const tenon_dnn_convolution *c, tenon_dnn_descriptor *out);

#endif
