"""Flight recorder: spans in memory-mapped files that the parent reads live and after a crash.

Each process of a point writes its own files `spans-<pid>-<k>.bin`: a header page with its latest threads, a
table of names, then slots of fixed size. A span takes one slot: begin fills it, end adds the end. What is
written is in the page cache at once, so it outlives a SIGKILL of its writer. Standard library only.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.result import PHASES, Span

_MAGIC = b"SPANS\0\0\1"
_NAME_BYTES = 64
_NUM_NAMES = 1024
_THREAD = struct.Struct("<qQ")  # the number that spans have, and Python's, by which faulthandler names it
_THREADS_AT = 64
_NUM_THREADS = (4096 - _THREADS_AT) // _THREAD.size
_SLOTS_AT = 4096 + _NUM_NAMES * _NAME_BYTES
_SEGMENT_BITS = 16
_SEGMENT_SLOTS = 1 << _SEGMENT_BITS

# count, end_ns, gpu_ns, job, name, worker, phase, thread, start_ns. The start is written last: a reader that
# sees it set sees the rest too.
_SLOT = struct.Struct("<qqqiHhB3xiq")
_FILE_BYTES = _SLOTS_AT + _SEGMENT_SLOTS * _SLOT.size
_END = struct.Struct("<qq")
_GPU = struct.Struct("<q")
_GPU_AT = 16
# Looked up once: begin and end are called for every piece in every stage.
_SLOT_BYTES, _SLOT_MASK = _SLOT.size, _SEGMENT_SLOTS - 1
_pack_slot, _pack_end, _now_ns = _SLOT.pack_into, _END.pack_into, time.monotonic_ns
# The count of a span that an exception passed through.
RAISED = -1
_PHASE_ID = {name: index for index, name in enumerate(PHASES)}


class _Thread(threading.local):
    """The calling thread's number, asked for and written down once in each thread: it takes a call of the
    system.
    """

    def __init__(self, note: Callable[[int], None]) -> None:
        self.number = threading.get_native_id()
        note(self.number)


class Recorder:
    """Writes the spans of one process. begin and end may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._names: dict[tuple[str, str], int] = {}
        self._maps: list[mmap.mmap] = []
        self._slots = itertools.count()  # next() is atomic under the GIL
        self._threads = itertools.count()
        self._grow(0)
        self._thread = _Thread(self._note)

    def name(self, component: str, stage: str = "") -> int:
        """The number that begin takes for a component's stage. Raises ValueError for more than 1,024."""
        key = (component, stage)
        with self._lock:
            if key not in self._names:
                index = len(self._names)
                if index >= _NUM_NAMES:
                    raise ValueError(f"more than {_NUM_NAMES} different stages in one process")
                at = 4096 + index * _NAME_BYTES
                text = f"{component}\0{stage}".encode()[:_NAME_BYTES]
                self._maps[0][at : at + len(text)] = text
                self._names[key] = index
            return self._names[key]

    def begin(self, phase: str, name: int, worker: int = -1, job: int = -1, start_ns: int = 0) -> int:
        """Open a span and return its slot, which end wants. start_ns: when it began, if not now."""
        slot = next(self._slots)
        segment = slot >> _SEGMENT_BITS
        if segment >= len(self._maps):
            self._grow(segment)
        at = _SLOTS_AT + (slot & _SLOT_MASK) * _SLOT_BYTES
        thread, began_ns = self._thread.number, start_ns or _now_ns()
        _pack_slot(self._maps[segment], at, 0, 0, 0, job, name, worker, _PHASE_ID[phase], thread, began_ns)
        return slot

    def end(self, slot: int, count: int = 0) -> None:
        at = _SLOTS_AT + (slot & _SLOT_MASK) * _SLOT_BYTES
        _pack_end(self._maps[slot >> _SEGMENT_BITS], at, count, _now_ns())

    def set_gpu_ns(self, slot: int, gpu_ns: int) -> None:
        """Add the device's own time to a span, known only after the job."""
        at = _SLOTS_AT + (slot & _SEGMENT_SLOTS - 1) * _SLOT.size
        _GPU.pack_into(self._maps[slot >> _SEGMENT_BITS], at + _GPU_AT, gpu_ns)

    def mark(self, what: str, worker: int = -1, job: int = -1, count: int = 0, at_ns: int = 0) -> None:
        """Record a moment, now or at_ns: submit, due, or a piece that is there (audio with its samples)."""
        self.end(self.begin("mark", self.name("", what), worker, job, at_ns), count)

    def raised(self, slot: int) -> None:
        """Leave the span open for ever, marked as the place where an exception passed."""
        at = _SLOTS_AT + (slot & _SEGMENT_SLOTS - 1) * _SLOT.size
        _END.pack_into(self._maps[slot >> _SEGMENT_BITS], at, RAISED, 0)

    @contextmanager
    def span(
        self, phase: str, component: str, stage: str = "", worker: int = -1, job: int = -1
    ) -> Iterator[None]:
        """For intervals where comfort counts more than a microsecond."""
        slot = self.begin(phase, self.name(component, stage), worker, job)
        try:
            yield
        except BaseException:
            self.raised(slot)
            raise
        self.end(slot)

    def _note(self, number: int) -> None:
        at = _THREADS_AT + next(self._threads) % _NUM_THREADS * _THREAD.size
        _THREAD.pack_into(self._maps[0], at, number, threading.get_ident())

    def _grow(self, segment: int) -> None:
        with self._lock:
            while len(self._maps) <= segment:
                path = self._folder / f"spans-{self._pid}-{len(self._maps)}.bin"
                with path.open("xb+") as file:
                    # Reserved now: a full disk is an error here and not a SIGBUS in the middle of a stage.
                    os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
                    mapped = mmap.mmap(file.fileno(), _FILE_BYTES)
                mapped[: len(_MAGIC)] = _MAGIC
                self._maps.append(mapped)


class _Segment:
    """One file of one process, read incrementally."""

    # A writer may hold a slot that it has not filled yet while others behind it are: look past a gap.
    _LOOK_AHEAD = 256

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.pid, self.index = (int(part) for part in path.stem.split("-")[1:])
        self.unfinished: dict[int, Span | None] = {}
        self.finished: dict[int, Span] = {}
        self.last_sign_ns = 0
        self.first_frames: set[int] = set()
        self.moved_ns: dict[tuple[str, int, int], int] = {}
        self._cursor = 0

    def read(self, names: Names) -> None:
        if self._is_more():
            self._read_on(names)
        for slot in list(self.unfinished):
            self._take(slot, names)

    def _is_more(self) -> bool:
        """Whether anything is written ahead; in one look, as this is asked at every poll."""
        at = _SLOTS_AT + self._cursor * _SLOT.size
        ahead = self._map[at : at + self._LOOK_AHEAD * _SLOT.size]
        return ahead != bytes(len(ahead))

    def _read_on(self, names: Names) -> None:
        slot, gap = self._cursor, 0
        while slot < _SEGMENT_SLOTS and gap < self._LOOK_AHEAD:
            self.unfinished[slot] = None
            gap = 0 if self._take(slot, names) else gap + 1
            slot += 1
        self._cursor = slot - gap
        for empty in range(self._cursor, slot):
            del self.unfinished[empty]

    def finish(self, names: Names) -> None:
        """Read again after the writer is gone: device times are added to spans that had ended."""
        again = [*self.finished, *self.unfinished]
        self.finished.clear()
        for slot in again:
            self.unfinished[slot] = None
            self._take(slot, names)

    def _take(self, slot: int, names: Names) -> bool:
        """Read a slot; True where it has begun."""
        count, end, gpu, job, name, worker, phase, thread, start = _SLOT.unpack_from(
            self._map, _SLOTS_AT + slot * _SLOT.size
        )
        if not start:
            return False
        component, stage = names(self.pid, name)
        span = Span(self.pid, PHASES[phase], component, stage, worker, job, count, start, end, gpu, thread)
        self.last_sign_ns = max(self.last_sign_ns, start, end)
        if span.phase == "stage":
            whose = (component, worker, job)
            self.moved_ns[whose] = max(self.moved_ns.get(whose, 0), start, end)
        if span.phase == "mark" and stage == "frame":
            self.first_frames.add(job)
        if end:
            self.unfinished.pop(slot, None)
            self.finished[slot] = span
        else:
            self.unfinished[slot] = span
        return True

    def name(self, index: int) -> tuple[str, str]:
        at = 4096 + index * _NAME_BYTES
        component, stage, *_ = (self._map[at : at + _NAME_BYTES] + b"\0").split(b"\0")
        return component.decode(errors="replace"), stage.decode(errors="replace")

    def threads(self, ident: int) -> set[int]:
        """The numbers of those that had this ident: it is given again once a thread has ended."""
        table = self._map[_THREADS_AT : _THREADS_AT + _NUM_THREADS * _THREAD.size]
        return {number for number, other in _THREAD.iter_unpack(table) if number and other == ident}


class Names:
    """(process, number) -> (component, stage), read once each from the first segment of the process."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[str, str]] = {}
        self.first: dict[int, _Segment] = {}

    def __call__(self, pid: int, index: int) -> tuple[str, str]:
        key = (pid, index)
        if key not in self._known:
            self._known[key] = self.first[pid].name(index)
        return self._known[key]


class Reader:
    """Reads what the recorders of a point have written so far, without disturbing them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: dict[str, _Segment] = {}
        self._names = Names()

    @property
    def last_sign_ns(self) -> int:
        """When the last span began or ended that any process has recorded; 0 before the first."""
        return max((segment.last_sign_ns for segment in self._segments.values()), default=0)

    @property
    def first_frames(self) -> set[int]:
        """The jobs whose first frame is there."""
        return set().union(*(segment.first_frames for segment in self._segments.values()))

    @property
    def moved_ns(self) -> dict[tuple[str, int, int], int]:
        """When a stage of (component, worker, job) last began or ended."""
        found: dict[tuple[str, int, int], int] = {}
        for segment in self._segments.values():
            for whose, moment in segment.moved_ns.items():
                found[whose] = max(found.get(whose, 0), moment)
        return found

    @property
    def pids(self) -> set[int]:
        """The processes that have written so far."""
        return {segment.pid for segment in self._segments.values()}

    def threads(self, pid: int, ident: int) -> set[int]:
        """As spans have them, the threads of a process that had this number of threading.get_ident()."""
        first = self._names.first.get(pid)
        return first.threads(ident) if first else set()

    def poll(self) -> None:
        """Take in what is new since the last call."""
        for path in sorted(self._folder.glob("spans-*.bin")):
            # Where the file system cannot reserve space at once, a file reaches its full size by and by.
            if path.name not in self._segments and path.stat().st_size >= _FILE_BYTES:
                segment = self._segments[path.name] = _Segment(path)
                if segment.index == 0:
                    self._names.first[segment.pid] = segment
        for segment in self._segments.values():
            segment.read(self._names)

    def finish(self) -> None:
        """Take in all there is, once every writer is gone."""
        self.poll()
        for segment in self._segments.values():
            segment.finish(self._names)

    def open(self) -> list[Span]:
        """The spans that have begun and not ended, oldest first."""
        spans = (span for segment in self._segments.values() for span in segment.unfinished.values() if span)
        return sorted(spans, key=lambda span: span.start_ns)

    def spans(self) -> list[Span]:
        """All spans by start; those still open have end_ns = 0."""
        ended = (span for segment in self._segments.values() for span in segment.finished.values())
        return sorted([*ended, *self.open()], key=lambda span: span.start_ns)
