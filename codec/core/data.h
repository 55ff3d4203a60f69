/* What the format ships: scripts/build_core.py writes it into data.c from the files in spec/data.
 */
#ifndef INRV_DATA_H
#define INRV_DATA_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t inrv_data_dictionary[]; /* dictionary-1.bin */
extern const size_t inrv_data_dictionary_size;
extern const uint8_t inrv_data_prior[]; /* of masks, prior-1.bin: signed bytes */
extern const size_t inrv_data_prior_size;
extern const uint8_t inrv_data_networks[]; /* default-1.safetensors */
extern const size_t inrv_data_networks_size;

#endif
