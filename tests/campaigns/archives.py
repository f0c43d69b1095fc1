"""Damaged and hostile archives."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from random import Random

from tests.campaigns.damage import LENGTHS, damaged_bytes
from tests.campaigns.materials import Materials
from tests.campaigns.runner import Campaign, Case, Result, checked

NAMES = [
    *(
        "../left",
        "../../left",
        "/tmp/left-by-campaign",
        "a/../../left",
        "..\\left",
        "C:\\left",
        "C:left",
    ),
    *(
        "//left",
        "\\\\host\\share\\left",
        "a/..",
        "..",
        ".",
        "",
        "/",
        "a\0b",
        "a\nb",
        "\x1b[31m.png",
    ),
    *("\u202egnp", "a" * 300, "a/" * 2000 + "x", "a" * 70_000, "CON", "aux.png", "x.png:stream"),
    *(" ", "x ", "x.", "~/left", "-rf", "trainA", "TRAINA/0.png", "trainA/0.png/x", "\udcff.png"),
]
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
IMAGES = [
    (f"set/{domain}/{number}.png", bytes(200))
    for domain in ("trainA", "trainB")
    for number in (0, 1)
]


def zip_of(files: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name)
            info.filename = name  # ZipInfo cuts it at a null character
            info.compress_type = method
            archive.writestr(info, data)
    return file.getvalue()


def tar_of(
    members: list[tarfile.TarInfo], *, compressed: bool = True, kind: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar file, compressed by gzip."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind, errors="surrogateescape") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return gzip.compress(file.getvalue()) if compressed else file.getvalue()


def _member(name: str, size: int = 100, **attributes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    for key, value in attributes.items():
        if key == "type":
            member.type = value
        elif key == "linkname":
            member.linkname = value
        else:
            member.pax_headers = value
    return member


LINKS = {
    "link out": {"type": tarfile.SYMTYPE, "linkname": "../../left"},
    "absolute link": {"type": tarfile.SYMTYPE, "linkname": "/etc"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
    "inner hard link": {"type": tarfile.LNKTYPE, "linkname": "set/trainA/0.png"},
    "link to itself": {"type": tarfile.SYMTYPE, "linkname": "x"},
    "device": {"type": tarfile.CHRTYPE},
    "block device": {"type": tarfile.BLKTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
    "unknown type": {"type": b"Z"},
    "long name": {"type": tarfile.GNUTYPE_LONGNAME},
    "pax newline": {"pax_headers": {"path": "a\nb/../../left"}},
    "pax null": {"pax_headers": {"path": "a\0b"}},
    "pax size": {"pax_headers": {"size": "9" * 5000}},
    "pax bad size": {"pax_headers": {"size": "x"}},
    "pax bad time": {"pax_headers": {"mtime": "nan"}},
    "pax huge time": {"pax_headers": {"mtime": "1e300"}},
    "pax sparse": {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}},
    "pax linkpath": {"pax_headers": {"linkpath": "/etc"}},
}


def campaign(materials: Materials) -> Campaign:
    """Archives."""

    def case(random: Random, number: int) -> tuple[str, Case]:
        title, data = _hostile(random)
        extension = random.choice([".zip", ".tar.gz", ""])

        def run(folder: Path) -> Result:
            inside = folder / "inside"
            inside.mkdir()
            (folder / "outside").write_text("outside", encoding="utf-8")
            path = inside / f"archive{extension}"
            path.write_bytes(data)

            def unpack() -> None:
                from transmute.cli.parsing import run_and_exit
                from transmute.interop import archives

                target = Path("inside/out/set")
                run_and_exit(lambda: min(0, archives.unpack(path.relative_to(folder), target)))

            result = checked(folder, unpack, allowed=("inside/out",), limit=60)
            outside = [one.name for one in (*folder.iterdir(), *inside.iterdir())]
            if not {*outside} <= {"inside", "outside", "out", path.name}:
                return Result("leftovers", f"outside: {outside}", result.ended)
            return result

        return title, run

    return Campaign("archives", 500, 15, case)


def _hostile(random: Random) -> tuple[str, bytes]:
    """A title, and the bytes of an archive."""
    name = random.choice(NAMES)
    method = random.choice(METHODS)
    link = random.choice(list(LINKS))
    plain = [_member(one, len(data)) for one, data in IMAGES]
    kinds = (
        "damaged zip",
        "damaged zip",
        "damaged tar.gz",
        "damaged tar",
        "name",
        "name",
        "tar name",
    )
    others = ("link", "link", "zip link", "zip sizes", "bomb", "tar bomb", "case", "twice")
    rest = ("encrypted", "nested", "cut", "not an archive", "two streams", "sizes of tar", "empty")
    rare = ["many"] * (random.random() < 0.2)
    match kind := random.choice([*kinds, *others, *rest, *rare]):
        case "damaged zip":
            kind, data = f"{kind} {method}", damaged_bytes(zip_of(IMAGES, method), random)
        case "damaged tar.gz":
            data = damaged_bytes(tar_of(plain), random)
        case "damaged tar":
            data = gzip.compress(damaged_bytes(tar_of(plain, compressed=False), random))
        case "name":
            kind, data = f"zip {name[:30]!r}", _zip_named(name)
        case "tar name":
            formats = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]
            data = tar_of([*plain, _member(name)], kind=random.choice(formats))
            kind = f"tar {name[:30]!r}"
        case "link":
            kind, size = f"tar {link}", 100 if "pax_headers" in LINKS[link] else 0
            data = tar_of([*plain, _member("x", size, **LINKS[link]), _member("x/left")])
        case "zip link":
            info = zipfile.ZipInfo("set/x")
            kinds_of_file = [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK]
            info.external_attr = (random.choice(kinds_of_file) | 0o777) << 16
            file = io.BytesIO(zip_of(IMAGES))
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(info, "../../left")
            data = file.getvalue()
        case "zip sizes":
            data = _with_sizes(zip_of(IMAGES, method), random)
        case "bomb":
            data = (
                _lying(zip_of([("set/a.png", bytes(300 << 20))]))
                if random.random() < 0.5
                else zip_of([(f"set/{n}.png", bytes(50 << 20)) for n in range(4)])
            )
        case "tar bomb":
            data = tar_of([_member("a.png", 200 << 20)])
        case "many":
            data = zip_of([(f"{n}", b"") for n in range(300_000)], zipfile.ZIP_STORED)
        case "case":
            data = zip_of([("a/X.png", b"1"), ("A/x.png", b"2"), ("a/x.png", b"3"), ("a", b"4")])
        case "twice":
            data = zip_of([*IMAGES, *IMAGES])
        case "encrypted":
            data = zip_of(IMAGES).replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0")
        case "nested":
            data = zip_of([("a/" * 500 + "x.png", b"1")])
        case "cut":
            data = random.choice([zip_of(IMAGES), tar_of(plain)])
            data = data[: random.randrange(len(data))]
        case "two streams":
            data = tar_of(plain) + random.choice([tar_of(plain), b"garbage", bytes(100)])
        case "sizes of tar":
            raw = bytearray(tar_of(plain, compressed=False))
            raw[124:136] = random.choice(
                [b"7" * 12, b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1\0".ljust(12)]
            )
            data = gzip.compress(bytes(raw))
        case "not an archive":
            data = random.choice([b"", b"PK", b"\x1f\x8b", b"<html></html>", b"PK\5\6" + bytes(18)])
        case _:
            data = random.choice([zip_of([]), tar_of([]), gzip.compress(b"")])
    return kind, data


def _zip_named(name: str) -> bytes:
    """A zip file with a member of any name."""
    try:
        return zip_of([*IMAGES, (name, b"left")])
    except (UnicodeEncodeError, ValueError, zipfile.LargeZipFile, struct.error):
        return zip_of([*IMAGES, ("\udcff".encode("utf-8", "replace").decode() + "..", b"left")])


def _with_sizes(data: bytes, random: Random) -> bytes:
    """Changes sizes, offsets and methods in the central directory of a zip file."""
    raw = bytearray(data)
    start = raw.index(b"PK\1\2")
    field, width = random.choice(
        [(8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)]
    )
    value = random.choice(LENGTHS) % (1 << 8 * width)
    raw[start + field : start + field + width] = value.to_bytes(width, "little")
    return bytes(raw)


def _lying(data: bytes) -> bytes:
    """A zip file that claims that its first member is small."""
    raw = bytearray(data)
    for start, field in ((raw.index(b"PK\3\4"), 22), (raw.index(b"PK\1\2"), 24)):
        raw[start + field : start + field + 4] = (1000).to_bytes(4, "little")
    return bytes(raw)
