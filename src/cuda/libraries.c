/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the two libraries, a device's handles, and what the two have in common. */
#include "cuda/libraries.h"

#include "cuda/cublaslt.h"
#include "cuda/cudnn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tenon_cuda_library *const table[TENON_CUDA_LIBRARIES] = {&tenon_cublaslt_library, &tenon_cudnn_library};

const tenon_cuda_library *tenon_cuda_library_of_entry(const char *entry)
{
    for (size_t i = 0; i < TENON_COUNTOF(table); i++)
        if (strcmp(table[i]->entry, entry) == 0) return table[i];
    return NULL;
}

const tenon_cuda_library *tenon_cuda_library_of_image(const void *image, size_t bytes)
{
    for (size_t i = 0; i < TENON_COUNTOF(table); i++)
        if (bytes >= 8 && memcmp(image, table[i]->magic, 8) == 0) return table[i];
    return NULL;
}

tenon_status tenon_cuda_libraries_create(tenon_cx *cx, tenon_cuda_libraries **out)
{
    *out = NULL;
    tenon_cuda_libraries *l = tenon_alloc_zero(cx, sizeof *l);
    if (!l) return TENON_NOMEM;
    tenon_cx_init_child(&l->cx, cx);
    if (pthread_mutex_init(&l->turn, NULL) != 0) {
        tenon_free(cx, l);
        return TENON_FAIL(cx, TENON_DEVICE, "cuda: no mutex");
    }
    *out = l;
    return TENON_OK;
}

void tenon_cuda_libraries_destroy(tenon_cuda_libraries **libraries)
{
    tenon_cuda_libraries *l = *libraries;
    *libraries = NULL;
    if (!l) return;
    tenon_lt_context_destroy(l);
    tenon_dnn_context_destroy(l);
    pthread_mutex_destroy(&l->turn);
    tenon_cx cx = l->cx;
    tenon_free(&cx, l);
}

void tenon_cuda_libraries_describe(tenon_cx *cx, tenon_cuda_library_info *out)
{
    const char *missing = NULL;
    const tenon_cublaslt *lt = tenon_cublaslt_open(cx, &missing);
    out[0] = (tenon_cuda_library_info){.name = "cuBLASLt", .found = lt != NULL};
    if (lt) snprintf(out[0].text, sizeof out[0].text, "cuBLASLt %d, %s", lt->version, lt->dl.path);
    else snprintf(out[0].text, sizeof out[0].text, "%s; matrix products have Tenon's own kernels alone", missing);
    const tenon_cudnn *dnn = tenon_cudnn_open(cx, &missing);
    out[1] = (tenon_cuda_library_info){.name = "cuDNN", .found = dnn != NULL};
    if (dnn) snprintf(out[1].text, sizeof out[1].text, "cuDNN %d, %s", dnn->version, dnn->dl.path);
    else snprintf(out[1].text, sizeof out[1].text, "%s; convolutions have Tenon's own kernels alone", missing);
}

void tenon_cuda_numbers_print(tenon_buf *b, const int64_t *number, size_t count)
{
    for (size_t i = 0; i < count; i++) tenon_buf_printf(b, "%s%" PRId64, i ? " " : "", number[i]);
}

bool tenon_cuda_numbers_parse(const char *text, int64_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *end;
        out[i] = strtoll(text, &end, 10);
        if (end == text) return false;
        text = end;
    }
    return *text == '\0';
}
