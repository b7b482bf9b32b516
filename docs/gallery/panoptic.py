"""Panoptic quality

A scene of things and stuff, a prediction with typical errors, and which of its segments match.
"""

# %%
# Sky, grass and discs. Each pixel has the id of its segment; a record says of each id the category.
import numpy as np
from matplotlib.figure import Figure

from fastdet.masks import connected_components
from fastdet.segmentation import PanopticMetrics

categories = [
    {"id": 1, "name": "disc", "isthing": 1},
    {"id": 2, "name": "sky", "isthing": 0},
    {"id": 3, "name": "grass", "isthing": 0},
]
y, x = np.mgrid[:240, :320]
truth = np.where(y > 150 + 15 * np.sin(x / 40), 300, 200)
guess = np.where(y > 156 + 15 * np.sin(x / 40 - 0.3), 300, 200)
discs = [(60, 90, 34), (128, 100, 34), (200, 60, 26), (270, 180, 40)]
for i, (cx, cy, r) in enumerate(discs):
    truth[np.hypot(x - cx, y - cy) < r] = i + 1
    guess[np.hypot(x - cx - 4, y - cy + 3) < r * (0.95, 1.1, 0.6, 1.0)[i]] = 1

# %%
# The network only knows which pixels are discs. Connected components make segments of them: the two discs that touch
# become one, an error that PQ sees and mean IoU does not.
components = connected_components(guess == 1)
guess = np.where(components.map > 0, components.map, guess)
print(len(components.areas), "components with areas", components.areas)


def side(segments):
    """The map, and its records."""
    kinds = {200: 2, 300: 3}
    records = [{"id": int(i), "category_id": kinds.get(int(i), 1)} for i in np.unique(segments)]
    return {"segmentation": segments, "segments_info": records}


metrics = PanopticMetrics(categories).update([side(guess)], [side(truth)])
figures = metrics.compute()
for i, category in enumerate(categories):
    row = " ".join(f"{key.upper()} {figures[f'{key}_per_class'][i]:.4f}" for key in ("pq", "sq", "rq"))
    found = [int(figures[key][i]) for key in ("true_positives", "false_positives", "false_negatives")]
    print(f"{category['name']:5}  {row}  TP, FP, FN {found}")
print(f"PQ {figures['pq']:.4f}, of things {figures['pq_things']:.4f}, of stuff {figures['pq_stuff']:.4f}")

# %%
# The maps. Segments of the prediction that match a true one keep its colour; the others are red.
colours = {
    200: (150, 190, 220), 300: (120, 150, 90),
    1: (209, 160, 60), 2: (170, 110, 190), 3: (90, 160, 160), 4: (230, 130, 90),
}  # fmt: skip
shown = {"truth": np.zeros((240, 320, 3), np.uint8), "prediction": np.full((240, 320, 3), (200, 30, 40), np.uint8)}
for i in np.unique(truth):
    shown["truth"][truth == i] = colours[int(i)]
    for k in np.unique(guess):
        common = ((truth == i) & (guess == k)).sum()
        if common > 0.5 * ((truth == i) | (guess == k)).sum():
            shown["prediction"][guess == k] = colours[int(i)]
picture = Figure(figsize=(9, 3.6), layout="constrained")
for ax, (title, image) in zip(picture.subplots(1, 2), shown.items(), strict=True):
    ax.imshow(image)
    ax.set(title=title, xticks=[], yticks=[])
