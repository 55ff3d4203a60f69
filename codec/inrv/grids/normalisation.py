"""Values to [0, 1] and back, a component at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The range of each component: minimum + (maximum - minimum) * y is the value of y in [0, 1].

    minimum: float64 (C,) lowest value
    maximum: float64 (C,) highest value
    """

    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]

    @staticmethod
    def fit(values: NDArray[np.float32]) -> Normalisation:
        """Take the range of each component of `values` (N, C); of no values, zero to zero."""
        if not len(values):
            nothing = np.zeros(values.shape[1], dtype=np.float64)
            return Normalisation(nothing, nothing)
        return Normalisation(
            np.array([column.min() for column in values.T], dtype=np.float64),
            np.array([column.max() for column in values.T], dtype=np.float64),
        )

    @property
    def varying(self) -> NDArray[np.bool_]:
        """Components with more than one value, bool (C,); others are stored as their constant."""
        return self.maximum > self.minimum

    @property
    def spans(self) -> NDArray[np.float64]:
        """The range of each component, float64 (C,)."""
        return self.maximum - self.minimum

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalise values (N, C) to float32, in [0, 1] inside the range; constants give 0."""
        span = np.where(self.varying, self.spans, 1.0)
        wide = values.astype(np.float64)
        wide -= self.minimum
        wide /= span
        return wide.astype(np.float32)


def denormalise(
    outputs: NDArray[Any], minimum: float, maximum: float, clamp: bool = True
) -> NDArray[np.float32]:
    """Turn normalised outputs into values float32, computed in float64 and rounded once.

    clamp: whether to keep the values within [minimum, maximum]
    """
    values = minimum + (maximum - minimum) * in_double(outputs)
    if clamp:
        values = np.clip(values, minimum, maximum)
    return values.astype(np.float32)


def in_double(array: NDArray[Any]) -> NDArray[np.float64]:
    """Give the array in float64."""
    return array.astype(np.float64)
