"""What preparing pictures costs: tagging beside the bare model, the health check, and memory by number of pictures.

    python -m benchmarks.prepare --work DIR --out FILE [--parts tag health memory] [--threads N] [--rounds N]

- tag: pictures per second through `Tagger.stream` (open, decode, prepare, infer) against an onnxruntime session of the
  same graph that is fed with ready arrays, in turn, in the same process, with the same number of threads on the same
  cores. The graph costs what WD-ViT costs (`vit.py`); its weights are random.
- health: seconds for the health check of 50 photographs of 12 megapixels (JPEG), as `check` does it.
- memory: highest resident memory of a process that checks, crops or tags 20 pictures, and 200. Linux only.

The photographs are made of those that scikit-image ships: enlarged, mirrored into a larger picture, with grain.
Exit code 1 when tagging takes more than 1.1 times what the bare session takes, the check 15 s or more, or memory grows
by more than a tenth.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.vit import Vit, write_tagger
from lib_lora_train.dataset.images import open_image
from lib_lora_train.files import write_json

PARTS = ("tag", "health", "memory")
MOST_RATIO, MOST_SECONDS, MOST_GROWTH = 1.1, 15.0, 0.1
TAGGED, TAGGED_SIDE = 8, 1024
CHECKED, CHECKED_SIZE = 50, (4000, 3000)
FEW, MANY = 20, 200
SMALL = Vit(patch=64, width=96, layers=2, heads=3, tags=500)  # memory of pictures is looked for, not of weights
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg")


# ---------------------------------------------------------------------- pictures


def photograph(number: int, size: tuple[int, int]) -> Image.Image:
    """One of the shipped photographs, twice as large, mirrored until it fills `size`, with grain; each `number` differs."""
    import skimage

    random = np.random.default_rng(number)
    shipped = Path(skimage.__file__).with_name("data") / SOURCES[number % len(SOURCES)]
    source = Image.open(shipped).convert("RGB")
    source = source.resize((source.width * 2, source.height * 2), Image.Resampling.LANCZOS)
    pixels = np.asarray(source)
    pixels = np.concatenate([pixels, pixels[::-1]])
    pixels = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    width, height = size
    shift = random.integers(0, 200, 2)
    repeats = -(-(height + 200) // pixels.shape[0]), -(-(width + 200) // pixels.shape[1])
    pixels = np.tile(pixels, (*repeats, 1))[shift[0] : shift[0] + height, shift[1] : shift[1] + width]
    grain = random.normal(0, 3, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(pixels * random.uniform(0.8, 1.1) + grain, 0, 255).astype(np.uint8))


def _write(path: Path, number: int, size: tuple[int, int]) -> None:
    if not path.is_file():
        photograph(number, size).save(path, quality=90)


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """`count` JPEGs; those that are there from an earlier run stay."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.jpg" for number in range(count)]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_write, paths, range(count), [size] * count))
    return paths


# ---------------------------------------------------------------------- tagging


def opener(path: Path) -> Image.Image:
    return open_image(path).image


def measure_tag(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds per picture of both sides, in turn, and the ratio of the shortest: what else runs only makes it longer."""
    import onnxruntime

    from lib_lora_train.vision.tagger import Tagger, prepared

    folder = options.work / "wd-vit"
    if not (folder / "selected_tags.csv").is_file():
        write_tagger(folder)
    paths = write_photographs(options.work / "tagged", TAGGED, (TAGGED_SIDE, TAGGED_SIDE))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"])
    name, side = session.get_inputs()[0].name, Vit().side
    ready = np.stack([prepared(opener(path), side)[:, :, ::-1] for path in paths]).astype(np.float32)

    def bare(batch: int) -> None:
        for start in range(0, len(ready), batch):
            session.run(None, {name: ready[start : start + batch]})

    with Tagger(folder, provider="cpu", threads=options.threads) as tagger:

        def ours() -> None:
            for _, answer in tagger.stream((path, partial(opener, path)) for path in paths):
                if not isinstance(answer, np.ndarray):
                    raise SystemExit(f"not tagged: {answer}")

        bare(1), ours()  # which warms both up
        batches = {batch: timed(partial(bare, batch))[0] for batch in (1, 2, 4, 8)}
        best = min(batches, key=batches.__getitem__)
        rounds: list[dict[str, tuple[float, float]]] = []
        for turn in range(options.rounds):
            sides: list[tuple[str, Callable[[], None]]] = [("bare", partial(bare, best)), ("ours", ours)]
            rounds.append({side: timed(run) for side, run in (sides if turn % 2 == 0 else reversed(sides))})
            print(f"tag {turn + 1}/{options.rounds}: {rounds[-1]}", flush=True)
    shortest = {side: min(one[side][0] for one in rounds) for side in ("bare", "ours")}
    computing = {side: min(one[side][1] for one in rounds) for side in ("bare", "ours")}
    return {
        "pictures": TAGGED,
        "px": TAGGED_SIDE,
        "teraflops_per_picture": round(Vit().flops() / 1e12, 4),
        "bare_batch": best,
        "bare_by_batch": {str(batch): round(found / TAGGED, 4) for batch, found in batches.items()},
        "bare_seconds_per_picture": round(shortest["bare"] / TAGGED, 4),
        "ours_seconds_per_picture": round(shortest["ours"] / TAGGED, 4),
        "bare_gigaflops_per_second": round(Vit().flops() * TAGGED / 1e9 / shortest["bare"], 1),
        "ratios": [round(one["ours"][0] / one["bare"][0], 4) for one in rounds],
        "cpu_ratio": round(computing["ours"] / computing["bare"], 4),
        "ratio": round(shortest["ours"] / shortest["bare"], 4),
    }


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of computing on all cores."""
    began, computed = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began, time.process_time() - computed


# ---------------------------------------------------------------------- the work itself, in a process of its own


def work_check(folder: Path, scratch: Path) -> dict[str, Any]:
    """The health check of pictures nobody has looked at yet, with its report: what `check DIR` does."""
    from lib_lora_train.prepare.bench import Steps
    from lib_lora_train.prepare.tables import PrepareSettings

    settings = PrepareSettings()
    began = time.perf_counter()
    passing = _passing(folder, scratch, settings)
    passing.look(Steps(check=settings), rendering=False)
    report = passing.report(Steps(check=settings))
    return {"seconds": time.perf_counter() - began, "score": report.score, "findings": len(report.findings)}


def work_crop(folder: Path, scratch: Path) -> dict[str, Any]:
    """Crops around the focal point, cut out and written."""
    from lib_lora_train.prepare.bench import Steps
    from lib_lora_train.prepare.tables import CropSettings, PrepareSettings

    settings = PrepareSettings(crop=CropSettings(crop="size"))
    began = time.perf_counter()
    passing = _passing(folder, scratch, settings)
    passing.look(Steps(crop=settings), rendering=True)
    return {"seconds": time.perf_counter() - began, "crops": len(passing.contents(Steps(crop=settings)))}


def _passing(folder: Path, scratch: Path, settings: Any) -> Any:
    from lib_lora_train.prepare.folder_pass import FolderPass
    from lib_lora_train.prepare.folders import find_pictures
    from lib_lora_train.prepare.tools import Tools
    from lib_lora_train.vision.store import ModelStore

    tools = Tools(ModelStore(scratch / "models", offline=True), downloads=False)
    return FolderPass(find_pictures(str(folder), "DIR"), scratch / "kept", tools, settings)


def work_tag(folder: Path, scratch: Path) -> dict[str, Any]:
    """Tags by a tagger with a small graph; each picture ten times, so that batches come to their full size with few too."""
    from lib_lora_train.vision.tagger import Tagger

    paths = sorted(folder.glob("*.jpg")) * 10
    began = time.perf_counter()
    with Tagger(write_tagger(scratch / "small", SMALL), provider="cpu") as tagger:
        count = sum(1 for _ in tagger.stream((path, partial(opener, path)) for path in paths))
    return {"seconds": time.perf_counter() - began, "tagged": count}


WORK = {"check": work_check, "crop": work_crop, "tag": work_tag}


def peak() -> int:
    """Highest resident memory of this process so far, in bytes; unlike rusage it begins anew with the program."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the system does not say how much memory was used")


def in_process(step: str, folder: Path, scratch: Path) -> dict[str, Any]:
    """One of `WORK` on the pictures of a folder, in a fresh process: what it returns, and its peak."""
    command = [sys.executable, "-m", "benchmarks.prepare", "--do", step, str(folder), str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def do(step: str, folder: str, scratch: str) -> int:
    """What `in_process` starts."""
    found = WORK[step](Path(folder), Path(scratch))
    print(json.dumps(found | {"cpu_seconds": time.process_time(), "peak": peak()}))
    return 0


def scratches(options: argparse.Namespace) -> Iterator[Path]:
    """Folders that were not there before, so that nothing is known of any picture."""
    import tempfile

    while True:
        with tempfile.TemporaryDirectory(dir=options.work) as name:
            yield Path(name)


# ---------------------------------------------------------------------- health and memory


def measure_health(options: argparse.Namespace) -> dict[str, Any]:
    folder = options.work / "checked"
    write_photographs(folder, CHECKED, CHECKED_SIZE)
    fresh = scratches(options)
    rounds = [in_process("check", folder, next(fresh)) for _ in range(options.rounds)]
    fresh.close()
    for found in rounds:
        print(f"health: {found}", flush=True)
    return {
        "pictures": CHECKED,
        "px": list(CHECKED_SIZE),
        "megabytes": round(sum(path.stat().st_size for path in folder.glob("*.jpg")) / 1e6),
        "score": rounds[0]["score"],
        "findings": rounds[0]["findings"],
        "all_seconds": [round(found["seconds"], 2) for found in rounds],
        "seconds": round(min(found["seconds"] for found in rounds), 2),
        "cpu_seconds": round(min(found["cpu_seconds"] for found in rounds), 2),
        "peak_megabytes": round(max(found["peak"] for found in rounds) / 1e6),
    }


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    folders = [options.work / f"counted-{count}" for count in (FEW, MANY)]
    for folder, count in zip(folders, (FEW, MANY), strict=True):
        write_photographs(folder, count, (TAGGED_SIDE, TAGGED_SIDE))
    result: dict[str, Any] = {"few": FEW, "many": MANY, "px": TAGGED_SIDE}
    fresh = scratches(options)
    for step in WORK:
        few, many = (in_process(step, folder, next(fresh))["peak"] for folder in folders)
        result[step] = {
            "few_megabytes": round(few / 1e6, 1),
            "many_megabytes": round(many / 1e6, 1),
            "growth": round(many / few - 1, 4),
        }
        print(f"memory, {step}: {result[step]}", flush=True)
    fresh.close()
    return result


def versions() -> dict[str, str]:
    names = ("numpy", "pillow", "onnx", "onnxruntime", "opencv-python-headless", "scikit-image")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def holds(part: str, found: dict[str, Any]) -> bool:
    if part == "tag":
        return found["ratio"] <= MOST_RATIO
    if part == "health":
        return found["seconds"] < MOST_SECONDS
    return all(found[step]["growth"] <= MOST_GROWTH for step in WORK)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--do", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(words)
    if options.do:
        return do(*options.do)
    if options.work is None or options.out is None:
        parser.error("--work and --out are needed")
    options.work.mkdir(parents=True, exist_ok=True)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    measures = {"tag": measure_tag, "health": measure_health, "memory": measure_memory}
    good = True
    for part in options.parts:
        machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
        before = {"threads": options.threads, "load_before": round(os.getloadavg()[0], 1)}
        found = measures[part](options)
        results[part] = found | {"machine": machine | before, "versions": versions()}
        write_json(options.out, results)
        good &= holds(part, found)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
