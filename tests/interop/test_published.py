from __future__ import annotations

import io
import shlex
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from tests.interop.test_checkpoint import tiny_resnet
from tests.site import Site
from transmute.cli import run_command
from transmute.cli.junyanz import run_test_py, run_train_py
from transmute.config.networks import UNetConfig
from transmute.download import download
from transmute.errors import UserError
from transmute.interop.checkpoint import read_checkpoint
from transmute.interop.layouts import JUNYANZ, Layout
from transmute.interop.published import DATA_SETS, MODELS, find
from transmute.translation.translator import Translator

HORSE2ZEBRA = "/cyclegan/pretrained_models/horse2zebra.pth"


@pytest.fixture(autouse=True)
def home(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replaces the real addresses by a local server."""
    monkeypatch.setenv("TRANSMUTE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRANSMUTE_MIRROR", site.url + "/")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_the_list_contains_all_published_files() -> None:
    families = [name.split("/")[0] for name in MODELS]
    assert {family: families.count(family) for family in families} == {
        "cyclegan": 18,
        "pix2pix": 5,
        "mmgeneration": 22,
    }
    assert len(DATA_SETS) == 16
    assert all(model.source and model.target and model.holds for model in MODELS.values())
    places = {(model.path, model.url) for model in [*MODELS.values(), *DATA_SETS.values()]}
    assert (
        len({path for path, _ in places}) == len(places) == 18 + 5 + 14 + 16
    )  # eight files of mmgeneration contain both directions


def test_a_title_is_enough_if_only_one_family_has_it() -> None:
    assert find("horse2zebra", MODELS).name == "cyclegan/horse2zebra"
    assert find("pix2pix/sat2map", MODELS).url.endswith("/pix2pix/models-pytorch/sat2map.pth")
    with pytest.raises(
        UserError, match=r"sat2map is ambiguous. Choose one of: cyclegan/sat2map, pix2pix/sat2map"
    ):
        find("sat2map", MODELS)
    with pytest.raises(
        UserError, match=r"maps is ambiguous. Choose one of: cyclegan/maps, pix2pix/maps"
    ):
        find("maps", DATA_SETS)
    with pytest.raises(
        UserError,
        match=r"no published model or data set named 'horse2zebr'. Did you mean horse2zebra",
    ):
        find("horse2zebr", MODELS)
    with pytest.raises(UserError, match="Omit the name to list all"):
        find("qqq", MODELS)


def test_a_mirror_replaces_scheme_and_host_of_listed_addresses_only(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find("horse2zebra", MODELS).url == site.url + HORSE2ZEBRA
    assert find("https://example.org/a.pth", MODELS).url == "https://example.org/a.pth"
    monkeypatch.delenv("TRANSMUTE_MIRROR")
    assert find("horse2zebra", MODELS).url == f"http://efrosgans.eecs.berkeley.edu{HORSE2ZEBRA}"


def test_a_model_is_downloaded_under_its_own_name(site: Site, home: Path) -> None:
    site.files[HORSE2ZEBRA] = b"weights"
    found = find("horse2zebra", MODELS)
    path = download(found.url, found.path)
    assert path == home / "cyclegan" / "horse2zebra.pth"
    assert path.read_bytes() == b"weights"


def test_addresses_with_the_same_ending_do_not_share_a_file(site: Site, home: Path) -> None:
    for place, content in (
        ("/one/latest_net_G.pth", b"one"),
        ("/two/latest_net_G.pth", b"two"),
        ("/two/latest_net_G.pth?v=2", b"three"),
    ):
        site.files[place] = content
        found = find(site.url + place, MODELS)
        assert found.title == "latest_net_G"
        assert download(found.url, found.path).read_bytes() == content


@pytest.mark.parametrize(
    "address", ["/%2e%2e/%2e%2e/out.pth", "/..", "/", "/a/%2Fetc%2Fpasswd", "/.hidden"]
)
def test_an_address_cannot_choose_the_folder_of_its_file(
    site: Site, home: Path, address: str
) -> None:
    path = find(site.url + address, MODELS).path
    assert path.parent.parent == home
    assert path.name[0] not in "./"


def test_without_a_name_the_list_is_printed(site: Site, capsys) -> None:
    assert run_command(["pull"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in MODELS)
    assert "horse to zebra" in listed
    assert run_command(["data", "pull"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed for name in DATA_SETS)
    assert not site.asked


def test_an_existing_model_file_is_not_overwritten_and_nothing_is_downloaded(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "horse2zebra.safetensors").touch()
    with pytest.raises(
        UserError,
        match=r"models/horse2zebra.safetensors exists. Remove it, or choose another `out`",
    ):
        run_command(["pull", "horse2zebra"])
    assert not site.asked


def test_a_data_set_is_downloaded_and_unpacked(
    site: Site, home: Path, tmp_path: Path, capsys
) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for folder in ("trainA", "trainB", "testA", "testB"):
            archive.writestr(f"horse2zebra/{folder}/1.jpg", folder)
    site.files["/cyclegan/datasets/horse2zebra.zip"] = memory.getvalue()
    assert run_command(["data", "pull", "cyclegan/horse2zebra"]) == 0
    assert (tmp_path / "data" / "horse2zebra" / "trainB" / "1.jpg").read_text(
        encoding="utf-8"
    ) == "trainB"
    said = capsys.readouterr()
    assert "data/horse2zebra: 4 files" in said.out
    assert "license: unknown; images: ImageNet" in said.err
    with pytest.raises(UserError, match="data/horse2zebra exists"):
        run_command(["data", "pull", "horse2zebra"])
    assert run_command(["data", "pull", "horse2zebra", "--out", "elsewhere"]) == 0
    assert len(site.asked) == 1  # the archive was kept


def test_a_failed_download_leaves_no_folder(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UserError, match="404") as error:
        run_command(["data", "pull", "night2day"])
    assert str(home / "pix2pix" / "night2day.tar.gz") in str(error.value)
    assert not (tmp_path / "data").exists()


def test_the_hash_in_a_file_name_is_known() -> None:
    assert find("mmgeneration/cyclegan_horse2zebra", MODELS).digest == "a32c733a"
    assert find("cyclegan/horse2zebra", MODELS).digest is None


def test_pull_writes_a_model_that_translates(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = io.BytesIO()
    torch.save(tiny_resnet(), checkpoint)
    site.files["/cyclegan/pretrained_models/zebra2horse.pth"] = checkpoint.getvalue()
    assert run_command(["pull", "zebra2horse"]) == 0
    assert "zebra to horse: ResNet generator, 1 blocks" in capsys.readouterr().out
    assert Translator("models/zebra2horse.safetensors").card.source == "zebra"


def test_the_requested_direction_of_a_file_with_both_is_a_to_b(site: Site, golden: Path) -> None:
    name = "cyclegan_horse2zebra_convert-bgr.pth"
    site.files[f"/{name}"] = (golden / "mmgeneration" / "cyclegan" / name).read_bytes()
    assert run_command(["pull", f"{site.url}/{name}", "--out", "both"]) == 0
    assert {path.stem for path in Path("both").iterdir()} == {
        "a_to_b",
        "b_to_a",
        "score_a",
        "score_b",
    }
    card = Translator("both").card
    assert (card.source, card.target) == ("horse", "zebra")
    back = read_checkpoint(
        golden / "mmgeneration" / "cyclegan" / name, source="zebra", target="horse"
    ).networks
    there = read_checkpoint(golden / "mmgeneration" / "cyclegan" / name).networks
    assert torch.equal(
        back["a_to_b"].state["layers.1.weight"], there["b_to_a"].state["layers.1.weight"]
    )


def publish(site: Site, path: str, content: object) -> bytes:
    """Puts a checkpoint on the server, and returns its bytes."""
    memory = io.BytesIO()
    torch.save(content, memory)
    site.files[path] = memory.getvalue()
    return memory.getvalue()


def publish_data(site: Site, animals: Path, title: str) -> None:
    """Puts an unpaired data set on the server."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for image in animals.rglob("*.png"):
            archive.write(image, f"{title}/{image.relative_to(animals)}")
    site.files[f"/cyclegan/datasets/{title}.zip"] = memory.getvalue()


def suggested(error: pytest.ExceptionInfo[UserError], start: str) -> list[str]:
    """The arguments of the command in an error message, which starts with these words."""
    fact, _, command = str(error.value).partition("transmute ")
    assert command.startswith(start), error.value
    assert "\n" not in fact
    return shlex.split(command)


def test_a_data_set_goes_to_an_existing_folder_datasets(
    site: Site, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_data(site, animals, "maps")
    Path("datasets").mkdir()
    assert run_command(["data", "pull", "cyclegan/maps"]) == 0
    said = capsys.readouterr()
    num_files = len(list(animals.rglob("*.png")))
    assert f"datasets/maps: {num_files} files" in said.out
    assert "maps.zip -> datasets/maps (" in said.err
    assert not Path("data").exists()


@pytest.mark.parametrize("parent", ["datasets", "data", "elsewhere", "."])
def test_a_missing_data_set_names_the_command_that_downloads_it_there(
    site: Site, animals: Path, parent: str
) -> None:
    publish_data(site, animals, "maps")
    if parent == "datasets":
        Path("datasets").mkdir()
    folder = f"./{parent}/maps"
    for run in (
        lambda: run_train_py(["--dataroot", folder, "--name", "m"]),
        lambda: run_test_py(["--dataroot", folder, "--name", "m", "--model", "cycle_gan"]),
        lambda: run_test_py(["--dataroot", f"{folder}/testA", "--name", "m"]),
        lambda: run_command(["train", folder, "--run", "runs/m"]),
    ):
        with pytest.raises(UserError, match="there is no folder") as error:
            run()
        command = suggested(error, "data pull cyclegan/maps")
    assert ("--out" in command) == (parent in ("elsewhere", "."))
    assert not site.asked
    assert run_command(command) == 0
    assert len(list(Path(parent, "maps", "trainA").iterdir())) == 5
    with pytest.raises(UserError, match="exists"):
        run_command(command)


def test_a_missing_data_set_of_a_paired_method_names_the_one_with_pairs() -> None:
    for line in ("--dataroot datasets/facades --model pix2pix", "--dataroot facades --align_data"):
        with pytest.raises(UserError) as error:
            run_train_py(shlex.split(line))
        suggested(error, "data pull pix2pix/facades --out ")
    with pytest.raises(UserError) as error:
        run_command(["train", "data/facades", "--method", "pix2pix"])
    assert suggested(error, "data pull") == ["data", "pull", "pix2pix/facades"]
    with pytest.raises(UserError) as error:
        run_command(["train", "data/horse2zebra"])
    assert suggested(error, "data pull") == ["data", "pull", "horse2zebra"]
    with pytest.raises(UserError, match="is not a folder") as error:
        run_command(["train", "data/mine"])
    assert "pull" not in str(error.value)


def test_the_readme_of_the_original_works_after_the_commands_that_errors_name(
    site: Site, animals: Path
) -> None:
    publish_data(site, animals, "horse2zebra")
    weights = publish(site, HORSE2ZEBRA, tiny_resnet())
    line = (
        "--dataroot datasets/horse2zebra/testA --name horse2zebra_pretrained --model test "
        "--no_dropout"
    )
    Path("datasets").mkdir()
    with pytest.raises(UserError, match="there is no folder datasets/horse2zebra") as error:
        run_test_py(shlex.split(line))
    assert run_command(suggested(error, "data pull horse2zebra")) == 0
    with pytest.raises(UserError, match=r"there is no .*_pretrained/latest_net_G\.pth") as error:
        run_test_py(shlex.split(line))
    command = suggested(error, "pull horse2zebra")
    assert command == ["pull", "horse2zebra", "--format", "junyanz"]
    assert run_command(command) == 0
    assert Path("checkpoints/horse2zebra_pretrained/latest_net_G.pth").read_bytes() == weights
    assert run_test_py(shlex.split(line)) == 0
    assert len(list(Path("results/horse2zebra_pretrained/test_latest/images").iterdir())) == 4
    assert not Path("models").exists()
    with pytest.raises(UserError, match=r"latest_net_G\.pth exists"):
        run_command(command)


def test_a_generator_of_pix2pix_is_copied_where_its_readme_expects_it(
    site: Site, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout(JUNYANZ, UNetConfig(width=2, depth=7), 3, 3)
    state = layout.build().state_dict()
    path = "/pix2pix/models-pytorch/facades_label2photo.pth"
    weights = publish(site, path, {layout.names[name]: state[name] for name in state})
    line = (
        f"--dataroot {pairs} --direction BtoA --model pix2pix --checkpoints_dir my --name "
        "facades_label2photo_pretrained --crop_size 128"
    )
    with pytest.raises(UserError) as error:
        run_test_py(shlex.split(line))
    out = "my/facades_label2photo_pretrained"
    words = ["--format", "junyanz", "--out", out]
    command = suggested(error, "pull pix2pix/facades_label2photo")
    assert command[2:] == words
    Path(out).mkdir(parents=True)  # of an attempt without a connection
    assert run_command(command) == 0
    assert "U-Net" in capsys.readouterr().out
    assert Path(out, "latest_net_G.pth").read_bytes() == weights
    assert run_test_py(shlex.split(line)) == 0


def test_other_missing_weights_do_not_name_a_download(animals: Path) -> None:
    line = f"--dataroot {animals}/testA --name"
    for words in (
        f"{line} mine_pretrained",
        f"{line} horse2zebra",
        f"{line} horse2zebra_pretrained --epoch 5",
        f"{line} horse2zebra_pretrained --model_suffix _A --load_iter 3",
        f"--dataroot {animals} --model cycle_gan --name horse2zebra_pretrained",
    ):
        with pytest.raises(UserError, match="export a run to this folder"):
            run_test_py(shlex.split(words))


def test_only_generators_of_that_tool_are_copied(site: Site, golden: Path) -> None:
    words = ["--format", "junyanz", "--out", "out"]
    with pytest.raises(UserError, match="Did you mean cyclegan/horse2zebra"):
        run_command(["pull", "cyclegan_horse2zebra", *words])
    name = "cyclegan_horse2zebra_convert-bgr.pth"
    site.files["/a.pth"] = (golden / "mmgeneration" / "cyclegan" / name).read_bytes()
    with pytest.raises(UserError, match=r"of mmgeneration, not a generator of .*Set `format="):
        run_command(["pull", f"{site.url}/a.pth", *words])
    site.files[HORSE2ZEBRA] = b"not weights"
    with pytest.raises(UserError, match=r"horse2zebra\.pth"):
        run_command(["pull", "horse2zebra", *words])
    assert not Path("out").exists()


@pytest.mark.parametrize("painter", ["vangogh", "monet", "cezanne", "ukiyoe"])
def test_the_painters_of_the_mmgeneration_tutorial_translate_photos(painter: str) -> None:
    model = find(f"cyclegan_photo2{painter}", MODELS)
    assert (model.source, model.target, model.terms.split(";")[0]) == ("photo", painter, "unknown")
    assert model.path.name.endswith(f"gan_{painter}2photo_iter_80000.pth")
    assert find(f"cyclegan_{painter}2photo", MODELS).url == model.url


def test_a_painter_is_a_to_b_if_its_file_has_the_domains_of_the_list(
    site: Site, golden: Path
) -> None:
    name = "cyclegan_horse2zebra_convert-bgr.pth"
    content = torch.load(golden / "mmgeneration" / "cyclegan" / name, weights_only=False)
    content["state_dict"] = {
        key.replace("horse", "vangogh").replace("zebra", "photo"): value
        for key, value in content["state_dict"].items()
    }
    model = MODELS["mmgeneration/cyclegan_photo2vangogh"]
    publish(site, urlsplit(model.url).path, content)
    assert run_command(["pull", "cyclegan_photo2vangogh"]) == 0
    card = Translator("models/cyclegan_photo2vangogh").card
    assert (card.source, card.target, card.direction) == ("photo", "vangogh", "a_to_b")
