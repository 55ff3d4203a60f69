/* Channels of an open file, region by region: spec/lattice.md. */
#ifndef INRV_CHANNEL_H
#define INRV_CHANNEL_H

#include "lattice.h"
#include "stored.h"

/* Vectors of a grid's leaves, along which values of another frame are fetched. */
typedef struct motion {
    struct motion *next; /* of its owner */
    uint32_t chunk;
    const Topology *topology; /* whose leaves have them */
    int8_t *vectors;          /* [leaves][3] */
    int32_t fraction;
} Motion;

/* What all channels of a decoder share. */
typedef struct {
    const inrv_file *file;
    Memory *memory;
    Topologies *topologies;
    inrv_work *work;
    Tensors defaults; /* the networks that the format ships */
    int32_t *prior;   /* [2][64][46] */
    const int8_t *wavelet_prior;
    Room exterior; /* int32 [listed] of voxels of a region that are not coded */
    Room exterior_masks, exterior_cells; /* of these */
    Room segments[INRV_SEGMENTS];
    Motion *motions;                 /* that are open */
    Room dense, floats, own_units;   /* of a region that values are fetched from */
    Room moved, second_moved, masks; /* what is fetched */
} Lattice;

/* A channel. What follows `turn` is that of one region. */
typedef struct channel {
    const ChannelEntry *entry;
    Stored *stored;
    struct channel *references[2]; /* NULL: none */
    Motion *motions[2];            /* along which these are fetched; NULL: they are not */
    struct channel *referring;     /* while units are decoded: the channel that they are for */
    Tensors tensors;
    inrv_channel parameters;
    inrv_network networks[4]; /* of 1, 2, 3 odd axes, and restoration */
    int8_t *weights;
    int32_t *biases;
    Tensor means, spreads, lanes, segments, lengths, checksums, bits;
    uint64_t *starts; /* [regions][4] of the segments */
    double knots[17]; /* of the offsets */
    int32_t *palette; /* [top / 128 + 1] */
    Tensor low_bits;

    uint64_t turn;
    int level;
    size_t count; /* of the units */
    Room units;   /* int32 [count] of the coded voxels, of those at multiples of 2^level */
    Room known;   /* int32 [voxels] those of separate voxels among them */
} Channel;

/* Opens the networks that the format ships, if they are not open. */
int inrv_lattice_open(Lattice *lattice, unsigned sets);
void inrv_lattice_free(Lattice *lattice);

/* Opens the motion of a MOVE chunk, or finds it where it is open. */
int inrv_motion_open(Lattice *lattice, int32_t chunk, Motion **found);

/* Opens a channel.
   stored: the grid whose component it is */
int inrv_channel_open(Lattice *lattice, const ChannelEntry *entry, Stored *stored,
                      Channel *channel);
void inrv_channel_free(Memory *memory, Channel *channel);

/* Decodes the units of a region, and those of the channels that it is predicted from. */
int inrv_channel_units(Lattice *lattice, Channel *channel, uint64_t key, int level, uint64_t turn);

/* Turns the units into values: as many floats, `pitch` floats apart.
   clamp: whether they stay within the range of the component */
int inrv_channel_values(Lattice *lattice, Channel *channel, int clamp, float *values, size_t pitch);

/* Copies the units, as their bytes, to such places. */
void inrv_channel_copy(const Channel *channel, float *places, size_t pitch);

#endif
