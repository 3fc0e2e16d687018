"""Which stage runs on which pool, and what is missing for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pool_checkouts import share

from hpt_core.errors import InputError
from pipelines.pools.assignment import assign, check

STAGES = ("curate", "train@human", "train@program", "evaluate@human")


def test_the_key_of_one_arm_decides_before_that_of_all() -> None:
    assert assign({}, STAGES) == {}
    assert assign({"train": "gpu"}, STAGES) == {"train@human": "gpu", "train@program": "gpu"}
    pools = {"train": "gpu", "train@human": "other", "curate": "cpu"}
    assert assign(pools, STAGES) == {"curate": "cpu", "train@human": "other", "train@program": "gpu"}


@pytest.mark.parametrize("key", ["trian", "train@nobody", "publish", "@human"])
def test_a_key_that_is_no_stage_is_named_with_those_that_are(key: str) -> None:
    with pytest.raises(InputError) as caught:
        assign({key: "gpu"}, STAGES)
    message = str(caught.value)
    assert message.startswith(
        f"params.yaml: pools.{key}: no stage has this name; correct it to one of curate,"
    )
    assert "train, train@human" in message


def test_what_a_pool_needs_is_named_with_the_key_and_the_remedy(reproduced: Path, tmp_path: Path) -> None:
    root = tmp_path / "toy"
    shutil.copytree(reproduced, root, symlinks=True)
    due = {"train@human": "gpu"}
    check(root, {}, reachable=False)
    with pytest.raises(InputError, match=r"pools gives train@human to gpu, .* set PREFECT_API_URL"):
        check(root, due, reachable=False)
    with pytest.raises(
        InputError, match=r"to gpu, and the DVC remote .*/\.remote is inside .* hpt remote URL"
    ):
        check(root, due, reachable=True)
    (root / ".dvc/config").write_text("")
    with pytest.raises(InputError, match=r"to gpu, and there is no DVC remote .* hpt remote URL"):
        check(root, due, reachable=True)
    share(root, tmp_path / "remote")
    check(root, due, reachable=True)
    (root / "stages.py").write_text("# edited\n")
    (root / "more.py").touch()
    with pytest.raises(InputError, match=r"more\.py, stages\.py differ from commit \w{40}.* commit and push"):
        check(root, due, reachable=True)
