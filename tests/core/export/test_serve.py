"""The server speaks OpenAI's API: whole and streamed answers, many at once, limits, errors that clients know."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ftk.errors import ExportError
from ftk.evaluation.generate import Prompt, Sampling, generate, without_adapter
from ftk.export import loading, source
from ftk.export.serving import texts
from ftk.export.serving.server import Limits, Server
from ftk.models.loading import LoadedModel
from tests import tiny

from . import runs_for_tests

QUESTION = [{"role": "user", "content": "What comes after one?"}]


@pytest.fixture(scope="module")
def loaded(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny tuned model in memory."""
    parent = tmp_path_factory.mktemp("served")
    run = runs_for_tests.make(parent, "tuned", bases("llama"))
    return loading.load(source.find(str(run.path)))


@pytest.fixture
def serve(loaded: LoadedModel) -> Iterator[Callable[..., Server]]:
    """Starts servers on free ports, and stops them."""
    running: list[Server] = []

    def start(**options: Any) -> Server:
        server = Server(loaded.model, loaded.tokenizer, ["tuned", "base"], port=0, **options).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop(1)


class Client:
    """Plain HTTP to a server."""

    def __init__(self, server: Server) -> None:
        self.address = server.url.removeprefix("http://")

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (JSON where it is any) and headers of an answer."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
            known = dict(answer.getheaders())
            return answer.status, json.loads(text) if "json" in known.get("Content-Type", "") else text, known
        finally:
            connection.close()

    def chat(self, **fields: Any) -> tuple[int, Any, dict[str, str]]:
        """A chat completion; greedy and short unless asked otherwise."""
        return self.ask(
            "POST", "/v1/chat/completions", {"messages": QUESTION, "temperature": 0, "max_tokens": 8, **fields}
        )

    def stream(self, path: str = "/v1/chat/completions", **fields: Any) -> list[Any]:
        """The events of a streamed answer."""
        given = {"messages": QUESTION} if "chat" in path else {}
        status, text, headers = self.ask(
            "POST", path, {**given, "temperature": 0, "max_tokens": 8, "stream": True, **fields}
        )
        assert (status, headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        events = text.decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def expected(loaded: LoadedModel, prompts: Sequence[Any], tokens: int = 8, *, base: bool = False) -> list[str]:
    """What the library answers."""
    from contextlib import nullcontext

    with without_adapter(loaded.model) if base else nullcontext():
        return generate(loaded.model, loaded.tokenizer, prompts, Sampling(tokens))


def test_base_and_tuned_answer_as_they_do_without_a_server(serve: Callable[..., Server], loaded: LoadedModel) -> None:
    client = Client(serve())
    status, answer, _ = client.chat()
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tuned"
    (choice,) = answer["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": expected(loaded, ["What comes after one?"])[0], "refusal": None
    }  # fmt: skip
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 8
    plain = client.chat(model="base")[1]["choices"][0]["message"]["content"]
    assert plain == expected(loaded, ["What comes after one?"], base=True)[0]
    assert plain != choice["message"]["content"]


def test_a_streamed_answer_is_the_same_in_parts(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    whole = client.chat(max_tokens=12)[1]
    events = client.stream(max_tokens=12, stream_options={"include_usage": True})
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert len(events) > 4
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None] * (len(events) - 2) + ["length"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"]
    assert len({event["id"] for event in events}) == 1


def test_completions_go_on_with_texts_and_tokens(serve: Callable[..., Server], loaded: LoadedModel) -> None:
    client = Client(serve())
    prompts = ["What comes", "After one comes two, as"]
    body = {"prompt": prompts, "temperature": 0, "max_tokens": 6}
    status, answer, _ = client.ask("POST", "/v1/completions", body)
    assert (status, answer["object"]) == (200, "text_completion")
    written = [choice["text"] for choice in answer["choices"]]
    assert [text.strip() for text in written] == expected(loaded, [Prompt(text=prompt) for prompt in prompts], 6)
    tokens = loaded.tokenizer(prompts[0])["input_ids"]
    again = client.ask("POST", "/v1/completions", {**body, "prompt": tokens})[1]
    assert again["choices"][0]["text"] == written[0]
    events = client.stream("/v1/completions", prompt=prompts[1], max_tokens=6)
    assert "".join(event["choices"][0]["text"] for event in events) == written[1]


def test_an_answer_ends_at_a_stop_text_in_whole_and_in_parts(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    whole = client.chat(max_tokens=20)[1]["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 :][:3]
    wanted = whole[: whole.index(stop)]
    for stops in (stop, ["never there", stop]):
        answer = client.chat(max_tokens=20, stop=stops)[1]["choices"][0]
        assert (answer["message"]["content"], answer["finish_reason"]) == (wanted, "stop")
        events = client.stream(max_tokens=20, stop=stops)
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        assert text == answer["message"]["content"]
        assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_seed_decides_whatever_else_is_going_on(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    drawn = {"temperature": 1.5, "seed": 7, "max_tokens": 16}
    alone = client.chat(**drawn, n=2)[1]["choices"]
    assert alone[0]["message"]["content"] != alone[1]["message"]["content"]
    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(client.chat, temperature=1.5, max_tokens=16) for _ in range(4)]
        same = [pool.submit(client.chat, **drawn) for _ in range(2)]
        texts = {job.result()[1]["choices"][0]["message"]["content"] for job in same}
        assert texts == {alone[0]["message"]["content"]}
        assert len({job.result()[1]["choices"][0]["message"]["content"] for job in others}) > 1
    assert client.chat(**{**drawn, "seed": 8})[1]["choices"][0] != alone[0]


def test_fifty_at_once_lose_none(serve: Callable[..., Server], loaded: LoadedModel) -> None:
    server = serve(batch=8)
    client = Client(server)
    prompts = [f"What comes after {number}?" for number in range(25)]
    with ThreadPoolExecutor(50) as pool:
        asked = [
            pool.submit(
                client.chat, model=model, messages=[{"role": "user", "content": prompt}], max_tokens=4 + place % 5
            )
            for place, prompt in enumerate(prompts)
            for model in ("tuned", "base")
        ]
        answers = [job.result() for job in asked]
    assert [status for status, _, _ in answers] == [200] * 50
    found = [answer["choices"][0]["message"]["content"] for _, answer, _ in answers]
    for place, prompt in enumerate(prompts):
        tuned = expected(loaded, [prompt], 4 + place % 5)
        assert found[2 * place : 2 * place + 2] == tuned + expected(loaded, [prompt], 4 + place % 5, base=True)
    _until(lambda: (server.taken, server.engine.counts) == (0, (0, 0)))


def test_more_than_the_limit_is_refused_and_the_others_are_answered(serve: Callable[..., Server]) -> None:
    server = serve(limits=Limits(requests=5), batch=2)
    client = Client(server)
    with ThreadPoolExecutor(30) as pool:
        answers = [job.result() for job in [pool.submit(client.chat, max_tokens=60) for _ in range(30)]]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 5
    refused = next((answer, headers) for status, answer, headers in answers if status == 429)
    assert refused[0]["error"]["type"] == "rate_limit_error"
    assert refused[1]["Retry-After"] == "1"
    assert client.chat()[0] == 200
    _until(lambda: server.taken == 0)


@pytest.mark.parametrize(
    ("fields", "status", "told", "code"),
    [
        ({"model": "gpt-4"}, 404, "'gpt-4' does not exist", "model_not_found"),
        ({"messages": []}, 400, "one message or more", None),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role", None),
        ({"messages": [{"role": "user", "content": None}]}, 400, "must be text", None),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "reads text only", None),
        ({"messages": [{"role": "user", "content": "x" * 4000}]}, 400, "context length is 256",
         "context_length_exceeded"),
        ({"max_tokens": 250}, 400, "in the prompt, 250 in the completion", "context_length_exceeded"),
        ({"max_tokens": 5000}, 400, "at most 1024", None),
        ({"max_tokens": 0}, 400, "max_tokens must be a whole number", None),
        ({"max_tokens": 1.5}, 400, "max_tokens must be a whole number", None),
        ({"temperature": 3}, 400, "temperature must be a number from 0 to 2", None),
        ({"temperature": "hot"}, 400, "temperature", None),
        ({"temperature": True}, 400, "temperature", None),
        ({"n": 100}, 400, "n must be", None),
        ({"stop": [1]}, 400, "stop must be", None),
        ({"stream": "yes"}, 400, "stream must be true or false", None),
        ({"tools": [{"type": "function"}]}, 400, "function calls", "unsupported_parameter"),
        ({"logprobs": True}, 400, "log probabilities", "unsupported_parameter"),
        ({"frequency_penalty": 1}, 400, "frequency penalties", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, 400, "text only", "unsupported_parameter"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_as_openai_does(
    serve: Callable[..., Server], fields: dict[str, Any], status: int, told: str, code: str | None
) -> None:
    found, answer, _ = Client(serve()).chat(**fields)
    assert found == status
    assert told in answer["error"]["message"]
    assert answer["error"]["code"] == code
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_requests_that_are_none(serve: Callable[..., Server]) -> None:
    server = serve(limits=Limits(body=2000))
    client = Client(server)
    chat = "/v1/chat/completions"
    for method, path, body, headers, status in (
        ("POST", chat, b"{", {}, 400),
        ("POST", chat, b"[1]", {}, 400),
        ("POST", chat, b"\xff", {}, 400),
        ("POST", chat, b"[" * 1900, {}, 400),
        ("POST", chat, b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", chat, b" " * 2001, {}, 413),
        ("POST", "/v1/embeddings", b"{}", {}, 404),
        ("GET", "/", None, {}, 404),
        ("GET", "/v1/models/other", None, {}, 404),
        ("POST", "/v1/completions", b"{}", {}, 400),
        ("POST", "/v1/completions", b'{"prompt": [99999]}', {}, 400),
        ("POST", "/v1/completions", b'{"prompt": "a", "echo": true}', {}, 400),
        ("PUT", chat, b"{}", {}, 501),
    ):  # fmt: skip
        assert client.ask(method, path, body, headers)[0] == status, (method, path, body)
    with socket.create_connection(client.address.split(":")) as raw:  # type: ignore[arg-type]
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 411")
    assert client.chat()[0] == 200


def test_a_web_page_cannot_use_a_server_of_this_machine(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    for host in ("evil.example", "evil.example:8000", "", "[::2]", "127.0.0.1.evil.example", "[bad"):
        assert client.ask("GET", "/v1/models", headers={"Host": host})[0] == 403, host
    for host in ("localhost:1", "127.0.0.1", "[::1]:9"):
        assert client.ask("GET", "/v1/models", headers={"Host": host})[0] == 200
    with_key = {"Host": "models.example", "Authorization": "Bearer secret"}
    assert Client(serve(key="secret")).ask("GET", "/v1/models", headers=with_key)[0] == 200


def test_the_models_and_the_health_are_told(serve: Callable[..., Server]) -> None:
    client = Client(serve())
    assert [model["id"] for model in client.ask("GET", "/v1/models")[1]["data"]] == ["tuned", "base"]
    assert client.ask("GET", "/v1/models/base")[1]["object"] == "model"
    assert client.ask("GET", "/health")[1] == {"status": "ok", "requests": 0, "writing": 0, "waiting": 0}


def test_a_key_is_asked_for(serve: Callable[..., Server]) -> None:
    client = Client(serve(key="geheim-ü"))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "geheim"}):
        status, answer, _ = client.ask("POST", "/v1/chat/completions", {"messages": QUESTION}, headers)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert client.ask("GET", "/v1/models")[0] == 401
    assert client.ask("GET", "/health")[0] == 200
    good = {"Authorization": "Bearer geheim-ü".encode().decode("latin-1")}
    assert client.ask("GET", "/v1/models", headers=good)[0] == 200


def test_a_client_that_goes_away_frees_its_place(serve: Callable[..., Server]) -> None:
    server = serve(limits=Limits(requests=1))
    client = Client(server)
    for stream in (True, False):
        host, port = client.address.split(":")
        body = json.dumps({"messages": QUESTION, "max_tokens": 200, "stream": stream, "temperature": 0}).encode()
        raw = socket.create_connection((host, int(port)))
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        _until(lambda: server.taken == 1)
        raw.close()
        _until(lambda: server.taken == 0 and server.engine.counts == (0, 0))
    assert client.chat()[0] == 200


def test_stopping_lets_answers_come_to_their_end_and_takes_no_more(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server)
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(client.chat, max_tokens=150)
        _until(lambda: server.taken == 1)
        ending = threading.Thread(target=server.stop)
        ending.start()
        _until(lambda: server._closing.is_set())
        if server.taken:
            status, answer, _ = client.chat()
            assert (status, answer["error"]["type"]) == (503, "server_error")
        assert job.result()[0] == 200
        ending.join(30)
    assert not ending.is_alive()
    with pytest.raises(OSError, match="refused"):
        client.chat()


def test_stopping_at_once_breaks_off_what_is_being_written(serve: Callable[..., Server]) -> None:
    server = serve()
    client = Client(server)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.chat, max_tokens=200)
        _until(lambda: server.taken == 1)
        server.stop(0)
        assert job.result()[0] in (200, 503)


def test_an_error_of_the_model_ends_its_requests_and_not_the_server(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftk.evaluation.batching import Decoder

    client = Client(serve())
    real = Decoder.step

    def broken(self: Decoder) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(Decoder, "step", broken)
    status, answer, _ = client.chat()
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert "device lost" in answer["error"]["message"]
    assert "error" in json.loads(
        client.ask("POST", "/v1/chat/completions", {"messages": QUESTION, "stream": True})[1]
        .decode().strip().split("\n\n")[-1].removeprefix("data: ")
    )  # fmt: skip
    monkeypatch.setattr(Decoder, "step", real)
    assert client.chat()[0] == 200


def test_a_full_memory_makes_batches_smaller(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from ftk.evaluation.batching import Decoder

    server = serve(batch=8)
    client = Client(server)
    wanted = client.chat(max_tokens=12)[1]["choices"][0]["message"]["content"]
    real = Decoder.step

    def step(self: Decoder) -> None:
        if len(self.rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(self)

    monkeypatch.setattr(Decoder, "step", step)
    with ThreadPoolExecutor(8) as pool:
        answers = [job.result() for job in [pool.submit(client.chat, max_tokens=12) for _ in range(8)]]
    assert [status for status, _, _ in answers] == [200] * 8
    assert {answer["choices"][0]["message"]["content"] for _, answer, _ in answers} == {wanted}


def test_a_port_that_is_taken_is_told(serve: Callable[..., Server], loaded: LoadedModel) -> None:
    taken = int(serve().url.rsplit(":", 1)[1])
    with pytest.raises(ExportError, match="cannot listen at") as caught:
        Server(loaded.model, loaded.tokenizer, ["a", "b"], port=taken)
    assert "--port" in str(caught.value)


@pytest.mark.parametrize(
    ("pieces", "stops", "wanted"),
    [
        (["ab", "cd", "ef"], ["cd"], "ab"),
        (["ab", "c", "d", "ef"], ["cd"], "ab"),
        (["a", "b", "c"], ["bd"], "abc"),
        (["xy", "<|", "end", "|>", "z"], ["<|end|>"], "xy"),
        (["aaa", "aab"], ["aab"], "aaa"),
        (["abc"], ["b", "ab"], ""),
    ],
)
def test_a_stop_text_may_come_in_pieces(pieces: list[str], stops: list[str], wanted: str) -> None:
    class Spelling:
        def decode(self, tokens: list[int], *, skip_special_tokens: bool) -> str:
            return "".join(pieces[token] for token in tokens)

    for trim in (True, False):
        stream = texts.Stream(Spelling(), stops, trim=trim)
        out = "".join(stream.add(number) for number in range(len(pieces)))
        assert out + stream.close() == wanted
        assert stream.stopped is (wanted != "".join(pieces))


def test_white_space_of_a_text_that_is_gone_on_with_is_kept() -> None:
    tokenizer = tiny.tokenizer()
    tokens = tokenizer("  two  three\n")["input_ids"]
    stream = texts.Stream(tokenizer, trim=False)
    assert "".join(map(stream.add, tokens)) + stream.close() == "  two  three\n"


def _until(condition: Callable[[], bool]) -> None:
    """Wait for something; the test's own limit of time ends it."""
    while not condition():
        time.sleep(0.01)


@pytest.mark.skipif(not find_spec("openai"), reason="the openai client is not installed")
def test_the_official_client_works(serve: Callable[..., Server], loaded: LoadedModel) -> None:
    import openai

    server = serve(key="secret", limits=Limits(requests=2))
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0)
    assert [model.id for model in client.models.list()] == ["tuned", "base"]
    messages: Any = QUESTION
    answer = client.chat.completions.create(model="tuned", messages=messages, temperature=0, max_tokens=8)
    wanted = expected(loaded, ["What comes after one?"])[0]
    assert answer.choices[0].message.content == wanted
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    parts = client.chat.completions.create(
        model="tuned", messages=messages, temperature=0, max_tokens=8, stream=True
    )  # fmt: skip
    assert "".join(part.choices[0].delta.content or "" for part in parts) == wanted
    text = client.completions.create(model="base", prompt="What comes", temperature=0, max_tokens=4)
    assert text.choices[0].text
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=messages)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.chat.completions.create(model="tuned", messages=[{"role": "user", "content": "x" * 3000}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()


@pytest.mark.parametrize(("name", "package"), [("openai_client", "openai"), ("langchain_client", "langchain_openai")])
def test_the_examples_run(serve: Callable[..., Server], name: str, package: str) -> None:
    path = Path(__file__).resolve().parents[3] / "examples" / f"{name}.py"
    compile(path.read_text(), str(path), "exec")
    if not find_spec(package):
        pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "FTK_URL": f"{serve().url}/v1", "FTK_RUN": "tuned"}
    done = subprocess.run([sys.executable, str(path), "Hello?"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.skipif(not find_spec("langchain_openai"), reason="langchain-openai is not installed")
def test_langchain_works(serve: Callable[..., Server], loaded: LoadedModel) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        model="tuned", base_url=f"{serve().url}/v1", api_key="none", temperature=0, max_tokens=8, max_retries=0
    )  # type: ignore[call-arg,arg-type]
    wanted = expected(loaded, ["What comes after one?"])[0]
    assert chat.invoke("What comes after one?").content == wanted
    assert "".join(str(part.content) for part in chat.stream("What comes after one?")) == wanted
    assert len(chat.batch(["a", "b", "c"])) == 3
