"""The poll after a deployment: the status that it prints is the one that W&B keeps."""

from typing import Any

import pytest

from operate import polling
from operate.errors import CannotOperate


def answers(monkeypatch: pytest.MonkeyPatch, *statuses: str) -> list[str]:
    """Let polls return these statuses, the last one for good; return what was asked."""
    left, asked = list(statuses), []

    def invoke(_: Any, output: str, __: Any) -> dict[str, Any]:
        asked.append(output)
        return {"status": left.pop(0) if len(left) > 1 else left[0], "opened": []}

    monkeypatch.setattr(polling, "invoke", invoke)
    return asked


def stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass with each pause."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def test_the_first_poll_waits_while_a_scheduled_one_registers_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    stands_still(monkeypatch)
    asked = answers(monkeypatch, "REGISTERING", "REGISTERING", "POLLING")
    assert polling.poll(None) == "POLLING"  # type: ignore[arg-type]
    assert asked == ["PollQueuesFunctionName"] * 3


def test_it_does_not_wait_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    stands_still(monkeypatch)
    answers(monkeypatch, "REGISTERING")
    with pytest.raises(CannotOperate, match="Another poll is registering"):
        polling.poll(None)  # type: ignore[arg-type]
