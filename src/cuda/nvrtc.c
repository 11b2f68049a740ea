/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel text to machine code. NVRTC needs no GPU, so every kernel is compiled by the tests of a machine without one. */
#include "cuda/cuda_api.h"

#include <stdio.h>
#include <string.h>

extern const char tenon_cuda_src_prelude[], tenon_cuda_src_mma[];

enum { OPTIONS = 48 };
static const char *const header_name[] = {"prelude.cu", "mma.cu"};
static const char *const header[] = {tenon_cuda_src_prelude, tenon_cuda_src_mma};

void tenon_cuda_headers(void *user, void (*give)(void *user, const char *text))
{
    for (size_t i = 0; i < TENON_COUNTOF(header); i++) give(user, header[i]);
}

/* The options are words in one text. */
static int split_options(char *text, const char **out, int count)
{
    for (char *at = text; *at && count < OPTIONS;) {
        at += strspn(at, " ");
        const size_t length = strcspn(at, " ");
        if (!length) break;
        out[count++] = at;
        at += length;
        if (*at) *at++ = '\0';
    }
    return count;
}

static tenon_status compile_failed(tenon_cx *cx, const tenon_cuda_nvrtc *n, tenon_nvrtc_program program,
                                   const tenon_kernel_source *source,
                                   const char *arch, int error)
{
    size_t bytes = 0;
    char *log = NULL;
    if (n->nvrtcGetProgramLogSize(program, &bytes) == 0 && bytes > 1 && (log = tenon_alloc(cx, bytes)) != NULL &&
        n->nvrtcGetProgramLog(program, log) != 0)
        log[0] = '\0';
    const tenon_status status = TENON_FAIL(cx, TENON_INTERNAL, "cuda: kernel %s does not compile for %s (%s): %.1500s",
                                           source->name, arch,
                                           n->nvrtcGetErrorString(error), log ? log : "");
    tenon_free(cx, log);
    return status;
}

static tenon_status take_image(tenon_cx *cx, const tenon_cuda_nvrtc *n, tenon_nvrtc_program program, tenon_buf *image)
{
    size_t bytes = 0;
    const size_t before = image->length;
    int error = n->nvrtcGetCUBINSize(program, &bytes);
    if (error || bytes == 0) return TENON_FAIL(cx, TENON_INTERNAL, "cuda: NVRTC gave no image: %s",
                                               n->nvrtcGetErrorString(error));
    tenon_buf_zeros(image, bytes);
    TENON_TRY(tenon_buf_status(image));
    error = n->nvrtcGetCUBIN(program, image->data + before);
    return error ? TENON_FAIL(cx, TENON_INTERNAL, "cuda: NVRTC gave no image: %s", n->nvrtcGetErrorString(error)) : TENON_OK;
}

tenon_status tenon_cuda_compile(tenon_cx *cx, const tenon_cuda_nvrtc *n, const tenon_kernel_source *source, const char *arch,
                                tenon_buf *image)
{
    const char *option[OPTIONS];
    char target[64], words[sizeof source->options];
    tenon_nvrtc_program program = NULL;
    snprintf(target, sizeof target, "--gpu-architecture=%s", arch);
    memcpy(words, source->options, sizeof words);
    words[sizeof words - 1] = '\0';
    option[0] = target;
    option[1] = "--std=c++17";
    const int count = split_options(words, option, 2);
    int error = n->nvrtcCreateProgram(&program, source->source, source->name, (int)TENON_COUNTOF(header), header, header_name);
    if (error) return TENON_FAIL(cx, TENON_DEVICE, "cuda: nvrtcCreateProgram: %s", n->nvrtcGetErrorString(error));
    error = n->nvrtcCompileProgram(program, count, option);
    const tenon_status status = error ? compile_failed(cx, n, program, source, arch, error) : take_image(cx, n, program, image);
    (void)n->nvrtcDestroyProgram(&program);
    return status;
}
