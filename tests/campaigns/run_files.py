"""Damaged files of a run folder, and the commands that read them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from urllib.request import Request, urlopen

from PIL import Image, PngImagePlugin

from tests.campaigns.damage import RAW, damaged_bytes, damaged_value, json_text
from tests.campaigns.materials import TRAIN, Materials
from tests.campaigns.runner import Campaign, Case, Result, call, checked

FILES = ("recipe.json", "environment.json", "metrics.jsonl", "evaluations.jsonl", "samples/6.png")
WHOLE = ("", "null", "[]", "1", '"x"', "{", "\0", "\ufeff{}", "{}\n" * 3, *RAW.values())


def watch() -> None:
    """Serves the run, and reads all that is served."""
    from transmute.cli.parsing import run_and_exit
    from transmute.serve.dashboard import make_server

    def read() -> int:
        from threading import Thread

        with make_server(Path("run"), port=0) as server:
            thread = Thread(target=server.serve_forever, daemon=True)
            thread.start()
            for path in ("/", "/data.json"):
                with urlopen(
                    Request(f"http://127.0.0.1:{server.server_address[1]}{path}"), timeout=10
                ) as response:
                    body = response.read().decode()
                    if path == "/data.json":
                        json.loads(body, parse_constant=_refused)
                    elif "<script>alert(1)" in body:
                        raise AssertionError("a script of a file is in the page")
            server.shutdown()
        return 0

    run_and_exit(read)


def _refused(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


TRANSLATE = ("transmute", "translate", "data/testA", "--model", "run", "--step")
COMMANDS = {
    "watch": watch,
    "resume": lambda: call(TRAIN),
    "extend": lambda: call((*TRAIN, "--steps", "7", "--extend")),
    "report": lambda: call(("transmute", "report", "run")),
    "compare": lambda: call(("transmute", "report", "run", "cut_run", "--out", "both.html")),
    "best": lambda: call((*TRANSLATE, "best", "--device", "cpu")),
    "newest": lambda: call((*TRANSLATE, "newest", "--device", "cpu")),
    "config": lambda: call((*TRAIN, "--config", "run/recipe.json", "--run", "new")),
    "from": lambda: call((*TRAIN, "--from", "run", "--run", "new")),
}


def campaign(materials: Materials) -> Campaign:
    """Damaged run files."""

    def case(random: Random, number: int) -> tuple[str, Case]:
        name, word = random.choice(FILES), random.choice(list(COMMANDS))
        data, title = _damaged(materials.folder / "run" / name, random)

        def run(folder: Path) -> Result:
            materials.copy(folder, "data", "run", "cut_run")
            (folder / "run" / name).write_bytes(data)
            if word in ("resume", "extend"):
                older = random.choice([True, False])
                for path in ("checkpoints/6.safetensors",) if older else ():
                    (folder / "run" / path).unlink()  # rewinds to step 4
            # A run that resumes may end early, but not remove what is there.
            allowed = ["run/.lock"] + (["run/*"] if word in ("resume", "extend") else [])
            allowed += ["run/report.html"] if word == "report" else []
            return checked(folder, COMMANDS[word], allowed=allowed)

        return f"{word}: {name} {title}", run

    return Campaign("run_files", 400, 12, case)


def _damaged(path: Path, random: Random) -> tuple[bytes, str]:
    """Damages a file: its bytes, one of its values, or all of it."""
    what = random.random()
    if what < 0.15:
        return damaged_bytes(path.read_bytes(), random), "damaged bytes"
    if path.suffix == ".png":
        return _with_text(path, random)
    if what < 0.25:
        whole = random.choice(WHOLE)
        return whole.encode(), f"whole {whole[:20]!r}"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        value, title = damaged_value(json.loads(text), random)
        return json_text(value).encode(), title
    lines = text.splitlines()
    at = random.randrange(len(lines))
    value, title = damaged_value(json.loads(lines[at]), random)
    lines[at] = json_text(value)
    if random.random() < 0.2:
        lines.insert(random.randrange(len(lines)), random.choice(WHOLE))
    if random.random() < 0.1:
        lines += lines
    return "\n".join(lines).encode() + random.choice(
        [b"\n", b"\n", b"", b"\xff\xfe", b"\0" * 9]
    ), title


def _with_text(path: Path, random: Random) -> tuple[bytes, str]:
    """Writes a sample sheet with damaged metadata."""
    import io

    with Image.open(path) as image:
        image.load()
        texts = {key: value for key, value in image.info.items() if isinstance(value, str)}
    changed, title = damaged_value(texts, random)
    for key, value in texts.items():  # most texts are JSON
        try:
            inner, title_inside = damaged_value(json.loads(value), random)
        except ValueError:
            continue
        if random.random() < 0.8:
            changed, title = {**texts, key: json_text(inner)}, f"{key}.{title_inside}"
    info = PngImagePlugin.PngInfo()
    for key, value in changed.items() if isinstance(changed, dict) else ():
        keyword = str(key).encode("latin-1", "replace")[:79].replace(b"\0", b" ") or b"x"
        text = value if isinstance(value, str) else json_text(value)
        info.add_itxt(
            keyword.decode("latin-1"), text.replace("\0", " ").encode("utf-8", "replace").decode()
        )
    file = io.BytesIO()
    size = random.choice([image.size, image.size, (1, 1), (5000, 3)])
    image.resize(size).save(file, "PNG", pnginfo=info)
    return file.getvalue(), title
