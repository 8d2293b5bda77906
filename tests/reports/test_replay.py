"""The nightly rule on made nights, with faults of the host: it is silent, and finds a step at once."""

from __future__ import annotations

import pytest

from tests.reports.replay import HOSTS, false_alarms, found_by


@pytest.mark.slow
@pytest.mark.parametrize(("host", "most"), [("gpu", 0.1), ("cpu", 0.2)])
def test_faults_of_the_host_are_no_alarms(host: str, most: float) -> None:
    alarms, sessions = false_alarms(20261126, HOSTS[host], faulty=True, series=40)
    assert alarms <= most
    assert sessions <= 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "step", "nights", "least"),
    [("gpu", 0.05, 0, 0.95), ("gpu", 0.03, 1, 0.80), ("cpu", 0.10, 1, 0.88)],
)
def test_a_step_is_an_alarm_within_a_night(host: str, step: float, nights: int, least: float) -> None:
    shares = found_by(20261126, HOSTS[host], step, faulty=True, series=40)
    assert shares[nights] >= least
