"""YAML as settings files should be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftk import strict_yaml
from ftk.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("2E+3", 2000.0), ("1.", 1.0), (".5", 0.5), ("-3", -3), ("012", 12), ("+7", 7),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("FALSE", False), ("null", None), ("~", None),
        ("1_000", "1_000"), ("0x10", "0x10"), ("12:30:00", "12:30:00"), ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"), ("NA", "NA"), (".inf", float("inf")), ("-.inf", float("-inf")), ("'5'", "5"),
    ],
)  # fmt: skip
def test_a_value_means_what_yaml_1_2_says(text: str, value: object) -> None:
    read = strict_yaml.parse(f"key: {text}", "x").values["key"]
    assert read == value
    assert type(read) is type(value)
    if not text.startswith("'"):
        assert strict_yaml.scalar(text) == value


def test_a_word_of_the_command_line_is_never_a_structure() -> None:
    for text in ("[1, 2]", "{a: 1}", "!!python/name:os.system", "&a b", "*a", "# no comment", "a: b"):
        assert strict_yaml.scalar(text) == text


def test_every_key_knows_its_line() -> None:
    document = strict_yaml.parse("# a header\n\na: 1\nb:\n  - 2\n  - 3\nc: x\n", "f.yaml")
    assert document.values == {"a": 1, "b": [2, 3], "c": "x"}
    assert [document.where(key) for key in "abc"] == ["f.yaml, line 3", "f.yaml, line 4", "f.yaml, line 7"]
    assert document.where("d") == "f.yaml"


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert strict_yaml.parse(text, "f").values in ({}, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3", "'a' is given twice"]),
        ("a: {b: 1, b: 2}\n", ["line 1", "'b' is given twice"]),
        ("a: &x 1\nb: *x\n", ["line 2", "aliases"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["line 1", "python/object"]),
        ("1: a\n", ["line 1", "the key 1 is not a name"]),
        ("- a\n- b\n", ["key: value"]),
        ("a: [1, 2\n", ["line"]),
        ("a: b: c\n", ["line 1"]),
        ("a: \x00\n", ["f.yaml"]),
        ("a: 1\n---\nb: 2\n", ["line 2"]),
    ],
)
def test_what_would_be_guessed_or_lost_is_refused_with_its_place(text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        strict_yaml.parse(text, "f.yaml")
    for part in ["f.yaml", *told]:
        assert part in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9\n")
    for name, reason in (("missing.yaml", "No such file"), ("latin.yaml", "not UTF-8"), (".", "directory")):
        with pytest.raises(ConfigError) as caught:
            strict_yaml.read(tmp_path / name)
        assert reason in str(caught.value)
        assert str(tmp_path) in str(caught.value)
