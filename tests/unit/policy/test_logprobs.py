"""A policy's outputs for the loss: equal to those from its logits, also under peft and FSDP2."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import log

import peft
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from hpt_core.policy import lm_head, logprobs
from hpt_core.policy.batching import Padded, TrainingRow, pad
from hpt_core.policy.logprobs import TokenLogprobs, autocast, checkpoint_layers, token_logprobs
from hpt_core.policy.weights.gathering import full_tensor

VOCABULARY, HIDDEN = 61, 16
CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
Make = Callable[[], PreTrainedModel]
PLAIN: dict[str, Make] = {
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "untied": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False)),
    "bias in the head": lambda: PhiForCausalLM(
        PhiConfig(**SHAPE | {"num_key_value_heads": 2}, tie_word_embeddings=False)
    ),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=HIDDEN,
            n_layer=2,
            n_head=2,
            n_positions=64,
            initializer_range=0.4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    ),
    "a window of 4 tokens": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)),
    "biased attention": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "a soft cap, switched off": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=None)
    ),
}
ALTERED: dict[str, Make] = {
    "soft cap": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=2.0)),
    "divided": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=2.0)),
    "multiplied": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.6)),
    "multiplied, with windows": lambda: Cohere2ForCausalLM(Cohere2Config(**SHAPE, logit_scale=0.6)),
}


def build(make: Make) -> PreTrainedModel:
    torch.manual_seed(2)
    model = make().double().train()
    narrow = isinstance(model, Gemma2ForCausalLM | CohereForCausalLM | Cohere2ForCausalLM)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            parameter.detach().add_(torch.randn_like(parameter), alpha=0.3)
            # These models sum the gradients of their norms' gains in float32.
            parameter.requires_grad_(not (narrow and "norm" in name))
    return model


@pytest.fixture
def rows() -> list[TrainingRow]:
    """Rows of different lengths, one with a single response token and one with none."""
    draw = random.Random(1)
    shapes = [(3, 7), (9, 1), (2, 12), (5, 0), (4, 4)]
    return [
        TrainingRow(
            "p",
            [draw.randrange(2, VOCABULARY) for _ in range(prompt)],
            [draw.randrange(2, VOCABULARY) for _ in range(response)],
            (),
            1.0,
            0,
            "human",
        )
        for prompt, response in shapes
    ]


@pytest.fixture
def batch(rows: list[TrainingRow]) -> Padded:
    return pad(rows, 0, CPU)


@pytest.fixture
def without_logits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens in each call of the tiled head, whose tiles are smaller than the logits."""
    counts: list[int] = []

    def counted(hidden: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        counts.append(len(hidden))
        return lm_head.logp_and_entropy(hidden, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(lm_head, "tile_shape", lambda count, width, device: (5, 17))
    monkeypatch.setattr(logprobs, "logp_and_entropy", counted)
    return counts


def row_by_row(
    model: PreTrainedModel, rows: list[TrainingRow], temperature: float, value_head: nn.Linear | None = None
) -> TokenLogprobs:
    """The expected outputs, from the logits of each row alone, without padding."""
    shape = len(rows), max(len(row.response) for row in rows)
    logp, entropy, value = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for i, row in enumerate(rows):
        output = model(
            torch.tensor([[*row.prompt, *row.response]]), use_cache=False, output_hidden_states=True
        )
        n, predicting = len(row.response), slice(len(row.prompt) - 1, -1)
        logprobs = (output.logits[0, predicting] / temperature).log_softmax(-1)
        logp[i, :n] = logprobs[range(n), list(row.response)]
        entropy[i, :n] = -(logprobs.exp() * logprobs).sum(-1)
        if value_head is not None:
            value[i, :n] = value_head(output.hidden_states[-1][0, predicting]).squeeze(1)
    return TokenLogprobs(logp, entropy, value if value_head is not None else None)


def gradients(outputs: TokenLogprobs, modules: list[nn.Module]) -> dict[str, Tensor]:
    """Gradients of a loss that weights each output of each token differently."""
    draw = torch.Generator().manual_seed(9)
    loss = torch.zeros((), dtype=torch.float64)
    for output in outputs:
        if output is not None and output.requires_grad:
            loss = loss + (output * torch.randn(output.shape, generator=draw, dtype=torch.float64)).sum()
    for module in modules:
        module.zero_grad()
    loss.backward()
    return {
        f"{i}.{name}": full_tensor(p.grad)
        for i, module in enumerate(modules)
        for name, p in module.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize("name", [*PLAIN, *ALTERED])
def test_outputs_and_gradients_equal_those_from_the_logits(
    name: str, rows: list[TrainingRow], batch: Padded, without_logits: list[int]
) -> None:
    model = build((PLAIN | ALTERED)[name])
    value_head = nn.Linear(HIDDEN, 1).double()
    expected = row_by_row(model, rows, 0.8, value_head)
    modules = [model, value_head]
    for _ in range(2):  # The first call detects whether a model changes its logits.
        outputs = token_logprobs(model, batch, 0.8, entropy_gradient=True, value_head=value_head)
        assert_close(outputs, expected, rtol=1e-9, atol=1e-12)
    assert_close(gradients(outputs, modules), gradients(expected, modules), rtol=1e-9, atol=1e-12)
    assert without_logits == ([24, 24] if name in PLAIN else [24])
    assert float(expected.logp.detach().min()) < -5 < -log(VOCABULARY), "the distribution is not uniform"


def test_the_logits_of_a_plain_model_are_never_computed(batch: Padded) -> None:
    model = build(PLAIN["tied"])
    shapes: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(output.shape))
    token_logprobs(model, batch, 1.0)
    assert shapes == [(24, 2)], "logp and entropy of each response token"
    assert "forward" not in vars(model.lm_head), "the forward of the head is restored"
    assert model(batch.input_ids).logits.shape == (*batch.input_ids.shape, VOCABULARY)


def test_the_head_is_restored_after_an_error(batch: Padded) -> None:
    model = build(PLAIN["tied"])
    with pytest.raises(RuntimeError):
        token_logprobs(model, batch, 1.0, value_head=nn.Linear(HIDDEN + 1, 1))
    assert "forward" not in vars(model.lm_head)


def test_detecting_an_altered_model_changes_no_random_state(batch: Padded) -> None:
    """The first call happens at different steps in a run and in its resumption."""
    fresh = build(lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, attention_dropout=0.5)))
    torch.manual_seed(1)
    first = token_logprobs(fresh, batch, 1.0)
    torch.manual_seed(1)
    assert_close(token_logprobs(fresh, batch, 1.0), first, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["tied", "divided"])
def test_entropy_carries_a_gradient_only_on_request(name: str, batch: Padded) -> None:
    model = build((PLAIN | ALTERED)[name])
    assert not token_logprobs(model, batch, 1.0).entropy.requires_grad
    assert token_logprobs(model, batch, 1.0, entropy_gradient=True).entropy.requires_grad
    with torch.no_grad():
        assert not token_logprobs(model, batch, 1.0, entropy_gradient=True).entropy.requires_grad


def test_padding_gives_zeros_and_has_no_influence(rows: list[TrainingRow], batch: Padded) -> None:
    model = build(PLAIN["tied"])
    outputs = token_logprobs(model, batch, 1.0, value_head=nn.Linear(HIDDEN, 1).double())
    for output in outputs:
        assert output is not None and not output[~batch.mask].any()
    other = token_logprobs(model, pad(rows, 7, CPU), 1.0)
    assert_close(other.logp, outputs.logp, rtol=0, atol=1e-14)


def test_a_row_without_a_response_takes_part_in_a_backward_pass(rows: list[TrainingRow]) -> None:
    """A rank without rows does this, so that the other ranks do not wait for it."""
    model = build(PLAIN["tied"])
    outputs = token_logprobs(model, pad([rows[3]], 0, CPU), 1.0)
    assert outputs.logp.shape == (1, 0)
    outputs.logp.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ["tied", "divided"])
def test_bfloat16_is_used_for_matrix_products_only(name: str, batch: Padded) -> None:
    model = build((PLAIN | ALTERED)[name]).float()
    value_head = nn.Linear(HIDDEN, 1)
    exact = token_logprobs(model, batch, 0.8, value_head=value_head)
    with autocast(CPU, "bfloat16"):
        outputs = token_logprobs(model, batch, 0.8, value_head=value_head)
        assert model(batch.input_ids).logits.dtype == torch.bfloat16
    for output, expected in zip(outputs, exact, strict=True):
        assert output is not None and output.dtype == torch.float32
        assert_close(output, expected, rtol=0.05, atol=0.3)
        assert output.bfloat16().float().ne(output).any(), "more digits than bfloat16 has"


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"]], ids=str)
def test_under_peft(
    targets: str | list[str], rows: list[TrainingRow], batch: Padded, without_logits: list[int]
) -> None:
    """Adapters take effect; with an adapter on the head itself, the full logits are computed."""
    model = build(PLAIN["untied"])
    bare = token_logprobs(model, batch, 0.8)
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    ).double()
    outputs = token_logprobs(wrapped, batch, 0.8)
    expected = row_by_row(wrapped, rows, 0.8)
    assert_close(outputs.logp, expected.logp, rtol=1e-9, atol=1e-12)
    assert float((outputs.logp - bare.logp).abs().detach().max()) > 0.1
    gradient = gradients(outputs, [wrapped])
    assert gradient and all("lora" in name for name in gradient)
    expected_gradient = gradients(expected._replace(entropy=None), [wrapped])
    assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)
    assert without_logits == ([24, 24] if targets == "all-linear" else [24])


@pytest.fixture
def one_rank() -> Iterator[None]:
    """A process group of one rank: FSDP2 shards and gathers weights as with many ranks."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class WithOutputs(nn.Module):
    """A module around the policy that computes the outputs, as the trainer shards it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Padded) -> TokenLogprobs:
        return token_logprobs(self.model, batch, 0.8, entropy_gradient=True)


# FSDP2 does not support a tied weight in two sharded modules, so (tied, head and model) is missing.
@pytest.mark.parametrize(
    ("name", "sharded"),
    [
        ("tied", "model"),
        ("tied", "around"),
        ("untied", "model"),
        ("untied", "head and model"),
        ("untied", "around"),
    ],
)
def test_under_fsdp2(
    one_rank: None, name: str, sharded: str, batch: Padded, without_logits: list[int]
) -> None:
    model = build(PLAIN[name])
    expected = token_logprobs(model, batch, 0.8, entropy_gradient=True)
    expected_gradient = gradients(expected, [model])
    outer = WithOutputs(model)
    parts = [*model.model.layers] + [model.lm_head] * (sharded == "head and model")
    for module in [*parts, outer if sharded == "around" else model]:
        fully_shard(module, reshard_after_forward=True)
    if sharded == "around":
        outputs = outer(batch)
    else:
        outputs = token_logprobs(model, batch, 0.8, entropy_gradient=True)
    assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    assert_close(gradients(outputs, [model]), expected_gradient, rtol=1e-12, atol=1e-12)
    assert without_logits == [24, 24]


@pytest.mark.parametrize("name", ["tied", "untied", "learned positions"])
def test_checkpointed_layers_give_the_same_gradient(name: str, batch: Padded) -> None:
    model = build(PLAIN[name])
    if name == "untied":  # frozen as under LoRA
        model.get_input_embeddings().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    model.config.attention_dropout = 0.3

    def gradient() -> tuple[dict[str, Tensor], int]:
        torch.manual_seed(4)
        saved: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
            outputs = token_logprobs(model, batch, 0.8)
        return gradients(outputs, [model]), sum(t.numel() for t in saved)

    expected, elements = gradient()
    checkpoint_layers(model)
    checkpointed, checkpointed_elements = gradient()
    assert_close(checkpointed, expected, rtol=0, atol=0)
    assert checkpointed_elements < elements / 2
