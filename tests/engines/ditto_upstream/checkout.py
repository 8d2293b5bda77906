"""A stand-in for a checkout of upstream Ditto: the same names, threads and queues, and stages that paint.

Written from what is known of upstream's behaviour. What breaks, and where, stands in break.json of its
data_root: {"part": "warp_f3d", "call": 5} raises there, with "job": 1 in that job alone; "slow": {"warp_f3d":
0.1} makes each call take so long. Parts are those of STOPS, wav2feat (offline) and chunk (online).
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np

BROKEN = "planted in a call"
POLL_S = 0.2
WINDOW = 80  # feature rows that the motion is made from
STOPS = ("audio2motion", "motion_stitch", "warp_f3d", "decode_f3d", "putback", "writer")
DEFAULTS = {"sampling_timesteps": 50, "overlap_v2": 10, "emo": 4}


class Network:
    """What upstream's classes around a network look like from outside."""

    model_type = "onnx"

    def __init__(self) -> None:
        self.model = SimpleNamespace(
            get_providers=lambda: ["CPUExecutionProvider"],
            get_inputs=lambda: [SimpleNamespace(type="tensor(float)")],
        )


class Part:
    """One step; raises at the call that break.json says, a little later than its neighbours would like."""

    def __init__(self, name: str, broken: dict[str, Any], act: Callable[..., Any], **more: Any) -> None:
        self._name = name
        self._broken = broken
        self._act = act
        self._calls = 0
        self.__dict__.update(more)

    def __call__(self, *given: Any, **named: Any) -> Any:
        broken = self._broken
        if self._name in broken.get("slow", {}):
            time.sleep(broken["slow"][self._name])
        if broken.get("part") == self._name and broken.get("job") in (None, broken["now"]):
            time.sleep(0.02)
            if self._calls == broken["call"]:
                raise RuntimeError(BROKEN)
        self._calls += 1
        return self._act(*given)


class Writer:
    def __init__(self, path: str) -> None:
        self._container = av.open(path, "w")
        self._stream: Any = None

    def __call__(self, image: np.ndarray, fmt: str = "bgr") -> None:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            self._stream.width, self._stream.height = frame.width, frame.height
            self._stream.pix_fmt = "yuv420p"
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


class StreamSDK:
    online_module = False

    def __init__(self, cfg_pkl: str, data_root: str, **replaced: Any) -> None:
        self.default_kwargs = pickle.loads(Path(cfg_pkl).read_bytes())["default_kwargs"]
        self.devices = {name: part["device"] for name, part in replaced["base_cfg"].items()}
        self._broken = broken = json.loads((Path(data_root) / "break.json").read_text())
        self.avatar_registrar = SimpleNamespace(
            source2info=SimpleNamespace(appearance_extractor=Network(), insightface_det=Network())
        )
        features = Part("wav2feat", broken, self._features)
        self.wav2feat = Part(
            "chunk", broken, self._features, wav2feat=features, w2f=SimpleNamespace(hubert=Network())
        )
        self.audio2motion = Part("audio2motion", broken, list, lmdm=Network())
        self.motion_stitch = Part("motion_stitch", broken, lambda x: x, stitch_net=Network())
        self.warp_f3d = Part("warp_f3d", broken, lambda x: x, warp_net=Network())
        self.decode_f3d = Part("decode_f3d", broken, lambda x: x, decoder=Network())
        self.putback = Part("putback", broken, lambda x: np.roll(self._image, 4 * x, axis=1))

    @staticmethod
    def _features(sound: np.ndarray, *_: Any) -> np.ndarray:
        return np.zeros((math.ceil(len(sound) / 640), 4), np.float32)

    def setup(self, source_path: str, output_path: str, **given: Any) -> None:
        options = {**self.default_kwargs, **given}
        self.online_mode = options.get("online_mode", False)
        for name, value in options.items():
            setattr(self, name, value)
        self._broken["now"] = int("".join(filter(str.isdigit, Path(output_path).stem)) or -1)  # job7.mp4
        self.N_d = options.get("N_d", -1)
        self._image = cv2.cvtColor(cv2.imread(source_path), cv2.COLOR_BGR2RGB)
        self.tmp_output_path = output_path + ".tmp.mp4"
        writer = Writer(self.tmp_output_path)
        self.writer = Part("writer", self._broken, writer, close=writer.close)
        self.worker_exception: BaseException | None = None
        self.stop_event = threading.Event()
        for name in STOPS:
            setattr(self, f"{name}_queue", queue.Queue(maxsize=100))
        self.thread_list = [threading.Thread(target=getattr(self, f"{name}_worker")) for name in STOPS]
        for thread in self.thread_list:
            thread.start()

    def setup_Nd(self, N_d: int, fade_in: int = -1, fade_out: int = -1, ctrl_info: Any = None) -> None:
        self.given_Nd = {"N_d": N_d, "fade_in": fade_in, "fade_out": fade_out}

    def run_chunk(self, chunk: np.ndarray) -> None:
        self._offer(self.audio2motion_queue, self.wav2feat(chunk)[:5])

    def close(self) -> None:
        self.audio2motion_queue.put(None)
        for thread in self.thread_list:
            thread.join()
        self.writer.close()
        if self.worker_exception is not None:
            raise self.worker_exception

    def audio2motion_worker(self) -> None:
        self._kept(self._audio2motion_worker)

    def motion_stitch_worker(self) -> None:
        self._kept(self._motion_stitch_worker)

    def warp_f3d_worker(self) -> None:
        self._kept(self._warp_f3d_worker)

    def decode_f3d_worker(self) -> None:
        self._kept(self._decode_f3d_worker)

    def putback_worker(self) -> None:
        self._kept(self._putback_worker)

    def writer_worker(self) -> None:
        self._kept(self._writer_worker)

    def _motion_stitch_worker(self) -> None:
        self._pump("motion_stitch", "warp_f3d")

    def _warp_f3d_worker(self) -> None:
        self._pump("warp_f3d", "decode_f3d")

    def _decode_f3d_worker(self) -> None:
        self._pump("decode_f3d", "putback")

    def _putback_worker(self) -> None:
        self._pump("putback", "writer")

    def _writer_worker(self) -> None:
        self._pump("writer", "")

    def _kept(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - this is how upstream hides them
            self.worker_exception = error
            self.stop_event.set()

    def _taken(self, name: str) -> Iterator[Any]:
        """Items until None or the stop, looked for with a time limit."""
        while not self.stop_event.is_set():
            with contextlib.suppress(queue.Empty):
                item = getattr(self, f"{name}_queue").get(timeout=POLL_S)
                if item is None:
                    return
                yield item

    def _pump(self, name: str, onwards: str) -> None:
        for item in self._taken(name):
            made = getattr(self, name)(item)
            if onwards:
                getattr(self, f"{onwards}_queue").put(made)
        if onwards and not self.stop_event.is_set():
            getattr(self, f"{onwards}_queue").put(None)

    def _audio2motion_worker(self) -> None:
        frame = 0
        for made in self._windows() if self.online_module else self._whole():
            for _ in range(made):
                self._offer(self.motion_stitch_queue, frame)
                frame += 1
        self.motion_stitch_queue.put(None)  # without a limit: here upstream waits for ever

    def _whole(self) -> Iterator[int]:
        for features in self._taken("audio2motion"):
            yield len(self.audio2motion(features))
            return

    def _windows(self) -> Iterator[int]:
        """Frames of each window: none of the first, of the last also those that a next one would blend."""
        fresh = WINDOW - self.overlap_v2
        rows, start, frames = self.overlap_v2, 0, 0
        for features in self._taken("audio2motion"):
            rows += len(features)
            while rows - start >= WINDOW:
                self.audio2motion(features)
                yield frames
                start, frames = start + fresh, fresh
        if rows > start and frames:
            yield min(rows - start, fresh + min(self.overlap_v2, fresh))

    def _offer(self, to: queue.Queue[Any], item: Any) -> None:
        while not self.stop_event.is_set():
            with contextlib.suppress(queue.Full):
                to.put(item, timeout=POLL_S)
                return


class OnlineSDK(StreamSDK):
    online_module = True


_MODULE = """from tests.engines.ditto_upstream.checkout import {sdk} as Base


class StreamSDK(Base):
    def setup(self, source_path, output_path, **kwargs):
        self.relative_d = kwargs.get("relative_d", True)
        self.drive_eye = kwargs.get('drive_eye', None)
        self.overlap_v2 = kwargs.get("overlap_v2", 10)
        self.online_mode = kwargs.get("online_mode", False)
        super().setup(source_path, output_path, **kwargs)
"""


def write_checkout(root: Path, **broken: Any) -> Path:
    """A folder that looks like a checkout with its files; broken: what goes into break.json."""
    data = root / "checkpoints" / "models"
    data.mkdir(parents=True)
    for mode, sdk in (("offline", "StreamSDK"), ("online", "OnlineSDK")):
        (root / f"stream_pipeline_{mode}.py").write_text(_MODULE.format(sdk=sdk))
    (data / "decoder.onnx").write_bytes(b"the decoder's bytes")
    cfg = {
        "base_cfg": {"decoder_cfg": {"model_path": "decoder.onnx", "device": "cuda"}},
        "audio2motion_cfg": {"model_path": "nowhere.onnx", "device": "cuda"},
        "default_kwargs": DEFAULTS,
    }
    (root / "checkpoints" / "cfg.pkl").write_bytes(pickle.dumps(cfg))
    (data / "break.json").write_text(json.dumps(broken))
    return root


def avatar(root: Path, **changes: Any) -> dict[str, Any]:
    """The keys of conf/avatar/ditto_upstream.yaml for write_checkout's folder."""
    return {
        "_target_": "engines.ditto_upstream.pipeline.DittoUpstream",
        "root": str(root),
        "cfg_pkl": "checkpoints/cfg.pkl",
        "data_root": "checkpoints/models",
        "mode": "offline",
        "device": "cpu",
        "size": "full",
        "warm_up": False,
    } | changes
