/* Sequences: the head, the records of the index, and groups, which are files within the file. */
#include <stdlib.h>
#include <string.h>

#include "json_rules.h"
#include "manifest.h"

enum { HEAD = 64, SLOTS_AT = 16, SLOT = 24, MOST_RECORDS = 64, MAJOR = 2 };

/* Where a record of the index lies, as a slot or a later record says. */
typedef struct {
    uint64_t offset, stored, raw, checksum;
} Place;

/* Where a group lies. */
typedef struct {
    uint64_t offset, size;
} Group;

struct inrv_sequence {
    Memory memory;
    Container container; /* the whole file, which has no chunks of its own */
    inrv_file *volume;   /* where the file is no sequence; else NULL */
    inrv_timeline timeline;
    uint64_t count; /* of frames that the index has, of which no more are kept than the limit */
    Room frames;    /* inrv_frame [count] */
    int32_t group_count;
    Room groups; /* Group [group_count] */
    int astray;  /* whether a group has no frame, or does not lie in the file */
};

/* ---- Records ---- */

static void free_timeline(Memory *memory, inrv_timeline *timeline) {
    inrv_give(memory, (void *)(uintptr_t)timeline->unit);
    inrv_give(memory, (void *)(uintptr_t)timeline->pattern);
    memset(timeline, 0, sizeof *timeline);
}

static int read_rate(const Json *json, uint32_t timeline, int32_t rate[2]) {
    uint32_t node;
    TRY(inrv_want(json, timeline, "rate", &node));
    if (json->nodes[node].kind == JSON_NULL) return INRV_OK;
    TRY(inrv_want_list(json, timeline, "rate", 2, &node));
    for (uint32_t i = 0; i < 2; i++) {
        int64_t whole;
        if (!inrv_json_whole(json, node + i, &whole) || whole < 1 || whole > INT32_MAX)
            return WRONG;
        rate[i] = (int32_t)whole;
    }
    return INRV_OK;
}

/* Checks metadata as far as they are entries. */
static int check_metadata(const Json *json, uint32_t timeline) {
    const JsonNode *nodes = json->nodes;
    uint32_t object, node;
    TRY(inrv_want_kind(json, timeline, "metadata", JSON_OBJECT, &object));
    for (uint32_t key = object + 1; key < nodes[object].behind; key = nodes[key + 1].behind) {
        TRY(inrv_want_kind(json, key + 1, "type", JSON_STRING, &node));
        TRY(inrv_want(json, key + 1, "value", &node));
    }
    return INRV_OK;
}

static int read_timeline(Memory *memory, const Json *json, uint32_t node, inrv_timeline *timeline) {
    static const char *const LOOPS[] = {"none", "repeat", "ping-pong"};
    uint32_t at;
    size_t size;
    int loop;
    TRY(read_rate(json, node, timeline->rate));
    TRY(inrv_want_number_or_null(json, node, "start", &timeline->has_start, &timeline->start));
    TRY(inrv_want(json, node, "increment", &at));
    TRY(inrv_number_within(json, at, __builtin_inf(), &timeline->increment));
    if (!(timeline->increment > 0)) return WRONG;
    TRY(inrv_want_choice(json, node, "loop", LOOPS, 3, -1, &loop));
    timeline->loop = loop;
    TRY(check_metadata(json, node));
    TRY(inrv_want_text(memory, json, node, "unit", &timeline->unit, &size));
    return inrv_want_text(memory, json, node, "pattern", &timeline->pattern, &size);
}

static uint64_t most_frames(const inrv_sequence *sequence) {
    const uint32_t most = sequence->container.limits.frames;
    return most < INT32_MAX ? most : INT32_MAX;
}

/* Reads a group and its frames, and keeps them unless the sequence is going to be refused. */
static int read_group(inrv_sequence *sequence, const Json *json, uint32_t node) {
    const uint64_t first = sequence->count;
    int64_t offset, size;
    uint32_t list;
    TRY(inrv_want_whole(json, node, "offset", 0, INT64_MAX, &offset));
    TRY(inrv_want_whole(json, node, "size", 0, INT64_MAX, &size));
    TRY(inrv_want_kind(json, node, "frames", JSON_LIST, &list));
    const Group group = {(uint64_t)offset, (uint64_t)size};
    if (!json->nodes[list].size || group.offset < HEAD ||
        group.offset + group.size > sequence->container.size)
        sequence->astray = 1;
    sequence->count += json->nodes[list].size;
    inrv_frame *frames = NULL;
    if (!sequence->astray && sequence->count <= most_frames(sequence)) {
        frames = inrv_longer(&sequence->memory, &sequence->frames, sequence->count, sizeof *frames);
        Group *groups = inrv_longer(&sequence->memory, &sequence->groups,
                                    (uint64_t)sequence->group_count + 1, sizeof *groups);
        if (!frames || !groups) return INRV_MEMORY;
        frames += first;
        groups[sequence->group_count] = group;
    }
    for (uint32_t i = list + 1; i < json->nodes[list].behind; i = json->nodes[i].behind) {
        inrv_frame frame = {.has_number = 1, .group = sequence->group_count};
        uint32_t at;
        TRY(inrv_want(json, i, "number", &at));
        TRY(inrv_number_within(json, at, __builtin_inf(), &frame.number));
        TRY(inrv_want_number_or_null(json, i, "time", &frame.has_time, &frame.time));
        if (frames) *frames++ = frame;
    }
    if (frames) sequence->group_count++;
    return INRV_OK;
}

static int read_before(const Json *json, Place *before, int *more) {
    uint32_t node;
    int64_t numbers[4];
    static const char *const KEYS[] = {"offset", "stored", "raw", "checksum"};
    TRY(inrv_want(json, 0, "before", &node));
    *more = json->nodes[node].kind != JSON_NULL;
    for (int i = 0; i < 4 && *more; i++)
        TRY(inrv_want_whole(json, node, KEYS[i], 0, INT64_MAX, &numbers[i]));
    if (*more)
        *before = (Place){(uint64_t)numbers[0], (uint64_t)numbers[1], (uint64_t)numbers[2],
                          (uint64_t)numbers[3]};
    return INRV_OK;
}

/* Takes what a record says. The first one that is taken is the last of the index, whose timeline
   holds. */
static int take_record(inrv_sequence *sequence, const Json *json, Place *before, int *more) {
    inrv_timeline timeline = {0};
    uint32_t node;
    TRY(inrv_want_kind(json, 0, "generator", JSON_STRING, &node));
    TRY(read_before(json, before, more));
    TRY(inrv_want(json, 0, "timeline", &node));
    const int error = read_timeline(&sequence->memory, json, node, &timeline);
    if (!error && !sequence->timeline.unit)
        sequence->timeline = timeline;
    else
        free_timeline(&sequence->memory, &timeline);
    TRY(error);
    TRY(inrv_want_kind(json, 0, "groups", JSON_LIST, &node));
    for (uint32_t i = node + 1; i < json->nodes[node].behind; i = json->nodes[i].behind)
        TRY(read_group(sequence, json, i));
    return INRV_OK;
}

/* Reads a record.
   before: the place of the one before it, where there are more */
static int read_record(inrv_sequence *sequence, const Place *place, Place *before, int *more) {
    const Container *container = &sequence->container;
    if (place->offset < HEAD || place->stored > container->size ||
        place->offset > container->size - place->stored)
        return INRV_RULE('Q', 3);
    if (place->raw > container->limits.manifest_bytes) return INRV_RULE('C', 2);
    if (place->stored > place->raw) return INRV_RULE('C', 4);
    if (place->checksum > UINT32_MAX) return INRV_RULE('C', 5);
    const Chunk about = {.compressed = place->stored < place->raw,
                         .offset = place->offset,
                         .stored = place->stored,
                         .raw = place->raw,
                         .checksum = (uint32_t)place->checksum};
    uint8_t *text = NULL;
    Json json;
    TRY(inrv_chunk_read(container, &sequence->memory, &about, &text));
    int error = inrv_json_parse(&sequence->memory, text, (size_t)place->raw, &json);
    if (!error) {
        error = take_record(sequence, &json, before, more);
        if (error > INRV_MEMORY)
            error = INRV_RULE('Q', 4); /* whatever rule of its keys it breaks */
        inrv_give(&sequence->memory, json.nodes);
    }
    inrv_give(&sequence->memory, text);
    return error;
}

/* ---- The index ---- */

/* Forgets what was taken from a record that is damaged. */
static void forget(inrv_sequence *sequence) {
    free_timeline(&sequence->memory, &sequence->timeline);
    sequence->count = 0;
    sequence->group_count = sequence->astray = 0;
}

static int same_place(const Place *one, const Place *other) {
    return one->offset == other->offset && one->stored == other->stored && one->raw == other->raw &&
           one->checksum == other->checksum;
}

/* Reads the last record that a slot names, of those that are whole.
   place: of this record, filled */
static int read_last(inrv_sequence *sequence, const uint8_t head[HEAD], Place *place, Place *before,
                     int *more) {
    Place places[2];
    int count = 0;
    for (int i = 0; i < 2; i++) {
        const uint8_t *slot = head + SLOTS_AT + SLOT * i;
        if (inrv_has_sum(&sequence->container, slot, SLOT - 4, u32(slot + SLOT - 4)))
            places[count++] = (Place){u64(slot), u32(slot + 8), u32(slot + 12), u32(slot + 16)};
    }
    if (!count) return INRV_RULE('Q', 2);
    const int last = count == 2 && places[1].offset >= places[0].offset;
    *place = places[last];
    const int error = read_record(sequence, place, before, more);
    /* What is no damage, but memory or a read that failed, is not mended by another record. */
    if (error <= INRV_NOT_SUPPORTED || error == INRV_RULE('I', 1)) return error;
    if (count == 1 || same_place(&places[0], &places[1])) return error;
    forget(sequence);
    *place = places[!last];
    return read_record(sequence, place, before, more);
}

static int read_index(inrv_sequence *sequence, const uint8_t head[HEAD]) {
    Place place, before;
    int more = 0;
    TRY(read_last(sequence, head, &place, &before, &more));
    for (int records = 1; more; records++) {
        if (records == MOST_RECORDS || before.offset + before.stored > place.offset)
            return INRV_RULE('Q', 4);
        place = before;
        TRY(read_record(sequence, &place, &before, &more));
    }
    if (sequence->astray) return INRV_RULE('Q', 5);
    return sequence->count > most_frames(sequence) ? INRV_RULE('Q', 6) : INRV_OK;
}

/* Brings the frames in the order of their numbers. */
static int sort_frames(inrv_sequence *sequence) {
    const uint32_t count = (uint32_t)sequence->count;
    const inrv_frame *frames = sequence->frames.items;
    Keyed *order = inrv_take(&sequence->memory, 2 * (uint64_t)count, sizeof *order);
    inrv_frame *sorted = inrv_take(&sequence->memory, count, sizeof *sorted);
    int error = order && sorted ? INRV_OK : INRV_MEMORY;
    if (!error && !inrv_order_frames(frames, count, order)) error = INRV_RULE('Q', 7);
    for (uint32_t i = 0; i < count && !error; i++) sorted[i] = frames[order[i].number];
    inrv_give(&sequence->memory, order);
    inrv_give(&sequence->memory, sequence->frames.items);
    sequence->frames = (Room){sorted, count * sizeof *sorted};
    return error;
}

/* ---- Sequences ---- */

/* Opens a file of one volume. */
static int open_volume(inrv_sequence *sequence) {
    TRY(inrv_file_open(&sequence->container, &sequence->volume));
    sequence->volume->kept = 1;
    sequence->timeline = (inrv_timeline){.increment = 1, .unit = "s", .pattern = ""};
    sequence->group_count = 1;
    sequence->count = (uint64_t)sequence->volume->frame_count;
    inrv_frame *frames =
        inrv_longer(&sequence->memory, &sequence->frames, sequence->count, sizeof *frames);
    if (!frames) return INRV_MEMORY;
    memcpy(frames, sequence->volume->frames, (size_t)sequence->count * sizeof *frames);
    return INRV_OK;
}

static int open_sequence(inrv_sequence *sequence) {
    static const uint8_t MAGIC[8] = {0x89, 'I', 'N', 'R', 'S', '\r', '\n', 0x1a};
    const Container *container = &sequence->container;
    uint8_t head[HEAD];
    const size_t size = container->size < HEAD ? (size_t)container->size : HEAD;
    TRY(inrv_read_bytes(container, 0, head, size));
    if (size < sizeof MAGIC || memcmp(head, MAGIC, sizeof MAGIC)) {
        TRY(open_volume(sequence));
    } else {
        if (size < HEAD) return INRV_RULE('Q', 1);
        if (u16(head + 8) != MAJOR) return INRV_RULE('H', 3);
        TRY(read_index(sequence, head));
    }
    return sort_frames(sequence);
}

static int open_any(const void *bytes, const inrv_host *host, uint64_t size,
                    const inrv_limits *limits, inrv_sequence **sequence) {
    *sequence = NULL;
    inrv_sequence *own = calloc(1, sizeof *own);
    if (!own) return INRV_MEMORY;
    int error = inrv_container_begin(&own->container, bytes, size, host, limits);
    own->memory = inrv_memory_of(&own->container.limits);
    if (!error) error = open_sequence(own);
    if (error)
        inrv_sequence_close(own);
    else
        *sequence = own;
    return error;
}

int inrv_sequence_open(const inrv_host *host, uint64_t size, const inrv_limits *limits,
                       inrv_sequence **sequence) {
    return open_any(NULL, host, size, limits, sequence);
}

int inrv_sequence_open_memory(const void *bytes, size_t size, const inrv_host *host,
                              const inrv_limits *limits, inrv_sequence **sequence) {
    return open_any(bytes, host, size, limits, sequence);
}

void inrv_sequence_close(inrv_sequence *sequence) {
    if (!sequence) return;
    if (sequence->volume) {
        sequence->volume->kept = 0;
        inrv_close(sequence->volume);
    } else {
        free_timeline(&sequence->memory, &sequence->timeline);
    }
    inrv_give(&sequence->memory, sequence->frames.items);
    inrv_give(&sequence->memory, sequence->groups.items);
    free(sequence);
}

const inrv_timeline *inrv_sequence_timeline(const inrv_sequence *sequence) {
    return &sequence->timeline;
}

int32_t inrv_sequence_frame_count(const inrv_sequence *sequence) {
    return (int32_t)sequence->count;
}

const inrv_frame *inrv_sequence_frame_at(const inrv_sequence *sequence, int32_t place) {
    const inrv_frame *frames = sequence->frames.items;
    return place < 0 || (uint64_t)place >= sequence->count ? NULL : &frames[place];
}

/* ---- Groups ---- */

static int is_same(const inrv_frame *one, const inrv_frame *other) {
    return one->has_number == other->has_number && one->number == other->number &&
           one->has_time == other->has_time && one->time == other->time;
}

/* Whether a file has all frames that the index has of a group.
   order: of the file's frames, by their numbers */
static int has_frames(const inrv_sequence *sequence, int32_t group, const inrv_file *file,
                      const Keyed *order) {
    const inrv_frame *frames = sequence->frames.items;
    const size_t held = (size_t)file->frame_count;
    size_t at = 0;
    for (uint64_t i = 0; i < sequence->count; i++) {
        if (frames[i].group != group) continue;
        while (at < held && file->frames[order[at].number].number < frames[i].number) at++;
        if (at == held || !is_same(&file->frames[order[at].number], &frames[i])) return 0;
    }
    return 1;
}

static int check_group(const inrv_sequence *sequence, int32_t group, inrv_file *file) {
    const uint32_t count = (uint32_t)file->frame_count;
    Keyed *order = inrv_take(&file->memory, 2 * (uint64_t)count, sizeof *order);
    if (!order) return INRV_MEMORY;
    inrv_order_frames(file->frames, count, order);
    const int there = has_frames(sequence, group, file, order);
    inrv_give(&file->memory, order);
    return there ? INRV_OK : INRV_RULE('Q', 8);
}

int inrv_sequence_group(const inrv_sequence *sequence, int32_t group, inrv_file **file) {
    *file = NULL;
    if (!sequence->group_count) return INRV_RULE('Q', 9);
    if (group < 0 || group >= sequence->group_count) return INRV_USE;
    if (sequence->volume) {
        *file = sequence->volume;
        return INRV_OK;
    }
    const Group *found = (const Group *)sequence->groups.items + group;
    Container container = sequence->container;
    container.start = found->offset;
    container.size = found->size;
    TRY(inrv_file_open(&container, file));
    const int error = check_group(sequence, group, *file);
    if (error) {
        inrv_close(*file);
        *file = NULL;
    }
    return error;
}
