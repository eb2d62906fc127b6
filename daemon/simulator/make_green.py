"""How ``green.mp4`` was made: a talking figure before an even chroma green, drawn here and encoded by ffmpeg.

Run by hand, with ffmpeg on the path, when the video is to be changed::

    python -m daemon.simulator.make_green daemon/simulator/green.mp4

640 x 360, 25 frames a second, 4 seconds, H.264 (yuv420p, BT.709) with a soft AAC tone, index at the front.
The green is #00B140, the usual chroma green. Neither chromadrop nor its simulator needs ffmpeg; only this script does.
"""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH: Final = 640
HEIGHT: Final = 360
FRAMES_A_SECOND: Final = 25
SECONDS: Final = 4

GREEN: Final = bytes((0x00, 0xB1, 0x40))
JACKET: Final = bytes((0x2B, 0x3A, 0x67))
SHIRT: Final = bytes((0xF4, 0xF1, 0xEA))
SKIN: Final = bytes((0xE3, 0xB5, 0x8F))
HAIR: Final = bytes((0x3B, 0x2A, 0x20))
LIPS: Final = bytes((0x9C, 0x4A, 0x48))
EYES: Final = bytes((0x2A, 0x22, 0x1E))


@dataclass(frozen=True, slots=True)
class Ellipse:
    """A filled ellipse: centre, half axes (pixels), and an RGB colour."""

    x: float
    y: float
    half_width: float
    half_height: float
    colour: bytes

    def span(self, row: int) -> tuple[int, int] | None:
        """The columns covered on a row, first included, last not; None where the row misses the ellipse."""
        height = (row + 0.5 - self.y) / self.half_height
        if abs(height) >= 1:
            return None
        reach = self.half_width * math.sqrt(1 - height * height)
        first, last = max(0, round(self.x - reach)), min(WIDTH, round(self.x + reach))
        return (first, last) if first < last else None


def figure(seconds: float) -> tuple[Ellipse, ...]:
    """Head and shoulders at a moment, from back to front: a sway, a nod, and a mouth that talks."""
    turn = 2 * math.pi * seconds / SECONDS
    x = WIDTH / 2 + 7 * math.sin(turn)
    head_x, head_y = x + 4 * math.sin(turn), 142 + 3 * math.sin(2 * turn)
    mouth = 2 + 5 * abs(math.sin(9 * turn))
    return (
        Ellipse(x, 362, 150, 128, JACKET),
        Ellipse(x, 262, 32, 62, SHIRT),
        Ellipse(x, 218, 22, 40, SKIN),
        Ellipse(head_x, head_y - 14, 60, 72, HAIR),
        Ellipse(head_x, head_y + 6, 50, 62, SKIN),
        Ellipse(head_x - 18, head_y - 4, 5, 4, EYES),
        Ellipse(head_x + 18, head_y - 4, 5, 4, EYES),
        Ellipse(head_x, head_y + 38, 13, mouth, LIPS),
    )


def frame(shapes: Sequence[Ellipse]) -> bytes:
    """One picture as raw RGB, 8 bits a channel."""
    rows = []
    for number in range(HEIGHT):
        row = bytearray(GREEN * WIDTH)
        for shape in shapes:
            span = shape.span(number)
            if span is not None:
                row[span[0] * 3 : span[1] * 3] = shape.colour * (span[1] - span[0])
        rows.append(bytes(row))
    return b"".join(rows)


def frames() -> Iterator[bytes]:
    """All pictures in order."""
    for number in range(SECONDS * FRAMES_A_SECOND):
        yield frame(figure(number / FRAMES_A_SECOND))


def ffmpeg_command(target: Path) -> list[str]:
    """Raw pictures on standard input, one whole MP4 at the end."""
    picture = f"-f rawvideo -pixel_format rgb24 -video_size {WIDTH}x{HEIGHT} -framerate {FRAMES_A_SECOND} -i -"
    sound = f"sine=frequency=196:sample_rate=44100:duration={SECONDS},tremolo=f=4.5:d=0.9,volume=0.3"
    colour = "-color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv"
    encode = "-c:v libx264 -preset veryslow -crf 23 -pix_fmt yuv420p -c:a aac -b:a 48k -ac 1 -shortest"
    return [
        *("ffmpeg", "-hide_banner", "-loglevel", "error", "-y"),
        *picture.split(),
        *("-f", "lavfi", "-i", sound),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv"),
        *colour.split(),
        *encode.split(),
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"),
        *("-movflags", "+faststart", str(target)),
    ]


def main(arguments: Sequence[str]) -> int:
    """Make the video at the one path given."""
    target = Path(arguments[0])
    done = subprocess.run(ffmpeg_command(target), input=b"".join(frames()), check=False)  # noqa: S603 - our own words
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
