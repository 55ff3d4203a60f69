"""The range coder: symbols to words of 32 bits and back, with constriction's queue.

The specification states the coder's arithmetic, in the part on masks.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from inrv.errors import FormatError

Words = NDArray[np.uint32]
Symbols = NDArray[np.int32]

EVEN_BIT = constriction.stream.model.Uniform(2)  # 0 and 1 alike
BIT = constriction.stream.model.Bernoulli(perfect=False)  # takes a probability a symbol
NOTHING = np.zeros(0, dtype=np.int32)


def table_model(parts: NDArray[np.int64]) -> Any:
    """The model of symbols 0 to k - 1 whose parts int64 (k,) of 2^24 - k are given."""
    return constriction.stream.model.Categorical(parts.astype(np.float64), perfect=False)


class RangeWriter:
    """Writes symbols."""

    def __init__(self) -> None:
        self.encoder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Symbols, model: Any, *parameters: NDArray[np.float64]) -> None:
        """Write symbols int32 (n,) under a model, with parameters float64 (n,) if it takes any."""
        if len(symbols):
            self.encoder.encode(symbols, model, *parameters)

    def words(self) -> Words:
        """All that was written: uint32 (W,)."""
        words: Words = self.encoder.get_compressed()
        return words


class RangeReader:
    """Reads symbols.

    words: uint32 (W,)
    id: of the FormatError that is raised where they are damaged
    what: what they are, for its message
    """

    def __init__(self, words: Words, id: str, what: str) -> None:
        self.id, self.what = id, what
        self.decoder = constriction.stream.queue.RangeDecoder(
            np.ascontiguousarray(words, dtype=np.uint32)
        )

    def decode(self, model: Any, count_or_parameters: int | NDArray[np.float64]) -> Symbols:
        """Read symbols int32 (n,) under a model: so many, or one for each of its parameters.

        Raises FormatError.
        """
        if isinstance(count_or_parameters, int) and not count_or_parameters:
            return NOTHING
        try:
            symbols: Symbols = self.decoder.decode(model, count_or_parameters)
        except (ValueError, AssertionError) as error:
            raise FormatError(self.id, f"{self.what} are damaged: {error}") from error
        return symbols

    def check_end(self, message: str) -> None:
        """Raise FormatError with `message` where words are left over."""
        if not self.decoder.maybe_exhausted():
            raise FormatError(self.id, message)
