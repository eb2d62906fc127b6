"""What people are told of a job that failed: whether it was paid, and what to do. error.txt and status.html use it."""

from __future__ import annotations

from typing import Final

from daemon.core.drop_name import is_table, is_text
from daemon.core.job import Failure, Paid

PAID: Final = {
    Paid.NO: "no",
    Paid.YES: "yes",
    Paid.UNKNOWN: "unknown (the cloud was asked and gave no answer that can be understood)",
}
PAID_KOREAN: Final = {
    Paid.NO: "아니요",
    Paid.YES: "예",
    Paid.UNKNOWN: "알 수 없음 (클라우드에 요청했지만 알아볼 수 있는 답을 받지 못했습니다)",
}

ADOPTED: Final = "the order was never answered; this project was found in the account and is taken for it"
ADOPTED_KOREAN: Final = "주문에 대한 답은 없었지만, 계정에서 찾은 이 프로젝트를 그 주문의 것으로 봅니다"

MEND: Final = (
    "mend the file and move it back into inbox/.",
    "No video of a file is ordered unless every job in it is valid.",
)
MEND_KOREAN: Final = "파일을 고쳐서 inbox/로 다시 옮기세요. 파일의 모든 작업이 올바를 때에만 영상을 주문합니다."


def _word(name: str) -> str:
    """How a person says in this kind of job file that a job may be paid again."""
    if is_table(name):
        return "see that its row has  true  in the column  pay_again"
    return "see that the job has the line  pay_again: true"


def _word_korean(name: str) -> str:
    if is_table(name):
        return "그 행의 pay_again 열에 true가 있게 하고"
    return "그 작업에 pay_again: true 줄이 있게 하고"


def what_to_do(failure: Failure | None, name: str) -> tuple[str, ...]:
    """What to do about a failed job; one line each.

    Args:
        failure: why it failed.
        name: the job file's path relative to failed/, fit to be read.
    """
    again = f"move {name} from failed/ back into inbox/"
    if is_text(name) and failure in {Failure.IN_DOUBT, Failure.REFUSED_AFTER}:
        return _about_text(failure, name, again)
    if failure is Failure.IN_DOUBT:
        return (
            "look into the AI Studios account whether this video was made and paid.",
            "chromadrop never asks for it again by itself. To order it again, and perhaps pay twice,",
            f"{_word(name)}, and {again}",
            f"(or say: chromadrop retry --pay-again {name}).",
        )
    if failure is Failure.GAVE_UP:
        return (f"{again}; it goes on waiting for the same render and pays nothing.",)
    if failure is Failure.REFUSED_AFTER:
        return (
            f"{again}; it asks for the same render again and pays nothing.",
            f"If the render is lost for good, {_word(name)}, to order it anew.",
        )
    return (f"change what the cloud refused, and {again}.",)


def _about_text(failure: Failure | None, name: str, again: str) -> tuple[str, ...]:
    """A text has no place for a person's word; a command takes it."""
    command = f"chromadrop retry --pay-again {name}"
    if failure is Failure.IN_DOUBT:
        return (
            "look into the AI Studios account whether this video was made and paid.",
            "chromadrop never asks for it again by itself. To order it again, and perhaps pay twice, say:",
            command,
        )
    return (
        f"{again}; it asks for the same render again and pays nothing.",
        f"If the render is lost for good, say  {command}  to order it anew.",
    )


def what_to_do_korean(failure: Failure | None, name: str) -> str:
    """The same in Korean."""
    again = f"{name} 파일을 failed/에서 inbox/로 다시 옮기세요"
    if is_text(name) and failure is Failure.IN_DOUBT:
        return (
            "이 영상이 만들어지고 결제되었는지 AI Studios 계정에서 확인하세요. "
            "chromadrop은 스스로 다시 주문하지 않습니다. "
            f"두 번 결제될 수 있음을 알고 다시 주문하려면: chromadrop retry --pay-again {name}"
        )
    if is_text(name) and failure is Failure.REFUSED_AFTER:
        return (
            f"{again}. 같은 렌더링을 다시 요청하며, 추가로 결제하지 않습니다. "
            f"렌더링이 완전히 사라졌다면 새로 주문할 수 있습니다: chromadrop retry --pay-again {name}"
        )
    if failure is Failure.IN_DOUBT:
        return (
            "이 영상이 만들어지고 결제되었는지 AI Studios 계정에서 확인하세요. "
            "chromadrop은 스스로 다시 주문하지 않습니다. "
            f"두 번 결제될 수 있음을 알고 다시 주문하려면 {_word_korean(name)} {again} "
            f"(또는 chromadrop retry --pay-again {name})."
        )
    if failure is Failure.GAVE_UP:
        return f"{again}. 같은 렌더링을 계속 기다리며, 추가로 결제하지 않습니다."
    if failure is Failure.REFUSED_AFTER:
        return (
            f"{again}. 같은 렌더링을 다시 요청하며, 추가로 결제하지 않습니다. "
            f"렌더링이 완전히 사라졌다면 {_word_korean(name)} 새로 주문하세요."
        )
    return f"클라우드가 거절한 내용을 고치고, {again}."
