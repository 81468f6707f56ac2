/**
 * Brings what runs in line with what should run, one change at a time.
 *
 * A request is *pending* from the call until its plan is resolved. Requests that come while a change is
 * under way become one pending request, whose plan is resolved afterwards. A plan equal to the one in
 * force changes nothing, unless the restart was demanded.
 */
export class Restarts<Plan> {
  private inForce: string | undefined;
  private pending = false;
  private demanded = false;
  private running: Promise<void> | undefined;

  /** `resolve` returns plain data; `apply` ends what runs and starts the plan. */
  constructor(
    private readonly resolve: () => Promise<Plan>,
    private readonly apply: (plan: Plan) => Promise<void>,
  ) {}

  /** Settles when everything requested so far is in force. A failed `apply` rejects all who wait for it. */
  request(demanded = false): Promise<void> {
    this.pending = true;
    this.demanded ||= demanded;
    this.running ??= this.work().finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  private async work(): Promise<void> {
    while (this.pending) {
      this.pending = false;
      const plan = await this.resolve();
      const identity = JSON.stringify(plan);
      if (this.pending || (identity === this.inForce && !this.demanded)) {
        continue;
      }
      this.demanded = false;
      this.inForce = undefined;
      await this.apply(plan);
      this.inForce = identity;
    }
  }
}
