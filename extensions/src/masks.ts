import { cache, Enums, eventTarget, imageLoader } from '@cornerstonejs/core';
import { Enums as ToolEnums, segmentation } from '@cornerstonejs/tools';
import { imageIds } from './loader';
import { planes } from './scene';
import type { Source } from './source';
import { trans } from './words';

/** What is painted on the planes of an array: a label a pixel, 0 for none; shown over the images. */

export interface Segment {
  number: number;
  label: string;
  /** Red, green, blue, from 0 to 255. */
  color: [number, number, number];
}

/** Labels of one plane, as the kernel gets them. */
export interface Painted {
  plane: number;
  /** Rows × columns. */
  labels: Uint8Array;
}

/** Planes that changed together, as they were and as they are. */
export interface Step {
  before: Painted[];
  after: Painted[];
}

/** A page has no room for more: labels of all planes lie in its memory. */
const LARGEST = 512 << 20;
/** Of a segment, up to 255; the engine halves it inside. */
export const OPACITY = 110;
/** For drawing a mask over images. */
const PATIENCE_MS = 3000;
export const COLORS: Segment['color'][] = [
  [230, 159, 0],
  [86, 180, 233],
  [0, 158, 115],
  [240, 228, 66],
  [0, 114, 178],
  [213, 94, 0],
  [204, 121, 167]
];

/** A segment of the next number; colours that people with any eyes tell apart (Okabe and Ito). */
export function nextSegment(segments: readonly Segment[]): Segment {
  const number = Math.max(0, ...segments.map(each => each.number)) + 1;
  return { number, label: trans.__('segment %1', number), color: COLORS[(number - 1) % COLORS.length]! };
}

export class Mask {
  private readonly ids: string[];
  /** Planes as they were when they were given away last; one that is missing is empty. */
  private readonly known = new Map<number, Uint8Array>();
  private shownOn: string[] = [];
  /** Whether what the engine says of it comes from here, not from a hand. */
  isTelling = false;

  /**
   * Labels for the planes of an index.
   *
   * `Error` where there are too many pixels.
   */
  constructor(
    readonly id: string,
    source: Source,
    readonly leading: readonly number[]
  ) {
    const { scene } = source;
    if (planes(scene) * scene.rows * scene.columns > LARGEST) {
      throw new Error(trans.__('the array has too many pixels to be painted on: view a part of it'));
    }
    this.ids = imageLoader
      .createAndCacheDerivedLabelmapImages(imageIds(source, leading), {
        voxelRepresentation: Enums.VoxelManagerEnum.Volume
      })
      .map(each => each.imageId);
    segmentation.addSegmentations([
      {
        segmentationId: id,
        representation: {
          type: ToolEnums.SegmentationRepresentations.Labelmap,
          data: { imageIds: this.ids }
        }
      }
    ]);
  }

  /** Show it over the images of viewports; resolves when it is drawn. */
  async show(viewportIds: readonly string[], segments: readonly Segment[], active: number): Promise<void> {
    this.hide();
    this.shownOn = [...viewportIds];
    const drawn = this.drawn(viewportIds);
    for (const viewport of viewportIds) {
      segmentation.addLabelmapRepresentationToViewport(viewport, [{ segmentationId: this.id }]);
      segmentation.activeSegmentation.setActiveSegmentation(viewport, this.id);
    }
    this.color(segments, active);
    this.tell();
    await drawn;
  }

  isShownOn(viewportIds: readonly string[]): boolean {
    return JSON.stringify(this.shownOn) === JSON.stringify(viewportIds);
  }

  color(segments: readonly Segment[], active: number): void {
    for (const viewport of this.shownOn) {
      for (const { number, color } of segments) {
        segmentation.config.color.setSegmentIndexColor(viewport, this.id, number, [...color, OPACITY]);
      }
    }
    segmentation.segmentIndex.setActiveSegmentIndex(this.id, active);
  }

  hide(): void {
    for (const viewport of this.shownOn) {
      segmentation.removeLabelmapRepresentation(viewport, this.id);
    }
    this.shownOn = [];
  }

  /** Planes as they are. */
  get(numbers: readonly number[]): Painted[] {
    return numbers.map(plane => ({ plane, labels: this.labels(plane).slice() }));
  }

  /** Planes that were painted since they were asked for last, as they were and as they are. */
  changed(): Step {
    const before: Painted[] = [];
    const after: Painted[] = [];
    for (let plane = 0; plane < this.ids.length; plane += 1) {
      const now = this.labels(plane);
      const old = this.known.get(plane);
      if (differ(now, old)) {
        before.push({ plane, labels: old ?? new Uint8Array(now.length) });
        const labels = now.slice();
        after.push({ plane, labels });
        this.known.set(plane, labels);
      }
    }
    return { before, after };
  }

  /** Paint planes; a plane without labels is emptied. */
  put(painted: readonly Painted[]): void {
    for (const { plane, labels } of painted) {
      const now = this.labels(plane);
      if (labels.length === 0) {
        now.fill(0);
      } else {
        now.set(labels);
      }
      this.known.set(plane, now.slice());
    }
    this.tell(painted.map(each => each.plane));
  }

  /** Have the engine draw planes as they are now, of which no hand painted anything. */
  private tell(planes?: number[]): void {
    this.isTelling = true;
    segmentation.triggerSegmentationEvents.triggerSegmentationDataModified(this.id, planes);
    this.isTelling = false;
  }

  clear(): void {
    this.put(this.ids.map((_, plane) => ({ plane, labels: new Uint8Array() })));
  }

  dispose(): void {
    this.hide();
    segmentation.removeSegmentation(this.id);
    for (const id of this.ids) {
      cache.removeImageLoadObject(id, { force: true });
    }
  }

  /** Wait until the mask is drawn on all of these, or `PATIENCE_MS` have passed. */
  private drawn(viewportIds: readonly string[]): Promise<void> {
    const waiting = new Set(viewportIds);
    return new Promise(resolve => {
      const end = (): void => {
        clearTimeout(late);
        eventTarget.removeEventListener(ToolEnums.Events.SEGMENTATION_RENDERED, heard);
        resolve();
      };
      const heard = (event: Event): void => {
        const { segmentationId, viewportId } = (event as CustomEvent).detail;
        if (segmentationId === this.id && waiting.delete(viewportId) && waiting.size === 0) {
          end();
        }
      };
      const late = setTimeout(end, PATIENCE_MS);
      eventTarget.addEventListener(ToolEnums.Events.SEGMENTATION_RENDERED, heard);
    });
  }

  /** Labels of a plane as they lie there. */
  labels(plane: number): Uint8Array {
    const image = cache.getImage(this.ids[plane]!);
    if (image === undefined) {
      throw new Error(trans.__('what was painted is no more in the memory of the page'));
    }
    return image.getPixelData() as Uint8Array;
  }
}

/** Whether labels are others than they were; those that are missing were 0. */
function differ(now: Uint8Array, old: Uint8Array | undefined): boolean {
  for (let at = 0; at < now.length; at += 1) {
    if (now[at] !== (old === undefined ? 0 : old[at])) {
      return true;
    }
  }
  return false;
}
