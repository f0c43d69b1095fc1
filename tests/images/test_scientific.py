from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.images.samples import noise, read_pages
from transmute.images.decode import read_image
from transmute.images.raster import ImageError


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_npy_files_have_the_values_of_the_array(tmp_path: Path, kind: type, channels: int) -> None:
    array = noise(channels, np.dtype(kind).name)
    np.save(tmp_path / "x.npy", array)
    raster = read_image(tmp_path / "x.npy")
    assert raster.depth == np.dtype(kind).name
    assert raster.channels == channels
    assert np.array_equal(raster.pixels, array.reshape(6, 10, channels))
    np.save(tmp_path / "big-endian.npy", array.astype(np.dtype(kind).newbyteorder(">")))
    assert np.array_equal(read_image(tmp_path / "big-endian.npy").pixels, raster.pixels)


@pytest.mark.parametrize(
    ("kind", "depth"),
    [("bool", "uint8"), ("int8", "int16"), ("float16", "float32"), ("int32", "float32")],
)
def test_other_types_are_read_as_one_that_holds_their_values(
    tmp_path: Path, kind: str, depth: str
) -> None:
    array = np.array([[0, 1, 1]], kind)
    np.save(tmp_path / "x.npy", array)
    raster = read_image(tmp_path / "x.npy")
    assert raster.depth == depth
    assert np.array_equal(raster.pixels[:, :, 0], array * (255 if kind == "bool" else 1))


def test_arrays_of_an_npz_file_are_pages(tmp_path: Path) -> None:
    arrays = [noise(6, "uint16"), noise(1, "float32")]
    np.savez_compressed(tmp_path / "x.npz", *arrays)
    for page, array in zip(read_pages(tmp_path / "x.npz"), arrays, strict=True):
        assert np.array_equal(page.pixels, array.reshape(6, 10, -1))
    with pytest.raises(ImageError, match="more than `max_pixels=50`"):
        read_image(tmp_path / "x.npz", max_pixels=50)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"should be \(height, width\)"),
        (np.zeros((2, 3, 4, 5)), r"is \(2, 3, 4, 5\) of float64"),
        (np.zeros((0, 4)), "has no pixels"),
        (np.array([[np.nan, 1, np.inf]]), "contains 2 values that are not finite"),
        (np.array([["a"]]), "not real numbers"),
        (np.array([[{}]], object), "cannot be read"),  # would run code
    ],
)
def test_arrays_that_are_not_images_are_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    for save, name in ((np.save, "x.npy"), (np.savez, "x.npz")):
        save(tmp_path / name, array, allow_pickle=True)
        with pytest.raises(ImageError, match=message) as error:
            read_image(tmp_path / name)
        assert name in str(error.value)


def write_dicom(path: Path, stored: np.ndarray, **elements) -> Path:
    """A DICOM file of 16 bits, uncompressed."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta, header = FileMetaDataset(), Dataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header.file_meta = meta
    header.Rows, header.Columns = stored.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    if stored.ndim == 3:
        header.NumberOfFrames = len(stored)
    for name, value in elements.items():
        setattr(header, name, value)
    header.PixelData = stored.astype("<u2").tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


def test_a_ct_slice_has_hounsfield_units(tmp_path: Path) -> None:
    stored = noise(1, "uint16") >> 4
    path = write_dicom(tmp_path / "x.dcm", stored, RescaleSlope=1, RescaleIntercept=-1024)
    raster = read_image(path)
    assert raster.depth == "int16"
    assert np.array_equal(raster.pixels[:, :, 0], stored.astype(float) - 1024)
    path = write_dicom(tmp_path / "y.dcm", stored, RescaleSlope=0.5, RescaleIntercept=3)
    raster = read_image(path)
    assert raster.depth == "float32"
    assert np.array_equal(raster.pixels[:, :, 0], stored * 0.5 + 3)


@pytest.mark.parametrize(("bits", "depth"), [(12, "int16"), (16, "float32")])
def test_all_slices_of_a_dicom_series_have_one_depth(tmp_path: Path, bits: int, depth: str) -> None:
    # 16 unsigned bits minus 1024 do not fit in int16, whatever a slice contains.
    header = {"BitsStored": bits, "RescaleSlope": 1, "RescaleIntercept": -1024}
    for highest in (1, 4095, 2**bits - 1):
        stored = np.full((6, 10), highest, np.uint16)
        raster = read_image(write_dicom(tmp_path / f"{highest}.dcm", stored, **header))
        assert raster.depth == depth
        assert raster.pixels.max() == highest - 1024


def test_dicom_frames_are_pages_and_white_is_bright(tmp_path: Path) -> None:
    stored = np.stack([noise(1, "uint16") >> 4, noise(1, "uint16") >> 5])
    path = write_dicom(tmp_path / "x.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    for page, frame in zip(read_pages(path), stored, strict=True):
        assert np.array_equal(page.pixels[:, :, 0], 4095 - frame)
    with pytest.raises(ImageError, match="more than `max_pixels=50`"):
        read_image(path, max_pixels=50)


def test_a_dicom_palette_becomes_its_colors(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 65536, (4, 3), dtype=np.uint16)
    stored = np.arange(60, dtype=np.uint16).reshape(6, 10) % 4
    palette = {}
    for name, values in zip(("Red", "Green", "Blue"), colors.T, strict=True):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = values.tobytes()
    kind = "PALETTE COLOR"
    path = write_dicom(tmp_path / "x.dcm", stored, PhotometricInterpretation=kind, **palette)
    assert np.array_equal(read_image(path).pixels, colors[stored])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_files_are_read_exactly(tmp_path: Path, kind: str, channels: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    array = noise(channels, kind)
    (tmp_path / "x.jxl").write_bytes(imagecodecs.jpegxl_encode(array, lossless=True))
    raster = read_image(tmp_path / "x.jxl")
    parts = raster.pixels if raster.alpha is None else np.dstack([raster.pixels, raster.alpha])
    assert raster.depth == kind
    assert (raster.alpha is not None) == (channels in (2, 4))
    assert np.array_equal(parts, array.reshape(6, 10, channels))


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("size", [(50, 50), (320, 240), (17, 4096), (1777, 100)])
def test_a_jpeg_xl_file_is_refused_by_the_size_in_its_header(
    tmp_path: Path, size: tuple[int, int], container: bool
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    data = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container)
    (tmp_path / "x.jxl").write_bytes(data)
    assert read_image(tmp_path / "x.jxl", max_pixels=width * height).size == size
    with pytest.raises(ImageError, match=f"has {width}x{height} = "):
        read_image(tmp_path / "x.jxl", max_pixels=width * height - 1)


@pytest.mark.parametrize(
    ("contents", "package"),
    [(bytes(128) + b"DICM", "pydicom"), (b"\xff\x0a" + bytes(20), "imagecodecs")],
)
def test_without_an_optional_package_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: bytes, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "x.png").write_bytes(contents)
    with pytest.raises(ImageError, match=rf"To read it: pip install {package}$"):
        read_image(tmp_path / "x.png")
