"""An open volume at the end of a cell of a notebook shows itself in the viewer, if it is small."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inrv.decoding.volume import Volume

MOST_BYTES = 1 << 24  # of a file that goes into a notebook unasked
VIEW = "application/vnd.jupyter.widget-view+json"


def show_volumes() -> None:
    """Let the notebook in which this program runs show volumes; elsewhere nothing is done."""
    shell: Any = sys.modules["IPython"].get_ipython()
    if hasattr(shell, "kernel"):  # a terminal has none
        bundles = shell.display_formatter.mimebundle_formatter
        bundles.for_type_by_name("inrv.decoding.volume", "Volume", shown)


def shown(volume: Volume) -> dict[str, Any] | None:
    """Give what a notebook takes in place of the table, by MIME type; None: the table is enough.

    So it is where anywidget or the page is missing, where the file is large or at a URL, and where
    Python would have to decode it.
    """
    from inrv.errors import MissingPackageError
    from inrv.viewer.page import is_for_page
    from inrv.viewer.widget import view

    file = volume.frames.source.file
    if not is_for_page(volume) or file.distant or file.size > MOST_BYTES:
        return None
    try:
        bundle: dict[str, Any] = view(volume)._repr_mimebundle_()
    except MissingPackageError:
        return None
    data, *_ = bundle if isinstance(bundle, tuple) else (bundle,)
    return {VIEW: data[VIEW]}
