"""Chat templates: the model's own, or a named one for models that have none.

A fallback uses only the model's end-of-text token and plain text, so that no token is added whose weights
were never trained. It is saved with the adapter, and serving uses the same.
"""

from __future__ import annotations

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
        + "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}"
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
    tokenizer.chat_template = TEMPLATES[template]
    return template


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
        return _apply(tokenizer, messages, prompt, tools)
    except Exception as error:
        if messages[0]["role"] == "system" and len(messages) > 1:
            return render(tokenizer, _without_system(messages), prompt=prompt, tools=tools)
        raise DataError(f"The model's chat template refuses the conversation: {error}.") from error


def _apply(tokenizer: Any, messages: tuple[Message, ...], prompt: bool, tools: tuple[Any, ...]) -> str:
    text = tokenizer.apply_chat_template(
        list(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=prompt
    )
    return str(text)


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
    return (first, *messages[2:])
