import { Enums, eventTarget } from '@cornerstonejs/core';
import { Enums as ToolEnums } from '@cornerstonejs/tools';
import type { ServerConnection } from '@jupyterlab/services';
import { Banner } from './banner';
import { whileResizing } from './canvas';
import { loseCard } from './card';
import type { Curve } from './chart';
import { Cine, reelOf } from './cine';
import { Commands } from './commands';
import { CACHE_BYTES, engine, hasWebGL } from './engine';
import { Hands } from './hands';
import { History } from './history';
import { Legend } from './legend';
import { Linked } from './linked';
import { LAYOUTS, type Layout } from './layouts';
import { parse, use } from './loader';
import type { Segment } from './masks';
import type { Stats } from './measures';
import type { Model } from './model';
import { Overlays } from './overlays';
import { Painter, type Made } from './painter';
import { Panel } from './panel';
import { Preview } from './preview';
import { Readout } from './readout';
import { REGION_WANTED } from './region';
import { planeBytes, planes, windowOf, type Scene } from './scene';
import { handIn, shot } from './shot';
import { KernelSource, ServerSource, type Source } from './source';
import { Shutter } from './shutter';
import { Strokes } from './strokes';
import { draws, named, TOOLS } from './tools';
import { onKernelEnd } from './troubles';
import { Viewports, type Camera, type SlabKind } from './viewports';
import { trans } from './words';

const { Events } = ToolEnums;
/** How often the kernel hears where a cine is. */
const TOLD_MS = 500;
let count = 0;

/** What events of Cornerstone tell, each some of it. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Detail = any;

/** What comes from the kernel. */
interface Message {
  kind?: string;
  planes?: number[];
  turn?: number;
  key?: string;
  plane?: number;
  index?: number[];
  text?: string;
  error?: string;
}

/** One viewer in one cell. */
export class Viewer {
  static async show(
    model: Model,
    element: HTMLElement,
    settings: ServerConnection.ISettings
  ): Promise<() => void> {
    const viewer = new Viewer(model, element, settings);
    await viewer.rebuild();
    return () => viewer.dispose();
  }

  private readonly name = `workbench-${++count}`;
  private readonly source: Source;
  private readonly release: () => void;
  private readonly panel: Panel;
  private readonly viewports: Viewports;
  private readonly hands: Hands;
  private readonly listening = new AbortController();
  private readonly overlays: Overlays;
  private readonly readout: Readout;
  private readonly preview: Preview;
  private readonly shutter: Shutter;
  private readonly resized: ResizeObserver;
  private readonly cine = new Cine();
  private readonly history = new History();
  private readonly strokes: Strokes;
  private readonly painter: Painter;
  private readonly commands: Commands;
  private building = Promise.resolve();
  /** The index that a cine shows: what the kernel says back of it meanwhile is a moment old. */
  private frame: number[] | undefined;
  /** How often something could not be shown. */
  private failures = 0;
  private turned = 0;
  private painted = 0;
  private told = 0;
  private disposed = false;

  private constructor(
    private readonly model: Model,
    element: HTMLElement,
    private readonly settings: ServerConnection.ISettings
  ) {
    const scene = model.get('scene') as Scene;
    const key = model.get('key') as string;
    this.source =
      key === '' ? new KernelSource(this.name, scene, model) : new ServerSource(key, scene, settings);
    this.release = use(this.source);
    engine();
    this.hands = new Hands(this.name, scene);
    this.panel = new Panel(element, scene, {
      tool: name => this.set('tool', name),
      window: ({ center, width, curve }) => {
        this.model.set('curve', curve);
        this.set('window', [center, width]);
      },
      layout: name => this.set('arrangement', name),
      act: name => this.commands.act(name),
      index: index => this.set('index', index),
      slab: (thickness, kind) => this.set('slab', [thickness, kind]),
      brush: millimetres => this.set('brush', millimetres),
      segment: number => this.set('segment', number),
      addSegment: () => {
        this.painter.addSegment();
        this.commands.offerHistory();
      },
      interpolate: () => this.painter.interpolate(),
      send: (node, form) => this.send(node, form),
      remove: uid => this.strokes.remove(uid)
    });
    this.viewports = new Viewports(this.name, this.source, (done, of) => this.panel.progress(done, of));
    this.painter = new Painter(this.name, this.source, model, this.viewports, this.panel, this.history);
    this.strokes = new Strokes(
      this.name,
      this.source,
      model,
      this.viewports,
      this.history,
      (event, listener) => this.hear(event, listener)
    );
    const { signal } = this.listening;
    const say = (text: string): void => this.panel.say(text);
    this.overlays = new Overlays(this.name, model, this.viewports, settings, say, signal);
    this.readout = new Readout(this.source, model, this.viewports, this.overlays);
    this.preview = new Preview(this.source, model, (text, after) => this.panel.say(text, after), signal);
    this.shutter = new Shutter(scene, model, signal);
    this.panel.grid.before(new Banner(model, signal).root);
    this.panel.grid.after(this.readout.root, new Linked(model, signal).root, new Legend(model, signal).root);
    this.commands = new Commands(model, scene, this.viewports, this.panel, this.history);
    this.panel.nodes(model.get('nodes') as string[]);
    this.panel.chart.draw(model.get('curves') as Curve[]);
    this.panel.segmented(model.get('segments') as Segment[], model.get('segment') as number);
    this.resized = new ResizeObserver(() => whileResizing(() => engine().resize(true, true)));
    this.resized.observe(this.panel.grid);
    this.listen();
  }

  /** What the kernel says, by its kind (`workbench/widgets/wire.py` has the messages). */
  private readonly answers: Record<string, (message: Message, buffers: readonly DataView[]) => void> = {
    shot: ({ key }) => {
      const elements = this.viewports.shown.map(each => each.element);
      void shot(elements).then(png => handIn(key!, png, this.settings));
    },
    mask: ({ plane, index, error }, [labels]) => {
      if (error === undefined) {
        this.painter.put(plane!, index, labels);
      } else {
        this.panel.say(error);
      }
    },
    'mask-saved': ({ error }) => error !== undefined && this.panel.say(trans.__('not saved: %1', error)),
    'mask-planes': ({ planes, index }, labels) => this.painter.putAll(planes!, index!, labels),
    'mask-clear': ({ index }) => this.painter.clear(index!),
    'mask-turn': ({ turn }) => {
      this.painter.turned(turn!);
      this.commands.offerHistory();
    },
    'mask-made': (message, buffers) => {
      this.painter.take(message as Made, buffers);
      this.commands.offerHistory();
    },
    receipt: ({ text, error }) =>
      this.panel.say(error === undefined ? text! : trans.__('not sent: %1', error))
  };

  private get scene(): Scene {
    return this.source.scene;
  }

  private get index(): number[] {
    return this.frame ?? (this.model.get('index') as number[]);
  }

  private get arrangement(): Layout {
    const wanted = this.model.get('arrangement') as Layout;
    const hasSections = this.scene.is_volume && this.scene.samples === 1 && hasWebGL();
    return hasSections && this.bytes <= CACHE_BYTES ? wanted : 'stack';
  }

  /** Of the planes that lie together. */
  private get bytes(): number {
    return planeBytes(this.scene) * planes(this.scene);
  }

  private set(name: string, value: unknown): void {
    this.model.set(name, value);
    this.model.save_changes();
  }

  private listen(): void {
    const changes: [string, () => void][] = [
      ['index', () => this.moved()],
      ['window', () => this.applyWindow()],
      ['curve', () => this.applyWindow()],
      ['inverted', () => this.applyWindow()],
      ['slab', () => this.applySlab()],
      ['camera', () => this.applyCameras()],
      ['playing', () => this.applyPlaying()],
      ['rate', () => this.applyPlaying()],
      ['tool', () => this.takeUp()],
      ['segments', () => this.segmented()],
      ['segment', () => this.segmented()],
      ['brush', () => this.painter.setBrush()],
      ['whose', () => this.list()],
      ['measured', () => this.list()],
      ['curves', () => this.panel.chart.draw(this.model.get('curves') as Curve[])],
      ['nodes', () => this.panel.nodes(this.model.get('nodes') as string[])],
      ['unsaved', () => this.panel.say(this.model.get('unsaved') as string)],
      ['arrangement', () => void this.rebuild()],
      ['marks', () => this.drawMarks()]
    ];
    for (const [name, listener] of changes) {
      this.model.on(`change:${name}`, listener);
      this.listening.signal.addEventListener('abort', () => this.model.off(`change:${name}`, listener));
    }
    const asked = (content: unknown, buffers: DataView[] = []): void => {
      const message = content as Message;
      this.answers[message.kind ?? '']?.(message, buffers);
    };
    this.model.on('msg:custom', asked);
    this.listening.signal.addEventListener('abort', () => this.model.off('msg:custom', asked));
    this.hear(Enums.Events.IMAGE_LOAD_FAILED, ({ imageId, error }) => {
      const found = parse(imageId);
      const isWanted = this.arrangement !== 'stack' || found?.index.join() === this.index.join();
      if (found?.source.id === this.source.id && isWanted) {
        this.fail(error); // of planes that are only fetched ahead it is said when they are shown
      }
    });
    this.hear(Events.SEGMENTATION_DATA_MODIFIED, ({ segmentationId }) => {
      if (!this.strokes.isPressed && this.painter.isOfHand(segmentationId)) {
        this.keepPainted(); // the engine waits whether a click becomes a double one, and paints after it
      }
    });
    this.watch();
    const { signal } = this.listening;
    this.panel.root.addEventListener('keydown', event => this.commands.press(event), { signal });
    const kept = (event: KeyboardEvent): void => {
      if (event.key === 'Escape' && this.strokes.giveUp()) {
        event.stopPropagation();
        return;
      }
      this.commands.press(event);
      event.stopPropagation(); // the engine would keep every key from the browser, Tab too
    };
    this.panel.grid.addEventListener('keydown', kept, { signal, capture: true });
    this.panel.grid.addEventListener('pointerdown', () => this.strokes.press(), { signal, capture: true });
    for (const end of ['pointerup', 'pointercancel']) {
      const ended = (): void => {
        if (this.strokes.release()) {
          this.keepPainted();
        }
      };
      window.addEventListener(end, ended, { signal, capture: true });
    }
  }

  private keepPainted(): void {
    cancelAnimationFrame(this.painted);
    this.painted = requestAnimationFrame(() => {
      if (!this.disposed) {
        this.painter.save();
        this.commands.offerHistory();
      }
    });
  }

  /** Say what keeps this viewer from doing all that it can. */
  private watch(): void {
    const { troubles } = this.panel;
    if (!hasWebGL() && this.scene.is_volume) {
      troubles.tell(
        'WebGL',
        trans.__('This browser has no WebGL: there are planes, but no sections and no 3D.')
      );
    }
    if (this.scene.is_volume && this.bytes > CACHE_BYTES) {
      const size = (this.bytes / 1e9).toFixed(1);
      troubles.tell(
        'size',
        trans.__('%1 GB are too large for sections and 3D in a browser: there are planes.', size)
      );
    }
    const ended = (): void => {
      const said = trans.__('The kernel has ended: nothing can be drawn here. Run the cell again.');
      troubles.tell('kernel', said);
      this.source.ended?.();
      this.takeUp();
    };
    onKernelEnd(this.model, ended, this.listening.signal);
    this.hear(Enums.Events.WEBGL_CONTEXT_LOST, () => {
      loseCard();
      const said = trans.__('The graphics card was taken away: there is no 3D until the page is reloaded.');
      troubles.tell('graphics', said);
      void this.rebuild();
    });
  }

  /** Listen to an event of Cornerstone until this viewer goes. */
  private hear(event: string, listener: (detail: Detail) => void, target: EventTarget = eventTarget): void {
    const heard = (given: Event): void => listener((given as CustomEvent).detail);
    target.addEventListener(event, heard);
    this.listening.signal.addEventListener('abort', () => target.removeEventListener(event, heard));
  }

  /** Build after what is being built; what goes wrong is said in place of the images. */
  private rebuild(): Promise<void> {
    return this.next(() => this.build());
  }

  private next(step: () => Promise<void>): Promise<void> {
    this.building = this.building
      .then(() => (this.disposed ? undefined : step()))
      .catch((error: Error) => this.fail(error));
    return this.building;
  }

  private fail(error: Error): void {
    if (error.name !== 'AbortError') {
      this.failures += 1;
      this.panel.failed(trans.__('This cannot be shown: %1', error.message));
    }
  }

  /** Make the viewports of the layout anew. */
  private async build(): Promise<void> {
    const { failures } = this;
    this.take();
    const views = LAYOUTS[this.arrangement];
    this.panel.arrange(
      this.arrangement,
      views.map(each => each.name)
    );
    this.viewports.enable(views, at => this.panel.cell(at));
    for (const { view, element, id } of this.viewports.shown) {
      this.hands.of(view.kind).addViewport(id, engine().id);
      this.follow(element, view.kind !== '3d');
    }
    this.overlays.attach();
    this.readout.attach();
    this.preview.attach(this.viewports.shown[0]!);
    this.shutter.attach(this.viewports.shown[0]!);
    await this.viewports.fill(this.index);
    await this.viewports.moveTo(this.index); // before anything says where a section lies that was just made
    this.applyWindow();
    this.applySlab();
    this.applyCameras();
    await nextFrame();
    if (this.painter.isInUse) {
      await this.paint();
    }
    this.takeUp();
    this.drawMarks();
    this.panel.moved(this.index);
    this.applyPlaying();
    if (this.failures === failures) {
      this.panel.ready();
    }
    this.deepen();
  }

  /** Show three dimensions when everything else has been seen. */
  private deepen(): void {
    if (this.viewports.isFlat) {
      void this.next(async () => {
        await nextFrame();
        await this.viewports.fillSolid();
      });
    }
  }

  /** Show the plane that the state names, where it is another than the one that is shown. */
  private moved(): void {
    this.panel.moved(this.index);
    this.viewports.aim(this.index);
    if (!this.cine.isPlaying) {
      void this.next(() => this.show());
    }
  }

  private async show(): Promise<void> {
    const before = this.viewports.volumeId;
    await this.viewports.moveTo(this.index);
    if (this.panel.hasFailed) {
      this.panel.ready();
    }
    if (this.viewports.volumeId !== before) {
      this.applyWindow();
      this.applySlab();
    }
    if (this.painter.isInUse) {
      await this.paint();
    }
    this.deepen();
  }

  private applyWindow(): void {
    const [center, width] = this.model.get('window') as [number, number];
    const inverted = this.model.get('inverted') as boolean;
    const curve = this.model.get('curve') as number[];
    this.viewports.setWindow(center, width, curve, inverted);
    this.panel.windowed(center, width, curve, inverted);
    this.painter.setBrush();
  }

  private applyCameras(): void {
    const cameras = this.model.get('camera') as Record<string, Camera>;
    this.viewports.setCameras(cameras);
    if (Object.values(cameras).some(each => each.area !== undefined)) {
      this.saveCameras(); // it is a zoom and a pan now
    }
  }

  private applySlab(): void {
    const [thickness, kind] = this.model.get('slab') as [number, SlabKind];
    if (this.arrangement === 'mpr') {
      this.viewports.setSlab(thickness, kind);
    }
    this.panel.slabbed(thickness, kind);
  }

  private applyPlaying(): void {
    const playing = this.model.get('playing') as boolean;
    this.panel.press('play', playing);
    this.cine.stop();
    if (this.frame !== undefined) {
      this.model.set('index', this.frame);
      this.frame = undefined;
    }
    if (!playing) {
      return;
    }
    const reel = reelOf(this.scene, this.model.get('rate') as number);
    this.cine.play(reel, this.index[reel.axis]!, async frame => {
      const index = [...this.index];
      index[reel.axis] = frame;
      this.frame = index;
      this.model.set('index', index);
      if (performance.now() - this.told > TOLD_MS) {
        this.told = performance.now();
        this.model.save_changes();
      }
      await this.next(() => this.show());
    });
  }

  /** Give the primary button to the tool of the state; the others keep theirs. */
  private takeUp(): void {
    const wanted = named(this.model.get('tool') as string) ?? TOOLS[0]!;
    const isSaved = !draws(wanted) || !this.panel.troubles.has('kernel');
    const isPossible = isSaved && this.panel.offers(wanted, this.arrangement);
    if (isPossible && wanted.group === 'paint') {
      void this.next(() => this.paint());
      this.painter.setBrush();
    }
    const primary = isPossible ? wanted : TOOLS[0]!;
    this.strokes.giveUp();
    this.hands.take(primary);
    this.panel.tookUp(primary);
    engine().renderViewports(this.viewports.flat.map(each => each.id));
  }

  /** Take over from a viewport what the user did there. */
  private follow(element: HTMLDivElement, hasWindow: boolean): void {
    const take = (plane: number): void => {
      if (plane !== this.index[this.index.length - 1]) {
        this.set('index', [...this.index.slice(0, -1), plane]);
      }
    };
    this.hear(
      Enums.Events.PRE_STACK_NEW_IMAGE,
      ({ imageIdIndex }) => this.viewports.aim([...this.index.slice(0, -1), imageIdIndex]),
      element
    );
    this.hear(
      Enums.Events.STACK_NEW_IMAGE,
      ({ imageIdIndex }) => {
        if (!this.cine.isPlaying && !this.viewports.filling && imageIdIndex !== this.viewports.going) {
          take(imageIdIndex);
        }
      },
      element
    );
    this.hear(
      Enums.Events.VOI_MODIFIED,
      detail => {
        const { lower, upper } = detail.range as { lower: number; upper: number };
        const { center, width } = windowOf(this.scene, lower, upper);
        const [oldCenter, oldWidth] = this.model.get('window') as [number, number];
        const moved = Math.abs(center - oldCenter) > 1e-6 || Math.abs(width - oldWidth) > 1e-6;
        if (moved && hasWindow && !this.viewports.filling) {
          this.set('window', [center, width]);
        }
      },
      element
    );
    this.hear(REGION_WANTED, ({ point }) => this.painter.grow(point), element);
    this.hear(
      Enums.Events.CAMERA_MODIFIED,
      ({ camera }) => {
        this.panel.turned(element, camera);
        if (this.viewports.filling) {
          return;
        }
        const plane = this.cine.isPlaying ? undefined : this.viewports.planeShown(element);
        if (plane !== undefined) {
          take(plane);
        }
        this.saveCameras();
      },
      element
    );
  }

  private saveCameras(): void {
    cancelAnimationFrame(this.turned);
    this.turned = requestAnimationFrame(() => {
      const cameras = { ...(this.model.get('camera') as object), ...this.viewports.cameras() };
      if (!this.disposed && JSON.stringify(cameras) !== JSON.stringify(this.model.get('camera'))) {
        this.set('camera', cameras);
      }
    });
  }

  private drawMarks(): void {
    this.strokes.draw();
    this.list();
    this.commands.offerHistory();
  }

  private list(): void {
    this.strokes.keepOthers();
    this.panel.listed(
      this.strokes.marks,
      this.model.get('whose') as Record<string, string>,
      this.model.get('measured') as Record<string, Stats>
    );
  }

  /** Show what is painted over the images. */
  private async paint(): Promise<void> {
    await this.painter.show();
    this.applySlab();
  }

  private segmented(): void {
    this.painter.color();
    if (this.painter.isInUse) {
      void this.next(() => this.paint());
    }
  }

  /** Ask the kernel to send what is drawn. */
  private send(node: string, form: string): void {
    this.panel.say(trans.__('sending to %1 …', node));
    this.model.send({ kind: 'send', node, form });
  }

  /** Give up the viewports of the layout. */
  private take(): void {
    this.cine.stop();
    this.painter.hide();
    for (const { view, id } of this.viewports.shown) {
      this.hands.of(view.kind).removeViewports(engine().id, id);
    }
    this.viewports.disable();
  }

  private dispose(): void {
    if (this.disposed) {
      return;
    }
    this.disposed = true;
    this.listening.abort();
    this.resized.disconnect();
    this.strokes.dispose();
    this.take();
    this.painter.dispose();
    this.hands.dispose();
    if (this.source instanceof KernelSource) {
      this.source.dispose();
    }
    this.release();
    this.panel.dispose();
  }
}

/** Wait until the browser has drawn what was asked of it before. */
function nextFrame(): Promise<void> {
  return new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() => resolve())));
}
