/* JSON from a stranger, under the rules of spec/container.md. */
#ifndef INRV_JSON_H
#define INRV_JSON_H

#include "memory.h"

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_LIST,
    JSON_OBJECT
};

/* A value. Those of a list follow it, each with all that is in it; those of an object too, each
   behind its key, which is a string. */
typedef struct {
    uint32_t kind;
    uint32_t behind; /* number of the node behind all that is in this one */
    uint32_t at;     /* where its text begins: of a string behind the quotation mark */
    uint32_t size;   /* bytes of the text; of a list or an object its items */
} JsonNode;

typedef struct {
    const uint8_t *text; /* which must stay where it is */
    size_t size;
    JsonNode *nodes; /* number 0 is the outermost value */
    uint32_t count;
} Json;

#define JSON_NONE UINT32_MAX

/* Parses a text. INRV_RULE('M', 1) to ('M', 5) where it is not such JSON. */
int inrv_json_parse(Memory *memory, const uint8_t *text, size_t size, Json *json);

/* The number of the value that an object has under a key, JSON_NONE where it has none. */
uint32_t inrv_json_member(const Json *json, uint32_t object, const char *key);

/* Whether a string is this one, of ASCII. */
int inrv_json_is(const Json *json, uint32_t node, const char *text);

/* Writes a string as UTF-8, with a byte for each lone surrogate, and a zero behind it; returns the
   bytes before the zero.
   to: a byte more than the node's size */
size_t inrv_json_text(const Json *json, uint32_t node, char *to);

/* Whether a number has neither fraction nor exponent and fits; it is in `whole` then. */
int inrv_json_whole(const Json *json, uint32_t node, int64_t *whole);

/* The float64 that is nearest to a number. */
double inrv_json_number(const Json *json, uint32_t node);

#endif
