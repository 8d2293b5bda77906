"""The flight recorder: what is written is read, live and after a crash, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.recorder import RAISED, Reader, Recorder
from tests.harness.points import environment, wait_until

SLOTS_PER_FILE = 65_536
FILE_BYTES = (
    4096 + 1024 * 64 + SLOTS_PER_FILE * 48
)  # as the module describes: header, names, slots of 48 bytes


def read(folder: Path) -> Reader:
    reader = Reader(folder)
    reader.poll()
    return reader


def test_a_span_comes_back_as_it_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    slot = recorder.begin("stage", recorder.name("avatar", "warp"), worker=2, job=7)
    recorder.end(slot, count=25)
    [span] = read(tmp_path).spans()
    assert (span.phase, span.component, span.stage) == ("stage", "avatar", "warp")
    assert (span.pid, span.worker, span.job, span.count, span.gpu_ns) == (os.getpid(), 2, 7, 25, 0)
    assert 0 < span.start_ns <= span.end_ns


def test_an_open_span_is_seen_while_its_writer_is_in_it(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path), Reader(tmp_path)
    with recorder.span("load", "tts", worker=1):
        reader.poll()
        [span] = reader.open()
        assert (span.phase, span.component, span.worker, span.end_ns) == ("load", "tts", 1, 0)
    reader.poll()
    assert reader.open() == []
    assert len(reader.spans()) == 1


def test_a_span_that_an_exception_left_stays_open_and_is_marked(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with pytest.raises(KeyError), recorder.span("load", "tts"):
        raise KeyError
    [span] = read(tmp_path).open()
    assert (span.count, span.end_ns) == (RAISED, 0)


def test_a_thread_is_known_by_the_number_that_faulthandler_prints_even_after_hundreds_of_others(
    tmp_path: Path,
) -> None:
    recorder = Recorder(tmp_path)

    def record() -> None:
        with recorder.span("load", "tts"):
            idents.append(threading.get_ident())

    idents: list[int] = []
    for _ in range(600):
        thread = threading.Thread(target=record)
        thread.start()
        thread.join()
    reader = read(tmp_path)
    assert reader.spans()[-1].thread in reader.threads(os.getpid(), idents[-1])
    assert reader.threads(os.getpid(), 1) == reader.threads(1, idents[-1]) == set()
    assert reader.spans()[0].component == "tts"  # the names behind them are as they were


def test_eight_threads_lose_nothing_over_several_files(tmp_path: Path) -> None:
    recorder, num_spans = Recorder(tmp_path), 9_000  # 72,000 in all: more than one file holds

    def write(worker: int) -> None:
        name = recorder.name("avatar", f"stage{worker}")
        for job in range(num_spans):
            recorder.end(recorder.begin("stage", name, worker, job), count=job)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    reader = Reader(tmp_path)
    while any(thread.is_alive() for thread in threads):
        reader.poll()  # reads along
    reader.finish()
    spans = reader.spans()
    assert len(list(tmp_path.glob("spans-*.bin"))) == 2
    assert reader.open() == []
    expected = {(worker, job, job, f"stage{worker}") for worker in range(8) for job in range(num_spans)}
    assert {(span.worker, span.job, span.count, span.stage) for span in spans} == expected
    assert len(spans) == 8 * num_spans


def test_a_gap_hides_neither_what_stands_behind_it_nor_itself_once_it_is_filled(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path), Reader(tmp_path)
    name = recorder.name("avatar", "warp")
    slot_taken = next(recorder._slots)  # a thread was stopped between taking a slot and filling it
    for job in range(1, 301):
        recorder.end(recorder.begin("stage", name, 0, job))
    reader.poll()
    assert len(reader.spans()) == 300
    recorder._slots = iter([slot_taken])  # type: ignore[assignment]
    recorder.end(recorder.begin("stage", name, 0, 0))
    reader.poll()
    assert {span.job for span in reader.spans()} == set(range(301))


def test_device_times_that_are_added_after_the_job_are_read_at_the_end(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path), Reader(tmp_path)
    slot = recorder.begin("stage", recorder.name("avatar", "warp"))
    recorder.end(slot)
    reader.poll()
    recorder.set_gpu_ns(slot, 1_500_000)
    reader.finish()
    [span] = reader.spans()
    assert (span.gpu_ns, span.busy_s) == (1_500_000, 0.0015)


def test_a_killed_writer_leaves_its_finished_and_its_open_spans(tmp_path: Path) -> None:
    program = """
import sys, threading
from pathlib import Path
from harness.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]))
for job in range(1000):
    with recorder.span("stage", "avatar", "warp", 0, job):
        pass
recorder.begin("stage", recorder.name("avatar", "decode"), 0, 1000)
(Path(sys.argv[1]) / "written").touch()
threading.Event().wait()
"""
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment())
    assert wait_until((tmp_path / "written").exists)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    reader = Reader(tmp_path)
    reader.finish()
    assert {span.job for span in reader.spans() if span.end_ns} == set(range(1000))
    [span] = reader.open()
    assert (span.stage, span.job, span.pid) == ("decode", 1000, writer.pid)


def test_two_processes_with_equal_numbers_for_different_names_are_not_mixed_up(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.recorder import Recorder\n"
        "Recorder(Path(sys.argv[1])).mark(sys.argv[2])"
    )
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path), name], check=True, env=environment())
    assert {span.stage for span in read(tmp_path).spans()} == {"first", "second"}


@pytest.mark.parametrize("num_bytes", [0, 8, 4096, 4096 + 1024 * 64 + 100, FILE_BYTES - 1])
def test_a_file_that_is_still_growing_is_left_for_later(tmp_path: Path, num_bytes: int) -> None:
    Recorder(tmp_path).mark("submit")
    [path] = tmp_path.glob("spans-*.bin")
    whole = path.read_bytes()
    assert len(whole) == FILE_BYTES
    path.write_bytes(whole[:num_bytes])
    reader = read(tmp_path)
    assert reader.spans() == []
    path.write_bytes(whole)
    reader.poll()
    assert [span.stage for span in reader.spans()] == ["submit"]


def test_the_last_sign_of_life_is_the_last_begin_or_end(tmp_path: Path) -> None:
    recorder, reader = Recorder(tmp_path), Reader(tmp_path)
    reader.poll()
    assert reader.last_sign_ns == 0
    with recorder.span("job", "", worker=0, job=0):
        recorder.mark("frame", 0, 0)
    reader.poll()
    assert reader.last_sign_ns == max(span.end_ns for span in reader.spans())
    assert reader.first_frames == {0}


def test_more_stages_than_the_table_holds_are_refused_in_words(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number in range(1024):
        recorder.name("avatar", str(number))
    with pytest.raises(ValueError, match="more than 1024 different stages"):
        recorder.name("avatar", "one too many")
