/* SPDX-License-Identifier: Apache-2.0 */
/* The main of a fuzz target where there is no libFuzzer: gives it every file of the folders named, and variants of each.
 *   fuzz_onnx [--variants N] [--seed S] FILE|FOLDER...
 * Variants are made from the seed, so a failure comes back with the same command. Before a sanitizer ends the process, the input is
 * written to crash-input, for the corpus. It does not look at coverage: `./dev fuzz` does, with clang.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

enum { MOST_BYTES = 1 << 20 };

static uint64_t state;
static long variants = 50, files, runs;
static const uint8_t *current;
static size_t current_size;
static const char *current_name;
static long current_variant;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static void at_death(void)
{
    fprintf(stderr, "fuzz driver: %s, variant %ld, written to crash-input\n", current_name, current_variant);
    FILE *f = fopen("crash-input", "wb");
    if (f != NULL) {
        fwrite(current, 1, current_size, f);
        fclose(f);
    }
}

/* An exact copy on the heap, so that a read past the end is seen. */
static void give(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) exit(2);
    memcpy(copy, data, size);
    current = copy, current_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

/* One to four changes: a bit, a byte of the values that break length fields, a cut, a block copied elsewhere. */
static size_t vary(uint8_t *data, size_t size)
{
    static const uint8_t telling[] = { 0, 1, 0x7f, 0x80, 0xff, 0xfe, '-', '9' };
    for (uint64_t changes = 1 + draw(4); changes > 0 && size > 0; changes--) {
        size_t at = draw(size), block = 1 + draw(size - at < 64 ? size - at : 64);
        switch (draw(5)) {
        case 0: data[at] ^= (uint8_t)(1u << draw(8)); break;
        case 1: data[at] = telling[draw(sizeof telling)]; break;
        case 2: memset(data + at, telling[draw(sizeof telling)], block); break;
        case 3: memmove(data + draw(size - block + 1), data + at, block); break;
        default: size = at; break;
        }
    }
    return size;
}

static void give_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(MOST_BYTES), *copy = malloc(MOST_BYTES);
    if (f == NULL || data == NULL || copy == NULL) {
        fprintf(stderr, "fuzz driver: cannot read %s\n", path);
        exit(2);
    }
    size_t size = fread(data, 1, MOST_BYTES, f);
    fclose(f);
    files++, current_name = path, current_variant = 0;
    give(data, size);
    for (current_variant = 1; current_variant <= variants; current_variant++) {
        memcpy(copy, data, size);
        give(copy, vary(copy, size));
    }
    free(data);
    free(copy);
}

static void give_path(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        give_file(path);
        return;
    }
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char name[4096];
        if (entries[i]->d_name[0] != '.' && (size_t)snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name) < sizeof name) {
            give_path(name);
        }
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    int first = 1;
    for (; first + 1 < argc && argv[first][0] == '-'; first += 2) {
        if (strcmp(argv[first], "--variants") == 0) variants = strtol(argv[first + 1], NULL, 10);
        else if (strcmp(argv[first], "--seed") == 0) seed = strtoull(argv[first + 1], NULL, 10);
        else break;
    }
    state = seed * 0x9e3779b97f4a7c15u + 1;
    if (__sanitizer_set_death_callback != NULL) __sanitizer_set_death_callback(at_death);
    for (int i = first; i < argc; i++) give_path(argv[i]);
    printf("%ld files, %ld inputs\n", files, runs);
    return files > 0 ? 0 : 2;
}
