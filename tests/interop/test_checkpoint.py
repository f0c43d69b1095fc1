from __future__ import annotations

import io
import pickle
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from transmute.cli import main
from transmute.errors import UserError
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.importer import import_weights
from transmute.translation.model import ModelCard
from transmute.weights import load_tensors


def tiny_resnet(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A checkpoint as junyanz's code writes it, of one block and width 2."""
    shapes = {
        "model.1": (2, 3, 7, 7),
        "model.4": (4, 2, 3, 3),
        "model.7": (8, 4, 3, 3),
        "model.10.conv_block.1": (8, 8, 3, 3),
    }
    shapes |= {
        "model.10.conv_block.5": (8, 8, 3, 3),
        "model.11": (8, 4, 3, 3),
        "model.14": (4, 2, 3, 3),
        "model.18": (3, 2, 7, 7),
    }
    state = {}
    for name, shape in shapes.items():
        outs = shape[1] if name in ("model.11", "model.14") else shape[0]
        state |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(outs)}
    state |= {key: value for key, value in changes.items() if value is not None}
    return {
        key: value for key, value in state.items() if key not in changes or changes[key] is not None
    }


def test_a_reference_run_contains_both_generators_and_both_discriminators(
    tmp_path: Path,
) -> None:
    run = tmp_path / "horse2zebra_cyclegan"
    run.mkdir()
    discriminator = {
        "net.0.weight": torch.randn(2, 3, 1, 1),
        "net.0.bias": torch.randn(2),
        "net.2.weight": torch.randn(4, 2, 1, 1),
    }
    discriminator |= {
        "net.2.bias": torch.randn(4),
        "net.5.weight": torch.randn(1, 4, 1, 1),
        "net.5.bias": torch.randn(1),
    }
    states = {
        "G_A": tiny_resnet(),
        "G_B": tiny_resnet(),
        "D_A": discriminator,
        "D_B": {key: -value for key, value in discriminator.items()},
    }
    for name, state in states.items():
        torch.save(state, run / f"latest_net_{name}.pth")
        torch.save(tiny_resnet(), run / "5_net_G_A.pth")
    (run / "train_opt.txt").write_text(
        "----- Options -----\n   dataroot: ./datasets/horse2zebra   \t[default: None]\n"
        "  crop_size: 128\n",
        encoding="utf-8",
    )
    import_weights(run, tmp_path / "all")
    state, header = load_tensors(tmp_path / "all" / "a_to_b.safetensors")
    card = ModelCard(**header)
    assert (card.source, card.target, card.method, card.size, card.generator.name) == (
        "horse",
        "zebra",
        "cyclegan",
        "128x128",
        "resnet",
    )
    assert torch.equal(state["layers.1.weight"], states["G_A"]["model.1.weight"])
    # Their D_A scores b.
    assert torch.equal(
        load_tensors(tmp_path / "all" / "score_b.safetensors")[0]["layers.0.weight"],
        discriminator["net.0.weight"],
    )
    assert torch.equal(
        load_tensors(tmp_path / "all" / "score_a.safetensors")[0]["layers.0.weight"],
        -discriminator["net.0.weight"],
    )
    assert set(read_checkpoint(run, epoch="5").networks) == {"a_to_b"}


def test_a_run_from_b_to_a_is_imported_as_b_to_a(tmp_path: Path) -> None:
    torch.save(tiny_resnet(), tmp_path / "latest_net_G_A.pth")
    (tmp_path / "train_opt.txt").write_text("  direction: BtoA   \n", encoding="utf-8")
    assert set(read_checkpoint(tmp_path).networks) == {"b_to_a"}


def torchscript() -> bytes:
    """A file of torch.jit.save."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # deprecated, but there are such files
        torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 1)), file)
    return file.getvalue()


class Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("executed"),))


def tiny_weight_bytes(path: Path) -> bytes:
    return torch.load(path, weights_only=True)["model.4.weight"].numpy().tobytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"", "truncated or damaged"),
        (b"nothing of the kind", "truncated or damaged"),
        ("truncated", "truncated or damaged"),
        (Evil(), "pickled objects"),
        (nn.Conv2d(1, 1, 1), r"pickled objects .*\(torch.nn.modules.conv.Conv2d\).*state_dict"),
        (
            {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(1000, 512)},
            "contains no network that Transmute knows .*conv1.weight",
        ),
        (
            tiny_resnet(**{"model.7.weight": None}),
            r"1 weights are missing \(first model.7.weight\)",
        ),
        (tiny_resnet(**{"model.99.weight": torch.zeros(3)}), r"left over"),
        (
            tiny_resnet(**{"model.4.weight": torch.zeros(5, 2, 3, 3)}),
            r"model.4.weight is \(5, 2, 3, 3\) of torch.float32 where \(4, 2, 3, 3\)",
        ),
        (torch.zeros(3), "contains no weights by name"),
        ({"model.1.weight": "text"}, "contains no weights by name.*'model.1.weight'"),
        (
            tiny_resnet(**{"model.4.weight": torch.full((4, 2, 3, 3), torch.nan)}),
            "not finite, the first in 'model.4.weight'",
        ),
        (
            tiny_resnet(**{"model.4.weight": torch.zeros(4, 2, 3, 3, dtype=torch.int64)}),
            "of torch.int64 where",
        ),
        (
            tiny_resnet(**{"model.4.weight": torch.zeros(4, 2, 3, 3).to_sparse()}),
            "sparse, quantized, complex",
        ),
        (
            tiny_resnet(**{"evil\nline\x1b[2J" + "x" * 5000: torch.zeros(1)}),
            r"first evil\\nline\\x1b",
        ),
        (
            tiny_resnet(**{"model.1.weight": torch.zeros(1, 1, 1, 1).expand(10**6, 3, 7, 7)}),
            "'model.1.weight' is sparse, quantized, complex, expanded",
        ),
        ("flipped", "truncated or damaged"),
        (b"\x08\x07\x12\x07pytorch", r"is an ONNX file, .*Use the PyTorch checkpoint"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (pickle.dumps({"model.1.weight": 0}), "is a file of Python's pickle"),
        (torchscript(), r"is a TorchScript file, .*torch.save\(torch.jit.load"),
    ],
    ids=[
        "lfs",
        "html",
        "empty",
        "text",
        "truncated",
        "evil",
        "module",
        "classifier",
        "missing",
        "left-over",
        "shape",
        "tensor",
        "values",
        "nan",
        "ints",
        "sparse",
        "names",
        "huge",
        "flipped",
        "onnx",
        "hdf5",
        "pickle",
        "torchscript",
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_refused_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: object,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("latest_net_G.pth")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(tiny_resnet() if isinstance(content, str) else content, path)
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-300])
    if content == "flipped":
        raw = bytearray(path.read_bytes())
        place = raw.index(tiny_weight_bytes(path)) + 5
        raw[place] ^= 4
        path.write_bytes(raw)
    monkeypatch.setattr("sys.argv", ["transmute", "import", str(path), "--out", "out.safetensors"])
    with pytest.raises(SystemExit, match="2"):
        main()
    error = capsys.readouterr().err
    assert error.startswith("transmute: ")
    assert error.count("\n") == 1, error
    assert re.search(says, error), error
    assert says.startswith("truncated") or "damaged" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["latest_net_G.pth"]


def test_discriminators_of_pytorch_gan_keep_their_letters(tmp_path: Path) -> None:
    """Its D_A scores a, but junyanz's scores b. Its pix2pix translates the right half to the left,
    and the discriminator of pix2pix sees (output, input)."""
    shapes = {
        0: (2, 6, 4, 4),
        2: (4, 2, 4, 4),
        5: (8, 4, 4, 4),
        8: (16, 8, 4, 4),
        12: (1, 16, 4, 4),
    }
    discriminator = {f"model.{place}.weight": torch.randn(shape) for place, shape in shapes.items()}
    discriminator |= {
        f"model.{place}.bias": torch.randn(shape[0])
        for place, shape in shapes.items()
        if place != 12
    }
    torch.save(discriminator, tmp_path / "discriminator_7.pth")
    networks = read_checkpoint(tmp_path / "discriminator_7.pth").networks
    assert set(networks) == {"score_a"}
    assert torch.equal(
        networks["score_a"].state["layers.0.weight"][:, :3], discriminator["model.0.weight"][:, 3:]
    )
    assert networks["score_a"].state["layers.12.bias"].tolist() == [0]
    unpaired = {
        key: value[:, :3] if key == "model.0.weight" else value
        for key, value in discriminator.items()
    } | {"model.12.bias": torch.ones(1)}
    (tmp_path / "saved_models").mkdir()
    torch.save(unpaired, tmp_path / "saved_models" / "D_A_3.pth")
    torch.save(
        {key: -value for key, value in unpaired.items()}, tmp_path / "saved_models" / "D_B_3.pth"
    )
    torch.save(unpaired, tmp_path / "saved_models" / "D_A_2.pth")
    networks = read_checkpoint(tmp_path / "saved_models").networks
    assert torch.equal(networks["score_a"].state["layers.0.weight"], unpaired["model.0.weight"])
    assert torch.equal(networks["score_b"].state["layers.0.weight"], -unpaired["model.0.weight"])


def test_a_swapped_run_swaps_its_discriminators_too(tmp_path: Path) -> None:
    pixel = {
        "net.0.weight": torch.randn(2, 3, 1, 1),
        "net.0.bias": torch.randn(2),
        "net.2.weight": torch.randn(4, 2, 1, 1),
    }
    pixel |= {
        "net.2.bias": torch.randn(4),
        "net.5.weight": torch.randn(1, 4, 1, 1),
        "net.5.bias": torch.randn(1),
    }
    torch.save(pixel, tmp_path / "latest_net_D_A.pth")
    assert set(read_checkpoint(tmp_path).networks) == {"score_b"}
    (tmp_path / "train_opt.txt").write_text("  direction: BtoA   \n", encoding="utf-8")
    assert set(read_checkpoint(tmp_path).networks) == {"score_a"}


def test_a_discriminator_named_as_a_generator_is_refused(tmp_path: Path) -> None:
    pixel = {
        "net.0.weight": torch.randn(2, 3, 1, 1),
        "net.0.bias": torch.randn(2),
        "net.2.weight": torch.randn(4, 2, 1, 1),
    }
    pixel |= {
        "net.2.bias": torch.randn(4),
        "net.5.weight": torch.randn(1, 4, 1, 1),
        "net.5.bias": torch.randn(1),
    }
    torch.save(pixel, tmp_path / "latest_net_G_B.pth")
    with pytest.raises(
        UserError,
        match="should contain a generator by its name, but contains a pixel discriminator",
    ):
        import_weights(tmp_path / "latest_net_G_B.pth", tmp_path / "it")
    torch.save(tiny_resnet(), tmp_path / "latest_net_G.pth")
    torch.save(tiny_resnet(), tmp_path / "latest_net_G_A.pth")
    (tmp_path / "latest_net_G_B.pth").unlink()
    with pytest.raises(UserError, match=r"contains a_to_b twice, .* Pass one file"):
        import_weights(tmp_path, tmp_path / "it")
    assert not list(tmp_path.glob("it*"))


def test_domain_names_that_are_not_in_the_file_do_not_choose_a_direction(
    golden: Path, tmp_path: Path
) -> None:
    file = golden / "mmgeneration" / "cyclegan" / "cyclegan_horse2zebra_convert-bgr.pth"
    checkpoint = read_checkpoint(file, source="pony")
    assert set(checkpoint.networks) == {"a_to_b", "b_to_a", "score_a", "score_b"}
    assert checkpoint.domains == ("pony", "zebra")
    assert read_checkpoint(file, target="horse").domains == ("zebra", "horse")
    bgr = read_checkpoint(file, order="bgr").networks["a_to_b"].state["layers.1.weight"]
    assert torch.equal(
        read_checkpoint(file, order="rgb").networks["a_to_b"].state["layers.1.weight"].flip(1), bgr
    )
    heads = golden / "cut" / "generator" / "latest_net_F.pth"
    plain, flipped = (
        read_checkpoint(heads, order=order).networks["heads"].state["heads.0.0.weight"]
        for order in ("rgb", "bgr")
    )
    assert torch.equal(plain.flip(1), flipped)


def test_the_newest_file_of_an_mmgeneration_folder_is_read(golden: Path, tmp_path: Path) -> None:
    whole = torch.load(
        golden / "mmgeneration" / "pix2pix" / "pix2pix_facades_convert-bgr.pth", weights_only=True
    )
    for step, scale in ((100, 1), (90, 2)):
        scaled = {
            key: value * scale if value.is_floating_point() else value
            for key, value in whole["state_dict"].items()
        }
        torch.save({"meta": whole["meta"], "state_dict": scaled}, tmp_path / f"iter_{step}.pth")
    newest, older = (
        read_checkpoint(tmp_path, epoch=epoch).networks["a_to_b"].state["downs.0.0.weight"]
        for epoch in (None, "iter_90")
    )
    assert torch.equal(2 * newest, older)
