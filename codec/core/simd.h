/* The vector vocabulary of kernel.c: one set of names, compiled once for each instruction set.

   V holds LANES numbers of 32 bits, one voxel a lane; a mask M says something of each lane. The
   networks' products need small unsigned times small signed bytes, four a lane: dot4.

   Which set is compiled follows from the compiler's flags; INRV_PLAIN asks for C alone, with
   vectors as gcc and clang know them on any machine. All sets give the same integers. */

#ifndef INRV_SIMD_H
#define INRV_SIMD_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if !defined(INRV_PLAIN) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#define SIMD_AVX512
#elif !defined(INRV_PLAIN) && defined(__AVX2__)
#define SIMD_AVX2
#elif !defined(INRV_PLAIN) && defined(__SSE4_1__)
#define SIMD_SSE4
#elif !defined(INRV_PLAIN) && defined(__wasm_simd128__)
#define SIMD_WASM
#endif

#if defined(SIMD_AVX512) || defined(SIMD_AVX2) || defined(SIMD_SSE4)
#include <immintrin.h>
#define HAVE_DOT4
#elif defined(SIMD_WASM)
#include <wasm_simd128.h>
#define HAVE_DOT4
#endif

/* Words that hold four weights: bytes in one, or, where only products of 16 bits are summed, the
   first and third in one and the second and fourth in the other. */
#if defined(SIMD_WASM)
#define WEIGHT_WORDS 2
#else
#define WEIGHT_WORDS 1
#endif

#if defined(SIMD_AVX512)
#define LANES 16
#elif defined(SIMD_AVX2)
#define LANES 8
#else
#define LANES 4
#endif
#define ALL_LANES ((1u << LANES) - 1)

typedef int32_t V __attribute__((vector_size(4 * LANES)));
typedef int32_t V_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float F __attribute__((vector_size(4 * LANES)));

INLINE V load(const void *from) { return (V) * (const V_unaligned *)from; }
INLINE void store(void *to, V a) { *(V_unaligned *)to = (V_unaligned)a; }
INLINE V all_of(int32_t a) { return (V){0} + a; }
INLINE F all_of_f(float a) { return (F){0} + a; }

#if !defined(SIMD_AVX512)
typedef V M; /* all bits of a lane, or none */
#endif

#if LANES == 4
INLINE M of_bits(unsigned bits) {
    const V each = {1, 2, 4, 8};
    return (all_of((int32_t)bits) & each) == each;
}
INLINE V lane_numbers(void) { return (V){0, 1, 2, 3}; }
/* Which bytes of a vector come first, so that the lanes that stay do. */
INLINE const uint8_t *bytes_of_lanes(unsigned stay) {
#define LANE(n) (n) * 4, (n) * 4 + 1, (n) * 4 + 2, (n) * 4 + 3
#define ROW(a, b, c, d) LANE(a), LANE(b), LANE(c), LANE(d)
    static const uint8_t orders[16][16] = {
        {ROW(0, 0, 0, 0)}, {ROW(0, 0, 0, 0)}, {ROW(1, 0, 0, 0)}, {ROW(0, 1, 0, 0)},
        {ROW(2, 0, 0, 0)}, {ROW(0, 2, 0, 0)}, {ROW(1, 2, 0, 0)}, {ROW(0, 1, 2, 0)},
        {ROW(3, 0, 0, 0)}, {ROW(0, 3, 0, 0)}, {ROW(1, 3, 0, 0)}, {ROW(0, 1, 3, 0)},
        {ROW(2, 3, 0, 0)}, {ROW(0, 2, 3, 0)}, {ROW(1, 2, 3, 0)}, {ROW(0, 1, 2, 3)}};
#undef ROW
#undef LANE
    return orders[stay];
}
#endif

#if defined(SIMD_AVX512)

typedef __mmask16 M;
typedef unsigned Order; /* of the lanes that stay */
#define I(a) ((__m512i)(a))
INLINE M is_not(V a, V b) { return _mm512_cmpneq_epi32_mask(I(a), I(b)); }
INLINE M is_above(V a, V b) { return _mm512_cmpgt_epi32_mask(I(a), I(b)); }
INLINE V choose(M m, V a, V b) { return (V)_mm512_mask_blend_epi32(m, I(b), I(a)); }
INLINE V where(M m, V a) { return (V)_mm512_maskz_mov_epi32(m, I(a)); }
INLINE V plus_one(M m, V a) {
    return (V)_mm512_mask_add_epi32(I(a), m, I(a), _mm512_set1_epi32(1));
}
INLINE unsigned bits_of(M m) { return m; }
INLINE M of_bits(unsigned bits) { return (M)bits; }
INLINE V larger(V a, V b) { return (V)_mm512_max_epi32(I(a), I(b)); }
INLINE V smaller(V a, V b) { return (V)_mm512_min_epi32(I(a), I(b)); }
INLINE V magnitude(V a) { return (V)_mm512_abs_epi32(I(a)); }
INLINE F to_float(V a) { return (F)_mm512_cvtepi32_ps(I(a)); }
INLINE V truncated(F a) { return (V)_mm512_cvttps_epi32((__m512)a); }
INLINE V floored(F a) {
    return (V)_mm512_cvt_roundps_epi32((__m512)a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
INLINE V bytes_in_lanes(__m512i a) {
    return (V)_mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(_mm_setr_epi8(
                                         0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}
INLINE V inputs4(V a, V b, V c, V d) {
    const __m512i low = _mm512_set1_epi8(-63), high = _mm512_set1_epi8(63),
                  zero = _mm512_set1_epi8(64);
    __m512i p = _mm512_packs_epi16(_mm512_packs_epi32(I(a), I(b)), _mm512_packs_epi32(I(c), I(d)));
    return bytes_in_lanes(_mm512_add_epi8(_mm512_min_epi8(_mm512_max_epi8(p, low), high), zero));
}
INLINE V activations4(V a, V b, V c, V d) {
    __m512i p = _mm512_srai_epi16(_mm512_packs_epi32(I(a), I(b)), 5);
    __m512i q = _mm512_srai_epi16(_mm512_packs_epi32(I(c), I(d)), 5);
    return bytes_in_lanes(_mm512_max_epi8(_mm512_packs_epi16(p, q), _mm512_setzero_si512()));
}
INLINE V dot4(V sum, V x, const int32_t *weights) {
    return (V)_mm512_dpbusd_epi32(I(sum), I(x), _mm512_set1_epi32(*weights));
}
INLINE Order order_of(unsigned stay) { return stay; }
INLINE void append(void *to, Order stay, V a) {
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((M)stay, I(a)));
}
INLINE V lane_numbers(void) { return (V){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }

#elif defined(SIMD_AVX2)

typedef __m256i Order;
#define I(a) ((__m256i)(a))
INLINE unsigned bits_of(M m) { return (unsigned)_mm256_movemask_ps((__m256)m); }
INLINE M of_bits(unsigned bits) {
    const V each = {1, 2, 4, 8, 16, 32, 64, 128};
    return (all_of((int32_t)bits) & each) == each;
}
INLINE V larger(V a, V b) { return (V)_mm256_max_epi32(I(a), I(b)); }
INLINE V smaller(V a, V b) { return (V)_mm256_min_epi32(I(a), I(b)); }
INLINE V magnitude(V a) { return (V)_mm256_abs_epi32(I(a)); }
INLINE F to_float(V a) { return (F)_mm256_cvtepi32_ps(I(a)); }
INLINE V truncated(F a) { return (V)_mm256_cvttps_epi32((__m256)a); }
INLINE V floored(F a) { return (V)_mm256_cvttps_epi32(_mm256_floor_ps((__m256)a)); }
INLINE V bytes_in_lanes(__m256i a) {
    return (V)_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                         0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}
INLINE V inputs4(V a, V b, V c, V d) {
    const __m256i low = _mm256_set1_epi8(-63), high = _mm256_set1_epi8(63),
                  zero = _mm256_set1_epi8(64);
    __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(I(a), I(b)), _mm256_packs_epi32(I(c), I(d)));
    return bytes_in_lanes(_mm256_add_epi8(_mm256_min_epi8(_mm256_max_epi8(p, low), high), zero));
}
INLINE V activations4(V a, V b, V c, V d) {
    __m256i p = _mm256_srai_epi16(_mm256_packs_epi32(I(a), I(b)), 5);
    __m256i q = _mm256_srai_epi16(_mm256_packs_epi32(I(c), I(d)), 5);
    return bytes_in_lanes(_mm256_max_epi8(_mm256_packs_epi16(p, q), _mm256_setzero_si256()));
}
/* Pairs of products, at most 127 * 127 each, fit in 16 bits. */
INLINE V dot4(V sum, V x, const int32_t *weights) {
    __m256i pairs = _mm256_maddubs_epi16(I(x), _mm256_set1_epi32(*weights));
    return sum + (V)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
INLINE Order order_of(unsigned stay) {
    uint64_t lanes = _pdep_u64(stay, 0x0101010101010101u) * 255;
    return _mm256_cvtepu8_epi32(
        _mm_cvtsi64_si128((long long)_pext_u64(0x0706050403020100u, lanes)));
}
INLINE void append(void *to, Order order, V a) {
    store(to, (V)_mm256_permutevar8x32_epi32(I(a), order));
}
INLINE V lane_numbers(void) { return (V){0, 1, 2, 3, 4, 5, 6, 7}; }

#elif defined(SIMD_SSE4)

typedef __m128i Order;
#define I(a) ((__m128i)(a))
INLINE unsigned bits_of(M m) { return (unsigned)_mm_movemask_ps((__m128)m); }
INLINE V larger(V a, V b) { return (V)_mm_max_epi32(I(a), I(b)); }
INLINE V smaller(V a, V b) { return (V)_mm_min_epi32(I(a), I(b)); }
INLINE V magnitude(V a) { return (V)_mm_abs_epi32(I(a)); }
INLINE F to_float(V a) { return (F)_mm_cvtepi32_ps(I(a)); }
INLINE V truncated(F a) { return (V)_mm_cvttps_epi32((__m128)a); }
INLINE V floored(F a) { return (V)_mm_cvttps_epi32(_mm_floor_ps((__m128)a)); }
INLINE V bytes_in_lanes(__m128i a) {
    return (V)_mm_shuffle_epi8(a,
                               _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}
INLINE V inputs4(V a, V b, V c, V d) {
    const __m128i low = _mm_set1_epi8(-63), high = _mm_set1_epi8(63), zero = _mm_set1_epi8(64);
    __m128i p = _mm_packs_epi16(_mm_packs_epi32(I(a), I(b)), _mm_packs_epi32(I(c), I(d)));
    return bytes_in_lanes(_mm_add_epi8(_mm_min_epi8(_mm_max_epi8(p, low), high), zero));
}
INLINE V activations4(V a, V b, V c, V d) {
    __m128i p = _mm_srai_epi16(_mm_packs_epi32(I(a), I(b)), 5);
    __m128i q = _mm_srai_epi16(_mm_packs_epi32(I(c), I(d)), 5);
    return bytes_in_lanes(_mm_max_epi8(_mm_packs_epi16(p, q), _mm_setzero_si128()));
}
INLINE V dot4(V sum, V x, const int32_t *weights) {
    __m128i pairs = _mm_maddubs_epi16(I(x), _mm_set1_epi32(*weights));
    return sum + (V)_mm_madd_epi16(pairs, _mm_set1_epi16(1));
}
INLINE Order order_of(unsigned stay) {
    return _mm_loadu_si128((const __m128i *)bytes_of_lanes(stay));
}
INLINE void append(void *to, Order order, V a) { store(to, (V)_mm_shuffle_epi8(I(a), order)); }

#elif defined(SIMD_WASM)

typedef v128_t Order;
#define I(a) ((v128_t)(a))
INLINE unsigned bits_of(M m) { return wasm_i32x4_bitmask(I(m)); }
INLINE V larger(V a, V b) { return (V)wasm_i32x4_max(I(a), I(b)); }
INLINE V smaller(V a, V b) { return (V)wasm_i32x4_min(I(a), I(b)); }
INLINE V magnitude(V a) { return (V)wasm_i32x4_abs(I(a)); }
INLINE F to_float(V a) { return (F)wasm_f32x4_convert_i32x4(I(a)); }
INLINE V truncated(F a) { return (V)wasm_i32x4_trunc_sat_f32x4(I(a)); }
INLINE V floored(F a) { return truncated((F)wasm_f32x4_floor(I(a))); }
INLINE V bytes_in_lanes(v128_t a) {
    return (V)wasm_i8x16_shuffle(a, a, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}
INLINE V inputs4(V a, V b, V c, V d) {
    const v128_t low = wasm_i8x16_splat(-63), high = wasm_i8x16_splat(63);
    v128_t p = wasm_i8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(I(a), I(b)),
                                       wasm_i16x8_narrow_i32x4(I(c), I(d)));
    p = wasm_i8x16_min(wasm_i8x16_max(p, low), high);
    return bytes_in_lanes(wasm_i8x16_add(p, wasm_i8x16_splat(64)));
}
INLINE V activations4(V a, V b, V c, V d) {
    v128_t p = wasm_i16x8_shr(wasm_i16x8_narrow_i32x4(I(a), I(b)), 5);
    v128_t q = wasm_i16x8_shr(wasm_i16x8_narrow_i32x4(I(c), I(d)), 5);
    return bytes_in_lanes(wasm_i8x16_max(wasm_i8x16_narrow_i16x8(p, q), wasm_i8x16_splat(0)));
}
INLINE V dot4(V sum, V x, const int32_t *weights) {
    v128_t even = wasm_v128_and(I(x), wasm_i16x8_splat(255)), odd = wasm_u16x8_shr(I(x), 8);
    return sum + (V)wasm_i32x4_dot_i16x8(even, wasm_v128_load32_splat(weights)) +
           (V)wasm_i32x4_dot_i16x8(odd, wasm_v128_load32_splat(weights + 1));
}
INLINE Order order_of(unsigned stay) { return wasm_v128_load(bytes_of_lanes(stay)); }
INLINE void append(void *to, Order order, V a) { store(to, (V)wasm_i8x16_swizzle(I(a), order)); }

#else

typedef unsigned Order;
INLINE unsigned bits_of(M m) {
    return (unsigned)((m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8));
}
INLINE V larger(V a, V b) {
    V m = a > b;
    return (m & a) | (~m & b);
}
INLINE V smaller(V a, V b) {
    V m = a < b;
    return (m & a) | (~m & b);
}
INLINE V magnitude(V a) {
    V sign = a >> 31;
    return (a ^ sign) - sign;
}
INLINE F to_float(V a) { return __builtin_convertvector(a, F); }
INLINE V truncated(F a) { return __builtin_convertvector(a, V); }
INLINE V floored(F a) {
    V t = truncated(a);
    return t + (V)(to_float(t) > a);
}
INLINE V clipped4(V a, V b, V c, V d, int32_t low, int32_t high, int32_t more) {
    const V l = all_of(low), h = all_of(high);
    a = smaller(larger(a, l), h) + more;
    b = smaller(larger(b, l), h) + more;
    c = smaller(larger(c, l), h) + more;
    d = smaller(larger(d, l), h) + more;
    return a | b << 8 | c << 16 | d << 24;
}
INLINE V inputs4(V a, V b, V c, V d) { return clipped4(a, b, c, d, -63, 63, 64); }
INLINE Order order_of(unsigned stay) { return stay; }
INLINE void append(void *to, Order stay, V a) {
    int32_t *next = to;
    for (int i = 0; i < LANES; i++) {
        *next = a[i];
        next += stay >> i & 1;
    }
}

#endif

#if !defined(SIMD_AVX512)
INLINE M is_not(V a, V b) { return a != b; }
INLINE M is_above(V a, V b) { return a > b; }
INLINE V choose(M m, V a, V b) { return (m & a) | (~m & b); }
INLINE V where(M m, V a) { return m & a; }
INLINE V plus_one(M m, V a) { return a - m; }
#endif

INLINE V clip(V a, int32_t low, int32_t high) {
    return smaller(larger(a, all_of(low)), all_of(high));
}
/* 64 log2 of each number above 0, with the mantissa's fraction in place of its logarithm. */
INLINE V log64(V a) { return ((V)to_float(a) >> 17) - 127 * 64; }

#endif
