/* SPDX-License-Identifier: Apache-2.0 */
/* A fork while another thread is inside a run: that thread holds the team's turn and is not in the child. There contexts of the same
   engine must run all the same, from several threads at once, and give the same results. */
#include "check.h"
#include "digits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 64, FORKS = 20, IN_CHILD = 3 };

static tenon_cx *cx;
static atomic_bool stop;
static atomic_long runs;

typedef struct job { tenon_context *context; float x[BATCH * 64], y[BATCH * 10]; bool good; } job;
static job busy, mine[IN_CHILD];

static tenon_engine *build(int threads)
{
    size_t bytes;
    uint8_t *model = digits_model(&bytes);
    tenon_network *network = NULL;
    tenon_config *config = NULL;
    tenon_engine *engine = NULL;
    int profile;
    const int64_t shape[] = {BATCH, 1, 8, 8};
    CHECK_OK(cx, tenon_network_read(cx, model, bytes, NULL, &network));
    CHECK_OK(cx, tenon_config_create(cx, &config));
    CHECK(tenon_config_set_device(config, "cpu", 0) == TENON_OK && tenon_config_set_threads(config, threads) == TENON_OK &&
          tenon_config_set_timing(config, false) == TENON_OK && tenon_config_add_profile(config, &profile) == TENON_OK &&
          tenon_config_set_shape(config, profile, "x", 4, shape, shape, shape) == TENON_OK);
    CHECK_OK(cx, tenon_build(cx, network, config, &engine));
    tenon_config_destroy(&config);
    tenon_network_destroy(&network);
    free(model);
    return engine;
}

static bool ready(tenon_engine *e, job *j)
{
    digits_input(j->x, BATCH);
    return CHECK_OK(cx, tenon_context_create(cx, e, NULL, &j->context)) &&
           tenon_context_set_address(j->context, "x", j->x, sizeof j->x) == TENON_OK &&
           tenon_context_set_address(j->context, "y", j->y, sizeof j->y) == TENON_OK;
}

static void *run_on(void *arg)
{
    job *j = arg;
    for (; !atomic_load(&stop); atomic_fetch_add(&runs, 1))
        if (tenon_context_run(j->context) != TENON_OK) return NULL;
    return NULL;
}

static void *run_few(void *arg)
{
    job *j = arg;
    memset(j->y, 0, sizeof j->y);
    j->good = true;
    for (int i = 0; i < 5; i++) j->good = j->good && tenon_context_run(j->context) == TENON_OK;
    return NULL;
}

static int in_child(const float *want)
{
    pthread_t thread[IN_CHILD];
    for (int i = 0; i < IN_CHILD; i++)
        if (pthread_create(&thread[i], NULL, run_few, &mine[i])) return 2;
    for (int i = 0; i < IN_CHILD; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < IN_CHILD; i++)
        if (!mine[i].good || memcmp(mine[i].y, want, sizeof mine[i].y)) return 1;
    return 0;
}

TENON_UNUSED static void test(int threads) /* not under ThreadSanitizer */
{
    static float want[BATCH * 10];
    tenon_engine *e = build(threads);
    pthread_t thread;
    bool good = ready(e, &busy);
    for (int i = 0; i < IN_CHILD; i++) good = good && ready(e, &mine[i]);
    CHECK(good && tenon_context_run(mine[0].context) == TENON_OK);
    if (good) {
        memcpy(want, mine[0].y, sizeof want);
        atomic_store(&stop, false);
        CHECK(!pthread_create(&thread, NULL, run_on, &busy));
        for (int i = 0; i < FORKS; i++) {
            for (const long now = atomic_load(&runs); atomic_load(&runs) < now + 3;) usleep(50);
            fflush(NULL);
            const pid_t child = fork();
            if (child == 0) {
                alarm(20);
                _exit(in_child(want));
            }
            int status = -1;
            CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
            if (status) break;
        }
        atomic_store(&stop, true);
        pthread_join(thread, NULL);
        CHECK(memcmp(busy.y, want, sizeof want) == 0);
    }
    tenon_context_destroy(&busy.context);
    for (int i = 0; i < IN_CHILD; i++) tenon_context_destroy(&mine[i].context);
    tenon_engine_destroy(&e);
}

int main(void)
{
#if defined(__SANITIZE_THREAD__)
    SKIP("ThreadSanitizer does not allow threads after a fork of a threaded process");
#else
    if (EMULATED()) {
        SKIP("qemu does not start threads after a fork");
        return CHECK_END();
    }
    CHECK(tenon_cx_create(NULL, &cx) == TENON_OK);
    test(2);
    test(1);
    tenon_cx_destroy(&cx);
#endif
    return CHECK_END();
}
