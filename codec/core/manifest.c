/* The manifest as structs. What a decoder does not need, as metadata, is valid JSON and no more. */
#include "manifest.h"

#include <string.h>

#include "json_rules.h"

enum { HIGHEST = 1 << 23, KEYS_OF_CONFIG = 2, KEYS_OF_CHANNEL = 18 };

/* A count that may be null; one beyond int32 is beyond everything that it could be a number of. */
static int want_count_or_null(const Json *json, uint32_t object, const char *key, int32_t *found) {
    uint32_t node;
    int64_t whole = NO_NUMBER;
    TRY(inrv_want(json, object, key, &node));
    if (json->nodes[node].kind != JSON_NULL && (!inrv_json_whole(json, node, &whole) || whole < 0))
        return WRONG;
    *found = whole > INT32_MAX ? INT32_MAX : (int32_t)whole;
    return INRV_OK;
}

/* ---- Chunk numbers ---- */

static int check_chunk(const Container *container, int32_t number, enum chunk_type type) {
    if (number == NO_NUMBER) return INRV_OK;
    return (uint32_t)number < container->count && container->chunks[number].type == type
               ? INRV_OK
               : INRV_RULE('M', 11);
}

static int want_chunk(const Container *container, const Json *json, uint32_t object,
                      const char *key, enum chunk_type type, int32_t *number) {
    TRY(want_count_or_null(json, object, key, number));
    return check_chunk(container, *number, type);
}

/* Adds the raw bytes of a chunk to a sum, as often as it is referred to. */
static int count_exact(const Container *container, int32_t number, uint64_t *sum) {
    if (number == NO_NUMBER) return INRV_OK;
    *sum += container->chunks[number].raw;
    return *sum > container->limits.exact_bytes ? INRV_RULE('L', 1) : INRV_OK;
}

/* ---- Grids ---- */

static int read_component(const inrv_file *file, const Json *json, uint32_t node, Entry *entry,
                          int place) {
    double *minimum = &entry->grid.component[place].minimum,
           *maximum = &entry->grid.component[place].maximum;
    TRY(inrv_want_single(json, node, "minimum", minimum));
    TRY(inrv_want_single(json, node, "maximum", maximum));
    if (*maximum < *minimum) return INRV_RULE('M', 9);
    TRY(want_count_or_null(json, node, "output", &entry->outputs[place]));
    return entry->outputs[place] < file->outputs ? INRV_OK : INRV_RULE('M', 10);
}

static int read_box(const Json *json, uint32_t node, inrv_grid *grid) {
    const JsonNode *nodes = json->nodes;
    if (nodes[node].kind == JSON_NULL) return INRV_OK;
    if (nodes[node].kind != JSON_LIST) return WRONG;
    if (nodes[node].size != 2) return WRONG_LENGTH;
    for (int end = 0, list = 0; end < 2; end++) {
        const uint32_t corner = end ? nodes[list].behind : node + 1;
        int32_t *to = end ? grid->upper : grid->lower;
        list = (int)corner;
        if (nodes[corner].kind != JSON_LIST) return WRONG;
        if (nodes[corner].size != 3) return WRONG_LENGTH;
        for (uint32_t axis = 0; axis < 3; axis++) {
            int64_t whole;
            if (!inrv_json_whole(json, corner + 1 + axis, &whole) || whole < INT32_MIN ||
                whole > INT32_MAX)
                return WRONG;
            to[axis] = (int32_t)whole;
        }
    }
    grid->has_box = 1;
    for (int axis = 0; axis < 3; axis++)
        if (grid->upper[axis] < grid->lower[axis]) return WRONG;
    return INRV_OK;
}

static int read_header(inrv_file *file, const Json *json, uint32_t node, inrv_grid *grid,
                       int32_t *sound) {
    static const char *const TYPES[] = {"float", "vec3s"};
    static const char *const MAPS[] = {"AffineMap",         "ScaleMap",
                                       "ScaleTranslateMap", "TranslationMap",
                                       "UniformScaleMap",   "UniformScaleTranslateMap",
                                       "UnitaryMap"};
    static const char *const CLASSES[] = {"unknown", "level set", "fog volume", "staggered"};
    uint32_t first;
    int32_t half;
    int type;
    double number;
    TRY(inrv_want_kind(json, node, "metadata", JSON_OBJECT, &first));
    TRY(inrv_want_kind(json, node, "vector_type", JSON_STRING, &first));
    TRY(inrv_want_flag(json, node, "saved_as_half", &half));
    TRY(inrv_want_text(&file->memory, json, node, "name", &grid->name, &grid->name_size));
    TRY(inrv_want_choice(json, node, "value_type", TYPES, 2, -1, &type));
    grid->type = TYPES[type];
    grid->components = type ? 3 : 1;
    TRY(inrv_want_choice(json, node, "grid_class", CLASSES, 4, INRV_UNKNOWN, &type));
    grid->grid_class = type;
    TRY(inrv_want_choice(json, node, "map_type", MAPS, 7, 7, &type));
    *sound = type < 7;
    TRY(inrv_want_list(json, node, "background", (uint32_t)grid->components, &first));
    for (int32_t i = 0; i < grid->components; i++) {
        TRY(inrv_number_within(json, first + (uint32_t)i, LARGEST_SINGLE, &number));
        grid->background[i] = (float)number;
    }
    TRY(inrv_want_list(json, node, "matrix", 16, &first));
    for (uint32_t i = 0; i < 16; i++)
        TRY(inrv_number_within(json, first + i, __builtin_inf(), &grid->matrix[i]));
    int64_t active, leaf;
    TRY(inrv_want_whole(json, node, "active_voxels", 0, INT64_MAX, &active));
    TRY(inrv_want_whole(json, node, "leaf_voxels", 0, INT64_MAX, &leaf));
    if (leaf > active) return INRV_RULE('M', 13);
    grid->active_voxels = (uint64_t)active;
    grid->leaf_voxels = (uint64_t)leaf;
    TRY(inrv_want(json, node, "box", &first));
    return read_box(json, first, grid);
}

static int read_grid(inrv_file *file, const Json *json, uint32_t node, Entry *entry,
                     uint64_t *exact) {
    static const char *const RULES[] = {"above", "away", "within"};
    const Container *container = &file->container;
    uint32_t at;
    int rule;
    TRY(read_header(file, json, node, &entry->grid, &entry->sound_map));
    TRY(inrv_want_list(json, node, "components", (uint32_t)entry->grid.components, &at));
    for (int i = 0; i < entry->grid.components; i++, at = json->nodes[at].behind)
        TRY(read_component(file, json, at, entry, i));
    TRY(want_chunk(container, json, node, "topology", TOPO, &entry->topology));
    if (entry->topology == NO_NUMBER) return WRONG;
    TRY(want_chunk(container, json, node, "inactive_values", INAC, &entry->inactive));
    TRY(want_chunk(container, json, node, "frequent_values", FREQ, &entry->frequent));
    TRY(want_chunk(container, json, node, "exact_values", EXAC, &entry->exact));
    TRY(want_chunk(container, json, node, "outliers", EXAC, &entry->outliers));
    TRY(count_exact(container, entry->inactive, exact));
    TRY(count_exact(container, entry->frequent, exact));
    TRY(count_exact(container, entry->exact, exact));
    TRY(count_exact(container, entry->outliers, exact));
    TRY(inrv_want_choice(json, node, "threshold_rule", RULES, 3, -1, &rule));
    entry->rule = (enum threshold_rule)rule;
    TRY(inrv_want(json, node, "threshold", &at));
    entry->has_threshold = json->nodes[at].kind != JSON_NULL;
    if (entry->has_threshold) {
        double threshold;
        TRY(inrv_number_within(json, at, LARGEST_SINGLE, &threshold));
        entry->threshold = (float)threshold;
        if (entry->grid.components > 1 && entry->rule != AWAY) return INRV_RULE('M', 18);
    }
    TRY(want_count_or_null(json, node, "topology_of", &entry->topology_of));
    entry->grid.whole_leaves = entry->has_threshold || entry->topology_of != NO_NUMBER;
    return INRV_OK;
}

static int check_shared(const inrv_file *file, const Entry *entry) {
    if (entry->topology_of == NO_NUMBER) return INRV_OK;
    const Entry *other = entry->topology_of < file->coded ? &file->grids[entry->topology_of] : NULL;
    return other && other->has_threshold && other->topology == entry->topology &&
                   !entry->has_threshold
               ? INRV_OK
               : INRV_RULE('M', 19);
}

static int read_passthrough(inrv_file *file, const Json *json, uint32_t node, inrv_grid *grid) {
    size_t size;
    grid->passthrough = 1;
    TRY(inrv_want_text(&file->memory, json, node, "name", &grid->name, &grid->name_size));
    TRY(inrv_want_text(&file->memory, json, node, "tree_type", &grid->type, &size));
    int error = inrv_want_int(json, node, "position", 0, file->count - 1, &grid->position);
    return error == WRONG ? INRV_RULE('M', 15) : error;
}

/* Gives the coded grids of a frame the places that its passthrough grids leave.
   taken: a byte for each grid, all 0 */
static int place_grids(inrv_grid *const *grids, int32_t coded, int32_t passed, uint8_t *taken) {
    for (int32_t i = coded; i < coded + passed; i++) {
        const int32_t position = grids[i]->position;
        if (position >= coded + passed || taken[position]) return INRV_RULE('M', 15);
        taken[position] = 1;
    }
    for (int32_t i = 0, position = 0; i < coded; i++, position++) {
        while (taken[position]) position++;
        grids[i]->position = position;
    }
    return INRV_OK;
}

/* Reads a frame, which takes the next grids.
   counts: of its coded grids and of its passthrough grids, filled */
static int read_frame(const Json *json, uint32_t node, inrv_frame *frame, int64_t counts[2]) {
    uint32_t at;
    TRY(inrv_want_number_or_null(json, node, "number", &frame->has_number, &frame->number));
    TRY(inrv_want_number_or_null(json, node, "time", &frame->has_time, &frame->time));
    TRY(inrv_want_whole(json, node, "grids", 0, INT64_MAX, &counts[0]));
    TRY(inrv_want_whole(json, node, "passthrough", 0, INT64_MAX, &counts[1]));
    TRY(inrv_want_kind(json, node, "metadata", JSON_OBJECT, &at));
    return inrv_want(json, node, "vdb_version", &at);
}

int inrv_order_frames(const inrv_frame *frames, uint32_t count, Keyed *order) {
    int sound = 1;
    for (uint32_t i = 0; i < count; i++) {
        /* The order of the bits, made that of the numbers. */
        const double number = frames[i].number + 0.0;
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        order[i].key = bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
        order[i].number = i;
        if (!frames[i].has_number || frames[i].has_time != frames[0].has_time) sound = 0;
    }
    inrv_sort(order, order + count, count);
    for (uint32_t i = 1; i < count; i++) {
        const inrv_frame *before = &frames[order[i - 1].number], *frame = &frames[order[i].number];
        if (order[i - 1].key == order[i].key || (frame->has_time && !(frame->time > before->time)))
            sound = 0;
    }
    return sound || count == 1;
}

static int check_moments(Memory *memory, const inrv_frame *frames, int32_t count) {
    Keyed *order = inrv_take(memory, 2 * (uint64_t)count, sizeof *order);
    if (!order) return INRV_MEMORY;
    const int sound = inrv_order_frames(frames, (uint32_t)count, order);
    inrv_give(memory, order);
    return sound ? INRV_OK : INRV_RULE('M', 20);
}

/* Reads the frames and shares the grids out among them.
   grids: all grids, the coded ones first
   taken: room for a byte a grid */
static int read_frames(inrv_file *file, const Json *json, inrv_grid **grids, uint8_t *taken) {
    uint32_t list;
    int32_t coded = 0, passed = file->coded, number = 0;
    TRY(inrv_want_kind(json, 0, "frames", JSON_LIST, &list));
    if (!json->nodes[list].size) return INRV_RULE('M', 20);
    if (json->nodes[list].size > INT32_MAX) return WRONG_LENGTH;
    file->frames = inrv_take(&file->memory, json->nodes[list].size, sizeof(inrv_frame));
    if (!file->frames) return INRV_MEMORY;
    file->frame_count = (int32_t)json->nodes[list].size;
    for (uint32_t i = list + 1; i < json->nodes[list].behind; i = json->nodes[i].behind, number++) {
        inrv_frame *frame = &file->frames[number];
        int64_t counts[2];
        TRY(read_frame(json, i, frame, counts));
        if (counts[0] > file->coded - coded || counts[1] > file->count - passed)
            return INRV_RULE('M', 20);
        inrv_grid **own = grids;
        for (int32_t j = 0; j < counts[0]; j++) *own++ = &file->grids[coded++].grid;
        for (int32_t j = 0; j < counts[1]; j++) *own++ = &file->grids[passed++].grid;
        for (inrv_grid **grid = grids; grid < own; grid++) (*grid)->frame = number;
        memset(taken, 0, (size_t)(own - grids));
        TRY(place_grids(grids, (int32_t)counts[0], (int32_t)counts[1], taken));
    }
    if (coded != file->coded || passed != file->count) return INRV_RULE('M', 20);
    return check_moments(&file->memory, file->frames, file->frame_count);
}

static int share_grids(inrv_file *file, const Json *json) {
    inrv_grid **grids = inrv_take(&file->memory, (uint64_t)file->count + 1, sizeof *grids);
    uint8_t *taken = grids ? inrv_take(&file->memory, (uint64_t)file->count + 1, 1) : NULL;
    const int error = taken ? read_frames(file, json, grids, taken) : INRV_MEMORY;
    inrv_give(&file->memory, taken);
    inrv_give(&file->memory, grids);
    return error;
}

static int read_grids(inrv_file *file, const Json *json) {
    uint32_t coded, passed;
    uint64_t exact = 0;
    TRY(inrv_want_kind(json, 0, "grids", JSON_LIST, &coded));
    TRY(inrv_want_kind(json, 0, "passthrough", JSON_LIST, &passed));
    const uint64_t count = (uint64_t)json->nodes[coded].size + json->nodes[passed].size;
    if (count > file->container.limits.grids || count > INT32_MAX) return WRONG_LENGTH;
    file->coded = (int32_t)json->nodes[coded].size;
    file->count = (int32_t)count;
    file->grids = inrv_take(&file->memory, count + 1, sizeof(Entry));
    if (!file->grids) return INRV_MEMORY;
    Entry *entry = file->grids;
    for (uint32_t i = coded + 1; i < json->nodes[coded].behind; i = json->nodes[i].behind)
        TRY(read_grid(file, json, i, entry++, &exact));
    for (int32_t i = 0; i < file->coded; i++) TRY(check_shared(file, &file->grids[i]));
    for (uint32_t i = passed + 1; i < json->nodes[passed].behind; i = json->nodes[i].behind)
        TRY(read_passthrough(file, json, i, &entry++->grid));
    return share_grids(file, json);
}

/* ---- The field ---- */

static int read_channel(const inrv_file *file, const Json *json, uint32_t node, int32_t number,
                        ChannelEntry *channel) {
    const Container *container = &file->container;
    uint32_t at;
    TRY(inrv_want_list(json, node, "steps", INRV_LEVELS, &at));
    for (uint32_t i = 0; i < INRV_LEVELS; i++) {
        int64_t step;
        if (!inrv_json_whole(json, at + i, &step) || step < 32 || step > 512) return WRONG;
        channel->steps[i] = (int32_t)step;
    }
    TRY(inrv_want_int(json, node, "top", 1, HIGHEST, &channel->top));
    TRY(inrv_want_int(json, node, "background", -HIGHEST, HIGHEST, &channel->background));
    TRY(inrv_want(json, node, "scale", &at));
    TRY(inrv_number_within(json, at, 2.0 * HIGHEST, &channel->scale));
    if (!(channel->scale > 0)) return WRONG;
    TRY(want_count_or_null(json, node, "reference", &channel->reference));
    TRY(want_chunk(container, json, node, "motion", MOVE, &channel->motion));
    TRY(want_count_or_null(json, node, "second_reference", &channel->second_reference));
    TRY(want_chunk(container, json, node, "second_motion", MOVE, &channel->second_motion));
    if (channel->reference >= number || channel->second_reference >= number) return WRONG;
    if (channel->motion != NO_NUMBER && channel->reference == NO_NUMBER) return WRONG;
    if (channel->second_reference != NO_NUMBER && channel->motion == NO_NUMBER) return WRONG;
    if ((channel->second_motion == NO_NUMBER) != (channel->second_reference == NO_NUMBER))
        return WRONG;
    TRY(inrv_want_flag(json, node, "exterior", &channel->exterior));
    TRY(inrv_want_flag(json, node, "restoration", &channel->restoration));
    TRY(inrv_want_int(json, node, "set", 0, INRV_SETS - 1, &channel->set));
    TRY(inrv_want_flag(json, node, "fitted", &channel->fitted));
    TRY(inrv_want_flag(json, node, "trellis", &channel->trellis));
    TRY(inrv_want_flag(json, node, "wavelet", &channel->wavelet));
    TRY(inrv_want_flag(json, node, "offsets", &channel->offsets));
    TRY(inrv_want_flag(json, node, "lossless", &channel->lossless));
    if (channel->lossless && (channel->offsets || channel->trellis || channel->wavelet))
        return WRONG;
    if (channel->wavelet &&
        (channel->trellis || channel->reference != NO_NUMBER || channel->top > INRV_WAVELET_TOP))
        return WRONG;
    TRY(want_chunk(container, json, node, "codes", CODE, &channel->codes));
    if (channel->codes == NO_NUMBER) return WRONG;
    TRY(want_chunk(container, json, node, "bits", BITS, &channel->bits));
    return json->nodes[node].size == KEYS_OF_CHANNEL ? INRV_OK : INRV_RULE('M', 14);
}

static int read_lattice(inrv_file *file, const Json *json, uint32_t config) {
    uint32_t at;
    TRY(inrv_want_kind(json, config, "networks", JSON_STRING, &at));
    if (!inrv_json_is(json, at, "default-1")) file->field_error = INRV_RULE('F', 1);
    TRY(inrv_want_list(json, config, "channels", (uint32_t)file->outputs, &at));
    if (json->nodes[config].size != KEYS_OF_CONFIG) return INRV_RULE('M', 14);
    file->channels = inrv_take(&file->memory, (uint64_t)file->outputs, sizeof(ChannelEntry));
    if (!file->channels) return INRV_MEMORY;
    for (int32_t i = 0; i < file->outputs; i++, at = json->nodes[at].behind) {
        file->channels[i].grid = NO_NUMBER;
        TRY(read_channel(file, json, at, i, &file->channels[i]));
    }
    return INRV_OK;
}

static int read_field(inrv_file *file, const Json *json) {
    static const char *const KINDS[] = {"lattice", "fourier"};
    uint32_t field, config;
    int kind;
    TRY(inrv_want(json, 0, "field", &field));
    if (json->nodes[field].kind == JSON_NULL) return INRV_OK;
    TRY(inrv_want_choice(json, field, "kind", KINDS, 2, 2, &kind));
    int64_t outputs;
    TRY(inrv_want_whole(json, field, "outputs", 1, INT64_MAX, &outputs));
    TRY(inrv_want_kind(json, field, "config", JSON_OBJECT, &config));
    file->outputs = outputs < INT32_MAX ? (int32_t)outputs : INT32_MAX;
    if (kind == 0) return read_lattice(file, json, config);
    file->field_error = kind == 1 ? INRV_NOT_SUPPORTED : INRV_RULE('F', 1);
    return INRV_OK;
}

/* Whether all is the same that a component's values depend on, beside its channel. */
static int decoded_alike(const Entry *a, const Entry *b, int32_t place) {
    int alike = a->grid.components == b->grid.components && a->topology == b->topology &&
                a->inactive == b->inactive && a->frequent == b->frequent && a->exact == b->exact;
    for (int32_t i = 0; i < 3; i++) alike &= a->grid.background[i] == b->grid.background[i];
    return alike && a->grid.component[place].minimum == b->grid.component[place].minimum &&
           a->grid.component[place].maximum == b->grid.component[place].maximum;
}

/* Notes whose output each channel is: of one component, or of several that are decoded alike. */
static int give_channels(inrv_file *file) {
    if (!file->channels) return INRV_OK;
    for (int32_t i = 0; i < file->coded; i++)
        for (int32_t place = 0; place < file->grids[i].grid.components; place++) {
            inrv_grid *grid = &file->grids[i].grid;
            const int32_t output = file->grids[i].outputs[place];
            if (output == NO_NUMBER) continue;
            ChannelEntry *channel = &file->channels[output];
            if (!channel->lossless) {
                if (!(grid->component[place].maximum > grid->component[place].minimum))
                    return INRV_RULE('M', 9);
                grid->component[place].scale = channel->scale;
            }
            if (channel->grid == NO_NUMBER) {
                channel->grid = i;
                channel->component = place;
            } else if (channel->component != place ||
                       !decoded_alike(&file->grids[i], &file->grids[channel->grid], place)) {
                file->field_error = INRV_RULE('F', 4);
            }
        }
    for (int32_t i = 0; i < file->outputs; i++)
        if (file->channels[i].grid == NO_NUMBER) file->field_error = INRV_RULE('F', 4);
    return INRV_OK;
}

int inrv_manifest_read(inrv_file *file, const uint8_t *text, size_t size) {
    Json json;
    TRY(inrv_json_parse(&file->memory, text, size, &json));
    int error = json.nodes[0].kind == JSON_OBJECT ? INRV_OK : WRONG;
    uint32_t node;
    if (!error) error = inrv_want_kind(&json, 0, "generator", JSON_STRING, &node);
    if (!error) error = inrv_want_kind(&json, 0, "encoding", JSON_OBJECT, &node);
    if (!error) error = read_field(file, &json);
    if (!error) error = read_grids(file, &json);
    if (!error) error = give_channels(file);
    inrv_give(&file->memory, json.nodes);
    return error;
}
