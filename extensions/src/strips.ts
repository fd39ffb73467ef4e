import type { ServerConnection } from '@jupyterlab/services';
import { make, number } from './elements';
import type { Model } from './model';
import { clock, draw, HEAD_MM, height, PULSE_MM, PX_PER_MM, seconds, within, type Sheet } from './paper';
import { handIn } from './shot';
import { trans } from './words';
import { KernelTiles, ServerTiles, Traces, type Annotation, type Strips } from './traces';

/** Strips of a waveform in one cell; what they share with Python is `workbench.widgets.strips.StripWire`. */

const SPEEDS = [0.01, 0.05, 0.2, 1, 5, 12.5, 25, 50, 100, 200];
const GAINS = [1, 2.5, 5, 10, 20, 40, 100, 200];
/** Part of what is seen that a step, and a turn of the wheel, moves. */
const STEP = 0.1;
const LISTED = 60;

export class StripViewer {
  static show(model: Model, element: HTMLElement, settings: ServerConnection.ISettings): () => void {
    const viewer = new StripViewer(model, element, settings);
    return () => viewer.dispose();
  }

  private readonly strips: Strips;
  private readonly root = make('section', 'wb-viewer wb-strips', { 'aria-label': trans.__('Waveform') });
  private readonly canvas = make('canvas', 'wb-paper', { tabindex: '0', role: 'img' });
  private readonly speed = make('select', 'wb-choice', { 'aria-label': trans.__('Speed of the paper') });
  private readonly gain = make('select', 'wb-choice', { 'aria-label': trans.__('Height of a millivolt') });
  private readonly slider = make('input', 'wb-range', { type: 'range', 'aria-label': trans.__('Time in s') });
  private readonly where = make('span', 'wb-value');
  private readonly status = make('div', 'wb-status', { role: 'status' });
  private readonly list = make('ul', 'wb-marks', { 'aria-label': trans.__('Annotations of the waveform') });
  private readonly traces: Traces;
  private readonly listening = new AbortController();
  private readonly resized: ResizeObserver;
  private readonly themed: MutationObserver;
  private request = 0;
  /** That it had last: JupyterLab hides the page while its theme changes. */
  private width = 0;

  private constructor(
    private readonly model: Model,
    element: HTMLElement,
    private readonly settings: ServerConnection.ISettings
  ) {
    this.strips = model.get('strips') as Strips;
    const key = model.get('key') as string;
    this.traces = new Traces(
      this.strips,
      key === '' ? new KernelTiles(model) : new ServerTiles(key, settings),
      () => this.redraw(),
      error => this.failed(error.message)
    );
    this.build(element);
    this.listen();
    this.resized = new ResizeObserver(() => this.redraw());
    this.resized.observe(this.root);
    this.themed = new MutationObserver(() => this.draw());
    this.themed.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-light'] });
    this.redraw();
  }

  private get sheet(): Sheet {
    const style = getComputedStyle(this.root);
    const colour = (name: string): string => style.getPropertyValue(`--wb-${name}`).trim();
    return {
      strips: this.strips,
      start: this.model.get('start') as number,
      speed: this.model.get('speed') as number,
      gain: this.model.get('gain') as number,
      width: (this.width = this.root.clientWidth || this.width),
      colours: {
        paper: colour('paper'),
        fine: colour('fine'),
        coarse: colour('coarse'),
        ink: colour('ink'),
        mark: colour('mark')
      }
    };
  }

  private get end(): number {
    return this.strips.start_s + this.strips.samples / this.strips.frequency_hz;
  }

  private build(element: HTMLElement): void {
    const bar = make('div', 'wb-tools', { role: 'toolbar', 'aria-label': trans.__('Strips') });
    for (const [sign, name, act] of [
      ['«', trans.__('to the beginning'), () => this.go(this.strips.start_s)],
      ['‹', trans.__('a page back'), () => this.step(-0.9)],
      ['›', trans.__('a page on'), () => this.step(0.9)],
      ['»', trans.__('to the end'), () => this.go(this.end)],
      ['−', trans.__('slower paper: more time'), () => this.zoom(-1)],
      ['+', trans.__('faster paper: less time'), () => this.zoom(1)]
    ] as const) {
      const button = make('button', 'wb-tool', { type: 'button', title: name, 'aria-label': name });
      button.textContent = sign;
      button.addEventListener('click', act);
      bar.append(button);
    }
    bar.append(this.speed, this.gain);
    const row = make('label', 'wb-slider');
    const name = make('span', 'wb-name');
    name.textContent = trans.__('time');
    row.append(name, this.slider, this.where);
    this.root.append(bar, this.canvas, row, this.status, this.list);
    element.append(this.root);
    if (this.strips.note !== '') {
      this.say(this.strips.note);
    }
  }

  private listen(): void {
    const { signal } = this.listening;
    for (const name of ['start', 'speed', 'gain']) {
      const listener = (): void => this.redraw();
      this.model.on(`change:${name}`, listener);
      signal.addEventListener('abort', () => this.model.off(`change:${name}`, listener));
    }
    const asked = (content: unknown): void => {
      const { kind, key } = content as { kind?: string; key?: string };
      if (kind === 'shot') {
        void this.shot(key!);
      }
    };
    this.model.on('msg:custom', asked);
    signal.addEventListener('abort', () => this.model.off('msg:custom', asked));
    this.speed.addEventListener('change', () => this.set('speed', Number(this.speed.value)));
    this.gain.addEventListener('change', () => this.set('gain', Number(this.gain.value)));
    this.slider.addEventListener('input', () => this.go(Number(this.slider.value)));
    this.canvas.addEventListener(
      'wheel',
      event => {
        event.preventDefault();
        if (event.ctrlKey || event.metaKey) {
          this.zoom(event.deltaY < 0 ? 1 : -1, this.time(event));
        } else {
          this.step(Math.sign(event.deltaX || event.deltaY) * STEP);
        }
      },
      { signal, passive: false }
    );
    this.canvas.addEventListener('keydown', event => this.pressed(event), { signal });
    this.canvas.addEventListener('pointerdown', event => this.drag(event), { signal });
    this.canvas.addEventListener('pointermove', event => this.read(event), { signal });
  }

  private pressed(event: KeyboardEvent): void {
    const acts: Record<string, () => void> = {
      ArrowRight: () => this.step(STEP),
      ArrowLeft: () => this.step(-STEP),
      PageDown: () => this.step(0.9),
      PageUp: () => this.step(-0.9),
      Home: () => this.go(this.strips.start_s),
      End: () => this.go(this.end),
      '+': () => this.zoom(1),
      '-': () => this.zoom(-1)
    };
    const act = acts[event.key];
    if (act !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      act();
    }
  }

  private set(name: string, value: unknown): void {
    this.model.set(name, value);
    this.model.save_changes();
  }

  /** Show a time at the left edge; the end of the recording stays at the right one. */
  private go(time: number): void {
    const { start_s } = this.strips;
    this.set('start', Math.max(start_s, Math.min(time, this.end - seconds(this.sheet))));
  }

  private step(part: number): void {
    const sheet = this.sheet;
    this.go(sheet.start + part * seconds(sheet));
  }

  /** The next speed of the paper, with a time where it was. */
  private zoom(by: 1 | -1, around = this.sheet.start): void {
    const { speed, start } = this.sheet;
    const wanted =
      by > 0
        ? SPEEDS.find(each => each > speed * 1.001)
        : [...SPEEDS].reverse().find(each => each < speed * 0.999);
    if (wanted !== undefined) {
      this.model.set('speed', wanted);
      this.go(around - ((around - start) * speed) / wanted);
    }
  }

  private time(event: MouseEvent): number {
    const { start, speed } = this.sheet;
    return start + (event.offsetX / PX_PER_MM - PULSE_MM) / speed;
  }

  /** Pull the paper. */
  private drag(event: PointerEvent): void {
    const from = this.sheet;
    const pull = new AbortController();
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener(
      'pointermove',
      moved => this.go(from.start - (moved.clientX - event.clientX) / (from.speed * PX_PER_MM)),
      { signal: pull.signal }
    );
    for (const end of ['pointerup', 'pointercancel']) {
      this.canvas.addEventListener(end, () => pull.abort(), { signal: pull.signal });
    }
  }

  /** Say what the curve below the pointer is. */
  private read(event: PointerEvent): void {
    const { strips } = this;
    const at = Math.floor((event.offsetY / PX_PER_MM - HEAD_MM) / strips.band_mm);
    const channel = strips.channels[at];
    const time = this.time(event);
    if (channel === undefined || event.offsetX < PULSE_MM * PX_PER_MM || time >= this.end) {
      return;
    }
    for (const { start, step, columns, lows, highs } of this.seen(this.sheet)) {
      const column = Math.floor((time - start) / step);
      if (column >= 0 && column < columns) {
        const [low, high] = [lows[at * columns + column]!, highs[at * columns + column]!];
        const value = low === high ? number(low) : `${number(low)} … ${number(high)}`;
        this.say(`${clock(time)} · ${channel.name}: ${value} ${channel.unit}`.trimEnd());
      }
    }
  }

  private seen(sheet: Sheet): ReturnType<Traces['pieces']> {
    const pixel = 1 / (sheet.speed * PX_PER_MM * devicePixelRatio);
    return this.traces.pieces(this.traces.level(pixel), sheet.start, sheet.start + seconds(sheet));
  }

  /** Draw with the next frame of the page, however often it is wished. */
  private redraw(): void {
    if (this.request === 0) {
      this.request = requestAnimationFrame(() => {
        this.request = 0;
        this.draw();
      });
    }
  }

  private draw(): void {
    const sheet = this.sheet;
    if (sheet.width === 0) {
      return;
    }
    const tall = height(this.strips);
    this.canvas.width = Math.round(sheet.width * devicePixelRatio);
    this.canvas.height = Math.round(tall * devicePixelRatio);
    this.canvas.style.height = `${tall}px`;
    // drawn by the processor: strokes of many thousand points take a software WebGL seconds
    const context = this.canvas.getContext('2d', { willReadFrequently: true })!;
    context.scale(devicePixelRatio, devicePixelRatio);
    draw(context, sheet, this.seen(sheet));
    this.describe(sheet);
    if (this.traces.isComplete && this.root.dataset['state'] !== 'failed') {
      this.root.dataset['state'] = 'ready';
    }
  }

  /** The same in words and in the controls. */
  private describe(sheet: Sheet): void {
    const { strips } = this;
    const shown = seconds(sheet);
    const stop = Math.min(this.end, sheet.start + shown);
    const names = strips.channels.map(each => each.name).join(', ');
    const span = trans.__('%1 to %2 of %3', clock(sheet.start), clock(stop), clock(this.end));
    this.canvas.setAttribute(
      'aria-label',
      trans.__('%1 strips, %2: %3', strips.channels.length, names, span)
    );
    choose(this.speed, SPEEDS, sheet.speed, 'mm/s');
    choose(this.gain, GAINS, sheet.gain, 'mm/mV');
    this.gain.hidden = !strips.channels.some(each => each.is_voltage);
    this.slider.min = String(strips.start_s);
    this.slider.max = String(Math.max(strips.start_s, this.end - shown));
    this.slider.step = 'any';
    this.slider.value = String(sheet.start);
    this.slider.setAttribute('aria-valuetext', span);
    this.where.textContent = span;
    this.listed(sheet, stop);
  }

  /** What is said of the whole recording, and of the time that is seen. */
  private listed(sheet: Sheet, stop: number): void {
    const { annotations } = this.strips;
    const whole = annotations.filter(each => each.start_s === null);
    const here = [...whole, ...within(annotations, sheet.start, stop)];
    const rows = here.slice(0, LISTED).map(each => this.row(each));
    if (here.length > LISTED) {
      const more = make('li', 'wb-mark');
      more.textContent = trans.__('and %1 more here', here.length - LISTED);
      rows.push(more);
    }
    this.list.replaceChildren(...rows);
  }

  private row({ text, start_s, stop_s, channels }: Annotation): HTMLLIElement {
    const row = make('li', 'wb-mark');
    const names = channels.flatMap(each => this.strips.channels[each]?.name ?? []).join(', ');
    const time =
      start_s === null ? '' : clockExactly(start_s) + (stop_s === null ? '' : ` … ${clockExactly(stop_s)}`);
    row.textContent = [time, text, names].filter(each => each !== '').join(' · ');
    return row;
  }

  private async shot(key: string): Promise<void> {
    const blob = await new Promise<Blob | null>(resolve => this.canvas.toBlob(resolve, 'image/png'));
    await handIn(key, await blob!.arrayBuffer(), this.settings);
  }

  private say(text: string): void {
    this.status.textContent = text;
  }

  private failed(text: string): void {
    this.root.dataset['state'] = 'failed';
    this.say(trans.__('This cannot be shown: %1', text));
  }

  private dispose(): void {
    cancelAnimationFrame(this.request);
    this.listening.abort();
    this.resized.disconnect();
    this.themed.disconnect();
    this.traces.dispose();
    this.root.remove();
  }
}

/** Thousandths of a second count in an ECG. */
function clockExactly(time: number): string {
  return Math.abs(time) < 60 ? `${time.toFixed(3)} s` : `${clock(time)} (${time.toFixed(3)} s)`;
}

/** Offer values, and the one that is in force whatever it is. */
function choose(select: HTMLSelectElement, values: readonly number[], now: number, unit: string): void {
  const offered = [...new Set([...values, now])].sort((one, other) => one - other);
  if (
    select.options.length !== offered.length ||
    !offered.every((each, at) => select.options[at]!.value === String(each))
  ) {
    select.replaceChildren(...offered.map(each => new Option(`${number(each)} ${unit}`, String(each))));
  }
  select.value = String(now);
}
