"""Hostile JSON: a tree changed in a few places, and text that no tree can hold."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

# Text in place of a value: what json.dumps would not write.
TOKENS = (
    "1e999", "-1e999", "NaN", "-Infinity", "01", "-", "+1", "0x1", "1.", "1e", "'a'", "tru", "",
    "1" * 64, "1" * 65, "9" * 5000, "-" + "9" * 63, "0." + "1" * 62, "0." + "1" * 63, "1e-999",
    "-0", "-0.0", "0e0", "1E5", "1e308", "5e-324", '"\\ud800"', '"\\udc80"', '"\\udcff"',
    '"\\udc7f"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\x41"', '"\x01"', '"\ufeff"',
    "[" * 31 + "]" * 31, "[" * 33 + "]" * 33, "[" * 3000 + "]" * 3000, "[" * 100_000,
    '{"a":' * 33 + "1" + "}" * 33, '{"a":1,"a":2}', "/**/1", "[1,]", "{,}",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511,
    512, 4095, 4096, 65535, 65536, 2**20, 2**20 + 1, 2**24, 2**31 - 1, 2**31, -(2**31), 2**32 - 1,
    2**32, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40, 0.0, -0.0, 0.5, 1.0, 1.5, -1.5,
    1e-45, 1e-300, 1e38, 3.4028234663852886e38, 3.4028235677973366e38, 1e300,
    1.7976931348623157e308, "", "a", "0", "float", "vec3s", "double", "silu", "relu", "fourier",
    "AffineMap", "level set", "string", "bool", "int64", "mat4d", "vec3i", "nan", "inf", "base64",
    "AAECAw==", "AAE", "\x1b[2J", "../../etc/passwd", "x" * 3000, "\x00", "\udc80", "caf\u00e9", [],
    {}, [0], [0.0] * 3, [1.0] * 16, [[]], [None], {"float": "nan"}, {"float": "inf"},
    {"base64": "AAECAw=="}, {"base64": "A"}, {"type": "int32", "value": 1}, {"a": {"b": [1, 2]}},
)  # fmt: skip
KEYS = (
    "colour", "", "\udc99", "\x1b", "a" * 500, "__class__", "threshold", "exact_values",
    "passthrough", "vdb_version", "frequent_values", "outliers", "topology_of", "box", "config",
    "outputs", "frames", "number", "time",
)  # fmt: skip
SIDES = (-1, 1, 2, -2, 8, 64, 512, 1 << 20, 1 << 31, 1 << 32, 1 << 62)


class HostileTree:
    """A JSON tree and the pieces of text that are put into it when it is written."""

    def __init__(self, tree: Any) -> None:
        self.root = {"root": tree}
        self.texts: list[str] = []

    def change(self, random: Random) -> None:
        """One change somewhere."""
        owner, key = self._place(random)
        _CHANGES[int(random.random() ** 1.3 * len(_CHANGES))](self, random, owner, key)

    def to_bytes(self, random: Random) -> bytes:
        """The tree as JSON, mostly canonical."""
        style = random.random()
        separators = (", ", ": ") if style < 0.1 else (",", ":")
        text = json.dumps(
            self.root["root"],
            sort_keys=style > 0.5,
            separators=separators,
            ensure_ascii=style < 0.95,
        )
        for number, piece in enumerate(self.texts):
            text = text.replace(json.dumps(_mark(number)), piece)
        return text.encode("utf-8", "surrogatepass")

    def text(self, piece: str) -> str:
        """A string that stands for `piece` until the tree is written."""
        self.texts.append(piece)
        return _mark(len(self.texts) - 1)

    def _place(self, random: Random) -> tuple[Any, Any]:
        """A value, as its container and its key there."""
        owner: Any = self.root
        key: Any = "root"
        while random.random() < 0.88:
            value = owner[key]
            if isinstance(value, dict) and value:
                owner, key = value, random.choice(list(value))
            elif isinstance(value, list) and value:
                owner, key = value, random.randrange(len(value))
            else:
                break
        return owner, key

    def _replace(self, random: Random, owner: Any, key: Any) -> None:
        owner[key] = _value(random)

    def _shift(self, random: Random, owner: Any, key: Any) -> None:
        value = owner[key]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            owner[key] = random.choice(
                (
                    value + random.choice(SIDES),
                    -value,
                    value * 2,
                    float(min(value, 1 << 60)),
                    value // 2,
                )
            )
        elif isinstance(value, str) and not value.startswith("\x00mark"):
            at = random.randrange(len(value) + 1)
            owner[key] = (
                value[:at]
                + random.choice(("", "\x00", "\udcff", "\u20ac", "/", "\x1e", "_", "A"))
                + value[at + 1 :]
            )
        else:
            self._replace(random, owner, key)

    def _token(self, random: Random, owner: Any, key: Any) -> None:
        owner[key] = self.text(random.choice(TOKENS))

    def _remove(self, random: Random, owner: Any, key: Any) -> None:
        if owner is not self.root:
            del owner[key]

    def _another(self, random: Random, owner: Any, key: Any) -> None:
        """The value that stands somewhere else."""
        there, name = self._place(random)
        owner[key] = deepcopy(there[name])

    def _swap(self, random: Random, owner: Any, key: Any) -> None:
        others = list(owner) if isinstance(owner, dict) else range(len(owner))
        other = random.choice(list(others))
        owner[key], owner[other] = owner[other], owner[key]

    def _again(self, random: Random, owner: Any, key: Any) -> None:
        """An item of a list a few times more, or a key of an object twice."""
        if isinstance(owner, list):
            owner[key:key] = [deepcopy(owner[key])] * random.choice((1, 1, 1, 2, 5, 100, 5000))
        else:
            owner[self.text(json.dumps(key))] = (
                deepcopy(owner[key]) if random.random() < 0.5 else _value(random)
            )

    def _add(self, random: Random, owner: Any, key: Any) -> None:
        if isinstance(owner, dict):
            owner[random.choice(KEYS)] = _value(random)
        else:
            owner.append(_value(random))


def _value(random: Random) -> Any:
    """A value of its own: what is put into a tree may be changed there."""
    return deepcopy(random.choice(VALUES))


def _mark(number: int) -> str:
    return f"\x00mark{number}"


_CHANGES = (
    HostileTree._shift,
    HostileTree._replace,
    HostileTree._token,
    HostileTree._another,
    HostileTree._remove,
    HostileTree._again,
    HostileTree._swap,
    HostileTree._add,
)
