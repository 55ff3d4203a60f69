/* JSON without recursion: nodes in the order of the text, and a stack of bounded depth. */
#include "json.h"

#include <string.h>

enum {
    DEEPEST = 32,
    LONGEST_NUMBER = 64,
    LIMBS = 96, /* of 32 bits: 64 digits times a power of ten, both shifted */
    FEW_KEYS = 8
};

#define NOT_JSON INRV_RULE('M', 1)
#define TWICE INRV_RULE('M', 2)
#define NO_NUMBER INRV_RULE('M', 3)
#define TOO_DEEP INRV_RULE('M', 4)
#define SURROGATE INRV_RULE('M', 5)

/* ---- Characters ---- */

static int hexadecimal(const uint8_t *at, const uint8_t *end, uint32_t *unit) {
    *unit = 0;
    if (end - at < 4) return NOT_JSON;
    for (int i = 0; i < 4; i++) {
        const uint8_t c = at[i], letter = c | 0x20;
        if (c >= '0' && c <= '9')
            *unit = *unit << 4 | (uint32_t)(c - '0');
        else if (letter >= 'a' && letter <= 'f')
            *unit = *unit << 4 | (uint32_t)(letter - 'a' + 10);
        else
            return NOT_JSON;
    }
    return INRV_OK;
}

/* What follows a backslash. */
static int escaped(const uint8_t **at, const uint8_t *end, uint32_t *character) {
    static const char LETTERS[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
    uint32_t low;
    if (*at == end) return NOT_JSON;
    const uint8_t letter = *(*at)++;
    if (letter != 'u') {
        const char *found = letter ? strchr(LETTERS, letter) : NULL;
        if (!found) return NOT_JSON;
        *character = (uint8_t)MEANT[found - LETTERS];
        return INRV_OK;
    }
    TRY(hexadecimal(*at, end, character));
    *at += 4;
    if (*character >> 11 != 0xd800 >> 11) return INRV_OK;
    if (*character < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        TRY(hexadecimal(*at + 2, end, &low));
        if (low >> 10 == 0xdc00 >> 10) {
            *at += 6;
            *character = 0x10000 + ((*character & 0x3ff) << 10) + (low & 0x3ff);
            return INRV_OK;
        }
    }
    return *character >= 0xdc80 && *character <= 0xdcff ? INRV_OK : SURROGATE;
}

/* Reads a character of a string, escaped or in UTF-8. */
static int next_character(const uint8_t **at, const uint8_t *end, uint32_t *character) {
    static const uint32_t LEAST[4] = {0, 0x80, 0x800, 0x10000};
    const uint32_t first = *(*at)++;
    *character = first;
    if (first == '\\') return escaped(at, end, character);
    if (first < 0x80) return first < 0x20 ? NOT_JSON : INRV_OK;
    const int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || end - *at < more) return NOT_JSON;
    *character = first & (0x3fu >> more);
    for (int i = 0; i < more; i++) {
        if (**at >> 6 != 2) return NOT_JSON;
        *character = *character << 6 | (*(*at)++ & 0x3fu);
    }
    const int surrogate = *character >> 11 == 0xd800 >> 11;
    return *character < LEAST[more] || *character > 0x10ffff || surrogate ? NOT_JSON : INRV_OK;
}

/* The order of two strings, as numbers of characters. */
static int compare(const Json *json, uint32_t one, uint32_t other) {
    const JsonNode *nodes = json->nodes;
    const uint8_t *a = json->text + nodes[one].at, *a_end = a + nodes[one].size;
    const uint8_t *b = json->text + nodes[other].at, *b_end = b + nodes[other].size;
    uint32_t left, right;
    while (a < a_end && b < b_end) {
        next_character(&a, a_end, &left);
        next_character(&b, b_end, &right);
        if (left != right) return left < right ? -1 : 1;
    }
    return (a < a_end) - (b < b_end);
}

int inrv_json_is(const Json *json, uint32_t node, const char *text) {
    const JsonNode *own = &json->nodes[node];
    if (own->kind != JSON_STRING) return 0;
    const uint8_t *at = json->text + own->at, *end = at + own->size;
    uint32_t character;
    for (; at < end; text++) {
        next_character(&at, end, &character);
        if (!*text || character != (uint8_t)*text) return 0;
    }
    return !*text;
}

size_t inrv_json_text(const Json *json, uint32_t node, char *to) {
    const uint8_t *at = json->text + json->nodes[node].at, *end = at + json->nodes[node].size;
    const char *begin = to;
    uint32_t c;
    while (at < end) {
        next_character(&at, end, &c);
        if (c >> 11 == 0xd800 >> 11) { /* it stands for a byte */
            *to++ = (char)(c & 0xff);
            continue;
        }
        const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        *to++ = (char)(more ? (0xff00u >> (more + 1) & 0xff) | c >> 6 * more : c);
        for (int i = more; i-- > 0;) *to++ = (char)(0x80 | (c >> 6 * i & 0x3f));
    }
    *to = 0;
    return (size_t)(to - begin);
}

/* ---- Numbers ---- */

/* A number as digits before a power of ten. */
typedef struct {
    int negative, whole, count, exponent;
    uint8_t digits[LONGEST_NUMBER]; /* from the first that is not 0 */
} Decimal;

static int is_digit(const uint8_t *at, const uint8_t *end) {
    return at < end && *at >= '0' && *at <= '9';
}

/* Reads a number; returns where it ends, or NULL where it is none. */
static const uint8_t *read_decimal(const uint8_t *at, const uint8_t *end, Decimal *decimal) {
    memset(decimal, 0, sizeof *decimal);
    if (end - at > LONGEST_NUMBER) end = at + LONGEST_NUMBER;
    if (at < end && *at == '-') {
        decimal->negative = 1;
        at++;
    }
    if (!is_digit(at, end)) return NULL;
    int places = 0;
    decimal->whole = 1;
    for (int zero = *at == '0', first = 1; is_digit(at, end); at++, first = 0) {
        if (zero && !first) return NULL;
        if (decimal->count || *at != '0') decimal->digits[decimal->count++] = *at - '0';
    }
    if (at < end && *at == '.') {
        decimal->whole = 0;
        if (!is_digit(++at, end)) return NULL;
        for (; is_digit(at, end); at++, places++)
            if (decimal->count || *at != '0') decimal->digits[decimal->count++] = *at - '0';
    }
    if (at < end && (*at | 0x20) == 'e') {
        decimal->whole = 0;
        int minus = 0, power = 0;
        if (++at < end && (*at == '-' || *at == '+')) minus = *at++ == '-';
        if (!is_digit(at, end)) return NULL;
        for (; is_digit(at, end); at++)
            if (power < 100000) power = 10 * power + *at - '0';
        decimal->exponent = minus ? -power : power;
    }
    decimal->exponent -= places;
    return at;
}

/* A large whole number, the lowest limb first. */
typedef struct {
    uint32_t limbs[LIMBS];
    int count; /* the highest is not 0 */
} Large;

static void multiply(Large *large, uint32_t factor, uint32_t more) {
    uint64_t carry = more;
    for (int i = 0; i < large->count; i++) {
        carry += (uint64_t)large->limbs[i] * factor;
        large->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) large->limbs[large->count++] = (uint32_t)carry;
}

static void multiply_by_ten(Large *large, int power) {
    for (; power >= 9; power -= 9) multiply(large, 1000000000, 0);
    for (; power > 0; power--) multiply(large, 10, 0);
}

static int bits_of(const Large *large) {
    const int top = large->count - 1;
    return top < 0 ? 0 : 32 * top + 32 - __builtin_clz(large->limbs[top]);
}

static void shift_left(Large *large, int bits) {
    for (; bits >= 32; bits -= 32) {
        memmove(large->limbs + 1, large->limbs, (size_t)large->count * 4);
        large->limbs[0] = 0;
        large->count++;
    }
    multiply(large, 1u << bits, 0);
}

/* Takes one number from another, where that is not smaller; returns whether it did. */
static int take_away(Large *from, const Large *other) {
    if (from->count < other->count) return 0;
    for (int i = from->count; i-- > 0;) {
        const uint32_t limb = i < other->count ? other->limbs[i] : 0;
        if (from->limbs[i] > limb) break;
        if (from->limbs[i] < limb) return 0;
    }
    int64_t carry = 0;
    for (int i = 0; i < from->count; i++) {
        carry += (int64_t)from->limbs[i] - (i < other->count ? other->limbs[i] : 0);
        from->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    while (from->count && !from->limbs[from->count - 1]) from->count--;
    return 1;
}

/* mantissa * 2^exponent, a mantissa up to 2^53, which is exact. */
static double scaled(uint64_t mantissa, int exponent) {
    double value = (double)mantissa, factor;
    while (exponent) {
        const int part = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : exponent;
        const uint64_t bits = (uint64_t)(1023 + part) << 52;
        memcpy(&factor, &bits, sizeof factor);
        value *= factor;
        exponent -= part;
    }
    return value;
}

/* The nearest float64, halves to the even one: 62 bits of the quotient, and whether more follow. */
static double nearest(const Decimal *decimal) {
    Large over = {{0}, 0}, under = {{1}, 1};
    if (!decimal->count || decimal->count + decimal->exponent < -400) return 0;
    if (decimal->count + decimal->exponent > 400) return __builtin_inf();
    for (int i = 0; i < decimal->count; i++) multiply(&over, 10, decimal->digits[i]);
    multiply_by_ten(&over, decimal->exponent);
    multiply_by_ten(&under, -decimal->exponent);
    const int shift = 62 - bits_of(&over) + bits_of(&under);
    shift_left(shift > 0 ? &over : &under, shift > 0 ? shift : -shift);
    uint64_t quotient = 0;
    shift_left(&under, 63);
    for (int i = 0; i < 64; i++) {
        quotient = quotient << 1 | (uint64_t)take_away(&over, &under);
        multiply(&over, 2, 0);
    }
    int drop = 64 - __builtin_clzll(quotient) - 53;
    if (drop - shift < -1074) drop = shift - 1074;
    if (drop > 63) return 0;
    const uint64_t half = (uint64_t)1 << (drop - 1), rest = quotient & (2 * half - 1);
    quotient >>= drop;
    quotient += rest > half || (rest == half && (over.count || (quotient & 1)));
    return scaled(quotient, drop - shift);
}

static double value_of(const Decimal *decimal) {
    double value = 0, power = 1;
    if (decimal->count <= 15 && decimal->exponent >= -22 && decimal->exponent <= 22) {
        for (int i = 0; i < decimal->count; i++) value = value * 10 + decimal->digits[i];
        /* Exact: powers of ten up to 22 are. */
        for (int i = decimal->exponent < 0 ? -decimal->exponent : decimal->exponent; i > 0; i--)
            power *= 10;
        value = decimal->exponent < 0 ? value / power : value * power;
    } else {
        value = nearest(decimal);
    }
    return decimal->negative ? -value : value;
}

static void decimal_of(const Json *json, uint32_t node, Decimal *decimal) {
    const uint8_t *at = json->text + json->nodes[node].at;
    read_decimal(at, at + json->nodes[node].size, decimal);
}

double inrv_json_number(const Json *json, uint32_t node) {
    Decimal decimal;
    decimal_of(json, node, &decimal);
    return value_of(&decimal);
}

int inrv_json_whole(const Json *json, uint32_t node, int64_t *whole) {
    Decimal decimal;
    uint64_t found = 0;
    if (json->nodes[node].kind != JSON_NUMBER) return 0;
    decimal_of(json, node, &decimal);
    if (!decimal.whole || decimal.count > 19) return 0;
    for (int i = 0; i < decimal.count; i++) found = found * 10 + decimal.digits[i];
    if (found > INT64_MAX) return 0;
    *whole = decimal.negative ? -(int64_t)found : (int64_t)found;
    return 1;
}

/* ---- The tree ---- */

typedef struct {
    Memory *memory;
    Json *json;
    const uint8_t *at, *end;
    uint32_t room;          /* nodes that there is memory for */
    uint32_t open[DEEPEST]; /* nodes that are not closed */
    int depth;
} Parser;

static void skip_spaces(Parser *parser) {
    while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\t' ||
                                        *parser->at == '\n' || *parser->at == '\r'))
        parser->at++;
}

static int take_byte(Parser *parser, char byte) {
    if (parser->at == parser->end || *parser->at != (uint8_t)byte) return 0;
    parser->at++;
    return 1;
}

static int add_node(Parser *parser, enum json_kind kind, const uint8_t *at, size_t size) {
    Json *json = parser->json;
    if (json->count == parser->room) {
        const uint32_t room = 2 * parser->room + 64;
        JsonNode *nodes = inrv_take(parser->memory, room, sizeof *nodes);
        if (!nodes) return INRV_MEMORY;
        if (json->count) memcpy(nodes, json->nodes, json->count * sizeof *nodes);
        inrv_give(parser->memory, json->nodes);
        json->nodes = nodes;
        parser->room = room;
    }
    const uint32_t place = (uint32_t)(at - json->text);
    json->nodes[json->count] = (JsonNode){kind, json->count + 1, place, (uint32_t)size};
    json->count++;
    return INRV_OK;
}

static int parse_string(Parser *parser) {
    if (!take_byte(parser, '"')) return NOT_JSON;
    const uint8_t *begin = parser->at;
    uint32_t character;
    while (parser->at < parser->end && *parser->at != '"')
        TRY(next_character(&parser->at, parser->end, &character));
    if (parser->at == parser->end) return NOT_JSON;
    return add_node(parser, JSON_STRING, begin, (size_t)(parser->at++ - begin));
}

static int parse_number(Parser *parser) {
    Decimal decimal;
    const uint8_t *begin = parser->at, *end = read_decimal(begin, parser->end, &decimal);
    const uint8_t *behind = begin;
    while (behind < parser->end && *behind && strchr("0123456789+-.eE", *behind)) behind++;
    if (behind - begin > LONGEST_NUMBER) return NO_NUMBER;
    if (!end) return NOT_JSON;
    const double value = value_of(&decimal);
    if (value - value != 0) return NO_NUMBER;
    parser->at = end;
    return add_node(parser, JSON_NUMBER, begin, (size_t)(end - begin));
}

static int parse_word(Parser *parser) {
    static const struct {
        const char *text;
        enum json_kind kind;
        int error;
    } WORDS[] = {
        {"null", JSON_NULL, INRV_OK},       {"false", JSON_FALSE, INRV_OK},
        {"true", JSON_TRUE, INRV_OK},       {"NaN", JSON_NULL, NO_NUMBER},
        {"Infinity", JSON_NULL, NO_NUMBER}, {"-Infinity", JSON_NULL, NO_NUMBER},
    };
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        const size_t size = strlen(WORDS[i].text);
        if ((size_t)(parser->end - parser->at) < size || memcmp(parser->at, WORDS[i].text, size))
            continue;
        if (WORDS[i].error) return WORDS[i].error;
        parser->at += size;
        return add_node(parser, WORDS[i].kind, parser->at - size, size);
    }
    return *parser->at == '-' || is_digit(parser->at, parser->end) ? parse_number(parser)
                                                                   : NOT_JSON;
}

/* Parses a value, or the beginning of one that has others in it. */
static int parse_value(Parser *parser) {
    skip_spaces(parser);
    if (parser->at == parser->end) return NOT_JSON;
    if (parser->depth == DEEPEST) return TOO_DEEP;
    if (*parser->at == '"') return parse_string(parser);
    if (*parser->at != '{' && *parser->at != '[') return parse_word(parser);
    TRY(add_node(parser, *parser->at == '{' ? JSON_OBJECT : JSON_LIST, parser->at, 0));
    parser->at++;
    parser->open[parser->depth++] = parser->json->count - 1;
    return INRV_OK;
}

/* Closes what ends here; `*more` tells whether another value follows. */
static int close_nodes(Parser *parser, int *more) {
    Json *json = parser->json;
    for (*more = 0; parser->depth; parser->depth--) {
        const uint32_t number = parser->open[parser->depth - 1];
        JsonNode *node = &json->nodes[number];
        const int empty = json->count == number + 1;
        skip_spaces(parser);
        if (take_byte(parser, node->kind == JSON_OBJECT ? '}' : ']')) {
            node->behind = json->count;
            if (parser->depth > 1) json->nodes[parser->open[parser->depth - 2]].size++;
            continue;
        }
        *more = 1;
        return empty || take_byte(parser, ',') ? INRV_OK : NOT_JSON;
    }
    return INRV_OK;
}

static int parse(Parser *parser) {
    for (int more = 1; more;) {
        const int depth = parser->depth;
        const JsonNode *nodes = parser->json->nodes;
        if (depth && nodes[parser->open[depth - 1]].kind == JSON_OBJECT) {
            skip_spaces(parser);
            TRY(parse_string(parser));
            skip_spaces(parser);
            if (!take_byte(parser, ':')) return NOT_JSON;
        }
        TRY(parse_value(parser));
        if (parser->depth == depth && depth) parser->json->nodes[parser->open[depth - 1]].size++;
        TRY(close_nodes(parser, &more));
    }
    skip_spaces(parser);
    return parser->at == parser->end ? INRV_OK : NOT_JSON;
}

/* ---- Keys ---- */

/* Lets a key sink to its place in a heap. */
static void sink(const Json *json, uint32_t *keys, uint32_t count, uint32_t at) {
    for (uint32_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && compare(json, keys[below], keys[below + 1]) < 0) below++;
        if (compare(json, keys[at], keys[below]) >= 0) return;
        const uint32_t key = keys[at];
        keys[at] = keys[below];
        keys[below] = key;
    }
}

/* Sorts keys, so that equal ones stand beside each other: in bounded time, whatever they are. */
static void sort_keys(const Json *json, uint32_t *keys, uint32_t count) {
    for (uint32_t i = count / 2; i-- > 0;) sink(json, keys, count, i);
    for (uint32_t i = count; i-- > 1;) {
        const uint32_t key = keys[0];
        keys[0] = keys[i];
        keys[i] = key;
        sink(json, keys, i, 0);
    }
}

static int check_keys(Memory *memory, const Json *json, uint32_t object) {
    const JsonNode *nodes = json->nodes;
    const uint32_t count = nodes[object].size;
    uint32_t few[FEW_KEYS];
    uint32_t *keys = count <= FEW_KEYS ? few : inrv_take(memory, count, sizeof *keys);
    if (!keys) return INRV_MEMORY;
    for (uint32_t i = 0, node = object + 1; i < count; i++, node = nodes[node + 1].behind)
        keys[i] = node;
    sort_keys(json, keys, count);
    int error = INRV_OK;
    for (uint32_t i = 1; i < count; i++)
        if (!compare(json, keys[i - 1], keys[i])) error = TWICE;
    if (keys != few) inrv_give(memory, keys);
    return error;
}

int inrv_json_parse(Memory *memory, const uint8_t *text, size_t size, Json *json) {
    *json = (Json){text, size, NULL, 0};
    Parser parser = {.memory = memory, .json = json, .at = text, .end = text + size};
    int error = size < UINT32_MAX / 4 ? parse(&parser) : NOT_JSON;
    for (uint32_t i = 0; i < json->count && !error; i++)
        if (json->nodes[i].kind == JSON_OBJECT && json->nodes[i].size > 1)
            error = check_keys(memory, json, i);
    if (!error) return INRV_OK;
    inrv_give(memory, json->nodes);
    json->nodes = NULL;
    json->count = 0;
    return error;
}

uint32_t inrv_json_member(const Json *json, uint32_t object, const char *key) {
    const JsonNode *nodes = json->nodes;
    if (nodes[object].kind != JSON_OBJECT) return JSON_NONE;
    for (uint32_t node = object + 1; node < nodes[object].behind; node = nodes[node + 1].behind)
        if (inrv_json_is(json, node, key)) return node + 1;
    return JSON_NONE;
}
