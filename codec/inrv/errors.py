"""The errors of the library: one class for each way to fail.

Each message names the file, the grid, the value and the cure. It names an argument as a caller in
Python writes it, between backticks: `nonfinite='keep'`. The command line shows that as its own
option: --nonfinite keep.
"""


class InrvError(Exception):
    """Every error that this library raises on purpose is one of these."""


class VdbError(InrvError):
    """A .vdb or .nvdb file cannot be read or written."""


class ImageFileError(InrvError):
    """A file of a dense image, as a NIfTI file, cannot be read or written."""


class UnsupportedGridError(VdbError):
    """A grid has a value type or a transform that inrv does not code."""


class NonFiniteError(InrvError):
    """A grid holds NaN or infinity in a voxel that would be coded."""


class FormatError(InrvError):
    """Bytes are not a valid .inrv file, or one of a version that this reader does not know.

    id: str name of the condition in spec/errors.md that holds, such as "C5"
    message: str what is wrong, without the id
    """

    def __init__(self, id: str, message: str) -> None:
        super().__init__(id, message)
        self.id, self.message = id, message

    def __str__(self) -> str:
        return f"{self.message} [{self.id}]"

    def within(self, place: str) -> "FormatError":
        """Return the same error, with a message that says where.

        place: what the message begins with, such as the name of the file
        """
        return FormatError(self.id, f"{place}: {self.message}")


class SelectionError(InrvError):
    """Voxels cannot be selected.

    There is no such grid or component, or the voxels are too many for memory.
    """


class OptionError(InrvError, ValueError):
    """An argument or option has a value that makes no sense."""


class MissingPackageError(InrvError, ImportError):
    """A package that an extra of the installation brings is missing."""


class OutputError(InrvError):
    """A file cannot be written.

    Its folder is missing or read-only, the disk is full, or something else has its name.
    """


class OutputExistsError(InrvError):
    """The output is there already and overwriting was not allowed."""


class MissingFrameError(OptionError, KeyError):
    """A file has no frame of that number."""

    __str__ = Exception.__str__  # as of MissingGridError


class MissingGridError(OptionError, KeyError):
    """A file or volume has no grid of that name or position."""

    __str__ = Exception.__str__  # KeyError's would put the message into quotes
