"""Chat templates in the manner of the catalogue's families, written for the tests.

Each does what is peculiar to its family (documented in the model cards): a default system turn, a system turn that
is refused, joined to a user turn or shown only in the last one, a date in the header, trimmed contents, tools, a
beginning-of-text token, an end-of-turn token that is not the end-of-text token, reasoning that is cut out of
earlier turns.
"""

from __future__ import annotations

from dataclasses import dataclass

SPECIAL = (
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<s>", "</s>",
    "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "<think>", "</think>", "<tool_call>", "</tool_call>", "<|User|>", "<|Assistant|>",
)  # fmt: skip

_ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
)
_CHATML_TOOLS = (
    "{% macro turn(m) %}"
    "{% for call in m.tool_calls or [] %}{{ '\n' if (not loop.first) or m.content }}"
    '{{ \'<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}{% endmacro %}"
    "{% macro tools_text() %}{{ '\n\n# Tools\n<tools>' }}"
    "{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}{{ '\n</tools>' }}{% endmacro %}"
)
_TOOL_RESULT = (
    "{% if m.role == 'tool' %}{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}"
    "{{ '<|im_start|>user' }}{% endif %}{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
)
_CHATML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + _CHATML_PROMPT
)
QWEN25 = (
    _CHATML_TOOLS + "{{ '<|im_start|>system\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}{{ 'You are Qwen.' }}{% endif %}"
    "{% if tools %}{{ tools_text() }}{% endif %}{{ '<|im_end|>\n' }}"
    "{% for m in messages %}" + _TOOL_RESULT + "{% elif m.role != 'system' or not loop.first %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content }}{{ turn(m) }}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    + _CHATML_PROMPT
)
QWEN3 = (
    _CHATML_TOOLS + "{% if tools or messages[0].role == 'system' %}{{ '<|im_start|>system\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% if tools %}{{ tools_text() }}{% endif %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m.content %}" + _TOOL_RESULT + "{% elif m.role == 'assistant' %}"
    "{% set think = m.reasoning_content or '' %}{% if '</think>' in content %}"
    "{% set think = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.last and (loop.last or think) %}"
    "{{ '<think>\n' + think.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}"
    "{% else %}{{ content }}{% endif %}{{ turn({'tool_calls': m.tool_calls, 'content': content}) }}"
    "{{ '<|im_end|>\n' }}"
    "{% elif m.role != 'system' or not loop.first %}{{ '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}" + _CHATML_PROMPT
)
LLAMA3 = (
    "{% macro head(role) %}{{ '<|start_header_id|>' + role + '<|end_header_id|>\n\n' }}{% endmacro %}"
    "{{ '<|begin_of_text|>' }}{{ head('system') }}{{ 'Cutting Knowledge Date: December 2023\n' }}"
    "{{ 'Today Date: 26 Jul 2024\n\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ '<|eot_id|>' }}"
    "{% for m in rest %}"
    "{% if m.role == 'user' and loop.first and tools %}{{ head('user') }}{{ 'Given these functions:\n\n' }}"
    "{% for tool in tools %}{{ tool | tojson(indent=4) }}{{ '\n\n' }}{% endfor %}{{ m.content | trim + '<|eot_id|>' }}"
    "{% elif m.tool_calls %}{{ head('assistant') }}{{ '{\"name\": \"' + m.tool_calls[0].function.name + '\", ' }}"
    "{{ '\"parameters\": ' }}{{ m.tool_calls[0].function.arguments | tojson }}{{ '}<|eot_id|>' }}"
    "{% elif m.role == 'tool' %}{{ head('ipython') }}{{ m.content | tojson }}{{ '<|eot_id|>' }}"
    "{% else %}{{ head(m.role) }}{{ m.content | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ head('assistant') }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}"
    "{% for m in rest %}" + _ALTERNATE + "{% if loop.index0 == 0 and system %}"
    "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '<s>' + '[INST] ' + content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + content | trim + ' ' + '</s>' }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}"
    "{% set asked = rest | selectattr('role', 'equalto', 'user') | list %}{{ '<s>' }}"
    "{% for m in rest %}{% if m.role == 'user' %}"
    "{% if tools and m == asked[-1] %}{{ '[AVAILABLE_TOOLS] ' }}{{ tools | tojson }}{{ '[/AVAILABLE_TOOLS]' }}"
    "{% endif %}"
    "{{ '[INST] ' }}{% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}{{ m.content + '[/INST]' }}"
    "{% elif m.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for call in m.tool_calls %}"
    "{% if call.id is not defined or call.id | length != 9 %}{{ raise_exception('Tool call ids have 9 characters') }}"
    "{% endif %}{{ '{\"name\": ' }}{{ call.function.name | tojson }}{{ ', \"arguments\": ' }}"
    "{{ call.function.arguments | tojson }}{{ ', \"id\": \"' + call.id + '\"}' }}{{ ', ' if not loop.last }}"
    "{% endfor %}{{ ']</s>' }}"
    "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS] {\"content\": ' + m.content + '}[/TOOL_RESULTS]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content | trim + '</s>' }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_GEMMA_TURNS = (
    "{% for m in rest %}" + _ALTERNATE + "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set rest = messages %}{% set first = '' %}" + _GEMMA_TURNS
)
GEMMA3 = (
    "{{ '<bos>' }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}" + _GEMMA_TURNS
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
DEEPSEEK = (
    "{{ '<s>' }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% else %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
OPEN_ENDED = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template and what the tests must know of it.

    `lead` and `gap` stand before and after an answer that is learnt, `end` ends its turn; `rewrites` tells that
    earlier turns are written differently later on.
    """

    template: str
    end: str
    lead: str = ""
    gap: str = ""
    trims: bool = False
    tools: bool = False
    rewrites: bool = False


FAMILIES = {
    "smollm2": Family(SMOLLM2, "<|im_end|>"),
    "qwen2.5": Family(QWEN25, "<|im_end|>", tools=True),
    "qwen3": Family(QWEN3, "<|im_end|>", lead="<think>\n\n</think>\n\n", tools=True, rewrites=True),
    "llama3": Family(LLAMA3, "<|eot_id|>", trims=True, tools=True),
    "llama2": Family(LLAMA2, "</s>", lead=" ", gap=" ", trims=True),
    "mistral": Family(MISTRAL, "</s>", lead=" ", trims=True, tools=True),
    "phi3": Family(PHI3, "<|end|>"),
    "gemma": Family(GEMMA, "<end_of_turn>", trims=True),
    "gemma3": Family(GEMMA3, "<end_of_turn>", trims=True),
    "zephyr": Family(ZEPHYR, "<|endoftext|>"),
    "deepseek": Family(DEEPSEEK, "<|endoftext|>", lead="\n</think>\n\n", rewrites=True),
    "open-ended": Family(OPEN_ENDED, "<|endoftext|>", rewrites=True),
}
"""The families of the catalogue, and two of none: with a prompt that opens the reasoning, and with no end of turn."""

TEMPLATES = {name: family.template for name, family in FAMILIES.items()}
END_OF_TURN = {name: family.end for name, family in FAMILIES.items()}
