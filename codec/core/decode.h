/* What points need of a decoder besides inrv.h. */
#ifndef INRV_DECODE_H
#define INRV_DECODE_H

#include "topology.h"

const inrv_grid *inrv_decoder_grid(const inrv_decoder *decoder);
const Topology *inrv_decoder_topology(const inrv_decoder *decoder);
size_t inrv_decoder_limit(const inrv_decoder *decoder); /* of memory */

#endif
