"""Which blinded series does each reader get? From a run's images to one page a reader, a sealed key and a manifest of hashes.

The kit's name is the beginning of the key's hash and stands on every page and in every file of scores. So scores cannot be unblinded by another
key, and the key cannot be changed after the pages were made.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from cohort.atomic import write_text
from cohort.records import CardioValError, ConfigProblem
from flows.reader_images import REFERENCE_ARM, Display, ScanFolder, color_scale, find_scans, pictured
from flows.reader_order import Shown, drawn_repeats, reading_order, round_robin
from reports.readers_page import Kind, ScoringPage, reader_texts, scoring_page
from reports.tables import METHOD_LABELS, PATTERN_LABELS

KIT_ID_LENGTH: Final = 16
KEY_FILE, MANIFEST_FILE, PAGE_FILE = "key.json", "manifest.json", "reading.html"
SCHEMA: Final = 1
READER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
SHORT_NAME: Final = 4  # names shorter than this are sought with their case: GE, but not ge
MB: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class KitOptions:
    """What a reader study asks, of whom, and about which series.

    Attributes
    ----------
    readers
        Names, letters and digits; they stand on the page.
    scans
        So many scans, spread over centers and kinds; None for all.
    repeat
        Share of the series that every reader sees twice.
    seed
        Fixes draws, orders and codes. None draws one, which is kept in the key. Whoever knows it can make the key again.
    methods
        Reconstruction methods shown beside fully sampled; empty for all.
    kinds
        ``cine``, ``map``.
    criteria
        Names from readers.yaml; the first one carries the claim.
    margin
        The mean score may be lower than fully sampled by less than this; sealed in the key before anyone scores.
    max_mb
        Largest page.
    """

    readers: tuple[str, ...]
    margin: float
    scans: int | None = None
    repeat: float = 0.2
    seed: int | None = None
    methods: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("cine", "map")
    criteria: tuple[str, ...] = ("overall", "artifacts", "border", "sharpness")
    title: str = "Reader study of image quality"
    display: Display = field(default_factory=Display)
    max_mb: float = 60.0

    def __post_init__(self) -> None:
        wrong = [name for name in self.readers if not READER_NAME.fullmatch(name)]
        if wrong or not self.readers or len(set(self.readers)) != len(self.readers):
            raise ConfigProblem(
                f"readers are different names of letters, digits, - and _, such as R1,R2; got {','.join(self.readers)!r}"
            )
        if not 0 <= self.repeat <= 1:
            raise ConfigProblem(f"the repeated share lies between 0 and 1, got {self.repeat}")
        if not 0 < self.margin < 4:
            raise ConfigProblem(
                f"the margin is in points of a scale from 1 to 5, above 0 and below 4; got {self.margin}"
            )
        if self.scans is not None and self.scans < 1:
            raise ConfigProblem(f"at least one scan is shown, got {self.scans}")
        if self.seed is not None and self.seed < 0:
            raise ConfigProblem(f"the seed is 0 or more, got {self.seed}")
        known = reader_texts()["criteria"]
        for what, given, there in (("kind", self.kinds, ("cine", "map")), ("criterion", self.criteria, tuple(known))):
            unknown = [name for name in given if name not in there]
            if unknown or not given or len(set(given)) != len(given):
                raise ConfigProblem(f"{what}: expected different ones of {', '.join(there)}; got {','.join(given)!r}")


@dataclass(frozen=True)
class Kit:
    """What was written: the folder, each reader's page with its size in bytes, series for each, and what was left out."""

    folder: Path
    pages: dict[str, tuple[Path, int]]
    n_series: int
    n_shown: int
    n_scans: int
    skipped: dict[str, str]
    missing: list[dict[str, Any]]


def export_kit(
    run_dir: Path, out: Path, *, options: KitOptions, progress: Callable[[str], None] = lambda scan: None
) -> Kit:
    """Write a kit: ``readers/NAME/reading.html`` for each reader, ``key.json`` and ``manifest.json`` for the study office.

    Raises
    ------
    MissingFile, UnreadableFile
        `run_dir` is no run.
    ConfigProblem
        A kit is there already; nothing to show; an unknown method; a page above its limit; a title or reader's name that tells something.
    """
    if (out / KEY_FILE).exists():
        raise ConfigProblem(f"{out} holds a kit, and its key may be in use; choose another folder")
    scans = [s for s in find_scans(run_dir) if s.kind is not None and _words(s.kind) in options.kinds]
    arms = _arms(scans, options.methods)
    _check_names(options, scans)
    seed = np.random.SeedSequence(options.seed)
    draws, repeats, *orders = seed.spawn(2 + len(options.readers))
    series: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    payloads: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for scan in _drawn_scans(scans, rng=np.random.default_rng(draws)):
        if options.scans is not None and len({s["scan_id"] for s in series}) == options.scans:
            break
        try:
            found = pictured(scan, arms=list(arms), display=options.display)
        except (CardioValError, OSError, KeyError, ValueError) as problem:
            skipped[scan.label] = " ".join(str(problem).split())
            continue
        common = {"scan_id": scan.label, "kind": scan.kind, **scan.facts}
        for arm, payload in found.payloads.items():
            name = f"s{len(series) + 1:04d}"
            payloads[name] = payload
            series.append(
                {"series": name, **common, **_arm_facts(scan, arm), "slices": found.slices}
                | {"source_sha256": found.sources[arm]}
            )
        missing += [{**common, **_arm_facts(scan, arm), "reason": why} for arm, why in found.missing.items()]
        _check_size(payloads, options, n_scans=len({s["scan_id"] for s in series}), n_all=len(scans))
        progress(scan.label)
    if not series:
        reasons = "; ".join(f"{k}: {v}" for k, v in list(skipped.items())[:3])
        raise ConfigProblem(f"no series to show: {reasons or 'the run has no scans of the kinds asked for'}")
    twice = drawn_repeats(
        [(s["series"], s["arm"]) for s in series], share=options.repeat, rng=np.random.default_rng(repeats)
    )
    codes: set[str] = set()
    shown = {
        reader: reading_order(
            [(s["series"], s["scan_id"]) for s in series], repeated=twice, rng=np.random.default_rng(order), codes=codes
        )
        for reader, order in zip(options.readers, orders, strict=True)
    }
    used = {s["scan_id"] for s in series}
    simulated = {str(s.manifest.get("info", {}).get("Simulated") or "") for s in scans if s.label in used} - {""}
    key = _key(
        run_dir,
        options=options,
        seed=seed,
        series=series,
        missing=missing,
        skipped=skipped,
        simulated=sorted(simulated),
        shown=shown,
    )
    pages = _write(out, key, options=options, series=series, payloads=payloads, shown=shown)
    return Kit(out, pages, len(series), len(series) + len(twice), len(used), skipped, missing)


def kit_id(key_text: str) -> str:
    """The name of a kit, from the text of its key."""
    return sha256(key_text.encode("utf-8")).hexdigest()[:KIT_ID_LENGTH]


def _write(
    out: Path,
    key: str,
    *,
    options: KitOptions,
    series: Sequence[dict[str, Any]],
    payloads: dict[str, str],
    shown: dict[str, list[Shown]],
) -> dict[str, tuple[Path, int]]:
    """Pages, then the key, then the manifest: a kit without a key was never finished."""
    kind_of = {s["series"]: str(s["kind"]) for s in series}
    kinds = [Kind(kind, _title(kind), _words(kind), color_scale(kind)) for kind in dict.fromkeys(kind_of.values())]
    pages, hashes = {}, {}
    for reader, showings in shown.items():
        items = [(one.code, kind_of[one.series], one.series) for one in showings]
        page = ScoringPage(options.title, kit_id(key), reader, options.criteria, kinds, items, payloads)
        text = scoring_page(page)
        path = out / "readers" / reader / PAGE_FILE
        write_text(path, text)
        pages[reader] = (path, len(text.encode("utf-8")))
        hashes[path.relative_to(out).as_posix()] = sha256(text.encode("utf-8")).hexdigest()
    write_text(out / KEY_FILE, key, mode=0o600)
    manifest = {
        "schema": SCHEMA,
        "kit": kit_id(key),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "key_sha256": sha256(key.encode("utf-8")).hexdigest(),
        "pages": hashes,
        "display": asdict(options.display),
    }
    write_text(out / MANIFEST_FILE, json.dumps(manifest, indent=1) + "\n")
    return pages


def _key(
    run_dir: Path,
    *,
    options: KitOptions,
    seed: np.random.SeedSequence,
    series: Sequence[dict[str, Any]],
    missing: Sequence[dict[str, Any]],
    skipped: dict[str, str],
    simulated: Sequence[str],
    shown: dict[str, list[Shown]],
) -> str:
    """Text of the key: what every code stands for, and what was decided before anyone scored."""
    content = {
        "schema": SCHEMA,
        "note": "Unblinds the kit. Stays with the study office until all scores are in.",
        "run": run_dir.resolve().name,
        "seed": str(seed.entropy),
        "plan": {
            "margin": options.margin,
            "criteria": list(options.criteria),
            "primary": options.criteria[0],
            "repeat": options.repeat,
        },
        "series": list(series),
        "missing": list(missing),
        "skipped": skipped,
        "simulated": simulated,
        "shown": {reader: [asdict(one) for one in showings] for reader, showings in shown.items()},
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _arms(scans: Sequence[ScanFolder], methods: Sequence[str]) -> dict[str, str]:
    """Names of the arms to show, fully sampled first, with their methods."""
    found = {name: str(entry["method"]) for scan in scans for name, entry in scan.arms.items()}
    known = sorted(set(found.values()) - {REFERENCE_ARM})
    unknown = [m for m in methods if m not in known]
    if unknown:
        raise ConfigProblem(f"the run has no method {unknown[0]!r}; it has {', '.join(known)}")
    wanted = methods or known
    return {REFERENCE_ARM: REFERENCE_ARM} | {name: m for name, m in found.items() if m in wanted}


def _arm_facts(scan: ScanFolder, arm: str) -> dict[str, Any]:
    """Arm, method, pattern and acceleration, for the key."""
    entry = scan.arms.get(arm, {})
    return {"arm": arm} | {name: entry.get(name) for name in ("method", "pattern", "acceleration")}


def _drawn_scans(scans: Sequence[ScanFolder], *, rng: np.random.Generator) -> list[ScanFolder]:
    """All scans in an order whose every beginning is spread over kinds and centers."""
    groups: dict[tuple[str | None, str], list[str]] = {}
    by_label = {f"{i}": scan for i, scan in enumerate(scans)}
    names = list(by_label)
    for i in rng.permutation(len(names)):
        scan = by_label[names[i]]
        groups.setdefault((scan.kind, scan.facts["center"]), []).append(names[i])
    return [by_label[name] for name in round_robin(list(groups.values()))]


def _check_size(payloads: dict[str, str], options: KitOptions, *, n_scans: int, n_all: int) -> None:
    """Stop as soon as the page will be too large, and say what would make it smaller."""
    now = sum(map(len, payloads.values())) / MB
    if now > options.max_mb:
        wanted = min(n_all, options.scans or n_all)
        raise ConfigProblem(
            f"{n_scans} of {wanted} scans already make a page of {now:.0f} MB, above {options.max_mb:g} MB: show fewer scans (--scans), "
            "fewer methods, fewer slices (--slices), or JPEG (--jpeg 95)"
        )


def _check_names(options: KitOptions, scans: Sequence[ScanFolder]) -> None:
    """Refuse a title or a reader's name that says what the page must not."""
    told = {str(scan.manifest["scan"].get(name, "")) for scan in scans for name in ("center", "patient", "vendor")}
    for scan in scans:
        for name, entry in scan.arms.items():
            told |= {name, str(entry["method"]), str(entry["pattern"])}
    told |= {label for name, label in (METHOD_LABELS | PATTERN_LABELS).items() if name in told}
    for word in sorted(word for word in told - {"none"} if re.search("[A-Za-z]", word) and len(word) > 1):
        flags = re.IGNORECASE if len(word) >= SHORT_NAME else 0
        for text in (options.title, *options.readers):
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags):
                raise ConfigProblem(f"{text!r} would stand on the page and tells {word!r}, which readers must not know")


def _words(kind: str) -> str:
    """By which words a kind is asked about."""
    return "cine" if kind == "cine" else "map"


def _title(kind: str) -> str:
    return "Short-axis cine" if kind == "cine" else kind
