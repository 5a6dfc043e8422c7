"""Do scheduled validations still begin and end? Asked of Prefect's server, and of the folder of runs where there is none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise, takewhile
from statistics import median
from typing import Any

from flows.doctor_findings import Answer, Check, Patient, ok, problem, warning
from flows.prefect_server import LOOPBACK, PORT

TAG = "cardioval"
OWN = f"http://{LOOPBACK}:{PORT}/api"
REACH_TIMEOUT_S = 3.0
#: of the usual time between two runs; a run that is longer away than so many of them stays away
LATE = 2.0
FEWEST_RUNS = 3
BROKEN = ("Failed", "Crashed", "TimedOut")
START = "cardioval serve, or the worker of its pool, must be running where the data are; see docs/schedule.md"


def server(patient: Patient) -> Iterator[Answer]:
    """Whether somebody begins the runs of the studies that Prefect's server has a schedule of, and how the last ended."""
    del patient
    from flows.config import prepare_environment

    prepare_environment()
    from prefect.settings import get_current_settings

    named = get_current_settings().api.url
    with _reached(str(named or OWN)) as client:
        if client is None:
            # a server of the user's that does not answer is the check "prefect"
            yield ok("no Prefect server answers here; no schedule is looked at")
            return
        made = _asked(client, "deployments", {"deployments": {"tags": {"all_": [TAG]}}})
        if not made:
            yield ok(f"no study is scheduled at {named or OWN}")
        for deployment in made:
            runs = _asked(
                client,
                "flow_runs",
                {
                    "deployments": {"id": {"any_": [deployment["id"]]}},
                    "flow_runs": {"expected_start_time": {"before_": datetime.now(UTC).isoformat()}},
                    "sort": "EXPECTED_START_TIME_DESC",
                    "limit": 50,
                },
            )
            yield judged(deployment, runs)


def judged(deployment: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> Answer:
    """One scheduled study.

    Parameters
    ----------
    deployment
        As Prefect's server tells it.
    runs
        Those that are due, newest first.
    """
    name = deployment["name"]
    due = bool(deployment["schedules"]) and any(one["active"] for one in deployment["schedules"])
    late = [run for run in runs if run["state_name"] == "Late"]
    ended = [run for run in runs if run["state_name"] in (*BROKEN, "Completed")]
    last = f"{ended[0]['state_name']} {_day(ended[0]['end_time'] or ended[0]['expected_start_time'])}" if ended else ""
    said = f"; the last run: {last}" if last else "; no run has ended yet"
    if late:
        since = _day(late[-1]["expected_start_time"])
        many = "1 run is" if len(late) == 1 else f"{len(late)} runs are"
        return problem(f"{name}: {many} late, since {since}{said}", f"nobody begins what is due: {START}")
    turned_away = list(takewhile(lambda run: run["state_name"] != "Completed", runs))
    turned_away = [run for run in turned_away if run["state_name"] == "Cancelled"]
    if len(turned_away) >= FEWEST_RUNS:
        since = _day(turned_away[-1]["expected_start_time"])
        return problem(
            f"{name}: {len(turned_away)} runs were canceled since {since}, and none has ended well{said}",
            "look at the run that is Running on Prefect's page; if nothing computes, start cardioval serve again, or free "
            "its slot under Concurrency",
        )
    if deployment["paused"] and deployment["schedules"]:
        return warning(f"{name}: its schedule is paused{said}", f"start it again: {START}")
    if due and deployment["status"] == "NOT_READY":
        return problem(f"{name}: scheduled, but nobody is there to begin its runs{said}", START)
    if ended and ended[0]["state_name"] in BROKEN:
        return warning(
            f"{name}: {'scheduled' if due else 'by hand'}{said}",
            "why stands on Prefect's page; the next run goes on with what is there",
        )
    return ok(f"{name}: {'scheduled' if due else 'by hand'}{said}")


def folder(patient: Patient) -> Iterator[Answer]:
    """Whether the runs in the folder for results come as they used to; needs no server."""
    from flows.run_folders import folders

    found = folders(patient.out)
    for study in dict.fromkeys(run.study for run in found):
        begun = [datetime.fromisoformat(run.begun_utc) for run in found if run.study == study]
        last = [run for run in found if run.study == study][-1]
        state = "ended" if last.ended_utc else f"has not ended (attempt {last.attempts})"
        text = f"{study}: {len(begun)} runs in {patient.out}, the last began {_day(begun[-1].isoformat())} and {state}"
        spans_s = [(later - earlier).total_seconds() for earlier, later in pairwise(begun)]
        usual_s = median(spans_s) if len(begun) >= FEWEST_RUNS else 0.0
        away_s = (datetime.now(UTC) - begun[-1]).total_seconds()
        if usual_s > 0 and away_s > LATE * usual_s:
            yield problem(
                f"{text}; before, one began every {_span(usual_s)}, now none for {_span(away_s)}",
                f"{START}. Where the study is over, look at another folder",
            )
        else:
            yield ok(text)


@contextmanager
def _reached(url: str) -> Iterator[Any]:
    """A client of the server, or None where it does not answer soon."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    changed: dict[Any, Any] = {PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}
    with (
        temporary_settings(changed),
        get_client(sync_client=True, httpx_settings={"timeout": REACH_TIMEOUT_S}) as client,
    ):
        try:
            answered = client.request("GET", "/health").status_code == httpx.codes.OK
        except (httpx.HTTPError, OSError, RuntimeError):
            answered = False
        yield client if answered else None


def _asked(client: Any, what: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = client.request("POST", f"/{what}/filter", json=question).json()
    return answer


def _day(stamp: str) -> str:
    """A moment for people, in UTC."""
    return f"{datetime.fromisoformat(stamp.replace('Z', '+00:00')).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} h" if hours >= 2 else f"{60 * hours:.0f} min"


SCHEDULE = (Check("schedule", server), Check("nightly runs", folder))
