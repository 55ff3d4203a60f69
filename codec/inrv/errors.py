"""Everything that can go wrong, one class per way; each message names the file, the grid, the value and the cure.

A message names an argument as a caller in Python writes it, between backticks: `nonfinite='keep'`. The command line shows
it as the option that it is there: --nonfinite keep.
"""


class InrvError(Exception):
    """Base of every error this library raises on purpose."""


class VdbError(InrvError):
    """A .vdb file cannot be read or written."""


class UnsupportedGridError(VdbError):
    """A grid has a value type or a transform that inrv does not code."""


class NonFiniteError(InrvError):
    """A grid holds NaN or infinity in a voxel that would be coded."""


class FormatError(InrvError):
    """Bytes that are not a valid .inrv file, or one of a version this reader does not know.

    id       the condition in spec/errors.md that holds, as "C5"
    message  what is wrong, without the id
    """

    def __init__(self, id: str, message: str) -> None:
        super().__init__(id, message)
        self.id, self.message = id, message

    def __str__(self) -> str:
        return f"{self.message} [{self.id}]"

    def within(self, place: str) -> "FormatError":
        """The same error, its message beginning with `place`, as the file's name."""
        return FormatError(self.id, f"{place}: {self.message}")


class SelectionError(InrvError):
    """The voxels asked for cannot be selected: no such grid or component, or too many voxels for memory."""


class OptionError(InrvError, ValueError):
    """An argument or option has a value that makes no sense."""


class OutputError(InrvError):
    """A file cannot be written: its folder is missing or read-only, the disk is full, something else has its name."""


class OutputExistsError(InrvError):
    """The output is there already and overwriting was not allowed."""


class MissingGridError(OptionError, KeyError):
    """A file or volume has no grid of that name or position."""

    __str__ = Exception.__str__  # KeyError's would put the message into quotes
