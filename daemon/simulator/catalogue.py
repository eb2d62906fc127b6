"""The models and clothes that this cloud has: the documented samples, and some that were made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Clothes:
    """What a model wears: its id, and its names in Korean and English."""

    id: str
    ko: str
    en: str


@dataclass(frozen=True, slots=True)
class Model:
    """Somebody who speaks: the id, the names in Korean and English, and what there is to wear."""

    id: str
    ko: str
    en: str
    clothes: tuple[Clothes, ...]


MODELS: Final = (
    Model("M000045058", "하나", "Hana", (Clothes("BG00002320", "남색 정장", "Navy suit"),)),
    Model(
        "M000004017",
        "도윤",
        "Doyun",
        (Clothes("BG00006160", "회색 정장", "Grey suit"), Clothes("BG00001004", "흰 셔츠", "White shirt")),
    ),
    Model("ysy", "서연", "Seoyeon", (Clothes("1", "기본", "Standard"),)),
    Model(
        "M000012001",
        "아멜리아",
        "Amelia",
        (
            Clothes("BG00007101", "검은 정장", "Black suit"),
            Clothes("BG00007102", "베이지 니트", "Beige knit"),
            Clothes("BG00007103", "파란 셔츠", "Blue shirt"),
            Clothes("BG00007104", "의사 가운", "Doctor's coat"),
        ),
    ),
    Model(
        "M000012002",
        "마르코",
        "Marco",
        (Clothes("BG00007201", "남색 정장", "Navy suit"), Clothes("BG00007202", "폴로 셔츠", "Polo shirt")),
    ),
    Model("M000012003", "웨이", "Wei", (Clothes("BG00007301", "치파오", "Qipao"),)),
    Model(
        "M000012004",
        "아미나",
        "Amina",
        (
            Clothes("BG00007401", "초록 블라우스", "Green-grey blouse"),
            Clothes("BG00007402", "한복", "Hanbok"),
            Clothes("BG00007403", "회색 정장", "Grey suit"),
        ),
    ),
    Model(
        "M000012005",
        "요나스",
        "Jonas",
        (Clothes("BG00007501", "작업복", "Overalls"), Clothes("BG00007502", "터틀넥", "Turtleneck")),
    ),
)


def find(model_id: str, clothes_id: str = "") -> tuple[Model, Clothes | None] | None:
    """The model, and the clothes if any are named; None where there is no such thing."""
    model = next((model for model in MODELS if model.id == model_id), None)
    if model is None or not clothes_id:
        return None if model is None else (model, None)
    clothes = next((clothes for clothes in model.clothes if clothes.id == clothes_id), None)
    return None if clothes is None else (model, clothes)


def problem_of(fields: Mapping[str, Any]) -> str | None:
    """What of an export's model and clothes is not there, None where both are."""
    model, clothes = str(fields["model"]), str(fields["clothes"])
    if find(model) is None:
        return f"there is no model {model}"
    return None if find(model, clothes) else f"model {model} has no clothes {clothes}"


def told(thumbnail: Callable[[str], str]) -> list[dict[str, Any]]:
    """The list as ``GET /model`` has it.

    Args:
        thumbnail: makes the address of a picture of its name, ``MODEL`` or ``MODEL/CLOTHES``.
    """
    return [
        _told(model, thumbnail(model.id))
        | {"clothes": [_told(clothes, thumbnail(f"{model.id}/{clothes.id}")) for clothes in model.clothes]}
        for model in MODELS
    ]


def _told(one: Model | Clothes, thumbnail: str) -> dict[str, Any]:
    return {"id": one.id, "label": {"ko": one.ko, "en": one.en}, "thumbnail": thumbnail}
