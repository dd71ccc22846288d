"""Alpha query expansion (fastreid's ``TEST.AQE``): each image becomes a mean of its nearest ones."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from ..core.errors import UserError
from .neighbours import as_array, nearest


def expand(
    query: np.ndarray | Tensor,
    gallery: np.ndarray | Tensor,
    *,
    times: int = 1,
    k: int = 5,
    alpha: float = 3.0,
    device: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Replace every image of both sides by the mean of its k nearest of both sides.

    Each of them is weighted by its cosine to the power of alpha. An image is among its own nearest. The sum
    is divided by k, not by the weights; features are averaged as they are and compared by the cosine only. A
    cosine below zero has no real power of a fractional alpha: such an image weighs nothing.

    Args:
        query: Q×D finite features of any float type.
        gallery: G×D.
        times: how often this is done, each time with what the time before gave; at least 1.
        k: 1 to Q + G.
        alpha: at least 0; 0 is the plain mean.
        device: where neighbours are searched, as of :func:`nearest`.

    Returns:
        Q×D and G×D, float32.

    Raises:
        UserError: when times, k or alpha are outside of these ranges.

    Example:
        >>> expand(np.eye(2), 3 * np.eye(2), k=2)[0]
        array([[2., 0.],
               [0., 2.]], dtype=float32)

    Reference:
        Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2019, section 3.4.
    """
    count = len(query) + len(gallery)
    if not 1 <= k <= count:
        raise UserError(
            f"query expansion over {k} images (TEST.AQE.QE_K) needs as many; query and gallery hold "
            f"{count} together"
        )
    if times < 1 or not 0 <= alpha < np.inf:
        raise UserError(
            f"query expansion was asked for {times} times with alpha {alpha}: give at least 1 "
            "(TEST.AQE.QE_TIME) and at least 0 (TEST.AQE.ALPHA)"
        )
    images = np.concatenate([as_array(query), as_array(gallery)], dtype=np.float32, casting="same_kind")
    for _ in range(times):
        distances, indices = nearest(images, images, k, device, metric="cosine")
        cosines = 1 - distances
        if alpha != int(alpha):
            np.maximum(cosines, 0, out=cosines)
        weights = csr_array(
            (np.power(cosines, alpha).ravel(), indices.ravel(), np.arange(0, count * k + 1, k)),
            shape=(count, count),
        )
        images = weights @ images / np.float32(k)
    return images[: len(query)], images[len(query) :]
