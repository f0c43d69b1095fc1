from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import transmute
from transmute import Translator
from transmute.data.config import PreprocessConfig
from transmute.images import to_picture
from transmute.networks.config import ResNetConfig, UNetConfig
from transmute.run import Run
from transmute.settings import UserError
from transmute.translation.files import find_inputs, translate_file
from transmute.translation.model import ModelCard, load_model, ready, save_network
from transmute.translation.translator import reflected


def card(**changes) -> ModelCard:
    values = {
        "transmute": transmute.__version__,
        "method": "cyclegan",
        "direction": "a_to_b",
        "source": "horse",
        "target": "zebra",
        "generator": ResNetConfig(width=2, blocks=1),
        "in_channels": 3,
        "out_channels": 3,
        "size": "16x16",
        "preprocess": PreprocessConfig(),
    }
    return ModelCard(**(values | changes))


def saved(path: Path, **changes) -> Path:
    torch.manual_seed(0)
    of = card(**changes)
    save_network(path, of, of.generator.build(of.in_channels, of.out_channels))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "model.safetensors")


def translated(model: Path, folder: Path, out: Path) -> list[str | None]:
    translator = Translator(model, device="cpu", precision="float32")
    return [translate_file(translator, source, target) for source, target in find_inputs([str(folder)], out).items()]


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, bands), dtype=np.uint8))


@given(length=st.integers(1, 300), stride=st.sampled_from([4, 16, 256]))
def test_a_side_is_reflected_to_a_multiple_of_the_stride(length: int, stride: int) -> None:
    indices = reflected(length, stride, 2 * stride)
    before = (len(indices) - length) // 2
    assert len(indices) % stride == 0
    assert max(length, 2 * stride) <= len(indices) < max(length, 2 * stride) + stride
    assert indices[before : before + length].tolist() == list(range(length))
    steps = indices.diff().abs()
    assert length == 1 or set(steps.tolist()) == {1}


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (16, 16), (37, 21)])
@pytest.mark.parametrize("generator", [ResNetConfig(width=2, blocks=1), UNetConfig(width=2, depth=5, norm="instance")])
def test_pictures_of_any_size_keep_their_size(tmp_path: Path, size: tuple[int, int], generator) -> None:
    translator = Translator(saved(tmp_path / "x.safetensors", generator=generator), device="cpu", precision="float32")
    assert translator(noise(*size)).size == size


def test_a_picture_that_fits_goes_through_the_plain_network(model: Path) -> None:
    translator = Translator(model, device="cpu", precision="float32")
    images = torch.rand(2, 3, 16, 32) * 2 - 1
    assert torch.equal(translator.translate(images), translator.network(images))
    assert isinstance(translator.network, nn.Module)
    assert not translator.network.training


def test_all_kinds_of_pictures_are_taken(model: Path, tmp_path: Path) -> None:
    translator, image = Translator(str(model), device="cpu", precision="float32"), noise(20, 12)
    image.save(tmp_path / "x.png")
    expected = np.asarray(translator(image))
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 127.5 - 1
    assert np.array_equal(np.asarray(translator(str(tmp_path / "x.png"))), expected)
    assert np.array_equal(np.asarray(translator(tmp_path / "x.png")), expected)
    assert np.array_equal(np.asarray(translator(np.asarray(image))), expected)
    assert np.array_equal(np.asarray(translator(tensor)), expected)
    assert np.array_equal(np.asarray(translator(tensor[None])), expected)
    assert [np.array_equal(np.asarray(one), expected) for one in translator([image, tensor])] == [True, True]
    for nothing in (np.zeros((0, 3), dtype=np.uint8), np.zeros((2, 3, 4, 4), dtype=np.uint8), Image.new("RGB", (0, 0))):
        with pytest.raises(UserError, match=r"picture|array"):
            translator(nothing)
    with pytest.raises(UserError, match="should be uint8"):
        translator(np.zeros((4, 4, 3)))
    for shape in ((1, 4, 4), (2, 3, 4, 4), (4,)):
        with pytest.raises(UserError, match=r"should be float \(3, height, width\)"):
            translator(torch.zeros(*shape))


def test_gray_in_and_color_out(tmp_path: Path) -> None:
    translator = Translator(saved(tmp_path / "x.safetensors", in_channels=1), device="cpu", precision="float32")
    assert translator(noise(16, 16)).mode == "RGB"
    gray = Translator(saved(tmp_path / "y.safetensors", out_channels=1), device="cpu", precision="float32")
    assert gray(noise(16, 16)).mode == "L"
    assert np.asarray(gray(np.zeros((16, 16, 1), dtype=np.uint8))).shape == (16, 16)


def test_alpha_is_carried_over(model: Path) -> None:
    image = noise(20, 12, "RGBA")
    translated = Translator(model, device="cpu", precision="float32")(image)
    assert translated.mode == "RGBA"
    assert np.array_equal(np.asarray(translated)[:, :, 3], np.asarray(image)[:, :, 3])


def test_a_size_is_worked_at_and_given_back(model: Path) -> None:
    translator, image = Translator(model, device="cpu", precision="float32"), noise(50, 40)
    resized = translator(image, size="16x24")
    assert resized.size == (16, 24)
    assert np.array_equal(np.asarray(resized), np.asarray(translator(image.resize((16, 24), Image.Resampling.BICUBIC))))
    assert translator(image, size=32).size == (32, 32)


def test_half_of_a_pair_side_by_side_can_be_translated(model: Path, tmp_path: Path) -> None:
    translator, left, right = Translator(model, device="cpu", precision="float32"), noise(16, 16), noise(16, 16).rotate(90)
    both = Image.new("RGB", (33, 16))
    both.paste(left, (0, 0))
    both.paste(right, (17, 0))
    both.save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(translator(both, half="left")), np.asarray(translator(left)))
    assert np.array_equal(np.asarray(translator(tmp_path / "x.png", half="right")), np.asarray(translator(right)))


def test_dropout_is_off_and_batch_norm_uses_what_the_training_used() -> None:
    torch.manual_seed(0)
    generator = UNetConfig(width=2, depth=7).build(3, 3).train()
    images = torch.rand(1, 3, 128, 128)
    fixed, own = ready(generator, own_statistics=False), ready(generator, own_statistics=True)
    assert torch.equal(fixed(images), fixed(images))
    assert not torch.equal(fixed(images), own(images))
    for module in generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert torch.equal(own(images), generator(images))


def test_pictures_of_a_batch_do_not_share_their_own_statistics(tmp_path: Path) -> None:
    translator = Translator(
        saved(tmp_path / "x.safetensors", generator=ResNetConfig(width=2, blocks=1, norm="batch"), own_statistics=True), device="cpu"
    )
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(translator.translate(images), torch.cat([translator.translate(image[None]) for image in images]))


@pytest.mark.parametrize("levels", [0, 3, 4])
def test_pictures_smaller_than_the_layers_need_are_translated(tmp_path: Path, levels: int) -> None:
    translator = Translator(
        saved(tmp_path / "x.safetensors", generator=ResNetConfig(width=2, blocks=1, levels=levels)), device="cpu", precision="float32"
    )
    assert translator(noise(50, 5)).size == (50, 5)


def test_a_model_file_says_what_it_is(model: Path) -> None:
    found, network = load_model(model)
    assert found == card()
    assert network.state_dict().keys() == card().generator.build(3, 3).state_dict().keys()


def test_a_run_chooses_its_newest_model_and_the_asked_direction(tmp_path: Path) -> None:
    for step in (9, 10):
        saved(Run(tmp_path).model_folder(step) / "a_to_b.safetensors", step=step)
        saved(Run(tmp_path).model_folder(step) / "b_to_a.safetensors", step=step, direction="b_to_a")
    assert Translator(tmp_path).card.step == 10
    assert Translator(tmp_path).card.direction == "a_to_b"
    assert Translator(tmp_path, direction="b_to_a").card.direction == "b_to_a"
    Run(tmp_path).model_file("b_to_a").unlink()
    with pytest.raises(UserError, match="has no model for b_to_a: it has a_to_b"):
        Translator(tmp_path, direction="b_to_a")


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path, model: Path) -> None:
    with pytest.raises(UserError, match="no run folder or model file"):
        Translator(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no model yet"):
        Translator(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"PK not a model")
    with pytest.raises(UserError, match="no safetensors file"):
        Translator(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="translates a_to_b, not b_to_a"):
        Translator(model, direction="b_to_a")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device can be used here"):
            Translator(model, device="cuda")


def test_files_keep_tree_name_format_and_size(model: Path, tmp_path: Path) -> None:
    names = ["a.png", "b.JPG", "deep/c.webp", "deep/er/d.tif", "e.bmp", "f.gif", "g.ppm"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        noise(21, 17).save(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert translated(model, tmp_path / "in", out) == [None] * len(names)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == sorted(names)
    for name in names:
        with Image.open(tmp_path / "in" / name) as before, Image.open(out / name) as after:
            assert (after.size, after.format) == (before.size, before.format)


def test_one_bad_picture_does_not_stop_the_rest(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no picture")
    noise(16, 16).save(tmp_path / "in" / "b.png")
    bad, good = translated(model, tmp_path / "in", tmp_path / "out")
    assert good is None
    assert bad is not None
    assert "a.png is not a picture" in bad
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_existing_translations_can_be_skipped(model: Path, tmp_path: Path) -> None:
    noise(16, 16).save(tmp_path / "x.png")
    translator, target = Translator(model, device="cpu", precision="float32"), tmp_path / "out" / "x.png"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").write_text("as it was")
    assert translate_file(translator, tmp_path / "x.png", target, skip_existing=True) is None
    assert (tmp_path / "out" / "x.png").read_text() == "as it was"
    assert translate_file(translator, tmp_path / "x.png", target) is None
    assert (tmp_path / "out" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_inputs_are_files_folders_and_globs_and_never_overwritten(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/deep/b.png", "in/notes.txt", "other/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        noise(4, 4).save(tmp_path / name, "PNG")
    out = tmp_path / "out"
    found = find_inputs([str(tmp_path / "in"), str(tmp_path / "in" / "a.png")], out)
    assert {target.relative_to(out).as_posix() for target in found.values()} == {"a.png", "deep/b.png"}
    assert len(find_inputs([str(tmp_path / "in" / "**" / "*")], out)) == 2
    (tmp_path / "picture").write_bytes((tmp_path / "in" / "a.png").read_bytes())
    with pytest.raises(UserError, match="has not the ending of a picture"):
        find_inputs([str(tmp_path / "picture")], out)
    with pytest.raises(UserError, match="would both be written to"):
        find_inputs([str(tmp_path / "in"), str(tmp_path / "other")], out)
    with pytest.raises(UserError, match="overwritten by its own translation"):
        find_inputs([str(tmp_path / "in")], tmp_path / "in")
    with pytest.raises(UserError, match="there is no picture, folder or match"):
        find_inputs([str(tmp_path / "nothing*.png")], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        find_inputs([str(tmp_path / "empty")], out)


def test_translated_tensors_and_pictures_agree(model: Path) -> None:
    translator, image = Translator(model, device="cpu", precision="float32"), noise(16, 16)
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    assert np.array_equal(np.asarray(to_picture(translator.translate(tensor))), np.asarray(translator(image)))


def test_noise_keeps_dropout_on_and_its_absence_repeats(tmp_path: Path) -> None:
    path = saved(tmp_path / "unet.safetensors", generator=UNetConfig(width=2, depth=7, norm="instance"))
    images = torch.randn(1, 3, 128, 128)
    noisy, still = Translator(path, noise=True), Translator(path)
    assert not torch.equal(noisy.translate(images), noisy.translate(images))
    assert torch.equal(still.translate(images), still.translate(images))


def test_a_folder_of_model_files_is_a_translator_for_each_direction(tmp_path: Path) -> None:
    saved(tmp_path / "a_to_b.safetensors")
    saved(tmp_path / "b_to_a.safetensors", direction="b_to_a", source="zebra", target="horse")
    assert Translator(tmp_path).card.target == "zebra"
    assert Translator(tmp_path, direction="b_to_a").card.target == "horse"


def test_channels_that_no_picture_has_are_refused_but_tensors_translate(tmp_path: Path) -> None:
    path = saved(tmp_path / "four.safetensors", in_channels=4)
    with pytest.raises(UserError, match="this model takes 4 channels"):
        Translator(path)(noise(16, 16))
    assert Translator(path).translate(torch.zeros(1, 4, 16, 16)).shape == (1, 3, 16, 16)


def test_a_folder_without_the_model_says_what_it_has_or_what_to_do(tmp_path: Path) -> None:
    saved(tmp_path / "imported" / "a_to_b.safetensors")
    with pytest.raises(UserError, match="imported has no model for b_to_a: it has a_to_b"):
        Translator(tmp_path / "imported", direction="b_to_a")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "latest_net_G.pth").touch()
    with pytest.raises(UserError, match="theirs holds files of another tool: make model files of them with 'transmute import"):
        Translator(tmp_path / "theirs")


def test_bfloat16_moves_pixels_by_a_few_levels_and_float32_by_none(model: Path) -> None:
    image = noise(20, 12)
    exact, again, rounded = (Translator(model, device="cpu", precision=precision) for precision in ("float32", "float32", "bfloat16"))
    one, other, near = (np.asarray(translate(image)).astype(int) for translate in (exact, again, rounded))
    assert (one == other).all()
    # A layer rounds by up to 0.4 %, and there are about ten before the 255 levels.
    assert 0 < np.abs(one - near).max() < 12
    assert rounded.why == "as asked"
