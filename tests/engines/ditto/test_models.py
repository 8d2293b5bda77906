"""The pipeline's networks: eager ones are the plain modules, batches and backends change no picture."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engines.contract import Job, NotApplicable
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep
from engines.ditto.pipeline import Ditto
from engines.ditto.weights import random_weights
from tests.engines.ditto.test_ditto import run, sound

PORTRAIT = Path(__file__).parents[3] / "media" / "portrait.png"


@pytest.fixture(scope="module", autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    output = tmp_path_factory.mktemp("video") / "out.mp4"
    return Job(0, "", "en", "", str(PORTRAIT), 90, 120, str(output), 7, None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def built(cache, **keys):
    component = Ditto(device="cpu", size="tiny", steps=3, cache=cache, **keys)
    component.load()
    component.build()
    return component


@pytest.fixture(scope="module")
def plain(cache, job):
    """(the component with its defaults, what its stages gave for 14 frames)."""
    component = built(cache)
    return component, run(component, job, sound(0.56))


def frames(given):
    return np.stack([piece.data for piece in given["putback"]]).astype(int)


def network(name):
    return random_weights(build(name, "tiny"), 0, name, "tiny")


def test_eager_networks_give_the_bits_of_the_plain_modules(plain):
    models, random = plain[0].models, np.random.default_rng(0)
    window = random.standard_normal((3, 6480), np.float32)
    points = random.standard_normal((2, 1, 21, 3), np.float32)
    volume = torch.from_numpy(random.standard_normal((1, 4, 8, 8, 8), np.float32))
    with torch.inference_mode():
        heard = network("hubert")(torch.from_numpy(window[:1]))
        stitched = network("stitch_network")(*map(torch.from_numpy, points))
        warped = network("warp_network")(volume, torch.from_numpy(points[0]), stitched)
        drawn = network("decoder").fold()(warped) * 255
    np.testing.assert_array_equal(models.hear(window[:1]), heard)
    x_s, x_d = models.stitch(*points)
    assert torch.equal(x_d, stitched)
    found = models.warp([volume], x_s, x_d)
    assert torch.equal(found, warped)
    assert torch.equal(models.decode(found), drawn)


def test_the_eager_motion_window_is_the_loop_over_guided_steps(plain):
    models, random = plain[0].models, np.random.default_rng(1)
    conditions, row = random.standard_normal((20, 1103), np.float32), np.zeros(265, np.float32)
    lmdm = network("lmdm")
    generator = torch.Generator().manual_seed(3)
    noise = models.noise(generator)
    state = generator.get_state()
    found = models.move(conditions, row, noise, generator)
    generator.set_state(state)
    x = torch.randn((1, 20, 265), generator=generator)
    with torch.inference_mode():
        context = ContextEncoder(lmdm)(torch.from_numpy(conditions)[None])
        for number, step in enumerate(models._steps):
            time = torch.tensor([step.time])
            clean = GuidedStep(lmdm)(x, torch.zeros(1, 265), *context, time)
            if step.next_time >= 0:
                predicted = step.recip1m * x - clean / step.recipm1
                x = step.sqrt_alpha_next * clean + step.c * predicted + step.sigma * noise[number]
    np.testing.assert_array_equal(found, clean[0])


def test_batches_of_three_draw_the_faces_of_single_frames(plain, cache, job):
    component, expected = plain
    three = built(cache, batch=3, in_flight=2)
    random = np.random.default_rng(2)
    volume = torch.from_numpy(random.standard_normal((1, 4, 8, 8, 8), np.float32))
    points = random.uniform(-1, 1, (2, 3, 21, 3)).astype(np.float32)

    def faces(models, frames):
        x_s, x_d = models.stitch(*points[:, frames])
        return models.decode(models.warp([volume] * len(x_s), x_s, x_d)) / 255

    single = torch.cat([faces(component.models, slice(number, number + 1)) for number in range(3)])
    # batches take other kernels: 1.3e-5 on an AMD EPYC, of faces from 0 to 1
    torch.testing.assert_close(faces(three.models, slice(None)), single, atol=5e-5, rtol=0)
    given = run(three, job, sound(0.56))
    assert [piece.count for piece in given["decode"]] == [3, 3, 3, 3, 2]
    # HuBERT's batches round otherwise, and the diffusion enlarges that
    assert np.abs(frames(given) - frames(expected)).max() <= 1


def test_frames_in_flight_change_no_byte_of_the_video(plain, cache, job, tmp_path):
    component, _ = plain
    ahead = dataclasses.replace(component.settings, in_flight=3)
    videos = []
    for number, settings in enumerate((component.settings, ahead)):
        component.models.settings = settings
        there = dataclasses.replace(job, output=str(tmp_path / f"{number}.mp4"))
        run(component, there, sound(0.3))
        videos.append(Path(there.output).read_bytes())
        assert component.attest()["ran"]["in_flight"] == settings.in_flight
    component.models.settings = component.settings
    assert videos[0] == videos[1]


def test_a_clip_of_one_frame_passes_through_full_batches(cache, job):
    pytest.importorskip("onnxruntime")
    component = built(cache, batch=4, in_flight=2, stage_backend={"stitch": "onnxruntime"})
    given = run(component, job, sound(0.04))
    assert [piece.count for piece in given["putback"]] == [1]
    assert given["warp"][0].data.data.shape[0] == 4  # padded for the exported network
    assert given["decode"][0].data.data.shape == (1, 64, 64, 3)


ALL_NULL = dict.fromkeys(("source", "features", "motion", "stitch", "warp", "decode"))


@pytest.mark.parametrize(
    ("backends", "precisions"),
    [
        ({"stitch": "onnxruntime"}, {"stitch": "int8"}),
        pytest.param(
            {"motion": "onnxruntime", "decode": "onnxruntime"}, {"stitch": "bf16"}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_stage_of_its_own_backend_and_precision_draws_the_same_and_is_attested(
    plain, cache, job, backends, precisions
):
    pytest.importorskip("onnxruntime")
    component = built(cache, batch=3, stage_backend=backends, stage_precision=precisions)
    # rounded features or points move the face a little
    difference = np.abs(frames(run(component, job, sound(0.56))) - frames(plain[1]))
    assert difference.mean() < 1
    attest = component.attest()
    found = {stage: facts["backend"] for stage, facts in attest["stages"].items() if stage in ALL_NULL}
    assert found == {**dict.fromkeys(ALL_NULL, "eager"), **backends}
    ran = attest["ran"]
    assert (ran["backend"], ran["precision"], ran["batch"], ran["fused"]) == ("eager", "fp32", 3, False)
    assert ran["stage_backend"] == {**ALL_NULL, **backends}
    assert ran["stage_precision"] == {**ALL_NULL, **precisions}


def hubert_file(folder):
    """An ONNX file with HuBERT's input and output: each vector is 320 samples, times a matrix."""
    matrix = np.random.default_rng(4).standard_normal((320, 1024)).astype(np.float32) / 18
    tensors = [
        onnx.numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in (("start", [0]), ("end", [6400]), ("axis", [1]), ("shape", [1, 20, 320]))
    ]
    nodes = [
        onnx.helper.make_node("Slice", ["input_values", "start", "end", "axis"], ["whole"]),
        onnx.helper.make_node("Reshape", ["whole", "shape"], ["blocks"]),
        onnx.helper.make_node("MatMul", ["blocks", "matrix"], ["encoding_out"]),
    ]
    given, made = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("input_values", [1, 6480]), ("encoding_out", [1, 20, 1024]))
    )
    tensors.append(onnx.numpy_helper.from_array(matrix, "matrix"))
    graph = onnx.helper.make_graph(nodes, "hubert", [given], [made], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "hubert.onnx")
    return folder / "hubert.onnx", matrix


@pytest.mark.parametrize("asked", [None, "onnxruntime"])
def test_a_hubert_file_hears_windows_one_by_one_and_is_attested_as_what_it_is(cache, tmp_path, asked):
    pytest.importorskip("onnxruntime")
    file, matrix = hubert_file(tmp_path)
    component = built(cache, batch=2, hubert=str(file), stage_backend={"features": asked})
    windows = np.random.default_rng(5).standard_normal((2, 6480), np.float32)
    expected = windows[:, :6400].reshape(2, 20, 320) @ matrix
    np.testing.assert_allclose(component.models.hear(windows), expected, atol=1e-4)
    attest = component.attest()
    assert attest["stages"]["features"]["backend"] == "onnxruntime CPUExecutionProvider"
    assert attest["ran"]["backend"] == "eager"
    assert attest["ran"]["stage_backend"] == {**ALL_NULL, "features": asked}
    assert "features" not in attest["work"]
    assert "onnxruntime" in attest["versions"]


def test_rewritten_networks_draw_the_same_frames(plain, cache, job):
    component = built(cache, fused=True, batch=2)
    difference = np.abs(frames(run(component, job, sound(0.56))) - frames(plain[1]))
    assert difference.max() <= 1  # where two roundings fall on two sides of a whole number
    assert component.attest()["ran"]["fused"] is True
    assert set(component.models.ready) >= {"window"}


def test_what_a_backend_cannot_do_is_said_by_build_with_stage_and_settings(cache, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    component = Ditto(device="cpu", size="tiny", stage_backend={"stitch": "compile"}, cache=cache)
    component.load()
    asked = (
        r"avatar\.stage_backend\.stitch=compile with avatar\.precision=fp32: stage stitch, stitch_network: "
    )
    with pytest.raises(NotApplicable, match=asked + ".*no-such-compiler"):
        component.build()


def test_a_job_before_the_build_is_a_mistake_that_says_so(job):
    component = Ditto(device="cpu", size="tiny")
    component.load()
    with pytest.raises(RuntimeError, match=r"build\(\) was not called"):
        component.stages(job)
