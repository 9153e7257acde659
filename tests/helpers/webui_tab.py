"""The WebUI's page as a person sees it, with our tab in it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, Locator, expect

from tests.helpers.tab import VIEW, Tab

TITLE = "LoRA Train"
# What the WebUI's own page asks of others, and what its console says where there is no network.
ITS_OWN = (
    r"request to elsewhere: https://(fonts\.googleapis\.com|fonts\.gstatic\.com|cdnjs\.cloudflare\.com)/",
    r"console error: Failed to load resource: net::ERR_\w+ \(https://",
    r"console error: .*manifest\.json",
    r"page error: Cannot read properties of undefined \(reading 'props'\)",  # of gradio, at each Generate
)


class WebuiTab(Tab):
    """One open page of the WebUI. As `Tab`, within the tab of ours."""

    @classmethod
    def new(cls, browser: Browser, address: str, locale: str = "en-US", **options: Any) -> WebuiTab:
        """A window of its own, as another person's browser would be."""
        tab = cls(browser.new_context(**{"locale": locale, "viewport": VIEW, **options}), address)
        tab.allowed += ITS_OWN
        return tab

    def ready(self) -> None:
        """Waits for the page and goes to our tab."""
        self.show(TITLE)
        super().ready()

    def show(self, title: str) -> None:
        """Presses one of the WebUI's own tabs, such as txt2img."""
        button = self.page.locator("#tabs > .tab-nav > button").get_by_text(title, exact=True)
        button.click(timeout=60_000)

    def click_generate(self, prompt: str) -> None:
        """Fills txt2img's prompt and presses Generate, for a picture as `Webui.txt2img` draws it."""
        self.show("txt2img")
        for name, value in (("width", 64), ("height", 64), ("steps", 4)):
            self.page.locator(f"#txt2img_{name} input[type=number]").first.fill(str(value))
        self.page.locator("#txt2img_prompt textarea").fill(prompt)
        self.page.locator("#txt2img_generate").click()

    @property
    def bar(self) -> Locator:
        """The WebUI's own progress bar within our tab."""
        return self.page.locator("#tab_lora_train .progressDiv")

    def bar_percent(self) -> int:
        """What the bar has filled; 0 where there is none."""
        found = self.page.evaluate(
            "() => document.querySelector('#tab_lora_train .progressDiv .progress')?.style.width"
        )
        return round(float((found or "0").removesuffix("%")))

    def lora_cards(self) -> list[str]:
        """Names on the cards of txt2img's Lora page, after its Refresh."""
        self.show("txt2img")
        self.page.locator("#txt2img_extra_tabs > .tab-nav > button").get_by_text("Lora", exact=True).click()
        expect(self.page.locator("#txt2img_lora_cards")).to_be_visible()
        self.page.locator("#txt2img_lora_extra_refresh:visible").first.click()
        self.page.wait_for_timeout(1500)
        return self.page.locator("#txt2img_lora_cards .card .name").all_inner_texts()
