"""Work side by side comes out as one after the other, and leaves torch's threads as they were."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from inrv.errors import OptionError
from inrv.support import parallel
from inrv.support.parallel import (
    blas_in_one_thread,
    in_threads,
    in_turns,
    thread_count,
    workers,
)

CPU = torch.device("cpu")
PACKAGE = Path(parallel.__file__).resolve().parents[1]
# The package's folder without what its __init__ imports.
BARE = f"""
import os, sys, types
sys.modules["inrv"] = bare = types.ModuleType("inrv")
bare.__path__ = [{str(PACKAGE)!r}]
"""
ALONE = """
from inrv.support.parallel import in_threads, thread_count, workers
assert not {name.split(".")[0] for name in sys.modules} & {"torch", "numpy"}
print(thread_count())
with workers() as pool:
    assert (pool is None) == (thread_count() == 1)
    print(sorted(in_threads(lambda part: part * part, range(4))))
    import torch
    print(set(in_threads(lambda part: torch.get_num_threads(), range(4))))
print(torch.get_num_threads())
"""
NARROW = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from inrv.support.parallel import thread_count
print(thread_count())
"""


def told(source: str, threads: str | None) -> list[str]:
    """What a process without torch prints, OMP_NUM_THREADS being `threads`."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": threads}
    command = [sys.executable, "-c", BARE + source]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


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

    for device in (None, CPU):
        assert in_threads(work, range(5), device) == [(number, 1) for number in range(5)]
    assert torch.get_num_threads() == threads


def test_threads_that_are_asked_for_do_not_become_those_of_torch(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INRV_THREADS", "2")
    assert in_threads(lambda _: torch.get_num_threads(), range(3), CPU) == [1] * 3
    assert torch.get_num_threads() == threads


def test_one_part_is_shared_out_by_torch_unless_there_are_workers(threads: int) -> None:
    def work(_: int) -> int:
        return torch.get_num_threads()

    assert in_threads(work, [0], CPU) == [threads]
    with workers():
        assert in_threads(work, [0], CPU) == [1]


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

    assert in_threads(outer, range(4), CPU) == [
        [10 * number + inner for inner in range(3)] for number in range(4)
    ]


def test_all_jobs_come_to_their_ends() -> None:
    done: list[list[int]] = [[], [], [], []]

    def job(number: int) -> Iterator[None]:
        for step in range(5 * number):
            done[number].append(step)
            yield

    in_turns([job(number) for number in range(4)])
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
        in_turns([fails(), never_ends()])


@pytest.mark.parametrize("asked", ["1", "3", "3,2"])
def test_threads_are_those_of_the_environment_and_torch_is_held_when_it_comes(asked: str) -> None:
    count = asked.split(",")[0]
    assert told(ALONE, asked) == [count, "[0, 1, 4, 9]", "{1}", count]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_threads_are_the_cpus_of_the_process_where_the_environment_says_nothing() -> None:
    assert told(NARROW, None) == ["1"]


@pytest.mark.parametrize("value", ["0", "-1", "two", "1025", "٣"])
def test_a_number_of_threads_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("INRV_THREADS", value)
    with pytest.raises(OptionError, match=r"INRV_THREADS is .*: it must be from 1 to 1024"):
        thread_count()


def test_a_variable_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INRV_THREADS", "3")
    assert thread_count() == 3


def blas_threads() -> set[int]:
    """How many threads NumPy's products may have."""
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


def test_blas_has_one_thread_until_the_last_one_that_asks_for_it_is_done() -> None:
    with threadpool_limits(3, "blas"):
        first, second = blas_in_one_thread(), blas_in_one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {3}


def test_blas_has_one_thread_whichever_thread_asks_for_it() -> None:
    """The first one to limit it does not keep that for itself, and any may bring back what was."""
    found = list[set[int]]()
    with threadpool_limits(3, "blas"):
        first, second = blas_in_one_thread(), blas_in_one_thread()
        first.__enter__()

        def takes_over() -> None:
            second.__enter__()
            first.__exit__(None, None, None)
            found.append(blas_threads())
            second.__exit__(None, None, None)
            found.append(blas_threads())
            with blas_in_one_thread():
                found.append(blas_threads())

        other = threading.Thread(target=takes_over)
        other.start()
        other.join()
        assert found == [{1}, {3}, {1}] and blas_threads() == {3}
