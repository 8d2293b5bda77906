"""Backend cudagraph without a GPU; tests/gpu/test_backends.py has the rest."""

import pytest
import torch

from engines.backends import cudagraph
from engines.backends.cache import Cache
from engines.contract import NotApplicable
from tests.engines.backends.networks import example, filled


def test_a_cpu_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(NotApplicable, match=r"backend=cudagraph: needs an NVIDIA GPU; use backend=eager"):
        cudagraph.prepare(filled("stitch_network"), example("stitch_network"), "fp32", Cache(tmp_path))


@pytest.mark.parametrize(
    "inputs",
    [
        [torch.zeros(2, 21, 3), torch.zeros(2, 21, 3)],
        [torch.zeros(1, 21, 3)],
        [torch.zeros(1, 21, 3), torch.zeros(1, 21, 3).half()],
    ],
    ids=["batch", "number", "dtype"],
)
def test_other_inputs_than_prepared_for_are_the_callers_mistake(inputs):
    with pytest.raises(ValueError, match=r"stitch_network\(kp_source, kp_driving\): prepared for .*21, 3"):
        cudagraph.require_shapes(example("stitch_network"), inputs)
