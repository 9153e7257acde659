"""Other thresholds, tried at once on what was seen already."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lib_lora_train.errors import UserError
from lib_lora_train.prepare.captions import captioning
from lib_lora_train.prepare.reading import from_dict
from lib_lora_train.prepare.tables import PrepareSettings
from lib_lora_train.workshop.context import Context

MOST_SHOWN, MOST_COUNTED = 500, 300


def preview_tags(
    context: Context, settings: PrepareSettings, values: object, offset: int, limit: int
) -> dict[str, Any]:
    """`POST /tags/preview`: how often each tag would be written, and captions before and after.

    Raises UserError: prepare.page, and as `reading.from_dict`.
    """
    if not (0 <= offset <= 10**9 and 1 <= limit <= MOST_SHOWN):
        raise UserError("prepare.page", "limit", most=MOST_SHOWN)
    if values is not None:
        settings = from_dict({"tag": values}, settings)
    caption = captioning(context.seen, settings.tag, context.project.trigger_word)
    counts: Counter[str] = Counter()
    captions, contents = [], set()
    for entry in context.wanted.entries:
        contents.update(entry.contents.values())
        names = {"source": entry.source.id, "name": entry.source.name}
        for place, content in sorted(entry.contents.items()):
            own = entry.own[place]
            before, after = entry.now.get(place), caption(content, own)
            after = after if after is not None else own if before is None else before
            counts.update(tag for tag in (part.strip() for part in after.split(",")) if tag)
            captions.append({**names, "before": before or "", "after": after})
    shown = captions[offset : offset + limit]
    looked = sum(map(context.seen.by(settings.tag).is_complete, contents))
    return {
        "total": len(captions),
        "changed": sum(each["before"] != each["after"] for each in captions),
        "looked": looked,
        "counts": [{"tag": tag, "count": count} for tag, count in counts.most_common(MOST_COUNTED)],
        "captions": shown,
    }
