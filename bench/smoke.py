#!/usr/bin/env python3
"""One call of each op on the GPU, against the CPU: python bench/smoke.py [--stand-in]

The quickest look at a new machine: it names each op that fails, and the reason, and goes on with the next.
`--stand-in` takes the emulator for a GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:1] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from op_rows import Arguments, equal, mapped  # noqa: E402
from op_tables import ARRAY_OPS, BOX_OPS  # noqa: E402
from samples import sample  # noqa: E402

Convert = Callable[[Any], Any]


def rows(to: Convert, back: Convert) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Name, call on the GPU, call on the CPU."""
    data = sample("clustered", 70)
    for name, op in BOX_OPS.items():
        if "cuda" in op.backends and not name.endswith("out"):
            yield name, lambda op=op: back(op.call(data, None, to)), lambda op=op: op.reference(data)
    for name, array_op in ARRAY_OPS.items():
        if "cuda" in array_op.backends:
            args, options = array_op.arguments(next(iter(array_op.cases)), array_op.dtypes[0])
            given: Arguments = (mapped(args, to), mapped(options, to))
            yield (
                name,
                lambda op=array_op, given=given: back(op.public(*given[0], **given[1])),
                lambda op=array_op, given=(args, options): mapped(op.public(*given[0], **given[1]), np.asarray),
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stand-in", action="store_true", help="take the emulator for a GPU")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.stand_in:
            import emulated

            stack.enter_context(emulated.backend())
            to, back = emulated.on_gpu, emulated.on_cpu
        else:
            import torch

            def to(x: Any) -> Any:
                return torch.from_numpy(np.array(x)).cuda()

            def back(x: Any) -> Any:
                if isinstance(x, tuple):
                    return type(x)(*map(back, x)) if hasattr(x, "_fields") else tuple(map(back, x))
                return x.cpu().numpy() if hasattr(x, "cpu") else x

        began, failed, count = time.monotonic(), 0, 0
        for name, on_gpu, on_cpu in rows(to, back):
            count += 1
            try:
                equal(on_gpu(), on_cpu())
            except NotImplementedError as error:
                print(f"{name}: not there: {error}")
            except Exception as error:
                failed += 1
                print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    print(f"{count} calls, {failed} failed, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
