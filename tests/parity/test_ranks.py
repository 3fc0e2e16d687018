"""The gradient of a mini-batch is the same on one rank and on two, which hold a shard of the weights each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rank_worker
from rank_worker import OPTIONS, ragged
from safetensors.torch import load_file
from torch.testing import assert_close

from hpt_core.errors import InputError
from hpt_core.trainer.batch import rank_batches, row_info
from hpt_core.trainer.ranks import Ranks, deal
from hpt_core.upge import plan

ROOT = Path(__file__).parents[2]
EXACT = {"rtol": 1e-9, "atol": 1e-13}


def started(count: int, folder: Path) -> Path:
    """The folder with what so many ranks left in it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*command, rank_worker.__file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300 * count,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one rank left, and what two did."""
    one = tmp_path_factory.mktemp("one")
    rank_worker.main(one)
    return one, started(2, tmp_path_factory.mktemp("two"))


def of_case(folder: Path, case: str) -> dict[str, object]:
    found = load_file(folder / "gradients.safetensors")
    return {name.partition("/")[2]: value for name, value in found.items() if name.startswith(f"{case}/")}


@pytest.mark.parametrize("case", ["tied True", "tied False", "clipped", "ppo", "masked", "one row"])
def test_two_ranks_give_the_gradient_of_one(folders: tuple[Path, Path], case: str) -> None:
    one, two = (of_case(folder, case) for folder in folders)
    assert len(one) > 20 and all(gradient.abs().max() > 1e-6 for gradient in one.values())
    assert_close(two, one, **EXACT)


def test_small_layers_are_one_unit_with_the_same_gradient(folders: tuple[Path, Path]) -> None:
    one, two = folders
    assert_close(of_case(two, "all in the root"), of_case(one, "tied True"), **EXACT)
    assert_close(of_case(two, "two layers a unit"), of_case(one, "tied True"), **EXACT)
    for case in ("ppo", "masked"):
        assert_close(of_case(two, f"two layers a unit, {case}"), of_case(one, case), **EXACT)
    units = [json.loads((two / f"sharding.{rank}").read_text())["units"] for rank in (0, 1)]
    assert units == [[[2], [1, 1, 1], []]] * 2, "the root has the others"


@pytest.mark.parametrize("case", ["tied True", "ppo", "masked"])
def test_ranks_that_share_rows_give_the_gradient_of_one(folders: tuple[Path, Path], case: str) -> None:
    one, two = folders
    assert_close(of_case(two, f"2 share {case}"), of_case(one, case), **EXACT)


@pytest.mark.slow
def test_four_ranks_give_the_gradient_of_one(
    folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, four = folders[0], started(4, tmp_path_factory.mktemp("four"))
    for case in ("tied True", "ppo", "masked", "one row"):
        assert_close(of_case(four, case), of_case(one, case), **EXACT)
    for case in ("tied True", "ppo", "masked"):
        for sharing in (2, 4):
            assert_close(of_case(four, f"{sharing} share {case}"), of_case(one, case), **EXACT)
    assert_close(of_case(four, "trained"), of_case(one, "trained"), **EXACT)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_without_rows_adds_nothing(folders: tuple[Path, Path], rank: int) -> None:
    one, two = folders
    assert_close(of_case(two, f"all on rank {rank}"), of_case(one, "tied True"), **EXACT)


def test_three_steps_of_adamw_and_muon(folders: tuple[Path, Path]) -> None:
    one, two = (of_case(folder, "trained") for folder in folders)
    assert_close(two, one, **EXACT)


def test_moments_in_host_memory_change_no_bit(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        own, offloaded = (of_case(folder, case) for case in ("trained", "offloaded"))
        assert_close(offloaded, own, rtol=0, atol=0)


def test_sums_are_those_of_all_ranks(folders: tuple[Path, Path]) -> None:
    one, two = folders
    expected = json.loads((one / "sums.0").read_text())
    first, second = (json.loads((two / f"sums.{rank}").read_text()) for rank in (0, 1))
    assert first == second, "to the last bit, so that no rank decides otherwise than another"
    for case, sums in expected.items():
        # How rows are cut among ranks decides how much padding they have.
        padded, alone = first[case].pop("tokens_with_padding"), sums.pop("tokens_with_padding")
        assert padded >= sums["tokens_passed"] and alone >= sums["tokens_passed"]
        assert first[case] == pytest.approx(sums, rel=1e-12)
    for case in ("tied True", "ppo", "masked"):
        shared = {name: value for name, value in first[f"2 share {case}"].items() if "padding" not in name}
        assert shared == pytest.approx(expected[case], rel=1e-12), "counted once"
    assert expected["clipped"]["updates_clipped"] == 1
    assert expected["one row"]["rows_trained"] == 1
    assert 0 < expected["masked"]["tokens_masked"] < expected["masked"]["tokens_maskable"]


def test_ranks_share_the_hashing_of_the_weights(folders: tuple[Path, Path]) -> None:
    one, two = folders
    name, tensors = json.loads((one / "hash.0").read_text())
    found = [json.loads((two / f"hash.{rank}").read_text()) for rank in (0, 1)]
    assert {each for each, _ in found} == {name}, "the number of ranks does not change it"
    counts = [count for _, count in found]
    assert sum(counts) == tensors > 20 and abs(counts[0] - counts[1]) <= 1


def test_no_rank_but_the_main_one_holds_more_than_its_shards_and_a_layer(folders: tuple[Path, Path]) -> None:
    of_main, other = (json.loads((folders[1] / f"sharding.{rank}").read_text())["held"] for rank in (0, 1))
    assert other["most"] <= other["shards"] + other["unit"]
    assert of_main["most"] >= of_main["shards"] + other["shards"], "the count sees whole weights"


def test_layers_are_gathered_in_bfloat16_from_float32(folders: tuple[Path, Path]) -> None:
    found = json.loads((folders[1] / "sharding.1").read_text())["gathered"]
    plain, rounded = found["torch.float32"], found["torch.bfloat16"]
    assert (plain["layer"], rounded["layer"]) == ("torch.float32", "torch.bfloat16")
    assert plain["weights"] == rounded["weights"] == ["torch.float32"]
    assert plain["grad_norm"] != rounded["grad_norm"] == pytest.approx(plain["grad_norm"], rel=0.05)


def test_layers_that_share_weights_are_refused(folders: tuple[Path, Path]) -> None:
    for rank in (0, 1):
        message = json.loads((folders[1] / f"sharding.{rank}").read_text())["shared"]
        assert message.startswith(
            "train.ranks: layers of LlamaForCausalLM share weights (model.model.layers.1.mlp."
        )


def test_attention_to_a_part_of_a_shared_row_is_refused(folders: tuple[Path, Path]) -> None:
    for rank in (0, 1):
        message = json.loads((folders[1] / f"sharding.{rank}").read_text())["alone"]
        assert message.startswith("train.context_parallel: ranks cannot share rows of LlamaForCausalLM (its")


def test_weights_that_stay_in_float32_are_not_gathered_in_bfloat16(folders: tuple[Path, Path]) -> None:
    for rank in (0, 1):
        message = json.loads((folders[1] / f"sharding.{rank}").read_text())["kept"]
        assert message.startswith("train.gathered_dtype: LlamaForCausalLM keeps") and "norm" in message


def test_a_nan_on_one_rank_stops_all(folders: tuple[Path, Path]) -> None:
    one, two = folders
    for path in (one / "nan.0", two / "nan.0", two / "nan.1"):
        assert path.read_text().startswith("the loss is nan on prompts p0"), path.read_text()


def test_rows_are_dealt_evenly_and_every_rank_has_as_many_micro_batches() -> None:
    rows = ragged()
    active = plan("hpt", row_info(rows, "cpu"), **OPTIONS).active  # type: ignore[arg-type]
    of_ranks = [rank_batches(rows, active, 60, Ranks(index, 4)) for index in range(4)]
    assert len({len(micro_batches) for micro_batches in of_ranks}) == 1
    taken = sorted(i for micro_batches in of_ranks for part in micro_batches for i in part or ())
    assert taken == active.nonzero().squeeze(1).tolist()
    lengths = [19, 1, 7, 7, 3, 12]
    assert sorted(i for part in deal(lengths, 4) for i in part) == list(range(6))
    assert max(sum(lengths[i] for i in part) for part in deal(lengths, 4)) == 19
    assert deal([], 2) == [[], []] and deal([5], 2) == [[0], []]


def test_ranks_that_share_rows_have_the_same_ones() -> None:
    rows = ragged()
    active = plan("hpt", row_info(rows, "cpu"), **OPTIONS).active  # type: ignore[arg-type]
    pairs = [rank_batches(rows, active, 60, Ranks(index, 4).sharing_rows(2)) for index in range(4)]
    assert pairs[0] == pairs[1] != pairs[2] == pairs[3]
    assert pairs[::2] == [rank_batches(rows, active, 60, Ranks(index, 2)) for index in range(2)]
    with pytest.raises(InputError, match=r"context_parallel is 3, and 4 process\(es\) were started; start a"):
        Ranks(0, 4).sharing_rows(3)


def test_shares_in_order_make_the_whole() -> None:
    for count in (1, 2, 3, 5, 8):
        shares = [Ranks(index, count).share(range(7)) for index in range(count)]
        assert [i for share in shares for i in share] == list(range(7))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
