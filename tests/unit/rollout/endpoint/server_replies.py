"""Replies of servers as public bug reports, documentation and sources have them: (source, status, body)."""

from __future__ import annotations

from typing import Any

Reply = tuple[str, int, Any]


def error(message: str, **fields: Any) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, **fields}}


def nested(message: str, code: str) -> str:
    return f'{{"error":{{"code":"{code}","message":"{message}","type":"invalid_request_error"}}}}'


def choice(finish_reason: Any, **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": finish_reason, "message": message}]}


LLAMA = (
    "the request exceeds the available context size. try increasing the context size or enable context shift"
)
VLLM = (
    "This model's maximum context length is 8192 tokens. However, you requested 8203 tokens (7691 in the "
    "messages, 512 in the completion). Please reduce the length of the messages or completion."
)
OLD_VLLM = (
    "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context length is 8192 "
    "tokens and your request has 30 input tokens (8192 > 8192 - 30)."
)
GEMINI = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
GROQ = (
    "Request too large for model `llama-3.3-70b-versatile` in organization `org_1` service tier `on_demand` "
    "on tokens per minute (TPM): Limit 6000, Requested 14810, please reduce your message size and try again."
)
OPENAI_TPM = (
    "Request too large for gpt-4o in organization org-1 on tokens a min (TPM): Limit 30000, Requested 45000. "
    "The input or output tokens must be reduced in order to run successfully."
)
TGI = (
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. Given: 6204 `inputs` tokens"
)
LM_STUDIO = (
    "Trying to keep the first 14538 tokens when context the overflows. However, the model is loaded with "
    "context length of only 2048 tokens, which is not enough."
)
N_KEEP = (
    "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 9>= "
    "n_ctx: 4)."
)
AZURE = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
        "policy. Please modify your prompt and retry.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
        },
    }
}
FLAGGED = (
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again"
)
OPENAI_TOO_LONG = (
    "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576"
)
XAI = "Content violates usage guidelines. Team: t, API key ID: k, Failed check: SAFETY_CHECK_TYPE_BIO"
MODERATION = {
    "error": {
        "code": 403,
        "message": 'openai/gpt-4o requires moderation on OpenAI. Your input was flagged for "violence".',
        "metadata": {
            "reasons": ["violence"],
            "flagged_input": "insufficient_quota",
            "provider_name": "OpenAI",
        },
    }
}

REFUSED: list[Reply] = [
    (
        "llama.cpp #15780",
        500,
        {"error": {"code": 500, "message": LLAMA, "type": "exceed_context_size_error"}},
    ),
    (
        "llama.cpp",
        400,
        {"error": {"code": 400, "message": LLAMA, "type": "exceed_context_size_error", "n_ctx": 8192}},
    ),
    (
        "llama.cpp, its type alone",
        400,
        {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error"}},
    ),
    (
        "llama.cpp, status 200",
        200,
        {"error": {"code": 400, "message": LLAMA, "type": "exceed_context_size_error"}},
    ),
    (
        "llama-cpp-python",
        500,
        error("Requested tokens (2285) exceed context window of 2048", type="internal"),
    ),
    (
        "vLLM, older",
        400,
        {"object": "error", "message": VLLM, "type": "BadRequestError", "param": None, "code": 400},
    ),
    (
        "vLLM, older still",
        400,
        {"object": "error", "message": OLD_VLLM, "type": "BadRequestError", "code": 400},
    ),
    (
        "vLLM",
        400,
        error("The decoder prompt (length 10127) is longer than the maximum model length of 8192.", code=400),
    ),
    (
        "SGLang",
        400,
        {"object": "error", "message": "The input (61709 tokens) is longer than the model's context length"},
    ),
    ("TGI", 422, {"error": TGI, "error_type": "validation"}),
    ("TGI, OpenAI's shape", 422, error(TGI, http_status_code=422)),
    (
        "TGI, prompt alone",
        422,
        {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 15"},
    ),
    ("Ollama", 400, error("prompt too long; exceeded max context length by 4 tokens", type="api_error")),
    ("LM Studio", 400, {"error": LM_STUDIO}),
    ("LM Studio, n_keep", 400, {"error": N_KEEP}),
    ("OpenAI", 400, error("This model's maximum context length is 4097", code="context_length_exceeded")),
    ("OpenAI, Responses", 400, error("Your input exceeds the context window of this model.")),
    (
        "OpenAI, characters",
        400,
        error(OPENAI_TOO_LONG, code="string_above_max_length", param="messages[0].content"),
    ),
    ("OpenAI, tokens a minute", 429, error(OPENAI_TPM, type="tokens", code="rate_limit_exceeded")),
    (
        "Groq",
        400,
        error("Please reduce the length of the messages or completion.", code="context_length_exceeded"),
    ),
    ("Groq, tokens a minute", 413, error(GROQ, type="tokens", code="rate_limit_exceeded")),
    ("Gemini", 400, [{"error": {"code": 400, "message": GEMINI, "status": "INVALID_ARGUMENT"}}]),
    ("Gemini, nested", 400, error(f'{{"error": {{"code": 400, "message": "{GEMINI}"}}}}', code=400)),
    (
        "DeepSeek",
        400,
        error("This model's maximum context length is 131072 tokens. However, you requested 131134"),
    ),
    (
        "Mistral",
        400,
        {
            "object": "error",
            "message": "Prompt contains 40 tokens, too large for model with 32 maximum context length",
            "type": "invalid_request_error",
            "code": "3051",
        },
    ),
    ("Together", 422, error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097.")),
    (
        "Anthropic",
        400,
        error("prompt is too long: 213462 tokens > 200000 maximum", type="invalid_request_error"),
    ),
    (
        "Anthropic, both",
        400,
        error("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
    ),
    ("Anthropic, bytes", 413, error("Request exceeds the maximum size", type="request_too_large")),
    ("Bedrock", 400, {"message": "Input is too long for requested model."}),
    (
        "xAI",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    (
        "OpenRouter",
        400,
        error("This endpoint's maximum context length is 4 tokens. However, you requested about 9", code=400),
    ),
    (
        "OpenRouter, provider",
        400,
        error(
            "Provider returned error",
            code=400,
            metadata={
                "raw": nested("Your request exceeded model token limit: 8 (requested: 9)", "invalid"),
                "provider_name": "Moonshot",
            },
        ),
    ),
    (
        "OpenRouter, status 200",
        200,
        error("Provider returned error", code=400, metadata={"raw": nested(VLLM, "x")}),
    ),
    (
        "DashScope",
        400,
        error("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
    ),
    (
        "MiniMax",
        200,
        {
            "choices": None,
            "base_resp": {"status_code": 2013, "status_msg": "invalid params, context window exceeds limit"},
        },
    ),
    (
        "Cohere",
        400,
        {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"},
    ),
    (
        "Cloudflare",
        413,
        {"errors": [{"message": "AiError: exceeded this model context window limit (4096).", "code": 5021}]},
    ),
    (
        "watsonx",
        400,
        {
            "errors": [
                {"message": "the number of input tokens 5000 cannot exceed the total tokens limit 4096"}
            ]
        },
    ),
    ("Zhipu", 400, {"error": {"code": "1261", "message": "Prompt 超长"}}),
    (
        "FastChat, status 200",
        200,
        {"object": "error", "message": "This model's maximum context length is 2048 tokens.", "code": 40303},
    ),
    ("byte order mark", 400, "\ufeff" + '{"error": {"message": "no", "code": "context_length_exceeded"}}'),
    (
        "GitHub Copilot",
        400,
        error("prompt token count of 9000 exceeds the limit of 8000", code="model_max_prompt"),
    ),
    (
        "LiteLLM",
        400,
        error("litellm.ContextWindowExceededError: AnthropicError - prompt is too long", code="400"),
    ),
    ("nginx", 413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
    ("Azure", 400, AZURE),
    ("OpenAI, reasoning models", 400, error(FLAGGED, type="invalid_request_error", code="invalid_prompt")),
    (
        "OpenAI, policy",
        400,
        error("Your request was rejected as a result of our safety system.", code="content_policy_violation"),
    ),
    ("xAI, safety", 403, {"code": "The caller does not have permission", "error": XAI}),
    ("OpenRouter, moderation", 403, MODERATION),
    ("DeepSeek, older", 400, {"detail": "Content Exists Risk"}),
    (
        "DeepSeek, risk",
        400,
        error("Content Exists Risk", type="invalid_request_error", code="invalid_request_error"),
    ),
    (
        "DashScope, risk",
        400,
        error("Input data may contain inappropriate content.", code="data_inspection_failed"),
    ),
    (
        "Moonshot, risk",
        400,
        error("The request was rejected because it was considered high risk", type="content_filter"),
    ),
    (
        "Zhipu, risk",
        400,
        {
            "contentFilter": [{"level": 1, "role": "user"}],
            "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"},
        },
    ),
    ("MiniMax, risk", 200, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
    ("LiteLLM, guardrail", 400, error("Violated guardrail policy", type="None", code="400")),
    ("law", 451, error("Unavailable for legal reasons")),
    ("OpenAI, refusal", 200, choice("stop", content=None, refusal="I'm sorry, I can't assist with that.")),
    ("a part that refuses", 200, choice("stop", content=[{"type": "refusal", "refusal": "I can't."}])),
    (
        "OpenRouter, refusing choice",
        200,
        {"choices": [{"error": {"code": 403, "message": "input was flagged"}}]},
    ),
    (
        "Azure, no choices",
        200,
        {
            "choices": [],
            "prompt_filter_results": [
                {"content_filter_results": {"hate": {"filtered": True, "severity": "high"}}}
            ],
        },
    ),
    ("Gemini, no choices", 200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
    ("a call of a tool", 200, choice("stop", content=None, tool_calls=[{"id": "1"}])),
]
"""Each concerns one prompt: it is refused, without a second request, and the others are answered."""

UNEXPLAINED: list[Reply] = [
    (
        "Databricks",
        400,
        {"error_code": "BAD_REQUEST", "message": "5000 prompt tokens + 4096 max_tokens > 8192"},
    ),
    ("a word of the prompt", 400, error("Cannot parse 'the temperature of a seed'")),
    ("an unknown word", 400, error("Bad things in this one", code="quark")),
    ("no body", 400, ""),
    ("Cerebras, no body", 422, None),
    (
        "FastAPI",
        422,
        {"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "not a haiku", "input": "top_p"}]},
    ),
    (
        "a template that fails",
        400,
        {"object": "error", "message": "Conversation roles must alternate", "code": 400},
    ),
    ("a list of errors", 400, [{"error": {"code": 400, "message": "Request contains an invalid argument."}}]),
]
"""Nothing says whether these concern the prompt; the answer to another prompt does."""

STOPS: list[tuple[str, int, Any, str]] = [
    (
        "OpenAI",
        429,
        error(
            "You exceeded your current quota, please check your plan and billing details.",
            type="insufficient_quota",
            code="insufficient_quota",
        ),
        "Top up the account",
    ),
    (
        "OpenAI, code null",
        429,
        error("You exceeded your current quota", type="insufficient_quota"),
        "Top up the account",
    ),
    (
        "OpenAI, no plan",
        429,
        error("Your account is not active", code="billing_not_active"),
        "Top up the account",
    ),
    (
        "OpenAI, deactivated",
        401,
        error("The OpenAI account has been deactivated", code="account_deactivated"),
        "Top up",
    ),
    (
        "Anthropic",
        400,
        error(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing",
            type="invalid_request_error",
        ),
        "Top up the account",
    ),
    ("DeepSeek", 402, error("Insufficient Balance", code="invalid_request_error"), "Top up the account"),
    (
        "OpenRouter",
        402,
        error("This request requires more credits, or fewer max_tokens.", code=402),
        "Top up the account",
    ),
    ("OpenRouter, status 200", 200, error("Insufficient credits", code=402), "Top up the account"),
    (
        "xAI",
        403,
        {"error": "Your team t has either used all available credits or reached its monthly spending limit."},
        "Top up the account",
    ),
    (
        "DashScope",
        400,
        error("Access denied, please make sure your account is in good standing.", code="Arrearage"),
        "Top up the account",
    ),
    (
        "OpenAI, key",
        401,
        error("Incorrect API key provided: sk-abc", code="invalid_api_key"),
        "api_key_env to a key",
    ),
    (
        "Gemini, key",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "api_key_env to a key",
    ),
    ("OpenRouter, key", 401, error("No auth credentials found", code=401), "api_key_env to a key"),
    (
        "OpenAI, region",
        403,
        error("Country, region, or territory not supported", code="unsupported_country"),
        "may use",
    ),
    (
        "OpenAI, model",
        404,
        error("The model `gpt-9` does not exist or you do not have access to it.", code="model_not_found"),
        r"Correct teacher.endpoint.model",
    ),
    (
        "DeepSeek, model",
        400,
        error("Model Not Exist", type="invalid_request_error"),
        "Correct teacher.endpoint.model",
    ),
    (
        "Ollama, model",
        404,
        error("model 'big' not found, try pulling it first", type="api_error"),
        "Correct .*model",
    ),
    (
        "Mistral, model",
        400,
        {"object": "error", "message": "Invalid model: big", "code": "1500"},
        "Correct .*model",
    ),
    (
        "OpenRouter, model",
        400,
        error("big is not a valid model ID", code=400),
        "Correct teacher.endpoint.model",
    ),
    (
        "Azure, deployment",
        404,
        error("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
        "Correct teacher.endpoint.model",
    ),
    (
        "Azure, version",
        404,
        error("Resource not found", code="404"),
        r"Correct teacher.endpoint.url.*api-version",
    ),
    (
        "OpenRouter, settings",
        404,
        error("No endpoints available matching your guardrail restrictions and data policy.", code=404),
        "Correct teacher.endpoint.(model|url)",
    ),
    ("FastAPI, path", 404, {"detail": "Not Found"}, r"Correct teacher.endpoint.url.*/v1"),
    ("gin, path", 404, "404 page not found", r"Correct teacher.endpoint.url.*/v1"),
    (
        "a page",
        404,
        "<!DOCTYPE html><html><title>Nothing here</title></html>",
        "404: Nothing here.*Correct .*url",
    ),
    (
        "a page, status 200",
        200,
        "<!doctype html><html><title>Open WebUI</title>",
        "a page: Open WebUI.*Correct .*url",
    ),
    (
        "LM Studio, path",
        200,
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"},
        "Correct .*url",
    ),
    ("a method", 405, {"detail": "Method Not Allowed"}, "Correct teacher.endpoint.url"),
    ("Go, TLS", 400, "Client sent an HTTP request to an HTTPS server.", "https:// in teacher.endpoint.url"),
    (
        "nginx, TLS",
        400,
        "<html><title>400 The plain HTTP request was sent to HTTPS port</title>",
        "https:// in",
    ),
    (
        "DashScope, stream",
        400,
        error("This model only support stream mode, please enable the stream parameter"),
        "Set teacher.endpoint.stream: true",
    ),
    (
        "OpenAI, max_tokens",
        400,
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
        ),
        r"teacher.endpoint.parameters: \{max_tokens: max_completion_tokens\}",
    ),
    (
        "OpenAI, temperature",
        400,
        error(
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the "
            "default (1) value is supported.",
            param="temperature",
        ),
        r"teacher.endpoint.parameters: \{temperature: null\}",
    ),
    (
        "Mistral, seed",
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "seed"],
                        "msg": "Extra inputs are not permitted",
                        "input": 5,
                    }
                ]
            },
        },
        r"parameters: \{seed: null\}",
    ),
    (
        "Gemini, seed",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
                }
            }
        ],
        r"parameters: \{seed: null\}",
    ),
    (
        "Anthropic, top_p",
        400,
        error("`temperature` and `top_p` cannot both be specified for this model."),
        r"parameters: \{(temperature|top_p): null\}",
    ),
    (
        "OpenAI, system",
        400,
        error("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        "Set teacher.endpoint.system_prompt: null",
    ),
    (
        "vLLM, system",
        400,
        {"object": "error", "message": "System role not supported", "code": 400},
        "system_prompt: null",
    ),
    ("a redirect", 301, "", "Correct teacher.endpoint.url"),
    ("a proxy's password", 407, "", "proxy's user and password"),
]
"""No prompt would be answered: the run stops after one request, with the remedy."""

STOPS_AFTER_ANOTHER_PROMPT: list[tuple[str, int, Any, str]] = [
    (
        "DeepSeek, max_tokens",
        400,
        error("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        r"parameters: \{max_tokens: null\}",
    ),
    (
        "TGI, max_new_tokens",
        422,
        {
            "error": "Input validation error: `max_new_tokens` must be <= 192. Given: 600",
            "error_type": "validation",
        },
        r"parameters: \{max_tokens: null\}",
    ),
]
"""A limit, which may be that of one prompt, and is that of the other prompt too."""

RETRIED: list[Reply] = [
    (
        "OpenAI, rate",
        429,
        error("Rate limit reached for gpt-4o. Please try again in 6ms.", code="rate_limit_exceeded"),
    ),
    (
        "Gemini, rate",
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota, please check your plan and "
                    "billing details. Please retry in 0.01s.",
                    "status": "RESOURCE_EXHAUSTED",
                }
            }
        ],
    ),
    (
        "OpenRouter, rate",
        429,
        error(
            "Provider returned error",
            code=429,
            metadata={
                "raw": "z-ai/glm is temporarily rate-limited upstream. Please retry shortly",
                "provider_name": "BaseTen",
            },
        ),
    ),
    ("OpenRouter, rate in a 200", 200, error("Rate limit exceeded", code=429)),
    ("OpenRouter, provider in a 200", 200, error("Provider returned error", code=502)),
    (
        "OpenRouter, choice",
        200,
        {
            "choices": [
                {
                    "error": {"code": 502, "message": "Upstream error"},
                    "message": {"content": "so"},
                    "finish_reason": "error",
                }
            ]
        },
    ),
    (
        "Bedrock, rate",
        400,
        {"message": "Too many tokens, please wait before trying again.", "__type": "ThrottlingException"},
    ),
    ("Hugging Face, loading", 503, {"error": "Model big/model is currently loading", "estimated_time": 20.0}),
    ("Anthropic, overloaded", 529, error("Overloaded", type="overloaded_error")),
    ("TGI, overloaded", 429, {"error": "Model is overloaded", "error_type": "overloaded"}),
    (
        "TGI, failed",
        424,
        {"error": "Request failed during generation: Server error: ", "error_type": "generation"},
    ),
    ("Groq, capacity", 498, error("Flex tier capacity exceeded", code="capacity_exceeded")),
    ("Cloudflare", 524, "<!DOCTYPE html><html><title>A timeout occurred</title></html>"),
    ("MiniMax, rate", 200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
    ("DeepSeek, resources", 200, choice("insufficient_system_resource", content="so")),
    ("Zhipu, network", 200, choice("network_error", content="so")),
    (
        "OpenAI, streamed",
        200,
        'data: {"error": {"message": "The server had an error", "type": "server_error"}}\n\n',
    ),
    (
        "Anthropic, streamed",
        200,
        'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',
    ),
    (
        "vLLM, streamed",
        200,
        'data: {"object": "error", "message": "Internal", "code": 500}\n\ndata: [DONE]\n\n',
    ),
    ("no end", 200, choice("", content="so")),
    ("a part of another type", 200, choice("stop", content=[{"type": "image_url"}])),
]
"""Another attempt may succeed."""
