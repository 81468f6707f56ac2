"""Fuzzing for as long as you like.

    python -m tests.fuzz [--minutes 10] [--seed N] [--steps 12]

Sessions with consecutive seeds; of the first that fails the command that repeats it is printed, exit code 1.
With `--minutes 0` only the session of `--seed` runs.
"""

from __future__ import annotations

import argparse
import random
import time
import traceback

from tests.fuzz.session import Session

STEPS = 12


def fuzz(
    first_seed: int, seconds: float, steps: int = STEPS, *, shows_others: bool = True
) -> tuple[int, int | None]:
    """Sessions run from `first_seed` on for about `seconds`, and the seed of the one that failed, if any."""
    end, count = time.monotonic() + seconds, 0
    while True:
        seed = first_seed + count
        world = "?"
        try:
            session = Session(seed, shows_others=shows_others)
            world = session.world.name
            session.run(steps)
        except Exception:
            traceback.print_exc()
            print(f"in {world}; again: python -m tests.fuzz --minutes 0 --steps {steps} --seed {seed}")
            return count, seed
        count += 1
        if time.monotonic() >= end:
            return count, None


def main() -> int:
    """Runs sessions. Returns 1 if one failed."""
    parser = argparse.ArgumentParser(description="Random sessions in random worlds, each answer checked.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first session; random if not given")
    parser.add_argument("--steps", type=int, default=STEPS, help="questions a session")
    options = parser.parse_args()
    seed = random.randrange(10**9) if options.seed is None else options.seed
    print(f"seeds from {seed} on, for {options.minutes:g} minutes")
    count, failed = fuzz(seed, options.minutes * 60, options.steps)
    if failed is None:
        print(f"{count} sessions of {options.steps} questions, nothing found")
    return int(failed is not None)


if __name__ == "__main__":
    raise SystemExit(main())
