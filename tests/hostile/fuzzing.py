"""What is fuzzed: a valid thing changed a little or much, and random bytes; only documented errors may come out.

`EBYD_FUZZ_INPUTS=100000 python -m pytest tests/hostile/test_fuzz.py` (or `make fuzz INPUTS=100000`) for more.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

from ebyd_scan.benchmarks.hostile.assemble import checkpoint, entry, system, tarred, tensor_file, zipped
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

INPUTS = int(os.environ.get("EBYD_FUZZ_INPUTS", "100"))
FUZZ = settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    derandomize=INPUTS <= 100,  # the quick profile is the same everywhere
    suppress_health_check=list(HealthCheck),
)
PICKLES = [
    *(pickle.dumps({"a": [1, 2.5, None, True], "b": ("x", b"y", {1, 2})}, protocol) for protocol in range(6)),
    system("true", 0),
    system("true", 4),
]
TENSORS = tensor_file({"__metadata__": {"a": "b"}, "w": entry(0, 8, (2,)), "v": entry(8, 16, (4,), "F16")}, bytes(16))
FILES = [
    *PICKLES,
    TENSORS,
    checkpoint(PICKLES[2]),
    zipped({"a/data.pkl": PICKLES[4], "a/code/__torch__.py": b"x", "a/constants.pkl": b"\x80\x02)."}),
    zipped({"m/archive_format": b"pt2", "m/models/model.json": b'{"a": [{"expr_str": "s0 + 1"}]}'}),
    tarred({"pickle": PICKLES[3], "tensors": b"x"}),
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + PICKLES[2] * 4 + bytes(40),
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Bytes set, cut out, doubled, put in, or taken from another seed: up to eight times."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 8))):
        where = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 16))
        match draw(st.integers(0, 5)):
            case 0:
                data[where : where + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del data[where : where + size]
            case 2:
                data[where:where] = data[where : where + size] * draw(st.integers(1, 4))
            case 3:
                data[where:where] = draw(st.binary(max_size=16))
            case 4:
                data[where : where + 4] = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"PK\5\6"]))
            case _:
                other = draw(st.sampled_from(seeds))
                data[where:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


def bytes_like(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Mutations of the seeds, and now and then bytes of no origin."""
    return st.one_of(mutated(list(seeds)), mutated(list(seeds)), st.binary(max_size=400))


def text_like(*seeds: str) -> st.SearchStrategy[bytes]:
    """The same for formats of text, with characters that tools stumble over."""
    odd = st.sampled_from([*"\0\u2028\ufeff\x85\r\"'\\", "\\UFFFFFFFF", "%YAML 1.9", "&a", "*a"])
    pieces = st.lists(st.one_of(odd, st.text(max_size=8), st.sampled_from(seeds)), max_size=6)
    joined = pieces.map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
    return st.one_of(mutated([seed.encode() for seed in seeds]), joined, st.binary(max_size=200))


def only(errors: tuple[type[Exception], ...], work: Callable[[], object]) -> object:
    """What `work` returns; the documented errors, whose text is one that can be shown, are swallowed."""
    try:
        return work()
    except errors as error:
        assert str(error) and "Traceback" not in str(error)
        return None


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path
