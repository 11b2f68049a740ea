/* SPDX-License-Identifier: Apache-2.0 */
/* Layer information in the form that readers of TensorRT's know: {"Layers": [...], "Bindings": [...]}. A layer is a step of the
   engine; what is told of it comes from its record and from the text of its problem. */
#include "trtexec.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const json_t *trt_steps(const trt_app *app, size_t profile)
{
    return json_object_get(json_array_get(json_object_get(app->engine_info, "profiles"), profile), "steps");
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));
    return text ? text : "";
}

/* ---- problems ---- */
/* The operator of the first statement of `t0=conv:f32,...`. */
static size_t operator_of(const char *problem, const char **out)
{
    const size_t length = strcspn(problem, ":"), equals = strcspn(problem, "=");
    *out = equals < length ? problem + equals + 1 : problem;
    return (size_t)(problem + length - *out);
}

static void layer_type(const json_t *step, char *type, size_t room, const char **parameter)
{
    static const struct { const char *op, *type, *parameter; } known[] = {
        {"conv", "CaskConvolution", "Convolution"}, {"conv_transpose", "CaskDeconvolution", "Deconvolution"},
        {"max_pool", "TiledPooling", "Pooling"}, {"average_pool", "TiledPooling", "Pooling"},
        {"matmul", "MatrixMultiply", "MatrixMultiply"},
        {"copy", "Reformat", "Reformat"}, {"softmax", "SoftMax", "SoftMax"}, {"attention", "Attention", "Attention"},
    };
    const char *op;
    const size_t length = operator_of(text_of(step, "problem"), &op);
    *parameter = NULL;
    for (size_t i = 0; i < CLI_COUNTOF(known); i++)
        if (strlen(known[i].op) == length && strncmp(known[i].op, op, length) == 0) {
            snprintf(type, room, "%s", known[i].type);
            *parameter = known[i].parameter;
            return;
        }
    size_t used = 0;
    bool upper = true;
    for (size_t i = 0; i < length && used + 1 < room; i++) { /* layer_norm becomes LayerNorm */
        if (op[i] != '_') type[used++] = upper ? (char)toupper((unsigned char)op[i]) : op[i];
        upper = op[i] == '_';
    }
    type[used] = 0;
}

/* Numbers of `,key=1+2`; an empty list if there is no such attribute. */
static json_t *attribute(const char *problem, const char *key)
{
    json_t *list = json_array();
    const size_t length = strlen(key);
    for (const char *p = strchr(problem, ','); p; p = strchr(p + 1, ',')) {
        if (strncmp(p + 1, key, length) != 0 || p[1 + length] != '=') continue;
        for (const char *q = p + 2 + length; isdigit((unsigned char)*q) || *q == '-';) {
            char *end;
            json_array_append_new(list, json_integer(strtoll(q, &end, 10)));
            q = end + (*end == '+');
        }
        break;
    }
    return list;
}

/* The list, or `count` times `otherwise` where it is empty. */
static json_t *filled(json_t *take_list, size_t count, int otherwise)
{
    for (size_t i = json_array_size(take_list); i < count; i++) json_array_append_new(take_list, json_integer(otherwise));
    return take_list;
}

static json_t *half(const json_t *list, bool second)
{
    json_t *out = json_array();
    const size_t n = json_array_size(list) / 2;
    for (size_t i = 0; i < n; i++) json_array_append(out, json_array_get(list, i + (second ? n : 0)));
    return out;
}

/* Whether a pointwise operator of that name stands behind the anchor. */
static bool has_pointwise(const char *problem, const char *name)
{
    const size_t length = strlen(name);
    for (const char *p = strchr(problem, '|'); p && *p && *p != '>'; p += 1 + strcspn(p + 1, ",>"))
        if (strncmp(p + 1, name, length) == 0 && !isalnum((unsigned char)p[1 + length]) && p[1 + length] != '_') return true;
    return false;
}

static void add_windows(json_t *j, const char *problem, json_t *take_kernel)
{
    const size_t axes = json_array_size(take_kernel);
    json_t *pads = filled(attribute(problem, "pads"), 2 * axes, 0);
    json_object_set_new(j, "PaddingMode", json_string("kEXPLICIT_ROUND_DOWN"));
    json_object_set_new(j, "PrePadding", half(pads, false));
    json_object_set_new(j, "PostPadding", half(pads, true));
    json_object_set_new(j, "Stride", filled(attribute(problem, "strides"), axes, 1));
    json_decref(pads);
}

/* Dimensions of weights spelled k24c1r3s3 (t in front of r for three axes). */
static void add_convolution(json_t *j, const char *problem, const char *type)
{
    json_t *kernel = json_array(), *group = filled(attribute(problem, "group"), 1, 1);
    const char *p = strstr(problem, ",k");
    long long count = 1, maps = 0;
    for (p = p ? p + 1 : ""; isalpha((unsigned char)*p) && isdigit((unsigned char)p[1]);) {
        char *end;
        const long long n = strtoll(p + 1, &end, 10);
        if (*p == 'k') maps = n;
        else if (*p != 'c') json_array_append_new(kernel, json_integer(n));
        count *= n;
        p = end;
    }
    const bool bias = has_pointwise(problem, "bias");
    const size_t axes = json_array_size(kernel);
    json_object_set_new(j, "Kernel", kernel);
    add_windows(j, problem, kernel);
    json_object_set_new(j, "Dilation", filled(attribute(problem, "dilations"), axes, 1));
    json_object_set_new(j, "OutMaps", json_integer(maps));
    json_object_set_new(j, "Groups", json_incref(json_array_get(group, 0)));
    json_object_set_new(j, "Weights", json_pack("{s:s,s:I}", "Type", type, "Count", (json_int_t)count));
    json_object_set_new(j, "Bias", json_pack("{s:s,s:I}", "Type", type, "Count", (json_int_t)(bias ? maps : 0)));
    json_object_set_new(j, "HasBias", json_integer(bias));
    json_object_set_new(j, "HasReLU", json_integer(has_pointwise(problem, "relu")));
    json_object_set_new(j, "HasSparseWeights", json_integer(0));
    json_object_set_new(j, "Activation", json_string(has_pointwise(problem, "relu") ? "RELU" : "NONE"));
    json_decref(group);
}

static void add_pooling(json_t *j, const char *problem)
{
    json_t *kernel = attribute(problem, "kernel_shape"), *pad = attribute(problem, "count_include_pad");
    const bool largest = strncmp(problem, "max", 3) == 0;
    json_object_set_new(j, "PoolingType", json_string(largest ? "MAX" : "AVERAGE"));
    json_object_set_new(j, "WindowSize", kernel);
    add_windows(j, problem, kernel);
    json_object_set_new(j, "BlendFactor", json_integer(0));
    json_object_set_new(j, "AverageCountExcludesPadding", json_integer(json_integer_value(json_array_get(pad, 0)) == 0));
    json_decref(pad);
}

/* ---- one layer ---- */
static tenon_dtype dtype_of(const char *name)
{
    for (int d = TENON_F32; d <= TENON_OPTIONAL; d++)
        if (strcmp(tenon_dtype_name((tenon_dtype)d), name) == 0) return (tenon_dtype)d;
    return TENON_DTYPE_NONE;
}

static json_t *tensor_json(const json_t *operand)
{
    json_t *dims = json_array();
    char format[96];
    const json_t *shape = json_object_get(operand, "shape"), *strides = json_object_get(operand, "strides");
    const size_t rank = json_array_size(shape);
    for (size_t i = 0; i < rank; i++) { /* dynamic ones are -1 */
        const json_t *d = json_array_get(shape, i);
        json_array_append_new(dims, json_integer(json_is_integer(d) ? json_integer_value(d) : -1));
    }
    const bool last = rank >= 3 && json_integer_value(json_array_get(strides, 1)) == 1 &&
                      json_integer_value(json_array_get(shape, 1)) != 1 && json_integer_value(json_array_get(strides,
                                                                                                             rank - 1)) != 1;
    snprintf(format, sizeof format, "%s %s%s", last ? "Channel major" : "Row major linear",
             trt_short_type(dtype_of(text_of(operand, "type"))), last ? " format" : "");
    return json_pack("{s:s,s:s,s:o,s:s}", "Name", text_of(operand, "name"), "Location", "Device", "Dimensions", dims,
                     "Format/Datatype",
                     format);
}

/* Weights are no inputs of a layer. */
static json_t *tensors_json(const json_t *operands)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(operands); i++) {
        const json_t *o = json_array_get(operands, i);
        const char *storage = text_of(o, "storage");
        if (strcmp(storage, "packed") && strcmp(storage, "weight")) json_array_append_new(list, tensor_json(o));
    }
    return list;
}

static json_t *layer_json(const json_t *step)
{
    const char *problem = text_of(step, "problem"), *parameter, *op;
    const json_t *first = json_array_get(json_object_get(step, "results"), 0);
    char type[64];
    layer_type(step, type, sizeof type, &parameter);
    operator_of(problem, &op);
    json_t *j = json_pack("{s:s,s:s,s:o,s:o}", "Name", text_of(step, "name"), "LayerType", type, "Inputs",
                          tensors_json(json_object_get(step, "sources")), "Outputs", tensors_json(json_object_get(step,
                                                                                                                  "results")));
    if (parameter) json_object_set_new(j, "ParameterType", json_string(parameter));
    if (parameter && strcmp(parameter, "Convolution") == 0) add_convolution(j, op, trt_type_name(dtype_of(text_of(first,
                                                                                                                  "type"))));
    if (parameter && strcmp(parameter, "Pooling") == 0) add_pooling(j, op);
    if (json_is_true(json_object_get(step, "conversion"))) json_object_set_new(j, "Origin", json_string("REFORMAT"));
    json_object_set_new(j, "TacticName", json_string(text_of(step, "tactic")));
    json_object_set_new(j, "TacticValue", json_string(text_of(step, "tactic")));
    json_object_set_new(j, "StreamId", json_integer(0));
    json_object_set_new(j, "Metadata", json_pack("s++", "[ONNX Layer: ", text_of(step, "origin"), "]"));
    json_object_set_new(j, "Problem", json_string(problem));
    return j;
}

/* ---- all ---- */
static json_t *layers_json(const trt_app *app)
{
    json_t *layers = json_array(), *bindings = json_array();
    const json_t *steps = trt_steps(app, (size_t)app->o.use_profile), *all = json_object_get(app->engine_info, "bindings");
    for (size_t i = 0; !app->o.no_layers && i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        json_array_append_new(layers, app->o.detailed ? layer_json(step) : json_string(text_of(step, "name")));
    }
    for (size_t i = 0; i < json_array_size(all); i++) json_array_append(bindings, json_object_get(json_array_get(all, i),
                                                                                                  "name"));
    return json_pack("{s:o,s:o}", "Layers", layers, "Bindings", bindings);
}

static bool say_layers(const trt_app *app, const json_t *info)
{
    const json_t *layers = json_object_get(info, "Layers"), *bindings = json_object_get(info, "Bindings");
    trt_say(app, TRT_I, "Layer Information:");
    trt_say(app, TRT_I, "Layers:");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        char *line = json_dumps(json_array_get(layers, i), JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        if (!line) return trt_fail(app, "out of memory");
        if (app->o.detailed) trt_say(app, TRT_I, "%s", line);
        else trt_say(app, TRT_I, "%s", json_string_value(json_array_get(layers, i)));
        free(line);
    }
    trt_say(app, TRT_I, "Bindings:");
    for (size_t i = 0; i < json_array_size(bindings); i++) trt_say(app, TRT_I, "%s", json_string_value(json_array_get(bindings,
                                                                                                                      i)));
    return true;
}

static bool say_profiles(const trt_app *app)
{
    trt_say(app, TRT_I, "Optimization Profile Information:");
    for (int p = 0; p < tenon_engine_profile_count(app->engine); p++) {
        trt_say(app, TRT_I, "Profile %d:", p);
        for (size_t i = 0; i < tenon_engine_binding_count(app->engine); i++) {
            int64_t min[TENON_MAX_RANK], opt[TENON_MAX_RANK], max[TENON_MAX_RANK];
            tenon_binding_info b;
            if (tenon_engine_binding(app->cx, app->engine, i, &b) != TENON_OK) return trt_failed(app);
            if (b.io != TENON_INPUT) continue;
            if (tenon_engine_profile_shape(app->cx, app->engine, p, b.name, min, opt, max) != TENON_OK) return trt_failed(app);
            trt_say(app, TRT_I, "Input \"%s\": min = %s, opt = %s, max = %s", b.name, cli_dims(b.rank, min).text,
                    cli_dims(b.rank, opt).text, cli_dims(b.rank, max).text);
        }
    }
    return true;
}

bool trt_report_engine(trt_app *app)
{
    const char *path = trt_text(&app->o, "--exportLayerInfo");
    if (app->o.use_profile >= tenon_engine_profile_count(app->engine))
        return trt_fail(app, "--useProfile=%d: the engine has %d, counted from 0", (int)app->o.use_profile,
                        tenon_engine_profile_count(app->engine));
    json_t *info = layers_json(app);
    bool good = info || trt_fail(app, "out of memory");
    if (good && trt_has(&app->o, "--dumpLayerInfo")) good = say_layers(app, info);
    if (good && path) good = trt_save_json(app, json_incref(info), path);
    json_decref(info);
    return good && (!trt_has(&app->o, "--dumpOptimizationProfile") || say_profiles(app));
}
