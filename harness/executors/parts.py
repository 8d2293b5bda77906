"""Which components there are for whom: shared or of a worker's own, loaded in which order, when and how."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from harness.executors.crew import Crew
from harness.executors.job import SHARED, Build, Placed


class Loaded:
    """The components of a point in one process; call it for that of a worker.

    options  executor settings: workers, order, shared, share, loading, lazy; see conf/executor/threads.yaml
    workers  which of them this process works for; by default all
    names    components that this process loads; by default all
    """

    def __init__(
        self,
        build: Build,
        options: Mapping[str, Any],
        workers: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.names = build.names if names is None else names
        self._build = build
        self._options = options
        self._workers = range(options["workers"]) if workers is None else workers
        self._there: dict[tuple[str, int], Placed] = {}
        self._loading: dict[tuple[str, int], threading.Lock] = {
            key: threading.Lock() for key in self.order(options.get("order"))
        }
        locked = options.get("share", "locked") == "locked" and len(self._workers) > 1
        self._locks = {name: threading.Lock() for name in self.names if locked and self.is_shared(name)}

    def is_shared(self, name: str) -> bool:
        """Whether all workers have the same one."""
        return self._options.get("share", "own") != "own" and name in self._options.get("shared", ())

    def order(self, names: Sequence[str] | None) -> list[tuple[str, int]]:
        """(component, worker) in load order.

        names  components, each once for all its workers together or once for each worker in turn; those not
               named come last
        """
        left: dict[str, list[int]] = {
            name: [SHARED] if self.is_shared(name) else list(self._workers) for name in self.names
        }
        given = [name for name in names or () if name in left]
        found: list[tuple[str, int]] = []
        for place, name in enumerate(given):
            is_last = name not in given[place + 1 :]
            taken = left[name] if is_last else left[name][:1]
            left[name] = left[name][len(taken) :]
            found += [(name, worker) for worker in taken]
        return found + [(name, worker) for name, workers in left.items() for worker in workers]

    def load(self) -> None:
        """Load everything, unless it is to be loaded when first needed. Raises what the first one raises that
        fails.
        """
        if self._options.get("lazy"):
            return
        if self._options.get("loading") != "parallel":
            for name, worker in self._loading:
                self._get(name, worker)
            return
        crew = Crew()
        for name, worker in self._loading:
            crew.add(f"load {name} {worker}", functools.partial(self._get, name, worker))
        crew.run()

    def __call__(self, name: str, worker: int) -> tuple[Placed, threading.Lock | None]:
        """The component and, where its workers take turns, the lock to hold meanwhile.

        worker  SHARED for what is done for nobody in particular: of what is own, the first worker's
        """
        own = self._workers[0] if worker == SHARED else worker
        return self._get(name, SHARED if self.is_shared(name) else own), self._locks.get(name)

    def _get(self, name: str, worker: int) -> Placed:
        key = name, worker
        if key not in self._there:
            with self._loading[key]:
                if key not in self._there:
                    self._there[key] = self._build(name, worker)
        return self._there[key]
