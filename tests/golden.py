"""Replays reference cases against the Ditto engine: `python -m tests.golden FILE [--only X] [--device cuda]`.

One line a case with its largest error, the tolerance it has and ok or FAIL; exit 1 if any case failed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.ditto import diffusion, keypoints
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep, MotionDecoder
from engines.ditto.networks.motion import MotionInfo
from tests import golden_pipeline, recipe

Case = Mapping[str, Any]
Arrays = dict[str, np.ndarray]

_OUTPUT = {
    "appearance_extractor": "pred",
    "warp_network": "out",
    "stitch_network": "out",
    "decoder": "output",
}
# whatever a case can raise by its content or by code not there: it fails that case and the others go on
_FAILURES = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    SyntaxError,
)
_DENSE_MOTION = {"mask": "mask", "deformation": "deformation", "occlusion": "occlusion_map"}


@dataclass(frozen=True)
class Error:
    """A difference from the reference: of which array, in what, how large, and how large it may be."""

    array: str
    what: str
    size: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.size <= self.tolerance  # False for NaN

    @property
    def share(self) -> float:
        """How much of the tolerance is used; infinite where nothing is allowed or the difference is NaN."""
        if self.size == 0.0:
            return 0.0
        share = self.size / self.tolerance if self.tolerance else math.inf
        return math.inf if math.isnan(share) else share


@lru_cache(maxsize=12)
def filled(network: str, config: str, seed: int) -> nn.Module:
    """A network with the recipe's weights; kept, because filling takes longer than most forward passes."""
    return recipe.fill(build(network, config), f"{seed}/{config}/{network}").to(torch.get_default_device())


@lru_cache(maxsize=12)
def _checksum(network: str, config: str, seed: int) -> int:
    return recipe.weights_crc32(filled(network, config, seed).state_dict())


def replay(case: Case) -> list[Error]:
    """Compute a case and compare everything the file gives. Raises ValueError for a checksum that differs."""
    found = compute(case, recipe.inputs(case))
    missing = [spec["name"] for spec in case["outputs"] if spec["name"] not in found]
    errors = [Error(name, "missing", math.inf, 0.0) for name in missing]
    for spec in [*case["outputs"], *case.get("intermediate", [])]:
        if spec["name"] in found:
            errors += compare(spec, found[spec["name"]])
    return errors


def compute(case: Case, inputs: Arrays) -> Arrays:
    """Outputs and known intermediates of a case, by name; an output is never shadowed by an intermediate."""
    if case["id"].endswith("/pipe/schedule"):
        return {"alphas_cumprod": diffusion.cosine_schedule().alphas_cumprod.cpu().numpy()}
    if "/pipe/" in case["id"]:
        return golden_pipeline.run_pipeline_case(case, inputs)
    if "network" not in case:
        return _arrays(_chain(case, _tensors(inputs)))
    network, config, seed = case["network"], case["config"], case["weights_seed"]
    if _checksum(network, config, seed) != case["weights_crc32"]:
        raise ValueError(f"weights: checksum differs from the file's {case['weights_crc32']}")
    module = filled(network, config, seed)
    with _hooks(module, [spec["name"] for spec in case.get("intermediate", [])]) as seen:
        outputs = _run(case, module, _tensors(inputs), seen)
    return _arrays({**seen, **outputs})


def _run(
    case: Case, module: nn.Module, inputs: dict[str, Tensor], seen: dict[str, Tensor]
) -> dict[str, Tensor]:
    if isinstance(module, MotionDecoder):
        return _sampling(case, module, inputs, seen) if "steps" in case else _step(module, inputs)
    result = module(**inputs)
    return result._asdict() if isinstance(result, MotionInfo) else {_OUTPUT[case["network"]]: result}


def _step(module: MotionDecoder, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A guided step as the engine runs it, then each branch alone, the conditional one last for the hooks."""
    x, frame, cond, time = (inputs[name] for name in ("x", "cond_frame", "cond", "time_cond"))
    x_start = GuidedStep(module)(x, frame, *ContextEncoder(module)(cond), time)
    pred_noise = diffusion.cosine_schedule().noise(x, time, x_start)
    uncond = module.denoise(x, frame, module.null_context(x.shape[0]), time)
    given = module(x, frame, cond, time)
    return {"x_start": x_start, "pred_noise": pred_noise, "uncond": uncond, "cond": given}


def _sampling(
    case: Case, module: MotionDecoder, inputs: dict[str, Tensor], seen: dict[str, Tensor]
) -> dict[str, Tensor]:
    pairs = [list(pair) for pair in diffusion.time_pairs(case["steps"])]
    if "time_pairs" in case and pairs != case["time_pairs"]:
        raise ValueError("time pairs differ from the file's")
    table = diffusion.step_table(case["steps"])
    tokens, hidden = ContextEncoder(module)(inputs["aud_cond"])
    guided = GuidedStep(module)
    predictions: list[Tensor] = []

    def denoise(x: Tensor, time: Tensor) -> Tensor:
        predictions.append(guided(x, inputs["kp_cond"], tokens, hidden, time))
        return predictions[-1]

    motion = diffusion.sample(denoise, inputs["x_init"], _noises(case), table)
    seen.update({f"x_start@step{i}": prediction for i, prediction in enumerate(predictions)})
    for name in ("sigma", "c", "sqrt_alpha_next"):
        seen[name] = torch.tensor([getattr(step, name) for step in table[:-1]])
    return {"pred_kp_seq": motion}


def _noises(case: Case) -> list[Tensor]:
    """The file lists the first noise tensor; the others have its form with their own number in the tag."""
    specs = [spec for spec in case["inputs"] if spec["name"] == "0"]
    if not specs:
        return []
    first = {key: value for key, value in specs[0].items() if key != "crc32"}
    stem = first["tag"].rpartition("/")[0]
    numbered = [{**first, "name": str(i), "tag": f"{stem}/{i}"} for i in range(case["steps"] - 1)]
    return list(_tensors(recipe.inputs({"id": case["id"], "inputs": numbered})).values())


def _chain(case: Case, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Image to picture through all networks, with the expression and yaw shifted."""

    def network(name: str) -> nn.Module:
        return filled(name, case["config"], case["weights_seed"])

    source: MotionInfo = network("motion_extractor")(inputs["image"])
    driving = source._replace(exp=source.exp + inputs["d_exp"], yaw=source.yaw + inputs["d_yaw"])
    f_s = network("appearance_extractor")(inputs["image"])
    x_s, x_d = _keypoints(source), _keypoints(driving)
    if "stitch" in case["what"]:
        x_d = network("stitch_network")(x_s, x_d)
    f_3d = network("warp_network")(f_s, x_s, x_d)
    return {"f_s": f_s, "x_s": x_s, "x_d": x_d, "f_3d": f_3d, "rgb": network("decoder")(f_3d)}


def _keypoints(info: MotionInfo) -> Tensor:
    return torch.from_numpy(keypoints.transform(_arrays(info._asdict()))).to(torch.get_default_device())


@contextmanager
def _hooks(module: nn.Module, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """Collects what the submodules with these names return; the last call counts."""
    seen: dict[str, Tensor] = {}
    parts = dict(module.named_modules())

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, result: Any) -> None:
            if isinstance(result, Tensor):
                seen[name] = result

        return hook

    def keep_dense_motion(_module: nn.Module, _args: Any, result: Any) -> None:
        seen.update({f"dense_motion.{name}": getattr(result, field) for field, name in _DENSE_MOTION.items()})

    handles = [parts[name].register_forward_hook(keep(name)) for name in names if name in parts]
    if "dense_motion_network" in parts:
        handles.append(parts["dense_motion_network"].register_forward_hook(keep_dense_motion))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def compare(spec: Mapping[str, Any], found: np.ndarray) -> list[Error]:
    """Differences of one array: sampled values, and mean, std and absmax over all of it in float64."""
    name = spec["name"]
    if list(found.shape) != list(spec["shape"]) or found.dtype != np.dtype(spec["dtype"]):
        what = f"{found.dtype} {list(found.shape)} instead of {spec['dtype']} {list(spec['shape'])}"
        return [Error(name, what, math.inf, 0.0)]
    exact = found.astype(np.float64)
    picked = exact.ravel()[np.asarray(spec["indices"], dtype=np.int64)]
    reference = np.asarray(spec["values"], dtype=np.float64)
    largest = float(np.max(np.abs(picked - reference), initial=0.0))
    # a maximum is one element, so it has an element's tolerance
    statistics = {
        "mean": (exact.mean(), spec["tol_stats"]),
        "std": (exact.std(), spec["tol_stats"]),
        "absmax": (np.abs(exact).max(), max(spec["tol_values"], spec["tol_stats"])),
    }
    return [
        Error(name, "values", largest, spec["tol_values"]),
        *(Error(name, what, abs(float(x) - spec[what]), tol) for what, (x, tol) in statistics.items()),
    ]


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(torch.get_default_device()) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def load(path: str | Path) -> dict[str, Any]:
    """The file: meta and cases. A put-back case also gets the text of the crop case that it refers to."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    crops = [case["what"] for case in content["cases"] if "/pipe/crop_matrices" in case["id"]]
    for case in content["cases"]:
        if "/pipe/putback" in case["id"] and crops:
            case["crop_text"] = crops[0]
    return content


def line(case: Case) -> tuple[str, bool]:
    """A case's line and whether all is within tolerance."""
    try:
        errors = replay(case)
    except _FAILURES as error:
        return f"{case['id']}  {type(error).__name__}: {error}  FAIL", False
    worst = max(errors, key=lambda error: (not error.ok, error.share))
    ok = worst.ok
    what = f"{worst.size:.3g} (of {worst.tolerance:.3g}, {worst.array} {worst.what})"
    return f"{case['id']}  {what}  {'ok' if ok else 'FAIL'}", ok


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("file", help="reference cases, in the format of tests/data/golden.json")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="only cases whose id contains this")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, where the networks run in exact fp32")
    options = parser.parse_args()
    torch.set_default_device(options.device)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    content = load(options.file)
    torch.set_num_threads(content.get("meta", {}).get("threads", 2))
    cases = [case for case in content["cases"] if options.only in case["id"]]
    if not cases:
        parser.error(f"no case of {options.file} has {options.only!r} in its id")
    failed = 0
    for case in cases:
        text, ok = line(case)
        failed += not ok
        print(text, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
