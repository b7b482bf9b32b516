"""`fastdet.integrations.mmcv`: the module that mmcv lacks, alone, and under mmcv-lite and mmdet."""

from __future__ import annotations

import pytest
from frameworks import need_installed, run_checks, run_script


def test_each_op_follows_mmcvs_rules() -> None:
    need_installed("torch")
    run_checks("mmcv")


def test_mmcv_that_is_not_installed_is_named() -> None:
    need_installed("torch")
    code = (
        "import sys, fastdet.integrations._replace as r\n"
        "sys.modules['mmcv'] = None\n"
        "real = r.version_of\n"
        "r.version_of = lambda name: None if name.startswith('mmcv') else real(name)\n"
        "from fastdet import integrations\n"
        "try:\n"
        "    integrations.mmcv()\n"
        "except integrations.IntegrationError as error:\n"
        "    print(error)\n"
        "assert integrations.active() == []\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mmcv: the package is not installed: pip install mmcv-lite or mmcv or mmcv-full\n"


def test_ops_of_mmcv_lite_run() -> None:
    need_installed("torch", "mmcv-lite", "mmengine")
    run_checks("mmcv_lite")


def test_detectors_of_mmdet_train_and_predict() -> None:
    need_installed("torch", "mmcv-lite", "mmengine", "mmdet")
    run_checks("mmdet", "-m", "not exhaustive")


@pytest.mark.exhaustive
def test_slow_detectors_of_mmdet_train_and_predict() -> None:
    need_installed("torch", "mmcv-lite", "mmengine", "mmdet")
    run_checks("mmdet", "-m", "exhaustive")
