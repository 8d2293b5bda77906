"""Odd components that the child imports by name: each does one thing that a real engine might do."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engines.contract import Job, NotApplicable, Piece, Watch
from engines.simulated import Simulated, SimulatedStage


class StuckAtExit(Simulated):
    """Leaves a thread behind for which the interpreter waits at its end."""

    def load(self) -> None:
        threading.Thread(target=threading.Event().wait, name="left behind").start()


class StuckBetween(Simulated):
    """Hangs where no span is open."""

    def memory(self) -> Mapping[str, float]:
        threading.Event().wait()
        return {}


class SlowToAttest(Simulated):
    """Hashes a large checkpoint, as it were."""

    def __init__(self, attest_s: float, **given: Any) -> None:
        super().__init__(**given)
        self._attest_s = attest_s

    def attest(self) -> Mapping[str, Any]:
        time.sleep(self._attest_s)
        return super().attest()


class Allocating(Simulated):
    """Holds 200 MiB that it has written to, and goes on for half a second."""

    def load(self) -> None:
        self.held = bytearray(200 * 2**20)
        self.held[::4096] = b"\1" * (200 * 2**20 // 4096)  # a page is resident once it is written to
        time.sleep(0.5)


class WithGrandchild(Simulated):
    """Starts a program in a session of its own, with its own environment, that ignores TERM; then hangs.

    scratch  folder where the program's number is written, as `grandchild`
    """

    def load(self) -> None:
        program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        started = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, env={})
        scratch = Path(os.environ["TEST_SCRATCH"])
        (scratch / "grandchild.tmp").write_text(str(started.pid))
        (scratch / "grandchild.tmp").rename(scratch / "grandchild")
        threading.Event().wait()


class LeavingQuietly(Simulated):
    """Worker processes of it end in the middle of the load with exit code 0 and no word."""

    def load(self) -> None:
        os._exit(0)


class Impossible(Simulated):
    """Cannot run here, and only finds out when it loads."""

    def load(self) -> None:
        raise NotApplicable("this engine needs a GPU of 2030")


class Constructed:
    """Its constructor finds fault with a setting."""

    def __init__(self, **settings: Any) -> None:
        raise ValueError("avatar.size=odd: choose from tiny, full")


class Exclusive(Simulated):
    """A TTS that breaks when two threads use it at once."""

    def load(self) -> None:
        self.in_use = threading.Lock()

    def stages(self, job: Job) -> list[ExclusiveStage]:
        return [ExclusiveStage("speak", self.role, job, {}, 0, 1, self.in_use)]


class ExclusiveStage(SimulatedStage):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:-1])
        self._in_use: threading.Lock = given[-1]

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("two threads at once")
        time.sleep(0.02)
        self._in_use.release()
        yield from super().feed(piece)


class OneLongJob(Simulated):
    """Job 0 takes twice 0.6 s, the others nothing."""

    def stages(self, job: Job) -> list[SimulatedStage]:
        work = {"sleep_s": 0.6 if job.index == 0 else 0.0}
        return [SimulatedStage("all", self.role, job, work, 0, 1)]


class OddVideo(Simulated):
    """Its last piece says nothing of the frames."""

    def stages(self, job: Job) -> list[OddStage]:
        return [OddStage()]


class OddStage:
    name = "odd"
    timer = None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield from ()

    def flush(self) -> Iterator[Piece]:
        yield Piece("video", {"path": ""})


class WrongCount(Simulated):
    """Says that it made one frame less than the sound wants."""

    def stages(self, job: Job) -> list[SimulatedStage]:
        return [ShortStage("all", self.role, job, {}, 0, 1)]


class ShortStage(SimulatedStage):
    def flush(self) -> Iterator[Piece]:
        for piece in super().flush():
            yield Piece("video", {**piece.data, "frames": piece.data["frames"] - 1})


class WithSleeper(Simulated):
    """Starts a program in a session of its own, as a server that an engine talks to; then hangs."""

    def load(self) -> None:
        started = subprocess.Popen(["sleep", "600"], start_new_session=True)
        scratch = Path(os.environ["TEST_SCRATCH"])
        (scratch / "grandchild.tmp").write_text(str(started.pid))
        (scratch / "grandchild.tmp").rename(scratch / "grandchild")
        threading.Event().wait()


class SaysFp32(Simulated):
    """Takes any precision and runs fp32."""

    def __init__(self, precision: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.precision = precision

    def attest(self) -> Mapping[str, Any]:
        return {**super().attest(), "ran": {"precision": "fp32"}}


class ReadsFlag(Simulated):
    """Reads back a setting that the whole process shares."""

    flag = False

    def attest(self) -> Mapping[str, Any]:
        return {**super().attest(), "options": {"flag": ReadsFlag.flag}}


class SetsFlag(Simulated):
    """Changes that setting while it loads."""

    def load(self) -> None:
        ReadsFlag.flag = True


class Painter(Simulated):
    """Writes a real MP4 of what it is given, in colours and pitch of the job's seed.

    shared  the seed passes through one variable of the process, as a model does that keeps its input in an
            attribute: two jobs at once take each other's
    into    folder to write to instead of the job's own, under the same name
    name    of all files instead of the job's own
    """

    now = 0

    def __init__(self, shared: bool = False, into: str = "", name: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self.shared = shared
        self.into = into
        self.file_name = name

    def stages(self, job: Job) -> list[PaintStage]:
        return [PaintStage(self, job)]


class PaintStage:
    name = "paint"
    timer = None

    def __init__(self, painter: Painter, job: Job) -> None:
        self._painter = painter
        self._job = job
        self._seconds = 0.0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._seconds += piece.count / piece.rate
        yield from ()

    def flush(self) -> Iterator[Piece]:
        from tests.harness import clips

        Painter.now = self._job.seed
        time.sleep(0.05)
        seed = Painter.now if self._painter.shared else self._job.seed
        count = -(-round(self._seconds * 1e6) * 25 // 10**6)
        sound = clips.voice(self._seconds, 100.0 + 20 * seed)
        path = Path(self._job.output)
        path = Path(self._painter.into or path.parent) / (self._painter.file_name or path.name)
        clips.write(path, clips.moving(count, seed), sound)
        yield Piece("video", {"path": str(path), "frames": count, "audio_s": self._seconds})


class Shown(Simulated):
    """Builds, shows its frames as pictures, and tells of each by Watch, as an engine with threads does.

    broken  it cannot draw its sample
    """

    def __init__(self, broken: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.broken = broken

    def watch(self, spans: Watch) -> None:
        self.spans = spans

    def build(self) -> None:
        time.sleep(0.1)

    def stages(self, job: Job) -> list[ShownStage]:
        if self.broken and "/sample/" in job.output:
            raise RuntimeError("out of paint")
        return [ShownStage(self.spans, job)]


class ShownStage:
    name = "draw"
    timer = None

    def __init__(self, spans: Watch, job: Job) -> None:
        self._spans = spans
        self._job = job
        self._seconds = 0.0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._seconds += piece.count / piece.rate
        yield from ()

    def flush(self) -> Iterator[Piece]:
        import numpy as np

        count = math.ceil(self._seconds * 25 - 1e-9)
        for number in range(count):
            span = self._spans.begin("paint", self._job.index)
            self._spans.mark("frame", self._job.index)
            self._spans.end(span, 1)
            yield Piece("frame", np.full((8, 8, 3), number, np.uint8))
        yield Piece("video", {"path": "", "frames": count, "audio_s": self._seconds})


class Tiring(Simulated):
    """Job k takes k + 1 times as long as the first. If TEST_SCRATCH is set, that is so until it is loaded a
    second time.
    """

    def load(self) -> None:
        self.tires = True
        if scratch := os.environ.get("TEST_SCRATCH"):
            self.tires = not (Path(scratch) / "rested").exists()
            (Path(scratch) / "rested").touch()

    def stages(self, job: Job) -> list[SimulatedStage]:
        work = {"sleep_s": 0.02 * (1 + job.index if self.tires else 1)}
        return [SimulatedStage("all", self.role, job, work, 0, 1)]


class Spawning(Simulated):
    """Each job is done by a program of its own, as by ffmpeg, which computes for 0.2 s."""

    def stages(self, job: Job) -> list[SpawningStage]:
        return [SpawningStage("all", self.role, job, {}, 0, 1)]


class SpawningStage(SimulatedStage):
    def flush(self) -> Iterator[Piece]:
        program = "import time\nwhile time.process_time() < 0.2: pass"
        subprocess.run([sys.executable, "-S", "-c", program], check=True)
        yield from super().flush()
