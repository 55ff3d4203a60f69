/* The manifest, checked as far as a decoder goes by it. */
#ifndef INRV_MANIFEST_H
#define INRV_MANIFEST_H

#include "container.h"
#include "lattice.h"

#define NO_NUMBER (-1) /* null in the place of a count */

enum threshold_rule { ABOVE, AWAY, WITHIN };

/* A coded grid. Chunk numbers are NO_NUMBER where there is none. */
typedef struct {
    inrv_grid grid;
    int32_t outputs[3]; /* NO_NUMBER: the component is its minimum everywhere */
    int32_t topology, inactive, frequent, exact, outliers;
    int32_t topology_of; /* number of a grid */
    int32_t has_threshold;
    float threshold;
    enum threshold_rule rule;
    int32_t sound_map; /* whether the class of the transform is known */
} Entry;

/* A channel of the lattice. */
typedef struct {
    int32_t steps[INRV_LEVELS], top, background;
    double scale;
    int32_t reference, motion, second_reference, second_motion;
    int32_t exterior, restoration, set, fitted, trellis, wavelet, offsets, lossless;
    int32_t codes, bits;
    int32_t grid, component; /* whose output it is */
} ChannelEntry;

struct inrv_file {
    int kept; /* whether a sequence closes it, in place of who asked for it */
    Memory memory;
    Container container;
    int32_t frame_count;
    inrv_frame *frames;
    int32_t count, coded; /* grids, and those that are no passthrough grids */
    Entry *grids;
    int32_t outputs;        /* of the field */
    int field_error;        /* what keeps its values from being decoded, or INRV_OK */
    ChannelEntry *channels; /* [outputs]; NULL where the field is no lattice */
};

/* Opens a file that was begun as a container. */
int inrv_file_open(const Container *container, inrv_file **file);

/* Fills grids and channels from the text of the manifest. */
int inrv_manifest_read(inrv_file *file, const uint8_t *text, size_t size);

/* Sorts frames by their numbers. Returns whether each of several has a number of its own, and times
   ascend with the numbers or no frame has one.
   order: room for twice as many; its first items are filled */
int inrv_order_frames(const inrv_frame *frames, uint32_t count, Keyed *order);

#endif
