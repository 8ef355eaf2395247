"""The Numba kernel that draws ``shapes``: integer hashes and + - * / sqrt, nothing else.

Those operations are exact or correctly rounded by IEEE 754, Numba fuses none of them unless told
to, and an image depends on its seed and index alone: so every processor and any number of threads
draw the same bytes. All of it is this project's choice; the ranges below set the difficulty.
"""

import numpy as np
from numba import njit

SIZE = 32  # pixels
# The layers of an image from back to front: background, clutter, the object, more clutter.
BACKGROUND, OBJECT, LAYERS = 0, 5, 8
KINDS, BAR, EVERYWHERE = 10, 10, 11  # after the ten classes: a long thin bar; no edge at all
SLOTS = 32  # random numbers that a layer may draw


@njit(cache=True)
def random_bits(seed: int, image: int, counter: int) -> np.uint64:
    """64 bits that depend on three counters: SplitMix64's finaliser, once for each."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    h = np.uint64(seed) + golden
    for word in (np.uint64(image), np.uint64(counter)):
        h = h ^ (word * golden)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        h = h ^ (h >> np.uint64(31))
    return h


@njit(cache=True)
def uniform(seed: int, image: int, counter: int, low: float, high: float) -> float:
    """A number in [low, high) from the top 53 of the random bits."""
    top = random_bits(seed, image, counter) >> np.uint64(11)
    return low + (high - low) * (float(top) / 9007199254740992.0)


@njit(cache=True)
def choose(seed: int, image: int, counter: int, n: int) -> int:
    """A whole number in 0..n-1; signed, since Numba makes floats of signed with unsigned."""
    return int(np.int64(random_bits(seed, image, counter) % np.uint64(n)))


@njit(cache=True)
def inside(kind: int, x: float, y: float) -> bool:
    """Whether (x, y) lies in the shape, which is about 1 in radius and centred on the origin.

    Each shape has a mirror axis, so that a flipped image is a rotated one of the same class.
    """
    r2 = x * x + y * y
    if kind == 0:  # disk
        return r2 < 0.72
    if kind == 1:  # ring
        return 0.22 < r2 < 0.85
    if kind == 2:  # crescent
        return r2 < 0.9 and (x - 0.45) * (x - 0.45) + y * y > 0.5
    if kind == 3:  # half-disk
        return x > -0.4 and (x + 0.4) * (x + 0.4) + y * y < 1.0
    if kind == 4:  # triangle
        return max(y, 0.8660254037844386 * abs(x) - 0.5 * y) < 0.52
    if kind == 5:  # square
        return abs(x) < 0.75 and abs(y) < 0.75
    if kind == 6:  # hexagon
        return abs(y) < 0.8 and abs(x) * 0.8660254037844386 + abs(y) * 0.5 < 0.8
    if kind == 7:  # cross
        return min(abs(x), abs(y)) < 0.3 and max(abs(x), abs(y)) < 0.95
    if kind == 8:  # star: within at least four of the five sides of its inner pentagon
        ax, ay = 0.9510565162951535 * x, 0.3090169943749474 * y
        bx, by = 0.5877852522924731 * x, 0.8090169943749475 * y
        sides = (y < 0.36) + (ay + ax < 0.36) + (ay - ax < 0.36)
        return sides + (bx - by < 0.36) + (-bx - by < 0.36) >= 4
    if kind == 9:  # tee
        return (abs(x) < 0.9 and -0.8 < y < -0.25) or (abs(x) < 0.28 and -0.8 < y < 0.9)
    if kind == BAR:
        return abs(x) < 3.0 and abs(y) < 0.15
    return True


@njit(cache=True)
def texture(kind: int, u: float, v: float, salt: int) -> float:
    """The share of the second colour, 0-1: plain, stripes, checks or blotches 1 long in u and v.

    u and v must be positive, so that int() rounds down.
    """
    i, j = int(u), int(v)
    if kind == 0:
        return 0.0
    if kind == 1:
        return float(i & 1)
    if kind == 2:
        return float((i + j) & 1)
    fu, fv = u - i, v - j
    fu, fv = fu * fu * (3.0 - 2.0 * fu), fv * fv * (3.0 - 2.0 * fv)
    a, b = uniform(salt, i, j, 0.0, 1.0), uniform(salt, i + 1, j, 0.0, 1.0)
    c, d = uniform(salt, i, j + 1, 0.0, 1.0), uniform(salt, i + 1, j + 1, 0.0, 1.0)
    return (a + (b - a) * fu) * (1.0 - fv) + (c + (d - c) * fu) * fv


@njit(cache=True)
def draw_layer(
    canvas: np.ndarray, seed: int, image: int, layer: int, kind: int, base: np.ndarray
) -> None:
    """Draw one layer over the canvas (float64, 3 x SIZE x SIZE), its look chosen by the hash.

    Args:
        canvas: What lies behind, changed in place.
        seed: Seed of the data set.
        image: Index of the image.
        layer: Place in the stack; it decides the ranges of size and position.
        kind: Shape, as for :func:`inside`.
        base: The background's colour, from which a shape's own differs by its contrast.
    """
    slot = layer * SLOTS
    radius, spread = uniform(seed, image, slot, 1.5, 3.5), 15.0
    if layer == OBJECT:
        radius, spread = uniform(seed, image, slot, 6.5, 11.0), 4.0
    aspect = uniform(seed, image, slot + 1, 0.8, 1.25)
    x0 = SIZE / 2 + uniform(seed, image, slot + 2, -spread, spread)
    y0 = SIZE / 2 + uniform(seed, image, slot + 3, -spread, spread)
    t = uniform(seed, image, slot + 4, -1.0, 1.0)  # the angle, by its rational parametrisation
    cos, sin = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    if uniform(seed, image, slot + 5, 0.0, 1.0) < 0.5:
        cos, sin = -cos, -sin
    xx, xy = cos / (radius * aspect), sin / (radius * aspect)
    yx, yy = -sin * aspect / radius, cos * aspect / radius
    contrast = uniform(seed, image, slot + 6, 0.15, 0.55)
    colour, other = np.empty(3), np.empty(3)
    for c in range(3):
        colour[c] = uniform(seed, image, slot + 7 + c, -1.0, 1.0)
    length = np.sqrt(colour[0] * colour[0] + colour[1] * colour[1] + colour[2] * colour[2]) + 0.01
    amount = uniform(seed, image, slot + 10, 0.0, 0.25)
    for c in range(3):
        colour[c] = base[c] + (0.0 if layer == BACKGROUND else contrast * colour[c] / length)
        other[c] = amount * uniform(seed, image, slot + 11 + c, -1.0, 1.0)
    look = choose(seed, image, slot + 14, 4)
    frequency = uniform(seed, image, slot + 15, 0.15, 0.5)
    salt = seed + 1 + (image * LAYERS + layer)

    reach = float(SIZE) if kind == EVERYWHERE else 3.2 * radius if kind == BAR else 1.6 * radius
    for row in range(int(max(y0 - reach, 0.0)), int(min(y0 + reach, SIZE - 1.0)) + 1):
        for column in range(int(max(x0 - reach, 0.0)), int(min(x0 + reach, SIZE - 1.0)) + 1):
            hits = 4 if kind == EVERYWHERE else 0
            if kind != EVERYWHERE:
                for sub in range(4):  # four points of the pixel soften the edges
                    dx = column + 0.25 + 0.5 * (sub & 1) - x0
                    dy = row + 0.25 + 0.5 * (sub >> 1) - y0
                    hits += inside(kind, xx * dx + xy * dy, yx * dx + yy * dy)
            if hits > 0:
                u = 64.0 + frequency * (cos * (column - x0) - sin * (row - y0))
                v = 64.0 + frequency * (sin * (column - x0) + cos * (row - y0))
                share = texture(look, u, v, salt)
                for c in range(3):
                    paint = colour[c] + share * other[c]
                    canvas[c, row, column] += 0.25 * hits * (paint - canvas[c, row, column])


@njit(cache=True)
def develop(canvas: np.ndarray, seed: int, image: int, out: np.ndarray) -> None:
    """Light the canvas from one side, add noise, and quantise it to ``out`` (uint8)."""
    slot = LAYERS * SLOTS
    slope_x = uniform(seed, image, slot, -0.012, 0.012)
    slope_y = uniform(seed, image, slot + 1, -0.012, 0.012)
    noise = uniform(seed, image, slot + 2, 0.0, 0.12) / 1024.0
    for row in range(SIZE):
        for column in range(SIZE):
            light = 1.0 + slope_x * (column - SIZE / 2) + slope_y * (row - SIZE / 2)
            bits = random_bits(seed, image, slot + 3 + row * SIZE + column)
            for c in range(3):
                # The sum of two uniform numbers of 10 bits each, about zero: a triangular law.
                one = int(np.int64(bits >> np.uint64(20 * c))) & 1023
                two = int(np.int64(bits >> np.uint64(20 * c + 10))) & 1023
                value = canvas[c, row, column] * light + noise * float(one + two - 1023)
                out[c, row, column] = int(min(max(value, 0.0), 1.0) * 255.0 + 0.5)


@njit(cache=True, nogil=True)
def draw(seed: int, first: int, out: np.ndarray) -> None:
    """Draw images ``first``, ``first + 1``, ... of a seed; image i is of class i mod 10.

    Args:
        seed: Seed of the data set, at least 0.
        first: Index of the first image.
        out: uint8, (N, 3, SIZE, SIZE); filled.
    """
    for n in range(out.shape[0]):
        image = first + n
        canvas, base = np.zeros((3, SIZE, SIZE)), np.empty(3)
        for c in range(3):
            base[c] = uniform(seed, image, SLOTS - 1 - c, 0.25, 0.75)
        for layer in range(LAYERS):
            kind = choose(seed, image, layer * SLOTS + 16, BAR + 1)
            if layer == BACKGROUND:
                kind = EVERYWHERE
            elif layer == OBJECT:
                kind = image % KINDS
            elif layer > OBJECT:
                kind = BAR
            draw_layer(canvas, seed, image, layer, kind, base)
        develop(canvas, seed, image, out[n])
