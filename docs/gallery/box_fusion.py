"""Box fusion

Three models detect the same objects, each a little off. NMS keeps the box with the best score; fusion averages all of
them, and is nearer to the truth.
"""

# %%
# Each model detects most objects, off by some pixels, and adds a false box.
import numpy as np
from matplotlib.figure import Figure

from fastdet import plots
from fastdet.boxes import box_iou
from fastdet.fusion import weighted_boxes_fusion
from fastdet.nms import nms

rng = np.random.default_rng(4)
corners = np.array([[x, y] for y in (20, 130) for x in (20, 140, 260)], float)
truth = np.hstack([corners, corners + rng.uniform(60, 90, (6, 2))])
models = []
for _ in range(3):
    detected = truth[rng.random(6) < 0.9] if models else truth
    boxes = detected + rng.normal(0, 5, detected.shape)
    false = rng.uniform((0, 0), (300, 180), (1, 2))
    boxes = np.vstack([boxes, np.hstack([false, false + 50])])
    scores = np.append(rng.uniform(0.5, 0.9, len(detected)), 0.35)
    models.append((boxes, scores, np.zeros(len(boxes), int)))

# %%
# Weighted boxes fusion averages by score, and lowers the score of a box that only one model has.
stacked = np.vstack([boxes for boxes, _, _ in models])
scores = np.concatenate([s for _, s, _ in models])
keep = nms(stacked, scores, 0.5)
fused, fused_scores, _ = weighted_boxes_fusion(*map(list, zip(*models, strict=True)), iou_thr=0.5)
results = {"NMS": (stacked[keep], scores[keep]), "fusion": (fused, fused_scores)}
quality = {}
for name, (boxes, s) in results.items():
    quality[name] = box_iou(truth, boxes).max(axis=1).mean()
    print(f"{name:6}  mean IoU with the truth {quality[name]:.3f}; false boxes score up to {s[6:].max():.2f}")

# %%
figure = Figure(figsize=(12, 3), layout="constrained")
panels = {"all three models": (stacked, scores), **results}
for ax, (title, (boxes, s)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
    for x1, y1, x2, y2 in truth:
        ax.fill((x1, x2, x2, x1), (y1, y1, y2, y2), color="#d9dde3")
    ax.set(xlim=(0, 370), ylim=(240, 0), xticks=[], yticks=[])
    plots.draw_boxes(boxes, np.ones(len(boxes), int), s, ax=ax)
    ax.set_title(f"{title}: {len(boxes)} boxes", loc="left")
