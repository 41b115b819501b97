"""--architecture: from a spec to a freshly built module."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...evidence.errors import MissingExtra, ScanError
from ..torchvision_compat import import_torchvision
from .arch_args import ArchitectureSpec, parse_architecture

if TYPE_CHECKING:
    from torch import nn


def first_line(error: BaseException) -> str:
    """The exception's type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _torchvision(spec: ArchitectureSpec) -> Callable[..., Any]:
    try:
        import_torchvision()
    except ModuleNotFoundError:
        raise MissingExtra("torchvision", "torch") from None
    from torchvision import models

    names = models.list_models(module=models)  # classifiers only: detection and the rest live in submodules
    if spec.name not in names:
        near = difflib.get_close_matches(spec.name, names, n=3, cutoff=0.5)
        hint = f", did you mean {' or '.join(near)}?" if near else f": it has {', '.join(names[:5])} and more"
        raise ScanError(f"--architecture torchvision:{spec.name}: torchvision has no such classifier{hint}")
    builder: Callable[..., Any] = models.get_model_builder(spec.name)
    return builder


def import_file(path: Path) -> Any:
    """Import a Python file under its stem's name, its folder importable, and leave it in sys.modules.

    Raises whatever the file raises.
    """
    path = path.resolve()
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    if loaded is not None:
        raise ImportError(f"a module called {path.stem} is loaded already, rename the file")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # so that the file finds its neighbours
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def import_spec(spec: ArchitectureSpec) -> Any:
    """Import the module or the file of a spec that is not torchvision's. Raises whatever it raises."""
    if spec.kind == "file":
        return import_file(Path(spec.where))
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a console script does not look where it is started
    return importlib.import_module(spec.where)


def _resolve(text: str, spec: ArchitectureSpec) -> Callable[..., Any]:
    if spec.kind == "torchvision":
        return _torchvision(spec)
    if spec.kind == "file" and not Path(spec.where).is_file():
        raise ScanError(f"--architecture {text}: {spec.where} does not exist")
    try:
        module = import_spec(spec)
    except (Exception, SystemExit) as error:
        raise ScanError(f"--architecture {text}: {spec.where} cannot be imported ({first_line(error)})") from None
    target: Any = module
    for part in spec.name.split("."):
        if not hasattr(target, part):
            near = difflib.get_close_matches(part, [name for name in dir(target) if not name.startswith("_")], n=3)
            hint = f", did you mean {' or '.join(near)}?" if near else ""
            raise ScanError(f"--architecture {text}: there is no {part} in {spec.where}{hint}")
        target = getattr(target, part)
    if not callable(target):
        raise ScanError(f"--architecture {text}: {spec.name} cannot be called, it is a {type(target).__name__}")
    result: Callable[..., Any] = target
    return result


def build_architecture(spec: str, arch_args: Mapping[str, object]) -> nn.Module:
    """Build the module that `spec` names, with `arch_args` as keywords; never downloads weights.

    The callable may be the user's own code: it runs here. Raises UsageError for a malformed spec, MissingExtra
    without torchvision, ScanError where it cannot be found, raises, or returns something that is no module.
    """
    from torch import nn

    parsed = parse_architecture(spec)
    builder = _resolve(spec, parsed)
    arguments = dict(arch_args)
    if parsed.kind == "torchvision":
        for name in ("weights", "weights_backbone", "pretrained"):
            if arguments.pop(name, None):
                raise ScanError(f"--arch-arg {name}: weights come from the scanned file only, leave it out")
        arguments["weights"] = None
        if parsed.name in ("googlenet", "inception_v3"):
            arguments.setdefault("init_weights", False)  # minutes of drawing numbers that the file replaces
    try:
        module = builder(**arguments)
    except (Exception, SystemExit) as error:
        raise ScanError(
            f"--architecture {spec} raised {first_line(error)}: check the spec and the --arch-arg values"
        ) from None
    if not isinstance(module, nn.Module):
        raise ScanError(f"--architecture {spec} returned a {type(module).__name__}, not a torch.nn.Module")
    return module
