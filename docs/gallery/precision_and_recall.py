"""Precision and recall

How a detector's curve is computed: matches, a falling score threshold, interpolation, and ten IoU thresholds.
"""

# %%
# Forty images, and a detector that misses some objects, is off by a few pixels, and scores some false boxes high.
import numpy as np

from fastdet import plots
from fastdet.detection import DetectionMetrics, average_precision, match_detections, precision_recall_curve

rng = np.random.default_rng(5)
detections, truth = [], []
for _ in range(40):
    corner, side = rng.uniform(0, 400, (5, 2)), rng.uniform(30, 120, (5, 2))
    boxes = np.hstack([corner, corner + side])
    detected = rng.random(5) < 0.85
    inexact = boxes[detected] + rng.normal(0, 0.09, (detected.sum(), 4)) * np.tile(side[detected], 2)
    corner, side = rng.uniform(0, 400, (4, 2)), rng.uniform(30, 120, (4, 2))
    scores = np.concatenate([rng.beta(4, 2, detected.sum()), rng.beta(2, 4, 4)])
    detections.append({"boxes": np.vstack([inexact, np.hstack([corner, corner + side])]), "scores": scores})
    truth.append({"boxes": boxes})

# %%
# In each image, by falling score, a detection takes the free true box of the maximum IoU. Without one it is false.
matches = [
    match_detections(f["boxes"], f["scores"], t["boxes"], iou_thresholds=[0.5, 0.75])
    for f, t in zip(detections, truth, strict=True)
]
print("the first image, IoU 0.5: ", matches[0].outcome[:, 0, 0])
print("                 IoU 0.75:", matches[0].outcome[:, 1, 0])

# %%
# Average precision is computed from the curve of all images: COCO's at 101 recalls, VOC's at 11, later as the area.
scores = np.concatenate([f["scores"][m.order] for f, m in zip(detections, matches, strict=True)])
outcome = np.concatenate([m.outcome[:, :, 0] for m in matches])
counted = sum(int(m.counted[0]) for m in matches)
for method in ("coco101", "voc2007", "area"):
    ap = average_precision(scores, outcome, counted, method=method)
    print(f"{method:8} {ap.round(4)}")

# %%
# The fine line is raw precision: it falls with each false detection and rises with each true one. The strong line is
# the maximum precision at that recall or above.
curves = [precision_recall_curve(scores, outcome[:, t], counted) for t in (0, 1)]
figure, _ = plots.draw_precision_recall(curves, names=["IoU 0.5", "IoU 0.75"])

# %%
# COCO's AP is the mean over ten IoU thresholds.
metrics = DetectionMetrics()
for f, t in zip(detections, truth, strict=True):
    metrics.update([{**f, "labels": np.zeros(len(f["boxes"]), int)}], [{**t, "labels": np.zeros(5, int)}])
figures = metrics.compute(ci=0.95, resamples=200)
ap = float(figures["map"])
print(
    f"AP {ap:.3f}, 95 % of resamplings of the images between {figures['map_ci'][0]:.3f} and {figures['map_ci'][1]:.3f}"
)
picture, _ = metrics.plot()
