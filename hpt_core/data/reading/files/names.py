"""What the name of a file says: its format and its compression."""

from __future__ import annotations

from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal

Format = Literal["json", "jsonl", "csv", "tsv", "parquet", "arrow"]
Compression = Literal["gzip", "zstd", "bz2", "xz", "lz4"]

FORMATS: MappingProxyType[str, Format] = MappingProxyType(
    {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".csv": "csv",
        ".tsv": "tsv",
        ".parquet": "parquet",
        ".arrow": "arrow",
        ".feather": "arrow",
    }
)
"""Suffix -> format. Which of .json and .jsonl a text is, its content decides (`json_rows`)."""
COMPRESSIONS: MappingProxyType[str, Compression] = MappingProxyType(
    {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2", ".xz": "xz", ".lz4": "lz4"}
)
READ = f"{' '.join(FORMATS)}, also with {' '.join(COMPRESSIONS)}"
"""The suffixes that are read, for messages."""


def compression_of(name: str) -> Compression | None:
    return COMPRESSIONS.get(PurePosixPath(name).suffix.lower())


def uncompressed(name: str) -> str:
    """The name without the suffix of its compression."""
    return str(PurePosixPath(name).with_suffix("")) if compression_of(name) else name


def format_of(name: str) -> Format | None:
    return FORMATS.get(PurePosixPath(uncompressed(name)).suffix.lower())
