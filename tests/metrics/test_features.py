from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import SHARED
from transmute.config.metrics import MetricsConfig
from transmute.demo.animals import animal
from transmute.errors import UserError
from transmute.images.decode import read_image
from transmute.images.ranges import to_tensor
from transmute.metrics.features import Features, resize_antialiased
from transmute.metrics.inception import Inception, InceptionBlock
from transmute.metrics.perceptual import LPIPS, alexnet, squeezenet, structure_distance, vgg16
from transmute.metrics.pretrained import PUBLISHED, load_features

CPU = torch.device("cpu")
SQUEEZENET = SHARED / "weights" / "squeezenet1_1_imagenet.safetensors"


def load(**settings: Any) -> tuple[Features, LPIPS | None]:
    return load_features(MetricsConfig(**settings), CPU)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for weights, so that tests depend on their files only."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def perceptual() -> LPIPS:
    if not SQUEEZENET.is_file():
        pytest.skip("the SqueezeNet weights for tests are missing")
    lpips = load(features=str(SQUEEZENET))[1]
    assert lpips is not None
    return lpips


def image(seed: int = 0, *, striped: bool = False) -> Image.Image:
    return animal(np.random.default_rng(seed), striped=striped)[0]


def noise(size: int, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_inception_has_the_keys_and_the_bytes_of_the_published_file() -> None:
    network = Inception().eval()
    state = {
        key: value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert len(state) == 94 * 5  # convolutions, each with four vectors of batch norm
    fc = 4 * (2048 * 1008 + 1008)
    # The file has 95,628,359 bytes, less than 100,000 of them names and shapes
    assert 0 < 95_628_359 - fc - sum(value.nbytes for value in state.values()) < 100_000
    keys = {
        "Conv2d_2b_3x3.bn.running_var",
        "Mixed_5d.branch3x3dbl_3.conv.weight",
        "Mixed_6e.branch7x7dbl_5.bn.bias",
        "Mixed_7c.branch3x3dbl_3b.conv.weight",
    }
    assert keys <= state.keys()
    with torch.inference_mode():
        assert network(noise(299)).shape == (1, 2048)


def test_inceptions_blocks_are_the_published_ones() -> None:
    """Compares with the blocks written out in torch's functions on weights by published names."""
    torch.manual_seed(0)
    network = Inception().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # so that its position matters
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
            module.running_mean.uniform_(-0.1, 0.1)  # pyright: ignore[reportOptionalMemberAccess]
    weights = network.state_dict()

    def conv(
        name: str, x: torch.Tensor, stride: int = 1, padding: int | tuple[int, int] = 0
    ) -> torch.Tensor:
        norm = (
            weights[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(
            F.conv2d(x, weights[f"{name}.conv.weight"], None, stride, padding), *norm, eps=0.001
        ).relu()

    def chain(
        block: str, x: torch.Tensor, *links: tuple[str, int | tuple[int, int]]
    ) -> torch.Tensor:
        for link, padding in links:
            x = conv(f"{block}.{link}", x, 1, padding)
        return x

    def a(block: str, x: torch.Tensor) -> torch.Tensor:
        five = chain(block, x, ("branch5x5_1", 0), ("branch5x5_2", 2))
        double = chain(
            block, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1), ("branch3x3dbl_3", 1)
        )
        pool = conv(f"{block}.branch_pool", F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        return torch.cat([conv(f"{block}.branch1x1", x), five, double, pool], 1)

    def b(block: str, x: torch.Tensor) -> torch.Tensor:
        double = conv(
            f"{block}.branch3x3dbl_3",
            chain(block, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1)),
            2,
        )
        return torch.cat([conv(f"{block}.branch3x3", x, 2), double, F.max_pool2d(x, 3, 2)], 1)

    def c(block: str, x: torch.Tensor) -> torch.Tensor:
        row, column = (0, 3), (3, 0)
        seven = chain(block, x, ("branch7x7_1", 0), ("branch7x7_2", row), ("branch7x7_3", column))
        names = [f"branch7x7dbl_{place}" for place in range(1, 6)]
        double = chain(block, x, *zip(names, (0, column, row, column, row), strict=True))
        pool = conv(f"{block}.branch_pool", F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        return torch.cat([conv(f"{block}.branch1x1", x), seven, double, pool], 1)

    def d(block: str, x: torch.Tensor) -> torch.Tensor:
        three = conv(f"{block}.branch3x3_2", conv(f"{block}.branch3x3_1", x), 2)
        seven = chain(
            block, x, ("branch7x7x3_1", 0), ("branch7x7x3_2", (0, 3)), ("branch7x7x3_3", (3, 0))
        )
        return torch.cat(
            [three, conv(f"{block}.branch7x7x3_4", seven, 2), F.max_pool2d(x, 3, 2)], 1
        )

    def e(block: str, x: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
        three = conv(f"{block}.branch3x3_1", x)
        double = chain(block, x, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
        forks = [
            conv(f"{block}.{name}{letter}", y, 1, padding)
            for y, name in ((three, "branch3x3_2"), (double, "branch3x3dbl_3"))
            for letter, padding in (("a", (0, 1)), ("b", (1, 0)))
        ]
        return torch.cat(
            [conv(f"{block}.branch1x1", x), *forks, conv(f"{block}.branch_pool", pool)], 1
        )

    with torch.no_grad():
        x = conv("Conv2d_1a_3x3", ((noise(299) + 1) * 127.5 - 128) / 128, 2)
        x = F.max_pool2d(conv("Conv2d_2b_3x3", conv("Conv2d_2a_3x3", x), 1, 1), 3, 2)
        x = F.max_pool2d(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x)), 3, 2)
        x = b("Mixed_6a", a("Mixed_5d", a("Mixed_5c", a("Mixed_5b", x))))
        x = d("Mixed_7a", c("Mixed_6e", c("Mixed_6d", c("Mixed_6c", c("Mixed_6b", x)))))
        x = e("Mixed_7b", x, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        x = e("Mixed_7c", x, F.max_pool2d(x, 3, 1, 1))
        # float32 through 94 layers, in another order of sums
        torch.testing.assert_close(network(noise(299)), x.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_inceptions_pools_do_not_count_the_padding() -> None:
    block = Inception().Mixed_5b
    assert isinstance(block, InceptionBlock)
    block.eval()
    block.inputs = {}  # so that the pool is the only output
    with torch.no_grad():
        assert torch.equal(block(torch.ones(1, 192, 4, 4)), torch.ones(1, 192, 4, 4))


@pytest.mark.parametrize(
    "file", ["pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"]
)
def test_either_published_inception_file_is_found_and_loaded(empty_cache: Path, file: str) -> None:
    torch.manual_seed(0)
    network = Inception()
    state = {
        key: value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    classifier = {"fc.weight": torch.randn(1008, 2048), "fc.bias": torch.randn(1008)}
    torch.save(state | classifier, empty_cache / file)
    for asked in ("inception", "auto", str(empty_cache / file)):
        features, lpips = load(features=asked)
        assert (features.name, features.size, lpips) == ("inception", 299, None)
        assert torch.equal(
            features.network.state_dict()["Mixed_7c.branch1x1.conv.weight"],
            state["Mixed_7c.branch1x1.conv.weight"],
        )
        vectors = torch.rand(3, 2048, dtype=torch.float64)
        logits = F.linear(vectors, classifier["fc.weight"].double())  # without the bias
        probabilities = features.probabilities(vectors)
        assert probabilities is not None
        torch.testing.assert_close(probabilities, logits.softmax(1), rtol=1e-9, atol=0)
    torch.save(state, empty_cache / file)
    features, _ = load(features="inception")
    assert features.classifier is None
    assert features.probabilities(vectors) is None
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048)}, empty_cache / file)
    with pytest.raises(UserError, match="an Inception network with 1000 classes, but FID is"):
        load(features="inception")


def test_without_weights_the_error_says_what_to_download_and_where_to_save_it(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transmute.download.urlopen", lambda *_, **__: (_ for _ in ()).throw(URLError("no network"))
    )
    for name, weights in PUBLISHED.items():
        with pytest.raises(
            UserError,
            match=f"Download this file by hand and put it at {empty_cache / weights.file.name}",
        ):
            load(features=name)


def test_auto_is_texture_without_weights() -> None:
    features, lpips = load()
    assert (features.name, lpips) == ("texture", None)
    assert features.of([image(), image(1)]).shape == (2, 87)


def test_texture_separates_striped_animals_from_plain_ones() -> None:
    features, _ = load(features="texture")
    plain, more, striped = (
        features.of([image(seed, striped=kind) for seed in range(start, start + 12)])
        for start, kind in ((0, False), (50, False), (99, True))
    )
    spread = torch.cat([plain, more]).std(0)
    assert ((plain.mean(0) - striped.mean(0)) / spread).abs().max() > 2 * (
        (plain.mean(0) - more.mean(0)) / spread
    ).abs().max()


@pytest.mark.parametrize(
    ("build", "channels", "layers"),
    [
        (alexnet, (64, 192, 384, 256, 256), 12),
        (vgg16, (64, 128, 256, 512, 512), 30),
        (squeezenet, (64, 128, 256, 384, 384, 512, 512), 13),
    ],
)
def test_taps_have_the_channels_of_lpips(build, channels: tuple[int, ...], layers: int) -> None:
    network = build().eval()
    with torch.no_grad():
        outputs = network.layers(noise(64))
    assert tuple(layer.shape[1] for layer in outputs) == channels
    assert all((layer >= 0).all() for layer in outputs)
    assert len(network.features) == layers


def test_torchvision_and_caffe_normalize_differently() -> None:
    red = torch.tensor([1.0, -1, -1])[None, :, None, None].expand(1, 3, 32, 32)
    seen = []
    for caffe in (False, True):
        network = squeezenet(caffe=caffe)
        network.features[0].register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0][0, :, 0, 0])
        )
        network.layers(red)
    torch.testing.assert_close(
        seen[0], torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    )
    torch.testing.assert_close(
        seen[1], torch.tensor([-103.939, -116.779, 255 - 123.68])
    )  # blue first


def test_lpips_orders_changes_as_people_do(perceptual: LPIPS) -> None:
    """Less noise, less blur, a shift or other light changes an image less than another animal."""
    original = to_tensor(read_image(image()))
    blurred = [
        torch.nn.functional.avg_pool2d(original, size, 1, size // 2, count_include_pad=False)
        for size in (3, 7)
    ]
    noisy = [original + spread * noise(64) for spread in (0.05, 0.3)]
    another, striped = (
        to_tensor(read_image(image(7, striped=striped))) for striped in (False, True)
    )

    def distance(other: torch.Tensor, one: torch.Tensor = original) -> float:
        value = perceptual(one, other)
        assert value is not None
        return value

    assert distance(original) == 0
    assert distance(noisy[0]) < distance(noisy[1])
    assert distance(blurred[0]) < distance(blurred[1]) < distance(another)
    assert distance(original.roll(1, 3)) < distance(another)
    assert distance(0.9 * original) < distance(-original)
    assert distance(original.flip(3)) < distance(striped)
    assert distance(another) == pytest.approx(distance(original, another), rel=1e-5)


def test_lpips_is_its_formula() -> None:
    torch.manual_seed(0)
    network = alexnet().double().eval().requires_grad_(False)
    for weight in network.linear:
        weight.uniform_()
    one, two = noise(64).double(), noise(64, seed=1).double()
    expected = 0.0
    for u, v, weight in zip(network.layers(one), network.layers(two), network.linear, strict=True):
        for y in range(u.shape[2]):
            for x in range(u.shape[3]):
                p, q = u[0, :, y, x], v[0, :, y, x]
                expected += float(
                    (
                        weight[0, :, 0, 0] * (p / (p.norm() + 1e-10) - q / (q.norm() + 1e-10)) ** 2
                    ).sum()
                ) / (u.shape[2] * u.shape[3])
    assert LPIPS("alexnet", network)(one, two) == pytest.approx(expected, rel=1e-9)


def test_the_structure_distance_depends_on_shapes_more_than_on_colors(perceptual: LPIPS) -> None:
    original, other = resize_antialiased(image(), 224), resize_antialiased(image(3), 224)
    gray = original.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    lost = [
        structure_distance(perceptual.backbone, original, one).item()
        for one in (original, gray, other)
    ]
    assert lost[0] == 0 < lost[1] < lost[2] < 4


def test_lpips_uses_a_network_in_the_cache(empty_cache: Path) -> None:
    save = {f"features.{key}": value for key, value in alexnet().features.state_dict().items()}
    assert load(features="texture")[1] is None
    torch.save(
        save | {"classifier.1.weight": torch.zeros(3)}, empty_cache / "alexnet-owt-7be5be79.pth"
    )
    features, lpips = load(features="texture")
    assert features.name == "texture"
    assert lpips is not None
    assert lpips.name == "alexnet"
    assert not torch.equal(lpips.backbone.linear[0], torch.ones(1, 64, 1, 1))
    features, lpips = load(features="alexnet")
    assert lpips is not None
    assert lpips.backbone is features.network
    assert load(features="texture", lpips="none")[1] is None
    with pytest.raises(UserError, match="LPIPS is not defined on texture"):
        load(lpips="texture")


def test_the_linear_weights_of_torchmetrics_are_those_of_a_converted_file(
    perceptual: LPIPS, tmp_path: Path
) -> None:
    state = {key: tensor for key, tensor in load_file(SQUEEZENET).items() if "lpips" not in key}
    save_file(state, tmp_path / "features_only.safetensors")
    _, lpips = load(features=str(tmp_path / "features_only.safetensors"))
    assert lpips is not None
    for ours, theirs in zip(lpips.backbone.linear, perceptual.backbone.linear, strict=True):
        assert torch.equal(ours, theirs)
    assert (perceptual.backbone.caffe, lpips.backbone.caffe) == (True, False)


def test_linear_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = {f"features.{key}": value for key, value in alexnet().features.state_dict().items()}
    few = {f"lpips.lin{i}.model.1.weight": torch.ones(1, 64, 1, 1) for i in range(4)}
    save_file(state | few, tmp_path / "few.safetensors")
    with pytest.raises(UserError, match=r"does not fit its network: .*linear\.4"):
        load(lpips=str(tmp_path / "few.safetensors"))


def test_the_resize_is_that_of_clean_fid() -> None:
    # Antialiased: stripes of one pixel become gray, instead of wider stripes.
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (64, 32)), "L").convert(
        "RGB"
    )
    assert resize_antialiased(stripes, 16).abs().max() < 0.1
    # Not rounded to levels, and clipped where bicubic goes beyond.
    edge = Image.fromarray(np.repeat(np.array([[0, 255]], dtype=np.uint8), 2, 0), "L").convert(
        "RGB"
    )
    large = resize_antialiased(edge, 20)
    assert large.min() == -1
    assert large.max() == 1
    levels = (large + 1) * 127.5
    assert (levels - levels.round()).abs().max() > 0.1
    # Resizing to the same size changes nothing.
    assert torch.equal(resize_antialiased(image(), 64), to_tensor(read_image(image())))


def test_the_users_own_module_can_compute_features(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef mean_color():\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "number, Name = 3, str\n",
        encoding="utf-8",
    )
    features, _ = load(features=f"{tmp_path}/mine.py:mean_color")
    red = Image.new("RGB", (20, 20), (255, 0, 0))
    assert features.of([red]).tolist() == [[1, -1, -1]]
    for wrong, problem in (
        ("mine.py:other", "does not define other"),
        ("mine.py:number", "number failed: TypeError: 'int' object is not callable"),
        ("mine.py:Name", "Name returns an object of type str. Return a torch module"),
        ("none.py:x", "no file"),
    ):
        with pytest.raises(UserError, match=problem):
            load(features=f"{tmp_path}/{wrong}")


def test_the_error_about_a_wrong_weights_file_says_what_is_wrong(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"features.3.squeeze.weight": torch.zeros(16, 64, 1, 1)}, tmp_path / "part.pth")
    torch.save(
        {key: value for key, value in Inception().state_dict().items() if "7c" in key},
        tmp_path / "half.pth",
    )
    wrong = {
        "other.safetensors": "none of the networks",
        "broken.safetensors": "damaged",
        "list.pth": "does not contain named tensors",
    }
    for file, problem in (
        wrong
        | {
            "part.pth": "does not fit its network: it lacks ",
            "half.pth": "does not fit its network: it lacks ",
            "missing.pth": "neither a feature network nor a file",
        }
    ).items():
        with pytest.raises(UserError, match=problem):
            load(features=str(tmp_path / file))
