/* SPDX-License-Identifier: Apache-2.0 */
/* What a build asks of a GPU, counted by the stand-in of test/fake. A build that finds its times and its kernels makes the same
   engine and compiles nothing, launches nothing to be timed, and opens no library that it does not need. Each build is in a
   process of its own, since what was opened stays open. */
#include "digits.h"
#include "pb.h"

#include "run/engine.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/tenon_fake_XXXXXX"; /* the libraries, the kernels and the times */

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static bool is_open(const char *file)
{
    void *library = dlopen(in_folder(file), RTLD_NOW | RTLD_NOLOAD);
    if (library) dlclose(library);
    return library != NULL;
}

static size_t calls(const char *file, const char *name)
{
    void *library = dlopen(in_folder(file), RTLD_NOW | RTLD_NOLOAD);
    size_t (*count)(const char *) = NULL;
    if (library) *(void **)&count = dlsym(library, "fake_cuda_count");
    const size_t found = count ? count(name) : 0;
    if (library) dlclose(library);
    return found;
}

/* ---- builds ---- */
typedef struct want { bool fresh, opens; const char *engine, *same_as; } want;

static bool same_files(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    bool same = x && y;
    for (int c = 0; same && c != EOF;) same = (c = fgetc(x)) == fgetc(y);
    if (x) fclose(x);
    if (y) fclose(y);
    return same;
}

static tenon_status build(tenon_cx *cx, tenon_timing_cache *times, tenon_engine **out)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_status status = tenon_network_read(cx, model, bytes, NULL, &network);
    if (status == TENON_OK) status = tenon_config_create(cx, &config);
    if (status == TENON_OK) status = tenon_config_set_device(config, "cuda", 0);
    if (status == TENON_OK) status = tenon_config_set_timing_cache(config, times);
    if (status == TENON_OK) status = tenon_build(cx, network, config, out);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    free(model);
    return status;
}

static void check_calls(const want *w)
{
    const size_t compiled = calls("libnvrtc.so.13", "nvrtcCompileProgram"), timed = calls("libcuda.so.1", "cuEventElapsedTime");
    const size_t loaded = calls("libcuda.so.1", "cuModuleLoadData"), blocks = calls("libcuda.so.1", "cuMemAlloc_v2");
    CHECK(calls("libcuda.so.1", "cuInit") > 0);
    CHECK(w->fresh ? compiled > 10 && timed > 100 : compiled == 0 && timed == 0);
    CHECK(w->fresh ? blocks < 2 * loaded : loaded <= 8); /* candidates share what they are tried on */
    CHECK(is_open("libcublasLt.so.13") == w->opens);
    CHECK(calls("libcuda.so.1", "cuMemAlloc_v2") == calls("libcuda.so.1", "cuMemFree_v2"));
}

static int build_in_child(const want *w)
{
    tenon_cx *cx;
    tenon_timing_cache *times = NULL;
    tenon_engine *e = NULL;
    check_passed = check_failed = 0;
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    if (CHECK_OK(cx, tenon_timing_cache_load(cx, in_folder("times.txt"), &times)) && CHECK_OK(cx, build(cx, times, &e))) {
        CHECK(e->kernel_count > 0);
        CHECK_OK(cx, tenon_engine_save(cx, e, in_folder(w->engine)));
        CHECK_OK(cx, tenon_timing_cache_save(cx, times, in_folder("times.txt")));
        CHECK(!w->same_as || same_files(in_folder(w->engine), in_folder(w->same_as)));
    }
    tenon_engine_destroy(&e);
    check_calls(w);
    tenon_timing_cache_destroy(&times);
    tenon_cx_destroy(&cx);
    return check_failed != 0;
}

/* ---- steps on the host ---- */
static tenon_status build_host_step(tenon_cx *cx, tenon_buf *model, tenon_network **network, tenon_config **config,
                                    tenon_engine **out)
{
    tenon_buf graph;
    pb_buf(&graph, cx);
    pb_node(&graph, 1, "Relu", "", "x", "r", NULL);
    pb_node(&graph, 1, "Det", "", "r", "y", NULL);
    pb_value(&graph, 11, "x", 1, "3,90,90");
    pb_value(&graph, 12, "y", 1, "3");
    pb_model(model, &graph, 13);
    tenon_status status = tenon_network_read(cx, model->data, model->length, NULL, network);
    if (status == TENON_OK) status = tenon_config_create(cx, config);
    if (status == TENON_OK) status = tenon_config_set_device(*config, "cuda", 0);
    if (status == TENON_OK) status = tenon_config_set_timing(*config, false);
    if (status == TENON_OK) status = tenon_build(cx, *network, *config, out);
    tenon_buf_free(&graph);
    return status;
}

/* No kernel does a determinant of that size: the run waits there, as inspect says, and the step in front of it does not. */
static int host_step_in_child(void)
{
    tenon_cx *cx;
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *e = NULL, *none = NULL;
    char *json = NULL;
    tenon_buf model; /* the network reads in it */
    check_passed = check_failed = 0;
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    pb_buf(&model, cx);
    if (CHECK_OK(cx, build_host_step(cx, &model, &network, &config, &e)) && CHECK_OK(cx, tenon_engine_inspect(cx, e, &json))) {
        CHECK(e->step_count == 2);
        CHECK(strstr(json, "\"synchronising\": 1") != NULL);
        CHECK(strstr(json, "\"synchronises\": false") && strstr(json, "\"synchronises\": true"));
        CHECK_OK(cx, tenon_config_set_strict(config, true));
        CHECK_FAILS(cx, tenon_build(cx, network, config, &none), TENON_UNSUPPORTED, "strict: 1 of 2 steps");
    }
    tenon_text_free(cx, &json);
    tenon_engine_destroy(&e);
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    tenon_buf_free(&model);
    tenon_cx_destroy(&cx);
    return check_failed != 0;
}

/* NULL: the step on the host. */
static bool passes(const want *w)
{
    int status = 1;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) _exit(w ? build_in_child(w) : host_step_in_child());
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool builds(want w) { return passes(&w); }

/* ---- the folder ---- */
static bool copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    bool good = in && out;
    for (int c; good && (c = fgetc(in)) != EOF;) good = fputc(c, out) != EOF;
    if (in) fclose(in);
    if (out) good = fclose(out) == 0 && good;
    return good;
}

static bool make_folder(void)
{
    static const char *const file[] = {"libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13"};
    bool good = mkdtemp(folder) != NULL;
    for (size_t i = 0; i < TENON_COUNTOF(file) && good; i++) {
        char from[1024];
        snprintf(from, sizeof from, "%s/fake/%s", TENON_BINARY_DIR, file[i]);
        good = copy_file(from, in_folder(file[i]));
    }
    setenv("TENON_CUDA_PATH", folder, 1);
    setenv("TENON_CACHE_DIR", in_folder("kernels"), 1);
    setenv("TENON_CUDA_ABSENT", "cudnn", 1);
    unsetenv("TENON_CUDA_OFFLINE");
    return good;
}

int main(void)
{
    char clean[160];
    if (!make_folder()) return perror(folder), 1;
    CHECK(builds((want){.fresh = true, .opens = true, .engine = "first"})); /* asks it, and gets no product from it */
    CHECK(builds((want){.engine = "second", .same_as = "first"}));
    CHECK(builds((want){.engine = "third", .same_as = "first"}));
    /* another file there may be another version: it is asked again */
    CHECK(unlink(in_folder("libcublasLt.so.13")) == 0 &&
          copy_file(TENON_BINARY_DIR "/fake/libcublasLt.so.13", in_folder("libcublasLt.so.13")));
    CHECK(builds((want){.opens = true, .engine = "fourth", .same_as = "first"}));
    CHECK(builds((want){.engine = "fifth", .same_as = "first"}));
    CHECK(passes(NULL));
    setenv("TENON_CACHE_DIR", "", 1); /* times alone: the chosen kernels are compiled, and no more; nobody notes versions */
    unlink(in_folder("times.txt"));
    CHECK(builds((want){.fresh = true, .opens = true, .engine = "sixth"}));
    snprintf(clean, sizeof clean, "rm -rf %s", folder);
    CHECK(system(clean) == 0);
    return CHECK_END();
}
