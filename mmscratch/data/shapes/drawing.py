"""SHAPES: textured, partly occluded shapes on textured backgrounds, drawn from a seed.

The same parameters give the same pixels and the same JSON on every machine, with any number of
processes, and image ``k`` does not depend on the number of images. Three rules ensure it:

* Geometry and colour are integers throughout; angles come from a table of integer sines. Nothing
  that a maths library, a vector unit or another OpenCV may round differently reaches a pixel.
  (``cv2.fillPoly`` also paints the outline, by rules that have changed between versions. OpenCV
  only finds bounding boxes and encodes the PNG, which is lossless.)
* Random numbers come from ``RandomState``, whose streams NumPy has frozen (NEP 19).
* Each image has two streams of its own, seeded by a hash of (seed, split, number): one for the
  layout, one for the paint. So ``contrast``, ``noise`` and ``textures`` never move an object.

Coordinates: x to the right, y down, pixel ``i`` covers ``[i, i + 1)``, as in COCO. A mask pixel is
set where the pixel's centre lies in the shape. Vertices are in 1/256 pixel (``SUBPIXEL``).

Layout of a data set, COCO's own::

    ROOT/annotations/instances_{train,val}.json
    ROOT/{train,val}/000000000001.png
    ROOT/recipe.json                               what was drawn

Segmentations are polygons of the visible region: several where it is split; COCO's polygons know no
holes, so a region with a hole is cut into pieces without one. ``area`` counts visible pixels.

Keypoints are the corners of the shape, clockwise. All categories have ``NUM_KEYPOINTS`` of them,
one count for one keypoint head: a shape with fewer corners pads with ``0, 0, 0``. Coordinates are
those of the pixel that holds the corner. Visibility: 2 seen, 1 behind another object, 0 outside the
image or padding. Some shapes look the same after a part of a turn. Of the corners that look alike
the topmost one comes first, since no network could tell them apart. A mirror image has the opposite
order, so a horizontal flip must reverse it.
"""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmscratch.data.shapes.polygons import (
    SUBPIXEL,
    TRIG_SHIFT,
    TURN,
    cos_sin,
    rasterize,
    rotate,
    to_polygons,
)
from mmscratch.data.shapes.resumable_coco_writer import ResumableCocoWriter
from mmscratch.errors import InputError

VERSION = 1  # raise it whenever a pixel or a number in the JSON changes
RADIUS = 1024  # units of a shape's own frame: its bounding circle
NUM_KEYPOINTS = 12
TRIES = 40  # places tried for an object before it is left out

# ------------------------------------------------------------------------------ shapes


@dataclasses.dataclass(frozen=True)
class Shape:
    """Outline of a class within the circle of radius ``RADIUS`` about (0, 0).

    Args:
        loops: Closed polygons, clockwise on the screen, filled by the even-odd rule; each (N, 2).
        corners: (K, 2), clockwise, ``K <= NUM_KEYPOINTS``.
        symmetry: Number of turns in 360 degrees that map the corners onto themselves.
    """

    loops: tuple[np.ndarray, ...]
    corners: np.ndarray
    symmetry: int = 1


def _points(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _arc(start: int, stop: int, radius: int = RADIUS, x: int = 0, y: int = 0) -> np.ndarray:
    """Points every 5 degrees, from ``start`` to ``stop`` degrees clockwise from +x."""
    step = 5 if stop > start else -5
    cos, sin = cos_sin(np.arange(start, stop + step, step) * (TURN // 360))
    half = 1 << (TRIG_SHIFT - 1)
    return np.stack(
        [x + (cos * radius + half >> TRIG_SHIFT), y + (sin * radius + half >> TRIG_SHIFT)], axis=1
    )


def _polygon(*pairs: tuple[int, int], symmetry: int = 1) -> Shape:
    corners = _points(*pairs)
    return Shape((corners,), corners, symmetry)


def _star() -> Shape:
    cos, sin = cos_sin(np.arange(10) * (TURN // 10) - TURN // 4)
    radius = np.where(np.arange(10) % 2, 440, RADIUS)
    corners = np.stack([cos * radius >> TRIG_SHIFT, sin * radius >> TRIG_SHIFT], axis=1)
    return Shape((corners,), corners, symmetry=5)


def _heart() -> Shape:
    right = _arc(-155, 30, 480, 440, -300)
    left = right[::-1] * (-1, 1)
    tip, notch = _points((0, 960)), _points((0, -500))
    return Shape((np.concatenate([tip, left, notch, right]),), np.concatenate([tip, notch]))


def _crescent() -> Shape:
    outer, inner = _arc(50, 310), _arc(285, 75, 820, 420)
    return Shape((np.concatenate([outer, inner]),), outer[[0, -1]])


def _half_disc() -> Shape:
    arc = _arc(0, 180)
    return Shape((arc,), arc[[0, -1]])


# The order is frozen: `classes=5` means the first five. New ones go to the end.
SHAPES: dict[str, Shape] = {
    'disc': Shape((_arc(0, 355),), _points()),
    'rectangle': _polygon((-724, -724), (724, -724), (724, 724), (-724, 724), symmetry=4),
    'triangle': _polygon((0, -1024), (887, 512), (-887, 512), symmetry=3),
    'star': _star(),
    'cross': _polygon(
        (-300, -970), (300, -970), (300, -300), (970, -300), (970, 300), (300, 300),
        (300, 970), (-300, 970), (-300, 300), (-970, 300), (-970, -300), (-300, -300),
        symmetry=4,
    ),
    'ring': Shape((_arc(0, 355), _arc(0, 355, 560)), _points()),
    'heart': _heart(),
    'arrow': _polygon(
        (0, -1024), (720, -260), (290, -260), (290, 950), (-290, 950), (-290, -260), (-720, -260)
    ),
    'crescent': _crescent(),
    'hexagon': _polygon(
        (0, -1024), (887, -512), (887, 512), (0, 1024), (-887, 512), (-887, -512), symmetry=6
    ),
    'tee': _polygon(
        (-790, -640), (790, -640), (790, -160), (250, -160),
        (250, 900), (-250, 900), (-250, -160), (-790, -160),
    ),
    'hourglass': _polygon(
        (-724, -724), (724, -724), (170, 0), (724, 724), (-724, 724), (-170, 0), symmetry=2
    ),
    'half_disc': _half_disc(),
    'ell': _polygon((-630, -800), (-90, -800), (-90, 270), (630, 270), (630, 800), (-630, 800)),
    'chevron': _polygon(
        (0, -850), (880, -30), (880, 520), (0, -250), (-880, 520), (-880, -30)
    ),
    'zed': _polygon(
        (-850, -480), (280, -480), (280, 0), (850, 0),
        (850, 480), (-280, 480), (-280, 0), (-850, 0),
        symmetry=2,
    ),
}  # fmt: skip
CLASSES = tuple(SHAPES)
TEXTURES = ('plain', 'stripes', 'waves', 'checks', 'dots', 'clouds', 'speckle')


# ------------------------------------------------------------------------------ parameters


@dataclasses.dataclass(frozen=True)
class ShapesConfig:
    """What a SHAPES data set looks like, apart from the number of images.

    Args:
        size: Image side, or (width, height), in pixels.
        classes: How many of ``CLASSES``, from the first, or their names; category ids follow this
            order from 1.
        objects: Fewest and most objects an image. An image has fewer if no more fit.
        object_size: Smallest and largest bounding circle, as a fraction of the shorter image side.
        rotation: Largest turn of a shape from upright, in degrees either way; 180: any.
        occlusion: Largest fraction of an object hidden by others or cut off by the image's border.
        contrast: From 0, the background's own colours, to 1, colours far from these.
        noise: Largest change of a pixel's value by noise, in grey levels.
        textures: Textures of the objects, of ``TEXTURES``. Each object has one of them.
        seed: Seed of everything drawn.

    Fractions count to the nearest thousandth.

    Raises:
        InputError: A value is out of range.
    """

    size: Any = 160
    classes: Any = 5
    objects: tuple[int, int] = (1, 6)
    object_size: tuple[float, float] = (0.12, 0.5)
    rotation: int = 180
    occlusion: float = 0.35
    contrast: float = 1.0
    noise: int = 6
    textures: tuple[str, ...] = TEXTURES
    seed: int = 0

    def __post_init__(self) -> None:
        size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        names = CLASSES[: self.classes] if isinstance(self.classes, int) else tuple(self.classes)
        normal = {
            'size': size,
            'classes': names,
            'objects': tuple(self.objects),
            'object_size': tuple(float(f) for f in self.object_size),
            'textures': tuple(self.textures),
            'occlusion': float(self.occlusion),
            'contrast': float(self.contrast),
        }
        if isinstance(self.classes, int) and not 1 <= self.classes <= len(CLASSES):
            raise InputError(f'classes={self.classes}: give 1 to {len(CLASSES)}, or names')
        for name, value in normal.items():
            object.__setattr__(self, name, value)  # frozen: the only way
        self._check_names('classes', CLASSES)
        self._check_names('textures', TEXTURES)
        self._check_ranges()

    def _check_names(self, field: str, known: tuple[str, ...]) -> None:
        names = getattr(self, field)
        for name in names:
            if name not in known:
                raise InputError(f'{field}: no {name!r}; choose from {", ".join(known)}')
        if not names or len(set(names)) < len(names):
            raise InputError(f'{field}={names}: give each name once, and at least one')

    def _check_ranges(self) -> None:
        def need(good: bool, field: str, what: str) -> None:
            if not good:
                raise InputError(f'{field}={getattr(self, field)}: give {what}')

        def pair(values: tuple, low: float, high: float) -> bool:
            return len(values) == 2 and low <= values[0] <= values[1] <= high

        sides = len(self.size) == 2 and all(16 <= side <= 8192 for side in self.size)
        need(sides, 'size', 'a side, or width and height, of 16 to 8192 pixels')
        need(pair(self.objects, 0, 100), 'objects', 'a fewest and a most of 0 to 100')
        need(self.objects[1] > 0, 'objects', 'a most of at least 1')
        need(pair(self.object_size, 0, 1), 'object_size', 'a least and a largest fraction up to 1')
        least = 8 / min(self.size)
        need(self.object_size[0] >= least, 'object_size', f'at least 8 pixels, that is {least:.3f}')
        need(0 <= self.rotation <= 180, 'rotation', 'degrees from 0 to 180')
        need(0 <= self.occlusion <= 0.9, 'occlusion', 'a fraction of 0 to 0.9')
        need(0 <= self.contrast <= 1, 'contrast', 'a number from 0 to 1')
        need(0 <= self.noise <= 127, 'noise', 'grey levels from 0 to 127')


def _permille(fraction: float) -> int:
    return round(fraction * 1000)


class _Stream:
    """Random integers that are a pure function of the key."""

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256(repr((VERSION, *key)).encode()).digest()
        self._state = np.random.RandomState(np.frombuffer(digest, dtype='<u4'))

    def integer(self, low: int, high: int) -> int:
        """One integer from ``low`` to ``high``, both included."""
        return int(self._state.randint(low, high + 1, dtype=np.int64))

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """Integers from ``low`` to ``high``, both included, as int64."""
        return self._state.randint(low, high + 1, size=shape, dtype=np.int64)

    def choice(self, options: tuple[str, ...]) -> str:
        """One of ``options``."""
        return options[self.integer(0, len(options) - 1)]


# ------------------------------------------------------------------------------ layout


@dataclasses.dataclass
class _Object:
    """A placed shape; ``mask`` covers the image from (``left``, ``top``)."""

    name: str
    centre: np.ndarray  # (2,) in 1/256 pixel
    radius: int  # of the bounding circle, in 1/256 pixel
    corners: np.ndarray  # (K, 2) in 1/256 pixel
    left: int
    top: int
    mask: np.ndarray  # (h, w) bool, cut off at the image's border
    full_area: int  # pixels, with those outside the image
    visible: int  # pixels seen

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def _draw_centre(
    config: ShapesConfig, stream: _Stream, radius: int, near: _Object | None
) -> np.ndarray:
    """Anywhere, or beside an object, so that the bounding circles overlap."""
    sides = np.array(config.size, dtype=np.int64) * SUBPIXEL
    inset = np.minimum(radius - 2 * radius * _permille(config.occlusion) // 1000, sides // 2)
    if near is None:
        return np.array([stream.integer(i, side - i) for i, side in zip(inset, sides)])
    distance = (radius + near.radius) * stream.integer(500, 900) // 1000
    cos, sin = cos_sin(stream.integer(0, TURN - 1))
    centre = near.centre + (np.array([cos, sin]) * distance >> TRIG_SHIFT)
    return centre.clip(inset, sides - inset)


def _place(
    config: ShapesConfig, stream: _Stream, name: str, near: _Object | None, shrink: int
) -> _Object | None:
    """Draw where and how a shape lies; None if too much of it is outside the image.

    Args:
        shrink: In thousandths, by how much the largest size is lowered towards the smallest.
    """
    low, high = (_permille(f) * min(config.size) * SUBPIXEL // 2000 for f in config.object_size)
    radius = stream.integer(low, high - (high - low) * shrink // 1000)
    centre = _draw_centre(config, stream, radius, near)
    stretch = [RADIUS, stream.integer(RADIUS * 3 // 4, RADIUS)]
    if stream.integer(0, 1):
        stretch.reverse()
    limit = config.rotation * (TURN // 360)
    angle = stream.integer(-limit, limit) % TURN

    def to_image(points: np.ndarray) -> np.ndarray:
        x, y = (points * stretch * radius // (RADIUS * RADIUS // 16)).T  # 1/16 of SUBPIXEL
        return (rotate(x, y, angle) >> (TRIG_SHIFT + 4)) + centre

    shape = SHAPES[name]
    mask, left, top = rasterize(to_image(loop) for loop in shape.loops)
    full_area = int(mask.sum())
    width, height = config.size
    mask = mask[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    visible = int(mask.sum())
    if _hides_too_much(config, visible, full_area):
        return None
    corners = _topmost_first(to_image(shape.corners), shape.symmetry)
    left, top = max(0, left), max(0, top)
    return _Object(name, centre, radius, corners, left, top, mask, full_area, visible)


def _hides_too_much(config: ShapesConfig, visible: int, full_area: int) -> bool:
    return (full_area - visible) * 1000 > _permille(config.occlusion) * full_area or not visible


def _topmost_first(corners: np.ndarray, symmetry: int) -> np.ndarray:
    if symmetry == 1:
        return corners
    alike = corners[:: len(corners) // symmetry]
    first = np.lexsort((alike[:, 0], alike[:, 1]))[0]
    return np.roll(corners, -first * (len(corners) // symmetry), axis=0)


def _lay_out(config: ShapesConfig, stream: _Stream) -> tuple[list[_Object], np.ndarray]:
    """Place the objects of an image, each over those before it.

    Returns:
        The objects, and a map (H, W) of the object seen at each pixel, -1 for the background.
    """
    width, height = config.size
    owner = np.full((height, width), -1, dtype=np.int64)
    objects: list[_Object] = []
    for _ in range(stream.integer(*config.objects)):
        name = stream.choice(config.classes)  # the same in all tries: classes stay balanced
        for attempt in range(TRIES):
            near = objects[stream.integer(0, len(objects) - 1)] if objects else None
            near = near if stream.integer(0, 1) else None  # near ones touch more often
            new = _place(config, stream, name, near, 1000 * attempt // TRIES)
            if new and _cover(config, objects, owner, new):
                break
    return objects, owner


def _cover(config: ShapesConfig, objects: list[_Object], owner: np.ndarray, new: _Object) -> bool:
    """Put an object over the others, unless it hides too much of one."""
    seen = owner[new.window]
    lost = np.bincount(seen[new.mask] + 1, minlength=len(objects) + 1)[1:].tolist()
    visible = [old.visible - pixels for old, pixels in zip(objects, lost)]
    if any(_hides_too_much(config, v, old.full_area) for old, v in zip(objects, visible)):
        return False
    for old, v in zip(objects, visible):
        old.visible = v
    seen[new.mask] = len(objects)
    objects.append(new)
    return True


# ------------------------------------------------------------------------------ paint


def _texture(
    kind: str, stream: _Stream, window: tuple[slice, slice], side: int, scale: int = 1
) -> np.ndarray:
    """Draw a pattern of 0 to 256 over a window of the image; its period follows the image side."""
    rows, columns = (np.arange(s.start, s.stop, dtype=np.int64) for s in window)
    if kind in ('clouds', 'speckle'):
        return _lattice(kind, stream, len(rows), len(columns), side, scale)
    cos, sin = cos_sin(stream.integer(0, TURN - 1))
    x, y = columns[None], rows[:, None]
    u = (x * cos + y * sin) >> (TRIG_SHIFT - 4)  # turned coordinates, in 1/16 pixel
    if kind == 'plain':
        low, high = int(u.min()), int(u.max())
        return (u - low) * 256 // (high - low + 1)
    v = (y * cos - x * sin) >> (TRIG_SHIFT - 4)
    period = max(48, stream.integer(72, 208) * scale * side // 160)
    u, v = u % period, v % period
    if kind == 'stripes':
        return (2 * u < period) * 256
    if kind == 'waves':
        return abs(2 * u - period) * 256 // period
    if kind == 'checks':
        return ((2 * u < period) ^ (2 * v < period)) * 256
    assert kind == 'dots', kind
    return ((2 * u - period) ** 2 + (2 * v - period) ** 2 < period * period * 2 // 5) * 256


def _lattice(
    kind: str, stream: _Stream, height: int, width: int, side: int, scale: int
) -> np.ndarray:
    """Random values on a grid, interpolated (clouds) or not (speckle)."""
    cell = stream.integer(5, 12) if kind == 'clouds' else stream.integer(1, 3)
    cell = max(1, cell * scale * side // 160)
    values = stream.integers(0, 256, (height // cell + 2, width // cell + 2))
    (row, down), (column, right) = (np.divmod(np.arange(n), cell) for n in (height, width))
    if kind == 'speckle':
        return values[row[:, None], column[None]]
    down = down[:, None]
    values = values[row] * (cell - down) + values[row + 1] * down
    return (values[:, column] * (cell - right) + values[:, column + 1] * right) // (cell * cell)


def _distance(one: np.ndarray, other: np.ndarray) -> int:
    return int(abs(one - other).sum())


def _draw_colours(stream: _Stream, avoid: np.ndarray) -> np.ndarray:
    """Two colours (2, 3), apart from each other and from ``avoid``."""
    while True:
        colours = stream.integers(0, 255, (2, 3))
        first, second = colours
        if (
            _distance(first, second) >= 120
            and _distance(first, avoid) >= 200
            and _distance(second, avoid) >= 120
        ):
            return colours


def _mix(colours: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    first, second = colours.astype(np.int32)  # half the memory, half the time
    return first + ((second - first) * pattern.astype(np.int32)[..., None] >> 8)


def _paint(
    config: ShapesConfig, stream: _Stream, objects: list[_Object], owner: np.ndarray
) -> np.ndarray:
    """Draw the picture, (H, W, 3) uint8."""
    height, width = owner.shape
    side = min(config.size)
    everywhere = slice(0, height), slice(0, width)
    ground = stream.integers(30, 225, (1, 3)) + np.stack(
        [np.zeros(3, dtype=np.int64), stream.integers(-60, 60, (3,))]
    )
    pattern = _texture(stream.choice(TEXTURES), stream, everywhere, side, scale=2)
    image = _mix(ground, pattern)
    image += (_texture('clouds', stream, everywhere, side, scale=4)[..., None] - 128) >> 2
    contrast = _permille(config.contrast)
    for number, thing in enumerate(objects):
        colours = _draw_colours(stream, ground.sum(axis=0) // 2)
        colours = ground + (colours - ground) * contrast // 1000
        pattern = _texture(stream.choice(config.textures), stream, thing.window, side)
        seen = owner[thing.window] == number
        image[thing.window][seen] = _mix(colours, pattern)[seen]
    image = _blur(image)
    image += stream.integers(-config.noise, config.noise, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def _blur(image: np.ndarray) -> np.ndarray:
    """Smooth by (1 2 1) / 4 both ways: edges like a camera's."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode='edge')
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) >> 4


# ------------------------------------------------------------------------------ annotations


def _annotate(config: ShapesConfig, objects: list[_Object], owner: np.ndarray) -> list[dict]:
    """COCO's annotations of one image, without ``id`` and ``image_id``."""
    annotations = []
    for number, thing in enumerate(objects):
        seen = owner[thing.window] == number
        x, y, width, height = cv2.boundingRect(seen.astype(np.uint8))
        keypoints = _keypoints(thing.corners, number, owner)
        annotations.append(
            {
                'category_id': config.classes.index(thing.name) + 1,
                'bbox': [thing.left + x, thing.top + y, width, height],
                'area': thing.visible,
                'iscrowd': 0,
                'segmentation': [
                    _halve(polygon + (2 * thing.left, 2 * thing.top))
                    for polygon in to_polygons(seen)
                ],
                'keypoints': keypoints,
                'num_keypoints': sum(v > 0 for v in keypoints[2::3]),
            }
        )
    return annotations


def _halve(points: np.ndarray) -> list[float]:
    return [v // 2 if v % 2 == 0 else v / 2 for v in points.ravel().tolist()]


def _keypoints(corners: np.ndarray, number: int, owner: np.ndarray) -> list[int]:
    height, width = owner.shape
    flat = []
    for x, y in (corners // SUBPIXEL).tolist():
        if 0 <= x < width and 0 <= y < height:
            flat += [x, y, 2 if owner[y, x] <= number else 1]
        else:
            flat += [0, 0, 0]
    return flat + [0] * (3 * NUM_KEYPOINTS - len(flat))


def render(
    config: ShapesConfig, split: str, number: int, picture: bool = True
) -> tuple[np.ndarray | None, list[dict[str, Any]]]:
    """Draw image ``number`` (from 1) of a split.

    Returns:
        The picture, (H, W, 3) uint8 in OpenCV's channel order, or None if not wanted; and its
        annotations in COCO's form, without ``id`` and ``image_id``.
    """
    objects, owner = _lay_out(config, _Stream('layout', config.seed, split, number))
    stream = _Stream('paint', config.seed, split, number)
    image = _paint(config, stream, objects, owner) if picture else None
    return image, _annotate(config, objects, owner)


def _categories(config: ShapesConfig) -> list[dict[str, Any]]:
    """COCO's list of categories; the skeleton joins a shape's corners all round."""
    categories = []
    for number, name in enumerate(config.classes, 1):
        count = len(SHAPES[name].corners)
        categories.append(
            {
                'id': number,
                'name': name,
                'supercategory': 'shape',
                'keypoints': [f'corner{k}' for k in range(1, NUM_KEYPOINTS + 1)],
                'skeleton': [[k, k % count + 1] for k in range(1, count + 1) if count > 2],
            }
        )
    return categories


def generate(
    root: str | Path,
    config: ShapesConfig,
    splits: dict[str, int],
    workers: int = 1,
    progress: bool = True,
) -> None:
    """Make a data set, or finish one that was interrupted; do nothing if it is there.

    Args:
        root: Folder of the data set: new, empty, or of these very parameters.
        config: What the images look like.
        splits: Number of images by split, such as ``{'train': 400, 'val': 100}``.
        workers: Processes; the result does not depend on it.
        progress: Show a bar on stderr.

    Raises:
        InputError: The folder holds something else or can't be written, or a number is wrong.
    """
    parameters = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(config).items()}
    writer = ResumableCocoWriter(
        root=Path(root),
        recipe={'generator': 'mmscratch SHAPES', 'version': VERSION, **parameters},
        categories=_categories(config),
        size=config.size,
        draw=functools.partial(render, config),
    )
    writer.write(splits, workers, progress)
