"""Which samples a step trains on."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class Order:
    """Pass after pass over `samples` samples, each in a fresh order without replacement, cut into batches of one size.

    What step t gets follows from (seed, t) alone: whoever asks, whatever was asked before. `batch` is at most `samples`;
    the end of a pass and the beginning of the next may lie within a batch.
    """

    def __init__(self, samples: int, batch: int, seed: int, device: torch.device) -> None:
        self.samples, self.batch, self.seed, self.device = samples, batch, seed, device
        self._passes: dict[int, Tensor] = {}

    def rows(self, step: int) -> Tensor:
        """The numbers int64 (batch,) of the samples of step `step`, from 0."""
        number, place = divmod(step * self.batch, self.samples)
        rows = self._pass(number)[place : place + self.batch]
        missing = self.batch - len(rows)
        return torch.cat([rows, self._pass(number + 1)[:missing]]) if missing else rows

    def _pass(self, number: int) -> Tensor:
        """The order (samples,) of pass `number`; only the last one asked for and the one before are kept."""
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
    """A seed of 64 bits; hashed, because torch's generator on CPUs looks at 32 of them only."""
    return int.from_bytes(
        hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest(), "little"
    )
