"""What TorchScript's own source files call that reaches out of the model; read as text, never compiled."""

from __future__ import annotations

import re
from typing import Final

# TorchScript is no Python, but some of its functions write and read any file when the model runs. Its parser takes
# blanks, line ends and brackets between the words, a name of one's own for `torch` (`a = torch`), and getattr with
# any text: so the words are looked for with all of that between them, and `torch` may only stand where it is called.
_TEXT: Final = re.compile(rb"""\"(?:[^"\\\r\n]|\\.)*\"|'(?:[^'\\\r\n]|\\.)*'""")
_BLANK: Final = rb"[\s\\()]*"
_CALLED: Final = rb"\s*\.\s*\w+\s*\("
# A submodule may be called `save`; `self` never stands for torch.
_FILES: Final = re.compile(rb"(?<!\Wself)\." + _BLANK + rb"(save|from_file|load_tensor|read_file|write_file)\b")
_OPERATORS: Final = re.compile(rb"(?<![\w.])ops\s*\.\s*(\w+)" + _CALLED)
_VALUES: Final = re.compile(
    rb"(?<![\w.])(?:torch(?!" + _CALLED + rb")|ops(?!\s*\.\s*\w+" + _CALLED + rb")|torch\s*\.\s*ops\b)"
)
# Whose operators only compute. Others are compiled code of some library, and may do what they like.
_COMPUTING: Final = frozenset(
    b"aten prim prims quantized _quantized quantized_decomposed quantization mkldnn mkldnn_prepacked onednn prepacked "
    b"sparse torchvision profiler static_runtime".split()
)


def code_problems(source: bytes) -> list[str]:
    """What the code does beyond computing, in words that follow "the TorchScript code in X"; empty where nothing."""
    code = _TEXT.sub(b'""', source)
    found = [f"calls torch.{name.decode()}, which touches files" for name in sorted(set(_FILES.findall(code)))]
    others = sorted(set(_OPERATORS.findall(code)) - _COMPUTING)
    found += [f"calls operators of {name.decode()}, which are not torch's" for name in others]
    if _VALUES.search(code):
        found.append("takes torch itself for a value, which hides what is called")
    return found
