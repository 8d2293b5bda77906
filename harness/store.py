"""Store: results in runs/<name>/<point id>/<repeat>/, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.result import JobResult, Measurement, Outcome, PointResult, Sample, Span, Unfinished

if TYPE_CHECKING:
    import pyarrow

# History of the format; a change raises SCHEMA and keeps a stored run of the old version in tests/data.
# 1  2026-11: point.json, result.json, spans.parquet, samples.parquet
# 2  2026-11: checks of each job's output, `compared` of the point, `ran` in the attestation; 1 lacks them
# 3  2026-11: `quality` of the result and of its point, phases `build` and `sample`; 2 lacks them
# 4  2026-11: `traffic`, `unfinished`, `due_s` of jobs, `thread` of spans, phase `arrival`; 3 lacks them
SCHEMA = 4
_READABLE = (1, 2, 3, 4)


class UnreadableResult(ValueError):
    """A stored result that this version cannot read; the text names the file and what is wrong."""


def folder(run: Path, point_id: str, repeat: int) -> Path:
    return run / point_id / str(repeat)


def is_stored(run: Path, point_id: str, repeat: int) -> bool:
    return (folder(run, point_id, repeat) / "result.json").is_file()


def save(measurement: Measurement, path: Path) -> None:
    """Write spans and samples, then result.json by rename: a result is whole or absent."""
    _write_table(path / "spans.parquet", Span, measurement.spans)
    _write_table(path / "samples.parquet", Sample, measurement.samples)
    save_result(measurement.result, path)


def save_result(result: PointResult, path: Path) -> None:
    """Write or replace result.json alone, by rename."""
    text = json.dumps({"schema": SCHEMA, **asdict(result)}, indent=1, allow_nan=False)
    temporary = path / "result.json.tmp"
    with temporary.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path / "result.json")


def load(path: Path) -> Measurement:
    """Read one stored measurement from its folder.

    Raises UnreadableResult for another schema, a damaged file or unknown keys.
    """
    result = load_result(path)
    return Measurement(
        result,
        tuple(_read_table(path / "spans.parquet", Span)),
        tuple(_read_table(path / "samples.parquet", Sample)),
        str(path),
    )


def load_result(path: Path) -> PointResult:
    """Read result.json alone, without spans and samples. Raises as load does."""
    file = path / "result.json"
    try:
        data = json.loads(file.read_text())
        schema = data.pop("schema")
        if schema not in _READABLE:
            known = f"{', '.join(map(str, _READABLE[:-1]))} and {_READABLE[-1]}"
            raise UnreadableResult(
                f"{file}: schema {schema}, this version reads {known}; measure the point again"
            )
        if not isinstance(data["started_at"], str):
            raise TypeError("started_at is no text")  # results are put in order by it
        data["outcome"] = Outcome(data["outcome"])
        data["jobs"] = tuple(JobResult(**job) for job in data["jobs"])
        data["unfinished"] = tuple(Unfinished(**job) for job in data.get("unfinished", ()))
        return PointResult(**data)
    except UnreadableResult:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableResult(
            f"{file}: not a stored result ({error}); delete its folder to measure again"
        ) from error


def check_readable(run: Path, point_id: str, repeat: int) -> None:
    """Raises as load does if a result is stored that cannot be read; before a sweep, not in its middle."""
    if is_stored(run, point_id, repeat):
        load_result(folder(run, point_id, repeat))


def load_readable(run: Path) -> tuple[list[Measurement], list[str]]:
    """What load_run gives of the results that can be read, and one line for each that cannot."""
    found, damaged = [], []
    for path in _folders(run):
        try:
            found.append(load(path))
        except UnreadableResult as error:
            damaged.append(str(error))
    return found, damaged


def results(run: Path) -> Iterator[PointResult]:
    """The results of a run alone, by repeat, then by point; what cannot be read is left out: sweep and report
    name it.
    """
    folders = _folders(run) if run.is_dir() else []
    for path in sorted(folders, key=lambda path: (len(path.name), path.name)):
        with contextlib.suppress(UnreadableResult):
            yield load_result(path)


def load_run(run: Path) -> list[Measurement]:
    """Every stored measurement of a run, by point and repeat. Raises as load does; FileNotFoundError for no
    folder.
    """
    return [load(path) for path in _folders(run)]


def _folders(run: Path) -> list[Path]:
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: no such run; see the folders of runs/")
    # A name that is no number is a result set aside while its point is measured again.
    found = (file.parent for file in run.glob("*/*/result.json") if file.parent.name.isdigit())
    return sorted(found, key=lambda path: (path.parent.name, len(path.name), path.name))


def _write_table(path: Path, row: type[Any], rows: Iterable[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [field.name for field in fields(row)]
    rows = list(rows)
    columns = {name: [getattr(item, name) for item in rows] for name in names}
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.table(columns, schema=_schema(row)), temporary)
    temporary.replace(path)


def _read_table(path: Path, row: type[Any]) -> list[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
        # What an older version did not write yet stands last and has a default.
        if table.schema != pa.schema(list(_schema(row))[: len(table.schema)]):
            raise ValueError(f"its columns are {', '.join(table.schema.names)}")
        columns = table.to_pydict()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableResult(f"{path}: not a table of spans or samples ({error})") from error
    return [row(*values) for values in zip(*columns.values(), strict=True)]


def _schema(row: type[Any]) -> pyarrow.Schema:
    import pyarrow as pa

    kinds = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    return pa.schema([(field.name, kinds[str(field.type)]) for field in fields(row)])
