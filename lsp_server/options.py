"""What the client may set: JSON in, typed settings out; a bad value is reported and defaulted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from engine.errors import InputError
from engine.types import Drafts, Excerpt, Method, Request, SuffixScoring
from lsp_server.power import PowerSaving


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force. In JSON the names are in camelCase: `maxTokens`."""

    enabled: bool = True
    model: str = ""
    """Name or path of the model; empty means the default model."""
    max_tokens: int = 32
    max_lines: int = 1
    alternatives: int = 1
    deadline_ms: int = 3000
    """Milliseconds after which the best text so far is shown."""
    debounce_ms: int = -1
    """Milliseconds to wait for the next keystroke before the engine is asked; -1: as the pace demands."""
    work_ahead: bool = True
    """Whether the engine works on what the user will probably ask for next, while nothing else is to do."""
    power_saving: PowerSaving = "auto"
    """When only what is asked for by hand is done."""
    method: Method = "exact"
    """How the engine decodes; all but exact are for comparison."""
    languages: Mapping[str, bool] = field(default_factory=dict)
    """The switch by `languageId`; `*` is any other. What is not named is on."""
    exclude: tuple[str, ...] | None = ()
    """Patterns in gitignore's syntax of files that are kept out; None if they cannot be read."""
    drafts: Drafts = "auto"
    """How the engine guesses rows before it needs them; changes its speed, never its answers."""
    suffix_scoring: SuffixScoring = "auto"
    """Where completions are chosen by how the text after the cursor follows them: inside lines, or also at
    their ends ("on")."""
    related_files: bool = True
    """Whether the model is shown what resembles the place of the cursor in other open documents."""
    completion_items: bool = False
    """Whether the same texts are given as ordinary completion items too."""
    statistics: bool = True
    """Whether shown, accepted and kept texts are counted, on this machine only."""
    report_usage: bool = False
    """Whether the client gets `midword/usage` notifications."""
    report_status: bool = False
    """Whether the client gets `didChangeStatus` notifications."""

    def request(self, prefix: bytes, suffix: bytes, path: str, related: tuple[Excerpt, ...] = ()) -> Request:
        """The engine's request for a cursor between `prefix` and `suffix`."""
        return Request(
            prefix=prefix,
            suffix=suffix,
            path=path,
            related=related,
            max_tokens=self.max_tokens,
            max_lines=self.max_lines,
            alternatives=self.alternatives,
            deadline_ms=float(self.deadline_ms),
            method=self.method,
            drafts=self.drafts,
            suffix_scoring=self.suffix_scoring,
        )


_NAMES = {
    "enabled": "enabled",
    "model": "model",
    "maxTokens": "max_tokens",
    "maxLines": "max_lines",
    "alternatives": "alternatives",
    "deadlineMs": "deadline_ms",
    "debounceMs": "debounce_ms",
    "workAhead": "work_ahead",
    "powerSaving": "power_saving",
    "method": "method",
    "languages": "languages",
    "exclude": "exclude",
    "drafts": "drafts",
    "suffixScoring": "suffix_scoring",
    "relatedFiles": "related_files",
    "completionItems": "completion_items",
    "statistics": "statistics",
    "reportUsage": "report_usage",
    "reportStatus": "report_status",
}
_LIMITS = {
    "maxTokens": (1, 1024),
    "maxLines": (1, 100),
    "alternatives": (1, 10),
    "deadlineMs": (50, 60_000),
    "debounceMs": (-1, 5_000),
}
_KEEPING_OUT = ("languages", "exclude")
_CHOICES: dict[str, tuple[str, ...]] = {
    "powerSaving": get_args(PowerSaving),
    "method": get_args(Method),
    "drafts": get_args(Drafts),
    "suffixScoring": get_args(SuffixScoring),
}


def parse(sent: Any) -> tuple[Settings, list[str]]:
    """Settings from what the client sent, and one sentence for each part that cannot be used.

    `sent` is the object itself or `{"midword": object}`; null means all defaults.
    """
    if isinstance(sent, dict) and "midword" in sent:
        sent = sent["midword"]
    if sent is None:
        return Settings(), []
    if not isinstance(sent, dict):
        return Settings(), [f"the options must be an object, not {type(sent).__name__}; defaults are used"]
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in sent.items():
        problem = _privacy_problem(name, value) if name in _KEEPING_OUT else _problem(name, value)
        if problem:
            problems.append(problem)
        else:
            values[_NAMES[name]] = tuple(value) if isinstance(value, list) else value
        if problem and name in _KEEPING_OUT:
            values["exclude"] = None
    return Settings(**values), problems


def _privacy_problem(name: str, value: Any) -> str | None:
    """Why what is kept out is not known, or None. No default would be safe."""
    if name == "languages":
        good = isinstance(value, dict) and all(isinstance(switch, bool) for switch in value.values())
        wanted = "an object of true and false by language"
        return None if good else f"option {name!r} must be {wanted}; nothing is completed until it is"
    if not isinstance(value, list) or not all(isinstance(glob, str) for glob in value):
        return f"option {name!r} must be a list of strings; nothing is completed until it is"
    from lsp_server.patterns import Patterns  # most starts do without

    try:
        Patterns(value)
    except InputError as error:
        return f"option {name!r}: {error}; nothing is completed until it is one"
    return None


def _problem(name: str, value: Any) -> str | None:
    """Why option `name` cannot have `value`, or None."""
    if name not in _NAMES:
        return f"option {str(name)[:40]!r} is unknown; known are {', '.join(_NAMES)}"
    default = getattr(Settings(), _NAMES[name])
    if type(value) is not type(default):
        kind = {bool: "true or false", int: "a whole number", str: "a string"}[type(default)]
        return f"option {name!r} must be {kind}; {default!r} is used"
    if name in _CHOICES and value not in _CHOICES[name]:
        known = ", ".join(_CHOICES[name])
        return f"option {name!r} must be one of {known}, not {value[:40]!r}; {default!r} is used"
    low, high = _LIMITS.get(name, (None, None))
    if low is not None and high is not None and not low <= value <= high:
        return f"option {name!r} must be from {low} to {high}, not {value}; {default!r} is used"
    return None
