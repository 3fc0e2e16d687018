"""Chat templates: problems and responses as tokens, and what a template must do for them to be right."""

from hpt_core.policy.chat.control_tokens import ControlTokenError
from hpt_core.policy.chat.encoding import Chat, EncodedPrompts
from hpt_core.policy.chat.template import (
    default_template,
    lasting_template,
    with_fixed_date,
    with_system_prompt,
)

__all__ = [
    "Chat",
    "ControlTokenError",
    "EncodedPrompts",
    "default_template",
    "lasting_template",
    "with_fixed_date",
    "with_system_prompt",
]
