"""The axes of arrays in files that do not tell them: one letter for each axis, in their order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from inrv.errors import ImageFileError, OptionError
from inrv.files.images.image import SOURCE, WHOLE, Image, check_image, names_of, source_text
from inrv.files.images.lazy import Numbers, Reordered
from inrv.grids import Grid, Transform, sparse_grid
from inrv.support.arrays import as_array

SPACE = "xyz"
COMPONENTS = "v"
LETTERS = SPACE + "tc" + COMPONENTS  # t for moments and c for channels, each of which is a grid
ARRAYS = "numpy"  # the kind of images that were arrays
AXES = "axes"  # in the header of an image: the letters of the axes in its file


def check_axes(axes: str, count: int | None = None) -> None:
    """Raise OptionError where letters do not tell axes, or are not as many as an array has."""
    known = isinstance(axes, str) and set(axes) <= set(LETTERS) and len(set(axes)) == len(axes)
    if not known or len(set(axes) & set(SPACE)) < 2:
        raise OptionError(
            f"axes {axes!r} are not letters of {LETTERS!r}, each once, with two of {SPACE!r} at "
            "least, as 'zyx'"
        )
    if count is not None and len(axes) != count:
        raise OptionError(f"axes {axes!r} are {len(axes)} letters for an array of {count} axes")


def image_in_order(numbers: Numbers, axes: str) -> tuple[Numbers, bool]:
    """The numbers of an image, unread, and whether these are vectors.

    numbers: whose axes are as the letters tell; axes of space that they lack have length 1
    Raises OptionError where the letters do not fit.
    """
    check_axes(axes, numbers.ndim)
    order = [axes.index(letter) if letter in axes else None for letter in _order_of(axes)]
    vectors = COMPONENTS in axes and numbers.shape[axes.index(COMPONENTS)] == 3
    if isinstance(numbers, np.ndarray):  # a mask goes with it
        found = numbers.transpose([axis for axis in order if axis is not None])
        missing = [place for place, axis in enumerate(order) if axis is None]
        return np.expand_dims(found, missing), vectors
    return Reordered(numbers, order), vectors


def in_order(image: Image, axes: str | None) -> Image:
    """An image whose file tells no axes, as these letters say, if any. Raises OptionError."""
    if axes is None:
        return image
    told = image.header.get(AXES)
    held = image.numbers if told is None else in_file_order(image.numbers, str(told))
    numbers, vectors = image_in_order(held, axes)
    return replace(image, numbers=numbers, vectors=vectors, header={**image.header, AXES: axes})


def in_file_order(numbers: Numbers, axes: str) -> Numbers:
    """The numbers of an image, in the order that its file had; the inverse of `image_in_order`."""
    places = _order_of(axes)
    order = [places.index(letter) for letter in axes]
    missing = [place for place, letter in enumerate(places) if letter not in axes]
    if isinstance(numbers, np.ndarray):
        return numbers.transpose([*order, *missing]).reshape(
            [numbers.shape[place] for place in order]
        )
    if missing:
        return in_file_order(np.asarray(numbers[...]), axes)
    return Reordered(numbers, order)


def values_in_file_order(
    image: Image, kind: str, values: Numbers, default: str
) -> tuple[Numbers, str]:
    """The values of an image in the order that a file of this kind had, and its letters.

    Where some parts of the image are missing, the letters of axes that have gone are left out.

    default: the letters where the image came from no such file, of which those that it has are
        taken
    """
    told = image.header_of(kind).get(AXES)
    if not isinstance(told, str) or not _is_known(told):
        told = default
    if _suits(told, values, image.vectors):
        return in_file_order(values, told), told
    held = np.asarray(values[...])
    parts = held.shape[3 : held.ndim - image.vectors]
    vectors = held.shape[held.ndim - image.vectors :]
    letters = "".join(letter for letter in told if letter in "tc") or "tc"
    letters = letters[: len(parts)] if math.prod(parts) > 1 else ""
    if len(letters) < len(parts):
        held = held.reshape(*held.shape[:3], *[-1] * len(letters[:1]), *vectors)
        letters = letters[:1]
    own = SPACE + letters + COMPONENTS * image.vectors
    orders = ("".join(letter for letter in order if letter in own) for order in (told, default))
    found = next((order for order in orders if len(order) == len(own)), own)
    return in_file_order(held, found), found


def grids_of_array(
    array: Any, name: str, axes: str, transform: Transform, background: Any, active: Any
) -> list[Grid]:
    """The grids of an array: one, or one for each moment and channel.

    axes: a letter for each axis
    active: bool, along the same axes without that of components; None as of `sparse_grid`
    Others are those of `sparse_grid`. Raises OptionError.
    """
    held = as_array(array, f"grid {name!r}: the array")
    numbers, vectors = image_in_order(held, axes)
    mask: Numbers | None = None
    if active is not None:
        found = as_array(active, f"grid {name!r}: the active mask")
        mask, _ = image_in_order(found, axes.replace(COMPONENTS, ""))
    image = Image(numbers, transform.array().T, vectors, kind=ARRAYS, header={AXES: axes})
    try:
        check_image(image)
    except ImageFileError as error:
        raise OptionError(f"grid {name!r}: {error}") from error
    grids = []
    for part, own in enumerate(names_of(image, name)):
        place = np.unravel_index(part, image.part_shape) if image.part_shape else ()
        index = (*WHOLE, *map(int, place))
        metadata = {SOURCE: source_text(image, part)}
        values, inside = numbers[index], None if mask is None else mask[index]
        grids.append(sparse_grid(values, own, transform, background, inside, metadata=metadata))
    return grids


def _is_known(axes: str) -> bool:
    """Whether letters of a header, which anybody may have written, tell axes."""
    try:
        check_axes(axes)
    except OptionError:
        return False
    return True


def _suits(axes: str, values: Numbers, vectors: bool) -> bool:
    """Whether letters fit what is to be written."""
    lacking = [place for place, letter in enumerate(SPACE) if letter not in axes]
    return (
        len(_order_of(axes)) == values.ndim
        and all(values.shape[place] == 1 for place in lacking)
        and (COMPONENTS in axes or not vectors)
    )


def _order_of(axes: str) -> str:
    """The letters of an image's axes: space, parts in their order, components."""
    parts = "".join(letter for letter in axes if letter not in SPACE + COMPONENTS)
    return SPACE + parts + COMPONENTS * (COMPONENTS in axes)
