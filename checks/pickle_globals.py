"""Which globals a model's pickles may import: our own allow-list, with picklescan's list of dangerous ones on top."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Collection
from functools import cache
from typing import Final

from .text import words

logging.getLogger("picklescan").setLevel(logging.CRITICAL + 1)  # it warns on stderr; we say it in the finding

_STORAGES: Final = frozenset(
    f"{kind}Storage"
    for kind in words(
        "Double Float Half BFloat16 Long Int Short Char Byte Bool ComplexDouble ComplexFloat "
        "QUInt8 QInt8 QInt32 QUInt4x2 QUInt2x4 Untyped Typed"
    )
)
_DTYPES: Final = words(
    "float64 double float32 float float16 half bfloat16 int64 long int32 int int16 short int8 uint8 uint16 "
    "uint32 uint64 bool complex64 complex128 complex32 qint8 quint8 qint32 float8_e4m3fn float8_e5m2 "
    "float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
)
_SCHEMES: Final = words(  # of quantised tensors
    "per_tensor_affine per_channel_affine per_tensor_symmetric per_channel_symmetric per_channel_affine_float_qparams"
)
_BUILTINS: Final = words("set frozenset bytearray complex int float str bool list dict tuple slice range")
_NUMPY_SCALARS: Final = words(
    "dtype ndarray float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool_ bool "
    "complex64 complex128 str_ bytes_"
)
_RECONSTRUCT: Final = frozenset({"_reconstruct", "scalar"})

# What tensors, and the plain values that people store beside them, are made of. Each of these only builds a value.
_PLAIN: Final[dict[str, frozenset[str]]] = {
    "__builtin__": _BUILTINS | {"xrange"},  # so protocol 2 writes range
    "_codecs": frozenset({"encode"}),  # bytes in protocol 2
    "argparse": frozenset({"Namespace"}),
    "builtins": _BUILTINS,
    "collections": frozenset({"OrderedDict", "defaultdict", "Counter"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "numpy": _NUMPY_SCALARS,
    "numpy._core.multiarray": _RECONSTRUCT,
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "numpy.core.multiarray": _RECONSTRUCT,
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "pathlib": frozenset({"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"}),
    "torch": _STORAGES | _DTYPES | _SCHEMES | {"Size", "Tensor", "device"},
    "torch._tensor": frozenset({"_rebuild_from_type_v2"}),
    "torch._utils": frozenset(
        {
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
            "_rebuild_qtensor",
            "_rebuild_sparse_csr_tensor",
            "_rebuild_sparse_tensor",
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
        }
    ),
    "torch.nn.parameter": frozenset({"Buffer", "Parameter"}),
    "torch.serialization": frozenset({"_get_layout"}),
    "torch.storage": frozenset({"TypedStorage", "UntypedStorage"}),  # not _load_from_bytes: a pickle in a pickle
    "torch.torch_version": frozenset({"TorchVersion"}),
    "types": frozenset({"SimpleNamespace"}),
}
# What `training_args.bin` is made of, which transformers' trainer writes beside weights: settings and their choices.
_TRAINER: Final = re.compile(
    r"transformers\.(training_args(_seq2seq)?\.(\w*TrainingArguments|OptimizerNames|ParallelMode)"
    r"|trainer_utils\.(IntervalStrategy|SaveStrategy|HubStrategy|SchedulerType|FSDPOption|EvaluationStrategy)"
    r"|trainer_pt_utils\.AcceleratorConfig|debug_utils\.DebugOption)"
    r"|accelerate\.(state\.(PartialState|AcceleratorState)|utils\.dataclasses\.(DistributedType|DeepSpeedPlugin))"
    r"|trl\.\w+\.(config\.)?\w+(Config|Arguments)|torch\.distributed\.\w+\.(ShardingStrategy|BackwardPrefetch)"
)
_TORCHSCRIPT: Final = frozenset(
    f"build_{kind}" for kind in ("intlist", "tensorlist", "doublelist", "boollist", "tensor_from_id")
) | {"restore_type_tag"}
_FUNCTIONAL: Final = words("celu elu gelu hardswish leaky_relu mish relu relu6 selu sigmoid silu softmax tanh")
_MODEL_MODULES: Final = re.compile(r"torch\.nn\.modules(\.\w+)*|torchvision\.(models|ops)(\.\w+)*")
_CLASS: Final = re.compile(r"_?[A-Z]\w+")
_NUMPY_DTYPES: Final = re.compile(r"[A-Z]\w*DType")
# Naming these with --architecture says nothing about the rest of the library.
_NEVER_TRUSTED: Final = sys.stdlib_module_names | {"torch", "torchvision", "numpy", "unknown", "__builtin__"}


def is_plain(module: str, name: str) -> bool:
    """True for what tensors and plain values are rebuilt with."""
    return name in _PLAIN.get(module, ()) or (module == "numpy.dtypes" and bool(_NUMPY_DTYPES.fullmatch(name)))


@cache
def is_dangerous(module: str, name: str) -> bool:
    """True where picklescan's list has it; it is shown a pickle of this one global, and imports nothing."""
    from picklescan.scanner import scan_pickle_bytes

    if "\n" in module or "\n" in name:
        return True
    result = scan_pickle_bytes(io.BytesIO(f"c{module}\n{name}\n.".encode("utf-8", "replace")), "one global")
    return bool(result.issues_count)


def picklescan_globals(data: bytes) -> list[tuple[str, str]]:
    """The globals that picklescan sees in one pickle: a second pair of eyes beside `walk_pickle`."""
    from picklescan.scanner import scan_pickle_bytes

    try:
        result = scan_pickle_bytes(io.BytesIO(data), "pickle", multiple_pickles=False)
    except Exception:  # it trips over broken pickles; ours has said so already
        return []
    return [(entry.module, entry.name) for entry in result.globals]


def objection(
    module: str,
    name: str,
    *,
    torchscript: bool = False,
    allow_pickle: bool = False,
    trainer: bool = False,
    trusted_modules: Collection[str] = (),
) -> str | None:
    """Why this global may not be in the file, in words that follow its name; None where it may."""
    if is_plain(module, name) or (trainer and _TRAINER.fullmatch(f"{module}.{name}")):
        return None
    if is_dangerous(module, name):
        return "runs code when the file is loaded"
    if torchscript and (
        module == "__torch__"
        or module.startswith("__torch__.")
        or (module == "torch.jit._pickle" and name in _TORCHSCRIPT)
    ):
        return None
    functional = module in ("torch.nn.functional", "torch._C._nn") and name in _FUNCTIONAL
    if functional or (_MODEL_MODULES.fullmatch(module) and _CLASS.fullmatch(name)):
        return None if allow_pickle else "belongs to a whole pickled model, not to weights"
    root = module.split(".", 1)[0]
    if allow_pickle and root not in _NEVER_TRUSTED and _CLASS.fullmatch(name):
        return None if root in trusted_modules else "belongs to a module that --architecture does not name"
    return "is nothing that weights are made of"
