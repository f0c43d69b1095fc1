from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from transmute.images import save_picture
from transmute.report import write_report
from transmute.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "<horse> & zebra")
    for step in range(10, 310, 10):
        losses = {"cycle_a": 3.0 - step / 200, "cycle_b": 2.0, "fool_a": -1.0 if step > 100 else 0.5}
        run.append_metrics({"step": step, "pictures": step, **losses, "rate": 1.0, "pictures_per_second": 9.5, "load_milliseconds": 1.0})
    for step in range(0, 310, 10):
        save_picture(Image.new("RGB", (40, 20), (step % 256, 0, 0)), run.sample_file(step))
    run.write_json(run.recipe_file, {"method": {"name": "cyclegan"}, "size": "64x64"})
    run.write_json(run.environment_file, {"sessions": [{"began": "now", "step": 0, "command": ["transmute", "train"]}] * 2})
    return run


class Wellformed(HTMLParser):
    """Fails where tags do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...


def page(run: Run, last_step: int | None = None) -> str:
    write_report(run, last_step)
    return run.report_file.read_text()


def test_the_page_is_whole_and_needs_nothing_from_outside(run: Run) -> None:
    parser = Wellformed()
    parser.feed(page(run))
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!data:)|https?://|<script|@import|url\(", page(run))
    assert "&lt;horse&gt; &amp; zebra" in page(run)


def test_the_page_shows_curves_samples_recipe_and_environment(run: Run) -> None:
    shown = page(run)
    assert [re.findall(r"<b[^>]*>(\w+)</b>", chart) for chart in re.findall(r"<figure><figcaption>(.*?)</figcaption>", shown)] == [
        ["cycle_a", "cycle_b"],
        ["fool_a"],
        ["rate"],
    ]
    sheets = [int(step) for step in re.findall(r"<figcaption>step (\d+)</figcaption>", shown)]
    assert len(sheets) == 10
    assert (sheets[0], sheets[-1]) == (300, 0)
    assert sheets == sorted(sheets, reverse=True)
    assert "name: cyclegan" in shown
    assert "transmute train" in shown


def test_curves_lie_inside_their_chart(run: Run) -> None:
    for points in re.findall(r'<polyline points="([^"]+)"', page(run)):
        pairs = [tuple(map(float, point.split(","))) for point in points.split()]
        assert all(46 <= x <= 354 and 6 <= y <= 170 for x, y in pairs)
        assert [x for x, _ in pairs] == sorted(x for x, _ in pairs)


def test_the_page_loads_itself_anew_only_while_the_training_runs(run: Run) -> None:
    assert 'http-equiv="refresh"' in page(run, last_step=1000)
    assert 'http-equiv="refresh"' not in page(run, last_step=300)
    assert 'http-equiv="refresh"' not in page(run)


def test_an_empty_run_has_a_page_too(tmp_path: Path) -> None:
    assert "none yet" in page(Run(tmp_path / "new"))
