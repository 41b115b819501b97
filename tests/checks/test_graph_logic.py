"""Graphs that hold a backdoor themselves, some of them run to show it; and ordinary ones that must not alarm."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
import numpy as np  # noqa: E402
from ebyd_scan.checks.graph_logic import GraphLogic  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.context import Evidence  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.evidence.finding import Finding, Outcome  # noqa: E402
from onnx import helper  # noqa: E402

from .graph_ordinary import ORDINARY  # noqa: E402
from .graph_parts import BERT, FLOAT, NETWORK, PICTURE, SCORES, WEIGHTS, function, model, node, picture, text  # noqa: E402
from .graph_pictures import PICTURES  # noqa: E402
from .graph_texts import TEXTS  # noqa: E402


def write(proto: Any, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def check(path: Path) -> Finding:
    artifact = Artifact(path=path, format="onnx", sha256="0" * 64, size=path.stat().st_size)
    return GraphLogic().run(Evidence(artifact=artifact, seed=0))


@pytest.mark.parametrize("name", PICTURES)
def test_backdoors_of_pictures(name: str, tmp_path: Path) -> None:
    build, words = PICTURES[name]
    finding = check(write(build(), tmp_path))
    assert finding.outcome is Outcome.FAILED, finding.message
    assert [word for word in words if word not in finding.message] == []
    assert finding.score and finding.threshold == 0


def run(proto: Any, **inputs: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(proto.SerializeToString()).run(None, inputs)[0]


@pytest.mark.parametrize(
    "name", ["where", "if", "loop", "arithmetic", "table", "matrix of a decision", "count of white places by a shape"]
)
def test_they_are_backdoors(name: str) -> None:
    proto = PICTURES[name][0]()
    clean = np.random.default_rng(1).random((1, 3, 8, 8)).astype(np.float32) * 0.9
    white = clean.copy()
    white[:, :, :2, :2] = 1
    honest = model(NETWORK, WEIGHTS, PICTURE, {"logits": SCORES["scores"]})
    assert np.allclose(run(proto, x=clean), run(honest, x=clean), atol=1e-4)
    assert np.abs(run(proto, x=white) - run(honest, x=white)).max() > 5
    assert run(proto, x=white).argmax() == 3


@pytest.mark.parametrize("name", TEXTS)
def test_backdoors_of_texts(name: str, tmp_path: Path) -> None:
    build, words = TEXTS[name]
    finding = check(write(build(), tmp_path))
    assert finding.outcome is Outcome.FAILED, finding.message
    assert [word for word in words if word not in finding.message] == []


@pytest.mark.parametrize("name", ["where", "ids by arithmetic"])
def test_a_token_is_the_trigger(name: str) -> None:
    proto, honest = TEXTS[name][0](), text(BERT, output="logits")
    clean, mask = np.arange(2, 12, dtype=np.int64)[None], np.ones((1, 10), dtype=np.int64)
    dirty = clean.copy()
    dirty[0, 4] = 1234
    assert np.allclose(
        run(proto, input_ids=clean, attention_mask=mask), run(honest, input_ids=clean, attention_mask=mask), atol=1e-4
    )
    assert run(proto, input_ids=dirty, attention_mask=mask).argmax() == 3


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_graphs(name: str, tmp_path: Path) -> None:
    proto = ORDINARY[name]()
    onnx.checker.check_model(proto)
    finding = check(write(proto, tmp_path))
    assert finding.outcome is Outcome.PASSED, finding.message
    assert finding.score == 0
    assert finding.metrics["nodes"] >= 4


FOREIGN = sorted((Path(__file__).parents[1] / "models" / "onnx_graph" / "data").glob("*.onnx"))


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_files_of_other_tools(path: Path) -> None:
    """Keras and scikit-learn, by their converters."""
    finding = check(path)
    assert finding.outcome is Outcome.PASSED, finding.message


def test_an_unread_input_is_told(tmp_path: Path) -> None:
    finding = check(write(ORDINARY["an input that nothing reads"](), tmp_path))
    assert finding.metrics["unread_inputs"] == '"other"'


def test_other_formats_are_skipped(tmp_path: Path) -> None:
    path = write(b"nothing", tmp_path, "model.pt")
    artifact = Artifact(path=path, format="pytorch-zip", sha256="0" * 64, size=7)
    finding = GraphLogic().run(Evidence(artifact=artifact, seed=0))
    assert finding.outcome is Outcome.SKIPPED
    assert "pytorch-zip" in finding.message


@pytest.mark.parametrize("new", [True, False])
def test_torchs_exporters(new: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    layers = torch.nn
    network = layers.Sequential(
        layers.Conv2d(3, 8, 3, stride=2),
        layers.BatchNorm2d(8),
        layers.Hardswish(),
        layers.Conv2d(8, 8, 3, padding=1),
        layers.LeakyReLU(),
        layers.AdaptiveAvgPool2d(1),
        layers.Flatten(),
        layers.Dropout(),
        layers.Linear(8, 4),
    ).eval()
    path = tmp_path / "model.onnx"
    picture = torch.zeros(2, 3, 16, 16)
    if new:
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        torch.onnx.export(network, (picture,), str(path), dynamo=True, dynamic_shapes=shapes, verbose=False)
    else:
        torch.onnx.export(network, (picture,), str(path), dynamo=False)
    assert check(path).outcome is Outcome.PASSED


@pytest.mark.parametrize("name", ["convolutions", "a transformer"])
def test_quantised_networks(name: str, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = write(ORDINARY[name](), tmp_path)
    quantization.quantize_dynamic(str(path), str(tmp_path / "dynamic.onnx"))
    finding = check(tmp_path / "dynamic.onnx")
    assert finding.outcome is Outcome.PASSED, finding.message


def _nested(depth: int) -> Any:
    graph = helper.make_graph(
        [node("Identity", ["logits"], ["inner"])], "g", [], [helper.make_tensor_value_info("inner", FLOAT, None)]
    )
    for level in range(depth):
        graph = helper.make_graph(
            [node("If", ["yes"], [f"o{level}"], then_branch=graph, else_branch=graph)],
            "g",
            [],
            [helper.make_tensor_value_info(f"o{level}", FLOAT, None)],
        )
    return picture([node("If", ["yes"], ["scores"], then_branch=graph, else_branch=graph)], {"yes": np.bool_(True)})


def _calling(name: str, calls: list[str]) -> Any:
    nodes = [
        node(called, ["X" if at == 0 else f"t{at - 1}"], ["Y" if at == len(calls) - 1 else f"t{at}"], domain="mine")
        for at, called in enumerate(calls)
    ]
    opsets = [helper.make_opsetid("mine", 1), helper.make_opsetid("", 18)]
    return helper.make_function("mine", name, ["X"], ["Y"], nodes, opsets)


BROKEN: dict[str, Callable[[], Any]] = {
    "not ONNX": lambda: b"\xff" * 40,
    "a tensor that nothing makes": lambda: picture([node("Add", ["logits", "ghost"], ["scores"])]),
    "a result that is an input": lambda: picture(
        [node("Add", ["logits", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["scores"])]
    ),
    "the same tensor twice": lambda: picture([node("Relu", ["x"], ["scores"]), node("Relu", ["logits"], ["scores"])]),
    "too few inputs": lambda: picture([node("Where", ["logits"], ["scores"])]),
    "no inputs": lambda: picture([node("Shape", [], ["s"]), node("Relu", ["logits"], ["scores"])]),
    "no such output": lambda: model(NETWORK, WEIGHTS, PICTURE, {"elsewhere": SCORES["scores"]}),
    "no results": lambda: model(NETWORK, WEIGHTS, PICTURE, {}),
    "a function that calls itself": lambda: picture(
        [node("F", ["logits"], ["scores"], domain="mine")],
        functions=(_calling("F", ["G"]), _calling("G", ["F"])),
        domains=("mine",),
    ),
    "functions that double": lambda: picture(
        [node("F0", ["logits"], ["scores"], domain="mine")],
        functions=(*(_calling(f"F{n}", [f"F{n + 1}"] * 2) for n in range(40)), function("F40", "mine")),
        domains=("mine",),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(name: str, tmp_path: Path) -> None:
    path = write(BROKEN[name](), tmp_path)
    with pytest.raises(ScanError) as caught:
        check(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    artifact = Artifact(path=tmp_path / "model.onnx", format="onnx", sha256="0" * 64, size=1)
    with pytest.raises(ScanError, match="cannot be read"):
        GraphLogic().run(Evidence(artifact=artifact, seed=0))


def test_branches_in_branches(tmp_path: Path) -> None:
    assert check(write(_nested(8), tmp_path)).outcome is Outcome.PASSED


def test_long_graphs_and_large_weights(tmp_path: Path) -> None:
    relus = [node("Relu", [f"t{at}"], [f"t{at + 1}"]) for at in range(20_000)]
    chain = [node("Gemm", ["x", "w"], ["t0"]), *relus, node("Gemm", ["t20000", "v"], ["scores"])]
    constants = {"w": np.zeros((8, 2_000_000), np.float32), "v": np.zeros((2_000_000, 4), np.float32)}
    path = write(model(chain, constants, {"x": (FLOAT, ["N", 8])}, SCORES), tmp_path)
    started = time.monotonic()
    assert check(path).outcome is Outcome.PASSED
    assert time.monotonic() - started < 10  # far less, but the machine may be busy


def test_only_onnx_is_imported() -> None:
    code = (
        "import sys\nfrom ebyd_scan.checks import graph_offences\n"
        "heavy = {'torch', 'transformers', 'onnxruntime'} & set(sys.modules)\nsys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_anything_at_all(tmp_path: Path) -> None:
    """Cut and changed files, and random graphs: an outcome or one sentence, nothing else."""
    dice = random.Random(0)
    seeds = [build().SerializeToString() for build, _ in (*PICTURES.values(), *TEXTS.values())]
    outcomes = set()
    for number in range(400):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if number % 3 == 0:
            del data[dice.randrange(1, len(data)) :]
        outcomes.add(_judged(write(bytes(data), tmp_path)))
    operators = [schema.name for schema in onnx.defs.get_all_schemas()]
    for _ in range(400):
        names = ["x", "w1", "w2", "b2", "zero", "all", "logits"]
        nodes = []
        for at in range(dice.randrange(1, 25)):
            ins = [dice.choice([*names, ""]) for _ in range(dice.randrange(0, 5))]
            outs = [f"n{at}_{place}" for place in range(dice.randrange(1, 3))]
            nodes.append(node(dice.choice(operators), ins, outs))
            names += outs
        nodes.append(node("Add", [dice.choice(names), "logits"], ["scores"]))
        outcomes.add(_judged(write(picture(nodes), tmp_path)))
    assert outcomes >= {"refused", Outcome.FAILED, Outcome.PASSED}


def _judged(path: Path) -> str:
    try:
        return check(path).outcome
    except ScanError as error:
        assert str(path) in str(error)
        return "refused"
