/* SPDX-License-Identifier: Apache-2.0 */
/* Images of kernels for a device: in its memory if it made them before, in the folder of compiled kernels if anybody did, else
   made now. NVRTC may compile several programs at once, so the kernels that a step of the tuner or an engine wants are compiled
   by as many threads as there are cores; plans of libraries are made one after another, beside them. */
#include "cuda/device.h"
#include "cuda/kernel_cache.h"

#include "base/isa.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { MOST_THREADS = 32 };
typedef struct image_key { uint64_t half[2]; } image_key;

tenon_status tenon_cuda_can_build(tenon_cx *cx, tenon_device *d)
{
    return d->has_nvrtc ? TENON_OK : TENON_FAIL(cx, TENON_DEVICE, "%s", d->nvrtc_missing);
}

static void add_text(void *state, const char *text) { XXH3_128bits_update(state, text, strlen(text) + 1); }

/* Whatever the image depends on. A library's plan also does on that library, the driver and the very device. */
static tenon_status key_of(tenon_cx *cx, const tenon_device *d, const tenon_kernel_source *source, image_key *out)
{
    XXH3_state_t *state = XXH3_createState();
    char version[32];
    if (!state) return TENON_FAIL(cx, TENON_NOMEM, "cuda: no memory for a hash");
    XXH3_128bits_reset(state);
    snprintf(version, sizeof version, "nvrtc %d.%d", d->nvrtc.major, d->nvrtc.minor);
    add_text(state, version);
    add_text(state, d->arch);
    add_text(state, source->entry);
    add_text(state, source->options);
    add_text(state, source->source);
    const tenon_cuda_library *library = tenon_cuda_library_of_entry(source->entry);
    if (library) {
        const char *missing;
        snprintf(version, sizeof version, "library %d", library->version(cx, &missing));
        add_text(state, version);
        add_text(state, d->info.fingerprint);
    } else {
        tenon_cuda_headers(state, add_text);
    }
    const XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    *out = (image_key){{hash.low64, hash.high64}};
    return TENON_OK;
}

static bool find_image(tenon_device *d, const image_key *key, tenon_buf *out)
{
    pthread_mutex_lock(&d->lock);
    const tenon_cuda_compiled *c = d->compiled;
    while (c && memcmp(c->key, key->half, sizeof c->key) != 0) c = c->next;
    pthread_mutex_unlock(&d->lock); /* entries stay as long as the device */
    if (c && out) tenon_buf_bytes(out, c->image, c->bytes);
    return c != NULL;
}

static void keep_image(tenon_device *d, const image_key *key, const void *image, size_t bytes)
{
    tenon_cx cx;
    tenon_cx_init_child(&cx, &d->cx);
    tenon_cuda_compiled *c = tenon_alloc(&cx, sizeof *c + bytes);
    if (!c) return; /* it is looked for again then */
    *c = (tenon_cuda_compiled){.key = {key->half[0], key->half[1]}, .bytes = bytes};
    memcpy(c->image, image, bytes);
    pthread_mutex_lock(&d->lock);
    c->next = d->compiled;
    d->compiled = c;
    pthread_mutex_unlock(&d->lock);
}

static tenon_status make_image(tenon_cx *cx, tenon_device *d, const tenon_kernel_source *source, const image_key *key,
                               tenon_buf *image)
{
    const size_t before = image->length;
    const tenon_cuda_library *library = tenon_cuda_library_of_entry(source->entry);
    if (!tenon_kernel_cache_get(cx, key->half, image)) {
        if (library) {
            TENON_TRY(tenon_cuda_enter(cx, d));
            TENON_TRY(library->compile(cx, d->libraries, source->source, image));
        } else {
            TENON_TRY(tenon_cuda_compile(cx, &d->nvrtc, source, d->arch, image));
        }
        TENON_TRY(tenon_buf_status(image));
        tenon_kernel_cache_put(cx, key->half, image->data + before, image->length - before);
        atomic_fetch_add(&d->images_made, 1);
    }
    TENON_TRY(tenon_buf_status(image));
    keep_image(d, key, image->data + before, image->length - before);
    return TENON_OK;
}

tenon_status tenon_cuda_kernel_compile(tenon_cx *cx, tenon_device *d, const tenon_kernel_source *source, tenon_buf *image)
{
    image_key key;
    TENON_TRY(tenon_cuda_can_build(cx, d));
    TENON_TRY(key_of(cx, d, source, &key));
    if (find_image(d, &key, image)) return tenon_buf_status(image);
    return make_image(cx, d, source, &key, image);
}

/* ---- many at once ---- */
typedef struct job { const tenon_kernel_source *source; image_key key; } job;
typedef struct crew {
    tenon_device *device;
    job *list; size_t count;   /* kernels, each for whoever comes */
    job *plans; size_t plan_count; /* of libraries, one after another for whoever comes first */
    _Atomic size_t next;
    pthread_mutex_t talk;      /* the session's log function hears one thread at a time */
} crew;

static void log_in_turn(void *user, tenon_severity severity, const char *message)
{
    crew *w = user;
    pthread_mutex_lock(&w->talk);
    w->device->cx.log_fn(w->device->cx.log_user, severity, message);
    pthread_mutex_unlock(&w->talk);
}

/* What fails here fails again when it is asked for, and is told then. */
static void do_job(crew *w, const job *j)
{
    tenon_device *d = w->device;
    tenon_cx cx;
    tenon_buf image;
    tenon_cx_init_child(&cx, &d->cx);
    if (cx.log_fn) cx.log_fn = log_in_turn, cx.log_user = w;
    tenon_buf_init(&image, &cx);
    (void)make_image(&cx, d, j->source, &j->key, &image);
    tenon_buf_free(&image);
}

static void *work(void *arg)
{
    crew *w = arg;
    const size_t first = w->plan_count > 0; /* ticket 0 is all the plans */
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->count + first;) {
        if (i >= first) do_job(w, &w->list[i - first]);
        for (size_t k = 0; i < first && k < w->plan_count; k++) do_job(w, &w->plans[k]);
    }
    return NULL;
}

static bool listed(const job *list, size_t count, const image_key *key)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&list[i].key, key, sizeof *key) == 0) return true;
    return false;
}

static tenon_status add_job(tenon_cx *cx, crew *w, const tenon_kernel_source *source)
{
    image_key key;
    const bool plan = tenon_cuda_library_of_entry(source->entry);
    job *list = plan ? w->plans : w->list;
    size_t *count = plan ? &w->plan_count : &w->count;
    TENON_TRY(key_of(cx, w->device, source, &key));
    if (!listed(list, *count, &key) && !find_image(w->device, &key, NULL)) list[(*count)++] = (job){source, key};
    return TENON_OK;
}

tenon_status tenon_cuda_kernel_prepare(tenon_cx *cx, tenon_device *d, const tenon_kernel_source *const *source, size_t count)
{
    crew w = {.device = d, .talk = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread[MOST_THREADS];
    size_t started = 0;
    tenon_status status = tenon_cuda_can_build(cx, d);
    TENON_TRY(status);
    w.list = tenon_alloc(cx, (2 * count + 1) * sizeof *w.list);
    if (!w.list) return TENON_NOMEM;
    w.plans = w.list + count;
    for (size_t i = 0; i < count && status == TENON_OK; i++) status = add_job(cx, &w, source[i]);
    const size_t jobs = w.count + (w.plan_count > 0);
    const size_t threads = TENON_MIN(TENON_MIN(jobs, (size_t)tenon_cpu()->cores), MOST_THREADS);
    while (status == TENON_OK && started + 1 < threads && pthread_create(&thread[started], NULL, work, &w) == 0) started++;
    if (status == TENON_OK) (void)work(&w); /* this thread is one of them */
    for (size_t i = 0; i < started; i++) pthread_join(thread[i], NULL);
    tenon_free(cx, w.list);
    return status;
}
