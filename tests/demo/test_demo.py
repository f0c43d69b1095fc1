from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transmute.demo.animals import animal, score_transfer
from transmute.demo.demo import run_demo
from transmute.run import Run


def draw_animals(striped: bool, count: int = 12) -> tuple[list[Image.Image], list[Image.Image]]:
    pairs = [
        animal(np.random.default_rng([striped, index]), striped=striped) for index in range(count)
    ]
    return [image for image, _ in pairs], [mask for _, mask in pairs]


PLAIN, PLAIN_MASKS = draw_animals(False)
STRIPED, STRIPED_MASKS = draw_animals(True)


def test_images_are_a_function_of_their_seed() -> None:
    one, other = (animal(np.random.default_rng(7), striped=True)[0] for _ in range(2))
    assert np.array_equal(np.asarray(one), np.asarray(other))
    assert one.size == (64, 64)


def test_domains_differ_only_inside_the_animals() -> None:
    for index in range(3):
        plain, mask = animal(np.random.default_rng(index), striped=False)
        striped, other_mask = animal(np.random.default_rng(index), striped=True)
        assert np.array_equal(np.asarray(mask), np.asarray(other_mask))
        inside = np.asarray(mask) > 0
        assert 0.05 < inside.mean() < 0.6
        differs = (np.asarray(plain) != np.asarray(striped)).any(axis=2)
        assert not differs[~inside].any()
        assert differs[np.asarray(mask) == 255].mean() > 0.5


def test_the_score_of_no_translation_is_zero_and_of_a_perfect_one_is_one() -> None:
    unchanged = score_transfer(PLAIN, PLAIN, PLAIN_MASKS, STRIPED, STRIPED_MASKS)
    assert unchanged.transfer == pytest.approx(0, abs=1e-9)
    assert unchanged.background_change == 0
    assert unchanged.background_of_another > 10
    same_scene = [
        animal(np.random.default_rng([False, index]), striped=True)[0]
        for index in range(len(PLAIN))
    ]
    perfect = score_transfer(PLAIN, same_scene, PLAIN_MASKS, STRIPED, STRIPED_MASKS)
    # The same distribution with other random numbers, so the means of twelve images differ.
    assert perfect.transfer == pytest.approx(1, abs=0.1)
    assert perfect.background_change == 0


def test_the_score_measures_a_changed_background() -> None:
    brighter = [
        Image.fromarray((np.asarray(image).astype(int) + 10).clip(0, 255).astype(np.uint8))
        for image in PLAIN
    ]
    score = score_transfer(PLAIN, brighter, PLAIN_MASKS, STRIPED, STRIPED_MASKS)
    assert 8 < score.background_change <= 10


def test_the_quick_demo_trains_and_scores_and_can_be_repeated_when_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(tmp_path / "demo", quick=True) is None
    run = Run(tmp_path / "demo")
    assert run.report_file.is_file()
    assert run.checkpoints()[-1] == 6
    with Image.open(run.folder / "demo.png") as image:
        assert image.width > 700
    assert "of the way to the other domain" in capsys.readouterr().out
    assert run_demo(tmp_path / "demo", quick=True) is None
    assert "resumed at step 6 of 6" in capsys.readouterr().out
