"""A small picture of a model, drawn from the id: always the same one for the same id."""

from __future__ import annotations

import hashlib
from typing import Final

WIDTH: Final = 160
HEIGHT: Final = 200
GREEN: Final = "#00B140"

_SKIN: Final = ("#F6D7BF", "#EBC19F", "#D9A57D", "#B97F56", "#8A5A3B", "#5F3D28")
_HAIR: Final = ("#1C1713", "#3A2517", "#6B4423", "#A9773F", "#5B5B5F", "#7A2E1D")
_HAIR_ENDS_AT: Final = (78, 96, 118, 140)


def portrait(model_id: str, clothes_id: str = "") -> str:
    """The picture as SVG: the face is the model's, the coat is that of the clothes."""
    face = hashlib.sha256(model_id.encode()).digest()
    coat = hashlib.sha256(f"{model_id}/{clothes_id}".encode()).digest()
    skin, hair = _SKIN[face[0] % len(_SKIN)], _HAIR[face[1] % len(_HAIR)]
    hair_ends_at = _HAIR_ENDS_AT[face[2] % len(_HAIR_ENDS_AT)]
    hue = coat[0] * 360 // 256
    shapes = (
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{GREEN}"/>',
        f'<rect x="42" y="34" width="76" height="{hair_ends_at - 34}" rx="36" fill="{hair}"/>',
        f'<path d="M12 200c0-44 28-64 68-64s68 20 68 64z" fill="hsl({hue} 35% 38%)"/>',
        f'<path d="M64 138l16 26 16-26z" fill="hsl({hue} 30% 88%)"/>',
        f'<rect x="69" y="112" width="22" height="34" rx="10" fill="{skin}"/>',
        f'<ellipse cx="80" cy="84" rx="31" ry="38" fill="{skin}"/>',
        f'<path d="M47 78c0-26 14-40 33-40s33 14 33 40c-12-6-20-16-24-24-8 12-24 20-42 24z" fill="{hair}"/>',
        '<circle cx="68" cy="86" r="3" fill="#222"/><circle cx="92" cy="86" r="3" fill="#222"/>',
        '<path d="M70 104q10 7 20 0" fill="none" stroke="#8C3B3B" stroke-width="3" stroke-linecap="round"/>',
    )
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n' + "\n".join(shapes) + "\n</svg>\n"
