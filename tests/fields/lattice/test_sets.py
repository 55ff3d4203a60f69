"""Sets of default networks: the cheapest is chosen, named in the file, and decoded with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import inrv
from inrv import SparseVolume
from inrv.fields.lattice import search
from inrv.fields.lattice.constants import SETS
from inrv.fields.lattice.model import Model, default_model
from inrv.fields.lattice.network import IntegerNetwork
from inrv.grids import sparse_grid
from testing.lattice import decoded, instant, noise, smooth


def zeroed(network: IntegerNetwork) -> IntegerNetwork:
    """A network that says nothing."""
    return IntegerNetwork({name: np.zeros_like(t) for name, t in network.tensors.items()})


@pytest.mark.parametrize("good", [0, 3, SETS - 1])
def test_the_cheapest_set_is_chosen_and_named(good: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def sets(reference: bool, restoration: bool, number: int = 0, wavelet: bool = False) -> Model:
        model = default_model(reference, restoration, number, wavelet)
        networks = {odd: zeroed(network) for odd, network in model.networks.items()}
        return model if number == good else replace(model, networks=networks)

    volume = SparseVolume((sparse_grid(smooth(32)),))
    with monkeypatch.context() as patched:
        patched.setattr(search, "default_model", sets)
        patched.setattr(search, "WAVELET_BITS", 0.0)  # so that it stays a lattice
        patched.setattr(search, "LEAST_FITTED", 1 << 30)  # nothing is fitted to it
        data, _ = inrv.encode_bytes(volume, instant(psnr=45))
    opened = inrv.load(data, device="cpu")
    assert opened.manifest.field is not None
    (channel,) = opened.manifest.field.config["channels"]
    assert (channel["set"], channel["fitted"]) == (good, False)
    (values,) = decoded(data)
    exact = volume.grids[0].values[:, 0]
    errors = values.view(np.float32).reshape(-1) - exact
    assert -20 * np.log10(np.sqrt((errors**2).mean()) / np.ptp(exact)) >= 45


def test_all_sets_have_networks_of_the_same_shapes() -> None:
    for reference in (False, True):
        shapes = [
            [tensor.shape for _, tensor in default_model(reference, True, number).tensors()]
            for number in range(SETS)
        ]
        assert all(own == shapes[0] for own in shapes)


@pytest.mark.parametrize(("psnr", "trellis"), [(50.0, True), (32.0, False)])
def test_a_trellis_is_left_out_where_it_does_not_pay(psnr: float, trellis: bool) -> None:
    detailed = smooth(40) + np.float32(0.1) * noise((40,) * 3, 8)
    data, _ = inrv.encode_bytes(SparseVolume((sparse_grid(detailed),)), instant(psnr=psnr))
    field = inrv.load(data, device="cpu").manifest.field
    assert field is not None and field.config["channels"][0]["trellis"] is trellis


def test_lossless_and_bounded_channels_have_no_trellis() -> None:
    grid = sparse_grid(np.round(smooth(16) * 30).astype(np.float32))
    for asked in ({"psnr": None, "lossless": True}, {"psnr": None, "max_error": 1e-3}):
        data, _ = inrv.encode_bytes(SparseVolume((grid,)), instant(**asked))
        field = inrv.load(data, device="cpu").manifest.field
        assert field is not None
        assert [channel["trellis"] for channel in field.config["channels"]] == [False]
