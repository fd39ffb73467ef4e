import type { Types } from '@cornerstonejs/core';
import type vtkColorTransferFunction from '@kitware/vtk.js/Rendering/Core/ColorTransferFunction';
import { lay, type Paint } from './paint';
import { gridOf, inGrid, sampled, type Planes, type Raster } from './sampling';
import { affineOf, type Scene, type Values } from './scene';
import { Picture, Shades, type Range } from './shades';
import { throughSlab, type Slab } from './slab';

/**
 * Images drawn by the processor where the browser has no graphics card, or only acts as if it had: a plane takes
 * such a one 100 ms, a section seconds.
 */

/** Of a viewport: public at run time, where types leave it out. */
interface Drawn {
  canvas: HTMLCanvasElement;
  element: HTMLDivElement;
  id: string;
  renderingEngineId: string;
  viewportStatus: unknown;
  sWidth: number;
  sHeight: number;
  getActors(): Types.ActorEntry[];
  getProperties(): { voiRange?: Range } | undefined;
  getUseCustomRenderingPipeline(): boolean;
  customRenderViewportToCanvas(): unknown;
}

let resizing = false;

/** Do what gives viewports another size: the engine does that for all it could draw itself. */
export function whileResizing(resize: () => void): void {
  resizing = true;
  try {
    resize();
  } finally {
    resizing = false;
  }
}

/** Draws an image in shades. */
export type Draw = (context: CanvasRenderingContext2D, shades: Shades) => void;

/** Have the image of a viewport drawn so. */
export function drawByProcessor(given: unknown, draw: Draw): void {
  const viewport = given as Drawn;
  const shades = new Shades();
  viewport.getUseCustomRenderingPipeline = () => !resizing;
  viewport.customRenderViewportToCanvas = () => {
    const { canvas, element, id: viewportId, renderingEngineId, viewportStatus, sWidth, sHeight } = viewport;
    if (canvas.width !== sWidth || canvas.height !== sHeight) {
      [canvas.width, canvas.height] = [sWidth, sHeight];
    }
    const context = canvas.getContext('2d')!;
    context.fillRect(0, 0, canvas.width, canvas.height);
    const [entry] = viewport.getActors();
    const voiRange = viewport.getProperties()?.voiRange; // of sections there is nothing before their volume
    const property = (entry?.actor as Types.VolumeActor | undefined)?.getProperty();
    const colors = property?.getRGBTransferFunction(0) as vtkColorTransferFunction | null | undefined;
    if (voiRange && colors) {
      shades.take(colors, voiRange);
      draw(context, shades);
      context.setTransform(1, 0, 0, 1, 0, 0); // as the engine expects it
    }
    return { canvas, element, viewportId, renderingEngineId, viewportStatus };
  };
}

/** Have it drawn by the engine again. */
export function drawByEngine(given: unknown): void {
  const viewport = given as Partial<Drawn>;
  delete viewport.getUseCustomRenderingPipeline;
  delete viewport.customRenderViewportToCanvas;
}

/** Draws the plane that a stack shows. */
export function planeDrawn(viewport: Types.IStackViewport, paint: () => Paint | undefined): Draw {
  const picture = new Picture();
  const painted = new Picture();
  return (context, shades) => {
    const image = viewport.getCornerstoneImage() as Types.IImage | undefined;
    const corners = cornersOf(viewport);
    if (image === undefined || corners === undefined) {
      return;
    }
    const { width, height, numberOfComponents, imageId } = image;
    picture.make(width, height, `${imageId} ${shades.state}`, pixels =>
      shades.shadeImage(image.getPixelData() as Values, numberOfComponents, pixels)
    );
    inPixels(context, corners, width, height);
    context.drawImage(picture.canvas, 0, 0);
    const over = paint();
    if (over !== undefined) {
      const labels = over.labels(viewport.getCurrentImageIdIndex());
      painted.make(width, height, undefined, pixels => lay(over, labels, width, pixels));
      context.imageSmoothingEnabled = false;
      context.drawImage(painted.canvas, 0, 0);
      context.imageSmoothingEnabled = true;
    }
  };
}

/** Corners of a plane in its cell: where its first pixel begins, its first row ends, its first column ends. */
export type Corners = readonly [start: readonly number[], right: readonly number[], down: readonly number[]];

/** Those of the plane that a stack shows; nowhere before the first. */
export function cornersOf(viewport: Types.IStackViewport): Corners | undefined {
  const image = viewport.getCornerstoneImage() as Types.IImage | undefined;
  const data = viewport.getImageData();
  if (image === undefined || data === undefined) {
    return undefined;
  }
  const corner = (x: number, y: number): number[] =>
    viewport.worldToCanvas(data.imageData.indexToWorld!([x - 0.5, y - 0.5, 0]) as Types.Point3);
  return [corner(0, 0), corner(image.width, 0), corner(0, image.height)];
}

/** From now on draw in pixels of a plane of so many that lies between corners. */
export function inPixels(
  context: CanvasRenderingContext2D,
  corners: Corners,
  width: number,
  height: number
): void {
  const [start, right, down] = corners.map(each => each.map(part => part * window.devicePixelRatio));
  context.setTransform(
    (right![0]! - start![0]!) / width,
    (right![1]! - start![1]!) / width,
    (down![0]! - start![0]!) / height,
    (down![1]! - start![1]!) / height,
    start![0]!,
    start![1]!
  );
}

/** Draws a section through planes, or what is brightest, darkest or between in a slab of them. */
export function sectionDrawn(
  scene: Scene,
  planes: () => { name: string; values: Planes },
  raster: (width: number, height: number) => Raster,
  slab: () => Slab,
  paint: () => Paint | undefined
): Draw {
  const picture = new Picture();
  const painted = new Picture();
  const grid = gridOf(scene, affineOf(scene), false);
  return (context, shades) => {
    const { width, height } = context.canvas;
    const lying = raster(width, height);
    const through = slab();
    const { name, values } = planes();
    picture.make(width, height, JSON.stringify([name, shades.state, lying, through]), pixels =>
      shades.shade(throughSlab(grid, values, lying, width, height, through), pixels)
    );
    context.drawImage(picture.canvas, 0, 0);
    const over = paint();
    if (over !== undefined) {
      const labels = values.map((_, plane) => over.labels(plane));
      const found = sampled({ ...grid, isOfLabels: true }, labels, inGrid(grid, lying), width, height);
      painted.make(width, height, undefined, pixels => lay(over, found, width, pixels));
      context.drawImage(painted.canvas, 0, 0);
    }
  };
}
