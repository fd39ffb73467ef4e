import * as tools from '@cornerstonejs/tools';
import type { Types as ToolTypes } from '@cornerstonejs/tools';
import { askAgain, askText } from './asking';
import { linesOf } from './measures';
import { RegionTool } from './region';
import type { Scene } from './scene';

/** The tools of the viewer: what people press, and Cornerstone's tool behind it. */

export interface Tool {
  /** As Python and the marks call it. */
  name: string;
  /** Cornerstone's name. */
  behind: string;
  /** Key that takes it up. */
  key: string;
  group: 'look' | 'measure' | 'outline' | 'note' | 'paint';
  /** What must be shown for it; where it is left out, any image. */
  needs?: 'sections' | 'values';
  /** Whether Cornerstone keeps what it draws as a contour, and what else it wants to find there. */
  hasContour?: true;
  data?: Record<string, unknown>;
  /** Of a tool that is one of Cornerstone's with settings of its own. */
  made?: { of: string; configuration: Record<string, unknown> };
}

export const TOOLS: readonly Tool[] = [
  { name: 'window', behind: tools.WindowLevelTool.toolName, key: 'w', group: 'look' },
  { name: 'scroll', behind: tools.StackScrollTool.toolName, key: 's', group: 'look' },
  { name: 'pan', behind: tools.PanTool.toolName, key: 'p', group: 'look' },
  { name: 'zoom', behind: tools.ZoomTool.toolName, key: 'z', group: 'look' },
  {
    name: 'crosshairs',
    behind: tools.CrosshairsTool.toolName,
    key: 'x',
    group: 'look',
    needs: 'sections'
  },
  { name: 'length', behind: tools.LengthTool.toolName, key: 'l', group: 'measure' },
  { name: 'bidirectional', behind: tools.BidirectionalTool.toolName, key: 'b', group: 'measure' },
  { name: 'angle', behind: tools.AngleTool.toolName, key: 'a', group: 'measure' },
  { name: 'cobb', behind: tools.CobbAngleTool.toolName, key: 'k', group: 'measure' },
  { name: 'probe', behind: tools.ProbeTool.toolName, key: 'o', group: 'measure' },
  { name: 'ellipse', behind: tools.EllipticalROITool.toolName, key: 'e', group: 'outline' },
  { name: 'circle', behind: tools.CircleROITool.toolName, key: 'c', group: 'outline' },
  { name: 'rectangle', behind: tools.RectangleROITool.toolName, key: 'r', group: 'outline' },
  {
    name: 'freehand',
    behind: tools.PlanarFreehandROITool.toolName,
    key: 'f',
    group: 'outline',
    hasContour: true
  },
  {
    name: 'spline',
    behind: tools.SplineROITool.toolName,
    key: 'n',
    group: 'outline',
    hasContour: true,
    data: { spline: { type: tools.SplineROITool.SplineTypes.CatmullRom } }
  },
  {
    name: 'livewire',
    behind: tools.LivewireContourTool.toolName,
    key: 'v',
    group: 'outline',
    hasContour: true
  },
  { name: 'arrow', behind: tools.ArrowAnnotateTool.toolName, key: 't', group: 'note' },
  ...paint('brush', '1', tools.BrushTool.toolName, 'FILL_INSIDE_CIRCLE'),
  ...paint('eraser', '2', tools.BrushTool.toolName, 'ERASE_INSIDE_CIRCLE'),
  ...paint('threshold', '3', tools.BrushTool.toolName, 'THRESHOLD_INSIDE_CIRCLE'),
  ...paint('scissors', '4', tools.RectangleScissorsTool.toolName, 'FILL_INSIDE'),
  ...paint('round scissors', '5', tools.CircleScissorsTool.toolName, 'FILL_INSIDE'),
  ...paint('cut away', '6', tools.RectangleScissorsTool.toolName, 'ERASE_INSIDE'),
  { name: 'fill', behind: tools.PaintFillTool.toolName, key: '7', group: 'paint', needs: 'values' },
  { name: 'region', behind: RegionTool.toolName, key: '8', group: 'paint', needs: 'values' }
];

/** A tool that paints labels, of one of Cornerstone's. */
function paint(name: string, key: string, of: string, strategy: string): Tool[] {
  const configuration = { activeStrategy: strategy };
  return [
    {
      name,
      behind: `workbench ${name}`,
      key,
      group: 'paint',
      needs: 'values',
      made: { of, configuration }
    }
  ];
}

export const ALL_TOOLS = [
  tools.WindowLevelTool,
  tools.StackScrollTool,
  tools.PanTool,
  tools.ZoomTool,
  tools.LengthTool,
  tools.BidirectionalTool,
  tools.AngleTool,
  tools.CobbAngleTool,
  tools.ProbeTool,
  tools.EllipticalROITool,
  tools.CircleROITool,
  tools.RectangleROITool,
  tools.PlanarFreehandROITool,
  tools.SplineROITool,
  tools.LivewireContourTool,
  tools.ArrowAnnotateTool,
  tools.CrosshairsTool,
  tools.BrushTool,
  tools.RectangleScissorsTool,
  tools.CircleScissorsTool,
  tools.PaintFillTool,
  RegionTool
];

const { Primary, Auxiliary, Secondary } = tools.Enums.MouseBindings;
/** Of the view in three dimensions, which is turned rather than drawn on. */
const TURNING_TOOLS = [
  { toolName: tools.TrackballRotateTool.toolName, mouseButton: Primary },
  { toolName: tools.PanTool.toolName, mouseButton: Auxiliary },
  { toolName: tools.ZoomTool.toolName, mouseButton: Secondary }
];

const BY_BEHIND = new Map(TOOLS.map(tool => [tool.behind, tool]));
const BY_NAME = new Map(TOOLS.map(tool => [tool.name, tool]));

/** Whether a tool leaves something on the image. */
export function draws(tool: Tool): boolean {
  return tool.group !== 'look';
}

/** Whether a tool leaves a mark, which has its place in the patient. */
export function leavesMark(tool: Tool): boolean {
  return draws(tool) && tool.group !== 'paint';
}

/** Whether what a tool draws is followed over time: the curve below the image is of its inside. */
export function isFollowed({ group, name }: Tool): boolean {
  return group === 'outline' || name === 'probe';
}

/** A group of the tools, under the names of the table, for images of a scene. */
export function drawingTools(name: string, scene: Scene): ToolTypes.IToolGroup {
  const group = toolGroup(name);
  const asking = { getTextCallback: askText, changeTextCallback: askAgain };
  for (const tool of TOOLS) {
    const { name: what, behind, made } = tool;
    if (made === undefined) {
      group.addTool(behind, leavesMark(tool) ? { ...asking, getTextLines: linesOf(scene, what) } : undefined);
    } else {
      group.addToolInstance(behind, made.of, made.configuration);
    }
  }
  return group;
}

/** A group of those that turn the view in three dimensions, each with its button. */
export function turningTools(name: string): ToolTypes.IToolGroup {
  const group = toolGroup(name);
  for (const { toolName, mouseButton } of TURNING_TOOLS) {
    group.addTool(toolName);
    group.setToolActive(toolName, { bindings: [{ mouseButton }] });
  }
  return group;
}

function toolGroup(name: string): ToolTypes.IToolGroup {
  const group = tools.ToolGroupManager.createToolGroup(name);
  if (group === undefined) {
    throw new Error('there is a viewer of this name already');
  }
  return group;
}

export function behind(name: string): Tool | undefined {
  return BY_BEHIND.get(name);
}

export function named(name: string): Tool | undefined {
  return BY_NAME.get(name);
}
