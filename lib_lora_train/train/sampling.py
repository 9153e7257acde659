"""Sample pictures in the middle of a run, so that one sees what is learned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lib_lora_train.errors import UserError
from lib_lora_train.files import atomic_path
from lib_lora_train.host.base import GenerateRequest, Session, places
from lib_lora_train.network.network import AdapterNetwork
from lib_lora_train.settings import TrainSettings
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.signals import EventSink, Sampled

_FLAG = re.compile(r"\s--(?P<name>[a-z]+)\s+(?P<value>.*?)(?=\s--[a-z]+\s|$)")
_MAX_PROMPTS = 64


@dataclass(frozen=True)
class SamplePrompt:
    """One line of the prompts: the text, and kohya's flags --n --w --h --d --s --l (negative, size, seed, steps, guidance)."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    seed: int
    steps: int
    cfg_scale: float

    def request(self, clip_skip: int) -> GenerateRequest:
        return GenerateRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=self.width,
            height=self.height,
            steps=self.steps,
            cfg_scale=self.cfg_scale,
            seed=self.seed,
            clip_skip=clip_skip,
        )


def read_sample_prompts(settings: TrainSettings) -> list[SamplePrompt]:
    """The prompts of `sample_prompts`: a text file's lines, or the text's own. Lines that start with # are left out.

    Raises UserError("train.sample_prompt") for a flag without a proper value, "train.sample_file" for a file that
    cannot be read.
    """
    text = settings.run.sample_prompts
    if "\n" not in text and text.lower().endswith(".txt"):
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError("train.sample_file", "sample_prompts", file=Path(text).name) from error
    lines = [line.strip() for line in text.splitlines()]
    chosen = [line for line in lines if line and not line.startswith("#")]
    return [_parse(line, number, settings) for number, line in enumerate(chosen[:_MAX_PROMPTS])]


def _parse(line: str, number: int, settings: TrainSettings) -> SamplePrompt:
    flags = {match["name"]: match["value"].strip() for match in _FLAG.finditer(line)}
    prompt = _FLAG.sub("", line).strip()
    width, height = parse_resolution(settings.dataset.resolution)
    try:
        found = SamplePrompt(
            prompt=prompt,
            negative_prompt=flags.pop("n", ""),
            width=int(flags.pop("w", width)) // 8 * 8,
            height=int(flags.pop("h", height)) // 8 * 8,
            seed=int(flags.pop("d", settings.run.seed + number)),
            steps=int(flags.pop("s", settings.run.sample_steps)),
            cfg_scale=float(flags.pop("l", settings.run.sample_cfg)),
        )
    except ValueError as error:
        raise UserError("train.sample_prompt", "sample_prompts", line=line) from error
    sane = 64 <= found.width <= 4096 and 64 <= found.height <= 4096 and 1 <= found.steps <= 200
    if flags or not sane:
        raise UserError("train.sample_prompt", "sample_prompts", line=line)
    return found


def draw_samples(
    session: Session,
    network: AdapterNetwork,
    prompts: list[SamplePrompt],
    clip_skip: int,
    folder: Path,
    step: int,
    events: EventSink,
) -> None:
    """Draws every prompt with the adapter as it stands and writes `<step>-<number>.png` with its infotext.

    The number is the prompt's place from 0, also when a picture before it was cancelled and is missing.
    """
    requests = [prompt.request(clip_skip) for prompt in prompts]
    drawn = session.generate(requests, network=network)
    for number, picture in zip(places(requests, drawn), drawn, strict=True):
        path = folder / f"{step:08d}-{number:02d}.png"
        save_png(path, picture.image, picture.infotext)
        events(Sampled(path=path, step=step, prompt=picture.request.prompt, seed=picture.request.seed))


def save_png(path: Path, image, infotext: str) -> None:
    """Atomic PNG with the text that reproduces it where the WebUI looks for it. Raises UserError("file.write")."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", infotext)
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)
