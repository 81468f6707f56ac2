"""The methods beside each other: how the prompt is laid out, and how it is decoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from engine.backends.base import StopSignal
from engine.cache import Scorer
from engine.completer import Completer
from engine.errors import InputError
from engine.fim import Template
from engine.model import Model
from engine.types import Method, Request, Result
from lsp_server.evaluation.items import Item
from lsp_server.related import excerpt_below

Layout = Literal["psm", "spm", "prefix", "below", "prefix+suffix", "below+suffix", "psm+suffix", "spm+suffix"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
METHODS: tuple[Method, ...] = ("naive", "heal-one", "exact")
_WITHOUT_FIM = ("prefix", "below")


@dataclass(frozen=True, slots=True)
class Way:
    """A decoding method in a layout.

    "prefix" shows nothing of the suffix, "below" the lines below the cursor's as the server does. "+suffix"
    chooses texts by how the suffix follows them.
    """

    layout: Layout
    method: Method

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.method}, {self.layout}"


def ways(template: Template, layouts: list[Layout] | None, methods: list[Method] | None) -> list[Way]:
    """All combinations that the model can do; suffix scoring is done by the exact method only.

    Raises InputError if a layout was asked for that the model has no sentinels for.
    """
    possible = [layout for layout in LAYOUTS if template.order != "none" or layout.startswith(_WITHOUT_FIM)]
    if layouts and not set(layouts) <= set(possible):
        raise InputError(
            f"the layout {sorted(set(layouts) - set(possible))[0]!r} needs a model with FIM; this one can do"
            f" {', '.join(possible)}"
        )
    return [
        Way(layout, method)
        for layout in layouts or possible
        for method in methods or METHODS
        if method == "exact" or "+" not in layout
    ]


def template_of(template: Template, layout: Layout) -> Template:
    """`template` laid out otherwise; SPM as StarCoder does it: prefix and middle are one text."""
    if layout.startswith(_WITHOUT_FIM):
        return Template("none", template.start)
    if layout.startswith("spm") and template.order == "psm":
        return replace(template, order="spm", start=template.start + template.prefix, prefix=())
    if layout.startswith("psm") and template.order != "psm":
        raise InputError("this model was trained with the suffix first only; leave out the PSM layouts")
    return template


def complete(model: Model, item: Item, way: Way, max_tokens: int) -> Result:
    """One completion, from an empty row cache and without drafts, so that evaluations are counted alike."""
    template = template_of(model.template, way.layout)
    fresh = replace(model, template=template, scorer=Scorer(model.backend))
    below = excerpt_below(item.path, item.suffix) if way.layout.startswith("below") else ()
    request = Request(
        prefix=item.prefix,
        suffix=item.suffix,
        path=item.path,
        related=below + item.related,
        max_tokens=max_tokens,
        max_lines=item.max_lines,
        method=way.method,
        suffix_scoring="on" if "+" in way.layout else "off",
        drafts="off",
    )
    return Completer(fresh).complete(request, StopSignal())
