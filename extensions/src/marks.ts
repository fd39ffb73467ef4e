import type { Types } from '@cornerstonejs/core';
import { annotation, type Types as ToolTypes } from '@cornerstonejs/tools';
import { frameOfReference, imageId, parse } from './loader';
import type { Source } from './source';
import { behind, isFollowed, leavesMark, named, type Tool } from './tools';

/** What was drawn: Cornerstone's annotations as plain values that Python has, too, and back. */

export interface Mark {
  uid: string;
  /** Name of the tool. */
  kind: string;
  /** Handles; LPS mm, or (column, row, plane) where the images have no place in the patient. */
  points: [number, number, number][];
  /** Outline, where the tool draws one; likewise. */
  outline: [number, number, number][];
  is_closed: boolean;
  /** Index of the plane it was drawn on, along each axis; empty on a section that is no plane of the array. */
  index: number[];
  /** Normal of the plane it lies in. */
  normal: number[];
  text: string;
}

type Point = [number, number, number];
type Annotation = ToolTypes.Annotation & {
  data: { contour?: { polyline?: Point[]; closed?: boolean }; text?: string };
};

/** Whose image an element shows. */
const OWNERS = new WeakMap<Element, string>();

/**
 * Keep what is drawn apart by owners of images. The engine keeps what is drawn on a page by frames of reference:
 * two viewers of one series would each take the marks of the other for their own.
 */
export function keepApart(): void {
  const manager = annotation.state.getAnnotationManager();
  const general = manager.getGroupKey;
  manager.getGroupKey = (selector: Parameters<typeof general>[0]) =>
    (selector instanceof Element ? OWNERS.get(selector) : undefined) ?? general(selector);
}

/** What is drawn on an element is its owner's. */
export function keepFor(owner: string, element: Element): void {
  OWNERS.set(element, owner);
}

type Owned = ToolTypes.Annotation['metadata'] & { owner?: string };

/** From now on something is an owner's. */
export function own(owner: string, drawn: ToolTypes.Annotation): void {
  (drawn.metadata as Owned).owner = owner;
}

/** Whether something was drawn on images of an owner. */
export function isOf(owner: string, drawn: ToolTypes.Annotation): boolean {
  return (drawn.metadata as Owned | undefined)?.owner === owner;
}

/** What an owner has drawn, that which has only begun, too. */
export function marksOf(owner: string): Mark[] {
  return annotation.state
    .getAllAnnotations()
    .filter(each => isOf(owner, each))
    .map(each => markOf(each as Annotation))
    .filter(each => each !== undefined);
}

function markOf(drawn: Annotation): Mark | undefined {
  const tool = behind(drawn.metadata?.toolName ?? '');
  const on = drawn.metadata?.referencedImageId;
  const image = on === undefined ? undefined : parse(on);
  if (tool === undefined || !leavesMark(tool) || drawn.annotationUID === undefined) {
    return undefined;
  }
  return {
    uid: drawn.annotationUID,
    kind: tool.name,
    points: ((drawn.data.handles?.points ?? []) as Point[]).map(copy),
    outline: (drawn.data.contour?.polyline ?? []).map(copy),
    is_closed: drawn.data.contour?.closed ?? false,
    index: image?.index ?? [],
    normal: [...(drawn.metadata?.viewPlaneNormal ?? [])],
    text: drawn.data.label ?? drawn.data.text ?? ''
  };
}

/** Have a stack show at all times what is followed over time, each on its own place. */
export function seeAtAllTimes(viewport: Types.IStackViewport): void {
  const isSeen = viewport.isReferenceViewable.bind(viewport);
  viewport.isReferenceViewable = (reference, options) =>
    isSeen(reference, options) || isOfAnotherTime(reference, viewport.getCurrentImageId());
}

/** Whether what is followed lies where a plane does, apart from the time. */
function isOfAnotherTime(reference: Types.ViewReference & { toolName?: string }, shown?: string): boolean {
  const tool = behind(reference.toolName ?? '');
  const [on, now] = [reference.referencedImageId, shown].map(each => each && parse(each));
  if (tool === undefined || !isFollowed(tool) || !on || !now || on.source.id !== now.source.id) {
    return false;
  }
  const { axes } = on.source.scene;
  return axes.every(({ name }, axis) => name === 'time' || on.index[axis] === now.index[axis]);
}

/** Take marks away. */
export function remove(uids: Iterable<string>): void {
  for (const uid of uids) {
    annotation.state.removeAnnotation(uid);
  }
}

/** Draw what Python says is drawn: what is new or other comes, what is no more goes, but for some. */
export function draw(
  owner: string,
  source: Source,
  wanted: readonly Mark[],
  left: ReadonlySet<string>,
  element: HTMLDivElement
): void {
  const have = new Map(marksOf(owner).map(each => [each.uid, JSON.stringify(each)]));
  const keep = new Set(wanted.map(each => each.uid));
  remove([...have.keys()].filter(uid => !keep.has(uid) && !left.has(uid)));
  for (const mark of wanted) {
    const tool = named(mark.kind);
    if (have.get(mark.uid) !== JSON.stringify(mark)) {
      remove(have.has(mark.uid) ? [mark.uid] : []);
      if (tool !== undefined) {
        annotation.state.addAnnotation(annotationOf(owner, source, mark, tool), element);
      }
    }
  }
}

function annotationOf(owner: string, source: Source, mark: Mark, tool: Tool): ToolTypes.Annotation {
  const outline = mark.outline.length > 0 ? mark.outline : mark.points;
  const made = {
    annotationUID: mark.uid,
    highlighted: false,
    invalidated: true,
    isLocked: false,
    isVisible: true,
    metadata: {
      toolName: tool.behind,
      owner,
      FrameOfReferenceUID: frameOfReference(source),
      referencedImageId: mark.index.length > 0 ? imageId(source.id, mark.index) : undefined,
      viewPlaneNormal: mark.normal.length === 3 ? (mark.normal as Point) : undefined
    },
    data: {
      label: mark.text,
      text: mark.text,
      handles: {
        points: mark.points.map(copy),
        activeHandleIndex: null,
        textBox: {
          hasMoved: false,
          worldPosition: [0, 0, 0],
          worldBoundingBox: {
            topLeft: [0, 0, 0],
            topRight: [0, 0, 0],
            bottomLeft: [0, 0, 0],
            bottomRight: [0, 0, 0]
          }
        }
      },
      cachedStats: {},
      ...(tool.hasContour && { contour: { polyline: outline.map(copy), closed: mark.is_closed } }),
      ...tool.data
    }
  };
  return structuredClone(made) as unknown as ToolTypes.Annotation;
}

function copy(point: readonly number[]): Point {
  return [point[0]!, point[1]!, point[2]!];
}
