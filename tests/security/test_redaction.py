"""No secret of the environment leaves in a message, a log record or a traceback."""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from hpt_core import redaction
from hpt_core.printable import printable
from hpt_core.redaction import redacted
from pipelines import messages

REPO = Path(__file__).parents[2]
SECRETS = {
    "MLFLOW_TRACKING_URI": "https://ann:tr%40cking-pw@mlflow.example:5000/base",
    "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://hpt:pa/ss-word@db.example/mlflow",
    "PREFECT_API_AUTH_STRING": "admin:hunter2",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret",
    "OPENAI_API_KEY": "sk-planted-openai-key",
    "HF_TOKEN": "hf_plantedtoken",
    "HPT_WEBHOOK": "https://hooks.slack.example/services/T0/B0/plantedhook",
    "POSTGRES_PASSWORD": "pg:planted",
}
HARMLESS = {
    "TOKENIZERS_PARALLELISM": "false",
    "AWS_SHARED_CREDENTIALS_FILE": "/home/ann/.aws/credentials",
    "SSH_AUTH_SOCK": "/tmp/agent.sock",
    "PREFECT_SERVER_CSRF_TOKEN_EXPIRATION": "3600",
    "AUTH_TYPE": "basic",
    "PWD": "/home/ann/checkout",
    "OLDPWD": "/home/ann/other",
    "SHORT_KEY": "abc",
}


@pytest.mark.parametrize(
    "text",
    [
        "MLflow at https://ann:tr%40cking-pw@mlflow.example:5000/base failed",
        "password tr@cking-pw rejected",
        'could not connect to "postgresql+psycopg2://hpt:pa/ss-word@db.example/mlflow"',
        "user hpt, password pa/ss-word",
        f"Authorization: Basic {base64.b64encode(b'admin:hunter2').decode()}",
        "login admin:hunter2 failed, password hunter2!",
        "env: AKIAPLANTEDPLANTED planted/aws+secret",
        "?X-Amz-Credential=planted%2Faws%2Bsecret",
        "Incorrect API key provided: sk-planted-openai-key.",
        "HTTPSConnectionPool(host='hooks.slack.example'): url: /services/T0/B0/plantedhook",
        "{'token': 'hf_plantedtoken'}",
        "postgres says pg:planted is wrong",
    ],
)
def test_secrets_are_replaced_in_every_form_in_which_libraries_print_them(text: str) -> None:
    cleaned = redacted(text, SECRETS)
    assert redaction.MASK in cleaned
    for secret in ("cking-pw", "ss-word", "hunter2", "PLANTED", "planted"):
        assert secret not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:s3cret/with@odd@db/x",
        "https://s3cret@github.com/org/repo.git",
        "GET /api?page=2&access_token=s3cret HTTP/1.1",
        "authorization='Bearer s3cret'",
        "two: http://a:s3cret@h, http://b:s3cret@i",
    ],
)
def test_what_authorises_is_replaced_without_knowing_it(text: str) -> None:
    cleaned = redacted(text, {})
    assert "s3cret" not in cleaned and "odd@" not in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "see http://127.0.0.1:5000/#/experiments/1 and ann@example.org",
        "http://127.0.0.1:4200/api for ann@example.org",
        "the basic administrator reads /home/ann/.aws/credentials, false, 3600, /tmp/agent.sock, abcdef, abc",
        "s3://bucket/key?versionId=3",
        'File "/home/ann/checkout/pipelines/flow.py", line 3; /home/ann/other',
        "12 = 3 * 4; x@y",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redacted(text, {**HARMLESS, "ADMIN_PASSWORD": "admin"}) == text


def test_log_records_and_tracebacks_of_any_library_are_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import logging, threading
from pipelines import messages
messages.install(); messages.install()
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
def connect(url):
    raise ConnectionError(f"cannot reach {url}")
URL = "https://ann:planted-password@host/"
log = logging.getLogger("third.party")
log.info("connecting to %s, attempt %d", URL, 1)
log.info("connecting to %(url)s", {"url": URL})
log.info("a model wrote \\x1b]0;title\\x07\\x1b[2J")
try:
    connect(URL)
except ConnectionError:
    log.exception("no connection with %s", "planted-key-of-env")
thread = threading.Thread(target=connect, args=(URL,)); thread.start(); thread.join()
connect(URL)
"""
    monkeypatch.setenv("SOME_API_KEY", "planted-key-of-env")
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and ended.stdout == ""
    assert "planted" not in ended.stderr and "\x1b" not in ended.stderr
    assert "third.party: connecting to https://***@host/, attempt 1" in ended.stderr
    assert r"a model wrote \x1b]0;title\x07\x1b[2J" in ended.stderr
    assert ended.stderr.count("cannot reach https://***@host/") == 3


def test_arguments_that_need_no_change_stay_as_they_are() -> None:
    """uvicorn's formatter of requests unpacks them."""
    factory = messages._CleanRecords(logging.LogRecord)
    args = ("127.0.0.1:1", "GET", "/api?token=planted", "1.1", 200)
    record = factory("uvicorn", logging.INFO, "", 1, '%s - "%s %s HTTP/%s" %d', args, None)
    assert record.args == ("127.0.0.1:1", "GET", "/api?token=***", "1.1", 200)


def test_an_exception_is_raised_anew_without_its_secret() -> None:
    with (
        pytest.raises(RuntimeError, match=r"KeyError: 'http://\*\*\*@host'") as raised,
        messages.without_secrets(),
    ):
        raise KeyError("http://u:planted@host")
    assert raised.value.__suppress_context__
    with pytest.raises(KeyError), messages.without_secrets():
        raise KeyError("name")


def test_control_characters_of_a_model_are_escaped() -> None:
    assert printable("a\x1b[31mred\x1b[0m\tb\nc") == "ared\tb\nc"
    assert printable("\x1b[2J\x07\r\x9b\u202edcba\ud800") == r"\x1b[2J\x07\r\x9b\u202edcba\ud800"
