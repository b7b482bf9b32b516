"""torchvision's detectors, as narrow as fastdet's with ``width``, and weights with which they find things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optional import need

WIDTH = 1 / 16
NAMES = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet")
CLASSES, KEYPOINTS = 5, 4
SIZES = {"min_size": 128, "max_size": 180}


def channels(full: int) -> int:
    return max(1, round(full * WIDTH))


def narrow_trunk(norm: Callable[[int], Any]) -> Any:
    """torchvision's ResNet-50 of `WIDTH`, without its classifier."""
    torch, resnet = need("torch"), need("torchvision.models.resnet")

    class Narrow(resnet.ResNet):  # type: ignore[misc]
        def _make_layer(self, block: Any, planes: int, *args: Any, **options: Any) -> Any:
            if planes == 64:
                self.inplanes = channels(64)
                self.conv1 = torch.nn.Conv2d(3, self.inplanes, 7, 2, 3, bias=False)
                self.bn1 = norm(self.inplanes)
            return super()._make_layer(block, channels(planes), *args, **options)

    return Narrow(resnet.Bottleneck, [3, 4, 6, 3], norm_layer=norm)


def theirs(name: str, **options: Any) -> Any:
    """A narrow network of torchvision."""
    need("torchvision")
    from torchvision.models import detection
    from torchvision.models.detection import faster_rcnn, keypoint_rcnn, mask_rcnn
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

    retina = name == "retinanet"
    stages, features = (2, 3, 4) if retina else (1, 2, 3, 4), channels(256)
    backbone = BackboneWithFPN(
        narrow_trunk(FrozenBatchNorm2d),
        {f"layer{stage}": str(i) for i, stage in enumerate(stages)},
        [4 * channels(32 << stage) for stage in stages],
        features,
        LastLevelP6P7(features, features) if retina else LastLevelMaxPool(),
    )
    if retina:
        return detection.RetinaNet(backbone, CLASSES, **SIZES, **options)
    hidden, classes = channels(1024), CLASSES + 1
    options |= {
        "box_head": faster_rcnn.TwoMLPHead(features * 49, hidden),
        "box_predictor": faster_rcnn.FastRCNNPredictor(hidden, classes),
    }
    if name == "mask_rcnn":
        options["mask_head"] = mask_rcnn.MaskRCNNHeads(features, (features,) * 4, 1)
        options["mask_predictor"] = mask_rcnn.MaskRCNNPredictor(features, features, classes)
        return detection.MaskRCNN(backbone, **SIZES, **options)
    if name == "keypoint_rcnn":
        options["keypoint_head"] = keypoint_rcnn.KeypointRCNNHeads(features, (channels(512),) * 8)
        options["keypoint_predictor"] = keypoint_rcnn.KeypointRCNNPredictor(channels(512), KEYPOINTS)
        return detection.KeypointRCNN(backbone, **SIZES, **options)
    return detection.FasterRCNN(backbone, **SIZES, **options)


SPREAD = {  # of the values that a layer gives, as its standard deviation
    "rpn.head.cls_logits": 2.0,
    "rpn.head.bbox_pred": 0.3,
    "roi_heads.box_predictor.cls_score": 1.2,
    "roi_heads.box_predictor.bbox_pred": 2.0,
    "roi_heads.mask_predictor.mask_fcn_logits": 2.0,
    "roi_heads.keypoint_predictor.kps_score_lowres": 2.0,
    "head.classification_head.cls_logits": 2.0,
    "head.regression_head.bbox_reg": 0.3,
}


def spread_out(network: Any, images: Any) -> None:
    """Change random weights so that scores and boxes differ: normalisation that is no identity, outputs of `SPREAD`."""
    import torch

    with torch.no_grad():
        for key, x in network.named_buffers():
            kind = key.rpartition(".")[2]
            if kind in ("running_var", "weight"):
                x.copy_(0.5 + torch.rand_like(x))
            elif kind in ("running_mean", "bias"):
                x.copy_(0.2 * torch.randn_like(x))
        for name, wanted in SPREAD.items():
            if name not in dict(network.named_modules()):
                continue
            outputs: list[Any] = []
            layer = network.get_submodule(name)
            hook = layer.register_forward_hook(lambda _, inputs, out, to=outputs: to.append(out.flatten()))
            network(images)
            hook.remove()
            layer.weight.mul_(wanted / torch.cat(outputs).std())
