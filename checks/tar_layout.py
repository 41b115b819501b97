"""What is odd about a tar archive, the format of torch before 0.1.10; looks at headers only."""

from __future__ import annotations

import tarfile
from typing import Final

from .pickle_walk import ByteStream

_MOST: Final = 16 << 20  # bytes that one read may ask for: tarfile reads extended headers whole, whatever their size


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is one: the oldest kind has no magic, only its checksum."""
    if head[257:262] == b"ustar":
        return True
    if len(head) < 512 or not head[0]:
        return False
    try:
        stated = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return stated == sum(head[:148]) + 8 * 32 + sum(head[156:512])


def tar_member_problem(info: tarfile.TarInfo) -> str | None:
    """What is wrong with a member, in words that follow its name; None where nothing is."""
    if info.name.startswith("/") or ".." in info.name.split("/") or not (info.isfile() or info.isdir()):
        return "is a link, a device or points outside the archive"
    if info.issparse():
        return "is a sparse file, of which the archive holds only a part"
    return "has a size below zero" if info.size < 0 else None


class SmallReads:
    """A stream of which no single read takes much memory."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """As the stream's. Raises ValueError where more than 16 MiB are asked for."""
        if not 0 <= size <= _MOST:
            raise ValueError("a header of absurd size")
        return self._stream.read(size)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
