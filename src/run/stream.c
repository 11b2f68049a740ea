/* SPDX-License-Identifier: Apache-2.0 */
/* Streams. On host backends a stream is a thread with an in-order queue of fixed size: enqueue prepares the context on the
   caller's thread (so that errors in shapes and addresses are told there), puts it in the queue and returns. An error inside a
   run is kept and given by the next call on the stream. On devices with queues of their own the thread fills the device's.
   A forked child has no such thread, and the lock may be held for ever: there a stream is only good for being destroyed. */
#include "run/context.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { QUEUE = 64 };

struct tenon_stream {
    tenon_cx cx;
    tenon_engine *engine;
    pthread_t thread;
    pid_t pid;               /* of the process that the thread is in */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tenon_context *queue[QUEUE];
    unsigned head, tail;     /* head: next to run, tail: next free */
    bool busy, stop, started;
    tenon_status status;     /* sticky */
    char message[TENON_MESSAGE_BYTES];
};

static void *serve(void *arg)
{
    tenon_stream *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->head == s->tail && !s->stop) pthread_cond_wait(&s->changed, &s->lock);
        if (s->head == s->tail) break;
        tenon_context *c = s->queue[s->head % QUEUE];
        s->busy = true;
        pthread_mutex_unlock(&s->lock);
        const tenon_status status = tenon_context_launch(c, NULL);
        pthread_mutex_lock(&s->lock);
        if (status != TENON_OK && s->status == TENON_OK) {
            s->status = status;
            memcpy(s->message, c->cx.message, sizeof s->message);
        }
        s->head++;
        s->busy = false;
        bool again = false;
        for (unsigned i = s->head; i != s->tail; i++) again |= s->queue[i % QUEUE] == c;
        if (!again) atomic_store(&c->queue, NULL);
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

tenon_status tenon_stream_create(tenon_cx *cx, const tenon_engine *engine, tenon_stream **out)
{
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    tenon_stream *s = tenon_alloc_zero(cx, sizeof *s);
    if (!s) return TENON_NOMEM;
    tenon_cx_init_child(&s->cx, cx);
    s->engine = (tenon_engine *)(uintptr_t)engine;
    tenon_engine_retain(s->engine);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->pid = getpid();
    const int error = pthread_create(&s->thread, NULL, serve, s);
    s->started = error == 0;
    if (error) {
        tenon_stream_destroy(&s);
        return TENON_FAIL(cx, TENON_DEVICE, "stream: its thread cannot start (%s): fewer streams, or a higher limit of processes",
                          strerror(error));
    }
    *out = s;
    return TENON_OK;
}

void tenon_stream_destroy(tenon_stream **stream)
{
    if (!stream || !*stream) return;
    tenon_stream *s = *stream;
    if (s->pid == getpid()) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        if (s->started) pthread_join(s->thread, NULL);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
    }
    tenon_engine_release(s->engine);
    const tenon_allocator alloc = s->cx.alloc;
    alloc.free(alloc.user, s);
    *stream = NULL;
}

static tenon_status check_process(tenon_cx *cx, const tenon_stream *s)
{
    if (s->pid == getpid()) return TENON_OK;
    return TENON_FAIL(cx, TENON_INVALID, "the stream was made before a fork, its thread is in the parent: make one here");
}

static tenon_status take_error(tenon_cx *cx, tenon_stream *s)
{
    if (s->status == TENON_OK) return TENON_OK;
    const tenon_status status = s->status;
    s->status = TENON_OK;
    return TENON_FAIL(cx, status, "%s", s->message);
}

tenon_status tenon_context_idle(tenon_context *c)
{
    if (!atomic_load(&c->queue)) return TENON_OK;
    return TENON_FAIL(&c->cx, TENON_INVALID, "the context is in a stream's queue: synchronize the stream first");
}

void tenon_stream_release(tenon_context *c)
{
    tenon_stream *s = atomic_load(&c->queue);
    if (!s || s->pid != getpid()) return;
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&c->queue)) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

tenon_status tenon_context_enqueue(tenon_context *c, tenon_stream *s)
{
    TENON_NEED(NULL, c);
    if (!s) return TENON_FAIL(&c->cx, TENON_INVALID, "tenon_context_enqueue: stream is NULL");
    TENON_TRY(check_process(&c->cx, s));
    /* device memory is waited for by the stream's own device object */
    if (s->engine != c->engine && (s->engine->backend != c->engine->backend || !c->engine->backend->host_memory))
        return TENON_FAIL(&c->cx, TENON_INVALID, "the stream was made for another engine's device than the context's");
    if (atomic_load(&c->queue) != s) TENON_TRY(tenon_context_idle(c));
    pthread_mutex_lock(&s->lock);
    tenon_status status = take_error(&c->cx, s);
    if (status == TENON_OK && !atomic_load(&c->queue)) status = tenon_context_prepare(c);
    while (status == TENON_OK && s->tail - s->head == QUEUE) pthread_cond_wait(&s->changed, &s->lock);
    if (status == TENON_OK) {
        atomic_store(&c->queue, s);
        s->queue[s->tail++ % QUEUE] = c;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

tenon_status tenon_stream_synchronize(tenon_cx *cx, tenon_stream *s)
{
    TENON_NEED(cx, cx);
    if (!s) return TENON_FAIL(cx, TENON_INVALID, "tenon_stream_synchronize: stream is NULL");
    TENON_TRY(check_process(cx, s));
    pthread_mutex_lock(&s->lock);
    while (s->head != s->tail || s->busy) pthread_cond_wait(&s->changed, &s->lock);
    const tenon_status status = take_error(cx, s);
    pthread_mutex_unlock(&s->lock);
    if (status != TENON_OK || s->engine->backend->host_memory) return status;
    return s->engine->backend->synchronize(cx, s->engine->device, NULL);
}
