"""A cluster that works off a matrix: a discrete-event simulation with seeded chance.

Cells wait in one queue; a node takes one when it has the cores, memory and graphics card for it.
Each try reads what it needs, computes, writes, and is committed. All reads and writes share one
store: n transfers run at min(link, bandwidth / n) each. A try takes its seconds times a lognormal
factor of mean 1 (stragglers). Nodes are lost at random (exponential) and return after a while; what
ran there is tried again, a tuned cell from its last finished trial. Every core-second of the
cluster goes to one part of the account, so the parts add up to nodes x cores x wall time.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SERIAL, STARTING, DOWN, REPEATED = (
    "driver reads and audits", "nodes start, read rows", "nodes down", "work lost and repeated",
)  # fmt: skip
READING, STORE, FILLING = "shared reads", "store and driver", "filling the cache"
TAIL, NO_CARD, NO_MEMORY, NO_CORES, GATE = (
    "end of a wave", "waiting for a GPU", "waiting for memory", "too few cores free",
    "waiting for embeddings",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A cell, or a shard of texts to embed, or the board.

    `seconds` are those of its `cores` (or of the card, with `gpu`), `memory`, `reads` and `writes`
    are GB. A job of a later `wave` waits for all of the one before, one `after` a kind for all of
    that kind. A lost try keeps whole steps of `step` seconds (0: nothing). `first` are the seconds
    of filling a shared cache, spent by every try that begins before one has filled it.
    """

    kind: str
    seconds: float
    cores: int = 1
    memory: float = 0.0
    gpu: bool = False
    reads: float = 0.0
    writes: float = 0.0
    wave: int = 0
    after: str = ""
    step: float = 0.0
    first: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """So many equal nodes, and the store and driver they share.

    GB, GB per second, seconds; `between_losses` is the mean time between two losses of one node.
    `serial` is what the driver does before any cell, `commit` what a node waits for the store,
    `driver` what every cell takes of the one driver. `longest_first` lets cells for a card go
    before all others, then the longest; else the order is the plan's. `spread` is the standard
    deviation of the log of a straggler's factor. With `own_caches` each node fills one of its own.
    """

    nodes: int
    cores: int = 16
    memory: float = 64.0
    gpus: int = 0
    bandwidth: float = math.inf
    link: float = math.inf
    rows: float = 0.0
    startup: float = 0.0
    serial: float = 0.0
    commit: float = 0.0
    driver: float = 0.0
    spread: float = 0.0
    between_losses: float = math.inf
    repair: float = 0.0
    longest_first: bool = True
    own_caches: bool = False
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """Wall seconds, core-seconds by part, tries that a lost node ended, all tries begun.

    Of several seeds: the means, and the standard error of the wall time.
    """

    wall: float
    parts: Mapping[str, float]
    lost: int
    tries: int
    error: float = 0.0

    def share(self, part: str) -> float:
        """The share of all core-seconds that went to a part."""
        return self.parts.get(part, 0.0) / sum(self.parts.values())


@dataclass
class _Try:
    """One try of a job on a node: since when it runs, and since when in its present phase."""

    job: int
    node: int
    began: float
    since: float
    factor: float
    phase: str = READING
    spent: dict[str, float] = field(default_factory=dict)


@dataclass
class _Node:
    """What is free on a node; `state` is up, starting or down, `life` counts its returns."""

    cores: int
    memory: float
    gpus: int
    state: str = STARTING
    since: float = 0.0
    life: int = 0
    running: set[int] = field(default_factory=set)


class Pipe:
    """Transfers that share a bandwidth equally, none faster than its link.

    All run at one rate, so what each has got since it began is the growth of one clock of GB.
    """

    def __init__(self, bandwidth: float, link: float) -> None:
        self.bandwidth, self.link = bandwidth, link
        self.clock = self.now = 0.0
        self.ends: list[tuple[float, Any]] = []
        self.open: set[Any] = set()

    def rate(self) -> float:
        """GB per second of each transfer."""
        return min(self.link, self.bandwidth / max(1, len(self.open)))

    def advance(self, now: float) -> None:
        """Let the transfers run until `now`."""
        if self.open:
            self.clock += self.rate() * (now - self.now)
        self.now = now

    def add(self, name: Any, size: float, now: float) -> None:
        """Begin a transfer of `size` GB."""
        self.advance(now)
        heapq.heappush(self.ends, (self.clock + size, name))
        self.open.add(name)

    def drop(self, name: Any, now: float) -> None:
        """End a transfer that is done, or whose node is lost."""
        self.advance(now)
        self.open.discard(name)

    def next(self) -> tuple[float, Any]:
        """When the next transfer ends, and which; never, where none is open."""
        while self.ends and self.ends[0][1] not in self.open:
            heapq.heappop(self.ends)
        if not self.ends:
            return math.inf, None
        end, name = self.ends[0]
        return self.now + max(0.0, end - self.clock) / self.rate(), name


def simulate(jobs: Sequence[Job], cluster: Cluster) -> Outcome:
    """Work off all jobs. Raises `ValueError` for a job that fits on no node."""
    for job in jobs:
        room = job.cores <= cluster.cores and job.memory <= cluster.memory
        if not room or (job.gpu and not cluster.gpus):
            raise ValueError(f"{job.kind} does not fit on a node: {job}")
    return _Run(jobs, cluster).outcome()


class _Run:
    """The state of one simulation."""

    def __init__(self, jobs: Sequence[Job], cluster: Cluster) -> None:
        self.jobs, self.cluster = jobs, cluster
        self.now = self.driver = cluster.serial
        self.count = self.lost = self.pushed = 0
        self.pipe = Pipe(cluster.bandwidth, cluster.link)
        self.events: list[tuple[float, int, str, int, int]] = []
        self.nodes = [
            _Node(cluster.cores, cluster.memory, cluster.gpus) for _ in range(cluster.nodes)
        ]
        self.tries: dict[int, _Try] = {}
        self.parts: defaultdict[str, float] = defaultdict(float)
        self.left = [job.seconds for job in jobs]
        self.tried = [False] * len(jobs)
        self.waves: defaultdict[int, int] = defaultdict(int)
        self.kinds: defaultdict[str, int] = defaultdict(int)
        for job in jobs:
            self.waves[job.wave] += 1
            self.kinds[job.kind] += 1
        self.gates = {job.after for job in jobs if job.after}
        self.wave = min(self.waves)
        self.queues: dict[tuple[Any, ...], list[tuple[float, int]]] = defaultdict(list)
        for place in range(len(jobs)):
            self.enqueue(place)
        self.idle, self.idle_since, self.why = 0, self.now, TAIL
        self.filled = set[int]()  # the nodes whose cache is full; shared, all have that of 0
        # one draw a job, so that two ways of working are compared by the same chance
        self.spreads = _stream(cluster.seed, "stragglers").standard_normal(len(jobs))
        self.again = _stream(cluster.seed, "stragglers again")
        self.losses = [_stream(cluster.seed, f"loss {n}") for n in range(cluster.nodes)]

    def outcome(self) -> Outcome:
        """Run to the end and close the account."""
        cluster = self.cluster
        self.parts[SERIAL] += cluster.nodes * cluster.cores * cluster.serial
        for n in range(cluster.nodes):
            self.nodes[n].since = self.now
            self.push(self.now + cluster.startup, "booted", n, 0)
            self.fate(n)
        while self.waves:
            when, name = self.pipe.next()
            if self.events and self.events[0][0] <= when:
                when, _, what, a, b = heapq.heappop(self.events)
                self.now = when
                getattr(self, what)(a, b)
            else:
                self.now = when
                self.pipe.drop(name, when)
                getattr(self, name[0])(*name[1:])
        self.why_idle()
        for node in self.nodes:
            if node.state != "up":
                self.parts[node.state] += cluster.cores * (self.now - node.since)
        return Outcome(self.now, dict(self.parts), self.lost, self.count)

    def push(self, when: float, what: str, a: int, b: int) -> None:
        self.pushed += 1  # events of one moment happen in the order they were planned
        heapq.heappush(self.events, (when, self.pushed, what, a, b))

    def fate(self, n: int) -> None:
        """Draw when a node is lost next."""
        if math.isfinite(self.cluster.between_losses):
            lasts = self.losses[n].exponential(self.cluster.between_losses)
            self.push(self.now + lasts, "node_lost", n, self.nodes[n].life)

    def booted(self, n: int, life: int) -> None:
        """A node has started: it reads the rows."""
        if self.nodes[n].life == life:
            self.transfer(("ready", n, life), self.cluster.rows)

    def ready(self, n: int, life: int) -> None:
        """A node is up."""
        node = self.nodes[n]
        if node.life == life:
            self.parts[STARTING] += self.cluster.cores * (self.now - node.since)
            node.state = "up"
            self.free(node.cores)
            self.dispatch([n])

    def node_lost(self, n: int, life: int) -> None:
        """A node is gone with all that ran there."""
        node = self.nodes[n]
        if node.life != life:
            return
        if node.state == "up":
            self.free(-node.cores)
        else:
            self.pipe.drop(("ready", n, life), self.now)
            self.parts[node.state] += self.cluster.cores * (self.now - node.since)
        for one in sorted(node.running):
            self.drop(one)
        if self.cluster.own_caches:
            self.filled.discard(n)
        fresh = _Node(self.cluster.cores, self.cluster.memory, self.cluster.gpus, DOWN, self.now)
        fresh.life = life + 1
        self.nodes[n] = fresh
        self.push(self.now + self.cluster.repair, "returned", n, fresh.life)
        self.dispatch(range(len(self.nodes)))

    def returned(self, n: int, life: int) -> None:
        """A lost node, or another in its place, begins to start."""
        node = self.nodes[n]
        self.parts[DOWN] += self.cluster.cores * (self.now - node.since)
        node.state, node.since = STARTING, self.now
        self.push(self.now + self.cluster.startup, "booted", n, life)
        self.fate(n)

    def drop(self, one: int) -> None:
        """A try whose node is lost; its job waits again, with what it keeps."""
        found = self.tries.pop(one)
        job = self.jobs[found.job]
        for name in ("compute", "freeing"):
            self.pipe.drop((name, one, 0), self.now)
        kept = 0.0
        if job.step and found.phase == job.kind:
            kept = math.floor((self.now - found.since) / job.step) * job.step
            self.left[found.job] -= kept / found.factor
        self.parts[job.kind] += job.cores * kept
        self.parts[REPEATED] += job.cores * (self.now - found.began - kept)
        self.lost += 1
        self.enqueue(found.job)

    def enqueue(self, place: int) -> None:
        """Put a job where its like wait, what comes first at the end."""
        job = self.jobs[place]
        like = (job.kind, job.cores, job.memory, job.gpu, job.wave, job.after)
        rank = self.left[place] if self.cluster.longest_first else -float(place)
        queue = self.queues[like]
        queue.append((rank, place))
        if len(queue) > 1 and queue[-2][0] > rank:
            queue.sort()

    def dispatch(self, places: Iterable[int]) -> None:
        """Let these nodes take jobs, in turn, until none has room for any."""
        waiting = [n for n in places if self.nodes[n].state == "up"]
        while waiting:
            waiting = [n for n in waiting if self.start(n)]
        self.why_idle()

    def start(self, n: int) -> bool:
        """Start the first job that fits on a node; False where none does."""
        node, best = self.nodes[n], None
        for like, queue in self.queues.items():
            if queue and self.opened(like) and _short_of(like, node) == "":
                scarce = like[3] and self.cluster.longest_first
                rank = (like[0] in self.gates, scarce, queue[-1][0])
                if best is None or rank > best[0]:
                    best = rank, like
        if best is None:
            return False
        queue = self.queues[best[1]]
        self.begin(n, queue.pop()[1])
        return True

    def opened(self, like: tuple[Any, ...]) -> bool:
        """Whether jobs like these may start: their wave has come, what they need is done."""
        _, _, _, _, wave, after = like
        return bool(wave == self.wave and not (after and self.kinds[after]))

    def begin(self, n: int, place: int) -> None:
        job, node = self.jobs[place], self.nodes[n]
        self.count += 1
        spread = self.cluster.spread
        normal = self.again.standard_normal() if self.tried[place] else self.spreads[place]
        self.tried[place] = True
        factor = math.exp(spread * normal - spread**2 / 2)
        self.tries[self.count] = _Try(place, n, self.now, self.now, factor)
        node.running.add(self.count)
        node.cores -= job.cores
        node.memory -= job.memory
        node.gpus -= int(job.gpu)
        self.free(-job.cores)
        self.transfer(("compute", self.count, 0), job.reads)

    def transfer(self, name: tuple[str, int, int], size: float) -> None:
        """Read or write through the shared store, and go on with `name`."""
        if size > 0 and math.isfinite(self.pipe.rate()):
            self.pipe.add(name, size, self.now)
        else:
            getattr(self, name[0])(*name[1:])

    def turn(self, one: int, phase: str) -> _Try:
        """Close the phase of a try and open the next."""
        found = self.tries[one]
        spent = self.now - found.since
        found.spent[found.phase] = found.spent.get(found.phase, 0.0) + spent
        found.phase, found.since = phase, self.now
        return found

    def compute(self, one: int, _: int) -> None:
        """All is read: compute, but fill the cache first where nobody has."""
        place = self.tries[one].job
        if self.jobs[place].first and self.cache(one) not in self.filled:
            found = self.turn(one, FILLING)
            self.push(self.now + self.jobs[place].first * found.factor, "fill", one, 0)
        else:
            self.work(one)

    def fill(self, one: int, _: int) -> None:
        """The cache is filled."""
        if one in self.tries:
            self.filled.add(self.cache(one))
            self.work(one)

    def cache(self, one: int) -> int:
        """Whose cache a try uses."""
        return self.tries[one].node if self.cluster.own_caches else 0

    def work(self, one: int) -> None:
        """Do the job's own work."""
        place = self.tries[one].job
        found = self.turn(one, self.jobs[place].kind)
        self.push(self.now + self.left[place] * found.factor, "write", one, 0)

    def write(self, one: int, _: int) -> None:
        """All is computed: write the result."""
        if one in self.tries:
            found = self.turn(one, STORE)
            self.transfer(("freeing", one, 0), self.jobs[found.job].writes)

    def freeing(self, one: int, _: int) -> None:
        """The result is written: commit it, and wait for the driver."""
        self.driver = max(self.now, self.driver) + self.cluster.driver
        self.push(max(self.now + self.cluster.commit, self.driver), "done", one, 0)

    def done(self, one: int, _: int) -> None:
        """A job is over."""
        if one not in self.tries:
            return
        found = self.turn(one, "")
        del self.tries[one]
        job, node = self.jobs[found.job], self.nodes[found.node]
        for phase, spent in found.spent.items():
            self.parts[phase] += job.cores * spent
        node.running.discard(one)
        node.cores += job.cores
        node.memory += job.memory
        node.gpus += int(job.gpu)
        self.free(job.cores)
        self.kinds[job.kind] -= 1
        self.waves[job.wave] -= 1
        opens = job.kind in self.gates and not self.kinds[job.kind]
        if not self.waves[job.wave]:
            del self.waves[job.wave]
            self.wave = min(self.waves, default=self.wave)
            opens = True
        self.dispatch(range(len(self.nodes)) if opens else [found.node])

    def free(self, cores: int) -> None:
        """Account for idle cores until now, then count these in (or out)."""
        self.parts[self.why] += self.idle * (self.now - self.idle_since)
        self.idle_since = self.now
        self.idle += cores

    def why_idle(self) -> None:
        """Find what the idle cores wait for from now on."""
        self.free(0)
        if not self.idle:
            return
        waiting = [like for like, queue in self.queues.items() if queue and like[4] == self.wave]
        opened = [like for like in waiting if self.opened(like)]
        if opened:
            node = next(node for node in self.nodes if node.state == "up" and node.cores)
            reasons = {_short_of(like, node) for like in opened}
            order = (NO_MEMORY, NO_CORES, NO_CARD)
            self.why = next((reason for reason in order if reason in reasons), TAIL)
        elif waiting:
            self.why = GATE
        else:
            kinds = {self.jobs[one.job].kind for one in self.tries.values()}
            self.why = f"{TAIL}: {kinds.pop()} left" if len(kinds) == 1 else TAIL


def _short_of(like: tuple[Any, ...], node: _Node) -> str:
    """What a node lacks for jobs like these; "" where they fit."""
    _, cores, memory, gpu, _, _ = like
    if gpu and not node.gpus:
        return NO_CARD
    if cores > node.cores:
        return NO_CORES
    return NO_MEMORY if memory > node.memory + 1e-9 else ""


def _stream(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])
