import { utilities as toolUtilities } from '@cornerstonejs/tools';
import type { History } from './history';
import { Mask, nextSegment, OPACITY, type Painted, type Segment, type Step } from './masks';
import type { Model } from './model';
import type { Panel } from './panel';
import { range } from './scene';
import type { Source } from './source';
import type { Viewports } from './viewports';
import { trans } from './words';

/** What the kernel painted, as it says (`workbench/widgets/wire.py`). */
export interface Made {
  index?: number[];
  planes?: number[];
  done?: boolean;
  error?: string;
}

/** What is painted in one viewer, between the page, its history and the kernel. */
export class Painter {
  /** By the index before the planes. */
  private readonly masks = new Map<string, Mask>();
  /** Of the step that the kernel is still telling of. */
  private made: Step = { before: [], after: [] };

  constructor(
    private readonly name: string,
    private readonly source: Source,
    private readonly model: Model,
    private readonly viewports: Viewports,
    private readonly panel: Panel,
    private readonly history: History
  ) {}

  /** Whether there is something to be shown. */
  get isInUse(): boolean {
    return this.masks.size > 0 || this.segments.length > 0;
  }

  private get segments(): Segment[] {
    return this.model.get('segments') as Segment[];
  }

  private get active(): number {
    return this.model.get('segment') as number;
  }

  private get leading(): number[] {
    return (this.model.get('index') as number[]).slice(0, -1);
  }

  /** Show what is painted on the planes that are shown; what the kernel has is asked for. */
  async show(): Promise<void> {
    const isKept = this.segments.length > 0;
    if (!isKept) {
      this.have(nextSegment([]));
    }
    const isNew = !this.masks.has(this.id(this.leading));
    const mask = this.mask(this.leading);
    for (const each of this.masks.values()) {
      if (each !== mask) {
        each.hide();
      }
    }
    const flat = this.viewports.flat.map(each => each.id);
    this.viewports.paint = mask && {
      labels: plane => mask.labels(plane),
      colors: new Map(this.segments.map(({ number, color }) => [number, color])),
      opacity: OPACITY / 2 / 255
    };
    if (mask !== undefined && !mask.isShownOn(flat)) {
      this.viewports.setSlab(0, 'maximum'); // through a slab, a section would jump when a mask comes to it
      await mask.show(flat, this.segments, this.active);
    }
    if (mask !== undefined && isNew && isKept) {
      this.model.send({ kind: 'mask-wanted', index: this.leading });
    }
  }

  hide(): void {
    this.viewports.paint = undefined;
    this.masks.forEach(each => each.hide());
  }

  /** Paint a plane as the kernel has it; without labels it is emptied. */
  put(plane: number, index: readonly number[] | undefined, labels: DataView | undefined): void {
    this.mask(index ?? this.leading)?.put([{ plane, labels: bytesOf(labels) }]);
  }

  /** Paint planes as the kernel has them. */
  putAll(planes: readonly number[], index: readonly number[], labels: readonly DataView[]): void {
    this.mask(index)?.put(planes.map((plane, at) => ({ plane, labels: bytesOf(labels[at]) })));
  }

  /** Forget every plane; those of an index come by themselves, others are asked for when they are shown. */
  clear(coming: readonly number[]): void {
    const shown = this.id(this.leading);
    for (const [id, mask] of this.masks) {
      if (id === shown) {
        mask.clear();
      } else {
        mask.dispose();
        this.masks.delete(id);
      }
    }
    if (this.id(coming) !== shown) {
      this.model.send({ kind: 'mask-wanted', index: this.leading });
    }
  }

  color(): void {
    const [first] = this.segments;
    if (first !== undefined && !this.segments.some(each => each.number === this.active)) {
      this.model.set('segment', first.number); // Python has set others
      this.model.save_changes();
    }
    this.panel.segmented(this.segments, this.active);
    this.masks.forEach(each => each.color(this.segments, this.active));
  }

  /** Add a segment, as a step of the history. */
  addSegment(): void {
    const { active } = this;
    const added = nextSegment(this.segments);
    this.have(added);
    this.history.add({
      undo: () =>
        this.setSegments(
          this.segments.filter(each => each.number !== added.number),
          active
        ),
      redo: () => this.have(added)
    });
  }

  /** Have a segment, and paint with it. */
  private have(added: Segment): void {
    const others = this.segments.filter(each => each.number !== added.number);
    this.setSegments([...others, added], added.number);
  }

  private setSegments(segments: Segment[], active: number): void {
    this.model.set('segments', segments);
    this.model.set('segment', active);
    this.model.save_changes();
  }

  /** Size of the brush, and the values that a brush with threshold paints: those inside the window. */
  setBrush(): void {
    const millimetres = this.model.get('brush') as number;
    const [center, width] = this.model.get('window') as [number, number];
    const { lower, upper } = range(this.source.scene, center, width);
    toolUtilities.segmentation.setBrushSizeForToolGroup(this.name, millimetres);
    toolUtilities.segmentation.setBrushThresholdForToolGroup(this.name, {
      range: [lower, upper],
      isDynamic: false,
      dynamicRadius: 0
    });
    this.panel.brushed(millimetres);
  }

  /** Have the kernel paint what hangs together with a point, of values inside the window. */
  grow(point: readonly number[]): void {
    const [center, width] = this.model.get('window') as [number, number];
    const { lower: low, upper: high } = range(this.source.scene, center, width);
    this.panel.say(trans.__('growing …'));
    this.model.send({ kind: 'mask-grow', index: this.leading, point, low, high, segment: this.active });
  }

  /** Have the kernel paint the segment between the planes that have it. */
  interpolate(): void {
    this.panel.say(trans.__('filling between planes …'));
    this.model.send({ kind: 'mask-interpolate', index: this.leading, segment: this.active });
  }

  /** Take what the kernel painted, and keep all of it as one step of the history. */
  take({ index, planes, done, error }: Made, buffers: readonly DataView[]): void {
    const mask = this.mask(index ?? this.leading);
    if (error !== undefined || mask === undefined) {
      this.panel.say(error ?? '');
      return;
    }
    const painted = (planes ?? []).map((plane, at) => ({ plane, labels: bytesOf(buffers[at]) }));
    this.made.before.push(...mask.get(painted.map(each => each.plane)));
    this.made.after.push(...painted);
    mask.put(painted);
    if (done === true) {
      this.keep(mask, this.made);
      this.made = { before: [], after: [] };
      this.panel.say('');
    }
  }

  /** Keep what Python has set as a step of the history; the kernel has what was there before. */
  turned(turn: number): void {
    const to = (undone: boolean) => (): void => this.model.send({ kind: 'mask-turn', turn, undone });
    this.history.add({ undo: to(true), redo: to(false) });
  }

  /** Whether a change of a mask is that of a hand in this viewer. */
  isOfHand(id: string): boolean {
    return [...this.masks.values()].some(mask => mask.id === id && !mask.isTelling);
  }

  /** Give the kernel what was painted with a stroke, and keep it as a step of the history. */
  save(): void {
    const mask = this.masks.get(this.id(this.leading));
    const step = mask?.changed();
    if (mask === undefined || step === undefined || step.after.length === 0) {
      return;
    }
    this.give(mask, step.after);
    this.keep(mask, step);
  }

  private give(mask: Mask, painted: readonly Painted[]): void {
    for (const { plane, labels } of painted) {
      const message = { kind: 'mask', index: [...mask.leading], plane };
      this.model.send(message, undefined, [labels.slice().buffer]);
    }
  }

  /** Keep a step of the history. */
  private keep(mask: Mask, { before, after }: Step): void {
    const to = (painted: readonly Painted[]) => (): void => {
      mask.put(painted);
      this.give(mask, painted);
    };
    this.history.add({ undo: to(before), redo: to(after) });
  }

  dispose(): void {
    this.masks.forEach(each => each.dispose());
    this.masks.clear();
  }

  private id(leading: readonly number[]): string {
    return `${this.name}/${leading.join('.')}`;
  }

  /** The mask of an index before the planes, made when it is first wanted. */
  private mask(leading: readonly number[]): Mask | undefined {
    const id = this.id(leading);
    let mask = this.masks.get(id);
    if (mask === undefined) {
      try {
        mask = new Mask(id, this.source, leading);
      } catch (error) {
        this.panel.say((error as Error).message);
        return undefined;
      }
      this.masks.set(id, mask);
    }
    return mask;
  }
}

/** The labels that a message carries; none at all for a plane without. */
function bytesOf(labels: DataView | undefined): Uint8Array {
  return labels === undefined
    ? new Uint8Array()
    : new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength);
}
