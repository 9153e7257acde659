"""What a grid asks for: the user's own lines, or captions of the data set, templates and one prompt that must not show
the subject.

A prompt knows the tags that it asks for (`asks`), so that a tagger can tell whether they were drawn. Captions show
whether the subject is met where it was learnt; templates whether it still changes when something new is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lib_lora_train.errors import UserError
from lib_lora_train.messages import DEFAULT_LANGUAGE, message
from lib_lora_train.preview.grids import GridPrompt
from lib_lora_train.preview.tables import MOST_PROMPTS, GridSettings
from lib_lora_train.project import SUBJECT_KINDS

OWN, CAPTION, TEMPLATE, LEAK = "own", "caption", "template", "leak"
_ALWAYS = 0.9  # share of the captions from which a tag says nothing about one picture
_MOST_ALWAYS = 3  # of such tags that lead a template
_LONGEST = 1000  # characters of a prompt
_MOST_TAGS = 24  # of a caption that are asked for


@dataclass(frozen=True)
class Template:
    """`name` is that of the message with its label. Of each group of `choices` one is taken: the first that the data
    set's captions do not have and the tagger knows, so that it is something new and can be told."""

    name: str
    choices: tuple[tuple[str, ...], ...]


_PORTRAIT = Template("portrait", (("portrait", "close-up", "face"), ("smile", "open mouth", "closed eyes")))
_WHOLE = Template("whole", (("full body", "upper body"), ("standing", "walking", "sitting", "expressionless")))
_CLOTHES = Template("clothes", (("kimono", "school uniform", "suit", "winter coat", "swimsuit", "armor"),))
_PLACE = Template(
    "place",
    (("night sky", "beach", "forest", "city street", "sunset", "library", "snow", "blue sky", "mountain", "pink background"),),
)  # fmt: skip
_STYLE = Template("style", (("monochrome", "watercolor (medium)", "sketch", "oil painting (medium)", "pixel art"),))
_PERSON = (_PORTRAIT, _WHOLE, _CLOTHES, _PLACE, _STYLE)
_TEMPLATES: dict[str, tuple[Template, ...]] = {
    "person": _PERSON,
    "character": _PERSON,
    "concept": _PERSON,
    "object": (
        Template("near", (("close-up", "still life"), ("simple background", "white background"))),
        Template("held", (("holding", "hands"),)),
        Template("outdoors", (("outdoors", "grass"), ("blue sky", "day"))),
        _PLACE,
        _STYLE,
    ),
    "style": (
        Template("portrait", (("1girl", "1boy"), ("portrait", "close-up", "upper body"))),
        Template("landscape", (("scenery", "landscape"), ("mountain", "forest", "blue sky"))),
        Template("city", (("city", "street", "cityscape"), ("night", "sunset", "rain"))),
        Template("animal", (("cat", "dog", "bird"), ("animal focus", "no humans"))),
        Template("still_life", (("still life", "food", "flower"), ("table", "indoors"))),
    ),
}


def prompts_for(
    kind: str,
    trigger: str,
    captions: Sequence[str],
    settings: GridSettings,
    known: Collection[str] = frozenset(),
) -> list[GridPrompt]:
    """The prompts of a grid, each text once, at most `MOST_PROMPTS`.

    `captions` are those that are trained on, of the subject's own pictures; `trigger` may be several tags between commas,
    or empty. `known` are the tags of the tagger that judges, as captions write them; with them a template that nobody
    could judge is left out. Raises UserError: scores.kind, scores.too_many_prompts, scores.long_prompt.
    """
    if kind not in SUBJECT_KINDS:
        raise UserError("scores.kind", "kind", value=kind[:60], known=", ".join(SUBJECT_KINDS))
    own = [line.strip() for line in settings.prompts.splitlines() if line.strip()]
    if own:
        return _own(own, trigger)
    tagged = [tags for caption in captions if (tags := _parts(caption))]
    always = _always(tagged, trigger)
    found = _of_captions(tagged, trigger, always, settings.captions)
    if settings.templates or not found:
        found += _of_templates(kind, trigger, tagged, always, known)
        leak = _leak(found, trigger, kind)
        found += [leak] if leak is not None else []
    if not found:
        words = trigger.strip() or "1girl"
        found = [GridPrompt(words, TEMPLATE, "plain", ())]
    return list({prompt.text: prompt for prompt in reversed(found)}.values())[::-1]


def prompt_label(prompt: GridPrompt, language: str = DEFAULT_LANGUAGE) -> str:
    """What a prompt is for, in words; of a user's own line nothing."""
    if prompt.kind in (TEMPLATE, CAPTION, LEAK) and prompt.label:
        return message(f"scores.prompt_{prompt.label}", language)
    return prompt.label


def _own(lines: Sequence[str], trigger: str) -> list[GridPrompt]:
    """A line without the trigger word shows what the LoRA does to everything else."""
    if len(lines) > MOST_PROMPTS:
        raise UserError("scores.too_many_prompts", "prompts", count=len(lines), most=MOST_PROMPTS)
    found: dict[str, GridPrompt] = {}
    words = {part.casefold() for part in _parts(trigger)}
    for line in lines:
        if len(line) > _LONGEST:
            raise UserError("scores.long_prompt", "prompts", value=line[:40], most=_LONGEST)
        parts = _parts(line)
        called = not words or trigger.casefold().strip() in line.casefold()
        asks = tuple(part for part in parts if part.casefold() not in words)[:_MOST_TAGS]
        found.setdefault(line, GridPrompt(line, OWN if called else LEAK, "", asks))
    return list(found.values())


def _of_captions(tagged: Sequence[Sequence[str]], trigger: str, always: Sequence[str], count: int) -> list[GridPrompt]:
    """Typical captions that differ from one another: of the tags that some pictures have and others not, each caption
    taken has the most frequent ones that those before it did not show."""
    shares = Counter(tag for tags in tagged for tag in set(tags))
    words = set(_parts(trigger))
    told: Counter[str] = Counter()
    found: list[GridPrompt] = []
    left = list(dict.fromkeys(tuple(tags) for tags in tagged))
    while left and len(found) < count:
        best = max(left, key=lambda tags: _typical(tags, shares, told))
        left.remove(best)
        asks = [tag for tag in best if tag not in words and tag not in always]
        text = ", ".join(best)
        if len(text) <= _LONGEST:
            found.append(GridPrompt(text, CAPTION, "caption", tuple(asks or _without(best, words))[:_MOST_TAGS]))
            told.update(set(best))
    return found


def _typical(tags: Sequence[str], shares: Counter[str], told: Counter[str]) -> float:
    """The mean frequency of its tags; one that an earlier prompt has shown counts for less."""
    return sum(shares[tag] / (1 + 4 * told[tag]) for tag in tags) / max(1, len(tags))


def _of_templates(
    kind: str, trigger: str, tagged: Sequence[Sequence[str]], always: Sequence[str], known: Collection[str]
) -> list[GridPrompt]:
    seen = Counter(tag for tags in tagged for tag in set(tags))
    # A framing or a place that all pictures share would contradict the template's own.
    free = {tag for template in _TEMPLATES[kind] for group in template.choices for tag in group}
    lead = [*(tag for tag in always if kind != "style" and tag not in free), *_parts(trigger)]
    found, used = [], set()
    for template in _TEMPLATES[kind]:
        chosen = []
        for group in template.choices:
            tag = _choice(group, seen, known, used)
            if tag:
                chosen.append(tag)
        used.update(chosen)
        if chosen:
            asks = tuple(tag for tag in chosen if tag not in always)
            found.append(GridPrompt(", ".join(dict.fromkeys([*lead, *chosen])), TEMPLATE, template.name, asks))
    return found


def _choice(group: Sequence[str], seen: Counter[str], known: Collection[str], used: Collection[str]) -> str:
    """The one that the captions have least often, and that no template before has used, where there is a choice."""
    possible = [tag for tag in group if not known or tag in known]
    if not possible:
        return ""
    return min(possible, key=lambda tag: (tag in used, seen[tag], group.index(tag)))


def _leak(found: Sequence[GridPrompt], trigger: str, kind: str) -> GridPrompt | None:
    """The first prompt without the trigger word. Nothing leaks from a LoRA that is always meant, without a word."""
    words = {part.casefold() for part in _parts(trigger)}
    if not words:
        return None
    for prompt in found:
        parts = [part for part in _parts(prompt.text) if part.casefold() not in words]
        if parts and len(parts) < len(_parts(prompt.text)):
            return GridPrompt(", ".join(parts), LEAK, "leak", prompt.asks)
    return GridPrompt("1girl", LEAK, "leak", ()) if kind in ("person", "character", "concept", "style") else None


def _always(tagged: Sequence[Sequence[str]], trigger: str) -> list[str]:
    """Tags of nearly every caption, as "1girl" and "solo" are; in the captions' order, without the trigger word."""
    words = set(_parts(trigger))
    shares = Counter(tag for tags in tagged for tag in dict.fromkeys(tags))
    often = [tag for tag, count in shares.items() if count >= _ALWAYS * len(tagged) and tag not in words]
    return often[:_MOST_ALWAYS] if len(tagged) > 1 else []


def _parts(text: str) -> list[str]:
    """The tags of a caption; a sentence is one part, or few."""
    lines = text.strip().splitlines()
    line = lines[0] if lines else ""
    return [part.strip() for part in line.replace("，", ",").split(",") if part.strip()]


def _without(tags: Sequence[str], words: Collection[str]) -> list[str]:
    return [tag for tag in tags if tag not in words]
