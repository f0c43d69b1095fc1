"""The walk-throughs of PyTorch-GAN and mmgeneration: their commands run, and their names exist.

The code of the Chinese pages is compared with that of the English ones in test_chinese.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import re
import shlex
import shutil
import socketserver
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from PIL import Image

from tests.site import Site
from tests.test_moving import LEGAL, trained_by
from transmute.cli import run_command
from transmute.config.networks import (
    DiscriminatorConfig,
    FourStrideConfig,
    GeneratorConfig,
    PatchGANConfig,
    PyTorchGANUNetConfig,
    ResNetConfig,
    UNetConfig,
)
from transmute.interop.layouts import MMGENERATION, PYTORCH_GAN, Layout
from transmute.interop.published import MODELS
from transmute.recipes import RECIPES
from transmute.training.schedule import learning_rate_factor

ROOT = Path(__file__).parents[1]
PAGES = {
    path.stem: path.read_text(encoding="utf-8")
    for name in ("pytorch-gan", "mmgeneration")
    for path in sorted((ROOT / "docs" / "walkthroughs").glob(f"{name}*.md"))
}
MIRROR = "https://zihao-openmmlab.obs.cn-east-3.myhuaweicloud.com"
TINY = "--steps 2 --size 32 --data.workers 0 --device cpu --precision float32"
TINY_NETWORKS = "--method.generator.width 2 --method.discriminator.width 2"
OTHER_FLAGS = {"--quick"}
"""Flags of commands that test_moving does not know."""


def blocks(page: str) -> list[tuple[str, list[str]]]:
    """The languages and lines of all blocks of code."""
    found = re.findall(r"(?ms)^```(\w+)\n(.*?)^```", PAGES[page])
    return [(language, block.splitlines()) for language, block in found]


def weights(
    tool: str, config: GeneratorConfig | DiscriminatorConfig, channels: int = 3, **pairs: bool
) -> dict[str, torch.Tensor]:
    """A new network as another tool saves it."""
    outputs = 3 if isinstance(config, GeneratorConfig) else 0
    layout = Layout(tool, config, channels, outputs, **pairs)
    state = layout.build().state_dict()
    return {layout.names[name]: state[name] for name in layout.names if name in state}


def mmgeneration_file(**networks: Mapping[str, torch.Tensor]) -> bytes:
    """A checkpoint with networks named like generators_photo."""
    state = {
        f"{name.replace('_', '.')}.{key}": value
        for name, network in networks.items()
        for key, value in network.items()
    }
    memory = io.BytesIO()
    torch.save({"meta": {"iter": 80000}, "state_dict": state}, memory)
    return memory.getvalue()


def image(path: Path, size: tuple[int, int] = (40, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 60).convert("RGB").save(path)


def publish_data(site: Site, path: str, animals: Path) -> None:
    """Puts an unpaired data set on the server, with enough held-out images for an evaluation."""
    memory, title = io.BytesIO(), Path(path).stem
    with zipfile.ZipFile(memory, "w") as archive:
        for file in animals.rglob("*.png"):
            folder = file.parent.name
            archive.write(file, f"{title}/{folder}/{file.name}")
            if folder.startswith("train"):
                archive.write(file, f"{title}/{folder.replace('train', 'test')}/more-{file.name}")
    site.files[path] = memory.getvalue()


def publish_pairs(site: Site, folder: Path) -> None:
    """Puts pix2pix's facades on the server."""
    memory = io.BytesIO()
    for phase in ("train", "test", "val"):
        for index in range(4):
            image(folder / "facades" / phase / f"{index}.jpg", (80, 40))
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        archive.add(folder / "facades", "facades")
    site.files["/pix2pix/datasets/facades.tar.gz"] = memory.getvalue()


def prepare_pytorch_gan(site: Site, animals: Path) -> None:
    """Writes what the scripts of PyTorch-GAN have written."""
    publish_data(site, "/cyclegan/datasets/monet2photo.zip", animals)
    tiny = ResNetConfig(width=2, blocks=1, upsampling="nearest")
    unet = PyTorchGANUNetConfig(width=2, depth=3)
    saved = {
        "cyclegan/saved_models/monet2photo": {
            **dict.fromkeys(("G_AB", "G_BA"), weights(PYTORCH_GAN, tiny)),
            **dict.fromkeys(("D_A", "D_B"), weights(PYTORCH_GAN, FourStrideConfig(width=2))),
        },
        "pix2pix/saved_models/facades": {
            "generator": weights(PYTORCH_GAN, unet),
            "discriminator": weights(
                PYTORCH_GAN, FourStrideConfig(width=2), 6, reversed_pairs=True
            ),
        },
    }
    for folder, networks in saved.items():
        Path("implementations", folder).mkdir(parents=True)
        for name, state in networks.items():
            torch.save(state, Path("implementations", folder, f"{name}_190.pth"))


def prepare_mmgeneration(site: Site, animals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishes models, and writes what the notebooks have downloaded and trained."""
    resnet = weights(MMGENERATION, ResNetConfig(width=2, blocks=1))
    patchgan = weights(MMGENERATION, PatchGANConfig(width=2))
    unet = weights(MMGENERATION, UNetConfig(width=2, depth=3))
    pairs = weights(MMGENERATION, PatchGANConfig(width=2, norm="batch"), 6)
    for name, model in list(MODELS.items()):
        if not name.startswith("mmgeneration/"):
            continue
        if model.holds == "unet-256":
            networks = {"generators": unet, "discriminators": pairs}
            domains = [model.target]
        else:
            networks = {"generators": resnet, "discriminators": patchgan}
            domains = [model.source, model.target]
        content = mmgeneration_file(
            **{f"{role}_{domain}": networks[role] for role in networks for domain in domains}
        )
        digest = hashlib.sha256(content).hexdigest()[:8]
        url = model.url.replace(f"-{model.digest}.pth", f"-{digest}.pth")
        monkeypatch.setitem(MODELS, name, model._replace(url=url))
        site.files[urlsplit(url).path] = content
    own = Path("work_dirs/experiments/cyclegan_vangogh2photo/ckpt/cyclegan_vangogh2photo")
    own.mkdir(parents=True)
    painter = MODELS["mmgeneration/cyclegan_photo2vangogh"]
    (own / "iter_80000.pth").write_bytes(site.files[urlsplit(painter.url).path])
    publish_data(site, "/cyclegan/datasets/vangogh2photo.zip", animals)
    publish_data(site, "/20220322-mmgeneration/dataset/monet2photo.zip", animals)
    for name in ("tongji_campus.jpg", "winter.jpg", "horse.jpeg", "zebra.jpeg"):
        image(Path("data", name))
    for folder in ("memory", "summer", "winter"):
        for index in range(3):
            image(Path("data", folder, f"{index}.jpg"))
    for name in ("3.jpg", "33_AB.jpg"):
        image(Path("tests/data/paired/test", name), (80, 40))


def smaller(words: list[str]) -> list[str]:
    """A command with flags that make it fast."""
    match words:
        case ["train" | "bench", *_]:
            if "--epochs" in words:  # lengths in epochs and in steps exclude each other
                index = words.index("--epochs")
                words = [*words[:index], *words[index + 2 :]]
            networks = "" if "--from" in words else TINY_NETWORKS
            if networks:
                is_unet = any("pix2pix" in word for word in words)
                setting = "depth 3" if is_unet else "blocks 1"
                networks += f" --method.generator.{setting}"
            tiny = TINY
            if words[0] == "bench":
                tiny = "--repeats 1 " + TINY.replace("--data.workers 0 ", "")
            return [*words, *shlex.split(f"{tiny} {networks}")]
        case ["evaluate", *_]:
            return [*words, "--features", "texture"]
        case ["demo"]:
            return [*words, "--quick"]
        case ["watch", *_]:
            return [*words, "--port", "0"]
    return words


def run_ffmpeg(words: list[str]) -> int:
    """Runs ffmpeg, or writes what it would write."""
    video = Path("data/tongji_video.mp4")
    if program := shutil.which("ffmpeg"):
        if not video.exists():
            source = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=0.1"]
            subprocess.run([program, *source, str(video)], check=True, capture_output=True)
        return subprocess.run([program, *words], check=False, capture_output=True).returncode
    for name in (name.replace("%06d", "000001") for name in words if "%06d" in name[:-4]):
        if "-framerate" in words:
            assert Path(name).is_file()
        else:
            image(Path(name))
    return 0


def run(line: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs a line of a page, and returns its exit status."""
    line, _, output = line.replace(MIRROR, site.url).partition(" > ")
    program, *words = shlex.split(line)
    if program == "mkdir":
        Path(*words).mkdir()
        return 0
    if program == "ffmpeg":
        return run_ffmpeg(words)
    assert program == "transmute"

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
        if words[0] == "watch":  # it runs until Ctrl-C
            patch.setattr(socketserver.BaseServer, "serve_forever", interrupt)
        if output:
            file = stack.enter_context(Path(output).open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(file))
        return run_command(smaller(words)) or 0


PREPARE: dict[str, Callable[..., None]] = {
    "pytorch-gan": lambda site, animals, _: prepare_pytorch_gan(site, animals),
    "mmgeneration": prepare_mmgeneration,
}


@pytest.mark.parametrize("page", PREPARE)
def test_every_command_of_a_walk_through_runs(
    page: str, site: Site, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TRANSMUTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRANSMUTE_MIRROR", site.url)
    publish_pairs(site, tmp_path)
    PREPARE[page](site, animals, monkeypatch)
    count = 0
    for language, lines in blocks(page):
        assert language in ("bash", "python")
        if language == "python":
            code = "\n".join(lines)
            exec(compile(code.replace("testA/00010.jpg", "testA/0000.png"), page, "exec"), {})
        else:
            for line in lines:
                allowed = (0, 1) if "data check" in line else (0,)
                assert run(line, site, monkeypatch) in allowed, line
                count += 1
    assert count >= 20


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_transmute_in_the_tables_exists(page: str) -> None:
    rows = [row.split("|") for row in PAGES[page].splitlines() if row.startswith("|")]
    checked = 0
    for cell in (row[2] for row in rows if len(row) == 5):
        for file, names in re.findall(r"`([\w/]+\.py)` ((?:`[\w.]+`(?:, )?)+)", cell):
            module = importlib.import_module(
                "transmute." + file.removesuffix(".py").replace("/", ".")
            )
            for name in re.findall("`([^`]+)`", names):
                found: object = module
                for part in name.split("."):
                    fields = getattr(found, "__dataclass_fields__", {})
                    found = fields[part] if part in fields else getattr(found, part)
                checked += 1
        left = re.sub(r"`([\w/]+\.py)` ((?:`[\w.]+`(?:, )?)+)", "", cell)
        assert ".py`" not in left, cell
    assert checked > 20


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_recipe_and_published_name_in_the_text_exists(page: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", PAGES[page])
    spans = re.findall("`([^`]+)`", re.sub(r"\s+", " ", text))
    known = {flag for flags in LEGAL.values() for flag in flags} | OTHER_FLAGS
    for span in spans:
        if span.startswith(("--", "transmute ")):
            assert set(re.findall(r"(?<!\S)--[\w.-]+", span)) <= known, span
        if pulled := re.fullmatch(r"transmute pull (\w+)|(cyclegan_photo2\w+)", span):
            assert f"mmgeneration/{pulled[1] or pulled[2]}" in MODELS
        if recipe := re.search(r"transmute recipes (\S+)", span):
            assert recipe[1] in RECIPES


def test_the_walk_throughs_are_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines()
    assert {f"walkthroughs/{page}" for page in PAGES} <= set(index)


def command(text: str) -> str:
    """The only command of the page on PyTorch-GAN that contains a text."""
    lines = [line for _, lines in blocks("pytorch-gan") for line in lines]
    (found,) = (line for line in lines if text in line)
    return found


def test_the_defaults_of_cyclegan_py_written_out_are_the_recipe() -> None:
    assert trained_by(command("runs/written-out")).recipe == RECIPES["pytorch-gan"]


def test_continuing_from_epoch_190_has_the_rates_of_cyclegan_py() -> None:
    # `--from` reads weights, which do not change the schedule.
    line = command("runs/continued").replace("--from models/monet ", "")
    recipe = trained_by(line).recipe
    rates = [
        recipe.optimizer.lr * learning_rate_factor(recipe.schedule, epoch, recipe.epochs)
        for epoch in range(recipe.epochs)
    ]
    theirs = [0.0002 * (1 - (epoch - 100) / 100) for epoch in range(190, 200)]
    assert rates == pytest.approx(theirs, rel=1e-12)


def test_the_losses_of_cyclegan_py_follow_from_those_in_metrics_jsonl() -> None:
    method = RECIPES["pytorch-gan"].method
    text = PAGES["pytorch-gan"]
    settings = dict(method)
    assert settings["cycle_a"] == settings["cycle_b"] == 10 / 2
    assert settings["cycle_a"] * settings["identity"] == 5 / 2
    assert settings["gan"] == 1 / 2
    assert "(`cycle_a` + `cycle_b`) / 10" in text
    assert "(`identity_a` + `identity_b`) / 5" in text
