"""How does a training learn from measured scans that do not fit into memory? A few slices of a few scans at a time.

Loads are numbered. Load n of process r takes a random scan and some of its slices, a few frames of each, decided by
(seed, r, n) alone; files that cannot be used are passed over. At a step of the training the newest load is
``step // refresh_every`` beyond the first ones, and samples come from it and those before it, as many as the memory allows.
What a step gets thus depends on seed, process, step and files, not on what happens to be in memory: a resumed training
reads what it needs again. A thread reads the next load ahead. A scan is opened once a load, so a compressed file is
unpacked once for ``refresh_every`` times as many steps as there are loads in memory.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import open_kspace
from cohort.records import CardioValError, ConfigProblem, FileProblem, UnreadableFile
from recon.acquired_region import Survey
from recon.fourier import remove_readout_oversampling
from recon.training_data import Samples, Sampling, random_readout_window, readout_length, sha256_of

BYTES_EACH = np.dtype(np.complex64).itemsize
FIRST_LOADS = 4  # what is drawn from at step 0, so that a training starts soon
LEAST_LOADS, MOST_LOADS = 3, 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingScan:
    """A fully sampled scan on the disk.

    Attributes
    ----------
    path, name
        The file, and what it is called in notes: its path within the cohort.
    shape
        (frames, slices, coils, ky, kx) as stored.
    oversampling
        Of the readout, which is removed.
    metadata
        What the metadata sentence says, see ``recon.cardiomm.prompts.metadata_text``.
    source
        Pseudonym of the patient, unique in the cohort.
    size_bytes
        Of the file; another size is another cohort.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    oversampling: int
    metadata: Mapping[str, Any]
    source: str
    size_bytes: int


@dataclass(frozen=True)
class Load:
    """Slices of one scan in memory: k-space (slices, frames, coils, ny, nx) without readout oversampling."""

    kspace: NDArray[np.complex64]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredScans:
    """Measured scans as training data.

    Attributes
    ----------
    scans
        All of them, of whatever sizes.
    seed
        Decides the loads.
    memory_bytes
        For the loads in memory; three are there at least. Reading takes one stored slice more, or a small file.
    n_frames
        Successive frames that are kept of a slice, cyclic; fewer where a scan has fewer.
    n_slices
        Slices of a load.
    refresh_every
        Steps from a new load to the next.
    skipped
        Files that could not be used so far, a line each.
    """

    scans: Sequence[TrainingScan]
    seed: int
    memory_bytes: int = 2**31
    n_frames: int = 4
    n_slices: int = 2
    refresh_every: int = 8
    skipped: list[str] = field(default_factory=list)
    _bad: set[str] = field(default_factory=set, repr=False)
    _held: "OrderedDict[tuple[str, int, int], Future[Load]]" = field(default_factory=OrderedDict, repr=False)

    def __len__(self) -> int:
        return len(self.scans)

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Sources of the scans."""
        return tuple(sorted({scan.source for scan in self.scans}))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, sizes and shapes of all files, and of the choices that decide the draws."""
        files = sorted(f"{scan.name} {scan.size_bytes} {scan.shape} {scan.oversampling}" for scan in self.scans)
        choices = (self.seed, self.n_loads, self.n_frames, self.n_slices, self.refresh_every)
        return sha256_of(str(choices), *files)

    @cached_property
    def n_loads(self) -> int:
        """Loads that are in memory at most, one of which is read ahead."""
        return int(np.clip(self.memory_bytes // self.largest_load_bytes, LEAST_LOADS, MOST_LOADS))

    @cached_property
    def largest_load_bytes(self) -> int:
        """Memory of a load of the largest scan."""
        return max(BYTES_EACH * int(np.prod(self.load_shape(scan))) for scan in self.scans)

    def load_shape(self, scan: TrainingScan) -> tuple[int, int, int, int, int]:
        """(slices, frames, coils, ny, nx) of a load of this scan."""
        frames, slices, coils, ny, nx = scan.shape
        return min(slices, self.n_slices), min(frames, self.n_frames), coils, ny, nx // scan.oversampling

    def of_patient(self, patient: str) -> "PatientScans":
        """Scans of one patient, drawn from the same in memory."""
        return PatientScans(self, patient)

    def draw(
        self,
        n: int,
        *,
        n_adjacent: int,
        pattern: str,
        sampling: Sampling,
        rng: np.random.Generator,
        step: int = 0,
        rank: int = 0,
    ) -> Samples:
        """``n`` samples of one scan: its slices and frames at random, and for masks of whole lines a readout window."""
        newest = FIRST_LOADS - 1 + step // self.refresh_every
        oldest = max(0, newest - self.n_loads + 2)  # one more is read ahead
        for key in [key for key in self._held if not key[0] and key[2] < oldest]:
            del self._held[key]
        wanted = self.asked("", rank, int(rng.integers(oldest, newest + 1)))
        self.asked("", rank, newest + 1)
        return samples_of(wanted.result(), n, n_adjacent=n_adjacent, pattern=pattern, sampling=sampling, rng=rng)

    def asked(self, patient: str, rank: int, number: int) -> "Future[Load]":
        """A load by its number, in memory or on the way; of one patient or, if empty, of all."""
        key = (patient, rank, number)
        if key not in self._held:
            while len(self._held) >= self.n_loads:
                self._held.popitem(last=False)
            self._held[key] = self._thread.submit(self.read, patient, rank, number)
        self._held.move_to_end(key)
        return self._held[key]

    def read(self, patient: str, rank: int, number: int) -> Load:
        """Read a load: the first usable one of the scans in an order that the number decides.

        Raises
        ------
        ConfigProblem
            None can be used.
        """
        candidates = [scan for scan in self.scans if patient in ("", scan.source)]
        rng = np.random.default_rng((self.seed, rank, number))
        for index in rng.permutation(len(candidates)):
            scan = candidates[index]
            if scan.name in self._bad:
                continue
            try:
                # the same slices and frames whatever was passed over before
                return self.read_scan(scan, rng=np.random.default_rng((self.seed, rank, number, 1)))
            except CardioValError as problem:
                self._bad.add(scan.name)
                reason = problem.reason if isinstance(problem, FileProblem) else str(problem)
                self.skipped.append(f"{scan.name}: {reason}")
                log.warning("training goes on without %s", self.skipped[-1])
        first = f", the first because {self.skipped[0]}" if self.skipped else ""
        who = f"patient {patient}" if patient else "the cohort"
        raise ConfigProblem(f"no scan of {who} can be trained on: all {len(candidates)} were skipped{first}")

    def read_scan(self, scan: TrainingScan, *, rng: np.random.Generator) -> Load:
        """Some slices of a scan, a few frames of each.

        Raises
        ------
        CardioValError
            The file is damaged, a frame is empty, or not all of k-space was measured, so that there is no full image.
        """
        load = np.empty(self.load_shape(scan), np.complex64)
        survey = Survey()
        with open_kspace(scan.path) as source:
            if source.shape != tuple(scan.shape):
                raise UnreadableFile(scan.path, f"expected {scan.shape} as catalogued, got {source.shape}")
            chosen = np.sort(rng.choice(scan.shape[1], size=len(load), replace=False))
            for place, index in enumerate(chosen):
                kspace = source.read_slice(int(index))
                survey.add(kspace)
                frames = (int(rng.integers(scan.shape[0])) + np.arange(load.shape[1])) % scan.shape[0]
                load[place] = remove_readout_oversampling(kspace[frames, 0], scan.oversampling)
        region = survey.region(oversampling=scan.oversampling)
        if not region.full:
            raise UnreadableFile(scan.path, f"not fully sampled, so there is no image to learn: {region.note()}")
        return Load(load, scan.metadata)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="scans")


@dataclass(frozen=True)
class PatientScans:
    """One patient of a cohort, to be watched: the draws come from the first loads of its own scans."""

    everyone: MeasuredScans
    patient: str

    def __len__(self) -> int:
        return sum(scan.source == self.patient for scan in self.everyone.scans)

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient."""
        return (self.patient,)

    @property
    def fingerprint(self) -> str:
        """Of the cohort and the patient."""
        return sha256_of(self.everyone.fingerprint, self.patient)

    @property
    def skipped(self) -> Sequence[str]:
        """Those of the cohort."""
        return self.everyone.skipped

    def of_patient(self, patient: str) -> "PatientScans":
        """Another patient of the cohort."""
        return PatientScans(self.everyone, patient)

    def draw(
        self,
        n: int,
        *,
        n_adjacent: int,
        pattern: str,
        sampling: Sampling,
        rng: np.random.Generator,
        step: int = 0,  # noqa: ARG002
        rank: int = 0,  # noqa: ARG002
    ) -> Samples:
        """``n`` samples of one of the patient's scans, whatever the step and the process."""
        load = self.everyone.asked(self.patient, 0, int(rng.integers(FIRST_LOADS))).result()
        return samples_of(load, n, n_adjacent=n_adjacent, pattern=pattern, sampling=sampling, rng=rng)


def samples_of(
    load: Load, n: int, *, n_adjacent: int, pattern: str, sampling: Sampling, rng: np.random.Generator
) -> Samples:
    """Random slices and successive frames of a load."""
    n_slices, n_frames = load.kspace.shape[:2]
    if n_frames < n_adjacent:
        raise ValueError(f"expected scans of at least {n_adjacent} frames to draw neighbors from, got {n_frames}")
    slices, starts = rng.integers(n_slices, size=n), rng.integers(n_frames - n_adjacent + 1, size=n)
    parts = [load.kspace[s, f : f + n_adjacent] for s, f in zip(slices, starts, strict=True)]
    length = readout_length(sampling, rng=rng)
    return Samples(random_readout_window(np.stack(parts), length, pattern=pattern, rng=rng), [load.metadata] * n)
