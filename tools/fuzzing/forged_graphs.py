"""ONNX graphs as a hostile person would write them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from itertools import starmap
from typing import Any

from .forging import Forge, changed_config
from .inputs import small_graph, summed

# -- .onnx ---------------------------------------------------------------------------------------------------


def _about(content: bytes) -> dict[str, str]:
    import onnx

    return {item.key: item.value for item in onnx.load_from_string(content).metadata_props}


def _graph_with(content: bytes, nodes: list, tensors: list) -> bytes:
    return small_graph(_about(content), nodes, tensors)


def _onnx_config(content: bytes, rng: random.Random) -> bytes:
    about = _about(content)
    return small_graph({**about, "config": changed_config(about["config"], rng)})


def _onnx_loop(content: bytes, rng: random.Random) -> bytes:
    """A loop that does not end, or not soon; a branch or a scan with one in it."""
    from onnx import TensorProto, helper

    number = lambda name, value: helper.make_tensor(name, TensorProto.INT64, [], [value])  # noqa: E731
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["on_again"]),
            helper.make_node("Add", ["n", "one"], ["n_again"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("on_again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("n_again", TensorProto.INT64, []),
        ],
        [number("one", 1)],
    )
    loop = helper.make_node("Loop", ["trips", "go", "zero"], ["counted"], body=body)
    tensors = [
        number("trips", rng.choice((2**62, 10**9))),
        helper.make_tensor("go", TensorProto.BOOL, [], [True]),
        number("zero", 0),
    ]
    return _graph_with(content, _kept(loop, "counted"), tensors)


def _kept(node: Any, name: str) -> list:
    """A node whose result the picture depends on, lest it be dropped: plus nought times it."""
    from onnx import TensorProto, helper

    nought = helper.make_node(
        "Constant", [], ["nought"], value=helper.make_tensor("v", TensorProto.FLOAT, [], [0])
    )
    return [
        node,
        helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["cast"], ["reduced"], keepdims=0),
        nought,
        helper.make_node("Mul", ["reduced", "nought"], ["nothing"]),
        helper.make_node("Add", ["pictures", "nothing"], ["images"]),
    ]


def _onnx_huge(content: bytes, rng: random.Random) -> bytes:
    """A node that makes terabytes of nothing."""
    from onnx import TensorProto, helper

    def shape(name: str, values: list[int]) -> Any:
        return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)

    size = rng.choice(([2**40], [2**20, 2**20], [2**33], [10**6, 10**4]))
    one = helper.make_tensor("one", TensorProto.FLOAT, [1] * len(size), [1.0])
    scalar = lambda name, value: helper.make_tensor(name, TensorProto.INT64, [], [value])  # noqa: E731
    node, tensors = rng.choice(
        (
            (helper.make_node("ConstantOfShape", ["size"], ["huge"]), [shape("size", size)]),
            (helper.make_node("Expand", ["one", "size"], ["huge"]), [one, shape("size", size)]),
            (helper.make_node("Tile", ["one", "size"], ["huge"]), [one, shape("size", size)]),
            (
                helper.make_node("Range", ["start", "stop", "step"], ["huge"]),
                [scalar("start", 0), scalar("stop", 2**40), scalar("step", 1)],
            ),
            (helper.make_node("RandomNormal", [], ["huge"], shape=size), []),
        )
    )
    return _graph_with(content, _kept(node, "huge"), tensors)


def _onnx_external(content: bytes, rng: random.Random) -> bytes:
    """Weights in another file."""
    import onnx

    model = onnx.load_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {
        "location": rng.choice(("raw/one.png", "/etc/passwd", "../x")),
        "length": "324",
    }.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def _onnx_fields(content: bytes, rng: random.Random) -> bytes:
    """One field of the model changed, with a checksum that fits."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    dims = graph.input[0].type.tensor_type.shape.dim

    def dim(place: int, value: int) -> None:
        dims[place].dim_value = value

    def values(value: float) -> None:
        graph.initializer[0].raw_data = struct.pack("<f", value) * 81

    changes: list[Callable[[], Any]] = [
        lambda: dim(2, 2**40),
        lambda: list(starmap(dim, ((2, 65536), (3, 1500)))),
        lambda: dim(1, 1),
        lambda: dim(3, 0),
        lambda: values(float("nan")),
        lambda: values(float("inf")),
        lambda: graph.ClearField("output"),
        lambda: graph.ClearField("node"),
        lambda: setattr(graph.node[0], "op_type", rng.choice(("x", "Loop", "Conv" * 1000, ""))),
        lambda: setattr(graph.node[0], "domain", "com.microsoft"),
        lambda: graph.initializer[0].dims.append(2**40),
        lambda: graph.initializer[0].dims.__setitem__(0, 2**40),
        lambda: setattr(model, "ir_version", 2**40),
        lambda: setattr(model.opset_import[0], "version", rng.choice((0, 1, 10**6))),
        lambda: model.metadata_props.add(key="config", value="x"),
        lambda: model.ClearField("metadata_props"),
        lambda: graph.node[0].attribute[0].ints.extend([2**40] * 4),
        lambda: graph.node[0].attribute[0].ints.__setitem__(slice(None), [2**30] * 4),
    ]
    rng.choice(changes)()
    for item in model.metadata_props:
        if item.key == "sha256":
            item.value = "0" * 64
    result = model.SerializeToString()
    return summed(result) if result.count(b"0" * 64) == 1 else result


GRAPHS: dict[str, Forge] = {
    "config": _onnx_config,
    "loop": _onnx_loop,
    "huge tensor": _onnx_huge,
    "other file": _onnx_external,
    "fields": _onnx_fields,
}
