"""The page of results of pytorch-CycleGAN-and-pix2pix: pictures of a test set, and what a model makes of them, under its names."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from transmute.data.config import PreprocessConfig, SourceConfig
from transmute.data.layout import DataSet, Source, recognize
from transmute.data.preprocess import Draw, Geometry
from transmute.devices import chosen_device
from transmute.images import find_pictures, open_picture, save_picture, to_picture, to_tensor
from transmute.interop.importer import read_checkpoint
from transmute.interop.options import Options
from transmute.lab import to_lab, to_rgb
from transmute.networks.config import PyTorchGANUNetConfig, ResNetConfig, UNetConfig
from transmute.run import write_atomically
from transmute.settings import UserError
from transmute.tensors import Images
from transmute.translation.model import ready

_STYLE = """
:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 24px } h3 { margin: 24px 0 6px; overflow-wrap: anywhere }
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
    translators, stride = _translators(options, say)
    tag = f"{options['epoch']}_iter{options['load_iter']}" if options["load_iter"] else options["epoch"]
    folder = Path(options["results_dir"]) / options["name"] / f"{options['phase']}_{tag}"
    preprocess = PreprocessConfig(mode=options["preprocess"].replace("_", "-"), load_size=options["load_size"] or options["crop_size"], flip=False)
    geometry = Geometry.of(preprocess, str(options["crop_size"]), stride)
    rows: list[tuple[str, list[str]]] = []
    for path, pictures in _visuals(options, translators, geometry):
        names = []
        for label, image in pictures.items():
            names.append(f"{path.stem}_{label}.png")
            save_picture(_stretched(image, options["aspect_ratio"]), folder / "images" / names[-1])
        rows.append((path.stem, names))
        say(f"processing ({len(rows):04d})-th image... {path}") if len(rows) % 5 == 1 else None
    title = f"Experiment = {options['name']}, Phase = {options['phase']}, Epoch = {options['epoch']}"
    write_atomically(folder / "index.html", _page(title, rows, options["display_winsize"]))
    return folder / "index.html"


def _translators(options: Options, say: Callable[[str], None]) -> tuple[dict[str, Callable[[Images], Images]], int]:
    """What translates, by that tool's names (G_A, G_B or G), and the multiple that sides must be of."""
    names = ["G_A", "G_B"] if options["model"] == "cycle_gan" else [f"G{options['model_suffix'] if options['model'] == 'test' else ''}"]
    tag = f"iter_{options['load_iter']}" if options["load_iter"] else options["epoch"]
    translators, stride, device = {}, 1, torch.device(chosen_device("cpu" if "-1" in str(options["gpu_ids"]) else "auto"))
    for name in names:
        file = options.folder / f"{tag}_net_{name}.pth"
        if not file.exists() and (options.folder / f"{tag}_net_G_A.pth").exists() and names == ["G"]:
            file = options.folder / f"{tag}_net_G_A.pth"
            say(f"there is no {tag}_net_G.pth, so {file.name} is taken; --model_suffix _A or _B chooses")
        if not file.exists():
            there = ", ".join(sorted(path.name for path in options.folder.glob("*_net_G*.pth"))) or "no generator"
            raise UserError(f"there is no {file}: {options.folder} holds {there}; choose --name, --epoch, --model or --model_suffix accordingly")
        (network,) = read_checkpoint(file).networks.values()
        config = network.recognized.config
        if not isinstance(config, (ResNetConfig, UNetConfig, PyTorchGANUNetConfig)):
            raise UserError(f"{file} holds no generator but a {network.recognized}")
        say(f"{file}: {network.recognized}")
        if isinstance(config, UNetConfig) and options["no_dropout"]:
            config = config.replace(dropout=False)  # the one thing that its weights do not tell
        built = config.build(network.recognized.in_channels, network.recognized.out_channels)
        built.load_state_dict(network.state)
        stride = max(stride, config.stride)
        translators[name] = _translator(ready(built, own_statistics=not options["eval"], noise=not options["eval"]).to(device), device)
    return translators, stride


def _translator(network: nn.Module, device: torch.device) -> Callable[[Images], Images]:
    @torch.inference_mode()
    def translate(images: Images) -> Images:
        return network(images.to(device)).cpu()

    return translate


def _visuals(
    options: Options, translators: dict[str, Callable[[Images], Images]], geometry: Geometry
) -> Iterator[tuple[Path, dict[str, Image.Image]]]:
    """For each picture, its path and what is shown of it by that tool's labels."""
    data = _data(options)
    swapped = options["direction"] == "BtoA"
    sides = data.train[::-1] if swapped else data.train
    translate = next(iter(translators.values()))
    model = options["model"]

    def opened(source: Source, channels: int) -> Images:
        image = geometry.resize(open_picture(source.path, channels=channels, half=source.half)[0])
        return to_tensor(geometry.crop(image, Draw(0.5, 0.5, flip=False)))

    count = max(len(side) for side in sides)
    for index in range(min(count, options["num_test"])):
        first, second = (side[index % len(side)] for side in sides)
        if model == "colorization":
            picture = opened(first, 3)
            lightness, colors = to_lab(picture)
            shown = {
                "real_A": to_rgb(lightness, torch.zeros_like(colors)),
                "real_B_rgb": picture,
                "fake_B_rgb": to_rgb(lightness, translate(lightness)),
            }
        elif model == "test":
            real = opened(first, options["input_nc"])
            shown = {"real": real, "fake": translate(real)}
        else:
            real_a, real_b = opened(first, options["input_nc"]), opened(second, options["output_nc"])
            shown = {"real_A": real_a, "fake_B": translate(real_a)}
            if model == "cycle_gan":
                back = translators["G_B"]
                shown |= {"rec_A": back(shown["fake_B"]), "real_B": real_b, "fake_A": (fake_a := back(real_b)), "rec_B": translate(fake_a)}
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
            f'<figure><a href="images/{html.escape(name)}"><img loading="lazy" width="{width}" src="images/{html.escape(name)}" alt=""></a>'
            f"<figcaption>{html.escape(name.removeprefix(f'{stem}_').removesuffix('.png'))}</figcaption></figure>"
            for name in names
        )
        + "</div>"
        for stem, names in rows
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{cells}</body></html>\n'
