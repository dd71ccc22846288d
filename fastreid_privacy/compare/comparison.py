"""A comparison from its file to what is known of every method."""

from __future__ import annotations

from ..collection.source import check_apart
from ..config import image_device
from ..core.errors import UserError, say
from ..core.lock import locked
from ..results.results_json import is_finished
from . import training
from .checking import check_inputs
from .methods import Methods, read_methods
from .protecting import raw_source
from .request import CompareRequest
from .stages import Finding, Stages


def run_comparison(request: CompareRequest) -> tuple[Methods, dict[str, Finding]]:
    """Train, protect, attack and use every method that is not finished yet.

    Returns:
        The methods, and what was found of each, in the order of the file.

    Raises:
        UserError: for a file, a config, data or an option that does not serve, before anything is trained;
            for a run that fails; and where the output folder holds the same method with other settings.
    """
    methods = read_methods(request.methods)
    if not 0 < request.schedule <= 1:
        raise UserError(f"--schedule {request.schedule}: give a share above 0, at most 1")
    if not 0 <= request.seed < 2**31:
        raise UserError(f"--seed {request.seed}: seeds are whole numbers from 0 to 2147483647")
    output = request.output.absolute()
    plan = training.Plan(methods.data, output, request.schedule, request.seed, request.device)
    configs = training.configs(plan, methods.methods)
    stages = Stages(request, methods, plan, configs, image_device(request.device, "--device"))
    check_apart(raw_source(methods.data).root, output)
    check_inputs(stages)
    output.mkdir(parents=True, exist_ok=True)
    in_use = f"another comparison writes to {output}; wait for its end, or choose another --output"
    with locked(output, in_use):
        training.check(plan, methods.methods, configs)
        for method in methods.methods:
            stages.keep(method)
        for method in training.in_order(methods.methods, configs):
            if method.name in configs and not is_finished(plan.run(method)):
                say(f"{method.name}: training its model")
                training.train(plan, method, configs[method.name])
        return methods, {method.name: stages.finding(method) for method in methods.methods}
