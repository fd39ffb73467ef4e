import type { Scene } from './scene';

/** Frames in the time in which they were taken. */

/** Where nothing says when frames were taken. */
export const USUAL_RATE = 10;
/** A series over minutes is shown as fast as a film of this many frames a second, else it would stand still. */
const LONGEST_STEP_S = 1;
const UNITS: Record<string, number> = { s: 1, ms: 1e-3 };

/** The axis along which images run, and when each of its frames is shown, in seconds from the first. */
export interface Reel {
  axis: number;
  starts: number[];
  /** Until the first is shown again. */
  length: number;
  /** Whether the frames come when they were taken. */
  isTrue: boolean;
}

/** Along time where there is one, else along the planes; `rate` in frames a second, 0 for the true times. */
export function reelOf(scene: Scene, rate: number): Reel {
  const last = scene.axes.length - 1;
  const timed = scene.axes.findIndex(each => each.name === 'time' && each.size > 1);
  const axis = timed < 0 ? last : timed;
  const { size, unit, values } = scene.axes[axis]!;
  const second = UNITS[unit];
  if (rate === 0 && second !== undefined && values.length === size && size > 1) {
    const times = values.map(each => (Number(each) - Number(values[0])) * second);
    const steps = times.slice(1).map((each, at) => each - times[at]!);
    if (steps.every(each => each > 0 && each <= LONGEST_STEP_S)) {
      const usual = [...steps].sort((one, other) => one - other)[steps.length >> 1]!;
      return { axis, starts: times, length: times[size - 1]! + usual, isTrue: true };
    }
  }
  const step = 1 / (rate || USUAL_RATE);
  return {
    axis,
    starts: Array.from({ length: size }, (_, at) => at * step),
    length: size * step,
    isTrue: false
  };
}

/** The frame that is shown so many seconds after the first. */
export function frameAt({ starts, length }: Reel, seconds: number): number {
  const within = ((seconds % length) + length) % length;
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle]! <= within) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/** Shows frame after frame until it is stopped; a frame that could not be drawn in time is left out. */
export class Cine {
  private request = 0;

  get isPlaying(): boolean {
    return this.request !== 0;
  }

  /** `show` resolves when its frame is drawn: the next is not asked for before. */
  play(reel: Reel, from: number, show: (frame: number) => Promise<void> | void): void {
    this.stop();
    const start = performance.now() - reel.starts[from]! * 1000;
    let shown = from;
    const next = async (now: number): Promise<void> => {
      const mine = this.request;
      const frame = frameAt(reel, (now - start) / 1000);
      if (frame !== shown) {
        shown = frame;
        await show(frame);
      }
      if (this.request === mine) {
        this.request = requestAnimationFrame(each => void next(each));
      }
    };
    this.request = requestAnimationFrame(each => void next(each));
  }

  stop(): void {
    cancelAnimationFrame(this.request);
    this.request = 0;
  }
}
