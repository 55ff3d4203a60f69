/* Which instructions this machine has, and the kernels that are for them. */
#include <stdatomic.h>

#include "kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* The bits of the registers that the system saves when it switches threads. */
static uint32_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static unsigned of_the_machine(void) {
    unsigned sets = INRV_SET_PLAIN, a, b, c, d;
    const unsigned ssse3_sse41_popcnt = 1u << 9 | 1u << 19 | 1u << 23;
    const unsigned fma_popcnt_osxsave_avx = 1u << 12 | 1u << 23 | 1u << 27 | 1u << 28;
    const unsigned bmi1_avx2_bmi2 = 1u << 3 | 1u << 5 | 1u << 8;
    const unsigned f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const unsigned vnni = 1u << 11, lzcnt = 1u << 5;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return sets;
    if ((c & ssse3_sse41_popcnt) != ssse3_sse41_popcnt) return sets;
    sets |= INRV_SET_SSE4;
    if ((c & fma_popcnt_osxsave_avx) != fma_popcnt_osxsave_avx) return sets;
    const uint32_t saved = saved_registers();
    if ((saved & 0x06) != 0x06) return sets; /* XMM and YMM */
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & lzcnt)) return sets;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return sets;
    if ((b & bmi1_avx2_bmi2) != bmi1_avx2_bmi2) return sets;
    sets |= INRV_SET_AVX2;
    if ((saved & 0xe0) != 0xe0) return sets; /* ZMM and masks */
    if ((b & f_dq_bw_vl) == f_dq_bw_vl && (c & vnni)) sets |= INRV_SET_AVX512;
    return sets;
}

#else
/* NEON and SIMD128 need no question: code with them loads only where they are. */
static unsigned of_the_machine(void) { return INRV_SET_PLAIN | INRV_SET_NEON | INRV_SET_SIMD128; }
#endif

extern const struct inrv_kernel inrv_kernel_plain, inrv_kernel_sse4, inrv_kernel_avx2,
    inrv_kernel_avx512, inrv_kernel_neon, inrv_kernel_simd128;

/* Without options that say more, a compiler makes the plain kernels. */
#if !defined(INRV_HAS_PLAIN) && !defined(INRV_HAS_SIMD128)
#define INRV_HAS_PLAIN
#endif

/* The variants that were compiled, the best first. */
static const struct {
    unsigned set;
    const struct inrv_kernel *kernel;
} VARIANTS[] = {
#ifdef INRV_HAS_AVX512
    {INRV_SET_AVX512, &inrv_kernel_avx512},
#endif
#ifdef INRV_HAS_AVX2
    {INRV_SET_AVX2, &inrv_kernel_avx2},
#endif
#ifdef INRV_HAS_SSE4
    {INRV_SET_SSE4, &inrv_kernel_sse4},
#endif
#ifdef INRV_HAS_NEON
    {INRV_SET_NEON, &inrv_kernel_neon},
#endif
#ifdef INRV_HAS_SIMD128
    {INRV_SET_SIMD128, &inrv_kernel_simd128},
#endif
#ifdef INRV_HAS_PLAIN
    {INRV_SET_PLAIN, &inrv_kernel_plain},
#endif
};
#define COUNT (sizeof VARIANTS / sizeof VARIANTS[0])

const char *inrv_version(void) { return INRV_VERSION; }

unsigned inrv_instruction_sets(void) {
    /* Asking takes 50 microseconds in a virtual machine. Every thread finds the same. */
    static atomic_uint known;
    unsigned sets = atomic_load_explicit(&known, memory_order_relaxed);
    if (sets) return sets;
    for (size_t i = 0; i < COUNT; i++) sets |= VARIANTS[i].set;
    sets &= of_the_machine();
    atomic_store_explicit(&known, sets, memory_order_relaxed);
    return sets;
}

const struct inrv_kernel *inrv_kernel(unsigned sets) {
    sets &= inrv_instruction_sets();
    for (size_t i = 0; i < COUNT; i++)
        if (sets & VARIANTS[i].set) return VARIANTS[i].kernel;
    return NULL;
}
