"""Chat templates: the model's own, or a named one for models that have none.

A fallback uses only the model's end-of-text token and plain text, so that no token is added whose weights
were never trained. It is saved with the adapter, and serving uses the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..errors import ConfigError, DataError
from .rows import Message

_LOOP = "{% for message in messages %}"
_END = "{% endfor %}"

TEMPLATES: dict[str, str] = {
    "alpaca": (
        _LOOP
        + "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
        + "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
        + "{% elif message['role'] == 'tool' %}{{ '### Result:\n' + message['content'] + '\n\n' }}"
        + "{% else %}{{ '### Response:\n' + message['content'] + eos_token + '\n' }}{% endif %}"
        + _END
        + "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
    ),
    "chatml": (
        _LOOP
        + "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
        + "{% if message['role'] == 'assistant' and eos_token != '<|im_end|>' %}{{ eos_token }}{% endif %}{{ '\n' }}"
        + _END
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "plain": (
        _LOOP
        + "{% if message['role'] == 'assistant' %}{{ message['content'] + eos_token + '\n' }}"
        + "{% else %}{{ message['content'] + '\n' }}{% endif %}"
        + _END
    ),
}
"""The named fallbacks, as Jinja templates."""


def choose(tokenizer: Any, template: Literal["auto", "chatml", "alpaca", "plain"] = "auto") -> str:
    """Give the tokenizer its chat template and return the name: ``model`` for its own, or a fallback's."""
    if template == "auto":
        if tokenizer.chat_template:
            return "model"
        template = "alpaca"
    if template not in TEMPLATES:
        raise ConfigError(f"There is no template {template!r}.", hint=f"Known: {', '.join(TEMPLATES)}")
    begin = "{{ bos_token }}" if beginning(tokenizer) else ""
    tokenizer.chat_template = begin + TEMPLATES[template]
    return template


def beginning(tokenizer: Any) -> list[int]:
    """The token that a tokenizer puts before every text (Llama's and Gemma's do), which their models must see; or none.

    A chat template writes it by itself; raw texts and the fallbacks get it from here.
    """
    bos = tokenizer.bos_token_id
    return [int(bos)] if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else []


def render(tokenizer: Any, messages: tuple[Message, ...], *, prompt: bool = False, tools: tuple[Any, ...] = ()) -> str:
    """A conversation as the model's text.

    A template that refuses a system turn (Gemma's) gets it at the head of the first user turn.

    Args:
        tokenizer: Its chat template is used.
        messages: The turns.
        prompt: End with the beginning of an assistant's turn, for the model to go on.
        tools: The functions that the model may call.

    Raises:
        DataError: the template refuses the conversation.

    """
    try:
        return str(_apply(tokenizer, messages, prompt, tools))
    except Exception as error:
        if messages and messages[0]["role"] == "system":
            return render(tokenizer, _without_system(messages), prompt=prompt, tools=tools)
        raise DataError(f"The model's chat template refuses the conversation: {error}.") from error


Wanted = tuple[tuple[Message, ...], bool, tuple[Any, ...]]
"""What `render` takes: the turns, whether to end with a prompt, the tools."""


def render_many(tokenizer: Any, wanted: Sequence[Wanted]) -> list[str | DataError]:
    """Several conversations as the model's text, at two thirds of the cost; a refusal stands in its place.

    Args:
        tokenizer: Its chat template is used.
        wanted: The conversations.

    """
    made: list[str | DataError | None] = [None] * len(wanted)
    for prompt in (False, True):
        group = [index for index, (_, asked, tools) in enumerate(wanted) if asked is prompt and not tools]
        try:
            texts = _apply_to_all(tokenizer, [list(wanted[index][0]) for index in group], prompt) if group else []
        except Exception:  # noqa: BLE001, S112 - one of them is refused: each is rendered by itself below
            continue
        for index, text in zip(group, texts, strict=True):
            made[index] = text
    return [text if text is not None else _or_error(tokenizer, *wanted[index]) for index, text in enumerate(made)]


def _or_error(tokenizer: Any, messages: tuple[Message, ...], prompt: bool, tools: tuple[Any, ...]) -> str | DataError:
    try:
        return render(tokenizer, messages, prompt=prompt, tools=tools)
    except DataError as error:
        return error


def _apply(tokenizer: Any, conversations: Any, prompt: bool, tools: tuple[Any, ...]) -> Any:
    """The text of a conversation, or the texts of a list of them."""
    return tokenizer.apply_chat_template(
        list(conversations), tools=list(tools) or None, tokenize=False, add_generation_prompt=prompt
    )


def _apply_to_all(tokenizer: Any, conversations: list[list[Message]], prompt: bool) -> list[str]:
    """The texts of several conversations.

    transformers copies every conversation twice, so that no template can reach an object with methods. Those of a
    data set are plain JSON, so its compiled template is used directly, which halves the time. That is its inner
    working, so the first text must be what its front door gives; else, or where it is gone, all go through that.
    """
    try:
        from transformers.utils.chat_template_utils import _compile_jinja_template

        compiled = _compile_jinja_template(tokenizer.get_chat_template())
        given = {**tokenizer.special_tokens_map, "tools": None, "documents": None, "add_generation_prompt": prompt}
        if not any("reasoning_content" in turn for turns in conversations for turn in turns):
            texts = [compiled.render(messages=turns, **given) for turns in conversations]
            if texts[0] == _apply(tokenizer, conversations[0], prompt, ()):
                return texts
    except (ImportError, AttributeError, TypeError):
        pass
    return list(_apply(tokenizer, conversations, prompt, ()))


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The system turn at the head of the first user turn, or in its place where none follows."""
    system, *rest = messages
    if rest and rest[0]["role"] == "user":
        return ({**rest[0], "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:])
    return ({"role": "user", "content": system["content"]}, *rest)
