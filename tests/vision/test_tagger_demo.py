"""The demo's own tagger on the demo's drawings, through the whole path."""

from __future__ import annotations

import random
from pathlib import Path

from demo.attributes import sample, tags
from demo.draw import draw
from lib_lora_train.prepare.guesses import GuessStore
from lib_lora_train.prepare.looking import Picture, TaggerSource, tag_pictures
from lib_lora_train.prepare.tables import TagSettings
from lib_lora_train.prepare.tagging import TagChooser
from lib_lora_train.vision.tagger import Tagger

FOLDER = Path(__file__).parents[2] / "demo" / "tagger"


def drawings(count: int = 60):
    rng = random.Random(77)
    portraits = [sample(rng) for _ in range(count)]
    return [draw(portrait, rng).image for portrait in portraits], [{*tags(portrait), "1girl"} for portrait in portraits]


def f1(found: list[set[str]], wanted: list[set[str]]) -> float:
    right = sum(len(seen & there) for seen, there in zip(found, wanted, strict=True))
    return 2 * right / (sum(map(len, found)) + sum(map(len, wanted)))


def test_probabilities() -> None:
    """Over all tags of 60 drawings, at the usual threshold."""
    images, wanted = drawings()
    with Tagger(FOLDER) as tagger:
        rows = [
            row for _, row in tagger.stream((number, lambda image=image: image) for number, image in enumerate(images))
        ]
        general = [place for place, kind in enumerate(tagger.categories) if kind == 0]
        found = [{tagger.tags[place] for place in general if row[place] >= 0.35} for row in rows]
    assert f1(found, wanted) > 0.9


def test_captions(tmp_path: Path) -> None:
    """Looked at once, kept, and chosen by the default settings."""
    images, wanted = drawings(20)
    store = GuessStore(tmp_path)
    source = TaggerSource("demo", FOLDER)
    looked = tag_pictures(
        [Picture(str(n), str(n), lambda image=image: image) for n, image in enumerate(images)], [source], store
    )
    assert looked.new == 20
    chooser = TagChooser(TagSettings())
    seen = map(GuessStore(tmp_path).reader(store.key_of("demo")), map(str, range(20)))
    found = [set(chooser.choose([each])) for each in seen if each is not None]
    assert f1(found, wanted) > 0.9
