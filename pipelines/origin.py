"""What of the files around it decides a run, for the name that its kept work is found under."""

from __future__ import annotations

import hashlib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import hpt_core


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
