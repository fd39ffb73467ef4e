import { make } from './elements';
import type { Sight } from './browserLine';

/** A list of any length of which only what is visible is in the page; keys and mouse move a cursor in it. */

export interface Form {
  sight(at: number): Sight;
  draw(sight: Sight): HTMLElement;
  role: 'treegrid' | 'listbox';
  height: number;
  /** Of a tile; undefined for lines as wide as the list. */
  width: number | undefined;
}

export type How = 'only' | 'add' | 'toggle';

export interface Moves {
  /** Lines from the first on are drawn, up to the end. */
  visible(first: number, end: number): void;
  select(one: number, other: number, how: How): void;
  selectNone(): void;
  open(at: number): void;
  /** Open or close a heading, or go to it; false where there is none to open or close. */
  fold(at: number, open: boolean | undefined): boolean;
  parent(at: number): number | undefined;
}

/** Browsers draw nothing that is much higher. */
const HIGHEST = 8_000_000;
const OVERSCAN = 4;

let made = 0;

export class Grid {
  readonly root = make('div', 'wb-lines', { tabindex: '0', 'aria-multiselectable': 'true' });
  private readonly space = make('div', 'wb-space', { role: 'presentation' });
  private readonly drawn = new Map<number, Sight & { element: HTMLElement }>();
  private readonly id = `wb-lines-${made++}`;
  private readonly resized = new ResizeObserver(() => this.refresh());
  private total = 0;
  private cursor = 0;
  private anchor = 0;
  private frame = 0;

  constructor(
    private form: Form,
    private readonly head: HTMLElement,
    private readonly moves: Moves
  ) {
    this.root.append(head, this.space);
    this.root.addEventListener('scroll', () => this.soon());
    this.root.addEventListener('keydown', event => this.pressed(event));
    this.root.addEventListener('mousedown', event => this.clicked(event));
    this.root.addEventListener('focus', () => this.soon());
    this.resized.observe(this.root);
  }

  /** Show so many lines, anew; the cursor goes where it is wanted. */
  renew(form: Form, total: number, cursor: number): void {
    this.form = form;
    this.total = total;
    this.cursor = this.anchor = Math.max(0, Math.min(cursor, total - 1));
    this.root.setAttribute('role', form.role);
    this.root.dataset['form'] = form.role;
    this.head.hidden = form.role !== 'treegrid';
    if (form.role === 'treegrid') {
      this.root.setAttribute('aria-rowcount', String(total + 1));
    } else {
      this.root.removeAttribute('aria-rowcount');
    }
    this.drawn.clear();
    this.space.replaceChildren();
    this.space.style.height = `${this.height}px`;
    this.reveal(this.cursor);
    this.refresh();
  }

  /** Draw what is visible with the next frame, where more of it is known or it lies otherwise. */
  soon(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.refresh());
  }

  /** Which lines are drawn, the first and the one after the last: what is visible, and a few around it. */
  get window(): [number, number] {
    const first = Math.floor(this.top / this.form.height) - OVERSCAN;
    const end = first + Math.ceil(this.view / this.form.height) + 1 + 2 * OVERSCAN;
    return [Math.max(0, first * this.across), Math.min(this.total, end * this.across)];
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.resized.disconnect();
    this.root.remove();
  }

  private get across(): number {
    const { width } = this.form;
    return width === undefined ? 1 : Math.max(1, Math.floor(this.root.clientWidth / width));
  }

  private get view(): number {
    return Math.max(0, this.root.clientHeight - (this.head.hidden ? 0 : this.head.offsetHeight));
  }

  private get all(): number {
    return Math.ceil(this.total / this.across) * this.form.height;
  }

  private get height(): number {
    return Math.min(this.all, HIGHEST);
  }

  /** How many pixels of lines go by with one of scrolling. */
  private get ratio(): number {
    return this.all > HIGHEST ? (this.all - this.view) / (HIGHEST - this.view) : 1;
  }

  private get top(): number {
    return this.root.scrollTop * this.ratio;
  }

  private refresh(): void {
    if (this.view === 0) {
      return; // it is not on the page yet
    }
    // what the page knows of its layout is read first: every reading after a change lays it out again
    const [from, to] = this.window;
    const { across } = this;
    const [offset, height] = [this.root.scrollTop - this.top, `${this.height}px`];
    this.moves.visible(from, to);
    if (this.space.style.height !== height) {
      this.space.style.height = height;
    }
    for (const [at, { element, line, picture }] of this.drawn) {
      const now = this.form.sight(at);
      if (at < from || at >= to || now.line !== line || now.picture !== picture) {
        element.remove();
        this.drawn.delete(at);
      }
    }
    for (let at = from; at < to; at++) {
      const element = this.drawn.get(at)?.element ?? this.add(at);
      const y = Math.floor(at / across) * this.form.height + offset;
      element.style.transform = `translate(${(at % across) * (this.form.width ?? 0)}px, ${y}px)`;
      element.dataset['cursor'] = String(at === this.cursor);
    }
    if (this.drawn.has(this.cursor)) {
      this.root.setAttribute('aria-activedescendant', `${this.id}-${this.cursor}`);
    } else {
      this.root.removeAttribute('aria-activedescendant');
    }
  }

  private add(at: number): HTMLElement {
    const sight = this.form.sight(at);
    const element = this.form.draw(sight);
    element.id = `${this.id}-${at}`;
    element.dataset['at'] = String(at);
    if (this.form.role === 'treegrid') {
      element.setAttribute('aria-rowindex', String(at + 2)); // the headings of columns are the first
    } else {
      element.setAttribute('aria-posinset', String(at + 1));
      element.setAttribute('aria-setsize', String(this.total));
    }
    this.drawn.set(at, { ...sight, element });
    const next = [...this.space.children].find(each => Number((each as HTMLElement).dataset['at']) > at);
    this.space.insertBefore(element, next ?? null); // as they are read aloud in this order
    return element;
  }

  private reveal(at: number): void {
    const top = Math.floor(at / this.across) * this.form.height;
    const [low, high] = [this.top, this.top + this.view - this.form.height];
    if (top < low) {
      this.root.scrollTop = top / this.ratio;
    } else if (top > high) {
      this.root.scrollTop = (top - Math.max(0, this.view - this.form.height)) / this.ratio;
    }
  }

  /** Move the cursor, and select as the keys that are held say. */
  private move(to: number, event: KeyboardEvent | MouseEvent): void {
    if (this.total === 0) {
      return;
    }
    this.cursor = Math.max(0, Math.min(to, this.total - 1));
    const isMore = event.ctrlKey || event.metaKey;
    if (event.shiftKey) {
      this.moves.select(this.anchor, this.cursor, isMore ? 'add' : 'only');
    } else {
      this.anchor = this.cursor;
      if (!isMore) {
        this.moves.select(this.cursor, this.cursor, 'only');
      } else if (event.type === 'mousedown') {
        this.moves.select(this.cursor, this.cursor, 'toggle');
      }
    }
    this.reveal(this.cursor);
    this.refresh();
  }

  private pressed(event: KeyboardEvent): void {
    const act = this.steps(event) ?? this.deed(event);
    if (act !== undefined) {
      act();
      event.preventDefault();
      event.stopPropagation();
    }
  }

  private steps(event: KeyboardEvent): (() => void) | undefined {
    const page = Math.max(1, Math.floor(this.view / this.form.height)) * this.across;
    const isTiles = this.form.role === 'listbox';
    const to = {
      ArrowDown: this.cursor + this.across,
      ArrowUp: this.cursor - this.across,
      PageDown: this.cursor + page,
      PageUp: this.cursor - page,
      Home: 0,
      End: this.total - 1,
      ...(isTiles ? { ArrowRight: this.cursor + 1, ArrowLeft: this.cursor - 1 } : {})
    }[event.key];
    return to === undefined ? undefined : () => this.move(to, event);
  }

  private deed(event: KeyboardEvent): (() => void) | undefined {
    const isMore = event.ctrlKey || event.metaKey;
    switch (event.key) {
      case 'Enter':
        return () => this.enter(this.cursor);
      case ' ':
        return () => this.moves.select(this.cursor, this.cursor, 'toggle');
      case 'Escape':
        return () => this.moves.selectNone();
      case 'a':
        return isMore ? () => this.moves.select(0, this.total - 1, 'only') : undefined;
      case 'ArrowRight':
        return () => this.moves.fold(this.cursor, true) || this.move(this.cursor + 1, event);
      case 'ArrowLeft':
        return () => {
          if (!this.moves.fold(this.cursor, false)) {
            this.move(this.moves.parent(this.cursor) ?? this.cursor, event);
          }
        };
      default:
        return undefined;
    }
  }

  /** Open or close a heading, or open a series. */
  private enter(at: number): void {
    if (!this.moves.fold(at, undefined)) {
      this.moves.open(at);
    }
  }

  private clicked(event: MouseEvent): void {
    const at = this.pointed(event);
    if (at === undefined || event.button !== 0) {
      return;
    }
    this.root.focus({ preventScroll: true });
    if (event.target instanceof Element && event.target.closest('.wb-twisty') !== null) {
      this.cursor = this.anchor = at;
      this.moves.fold(at, undefined);
    } else if (event.detail === 2) {
      this.enter(at);
    } else {
      this.move(at, event);
    }
    event.preventDefault(); // a range of lines is meant, not of their texts
  }

  private pointed(event: MouseEvent): number | undefined {
    const line = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-at]') : null;
    return line === null ? undefined : Number(line.dataset['at']);
  }
}
