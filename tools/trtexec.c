/* SPDX-License-Identifier: Apache-2.0 */
/* `trtexec` from the first line to the last: the order of its steps, its result lines and exit codes. */
#include "trtexec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void say_result(const char *what, int argc, char **argv)
{
    printf("&&&& %s TensorRT.trtexec [TensorRT v%d] #", what, TRT_VERSION);
    for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
    putchar('\n');
}

static bool wants_help(const trt_app *app)
{
    for (int i = 0; i < app->o.argc; i++)
        if (strcmp(app->o.argv[i], "--help") == 0 || strcmp(app->o.argv[i], "-h") == 0) return true;
    return false;
}

static bool run_and_report(trt_app *app)
{
    const bool profile = trt_has(&app->o, "--dumpProfile") || trt_has(&app->o, "--exportProfile");
    const bool separate = trt_has(&app->o, "--separateProfileRun");
    if (!trt_set_up(app) || !trt_report_engine(app)) return false;
    if (!trt_run(app, profile && !separate) || !trt_report(app) || !trt_report_outputs(app)) return false;
    if (profile && separate && !trt_run(app, true)) return false;
    return !profile || trt_report_layers(app);
}

static bool work(trt_app *app)
{
    const tenon_severity severity = app->verbose ? TENON_VERBOSE : TENON_INFO;
    const tenon_cx_options options = {.log = trt_log, .log_user = app, .severity = severity, .progress = trt_progress};
    trt_echo(app);
    if (tenon_cx_create(&options, &app->cx) != TENON_OK) return trt_fail(app, "out of memory");
    cli_catch_interrupt();
    if (!trt_echo_device(app) || !trt_open_engine(app)) return false;
    if (trt_has(&app->o, "--getPlanVersionOnly") || trt_has(&app->o, "--timeDeserialize")) return true;
    if (!app->o.skip_inference) return run_and_report(app);
    if (!trt_report_engine(app)) return false;
    trt_say(app, TRT_I, "Skipped inference phase since --skipInference is added.");
    return true;
}

static void close_app(trt_app *app)
{
    for (size_t i = 0; i < app->binding_count; i++) free(app->binding[i].data);
    for (size_t i = 0; app->output && i < app->binding_count; i++) free(app->output[i].data);
    free(app->binding);
    free(app->output);
    free(app->trace);
    free(app->layer_ms);
    json_decref(app->engine_info);
    json_decref(app->devices);
    tenon_engine_destroy(&app->engine);
    tenon_cx_destroy(&app->cx);
    trt_options_free(&app->o);
}

/* `tenon trtexec ...` has the command's name among its words, `trtexec ...` has not. */
int trt_main(int argc, char **argv)
{
    const int skip = argc > 1 && strcmp(argv[1], "trtexec") == 0 ? 2 : 1;
    trt_app app = {.o = {.argc = argc - skip, .argv = argv + skip}};
    bool good = true;
    say_result("RUNNING", argc, argv);
    if (wants_help(&app)) {
        trt_help();
        return fflush(stdout) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    if (app.o.argc < 1) {
        trt_help();
    } else if (!trt_parse(&app)) {
        trt_help();
        good = false;
    } else {
        good = work(&app);
    }
    close_app(&app);
    say_result(good ? "PASSED" : "FAILED", argc, argv);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "trtexec: cannot write to standard output: %s\n", strerror(errno));
        good = false;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
