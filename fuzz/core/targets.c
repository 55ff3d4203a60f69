/* The targets: a function each, and a line each in TARGETS. fuzz/native.py has
 * their seeds. */
#include "targets.h"

#include <stdlib.h>
#include <string.h>

#include "inrv.h"
#include "lattice.h"
#include "masks.h"

enum {
  MOST_MASKS = 16,
  MOST_LEAVES = 8,
  VOXELS = MOST_LEAVES * 512,
  NUMBERS = 2000,
  COUNTS = INRV_QUANTISERS * INRV_TABLES * INRV_TOKENS
};

/* What the bytes of a case begin with; fuzz/regions.py writes the same. */
struct head {
  uint8_t exterior, kind, restoration, reference, cut, lanes, level, leaves,
      mean, spread;
  uint16_t sizes[INRV_SEGMENTS];
  uint32_t top;
  struct {
    uint8_t place,
        masks[3]; /* bits x, y, z of the cell, and its mask's bytes in turn */
  } leaf[MOST_LEAVES];
};

/* A network whose weights are noise. */
struct noise {
  inrv_network network;
  int8_t weights[4096];
  int32_t biases[128];
};

static void make_noise(struct noise *noise, int inputs, int first, int second,
                       int outputs) {
  uint32_t state = 1;
  for (size_t i = 0; !noise->network.inputs && i < sizeof noise->weights; i++) {
    state = state * 1664525u + 1013904223u;
    noise->weights[i] = (int8_t)((int)(state >> 27) - 16);
  }
  const int8_t *weights = noise->weights;
  noise->network = (inrv_network){
      inputs,  first,         second,  outputs,       weights, noise->biases,
      weights, noise->biases, weights, noise->biases, weights};
}

static inrv_work *work_of(unsigned set) {
  static inrv_work *kept[32];
  int number = __builtin_ctz(set);
  if (!kept[number])
    kept[number] = inrv_work_new(set);
  return kept[number];
}

/* A region of up to eight leaves, decoded by plain C and by another variant
 * that runs here. */
static int region(const uint8_t *data, size_t size) {
  static struct noise prediction[3], restoration;
  static int32_t prior[COUNTS], first[VOXELS], values[VOXELS];
  static const int8_t wavelet_prior[INRV_WAVELET_PRIOR];
  static const int INPUTS[3] = {43, 51, 47};
  struct head head;
  if (size < sizeof head)
    return INRV_USE;
  memcpy(&head, data, sizeof head);
  for (int i = 0; i < COUNTS; i++)
    prior[i] = 1 + 40 / (1 + i % INRV_TOKENS);
  inrv_channel channel = {.steps = {128, 77, 46, 32, 32, 32, 32},
                          .prior = prior,
                          .wavelet_prior = wavelet_prior};
  channel.wavelet = head.kind >> 2 & 1;
  channel.top =
      (int32_t)(1 + head.top % (channel.wavelet ? 1u << 15 : 1u << 23));
  channel.exterior = head.exterior & 1;
  channel.lossless = head.kind & 1;
  channel.trellis =
      head.kind >> 1 & 1; /* with `lossless` too, which no file can have */
  channel.reference_top = head.reference & 1 ? 1000 : 0;
  for (int i = 0; i < 3; i++) {
    make_noise(&prediction[i], INPUTS[i] + (channel.reference_top ? 13 : 0), 32,
               32, 2);
    channel.prediction[i] = &prediction[i].network;
  }
  make_noise(&restoration, 37, 24, 16, 1);
  if (head.restoration & 1)
    channel.restoration = &restoration.network;
  uint16_t cells[MOST_LEAVES];
  uint8_t masks[MOST_LEAVES][64];
  size_t leaves = head.leaves % (MOST_LEAVES + 1);
  for (size_t i = 0; i < leaves; i++) {
    unsigned place = head.leaf[i].place & 7;
    cells[i] =
        (uint16_t)((place >> 2) << 8 | (place >> 1 & 1) << 4 | (place & 1));
    for (int k = 0; k < 64; k++)
      masks[i][k] = head.leaf[i].masks[k % 3];
  }
  for (int i = 0; i < VOXELS; i++)
    first[i] = i % 1000;
  inrv_region known = {.leaves = {leaves, cells, masks[0]},
                       .mean = head.mean,
                       .spread = head.spread % 23};
  inrv_codes codes = {.segments = head.cut & 1 ? INRV_SEGMENTS : 1,
                      .lanes = head.lanes % 6};
  static int32_t reference_values[VOXELS];
  memcpy(reference_values, first, sizeof first);
  if (channel.reference_top) {
    known.reference = known.leaves;
    known.reference_values = reference_values;
  }
  const uint8_t *next = data + sizeof head;
  size_t left = size - sizeof head;
  for (int i = 0; i < codes.segments; i++) {
    codes.bytes[i] = next;
    codes.sizes[i] = head.sizes[i] < left ? head.sizes[i] : left;
    next += codes.sizes[i];
    left -= codes.sizes[i];
  }
  int level = head.level % INRV_LEVELS;
  memset(first, 0, sizeof first);
  int error = inrv_decode_region(work_of(INRV_SET_PLAIN), &channel, &known,
                                 &codes, level, first);
  /* The bytes choose the variant, so that the same bytes do the same. */
  unsigned sets = inrv_instruction_sets() & ~INRV_SET_PLAIN;
  for (int skipped = size % 7; skipped-- && sets & (sets - 1);)
    sets &= sets - 1;
  if (sets) {
    memset(values, 0, sizeof values);
    inrv_work *work = work_of(sets & -sets);
    int other =
        inrv_decode_region(work, &channel, &known, &codes, level, values);
    if (other != error || (!error && memcmp(first, values, sizeof first)))
      __builtin_trap();
  }
  for (int i = 0; i < VOXELS && !error; i++)
    if (first[i] < 0 || first[i] > channel.top)
      __builtin_trap();
  return error;
}

/* Numbers under two tables; the first byte says how many come first. */
static int numbers(const uint8_t *data, size_t size) {
  static int32_t prior[COUNTS], found[NUMBERS];
  if (size < 1)
    return INRV_USE;
  for (int i = 0; i < COUNTS; i++)
    prior[i] = 1 + 40 / (1 + i % INRV_TOKENS);
  const size_t counts[2] = {data[0], 100};
  const uint8_t tables[2] = {20, 40};
  inrv_codes codes = {.segments = 1, .bytes = {data + 1}, .sizes = {size - 1}};
  return inrv_decode_numbers(work_of(INRV_SET_PLAIN), prior, 2, counts, tables,
                             &codes, found);
}

/* Masks of a region: how many leaves, whether they have a reference, how far
 * their cells lie from each other, their kinds, and the coded bytes. The prior
 * is 0. What is decoded comes back when it is coded again. */
static int masks(const uint8_t *data, size_t size) {
  static const int8_t prior[INRV_MASK_PRIOR];
  size_t head = 3 + MOST_MASKS, mixed = 0;
  if (size < head)
    return INRV_USE;
  uint8_t kinds[MOST_MASKS], found[MOST_MASKS][INRV_MASK_BYTES],
      again[MOST_MASKS][INRV_MASK_BYTES],
      reference[MOST_MASKS][INRV_MASK_BYTES];
  uint16_t cells[MOST_MASKS];
  inrv_mask_leaves leaves = {data[0] % (MOST_MASKS + 1), cells, kinds, NULL};
  if (data[1] & 1)
    leaves.reference = reference[0];
  for (size_t i = 0; i < leaves.count; i++) {
    cells[i] = (uint16_t)(i * (data[2] + 1));
    kinds[i] = data[3 + i] & 3;
    mixed += kinds[i] == INRV_MIXED;
    memset(reference[i], data[3 + i], INRV_MASK_BYTES);
  }
  void *work = malloc(inrv_masks_work(mixed)),
       *least = malloc(inrv_masks_work(0));
  uint8_t *bytes = malloc(inrv_masks_bound(mixed) + 1);
  if (!work || !least || !bytes)
    abort();
  int error = inrv_masks_decode(prior, &leaves, data + head, size - head, least,
                                found[0]);
  if (!error) {
    size_t used;
    if (inrv_masks_encode(prior, &leaves, found[0], work, bytes, &used) ||
        used > inrv_masks_bound(mixed) ||
        inrv_masks_decode(prior, &leaves, bytes, used, least, again[0]) ||
        memcmp(found, again, leaves.count * INRV_MASK_BYTES))
      __builtin_trap();
  }
  free(work);
  free(least);
  free(bytes);
  return error;
}

/* Lets the chunks of a file fill it again, whose size has changed. */
static void repair(uint8_t *bytes, size_t size) {
  enum {
    HEADER = 48,
    ENTRY = 40,
    SIZE_AT = 16,
    COUNT_AT = 12,
    MANIFEST_AT = 28
  };
  uint32_t count, manifest;
  const uint64_t whole = size;
  if (size < HEADER)
    return;
  memcpy(bytes + SIZE_AT, &whole, sizeof whole);
  memcpy(&count, bytes + COUNT_AT, sizeof count);
  memcpy(&manifest, bytes + MANIFEST_AT, sizeof manifest);
  uint64_t at = HEADER + (uint64_t)count * ENTRY + manifest;
  if (at > size)
    return;
  uint8_t *last = NULL;
  for (int bits = 0; bits < 2; bits++)
    for (uint32_t i = 0; i < count; i++) {
      uint8_t *entry = bytes + HEADER + (size_t)i * ENTRY;
      uint64_t stored;
      if (!memcmp(entry, "BITS", 4) != bits)
        continue;
      memcpy(&stored, entry + 16, sizeof stored);
      if (stored > size - at)
        stored = size - at;
      const uint64_t sizes[3] = {at, stored, stored};
      memcpy(entry + 8, sizes, entry[5] ? 16 : 24);
      at += stored;
      last = entry;
    }
  if (!last || at == size)
    return;
  uint64_t stored;
  memcpy(&stored, last + 16, sizeof stored);
  stored += size - at;
  memcpy(last + 16, &stored, sizeof stored);
  if (!last[5])
    memcpy(last + 24, &stored, sizeof stored);
}

static inrv_limits low_limits(void) {
  inrv_limits limits;
  inrv_default_limits(&limits);
  limits.leaves = 1 << 12;
  limits.frames = 1 << 10;
  limits.memory = 1 << 26;
  return limits;
}

/* Decodes the grids of a file: regions at two levels, a block, points. Returns
 * the first error. */
static int decode(const inrv_file *opened) {
  enum { MOST_REGIONS = 8 };
  int first = INRV_OK;
  for (int32_t i = 0; !first && i < inrv_grid_count(opened) && i < 8; i++) {
    inrv_decoder *decoder;
    int error = inrv_decoder_open(opened, i, inrv_instruction_sets(), &decoder);
    if (error) {
      if (!inrv_grid_at(opened, i)->passthrough && !first)
        first = error;
      continue;
    }
    const inrv_skeleton *skeleton = inrv_decoder_skeleton(decoder);
    for (size_t k = 0; k < skeleton->regions && k < MOST_REGIONS; k++) {
      inrv_decoded decoded;
      static float block[3 * 16 * 16 * 16];
      const int32_t *corner = skeleton->corners[k];
      for (int level = 2; level >= 0; level -= 2) {
        error = inrv_decode(decoder, corner, level, &decoded);
        if (error && !first)
          first = error;
      }
      inrv_decode_block(decoder, corner, 3, (int)(k % 3), block, NULL);
    }
    inrv_points *points;
    if (!inrv_points_new(decoder, 1 << 20, &points)) {
      const double at[6] = {0.5, 7.25, 8, -130.5, 4096, 0.125};
      float values[6];
      inrv_values_at(points, 0, at, 2, values);
      inrv_points_free(points);
    }
    inrv_decoder_close(decoder);
  }
  return first;
}

/* Everything of a file. Checksums always hold here (container.c), and mostly
 * the sizes. */
static int file(const uint8_t *data, size_t size) {
  uint8_t *bytes = malloc(size + 1);
  if (!bytes)
    abort();
  memcpy(bytes, data, size);
  if (size % 8)
    repair(bytes, size);
  const inrv_limits limits = low_limits();
  inrv_file *opened;
  int error = inrv_open_memory(bytes, size, NULL, &limits, &opened);
  if (!error)
    error = decode(opened);
  inrv_close(opened);
  free(bytes);
  return error;
}

/* Lets a slot name the last record of the index, which is not compressed and
 * ends where the file does: it may lie elsewhere now. */
static void repair_slot(uint8_t *bytes, size_t size) {
  enum { HEAD = 64, SLOT_AT = 16 };
  static const char START[] = "{\"before\"";
  const size_t length = sizeof START - 1;
  size_t at = size;
  while (at > HEAD && (size - at < length || memcmp(bytes + at, START, length)))
    at--;
  if (at <= HEAD)
    return;
  const uint64_t offset = at;
  const uint32_t sizes[2] = {(uint32_t)(size - at), (uint32_t)(size - at)};
  memcpy(bytes + SLOT_AT, &offset, sizeof offset);
  memcpy(bytes + SLOT_AT + 8, sizes, sizeof sizes);
}

/* Opens the group of a frame and decodes it. */
static int frame(const inrv_sequence *opened, const inrv_frame *frame) {
  inrv_file *group;
  int error = inrv_sequence_group(opened, frame->group, &group);
  if (!error) {
    const inrv_frame *own =
        inrv_frame_at(group, inrv_frame_of(group, frame->number));
    if (!own || own->has_time != frame->has_time)
      __builtin_trap();
    error = decode(group);
  }
  inrv_close(group);
  return error;
}

/* Everything of a sequence, or of a file as one: timeline, frames, and the
 * groups of some of them. */
static int sequence(const uint8_t *data, size_t size) {
  enum { MOST_FRAMES = 3 };
  uint8_t *bytes = malloc(size + 1);
  if (!bytes)
    abort();
  memcpy(bytes, data, size);
  if (size % 8)
    repair_slot(bytes, size);
  const inrv_limits limits = low_limits();
  inrv_sequence *opened;
  int error = inrv_sequence_open_memory(bytes, size, NULL, &limits, &opened);
  if (!error) {
    const inrv_timeline *timeline = inrv_sequence_timeline(opened);
    if (!(timeline->increment > 0) || strlen(timeline->unit) > size ||
        strlen(timeline->pattern) > size)
      __builtin_trap();
    const int32_t count = inrv_sequence_frame_count(opened);
    for (int32_t i = 1; i < count; i++)
      if (!(inrv_sequence_frame_at(opened, i - 1)->number <
            inrv_sequence_frame_at(opened, i)->number))
        __builtin_trap();
    for (int32_t i = 0; i < count && i < MOST_FRAMES; i++) {
      const int own = frame(opened, inrv_sequence_frame_at(opened, i));
      if (!error)
        error = own;
    }
  }
  inrv_sequence_close(opened);
  free(bytes);
  return error;
}

const struct target TARGETS[] = {
    {"region", region}, {"numbers", numbers},   {"masks", masks},
    {"file", file},     {"sequence", sequence},
};
const size_t TARGET_COUNT = sizeof TARGETS / sizeof TARGETS[0];
