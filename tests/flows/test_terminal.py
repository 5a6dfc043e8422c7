"""Is the progress view right on a terminal, and sensible in a log?"""

import io

import pandas as pd
import pytest
from rich.console import Console

from flows.terminal import MOST_FAILURES_NAMED, QUIET_S, PlainView, bars, counted, duration, failure_line
from flows.terminal_tables import print_catalogue


def plain() -> tuple[PlainView, list[str], list[float]]:
    lines: list[str] = []
    now = [0.0]
    return PlainView(lines.append, clock=lambda: now[0]), lines, now


def test_a_log_gets_a_line_each_tenth() -> None:
    view, lines, now = plain()
    for done in range(1, 1001):
        now[0] += 0.6
        view("reconstruct", done, 1000, f"C1 P{done} cine")
    assert len(lines) == 11
    assert lines[0] == "reconstruct: 1 of 1000 (C1 P1 cine)"
    assert lines[5] == "reconstruct: 500 of 1000, 4 min 59 s, about 5 min 00 s left (C1 P500 cine)"
    assert lines[-1] == "reconstruct: 1000 of 1000, 9 min 59 s"


def test_slow_stages_speak_in_between() -> None:
    view, lines, now = plain()
    for done in range(1, 8):
        now[0] += QUIET_S / 2
        view("reconstruct", done, 1000, "x")
    assert [line.split(",")[0].split(" (")[0] for line in lines] == [f"reconstruct: {n} of 1000" for n in (1, 3, 5, 7)]


def test_the_same_number_is_said_once_and_a_total_may_shrink() -> None:
    view, lines, now = plain()
    view("measure", 0, 2, "")
    view("measure", 0, 2, "")
    now[0] = 2 * QUIET_S
    view("measure", 0, 2, "")
    view("measure", 1, 1, "x")
    view("none", 0, 0, "")
    assert lines == ["measure: 0 of 2", "measure: 1 of 1, 10 min 00 s", "none: 0 of 0"]


def test_failures_are_counted_and_named_until_they_are_many() -> None:
    view, lines, _ = plain()
    view.failed("segment", "C1 P1 cine", "no heart")
    view("segment", 1, 2, "C1 P1 cine")
    assert lines == ["segment: C1 P1 cine failed: no heart", "segment: 1 of 2, 1 failed (C1 P1 cine)"]
    for _ in range(100):
        view.failed("segment", "x")
    assert len(lines) == 2 + MOST_FAILURES_NAMED
    assert lines[-1] == "segment: more failures are only counted"
    assert failure_line("s", "x", "", 99) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (3600, "1 h 00 min"), (7501, "2 h 05 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_without_a_terminal_plain_lines_are_printed_and_nothing_is_drawn() -> None:
    file = io.StringIO()
    with bars(Console(file=file, force_terminal=False, width=40)) as view:
        step = counted(view, "simulate", 3)
        for name in ("one [bold]", "two", "a name that is much longer than the forty columns of this screen"):
            step(name)
    lines = file.getvalue().splitlines()
    assert lines[0] == "simulate: 1 of 3 (one [bold])"
    assert [line.split(",")[0].split(" (")[0] for line in lines[1:]] == ["simulate: 2 of 3", "simulate: 3 of 3"]
    assert "\x1b" not in file.getvalue()


def test_on_a_terminal_every_stage_has_its_bar_with_its_failures() -> None:
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=140, color_system=None, legacy_windows=False)
    with bars(screen) as view:
        view("reconstruct", 3, 4, "C1 P1 [cine]")
        view.failed("measure", "C1 P2 T1map", "no myocardium")
        view("measure", 1, 4, "C1 P2 T1map")
        view("reconstruct", 4, 4, "C1 P3 cine")
    text = file.getvalue()
    last = text[text.rindex("reconstruct ") :]
    assert "4/4" in last
    assert "measure" in last
    assert "1/4" in last
    assert "1 failed" in last
    assert "measure: C1 P2 T1map failed: no myocardium" in text
    assert "C1 P3 cine" in last


def test_a_list_of_scans_in_a_log_is_whole_and_ends_with_what_is_bad(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # as without a terminal
    row = {"center": "Center001", "patient": "P001", "vendor": "Siemens", "scanner": "Freemax", "field_t": 0.55}
    row |= {"view": "short-axis", "disease": "hypertrophic", "reason": ""}
    good = row | {"stem": "cine_sax", "shape": (10, 6, 10, 120, 256), "status": "ok", "file": "a/cine_sax.mat"}
    reason = "T2map_info.csv: states FOVx in cm; expected mm [and not anything else that would take a line or two]"
    bad = row | {"stem": "T2map", "shape": (), "status": "bad", "file": "a/T2map.mat", "reason": reason}
    print_catalogue(pd.DataFrame([good, bad]), root="some [root]")
    lines = capsys.readouterr().out.splitlines()
    assert "2 scans in some [root], 1 of them bad" in lines[0]
    (listed,) = [line for line in lines if "cine_sax" in line]
    assert "Siemens Freemax 0.55 T" in listed
    assert "10x6x10x120x256" in listed
    assert lines[-1] == f"bad: a/T2map.mat: {reason}"
