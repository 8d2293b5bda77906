"""What the reports advise: something for each class of hang and each other end."""

from __future__ import annotations

import re

import pytest

from harness.causes import Diagnosis
from harness.result import Outcome
from reports.remedies import of_crash, remedy
from reports.text import clip

KINDS = re.findall(
    r"\w+", str(Diagnosis.__doc__).partition("kind: ")[2].partition(".")[0].replace(" or ", " ")
)


def test_every_class_of_hang_has_something_to_do_of_its_own() -> None:
    assert {"spinning", "deadlock", "unknown"} <= set(KINDS)
    said = {kind: remedy(Outcome.HUNG, kind, "limits.stage") for kind in KINDS}
    assert len(set(said.values())) == len(KINDS) == 14
    assert remedy(Outcome.HUNG, "", "") not in said.values()
    assert "raise limits.stage or limits.moving" in said["moving"]


OTHERS = [kind for kind in Outcome if kind not in (Outcome.OK, Outcome.SKIPPED, Outcome.CRASHED)]


@pytest.mark.parametrize("outcome", OTHERS)
def test_every_other_end_has_something_to_do_too(outcome: Outcome) -> None:
    said = remedy(outcome, "", "")
    assert len(said) > 30
    assert "{" not in said


def test_a_timeout_that_hangs_is_told_what_to_do_about_the_hang_before_its_limit_is_raised() -> None:
    said = remedy(Outcome.TIMEOUT, "event", "limits.job")
    assert said.startswith("Find who should have set the event")
    assert said.endswith(
        "If nothing is stuck there, raise limits.job, or find in its stages what takes so long."
    )


@pytest.mark.parametrize("kind", ["", "unknown", "spinning", "moving", "of another version"])
def test_a_timeout_that_was_at_work_is_told_of_its_limit_alone(kind: str) -> None:
    said = remedy(Outcome.TIMEOUT, kind, "limits.job")
    assert said.startswith("Raise limits.job, or find in its stages what takes so long.")


@pytest.mark.parametrize("kind", KINDS)
def test_no_timeout_is_said_to_have_got_on_and_all_that_is_said_fits_the_card(kind: str) -> None:
    said = remedy(Outcome.TIMEOUT, kind, "limits.stages.avatar.putback")
    assert "got on" not in said
    assert clip(said) == said


def test_a_crash_is_told_to_read_what_is_there() -> None:
    assert of_crash("SIGSEGV", True, True).startswith("Read the stack below")
    assert of_crash("SIGSEGV", False, True).startswith("Read the end of child.log below.")
    nothing = of_crash("SIGKILL", False, False)
    assert "Read" not in nothing
    assert nothing.startswith("It left no stack and nothing in child.log.")


def test_a_crash_is_told_where_its_signal_or_its_exit_code_comes_from() -> None:
    for death in ("SIGSEGV", "SIGTRAP", "SIGSYS"):
        assert f"{death} comes from native code" in of_crash(death, False, False)
    assert "SIGKILL comes from outside: dmesg says" in of_crash("SIGKILL", False, False)
    for death in ("SIGTERM", "SIGPIPE", "SIGALRM", "signal 40"):
        said = of_crash(death, False, False)
        assert said.endswith(f"{death} was sent by the process itself or another one.")
    assert "SIGXCPU comes from the limit on CPU time (ulimit -a)" in of_crash("SIGXCPU", False, False)
    code = of_crash("exit code 7", False, False)
    assert "os._exit or sys.exit in native or third-party code" in code
    assert "SIG" not in code
    unknown = of_crash("", False, False)
    assert "SIGSEGV and SIGABRT come from native code, SIGKILL comes from outside: dmesg says" in unknown
