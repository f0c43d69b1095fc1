"""The results of test.py of pytorch-CycleGAN-and-pix2pix: images of a test set and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jinja2
import torch
from PIL import Image
from torch import nn

from transmute.config.data import PreprocessConfig, SourceConfig
from transmute.config.networks import GeneratorConfig, UNetConfig
from transmute.data.layout import Source, recognize
from transmute.data.preprocess import Geometry
from transmute.device import select_device
from transmute.errors import UserError
from transmute.files import write_text
from transmute.images import require_images, save_image, to_pil, to_tensor
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.layouts import Layout
from transmute.interop.options import Options
from transmute.lab import to_lab, to_rgb
from transmute.run import Run
from transmute.tensors import Images
from transmute.translation.model import inference_copy

_PAGE = """\
<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{{ title }}</title><style>
:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 24px }
h1 { font-size: 20px } h3 { font-size: 15px; margin: 24px 0 6px; overflow-wrap: anywhere }
.row { display: flex; flex-wrap: wrap; gap: 8px } figure { margin: 0 }
figcaption { font-size: 13px; opacity: .7 } img { display: block; max-width: 100% }
</style></head><body><h1>{{ title }}</h1>
{% for stem, labels in rows %}<h3>{{ stem }}</h3><div class="row">
{% for label in labels %}{% set file = (stem ~ "_" ~ label ~ ".png") | urlencode %}
<figure><a href="images/{{ file }}"><img loading="lazy" width="{{ width }}"
src="images/{{ file }}" alt=""></a><figcaption>{{ label }}</figcaption></figure>
{% endfor %}</div>{% endfor %}</body></html>
"""
_TWO_WAY = ("real_A", "fake_B", "rec_A", "real_B", "fake_A", "rec_B")
"""Labels of a CycleGAN's images, in order."""


def write_results(options: Options, say: Callable[[str], None]) -> Path:
    """Translates a test set as test.py does, and writes its images and page.

    Images are `results/<name>/<phase>_<epoch>/images/<stem>_<label>.png`. Without --eval, dropout
    stays on and batch norm uses the statistics of each image. Where test.py crops at random, the
    center is taken.

    Args:
        options: Options of the command.
        say: Called with lines on the progress.

    Returns:
        The page.

    Raises:
        UserError: If checkpoint or images are missing or do not match.
    """
    names = {"cycle_gan": ["G_A", "G_B"], "test": [f"G{options.values.get('model_suffix')}"]}
    generators = []
    for name in names.get(options["model"], ["G"]):
        file = _generator_file(options, name, say)
        generators.append(_generator(file, options))
        say(f"{file}: {generators[-1].layout}")
    ratio, width = options["aspect_ratio"], options["display_winsize"]
    tag = options["epoch"] + (f"_iter{options['load_iter']}" if options["load_iter"] else "")
    folder = Path(options["results_dir"]) / options["name"] / f"{options['phase']}_{tag}"
    rows: list[tuple[str, list[str]]] = []
    for path, images in _results(options, generators):
        for label, image in images.items():
            size = int(image.width * max(ratio, 1)), int(image.height / min(ratio, 1))
            stretched = image.resize(size, Image.Resampling.BICUBIC)
            save_image(stretched, folder / "images" / f"{path.stem}_{label}.png")
        rows.append((path.stem, list(images)))
        if len(rows) % 5 == 1:
            say(f"processing ({len(rows):04d})-th image... {path}")
    title = f"Experiment = {options['name']}, Phase = {options['phase']}, Epoch = {tag}"
    template = jinja2.Template(_PAGE, autoescape=True)
    write_text(folder / "index.html", template.render(title=title, rows=rows, width=width))
    return folder / "index.html"


def _geometry(options: Options, generators: list[_Generator]) -> Geometry:
    stride = max(generator.config.stride for generator in generators)
    preprocess = PreprocessConfig(
        mode=options["preprocess"].replace("_", "-"),
        load_size=options["load_size"] or options["crop_size"],
        flip=False,
    )
    geometry = Geometry.of(preprocess, str(options["crop_size"]), stride)
    if geometry.crops and options["crop_size"] % stride:
        raise UserError(
            f"--crop_size {options['crop_size']} is not a multiple of {stride}, which this "
            "generator requires"
        )
    return geometry


class _Generator(NamedTuple):
    """A generator of that tool, ready to translate on a device."""

    layout: Layout
    config: GeneratorConfig
    network: nn.Module
    device: str


def _generator_file(options: Options, name: str, say: Callable[[str], None]) -> Path:
    folder = options.folder
    file, file_a = (folder / f"{options.tag}_net_{known}.pth" for known in (name, "G_A"))
    if name == "G" and not file.exists() and file_a.exists():
        say(f"{file.name} does not exist, so {file_a.name} is used (see --model_suffix _A and _B)")
        return file_a
    if not file.exists():
        existing = sorted(path.name for path in folder.glob("*_net_G*.pth"))
        hint = (
            f"Write it with: transmute export {folder} --out {folder}"
            if Run(folder).exists()
            else "Choose another --name, --epoch, --model or --model_suffix"
        )
        raise UserError(
            f"there is no {file}: {folder} contains {', '.join(existing) or 'no generator'}. {hint}"
        )
    return file


def _generator(file: Path, options: Options) -> _Generator:
    ((layout, state),) = read_checkpoint(file).networks.values()
    config, channels = layout.config, (layout.in_channels, layout.out_channels)
    if not isinstance(config, GeneratorConfig):
        raise UserError(f"{file} contains a {layout}, not a generator")
    if not {*channels} <= ({1, 2} if options["model"] == "colorization" else {1, 3}):
        raise UserError(
            f"{file} translates {channels[0]} to {channels[1]} channels, which --model "
            f"{options['model']} does not support"
        )
    if isinstance(config, UNetConfig) and options["no_dropout"]:
        config = config.replace(dropout=False)  # the only setting that weights do not determine
    built, training = config.build(*channels), not options["eval"]
    built.load_state_dict(state)
    built = inference_copy(built, per_image_statistics=training, noise=training)
    device = select_device("cpu" if "-1" in options["gpu_ids"] else "auto")
    return _Generator(layout, config, built.to(device), device)


@torch.inference_mode()
def _results(
    options: Options, generators: list[_Generator]
) -> Iterator[tuple[Path, dict[str, Image.Image]]]:
    """For each image, its path and the images to show by that tool's labels."""
    geometry, sides = _geometry(options, generators), _sources(options)
    sides = sides[::-1] if options["direction"] == "BtoA" else sides
    (layout, _, forward, device), backward = generators[0], generators[-1].network
    smallest, model = max(one.config.min_size for one in generators), options["model"]
    count = min(max(map(len, sides)), options["num_test"], options["max_dataset_size"])

    def read(source: Source, channels: int) -> Images:
        image = geometry.crop(geometry.resize(source.open(channels=channels)[0]))
        if min(image.size) < smallest:
            raise UserError(
                f"images of {image.width}x{image.height} are too small for this generator, which "
                f"requires {smallest}"
            )
        return to_tensor(image).to(device)

    for index in range(int(count)):
        first, second = (side[index % len(side)] for side in sides)
        if model == "colorization":
            color = read(first, 3)
            gray = to_lab(color)[0]
            color_b = to_rgb(gray, forward(gray))
            images = {"real_A": gray, "real_B_rgb": color, "fake_B_rgb": color_b}
        else:
            a, b = read(first, layout.in_channels), read(second, layout.out_channels)
            fake_b = forward(a)
            images = {"real_A": a, "fake_B": fake_b, "real_B": b}
            if model == "test":
                images = {"real": a, "fake": fake_b}
            if model == "cycle_gan":
                fake_a = backward(b)
                two_way = {"rec_A": backward(fake_b), "fake_A": fake_a, "rec_B": forward(fake_a)}
                images = {label: (images | two_way)[label] for label in _TWO_WAY}
        yield first.path, {label: to_pil(image) for label, image in images.items()}


def _sources(options: Options) -> tuple[list[Source], list[Source]]:
    """The images of a phase: testA and testB, side by side images in test, or one folder."""
    root, phase, mode = Path(options["dataroot"]), options["phase"], options["dataset_mode"]
    if not root.is_dir():
        raise UserError(f"--dataroot {root} is not a folder")
    if mode == "unaligned":
        config = SourceConfig(a=root / f"{phase}A", b=root / f"{phase}B")
        return recognize(None, config, paired=False).train
    images = require_images(root if mode == "single" else root / phase)
    halves = ("left", "right") if mode == "aligned" else (None, None)
    a, b = ([Source(image, half) for image in images] for half in halves)
    return a, b
