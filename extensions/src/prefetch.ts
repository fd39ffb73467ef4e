import { cache, Enums, imageLoader, type RenderingEngine, type Types } from '@cornerstonejs/core';

/** Planes around the one that is shown, before they are asked for; those that were overtaken are given up. */

const AHEAD_BYTES = 64 << 20;
const MOST_AHEAD = 60;
/** One plane behind for so many ahead: who scrolls on may turn back. */
const AHEAD_FOR_ONE_BEHIND = 3;
const AT_A_TIME = 4;

export class Prefetch {
  private readonly loading = new Map<string, () => void>();
  private ids: readonly string[] = [];
  private wanted: string[] = [];
  private shown = 0;
  private direction = 1;

  constructor(
    private readonly engine: () => RenderingEngine,
    private readonly planeBytes: number
  ) {}

  /** Another plane is going to be shown: give up what no longer lies around it. */
  turnTo(ids: readonly string[], plane: number): void {
    if (ids[0] === this.ids[0] && plane !== this.shown) {
      this.direction = plane > this.shown ? 1 : -1;
    }
    this.ids = ids;
    this.shown = plane;
    const most = Math.max(1, Math.min(MOST_AHEAD, Math.floor(AHEAD_BYTES / this.planeBytes)));
    this.wanted = neighbours(plane, this.direction, most, ids.length).map(at => ids[at]!);
    const keep = new Set([...this.wanted, ids[plane]!]);
    for (const id of [...this.loading.keys()].filter(each => !keep.has(each))) {
      this.giveUp(id);
    }
  }

  /** Fetch what lies around the plane that is shown. */
  around(ids: readonly string[], plane: number): void {
    this.turnTo(ids, plane);
    this.next();
  }

  stop(): void {
    this.wanted = [];
    for (const id of [...this.loading.keys()]) {
      this.giveUp(id);
    }
  }

  private next(): void {
    while (this.loading.size < AT_A_TIME) {
      const id = this.wanted.shift();
      if (id === undefined) {
        return;
      }
      if (cache.getImageLoadObject(id) === undefined) {
        this.load(id);
      }
    }
  }

  private load(id: string): void {
    const done = (): void => {
      if (this.loading.delete(id)) {
        this.next();
      }
    };
    const loaded = loadedImage(id);
    const { cancelFn } = cache.getImageLoadObject(id) ?? {};
    this.loading.set(id, () => cancelFn?.());
    loaded.then(done, done); // what cannot be read is said when it is shown
  }

  private giveUp(id: string): void {
    const cancel = this.loading.get(id);
    this.loading.delete(id);
    const isAwaited = this.engine()
      .getViewports()
      .filter((each): each is Types.IStackViewport => each.type === Enums.ViewportType.STACK)
      .some(each => each.getImageIds()[each.getTargetImageIdIndex()] === id);
    if (!isAwaited) {
      cancel?.();
      if (cache.getImageLoadObject(id) !== undefined) {
        cache.removeImageLoadObject(id, { force: true }); // whoever asks now is not given what was given up
      }
    }
  }
}

/** An image, from the cache where it is there. */
export function loadedImage(id: string): Promise<Types.IImage> {
  return imageLoader.loadAndCacheImage(id, { priority: 0, requestType: Enums.RequestType.Prefetch });
}

/** Planes around one, the nearest first: more of those in the direction in which it goes. */
export function neighbours(plane: number, direction: number, most: number, count: number): number[] {
  const steps: number[] = [];
  for (let step = 1; steps.length < most; step += 1) {
    steps.push(step);
    if (step % AHEAD_FOR_ONE_BEHIND === 0) {
      steps.push(-step / AHEAD_FOR_ONE_BEHIND);
    }
  }
  return steps.map(step => plane + direction * step).filter(at => at >= 0 && at < count);
}
