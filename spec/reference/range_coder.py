"""The range coder of lattices as spec/lattice.md states it."""

from __future__ import annotations

from collections.abc import Sequence


class RangeDecoder:
    def __init__(self, words: Sequence[int]) -> None:
        self.words, self.read = words, 0
        self.lower, self.range = 0, 2**64 - 1
        self.point = self.next_word() << 32 | self.next_word()

    def next_word(self) -> int:
        self.read += 1
        return self.words[self.read - 1] if self.read <= len(self.words) else 0

    def symbol(self, parts: Sequence[int]) -> int:
        """The next symbol, where symbol i has parts[i] of 2^24."""
        share = self.range >> 24
        target = (self.point - self.lower) % 2**64 // share
        if target >= 2**24:
            raise ValueError("F6: no encoder makes these words")
        i, below = 0, 0
        while below + parts[i] <= target:
            i, below = i + 1, below + parts[i]
        self.lower, self.range = (self.lower + share * below) % 2**64, share * parts[i]
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % 2**64, self.range * 2**32
            self.point = (self.point * 2**32 + self.next_word()) % 2**64
        return i
