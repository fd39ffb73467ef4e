import { cache, Enums, eventTarget, type Types } from '@cornerstonejs/core';
import { cornersOf, inPixels, type Corners } from './canvas';
import { make } from './elements';
import { engine } from './engine';
import { parse } from './loader';
import type { Model } from './model';
import { ARRAYS, planeBytes, range, type Scene, type Values } from './scene';
import { Picture, Shades } from './shades';
import type { Source } from './source';
import type { Shown } from './viewports';
import { trans } from './words';

/**
 * A coarse picture over the cell of a stack, as long as the plane that is wanted is on its way.
 *
 * It is no image of the engine: nothing can be read, measured or drawn there, and no screenshot has it.
 */

/** A plane that comes sooner needs none. */
const LONG_MS = 250;
/** As `workbench/server/coarse.py` has them. */
const STEPS = [2, 4, 8, 16, 32] as const;
/** Of a coarse picture: more is wanted of no line that is slow. */
const MOST_BYTES = 256 << 10;
/** What would reach the tools of the engine, which would take the plane before for this one. */
const PRESSES = ['mousedown', 'dblclick', 'touchstart'] as const;

/** What is shown before a plane. */
interface Coarse {
  readonly step: number;
  readonly values: Values;
  readonly canvas: HTMLCanvasElement;
  readonly label: HTMLElement;
  readonly picture: Picture;
}

export class Preview {
  private shown: Shown | undefined;
  /** The plane that is on its way. */
  private wanted = '';
  private hasCome = false;
  private asking = new AbortController();
  private coarse: Coarse | undefined;
  private readonly shades = new Shades();

  constructor(
    private readonly source: Source,
    private readonly model: Model,
    private readonly say: (text: string, after?: string) => void,
    signal: AbortSignal
  ) {
    const failed = (event: Event): void => {
      if ((event as CustomEvent<{ imageId: string }>).detail.imageId === this.wanted) {
        this.drop();
      }
    };
    const events = ['change:window', 'change:curve', 'change:inverted'];
    events.forEach(each => model.on(each, this.draw));
    eventTarget.addEventListener(Enums.Events.IMAGE_LOAD_FAILED, failed);
    signal.addEventListener('abort', () => {
      events.forEach(each => model.off(each, this.draw));
      eventTarget.removeEventListener(Enums.Events.IMAGE_LOAD_FAILED, failed);
      this.drop();
    });
  }

  /** Be there for the planes of a cell that was just made, if it is one of a stack. */
  attach(shown: Shown): void {
    this.drop();
    this.shown = shown;
    const hear = (event: string, heard: (imageId: string) => void): void =>
      shown.element.addEventListener(event, given =>
        heard((given as CustomEvent<{ imageId: string }>).detail.imageId)
      );
    hear(Enums.Events.PRE_STACK_NEW_IMAGE, id => void this.ask(id));
    hear(Enums.Events.STACK_NEW_IMAGE, id => (this.hasCome = id === this.wanted));
    hear(Enums.Events.IMAGE_RENDERED, () => (this.hasCome ? this.drop() : this.draw()));
  }

  /** Ask for the coarse picture of a plane, where that is worth it. */
  private async ask(imageId: string): Promise<void> {
    this.drop();
    const { source, shown } = this;
    const { index } = parse(imageId) ?? {};
    const isLong = (source.milliseconds ?? 0) > LONG_MS;
    if (source.coarse === undefined || !isLong || index === undefined || cache.getImage(imageId)) {
      return;
    }
    this.wanted = imageId;
    const { signal } = (this.asking = new AbortController());
    const step = stepFor(source.scene);
    const buffer = await source.coarse(index, step, signal).catch(() => undefined); // the plane says what is wrong
    if (buffer === undefined || signal.aborted) {
      return;
    }
    const canvas = make('canvas', 'wb-preview', { 'aria-hidden': 'true' });
    PRESSES.forEach(press => canvas.addEventListener(press, event => event.stopPropagation()));
    const label = make('span', 'wb-letter wb-coarse', { 'aria-hidden': 'true' }); // the status line says it, too
    label.textContent = trans.__('coarse picture');
    const values = new ARRAYS[source.scene.dtype](buffer);
    this.coarse = { step, values, canvas, label, picture: new Picture() };
    this.draw();
    shown!.element.append(canvas, label);
    this.say(said());
  }

  /** The plane is there, or another is wanted. */
  private drop(): void {
    this.asking.abort();
    this.wanted = '';
    this.hasCome = false;
    if (this.coarse !== undefined) {
      this.coarse.canvas.remove();
      this.coarse.label.remove();
      this.coarse = undefined;
      this.say('', said());
    }
  }

  private readonly draw = (): void => {
    const { coarse, shades, shown, model } = this;
    if (coarse === undefined || shown === undefined) {
      return;
    }
    const { scene } = this.source;
    const { canvas, picture, step, values } = coarse;
    const isGrey = scene.samples === 1;
    const [center, width] = isGrey ? (model.get('window') as [number, number]) : [128, 256];
    const curve = isGrey ? (model.get('curve') as number[]) : [];
    shades.along(curve, range(scene, center, width), isGrey && (model.get('inverted') as boolean));
    const [across, down] = [Math.ceil(scene.columns / step), Math.ceil(scene.rows / step)];
    picture.make(across, down, shades.state, pixels => shades.shadeImage(values, scene.samples, pixels));
    const { clientWidth, clientHeight } = shown.element;
    canvas.width = Math.round(clientWidth * window.devicePixelRatio);
    canvas.height = Math.round(clientHeight * window.devicePixelRatio);
    const context = canvas.getContext('2d')!;
    context.fillRect(0, 0, canvas.width, canvas.height);
    const viewport = engine().getViewport(shown.id) as Types.IStackViewport;
    const corners = cornersOf(viewport) ?? fitted(scene, clientWidth, clientHeight);
    inPixels(context, corners, scene.columns, scene.rows);
    context.rect(0, 0, scene.columns, scene.rows);
    context.clip();
    context.drawImage(picture.canvas, 0, 0, across * step, down * step);
  };
}

function said(): string {
  return trans.__('A coarse picture is shown: the plane is on its way.');
}

/** The finest picture that is small. */
function stepFor(scene: Scene): number {
  return STEPS.find(step => planeBytes(scene) / step ** 2 <= MOST_BYTES) ?? STEPS.at(-1)!;
}

/** A plane in the middle of a cell, as large as it fits: as the engine shows the first one. */
function fitted({ rows, columns, pixel_spacing }: Scene, width: number, height: number): Corners {
  const [between, beside] = pixel_spacing ?? [1, 1];
  const [across, down] = [columns * beside, rows * between];
  const scale = Math.min(width / across, height / down);
  const [left, top] = [(width - across * scale) / 2, (height - down * scale) / 2];
  return [
    [left, top],
    [left + across * scale, top],
    [left, top + down * scale]
  ];
}
