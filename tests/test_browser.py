"""The page in a real browser: what its script makes of the data, and what it does when it is used."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from PIL import Image

from tests.test_report import made
from transmute.app.watch import server
from transmute.images import save_picture
from transmute.report.page import page
from transmute.run import Run
from transmute.training.samples import sheet

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (apt-get install chromium)")]

# Errors, and every address that the page asks for, end up in the document that Chromium prints.
LISTENER = """<script>
addEventListener("error", (event) => document.documentElement.setAttribute("data-error", event.message));
addEventListener("unhandledrejection", (event) => document.documentElement.setAttribute("data-error", event.reason));
</script>"""


def drawn(address: str, profile: Path, *, width: int = 1200, waits: int = 3000) -> str:
    """The document after its scripts have run; names are not resolved, so that no request could leave."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]
    command += [f"--virtual-time-budget={waits}", f"--window-size={width},900", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def opened(text: str, folder: Path, then: str = "", **options: int) -> str:
    """The page after a script of the test has used it."""
    file = folder / "page.html"
    text = text.replace("<head>", f"<head>{LISTENER}", 1)
    file.write_text(text.replace("</body>", f"<script>{then}</script></body>"), encoding="utf-8")
    document = drawn(file.as_uri(), folder / "profile", **options)
    assert "data-error" not in document.split("<head>")[0], document[:300]
    return document


def test_the_page_of_a_run_is_drawn(tmp_path: Path) -> None:
    document = opened(page([made(tmp_path / "<run>")], title="<run>"), tmp_path)
    assert document.count("<figure>") == 6  # two evaluations of one figure in one chart, cycle, fool, rate and two speeds
    assert len(re.findall(r"<button[^>]*aria-label=\"step \d+\"", document)) == 24
    for part in (
        "collapse",
        "translations are &lt;all&gt; alike",
        "What to try: raise it",
        "cycle_a",
        "best (step 200)",
        "name: cyclegan",
        "transmute train",
    ):
        assert part in document
    assert re.search(r"<b style=\"color:var\(--c0\)\">cycle_a</b> 1\.\d+", document)


def test_the_page_can_be_used(tmp_path: Path) -> None:
    script = """
    const set = (element, value) => { element.value = value; element.dispatchEvent(new Event("input", { bubbles: true })); };
    const told = {};
    const say = (name, value) => document.documentElement.setAttribute("data-" + name, value);
    set(document.querySelector("#controls input"), 0);
    say("step", document.querySelector("#controls output").textContent);
    document.querySelectorAll("#controls button")[1].click();
    say("picture", document.querySelectorAll("#controls button")[1].getAttribute("aria-pressed"));
    const select = document.querySelector("#controls select");
    select.value = "back to a"; select.dispatchEvent(new Event("change"));
    say("column", [...document.querySelectorAll(".pair span")].map((one) => one.textContent).join());
    document.querySelectorAll(".strip button")[5].click();
    const frame = document.querySelector(".strip [aria-pressed=true]").getAttribute("aria-label");
    say("frame", document.querySelector("#controls output").textContent + " " + frame);
    document.querySelector(".pair").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    say("split", document.querySelector(".pair .after").style.clipPath);
    const raw = document.querySelector("#losses path:nth-of-type(2)").getAttribute("d");
    set(document.getElementById("smoothing"), 0);
    say("smooth", raw !== document.querySelector("#losses path:nth-of-type(2)").getAttribute("d"));
    const svg = document.querySelector("#losses svg"), box = svg.getBoundingClientRect();
    const at = (kind, share) => svg.dispatchEvent(new PointerEvent(kind, { clientX: box.left + share * box.width, clientY: box.top + 20 }));
    at("pointermove", 0.5);
    say("hover", document.querySelector("#losses .key").textContent);
    at("pointerdown", 0.4); at("pointermove", 0.7); at("pointerup", 0.7);
    say("zoom", [...document.querySelectorAll("#losses figure:first-child text")].slice(-2).map((one) => one.textContent).join());
    document.getElementById("unzoom").click();
    say("unzoom", [...document.querySelectorAll("#losses figure:first-child text")].slice(-2).map((one) => one.textContent).join());
    """
    document = opened(page([made(tmp_path / "run")], title="run"), tmp_path, script)
    said = dict(re.findall(r'data-(\w+)="([^"]*)"', document.split("<head>")[0]))
    assert said["step"] == "0"
    assert said["picture"] == "true"
    assert said["column"] == "real a,back to a"
    number = said["frame"].split()[0]
    assert said["frame"] == f"{number} step {number}"
    assert said["split"] == "inset(0px 0px 0px 55%)"
    assert said["smooth"] == "true"
    assert re.fullmatch(r"cycle_a 2\.\d+ at 1[45]0", said["hover"])
    first, last = (float(number) for number in re.findall(r"[\d.]+", said["zoom"]))
    assert 80 < first < 130
    assert 190 < last < 230
    assert said["unzoom"] == "10,step 300"


def test_runs_are_compared_and_can_be_hidden(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, slope=slope, seed=seed) for name, slope, seed in (("first", 1.0, 0), ("second", 0.5, 3))]
    text = page(runs, title="two")
    document = opened(text, tmp_path)
    assert document.count('class="pair"') == 2
    assert "seed" in document.split("what differs")[1].split("</table>")[0]
    assert "method.name" not in document.split("what differs")[1].split("</table>")[0]
    assert "fid (texture)" in document
    hidden = opened(text, tmp_path, "document.querySelectorAll('#runs button')[1].click();")
    assert hidden.count('class="pair"') == 1


@pytest.mark.parametrize("width", [1200, 500])
def test_nothing_is_wider_than_the_window(tmp_path: Path, width: int) -> None:
    runs = [made(tmp_path / name) for name in ("a-run-with-a-rather-long-name-that-goes-on-and-on", "another")]
    script = """requestAnimationFrame(() => document.documentElement.setAttribute("data-over", document.documentElement.scrollWidth > innerWidth));"""
    assert 'data-over="false"' in opened(page(runs, title="wide"), tmp_path, script, width=width)


def test_runs_of_different_methods_and_odd_numbers_are_drawn(tmp_path: Path) -> None:
    """One without the other's columns, with fewer pictures, a curve of one point, and evaluations that are no numbers or hardly differ."""
    other = Run(tmp_path / "other")
    save_picture(sheet([{name: Image.new("RGB", (20, 16), color) for name, color in (("input", "red"), ("output", "blue"))}]), other.sample_file(5))
    other.append_metrics({"step": 5, "pictures": 5, "once": 1.0})
    for step, value in ((1, 9000.0), (2, 9000.000000000002), (3, float("nan"))):
        figure = {"name": "fid", "value": value, "low": value, "high": value, "features": "texture", "fake": 8, "real": 9}
        other.append_evaluation(
            {"step": step, "best": {"name": "fid", "features": "texture", "value": value, "better": "lower"}, "figures": {"a_to_b": [figure]}}
        )
    use = "document.querySelectorAll('#controls button')[1].click();"
    document = opened(page([made(tmp_path / "run"), other], title="two"), tmp_path, use)
    labels = re.findall(r'class="pair".*?<span[^>]*>([^<]*)</span><span[^>]*>([^<]*)</span>', document)
    assert labels == [("real a", "a to b"), ("input", "output")]
    assert "undefined" not in document.split("<script type")[0]
    assert "<circle" in document.split('aria-label="once over steps"')[1].split("</figure>")[0]


def test_the_step_slider_can_be_dragged(tmp_path: Path) -> None:
    """It stays the same element while it is used: one that is made anew slips from under the hand."""
    script = """
    const slider = document.querySelector("#controls input");
    for (const value of [20, 10, 3]) { slider.value = value; slider.dispatchEvent(new Event("input", { bubbles: true })); }
    document.documentElement.setAttribute("data-same", slider === document.querySelector("#controls input"));
    """
    assert 'data-same="true"' in opened(page([made(tmp_path / "run")], title="run"), tmp_path, script)


def test_an_empty_run_is_drawn_without_errors(tmp_path: Path) -> None:
    document = opened(page([Run(tmp_path / "new")], title="new"), tmp_path)
    assert re.search(r'<section hidden=""><h2>Samples', document)


def test_the_served_page_shows_what_is_new_by_itself(tmp_path: Path) -> None:
    run = made(tmp_path / "runs" / "one")
    with server(tmp_path / "runs", port=0) as serving:
        threading.Thread(target=serving.serve_forever).start()
        later = threading.Timer(2.0, lambda: run.append_metrics({"step": 999, "pictures": 999, "cycle_a": 1.0}))
        later.start()
        document = drawn(
            f"http://127.0.0.1:{serving.server_address[1]}", tmp_path / "profile", waits=900_000
        )  # of a clock that goes as fast as the answers come
        serving.shutdown()
        later.join()
    assert "step 999" in document
