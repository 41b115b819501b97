"""A module that was made from an ONNX file, and changed since, goes back into the graph that it came from."""

from __future__ import annotations

import copy
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import set_external_data
from torch import Tensor

from ....checks.onnx_read import read_model, read_whole
from ....evidence.errors import MissingExtra, ScanError
from .build import opsets_of, plan_of, tensor_of
from .linear import spell_out
from .module import OnnxClassifier, restore_names
from .parity import TOLERANCE, compare
from .places import HALVES, Written, numbers_in, places_of, roots_of, same
from .plan import Plan, branches

MAX_MESSAGE = (1 << 31) - 1  # bytes, of a protobuf message
_ALIGNMENT = 4096  # of weights beside the file, so that they can be mapped into memory


def write_onnx(source: Path, module: OnnxClassifier, out: Path) -> None:
    """Write `source`, with what `module` holds now in the place of what it held when it was made from that file.

    Nodes, names, inputs, outputs, opsets and metadata stay, and so do all numbers that did not change. A tensor keeps
    its type: what was computed in float32 is rounded where the file holds half precision. Equal tensors that an
    exporter had merged, and that differ now, get an initialiser of their own behind the Identity that stood for them.
    Weights that lay beside `source` are written beside `out`, into `<out>.data`.

    Nothing is overwritten; a reader finds the whole model under `out` or none.

    Raises:
        ScanError: `out` is taken or cannot be written, `module` is not of this file or holds more than it, or a tensor
            cannot be put back; nothing was written.
    """
    _check_free(source, out)
    original = _original(source, module)
    model, outside = read_whole(source)
    added = Written(source, model, restore_names(module), original).put()
    if outside:
        outside += added
    data = _beside(out)
    if outside:
        _check_free(source, data)
    parts: list[tuple[Path, Path]] = []  # where a file is written, and where it goes
    try:
        if outside:
            parts.append((_part(out.parent, lambda stream: _move_out(outside, data.name, stream)), data))
        message = _message(model, source)
        parts.append((_part(out.parent, lambda stream: stream.write(message)), out))
        _publish(parts)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ScanError(f"{out} cannot be written: {reason}") from None
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)


def _message(model: ModelProto, source: Path) -> bytes:
    try:
        message = model.SerializeToString()
    except (EncodeError, ValueError):
        message = None
    if message is None or len(message) > MAX_MESSAGE:
        raise ScanError(f"{source} grows beyond 2 GiB with its new tensors: export it with its weights beside it")
    return message


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.data")


def _check_free(source: Path, place: Path) -> None:
    try:
        if place.exists() and source.exists() and place.samefile(source):
            raise ScanError(f"{place} is the model itself, which is not overwritten: choose another name")
        if os.path.lexists(place):
            raise ScanError(f"{place} is there already and is not overwritten: choose another name")
        if not place.parent.is_dir():
            raise ScanError(f"{place} cannot be written: there is no folder {place.parent}")
    except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, a loop of links, a name too long
        raise ScanError(f"{place} cannot be written: {error}") from None


def _shape_of(plan: Plan) -> list[Any]:
    return [
        (node.domain, node.operator, node.name, node.inputs, node.outputs, [_shape_of(plan) for plan in branches(node)])
        for node in plan.nodes
    ]


def _tensors(plan: Plan) -> dict[str, Tensor]:
    found = dict(plan.tensors)
    for node in plan.nodes:
        for inner in branches(node):
            found |= _tensors(inner)
    return found


def _original(source: Path, module: OnnxClassifier) -> dict[str, Tensor]:
    """The tensors of the file that the module was made from, by name; ScanError where that is not `source`."""
    inlined = spell_out(read_model(source))
    batch = next((node.batch for node in module.plan.nodes), None)
    try:
        plan = plan_of(inlined.graph, opsets_of(inlined), batch, wanted=module.plan.outputs)
    except ScanError as error:
        raise ScanError(f"{source}: {error}") from None
    original = _tensors(plan)
    held = (*module.named_parameters(), *module.named_buffers(), *module.named_children())
    more = [name for name, _ in held if module.names.get(name) not in original]
    if more:
        raise ScanError(
            f"{source} has no tensor for {more[0]} of the module: what was added to a network cannot go back into its "
            "file, only other numbers for what it has"
        )
    made_from = _tensors(module.plan)
    if _shape_of(plan) != _shape_of(module.plan) or original.keys() != made_from.keys():
        raise ScanError(f"{source} has not the nodes that the module has: pass the file that it was made from")
    if not all(same(tensor, made_from[name]) for name, tensor in original.items()):
        raise ScanError(f"{source} is not the file that the module was made from, or was changed since: pass that file")
    return original


def _move_out(outside: list[TensorProto], location: str, stream: BinaryIO) -> None:
    """Write the bytes of tensors one after the other, and leave in each of them where they are."""
    for tensor in outside:
        stream.write(bytes(-stream.tell() % _ALIGNMENT))
        offset = stream.tell()
        stream.write(tensor.raw_data)
        set_external_data(tensor, location, offset, stream.tell() - offset)
        tensor.ClearField("raw_data")


def _part(folder: Path, write: Callable[[BinaryIO], object]) -> Path:
    """A new file beside those that it is to become, with the permissions that the user's umask gives."""
    part = folder / f".ebyd-scan-{secrets.token_hex(8)}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _publish(parts: list[tuple[Path, Path]]) -> None:
    """Give files their names, the model last: what it needs is there when it appears."""
    done: list[Path] = []
    try:
        for part, place in parts:
            try:
                os.link(part, place)  # unlike a rename it never replaces what has come there since
            except FileExistsError:
                raise ScanError(f"{place} is there already and is not overwritten: choose another name") from None
            except OSError:  # a file system without links
                if os.path.lexists(place):
                    raise ScanError(f"{place} is there already and is not overwritten: choose another name") from None
                part.rename(place)
            done.append(place)
    except BaseException:
        for place in done:
            place.unlink(missing_ok=True)
        raise


def prove_written(path: Path, module: OnnxClassifier, pixels: Tensor) -> float:
    """Hold the scores of a written file in onnxruntime against those of its module on `pixels`, normalised.

    Returns how far they are apart, as a share of the largest. The module's tensors are rounded as in the file first,
    in a copy: what half precision costs is a matter of the file's type, not of writing it.

    Raises:
        ScanError: they are further apart than TOLERANCE, or onnxruntime does not take the file.
    """
    if not len(pixels):
        raise ScanError(f"{path} cannot be held against its module without samples: pass at least one")
    model = spell_out(read_model(path))
    rounded = _rounded(module, model)
    batch = next((node.batch for node in module.plan.nodes), None)
    try:
        _open(path)
        parity = compare(model, rounded, pixels, batch)
    except ScanError:
        raise
    except Exception as error:  # whatever onnxruntime says
        reason = " ".join(str(error).split())[:300]
        raise ScanError(f"{path} does not run in onnxruntime ({reason}): do not use it") from None
    if not parity.holds:
        raise ScanError(
            f"{path} does not give the module's scores (off by {parity.difference:.2g}, allowed {TOLERANCE}; first at "
            f"{parity.node}): do not use it"
        )
    return parity.difference


def _rounded(module: OnnxClassifier, model: ModelProto) -> OnnxClassifier:
    places = places_of(model)
    roots = roots_of(places)
    module = copy.deepcopy(module).eval()
    with torch.no_grad():
        for key, name in module.names.items():
            held = places[roots[name]][0] if name in roots else None
            if isinstance(held, TensorProto) and (kind := numbers_in(held).dtype).name in HALVES:
                tensor: Tensor = getattr(module, key)
                tensor.copy_(tensor_of(np.asarray(tensor.cpu().numpy().astype(kind))))
    return module


def _open(path: Path) -> None:
    """Open the file as who deploys it does: by its name, with the weights beside it."""
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise MissingExtra("onnxruntime", "onnx") from None
    options = ort.SessionOptions()
    options.log_severity_level = 4
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
