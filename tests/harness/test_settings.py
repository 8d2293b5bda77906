"""Settings: every kind of rule, and each complaint is one line with the setting, its value and a remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import gpu, settings
from harness.settings import SettingError
from tests.harness.conf import composed, planned
from tests.harness.points import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the voice and the portrait of conf/workload are relative


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("device=gpu", "device=gpu: choose from cpu, cuda"),
        ("size=huge", "size=huge: choose from tiny, full"),
        ("timing=never", "timing=never: choose from events, sync"),
        ("force=no", "force=no: choose from true, false"),
        ("repeats=0", "repeats=0: must be at least 1"),
        ("repeats=1.5", "repeats=1.5: must be a whole number"),
        ("repeats=true", "repeats=True: must be a whole number"),
        ("seed=-1", "seed=-1: must be at least 0"),
        ("price_usd_per_h=-1", "price_usd_per_h=-1: must be at least 0"),
        ("price_usd_per_h=free", "price_usd_per_h=free: must be a number"),
        ("price_usd_per_h=nan", "price_usd_per_h=nan: must be a finite number"),
        ("limits.load=inf", "limits.load=inf: must be a finite number"),
        ("limits.load=soon", "limits.load=soon: must be a number"),
        ("limits.mark=soon", "limits.mark=soon: must be a number"),
        ("limits.load=0", "limits.load=0: must be at least 0.05"),
        ("executor.workers=0", "executor.workers=0: must be at least 1"),
        ("executor.workers=65", "executor.workers=65: must be at most 64"),
        ("executor.workers=1.5", "executor.workers=1.5: must be a whole number"),
        ("executor.workers=null", "executor.workers=null: must be a whole number"),
        ("executor.cpu_threads=0.5", "executor.cpu_threads=0.5: must be a whole number"),
        ("workload.jobs=8.5", "workload.jobs=8.5: must be a whole number"),
        ("workload.seed=0.5", "workload.seed=0.5: must be a whole number"),
        ("workload.texts=[]", "workload.texts=[]: must not be empty"),
        ("workload.texts=[' ']", "workload.texts=[' ']: text 0 must not be empty; give at least one word"),
        ("workload.texts=[a,7]", "workload.texts=['a', 7]: text 1 is no text; put it in quotes"),
        ("workload.language=English", "workload.language=English: does not have the right form; like en, "),
        ("workload.language=[en,5]", "workload.language=['en', 5]: 5 does not have the right form"),
        ("workload.language=[en,es]", "workload.language=[en,es]: 2 languages for 3 texts; give one for all"),
        ("workload.seconds=[]", "workload.seconds=[]: must not be empty"),
        ("workload.seconds=4.2", "workload.seconds=4.2: must be a list, like [1,2]"),
        ("workload.seconds=[2,0]", "workload.seconds=[2, 0]: 0 must be at least 0.04"),
        ("workload.seconds=[2,soon]", "workload.seconds=[2, 'soon']: soon must be a number"),
        ("workload.texts=hello", "workload.texts=hello: must be a list, like [one,two]"),
        ("workload.texts=5", "workload.texts=5: must be a list, like [one,two]"),
        ("workload.resolution=512", "workload.resolution=512: does not have the right form; WIDTHxHEIGHT"),
        ("workload.resolution=8193x100", "workload.resolution=8193x100: 8193 must be at most 8192; WIDTHx"),
        ("workload.resolution=99999x99999", "workload.resolution=99999x99999: 99999 must be at most 8192"),
        ("workload.resolution=100x9", "workload.resolution=100x9: 9 must be at least 10"),
        ("workload.seed={a:b}", "workload.seed={'a': 'b'}: must be a whole number"),
        ("workload.voice={a:b}", "workload.voice={'a': 'b'}: not found; give the path of something"),
        ("workload.voice='a\nb'", "workload.voice=a\\nb: not found; give the path of something"),
        ("workload.language=['a\nb']", "workload.language=['a\\nb']: a\\nb does not have the right form"),
        ("fault.kind={a:b}", "fault.kind={'a': 'b'}: choose from none, hang"),
        ("limits.stages=5", "limits.stages=5: holds keys; give one of them, as limits.stages.KEY=VALUE"),
        ("avatar.stages=null", "avatar.stages=null: holds keys; give one of them, as avatar.stages.KEY="),
        ("workload.voice=nothing.wav", "workload.voice=nothing.wav: not found; give the path of something"),
        ("workload.portrait=5", "workload.portrait=5: not found"),
        ("workload.jobs=3", "workload.jobs=3: executor.workers=1 needs at least 4, 4 each"),
        ("name=../elsewhere", "name=../elsewhere: a folder name of letters, digits"),
        ("name='two words'", "name=two words: a folder name of letters, digits"),
        ("name=''", "name=: a folder name of letters, digits"),
        (f"name={'a' * 101}", "name=aaa"),
        ("fault.kind=fire", "fault.kind=fire: choose from none, hang, sleep, "),
        ("fault.worker=first", "fault.worker=first: must be a whole number"),
        ("fault.job=-1", "fault.job=-1: must be at least 0"),
        ("fault.phase=sleep", "fault.phase=sleep: choose from import, load, build, warm_up, attest, "),
        ("+limits.stages.avatar.motion=soon", "limits.stages.avatar.motion=soon: must be a number"),
        ("+limits.stages.avatar.moton=5", "limits.stages.avatar.moton: there is no such stage; choose "),
        ("+limits.stages.actor.motion=5", "limits.stages.actor.motion: there is no such stage; choose "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_one_line(override: str, words: str) -> None:
    with pytest.raises(SettingError) as caught:
        planned(override)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["fault.component=null"], "fault.component=null: choose one that is loaded: tts, avatar"),
        (["fault.component=asr"], "fault.component=asr: choose one that is loaded: tts, avatar"),
        (
            ["fault.component=avatar", "fault.stage=warp"],
            "fault.stage=warp: choose from motion, render, write",
        ),
        (["fault.component=avatar", "fault.job=4"], "fault.job=4: strikes nowhere"),
        (
            ["fault.component=asr", "asr=simulated"],
            "^fault.component=asr: has no stages; use fault.phase=load$",
        ),
    ],
)
def test_a_fault_that_could_strike_nowhere_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        settings.check_sweep([planned("fault.kind=hang", *overrides)])


@pytest.mark.parametrize("override", ["fault.stage=motion", "fault.job=1"])
def test_a_fault_before_the_jobs_has_no_stage_and_no_job(override: str) -> None:
    with pytest.raises(SettingError) as caught:
        planned("fault.kind=raise", "fault.component=avatar", "fault.phase=load", override)
    assert str(caught.value) == (
        f"{override}: fault.phase=load has neither stages nor jobs; leave it out or use fault.phase=stage"
    )


@pytest.mark.parametrize(
    "override", ["fault.component=null", "fault.component=tts", "fault.phase=load", "fault.stage=motion"]
)
def test_only_what_an_avatar_gives_can_be_wrong(override: str) -> None:
    planned("fault=wrong", "fault.component=avatar", "fault.job=1")
    with pytest.raises(SettingError) as caught:
        planned("fault=wrong", "fault.component=avatar", override)
    assert str(caught.value) == (
        f"{override}: fault.kind=wrong spoils a video; "
        "use fault.component=avatar fault.phase=stage fault.stage=null"
    )


def test_a_fault_that_strikes_nowhere_is_refused_beside_a_point_without_one() -> None:
    nowhere = planned("fault.kind=hang", "fault.component=avatar", "fault.worker=9")
    with pytest.raises(SettingError, match="strikes nowhere"):
        settings.check_sweep([planned(), nowhere])
    settings.check_sweep([planned(), planned("fault.kind=hang", "fault.component=avatar"), nowhere])


def test_a_fault_of_cuda_cannot_strike_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "handles", list)
    without = planned("fault.kind=cuda_oom", "fault.component=avatar")
    assert without.not_applicable == "fault.kind=cuda_oom: no NVIDIA GPU and driver found here; use another"
    with pytest.raises(SettingError, match="no NVIDIA GPU"):
        settings.check_sweep([without])


def test_a_video_larger_than_the_avatar_allows_is_a_wrong_setting() -> None:
    with pytest.raises(
        SettingError, match=r"^workload\.resolution=90x1922: larger than avatar\.max_size=1920"
    ):
        planned("avatar=ditto", "size=tiny", "workload.resolution=90x1922")


def test_a_trace_that_ends_before_the_jobs_is_a_wrong_setting(tmp_path: Path) -> None:
    file = tmp_path / "trace.txt"
    file.write_text("0\n1\n2\n3\n4\n")
    traffic = ("traffic=trace", f"traffic.file={file}")
    assert planned(*traffic).point.num_jobs == 4
    assert planned(*traffic, "workload.jobs=6", "traffic.until_s=9").point.num_jobs == 6
    with pytest.raises(SettingError, match=r"5 of the 6 arrivals; use a longer one, workload\.jobs=5 or "):
        planned(*traffic, "workload.jobs=6")
    with pytest.raises(SettingError, match="has 5 of the 8 arrivals"):
        planned(*traffic, "executor=threads", "executor.workers=2")  # four jobs for each of them


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(SettingError) as caught:
        planned(f"workload.voice={'a' * 300}")
    assert len(str(caught.value)) < 160


def test_what_is_right_becomes_a_point() -> None:
    plan = planned("executor=threads", "executor.workers=3", "name=mine", "repeats=2", "workload.texts=[a,b]")
    assert (plan.point.workers, plan.point.num_jobs, plan.run.name) == (3, 12, "mine")
    assert plan.point.workload["texts"] == ["a", "b"]
    assert plan.not_applicable == ""
    assert not any("rules" in group or "impossible" in group for group in vars(plan.point).values() if group)


def test_a_limit_of_a_single_stage_has_a_dotted_key() -> None:
    assert planned("+limits.stages.avatar.motion=9").point.limits["stages"] == {"avatar.motion": 9}


def test_neither_limits_nor_repeats_nor_price_are_part_of_what_a_point_is() -> None:
    ids = {
        planned(*overrides).point.id
        for overrides in (
            [],
            ["limits.load=9"],
            ["repeats=3"],
            ["price_usd_per_h=2"],
            ["name=other"],
            ["force=true"],
        )
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    "override", ["avatar.load_s=0.06", "workload.seed=1", "executor.cpu_threads=2", "timing=sync"]
)
def test_all_that_decides_the_numbers_is_part_of_what_a_point_is(override: str) -> None:
    assert planned(override).point.id != planned().point.id


def test_a_combination_that_cannot_be_is_planned_as_skipped_with_a_remedy() -> None:
    assert planned("executor.workers=2").not_applicable == (
        "executor.workers=2: executor=sequential has one worker; "
        "use executor=threads, processes, queue or pipelined"
    )


def test_a_sweep_of_nothing_that_can_run_is_a_wrong_setting() -> None:
    plan = planned("executor.workers=2")
    settings.check_sweep([plan, planned()])
    with pytest.raises(SettingError, match="executor=sequential has one worker"):
        settings.check_sweep([plan, plan])


def test_a_fault_on_a_worker_that_no_point_has_is_a_wrong_setting() -> None:
    one = planned("fault.kind=hang", "fault.component=avatar", "fault.worker=1")
    two = replace(one, point=replace(one.point, executor={"name": "threads", "workers": 2}))
    settings.check_sweep([one, two])
    with pytest.raises(SettingError, match=r"fault\.worker=1, fault\.job=null: strikes nowhere; workers"):
        settings.check_sweep([one])


def test_a_fault_on_one_worker_of_a_component_that_all_share_is_a_wrong_setting() -> None:
    shared = planned("executor=threads", "fault.kind=hang", "fault.component=tts", "fault.worker=0")
    with pytest.raises(SettingError, match=r"a shared component is -1"):
        settings.check_sweep([shared])
    settings.check_sweep(
        [planned("executor=threads", "fault.kind=hang", "fault.component=tts", "fault.worker=-1")]
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("avatar.weights={here}", "has no models/appearance_extractor.pth"),
        ("tts.weights={here}", "has no config.json"),
        ("workload.voice={here}", "is not a file"),
        ("workload.voice={here}/face.png", "not readable audio; give a WAV or FLAC file"),
    ],
)
def test_a_path_without_what_belongs_to_it_is_a_wrong_setting(
    override: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "face.png").touch()
    with pytest.raises(SettingError, match=words):
        settings.read(composed(override.format(here=tmp_path)))


@pytest.mark.parametrize("key", ["avatar.stepz", "tts.new", "nonsense", "hydra.run.dir"])
def test_a_new_key_is_refused(key: str) -> None:
    with pytest.raises(SettingError, match=rf"\+{key}: only \+sweep=NAME and "):
        settings.check_added(["sweep", key])


@pytest.mark.parametrize("key", ["avatar", "tts", "workload", "limits", "workload.rules", "hydra.sweep"])
def test_nothing_can_be_taken_away(key: str) -> None:
    with pytest.raises(SettingError, match=rf"^~{key}: nothing can be taken away; leave it out, or give "):
        settings.check_removed([key])


@pytest.mark.parametrize("key", ["rules", "workload.rules", "tts.rules.mode.choices", "avatar.check"])
def test_what_conf_checks_is_no_setting(key: str) -> None:
    with pytest.raises(SettingError, match=rf"^{key}: what conf/ checks is no setting"):
        settings.check_given({key: [None]})


def test_a_group_takes_one_option_at_a_time() -> None:
    settings.check_given({"tts": ["xtts", "canned"], "workload.texts": [["a", "b"]], "seed": [1]})
    with pytest.raises(SettingError, match=r"^tts=\[xtts,canned\]: takes one .*; use tts=xtts,canned$"):
        settings.check_given({"tts": ["xtts", ["xtts", "canned"]]})
    with pytest.raises(SettingError, match=r"^avatar=\[\]: takes one .*; use avatar=OPTION$"):
        settings.check_given({"avatar": [[]]})


def test_cuda_without_a_gpu_is_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "handles", lambda: ())
    with pytest.raises(
        SettingError, match=r"tts.device=cuda: no NVIDIA GPU and driver found here; use device=cpu"
    ):
        planned("tts=xtts", "tts.device=cuda")


def test_a_rule_about_a_key_that_is_not_there_is_told() -> None:
    with pytest.raises(
        SettingError, match=r"tts\.rules\.speed: there is no such key; mend the rule in conf/"
    ):
        planned("+tts.rules.speed.min=1")


def test_every_text_and_every_length_of_a_workload_has_its_turn() -> None:
    assert planned("workload.texts=[a,b]").point.num_jobs == 4
    assert planned("workload.texts=[a,b,c,d,e]").point.num_jobs == 5
    assert planned("tts=canned", "workload.seconds=[1,2,3,4,5,6]").point.num_jobs == 6
    assert planned("tts=canned", "tts.seconds=[1,2,3,4,5,6]").point.num_jobs == 6


def test_lengths_count_for_nothing_with_a_tts_that_speaks_the_texts() -> None:
    spoken = planned("workload.seconds=[1,2,3,4,5,6]").point
    assert (spoken.id, spoken.num_jobs) == (planned().point.id, 4)
    assert planned("workload=replay").point.workload.keys() == spoken.workload.keys()
    played = planned("tts=canned", "workload.seconds=[1,2,3,4,5,6]").point
    assert played.id != planned("tts=canned", "workload.jobs=6").point.id
    assert played.tts["seconds"] == [1, 2, 3, 4, 5, 6]


def test_what_a_check_returns_is_why_the_point_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness import inputs

    monkeypatch.setattr(inputs, "check", lambda data: f"no {data['workload']['language']} here")
    assert planned().not_applicable == "no en here"
