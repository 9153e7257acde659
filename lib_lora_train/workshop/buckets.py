"""Which buckets the pictures of a project will be trained in, once what was prepared is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lib_lora_train.dataset.buckets import Size, plan_crop
from lib_lora_train.errors import UserError
from lib_lora_train.runs.drafts import has_draft, read_draft
from lib_lora_train.settings import DatasetSettings
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.workshop.context import Context
from lib_lora_train.workshop.sources import sizes_of, stamp_of

if TYPE_CHECKING:
    from lib_lora_train.host.base import Host


def shown_buckets(context: Context, host: Host, checkpoint: str) -> dict[str, Any]:
    """`GET /buckets`: by bucket the pictures, the share of their area that is cut off, and how many are enlarged."""
    settings = bucket_settings(context, host, checkpoint)
    found: dict[Size, dict[str, Any]] = {}
    for entry in context.wanted.entries:
        for size in sizes_of(context, entry):
            try:
                plan = plan_crop(size, settings, entry.source.name)
            except UserError:  # so small that "never enlarge" leaves it out
                continue
            bucket = found.setdefault(plan.bucket, {"pictures": [], "lost": 0.0, "enlarged": 0})
            bucket["pictures"].append({"source": entry.source.id, "name": entry.source.name, "stamp": stamp_of(entry)})
            bucket["lost"] += 1.0 - plan.share_kept
            bucket["enlarged"] += plan.resized[0] > size[0]
    buckets = [
        {"width": width, "height": height, **values, "lost": values["lost"] / len(values["pictures"])}
        for (width, height), values in sorted(found.items())
    ]
    return {"resolution": list(parse_resolution(settings.resolution)), "buckets": buckets}


def bucket_settings(context: Context, host: Host, checkpoint: str) -> DatasetSettings:
    """Those of the project's form; before anybody has changed it, the resolution that the checkpoint was made for."""
    try:
        if has_draft(context.project):
            return read_draft(context.project).dataset
        current = host.current()
        name = checkpoint or (current.name if current is not None else "")
        native = host.describe(name).native if name else context.state.settings.check.size
    except UserError:  # said in full where it is trained on
        native = context.state.settings.check.size
    return DatasetSettings(resolution=str(native), min_bucket_reso=native // 2, max_bucket_reso=2 * native)
