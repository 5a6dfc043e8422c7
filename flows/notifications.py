"""Who is told of a scheduled run? Prefect's page through artifacts, and automations through an event.

A run is done when its results are written; that nobody could be told of it is a warning, not a failure. Nothing here
names a patient. Addresses and secrets of those who are told lie in Prefect's notification blocks, never here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cohort.records import CardioValError, ConfigProblem
from flows.compare import compared
from flows.config import prepare_environment
from flows.export import read_results
from flows.validate import RunSummary
from reports.document import in_order
from reports.tables import MISSING, arm_label, decimals, interval, limits, phenotype_label, phenotype_unit

prepare_environment()
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

EVENT = "cardioval.verdict.worsened"
FLOW = "cardioval-validation"
#: Prefect's own events: a run that broke, whose process is gone, that nobody begins, or that was turned away or canceled
NOT_WELL = frozenset(f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut", "Late", "Cancelled"))
FULLY_SAMPLED = "fully_sampled"
WORSE = "worse"
# of a notification; the event and the page have all
MOST_LINES = 10
Warn = Callable[[str], None]


def worse_verdicts(summary: RunSummary, *, before: Path | None, warn: Warn) -> list[str]:
    """In one line each, the verdicts that are worse than in the study's run before.

    The history knows it where the run could be recorded; else the results in `before`, the folder of the last scheduled
    run, are compared.
    """
    recorded = summary.recorded
    if recorded is not None and recorded.sent:
        return [finding.text for finding in recorded.worsened]
    if before is None:
        return []
    try:
        rows = compared(read_results(before), summary.results)["verdicts"]
    except (CardioValError, KeyError, TypeError, ValueError) as problem:
        warn(f"cannot be compared with the run in {before}: {type(problem).__name__}: {problem}")
        return []
    labels = {arm["arm"]: arm_label(arm) for arm in summary.results["arms"]}
    return [
        f"{phenotype_label(row['phenotype'])}, {labels.get(row['arm'], row['arm'])}: the verdict worsened from "
        f"{row['before']!r} to {row['after']!r}: {row['reason_after']}"
        for row in rows
        if row["change"] == WORSE
    ]


def publish(summary: RunSummary, worse: Sequence[str], *, before: Path | None, report_url: str, warn: Warn) -> None:
    """Put the verdicts and the link to the report on Prefect's page, under keys of the study."""
    name, link = summary.results["study"]["name"], report_link(summary.folder, report_url)
    words = [f"**{name}**", f"`{summary.folder}`"]
    words += [f"Failures, listed in failures.csv: {summary.n_failed}."] if summary.n_failed else []
    nothing = "No verdict is worse than in the run before." if before else "No run before it to compare with."
    words += [f"- {line}" for line in worse] or [nothing]
    try:
        create_table_artifact(
            table=verdict_rows(summary.results), key=f"verdicts-{key_of(name)}", description="\n\n".join(words)
        )
        create_link_artifact(link=link, link_text=f"Report of {name}", key=f"report-{key_of(name)}")
    except Exception as problem:
        warn(f"verdicts are not on Prefect's page: {type(problem).__name__}: {problem}")


def announce(summary: RunSummary, worse: Sequence[str], *, report_url: str, warn: Warn) -> None:
    """Emit the event that automations wait for, where a verdict is worse."""
    if not worse:
        return
    name, link = summary.results["study"]["name"], report_link(summary.folder, report_url)
    more = [f"and {len(worse) - MOST_LINES} more"] if len(worse) > MOST_LINES else []
    sent = emit_event(
        event=EVENT,
        resource={"prefect.resource.id": resource_id(name), "prefect.resource.name": name},
        payload={
            "study": name,
            "folder": str(summary.folder),
            "report": link,
            "n_worse": len(worse),
            "worse": list(worse),
            "text": "\n".join([*worse[:MOST_LINES], *more, link]),
        },
    )
    if sent is None:
        warn(f"the event {EVENT} could not be sent")


def verdict_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Verdicts against fully sampled of what has margins (all, where nothing has), as people read them."""
    arms = {arm["arm"]: arm for arm in results["arms"]}
    rows = [row for row in results["agreement"] if row["against"] == FULLY_SAMPLED]
    judged = [row for row in rows if row["phenotype"] in results["plan"]["margins"]] or rows
    order = {name: place for place, name in enumerate(in_order(list({row["phenotype"] for row in judged})))}
    return [
        {
            "measurement": phenotype_label(row["phenotype"]),
            "arm": arm_label(arms[row["arm"]]),
            "verdict": row["verdict"],
            "patients": row["n"],
            "failed": row["failed"],
            "bias": _measured(row, "bias"),
            "limits of agreement": _measured(row, "limits"),
            "reason": row["reason"],
        }
        for row in sorted(judged, key=lambda row: order[row["phenotype"]])
    ]


def report_link(folder: Path, report_url: str) -> str:
    """Where the report is: a file, or at the address under which the study's folder of runs is served."""
    page = "report/index.html"
    return f"{report_url.rstrip('/')}/{folder.name}/{page}" if report_url else (folder.resolve() / page).as_uri()


def key_of(study: str) -> str:
    """A study's name as Prefect's keys allow it: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-") or "study"


def resource_id(study: str) -> str:
    """The study as a resource of events."""
    return f"cardioval.study.{key_of(study)}"


# ---- automation -------------------------------------------------------------------------------------------------------


def automations(study: str, *, block_id: UUID) -> tuple[AutomationCore, AutomationCore]:
    """Send a notification when a verdict of a study became worse, and when a run of it did not end well.

    Who gets it, and how, is in the block. The second says which run, and not why: the reason stands on Prefect's page.
    """
    return (
        AutomationCore(
            name=f"CardioVal: worse verdict in {study}",
            description="Made by cardioval serve --notify.",
            enabled=True,
            trigger=_at_once({EVENT}, match={"prefect.resource.id": resource_id(study)}),
            actions=[
                _send(
                    block_id,
                    subject="CardioVal: {{ event.payload['n_worse'] }} worse verdict"
                    "{{ '' if event.payload['n_worse'] == 1 else 's' }} in {{ event.payload['study'] }}",
                    body="{{ event.payload['text'] }}",
                )
            ],
        ),
        AutomationCore(
            name=f"CardioVal: run not well of {study}",
            description="Made by cardioval serve --notify.",
            enabled=True,
            trigger=_at_once(
                set(NOT_WELL),
                match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related=[
                    {"prefect.resource.role": "flow", "prefect.resource.name": FLOW},
                    {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{key_of(study)}"},
                ],
            ),
            actions=[
                _send(
                    block_id,
                    subject="CardioVal: a run of {{ deployment.name }} is {{ flow_run.state.name }}",
                    body="{{ flow_run.name }} is {{ flow_run.state.name }}; why stands at "
                    "{{ (flow_run|ui_url) or 'Prefect\\'s page' }}. `cardioval doctor` looks for the cause; the next run "
                    "goes on with what is there.",
                )
            ],
        ),
    )


def _asked(automation: AutomationCore) -> dict[str, Any]:
    """What an automation waits for and does, without what the server adds."""
    # an automation that was just written does not see what happens in the same moment: it is not written for nothing
    content = automation.model_dump(mode="json", include={"trigger", "actions"}, exclude={"trigger": {"id"}})
    content["trigger"]["expect"] = sorted(content["trigger"]["expect"])
    return content


def _at_once(expect: set[str], **match: Any) -> EventTrigger:
    return EventTrigger(expect=expect, posture=Posture.Reactive, threshold=1, within=timedelta(0), **match)


def _send(block_id: UUID, *, subject: str, body: str) -> SendNotification:
    return SendNotification(block_document_id=block_id, subject=subject, body=body)


def notify_through(block: str, *, study: str) -> list[str]:
    """Make or renew a study's automations with a notification block; returns their names.

    Parameters
    ----------
    block
        TYPE/NAME, such as ``slack-webhook/cardiac``.

    Raises
    ------
    ConfigProblem
        There is no such block.
    """
    kind, _, name = block.partition("/")
    if not kind or not name:
        raise ConfigProblem(
            f"--notify: expected TYPE/NAME of a notification block, such as slack-webhook/cardiac, got {block!r}"
        )
    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(name, kind, include_secrets=False)
        except ObjectNotFound as error:
            raise ConfigProblem(
                f"--notify: Prefect has no block {block}; make it on its page under Blocks first"
            ) from error
        wanted = automations(study, block_id=found.id)
        for one in wanted:
            known = client.read_automations_by_name(one.name)
            if not known:
                client.create_automation(one)
            elif _asked(known[0]) != _asked(one):
                # whether it is on stays as somebody set it on the page
                client.update_automation(known[0].id, one.model_copy(update={"enabled": known[0].enabled}))
    return [one.name for one in wanted]


def _measured(row: Mapping[str, Any], what: str) -> str:
    digits = decimals(row["phenotype"])
    text = interval(row["bias"], digits, signed=True) if what == "bias" else limits(row, digits)
    unit = phenotype_unit(row["phenotype"])
    return f"{text} {unit}" if unit and text != MISSING else text
