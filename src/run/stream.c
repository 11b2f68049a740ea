/* SPDX-License-Identifier: Apache-2.0 */
/* Streams. On devices with queues of their own a stream is one of these: enqueue fills it on the caller's thread. On host
   backends a stream is a thread with an in-order queue of fixed size: enqueue prepares the context on the caller's thread (so
   that errors in shapes and addresses are told there), puts it in the queue and returns. An error inside a run is kept and given
   by the next call on the stream. A forked child has no such thread, and the lock may be held for ever: there a stream is only
   good for being destroyed.

   On a device everything that a run needs is put in the stream, its shape block too, so a context may be changed while its last
   run is on its way. Only another stream has to wait for that, and a stream that was destroyed has been waited for: contexts
   keep the object, not the handle (`last`). */
#include "run/context.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { QUEUE = 64 };

struct tenon_stream {
    tenon_cx cx;
    tenon_engine *engine;
    /* on a device */
    bool on_device, wrapped; /* wrapped: the caller's own */
    void *handle;
    _Atomic int references;  /* the owner's and that of each context whose last run is in it */
    atomic_bool gone;        /* destroyed, so nothing is in it */
    /* on the host */
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

/* ---- on a device ---- */
static void drop(tenon_stream *s)
{
    if (--s->references > 0) return;
    const tenon_allocator alloc = s->cx.alloc;
    alloc.free(alloc.user, s);
}

/* Unless its owner captures it: then nothing is in it. An error of the work in it has been told, or is nobody's any more. */
static void drain(const tenon_stream *s)
{
    tenon_cx quiet;
    bool capturing = false;
    const tenon_engine *e = s->engine;
    tenon_cx_init_child(&quiet, &s->cx);
    if (s->wrapped && e->backend->stream_capturing(&quiet, e->device, s->handle, &capturing) != TENON_OK) return;
    if (!capturing) (void)e->backend->synchronize(&quiet, e->device, s->handle);
}

static void destroy_on_device(tenon_stream *s)
{
    tenon_engine *e = s->engine;
    drain(s);
    if (!s->wrapped) e->backend->stream_destroy(e->device, s->handle);
    s->gone = true;
    s->engine = NULL;
    drop(s);
    tenon_engine_release(e);
}

/* The context's next run is put in `s`: it comes after the one before, wherever that is. */
static tenon_status follow(tenon_context *c, tenon_stream *s, bool capturing)
{
    const tenon_engine *e = c->engine;
    tenon_stream *last = c->last;
    if (last == s) return TENON_OK;
    bool recorded = capturing; /* a recorded run is ordered by whoever launches the recording */
    if (last && !last->gone && last->wrapped && !recorded)
        TENON_TRY(e->backend->stream_capturing(&c->cx, e->device, last->handle, &recorded));
    if (last && !last->gone && !recorded) {
        void *mark;
        TENON_TRY(e->backend->stream_mark(&c->cx, e->device, last->handle, &mark));
        const tenon_status status = e->backend->stream_after(&c->cx, e->device, s->handle, mark);
        e->backend->mark_free(e->device, mark);
        TENON_TRY(status);
    }
    s->references++;
    c->last = s;
    if (last) drop(last);
    return TENON_OK;
}

static void forget(tenon_context *c)
{
    if (c->last) drop(c->last);
    c->last = NULL;
}

static tenon_status enqueue_on_device(tenon_context *c, tenon_stream *s)
{
    const tenon_engine *e = c->engine;
    bool capturing = false;
    if (s->wrapped) TENON_TRY(e->backend->stream_capturing(&c->cx, e->device, s->handle, &capturing));
    TENON_TRY(follow(c, s, capturing));
    c->stream = s->handle;
    c->capturing = capturing;
    TENON_TRY(tenon_context_prepare(c));
    return tenon_context_launch(c);
}

tenon_status tenon_context_own_stream(tenon_context *c)
{
    c->stream = NULL;
    c->capturing = false;
    if (!c->engine->backend->stream_create) return TENON_OK;
    if (!c->own) TENON_TRY(tenon_stream_create(&c->cx, c->engine, &c->own));
    c->stream = c->own->handle;
    return follow(c, c->own, false);
}

tenon_status tenon_context_wait(tenon_context *c)
{
    TENON_TRY(c->engine->backend->synchronize(&c->cx, c->engine->device, c->stream));
    forget(c);
    return TENON_OK;
}

/* ---- on the host ---- */
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
        const tenon_status status = tenon_context_launch(c);
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

static tenon_status start_thread(tenon_cx *cx, tenon_stream **stream)
{
    tenon_stream *s = *stream;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->pid = getpid();
    const int error = pthread_create(&s->thread, NULL, serve, s);
    s->started = error == 0;
    if (error) {
        tenon_stream_destroy(stream);
        return TENON_FAIL(cx, TENON_DEVICE, "stream: its thread cannot start (%s): fewer streams, or a higher limit of processes",
                          strerror(error));
    }
    return TENON_OK;
}

static tenon_status new_stream(tenon_cx *cx, const tenon_engine *engine, tenon_stream **out)
{
    tenon_stream *s = tenon_alloc_zero(cx, sizeof *s);
    if (!s) return TENON_NOMEM;
    tenon_cx_init_child(&s->cx, cx);
    s->engine = (tenon_engine *)(uintptr_t)engine;
    s->references = 1;
    tenon_engine_retain(s->engine);
    *out = s;
    return TENON_OK;
}

tenon_status tenon_stream_create(tenon_cx *cx, const tenon_engine *engine, tenon_stream **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    void *handle = NULL;
    const bool on_device = engine->backend->stream_create != NULL;
    if (on_device) TENON_TRY(engine->backend->stream_create(cx, engine->device, &handle));
    const tenon_status status = new_stream(cx, engine, out);
    if (status != TENON_OK) {
        if (on_device) engine->backend->stream_destroy(engine->device, handle);
        return status;
    }
    (*out)->on_device = on_device;
    (*out)->handle = handle;
    return on_device ? TENON_OK : start_thread(cx, out);
}

tenon_status tenon_stream_wrap(tenon_cx *cx, const tenon_engine *engine, void *native, tenon_stream **out)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, out);
    *out = NULL;
    TENON_NEED(cx, cx);
    TENON_NEED(cx, engine);
    if (!engine->backend->stream_create)
        return TENON_FAIL(cx, TENON_UNSUPPORTED, "the device of this engine ('%s') has no streams of its own to be wrapped: use "
                          "tenon_stream_create", engine->backend->name);
    TENON_TRY(new_stream(cx, engine, out));
    (*out)->on_device = (*out)->wrapped = true;
    (*out)->handle = native ? native : engine->backend->stream_default;
    return TENON_OK;
}

void *tenon_stream_native(const tenon_stream *stream) { return stream ? stream->handle : NULL; }

void tenon_stream_destroy(tenon_stream **stream)
{
    if (!stream || !*stream) return;
    tenon_stream *s = *stream;
    *stream = NULL;
    if (s->on_device) {
        destroy_on_device(s);
        return;
    }
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
    if (c->last && !c->last->gone) drain(c->last); /* the memory is in use until then */
    forget(c);
    tenon_stream_destroy(&c->own);
    tenon_stream *s = atomic_load(&c->queue);
    if (!s || s->pid != getpid()) return;
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&c->queue)) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static int device_index(const tenon_engine *e) { return e->backend->info(e->device)->index; }

tenon_status tenon_context_enqueue(tenon_context *c, tenon_stream *s)
{
    TENON_GUARD(c ? &c->cx : NULL);
    TENON_NEED(NULL, c);
    if (!s) return TENON_FAIL(&c->cx, TENON_INVALID, "tenon_context_enqueue: stream is NULL");
    if (s->engine != c->engine && (s->engine->backend != c->engine->backend ||
                                   device_index(s->engine) != device_index(c->engine)))
        return TENON_FAIL(&c->cx, TENON_INVALID, "the stream was made for another engine's device than the context's");
    if (s->on_device) return TENON_DONE(enqueue_on_device(c, s));
    TENON_TRY(check_process(&c->cx, s));
    if (atomic_load(&c->queue) != s) TENON_TRY(tenon_context_idle(c));
    pthread_mutex_lock(&s->lock);
    while (c->given && atomic_load(&c->queue)) pthread_cond_wait(&s->changed, &s->lock); /* its memory is asked for before each run */
    tenon_status status = take_error(&c->cx, s);
    const bool queued = atomic_load(&c->queue) != NULL;
    pthread_mutex_unlock(&s->lock);
    if (status == TENON_OK && !queued) status = tenon_context_prepare(c); /* which may call the program, that may use the stream */
    pthread_mutex_lock(&s->lock);
    while (status == TENON_OK && s->tail - s->head == QUEUE) pthread_cond_wait(&s->changed, &s->lock);
    if (status == TENON_OK) {
        atomic_store(&c->queue, s);
        s->queue[s->tail++ % QUEUE] = c;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return TENON_DONE(status);
}

tenon_status tenon_stream_synchronize(tenon_cx *cx, tenon_stream *s)
{
    TENON_GUARD(cx);
    TENON_NEED(cx, cx);
    if (!s) return TENON_FAIL(cx, TENON_INVALID, "tenon_stream_synchronize: stream is NULL");
    if (s->on_device) return s->engine->backend->synchronize(cx, s->engine->device, s->handle);
    TENON_TRY(check_process(cx, s));
    pthread_mutex_lock(&s->lock);
    while (s->head != s->tail || s->busy) pthread_cond_wait(&s->changed, &s->lock);
    const tenon_status status = take_error(cx, s);
    pthread_mutex_unlock(&s->lock);
    return status;
}
