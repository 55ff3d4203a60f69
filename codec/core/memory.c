/* Memory that is counted, and arrays in order. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

#define HEAD 16 /* bytes before what is taken: its size, and as malloc aligns */

Memory inrv_memory_of(const inrv_limits *limits) {
    return (Memory){0, limits->memory > SIZE_MAX / 2 ? SIZE_MAX / 2 : (size_t)limits->memory};
}

void *inrv_take(Memory *memory, uint64_t count, size_t size) {
    const size_t left = memory->most - memory->used;
    if (left < HEAD || count > (left - HEAD) / size) return NULL;
    const size_t bytes = (size_t)count * size + HEAD;
    uint8_t *taken = calloc(1, bytes);
    if (!taken) return NULL;
    memory->used += bytes;
    memcpy(taken, &bytes, sizeof bytes);
    return taken + HEAD;
}

void inrv_give(Memory *memory, void *taken) {
    size_t bytes;
    if (!taken) return;
    memcpy(&bytes, (uint8_t *)taken - HEAD, sizeof bytes);
    memory->used -= bytes;
    free((uint8_t *)taken - HEAD);
}

void *inrv_room(Memory *memory, Room *room, uint64_t count, size_t size) {
    if (room->items && count <= room->bytes / size) return room->items;
    inrv_give(memory, room->items);
    room->items = inrv_take(memory, count, size);
    room->bytes = room->items ? (size_t)count * size : 0;
    return room->items;
}

void *inrv_longer(Memory *memory, Room *room, uint64_t count, size_t size) {
    const size_t had = room->bytes / size;
    if (room->items && count <= had) return room->items;
    if (count < 2 * (uint64_t)had) count = 2 * (uint64_t)had;
    void *items = inrv_take(memory, count, size);
    if (!items) return NULL;
    if (had) memcpy(items, room->items, had * size);
    inrv_give(memory, room->items);
    *room = (Room){items, (size_t)count * size};
    return items;
}

void inrv_sort(Keyed *items, Keyed *spare, size_t count) {
    Keyed *from = items, *to = spare;
    uint64_t differ = 0;
    for (size_t i = 1; i < count; i++) differ |= items[i].key ^ items[0].key;
    for (int shift = 0; shift < 64; shift += 8) {
        size_t next[257] = {0};
        if (!(differ >> shift & 255)) continue;
        for (size_t i = 0; i < count; i++) next[(from[i].key >> shift & 255) + 1]++;
        for (int i = 0; i < 256; i++) next[i + 1] += next[i];
        for (size_t i = 0; i < count; i++) to[next[from[i].key >> shift & 255]++] = from[i];
        Keyed *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
}

size_t inrv_count_below(const Keyed *items, size_t count, uint64_t key) {
    size_t low = 0;
    while (low < count) {
        const size_t middle = low + (count - low) / 2;
        if (items[middle].key < key)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}
