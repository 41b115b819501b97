"""The pipeline: file, samples, model, exposure, checks. It runs inside a worker process and tells all by events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks.file_safety import FileSafety
from ..checks.folder_files import is_adapter_folder
from ..evidence.artifact import Artifact
from ..evidence.context import Check, Evidence, Keep, KeepWords, forget
from ..evidence.errors import ScanError
from ..evidence.finding import Finding, Outcome
from ..evidence.result import ModelInfo, SamplesInfo
from ..policies.plugins import build_checks
from . import events
from .compute import prepare_torch, resolve_device, tune
from .expose import expose, run_check, to_expose
from .handover import MAX_TRIGGERS, hand_over, hand_over_words
from .inputs import inputs_of
from .models.arch_args import trusted_modules
from .models.placement import devices_of
from .repair_stage import carry_out, check_repairable
from .request import ScanRequest
from .tiers import FileChanged, is_due

if TYPE_CHECKING:
    from ..evidence.classifier import Classifier
    from ..evidence.exposure import Exposure
    from ..evidence.recovered import RecoveredTrigger, RecoveredWords
    from ..evidence.repair import KnownTrigger
    from ..evidence.samples import CleanSamples

Emit = Callable[[events.Event], None]


def scan(request: ScanRequest, emit: Emit) -> None:
    """Scan one model as the request says; of a scan in parts only this part, and nothing that is known already.

    Raises:
        FileChanged: the file is not what the parts before have seen.
        ScanError: the file, the samples, the architecture or the reference cannot be used; what was found before has
            been told.
    """
    part = request.part
    checks = [check for check in build_checks(request.policy) if is_due(check, part)]
    with _timed("read file", emit):
        artifact = _identify(request, emit)
        evidence = Evidence(
            artifact=artifact,
            seed=request.seed,
            allow_pickle=request.allow_pickle,
            trusted_modules=trusted_modules(request.architecture),
            progress=lambda stage, done, total: emit(events.ProgressEvent(stage=stage, done=done, total=total)),
        )
    known = part.findings if part else ()
    evidence = _run_checks(checks, "file", evidence, emit, known)
    if reason := _stops(evidence.findings, "the file check stopped the scan before the file was loaded"):
        emit(events.StoppedEvent(reason=reason))
        return
    if all(check.stage == "file" for check in checks):
        return
    if request.reference and (part is None or part.tier == "search"):
        with _timed("read reference", emit):
            evidence = replace(
                evidence, reference_artifact=_identify_reference(request, request.reference, checks, evidence)
            )

    prepare_torch(request.seed, request.threads)  # not before: a hostile file is refused without it, and in a second
    device = resolve_device(request.device)
    with _timed("load samples", emit):
        inputs = inputs_of(request, artifact)
        samples = inputs.samples()
    with _timed("load model", emit):
        classifier = inputs.classifier(artifact, samples, device)
        samples = _fit_to_model(request, samples, classifier, emit)
        emit(events.EnvironmentEvent(environment=tune(classifier, samples)))
        emit(events.ModelEvent(model=_model_info(artifact, classifier.architecture)))
    if request.removal:
        check_repairable(artifact, classifier)
    if artifact.format == "onnx" and (reason := _prove(artifact, classifier, samples, emit)):
        emit(events.StoppedEvent(reason=reason))
        return
    if request.plant and (reason := _plant(request, classifier, samples, emit)):
        emit(events.StoppedEvent(reason=reason))
        return
    keep = _keeper(samples, emit) if request.keep_witness else forget
    keep_words = _words_keeper(samples, emit) if request.keep_witness else forget
    evidence = replace(evidence, classifier=classifier, samples=samples, keep=keep, keep_words=keep_words)
    triggers: list[KnownTrigger] = []
    exposed: list[Classifier] = []
    if request.removal:
        evidence = replace(evidence, keep_known=triggers.append)
    if evidence.reference_artifact:
        with _timed("load reference", emit):
            evidence = replace(evidence, reference=_load_reference(request, evidence, evidence.reference_artifact))
    evidence = _run_checks(checks, "model", evidence, emit, known)
    if reason := _stops(evidence.findings, "exposing it would only measure noise"):
        emit(events.StoppedEvent(reason=reason))
        return
    if any(check.stage == "exposure" for check in checks):
        runs = {run.seed: run for run in part.exposures} if part else {}
        with _timed("expose", emit):
            for exposure in _expose(request, evidence, classifier, "expose", known=frozenset(runs)):
                emit(events.ExposureEvent(run=exposure.run))
                if request.removal and exposure.run.converged and to_expose(classifier, samples) is classifier:
                    exposed.append(exposure.classifier)
                runs[exposure.run.seed] = exposure.run
                del exposure  # before the next seed is exposed: its model is as large as the one that is scanned
        evidence = replace(evidence, exposures=tuple(runs[seed] for seed in sorted(runs)))
        if evidence.reference and not classifier.codec:  # texts are compared by words
            with _timed("expose reference", emit):
                made = _expose(request, evidence, evidence.reference, "expose reference")
                others = () if evidence.is_reference else tuple(map(attrgetter("run"), made))
                evidence = replace(evidence, reference_exposures=others or evidence.exposures)
        evidence = _run_checks(checks, "exposure", evidence, emit, known)
    if request.removal:
        with _timed("repair", emit):
            carry_out(request, evidence, triggers, exposed, emit)


def _identify(request: ScanRequest, emit: Emit) -> Artifact:
    from .models.identify import check_adapter, identify

    artifact = identify(request.model, request.base_model)
    check_adapter(artifact)
    part = request.part
    if part and part.sha256 and (artifact.sha256, artifact.files) != (part.sha256, part.files):
        raise FileChanged(f"{request.model} has changed since its scan began: scan it again once it stays as it is")
    emit(events.ModelEvent(model=_model_info(artifact, request.architecture)))
    return artifact


def _fit_to_model(request: ScanRequest, samples: CleanSamples, classifier: Classifier, emit: Emit) -> CleanSamples:
    from .samples.load import check_against_model

    samples = check_against_model(samples, classifier.num_classes)
    emit(
        events.SamplesEvent(
            samples=SamplesInfo(
                path=str(request.samples), sha256=samples.sha256, count=len(samples), classes=samples.num_classes
            )
        )
    )
    return samples


def _prove(artifact: Artifact, classifier: Classifier, samples: CleanSamples, emit: Emit) -> str | None:
    """Why there is nothing to scan, or None: a graph that was read wrongly is not the file."""
    from .models.onnx_file import PARITY, prove

    started = time.perf_counter()
    with _timed(PARITY, emit):
        finding = prove(artifact, classifier, samples)
    emit(events.FindingEvent(finding=finding.model_copy(update={"seconds": time.perf_counter() - started})))
    return _stops([finding], "what it does is not known")


def _plant(request: ScanRequest, classifier: Classifier, samples: CleanSamples, emit: Emit) -> str | None:
    """Change the loaded model in place; why there is nothing to scan, or None."""
    from .planting import plant

    assert request.plant

    def say(done: int, total: int) -> None:
        emit(events.ProgressEvent(stage="plant", done=done, total=total))

    with _timed("plant", emit):
        planted = plant(classifier, samples, request.plant, seed=request.seed, say=say)
    emit(events.PlantedEvent(planted=planted))
    return f"the planted backdoor did not take: {planted.why_not}" if planted.why_not else None


def _expose(
    request: ScanRequest, evidence: Evidence, classifier: Classifier, stage: str, known: frozenset[int] = frozenset()
) -> Iterator[Exposure]:
    assert evidence.samples
    return expose(
        request.policy,
        classifier,
        evidence.samples,
        seed=request.seed,
        stage=stage,
        progress=evidence.progress,
        known=known,
    )


def _identify_reference(request: ScanRequest, path: Path, checks: Sequence[Check], evidence: Evidence) -> Artifact:
    """The reference's file, once it has stood the checks that the model's file has stood, and file-safety always."""
    from .models.identify import check_adapter, identify

    artifact = identify(path, request.base_model if is_adapter_folder(path) else None)
    check_adapter(artifact)
    file_checks: list[Check] = [check for check in checks if check.stage == "file"]
    if not any(check.id == FileSafety.id for check in file_checks):
        file_checks.append(FileSafety())
    for check in file_checks:
        finding = run_check(check, replace(evidence, artifact=artifact, findings=()))
        if finding.outcome not in (Outcome.PASSED, Outcome.SKIPPED):
            raise ScanError(
                f"the reference {path} was not loaded: {check.id} {finding.outcome.value}: {finding.message}"
            )
    return artifact


def _load_reference(request: ScanRequest, evidence: Evidence, artifact: Artifact) -> Classifier:
    """The reference, loaded as the model was and computed as it is."""
    assert evidence.samples and evidence.classifier
    if artifact.format != "huggingface":  # then the model's own, which a folder may have said
        request = request.model_copy(update={"mean": evidence.classifier.mean, "std": evidence.classifier.std})
    inputs = inputs_of(request, artifact)
    reference = inputs.classifier(artifact, evidence.samples, devices_of(evidence.classifier))
    mine, other = evidence.classifier.codec, reference.codec
    if mine and other and mine.vocabulary != other.vocabulary:
        raise ScanError(f"the reference {artifact.path} has other tokens than {request.model}: they cannot be compared")
    if reference.num_classes != evidence.classifier.num_classes:
        raise ScanError(
            f"the reference {artifact.path} has {reference.num_classes} classes, {request.model} has "
            f"{evidence.classifier.num_classes}: give one that was trained for the same task"
        )
    tune(reference, evidence.samples)
    return reference


def _keeper(samples: CleanSamples, emit: Emit) -> Keep:
    kept = 0

    def keep(recovered: RecoveredTrigger) -> None:
        nonlocal kept
        kept += 1
        if kept > MAX_TRIGGERS:
            return
        try:
            form, pieces = hand_over(recovered, samples.class_names)
        except ValueError:  # a picture that cannot be had must not cost the finding
            import traceback

            traceback.print_exc()
            return
        emit(events.RecoveredEvent(form=form))
        for piece in pieces:
            emit(events.PieceEvent(data=piece))

    return keep


def _words_keeper(samples: CleanSamples, emit: Emit) -> KeepWords:
    kept = 0

    def keep(recovered: RecoveredWords) -> None:
        nonlocal kept
        kept += 1
        if kept > MAX_TRIGGERS:
            return
        try:
            form = hand_over_words(recovered, samples.class_names)
        except ValueError:  # likewise
            import traceback

            traceback.print_exc()
            return
        emit(events.WordsEvent(form=form))

    return keep


def _run_checks(
    checks: list[Check], stage: str, evidence: Evidence, emit: Emit, known: Sequence[Finding] = ()
) -> Evidence:
    told = {finding.check: finding for finding in known}
    for check in checks:
        if check.stage != stage:
            continue
        finding = told.get(check.id)
        if finding is None:
            started = time.perf_counter()
            with _timed(check.id, emit):
                finding = run_check(check, evidence)
            finding = finding.model_copy(update={"seconds": time.perf_counter() - started})
            emit(events.FindingEvent(finding=finding))
        evidence = replace(evidence, findings=(*evidence.findings, finding))
    return evidence


def _stops(findings: Sequence[Finding], consequence: str) -> str | None:
    for finding in findings:
        if finding.outcome not in (Outcome.PASSED, Outcome.SKIPPED):
            return f"{finding.check} is {finding.outcome.value}: {consequence}"
    return None


def _model_info(artifact: Artifact, architecture: str | None) -> ModelInfo:
    return ModelInfo(
        path=str(artifact.path),
        sha256=artifact.sha256,
        format=artifact.format,
        files=artifact.files or None,
        architecture=architecture,
    )


@contextmanager
def _timed(stage: str, emit: Emit) -> Iterator[None]:
    started = time.perf_counter()
    yield
    emit(events.TimingEvent(stage=stage, seconds=time.perf_counter() - started))
