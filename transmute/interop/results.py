"""The results of test.py of pytorch-CycleGAN-and-pix2pix: images of a test set and a page."""

import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from urllib.parse import quote

import jinja2
import torch
from PIL import Image

from transmute.config.data import PreprocessConfig, Range
from transmute.data.preprocess import Geometry
from transmute.data.scan import decode_all
from transmute.data.source import PairError, Source
from transmute.device import select_device
from transmute.errors import UserError, printable
from transmute.files import write_text
from transmute.images.encode import save_image
from transmute.images.find import find_others, require_images, unused_sentences
from transmute.images.ranges import range_for, to_pil, to_tensor
from transmute.images.raster import ImageError, Raster
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.importer import card_of
from transmute.interop.options import Options
from transmute.interop.settings import device
from transmute.lab import to_lab, to_rgb
from transmute.tensors import Images
from transmute.translation.model import ModelCard, inference_copy
from transmute.translation.translator import Translator

_LONGEST = 200
"""Bytes of a stem. File systems allow 255 for a name, which also contains label and extension."""

_PAGE = jinja2.Template(
    """\
<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{{ title }}</title><style>
:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 24px }
h1 { font-size: 20px } h3 { font-size: 15px; margin: 24px 0 6px; overflow-wrap: anywhere }
.row { display: flex; flex-wrap: wrap; gap: 8px } figure { margin: 0 }
figcaption { font-size: 13px; opacity: .7 } img { display: block; max-width: 100% }
</style></head><body><h1>{{ title }}</h1>
{% for name, labels in rows %}<h3>{{ name }}</h3><div class="row">
{% for label, url in labels.items() %}
<figure><a href="{{ url }}"><img loading="lazy" width="{{ width }}"
src="{{ url }}" alt=""></a><figcaption>{{ label }}</figcaption></figure>
{% endfor %}</div>{% endfor %}</body></html>
""",
    autoescape=True,
)


def write_results(options: Options, say: Callable[[str], None]) -> tuple[Path, list[str], int]:
    """Translates a test set as test.py does, and writes its images and page.

    Images are `results/<name>/<phase>_<epoch>/images/<stem>_<label>.png`, in the subfolders of
    their inputs. Without --eval, dropout stays on and batch norm uses the statistics of each image.
    Where test.py crops at random, the center is taken.

    Args:
        options: Options of the command.
        say: Called with lines on the progress.

    Returns:
        The page, a sentence for each image that cannot be used, and the number of all images.

    Raises:
        UserError: If checkpoint or images are missing or do not match.
    """
    names = {"cycle_gan": ["G_A", "G_B"], "test": [f"G{options.values.get('model_suffix')}"]}
    files = [_generator_file(options, name, say) for name in names.get(options["model"], ["G"])]
    translators = [_translator(file, options, say) for file in files]
    ratio, width = options["aspect_ratio"], options["display_winsize"]
    tag = options["epoch"] + (f"_iter{options['load_iter']}" if options["load_iter"] else "")
    folder = Path(options["results_dir"]) / options["name"] / f"{options['phase']}_{tag}"
    folders = _folders(options)
    for line in unused_sentences(find_others(dict.fromkeys(folders))):
        say(line)
    sides, problems, total = _usable_sources(options, translators)
    rows: dict[str, dict[str, str]] = {}
    for path, images in _results(options, translators, sides):
        name = _unused_name(path.relative_to(folders[0]), rows)
        rows[name] = {label: f"images/{name}_{label}.png" for label in images}
        for label, image in images.items():
            size = int(image.width * max(ratio, 1)), int(image.height / min(ratio, 1))
            stretched = image.resize(size, Image.Resampling.BICUBIC)
            save_image(stretched, folder / rows[name][label])
        if len(rows) % 5 == 1:
            say(f"processing ({len(rows):04d})-th image... {path}")
    title = f"Experiment = {options['name']}, Phase = {options['phase']}, Epoch = {tag}"
    listed = [
        (printable(name), {label: quote(os.fsencode(file)) for label, file in files.items()})
        for name, files in rows.items()
    ]
    write_text(folder / "index.html", _PAGE.render(title=title, rows=listed, width=width))
    return folder / "index.html", problems, total


def _unused_name(path: Path, used: Container[str]) -> str:
    """A name for the results of an image: its path without extension, shortened and numbered."""
    name, number = path.with_suffix("").as_posix(), 1
    if len(os.fsencode(path.stem)) > _LONGEST:
        name = path.with_name(os.fsencode(path.stem)[:_LONGEST].decode(errors="ignore")).as_posix()
    numbered = name
    while numbered in used:
        number += 1
        numbered = f"{name}_{number}"
    return numbered


def _generator_file(options: Options, name: str, say: Callable[[str], None]) -> Path:
    folder = options.folder
    file, file_a = (folder / f"{options.tag}_net_{known}.pth" for known in (name, "G_A"))
    if name == "G" and not file.exists() and file_a.exists():
        say(f"{file.name} does not exist, so {file_a.name} is used (see --model_suffix _A and _B)")
        return file_a
    if not file.exists():
        existing = sorted(path.name for path in folder.glob("*_net_G*.pth"))
        raise UserError(
            f"there is no {file}: {folder} contains {', '.join(existing) or 'no generator'}. "
            "Choose another --name, --epoch, --model or --model_suffix, or export a run to this "
            "folder"
        )
    return file


def _translator(file: Path, options: Options, say: Callable[[str], None]) -> Translator:
    checkpoint, training = read_checkpoint(file), not options["eval"]
    ((role, (layout, state)),) = checkpoint.networks.items()
    card = card_of(checkpoint, role, per_image_statistics=training)
    if not isinstance(card, ModelCard):
        raise UserError(f"{file} contains a {layout}, not a generator")
    channels = card.in_channels, card.out_channels
    if options["model"] == "colorization" and channels != (1, 2):
        raise UserError(
            f"{file} translates {channels[0]} to {channels[1]} channels, which --model "
            f"{options['model']} does not support"
        )
    for line in [*checkpoint.notes, f"{file}: {layout}"]:
        say(line)
    network = layout.build()
    network.load_state_dict(state)
    network = inference_copy(
        network, per_image_statistics=training, noise=training and not options["no_dropout"]
    )
    return Translator.of(card, network, torch.device(select_device(device(options))))


def _results(
    options: Options, translators: list[Translator], sides: list[list[Source]]
) -> Iterator[tuple[Path, dict[str, Image.Image]]]:
    """For each image, its path and the images to show by that tool's labels.

    Without images of b, only a is shown, and what is made from it.
    """
    forward, backward = translators[0], translators[-1]
    is_color, card = options["model"] == "colorization", forward.card
    channels = (3, 3) if is_color else (card.in_channels, card.out_channels)
    geometry = _geometry(options, translators)

    def read(source: Source, channels: int) -> Images:
        image = geometry.crop(geometry.resize(source.open(channels)))
        return to_tensor(image, range_for(image, Range(), str(source)))

    for index in range(max(map(len, sides)) if sides[0] else 0):
        sources = [side[index % len(side)] for side in sides if side]
        a, *others = map(read, sources, channels)
        b = others[0] if others else None
        match options["model"]:
            case "colorization":
                gray, _ = to_lab(a)
                color_b = to_rgb(gray, forward.translate(gray).cpu())
                images = {"real_A": gray, "real_B_rgb": a, "fake_B_rgb": color_b}
            case "cycle_gan":
                fake_b = forward.translate(a)
                images = {"real_A": a, "fake_B": fake_b, "rec_A": backward.translate(fake_b)}
                if b is not None:
                    fake_a = backward.translate(b)
                    images |= {"real_B": b, "fake_A": fake_a, "rec_B": forward.translate(fake_a)}
            case "test":
                images = {"real": a, "fake": forward.translate(a)}
            case _:
                images = {"real_A": a, "fake_B": forward.translate(a)}
                images |= {} if b is None else {"real_B": b}
        yield sources[0].path, {label: to_pil(image) for label, image in images.items()}


def _geometry(options: Options, translators: list[Translator]) -> Geometry:
    stride = max(translator.card.generator.stride for translator in translators)
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


def _usable_sources(
    options: Options, translators: list[Translator]
) -> tuple[list[list[Source]], list[str], int]:
    """Checks the images to translate, input domain first.

    Returns:
        The usable ones, a sentence for each of the others, and the number of all.
    """
    halves = ("left", "right") if options["dataset_mode"] == "aligned" else (None, None)
    if options["direction"] == "BtoA":
        halves = halves[::-1]
    sides = [
        [Source(image, half, any_shape=options["side_by_side"]) for image in require_images(folder)]
        for folder, half in zip(_folders(options), halves, strict=False)
    ]
    count = int(min(max(map(len, sides)), options["num_test"], options["max_dataset_size"]))
    geometry = _geometry(options, translators)
    smallest = max(translator.card.generator.min_size for translator in translators)

    def require_size(source: Source, image: Raster) -> None:
        width, height = geometry.crop(geometry.resize(image)).size
        if min(width, height) < smallest:
            raise ImageError(
                f"{source.path} is {width}x{height} after preprocessing, too small for this "
                f"generator, which requires {smallest}"
            )

    sides = [side[:count] for side in sides]
    sources = [source for side in sides for source in side]
    _, errors = decode_all(sources, require_size)
    whole = ". To translate whole images, use --dataset_mode single --model test"
    problems = [f"{error}{whole * isinstance(error, PairError)}" for error in errors.values()]
    return (
        [[source for source in side if source not in errors] for side in sides],
        list(dict.fromkeys(problems)),
        len({source.path for source in sources}),
    )


def _folders(options: Options) -> list[Path]:
    """The folders of the images of a phase, inputs first.

    They are testA and testB, twice test (side by side images), or the data set (single).
    """
    root, phase, mode = Path(options["dataroot"]), options["phase"], options["dataset_mode"]
    names = {"unaligned": (f"{phase}A", f"{phase}B"), "aligned": (phase, phase), "single": ("",)}
    folders = [root / name for name in names.get(mode, (phase,))]
    return folders[::-1] if options["direction"] == "BtoA" else folders
