/** What was done, to be undone and done again. */

export interface Step {
  undo(): void;
  redo(): void;
}

/** Steps that are kept. */
const DEPTH = 200;

export class History {
  private done: Step[] = [];
  private undone: Step[] = [];

  /** Remember what was done; what had been undone before cannot be done again then. */
  add(step: Step): void {
    this.done.push(step);
    this.done.splice(0, this.done.length - DEPTH);
    this.undone = [];
  }

  undo(): void {
    const step = this.done.pop();
    if (step !== undefined) {
      this.undone.push(step);
      step.undo();
    }
  }

  redo(): void {
    const step = this.undone.pop();
    if (step !== undefined) {
      this.done.push(step);
      step.redo();
    }
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }
}
