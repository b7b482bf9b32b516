"""Time a training step of SegNet, SegNet-Basic and U-Net on fastdet's ops, and of the same network on torch's ops.

    python bench/models.py --width 0.25 --rounds 15 --threads 1 --json result.json

A step is forward, cross-entropy, backward and SGD, on the CPU. Loss and gradients of both are compared first; then both
are called in turn, and the ratio is the median of the ratios round by round. Memory is the growth of the resident peak
in three steps of a separate process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.pop(0)  # this folder, so that `import nms` does not find its nms.py
sys.path.insert(0, str(Path(__file__).parent / "harness"))


VOID = 255
CASES = {  # arguments of the network, (height, width) of the image
    "segnet": ({"classes": 11}, (180, 240)),
    "segnet_basic": ({"classes": 11}, (180, 240)),
    "unet": ({"classes": 2}, (316, 316)),
}
WHO = ("fastdet", "torch")


def torch_ops() -> ExitStack:
    """A context in which the networks pool, unpool and resample by torch."""
    from torch.nn import functional as F

    from fastdet.models import _layers, segnet, unet

    def pooled(x: Any, ceil_mode: bool) -> Any:
        return F.max_pool2d(x, 2, ceil_mode=ceil_mode, return_indices=True)

    def unpooled(x: Any, indices: Any, size: Any) -> Any:
        return F.max_unpool2d(x, indices, [2, 2], output_size=size)

    def resampled(x: Any, size: Any) -> Any:
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    def maxima(self: Any, x: Any) -> Any:
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil_mode)

    stack = ExitStack()
    for where, name, op in (
        (segnet, "max_pool2d", pooled),
        (segnet, "max_unpool2d", unpooled),
        (unet, "upsample_bilinear", resampled),
        (_layers.MaxPool2d, "forward", maxima),
    ):
        stack.enter_context(patch.object(where, name, op))
    return stack


class Step:
    """A network with its optimiser and a batch. A call takes a step, by "fastdet" or by "torch"."""

    def __init__(self, name: str, width: float, batch: int) -> None:
        import torch
        from torch.nn import functional as F

        from fastdet import losses
        from fastdet.models import MODELS

        options, size = CASES[name]
        classes = options["classes"]
        torch.manual_seed(0)
        self.network = MODELS[name](width=width, **options)
        self.losses: dict[str, Callable[..., Any]] = {"fastdet": losses.cross_entropy, "torch": F.cross_entropy}
        self.optimiser = torch.optim.SGD(self.network.parameters(), 1e-3, momentum=0.9)
        margin = getattr(self.network, "margin", 0)
        channels = next(self.network.parameters()).shape[1]
        self.x = torch.randn(batch, channels, *size)
        self.target = torch.randint(classes, (batch, *(side - 2 * margin for side in size)))
        self.target[:, :5] = VOID
        self.weight = torch.rand(classes) + 0.5

    def gradients(self, who: str) -> Any:
        """Compute gradients, which stay with the parameters; return the loss."""
        self.optimiser.zero_grad()
        with torch_ops() if who == "torch" else ExitStack():
            loss = self.losses[who](self.network(self.x), self.target, self.weight, ignore_index=VOID)
            loss.backward()
        return loss.detach()

    def __call__(self, who: str) -> None:
        self.gradients(who)
        self.optimiser.step()

    def compare(self) -> tuple[float, float]:
        """The relative differences of loss and gradient from torch's."""
        import torch

        answers = {}
        for who in WHO:
            torch.manual_seed(1)  # the same dropout for both
            loss = self.gradients(who)
            answers[who] = loss, torch.cat([x.grad.flatten() for x in self.network.parameters()])
        (loss, gradient), (true_loss, true_gradient) = (answers[who] for who in WHO)
        differences = ((loss - true_loss).abs() / true_loss, (gradient - true_gradient).norm() / true_gradient.norm())
        return float(differences[0]), float(differences[1])


def memory(arguments: list[str], who: str) -> int:
    """Bytes by which the resident peak grows in steps of a new process: the median of five processes."""
    command = [sys.executable, __file__, *arguments, "--child", who]
    outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(5)]
    return statistics.median(map(int, outputs))


def grown(run: Callable[[], Any]) -> int:
    """Bytes by which the resident peak during ``run`` exceeds the resident memory before it (Linux)."""

    def status(key: str) -> int:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key)) * 1024

    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # resets the peak
    before = status("VmRSS")
    run()
    return status("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CASES), help="separated by commas")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=WHO, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch

    import fastdet

    fastdet.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    if args.child:
        step = Step(args.models, args.width, args.batch)
        print(grown(lambda: [step(args.child) for _ in range(3)]))
        return
    from harness import save

    for name in args.models.split(","):
        step = Step(name, args.width, args.batch)
        loss, gradient = step.compare()
        if not (loss < 1e-5 and gradient < 1e-4):
            raise SystemExit(f"{name}: loss and gradient are {loss:.1e} and {gradient:.1e} from torch's")
        times: dict[str, list[float]] = {who: [] for who in WHO}
        for i in range(args.rounds + 1):
            for who in WHO if i % 2 else WHO[::-1]:
                start = time.perf_counter()
                step(who)
                times[who].append(time.perf_counter() - start)
        times = {who: seconds[1:] for who, seconds in times.items()}  # the first step is warm-up
        ratio = statistics.median(b / a for a, b in zip(times["fastdet"], times["torch"], strict=True))
        arguments = [
            "--models",
            name,
            "--width",
            str(args.width),
            "--batch",
            str(args.batch),
            "--threads",
            str(args.threads),
        ]
        case = f"training step of {name}, width {args.width}, {' x '.join(map(str, step.x.shape))}"
        print(f"{case}, {args.threads} thread(s): torch's time")
        print(f"  is {ratio:.3f} of fastdet's; loss differs by {loss:.0e}, gradient by {gradient:.0e}")
        figures = {}
        for who in WHO:
            a = figures[who] = {
                "ms": statistics.median(times[who]) * 1e3,
                "least ms": min(times[who]) * 1e3,
                "peak MB": memory(arguments, who) / 1e6,
            }
            print(f"  {who:8s} {a['ms']:8.1f} ms (min {a['least ms']:.1f}), peak {a['peak MB']:.0f} MB above the start")
        if args.json:
            result = {"ratio": ratio, "loss differs": loss, "gradient differs": gradient, "who": figures}
            save(args.json, {"case": case, "threads": args.threads, **result})


if __name__ == "__main__":
    main()
