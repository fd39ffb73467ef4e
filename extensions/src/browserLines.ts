import type { Model } from './model';

/** A line as `workbench.widgets.browser_wire.told_line` has it. */
export interface Line {
  level: number;
  row: number;
  count: number;
  open: boolean;
  parent: number | null;
  selected: boolean | null;
  gone: boolean;
  patient_id?: string | null;
  patient_name?: string | null;
  patient_birth_date?: string | null;
  patient_sex?: string | null;
  study_date?: string | null;
  study_description?: string | null;
  accession_number?: string | null;
  modality?: string | null;
  series_number?: number | null;
  series_description?: string | null;
  body_part_examined?: string | null;
  instances?: number;
  frames?: number;
  remote?: string;
  ours?: boolean;
}

export const SERIES = 3;

/** As much is asked for at once, and stays in memory, around what is visible. */
const BLOCK = 40;
const UNDER_WAY = 2;
const KEPT = 2_000;

/** The lines that were visible lately; what is missing is asked of the kernel, two questions at a time. */
export class Lines {
  private readonly known = new Map<number, Line>();
  private readonly underWay = new Set<number>();
  private run = -1;
  private total = 0;

  constructor(private readonly model: Model) {}

  /** Forget all: the numbers of lines refer to something else now. */
  renew(run: number, total: number): void {
    this.run = run;
    this.total = total;
    this.known.clear();
    this.underWay.clear();
  }

  get(at: number): Line | undefined {
    return this.known.get(at);
  }

  /** Ask for what is missing of some lines. */
  want(first: number, end: number): void {
    for (let at = first; at < Math.min(end, this.total); at++) {
      const start = at - (at % BLOCK);
      if (this.known.has(at) || this.underWay.has(start)) {
        continue;
      }
      if (this.underWay.size >= UNDER_WAY) {
        return; // what is visible when an answer comes is asked for then
      }
      this.underWay.add(start);
      this.model.send({ kind: 'lines', run: this.run, first: start, count: BLOCK });
    }
  }

  /** Take an answer; whether it is one to what is shown. */
  came(run: number, first: number, lines: readonly Line[]): boolean {
    if (run !== this.run) {
      return false;
    }
    this.underWay.delete(first);
    lines.forEach((line, at) => this.known.set(first + at, line));
    this.forgetFar(first);
    return lines.length > 0;
  }

  /** Take whether lines are selected. */
  flagged(run: number, first: number, flags: readonly (boolean | null)[]): void {
    if (run !== this.run) {
      return;
    }
    for (const [at, line] of this.known) {
      const flag = flags[at - first];
      if (at >= first && at < first + flags.length && flag !== undefined) {
        this.known.set(at, line.selected === flag ? line : { ...line, selected: flag });
      } else {
        this.known.delete(at); // it is asked for when it is visible
      }
    }
  }

  private forgetFar(near: number): void {
    if (this.known.size > KEPT) {
      for (const at of this.known.keys()) {
        if (Math.abs(at - near) > KEPT / 2) {
          this.known.delete(at);
        }
      }
    }
  }
}
