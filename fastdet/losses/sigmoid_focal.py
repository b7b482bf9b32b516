"""The sigmoid focal loss of dense detection, with its gradient in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet._core.elementary import exp_or_zero, log_positive
from fastdet._core.half import BFLOAT16, narrow, widen
from fastdet.losses import _check
from fastdet.losses.reduction import REDUCTIONS, mean_or_sum, share

MAX_GAMMA = 1000.0


def sigmoid_focal_loss(
    inputs: Any,
    targets: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
    *,
    backend: str | None = None,
) -> Any:
    """Sigmoid focal loss: binary cross-entropy of logits, lower where the prediction is right already.

    The loss is alpha_t (1 - p_t)^gamma * BCE, with p = sigmoid(inputs), p_t = p t + (1 - p)(1 - t) and
    alpha_t = alpha t + (1 - alpha)(1 - t).

    Parameters
    ----------
    inputs : float16, bfloat16, float32 or float64, any shape; logits
    targets : bool, integer or float, the same shape; in [0, 1], which is not checked
    alpha : weight of target 1, at most 1; target 0 has weight 1 - alpha; below 0 for no weights
    gamma : float in [0, 1000]; 0, 1 and 2 are the fastest; 0 with alpha below 0 is plain cross-entropy
    reduction : "none", "mean" (0 for no values) or "sum"

    Returns
    -------
    loss : of the inputs' dtype; of their shape, or () where reduced

    Raises
    ------
    TypeError   dtype, device
    ValueError  shape, an unknown reduction, alpha or gamma out of range

    Notes
    -----
    Half precision is computed in float32. Stable for logits of any size: 1 - p_t is never computed as a difference. NaN
    gives NaN; infinite logits give the limits. Sums are computed in float64 in one fixed order. Equal on every backend
    and for any number of threads. Differentiable in inputs: see `sigmoid_focal_loss_with_grad`.
    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017; torchvision.ops.sigmoid_focal_loss.

    Examples
    --------
    >>> sigmoid_focal_loss(np.array([2.0, -2.0]), np.array([1, 1])).round(4)
    array([0.0005, 0.4125])
    """
    if (ops := registered(__name__, inputs, targets)) is not None:
        return ops.sigmoid_focal_loss(inputs, targets, alpha, gamma, reduction, backend)
    return _sigmoid_focal("sigmoid_focal_loss", inputs, targets, alpha, gamma, reduction, False, backend)


def sigmoid_focal_loss_with_grad(
    inputs: Any,
    targets: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
    *,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """`sigmoid_focal_loss` and its gradient with respect to the inputs, in one pass.

    Parameters and errors as in `sigmoid_focal_loss`; a tensor that requires grad is taken as if detached.

    Returns
    -------
    loss : of the inputs' dtype; of their shape, or () where reduced
    grad : of the inputs' dtype and shape, gradient of the reduced loss; with reduction "none" that of its sum: multiply
        it by each loss's upstream gradient
    """
    return _sigmoid_focal("sigmoid_focal_loss_with_grad", inputs, targets, alpha, gamma, reduction, True, backend)


def _sigmoid_focal(
    op: str, inputs: Any, targets: Any, alpha: float, gamma: float, reduction: str, grad: bool, backend: str | None
) -> Any:
    x = _check.floats(op, "inputs", to_array(op, "inputs", inputs, differentiable=not grad, half=True))
    t = to_array(op, "targets", targets, half=True)
    if t.shape != x.shape:
        raise ValueError(f"{op}: targets must have shape {x.shape} as inputs, got {t.shape}")
    if t.dtype != x.dtype:  # other targets become the dtype of the computation
        if t.dtype.kind not in "biuf" and t.dtype != BFLOAT16:
            raise TypeError(f"{op}: targets must be boolean, integer or float, got {t.dtype}")
        t = (widen(t) if isinstance(t, np.ndarray) else t).astype(np.float64 if x.dtype == np.float64 else np.float32)
    t = check.require(t, t.dtype.newbyteorder("="))
    alpha = check.number(op, "alpha", alpha)
    if alpha > 1:
        raise ValueError(f"{op}: alpha must be at most 1, got {alpha}")
    gamma = check.non_negative(op, "gamma", gamma)
    if gamma > MAX_GAMMA:
        raise ValueError(f"{op}: gamma must be at most {MAX_GAMMA}, got {gamma}")
    reduction = check.choice(op, "reduction", reduction, REDUCTIONS)
    kernel: Any = backends.choose("sigmoid_focal_loss", backend, sigmoid_focal_loss_reference, x, t)
    loss, slope = kernel(x, t, alpha, gamma, reduction, grad)
    if reduction != "none" and isinstance(loss, np.ndarray):  # a float64 sum; on a GPU it is rounded already
        loss = rounded(loss, x.dtype)
    back = like(inputs)
    return (back(loss), back(slope)) if grad else back(loss)


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """A float64 sum in the dtype of its terms; half precision is rounded by way of float32."""
    with np.errstate(over="ignore"):
        return narrow(x.astype(np.float64 if dtype == np.float64 else np.float32), dtype)


# Coefficients of log(1 + e) = 2 atanh(z) = 2 z + z^3 * (a series in z^2), z = e / (2 + e) in [0, 1/3]: to half an ulp.
SERIES = {
    "f": (0.6666663885116577, 0.40007561445236206, 0.28236618638038635, 0.2685149908065796),
    "d": (
        0.6666666666666666, 0.40000000000014585, 0.2857142856710876, 0.22222222717427864, 0.18181789436132856,
        0.153855700649586, 0.1331414420965543, 0.12001072809587722, 0.08800738486148968, 0.16164045611951677,
    ),
}  # fmt: skip


def sigmoid_focal_loss_reference(
    inputs: Array, targets: Array, alpha: float, gamma: float, reduction: str, grad: bool
) -> tuple[Array, Array | None]:
    x, t = widen(inputs), widen(targets)
    number = x.dtype.type
    zero, one = number(0), number(1)
    weights = (number(alpha), number(1 - alpha)) if alpha >= 0 else (one, one)
    with np.errstate(all="ignore"):
        positive = x >= 0
        size = np.where(positive, x, zero - x)
        wrong = np.where(positive, one - t, t)  # the target of the less likely class
        e = exp_or_zero(zero - size)
        likely, log1p = _both(e)
        unlikely = e * likely
        ce = log1p + np.where(wrong <= 0, zero, wrong * size)  # not 0 * inf
        q = likely * wrong + unlikely * (one - wrong)  # 1 - p_t
        power, by_q = _power(q, gamma)  # q^gamma and its derivative
        weight = weights[0] * t + weights[1] * (one - t)
        loss = np.asarray(weight * (ce * power))
        reduced = narrow(loss, inputs.dtype) if reduction == "none" else mean_or_sum(loss, reduction)
        if not grad:
            return reduced, None
        turn = ((wrong + wrong) - one) * (likely * unlikely)
        slope = power * (wrong - unlikely) + np.where(unlikely > 0, ce * by_q * turn, zero)
        slope = (weight * slope) * number(share(x.size, reduction))
        return reduced, narrow(np.where(positive, slope, zero - slope), inputs.dtype)


def _both(e: Array) -> tuple[Array, Array]:
    """1 / (1 + e) and log(1 + e), e in [0, 1], with one division."""
    one = e.dtype.type(1)
    s, s2 = one + e, (one + one) + e
    both = one / (s * s2)
    z = (e * s) * both
    u = z * z
    series = SERIES[e.dtype.char]
    p = np.full_like(u, series[-1])
    for c in series[-2::-1]:
        p = p * u + e.dtype.type(c)
    return s2 * both, (z + z) + z * (u * p)


def _power(q: Array, gamma: float) -> tuple[Any, Any]:
    """q^gamma and its derivative."""
    number = q.dtype.type
    if gamma == 0:
        return number(1), number(0)
    if gamma == 1:
        return q, number(1)
    if gamma == 2:
        return q * q, q + q
    power = exp_or_zero(number(gamma) * log_positive(q))
    return power, number(gamma) * (power / q)
