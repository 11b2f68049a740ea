/* SPDX-License-Identifier: Apache-2.0 */
/* Copies between the caller's memory and a GPU's: all sizes around the pieces that they are made of, from several threads, and where
   there is no page-locked memory. With the stand-in of test/fake; with --gpu on a real GPU, where it also tells how fast they are
   beside the driver's own copies of the same memory. */
#include "check.h"
#include "has_gpu.h"

#include "base/clock.h"
#include "cuda/device.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECE = TENON_CUDA_PIECE_BYTES, MOST = 9 * PIECE + 123, LARGE = 64 << 20 };
static const size_t sizes[] = {0, 1, 16 << 10, (16 << 10) + 1, PIECE - 1, PIECE, PIECE + 1, 4 * PIECE, 4 * PIECE + 1, MOST};
static bool real;
static const tenon_backend *cuda = &tenon_backend_cuda;

typedef struct transfer { tenon_cx *cx; tenon_device *device; uint8_t seed; bool good; } transfer;

/* Up from one place and down to another, which ends where it should. */
static bool round_trip(transfer *t, void *at, uint8_t *there, uint8_t *back, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) there[i] = (uint8_t)(i * 7 + i / 251 + t->seed);
    memset(back, 0xee, MOST + 1);
    return cuda->upload(t->cx, t->device, at, there, bytes) == TENON_OK &&
           cuda->download(t->cx, t->device, back, at, bytes) == TENON_OK && memcmp(there, back, bytes) == 0 && back[bytes] == 0xee;
}

static void *work(void *arg)
{
    transfer *t = arg;
    void *at = NULL;
    uint8_t *there = malloc(MOST + 1), *back = malloc(MOST + 1);
    t->good = there && back && cuda->alloc(t->cx, t->device, MOST, &at) == TENON_OK;
    for (size_t i = 0; i < TENON_COUNTOF(sizes) && t->good; i++) t->good = round_trip(t, at, there, back, sizes[i]);
    if (at) cuda->release(t->device, at);
    free(there);
    free(back);
    return NULL;
}

static void test_threads(tenon_device *device)
{
    enum { THREADS = 3 };
    transfer t[THREADS];
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        t[i] = (transfer){.device = device, .seed = (uint8_t)(i * 50)};
        CHECK(tenon_cx_create(NULL, &t[i].cx) == TENON_OK && pthread_create(&thread[i], NULL, work, &t[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        CHECK(t[i].good);
        tenon_cx_destroy(&t[i].cx);
    }
}

/* ---- how fast ---- */
static double seconds_of(tenon_cx *cx, tenon_device *d, void *at, void *host, size_t bytes, bool up, bool driver)
{
    const tenon_cuda_queue q = {.cx = cx, .device = d, .driver = &d->driver, .stream = d->stream};
    double best = 1e30;
    for (int i = 0; i < 8; i++) {
        const double begin = tenon_now();
        if (driver) CHECK_OK(cx, up ? tenon_cuda_write(&q, at, host, bytes) : tenon_cuda_read(&q, host, at, bytes));
        else CHECK_OK(cx, up ? cuda->upload(cx, d, at, host, bytes) : cuda->download(cx, d, host, at, bytes));
        best = TENON_MIN(best, tenon_now() - begin);
    }
    return best;
}

static void tell_speed(tenon_cx *cx, tenon_device *d)
{
    void *at = NULL, *host = malloc(LARGE);
    if (!host || !CHECK_OK(cx, cuda->alloc(cx, d, LARGE, &at))) return;
    memset(host, 1, LARGE);
    for (size_t bytes = 4 << 10; bytes <= LARGE; bytes *= 4)
        for (int up = 1; up >= 0; up--) {
            const double ours = seconds_of(cx, d, at, host, bytes, up, false), theirs = seconds_of(cx, d, at, host, bytes, up, true);
            printf("%9zu bytes %s: %9.2f us %6.2f GB/s; the driver %9.2f us %6.2f GB/s\n", bytes, up ? "up  " : "down", ours * 1e6,
                   (double)bytes / ours * 1e-9, theirs * 1e6, (double)bytes / theirs * 1e-9);
        }
    cuda->release(d, at);
    free(host);
}

static int run(bool page_locked)
{
    tenon_cx *cx;
    tenon_device *device = NULL;
    check_passed = check_failed = 0;
    if (!page_locked) setenv("TENON_CUDA_ABSENT", "memory:2000000", 1); /* enough for none of the pieces; the buffers are smaller */
    if (tenon_cx_create(NULL, &cx) != TENON_OK) return 1;
    if (CHECK_OK(cx, cuda->open(cx, 0, 0, &device))) {
        transfer alone = {.cx = cx, .device = device};
        if (page_locked) {
            (void)work(&alone);
            CHECK(alone.good && device->transfer.piece[0]);
            test_threads(device);
            if (real) tell_speed(cx, device);
        } else {
            uint8_t *there = malloc(MOST + 1), *back = malloc(MOST + 1);
            void *at = NULL;
            CHECK_OK(cx, cuda->alloc(cx, device, 2 * PIECE, &at));
            CHECK(at && there && back && round_trip(&alone, at, there, back, 2 * PIECE));
            CHECK(device->transfer.tried && !device->transfer.piece[0]);
            if (at) cuda->release(device, at);
            free(there);
            free(back);
        }
        cuda->close(&device);
    }
    tenon_cx_destroy(&cx);
    return check_failed != 0;
}

static bool passes(bool page_locked)
{
    int status = 1;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        const int code = run(page_locked);
        fflush(NULL);
        _exit(code);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    real = argc > 1 && strcmp(argv[1], "--gpu") == 0;
    if (!real) setenv("TENON_CUDA_PATH", TENON_BINARY_DIR "/fake", 1);
    unsetenv("TENON_CUDA_OFFLINE");
    if (real && !has_gpu()) return printf("SKIP: no GPU\n"), 77;
    CHECK(passes(true));
    CHECK(passes(false));
    return CHECK_END();
}
