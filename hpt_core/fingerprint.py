"""What a run was made of, by name, so that two of them can be told apart in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import hpt_core

RunInputs = Mapping[str, Any]
"""All that decides the result of a run, by name: parameters, hashes of files, code and library versions."""
FILE = "run.json"
SHOWN = 6


def fingerprint(inputs: RunInputs) -> str:
    """16 hex digits that name the run: what is kept of any other is not resumed."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def differences(path: Path, inputs: RunInputs) -> str:
    """Names of the inputs that differ between the run recorded at `path` and a run of these inputs."""
    if not path.exists():
        return "code"  # that which left none
    there, here = _flat(json.loads(path.read_text())), _flat(inputs)
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, part in value.items():
        flat |= _flat(part, f"{prefix}{name}.") if isinstance(part, Mapping) else {prefix + name: part}
    return flat


def model_files(folder: Path) -> dict[str, str]:
    """Hashes of all but the weights: tokenizer, chat template and stop tokens decide as much as they do."""
    beside = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".safetensors")
    return {str(path.relative_to(folder)): file_hash(path) for path in beside}


def code(*files: str) -> str:
    """The hash of hpt_core and of `files`, the modules of pipelines that take part."""
    sources = (*sorted(Path(hpt_core.__file__).parent.rglob("*.py")), *map(Path, files))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def libraries(engine: str) -> dict[str, str]:
    """Versions of what computes: other kernels round otherwise."""
    names = ["torch", "transformers"]
    if engine == "vllm":
        names += packages_distributions().get("vllm", [])
    return {name: version(name) for name in names}


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
