"""`fastdet.integrations.sahi`, in processes of its own."""

from __future__ import annotations

from frameworks import need_installed, run_checks, run_script


def test_inside_sahi() -> None:
    need_installed("sahi")
    run_checks("sahi")


def test_where_it_is_absent() -> None:
    """One line says what to do, and nothing changes."""
    code = (
        "import sys, fastdet.integrations as inside\n"
        "from fastdet.integrations import _replace\n"
        "_replace.version_of = lambda name: None\n"
        "sys.modules['sahi'] = None\n"
        "try:\n"
        "    inside.sahi()\n"
        "except inside.IntegrationError as error:\n"
        "    assert str(error) == 'sahi: the package is not installed: pip install sahi', error\n"
        "else:\n"
        "    raise AssertionError\n"
        "assert inside.active() == [] and sys.modules['sahi'] is None\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr


def test_an_old_version() -> None:
    """0.11 has no backends and takes tensors: refused, and nothing is replaced."""
    code = (
        "import sys, types, fastdet.integrations as inside\n"
        "from fastdet.integrations import _replace\n"
        "_replace.version_of = lambda name: '0.11.36'\n"
        "for name in ('sahi', 'sahi.postprocess', 'sahi.postprocess.combine'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__path__ = []\n"
        "try:\n"
        "    inside.sahi()\n"
        "except inside.IntegrationError as error:\n"
        "    assert str(error).startswith('sahi: version 0.11.36 takes tensors of torch'), error\n"
        "else:\n"
        "    raise AssertionError\n"
        "assert inside.active() == []\n"
    )
    done = run_script(code)
    assert done.returncode == 0, done.stderr
