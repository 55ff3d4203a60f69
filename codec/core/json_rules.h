/* Rules for the values of JSON from a stranger. Each returns INRV_OK, or what is wrong by the rules
   of the manifest: INRV_RULE('M', 6) to ('M', 8). */
#ifndef INRV_JSON_RULES_H
#define INRV_JSON_RULES_H

#include "json.h"

#define WRONG INRV_RULE('M', 7)
#define WRONG_LENGTH INRV_RULE('M', 8)
#define LARGEST_SINGLE 3.4028234663852886e38

/* The value under a key that must be there, of any kind, or of one. */
int inrv_want(const Json *json, uint32_t object, const char *key, uint32_t *node);
int inrv_want_kind(const Json *json, uint32_t object, const char *key, enum json_kind kind,
                   uint32_t *node);

/* The first item of a list of so many. */
int inrv_want_list(const Json *json, uint32_t object, const char *key, uint32_t length,
                   uint32_t *first);

int inrv_want_flag(const Json *json, uint32_t object, const char *key, int32_t *flag);

/* A whole number within bounds. */
int inrv_want_whole(const Json *json, uint32_t object, const char *key, int64_t least, int64_t most,
                    int64_t *found);
int inrv_want_int(const Json *json, uint32_t object, const char *key, int32_t least, int32_t most,
                  int32_t *found);

/* A number from -most to most, as the value of a node. */
int inrv_number_within(const Json *json, uint32_t node, double most, double *found);

/* A number within the range of float32. */
int inrv_want_single(const Json *json, uint32_t object, const char *key, double *found);

/* A number that may be null, and whether it is there. */
int inrv_want_number_or_null(const Json *json, uint32_t object, const char *key, int32_t *there,
                             double *found);

/* Which of some strings it is; `otherwise` where it is another one. */
int inrv_want_choice(const Json *json, uint32_t object, const char *key, const char *const *choices,
                     int count, int otherwise, int *found);

/* A copy of a string as UTF-8, with a zero behind it; inrv_give frees it.
   size: bytes before the zero */
int inrv_want_text(Memory *memory, const Json *json, uint32_t object, const char *key,
                   const char **text, size_t *size);

#endif
