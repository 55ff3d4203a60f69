/* Values under the keys of an object, each read by one rule. */
#include "json_rules.h"

#define MISSING_KEY INRV_RULE('M', 6)

int inrv_want(const Json *json, uint32_t object, const char *key, uint32_t *node) {
    if (json->nodes[object].kind != JSON_OBJECT) return WRONG;
    *node = inrv_json_member(json, object, key);
    return *node == JSON_NONE ? MISSING_KEY : INRV_OK;
}

int inrv_want_kind(const Json *json, uint32_t object, const char *key, enum json_kind kind,
                   uint32_t *node) {
    TRY(inrv_want(json, object, key, node));
    return json->nodes[*node].kind == kind ? INRV_OK : WRONG;
}

int inrv_want_list(const Json *json, uint32_t object, const char *key, uint32_t length,
                   uint32_t *first) {
    TRY(inrv_want_kind(json, object, key, JSON_LIST, first));
    return json->nodes[(*first)++].size == length ? INRV_OK : WRONG_LENGTH;
}

int inrv_want_flag(const Json *json, uint32_t object, const char *key, int32_t *flag) {
    uint32_t node;
    TRY(inrv_want(json, object, key, &node));
    *flag = json->nodes[node].kind == JSON_TRUE;
    return *flag || json->nodes[node].kind == JSON_FALSE ? INRV_OK : WRONG;
}

int inrv_want_whole(const Json *json, uint32_t object, const char *key, int64_t least, int64_t most,
                    int64_t *found) {
    uint32_t node;
    TRY(inrv_want(json, object, key, &node));
    return inrv_json_whole(json, node, found) && *found >= least && *found <= most ? INRV_OK
                                                                                   : WRONG;
}

int inrv_want_int(const Json *json, uint32_t object, const char *key, int32_t least, int32_t most,
                  int32_t *found) {
    int64_t whole = 0;
    TRY(inrv_want_whole(json, object, key, least, most, &whole));
    *found = (int32_t)whole;
    return INRV_OK;
}

int inrv_number_within(const Json *json, uint32_t node, double most, double *found) {
    if (json->nodes[node].kind != JSON_NUMBER) return WRONG;
    *found = inrv_json_number(json, node);
    return *found >= -most && *found <= most ? INRV_OK : WRONG;
}

int inrv_want_single(const Json *json, uint32_t object, const char *key, double *found) {
    uint32_t node;
    TRY(inrv_want(json, object, key, &node));
    return inrv_number_within(json, node, LARGEST_SINGLE, found);
}

int inrv_want_choice(const Json *json, uint32_t object, const char *key, const char *const *choices,
                     int count, int otherwise, int *found) {
    uint32_t node;
    TRY(inrv_want_kind(json, object, key, JSON_STRING, &node));
    for (*found = 0; *found < count; ++*found)
        if (inrv_json_is(json, node, choices[*found])) return INRV_OK;
    *found = otherwise;
    return otherwise < 0 ? WRONG : INRV_OK;
}

int inrv_want_text(Memory *memory, const Json *json, uint32_t object, const char *key,
                   const char **text, size_t *size) {
    uint32_t node;
    TRY(inrv_want_kind(json, object, key, JSON_STRING, &node));
    char *own = inrv_take(memory, (uint64_t)json->nodes[node].size + 1, 1);
    if (!own) return INRV_MEMORY;
    *size = inrv_json_text(json, node, own);
    *text = own;
    return INRV_OK;
}

int inrv_want_number_or_null(const Json *json, uint32_t object, const char *key, int32_t *there,
                             double *found) {
    uint32_t node;
    TRY(inrv_want(json, object, key, &node));
    *there = json->nodes[node].kind != JSON_NULL;
    return *there ? inrv_number_within(json, node, __builtin_inf(), found) : INRV_OK;
}
