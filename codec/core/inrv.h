/* The core of inrv: it reads .inrv files, and decodes and codes lattices and masks. C11, no
 * dependency, no state.
 *
 * A function that can fail returns INRV_OK or what went wrong. Every function may be called from
 * many threads at once; what one thread at a time must use says so. Pointers to what a function
 * reads are const, and may have any alignment that their type has. All bytes are little-endian.
 *
 * A program that shows a file opens it (inrv_open), lists its grids (inrv_grid_at), opens a decoder
 * for a grid (inrv_decoder_open), and decodes regions (inrv_decode, inrv_decode_block) or asks for
 * values at points (inrv_values_at). One that shows sequences too opens them all as such
 * (inrv_sequence_open): a file of one volume is then a sequence of one frame. examples/value_at.c
 * does that. lattice.h, masks.h and sample.h have what lies below.
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
#define INRV_MEMORY 1        /* There is not enough memory. */
#define INRV_USE 2           /* The caller made a mistake: an argument is out of its range. */
#define INRV_NOT_SUPPORTED 3 /* The file is sound; this library does not compute its values. */
#define INRV_RULE(letter, number) ((letter) << 8 | (number))
#define INRV_RULE_LETTER(error) ((char)((error) >> 8))
#define INRV_RULE_NUMBER(error) ((error) & 255)

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

/* ---- Files ---- */

/* What a host does for the core. */
typedef struct {
    void *context; /* what the functions below get */

    /* Reads bytes of the file; returns 0, or anything else where it cannot: INRV_RULE('I', 1).
       Several threads may call it at once if they decode at once. */
    int (*read)(void *context, uint64_t offset, void *to, size_t size);

    /* Unpacks one frame of zstd with the dictionary that inrv_dictionary gives. Returns 0 where
       `raw_size` bytes came out, no more and no fewer, and nothing was left of the frame.
       frame: `size` bytes, which begin with zstd's magic number and state the content size */
    int (*unzstd)(void *context, const void *frame, size_t size, void *raw, size_t raw_size);
} inrv_host;

/* What a file may take; spec/limits-and-security.md says what each limit means. */
typedef struct {
    uint32_t chunks, manifest_bytes, grids, frames, leaves;
    uint64_t chunk_bytes, exact_bytes;
    uint64_t memory; /* bytes that the file takes at most, and each decoder, each set of points, and
                        a sequence besides its files; a decoder has 60 MB more for the lattice */
} inrv_limits;

/* Kinds of grids; which grid_class a grid has. */
enum { INRV_UNKNOWN, INRV_LEVEL_SET, INRV_FOG_VOLUME, INRV_STAGGERED };

/* What a file says of a grid. */
typedef struct {
    const char *name;     /* UTF-8, or bytes as the .vdb file had them, and a zero */
    size_t name_size;     /* bytes before the zero: a name may hold zeros too */
    const char *type;     /* "float", "vec3s"; of a passthrough grid OpenVDB's name of its tree */
    int32_t components;   /* 1 or 3 */
    int32_t passthrough;  /* whether it is kept as bytes of the .vdb file: then only name, type and
                             position are known */
    int32_t frame;        /* the frame that it belongs to, from 0 */
    int32_t position;     /* its place among all grids of its frame */
    int32_t grid_class;   /* INRV_FOG_VOLUME, ... */
    int32_t whole_leaves; /* whether decoded values tell which voxels are active: then the counts
                             and the box are those of all voxels that are stored */
    float background[3];  /* value of every voxel outside of leaves and tiles */
    double matrix[16];    /* row-major: the row [x y z 1] of index space times it is world space */
    uint64_t active_voxels, leaf_voxels; /* those of tiles included, and without them */
    int32_t has_box;                     /* whether any voxel is active */
    int32_t lower[3], upper[3]; /* corners of the box of all active voxels, both included */
    struct {
        double minimum, maximum; /* range of the coded values */
        double scale;            /* units in that range; 0 where no voxel is coded, or otherwise */
    } component[3];
} inrv_grid;

/* A moment: a file of one volume has one, and a group of a sequence has several. */
typedef struct {
    int32_t has_number, has_time;
    double number; /* as file names and timelines have it; 0 where it has none */
    double time;   /* in the unit that the sequence states */
    int32_t group; /* of a frame of a sequence: the group that holds it; else 0 */
} inrv_frame;

/* An open file. Nothing in it changes after it was opened: threads may share it. */
typedef struct inrv_file inrv_file;

/* What limits are without a caller's own; 4 GiB of memory, or 1 GiB where pointers have 32 bits. */
INRV_API void inrv_default_limits(inrv_limits *limits);

/* The bytes of the format's zstd dictionary. */
INRV_API const void *inrv_dictionary(size_t *size);

/* Opens a file of one volume, by two reads: header, then chunk table and manifest.
   host: copied; what `context` points to stays as long as the file
   size: of the file, in bytes
   limits: NULL for inrv_default_limits
   file: filled; inrv_close frees it */
INRV_API int inrv_open(const inrv_host *host, uint64_t size, const inrv_limits *limits,
                       inrv_file **file);

/* The same of bytes in memory, which stay as long as the file.
   host: whose `read` is not called; NULL where nothing in the file is compressed */
INRV_API int inrv_open_memory(const void *bytes, size_t size, const inrv_host *host,
                              const inrv_limits *limits, inrv_file **file);
INRV_API void inrv_close(inrv_file *file); /* after all decoders of it */

/* The number of grids of all frames; the coded ones come first, frame by frame, in the order of
   their .vdb file. */
INRV_API int32_t inrv_grid_count(const inrv_file *file);
INRV_API const inrv_grid *inrv_grid_at(const inrv_file *file, int32_t number); /* or NULL */

/* The number of frames: 1 or more. They come in the order of coding. */
INRV_API int32_t inrv_frame_count(const inrv_file *file);
INRV_API const inrv_frame *inrv_frame_at(const inrv_file *file, int32_t place); /* or NULL */

/* The place of the frame that has a number; -1 where none has. */
INRV_API int32_t inrv_frame_of(const inrv_file *file, double number);

/* ---- Sequences ---- */

/* What a player does behind the last frame. */
enum { INRV_LOOP_NONE, INRV_LOOP_REPEAT, INRV_LOOP_PING_PONG };

/* How the frames of a sequence lie in time. */
typedef struct {
    int32_t rate[2];     /* frames a unit of time, as numerator and denominator; 0 and 0 where it is
                            not known */
    int32_t loop;        /* INRV_LOOP_NONE, ... */
    int32_t has_start;   /* whether `start` is known; else it is the number of the first frame */
    double start;        /* number of the first frame that there should be */
    double increment;    /* from the number of a frame to that of the next */
    const char *unit;    /* of all times, as "s": UTF-8 and a zero */
    const char *pattern; /* the name of the files that the frames came from, as "fire.####.vdb", or
                            nothing: UTF-8 and a zero */
} inrv_timeline;

/* An open sequence: frames in groups, each of which is a file within the file. Nothing in it
   changes after it was opened: threads may share it. */
typedef struct inrv_sequence inrv_sequence;

/* Opens a sequence, by a read of its head and one or a few of its index; no group is read. A file
   of one volume is opened too, by three reads, and is the only group.
   host, size, limits: as of inrv_open
   sequence: filled; inrv_sequence_close frees it */
INRV_API int inrv_sequence_open(const inrv_host *host, uint64_t size, const inrv_limits *limits,
                                inrv_sequence **sequence);

/* The same of bytes in memory, as inrv_open_memory has them. */
INRV_API int inrv_sequence_open_memory(const void *bytes, size_t size, const inrv_host *host,
                                       const inrv_limits *limits, inrv_sequence **sequence);
INRV_API void inrv_sequence_close(inrv_sequence *sequence); /* after all files of it */

INRV_API const inrv_timeline *inrv_sequence_timeline(const inrv_sequence *sequence);

/* The number of frames, 0 where there is none yet; they come in the order of their numbers. */
INRV_API int32_t inrv_sequence_frame_count(const inrv_sequence *sequence);
INRV_API const inrv_frame *inrv_sequence_frame_at(const inrv_sequence *sequence,
                                                  int32_t place); /* or NULL */

/* Opens a group, as inrv_open opens a file. Of its frames, inrv_frame_of finds the one that has the
   number of a frame of the sequence; grids say whose they are. It may have frames that the sequence
   has not.
   group: as a frame of the sequence has it
   file: filled; inrv_close frees it */
INRV_API int inrv_sequence_group(const inrv_sequence *sequence, int32_t group, inrv_file **file);

/* ---- Regions of a grid ---- */

/* Decodes a grid, region by region. A region is a cube of 128^3 voxels whose corner is a multiple
   of 128; nothing but what belongs to it is read and decoded. One thread uses a decoder at a time;
   several threads open one each. */
typedef struct inrv_decoder inrv_decoder;

/* A cube of voxels of one value. */
typedef struct {
    int32_t corner[3];   /* lowest */
    int32_t edge;        /* 8, 128 or 4096 */
    int32_t active;      /* whether its voxels are active */
    const float *values; /* [components] */
} inrv_tile;

/* What a grid consists of. */
typedef struct {
    size_t leaves, regions, tiles;
    const int32_t (*corners)[3]; /* [regions] that hold a leaf, ascending by x, then y, then z */
    const inrv_tile *tile;       /* [tiles] */
} inrv_skeleton;

/* The leaves of a region, decoded. A leaf is a cube of 8^3 voxels; bit z of byte 8 x + y of its
   mask is voxel (x, y, z). Values come leaf by leaf, in the order of the bits. All arrays stay
   until the decoder is used again. */
typedef struct {
    size_t leaves, voxels, inactive;
    const uint16_t *cells;         /* [leaves] ascending: x << 8 | y << 4 | z of the leaf's place */
    const uint8_t *masks;          /* [leaves][64] active voxels, at multiples of 2^level */
    const float *values;           /* [voxels][components] of these */
    const uint8_t *inactive_masks; /* [leaves][64] other voxels that do not hold the background */
    const float *inactive_values;  /* [inactive][components] of these */
} inrv_decoded;

/* What a block is filled with. */
enum {
    INRV_FLOAT, /* float32 */
    INRV_HALF,  /* float16, rounded to nearest */
    INRV_UNITS  /* int32: whole numbers of the lattice, `scale` of which make the range;
                   INRV_NO_UNITS where a voxel is not coded */
};
#define INRV_NO_UNITS INT32_MIN

/* Opens a decoder for a grid, and reads what is known of it before its regions.
   sets: INRV_SET_... that may be used, as of inrv_instruction_sets
   decoder: filled; inrv_decoder_close frees it */
INRV_API int inrv_decoder_open(const inrv_file *file, int32_t grid, unsigned sets,
                               inrv_decoder **decoder);
INRV_API void inrv_decoder_close(inrv_decoder *decoder);
INRV_API const inrv_skeleton *inrv_decoder_skeleton(const inrv_decoder *decoder);

/* Decodes the leaves of a region.
   corner: int32 [3], multiples of 128; a region without leaves gives none
   level: 0 to 6: only voxels at multiples of 2^level are decoded; those of level 0 are final */
INRV_API int inrv_decode(inrv_decoder *decoder, const int32_t *corner, int level,
                         inrv_decoded *decoded);

/* Decodes every voxel of a region at multiples of 2^level: leaves, tiles and background.
   format: INRV_FLOAT, INRV_HALF or INRV_UNITS
   values: [x][y][z][components] with 128 >> level voxels along each axis; or NULL: none are decoded
           but those that tell which voxels are active
   active: uint8 [x][y][z], filled with 1 and 0; or NULL */
INRV_API int inrv_decode_block(inrv_decoder *decoder, const int32_t *corner, int level, int format,
                               void *values, uint8_t *active);

/* ---- Points ---- */

/* Decoded regions of a grid, kept for points. One thread uses it at a time. */
typedef struct inrv_points inrv_points;

/* Begins with no region.
   decoder: stays as long as the points; each region is decoded when it is first needed
   bytes: of decoded regions that are kept; what the 8 voxels around a point need is kept always
   points: filled; inrv_points_free frees it */
INRV_API int inrv_points_new(inrv_decoder *decoder, size_t bytes, inrv_points **points);
INRV_API void inrv_points_free(inrv_points *points);

/* Values at points of index space, as `VolumeGrid.sample` of the Python library gives them. The
   components of a staggered grid are interpolated where they live: on the lower faces of voxels.
   nearest: whether the nearest voxel is taken, instead of interpolating the 8 around a point
   at: double [count][3], finite
   values: float [count][components], filled */
INRV_API int inrv_values_at(inrv_points *points, int nearest, const double *at, size_t count,
                            float *values);

/* The point of index space that a point of world space is.
   world, index: double [3] */
INRV_API int inrv_world_to_index(const inrv_grid *grid, const double *world, double *index);

#ifdef __cplusplus
}
#endif
#endif
