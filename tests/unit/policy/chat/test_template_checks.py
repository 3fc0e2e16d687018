"""Templates that `base` refuses, each with one line that has the remedy, and those that it accepts."""

from __future__ import annotations

import re

import pytest
from published_templates import CHATML, FAMILIES
from small_tokenizers import MakeTokenizer

from hpt_core.policy.chat import Chat, with_system_prompt
from hpt_core.policy.template_checks import CHECKS, Finding, template_findings

MARKS = ("<|im_start|>", "<|im_end|>", "<|user|>", "<|bot|>")


def each(content: str, before: str = "") -> str:
    """A template that writes `content` in each turn."""
    return (
        f"{before}{{% for m in messages %}}<|user|>{{{{ m.role }}}} {content}<|im_end|>{{% endfor %}}"
        "{% if add_generation_prompt %}<|user|>assistant {% endif %}"
    )


REFUSED = {
    "syntax": ("{% for m in %}", "template fails: .*; correct the template, or name a Jinja file"),
    "undefined": ("{{ tools.name.first }}{{ messages[0].content }}", "template fails: .*no attribute"),
    "raises": ("{{ raise_exception('no users here') }}", "template fails: no users here; correct"),
    "needs system": (
        each(
            "{{ m.content }}",
            "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}",
        ),
        "template fails: system first; it needs a system turn: give the policy a system_prompt",
    ),
    "constant": ("<|user|>Solve it.<|bot|>", "leaves the problem out"),
    "empty": ("", "no chat template"),
    "parts only": (each("{% for p in m.content %}{{ p.text }}{% endfor %}"), "leaves the problem out"),
    "truncates": (each("{{ m.content[:2000] }}"), "alters the problem 'Add 0 "),
    "escapes": (each("{{ m.content | e }}"), "alters the problem"),
    "quotes": (each("{{ m.content | tojson }}"), "alters the problem"),
    "upper": (each("{{ m.content | upper }}"), "leaves the problem out"),
    "one line": (each("{{ m.content.split() | join(' ') }}"), "alters the problem"),
    "no generation prompt": (
        "{% for m in messages %}<|user|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}",
        r"has no generation prompt: a response follows '<\|user\|>assistant ', which the prompt lacks",
    ),
    "no assistant turn": (
        "{{ messages[0].content }}<|bot|>",
        "does not write the assistant's turn: it leaves the response out",
    ),
    "refuses assistants": (
        each("{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"),
        "does not write the assistant's turn: the chat template fails: no",
    ),
    "another header": (
        "{% for m in messages %}<|user|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|bot|>{% endif %}",
        r"the prompt ends in .*<\|bot\|>', and before a response the chat template has .*assistant '",
    ),
    "chance": (each("{{ [1,2,3,4,5,6,7,8,9] | random }}{{ m.content }}"), "differently each time"),
}


def refusal(findings: list[Finding]) -> Finding:
    assert [f.verdict for f in findings].count("refused") == 1 and "\n" not in findings[-1].detail
    return findings[-1]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(make_tokenizer: MakeTokenizer, name: str) -> None:
    template, message = REFUSED[name]
    found = refusal(template_findings(make_tokenizer(template, MARKS)))
    assert re.search(message, found.detail), found.detail


@pytest.mark.parametrize(
    "template",
    [
        each("{{ m.content }}"),
        each("{{ m.content | trim }}"),
        each("{% generation %}{{ m.content }}{% endgeneration %}"),
        each("{% if loop.index > 9 %}{% break %}{% endif %}{{ m.content }}"),
        each("{{ m.content }}")
        .replace("{{ m.role }} ", "{{ {m.role: 1} | tojson }}")
        .replace("assistant ", '{"assistant": 1}'),
        "{% for m in messages %}{{ m.content }}{{ eos_token if m.role == 'assistant' }}{% endfor %}",
    ],
)
def test_accepted(make_tokenizer: MakeTokenizer, template: str) -> None:
    findings = template_findings(make_tokenizer(template, MARKS))
    assert len(findings) == len(CHECKS) and {f.verdict for f in findings} == {"ok"}


@pytest.mark.parametrize(
    ("template", "check", "message"),
    [
        (CHATML.replace("assistant\n' }}", "assistant' }}"), "leads into the response", None),
        (
            CHATML.replace("assistant\n{{ m", "assistant {{ m"),
            "leads into the response",
            "white space differs",
        ),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}",
            "ends the turn",
            "demonstrations end with </s>",
        ),
        ("{{ bos_token * 2 }}" + CHATML, "begins once", "begins a prompt with <s> twice"),
        (CHATML + "{% if 0 %}{{ strftime_now('%Y') }}{% endif %}", "same on every day", "template_date"),
    ],
)
def test_warned(make_tokenizer: MakeTokenizer, template: str, check: str, message: str | None) -> None:
    findings = {f.check: f for f in template_findings(make_tokenizer(template, MARKS))}
    assert len(findings) == len(CHECKS)
    if message is None:
        assert findings[check].verdict == "ok"
    else:
        assert findings[check].verdict == "warning" and message in findings[check].detail


def test_a_template_that_refuses_a_system_turn(make_tokenizer: MakeTokenizer) -> None:
    template, special, _, _, added = FAMILIES["gemma"]
    tokenizer = make_tokenizer(with_system_prompt(template, "Add up."), special, added)
    found = refusal(template_findings(tokenizer, "Add up."))
    assert "no system turn; if the template takes no system turn, remove system_prompt" in found.detail


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (each("{{ m.content }}", "<|im_start|>system\nBe kind.<|im_end|>\n"), None),
        (each("{{ m.content }}", "<|user|>system Be kind.<|im_end|>"), "has a system turn of its own beside"),
        (
            each(
                "{{ m.content }}", "{% set messages = messages | selectattr('role', 'ne', 'system') | list %}"
            ),
            "leaves the system prompt out",
        ),
        (
            each(
                "{{ m.content }}",
                "{% if messages[0].role != 'system' %}<|user|>system Be.<|im_end|>{% endif %}",
            ),
            None,
        ),
    ],
)
def test_the_system_prompt_stands_once(
    make_tokenizer: MakeTokenizer, template: str, message: str | None
) -> None:
    tokenizer = make_tokenizer(with_system_prompt(template, "Add up."), MARKS)
    findings = template_findings(tokenizer, "Add up.")
    if message is None:
        assert {f.verdict for f in findings} == {"ok"}
    else:
        assert message in refusal(findings).detail


def test_a_system_prompt_within_the_last_user_turn(make_tokenizer: MakeTokenizer) -> None:
    """Mistral Nemo drops it from a conversation with a response; what is trained on has it."""
    template, special, *_ = FAMILIES["mistral nemo"]
    tokenizer = make_tokenizer(with_system_prompt(template, "Add up."), special)
    findings = template_findings(tokenizer, "Add up.")
    assert len(findings) == len(CHECKS) and "refused" not in {f.verdict for f in findings}
    assert "before the problem" in next(f.detail for f in findings if f.verdict == "warning")
    chat = Chat(tokenizer)
    conversation = tokenizer.decode(chat.prompt("1 + 1") + chat.response("2"))
    assert conversation == "<s>[INST]Add up.\n\n1 + 1[/INST]2</s>"
