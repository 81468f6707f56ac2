"""The Triton kernels against their torch reference: on a GPU if there is one, else in the interpreter."""

from __future__ import annotations

import os
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-torch` runs these tests")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
pytest.importorskip("triton", reason="Triton is not installed; `make test-torch` runs these tests")

from engine_kernels import torch_reference, triton_attention, triton_int8, triton_softmax  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FULL = -float("inf")


def generator(seed: int) -> Any:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("rows", "vocab"), [(1, 7), (3, 1000), (2, 5000), (17, 2049)])
def test_log_softmax(rows: int, vocab: int) -> None:
    logits = (torch.randn(rows, vocab, generator=generator(rows)) * 8).to(DEVICE)
    logits[0, vocab // 2] = FULL
    expected = torch_reference.log_softmax(logits)
    found = triton_softmax.log_softmax(logits)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_log_softmax_of_no_rows_and_of_every_second_row() -> None:
    assert triton_softmax.log_softmax(torch.zeros(0, 9, device=DEVICE)).shape == (0, 9)
    logits = torch.randn(6, 300, generator=generator(1)).to(DEVICE, torch.bfloat16)[::2]
    torch.testing.assert_close(triton_softmax.log_softmax(logits), torch_reference.log_softmax(logits))


def test_a_chunk_without_any_mass_counts_for_nothing() -> None:
    logits = torch.full((1, 5000), FULL, device=DEVICE)
    logits[0, 3], logits[0, 4999] = 1.0, 2.0
    torch.testing.assert_close(triton_softmax.log_softmax(logits), torch_reference.log_softmax(logits))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("rows", "vocab", "text"), [(1, 40, 40), (4, 3000, 2900), (2, 4096, 1025)])
def test_sorted_log_softmax_and_its_prefix_sums(rows: int, vocab: int, text: int, masked: bool) -> None:
    rng = generator(vocab)
    logits = (torch.randn(rows, vocab, generator=rng) * 6).to(DEVICE)
    order = torch.randperm(vocab, generator=rng)[:text].to(DEVICE)
    places = torch_reference.places_of(order, vocab)
    assert torch.equal(places.sort().values, torch.arange(vocab, device=DEVICE))
    allowed = (torch.rand(rows, text, generator=rng) < 0.6).to(DEVICE) if masked else None
    logs, prefix = triton_softmax.sorted_log_softmax(logits, places, text, allowed)
    expected_logs, expected_prefix = torch_reference.sorted_log_softmax(logits, places, text, allowed)
    torch.testing.assert_close(logs, expected_logs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prefix, expected_prefix, rtol=0, atol=1e-12)
    assert bool((prefix[:, 0] == 0).all()) and bool((prefix.diff(dim=1) >= -1e-13).all())


def test_range_masses_are_sums_of_slices() -> None:
    rng = generator(3)
    logits = torch.randn(3, 900, generator=rng).to(DEVICE)
    places = torch_reference.places_of(torch.randperm(900, generator=rng)[:800].to(DEVICE), 900)
    logs, prefix = triton_softmax.sorted_log_softmax(logits, places, 800)
    rows, low, high = (
        torch.tensor([0, 2, 2, 1]),
        torch.tensor([0, 5, 799, 30]),
        torch.tensor([800, 6, 800, 30]),
    )
    masses = torch_reference.range_masses(prefix, rows.to(DEVICE), low.to(DEVICE), high.to(DEVICE))
    slices = [float(logs[r, a:b].exp().sum()) for r, a, b in zip(rows, low, high, strict=True)]
    assert masses.tolist() == pytest.approx(slices, abs=1e-12)


def tree(rng: Any, n: int, used: int) -> tuple[Any, Any, Any]:
    """Three paths over scattered cells, and n tokens somewhere on them."""
    seen = torch.full((3, used), 1 << 30, dtype=torch.int32)
    for path in range(3):
        held = torch.randperm(used, generator=rng)[: max(1, used * (path + 1) // 4)]
        seen[path, held] = torch.arange(len(held), dtype=torch.int32)
    paths = torch.randint(0, 3, (n,), generator=rng)
    lengths = (seen < 1 << 30).sum(1)[paths]
    positions = (torch.rand(n, generator=rng) * lengths).long()
    return seen.to(DEVICE), paths.to(DEVICE), positions.to(DEVICE)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize(
    ("query_heads", "heads", "n", "dim", "value_dim", "used"),
    [(4, 2, 1, 16, 16, 64), (9, 3, 5, 64, 64, 200), (2, 2, 12, 40, 24, 130), (8, 1, 16, 32, 32, 33)],
)
def test_tree_attention(
    query_heads: int, heads: int, n: int, dim: int, value_dim: int, used: int, window: int | None
) -> None:
    rng = generator(used)
    query = torch.randn(query_heads, n, dim, generator=rng).to(DEVICE)
    # Views of longer buffers, as in the cache.
    keys = torch.randn(heads, used + 20, dim, generator=rng).to(DEVICE)[:, :used]
    values = torch.randn(heads, used + 20, value_dim, generator=rng).to(DEVICE)[:, :used]
    arguments = (query, keys, values, *tree(rng, n, used), dim**-0.5, window)
    found, expected = triton_attention.tree_attention(*arguments), torch_reference.tree_attention(*arguments)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_tree_attention_in_half_precision() -> None:
    rng = generator(8)
    query, keys, values = (
        torch.randn(4, k, 32, generator=rng).to(DEVICE, torch.float16) for k in (3, 90, 90)
    )
    arguments = (query, keys, values, *tree(rng, 3, 90), 0.2)
    found, expected = triton_attention.tree_attention(*arguments), torch_reference.tree_attention(*arguments)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_more_rows_than_a_program_holds_are_refused() -> None:
    query, keys = torch.zeros(8, 17, 16, device=DEVICE), torch.zeros(1, 64, 16, device=DEVICE)
    seen = torch.zeros(1, 64, dtype=torch.int32, device=DEVICE)
    paths = torch.zeros(17, dtype=torch.int64, device=DEVICE)
    with pytest.raises(ValueError, match="136 rows"):
        triton_attention.tree_attention(query, keys, keys, seen, paths, paths, 1.0)


@pytest.mark.parametrize(
    ("rows", "width", "outputs"), [(1, 64, 48), (3, 200, 33), (17, 129, 70), (32, 16, 5)]
)
def test_int8_linear(rows: int, width: int, outputs: int) -> None:
    rng = generator(width)
    inputs = torch.randn(rows, width, generator=rng).to(DEVICE)
    weight = torch.randint(-127, 128, (outputs, width), generator=rng, dtype=torch.int8).to(DEVICE)
    scales = torch.rand(outputs, generator=rng).to(DEVICE)
    found = triton_int8.int8_linear(inputs, weight, scales)
    torch.testing.assert_close(
        found, torch_reference.int8_linear(inputs, weight, scales), rtol=1e-5, atol=1e-3
    )


def test_int8_linear_refuses_many_rows() -> None:
    inputs = torch.zeros(33, 16, device=DEVICE)
    with pytest.raises(ValueError, match="33 rows"):
        triton_int8.int8_linear(inputs, torch.zeros(8, 16, dtype=torch.int8, device=DEVICE), inputs[0, :8])
