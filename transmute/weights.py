"""Files of tensors: safetensors with a JSON header and a checksum, and safe loading of pickles.

This module is the only one that opens PyTorch files, which may be malicious.
"""

import json
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from transmute.errors import UserError
from transmute.files import placeholder, replacing, special_kind


class WeightsError(UserError):
    """A file of weights is missing, damaged, or of another kind."""


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Writes tensors and a JSON-serializable header to one file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header)
    # One entry only: safetensors writes several in an order that varies between processes.
    metadata = {"transmute": f"{_checksum(text, tensors):08x} {text}"}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Returns the tensors (on the CPU) and the header of a file written by `save_tensors`.

    Raises:
        WeightsError: If the file is missing, damaged, or not written by Transmute.
        UserError: If permission to read it is denied. The file may be intact.
    """
    tensors, metadata = read_safetensors(path)
    if "transmute" not in metadata:
        raise WeightsError(f"{path} is a safetensors file, but not one that Transmute wrote")
    checksum, _, text = metadata["transmute"].partition(" ")
    if checksum != f"{_checksum(text, tensors):08x}":
        raise WeightsError(f"{path} is damaged: its contents do not match its checksum")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):  # ValueError also for integers of too many digits
        header = None
    if not isinstance(header, dict):
        raise WeightsError(f"{path} is damaged: its header is not a JSON object")
    return tensors, header


def mismatch(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str | None:
    """Describes the first difference between tensors and those that a network has, or None.

    Names, shapes, types, and whether the values are finite are compared.

    Args:
        expected: Tensors of the network, which may be on the meta device.
        found: Tensors of a file.
    """
    for names, text in (
        (expected.keys() - found.keys(), "lacks {} of the network's tensors, such as {!r}"),
        (found.keys() - expected.keys(), "has {} tensors that the network lacks, such as {!r}"),
    ):
        if names:
            return text.format(len(names), min(names)[:100])
    for name, wanted in expected.items():
        tensor = found[name]
        for fact, value, other in (
            ("shape", list(tensor.shape), list(wanted.shape)),
            ("type", str(tensor.dtype).removeprefix("torch."), str(wanted.dtype)[6:]),
        ):
            if value != other:
                return f"has the {fact} {value} of {name!r}, but the network needs {other}"
        if not tensor.isfinite().all():
            return f"has values in {name!r} that are not finite"
    return None


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Returns the tensors (on the CPU) and the metadata of a safetensors file.

    Raises:
        WeightsError: If the file is missing, damaged, or of another kind.
        UserError: If permission to read it is denied. The file may be intact.
    """
    require_regular(path)
    try:
        # safetensors says that there is no file if there is no permission to read it.
        with path.open("rb"), safe_open(path, framework="pt") as file:
            # Copies: the tensors of safetensors keep the file mapped, so that Windows could neither
            # replace nor remove it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, ValueError) as error:
        if kind := _other_format(path, _SIGNATURES):
            raise WeightsError(f"{path} is {kind}") from None
        raise WeightsError(f"{path} is not a safetensors file, or is damaged ({error})") from None
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> int:
    """CRC-32 of the header and of the names, types, shapes and contents of the tensors."""
    checksum = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return checksum


def require_regular(path: Path) -> None:
    """Checks that a path is not a pipe, a socket or a device.

    Raises:
        WeightsError: If it is one.
    """
    if kind := special_kind(path):
        raise WeightsError(f"{path} is {kind}, not a file of weights. Pass a regular file")


def require_no_placeholder(path: Path) -> None:
    """Checks that a file of weights is not a Git LFS pointer or a web page.

    Raises:
        WeightsError: If it is one.
        UserError: If permission to read it is denied. The file may be intact.
    """
    require_regular(path)
    try:
        if kind := placeholder(path):
            raise WeightsError(f"{path} is {kind}, not a file of weights. Download the file again")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


_SAVE_STATE = "Load it with the tool that wrote it, and save its state_dict() with torch.save"
_SAVE_LOADED = 'If you trust it, run in Python: torch.save({}.state_dict(), "weights.pth")'
_ALWAYS_UNPACKED = 50_000_000
"""Bytes to which any zip file may unpack."""
_SIGNATURES = {
    rb"\x08[\x01-\x1f]\x12": (
        "an ONNX file, which contains no checkpoint. Use the PyTorch checkpoint that it was "
        "exported from"
    ),
    rb"\x89HDF\r\n": f"an HDF5 file, such as Keras writes, not a PyTorch checkpoint. {_SAVE_STATE}",
    rb"\x93NUMPY": "a NumPy array, not a PyTorch checkpoint",
    # Files that torch.save wrote before version 1.6 begin with its magic number.
    rb"\x80[\x02-\x05](?!\x8a\x0al\xfc\x9cF\xf9)": (
        f"a file of Python's pickle, which could execute code, so it is not loaded. {_SAVE_STATE}"
    ),
}
_SAFETENSORS = {
    rb".{8}\{\"__metadata__\":\{\"transmute": "a model file of Transmute. It needs no import",
}
"""Regular expressions for the first bytes of other formats, and sentences about them."""


def _other_format(path: Path, signatures: dict[bytes, str]) -> str | None:
    """Describes a file that is neither written by torch.save nor damaged, or returns None."""
    with path.open("rb") as file:
        start = file.read(64)
    for signature, kind in signatures.items():
        if re.match(signature, start, re.DOTALL):
            return kind
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return None
    if "constants.pkl" in names:
        code = f"torch.jit.load({path.name!r})"
        return (
            "a TorchScript file, which contains code, so it is not loaded. "
            f"{_SAVE_LOADED.format(code)}"
        )
    return None if "data.pkl" in names else "a zip file, but not one that torch.save wrote"


def load_foreign(path: Path) -> Any:
    """Loads a file that `torch.save` or safetensors wrote, but not Transmute, on the CPU.

    Raises:
        WeightsError: As `load_pickled`.
        UserError: If the file is missing, or permission to read it is denied.
    """
    require_no_placeholder(path)
    with path.open("rb") as file:
        is_safetensors = re.match(rb".{8}\{\"(?!__metadata__\":\{\"transmute)", file.read(64), re.S)
    return read_safetensors(path)[0] if is_safetensors else load_pickled(path)


def require_plain(name: str, tensor: torch.Tensor, path: Path) -> None:
    """Checks that a tensor is finite and has a value of its own for each element.

    Raises:
        WeightsError: If it is not.
    """
    if (
        tensor.layout != torch.strided
        or tensor.device.type != "cpu"
        or tensor.is_quantized
        or tensor.is_complex()
        or tensor.untyped_storage().nbytes() < tensor.nbytes  # a few values, expanded to many
    ):
        raise WeightsError(
            f"{path} is not a plain checkpoint: {name} is sparse, quantized, complex, expanded or "
            "without data"
        )
    if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
        raise WeightsError(
            f"{path} contains weights that are not finite, the first in {name}. Use an earlier "
            "checkpoint"
        )


def load_pickled(path: Path) -> Any:
    """Loads a file written by `torch.save`, on the CPU, without executing anything in it.

    Raises:
        WeightsError: If the file is damaged, of another kind, or contains objects other than
            tensors and plain values (such as a whole pickled module).
        UserError: If the file is missing, or permission to read it is denied.
    """
    require_no_placeholder(path)
    if kind := _other_format(path, _SAFETENSORS | _SIGNATURES):
        raise WeightsError(f"{path} is {kind}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # torch.save does not compress, so a small file cannot contain much.
                unpacked = sum(member.file_size for member in archive.infolist())
                if unpacked > max(2 * path.stat().st_size, _ALWAYS_UNPACKED):
                    raise WeightsError(
                        f"{path} cannot be trusted: it would unpack to {unpacked:,} bytes. Do not "
                        "use it"
                    )
                if archive.testzip() is not None:  # torch does not verify the checksums
                    raise zipfile.BadZipFile
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # torch and zipfile raise many types of errors on damaged files
        has_objects = isinstance(error, pickle.UnpicklingError) and re.search(
            "Unsupported (?:global|class)|GLOBAL|REDUCE", str(error)
        )
        found = re.search(r"GLOBAL ([\w.]{1,100})", str(error))
        code = f"torch.load({path.name!r}, weights_only=False)"
        problem = (
            f"contains pickled objects besides tensors ({found[1] if found else 'a whole module'})."
            f" They could execute code, so they are not loaded. {_SAVE_LOADED.format(code)}"
            if has_objects
            else "is truncated or damaged, or is not a file of weights written by torch.save"
        )
        raise WeightsError(f"{path} {problem}") from None
