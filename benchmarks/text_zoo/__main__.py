"""python -m ebyd_scan.benchmarks.text_zoo --data ../shared/data --out work/text_zoo: builds what is not there yet.

One process works on one thread; the two halves can be built by two processes at the same time (`--half`).
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from .build import build_card, line
from .cards import CARDS
from .data import HALVES


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("work/text_zoo"), show_default=True
)
@click.option("--only", multiple=True, help="Build only models whose name holds this text; may be repeated.")
@click.option("--half", type=click.Choice(HALVES), help="Build only this half.")
@click.option("--list", "show", is_flag=True, help="Only list the models, in the order they are built.")
def main(data: Path, out: Path, only: tuple[str, ...], half: str | None, show: bool) -> None:
    """Build every model that is not in OUT yet."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for card in CARDS:
        if (half and card.half != half) or (only and not any(text in card.name for text in only)):
            continue
        if show:
            click.echo(f"{card.name:46} seed {card.seed:6} target {card.target} {'more' if card.more else ''}")
        elif not (out / f"{card.name}.json").exists():
            click.echo(line(build_card(card, data, out)))


if __name__ == "__main__":
    main()
