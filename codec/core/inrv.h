/* The core of inrv: it decodes and codes lattices and masks. C11, no dependency, no state.
 *
 * A function that can fail returns INRV_OK or what went wrong. Every function may be called from
 * many threads at once. Pointers to what a function reads are const, and may have any alignment
 * that their type has. All bytes are little-endian.
 */
#ifndef INRV_H
#define INRV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef _WIN32
#define INRV_API __declspec(dllexport)
#else
#define INRV_API __attribute__((visibility("default")))
#endif

#define INRV_VERSION "0.1.0"

/* What functions return. A rule is a condition of spec/errors.md that the bytes break: F6 is
 * INRV_RULE('F', 6), and INRV_RULE_LETTER and INRV_RULE_NUMBER take it apart. */
#define INRV_OK 0
#define INRV_MEMORY 1 /* There is not enough memory. */
#define INRV_USE 2    /* The caller made a mistake: an argument is out of its range. */
#define INRV_RULE(letter, number) ((letter) << 8 | (number))
#define INRV_RULE_LETTER(error) ((char)((error) >> 8))
#define INRV_RULE_NUMBER(error) ((error)&255)

/* Sets of instructions that kernels are compiled for, as bits. All of them compute the same. */
#define INRV_SET_PLAIN 1u
#define INRV_SET_SSE4 2u   /* SSE4.1, with SSSE3 and POPCNT */
#define INRV_SET_AVX2 4u   /* with FMA, BMI1, BMI2, LZCNT and POPCNT */
#define INRV_SET_AVX512 8u /* F, BW, DQ, VL and VNNI, with all of AVX2 */
#define INRV_SET_NEON 16u
#define INRV_SET_SIMD128 32u /* of WebAssembly */

/* The version of the library, INRV_VERSION when it was compiled. */
INRV_API const char *inrv_version(void);

/* The sets of instructions that this library has kernels for and that run on this machine. */
INRV_API unsigned inrv_instruction_sets(void);

#ifdef __cplusplus
}
#endif
#endif
