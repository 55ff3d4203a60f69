"""What the outcome of a case is called."""

from __future__ import annotations

from inrv.errors import FormatError, InrvError
from testing import specification

ACCEPTED = "accepted"
KNOWN = frozenset(specification.error_ids())


def outcome_of(error: InrvError) -> str:
    """Return the id of an error's condition, or the name of its class where it has none."""
    return error.id if isinstance(error, FormatError) else type(error).__name__
