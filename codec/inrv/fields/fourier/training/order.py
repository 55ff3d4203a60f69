"""The order in which training takes the samples."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class Order:
    """Cuts pass after pass over the samples into batches of one size.

    Each pass has a fresh order without replacement. The batch of a step follows from the seed and
    the step's number alone, whatever was asked before. The end of a pass and the beginning of the
    next may lie within a batch.

    samples: int number of samples
    batch: int samples of a batch, at most `samples`
    seed: int
    device: torch.device that has the samples
    """

    def __init__(self, samples: int, batch: int, seed: int, device: torch.device) -> None:
        self.samples, self.batch, self.seed, self.device = samples, batch, seed, device
        self._passes: dict[int, Tensor] = {}

    def rows(self, step: int) -> Tensor:
        """Return the numbers int64 (batch,) of the samples of a step; steps begin with 0."""
        number, place = divmod(step * self.batch, self.samples)
        rows = self._pass(number)[place : place + self.batch]
        missing = self.batch - len(rows)
        return torch.cat([rows, self._pass(number + 1)[:missing]]) if missing else rows

    def _pass(self, number: int) -> Tensor:
        """Return the order int64 (samples,) of a pass; the pass before it is kept too."""
        if number not in self._passes:
            self._passes = {
                known: order for known, order in self._passes.items() if known == number - 1
            }
            generator = torch.Generator(device=self.device).manual_seed(_mixed(self.seed, number))
            self._passes[number] = torch.randperm(
                self.samples, generator=generator, device=self.device
            )
        return self._passes[number]


def _mixed(seed: int, number: int) -> int:
    """Return a seed of 64 bits, hashed, because torch's generator on CPUs uses 32 of them only."""
    digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
