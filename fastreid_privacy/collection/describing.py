"""Raw pictures to what is sealed to search keys: their Re-ID features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..keys.sealing import Sealer
from ..keys.templates import Searchable, packed_template
from .work import Loaded


@dataclass(frozen=True)
class Describer:
    """Makes the templates of raw pictures, a batch at a time. Several threads call it.

    Attributes:
        seal: to whom templates are sealed.
        model: fingerprint of the Re-ID model.
        prepare: a picture, uint8 H×W×3, RGB, of any size, to what the model sees, 3×H×W.
        features: N×3×H×W to N×D, on the CPU.
    """

    seal: Sealer
    model: str
    prepare: Callable[[np.ndarray], Tensor]
    features: Callable[[Tensor], Tensor]

    def __call__(self, loaded: Sequence[Loaded]) -> None:
        """Give each its template, in place of what the model sees of it.

        Raises:
            UserError: as :func:`fastreid_privacy.keys.templates.packed_template`.
        """
        seen = [each.seen for each in loaded if each.seen is not None]
        if not seen:
            return
        for each, feature in zip(loaded, self.features(torch.stack(seen)).numpy(), strict=True):
            each.template = Searchable(packed_template(feature, self.model), self.seal.keys)
            each.seen = None
