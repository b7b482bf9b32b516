"""From R-CNN to Mask R-CNN

One picture through the line of two-stage detectors. Each one moves a step of the work into the network.
"""

# %%
# Discs, squares and triangles of any colour before a noisy background, with their boxes and masks.
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from fastdet.boxes import box_iou
from fastdet.inference import detect, fast_rcnn, rcnn
from fastdet.models import FasterRCNN, MaskRCNN
from fastdet.models.fpn import FeaturePyramid, Subsample
from fastdet.plots import draw_boxes
from fastdet.proposals import encode_boxes, grid_anchors, match_boxes, sample_balanced
from fastdet.roi import roi_align, roi_pool

NAMES = ["background", "disc", "square", "triangle"]
HEIGHT, WIDTH = 96, 128


def scene(rng):
    image = rng.normal(0.5, 0.06, (3, HEIGHT, WIDTH))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    boxes, labels, masks = [], [], []
    while len(boxes) < 3:
        side, label = rng.uniform(22, 36), rng.integers(1, 4)
        left, top = rng.uniform(1, [WIDTH - side - 1, HEIGHT - side - 1])
        box = np.array([left, top, left + side, top + side])
        if boxes and box_iou(box[None], np.array(boxes)).max() > 0.05:
            continue
        u, v = (x - left) / side, (y - top) / side
        inside = (np.abs(u - 0.5) < 0.5) & (np.abs(v - 0.5) < 0.5)
        if label == 1:
            inside &= (u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25
        if label == 3:
            inside &= np.abs(u - 0.5) < v / 2
        image[:, inside] = rng.choice([0.0, 0.7], 3)[:, None] + rng.uniform(0, 0.3, 3)[:, None]
        boxes.append(box), labels.append(label), masks.append(inside)
    return {
        "image": torch.tensor(image, dtype=torch.float32),
        "boxes": torch.tensor(np.array(boxes), dtype=torch.float32),
        "labels": torch.tensor(labels),
        "masks": torch.tensor(np.array(masks), dtype=torch.uint8),
    }


def scenes(count, seed):
    rng = np.random.default_rng(seed)
    return [scene(rng) for _ in range(count)]


def batches(steps, count=4):
    for step in range(steps):
        yield step, scenes(count, step + 1)


(picture,) = scenes(1, 1005)
image, true = picture["image"], picture["boxes"]
print("true:", [NAMES[label] for label in picture["labels"]])

# %%
# R-CNN and Fast R-CNN get their proposals from outside. Here they are boxes on a grid: no picture is needed for them.
proposals = torch.from_numpy(grid_anchors([24, 32], [1.0], (HEIGHT // 8, WIDTH // 8), 8)) + 4
print(len(proposals), "proposals")


def chosen(sample, seed):
    """Some proposals, a quarter of them objects where there are so many: boxes, labels, and what to learn of them."""
    boxes = torch.cat([proposals, sample["boxes"]])
    match = match_boxes(box_iou(sample["boxes"], boxes), 0.5, 0.4)
    positive, negative = sample_balanced(torch.where(match >= 0, 1, match + 1), 48, 0.25, seed=seed)
    labels = torch.cat([sample["labels"][match[positive]], torch.zeros_like(negative)])
    offsets = encode_boxes(sample["boxes"][match[positive]], boxes[positive], (10, 10, 5, 5))
    return torch.cat([boxes[positive], boxes[negative]]), labels, offsets


def loss_of(output, labels, offsets):
    logits, found = output
    return F.cross_entropy(logits, labels) + F.smooth_l1_loss(found[labels > 0], offsets)


def train(network, loss, steps):
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    network.train()
    for step, samples in batches(steps):
        optimiser.zero_grad()
        loss(samples, step).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


# %%
# R-CNN: cut out each proposal, warp it to one size, classify it. The network runs once for each proposal.
class Two(nn.Module):
    """Logits, and offsets for all classes."""

    def __init__(self, inputs):
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64), nn.ReLU())
        self.logits, self.offsets = nn.Linear(64, len(NAMES)), nn.Linear(64, 4)

    def forward(self, x):
        hidden = self.hidden(x)
        return self.logits(hidden), self.offsets(hidden)


def block(inputs, outputs, stride=2):
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


torch.manual_seed(0)
CROP = 24
crop_network = nn.Sequential(block(3, 16), block(16, 32), Two(32 * 6 * 6))


def crop_loss(samples, step):
    parts = [chosen(sample, 100 * step + i) for i, sample in enumerate(samples)]
    images = torch.stack([sample["image"] for sample in samples])
    crops = roi_align(images, [boxes for boxes, _, _ in parts], CROP, aligned=True)
    return loss_of(crop_network(crops), *(torch.cat([part[k] for part in parts]) for k in (1, 2)))


train(crop_network, crop_loss, 150)
found = {"R-CNN": rcnn(crop_network, image, proposals, size=CROP, score_threshold=0.5, iou_threshold=0.3)}

# %%
# Fast R-CNN: the convolutions run once, and each proposal is pooled from the map.
trunk = nn.Sequential(block(3, 16), block(16, 32), block(32, 32, 1))
head = Two(32 * 7 * 7)


def pooled_loss(samples, step):
    parts = [chosen(sample, 100 * step + i) for i, sample in enumerate(samples)]
    maps = trunk(torch.stack([sample["image"] for sample in samples]))
    pooled = roi_pool(maps, [boxes for boxes, _, _ in parts], 7, 1 / 4)
    return loss_of(head(pooled), *(torch.cat([part[k] for part in parts]) for k in (1, 2)))


train(nn.ModuleList([trunk, head]), pooled_loss, 100)
found["Fast R-CNN"] = fast_rcnn(trunk, head, image, proposals, score_threshold=0.5, iou_threshold=0.3)


# %%
# Faster R-CNN makes its own proposals, and Mask R-CNN gives each detection a mask. One training serves both here: Mask
# R-CNN is Faster R-CNN with one more head. A small trunk stands in for ResNet-50.
class Trunk(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stem, widths = block(3, 16), (32, 32, 48, 48)
        self.stages = nn.ModuleList(block(a, b) for a, b in zip((16, *widths), widths, strict=False))
        self.pyramid = FeaturePyramid(list(widths), channels, Subsample())

    def forward(self, x):
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return self.pyramid(maps[1:])


torch.manual_seed(0)
options = {
    "width": 1 / 8,
    "min_size": HEIGHT,
    "max_size": WIDTH,
    "anchor_sizes": (24, 32, 48, 64, 96),
    "anchor_ratios": (1.0,),
    "samples": 48,
    "rpn": {"candidates": (200, 100), "kept": (100, 50), "samples": 64},
}
mask_network = MaskRCNN(3, masks="dense", **options)
mask_network.backbone = Trunk(mask_network.backbone.channels)


def whole_loss(samples, step):
    return sum(mask_network([sample["image"] for sample in samples], samples).values())


train(mask_network, whole_loss, 160)
faster_network = FasterRCNN(3, **options)
faster_network.backbone = mask_network.backbone
faster_network.load_state_dict(mask_network.state_dict(), strict=False)
found["Faster R-CNN"] = detect(faster_network.eval(), image)
found["Mask R-CNN"] = detect(mask_network, image)

# %%
# What each one finds with a score above 0.5, and how well: the IoU of each true box with the best of its class.
quality = {}
for name, result in found.items():
    sure = result.scores > 0.5
    overlap = box_iou(true, result.boxes[sure]) * (picture["labels"][:, None] == result.labels[sure])
    quality[name] = overlap.amax(1) if sure.any() else torch.zeros(len(true))
    print(f"{name:12}", [f"{NAMES[k]} {s:.2f}" for k, s in zip(result.labels[sure], result.scores[sure], strict=True)])
    print(f"{'':12} IoU", [round(float(x), 2) for x in quality[name]])
masks = torch.as_tensor(found["Mask R-CNN"].masks)[found["Mask R-CNN"].scores > 0.5].bool()
same = [(masks & (x > 0)).sum((1, 2)) / (masks | (x > 0)).sum((1, 2)).clamp(min=1) for x in picture["masks"]]
mask_quality = torch.stack(same).amax(1) if len(masks) else torch.zeros(len(true))
print(f"{'':12} IoU of masks", [round(float(x), 2) for x in mask_quality])

# %%
figure = Figure(figsize=(12, 9), layout="constrained")
for ax, (name, result) in zip(figure.subplots(2, 2).ravel(), found.items(), strict=True):
    shown = image.permute(1, 2, 0).clip(0, 1).numpy().copy()
    if name == "Mask R-CNN":
        shown[~masks.any(0).numpy()] *= 0.35
    ax.imshow(shown)
    sure = result.scores > 0.5
    draw_boxes(*(x[sure].numpy() for x in (result.boxes, result.labels, result.scores)), names=NAMES, ax=ax)
    ax.set_title(name, loc="left")
    ax.set_axis_off()
