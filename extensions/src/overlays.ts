import { cache, Enums, imageLoader, type Types } from '@cornerstonejs/core';
import type { ServerConnection } from '@jupyterlab/services';
import { labelColors, table, type Color } from './colormaps';
import { engine } from './engine';
import { make } from './elements';
import { imageIds, use } from './loader';
import type { Model } from './model';
import {
  gridOf,
  inGrid,
  needed,
  sampled,
  valueAt,
  applied,
  inverse,
  type Grid,
  type Matrix,
  type Raster
} from './sampling';
import type { Scene, Values } from './scene';
import { KernelSource, ServerSource, type Source } from './source';
import type { Shown, Viewports } from './viewports';
import { trans } from './words';

/** What is laid over the images: arrays on grids of their own, sampled at each pixel of a cell. */

/** An item of the trait `overlays` (`workbench/widgets/overlays.py`). */
export interface Overlay {
  uid: string;
  name: string;
  /** By which the server knows the array; empty where it lies in the kernel. */
  key: string;
  scene: Scene;
  /** (column, row, plane) to LPS mm of what is shown. */
  affine: Matrix;
  is_of_labels: boolean;
  labels: Record<string, string>;
  colors: Record<string, Color>;
  colormap: string;
  opacity: number;
  window: [number, number];
  is_shown: boolean;
}

/** Colours come in over the lowest part of a window, so that what is next to nothing hides nothing. */
const FADE = 0.1;
/** How long planes that come one by one are waited for before what is there is drawn. */
const GATHER_MS = 150;

/** The planes of one overlay, as the cache of the page has them. */
class Laid {
  readonly source: Source;
  readonly grid: Grid;
  private readonly release: () => void;
  private readonly ids: string[];
  private readonly asked = new Set<number>();

  constructor(
    viewer: string,
    overlay: Overlay,
    model: Model,
    settings: ServerConnection.ISettings,
    private readonly came: () => void,
    private readonly failed: (error: Error) => void
  ) {
    const { key, scene, uid } = overlay;
    this.source =
      key === ''
        ? new KernelSource(`${viewer}-${uid}`, scene, model, uid)
        : new ServerSource(key, scene, settings);
    this.grid = gridOf(scene, overlay.affine, overlay.is_of_labels);
    this.release = use(this.source);
    this.ids = imageIds(this.source, []);
  }

  /** Planes of these numbers that are there; the others are asked for, once. */
  planes(numbers: readonly number[]): (Values | undefined)[] {
    const out: (Values | undefined)[] = [];
    for (const number of numbers) {
      const image = cache.getImage(this.ids[number]!);
      out[number] = image?.getPixelData() as Values | undefined;
      if (image === undefined && !this.asked.has(number)) {
        this.asked.add(number);
        imageLoader
          .loadAndCacheImage(this.ids[number]!)
          .then(() => {
            this.asked.delete(number); // it may be asked for again, where the cache had to let it go
            this.came();
          })
          .catch((error: Error) => this.failed(error));
      }
    }
    return out;
  }

  /** Value at a place in the patient; `NaN` where there is none, or it is not there yet. */
  at(place: readonly number[]): number {
    const [column, row, plane] = applied(inverse(this.grid.affine), place) as [number, number, number];
    const near = [Math.floor(plane), Math.round(plane), Math.floor(plane) + 1].map(each =>
      Math.min(this.grid.planes - 1, Math.max(0, each))
    );
    return valueAt(this.grid, this.planes(near), column, row, plane);
  }

  dispose(): void {
    if (this.source instanceof KernelSource) {
      this.source.dispose();
    }
    this.release();
  }
}

export class Overlays {
  private readonly laid = new Map<string, Laid>();
  private readonly drawn = new WeakMap<HTMLElement, string>();
  private late = 0;
  private revision = 0;

  constructor(
    private readonly name: string,
    private readonly model: Model,
    private readonly viewports: Viewports,
    private readonly settings: ServerConnection.ISettings,
    private readonly say: (text: string) => void,
    signal: AbortSignal
  ) {
    const changed = (): void => this.changed();
    model.on('change:overlays', changed);
    signal.addEventListener('abort', () => {
      model.off('change:overlays', changed);
      clearTimeout(this.late);
      this.laid.forEach(each => each.dispose());
      this.laid.clear();
    });
    this.take();
  }

  get all(): Overlay[] {
    return this.model.get('overlays') as Overlay[];
  }

  /** Draw over the images of a layout, whenever they are drawn. */
  attach(): void {
    for (const shown of this.viewports.flat) {
      shown.element.addEventListener(Enums.Events.IMAGE_RENDERED, () => this.draw(shown));
    }
  }

  /** What the overlays that are shown have at a place in the patient; `NaN` for nothing. */
  at(place: readonly number[]): { overlay: Overlay; value: number }[] {
    return this.all
      .filter(each => each.is_shown)
      .map(overlay => ({ overlay, value: this.laid.get(overlay.uid)?.at(place) ?? NaN }));
  }

  private changed(): void {
    this.take();
    this.refresh();
  }

  /** Open what is new, and give up what is gone. */
  private take(): void {
    const wanted = new Map(this.all.map(each => [each.uid, each]));
    for (const [uid, each] of this.laid) {
      if (!wanted.has(uid)) {
        each.dispose();
        this.laid.delete(uid);
      }
    }
    for (const [uid, overlay] of wanted) {
      if (!this.laid.has(uid)) {
        const failed = (error: Error): void => {
          if (this.laid.has(uid) && error.name !== 'AbortError') {
            this.say(trans.__('%1 cannot be shown: %2', overlay.name, error.message));
          }
        };
        this.laid.set(
          uid,
          new Laid(this.name, overlay, this.model, this.settings, () => this.gather(), failed)
        );
      }
    }
  }

  private gather(): void {
    if (this.late === 0) {
      this.late = window.setTimeout(() => {
        this.late = 0;
        this.refresh();
      }, GATHER_MS);
    }
  }

  private refresh(): void {
    this.revision += 1;
    this.viewports.flat.forEach(each => this.draw(each));
  }

  private draw(shown: Shown): void {
    const overlays = this.all.filter(each => each.is_shown && each.opacity > 0);
    const canvas = canvasOver(shown.element, overlays.length > 0);
    const viewport = engine().getViewport(shown.id) as Types.IViewport | undefined;
    const { clientWidth: width, clientHeight: height } = shown.element;
    if (canvas === undefined || viewport === undefined || width * height === 0) {
      return;
    }
    const raster = this.viewports.rasterOf(shown, width, height);
    const state = JSON.stringify([this.revision, width, height, raster]);
    if (this.drawn.get(canvas) === state) {
      return;
    }
    this.drawn.set(canvas, state);
    canvas.width = width;
    canvas.height = height;
    const image = new ImageData(width, height);
    for (const overlay of overlays) {
      const laid = this.laid.get(overlay.uid);
      if (laid !== undefined) {
        blend(image.data, values(laid, raster, width, height), overlay);
      }
    }
    canvas.getContext('2d')!.putImageData(image, 0, 0);
    canvas.dataset['drawn'] = String(this.late === 0);
  }
}

function values(laid: Laid, raster: Raster, width: number, height: number): Float32Array {
  const indices = inGrid(laid.grid, raster);
  const planes = laid.planes(needed(laid.grid, indices, width, height));
  return sampled(laid.grid, planes, indices, width, height);
}

/** Lay colours over those that are there; red, green, blue, opacity of each pixel (not premultiplied). */
function blend(pixels: Uint8ClampedArray, sampled: Float32Array, overlay: Overlay): void {
  const [center, width] = overlay.window;
  const lower = center - width / 2;
  const colors = table(overlay.colormap);
  const colorOf = labelColors(overlay.colors);
  for (let at = 0; at < sampled.length; at += 1) {
    const part = (sampled[at]! - lower) / width;
    let color: ArrayLike<number> = colors;
    let first = 0;
    let opacity = overlay.opacity;
    if (overlay.colormap === 'labels') {
      if (!(sampled[at]! >= 1)) {
        continue;
      }
      color = colorOf(Math.round(sampled[at]!));
    } else if (part > 0) {
      first = 3 * Math.min(255, Math.floor(part * 256));
      opacity *= Math.min(1, part / FADE);
    } else {
      continue; // below the window, outside, or not there yet
    }
    const below = (pixels[4 * at + 3]! / 255) * (1 - opacity);
    const whole = opacity + below;
    for (let channel = 0; channel < 3; channel += 1) {
      const there = pixels[4 * at + channel]!;
      pixels[4 * at + channel] = (color[first + channel]! * opacity + there * below) / whole;
    }
    pixels[4 * at + 3] = 255 * whole;
  }
}

/** The canvas between an image and its marks; made where it is wanted. */
function canvasOver(element: HTMLElement, isWanted: boolean): HTMLCanvasElement | undefined {
  const there = element.querySelector<HTMLCanvasElement>('canvas.wb-overlay');
  if (!isWanted) {
    there?.remove();
    return undefined;
  }
  if (there !== null) {
    return there;
  }
  const canvas = make('canvas', 'wb-overlay', { 'aria-hidden': 'true' });
  element.querySelector('canvas')!.after(canvas);
  return canvas;
}
