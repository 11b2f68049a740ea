/* SPDX-License-Identifier: Apache-2.0 */
/* See foreign.h. PyTorch's files are zip archives whose first entry is NAME/data.pkl, stored as it is; before 1.6 they were pickles that
   begin with a long number. torch2trt's TRTModule keeps its plan there as a bytearray under the key `engine`, after the name of
   the module that it is in. */
#include "base/foreign.h"

#include <string.h>

enum { LOOK = 64 << 10 };

#define PLAN                                                                                                                     \
    "a TensorRT engine (plan), which NVIDIA's library alone can run: build one from the ONNX model that it came from: "           \
    "`tenon build model.onnx -o model.engine`"
#define EXPORT "torch.onnx.export(model, (example,), 'model.onnx'), then `tenon build model.onnx -o model.engine`"

static bool begins(const uint8_t *data, size_t bytes, const char *magic, size_t length)
{
    return bytes >= length && memcmp(data, magic, length) == 0;
}

static const uint8_t *find(const uint8_t *data, size_t bytes, const char *text)
{
    const size_t length = strlen(text);
    for (size_t i = 0; i + length <= bytes; i++)
        if (data[i] == (uint8_t)*text && memcmp(data + i, text, length) == 0) return data + i;
    return NULL;
}

/* In a pickle a text is followed by the mark that remembers it: BINPUT, LONG_BINPUT or MEMOIZE. */
static bool has_engine(const uint8_t *data, size_t bytes)
{
    const uint8_t *const end = data + bytes;
    for (const uint8_t *p; (p = find(data, (size_t)(end - data), "engine")) != NULL; data = p + 1) {
        const uint8_t *mark = p + strlen("engine");
        if (mark < end && (*mark == 'q' || *mark == 'r' || *mark == 0x94) && find(mark, TENON_MIN((size_t)(end - mark), 64), "bytearray"))
            return true;
    }
    return false;
}

const char *tenon_foreign(const void *data, size_t bytes)
{
    static const char before_zip[] = "\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.";
    const size_t look = TENON_MIN(bytes, LOOK);
    if (!data) return NULL;
    if (begins(data, bytes, "ptrt", 4) || begins(data, bytes, "ftrt", 4)) return PLAN;
    const bool zip = begins(data, bytes, "PK\x03\x04", 4) && find(data, TENON_MIN(bytes, 1024), "data.pkl");
    if (!zip && !begins(data, bytes, before_zip, sizeof before_zip - 1)) return NULL;
    if (has_engine(data, look))
        return "a state of torch2trt's TRTModule, which has a TensorRT engine in it: export the PyTorch model that it was made from: " EXPORT;
    return "a file of PyTorch (a zip archive or pickle), which has no graph in it: export the model: " EXPORT;
}
