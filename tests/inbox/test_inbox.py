"""The inbox on a real S3 server: what is taken, what waits, what goes to quarantine, and who takes it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import time
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inbox_project import Project, RunPoll, rows, write_params

from hpt_core.errors import InputError
from pipelines.cli import main
from pipelines.inbox import bucket as buckets


@pytest.fixture(params=["plain", "versioned"])
def any_bucket(project: Project, request: pytest.FixtureRequest) -> Project:
    project.bucket = str(request.param)
    write_params(project.root, project.url)
    return project


def test_a_file_is_taken_once_with_a_receipt(any_bucket: Project) -> None:
    project = any_bucket
    body = rows(3) + "not json\n" + rows(1, first=9)
    project.upload("crowd/2026/may.jsonl", body)
    received = project.poll()
    assert dict(received.taken) == {"crowd": 1} and received.waiting == {}
    file = project.root / "raw/data/inbox/crowd/2026/may.jsonl"
    assert file.read_text() == body
    [receipt] = project.json("receipts/")
    assert receipt["sha256"] == hashlib.sha256(body.encode()).hexdigest()
    assert receipt["key"] == "crowd/2026/may.jsonl" and receipt["size"] == len(body)
    assert (receipt["outcome"], receipt["source"], receipt["rows"]) == ("taken", "crowd", 5)
    assert receipt["path"] == "raw/data/inbox/crowd/2026/may.jsonl"
    assert receipt["unusable"] == {"malformed_json": 1} and "etag" in receipt["checked"]
    assert receipt["owner"] and receipt["when"]
    assert str(project.poll()) == "nothing new"
    assert project.names("claims/") == ["claims/conditions.json"]
    assert not list((project.root / "checkpoints/inbox@poll").rglob("*.jsonl"))


def test_the_same_content_under_another_name_is_a_duplicate(any_bucket: Project) -> None:
    project = any_bucket
    project.upload("crowd/a.jsonl", rows(2))
    project.poll()
    project.upload("crowd/b.jsonl", rows(2))
    project.poll()
    assert project.outcomes() == {"crowd/a.jsonl": ["taken"], "crowd/b.jsonl": ["duplicate"]}
    assert project.files() == ["inbox/crowd/a.jsonl"]
    [duplicate] = [receipt for receipt in project.json("receipts/") if receipt["outcome"] == "duplicate"]
    assert duplicate["detail"] == "crowd/a.jsonl" and duplicate["path"] is None


def test_a_replaced_key_is_a_new_version(any_bucket: Project) -> None:
    project, file = any_bucket, any_bucket.root / "raw/data/inbox/crowd/a.jsonl"
    for content in (rows(2), rows(3), rows(2)):  # back to the first content as well
        project.upload("crowd/a.jsonl", content)
        assert dict(project.poll().taken) == {"crowd": 1}
        assert file.read_text() == content
        time.sleep(1.1)  # Without versions, uploads of one content differ in their time alone: whole seconds.
    assert project.outcomes() == {"crowd/a.jsonl": ["taken"] * 3}


REFUSED = {
    "crowd/x\x1b[2Jy.jsonl": "bad_name",
    "crowd/.hidden.jsonl": "bad_name",
    "crowd/a/_b/c.jsonl": "bad_name",
    "crowd/" + "n" * 240 + ".jsonl": "bad_name",
    "crowd/readme.md": "not_data",
    "crowd/dataset_info.json": "not_data",
    "loose.jsonl": "unknown_source",
    "nobody/a.jsonl": "unknown_source",
    "single/a.jsonl": "unknown_source",
}


def test_names_that_lead_elsewhere_or_nowhere_go_to_quarantine(any_bucket: Project) -> None:
    project = any_bucket
    for n, key in enumerate(REFUSED, 1):
        project.upload(key, rows(n))
    received = project.poll()
    assert {receipt.key: receipt.detail.partition(":")[0] for receipt in received.receipts} == REFUSED
    assert project.files() == []
    assert {name.partition("/")[0] for name in project.names()} == {"claims", "quarantine", "receipts"}
    entries = project.json("quarantine/", "/reason.json")
    assert {each["receipt"]["key"]: each["reason"] for each in entries} == REFUSED
    assert str(project.poll()) == "nothing new"


@pytest.mark.parametrize(
    "name", ["../up.jsonl", "..", "a/../../up.jsonl", "/abs.jsonl", "a//b.jsonl", ".", ""]
)
def test_no_name_leaves_the_folder(project: Project, name: str) -> None:
    """Also names that this S3 server itself refuses."""
    from pipelines.inbox.destination import folder_for
    from pipelines.inbox.refused import Refused
    from pipelines.params import load_params

    folder = folder_for("crowd", load_params(), project.root)
    with pytest.raises(Refused, match="bad_name"):
        folder.file(name, project.root)
    outside = project.root.parent / "outside"
    outside.mkdir()
    (project.root / folder.path).mkdir(parents=True)
    (project.root / folder.path / "link").symlink_to(outside)
    with pytest.raises(Refused, match="link out of"):
        folder.file("link/a.jsonl", project.root)


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"question": ["What is 1 + 1?"] * 99, "solution": ["It is 2."] * 99}), out)
    return out.getvalue()


BROKEN = {
    "crowd/a.jsonl": (rows(9).encode()[:-20], "cut_off"),
    "crowd/a.jsonl.gz": (gzip.compress(rows(500).encode())[:-30], "unreadable"),
    "crowd/a.parquet": (parquet()[:-10], "unreadable"),
    "crowd/a.json": (json.dumps([{"question": "1 + 1?", "solution": "2"}] * 9).encode()[:-30], "unreadable"),
    "crowd/b.jsonl": (b"", "empty"),
    "crowd/c.jsonl": (b'{"a": 1}\n{"a": 2}\n', "no_usable_row"),
    "crowd/d.jsonl": (b"<!doctype html><p>Log in</p>", "unreadable"),
}


@pytest.mark.parametrize("key", BROKEN)
def test_what_may_be_half_uploaded_is_left_alone_and_then_quarantined(project: Project, key: str) -> None:
    body, reason = BROKEN[key]
    write_params(project.root, project.url, settle_s=3600)
    project.upload(key, body)
    received = project.poll()
    assert received.receipts == [] and "left alone until it is 3600 s old" in received.waiting[key]
    assert project.names("crowd/") == [key] and project.names("quarantine/") == []
    write_params(project.root, project.url, settle_s=0)
    [receipt] = project.poll().receipts
    assert (receipt.outcome, receipt.detail.partition(":")[0]) == ("quarantined", reason)
    assert project.names("crowd/") == [] and project.files() == []
    [place] = [each for each in project.names("quarantine/") if not each.endswith("reason.json")]
    found = project.s3.get_object(Bucket=project.bucket, Key=f"{project.prefix}/{place}")["Body"].read()
    assert found == body


def test_a_file_that_is_completed_meanwhile_is_taken(project: Project) -> None:
    write_params(project.root, project.url, settle_s=3600)
    project.upload("crowd/a.jsonl", rows(3)[:-9])
    assert project.poll().waiting
    project.upload("crowd/a.jsonl", rows(3))
    assert dict(project.poll().taken) == {"crowd": 1}
    part = {"Bucket": project.bucket, "Key": f"{project.prefix}/crowd/b.jsonl"}
    part["UploadId"] = project.s3.create_multipart_upload(**part)["UploadId"]
    etag = project.s3.upload_part(**part, PartNumber=1, Body=rows(4).encode())["ETag"]
    assert str(project.poll()) == "nothing new"
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    project.s3.complete_multipart_upload(**part, MultipartUpload=parts)
    assert dict(project.poll().taken) == {"crowd": 1}


def test_checksums_are_compared(project: Project) -> None:
    right = hashlib.sha256(rows(1).encode()).hexdigest()
    project.upload("crowd/right.jsonl", rows(1), Metadata={"sha256": right}, ChecksumAlgorithm="SHA256")
    project.upload("crowd/wrong.jsonl", rows(2), Metadata={"sha256": right})
    taken, refused = project.poll().receipts
    assert taken.key == "crowd/right.jsonl" and {"sha256", "etag", "size", "checksum"} == {*taken.checked}
    assert refused.key == "crowd/wrong.jsonl" and "checksum" in refused.detail


def test_a_large_file_goes_both_ways_in_parts(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(buckets, "PART", 5 * 2**20)
    file = project.root / "big.jsonl"
    long = "It is long. " * 2**16
    file.write_text("".join(json.dumps({"question": str(n), "solution": long}) + "\n" for n in range(16)))
    assert 2 * buckets.PART < file.stat().st_size < 3 * buckets.PART
    assert main.main(["inbox", "put", "big.jsonl", "--source", "crowd"]) == 0
    [receipt] = project.poll().receipts
    assert receipt.rows == 16 and receipt.etag.endswith("-3") and {"etag", "sha256"} < {*receipt.checked}
    assert (project.root / receipt.path).read_bytes() == file.read_bytes()


def test_put_checks_first_and_replaces_nothing_unasked(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    put = ["inbox", "put", "new.jsonl", "--source"]
    file = project.root / "new.jsonl"
    file.write_text(rows(2)[:-5])
    assert main.main([*put, "crowd"]) == 2 and "cut_off" in capsys.readouterr().err
    file.write_text(rows(2))
    assert main.main([*put, "nobody"]) == 2 and "experts.sources has no 'nobody'" in capsys.readouterr().err
    assert main.main([*put, "crowd", "--as", "../x.jsonl"]) == 2 and "bad_name" in capsys.readouterr().err
    assert main.main([*put, "crowd"]) == 0 and "uploaded, 2 rows" in capsys.readouterr().out
    assert main.main([*put, "crowd"]) == 0 and "already, with this content" in capsys.readouterr().out
    file.write_text(rows(3))
    assert main.main([*put, "crowd"]) == 2 and "with other content" in capsys.readouterr().err
    assert main.main([*put, "crowd", "--replace"]) == 0
    assert project.s3.list_multipart_uploads(Bucket=project.bucket).get("Uploads", []) == []


def test_files_that_would_stop_the_stage_do_not_come_in(project: Project) -> None:
    project.upload("crowd/a_train.jsonl", rows(1))
    project.poll()
    for n, name in enumerate(("b.parquet", "a_train.jsonl.gz", "a_test.jsonl"), 2):
        body = parquet() if name == "b.parquet" else rows(n).encode()
        project.upload(f"crowd/{name}", gzip.compress(body) if name.endswith(".gz") else body)
    details = {receipt.key: receipt.detail for receipt in project.poll().receipts}
    assert {key: detail.partition(":")[0] for key, detail in details.items()} == dict.fromkeys(
        ["crowd/b.parquet", "crowd/a_train.jsonl.gz", "crowd/a_test.jsonl"], "does_not_fit"
    )
    assert project.files() == ["inbox/crowd/a_train.jsonl"]


def test_a_pattern_takes_what_it_reads(project: Project) -> None:
    write_params(project.root, project.url, file="raw/data/crowd/**/*.jsonl")
    project.upload("crowd/x/a.jsonl", rows(1))
    project.upload("crowd/b.csv", "question,solution\n1 + 1,2\n")
    project.poll()
    assert project.files() == ["crowd/x/a.jsonl"]
    assert project.outcomes() == {"crowd/x/a.jsonl": ["taken"], "crowd/b.csv": ["quarantined"]}


def test_a_file_of_the_user_is_never_replaced(project: Project) -> None:
    file = project.root / "raw/data/inbox/crowd/a.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(rows(7))
    project.upload("crowd/a.jsonl", rows(2))
    assert "did not come from the inbox" in project.poll().waiting["crowd/a.jsonl"]
    assert file.read_text() == rows(7)
    file.unlink()
    assert dict(project.poll().taken) == {"crowd": 1}


def test_a_license_that_is_not_listed_is_no_fault_of_the_file(project: Project) -> None:
    params = project.root / "params.yaml"
    params.write_text(params.read_text().replace("licenses: [MIT, Apache-2.0]", "licenses: [Apache-2.0]"))
    if "licenses:\n" in params.read_text():
        params.write_text(params.read_text().replace("  - MIT\n", "", 1))
    project.upload("crowd/a.jsonl", rows(2))
    assert "experts.licenses" in project.poll().waiting["crowd/a.jsonl"]
    write_params(project.root, project.url)
    assert dict(project.poll().taken) == {"crowd": 1}


def test_of_many_pollers_one_takes_each_file(project: Project, tmp_path: Path) -> None:
    for n in range(12):
        project.upload(f"crowd/{n}.jsonl", rows(n + 1))
    project.upload("crowd/again.jsonl", rows(3))
    others = [project.copy(tmp_path / f"checkout{n}") for n in range(4)]
    threads = [threading.Thread(target=other.poll) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    others[0].poll()  # what had to wait for the claim of the same content
    taken = [file for other in others for file in other.files()]
    assert len(taken) == len(set(taken)) == 12
    outcomes = project.outcomes()
    assert len(outcomes) == 13 and all(len(each) == 1 for each in outcomes.values())


def test_a_claim_expires_by_the_servers_clock(project: Project, tmp_path: Path, run_poll: RunPoll) -> None:
    dead, other = project.copy(tmp_path / "dead"), project.copy(tmp_path / "other")
    project.upload("crowd/a.jsonl", rows(2))
    assert run_poll("place", dead.root).returncode == -9
    assert dead.files() == ["inbox/crowd/a.jsonl"] and project.outcomes() == {}
    assert "has claimed it" in other.poll().waiting["crowd/a.jsonl"]
    write_params(other.root, project.url, claim_s=1)
    time.sleep(2.1)
    assert dict(other.poll().taken) == {"crowd": 1}
    # The checkout that was killed gives its file back, since the other's receipt was first.
    dead.poll()
    assert dead.files() == [] and other.files() == ["inbox/crowd/a.jsonl"]
    assert project.outcomes() == {"crowd/a.jsonl": ["taken"]}


def test_release_brings_a_file_back(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.upload("later/a.jsonl", rows(2))
    project.poll()
    assert main.main(["inbox", "list"]) == 0
    assert "in quarantine: unknown_source" in " ".join(capsys.readouterr().out.split())
    assert main.main(["inbox", "release", "crowd/b.jsonl"]) == 2
    assert "hpt inbox list" in capsys.readouterr().err
    params = project.root / "params.yaml"
    params.write_text(params.read_text().replace("crowd", "later"))
    assert main.main(["inbox", "release", "later/a.jsonl"]) == 0
    assert main.main(["inbox", "poll"]) == 0
    assert "later/a.jsonl: taken: raw/data/inbox/later/a.jsonl, 2 rows" in capsys.readouterr().out
    assert project.names("quarantine/") == []


def test_errors_are_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(status: int) -> str:
        assert main.main(["inbox", "poll"]) == status
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and "Traceback" not in err
        return err

    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        message = error(2)
        assert "refuses the credentials" in message and "wrong" not in message
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://user:secret@127.0.0.1:9")
        message = error(1)
        assert "127.0.0.1:9 does not answer" in message and "secret" not in message
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        assert "no credentials" in error(2)
    with monkeypatch.context() as patch:
        real = botocore.auth.get_current_datetime
        patch.setattr(
            botocore.auth, "get_current_datetime", lambda *a, **k: real(*a, **k) - timedelta(hours=2)
        )
        assert "clock" in error(2)
    write_params(project.root, "s3://no-such-bucket/in")
    assert "there is no bucket 'no-such-bucket'" in error(2)


def test_a_full_disk_loses_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.inbox import download

    project.upload("crowd/a.jsonl", rows(2))
    monkeypatch.setattr(download, "RESERVE", 2**60)
    assert "make room" in project.poll().waiting["crowd/a.jsonl"]
    monkeypatch.undo()


def test_a_server_without_conditional_puts_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = buckets.Bucket._put
    monkeypatch.setattr(buckets.Bucket, "_put", lambda self, key, body, **condition: put(self, key, body))
    project.upload("crowd/a.jsonl", rows(2))
    with pytest.raises(InputError, match="ignores If-None-Match"):
        project.poll()
