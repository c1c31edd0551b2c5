"""People label in a real browser, by keyboard alone, also when the server dies in between."""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from oscine.cli import dispatch
from oscine.probe.deploy.predict import predict_file
from oscine.probe.deploy.saved_probe import load_probe
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, JournalContent, read_journal
from oscine.probe.label.loop.clips import find_recordings, read_clips
from oscine.probe.label.loop.known import write_known
from oscine.probe.label.loop.loop import LabelLoop
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.page.serve import Server, address, bind
from oscine.probe.label.page.server import Site, make_app
from oscine.probe.tasks.task import read_task
from tests.probe.label.page.conftest import BIRDS, Served, Wood

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine; apt-get install chromium has it")
Serve = Callable[..., Served]
Here = Callable[..., str]
# How long from the key that takes an answer until the next clip's picture is drawn, in milliseconds.
STOPWATCH = """() => {
  window.times = [];
  let pressed = null;
  document.addEventListener("keydown", (event) => { if (event.key === "Enter") pressed = performance.now(); }, true);
  const picture = document.getElementById("spectrogram");
  new MutationObserver(() => {
    if (pressed === null || !picture.hasAttribute("src")) return;
    const began = pressed;
    pressed = null;
    requestAnimationFrame(() => window.times.push(performance.now() - began));
  }).observe(picture, { attributes: true, attributeFilter: ["src"] });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; the group dev has it")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address in a browser of its own; whatever its script complains of fails the test."""
    errors, contexts = list[str](), list[Any]()

    def visit(address: str, **settings: Any) -> Page:
        contexts.append(browser.new_context(**{"viewport": {"width": 1024, "height": 700}} | settings))
        contexts[-1].set_default_timeout(90_000)  # of a machine that does much else
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def here(wood: Wood, tmp_path: Path) -> Iterator[Here]:
    """Serve the page of the wood from this very process, which is quicker, and return its address."""
    with ExitStack() as open_ones:

        def here(**settings: Any) -> str:
            table, bound = read_clips(wood.table), bind("127.0.0.1", 0)
            places = find_recordings(table, wood.folder)
            loop = LabelLoop(table, tmp_path / "labels", [*BIRDS], LoopSettings(**settings), recordings=[*places])
            site = Site(
                loop, places, "anna", lambda: write_known(loop, wood.folder, "oscine label page birds.parquet").page
            )
            server = Server(uvicorn.Config(make_app(site, "secret"), log_level="warning", lifespan="off"))
            opened = Event()
            server.opened = opened.set
            thread = Thread(target=server.run, kwargs={"sockets": [bound]})
            thread.start()
            open_ones.enter_context(loop)
            open_ones.callback(thread.join)
            open_ones.callback(setattr, server, "should_exit", True)
            assert opened.wait(30)
            return address("127.0.0.1", bound.getsockname()[1], "secret")

        yield here


def labels(tmp_path: Path, who: str = "anna") -> JournalContent:
    return read_journal(tmp_path / "labels" / f"{who}.jsonl")


def seen(page: Page) -> None:
    """Wait until the clip's picture is there."""
    page.wait_for_selector("#spectrogram[src]")


def take(page: Page, *keys: str) -> None:
    """Press keys, the last of which answers, and wait for what follows."""
    before = page.title()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("before => document.title !== before", arg=before)
    seen(page)


def bird(page: Page) -> str:
    """Name the bird of the clip on the screen."""
    return page.inner_text("#name").partition("_")[0]


def key_of(page: Page, name: str) -> str:
    return str(1 + page.locator("#classes .label").all_inner_texts().index(name))


def check_what_is_left(folder: Path, wood: Wood) -> None:
    """Combine, probe and predict with what labelling has left."""
    task = read_task(folder / "labels.csv")
    assert [row[0] for row in task.rows["labels"]] == [Path(path).name.partition("_")[0] for path in task.rows["path"]]
    assert dispatch(f"label combine {folder} --recordings {wood.folder} --out {folder}/combined.csv".split()) == 0
    assert (folder / "combined.csv").read_text() == (folder / "labels.csv").read_text()
    encoder, out = wood.table.parent / "encoder", folder / "runs"
    probe = f"probe linear_mean --encoder local-dir:{encoder} --table {folder}/labels.csv --fit.steps 5 --runs {out}"
    assert dispatch([*probe.split(), "--store", str(folder / "store")]) == 0
    heard = predict_file(
        load_probe(folder / "probe"), wood.folder / sorted(path.name for path in wood.folder.iterdir())[-1]
    )
    assert heard.idxmax(axis=1).mode()[0] == "wren"


def test_thirty_clips_by_keyboard_with_the_server_killed_in_between(
    serve: Serve, visit: Any, tmp_path: Path, wood: Wood
) -> None:
    served = serve("--one-label")
    page = visit(served.address)
    seen(page)
    page.evaluate(STOPWATCH)
    for _ in range(17):
        take(page, key_of(page, bird(page)), "Enter")
    assert len(labels(tmp_path).answers) == 17
    page.wait_for_function("() => times.length >= 16")
    times = page.evaluate("times")
    print(f"from key to the next clip: {statistics.median(times):.0f} ms in the middle, {max(times):.0f} ms at most")
    assert statistics.median(times) < 300, "a person presses the next key later"

    served.kill()  # SIGKILL
    page.keyboard.press(key_of(page, bird(page)))
    page.keyboard.press("Enter")
    page.wait_for_selector("#alert:not([hidden])")
    assert "The server does not answer" in page.inner_text("#alert")
    for key in "12":
        page.keyboard.press(key)
    page.wait_for_function("() => early.length === 0")
    assert len(labels(tmp_path).answers) == 17

    again = serve("--one-label")
    page = visit(again.address)
    seen(page)
    assert page.inner_text("#progress").startswith("17 answered")
    page.keyboard.press("Backspace")
    page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('16 answered')")
    assert page.locator("#classes [aria-pressed=true] .label").all_inner_texts() == [bird(page)]
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('progress').textContent.startsWith('17 answered')")
    for _ in range(13):
        take(page, key_of(page, bird(page)), "Enter")
    kept = labels(tmp_path)
    assert len(kept.answers) == 30
    assert all(one.named(PRESENT) == [Path(one.clip.recording).name.partition("_")[0]] for one in kept.answers)
    assert all(one.taken > 0 for one in kept.answers)
    assert "what is known now" in again.stop()
    check_what_is_left(tmp_path / "labels", wood)


def test_every_key_does_what_its_help_says(here: Here, visit: Any, tmp_path: Path) -> None:
    page = visit(here())
    seen(page)
    assert page.locator("#classes .share").count() == 0

    def pressed() -> dict[str, str]:
        states = page.locator("#classes button").evaluate_all("all => all.map(one => one.getAttribute('aria-pressed'))")
        return dict(zip(page.locator("#classes .label").all_inner_texts(), states))

    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("u")
    assert pressed() == {"dunnock": "true", "robin": "mixed", "wren": "false"}
    page.keyboard.press("1")
    assert pressed() == {"dunnock": "false", "robin": "mixed", "wren": "false"}
    take(page, "Enter")
    take(page, "n")
    take(page, "s")
    assert page.locator("#classes .count").all_inner_texts() == ["0 ×"] * 3, "unsure is not heard"
    assert [one.states for one in labels(tmp_path).answers] == [
        {"dunnock": ABSENT, "robin": UNSURE, "wren": ABSENT}, dict.fromkeys(BIRDS, ABSENT), {}
    ]  # fmt: skip

    page.keyboard.press("+")
    assert page.inner_text("#speed") == "× 1.5"
    assert page.evaluate("audio.playbackRate") == 1.5
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert page.inner_text("#speed") == "× 0.75"
    ranges = [page.inner_text("#range")]
    for _ in range(3):
        page.keyboard.press("m")
        ranges.append(page.inner_text("#range"))
    assert ranges == ["8 kHz", "4 kHz", "2 kHz", "8 kHz"]
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    page.keyboard.press("p")
    assert page.inner_text("#shown") == "probe: shown"

    page.wait_for_function("() => !audio.paused || audio.currentTime > 0")  # a key was pressed, so it starts by itself
    page.evaluate("pause()")
    page.keyboard.press(" ")
    page.wait_for_function("() => !audio.paused")
    page.keyboard.press(" ")
    assert page.evaluate("audio.paused")
    at = page.evaluate("place()")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("place()") > at
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("place()") == pytest.approx(page.evaluate("clip.first"))


def test_a_class_is_found_by_typing_and_a_new_one_is_added(here: Here, visit: Any, tmp_path: Path) -> None:
    page = visit(here())
    seen(page)
    take(page, "1", "Enter")
    assert page.locator("#classes .count").all_inner_texts() == ["1 ×", "0 ×", "0 ×"]
    page.keyboard.press("/")
    page.keyboard.type("WR")
    assert page.locator("#found li").all_inner_texts() == ["wren", "add the class “WR”"]
    page.keyboard.press("Enter")
    name = "<b>Größer Wren & Co</b>"
    page.keyboard.press("/")
    page.keyboard.type(name)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#classes .label').length === 4")
    assert page.locator("#classes [aria-pressed=true] .label").all_inner_texts() == ["wren", name]
    take(page, "Enter")
    kept = labels(tmp_path)
    assert kept.classes == [*BIRDS, name]
    assert name not in kept.answers[0].states, "it was not asked for then"
    assert kept.answers[1].states == {"dunnock": ABSENT, "robin": ABSENT, "wren": PRESENT, name: PRESENT}


def test_two_people_at_once_and_the_probe_shows_what_it_thinks_after_a_key(
    here: Here, visit: Any, tmp_path: Path
) -> None:
    served = here(one_label=True, overlap=0.5)
    pages = {who: visit(f"{served}&who={who}") for who in ("anna", "ben")}
    for page in pages.values():
        seen(page)
    for _ in range(14):
        for page in pages.values():
            take(page, key_of(page, bird(page)), "Enter")
    page = pages["ben"]
    assert page.inner_text("#who") == "ben"
    assert "28 answers by 2 people" in page.inner_text("#progress")
    page.wait_for_function("() => Object.keys(clip.probabilities).length === 3")
    assert page.locator("#classes .share").count() == 0
    page.keyboard.press("1")
    assert page.locator("#classes .share").count() == 3
    clips = {who: [one.clip for one in labels(tmp_path, who).answers] for who in pages}
    both = {*clips["anna"]} & {*clips["ben"]}
    assert 2 <= len(both) <= 13


def test_a_clip_that_was_answered_in_another_window_is_passed_over(here: Here, visit: Any, tmp_path: Path) -> None:
    served = here()
    one, other = visit(served), visit(served)
    for page in (one, other):
        seen(page)
    assert one.inner_text("#name") == other.inner_text("#name")
    take(one, "1", "Enter")
    take(one, "2", "Enter")
    take(other, "1", "Enter")
    assert "was answered in another window" in other.inner_text("#alert")
    assert other.evaluate("clip.id") == one.evaluate("clip.id")
    assert len(labels(tmp_path).answers) == 2


def test_what_is_pressed_while_an_answer_is_on_its_way_is_of_the_next_clip_and_answers_none_unseen(
    here: Here, visit: Any, tmp_path: Path
) -> None:
    page = visit(here(again=0.0))
    seen(page)
    held, before = list[Any](), page.title()
    page.route("**/api/answer", lambda route: held.append(route))
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    while not held:
        page.wait_for_timeout(10)
    for key in ("2", "Enter", "3", "u"):
        page.keyboard.press(key)
    held[0].continue_()
    page.wait_for_function("before => document.title !== before", arg=before)
    seen(page)
    assert len(held) == 1
    page.unroute("**/api/answer")
    states = page.locator("#classes button").evaluate_all("all => all.map(one => one.getAttribute('aria-pressed'))")
    assert states == ["false", "true", "mixed"]
    assert page.inner_text("#alert") == "Enter came before this clip was on the screen; press it again."
    take(page, "Enter")
    assert [one.marked for one in labels(tmp_path).answers] == [
        {"dunnock": PRESENT}, {"robin": PRESENT, "wren": UNSURE}
    ]  # fmt: skip


def test_another_answer_in_another_window_is_not_lost_in_silence(here: Here, visit: Any, tmp_path: Path) -> None:
    served = here(again=0.0)
    one, other = visit(served), visit(served)
    for page in (one, other):
        seen(page)
    take(one, "1", "Enter")
    take(other, "2", "Enter")
    assert "was answered in another window" in other.inner_text("#alert")
    assert other.evaluate("clip.id") == one.evaluate("clip.id")
    assert [answer.marked for answer in labels(tmp_path).answers] == [{"dunnock": PRESENT}]


def test_who_stops_is_told_what_is_known(here: Here, visit: Any, tmp_path: Path) -> None:
    served = here(one_label=True, again=0.0)
    page = visit(served)
    seen(page)
    for _ in range(25):
        take(page, key_of(page, bird(page)), "Enter")
    page.keyboard.press("Tab")
    page.locator("#finish").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("known.html"))
    text = page.inner_text("main")
    assert "25 clips of 96 in birds.parquet have an answer, by 1 person" in text
    assert re.search(r"accuracy (is|was) [01]\.\d\d \([01]\.\d\d to [01]\.\d\d\), where [01]\.\d\d is to be had", text)
    assert (tmp_path / "labels/known.html").is_file()


def test_the_page_fits_its_window_and_can_be_read(here: Here, visit: Any) -> None:
    served = here()
    for (width, height), scheme in product([(1024, 700), (768, 1024), (1600, 1000), (360, 740)], ("light", "dark")):
        page = visit(served, viewport={"width": width, "height": height}, color_scheme=scheme)
        seen(page)
        page.keyboard.press("2")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width >= 768:
            below = page.evaluate("document.querySelector('#actions').getBoundingClientRect().bottom")
            assert below <= height, "all that is needed is seen without scrolling"
        boxes = page.evaluate("[...document.querySelectorAll('button')].map(one => one.scrollWidth - one.clientWidth)")
        assert max(boxes) <= 1, "nothing is cut off"
