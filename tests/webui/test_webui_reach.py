"""Who may do what in a WebUI that others can reach, by its own flags, and the page under each of them."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.helpers.proxy import proxied
from tests.helpers.serving import ROUTES, Rest
from tests.helpers.webui import Webui

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.helpers.webui_tab import WebuiTab

TabOpener = Callable[..., "WebuiTab"]
REFUSED = r"status of 40[0134]"  # in the browser's console
NEW = {"title": "Zuna", "kind": "style", "trigger_word": "zuna"}


def make_project(tab: WebuiTab, title: str) -> None:
    """By the page's own form."""
    page = tab.page
    expect(page.locator("select[data-action='project'] option")).not_to_have_count(0)  # the list has been read
    page.locator("[data-action='new-project']").click()
    page.locator("#lora_train_header form input[name='title']").fill(title)
    page.keyboard.press("Enter")
    expect(page.locator("select[data-action='project']")).to_contain_text(title)


def test_local_by_other_names(webui: Webui) -> None:
    """A name of another site may be made to point to this machine."""
    assert webui.rest.call("GET", "projects").status == 200
    for name, status in (("localhost", 200), ("127.0.0.1:1", 200), ("evil.example.org", 403)):
        request = urllib.request.Request(f"{webui.address}{ROUTES}projects", headers={"Host": name})
        try:
            with urllib.request.urlopen(request) as answer:
                assert answer.status == status, name
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == status, name


def test_open_to_all(own_webui: Callable[..., Webui], open_tab: TabOpener) -> None:
    """The page works; programs are kept from changing anything, and nobody names folders of the server."""
    webui = own_webui("--listen", "--hide-ui-dir-config")
    refused = webui.rest.call("POST", "projects", NEW)
    assert (refused.status, refused.code) == (403, "api.page")
    tab = open_tab(webui)
    make_project(tab, "By the page")
    expect(tab.page.locator("#lora_train_dataset [placeholder*='Folder']")).to_have_count(0)
    session = tab.page.evaluate("loraTrain.state.session")
    assert (session["may_write"], session["may_use_paths"]) == (True, False)
    assert webui.complaints() == []


def test_programs_may_where_a_flag_allows_them(own_webui: Callable[..., Webui]) -> None:
    webui = own_webui("--listen", "--lora-train-open-rest")
    assert webui.rest.call("POST", "projects", NEW).status < 300


def test_the_pages_logins(own_webui: Callable[..., Webui], browser: Browser, tmp_path: Path) -> None:
    """From a file, as the WebUI reads it: each sees their own."""
    from tests.helpers.webui_tab import WebuiTab

    logins = tmp_path / "logins.txt"
    logins.write_text("ann:first secret\nbob:other secret\n", encoding="utf-8")
    webui = own_webui("--listen", "--gradio-auth-path", str(logins))
    assert webui.rest.call("GET", "projects").status == 401
    ann, bob = log_in(webui, "ann", "first secret"), log_in(webui, "bob", "other secret")
    assert read(ann, webui, "projects")["projects"] == []

    tab = WebuiTab.new(browser, webui.address)
    tab.log_in("ann:first secret")
    make_project(tab, "Secret of Ann")
    tab.close()
    assert [one["title"] for one in read(ann, webui, "projects")["projects"]] == ["Secret of Ann"]
    assert read(bob, webui, "projects")["projects"] == []


def log_in(webui: Webui, name: str, password: str) -> urllib.request.OpenerDirector:
    """Somebody with gradio's cookie."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    form = urllib.parse.urlencode({"username": name, "password": password}).encode()
    with opener.open(f"{webui.address}login", form) as answer:
        assert answer.status == 200
    return opener


def read(opener: urllib.request.OpenerDirector, webui: Webui, path: str) -> dict[str, list[dict[str, str]]]:
    with opener.open(f"{webui.address}{ROUTES}{path}") as answer:
        return json.loads(answer.read())


def test_logins_of_the_api(own_webui: Callable[..., Webui], open_tab: TabOpener) -> None:
    webui = own_webui("--api-auth", "ann:secret")
    assert webui.rest.call("GET", "projects").status == 401
    assert Rest(webui.address, "ann:wrong").call("GET", "projects").status == 401
    ann = Rest(webui.address, "ann:secret")
    assert ann.call("POST", "projects", NEW).status < 300
    tab = open_tab(webui)  # which has no login, but a page
    tab.allowed += [REFUSED]
    make_project(tab, "By the page")


def test_in_a_folder_of_a_site(own_webui: Callable[..., Webui], browser: Browser) -> None:
    from tests.helpers.webui_tab import WebuiTab

    webui = own_webui("--subpath", "sd")
    with proxied(webui.address, "sd") as address:
        tab = WebuiTab.new(browser, address).open()
        make_project(tab, "In a folder")
        asked = tab.page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        ours = [one for one in asked if "lora-train/v1/" in one]
        assert ours and all(one.startswith(f"{address}lora-train/v1/") for one in ours)
        tab.close()
    assert webui.rest.call("POST", "projects", NEW).code == "api.page"
