"""The sheet of sample pictures: always the same ones, so that progress can be seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont

from transmute.batch import Batch
from transmute.images import to_picture
from transmute.methods.base import Method
from transmute.training.trainer import Trainer
from transmute.translation.model import ready


@torch.inference_mode()
def sample_sheet(method: Method, trainer: Trainer, batches: Sequence[Batch], *, own_statistics: bool) -> Image.Image:
    """One row a picture, one column for each thing that the method shows, with its name above."""
    translators = {direction: ready(network, own_statistics=own_statistics) for direction, network in trainer.translators.items()}
    rows = []
    for batch in batches:
        shown = method.samples(translators, batch.to(trainer.device, next(method.parameters()).dtype))
        rows.append({name: to_picture(images) for name, images in shown.items()})
    return sheet(rows)


def sheet(rows: Sequence[dict[str, Image.Image]], *, scale: int = 1) -> Image.Image:
    """Pictures in a table: one row each, columns by name, titles above."""
    gap, columns = 4, list(rows[0])
    width = scale * max(picture.width for row in rows for picture in row.values())
    heights = [scale * max(picture.height for picture in row.values()) for row in rows]
    letters = max(10, min(20, width // 8))
    font, title = ImageFont.load_default(letters), int(letters * 1.6)
    table = Image.new("RGB", (gap + len(columns) * (width + gap), title + sum(heights) + gap * len(heights)), "white")
    draw = ImageDraw.Draw(table)
    for column, name in enumerate(columns):
        draw.text((gap + column * (width + gap) + width // 2, title // 2), name, fill="black", font=font, anchor="mm")
    top = title
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row.values()):
            enlarged = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
            table.paste(enlarged, (gap + column * (width + gap), top))
        top += height + gap
    return table
