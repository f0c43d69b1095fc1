"""The sheet of sample pictures: always the same ones, so that progress can be seen."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont

from transmute.batch import Batch
from transmute.images import to_picture
from transmute.methods.base import Method
from transmute.tensors import Images
from transmute.training.trainer import Trainer
from transmute.translation.model import ready


@torch.inference_mode()
def shown(method: Method, trainer: Trainer, batches: Sequence[Batch], *, own_statistics: bool) -> list[dict[str, Images]]:
    """What a method shows of each batch, by name, with the translators as they are used afterwards."""
    translators = {direction: ready(network, own_statistics=own_statistics) for direction, network in trainer.translators.items()}
    return [method.samples(translators, batch.to(trainer.device, next(method.parameters()).dtype)) for batch in batches]


def sample_sheet(rows: Sequence[dict[str, Images]]) -> Image.Image:
    """One row a picture, one column for each thing that a method shows, with its name above."""
    return sheet([{name: to_picture(images) for name, images in row.items()} for row in rows])


def sheet(rows: Sequence[dict[str, Image.Image]], *, scale: int = 1) -> Image.Image:
    """Pictures in a table: one row each, columns by name, titles above.

    Where they lie is written into the picture (`info["sheet"]`, JSON), so that a page can show them one by one.
    """
    gap, columns = 4, list(rows[0])
    width = scale * max(picture.width for row in rows for picture in row.values())
    heights = [scale * max(picture.height for picture in row.values()) for row in rows]
    letters = max(10, min(20, width // 8))
    font, title = ImageFont.load_default(letters), int(letters * 1.6)
    table = Image.new("RGB", (gap + len(columns) * (width + gap), title + sum(heights) + gap * len(heights)), "white")
    draw = ImageDraw.Draw(table)
    for column, name in enumerate(columns):
        draw.text((gap + column * (width + gap) + width // 2, title // 2), name, fill="black", font=font, anchor="mm")
    top, tops = title, []
    for row, height in zip(rows, heights, strict=True):
        tops.append(top)
        for column, picture in enumerate(row.values()):
            enlarged = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
            table.paste(enlarged, (gap + column * (width + gap), top))
        top += height + gap
    lefts = [gap + column * (width + gap) for column in range(len(columns))]
    table.info["sheet"] = json.dumps({"columns": columns, "lefts": lefts, "tops": tops, "width": width, "heights": heights})
    return table
