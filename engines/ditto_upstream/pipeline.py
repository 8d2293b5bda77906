"""Upstream Ditto as users deploy it: their unmodified checkout, in their interpreter, with spans around it.

Runs in the interpreter of `avatar.python`: needs the standard library and the checkout's own packages only.
Facts of upstream: inference.py, stream_pipeline_offline.py and _online.py of ditto-talkinghead e9191cf.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.contract import Job, NotApplicable, Piece, Stage, Watch
from engines.ditto_upstream import incidents
from engines.ditto_upstream import sdk as upstream
from engines.ditto_upstream.job import RATE, Features, Mux, Part, Render, Run, Source, Unwatched
from engines.ditto_upstream.options import OPTIONS, check_overlap

# Parts that its threads call, by the stage that their spans carry; the writer is made anew for each job.
_PARTS = {
    "motion": "audio2motion",
    "stitch": "motion_stitch",
    "warp": "warp_f3d",
    "decode": "decode_f3d",
    "putback": "putback",
}
_OVERLAP = 10  # upstream's own default of overlap_v2
# Online the first motion window gives no frames, so two must be filled.
_WARM_UP_S = {"offline": 0.4, "online": 4.0}
_END_S = 0.1  # within which a thread that has handed its exception on is over


class DittoUpstream:
    """The StreamSDK of a checkout.

    root                 the checkout;  cfg_pkl, data_root  relative to it
    mode                 offline: all features at once; online: a chunk of speech at a time
    device               cpu or cuda, for every model of the configuration
    fade_in, fade_out    frames, fade_out offline only;  warm_up  whether a clip of silence is made first
    more                 further keyword arguments of upstream's setup(), by upstream's names, or None
    options              the keys of OPTIONS; None leaves what cfg_pkl says
    """

    def __init__(
        self, root: str, cfg_pkl: str, data_root: str, mode: str, device: str, *,
        fade_in: int = 0, fade_out: int = 0, warm_up: bool = True, more: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.root = Path(root).resolve()
        self.cfg_pkl = self.root / cfg_pkl
        self.data_root = self.root / data_root
        self.mode = mode
        self.device = device
        self.fades = {"fade_in": fade_in or -1, "fade_out": fade_out or -1}
        self.warm = warm_up
        self.asked = {key: options[key] for key in OPTIONS if options.get(key) is not None}
        self.more = dict(more or {})
        self.sdk: Any = None
        self._watch: Watch = Unwatched()
        self._run: Run | None = None
        self._frames = {"made": 0, "written": 0}
        self._sources: dict[tuple[str, int, int], str] = {}

    def watch(self, spans: Watch) -> None:
        self._watch = spans

    def load(self) -> None:
        """Raises NotApplicable without ffmpeg, ImportError for packages that the checkout misses, ValueError
        for a cfg_pkl that is none or does not go with the mode.
        """
        self.ffmpeg = _find_ffmpeg()
        defaults = upstream.read_cfg(self.cfg_pkl)["default_kwargs"]
        check_overlap(self.mode, self.asked.get("overlap"), defaults.get("overlap_v2", _OVERLAP))
        self.sdk = upstream.open_sdk(self.root, self.mode, self.cfg_pkl, self.data_root, self.device)
        for stage, name in _PARTS.items():
            setattr(self.sdk, name, Part(getattr(self.sdk, name), self._timing(stage)))

    def warm_up(self, job: Job) -> None:
        """Raises RuntimeError if upstream makes no frame of it."""
        if not self.warm:
            return
        silence = np.zeros(round(_WARM_UP_S[self.mode] * RATE), np.float32)
        flow: Iterator[Piece] = iter([Piece("audio", silence, len(silence), RATE)])
        for stage in self._stages(job, Unwatched())[:-1]:
            flow = _through(stage, flow)
        for _ in flow:
            pass
        Path(self.sdk.tmp_output_path).unlink(missing_ok=True)

    def stages(self, job: Job) -> Sequence[Stage]:
        return self._stages(job, self._watch)

    def attest(self) -> Mapping[str, Any]:
        """Also: the checkout's commit, every network, frames so far; `ran` is merged with cfg_pkl."""
        stages = upstream.networks(self.sdk)
        files = upstream.model_files(upstream.read_cfg(self.cfg_pkl), self.data_root)
        options = self._options_in_force()
        return {
            "weights": f"checkpoint {upstream.weights_hash(files)}",
            "device": self.device,
            "size": "full",
            "parameters": upstream.num_parameters(self.sdk),
            "stages": {stage: next(iter(found.values())) for stage, found in stages.items() if found},
            "networks": stages,
            "versions": upstream.versions(),
            "checkout": {"root": str(self.root), "commit": upstream.commit(self.root)},
            "interpreter": sys.executable,
            **upstream.settings(),
            "ffmpeg": self.ffmpeg,
            "frames": dict(self._frames),
            "ran": self._ran(options, stages),
        }

    def memory(self) -> Mapping[str, float]:
        if self.device != "cuda":
            return {}
        from engines.cuda import peaks_mib  # needs torch, which a checkout on a CPU may do without

        return peaks_mib(self.device)

    def state(self) -> Mapping[str, Any]:
        run = self._run
        if run is None or run.at == "setup":
            return {"at": "setup" if run else "idle"}
        return incidents.describe(
            self.sdk, run.at, run.written, left=run.at == "open" and _is_over(run.thread)
        )

    def _timing(self, stage: str) -> Any:
        def through(call: Any, *given: Any, **named: Any) -> Any:
            assert self._run is not None  # upstream calls its parts between setup and the end of close alone
            return self._run.timed(stage, call, *given, **named)

        return through

    def _stages(self, job: Job, watch: Watch) -> Sequence[Stage]:
        run = Run(self.sdk, job, watch, self.mode == "online")
        return [
            Source(run, self._set_up),
            Features(run, self.fades),
            Render(run),
            Mux(run, self.ffmpeg, self._frames),
        ]

    def _set_up(self, run: Run) -> None:
        self._run = run
        _seed(run.job.seed)
        given = {OPTIONS[key]: value for key, value in self.asked.items()}
        self.sdk.setup(
            self._source(run.job), run.job.output, online_mode=run.online, **{**given, **self.more}
        )
        self.sdk.writer = Part(self.sdk.writer, run.write)
        if run.online:  # the number of frames is not known before the end, and only fade_out wants it
            self.sdk.setup_Nd(N_d=self.sdk.N_d, **self.fades)

    def _source(self, job: Job) -> str:
        """The portrait in the job's size, filled and cut to its middle; a video stays as it is."""
        key = (job.portrait, job.width, job.height)
        if key not in self._sources:
            self._sources[key] = _fitted(job)
        return self._sources[key]

    def _options_in_force(self) -> dict[str, Any]:
        """Read from the SDK after a setup(); empty before the first."""
        found = {key: getattr(self.sdk, name) for key, name in OPTIONS.items() if hasattr(self.sdk, name)}
        return {key: _plain(value) for key, value in found.items()}

    def _ran(self, options: Mapping[str, Any], stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What is in force, of which conf/ leaves some open; mode and options only after a setup()."""
        devices = {network["device"] for found in stages.values() for network in found.values()} - {"unknown"}
        mode = {"mode": "online" if self.sdk.online_mode else "offline"} if options else {}
        return {**options, **mode, "device": " and ".join(sorted(devices))}


def _through(stage: Stage, pieces: Iterator[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        yield from stage.feed(piece)
    yield from stage.flush()


def _is_over(job: threading.Thread) -> bool:
    """Whether a job's thread has left the job: it has ended, or it is this one, which reports why."""
    if job is threading.current_thread():
        return True
    if sys.exc_info()[1] is not None:  # a failure is reported, maybe of that thread, which is about to end
        job.join(_END_S)
    return not job.is_alive()


def _find_ffmpeg() -> str:
    """ffmpeg of the PATH, which upstream calls, or the one that imageio brings for upstream's writer."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    if importlib.util.find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise NotApplicable("avatar=ditto_upstream: no ffmpeg here, which joins sound and video; install ffmpeg")


def _fitted(job: Job) -> str:
    """The portrait's path, or that of a copy beside the output where the job wants another size."""
    import cv2

    image = cv2.imread(job.portrait)
    if image is None or image.shape[:2] == (
        job.height,
        job.width,
    ):  # None: a video, or for upstream to refuse
        return job.portrait
    factor = max(job.width / image.shape[1], job.height / image.shape[0])
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    big = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    left, top = (size[0] - job.width) // 2, (size[1] - job.height) // 2
    path = Path(job.output).with_suffix(".source.png")
    cv2.imwrite(str(path), big[top : top + job.height, left : left + job.width])
    return str(path)


def _seed(seed: int) -> None:
    """As seed_everything of upstream's inference.py, which its users may call or not."""
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _plain(value: Any) -> Any:
    """JSON data: an array by its shape, tuples as lists."""
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
