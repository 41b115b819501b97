"""Small networks as ONNX files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Export = Callable[..., Path]


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Export a module for pixels of `shape` with torch's old or new exporter, and return the file."""
    torch = pytest.importorskip("torch")

    def write(
        module: Any, shape: tuple[int, int, int], *, new: bool = False, dynamic: bool = True, **more: Any
    ) -> Path:
        path = tmp_path / f"model-{'new' if new else 'old'}.onnx"
        pixels = torch.rand(2, *shape)
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if new:
                    pytest.importorskip("onnxscript")
                    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
                    more |= {"dynamic_shapes": shapes, "verbose": False}
                    torch.onnx.export(module, (pixels,), path, dynamo=True, **more)
                else:
                    axes = {"pixels": {0: "batch"}, "scores": {0: "batch"}} if dynamic else None
                    names: dict[str, Any] = {"input_names": ["pixels"], "output_names": ["scores"]}
                    torch.onnx.export(module, (pixels,), path, dynamo=False, dynamic_axes=axes, **(names | more))
        finally:
            logging.disable(logging.NOTSET)
        return path

    return write
