import { BaseTool } from '@cornerstonejs/tools';

/** Told to the element whose image was pressed; `detail.point` is where, as marks have their points. */
export const REGION_WANTED = 'workbench-region-wanted';

type Props = ConstructorParameters<typeof BaseTool>;

/** Names the point from which a region grows; who follows the image has it painted. */
export class RegionTool extends BaseTool {
  static override toolName = 'WorkbenchRegion';

  constructor(
    given: Props[0] = {},
    defaults: Props[1] = { supportedInteractionTypes: ['Mouse', 'Touch'], configuration: {} }
  ) {
    super(given, defaults);
  }

  // Cornerstone calls it of the tool that has the button
  preMouseDownCallback(event: CustomEvent): boolean {
    const { element, currentPoints } = event.detail as { element: HTMLElement; currentPoints: Points };
    element.dispatchEvent(new CustomEvent(REGION_WANTED, { detail: { point: [...currentPoints.world] } }));
    return true;
  }
}

interface Points {
  world: readonly number[];
}
