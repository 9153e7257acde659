"""A cell goes to txt2img: into a page with the WebUI's prompt, its button that reads parameters, and its tabs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.javascript.conftest import new_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PROMPT = 'zuna, "a", <b>bold</b>, 小猫 <lora:Best:0.8>'
PASTE = f"{PROMPT}\nNegative prompt: bad\nSteps: 3, Sampler: DDIM, Seed: 7, Size: 64x64"
TOLD: dict[str, Any] = {
    "prompt": PROMPT.replace("Best", "Zuna-r01-000002"), "infotext": PASTE.replace("Best", "Zuna-r01-000002"),
    "paste": PASTE, "usable": "Best", "lora": "Zuna-r01-000002", "checkpoint": "demo", "seed": 7,
}  # fmt: skip
# As gradio does it: what is typed arrives a moment later, and the button reads what has arrived.
WEBUI = """({slow, deaf}) => {
    const html = `<div id="tabs"><div class="tab-nav"><button id="first">txt2img</button></div></div>
      <div id="tab_img2img"><button id="paste"></button></div>
      <div id="tab_txt2img"><div id="txt2img_prompt"><textarea>mine</textarea></div><button id="paste"></button>
        <div id="txt2img_seed"><input type="number" value="-1"></div></div>`;
    const place = document.createElement("div");
    place.id = "webui";
    place.innerHTML = html;
    document.body.append(place);
    const field = place.querySelector("textarea");
    let known = "mine";
    window.log = [];
    window.switch_to_txt2img = () => log.push("switched");
    field.addEventListener("input", () => setTimeout(() => { known = field.value; }, slow));
    place.querySelector("#tab_img2img #paste").onclick = () => log.push("wrong");
    place.querySelector("#tab_txt2img #paste").onclick = () => {
        log.push("pasted");
        if (deaf) return;
        const read = known;
        setTimeout(() => {
            field.value = known = read.split("\\n")[0];
            place.querySelector("#txt2img_seed input").value = (read.match(/Seed: (\\d+)/) || [0, -1])[1];
            log.push(read);
        }, 50);
    };
}"""
SEND = """async (told) => {
    const model = {root: (...more) => ["projects", "p", "grids", ...more], grid: {id: "g01"}};
    await loraTrain.attempt(() => loraTrain.sendCell(model, {key: "k"}));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const field = document.querySelector("#txt2img_prompt textarea");
    return {
        prompt: field ? field.value : null, log: window.log || [],
        said: [...loraTrain.messages.children].map((one) => one.textContent),
    };
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = new_page(browser)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.evaluate("""() => {
        loraTrain.state.session = {language: "en", texts: {}};
        loraTrain.on("problem", (error) => loraTrain.say({sentence: `${error.sentence} ${error.remedy}`}));
    }""")
    yield page
    assert problems == []
    page.context.close()


def sent(page: Page, told: dict[str, Any] = TOLD) -> dict[str, Any]:
    """What is in the page after sending a cell of which the server tells this."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(body=json.dumps(told), content_type="application/json")

    page.route("**/lora-train/v1/**", answer)
    done = page.evaluate(SEND)
    assert [url.partition("/v1/")[2] for url in asked] == ["projects/p/grids/g01/cells/k/text"]
    return done


@pytest.mark.parametrize("slow", [0, 200])
def test_the_webui_reads_the_text_and_txt2img_opens(page: Page, slow: int) -> None:
    page.evaluate(WEBUI, {"slow": slow, "deaf": False})
    done = sent(page)
    assert (done["prompt"], done["log"], done["said"]) == (PROMPT, ["pasted", PASTE, "switched"], [])


def test_a_webui_that_is_slow_is_told_again(page: Page) -> None:
    """The button had read what stood in the prompt before."""
    page.evaluate(WEBUI, {"slow": 450, "deaf": False})
    done = sent(page)
    assert done["prompt"] == PROMPT and done["log"][-2:] == [PASTE, "switched"] and done["said"] == []


def test_the_same_prompt_with_another_seed_is_told_again(page: Page) -> None:
    """What the button has read looks the same, where it had read what stood there before."""
    page.evaluate(WEBUI, {"slow": 450, "deaf": False})
    page.locator("#txt2img_prompt textarea").fill(PROMPT)
    page.wait_for_timeout(500)
    done = sent(page)
    assert done["log"] == ["pasted", PROMPT, "pasted", PASTE, "switched"] and done["said"] == []


def test_a_webui_that_does_not_read_it_keeps_the_text(page: Page) -> None:
    page.evaluate(WEBUI, {"slow": 0, "deaf": True})
    page.evaluate("() => { const now = Date.now; let more = 0; Date.now = () => now() + (more += 5000); }")
    done = sent(page)
    assert done["prompt"] == PASTE and set(done["log"][:-1]) == {"pasted"} and done["log"][-1] == "switched"
    assert "Press the button with the arrow ↙" in done["said"][0]


def test_another_checkpoint_is_said(page: Page) -> None:
    page.evaluate(WEBUI, {"slow": 0, "deaf": False})
    page.evaluate("() => { loraTrain.state.checkpoints = [{name: 'other', family: 'sd1', current: true}]; }")
    [said] = sent(page)["said"]
    assert "drawn with the checkpoint “demo”" in said


def test_a_file_that_is_not_there_is_not_sent(page: Page) -> None:
    page.evaluate(WEBUI, {"slow": 0, "deaf": False})
    done = sent(page, {**TOLD, "paste": "", "usable": ""})
    assert (done["prompt"], done["log"]) == ("mine", [])
    assert "“Zuna-r01-000002” is not in the LoRA folder" in done["said"][0]


def test_outside_the_webui_there_is_nowhere_to_send_to(page: Page) -> None:
    assert page.evaluate("() => loraTrain.canSend()") is False
    assert "There is no txt2img in this page." in sent(page)["said"][0]
    page.evaluate(WEBUI, {"slow": 0, "deaf": False})
    assert page.evaluate("() => loraTrain.canSend()") is True


def test_an_open_window_is_closed_first(page: Page) -> None:
    """It would keep the keyboard to itself."""
    page.evaluate(WEBUI, {"slow": 0, "deaf": False})
    page.evaluate("() => { loraTrain.root().hidden = false; loraTrain.openDialog('Window', {}); }")
    assert sent(page)["log"][-1] == "switched" and page.locator("dialog").count() == 0


@pytest.mark.parametrize("usable", ["Best", ""])
def test_the_prompt_is_copied_where_scripts_may_not(page: Page, usable: str) -> None:
    """Without https there is no clipboard for scripts."""
    told = {**TOLD, "usable": usable}
    page.route("**/lora-train/v1/**", lambda route: route.fulfill(json=told))
    copied = page.evaluate("""async () => {
        const model = {root: (...more) => ["projects", "p", "grids", ...more], grid: {id: "g01"}};
        let copied = "";
        const note = () => { copied = document.activeElement.value; };
        document.addEventListener("copy", note);
        await loraTrain.attempt(() => loraTrain.copyCell(model, {key: "k"}));
        document.removeEventListener("copy", note);
        return copied;
    }""")
    assert copied == (PROMPT if usable else TOLD["prompt"])
    assert page.locator("textarea").count() == 0
