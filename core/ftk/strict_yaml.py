"""YAML as a settings file should be read: nothing guessed, nothing lost, every value with its line.

PyYAML follows YAML 1.1, where ``no`` is False, ``1e-4`` is a string, ``012`` is ten and the last of two
equal keys wins. This loader follows the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema)
and refuses duplicate keys, aliases and tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError


@dataclass(frozen=True)
class Document:
    """The mapping of a YAML file, and the line (from 1) on which each of its top-level keys stands."""

    values: dict[str, Any]
    lines: dict[str, int]
    source: str

    def where(self, key: str) -> str:
        """``file, line N`` of a key, or the file alone where the key is not written in it."""
        return f"{self.source}, line {self.lines[key]}" if key in self.lines else self.source


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader with the YAML 1.2 core schema; refuses what silently means something else."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - overrides PyYAML's class attribute

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, "aliases (*name) are not accepted", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} is not a name", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _core_int(loader: yaml.SafeLoader, node: Any) -> int:
    return int(loader.construct_scalar(node), 10)


_CORE = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
)
for _tag, _pattern, _first in _CORE:
    _StrictLoader.add_implicit_resolver(_tag, re.compile(_pattern), _first)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _core_int)


def use_core_schema(dumper: Any) -> None:
    """Let a dumper quote every text that the loader of this module would read as something else than text."""
    for tag, pattern, first in _CORE:
        dumper.add_implicit_resolver(tag, re.compile(pattern), first)


def parse(text: str, source: str) -> Document:
    """Parse YAML text that holds one mapping.

    Args:
        text: The YAML.
        source: What to call it in messages, usually the file's path.

    Raises:
        ConfigError: the text is not YAML, not a mapping, or has duplicate keys, aliases or tags.

    """
    loader = None
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
            return Document({}, {}, source)
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{source}: expected `key: value` lines.", hint="Start from `ftk presets show smollm2`.")
        values = loader.construct_document(node)
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: {error.problem or error.context}.") from None
    except yaml.reader.ReaderError as error:
        row = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}, line {row}: the character {chr(error.character)!r} is not accepted.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}") from None
    finally:
        if loader:
            loader.dispose()
    return Document(values, lines, source)


def read(path: Path, source: str | None = None) -> Document:
    """Read a YAML file that holds one mapping; see `parse`.

    Raises:
        ConfigError: the file cannot be read, or its text cannot be parsed.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    return parse(text, source or str(path))


def scalar(text: str) -> Any:
    """The value that a bare word has in YAML 1.2: ``2e-4`` a number, ``true`` a truth value, ``no`` a string.

    Plain words stay words: no list, mapping, tag or comment is read from `text`.
    """
    for tag, pattern, _ in _CORE:
        if re.match(pattern, text):
            kind = tag.rsplit(":", 1)[1]
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            return int(text, 10) if kind == "int" else float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text
