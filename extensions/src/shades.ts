import type vtkColorTransferFunction from '@kitware/vtk.js/Rendering/Core/ColorTransferFunction';
import type { Values } from './scene';

/** The shades of a window, and pictures made of them by the processor. */

/** Steps of a window: a quarter of a grey level each. */
const STEPS = 1024;
/** Opaque, as an image of a canvas has it. */
export const BLACK = 0xff000000;

export interface Range {
  lower: number;
  upper: number;
}

/** The shades of a window, opaque, as an image of a canvas has them. */
export class Shades {
  /** Changes with them. */
  state = '';
  private readonly words = new Uint32Array(STEPS);
  private lower = 0;
  private scale = 1;

  /** As the engine has them. */
  take(shades: vtkColorTransferFunction, range: Range): void {
    this.make(range, String(shades.getMTime()), parts =>
      shades.getTable(range.lower, range.upper, STEPS, parts)
    );
  }

  /** Greys along a curve, as `shape` gives them to the engine. */
  along(curve: readonly number[], range: Range, invert: boolean): void {
    const points = curve.length > 1 ? curve : [0, 1];
    this.make(range, `${points.join(' ')} ${invert}`, parts => {
      for (let step = 0; step < STEPS; step += 1) {
        const at = (step / (STEPS - 1)) * (points.length - 1);
        const before = Math.min(Math.floor(at), points.length - 2);
        const point = points[before]! + (at - before) * (points[before + 1]! - points[before]!);
        const shade = invert ? 1 - point : point;
        parts.push(shade, shade, shade);
      }
    });
  }

  /** `fill` makes red, green and blue of each step, 0 to 1. */
  private make({ lower, upper }: Range, name: string, fill: (parts: number[]) => void): void {
    const state = [name, lower, upper].join();
    if (state === this.state) {
      return;
    }
    this.state = state;
    this.lower = lower;
    this.scale = (STEPS - 1) / Math.max(upper - lower, Number.EPSILON);
    const parts: number[] = [];
    fill(parts);
    for (let step = 0; step < STEPS; step += 1) {
      const [red, green, blue] = [0, 1, 2].map(part => Math.round(255 * parts[3 * step + part]!));
      this.words[step] = BLACK | (blue! << 16) | (green! << 8) | red!;
    }
  }

  /** Shade values of a grey image or a coloured one. */
  shadeImage(values: Values, samples: number, pixels: Uint32Array): void {
    if (samples === 1) {
      this.shade(values, pixels);
    } else {
      this.shadeColors(values, pixels);
    }
  }

  /** Shade values; what is not there is black. */
  shade(values: Values, pixels: Uint32Array): void {
    const { words, lower, scale } = this;
    for (let at = 0; at < pixels.length; at += 1) {
      const step = (values[at]! - lower) * scale + 0.5;
      pixels[at] =
        step >= STEPS ? words[STEPS - 1]! : step >= 0 ? words[step | 0]! : step < 0 ? words[0]! : BLACK;
    }
  }

  /** Shade red, green and blue each. */
  private shadeColors(values: Values, pixels: Uint32Array): void {
    const { words, lower, scale } = this;
    const shaded = (value: number): number =>
      words[Math.min(STEPS - 1, Math.max(0, (value - lower) * scale + 0.5)) | 0]! & 0xff;
    for (let at = 0, from = 0; at < pixels.length; at += 1, from += 3) {
      pixels[at] =
        BLACK | (shaded(values[from + 2]!) << 16) | (shaded(values[from + 1]!) << 8) | shaded(values[from]!);
    }
  }
}

/** A picture that is shaded again only where it changes. */
export class Picture {
  readonly canvas = document.createElement('canvas');
  private data = new ImageData(1, 1);
  private state: string | undefined;

  /** `fill` makes its pixels, row by row; again where the state is another, or none. */
  make(width: number, height: number, state: string | undefined, fill: (pixels: Uint32Array) => void): void {
    if (state !== undefined && state === this.state) {
      return;
    }
    this.state = state;
    if (this.data.width !== width || this.data.height !== height) {
      this.data = new ImageData(width, height);
      [this.canvas.width, this.canvas.height] = [width, height];
    }
    fill(new Uint32Array(this.data.data.buffer));
    this.canvas.getContext('2d')!.putImageData(this.data, 0, 0);
  }
}
