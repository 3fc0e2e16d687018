"""What the words of a server's error mean.

Hosts agree neither on the shape of an error nor on its code or status, so its words decide. Each pattern, for
text in lower case, stands beside the servers whose words it matches, as their sources and public bug reports
have them.
"""

from __future__ import annotations

CONTEXT = {
    r"context[_ ]?(length|window|size)": (
        "OpenAI, Azure, Groq (context_length_exceeded); vLLM, DeepSeek, OpenRouter, Together (This model's "
        "maximum context length is ...); llama.cpp (exceed_context_size_error); llama-cpp-python, SGLang, "
        "LM Studio, MiniMax"
    ),
    r"maximum (model|prompt) length|max_model_len|longer than the model": "vLLM; xAI; Together",
    r"(prompt|input|request|query)\b.{0,40}\btoo (long|large)": "Anthropic, Bedrock, Ollama, Azure",
    r"`inputs` tokens|`inputs` must have less than": "TGI",
    r"exceeds? the max(imum)? (number of|allowed)? ?(input )?(tokens?|length|input)": "Gemini, Poolside",
    r"token count.{0,60}exceeds": "Gemini, GitHub Copilot",
    r"input length and `?max_tokens`? exceed": "Anthropic",
    r"reduce the length of|reduce your prompt": "Groq, OpenAI",
    r"too large for model with": "Mistral",
    r"exceeded model token limit|token limit exceeded": "Moonshot",
    r"range of input length": "DashScope",
    r"string_above_max_length|string too long": "OpenAI",
    r"prompt has [\d,]+ tokens": "DS4",
    r"too many tokens|tokens? .{0,40}cannot exceed": "Cohere, watsonx",
    r"超长|长度超": "Zhipu, Qianfan",
    r"n_keep|tokens to keep|trying to keep the first": "LM Studio",
    r"input exceeds|exceeds? (the )?(maximum )?(input|token)s? (limit|length)": "Cohere, Vertex AI",
}
"""The prompt does not fit, alone or with the response."""
FILTERED = {
    r"content[_ ]?filter|content management policy|responsibleaipolicy": "Azure, OpenAI, Zhipu, Moonshot",
    r"content[_ ]policy|policy[_ ]violation|usage (policy|policies|guidelines)": "OpenAI, xAI",
    r"invalid_prompt|was flagged as|has been flagged": "OpenAI",
    r"moderation|input was flagged": "OpenRouter, Mistral",
    r"content exists risk": "DeepSeek",
    r"data_?inspection_?failed|inappropriate content": "DashScope",
    r"safety[_ ](check|system|filter|setting)|prohibited[_ ]content|block_?reason": "xAI, Gemini",
    r"considered high risk|sensitive content|(new|input|output)[_ ](new_)?sensitive|敏感": (
        "Moonshot, MiniMax, Zhipu"
    ),
    r"guardrail": "Bedrock, LiteLLM",
}
"""A filter takes exception to this prompt."""
BLOCKED = r'"filtered"\s*:\s*true|"block_?[rR]eason"'
"""The JSON of a reply without choices because a filter took them (Azure, Gemini)."""
ACCOUNT = {
    r"insufficient[_ ](quota|balance|credit|fund)|exceeded_current_quota": "OpenAI, DeepSeek, Moonshot",
    r"billing_not_active|billing_hard_limit|billing (is|has been) (disabled|not)": "OpenAI, Google Cloud",
    r"account_(deactivated|suspended)": "OpenAI",
    r"account (is|has been|was) (deactivated|suspended|disabled)": "OpenAI, Moonshot",
    r"organization (is|has been) (disabled|deactivated|restricted)|access_terminated": "Anthropic, Groq",
    r"credit balance is too low|(used all|out of) .{0,20}credits|spending limit": "Anthropic, xAI",
    r"budget[_ ](has been )?exceeded|exceeded.{0,20} budget": "LiteLLM",
    r"arrearage|overdue.payment|余额不足|欠费": "DashScope, Zhipu",
}
"""The account cannot pay for any request."""
SOFT_QUOTA = r"exceeded your (current )?quota|quota exceeded"
"""OpenAI says so of an empty account, Gemini also of a limit per minute, with the seconds to wait."""
KEY = (
    r"(invalid|incorrect|missing|expired|revoked|no)[_ ](x-)?api[_ ]?key|api[_ ]key (is )?(not valid|invalid)"
)
MODEL = (
    r"model_not_found|no such model|unknown model|invalid model|not a valid model|deploymentnotfound|"
    r"\bmodel\b.{0,120}(does not exist|not found|not exist\b|is not available|is not supported by)|"
    r"no endpoints found"
)
TOO_LARGE = r"request too large|must be reduced in order to run"
"""One request exceeds what the account may use in a minute (Groq with status 413, OpenAI with 429)."""
BUSY = (
    r"throttl|too many requests|rate[_ ]limit|please wait|overloaded|server is busy|temporarily unavailable|"
    r"try again (later|shortly)|is (currently )?loading|loading model"
)
NOT_TAKEN = (
    r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|not allowed|unexpected|cannot find field|"
    r"deprecated|cannot both|instead|extra_forbidden"
)
"""The host takes no such parameter, whatever its value and the prompt are."""
SEED = (
    r"\bseed\b.{0,60}(int|i32|u32|range|must|should|less|greater|max|min|<|>|invalid|out of)|"
    r"invalid.{0,30}\bseed\b"
)
"""The seed is out of a host's range (xAI and Gemini take 31 bits)."""
TLS_PORT = r"http request (was sent )?to (an )?https"
NO_SYSTEM = (
    r"\bsystem\b.{0,40}(not supported|unsupported|not allowed|not enabled)|not support 'system'|"
    r"developer instruction"
)
ONLY_STREAM = r"only support.{0,12}stream|requires? stream|stream=true|enable.{0,12}stream"
