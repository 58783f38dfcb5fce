"""Write docs/settings.md from the fields of RunConfig: `python docs/make_settings.py`."""

from __future__ import annotations

from pathlib import Path

from ftk.config import RunConfig, allowed_values

TARGET = Path(__file__).with_name("settings.md")
_HEAD = """\
# Settings

Every setting is a flag (`--learning-rate 2e-4`), a key of a preset (`learning_rate: 2e-4`) and an argument of
`QuickTrainer(..., learning_rate=2e-4)`. `auto` is decided for your machine; `ftk --preset NAME --dry-run` shows how
and why. A preset is a YAML file of such keys: packaged ones (`ftk presets`), your own in the folder that
`ftk presets` names, or any path. Unknown and duplicate keys, wrong types and values out of range are refused with
file, line and the nearest known key. A flag overrules the preset.
"""


def settings() -> str:
    """The page as Markdown."""
    lines = [_HEAD]
    for section in RunConfig.sections:
        title, _, text = (section.__doc__ or "").partition(": ")
        lines += [f"## {title}", "", text[:1].upper() + text[1:], ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        for key, field in section.model_fields.items():
            default = "" if field.default is None else f"`{field.default}`"
            words = [word for word in allowed_values(key) if word != "auto"]
            values = f" One of {', '.join(f'`{word}`' for word in words)}." if words else ""
            text = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{key}` | {default} | {text}{values} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    TARGET.write_text(settings(), encoding="utf-8")
