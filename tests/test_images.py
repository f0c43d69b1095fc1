from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from transmute.images.files import ImageError, normalize, open_image, save_image, to_pil, to_tensor


def opened(path: Path, **options) -> np.ndarray:
    return np.asarray(open_image(path, **options)[0])


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


RED, HALF_RED = (255, 0, 0), (255, 0, 0, 128)


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (Image.new("RGB", (2, 2), RED), "x.png", RED),
        (Image.new("RGB", (2, 2), RED), "x.bmp", RED),
        (Image.new("RGB", (2, 2), RED), "x.ppm", RED),
        (Image.new("RGB", (2, 2), RED).convert("P"), "x.gif", RED),
        (Image.new("RGB", (2, 2), RED).quantize(4), "palette.png", RED),
        (Image.new("L", (2, 2), 100), "gray.png", (100, 100, 100)),
        (Image.new("1", (2, 2), 1), "bits.png", (255, 255, 255)),
        (Image.new("LA", (2, 2), (0, 0)), "gray-alpha.png", (255, 255, 255)),
        (Image.new("RGBA", (2, 2), HALF_RED), "half.png", (255, 127, 127)),
        (Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "ink.tif", RED),
        (Image.fromarray(np.full((2, 2), 32896, dtype=np.uint16)), "deep.png", (128, 128, 128)),
        (Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16)), "deep.tif", (255, 255, 255)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_images_open_as_a_viewer_displays_them(
    tmp_path: Path, image: Image.Image, name: str, expected: tuple[int, int, int]
) -> None:
    assert np.array_equal(
        opened(saved(image, tmp_path / name)), np.full((2, 2, 3), expected, dtype=np.uint8)
    )


def test_an_image_with_exif_orientation_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), RED)
    upright = opened(saved(image, tmp_path / "x.png", exif=exif))
    assert upright.shape == (4, 2, 3)
    assert upright[0, 1].tolist() == list(RED)


def test_transparent_pixels_show_the_background_and_alpha_is_returned(
    tmp_path: Path,
) -> None:
    path = saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), tmp_path / "x.png")
    assert opened(path, background="#102030")[0, 0].tolist() == [16, 32, 48]
    alpha = open_image(path)[1]
    assert alpha is not None
    assert not np.asarray(alpha).any()


def test_a_transparent_palette_color_is_transparent(tmp_path: Path) -> None:
    path = saved(Image.new("P", (2, 2), 0), tmp_path / "x.png", transparency=0)
    assert opened(path)[0, 0].tolist() == [255, 255, 255]


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in (RED, (0, 255, 0))]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert opened(tmp_path / "x.gif")[0, 0].tolist() == list(RED)


def test_one_channel_is_gray(tmp_path: Path) -> None:
    assert (
        opened(saved(Image.new("RGB", (2, 3), RED), tmp_path / "x.png"), channels=1).tolist()
        == [[76, 76]] * 3
    )


def test_an_embedded_profile_is_applied_and_a_broken_one_is_ignored(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 2), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # A profile that exchanges the primaries red and green, and is not named sRGB.
    swapped = (
        srgb.replace(b"rXYZ", b"????")
        .replace(b"gXYZ", b"rXYZ")
        .replace(b"????", b"gXYZ")
        .replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    )
    red = saved(Image.new("RGB", (2, 2), RED), tmp_path / "swapped.png", icc_profile=swapped)
    assert opened(red)[0, 0].tolist() == pytest.approx([0, 255, 0], abs=2)  # the library rounds
    clear = saved(
        Image.new("RGBA", (2, 2), (*RED, 255)), tmp_path / "clear.png", icc_profile=swapped
    )
    assert opened(clear)[0, 0].tolist() == pytest.approx([0, 255, 0], abs=2)
    assert opened(saved(image, tmp_path / "srgb.png", icc_profile=srgb))[0, 0].tolist() == [
        200,
        100,
        50,
    ]
    assert opened(saved(image, tmp_path / "broken.png", icc_profile=b"no profile"))[
        0, 0
    ].tolist() == [200, 100, 50]


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"not an image",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"\xff\xd8\xff\xe0",
        b"II*\x00",
        b"P6\n",
    ],
)
def test_a_file_that_is_not_an_image_is_an_error_of_one_line(
    tmp_path: Path, contents: bytes
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(contents)
    with pytest.raises(ImageError, match=r"x\.png") as error:
        open_image(path)
    assert "\n" not in str(error.value)


@given(
    cut=st.floats(0, 0.98),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF"]),
)
def test_damaged_files_open_or_are_image_errors(
    tmp_path_factory, cut: float, flips, kind: str
) -> None:
    encoded = io.BytesIO()
    Image.effect_noise((16, 16), 60).save(encoded, kind)
    contents = bytearray(encoded.getvalue()[: int(len(encoded.getvalue()) * cut)])
    for position, value in flips:
        if contents:
            contents[position % len(contents)] = value
    path = tmp_path_factory.mktemp("damaged") / "x.png"
    path.write_bytes(contents)
    try:
        outcome = open_image(path)[0].mode
    except ImageError as error:
        outcome = str(error)
    assert outcome == "RGB" or "x.png" in outcome


def test_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="32-bit floats"):
        open_image(saved(Image.fromarray(np.zeros((2, 2), dtype=np.float32)), tmp_path / "x.tif"))


def test_tensors_and_back_preserve_pixels() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert normalize(levels).aminmax() == (-1.0, 1.0)
    gray = to_pil(normalize(levels))
    assert gray.mode == "L"
    assert np.array_equal(np.asarray(gray), levels[0])
    assert torch.equal(to_tensor(gray)[0], normalize(levels))


def test_values_outside_of_the_range_are_clipped() -> None:
    assert np.asarray(to_pil(torch.tensor([[[-3.0, 3.0]]]))).tolist() == [[0, 255]]


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    save_image(Image.new("RGBA", (4, 4), HALF_RED), tmp_path / "deep" / "x.jpg")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.jpg"]
    with Image.open(tmp_path / "deep" / "x.jpg") as saved_image:
        assert saved_image.mode == "RGB"


def test_an_odd_column_between_two_halves_belongs_to_neither(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.arange(5, dtype=np.uint8)[None]), tmp_path / "x.png")
    assert opened(path, channels=1, half="left").tolist() == [[0, 1]]
    assert opened(path, channels=1, half="right").tolist() == [[3, 4]]
