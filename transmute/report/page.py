"""The page of a run, or of several beside each other: self-contained, without outside requests, made from run folders alone."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from transmute.images import PictureError, open_picture
from transmute.run import Run, write_atomically
from transmute.settings import UserError, flattened

_SHEETS = 24
"""Sample sheets on a page: enough to see progress, few enough to mail it."""
_WIDEST = 1600
"""Pixels of a sheet's width on a page that carries its pictures in itself."""
_POINTS = 2000
"""Points of a curve; of more, only every so manieth is shown."""
_NO_CURVES = {"step", "pictures", "signs"}


def write_report(run: Run, *, running: bool = False) -> None:
    """Writes `report.html` of a run.

    Args:
        run: The run to show.
        running: Whether more will come: the open page then loads itself anew every 30 seconds.
    """
    write_atomically(run.report_file, page([run], title=run.folder.resolve().name, running=running))


def page(runs: Sequence[Run], *, title: str, running: bool = False, live: bool = False) -> str:
    """The page as one text.

    Args:
        runs: With more than one, their curves and samples stand beside each other.
        title: Of the page.
        running: See `write_report`.
        live: For a server: pictures are addresses (see `facts`), and the page asks for `data.json` again and again.
    """
    data = facts(runs, title=title, running=running, live=live)
    files = {name: resources.files("transmute.report").joinpath(f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    # "<" could end the element that holds the data; JSON may write it as a number
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{files["css"]}</style></head><body>
<h1>{html.escape(title)}</h1><div id="summary"></div><div id="runs" class="bar"></div>
<p id="lost" hidden>The server does not answer; what stands here is what it said last.</p>
<noscript><p>This page draws itself with JavaScript, which is turned off.</p></noscript>
<section><h2>Signs of trouble</h2><div id="signs"></div></section>
<section><h2>Samples</h2><div id="controls" class="bar"></div><div id="samples" class="samples"></div></section>
<section><h2>Evaluation</h2><p>On held-out pictures, where there are any. Shaded: 95 % intervals.</p>
<div id="evaluations" class="charts"></div><br><div id="figures" class="scroll"></div></section>
<section><h2>Losses</h2><p>Thin: as reported. Thick: smoothed. An adversarial loss says who is ahead, not how good the pictures are.</p>
<div class="bar"><label>smoothing <input id="smoothing" type="range" min="0" max="0.99" step="0.01"><output></output></label>
<span>drag over a chart to zoom in</span><button id="unzoom" hidden>show all steps</button></div>
<div id="losses" class="charts"></div></section>
<section><h2>Recipe</h2><div id="recipe" class="scroll"></div></section>
<section><h2>Environment</h2><div id="environment" class="scroll"></div></section>
<script type="application/json" id="data">{json.dumps(data).replace("<", chr(92) + "u003c")}</script>
<script>{files["js"]}</script></body></html>
"""


def facts(runs: Sequence[Run], *, title: str, running: bool = False, live: bool = False) -> dict[str, Any]:
    """What the page draws, as JSON-able values; of live ones, pictures are addresses `samples/<address of the run>/<step>.png`."""
    names = _names([run.folder.resolve() for run in runs])
    return {
        "title": title,
        "live": live,
        "runs": [_run(run, name, running, live) for run, name in zip(runs, names, strict=True)],
    }


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of their parents' as tell them apart."""
    for depth in range(1, 10):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _run(run: Run, name: str, running: bool, live: bool) -> dict[str, Any]:
    rows, evaluations, sessions, best = run.metrics(), run.evaluations(), run.sessions(), run.best()
    samples = run.samples()
    now = max([0, *samples, *(row["step"] for row in rows)])
    last_step = sessions[-1].get("last_step") if sessions else None
    recipe = _json(run, run.recipe_file)
    return {
        "name": name,
        "running": running,
        "summary": _summary(rows, now, last_step),
        "curves": _curves(rows),
        "signs": [sign | {"step": row["step"]} for row in rows for sign in row.get("signs", []) if isinstance(sign, dict)],
        "evaluations": [{"step": row["step"], "figures": _finite(row["figures"])} for row in evaluations],
        "best": best["step"] if best else None,
        "samples": [sample for step in _spread(samples) if (sample := _sample(run, step, f"samples/{run.address}/{step}.png" if live else None))],
        "recipe": yaml.safe_dump(recipe, sort_keys=False) if recipe else "none",
        "settings": {key: str(value) for key, value in flattened(recipe).items()},
        "environment": _environment(sessions),
    }


def _summary(rows: Sequence[dict[str, Any]], now: int, last_step: int | None) -> str:
    line = f"step {now}" + (f" of {last_step}" if last_step is not None else "")
    told = next((row for row in reversed(rows) if "pictures" in row), None)
    if told:
        line += f", {told['pictures']} pictures of each domain, {told.get('pictures_per_second', 0):.3g} pictures/s"
    return line


def _curves(rows: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Points (step, value) of each loss, then of what else is counted; what is not finite is left out, since JSON cannot say it."""
    curves: dict[str, list[list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in _NO_CURVES and isinstance(value, (int, float)) and math.isfinite(value):
                curves.setdefault(name, []).append([row["step"], float(f"{value:.5g}")])
    last = ("rate", "pictures_per_second", "load_milliseconds")
    ordered = sorted(curves, key=lambda name: (name in last, list(curves).index(name)))
    return {name: _thinned(curves[name]) for name in ordered}


def _thinned(points: list[list[float]]) -> list[list[float]]:
    every = math.ceil(len(points) / _POINTS)
    return points if every <= 1 else points[(len(points) - 1) % every :: every]  # the newest stays


def _finite(figures: Any) -> Any:
    """The same with None for numbers that JSON cannot say."""
    if isinstance(figures, dict):
        return {key: _finite(value) for key, value in figures.items()}
    if isinstance(figures, list):
        return [_finite(value) for value in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


def _spread(steps: Sequence[int]) -> list[int]:
    """The first, the newest and others between, evenly."""
    return sorted({steps[round(place * (len(steps) - 1) / (_SHEETS - 1))] for place in range(_SHEETS)}) if steps else []


def _sample(run: Run, step: int, address: str | None) -> dict[str, Any] | None:
    """A sheet of samples: where its picture is, or the picture itself, and where in it each cell lies."""
    path = run.sample_file(step)
    if not path.is_file():
        return None
    try:
        source, layout = _sheet(path, path.stat().st_mtime_ns, address is None)
    except (OSError, ValueError, PictureError):  # half-written, or removed meanwhile: the next page will have it
        return None
    return {"step": step, "source": address or source, "sheet": layout}


@lru_cache(maxsize=256)
def _sheet(path: Path, modified: int, embedded: bool) -> tuple[str, dict[str, Any] | None]:
    """The picture of a sheet as an address that holds it, if wanted, and its layout; kept, since a page is written again and again."""
    with Image.open(path) as file:
        sheet = file.info.get("sheet")
    layout = json.loads(sheet) if sheet else None
    if not embedded:
        return "", layout
    image, _ = open_picture(path)
    if image.width > _WIDEST:
        scale = _WIDEST / image.width
        image = image.resize((_WIDEST, round(scale * image.height)), Image.Resampling.LANCZOS)
        layout = layout and {key: _scaled(value, scale) for key, value in layout.items()}
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}", layout


def _scaled(value: Any, scale: float) -> Any:
    if isinstance(value, list):
        return [_scaled(one, scale) for one in value]
    return value if isinstance(value, str) else round(value * scale)


def _json(run: Run, path: Path) -> dict[str, Any]:
    try:
        return run.read_json(path) if path.is_file() else {}
    except UserError:
        return {}


def _environment(sessions: Sequence[dict[str, Any]]) -> list[list[str]]:
    if not sessions:
        return []
    told = sessions[-1] | {"command": " ".join(sessions[-1].get("command", []))}
    if len(sessions) > 1:
        told["sessions"] = ", ".join(f"step {session.get('step')} on {session.get('began')}" for session in sessions)
    return [[name, str(value)] for name, value in told.items()]
