"""Push an adapter or a merged model to the Hub: private unless asked otherwise, shown before it is sent.

The token comes from the environment (HF_TOKEN) or from the Hub's login, and goes nowhere but to the Hub.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import files, hub_api
from ..errors import ExportError, UsageError
from ..models.loading import silent
from ..models.sources import Progress, is_hub_id
from . import adapter, card, loading, merged, target
from .merging import BaseWeights
from .source import Trained
from .target import Exported

What = Literal["adapter", "merged"]
_OF_THE_HUB = {".gitattributes"}
_NOT_SENT = {target.MARK}


@dataclass(frozen=True)
class Push:
    """What goes to the Hub, and how.

    Args:
        repo: The repository, ``owner/name``.
        what: The adapter alone, or the merged model.
        public: Whether everybody may see a repository that is made for it.
        dry_run: Only make and check what would be sent.
        base: Into which weights is merged, see `merging`.

    """

    repo: str
    what: What = "adapter"
    public: bool = False
    dry_run: bool = False
    base: BaseWeights = "dequantised"


@dataclass(frozen=True)
class Pushed:
    """What was sent, or would be: files with sizes in bytes; `address` is empty where nothing was sent."""

    repo: str
    private: bool
    files: list[tuple[str, int]]
    checks: list[str]
    notes: list[str]
    address: str = ""


def push(trained: Trained, wanted: Push, *, force: bool = False, progress: Progress = silent) -> Pushed:
    """Make what is to be sent, check it, and send it in one commit.

    Args:
        trained: What to send.
        wanted: Where to, and how.
        force: Send to a repository that holds files already; those of the same names are replaced there.
        progress: Told what goes on.

    Raises:
        UsageError: the repository's name is none.
        ExportError: there is no token, the repository may not be written to, or the Hub refuses.
        FtkError: see `adapter.export` and `merged.export`.

    """
    _check(trained, wanted)
    if not wanted.dry_run:
        _check_repository(wanted, force=force)
    parent = files.cache_dir() / "exports"
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="hub-", dir=parent))
    try:
        made = _made(trained, place / "new", wanted, progress)
        text = card.write(trained, wanted.what, made.checks, repo=wanted.repo)
        (made.path / "README.md").write_text(text, encoding="utf-8")
        listed = [(name, size) for name, size in target.contents(made.path) if name not in _NOT_SENT]
        address = "" if wanted.dry_run else _sent(made.path, wanted, progress)
        return Pushed(wanted.repo, not wanted.public, listed, made.checks, made.notes, address)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _check(trained: Trained, wanted: Push) -> None:
    if not is_hub_id(wanted.repo):
        raise UsageError(f"{wanted.repo!r} cannot name a repository.", hint="It looks like owner/name.")
    if wanted.what == "adapter":
        loading.need_adapter(trained, "Pushing an adapter")
        if not trained.hub:
            raise ExportError(
                f"The base model of this adapter, {trained.config.model}, is not on the Hub: nobody could use it.",
                hint="Push the whole model: --what merged.",
            )
    if not wanted.dry_run and not hub_api.has_token():
        raise ExportError(
            "Pushing to the Hub needs a token that may write, and there is none.",
            hint="`hf auth login`, or export HF_TOKEN=...; --dry-run shows what would be sent without one.",
        )


def _check_repository(wanted: Push, *, force: bool) -> None:
    """See, before anything is computed, whether the repository may be written to.

    Raises:
        ExportError: it holds files already, or everybody can see it.

    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = HfApi().model_info(wanted.repo, timeout=15)
    except RepositoryNotFoundError:
        return
    except Exception as error:
        raise _explained(wanted, error) from error
    if not wanted.public and info.private is False:
        raise ExportError(
            f"The repository {wanted.repo} exists, and everybody can see it.",
            hint="--public agrees to that; or choose another --repo.",
        )
    held = {sibling.rfilename for sibling in info.siblings or []} - _OF_THE_HUB
    if held and not force:
        raise ExportError(
            f"The repository {wanted.repo} holds {len(held)} files already and was not changed.",
            hint="--force replaces files of the same names there; or choose another --repo.",
        )


def _made(trained: Trained, folder: Path, wanted: Push, progress: Progress) -> Exported:
    if wanted.what == "adapter":
        return adapter.export(trained, folder, progress=progress)
    return merged.export(trained, folder, base=wanted.base, progress=progress)


def _sent(folder: Path, wanted: Push, progress: Progress) -> str:
    """Send a folder; returns the address of the repository.

    Raises:
        ExportError: the Hub refuses.

    """
    from huggingface_hub import HfApi

    api = HfApi()
    progress("upload", wanted.repo, None, None)
    try:
        made = api.create_repo(wanted.repo, private=not wanted.public, exist_ok=True)
        api.upload_folder(
            repo_id=wanted.repo,
            folder_path=folder,
            commit_message=f"Upload {wanted.what} made with ftk",
            ignore_patterns=sorted(_NOT_SENT),
        )
    except Exception as error:
        raise _explained(wanted, error) from error
    return str(made)


def _explained(wanted: Push, error: Exception) -> ExportError:
    reason, hint = hub_api.explain(error, wanted.repo, "--to adapter or --to merged, and upload the folder later")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (403, 404):
        reason = f"the token may not write there, or there is no {wanted.repo.partition('/')[0]!r} (HTTP {status})"
        hint = "Use a token with write access to that name: `hf auth login`."
    return ExportError(f"Pushing to {wanted.repo} failed: {reason}.", hint=hint)
