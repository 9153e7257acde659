import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.settings import DatasetSettings, RunSettings, TrainSettings
from lib_lora_train.train.sampling import read_sample_prompts


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
