"""HTML as a tree, so that text is text: the serialiser escapes whatever is put into it, and nobody can forget to."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .visible import visible

Child = Element | str | None


def tag(name: str, /, *children: Child, **attributes: str | None) -> Element:
    """An element.

    Args:
        name: Its name.
        children: Elements and texts, in order; None is left out.
        attributes: Its attributes; ``class_`` is ``class``, and None is left out.

    """
    made = Element(name, {key.rstrip("_"): visible(value) for key, value in attributes.items() if value is not None})
    for child in children:
        add(made, child)
    return made


def add(parent: Element, child: Child) -> None:
    """Put a child behind those that an element has."""
    if isinstance(child, Element):
        parent.append(child)
    elif child:
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + visible(child)
        else:
            parent.text = (parent.text or "") + visible(child)


def table(headings: Iterable[str], rows: Iterable[Iterable[Child]], class_: str | None = None) -> Element:
    """A table that can be scrolled sideways where the page is narrow."""
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in headings)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body, class_=class_), class_="scroll")


def document(title: str, style: str, body: Element) -> str:
    """A whole page, which loads nothing and runs nothing, also where a reader would let it."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    text = ElementTree.tostring(tag("html", head, body, lang="en"), encoding="unicode", method="html")
    return f"<!doctype html>\n{text}\n"
