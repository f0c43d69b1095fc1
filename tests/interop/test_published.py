from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch

from tests.interop.test_checkpoint import tiny_resnet
from tests.site import Site
from transmute.cli import run_command
from transmute.download import download
from transmute.errors import UserError
from transmute.interop.checkpoint import read_checkpoint
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
        "mmgeneration": 14,
    }
    assert len(DATA_SETS) == 16
    assert all(model.source and model.target and model.holds for model in MODELS.values())
    places = {(model.path, model.url) for model in [*MODELS.values(), *DATA_SETS.values()]}
    assert (
        len({path for path, _ in places}) == len(places) == 18 + 5 + 10 + 16
    )  # four files of mmgeneration contain both directions


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
