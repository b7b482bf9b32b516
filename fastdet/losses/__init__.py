"""Losses on a softmax over classes, for training by segmentation: each with its gradient in one pass.

Logits are (N, C, d1, ...), images of one score per class and pixel, also (N, C) or (C,); the target has that shape
without C and holds class numbers of any integer type. The classes may lie last in memory (torch's channels_last): such
logits are not copied, and their gradient lies alike.

Every function takes NumPy arrays, torch tensors, CuPy arrays or anything with ``__dlpack__`` on the CPU or an NVIDIA
GPU and gives back the same type. float64 is computed in float64; float32, float16 and bfloat16 in float32, and the loss
and the gradient are rounded to the logits' dtype once. exp and log are made of IEEE operations (to 2 ulp), so that all
backends give the same bits, on a GPU too; a pixel's loss is then summed up in float64, in an order that depends on the
shape alone.

Rules for odd input, the same for every loss here:

- A label outside [0, C) that is not ``ignore_index`` raises ValueError.
- A pixel that is ignored, or of a class of weight 0, takes no part, whatever its logits are: its loss and its
  gradient are 0 (with label smoothing: ignored ones only).
- Where no pixel counts, or their weights sum to 0, a mean is 0 with gradient 0 and a RuntimeWarning (torch: NaN).
- Logits of -inf have probability 0; a target with one has loss inf. NaN or +inf, or -inf for all classes, make the
  pixel's loss and gradient NaN. Finite logits may be of any size: a probability below 1e-37 (float32; 1e-307 in
  float64) is taken for 0, and never a logarithm of 0.
- On a GPU nothing waits for values to be looked at: a label out of range makes the loss and all of the gradient NaN,
  and the next call raises; weights that are negative or not finite make them NaN; there is no warning. With
  FASTDET_SYNC=1 in the environment labels raise at once, and there are warnings.
"""

from fastdet._core.dispatch import register_with_torch
from fastdet.losses.boxes import (
    ciou_loss,
    ciou_loss_with_grad,
    diou_loss,
    diou_loss_with_grad,
    giou_loss,
    giou_loss_with_grad,
)
from fastdet.losses.class_weights import median_frequency_weights
from fastdet.losses.dice import dice_loss, dice_loss_with_grad
from fastdet.losses.sigmoid_focal import sigmoid_focal_loss, sigmoid_focal_loss_with_grad
from fastdet.losses.softmax import cross_entropy, cross_entropy_with_grad, focal_loss, focal_loss_with_grad

__all__ = [
    "ciou_loss",
    "ciou_loss_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "dice_loss",
    "dice_loss_with_grad",
    "diou_loss",
    "diou_loss_with_grad",
    "focal_loss",
    "focal_loss_with_grad",
    "giou_loss",
    "giou_loss_with_grad",
    "median_frequency_weights",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_with_grad",
]

register_with_torch(__name__)
