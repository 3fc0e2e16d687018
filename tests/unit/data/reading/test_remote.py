"""Files on a server: an S3 endpoint over HTTP that s3fs talks to, and the errors of such a server."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import ClassVar
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core.config import PromptSource
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError

ROWS = [{"problem": f"{n} + 1", "answer": str(n + 1)} for n in range(3000)]


def _parquet() -> bytes:
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


class Bucket(BaseHTTPRequestHandler):
    """Serves GET and HEAD of objects of the bucket `data`, in full or by range, and empty listings."""

    objects: ClassVar[dict[str, bytes]] = {}
    ranges: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        key = unquote(self.path.partition("?")[0]).removeprefix("/data").lstrip("/")
        if key == "secret.jsonl":
            return self._send(403, b"", body)
        if "list-type=2" in self.path:
            return self._send(200, self._listing(), body)
        if key not in self.objects:
            return self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", body)
        data, requested = self.objects[key], self.headers.get("Range")
        if requested is None:
            return self._send(200, data, body)
        self.ranges.append(requested)
        first, last = requested.removeprefix("bytes=").split("-")
        return self._send(206, data[int(first) : int(last) + 1 if last else None], body)

    def _listing(self) -> bytes:
        """ListObjectsV2: keys with the prefix, those beyond the delimiter as folders."""
        query = dict(parse_qsl(self.path.partition("?")[2], keep_blank_values=True))
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = [key for key in self.objects if key.startswith(prefix)]
        folders = {
            key[: key.index("/", len(prefix)) + 1] for key in keys if delimiter and "/" in key[len(prefix) :]
        }
        files = [key for key in keys if not any(key.startswith(folder) for folder in folders)]
        contents = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(self.objects[key])}</Size>"
            "<LastModified>2025-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in files
        )
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>" for key in sorted(folders)
        )
        count = f"<KeyCount>{len(files) + len(folders)}</KeyCount>"
        return f"<ListBucketResult>{count}{contents}{prefixes}</ListBucketResult>".encode()

    def _send(self, status: int, data: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    Bucket.objects = {}
    Bucket.ranges.clear()
    yield Bucket
    server.shutdown()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


def source(key: str) -> PromptSource:
    return PromptSource(name="mine", file=f"s3://data/{key}", answer_kind="exact")


@pytest.mark.parametrize("key", ["rows.jsonl", "rows.json", "rows.csv", "folder/rows.parquet"])
def test_every_format_is_read_from_a_server(bucket: type[Bucket], key: str) -> None:
    lines = [json.dumps(row).encode() for row in ROWS]
    csv = "problem,answer\n" + "".join(f"{row['problem']},{row['answer']}\n" for row in ROWS)
    bucket.objects = {
        "rows.jsonl": b"\n".join(lines),
        "rows.json": b"[\n" + b",\n".join(lines) + b"\n]",
        "rows.csv": csv.encode(),
        "folder/rows.parquet": _parquet(),
    }
    rows = list(read_rows(source(key)))
    assert [row.values for row in rows if isinstance(row, SourceRow)] == ROWS
    assert rows[5].file == f"s3://data/{key}"


def test_a_bad_line_is_rejected_with_the_url(bucket: type[Bucket]) -> None:
    bucket.objects = {"rows.jsonl": b'{"problem": "a", "answer": "b"}\n{oops\n'}
    _, bad = read_rows(source("rows.jsonl"))
    assert isinstance(bad, Reject)
    assert (bad.file, bad.line, bad.reason) == ("s3://data/rows.jsonl", 2, "malformed_json")


@pytest.mark.parametrize("file", ["shards", "shards/", "shards/*", "shards/**", "sh*/part-0000[01]*"])
def test_folders_and_patterns(bucket: type[Bucket], file: str) -> None:
    lines = [json.dumps(row).encode() for row in ROWS]
    bucket.objects = {
        "shards/part-00001.jsonl.gz": gzip.compress(b"\n".join(lines[1500:])),
        "shards/part-00000.jsonl": b"\n".join(lines[:1500]),
        "shards/_SUCCESS": b"",
        "shards/README.md": b"# Rows",
        "other/part-00002.jsonl": b"{",
    }
    rows = list(read_rows(source(file)))
    assert [row.values for row in rows if isinstance(row, SourceRow)] == ROWS
    assert (rows[1500].file, rows[1500].line) == ("s3://data/shards/part-00001.jsonl.gz", 1)


def test_a_pattern_without_a_match_is_named(bucket: type[Bucket]) -> None:
    bucket.objects = {"shards/part-00001.jsonl": b"{}"}
    with pytest.raises(InputError, match=r"s3://data/shards/\*\.csv: matches no data file.*'mine'"):
        list(read_rows(source("shards/*.csv")))


@pytest.mark.parametrize("key", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "rows.csv"])
def test_files_of_a_web_server(bucket: type[Bucket], key: str) -> None:
    text = b"\n".join(json.dumps(row).encode() for row in ROWS)
    csv = "problem,answer\n" + "".join(f"{row['problem']},{row['answer']}\n" for row in ROWS)
    bucket.objects = {
        "rows.jsonl": text,
        "rows.jsonl.gz": gzip.compress(text),
        "rows.parquet": _parquet(),
        "rows.csv": csv.encode(),
    }
    server = os.environ["AWS_ENDPOINT_URL"]
    for url in (f"{server}/data/{key}", f"{server}/data/{key}?download=true"):
        rows = list(read_rows(PromptSource(name="mine", file=url, answer_kind="exact")))
        assert [row.values for row in rows if isinstance(row, SourceRow)] == ROWS
    with pytest.raises(InputError, match=r"/data/absent\.jsonl: no such file.*'mine'"):
        list(read_rows(PromptSource(name="mine", file=f"{server}/data/absent.jsonl", answer_kind="exact")))


def test_a_large_file_is_read_block_by_block(bucket: type[Bucket]) -> None:
    line = json.dumps({"problem": "x" * 1000, "answer": "1"}).encode() + b"\n"
    bucket.objects = {"rows.jsonl": line * 20_000}
    rows = read_rows(source("rows.jsonl"))
    assert isinstance(next(rows), SourceRow)
    sizes = [int(last) - int(first) for first, last in (r[6:].split("-") for r in bucket.ranges)]
    assert max(sizes) < 10 * 2**20 < len(bucket.objects["rows.jsonl"])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("absent.jsonl", r"s3://data/absent\.jsonl: no such file.*'mine'"),
        ("secret.jsonl", r"s3://data/secret\.jsonl.*'mine' in params\.yaml.*AWS_ACCESS_KEY_ID"),
    ],
)
def test_an_error_of_the_server_names_the_url_and_the_remedy(
    bucket: type[Bucket], key: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list(read_rows(source(key)))


def test_an_unknown_protocol_is_named() -> None:
    bad = PromptSource(name="mine", file="gopher9://data/rows.jsonl", answer_kind="exact")
    with pytest.raises(InputError, match=r"gopher9://data/rows\.jsonl.*s3://BUCKET/KEY"):
        list(read_rows(bad))
