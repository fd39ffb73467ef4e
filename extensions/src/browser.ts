import { Facets, type Chosen, type Counted } from './browserFacets';
import { Grid, type Form, type How } from './browserGrid';
import { COLUMNS, row, tile, words, type Sight } from './browserLine';
import { Lines, SERIES, type Line } from './browserLines';
import { Pictures } from './browserPictures';
import { count, say, type Word } from './browserWords';
import { make } from './elements';
import type { Model } from './model';

/** Looks through the catalog: what is asked for and what is selected is Python's, too (`browser_wire.py`). */

interface Asked {
  text: string;
  where: string;
  chosen: Chosen;
  order: string;
  is_descending: boolean;
  view: 'list' | 'gallery';
}

interface Told {
  run: number;
  lines: number;
  series: number;
  all: number;
  line: number | null;
  grouped: boolean;
  error: string;
  field: string;
}

interface Message {
  kind: string;
  run: number;
  first: number;
  lines: Line[];
  flags: (boolean | null)[];
  row: number;
  reason: string;
  line: number;
  elsewhere: string;
  error: string;
}

const ORDERS = ['patient', 'name', 'date', 'modality', 'number', 'series', 'body_part', 'added'];
const TYPING_MS = 200;
const WHERE = "SliceThickness <= 1.5 and BodyPartExamined == 'CHEST'";
const LINE_HEIGHT = 34;
const TILE = { width: 156, height: 232 };

export class Browser {
  private readonly root = make('section', 'wb-browser', { 'aria-label': say('browser') });
  private readonly fields: Readonly<Record<'text' | 'where', HTMLInputElement>>;
  private readonly order = make('select', 'wb-choice', { 'aria-label': say('order') });
  private readonly views: Readonly<Record<Asked['view'], HTMLButtonElement>>;
  private readonly descending: HTMLButtonElement;
  private readonly folding: HTMLButtonElement[];
  private readonly error = make('div', 'wb-browser-error', { role: 'alert' });
  private readonly empty = make('div', 'wb-browser-empty');
  private readonly found = make('span', 'wb-browser-found');
  private readonly chosen = make('span', 'wb-browser-chosen');
  private readonly note = make('div', 'wb-browser-note', { role: 'status' });
  private readonly clear: HTMLButtonElement;
  private readonly close: HTMLButtonElement;
  private readonly facets: Facets;
  private readonly head = make('div', 'wb-line wb-line-head', { role: 'row', 'aria-rowindex': '1' });
  private readonly grid: Grid;
  private readonly lines: Lines;
  private readonly pictures: Pictures;
  private readonly off: (() => void)[] = [];
  private typing = 0;
  private run = -1;

  static browse(model: Model, element: HTMLElement): () => void {
    const browser = new Browser(model, element);
    return () => browser.dispose();
  }

  private constructor(
    private readonly model: Model,
    element: HTMLElement
  ) {
    this.root.dataset['lmSuppressShortcuts'] = 'true'; // keys that are pressed here are not the notebook's
    this.lines = new Lines(model);
    this.pictures = new Pictures(model);
    this.fields = { text: this.field('text', 'search'), where: this.field('where', 'where') };
    this.order.append(...ORDERS.map(each => new Option(say(`order.${each}` as Word), each)));
    this.order.addEventListener('change', () => this.ask({ order: this.order.value, is_descending: false }));
    this.descending = this.button('⇅', say('descending'), () =>
      this.ask({ is_descending: !this.asked.is_descending })
    );
    this.views = {
      list: this.button(say('list'), say('list'), () => this.ask({ view: 'list' })),
      gallery: this.button(say('gallery'), say('gallery'), () => this.ask({ view: 'gallery' }))
    };
    this.folding = [
      this.button('⊞', say('openAll'), () => this.send({ kind: 'fold', line: null, open: true })),
      this.button('⊟', say('closeAll'), () => this.send({ kind: 'fold', line: null, open: false }))
    ];
    const again = this.button('⟳', say('refresh'), () => {
      this.pictures.clear();
      this.busy();
      this.send({ kind: 'refresh' });
    });
    const bar = make('div', 'wb-tools', { role: 'search' });
    const views = make('span', 'wb-browser-views', { role: 'group', 'aria-label': say('view') });
    views.append(...Object.values(this.views));
    bar.append(...Object.values(this.fields), this.order, this.descending, views, ...this.folding, again);
    this.facets = new Facets(chosen => this.ask({ chosen }));
    this.grid = new Grid(this.form, this.head, {
      visible: (first, end) => this.look(first, end),
      select: (one, other, how) => this.select(one, other, how),
      selectNone: () => this.select(0, 0, 'none'),
      open: at => this.open(at, false),
      fold: (at, open) => this.fold(at, open),
      parent: at => this.lines.get(at)?.parent ?? undefined
    });
    this.grid.root.setAttribute('aria-label', say('browser'));
    this.empty.textContent = say('nothing');
    this.clear = this.button(say('clear'), say('clear'), () => this.select(0, 0, 'none'));
    this.close = this.button(say('closeViewer'), say('closeViewer'), () => this.send({ kind: 'close' }));
    const main = make('div', 'wb-browser-main');
    main.append(this.grid.root, this.empty);
    const body = make('div', 'wb-browser-body');
    body.append(this.facets.root, main);
    const status = make('div', 'wb-browser-status');
    const counts = make('span', 'wb-browser-counts', { role: 'status' });
    counts.append(this.found, this.chosen);
    status.append(counts, this.clear, this.close);
    this.root.append(bar, this.error, body, this.note, status);
    this.listen();
    element.append(this.root);
    this.busy();
    this.tell();
    this.showAsked();
    this.count();
    this.showSelected();
  }

  private get asked(): Asked {
    return this.model.get('asked') as Asked;
  }

  private get told(): Partial<Told> {
    return this.model.get('told') as Partial<Told>;
  }

  private get form(): Form {
    const isList = this.asked.view === 'list';
    const draw = isList ? row : tile;
    const sight = (at: number): Sight => {
      const line = this.lines.get(at);
      return { line, picture: line && this.pictures.get(line.row) };
    };
    return isList
      ? { sight, draw, role: 'treegrid', height: LINE_HEIGHT, width: undefined }
      : { sight, draw, role: 'listbox', ...TILE };
  }

  // --- what the page asks -------------------------------------------------------------------------------

  private ask(changes: Partial<Asked>): void {
    clearTimeout(this.typing);
    this.typing = 0;
    this.busy();
    this.model.set('asked', { ...this.asked, ...changes });
    this.model.save_changes();
    this.showAsked();
  }

  private send(message: Record<string, unknown>): void {
    this.model.send({ run: this.run, ...message });
  }

  private look(first: number, end: number): void {
    this.lines.want(first, end);
    const known = Array.from({ length: end - first }, (_, at) => this.lines.get(first + at));
    this.pictures.want(known.filter(line => line !== undefined));
    if (known.every(line => line !== undefined)) {
      this.root.dataset['state'] = this.told.run === undefined ? 'busy' : 'ready';
    }
  }

  private select(one: number, other: number, how: How | 'none'): void {
    const [first, end] = this.grid.window;
    this.send({ kind: 'select', one, other, how, first, count: end - first });
  }

  private fold(at: number, open: boolean | undefined): boolean {
    const line = this.lines.get(at);
    if (line === undefined || line.level === SERIES || line.open === open) {
      return false;
    }
    this.send({ kind: 'fold', line: at, open: open ?? !line.open });
    return true;
  }

  private open(at: number, fetch: boolean): void {
    const line = this.lines.get(at);
    if (line !== undefined && line.level === SERIES && !line.gone) {
      this.note.textContent = say('opening', words(line));
      this.send({ kind: 'open', line: at, fetch });
    }
  }

  // --- what the kernel says -----------------------------------------------------------------------------

  private listen(): void {
    const events: Readonly<Record<string, (...given: any[]) => void>> = {
      'change:asked': () => this.showAsked(),
      'change:told': () => this.tell(),
      'change:facets': () => this.count(),
      'change:selected': () => this.showSelected(),
      'change:shown': () => this.showSelected(),
      'msg:custom': (message: Message, buffers: DataView[]) => this.came(message, buffers)
    };
    for (const [event, listener] of Object.entries(events)) {
      this.model.on(event, listener);
      this.off.push(() => this.model.off(event, listener));
    }
  }

  private came(message: Message, buffers: DataView[]): void {
    switch (message.kind) {
      case 'lines':
        if (message.error) {
          this.note.textContent = message.error;
        } else if (this.lines.came(message.run, message.first, message.lines)) {
          this.grid.soon();
        }
        return;
      case 'selected':
        this.lines.flagged(message.run, message.first, message.flags);
        this.grid.soon();
        return;
      case 'picture':
        this.pictures.came(message.row, message.reason, buffers[0]);
        this.grid.soon();
        return;
      case 'opened':
        this.opened(message);
    }
  }

  private opened({ line, elsewhere, error }: Message): void {
    this.note.replaceChildren(error);
    if (elsewhere !== '') {
      this.note.replaceChildren(
        say('isElsewhere', elsewhere),
        this.button(say('fetch'), say('fetch'), () => this.open(line, true))
      );
    }
  }

  private busy(): void {
    this.root.dataset['state'] = 'busy';
  }

  private tell(): void {
    const told = this.told;
    if (told.run === undefined) {
      return;
    }
    this.error.textContent = told.error ?? '';
    for (const [name, field] of Object.entries(this.fields)) {
      field.setAttribute('aria-invalid', String(told.error !== '' && told.field === name));
    }
    this.found.textContent = say('found', count(told.series ?? 0), count(told.all ?? 0));
    this.empty.hidden = told.lines !== 0;
    if (told.run !== this.run) {
      this.run = told.run;
      this.busy(); // until what is visible is known
      this.lines.renew(told.run, told.lines ?? 0);
      this.root.dataset['grouped'] = String(told.grouped);
      this.grid.renew(this.form, told.lines ?? 0, told.line ?? 0);
    }
    if (told.lines === 0 || told.error !== '') {
      this.root.dataset['state'] = 'ready';
    }
  }

  private count(): void {
    this.facets.show(this.model.get('facets') as Counted, this.asked.chosen);
  }

  private showSelected(): void {
    const selected = this.model.get('selected') as number;
    this.chosen.textContent = selected > 0 ? ` · ${say('selected', count(selected))}` : '';
    this.clear.hidden = selected === 0;
    this.close.hidden = this.model.get('shown') !== true;
  }

  private showAsked(): void {
    const { order, is_descending, view, chosen } = this.asked;
    for (const [name, field] of Object.entries(this.fields)) {
      const wanted = this.asked[name as 'text' | 'where'];
      if (field.value !== wanted && this.typing === 0) {
        field.value = wanted;
      }
    }
    this.order.value = order;
    this.descending.setAttribute('aria-pressed', String(is_descending));
    for (const [name, button] of Object.entries(this.views)) {
      button.setAttribute('aria-pressed', String(name === view));
    }
    for (const button of this.folding) {
      button.hidden = view !== 'list' || order !== 'patient';
    }
    this.facets.show(this.model.get('facets') as Counted, chosen);
    this.showHead(order, is_descending);
  }

  // --- elements -----------------------------------------------------------------------------------------

  private showHead(order: string, isDescending: boolean): void {
    const first = make('span', 'wb-cell wb-line-picture', { role: 'columnheader' });
    first.textContent = say('column.picture');
    this.head.replaceChildren(
      first,
      ...COLUMNS.map(column => {
        const cell = make('span', `wb-cell wb-line-${column.name}`, { role: 'columnheader' });
        const name = say(`column.${column.name}` as Word);
        if (column.order === null) {
          cell.textContent = name;
          return cell;
        }
        const isOrder = column.order === order;
        const button = make('button', 'wb-sort', { type: 'button', tabindex: '-1' });
        button.textContent = isOrder ? `${name} ${isDescending ? '↓' : '↑'}` : name;
        button.addEventListener('click', () =>
          this.ask({ order: column.order!, is_descending: isOrder && !isDescending })
        );
        cell.setAttribute('aria-sort', isOrder ? (isDescending ? 'descending' : 'ascending') : 'none');
        cell.append(button);
        return cell;
      })
    );
  }

  private field(name: 'text' | 'where', word: 'search' | 'where'): HTMLInputElement {
    const input = make('input', `wb-field wb-field-${name}`, {
      type: name === 'text' ? 'search' : 'text',
      'aria-label': say(word),
      placeholder: `${say(word)}: ${word === 'search' ? say('searchHint') : WHERE}`,
      spellcheck: 'false',
      autocomplete: 'off'
    });
    const ask = (): void => {
      this.typing = 0;
      if (input.value !== this.asked[name]) {
        this.ask({ [name]: input.value });
      }
    };
    input.addEventListener('input', () => {
      clearTimeout(this.typing);
      this.typing = window.setTimeout(ask, TYPING_MS);
    });
    input.addEventListener('keydown', event => {
      if (event.key === 'Enter') {
        ask();
      } else if (event.key === 'ArrowDown') {
        this.grid.root.focus();
        event.preventDefault();
      }
    });
    return input;
  }

  private button(sign: string, name: string, act: () => void): HTMLButtonElement {
    const button = make('button', 'wb-tool', { type: 'button', title: name });
    button.textContent = sign;
    button.setAttribute('aria-label', name);
    button.addEventListener('click', act);
    return button;
  }

  private dispose(): void {
    clearTimeout(this.typing);
    this.off.forEach(each => each());
    this.pictures.clear();
    this.grid.dispose();
    this.root.remove();
  }
}
