"""Files and lines of pytorch-CycleGAN-and-pix2pix, written while Transmute trains."""

import time
from dataclasses import dataclass
from typing import Any

from transmute.config.training import TrainConfig
from transmute.files import write_text, writing
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


@dataclass
class Mirror:
    """Writes that tool's files, and prints its lines. An observer of a training run.

    Attributes:
        options: Options of the command.
        num_images: Images in an epoch.
        first_epoch: Number of the run's first epoch, which is not 1 if it continues that tool's
            checkpoint.
    """

    options: Options
    num_images: int
    first_epoch: int
    _epoch_started: float | None = None
    _has_new_log: bool = False

    def after_step(self, run: Run, step: int) -> None:
        """Prints a line at the end of an epoch. Its time is that of this session."""
        now, epochs = time.monotonic(), self._finished_epochs(step)
        self._epoch_started = self._epoch_started or now
        if epochs > self._finished_epochs(step - 1):
            number, seconds = epochs + self.first_epoch - 1, now - self._epoch_started
            print(
                f"End of epoch {number} / {self.options.num_epochs} \t "
                f"Time Taken: {int(seconds)} sec",
                flush=True,
            )
            self._epoch_started = now

    def after_report(self, run: Run, row: dict[str, Any]) -> None:
        """Prints a line of losses, and appends it to loss_log.txt.

        The first report rewrites the log, because a killed session may have left lines of steps
        that are trained again. The log of an earlier run of that tool is kept.
        """
        log, line = run.folder / "loss_log.txt", self._line(row)
        print(line, end="", flush=True)
        if self._has_new_log:
            with writing(log), log.open("a", encoding="utf-8") as file:
                file.write(line)
            return
        earlier = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        lines = "".join(self._line(row) for row in run.metrics() if "images" in row)
        write_text(log, earlier.partition(_LOG_HEADER)[0] + _LOG_HEADER + lines)
        self._has_new_log = True

    def after_save(self, run: Run, step: int) -> None:
        """Writes the newest models as latest_net_*.pth and <epoch>_net_*.pth, and other files.

        Numbered checkpoints of an earlier run of that tool are kept. Transmute's models for which
        there are numbered files are removed with their checkpoint.
        """
        folder, options = run.folder, self.options
        export(folder, folder, overwrite=True)
        interval = options["save_epoch_freq"]
        epochs = self._finished_epochs(step) // interval * interval
        by_iter = options["save_by_iter"]
        number = step * options["batch_size"] if by_iter else epochs + self.first_epoch - 1
        tag = f"iter_{number}" if by_iter else str(number)
        if (epochs or by_iter) and not list(folder.glob(f"{tag}_net_G*.pth")):
            export(folder, folder, tag=tag)
        run.keep_newest(TrainConfig().keep)
        text = options_text(options.values | {"epoch_count": self.first_epoch})
        write_text(folder / "train_opt.txt", text)
        if not (page := folder / "web" / "index.html").exists():
            write_text(page, _REDIRECT)

    def _finished_epochs(self, step: int) -> int:
        """Epochs trained until a step. Less than a batch of the last one may be left."""
        return ((step + 1) * self.options["batch_size"] - 1) // self.num_images

    def _line(self, row: dict[str, Any]) -> str:
        """A line of loss_log.txt."""
        epoch, image = divmod(max(0, row["images"] - 1), self.num_images)
        seconds = 1 / row["images_per_second"] if row.get("images_per_second") else 0
        data = row.get("load_milliseconds", 0) / 1000
        # They log both parts of a discriminator's loss, and of CUT's NCE loss, before halving them.
        halved = {"D_real", "D_fake"} | ({"NCE", "NCE_Y"} if self.options["nce_idt"] else set())
        losses = "".join(
            f"{theirs}: {row[ours] * (2 if theirs in halved else 1):.3f} "
            for theirs, ours in _LOSSES[self.options["model"]].items()
            if ours in row
        )
        return (
            f"(epoch: {epoch + self.first_epoch}, iters: {image + 1}, time: {seconds:.3f}, "
            f"data: {data:.3f}) {losses}\n"
        )
