"""The search for what makes a point fail: on made-up failures by the hundred, on real ones, and in words."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import bisect_words, simpler, supervisor
from harness.bisect import Answer, Ending, OutOfTime, Reduction, Verdict, search, verdict
from harness.point import Point
from harness.result import Outcome, PointResult
from tests.harness.points import SIMULATED, point

FEATURES = "abcdefg"
Oracle = Callable[[Collection[str]], Outcome]


def made(features: Iterable[str]) -> Point:
    """A point that is nothing but its features."""
    bare = point()
    return replace(bare, executor={**bare.executor, "features": sorted(features)})


def features(variant: Point) -> frozenset[str]:
    return frozenset(variant.executor["features"])


def without(feature: str) -> Reduction:
    return Reduction(
        f"without {feature}",
        lambda variant: f"<{feature}>",
        lambda variant: made(features(variant) - {feature}),
    )


REDUCTIONS = [without(feature) for feature in FEATURES]


def result(variant: Point, outcome: Outcome = Outcome.HUNG, **changes: Any) -> PointResult:
    place = {"phase": "load", "component": "avatar"} if outcome is Outcome.HUNG else {}
    given: dict[str, Any] = {"reason": "" if outcome is Outcome.OK else "as told", **place, **changes}
    return PointResult(variant.id, 0, outcome, asdict(variant), "2026-11-27T00:00:00+00:00", 1.5, **given)


def found(oracle: Oracle, tries: int = 1, measured: list[Point] | None = None) -> Answer:
    """The search with a point of all features, whose variants end as the oracle says."""

    def measure(variant: Point) -> PointResult:
        if measured is not None:
            measured.append(variant)
        return result(variant, oracle(features(variant)))

    whole = made(FEATURES)
    return search(whole, result(whole), REDUCTIONS, measure, tries)


def hung_where(*causes: Collection[str]) -> Oracle:
    """Hangs as long as all features of one of the causes are there."""

    def oracle(there: Collection[str]) -> Outcome:
        return Outcome.HUNG if any(set(cause) <= set(there) for cause in causes) else Outcome.OK

    return oracle


@pytest.mark.parametrize("some", range(20))
def test_what_is_left_is_a_cause_and_no_part_of_it_is_one(some: int) -> None:
    for seed in range(10 * some, 10 * some + 10):
        finds_a_least_cause(random.Random(seed))


def finds_a_least_cause(draw: random.Random) -> None:
    causes = [frozenset(draw.sample(FEATURES, draw.randint(0, 5))) for _ in range(draw.randint(1, 4))]
    least = {cause for cause in causes if not any(other < cause for other in causes)}
    measured: list[Point] = []
    answer = found(hung_where(*causes), measured=measured)
    assert answer.ending is Ending.FOUND
    assert features(answer.smallest) in least
    assert bisect_words.needs(answer) == [f"<{each}>" for each in sorted(features(answer.smallest))]
    assert sorted(answer.gone) == [f"<{each}>" for each in FEATURES if each not in features(answer.smallest)]
    assert max(Counter(each.id for each in measured).values()) == 1
    assert len(answer.trials) == len(measured)


@pytest.mark.parametrize("seed", range(50))
def test_no_single_reduction_of_the_answer_fails_the_same_way_whatever_the_failure(seed: int) -> None:
    """Failures that come and go with features in any way at all."""
    outcomes: dict[frozenset[str], Outcome] = {frozenset(FEATURES): Outcome.HUNG}
    draw = random.Random(seed)
    for size in range(len(FEATURES)):
        for some in itertools.combinations(FEATURES, size):
            outcomes[frozenset(some)] = draw.choice(
                [Outcome.HUNG, Outcome.FAILED, Outcome.OK, Outcome.SKIPPED]
            )
    answer = found(lambda there: outcomes[frozenset(there)])
    left = features(answer.smallest)
    assert outcomes[left] is Outcome.HUNG
    around = {each.change: outcomes[left - {each.feature[1]}] for each in answer.neighbours}
    assert around.keys() == {f"without {each}" for each in left}
    assert Outcome.HUNG not in around.values()
    passing = [name for name, outcome in around.items() if outcome is Outcome.OK]
    nearest = bisect_words.nearest(answer)
    assert (nearest.change if nearest else None) == next(iter(passing), None)


def test_what_cannot_go_at_first_is_tried_again_when_other_things_are_gone() -> None:
    def oracle(there: Collection[str]) -> Outcome:
        return Outcome.FAILED if "a" not in there and "g" in there else hung_where("b")(there)

    answer = found(oracle)
    assert features(answer.smallest) == {"b"}
    assert answer.gone == ("<c>", "<d>", "<e>", "<f>", "<g>", "<a>")


def test_a_failure_of_another_kind_is_told_and_not_followed() -> None:
    answer = found(lambda there: hung_where("a")(there) if "c" in there else Outcome.FAILED)
    assert features(answer.smallest) == {"a", "c"}
    assert bisect_words.needs(answer) == ["<a>"]
    assert [each.change for each in answer.with_verdict(Verdict.OTHERWISE)] == ["without c"]
    told = "not known of <c>: with without c it fails otherwise (failed, as told)"
    assert told in bisect_words.sentences(answer)


def flaky(oracle: Oracle, every: int) -> Oracle:
    """What fails does so at every n-th measurement alone."""
    seen: Counter[frozenset[str]] = Counter()

    def sometimes(there: Collection[str]) -> Outcome:
        seen[frozenset(there)] += 1
        return Outcome.OK if seen[frozenset(there)] % every else oracle(there)

    return sometimes


def test_a_flaky_failure_is_found_with_enough_tries_and_a_variant_passes_by_all_of_them() -> None:
    answer = found(flaky(hung_where("bf"), 3), tries=3)
    assert features(answer.smallest) == {"b", "f"}
    assert {(trial.verdict, len(trial.results)) for trial in answer.trials} == {
        (Verdict.SAME, 3), (Verdict.PASSES, 3), (Verdict.PASSES, answer.enough)
    }  # fmt: skip
    assert answer.enough > 10  # (1 - 1 / 3) ** 10 is 2 %, for one of two
    assert bisect_words.sentences(answer)[1:4] == [
        "fails again the same way: in 1 of 3 tries",
        "minimal failing set: <b>, <f>",
        "it does not fail every time (6 of 18 measurements of failing points); what passed in 17 tries may "
        "still be without need: more bisect.tries tells with more certainty",
    ]


def now_and_then(chance: float, seed: int, cause: str = "") -> Oracle:
    draw = random.Random(seed)
    return lambda there: hung_where(cause)(there) if draw.random() < chance else Outcome.OK


@pytest.mark.parametrize("some", range(5))
def test_a_failure_that_comes_now_and_then_is_seldom_said_to_need_what_it_does_not(some: int) -> None:
    answers = [found(now_and_then(0.3, seed), tries=2) for seed in range(40 * some, 40 * some + 40)]
    needs = [bisect_words.needs(each) for each in answers if each.ending is Ending.FOUND]
    assert len(needs) > 10
    assert sum(map(bool, needs)) <= 0.2 * len(needs)  # by two tries alone 68 % of all


def test_what_a_failure_needs_that_comes_now_and_then_is_found_all_the_same() -> None:
    answers = [found(now_and_then(0.5, seed, "bf"), tries=2) for seed in range(20)]
    smallest = [features(each.smallest) for each in answers if each.ending is Ending.FOUND]
    assert len(smallest) > 10
    assert smallest == [{"b", "f"}] * len(smallest)


def test_a_point_that_failed_at_once_each_time_is_looked_at_again_before_anything_is_needed() -> None:
    seen: Counter[frozenset[str]] = Counter()

    def oracle(there: Collection[str]) -> Outcome:
        """It fails at the first measurement alone, without f at the third, and without b it passes."""
        seen[frozenset(there)] += 1
        fails = seen[frozenset(there)] == (1 if "f" in there else 3)
        return Outcome.HUNG if fails and "b" in there else Outcome.OK

    answer = found(oracle, tries=2)
    assert bisect_words.needs(answer) == ["<b>"]
    assert answer.gone[-1] == "<f>"


def test_a_failure_that_comes_each_time_costs_no_more_than_the_tries_asked_for() -> None:
    measured: list[Point] = []
    answer = found(hung_where("bf"), tries=2, measured=measured)
    counts = Counter(each.id for each in measured)
    twice = {trial.point.id for trial in answer.trials if trial.verdict is Verdict.PASSES}
    assert counts == {
        trial.point.id: 2 if trial.point.id in {*twice, answer.smallest.id} else 1 for trial in answer.trials
    }
    assert not [line for line in bisect_words.sentences(answer) if "every time" in line]


def test_when_the_time_is_over_before_all_has_passed_often_enough_the_answer_says_what_to_give() -> None:
    oracle, measured = flaky(hung_where("bf"), 3), 0

    def measure(variant: Point) -> PointResult:
        nonlocal measured
        measured += 1
        if measured > 40:
            raise OutOfTime
        return result(variant, oracle(features(variant)))

    whole = made(FEATURES)
    answer = search(whole, result(whole), REDUCTIONS, measure, 3)
    assert answer.ending is Ending.FOUND
    assert bisect_words.sentences(answer)[3].endswith(
        "what passed in 3 tries may still be without need: more bisect.budget_min tells with more certainty"
    )


def test_a_point_that_does_not_fail_again_is_told_so_and_nothing_else_is_measured() -> None:
    measured: list[Point] = []
    answer = found(flaky(hung_where("bf"), 3), tries=2, measured=measured)
    assert answer.ending is Ending.NOT_AGAIN
    assert [features(variant) for variant in measured] == [frozenset(FEATURES)] * 2
    assert bisect_words.sentences(answer)[1:] == [
        "it did not fail again the same way: in 0 of 2 tries (ok); a rare failure needs more bisect.tries"
    ]


MIXED = [
    ((Outcome.CRASHED, Outcome.OK), Verdict.OTHERWISE, "crashed", 2),
    ((Outcome.OK, Outcome.CRASHED), Verdict.OTHERWISE, "crashed", 2),
    ((Outcome.SKIPPED, Outcome.OK), Verdict.UNKNOWN, "skipped", 1),  # it is known that it cannot be told
    ((Outcome.OK, Outcome.SKIPPED), Verdict.UNKNOWN, "skipped", 2),
    ((Outcome.CRASHED, Outcome.SKIPPED), Verdict.UNKNOWN, "skipped", 2),
]


@pytest.mark.parametrize(("outcomes", "wanted", "word", "tries"), MIXED)
def test_of_a_variant_that_ends_now_so_and_now_so_the_words_are_of_what_decided(
    outcomes: tuple[Outcome, ...], wanted: Verdict, word: str, tries: int
) -> None:
    left = defaultdict[Collection[str], Iterator[Outcome]](lambda: iter(outcomes))
    answer = found(lambda there: Outcome.HUNG if "a" in there else next(left[there]), tries=2)
    [trial] = [each for each in answer.trials if not features(each.point)]
    assert (trial.verdict, len(trial.results)) == (wanted, tries)
    assert f"not known of <a>: with without a it {wanted} ({word}, as told)" in bisect_words.sentences(answer)
    [row] = [row for row in bisect_words.table(answer) if row[4] == trial.point.id]
    assert row[:4] == ("without a", str(wanted), f"{word}, as told", str(tries))


def test_a_variant_that_failed_alike_after_all_has_the_outcome_of_that_in_the_table() -> None:
    def oracle(there: Collection[str]) -> Outcome:
        seen[frozenset(there)] += 1
        return Outcome.HUNG if seen[frozenset(there)] == 2 else Outcome.CRASHED

    seen: Counter[frozenset[str]] = Counter()
    assert {row[1:4] for row in bisect_words.table(found(oracle, tries=2))} == {
        ("fails the same way", "hung", "2")
    }


def parts(*given: tuple[str, str, str]) -> list[Reduction]:
    """Of (name, feature, letters that it takes away) each."""

    def less(gone: str, variant: Point) -> Point:
        return made(features(variant) - {*gone})

    def words(feature: str, variant: Point) -> str:
        return feature

    return [Reduction(name, partial(words, feature), partial(less, gone)) for name, feature, gone in given]


def answer_to(reductions: list[Reduction], otherwise: str = "") -> Answer:
    """Of a point that hangs when it is whole, fails in another way without one letter alone, else passes."""
    whole = made("abc")

    def measure(variant: Point) -> PointResult:
        lost = features(whole) - features(variant)
        lesser = Outcome.CRASHED if lost == set(otherwise) else Outcome.OK
        return result(variant, lesser if lost else Outcome.HUNG)

    return search(whole, result(whole), reductions, measure, 1)


def test_what_is_not_known_is_told_beside_a_need_that_has_it_as_a_part() -> None:
    both = "avatar.batch=4 and avatar.x264_preset=fast"
    reductions = parts(
        ("avatar with nothing optimised", both, "ab"),
        ("avatar.batch=1", "avatar.batch=4", "a"),
        ("avatar.x264_preset=medium", "avatar.x264_preset=fast", "b"),
    )
    answer = answer_to(reductions, otherwise="b")
    assert bisect_words.needs(answer) == ["avatar.batch=4"]
    unclear = "with avatar.x264_preset=medium it fails otherwise (crashed, as told)"
    assert f"not known of avatar.x264_preset=fast: {unclear}" in bisect_words.sentences(answer)
    assert bisect_words.needs(answer_to(reductions[::2], otherwise="b")) == [both]
    told = bisect_words.sentences(answer_to(reductions[::2], otherwise="b"))
    assert f"not known of avatar.x264_preset=fast: {unclear}" in told


def test_a_need_is_dropped_for_its_parts_and_for_no_word_of_another() -> None:
    answer = answer_to(
        parts(
            ("executor=sequential", "threads with 2 workers", "ab"),
            ("executor=processes", "threads", "a"),
            ("executor.cpu_threads=1", "2 CPU threads", "c"),
        )
    )
    assert bisect_words.needs(answer) == ["threads", "2 CPU threads"]


def test_when_the_time_is_over_the_answer_is_what_was_found_so_far() -> None:
    measured: list[Point] = []

    def measure(variant: Point) -> PointResult:
        if len(measured) == 4:
            raise OutOfTime
        measured.append(variant)
        return result(variant, hung_where("b")(features(variant)))

    whole = made(FEATURES)
    answer = search(whole, result(whole), REDUCTIONS, measure, 1)
    assert answer.ending is Ending.OUT_OF_TIME
    assert features(answer.smallest) == {"b", "d", "e", "f", "g"}  # itself, a, b and c were measured
    lines = bisect_words.sentences(answer)
    assert lines[2] == "not needed: <a>, <c>"
    assert lines[-2:] == [
        "passed so far: without b",
        "the budget ended before: without b, without d, without e, without f, without g; "
        "the same command goes on from here",
    ]
    assert not [line for line in lines if "minimal failing set" in line]


def test_the_same_death_is_the_same_where_nobody_knows_its_thread() -> None:
    def crash(stage: str, cause: str, besides: str = "") -> PointResult:
        words = f"stage avatar.{stage} of job 0: the measured process was killed by {cause}{besides}"
        return result(made(FEATURES), Outcome.CRASHED, reason=words, stage=stage)

    failed = crash("warp", "SIGKILL", "; also open: stage tts.speak of job 1")
    assert verdict(crash("speak", "SIGKILL"), failed) is Verdict.SAME
    assert verdict(failed, crash("speak", "SIGKILL")) is Verdict.SAME
    assert verdict(crash("speak", "SIGSEGV"), failed) is Verdict.OTHERWISE
    assert verdict(crash("speak", "SIGSEGV"), crash("warp", "SIGSEGV")) is Verdict.OTHERWISE
    assert verdict(result(made(FEATURES), reason=failed.reason), failed) is Verdict.OTHERWISE


def test_the_same_hang_at_another_place_is_known_by_its_signature() -> None:
    failed = result(point(), evidence={"signature": "5f2a"})
    elsewhere = result(point(), phase="warm_up", evidence={"signature": "5f2a"})
    assert verdict(elsewhere, failed) is Verdict.SAME
    assert verdict(replace(elsewhere, evidence={"signature": "77"}), failed) is Verdict.OTHERWISE
    unsigned = replace(failed, evidence={})
    assert verdict(replace(elsewhere, evidence={}), unsigned) is Verdict.OTHERWISE


BASE = result(point(), Outcome.FAILED, phase="stage", component="avatar", stage="warp", worker=0, job=3)
ELSEWHERE: dict[str, Any] = {
    "outcome": Outcome.CRASHED, "phase": "await", "component": "tts", "stage": "render",
}  # fmt: skip


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_differs_in_outcome_or_place_alone_fails_otherwise(what: str) -> None:
    other = replace(BASE, **{what: ELSEWHERE[what]})
    assert verdict(other, BASE) is Verdict.OTHERWISE
    assert verdict(BASE, other) is Verdict.OTHERWISE
    assert verdict(replace(BASE, worker=1, job=0, reason="another"), BASE) is Verdict.SAME


SEEN_BY: list[dict[str, Any]] = [
    {"compared": "differs from the sequential reference"},
    {"quality": {"state": "below"}},
    {"evidence": {"mismatches": ["avatar runs on cpu"]}},
    {},  # a wrong file
]


@pytest.mark.parametrize("pair", [*itertools.combinations(range(len(SEEN_BY)), 2)], ids=str)
def test_what_is_found_wrong_by_something_else_fails_otherwise(pair: tuple[int, int]) -> None:
    one, other = (replace(BASE, outcome=Outcome.INVALID, **SEEN_BY[each]) for each in pair)
    assert verdict(one, other) is verdict(other, one) is Verdict.OTHERWISE
    assert verdict(one, one) is verdict(other, other) is Verdict.SAME


def test_an_output_that_nobody_compared_is_no_pass_of_one_that_differed() -> None:
    failed = result(point(), Outcome.INVALID, compared="differs from the sequential reference")
    ok = partial(result, point(), Outcome.OK)
    assert verdict(ok(compared="not compared: no reference"), failed) is Verdict.UNKNOWN
    assert verdict(ok(compared="is the reference"), failed) is Verdict.PASSES
    below = result(point(), Outcome.INVALID, quality={"state": "below"})
    assert verdict(ok(quality={"state": "not checked"}), below) is Verdict.UNKNOWN
    assert verdict(ok(quality={"state": "holds"}), below) is Verdict.PASSES
    assert verdict(failed, below) is Verdict.OTHERWISE


def test_a_reason_cannot_add_markup_or_columns_to_the_page() -> None:
    whole = made("ab")
    reason = "<script>\n| [x](javascript:y) | `"
    failed = result(whole, Outcome.FAILED, reason=reason)
    other = result(whole, Outcome.CRASHED, reason=reason)
    answer = search(whole, failed, REDUCTIONS, lambda variant: other, 1)
    page = bisect_words.markdown(answer)
    assert "<script>" not in page
    assert "&lt;script&gt;\\\\n\\| \\[x\\]" in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {len(bisect_words.HEAD) + 1}


def test_a_real_failure_of_the_second_worker_needs_two_workers_and_no_recogniser(
    tmp_path: Path, token: str
) -> None:
    asr = {"_target_": SIMULATED, "role": "asr", "load_s": 0.0, "warm_up_s": 0.0, "stages": {}}
    fault = {"kind": "raise", "component": "avatar", "phase": "load", "worker": 1}
    broken = point("threads", 2, asr=asr, fault=fault)

    def measure(variant: Point) -> PointResult:
        return supervisor.measure(variant, tmp_path / variant.id, token).result

    reductions = [
        Reduction("asr=none", lambda variant: "asr", simpler.without_asr),
        Reduction("executor.workers=1", lambda variant: "2 workers", partial(simpler.fewer_workers, count=1)),
    ]
    answer = search(broken, measure(broken), reductions, measure, 1)
    assert bisect_words.needs(answer) == ["2 workers"]
    assert answer.gone == ("asr",)
    alone = replace(broken, asr={}, executor={**broken.executor, "workers": 1})
    assert bisect_words.sentences(answer) == [
        f"{broken.id} repeat 0: failed, load of avatar on worker 1: RuntimeError: "
        "raised on purpose by fault.kind=raise",
        "planted: fault.kind=raise fault.component=avatar fault.phase=load fault.worker=1",
        "fails again the same way: in 1 of 1 try",
        "minimal failing set: 2 workers",
        "not needed: asr",
        f"first passing neighbour: the same with executor.workers=1 ({alone.id})",
        f"smallest point that fails: {replace(broken, asr={}).id}, threads x 2, 4 jobs, Simulated as tts, "
        "Simulated as avatar",
    ]  # fmt: skip
