/* SPDX-License-Identifier: Apache-2.0 */
/* The file image: header, section table, sections; see run/engine.h. */
#include "base/checked.h"
#include "plan/emit.h"

#include <string.h>
#include <xxhash.h>

tenon_status tenon_emit_image(tenon_emitter *em, uint8_t **data, size_t *bytes)
{
    *data = NULL;
    TENON_TRY(tenon_emit_finish(em));
    tenon_rec_section table[TENON_SECTION_COUNT];
    size_t offset = tenon_round_up(sizeof(tenon_rec_header) + sizeof table, TENON_ENGINE_ALIGN);
    for (uint32_t i = 0; i < TENON_SECTION_COUNT; i++) {
        const tenon_buf *b = &em->section[i];
        TENON_TRY(tenon_buf_status(b));
        offset = tenon_round_up(offset, i == TENON_SECTION_WEIGHT_DATA ? TENON_ENGINE_PAGE : TENON_ENGINE_ALIGN);
        table[i] = (tenon_rec_section){.kind = i, .element_bytes = tenon_section_element_bytes[i], .offset = offset, .bytes = b->length, .hash = XXH3_64bits(b->data, b->length)};
        offset += b->length;
    }
    em->header.file_bytes = offset;
    em->header.section_count = TENON_SECTION_COUNT;
    em->header.format_version = TENON_ENGINE_VERSION;
    memcpy(em->header.magic, TENON_ENGINE_MAGIC, sizeof em->header.magic);
    uint8_t *image = tenon_alloc_zero(em->cx, offset);
    if (!image) return TENON_NOMEM;
    em->header.hash = 0;
    memcpy(image, &em->header, sizeof em->header);
    memcpy(image + sizeof em->header, table, sizeof table);
    em->header.hash = XXH3_64bits(image, sizeof em->header + sizeof table);
    memcpy(image, &em->header, sizeof em->header);
    for (int i = 0; i < TENON_SECTION_COUNT; i++)
        if (em->section[i].length) memcpy(image + table[i].offset, em->section[i].data, em->section[i].length);
    *data = image;
    *bytes = offset;
    return TENON_OK;
}
