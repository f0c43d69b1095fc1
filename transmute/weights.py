"""Files of tensors: safetensors with a JSON header, a checksum, and atomic writing. The one place that opens what may be hostile."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized

from transmute.settings import UserError


class WeightsError(UserError):
    """A file of tensors that is missing, damaged or something else."""


class UnreadableError(UserError):
    """A file that the system does not let us read just now; it may be whole."""


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Writes tensors and a JSON-able header to one file; it is complete or not there, whenever the machine stops."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header)
    # One entry only: safetensors writes several in an order that changes from run to run.
    metadata = {"transmute": f"{_checksum(text, tensors):08x} {text}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as file:
        file.write(serialized(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the header of a file that `save_tensors` wrote.

    Raises:
        WeightsError: If the file is missing, truncated, changed, or not one of ours.
        UnreadableError: If the system does not let us read it.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    if not os.access(path, os.R_OK):
        raise UnreadableError(f"there is no permission to read {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is no safetensors file, or is damaged ({error})") from None
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from None
    if "transmute" not in metadata:
        raise WeightsError(f"{path} is a safetensors file, but not one that Transmute wrote")
    checksum, _, text = metadata["transmute"].partition(" ")
    if checksum != f"{_checksum(text, tensors):08x}":
        raise WeightsError(f"{path} is damaged: its contents do not match its checksum")
    return tensors, json.loads(text)


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> int:
    """Of the header, and of names, types, shapes and contents of the tensors."""
    checksum = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return checksum


def require_no_impostor(path: Path) -> bytes:
    """The first bytes of a file, which may not be those of a Git LFS pointer or a web page in its place.

    Raises:
        WeightsError: If they are.
        UnreadableError: If the system does not let us read it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(200)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from None
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is only a Git LFS pointer to the file: fetch the file itself with 'git lfs pull'")
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise WeightsError(f"{path} is a web page, not a file of weights: the download answered with an error page, so fetch it again")
    return start


def load_pickled(path: Path) -> Any:
    """What `torch.save` wrote to a file, on the CPU, as long as it is tensors and plain values: nothing in it is executed.

    Raises:
        WeightsError: If the file is missing, truncated, no such file, or holds other objects (a whole pickled module, say).
        UnreadableError: If the system does not let us read it.
    """
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    start = require_no_impostor(path)
    if start[8:10] == b'{"':
        raise WeightsError(f"{path} is a safetensors file, not one of torch.save: if Transmute wrote it, it is a model file already")
    damaged = WeightsError(f"{path} is truncated or damaged, or no file of weights that torch.save wrote")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:  # torch itself does not look at the checksums
                    raise damaged
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("Unsupported (global|class)|GLOBAL|REDUCE", str(error)):
            raise WeightsError(
                f"{path} holds pickled objects beside tensors (a whole module, say), which could execute anything and are not loaded: "
                "save its state_dict() alone, with the tool that wrote it"
            ) from None
        raise damaged from None
    except Exception:  # torch and zipfile raise almost anything on a damaged file
        raise damaged from None
