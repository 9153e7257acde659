import pytest

from lib_lora_train.errors import UserError
from lib_lora_train.settings import RunSettings
from lib_lora_train.train.output import Output


def test_names_are_kohyas(tmp_path):
    output = Output.from_settings(RunSettings(output_dir=str(tmp_path), output_name="ada"))
    assert output.epoch_file(4).name == "ada-000004.safetensors"
    assert output.step_file(120).name == "ada-step00000120.safetensors"
    assert output.final_file(10).name == "ada.safetensors"


def test_a_project_numbers_the_last_one_too(tmp_path):
    output = Output(loras=tmp_path, run=tmp_path, name="ada-r02", numbered_final=True)
    assert output.final_file(10).name == "ada-r02-000010.safetensors"
    # One that ends within an epoch does not take the file of the last whole one.
    assert output.final_file(10, 123).name == "ada-r02-step00000123.safetensors"


@pytest.mark.parametrize("taken", ["ada.safetensors", "ada-000004.safetensors", "ada-step00000120.safetensors"])
def test_a_taken_name_is_refused(tmp_path, taken):
    (tmp_path / taken).touch()
    with pytest.raises(UserError) as error:
        Output(loras=tmp_path, run=tmp_path, name="ada").refuse_to_overwrite()
    assert taken in error.value.sentence()


@pytest.mark.parametrize(
    "other", ["adam.safetensors", "ada-lovelace.safetensors", "ada-r02-000010.safetensors", "ada.png"]
)
def test_other_names_do_not_matter(tmp_path, other):
    (tmp_path / other).touch()
    Output(loras=tmp_path, run=tmp_path, name="ada").refuse_to_overwrite()


@pytest.mark.parametrize("name", ["a/b", "con", "x:y", "name.", ""])
def test_names_that_some_system_refuses(tmp_path, name):
    with pytest.raises(UserError) as error:
        Output.from_settings(RunSettings(output_dir=str(tmp_path), output_name=name))
    assert error.value.where == "output_name"
