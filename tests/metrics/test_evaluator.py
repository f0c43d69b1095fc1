from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

from tests.conftest import SHARED
from transmute.config.metrics import MetricsConfig
from transmute.demo.animals import animal
from transmute.errors import UserError
from transmute.evaluation import Evaluator
from transmute.images.decode import read_image
from transmute.images.ranges import to_tensor
from transmute.images.raster import Raster
from transmute.metrics.evaluator import evenly_spaced
from transmute.metrics.metric import Metric
from transmute.metrics.translated import Translated, to_image

SQUEEZENET = SHARED / "weights" / "squeezenet1_1_imagenet.safetensors"
TEXTURE = MetricsConfig(features="texture", lpips="none")


def evaluator(config: MetricsConfig = TEXTURE) -> Evaluator:
    return Evaluator(config, torch.device("cpu"))


def image(seed: int, *, striped: bool = False, size: int = 32) -> Image.Image:
    return animal(np.random.default_rng(seed), striped=striped, size=size)[0]


def raster(seed: int, *, striped: bool = False) -> Raster:
    return read_image(image(seed, striped=striped))


def openers(count: int, *, first: int = 0, striped: bool = False) -> list[partial[Raster]]:
    return [partial(raster, seed, striped=striped) for seed in range(first, first + count)]


def translated(fake: Image.Image, source: Image.Image | None = None, **others) -> Translated:
    images = {"fake": fake, "source": source, **others}
    return Translated(**{name: read_image(one) for name, one in images.items() if one is not None})


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def interval(metric: Metric) -> tuple[float, float]:
    assert metric.low is not None
    assert metric.high is not None
    return metric.low, metric.high


def test_images_of_the_same_domain_are_closer_than_those_of_another() -> None:
    real, same, other = openers(12), openers(12, first=100), openers(12, striped=True)
    near, far = (
        by_name(evaluator().measure([Translated(opener()) for opener in fake], real))
        for fake in (same, other)
    )
    assert interval(near["fid"])[1] < interval(far["fid"])[0]
    assert interval(near["kid"])[0] < 0.05 < interval(far["kid"])[0]
    assert (far["fid"].fake, far["fid"].real, far["fid"].features) == (12, 12, "texture")


def test_metrics_of_pairs_equal_their_formulas() -> None:
    target, fake = (
        Image.new("RGB", (16, 16), (100, 100, 100)),
        Image.new("RGB", (16, 16), (110, 90, 100)),
    )
    measured = by_name(
        evaluator().measure([translated(fake, target=target)], [lambda: read_image(target)])
    )
    assert measured["l1"].value == pytest.approx(20 / 3)
    assert measured["psnr"].value == pytest.approx(10 * np.log10(255**2 / (200 / 3)))
    flat = by_name(
        evaluator().measure(
            [
                translated(
                    Image.new("RGB", (16, 16), (122,) * 3),
                    target=Image.new("RGB", (16, 16), (134,) * 3),
                )
            ],
            [lambda: read_image(target)],
        )
    )
    # Wang et al. (2004), equation 13, without variance: (2 m n + c1) / (m^2 + n^2 + c1), with m
    # and n in 0..255.
    assert flat["ssim"].value == pytest.approx(
        (2 * 122 * 134 + 2.55**2) / (122**2 + 134**2 + 2.55**2), rel=1e-6
    )
    assert (measured["l1"].low, measured["l1"].high, measured["l1"].fake, measured["l1"].real) == (
        measured["l1"].value,
        measured["l1"].value,
        1,
        0,
    )
    assert "fid" not in measured  # a single image has no covariance


def deep(channels: int, seed: int = 0, *, size: int = 32) -> Raster:
    """Random values in [-1, 1], as float32."""
    values = np.random.default_rng(seed).uniform(-1, 1, (size, size, channels))
    return Raster(values.astype(np.float32), depth="float32")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 13])
def test_metrics_of_pixels_use_all_channels(channels: int) -> None:
    target = deep(channels).pixels.clip(-0.9, 0.9)
    fake = target.copy()
    fake[:, :, -1] += 0.1
    pair = [Raster(pixels, depth="float32") for pixels in (fake, target)]
    item = Translated(pair[0], pair[1], target=pair[1], back=pair[0])
    measured = by_name(evaluator().measure([item], [lambda: pair[1]]))
    assert measured["l1"].value == pytest.approx(127.5 * 0.1 / channels, rel=1e-5)
    assert measured["cycle"].value == measured["l1"].value
    assert measured["psnr"].value == pytest.approx(10 * np.log10(4 / (0.01 / channels)), rel=1e-5)
    assert 0.5 < measured["ssim"].value < 1


@pytest.mark.parametrize(
    ("channels", "part"),
    [
        (1, ""),
        (2, "channel 1 of 2 as gray"),
        (3, ""),
        (6, "channels 1, 2 and 3 of 6 as red, green and blue"),
    ],
)
def test_networks_see_the_displayed_channels_which_a_note_names(channels: int, part: str) -> None:
    measuring = evaluator()
    images = [deep(channels, seed, size=48) for seed in range(4)]
    hidden = [image.pixels.copy() for image in images]
    for pixels in hidden:
        pixels[:, :, 1 if channels == 2 else 3 :] *= -1
    translations = [Translated(Raster(pixels, depth="float32")) for pixels in hidden]
    metrics = by_name(
        measuring.measure(translations, [partial(lambda one: one, i) for i in images])
    )
    assert metrics["fid"].value == pytest.approx(0, abs=1e-9)
    expected = (
        f"FID, KID, LPIPS, label maps and custom metrics see {part}. cycle, l1, psnr and ssim"
    )
    assert [note for note in measuring.notes if note.startswith(expected)] == (
        list(measuring.notes) if part else []
    )
    assert bool(measuring.notes) is bool(part)


def test_images_of_other_numbers_of_channels_are_not_compared() -> None:
    item = Translated(deep(6), target=deep(4))
    with pytest.raises(UserError, match="images of 4 and of 6 channels cannot be compared"):
        evaluator().measure([item], [lambda: deep(4)])


def test_ssim_equals_that_of_images_in_0_to_255() -> None:
    one, two = image(0, size=64), image(1, size=64)
    levels = [127.5 * (to_tensor(read_image(each)).double() + 1) for each in (one, two)]
    expected = structural_similarity_index_measure(levels[0], levels[1], data_range=255.0)
    assert isinstance(expected, torch.Tensor)
    metrics = by_name(evaluator().measure([translated(one, target=two)], [lambda: read_image(two)]))
    assert metrics["ssim"].value == pytest.approx(expected.item(), rel=1e-9)


def test_gray_translations_are_compared_with_gray_images() -> None:
    target = image(0)
    measured = by_name(
        evaluator().measure(
            [
                translated(
                    target.convert("L"), source=target, target=target, back=target.convert("L")
                )
            ],
            [lambda: read_image(target)],
        )
    )
    assert (measured["l1"].value, measured["psnr"].value, measured["cycle"].value) == (0, 100, 0)


def test_cycle_and_change_compare_with_the_input() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights for tests are missing")
    source, other = image(0, size=64), image(1, size=64)
    measure = partial(evaluator(MetricsConfig(features=str(SQUEEZENET))).measure, reals=openers(2))
    same = by_name(measure([translated(source, source, back=source)]))
    assert (same["cycle"].value, same["change"].value, same["structure"].value) == (0, 0, 0)
    changed = by_name(measure([translated(other, source, back=other)]))
    assert changed["cycle"].value > 10
    assert changed["change"].value > 0.1
    assert changed["structure"].value > 0.001
    assert changed["structure"].features == "squeezenet of squeezenet1_1_imagenet.safetensors"
    twice = by_name(measure([translated(source), translated(source), translated(other)]))
    assert twice["diversity"].value == pytest.approx(changed["change"].value / 2, rel=1e-5)
    assert twice["diversity_real"].real == 2


def test_images_too_small_for_lpips_are_left_out() -> None:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights for tests are missing")
    measuring = evaluator(MetricsConfig(features=str(SQUEEZENET)))
    measured = by_name(
        measuring.measure(
            [
                translated(image(seed, size=size), image(seed, size=size))
                for seed, size in ((0, 16), (1, 64), (2, 64))
            ],
            openers(2),
        )
    )
    assert measured["change"].fake == 2
    assert measured["structure"].fake == 3
    assert any("below 32 pixels" in note for note in measuring.notes)


def test_label_maps_are_compared_class_by_class(tmp_path: Path) -> None:
    palette = tmp_path / "palette.yaml"
    palette.write_text('sky: "#0000ff"\nroad: "#808080"\n', encoding="utf-8")
    truth = Image.new("RGB", (16, 16), (0, 0, 255))
    truth.paste((128, 128, 128), (0, 8, 16, 16))
    fake = Image.new("RGB", (16, 16), (10, 10, 240))  # all sky, so half of the pixels are correct
    config = TEXTURE.replace(palette=palette)
    measured = by_name(
        evaluator(config).measure([translated(fake, target=truth)] * 3, [lambda: read_image(truth)])
    )
    assert (
        measured["pixel_accuracy"].value,
        measured["class_accuracy"].value,
        measured["iou"].value,
    ) == (
        0.5,
        0.5,
        0.25,
    )
    assert measured["iou"].low == measured["iou"].high == 0.25
    photo = by_name(
        evaluator(config).measure(
            [translated(image(0), target=image(0))], [lambda: read_image(truth)]
        )
    )
    assert "iou" not in photo


def test_a_segmenter_compares_photos_with_their_label_maps(tmp_path: Path) -> None:
    (tmp_path / "palette.yaml").write_text('dark: "#000000"\nlight: "#ffffff"\n', encoding="utf-8")
    by_light = "light = x.mean(1, keepdim=True)\n        return torch.cat([-light, light], 1)"
    kinds = (("ByLight", by_light), ("Wrong", "return x"))
    classes = [
        f"class {name}(torch.nn.Module):\n    def forward(self, x):\n        {body}\n"
        for name, body in kinds
    ]
    (tmp_path / "mine.py").write_text("import torch\n" + "".join(classes), encoding="utf-8")
    labels = Image.new("RGB", (16, 16))
    labels.paste((255, 255, 255), (0, 0, 4, 16))
    config = TEXTURE.replace(
        palette=tmp_path / "palette.yaml", segmenter=f"{tmp_path}/mine.py:ByLight"
    )
    photo = Image.new("RGB", (16, 16), (40, 40, 40))
    photo.paste((200, 220, 200), (0, 0, 8, 16))
    measured = by_name(
        evaluator(config).measure([translated(photo, labels)], [lambda: read_image(photo)])
    )
    assert measured["pixel_accuracy"].value == 0.75
    with pytest.raises(UserError, match="a score for each class of the palette"):
        evaluator(config.replace(segmenter=f"{tmp_path}/mine.py:Wrong")).measure(
            [translated(photo, labels)], [lambda: read_image(photo)]
        )
    with pytest.raises(UserError, match=r"Set `metrics\.palette` too"):
        evaluator(config.replace(palette=None))


def test_the_identity_has_no_cycle_error_and_the_distance_of_the_domains() -> None:
    def identity(image: Raster) -> Raster:
        return image

    a, b = openers(8), openers(8, striped=True)
    translators = {"a_to_b": identity, "b_to_a": identity}
    metrics = evaluator().measure_directions(translators, a, b, paired=False)
    a_to_b, b_to_a = by_name(metrics["a_to_b"]), by_name(metrics["b_to_a"])
    assert a_to_b["cycle"].value == b_to_a["cycle"].value == 0
    assert a_to_b["fid"].value == pytest.approx(b_to_a["fid"].value, rel=1e-9)
    one_direction = evaluator().measure_directions({"a_to_b": identity}, a, b, paired=True)
    assert "cycle" not in by_name(one_direction["a_to_b"])
    assert by_name(one_direction["a_to_b"])["l1"].value > 5


def test_images_are_subsampled_evenly() -> None:
    assert list(evenly_spaced(range(7), 3)) == [0, 3, 6]
    assert list(evenly_spaced(range(7), None)) == list(range(7))
    assert list(evenly_spaced(range(2), 3)) == [0, 1]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("fails", "the metric fails failed: ValueError: no"),
        ("infinite", "the metric infinite returned inf. It must return a finite number"),
        ("fid", "there is already a metric fid"),
        ("wrong", r"wrong\.better is 'best'. Set it to 'lower' or 'higher'"),
        ("number", "number is not a function"),
        ("missing", "does not define missing"),
    ],
)
def test_the_error_about_a_wrong_metric_says_what_is_wrong(
    custom: Path, name: str, problem: str
) -> None:
    config = TEXTURE.replace(custom=(f"{custom}:{name}",))
    with pytest.raises(UserError, match=problem):
        evaluator(config).measure([translated(image(0))], openers(1))


def test_models_can_be_compared_by_the_users_own_metrics(custom: Path) -> None:
    measuring = evaluator(TEXTURE.replace(custom=(f"{custom}:brightness", f"{custom}:fails")))
    better = measuring.measurable(paired=False, both_directions=False, counts=(2, 2))
    assert better == {"fid": "lower", "brightness": "higher", "fails": "lower"}


def test_the_inception_score_is_measured_if_the_network_has_a_classifier() -> None:
    measuring = evaluator()
    translations = [translated(image(seed, striped=seed % 2 > 0)) for seed in range(12)]
    assert "inception_score" not in by_name(measuring.measure(translations, openers(12)))
    torch.manual_seed(0)
    classifier = torch.randn(5, 87)
    measuring.features = replace(measuring.features, classifier=classifier)
    for counts, possible in (((2, 2), True), ((1, 2), False)):
        better = measuring.measurable(paired=False, both_directions=False, counts=counts)
        assert ("inception_score" in better) is possible
    metrics = measuring.measure(translations, openers(7))
    assert [metric.name for metric in metrics] == ["fid", "kid", "inception_score"]
    score = metrics[2]
    vectors = measuring.features.of([to_image(item.fake) for item in translations])
    predictions = (vectors @ classifier.double().T).softmax(1)
    divergence = (predictions * (predictions / predictions.mean(0)).log()).sum(1).mean()
    assert score.value == pytest.approx(divergence.exp().item(), rel=1e-9)
    assert 1 < interval(score)[0] < score.value < interval(score)[1]
    assert (score.features, score.fake, score.real) == ("texture", 12, 0)
    single = by_name(measuring.measure(translations[:1], openers(7)))
    assert "inception_score" not in single


@pytest.mark.parametrize(("size", "omitted"), [(10, True), (11, False)])
def test_ssim_of_small_images_is_omitted_and_noted(size: int, omitted: bool) -> None:
    measuring = evaluator()
    fake, target = image(0, size=32).resize((size, 32)), image(1, size=32).resize((size, 32))
    metrics = by_name(measuring.measure([translated(fake, target=target)] * 2, openers(2)))
    assert ("ssim" not in metrics) is omitted
    assert any("SSIM is omitted" in note for note in measuring.notes) is omitted
