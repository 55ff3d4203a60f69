/* Memory that is counted, so that a stranger's file takes no more than its reader allows. */
#ifndef INRV_MEMORY_H
#define INRV_MEMORY_H

#include "inrv.h"

/* What an owner has taken. It uses malloc, and one thread at a time. */
typedef struct {
    size_t used, most;
} Memory;

/* Nothing taken yet, of as much as limits allow. */
Memory inrv_memory_of(const inrv_limits *limits);

/* Zeros for so many items; NULL where that is more than is left. */
void *inrv_take(Memory *memory, uint64_t count, size_t size);
void inrv_give(Memory *memory, void *taken);

/* An array that grows. */
typedef struct {
    void *items;
    size_t bytes;
} Room;

/* The array, with room for so many items; NULL where that is more than is left. It keeps nothing
   when it grows. */
void *inrv_room(Memory *memory, Room *room, uint64_t count, size_t size);

/* The same, but it keeps its items, and twice the room at least is made where there is too little.
 */
void *inrv_longer(Memory *memory, Room *room, uint64_t count, size_t size);

/* Numbers with a key. */
typedef struct {
    uint64_t key;
    uint32_t number;
} Keyed;

/* Sorts by key; those that are equal stay in their order.
   spare: room for as many */
void inrv_sort(Keyed *items, Keyed *spare, size_t count);

/* How many keys are below one. */
size_t inrv_count_below(const Keyed *items, size_t count, uint64_t key);

/* Returns from the function where something fails. */
#define TRY(call)                  \
    do {                           \
        const int error_ = (call); \
        if (error_) return error_; \
    } while (0)

#endif
