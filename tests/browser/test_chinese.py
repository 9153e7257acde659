"""With a Chinese browser: a walk through all sub-tabs, a run and an error, and no English on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from playwright.sync_api import expect

from demo.character import training_set
from lib_lora_train.runs.presets import list_presets
from lib_lora_train.settings import TrainSettings, describe
from tests.helpers.serving import Server, short_settings
from tests.helpers.tab import LONG, TABS, Tab

# Names that are written so in Chinese texts too, and units.
NAMES = {
    "LoRA Train", "LoRA", "kohya", "sd-scripts", "sd-webui-train-tools", "Stable Diffusion", "WebUI", "SD1", "SD1.5",
    "SDXL", "CLIP", "U-Net", "VAE", "SNR", "Min-SNR", "min-SNR", "EXIF", "TensorBoard", "diffusers", "safetensors",
    "JSON", "TOML", "zip", "PNG", "JPEG", "WebP", "Ctrl", "Enter", "Shift", "Alpha", "alpha", "Rank", "rank", "Huber", "gamma", "sqrt", "version", "cpu", "GPU", "CPU",
    "GB", "MB", "KB", "px",
}  # fmt: skip
FILE = re.compile(
    r"[\w.\-<>\u4e00-\u9fff]+\.(?:png|txt|safetensors|json|toml|caption|ckpt|zip)\b|\.(?:txt|caption|json|toml|zip|safetensors|ckpt)\b"
)
# The trigger word, the checkpoint and the run of this test, and a tagger that another test may have brought.
OWN = ("quillon", "hana1", "demo", "r01", "1e-3", "1e-4", "demo-tagger")
ENGLISH = re.compile(r"[A-Za-z][A-Za-z']+")


def test_no_english_on_the_way(served: Server, open_tab: Callable[..., Tab]) -> None:
    rest = served.rest()
    project = rest.new_project("测试角色")
    tab = open_tab(served, locale="zh-CN")
    tab.allowed.append(r"status of 400")
    page = tab.page
    tab.select_project(project)
    seen: set[str] = set()

    def look() -> None:
        seen.update(tab.texts())

    for name in TABS:  # empty
        tab.tab(name)
        look()
    rest.add_pictures(project, [(image, "quillon, 微笑") for image, _ in training_set()[:3]])
    tab.reload()
    tab.tab("dataset")
    look()
    tab.press("new-project")
    look()
    tab.press("cancel")
    tab.press("add-concept")
    look()
    page.locator('[data-form="concept"] [data-action="cancel"]').click()
    page.locator('[data-form="import"] [name="path"]').fill("/不存在/文件夹")
    page.locator('[data-form="import"] button').click()
    expect(page.locator("#lora_train_header .lora_train_error")).to_be_visible()
    look()
    page.locator(".lora_train_tile").first.click()
    expect(page.locator('dialog [name="caption"]')).not_to_have_value("")
    look()
    page.keyboard.press("Escape")

    tab.tab("train")
    expect(page.locator("#lora_train_plan dt").first).to_be_visible()
    for accordion in page.locator("[id^=lora_train_group_]").all():
        accordion.locator("> button, > .label-wrap").first.click()
    unfold(tab)
    look()
    rank = page.locator("#lora_train_setting_network_dim input").first
    rank.fill("-3")
    page.locator("button#lora_train_train_button").click()
    expect(page.locator("#lora_train_message .lora_train_error")).to_be_visible()
    look()

    run = rest.start(
        project, short_settings(max_train_epochs=40, sample_prompts="quillon, 微笑", sample_every_n_epochs=20)
    )
    tab.expect_run("running", run)
    unfold(tab)
    expect(page.locator("#lora_train_live .lora_train_stage")).to_contain_text(re.compile(r"\d"), timeout=LONG)
    look()
    tab.press("stop-and-save")
    tab.expect_run("stopped", run)
    look()
    tab.tab("runs")
    page.locator(f'tr[data-run="{run}"] .lora_train_link').click()
    page.locator(f'[data-details="{run}"]').wait_for()
    unfold(tab)
    look()

    left = sorted({text for text in seen if english(text)})
    assert not left, "\n".join(f"{', '.join(english(text))}  in  {text!r}" for text in left)


def unfold(tab: Tab) -> None:
    """Opens everything that is folded."""
    tab.page.locator("#lora_train_root details").evaluate_all("all => all.forEach((one) => { one.open = true; })")


def english(text: str) -> list[str]:
    """Words of a text that are English and nobody's name."""
    for pattern in (FILE, known_words()):
        text = pattern.sub(" ", text)
    return ENGLISH.findall(text)


def known_words() -> re.Pattern[str]:
    """kohya's names, the values that settings are chosen from, names of presets, and names of the world."""
    items = describe(TrainSettings)
    words: set[str] = {*NAMES, *OWN, *(preset.name for preset in list_presets(Path("/nowhere")))}
    for item in items:
        words |= {
            item.name,
            *(item.kohya.split() if item.kohya else ()),
            *map(str, item.choices or ()),
            str(item.default),
        }
        words.add(f"{item.group}.{item.name}")
    return whole_words(words)


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    ordered = sorted(filter(None, words), key=len, reverse=True)
    return re.compile(rf"(?<![A-Za-z_])(?:{'|'.join(map(re.escape, ordered))})(?![A-Za-z_])")
