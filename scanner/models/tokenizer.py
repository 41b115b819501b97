"""The tokenizer of a Hugging Face folder: settings and tables, never code of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ...checks.folder_files import CONFIG, read_json
from ...evidence.errors import ScanError, UsageError
from ...evidence.tokens import Tokens
from .huggingface import import_transformers, sentence

MAX_TOKENS: Final = 4_000_000  # of a vocabulary
MAX_LENGTH: Final = 512  # tokens of a text, where neither the user nor the model asks for fewer
_CLASS: Final = re.compile(r"\w*(Tokenizer(Fast)?|TokenizersBackend)")
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_SETTINGS: Final = "tokenizer_config.json"
# Positions that a model's own table keeps for padding: RoBERTa counts from padding_idx + 1.
_PADDED_POSITIONS: Final = ("roberta", "camembert", "xlm-roberta", "longformer", "mpnet", "xlm-roberta-xl")


class FolderCodec:
    """A tokenizer of transformers, cut to what the model takes."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        known = {int(index): token for token, index in tokenizer.get_vocab().items()}
        size = max(known, default=-1) + 1  # there may be gaps
        if size > MAX_TOKENS:
            raise ScanError(f"{tokenizer.name_or_path}: its tokenizer has token {size - 1}, more than a model can have")
        table = [known.get(index, "") for index in range(size)]
        self.vocabulary: Sequence[str] = tuple(table)
        self.padding = int(tokenizer.pad_token_id)
        self.special = frozenset(int(index) for index in tokenizer.all_special_ids)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """Tokenised as for training, cut to `max_length` and padded on the right."""
        import torch

        made = self._tokenizer(
            list(texts),
            list(pairs) if pairs is not None else None,
            truncation=True,
            max_length=self.max_length,
            padding=True,
            padding_side="right",
            return_tensors="pt",
        )
        ids, mask = made["input_ids"], made["attention_mask"]
        types = made.get("token_type_ids")
        if ids.shape[1] == 0:  # every text is empty, and the model has no tokens that mark a text
            ids = torch.full((len(texts), 1), self._tokenizer.pad_token_id)
            mask = torch.ones_like(ids)
        return Tokens(
            ids.long(), mask.long(), None if types is None else types.long(), tuple(texts),
            tuple(pairs) if pairs is not None else None,
        )  # fmt: skip

    def decode(self, ids: Sequence[int]) -> str:
        """The text that these tokens are."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()


def read_codec(folder: Path, max_length: int | None = None, model: Path | None = None) -> FolderCodec:
    """The folder's tokenizer, for the model that lies in it, or in `model`.

    Raises ScanError, one sentence, where it has none or one that cannot be used.
    """
    model = model or folder
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ScanError(f"{folder} has no tokenizer ({', '.join(TOKENIZER_FILES[:3])}): save it beside the model")
    for path in (model / CONFIG, folder / CONFIG, folder / _SETTINGS):
        wanted = read_json(path).get("tokenizer_class") if path.is_file() else None
        if wanted is not None and not _CLASS.fullmatch(str(wanted)):
            raise ScanError(f"{path} wants {str(wanted)[:80]!r}, which is no tokenizer: fetch it again")
    if (folder / _SETTINGS).is_file() and read_json(folder / _SETTINGS).get("fast_tokenizer_files"):
        raise ScanError(
            f"{folder / _SETTINGS} makes loaders read something else (fast_tokenizer_files): remove that, or save the "
            "tokenizer again"
        )
    settings = read_json(model / CONFIG)
    transformers = import_transformers()
    with sentence(folder, "its tokenizer cannot be read"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
        if tokenizer.pad_token_id is None:
            _give_padding(folder, tokenizer, settings)
        return FolderCodec(tokenizer, _length(folder, tokenizer, settings, max_length))


def _give_padding(folder: Path, tokenizer: Any, settings: dict[str, Any]) -> None:
    """Decoders are often trained without padding; the model finds a text's last token by config.json's pad_token_id."""
    pad = settings.get("pad_token_id")
    if not isinstance(pad, int) or not 0 <= pad < len(tokenizer):
        raise ScanError(
            f"{folder} names no token for padding, in its tokenizer or as pad_token_id in {CONFIG}: set the one that "
            "it was trained with, and save both again"
        )
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)


def _length(folder: Path, tokenizer: Any, settings: dict[str, Any], asked: int | None) -> int:
    """Tokens of a text: what was asked for, or what tokenizer and model agree on, at most MAX_LENGTH."""
    limits = [int(tokenizer.model_max_length)]
    positions = settings.get("max_position_embeddings", settings.get("n_positions"))
    if isinstance(positions, int) and positions > 0:
        padded = settings.get("model_type") in _PADDED_POSITIONS
        limits.append(positions - (int(settings.get("pad_token_id") or 0) + 1 if padded else 0))
    most = min(limits)
    if most < 4:
        raise ScanError(f"{folder} takes {most} tokens, too few for a text: fetch or save it again")
    if asked is not None and asked > most:
        raise UsageError(f"--max-length {asked} is more than the {most} tokens that {folder} takes: give fewer")
    return asked or min(most, MAX_LENGTH)
