"""Captions proposed from prompts as people write them, and from anything else."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib_lora_train.collection.limits import MAX_CAPTION_BYTES
from lib_lora_train.collection.proposals import MAX_PROMPT, propose_caption

LONG = ", ".join(f"(thing number {number}:1.{number % 10})" for number in range(110))
PROMPTS = {
    # Brackets and weights.
    "(detailed eyes:1.2), ((red hair)), [[blurry]], {smile}": "detailed eyes, red hair, blurry, smile",
    "portrait of (a (young:1.2) woman:1.1), looking back": "portrait of a young woman, looking back",
    "(1girl, solo:1.3), (long hair : 1.05)": "1girl, solo, long hair",
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": "a house on a hill, sun, sky.",
    "hatsune miku \\(vocaloid\\), (asuka \\(eva\\):1.2)": "hatsune miku (vocaloid), asuka (eva)",
    "jinx \\(league of legends\\) \\[alt\\], c:\\\\temp": "jinx (league of legends) [alt], c:\\temp",
    "smile, :), ;), ^_^, :d, >:)": "smile, :), ;), ^_^, :d, >:)",
    "smile:1.2, (hat):1.1, ratio 16:9": "smile, hat, ratio 16:9",
    "a (never closed, b": "a never closed, b",
    "never opened) b, [c)": "never opened) b, c)",
    "a (b [c) d": "a b c d",
    "(nothing:0), ugly:-1, (less:-0.5), some": "ugly:-1, some",
    "a \\": "a",
    # Schedules, turns, regions.
    "fantasy with a [mountain:lake:0.25] and [an oak:0.75][ in foreground::0.6]": "fantasy with a lake and an oak in foreground",
    "[[cat:dog:0.3]:(big wolf:1.2):0.6] running": "big wolf running",
    "[cow|horse] in a field, [fe|]male": "cow horse in a field, female",
    "[not a schedule: no number]": "not a schedule: no number",
    "a cat :1.2 AND a dog:0.8 AND blood :-1 AND a bird": "a cat, a dog, a bird",
    "a cat AND(a dog:1)": "a cat, a dog",
    "red dress BREAK blue sky,\nBREAK\ngreen grass": "red dress, blue sky, green grass",
    "2girls ADDCOMM left girl ADDCOL right girl": "2girls, left girl, right girl",
    "SAND, BREAKFAST, ANDROID": "SAND, BREAKFAST, ANDROID",
    # LoRA, wildcards, embeddings.
    "1girl <lora:add_detail:0.7>, <lyco:x:1:2>,<hypernet:h:1>, solo<lora:a, b:1>": "1girl, solo",
    "<lora:Some Name v1.0 (beta):0.8:lbw=MIDD> 1girl": "1girl",
    "1girl, <lora:never closed, solo": "1girl, solo",
    "<lo<lora:x:1>ra:y:1>1girl": "1girl",
    "<lora\\:x:1> a": "a",
    "1girl <3, >_<, <o>": "1girl <3, >_<, <o>",
    "__hair/colors__ hair, __eyes__, a_b, __": "hair, a_b, __",
    "{red|blue|} dress, {2$$a}": "red, blue dress, 2$$a",
    "my_style-v2, EasyPositive, 1girl": "my_style-v2, EasyPositive, 1girl",
    # Words of quality.
    "masterpiece, best quality, 1girl, 8k, uhd": "1girl",
    "(masterpiece:1.2), ((best quality)), (ultra-detailed), girl": "girl",
    "(masterpiece, best quality, highres:1.3), girl": "girl",
    "masterpiece best quality highres, girl": "girl",
    "score_9, score_8_up, score_7_up,score_6_up, source_anime,1girl": "source_anime, 1girl",
    "score_9,1girl": "1girl",
    "Masterpiece, BEST QUALITY, Extremely detailed CG unity 8k wallpaper, girl": "girl",
    "absurdres, highres, very aesthetic, newest, girl": "girl",
    "RAW photo, (high detailed skin:1.2), 8k uhd, dslr, soft lighting": "high detailed skin, dslr, soft lighting",
    "a masterpiece of engineering, detailed background": "a masterpiece of engineering, detailed background",
    "best_quality, very_aesthetic, red_hair": "red_hair",
    "masterpiece": "",
    # Commas, lines, spaces.
    ",, girl ,,  red   hair , ,": "girl, red hair",
    "girl,\nred hair\r\nsmile\n\n\nhat,": "girl, red hair, smile, hat",
    "A woman in a hat.\nShe smiles, in the sun.\n": "A woman in a hat. She smiles, in the sun.",
    "girl, Girl, red hair, GIRL, red  hair": "girl, red hair",
    "一个女孩，红发，<lora:x:1>，杰作": "一个女孩, 红发, 杰作",
    "girl\x00\x07, \ud800smile": "girl, smile",
    "": "",
    " \n, ": "",
    LONG: ", ".join(f"thing number {number}" for number in range(110)),
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_as_people_write_them(prompt: str) -> None:
    assert propose_caption(prompt) == PROMPTS[prompt]


def test_the_long_one_is_long() -> None:
    assert 2500 < len(LONG) < 4000


@pytest.mark.parametrize(
    ("trigger", "caption"),
    [
        ("zuna", "zuna, girl, red hair"),
        ("Red  Hair", "Red Hair, girl"),
        ("zuna, zuna outfit ,", "zuna, zuna outfit, girl, red hair"),
        ("8k", "8k, girl, red hair"),
        ("zuna (me:1.2)", "zuna (me:1.2), girl, red hair"),
        (" ", "girl, red hair"),
        ("\x00zuna\ud800", "zuna, girl, red hair"),
    ],
)
def test_the_trigger_word_comes_first(trigger: str, caption: str) -> None:
    assert propose_caption("masterpiece, girl, (red hair:1.2)", trigger) == caption


def escaped(caption: str) -> str:
    """The prompt that says nothing but `caption`."""
    return re.sub(r"([\\()\[\]{}])", r"\\\1", caption)


WORDS = r"( ) [ ] { } \ : | < > , ， . 1.2 0 -1 _ __ AND BREAK <lora:x:1> <lora: lora: ra: <lo score_9 girl 8k é 女"
PIECES = st.sampled_from([*WORDS.split(), "\n", " ", "best quality"])
PROMPT = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200)


@given(PROMPT, st.sampled_from(["", "zuna", "zuna, girl", "8k"]))
@example("\\<lora\\:x:1>", "")
@example("A{N}D", "")
@example("a:1.2:.3", "")
def test_whatever_the_prompt(prompt: str, trigger: str) -> None:
    caption = propose_caption(prompt, trigger)
    assert "<lora:" not in caption.lower() and "\n" not in caption and "\x00" not in caption
    assert caption == caption.strip(" ,") and "  " not in caption and ", ," not in caption
    caption.encode("utf-8")
    tags = caption.split(", ")
    assert len(tags) == len(set(tags))
    assert not trigger or tags[0] == trigger.split(",")[0]
    # A caption says only itself.
    assert propose_caption(escaped(caption), trigger) == caption
    if not re.search(r"\\|[(\[{]", caption):
        assert propose_caption(caption, trigger) == caption


@pytest.mark.parametrize("piece", ["(", ")", "(a", "[a|", "<lo", ":>", "__a", "a:", "a AND ", "1:.1", "masterpiece ", "<lora:x:1>", "\\", " ", "女"])  # fmt: skip
def test_no_prompt_takes_long(piece: str) -> None:
    start = time.perf_counter()
    caption = propose_caption(piece * 100_000)
    assert time.perf_counter() - start < 2
    assert len(caption.encode()) < MAX_CAPTION_BYTES
    assert propose_caption("x" * MAX_PROMPT + "y", "") == "x" * MAX_PROMPT
