"""Sizes of triggers in words."""

from __future__ import annotations

import pytest
from ebyd_scan.evidence.sizes import size_text


@pytest.mark.parametrize(
    ("family", "sizes", "text"),
    [
        ("patch", [0.0141], "1.41 % of the picture"),
        ("patch", [0.05, 0.021, 0.03], "2.1 to 5 % of the picture"),
        ("warp", [0.1, 0.1], "10 % of the side"),
        ("blend", (size for size in [3.126]), "3.13 of amplitude"),
        ("filter", [0.2, 0.3], "0.2 to 0.3 RMS"),
        ("from a plug-in", [4.0], "4"),
    ],
)
def test_size_text(family: str, sizes: list[float], text: str) -> None:
    assert size_text(family, sizes) == text
