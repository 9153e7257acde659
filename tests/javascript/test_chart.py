"""The loss curve: ticks, thinning, the nearest point; drawn in Chromium."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from playwright.sync_api import Page

DRAW = """([runs, total]) => new Promise((resolve) => {
    const place = document.querySelector("#lora_train_place");
    place.parentElement.hidden = false;
    const chart = new loraTrain.LossChart();
    place.replaceChildren(chart.element);
    chart.show(runs, total);
    window.chart = chart;
    const look = () => (chart.plot.querySelector("path") || !runs.length ? resolve(true) : requestAnimationFrame(look));
    look();
})"""
HIDE = "() => { document.querySelector('#lora_train_root').hidden = true; }"
PATHS = """() => Object.fromEntries([...window.chart.plot.querySelectorAll("path")].map((path) => [
    path.getAttribute("class"), path.getAttribute("d")]))"""


def curve(steps: int) -> list[list[float]]:
    """[step, loss, smoothed, rate] with one wild loss in the middle."""
    points = [[float(n), 0.1 + 0.02 * math.sin(n), 0.1, 1e-4 * n / steps] for n in range(1, steps + 1)]
    points[steps // 2][1] = 50.0
    return points


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6), st.integers(2, 12))
@settings(max_examples=80)
def test_ticks_are_round_and_inside(shared_page: Page, low: float, width: float, count: int) -> None:
    high = low + width
    if not high - low > abs(low) * 1e-9:  # no such axis
        return
    ticks = shared_page.evaluate("([low, high, count]) => loraTrain.niceTicks(low, high, count)", [low, high, count])
    assert len(ticks) <= count + 1
    room = (high - low) * 1e-6 + abs(low) * 1e-11
    assert all(low - room <= tick <= high + room for tick in ticks)
    gaps = {round((right - left) / (high - low), 6) for left, right in pairwise(ticks)}
    assert not gaps or max(gaps) - min(gaps) < 1e-3


def test_known_ticks(page: Page) -> None:
    ticks = "([low, high, count]) => loraTrain.niceTicks(low, high, count)"
    assert page.evaluate(ticks, [0, 1500, 5]) == [0, 500, 1000, 1500]
    assert page.evaluate(ticks, [0.043, 0.211, 4]) == [0.05, 0.1, 0.15, 0.2]
    assert page.evaluate(ticks, [0, 1e-4, 2]) == [0, 5e-5, 1e-4]
    assert page.evaluate(ticks, [3, 3, 4]) == [3]


@given(
    st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(None)), min_size=1, max_size=400),
    st.integers(1, 40),
)
@settings(max_examples=60)
def test_thinning_keeps_ends_and_extremes(shared_page: Page, losses: list[float | None], columns: int) -> None:
    points = [[step, loss] for step, loss in enumerate(losses, 1)]
    thin = "([points, columns]) => loraTrain.thin(points.map(([a, b]) => [a, b === null ? NaN : b]), 1, columns)"
    kept = [tuple(pair) for pair in shared_page.evaluate(thin, [points, columns])]
    real = [(step, loss) for step, loss in points if loss is not None]
    assert [step for step, _ in kept] == sorted({step for step, _ in kept})
    assert set(kept) <= set(real)
    assert len(kept) <= 4 * (columns + 1)
    if real:
        assert {real[0], real[-1]} <= set(kept)
        values = [loss for _, loss in kept]
        assert (min(values), max(values)) == (min(loss for _, loss in real), max(loss for _, loss in real))


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60, unique=True), st.floats(-10, 11_000))
@settings(max_examples=60)
def test_nearest(shared_page: Page, steps: list[int], wanted: float) -> None:
    points = [[step] for step in sorted(steps)]
    found = shared_page.evaluate("([points, step]) => loraTrain.nearest(points, step)[0]", [points, wanted])
    assert abs(found - wanted) == min(abs(step - wanted) for step in steps)


def test_one_wild_loss_does_not_flatten_the_curve(page: Page) -> None:
    low, high = page.evaluate("points => loraTrain.lossRange(points)", curve(400))
    assert 0.07 < low < 0.08
    assert 0.12 < high < 0.13


def test_drawn_with_thousands_of_points(page: Page) -> None:
    page.evaluate(DRAW, [[{"label": "", "points": curve(20_000)}], 40_000])
    paths = page.evaluate(PATHS)
    assert sorted(paths) == [
        "lora_train_rate", "lora_train_raw lora_train_run_0", "lora_train_smoothed lora_train_run_0",
    ]  # fmt: skip
    assert all("NaN" not in path for path in paths.values())
    assert max(path.count("L") for path in paths.values()) < 4 * 900  # not one for each point
    words = page.evaluate("[...window.chart.plot.querySelectorAll('text')].map((one) => one.textContent)")
    assert {"10,000", "40,000", "0.1"} <= set(words)
    page.evaluate(HIDE)


def test_reading(page: Page) -> None:
    points = [[n, n / 100, n / 200, 1e-4] for n in range(1, 101)]
    page.evaluate(DRAW, [[{"label": "", "points": points}], 100])
    page.evaluate("window.chart.readAt(49.7)")
    reading = page.locator("#lora_train_place .lora_train_reading")
    assert reading.inner_text() == "step 50: loss 0.5, smoothed 0.25\nlearning rate 1e-4"
    chart = page.locator("#lora_train_place .lora_train_chart")
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert "step 52:" in reading.inner_text()
    assert "step 52:" in (chart.get_attribute("aria-label") or "")
    page.evaluate("window.chart.readAt(null)")
    assert not reading.is_visible()
    page.evaluate(HIDE)


def test_the_loss_on_held_back_pictures(page: Page) -> None:
    points = [[n, n / 100, n / 200, 1e-4] for n in range(1, 101)]
    held = [[0, 1.2], [50, 0.61234], [100, 0.9]]
    page.evaluate(DRAW, [[{"label": "", "points": points, "validation": held}], 100])
    paths = page.evaluate(PATHS)
    assert set(paths) == {
        "lora_train_rate", "lora_train_raw lora_train_run_0", "lora_train_smoothed lora_train_run_0",
        "lora_train_validation",
    }  # fmt: skip
    assert paths["lora_train_validation"].count("L") == 2
    dots = page.evaluate("""() => [...window.chart.plot.querySelectorAll(".lora_train_validated")].map((dot) =>
        [...["cx", "cy", "r"].map((name) => Number(dot.getAttribute(name))), window.chart.inner])""")
    assert [dot[2] for dot in dots] == [2.5, 4.5, 2.5], "the lowest is larger"
    inner = dots[0][3]
    assert dots[0][0] == inner["left"], "the axis begins before the first step"
    assert all(inner["top"] <= dot[1] <= inner["bottom"] for dot in dots) and dots[0][1] < dots[2][1] < dots[1][1]
    page.evaluate("window.chart.readAt(60.2)")
    reading = page.locator("#lora_train_place .lora_train_reading").inner_text()
    assert reading == ("step 60: loss 0.6, smoothed 0.3\nvalidation loss 0.6123 at step 50\nlearning rate 1e-4")
    assert "Validation loss" in page.locator("#lora_train_place .lora_train_legend").inner_text()
    runs = [{"label": name, "points": points, "validation": part} for name, part in (("one", held), ("two", held[:1]))]
    page.evaluate(DRAW, [runs, 0])
    assert [name for name in page.evaluate(PATHS) if "validation" in name] == ["lora_train_validation lora_train_run_0"]
    assert page.locator("#lora_train_place .lora_train_validated.lora_train_run_1").count() == 1
    page.evaluate("window.chart.readAt(99)")
    reading = page.locator("#lora_train_place .lora_train_reading").inner_text().split("\n")
    assert reading[1] == "one – validation loss 0.9 at step 100" and reading[3] == "two – validation loss 1.2 at step 0"
    page.evaluate(HIDE)


READ = """async (answers) => {
    const metrics = new loraTrain.RunMetrics(["runs"]);
    const asked = [], came = [];
    const get = loraTrain.api.get;
    loraTrain.api.get = async (path, query) => { asked.push(query.after); return answers.shift(); };
    try {
        while (answers.length) came.push([await metrics.update(), metrics.points.length, metrics.validation]);
    } finally {
        loraTrain.api.get = get;
    }
    return {asked, came: came.map(([any, count, held]) => [any, count, held])};
}"""


def test_a_loss_that_comes_after_its_step_is_not_missed(page: Page) -> None:
    """The step is told first, and the last one of a run is the last: no step follows that would bring the loss along."""
    points = [[n, 0.5, 0.5, 1e-4] for n in range(1, 5)]
    answers = [
        {"points": points[:2], "last": 2, "validation": [[0, 0.9]]},
        {"points": [], "last": 2, "validation": [[2, 0.8]]},
        {"points": points[2:], "last": 4, "validation": [[2, 0.8]]},
        {"points": [], "last": 4, "validation": [[4, 0.7]]},
        {"points": [], "last": 4, "validation": [[4, 0.7]]},
    ]
    found = page.evaluate(READ, answers)
    assert found["asked"] == [0, 2, 2, 4, 4]
    assert found["came"] == [
        [True, 2, [[0, 0.9]]],
        [True, 2, [[0, 0.9], [2, 0.8]]],
        [True, 4, [[0, 0.9], [2, 0.8]]],
        [True, 4, [[0, 0.9], [2, 0.8], [4, 0.7]]],
        [False, 4, [[0, 0.9], [2, 0.8], [4, 0.7]]],
    ]


def test_two_runs(page: Page) -> None:
    runs = [{"label": f"<b>{name}", "points": curve(50)} for name in ("first", "second")]
    page.evaluate(DRAW, [runs, 0])
    assert sorted(page.evaluate(PATHS)) == [
        "lora_train_raw lora_train_run_0", "lora_train_raw lora_train_run_1",
        "lora_train_smoothed lora_train_run_0", "lora_train_smoothed lora_train_run_1",
    ]  # fmt: skip
    assert page.locator("#lora_train_place .lora_train_legend").inner_text().split("\n") == ["<b>first", "<b>second"]
    page.evaluate(HIDE)


def test_nothing_to_draw(page: Page) -> None:
    page.evaluate(DRAW, [[], 100])
    assert not page.locator("#lora_train_place .lora_train_chart").is_visible()
    page.evaluate(DRAW, [[{"label": "", "points": [[1, 0.1, 0.1, 1e-4]]}], 0])
    assert all("NaN" not in path for path in page.evaluate(PATHS).values())
    page.evaluate(HIDE)
