"""Precision and recall

How a detector's curve comes about: matches, a falling score threshold, interpolation, and ten IoU thresholds.
"""

# %%
# Detections that are left of the sample after NMS, and the true boxes.
import numpy as np

from fastdet import _sample, plots
from fastdet.detection import DetectionMetrics, average_precision, match_detections, precision_recall_curve
from fastdet.nms import batched_nms

sample = _sample.load()
keep = batched_nms(sample["boxes"], sample["scores"], sample["labels"], 0.5)
boxes, scores, labels = (sample[key][keep] for key in ("boxes", "scores", "labels"))
people = labels == 0
true_people = sample["objects"][sample["object_labels"] == 0]

# %%
# By falling score each detection takes the free true box of greatest IoU. One that finds none is false.
matches = match_detections(boxes[people], scores[people], true_people, iou_thresholds=[0.5, 0.75])
print("at 0.5: ", matches.outcome[:, 0, 0])
print("at 0.75:", matches.outcome[:, 1, 0])

# %%
# Average precision of COCO reads the interpolated curve at 101 recalls; VOC's is the area below it.
counted = int(matches.counted[0])
best_first = scores[people][matches.order]
curves = [precision_recall_curve(best_first, matches.outcome[:, t, 0], counted) for t in (0, 1)]
for method in ("coco101", "voc2007", "area"):
    ap = average_precision(best_first, matches.outcome, counted, method=method)
    print(f"{method:8} {np.round(ap[:, 0], 4)}")

# %%
# Raw precision is the fine line: it falls with each false detection and rises with each right one.
figure, _ = plots.draw_precision_recall(curves, names=["IoU 0.5", "IoU 0.75"], title="People")

# %%
# All classes, all ten thresholds: the mean of the areas is COCO's AP.
metrics = DetectionMetrics()
metrics.update(
    [{"boxes": boxes, "scores": scores, "labels": labels}],
    [{"boxes": sample["objects"], "labels": sample["object_labels"]}],
)
ap = float(metrics.compute()["map"])
figure, ax = metrics.plot()
print(f"AP {ap:.3f}")
