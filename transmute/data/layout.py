"""Which pictures a data set has: its layout on disk is recognized."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from transmute.data.config import SourceConfig
from transmute.images import find_pictures, picture_size
from transmute.settings import UserError


@dataclass(frozen=True)
class Source:
    """One picture of a data set: a file, or the left or right half of one."""

    path: Path
    half: str | None = None


@dataclass(frozen=True)
class DataSet:
    """The pictures of two domains; in a paired set, those of equal index show the same scene.

    Attributes:
        description: What was found, for people.
        names: What the domains are called.
        train, test: Pictures of a and of b.
        folders: Where they lie: those of a and b to train with, then those held out; of side by side pictures, one each.
    """

    description: str
    names: tuple[str, str]
    train: tuple[list[Source], list[Source]]
    test: tuple[list[Source], list[Source]]
    folders: tuple[Path, ...]

    def fingerprint(self) -> str:
        """Changes when training pictures come, go, or change their size in bytes; not when the whole set is moved."""
        digest = hashlib.sha256()
        for domain in self.train:
            for source in domain:
                digest.update(f"{source.path.parent.name}/{source.path.name}:{source.path.stat().st_size}:{source.half}\n".encode())
        return digest.hexdigest()[:16]


def recognize(folder: Path | None, config: SourceConfig, *, paired: bool, one_domain: bool = False) -> DataSet:
    """Finds the pictures of a data set.

    Known are `trainA trainB` (with `testA testB` or `valA valB`), `train_A train_B`, `train/A train/B`, `A B`, side by side
    pictures in `train`, a folder (or its `train`) with just two folders of pictures, and two folders named in the config.

    Args:
        folder: The data set, unless the config names its two folders.
        config: Folders, and how many pictures to use.
        paired: Match pictures of both domains; by name where they are in two folders.
        one_domain: Take the pictures of one folder (its `train`, if it has one) for both domains.

    Raises:
        UserError: If no layout fits, a domain is empty, or pairs do not match.
    """
    data = _one_domain(folder or config.a, config) if one_domain else _two_domains(folder, config, paired)
    return replace(data, names=data.names[::-1], train=data.train[::-1], test=data.test[::-1]) if config.swap else data


def _one_domain(folder: Path | None, config: SourceConfig) -> DataSet:
    if folder is None or not folder.is_dir():
        raise UserError(f"{folder or 'nothing'} is no folder of pictures: give the folder of a data set")
    train = folder / "train" if (folder / "train").is_dir() else folder
    held_out = next((folder / name for name in ("test", "val") if train != folder and (folder / name).is_dir()), None)
    pictures, held = find_pictures(train)[: config.max_pictures], find_pictures(held_out) if held_out else []
    if not pictures:
        raise UserError(f"{train} holds no pictures (jpg, png, webp, bmp, tif, ppm or gif)")
    description = f"{train}: {len(pictures)} pictures to train with, {len(held)} held out"
    sources, test = _sources(pictures), _sources(held)
    folders = (train, held_out) if held_out else (train,)
    return DataSet(description, ("gray", "color"), (sources, sources), (test, test), folders)


def _two_domains(folder: Path | None, config: SourceConfig, paired: bool) -> DataSet:
    if (config.a is None) != (config.b is None):
        raise UserError("--data.a and --data.b go together: name both folders")
    if config.a is not None and config.b is not None:
        if folder is not None:
            raise UserError(f"name either the data set {folder} or the two folders --data.a and --data.b, not both")
        return _two_folders(config.a, config.b, config, paired)
    if folder is None:
        raise UserError("no pictures named: give the folder of a data set, or two folders with --data.a and --data.b")
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the folder of a data set, or two folders with --data.a and --data.b")
    train = _domain_folders(folder, "train") or _domain_folders(folder, "")
    if train:
        held_out = _domain_folders(folder, "test") or _domain_folders(folder, "val")
        return _data_set(train, held_out, domain_names(folder.resolve().name), config, paired)
    if (folder / "train").is_dir() and (pictures := find_pictures(folder / "train")):
        below = _folders_of_pictures(folder / "train")
        if len(below) == 2 and not any(picture.parent == folder / "train" for picture in pictures):
            held_out = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), folder)
            test = held_out / below[0].name, held_out / below[1].name
            return _data_set((below[0], below[1]), test, (below[0].name, below[1].name), config, paired)
        return _side_by_side(folder, pictures, config, paired)
    below = _folders_of_pictures(folder)
    if len(below) == 2:
        return _two_folders(below[0], below[1], config, paired)
    if find_pictures(folder):
        folders = f"{len(below)} folders of pictures" if below else "pictures, but not two folders of them"
        what = f"only the folder {below[0].name} with pictures" if len(below) == 1 else folders
    else:
        what = "no pictures"
    raise UserError(
        f"{folder} holds {what}: expected trainA and trainB, train/A and train/B, side by side pictures in train, "
        "or two folders named with --data.a and --data.b"
    )


def _folders_of_pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and find_pictures(path))


def _domain_folders(folder: Path, phase: str) -> tuple[Path, Path] | None:
    """The folders of both domains for `train`, `test` or `val`, or with phase "" plain `A` and `B`."""
    parents = [folder, folder / phase] if phase else [folder]
    for parent in parents:
        names = {path.name.lower(): path for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else {}
        prefixes = (phase, f"{phase}_") if phase and parent == folder else ("",)
        for prefix in prefixes:
            found = [names.get(f"{prefix}{domain}") for domain in "ab"]
            if found[0] and found[1]:
                return found[0], found[1]
            if (one := found[0] or found[1]) and phase == "train":
                missing = one.with_name(one.name[:-1] + {"A": "B", "B": "A", "a": "b", "b": "a"}[one.name[-1]])
                raise UserError(f"{folder} has {one.relative_to(folder)} but no {missing.relative_to(folder)}: a translator needs both domains")
    return None


def domain_names(name: str) -> tuple[str, str]:
    """horse2zebra means horse and zebra; else a and b."""
    match = re.fullmatch(r"([a-zA-Z][\w-]*?)2([a-zA-Z][\w-]*)", name)
    return (match[1], match[2]) if match else ("a", "b")


def _two_folders(a: Path, b: Path, config: SourceConfig, paired: bool) -> DataSet:
    names = (a.resolve().name, b.resolve().name)
    return _data_set((a, b), None, names if names[0] != names[1] else ("a", "b"), config, paired)


def _data_set(train: tuple[Path, Path], held_out: tuple[Path, Path] | None, names: tuple[str, str], config: SourceConfig, paired: bool) -> DataSet:
    sides = _both(train, config, paired)
    has_test = held_out and all(folder.is_dir() and find_pictures(folder) for folder in held_out)
    test: tuple[list[Source], list[Source]] = ([], [])
    with contextlib.suppress(UserError):  # held-out pictures that match in nothing are none
        test = _both(held_out, config.replace(skip_bad=True), paired) if held_out and has_test else test
    how = "pairs matched by name" if paired else "unpaired"
    description = (
        f"{train[0]} and {train[1]} ({how}): {len(sides[0])} and {len(sides[1])} pictures to train with, {len(test[0])} and {len(test[1])} held out"
    )
    return DataSet(description, names, sides, test, train + held_out if held_out and test[0] else train)


def _both(folders: tuple[Path, Path], config: SourceConfig, paired: bool) -> tuple[list[Source], list[Source]]:
    found_a, found_b = (find_pictures(folder) for folder in folders)
    for folder, found in zip(folders, (found_a, found_b), strict=True):
        if not found:
            raise UserError(f"{folder} holds no pictures (jpg, png, webp, bmp, tif, ppm or gif)")
    if paired:
        found_a, found_b = _matched(folders, found_a, found_b, config.skip_bad)
    return _sources(found_a[: config.max_pictures]), _sources(found_b[: config.max_pictures])


def by_stem(folder: Path, pictures: Iterable[Path]) -> dict[str, Path]:
    """Pictures of a folder by their path below it, less its ending: what pairs in two folders are matched by.

    Raises:
        UserError: If two differ in nothing but the ending.
    """
    found: dict[str, Path] = {}
    for path in pictures:
        other = found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
        if other is not path:
            raise UserError(f"{other} and {path} have one name, and pairs are matched by name without its ending: rename or remove one of them")
    return found


def _matched(folders: tuple[Path, Path], found_a: list[Path], found_b: list[Path], skip: bool) -> tuple[list[Path], list[Path]]:
    """Only the pictures whose relative path, less its ending, occurs in both folders."""
    by_stem_a, by_stem_b = by_stem(folders[0], found_a), by_stem(folders[1], found_b)
    common = sorted(by_stem_a.keys() & by_stem_b.keys())
    alone = sorted(by_stem_a.keys() ^ by_stem_b.keys())
    if not common:
        raise UserError(f"no picture of {folders[0]} has the name of one in {folders[1]}: pairs are matched by file name without its ending")
    if alone and not skip:
        some = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
        raise UserError(f"{len(alone)} pictures have no partner in the other folder ({some}): add --data.skip-bad to leave them out")
    return [by_stem_a[stem] for stem in common], [by_stem_b[stem] for stem in common]


def _side_by_side(folder: Path, pictures: list[Path], config: SourceConfig, paired: bool) -> DataSet:
    size = picture_size(pictures[0])
    if not paired and size and size[0] < 1.5 * size[1]:
        raise UserError(
            f"{folder / 'train'} holds pictures of one domain only ({pictures[0].name} is {size[0]}x{size[1]}, too narrow for two side by side): "
            "expected trainA and trainB, train/A and train/B, or two folders named with --data.a and --data.b"
        )
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    held_out = find_pictures(test) if test else []
    pictures = pictures[: config.max_pictures]
    description = f"side by side pictures (a left, b right) in {folder / 'train'}: {len(pictures)} pairs to train with, {len(held_out)} held out"
    train = _sources(pictures, "left"), _sources(pictures, "right")
    folders = (folder / "train", test) if test and held_out else (folder / "train",)
    return DataSet(description, domain_names(folder.resolve().name), train, (_sources(held_out, "left"), _sources(held_out, "right")), folders)


def _sources(paths: Iterable[Path], half: str | None = None) -> list[Source]:
    return [Source(path, half) for path in paths]
