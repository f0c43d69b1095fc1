"""Reports and samples passed on to TensorBoard or Weights & Biases. Whatever fails there is said once, and never stops a training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from transmute.run import Run
from transmute.settings import first_line


class Logger(Protocol):
    """What takes reports."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None: ...
    def picture(self, step: int, picture: Image.Image) -> None: ...
    def close(self) -> None: ...


class TensorBoard:
    """Event files under `tensorboard/` in the run: `tensorboard --logdir runs` shows all runs."""

    def __init__(self, run: Run, recipe: Mapping[str, Any], first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=first_step + 1)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step: int, picture: Image.Image) -> None:
        self._writer.add_image("samples", np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases in the project "transmute"; a continued training goes on with it."""

    def __init__(self, run: Run, recipe: Mapping[str, Any], first_step: int) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        folder = run.folder.resolve()
        began = run.sessions()[0]["began"]
        self._wandb = wandb
        self._run = wandb.init(
            project="transmute",
            name=folder.name,
            id=hashlib.sha256(f"{folder} {began}".encode()).hexdigest()[:16],
            dir=str(folder),
            config=dict(recipe),
            resume="allow",
        )

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, picture: Image.Image) -> None:
        self._run.log({"samples": self._wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()


KINDS: dict[str, Callable[[Run, Mapping[str, Any], int], Logger]] = {"tensorboard": TensorBoard, "wandb": WandB}


class Loggers:
    """All loggers of a training; one that fails is left out from then on.

    Args:
        names: Which.
        run, recipe, first_step: Of the training.
        say: Is told in a sentence what failed.
    """

    def __init__(self, names: tuple[str, ...], run: Run, recipe: Mapping[str, Any], first_step: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._open: dict[str, Logger] = {}
        for name in names:
            self._try(name, lambda name=name: self._open.update({name: KINDS[name](run, recipe, first_step)}))

    def numbers(self, step: int, values: Mapping[str, Any]) -> None:
        """The numbers of a row."""
        numbers = {name: value for name, value in values.items() if name != "step" and isinstance(value, (int, float))}
        for name, logger in list(self._open.items()):
            self._try(name, lambda logger=logger: logger.numbers(step, numbers))

    def picture(self, step: int, path: Path) -> None:
        """A sheet of samples."""
        for name, logger in list(self._open.items()):
            self._try(name, lambda logger=logger: logger.picture(step, Image.open(path)))

    def close(self) -> None:
        for name, logger in list(self._open.items()):
            self._try(name, logger.close)

    def _try(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # a network, a service, a full disk: none of it is the training's business
            self._open.pop(name, None)
            missing = f"it is not installed: pip install {name}" if isinstance(error, ImportError) else first_line(error)
            self._say(f"{name} is left out from here on ({missing})")
