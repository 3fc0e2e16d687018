"""What the machine's storage is at fault of is one line with the remedy; what it is not stays a traceback."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file

from hpt_core.errors import storage_fault
from pipelines.orchestration.steps import Step
from pipelines.stage import launch

FULL = Path("/dev/full")


def write() -> NoReturn:
    FULL.write_text("x")
    raise AssertionError("there was room")


def fault_of(action: object) -> str | None:
    assert callable(action)
    try:
        action()
    except Exception as error:
        return storage_fault(error)
    raise AssertionError("nothing was raised")


def test_a_full_disk_whatever_library_meets_it(tmp_path: Path) -> None:
    assert "no space is left; make room" in str(fault_of(lambda: FULL.write_text("x")))

    def database() -> None:
        connection = sqlite3.connect(tmp_path / "small.db")
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")

    assert "no space is left; make room" in str(fault_of(database))

    def behind_another() -> None:
        try:
            FULL.write_text("x")
        except OSError as error:
            raise RuntimeError("the library failed") from error

    assert "no space is left" in str(fault_of(behind_another))


def test_a_file_that_cannot_be_written_is_named() -> None:
    for number, fault in ((errno.EACCES, "permission denied"), (errno.EROFS, "the file system is read-only")):
        assert str(storage_fault(OSError(number, "", "data/x"))).startswith(f"data/x: {fault}; allow ")


def test_other_errors_are_none_of_the_machine() -> None:
    assert fault_of(lambda: Path("/nowhere/at/all").read_text()) is None
    assert fault_of(lambda: save_file({"x": torch.zeros(1)}, 5)) is None


def test_a_stage_and_a_step_end_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "load_params", lambda: SimpleNamespace(threads=1))
    with pytest.raises(SystemExit) as ended:
        launch.launch("train", lambda params: write())
    [record] = caplog.records
    assert ended.value.code == 1 and "no space is left" in record.getMessage() and not record.exc_info

    outcome = Step("publish", "", (), lambda log: write()).run(print)
    assert outcome.verdict == "failed" and outcome.message.startswith("publish failed: no space is left")
