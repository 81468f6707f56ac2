"""The seed's experiment, small: exact marginals give the chain back, naive ones do not (claim 10)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from examples.markov_recovery import ORDER, STATES, Chain, main, recover, trained_tokenizer


def test_the_chain_is_what_it_says() -> None:
    chain, text = Chain.random(1), Chain.random(1).text(np.random.default_rng(2), 40_000)
    for state in STATES:
        following = [text[k + ORDER] for k in range(len(text) - ORDER) if text[k : k + ORDER] == state]
        share = following.count(ord("a")) / len(following)
        assert share == pytest.approx(chain.a_after[state], abs=0.05)


def test_the_tokenizer_has_long_tokens() -> None:
    tokenizer = trained_tokenizer(Chain.random(0).text(np.random.default_rng(0), 5000), 12)
    assert tokenizer.vocab.max_token_bytes >= 4
    assert len(tokenizer.vocab) == 2 + 12 + 1


def test_exact_marginals_recover_the_chain_and_naive_tokens_do_not() -> None:
    found = recover(Chain.random(0), steps=150, seed=0, texts=80)
    exact, naive = found.error(found.exact), found.error(found.naive)
    print(f"mean error exact {exact:.3f}, naive {naive:.3f}")
    assert exact < 0.06
    assert naive > 0.2
    assert np.abs(found.exact - found.truth).max() < np.abs(found.naive - found.truth).max() / 2


def test_the_command_writes_table_figures_and_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--steps", "3", "--plot", str(tmp_path / "chain.svg")])
    output = capsys.readouterr().out.splitlines()
    assert json.loads(output[-1])["steps"] == 3
    assert any(line.split()[1:2] == ["aba"] for line in output)
    assert (tmp_path / "chain.svg").read_text().count("<path") > 24
