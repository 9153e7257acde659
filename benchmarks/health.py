"""How many faulty pictures the health check finds, and how often it finds fault with clean ones.

Clean photographs are cut into large pieces that share nothing; from each piece pictures with one known fault are made, at
stated strengths. A fault counts as found when its own code is reported. The thresholds were set by one half of the
photographs; the figures are of the other half.

    python -m benchmarks.health --out FILE [--half report|tune] [--more DIR] [--pictures DIR]

Photographs: those in the wheel of scikit-image, and in matplotlib and gradio where those are installed. `--more` adds the
pictures of a folder (to the half that is asked for). `--pictures` writes what was missed, and what was found wrongly, there.
Exit code 1 when a fault is found in less than 90 % or wrongly in more than 5 %.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import health_faults as make
from lib_lora_train.dataset.images import open_image
from lib_lora_train.files import write_json
from lib_lora_train.prepare.health import HealthWishes, Item, Report, judge, measure

SIZE = 256  # training size: the pieces are little larger, as they are all that the photographs give
LEAST_RECALL, MOST_FALSE = 0.9, 0.05
# (package, path in it, half). Left out of scikit-image's: drawings, microscopy of single cells, a blurred clock, the moon.
PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png", "tune"),
    ("skimage", "data/brick.png", "tune"),
    ("skimage", "data/camera.png", "tune"),
    ("skimage", "data/coffee.png", "tune"),
    ("skimage", "data/gravel.png", "tune"),
    ("gradio", "_frontend_code/component-test/src/lib/images/tower.jpg", "tune"),
    ("gradio", "test_data/lion.jpg", "tune"),
    ("skimage", "data/chelsea.png", "report"),
    ("skimage", "data/grass.png", "report"),
    ("skimage", "data/ihc.png", "report"),
    ("skimage", "data/motorcycle_left.png", "report"),
    ("skimage", "data/rocket.jpg", "report"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "report"),
    ("gradio", "_frontend_code/component-test/src/lib/images/base.webp", "report"),
)
# What counts as finding a fault.
CODES: Mapping[str, tuple[str, ...]] = {
    "blur": ("blurred",),
    "re-compression": ("compressed",),
    "upscaling": ("upscaled", "little_detail"),
    "wrong exposure": ("dark", "bright", "flat"),
    "borders": ("borders",),
    "watermark": ("lettering",),
    "flipped copy": ("duplicate_mirrored", "duplicate_crop"),
    "cropped copy": ("duplicate_crop", "duplicate_near", "duplicate_mirrored"),
    "near copy": ("duplicate_near",),
}
COPIES = ("flipped copy", "cropped copy", "near copy")


@dataclass(frozen=True)
class Sample:
    """A picture with one fault, made from the piece `origin`. `fault` is empty for a clean one."""

    origin: str
    fault: str
    strength: str
    picture: np.ndarray

    @property
    def key(self) -> str:
        return f"{self.origin} {self.fault} {self.strength}".strip()


def photographs(half: str, more: Path | None = None, packages: Sequence[str] = ()) -> Iterator[tuple[str, np.ndarray]]:
    """(name, RGB) of one half, of the packages that are installed (and named, when any is)."""
    for package, place, own in PHOTOGRAPHS:
        found = importlib.util.find_spec(package) if own == half and (not packages or package in packages) else None
        if found is not None and found.origin is not None:
            path = Path(found.origin).parent / place
            if path.is_file():
                yield path.stem, np.asarray(open_image(path).image)
    for path in sorted(more.iterdir()) if more else ():
        yield path.stem, np.asarray(open_image(path).image)


def pieces(photographs: Iterator[tuple[str, np.ndarray]], side: int = 280) -> list[Sample]:
    """Parts of about `side` x `side` pixels that do not overlap."""
    found = []
    for name, picture in photographs:
        height, width = picture.shape[:2]
        rows, columns = max(round(height / side), 1), max(round(width / side), 1)
        for row in range(rows):
            for column in range(columns):
                part = picture[
                    row * height // rows : (row + 1) * height // rows,
                    column * width // columns : (column + 1) * width // columns,
                ]
                found.append(Sample(f"{name} {row}{column}", "", "", np.ascontiguousarray(part)))
    return found


def faulty(piece: Sample, faults: Sequence[str] = tuple(CODES)) -> Iterator[Sample]:
    """The piece with each fault at each strength."""
    for fault in faults:
        for strength, change in make.FAULTS[fault].items():
            # A seed of its own for each picture, the same in every run and on every machine.
            seed = make.seed_of(f"{piece.origin} {fault} {strength}")
            yield Sample(piece.origin, fault, strength, change(piece.picture, np.random.default_rng(seed), SIZE))


def item(sample: Sample) -> Item:
    height, width = sample.picture.shape[:2]
    return Item(sample.key, sample.key, (width, height), measure(sample.picture, []))


def run(
    clean: Sequence[Sample], faults: Sequence[str] = tuple(CODES), whole: Sequence[Sample] = ()
) -> tuple[list[dict[str, object]], list[Sample]]:
    """(one row for each fault and strength, what was missed or wrongly found). `whole`: the photographs that `clean` was
    cut from, for false alarms only."""
    wishes = HealthWishes(size=SIZE, kind="style")
    wrong: list[Sample] = []
    originals = [item(sample) for sample in clean]
    false: dict[str, list[str]] = {}
    # A photograph and its pieces are never in one set: they are crops of each other.
    for samples in (clean, _saved(clean), whole, _saved(whole)):
        group = originals if samples is clean else [item(sample) for sample in samples]
        codes = _codes(judge(group, wishes))
        for fault in faults:
            hit = [sample for sample in samples if set(CODES[fault]) & codes.get(sample.key, set())]
            false.setdefault(fault, []).extend(sample.key for sample in hit)
            wrong += [Sample(sample.key, f"wrongly {fault}", "", sample.picture) for sample in hit]
    rows = []
    for fault in faults:
        for strength in make.FAULTS[fault]:
            samples = [sample for piece in clean for sample in faulty(piece, [fault]) if sample.strength == strength]
            hits = [found(sample, originals, wishes) for sample in samples]
            wrong += [sample for sample, hit in zip(samples, hits, strict=True) if not hit]
            rows.append({"fault": fault, "strength": strength, "pictures": len(hits), "found": sum(hits)})
    return [*rows, *_totals(rows, faults, false, 2 * (len(clean) + len(whole)))], wrong


def _saved(samples: Sequence[Sample]) -> list[Sample]:
    """As people have them: JPEG of good quality."""
    return [Sample(each.origin, "", "as JPEG 92", make.jpeg(each.picture, 92)) for each in samples]


def _totals(
    rows: Sequence[Mapping[str, object]], faults: Sequence[str], false: Mapping[str, Sequence[str]], clean: int
) -> Iterator[dict[str, object]]:
    """One row for each fault, over the strengths that are meant to be found."""
    for fault in faults:
        meant = [row for row in rows if row["fault"] == fault and row["strength"] not in make.BEYOND]
        pictures, found = sum(int(str(row["pictures"])) for row in meant), sum(int(str(row["found"])) for row in meant)
        yield {
            "fault": fault, "strength": "all", "pictures": pictures, "found": found,
            "recall": round(found / max(pictures, 1), 4), "clean": clean, "wrongly": len(false[fault]),
            "false_alarms": round(len(false[fault]) / max(clean, 1), 4),
        }  # fmt: skip


def found(sample: Sample, originals: Sequence[Item], wishes: HealthWishes) -> bool:
    own = item(sample)
    if sample.fault not in COPIES:
        return bool(set(CODES[sample.fault]) & _codes(judge([own], wishes)).get(own.key, set()))
    # Among all originals: it has to be grouped with the one it was made from, and with no other.
    report = judge([*originals, own], wishes)
    groups = [set(each.keys) for each in report.findings if each.code in CODES[sample.fault]]
    return {sample.origin, own.key} in groups


def _codes(report: Report) -> dict[str, set[str]]:
    codes: dict[str, set[str]] = {}
    for each in report.findings:
        for key in each.keys:
            codes.setdefault(key, set()).add(each.code)
    return codes


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The totals in Markdown, each with its strengths."""
    lines = ["| fault | recall | false alarms | found at each strength |", "| --- | --- | --- | --- |"]
    for row in rows:
        if row["strength"] != "all":
            continue
        parts = [
            f"{each['strength']}: {each['found']}/{each['pictures']}"
            + (" (not counted)" if each["strength"] in make.BEYOND else "")
            for each in rows
            if each["fault"] == row["fault"] and each["strength"] != "all"
        ]
        recall = f"{float(str(row['recall'])):.1%} ({row['found']}/{row['pictures']})"
        alarms = f"{float(str(row['false_alarms'])):.1%} ({row['wrongly']}/{row['clean']})"
        lines.append(f"| {row['fault']} | {recall} | {alarms} | {'; '.join(parts)} |")
    return "\n".join(lines)


def within_bounds(rows: Sequence[Mapping[str, object]]) -> bool:
    totals = [row for row in rows if row["strength"] == "all"]
    return all(
        float(str(row["recall"])) >= LEAST_RECALL and float(str(row["false_alarms"])) <= MOST_FALSE for row in totals
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.health")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--half", choices=("report", "tune"), default="report")
    parser.add_argument("--more", type=Path)
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args(arguments)
    start = time.perf_counter()
    whole = [Sample(name, "", "", picture) for name, picture in photographs(chosen.half, chosen.more)]
    clean = pieces((each.origin, each.picture) for each in whole)
    rows, wrong = run(clean, whole=whole)
    print(table(rows))
    for number, sample in enumerate(wrong if chosen.pictures else ()):
        chosen.pictures.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.picture).save(chosen.pictures / f"{number:04d} {sample.key}.png")
    if chosen.out:
        write_json(
            chosen.out,
            {
                "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
                "versions": {
                    "python": platform.python_version(),
                    **{name: importlib.metadata.version(name) for name in ("numpy", "pillow", "scikit-image")},
                    "opencv": importlib.metadata.version("opencv-python-headless"),
                },
                "settings": {
                    "half": chosen.half, "size": SIZE, "photographs": len(whole),
                    "pieces": len(clean), "seconds": round(time.perf_counter() - start, 1),
                },
                "results": rows,
            },
        )  # fmt: skip
    return 0 if within_bounds(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
