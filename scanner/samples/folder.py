"""A folder of class folders of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...evidence.errors import ScanError
from .class_folders import CLASSES_FILE, class_indices
from .image import UnreadableImage, decode, has_image_suffix, is_image
from .source import MAX_BYTES, Indices, Prepare, listed

if TYPE_CHECKING:
    from torch import Tensor

_NOT_SAMPLES = {"thumbs.db", "desktop.ini", "__macosx"}
_MAX_FILE = 256 * 2**20  # bytes of one image file
_MAX_DEPTH = 50  # folders within a class folder


class FolderSource:
    """Images listed by class; `channels` and `size` (height, width) say how they are decoded."""

    def __init__(
        self,
        root: Path,
        *,
        classes_file: Path | None,
        size: tuple[int, int] | None,
        channels: int | None,
        class_names: Mapping[int, str] = MappingProxyType({}),
        prepare: Prepare | None = None,
    ) -> None:
        """List the folder. Raises ScanError if the folders name no classes or lead out of `root`."""
        self._root, self._size, self._channels, self._prepare = root, size, channels, prepare
        entries = _entries(root, root.resolve())
        folders = [entry.name for entry in entries if entry.is_dir()]
        if not folders:
            found = "images but no class folders" if any(has_image_suffix(e.name) for e in entries) else "nothing"
            raise ScanError(f"{root}: holds {found}; put the images of each class into a folder of its own")
        indices, self.names = class_indices(root, folders, classes_file, class_names)
        files = [(file, indices[name]) for name in folders for file in _images(root / name, root.resolve())]
        files.sort(key=lambda pair: pair[0].relative_to(root).as_posix())
        self._files = [file for file, _ in files]
        self.labels = np.array([label for _, label in files], dtype=np.int64)
        inside = root / CLASSES_FILE
        self._classes_file = classes_file or (inside if inside.is_file() else None)

    def read(self, chosen: Indices) -> tuple[Tensor, str]:
        """Decode the chosen images and hash all of them; see `Source.read`.

        Raises ScanError naming the files that are unreadable, or of different sizes where no size was asked for.
        """
        wanted = set(chosen.tolist())
        digest = hashlib.sha256()
        images: list[NDArray[np.uint8]] = []
        unreadable: list[str] = []
        first: tuple[str, tuple[int, ...]] | None = None
        values = 0
        for position, file in enumerate(self._files):
            name = file.relative_to(self._root).as_posix()
            try:
                data = _bytes(file)
                digest.update(_entry_digest(name, data))
                if position not in wanted:
                    continue
                pixels = decode(data, self._channels, self._size)
                if self._prepare:
                    pixels = self._prepare(pixels)
            except (OSError, UnreadableImage) as error:
                unreadable.append(f"{name!r} ({error})")
                continue
            shape = pixels.shape[:2]
            first = first or (name, shape)
            if shape != first[1]:
                raise ScanError(
                    f"{self._root}: images differ in size, {first[0]!r} is {_text(first[1])} and {name!r} "
                    f"{_text(shape)}; give the model's input size with --size to resize them"
                )
            values += pixels.size
            if 4 * values > MAX_BYTES:
                raise ScanError(
                    f"{self._root}: the images need more than {MAX_BYTES // 2**30} GiB of memory; give the model's "
                    f"input size with --size, or fewer images"
                )
            images.append(pixels)
        if unreadable:
            more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
            raise ScanError(
                f"{self._root}: {len(unreadable)} of {len(wanted)} images cannot be read: "
                f"{'; '.join(unreadable[:3])}{more}; replace or remove them"
            )
        if self._classes_file is not None:
            digest.update(hashlib.sha256(self._classes_file.read_bytes()).digest())
        return _stacked(images), digest.hexdigest()

    def name(self, position: int) -> str:
        """The file below the folder of samples; two backslashes for one, and bytes that are no text as `\\xff`."""
        name = os.fsencode(self._files[position].relative_to(self._root).as_posix())
        return name.replace(b"\\", b"\\\\").decode(errors="backslashreplace")


def folder_digest(root: Path, classes_file: Path | None = None) -> str:
    """The digest that `FolderSource.read` gives, without decoding anything.

    Raises ScanError if something cannot be read.
    """
    inside = root.resolve()
    folders = [entry for entry in _entries(root, inside) if entry.is_dir()]
    files = [(file.relative_to(root).as_posix(), file) for folder in folders for file in _images(folder, inside)]
    own = root / CLASSES_FILE
    digest = hashlib.sha256()
    try:
        for name, file in sorted(files):
            digest.update(_entry_digest(name, _bytes(file)))
        if listed_in := classes_file or (own if own.is_file() else None):
            digest.update(hashlib.sha256(listed_in.read_bytes()).digest())
    except (OSError, UnreadableImage) as error:
        raise ScanError(f"{root}: cannot be read ({error}); check its permissions") from None
    return digest.hexdigest()


def _entry_digest(name: str, data: bytes) -> bytes:
    """Name and contents each as a digest of fixed length: no two folders can read as the same bytes."""
    return hashlib.sha256(os.fsencode(name)).digest() + hashlib.sha256(data).digest()


def _stacked(images: list[NDArray[np.uint8]]) -> Tensor:
    """Float [N, channels, H, W] in 0..1: one channel if all images are greyscale, else three."""
    import torch

    if any(image.ndim == 3 and image.shape[2] == 3 for image in images):
        images = [image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2) for image in images]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float().div_(255)
    return torch.from_numpy(np.stack([image.reshape(image.shape[:2]) for image in images])[:, None]).float().div_(255)


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _bytes(file: Path) -> bytes:
    size = file.stat().st_size
    if size > _MAX_FILE:
        raise UnreadableImage(f"larger than {_MAX_FILE // 2**20} MiB")
    return file.read_bytes()


def _images(folder: Path, root: Path, depth: int = 0) -> Iterator[Path]:
    """Image files anywhere below a class folder; what has no image suffix counts if Pillow knows it by its content."""
    if depth > _MAX_DEPTH:
        raise ScanError(f"{folder}: lies more than {_MAX_DEPTH} folders deep; put the images into their class folder")
    for entry in _entries(folder, root):
        if entry.is_dir():
            yield from _images(entry, root, depth + 1)
        elif has_image_suffix(entry.name) or is_image(entry):
            yield entry


def _entries(folder: Path, root: Path) -> list[Path]:
    """Folders and regular files in `folder`, in sorted order, without hidden ones and without system litter."""
    try:
        every = sorted(folder.iterdir())
    except OSError as error:
        raise ScanError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    entries = [entry for entry in every if not entry.name.startswith(".") and entry.name.lower() not in _NOT_SAMPLES]
    leading_out = [
        entry.name for entry in entries if entry.is_symlink() and (entry.is_dir() or not _stays_in(entry, root))
    ]
    if leading_out:
        raise ScanError(
            f"{folder}: {listed(leading_out)} is a link out of the folder or to a folder; put a copy in its place"
        )
    return [entry for entry in entries if entry.is_dir() or entry.is_file()]


def _stays_in(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # links in a circle
        return False
