"""Mutated images, special files and programs that are named as images."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from random import Random

from tests.campaigns.damage import damaged_bytes
from tests.campaigns.materials import NETWORKS, SMALL, Materials, png_of_size
from tests.campaigns.runner import Campaign, Case, Result, call, checked

POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(left) (w) file closefile\nshowpage\n"
)
OTHERS = {
    "postscript": POSTSCRIPT,
    "empty": b"",
    "text": b"not an image\n" * 100,
    "page": b"<!DOCTYPE html><html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "bomb": png_of_size(60_000, 60_000),
    "wide": png_of_size(2**31 - 1, 1),
    "zero": png_of_size(0, 5),
    "pickle": b"cos\nsystem\n(S'touch left'\ntR.",
    "npy": b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (9,), }\n",
    "huge npy": b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, "
    b"'shape': (99999, 99999, 3), }\n",
}
SPECIAL = ("pipe", "socket", "device", "loop", "broken link", "folder", "unnamed")


def campaign(materials: Materials) -> Campaign:
    """Damaged images in a data set, and as inputs."""

    def case(random: Random, number: int) -> tuple[str, Case]:
        source = random.choice(materials.images)
        what = random.random()
        data, name = damaged_bytes(source.read_bytes(), random), source.name
        if what < 0.1:
            kind = random.choice(list(OTHERS))
            data, name = OTHERS[kind], f"photo{random.choice(['.jpg', '.png', '.tif', '.npy'])}"
        elif what < 0.2:  # a valid or damaged file with another extension
            data = random.choice([source.read_bytes(), data])
            name = f"photo{random.choice(materials.images).suffix}"
        special = random.choice(SPECIAL) if 0.2 <= what < 0.25 else None
        words = random.choice(_commands(name))
        title = f"{words[0]} {' '.join(words[1:3])} {special or ''} {source.name} as {name}"

        def run(folder: Path) -> Result:
            materials.copy(folder, "data", "run")
            for place in ("mixed/trainA", "mixed/trainB", "mixed/testA", "mixed/testB"):
                (folder / place).mkdir(parents=True)
                for file in (folder / "data" / place[6:]).iterdir():
                    (folder / place / file.name).write_bytes(file.read_bytes())
            for place in ("mixed/trainA", "mixed/testA"):
                _place(folder / place / name, data, special)
            allowed = ("out/mixed/*", "out/[0-9]*", "run/.lock", "translated/*", "results/*")
            return checked(folder, lambda: call(words), allowed=allowed)

        return title, run

    return Campaign("images", 500, 14, case)


def _commands(name: str) -> list[tuple[str, ...]]:
    model = ("--model", "run", "--device", "cpu")
    one_step = ("--steps", "1", "--batch", "2", *NETWORKS, *SMALL)
    return [
        ("transmute", "translate", "mixed/testA", *model),
        ("transmute", "translate", f"mixed/testA/{name}", *model, "--out", "out"),
        ("transmute", "translate", "mixed/test*/*", *model, "--format", "png"),
        ("transmute", "translate", "mixed/testA", *model, "--size", "training", "--compare"),
        ("transmute", "data", "check", "mixed"),
        ("transmute", "data", "check", "mixed", "--json"),
        ("transmute", "data", "resize", "mixed", "--size", "8", "--out", "out"),
        ("transmute", "data", "split", "mixed", "--out", "out"),
        ("transmute", "evaluate", *model, "--data", "mixed", "--features", "texture"),
        ("transmute", "evaluate", "--real", "mixed/testA", "--fake", "mixed/testB"),
        ("transmute", "train", "mixed", "--run", "new", *one_step),
        ("transmute", "train", "mixed", "--run", "new", *one_step, "--data.skip-bad"),
    ]


def _place(path: Path, data: bytes, special: str | None) -> None:
    """Writes a file, or what stands in for one."""
    match special:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(os.path.relpath(path))
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path.name)
        case "broken link":
            path.symlink_to("nothing.png")
        case "folder":
            path.mkdir()
        case "unnamed":
            named = os.fsencode(path.parent) + b"/bad\xff\n\x1b[31m" + os.fsencode(path.suffix)
            Path(os.fsdecode(named)).write_bytes(data)
        case _:
            path.write_bytes(data)
