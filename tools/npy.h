/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays in numpy's .npy files, format versions 1.0 and 2.0, little-endian, C order. Whatever else is refused with a message
   that says what to do; nothing is converted. The types that numpy lacks travel as raw elements, as ml_dtypes writes them. */
#ifndef TENON_TOOLS_NPY_H
#define TENON_TOOLS_NPY_H

#include "cli.h"

typedef struct cli_npy {
    tenon_dtype dtype;      /* TENON_DTYPE_NONE: raw elements */
    size_t element_bytes;
    int rank;
    int64_t dim[TENON_MAX_RANK];
    void *data;
    size_t bytes;
} cli_npy;

int cli_npy_read(cli_session *s, const char *path, cli_npy *out);
void cli_npy_free(cli_npy *array);
int cli_npy_write(cli_session *s, const char *path, const tenon_host_tensor *tensor);
bool cli_npy_can_hold(tenon_dtype dtype);
/* Whether an array of this type may feed a binding of that type: equal, or raw elements of the size of a type numpy lacks. */
bool cli_npy_feeds(const cli_npy *array, tenon_dtype dtype);
const char *cli_npy_type_name(tenon_dtype dtype);   /* "float32"; NULL where numpy has none */

/* Element `i` as a number; false for a type that has none. */
bool cli_element(tenon_dtype dtype, const void *data, size_t i, double *out);

/* Bytes of dims of a type; false on overflow or a type without plain storage. */
bool cli_tensor_bytes(tenon_dtype dtype, int rank, const int64_t *dim, size_t *out);

#endif
