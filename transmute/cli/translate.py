"""`transmute translate` and `evaluate`: the commands that use a trained model."""

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from transmute.cli.parsing import Command, as_flags, print_failures, say
from transmute.config.base import Argument, width_and_height
from transmute.config.data import Range, RangeText
from transmute.config.metrics import MetricsConfig
from transmute.errors import UserError, printable
from transmute.files import write_text


class TranslateCommand(Command):
    """Translates images with a trained model."""

    inputs: Annotated[tuple[str, ...], Argument("IMAGES", positional=True)] = ()
    """Images, folders (with their subfolders) and quoted glob patterns."""
    model: Annotated[str, Argument("RUN|FILE")]
    """Run folder or model file."""
    out: Annotated[Path, Argument("DIR|FILE")] = Path("translated")
    """Output folder. Translations keep the names and formats of their inputs. For a single image,
    also an image file, whose extension determines the format."""
    to: Annotated[str | None, Argument("DOMAIN")] = None
    """Domain to translate to, such as zebra, instead of a direction."""
    direction: Literal["a_to_b", "b_to_a"] | None = None
    """Direction, if the run has both. If omitted, a_to_b if there is one, otherwise b_to_a."""
    step: Annotated[str, Argument("newest|best|N")] = "newest"
    """Which checkpoint of a run to use: the newest, the best in evaluations, or that of a step."""
    size: Annotated[str | None, Argument("training|N|WxH")] = None
    """Size in pixels at which images are translated and written. 'training' is the training size.
    If omitted, each image keeps its size."""
    half: Literal["left", "right"] | None = None
    """Half of side-by-side images to translate. If omitted, the whole image is translated."""
    skip_existing: bool = False
    """Skip images whose output file exists."""
    compare: bool = False
    """Also write input and translation side by side, next to each translation: zebra.compare.png
    for zebra.png."""
    format: Annotated[str | None, Argument("png|tif|...|auto")] = None
    """File format of the translations. If omitted, that of each input. auto writes x.jpg.png or
    x.jpg.tif where the format of x.jpg cannot hold the translation."""
    depth: Literal["8", "16", "float"] | None = None
    """Type of the values. If omitted, that of the training images of the output's domain, or 16
    bits if these have 8 and the input has 16."""
    range: Annotated[RangeText | None, Argument("LOW:HIGH")] = None
    """Values of the input that are black and white. If omitted, those of the training images."""
    pages: Literal["all", "first"] = "all"
    """Translate all pages and frames of files that have several, or only the first."""
    reader: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Function that reads an image: it takes a path and returns an array (height, width[,
    channels]). If set, every file in a folder counts as an image."""
    max_pixels: Annotated[int, Argument("N")] = 1_000_000_000
    """Images with more pixels are refused before they are decoded."""
    noise: bool = False
    """Keep dropout active (as in pix2pix), so that repeated translations differ."""
    device: Annotated[str, Argument("auto|cpu|cuda")] = "auto"
    """Device, or cuda:N for GPU N. The first GPU is cuda:0. auto uses a GPU if there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network. auto uses bfloat16 for images of 8 bits where it is fast, which
    changes pixels by about one level of 255."""
    generator: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Config class of the model's generator, if it is user-defined."""

    def execute(self) -> int:
        if not self.inputs:
            raise UserError("IMAGES is required. Pass files, folders or quoted glob patterns")
        if self.size not in (None, "training"):
            width_and_height(self.size)

        from rich.console import Console
        from rich.progress import track

        from transmute.images.find import find_others, unused_sentences
        from transmute.translation.files import DEPTHS, translate_file
        from transmute.translation.translator import Translator

        translator = Translator(
            self.model,
            direction=self.direction,
            to=self.to,
            step=self.step,
            device=self.device,
            noise=self.noise,
            precision=self.precision,
            generator=self.generator,
        )
        card = translator.card
        console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        targets = self._targets()
        translate = partial(
            translate_file,
            translator,
            size=card.size if self.size == "training" else self.size,
            half=self.half,
            values=None if self.range is None else Range.parsed(self.range),
            depth=None if self.depth is None else DEPTHS[self.depth],
            pages=self.pages,
            any_format=self.format == "auto",
            reader=self.reader,
            max_pixels=self.max_pixels,
            skip_existing=self.skip_existing,
            compare=self.compare,
        )
        origin = f"step {card.step}" if card.step else "imported"
        introduction = (
            f"{card.source} to {card.target} ({card.direction}, {card.method}, {origin}): "
            f"{len(targets)} image{'s' if len(targets) != 1 else ''} to {self.out}, in "
            f"{translator.precision} ({translator.precision_reason})"
        )
        others = {} if self.reader else find_others(map(Path, self.inputs))
        for line in (introduction, *unused_sentences(others)):
            console.print(printable(line))
        problems: list[str] = []
        for source, target in track(
            targets.items(), "translating", console=console, disable=not console.is_terminal
        ):
            problem, notes = translate(source, target)
            problems += [] if problem is None else [problem]
            for note in notes:
                console.print(printable(as_flags(note)))
        return print_failures(problems, len(targets), "translated")

    def _targets(self) -> dict[Path, Path]:
        """The file of each image's translation, by image."""
        from transmute.images.encode import WRITABLE
        from transmute.translation.files import find_inputs

        targets = find_inputs(
            self.inputs,
            self.out,
            compare=self.compare,
            ending=self._checked_ending(),
            any_extension=self.reader is not None,
        )
        for path in targets.values() if self.reader and self.format is None else ():
            if path.suffix.lower() not in WRITABLE:
                raise UserError(
                    f"{path.suffix or 'a file without extension'} cannot be written, only read by "
                    "`reader`. Set `format`, for example `format=npy` or `format=auto`"
                )
        return targets

    def _checked_ending(self) -> str | None:
        """Extension of the translations, or None for those of the inputs."""
        from transmute.images.encode import WRITABLE

        if self.format in (None, "auto"):
            return None
        ending = f".{self.format.lstrip('.').lower()}"
        if ending not in WRITABLE:
            known = ", ".join(name.lstrip(".") for name in WRITABLE)
            raise UserError(
                f"`format={self.format}` cannot be written. Choose one of: auto, {known}"
            )
        return ending


class EvaluateCommand(Command):
    """Evaluates a model on held-out images (--model RUN --data DIR), or finished translations
    (--real DIR --fake DIR).

    Feature networks are downloaded once, to torch's cache ($TORCH_HOME/hub/checkpoints). Without a
    network connection, the error says which file to download and where to put it. --features
    texture needs no download.
    """

    model: Annotated[Path | None, Argument("RUN|FILE")] = None
    """Run folder, folder of model files, or model file."""
    data: Annotated[Path | None, Argument("DIR")] = None
    """Data set whose held-out images are translated and compared."""
    real: Annotated[Path | None, Argument("DIR")] = None
    """Folder of real images, instead of --model and --data."""
    fake: Annotated[Path | None, Argument("DIR")] = None
    """Folder of finished translations."""
    paired: bool = False
    """Compare images in pairs, matched by name. Models of paired methods are always compared in
    pairs."""
    swap: bool = False
    """Exchange the domains of the data set, for a model trained with --data.swap."""
    side_by_side: bool = False
    """Use side-by-side images of any shape, for a model trained with --data.side-by-side."""
    skip_bad: bool = False
    """Skip unpaired images. By default, they are an error."""
    split: Literal["test", "train"] = "test"
    """Images to use. test: the held-out images. train: the training images."""
    step: Annotated[str, Argument("newest|best|N")] = "newest"
    """Which checkpoint of a run to use: the newest, the best in evaluations, or that of a step."""
    generator: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Config class of the model's generator, if it is user-defined."""
    size: Annotated[str | None, Argument("training|N|WxH")] = None
    """Size in pixels to which images are resized first. 'training' is the training size. If
    omitted, each image keeps its size."""
    reader: Annotated[str | None, Argument("FILE.py:NAME")] = None
    """Function that reads an image, as in --data.reader: it takes a path and returns an array
    (height, width[, channels])."""
    range: Annotated[RangeText | None, Argument("LOW:HIGH")] = None
    """Values of --real and --fake that are black and white, or one such pair for each channel,
    separated by commas. If omitted, all values of 8 bits, and for other types the 0.1 and 99.9
    percentiles of the real images. A model has the range of its training images."""
    metrics: Annotated[MetricsConfig, Argument(name="")] = MetricsConfig(features="inception")
    """The metrics."""
    out: Annotated[Path | None, Argument("FILE")] = None
    """JSON file to write."""
    as_json: Annotated[bool, Argument(name="json")] = False
    """Print JSON instead of tables."""
    device: Annotated[str, Argument("auto|cpu|cuda")] = "auto"
    """Device, or cuda:N for GPU N. The first GPU is cuda:0. auto uses a GPU if there is one."""

    def execute(self) -> None:
        if self.out and not _may_replace(self.out):
            raise UserError(
                f"`out={self.out}` should have the extension .json, and if it exists, contain the "
                "metrics of an earlier evaluation. Choose another file"
            )

        from transmute.evaluation import evaluate

        evaluation = evaluate(
            self.model,
            self.data,
            real=self.real,
            fake=self.fake,
            config=self.metrics,
            step=self.step,
            generator=self.generator,
            split=self.split,
            swap=self.swap,
            side_by_side=self.side_by_side,
            paired=self.paired or None,
            skip_bad=self.skip_bad,
            size=self.size,
            reader=self.reader,
            range=self.range,
            device=self.device,
        )
        say(evaluation.to_json() if self.as_json else as_flags(evaluation.to_text()))
        if self.out:
            write_text(self.out.resolve(), evaluation.to_json() + "\n")


def _may_replace(path: Path) -> bool:
    """Returns True for a JSON file that does not exist yet or contains metrics."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return path.suffix == ".json" and (
            not path.exists() or "metrics" in json.loads(path.read_text(encoding="utf-8"))
        )
    return False
