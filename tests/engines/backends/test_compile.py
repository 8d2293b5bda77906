"""Backend compile on a CPU: equal to eager, its regions, its caches in place, nothing compiled later."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from engines.backends import compile as backend
from engines.backends.cache import Cache
from engines.backends.prepared import Example
from engines.contract import NotApplicable
from tests.engines.backends.networks import example, filled, relative_rms, same

# torch's compiler uses parts of torch that warn of their age
pytestmark = pytest.mark.filterwarnings("default")


class Loop(nn.Module):
    """Five steps of one layer, of which `compile` compiles the step."""

    regions = ("step",)

    def __init__(self):
        super().__init__()
        self.step = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.sign = 1.0

    def forward(self, x):
        for _ in range(5):
            x = self.sign * self.step(x)
        return x


class Broken(nn.Module):
    """What no graph can hold: a choice by a value."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def loop():
    torch.manual_seed(0)
    return Loop().eval().requires_grad_(False), Example("loop", {"x": torch.linspace(-1, 1, 16).view(2, 8)})


def test_it_is_refused_where_no_compiler_is(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NotApplicable, match=r"no compiler \(no-such-compiler\) found; install one, set CXX"):
        backend.prepare(filled("stitch_network"), example("stitch_network"), "fp32", Cache(tmp_path))


def test_a_precision_that_needs_a_gpu_is_refused_before_anything_is_compiled(tmp_path):
    with pytest.raises(NotApplicable, match="precision=fp16: needs a GPU"):
        backend.prepare(filled("stitch_network"), example("stitch_network"), "fp16", Cache(tmp_path))


def test_no_two_processes_with_one_cache_compile_at_once(tmp_path, monkeypatch):
    def build(call, example, *_):
        assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton")
        with (tmp_path / "locks" / "compile.lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return example.inputs["x"]

    monkeypatch.setattr(backend, "_build", build)
    module, given = loop()
    assert backend.prepare(module, given, "fp32", Cache(tmp_path)).facts["backend"] == "compile"


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_a_compiled_network_gives_what_the_plain_one_gives(tmp_path, precision, dtype):
    module, given = filled("decoder"), example("decoder")
    prepared = backend.prepare(module, given, precision, Cache(tmp_path))
    expected = module(*given.inputs.values())
    # bf16: 8 significant bits and 42 layers that round three times, see test_eager
    tolerance = 1e-5 if precision == "fp32" else 2**-8 * (3 * 42) ** 0.5
    assert relative_rms(prepared(*given.inputs.values()), expected) < tolerance
    assert prepared.facts == {"backend": "compile", "dtype": dtype, "device": "cpu"}


@pytest.mark.slow
def test_int8_weights_are_seen_in_the_graph(tmp_path):
    module, given = filled("stitch_network"), example("stitch_network")
    prepared = backend.prepare(module, given, "int8", Cache(tmp_path))
    assert prepared.facts["dtype"] == "int8 weights, float32 arithmetic"
    assert relative_rms(prepared(*given.inputs.values()), module(*given.inputs.values())) < 2 / 127


@pytest.mark.slow
def test_a_region_is_compiled_instead_of_the_whole_and_the_original_is_left_alone(tmp_path):
    module, given = loop()
    expected = module(given.inputs["x"])
    prepared = backend.prepare(module, given, "fp32", Cache(tmp_path))
    torch.testing.assert_close(prepared(given.inputs["x"]), expected)
    assert type(module.step) is nn.Sequential


@pytest.mark.slow
def test_calls_from_anywhere_compile_nothing_and_give_the_same_bits(tmp_path):
    module, given = loop()
    prepared, x = backend.prepare(module, given, "fp32", Cache(tmp_path)), given.inputs["x"]
    alone = prepared(x)
    with torch.inference_mode():
        assert same(prepared(x.clone()), alone)
    assert same(prepared(x.t().contiguous().t()), alone)
    assert same(prepared(x.clone().requires_grad_()), alone)
    with ThreadPoolExecutor(3) as pool:
        assert all(same(one, alone) for one in pool.map(lambda _: prepared(x), range(6)))


@pytest.mark.slow
def test_what_would_be_compiled_after_the_build_is_an_error(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout()).eval().requires_grad_(False)
    given = Example("layers", {"x": torch.ones(2, 8)})
    prepared = backend.prepare(module, given, "fp32", Cache(tmp_path))
    module.train()
    with pytest.raises(Exception, match="layers: would be compiled again, after its build"):
        prepared(torch.ones(2, 8))
    with pytest.raises(ValueError, match=r"layers\(x\): prepared for"):
        prepared(torch.ones(3, 8))


@pytest.mark.slow
def test_a_graph_break_is_an_error(tmp_path):
    with pytest.raises(torch._dynamo.exc.Unsupported, match="branching"):
        backend.prepare(Broken(), Example("broken", {"x": torch.ones(3)}), "fp32", Cache(tmp_path))


@pytest.mark.slow
def test_a_compiler_that_is_switched_off_is_an_error(tmp_path):
    module, given = loop()
    with torch.compiler.set_stance("force_eager"), pytest.raises(RuntimeError, match="0 of 1 parts compiled"):
        backend.prepare(module, given, "fp32", Cache(tmp_path))


@pytest.mark.slow
def test_what_was_compiled_lies_under_the_caches_root_and_the_environment_is_put_back(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    # of a size that nothing else here has: kernels once loaded are not compiled again
    module = nn.Sequential(nn.Linear(13, 7), nn.Softsign()).requires_grad_(False)
    backend.prepare(module, Example("odd", {"x": torch.ones(3, 13)}), "fp32", Cache(tmp_path))
    assert list((tmp_path / "inductor").rglob("*.so"))
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert os.environ["TRITON_CACHE_DIR"] == "elsewhere"
