"""Work side by side comes out as one after the other, and leaves torch's threads as they were."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from inrv.support.parallel import in_threads, in_turns, workers

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_every_worker_computes_alone(threads: int) -> None:
    def work(number: int) -> tuple[int, int]:
        time.sleep(0.01 / (number + 1))
        return number, torch.get_num_threads()

    assert in_threads(work, range(5), CPU) == [(number, 1) for number in range(5)]
    assert torch.get_num_threads() == threads


def test_one_part_is_shared_out_by_torch_unless_its_operations_are_small(threads: int) -> None:
    def work(_: int) -> int:
        return torch.get_num_threads()

    assert in_threads(work, [0], CPU) == [threads]
    assert in_threads(work, [0], CPU, small=True) == [1]


def test_the_workers_of_a_call_serve_all_that_it_does(threads: int) -> None:
    def names() -> set[str]:
        return set(in_threads(lambda _: threading.current_thread().name, range(8), CPU))

    with workers() as pool:
        assert torch.get_num_threads() == 1 and (pool is None) == (threads == 1)
        found = names() | names()
        with workers() as same:
            assert same is pool
    assert len(found) <= threads and torch.get_num_threads() == threads


def test_work_within_work_goes_on_alone() -> None:
    def outer(number: int) -> list[int]:
        return in_threads(lambda inner: 10 * number + inner, range(3), CPU)

    assert in_threads(outer, range(4), CPU) == [[10 * number + inner for inner in range(3)] for number in range(4)]


def test_all_jobs_come_to_their_ends() -> None:
    done: list[list[int]] = [[], [], [], []]

    def job(number: int) -> Iterator[None]:
        for step in range(5 * number):
            done[number].append(step)
            yield

    in_turns([job(number) for number in range(4)], CPU)
    assert done == [list(range(5 * number)) for number in range(4)]


def test_an_error_of_one_job_ends_the_others() -> None:
    def fails() -> Iterator[None]:
        yield
        raise ValueError("no further")

    def never_ends() -> Iterator[None]:
        while True:
            time.sleep(0.001)
            yield

    with pytest.raises(ValueError, match="no further"):
        in_turns([fails(), never_ends()], CPU)
