import { Enums, ToolGroupManager, ZoomTool, type Types } from '@cornerstonejs/tools';
import type { Scene } from './scene';
import { drawingTools, named, TOOLS, turningTools, type Tool } from './tools';

/** What a hand does on the images: which tool each button of the mouse has, each wheel, and so many fingers. */

const { MouseBindings } = Enums;
type Binding = Types.SetToolBindingsType['bindings'][number];

/** The tool in hand has the primary button, and one finger. */
const PRIMARY: Binding = { mouseButton: MouseBindings.Primary };
/** What the others have, whatever is in hand; two fingers also move the image. */
const OTHERS: readonly [string, Binding][] = [
  ['pan', { mouseButton: MouseBindings.Auxiliary }],
  ['zoom', { mouseButton: MouseBindings.Secondary }],
  ['zoom', { numTouchPoints: 2 }],
  ['scroll', { mouseButton: MouseBindings.Wheel }],
  ['scroll', { numTouchPoints: 3 }]
];
/** Hands on the images of one viewer. */
export class Hands {
  private readonly flat: Types.IToolGroup;
  private readonly turning: Types.IToolGroup;

  constructor(
    private readonly name: string,
    scene: Scene
  ) {
    this.flat = drawingTools(name, scene);
    this.turning = turningTools(`${name}-3d`);
    this.turning.setToolActive(ZoomTool.toolName, { bindings: [{ numTouchPoints: 2 }] }); // beside its button
  }

  /** The group of tools of an image, or of what is turned. */
  of(kind: string): Types.IToolGroup {
    return kind === '3d' ? this.turning : this.flat;
  }

  /** Have a tool in hand. */
  take(wanted: Tool): void {
    const bindings = new Map<string, Binding[]>([[wanted.behind, [PRIMARY]]]);
    for (const [name, binding] of OTHERS) {
      const { behind } = named(name)!;
      bindings.set(behind, [...(bindings.get(behind) ?? []), binding]);
    }
    for (const { behind, needs } of TOOLS) {
      const isIdle = !bindings.has(behind);
      if (isIdle && needs === 'sections') {
        this.flat.setToolDisabled(behind); // its lines go with it
      } else {
        this.flat.setToolPassive(behind, { removeAllBindings: true }); // else it keeps a button it had
      }
    }
    for (const [behind, given] of bindings) {
      this.flat.setToolActive(behind, { bindings: given });
    }
  }

  dispose(): void {
    ToolGroupManager.destroyToolGroup(this.name);
    ToolGroupManager.destroyToolGroup(`${this.name}-3d`);
  }
}
