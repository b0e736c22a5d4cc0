"""The published schemas of the kinds that are not Kubernetes' own; README.md says where they are from."""

import json
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parent


def validate(manifest: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError unless *manifest* is what its kind's definition says, with no other field."""
    schema = json.loads(path_of(manifest["kind"], manifest["apiVersion"]).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(manifest)


def path_of(kind: str, api_version: str) -> Path:
    """Where the schema of a kind lies."""
    return FOLDER / f"{kind}-{api_version.replace('/', '-')}.json"
