"""The sample sheet: always the same images, so that progress is visible."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import nn

from transmute.batch import Batch
from transmute.images.ranges import to_pil
from transmute.methods.base import Method, Preview


@torch.inference_mode()
def make_previews(
    method: Method, generators: Mapping[str, nn.Module], batches: Sequence[Batch]
) -> list[list[Preview]]:
    """The previews of each batch, by these generators."""
    parameter = next(method.parameters())
    on_device = (batch.to(parameter.device, parameter.dtype) for batch in batches)
    return [method.previews(generators, batch) for batch in on_device]


def by_direction(batches: Sequence[Sequence[Preview]]) -> list[Preview]:
    """The previews of several batches as one per direction, in float32 on the CPU.

    Batches whose images differ in size from the first batch are omitted.
    """
    joined = []
    for direction in zip(*batches, strict=True):
        first = direction[0]
        alike = [one for one in direction if one.source.shape == first.source.shape]
        images = {
            name: torch.cat([one.images()[name] for one in alike]).float().cpu()
            for name in first.images()
        }
        joined.append(replace(first, **images))
    return joined


def sample_row(previews: Sequence[Preview]) -> dict[str, Image.Image]:
    """A row of a sample sheet: the images in the previews of a batch, keyed by title."""
    columns = {}
    for preview in previews:
        source, target = preview.direction.split("_to_")
        images = {
            f"real {source}": preview.source,
            f"{source} to {target}": preview.output,
            f"back to {source}": preview.back,
            # With both directions, the target is the other direction's source.
            f"real {target}": preview.target if len(previews) == 1 else None,
            f"identity {target}": preview.identity,
        }
        columns |= {name: to_pil(one) for name, one in images.items() if one is not None}
    return columns


def sheet(rows: Sequence[dict[str, Image.Image]], *, scale: int = 1) -> Image.Image:
    """A table of images with titles above its columns.

    The positions of the cells are stored in the image (`info["sheet"]`, JSON), so that a page can
    show them one by one.

    Args:
        rows: For each row, images by the title of their column.
        scale: Factor by which images are enlarged.
    """
    gap, columns = 4, list(rows[0])
    width = scale * max(image.width for row in rows for image in row.values())
    heights = [scale * max(image.height for image in row.values()) for row in rows]
    font_size = max(10, min(20, width // 8))
    font, title = ImageFont.load_default(font_size), int(font_size * 1.6)
    size = gap + len(columns) * (width + gap), title + sum(heights) + gap * len(heights)
    table = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(table)
    lefts = [gap + column * (width + gap) for column in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        draw.text((left + width // 2, title // 2), name, fill="black", font=font, anchor="mm")
    tops = [title + sum(heights[:row]) + row * gap for row in range(len(rows))]
    for top, row in zip(tops, rows, strict=True):
        for left, image in zip(lefts, row.values(), strict=True):
            table.paste(ImageOps.scale(image, scale, Image.Resampling.NEAREST), (left, top))
    layout = {"columns": columns, "lefts": lefts, "tops": tops, "width": width, "heights": heights}
    table.info["sheet"] = json.dumps(layout)
    return table
