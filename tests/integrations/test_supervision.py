"""`fastdet.integrations.supervision`; skipped, and counted, where supervision is absent."""

from __future__ import annotations

from frameworks import need_installed, run_checks


def test_same_results_inside_supervision() -> None:
    need_installed("supervision")
    run_checks("supervision")
