import { cache, Enums } from '@cornerstonejs/core';
import { make, number } from './elements';
import { imageId } from './loader';
import type { Segment } from './masks';
import type { Model } from './model';
import type { Overlays } from './overlays';
import type { Values } from './scene';
import type { Source } from './source';
import type { Shown, Viewports } from './viewports';

const LETTERS = [
  ['L', 'R'],
  ['P', 'A'],
  ['H', 'F']
] as const;

/** Values below the mouse with their units: those of the image, and of what is laid over it. */
export class Readout {
  readonly root = make('div', 'wb-readout', { 'aria-hidden': 'true' });
  /** Where the mouse is. */
  private below: { shown: Shown; x: number; y: number } | undefined;

  constructor(
    private readonly source: Source,
    private readonly model: Model,
    private readonly viewports: Viewports,
    private readonly overlays: Overlays
  ) {}

  attach(): void {
    this.leave();
    for (const shown of this.viewports.flat) {
      const { element } = shown;
      element.addEventListener('mousemove', event => {
        const { left, top } = element.getBoundingClientRect();
        this.below = { shown, x: event.clientX - left, y: event.clientY - top };
        this.show(this.below);
      });
      element.addEventListener('mouseleave', () => this.leave());
      element.addEventListener(Enums.Events.IMAGE_RENDERED, () => {
        if (this.below?.shown === shown) {
          this.show(this.below); // of the image that has come below a mouse at rest
        }
      });
    }
  }

  private leave(): void {
    this.below = undefined;
    this.root.textContent = '';
  }

  private show({ shown, x, y }: { shown: Shown; x: number; y: number }): void {
    const place = this.viewports.placeOf(shown, x, y);
    const { scene } = this.source;
    const words = scene.positions_lps_mm.length > 0 ? [`${inPatient(place)} mm`] : [];
    const through = this.viewports.slabAt(shown, place);
    const value = through === undefined ? this.value(place) : `${number(through)} ${scene.unit}`.trim();
    if (value !== '') {
      words.push(value, ...this.segment(place));
      for (const { overlay, value: over } of this.overlays.at(place)) {
        if (!Number.isNaN(over)) {
          const said = overlay.colormap === 'labels' ? (overlay.labels[String(over)] ?? '') : '';
          words.push(`${overlay.name} ${said || `${number(over)} ${overlay.scene.unit}`}`.trim());
        }
      }
    }
    this.root.textContent = words.join(' · ');
  }

  /** Name of the segment that is painted at a place: colours alone do not tell it. */
  private segment(place: readonly number[]): string[] {
    const [column, row, plane] = this.viewports.voxelAt(place);
    const label = this.viewports.paint?.labels(plane)[row * this.source.scene.columns + column];
    const segments = this.model.get('segments') as Segment[];
    return segments.filter(({ number }) => number === label).map(each => each.label);
  }

  /** The voxel at a place; empty beside the image, and where its plane is not there. */
  private value(place: readonly number[]): string {
    const { scene, id } = this.source;
    const [column, row, plane] = this.viewports.voxelAt(place);
    const isInside = column >= 0 && column < scene.columns && row >= 0 && row < scene.rows;
    const leading = (this.model.get('index') as number[]).slice(0, -1);
    const image = isInside ? cache.getImage(imageId(id, [...leading, plane])) : undefined;
    if (image === undefined) {
      return '';
    }
    const values = image.getPixelData() as Values;
    const first = (row * scene.columns + column) * scene.samples;
    const found = Array.from(values.subarray(first, first + scene.samples), number);
    return `${found.join(' ')} ${scene.unit}`.trim();
  }
}

/** LPS mm, with the letter of the side that each is on. */
function inPatient(place: readonly number[]): string {
  return place
    .map((each, axis) => `${LETTERS[axis]![each < 0 ? 1 : 0]} ${Math.abs(each).toFixed(1)}`)
    .join(' ');
}
