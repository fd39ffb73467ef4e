import type { Types } from '@cornerstonejs/core';
import type { ActionName } from './actions';
import { Chart } from './chart';
import { make, number } from './elements';
import { KeyList } from './keys';
import type { Mark } from './marks';
import { measured, type Stats } from './measures';
import { barOf, lengthWords } from './scale';
import { cross, letters, planes, type Scene, type Window } from './scene';
import type { SlabKind } from './viewports';
import type { Segment } from './masks';
import { iconButton, Toolbar } from './toolbar';
import { draws, TOOLS, type Tool } from './tools';
import { Troubles } from './troubles';
import { trans } from './words';

/** What stands around the images: tools, windows, sliders, words in the corners, the list of marks. */

export interface Wishes {
  tool(name: string): void;
  window(window: Window): void;
  layout(name: string): void;
  act(name: ActionName): void;
  index(index: number[]): void;
  remove(uid: string): void;
  slab(thickness: number, kind: SlabKind): void;
  brush(millimetres: number): void;
  segment(number: number): void;
  addSegment(): void;
  interpolate(): void;
  send(node: string, form: string): void;
}

/** How what is drawn can be sent, as `Viewer.send` in Python has it. */
const FORMS: [string, string][] = [
  ['sr', 'report'],
  ['gsps', 'presentation state'],
  ['rtstruct', 'structure set'],
  ['seg', 'segmentation']
];
const SLABS: readonly SlabKind[] = ['maximum', 'average', 'minimum'];

/** Viewers that this page has had. */
let count = 0;

export class Panel {
  readonly root: HTMLElement;
  readonly grid: HTMLElement;
  readonly chart: Chart;
  readonly keys = new KeyList();
  readonly troubles = new Troubles();
  private readonly toolbar: Toolbar;
  private readonly presets: HTMLSelectElement;
  private readonly layouts: HTMLSelectElement;
  private readonly sliders: HTMLElement;
  private readonly status: HTMLElement;
  private readonly list: HTMLElement;
  private readonly slab: { row: HTMLElement; input: HTMLInputElement; kind: HTMLSelectElement };
  private readonly paint: { row: HTMLElement; size: HTMLInputElement; segment: HTMLSelectElement };
  private readonly post: { row: HTMLElement; node: HTMLSelectElement };
  private cells: HTMLDivElement[] = [];
  private inputs: HTMLInputElement[] = [];
  private readonly rows: HTMLElement[] = [];

  constructor(
    around: HTMLElement,
    private readonly scene: Scene,
    private readonly wishes: Wishes
  ) {
    this.root = make('section', 'wb-viewer', {
      'aria-label': trans.__('Viewer %1, %2', ++count, scene.modality)
    });
    this.root.dataset['state'] = 'loading';
    this.root.dataset['lmSuppressShortcuts'] = 'true'; // keys that are pressed here are not the notebook's
    this.toolbar = new Toolbar(wishes.tool, wishes.act);
    this.toolbar.offer(
      'play',
      scene.axes.some(each => each.size > 1)
    );
    this.presets = make('select', 'wb-choice', { 'aria-label': trans.__('Window') });
    this.presets.append(new Option(trans.__('window …'), ''));
    scene.windows.forEach((window, at) =>
      this.presets.append(
        new Option(`${trans.__(window.name)} (${number(window.center)} / ${number(window.width)})`, `${at}`)
      )
    );
    this.presets.addEventListener('change', () => {
      const window = scene.windows[Number(this.presets.value)];
      if (this.presets.value !== '' && window !== undefined) {
        wishes.window(window);
      }
    });
    this.presets.hidden = scene.windows.length === 0;
    this.layouts = make('select', 'wb-choice', { 'aria-label': trans.__('Layout') });
    for (const name of scene.is_volume && scene.samples === 1 ? ['stack', 'mpr', '3d'] : ['stack']) {
      this.layouts.append(new Option(trans.__(name), name));
    }
    this.layouts.addEventListener('change', () => wishes.layout(this.layouts.value));
    const bar = make('div', 'wb-bar');
    bar.append(this.toolbar.root, this.presets, this.layouts);
    this.grid = make('div', 'wb-grid');
    this.sliders = make('div', 'wb-sliders');
    this.addSliders();
    this.slab = this.addSlab();
    this.paint = this.addPaint();
    this.status = make('div', 'wb-status', { role: 'status' });
    this.list = make('ol', 'wb-marks', { 'aria-label': trans.__('Marks') });
    this.post = this.addPost();
    this.chart = new Chart(scene.unit);
    this.root.append(
      bar,
      this.troubles.root,
      this.grid,
      this.sliders,
      this.chart.root,
      this.post.row,
      this.status,
      this.list,
      this.keys.root
    );
    around.append(this.root);
  }

  /** Make the cells of a layout. */
  arrange(layout: string, names: readonly string[]): void {
    this.root.dataset['layout'] = layout;
    this.root.dataset['state'] = 'loading';
    this.layouts.value = layout;
    this.rows.at(-1)!.hidden = layout === '3d' || planes(this.scene) < 2;
    this.slab.row.hidden = layout !== 'mpr';
    for (const tool of TOOLS) {
      this.toolbar.offer(tool.name, this.offers(tool, layout));
    }
    this.cells = names.map(name => {
      const cell = make('div', 'wb-view', {
        role: 'application', // its keys are its own: arrows, letters
        'aria-label': trans.__('Image, %1', trans.__(name))
      }) as HTMLDivElement;
      cell.addEventListener('contextmenu', event => event.preventDefault());
      return cell;
    });
    this.grid.replaceChildren(
      ...this.cells.map((cell, at) => {
        const frame = make('div', 'wb-frame');
        frame.dataset['view'] = names[at];
        frame.append(cell);
        for (const side of ['top', 'right', 'bottom', 'left', 'corner']) {
          frame.append(make('span', `wb-letter wb-${side}`, { 'aria-hidden': 'true' }));
        }
        frame.append(make('span', 'wb-letter wb-scale', { 'aria-hidden': 'true' }));
        return frame;
      })
    );
  }

  cell(at: number): HTMLDivElement {
    return this.cells[at]!;
  }

  get hasFailed(): boolean {
    return this.root.dataset['state'] === 'failed';
  }

  ready(): void {
    this.root.dataset['state'] = 'ready';
    this.say('');
  }

  progress(done: number, of: number): void {
    this.say(trans.__('%1 of %2 planes', done, of));
  }

  /** Say a text, `after` another only while that is said. */
  say(text: string, after = this.status.textContent): void {
    if (this.status.textContent === after) {
      this.status.textContent = text;
    }
  }

  failed(text: string): void {
    this.root.dataset['state'] = 'failed';
    this.say(text);
  }

  /** Whether a tool can be taken up in a layout. */
  offers({ needs }: Tool, layout: string): boolean {
    return needs === 'sections' ? layout === 'mpr' : needs === undefined || this.scene.samples === 1;
  }

  tookUp(tool: Tool): void {
    this.toolbar.tookUp(tool.name);
    this.root.dataset['draws'] = String(draws(tool));
    this.paint.row.hidden = tool.group !== 'paint';
  }

  /** List the segments that can be painted. */
  segmented(segments: readonly Segment[], active: number): void {
    this.paint.segment.replaceChildren(
      ...segments.map(each => new Option(`${each.number} · ${each.label}`, String(each.number)))
    );
    this.paint.segment.value = String(active);
  }

  brushed(millimetres: number): void {
    this.paint.size.value = String(millimetres);
    this.paint.row.querySelector('.wb-value')!.textContent = `${number(millimetres)} mm`;
  }

  windowed(center: number, width: number, curve: readonly number[], inverted: boolean): void {
    this.press('invert', inverted);
    const same = this.scene.windows.findIndex(
      each => each.center === center && each.width === width && each.curve.join() === curve.join()
    );
    this.presets.value = same < 0 ? '' : String(same);
    if (this.scene.samples === 1) {
      this.corner(`W ${number(width)} L ${number(center)} ${this.scene.unit}`.trim());
    }
  }

  /** Say that an action is in force. */
  press(name: ActionName, isOn: boolean): void {
    this.toolbar.press(name, isOn);
  }

  enable(name: ActionName, isPossible: boolean): void {
    this.toolbar.enable(name, isPossible);
  }

  slabbed(thickness: number, kind: SlabKind): void {
    this.slab.input.value = String(thickness);
    this.slab.kind.value = kind;
    this.slab.row.querySelector('.wb-value')!.textContent =
      thickness > 0 ? `${number(thickness)} mm` : trans.__('a plane');
  }

  moved(index: readonly number[]): void {
    this.chart.moved(index[this.scene.axes.findIndex(each => each.name === 'time')] ?? 0);
    index.forEach((at, axis) => {
      const input = this.inputs[axis];
      if (input !== undefined) {
        input.value = String(at);
        input.setAttribute('aria-valuetext', this.words(axis, at));
        input.nextElementSibling!.textContent = this.words(axis, at);
      }
    });
  }

  /** Write the letters of the patient at the edges of an image that lies another way now, and its scale. */
  turned(element: HTMLElement, camera: Types.ICamera): void {
    const { viewUp, viewPlaneNormal, parallelScale } = camera;
    const frame = element.parentElement;
    if (frame === null || viewUp === undefined || viewPlaneNormal === undefined) {
      return;
    }
    if (parallelScale !== undefined && element.clientHeight > 0) {
      this.scaled(frame, element, (2 * parallelScale) / element.clientHeight);
    }
    if (this.scene.positions_lps_mm.length === 0) {
      return;
    }
    const right = cross(viewUp, viewPlaneNormal);
    const directions: Record<string, readonly number[]> = {
      top: viewUp,
      bottom: viewUp.map(each => -each),
      right,
      left: right.map(each => -each)
    };
    for (const [side, direction] of Object.entries(directions)) {
      frame.querySelector(`.wb-${side}`)!.textContent = letters(direction);
    }
  }

  private scaled(frame: HTMLElement, element: HTMLElement, millimetresPerPixel: number): void {
    const scale = frame.querySelector<HTMLElement>('.wb-scale')!;
    scale.hidden = this.scene.pixel_spacing === null;
    const { millimetres, pixels } = barOf(millimetresPerPixel, element.clientWidth);
    scale.style.width = `${pixels}px`;
    const holds = this.scene.spacing_holds;
    scale.textContent = lengthWords(millimetres) + (holds === 'patient' || holds === '' ? '' : ` ${holds}`);
  }

  /** List what is drawn and what it measures; what is somebody else's says whose, and stays. */
  listed(
    marks: readonly Mark[],
    whose: Readonly<Record<string, string>>,
    stats: Readonly<Record<string, Stats>>
  ): void {
    const { axes } = this.scene;
    this.list.replaceChildren(
      ...marks.map(mark => {
        const row = make('li', 'wb-mark');
        const author = whose[mark.uid];
        const plane = mark.index[mark.index.length - 1];
        const text = make('span', 'wb-text');
        const kind = trans.__(mark.kind);
        const where =
          plane === undefined ? trans.__('section') : `${trans.__(axes[axes.length - 1]!.name)} ${plane}`;
        const numbers = measured(this.scene, mark.kind, stats[mark.uid] ?? {});
        const words = [kind, where, mark.text, ...numbers, author ?? ''];
        text.textContent = words.filter(each => each !== '').join(' · ');
        const show = iconButton('find', trans.__('show %1', kind));
        show.disabled = plane === undefined;
        show.addEventListener('click', () => this.wishes.index(mark.index));
        const remove = iconButton('remove', trans.__('delete %1', kind));
        remove.disabled = author !== undefined;
        remove.addEventListener('click', () => this.wishes.remove(mark.uid));
        row.append(text, show, remove);
        return row;
      })
    );
  }

  dispose(): void {
    this.root.remove();
  }

  private corner(text: string): void {
    for (const each of this.grid.querySelectorAll('.wb-corner')) {
      each.textContent = text;
    }
  }

  private addSliders(): void {
    this.inputs = this.scene.axes.map((axis, at) => {
      const row = make('label', 'wb-slider');
      const name = make('span', 'wb-name');
      name.textContent = trans.__(axis.name);
      const input = make('input', 'wb-range', {
        type: 'range',
        min: '0',
        max: String(axis.size - 1),
        step: '1'
      });
      input.setAttribute('aria-label', trans.__(axis.name));
      input.addEventListener('input', () =>
        this.wishes.index(this.inputs.map((each, other) => Number(other === at ? input.value : each.value)))
      );
      row.append(name, input, make('span', 'wb-value'));
      row.hidden = axis.size < 2;
      this.rows.push(row);
      this.sliders.append(row);
      return input;
    });
  }

  private addSlab(): Panel['slab'] {
    const row = make('div', 'wb-slider wb-slab');
    const positions = this.scene.positions_lps_mm;
    const [first, last] = [positions[0], positions.at(-1)];
    const depth = first && last ? Math.hypot(...first.map((each, axis) => last[axis]! - each)) : 0;
    const input = make('input', 'wb-range', {
      type: 'range',
      min: '0',
      max: String(Math.ceil(depth)),
      step: '1'
    });
    input.setAttribute('aria-label', trans.__('slab thickness in mm'));
    const kind = make('select', 'wb-choice', { 'aria-label': trans.__('Slab') });
    for (const each of SLABS) {
      kind.append(new Option(trans.__(each), each));
    }
    const wish = (): void => this.wishes.slab(Number(input.value), kind.value as SlabKind);
    input.addEventListener('input', wish);
    kind.addEventListener('change', wish);
    const words = make('span', 'wb-slab-value');
    words.append(make('span', 'wb-value'), kind);
    const name = make('span', 'wb-name');
    name.textContent = trans.__('slab');
    row.append(name, input, words);
    row.hidden = true;
    this.sliders.append(row);
    return { row, input, kind };
  }

  private addPaint(): Panel['paint'] {
    const row = make('div', 'wb-slider wb-paint');
    const name = make('span', 'wb-name');
    name.textContent = trans.__('brush');
    const size = make('input', 'wb-range', { type: 'range', min: '0.5', max: '50', step: '0.5' });
    size.setAttribute('aria-label', trans.__('radius of the brush in mm'));
    size.addEventListener('input', () => this.wishes.brush(Number(size.value)));
    const segment = make('select', 'wb-choice', { 'aria-label': trans.__('Segment') });
    segment.addEventListener('change', () => this.wishes.segment(Number(segment.value)));
    const add = iconButton('add', trans.__('add a segment'));
    add.addEventListener('click', () => this.wishes.addSegment());
    const rest = make('span', 'wb-slab-value');
    const between = iconButton('between', trans.__('fill between the planes that are drawn'));
    between.addEventListener('click', () => this.wishes.interpolate());
    rest.append(make('span', 'wb-value'), segment, add, between);
    row.append(name, size, rest);
    row.hidden = true;
    this.sliders.append(row);
    return { row, size, segment };
  }

  /** Offer nodes to send to. */
  nodes(names: readonly string[]): void {
    this.post.node.replaceChildren(...names.map(each => new Option(each, each)));
    this.post.row.hidden = names.length === 0;
  }

  private addPost(): Panel['post'] {
    const row = make('div', 'wb-post');
    const form = make('select', 'wb-choice', { 'aria-label': trans.__('What is sent') });
    for (const [name, words] of FORMS) {
      form.append(new Option(trans.__(words), name));
    }
    const node = make('select', 'wb-choice', { 'aria-label': trans.__('Where it is sent') });
    const button = make('button', 'wb-tool', { type: 'button' });
    button.textContent = trans.__('Send');
    button.addEventListener('click', () => this.wishes.send(node.value, form.value));
    row.append(form, node, button);
    row.hidden = true;
    return { row, node };
  }

  private words(axis: number, at: number): string {
    const { size, unit, values } = this.scene.axes[axis]!;
    const value = values[at];
    const known =
      value === undefined ? '' : ` · ${typeof value === 'number' ? number(value) : value} ${unit}`;
    const all = axis === this.scene.axes.length - 1 ? planes(this.scene) : size;
    return `${trans.__('%1 of %2', at + 1, all)}${known}`.trimEnd();
  }
}
