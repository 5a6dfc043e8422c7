"""How is a study validated every night? This process registers it with Prefect, starts its runs, and ends when told to."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cohort.records import ConfigProblem
from flows.analysis_plan import plan_of
from flows.config import ValidationConfig, load_config, prepare_environment
from flows.dead_runs import let_go
from flows.notifications import key_of, notify_through
from flows.prefect_server import LOOPBACK, PORT, Api, is_loopback, prefect_api
from flows.schedule import GPU_LIMIT, How, many, nightly

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner

NEVER = "never"
CRON_FIELDS = 5
WATCH_S = 1.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class ServeOptions:
    """How a study is served.

    Attributes
    ----------
    cron, timezone
        When; ``never`` for runs by hand only.
    name
        Of the deployment; the study's if empty.
    host, port
        Where our own Prefect server listens.
    run_now
        Begin a run at once, too.
    notify
        TYPE/NAME of the notification block that is told of worse verdicts and of runs that did not end well; nobody if
        empty.
    report_url
        See `flows.schedule.How`.
    """

    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    name: str = ""
    host: str = LOOPBACK
    port: int = PORT
    run_now: bool = False
    notify: str = ""
    report_url: str = ""


def serve(path: Path, options: ServeOptions, *, say: Say) -> None:
    """Serve a study until SIGTERM or SIGINT; a run that is going on is stopped, and the next one goes on with it.

    Parameters
    ----------
    path
        Of the configuration.
    options
        How.
    say
        Told what happens, in lines.

    Raises
    ------
    ConfigProblem
        The configuration, the schedule, the server or the notification block cannot be used, or our own server ended.
    """
    config = load_config(path)
    plan_of(config)
    coming = next_runs(options)
    prepare_environment()
    with prefect_api(host=options.host, port=options.port) as api:
        if api.process is not None and not is_loopback(options.host):
            say(f"Prefect's server listens on {options.host}: whoever reaches it can start runs and read results")
        if options.notify:
            for name in notify_through(options.notify, study=config.name):
                say(f"automation: {name}")
        ensure_gpu_limit()
        say(f"page: {api.page}; runs go to {config.out}")
        say(f"next run: {coming[0]:%Y-%m-%d %H:%M %Z}" if coming else "runs begin by hand")
        asyncio.run(_serve(deployment_of(path, config, options), config, api, options, say))


def next_runs(options: ServeOptions, *, n: int = 1, start: datetime | None = None) -> list[datetime]:
    """When the schedule begins runs; nothing for ``never``.

    Raises
    ------
    ConfigProblem
        It is no schedule of five fields, never comes true, or the time zone is unknown.
    """
    if options.cron == NEVER:
        return []
    from prefect.server.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        ZoneInfo(options.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigProblem(f"--timezone: expected a name such as Europe/Berlin, got {options.timezone!r}") from error
    wrong = f'--cron: expected five fields such as "0 2 * * *", or {NEVER}, got {options.cron!r}'
    # Prefect takes a sixth field, of seconds, at the end; who writes six means it at the front
    if len(options.cron.split()) != CRON_FIELDS:
        raise ConfigProblem(wrong)
    try:
        schedule = CronSchedule(cron=options.cron, timezone=options.timezone)
        dates = asyncio.run(schedule.get_dates(n=n, start=start or datetime.now(UTC)))
    except ValidationError as error:
        raise ConfigProblem(wrong) from error
    except (ValueError, KeyError) as error:
        raise ConfigProblem(f"{wrong}, which never comes") from error
    if not dates:
        raise ConfigProblem(f"{wrong}, which never comes")
    return list(dates)


def deployment_of(path: Path, config: ValidationConfig, options: ServeOptions) -> "RunnerDeployment":
    """The study as Prefect knows it: this configuration only, one run at a time, a new one turned away meanwhile."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType
    from prefect.utilities.annotations import freeze

    name = options.name or key_of(config.name)
    if set(name) & set("/%&><"):
        raise ConfigProblem(f"--name: expected a name without / % & > <, got {name!r}")
    how = How(report_url=options.report_url)
    made: RunnerDeployment = nightly.to_deployment(  # type: ignore[assignment]
        name=name,
        schedule=None if options.cron == NEVER else Cron(options.cron, timezone=options.timezone),
        paused=False,
        parameters={"config": freeze(str(path.resolve())), "how": how.model_dump(exclude_defaults=True)},
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        description=f"{config.title or config.name}: validation of {config.cohort}, into {config.out}",
        tags=["cardioval", key_of(config.name)],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return made


def ensure_gpu_limit(name: str = GPU_LIMIT) -> None:
    """One run at a time on the GPU, where nobody said otherwise yet."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))


async def _serve(
    deployment: "RunnerDeployment", config: ValidationConfig, api: Api, options: ServeOptions, say: Say
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.runner import Runner

    # a schedule that nobody serves is paused: nights without us shall not pile up
    runner = Runner(name=deployment.name, limit=1, pause_on_shutdown=options.cron != NEVER)
    made = await runner.aadd_deployment(deployment)
    # of a server that has only just begun for us nobody else can hold the GPU's slot
    limits = (GPU_LIMIT,) if api.process is not None else ()
    gone = await asyncio.to_thread(let_go, made, out=config.out, study=config.name, limits=limits)
    if gone:
        say(f"{many(gone, 'run')} ended with the process, as after a power loss; the next goes on")
    if options.run_now:
        async with get_client() as client:
            await client.create_flow_run_from_deployment(made)
    serving = asyncio.create_task(runner.start())
    watching = asyncio.create_task(_watch(api))
    stop = asyncio.Event()
    while not (runner.started or serving.done()):
        await asyncio.sleep(0.05)
    # after the start: the runner sets a handler of its own, which cannot stop a run
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    say(f"serving {deployment.full_name}; stop with Ctrl-C or SIGTERM")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    watching.cancel()
    if stop.is_set():
        say("stopping; a run that is going on is stopped, and the next one goes on with it")
    await _end(runner, serving)
    if watching.done() and not watching.cancelled() and not stop.is_set():
        watching.result()


async def _end(runner: "Runner", serving: "asyncio.Task[Any]") -> None:
    if not serving.done() and runner.started:
        await runner.astop()
    await serving


async def _watch(api: Api) -> None:
    """Ends with an error when our own server ends by itself."""
    while api.process is None or api.process.poll() is None:
        await asyncio.sleep(WATCH_S)
    raise ConfigProblem(f"Prefect's server ended with status {api.process.returncode}; see {api.log}")
