"""A caption out of a prompt: what the picture shows, without what steers the drawing of it.

A prompt of the WebUI holds weights, schedules, LoRA names and words of praise ("masterpiece"). A model that learns
from a picture should read none of them: what is written stands in the picture, or is not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAX_PROMPT = 16_000  # characters that are read; what can be taken from them fits into a caption file

_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SENTENCE_END = re.compile(r"(?<=[.!?]) *[\r\n]+")
_LINES = re.compile(r"[\r\n\u2028\u2029]+")
# <lora:name:0.8> as the WebUI reads it, and what somebody began to write and did not close.
_NETWORK = re.compile(r"<\w+:[^>]+>")
_NETWORK_OPEN = re.compile(r"<(?:lora|lyco|hypernet)\s*:[^,>]*>?", re.IGNORECASE)
_WILDCARD = re.compile(r"__[\w\-/*]+?__")
_TOKEN = re.compile(r"\\.|[()\[\]{}:|]|[^\\()\[\]{}:|]+", re.DOTALL)
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*")
_AND = re.compile(r"\bAND\b")
_AND_WEIGHT = re.compile(r" ?: ?([-+]?(?:\d+\.?\d*|\.\d+)) ?$")
# BREAK of the WebUI, and the words by which extensions divide a prompt among regions of the picture.
_DIVIDER = re.compile(r"\b(?:BREAK|ADDCOMM|ADDBASE|ADDCOL|ADDROW)\b")
_BARE_WEIGHT = re.compile(r"(?<![\d ]) ?: ?\d*\.\d+$")  # "smile:1.2", which somebody forgot to put into brackets
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_DEEPEST = 64  # brackets within brackets; nobody writes more, and each would be looked through
_STRAY = frozenset(":|;.-_")

_SCORE = re.compile(r"score \d{1,2}( up)?")
_QUALITY = """
    masterpiece|masterpiece quality|best quality|best-quality|high quality|high-quality|highest quality|top quality
    ultra quality|ultra high quality|amazing quality|great quality|good quality|normal quality|perfect quality
    average quality|low quality|worst quality|bad quality|quality|best aesthetic|very aesthetic|aesthetic|very awa
    highres|high res|hires|hi-res|hi res|absurdres|incredibly absurdres|lowres|high resolution|highest resolution
    ultra high resolution|ultra highres|ultra-high res|high definition|ultra high definition|ultrahd|ultra hd|ultra-hd
    hd|full hd|fhd|qhd|uhd|hdr|hq|uhq|2k|4k|8k|16k|32k|2k wallpaper|4k wallpaper|8k wallpaper|4k resolution
    8k resolution|unity 8k wallpaper|cg unity 8k wallpaper|extremely detailed cg unity 8k wallpaper|wallpaper
    detailed|very detailed|highly detailed|high detail|high details|highly-detailed|super detailed|super-detailed
    extremely detailed|extremely-detailed|insanely detailed|incredibly detailed|intricate|intricate details
    intricate detail|ultra detailed|ultra-detailed|ultra detail|hyper detailed|hyper-detailed|hyperdetailed
    ultradetailed|finely detailed|fine details|best details|perfect details|sharp focus|ultra sharp|sharp details
    best illustration|best shadow|award winning|award-winning|trending on artstation|artstation|raw photo
    newest|recent
    """.replace("\n", "|").split("|")
_PRAISE = frozenset(" ".join(phrase.split()) for phrase in _QUALITY) - {""}
_LONGEST_PRAISE = max(phrase.count(" ") + 1 for phrase in _PRAISE)


def propose_caption(prompt: str, trigger_word: str = "") -> str:
    """Tags with commas between, or the sentences there are, in one line; "" when nothing is left.

    Of [from:to:when] stays what was drawn at the end; of what the prompt turns away from (a weight of 0 or less)
    nothing. Brackets that are meant (`name \\(series\\)`) stay, without the backslashes. The trigger word comes first;
    several have commas between.
    """
    text = _without_networks(_UNWRITABLE.sub("", prompt[:MAX_PROMPT]))
    text = _LINES.sub(",", _SENTENCE_END.sub(" ", text))
    text = _without_networks(_flatten(_DIVIDER.sub(" , ", _AND.sub(" AND ", text))))
    text = " ".join(_WILDCARD.sub(" ", text).split())
    shown = [tag for tag in _tags(_DIVIDER.sub(",", _drawn(text))) if not _is_praise(tag)]
    once: dict[str, str] = {}
    words = (" ".join(word.split()) for word in _UNWRITABLE.sub("", trigger_word).split(","))
    for tag in (*filter(None, words), *shown):
        once.setdefault(tag.casefold(), tag)
    return ", ".join(once.values())


def _without_networks(text: str) -> str:
    """Without <lora:...> and its like; what is left of one may be another."""
    before = None
    while before != text:
        before = text
        text = _NETWORK_OPEN.sub("", _NETWORK.sub("", text))
    return text


def _drawn(text: str) -> str:
    """The parts of a prompt that are joined by AND, without their weights and without those that are turned away from.

    `text` has no runs of spaces.
    """
    parts = _AND.split(text)
    if len(parts) == 1:
        return text
    kept = []
    for part in parts:
        weight = _AND_WEIGHT.search(part)
        if weight is None:
            kept.append(part)
        elif float(weight[1]) > 0:
            kept.append(part[: weight.start()])
    return ",".join(kept)


def _tags(text: str) -> Iterator[str]:
    for part in re.split("[,\uff0c]", text):
        tag = " ".join(part.split())
        while (bare := _BARE_WEIGHT.sub("", tag)) != tag:
            tag = bare.strip()
        if tag and tag not in _STRAY:
            yield tag


def _is_praise(tag: str) -> bool:
    """Whether nothing but words of quality is in it, such as "masterpiece best quality" or "score_9"."""
    words = tag.casefold().replace("_", " ").strip(" .!").split()
    if not words:
        return False
    while words:
        for count in range(min(_LONGEST_PRAISE, len(words)), 0, -1):
            phrase = " ".join(words[:count])
            if phrase in _PRAISE or _SCORE.fullmatch(phrase):
                del words[:count]
                break
        else:
            return False
    return True


@dataclass
class _Group:
    """A bracket that is open: the texts in it, and the colons and bars between them."""

    bracket: str
    texts: list[str] = field(default_factory=lambda: [""])
    marks: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.texts[-1] += text

    def divide(self, mark: str) -> None:
        self.marks.append(mark)
        self.texts.append("")

    def written(self) -> str:
        """As it stands between the brackets."""
        return _joined(self.texts, self.marks)

    def read(self) -> str:
        """What it says once the brackets have done their work."""
        if self.bracket == "{":  # wildcards of extensions; of one that was not replaced all choices
            return ", ".join(self._choices()) if "|" in self.marks else self.written()
        if self.bracket == "[" and "|" in self.marks:  # drawn by turns: [cow|horse], [fe|]male
            return " ".join(self._choices())
        number = _NUMBER.fullmatch(self.texts[-1]) if self.marks and self.marks[-1] == ":" else None
        if number is None:
            return self.written()
        if self.bracket == "(":
            return _joined(self.texts[:-1], self.marks[:-1]) if float(number[1]) > 0 else ""
        late = _joined(self.texts[1:-1], self.marks[1:-1]) if len(self.texts) > 2 else ""
        return late if late.strip() else self.texts[0]

    def _choices(self) -> list[str]:
        choices = [""]
        for mark, text in zip(["", *self.marks], self.texts, strict=True):
            if mark == "|":
                choices.append(text)
            else:
                choices[-1] += mark + text
        return [choice for choice in choices if choice.strip()]


def _joined(texts: Sequence[str], marks: Sequence[str]) -> str:
    return "".join(text + mark for text, mark in zip(texts, [*marks, ""], strict=True))


def _flatten(text: str) -> str:
    """The words of a prompt without its brackets.

    As the WebUI does, a backslash takes the meaning from what follows and goes, an opening bracket that is never
    closed goes, and a closing one that was never opened stays.
    """
    groups = [_Group("")]
    for token in _TOKEN.findall(text):
        if token in _BRACKETS:
            groups += [_Group(token)] if len(groups) < _DEEPEST else []
        elif token in (":", "|"):
            groups[-1].divide(token)
        elif token in _BRACKETS.values() and any(_BRACKETS.get(group.bracket) == token for group in groups):
            _close(groups, token)
        else:
            groups[-1].add(token.removeprefix("\\") if len(token) == 2 else token)
    return "".join(group.written() for group in groups)


def _close(groups: list[_Group], bracket: str) -> None:
    """Closes the innermost group that ends by `bracket`; those opened within it and never closed lose theirs."""
    inner = ""
    while _BRACKETS.get(groups[-1].bracket) != bracket:
        inner = groups.pop().written() + inner
    group = groups.pop()
    group.add(inner)
    groups[-1].add(group.read())
