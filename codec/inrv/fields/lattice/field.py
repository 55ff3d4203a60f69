"""The field `lattice` as encoding and decoding see it. Its networks and codes are imported late."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from inrv.container import Container, Manifest, Value
from inrv.errors import FormatError
from inrv.fields.lattice import config as rules
from inrv.fields.lattice.constants import DEFAULT_NAME
from inrv.fields.lattice.steps import LEAST_STEP, can_bound
from inrv.fields.seam import Outputs, ProgressCallback, Samples
from inrv.storage import StoredGrids

if TYPE_CHECKING:
    from inrv.fields.lattice.encode import LatticeEncoder
    from inrv.options import EncodeOptions


class LatticeCodec:
    """A code for every voxel; see `inrv.fields.seam.FieldCodec`."""

    kind = "lattice"
    finest_step = LEAST_STEP
    estimates = True
    resumes = False

    def can_bound(self, bound: float, minimum: float, maximum: float) -> bool:
        """Whether a step is fine enough for the bound."""
        return can_bound(bound, minimum, maximum)

    def encoder(
        self, options: EncodeOptions, progress: ProgressCallback | None, checkpoint: Any
    ) -> LatticeEncoder:
        """What codes a volume; it keeps no checkpoints."""
        from inrv.fields.lattice.encode import LatticeEncoder

        return LatticeEncoder(options, progress)

    def check(self, config: Value, container: Container) -> None:
        """Check the channels, the name of the networks, and whose outputs the channels are."""
        rules.check(config, container)
        networks = config["networks"].text()
        if networks != DEFAULT_NAME:
            raise FormatError(
                "F1",
                f"its lattice begins with the networks {networks!r}: this inrv has "
                f"{DEFAULT_NAME!r}",
            )
        rules.owners(container.manifest)

    def open(self, container: Container, grids: StoredGrids, device: str | None) -> Outputs:
        """The channels, of which nothing is decoded yet.

        They are decoded on the CPU, or on the GPU that is asked for where Triton is there.
        """
        from inrv.fields.lattice.decode import open_lattice

        if device is None or not str(device).startswith("cuda") or find_spec("triton") is None:
            return open_lattice(container, grids)
        from inrv.fields.lattice.gpu.outputs import open_on_gpu
        from inrv.support.device import choose_device

        return open_on_gpu(container, grids, choose_device(device))

    def verify(self, container: Container) -> Samples:
        """A lattice has no samples: its decoded values are the same everywhere."""
        return Samples()

    def describe(self, container: Container) -> dict[str, Any]:
        """The channels' steps, and how many have networks of their own or are wavelets."""
        assert container.manifest.field is not None
        channels = container.manifest.field.config["channels"]
        fitted = sum(channel["fitted"] for channel in channels)
        wavelets = sum(channel["wavelet"] for channel in channels)
        count = f"{len(channels)} channel" + "s" * (len(channels) != 1)
        parts = [f"{fitted} with networks of their own", f"{wavelets} as wavelets"]
        if len(container.manifest.frames) > 1:
            moved = sum(channel["motion"] is not None for channel in channels)
            parts.append(f"{moved} along the motion of other frames")
        steps = _steps_text(container.manifest, channels)
        return {
            "text": f"lattice, {count}, steps as shares of the range: {steps}; {', '.join(parts)}"
        }


def _steps_text(manifest: Manifest, channels: Sequence[dict[str, Any]]) -> str:
    """Return the step of every channel; of a group of frames the least and largest of each grid."""
    steps = [
        0.0 if channel["lossless"] else channel["steps"][0] / channel["scale"]
        for channel in channels
    ]
    if len(manifest.frames) == 1:
        return ", ".join(map(_step_text, steps))
    of_grids: dict[str, list[float]] = {}
    for grid in manifest.grids:
        for component in grid.components:
            if component.output is not None:
                of_grids.setdefault(grid.name, []).append(steps[component.output])
    ends = {name: map(_step_text, (min(own), max(own))) for name, own in of_grids.items()}
    return ", ".join(f"{name} {' to '.join(dict.fromkeys(own))}" for name, own in ends.items())


def _step_text(step: float) -> str:
    return f"{step:.3g}" if step else "no loss"


CODEC = LatticeCodec()
