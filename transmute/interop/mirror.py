"""Files of pytorch-CycleGAN-and-pix2pix, written while Transmute trains."""

from typing import Any

from transmute.files import write_text
from transmute.interop.exporter import export, options_text
from transmute.interop.options import Options
from transmute.run import Run

_PIX2PIX_LOSSES = {
    "G_GAN": "gan",
    "G_L1": "l1",
    "D_real": "discriminator_real",
    "D_fake": "discriminator_fake",
}
_LOSSES = {
    "cycle_gan": {
        "D_A": "discriminator_b",
        "G_A": "gan_b",
        "cycle_A": "cycle_a",
        "idt_A": "identity_b",
        "D_B": "discriminator_a",
        "G_B": "gan_a",
        "cycle_B": "cycle_b",
        "idt_B": "identity_a",
    },
    "pix2pix": _PIX2PIX_LOSSES,
    "colorization": _PIX2PIX_LOSSES,
    "cut": {"G_GAN": "gan", "D": "discriminator", "NCE": "nce", "NCE_Y": "nce_identity"},
}
"""For each model, Transmute's names of the losses by that tool's names."""
_LOG_HEADER = "================ Training Loss (Transmute) ================\n"
_REDIRECT = '<!doctype html><meta http-equiv="refresh" content="0; url=../report.html">\n'


def write_files(options: Options, num_images: int, first_epoch: int, run: Run, step: int) -> None:
    """Writes that tool's files for the newest models of a run.

    These are latest_net_*.pth and <epoch>_net_*.pth, train_opt.txt, loss_log.txt and
    web/index.html. The log of an earlier run of that tool, and its numbered checkpoints, are kept.

    Args:
        options: Options of the command.
        num_images: Images in an epoch.
        first_epoch: Number of the run's first epoch, which is not 1 if it continues that tool's
            checkpoint.
        run: The run.
        step: Its newest step.
    """
    folder = run.folder
    export(folder, folder, overwrite=True)
    num_seen = step * options["batch_size"]
    interval = options["save_epoch_freq"]
    epochs = num_seen // (num_images * interval) * interval
    tag = f"iter_{num_seen}" if options["save_by_iter"] else f"{epochs + first_epoch - 1}"
    if (epochs or options["save_by_iter"]) and not list(folder.glob(f"{tag}_net_G*.pth")):
        export(folder, folder, tag=tag)
    write_text(
        folder / "train_opt.txt", options_text(options.values | {"epoch_count": first_epoch})
    )
    log, page = folder / "loss_log.txt", folder / "web" / "index.html"
    earlier = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = "".join(_line(row, options, num_images, first_epoch) for row in run.metrics())
    write_text(log, earlier.partition(_LOG_HEADER)[0] + _LOG_HEADER + lines)
    if not page.exists():
        write_text(page, _REDIRECT)


def _line(row: dict[str, Any], options: Options, num_images: int, first_epoch: int) -> str:
    """A line of loss_log.txt."""
    epoch, image = divmod(max(0, row["images"] - 1), num_images)
    seconds = 1 / row["images_per_second"] if row.get("images_per_second") else 0
    data = row.get("load_milliseconds", 0) / 1000
    # They log both parts of a discriminator's loss, and of CUT's NCE loss, before halving them.
    halved = {"D_real", "D_fake"} | ({"NCE", "NCE_Y"} if options["nce_idt"] else set())
    losses = " ".join(
        f"{theirs}: {row[ours] * (2 if theirs in halved else 1):.3f}"
        for theirs, ours in _LOSSES[options["model"]].items()
        if ours in row
    )
    return (
        f"(epoch: {epoch + first_epoch}, iters: {image + 1}, time: {seconds:.3f}, "
        f"data: {data:.3f}) , {losses}\n"
    )
