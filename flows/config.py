"""What is a run told to do? The only place that reads configuration files and the environment."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from cohort.foreign import parse_toml, read_content
from cohort.geometry_rules import SHIPPED_RULES, GeometryRule
from cohort.records import ConfigProblem, MissingFile
from flows.analysis_options import Statistics
from flows.running import Running
from flows.secrets_guard import refuse_secrets
from phenotyping.basal_apical import LvBase, LvSlices, Papillary, RvBase, RvSlices
from phenotyping.body_size import Formula
from phenotyping.cycle import Gating
from phenotyping.nnunet_labels import LabelMap
from phenotyping.volumes import RvPhases
from recon.cardiomm.run import Precision
from recon.inference import METHODS
from recon.sampling import PATTERNS

FULLY_SAMPLED = "fully_sampled"
GENERATED_MASKS, MASKS_FROM_FILES = "generated", "files"


@dataclass(frozen=True)
class Arm:
    """One way to reconstruct: a method, a mask pattern and a nominal acceleration."""

    method: str
    pattern: str
    acceleration: float

    @property
    def name(self) -> str:
        """Name in files and tables, for instance ``cardiomm_ktGaussian16``."""
        return FULLY_SAMPLED if self.method == FULLY_SAMPLED else f"{self.method}_{self.pattern}{self.acceleration:g}"


REFERENCE = Arm(FULLY_SAMPLED, "none", 1.0)


@dataclass(frozen=True)
class Undersampling:
    """Which masks.

    Attributes
    ----------
    patterns
        Pairs of pattern and nominal acceleration.
    n_calibration
        Central lines that a generated mask always samples, and the most that are used of one from a file.
    seed
        Draws the k-t Gaussian ones that are generated.
    masks
        ``generated``, or ``files`` for the released ones of every scan.
    masks_folder
        Where these lie if not beside the k-space; see ``cohort.masks.find_mask``.
    """

    patterns: tuple[tuple[str, float], ...] = (("Uniform", 8.0), ("ktGaussian", 16.0), ("ktRadial", 24.0))
    n_calibration: int = 20
    seed: int = 1
    masks: str = GENERATED_MASKS
    masks_folder: str = ""


@dataclass(frozen=True)
class Reconstruction:
    """How images are made.

    Attributes
    ----------
    methods
        Methods compared.
    weights
        CardioMM checkpoint, empty for the shipped one.
    clip_folder
        Where CLIP lies, if its texts are wanted.
    precision
        Of CardioMM: ``auto`` (bf16 on a GPU that computes in it, fp32 elsewhere), ``fp32`` or ``bf16``.
    reliability
        Score the middle slice of every scan and arm, and measure how far each center is from the training.
    """

    methods: tuple[str, ...] = ("zero_filled", "sense", "cardiomm")
    weights: str = ""
    clip_folder: str = ""
    precision: str = "auto"
    reliability: bool = True


@dataclass(frozen=True)
class Segmentation:
    """Which network labels the images.

    Attributes
    ----------
    model_folder
        nnU-Net v2 result folder, empty for the shipped one.
    label_map
        Its label names or numbers to ours, where its own names do not say it: ``{"1": "RV cavity"}``; see
        ``phenotyping.nnunet_labels.label_table``.
    topology_repair
        Mend what can be mended without guessing (``phenotyping.topology``); every value of mended labels warns.
    """

    model_folder: str = ""
    label_map: LabelMap = field(default_factory=dict)
    topology_repair: bool = False


@dataclass(frozen=True)
class Phenotyping:
    """Which conventions the numbers follow.

    Attributes
    ----------
    lv_slices, rv_slices, papillary, lv_base, rv_base
        As in ``phenotyping.basal_apical.CountingRules``.
    rv_phases
        ``lv``, or ``own`` for the right ventricle's own end-diastole and end-systole.
    gating
        ``auto``, ``retrospective`` or ``prospective``: whether frames cover the cycle, see ``phenotyping.cycle``.
    body_surface
        Formula by which indices are made: ``mosteller`` or ``dubois``.
    motion_correction
        Align the images of each mapping slice before the fit; what moved is among the facts of the scan.
    strain
        Follow the wall through each cine (``phenotyping.strain``); takes some seconds for each scan and arm.
    """

    lv_slices: LvSlices = "half_ring"
    rv_slices: RvSlices = "as_segmented"
    papillary: Papillary = "as_segmented"
    lv_base: LvBase = "slices"
    rv_base: RvBase = "slices"
    rv_phases: RvPhases = "lv"
    gating: Gating = "auto"
    body_surface: Formula = "mosteller"
    motion_correction: bool = False
    strain: bool = False

    def __post_init__(self) -> None:
        for name, words in (
            ("lv_slices", LvSlices),
            ("rv_slices", RvSlices),
            ("papillary", Papillary),
            ("lv_base", LvBase),
            ("rv_base", RvBase),
            ("rv_phases", RvPhases),
            ("gating", Gating),
            ("body_surface", Formula),
        ):
            known = get_args(words)
            if getattr(self, name) not in known:
                raise ConfigProblem(f"phenotypes.{name}: expected {', '.join(known)}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class GeometryTable:
    """The study's own rules for voxel size and slice order, and whether the project's come after them."""

    rule: tuple[GeometryRule, ...] = ()
    shipped_rules: bool = True

    def rules(self) -> tuple[GeometryRule, ...]:
        """All rules in the order in which they are asked."""
        return (*self.rule, *(SHIPPED_RULES if self.shipped_rules else ()))


@dataclass(frozen=True)
class Selection:
    """Which scans of the cohort; empty means all."""

    center: tuple[str, ...] = ()
    vendor: tuple[str, ...] = ()
    field_t: tuple[float, ...] = ()
    disease: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    patient: tuple[str, ...] = ()


@dataclass(frozen=True)
class HistoryOptions:
    """Whether and where the run's numbers are kept; nothing here changes one.

    Attributes
    ----------
    record
        Keep verdicts, summaries and hashes in the history.
    database
        A file, or a URL without a password; empty for what the environment says, else a file beside the run folders.
    """

    record: bool = True
    database: str = ""

    def __post_init__(self) -> None:
        if self.database:
            from flows.history_url import refuse_password

            refuse_password(self.database, where="[history] database")


@dataclass(frozen=True)
class ValidationConfig:
    """Everything a validation needs; relative paths are relative to the configuration file."""

    name: str
    cohort: Path
    out: Path
    title: str = ""
    select: Selection = field(default_factory=Selection)
    undersampling: Undersampling = field(default_factory=Undersampling)
    reconstruction: Reconstruction = field(default_factory=Reconstruction)
    segmentation: Segmentation = field(default_factory=Segmentation)
    phenotypes: Phenotyping = field(default_factory=Phenotyping)
    geometry: GeometryTable = field(default_factory=GeometryTable)
    statistics: Statistics = field(default_factory=Statistics)
    running: Running = field(default_factory=Running)
    history: HistoryOptions = field(default_factory=HistoryOptions)

    def __post_init__(self) -> None:
        for method in self.reconstruction.methods:
            if method not in METHODS:
                raise ConfigProblem(
                    f"reconstruction.methods: unknown method {method!r}; known are {', '.join(METHODS)}"
                )
        for pattern, acceleration in self.undersampling.patterns:
            if pattern not in PATTERNS:
                raise ConfigProblem(
                    f"undersampling.patterns: unknown pattern {pattern!r}; known are {', '.join(PATTERNS)}"
                )
            if not acceleration > 1:
                raise ConfigProblem(f"undersampling.patterns: acceleration must be above 1, got {acceleration:g}")
            if pattern in ("Uniform", "ktUniform") and acceleration != int(acceleration):
                raise ConfigProblem(f"undersampling.patterns: {pattern} needs a whole number, got {acceleration:g}")
        if not self.arms():
            raise ConfigProblem(
                "nothing to compare: reconstruction.methods and undersampling.patterns need an entry each"
            )
        if self.undersampling.n_calibration < 1:
            raise ConfigProblem("undersampling.n_calibration must be at least 1")
        if self.undersampling.masks not in (GENERATED_MASKS, MASKS_FROM_FILES):
            raise ConfigProblem(
                f"undersampling.masks: expected {GENERATED_MASKS} or {MASKS_FROM_FILES}, got {self.undersampling.masks!r}"
            )
        if self.undersampling.masks_folder and self.undersampling.masks != MASKS_FROM_FILES:
            raise ConfigProblem(
                f'undersampling.masks_folder is only read with masks = "{MASKS_FROM_FILES}"; set that or leave it out'
            )
        if self.reconstruction.precision not in get_args(Precision):
            raise ConfigProblem(
                f"reconstruction.precision: expected {', '.join(get_args(Precision))}, got {self.reconstruction.precision!r}"
            )
        if len(set(self.arms())) != len(self.arms()):
            raise ConfigProblem("the same method, pattern and acceleration is asked for twice")

    def arms(self) -> tuple[Arm, ...]:
        """Every accelerated arm, methods in the order given, accelerations within them."""
        return tuple(
            Arm(method, pattern, float(acceleration))
            for method in self.reconstruction.methods
            for pattern, acceleration in self.undersampling.patterns
        )

    def science(self) -> dict[str, Any]:
        """The part that decides the numbers, as plain types; its hash identifies what was asked."""
        return {
            "select": asdict(self.select),
            "undersampling": asdict(self.undersampling),
            "reconstruction": asdict(self.reconstruction),
            "segmentation": asdict(self.segmentation),
            "phenotypes": asdict(self.phenotypes),
            "geometry": asdict(self.geometry),
            "statistics": asdict(self.statistics),
        }


SECTIONS: Mapping[str, type] = {
    "select": Selection,
    "undersampling": Undersampling,
    "reconstruction": Reconstruction,
    "segmentation": Segmentation,
    "phenotypes": Phenotyping,
    "geometry": GeometryTable,
    "statistics": Statistics,
    "running": Running,
    "history": HistoryOptions,
}
PATH_KEYS = (
    ("undersampling", "masks_folder"),
    ("reconstruction", "weights"),
    ("reconstruction", "clip_folder"),
    ("segmentation", "model_folder"),
    ("statistics", "margins"),
    ("statistics", "diagnosis"),
    ("statistics", "plan"),
    ("history", "database"),
)


def load_config(path: Path) -> ValidationConfig:
    """Read a validation's TOML file.

    Raises
    ------
    MissingFile
        There is no such file.
    ConfigProblem
        It is no TOML, lacks the study's name or the cohort, or has a key or a value that means nothing here.
    """
    return config_from_table(read_table(path), base=path.resolve().parent, origin=str(path))


def read_table(path: Path) -> dict[str, Any]:
    """A TOML file as it is, for `config_from_table` or `flows.phenotype_options.options_of`; errors as `load_config`."""
    if not path.is_file():
        raise MissingFile(path, "no such configuration; see docs/validate.md for an example")
    return parse_toml(read_content(path), path)


def config_from_table(table: Mapping[str, Any], *, base: Path, origin: str) -> ValidationConfig:
    """Check and convert a parsed table; relative paths are taken from ``base``."""
    refuse_secrets(table, where=origin)
    # the record of a run, run.toml, is a configuration too: its provenance says what was, not what to do
    known = {"study", "provenance", *SECTIONS}
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigProblem(f"{origin}: unknown section {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    study = table.get("study", {})
    for key in ("name", "cohort", "out"):
        if not isinstance(study.get(key), str) or not study[key]:
            raise ConfigProblem(f'{origin}: [study] needs {key} = "..."')
    extra = sorted(set(study) - {"name", "title", "cohort", "out"})
    if extra:
        raise ConfigProblem(f"{origin}: [study] has unknown key {', '.join(extra)}")
    sections = {
        name: section(kind, table.get(name, {}), where=f"{origin}: [{name}]") for name, kind in SECTIONS.items()
    }
    for part, key in PATH_KEYS:
        value = getattr(sections[part], key)
        if value and "://" not in value:
            object.__setattr__(sections[part], key, str((base / value).resolve()))
    return ValidationConfig(
        name=study["name"],
        title=str(study.get("title", "")),
        cohort=(base / study["cohort"]).resolve(),
        out=(base / study["out"]).resolve(),
        **sections,
    )


def section(kind: type, values: Any, *, where: str) -> Any:
    """One section as its dataclass: only known keys, of the default's type."""
    if not isinstance(values, Mapping):
        raise ConfigProblem(f"{where}: expected a table")
    defaults = kind()
    known = {f.name for f in fields(defaults)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigProblem(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    if kind is GeometryTable and "rule" in values:
        rules = geometry_rules(values["rule"], where=f"{where}, [[geometry.rule]]")
        return GeometryTable(rules, **{key: like(True, v, where=where) for key, v in values.items() if key != "rule"})
    return kind(**{key: like(getattr(defaults, key), value, where=f"{where} {key}") for key, value in values.items()})


def geometry_rules(rows: Any, *, where: str) -> tuple[GeometryRule, ...]:
    """The tables of ``[[geometry.rule]]``; a missing thickness means any."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigProblem(f"{where}: expected tables")
    defaults = {"vendor": "", "scanner": "", "center": "", "modality": "", "fov_x": "", "slice_order": ""}
    lengths = {"slice_thickness_mm": 0.0, "slice_pitch_mm": 0.0}
    known: dict[str, Any] = defaults | lengths
    for row in rows:
        unknown = sorted(set(row) - set(known))
        if unknown:
            raise ConfigProblem(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return tuple(
        GeometryRule(**{key: like(known[key], value, where=f"{where} {key}") for key, value in row.items()})
        for row in rows
    )


def like(default: Any, value: Any, *, where: str) -> Any:
    """Convert lists to tuples and integers to floats where the default says so; refuse other types."""
    if isinstance(default, tuple):
        if not isinstance(value, list):
            raise ConfigProblem(f"{where}: expected a list, got {value!r}")
        if default and isinstance(default[0], tuple):
            if not all(isinstance(row, list) and len(row) == 2 and isinstance(row[1], int | float) for row in value):
                raise ConfigProblem(f'{where}: expected pairs such as ["Uniform", 8]')
            return tuple((str(pattern), float(acceleration)) for pattern, acceleration in value)
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ConfigProblem(f"{where}: expected {type(default).__name__}, got {value!r}")
    return value


def prepare_environment() -> None:
    """Set what Prefect and nnU-Net read from the environment, before they are imported; what the user set stays.

    Without a Prefect server of the user's, Prefect starts its embedded one (SQLite) for the time of the run.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "cardioval" / "prefect"
    for key, value in {
        "PREFECT_HOME": str(state),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",  # Prefect's client counts first runs, and does not ask the server's setting first
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_CLI_PROMPT": "false",
        "nnUNet_compile": "f",
    }.items():
        os.environ.setdefault(key, value)
    # Prefect's server cannot open its database in a folder that does not exist, and says only that it timed out
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def history_target(config: ValidationConfig | None = None) -> str:
    """Where the history is: what the configuration says, else the environment, else a file beside the run folders.

    Without a configuration what the environment says, or nothing.
    """
    from flows.history_url import ENVIRONMENT, FILE_NAME

    said = os.environ.get(ENVIRONMENT, "")
    if config is None:
        return said
    return config.history.database or said or str(config.out.parent / FILE_NAME)


def catalogue_index(cohort: Path) -> Path:
    """Where the headers of a cohort are remembered, see `cohort.catalogue_index`: in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "cardioval" / "catalogues" / hashlib.sha256(os.fsencode(cohort.resolve())).hexdigest()[:16]


def visible_gpus(count: int) -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them, or their numbers."""
    said = tuple(name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip())
    return said[:count] or tuple(str(index) for index in range(count))
