"""What `--search suspects` saves, and which backdoored models it leaves unsearched: from a store of a whole audit.

ebyd-scan audit work/audit/models --rules work/audit/rules.yaml --store work/audit/store.sqlite
python -m ebyd_scan.benchmarks.audit.suspects work/audit/store.sqlite --cards work/audit/cards.jsonl
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from ...evidence.verdict import Verdict
from ...scanner.audit.audits import audit_of, entries_of
from ...scanner.audit.store import Store
from ...scanner.audit.work import is_suspect
from ...scanner.tiers import TIERS

DEAR = ("model-detection", "reference-drift")


@click.command()
@click.argument("store", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--cards", type=click.Path(exists=True, path_type=Path), required=True)
def main(store: Path, cards: Path) -> None:
    """Print verdicts of the whole audit, and what would be left of them."""
    known = {card["name"]: card for card in map(json.loads, cards.read_text(encoding="utf-8").splitlines())}
    opened = Store(store)
    counts: Counter[tuple[bool, bool, str]] = Counter()
    seconds = {True: 0.0, False: 0.0}  # of the search, by whether the model is a suspect
    right = labelled = 0
    for entry in entries_of(opened, audit_of(opened, "last").id):
        card = known.get(Path(entry.path).name)
        found = opened.known(entry.key) if entry.key else None
        if card is None or found is None or found.tiers < len(TIERS):
            continue
        suspect = is_suspect([one for one in found.findings if one.check not in DEAR])
        verdict = entry.verdict or Verdict.ERROR
        counts[card["attack"] is not None, suspect, verdict.value] += 1
        seconds[suspect] += found.timings.get("model-detection", 0.0)
        if card["attack"] and verdict is Verdict.FAILED:
            labelled += 1
            right += any(one.label == card["target"] for one in found.findings if one.check == "model-detection")
    opened.close()
    click.echo("| models | n | failed | inconclusive | passed | suspects | failed and no suspects |")
    click.echo("|---|---|---|---|---|---|---|")
    for backdoored in (True, False):
        mine = {key[1:]: number for key, number in counts.items() if key[0] is backdoored}
        total = sum(mine.values())
        by = {
            word: mine.get((True, word), 0) + mine.get((False, word), 0)
            for word in ("failed", "inconclusive", "passed")
        }
        suspects = sum(number for (suspect, _), number in mine.items() if suspect)
        name = "backdoored" if backdoored else "clean"
        click.echo(
            f"| {name} | {total} | {by['failed']} | {by['inconclusive']} | {by['passed']} | {suspects} | "
            f"{mine.get((False, 'failed'), 0)} |"
        )
    click.echo(f"\nLabel right in {right} of {labelled} backdoored models that failed.")
    whole = sum(seconds.values())
    click.echo(
        f"Seconds of search: {whole:.0f}; of suspects {seconds[True]:.0f} ({seconds[True] / max(whole, 1e-9):.0%})."
    )


if __name__ == "__main__":
    main()
