"""Write the report of a run."""

from __future__ import annotations

from pathlib import Path

from ... import dataspec, files
from ...errors import RunError, UsageError
from ...runs import RunFolder
from ...secrets import redact
from .gathered import gather, newest_with_result
from .markdown import markdown
from .page import page

_ENDINGS = {".html": page, ".htm": page, ".md": markdown, ".markdown": markdown}


def make_report(
    run: str | Path | None = None,
    to: str | Path | None = None,
    *,
    examples: int = 8,
    overwrite: bool = False,
    runs_dir: Path | None = None,
) -> Path:
    """Write the report of a run: HTML that needs nothing else, or Markdown.

    Args:
        run: The run's name or folder; the newest with a result by default.
        to: The file, ``.html`` or ``.md``; ``report.html`` in the run's folder by default, which is replaced.
        examples: Examples at most.
        overwrite: Replace a file that is there.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.

    Returns:
        The file. What looks like a secret in it is redacted, and the home folder is written as ``~``.

    Raises:
        UsageError: the file's ending is unknown, or the file is there.
        RunError: there is no such run, or the file cannot be written.

    """
    folder = RunFolder.open(str(run), runs_dir) if run else newest_with_result()
    target = folder.path / "report.html" if to is None else dataspec.expanded(to).absolute()
    render = _ENDINGS.get(target.suffix.lower())
    if render is None:
        raise UsageError(f"{target.name}: a report ends with .html or .md.", hint="Such as --to report.md")
    if to is not None and target.exists() and not overwrite:
        raise UsageError(f"{target} exists and was not changed.", hint="Choose another file, or add --force.")
    text = redact(render(gather(folder, examples)))
    try:
        files.make_dir(target.parent)
        with files.staged_file(target) as staging:
            staging.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{target} could not be written: {error.strerror or error}.") from None
    return target
