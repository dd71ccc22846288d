"""What can be found wrong with a comparison before anything is trained or written."""

from __future__ import annotations

from ..attack.grid import leaked_pairs
from ..attack.learned_people import check_foreign, stranger_learned_from_others
from ..attack.observers import load_observer
from ..attack.request import check_request
from ..attack.stranger import check_enough
from ..attack.subjects import read_foreign, read_subjects
from ..core.errors import UserError
from .stages import Stages


def check_inputs(stages: Stages) -> None:
    """Look at everything that the file and the options name.

    Raises:
        UserError: when there are too few people, a file is missing or damaged, methods do not have the same
            images in one size, or a finished run or the stranger has learned from some that are measured.
    """
    methods, request = stages.methods, stages.request
    raw = read_subjects(methods.data, methods.data)
    check_enough(raw, "Name a larger data set")
    leaked_pairs(request.pairs, len(raw.known))
    if methods.foreign:
        check_foreign(read_foreign(methods.foreign), raw.measured)
    if request.stranger:
        load_observer(request.stranger, stages.device, "stranger")
        stranger_learned_from_others(request.stranger, raw.measured)
    for method in methods.methods:
        check_request(stages.attack(method))
        if method.guard and stages.kind(method)[0] != "learned":
            raise UserError(
                f"{method.name}: guard is for trained anonymizers: a conventional operator's images are what "
                "theirs are held against"
            )
        if method.protected:
            missing = read_subjects(methods.data, str(method.protected)).alone - raw.alone
            if missing > 0:
                raise UserError(
                    f"{method.name}: {method.protected} has no file of {missing:,} of the raw images; "
                    "methods are compared on the same ones"
                )
    sizes = {method.name: stages.size_of(method) for method in methods.methods}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {height}×{width}" for name, (height, width) in sizes.items())
        raise UserError(f"images of one size are compared, and here are several (height×width): {told}")
    _ = stages.trained_on_others
    if methods.tasks:
        _ = stages.truth
