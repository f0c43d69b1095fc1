"""The report of a run: one self-contained page without scripts or outside requests, made from the run folder alone."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from transmute.images import PictureError, open_picture
from transmute.run import Run, write_atomically

_SHEETS = 10  # sample sheets on the page: enough to see progress, few enough to mail it
_COLORS = ("#2f6fb3", "#c7622b", "#3c8d5a", "#8a4fa3")
_UNCHARTED = {"step", "pictures", "pictures_per_second", "load_milliseconds"}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --dim: #667080; --line: #d8dde3; --paper: #fff; --panel: #f6f8fa }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #98a2b0; --line: #3a414a; --paper: #15181c; --panel: #1d2126 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 24px 16px 64px; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 18px; margin: 36px 0 10px } p { margin: 4px 0; color: var(--dim) }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 14px }
figure { margin: 0; padding: 10px 12px; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; min-width: 0 }
figure.sheet { margin-bottom: 14px; overflow-x: auto } figcaption { font-size: 13px; color: var(--dim); margin-bottom: 4px }
figure.sheet img { display: block; max-width: 100%; image-rendering: pixelated } svg { display: block; width: 100%; height: auto }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim) } .key { margin-right: 12px; white-space: nowrap } .key b { font-weight: 600 }
pre, table { font-size: 13px } pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto }
.wide { overflow-x: auto } td { padding: 2px 14px 2px 0; vertical-align: top; overflow-wrap: anywhere } td:first-child { color: var(--dim); white-space: nowrap }
"""


def write_report(run: Run, last_step: int | None = None) -> None:
    """Writes `report.html`. While the training runs, the open page loads itself anew every 30 seconds.

    Args:
        run: The run to show.
        last_step: The step at which the training will be finished; None shows it as it stands.
    """
    rows = run.metrics()
    now = max([0, *run.samples(), *(row["step"] for row in rows)])
    running = last_step is not None and now < last_step
    title = html.escape(run.folder.resolve().name)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{'<meta http-equiv="refresh" content="30">' if running else ""}
<title>{title}: step {now}</title><style>{_STYLE}</style></head><body>
<h1>{title}</h1>
{_summary(rows, now, last_step)}
<h2>Samples</h2>{_samples(run)}
<h2>Losses</h2>
<p>Thin: as reported. Thick: smoothed. An adversarial loss says who is ahead, not how good the pictures are: look at the samples.</p>
<div class="charts">{_charts(rows)}</div>
<h2>Recipe</h2><pre>{_yaml(run, run.recipe_file)}</pre>
<h2>Environment</h2><div class="wide">{_environment(run)}</div>
</body></html>
"""
    write_atomically(run.report_file, page)


def _summary(rows: list[dict], now: int, last_step: int | None) -> str:
    line = f"step {now}" + (f" of {last_step}" if last_step is not None else "")
    if rows:
        line += f", {rows[-1].get('pictures')} pictures of each domain, {rows[-1].get('pictures_per_second', 0):.3g} pictures/s"
    return f"<p>{line}</p>"


def _samples(run: Run) -> str:
    """The newest sheet, then earlier ones, evenly spread over the training."""
    steps = run.samples()
    if not steps:
        return "<p>none yet</p>"
    spread = sorted({steps[round(place * (len(steps) - 1) / (_SHEETS - 1))] for place in range(_SHEETS)}, reverse=True)
    return "".join(f'<figure class="sheet"><figcaption>step {step}</figcaption>{_image(run.sample_file(step))}</figure>' for step in spread)


def _image(path: Path) -> str:
    try:
        image, _ = open_picture(path)
    except PictureError as error:
        return html.escape(str(error))
    width = image.width * max(1, 1100 // image.width)  # small pictures are enlarged by a whole factor
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90, subsampling=0)
    return f'<img width="{width}" alt="samples" src="data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}">'


def _charts(rows: list[dict]) -> str:
    """One chart for each kind of loss: `cycle_a` and `cycle_b` share one."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in _UNCHARTED]
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(name.split("_")[0], []).append(name)
    return "".join(_chart(rows, kind) for kind in kinds.values()) or "<p>none yet</p>"


def _chart(rows: list[dict], names: Sequence[str], width: int = 360, height: int = 190) -> str:
    left, bottom = 46, 20
    steps = [row["step"] for row in rows]
    values = [row[name] for row in rows for name in names if name in row]
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    first, last = steps[0], max(steps[-1], steps[0] + 1)

    def point(step: float, value: float) -> str:
        x = left + (width - left - 6) * (step - first) / (last - first)
        return f"{x:.1f},{6 + (height - bottom - 6) * (high - value) / (high - low):.1f}"

    lines, keys = [], []
    for name, color in zip(names, _COLORS * math.ceil(len(names) / len(_COLORS)), strict=False):
        series = [(row["step"], row[name]) for row in rows if name in row]
        raw = " ".join(point(*pair) for pair in series)
        smooth = " ".join(point(*pair) for pair in _smoothed(series))
        lines.append(f'<polyline points="{raw}" fill="none" stroke="{color}" stroke-opacity=".3"/>')
        lines.append(f'<polyline points="{smooth}" fill="none" stroke="{color}" stroke-width="2"><title>{html.escape(name)}</title></polyline>')
        keys.append(f'<span class="key"><b style="color:{color}">{html.escape(name)}</b> {series[-1][1]:.4g}</span>')
    ticks = "".join(
        f'<line x1="{left}" x2="{width - 6}" y1="{y}" y2="{y}" stroke="var(--line)"/><text x="{left - 5}" y="{y + 4}" text-anchor="end">{value:.3g}</text>'
        for value in (low, (low + high) / 2, high)
        for y in (float(point(first, value).split(",")[1]),)
    )
    axis = f'<text x="{left}" y="{height - 4}">{first}</text><text x="{width - 6}" y="{height - 4}" text-anchor="end">step {last}</text>'
    return f'<figure><figcaption>{"".join(keys)}</figcaption><svg viewBox="0 0 {width} {height}">{ticks}{axis}{"".join(lines)}</svg></figure>'


def _smoothed(series: list[tuple[int, float]], share: float = 0.9) -> list[tuple[int, float]]:
    """Exponential mean that starts unbiased, so the first points are not drawn to zero."""
    total = weight = 0.0
    result = []
    for step, value in series:
        total, weight = share * total + value, share * weight + 1
        result.append((step, total / weight))
    return result


def _yaml(run: Run, path: Path) -> str:
    return html.escape(yaml.safe_dump(run.read_json(path), sort_keys=False)) if path.is_file() else "none"


def _environment(run: Run) -> str:
    sessions = run.sessions()
    if not sessions:
        return "<p>none</p>"
    facts = sessions[-1] | {"command": " ".join(sessions[-1].get("command", []))}
    if len(sessions) > 1:
        facts["sessions"] = ", ".join(f"step {session.get('step')} on {session.get('began')}" for session in sessions)
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{cells}</table>"
