"""Why nothing is shown. Every silent case has a reason, which the status and `midword.explain` tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """A short name that stays the same from version to version, and a sentence for people."""

    name: str
    sentence: str
    is_fault: bool = False
    """Whether something is wrong, as opposed to wanted so."""


DISABLED = Reason("disabled", "completion is switched off")
NOT_OPEN = Reason("not-open", "the document is not open")
POWER_SAVING = Reason("power-saving", "the machine saves power: only what is asked for by hand is completed")

# Of one request, whose document is completed in general.
MOVED_ON = Reason("moved-on", "the text was changed before the answer came")
ENGINE_DOWN = Reason("engine-down", "the engine process ended before the answer came", is_fault=True)
NOTHING_TO_ADD = Reason("nothing-to-add", "the model has nothing to add here")
NOTHING_NEW = Reason("nothing-new", "what the model would add is blank, or stands behind the cursor already")
