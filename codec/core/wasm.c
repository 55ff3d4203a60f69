/* What WebAssembly needs besides: a host whose functions are imports of the module. Whoever loads
   it gives `inrv.read` and `inrv.unzstd`, which get addresses in the module's memory. */
#ifdef __wasm__
#include "inrv.h"

#define IMPORT(name) __attribute__((import_module("inrv"), import_name(name)))
IMPORT("read") int inrv_host_read(void *context, uint64_t offset, void *to, size_t size);
IMPORT("unzstd")
int inrv_host_unzstd(void *context, const void *frame, size_t size, void *raw, size_t raw_size);

/* A host whose functions are these imports. */
INRV_API const inrv_host *inrv_imported_host(void);

const inrv_host *inrv_imported_host(void) {
    static const inrv_host HOST = {NULL, inrv_host_read, inrv_host_unzstd};
    return &HOST;
}
#endif
