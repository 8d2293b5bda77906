"""The encoder is the one that was asked for, or its absence is said; the stream tells how it was made."""

import av
import numpy as np
import pytest

from engines.contract import NotApplicable
from engines.ditto.encoders import Encoder, choose, nvenc_problem, told, usable_threads
from engines.ditto.writer import Mp4Writer

PRESETS = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
without_nvenc = pytest.mark.skipif(nvenc_problem() == "", reason="NVENC works here")


def written(path, height=64, **settings):
    """A finished video of six grey frames, 96 px wide."""
    writer = Mp4Writer(path, 96, height, **settings)
    for level in range(6):
        writer.add(np.full((height, 96, 3), 40 * level, np.uint8))
    writer.finish(np.zeros(4800, np.float32))
    return writer


def test_x264_is_taken_without_trying_anything():
    assert choose("x264", "cuda") == Encoder("x264", "x264", "")


@without_nvenc
def test_nvenc_that_does_not_work_makes_the_point_not_applicable_with_the_reason_of_ffmpeg():
    level = av.logging.get_level()
    with pytest.raises(NotApplicable, match=r"^avatar.encoder=nvenc: .*\((.+)\); use avatar.encoder=x264"):
        choose("nvenc", "cuda")
    # said each time, and not only the number of the error
    assert "Operation not permitted" not in nvenc_problem() == nvenc_problem()
    assert av.logging.get_level() == level


@without_nvenc
def test_auto_falls_back_and_says_why():
    chosen = choose("auto", "cuda")
    assert (chosen.asked, chosen.name) == ("auto", "x264")
    assert chosen.why == f"auto: x264, because NVENC does not work here ({nvenc_problem()})"
    assert chosen.attest()["why"] == chosen.why


@pytest.mark.parametrize("asked", ["nvenc", "auto"])
def test_without_a_gpu_nvenc_is_not_even_tried(asked):
    try:
        assert "device=cpu" in choose(asked, "cpu").why
    except NotApplicable as error:
        assert (asked, "device=cpu" in str(error)) == ("nvenc", True)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match=r"avatar\.encoder=h265: no such encoder; use x264, nvenc or auto"):
        choose("h265", "cpu")


def test_what_auto_chose_writes_a_video_that_plays(tmp_path):
    chosen = choose("auto", "cuda")
    writer = written(tmp_path / "a.mp4", height=256, encoder=chosen)
    assert writer.ran()["encoder"] == chosen.name
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


@pytest.mark.parametrize("preset", PRESETS)
def test_the_stream_tells_the_preset_that_made_it(tmp_path, preset):
    assert written(tmp_path / "a.mp4", preset=preset).ran()["x264_preset"] == preset


@pytest.mark.parametrize("container", ["mp4", "fragmented"])
@pytest.mark.parametrize(
    ("height", "asked", "key", "used"),
    [
        (64, 4, "x264_threads_used", 1),
        (128, 2, "x264_threads", 2),
        (240, 8, "x264_threads_used", 3),
        (256, 4, "x264_threads", 4),
    ],
)
def test_x264_uses_the_threads_that_were_asked_for_or_as_many_as_the_rows_allow(
    tmp_path, container, height, asked, key, used
):
    writer = written(
        tmp_path / "a.mp4", height=height, threads=asked, preset="ultrafast", container=container
    )
    said = told((tmp_path / "a.mp4").read_bytes())
    assert int(said["threads"]) == usable_threads(height, asked) == used
    threading = {} if used == 1 else {"x264_threading": "slices"}
    expected = {"encoder": "x264", "container": container, "x264_preset": "ultrafast", key: used}
    assert writer.ran() == {**expected, **threading}


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_with_a_frame_each_are_not_bound_by_rows_and_the_stream_tells_of_them(tmp_path, threads):
    writer = written(tmp_path / "a.mp4", height=64, threads=threads, threading="frames")
    said = told((tmp_path / "a.mp4").read_bytes())
    assert (said["threads"], said["sliced_threads"]) == (str(threads), "0")
    assert writer.ran()["x264_threading"] == "frames"
    assert writer.ran()["x264_threads"] == threads


def test_a_stream_that_was_made_with_other_threads_says_so(tmp_path):
    writer = written(tmp_path / "a.mp4", height=256, threads=2)
    writer._threads = 4  # as if the setting had not reached the encoder
    assert writer.ran()["x264_threads"] == 2


def test_quality_is_upstreams_and_streaming_drops_the_frames_that_need_later_ones(tmp_path):
    written(tmp_path / "a.mp4")
    written(tmp_path / "b.mp4", container="fragmented")
    whole, streamed = (told((tmp_path / name).read_bytes()) for name in ("a.mp4", "b.mp4"))
    assert (whole["crf"], whole["bframes"], whole["mbtree"]) == ("18.0", "3", "0")
    assert (streamed["crf"], streamed["bframes"], streamed["mbtree"]) == ("18.0", "0", "0")
    assert streamed["keyint"] == "50"


def test_a_stream_of_another_encoder_tells_nothing():
    assert told(b"\0\0\0\1 some other encoder") == {}
