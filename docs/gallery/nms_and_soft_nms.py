"""NMS against Soft-NMS

Crowded streets: objects overlap, and so do the candidates of one object. NMS removes overlapping boxes; Soft-NMS
lowers their scores.
"""

# %%
# The package's sample is the raw output of a small YOLO for drawn streets that it was not trained on
# (`docs/examples/train_demo.py`). Decoding keeps the boxes above a score.
from fastdet import plots
from fastdet.cli import sample as _sample
from fastdet.cli import scenes
from fastdet.detection import DetectionMetrics
from fastdet.inference import yolo_candidates
from fastdet.nms import batched_nms, batched_soft_nms

sample = _sample.load()
boxes, scores, labels, images = yolo_candidates(sample.output, 0.05)
print(f"{len(boxes)} candidates of {sum(len(x.labels) for x in sample.scenes)} objects in {len(sample.scenes)} scenes")

# %%
# Only boxes of one class of one scene suppress each other. NMS gives indices; Soft-NMS also gives new scores.
groups = images * len(scenes.NAMES) + labels
hard = batched_nms(boxes, scores, groups, 0.5)
soft, soft_scores = batched_soft_nms(boxes, scores, groups, method="linear", min_score=0.05)
results = {"candidates": (slice(None), scores), "NMS": (hard, scores[hard]), "Soft-NMS": (soft, soft_scores)}
for name, (keep, _) in results.items():
    print(f"{name}: {len(boxes[keep])} boxes")

# %%
# Average precision compares the results.
precision = {}
for name, (keep, kept_scores) in results.items():
    metrics = DetectionMetrics()
    for i, scene in enumerate(sample.scenes):
        rows = images[keep] == i
        detections = {"boxes": boxes[keep][rows], "scores": kept_scores[rows], "labels": labels[keep][rows]}
        metrics.update([detections], [scene._asdict()])
    precision[name] = float(metrics.compute()["map"])
    print(f"{name:10}  AP {precision[name]:.3f}")

# %%
# The scene that has the most objects. Opacity is the score.
i = max(range(len(sample.scenes)), key=lambda i: len(sample.scenes[i].labels))
image = scenes.draw(sample.scenes[i], sample.seeds[i], scale=4)
height, width = scenes.SIZE
panels = []
for name, (keep, kept_scores) in results.items():
    rows = (images[keep] == i) & (kept_scores > 0.3)
    panels.append((f"{name}: AP {precision[name]:.3f}", boxes[keep][rows], labels[keep][rows], kept_scores[rows]))
figure, _ = plots.compare(
    panels, names=scenes.NAMES, size=scenes.SIZE, backdrop=lambda ax: ax.imshow(image, extent=(0, width, height, 0))
)
