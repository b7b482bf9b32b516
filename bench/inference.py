"""The time that overlap_tile and sliding_window add to the model's own.

    python bench/inference.py --side 2000 --channels 16 --json result.json

The model is small: three convolutions in torch on one thread; the added time does not depend on the model. Measured is
processor time, of the thread that cuts tiles too, of whole runs and of the model in them: wall time is unreliable on a
shared machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))

import numpy as np
import torch
from harness import save

from fastdet.inference import overlap_tile, sliding_window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nn, width = torch.nn, args.channels
    layers = [nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(), nn.Conv2d(width, 2, 1)]
    valid = nn.Sequential(*layers).eval()
    padded = nn.Sequential(nn.ZeroPad2d(2), *layers).eval()
    spent = [0.0]

    def timed(net: Any) -> Any:
        def call(x: Any) -> Any:
            start = time.process_time()
            y = net(torch.from_numpy(x))
            spent[0] += time.process_time() - start
            return y

        return call

    image = np.random.default_rng(0).random((1, args.side, args.side), np.float32)
    runs = {
        "overlap_tile, tiles of 388 + 4": lambda: overlap_tile(timed(valid), image, 388, 2),
        "sliding_window 512, step 512": lambda: sliding_window(timed(padded), image, 512, 512),
        "sliding_window 512, step 384, gaussian": lambda: sliding_window(timed(padded), image, 512, 384, "gaussian"),
        "sliding_window 512, step 256, gaussian": lambda: sliding_window(timed(padded), image, 512, 256, "gaussian"),
    }
    case, figures = f"tiles and windows, {args.side} x {args.side}, {width} channels", {}
    for name, run in runs.items():
        added, whole = [], []
        for _ in range(args.rounds):
            spent[0], start = 0.0, time.process_time()
            run()
            whole.append(time.process_time() - start)
            added.append(whole[-1] / spent[0] - 1)
        figures[name] = {"s": statistics.median(whole), "added": statistics.median(added)}
        print(f"{name:40s} {figures[name]['s']:6.3f} s, {figures[name]['added']:5.1%} of the model's added")
    if args.json:
        save(args.json, {"case": case, "threads": 1, "runs": figures})


if __name__ == "__main__":
    main()
