"""What is a secret, what is none, and that redacting leaves everything else as it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftk import events
from ftk.config import build
from ftk.data import characters
from ftk.errors import ConfigError, ModelError
from ftk.secrets import MARKS, REDACTED, SHAPES, RedactingFilter, look_again, redact, redact_logs

KEYS = {
    "hub": "hf_" + "aB3" * 12,
    "openai": "sk-proj-" + "a1B2_" * 8,
    "github": "ghp_" + "a1B2" * 9,
    "github, fine-grained": "github_pat_" + "a1B2_" * 9,
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "gitlab": "glpat-" + "a1B2-" * 5,
    "slack": "xoxb-1234567890-abc",
    "google": "AIza" + "a1B2-" * 7,
    "pypi": "pypi-" + "a1B2" * 12,
    "stripe": "sk_live_" + "a1B2" * 6,
    "web token": "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4",
}
PEM = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU/\n" * 3
    + "AAAA+w==\n-----END OPENSSH PRIVATE KEY-----"
)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """No test hears of the variables of the one before it."""
    look_again()
    yield
    look_again()


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_keys_of_a_known_form_are_taken_out_wherever_they_stand(key: str) -> None:
    assert redact(key) == REDACTED
    assert redact(f"401 for token={key}, says the server") == f"401 for token={REDACTED}, says the server"
    assert redact(f'"{key}"') == f'"{REDACTED}"'
    assert key not in redact(json.dumps({"message": f"first line\n{key}\tend"}))


def test_a_private_key_is_taken_out_to_its_end() -> None:
    assert redact(f"read {PEM}\nand more") == f"read {REDACTED}\nand more"
    line = json.dumps({"event": "warning", "message": f"{PEM}\nand more", "code": "x"})
    assert json.loads(redact(line)) == {"event": "warning", "message": f"{REDACTED}\nand more", "code": "x"}
    cut = redact(PEM[:100])
    assert cut.startswith(REDACTED)
    assert "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU" not in cut


def test_passwords_in_addresses_and_bearer_headers_are_taken_out() -> None:
    assert redact("GET https://me:hunter2@mirror.example/simple/x") == f"GET https://{REDACTED}@mirror.example/simple/x"
    for secret in ("tokenofnoknownform", "me:pa/ss", "me:p@ss", ":hunter2", "me:p%40ss", "me:pa/s@s"):
        assert redact(f"GET https://{secret}@mirror.example/x") == f"GET https://{REDACTED}@mirror.example/x"
    assert redact("Authorization: Bearer abc.def-123456") == f"Authorization: Bearer {REDACTED}"


@pytest.mark.parametrize(
    "text",
    [
        "", "weights, lengths and high-level things", "https://huggingface.co/owner/name", "me@example.com",
        "owner/hf_model-7b", "task-specific-risk-assessment-of-everything", "export HF_TOKEN=...", "step 12: loss 2.5",
        "{not json", "hf://datasets/owner/name@main/rows.parquet", "http://localhost:8000/v1/me@here",
        "ssh://git@github.com/owner/name", "https://example.com/@someone", '{"a": 1}',
        "skip-connection", "bearer of news",
    ],
)  # fmt: skip
def test_innocent_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "DB_PASS",
        "GITHUB_PAT", "my_secret", "SERVICE_TOKEN_2", "OPENAI_APIKEY", "KEY_PASSPHRASE",
    ],
)  # fmt: skip
def test_values_of_variables_that_name_a_secret_are_taken_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "plainwords")
    assert redact("it was plainwords, they said") == f"it was {REDACTED}, they said"
    monkeypatch.delenv(name)
    assert redact("it was plainwords, they said") == "it was plainwords, they said"


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "KEYBOARD", "HF_TOKEN_PATH", "PATHS", "COMPASS", "MONKEY"]
)
def test_other_variables_are_no_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "plainwords")
    assert redact("plainwords") == "plainwords"


def test_short_values_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "seven77")
    assert redact("seven77") == "seven77"


def test_a_secret_within_a_secret_leaves_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_TOKEN", "abcdefgh-and-more")
    assert redact("abcdefgh-and-more") == REDACTED


def test_a_secret_is_known_in_an_address_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "one two/three+ä")
    for form in ("one%20two%2Fthree%2B%C3%A4", "one%20two%2fthree%2b%c3%a4", "one+two%2Fthree%2B%C3%A4"):
        assert redact(f"GET /x?key={form}&y") == f"GET /x?key={REDACTED}&y"


@pytest.mark.parametrize("key", ["model", "data", "eval_data"])
@pytest.mark.parametrize("value", ["https://me:hunter2@host/x", "https://tokenofnoknownform@host/x", KEYS["hub"]])
def test_no_secret_gets_into_the_settings(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="would be written into the run") as refused:
        build({"model": "gpt2", "data": "rows.jsonl", key: value})
    assert not [part for part in ("hunter2", "tokenofnoknownform", KEYS["hub"]) if part in str(refused.value)]


def test_what_the_hubs_login_keeps_is_taken_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "hf_home"
    folder.mkdir()
    (folder / "token").write_text("mirror-token-of-no-known-form\n")
    (folder / "stored_tokens").write_text("[work]\nhf_token = another.token.of.mine\n")
    assert redact("a mirror-token-of-no-known-form b another.token.of.mine c") == f"a {REDACTED} b {REDACTED} c"


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(10**12), 10**12) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values=st.dictionaries(st.text(), VALUES, max_size=4), secret=st.text(min_size=8, max_size=12))
def test_a_line_of_json_stays_one_whatever_the_secret(values: dict[str, object], secret: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if "\0" not in secret and secret.isprintable() and secret.strip() == secret:
            patch.setenv("SOME_TOKEN", secret)
        else:
            secret = "12345678"
            patch.setenv("SOME_TOKEN", secret)
        look_again()
        told = {**values, "event": "step", "message": f"x {secret} {KEYS['hub']}", "number": 123456789}
        for ascii_only in (True, False):
            read = json.loads(redact(json.dumps(told, ensure_ascii=ascii_only)))
            assert read["event"] == "step"
            assert read["number"] == 123456789
            assert set(read) == set(told)
            assert secret not in read["message"].replace(REDACTED, "")
            assert KEYS["hub"] not in read["message"]


def test_a_password_that_is_a_word_of_the_journal_breaks_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "checkpoint")
    event = events.CheckpointSaved(step=12345678, path="/runs/a/checkpoint", bytes=1, seconds=0.5)
    read = events.from_json(redact(event.to_json()))
    assert read == events.CheckpointSaved(
        step=12345678, path=f"/runs/a/{REDACTED}", bytes=1, seconds=0.5, time=event.time
    )


def test_error_messages_hold_no_secret() -> None:
    error = ModelError(f"401 for {KEYS['hub']}", hint=f"not {KEYS['aws']}")
    assert (error.message, error.hint) == (f"401 for {REDACTED}", f"not {REDACTED}")
    assert KEYS["hub"] not in repr(error)
    assert ModelError("x").hint is None


def test_the_patterns_are_those_of_the_data_checks() -> None:
    for kind, shape in SHAPES.items():
        assert characters.SECRETS[kind].pattern == shape
    assert set(MARKS) == set(SHAPES)
    for name, key in KEYS.items():
        assert characters.secrets(f"the key {key} of {name}"), name


@pytest.fixture
def record_factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


class Gathered(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def log_something(logger: logging.Logger) -> None:
    logger.warning("sent %s with %s", {"authorization": f"Bearer {KEYS['hub']}"}, KEYS["openai"])
    try:
        raise ValueError(KEYS["github"])
    except ValueError:
        logger.exception("failed", stack_info=True)
    logger.warning("plain %d%%", 5)


def check_lines(lines: list[str]) -> None:
    assert lines[0] == f"sent {{'authorization': 'Bearer {REDACTED}'}} with {REDACTED}"
    assert lines[1].startswith("failed\nTraceback")
    assert f"ValueError: {REDACTED}" in lines[1]
    assert "Stack (most recent call last)" in lines[1]
    assert lines[2] == "plain 5%"
    assert not any(key in line for key in KEYS.values() for line in lines)


def test_the_filter_cleans_the_records_of_a_handler() -> None:
    logger, handler = logging.getLogger("ftk.test.filter"), Gathered()
    handler.addFilter(RedactingFilter())
    logger.addHandler(handler)
    log_something(logger)
    check_lines(handler.lines)


def test_all_logs_of_a_process_can_be_cleaned(record_factory: None) -> None:
    logger, handler = logging.getLogger("ftk.test.all"), Gathered()
    logger.addHandler(handler)
    redact_logs()
    made = logging.getLogRecordFactory()
    redact_logs()
    assert logging.getLogRecordFactory() is made
    log_something(logger)
    check_lines(handler.lines)


def test_a_record_with_wrong_arguments_is_left_to_logging(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%d", ("word",), None)
    assert RedactingFilter().filter(record)
    assert record.args == ("word",)
