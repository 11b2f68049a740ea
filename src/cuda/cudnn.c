/* SPDX-License-Identifier: Apache-2.0 */
/* cuDNN: opening it, a device's handle, plans as images of an engine, and running them. An image is a header and the plan's JSON:

       magic | version of cuDNN | workspace bytes | bytes of JSON | JSON                                                     */
#include "cuda/cudnn.h"

#include "cuda/library_note.h"

#include <stdio.h>
#include <string.h>

#define MAGIC "TENONDN1"
enum { NUMBERS = sizeof(tenon_dnn_convolution) / sizeof(int64_t) };

typedef struct header {
    char magic[8];
    uint64_t version, workspace_bytes, json_bytes;
} header;

/* ---- the library ---- */
#define REQUIRED true
#define OPTIONAL false
#define SYMBOL(returns, name, arguments, need) {#name, offsetof(tenon_cudnn, name), need},
static const tenon_cuda_symbol symbols[] = {
#include "cuda/sym/cudnn.def"
};
#undef SYMBOL

static const char *const file[] = {"libcudnn.so.9", NULL};
static tenon_cudnn opened;

static int ask_version(void) { return (int)opened.cudnnGetVersion(); }

static tenon_cuda_lazy lazy = {
    .file = file, .pip_pattern = "libcudnn.so.9",
    .advice = "cuDNN 9 does not open: `pip install nvidia-cudnn-cu13`, or name its folder in TENON_CUDA_PATH",
    .symbols = symbols, .symbol_count = TENON_COUNTOF(symbols), .functions = &opened, .dl = &opened.dl, .version = &opened.version,
    .ask_version = ask_version, .lock = PTHREAD_MUTEX_INITIALIZER,
};

const tenon_cudnn *tenon_cudnn_open(tenon_cx *cx, const char **missing) { return tenon_cuda_lazy_open(cx, &lazy, missing) ? &opened : NULL; }
static int version(tenon_cx *cx, const char **missing) { return tenon_cuda_lazy_version(cx, &lazy, missing); }

tenon_status tenon_dnn_check(tenon_cx *cx, const tenon_cudnn *dnn, int error, const char *what)
{
    char text[400] = "";
    if (TENON_LIKELY(error == 0)) return TENON_OK;
    if (dnn->cudnnGetLastErrorString) dnn->cudnnGetLastErrorString(text, sizeof text);
    const bool unsupported = error >= TENON_DNN_FIRST_NOT_SUPPORTED && error <= TENON_DNN_LAST_NOT_SUPPORTED;
    return TENON_FAIL(cx,
                      unsupported                    ? TENON_UNSUPPORTED
                      : error == TENON_DNN_NO_MEMORY ? TENON_NOMEM
                                                     : TENON_DEVICE,
                      "cuDNN: %s: %s %s", what, dnn->cudnnGetErrorString(error), text);
}

static tenon_status make_handle(tenon_cx *cx, tenon_cuda_libraries *l, const tenon_cudnn *dnn)
{
    tenon_dnn_handle made = NULL;
    if (tenon_dnn_check(cx, dnn, dnn->cudnnCreate(&made), "no handle") != TENON_OK) /* others can do what it would have done */
        return tenon_fail_in(cx, TENON_UNSUPPORTED, "the library does not start here: ");
    l->dnn = tenon_alloc(&l->cx, sizeof *l->dnn);
    if (!l->dnn) {
        (void)dnn->cudnnDestroy(made);
        return TENON_FAIL(cx, TENON_NOMEM, "cuDNN: no memory for a handle");
    }
    *l->dnn = (struct tenon_dnn_context){.handle = made};
    return TENON_OK;
}

tenon_status tenon_dnn_handle_of(tenon_cx *cx, tenon_cuda_libraries *l, const tenon_cudnn **dnn, tenon_dnn_handle *handle)
{
    const char *missing;
    *dnn = tenon_cudnn_open(cx, &missing);
    if (!*dnn) return TENON_FAIL(cx, TENON_UNSUPPORTED, "%s", missing);
    if (!l->dnn) TENON_TRY(make_handle(cx, l, *dnn));
    *handle = l->dnn->handle;
    return TENON_OK;
}

void tenon_dnn_context_destroy(tenon_cuda_libraries *l)
{
    if (!l->dnn) return;
    (void)opened.cudnnSetStream(l->dnn->handle, NULL); /* the last one may be gone */
    (void)opened.cudnnDestroy(l->dnn->handle);
    while (l->dnn->memo) {
        tenon_dnn_memo *memo = l->dnn->memo;
        l->dnn->memo = memo->next;
        tenon_free(&l->cx, memo);
    }
    tenon_free(&l->cx, l->dnn);
    l->dnn = NULL;
}

/* ---- images ---- */
static tenon_status store(tenon_cx *cx, const tenon_cudnn *dnn, tenon_dnn_descriptor plan, tenon_buf *out)
{
    header h = {.version = (uint64_t)dnn->version};
    int64_t workspace = 0, bytes = 0, count = 0;
    memcpy(h.magic, MAGIC, 8);
    TENON_TRY(tenon_dnn_check(
        cx, dnn, dnn->cudnnBackendGetAttribute(plan, TENON_DNN_PLAN_WORKSPACE, TENON_DNN_T_I64, 1, &count, &workspace),
        "workspace of a plan"));
    TENON_TRY(tenon_dnn_check(
        cx, dnn, dnn->cudnnBackendGetAttribute(plan, TENON_DNN_PLAN_JSON, TENON_DNN_T_CHAR, 0, &bytes, NULL), "text of a plan"));
    if (bytes <= 0) return TENON_FAIL(cx, TENON_INTERNAL, "cuDNN: a plan without text");
    h.workspace_bytes = (uint64_t)workspace;
    h.json_bytes = (uint64_t)bytes;
    tenon_buf_bytes(out, &h, sizeof h);
    const size_t at = out->length;
    tenon_buf_zeros(out, (size_t)bytes + 1);
    TENON_TRY(tenon_buf_status(out));
    return tenon_dnn_check(
        cx, dnn, dnn->cudnnBackendGetAttribute(plan, TENON_DNN_PLAN_JSON, TENON_DNN_T_CHAR, bytes, &count, out->data + at),
        "text of a plan");
}

static tenon_status compile(tenon_cx *cx, tenon_cuda_libraries *l, const char *text, tenon_buf *out)
{
    union {
        tenon_dnn_convolution convolution;
        int64_t number[NUMBERS];
    } c;
    const tenon_cudnn *dnn;
    tenon_dnn_handle handle;
    tenon_dnn_descriptor plan = NULL;
    if (!tenon_cuda_numbers_parse(text, c.number, NUMBERS))
        return TENON_FAIL(cx, TENON_INTERNAL, "cuDNN: '%.64s' is no convolution", text);
    pthread_mutex_lock(&l->turn);
    tenon_status status = tenon_dnn_handle_of(cx, l, &dnn, &handle);
    if (status == TENON_OK) status = tenon_dnn_make_plan(cx, l, dnn, &c.convolution, &plan);
    if (status == TENON_OK) status = store(cx, dnn, plan, out);
    if (plan) (void)dnn->cudnnBackendDestroyDescriptor(plan);
    pthread_mutex_unlock(&l->turn);
    return status;
}

/* What workspace it needs, the plan says: the header is only a file's word. */
static tenon_status restore(tenon_cx *cx, tenon_dnn_plan *p, const char *json, int64_t bytes)
{
    const tenon_cudnn *dnn = p->dnn;
    int64_t workspace = 0, count = 0;
    int error = dnn->cudnnBackendSetAttribute(p->descriptor, TENON_DNN_PLAN_HANDLE, TENON_DNN_T_HANDLE, 1, &p->handle);
    if (!error) error = dnn->cudnnBackendSetAttribute(p->descriptor, TENON_DNN_PLAN_JSON, TENON_DNN_T_CHAR, bytes, json);
    if (!error) error = dnn->cudnnBackendFinalize(p->descriptor);
    if (!error)
        error = dnn->cudnnBackendGetAttribute(p->descriptor, TENON_DNN_PLAN_WORKSPACE, TENON_DNN_T_I64, 1, &count, &workspace);
    TENON_TRY(tenon_dnn_check(cx, dnn, error, "the engine's plan does not load on this device"));
    if (workspace < 0) return TENON_FAIL(cx, TENON_CORRUPT, "cuDNN: a plan with a workspace of %lld bytes", (long long)workspace);
    p->workspace_bytes = (size_t)workspace;
    return TENON_OK;
}

static void unload(tenon_cuda_libraries *l, tenon_cuda_loaded *loaded)
{
    tenon_dnn_plan *p = (tenon_dnn_plan *)(void *)loaded;
    pthread_mutex_lock(&l->turn);
    if (p->descriptor) (void)p->dnn->cudnnBackendDestroyDescriptor(p->descriptor);
    pthread_mutex_unlock(&l->turn);
    tenon_free(&l->cx, p);
}

static tenon_status load_into(tenon_cx *cx, const header *h, const char *json, tenon_dnn_plan *p)
{
    TENON_TRY(tenon_dnn_handle_of(cx, p->libraries, &p->dnn, &p->handle));
    if (h->version != (uint64_t)p->dnn->version)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "engine was built with cuDNN %llu, this machine has %d: build it again here",
                          (unsigned long long)h->version, p->dnn->version);
    TENON_TRY(tenon_dnn_check(cx, p->dnn, p->dnn->cudnnBackendCreateDescriptor(TENON_DNN_PLAN, &p->descriptor), "a plan"));
    return restore(cx, p, json, (int64_t)h->json_bytes);
}

static tenon_status load(tenon_cx *cx, tenon_cuda_libraries *l, const void *image, size_t bytes, tenon_cuda_loaded **out)
{
    header h;
    *out = NULL;
    if (bytes <= sizeof h) return TENON_FAIL(cx, TENON_CORRUPT, "cuDNN: a plan of %zu bytes", bytes);
    memcpy(&h, image, sizeof h);
    const char *json = (const char *)image + sizeof h;
    if (h.json_bytes != bytes - sizeof h - 1 || json[h.json_bytes])
        return TENON_FAIL(cx, TENON_CORRUPT, "cuDNN: a plan whose text is damaged");
    tenon_dnn_plan *p = tenon_alloc_zero(&l->cx, sizeof *p);
    if (!p) return TENON_FAIL(cx, TENON_NOMEM, "cuDNN: no memory for a plan");
    p->head.library = &tenon_cudnn_library;
    p->libraries = l;
    pthread_mutex_lock(&l->turn);
    const tenon_status status = load_into(cx, &h, json, p);
    pthread_mutex_unlock(&l->turn);
    if (status != TENON_OK) {
        unload(l, &p->head);
        return status;
    }
    *out = &p->head;
    return TENON_OK;
}

const tenon_cuda_library tenon_cudnn_library = {
    .name = "cuDNN", .entry = "cudnn", .magic = MAGIC, .version = version, .compile = compile, .load = load, .unload = unload};

/* ---- running ---- */
static int make_pack(const tenon_cudnn *dnn, int count, const int64_t *id, void *const *address, void *const *workspace,
                     tenon_dnn_descriptor *out)
{
    int error = dnn->cudnnBackendCreateDescriptor(TENON_DNN_PACK, out);
    if (!error) error = dnn->cudnnBackendSetAttribute(*out, TENON_DNN_PACK_IDS, TENON_DNN_T_I64, count, id);
    if (!error) error = dnn->cudnnBackendSetAttribute(*out, TENON_DNN_PACK_POINTERS, TENON_DNN_T_POINTER, count, address);
    if (!error) error = dnn->cudnnBackendSetAttribute(*out, TENON_DNN_PACK_WORKSPACE, TENON_DNN_T_POINTER, 1, workspace);
    return error ? error : dnn->cudnnBackendFinalize(*out);
}

tenon_status tenon_dnn_execute(tenon_cx *cx, const tenon_dnn_plan *p, int count, const int64_t *id, void *const *address,
                               void *workspace, tenon_cu_stream stream)
{
    const tenon_cudnn *dnn = p->dnn;
    tenon_dnn_descriptor pack = NULL;
    int error = make_pack(dnn, count, id, address, &workspace, &pack);
    pthread_mutex_lock(&p->libraries->turn);
    if (!error) error = dnn->cudnnSetStream(p->handle, stream);
    if (!error) error = dnn->cudnnBackendExecute(p->handle, p->descriptor, pack);
    pthread_mutex_unlock(&p->libraries->turn);
    const tenon_status status = tenon_dnn_check(cx, dnn, error, "a convolution");
    if (pack) (void)dnn->cudnnBackendDestroyDescriptor(pack);
    return status;
}
