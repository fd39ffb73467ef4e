import {
  annotation,
  cancelActiveManipulations,
  Enums,
  utilities,
  type Types as ToolTypes
} from '@cornerstonejs/tools';
import type { History } from './history';
import { draw, isOf, marksOf, own, remove, type Mark } from './marks';
import type { Model } from './model';
import type { Source } from './source';
import type { Viewports } from './viewports';

const { Events } = Enums;
const OTHERS_LINE = '6,4';

/** Listens to an event of Cornerstone until the viewer goes. */
export type Hear = (event: string, listener: (detail: Told) => void) => void;

interface Told {
  annotation: ToolTypes.Annotation;
  /** Of what was added, on which image. */
  viewportId?: string;
}

/** What is drawn on the images of one viewer, and the trait `marks`: a change of the one reaches the other. */
export class Strokes {
  /** The marks as the history has them. */
  private known: Mark[];
  private saving = 0;
  /** Whether a stroke is being drawn: what is drawn is kept when it ends. */
  isPressed = false;
  /** What a tool of several clicks has only begun. */
  private readonly unfinished = new Set<string>();
  /** Whether marks are drawn that the state has, not a person. */
  private isPutting = false;

  constructor(
    private readonly owner: string,
    private readonly source: Source,
    private readonly model: Model,
    private readonly viewports: Viewports,
    private readonly history: History,
    hear: Hear
  ) {
    this.known = this.marks;
    hear(Events.ANNOTATION_ADDED, ({ annotation: begun, viewportId }) => {
      if (!this.isPutting && viewportId?.startsWith(`${owner}-`)) {
        own(owner, begun);
        this.unfinished.add(begun.annotationUID!);
      }
    });
    const heard: Record<string, (uid: string) => void> = {
      [Events.ANNOTATION_COMPLETED]: uid => this.unfinished.delete(uid),
      [Events.ANNOTATION_MODIFIED]: () => undefined,
      [Events.ANNOTATION_REMOVED]: uid => this.unfinished.delete(uid)
    };
    for (const [event, take] of Object.entries(heard)) {
      hear(event, ({ annotation: drawn }) => {
        if (isOf(owner, drawn)) {
          take(drawn.annotationUID!);
          this.save();
        }
      });
    }
  }

  get marks(): Mark[] {
    return this.model.get('marks') as Mark[];
  }

  press(): void {
    this.isPressed = true;
  }

  /** A stroke ends; whether one had begun. */
  release(): boolean {
    const { isPressed } = this;
    this.isPressed = false;
    if (isPressed) {
      this.save();
    }
    return isPressed;
  }

  /** Take away what a tool of several clicks has only begun; whether there was such. */
  giveUp(): boolean {
    const begun = [...this.unfinished];
    for (const { element } of begun.length > 0 ? this.viewports.flat : []) {
      cancelActiveManipulations(element); // which finishes some of them as they are
    }
    remove(begun);
    this.unfinished.clear();
    return begun.length > 0;
  }

  /** Tell the state what is drawn, as soon as it is. */
  private save(): void {
    cancelAnimationFrame(this.saving);
    this.saving = requestAnimationFrame(() => {
      const marks = this.drawn();
      if (!this.isPressed && JSON.stringify(marks) !== JSON.stringify(this.marks)) {
        this.set(marks);
      }
    });
  }

  /** What is there and finished, what is new last. */
  private drawn(): Mark[] {
    const order = new Map(this.marks.map(({ uid }, at) => [uid, at]));
    const place = ({ uid }: Mark): number => order.get(uid) ?? order.size;
    const finished = marksOf(this.owner).filter(each => !this.unfinished.has(each.uid));
    return finished.sort((one, other) => place(one) - place(other));
  }

  /** Draw what the state says is drawn. */
  draw(): void {
    const { marks } = this;
    const [first] = this.viewports.flat;
    if (first !== undefined) {
      this.isPutting = true;
      draw(this.owner, this.source, marks, this.unfinished, first.element);
      this.isPutting = false;
      utilities.triggerAnnotationRenderForViewportIds(this.viewports.flat.map(each => each.id));
    }
    this.remember(marks);
  }

  /** What somebody else drew stays as it is, and has another line. */
  keepOthers(): void {
    for (const uid of Object.keys(this.model.get('whose') as object)) {
      annotation.locking.setAnnotationLocked(uid, true);
      annotation.config.style.setAnnotationStyles(uid, { lineDash: OTHERS_LINE });
    }
  }

  remove(uid: string): void {
    this.set(this.marks.filter(each => each.uid !== uid));
  }

  private set(marks: Mark[]): void {
    this.model.set('marks', marks);
    this.model.save_changes();
  }

  /** Keep a step of the history, unless the history itself made it. */
  private remember(now: Mark[]): void {
    const before = this.known;
    this.known = now;
    if (JSON.stringify(before) !== JSON.stringify(now)) {
      const to = (marks: Mark[]) => (): void => {
        this.known = marks;
        this.set(marks);
      };
      this.history.add({ undo: to(before), redo: to(now) });
    }
  }

  dispose(): void {
    cancelAnimationFrame(this.saving);
    remove(marksOf(this.owner).map(each => each.uid));
  }
}
