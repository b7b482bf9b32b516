"""NMS against Soft-NMS

A crowded street: objects overlap, and so do the candidates of one object. NMS removes what overlaps; Soft-NMS lowers
its score.
"""

# %%
# The sample that comes with the package has a made-up scene and candidates as a detector gives them.
from fastdet import _sample, plots
from fastdet.detection import DetectionMetrics
from fastdet.nms import batched_nms, batched_soft_nms

sample = _sample.load()
boxes, scores, labels = sample["boxes"], sample["scores"], sample["labels"]
print(f"{len(boxes)} candidates of {len(sample['objects'])} objects")

# %%
# A class suppresses only itself. NMS gives indices; Soft-NMS also the scores that are left. What falls below 0.3 is no
# detection, before NMS or in the course of Soft-NMS.
hard = batched_nms(boxes, scores, labels, 0.5, score_threshold=0.3)
soft, soft_scores = batched_soft_nms(boxes, scores, labels, method="linear", min_score=0.3)
results = {"NMS": (hard, scores[hard]), "Soft-NMS": (soft, soft_scores)}
for name, (keep, _) in results.items():
    print(f"{name}: {len(keep)} kept")

# %%
# Two people side by side overlap by more than 0.5: NMS takes one for the other's double. Average precision says so.
truth = {"boxes": sample["objects"], "labels": sample["object_labels"]}
precision = {}
for name, (keep, kept_scores) in {"candidates": (slice(None), scores), **results}.items():
    metrics = DetectionMetrics()
    metrics.update([{"boxes": boxes[keep], "scores": kept_scores, "labels": labels[keep]}], [truth])
    precision[name] = float(metrics.compute()["map"])
    print(f"{name:10}  AP {precision[name]:.3f}")

# %%
# The two, over the scene. Opacity is the score.
size = tuple(sample["size"].tolist())
figure, _ = plots.compare(
    [(f"{name}: AP {precision[name]:.3f}", boxes[keep], labels[keep], s) for name, (keep, s) in results.items()],
    names=sample["names"].tolist(),
    size=size,
    backdrop=lambda ax: plots.draw_street(sample["objects"], sample["object_labels"], size, ax=ax),
)
