"""Cells against lists of cells that are kept by hand."""

from __future__ import annotations

import random

from engine.backends.cells import UNSEEN, Cells
from engine.backends.sequences import BatchToken

SEQUENCES, SIZE = 4, 24


def test_paths_hold_their_cells_through_any_changes() -> None:
    rng, cells = random.Random(1), Cells(SIZE, SEQUENCES)
    paths: list[list[int]] = [[] for _ in range(SEQUENCES)]
    for turn in range(3000):
        number, other = rng.sample(range(SEQUENCES), 2)
        action = rng.choice(("place", "place", "remove", "share", "fill"))
        free = [cell for cell in range(SIZE) if all(cell not in path for path in paths)]
        if action == "place":
            count = rng.randrange(1, 6)
            batch = [BatchToken(0, len(paths[number]) + k, (number,), None) for k in range(count)]
            placed = cells.place(batch)
            assert (placed is None) == (len(free) < count), turn
            if placed is not None:
                assert placed.tolist() == free[:count], turn
                paths[number] += free[:count]
        elif action == "remove":
            start = rng.randrange(len(paths[number]) + 1)
            cells.remove(number, start)
            del paths[number][start:]
        elif action == "share":
            length = rng.randrange(len(paths[other]) + 1)
            cells.remove(number, 0)
            cells.share(other, number, length)
            paths[number] = paths[other][:length]
        elif not paths[number] and len(free) >= 3:
            filled = cells.fill(number, 3)
            assert filled is not None
            paths[number] = filled.tolist()
        assert [cells.held(k).tolist() for k in range(SEQUENCES)] == paths, (turn, action)
        assert cells.in_use == max((cell + 1 for path in paths for cell in path), default=0)


def test_a_token_of_several_paths_has_one_cell() -> None:
    cells = Cells(8, 3)
    placed = cells.place([BatchToken(5, 0, (0, 2), None), BatchToken(6, 1, (2,), None)])
    assert placed is not None and placed.tolist() == [0, 1]
    assert [cells.held(k).tolist() for k in range(3)] == [[0], [], [0, 1]]
    cells.remove(0, 0)
    assert cells.held(2).tolist() == [0, 1]
    filled = cells.fill(1, 6)
    assert filled is not None and filled.tolist() == [2, 3, 4, 5, 6, 7], "both cells are still held"


def test_a_full_cache_places_nothing() -> None:
    cells = Cells(2, 1)
    batch = [BatchToken(0, k, (0,), None) for k in range(3)]
    assert cells.place(batch) is None and cells.fill(0, 3) is None
    assert cells.in_use == 0
    assert cells.place(batch[:2]) is not None


def test_what_is_beyond_the_cells_is_seen_by_nobody() -> None:
    cells = Cells(3, 2)
    cells.place([BatchToken(0, 0, (1,), None)])
    assert cells.visible_to([1], 5).tolist() == [[0, UNSEEN, UNSEEN, UNSEEN, UNSEEN]]
