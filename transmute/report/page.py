"""The page of one or several runs: a self-contained HTML file, made from run folders only."""

import base64
import contextlib
import io
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from transmute.config.base import flattened
from transmute.documents import parse_json
from transmute.errors import UserError
from transmute.files import special_kind
from transmute.images.decode import read_image
from transmute.images.ranges import displayed_part, shown
from transmute.rows import SheetRow
from transmute.run import Run

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
)
_TEMPLATES.policies["json.dumps_kwargs"] = {}  # the default sorts keys

_MAX_SHEETS = 24
"""Sample sheets on a page, so that it stays small enough to be mailed."""
_MAX_WIDTH = 1600
"""Width of an embedded sample sheet in pixels. Wider ones are reduced."""
_MAX_PIXELS = 100_000_000
"""Larger sample sheets are left out."""
_MAX_POINTS = 2000
"""Points of a curve. Longer curves are subsampled."""
_NO_CURVES = ("step", "images", "symptoms")
_LAST_CURVES = ("rate", "images_per_second", "load_milliseconds")


def render_page(
    runs: Sequence[Run], *, title: str | None = None, running: bool = False, live: bool = False
) -> str:
    """Returns the HTML of the page.

    Args:
        runs: The runs to show. The curves and samples of several are shown side by side.
        title: Title of the page. The default is the name of the run, or the number of runs.
        running: Whether training continues. The open page then reloads itself every 30 seconds.
        live: Whether a server answers requests for images and `data.json` (see `page_data`). The
            open page then updates itself every 3 seconds.
    """
    return _TEMPLATES.get_template("page.html.jinja").render(
        data=page_data(runs, title=title, running=running, live=live)
    )


def page_data(
    runs: Sequence[Run], *, title: str | None = None, running: bool = False, live: bool = False
) -> dict[str, Any]:
    """Returns the data that the page shows, as JSON-serializable values.

    Sample sheets are data URLs, or `samples/<url_id of the run>/<step>.png` if the page is live.
    The arguments are those of `render_page`.
    """
    names = _unique_names([run.folder.resolve() for run in runs])
    return {
        "title": title or (names[0] if len(runs) == 1 else f"{len(runs)} runs"),
        "live": live,
        "runs": [
            _run_data(run, name, running, live) for run, name in zip(runs, names, strict=True)
        ],
    }


def _unique_names(folders: Sequence[Path]) -> list[str]:
    """The names of folders, with as many parent folders as are needed to tell them apart."""
    counts = (len({folder.parts[-depth:] for folder in folders}) for depth in range(1, 10))
    depth = next((depth for depth, count in enumerate(counts, 1) if count == len(folders)), 10)
    return ["/".join(folder.parts[-depth:]) for folder in folders]


def _run_data(run: Run, name: str, running: bool, live: bool) -> dict[str, Any]:
    rows, sessions, recipe = run.metrics(), run.sessions(), {}
    with contextlib.suppress(UserError):
        recipe = run.recipe()
    symptoms = [
        symptom | {"step": row["step"]} for row in rows for symptom in row.get("symptoms", [])
    ]
    records = {"symptoms": symptoms, "evaluations": run.evaluations()}
    return {
        "name": name,
        "running": running,
        "summary": _summary(run, rows, sessions) + _displayed_parts(recipe),
        "curves": _curves(rows),
        "best": (run.best() or {}).get("step"),
        "samples": _samples(run, live),
        "recipe": yaml.safe_dump(recipe, sort_keys=False) if recipe else "none",
        "settings": {key: str(value) for key, value in flattened(recipe).items()},
        "environment": _environment(sessions) if sessions else [],
        # None instead of NaN and infinity, which JSON lacks.
        **json.loads(json.dumps(records), parse_constant=lambda _: None),
    }


def _summary(run: Run, rows: Sequence[dict[str, Any]], sessions: Sequence[dict[str, Any]]) -> str:
    text = f"step {max([0, *run.samples(), *(row['step'] for row in rows)])}"
    if sessions and sessions[-1].get("last_step") is not None:
        text += f" of {sessions[-1]['last_step']}"
    newest = next((row for row in reversed(rows) if "images" in row), None)
    if newest:
        text += (
            f", {newest['images']} images of each domain, "
            f"{newest.get('images_per_second', 0):.3g} images/s"
        )
    for name, count in run.damaged_lines().items():
        text += f", {count} line{'s' if count > 1 else ''} of {name} cannot be read"
    return text


def _displayed_parts(recipe: dict[str, Any]) -> str:
    """Says which channels the samples show, if not all."""
    channels = {name: recipe.get("preprocess", {}).get(f"channels_{name}") or 3 for name in "ab"}
    parts = {name: displayed_part(number) for name, number in channels.items()}
    return "".join(f", samples of {name} show {part}" for name, part in parts.items() if part)


def _curves(rows: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """The finite points (step, value) of each number in the rows: losses, then rate and speed."""
    curves: dict[str, list[list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in _NO_CURVES and type(value) in (int, float) and math.isfinite(value):
                curves.setdefault(name, []).append([row["step"], float(f"{value:.5g}")])
    # Slices from the newest point, so that subsampled curves contain it.
    return {
        name: curves[name][:: -math.ceil(len(curves[name]) / _MAX_POINTS)][::-1]
        for name in sorted(curves, key=_LAST_CURVES.__contains__)
    }


def _samples(run: Run, live: bool) -> list[dict[str, Any]]:
    """The sample sheets of the first step, the newest, and steps evenly spaced in between."""
    steps, samples = run.samples(), []
    spacing = max(1, (len(steps) - 1) / (_MAX_SHEETS - 1))
    for step in [steps[round(spacing * i)] for i in range(min(len(steps), _MAX_SHEETS))]:
        path, url = run.sample_file(step), f"samples/{run.url_id}/{step}.png" if live else None
        # A sheet that is half-written or being removed is skipped until the next update.
        with contextlib.suppress(OSError, ValueError):
            if not special_kind(path):
                samples.append({"step": step} | _load_sheet(path, path.stat().st_mtime_ns, url))
    return samples


@lru_cache(maxsize=256)
def _load_sheet(path: Path, modified: int, url: str | None) -> dict[str, Any]:
    """The source of a sample sheet (the URL, or else a data URL), and the layout of its cells.

    Cached, since the page is rebuilt often. `modified` makes changed files new cache entries.
    """
    with Image.open(path, formats=["PNG"]) as file:
        layout = parse_json(str(file.info.get("sheet", "null")))
        if layout is not None:
            SheetRow.model_validate(layout)
    if url:
        return {"source": url, "sheet": layout}
    image = shown(read_image(path, max_pixels=_MAX_PIXELS))
    scale = min(1, _MAX_WIDTH / image.width)
    image.thumbnail((_MAX_WIDTH, image.height), Image.Resampling.LANCZOS)
    if layout:
        layout |= {
            key: [round(scale * value) for value in layout[key]]
            for key in ("lefts", "tops", "heights")
        }
        layout["width"] = round(scale * layout["width"])
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=88, subsampling=0)
    source = f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    return {"source": source, "sheet": layout}


def _environment(sessions: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The facts of the newest session as (name, value), with a list of all sessions."""
    facts = sessions[-1] | {"command": " ".join(sessions[-1].get("command", []))}
    if len(sessions) > 1:
        facts["sessions"] = ", ".join(
            f"step {session.get('step')} on {session.get('started')}" for session in sessions
        )
    return [[name, str(value)] for name, value in facts.items()]
