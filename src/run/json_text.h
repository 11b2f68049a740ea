/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_RUN_JSON_TEXT_H
#define TENON_RUN_JSON_TEXT_H

#include "base/status.h"

#include <jansson.h>

/* The text of a JSON value, in the cx's heap (tenon_text_free); takes the value, NULL is TENON_NOMEM. */
tenon_status tenon_json_text(tenon_cx *cx, json_t *take_json, char **out);

#endif
