"""Which runs does Prefect's server take for alive though the process that ran them is gone?

After a power loss they stay "Running" in its database and keep the only slot of their study: every later night would be
turned away. The server itself gives slots back when nobody renews their lease, but forgets the leases when it ends too.
"""

from pathlib import Path
from uuid import UUID

from cohort.records import ConfigProblem
from flows.config import prepare_environment
from flows.run_folders import only_run

prepare_environment()
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

ALIVE = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
GONE = "its process is gone, as after a power loss; the next run goes on with it"


def let_go(deployment: UUID, *, out: Path, study: str, limits: tuple[str, ...] = ()) -> int:
    """Let the server know which runs of a study ended with their process, and free what they hold.

    Parameters
    ----------
    deployment
        The study on the server. Its runs are begun by this machine only, so that the lock in `out` says whether one lives.
    out
        The study's folder of run folders.
    study
        Its name.
    limits
        Concurrency limits that nobody else can hold now, because the server was just started for us.

    Returns
    -------
    int
        How many runs were let go. None, where one of them lives: its lock is held.
    """
    try:
        with only_run(out, study=study), get_client(sync_client=True) as client:
            runs = client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ALIVE))),
            )
            for run in runs:
                client.set_flow_run_state(run.id, Crashed(message=GONE))
            slot = client.read_deployment(deployment).global_concurrency_limit
            for name in (*limits, *([slot.name] if slot else [])):
                _free(client, name)
            return len(runs)
    except ConfigProblem:
        return 0


def _free(client: SyncPrefectClient, name: str) -> None:
    try:
        found = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        return
    if found.active_slots:
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
