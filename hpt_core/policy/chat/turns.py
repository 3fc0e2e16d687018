"""How a template writes the turn that answers a problem, read off conversations that it renders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from hpt_core.errors import InputError
from hpt_core.policy.chat.control_tokens import ControlTokens
from hpt_core.policy.chat.template import render
from hpt_core.thinking import closing_tag, leading_tag, unclosed_thinking, without_empty_thinking

PROBLEM, RESPONSE = "What is 17 + 25?", "It is 42."
_SECOND_PROBLEM, _SECOND_RESPONSE = "And what is 6 x 8?", "Now it is 48."


@dataclass(frozen=True)
class AssistantTurn:
    """The text around a response, and the token that ends it."""

    context: str
    """The prompt from its problem on: PROBLEM and the generation prompt."""
    opened: str
    """The end of the generation prompt from a thinking tag that it does not close; "" without one."""
    opening: str
    """What the template puts between the generation prompt and a response."""
    after: str
    """What the template puts after the last response of a conversation."""
    closing: str
    """What ends a response that is trained on: the text up to the end-of-turn token, included."""
    end: str
    """The end-of-turn token."""
    ends_by_template: bool
    """Whether `end` is the template's; else it is the tokenizer's eos_token."""
    written: str = ""
    """The conversation from its problem to its response; "" if the template writes no response. What precedes
    the problem is the prompt's: Mistral Nemo writes the system prompt in the user's turn that is the last."""
    fault: str = ""
    """Why the template writes no response; "" if it does."""

    def opening_of(self, response: str) -> str:
        """`opening`, in which a block of thinking without content gives way to a response's own thinking."""
        if not leading_tag(response):
            return self.opening
        return without_empty_thinking((self.opened + self.opening) if self.opened else self.opening)


@dataclass(frozen=True)
class _Rendered:
    """Conversations in a template's text."""

    prompt: str
    whole: str | None
    """A problem and its response; None if the template writes no response."""
    two_rounds: str | None
    """The same with a second problem and response after it; None if the template does not write them."""
    fault: str
    """Why `whole` is None."""

    @property
    def written(self) -> str:
        """The conversation from its problem up to its response."""
        return "" if self.whole is None else from_problem(self.whole[: self.whole.rindex(RESPONSE)])

    @property
    def after_response(self) -> str:
        """What follows the last response of a conversation."""
        return "" if self.whole is None else self.whole[self.whole.rindex(RESPONSE) + len(RESPONSE) :]

    @property
    def between_rounds(self) -> str | None:
        """What stands between a response and the next problem."""
        if self.two_rounds is None:
            return None
        return self.two_rounds.partition(RESPONSE)[2].partition(_SECOND_PROBLEM)[0]


def read_template(tokenizer: PreTrainedTokenizerBase) -> tuple[AssistantTurn, ControlTokens]:
    """The assistant's turn and the control tokens. Raises InputError where a prompt lacks the problem."""
    rendered = _render(tokenizer)
    start = rendered.prompt.rfind(PROBLEM)
    if start < 0:
        raise InputError("the chat template leaves the problem out, or alters it")
    control = ControlTokens(tokenizer, _structure(rendered))
    context = rendered.prompt[start:]
    opened = unclosed_thinking(context[len(PROBLEM) :])
    closing, end, by_template = _closing(tokenizer, rendered, control)
    turn = AssistantTurn(
        context,
        opened,
        _opening(context, rendered.written, opened),
        rendered.after_response,
        closing,
        end,
        by_template,
        rendered.written,
        rendered.fault,
    )
    return turn, control


def _render(tokenizer: PreTrainedTokenizerBase) -> _Rendered:
    problem = {"role": "user", "content": PROBLEM}
    answered = [problem, {"role": "assistant", "content": RESPONSE}]
    again = [
        *answered,
        {"role": "user", "content": _SECOND_PROBLEM},
        {"role": "assistant", "content": _SECOND_RESPONSE},
    ]
    prompt = render(tokenizer, [problem], prompt=True)
    fault = ""
    try:
        whole: str | None = render(tokenizer, answered, prompt=False)
    except InputError as error:
        whole, fault = None, str(error)
    if whole is not None and RESPONSE not in whole:
        whole, fault = None, "it leaves the response out"
    try:
        two_rounds: str | None = render(tokenizer, again, prompt=False)
    except InputError:
        two_rounds = None
    if two_rounds is not None and not (RESPONSE in two_rounds and _SECOND_PROBLEM in two_rounds):
        two_rounds = None
    return _Rendered(prompt, whole, two_rounds, fault)


def _structure(rendered: _Rendered) -> str:
    """What the template puts between contents.

    A system prompt is content too, so that the head of a conversation counts only where no second round shows
    what precedes a problem.
    """
    head, _, tail = rendered.prompt.rpartition(PROBLEM)
    between = rendered.between_rounds
    return "\n".join([head if between is None else between, tail, rendered.after_response])


def from_problem(text: str) -> str:
    """The text from PROBLEM on."""
    return text[max(text.find(PROBLEM), 0) :]


def _opening(prompt: str, written: str, opened: str) -> str:
    """What the template puts between the generation prompt and a response that has no thinking.

    A generation prompt may open thinking that the template's own turn does not have (DeepSeek-R1), or that it
    closes at once (Nemotron).
    """
    if written.startswith(prompt):
        opening = written[len(prompt) :]
    else:
        before = prompt[: len(prompt) - len(opened)]
        opening = written[len(before) :].lstrip() if opened and written.startswith(before) else ""
        opening = opening.removeprefix(leading_tag(opening))
    if opened and closing_tag(opened) not in opening:
        opening += f"\n{closing_tag(opened)}\n\n"
    return opening


def _closing(
    tokenizer: PreTrainedTokenizerBase, rendered: _Rendered, control: ControlTokens
) -> tuple[str, str, bool]:
    """What closes a response, the end-of-turn token in it, and whether the template has it.

    The end of turn closes the last turn and those before it. Phi-3 puts `<|endoftext|>` after the last turn
    only, and gpt-oss closes it with a token of its own. After a GLM-4 response follows the next `<|user|>`.
    """
    last, between, eos = rendered.after_response, rendered.between_rounds, str(tokenizer.eos_token)
    for text in (last if between is None else _common_prefix(last, between), last):
        if run := _first_run(text, control, eos):
            return text[: run[1]], text[run[0] : run[1]], True
    following = control.pattern.search(between or "")
    if between and following and not between[: following.start()].strip():
        token = following.group()
        if token != tokenizer.bos_token:
            return between[: following.end()], token, True
    return (last if last.strip() else "") + eos, eos, False


def _first_run(text: str, control: ControlTokens, eos: str) -> tuple[int, int] | None:
    """Start and end of the last of the first control tokens that follow each other without a gap.

    No token follows the one that the tokenizer calls its end of sequence.
    """
    found: tuple[int, int] | None = None
    for match in control.pattern.finditer(text):
        if found is not None and match.start() != found[1]:
            break
        found = match.span()
        if match.group() == eos:
            break
    return found


def _common_prefix(one: str, two: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))
    return "".join(pair[0] for pair in same)


def without_white_space(text: str) -> str:
    """What remains of two texts to compare where templates add or strip white space."""
    return "".join(text.split())
