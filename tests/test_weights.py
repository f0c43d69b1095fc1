from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from transmute.weights import WeightsError, load_pickled, load_tensors, save_tensors


def test_tensors_and_header_are_restored(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(2, 3),
        "b": torch.tensor(7),
        "c": torch.randn(4, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
    }
    save_tensors(tmp_path / "deep" / "x.safetensors", tensors, {"step": 3})
    loaded, header = load_tensors(tmp_path / "deep" / "x.safetensors")
    assert header == {"step": 3}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.randn(100)}, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match="damaged"):
        load_tensors(path)


def test_a_single_changed_bit_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.randn(100)}, {})
    contents = bytearray(path.read_bytes())
    contents[-7] ^= 1
    path.write_bytes(contents)
    with pytest.raises(WeightsError, match="checksum"):
        load_tensors(path)


def test_every_changed_byte_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.randn(3), "b": torch.tensor(1)}, {"step": 3, "name": "x"})
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            tensors, header = load_tensors(path)
        except WeightsError:
            continue
        # White space between the parts of the header may change.
        assert header == {"step": 3, "name": "x"}, position
        assert sorted(tensors) == ["a", "b"], position


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="not one that Transmute wrote"):
        load_tensors(tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="there is no file"):
        load_tensors(tmp_path / "nothing.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_tensors(tmp_path / "x.pth")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="is a named pipe"):
        load_tensors(tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="is a named pipe"):
        load_pickled(tmp_path / "x.safetensors")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(60_000_000))
    with pytest.raises(WeightsError, match="it would unpack to 60,000,004 bytes"):
        load_pickled(tmp_path / "bomb.pth")
