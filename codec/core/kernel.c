/* A placeholder, so that each variant has something to run: a dot product. */
#include "kernel.h"

#if defined(__AVX512VNNI__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

static int32_t dot(const int8_t *a, const int8_t *b, size_t count) {
    int32_t sum = 0;
    size_t i = 0;
#if defined(INRV_PLAIN)
#elif defined(__AVX512VNNI__)
    __m512i sums = _mm512_setzero_si512();
    for (; i + 32 <= count; i += 32) {
        __m512i x = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)(a + i)));
        __m512i y = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)(b + i)));
        sums = _mm512_dpwssd_epi32(sums, x, y);
    }
    sum = _mm512_reduce_add_epi32(sums);
#elif defined(__AVX2__)
    __m256i sums = _mm256_setzero_si256();
    for (; i + 16 <= count; i += 16) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(a + i)));
        __m256i y = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(b + i)));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(x, y));
    }
    int32_t parts[8];
    _mm256_storeu_si256((void *)parts, sums);
    for (int k = 0; k < 8; k++) sum += parts[k];
#elif defined(__SSE2__)
    __m128i sums = _mm_setzero_si128();
    for (; i + 8 <= count; i += 8) {
        __m128i x = _mm_loadl_epi64((const void *)(a + i)), y = _mm_loadl_epi64((const void *)(b + i));
        x = _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8), y = _mm_srai_epi16(_mm_unpacklo_epi8(y, y), 8);
        sums = _mm_add_epi32(sums, _mm_madd_epi16(x, y));
    }
    int32_t parts[4];
    _mm_storeu_si128((void *)parts, sums);
    for (int k = 0; k < 4; k++) sum += parts[k];
#elif defined(__ARM_NEON)
    int32x4_t sums = vdupq_n_s32(0);
    for (; i + 8 <= count; i += 8) sums = vpadalq_s16(sums, vmull_s8(vld1_s8(a + i), vld1_s8(b + i)));
    sum = vaddvq_s32(sums);
#elif defined(__wasm_simd128__)
    v128_t sums = wasm_i32x4_splat(0);
    for (; i + 8 <= count; i += 8)
        sums = wasm_i32x4_add(sums, wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(a + i), wasm_i16x8_load8x8(b + i)));
    for (int k = 0; k < 4; k++) sum += ((const int32_t *)&sums)[k];
#endif
    for (; i < count; i++) sum += a[i] * b[i];
    return sum;
}

extern const struct inrv_kernel INRV_VARIANT_OF(inrv_kernel);
const struct inrv_kernel INRV_VARIANT_OF(inrv_kernel) = {dot};
