"""The engine process's two threads: order of work, cancellation, and exactly one answer each."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from engine.backends.base import StopSignal
from engine.completer import Completer
from engine.errors import ModelNotFound
from engine.explain import explain, explanation_from_wire
from engine.model import Model
from engine.models.progress import Report
from engine.protocol import VERSION, Message, pack, read_message
from engine.service import Service
from engine.types import Request
from tests.engine.models_of_tables import CODE, GatedBackend, model_of

HERE = {"prefix": CODE[:40], "suffix": CODE[40:]}


class Gate:
    """Holds the model before each evaluation until the test lets it through."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def pass_through(self) -> None:
        self.arrived.release()
        assert self.open.acquire(timeout=5)

    def wait(self) -> None:
        """Until the model stands at the gate."""
        assert self.arrived.acquire(timeout=5)


class Harness:
    """A service in two threads of this process, spoken to over pipes."""

    def __init__(self, model: Model | Exception) -> None:
        to_service, from_service = os.pipe(), os.pipe()
        self.sending = os.fdopen(to_service[1], "wb")
        self.receiving = os.fdopen(from_service[0], "rb")
        self._ends = os.fdopen(to_service[0], "rb"), os.fdopen(from_service[1], "wb")
        self.gate: Gate | None = None
        self.progress: list[Message] = []

        def load(report: Report) -> Model:
            for done in range(1000):
                report("downloading", done, 999)
            report("making", 0, None)
            if isinstance(model, Exception):
                raise model
            return model

        if isinstance(model, Model):
            assert isinstance(model.backend, GatedBackend)
            self.backend = model.backend
        self.service = Service(*self._ends, load, {"kv": "none"})
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()

    def hold(self) -> Gate:
        """From now on the model waits at a gate."""
        gate = Gate()
        self.backend.before_score = gate.pass_through  # type: ignore[method-assign]
        return gate

    def ask(self, number: int, op: str, **params: Any) -> None:
        self.sending.write(pack({"v": VERSION, "id": number, "op": op, "params": params}))
        self.sending.flush()

    def answer(self) -> Message:
        """The next result or error."""
        while message := read_message(self.receiving):
            if message["event"] == "progress":
                self.progress.append(message)
            elif message["event"] != "partial":
                return message
        raise AssertionError("the service closed its output")

    def outcomes(self, count: int) -> dict[int, str]:
        """By id: "result", or the code of the error, in the order of arrival."""
        found = [self.answer() for _ in range(count)]
        return {message["id"]: message.get("code", message["event"]) for message in found}

    def close(self) -> None:
        self.sending.close()
        self.thread.join(timeout=5)
        assert not self.thread.is_alive()
        for stream in (self.receiving, *self._ends):
            stream.close()


@pytest.fixture
def harness() -> Iterator[Harness]:
    found = Harness(model_of())
    yield found
    found.close()


def test_a_completion_ends_the_warm_ups_before_it(harness: Harness) -> None:
    gate = harness.hold()
    harness.ask(1, "warm", **HERE)
    gate.wait()
    harness.ask(2, "warm", prefix=b"another file\n")
    harness.ask(3, "complete", **HERE, max_tokens=1)
    harness.ask(4, "health")
    assert harness.answer()["id"] == 4  # both are known to the service by now
    gate.open.release(100)
    assert list(harness.outcomes(3).items()) == [(1, "Cancelled"), (3, "result"), (2, "Cancelled")]


def test_warm_ups_wait_until_nothing_else_does(harness: Harness) -> None:
    gate = harness.hold()
    harness.ask(1, "complete", **HERE, max_tokens=1)
    gate.wait()
    harness.ask(2, "warm", prefix=b"another file\n")
    harness.ask(3, "info")
    harness.ask(4, "health")
    assert harness.answer()["id"] == 4
    gate.open.release(100)
    assert list(harness.outcomes(3)) == [1, 3, 2]


def test_a_completion_after_a_warm_up_evaluates_no_prompt(harness: Harness) -> None:
    harness.ask(1, "warm", **HERE)
    usage = harness.answer()["data"]
    assert usage["prompt_tokens_evaluated"] == usage["tokens_evaluated"] > 0
    harness.ask(2, "complete", **HERE)
    assert harness.answer()["data"]["usage"]["prompt_tokens_evaluated"] == 0


def test_running_and_queued_work_is_cancelled_and_costs_nothing_afterwards(harness: Harness) -> None:
    gate = harness.hold()
    harness.ask(1, "complete", **HERE)
    gate.wait()
    harness.ask(2, "complete", **HERE)
    harness.ask(3, "cancel", target=1)
    harness.ask(4, "cancel", target=2)
    harness.ask(5, "health")
    assert harness.answer()["id"] == 5
    gate.open.release(100)
    assert harness.outcomes(2) == {1: "Cancelled", 2: "Cancelled"}
    assert harness.backend.evaluations == 0


def test_a_model_that_cannot_be_had_is_an_answer() -> None:
    harness = Harness(ModelNotFound("no model of that name"))
    harness.ask(1, "complete", **HERE)
    assert harness.answer()["message"] == "no model of that name"
    harness.ask(2, "health")
    assert harness.answer()["data"] == {"ok": False, "state": "failed"}
    harness.close()


def test_what_the_service_does_not_know_is_refused(harness: Harness) -> None:
    harness.ask(1, "dance")
    harness.sending.write(pack({"v": 99, "id": 2, "op": "info"}))
    harness.ask(3, "complete", colour="red")
    harness.ask(4, "next_bytes", law="murphy")
    assert harness.outcomes(4) == {1: "ProtocolError", 2: "ProtocolError", 3: "InputError", 4: "InputError"}
    harness.ask(5, "shutdown")
    assert harness.answer()["event"] == "result"


def test_each_hundredth_of_loading_is_told_and_no_more(harness: Harness) -> None:
    """However fast the blocks came before a source that stalls: what is told is what is there."""
    harness.ask(1, "info")
    harness.answer()
    told = [(m["id"], m["data"]["step"], m["data"]["done_bytes"]) for m in harness.progress]
    hundredths = [-(-999 * part // 100) for part in range(101)]
    assert told == [(0, "downloading", done) for done in hundredths] + [(0, "making", 0)]


def test_an_explanation_travels_whole(harness: Harness) -> None:
    request = Request(**HERE, max_tokens=2)
    harness.ask(1, "explain", **dataclasses.asdict(request))
    found = explanation_from_wire(harness.answer()["data"])
    assert found == explain(Completer(model_of()), request, StopSignal())
    assert found.covers and found.chosen


def test_a_text_is_learned_behind_everything_else_and_forgotten(harness: Harness) -> None:
    gate = harness.hold()
    harness.ask(1, "complete", **HERE, max_tokens=2)
    gate.wait()
    harness.ask(2, "learn", path="a.py", text=CODE)
    harness.ask(3, "complete", **HERE, max_tokens=2)
    gate.open.release(1000)
    assert list(harness.outcomes(3)) == [1, 3, 2]
    harness.ask(4, "learn", path="a.py", text=b"")
    assert harness.outcomes(1) == {4: "result"}
