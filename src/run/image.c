/* SPDX-License-Identifier: Apache-2.0 */
/* Laying sections out as a file image: header, section table, sections, their hashes; see run/engine.h. The planner writes new
   engines with it, refit the image of an engine whose weights were replaced. */
#include "base/checked.h"
#include "run/load.h"

#include <string.h>
#include <xxhash.h>

const uint32_t tenon_section_element_bytes[TENON_SECTION_COUNT] = {
    1,
    sizeof(tenon_rec_dim),
    sizeof(tenon_rec_symbol),
    sizeof(tenon_rec_range),
    sizeof(tenon_rec_binding),
    sizeof(tenon_rec_profile),
    sizeof(tenon_rec_slot),
    sizeof(tenon_rec_step),
    sizeof(uint32_t),
    sizeof(tenon_rec_weight),
    1,
    sizeof(tenon_rec_source),
    sizeof(tenon_rec_kernel),
    1,
    1,
};

tenon_status tenon_image_make(tenon_cx *cx, const tenon_rec_header *like, const tenon_section_bytes *section, uint8_t **data,
                              size_t *bytes)
{
    *data = NULL;
    *bytes = 0;
    tenon_rec_header header = *like;
    tenon_rec_section table[TENON_SECTION_COUNT];
    size_t offset = tenon_round_up(sizeof header + sizeof table, TENON_ENGINE_ALIGN);
    for (uint32_t i = 0; i < TENON_SECTION_COUNT; i++) {
        const size_t length = section[i].bytes;
        offset = tenon_round_up(offset, i == TENON_SECTION_WEIGHT_DATA ? TENON_ENGINE_PAGE : TENON_ENGINE_ALIGN);
        table[i] = (tenon_rec_section){.kind = i,
                                       .element_bytes = tenon_section_element_bytes[i],
                                       .offset = offset,
                                       .bytes = length,
                                       .hash = XXH3_64bits(section[i].data, length)};
        offset += length;
    }
    header.file_bytes = offset;
    header.section_count = TENON_SECTION_COUNT;
    header.format_version = TENON_ENGINE_VERSION;
    memcpy(header.magic, TENON_ENGINE_MAGIC, sizeof header.magic);
    uint8_t *image = tenon_alloc_aligned(cx, offset, TENON_ENGINE_PAGE); /* weights are then aligned as in a mapped file */
    if (!image) return TENON_NOMEM;
    memset(image, 0, offset);
    header.hash = 0;
    memcpy(image, &header, sizeof header);
    memcpy(image + sizeof header, table, sizeof table);
    header.hash = XXH3_64bits(image, sizeof header + sizeof table);
    memcpy(image, &header, sizeof header);
    for (int i = 0; i < TENON_SECTION_COUNT; i++)
        if (section[i].bytes) memcpy(image + table[i].offset, section[i].data, section[i].bytes);
    *data = image;
    *bytes = offset;
    return TENON_OK;
}
