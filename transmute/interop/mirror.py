"""What pytorch-CycleGAN-and-pix2pix keeps beside a training, written while Transmute trains."""

from __future__ import annotations

from dataclasses import dataclass

from transmute.interop.exporter import export
from transmute.interop.options import Options
from transmute.run import Run, write_atomically

_LOSSES = {
    "cycle_gan": {
        "D_A": "discriminate_b",
        "G_A": "fool_b",
        "cycle_A": "cycle_a",
        "idt_A": "identity_b",
        "D_B": "discriminate_a",
        "G_B": "fool_a",
        "cycle_B": "cycle_b",
        "idt_B": "identity_a",
    },
    "pix2pix": {"G_GAN": "fool", "G_L1": "l1", "D_real": "discriminate_real", "D_fake": "discriminate_fake"},
    "cut": {"G_GAN": "fool", "D": "discriminate", "NCE": "contrast", "NCE_Y": "contrast_identity"},
}


_OUR_LINES = "================ Training Loss (Transmute) ================\n"


@dataclass(frozen=True)
class Mirror:
    """Writes latest_net_*.pth (and <epoch>_net_*.pth), train_opt.txt, loss_log.txt and web/index.html after each save.

    What an earlier training by that tool has logged stays in front, and its numbered checkpoints stay.

    Attributes:
        options: Of the command.
        num_pictures: In an epoch.
        first_epoch: The number of the run's first epoch, where it goes on from that tool's checkpoint.
    """

    options: Options
    num_pictures: int
    first_epoch: int = 1

    def __call__(self, run: Run, step: int) -> None:
        """Mirrors the newest models of a run."""
        folder, options = run.folder, self.options
        pictures = step * options["batch_size"]
        export(folder, folder, overwrite=True)
        epochs = pictures // (self.num_pictures * options["save_epoch_freq"]) * options["save_epoch_freq"]
        tag = f"iter_{pictures}" if options["save_by_iter"] else str(epochs + self.first_epoch - 1)
        if (epochs or options["save_by_iter"]) and not list(folder.glob(f"{tag}_net_G*.pth")):
            export(folder, folder, tag=tag)
        values = options.values | {"epoch_count": self.first_epoch}
        lines = "".join(f"{name:>25}: {value!s:<30}\n" for name, value in sorted(values.items()))
        write_atomically(folder / "train_opt.txt", f"----------------- Options ---------------\n{lines}----------------- End -------------------\n")
        log, page = folder / "loss_log.txt", folder / "web" / "index.html"
        before = log.read_text(encoding="utf-8", errors="replace").partition(_OUR_LINES)[0] if log.exists() else ""
        write_atomically(log, before + _OUR_LINES + "".join(map(self._line, run.metrics())))
        if not page.exists():
            write_atomically(page, '<!doctype html><meta http-equiv="refresh" content="0; url=../report.html">\n')

    def _line(self, row: dict) -> str:
        epoch, rest = divmod(max(0, row["pictures"] - 1), self.num_pictures)
        seconds = 1 / row["pictures_per_second"] if row.get("pictures_per_second") else 0
        names = _LOSSES.get(self.options["model"], _LOSSES["pix2pix"])
        # They log the halves of a discriminator's loss, and of CUT's two contrasts, before they halve them.
        halved = {"D_real", "D_fake"} | ({"NCE", "NCE_Y"} if self.options["nce_idt"] else set())
        losses = " ".join(f"{theirs}: {row[ours] * (2 if theirs in halved else 1):.3f}" for theirs, ours in names.items() if ours in row)
        data = row.get("load_milliseconds", 0) / 1000
        return f"(epoch: {epoch + self.first_epoch}, iters: {rest + 1}, time: {seconds:.3f}, data: {data:.3f}) , {losses}\n"
