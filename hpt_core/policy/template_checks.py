"""What a chat template must do for a policy to be trained on it, one check for each requirement.

Each check returns a `Finding`; `template_findings` makes them all, for the stage `base` and for `hpt doctor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from hpt_core.errors import InputError
from hpt_core.policy.chat.encoding import Chat
from hpt_core.policy.chat.template import render
from hpt_core.policy.chat.turns import PROBLEM, RESPONSE, from_problem, without_white_space

OWN_TEMPLATE = "name a Jinja file in the policy's chat_template (conf/chat/plain.jinja is one)"
PROBLEMS = (
    'Is "x" < 3 & y > \\frac{1}{2}, if\n\n  {{ x }} {% y %}  costs $5? Naïve 🦊\tcount: #1 | trim',
    f"Add {' + '.join(map(str, range(4000)))}. What is the sum?",
)
"""Problems that a template may alter or truncate."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    verdict: Literal["ok", "warning", "refused"]
    detail: str = ""
    """What was found and, unless all is well, what to do."""


@dataclass(frozen=True)
class Subject:
    """A tokenizer whose template is checked, and the system prompt that the template was given."""

    chat: Chat
    system_prompt: str | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.chat.tokenizer

    def prompt(self, problem: str = PROBLEM) -> str:
        return render(self.tokenizer, [{"role": "user", "content": problem}], prompt=True)


def renders_a_problem(subject: Subject) -> Finding:
    """One user turn renders, and no other turn is needed."""
    check = "renders a problem"
    try:
        subject.prompt()
    except InputError as error:
        if subject.system_prompt is not None:
            remedy = (
                "if the template takes no system turn, remove system_prompt and put the instruction into the "
                f"problems, or {OWN_TEMPLATE}"
            )
        elif _renders_after_a_system_turn(subject):
            remedy = "it needs a system turn: give the policy a system_prompt"
        else:
            remedy = f"correct the template, or {OWN_TEMPLATE}"
        return Finding(check, "refused", f"{error}; {remedy}")
    return Finding(check, "ok")


def keeps_the_problem(subject: Subject) -> Finding:
    """The prompt has the whole problem as it is, also a long one, or with LaTeX, HTML or Jinja in it."""
    check = "keeps the problem"
    for problem in (PROBLEM, *PROBLEMS):
        try:
            prompt = subject.prompt(problem)
        except InputError as error:
            return Finding(check, "refused", f"{error}, for the problem {_short(problem)}; {OWN_TEMPLATE}")
        if problem not in prompt:
            what = "leaves the problem out" if problem == PROBLEM else f"alters the problem {_short(problem)}"
            return Finding(
                check, "refused", f"the chat template {what}, and writes {_short(prompt)}; {OWN_TEMPLATE}"
            )
    return Finding(check, "ok")


def leads_into_the_response(subject: Subject) -> Finding:
    """The prompt ends where the assistant's turn of the template has its response."""
    check = "leads into the response"
    turn, whole_prompt = subject.chat.turn, subject.prompt()
    prompt = turn.context
    if turn.fault:
        detail = f"the chat template does not write the assistant's turn: {turn.fault}; {OWN_TEMPLATE}"
        return Finding(check, "refused", detail)
    without = render(subject.tokenizer, [{"role": "user", "content": PROBLEM}], prompt=False)
    if without == whole_prompt and turn.opening.strip() and turn.written.startswith(prompt):
        detail = (
            f"the chat template has no generation prompt: a response follows {_short(turn.opening)}, which "
            "the prompt lacks; write it where add_generation_prompt is true"
        )
        return Finding(check, "refused", detail)
    if turn.written.startswith(prompt[: len(prompt) - len(turn.opened)]):
        if not subject.chat.rendered(PROBLEM, RESPONSE).startswith(whole_prompt.partition(PROBLEM)[0]):
            detail = (
                "before the problem, the template writes another text once a response follows; rollouts and "
                "demonstrations both follow the prompt"
            )
            return Finding(check, "warning", detail)
        return Finding(check, "ok", f"a response begins with {turn.opening!r}" if turn.opening else "")
    if without_white_space(turn.written).startswith(without_white_space(prompt)):
        detail = (
            f"white space differs: the prompt ends in {prompt[-30:]!r}, and before a response the turn has "
            f"{turn.written[-30:]!r}; rollouts and demonstrations both follow the prompt"
        )
        return Finding(check, "warning", detail)
    detail = (
        f"the prompt ends in {prompt[-30:]!r}, and before a response the chat template has "
        f"{turn.written[-30:]!r}; make it write both alike, or {OWN_TEMPLATE}"
    )
    return Finding(check, "refused", detail)


def ends_the_turn(subject: Subject) -> Finding:
    """The template ends the assistant's turn with one token, which sampling stops at."""
    check, turn = "ends the turn", subject.chat.turn
    if turn.ends_by_template:
        return Finding(check, "ok", turn.end)
    detail = f"the template ends the assistant's turn with no token; demonstrations end with {turn.end}"
    return Finding(check, "warning", detail)


def trains_on_what_it_writes(subject: Subject) -> Finding:
    """Prompt and response as tokens are those of the conversation that the template writes."""
    check, chat = "trains on what it writes", subject.chat
    trained = chat.prompt(PROBLEM) + chat.response(RESPONSE)
    text = subject.prompt().partition(PROBLEM)[0] + from_problem(chat.rendered(PROBLEM, RESPONSE))
    written = chat.tokenizer.encode(text, add_special_tokens=False)
    # After a response that nothing closes (GLM-4), the turn ends where the next one begins.
    if written[: len(trained)] == trained or written == trained[:-1]:
        return Finding(check, "ok", f"{len(trained)} tokens")
    same = next(
        (i for i, pair in enumerate(zip(trained, written, strict=False)) if pair[0] != pair[1]), len(written)
    )
    ours, its = (str(chat.tokenizer.decode(tokens[same : same + 8])) for tokens in (trained, written))
    whole, rest = str(chat.tokenizer.decode(written)), str(chat.tokenizer.decode(written[same:]))
    if whole.startswith(str(chat.tokenizer.decode(trained))):
        detail = f"the same text; the tokens differ from token {same} on, {ours!r}, where the response begins"
        return Finding(check, "ok", detail)
    if not (chat.turn.ends_by_template or rest.strip()):
        return Finding(check, "ok", f"{len(trained)} tokens; the template lacks the last one")
    detail = f"from token {same} on, {ours!r} is trained on, and the template writes {its!r}"
    if chat.turn.opened:
        return Finding(check, "ok", f"thinking differs: {detail}")
    kept = trained if chat.turn.ends_by_template else trained[:-1]
    white_space = without_white_space(whole).startswith(without_white_space(str(chat.tokenizer.decode(kept))))
    return Finding(check, "warning" if white_space else "refused", detail)


def has_the_system_prompt_once(subject: Subject) -> Finding:
    """The prompt has the system prompt, as it is, in the only system turn."""
    check, system = "system prompt", (subject.system_prompt or "").strip()
    if not system:
        return Finding(check, "ok", "none")
    head = subject.prompt().rpartition(PROBLEM)[0]
    before, found, _ = head.partition(system)
    if not found:
        detail = (
            "the chat template leaves the system prompt out, or alters it; remove system_prompt and put the "
            f"instruction into the problems, or {OWN_TEMPLATE}"
        )
        return Finding(check, "refused", detail)
    marks = list(subject.chat.control.pattern.finditer(before))
    begin = before[marks[-1].start() :] if marks else ""
    if head.count(system) > 1 or (begin and before.count(begin) > 1):
        detail = (
            "the chat template has a system turn of its own beside the system prompt; remove system_prompt, "
            f"or {OWN_TEMPLATE}"
        )
        return Finding(check, "refused", detail)
    return Finding(check, "ok")


def renders_alike_every_day(subject: Subject) -> Finding:
    """A prompt depends on its problem alone, and not on the day or on chance."""
    check = "same on every day"
    if len({subject.prompt() for _ in range(4)}) > 1:
        detail = f"the chat template renders the same problem differently each time; {OWN_TEMPLATE}"
        return Finding(check, "refused", detail)
    template = str(subject.tokenizer.chat_template)
    if "strftime_now" in template and "macro strftime_now" not in template:
        return Finding(check, "warning", "it prints today's date; the stage base saves it with template_date")
    return Finding(check, "ok")


def begins_once(subject: Subject) -> Finding:
    """A prompt begins with one token that begins a text, if the tokenizer begins texts with one."""
    check, tokenizer = "begins once", subject.tokenizer
    begin, tokens = tokenizer.bos_token_id, subject.chat.prompt(PROBLEM)
    if begin is None or not tokens:
        return Finding(check, "ok")
    if tokens[:2] == [begin, begin]:
        detail = f"the chat template begins a prompt with {tokenizer.bos_token} twice; {OWN_TEMPLATE}"
        return Finding(check, "warning", detail)
    if tokenizer.encode("1")[:1] == [begin] and tokens[0] != begin:
        detail = (
            f"the tokenizer begins a text with {tokenizer.bos_token}, and the chat template does not; put "
            "{{ bos_token }} at its start if the model was trained with it"
        )
        return Finding(check, "warning", detail)
    return Finding(check, "ok")


CHECKS: tuple[Callable[[Subject], Finding], ...] = (
    renders_a_problem,
    keeps_the_problem,
    renders_alike_every_day,
    leads_into_the_response,
    ends_the_turn,
    trains_on_what_it_writes,
    has_the_system_prompt_once,
    begins_once,
)
"""All checks. One after a refusal is not made, since it would build on what was refused."""


def template_findings(tokenizer: PreTrainedTokenizerBase, system_prompt: str | None = None) -> list[Finding]:
    """The findings of all checks, up to the first refusal."""
    subject, findings = Subject(Chat(tokenizer), system_prompt), list[Finding]()
    for check in CHECKS:
        findings.append(check(subject))
        if findings[-1].verdict == "refused":
            break
    return findings


def _renders_after_a_system_turn(subject: Subject) -> bool:
    turns = [{"role": "system", "content": "Add."}, {"role": "user", "content": PROBLEM}]
    try:
        return PROBLEM in render(subject.tokenizer, turns, prompt=True)
    except InputError:
        return False


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:40]} ... {text[-30:]}")
