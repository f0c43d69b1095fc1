"""The page of results of pytorch-CycleGAN-and-pix2pix: pictures of a test set, and what a model makes of them, under its names."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import torch
from PIL import Image
from torch import nn

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.data.layout import DataSet, Source, recognize
from transmute.data.preprocess import Draw, Geometry
from transmute.devices import chosen_device
from transmute.images import find_pictures, open_picture, save_picture, to_picture, to_tensor
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.options import Options
from transmute.lab import to_lab, to_rgb
from transmute.networks.config import PyTorchGANUNetConfig, ResNetConfig, UNetConfig
from transmute.run import Run, write_atomically
from transmute.settings import UserError
from transmute.tensors import Images
from transmute.translation.model import ready

_STYLE = """
:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 24px }
h1 { font-size: 20px } h3 { font-size: 15px; margin: 24px 0 6px; overflow-wrap: anywhere }
.row { display: flex; flex-wrap: wrap; gap: 8px } figure { margin: 0 }
figcaption { font-size: 13px; opacity: .7 } img { display: block; max-width: 100% }
"""


def write_results(options: Options, say: Callable[[str], None]) -> Path:
    """Translates a test set as test.py does, and writes pictures and a page where that does.

    Pictures are `results/<name>/<phase>_<epoch>/images/<stem>_<label>.png`. Without --eval, dropout stays on and batch norm takes each
    picture's own statistics. Where that tool would crop at random, the middle is taken.

    Returns:
        The page.

    Raises:
        UserError: If the checkpoint or the pictures are not there, or do not fit.
    """
    generators = _generators(options, say)
    stride = max(generator.config.stride for generator in generators)
    tag = f"{options['epoch']}_iter{options['load_iter']}" if options["load_iter"] else options["epoch"]
    folder = Path(options["results_dir"]) / options["name"] / f"{options['phase']}_{tag}"
    preprocess = PreprocessConfig(mode=options["preprocess"].replace("_", "-"), load_size=options["load_size"] or options["crop_size"], flip=False)
    geometry = Geometry.of(preprocess, str(options["crop_size"]), stride)
    if geometry.crops and any(side % stride for side in geometry.size):
        raise UserError(f"--crop_size {options['crop_size']} does not fit this generator, whose sides are multiples of {stride}")
    rows: list[tuple[str, list[str]]] = []
    for path, pictures in _visuals(options, generators, geometry):
        names = []
        for label, image in pictures.items():
            names.append(f"{path.stem}_{label}.png")
            save_picture(_stretched(image, options["aspect_ratio"]), folder / "images" / names[-1])
        rows.append((path.stem, names))
        say(f"processing ({len(rows):04d})-th image... {path}") if len(rows) % 5 == 1 else None
    title = f"Experiment = {options['name']}, Phase = {options['phase']}, Epoch = {options['epoch']}"
    write_atomically(folder / "index.html", _page(title, rows, options["display_winsize"]))
    return folder / "index.html"


@dataclass(frozen=True)
class _Generator:
    """One of that tool's generators, ready to translate.

    Attributes:
        channels: Of its input and its output.
    """

    network: nn.Module
    device: torch.device
    channels: tuple[int, int]
    config: ResNetConfig | UNetConfig | PyTorchGANUNetConfig

    @torch.inference_mode()
    def __call__(self, images: Images) -> Images:
        if min(images.shape[-2:]) < self.config.smallest:
            raise UserError(f"pictures of {images.shape[-1]}x{images.shape[-2]} are too small for this generator, which needs {self.config.smallest}")
        return self.network(images.to(self.device)).cpu()


def _generators(options: Options, say: Callable[[str], None]) -> list[_Generator]:
    """The generators: two for a CycleGAN, else one."""
    names = ["G_A", "G_B"] if options["model"] == "cycle_gan" else [f"G{options['model_suffix'] if options['model'] == 'test' else ''}"]
    tag = f"iter_{options['load_iter']}" if options["load_iter"] else options["epoch"]
    generators, device = [], torch.device(chosen_device("cpu" if "-1" in str(options["gpu_ids"]) else "auto"))
    for name in names:
        file = options.folder / f"{tag}_net_{name}.pth"
        if not file.exists() and (options.folder / f"{tag}_net_G_A.pth").exists() and names == ["G"]:
            file = options.folder / f"{tag}_net_G_A.pth"
            say(f"there is no {tag}_net_G.pth, so {file.name} is taken; --model_suffix _A or _B chooses")
        if not file.exists():
            there = ", ".join(sorted(path.name for path in options.folder.glob("*_net_G*.pth"))) or "no generator"
            mend = "choose --name, --epoch, --model or --model_suffix accordingly"
            mend = f"write it with 'transmute export {options.folder} --out {options.folder}'" if Run(options.folder).exists() else mend
            raise UserError(f"there is no {file}: {options.folder} holds {there}; {mend}")
        (read,) = read_checkpoint(file).networks.values()
        config, channels = read.recognized.config, (read.recognized.in_channels, read.recognized.out_channels)
        if not isinstance(config, (ResNetConfig, UNetConfig, PyTorchGANUNetConfig)):
            raise UserError(f"{file} holds no generator but a {read.recognized}")
        if not set(channels) <= ({1, 2} if options["model"] == "colorization" else {1, 3}):
            raise UserError(f"{file} goes from {channels[0]} to {channels[1]} channels, which is not what --model {options['model']} shows")
        say(f"{file}: {read.recognized}")
        if isinstance(config, UNetConfig) and options["no_dropout"]:
            config = config.replace(dropout=False)  # the one thing that its weights do not tell
        built = config.build(*channels)
        built.load_state_dict(read.state)
        generators.append(
            _Generator(ready(built, own_statistics=not options["eval"], noise=not options["eval"]).to(device), device, channels, config)
        )
    return generators


def _visuals(options: Options, generators: list[_Generator], geometry: Geometry) -> Iterator[tuple[Path, dict[str, Image.Image]]]:
    """For each picture, its path and what is shown of it by that tool's labels."""
    data = _data(options)
    sides = data.train[::-1] if options["direction"] == "BtoA" else data.train
    there, back = generators[0], generators[-1]

    def opened(source: Source, channels: int) -> Images:
        image = geometry.resize(open_picture(source.path, channels=channels, half=source.half)[0])
        return to_tensor(geometry.crop(image, Draw(0.5, 0.5, flip=False)))

    count = max(len(side) for side in sides)
    for index in range(int(min(count, options["num_test"], options["max_dataset_size"]))):
        first, second = (side[index % len(side)] for side in sides)
        if options["model"] == "colorization":
            picture = opened(first, 3)
            lightness, _ = to_lab(picture)
            shown = {"real_A": lightness, "real_B_rgb": picture, "fake_B_rgb": to_rgb(lightness, there(lightness))}
        elif options["model"] == "test":
            real = opened(first, there.channels[0])
            shown = {"real": real, "fake": there(real)}
        else:
            real_a, real_b = opened(first, there.channels[0]), opened(second, there.channels[1])
            shown = {"real_A": real_a, "fake_B": (fake_b := there(real_a))}
            if options["model"] == "cycle_gan":
                shown |= {"rec_A": back(fake_b), "real_B": real_b, "fake_A": (fake_a := back(real_b)), "rec_B": there(fake_a)}
            else:
                shown["real_B"] = real_b
        yield first.path, {label: to_picture(images) for label, images in shown.items()}


def _data(options: Options) -> DataSet:
    """The pictures of a phase: testA and testB, side by side pictures in test, or one folder."""
    root, phase = Path(options["dataroot"]), options["phase"]
    if not root.is_dir():
        raise UserError(f"--dataroot {root} is not a folder")
    if options["dataset_mode"] in ("single", "colorization"):
        folder = root / phase if options["dataset_mode"] == "colorization" else root
        pictures = [Source(path) for path in find_pictures(folder)]
        if not pictures:
            raise UserError(f"{folder} holds no pictures (jpg, png, webp, bmp, tif, ppm or gif)")
        return DataSet(str(folder), ("a", "b"), (pictures, pictures), ([], []), (folder,))
    if options["dataset_mode"] == "unaligned":
        return recognize(None, SourceConfig(a=root / f"{phase}A", b=root / f"{phase}B"), paired=False)
    pictures = find_pictures(root / phase)
    if not pictures:
        raise UserError(f"{root / phase} holds no side by side pictures")
    sides = [Source(path, "left") for path in pictures], [Source(path, "right") for path in pictures]
    return DataSet(str(root), ("a", "b"), sides, ([], []), (root / phase,))


def _stretched(image: Image.Image, ratio: float) -> Image.Image:
    """That tool's --aspect_ratio: wider above 1, higher below."""
    if ratio == 1:
        return image
    size = (int(image.width * ratio), image.height) if ratio > 1 else (image.width, int(image.height / ratio))
    return image.resize(size, Image.Resampling.BICUBIC)


def _page(title: str, rows: list[tuple[str, list[str]]], width: int) -> str:
    cells = "".join(
        f'<h3>{html.escape(stem)}</h3><div class="row">'
        + "".join(
            f'<figure><a href="images/{quote(name)}"><img loading="lazy" width="{width}" src="images/{quote(name)}" alt=""></a>'
            f"<figcaption>{html.escape(name.removeprefix(f'{stem}_').removesuffix('.png'))}</figcaption></figure>"
            for name in names
        )
        + "</div>"
        for stem, names in rows
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{cells}</body></html>\n'
