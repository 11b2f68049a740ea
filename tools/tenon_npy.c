/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing .npy files: a magic word, a version, the header's length, a Python dict as text, the elements.
   The dict is scanned for its three keys; anything that numpy.save would not have written is an error. */
#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
enum { MAGIC_BYTES = 6, MAX_HEADER = 1 << 16, HEADER_ALIGN = 64 };

static const struct { tenon_dtype dtype; const char *descr, *name; } types[] = {
    {TENON_F32, "<f4", "float32"}, {TENON_F64, "<f8", "float64"}, {TENON_F16, "<f2", "float16"},
    {TENON_I8, "|i1", "int8"},     {TENON_I16, "<i2", "int16"},   {TENON_I32, "<i4", "int32"},   {TENON_I64, "<i8", "int64"},
    {TENON_U8, "|u1", "uint8"},    {TENON_U16, "<u2", "uint16"},  {TENON_U32, "<u4", "uint32"},  {TENON_U64, "<u8", "uint64"},
    {TENON_BOOL, "|b1", "bool"},
    {TENON_BF16, "<V2", NULL},     {TENON_F8E4M3, "<V1", NULL},   {TENON_F8E5M2, "<V1", NULL},
};

static const char *descr_of(tenon_dtype dtype)
{
    for (size_t i = 0; i < CLI_COUNTOF(types); i++)
        if (types[i].dtype == dtype) return types[i].descr;
    return NULL;
}

bool cli_npy_can_hold(tenon_dtype dtype) { return descr_of(dtype) != NULL; }

const char *cli_npy_type_name(tenon_dtype dtype)
{
    for (size_t i = 0; i < CLI_COUNTOF(types); i++)
        if (types[i].dtype == dtype) return types[i].name;
    return NULL;
}

bool cli_npy_feeds(const cli_npy *array, tenon_dtype dtype)
{
    if (array->dtype != TENON_DTYPE_NONE) return array->dtype == dtype;
    return descr_of(dtype) && !cli_npy_type_name(dtype) && tenon_dtype_bits(dtype) == 8 * array->element_bytes;
}

bool cli_tensor_bytes(tenon_dtype dtype, int rank, const int64_t *dim, size_t *out)
{
    const size_t bits = tenon_dtype_bits(dtype);
    size_t count = 1;
    bool empty = false;
    *out = 0;
    if (bits == 0) return false;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0) return false;
        empty |= dim[i] == 0;
    }
    for (int i = 0; !empty && i < rank; i++) {
        if ((uint64_t)dim[i] > (SIZE_MAX / 64) / count) return false;
        count *= (size_t)dim[i];
    }
    *out = empty ? 0 : (count * bits + 7) / 8;
    return true;
}

/* ---- the header ---- */
static const char *skip(const char *p)
{
    while (*p == ' ' || *p == '\n') p++;
    return p;
}

/* A quoted string without escapes; NULL when there is none. */
static const char *scan_string(const char *p, char *out, size_t room)
{
    const char quote = *p;
    if (quote != '\'' && quote != '"') return NULL;
    const char *end = strchr(p + 1, quote);
    if (!end || (size_t)(end - p - 1) >= room) return NULL;
    memcpy(out, p + 1, (size_t)(end - p - 1));
    out[end - p - 1] = 0;
    return end + 1;
}

static const char *scan_shape(const char *p, cli_npy *out, int *rank)
{
    *rank = 0;
    if (*p++ != '(') return NULL;
    for (p = skip(p); *p != ')'; p = skip(p)) {
        char *end;
        if (*p < '0' || *p > '9') return NULL;
        errno = 0;
        const int64_t v = strtoll(p, &end, 10);
        if (errno) return NULL;
        if (*rank < TENON_MAX_RANK) out->dim[*rank] = v;
        ++*rank;
        p = skip(end);
        if (*p == ',') p++;
        else if (*p != ')') return NULL;
    }
    return p + 1;
}

typedef struct header {
    char descr[32];
    bool fortran, has_descr, has_order, has_shape;
    int rank;
} header;

static const char *scan_value(const char *p, const char *key, header *h, cli_npy *out)
{
    if (strcmp(key, "descr") == 0) {
        h->has_descr = true;
        return scan_string(p, h->descr, sizeof h->descr);
    }
    if (strcmp(key, "fortran_order") == 0) {
        const bool is_true = strncmp(p, "True", 4) == 0;
        h->has_order = true;
        h->fortran = is_true;
        return is_true ? p + 4 : strncmp(p, "False", 5) == 0 ? p + 5 : NULL;
    }
    if (strcmp(key, "shape") == 0) {
        h->has_shape = true;
        return scan_shape(p, out, &h->rank);
    }
    return NULL;
}

static bool scan_dict(const char *p, header *h, cli_npy *out)
{
    char key[32];
    p = skip(p);
    if (*p++ != '{') return false;
    for (p = skip(p); *p != '}'; p = skip(p)) {
        if (!(p = scan_string(p, key, sizeof key))) return false;
        p = skip(p);
        if (*p != ':') return false;
        if (!(p = scan_value(skip(p + 1), key, h, out))) return false;
        p = skip(p);
        if (*p == ',') p++;
        else if (*p != '}') return false;
    }
    return *skip(p + 1) == 0 && h->has_descr && h->has_order && h->has_shape;
}

static int take_type(cli_session *s, const char *path, const char *descr, cli_npy *out)
{
    if (descr[0] == '>')
        return cli_fail(s, "%s: its elements are big-endian ('%s'); write it again with x.astype(x.dtype.newbyteorder('<'))",
                        path, descr);
    if (descr[0] == '<' || descr[0] == '|') {
        for (size_t i = 0; i < CLI_COUNTOF(types); i++) {
            if (strcmp(types[i].descr + 1, descr + 1) != 0) continue;
            out->dtype = types[i].name ? types[i].dtype : TENON_DTYPE_NONE;
            out->element_bytes = tenon_dtype_bits(types[i].dtype) / 8;
            return CLI_OK;
        }
    }
    return cli_fail(s, "%s: elements of numpy's type '%s' cannot be read; `tenon help npy` lists what can", path, descr);
}

static int take_header(cli_session *s, const char *path, const char *text, cli_npy *out)
{
    header h = {0};
    if (!scan_dict(text, &h, out))
        return cli_fail(s, "%s: the header is not one that numpy.save writes (records are not read)", path);
    if (h.rank > TENON_MAX_RANK) return cli_fail(s, "%s: %d dimensions, at most %d are possible", path, h.rank, TENON_MAX_RANK);
    if (h.fortran && h.rank > 1)
        return cli_fail(s, "%s: the array is in Fortran order; write it again with numpy.save(path, numpy.ascontiguousarray(x))",
                        path);
    out->rank = h.rank;
    return take_type(s, path, h.descr, out);
}

/* ---- reading ---- */
static int read_header(cli_session *s, const char *path, FILE *f, cli_npy *out)
{
    unsigned char head[MAGIC_BYTES + 6];
    size_t length;
    if (fread(head, 1, MAGIC_BYTES + 4, f) != MAGIC_BYTES + 4 || memcmp(head, MAGIC, MAGIC_BYTES) != 0)
        return cli_fail(s, "%s is not a .npy file (of one array, as numpy.save writes it; numpy.savez writes .npz)", path);
    const int version = head[MAGIC_BYTES];
    if (version != 1 && version != 2)
        return cli_fail(s, "%s: .npy format version %d.%d; 1.0 and 2.0 can be read", path, version, head[MAGIC_BYTES + 1]);
    length = head[8] | (size_t)head[9] << 8;
    if (version == 2) {
        if (fread(head + 10, 1, 2, f) != 2) return cli_fail(s, "%s: the file ends in its header", path);
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    if (length > MAX_HEADER) return cli_fail(s, "%s: a header of %zu bytes; an array's has a hundred or so", path, length);
    char *text = calloc(1, length + 1);
    if (!text) return cli_fail(s, "out of memory");
    const bool whole = fread(text, 1, length, f) == length;
    const int code = whole ? take_header(s, path, text, out) : cli_fail(s, "%s: the file ends in its header", path);
    free(text);
    return code;
}

static int read_data(cli_session *s, const char *path, FILE *f, cli_npy *out)
{
    const tenon_dtype sized = out->element_bytes == 2 ? TENON_BF16 : TENON_U8;
    const cli_words dims = cli_dims(out->rank, out->dim);
    if (!cli_tensor_bytes(out->dtype == TENON_DTYPE_NONE ? sized : out->dtype, out->rank, out->dim, &out->bytes))
        return cli_fail(s, "%s: an array of %s elements is too large", path, dims.text);
    /* The file's own size is looked at first, so that a damaged header does not ask for the machine's whole memory. */
    const long start = ftell(f);
    if (start < 0 || fseek(f, 0, SEEK_END) || ftell(f) < start) return cli_fail(s, "%s: %s", path, strerror(errno));
    const size_t present = (size_t)(ftell(f) - start);
    if (present != out->bytes)
        return cli_fail(s, "%s: %zu bytes of elements, an array of %s needs %zu", path, present, dims.text, out->bytes);
    if (fseek(f, start, SEEK_SET)) return cli_fail(s, "%s: %s", path, strerror(errno));
    out->data = aligned_alloc(64, (out->bytes + 64) / 64 * 64);
    if (!out->data) return cli_fail(s, "%s: no memory for %zu bytes", path, out->bytes);
    if (fread(out->data, 1, out->bytes, f) != out->bytes) return cli_fail(s, "%s: %s", path, strerror(errno));
    return CLI_OK;
}

int cli_npy_read(cli_session *s, const char *path, cli_npy *out)
{
    *out = (cli_npy){0};
    FILE *f = fopen(path, "rb");
    if (!f) return cli_fail(s, "cannot open '%s': %s", path, strerror(errno));
    int code = read_header(s, path, f, out);
    if (code == CLI_OK) code = read_data(s, path, f, out);
    fclose(f);
    if (code != CLI_OK) cli_npy_free(out);
    return code;
}

void cli_npy_free(cli_npy *array)
{
    free(array->data);
    array->data = NULL;
}

/* ---- writing ---- */
/* The dict, padded with blanks so that the elements begin at a multiple of 64, as the format asks. */
static size_t header_text(const tenon_host_tensor *t, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(t->dtype));
    for (int i = 0; i < t->rank; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%" PRId64 "%s", i ? ", " : "", t->dim[i], t->rank == 1 ? "," : "");
    used += (size_t)snprintf(out + used, room - used, "), }");
    while ((MAGIC_BYTES + 4 + used + 1) % HEADER_ALIGN) out[used++] = ' ';
    out[used++] = '\n';
    return used;
}

int cli_npy_write(cli_session *s, const char *path, const tenon_host_tensor *t)
{
    char head[MAGIC_BYTES + 4 + 512] = MAGIC "\x01";
    size_t bytes;
    if (!cli_npy_can_hold(t->dtype) || !cli_tensor_bytes(t->dtype, t->rank, t->dim, &bytes))
        return cli_fail(s, "output '%s': its type %s cannot be written to a .npy file", t->name, tenon_dtype_name(t->dtype));
    const size_t length = header_text(t, head + MAGIC_BYTES + 4, 512 - HEADER_ALIGN);
    head[8] = (char)(length & 255);
    head[9] = (char)(length >> 8);
    FILE *f = fopen(path, "wb");
    if (!f) return cli_fail(s, "cannot write '%s': %s", path, strerror(errno));
    const size_t head_bytes = MAGIC_BYTES + 4 + length;
    bool ok = fwrite(head, 1, head_bytes, f) == head_bytes && fwrite(t->data, 1, bytes, f) == bytes;
    ok = fclose(f) == 0 && ok;
    if (ok) return CLI_OK;
    cli_discard(path);
    return cli_fail(s, "cannot write '%s': %s", path, strerror(errno));
}

/* ---- elements ---- */
static float half_value(uint16_t h)
{
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const float sign = h >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf((float)(mantissa + 1024), exponent - 25) : ldexpf((float)mantissa, -24));
}

static float bfloat_value(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

bool cli_element(tenon_dtype dtype, const void *data, size_t i, double *out)
{
    switch (dtype) {
    case TENON_F32: *out = ((const float *)data)[i]; return true;
    case TENON_F64: *out = ((const double *)data)[i]; return true;
    case TENON_F16: *out = half_value(((const uint16_t *)data)[i]); return true;
    case TENON_BF16: *out = bfloat_value(((const uint16_t *)data)[i]); return true;
    case TENON_I8: *out = ((const int8_t *)data)[i]; return true;
    case TENON_I16: *out = ((const int16_t *)data)[i]; return true;
    case TENON_I32: *out = ((const int32_t *)data)[i]; return true;
    case TENON_I64: *out = (double)((const int64_t *)data)[i]; return true;
    case TENON_U8:
    case TENON_BOOL: *out = ((const uint8_t *)data)[i]; return true;
    case TENON_U16: *out = ((const uint16_t *)data)[i]; return true;
    case TENON_U32: *out = ((const uint32_t *)data)[i]; return true;
    case TENON_U64: *out = (double)((const uint64_t *)data)[i]; return true;
    default: return false;
    }
}
