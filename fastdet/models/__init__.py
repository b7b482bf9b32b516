"""The lecture's networks in torch, on fastdet's ops: one in each file, of full size by default; ``width`` scales it.

Images are (N, in_channels, H, W) float tensors. Segmentation networks give logits (N, classes, H, W). The docstring of
each detector describes its output; targets and losses for training stand beside it.
"""

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    raise ImportError('fastdet.models needs torch: pip install "fastdet[torch]"') from None

from fastdet import boxes, fusion, losses, nms, pool, segmentation, upsample  # noqa: F401 - registers every op
from fastdet.models._layers import convert_linear
from fastdet.models.deeplab import DeepLabLargeFOV, DeepLabV3, DeepLabV3Plus
from fastdet.models.faster_rcnn import FasterRCNN
from fastdet.models.fcn import FCN8s, FCN16s, FCN32s
from fastdet.models.fpn import FrozenBatchNorm2d, ResNetFPN
from fastdet.models.hrnet import HRNetOCR, HRNetV2
from fastdet.models.keypoint_rcnn import KeypointRCNN
from fastdet.models.mask_rcnn import MaskRCNN
from fastdet.models.overfeat import OverFeatAccurate, OverFeatFast
from fastdet.models.pspnet import PSPNet
from fastdet.models.retinanet import RetinaNet
from fastdet.models.rpn import RPN
from fastdet.models.segnet import SegNet, SegNetBasic
from fastdet.models.ssd import SSD300, ssd_encode, ssd_loss, ssd_priors
from fastdet.models.unet import UNet
from fastdet.models.vgg import VGG16
from fastdet.models.yolo import YOLOv1, YOLOv1Tiny, yolo_encode, yolo_loss

__all__ = [
    "MODELS",
    "RPN",
    "SSD300",
    "VGG16",
    "DeepLabLargeFOV",
    "DeepLabV3",
    "DeepLabV3Plus",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FasterRCNN",
    "FrozenBatchNorm2d",
    "HRNetOCR",
    "HRNetV2",
    "KeypointRCNN",
    "MaskRCNN",
    "OverFeatAccurate",
    "OverFeatFast",
    "PSPNet",
    "ResNetFPN",
    "RetinaNet",
    "SegNet",
    "SegNetBasic",
    "UNet",
    "YOLOv1",
    "YOLOv1Tiny",
    "convert_linear",
    "ssd_encode",
    "ssd_loss",
    "ssd_priors",
    "yolo_encode",
    "yolo_loss",
]

MODELS = {
    "deeplab_largefov": DeepLabLargeFOV,
    "deeplab_v3": DeepLabV3,
    "deeplab_v3plus": DeepLabV3Plus,
    "faster_rcnn": FasterRCNN,
    "fcn16s": FCN16s,
    "fcn32s": FCN32s,
    "fcn8s": FCN8s,
    "hrnet_ocr": HRNetOCR,
    "hrnet_v2": HRNetV2,
    "keypoint_rcnn": KeypointRCNN,
    "mask_rcnn": MaskRCNN,
    "overfeat_accurate": OverFeatAccurate,
    "overfeat_fast": OverFeatFast,
    "pspnet": PSPNet,
    "retinanet": RetinaNet,
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
    "ssd300": SSD300,
    "unet": UNet,
    "vgg16": VGG16,
    "yolov1": YOLOv1,
    "yolov1_tiny": YOLOv1Tiny,
}
