"""Installs ebyd-scan for `action.yml`, in a virtual environment of its own. Needs Python alone: it runs before anything
is installed.

    python3 -I scanner/ci/install.py cache     # pip's cache folder and a key for it, as step outputs
    python3 -I scanner/ci/install.py install   # installs, and says which Python has it, as a step output

Settings come from environment variables, so that no input is ever part of a shell line. Exit codes: 0, 2 for a setting
that makes no sense, else that of pip.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the checkout of this repository
CONSTRAINTS = ROOT / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # torch's own; the registry's build for Linux is a CUDA one
EXTRAS = ("all", "onnx", "parquet", "peft", "timm", "torch", "transformers")
# -I: a file called pip.py in the current folder must not stand in for pip.
PIP = ("-I", "-m", "pip", "--disable-pip-version-check", "--no-input")
OLDEST = (3, 11)


class WrongSetting(Exception):
    """One sentence that names the input and what it may be."""


def main(what: str, settings: Mapping[str, str]) -> int:
    """Do one of the two things. Returns the exit code."""
    try:
        if sys.version_info[:2] < OLDEST:
            raise WrongSetting(
                f"ebyd-scan needs Python 3.11 or newer and this is {platform.python_version()}: set python-version"
            )
        commands, stamp = plan(settings)
    except WrongSetting as problem:
        print(f"::error title=ebyd-scan::{problem}")
        return 2
    if what == "cache":
        return _tell(settings, **cache(stamp))
    return _install(commands, stamp, settings)


def plan(settings: Mapping[str, str]) -> tuple[list[list[str]], str]:
    """The arguments of Python that install, one list a command, and a text that changes when anything of it does.

    torch comes first and alone where it has an index of its own: no other package is ever looked for there.

    Raises:
        WrongSetting: for extras that do not exist, or an index that is none.
    """
    extras = sorted(
        {name for name in re.split(r"[\s,]+", settings.get("EBYD_EXTRAS", "").strip()) if name} or {"torch"}
    )
    if unknown := [name for name in extras if name not in EXTRAS]:
        raise WrongSetting(f"extras: there is no extra {_shown(unknown[0])}, there are {', '.join(EXTRAS)}")
    commands = [_pip("--no-deps", *_pinned("setuptools"))]  # what builds the package has a pinned version too
    if index := torch_index(settings):
        commands.append(_pip("--no-deps", "--index-url", index, *_pinned("torch", "torchvision")))
    pinned = f"--constraint={CONSTRAINTS}"
    commands.append(_pip(pinned, "--no-build-isolation", f"{ROOT}[{','.join(extras)}]"))
    if requirements := settings.get("EBYD_REQUIREMENTS", "").strip("\r\n"):
        if not Path(requirements).is_file():
            raise WrongSetting(f"requirements: there is no file {_shown(requirements)}")
        commands.append(_pip(pinned, f"--requirement={requirements}"))
    parts = [CONSTRAINTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), json.dumps(commands).encode()]
    if requirements:
        parts.append(Path(requirements).read_bytes())
    return commands, hashlib.sha256(b"\0".join(parts)).hexdigest()


def _pip(*arguments: str) -> list[str]:
    return [*PIP, "install", "-q", *arguments]


def _pinned(*names: str) -> list[str]:
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.partition("==")[0] in names]


def torch_index(settings: Mapping[str, str]) -> str | None:
    """Where torch comes from; None is where pip is set up to look.

    `auto` is the CPU builds on Linux, unless the device is a GPU.

    Raises:
        WrongSetting: for anything but `auto`, `default` and an https address.
    """
    index = settings.get("EBYD_TORCH_INDEX", "").strip() or "auto"
    if index == "default":
        return None
    if index == "auto":
        gpu = settings.get("EBYD_DEVICE", "").strip().startswith("cuda")
        return None if gpu or platform.system() != "Linux" else CPU_INDEX
    if not re.fullmatch(r"https://[A-Za-z0-9._~:/@%+-]+", index):
        raise WrongSetting(f"torch-index: {_shown(index)} is none of auto, default and an https address")
    return index


def cache(stamp: str) -> dict[str, str]:
    """pip's cache folder and a key that changes with everything that is installed."""
    asked = subprocess.run([sys.executable, *PIP, "cache", "dir"], capture_output=True, text=True)
    system = f"{platform.system()}-{platform.machine()}-{platform.python_version()}"
    # An empty folder switches the cache off: pip may be missing or its cache disabled.
    folder = asked.stdout.strip() if not asked.returncode else ""
    return {"folder": folder, "key": f"ebyd-scan-pip-{system}-{stamp[:32]}"}


def _install(commands: list[list[str]], stamp: str, settings: Mapping[str, str]) -> int:
    place = Path(settings.get("RUNNER_TEMP") or ROOT / "build") / "ebyd-scan-venv"
    python, done = place / "bin" / "python", place / "installed"
    if not done.is_file() or done.read_text(encoding="utf-8") != stamp:  # else: a step before this one did
        print(f"Installing ebyd-scan into {place}", flush=True)
        for command in (
            [sys.executable, "-I", "-m", "venv", "--clear", str(place)],
            *([str(python), *c] for c in commands),
        ):
            if code := subprocess.run(command).returncode:
                print("::error title=ebyd-scan::ebyd-scan could not be installed: the lines above say why")
                return code
        done.write_text(stamp, encoding="utf-8")
    return _tell(settings, python=str(python))


def _tell(settings: Mapping[str, str], **outputs: str) -> int:
    """Write step outputs, or show them where there is no step."""
    text = "".join(f"{name}={value}\n" for name, value in outputs.items())
    if not (file := settings.get("GITHUB_OUTPUT")):
        print(text, end="")
        return 0
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write(text)
    return 0


def _shown(text: str) -> str:
    """On one line, and no workflow command of its own."""
    return ascii(text[:200]).replace("%", "%25")


if __name__ == "__main__":
    if sys.argv[1:] not in (["cache"], ["install"]):
        sys.exit(f"{sys.argv[0]}: say what to do, cache or install")
    sys.exit(main(sys.argv[1], os.environ))
