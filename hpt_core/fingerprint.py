"""The inputs that decide the result of a run, their hash, and which of them differ between two runs.

Checksums of what a run keeps are here as well: a changed byte would give another result without a word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import hpt_core
from hpt_core.files import read_json, write_json

RunInputs = Mapping[str, Any]
"""What decides the result of a run, by name: parameters, hashes of files, code and library versions."""
FILE = "run.json"
"""Name of the file that records a run's inputs."""
SEAL = "seal"
"""Key of the hash of all other keys."""
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


def file_hashes(folder: Path) -> dict[str, str]:
    """File of `folder` -> sha256."""
    return {path.name: file_hash(path) for path in sorted(folder.iterdir())}


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Raises ValueError for a file whose bytes are not those that were written, OSError for a missing one."""
    for name, written in expected.items():
        if file_hash(folder / name) != written:
            raise ValueError(f"{folder / name} has other bytes than were written")


def write_sealed(path: Path, contents: Mapping[str, Any]) -> None:
    """Write `contents` as JSON, with their own hash."""
    write_json(path, {**contents, SEAL: json_hash(contents)})


def read_sealed(path: Path) -> dict[str, Any]:
    """The contents that `write_sealed` wrote. Raises ValueError or KeyError for any others, OSError."""
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if contents.pop(SEAL) != json_hash(contents):
        raise ValueError(f"{path} has other bytes than were written")
    return contents
