import assert from "node:assert/strict";
import { test } from "node:test";
import { Restarts } from "../../src/restarts";

/** A plan that the test sets, and starts that end when the test says so. */
class Bench {
  plan = "a";
  readonly started: string[] = [];
  private finish: Array<() => void> = [];
  readonly restarts = new Restarts<string>(
    async () => this.plan,
    (plan) => {
      this.started.push(plan);
      return new Promise((resolve) => this.finish.push(resolve));
    },
  );

  async finishOne(): Promise<void> {
    await this.turn();
    this.finish.shift()?.();
    await this.turn();
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }
}

test("requests while one is under way become one", async () => {
  const bench = new Bench();
  const first = bench.restarts.request();
  await bench.turn();
  for (const plan of ["b", "c", "d"]) {
    bench.plan = plan;
    void bench.restarts.request();
  }
  await bench.finishOne();
  assert.deepEqual(bench.started, ["a", "d"]);
  await bench.finishOne();
  await first;
  assert.deepEqual(bench.started, ["a", "d"]);
});

test("the same plan starts nothing, unless the restart is demanded", async () => {
  const bench = new Bench();
  void bench.restarts.request();
  await bench.finishOne();
  await bench.restarts.request();
  assert.deepEqual(bench.started, ["a"]);
  void bench.restarts.request(true);
  await bench.finishOne();
  assert.deepEqual(bench.started, ["a", "a"]);
});

test("a demand that comes while a start is under way is not lost, and not repeated", async () => {
  const bench = new Bench();
  void bench.restarts.request();
  await bench.turn();
  void bench.restarts.request(true);
  const last = bench.restarts.request();
  await bench.finishOne();
  await bench.finishOne();
  await last;
  assert.deepEqual(bench.started, ["a", "a"]);
});

test("after a failed start the next request tries again", async () => {
  let tries = 0;
  const restarts = new Restarts<string>(
    async () => "a",
    async () => {
      tries += 1;
      if (tries === 1) {
        throw new Error("no");
      }
    },
  );
  await assert.rejects(restarts.request(), /no/);
  await restarts.request();
  assert.equal(tries, 2);
});
