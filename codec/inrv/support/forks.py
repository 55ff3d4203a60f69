"""Locks after a fork: one that another thread held is never released in the child."""

from __future__ import annotations

import os
import sys
import weakref
from functools import cached_property
from threading import RLock
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
    _renew_cached_properties()


def _renew_cached_properties() -> None:
    """Up to Python 3.11 a cached property has a lock, which all objects of its class share."""
    if sys.version_info >= (3, 12):
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "inrv":
            continue
        for kind in vars(module).values():
            for found in vars(kind).values() if isinstance(kind, type) else ():
                if isinstance(found, cached_property):
                    found.lock = RLock()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
