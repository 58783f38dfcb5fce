"""A judge behind an OpenAI-compatible address: asked in both orders, patient, and never a leak."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ftk.errors import FtkError, ModelError, UsageError
from ftk.evaluation.metrics.chat_client import ChatServer
from ftk.evaluation.metrics.confidence import difference
from ftk.evaluation.metrics.judge import Judged, check, judge, question, verdict
from tests.core.evaluation.chat_server import Heard, Reply, Server, serving

KEY = "canary-key-0123456789abcdef"


def client(server: Server, **changes: Any) -> ChatServer:
    return ChatServer(server.url, "judge-1", **{"timeout": 5.0, "pause": 0.0, **changes})


def between(text: str, name: str) -> str:
    return text.split(f"<{name}>\n", 1)[1].split(f"\n</{name}>", 1)[0]


def prefers(good: str) -> Callable[[Heard], Reply]:
    """A judge that finds the answer with some word better, wherever it stands."""

    def answer(request: Heard) -> Reply:
        first, second = (good in between(request.said, name) for name in ("answer_a", "answer_b"))
        letter = "C" if first == second else "A" if first else "B"
        return Reply(f"Because. [[{letter}]]")

    return answer


PAIRS = [("p1", "r1", "plain", "fine"), ("p2", "", "fine", "plain"), ("p3", "r3", "plain", "plain too")]


def test_a_fair_judge_is_understood() -> None:
    with serving(prefers("fine")) as server:
        seen: list[tuple[int, int]] = []
        found = judge(client(server), PAIRS, tell=lambda done, total: seen.append((done, total)))
        assert found == Judged(("tuned", "base", "undecided"))
        assert seen == [(1, 3), (2, 3), (3, 3)]
        assert len(server.heard) == 6
        request = server.heard[0]
        assert request.path == "/v1/chat/completions"
        assert (request.body["model"], request.body["temperature"]) == ("judge-1", 0)
        assert "Authorization" not in request.headers


def test_a_judge_that_always_likes_the_first_answer_decides_nothing() -> None:
    with serving(lambda request: Reply("[[A]]")) as server:
        assert judge(client(server), PAIRS).preferences == ("undecided",) * 3
    with serving(lambda request: Reply("[[B]]")) as server:
        assert judge(client(server), PAIRS).preferences == ("undecided",) * 3


def test_equal_answers_need_no_judge() -> None:
    with serving(prefers("x")) as server:
        assert judge(client(server), [("p", "r", "same", "same")]).preferences == ("undecided",)
        assert server.heard == []


def test_the_last_verdict_counts_and_none_is_none() -> None:
    assert verdict("[[A]] at first, but no: [[B]]") == "B"
    assert [verdict(text) for text in ("", "A", "[[D]]", "[A]")] == [""] * 4
    with serving(lambda request: Reply("I would rather not say.")) as server:
        found = judge(client(server), PAIRS[:1])
        assert found.preferences == ("",)
        assert [sample.rows for sample in found.samples] == [0, 0]


def test_the_share_of_wins_is_compared_with_chance() -> None:
    found = Judged(("tuned",) * 14 + ("base",) * 2 + ("undecided", "undecided", ""))
    base, tuned = found.samples
    assert tuned.rows == 18
    assert tuned.total() == pytest.approx(15 / 18)
    assert base.total() == pytest.approx(3 / 18)
    assert difference(base, tuned, "higher").verdict == "better"
    even = Judged(("tuned", "base") * 8).samples
    assert difference(*even, "higher").verdict == "noise"


def test_what_is_asked_holds_everything_and_swaps_the_answers() -> None:
    asked = question("What is {it}?", "", "one {x}", "two")
    assert between(asked, "request") == "What is {it}?"
    assert between(asked, "reference") == "(none)"
    assert (between(asked, "answer_a"), between(asked, "answer_b")) == ("one {x}", "two")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(status: int) -> None:
    replies = itertools.chain([Reply(status=status), Reply(status=status, headers={"Retry-After": "7"})],
                              itertools.repeat(Reply("fine")))  # fmt: skip
    waited: list[float] = []
    with serving(lambda request: next(replies)) as server:
        assert client(server, pause=2.0).ask("hello", wait=waited.append) == "fine"
        assert len(server.heard) == 3
    assert waited == [2.0, 7.0]


def test_a_server_that_never_answers_ends_in_words() -> None:
    with serving(lambda request: Reply(status=503)) as server:
        with pytest.raises(ModelError, match=r"HTTP 503.*3 tries"):
            client(server, tries=3).ask("hello")
        assert len(server.heard) == 3
    with serving(lambda request: Reply(stall=30)) as server:
        with pytest.raises(ModelError, match=r"longer than 0\.2 s") as caught:
            client(server, tries=4, timeout=0.2).ask("hello")
        assert "--judge-timeout" in str(caught.value.hint)
        assert len(server.heard) == 2  # a slow server is not asked again and again
    with pytest.raises(ModelError, match="refused"):
        ChatServer("http://127.0.0.1:9/v1", "m", tries=2, pause=0.0).ask("hello")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(status=401, body=b'{"error": "no key"}'), "export FTK_JUDGE_KEY"),
        (Reply(status=404), "address end with /v1"),
        (
            Reply(status=400, body=b'{"error": {"message": "No such model. Known: a.", "code": 1}}'),
            "400 No such model. ",
        ),
        (Reply(status=400, body=b"bad\x1b[31m request"), "HTTP 400 bad"),
        (Reply(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"}), "points to another address"),
    ],
)
def test_what_does_not_pass_is_told_at_once(reply: Reply, said: str) -> None:
    with serving(lambda request: reply) as server:
        with pytest.raises(ModelError) as caught:
            client(server).ask("hello")
        assert said in str(caught.value)
        assert len(server.heard) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}'])
def test_a_reply_that_is_none_is_told(body: bytes) -> None:
    with serving(lambda request: Reply(body=body)) as server, pytest.raises(ModelError, match="gave no answer"):
        client(server, tries=2).ask("hello")


def test_a_reply_without_text_is_an_empty_one() -> None:
    with serving(lambda request: Reply(body=b'{"choices": [{"message": {"content": null}}]}')) as server:
        assert client(server).ask("hello") == ""


def test_an_endless_reply_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk.evaluation.metrics import chat_client

    monkeypatch.setattr(chat_client, "_LARGEST", 1000)
    with serving(lambda request: Reply("x" * 5000)) as server, pytest.raises(ModelError, match="too long"):
        client(server, tries=1).ask("hello")


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    with serving(lambda request: Reply(status=403, body=f"wrong key {KEY}".encode())) as server:
        asked = client(server, key_variable="OTHER_KEY", tries=1)
        assert KEY not in repr(asked)
        with pytest.raises(ModelError) as caught:
            asked.ask("hello")
        assert server.heard[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__context__)


def test_a_redirection_does_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTK_JUDGE_KEY", KEY)
    with serving(lambda request: Reply("stolen")) as thief:
        for status in (301, 302, 303, 307, 308):
            reply = Reply(status=status, headers={"Location": f"{thief.url}/chat/completions"})
            with serving(lambda request, reply=reply: reply) as server, pytest.raises(ModelError):  # type: ignore[misc]
                client(server).ask("hello")
        assert thief.heard == []


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a/v1", "file:///etc/passwd", "http://", "http://a:99999/v1", "http://u:secret@a/v1",
            "http://a/v1?key=1"],
)  # fmt: skip
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        ChatServer(url, "m")
    assert "secret" not in str(caught.value)


def test_a_judge_that_dies_on_the_way_loses_no_verdict() -> None:
    count = itertools.count(1)

    def answer(request: Heard) -> Reply:
        return Reply("[[C]]") if next(count) <= 4 else Reply(status=401)

    with serving(answer) as server:
        found = judge(client(server), [("p", "r", "a", f"b{n}") for n in range(40)], parallel=1)
        assert found.preferences == ("undecided",) * 2 + ("",) * 38
        assert "401" in found.failure
        assert len(server.heard) == 5


def test_a_judge_that_is_not_there_is_found_out_first() -> None:
    with serving(lambda request: Reply("[[A]]")) as server:
        check(client(server))
        assert len(server.heard) == 1
    with pytest.raises(FtkError):
        check(ChatServer("http://127.0.0.1:9/v1", "m", tries=1))
