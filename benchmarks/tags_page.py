"""How smoothly the Tags sub-tab scrolls through many pictures, and how many nodes it holds meanwhile.

    python -m benchmarks.tags_page [--pictures 1000] [--out tags_page.json]

A real server, Chromium without a graphics card, a window of 1280 x 900 px. The gallery is scrolled from one end to the
other in steps of a third of its height, one for each frame; a frame's time is what the browser's own clock says between
two of them. 16.7 ms is a full 60 frames in a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from playwright.sync_api import Page, sync_playwright

from demo.character import training_set
from tests.helpers.serving import Server
from tests.helpers.tab import new_tab

MOST_NODES = 300
WIDTH, HEIGHT = 1280, 900
SCROLL = """(selector) => new Promise((resolve) => {
    const box = document.querySelector(selector);
    const nodes = () => document.querySelectorAll(".lora_train_tile, .lora_train_tag_chip").length;
    const [times, counts] = [[], []];
    let last = 0;
    box.scrollTop = 0;
    const step = (now) => {
        if (last) times.push(now - last);
        last = now;
        counts.push(nodes());
        const before = box.scrollTop;
        box.scrollTop += box.clientHeight / 3;
        if (box.scrollTop > before && times.length < 600) requestAnimationFrame(step);
        else resolve({times, nodes: Math.max(...counts)});
    };
    requestAnimationFrame(step);
})"""


def fill(server: Server, count: int) -> str:
    """A project of so many pictures, each with twelve tags."""
    rest = server.rest()
    project = rest.new_project("Frames", "qxz")
    rest.add_pictures(project, training_set(n=1))
    [folder] = (path for path in (server.data / "projects" / project / "dataset").iterdir() if path.is_dir())
    for number in range(2, count + 1):
        shutil.copyfile(folder / "001.png", folder / f"{number:05d}.png")
        tags = ["qxz", *(f"tag {(number * step) % 400}" for step in range(1, 12))]
        (folder / f"{number:05d}.txt").write_text(", ".join(tags), encoding="utf-8")
    return project


def frames(page: Page, selector: str) -> dict[str, Any]:
    """Milliseconds between two frames, and the most tiles and chips that the page held."""
    page.evaluate(SCROLL, selector)  # thumbnails are made and loaded
    page.wait_for_timeout(1500)
    seen = page.evaluate(SCROLL, selector)
    times = seen["times"]
    return {
        "frames": len(times),
        "median_ms": round(median(times), 1),
        "p95_ms": round(quantiles(times, n=20)[-1], 1),
        "worst_ms": round(max(times), 1),
        "nodes": seen["nodes"],
    }


def measure(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as data, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        server = Server(Path(data) / "data").start()
        project = fill(server, count)
        tab = new_tab(browser, server.address, viewport={"width": WIDTH, "height": HEIGHT}).open()
        tab.select_project(project)
        tab.tab("tags")
        tab.page.locator(".lora_train_tagging_gallery img[src]").first.wait_for()
        tab.page.wait_for_timeout(1500)
        found = {
            "gallery": frames(tab.page, ".lora_train_tagging_gallery"),
            "tags": frames(tab.page, ".lora_train_frequency_list"),
        }
        version = browser.version
        tab.close()
        server.stop()
        browser.close()
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "load": round(os.getloadavg()[0], 1),  # of the last minute: other programs take frames, too
        "python": platform.python_version(),
        "chromium": version,
        "pictures": count,
        "frames": found,
        "most_nodes": MOST_NODES,
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(words)
    found = measure(args.pictures)
    text = json.dumps(found, indent=2) + "\n"
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if all(one["nodes"] <= MOST_NODES for one in found["frames"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
