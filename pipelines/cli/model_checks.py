"""Checks of one model: those that the stages make, and those that no stage has the time for.

Each check gives a row, and one that fails hides none of the later ones that can still run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hpt_core.config import Policy, RolloutConfig
from hpt_core.errors import InputError
from hpt_core.policy.chat import lasting_template
from hpt_core.policy.loading.checked import load_unchecked, read_files
from hpt_core.policy.loading.folder_checks import FOLDER_CHECKS, ModelFiles
from hpt_core.policy.loading.weight_checks import MODEL_CHECKS, LoadedModel
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.template_checks import template_findings
from pipelines.cli.check_rows import NotRun, Row, row
from pipelines.cli.engine_checks import ModelInUse

PLAIN = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
"""The template of the later checks, if the model's own is refused."""


@dataclass(frozen=True)
class Request:
    """The model to check, and the parameters of params.yaml that it would be used with."""

    model: str
    rollout: RolloutConfig
    revision: str | None = None
    chat_template: str | None = None
    """Jinja text."""
    system_prompt: str | None = None


class Examination:
    """The checks of one model, in order; attributes hold what earlier checks have loaded for later ones."""

    files: ModelFiles | None = None
    a_model = True
    """Whether the files are those of a model that can be loaded here."""
    loaded: LoadedModel | None = None
    tokenizer: PreTrainedTokenizerBase | None = None

    def __init__(self, request: Request) -> None:
        self.request = request

    def rows(self) -> Iterator[Row]:
        """A row for each check, as soon as it was made."""
        yield row("model found", self.find)
        for name, folder_check in FOLDER_CHECKS.items():
            result = row(name, partial(self.of_files, folder_check))
            self.a_model = self.a_model and result.verdict == "ok"
            yield result
        yield row("model and tokenizer load", self.load)
        for name, weight_check in MODEL_CHECKS.items():
            yield row(name, partial(self.of_weights, weight_check))
        yield from self.template_rows()
        in_use = ModelInUse(self.policy, self.request.rollout)
        for name, check in in_use.checks().items():
            yield row(name, check)

    @property
    def policy(self) -> LoadedPolicy | None:
        return None if self.loaded is None else LoadedPolicy(self.loaded.model, self.loaded.tokenizer)

    def find(self) -> str:
        name = self.request.model
        self.files = read_files(Path(name) if Path(name).is_dir() else name, self.request.revision)
        return f"{self.files.config.get('model_type', 'no model_type')}, {len(self.files.files)} files"

    def of_files(self, check: Callable[[ModelFiles], None]) -> None:
        if self.files is None:
            raise NotRun("the model's files")
        check(self.files)

    def load(self) -> str:
        if self.files is None:
            raise NotRun("the model's files")
        try:
            if not self.a_model:
                raise NotRun("a model that can be trained")
            loaded = load_unchecked(self.files, self.request.revision)
        except (InputError, NotRun):
            # The template can be checked without weights. A tokenizer that fails too is a part of the error.
            with suppress(Exception):
                self.tokenizer = AutoTokenizer.from_pretrained(
                    self.files.name, revision=self.request.revision
                )
                self._settle(self.tokenizer)
            raise
        self._settle(loaded.tokenizer)
        loaded.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()  # type: ignore[arg-type]
        self.loaded, self.tokenizer = loaded, loaded.tokenizer
        size = sum(parameter.numel() for parameter in loaded.model.parameters())
        return f"{type(loaded.model).__name__}, {size / 1e6:,.1f} million parameters"

    def _settle(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Give the tokenizer the template and the padding that the stage `base` would."""
        request = self.request
        day = date.fromisoformat(Policy(model=request.model).template_date)
        tokenizer.chat_template = lasting_template(
            request.chat_template or tokenizer.chat_template, day, request.system_prompt
        )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token

    def of_weights(self, check: Callable[[LoadedModel], None]) -> None:
        if self.loaded is None:
            raise NotRun("a model that loads")
        check(self.loaded)

    def template_rows(self) -> Iterator[Row]:
        """The checks of the stage `base`, up to the first refusal; later checks then use a plain template."""
        name = "chat template"
        if self.tokenizer is None:
            yield Row(name, "not run", "needs a tokenizer that loads")
        elif self.tokenizer.chat_template is None:
            yield Row(name, "refused", "there is none; name a Jinja file in the policy's chat_template")
            self.tokenizer.chat_template = PLAIN
        else:
            for finding in template_findings(self.tokenizer, self.request.system_prompt):
                yield Row(f"template {finding.check}", finding.verdict, finding.detail)
                if finding.verdict == "refused":
                    self.tokenizer.chat_template = PLAIN
