/* Feeds a target with damaged bytes, and keeps those that reach new code: they are damaged next.
 *
 *     driver TARGET CASES SEED FINDING FILE...
 *
 * fuzz/native.py compiles it with -fsanitize=address,undefined and -fsanitize-coverage=trace-pc. The same arguments
 * make the same cases. What ends the program is in the file FINDING. With no cases, the files are
 * tried as they are.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <sanitizer/common_interface_defs.h>

#include "inrv.h"
#include "targets.h"

#define MOST_BYTES (1 << 16) /* of a case; files may be longer */
#define MOST_KEPT 4096       /* inputs that are damaged further */
#define SECONDS 10           /* of a processor that a case may take, however busy the machine is */
#define EDGES (1 << 16)      /* 16 bits of a hash: two steps in the code that share a place are taken for one */
#define OUTCOMES (1 << 16)

struct input {
    uint8_t *data;
    size_t size;
};

static struct input kept[MOST_KEPT], current;
static size_t kept_count;
static const char *finding;
static unsigned long outcomes[OUTCOMES];

/* Which steps from one block of code to the next this case took, and all cases took. */
static union {
    uint8_t bytes[EDGES];
    uint64_t words[EDGES / 8];
} taken, known;
static uintptr_t before;
static int recording;

/* For what is called at each step and runs over all steps: the sanitizers leave it alone. */
#if defined(__clang__)
#define UNWATCHED __attribute__((no_sanitize("coverage", "address", "undefined")))
#else
#define UNWATCHED __attribute__((no_sanitize_coverage, no_sanitize_address, no_sanitize_undefined))
#endif

UNWATCHED void __sanitizer_cov_trace_pc(void);
UNWATCHED static int tried(target_function *function);

void __sanitizer_cov_trace_pc(void) {
    if (!recording) return;
    /* The system loads programs at places by chance; the distance stays the same. */
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)tried;
    here = here * 0x9e3779b97f4a7c15u >> 48;
    taken.bytes[here ^ before] = 1;
    before = here >> 1;
}

/* The sanitizers' libraries look for these two, so they are not hidden. */
INRV_API const char *__asan_default_options(void);
INRV_API const char *__ubsan_default_options(void);

const char *__asan_default_options(void) {
    return "allocator_may_return_null=1:max_allocation_size_mb=1024:hard_rss_limit_mb=3072"
           ":handle_abort=1:handle_sigill=1";
}

const char *__ubsan_default_options(void) {
    return "abort_on_error=1:print_stacktrace=1"; /* so that `save` is called: it is asan's */
}

static void save(void) {
    int file = open(finding, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, current.data, current.size) != (ssize_t)current.size) _exit(3);
    close(file);
}

static void too_slow(int signal) {
    (void)signal;
    static const char text[] = "a case takes too long\n";
    save();
    if (write(2, text, sizeof text - 1) < 0) _exit(3);
    _exit(1);
}

static void limit(int seconds) {
    const struct itimerval timer = {.it_value = {.tv_sec = seconds}};
    setitimer(ITIMER_PROF, &timer, NULL);
}

static void must(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "driver: %s\n", what);
    exit(2);
}

/* Try the current input; return whether it reached something new. */
static int tried(target_function *function) {
    memset(&taken, 0, sizeof taken);
    before = 0;
    limit(SECONDS);
    recording = 1;
    int error = function(current.data, current.size);
    recording = 0;
    limit(0);
    must(error >= 0 && error < OUTCOMES, "the error is no error");
    outcomes[error]++;
    uint64_t more = 0;
    for (size_t i = 0; i < EDGES / 8; i++) {
        more |= taken.words[i] & ~known.words[i];
        known.words[i] |= taken.words[i];
    }
    return more != 0;
}

static uint64_t state;

/* SplitMix64: a number below a limit. */
static size_t chance(size_t limit) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return limit ? (size_t)((z ^ z >> 31) % limit) : 0;
}

/* Numbers at the ends of ranges, where mistakes are. */
static uint32_t odd_number(void) {
    uint32_t power = 1u << chance(32);
    return chance(2) ? power - 1 + (uint32_t)chance(3) : -power;
}

/* Damage some bytes once, and return their new number.
 * buffer: uint8 (MOST_BYTES), of which `size` are used
 */
static size_t damaged(uint8_t *buffer, size_t size) {
    const struct input *other = &kept[chance(kept_count)];
    size_t at = chance(size), count = 1 + chance(chance(4) ? 8 : 256), width = (size_t)1 << chance(3);
    uint32_t number = odd_number();
    switch (chance(8)) {
    case 0: /* one bit */
        if (size) buffer[at] ^= (uint8_t)(1u << chance(8));
        return size;
    case 1: /* one byte */
        if (size) buffer[at] = (uint8_t)chance(256);
        return size;
    case 2: /* an odd number */
        if (at + width <= size) memcpy(buffer + at, &number, width);
        return size;
    case 3: /* a little more or less */
        if (size) buffer[at] = (uint8_t)(buffer[at] + chance(9) - 4);
        return size;
    case 4: /* cut */
        return at;
    case 5: /* bytes less */
        if (count > size - at) count = size - at;
        memmove(buffer + at, buffer + at + count, size - at - count);
        return size - count;
    case 6: /* bytes more */
        if (count > MOST_BYTES - size) count = MOST_BYTES - size;
        memmove(buffer + at + count, buffer + at, size - at);
        for (size_t i = 0; i < count; i++) buffer[at + i] = (uint8_t)chance(256);
        return size + count;
    default: /* the end of another input */
        if (at < other->size) {
            size = other->size < MOST_BYTES ? other->size : MOST_BYTES;
            memcpy(buffer + at, other->data + at, size - at);
        }
        return size;
    }
}

/* Set the current input to a copy that ends where its memory ends. */
static void set_current(const uint8_t *data, size_t size) {
    current.data = malloc(size ? size : 1);
    current.size = size;
    must(current.data != NULL, "no memory");
    memcpy(current.data, data, size);
}

static void keep_or_free(int keep) {
    if (keep && kept_count < MOST_KEPT)
        kept[kept_count++] = current;
    else
        free(current.data);
}

static void read_file(const char *name) {
    FILE *file = fopen(name, "rb");
    must(file && !fseek(file, 0, SEEK_END), name);
    long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc((size_t)size + 1);
    must(data && fread(data, 1, (size_t)size, file) == (size_t)size, name);
    fclose(file);
    set_current(data, (size_t)size);
    free(data);
}

int main(int count, char **arguments) {
    must(count > 4, "TARGET CASES SEED FINDING FILE...");
    target_function *function = NULL;
    for (size_t i = 0; i < TARGET_COUNT; i++)
        if (!strcmp(TARGETS[i].name, arguments[1])) function = TARGETS[i].function;
    must(function != NULL, "no such target");
    unsigned long cases = strtoul(arguments[2], NULL, 10);
    state = strtoull(arguments[3], NULL, 10);
    finding = arguments[4];
    __sanitizer_set_death_callback(save);
    signal(SIGPROF, too_slow);

    for (int i = 5; i < count; i++) {
        read_file(arguments[i]);
        tried(function);
        keep_or_free(1);
    }
    static uint8_t buffer[MOST_BYTES];
    for (unsigned long number = 0; number < cases; number++) {
        /* Later ones more often: the way on leads from there. */
        size_t first = chance(kept_count), second = chance(kept_count);
        const struct input *from = &kept[first > second ? first : second];
        size_t size = from->size < MOST_BYTES ? from->size : MOST_BYTES;
        if (size) memcpy(buffer, from->data, size);
        for (size_t times = 1 + chance(4); times--;) size = damaged(buffer, size);
        set_current(buffer, size);
        keep_or_free(tried(function));
    }

    current.size = 0; /* what is told from here on is no case's */
    size_t edges = 0;
    for (size_t i = 0; i < EDGES; i++) edges += known.bytes[i];
    printf("edges %zu\n", edges);
    for (int error = 0; error < OUTCOMES; error++) {
        if (!outcomes[error]) continue;
        if (error == INRV_OK) printf("accepted");
        else if (error == INRV_MEMORY) printf("memory");
        else if (error == INRV_USE) printf("use");
        else if (error == INRV_NOT_SUPPORTED) printf("unsupported");
        else printf("%c%d", INRV_RULE_LETTER(error), INRV_RULE_NUMBER(error));
        printf(" %lu\n", outcomes[error]);
    }
    return 0;
}
