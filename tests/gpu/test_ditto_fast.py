"""Ditto's fast settings on a GPU: the same frames, and nobody waits for the device too early."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from engines.contract import Job  # noqa: E402
from engines.ditto.batches import ranges  # noqa: E402
from engines.ditto.pipeline import Ditto  # noqa: E402
from engines.ditto.rendering import PutBackStage  # noqa: E402
from tests.engines.ditto.test_ditto import run, sound  # noqa: E402

# torch's compiler uses parts of torch that warn of their age
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
FAST = yaml.safe_load((ROOT / "conf" / "avatar" / "ditto_fast.yaml").read_text())
FAST = {key: value for key, value in FAST.items() if key != "defaults"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def job(tmp_path):
    portrait = str(ROOT / "media" / "portrait.png")
    return Job(0, "", "en", "", portrait, 360, 480, str(tmp_path / "out.mp4"), 7, None)


def built(cache, size, **keys):
    component = Ditto(device="cuda", size=size, steps=10, cache=cache, **keys)
    component.load()
    component.build()
    return component


def frames(given):
    return np.stack([piece.data for piece in given["putback"]]).astype(float)


def psnr_db(found, expected):
    return 10 * np.log10(255**2 / max(np.square(found - expected).mean(), 1e-10))


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_fast_settings_draw_the_frames_of_the_plain_ones(cache, job, size):
    expected = frames(run(built(cache, size), job, sound(0.68)))
    fast = built(cache, size, **FAST)
    found = frames(run(fast, job, sound(0.68)))
    assert len(found) == 17  # four batches, and one frame
    assert psnr_db(found, expected) > 45
    told = fast.attest()
    asked = {key: value for key, value in FAST.items() if not isinstance(value, dict)}
    assert {key: told["ran"][key] for key in asked} == asked, told["stages"]
    for key in FAST.keys() - asked.keys():
        assert {stage: told["ran"][key][stage] for stage in FAST[key]} == FAST[key], told["stages"]


@pytest.mark.parametrize(
    "keys",
    [
        {"putback": "gpu", "batch": 3, "in_flight": 2},
        {"putback": "cpu", "batch": 3, "in_flight": 2},
        {"backend": "cudagraph", "putback": "gpu", "batch": 4, "in_flight": 3},
    ],
)
def test_batches_and_flights_draw_the_frames_of_one_at_a_time(cache, job, keys):
    expected = frames(run(built(cache, "tiny"), job, sound(0.68)))
    found = frames(run(built(cache, "tiny", **keys), job, sound(0.68)))
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("backend", ["eager", "cudagraph"])
def test_nothing_between_motion_and_frames_waits_for_the_device(cache, job, backend):
    component = built(cache, "tiny", backend=backend, putback="gpu", batch=2)
    given = run(component, job, sound(0.4))
    [motion] = given["motion"]
    *_, stitch, warp, decode, put_back, _ = component.stages(job)
    assert isinstance(put_back, PutBackStage)
    list(component.stages(job)[0].feed(sound(0.2)[0]))
    torch.cuda.synchronize()
    with warnings.catch_warnings():  # it is a prototype, says torch
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        launched = [
            put_back._launched(crop.data)
            for points in stitch.feed(motion)
            for warped in warp.feed(points)
            for crop in decode.feed(warped)
        ]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    shown = [frame for batch in launched for landed in batch for frame in landed.frames()]
    assert len(launched) == len(list(ranges(0, 10, 2)))
    np.testing.assert_array_equal(np.stack(shown), frames(given))
