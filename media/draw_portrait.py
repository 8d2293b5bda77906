"""Draws portrait.png, the face that the benchmark animates, and writes its crop to portrait.json."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 1432, 1920
OVERSAMPLE = 2
CENTRE_X = WIDTH / 2
FACE = (CENTRE_X, 800.0, 270.0, 350.0)  # centre x, y and half axes of the head, px
EYE_Y, EYE_GAP, EYE_AXES = 790.0, 118.0, (62.0, 27.0)
MOUTH_Y = 985.0
# Released crops are 2.3 times the landmarks' box; its centre lies 0.125 of that above the box's centre.
CROP_SCALE, CROP_SHIFT = 2.3, -0.125

Colour = tuple[int, int, int]
BACKDROP: Colour = (188, 211, 214)
HALO: Colour = (203, 223, 224)
SKIN: Colour = (236, 194, 165)
SHADE: Colour = (214, 164, 135)
BLUSH: Colour = (233, 174, 149)
HAIR: Colour = (72, 48, 42)
HAIR_LIGHT: Colour = (97, 66, 56)
SHIRT: Colour = (54, 96, 120)
COLLAR: Colour = (72, 118, 143)
WHITE: Colour = (250, 248, 244)
IRIS: Colour = (82, 118, 96)
PUPIL: Colour = (32, 28, 30)
LIP: Colour = (190, 92, 88)
LIP_LIGHT: Colour = (208, 112, 105)


class Canvas:
    """Flat shapes in px of the final picture, drawn oversampled so that edges come out smooth."""

    def __init__(self, width: int, height: int, colour: Colour) -> None:
        self.pixels = np.full((height * OVERSAMPLE, width * OVERSAMPLE, 3), colour, np.uint8)

    def shape(self, points: NDArray[np.float64], colour: Colour) -> None:
        """Fill a polygon of points (n, 2)."""
        cv2.fillPoly(self.pixels, [np.rint(points * OVERSAMPLE).astype(np.int32)], colour)

    def ellipse(self, x: float, y: float, a: float, b: float, colour: Colour) -> None:
        """Fill an upright ellipse with half axes a and b."""
        self.shape(arc(x, y, a, b, 0, 360), colour)

    def curve(self, points: NDArray[np.float64], thickness: float, colour: Colour) -> None:
        """Draw a line with round ends through points (n, 2)."""
        line = np.rint(points * OVERSAMPLE).astype(np.int32)
        cv2.polylines(self.pixels, [line], False, colour, round(thickness * OVERSAMPLE))
        for end in (line[0], line[-1]):
            cv2.circle(self.pixels, tuple(int(v) for v in end), round(thickness * OVERSAMPLE / 2), colour, -1)

    def finish(self) -> NDArray[np.uint8]:
        """The picture (height, width, 3) RGB."""
        height, width = self.pixels.shape[:2]
        size = (width // OVERSAMPLE, height // OVERSAMPLE)
        return np.asarray(cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def arc(x: float, y: float, a: float, b: float, start: float, end: float) -> NDArray[np.float64]:
    """Points of an ellipse from `start` to `end` degrees, clockwise from the right."""
    turn = np.radians(np.linspace(start, end, 160))
    return np.stack([x + a * np.cos(turn), y + b * np.sin(turn)], axis=1)


def bezier(*controls: tuple[float, float]) -> NDArray[np.float64]:
    """Points of a Bezier curve with any number of control points."""
    t = np.linspace(0, 1, 120)[:, None]
    degree = len(controls) - 1
    terms = [
        math.comb(degree, i) * t**i * (1 - t) ** (degree - i) * np.array(c) for i, c in enumerate(controls)
    ]
    return np.asarray(sum(terms))


def mirrored(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([WIDTH - points[:, 0], points[:, 1]], axis=1)


def draw_body(canvas: Canvas) -> None:
    left = bezier((CENTRE_X, 1330), (430, 1370), (150, 1420), (90, 1640), (60, 1920))
    canvas.shape(np.concatenate([left, mirrored(left)[::-1]]), SHIRT)
    neck = bezier((590, 1000), (600, 1300), (540, 1370), (470, 1400), (620, 1520), (CENTRE_X, 1540))
    canvas.shape(np.concatenate([neck, mirrored(neck)[::-1]]), SKIN)
    shadow = bezier((592, 1080), (620, 1230), (CENTRE_X, 1260))
    canvas.shape(np.concatenate([shadow, mirrored(shadow)[::-1]]), SHADE)
    for flip in (False, True):
        collar = np.array(
            [[470, 1385], [540, 1352], [640, 1500], [700, 1560], [610, 1600], [500, 1500]], float
        )
        canvas.shape(mirrored(collar) if flip else collar, COLLAR)


def draw_head(canvas: Canvas) -> None:
    x, y, a, b = FACE
    canvas.ellipse(x, y - 60, a + 75, b + 35, HAIR)
    canvas.shape(
        np.array([[x - a - 72, y - 60], [x + a + 72, y - 60], [x + a + 40, y + 250], [x - a - 40, y + 250]]),
        HAIR,
    )
    for side in (-1, 1):
        canvas.ellipse(x + side * (a + 4), y + 20, 42, 78, SHADE)
    jaw = bezier((x - a, y - 90), (x - a - 12, y + 190), (x - 175, y + b + 40), (x, y + b + 2))
    canvas.shape(np.concatenate([jaw, mirrored(jaw)[::-1]]), SKIN)
    canvas.ellipse(x, y - 90, a, 225, SKIN)
    fringe = bezier((x - a - 40, y + 10), (x - a + 20, y - 150), (x - 120, y - 130), (x + 40, y - 330))
    canvas.shape(np.concatenate([fringe, arc(x, y - 70, a + 60, b + 20, -80, -180)]), HAIR)
    other = bezier((x + a + 40, y + 10), (x + a, y - 160), (x + 180, y - 170), (x + 20, y - 330))
    canvas.shape(np.concatenate([other, arc(x, y - 70, a + 60, b + 20, -100, 0)]), HAIR)
    for shift in (0, 45, 90):
        strand = bezier((x - 200 + shift, y - 230), (x - 100 + shift, y - 340), (x + 30 + shift, y - 370))
        canvas.curve(strand, 9, HAIR_LIGHT)


def draw_eye(canvas: Canvas, x: float) -> None:
    a, b = EYE_AXES
    canvas.ellipse(x, EYE_Y, a, b, WHITE)
    # The iris is cut by the lids: draw it, then cover what leaves the eye.
    canvas.ellipse(x, EYE_Y, 27, 27, IRIS)
    canvas.ellipse(x, EYE_Y, 13, 13, PUPIL)
    canvas.ellipse(x + 9, EYE_Y - 9, 6, 6, WHITE)
    canvas.curve(arc(x, EYE_Y, a, b, 180, 360), 8, HAIR)
    canvas.curve(arc(x, EYE_Y, a, b, 20, 160), 3, SHADE)
    canvas.curve(arc(x, EYE_Y - 62, a + 20, 30, 205, 335), 15, HAIR)


def draw_face(canvas: Canvas) -> None:
    for side in (-1, 1):
        canvas.ellipse(CENTRE_X + side * 165, 905, 62, 42, BLUSH)
        draw_eye(canvas, CENTRE_X + side * EYE_GAP)
    canvas.curve(
        bezier((CENTRE_X - 12, 800), (CENTRE_X - 30, 870), (CENTRE_X - 42, 905), (CENTRE_X, 908)), 7, SHADE
    )
    canvas.curve(bezier((CENTRE_X, 908), (CENTRE_X + 28, 908), (CENTRE_X + 32, 892)), 7, SHADE)
    upper = np.concatenate(
        [
            bezier((CENTRE_X - 92, MOUTH_Y), (CENTRE_X - 40, MOUTH_Y - 34), (CENTRE_X, MOUTH_Y - 16)),
            bezier((CENTRE_X, MOUTH_Y - 16), (CENTRE_X + 40, MOUTH_Y - 34), (CENTRE_X + 92, MOUTH_Y)),
        ]
    )
    closed = bezier((CENTRE_X + 92, MOUTH_Y), (CENTRE_X, MOUTH_Y + 26), (CENTRE_X - 92, MOUTH_Y))
    lower = bezier((CENTRE_X - 92, MOUTH_Y), (CENTRE_X, MOUTH_Y + 96), (CENTRE_X + 92, MOUTH_Y))
    canvas.shape(np.concatenate([lower, closed]), LIP_LIGHT)
    canvas.shape(np.concatenate([upper, closed]), LIP)
    canvas.curve(closed, 4, (138, 58, 60))


def stored_crop() -> dict[str, object]:
    """What engines.ditto.source.StoredCrop reads, from the same figures as the drawing."""
    x, y, a, b = FACE
    brow_y = EYE_Y - 95
    chin_y = y + b
    size = CROP_SCALE * max(2 * a, chin_y - brow_y)
    # An ellipse's height at the places where the lids are measured: the middle and halfway to each corner.
    heights = 2 * EYE_AXES[1] * np.sqrt(1 - np.array([0.0, 0.5, 0.5]) ** 2)
    opening = round(float(heights.sum() / (2 * EYE_AXES[0])), 4)
    return {
        "image_px": [WIDTH, HEIGHT],
        "centre_px": [x, round((brow_y + chin_y) / 2 + CROP_SHIFT * size, 2)],
        "size_px": round(size, 2),
        "angle_deg": 0.0,
        "eye_open": [opening, opening],
        "eye_ball": [0.0] * 6,
    }


def main() -> None:
    canvas = Canvas(WIDTH, HEIGHT, BACKDROP)
    canvas.ellipse(CENTRE_X, 860, 640, 780, HALO)
    draw_body(canvas)
    draw_head(canvas)
    draw_face(canvas)
    here = Path(__file__).parent
    picture = cv2.cvtColor(canvas.finish(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(here / "portrait.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    (here / "portrait.json").write_text(json.dumps(stored_crop(), indent=1) + "\n")


if __name__ == "__main__":
    main()
