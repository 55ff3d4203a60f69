/* What the core asks of its host, done in the module itself: zstd's own decoder. */
#include "inrv.h"
#include "zstd.h"

int inrv_host_unzstd(void *context, const void *frame, size_t size, void *raw, size_t raw_size);

int inrv_host_unzstd(void *context, const void *frame, size_t size, void *raw, size_t raw_size) {
    (void)context;
    size_t dictionary_size;
    const void *dictionary = inrv_dictionary(&dictionary_size);
    ZSTD_DCtx *decoder = ZSTD_createDCtx();
    if (!decoder || ZSTD_findFrameCompressedSize(frame, size) != size) {
        ZSTD_freeDCtx(decoder);
        return 1;
    }
    size_t found = ZSTD_decompress_usingDict(decoder, raw, raw_size, frame, size, dictionary,
                                             dictionary_size);
    ZSTD_freeDCtx(decoder);
    return found != raw_size; /* an error is a number above every size */
}
