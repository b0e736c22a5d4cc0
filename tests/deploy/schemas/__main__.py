"""Writes the schemas anew from their projects' definitions: `python -m tests.deploy.schemas CRD.yaml...`."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.schemas import path_of

# Kind -> fields that no manifest here has and that are most of its schema. They count as unknown.
LEFT_OUT: dict[str, set[str]] = {
    "InferenceService": {
        *("canary", "explainer", "transformer", "status", "workerSpec", "initContainers"),
        *("huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton", "xgboost"),
    },
    "ServingRuntime": {"workerSpec", "status"},
}


def strict(schema: Any, left_out: set[str]) -> Any:
    """Return *schema* without its descriptions; what it does not name, or is left out, becomes an error."""
    if isinstance(schema, list):
        return [strict(each, left_out) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        word: strict(value, left_out) for word, value in schema.items() if word not in ("description", "properties")
    }
    if "properties" in schema:
        fields = {name: field for name, field in schema["properties"].items() if name not in left_out}
        kept["properties"] = {name: strict(field, left_out) for name, field in fields.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    return kept


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        kind = definition["names"]["kind"]
        for version in definition["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"], LEFT_OUT.get(kind, set()))
            text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
            path_of(kind, f"{definition['group']}/{version['name']}").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
