"""What the reports advise: something for each class of hang and each other end."""

from __future__ import annotations

import re

import pytest

from harness.diagnosis import Diagnosis
from harness.result import Outcome
from reports.remedies import remedy

KINDS = re.findall(
    r"\w+", str(Diagnosis.__doc__).partition("kind: ")[2].partition(".")[0].replace(" or ", " ")
)


def test_every_class_of_hang_has_something_to_do_of_its_own() -> None:
    assert {"spinning", "deadlock", "unknown"} <= set(KINDS)
    said = {kind: remedy(Outcome.HUNG, kind, "limits.stage") for kind in KINDS}
    assert len(set(said.values())) == len(KINDS) == 14
    assert remedy(Outcome.HUNG, "", "") not in said.values()
    assert "raise limits.stage or limits.moving" in said["moving"]


@pytest.mark.parametrize("outcome", [kind for kind in Outcome if kind not in (Outcome.OK, Outcome.SKIPPED)])
def test_every_other_end_has_something_to_do_too(outcome: Outcome) -> None:
    said = remedy(outcome, "", "")
    assert len(said) > 30
    assert "{" not in said


def test_a_timeout_is_told_of_its_limit_and_not_of_the_class_it_ended_in() -> None:
    said = remedy(Outcome.TIMEOUT, "queue", "limits.job")
    assert "raise limits.job, or find in its stages what takes so long" in said
