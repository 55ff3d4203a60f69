/* Fourier features of voxels and their gradient: the field `fourier` on CPUs.

   Features are rows of k cosines, then k sines, as float32 or as the upper halves of float32, which
   are bfloat16. */

#ifndef INRV_FOURIER_H
#define INRV_FOURIER_H

#include "inrv.h"

/* Fills features with the cosines and sines of sums of three or four angles. Returns INRV_USE where
   none of `sets` runs here.
   places: uint32 [count][axes] rows of the tables, one along each axis
   axes: 3, or 4 with time
   cosines, sines: float32 [rows][k]
   features: [count][2 k]
   half: whether features are bfloat16, rounded to the nearest, ties to even */
INRV_API int inrv_features(unsigned sets, const uint32_t *places, size_t count, int axes, size_t k,
                           const float *cosines, const float *sines, int half, void *features);

/* Adds the gradient by frequency, over 2 pi: the sum over all positions of position * (cosine *
   d/dsine - sine * d/dcosine).
   positions: float32 [count][axes]
   axes: 3, or 4 with time
   slopes: [count][2 k] gradient by the features, as these are
   gradient: float32 [k][axes] */
INRV_API int inrv_features_gradient(unsigned sets, const float *positions, size_t count, int axes,
                                    size_t k, int half, const void *features, const void *slopes,
                                    float *gradient);

#endif
