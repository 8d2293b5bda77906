"""The adapter for upstream's checkout: what it hands over, what it refuses, how it hears and names things."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from engines import contract
from engines.contract import Job, NotApplicable, Piece
from engines.ditto_upstream import check as ditto_upstream_check
from engines.ditto_upstream.job import Part, Sound
from engines.ditto_upstream.pipeline import DittoUpstream
from harness import settings
from tests.engines.ditto_upstream.checkout import avatar, write_checkout
from tests.engines.ditto_upstream.ffmpeg import ensure_ffmpeg
from tests.harness.conf import composed
from tests.harness.points import ROOT

RATE = 24_000


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkouts of several tests have modules of the same name."""
    for name in ("stream_pipeline_offline", "stream_pipeline_online"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{ensure_ffmpeg(tmp_path)}{os.pathsep}{os.environ['PATH']}")
    return write_checkout(tmp_path / "checkout")


def made(root: Path, **keys: Any) -> DittoUpstream:
    given = avatar(root, **keys)
    del given["_target_"]
    return DittoUpstream(**given)


def job(folder: Path, **changes: Any) -> Job:
    given: dict[str, Any] = {
        "index": 0, "text": "", "language": "en", "voice": "", "width": 90, "height": 120, "seed": 0,
        "portrait": str(ROOT / "media/portrait.png"), "output": str(folder / "out.mp4"), "num_tokens": None,
    }  # fmt: skip
    return Job(**given | changes)


def through(component: DittoUpstream, job: Job, seconds: float) -> Piece:
    """The last piece of a job that hears silence."""
    silence = np.zeros(round(seconds * RATE), np.float32)
    flow: Iterator[Piece] = iter([Piece("audio", silence, len(silence), RATE)])
    for stage in component.stages(job):
        flow = _driven(stage, flow)
    return list(flow)[-1]


def _driven(stage: contract.Stage, pieces: Iterator[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        yield from stage.feed(piece)
    yield from stage.flush()


def test_it_is_what_the_contract_calls_self_timed_and_inspectable(root: Path) -> None:
    component = made(root)
    assert isinstance(component, contract.SelfTimed)
    assert isinstance(component, contract.Inspectable)
    assert component.state() == {"at": "idle"}


def test_options_that_are_null_are_left_to_the_configuration_and_others_override_it(
    root: Path, tmp_path: Path
) -> None:
    component = made(root, steps=25, overlap=None, emo=3, more={"relative_d": False})
    component.load()
    last = through(component, job(tmp_path), 0.4)
    assert (last.kind, last.data["frames"], last.data["audio_s"]) == ("video", 10, pytest.approx(0.4))
    sdk = component.sdk
    assert (sdk.sampling_timesteps, sdk.overlap_v2, sdk.emo, sdk.relative_d) == (25, 10, 3, False)
    assert sdk.given_Nd["N_d"] == 10
    assert sdk.online_mode is False


def test_every_model_is_put_on_the_device_that_was_asked_for(root: Path) -> None:
    component = made(root, device="cpu")
    component.load()
    assert component.sdk.devices == {"decoder_cfg": "cpu"}  # the file says cuda


def test_a_warm_up_goes_through_everything_and_leaves_no_video_behind(root: Path, tmp_path: Path) -> None:
    component = made(root, warm_up=True)
    component.load()
    component.warm_up(job(tmp_path))
    assert component.sdk.motion_stitch._calls == 10
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize("overlap", [40, 60, 65, 70, 79])
def test_an_online_warm_up_draws_frames_although_the_first_window_gives_none(
    root: Path, tmp_path: Path, overlap: int
) -> None:
    component = made(root, mode="online", overlap=overlap, warm_up=True)
    component.load()
    component.warm_up(job(tmp_path))
    assert component.sdk.writer._calls > 0


def test_a_clip_of_which_upstream_makes_no_frame_is_an_error(root: Path, tmp_path: Path) -> None:
    component = made(root, mode="online", overlap=40)
    component.load()
    with pytest.raises(RuntimeError, match=r"upstream made no frame of 0\.80 s of sound"):
        through(component, job(tmp_path), 0.8)  # 25 rows and 40 of silence: no window of 80


def test_online_a_fade_in_reaches_upstream_and_the_unknown_end_does_not(root: Path, tmp_path: Path) -> None:
    component = made(root, mode="online", overlap=70, fade_in=12)
    component.load()
    through(component, job(tmp_path), 1.0)
    assert component.sdk.given_Nd == {"N_d": -1, "fade_in": 12, "fade_out": -1}


def test_an_overlap_that_loses_the_first_frames_online_is_refused_also_where_the_file_says_it(
    root: Path,
) -> None:
    with pytest.raises(
        ValueError, match=r"avatar\.overlap=null: 10 frames are in force.*use avatar\.overlap=70"
    ):
        made(root, mode="online").load()


def test_the_process_is_attested_with_its_threads_and_whether_tf32_is_on(root: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    component = made(root)
    component.load()
    through(component, job(tmp_path), 0.2)
    before = torch.backends.cudnn.allow_tf32
    try:
        for value in (True, False):
            torch.backends.cudnn.allow_tf32 = value
            assert component.attest()["tf32"] is value
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert component.attest()["cpu_threads"] == torch.get_num_threads()


def test_a_component_makes_one_job_after_the_other(root: Path, tmp_path: Path) -> None:
    component = made(root)
    component.load()
    for index, seconds in enumerate((0.2, 0.36)):
        last = through(component, job(tmp_path, index=index), seconds)
        assert last.data["frames"] == seconds * 25
    assert component.attest()["frames"] == {"made": 14, "written": 14}
    assert component.state()["threads_alive"] == []


def test_without_ffmpeg_it_is_not_applicable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(NotApplicable, match="install ffmpeg"):
        made(root).load()


def test_a_configuration_that_is_something_else_is_refused(root: Path) -> None:
    (root / "checkpoints" / "cfg.pkl").write_bytes(b"\x80\x04}\x94.")  # an empty dictionary
    with pytest.raises(ValueError, match=r"avatar\.cfg_pkl=.*not a configuration of Ditto"):
        made(root).load()


@pytest.mark.parametrize(("rate", "length"), [(24_000, 24_001), (22_050, 33_333), (16_000, 9_999)])
def test_sound_in_pieces_is_resampled_as_a_whole_file_would_be(rate: int, length: int) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, length).astype(np.float32)
    sound, heard = Sound(), []
    for at in range(0, length, 5_000):
        part = noise[at : at + 5_000]
        heard.append(sound.add(Piece("audio", part, len(part), rate)))
    whole = np.concatenate([*heard, sound.end()])
    int16 = np.round(noise * 32767).astype(np.int16).astype(np.float32) / 32768
    reference = int16 if rate == 16_000 else soxr.resample(int16, rate, 16_000, "HQ")
    assert len(whole) == -(-length * 16_000 // rate)
    count = min(len(whole), len(reference))
    assert np.abs(whole[:count] - reference[:count]).max() < 1e-6


def test_the_rate_of_the_speech_must_stay() -> None:
    sound = Sound()
    sound.add(Piece("audio", np.zeros(10, np.float32), 10, 24_000))
    with pytest.raises(ValueError, match="changes from 24000 to 16000"):
        sound.add(Piece("audio", np.zeros(10, np.float32), 10, 16_000))


def test_a_part_passes_on_what_is_read_from_it_and_set_on_it() -> None:
    class Inner:
        d0 = 1

        def __call__(self, x: int) -> int:
            return x + self.d0

    inner = Inner()
    part = Part(inner, lambda call, x: 10 * call(x))
    assert (part(1), part.d0) == (20, 1)
    part.d0 = 5
    assert (inner.d0, part(1)) == (5, 60)


def checked(root: Path | None, **keys: Any) -> str:
    """What the check says before anything is loaded; "" for nothing."""
    given = avatar(Path(), **keys) | {"root": root and str(root)}
    data = {"avatar": {"python": None, **given}, "tts": {"_target_": "engines.xtts.pipeline.Xtts"}}
    try:
        ditto_upstream_check.check(data)
    except ValueError as error:
        return str(error)
    return ""


def test_a_checkout_that_is_complete_passes_the_check(root: Path) -> None:
    assert checked(root) == ""


def test_what_is_missing_is_said_in_one_line_before_anything_is_loaded(root: Path, tmp_path: Path) -> None:
    assert checked(root / "checkpoints").endswith(
        "has no stream_pipeline_offline.py; give the folder of a ditto-talkinghead checkout"
    )
    assert checked(root, cfg_pkl="none.pkl").startswith("avatar.cfg_pkl=none.pkl: not found in ")
    assert checked(root, data_root="none").startswith("avatar.data_root=none: no such folder in ")
    assert checked(None).endswith("use avatar.root=/path/to/ditto-talkinghead")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("relative_d", "avatar.more=relative_d: null or a mapping is wanted; use"),
        ({"overlap_v2": 70}, "avatar.more.overlap_v2=70: has a key of its own; use avatar.overlap"),
        ({"online_mode": True}, "avatar.more.online_mode=True: has a key of its own; use avatar.mode"),
        ({"drive_eyes": 1}, "avatar.more.drive_eyes: stream_pipeline_offline.py reads no such argument; "
                            "use drive_eye"),
        ({"zzz": 1}, "avatar.more.zzz: stream_pipeline_offline.py reads no such argument; "
                     "choose from drive_eye, relative_d"),
    ],
)  # fmt: skip
def test_further_arguments_must_be_ones_that_the_checkout_reads(root: Path, more: Any, words: str) -> None:
    assert checked(root, more={"relative_d": False, "drive_eye": True}) == ""
    assert checked(root, more=more).startswith(words)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["avatar.overlap=39"], "avatar.mode=online, avatar.overlap=39: frames at the start would be lost"),
        (["avatar.fade_out=5"], "avatar.mode=online, avatar.fade_out=5: the end of a stream is not known"),
        (["avatar.overlap=40", "avatar.fade_in=5"], ""),
        (["avatar.mode=offline", "avatar.overlap=10", "avatar.fade_out=5"], ""),
    ],
)
def test_what_the_online_mode_cannot_do_is_not_applicable(root: Path, keys: list[str], words: str) -> None:
    files = [
        f"avatar.root={root}",
        "avatar.cfg_pkl=checkpoints/cfg.pkl",
        "avatar.data_root=checkpoints/models",
    ]
    planned = settings.read(
        composed("tts=canned", "avatar=ditto_upstream", "avatar.mode=online", *files, *keys)
    )
    assert planned.not_applicable.startswith(words)
    assert bool(planned.not_applicable) == bool(words)


def test_emotions_and_spans_are_checked_as_for_the_own_ditto(root: Path) -> None:
    assert checked(root, emo=[3, 4], fix_kp_cond_dim=[0, 202]) == ""
    assert checked(root, emo=8).startswith("avatar.emo=8: 0 to 7")
    assert checked(root, emo=True).startswith("avatar.emo=True: 0 to 7")
    assert checked(root, fix_kp_cond_dim=[202, 0]).startswith("avatar.fix_kp_cond_dim=[202, 0]: null or")


def test_an_interpreter_that_cannot_run_it_is_refused(root: Path, tmp_path: Path) -> None:
    old, bare = tmp_path / "old", tmp_path / "bare"
    old.write_text("#!/bin/sh\necho 3 9\n")
    bare.write_text("#!/bin/sh\necho 3 12 TTS\n")
    for program in (old, bare):
        program.chmod(0o755)
    assert checked(root, python=str(old)).endswith(
        "is Python 3.9, 3.10 or newer is needed; give another interpreter"
    )
    assert "has no package TTS; TTS and avatar share it: use tts=canned" in checked(root, python=str(bare))
    assert "does not answer as a Python interpreter" in checked(root, python="/bin/false")
