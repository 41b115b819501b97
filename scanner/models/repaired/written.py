"""What was written. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Written:
    """What became of the model's tensors."""

    changed: int  # tensors that are stored with other numbers than before
    total: int  # tensors of the model that the artifact stores
    notes: tuple[str, ...] = ()  # what was dropped, kept, rounded; a sentence each, for the provenance

    def and_notes(self, *notes: str) -> Written:
        """With more notes."""
        return replace(self, notes=(*self.notes, *notes))
