"""Forged headers, tensors and bytes of model files, checkpoints and files of other tools."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from tests.campaigns.damage import HOSTILE, RAW, damaged_bytes, damaged_value, json_text
from tests.campaigns.materials import NETWORKS, SMALL, Materials
from tests.campaigns.runner import Campaign, Case, Result, call, checked

Tensors = dict[str, torch.Tensor]
MODEL, CHECKPOINT = "run/models/6/a_to_b.safetensors", "run/checkpoints/6.safetensors"
WHOLE_HEADERS = [
    *("null", "[]", "[1]", "0", '"text"', "{}", "not JSON", "", "{", RAW["@deep list@"]),
    *(RAW["@deep object@"], RAW["@digits@"], '{"generator": 1}', '{"generator": {}}'),
    *('{"generator": {"name": []}}', '{"network": null, "format": 2}', '{"format": 2}', "NaN"),
]
DTYPES = (torch.bool, torch.int64, torch.float8_e4m3fn, torch.float64, torch.float16, torch.uint8)


def read(path: Path) -> tuple[Tensors, Any]:
    """The tensors and the header of a file, without any check."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["transmute"].partition(" ")[2])


def forge(path: Path, tensors: Tensors, text: str) -> None:
    """Writes a file of any header, with a valid checksum."""
    checksum = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    path.write_bytes(save(tensors, {"transmute": f"{checksum:08x} {text}"}))


def campaign(materials: Materials) -> Campaign:
    """Forged and damaged files of weights."""
    from transmute.weights import load_tensors

    probe = materials.folder / "probe.safetensors"
    forge(probe, *_with_text(*read(materials.folder / MODEL)))
    load_tensors(probe)  # raises if `forge` does not know the format any more

    def case(random: Random, number: int) -> tuple[str, Case]:
        kinds = [_header, _header, _header, _whole_header, _tensors, _tensors, _bytes, _pth]
        title, names, words, prepare = random.choice(kinds)(random, materials.folder)

        def run(folder: Path) -> Result:
            materials.copy(folder, "data", "pairs", "pth", *names)
            prepare(folder)
            allowed = ("run/.lock", "run/*.damaged", "new/.lock")
            if words[1] == "train" and "run" in words:  # resumes, and continues without a file
                allowed = ("run/*",)
            if title == "all 3e+38":  # finite, so that training begins, and diverges
                allowed += ("new", "new/*")
            return checked(folder, lambda: call(words), allowed=allowed)

        return f"{' '.join(words[:3])}: {title}", run

    return Campaign("models", 500, 12, case)


def _with_text(tensors: Tensors, header: object) -> tuple[Tensors, str]:
    return tensors, json_text(header)


def _target(random: Random) -> tuple[str, str, tuple[str, ...]]:
    """A file, its folder, and a command that reads it."""
    run, name = random.choice(
        [
            *[("run", "models/6/a_to_b.safetensors")] * 4,
            *[("paired_run", "models/1/a_to_b.safetensors")] * 2,
            ("run", "models/6/score_b.safetensors"),
            ("cut_run", "models/1/heads.safetensors"),
            ("run", "checkpoints/6.safetensors"),
        ]
    )
    file = f"{run}/{name}"
    if name.startswith("checkpoints"):
        return file, run, (*RESUME,)
    data = "pairs" if run == "paired_run" else "data"
    device = ("--device", "cpu")
    started = ("transmute", "train", data, "--run", "new", "--steps", "1", *SMALL)
    commands = [
        (*started, "--from", file),
        (*started, "--from", run),
        ("transmute", "export", run, "--out", "out"),
        ("transmute", "export", file, "--out", "out", "--format", "safetensors"),
    ]
    if "_to_" in name:
        images = f"{data}/test" if run == "paired_run" else f"{data}/testA"
        commands += [
            ("transmute", "translate", images, "--model", file, *device),
            ("transmute", "translate", images, "--model", run, *device, "--size", "training"),
            ("transmute", "evaluate", "--model", run, "--data", data, "--features", "texture"),
            ("transmute", "evaluate", "--model", file, "--data", data, "--features", "texture"),
        ]
    return file, run, random.choice(commands)


RESUME = (
    *("transmute", "train", "data", "--run", "run", *NETWORKS, *SMALL, "--batch", "2"),
    *("--steps", "6", "--method.history", "3"),
)


def _header(random: Random, source: Path):
    file, run, words = _target(random)
    tensors, header = read(source / file)
    header, title = damaged_value(header, random)
    text = json_text(header)
    return title, [run], words, lambda folder: forge(folder / file, tensors, text)


def _whole_header(random: Random, source: Path):
    file, run, words = _target(random)
    tensors, _ = read(source / file)
    text = random.choice(WHOLE_HEADERS)
    return f"header {text[:30]}", [run], words, lambda folder: forge(folder / file, tensors, text)


def _tensors(random: Random, source: Path):
    file, run, words = _target(random)
    tensors, header = read(source / file)
    name = random.choice(list(tensors))
    value = tensors[name]
    match random.randrange(9):
        case 0:
            title, _ = f"without {name}", tensors.pop(name)
        case 1:
            title = "surplus"
            tensors[random.choice(["x", "", "\x1b[31m", f"{name}2"])] = value.clone()
        case 2:
            title = "renamed"
            tensors["layers.\n99"] = tensors.pop(name)
        case 3 | 4:
            kind = random.choice(DTYPES)
            title, tensors[name] = f"{name} {kind}", value.to(kind)
        case 5:
            title, tensors[name] = "reshaped", value.reshape(-1)
        case 6:
            title, tensors[name] = (
                "scalar or empty",
                random.choice([value.sum(), value.reshape(-1)[:0]]),
            )
        case 7:
            filling = random.choice([float("nan"), float("inf"), 3e38])
            title = f"all {filling}"
            tensors = {
                key: torch.full_like(one, filling) if one.is_floating_point() else one
                for key, one in tensors.items()
            }
        case _:
            kind = random.choice(DTYPES)
            title, tensors = f"all {kind}", {key: one.to(kind) for key, one in tensors.items()}
    tensors = {key: one.contiguous() for key, one in tensors.items()}
    text = json.dumps(header)
    return title, [run], words, lambda folder: forge(folder / file, tensors, text)


def _bytes(random: Random, source: Path):
    file, run, words = _target(random)
    data = damaged_bytes((source / file).read_bytes(), random)
    return "damaged bytes", [run], words, lambda folder: (folder / file).write_bytes(data)


class _Left:
    """A pickle that would leave a file."""

    def __reduce__(self):
        return (exec, ("open('left', 'w')",))


def _pickled(value: object) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.save(value, file)
    return file.getvalue()


def _zip_with(pickled: bytes, *, size: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        if size:
            with archive.open("archive/data/0", "w") as member:
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
    return file.getvalue()


def _pth(random: Random, source: Path):
    """A file of PyTorch, damaged or hostile, for import and others."""
    valid = random.choice(sorted((source / "pth").glob("*.pth")))
    state = torch.load(valid, weights_only=True)
    odd = {key: random.choice(HOSTILE) for key in random.sample(list(state), 2)}
    key = random.choice(list(state))
    memo = b"\x80\x02" + b"]q\x00" + b"(h\x00h\x00lq\x00" * 5000 + b"."
    made: dict[str, bytes | Callable[[], bytes]] = {
        **{f"damaged {number}": damaged_bytes(valid.read_bytes(), random) for number in range(4)},
        "reduce": _pickled(_Left()),
        "reduce inside": _pickled({**state, "x": _Left()}),
        "bare pickle": pickle.dumps(state, protocol=2),
        "odd values": _pickled({**state, **odd}),
        "odd keys": _pickled({**state, 3: state[key], None: 1, ("a",): 2}),
        "reshaped": _pickled({**state, key: state[key].reshape(-1)}),
        "another type": _pickled({**state, key: state[key].to(random.choice(DTYPES))}),
        "missing": _pickled({name: one for name, one in state.items() if name != key}),
        "not finite": _pickled({**state, key: state[key] * float("nan")}),
        "wrapped": _pickled({random.choice(["model", "netG_A", "\x1b[2J"]): state}),
        "deep": _pickled_deep(),
        "list": _pickled([state, state]),
        "scalar": _pickled(torch.zeros(())),
        "nothing": _pickled(random.choice(HOSTILE)),
        "meta": _pickled({**state, key: torch.empty(10**12, device="meta")}),
        "expanded": _pickled({**state, key: torch.zeros(1).expand(1 << 40)}),
        "sparse": _pickled({**state, key: torch.zeros(2, 2).to_sparse()}),
        "bomb": lambda: _zip_with(pickle.dumps({}), size=1 << 30),
        "memo bomb": _zip_with(memo),
        "long": _zip_with(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"0."),
        "zip": _zip_with(b"", size=0),
        "onnx": b"\x08\x07\x12\x07pytorch" + bytes(50),
        "empty": b"",
    }
    title = random.choice(list(made))
    name = random.choice([valid.name, valid.name, "latest_net_G.pth", "300_net_D_A.pth", "x.ckpt"])
    words = random.choice(
        [
            ("transmute", "import", f"pth/{name}"),
            ("transmute", "import", f"pth/{name}", "--out", "out.safetensors"),
            ("transmute", "import", "pth", "--out", "out"),
            ("transmute", "translate", "data/testA", "--model", f"pth/{name}"),
            ("transmute", "translate", "data/testA", "--model", "pth"),
            ("transmute", "train", "data", "--from", f"pth/{name}", "--run", "new", "--steps", "1"),
            (*FEATURES, f"pth/{name}"),
            ("transmute-test", "--dataroot", "data/testA", "--name", "pth", *TEST_FLAGS),
        ]
    )

    def prepare(folder: Path) -> None:
        data = made[title]
        (folder / "pth" / name).write_bytes(data() if callable(data) else data)

    return f"{title} {name}", [], words, prepare


FEATURES = (
    *("transmute", "evaluate", "--real", "data/testA", "--fake", "data/testB"),
    *("--device", "cpu", "--features"),
)
TEST_FLAGS = ("--checkpoints_dir", ".", "--model", "test", "--no_dropout", "--gpu_ids", "-1")


def _pickled_deep() -> bytes:
    """Lists in lists, which Python cannot write, but a file can hold."""
    return _zip_with(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
