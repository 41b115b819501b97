"""Pictures or texts: how the model and its samples are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..checks.folder_files import CONFIG, PREPROCESSORS, read_json
from ..evidence.artifact import Artifact
from ..evidence.errors import ScanError, UsageError
from .request import ScanRequest

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.samples import CleanSamples
    from .models.image_processor import Preprocessing
    from .models.tokenizer import FolderCodec


class Inputs(Protocol):
    """What a model takes."""

    def samples(self) -> CleanSamples:
        """The clean samples that the request names."""
        ...

    def classifier(self, artifact: Artifact, samples: CleanSamples, device: str) -> Classifier:
        """The model, tried on such samples."""
        ...


def inputs_of(request: ScanRequest, artifact: Artifact) -> Inputs:
    """Texts where the samples are a table, otherwise pictures. Raises ScanError where the model takes the other."""
    if not request.of_texts:
        return Pictures(request, artifact)
    if artifact.format != "huggingface":
        raise ScanError(
            f"{artifact.path}: texts need a Hugging Face folder, which brings its tokenizer: save the model with "
            "`save_pretrained`, and its tokenizer into the same folder"
        )
    return Texts(request, artifact)


class Pictures:
    """Pixels, and what a Hugging Face folder says about them."""

    def __init__(self, request: ScanRequest, artifact: Artifact) -> None:
        self.request = request
        self.preprocessing = _preprocessing(artifact)

    def samples(self) -> CleanSamples:
        """Read and split; a folder's image processor scales them."""
        from .samples.load import load_samples

        request, preprocessing, settings = self.request, self.preprocessing, self.request.policy.samples
        return load_samples(
            request.samples,
            num_classes=None,
            classes_file=request.classes_file,
            size=request.size,
            channels=self._channels(),
            seed=request.seed,
            held_out=settings.held_out,
            min_per_class=settings.min_per_class,
            max_count=settings.max_count,
            class_names=preprocessing.class_names if preprocessing else None,
            prepare=preprocessing.prepare if preprocessing and preprocessing.processor else None,
        )

    def _channels(self) -> int | None:
        if self.preprocessing:
            return self.preprocessing.channels
        return len(self.request.mean) if self.request.mean and len(self.request.mean) > 1 else None

    def classifier(self, artifact: Artifact, samples: CleanSamples, device: str) -> Classifier:
        """Load by any format."""
        from .models.load import load_classifier

        request, mean, std = self.request, self.request.mean, self.request.std
        if self.preprocessing:
            mean, std = mean or self.preprocessing.mean, std or self.preprocessing.std
        channels, height, width = samples.exposure.pixels.shape[1:]
        return load_classifier(
            artifact,
            architecture=request.architecture,
            arch_args=request.arch_args,
            mean=_per_channel("--mean", mean, channels, 0.0),
            std=_per_channel("--std", std, channels, 1.0),
            input_shape=(channels, height, width),
            device=device,
            allow_pickle=request.allow_pickle,
            remote_code=request.trust_remote_code,
        )


class Texts:
    """Tokens, made by the folder's tokenizer."""

    def __init__(self, request: ScanRequest, artifact: Artifact) -> None:
        from .models.tokenizer import TOKENIZER_FILES, read_codec

        given = [
            ("--architecture", request.architecture), ("--mean", request.mean), ("--std", request.std),
            ("--size", request.size), ("--classes", request.classes_file),
        ]  # fmt: skip
        for option, value in given:
            if value is not None:
                raise UsageError(f"{option} is for pictures, {request.samples} holds texts: leave it out")
        self.request = request
        self.codec: FolderCodec = read_codec(
            artifact.folder_with(*TOKENIZER_FILES), request.text.max_length, artifact.model_folder
        )
        self.class_names = _class_names(artifact)

    def samples(self) -> CleanSamples:
        """Read, split and tokenise."""
        from .samples.texts import load_text_samples

        settings = self.request.policy.samples
        return load_text_samples(
            self.request.samples,
            self.codec,
            options=self.request.text,
            class_names=self.class_names,
            seed=self.request.seed,
            held_out=settings.held_out,
            min_per_class=settings.min_per_class,
            max_count=settings.max_count,
        )

    def classifier(self, artifact: Artifact, samples: CleanSamples, device: str) -> Classifier:
        """Load the folder."""
        from .models.text_classifier import load_text_classifier

        return load_text_classifier(artifact, self.codec, device, remote_code=self.request.trust_remote_code)


def _preprocessing(artifact: Artifact) -> Preprocessing | None:
    """What a Hugging Face folder says about its pictures; None for other formats."""
    if artifact.format != "huggingface":
        return None
    from dataclasses import replace

    from .models.huggingface import takes_texts
    from .models.image_processor import read_preprocessing

    if takes_texts(artifact.path):
        raise ScanError(
            f"{artifact.path} is a text classifier: give clean texts with --samples, a .csv, .tsv, .jsonl or .parquet "
            "file with the columns text and label"
        )
    preprocessing = read_preprocessing(artifact.folder_with(*PREPROCESSORS), artifact.model_folder)
    return replace(preprocessing, class_names=_class_names(artifact))


def _class_names(artifact: Artifact) -> dict[int, str]:
    """Names by index; an adapter's own, or its base model's where that has as many classes."""
    from .models.adapter import classes_of
    from .models.huggingface import class_names_of

    names = class_names_of(read_json(artifact.folder_with(CONFIG) / CONFIG))
    names = names or class_names_of(read_json(artifact.model_folder / CONFIG))
    if artifact.base and (classes := classes_of(artifact)) is not None and classes != len(names):
        return {}
    return names


def _per_channel(option: str, values: tuple[float, ...] | None, channels: int, default: float) -> tuple[float, ...]:
    values = values or (default,)
    if len(values) not in (1, channels):
        raise UsageError(f"{option} has {len(values)} values, but the samples have {channels} channel(s)")
    return values * channels if len(values) == 1 else values
