/* SPDX-License-Identifier: Apache-2.0 */
/* The collected sections as a file image. */
#include "plan/emit.h"
#include "run/load.h"

tenon_status tenon_emit_image(tenon_emitter *em, uint8_t **data, size_t *bytes)
{
    tenon_section_bytes section[TENON_SECTION_COUNT];
    *data = NULL;
    TENON_TRY(tenon_emit_finish(em));
    for (int i = 0; i < TENON_SECTION_COUNT; i++) {
        TENON_TRY(tenon_buf_status(&em->section[i]));
        section[i] = (tenon_section_bytes){em->section[i].data, em->section[i].length};
    }
    return tenon_image_make(em->cx, &em->header, section, data, bytes);
}
