"""Label maps: the class of each pixel, and how well translations agree with a map."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from transmute.documents import read_yaml
from transmute.errors import UserError
from transmute.images.decode import read_image
from transmute.images.ranges import displayed, normalize
from transmute.images.raster import Raster
from transmute.metrics.features import build_network, call_network
from transmute.metrics.metric import Metric, bootstrap
from transmute.metrics.translated import Translated, as_tensor, to_image
from transmute.tensors import Images


def read_palette(path: Path) -> dict[str, tuple[int, int, int]]:
    """Reads a palette: YAML lines such as `road: "#804080"`.

    Returns:
        The colors in 0..255 by the names of their classes.

    Raises:
        UserError: If the file cannot be read, a value is not a color, or two classes share one.
    """
    values = read_yaml(path, only_text_keys=False)
    if not isinstance(values, dict):
        raise UserError(f'{path} is not a palette. Write a line per class, such as road: "#804080"')
    colors: dict[str, tuple[int, int, int]] = {}
    for name, color in values.items():
        try:
            colors[str(name)] = ImageColor.getrgb(str(color))[:3]
        except ValueError:
            raise UserError(
                f'{path}: the color of {name} is {color!r}. Write "#rrggbb" with the quotes'
            ) from None
    if len(colors) < 2 or len(set(colors.values())) < len(colors):
        raise UserError(
            f"{path} has {len(colors)} classes and {len(set(colors.values()))} different colors. "
            "Define two or more classes, each with a different color"
        )
    return colors


def nearest_class(images: Images, palette: Tensor) -> Tensor:
    """The class of each pixel: the one with the nearest color.

    Args:
        images: (batch, 3, height, width) in [-1, 1].
        palette: (classes, 3) in 0..255.

    Returns:
        Indices of classes, (batch, height, width).
    """
    # The default mode of cdist multiplies matrices, which rounds small distances.
    exact = "donot_use_mm_for_euclid_dist"
    colors = normalize(palette.byte())
    return torch.cdist(images.movedim(1, -1), colors, compute_mode=exact).argmin(-1)


def scores(confusion: Tensor) -> tuple[float, float, float]:
    """Pixel accuracy, class accuracy and mean IoU of a confusion matrix.

    As in Long et al. (2015), "Fully Convolutional Networks", section 5. Classes that occur in
    neither map are excluded.
    """
    matrix = confusion.double()
    correct, actual, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    # The ratios of classes that do not occur are 0 / 0, which is NaN.
    return (
        float(correct.sum() / matrix.sum()),
        float((correct / actual).nanmean()),
        float((correct / (actual + predicted - correct)).nanmean()),
    )


def label_metrics(confusions: Tensor) -> list[Metric]:
    """Accuracies and IoU of all images together.

    Args:
        confusions: A confusion matrix per image, (images, classes, classes).
    """

    def score(images: np.ndarray) -> tuple[float, float, float]:
        return scores(confusions[torch.from_numpy(images)].sum(0))

    names = ("pixel_accuracy", "class_accuracy", "iou")
    intervals = bootstrap(score, [len(confusions)]).T.tolist()
    return [
        Metric(name, *interval, features="", fake=len(confusions))
        for name, interval in zip(names, intervals, strict=True)
    ]


class LabelComparison:
    """Compares translations with label maps: with targets that are label maps, or with sources.

    Args:
        palette: File with the colors of the classes.
        segmenter: FILE.py:NAME of a function that returns a segmentation network, for translations
            of label maps to photos. Without it, translations are compared with targets only.
        device: Device to compute on.

    Raises:
        UserError: If the palette or the segmenter cannot be loaded.
    """

    def __init__(self, palette: Path, segmenter: str | None, device: torch.device) -> None:
        self.palette = torch.tensor(list(read_palette(palette).values()), device=device)
        self.device = device
        self.segmenter = build_network(segmenter).to(device) if segmenter else None

    @torch.inference_mode()
    def confusions(self, item: Translated) -> list[Tensor]:
        """Confusion matrix of a translation; empty if neither target nor source is a label map.

        Raises:
            UserError: If the segmenter fails, or its output has another shape.
        """
        seen, classes = displayed(item.fake), len(self.palette)
        fake = as_tensor(seen, self.device)
        if item.target is not None and self._is_label_map(item.target):
            truth, predicted = item.target, nearest_class(fake, self.palette)
        elif self.segmenter and item.source is not None and self._is_label_map(item.source):
            output = call_network(
                self.segmenter,
                fake,
                "the segmenter",
                (1, classes, None, None),
                f"Return (images, {classes}, height, width): a score for each class of the palette",
            )
            likely = nn.functional.interpolate(output.float(), fake.shape[2:], mode="bilinear")
            truth, predicted = item.source, likely.argmax(1)
        else:
            return []
        resized = to_image(displayed(truth).with_channels(seen.channels)).resize(
            seen.size, Image.Resampling.NEAREST
        )
        labels = nearest_class(as_tensor(read_image(resized), self.device), self.palette)
        return [multiclass_confusion_matrix(predicted.cpu(), labels.cpu(), num_classes=classes)]

    def _is_label_map(self, image: Raster) -> bool:
        """Whether most pixels have a color of the palette, up to the errors of JPEG compression."""
        images = as_tensor(displayed(image), self.device)
        nearest = normalize(self.palette.byte())[nearest_class(images, self.palette)].movedim(-1, 1)
        return (127.5 * (images - nearest)).abs().amax(1).median().item() < 24
