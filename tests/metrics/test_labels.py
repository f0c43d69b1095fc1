from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from transmute.errors import UserError
from transmute.metrics.labels import nearest_class, read_palette, scores


def test_scores_equal_those_counted_by_hand() -> None:
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 2]])
    predicted = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 0]])
    counts = multiclass_confusion_matrix(predicted, truth, num_classes=4)
    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    pixel, of_class, iou = scores(counts)
    assert pixel == 5 / 8
    assert of_class == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert iou == pytest.approx((2 / 5 + 2 / 4 + 1 / 2) / 3)  # the fourth class does not occur


def test_a_pixel_has_the_class_of_the_nearest_color() -> None:
    palette = torch.tensor([[0, 0, 0], [255, 0, 0], [0, 0, 255]])
    images = torch.tensor([[[[-0.9, 0.8, -0.6]], [[-1.0, -0.7, -0.9]], [[-0.8, -1.0, 0.9]]]])
    assert nearest_class(images, palette).tolist() == [[[0, 1, 2]]]


def test_a_palette_is_read_and_the_error_about_a_wrong_one_says_what_is_wrong(
    tmp_path: Path,
) -> None:
    path = tmp_path / "palette.yaml"
    path.write_text('road: "#804080"\nsky: blue\n', encoding="utf-8")
    assert read_palette(path) == {"road": (128, 64, 128), "sky": (0, 0, 255)}
    for text, problem in (
        ("road: 12\nsky: blue\n", "color of road"),
        ("road: red\n", "two or more"),
        ("a: red\nb: '#ff0000'\n", "each with a different color"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=problem):
            read_palette(path)
