"""What lies in a new root for people who have never seen one: an example, a page that explains it all, the schema.

The texts are for whoever has nothing but the folder, in English and Korean, as any editor shows them: UTF-8 with its
mark and CRLF, which Notepad wants. They are given once: who has deleted or changed them has done with them.
"""

from __future__ import annotations

import json
from typing import Final

from daemon.core.batch import job_schema
from daemon.core.record import dataclass

EXAMPLE: Final = "example.yaml.txt"
HOWTO: Final = "HOWTO.txt"
SCHEMA: Final = "job.schema.json"
SCHEMA_MARK: Final = b"Written by chromadrop, and made anew when it changes."
"""By which our schema is known: no other file of its name is replaced."""
_SAMPLES: Final = {"v2": ("M000004017", "BG00006160"), "v3": ("M000045058", "BG00002320")}
"""The vendor's own (API.md)."""


@dataclass(frozen=True, slots=True)
class Names:
    """What people find, and under which names, relative to the root.

    Attributes:
        inbox: the folder.
        processing: the folder.
        done: the folder.
        failed: the folder.
        videos: the folder.
        schema: relative to inbox/.
        status_page: empty where there is none.
        models_page: empty where there is none.
    """

    inbox: str = "inbox"
    processing: str = "processing"
    done: str = "done"
    failed: str = "failed"
    videos: str = "videos"
    schema: str = f"../{SCHEMA}"
    status_page: str = "status.html"
    models_page: str = ""


@dataclass(frozen=True, slots=True)
class Guide:
    """The files.

    Attributes:
        texts: name and content of what is given to an empty root, once.
        schema: content of the JSON Schema of job files.
    """

    texts: tuple[tuple[str, bytes], ...]
    schema: bytes


def make_guide(version: str, names: Names) -> Guide:
    """The files for one version of the API.

    Raises:
        ValueError: there is no such version.
    """
    schema = {"$comment": SCHEMA_MARK.decode(), **job_schema(version)}
    texts = ((EXAMPLE, _example(version, names)), (HOWTO, _howto(names)))
    return Guide(
        tuple((name, _for_notepad(text)) for name, text in texts),
        f"{json.dumps(schema, indent=2)}\n".encode("ascii"),
    )


def _for_notepad(text: str) -> bytes:
    return ("\ufeff" + text.replace("\n", "\r\n")).encode("utf-8", "replace")


def _example(version: str, names: Names) -> str:
    model, clothes = _SAMPLES[version]
    where = f" ({names.models_page})" if names.models_page else ""
    return f"""\
# yaml-language-server: $schema={names.schema}
#
# A job file. Copy it into {names.inbox}/ under a name that ends in .yaml, such as hello.yaml, and write your own text.
# 작업 파일 예제입니다. hello.yaml처럼 .yaml로 끝나는 이름으로 {names.inbox}/에 복사하고 텍스트를 고쳐 쓰세요.

language: en            # ko, en, zh, ... / 말하는 언어
text: Hello, this is my first work.
model: {model:<16} # who says it / 모델{where}
clothes: {clothes:<14} # what the model wears / 의상{where}

# May be left out. / 아래는 없어도 됩니다.
# name: my-first-video  # the video's file name / 영상 파일 이름

# A text of several lines / 여러 줄로 된 텍스트:
#   text: |
#     The first line.
#     The second line.

# Several videos in one file: write three hyphens between the jobs.
# 한 파일로 여러 영상을 만들려면 작업 사이에 하이픈 세 개를 적으세요.
#   ---

# The first line of this file lets editors such as VS Code (with its YAML extension) complete and check what you write.
# It is right for files directly in {names.inbox}/; one folder deeper write ../ once more in it.
# 이 파일의 첫 줄 덕분에 VS Code(YAML 확장)와 같은 편집기가 자동 완성과 검사를 해 줍니다.
# {names.inbox}/ 바로 아래의 파일에 맞춘 것이며, 한 단계 아래 폴더에서는 ../를 한 번 더 적으세요.
"""


def _howto(names: Names) -> str:
    return f"{_english(names)}\n\n{_korean(names)}"


def _english(names: Names) -> str:
    inbox, failed, videos = names.inbox, names.failed, names.videos
    look = f"See {names.status_page}: what waits and why, what is being made, what failed.\n   " * bool(
        names.status_page
    )
    models = (
        f"{names.models_page} shows everybody, with buttons that copy the lines for a job file.\n   "
        if names.models_page
        else "The ids of models and clothes are in your AI Studios account.\n   "
    )
    return f"""\
HOW TO GET A VIDEO    (한국어 설명은 아래에 있습니다)

1. ORDER
   Copy {EXAMPLE} into {inbox}/ under a name that ends in .yaml, such as hello.yaml, and write your own text.
   (Windows may hide the ending .txt; hello.yaml.txt is not taken.) Subfolders of {inbox}/ are fine.
   {models}Every video that is ordered costs money.
2. WAIT
   When the file has lain still for some seconds it goes to {names.processing}/: it is ordered. Leave that folder alone.
   Minutes later the video is in {videos}/ and the job file in {names.done}/. Whatever is in {videos}/ is complete.
   {look}When as much was ordered as is allowed for one day, the rest goes tomorrow, by itself.
3. WHEN A FILE IS IN {failed}/
   The .error.txt beside it says what went wrong, whether it was paid, and what to do. Mend the job file and move it
   back into {inbox}/: videos that are there are not made or paid again.
   "Paid: unknown" means that no answer came. Look into the AI Studios account first. Only if the video is not there,
   add the line  pay_again: true  to the job and move the file back; it may then be paid twice.
4. STOP FOR A WHILE
   Make an empty file named PAUSE (no ending) in {inbox}/. Nothing new is ordered until it is removed.
5. MANY VIDEOS
   A table (.csv; in Excel "CSV UTF-8"): the first row has the names language, text, model, clothes; each row below is
   a video. What became of each row is beside the table in {names.done}/ or {failed}/, in .result.csv; if the table
   could not be read at all, .error.txt says why.
   A file _defaults.yaml in a folder of {inbox}/ gives language, model, clothes to all that is dropped there; put it
   there first, it stays. Then a plain text (.txt) in that folder is one video, and the text is what is said.
6. QUESTIONS
   Ask whoever gave you this folder; they look after chromadrop.
"""


def _korean(names: Names) -> str:
    inbox, failed, videos = names.inbox, names.failed, names.videos
    look = (
        f"{names.status_page}에서 기다리는 파일과 그 이유, 제작 중인 영상, 실패한 영상을 볼 수 있습니다.\n   "
        if names.status_page
        else ""
    )
    models = (
        f"{names.models_page}에서 모델과 의상을 보고, 버튼으로 작업 파일에 넣을 줄을 복사할 수 있습니다.\n   "
        if names.models_page
        else "모델과 의상의 ID는 AI Studios 계정에서 확인하세요.\n   "
    )
    return f"""\
영상을 만드는 방법

1. 주문
   {EXAMPLE} 파일을 hello.yaml처럼 .yaml로 끝나는 이름으로 {inbox}/에 복사하고 텍스트를 고쳐 쓰세요.
   (Windows에서는 .txt가 숨겨져 있을 수 있습니다. hello.yaml.txt는 처리되지 않습니다.) {inbox}/의 하위 폴더도 됩니다.
   {models}주문하는 영상마다 비용이 듭니다.
2. 기다리기
   파일이 몇 초 동안 바뀌지 않으면 {names.processing}/로 옮겨지고 주문됩니다. 그 폴더는 건드리지 마세요.
   몇 분 뒤 영상은 {videos}/에, 작업 파일은 {names.done}/에 있습니다. {videos}/에 있는 영상은 모두 완성된 것입니다.
   {look}하루 한도만큼 주문하면 나머지는 내일 저절로 주문됩니다.
3. 파일이 {failed}/에 있을 때
   옆의 .error.txt에 무엇이 잘못되었는지, 결제되었는지, 무엇을 해야 하는지 적혀 있습니다. 작업 파일을 고쳐서
   {inbox}/로 다시 옮기세요. 이미 만든 영상은 다시 만들거나 결제하지 않습니다.
   "Paid: unknown"은 답을 받지 못했다는 뜻입니다. 먼저 AI Studios 계정을 확인하세요. 영상이 없을 때에만 그 작업에
   pay_again: true  줄을 넣고 다시 옮기세요. 이때 두 번 결제될 수 있습니다.
4. 잠시 멈추기
   {inbox}/에 PAUSE라는 빈 파일(확장자 없음)을 만드세요. 그 파일을 지울 때까지 새로 주문하지 않습니다.
5. 여러 영상
   표(.csv, Excel에서는 "CSV UTF-8"): 첫 행에 language, text, model, clothes를 적고, 그 아래 한 행이 영상 하나입니다.
   각 행의 결과는 {names.done}/ 또는 {failed}/에 있는 표 옆의 .result.csv에 있습니다. 표를 전혀 읽을 수 없었다면
   그 이유가 .error.txt에 있습니다.
   {inbox}/의 폴더에 있는 _defaults.yaml은 그곳에 넣는 모든 작업의 language, model, clothes를 정합니다. 먼저 넣어 두면
   그대로 남습니다. 그러면 그 폴더의 텍스트 파일(.txt) 하나가 영상 하나가 되고, 그 내용을 말합니다.
6. 문의
   이 폴더를 알려 준 chromadrop 관리자에게 문의하세요.
"""
