"""Words with wildcards, as they are looked for in captions, tags and names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

ANY, ONE = "*", "?"
_BLANKS = re.compile(r"[_\s]+")
Part = tuple[str, bool]  # characters, and whether they are a wildcard


@dataclass(frozen=True)
class Pattern:
    """What was typed, in parts; `quoted` when it stood in quotation marks."""

    parts: tuple[Part, ...]
    quoted: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is without wildcards."""
        return not any(wild for _, wild in self.parts)

    @cached_property
    def text(self) -> str:
        """All its characters; wildcards as such."""
        return "".join(text for text, _ in self.parts)

    def folded(self, blanks: bool) -> Pattern:
        """Without capitals; with `blanks`, one blank for underscores and for several blanks."""
        merged: list[Part] = []
        for text, wild in self.parts:
            if merged and not wild and not merged[-1][1]:
                merged[-1] = (merged[-1][0] + text, False)
            else:
                merged.append((text, wild))
        found = [(text if wild else text.casefold(), wild) for text, wild in merged]
        if blanks:
            found = [(text if wild else _BLANKS.sub(" ", text), wild) for text, wild in found]
        return Pattern(tuple(found), self.quoted)

    def whole(self) -> re.Pattern[str]:
        """Matches texts that are the pattern from their first to their last character."""
        return re.compile(self._expression("", r"\Z"), re.DOTALL)

    def inside(self) -> re.Pattern[str]:
        """Matches, from its beginning, a text that holds the pattern somewhere."""
        return re.compile(self._expression(ANY, ""), re.DOTALL)

    def _expression(self, before: str, end: str) -> str:
        """Each stretch behind a * is taken at the first place where it fits, once and for all: trying the others too
        would take forever on a long text, and finds nothing more."""
        pieces: list[str] = [""]
        for text, wild in [(before, bool(before)), *self.parts]:
            if wild and text == ANY:
                pieces.append("")
            else:
                pieces[-1] += "." if wild else re.escape(text)
        first, *others = pieces
        last = others.pop() if others and end else ""
        found = first + "".join(f"(?=(?P<p{number}>.*?{piece}))(?P=p{number})" for number, piece in enumerate(others))
        return found + (f"(?:.*{last})" if len(pieces) > 1 and end else "") + end
