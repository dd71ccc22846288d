"""What an operator tells of itself: what its images depend on, their size, and what is to be accounted for.

An operator that maps by a network, or spends a privacy budget, is marked with :func:`described`. The package
has no such operator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Operator = TypeVar("Operator", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class Description:
    """What an operator with certain options is.

    Attributes:
        about: all that its images depend on besides the package's own options, in words and numbers that JSON
            can hold: the SHA-256 of a network's file, not its path. It is part of the anonymizer's
            fingerprint, and the manifest's first line keeps it.
        size: (height, width) of the images that it makes, where its network has one size: files are resized
            to it, and mapped in batches. None: every image keeps its own.
        account: the people on all images that were written (whole numbers; None: not known), to what the
            command prints at its end and the manifest's last line keeps.
    """

    about: Mapping[str, object]
    size: tuple[int, int] | None = None
    account: Callable[[Sequence[int | None]], Mapping[str, object]] | None = None


def described(describe: Callable[..., Description]) -> Callable[[Operator], Operator]:
    """Mark an operator with what describes it.

    Args:
        describe: gets the operator's options by name, also those that are left at their defaults; raises
            UserError for those that make no sense, or when a file that they name cannot be used. It is asked
            before any image is mapped.
    """

    def mark(operator: Operator) -> Operator:
        operator.describe = describe  # type: ignore[attr-defined]
        return operator

    return mark
