import type { ActionName } from './actions';
import type { History } from './history';
import { obey, type Keyboard } from './keys';
import type { Model } from './model';
import type { Panel } from './panel';
import type { Scene } from './scene';
import type { Camera, Viewports } from './viewports';

/** What a person may ask of one viewer by a button or a key, done on its state. */
export class Commands implements Keyboard {
  constructor(
    private readonly model: Model,
    private readonly scene: Scene,
    private readonly viewports: Viewports,
    private readonly panel: Panel,
    private readonly history: History
  ) {}

  set(name: string, value: unknown): void {
    this.model.set(name, value);
    this.model.save_changes();
  }

  tool(name: string): void {
    this.set('tool', name);
  }

  planes(by: number): void {
    this.step(this.scene.axes.length - 1, by);
  }

  times(by: number): void {
    const axis = this.scene.axes.findIndex(each => each.name === 'time');
    if (axis >= 0) {
      this.step(axis, by);
    }
  }

  camera(change: (lying: Camera) => Partial<Camera>): void {
    const cameras = Object.entries(this.viewports.cameras());
    this.set(
      'camera',
      Object.fromEntries(cameras.map(([view, each]) => [view, { ...each, ...change(each) }]))
    );
  }

  window(center: number, wider: number): void {
    const [now, width] = this.model.get('window') as [number, number];
    this.set('window', [now + center * width, width * wider]);
  }

  act(name: ActionName): void {
    this.acts[name]();
  }

  /** Do what a key is for, if it is for anything; keys that go into a text or a list are left to it. */
  press(event: KeyboardEvent): void {
    const isTyped = (event.target as HTMLElement).matches('input, select, textarea');
    if (!event.metaKey && !event.altKey && !isTyped && obey(event, this)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  /** Say what can be undone, and done again. */
  offerHistory(): void {
    this.panel.enable('undo', this.history.canUndo);
    this.panel.enable('redo', this.history.canRedo);
  }

  private readonly acts: Record<ActionName, () => void> = {
    invert: () => this.set('inverted', !this.model.get('inverted')),
    turn: () => this.camera(({ rotation }) => ({ rotation: (rotation + 90) % 360 })),
    'flip left and right': () => this.camera(each => ({ flip_horizontal: !each.flip_horizontal })),
    'flip top and bottom': () => this.camera(each => ({ flip_vertical: !each.flip_vertical })),
    'whole image': () => {
      this.viewports.reset();
      this.set('shutter', []);
    },
    undo: () => {
      this.history.undo();
      this.offerHistory();
    },
    redo: () => {
      this.history.redo();
      this.offerHistory();
    },
    play: () => this.set('playing', !this.model.get('playing')),
    keys: () => this.panel.keys.show()
  };

  /** Go along an axis, as far as there is something. */
  private step(axis: number, by: number): void {
    const index = [...(this.model.get('index') as number[])];
    index[axis] = Math.min(this.scene.axes[axis]!.size - 1, Math.max(0, index[axis]! + by));
    this.set('index', index);
  }
}
