import { make, number } from './elements';
import { trans } from './words';

/** Curves over time, as `pipelines.curves.Curve` has them. */
export interface Curve {
  uid: string;
  name: string;
  seconds: number[];
  unit: string;
  means: (number | null)[];
}

const WIDTH = 600;
const HEIGHT = 120;
const EDGE = 4;
/** Lines are told apart without colour, too. */
const DASHES = ['', '6 3', '2 2', '8 2 2 2', '1 4'];
const SVG = 'http://www.w3.org/2000/svg';

/** Draws curves below the images, and where the frame that is shown lies on them. */
export class Chart {
  readonly root = make('figure', 'wb-chart');
  private readonly svg = document.createElementNS(SVG, 'svg');
  private readonly words = make('figcaption', 'wb-caption');
  private curves: readonly Curve[] = [];
  private frame = 0;

  constructor(private readonly unit: string) {
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('role', 'img');
    this.root.append(this.svg, this.words);
    this.root.hidden = true;
  }

  draw(curves: readonly Curve[]): void {
    this.curves = curves;
    this.root.hidden = curves.length === 0;
    this.refresh();
  }

  moved(frame: number): void {
    this.frame = frame;
    if (this.curves.length > 0) {
      this.refresh();
    }
  }

  private refresh(): void {
    const [first] = this.curves;
    if (first === undefined) {
      return;
    }
    const values = this.curves.flatMap(each => each.means.filter(mean => mean !== null));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const [start, end] = [first.seconds[0]!, first.seconds.at(-1)!];
    const x = (at: number): number => EDGE + ((at - start) / (end - start || 1)) * (WIDTH - 2 * EDGE);
    const y = (value: number): number =>
      HEIGHT - EDGE - ((value - low) / (high - low || 1)) * (HEIGHT - 2 * EDGE);
    const lines = this.curves.map(({ seconds, means }, number) => {
      const line = document.createElementNS(SVG, 'polyline');
      const points = means.flatMap((mean, at) => (mean === null ? [] : [`${x(seconds[at]!)},${y(mean)}`]));
      line.setAttribute('points', points.join(' '));
      line.setAttribute('stroke-dasharray', DASHES[number % DASHES.length]!);
      line.setAttribute('class', 'wb-curve');
      return line;
    });
    const now = document.createElementNS(SVG, 'line');
    const at = x(first.seconds[this.frame] ?? start);
    for (const [name, value] of Object.entries({ x1: at, x2: at, y1: 0, y2: HEIGHT, class: 'wb-now' })) {
      now.setAttribute(name, String(value));
    }
    this.svg.replaceChildren(...lines, now);
    this.words.textContent = this.said(first);
    this.svg.setAttribute('aria-label', this.words.textContent);
  }

  /** The same in words: where it is now, and how far each curve reaches. */
  private said({ seconds, unit }: Curve): string {
    const time = `${number(seconds[this.frame] ?? 0)} ${unit}`.trimEnd();
    const each = this.curves.map(({ name, means }) => {
      const known = means.filter(mean => mean !== null);
      const now = means[this.frame];
      const value = now === null || now === undefined ? '–' : number(now);
      const reach = `${number(Math.min(...known))} … ${number(Math.max(...known))}`;
      return `${trans.__(name)} ${value} ${this.unit}`.trimEnd() + ` (${reach})`;
    });
    return `${time}: ${each.join(' · ')}`;
  }
}
