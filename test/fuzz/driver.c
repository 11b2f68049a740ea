/* SPDX-License-Identifier: Apache-2.0 */
/* The main of the fuzz targets where there is no libFuzzer: each target gets every file of its folder of the corpus, then variants of
 * them from a seed until its seconds are over.
 *   tenonfuzz [--seconds N] [--seed S] [--first K] [--corpus FOLDER] [--write FOLDER] [TARGET | TARGET FILE...]
 * --write puts the seeds in that folder instead of trying them, for libFuzzer.
 * Variant k of seed S is the same bytes on every machine, so `--seed S --first K` comes back to a failure; before the process dies of
 * it, or takes too long, the input is written to crash-TARGET. It does not look at coverage: `./dev fuzz` does, with clang.
 */
#include "fuzz.h"

#include "base/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* What ends the process comes by SIGABRT, whose handler keeps the input. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void) { return "abort_on_error=1:print_stacktrace=1"; }

enum { MOST_BYTES = 1 << 18, MOST_FILES = 512, LIMIT_SECONDS = 20 }; /* of an input; a sanitizer on a busy machine included */

typedef struct file { char name[256]; uint8_t *data; size_t size; } file;

static double seconds_each;
static uint64_t seed = 1, first;
static const char *folder = TENON_SOURCE_DIR "/test/fuzz/corpus";
static const char *write_to;
static file corpus[MOST_FILES];
static size_t corpus_count;
static long inputs;
static double slowest;
static char slowest_text[512];

/* What is being tried, for whoever has to say so when the process dies. */
static const fuzz_target *target;
static const uint8_t *current;
static size_t current_size;
static char current_text[512];

static void save_current(void)
{
    static const char prefix[] = "crash-";
    char path[64];
    size_t n = sizeof prefix - 1;
    memcpy(path, prefix, n);
    for (const char *c = target->name; *c && n < sizeof path - 1; c++) path[n++] = *c;
    path[n] = 0;
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool ok = fd >= 0 && write(fd, current, current_size) == (ssize_t)current_size;
    if (fd >= 0) close(fd);
    ok = write(2, current_text, strlen(current_text)) > 0 && ok;
    if (ok && write(2, ": written to ", 13) && write(2, path, n) && write(2, "\n", 1)) return;
}

static void on_signal(int number)
{
    static const char late[] = "fuzz: takes too long\n", dead[] = "fuzz: died of a signal\n";
    const bool is_late = number == SIGALRM;
    if (write(2, is_late ? late : dead, (is_late ? sizeof late : sizeof dead) - 1) < 0) _exit(4);
    save_current();
    _exit(3);
}

/* On a stack of its own, since a deep recursion is one of the things looked for. A sanitizer reports crashes itself. */
static void catch_signals(void)
{
    static uint8_t stack[64 << 10];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaltstack(&other, NULL);
    sigaction(SIGALRM, &action, NULL);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(save_current);
        sigaction(SIGABRT, &action, NULL);
        return;
    }
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < TENON_COUNTOF(deadly); i++) sigaction(deadly[i], &action, NULL);
}

/* An exact copy on the heap, so that a read past the end is seen. */
static void give(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) exit(2);
    memcpy(copy, data, size);
    current = copy, current_size = size;
    alarm(LIMIT_SECONDS);
    const double start = tenon_now();
    fuzz_run(target, copy, size);
    const double took = tenon_now() - start;
    alarm(0);
    if (took > slowest) slowest = took, snprintf(slowest_text, sizeof slowest_text, "%s", current_text);
    free(copy);
    inputs++;
}

/* ---- variants ---- */
static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* A decimal number in a text becomes another one. */
static void vary_number(uint8_t *data, size_t size, size_t at)
{
    for (size_t i = 0; i < size; i++, at = at + 1 < size ? at + 1 : 0)
        if (data[at] >= '0' && data[at] <= '9') {
            data[at] = (uint8_t)('0' + draw(10));
            return;
        }
}

static void vary_word(uint8_t *data, size_t size, size_t at)
{
    static const uint64_t telling[] = {0, 1, 2, 3, 64, 255, 65536, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, (uint64_t)1 << 40};
    const uint64_t value = telling[draw(TENON_COUNTOF(telling))];
    const size_t bytes = draw(2) ? 4 : 8;
    at &= ~(size_t)3;
    if (at + bytes <= size) memcpy(data + at, &value, bytes);
}

/* One to four changes; `other` is a file that a piece may be taken from. */
static size_t vary(uint8_t *data, size_t size, const file *other)
{
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, '-', '9', '(', ',', '\n', ' '};
    for (uint64_t changes = 1 + draw(4); changes > 0 && size > 0; changes--) {
        const size_t at = draw(size), block = 1 + draw(size - at < 64 ? size - at : 64);
        switch (draw(10)) {
        case 0: case 1: data[at] ^= (uint8_t)(1u << draw(8)); break;
        case 2: data[at] = telling[draw(sizeof telling)]; break;
        case 3: memset(data + at, telling[draw(sizeof telling)], block); break;
        case 4: memmove(data + draw(size - block + 1), data + at, block); break;
        case 5: vary_number(data, size, at); break;
        case 6: vary_word(data, size, at); break;
        case 7: /* a piece is doubled */
            if (size + block > MOST_BYTES) break;
            memmove(data + at + block, data + at, size - at);
            size += block;
            break;
        case 8: /* or lost */
            memmove(data + at, data + at + block, size - at - block);
            size -= block;
            break;
        default:
            if (draw(8) == 0) {
                size = at;
            } else if (other->size) {
                const size_t from = draw(other->size), n = TENON_MIN(block, other->size - from);
                memcpy(data + at, other->data + from, n);
            }
        }
    }
    return size;
}

static void give_variant(uint8_t *room, uint64_t k)
{
    state = seed * 0xd1342543de82ef95u + k * 0x2545f4914f6cdd1du;
    const file *f = &corpus[draw(corpus_count)];
    memcpy(room, f->data, f->size);
    const size_t size = vary(room, f->size, &corpus[draw(corpus_count)]);
    if (target->mend && draw(16)) target->mend(room, size);
    snprintf(current_text, sizeof current_text, "%s --seed %llu --first %llu (from %.255s)", target->name, (unsigned long long)seed,
             (unsigned long long)k, f->name);
    give(room, size);
}

/* ---- files ---- */
static uint8_t *contents(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    uint8_t *data = malloc(MOST_BYTES);
    if (!stream || !data) {
        fprintf(stderr, "fuzz: cannot read %s\n", path);
        exit(2);
    }
    *size = fread(data, 1, MOST_BYTES, stream);
    fclose(stream);
    return data;
}

static void add(const char *path, uint8_t *data, size_t size)
{
    if (corpus_count == MOST_FILES) {
        fprintf(stderr, "fuzz: more than %d files\n", MOST_FILES);
        exit(2);
    }
    file *f = &corpus[corpus_count++];
    const char *slash = strrchr(path, '/');
    snprintf(f->name, sizeof f->name, "%.255s", slash ? slash + 1 : path);
    f->data = data, f->size = size;
}

static void add_file(const char *path)
{
    size_t size;
    uint8_t *data = contents(path, &size);
    add(path, data, size);
}

static void add_made_of(const char *path)
{
    size_t size;
    uint8_t *model = contents(path, &size), *made;
    const size_t bytes = target->from_model(model, size, &made);
    if (bytes && bytes <= MOST_BYTES) add(path, made, bytes);
    else free(made);
    free(model);
}

static void read_folder(const char *name, void (*take)(const char *path))
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct dirent **entry = NULL;
    const int count = scandir(path, &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char whole[4096 + 256];
        snprintf(whole, sizeof whole, "%s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.') take(whole);
        free(entry[i]);
    }
    free(entry);
}

static bool try_target(void)
{
    const fuzz_target *t = target;
    inputs = 0, slowest = 0;
    uint8_t *room = malloc(2 * MOST_BYTES);
    if (!room) exit(2);
    for (size_t i = 0; i < corpus_count; i++) {
        snprintf(current_text, sizeof current_text, "%s %.255s", t->name, corpus[i].name);
        give(corpus[i].data, corpus[i].size);
        if (!t->mend) continue;
        memcpy(room, corpus[i].data, corpus[i].size);
        t->mend(room, corpus[i].size);
        give(room, corpus[i].size);
    }
    const double end = tenon_now() + seconds_each;
    for (uint64_t k = first; corpus_count && tenon_now() < end; k++) give_variant(room, k);
    free(room);
    printf("%-8s %4zu files, %8ld inputs; slowest %.3f s (%s)\n", t->name, corpus_count, inputs, slowest, slowest_text);
    fflush(stdout);
    return corpus_count > 0;
}

/* For libFuzzer, which reads folders. */
static void write_out(const file *f)
{
    char path[4096];
    snprintf(path, sizeof path, "%.3800s/%s", write_to, f->name);
    FILE *stream = fopen(path, "wb");
    const bool ok = stream && fwrite(f->data, 1, f->size, stream) == f->size;
    if (!stream || fclose(stream) || !ok) {
        fprintf(stderr, "fuzz: cannot write %s\n", path);
        exit(2);
    }
}

static void forget_corpus(void)
{
    for (size_t i = 0; i < corpus_count; i++) free(corpus[i].data);
    corpus_count = 0;
}

int main(int argc, char **argv)
{
    int at = 1, passed = 0, failed = 0;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--seconds") == 0) seconds_each = strtod(argv[at + 1], NULL);
        else if (strcmp(argv[at], "--seed") == 0) seed = strtoull(argv[at + 1], NULL, 10);
        else if (strcmp(argv[at], "--first") == 0) first = strtoull(argv[at + 1], NULL, 10);
        else if (strcmp(argv[at], "--corpus") == 0) folder = argv[at + 1];
        else if (strcmp(argv[at], "--write") == 0) write_to = argv[at + 1];
        else break;
    }
    const fuzz_target *only = at < argc ? fuzz_find(argv[at], strlen(argv[at])) : NULL;
    if (at < argc && !only) {
        fprintf(stderr, "tenonfuzz [--seconds N] [--seed S] [--first K] [--corpus FOLDER] [--write FOLDER] "
                        "[TARGET | TARGET FILE...], targets:\n");
        for (const fuzz_target *const *t = fuzz_targets; *t; t++) fprintf(stderr, "  %-8s %s\n", (*t)->name, (*t)->what);
        return 2;
    }
    catch_signals();
    for (const fuzz_target *const *t = fuzz_targets; *t; t++) {
        if (only && *t != only) continue;
        target = *t;
        for (int i = at + 1; i < argc; i++) add_file(argv[i]);
        if (at + 1 >= argc) {
            read_folder(target->name, add_file);
            if (target->from_model) read_folder("onnx", add_made_of);
        }
        for (size_t i = 0; write_to && i < corpus_count; i++) write_out(&corpus[i]);
        if (write_to || try_target()) passed++;
        else failed++;
        forget_corpus();
    }
    printf("at most %zu MB at a time\n%d passed, %d failed, 0 skipped\n", fuzz_most_bytes() >> 20, passed, failed);
    return failed ? 1 : 0;
}
