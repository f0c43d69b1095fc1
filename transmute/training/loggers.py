"""Metrics and samples sent to TensorBoard or Weights & Biases.

A failure of a logger is reported once, and never stops training.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from transmute.errors import first_line
from transmute.run import Run


class TensorBoard:
    """Event files under `tensorboard/` in the run: `tensorboard --logdir runs` shows all runs."""

    def __init__(self, run: Run, recipe: Mapping[str, Any], start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=start_step + 1)
        self.close = self._writer.close

    def log(self, step: int, numbers: Mapping[str, float], image: Image.Image | None) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        if image is not None:
            self._writer.add_image("samples", np.asarray(image), step, dataformats="HWC")
        self._writer.flush()


class WandB:
    """A Weights & Biases run in the project "transmute", which a resumed run continues."""

    def __init__(self, run: Run, recipe: Mapping[str, Any], start_step: int) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        folder = run.folder.resolve()
        self._to_image = wandb.Image
        self._run = wandb.init(
            project="transmute",
            name=folder.name,
            id=hashlib.sha256(f"{folder} {run.sessions()[0]['started']}".encode()).hexdigest()[:16],
            dir=str(folder),
            config=dict(recipe),
            resume="allow",
        )
        self.close = self._run.finish

    def log(self, step: int, numbers: Mapping[str, float], image: Image.Image | None) -> None:
        samples = {} if image is None else {"samples": self._to_image(image)}
        self._run.log({**numbers, **samples}, step=step)


KINDS = {"tensorboard": TensorBoard, "wandb": WandB}


class Loggers:
    """All loggers of a training run. A logger that fails is not used again.

    Args:
        names: tensorboard or wandb.
        run, recipe: Run and recipe of the training run.
        start_step: Steps finished before this session.
        say: Called with a sentence about a failure.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        run: Run,
        recipe: Mapping[str, Any],
        start_step: int,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._loggers: dict[str, Any] = {name: KINDS[name] for name in names}
        self._loggers = self._each(lambda kind: kind(run, recipe, start_step))

    def log(self, step: int, values: Mapping[str, Any], sheet: Image.Image | None = None) -> None:
        """Logs the numbers of a row, or a sample sheet."""
        numbers = {name: one for name, one in values.items() if isinstance(one, (int, float))}
        numbers.pop("step", None)
        self._each(lambda logger: logger.log(step, numbers, sheet))

    def close(self) -> None:
        self._each(lambda logger: logger.close())

    def _each(self, action: Callable[[Any], object]) -> dict[str, Any]:
        """Applies an action to each logger, and returns the results of those that did not fail."""
        results = {}
        for name, logger in list(self._loggers.items()):
            try:
                results[name] = action(logger)
            except Exception as error:  # network, service, disk: no failure should stop training
                del self._loggers[name]
                reason = (
                    f"not installed: pip install {name}"
                    if isinstance(error, ImportError)
                    else first_line(error)
                )
                self._say(f"{name} is not used from now on ({reason})")
        return results
