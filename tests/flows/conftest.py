"""A Prefect server of the tests' own, and small cohorts to run on."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cohort.synthetic.acquisition import Receiver
from cohort.synthetic.study import Center, ScanPlan, simulate_cohort
from flows.config import prepare_environment

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

CENTER = Center("Center001", "Siemens", "Aera", 1.5, (88, 104), (300.0, 340.0), Receiver(n_coils=6, snr=40.0))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's embedded server with a database that is thrown away."""
    prepare_environment()
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic patients of one center: a short cine and T1 mapping each."""
    root = tmp_path_factory.mktemp("cohort")
    simulate_cohort(
        root, centers=[CENTER], patients_per_center=2, plan=ScanPlan(n_frames=2, n_slices=6, mapping=("T1",)), seed=3
    )
    return root


@pytest.fixture
def cohort_copy(simulated: Path, tmp_path: Path) -> Path:
    """A copy of the small cohort that a test may damage."""
    return Path(shutil.copytree(simulated, tmp_path / "cohort"))


@pytest.fixture(autouse=True)
def history_of_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of tests are recorded beside them, never in the history of whoever runs the tests."""
    monkeypatch.delenv("CARDIOVAL_HISTORY_URL", raising=False)


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A study as TOML, whose runs go beside it."""
    path = tmp_path / "study.toml"
    path.write_text(
        '[study]\nname = "Night Study"\ncohort = "cohort"\nout = "runs"\n[running]\ndevice = "cpu"\n'
        '[reconstruction]\nmethods = ["sense", "zero_filled"]\n[undersampling]\npatterns = [["Uniform", 4]]\n'
    )
    return path


@pytest.fixture
def client(prefect_server: None) -> "Iterator[SyncPrefectClient]":  # noqa: ARG001
    """Of the tests' server."""
    # Prefect is imported in functions: at the top it would be before its settings are made
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as one:
        yield one
