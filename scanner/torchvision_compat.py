"""Makes `import torchvision` work where its compiled operators do not load.

torchvision's registry build is compiled against a CUDA torch; beside a CPU torch its shared library does not
load and `import torchvision` ends in "operator torchvision::nms does not exist". The models and transforms that
this project needs use no compiled operator, only their schemas have to exist. Every import of torchvision (or of
a library that imports it) goes through `import_torchvision`.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

_SCHEMAS = (
    ("nms", "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
    ("qnms", "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
)
_library: Any = None  # torch removes the schemas when the Library object is collected


def _operators_load() -> bool:
    """Try the shared library the way torchvision does; it swallows the OSError, we want to know."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    from pathlib import Path

    for folder in spec.submodule_search_locations:
        for library in Path(folder).glob("_C*"):
            try:
                torch.ops.load_library(library)
            except OSError:
                continue
            return True
    return False


def import_torchvision() -> ModuleType:
    """Return torchvision, declaring its two missing schemas first where its operators cannot be loaded.

    Raises ModuleNotFoundError if torchvision is not installed.
    """
    global _library
    import sys

    if "torchvision" not in sys.modules and _library is None and not _operators_load():
        import torch

        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in _SCHEMAS:
            if not hasattr(torch.ops.torchvision, name):
                _library.define(schema)
    return importlib.import_module("torchvision")
