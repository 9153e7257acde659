import pytest
from PIL import Image

from lib_lora_train.errors import UserError
from lib_lora_train.host.base import Generated
from lib_lora_train.settings import DatasetSettings, RunSettings, TrainSettings
from lib_lora_train.train.sampling import draw_samples, read_sample_prompts


def prompts(text, **run):
    settings = TrainSettings(dataset=DatasetSettings(resolution="512,768"), run=RunSettings(sample_prompts=text, **run))
    return read_sample_prompts(settings)


def test_plain_lines_take_size_seed_and_guidance_from_the_run():
    first, second = prompts("1girl, smile\n# not this\n\n1girl", seed=7, sample_cfg=2.5, sample_steps=12)
    assert (first.prompt, first.width, first.height, first.seed) == ("1girl, smile", 512, 768, 7)
    assert (second.seed, second.cfg_scale, second.steps, second.negative_prompt) == (8, 2.5, 12, "")


def test_kohyas_flags():
    (found,) = prompts("ada, smile --n low quality, bad --w 640 --h 388 --d 5 --s 30 --l 6.5")
    assert (found.prompt, found.negative_prompt) == ("ada, smile", "low quality, bad")
    assert (found.width, found.height, found.seed, found.steps, found.cfg_scale) == (640, 384, 5, 30, 6.5)


def test_from_a_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeff雪, smile\n", encoding="utf-8")
    assert prompts(str(path))[0].prompt == "雪, smile"
    assert prompts("") == []


@pytest.mark.parametrize("line", ["x --w wide", "x --w 10", "x --s 1000", "x --z 3", "x --h 99999999999"])
def test_a_flag_that_cannot_be_is_named(line):
    with pytest.raises(UserError) as error:
        prompts(line)
    assert error.value.where == "sample_prompts" and line in error.value.sentence()


def test_a_file_that_is_not_there():
    with pytest.raises(UserError) as error:
        prompts("nowhere/prompts.txt")
    assert error.value.code == "train.sample_file"


class CancellingSession:
    """Draws in a colour made from the seed; the pictures at `cancelled` are left out."""

    def __init__(self, *cancelled):
        self.cancelled = cancelled

    def generate(self, requests, network=None):
        return [
            Generated(Image.new("RGB", (8, 8), (request.seed, 0, 0)), f"seed {request.seed}", request)
            for number, request in enumerate(requests)
            if number not in self.cancelled
        ]


@pytest.mark.parametrize("cancelled", [(), (0,), (1,), (0, 2), (0, 1, 2, 3)])
def test_a_file_has_the_number_of_its_prompt_also_when_others_were_cancelled(tmp_path, cancelled):
    found = prompts("a\nb\nb --d 21\nc", seed=20)  # the second and third ask for the same picture
    events = []
    draw_samples(CancellingSession(*cancelled), None, found, 1, tmp_path, 7, events.append)
    expected = [number for number in range(4) if number not in cancelled]
    seeds = [Image.open(event.path).getpixel((0, 0))[0] for event in events]
    assert seeds == [(20, 21, 21, 23)[number] for number in expected]
    assert [event.seed for event in events] == seeds
    if cancelled != (1,):  # else nobody can tell which of the two is missing
        assert [event.path.name for event in events] == [f"00000007-{number:02d}.png" for number in expected]
    assert {path.name for path in tmp_path.iterdir()} == {event.path.name for event in events}
