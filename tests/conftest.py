"""One thread for the small models of the tests: on a busy machine more only wait for each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A clean and a backdoored text classifier and clean texts: a TextModels of tiny_texts.py."""
    pytest.importorskip("transformers")
    from .tiny_texts import build

    return build(tmp_path_factory.mktemp("text-models"))
