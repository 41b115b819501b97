"""Which class index a label of a text stands for, and labels that stand for none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from ebyd_scan.evidence.errors import ScanError
from ebyd_scan.scanner.samples.text_table import TextTable

SENTIMENT = {0: "negative", 1: "positive"}
UNNAMED = {0: "LABEL_0", 1: "LABEL_1"}

Read = Callable[..., TextTable]


def labelled(*labels: Any) -> str:
    """A .jsonl with a text and each of the labels."""
    return "".join(json.dumps({"text": f"t{place}", "label": label}) + "\n" for place, label in enumerate(labels))


@pytest.mark.parametrize(
    ("labels", "class_names", "indices", "names"),
    [
        ((3, "3", 3.0, "3.0", "03", " 3 ", "LABEL_3", "label_0"), None, [3] * 7 + [0], {}),
        ((1, 0), SENTIMENT, [1, 0], SENTIMENT),
        ((1, 0), UNNAMED, [1, 0], UNNAMED),
        (("positive", "NEGATIVE", "LABEL_0"), SENTIMENT, [1, 0, 0], SENTIMENT),
        (("LABEL_1", "LABEL_0"), SENTIMENT, [1, 0], SENTIMENT),
        (("pos", "neg"), UNNAMED, [1, 0], {0: "neg", 1: "pos"}),
        (("pos", "neg"), None, [1, 0], {0: "neg", 1: "pos"}),
        (("pos", "neg"), {0: "0", 1: "1"}, [1, 0], {0: "neg", 1: "pos"}),
        ((True, False), None, [1, 0], {}),
        (("True", "True"), SENTIMENT, [1, 1], SENTIMENT),
        (("true", "half-true"), None, [1, 0], {0: "half-true", 1: "true"}),
        # Case decides where only case differs.
        (("us", "US"), {0: "US", 1: "us"}, [1, 0], {0: "US", 1: "us"}),
        # Swapped LABEL_n are names like others.
        (("a", "b"), {0: "b", 1: "LABEL_0", 2: "a"}, [2, 0], {0: "b", 1: "LABEL_0", 2: "a"}),
        # Numbers are indices, unless they only make sense as the names that the model has.
        ((0, 1, 2), {0: "1 star", 1: "2 stars", 2: "3 stars"}, [0, 1, 2], {0: "1 star", 1: "2 stars", 2: "3 stars"}),
        ((0, 1, 2), {0: "1", 1: "2", 2: "3"}, [0, 1, 2], {0: "1", 1: "2", 2: "3"}),
        ((1, 2, 3), {0: "1", 1: "2", 2: "3"}, [0, 1, 2], {0: "1", 1: "2", 2: "3"}),
        (("LABEL_1", "LABEL_2"), {0: "1", 1: "2", 2: "3"}, [1, 2], {0: "1", 1: "2", 2: "3"}),
        (("42", "other"), {0: "other", 1: "42"}, [1, 0], {0: "other", 1: "42"}),
        # Indices beyond the model's are for others to refuse, who know how many it has.
        ((7, 0), SENTIMENT, [7, 0], SENTIMENT),
    ],
)
def test_labels(
    read: Read, labels: Any, class_names: dict[int, str] | None, indices: list[int], names: dict[int, str]
) -> None:
    table = read("a.jsonl", labelled(*labels), class_names=class_names)
    assert table.labels.tolist() == indices
    assert table.names == names


@pytest.mark.parametrize(
    ("labels", "class_names", "message"),
    [
        (
            ("positive", "good"),
            SENTIMENT,
            "line 2: the model knows no class 'good', only 'negative', 'positive'; rename",
        ),
        (("positive", 0), SENTIMENT, "line 2: label '0' is a number, others are names"),
        (("pos", "LABEL_0"), None, "line 2: label 'LABEL_0' is a number, others are names"),
        ((0, -1), None, "line 2: label '-1' is not a class index; they are whole and count from 0; -1 often"),
        ((0, -1), SENTIMENT, "line 2: label '-1' is not a class index"),
        ((0, 0.5), None, "line 2: label '0.5' is not a class index"),
        ((0, "1e3"), None, "line 2: label '1e3' is not a class index"),
        ((0, "100000"), None, "line 2: label '100000' is not a class index"),
        ((0, 10**30), SENTIMENT, "is not a class index"),
        ((0, float("inf")), None, "line 2: label 'inf' is not a class index"),
        ((0, None), None, "line 2: the label is missing"),
        ((0, " "), None, "line 2: the label is missing"),
        ((0, float("nan")), None, "line 2: the label is missing"),
        ((0, [1]), None, "line 2: a list is neither a number nor a name"),
        (("pos", "Pos"), None, "label 'pos' and 'Pos' differ in capitals only"),
        (("dog", "cat"), {0: "dog", 1: "dog", 2: "cat"}, "the model calls more than one class 'dog'"),
        (("DOG", "cat"), {0: "Dog", 1: "dog", 2: "cat"}, "the model calls more than one class 'DOG'"),
        (
            (0, 1),
            {0: "1", 1: "0"},
            "label '0' may be class index 0 or the class that the model calls so, index 1; write",
        ),
        ((1, 2), {0: "1", 1: "2", 2: "3"}, "label '1' may be class index 1 or"),
        (("a\x1b\n" + "b" * 99, "x"), SENTIMENT, r"no class 'a\x1b\nbbb"),
    ],
)
def test_labels_that_stand_for_nothing(
    read: Read, labels: Any, class_names: dict[int, str] | None, message: str
) -> None:
    with pytest.raises(ScanError, match=re.escape(message)) as caught:
        read("a.jsonl", labelled(*labels), class_names=class_names)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
