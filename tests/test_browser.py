"""The page in a real browser: what it shows, and how it reacts to input."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from PIL import Image

from tests.test_report import make_run
from transmute.images.encode import save_image
from transmute.report.page import render_page
from transmute.run import Run
from transmute.serve.dashboard import make_server
from transmute.training.previews import sheet

BROWSERS = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
CHROMIUM = next((path for path in BROWSERS if path), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no Chromium here (apt-get install chromium)"
    ),
]

# The document that Chromium prints shows errors and the results of a test's script as attributes.
LISTENER = """<script>
const report = (name, value) => document.documentElement.setAttribute("data-" + name, value);
addEventListener("error", (event) => report("error", event.message));
addEventListener("unhandledrejection", (event) => report("error", event.reason));
</script>"""


def rendered(url: str, profile: Path, *, width: int = 1200, milliseconds: int = 3000) -> str:
    """The document after its scripts have run. No host name is resolved, so no request leaves."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        f"--virtual-time-budget={milliseconds}",
        f"--window-size={width},900",
        "--dump-dom",
        url,
    ]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=120, check=True
    ).stdout


def opened(text: str, folder: Path, script: str = "", **options: int) -> str:
    """The document of a page after a test's script has run in it."""
    file = folder / "page.html"
    text = text.replace("<head>", f"<head>{LISTENER}", 1)
    file.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    document = rendered(file.as_uri(), folder / "profile", **options)
    assert "data-error" not in document.split("<head>")[0], document[:300]
    return document


def reports(document: str) -> dict[str, str]:
    """What the script of a test has reported."""
    return dict(re.findall(r'data-(\w+)="([^"]*)"', document.split("<head>")[0]))


def test_the_page_of_a_run_is_drawn(tmp_path: Path) -> None:
    document = opened(render_page([make_run(tmp_path / "<run>")]), tmp_path)
    # One metric in both directions, the losses cycle and gan, the rate, and two speeds.
    assert document.count("<figure>") == 6
    assert len(re.findall(r"<button[^>]*aria-label=\"step \d+\"", document)) == 24
    for part in (
        "collapse",
        "translations are &lt;all&gt; alike",
        "What to try: raise <code>method.cycle_a</code>.",
        "cycle_a",
        "best (step 200)",
        "8 fake, 9 real",
        "name: cyclegan",
        "transmute train",
    ):
        assert part in document
    assert re.search(r"<b style=\"color:var\(--c0\)\">cycle_a</b> 1\.\d+", document)


def test_the_page_reacts_to_input(tmp_path: Path) -> None:
    script = """
    const find = (selector) => document.querySelector(selector);
    const texts = (selector) =>
      [...document.querySelectorAll(selector)].map((element) => element.textContent);
    const set = (element, value) => {
      element.value = value;
      element.dispatchEvent(new Event("input", { bubbles: true }));
    };
    set(find("#controls input"), 0);
    report("step", find("#controls output").textContent);
    document.querySelectorAll("#controls button")[1].click();
    const pressed = document.querySelectorAll("#controls button")[1];
    report("image", pressed.getAttribute("aria-pressed"));
    const select = find("#controls select");
    select.value = "back to a";
    select.dispatchEvent(new Event("change"));
    report("column", texts(".pair span").join());
    document.querySelectorAll(".strip button")[5].click();
    const frame = find(".strip [aria-pressed=true]").getAttribute("aria-label");
    report("frame", find("#controls output").textContent + " " + frame);
    const right = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
    find(".pair").dispatchEvent(right);
    report("split", find(".pair .after").style.clipPath);
    const line = () => find("#losses path:nth-of-type(2)").getAttribute("d");
    const smoothed = line();
    set(document.getElementById("smoothing"), 0);
    report("smoothing", smoothed !== line());
    const svg = find("#losses svg");
    const box = svg.getBoundingClientRect();
    const point = (type, share) => {
      const position = { clientX: box.left + share * box.width, clientY: box.top + 20 };
      svg.dispatchEvent(new PointerEvent(type, position));
    };
    point("pointermove", 0.5);
    report("hover", find("#losses .key").textContent);
    point("pointerdown", 0.4);
    point("pointermove", 0.7);
    point("pointerup", 0.7);
    const range = () => texts("#losses figure:first-child text").slice(-2).join();
    report("zoom", range());
    document.getElementById("unzoom").click();
    report("unzoom", range());
    """
    reported = reports(opened(render_page([make_run(tmp_path / "run")]), tmp_path, script))
    assert reported["step"] == "0"
    assert reported["image"] == "true"
    assert reported["column"] == "real a,back to a"
    number = reported["frame"].split()[0]
    assert reported["frame"] == f"{number} step {number}"
    assert reported["split"] == "inset(0px 0px 0px 55%)"
    assert reported["smoothing"] == "true"
    assert re.fullmatch(r"cycle_a 2\.\d+ at 1[45]0", reported["hover"])
    first, last = (float(number) for number in re.findall(r"[\d.]+", reported["zoom"]))
    assert 80 < first < 130
    assert 190 < last < 230
    assert reported["unzoom"] == "10,step 300"


@pytest.mark.parametrize(
    ("columns", "output", "expected"),
    [
        (["real a", "a to b", "identity b", "real b", "b to a"], "identity b", "real b,identity b"),
        (["real a", "a to b", "real b", "b to a", "back to b"], "back to b", "real b,back to b"),
        (["real a", "a to b", "identity b"], "identity b", "real a,identity b"),
    ],
)
def test_an_output_is_compared_with_its_input(
    tmp_path: Path, columns: list[str], output: str, expected: str
) -> None:
    run = Run(tmp_path / "run")
    save_image(sheet([{name: Image.new("RGB", (20, 16)) for name in columns}]), run.sample_file(5))
    script = f"""
    const select = document.querySelector("#controls select");
    select.value = "{output}";
    select.dispatchEvent(new Event("change"));
    const labels = [...document.querySelectorAll(".pair span")].map((one) => one.textContent);
    report("labels", labels.join());
    """
    assert reports(opened(render_page([run]), tmp_path, script))["labels"] == expected


def test_runs_are_compared_and_can_be_hidden(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "first"),
        make_run(tmp_path / "second", slope=0.5, seed=3),
    ]
    text = render_page(runs)
    document = opened(text, tmp_path)
    assert document.count('class="pair"') == 2
    differing = document.split("differing setting")[1].split("</table>")[0]
    assert "seed" in differing
    assert "method.name" not in differing
    assert "fid (texture)" in document
    hidden = opened(text, tmp_path, "document.querySelectorAll('#runs button')[1].click();")
    assert hidden.count('class="pair"') == 1


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_fits_into_the_window(tmp_path: Path, width: int) -> None:
    names = ("a-run-whose-name-is-too-long-for-a-narrow-window", "another")
    script = """
    requestAnimationFrame(() => {
      report("over", document.documentElement.scrollWidth > innerWidth);
    });
    """
    text = render_page([make_run(tmp_path / name) for name in names])
    assert reports(opened(text, tmp_path, script, width=width))["over"] == "false"


def test_runs_of_different_methods_and_odd_numbers_are_drawn(tmp_path: Path) -> None:
    """Other columns, fewer images, a curve of one point, and values that are NaN or equal."""
    other = Run(tmp_path / "other")
    cells = {
        "input": Image.new("RGB", (20, 16), "red"),
        "output": Image.new("RGB", (20, 16), "blue"),
    }
    save_image(sheet([cells]), other.sample_file(5))
    other.append(other.metrics_file, {"step": 5, "images": 5, "once": 1.0})
    for step, value in ((1, 9000.0), (2, 9000.000000000002), (3, float("nan"))):
        metric = {
            "name": "fid",
            "value": value,
            "low": value,
            "high": value,
            "features": "texture",
            "fake": 8,
            "real": 9,
        }
        best = {"name": "fid", "features": "texture", "value": value, "better": "lower"}
        other.append(
            other.evaluations_file, {"step": step, "best": best, "metrics": {"a_to_b": [metric]}}
        )
    script = "document.querySelectorAll('#controls button')[1].click();"
    document = opened(render_page([make_run(tmp_path / "run"), other]), tmp_path, script)
    labels = re.findall(
        r'class="pair".*?<span[^>]*>([^<]*)</span><span[^>]*>([^<]*)</span>', document
    )
    assert labels == [("real a", "a to b"), ("input", "output")]
    assert "undefined" not in document.split("<script type")[0]
    assert "<circle" in document.split('aria-label="once over steps"')[1].split("</figure>")[0]


def test_the_step_slider_can_be_dragged(tmp_path: Path) -> None:
    """The slider stays the same element while it is used; a new one would end the dragging."""
    script = """
    const slider = document.querySelector("#controls input");
    for (const value of [20, 10, 3]) {
      slider.value = value;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }
    report("same", slider === document.querySelector("#controls input"));
    """
    document = opened(render_page([make_run(tmp_path / "run")]), tmp_path, script)
    assert reports(document)["same"] == "true"


def test_an_empty_run_is_drawn_without_errors(tmp_path: Path) -> None:
    document = opened(render_page([Run(tmp_path / "new")]), tmp_path)
    assert re.search(r'<section hidden="">\s*<h2>Samples', document)


def test_the_served_page_updates_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "one")
    with make_server(tmp_path / "runs", port=0) as server:
        threading.Thread(target=server.serve_forever).start()
        row = {"step": 999, "images": 999, "cycle_a": 1.0}
        later = threading.Timer(2.0, lambda: run.append(run.metrics_file, row))
        later.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        # Virtual time, which passes as fast as responses arrive.
        document = rendered(url, tmp_path / "profile", milliseconds=900_000)
        server.shutdown()
        later.join()
    assert "step 999" in document


def test_a_lost_connection_is_shown(tmp_path: Path) -> None:
    text = render_page([make_run(tmp_path / "run")], live=True)
    document = opened(text, tmp_path, milliseconds=10_000)  # opened from disk, without a server
    assert '<p id="lost">Connection lost. Showing the last data received.</p>' in document
