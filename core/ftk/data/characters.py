"""What hides in texts: characters that nobody sees, scripts, languages, and things that should not be learnt."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache

from ..secrets import MARKS, SHAPES

HIDDEN = re.compile(
    "[\u200b\u200c\u200d\u2060\ufeff\u00ad\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
"""Zero-width, soft hyphen, bidirectional controls, tag characters, control characters."""

_JOINERS = "\u200c\u200d"
_JOINING = ("ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "MALAYALAM", "PERSIAN", "SINHALA", "KHMER", "MYANMAR")

SECRETS: Mapping[str, re.Pattern[str]] = {
    **{kind: re.compile(shape) for kind, shape in SHAPES.items()},
    "a password": re.compile(
        r"(?i)\b(?:password|passwd|pwd|secret|api[_-]?key|token)[\"']?\s*[:=]\s*[\"']?(?=[^\s\"']*\d)[^\s\"'<>{}\[\]()]{8,}"
    ),
}
_MARKS: Mapping[str, tuple[str, ...]] = {**MARKS, "a password": ("passw", "pwd", "secret", "key", "token")}
"""As `MARKS`; in lower case for passwords."""
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]*[A-Za-z]{2,}\b")
_EXAMPLES = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", re.IGNORECASE)


def hidden(text: str) -> list[str]:
    """The hidden characters of a text that have no business there, by name.

    Joiners inside the scripts that need them, and in sequences of emoji, are none.
    """
    if not HIDDEN.search(text):
        return []
    found = []
    for match in HIDDEN.finditer(text):
        char = match[0]
        before = text[match.start() - 1 : match.start()]
        if char in _JOINERS and before and (_joins(before) or unicodedata.category(before) in ("So", "Sk", "Mn")):
            continue
        found.append(unicodedata.name(char, "").lower() or f"U+{ord(char):04X}")
    return found


def _joins(char: str) -> bool:
    return unicodedata.name(char, "").startswith(_JOINING)


def secrets(text: str) -> list[str]:
    """The kinds of secrets that a text seems to hold (never the secrets themselves)."""
    lower = text.lower()
    return [
        kind
        for kind, pattern in SECRETS.items()
        if any(mark in (lower if kind == "a password" else text) for mark in _MARKS[kind]) and pattern.search(text)
    ]


def emails(text: str) -> bool:
    """Whether a text holds an e-mail address other than those reserved for examples (RFC 2606)."""
    return "@" in text and any(not _EXAMPLES.search(match[0]) for match in EMAIL.finditer(text))


_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "THAI",
            "HANGUL", "HIRAGANA", "KATAKANA", "CJK", "GEORGIAN", "ARMENIAN")  # fmt: skip


@cache
def _script_of(char: str) -> str | None:
    name = unicodedata.name(char, "")
    return next((script for script in _SCRIPTS if name.startswith(script)), None)


def script(text: str) -> str:
    """The script that most letters of a text (of its first 300 characters) have: ``Latin``, ``Han``, ``Japanese``."""
    if text[:300].isascii():
        return "Latin" if any(map(str.isalpha, text[:300])) else "none"
    counts = Counter(found for char in text[:300] if char.isalpha() and (found := _script_of(char)))
    if not counts:
        return "none"
    if counts["HIRAGANA"] + counts["KATAKANA"] > 0.1 * sum(counts.values()):
        return "Japanese"
    name = counts.most_common(1)[0][0]
    return {"CJK": "Han", "HANGUL": "Korean"}.get(name, name.capitalize())


_WORDS = {
    "English": "the and of to is in that for it with you are this be on as have not what can",
    "German": "der die und das ist nicht ein eine zu den mit von sich auf für im dem es wie auch",
    "French": "le la les et des est une que pour dans qui pas sur avec vous je ce au du plus",
    "Spanish": "el los las una que es por con para se del como no su más al lo está y muy",
    "Italian": "il di che è per una non con sono gli della del si nel anche come più dei alla lo",
    "Portuguese": "o que não uma para com os as por mais do da em se um dos você na no é",
    "Dutch": "de het een en van is dat niet op te zijn met voor ik je aan er maar om ook",
    "Polish": "nie się jest na że do to jak co za od tak ale po czy są przez dla tym oraz",
    "Turkish": "bir ve bu için ile da de çok ne gibi daha olarak var olan mi ben o en sonra kadar",
    "Indonesian": "yang dan di untuk dengan tidak ini itu dari dalam adalah pada akan ke saya bisa anda atau juga ada",
    "Swedish": "och att det är en som på för med inte den av till ett har de om jag kan var",
    "Vietnamese": "của và là có không cho được một những trong người để các với này đã khi thì tôi bạn",
}
_LANGUAGES: dict[str, list[str]] = {}
for _name, _words in _WORDS.items():
    for _word in _words.split():
        _LANGUAGES.setdefault(_word, []).append(_name)
_WORD = re.compile(r"[^\W\d_]+")
_LOOKED_AT = 600  # characters: a hundred words


def language(text: str) -> str:
    """The language of a Latin text by its commonest words, else its script; ``unclear`` where too few words are known.

    A rough measure for the mix of a data set, not for single sentences.
    """
    found = script(text)
    if found != "Latin":
        return found
    counts = dict.fromkeys(_WORDS, 0)
    for word in _WORD.findall(text[:_LOOKED_AT].lower()):
        for name in _LANGUAGES.get(word, ()):
            counts[name] += 1
    best, second = sorted(counts.values(), reverse=True)[:2]
    if best < 2 or best == second:
        return "unclear"
    return next(name for name, count in counts.items() if count == best)
