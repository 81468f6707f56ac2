"""Whether the machine should save power: Linux tells in /sys/class/power_supply. Elsewhere: not known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

PowerSaving = Literal["auto", "battery", "never"]

LOW_PERCENT = 20
_FRESH_S = 30.0
_SYS = Path("/sys")


class Power:
    """The state of the battery, read at most every half minute."""

    def __init__(self, sys: Path | None = None) -> None:
        """`sys` is the root of Linux' sysfs."""
        self._sys = sys or _SYS
        self._read_at = -_FRESH_S
        self._discharging = self._low = False

    def should_save(self, mode: PowerSaving) -> bool:
        """`auto`: on battery and it is low or the system's profile is `low-power`; `battery`: on battery."""
        if mode == "never":
            return False
        if time.monotonic() - self._read_at >= _FRESH_S:
            self._read()
        return self._discharging and (mode == "battery" or self._low)

    def _read(self) -> None:
        self._read_at = time.monotonic()
        batteries = [s for s in self._sys.glob("class/power_supply/*") if _word(s / "type") == "Battery"]
        emptying = [battery for battery in batteries if _word(battery / "status") == "Discharging"]
        percents = [int(word) for battery in emptying if (word := _word(battery / "capacity")).isdigit()]
        profile = _word(self._sys / "firmware/acpi/platform_profile")
        self._discharging = bool(emptying)
        self._low = profile == "low-power" or min(percents, default=100) <= LOW_PERCENT


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
