"""A grid as the WebUI's own script "X/Y/Z plot" would write it down, so that it can be drawn again there.

Pasted into txt2img, the text sets prompt, parameters and the script: X replaces the file's name, Y the weight, by
"Prompt S/R", whose first value is what is searched for.
"""

from __future__ import annotations

import csv
import io
import json

from lib_lora_train.preview.grids import Grid

_SEARCH = "Prompt S/R"


def plot_text(grid: Grid, prompt: int = 0, base: int = 0) -> str:
    """The infotext of the plot of one prompt on one checkpoint, files across and weights down, weight 0 included."""
    drawing = grid.drawing
    names = [column.path.stem for column in grid.columns]
    weights = [f":{weight:g}>" for weight in grid.weights]
    text = f"{grid.prompts[prompt].text} <lora:{names[0]}{weights[0]}".strip()
    parameters: list[tuple[str, object]] = [
        ("Steps", drawing.steps),
        ("Sampler", drawing.sampler),
        ("CFG scale", f"{drawing.cfg_scale:g}"),
        ("Seed", grid.seeds[0]),
        ("Size", f"{drawing.width}x{drawing.height}"),
        ("Model", grid.bases[base].name),
    ]
    if drawing.clip_skip > 1:
        parameters.append(("Clip skip", drawing.clip_skip))
    parameters += [("Script", "X/Y/Z plot"), ("X Type", _SEARCH), ("X Values", _row(names))]
    parameters += [("Y Type", _SEARCH), ("Y Values", _row(weights))]
    if len(grid.seeds) > 1:
        parameters += [("Z Type", "Seed"), ("Z Values", ", ".join(map(str, grid.seeds)))]
    last = ", ".join(f"{name}: {_quoted(str(value))}" for name, value in parameters)
    negative = [f"Negative prompt: {drawing.negative_prompt}"] if drawing.negative_prompt else []
    return "\n".join([text, *negative, last])


def _row(values: list[str]) -> str:
    """As the script reads it: one line of comma-separated values."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(values)
    return buffer.getvalue()


def _quoted(text: str) -> str:
    """As the WebUI quotes values in its infotexts."""
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text
