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


@dataclass(frozen=True)
class Mirror:
    """Writes latest_net_*.pth (and <epoch>_net_*.pth), train_opt.txt, loss_log.txt and web/index.html after each save.

    Attributes:
        options: Of the command.
        num_pictures: In an epoch.
    """

    options: Options
    num_pictures: int | None

    def __call__(self, run: Run, step: int) -> None:
        """Mirrors the newest models of a run."""
        pictures = step * self.options["batch_size"]
        lines = "".join(f"{name:>25}: {value!s:<30}\n" for name, value in sorted(self.options.values.items()))
        write_atomically(
            run.folder / "train_opt.txt", f"----------------- Options ---------------\n{lines}----------------- End -------------------\n"
        )
        export(run.folder, run.folder, overwrite=True)
        if self.options["save_by_iter"]:
            export(run.folder, run.folder, tag=f"iter_{pictures}", overwrite=True)
        elif self.num_pictures and pictures % (self.num_pictures * self.options["save_epoch_freq"]) < self.options["batch_size"]:
            export(run.folder, run.folder, tag=str(pictures // self.num_pictures), overwrite=True)
        write_atomically(run.folder / "loss_log.txt", "".join(map(self._line, run.metrics())))
        write_atomically(run.folder / "web" / "index.html", '<!doctype html><meta http-equiv="refresh" content="0; url=../report.html">\n')

    def _line(self, row: dict) -> str:
        epoch, rest = divmod(max(0, row["pictures"] - 1), self.num_pictures or 1)
        seconds = 1 / row["pictures_per_second"] if row.get("pictures_per_second") else 0
        names = _LOSSES.get(self.options["model"], _LOSSES["pix2pix"])
        # They log the two halves of a discriminator's loss before they halve them.
        losses = " ".join(
            f"{theirs}: {row[ours] * (2 if theirs in ('D_real', 'D_fake') else 1):.3f}" for theirs, ours in names.items() if ours in row
        )
        data = row.get("load_milliseconds", 0) / 1000
        return f"(epoch: {epoch + 1}, iters: {rest + 1}, time: {seconds:.3f}, data: {data:.3f}) , {losses}\n"
