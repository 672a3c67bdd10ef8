"""Reads HTML strictly: a tree of elements, and what no page may get wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser

from attrs import define, field

_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})

# Attributes with ids of other elements.
_REFERENCES = ("for", "aria-describedby", "aria-labelledby", "aria-controls", "list", "form")


@define(eq=False)
class Element:
    """An element: its name, its attributes, and what is in it."""

    tag: str
    attributes: dict[str, str] = field(factory=dict)
    children: list[Element | str] = field(factory=list)

    @property
    def text(self) -> str:
        """The text in it, in one line."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()
                if child.tag not in ("a", "b", "bdi", "code", "em", "span", "strong", "time"):
                    yield " "

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str, default: str = "") -> str:
        """The value of an attribute."""
        return self.attributes.get(name, default)

    def has(self, name: str) -> bool:
        return name in self.attributes

    def within(self) -> Iterator[Element]:
        """All elements in it, as they follow one another."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.within()

    def all(self, tag: str = "", /, *, text: str | None = None, **attributes: str) -> list[Element]:
        """The elements of a name, with these attributes, and exactly this text.

        ``class_`` is one of the classes; ``aria_label`` is written ``aria-label``.
        """
        return [
            one
            for one in self.within()
            if (not tag or one.tag == tag)
            and (text is None or one.text == text)
            and all(_has(one, name, value) for name, value in attributes.items())
        ]

    def one(self, tag: str = "", /, *, text: str | None = None, **attributes: str) -> Element:
        """The only one of these."""
        found = self.all(tag, text=text, **attributes)
        assert len(found) == 1, f"{len(found)} of {tag} {attributes} {text!r} in: {self.text}"
        return found[0]


def _has(element: Element, name: str, value: str) -> bool:
    if name == "class_":
        return value in element.get("class").split()
    return element.attributes.get(name.rstrip("_").replace("_", "-")) == value


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        twice = [name for name, count in Counter(name for name, _ in attrs).items() if count > 1]
        assert not twice, f"<{tag}> has {twice} twice, in line {self.getpos()[0]}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        opened = self.open[-1].tag
        assert tag == opened, f"</{tag}> in line {self.getpos()[0]} closes <{opened}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(text: str) -> Element:
    """The tree of a page or a part of one; fails if an element is not closed."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].tag}> is not closed"
    return parser.open[0]


def faults(tree: Element) -> list[str]:
    """What is wrong with a page that any page may get wrong."""
    return [*_faulty_ids(tree), *_forbidden(tree), *_unlabelled(tree), *_faulty_tables(tree)]


def faults_of_whole(tree: Element) -> Iterator[str]:
    """What is wrong with a page that is no part of another one."""
    html = tree.one("html")
    if not html.get("lang") or html.get("dir") not in ("ltr", "rtl"):
        yield "the page has no language or no direction"
    if len(tree.all("h1")) != 1:
        yield f"{len(tree.all('h1'))} headings of level 1"
    if not tree.one("head").one("title").text.removesuffix("– sbm").strip():
        yield "the page has no title"


def _faulty_ids(tree: Element) -> Iterator[str]:
    ids = Counter(one["id"] for one in tree.within() if one.has("id"))
    yield from (f"id {name!r} is there {count} times" for name, count in ids.items() if count > 1)
    for one in tree.within():
        for name in _REFERENCES:
            for told in one.get(name).split():
                if told not in ids:
                    yield f"{name}={told!r} of <{one.tag}> leads nowhere"


def _forbidden(tree: Element) -> Iterator[str]:
    """What the Content-Security-Policy would stop."""
    for one in tree.within():
        if one.tag == "style" or one.has("style"):
            yield f"a style in <{one.tag}>"
        if one.tag == "script" and not one.get("src").startswith("/console/static/"):
            yield "a script in the page, or from elsewhere"
        for name, value in one.attributes.items():
            if name.startswith(("on", "hx-on")) or value.strip().startswith("javascript:"):
                yield f"{name} of <{one.tag}> is a script"
            if name in ("hx-vals", "hx-headers") and value.strip().startswith("js:"):
                yield f"{name} of <{one.tag}> is a script"


def _unlabelled(tree: Element) -> Iterator[str]:
    labelled = {one["for"] for one in tree.all("label") if one.has("for")}
    wrapped = {id(inner) for label in tree.all("label") if label.text for inner in label.within()}
    for one in tree.within():
        if one.tag not in ("input", "select", "textarea"):
            continue
        if one.get("type") in ("hidden", "submit", "button"):
            continue
        has_name = one.get("aria-label") or one.get("aria-labelledby")
        if not has_name and one.get("id") not in labelled and id(one) not in wrapped:
            yield f"<{one.tag} name={one.get('name')!r}> has no label"
    for one in tree.all("button") + tree.all("a"):
        if not (one.text or one.get("aria-label")):
            yield f"<{one.tag}> without a text"
    yield from ("<img> without alt" for one in tree.all("img") if not one.has("alt"))


def _faulty_tables(tree: Element) -> Iterator[str]:
    for table in tree.all("table"):
        heads = table.all("th")
        if not heads or not all(head.has("scope") for head in heads):
            yield "a table has no <th>, or one without a scope"
