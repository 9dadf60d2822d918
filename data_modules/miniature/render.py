"""Pictures of miniature scenes: anti-aliased drawings by Pillow."""

import math

from PIL import Image, ImageDraw, ImageFilter

from data_modules.miniature.scenes import BACKGROUNDS, COLOURS, Scene, Thing

OVERSAMPLING = 3
WHITE = (255, 255, 255)
BLACK = (10, 10, 12)

Point = tuple[float, float]


def _star() -> list[Point]:
    corners = []
    for i in range(10):
        radius = 1.0 if i % 2 == 0 else 0.45
        angle = math.pi * (i / 5 - 0.5)
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return corners


def _heart() -> list[Point]:
    points = []
    for i in range(28):
        t = 2 * math.pi * i / 28
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16.5, -(y + 2.5) / 16.5))
    return points


_ARM = 0.34
OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)],
    "triangle": [(0, -0.95), (0.95, 0.8), (-0.95, 0.8)],
    "star": _star(),
    "cross": [
        *[(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)],
    ],
    "heart": _heart(),
    "diamond": [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)],
    "arrow": [(-1, 0), (-0.1, -0.85), (-0.1, -0.32), (1, -0.32), (1, 0.32), (-0.1, 0.32), (-0.1, 0.85)],
}
"""Corners in units of the radius; the arrow points left."""

LETTER_STROKES: dict[str, list[list[Point]]] = {
    "C": [[(0.6, -0.75), (-0.1, -0.9), (-0.65, -0.4), (-0.65, 0.4), (-0.1, 0.9), (0.6, 0.75)]],
    "E": [[(0.6, -0.85), (-0.6, -0.85), (-0.6, 0.85), (0.6, 0.85)], [(-0.6, 0), (0.45, 0)]],
    "F": [[(0.6, -0.85), (-0.6, -0.85), (-0.6, 0.95)], [(-0.6, 0), (0.45, 0)]],
    "H": [[(-0.6, -0.95), (-0.6, 0.95)], [(0.6, -0.95), (0.6, 0.95)], [(-0.6, 0), (0.6, 0)]],
    "K": [[(-0.6, -0.95), (-0.6, 0.95)], [(0.65, -0.9), (-0.5, 0.05), (0.65, 0.9)]],
    "L": [[(-0.6, -0.95), (-0.6, 0.85), (0.65, 0.85)]],
    "N": [[(-0.6, 0.95), (-0.6, -0.85), (0.6, 0.85), (0.6, -0.95)]],
    "Q": [
        [(0, -0.9), (0.65, -0.4), (0.65, 0.3), (0, 0.8), (-0.65, 0.3), (-0.65, -0.4), (0, -0.9)],
        [(0.15, 0.3), (0.8, 1)],
    ],
    "T": [[(-0.8, -0.85), (0.8, -0.85)], [(0, -0.85), (0, 0.95)]],
    "U": [[(-0.6, -0.95), (-0.6, 0.4), (-0.2, 0.85), (0.2, 0.85), (0.6, 0.4), (0.6, -0.95)]],
    "V": [[(-0.7, -0.95), (0, 0.85), (0.7, -0.95)]],
    "X": [[(-0.7, -0.9), (0.7, 0.9)], [(0.7, -0.9), (-0.7, 0.9)]],
    "Z": [[(-0.65, -0.85), (0.65, -0.85), (-0.65, 0.85), (0.65, 0.85)]],
}
"""Big strokes in units of the radius; drawn by hand so that no font is needed."""


def _turned(points: list[Point], direction: str) -> list[Point]:
    if direction == "right":
        return [(-x, -y) for x, y in points]
    if direction == "up":
        return [(-y, x) for x, y in points]
    if direction == "down":
        return [(y, -x) for x, y in points]
    return points


class _Pen:
    """Draws one thing in pixels of the oversampled canvas."""

    def __init__(self, canvas: ImageDraw.ImageDraw, thing: Thing, side: int, shake: Point) -> None:
        self.canvas = canvas
        self.thing = thing
        self.x = (thing.x + shake[0]) * side
        self.y = (thing.y + shake[1]) * side
        self.radius = thing.radius * side
        self.colour = COLOURS[thing.colour]

    def place(self, points: list[Point]) -> list[Point]:
        return [(self.x + self.radius * x, self.y + self.radius * y) for x, y in points]

    def disc(self, radius: float, colour: tuple[int, int, int]) -> None:
        r = self.radius * radius
        self.canvas.ellipse((self.x - r, self.y - r, self.x + r, self.y + r), fill=colour)

    def hoop(self, radius: float, width: float, colour: tuple[int, int, int]) -> None:
        r = self.radius * radius
        box = (self.x - r, self.y - r, self.x + r, self.y + r)
        self.canvas.ellipse(box, outline=colour, width=max(1, round(self.radius * width)))

    def path(self, points: list[Point], width: float, colour: tuple[int, int, int]) -> None:
        line = self.place(points)
        self.canvas.line(line, fill=colour, width=max(1, round(self.radius * width)), joint="curve")

    def outline(self, points: list[Point], width: float, colour: tuple[int, int, int]) -> None:
        # One corner more than closed, so that the joint of the last corner is rounded too.
        inner = [(x * (1 - width / 2), y * (1 - width / 2)) for x, y in points]
        self.path([*inner, inner[0], inner[1]], width, colour)

    def body(self) -> None:
        shape, detail = self.thing.shape, self.thing.detail
        if shape == "circle":
            self.disc(1, self.colour)
        elif shape == "ring":
            self.hoop(1, 0.36, self.colour)
        elif shape == "letter":
            for stroke in LETTER_STROKES[self.thing.letter]:
                self.path(stroke, 0.36, self.colour)
        elif detail == "hollow":
            self.outline(OUTLINES[shape], 0.24, self.colour)
        else:
            points = _turned(OUTLINES[shape], self.thing.direction)
            self.canvas.polygon(self.place(points), fill=self.colour)

    def detail(self) -> None:
        shape, detail = self.thing.shape, self.thing.detail
        if detail == "dot":
            self.disc(0.3, WHITE)
        elif detail == "stripe":
            reach = {"square": 0.86, "diamond": 0.5, "triangle": 0.42, "star": 0.36, "heart": 0.75}.get(
                shape, 0.95
            )
            self.path([(-reach, 0.06), (reach, 0.06)], 0.34, WHITE)
        elif detail == "border" and shape in ("circle", "ring"):
            self.hoop(1, 0.16, BLACK)
            if shape == "ring":
                self.hoop(0.7, 0.12, BLACK)
        elif detail == "border":
            self.outline(OUTLINES[shape], 0.17, BLACK)


def render(scene: Scene, side: int) -> Image.Image:
    """Draw a scene.

    Args:
        scene: What to draw.
        side: Width and height of the picture in pixels.

    Returns:
        RGB picture of ``side`` x ``side`` pixels.
    """
    large = side * OVERSAMPLING
    image = Image.new("RGB", (large, large), BACKGROUNDS[scene.background])
    canvas = ImageDraw.Draw(image)
    for thing in scene.things:
        pen = _Pen(canvas, thing, large, scene.shake)
        pen.body()
        pen.detail()
    image = image.reduce(OVERSAMPLING)
    if scene.look == "dark":
        image = Image.blend(image, Image.new("RGB", image.size, BLACK), 0.5)
    elif scene.look == "faded":
        image = Image.blend(image, Image.new("RGB", image.size, WHITE), 0.5)
    elif scene.look == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(side / 32))
    return image
