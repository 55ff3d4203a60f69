"""The compiled kernels give, voxel for voxel, what the tensors give that other devices compute with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import inrv
from inrv import SparseVolume
from inrv.fields.lattice import context
from inrv.fields.lattice import restoration as smoothing
from inrv.fields.lattice.constants import MISSING, STEP
from inrv.fields.lattice.context import Channel, Context, Known, Stage
from inrv.fields.lattice.order import PARITIES
from inrv.fields.lattice.regions import Frame
from testing.lattice import hazy_regions, in_regions, instant


def assert_same(found: Context, expected: Context) -> None:
    pairs = [(found.inputs, expected.inputs), (found.base, expected.base), (found.flat, expected.flat)]
    pairs += [(found.scale.mantissa, expected.scale.mantissa), (found.scale.shift, expected.scale.shift)]
    for one, other in pairs:
        assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("make", [in_regions, hazy_regions])
def test_every_context_and_every_neighbourhood_of_two_grids(
    make: Callable[[], SparseVolume], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = {"alone": 0, "given": 0, "smoothed": 0}
    look, inputs = context._look_compiled, smoothing._inputs_compiled

    def look_twice(*arguments: Any) -> Context:
        found = look(*arguments)
        assert_same(found, context.look_in_tensors(*arguments))
        compared["alone" if arguments[0].given is None else "given"] += len(found.base)
        return found

    def smooth_twice(*arguments: Any) -> tuple[Tensor, Tensor]:
        found = inputs(*arguments)
        assert all(torch.equal(*pair) for pair in zip(found, smoothing.inputs_in_tensors(*arguments), strict=True))
        compared["smoothed"] += len(found[0])
        return found

    monkeypatch.setattr(context, "_look_compiled", look_twice)
    monkeypatch.setattr(smoothing, "_inputs_compiled", smooth_twice)
    inrv.encode_bytes(make(), instant(psnr=35.0))
    assert min(compared.values()) > 1000


@pytest.mark.parametrize("reach", [3, 1 << 12, 1 << 23])
def test_neighbourhoods_of_any_values(reach: int) -> None:
    generator = torch.Generator().manual_seed(reach)
    values = torch.randint(-reach, reach, (2, 12, 14, 16), generator=generator, dtype=torch.int32)
    values[torch.rand(values.shape, generator=generator) < 0.3] = MISSING
    inside = torch.zeros_like(values, dtype=torch.bool)
    inside[:, 4:8, 4:10, 4:12] = True
    places = (inside & (values != MISSING)).reshape(-1).nonzero()[:, 0]
    channel = Channel((STEP,) * 7, 1 << 23, reach // 2)
    found, expected = smoothing._inputs_compiled(values, places, channel), smoothing.inputs_in_tensors(values, places, channel)
    assert len(places) > 200 and all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("reach", [3, 1 << 12, 1 << 23])
@pytest.mark.parametrize("odd", [1, 2, 3])
def test_contexts_of_any_values(reach: int, odd: int) -> None:
    generator = torch.Generator().manual_seed(reach + odd)
    frame = Frame(2, (0, 4, 8), (8, 10, 16))

    def drawn() -> Tensor:
        values = torch.randint(-reach, reach, (2 * frame.volume,), generator=generator, dtype=torch.int32)
        values[torch.rand(values.shape, generator=generator) < 0.6] = MISSING
        return values

    known = Known(drawn(), torch.rand(2 * frame.volume, generator=generator) < 0.5, drawn())
    inside = torch.zeros(2, *frame.shape, dtype=torch.bool)
    inside[:, 4:-4, 4:-4, 4:-4] = True
    places = inside.reshape(-1).nonzero()[:, 0]
    rest = torch.tensor([[5, reach - 1], [1, 9]], dtype=torch.int32)
    channel = Channel((STEP, 77, 46, 32, 32, 32, 32), reach, -reach)
    for given in (known, Known(known.values, known.active, None)):
        for parity in PARITIES[odd]:
            arguments = given, places, Stage(frame, odd, parity), channel, (rest[0], rest[1])
            assert_same(context._look_compiled(*arguments), context.look_in_tensors(*arguments))
