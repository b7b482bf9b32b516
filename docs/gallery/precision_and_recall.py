"""Precision and recall

How a detector's curve comes about: matches, a falling score threshold, interpolation, and ten IoU thresholds.
"""

# %%
# A small set of forty images, and a detector that misses some objects, is off by a few pixels, and is sometimes sure of
# what is not there.
import numpy as np

from fastdet import plots
from fastdet.detection import DetectionMetrics, average_precision, match_detections, precision_recall_curve

rng = np.random.default_rng(5)
found, truth = [], []
for _ in range(40):
    corner, side = rng.uniform(0, 400, (5, 2)), rng.uniform(30, 120, (5, 2))
    boxes = np.hstack([corner, corner + side])
    seen = rng.random(5) < 0.85
    off = boxes[seen] + rng.normal(0, 0.09, (seen.sum(), 4)) * np.tile(side[seen], 2)
    corner, side = rng.uniform(0, 400, (4, 2)), rng.uniform(30, 120, (4, 2))
    scores = np.concatenate([rng.beta(4, 2, seen.sum()), rng.beta(2, 4, 4)])
    found.append({"boxes": np.vstack([off, np.hstack([corner, corner + side])]), "scores": scores})
    truth.append({"boxes": boxes})

# %%
# In each image, by falling score, a detection takes the free true box of greatest IoU. One that finds none is false.
matches = [
    match_detections(f["boxes"], f["scores"], t["boxes"], iou_thresholds=[0.5, 0.75])
    for f, t in zip(found, truth, strict=True)
]
print("the first image, IoU 0.5: ", matches[0].outcome[:, 0, 0])
print("                 IoU 0.75:", matches[0].outcome[:, 1, 0])

# %%
# Average precision is read off the curve of all images: COCO's at 101 recalls, VOC's first at 11, then as the area.
scores = np.concatenate([f["scores"][m.order] for f, m in zip(found, matches, strict=True)])
outcome = np.concatenate([m.outcome[:, :, 0] for m in matches])
counted = sum(int(m.counted[0]) for m in matches)
for method in ("coco101", "voc2007", "area"):
    ap = average_precision(scores, outcome, counted, method=method)
    print(f"{method:8} {ap.round(4)}")

# %%
# The fine line is raw precision: it falls with each false detection and rises with each right one. The strong line is
# the greatest precision at that recall or above.
curves = [precision_recall_curve(scores, outcome[:, t], counted) for t in (0, 1)]
figure, _ = plots.draw_precision_recall(curves, names=["IoU 0.5", "IoU 0.75"])

# %%
# COCO's AP is the mean over ten thresholds; each wants boxes that are nearer.
metrics = DetectionMetrics()
for f, t in zip(found, truth, strict=True):
    metrics.update([{**f, "labels": np.zeros(len(f["boxes"]), int)}], [{**t, "labels": np.zeros(5, int)}])
figures = metrics.compute(ci=0.95, resamples=200)
ap = float(figures["map"])
print(
    f"AP {ap:.3f}, 95 % of resamplings of the images between {figures['map_ci'][0]:.3f} and {figures['map_ci'][1]:.3f}"
)
picture, _ = metrics.plot()
