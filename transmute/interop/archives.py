"""Unpacking of archives that may be hostile."""

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from transmute.errors import UserError
from transmute.files import special_kind

MAX_RATIO = 100
"""Unpacked bytes allowed per byte of the archive. Archives of images hardly shrink."""
MIN_LIMIT = 100_000_000
"""Unpacked bytes that are always allowed."""


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a zip or tar.gz file into a new folder, which is complete or absent.

    A single folder around all content is removed. Clutter of macOS is skipped.

    Returns:
        The number of files.

    Raises:
        UserError: If the folder exists, or if the archive is damaged, contains links, devices or
            paths outside the folder, or is far larger when unpacked.
    """
    if folder.exists():
        raise UserError(f"{folder} exists. Remove it, or choose another folder")
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                num_files = _extract(archive, file, file.infolist(), staging)
        else:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
                file.extraction_filter = tarfile.data_filter
                num_files = _extract(archive, file, file, staging)
                while stream.read(1 << 20):  # gzip compares the checksum only at the end
                    pass
        content = list(staging.iterdir())
        inner = content[0] if len(content) == 1 and content[0].is_dir() else staging
        has_folders = any(path.is_dir() for path in inner.iterdir())
        (inner if has_folders else staging).rename(folder)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:
        raise UserError(
            f"{archive} is damaged, or not a zip or tar.gz file ({error}). Remove it, then run the "
            "same command again"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return num_files


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yields the only weights file in a zip file, or else a temporary folder with its contents.

    Any other path, such as a file of `torch.save`, which is a zip file too, is yielded unchanged.
    Errors inside the block name the zip file instead of the temporary folder.

    Raises:
        UserError: If the archive is hostile or damaged.
    """
    if not path.is_file() or special_kind(path) or not _is_zip_of_files(path):
        yield path
        return
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, path.stem)
        unpack(path, folder)
        files = [file for file in folder.rglob("*") if file.suffix in (".pth", ".pt", ".ckpt")]
        try:
            yield files[0] if len(files) == 1 else folder
        except UserError as error:
            raise type(error)(str(error).replace(str(folder), str(path))) from None


def _is_zip_of_files(path: Path) -> bool:
    """Whether it is a zip file that contains files, not a pickle as those of `torch.save` do."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return not any(name.endswith(".pkl") for name in archive.namelist())


def _extract(
    archive: Path,
    file: zipfile.ZipFile | tarfile.TarFile,
    members: Iterable[zipfile.ZipInfo | tarfile.TarInfo],
    folder: Path,
) -> int:
    """Extracts the members of an archive after checking them, and returns the number of files."""
    limit = max(archive.stat().st_size * MAX_RATIO, MIN_LIMIT)
    num_files = num_bytes = 0
    for member in members:
        name, size, is_folder, is_plain = _properties(member)
        parts = name.split("/")
        if any(part.startswith("._") or part == "__MACOSX" for part in parts):
            continue
        if not is_plain or ".." in parts or re.match("/|[A-Za-z]:", name) or "\0" in name:
            raise UserError(
                f"{archive} cannot be trusted: {name!r} is not a plain file or folder inside it. "
                "Do not unpack it"
            )
        num_files += not is_folder
        num_bytes += size
        if num_bytes > limit:
            raise UserError(
                f"{archive} cannot be trusted: it would unpack to more than {limit} bytes. Do not "
                "unpack it"
            )
        file.extract(member, folder)  # pyright: ignore[reportArgumentType]
    return num_files


def _properties(member: zipfile.ZipInfo | tarfile.TarInfo) -> tuple[str, int, bool, bool]:
    """Name, size, whether it is a folder, and whether it is a plain file or folder."""
    if isinstance(member, tarfile.TarInfo):
        name = member.name.replace("\\", "/")
        return name, member.size, member.isdir(), member.isfile() or member.isdir()
    member.filename = member.filename.replace("\\", "/")  # some are packed on Windows
    # The type is 0 if the archive is from Windows. Bit 0 of the flags means encrypted.
    is_plain = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
    return member.filename, member.file_size, member.is_dir(), is_plain and not member.flag_bits & 1
