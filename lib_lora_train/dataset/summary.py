"""What a LoRA file says of the pictures it was made from: kohya's `ss_dataset_dirs`, `ss_tag_frequency`, `ss_bucket_info`.

Folder names only, never paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lib_lora_train.dataset.pictures import Picture


def dataset_dirs(pictures: Sequence[Picture], regularization: bool = False) -> dict[str, dict[str, int]]:
    """{folder: {n_repeats, img_count}} of the training (or regularization) folders."""
    chosen = [picture for picture in pictures if picture.is_regularization == regularization]
    counts = Counter(picture.concept for picture in chosen)
    return {concept.name: {"n_repeats": concept.repeats, "img_count": count} for concept, count in counts.items()}


def tag_frequency(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """{folder: {tag in lower case: number of pictures}}, repeats not counted."""
    folders: dict[str, Counter[str]] = {}
    for picture in pictures:
        tags = (tag.strip().lower() for tag in picture.caption.split(","))
        folders.setdefault(picture.concept.name, Counter()).update(tag for tag in tags if tag)
    return {name: dict(counter) for name, counter in folders.items()}


def bucket_info(pictures: Sequence[Picture]) -> dict[str, object]:
    """{"buckets": {number: {resolution, count}}, "mean_img_ar_error"}: counts with repeats, error without."""
    shown: Counter[tuple[int, int]] = Counter()
    errors = []
    for picture in pictures:
        bucket = picture.crop.bucket
        shown[bucket] += picture.repeats
        errors.append(abs(bucket[0] / bucket[1] - picture.size[0] / picture.size[1]))
    buckets = {
        str(number): {"resolution": list(bucket), "count": count}
        for number, (bucket, count) in enumerate(sorted(shown.items()))
    }
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / max(len(errors), 1)}
