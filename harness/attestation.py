"""Attestation: what the engines read back against what was asked. Pure, standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.point import flatten
from harness.result import Sample

# What holds for a whole run; whatever else a component says may be a count (of speakers, of faces).
FACTS = (
    "weights",
    "device",
    "size",
    "parameters",
    "stages",
    "versions",
    "ran",
    "options",
    "tf32",
    "cpu_threads",
)
# The engine decides and says in `ran` what it took.
LEFT_OPEN = (None, "auto")

ByWorker = Mapping[str, Mapping[str, Mapping[str, Any]]]  # "worker 0" or "shared" -> component -> attestation
Components = Mapping[str, Mapping[str, Any]]  # component -> its keys as asked


def is_attested(components: Components, attested: ByWorker) -> bool:
    """Whether every component said what ran; results of before `ran` was asked for did not."""
    said = {name for parts in attested.values() for name, part in parts.items() if "ran" in part}
    return bool(components) and set(components) <= said


def mismatches(components: Components, attested: ByWorker) -> list[str]:
    """Sentences on what ran otherwise than asked, and on what differs between workers; [] if nothing does."""
    found = [
        f"{name}.{sentence} ({worker})"
        for worker, parts in attested.items()
        for name, part in parts.items()
        for sentence in _unlike_asked(components.get(name, {}), part)
    ]
    return [*dict.fromkeys(found), *_unlike_workers(attested)]


def changes(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a component said otherwise at the end of the run than after its load: another one, loaded later,
    may have changed it for the whole process.
    """
    first: dict[tuple[str, int], dict[str, str]] = {}
    found: list[str] = []
    for event in events:
        if event["event"] != "attest":
            continue
        facts = _facts(event["attestation"])
        before = first.setdefault((event["component"], event["worker"]), facts)
        worker = "shared" if event["worker"] < 0 else f"worker {event['worker']}"
        for key in before.keys() & facts.keys():
            # What was not known yet after the load is no change.
            if before[key] not in ("null", facts[key]):
                values = f"was {_bare(before[key])} after the load and {_bare(facts[key])} at the end"
                found.append(f"{event['component']}.{key} {values} ({worker})")
    return sorted(dict.fromkeys(found))


def wrong_cards(devices: Sequence[int] | None, attested: ByWorker) -> list[str]:
    """Sentences on stages that ran on another GPU than their worker was given; worker k has devices[k mod n],
    what is shared the first. A stage that does not say which GPU it was on is left out.
    """
    found = []
    for worker, parts in attested.items() if devices else ():
        number = 0 if worker == "shared" else int(worker.rpartition(" ")[2])
        asked = f"cuda:{devices[number % len(devices)]}" if devices else ""
        for name, part in parts.items():
            for stage, facts in part.get("stages", {}).items():
                on = {each for each in str(facts.get("device")).split("+") if each.startswith("cuda:")}
                if on - {asked}:
                    ran = "+".join(sorted(on))
                    found.append(
                        f"executor.devices: {name}.{stage} of {worker} belongs on {asked}, ran on {ran}"
                    )
    return found


def wrong_mps(asked: bool | None, samples: Iterable[Sample]) -> list[str]:
    """A sentence where processes were clients of NVIDIA's Multi-Process Service and should not be, or the
    other way round; [] for an executor that has no such setting.
    """
    if asked is None:
        return []
    seen = any(sample.name == "mps_client" for sample in samples)
    if asked and not seen:
        return ["executor.mps=true was asked, no process was seen to be a client of its daemon"]
    return (
        ["executor.mps=false was asked, processes were clients of its daemon"] if seen and not asked else []
    )


def compared(components: Components, attested: ByWorker, name: str) -> tuple[list[str], list[str]]:
    """(keys of a component that were read back, keys that were asked and are not among them). Where its
    cache lies is no fact of what ran.
    """
    parts = [part[name] for part in attested.values() if "ran" in part.get(name, {})]
    apart = [key for part in parts for key in ("weights", "device", "size") if key in part]
    read = sorted({*apart, *(key for part in parts for key in part["ran"])})
    unread = [key for key in components.get(name, {}) if key not in (*read, "_target_", "cache")]
    return read, unread


def _unlike_asked(asked: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[str]:
    ran: dict[str, Any] = {key: part[key] for key in ("device", "size") if key in part and key in asked}
    ran |= part.get("ran", {})
    for key, value in ran.items():
        if key == "weights" or key not in asked or asked[key] in LEFT_OPEN:
            continue
        if _plain(key, asked[key]) != _plain(key, value):
            yield f"{key}={_word(asked[key])} was asked, {_word(value)} ran"
    yield from _unlike_weights(asked.get("weights"), str(part.get("weights", "")))
    yield from _unlike_devices(asked.get("device"), part.get("stages", {}))


def _unlike_weights(asked: Any, said: str) -> Iterator[str]:
    """Asked is `random` or a path; said is `random`, or `checkpoint` with a hash."""
    if asked is None or not said:
        return
    if said.split()[0] != ("random" if asked == "random" else "checkpoint"):
        yield f"weights={asked} was asked, {said} ran"


def _unlike_devices(asked: Any, stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A stage that belongs elsewhere than its component, as an encoder on the CPU, says so by `meant`."""
    for stage, facts in stages.items():
        wanted = facts.get("meant", asked)
        device = facts.get("device")
        if wanted is None or device is None:
            continue
        if {part.split(":")[0] for part in str(device).split("+")} != {str(wanted).split(":")[0]}:
            backend = f" by {facts['backend']}" if facts.get("backend") else ""
            yield f"device={asked}: stage {stage} was meant for {wanted}, ran on {device}{backend}"


def _unlike_workers(attested: ByWorker) -> Iterator[str]:
    """The first of the workers against each other one; which of several GPUs it has is not compared."""
    first: dict[str, tuple[str, dict[str, str]]] = {}
    for worker, parts in attested.items():
        for name, part in parts.items():
            facts = _facts(part)
            other, known = first.setdefault(name, (worker, facts))
            for key in sorted(known.keys() | facts.keys()):
                one, two = known.get(key, "nothing"), facts.get(key, "nothing")
                if one != two:
                    yield f"{name}.{key} is {_bare(one)} on {other} and {_bare(two)} on {worker}"


def _facts(part: Mapping[str, Any]) -> dict[str, str]:
    kept = {key: part[key] for key in FACTS if key in part}
    return {key: json.dumps(_plain(key, value), sort_keys=True) for key, value in flatten(kept)}


def _plain(key: str, value: Any) -> Any:
    """As JSON has it, so that tuples equal lists; a device without the number of the card."""
    if key.rpartition(".")[2] == "device":
        return str(value).split(":")[0]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain("", item) for item in value]
    return value


def _word(value: Any) -> str:
    """A value as it is typed on the command line."""
    return value if isinstance(value, str) else _bare(json.dumps(value))


def _bare(text: str) -> str:
    return text.replace('"', "")
