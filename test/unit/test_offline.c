/* SPDX-License-Identifier: Apache-2.0 */
/* Building for GPUs that are not here: every compute capability, what such an engine refuses, which GPUs take which code, the
   messages when libraries are absent, and the folder of compiled kernels: found again, damaged, limited. Exit 77 without NVRTC.
   */
#include "check.h"

#include "cuda/device.h"
#include "cuda/kernel_cache.h"
#include "run/engine.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static tenon_network *network;
static char logged[8192]; /* warnings and errors of the last build */

static void on_log(void *user, tenon_severity severity, const char *message)
{
    (void)user;
    const size_t used = strlen(logged);
    if (severity <= TENON_WARNING) snprintf(logged + used, sizeof logged - used, "%s\n", message);
}

static tenon_status build(tenon_cx *cx, const char *device, tenon_engine **out)
{
    tenon_config *config = NULL;
    *out = NULL;
    logged[0] = '\0';
    TENON_TRY(tenon_config_create(cx, &config));
    tenon_status status = tenon_config_set_device(config, device, 0);
    if (status != TENON_OK) (void)TENON_FAIL(cx, status, "%s", tenon_config_message(config));
    else status = tenon_build(cx, network, config, out);
    tenon_config_destroy(&config);
    return status;
}

/* Files of the folder, and their bytes; `damage` changes a byte in the middle of each. */
static size_t folder(const char *path, bool damage, size_t *bytes)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    *bytes = 0;
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        char name[1024];
        struct stat st;
        snprintf(name, sizeof name, "%s/%s", path, d->d_name);
        if (!strstr(d->d_name, ".kernel") || stat(name, &st) != 0) continue;
        count++;
        *bytes += (size_t)st.st_size;
        FILE *f = damage ? fopen(name, "r+b") : NULL;
        if (!f) continue;
        fseek(f, st.st_size / 2, SEEK_SET);
        const int byte = fgetc(f);
        fseek(f, st.st_size / 2, SEEK_SET);
        fputc(byte ^ 1, f);
        fclose(f);
    }
    if (dir) closedir(dir);
    return count;
}

static void test_chips(tenon_cx *cx)
{
    static const char *const device[] = {"cuda:sm_75", "cuda:sm_80", "cuda:sm_86", "cuda:sm_89", "cuda:sm_90", "cuda:sm_100",
                                         "cuda:sm_120"};
    for (size_t i = 0; i < TENON_COUNTOF(device); i++) {
        tenon_engine *e = NULL;
        tenon_context *c = NULL;
        if (!CHECK_OK(cx, build(cx, device[i], &e))) continue;
        CHECK(strstr(logged, "nothing is timed") != NULL);
        CHECK(e->kernel_count > 0 && strstr(e->header->fingerprint, strchr(device[i], 's')) != NULL);
        for (uint32_t k = 0; k < e->step_count; k++) CHECK(!e->step[k].timed);
        CHECK_FAILS(cx, tenon_context_create(cx, e, NULL, &c), TENON_DEVICE, "not here");
        CHECK(!c);
        tenon_engine_destroy(&e);
    }
    tenon_engine *none;
    CHECK_FAILS(cx, build(cx, "cuda:sm_91", &none), TENON_INVALID, "no GPU of compute capability 91");
    CHECK_FAILS(cx, build(cx, "cuda:sm_", &none), TENON_INVALID, "cuda:sm_90");
    CHECK_FAILS(cx, build(cx, "cuda:sm_90x", &none), TENON_INVALID, "cuda:sm_90");
    setenv("TENON_CUDA_OFFLINE", "89", 1);
    if (CHECK_OK(cx, build(cx, "cuda", &none))) CHECK(strstr(none->header->fingerprint, "sm_89") != NULL);
    tenon_engine_destroy(&none);
    setenv("TENON_CUDA_OFFLINE", "ninety", 1);
    CHECK_FAILS(cx, build(cx, "cuda", &none), TENON_INVALID, "TENON_CUDA_OFFLINE=ninety");
    unsetenv("TENON_CUDA_OFFLINE");
}

/* Code of a generation runs on later chips of it; code with the suffix a on its own chip alone. */
static void test_other_gpus(tenon_cx *cx)
{
    static const struct { const char *made; int chip; bool runs; } row[] = {
        {"cuda:sm_80", 80, true}, {"cuda:sm_80", 86, true}, {"cuda:sm_80", 89, true},  {"cuda:sm_86", 80, false}, {"cuda:sm_80",
                90, false},
        {"cuda:sm_75", 80, false}, {"cuda:sm_90", 90, true}, {"cuda:sm_90", 100, false}, {"cuda:sm_100", 90, false}};
    for (size_t i = 0; i < TENON_COUNTOF(row); i++) {
        tenon_engine *e = NULL, *again = NULL;
        const void *data;
        size_t bytes;
        if (!CHECK_OK(cx, build(cx, row[i].made, &e)) || !CHECK_OK(cx, tenon_engine_data(cx, e, &data, &bytes))) continue;
        const tenon_load_options options = {.device_index = -row[i].chip};
        const tenon_status status = tenon_engine_load_memory(cx, data, bytes, &options, &again);
        if (row[i].runs) CHECK_OK(cx, status);
        else CHECK_FAILS(cx, status, TENON_UNSUPPORTED, "engine was built for a GPU of compute capability");
        tenon_engine_destroy(&again);
        tenon_engine_destroy(&e);
    }
}

/* The two libraries are opened once in a process: this comes first. */
static void test_nothing_there(tenon_cx *cx)
{
    char *json = NULL;
    setenv("TENON_CUDA_ABSENT", "driver,nvrtc,cudnn,cublaslt", 1);
    if (CHECK_OK(cx, tenon_list(cx, "devices", &json))) {
        CHECK(strstr(json, "cuBLASLt") && strstr(json, "matrix products have Tenon's own kernels alone"));
        CHECK(strstr(json, "convolutions have Tenon's own kernels alone") && strstr(json, "--device cuda:sm_90"));
    }
    tenon_text_free(cx, &json);
    unsetenv("TENON_CUDA_ABSENT");
}

static void test_absent(tenon_cx *cx)
{
    tenon_engine *e;
    char *json = NULL;
    setenv("TENON_CUDA_ABSENT", "driver,cudnn", 1);
    CHECK_FAILS(cx, build(cx, "cuda", &e), TENON_DEVICE, "libcuda.so.1 does not open: install the driver");
    CHECK_OK(cx, build(cx, "cuda:sm_90", &e));
    tenon_engine_destroy(&e);
    setenv("TENON_CUDA_ABSENT", "nvrtc", 1);
    CHECK_FAILS(cx, build(cx, "cuda:sm_90", &e), TENON_DEVICE, "pip install nvidia-cuda-nvrtc");
    if (CHECK_OK(cx, tenon_list(cx, "devices", &json))) CHECK(strstr(json, "engines run, but none can be built") != NULL);
    tenon_text_free(cx, &json);
    setenv("TENON_CUDA_ABSENT", "driver,symbol:nvrtcGetCUBIN", 1);
    CHECK_FAILS(cx, build(cx, "cuda:sm_90", &e), TENON_DEVICE, "lacks nvrtcGetCUBIN: it is too old");
    setenv("TENON_CUDA_ABSENT", "memory:1000,symbol:cuX", 1);
    CHECK(tenon_cuda_memory_limit() == 1000 && tenon_cuda_absent("symbol:cuX") && !tenon_cuda_absent("symbol:cu") &&
          !tenon_cuda_absent("memory"));
    unsetenv("TENON_CUDA_ABSENT");
    CHECK(tenon_cuda_memory_limit() == SIZE_MAX && !tenon_cuda_absent("driver"));
}

static void test_kernel_cache(tenon_cx *cx, const char *path)
{
    tenon_engine *first = NULL, *second = NULL;
    const void *a, *b;
    size_t a_bytes, b_bytes, bytes, again;
    const uint64_t key[2] = {3, 4};
    tenon_buf image;
    tenon_buf_init(&image, cx);
    CHECK(folder(path, false, &bytes) > 0);
    CHECK_OK(cx, build(cx, "cuda:sm_90", &first));
    CHECK(folder(path, true, &bytes) > 0);
    CHECK_OK(cx, build(cx, "cuda:sm_90", &second)); /* every entry of it is damaged now */
    CHECK(strstr(logged, "is damaged: it is compiled again") != NULL);
    if (first && second && CHECK_OK(cx, tenon_engine_data(cx, first, &a, &a_bytes)) && CHECK_OK(cx,
            tenon_engine_data(cx, second, &b, &b_bytes)))
        CHECK(a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0);
    tenon_engine_destroy(&second);
    CHECK_OK(cx, build(cx, "cuda:sm_90", &second));
    CHECK(!strstr(logged, "damaged"));
    tenon_kernel_cache_put(cx, key, "contents", 8);
    CHECK(tenon_kernel_cache_get(cx, key, &image) && image.length == 8 && memcmp(image.data, "contents", 8) == 0);
    const size_t count = folder(path, false, &bytes);
    setenv("TENON_CACHE_BYTES", "4096", 1);
    for (uint64_t i = 0; i < 40; i++) tenon_kernel_cache_put(cx, (const uint64_t[]){i, 99}, &i, sizeof i); /* one in 32 looks */
    CHECK(folder(path, false, &again) < count + 40 && again <= 4096 + 40 * 64);
    unsetenv("TENON_CACHE_BYTES");
    setenv("TENON_CACHE_DIR", "", 1);
    CHECK(!tenon_kernel_cache_get(cx, key, &image));
    tenon_kernel_cache_put(cx, key, "x", 1); /* nowhere */
    setenv("TENON_CACHE_DIR", "/proc/tenon", 1);
    tenon_engine_destroy(&second);
    CHECK_OK(cx, build(cx, "cuda:sm_90", &second)); /* not kept, not failing */
    setenv("TENON_CACHE_DIR", path, 1);
    tenon_engine_destroy(&first);
    tenon_engine_destroy(&second);
    tenon_buf_free(&image);
}

int main(void)
{
    tenon_cx *cx = NULL;
    char path[] = "/tmp/tenon_offline_XXXXXX", command[64];
    tenon_cuda_nvrtc nvrtc;
    if (tenon_cx_create(&(tenon_cx_options){.log = on_log, .severity = TENON_WARNING}, &cx) != TENON_OK ||
        !mkdtemp(path)) return 1;
    unsetenv("TENON_CUDA_ABSENT");
    if (tenon_cuda_nvrtc_open(cx, &nvrtc) != TENON_OK) {
        printf("SKIP: %s\n", cx->message);
        return 77;
    }
    setenv("TENON_CACHE_DIR", path, 1);
    CHECK_OK(cx, tenon_network_read_file(cx, TENON_SOURCE_DIR "/examples/digits/digits.onnx", NULL, &network));
    test_nothing_there(cx);
    test_chips(cx);
    test_other_gpus(cx);
    test_absent(cx);
    test_kernel_cache(cx, path);
    tenon_network_destroy(&network);
    tenon_cx_destroy(&cx);
    snprintf(command, sizeof command, "rm -r '%s'", path);
    CHECK(system(command) == 0);
    return CHECK_END();
}
