"""A project with an inbox, and what a person would do with both."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Protocol

from ruamel.yaml import YAML

REPO = Path(__file__).parents[2]


class RunPoll(Protocol):
    """Polls in a process of its own, which is killed (SIGKILL) after the step `until`, if that comes."""

    def __call__(self, until: str = "", root: Path | None = None) -> CompletedProcess[str]: ...


@dataclass
class Project:
    """A project whose inbox is a bucket of its own, and what a person would do with both."""

    root: Path
    bucket: str
    prefix: str
    s3: Any

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def upload(self, key: str, body: bytes | str, **options: Any) -> None:
        body = body.encode() if isinstance(body, str) else body
        self.s3.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=body, **options)

    def names(self, prefix: str = "") -> list[str]:
        page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/{prefix}")
        return [each["Key"].removeprefix(f"{self.prefix}/") for each in page.get("Contents", [])]

    def json(self, prefix: str, suffix: str = ".json") -> list[dict[str, Any]]:
        """The JSON objects of these names."""
        return [
            json.loads(self.s3.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")["Body"].read())
            for key in self.names(prefix)
            if key.endswith(suffix)
        ]

    def poll(self) -> Any:
        from pipelines.inbox.poll import poll

        return poll(self.root)

    def outcomes(self) -> dict[str, list[str]]:
        """Key -> outcomes of its receipts."""
        outcomes: dict[str, list[str]] = {}
        for receipt in sorted(self.json("receipts/"), key=lambda receipt: receipt["when"]):
            outcomes.setdefault(receipt["key"], []).append(receipt["outcome"])
        return outcomes

    def files(self) -> list[str]:
        """Files below raw/data, relative to it."""
        data = self.root / "raw/data"
        return sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file())

    def copy(self, root: Path) -> Project:
        """Another checkout of the same project."""
        shutil.copytree(self.root, root)
        shutil.rmtree(root / "checkpoints", ignore_errors=True)
        return Project(root, self.bucket, self.prefix, self.s3)


def rows(count: int, first: int = 1) -> str:
    numbers = range(first, first + count)
    return "".join(
        json.dumps({"question": f"What is {n} + 1?", "solution": f"It is \\boxed{{{n + 1}}}."}) + "\n"
        for n in numbers
    )


def write_params(
    root: Path, url: str, settle_s: float = 0, claim_s: float = 600, file: str = "raw/data/inbox/crowd"
) -> None:
    """params.yaml with the sources `crowd`, which reads a folder, and `single`, which reads one file."""
    yaml = YAML()
    params = yaml.load(REPO / "tests/pipeline/toy/params.yaml")
    columns = {"problem": "question", "response": "solution"}
    licensed = {"kind": "human", "license": "MIT", "columns": columns}
    params["experts"]["sources"] += [
        {"name": "crowd", "file": file, **licensed},
        {"name": "single", "file": "raw/data/single.jsonl", **licensed},
    ]
    params["experts"]["licenses"] = ["MIT", "Apache-2.0"]
    params["inbox"] = {"url": url, "settle_s": settle_s, "claim_s": claim_s}
    with (root / "params.yaml").open("w") as out:
        yaml.dump(params, out)
