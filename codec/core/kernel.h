/* Kernels: vector code that is compiled once for each set of instructions.
 *
 * Each `*kernel.c` is compiled once for each set, with INRV_VARIANT as the name of the set; those
 * of the set `plain` use no intrinsics. What they have is in a struct of functions, one for each
 * set, and `inrv_kernel` chooses the best. scripts/build_core.py has the list of sets and flags.
 */
#ifndef INRV_KERNEL_H
#define INRV_KERNEL_H

#include "lattice.h"
#include "wavelet.h"

/* Without options that say more, a compiler makes the plain kernels. */
#ifndef INRV_VARIANT
#define INRV_VARIANT plain
#define INRV_PLAIN
#endif

#define INRV_JOIN_(a, b) a##_##b
#define INRV_JOIN(a, b) INRV_JOIN_(a, b)
/* The name of a function or a table in this variant: INRV_VARIANT_OF(dot) is dot_avx2. */
#define INRV_VARIANT_OF(name) INRV_JOIN(name, INRV_VARIANT)

struct lattice_task;
struct lattice_level;
struct packed_network;

/* Functions that exist once for each set of instructions: those of fourier_kernel.c. */
struct features_kernel {
    size_t most; /* frequencies that they have room for */
    void (*fill)(const uint32_t *places, size_t count, int axes, size_t k, const float *cosines,
                 const float *sines, int half, void *features);
    void (*gradient)(const float *positions, size_t count, int axes, size_t k, int half,
                     const void *features, const void *slopes, float *gradient);
};

/* Those of lattice_kernel.c, the ones above, and those of wavelet_kernel.c. */
struct inrv_kernel {
    void (*pack)(struct packed_network *to, const inrv_network *network);
    int (*corner)(inrv_work *work, const struct lattice_task *task);
    int (*pass)(inrv_work *work, const struct lattice_task *task, int level, int parity);
    int (*read)(inrv_work *work, int count, uint32_t first);
    void (*write)(inrv_work *work, int count, uint32_t first);
    void (*restore)(inrv_work *work, const struct lattice_task *task,
                    const struct lattice_level *layer);
    const struct features_kernel *features;
    const WaveletKernel *wavelet;
};

/* The kernels of the best of some sets of instructions, or NULL where there are none.
 * sets: bits of INRV_SET_...; those that this machine cannot run are left out
 */
const struct inrv_kernel *inrv_kernel(unsigned sets);

#endif
