"""Chat templates that behave as published ones do, written for these tests."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    template: str
    special: tuple[str, ...]
    eos: str
    end: str
    """The token that ends the assistant's turn."""
    added: tuple[str, ...] = ()
    """Added tokens that are not special."""


def turns(user: str, assistant: str, generation: str, begin: str = "{{ bos_token }}", end: str = "") -> str:
    """A template that writes each turn by its role; `end` is written where no generation prompt is."""
    return (
        f"{begin}{{% for m in messages %}}{{% if m.role == 'assistant' %}}{assistant}"
        "{% elif m.role == 'user' %}"
        f"{user}{{% else %}}{{{{ raise_exception('no system turn') }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{generation}{{% else %}}{end}{{% endif %}}"
    )


CHATML = turns(
    "<|im_start|>user\n{{ m.content }}<|im_end|>\n",
    "<|im_start|>assistant\n{{ m.content }}<|im_end|>\n",
    "{{ '<|im_start|>assistant\n' }}",
    begin="",
)
R1 = turns(
    "<User>{{ m.content }}",
    "<Assistant>{{ m.content.split('</think>')[-1] }}</s>",
    "{{ '<Assistant><think>\n' }}",
)
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and loop.last %}"
    "{% set parts = m.content.split('</think>') %}{% set thought = '' if parts|length == 1 else "
    "parts[0].split('<think>')[-1].strip('\n') %}"
    "{{ '<think>\n' + thought + '\n</think>\n\n' + parts[-1].lstrip('\n') }}"
    "{% else %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
)
QWEN3_HYBRID = QWEN3 + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
QWEN3_THINKING = QWEN3 + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"

FAMILIES = {
    "qwen": Published(CHATML, ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), "<|im_end|>", "<|im_end|>"),
    "chatml, eos elsewhere": Published(
        CHATML, ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), "<|endoftext|>", "<|im_end|>"
    ),
    "llama 3": Published(
        turns(
            "<|start|>user<|header|>\n\n{{ m.content | trim }}<|eot_id|>",
            "<|start|>assistant<|header|>\n\n{{ m.content | trim }}<|eot_id|>",
            "{{ '<|start|>assistant<|header|>\n\n' }}",
        ),
        ("<|start|>", "<|header|>", "<|eot_id|>", "<|end_of_text|>"),
        "<|end_of_text|>",
        "<|eot_id|>",
    ),
    "gemma": Published(
        turns(
            "<start_of_turn>user\n{{ m.content | trim }}<end_of_turn>\n",
            "<start_of_turn>model\n{{ m.content | trim }}<end_of_turn>\n",
            "{{ '<start_of_turn>model\n' }}",
        ),
        (),
        "</s>",
        "<end_of_turn>",
        ("<start_of_turn>", "<end_of_turn>"),
    ),
    "phi 3": Published(
        turns(
            "<|user|>\n{{ m.content }}<|end|>\n",
            "<|assistant|>\n{{ m.content }}<|end|>\n",
            "{{ '<|assistant|>\n' }}",
            begin="",
            end="{{ eos_token }}",
        ),
        ("<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
        "<|endoftext|>",
        "<|end|>",
    ),
    "glm 4": Published(
        turns(
            "<|user|>\n{{ m.content }}", "<|assistant|>\n{{ m.content }}", "<|assistant|>\n", begin="[gMASK]"
        ),
        ("[gMASK]", "<|user|>", "<|assistant|>", "<|endoftext|>"),
        "<|endoftext|>",
        "<|user|>",
    ),
    "mistral": Published(
        turns("[INST] {{ m.content }} [/INST]", " {{ m.content }}{{ eos_token }}", ""),
        (),
        "</s>",
        "</s>",
        ("[INST]", "[/INST]"),
    ),
    "mistral nemo": Published(
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
        "{% set messages = messages[1:] %}{% endif %}{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'user' %}[INST]"
        "{{ system + '\n\n' if loop.last and system is defined }}{{ m.content }}[/INST]"
        "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
        ("[INST]", "[/INST]"),
        "</s>",
        "</s>",
    ),
    "gpt-oss": Published(
        "{% for m in messages %}{% if m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>"
        "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
        "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        "<|return|>",
        "<|return|>",
    ),
    "command": Published(
        turns(
            "<|START|><|USER|>{{ m.content }}<|END|>",
            "<|START|><|BOT|><|ANSWER|>{{ m.content }}<|/ANSWER|><|END|>",
            "<|START|><|BOT|><|ANSWER|>",
        ),
        ("<|START|>", "<|USER|>", "<|BOT|>", "<|ANSWER|>", "<|/ANSWER|>", "<|END|>"),
        "<|END|>",
        "<|END|>",
    ),
    "r1": Published(R1, ("<User>", "<Assistant>"), "</s>", "</s>", ("<think>", "</think>")),
    "qwen 3": Published(
        QWEN3_HYBRID, ("<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_end|>", ("<think>", "</think>")
    ),
    "qwen 3 thinking": Published(
        QWEN3_THINKING, ("<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_end|>", ("<think>", "</think>")
    ),
}
