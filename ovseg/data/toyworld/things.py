"""How the things of toyworld are built: outlines of parts and how each is painted. Needs no torch.

Letters: n corners. Coordinates are the thing's own: x to the right and y downwards, all within -1..1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Outline = Float[np.ndarray, "n 2"]
Colour = tuple[float, float, float]
Paint = Literal["body", "shade"] | Colour
"""``body``: the thing's colour and pattern; ``shade``: its colour darker; else a colour of the part's own."""

WHITE: Colour = (0.97, 0.96, 0.92)
BLACK: Colour = (0.10, 0.10, 0.12)
BROWN: Colour = (0.42, 0.26, 0.13)
GOLD: Colour = (0.98, 0.72, 0.16)
PANE: Colour = (0.66, 0.87, 0.97)
LEAF: Colour = (0.16, 0.50, 0.18)

COLOURS: Mapping[str, Colour] = {
    "red": (0.87, 0.12, 0.12),
    "yellow": (0.97, 0.84, 0.10),
    "green": (0.10, 0.66, 0.26),
    "blue": (0.10, 0.30, 0.88),
    "purple": (0.58, 0.16, 0.74),
}


@dataclass(frozen=True)
class Part:
    """A painted region.

    Attributes:
        outline: its corners in order.
        paint: how it is filled.
        holes: outlines that are cut out of it.
    """

    outline: Outline
    paint: Paint
    holes: tuple[Outline, ...] = ()


def polygon(*corners: tuple[float, float]) -> Outline:
    """Straight lines from corner to corner."""
    return np.array(corners, np.float64)


def box(left: float, top: float, right: float, bottom: float) -> Outline:
    """An upright rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(x: float, y: float, rx: float, ry: float, *, start: float = 0.0, end: float = 360.0) -> Outline:
    """An ellipse, or the piece of it between two angles in degrees (0 to the right, 90 down)."""
    angle = np.deg2rad(np.linspace(start, end, 40))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def rays(points: int, outer: float, inner: float) -> Outline:
    """A star."""
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    radius = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _fish() -> Sequence[Part]:
    return (
        Part(polygon((0.42, 0.0), (0.98, -0.52), (0.82, 0.0), (0.98, 0.52)), "shade"),
        Part(polygon((-0.25, -0.42), (0.15, -0.80), (0.35, -0.30)), "shade"),
        Part(polygon((-0.1, 0.40), (0.2, 0.75), (0.3, 0.30)), "shade"),
        Part(ellipse(-0.2, 0.0, 0.78, 0.50), "body"),
        Part(ellipse(-0.66, -0.12, 0.13, 0.13), WHITE),
        Part(ellipse(-0.69, -0.12, 0.065, 0.065), BLACK),
        Part(ellipse(-0.86, 0.16, 0.08, 0.05), BLACK),
    )


def _house() -> Sequence[Part]:
    return (
        Part(box(0.38, -0.88, 0.60, -0.30), BROWN),
        Part(box(-0.74, -0.14, 0.74, 0.95), "body"),
        Part(polygon((-0.95, -0.12), (0.0, -0.95), (0.95, -0.12)), "shade"),
        Part(box(-0.16, 0.36, 0.18, 0.95), BROWN),
        Part(box(-0.60, 0.10, -0.28, 0.44), PANE),
        Part(box(0.30, 0.10, 0.62, 0.44), PANE),
        Part(ellipse(0.0, -0.42, 0.15, 0.15), PANE),
    )


def _car() -> Sequence[Part]:
    roof = polygon((-0.55, -0.10), (-0.32, -0.60), (0.34, -0.60), (0.62, -0.10))
    return (
        Part(roof, "shade"),
        Part(polygon((-0.42, -0.12), (-0.26, -0.48), (-0.04, -0.48), (-0.04, -0.12)), PANE),
        Part(polygon((0.05, -0.12), (0.05, -0.48), (0.27, -0.48), (0.47, -0.12)), PANE),
        Part(
            polygon((-0.97, 0.0), (-0.84, -0.12), (0.78, -0.12), (0.97, 0.06), (0.97, 0.40), (-0.97, 0.40)),
            "body",
        ),
        Part(ellipse(-0.90, 0.08, 0.08, 0.08), GOLD),
        *(Part(ellipse(x, 0.40, 0.26, 0.26), BLACK) for x in (-0.52, 0.52)),
        *(Part(ellipse(x, 0.40, 0.11, 0.11), WHITE) for x in (-0.52, 0.52)),
    )


def _balloon() -> Sequence[Part]:
    return (
        Part(polygon((-0.24, 0.36), (-0.17, 0.66), (-0.11, 0.66), (-0.12, 0.36)), BROWN),
        Part(polygon((0.24, 0.36), (0.17, 0.66), (0.11, 0.66), (0.12, 0.36)), BROWN),
        Part(
            np.concatenate(
                [
                    ellipse(0.0, -0.28, 0.68, 0.68, start=160.0, end=380.0),
                    polygon((0.28, 0.42), (-0.28, 0.42)),
                ]
            ),
            "body",
        ),
        Part(ellipse(-0.28, -0.52, 0.12, 0.20), WHITE),
        Part(box(-0.28, 0.40, 0.28, 0.49), "shade"),
        Part(box(-0.22, 0.64, 0.22, 0.97), BROWN),
        Part(box(-0.22, 0.64, 0.22, 0.73), GOLD),
    )


def _star() -> Sequence[Part]:
    return (
        Part(rays(5, 0.98, 0.45), "body"),
        *(Part(ellipse(x, -0.04, 0.06, 0.11), BLACK) for x in (-0.16, 0.16)),
        Part(ellipse(0.0, 0.14, 0.20, 0.16, start=0.0, end=180.0), BLACK),
    )


def _mushroom() -> Sequence[Part]:
    return (
        Part(
            np.concatenate(
                [box(-0.24, 0.0, 0.24, 0.7)[:2], ellipse(0.0, 0.80, 0.34, 0.17, start=0.0, end=180.0)]
            ),
            WHITE,
        ),
        Part(ellipse(0.0, 0.10, 0.92, 0.16), BROWN),
        Part(ellipse(0.0, 0.10, 0.95, 0.98, start=180.0, end=360.0), "body"),
        Part(ellipse(0.0, 0.10, 0.95, 0.10, start=0.0, end=180.0), "shade"),
    )


def _butterfly() -> Sequence[Part]:
    wings = [
        part
        for side in (-1, 1)
        for part in (
            Part(ellipse(side * 0.46, 0.42, 0.36, 0.40), "shade"),
            Part(ellipse(side * 0.52, -0.32, 0.46, 0.50), "body"),
            Part(ellipse(side * 0.66, -0.40, 0.13, 0.15), GOLD),
            Part(ellipse(side * 0.50, 0.48, 0.11, 0.12), WHITE),
            Part(
                polygon(
                    (side * 0.02, -0.55), (side * 0.24, -0.95), (side * 0.30, -0.92), (side * 0.07, -0.50)
                ),
                BLACK,
            ),
        )
    ]
    return (*wings, Part(ellipse(0.0, 0.05, 0.11, 0.66), BLACK))


def _flower() -> Sequence[Part]:
    angles = np.arange(7) * 2 * np.pi / 7
    petals = (Part(ellipse(0.36 * np.cos(a), -0.38 + 0.36 * np.sin(a), 0.25, 0.25), "body") for a in angles)
    return (
        Part(polygon((-0.06, -0.2), (0.06, -0.2), (0.10, 0.97), (-0.02, 0.97)), LEAF),
        Part(ellipse(0.30, 0.55, 0.28, 0.13), LEAF),
        Part(ellipse(-0.26, 0.70, 0.26, 0.12), LEAF),
        *petals,
        Part(ellipse(0.0, -0.38, 0.23, 0.23), GOLD),
        Part(ellipse(0.0, -0.38, 0.11, 0.11), BROWN),
    )


def _boat() -> Sequence[Part]:
    return (
        Part(box(-0.05, -0.95, 0.04, 0.40), BROWN),
        Part(polygon((0.10, -0.90), (0.86, 0.26), (0.10, 0.26)), WHITE),
        Part(polygon((-0.10, -0.70), (-0.10, 0.26), (-0.66, 0.26)), WHITE),
        Part(polygon((-0.98, 0.34), (0.98, 0.34), (0.62, 0.90), (-0.66, 0.90)), "body"),
        Part(box(-0.98, 0.32, 0.98, 0.44), "shade"),
    )


def _cup() -> Sequence[Part]:
    return (
        Part(ellipse(0.60, 0.10, 0.36, 0.40), "shade", (ellipse(0.60, 0.10, 0.20, 0.23),)),
        Part(polygon((-0.80, -0.52), (0.58, -0.52), (0.44, 0.86), (-0.66, 0.86)), "body"),
        Part(ellipse(-0.11, -0.52, 0.69, 0.20), WHITE),
        Part(ellipse(-0.11, -0.50, 0.58, 0.14), BROWN),
    )


def _umbrella() -> Sequence[Part]:
    scallops = [ellipse(x, 0.02, 0.235, 0.15, start=0.0, end=-180.0) for x in (0.705, 0.235, -0.235, -0.705)]
    canopy = np.concatenate([ellipse(0.0, 0.02, 0.94, 0.92, start=180.0, end=360.0), *scallops])
    hook = np.concatenate(
        [
            ellipse(-0.14, 0.74, 0.22, 0.22, start=0.0, end=180.0),
            ellipse(-0.14, 0.74, 0.12, 0.12, start=180.0, end=0.0),
        ]
    )
    return (
        Part(box(-0.03, -0.1, 0.07, 0.76), BROWN),
        Part(hook, BROWN),
        Part(canopy, "body"),
        Part(polygon((-0.04, -0.99), (0.04, -0.99), (0.24, -0.12), (-0.24, -0.12)), "shade"),
    )


def _ring() -> Sequence[Part]:
    angles = np.arange(9) * 2 * np.pi / 9 + 0.2
    crumbs = (Part(ellipse(0.67 * np.cos(a), 0.67 * np.sin(a), 0.09, 0.045), WHITE) for a in angles)
    return (
        Part(ellipse(0.0, 0.0, 0.97, 0.97), (0.80, 0.56, 0.30), (ellipse(0.0, 0.0, 0.34, 0.34),)),
        Part(ellipse(0.0, 0.0, 0.88, 0.88), "body", (ellipse(0.0, 0.0, 0.43, 0.43),)),
        *crumbs,
    )


BUILDERS: Mapping[str, Callable[[], Sequence[Part]]] = {
    "fish": _fish,
    "house": _house,
    "car": _car,
    "balloon": _balloon,
    "star": _star,
    "mushroom": _mushroom,
    "butterfly": _butterfly,
    "flower": _flower,
    "boat": _boat,
    "cup": _cup,
    "umbrella": _umbrella,
    "ring": _ring,
}
"""The parts of each kind, from back to front."""
