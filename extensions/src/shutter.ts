import { Enums, type Types } from '@cornerstonejs/core';
import { cornersOf, inPixels } from './canvas';
import { make } from './elements';
import { engine } from './engine';
import type { Model } from './model';
import type { Scene } from './scene';
import type { Shown } from './viewports';

/**
 * What is hidden of planes: black, outside of any of the polygons of the trait `shutter` (PS3.3 C.7.6.11).
 *
 * It is laid over images and what lies over them, under marks; the values below are what they are.
 */

type Polygon = readonly (readonly [number, number])[];

export class Shutter {
  private shown: Shown | undefined;

  constructor(
    private readonly scene: Scene,
    private readonly model: Model,
    signal: AbortSignal
  ) {
    model.on('change:shutter', this.draw);
    signal.addEventListener('abort', () => model.off('change:shutter', this.draw));
  }

  /** Be there for the planes of a cell that was just made, if it is one of a stack. */
  attach(shown: Shown): void {
    this.shown = shown.view.kind === 'stack' ? shown : undefined;
    this.shown?.element.addEventListener(Enums.Events.IMAGE_RENDERED, this.draw);
  }

  private readonly draw = (): void => {
    const { shown, scene } = this;
    if (shown === undefined) {
      return;
    }
    const polygons = this.model.get('shutter') as Polygon[];
    const there = shown.element.querySelector<HTMLCanvasElement>('canvas.wb-shutter');
    const corners = cornersOf(engine().getViewport(shown.id) as Types.IStackViewport);
    if (polygons.length === 0 || corners === undefined) {
      there?.remove();
      return;
    }
    const canvas = there ?? make('canvas', 'wb-shutter', { 'aria-hidden': 'true' });
    if (there === null) {
      shown.element.querySelector('svg')!.before(canvas);
    }
    canvas.width = Math.round(shown.element.clientWidth * window.devicePixelRatio);
    canvas.height = Math.round(shown.element.clientHeight * window.devicePixelRatio);
    const context = canvas.getContext('2d')!;
    for (const polygon of polygons) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      context.rect(0, 0, canvas.width, canvas.height);
      inPixels(context, corners, scene.columns, scene.rows);
      polygon.forEach(([column, row], at) =>
        at === 0 ? context.moveTo(column, row) : context.lineTo(column, row)
      );
      context.closePath();
      context.fill('evenodd');
    }
  };
}
