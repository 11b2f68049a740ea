/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions of the small floating types, exact and portable, round to nearest even. */
#ifndef TENON_BASE_HALF_H
#define TENON_BASE_HALF_H

#include <stdint.h>

float tenon_f16_to_f32(uint16_t h);
uint16_t tenon_f32_to_f16(float f);
float tenon_bf16_to_f32(uint16_t h);
uint16_t tenon_f32_to_bf16(float f);
float tenon_f8e4m3_to_f32(uint8_t h);   /* e4m3fn: no infinity */
uint8_t tenon_f32_to_f8e4m3(float f, int saturate);
float tenon_f8e5m2_to_f32(uint8_t h);
uint8_t tenon_f32_to_f8e5m2(float f, int saturate);

#endif
