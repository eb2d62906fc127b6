"""The list of models: read tolerantly from the cloud, strictly from a person, and what jobs name that is not in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core import catalogue as module
from daemon.core.batch import Request, parse_batch
from daemon.core.catalogue import (
    Catalogue,
    Clothes,
    Model,
    catalogue_of,
    document_of,
    name_of,
    operator_catalogue,
    problems_of,
)
from daemon.core.errors import BatchInvalid

JONADAN = {
    "id": "M000045058",
    "label": {"ko": "조나단", "en": "Jonadan"},
    "thumbnail": "https://cdn.example.com/j.png?x=1",
    "clothes": [
        {
            "id": "BG00002320",
            "label": {"en": "Navy suit", "ko": "남색 정장"},
            "thumbnail": "http://cdn.example.com/c.png",
        },
        {"id": "BG00001004", "label": {"en": "White shirt"}},
    ],
}
SARA = {"id": "ysy", "label": {"en": "Sara Kim"}, "clothes": [{"id": "1"}]}
LIST = catalogue_of([JONADAN, SARA, {"id": "M000045059"}])


def problems(text: str, of: Catalogue = LIST) -> list[str]:
    """What is wrong with the models of a job file, as lines."""
    return [str(problem) for problem in problems_of(parse_batch(text.encode()).requests, of)]


def job(model: str, clothes: str) -> str:
    """A job file with one job."""
    return f"language: ko\ntext: x\nmodel: {model}\nclothes: {clothes}\n"


# --- the vendor's form ----------------------------------------------------------------------------


def test_the_documented_form_is_read() -> None:
    """``id``, ``label.{ko,en}``, ``thumbnail``, ``clothes[]`` with the same (API.md)."""
    [model] = catalogue_of([JONADAN]).models
    assert (model.id, model.labels, model.thumbnail) == (
        "M000045058", {"ko": "조나단", "en": "Jonadan"}, "https://cdn.example.com/j.png?x=1",
    )  # fmt: skip
    assert [clothes.id for clothes in model.clothes] == ["BG00002320", "BG00001004"]
    assert model.clothes[0].labels == {"en": "Navy suit", "ko": "남색 정장"}


def test_a_number_is_an_id_and_a_plain_label_is_english() -> None:
    """Other forms that the same facts may take."""
    [model] = catalogue_of([{"id": 7, "label": "Sara", "clothes": [{"id": 1}, 2, "3"]}]).models
    assert (model.id, model.labels, [each.id for each in model.clothes]) == ("7", {"en": "Sara"}, ["1", "2", "3"])


@pytest.mark.parametrize(
    "useless",
    [None, 7, "M1", [], {}, {"id": None}, {"id": ""}, {"id": " "}, {"id": True}, {"id": 1.5}, {"id": ["M1"]},
     {"id": "a\nb"}, {"id": "\ud800"}, {"id": "x" * 301}, {"id": 10**5000}, {"label": {"en": "Sara"}}],
)  # fmt: skip
def test_what_has_no_usable_id_is_left_out(useless: object) -> None:
    """And the list is known not to be whole; where nothing is left there is no catalogue."""
    assert catalogue_of([useless, {"id": "M1"}]) == Catalogue((Model("M1"),), is_whole=False)
    with pytest.raises(ValueError, match="no model"):
        catalogue_of([useless])


@pytest.mark.parametrize("wrong", [None, {}, "M1", {"models": []}, 3])
def test_what_is_no_list_is_no_catalogue(wrong: object) -> None:
    """In plain words."""
    with pytest.raises(ValueError, match="not a list"):
        catalogue_of(wrong)


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "file:///etc/passwd", "//cdn.example.com/x.png", "x.png", "https://", "https://a b/x", 7,
     None, "https://cdn.example.com/\n", "https://user:word@cdn.example.com/x.png", "https://[::1/x",
     "https://a/" + "x" * 2000],
)  # fmt: skip
def test_only_a_web_address_is_a_picture(address: object) -> None:
    """Anything else is no picture at all; it is not cut or mended."""
    [model] = catalogue_of([{"id": "M1", "thumbnail": address, "clothes": [{"id": "1", "thumbnail": address}]}]).models
    assert model.thumbnail == model.clothes[0].thumbnail == ""


def test_labels_are_texts_on_one_line_of_bounded_length() -> None:
    """Control characters and half characters have no place on a page or in a ledger; ids are never cut."""
    labels = {"en": " a\n\tb\0\x1b[2Jc\ud800 ", "ko": "", "ja": 7, "zh": "x" * 1000, 3: "y"}
    [model] = catalogue_of([{"id": "x" * 300, "label": labels}]).models
    assert model.id == "x" * 300
    assert model.labels == {"en": "a b [2Jc", "zh": "x" * 300}


def test_the_same_id_twice_is_one_model() -> None:
    """The first one's facts hold, the second one's fill the gaps."""
    again = {"id": "ysy", "label": {"en": "Other", "ko": "사라"}, "thumbnail": "https://a/b", "clothes": ["1", "2"]}
    [model] = catalogue_of([SARA, again]).models
    assert model == Model(
        "ysy", {"en": "Sara Kim", "ko": "사라"}, "https://a/b", (Clothes("1"), Clothes("2")),
    )  # fmt: skip
    [twice] = catalogue_of([{"id": "M1", "clothes": [{"id": 1}, {"id": "1", "label": "Suit"}]}]).models
    assert twice.clothes == (Clothes("1", {"en": "Suit"}),)


def test_a_list_is_bounded() -> None:
    """20,000 models, 1,000 clothes each, also when they come in two parts."""
    many = [{"id": "M0", "clothes": [*range(700)]}, {"id": "M0", "clothes": [*range(600, 1300)]}]
    found = catalogue_of([*many, *({"id": f"M{number}"} for number in range(20_100))])
    assert len(found.models) == 20_000
    assert len(found.models[0].clothes) == 1_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3),
    max_leaves=5,
)
LABELS = st.dictionaries(st.sampled_from(["en", "ko", "ja"]) | st.text(), JSON) | JSON
CLOTHES = st.fixed_dictionaries({"id": JSON}, optional={"label": LABELS, "thumbnail": JSON}) | JSON
MODELS = st.fixed_dictionaries(
    {"id": st.text() | JSON},
    optional={"label": LABELS, "thumbnail": JSON, "clothes": st.lists(CLOTHES, max_size=4) | JSON},
)


@given(st.lists(MODELS | JSON, max_size=4))
def test_any_answer_is_read_and_comes_round(models: list[Any]) -> None:
    """Whatever the cloud says: a ValueError, or a catalogue whose document makes the same one, as UTF-8 JSON too."""
    try:
        found = catalogue_of(models)
    except ValueError:
        return
    document = json.dumps(document_of(found), ensure_ascii=False).encode()
    again = catalogue_of(json.loads(document))
    assert document_of(again) == document_of(found)
    assert again.is_whole, "what was left out has left no trace"


# --- a file that an operator wrote ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "M000045058: [BG00002320, '1']\nysy: 0012\nM2:\n",
        "models:\n- {id: M000045058, clothes: [{id: BG00002320}, {id: 1}]}\n- {id: ysy, clothes: 0012}\n- {id: M2}\n",
        "- {id: M000045058, clothes: [BG00002320, 1]}\n- {id: ysy, clothes: [0012]}\n- M2\n",
        (
            '{"data": {"models": [{"id": "M000045058", "clothes": [{"id": "BG00002320"}, {"id": 1}]}, {"id": "ysy", '
            '"clothes": [{"id": "0012"}]}, {"id": "M2", "clothes": null}]}, "success": true}'
        ),
        "\ufeffmodels: {M000045058: [BG00002320, 1], ysy: [0012], M2: []}\n",
        "ysy: &a [0012]\nM000045058: [BG00002320, 1]\nM2: ~\n",
    ],
)
def test_every_form_of_a_file_is_read(text: str) -> None:
    """A list, ``models:``, the whole answer, or MODEL: [CLOTHES, ...]; every value is the text that was written."""
    found = {model.id: [each.id for each in model.clothes] for model in operator_catalogue(text.encode()).models}
    assert found == {"M000045058": ["BG00002320", "1"], "ysy": ["0012"], "M2": []}


def test_no_stays_no() -> None:
    """As in a job file, no scalar is a boolean or a number."""
    [model] = operator_catalogue(b"- {id: no, label: {en: 12:30, ko: ~}, clothes: [1e3, yes]}").models
    assert model == Model("no", {"en": "12:30"}, "", (Clothes("1e3"), Clothes("yes")))


def test_what_the_command_prints_is_a_file() -> None:
    """``models --json`` into ``jobs.models_file``."""
    printed = json.dumps({"as_of": "2026-01-01T00:00:00Z", "source": "cloud", "models": document_of(LIST)})
    assert operator_catalogue(printed.encode()) == LIST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["there is no model in this file"]),
        ("[]", ["line 1, column 1: there is no model"]),
        ("data: {models: }", ["line 1, column 1: there is no model"]),
        ("hello", ["line 1, column 1: this is a text, not a list of models"]),
        ("models: hello", ["line 1, column 9 (models): this is a text, not a list of models"]),
        ("M1: [1, [2]]", ["line 1, column 9 (M1): must be the id of clothes"]),
        ("M1: {1: Suit}", ["line 1, column 5 (M1): the clothes must be a list of ids"]),
        ("modles: [{id: M1}]", ["line 1, column 10 (modles): must be the id of clothes"]),
        ("M1: [1]\nM1: [2]", ["line 2, column 1: the key 'M1' is here twice"]),
        ("M1: [~]", ["line 1, column 6 (M1[1]): an id is missing here"]),
        ("'': [1]", ["line 1, column 1: an id is missing here"]),
        ("- {id: [1]}", ["line 1, column 8 ([1].id): an id must be one text, not a list"]),
        ("- id: M1\n  clothes: [{label: x}]", ["line 2, column 13 ([1].clothes[1]): 'id' is missing"]),
        ("- id: M1\n  cloths: [1]", ["line 2, column 3 ([1]): the key 'cloths' is not known. Did you mean 'clothes'?"]),
        ("- iid: M1", ["line 1, column 3 ([1]): the key 'iid' is not known. Did you mean 'id'?"]),
        ('- "a\\nb"', ["line 1, column 3 ([1]): 'a\\nb' is no id"]),
        ("M1: [1]\n---\nM2: [1]", ["line 3, column 1: the list of models is one document"]),
        (
            "- [M1]\n- {id: ''}",
            ["line 1, column 3 ([1]): must be an id", "line 2, column 8 ([2].id): an id is missing"],
        ),
        ("M1: [1", ["line 1, column 5: the [ that opens here is never closed"]),
        ("#" * (1 << 20) + "#", ["the list of models is too large: 1,048,577 bytes"]),
    ],
)
def test_every_problem_of_a_file_is_told_with_its_place(text: str, expected: list[str]) -> None:
    """And nothing of the file counts."""
    with pytest.raises(BatchInvalid) as error:
        operator_catalogue(text.encode())
    told = [str(problem) for problem in error.value.problems]
    assert len(told) == len(expected)
    for line, beginning in zip(told, expected, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize(
    "text",
    ["".join(f"M{number}:\n" for number in range(20_001)), "M1: [" + ",".join(map(str, range(1001))) + "]"],
)
def test_a_file_that_is_too_long_is_not_cut(text: str) -> None:
    """What lay behind the cut would be called unknown."""
    with pytest.raises(BatchInvalid, match=r"more than 20,000 models|1,001 clothes, 1,000 at most"):
        operator_catalogue(text.encode())


def test_keys_that_the_vendor_may_add_do_no_harm() -> None:
    """Only those that look misspelt are problems."""
    text = b"models: [{id: M1, gender: f, tags: [a], clothes: [{id: 1, isDefault: true}]}]"
    assert operator_catalogue(text) == Catalogue((Model("M1", clothes=(Clothes("1"),)),))


# --- what jobs ask for that is not in it ----------------------------------------------------------


@pytest.mark.parametrize(("model", "clothes"), [("M000045058", "BG00001004"), ("ysy", "1"), ("M000045059", "anything")])
def test_what_is_in_the_list_has_no_problem(model: str, clothes: str) -> None:
    """Nor have the clothes of a model for which the list names none."""
    assert problems(job(model, clothes)) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Jonadan", "'M000045058' (Jonadan)"),
        ("jonathan", "'M000045058' (Jonadan)"),
        ("조나단", "'M000045058' (Jonadan)"),
        ("\u110c\u1169\u1102\u1161\u1103\u1161\u11ab", "'M000045058' (Jonadan)"),  # as macOS decomposes it
        ("m000045058", "'M000045058' (Jonadan)"),
        ("M00004505", "'M000045058' (Jonadan) or 'M000045059'"),
        ("YSY", "'ysy' (Sara Kim)"),
        ("sara", "'ysy' (Sara Kim)"),
    ],
)
def test_a_model_that_is_not_in_the_list_is_told_with_the_nearest_ids(written: str, meant: str) -> None:
    """By spelling, and by its name in any language; ids themselves are compared exactly."""
    [line] = problems(job(written, "1"))
    assert line.startswith("line 3, column 8 (model): the model ")
    assert f"is not in the list of models. Did you mean {meant}?" in line


def test_nothing_near_is_no_hint() -> None:
    """A wrong hint could be paid for."""
    [line] = problems(job("X9", "1"))
    assert "Did you mean" not in line
    assert "look the id up" in line


def test_at_most_three_are_named() -> None:
    """In the list's order where they are alike."""
    alike = catalogue_of([{"id": f"M{number}", "label": "Sara"} for number in range(9)])
    [line] = problems(job("sara", "1"), alike)
    assert line.endswith("Did you mean 'M0' (Sara), 'M1' (Sara) or 'M2' (Sara)?")


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("navy suit", "'BG00002320' (Navy suit)"),
        ("bg00001004", "'BG00001004' (White shirt)"),
        ("남색 정장", "'BG00002320'"),
    ],
)
def test_clothes_of_another_are_told_with_what_the_model_wears(written: str, hint: str) -> None:
    """The list where it is short, and the nearest by spelling and by name."""
    [line] = problems(job("M000045058", written))
    assert line.startswith(f"line 4, column 10 (clothes): the model 'M000045058' (Jonadan) has no clothes '{written}'.")
    assert f"Did you mean {hint}" in line
    assert line.endswith("It wears 'BG00002320' (Navy suit) and 'BG00001004' (White shirt).")


def test_a_long_list_of_clothes_is_not_told() -> None:
    """More than six are looked up."""
    many = catalogue_of([{"id": "M1", "clothes": [*range(10, 17)]}])
    [line] = problems(job("M1", "x"), many)
    assert line.endswith("the model 'M1' has no clothes 'x'. Look the id up in the list of models.")


def test_every_job_is_looked_at_and_each_value_told_once() -> None:
    """At its own line; what stands behind ``defaults:`` once, although every job has it."""
    lines = problems(
        "defaults: {language: ko, text: x, model: Jon, clothes: 1}\n"
        "jobs:\n- {text: a}\n- {text: b}\n- {model: ysy, clothes: 2}\n- {model: nobody}\n- {model: M000045058}\n"
    )
    assert [line.partition(": the model")[0] for line in lines] == [
        "line 1, column 42 (jobs[1].model)",
        "line 1, column 56 (jobs[5].clothes)",
        "line 5, column 25 (jobs[3].clothes)",
        "line 6, column 11 (jobs[4].model)",
    ]


def test_requests_of_the_ledger_have_no_lines() -> None:
    """Where the file is not at hand, only the field is named."""
    [problem] = problems_of([Request({"model": "x", "clothes": "1"})] * 3, LIST)
    assert (problem.line, problem.column, problem.path) == (None, None, "model")


def test_problems_are_bounded_and_hints_are_made_for_those_that_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one says how many more there are; what was meant is looked for at the first ten only."""
    compared = []
    likeness = module._likeness

    def counted(word: str, other: str) -> float:
        compared.append(word)
        return likeness(word, other)

    monkeypatch.setattr(module, "_likeness", counted)
    large = catalogue_of([{"id": f"M{number:09}", "label": f"Person {number}"} for number in range(1000)])
    found = problems_of((Request({"model": f"N{number:09}", "clothes": "1"}) for number in range(10_000)), large)
    assert len(found) == 101
    assert found[-1].message == "... and 9,900 more"
    assert len(set(compared)) == 10
    assert len(compared) <= 100 * 200


def test_hostile_values_are_shown_harmlessly() -> None:
    """What a job file or a list says neither steers a terminal nor fills it."""
    hostile = catalogue_of([{"id": "a\u202eb", "label": "n" * 300, "clothes": ["1"]}])
    [line] = problems(job('"\\e[2J"', "1"), hostile)
    assert "\x1b" not in line
    [line] = problems(job('"a\u202eb"', '"2"'), hostile)
    assert "\u202e" not in line
    assert len(line) < 200


def test_a_name_is_english_where_there_is_one() -> None:
    """Else any."""
    assert name_of(Model("M1", {"ko": "조나단", "en": "Jonadan"})) == "Jonadan"
    assert name_of(Model("M1", {"ko": "조나단"})) == "조나단"
    assert name_of(Model("M1")) == ""
