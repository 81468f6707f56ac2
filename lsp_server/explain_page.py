"""The page of `midword explain --html`: it teaches the method on a real cursor."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from engine.covers import STOP
from engine.explain import ChosenByte, Explanation
from lsp_server.report import Section, page, table
from lsp_server.token_tree import Branch, branches, percent, shown, symbol_name

CONTEXT_LINES = 6
MOST_CHILDREN = 14
MOST_BYTES = 16
_STYLE = """
.tail { background: color-mix(in srgb, var(--mark) 22%, transparent); border-radius: 3px; }
.cursor { border-left: 2px solid var(--mark); margin-left: -1px; }
.new { color: var(--mark); font-weight: 600; }
ul.tree, ul.tree ul { list-style: none; padding-left: 1.3rem; border-left: 1px solid var(--line);
  margin: .15rem 0; }
ul.tree { padding-left: 0; border: 0; }
.token { font: 14px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--card);
  border: 1px solid var(--line); border-radius: 4px; padding: .05rem .35rem; }
.over { color: var(--mark); } .share { color: var(--quiet); font-size: .85rem; margin-left: .5rem; }
.bars { display: grid; grid-template-columns: max-content max-content 1fr; gap: .2rem .8rem;
  align-items: center; }
.bar { height: .8rem; background: var(--mark); border-radius: 2px; min-width: 1px; }
.steps { display: flex; flex-wrap: wrap; gap: 4px; }
.step { border: 1px solid var(--line); border-radius: 4px; padding: .1rem .4rem; text-align: center; }
.step b { font: 15px/1.3 ui-monospace, "DejaVu Sans Mono", monospace; display: block; }
.step small { color: var(--quiet); } .step.asked { border-color: var(--mark); border-width: 2px; }
"""


def explanation_page(
    found: Explanation, place: str, prefix: bytes, suffix: bytes, more: Sequence[Section] = ()
) -> str:
    """The whole document; `prefix` and `suffix` are the file's bytes around the cursor, `more` comes last."""
    sections = [
        Section("The cursor", _source(found, prefix, suffix)),
        Section("What a token model would be fed", _naive(found)),
        Section("All ways to cut the tail into tokens", _covers(found)),
        Section("The next byte", _next_bytes(found)),
        Section("The completion, byte by byte", _steps(found.chosen)),
        Section("Certificate", _certificate(found)),
        *more,
    ]
    lead = f"How midword completes at {place}, with {found.model}. This page loads nothing from elsewhere."
    return page(f"Why “{shown(found.text)}”?", lead, sections, _STYLE)


def _source(found: Explanation, prefix: bytes, suffix: bytes) -> str:
    before = b"\n".join(prefix.split(b"\n")[-CONTEXT_LINES:])
    tail = found.tail[-len(before) :] if found.tail else b""
    head, rest = before[: len(before) - len(tail)], suffix.split(b"\n")[0]
    parts = (
        f"{_text(head)}<span class=tail>{_text(tail)}</span><span class=cursor></span>"
        f"<span class=new>{_text(found.text)}</span>{_text(rest)}"
    )
    return (
        f"<pre>{parts}</pre><p>Before the coloured <em>tail</em> stand {found.fixed_tokens} tokens that no "
        "continuation can change. The tail is never cut into tokens: it is forced byte by byte.</p>"
    )


def _text(raw: bytes) -> str:
    return escape(raw.decode("utf-8", "backslashreplace"))


def _naive(found: Explanation) -> str:
    tokens = " ".join(_token(token) for token in found.naive_tokens)
    rows = [(shown(token) if token else "(control token)", f"{p:.2%}") for token, p in found.naive_next]
    return (
        f"<p>{tokens}</p><p>That is how the tokenizer cuts the tail if it is fed as it stands. A model has "
        "rarely seen its last tokens before what should follow, so its next token is a guess from the wrong "
        "place:</p>" + table(("next token", "probability"), rows)
    )


def _token(token: bytes, overhang: bytes = b"") -> str:
    over = f'<span class="over">▮{escape(shown(overhang))}</span>' if overhang else ""
    return f'<span class="token">{escape(shown(token))}{over}</span>'


def _covers(found: Explanation) -> str:
    settled = " ".join(_token(token) for token in found.settled[-6:])
    start = f"<p>All covers begin with … {settled}.</p>" if found.settled else ""
    return (
        "<p>A <em>cover</em> is a token sequence that starts with the tail, its last token passing the "
        f"cursor (▮). These {len(found.covers)} are all that the tokenizer could have made of some text that "
        f"begins like this; {found.contexts} contexts were scored in one evaluation of the model. Beside "
        f"each stands its share of the tail's probability.</p>{start}"
        f"<ul class=tree>{_branches(branches(found.covers))}</ul>"
    )


def _branches(found: tuple[Branch, ...]) -> str:
    items = [
        f"<li>{_token(b.token, b.overhang)}<span class=share>{percent(b.share)}</span>"
        + (f"<ul>{_branches(b.children)}</ul>" if b.children else "")
        + "</li>"
        for b in found[:MOST_CHILDREN]
    ]
    if len(found) > MOST_CHILDREN:
        hidden = found[MOST_CHILDREN:]
        items.append(f"<li class=share>{len(hidden)} more hold {percent(sum(b.share for b in hidden))}</li>")
    return "".join(items)


def _next_bytes(found: Explanation) -> str:
    likeliest = sorted(range(STOP + 1), key=lambda symbol: -found.next_bytes[symbol])[:MOST_BYTES]
    rows = "".join(
        f"<code>{escape(symbol_name(symbol))}</code><span>{percent(found.next_bytes[symbol])}</span>"
        f'<div class="bar" style="width:{100 * found.next_bytes[symbol]:.2f}%"></div>'
        for symbol in likeliest
        if found.next_bytes[symbol] > 0
    )
    return (
        "<p>Summed over all covers by the first byte behind the cursor: the model's exact distribution of "
        "the next byte. “end” is the probability that nothing more belongs here.</p>"
        f"<div class=bars>{rows}</div>"
    )


def _steps(chosen: tuple[ChosenByte, ...]) -> str:
    steps = "".join(map(_step, chosen))
    asked = sum(c.evaluations for c in chosen)
    return (
        f"<p>The likeliest byte, again and again: {len(chosen)} bytes, for which the model was asked {asked} "
        "times (thick frames). In between, what is known already decides. Point at a byte for its rival.</p>"
        f"<div class=steps>{steps}</div>"
    )


def _step(c: ChosenByte) -> str:
    rival = f"second: {escape(symbol_name(c.runner_up))} {percent(c.runner_up_probability)}"
    asked = " asked" if c.evaluations else ""
    return (
        f'<div class="step{asked}" title="{rival}; model asked {c.evaluations} times">'
        f"<b>{escape(symbol_name(c.byte))}</b><small>{c.probability:.0%}</small></div>"
    )


def _certificate(found: Explanation) -> str:
    c = found.certificate
    rows: list[tuple[object, ...]] = [
        ("law", c.law),
        ("contexts scored", c.contexts),
        ("covers kept", c.covers),
        ("mass never looked at, at most", f"{c.dropped_bound:.1e}"),
        ("mass of tokens that no tokenizer would produce here", f"{c.non_canonical:.1e}"),
    ]
    return table(("", ""), rows)
