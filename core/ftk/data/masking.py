"""From texts with learnt spans to tokens with learnt spans, without trust in a tokenizer's offsets.

What precedes a learnt span is, token by token, what the model is given as a prompt when it answers; a token that
lay across the edge would mix prompt and answer, and the model would never see it. Tokenizers part a text at added
tokens (``<|im_start|>``) before all else. Where one stands in the prompt after the question, prompt and answer are
tokenised apart, every character once. Where none does, the prompts are tokenised besides the whole and must be
its beginnings. Where they are not, every learnt turn becomes an example that is put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from .rendering import Rendered, Span, Template
from .templates import beginning

_ANCHORS = ("\n", "a", ".")


@dataclass(slots=True)
class Marked:
    """Tokens, and the stretches of them that are learnt (start and end, in order)."""

    tokens: list[int]
    spans: list[Span]

    @property
    def targets(self) -> int:
        """The number of supervised tokens; the first token of a row has nothing to be predicted from."""
        return sum(end - max(start, 1) for start, end in self.spans if end > 1)

    def until(self, length: int) -> Marked:
        """The first `length` tokens, less those after the last supervised one: nothing depends on them."""
        spans = [(start, min(end, length)) for start, end in self.spans if start < length]
        return Marked(self.tokens[: spans[-1][1] if spans else 0], spans)


@dataclass(frozen=True, slots=True)
class Plan:
    """A text, and the texts to tokenise for it.

    With `leads` these are parts to be joined, of each of which so many tokens are left out; without, they are
    beginnings of the text and the whole.
    """

    rendered: Rendered
    texts: list[str]
    leads: list[int] | None


class Masker:
    """Tokenises and marks texts of one tokenizer.

    Args:
        template: The tokenizer with its chat template.

    """

    def __init__(self, template: Template) -> None:
        self._tokenizer = template.tokenizer
        self._backend = getattr(self._tokenizer, "backend_tokenizer", None)
        self._eos = self._tokenizer.eos_token_id
        self.begin = beginning(self._tokenizer)
        self._opening, self._closing = template.opening, "".join(template.closing[-1:])
        self._opening_ids, self._closing_ids = self.tokenise([self._opening, self._closing])
        known = self._tokenizer.added_tokens_decoder
        self._parts_apart = bool(self._opening_ids) and self._opening_ids[0] in known and len(self._closing_ids) == 1

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of some texts, on all cores and without the interpreter's lock if the tokenizer is a fast one.

        Without offsets, which nobody needs here and which cost a third of the time.
        """
        if self._backend is None:
            return [list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        return [found.ids for found in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def plan(self, rendered: Rendered) -> Plan:
        """What to tokenise for a text."""
        text, spans = rendered.text, rendered.spans
        if not spans:
            return Plan(rendered, [text], None)
        if self._parts_apart and all(text.endswith(self._opening, 0, start) for start, _ in spans):
            return self._in_parts(rendered)
        begins = [text[:place] for span in spans for place in span]
        return Plan(rendered, [*begins[:-1], text], None)

    def _in_parts(self, rendered: Rendered) -> Plan:
        """Prompt, answer, prompt, answer: each after the first with the added token before it, that is its lead."""
        text, spans = rendered.text, rendered.spans
        parts, leads, position = [], [], 0
        for start, end in spans:
            parts += [self._closing + text[position:start] if position else text[:start]]
            parts += [self._opening + text[start:end]]
            leads += [len(self._closing_ids) if position else 0, len(self._opening_ids)]
            position = end
        return Plan(rendered, parts, leads)

    def marked(self, plans: Iterable[Plan], tokens: Iterable[list[int]]) -> Iterator[list[Marked]]:
        """The examples of planned texts.

        Args:
            plans: The plans.
            tokens: Those of all their texts, one after the other.

        """
        remaining = iter(tokens)
        for plan in plans:
            found = list(islice(remaining, len(plan.texts)))
            joined = self._nested(plan, found) if plan.leads is None else self._joined(plan, found)
            made = [joined] if joined else self._one_by_one(plan.rendered)
            if not plan.rendered.closed:
                self._close(made[-1])
            yield made

    def _close(self, marked: Marked) -> None:
        if self._eos is not None:
            start = marked.spans.pop()[0] if marked.spans else len(marked.tokens)
            marked.tokens.append(int(self._eos))
            marked.spans.append((start, len(marked.tokens)))

    def _joined(self, plan: Plan, parts: list[list[int]]) -> Marked | None:
        """The parts joined, None where one does not begin or end with the added token at which it was cut."""
        tokens: list[int] = []
        spans: list[Span] = []
        size = len(self._opening_ids)
        last = len(parts) - 1
        for number, (part, lead) in enumerate(zip(parts, plan.leads or (), strict=True)):
            if number % 2:
                if part[:lead] != self._opening_ids or (number < last and part[-1:] != self._closing_ids):
                    return None
                spans.append((len(tokens), len(tokens) + len(part) - lead))
            elif part[-size:] != self._opening_ids or part[:lead] != self._closing_ids[:lead]:
                return None
            tokens += part[lead:] if lead else part
        return Marked(tokens, spans)

    def _nested(self, plan: Plan, found: list[list[int]]) -> Marked | None:
        """The whole with its spans, None where a beginning of the text is no beginning of the tokens."""
        *begins, whole = found
        if any(whole[: len(begin)] != begin for begin in begins):
            return None
        places = [*map(len, begins), len(whole)]
        return Marked(whole, list(zip(places[::2], places[1::2], strict=True)) if plan.rendered.spans else [])

    def _one_by_one(self, rendered: Rendered) -> list[Marked]:
        """An example for every learnt turn: its prompt, and its answer as the tokens that spell it after that."""
        made = []
        for start, end in rendered.spans:
            before, piece = rendered.text[:start], rendered.text[start:end]
            prompt, whole = self.tokenise([before, before + piece])
            answer = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._continuation(piece)
            made.append(Marked(prompt + answer, [(len(prompt), len(prompt) + len(answer))]))
        return made

    def _continuation(self, piece: str) -> list[int]:
        """Tokens that spell a text where something stands before it.

        A tokenizer may put a space before a text that begins with it, and may join its beginning to whatever
        stands before. So it is tokenised after something else, until that comes out whole and the text exact.
        """
        for anchor in (*([self._closing] if self._closing else ()), *_ANCHORS):
            before, whole = self.tokenise([anchor, anchor + piece])
            if whole[: len(before)] == before and self._spelt(whole) == self._spelt(before) + piece:
                return whole[len(before) :]
        return self.tokenise([piece])[0]

    def _spelt(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))
