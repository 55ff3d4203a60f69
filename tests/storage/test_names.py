"""The container and the grids in memory, which do not know each other, use the same names."""

from __future__ import annotations

from inrv.container import manifest
from inrv.grids import COMPONENTS, thresholds


def test_value_types_and_rules_of_thresholds_are_the_same() -> None:
    assert dict(COMPONENTS) == manifest.COMPONENTS
    rules = (thresholds.ABOVE, thresholds.AWAY, thresholds.WITHIN)
    assert rules == manifest.THRESHOLD_RULES
