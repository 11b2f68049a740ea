/* SPDX-License-Identifier: Apache-2.0 */
/* `trtexec`: the command of TensorRT's users, flag for flag and line for line, over tenon.h. The program is `tenon` under another
   name, or `tenon trtexec`. Its flags are one table, trtexec.def; a flag works, or is accepted with a warning that says why
   nothing changes, or is refused. Both generations of flags (8.6 and 10) are taken at once; lines that differ are those of 10.

   Symbols shared by the trtexec_*.c files begin with trt_. Functions that can fail give true for success, and have said
   why not. */
#ifndef TENON_TOOLS_TRTEXEC_H
#define TENON_TOOLS_TRTEXEC_H

#include "cli.h"

#include <jansson.h>

/* The TensorRT whose face is shown, as scripts read it from the result lines: 10.3.0. */
#define TRT_VERSION 100300
#define TRT_VERSION_TEXT "10.3.0"

typedef enum { TRT_E, TRT_W, TRT_I, TRT_V } trt_severity;
typedef enum { TRT_MODEL, TRT_BUILD, TRT_INFERENCE, TRT_REPORTING, TRT_SYSTEM, TRT_HELP, TRT_SECTIONS } trt_section;
typedef enum { TRT_WORKS, TRT_ACCEPTED, TRT_REFUSED } trt_effect;
/* TEXTS, COUNTS and SHAPES may be given several times; OPTIONAL has a value or none. A switch is set by its presence. */
typedef enum {
    TRT_SWITCH, TRT_TEXT, TRT_TEXTS, TRT_OPTIONAL, TRT_COUNT, TRT_COUNTS, TRT_INTEGER, TRT_REAL, TRT_SHAPES, TRT_FORMATS
} trt_kind;

typedef struct trt_flag {
    const char *name;
    trt_kind kind;
    trt_section section;
    trt_effect effect;
    const char *versions, *initial, *value, *text;
} trt_flag;

typedef struct trt_given { const trt_flag *flag; const char *text; } trt_given;

typedef struct trt_shape { char name[CLI_TEXT_ROOM]; int rank; int64_t dim[TENON_MAX_RANK]; } trt_shape;
enum { TRT_MAX_SHAPES = 128, TRT_MAX_PROFILES = 16, TRT_MAX_PERCENTILES = 16, TRT_MAX_STREAMS = 256 };
typedef struct trt_shapes { trt_shape *list; size_t count; } trt_shapes;
typedef struct trt_profile { bool given; trt_shapes min, opt, max; } trt_profile;

typedef struct trt_options {
    int argc;
    char **argv;
    trt_given *given;
    size_t given_count;
    trt_profile profile[TRT_MAX_PROFILES];
    int profile_count;
    trt_shapes shapes;               /* --shapes */
    size_t workspace;                /* bytes; SIZE_MAX: no limit */
    int64_t iterations, warmup_ms, duration_s, sleep_ms, idle_ms, streams, avg_runs, use_profile, device;
    double percentile[TRT_MAX_PERCENTILES];
    int percentile_count;
    bool detailed, no_layers, skip_inference, fp16, bf16, int8, fp8, int4;
} trt_options;

/* Milliseconds since the start of the runs. */
typedef struct trt_trace {
    double start_enqueue, end_enqueue, start_h2d, end_h2d, start_compute, end_compute, start_d2h, end_d2h;
} trt_trace;

typedef struct trt_binding {
    tenon_binding_info info;
    int rank;
    int64_t dim[TENON_MAX_RANK];     /* of the runs; -1: known after a run */
    size_t bytes;
    void *data;                      /* inputs: what is copied to the device */
} trt_binding;

typedef struct trt_output { int rank; int64_t dim[TENON_MAX_RANK]; size_t bytes; void *data; } trt_output;

typedef struct trt_app {
    trt_options o;
    bool verbose;
    tenon_cx *cx;
    json_t *devices;                 /* tenon_list "devices" */
    const char *backend;             /* to build for */
    tenon_engine *engine;
    json_t *engine_info;             /* tenon_engine_inspect */
    bool gpu;                        /* the engine is for a GPU */
    trt_binding *binding;
    size_t binding_count;
    trt_trace *trace;                /* of all streams, in the order of their start */
    size_t trace_count, warm_count;  /* measured, and those before */
    double warm_ms, wall_ms;
    double *layer_ms;                /* [profiled run][step] */
    size_t layer_count, profiled;
    trt_output *output;              /* of the first run's last query, one a binding; inputs have no data here */
} trt_app;

/* ---- trtexec_log.c ---- */
/* Lines with time and severity; a text of several lines repeats them. I and V go to standard output, W and E to error output. */
void trt_say(const trt_app *app, trt_severity severity, const char *format, ...) CLI_FORMAT(3, 4);
bool trt_fail(const trt_app *app, const char *format, ...) CLI_FORMAT(2, 3); /* an E line; false */
bool trt_failed(const trt_app *app);                                         /* with the cx's message */
void trt_log(void *user, tenon_severity severity, const char *message);      /* the library's lines */
int trt_progress(void *user, const char *phase, size_t done, size_t total);

/* ---- trtexec_args.c ---- */
extern const trt_flag trt_flags[];
extern const size_t trt_flag_count;
bool trt_parse(trt_app *app);        /* from o.argc, o.argv */
void trt_options_free(trt_options *o);
void trt_help(void);
const char *trt_text(const trt_options *o, const char *name); /* NULL: not given */
bool trt_has(const trt_options *o, const char *name);

/* ---- trtexec_values.c ---- */
bool trt_take_values(trt_app *app);  /* checks what was given and fills the rest of the options */
const trt_shape *trt_find_shape(const trt_shapes *shapes, const char *input); /* names may hold one * */

/* ---- trtexec_echo.c ---- */
void trt_echo(const trt_app *app);
bool trt_echo_device(trt_app *app);  /* finds the device, too */

/* ---- trtexec_build.c ---- */
bool trt_open_engine(trt_app *app);
bool trt_check_formats(const trt_app *app, const char *flag, tenon_io io, const tenon_binding_info *binding, size_t count);

/* ---- trtexec_setup.c ---- */
bool trt_set_up(trt_app *app);       /* shapes and inputs */
const char *trt_type_name(tenon_dtype dtype); /* "Float" */
const char *trt_short_type(tenon_dtype dtype); /* "FP32" */

/* ---- trtexec_run.c ---- */
bool trt_run(trt_app *app, bool profile);

/* ---- trtexec_report.c ---- */
double trt_percentile(const double *sorted, size_t count, double p);
double trt_median(const double *sorted, size_t count);
bool trt_report(trt_app *app);       /* averages, summary, --exportTimes */
bool trt_report_layers(trt_app *app); /* the profile, printed and exported */
bool trt_save_json(const trt_app *app, json_t *take_json, const char *path);

/* ---- trtexec_layers.c ---- */
bool trt_report_engine(trt_app *app); /* --dumpLayerInfo, --exportLayerInfo, --dumpOptimizationProfile */
const json_t *trt_steps(const trt_app *app, size_t profile);

/* ---- trtexec_output.c ---- */
bool trt_report_outputs(const trt_app *app); /* --dumpOutput, --exportOutput, --dumpRawBindingsToFile */

int trt_main(int argc, char **argv);

#endif
