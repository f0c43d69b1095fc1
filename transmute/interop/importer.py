"""Import of other tools' checkpoints as model files."""

from pathlib import Path
from typing import Any, Literal, get_args

import transmute
from transmute.config.data import PreprocessConfig, Range
from transmute.config.networks import GeneratorConfig, UNetConfig
from transmute.errors import UserError
from transmute.interop.archives import unpacked
from transmute.interop.checkpoint import Checkpoint, read_checkpoint
from transmute.translation.model import ModelCard, PartCard
from transmute.weights import save_tensors


def import_weights(
    path: str | Path,
    out: str | Path | None = None,
    *,
    source: str | None = None,
    target: str | None = None,
    epoch: str | None = None,
    order: Literal["rgb", "bgr"] | None = None,
    per_image_statistics: bool | None = None,
    swap: bool | None = None,
) -> list[str]:
    """Converts another tool's checkpoint to model files, like `transmute import`.

    Args:
        path: A file of weights (.pth, .safetensors), a zip file of them, or the folder of a run.
        out: A .safetensors file for one network, or a folder for one or several, which may exist.
            By default, a name like that of `path`, in the working directory.
        source, target: Names of domains a and b. By default, those in the checkpoint.
        epoch: Which checkpoint in a folder to use, such as latest, 20 or iter_5000. By default,
            latest, or else the newest.
        order: Channel order of the networks. By default, bgr for mmgeneration and rgb for all
            others.
        per_image_statistics: Normalize each image with its own batch statistics instead of the
            running statistics. By default, True if the checkpoint's options say that the batch size
            was 1.
        swap: Exchange domains a and b. By default, True if the checkpoint's options say that it
            translates from B to A.

    Returns:
        Sentences that describe what was recognized and written.

    Raises:
        UserError: If the checkpoint is damaged, unknown or incomplete, or if `out` exists. In this
            case, nothing is written.

    >>> transmute.import_weights("latest_net_G_A.pth", "h2z.safetensors")
    ['pytorch-CycleGAN-and-pix2pix, ... -> h2z.safetensors']
    >>> transmute.Translator("h2z.safetensors")("horse.jpg").save("zebra.png")
    """
    path, out = Path(path), Path(out) if out is not None else None
    with unpacked(path) as inside:
        checkpoint = read_checkpoint(
            inside, source=source, target=target, epoch=epoch, order=order, swap=swap
        )
    notes = checkpoint.notes if inside == path else [f"{path}: unpacked", *checkpoint.notes]
    files = _output_files(path, out, list(checkpoint.networks))
    cards = {role: card_of(checkpoint, role, per_image_statistics) for role in files}
    try:
        for role, network in checkpoint.networks.items():
            save_tensors(files[role], network.state, cards[role].model_dump(mode="json"))
    except BaseException:  # a full disk, or Ctrl-C
        for file in files.values():
            file.unlink(missing_ok=True)
        raise
    return notes + [
        line
        for role, card in cards.items()
        for line in _description(checkpoint, role, card, files[role])
    ]


def _output_files(path: Path, out: Path | None, roles: list[str]) -> dict[str, Path]:
    """The model files to write, by role.

    Raises:
        UserError: If one of them exists, or `out` is one file for several networks.
    """
    folder = out or Path(path.resolve().stem if path.is_file() else path.resolve().name)
    if len(roles) > 1 and folder.suffix == ".safetensors":
        raise UserError(
            f"{path} contains {len(roles)} networks ({', '.join(roles)}), but {folder} is the name "
            "of one file. Set `out` to a folder"
        )
    if len(roles) > 1 or (out is not None and out.is_dir()):
        files = {role: folder / f"{role}.safetensors" for role in roles}
    else:
        name = folder.name.removesuffix(".safetensors") + ".safetensors"
        files = {roles[0]: folder.with_name(name)}
    forbidden = [folder] if len(roles) > 1 and (out is None or folder.is_file()) else []
    for file in [*forbidden, *files.values()]:
        if file.exists():
            raise UserError(f"{file} exists. Set `out` to another place, or remove it")
    return files


def card_of(
    checkpoint: Checkpoint, role: str, per_image_statistics: bool | None
) -> ModelCard | PartCard:
    """The header of the model file of a network.

    Args:
        checkpoint: The checkpoint.
        role: The role of the network in it.
        per_image_statistics: See `import_weights`.
    """
    layout, options = checkpoint.networks[role].layout, checkpoint.options
    config, version, channels = layout.config, transmute.__version__, layout.in_channels
    if not isinstance(config, GeneratorConfig):
        return PartCard(transmute=version, part=role, network=config, in_channels=channels)
    if isinstance(config, UNetConfig) and options.get("no_dropout") == "True":
        config = config.replace(dropout=False)
    names = dict(zip("ab", checkpoint.domains, strict=True))
    a, b = role.split("_to_")
    is_lab, size = checkpoint.method == "colorization", options.get("crop_size", "")
    preprocess: dict[str, Any] = {
        f"channels_{domain}": channels
        for domain, channels in ((a, layout.in_channels), (b, layout.out_channels))
        if not is_lab
    }
    for name in ("range_a", "range_b"):
        depth, _, text = options.get(name, "").partition(" ")
        if text:
            preprocess[name] = Range.parsed(text).replace(depth=depth)
    mode = options.get("preprocess", "").replace("_", "-")
    if mode in get_args(PreprocessConfig.model_fields["mode"].annotation):
        preprocess["mode"] = mode
    return ModelCard(
        transmute=version,
        method=checkpoint.method,
        direction=role,
        source=names[a],
        target=names[b],
        generator=config,
        in_channels=layout.in_channels,
        out_channels=layout.out_channels,
        size=size if size.isdecimal() and int(size) else "256",
        colors="lab" if is_lab else "rgb",
        preprocess=PreprocessConfig(**preprocess),
        per_image_statistics=(
            options.get("batch_size") == "1"
            if per_image_statistics is None
            else per_image_statistics
        ),
    )


def _description(
    checkpoint: Checkpoint, role: str, card: ModelCard | PartCard, file: Path
) -> list[str]:
    """Lines on a network that was imported."""
    layout, (a, b) = checkpoint.networks[role].layout, checkpoint.domains
    purposes = {
        "a_to_b": f"{a} to {b}",
        "b_to_a": f"{b} to {a}",
        "score_a": f"scores {a}",
        "score_b": f"scores {b}",
        "heads": "heads",
    }
    lines = [f"{layout.tool}, {purposes[role]}: {layout} -> {file}"]
    uses_batch_norm = layout.config.arguments().get("norm") == "batch"
    if isinstance(card, ModelCard) and uses_batch_norm and not card.per_image_statistics:
        lines.append(
            "its batch norm uses the running statistics in the file. `per_image_statistics=True` "
            "uses those of each image, as that tool's test does"
        )
    return lines
