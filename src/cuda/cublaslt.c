/* SPDX-License-Identifier: Apache-2.0 */
/* cuBLASLt: opening it, asking its heuristic for an algorithm, and algorithms as images of an engine. An algorithm is 64 bytes
   that hold for the library's version; its handle may be used by several threads at once. */
#include "cuda/cublaslt.h"

#include "cuda/library_note.h"

#include <stdio.h>
#include <string.h>

#define MAGIC "TENONLT1"
enum { WANTED = 8, NUMBERS = sizeof(tenon_lt_product) / sizeof(int64_t) };

struct tenon_lt_context {
    tenon_lt_handle handle;
};

/* ---- the library ---- */
#define REQUIRED true
#define OPTIONAL false
#define SYMBOL(returns, name, arguments, need) {#name, offsetof(tenon_cublaslt, name), need},
static const tenon_cuda_symbol symbols[] = {
#include "cuda/sym/cublaslt.def"
};
#undef SYMBOL

static const char *const file[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
static tenon_cublaslt opened;

static int ask_version(void) { return (int)opened.cublasLtGetVersion(); }

static tenon_cuda_lazy lazy = {
    .file = file, .pip_pattern = "libcublasLt.so.1[0-9]",
    .advice = "cuBLASLt does not open: `pip install nvidia-cublas`, or name the toolkit's folder in TENON_CUDA_PATH",
    .symbols = symbols, .symbol_count = TENON_COUNTOF(symbols), .functions = &opened, .dl = &opened.dl, .version = &opened.version,
    .ask_version = ask_version, .lock = PTHREAD_MUTEX_INITIALIZER,
};

const tenon_cublaslt *tenon_cublaslt_open(tenon_cx *cx, const char **missing) { return tenon_cuda_lazy_open(cx, &lazy, missing) ? &opened : NULL; }
static int version(tenon_cx *cx, const char **missing) { return tenon_cuda_lazy_version(cx, &lazy, missing); }

tenon_status tenon_lt_check(tenon_cx *cx, const tenon_cublaslt *lt, int error, const char *what)
{
    if (TENON_LIKELY(error == 0)) return TENON_OK;
    const char *text = lt->cublasLtGetStatusString ? lt->cublasLtGetStatusString(error) : "";
    return TENON_FAIL(cx, error == TENON_LT_NOT_SUPPORTED ? TENON_UNSUPPORTED : TENON_DEVICE, "cuBLASLt: %s: %s (status %d)",
                      what, text, error);
}

static tenon_status context_of(tenon_cx *cx, tenon_cuda_libraries *l, const tenon_cublaslt **lt, tenon_lt_handle *handle)
{
    const char *missing;
    tenon_status status = TENON_OK;
    *lt = tenon_cublaslt_open(cx, &missing);
    if (!*lt) return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s", missing);
    pthread_mutex_lock(&l->turn);
    if (!l->lt) {
        tenon_lt_handle made = NULL;
        if (tenon_lt_check(cx, *lt, (*lt)->cublasLtCreate(&made), "no handle") != TENON_OK) /* others can do what it would have */
            status = tenon_fail_in(cx, TENON_UNSUPPORTED, "the library does not start here: ");
        if (status == TENON_OK && !(l->lt = tenon_alloc(&l->cx, sizeof *l->lt))) {
            (void)(*lt)->cublasLtDestroy(made);
            status = TENON_FAIL(cx, TENON_NOMEM, "cuBLASLt: no memory for a handle");
        }
        if (status == TENON_OK) l->lt->handle = made;
    }
    if (status == TENON_OK) *handle = l->lt->handle;
    pthread_mutex_unlock(&l->turn);
    return status;
}

void tenon_lt_context_destroy(tenon_cuda_libraries *l)
{
    if (!l->lt) return;
    (void)opened.cublasLtDestroy(l->lt->handle);
    tenon_free(&l->cx, l->lt);
    l->lt = NULL;
}

/* ---- descriptors ---- */
static int layout(const tenon_cublaslt *lt, tenon_lt_layout *out, int64_t type, int64_t rows, int64_t columns, int64_t ld,
                  int64_t batch, int64_t step)
{
    const int32_t count = (int32_t)batch;
    int error = lt->cublasLtMatrixLayoutInit_internal(out, sizeof *out, (int)type, (uint64_t)rows, (uint64_t)columns, ld);
    if (!error) error = lt->cublasLtMatrixLayoutSetAttribute(out, TENON_LT_BATCH_COUNT, &count, sizeof count);
    if (!error) error = lt->cublasLtMatrixLayoutSetAttribute(out, TENON_LT_BATCH_STRIDE, &step, sizeof step);
    return error;
}

tenon_status tenon_lt_describe(tenon_cx *cx, const tenon_cublaslt *lt, const tenon_lt_product *p, const void *bias,
                               tenon_lt_descriptors *out)
{
    const int32_t transpose_a = (int32_t)p->transpose_a, transpose_b = (int32_t)p->transpose_b;
    const int epilogue = (int)p->epilogue;
    tenon_lt_operation *o = &out->operation;
    memset(out, 0, sizeof *out);
    int error = lt->cublasLtMatmulDescInit_internal(o, sizeof *o, (int)p->compute, TENON_LT_F32);
    if (!error) error = lt->cublasLtMatmulDescSetAttribute(o, TENON_LT_TRANSPOSE_A, &transpose_a, sizeof transpose_a);
    if (!error) error = lt->cublasLtMatmulDescSetAttribute(o, TENON_LT_TRANSPOSE_B, &transpose_b, sizeof transpose_b);
    if (!error) error = lt->cublasLtMatmulDescSetAttribute(o, TENON_LT_EPILOGUE, &epilogue, sizeof epilogue);
    if (!error && bias) error = lt->cublasLtMatmulDescSetAttribute(o, TENON_LT_BIAS_POINTER, &bias, sizeof bias);
    if (!error)
        error = layout(lt, &out->a, p->type, transpose_a ? p->k : p->m, transpose_a ? p->m : p->k, p->ld_a, p->batch, p->step_a);
    if (!error)
        error = layout(lt, &out->b, p->type, transpose_b ? p->n : p->k, transpose_b ? p->k : p->n, p->ld_b, p->batch, p->step_b);
    if (!error) error = layout(lt, &out->c, p->type, p->m, p->n, p->ld_c, p->batch, p->step_c);
    if (!error) error = layout(lt, &out->d, p->type, p->m, p->n, p->ld_d, p->batch, p->step_d);
    return tenon_lt_check(cx, lt, error, "describing a product");
}

/* ---- images ---- */
/* The wanted algorithm, or the last one that the heuristic knows. */
tenon_status tenon_lt_choose(tenon_cx *cx, const tenon_cublaslt *lt, tenon_lt_handle handle, const tenon_lt_product *p,
                             uint32_t align, tenon_lt_image *image, int slot)
{
    tenon_lt_descriptors d;
    tenon_lt_preference preference;
    tenon_lt_heuristic result[WANTED];
    const size_t most = (size_t)p->workspace_bytes;
    const uint32_t reductions = TENON_LT_REDUCE_IN_COMPUTE_TYPE;
    int count = 0;
    TENON_TRY(tenon_lt_describe(cx, lt, p, NULL, &d));
    memset(&preference, 0, sizeof preference);
    int error = lt->cublasLtMatmulPreferenceInit_internal(&preference, sizeof preference);
    if (!error) error = lt->cublasLtMatmulPreferenceSetAttribute(&preference, TENON_LT_MOST_WORKSPACE, &most, sizeof most);
    if (!error)
        error = lt->cublasLtMatmulPreferenceSetAttribute(&preference, TENON_LT_REDUCTIONS, &reductions, sizeof reductions);
    for (int i = 0; i < 4 && !error; i++)
        error = lt->cublasLtMatmulPreferenceSetAttribute(&preference, TENON_LT_ALIGN_A + i, &align, sizeof align);
    if (!error)
        error = lt->cublasLtMatmulAlgoGetHeuristic(handle, &d.operation, &d.a, &d.b, &d.c, &d.d, &preference, WANTED, result,
                                                   &count);
    TENON_TRY(tenon_lt_check(cx, lt, error, "no algorithm for a product"));
    int usable = 0;
    for (int i = 0; i < count; i++)
        if (result[i].state == 0 && result[i].workspace_bytes <= most) result[usable++] = result[i];
    if (!usable) return TENON_FAIL(cx, TENON_UNSUPPORTED, "cuBLASLt: no algorithm for a product");
    const tenon_lt_heuristic *r = &result[TENON_MIN((int)p->rank, usable - 1)];
    image->algorithm[slot] = r->algorithm;
    image->workspace_bytes[slot] = r->workspace_bytes;
    return TENON_OK;
}

static tenon_status compile(tenon_cx *cx, tenon_cuda_libraries *l, const char *text, tenon_buf *out)
{
    union {
        tenon_lt_product product;
        int64_t number[NUMBERS];
    } p;
    const tenon_cublaslt *lt;
    tenon_lt_handle handle;
    tenon_lt_image image;
    if (!tenon_cuda_numbers_parse(text, p.number, NUMBERS))
        return TENON_FAIL(cx, TENON_INTERNAL, "cuBLASLt: '%.64s' is no product", text);
    TENON_TRY(context_of(cx, l, &lt, &handle));
    memset(&image, 0, sizeof image);
    memcpy(image.magic, MAGIC, 8);
    image.version = (uint64_t)lt->version;
    TENON_TRY(tenon_lt_choose(cx, lt, handle, &p.product, 16, &image, 0));
    TENON_TRY(tenon_lt_choose(cx, lt, handle, &p.product, p.product.type == TENON_LT_F32 ? 4 : 2, &image, 1));
    tenon_buf_bytes(out, &image, sizeof image);
    return tenon_buf_status(out);
}

static tenon_status load(tenon_cx *cx, tenon_cuda_libraries *l, const void *image, size_t bytes, tenon_cuda_loaded **out)
{
    const tenon_cublaslt *lt;
    tenon_lt_handle handle;
    tenon_lt_image copy;
    *out = NULL;
    if (bytes != sizeof copy) return TENON_FAIL(cx, TENON_CORRUPT, "cuBLASLt: an algorithm of %zu bytes", bytes);
    memcpy(&copy, image, sizeof copy);
    TENON_TRY(context_of(cx, l, &lt, &handle));
    if (copy.version != (uint64_t)lt->version)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "engine was built with cuBLASLt %llu, this machine has %d: build it again here",
                          (unsigned long long)copy.version, lt->version);
    tenon_lt_loaded *loaded = tenon_alloc(&l->cx, sizeof *loaded);
    if (!loaded) return TENON_FAIL(cx, TENON_NOMEM, "cuBLASLt: no memory for an algorithm");
    *loaded = (tenon_lt_loaded){.head = {&tenon_cublaslt_library}, .lt = lt, .handle = handle, .image = copy};
    *out = &loaded->head;
    return TENON_OK;
}

static void unload(tenon_cuda_libraries *l, tenon_cuda_loaded *loaded) { tenon_free(&l->cx, loaded); }

const tenon_cuda_library tenon_cublaslt_library = {
    .name = "cuBLASLt", .entry = "cublaslt", .magic = MAGIC, .version = version, .compile = compile, .load = load, .unload = unload};
