"""The codec `inrv` of numcodecs: chunks of zarr of version 2, and of what else takes its codecs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy

from inrv.integrations.chunks import Chunk, configuration_of, encode_chunk, options_of

NAME = "inrv"


class Inrv(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Codes a chunk of three axes or more as an .inrv file.

    psnr, max_error, lossless, effort: as of `inrv.EncodeOptions`; one of the first three is given
    Raises OptionError, a ValueError.
    """

    codec_id = NAME

    def __init__(
        self,
        psnr: float | None = None,
        max_error: float | str | None = None,
        lossless: bool = False,
        effort: str = "instant",
    ) -> None:
        asked = {"psnr": psnr, "max_error": max_error, "lossless": lossless, "effort": effort}
        self.options = options_of(asked, NAME)

    def get_config(self) -> dict[str, Any]:
        """Give the configuration that numcodecs makes the same codec of."""
        return {"id": NAME, **configuration_of(self.options)}

    def encode(self, buf: Any) -> bytes:
        """Encode a chunk.

        buf: an array (..., X, Y, Z): its shape and dtype come back. Its zeros are inactive voxels
        Raises OptionError for other arrays, and for numbers that float32 cannot hold as asked.
        """
        return encode_chunk(np.asarray(buf), self.options, codec=NAME)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk. Raises FormatError, OptionError where the bytes are none.

        out: an array to put the values into, of as many bytes
        """
        chunk = Chunk.open(ensure_bytes(buf), NAME)
        return ndarray_copy(np.asarray(chunk.values(), order=chunk.order), out)  # type: ignore[call-overload]

    def __repr__(self) -> str:
        config = {name: value for name, value in self.get_config().items() if name != "id"}
        return f"Inrv({', '.join(f'{name}={value!r}' for name, value in config.items())})"
