"""Numba kernels of masks, with the signatures of the references. See `fastdet._core.numba_jit`."""

from fastdet.masks._numba_components import connected_components as connected_components
