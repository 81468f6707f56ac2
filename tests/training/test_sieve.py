"""The benchmark's words in a row are found, and the quick way finds what the slow one finds."""

from __future__ import annotations

import random

from training.sieve import GRAM, Benchmark, grams


def test_grams_need_thirteen_words() -> None:
    words = [f"w{n}" for n in range(GRAM)]
    assert len(list(grams(" ".join(words)))) == 1 and not list(grams(" ".join(words[:-1])))
    assert list(grams(" ".join(words))) == list(grams(", ".join(words).upper()))


def test_pairs_alone_do_not_make_a_text_forbidden() -> None:
    words = [f"w{n}" for n in range(2 * GRAM)]
    benchmark = Benchmark.of([" ".join(words[:GRAM]), " ".join(words[GRAM // 2 : 2 * GRAM - 1])])
    assert benchmark.shares(" ".join(words[:GRAM])) and benchmark.shares("x " + " ".join(words) + " y")
    assert not benchmark.shares(" ".join(words[1 : GRAM + 1]))
    assert not Benchmark().shares(" ".join(words))


def test_the_quick_way_finds_what_the_slow_one_finds() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng, answers = random.Random(seed), []
    for _ in range(300):
        vocabulary = [f"w{n}" for n in range(rng.choice((2, 3, 40)))]
        programs = [" ".join(rng.choices(vocabulary, k=rng.randrange(30))) for _ in range(3)]
        text = rng.choices(vocabulary, k=60) + programs[0].split()[rng.randrange(5) :] + ["end"]
        benchmark = Benchmark.of(programs)
        slow = not benchmark.grams.isdisjoint(grams(" ".join(text)))
        assert benchmark.shares(" ".join(text)) == slow
        answers.append(slow)
    assert {True, False} == set(answers)
