"""The paper's recipes fit the machines that they are for, and `hpt plan` says what would not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from model_configs import LLAMA_8B, PUBLISHED, write_config

from hpt_core.errors import InputError
from pipelines.cli.main import main
from pipelines.params import recipes
from pipelines.plan import devices
from pipelines.plan.effort import read_phases
from pipelines.plan.plan import Plan, Request, plan
from pipelines.plan.text import WIDTH

REPO = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(REPO / "conf", tmp_path / "conf")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPO / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(
    root: Path, name: str, *overrides: str, device: str = "h100-80g", gpus: int | None = None
) -> Plan:
    folder = write_config(root / name, PUBLISHED[name])
    inputs = ["data=openr1.parquet", f"model={folder}", *overrides]
    params = recipes.read(root, f"paper_{name}", inputs)
    return plan(params, Request(devices.device(device), gpus))


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        ("qwen_7b", "eight"),
        ("qwen_7b", "one"),
        ("llama_8b", "eight"),
        pytest.param("llama_8b", "one", marks=pytest.mark.slow),
        pytest.param("qwen_1_5b", "eight", marks=pytest.mark.slow),
        pytest.param("qwen_1_5b", "one", marks=pytest.mark.slow),
    ],
)
def test_the_papers_recipes_fit_80_gb(name: str, gpus: str, checkout: Path) -> None:
    made = planned(checkout, name, f"gpus={gpus}", gpus={"eight": 8, "one": 1}[gpus])
    assert made.fits, made.faults
    assert made.ranks == {"eight": 8, "one": 1}[gpus]
    assert (made.shape.trained < made.shape.parameters / 20) == (gpus == "one")


@pytest.mark.parametrize(
    ("overrides", "gpus", "fault"),
    [
        (["train.gradient_checkpointing=false"], 8, "train.gradient_checkpointing"),
        (["train.ranks=1"], 8, "engine start|train.ranks"),
        ([], 4, "train.ranks and rollout.replicas need 8 GPUs of 4; lower train.ranks"),
        (["rollout.vllm.memory=0.19"], 8, "raise rollout.vllm.memory"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(
    overrides: list[str], gpus: int, fault: str, checkout: Path
) -> None:
    made = planned(checkout, "llama_8b", *overrides, gpus=gpus)
    assert not made.fits
    assert any(re.search(fault, line) for line in made.faults), made.faults


SEPARATE = ("++rollout.placement=separate", "++rollout.replicas=2")


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ([], None),
        # vLLM takes its share while the model that it is started from is still on the device.
        (["rollout.vllm.memory=0.6"], "a replica's engine start: .* change rollout.vllm.memory, base.model"),
        (["rollout.engine=hf", "++rollout.slots=4"], None),
        (["rollout.engine=hf"], "a replica's sampling: .* change rollout.slots, base.model, rollout.engine"),
    ],
)
def test_a_replica_has_a_device_of_its_own(overrides: list[str], fault: str | None, checkout: Path) -> None:
    made = planned(checkout, "qwen_7b", *SEPARATE, *overrides, gpus=10)
    assert [bool(re.match(fault or "", line)) for line in made.faults] == ([True] if fault else [])
    assert not any("sampler" in line.what or "vLLM" in line.what for m in made.moments for line in m.lines)
    weights = made.shape.parameters
    lines = {line.what: line.amount for moment in made.replicas for line in moment.lines}
    assert lines["whole model, float32"] == 4 * weights
    if "rollout.engine=hf" in overrides:
        # The float32 model stays, since the weights arrive in its shapes.
        assert lines["sampler's copy, bfloat16"] == 2 * weights
        assert made.replicas[-1].total > 6 * weights
    else:
        assert made.replicas[-1].total < made.replicas[0].total - 4 * weights + 1
        assert made.as_json()["memory_of_replica"]["engine start"]["bytes"] == made.replicas[0].total


def test_ranks_and_replicas_share_the_memory_of_a_machine_without_gpus(checkout: Path) -> None:
    apart = ["rollout.engine=hf", "train.ranks=2", *SEPARATE]
    made = planned(checkout, "qwen_1_5b", *apart, device="cpu")
    both = planned(checkout, "qwen_1_5b", *apart[:2], device="cpu")
    [fault] = [line for line in made.faults if line.startswith("update")]
    total = 2 * made.moments[3].total + 2 * max(moment.total for moment in made.replicas)
    assert f"{total / 2**30:.1f} GiB of" in fault
    assert not both.replicas and not any("replica" in line for line in both.faults)


def test_served_adapters_are_pushed_without_the_base_which_waits_in_host_memory(checkout: Path) -> None:
    folder = write_config(checkout / "model", PUBLISHED["qwen_7b"] | {"num_hidden_layers": 2})

    def made(*overrides: str) -> Plan:
        inputs = ["data=d", f"model={folder}", "gpus=one", *overrides]
        return plan(recipes.read(checkout, "paper_qwen_7b", inputs), Request(devices.device("h100-80g"), 1))

    plans = made(), made("+rollout.vllm.lora=true")
    merged, served = ({line.what: line.amount for line in each.effort.lines} for each in plans)
    push, asleep = "B gathered for a push, each step", "B of host memory while vLLM sleeps, each rank"
    weights = plans[0].shape.parameters - plans[0].shape.trained
    # Rank 32 on the seven linear layers of each of two layers.
    assert merged[push] == 4 * weights and served[push] == 4 * 5_767_168
    assert served.pop(asleep) == 2 * weights
    assert served.keys() == merged.keys()


def test_the_command_prints_a_hundred_columns_and_the_same_as_json(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_config(checkout / "model", {**LLAMA_8B, "num_hidden_layers": 2})
    arguments = ["plan", "--recipe", "paper_llama_8b", "--price", "2", "data=d", f"model={folder}"]
    before = (checkout / "params.yaml").read_bytes()
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert main([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    start = made["memory"]["engine start"]
    assert f"{start['bytes'] / 2**30:.2f}" in text
    assert start["bytes"] == sum(line["amount"] for line in start["lines"])
    assert made["effort"]["cost"] == pytest.approx(2 * 8 * made["effort"]["hours"])
    assert (checkout / "params.yaml").read_bytes() == before


def test_a_model_without_a_config_is_an_error_with_the_remedy(checkout: Path) -> None:
    (checkout / "empty").mkdir()
    with pytest.raises(InputError, match=r"no config.json could be read .* model=FOLDER"):
        params = recipes.read(checkout, "paper_qwen_7b", ["data=d", f"model={checkout / 'empty'}"])
        plan(params, Request(devices.device("h100-80g")))


def test_measured_seconds_replace_the_estimate(tmp_path: Path) -> None:
    log = tmp_path / "arm.jsonl"
    rows = [{"step": n, "seconds/generate": float(n), "seconds/update": 2.0 * n} for n in (1, 2, 9)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_phases(log) == {"generate": 2.0, "update": 4.0}
    log.write_text('{"step": 1}\n')
    with pytest.raises(InputError, match=r"no seconds/update; give logs/steps/ARM.jsonl"):
        read_phases(log)


def test_offload_moves_the_moments_from_the_devices_to_host_memory(checkout: Path) -> None:
    own, offloaded = (
        planned(checkout, "qwen_7b", *overrides, gpus=8) for overrides in ([], ["+train.offload=optimizer"])
    )
    of_own, of_offloaded = (
        {line.what: line.amount for line in [*made.moments[-1].lines, *made.effort.lines]}
        for made in (own, offloaded)
    )
    moments = 8 * own.shape.parameters
    table = 8 * 152_064 * 3_584  # the embedding, and the LM head
    assert of_own["adamw's moments"] == moments / 8
    assert of_offloaded["adamw's moments, of one tensor at a time"] == table / 8
    assert own.moments[-1].total - offloaded.moments[-1].total == (moments - table) / 8
    assert of_offloaded["B of host memory for moments"] == moments
    assert of_offloaded["B between host and devices, each update"] == 2 * moments
    assert not any("host and devices" in what for what in of_own)
