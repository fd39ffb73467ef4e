import { ACTIONS, type ActionName } from './actions';
import { make } from './elements';
import { TOOLS } from './tools';
import type { Camera } from './viewports';
import { trans } from './words';

/** What keys do in a viewer, and the list of them that a person may ask for. */

/** What keys other than those of buttons do. */
export interface Moves {
  /** To another plane, relative to the one that is shown. */
  planes(by: number): void;
  times(by: number): void;
  camera(change: (lying: Camera) => Partial<Camera>): void;
  /** To a window whose center and width are so many times the width away, and as wide. */
  window(center: number, width: number): void;
}

export interface Keyboard extends Moves {
  tool(name: string): void;
  act(name: ActionName): void;
}

const PAN = 0.05;
const ZOOM = 1.25;
const pan = (x: number, y: number) => (moves: Moves) =>
  moves.camera(({ pan: [left, top] }) => ({ pan: [left + x, top + y] }));
const zoom = (by: number) => (moves: Moves) => moves.camera(each => ({ zoom: each.zoom * by }));

const MOVES: readonly { keys: string[]; name: string; move: ((moves: Moves) => void)[] }[] = [
  {
    keys: ['ArrowUp', 'ArrowDown'],
    name: 'plane before, plane after',
    move: [each => each.planes(-1), each => each.planes(1)]
  },
  {
    keys: ['PageUp', 'PageDown'],
    name: 'ten planes back, ten planes on',
    move: [each => each.planes(-10), each => each.planes(10)]
  },
  {
    keys: ['Home', 'End'],
    name: 'first plane, last plane',
    move: [each => each.planes(-Infinity), each => each.planes(Infinity)]
  },
  {
    keys: ['ArrowLeft', 'ArrowRight'],
    name: 'time before, time after',
    move: [each => each.times(-1), each => each.times(1)]
  },
  { keys: ['+', '-'], name: 'nearer, farther', move: [zoom(ZOOM), zoom(1 / ZOOM)] },
  {
    keys: ['Shift+ArrowLeft', 'Shift+ArrowRight', 'Shift+ArrowUp', 'Shift+ArrowDown'],
    name: 'move the image',
    move: [pan(-PAN, 0), pan(PAN, 0), pan(0, -PAN), pan(0, PAN)]
  },
  {
    keys: [',', '.'],
    name: 'narrower window, wider window',
    move: [each => each.window(0, 0.9), each => each.window(0, 1 / 0.9)]
  },
  {
    keys: [';', ':'],
    name: 'darker, brighter',
    move: [each => each.window(0.05, 1), each => each.window(-0.05, 1)]
  }
];

/** Do what a key is for; whether it is for anything. */
export function obey(event: KeyboardEvent, keyboard: Keyboard): boolean {
  const { key: plain, ctrlKey, shiftKey } = event;
  const isMove = shiftKey && plain.startsWith('Arrow');
  const key = ctrlKey ? `Control+${plain}` : isMove ? `Shift+${plain}` : plain;
  const isButton = (event.target as HTMLElement).matches('button');
  const action = ACTIONS.find(each => each.key === key);
  const tool = TOOLS.find(each => each.key === key);
  for (const { keys, move } of MOVES) {
    if (keys.includes(key)) {
      move[keys.indexOf(key)]!(keyboard);
      return true;
    }
  }
  if (action !== undefined && !(key === ' ' && isButton)) {
    keyboard.act(action.name);
  } else if (tool !== undefined) {
    keyboard.tool(tool.name);
  } else {
    return false;
  }
  return true;
}

/** What is written on keys whose names are others. */
const CAPS: Record<string, string> = {
  ' ': 'Space',
  ArrowUp: '↑',
  ArrowDown: '↓',
  ArrowLeft: '←',
  ArrowRight: '→',
  Control: 'Ctrl',
  PageUp: 'Page Up',
  PageDown: 'Page Down'
};

/** A key as keyboards have it written on them. */
export function keyWords(key: string): string {
  const parts = key.split(/(?<=.)\+/);
  const last = parts.at(-1)!;
  if (parts[0] === 'Control' && last !== last.toLowerCase()) {
    parts.splice(1, 0, 'Shift');
  }
  const isAlone = parts.length === 1;
  return parts
    .map(each => CAPS[each] ?? each)
    .map(each => (each.length > 1 ? trans.__(each) : isAlone ? each : each.toUpperCase()))
    .join('+');
}

/** Lists all keys over the page until it is closed. */
export class KeyList {
  readonly root = make('dialog', 'wb-keys', { 'aria-label': trans.__('Keys') });

  constructor() {
    const lines = [
      ...MOVES.map(each => ({ keys: each.keys, name: each.name })),
      ...[...TOOLS, ...ACTIONS].map(each => ({ keys: [each.key], name: each.name }))
    ];
    const list = make('ul', 'wb-key-list');
    for (const { keys, name } of lines) {
      const line = make('li', 'wb-key');
      const what = make('span', 'wb-key-what');
      what.textContent = trans.__(name);
      line.append(what);
      for (const each of keys) {
        const cap = make('kbd', 'wb-cap');
        cap.textContent = keyWords(each);
        line.append(cap);
      }
      list.append(line);
    }
    const close = make('button', 'wb-tool', { type: 'button' });
    close.textContent = trans.__('Close');
    close.addEventListener('click', () => this.root.close());
    this.root.append(list, close);
    this.root.addEventListener('click', event => event.target === this.root && this.root.close());
    this.root.addEventListener('keydown', event => event.stopPropagation());
  }

  show(): void {
    this.root.showModal();
  }
}
