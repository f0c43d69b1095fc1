from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transmute.demo.animals import animal
from transmute.demo.demo import run_demo
from transmute.demo.evidence import measure
from transmute.run import Run


def animals_of(striped: bool, count: int = 12) -> tuple[list[Image.Image], list[Image.Image]]:
    pairs = [animal(np.random.default_rng([striped, index]), striped=striped) for index in range(count)]
    return [picture for picture, _ in pairs], [mask for _, mask in pairs]


PLAIN, PLAIN_MASKS = animals_of(False)
STRIPED, STRIPED_MASKS = animals_of(True)


def test_pictures_are_a_function_of_their_seed() -> None:
    one, other = (animal(np.random.default_rng(7), striped=True)[0] for _ in range(2))
    assert np.array_equal(np.asarray(one), np.asarray(other))
    assert one.size == (64, 64)


def test_domains_differ_inside_the_animals_only() -> None:
    for index in range(3):
        plain, mask = animal(np.random.default_rng(index), striped=False)
        striped, other_mask = animal(np.random.default_rng(index), striped=True)
        assert np.array_equal(np.asarray(mask), np.asarray(other_mask))
        inside = np.asarray(mask) > 0
        assert 0.05 < inside.mean() < 0.6
        differs = (np.asarray(plain) != np.asarray(striped)).any(axis=2)
        assert not differs[~inside].any()
        assert differs[np.asarray(mask) == 255].mean() > 0.5


def test_evidence_of_no_translation_is_zero_and_of_a_perfect_one_is_one() -> None:
    nothing = measure(PLAIN, PLAIN, PLAIN_MASKS, STRIPED, STRIPED_MASKS)
    assert nothing.moved == pytest.approx(0, abs=1e-9)
    assert nothing.moved_untranslated == pytest.approx(0, abs=1e-9)
    assert nothing.ground_changed == 0
    assert nothing.ground_of_another > 10
    same_scene = [animal(np.random.default_rng([False, index]), striped=True)[0] for index in range(len(PLAIN))]
    perfect = measure(PLAIN, same_scene, PLAIN_MASKS, STRIPED, STRIPED_MASKS)
    # The same looks, drawn by other random numbers: as near as twelve pictures can tell.
    assert perfect.moved == pytest.approx(1, abs=0.1)
    assert perfect.ground_changed == 0


def test_evidence_sees_a_changed_ground() -> None:
    brighter = [Image.fromarray((np.asarray(picture).astype(int) + 10).clip(0, 255).astype(np.uint8)) for picture in PLAIN]
    assert 8 < measure(PLAIN, brighter, PLAIN_MASKS, STRIPED, STRIPED_MASKS).ground_changed <= 10


def test_the_quick_demo_goes_the_whole_way_and_goes_on_when_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(tmp_path / "demo", quick=True) is None
    run = Run(tmp_path / "demo")
    assert run.report_file.is_file()
    assert run.checkpoints()[-1] == 6
    with Image.open(run.folder / "demo.png") as picture:
        assert picture.width > 700
    assert "of the way to the other domain" in capsys.readouterr().out
    assert run_demo(tmp_path / "demo", quick=True) is None
    assert "is finished" in capsys.readouterr().out
