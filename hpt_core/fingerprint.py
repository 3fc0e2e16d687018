"""The inputs that decide the result of a run, their hash, and which of them differ between two runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import hpt_core
from hpt_core.files import read_json

RunInputs = Mapping[str, Any]
"""What decides the result of a run, by name: parameters, hashes of files, code and library versions."""
FILE = "run.json"
"""Name of the file that records a run's inputs."""
SHOWN = 6
"""Number of differing inputs that a message lists."""


def fingerprint(inputs: RunInputs) -> str:
    """16 hex digits that name the run; files that were kept under another fingerprint are not resumed."""
    return json_hash(inputs)


def json_hash(value: object) -> str:
    """16 hex digits of a value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(path: Path, inputs: RunInputs) -> str:
    """Names of the inputs that differ between the run recorded at `path` and a run of these inputs."""
    if not path.exists():
        return "code"  # Only older code wrote no record.
    recorded, current = _flat(read_json(path, f"remove {path.parent}")), _flat(inputs)
    names = sorted(
        name for name in recorded.keys() | current.keys() if recorded.get(name) != current.get(name)
    )
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The nested mapping as one level, its keys joined with dots."""
    flat: dict[str, Any] = {}
    for name, part in value.items():
        flat |= _flat(part, f"{prefix}{name}.") if isinstance(part, Mapping) else {prefix + name: part}
    return flat


def model_file_hashes(folder: Path) -> dict[str, str]:
    """Hashes of a model folder's files except the weights.

    Tokenizer, chat template and stop tokens change the result as well.
    """
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".safetensors")
    return {str(path.relative_to(folder)): file_hash(path) for path in files}


def code_hash(*files: str) -> str:
    """sha256 over the code of hpt_core and of `files`, the modules of pipelines that take part."""
    sources = (*sorted(Path(hpt_core.__file__).parent.rglob("*.py")), *map(Path, files))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def library_versions(engine: str) -> dict[str, str]:
    """Versions of the numerical libraries, because their kernels round differently between versions."""
    names = ["torch", "transformers"]
    if engine == "vllm":
        names += packages_distributions().get("vllm", [])
    return {name: version(name) for name in names}


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
