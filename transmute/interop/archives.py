"""Unpacking of archives that may be hostile."""

import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from io import FileIO
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

from transmute.errors import UserError, first_line
from transmute.files import FileError, special_kind, writing

MAX_RATIO = 100
"""Unpacked bytes allowed per byte of the archive. Archives of images hardly shrink."""
MIN_LIMIT = 100_000_000
"""Unpacked bytes that are always allowed."""
MAX_FILES = 250_000
"""Files and folders allowed in an archive."""
_MAX_DIRECTORY = 2**25
"""Bytes of a zip file's directory. It is read as a whole, and takes more memory than bytes."""
_MAX_HEADERS = 2**20
"""Bytes between the contents of two files in a tar file."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression of which a small part cannot unpack to gigabytes."""


class _Member(NamedTuple):
    """A file or folder in an archive; `problem` says why it may not be unpacked, or is empty."""

    name: str
    size: int
    is_folder: bool
    problem: str
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks a zip or tar.gz file into a new folder, which is complete or absent.

    A single folder around all content is removed. Clutter of macOS is skipped.

    Returns:
        The number of files.

    Raises:
        UserError: If the folder exists, or if the archive is damaged, contains links, devices,
            paths outside the folder or two files of one name, or is far larger when unpacked.
    """
    if folder.exists():
        raise UserError(f"{folder} exists. Remove it, or choose another folder")
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    limit = max(archive.stat().st_size * MAX_RATIO, MIN_LIMIT)
    members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive, limit)
    try:
        with writing(folder), closing(members):
            staging.mkdir(parents=True)
            num_files = _extract(members, staging, limit)
        content = list(staging.iterdir())
        inner = content[0] if len(content) == 1 and content[0].is_dir() else staging
        has_folders = any(path.is_dir() for path in inner.iterdir())
        (inner if has_folders else staging).rename(folder)
    except _UntrustedError as error:
        raise UserError(f"{archive} cannot be trusted: {error}. Do not unpack it") from None
    # The readers raise almost any exception on damaged files (struct.error, RecursionError, ...).
    except Exception as error:
        if isinstance(error, FileError) or (isinstance(error, OSError) and error.errno):
            raise
        raise UserError(
            f"{archive} is damaged, or not a zip or tar.gz file ({first_line(error)}). Remove it, "
            "then run the same command again"
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
    with closing(_zip_members(path)) as members:
        return not any(member.name.endswith(".pkl") for member in members)


class _UntrustedError(UserError):
    """A reason not to unpack an archive."""


class _LimitedGzip(gzip.GzipFile):
    """A gzip file that is not read beyond `end`, since tar headers are read as a whole."""

    end = _MAX_HEADERS

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or self.tell() + size > self.end:
            raise _UntrustedError("its headers or what follows its files are too large")
        return super().read(size)


class _LimitedFile(FileIO):
    """A zip file of which no part larger than a directory is read at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size and size > _MAX_DIRECTORY:
            raise _UntrustedError(f"the list of its files has {size} bytes")
        return super().read(size)


def _zip_members(archive: Path) -> Generator[_Member, None, None]:
    with _LimitedFile(archive) as stream, zipfile.ZipFile(stream) as file:
        if len(file.infolist()) > MAX_FILES:
            raise _UntrustedError(f"it contains {len(file.infolist())} files")
        for member in file.infolist():
            # The type is 0 if the archive is from Windows. Bit 0 of the flags means encrypted.
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not member.flag_bits & 1
            problem = "" if is_plain else "is not a plain file or folder"
            if member.compress_type not in _METHODS:
                problem = "is compressed by another method than deflate"
            opened = partial(file.open, member)
            yield _Member(member.filename, member.file_size, member.is_dir(), problem, opened)


def _tar_members(archive: Path, limit: int) -> Generator[_Member, None, None]:
    with _LimitedGzip(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
        while member := file.next():
            # Millions of them would need gigabytes.
            file.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            stream.end = member.offset_data + member.size + _MAX_HEADERS
            is_plain = member.isdir() or (member.isfile() and not member.issparse())
            problem = "" if is_plain and member.size >= 0 else "is not a plain file or folder"
            opened: Any = partial(file.extractfile, member)
            yield _Member(member.name, member.size, member.isdir(), problem, opened)
        stream.end = stream.tell() + limit
        while stream.read(1 << 16):  # gzip compares the checksum only at the end
            pass


def _extract(members: Iterable[_Member], folder: Path, limit: int) -> int:
    """Writes the members of an archive after checking them, and returns the number of files."""
    num_files = num_bytes = 0
    for index, member in enumerate(members):
        name = member.name.replace("\\", "/")  # some are packed on Windows
        num_bytes += member.size
        if num_bytes > limit or index == MAX_FILES:
            raise _UntrustedError(
                f"it would unpack to more than {limit} bytes or {MAX_FILES} files"
            )
        if re.search(r"(^|/)(\._|__MACOSX(/|$))", name):
            continue
        if problem := member.problem or _name_problem(name):
            raise _UntrustedError(f"{name[:300]!r} {problem}")
        target = folder / (re.sub('[<>:"|?*]', "_", name) if os.name == "nt" else name)
        try:
            (target if member.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
            if not member.is_folder:
                num_files += 1
                with member.open() as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise _UntrustedError(
                f"{name[:300]!r} is in it twice, in another case, or as a file and as a folder"
            ) from None
    return num_files


def _name_problem(name: str) -> str:
    """Why a name is not one of a file to unpack, or an empty text."""
    if re.search(r"^/|^[A-Za-z]:|(^|/)\.\.(/|$)", name):
        return "is not a plain file or folder inside it"
    if re.search(r"[\0-\x1f\x7f]|[^/]{256}", name) or name.count("/") > 32:
        return "has control characters, a part of over 255 characters, or over 32 folders"
    is_reserved = os.name == "nt" and PureWindowsPath(name).is_reserved()
    return "is a name that Windows reserves" if is_reserved else ""
