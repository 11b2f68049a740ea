/* SPDX-License-Identifier: Apache-2.0 */
/* The small trained network that comes with the project, for tests of whole builds. */
#ifndef TENON_TEST_DIGITS_H
#define TENON_TEST_DIGITS_H

#include "check.h"

/* The model's bytes, of malloc. */
static TENON_UNUSED uint8_t *digits_model(size_t *bytes)
{
    FILE *f = fopen(TENON_SOURCE_DIR "/examples/digits/digits.onnx", "rb");
    uint8_t *data = NULL;
    *bytes = 0;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        const long size = ftell(f);
        rewind(f);
        data = malloc((size_t)size);
        if (data && fread(data, 1, (size_t)size, f) == (size_t)size) *bytes = (size_t)size;
    }
    if (f) fclose(f);
    CHECK(data && *bytes);
    return data;
}

/* Images of no digit, but with the range of one. */
static TENON_UNUSED void digits_input(float *x, int batch)
{
    for (int i = 0; i < 64 * batch; i++) x[i] = (float)((i * 37 + i / 64 * 11) % 17) / 16;
}

#endif
