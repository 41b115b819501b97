"""JSON Schema of project files. `python -m ebyd_scan.scanner.project.schema` prints the one that is shipped."""

from __future__ import annotations

import sys
from typing import Any

from ...policies.schema import DIALECT, schema_text
from .model import Project


def project_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of `ebyd-scan.yaml`; what only `load_project` sees, it does not say."""
    return {"$schema": DIALECT, "$id": "urn:ebyd-scan:project:1", **Project.model_json_schema()}


if __name__ == "__main__":
    sys.stdout.write(schema_text(project_schema()))
