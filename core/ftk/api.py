"""The library: what `from ftk import ...` offers. Everything the commands can do, in a few lines of Python."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import autoconfig, catalog, dataspec, hardware, resume
from .catalog import CatalogModel
from .config import RunConfig, build
from .data.dataset import Dataset, load_dataset
from .errors import UsageError
from .events import Evaluation, Event, Failed, Finished, Started, Step, Stopped, Warned
from .models.loading import LoadedModel
from .models.sources import Source
from .resume import Resumption
from .runner import Runner
from .runs import IN_MEMORY
from .training.trainer import RunResult, Trainer


class ProgressCallback:
    """Override what you want to hear of a run; called in the thread that trains, so return soon.

    An instance can also be called with any event, and can be given wherever a listener is expected.
    """

    def on_start(self, event: Started) -> None:
        """The run begins."""

    def on_step(self, event: Step) -> None:
        """An update was made: loss, learning rate, tokens a second, time left."""

    def on_evaluation(self, event: Evaluation) -> None:
        """The held-out loss was measured."""

    def on_warning(self, event: Warned) -> None:
        """Something a person should know."""

    def on_end(self, event: Event) -> None:
        """The run finished, stopped or failed."""

    def on_event(self, event: Event) -> None:
        """Any event, also those that have a method of their own."""

    def __call__(self, event: Event) -> None:
        """Hand an event to the method that is meant for it."""
        self.on_event(event)
        if isinstance(event, Started):
            self.on_start(event)
        elif isinstance(event, Step):
            self.on_step(event)
        elif isinstance(event, Evaluation):
            self.on_evaluation(event)
        elif isinstance(event, Warned):
            self.on_warning(event)
        elif isinstance(event, Finished | Stopped | Failed):
            self.on_end(event)


Callback = Callable[[Event], None]


class QuickTrainer:
    """Fine-tune a model in three lines.

    Args:
        model: Catalogue name, hub id, folder or GGUF file.
        data: ``sample:chat``, a file, or a list of mappings.
        runs_dir: Where the run's folder is made; ``./runs`` by default.
        settings: Any key of `RunConfig`, such as ``max_steps=100``.

    Raises:
        ConfigError: a setting is unknown or not acceptable.

    """

    def __init__(
        self,
        model: str = "smollm2",
        data: str | Path | Sequence[Any] | Dataset = "sample:chat",
        *,
        runs_dir: str | Path | None = None,
        **settings: Any,
    ) -> None:
        in_memory = not isinstance(data, str | Path)
        self._dataset = load_dataset(data) if in_memory else None
        name = IN_MEMORY if in_memory else str(data)
        self.config: RunConfig = build({"model": model, "data": name, **settings})
        self._runs_dir = Path(runs_dir) if runs_dir else None
        self._resumed: Resumption | None = None
        self.result: RunResult | None = None

    @classmethod
    def resume(
        cls,
        run: str | Path | None = None,
        *,
        data: Sequence[Any] | Dataset | None = None,
        override: bool = False,
        runs_dir: str | Path | None = None,
        **changes: Any,
    ) -> QuickTrainer:
        """Go on with a run that was stopped, interrupted or failed; `train` then trains the rest of it.

        Args:
            run: Its name or folder; the newest such run by default.
            data: The rows, where they were given as Python objects when the run was started.
            override: Take settings and rows that differ from those the run was started with.
            runs_dir: The folder of the runs; ``./runs`` by default.
            changes: Settings that are to be different from now on.

        Raises:
            FtkError: there is no such run, it is finished, or something differs that `override` is needed for.

        """
        found = resume.prepare(
            str(run) if run else None,
            changes,
            override=override,
            runs_dir=Path(runs_dir) if runs_dir else None,
            dataset=None if data is None else load_dataset(data),
        )
        trainer = cls.__new__(cls)
        trainer._dataset, trainer._runs_dir, trainer.result = found.plan.dataset, found.run.path.parent, None
        trainer.config, trainer._resumed = found.plan.config, found
        return trainer

    def train(self, callbacks: Sequence[Callback] = ()) -> RunResult:
        """Find, load, train, save, and answer a few held-out prompts with base and tuned model.

        Args:
            callbacks: Called with every event.

        Raises:
            FtkError: the run failed. Ctrl-C saves and stops instead.

        """
        if found := self._resumed:
            trainer = Trainer(found.plan, resume=found.run, remarks=found.remarks, override=found.override)
        else:
            trainer = Trainer(_plan(self.config, self._dataset), runs_dir=self._runs_dir)
        self.result = Runner(trainer, callbacks).start().result()
        return self.result

    @property
    def adapter(self) -> Path:
        """The folder of the trained adapter, or of the model where all of it was trained.

        Raises:
            UsageError: nothing was trained yet.

        """
        if self.result is None or self.result.run is None:
            raise UsageError("Nothing was trained yet.", hint="Call .train() first.")
        return self.result.run.trained

    def ask(self, prompt: str, *, base: bool = False, max_tokens: int = 160) -> str:
        """Answer a prompt with the tuned model in memory, or with its base.

        Raises:
            UsageError: nothing was trained yet, or the base is asked for after all of it was trained.

        """
        if self.result is None or self.result.model is None:
            raise UsageError("Nothing was trained yet.", hint="Call .train() first.")
        if base and self.config.method == "full":
            raise UsageError(
                "Every weight of this model was trained, so its base is no longer in memory.",
                hint="Load it once more with load_model() and give it to compare_models as base=.",
            )
        from .evaluation.generate import Sampling, conversation, generate, without_adapter

        turns = conversation(prompt, self.config.system_prompt)
        model, tokenizer = self.result.model, self.result.tokenizer
        with without_adapter(model) if base else contextlib.nullcontext():
            (answer,) = generate(model, tokenizer, [turns], Sampling(max_tokens))
        return str(answer)


class SimpleTrainer:
    """Train a model that is in memory already.

    Args:
        model: From `load_model`, or any transformers causal language model without an adapter.
        tokenizer: Its tokenizer.
        dataset: Whatever `load_dataset` takes.
        runs_dir: Where the run's folder is made; ``./runs`` by default.
        settings: Any key of `RunConfig`, such as ``max_steps=100``.

    """

    def __init__(
        self, model: Any, tokenizer: Any, dataset: Any, *, runs_dir: str | Path | None = None, **settings: Any
    ) -> None:
        self._loaded = _in_memory(model, tokenizer)
        self._dataset = load_dataset(dataset)
        info = self._loaded.info
        known = {
            "model": info.name,
            "data": IN_MEMORY,
            "quantization": info.quantization,
            "precision": info.precision,
            "device": info.device,
        }
        self.config: RunConfig = build({**known, **settings})
        self._runs_dir = Path(runs_dir) if runs_dir else None
        self.result: RunResult | None = None

    def train(self, callbacks: Sequence[Callback] = ()) -> RunResult:
        """Train; see `QuickTrainer.train`."""
        info = self._loaded.info
        source = Source(info.name, "folder", None, None, info.entry)
        plan = autoconfig.resolve(self.config, hardware.detect(), source, self._dataset)
        trainer = Trainer(plan, runs_dir=self._runs_dir, loaded=self._loaded)
        self.result = Runner(trainer, callbacks).start().result()
        return self.result

    def save(self, folder: str | Path) -> Path:
        """Write the adapter, with tokenizer and chat template, to a folder that does not exist yet.

        Raises:
            UsageError: nothing was trained yet, or the folder exists.

        """
        if self.result is None:
            raise UsageError("Nothing was trained yet.", hint="Call .train() first.")
        target = dataspec.expanded(folder).absolute()
        if target.exists():
            raise UsageError(f"{target} exists and was not changed.", hint="Choose another folder.")
        from . import files
        from .models import adapters

        with files.staged_dir(target) as staging:
            adapters.save(self.result.model, self.result.tokenizer, staging)
        return target


def get_available_models() -> tuple[CatalogModel, ...]:
    """The models of the catalogue; any other hub id, folder or GGUF file can be used as well."""
    return catalog.models()


def load_model(
    model: str = "smollm2",
    *,
    quantization: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Find, fetch and load a model; unpacks into model, tokenizer and info.

    Args:
        model: Catalogue name, hub id, folder or GGUF file.
        quantization: ``auto``, ``none``, ``8bit`` or ``nf4``.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``.
        revision: Branch, tag or commit of a model of the Hub.
        trust_remote_code: Let code run that the model brings along; of the Hub's models only that of a commit.

    Raises:
        FtkError: the model cannot be had, or a setting cannot work on this machine.

    """
    from .models import loading, sources

    wishes = {"quantization": quantization, "precision": precision, "device": device}
    config = build({"model": model, "revision": revision, "trust_remote_code": trust_remote_code, **wishes})
    source = autoconfig.located(config)
    placeholder = load_dataset([{"prompt": text, "response": text} for text in "ab"])
    chosen = autoconfig.resolve(config, hardware.detect(), source, placeholder).config
    found = sources.fetch(source, loading.silent)
    options: Any = {
        "quantization": chosen.quantization,
        "precision": chosen.precision,
        "device": chosen.device,
    }
    return loading.load(found, **options)


def _plan(config: RunConfig, dataset: Dataset | None) -> autoconfig.Plan:
    if dataset is None:
        return autoconfig.plan(config)
    return autoconfig.resolve(config, hardware.detect(), autoconfig.located(config), dataset)


def _in_memory(model: Any, tokenizer: Any) -> LoadedModel:
    """Describe a model that the caller holds."""
    from .models.loading import ModelInfo

    if hasattr(model, "peft_config"):
        raise UsageError("This model carries an adapter already.", hint="Give the plain model, from load_model().")
    dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    config = model.config.get_text_config()
    quantization = "nf4" if getattr(model, "is_loaded_in_4bit", False) else "none"
    quantization = "8bit" if getattr(model, "is_loaded_in_8bit", False) else quantization
    name = getattr(model, "name_or_path", "") or config.model_type
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    values: dict[str, Any] = {
        "name": name,
        "reference": name,
        "architecture": config.model_type,
        "weights": model.num_parameters(),
        "context": int(getattr(config, "max_position_embeddings", 0) or 2048),
        "vocabulary": int(config.vocab_size),
        "quantization": quantization,
        "precision": dtype,
        "device": str(model.device),
        "source": "memory",
        "entry": catalog.find(name),
    }
    assert set(values) == {field.name for field in dataclasses.fields(ModelInfo)}
    return LoadedModel(model, tokenizer, ModelInfo(**values))
