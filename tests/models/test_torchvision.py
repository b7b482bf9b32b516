"""Detectors against torchvision's: the same weights give the same detections and losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optional import need
from torchvision_networks import CLASSES, KEYPOINTS, NAMES, SIZES, WIDTH, spread_out, theirs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SINGLE = {"scores": 1e-5, "boxes": 1e-3, "keypoints": 1e-3, "masks": 1e-4, "keypoints_scores": 1e-4}  # float32
# Without near-ties: answers are the same where each pixel of the images changes by 3e-6.
SEEDS = {"faster_rcnn": (0, 1), "mask_rcnn": (0, 2), "keypoint_rcnn": (0, 2), "retinanet": (0, 1)}
LIMITS = {"candidates": (150, 100), "kept": (200, 150)}  # of the proposals, in training and in inference


def pair(torch: Any, models: Any, name: str, seed: int, dtype: Any) -> tuple[Any, Any, list[Any]]:
    """fastdet's network and torchvision's with the same weights, and images of two sizes."""
    need("torchvision")
    torch.manual_seed(seed)
    options: dict[str, Any] = {"width": WIDTH, **SIZES}
    if name == "retinanet":
        limits: dict[str, Any] = {"topk_candidates": 100, "score_thresh": 0.3}
        options |= {"candidates": 100, "score_threshold": 0.3}
    else:
        (train, test), (train_kept, test_kept) = LIMITS["candidates"], LIMITS["kept"]
        limits = {"rpn_pre_nms_top_n_train": train, "rpn_pre_nms_top_n_test": test, "box_score_thresh": 0.2}
        limits |= {"rpn_post_nms_top_n_train": train_kept, "rpn_post_nms_top_n_test": test_kept}
        limits |= {"rpn_batch_size_per_image": 10**6, "box_batch_size_per_image": 10**6}
        options |= {"rpn": {**LIMITS, "samples": 10**6}, "samples": 10**6, "score_threshold": 0.2}
    if name in ("mask_rcnn", "keypoint_rcnn"):
        limits["box_detections_per_img"] = options["max_output"] = 30
    if name == "keypoint_rcnn":
        options["keypoints"] = KEYPOINTS
    ours, peer = models.MODELS[name](CLASSES, **options).eval(), theirs(name, **limits).eval()
    images = [torch.rand(3, 150, 120), torch.rand(3, 100, 190)]
    for image in images:  # patches, so that regions differ
        for _ in range(12):
            y, x = int(torch.randint(80, ())), int(torch.randint(100, ()))
            image[:, y : y + 40, x : x + 30] += 2 * torch.randn(3, 1, 1)
    spread_out(ours, images)
    peer.load_state_dict(ours.state_dict(), strict=True)
    for network in (ours, peer):
        network.to(dtype)
    return ours, peer, [x.to(dtype) for x in images]


def check_detections(got: dict[str, Any], want: dict[str, Any], double: bool) -> None:
    assert got.keys() == want.keys()
    assert got["labels"].tolist() == want["labels"].tolist()
    for key in want.keys() - {"labels"}:
        assert got[key].shape == want[key].shape
        assert got[key].dtype == want[key].dtype
        if double:
            options = {"rtol": 1e-9, "atol": 1e-9 if key == "masks" else 0}
        else:
            options = {"rtol": 0, "atol": SINGLE[key]}
        np.testing.assert_allclose(got[key].numpy(), want[key].numpy(), err_msg=key, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_detections(torch: Any, models: Any, name: str, dtype: str) -> None:
    seen: set[int] = set()
    for seed in SEEDS[name]:
        ours, peer, images = pair(torch, models, name, seed, getattr(torch, dtype))
        with torch.no_grad():
            got, want = ours(images), peer(images)
        for g, w in zip(got, want, strict=True):
            check_detections(g, w, dtype == "float64")
            assert len(w["boxes"]) > 20
            seen |= set(w["labels"].tolist())
    assert len(seen) > 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_full_size(torch: Any, models: Any, name: str) -> None:
    """The published networks, built by torchvision, in float64."""
    need("torchvision")
    torch.manual_seed(0)
    retina = name == "retinanet"
    sizes = {"min_size": 128, "max_size": 160}
    limits: dict[str, Any] = {"topk_candidates": 50} if retina else {"rpn_post_nms_top_n_test": 40}
    options: dict[str, Any] = {"candidates": 50} if retina else {"rpn": {"kept": (40, 40)}}
    limits["detections_per_img" if retina else "box_detections_per_img"] = options["max_output"] = 4
    ours = models.MODELS[name](**sizes, **options).eval()
    peer = published(name)(weights=None, weights_backbone=None, **sizes, **limits).eval()
    images = [torch.rand(3, 130, 110)]
    spread_out(ours, images)
    peer.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        got, want = (network.double()([images[0].double()])[0] for network in (ours, peer))
    assert len(want["boxes"]) == 4
    check_detections(got, want, True)


def published(name: str) -> Any:
    """torchvision's function that builds the published network."""
    from torchvision.models import detection

    return getattr(detection, name.replace("_rcnn", "rcnn") + "_resnet50_fpn")


def targets(torch: Any, images: list[Any], dtype: Any) -> list[dict[str, Any]]:
    """Boxes, labels, masks and keypoints: some keypoints are not visible, or on the box's border."""
    result = []
    for image, count in zip(images, (3, 2), strict=True):
        height, width = image.shape[-2:]
        corner, side = torch.rand(count, 2) * 0.4, 0.25 + torch.rand(count, 2) * 0.3
        boxes = torch.cat([corner, corner + side], 1) * torch.tensor([width, height] * 2)
        masks = (torch.rand(count, height, width) > 0.5).to(torch.uint8)
        points = boxes[:, None, :2] + torch.rand(count, KEYPOINTS, 2) * (boxes[:, None, 2:] - boxes[:, None, :2])
        points[0, 0] = boxes[0, 2:]
        visible = torch.randint(0, 3, (count, KEYPOINTS, 1))
        keypoints = torch.cat([points, visible], -1)
        labels = torch.randint(1, CLASSES, (count,))
        result.append({"boxes": boxes.to(dtype), "labels": labels, "masks": masks, "keypoints": keypoints})
    return result


def without_objects(target: dict[str, Any]) -> dict[str, Any]:
    return {key: x[:0] for key, x in target.items()}


@pytest.mark.parametrize("empty", [False, True], ids=["objects", "an image without objects"])
@pytest.mark.parametrize("name", NAMES)
def test_losses(torch: Any, models: Any, name: str, empty: bool) -> None:
    """Sampling takes everything: the losses and every parameter's gradient are torchvision's."""
    ours, peer, images = pair(torch, models, name, 3, torch.float64)
    true = targets(torch, images, torch.float64)
    if empty:
        true[1] = without_objects(true[1])
    if name != "retinanet":  # whose labels are float32, to which torch then rounds the loss of a float64 network
        assign = peer.rpn.assign_targets_to_anchors

        def labels_in_double(*args: Any) -> Any:
            labels, boxes = assign(*args)
            return [x.double() for x in labels], boxes

        peer.rpn.assign_targets_to_anchors = labels_in_double
    results = []
    for network in (ours, peer):
        losses = network.train()(images, [dict(x) for x in true])
        sum(losses.values()).backward()
        results.append((losses, {key: x.grad for key, x in network.named_parameters()}))
    (losses, gradients), (want_losses, want_gradients) = results
    assert losses.keys() == want_losses.keys()
    for key, want in want_losses.items():
        assert want > 1e-4
        np.testing.assert_allclose(losses[key].item(), want.item(), rtol=1e-9, err_msg=key)
    assert gradients.keys() == want_gradients.keys()
    for key, want in want_gradients.items():
        assert want.abs().max() > 0, key
        atol = 1e-9 * want.abs().max().item() + 1e-14  # some gradients are 0 but for rounding
        np.testing.assert_allclose(gradients[key], want, rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_state_dicts(torch: Any, models: Any, name: str) -> None:
    """Names and shapes are those of the published networks, which have 91 classes, or 2."""
    need("torchvision")
    with torch.device("meta"):
        ours = models.MODELS[name]()
        batch = models.MODELS[name](norm="batch")
        peer = published(name)(weights=None, weights_backbone=None)
    for network, counts in ((batch, True), (ours, False)):
        want = {k: x.shape for k, x in peer.state_dict().items() if counts or "num_batches" not in k}
        assert {key: x.shape for key, x in network.state_dict().items()} == want
    ours.load_state_dict(peer.state_dict(), strict=True)


@pytest.mark.parametrize("sizes", [(128, 180), (100, 1333), (256, 200)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_images_and_targets_are_resized(torch: Any, models: Any, sizes: tuple[int, int], dtype: str) -> None:
    transform = need("torchvision.models.detection.transform")
    kind = getattr(torch, dtype)
    peer = transform.GeneralizedRCNNTransform(*sizes, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    ours = models.FasterRCNN(width=1 / 64, min_size=sizes[0], max_size=sizes[1]).transform
    images = [torch.rand(3, *size, dtype=kind) for size in ((97, 131), (150, 75), (128, 128))]
    true = [*targets(torch, images[:2], kind), {**without_objects(targets(torch, images[:2], kind)[0])}]
    true[2]["masks"] = torch.zeros(0, 128, 128, dtype=torch.uint8)
    want, want_targets = peer([*images], [dict(x) for x in true])
    got = ours(images, true)
    assert got.sizes == [tuple(x) for x in want.image_sizes]
    assert got.originals == [(97, 131), (150, 75), (128, 128)]
    assert got.images.shape == want.tensors.shape
    atol = 1e-12 if dtype == "float64" else 1e-4  # a position of 200 pixels is rounded by 1e-5
    np.testing.assert_allclose(got.images, want.tensors, rtol=0, atol=atol)
    for g, w in zip(got.targets, want_targets, strict=True):
        assert g.keys() == w.keys()
        for key, x in w.items():
            torch.testing.assert_close(g[key], x, rtol=0, atol=0)


def test_the_training_size_is_drawn_alike(torch: Any, models: Any) -> None:
    transform = need("torchvision.models.detection.transform")
    peer = transform.GeneralizedRCNNTransform([64, 80, 96], 200, [0.5] * 3, [0.2] * 3).train()
    ours = models.FasterRCNN(width=1 / 64, min_size=(64, 80, 96), max_size=200).transform.train()
    images, sizes = [torch.rand(3, 40, 50) for _ in range(20)], []
    for resize in (ours, peer):
        torch.manual_seed(5)
        out = resize(images)
        sizes.append(list(map(tuple, out.sizes if resize is ours else out[0].image_sizes)))
    assert sizes[0] == sizes[1]
    assert len(set(sizes[0])) == 3


@pytest.mark.parametrize("name", NAMES[:3])
def test_images_without_detections(torch: Any, models: Any, name: str) -> None:
    ours, peer, images = pair(torch, models, name, 0, torch.float32)
    ours.roi_heads.score_threshold = peer.roi_heads.score_thresh = 1.0
    with torch.no_grad():
        for got, want in zip(ours(images), peer(images), strict=True):
            check_detections(got, want, False)
            assert not len(want["boxes"])
