/* Prints the value of a grid at a point of world space:
 *
 *     value_at FILE GRID X Y Z [FRAME]
 *
 * FRAME is the number of a frame of a sequence; without it, the first one is taken. Where zstd.h is
 * there, compressed files are read too: cc value_at.c -linrv -lzstd. */
#include <inrv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<zstd.h>)
#include <zstd.h>
static int unzstd(void *context, const void *frame, size_t size, void *raw, size_t raw_size) {
    size_t dictionary_size;
    const void *dictionary = inrv_dictionary(&dictionary_size);
    ZSTD_DCtx *decoder = ZSTD_createDCtx();
    (void)context;
    size_t found =
        ZSTD_decompress_usingDict(decoder, raw, raw_size, frame, size, dictionary, dictionary_size);
    ZSTD_freeDCtx(decoder);
    return found != raw_size;
}
#else
#define unzstd NULL
#endif

static int read_file(void *context, uint64_t offset, void *to, size_t size) {
    return fseek(context, (long)offset, SEEK_SET) || fread(to, 1, size, context) != size;
}

/* Ends the program where something fails, with the rule of spec/errors.md that a file breaks. */
static void check(int error, const char *what) {
    if (!error) return;
    if (error == INRV_MEMORY || error == INRV_USE || error == INRV_NOT_SUPPORTED)
        fprintf(stderr, "%s: error %d\n", what, error);
    else
        fprintf(stderr, "%s: the file breaks rule %c%d\n", what, INRV_RULE_LETTER(error),
                INRV_RULE_NUMBER(error));
    exit(1);
}

/* The frame that has a number, or the first where none is asked for; NULL where there is none. */
static const inrv_frame *find_frame(const inrv_sequence *sequence, const char *number) {
    int32_t place = 0;
    const inrv_frame *frame = inrv_sequence_frame_at(sequence, place);
    while (number && frame && frame->number != atof(number))
        frame = inrv_sequence_frame_at(sequence, ++place);
    return frame;
}

/* The number of the grid of a frame that has a name; that of no grid where there is none. */
static int32_t find_grid(const inrv_file *file, int32_t frame, const char *name) {
    int32_t number = 0;
    const inrv_grid *grid;
    while ((grid = inrv_grid_at(file, number)) &&
           (grid->frame != frame || strcmp(grid->name, name)))
        number++;
    return number;
}

int main(int count, char **arguments) {
    if (count < 6 || count > 7) return fprintf(stderr, "value_at FILE GRID X Y Z [FRAME]\n"), 2;
    FILE *stream = fopen(arguments[1], "rb");
    if (!stream || fseek(stream, 0, SEEK_END)) return perror(arguments[1]), 1;

    inrv_host host = {stream, read_file, unzstd};
    inrv_sequence *sequence;
    inrv_file *file;
    check(inrv_sequence_open(&host, (uint64_t)ftell(stream), NULL, &sequence), arguments[1]);
    const inrv_frame *frame = find_frame(sequence, count == 7 ? arguments[6] : NULL);
    if (!frame) return fprintf(stderr, "no such frame\n"), 1;
    check(inrv_sequence_group(sequence, frame->group, &file), "group");

    const int32_t number = find_grid(file, inrv_frame_of(file, frame->number), arguments[2]);
    const inrv_grid *grid = inrv_grid_at(file, number);
    if (!grid || grid->passthrough) return fprintf(stderr, "no such grid\n"), 1;
    printf("%s: %s, %llu active voxels\n", grid->name, grid->type,
           (unsigned long long)grid->active_voxels);

    inrv_decoder *decoder;
    inrv_points *points;
    check(inrv_decoder_open(file, number, inrv_instruction_sets(), &decoder), "grid");
    check(inrv_points_new(decoder, (size_t)256 << 20, &points), "points");

    double world[3], index[3];
    float value[3];
    for (int axis = 0; axis < 3; axis++) world[axis] = atof(arguments[3 + axis]);
    check(inrv_world_to_index(grid, world, index), "transform");
    check(inrv_values_at(points, 0, index, 1, value), "value");
    for (int i = 0; i < grid->components; i++) printf("%.9g\n", value[i]);

    inrv_points_free(points);
    inrv_decoder_close(decoder);
    inrv_close(file);
    inrv_sequence_close(sequence);
    fclose(stream);
    return 0;
}
