"""Make what wavelets begin with: `python -m inrv.fields.lattice.workshop.train_wavelets`.

Codes the volumes that the default networks learn from as wavelets, at many qualities, in rounds. A
logit's prior is the mean of where the regions of a round have left it, weighted by how often each
has seen it. At last the filter learns from what the wavelets give. Adds both to
default.safetensors in the folder above.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from inrv.core.lattice import LEVELS, WAVELET_PRIOR, WAVELET_TOP, ContextSamples
from inrv.fields.lattice.constants import RESTORATION_INPUTS
from inrv.fields.lattice.fitting import RealNetwork, fit_restoration, restoration_tensors
from inrv.fields.lattice.model import (
    DEFAULTS,
    RESTORATION_HIDDEN,
    RESTORATION_OUTPUTS,
    WAVELET_FILTER,
    WAVELET_PRIOR_NAME,
    Model,
    default_model,
)
from inrv.fields.lattice.samples import Sampling
from inrv.fields.lattice.search import EncodedChannel, Quality, Settings, encode_channel
from inrv.fields.lattice.workshop.train import SEED, Lesson, lessons_of
from inrv.fields.lattice.workshop.volumes import training_volumes
from inrv.support.parallel import in_threads

FAMILIES = ("smoke", "fire", "velocity", "cloud", "flow", "field", "scan")
QUALITIES = (18.0, 44.0)  # dB over the active voxels, about
WAVELET_STEP = 1.3  # of a wavelet over that of a lattice of the same quality, about
KEPT = 20.0  # sightings that a round's prior counts as in the next one
NATS = 1 << 24  # of the core's logits
# Parts of a nat, in which a prior is stored.
LOGITS = 4 * 2776  # numbers of the prior that are logits; the others are of shares
PARTS = np.where(np.arange(WAVELET_PRIOR) < LOGITS, 16.0, 8.0)
SAMPLES = 4_000  # of the filter from each lesson
BATCH = 8192


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6, help="of the logits (%(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="of the filter (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="begin with logits of 0")
    parser.add_argument("--output", type=Path, default=DEFAULTS)
    arguments = parser.parse_args()
    torch_generator = torch.Generator().manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    lessons = [
        replace(lesson, values=replace(lesson.values, exterior=None))
        for lesson in lessons_of(training_volumes(SEED), torch_generator)
        if lesson.family in FAMILIES and not lesson.reference
    ]
    print(f"{len(lessons)} channels", flush=True)
    bare = replace(default_model(False, False), restoration=None)
    prior = np.zeros(WAVELET_PRIOR) if arguments.fresh else bare.wavelet_prior / PARTS
    for _ in range(arguments.rounds):
        prior = _round(lessons, replace(bare, wavelet_prior=_stored(prior)), prior, generator)
    model = replace(bare, wavelet_prior=_stored(prior))
    filtered = _filter(lessons, model, arguments.steps, generator, torch_generator)
    tensors = load_file(arguments.output)
    tensors[WAVELET_PRIOR_NAME] = model.wavelet_prior
    for name, tensor in filtered.whole().tensors.items():
        dtype = np.int8 if name.endswith("weight") else np.int16
        tensors[f"{WAVELET_FILTER}.{name}"] = tensor.astype(dtype)
    save_file(tensors, arguments.output)


def _stored(prior: NDArray[np.float64]) -> NDArray[np.int8]:
    found: NDArray[np.int8] = np.clip(np.rint(prior * PARTS), -127, 127).astype(np.int8)
    return found


def _coded(
    lessons: Sequence[Lesson], model: Model, share: float, generator: np.random.Generator
) -> list[EncodedChannel]:
    """Every lesson at a quality of its own, but those whose values have too many units."""
    qualities = generator.uniform(*QUALITIES, len(lessons))
    settings = Settings(model, wavelet=True)

    def coded(job: tuple[Lesson, float]) -> EncodedChannel | None:
        lesson, quality = job
        step = WAVELET_STEP * np.sqrt(12) * 10 ** (-quality / 20)
        if lesson.values.largest * 128 / step > WAVELET_TOP:
            return None
        sampling = Sampling(
            (min(1.0, share * SAMPLES / len(lesson.values.values)), *[0.0] * (LEVELS - 1)),
            int(quality * 1e6),
        )
        numbers = tuple(range(len(lesson.values.regions)))
        return encode_channel(lesson.values, Quality(step=step), settings, step, numbers, sampling)

    found = in_threads(coded, list(zip(lessons, qualities.tolist(), strict=True)))
    return [one for one in found if one is not None]


def _round(
    lessons: Sequence[Lesson],
    model: Model,
    prior: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """The prior after one more round."""
    started = time.perf_counter()
    coded = _coded(lessons, model, 0.0, generator)
    parts: list[ContextSamples] = [part for one in coded for part in one.samples]
    seen, total = np.full(WAVELET_PRIOR, KEPT), KEPT * prior
    for part in parts:
        logits = part.logits / NATS
        shares = np.clip(part.logits[LOGITS:] / (1 << 30), 1e-7, 1 - 1e-7)
        logits[LOGITS:] = np.log(shares / (1 - shares))
        seen += part.visits
        total += part.visits * logits
    size = sum(region.stored.codes.size for one in coded for region in one.regions)
    print(f"{size:,} bytes, {time.perf_counter() - started:.0f} s", flush=True)
    mean: NDArray[np.float64] = total / seen
    return mean


def _filter(
    lessons: Sequence[Lesson],
    model: Model,
    steps: int,
    generator: np.random.Generator,
    torch_generator: torch.Generator,
) -> RealNetwork:
    """A filter of what the wavelets give."""
    inputs, errors = restoration_tensors(
        [
            part
            for one in _coded(lessons, _with_filter(model), 1.0, generator)
            for part in one.samples
        ]
    )
    print(f"{len(inputs):,} samples of the filter", flush=True)
    network = RealNetwork(
        RESTORATION_INPUTS, RESTORATION_HIDDEN, RESTORATION_OUTPUTS, torch_generator
    )
    for _ in fit_restoration(network, inputs, errors, steps, 4e-3, BATCH, torch_generator):
        continue
    return network


def _with_filter(model: Model) -> Model:
    """The model with some filter: contexts are of voxels that are filtered."""
    return replace(model, restoration=default_model(False, True).restoration)


if __name__ == "__main__":
    main()
