"""Keypoints

How alike two poses are: the same distance counts more at an eye than at a hip, and more on a small person.
"""

# %%
# A person of COCO's 17 keypoints, 200 pixels high, and its skeleton.
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from fastdet.detection import DetectionMetrics
from fastdet.keypoints import COCO_SIGMAS, oks

PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # left and right
NAMES = ["nose", *(name for name in PAIRS for _ in range(2))]
pose = np.array([
    [50, 22], [54, 18], [46, 18], [59, 21], [41, 21], [68, 48], [32, 48], [78, 80], [22, 80], [84, 112], [16, 112],
    [62, 108], [38, 108], [64, 152], [36, 152], [65, 196], [35, 196],
], float)  # fmt: skip
bones = [(5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)]
area = 8000.0
true = np.concatenate([pose, np.full((17, 1), 2)], axis=1)[None]

# %%
# One keypoint is moved by ten pixels, each in turn. An eye counts for hardly anything then; a hip for most.
one_moved = np.repeat(true, 17, axis=0)
one_moved[np.arange(17), np.arange(17), 0] += 10
similarity = oks(one_moved, true, [area])[:, 0]
for k in (1, 9, 11):
    left = 17 * similarity[k] - 16
    print(f"{NAMES[k]:6} sigma {COCO_SIGMAS[k]:.3f}: OKS {similarity[k]:.3f}, the keypoint alone {left:.3f}")

# %%
# All keypoints off by some pixels: on a person of half the size the same error counts four times.
rng = np.random.default_rng(0)
errors = np.linspace(0, 25, 60)
noise = rng.normal(0, 1, (17, 2))
noisy = np.repeat(true, 60, axis=0)
noisy[..., :2] += errors[:, None, None] * noise
curves = {f"{size:.0%} of the size": oks(noisy, true, [area * size**2])[:, 0] for size in (1, 0.5)}

# %%
# Average precision over forty people, as COCO has it: the mean over thresholds of OKS from 0.5 to 0.95.
for error in (2.0, 5.0, 10.0):
    found = true + np.concatenate([rng.normal(0, error, (40, 17, 2)), np.zeros((40, 17, 1))], axis=2)
    metrics = DetectionMetrics(iou_type="keypoints").update(
        [{"keypoints": one[None], "scores": [rng.random()], "labels": [0]} for one in found],
        [{"keypoints": true, "labels": [0], "area": [area]}] * 40,
    )
    results = metrics.compute()
    print(f"{error:4.1f} pixels off: AP {results['map']:.3f}, at OKS 0.5 {results['map_50']:.3f}")

# %%
figure = Figure(figsize=(12, 5), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=[1, 2])
for a, b in bones:
    left.plot(*pose[[a, b]].T, color="0.6", linewidth=2)
for (x, y), sigma in zip(pose, COCO_SIGMAS, strict=True):
    # the distance at which exp(-e) is 0.5
    radius = 2 * sigma * np.sqrt(2 * np.log(2) * area)
    left.add_patch(Circle((x, y), radius, alpha=0.35, color="tab:orange", linewidth=0))
left.plot(*pose.T, "k.", markersize=4)
left.set(aspect="equal", xlim=(-30, 130), ylim=(220, -10), title="Where a keypoint counts for half or more")
left.axis("off")
for name, curve in curves.items():
    right.plot(errors, curve, label=name)
right.axhspan(0.5, 0.95, color="0.9", label="COCO's thresholds")
right.set(xlabel="error of all keypoints, pixels", ylabel="OKS", ylim=(0, 1.02), title="The same error, two sizes")
right.legend()
