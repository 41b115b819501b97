"""Each tensor goes back to where it lay, in the type that it had there, and nothing else is touched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402
from ebyd_scan.checks.onnx_read import external_files, graphs  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph import write  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.module import OnnxClassifier  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.write import prove_written, write_onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from .written import (  # noqa: E402
    RNG,
    SMALL,
    filled,
    goes_back,
    graph_of,
    load,
    merged_again,
    move,
    numbers_of,
    parsed,
    pooled,
    refused,
    save,
    scores,
    typed_field,
    without_numbers,
)


def _stored_as(kind: int, typed: bool) -> Any:
    weight = helper.make_tensor("w", kind, [3, 3], RNG.standard_normal(9).tolist())
    raw = numpy_helper.from_array(numpy_helper.to_array(weight), "w")
    return typed_field(raw) if typed else raw


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed field"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
def test_a_tensor_keeps_its_type(kind: int, typed: bool, tmp_path: Path) -> None:
    nodes = pooled(
        helper.make_node("Cast", ["w"], ["full"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["p", "full"], ["y"]),
    )
    path = save(tmp_path, graph_of(nodes, [_stored_as(kind, typed)]))
    module = load(path)
    with torch.no_grad():
        module.w[1] += 1 / 3
    out = tmp_path / "repaired.onnx"
    write_onnx(path, module, out)
    (before,), (after,) = parsed(path).graph.initializer, parsed(out).graph.initializer
    assert (after.data_type, after.HasField("raw_data")) == (kind, not typed)
    old, new = numpy_helper.to_array(before), numpy_helper.to_array(after)
    assert old[[0, 2]].tobytes() == new[[0, 2]].tobytes()  # a double keeps its last digits
    assert new[1].tobytes() == module.w[1].detach().numpy().astype(old.dtype).tobytes()
    assert without_numbers(out) == without_numbers(path)
    assert prove_written(out, module, torch.rand(4, *SMALL)) < 1e-6


@pytest.mark.parametrize(("number", "says"), [(1e6, "float16, cannot"), (float("nan"), "not finite")])
def test_numbers_that_cannot_be_written(number: float, says: str, tmp_path: Path) -> None:
    nodes = pooled(
        helper.make_node("Cast", ["w"], ["full"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["p", "full"], ["y"]),
    )
    path = save(tmp_path, graph_of(nodes, [_stored_as(TensorProto.FLOAT16, False)]))
    module = load(path)
    with torch.no_grad():
        module.w[2, 1] = number
    refused(path, module, tmp_path / "out.onnx", says)


def _tied(path: Path, ir: int = 8, branch: bool = False) -> Path:
    """Scale, variance and another scale are one initialiser of the file; the first is read by a node itself too."""
    nodes = [
        helper.make_node("Identity", ["ones"], ["variance"], name="one"),
        helper.make_node("Identity", ["twos"], ["scale"], name="two"),
        helper.make_node("Identity", ["twos"], ["weight"], name="three"),
        helper.make_node("BatchNormalization", ["x", "scale", "b", "ones", "variance"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["p"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["p", "weight"], ["y"]),
    ]
    held = [
        numpy_helper.from_array(np.ones(3, np.float32), "ones"),
        numpy_helper.from_array(np.full(3, 2, np.float32), "twos"),
        filled("b", 3),
    ]
    graph = graph_of(nodes, held)
    if ir < 4:
        graph.input.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("ones", "twos", "b")
        )
    return save(path, graph, ir=ir, opset=9)


@pytest.mark.parametrize("ir", [3, 8])
def test_equal_tensors_that_were_merged(ir: int, tmp_path: Path) -> None:
    path, out, pixels = _tied(tmp_path, ir), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    module = load(path)
    with torch.no_grad():
        module.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
        module.variance.copy_(torch.tensor([4.0, 5.0, 6.0]))
    write_onnx(path, module, out)
    assert without_numbers(merged_again(out, path)) == without_numbers(path) or ir == 3
    assert [value.name for value in parsed(out).graph.input][4:] == (
        ["variance_value", "weight_value"] if ir == 3 else []
    )
    # `twos` is read by Identities only: the first takes it over, the other holds what it held. `ones` is read itself.
    held = numbers_of(out)
    assert list(held) == ["ones", "twos", "b", "variance_value", "weight_value"]
    assert held["ones"].tolist() == [1, 1, 1]
    assert held["variance_value"].tolist() == [4, 5, 6]
    assert held["twos"].tolist() == [1, 2, 3]
    assert held["weight_value"].tolist() == [2, 2, 2]
    torch.testing.assert_close(scores(out, pixels), module(pixels).detach())
    assert prove_written(out, module, pixels) < 1e-5
    again = load(out)
    assert all(torch.equal(again.get_buffer(k), v) for k, v in module.named_buffers())


def test_merged_tensors_of_which_the_shared_one_changes(tmp_path: Path) -> None:
    path, out, pixels = _tied(tmp_path), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    module = load(path)
    with torch.no_grad():
        module.ones.copy_(torch.tensor([0.5, 0.6, 0.7]))
        module.scale.fill_(7)
        module.weight.fill_(7)
    write_onnx(path, module, out)
    held = numbers_of(out)  # `variance` has the ones of old, `twos` has changed for both that read it
    assert list(held) == ["ones", "twos", "b", "variance_value"]
    assert held["variance_value"].tolist() == [1, 1, 1]
    assert held["twos"].tolist() == [7, 7, 7]
    torch.testing.assert_close(scores(out, pixels), module(pixels).detach())


def test_an_identity_of_an_identity_and_a_name_that_is_taken(tmp_path: Path) -> None:
    nodes = pooled(
        helper.make_node("Identity", ["w"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Mul", ["p", "w"], ["b_value"]),
        helper.make_node("Mul", ["b_value", "b"], ["y"]),
    )
    path, out, pixels = save(tmp_path, graph_of(nodes, [filled("w", 3)])), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    module = load(path)
    assert set(module.names.values()) == {"w", "b"}
    with torch.no_grad():
        module.w.fill_(2)
        module.b.fill_(3)
    write_onnx(path, module, out)
    assert {name: array.tolist() for name, array in numbers_of(out).items()} == {"w": [2] * 3, "b_value_": [3] * 3}
    torch.testing.assert_close(scores(out, pixels), module(pixels).detach())


def test_what_other_outputs_need_stays(tmp_path: Path) -> None:
    nodes = pooled(
        helper.make_node("Identity", ["w"], ["a"]),
        helper.make_node("Mul", ["p", "a"], ["y"]),
        helper.make_node("Neg", ["w"], ["other"]),
    )
    graph = graph_of(nodes, [filled("w", 3)])
    graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [3]))
    path, out, pixels = save(tmp_path, graph), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    module = move(load(path), 1.0)
    assert list(module.names.values()) == ["a"]
    write_onnx(path, module, out)
    y, other = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"]).run(None, {"x": pixels.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), module(pixels).detach())
    assert np.array_equal(other, -numbers_of(path)["w"])


def test_merged_tensors_beside_the_file(tmp_path: Path) -> None:
    path, out, pixels = _tied(tmp_path), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    module = load(path)
    with torch.no_grad():
        module.variance.fill_(9)
    write_onnx(path, module, out)
    assert external_files(parsed(out)) == ["out.onnx.data"]
    assert all(tensor.data_location == TensorProto.EXTERNAL for tensor in parsed(out).graph.initializer)
    torch.testing.assert_close(scores(out, pixels), module(pixels).detach())


def test_one_tensor_that_several_nodes_read(tmp_path: Path) -> None:
    nodes = pooled(helper.make_node("MatMul", ["p", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"]))
    path = save(tmp_path, graph_of(nodes, [filled("w", 3, 3)]))
    goes_back(path, move(load(path), 1.0), torch.rand(4, *SMALL))


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed field"])
def test_weights_in_constant_nodes(typed: bool, tmp_path: Path) -> None:
    weight = typed_field(filled("inside", 3, 3)) if typed else filled("inside", 3, 3)
    nodes = pooled(
        helper.make_node("Constant", [], ["w"], name="holds w", value=weight),
        helper.make_node("Identity", ["w"], ["v"]),
        helper.make_node("MatMul", ["p", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    )
    path = save(tmp_path, graph_of(nodes, []))
    out = tmp_path / "repaired.onnx"
    module, pixels = move(load(path), 1.0), torch.rand(4, *SMALL)
    write_onnx(path, module, out)
    node = parsed(out).graph.node[1]
    assert (node.name, node.attribute[0].t.name, node.attribute[0].t.HasField("raw_data")) == (
        "holds w",
        "inside",
        not typed,
    )
    assert np.array_equal(numpy_helper.to_array(node.attribute[0].t), module.w.detach().numpy())
    assert list(numbers_of(out)) == ["v_value"]
    torch.testing.assert_close(scores(out, pixels), module(pixels).detach())


@pytest.mark.parametrize("attribute", ["value_floats", "value_float"])
def test_plain_floats_in_constant_nodes(attribute: str, tmp_path: Path) -> None:
    given: Any = [1.0, 2.0, 3.0] if attribute == "value_floats" else 4.0
    nodes = pooled(
        helper.make_node("Constant", [], ["c"], **{attribute: given}), helper.make_node("Mul", ["p", "c"], ["y"])
    )
    path, out, pixels = save(tmp_path, graph_of(nodes, [])), tmp_path / "out.onnx", torch.rand(4, *SMALL)
    constant = torch.tensor(given)

    def taken_out(graph: Any, *arguments: Any, **more: Any) -> Any:
        plan = real(graph, *arguments, **more)
        return dataclasses.replace(plan, nodes=(plan.nodes[0], plan.nodes[2]), tensors={"c": constant})

    real = write.plan_of
    plan = real(parsed(path).graph, {"": 17}, wanted=("y",))
    assert [node.operator for node in plan.nodes] == ["ReduceMean", "Constant", "Mul"]
    with pytest.MonkeyPatch.context() as patch:  # as if such constants were parameters
        patch.setattr(write, "plan_of", taken_out)
        module = OnnxClassifier(taken_out(parsed(path).graph, {"": 17}, wanted=("y",)), "x").eval()
        with torch.no_grad():
            module.c.mul_(2)
        write_onnx(path, module, out)
    torch.testing.assert_close(scores(out, pixels), module(pixels).detach())
    assert helper.get_attribute_value(parsed(out).graph.node[1].attribute[0]) == (2 * constant).tolist()


def _branched(folder: Path, names: tuple[str, str] = ("wa", "wb")) -> Path:
    def branch(name: str, weight: str, constant: bool) -> Any:
        tensor = filled(weight, 3, 3)
        nodes = [helper.make_node("MatMul", ["p", weight], [f"out {name}"])]
        if constant:
            nodes.insert(0, helper.make_node("Constant", [], [weight], value=tensor))
        value = helper.make_empty_tensor_value_info(f"out {name}")
        return helper.make_graph(nodes, name, [], [value], [] if constant else [tensor])

    nodes = pooled(
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "half"], ["bright"]),
        helper.make_node(
            "If", ["bright"], ["y"], then_branch=branch("a", names[0], False), else_branch=branch("b", names[1], True)
        ),
    )
    return save(folder, graph_of(nodes, [numpy_helper.from_array(np.array(0.5, np.float32), "half")]))


def test_weights_in_branches(tmp_path: Path) -> None:
    path = _branched(tmp_path)
    module = load(path)
    out = tmp_path / "out.onnx"
    assert {"wa", "wb"} <= {module.names[key] for key, _ in module.named_parameters()}
    write_onnx(path, move(module, 1.0), out)
    assert without_numbers(out) == without_numbers(path)
    for brightness in (0.2, 1.0):
        pixels = torch.full((2, *SMALL), brightness)
        torch.testing.assert_close(scores(out, pixels), module(pixels).detach())
        assert not torch.allclose(scores(out, pixels), scores(path, pixels))
        assert prove_written(out, module, pixels) < 1e-5
    assert sum(len(graph.initializer) for graph in graphs(parsed(out).graph)) == 2


def test_branches_that_use_the_same_name(tmp_path: Path) -> None:
    """The module has one place for a name: two tensors cannot share it."""
    with pytest.raises(ScanError, match="two branches of the graph have a tensor called w"):
        load(_branched(tmp_path, ("w", "w")))


def test_coefficients_of_scikit_learn(tmp_path: Path) -> None:
    """They lie in attributes; `linear.py` makes tensors of them."""
    numbers = {"coefficients": RNG.standard_normal(144).tolist(), "intercepts": [0.1, 0.2, 0.3]}
    more: Any = {"classlabels_ints": [0, 1, 2], "post_transform": "SOFTMAX", "domain": "ai.onnx.ml", **numbers}
    node = helper.make_node("LinearClassifier", ["x"], ["label", "y"], name="linear", **more)
    graph = graph_of([node], [])
    graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 48]))
    path, out = save(tmp_path, graph), tmp_path / "out.onnx"
    model = parsed(path)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    path.write_bytes(model.SerializeToString())
    module, pixels = move(load(path), 1.0), torch.rand(5, *SMALL)
    write_onnx(path, module, out)
    (before,), (after,) = parsed(path).graph.node, parsed(out).graph.node
    changed = [one.name for one, other in zip(before.attribute, after.attribute, strict=True) if one != other]
    assert sorted(changed) == ["coefficients", "intercepts"]
    torch.testing.assert_close(scores(out, pixels.flatten(1)), module(pixels).detach().softmax(1))
    assert prove_written(out, module, pixels) < 1e-5


def _function(beside: str | None = None) -> Any:
    tensor = filled("inside", 3)
    if beside:
        tensor.ClearField("raw_data")
        onnx.external_data_helper.set_external_data(filled("inside", 3), beside)
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", beside
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["h"]),
        helper.make_node("Constant", [], ["c"], value=tensor),
        helper.make_node("Mul", ["h", "c"], ["r"]),
    ]
    return helper.make_function("local", "Layer", ["a", "w"], ["r"], nodes, [helper.make_opsetid("", 17)])


def _with_functions(folder: Path, beside: str | None = None) -> Path:
    nodes = pooled(
        helper.make_node("Layer", ["p", "w1"], ["h"], domain="local", name="first"),
        helper.make_node("Layer", ["h", "w2"], ["y"], domain="local", name="second"),
    )
    graph = graph_of(nodes, [filled("w1", 3, 3), filled("w2", 3, 3)])
    return save(folder, graph, functions=[_function(beside)], ir=9)


def test_functions_stay(tmp_path: Path) -> None:
    path = _with_functions(tmp_path)
    module = load(path)
    with torch.no_grad():
        module.w1 += 1
        module.w2 -= 1
    out = goes_back(path, module, torch.rand(4, *SMALL))
    assert parsed(out).functions == parsed(path).functions


def test_what_a_function_holds_cannot_be_changed(tmp_path: Path) -> None:
    path = _with_functions(tmp_path)
    refused(path, move(load(path)), tmp_path / "out.onnx", "is no tensor of the graph but made in a function")


def test_weights_of_functions_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _with_functions(tmp_path, beside="w.bin")
    assert external_files(parsed(path)) == ["w.bin"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScanError, match="outside its own folder"):
        load(_with_functions(tmp_path, beside="../w.bin"))
    path = _with_functions(tmp_path, beside="w.bin")
    (tmp_path / "w.bin").write_bytes(np.arange(3, dtype=np.float32).tobytes())
    module = load(path)
    with torch.no_grad():
        module.w1 += 1
    (tmp_path / "else").mkdir()
    write_onnx(path, module, tmp_path / "else" / "out.onnx")
    assert external_files(parsed(tmp_path / "else" / "out.onnx")) == ["out.onnx.data"]
    assert prove_written(tmp_path / "else" / "out.onnx", module, torch.rand(4, *SMALL)) < 1e-5
