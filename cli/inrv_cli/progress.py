"""The bars that show how far encoding, or drawing a film, is."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from inrv import Progress

T = TypeVar("T")

# A field reports no end. Less time than this is left when the file is put together and written.
ALMOST_DONE = 0.5  # seconds


@contextmanager
def progress_bar(name: str, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Show a bar with the figures of the field and the time left, where stderr is a terminal.

    Yields the callback that moves the bar, or None where there is no bar.

    name: of the file
    quiet: whether the user wants no bar
    """
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{name}  reading", total=None, figures="")

        def show(now: Progress) -> None:
            stage = "storing" if now.seconds_left <= ALMOST_DONE else "encoding"
            known = math.isfinite(now.seconds_left)
            left = f"{_clock(now.seconds_left)} left" if known else ""
            figures = f"{now.figures}  {left}".strip()
            bar.update(
                task,
                total=1.0 if known else None,
                completed=now.share,
                description=f"{name}  {stage}",
                figures=figures,
            )

        yield show


def tracked(items: Iterable[T], name: str, count: int) -> Iterator[T]:
    """Yield items, with a bar and the time left where stderr is a terminal.

    name: of the bar
    count: how many items there will be; of a single one no bar is shown
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    silent = count == 1 or not console.is_terminal
    yield from track(items, name, count, console=console, transient=True, disable=silent)


def _clock(seconds: float) -> str:
    """Return seconds as '01:30' or '02:01:30'."""
    whole = max(0, round(seconds))
    return time.strftime("%H:%M:%S" if whole >= 3600 else "%M:%S", time.gmtime(whole))
