from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from transmute.cli import run_command
from transmute.errors import UserError
from transmute.files import write_json, write_text
from transmute.images.encode import save_image
from transmute.report.page import page_data, render_page
from transmute.run import Run
from transmute.training.previews import sheet


def make_run(folder: Path, *, slope: float = 1.0, seed: int = 0) -> Run:
    """Writes a run with invented curves, samples, evaluations and a symptom."""
    run = Run(folder)
    run.folder.mkdir(parents=True)
    for step in range(10, 310, 10):
        losses = {
            "cycle_a": 3.0 - slope * step / 200,
            "cycle_b": 2.0,
            "gan_a": -1.0 if step > 100 else 0.5,
        }
        symptom = {
            "name": "collapse",
            "where": "a to b",
            "sentence": "translations are <all> alike",
            "change": "raise `method.cycle_a`",
            "evidence": {},
        }
        symptoms = {"symptoms": [symptom]} if step == 200 else {}
        run.append(
            run.metrics_file,
            {
                "step": step,
                "images": step,
                **losses,
                "rate": 1.0,
                "images_per_second": 9.5,
                "load_milliseconds": 1.0,
            }
            | symptoms,
        )
    for step in range(0, 310, 10):
        cells = {
            name: Image.new("RGB", (20, 16), (step % 256, place * 80, 0))
            for place, name in enumerate(("real a", "a to b", "back to a"))
        }
        save_image(sheet([cells, cells]), run.sample_file(step))
    for step in (0, 100, 200, 300):
        value = 5 - slope * step / 100 + (4 if step == 300 else 0)
        metric = {
            "name": "fid",
            "value": value,
            "low": value - 1,
            "high": value + 1,
            "features": "texture",
            "fake": 8,
            "real": 9,
        }
        run.append(
            run.evaluations_file,
            {
                "step": step,
                "best": {"name": "fid", "features": "texture", "value": value, "better": "lower"},
                "metrics": {"a_to_b": [metric], "b_to_a": [metric]},
            },
        )
        (run.model_folder(step)).mkdir(parents=True)
    write_json(run.recipe_file, {"method": {"name": "cyclegan"}, "size": "64x64", "seed": seed})
    write_json(
        run.environment_file,
        {
            "sessions": [
                {"began": "now", "step": 0, "last_step": 300, "command": ["transmute", "train"]}
            ]
            * 2
        },
    )
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "<horse> & zebra")


class TagChecker(HTMLParser):
    """Fails if tags are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...


def data_of(text: str) -> dict[str, Any]:
    return json.loads(text.split('id="data">')[1].split("</script>")[0])


def test_the_page_is_valid_and_self_contained(run: Run) -> None:
    write_text(run.report_file, render_page([run]))
    text = run.report_file.read_text(encoding="utf-8")
    parser = TagChecker()
    parser.feed(text)
    assert parser.open == []
    outside = text.replace(
        '"http://www.w3.org/2000/svg"', ""
    )  # a name, not a URL that is requested
    assert not re.search(r"(src|href)=\"(?!data:)|https?://|<script src|@import|url\(", outside)
    assert "<title>&lt;horse&gt; &amp; zebra</title>" in text
    assert "<all>" not in text  # data cannot become a tag
    assert data_of(text)["runs"][0]["symptoms"][0]["sentence"] == "translations are <all> alike"


def test_the_page_has_curves_samples_evaluations_recipe_and_environment(run: Run) -> None:
    (shown,) = page_data([run], title="x")["runs"]
    assert list(shown["curves"]) == [
        "cycle_a",
        "cycle_b",
        "gan_a",
        "rate",
        "images_per_second",
        "load_milliseconds",
    ]
    assert shown["curves"]["cycle_a"][0] == [10, 2.95]
    assert len(shown["curves"]["cycle_a"]) == 30
    steps = [sample["step"] for sample in shown["samples"]]
    assert len(steps) == 24
    assert (steps[0], steps[-1]) == (0, 300)
    assert steps == sorted(steps)
    assert shown["samples"][0]["sheet"]["columns"] == ["real a", "a to b", "back to a"]
    assert shown["samples"][0]["source"].startswith("data:image/jpeg;base64,")
    assert [row["step"] for row in shown["evaluations"]] == [0, 100, 200, 300]
    assert shown["best"] == 200
    assert "name: cyclegan" in shown["recipe"]
    assert ["command", "transmute train"] in shown["environment"]
    assert shown["summary"] == "step 300 of 300, 300 images of each domain, 9.5 images/s"


def test_the_layout_gives_the_positions_of_cells_in_the_sheet(run: Run) -> None:
    layout = page_data([run], title="x")["runs"][0]["samples"][-1]["sheet"]
    with Image.open(run.sample_file(300)) as image:
        for row in range(2):
            for place, left in enumerate(layout["lefts"]):
                assert image.getpixel((left, layout["tops"][row])) == (300 % 256, place * 80, 0)
                assert image.getpixel(
                    (left + layout["width"] - 1, layout["tops"][row] + layout["heights"][row] - 1)
                ) == (300 % 256, place * 80, 0)


def test_wide_sheets_and_their_layout_are_scaled_down(tmp_path: Path) -> None:
    run = Run(tmp_path)
    save_image(
        sheet(
            [
                {
                    name: Image.new("RGB", (400, 300), color)
                    for name, color in zip("abcdefgh", ["red", "blue"] * 4, strict=True)
                }
            ]
        ),
        run.sample_file(1),
    )
    sample = page_data([run], title="x")["runs"][0]["samples"][0]
    assert sample["sheet"]["lefts"][-1] + sample["sheet"]["width"] <= 1600
    assert sample["sheet"]["width"] == pytest.approx(400 * 1600 / (8 * 404 + 4), abs=1)


def test_long_curves_are_subsampled_and_keep_the_newest_point(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    run.metrics_file.write_text(
        "".join(
            json.dumps({"step": step, "loss": float("nan") if step == 7 else step}) + "\n"
            for step in range(1, 5002)
        ),
        encoding="utf-8",
    )
    points = page_data([run], title="x")["runs"][0]["curves"]["loss"]
    assert len(points) <= 2000
    assert points[-1] == [5001, 5001]
    json.dumps(points, allow_nan=False)


def test_the_page_reloads_itself_only_while_training_runs(run: Run) -> None:
    assert data_of(render_page([run], title="x", running=True))["runs"][0]["running"]
    assert not data_of(render_page([run], title="x"))["runs"][0]["running"]


def test_nan_in_the_evidence_of_a_symptom_does_not_make_the_data_invalid(tmp_path: Path) -> None:
    symptom = {"name": "not finite", "evidence": {"cycle_a": float("nan")}}
    Run(tmp_path).append(Run(tmp_path).metrics_file, {"step": 7, "symptoms": [symptom]})
    data = page_data([Run(tmp_path)])
    json.dumps(data, allow_nan=False)
    assert data["runs"][0]["symptoms"][0]["evidence"] == {"cycle_a": None}


def test_an_empty_or_damaged_run_has_a_page(tmp_path: Path) -> None:
    run = Run(tmp_path / "new")
    assert data_of(render_page([run], title="x"))["runs"][0]["samples"] == []
    run.sample_file(3).parent.mkdir(parents=True)
    run.sample_file(3).write_bytes(b"half")
    run.recipe_file.write_text("{", encoding="utf-8")
    run.metrics_file.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo', encoding="utf-8")
    assert data_of(render_page([run], title="x"))["runs"][0]["curves"] == {"loss": [[1, 2]]}


def test_several_runs_are_compared_on_one_page(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    others = [make_run(tmp_path / folder / "same", seed=3) for folder in ("one", "two")]
    monkeypatch.chdir(tmp_path)
    assert run_command(["report", str(run.folder), *(str(other.folder) for other in others)]) == 0
    assert capsys.readouterr().out == "compare.html\n"
    shown = data_of(Path("compare.html").read_text(encoding="utf-8"))["runs"]
    assert [run["name"] for run in shown] == [
        f"{tmp_path.name}/<horse> & zebra",
        "one/same",
        "two/same",
    ]
    assert [run["settings"]["seed"] for run in shown] == ["0", "3", "3"]
    for wrong, problem in (
        ([], "Pass one run folder"),
        ([str(tmp_path / "none")], "not a run folder"),
        ([str(run.folder), "--out", "one"], "with the extension .html"),
        ([str(run.folder), "--out", str(run.recipe_file)], "with the extension .html"),
    ):
        with pytest.raises(UserError, match=problem):
            run_command(["report", *wrong])
