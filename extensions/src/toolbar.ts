import { ACTIONS, type ActionName } from './actions';
import { make } from './elements';
import { icon } from './icons';
import { keyWords } from './keys';
import { TOOLS } from './tools';
import { trans } from './words';

/** What the buttons of one group are for, and the groups of tools that are in it. */
const GROUPS: Record<string, readonly string[]> = {
  Navigate: ['look'],
  Measure: ['measure', 'outline', 'note'],
  Paint: ['paint'],
  'Turn and flip': ['turn'],
  'Undo and redo': ['undo'],
  'Play and help': ['play']
};

/**
 * The buttons over the images: one stop of the Tab key, within which arrows, Home and End go on
 * (the pattern “toolbar” of the ARIA Authoring Practices).
 */
export class Toolbar {
  readonly root = make('div', 'wb-tools', { role: 'toolbar', 'aria-label': trans.__('Tools') });
  private readonly buttons = new Map<string, HTMLButtonElement>();

  constructor(tool: (name: string) => void, act: (name: ActionName) => void) {
    const all = [
      ...TOOLS.map(each => ({ ...each, press: () => tool(each.name) })),
      ...ACTIONS.map(each => ({ ...each, press: () => act(each.name) }))
    ];
    for (const [name, groups] of Object.entries(GROUPS)) {
      const group = make('div', 'wb-group', { role: 'group', 'aria-label': trans.__(name) });
      for (const each of all.filter(one => groups.includes(one.group))) {
        const button = iconButton(each.name, trans.__(each.name));
        button.title = `${trans.__(each.name)} (${keyWords(each.key)})`;
        button.setAttribute('aria-keyshortcuts', each.key === ' ' ? 'Space' : each.key);
        button.tabIndex = -1;
        button.addEventListener('click', () => button.ariaDisabled !== 'true' && each.press());
        this.buttons.set(each.name, button);
        group.append(button);
      }
      this.root.append(group);
    }
    this.root.addEventListener('keydown', event => this.pressed(event));
    this.root.addEventListener('focusin', event => this.stopAt(event.target as HTMLElement));
    this.settle();
  }

  /** Say which tool is in hand. */
  tookUp(name: string): void {
    for (const { name: each } of TOOLS) {
      this.press(each, each === name);
    }
  }

  /** Say whether a button is in force. */
  press(name: string, isOn: boolean): void {
    this.buttons.get(name)!.setAttribute('aria-pressed', String(isOn));
  }

  /** Say whether a button can be pressed; it keeps the focus when it no more can. */
  enable(name: ActionName, isPossible: boolean): void {
    this.buttons.get(name)!.ariaDisabled = String(!isPossible);
  }

  /** Show a button, or leave it out. */
  offer(name: string, isOffered: boolean): void {
    this.buttons.get(name)!.hidden = !isOffered;
    this.settle();
  }

  /** Buttons that are shown. */
  private get shown(): HTMLButtonElement[] {
    return [...this.buttons.values()].filter(each => !each.hidden);
  }

  /** Have one button where the Tab key stops, also where the one that was there is left out now. */
  private settle(): void {
    const { shown } = this;
    if (!shown.some(each => each.tabIndex === 0)) {
      this.stopAt(shown[0]);
    }
  }

  private stopAt(wanted: HTMLElement | undefined): void {
    for (const each of this.buttons.values()) {
      each.tabIndex = each === wanted ? 0 : -1;
    }
  }

  private pressed(event: KeyboardEvent): void {
    const { shown } = this;
    const at = shown.indexOf(event.target as HTMLButtonElement);
    const to = {
      ArrowRight: (at + 1) % shown.length,
      ArrowLeft: (at - 1 + shown.length) % shown.length,
      Home: 0,
      End: shown.length - 1
    }[event.key];
    if (at >= 0 && to !== undefined && !event.ctrlKey && !event.shiftKey && !event.altKey && !event.metaKey) {
      shown[to]!.focus();
      event.preventDefault();
      event.stopPropagation();
    }
  }
}

/** A button that shows a drawing, and has words for who does not see it. */
export function iconButton(drawing: string, words: string): HTMLButtonElement {
  const button = make('button', 'wb-tool', { type: 'button', 'aria-label': words, title: words });
  button.append(icon(drawing));
  return button;
}
