"""JSON Schema of the JSON report. `python -m ebyd_scan.scanner.reports.schema` prints the one that is shipped."""

from __future__ import annotations

import json
import sys
from typing import Any

from ...evidence.result import SCHEMA_VERSION, ScanResult


def verdict_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what `to_json` writes; its `$id` carries the version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ebyd-scan:verdict:{SCHEMA_VERSION}",
        # Of what is written, not of what would be taken: there every field is present.
        **ScanResult.model_json_schema(mode="serialization"),
    }


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is shipped: indented, with a newline at the end."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text(verdict_schema()))
