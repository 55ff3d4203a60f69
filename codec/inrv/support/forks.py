"""Locks after a fork: one that another thread held is never released in the child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class HasLocks(Protocol):
    """Something with locks.

    new_locks: replaces them by such that no thread holds
    """

    def new_locks(self) -> None:
        """Replace all locks."""


_owners: weakref.WeakSet[HasLocks] = weakref.WeakSet()


def renew_in_children(owner: HasLocks) -> None:
    """Let processes that are forked call `owner.new_locks()`, and call it now."""
    owner.new_locks()
    _owners.add(owner)


def _in_child() -> None:
    for owner in list(_owners):
        owner.new_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
