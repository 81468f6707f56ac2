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

# Of documents: `lsp_server.eligibility`.
OPTIONS_ERROR = Reason(
    "options-error",
    "the option 'exclude' or 'languages' cannot be read, so nothing is completed",
    is_fault=True,
)
LANGUAGE_OFF = Reason("language-off", "completion is switched off for this language")
EXCLUDED = Reason("excluded", "the option 'exclude' keeps the file out")
SECRET_FILE = Reason("secret-file", "the name of the file or of its folder says that it holds secrets")
TOO_LARGE = Reason("too-large", "the file is too large")

# Of one request, whose document is completed in general.
MOVED_ON = Reason("moved-on", "the text was changed before the answer came")
ENGINE_DOWN = Reason("engine-down", "the engine process ended before the answer came", is_fault=True)
NOTHING_TO_ADD = Reason("nothing-to-add", "the model has nothing to add here")
NOTHING_NEW = Reason("nothing-new", "what the model would add is blank, or stands behind the cursor already")
