"""Ops are registered with torch by their area alone, whichever of the two is imported first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from optional import need

Python = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated:DeprecationWarning")

PROGRAM = """
import warnings; warnings.simplefilter("ignore")
import torch, fastdet.pool, fastdet.upsample
class Program(torch.nn.Module):
    def forward(self, x):
        values, indices = fastdet.pool.max_pool2d(x, 2)
        return fastdet.upsample.upsample_bilinear(fastdet.pool.max_unpool2d(values, indices, 2), scale_factor=2)
network, x = Program(), torch.rand(1, 3, 8, 8)
"""

# How each kind of program is written and read. AOTInductor compiles with the machine's C++ compiler.
KINDS = {
    "export": ("torch.export.save(torch.export.export(network, (x,)), path)", "torch.export.load(path).module()"),
    "jit": ("torch.jit.trace(network, x).save(path)", "torch.jit.load(path)"),
    "aoti": (
        "torch._inductor.aoti_compile_and_package(torch.export.export(network, (x,)), package_path=path)",
        "torch._inductor.aoti_load_package(path)",
    ),
}
IMPORTS = {
    "models": "import torch; import fastdet.models",
    "areas after torch": "import torch; import fastdet.pool, fastdet.upsample",
    "areas before torch": "import fastdet.pool, fastdet.upsample; import torch",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_program_loads_in_a_new_process(kind: str, python: Python, tmp_path: Path) -> None:
    """After importing the areas, or the networks, alone, the answer equals that of the process that saved it."""
    need("torch")
    save, load = KINDS[kind]
    path = tmp_path / "program.pt2"
    python(
        f"{PROGRAM}path = {str(path)!r}\n"
        f"with torch.no_grad():\n    want = network(x)\n    {save}\n"
        f"torch.save((x, want), {str(tmp_path / 'answer.pt')!r})"
    )
    for imports in IMPORTS.values():
        python(
            f"import warnings; warnings.simplefilter('ignore')\n{imports}\n"
            f"x, want = torch.load({str(tmp_path / 'answer.pt')!r})\n"
            f"path = {str(path)!r}\n"
            f"with torch.no_grad():\n    got = {load}(x)\n"
            "assert torch.equal(got, want), (got - want).abs().max()"
        )


def test_an_area_before_torch(python: Python) -> None:
    """The area waits for torch without importing it, and leaves no trace in the import system."""
    need("torch")
    python(
        "import importlib.util, sys\n"
        "import fastdet.nms\n"
        "assert 'torch' not in sys.modules\n"
        "finders = len(sys.meta_path)\n"
        "assert importlib.util.find_spec('torch') is not None\n"  # how libraries ask whether torch is installed
        "assert 'torch' not in sys.modules and len(sys.meta_path) == finders\n"
        "import torch\n"
        "assert torch.ops.fastdet.nms.default is not None\n"
        "assert len(sys.meta_path) == finders - 1\n"
        "assert type(torch.__loader__).__module__.startswith(('_frozen_importlib', 'importlib'))\n"
        "assert torch.__spec__.loader is torch.__loader__"
    )


def test_a_torch_that_cannot_register_is_imported_all_the_same(python: Python, tmp_path: Path) -> None:
    """A program that only imports both still works."""
    (tmp_path / "torch.py").write_text("version = 'too old'\n")
    python("import fastdet.nms, fastdet.boxes\nimport torch\nassert torch.version == 'too old'")


def test_without_torch(python: Python, tmp_path: Path) -> None:
    """Without torch, importing it still raises ModuleNotFoundError."""
    python(
        "import sys\n"
        "import fastdet.nms\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        "try:\n    import torch\nexcept ModuleNotFoundError as error:\n    assert error.name == 'torch'\n"
        "else:\n    raise SystemExit('torch was found')"
    )
