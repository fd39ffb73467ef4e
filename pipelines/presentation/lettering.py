"""Letters of 5 × 7 pixels, for what is written into small pictures; no fonts of the machine, no I/O."""

import textwrap
import unicodedata

import numpy as np

from pipelines.presentation.display import Colour, Gray

ADVANCE, LINE = 6, 9
"""Pixels from one letter, and from one line, to the next."""

_FIRST = 0x20
_COLUMNS = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0008070300 001c224100"
    "0041221c00 2a1c7f1c2a 08083e0808 0080703000 0808080808 0000606000 2010080402 3e5149453e 00427f4000"
    "7249494946 2141494d33 1814127f10 2745454539 3c4a494931 4121110907 3649494936 464949291e 0000140000"
    "0040340000 0008142241 1414141414 0041221408 0201590906 3e415d594e 7c1211127c 7f49494936 3e41414122"
    "7f4141413e 7f49494941 7f09090901 3e41415173 7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040"
    "7f021c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e 7f09192946 2649494932 03017f0103 3f4040403f"
    "1f2040201f 3f4038403f 6314081463 0304780403 6159494d43 007f414141 0204081020 004141417f 0402010204"
    "4040404040 0003070800 2054547840 7f28444438 3844444428 384444287f 3854545418 00087e0902 18a4a49c78"
    "7f08040478 00447d4000 2040403d00 7f10284400 00417f4000 7c04780478 7c08040478 3844444438 fc18242418"
    "18242418fc 7c08040408 4854545424 04043f4424 3c4040207c 1c2040201c 3c4030403c 4428102844 4c9090907c"
    "4464544c44 0008364100 0000770000 0041360800 0201020402"
)
"""The printable characters of ASCII in their order, five columns each, the lowest bit on top."""
_LETTERS = (
    np.unpackbits(np.frombuffer(_COLUMNS, np.uint8).reshape(-1, 5, 1), axis=2, bitorder="little")
    .transpose(0, 2, 1)
    .astype(np.bool_)
)
_UNKNOWN = np.pad(np.zeros((5, 3), np.bool_), 1, constant_values=True)  # a frame, 7 × 5
_SAME = str.maketrans(
    {"×": "x", "·": "-", "…": "~", "–": "-", "—": "-", "’": "'", "“": '"', "”": '"', "ß": "ss"}
)


def lettered(text: str) -> Gray:
    """Write one line; shape (9, 6 × characters), 0 or 255.

    Accents are left out; a character that ASCII has no letter for is an empty frame.
    """
    decomposed = unicodedata.normalize("NFKD", text.translate(_SAME))
    letters = [each for each in decomposed if not unicodedata.combining(each)]
    line = np.zeros((LINE, ADVANCE * len(letters)), np.uint8)
    for number, letter in enumerate(letters):
        index = ord(letter) - _FIRST
        shape = _LETTERS[index] if 0 <= index < len(_LETTERS) else _UNKNOWN
        left = ADVANCE * number
        line[: len(shape), left : left + 5][shape] = 255
    return line


def wrapped(text: str, characters: int, lines: int) -> list[str]:
    """Break a text into lines; the last one ends in `…` where there is more of it."""
    return textwrap.wrap(text, max(characters, 1), max_lines=lines, placeholder="…") if text.strip() else []


def write(
    picture: Gray, text: str, *, top: int, left: int, scale: int = 1, colour: Colour = (255,) * 3
) -> None:
    """Write one line into a colour picture, in place; what does not fit is cut off."""
    letters = np.repeat(np.repeat(lettered(text), scale, axis=0), scale, axis=1) > 0
    there = picture[max(top, 0) : top + letters.shape[0], max(left, 0) : left + letters.shape[1]]
    there[letters[: there.shape[0], : there.shape[1]]] = colour


def card(title: str, text: str, pixels: int, *, colour: Colour) -> Gray:
    """Draw a square with a title and some words, centred; shape (pixels, pixels, 3)."""
    picture = np.empty((pixels, pixels, 3), np.uint8)
    picture[...] = colour
    small = max(1, pixels // 128)
    large = max(small, min(6 * small // 2, (pixels - 8) // (ADVANCE * max(len(title), 1))))
    lines = wrapped(text, (pixels - 16) // (ADVANCE * small), (pixels // 2) // ((LINE + 2) * small))
    step = (LINE + 2) * small
    top = (pixels - LINE * large - 2 * small - step * len(lines)) // 2
    rows = [(title, large, top)]
    first = top + LINE * large + 2 * small + small * 2
    rows += [(line, small, first + step * number) for number, line in enumerate(lines)]
    for line, scale, at in rows:
        write(picture, line, top=at, left=(pixels - ADVANCE * scale * len(line)) // 2, scale=scale)
    return picture
