"""The file of nights: appended to, never rewritten, and whole or refused by name and line."""

from __future__ import annotations

import errno
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports import history
from reports.history import DamagedHistory, History, append, file_of, key_of, lines_of, read, rounded, slug
from tests.harness.points import ROOT, environment
from tests.reports.sides import CONFIG, PRINTS, change, date, night, session

HEAD = {"sweep": "nightly", "gpu": "NVIDIA L4"}
KNOWN = [
    ("fingerprint", {"key": "f", "values": PRINTS}),
    ("point", {"id": "point", "label": "sequential x1", "config": CONFIG}),
]


def written(folder: Path, nights: int = 2) -> History:
    """A history of so many nights, read back."""
    path = folder / "nvidia-l4" / "nightly.jsonl"
    append(read(path), HEAD, [*KNOWN, *lines_of(night(number) for number in range(nights))])
    return read(path)


def test_a_history_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == History(tmp_path / "none.jsonl")


def test_the_first_line_says_what_it_is_and_is_written_once(tmp_path: Path) -> None:
    known = written(tmp_path)
    append(known, {"sweep": "other", "gpu": "other"}, lines_of([night(2)]))
    lines = [json.loads(line) for line in known.path.read_text().splitlines()]
    assert lines[0] == {"kind": "history", "schema": 1, "sweep": "nightly", "gpu": "NVIDIA L4"}
    assert [line["kind"] for line in lines] == [
        "history", "fingerprint", "point", "night", "night", "night"
    ]  # fmt: skip


def test_lines_from_before_nights_had_signatures_are_read_with_the_one_they_have_or_none(
    tmp_path: Path,
) -> None:
    known = written(tmp_path)
    new = b', "signatures": []'
    assert known.path.read_bytes().count(new) == 2
    first = known.path.read_bytes().replace(new, b"", 1)
    assert [row.signatures for row in read_from(known.path, first).nights] == [(), ()]
    one = first.replace(new, b', "signature": "1a2b3c4d5e"')
    assert [row.signatures for row in read_from(known.path, one).nights] == [(), ("1a2b3c4d5e",)]
    assert read(known.path).hung_as("1a2b3c4d5e") == [(2, date(1))]
    none = first.replace(new, b', "signature": ""')
    assert read_from(known.path, none).nights == known.nights


def read_from(path: Path, data: bytes) -> History:
    path.write_bytes(data)
    return read(path)


def test_a_night_is_found_by_each_of_its_hangs(tmp_path: Path) -> None:
    known = written(tmp_path)
    append(known, HEAD, lines_of([night(2, outcome="hung", values={}, signatures=("a", "b"))]))
    found = read(known.path)
    assert [found.hung_as(each) for each in "abc"] == [[(3, date(2))], [(3, date(2))], []]


def test_what_was_appended_is_read_back_as_it_was(tmp_path: Path) -> None:
    known = written(tmp_path)
    rows: list[Any] = [
        night(2, outcome="hung", reason="warp", values={}),
        session(2),
        change(2),
        night(3, faults=("ttfa_s",)),
    ]
    append(known, HEAD, lines_of(rows))
    found = read(known.path)
    assert found.nights[2:] == (rows[0], rows[3])
    assert (found.sessions, found.changes) == ((rows[1],), (rows[2],))
    assert (found.label("point"), found.label("unknown")) == ("sequential x1", "unknown")
    assert found.fingerprints == {"f": PRINTS}


def test_appending_keeps_every_byte_that_was_there(tmp_path: Path) -> None:
    known = written(tmp_path)
    before = known.path.read_bytes()
    append(known, HEAD, lines_of([night(2)]))
    after = known.path.read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"\n") == 1


# Damage


def cut(data: bytes) -> bytes:
    return data[:-20]


def middle(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([*lines[:3], b'{"kind": "night", "night"\n', *lines[4:]])


DAMAGES: dict[str, tuple[Any, str, str]] = {
    "a last line that is cut short": (cut, ":5: the last line is cut short", "restore the file from git"),
    "a line in the middle that is no JSON": (middle, ":4: not a line of a history", "restore the file"),
    "a merge that was not ended": (
        lambda data: data.replace(b'{"kind": "point"', b'<<<<<<< HEAD\n{"kind": "point"', 1),
        ":3: not a line", "restore",
    ),
    "a line of a kind that is unknown": (
        lambda data: data + b'{"kind": "surprise"}\n', ":6: not a line", "restore"
    ),
    "a night with a key too many": (
        lambda data: data.replace(b'"outcome"', b'"income": 1, "outcome"', 1), ":4: not a line", "restore"
    ),
    "a figure that is no number": (
        lambda data: data.replace(b"0.999", b'"fast"', 1), ":4: not a line", "restore"
    ),
    "signatures that are no list": (
        lambda data: data.replace(b'"signatures": []', b'"signatures": "a"', 1), ":4: not a line", "restore"
    ),
    "another schema": (
        lambda data: data.replace(b'"schema": 1', b'"schema": 7', 1),
        ": schema 7, this version reads schema 1",
        "another --baselines folder",
    ),
    "a file of another kind": (lambda data: b'{"kind": "results"}\n' + data, ": no history", "--baselines"),
    "a list for a head": (lambda data: b"[]\n" + data, ":1: not a line", "restore"),
    "what is not UTF-8": (lambda data: b"\xff\xfe" + data, ": cannot be read", "restore it from git"),
    "an empty file": (lambda data: b"", ":1: the last line is cut short", "restore the file from git"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_history_is_refused_with_file_line_and_remedy_and_left_as_it_is(
    name: str, tmp_path: Path
) -> None:
    make, told, remedy = DAMAGES[name]
    known = written(tmp_path)
    known.path.write_bytes(make(known.path.read_bytes()))
    before = known.path.read_bytes()
    with pytest.raises(DamagedHistory) as raised:
        read(known.path)
    assert str(raised.value).startswith(f"{known.path}{told}")
    assert remedy in str(raised.value)
    with pytest.raises(DamagedHistory):
        append(known, HEAD, lines_of([night(2)]))
    assert known.path.read_bytes() == before


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedHistory, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["point", "fingerprint"])
def test_a_night_whose_point_or_fingerprint_is_not_there_is_damage(kind: str, tmp_path: Path) -> None:
    known = written(tmp_path)
    lines = known.path.read_text().splitlines(keepends=True)
    known.path.write_text("".join(line for line in lines if f'"kind": "{kind}"' not in line))
    with pytest.raises(DamagedHistory):
        read(known.path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_figure_that_json_does_not_know_is_damage(number: str, tmp_path: Path) -> None:
    known = written(tmp_path)
    known.path.write_text(known.path.read_text().replace("0.999", number))
    with pytest.raises(DamagedHistory):
        read(known.path)


# Writes that fail


def failing(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk is full after so many bytes of a write."""

    def write(file: Any, data: bytes) -> None:
        file.write(data[:after])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(history, "_write_all", write)


@pytest.mark.parametrize("after", [0, 1, 300])
def test_a_write_that_fails_in_its_middle_leaves_the_file_as_it_was(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = written(tmp_path)
    before = known.path.read_bytes()
    failing(monkeypatch, after)
    with pytest.raises(OSError, match="No space left"):
        append(known, HEAD, lines_of([night(2), night(3)]))
    assert known.path.read_bytes() == before
    monkeypatch.undo()
    append(known, HEAD, lines_of([night(2)]))
    assert len(read(known.path).nights) == 3


def test_a_first_write_that_fails_leaves_nothing_that_the_next_night_stumbles_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, 10)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path)
    monkeypatch.undo()
    assert len(written(tmp_path).nights) == 2


def test_a_disk_that_is_really_full_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    known = written(tmp_path)
    before = known.path.read_bytes()
    program = f"""
import resource, signal, sys
from pathlib import Path
from reports.history import append, lines_of, read
from tests.reports.sides import night
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
known = read(Path({str(known.path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {len(before) + 100}))
try:
    append(known, {{}}, lines_of([night(2), night(3)]))
except OSError as error:
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 7
    assert known.path.read_bytes() == before


# Two at once


def test_a_history_that_another_gate_wrote_meanwhile_is_not_written(tmp_path: Path) -> None:
    mine = written(tmp_path)
    append(mine, HEAD, lines_of([night(2)]))
    before = mine.path.read_bytes()
    with pytest.raises(DamagedHistory, match=r"another gate has written it meanwhile; run this one again"):
        append(mine, HEAD, lines_of([night(3)]))
    assert mine.path.read_bytes() == before


def test_two_first_nights_at_once_give_one_history(tmp_path: Path) -> None:
    both = [read(tmp_path / "nightly.jsonl") for _ in range(2)]
    append(both[0], HEAD, [*KNOWN, *lines_of([night(0)])])
    with pytest.raises(DamagedHistory, match="another gate"):
        append(both[1], HEAD, [*KNOWN, *lines_of([night(1)])])
    assert len(read(tmp_path / "nightly.jsonl").nights) == 1


def test_a_history_that_somebody_deleted_meanwhile_is_not_begun_anew(tmp_path: Path) -> None:
    known = written(tmp_path)
    known.path.unlink()
    with pytest.raises(DamagedHistory):
        append(known, HEAD, lines_of([night(2)]))


def test_two_processes_at_once_lose_no_night_and_mix_no_lines(tmp_path: Path) -> None:
    known = written(tmp_path)
    program = f"""
import sys
from pathlib import Path
from reports.history import DamagedHistory, append, lines_of, read
from tests.reports.sides import night
done, path = 0, Path({str(known.path)!r})
for number in range(6):
    for _ in range(1000):
        try:
            append(read(path), {{}}, lines_of([night(number, commit=sys.argv[1])]))
        except DamagedHistory:
            continue
        done += 1
        break
sys.exit(done)
"""
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen([*command, name], cwd=ROOT, env=environment()) for name in ("first", "second")]
    assert [each.wait(20) for each in both] == [6, 6]
    commits = [row.commit for row in read(known.path).nights]
    assert (commits.count("first"), commits.count("second"), len(commits)) == (6, 6, 14)


# Names and numbers


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NVIDIA L4", "nvidia-l4"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "intel-r-xeon-r-cpu-2-20ghz"),
        ("../../etc/passwd", "etc-passwd"),
        ("显卡", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_a_machine_s_name_becomes_a_folder_s(name: str, told: str) -> None:
    assert slug(name) == told
    assert file_of(Path("runs/baselines"), name, "nightly") == Path(f"runs/baselines/{told}/nightly.jsonl")


def test_figures_have_five_significant_digits_wherever_they_stand() -> None:
    assert rounded(0.123456789) == 0.12346
    assert rounded({"a": [123456.789, (0.000012345678,)], "b": "1.23456789", "c": 7, "d": None}) == {
        "a": [123460.0, [0.000012346]], "b": "1.23456789", "c": 7, "d": None,
    }  # fmt: skip
    (kind, data), *_ = lines_of([night(0, values={"rtf_aggregate": (math.pi,)})])
    assert (kind, data["values"]) == ("night", {"rtf_aggregate": [3.1416]})


def test_a_fingerprint_s_key_does_not_depend_on_the_order_of_its_names() -> None:
    assert key_of({"a": "1", "b": "2"}) == key_of({"b": "2", "a": "1"}) != key_of({"a": "1", "b": "3"})


def test_any_text_comes_back_from_the_file(tmp_path: Path) -> None:
    nasty = 'line\u2028break \x0b\x0c\x1c\x85 \udcff \x00 " \\ é'
    known = written(tmp_path)
    row = replace(night(2), outcome="hung", reason=nasty, values={})
    append(known, HEAD, lines_of([row]))
    assert read(known.path).nights[-1] == row
