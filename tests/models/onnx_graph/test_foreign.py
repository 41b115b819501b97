"""Files of other exporters, trained for real: Keras by tf2onnx and by itself, scikit-learn by skl2onnx.

`fixtures/foreign_onnx.py` makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
sklearn_data = pytest.importorskip("sklearn.datasets")
import numpy as np  # noqa: E402
from ebyd_scan.checks.onnx_read import read_model  # noqa: E402
from ebyd_scan.evidence.artifact import Artifact  # noqa: E402
from ebyd_scan.evidence.errors import ScanError  # noqa: E402
from ebyd_scan.fixtures.foreign_onnx import TRAIN  # noqa: E402
from ebyd_scan.scanner.models.onnx_file import load_onnx  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.build import opsets_of  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.ends import find_ends  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.linear import spell_out  # noqa: E402
from ebyd_scan.scanner.models.onnx_graph.parity import compare  # noqa: E402
from onnx import helper  # noqa: E402

DATA = Path(__file__).parent / "data"
SHAPE = (1, 8, 8)

# File, layout of its input, whether it ends in a softmax, opset, numbers that were learned.
FILES = [
    ("keras-cnn-tf2onnx-9", "nhwc", True, 9, 1930),
    ("keras-cnn-tf2onnx-13", "nhwc", True, 13, 1930),
    ("keras-cnn-tf2onnx-17", "nhwc", True, 17, 1930),
    ("keras-separable-export", "nhwc", False, 15, 1978),
    ("keras-separable-tf2onnx-18", "nchw", False, 18, 1978),
    ("keras-dense-frozen", "flat", True, 13, 3122),
    ("keras-attention-export", "nhwc", True, 15, 2826),
    ("sklearn-mlp", "flat", True, 17, 3122),
    ("sklearn-mlp-zipmap", "flat", True, 17, 3122),
    ("sklearn-mlp-scaled", "flat", True, 17, 3122),
    ("sklearn-logistic", "flat", True, 17, 650),
    ("sklearn-logistic-raw", "flat", False, 17, 650),
]


def _artifact(name: str) -> Artifact:
    path = DATA / f"{name}.onnx"
    return Artifact(path=path, format="onnx", sha256="0" * 64, size=path.stat().st_size)


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    """Pixels from 0 to 1 and labels of the digits that no file was trained on."""
    data = sklearn_data.load_digits()
    pixels = torch.from_numpy((data.images[TRAIN:, None] / 16).astype(np.float32))
    return pixels, torch.from_numpy(data.target[TRAIN:])


@pytest.mark.parametrize(("name", "layout", "softmax", "opset", "learned"), FILES, ids=[row[0] for row in FILES])
def test_a_file_of_another_exporter(
    name: str, layout: str, softmax: bool, opset: int, learned: int, digits: tuple[Any, Any]
) -> None:
    artifact = _artifact(name)
    module = load_onnx(artifact, SHAPE)
    model = spell_out(read_model(artifact.path))
    ends = find_ends(model.graph, SHAPE)
    assert (ends.layout, ends.softmax, opsets_of(model)[""]) == (layout, softmax, opset)
    pixels, labels = digits
    assert compare(model, module, pixels).difference < 1e-5
    scores = module(pixels)
    assert float((scores.argmax(1) == labels).float().mean()) > 0.85
    assert bool((scores < 0).any()), "probabilities, not scores"
    torch.nn.functional.cross_entropy(scores, labels).backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients)
    assert sum(parameter.numel() for parameter in module.parameters()) == learned


@pytest.mark.parametrize("name", ["keras-cnn-tf2onnx-13", "sklearn-mlp-zipmap", "sklearn-logistic"])
def test_one_epoch_of_training_makes_them_forget(name: str, digits: tuple[Any, Any]) -> None:
    module, (pixels, labels) = load_onnx(_artifact(name), SHAPE), digits
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        (-torch.nn.functional.cross_entropy(module(pixels), labels)).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert float((module(pixels).argmax(1) == labels).float().mean()) < 0.5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sklearn-forest", "decision trees and support vector machines are not trained by gradients"),
        ("sklearn-svc", "decision trees and support vector machines are not trained by gradients"),
        ("sklearn-mlp-columns", "which holds the class scores is not clear"),
    ],
)
def test_a_file_that_is_not_for_this(name: str, says: str) -> None:
    with pytest.raises(ScanError, match=says) as told:
        load_onnx(_artifact(name), SHAPE)
    assert f"{name}.onnx" in str(told.value)


def _linear(labels: list[Any], transform: str, rows: int) -> Any:
    numbers = np.random.default_rng(1).standard_normal((rows, 5)).astype(np.float32)
    kind = "classlabels_ints" if isinstance(labels[0], int) else "classlabels_strings"
    text = onnx.TensorProto.INT64 if isinstance(labels[0], int) else onnx.TensorProto.STRING
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        coefficients=numbers.reshape(-1).tolist(),
        intercepts=[0.1 * row for row in range(rows)],
        post_transform=transform,
        **{kind: labels},
    )
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 5])],
        [helper.make_tensor_value_info("label", text, ["N"]), helper.make_empty_tensor_value_info("scores")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("labels", [[3, 7, 9], ["cat", "dog", "cow"], [0, 1]], ids=["numbers", "words", "two"])
def test_a_linear_classifier_spelled_out_is_the_same(labels: list[Any], transform: str) -> None:
    model = _linear(labels, transform, len(labels))
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    wanted = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    spelled = spell_out(model)
    assert not any(node.op_type == "LinearClassifier" for node in spelled.graph.node)
    found = ort.InferenceSession(spelled.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert list(found[0]) == list(wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-6)


def test_one_row_for_two_classes_stays() -> None:
    model = _linear([0, 1], "LOGISTIC", 1)
    assert [node.op_type for node in spell_out(model).graph.node] == ["LinearClassifier"]
