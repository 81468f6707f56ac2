from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsp_server.pace import MOST_WAIT_S, Pace
from lsp_server.power import Power, PowerSaving


def typed(pace: Pace, interval_s: float, keys: int = 60, start: float = 100.0) -> None:
    for number in range(keys):
        pace.edited(start + number * interval_s)


def test_there_is_no_wait_while_the_engine_keeps_up() -> None:
    pace = Pace()
    typed(pace, 0.1)
    for _ in range(60):
        pace.answered(0.09)
    assert pace.typing_s == pytest.approx(0.1, rel=0.01) and pace.wait_s() == 0


@pytest.mark.parametrize(
    ("interval_s", "answer_s", "wait_s"),
    [(0.1, 0.13, 0.03), (0.1, 1.0, 0.1), (0.4, 3.0, MOST_WAIT_S)],
)
def test_the_wait_grows_with_the_delay_up_to_an_interval(
    interval_s: float, answer_s: float, wait_s: float
) -> None:
    pace = Pace()
    typed(pace, interval_s)
    for _ in range(60):
        pace.answered(answer_s)
    assert pace.wait_s() == pytest.approx(wait_s, rel=0.05)


def test_a_pause_is_no_rhythm() -> None:
    pace = Pace()
    typed(pace, 0.1)
    before = pace.typing_s
    pace.edited(10_000.0)
    assert pace.typing_s == before


def sysfs(root: Path, status: str, capacity: str, profile: str = "balanced") -> Path:
    files = {
        "class/power_supply/AC/type": "Mains",
        "class/power_supply/BAT0/type": "Battery",
        "class/power_supply/BAT0/status": status,
        "class/power_supply/BAT0/capacity": capacity,
        "firmware/acpi/platform_profile": profile,
    }
    for name, word in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(word + "\n")
    return root


@pytest.mark.parametrize(
    ("status", "capacity", "profile", "mode", "saves"),
    [
        ("Discharging", "80", "balanced", "auto", False),
        ("Discharging", "20", "balanced", "auto", True),
        ("Discharging", "80", "low-power", "auto", True),
        ("Charging", "5", "low-power", "auto", False),
        ("Discharging", "80", "balanced", "battery", True),
        ("Full", "100", "balanced", "battery", False),
        ("Discharging", "5", "low-power", "never", False),
        ("Discharging", "", "balanced", "auto", False),
    ],
)
def test_when_power_is_saved(
    tmp_path: Path, status: str, capacity: str, profile: str, mode: PowerSaving, saves: bool
) -> None:
    assert Power(sysfs(tmp_path, status, capacity, profile)).should_save(mode) is saves


def test_a_machine_without_battery_never_saves(tmp_path: Path) -> None:
    assert not Power(tmp_path).should_save("battery")


@pytest.fixture
def on_battery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsp_server.power._SYS", sysfs(tmp_path / "sys", "Discharging", "80"))


async def test_saving_power_means_answering_by_hand_only(
    on_battery: None, client: Any, engine_log: Any
) -> None:
    await client.initialize(powerSaving="battery", workAhead=True)
    client.open("x.hel\n")
    assert await client.texts(0, 5) == []
    assert not engine_log.lines("complete") and not engine_log.lines("warm")
    by_hand = {
        "textDocument": {"uri": "file:///work/a.py"},
        "position": {"line": 0, "character": 5},
        "context": {"triggerKind": 1},
    }
    answer = await client.call("textDocument/inlineCompletion", by_hand)
    assert [item["insertText"] for item in answer["items"]] == ["lo()"]
