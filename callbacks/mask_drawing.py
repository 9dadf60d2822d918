"""Lays out pictures of masks with Pillow: tiles in rows, headings above and captions below."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Pixels = NDArray[np.uint8]

SMALLEST_TILE = 160
"""Least side of a tile in pixels of the screen; smaller images are enlarged by a whole number."""
GAP, TEXT_HEIGHT = 8, 18
FONT_SIZE = 13
HIDDEN, HATCH = (112, 112, 112), (140, 140, 140)
HATCH_DISTANCE, HATCH_WIDTH = 8, 2
NEWLY_HIDDEN = (230, 159, 0)  # of Okabe and Ito's colours
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
GREY_WEIGHTS = (0.299, 0.587, 0.114)
HEAT_OPACITY = 0.65


def enlargement(side: int) -> int:
    """Return by which whole number an image of this side is enlarged."""
    return max(1, -(-SMALLEST_TILE // side))


def enlarge(pixels: Pixels) -> Image.Image:
    """Enlarge an image ``(H, W, 3)`` without smoothing."""
    factor = enlargement(pixels.shape[1])
    return Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def over_patches(values: NDArray[Any], grid_size: int, side: int) -> NDArray[np.float32]:
    """Spread what each patch has, ``(P, C)``, over the pixels of an image, ``(side, side, C)``."""
    grid = values.astype(np.float32).reshape(grid_size, grid_size, -1)
    patch = side // grid_size
    return grid.repeat(patch, axis=0).repeat(patch, axis=1)


def heat(pixels: Pixels, attention: Tensor, grid_size: int) -> Image.Image:
    """Lay attention over a grey image; the brightest patch is the one attended to most.

    Args:
        pixels: ``(H, W, 3)``.
        attention: Of each patch, non-negative, ``(P,)``.
        grid_size: Patches along one side.

    Returns:
        The tile.
    """
    from matplotlib import colormaps  # takes a moment to import

    scaled = (attention / attention.max().clamp_min(1e-12)).float().cpu().numpy()
    colours = over_patches(colormaps["inferno"](scaled)[:, :3] * 255, grid_size, pixels.shape[0])
    grey = (pixels @ np.asarray(GREY_WEIGHTS))[..., None]
    mixed = HEAT_OPACITY * colours + (1 - HEAT_OPACITY) * grey
    return enlarge(mixed.round().astype(np.uint8))


def hide(pixels: Pixels, mask: Tensor, grid_size: int, before: Tensor | None = None) -> Image.Image:
    """Grey and hatch the masked patches.

    Args:
        pixels: ``(H, W, 3)``.
        mask: True where hidden, ``(P,)`` bool.
        grid_size: Patches along one side.
        before: An earlier mask; patches that were visible under it are framed.

    Returns:
        The tile.
    """
    factor = enlargement(pixels.shape[1])
    shown = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    hidden = over_patches(mask.numpy()[:, None], grid_size, shown.shape[0])
    tile = Image.fromarray(np.where(hidden > 0, _hatching(shown.shape[0]), shown))
    new = [] if before is None else (mask & ~before).nonzero().flatten().tolist()
    draw, side = ImageDraw.Draw(tile), tile.width // grid_size
    for patch in new:
        top, left = (place * side for place in divmod(patch, grid_size))
        corners = (left, top, left + side - 1, top + side - 1)
        draw.rectangle(corners, outline=NEWLY_HIDDEN, width=max(2, side // 10))
    return tile


def _hatching(side: int) -> Pixels:
    """Grey with diagonal lines, which no photo is taken for, ``(side, side, 3)``."""
    places = np.arange(side)
    is_line = (places[:, None] + places) % HATCH_DISTANCE < HATCH_WIDTH
    return np.where(is_line[..., None], HATCH, HIDDEN).astype(np.uint8)


def fill_in(pixels: Pixels, reconstruction: Tensor, ids_mask: Tensor, grid_size: int) -> Image.Image:
    """Put reconstructed patches into an image.

    Args:
        pixels: ``(H, W, 3)``.
        reconstruction: Of the masked patches, 0 to 255, values in (y, x, channel) order, ``(M, 3p²)``.
        ids_mask: Their positions, ``(M,)`` int64.
        grid_size: Patches along one side.

    Returns:
        The tile.
    """
    filled, side = pixels.copy(), pixels.shape[0] // grid_size
    patches = reconstruction.round().clamp(0, 255).to(torch.uint8).cpu().reshape(-1, side, side, 3)
    for patch, place in zip(patches.numpy(), ids_mask.tolist(), strict=True):
        row, column = divmod(place, grid_size)
        filled[row * side : (row + 1) * side, column * side : (column + 1) * side] = patch
    return enlarge(filled)


def sheet(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[Image.Image]], captions: Sequence[str]
) -> Image.Image:
    """Lay tiles out in rows of equal length.

    Args:
        title: Above all.
        headings: One above each column.
        rows: Tiles, all of one size.
        captions: One below each row.

    Returns:
        The picture.
    """
    side = rows[0][0].width
    width = max(len(headings) * (side + GAP) + GAP, 2 * SMALLEST_TILE)
    titles = wrap(title, width - 2 * GAP)
    texts = [wrap(caption, width - 2 * GAP) for caption in captions]
    headed = [wrap(heading, side) for heading in headings]
    top = GAP + TEXT_HEIGHT * (len(titles) + max(map(len, headed)))
    heights = [side + GAP // 2 + TEXT_HEIGHT * len(text) + GAP for text in texts]
    picture = Image.new("RGB", (width, top + sum(heights)), WHITE)
    draw = ImageDraw.Draw(picture)
    _write(draw, GAP, GAP // 2, titles)
    for number, lines in enumerate(headed):
        _write(draw, GAP + number * (side + GAP), top - TEXT_HEIGHT * len(lines), lines)
    for tiles, text, height in zip(rows, texts, heights, strict=True):
        for number, tile in enumerate(tiles):
            picture.paste(tile, (GAP + number * (side + GAP), top))
        _write(draw, GAP, top + side + GAP // 2, text)
        top += height
    return picture


def _write(draw: ImageDraw.ImageDraw, left: int, top: int, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        draw.text((left, top + number * TEXT_HEIGHT), line, fill=BLACK, font=font())


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines of at most this many pixels, between words where it can be."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if lines[-1] and font().getlength(joined) > width:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines


@cache
def font() -> ImageFont.FreeTypeFont:
    """Load matplotlib's font, which knows more letters than Pillow's own."""
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", FONT_SIZE)


def thin_out(steps: Sequence[int], most: int) -> list[int]:
    """Choose steps evenly, with the first and the last.

    Args:
        steps: In order.
        most: How many to keep, at least 2.

    Returns:
        At most so many of them.
    """
    if len(steps) <= most:
        return list(steps)
    return [steps[place] for place in np.linspace(0, len(steps) - 1, most).round().astype(int)]


def changes(masks: Sequence[Tensor]) -> list[Tensor | None]:
    """Pair each mask with the one before it, the first with none."""
    return [None, *(before for before, _ in pairwise(masks))]
