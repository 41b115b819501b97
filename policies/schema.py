"""JSON Schema of policy files, for editors. `python -m ebyd_scan.policies.schema` prints the one that is shipped."""

from __future__ import annotations

import json
import sys
from typing import Any

from .model import AUTO, ExposureSettings, Policy
from .plugins import CHECKS, EXPOSERS, REMOVERS, Group, options_model, plugin_class, plugin_names, settings_model

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def policy_schema(*, built_in_only: bool = False) -> dict[str, Any]:
    """The schema (draft 2020-12) of a policy with the options of all installed checks, exposers and removers.

    Args:
        built_in_only: leave out third parties' plugins, as in the file that is shipped.

    Raises:
        UsageError: a plugin cannot be imported.
    """
    schema = Policy.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    checks = {name: settings_model(cls) for name, cls in _classes(CHECKS, built_in_only)}
    exposers = {name: options_model(cls) for name, cls in _classes(EXPOSERS, built_in_only)}
    removers = {name: options_model(cls) for name, cls in _classes(REMOVERS, built_in_only)}

    # Nothing behind the name stands for the check's defaults.
    schema["properties"]["checks"] |= {
        "properties": {name: {"anyOf": [{"$ref": _ref(name)}, {"type": "null"}]} for name in checks},
        "additionalProperties": False,
        "minProperties": 1,
    }
    exposure = definitions["ExposureSettings"]
    exposure["properties"]["method"]["enum"] = list(exposers)
    exposure["allOf"] = [_options_of(name) for name in exposers]
    removal = definitions["RemovalSettings"]["properties"]
    removal["method"]["enum"] = [AUTO, *removers]
    removal["candidates"]["items"]["enum"] = list(removers)
    removal["options"] |= {
        "properties": {name: {"$ref": _ref(name)} for name in removers},
        "additionalProperties": False,
    }
    for name, model in (*checks.items(), *exposers.items(), *removers.items()):
        own = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(own.pop("$defs", {}))
        definitions[name] = own
    return {"$schema": DIALECT, "$id": "urn:ebyd-scan:policy:1", **schema}


def _classes(group: Group, built_in_only: bool) -> list[tuple[str, type[Any]]]:
    return [(name, plugin_class(group, name)) for name in plugin_names(group, built_in_only=built_in_only)]


def _options_of(name: str) -> dict[str, Any]:
    condition: dict[str, Any] = {"properties": {"method": {"const": name}}}
    if name != ExposureSettings.model_fields["method"].default:  # the default method need not be written
        condition["required"] = ["method"]
    return {"if": condition, "then": {"properties": {"options": {"$ref": _ref(name)}}}}


def _ref(name: str) -> str:
    return f"#/$defs/{name}"


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is shipped: indented, with a newline at the end."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text(policy_schema(built_in_only=True)))
