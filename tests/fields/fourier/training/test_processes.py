"""Several processes train the network that one process trains."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inrv.fields.fourier.network import FourierNetwork
from inrv.fields.fourier.training import TrainingPlan, train
from testing.training import largest_difference, network, samples

ROOT = Path(__file__).resolve().parents[4]
STEPS = 50


def plan(optimiser: str) -> TrainingPlan:
    return TrainingPlan(STEPS / 7, 256, 5e-3, optimiser=optimiser, precision="float32")


def member() -> None:
    """One of several processes: trains, and rank 0 saves what all have."""
    torch.set_num_threads(1)
    optimiser, store, path, signalled = sys.argv[1:]
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=count)
    from inrv.fields.fourier.training import Checkpoint

    coded = network(seed=rank)  # they begin as rank 0's does
    checkpoint = Checkpoint(Path(path + ".checkpoint"), 0.0)
    if signalled == "killed":
        written = Checkpoint.write

        def write(self: Checkpoint, *what: object) -> None:
            written(self, *what)
            if what[1].step == 20:  # type: ignore[attr-defined]
                os._exit(9)

        Checkpoint.write = write  # type: ignore[method-assign]
    result = train(coded, samples(), plan(optimiser), checkpoint=checkpoint)
    assert result.steps == STEPS
    everyone = [torch.empty_like(coded.multipliers) for _ in range(count)]
    torch.distributed.all_gather(everyone, coded.multipliers.detach())
    assert all(torch.equal(everyone[0], other) for other in everyone)
    if rank == 0:
        torch.save(coded.tensors(), path)
    torch.distributed.barrier()
    gc.collect()
    torch.distributed.destroy_process_group()
    os._exit(
        0
    )  # threads of torch's own now and then abort a process whose interpreter ends beside others


def together(count: int, optimiser: str, folder: Path, end: str = "") -> FourierNetwork | None:
    """What `count` processes train; None where rank 0 ends before its time."""
    (store := folder / f"store{end}").unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "tests.fields.fourier.training.test_processes",
        optimiser,
        store,
        folder / "weights.pt",
        end or "whole",
    ]
    environment = {**os.environ, "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, cwd=ROOT, env={**environment, "RANK": str(rank)})
        for rank in range(count)
    ]
    if end == "killed":
        assert processes[0].wait(120) == 9
        for process in processes[1:]:
            process.kill()
            process.wait()
        return None
    assert [process.wait(120) for process in processes] == [0] * count
    coded = network()
    coded.load_state_dict(torch.load(folder / "weights.pt"))
    return coded


@pytest.mark.parametrize(("count", "optimiser"), [(2, "adam"), (2, "muon"), (4, "muon")])
def test_they_train_the_network_that_one_trains(count: int, optimiser: str, tmp_path: Path) -> None:
    alone = network()
    train(alone, samples(), plan(optimiser))
    assert largest_difference(alone, network()) > 1e-2
    found = together(count, optimiser, tmp_path)
    assert found is not None and largest_difference(alone, found) <= 1e-5


def test_two_that_were_killed_go_on_as_one(tmp_path: Path) -> None:
    alone = network()
    train(alone, samples(), plan("adam"))
    together(2, "adam", tmp_path, "killed")
    assert (tmp_path / "weights.pt.checkpoint").exists()
    found = together(1, "adam", tmp_path)
    assert found is not None and largest_difference(alone, found) <= 1e-5


if __name__ == "__main__":
    member()
