/* The door to the kernels of Fourier features. */

#include "fourier.h"

#include "kernel.h"

static const struct features_kernel *kernel_for(unsigned sets, int axes, size_t k) {
    const struct inrv_kernel *kernel = inrv_kernel(sets);
    return kernel && (axes == 3 || axes == 4) && k <= kernel->features->most ? kernel->features
                                                                             : NULL;
}

int inrv_features(unsigned sets, const uint32_t *places, size_t count, int axes, size_t k,
                  const float *cosines, const float *sines, int half, void *features) {
    const struct features_kernel *kernel = kernel_for(sets, axes, k);
    if (!kernel) return INRV_USE;
    kernel->fill(places, count, axes, k, cosines, sines, half, features);
    return INRV_OK;
}

int inrv_features_gradient(unsigned sets, const float *positions, size_t count, int axes, size_t k,
                           int half, const void *features, const void *slopes, float *gradient) {
    const struct features_kernel *kernel = kernel_for(sets, axes, k);
    if (!kernel) return INRV_USE;
    kernel->gradient(positions, count, axes, k, half, features, slopes, gradient);
    return INRV_OK;
}
