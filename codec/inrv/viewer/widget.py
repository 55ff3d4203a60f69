"""The page of the viewer in a notebook, by anywidget."""

from __future__ import annotations

from typing import Any

from inrv.decoding.volume import Volume
from inrv.encoding.api import encode_bytes
from inrv.errors import OptionError
from inrv.options import EncodeOptions
from inrv.support.extras import needed_for
from inrv.viewer.page import is_for_page, whole_page

HEIGHT = 480  # pixels
MOST_BYTES = 1 << 28  # of a file that goes to the notebook's page
# The page stands in a frame of its own, so that its style and keys stay within it.
SCRIPT = """
export default { render({ model, el }) {
  const page = new Blob([model.get("page")], { type: "text/html" });
  const frame = document.createElement("iframe");
  frame.src = URL.createObjectURL(page);
  frame.style = `width: 100%; height: ${model.get("height")}px; border: 0`;
  el.append(frame);
  return () => URL.revokeObjectURL(frame.src);
} };
"""


def view(source: Any, *, grid: str | None = None, height: int = HEIGHT) -> Any:
    """Give a widget that shows a volume in a notebook: the page of `inrv view`.

    source: a volume that `inrv.load` gave, of a sequence with the frames beside it; or what
        `inrv.encode` takes, which is encoded quickly
    grid: name of the one that is shown first; None: the one that a user would look at first
    height: of the widget in pixels
    Raises OptionError where the file is too large for a page, and MissingPackageError where
    anywidget is missing.
    """
    settings: dict[str, Any] = {} if grid is None else {"grid": grid}
    name = source.frames.name if isinstance(source, Volume) else "volume"
    if isinstance(source, Volume) and is_for_page(source):
        data = bytes(source.frames.source.file.view())
        settings["frame"] = source.number
    else:
        data, _ = encode_bytes(source, EncodeOptions(effort="instant"))
    if len(data) > MOST_BYTES:
        raise OptionError(
            f"{name} has {len(data):,} bytes, and a notebook's page takes {MOST_BYTES:,} at most: "
            "`inrv view` shows it"
        )
    with needed_for("a widget", "jupyter"):
        import anywidget
        import traitlets

    parts = {
        "_esm": SCRIPT,
        "page": traitlets.Unicode().tag(sync=True),
        "height": traitlets.Int().tag(sync=True),
    }
    # Made here, because the class that it is one of is missing in most installations.
    widget: Any = type("Viewer", (anywidget.AnyWidget,), parts)
    page = whole_page(name, data, settings).decode()
    return widget(page=page, height=height)
