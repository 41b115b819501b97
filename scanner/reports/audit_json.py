"""An audit as JSON, as `audit.schema.json` describes it; run as a module, it prints that schema."""

from __future__ import annotations

import sys
from typing import Any

from ...evidence.audit import SCHEMA_VERSION, Audit
from .json_report import as_json
from .schema import schema_text


def render(audit: Audit) -> str:
    """The whole audit with each model's whole result, field by field in the order of the types, ASCII only.

    `Audit.model_validate_json` reads it back.
    """
    return as_json(audit.model_dump(mode="json"))


def audit_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what `render` writes; its `$id` carries the version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ebyd-scan:audit:{SCHEMA_VERSION}",
        **Audit.model_json_schema(mode="serialization"),
    }


if __name__ == "__main__":
    sys.stdout.write(schema_text(audit_schema()))
