"""Packages that not all of the library needs, and the extras of the installation that bring them.

They are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inrv.errors import MissingPackageError


@contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Say which extra brings a package that cannot be imported in here.

    what: what needs the package, as the message begins
    extra: name of the extra, such as 'train'

    Raises MissingPackageError.
    """
    try:
        yield
    except ImportError as error:
        if isinstance(error, MissingPackageError) or str(error.name).startswith("inrv"):
            raise
        raise MissingPackageError(
            f"{what} needs a package that is missing ({error}): "
            f"pip install 'inrv[{extra}]' brings it"
        ) from error
