"""Buckets and crops: sd-scripts' tables, pinned, and the properties that hold for every picture."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.dataset.buckets import (
    CropPlan,
    bucket_limits,
    bucket_list,
    plan_crop,
)
from lib_lora_train.errors import UserError
from lib_lora_train.settings.reading import parse_resolution
from lib_lora_train.settings.tables import DatasetSettings

# From sd-scripts 48d368f: model_util.make_bucket_resolutions and train_util.BucketManager.
BUCKETS_512 = (
    (256, 832), (256, 896), (256, 960), (256, 1024), (320, 704), (320, 768), (384, 640), (448, 576), (512, 512),
    (576, 448), (640, 384), (704, 320), (768, 320), (832, 256), (896, 256), (960, 256), (1024, 256),
)  # fmt: skip


def test_list_of_512():
    assert bucket_list(DatasetSettings(resolution="512")) == BUCKETS_512


@pytest.mark.parametrize(
    ("resolution", "largest", "count", "digest"),
    [
        ("512", 1024, 17, "a7b98831dc2cd805"),
        ("768", 1024, 19, "b5817a41edcf002f"),
        ("1024", 2048, 41, "2017d28a24181964"),
        ("512,768", 1024, 19, "2c9beef17c8741c5"),
    ],
)
def test_lists_of_other_resolutions(resolution, largest, count, digest):
    sizes = bucket_list(DatasetSettings(resolution=resolution, max_bucket_reso=largest))
    assert len(sizes) == count
    assert hashlib.sha256(repr(sizes).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("size", "no_upscale", "bucket", "resized", "corner"),
    [
        ((512, 512), False, (512, 512), (512, 512), (0, 0)),
        ((1000, 1500), False, (384, 640), (427, 640), (21, 0)),
        ((1000, 1500), True, (384, 576), (384, 576), (0, 0)),
        ((3000, 1200), False, (768, 320), (800, 320), (16, 0)),
        ((3000, 1200), True, (768, 320), (800, 320), (16, 0)),
        ((200, 1000), False, (256, 1024), (256, 1280), (0, 128)),
        ((200, 1000), True, (192, 960), (200, 1000), (4, 20)),
        ((4000, 3000), False, (576, 448), (597, 448), (10, 0)),
        ((4000, 3000), True, (512, 384), (512, 384), (0, 0)),
        ((640, 640), True, (512, 512), (512, 512), (0, 0)),
        ((1023, 517), False, (704, 320), (704, 356), (0, 18)),
        ((1023, 517), True, (576, 320), (633, 320), (28, 0)),
        ((640, 384), False, (640, 384), (640, 384), (0, 0)),
    ],
)
def test_plans_of_512(size, no_upscale, bucket, resized, corner):
    plan = plan_crop(size, DatasetSettings(bucket_no_upscale=no_upscale))
    right, bottom = corner[0] + bucket[0], corner[1] + bucket[1]
    assert plan == CropPlan(bucket, resized, (*corner, right, bottom))


def test_without_buckets_everything_has_the_resolution():
    plan = plan_crop((900, 300), DatasetSettings(resolution="512,256", enable_bucket=False))
    assert plan == CropPlan((512, 256), (768, 256), (128, 0, 640, 256))


def test_limits_give_way_to_step_and_resolution():
    assert bucket_limits(DatasetSettings(resolution="512", min_bucket_reso=300, max_bucket_reso=1000)) == (256, 1024)
    assert bucket_limits(DatasetSettings(resolution="128")) == (128, 1024)
    assert bucket_limits(DatasetSettings(resolution="1280")) == (256, 1280)
    assert bucket_list(DatasetSettings(resolution="128")) == ((128, 128),)


def test_small_pictures_without_a_bucket_are_named():
    with pytest.raises(UserError) as caught:
        plan_crop((63, 400), DatasetSettings(bucket_no_upscale=True), "a.png")
    assert (caught.value.code, caught.value.where) == ("bucket.too_small", "a.png")
    with pytest.raises(UserError):
        plan_crop((20, 60000), DatasetSettings(bucket_no_upscale=True), "a.png")


def test_sides_that_the_vae_cannot_take():
    with pytest.raises(UserError) as caught:
        bucket_list(DatasetSettings(resolution="500", enable_bucket=False))
    assert (caught.value.code, caught.value.where) == ("bucket.divisible", "resolution")
    assert plan_crop((500, 500), DatasetSettings(resolution="500")).bucket == (448, 448)
    with pytest.raises(UserError) as caught:
        bucket_list(DatasetSettings(bucket_reso_steps=20))
    assert (caught.value.code, caught.value.where) == ("bucket.divisible", "bucket_reso_steps")


SIZES = st.tuples(st.integers(64, 6000), st.integers(64, 6000))
SETTINGS = st.builds(
    DatasetSettings,
    resolution=st.sampled_from(["512", "768", "1024", "512,768", "640,512"]),
    min_bucket_reso=st.integers(64, 512),
    max_bucket_reso=st.integers(1024, 2048),
    bucket_reso_steps=st.sampled_from([32, 64]),
    bucket_no_upscale=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(SIZES, SETTINGS)
def test_every_plan(size, chosen):
    width, height = parse_resolution(chosen.resolution)
    try:
        plan = plan_crop(size, chosen)
    except UserError as error:
        assert error.code == "bucket.too_small"
        assert chosen.bucket_no_upscale
        return
    left, top, right, bottom = plan.box
    assert all(side % chosen.bucket_reso_steps == 0 and side > 0 for side in plan.bucket)
    # "Never enlarge" rounds a side up by half a pixel at most before it cuts to steps; sd-scripts does the same.
    room = 1 + 1 / min(plan.bucket) if chosen.bucket_no_upscale else 1
    assert plan.bucket[0] * plan.bucket[1] <= width * height * room
    assert (right - left, bottom - top) == plan.bucket
    assert 0 <= left <= right <= plan.resized[0]
    assert 0 <= top <= bottom <= plan.resized[1]
    assert abs(left - (plan.resized[0] - right)) <= 1
    assert abs(top - (plan.resized[1] - bottom)) <= 1
    # Scaled in shape: each side is right to within its rounding, relative to the other.
    ratio = size[0] / size[1]
    scaled_ratio = plan.resized[0] / plan.resized[1]
    assert abs(scaled_ratio / ratio - 1) <= 1.0 / min(plan.resized)
    if chosen.bucket_no_upscale:
        assert plan.resized[0] <= size[0] + 1
        assert plan.resized[1] <= size[1] + 1
    else:
        closest = min(abs(each[0] / each[1] - ratio) for each in bucket_list(chosen))
        assert abs(plan.bucket[0] / plan.bucket[1] - ratio) == closest
