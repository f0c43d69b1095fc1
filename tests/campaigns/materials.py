"""Valid inputs that cases copy and damage: a tiny data set, runs, models and images."""

from __future__ import annotations

import io
import shutil
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.campaigns.runner import Ended, call, ended

NETWORKS = (
    *("--method.generator.width", "2", "--method.generator.blocks", "6"),
    *("--method.discriminator.width", "2", "--method.discriminator.layers", "1"),
)
UNET = (
    *("--method", "pix2pix", "--method.generator.width", "2", "--method.generator.depth", "3"),
    *("--method.discriminator.width", "2", "--method.discriminator.layers", "1"),
)
SMALL = ("--size", "16", "--device", "cpu", "--precision", "float32")
TRAIN = (
    *("transmute", "train", "data", "--run", "run", *NETWORKS, *SMALL, "--batch", "2"),
    *("--steps", "6", "--save-every", "2", "--sample-every", "2", "--report-every", "1"),
    *("--evaluate-every", "2", "--metrics.features", "texture", "--metrics.lpips", "none"),
    *("--best", "fid", "--keep", "2", "--method.history", "3"),
)
"""A complete small training run, in half a second."""


@dataclass(frozen=True)
class Materials:
    """Folders with valid inputs. Cases copy from them."""

    folder: Path

    def copy(self, target: Path, *names: str) -> None:
        """Copies some of them to a folder: data, bare, pairs, run, paired_run and others."""
        for name in names:
            shutil.copytree(self.folder / name, target / name, symlinks=True)

    @property
    def images(self) -> list[Path]:
        """One valid file of each format."""
        return sorted((self.folder / "images").iterdir())


def build(folder: Path) -> Materials:
    """Writes the inputs, in forked processes."""
    from transmute.demo.animals import write_data_set

    write_data_set(folder / "data", train=4, test=2, size=16)
    for domain in "AB":
        shutil.copytree(folder / "data" / f"train{domain}", folder / "bare" / f"train{domain}")
    _write_pairs(folder)
    write_images(folder / "images")
    pth = ("transmute", "export", "run", "--out", "pth")
    paired = ("transmute", "train", "pairs", "--run", "paired_run", *UNET, *SMALL, "--steps", "1")
    cut = (
        *("transmute", "train", "data", "--run", "cut_run", "--method", "cut", *NETWORKS, *SMALL),
        *("--steps", "1"),
    )
    for words in (TRAIN, paired, cut, pth):
        end: Ended = ended(folder, lambda words=words: call(words), limit=120)
        if end.status:
            raise RuntimeError(f"{' '.join(words)}: {end.out}{end.err}")
    return Materials(folder)


def _write_pairs(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / "pairs" / split).mkdir(parents=True)
        for number in range(2):
            name = f"{number:04}.png"
            sides = [folder / "data" / f"{split}{domain}" / name for domain in "AB"]
            pair = np.hstack([np.asarray(Image.open(side)) for side in sides])
            Image.fromarray(pair).save(folder / "pairs" / split / name)


def write_images(folder: Path) -> None:
    """Writes one valid file of each format that is read, and variants of the common ones."""
    import imagecodecs
    import tifffile

    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    image = Image.fromarray(values)
    for ending in ["png", "jpg", "webp", "bmp", "gif", "avif", "jp2", "ppm", "tga", "tif"]:
        image.save(folder / f"rgb.{ending}")
    image.convert("L").save(folder / "gray.png")
    image.convert("1").save(folder / "one.pbm")
    image.convert("RGBA").save(folder / "alpha.png")
    image.convert("P").save(folder / "palette.png", transparency=3)
    image.convert("CMYK").save(folder / "inks.jpg")
    image.save(folder / "progressive.jpg", progressive=True, exif=_exif())
    frames = {"save_all": True, "append_images": [image.rotate(90)] * 2, "duration": 50}
    for ending in ("gif", "png", "webp", "tif"):
        image.save(folder / f"frames.{ending}", **frames)
    Image.fromarray(values[:, :, 0].astype(np.uint16) * 257).save(folder / "deep.png")
    tifffile.imwrite(folder / "float.tif", values.astype(np.float32) / 255, photometric="rgb")
    tifffile.imwrite(folder / "deflate.tif", values, compression="zlib", tile=(16, 16))
    tifffile.imwrite(folder / "big.tif", values[:, :, 0].astype(np.uint16), bigtiff=True)
    np.save(folder / "array.npy", values)
    np.savez_compressed(folder / "arrays.npz", one=values, two=values[:, :, 0])
    (folder / "rgb.jxl").write_bytes(imagecodecs.jpegxl_encode(values))
    (folder / "float.pfm").write_bytes(b"PF\n16 16\n-1.0\n" + values.astype("<f4").tobytes())
    _write_dicom(folder / "slice.dcm", values[:, :, 0].astype(np.uint16))


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    return exif.tobytes()


def _write_dicom(path: Path, pixels: np.ndarray) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["campaign"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels.tobytes()
    with warnings.catch_warnings(action="ignore"):
        data.save_as(path, enforce_file_format=True)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG file whose header claims a size."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*one) for one in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )


def encoded(image: Image.Image, kind: str) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()
