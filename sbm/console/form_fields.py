"""The fields of a form, as a page shows them: with their labels, values and problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from attrs import field, frozen

InputKind = Literal["text", "number", "area", "choice"]


@frozen(kw_only=True)
class FormField:
    """One field, in the words of the reader.

    ``options`` are the values of a choice and their names. ``problems`` are sentences about the
    value that was sent.
    """

    name: str
    label: str
    kind: InputKind = "text"
    value: str = ""
    hint: str = ""
    options: Sequence[tuple[str, str]] = ()
    problems: Sequence[str] = ()
    is_required: bool = False
    longest: int | None = None

    def told(self, value: str) -> str:
        """A value as a person reads it: the name of a choice, a dash for nothing."""
        return dict(self.options).get(value, value) or "–"

    @property
    def described_by(self) -> str:
        """The ids of the elements that describe it."""
        told = [("hint", self.hint), ("problem", self.problems)]
        return " ".join(f"{what}-{self.name}" for what, text in told if text)


@frozen(kw_only=True)
class FormState:
    """What is in a form: values and problems by field, and the keys with which it is sent once."""

    values: Mapping[str, str] = field(factory=dict)
    once: str = ""
    seen: str = ""
    problems: Mapping[str, Sequence[str]] = field(factory=dict)

    @property
    def status(self) -> int:
        """The status of the page: that of a refusal if there are problems."""
        return 400 if self.problems else 200

    def of(
        self,
        name: str,
        label: str,
        *,
        kind: InputKind = "text",
        hint: str = "",
        options: Sequence[tuple[str, str]] = (),
        is_required: bool = False,
        longest: int | None = None,
    ) -> FormField:
        """A field with its value and its problems."""
        return FormField(
            name=name,
            label=label,
            kind=kind,
            hint=hint,
            options=options,
            is_required=is_required,
            longest=longest,
            value=self.values.get(name, ""),
            problems=self.problems.get(name, ()),
        )
