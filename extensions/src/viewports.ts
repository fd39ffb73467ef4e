import { cache, Enums, volumeLoader, type Types } from '@cornerstonejs/core';
import { cornersOf, drawByEngine, drawByProcessor, planeDrawn, sectionDrawn, type Draw } from './canvas';
import { hasDepth, hasNoCard } from './card';
import { shape } from './curve';
import { engine } from './engine';
import { ORIENTATIONS, TYPES, type View } from './layouts';
import { imageId, imageIds, volumeName } from './loader';
import { keepFor, seeAtAllTimes } from './marks';
import type { Paint } from './paint';
import { loadedImage, Prefetch } from './prefetch';
import { gridOf, type Raster } from './sampling';
import {
  affineOf,
  axesOf,
  dot,
  middleOf,
  originOf,
  planeBytes,
  planes,
  range,
  type Scene,
  type Values
} from './scene';
import { throughSlab, type Slab } from './slab';
import { coarser, STEP } from './solid';
import type { Source } from './source';

/** The images of one viewer: Cornerstone's viewports, filled from a source and made to show a state. */

export interface Shown {
  view: View;
  element: HTMLDivElement;
  id: string;
}

/** How an image lies in its cell: the trait `camera`, for each view. */
export interface Camera {
  rotation: number;
  zoom: number;
  pan: [number, number];
  flip_horizontal: boolean;
  flip_vertical: boolean;
  /** Left, top, right and bottom in pixels: a part that is to be seen, instead of zoom and pan. */
  area?: [number, number, number, number];
}

export type SlabKind = Slab['kind'];

const BLENDS: Record<SlabKind, Enums.BlendModes> = {
  average: Enums.BlendModes.AVERAGE_INTENSITY_BLEND,
  maximum: Enums.BlendModes.MAXIMUM_INTENSITY_BLEND,
  minimum: Enums.BlendModes.MINIMUM_INTENSITY_BLEND
};
/** Thinner than any slab that is wanted: one plane. */
const PLANE_MM = 0.1;
/** Of a ray through a slab: the engine's two pass by up to two fifths of what is brightest in one voxel. */
const LOOKS_A_VOXEL = 4;

export class Viewports {
  shown: Shown[] = [];
  volumeId = '';
  /** What goes on now is not what a person did: what the viewports say of themselves is not heard. */
  filling = false;
  /** Planes of the volume, in their order. */
  private loaded: Values[] = [];
  /** What three dimensions are to be made in: they take a program seconds, for which sections do not wait. */
  private solid: { shown: Shown; isFirst: boolean } | undefined;
  /** What is painted over the images that are shown. */
  paint: Paint | undefined;
  private slab: Slab = { millimetres: 0, kind: 'average' };
  /** The plane that a stack is on its way to, because the state says so. */
  going: number | undefined;
  private readonly prefetch: Prefetch;

  constructor(
    private readonly name: string,
    private readonly source: Source,
    private readonly progress: (done: number, of: number) => void
  ) {
    this.prefetch = new Prefetch(engine, planeBytes(source.scene));
  }

  get ids(): string[] {
    return this.shown.map(each => each.id);
  }

  /** Those that show images of the array: all but the view in three dimensions. */
  get flat(): Shown[] {
    return this.shown.filter(each => each.view.kind !== '3d');
  }

  /** Make viewports in these cells; they are empty. */
  enable(views: readonly View[], cell: (at: number) => HTMLDivElement): void {
    this.shown = views.map((view, at) => ({ view, element: cell(at), id: `${this.name}-${view.name}` }));
    for (const { view, element, id } of this.shown) {
      const orientation = ORIENTATIONS[view.name];
      engine().enableElement({
        viewportId: id,
        element,
        type: TYPES[view.kind],
        defaultOptions: { background: [0, 0, 0], ...(orientation === undefined ? {} : { orientation }) }
      });
      const viewport = engine().getViewport(id);
      keepFor(this.name, element);
      if (view.kind === 'stack') {
        seeAtAllTimes(viewport as Types.IStackViewport);
      }
      element.tabIndex = 0; // the engine takes it from the keyboard
    }
    if (hasNoCard()) {
      this.shown.forEach(each => this.takeFromEngine(each));
    }
  }

  /** Draw images here, which the engine would have a graphics card do that is none. */
  private takeFromEngine(shown: Shown): void {
    const viewport = engine().getViewport(shown.id);
    const ways: Record<View['kind'], () => Draw> = {
      stack: () => planeDrawn(viewport as Types.IStackViewport, () => this.paint),
      section: () =>
        sectionDrawn(
          this.source.scene,
          () => ({ name: this.volumeId, values: this.loaded }),
          (width, height) => this.rasterOf(shown, width, height, window.devicePixelRatio),
          () => this.slab,
          () => this.paint
        ),
      '3d': () => () => undefined // until there is a coarser volume for it
    };
    drawByProcessor(viewport, ways[shown.view.kind]());
  }

  /** Another plane is going to be shown: what is on its way to where nobody looks any more is given up. */
  aim(index: readonly number[]): void {
    if (this.shown[0]?.view.kind === 'stack' && this.isFilledWith(index)) {
      this.prefetch.turnTo(this.stack().getImageIds(), index.at(-1)!);
    }
  }

  disable(): void {
    this.prefetch.stop();
    this.loaded = [];
    for (const { id } of this.shown) {
      engine().disableElement(id);
    }
    this.shown = [];
  }

  /** Fill them with the planes of an index. */
  async fill(index: readonly number[]): Promise<void> {
    this.filling = true;
    try {
      await (this.shown[0]?.view.kind === 'stack' ? this.fillStack(index) : this.fillVolume(index));
    } finally {
      this.filling = false;
    }
  }

  /** Show the planes of an index, loading what is not shown yet; resolves when that is drawn. */
  async moveTo(index: readonly number[]): Promise<void> {
    const plane = index[index.length - 1]!;
    const [first] = this.shown;
    if (first?.view.kind === 'stack') {
      const viewport = this.stack();
      if (!this.isFilledWith(index)) {
        await this.fill(index);
      } else if (viewport.getTargetImageIdIndex() !== plane) {
        this.going = plane;
        this.prefetch.turnTo(viewport.getImageIds(), plane);
        await viewport.setImageIdIndex(plane).finally(() => (this.going = undefined));
      }
      return;
    }
    if (this.volumeId !== volumeName(this.source, index.slice(0, -1))) {
      await this.fill(index);
    }
    const along = this.alongPlanes();
    if (along !== undefined && this.planeOf(along) !== plane) {
      this.filling = true;
      this.viewport(along).jumpToWorld(middleOf(this.source.scene, plane));
      this.filling = false;
      this.viewport(along).render();
    }
  }

  /** The plane of the array that a section shows, if it lies along the planes. */
  planeShown(element: HTMLDivElement): number | undefined {
    const along = this.alongPlanes();
    return along?.element === element ? this.planeOf(along) : undefined;
  }

  /** Where a point of a cell lies: LPS mm, or (column, row, plane) × spacing without a place in a patient. */
  placeOf(shown: Shown, x: number, y: number): number[] {
    const place = [...engine().getViewport(shown.id).canvasToWorld([x, y])];
    if (shown.view.kind !== 'stack') {
      return place;
    }
    const { start, normal } = this.planeShownBy(shown); // a stack's camera may stand beside its plane
    const beside = dot(
      normal,
      place.map((each, axis) => each - start[axis]!)
    );
    return place.map((each, axis) => each - beside * normal[axis]!);
  }

  /** What a section through a slab shows at a place; of a plane, and beside the voxels, nothing. */
  slabAt(shown: Shown, start: readonly number[]): number | undefined {
    const { millimetres } = this.slab;
    if (shown.view.kind !== 'section' || millimetres === 0 || this.loaded.length === 0) {
      return undefined;
    }
    const { scene } = this.source;
    const grid = gridOf(scene, affineOf(scene), false);
    const [value] = throughSlab(grid, this.loaded, { ...this.rasterOf(shown, 1, 1), start }, 1, 1, this.slab);
    return Number.isNaN(value) ? undefined : value;
  }

  /** Where the pixels of a cell of so many lie, of which so many are one of the page. */
  rasterOf(shown: Shown, width: number, height: number, scale = 1): Raster {
    const start = this.placeOf(shown, 0, 0);
    const step = (x: number, y: number, count: number): number[] =>
      this.placeOf(shown, x / scale, y / scale).map((each, axis) => (each - start[axis]!) / count);
    const [across, down] = [step(width, 0, width), step(0, height, height)];
    const first = start.map((each, axis) => each + (across[axis]! + down[axis]!) / 2);
    return { start: first, across, down };
  }

  /** Column, row and plane of the voxel at a place; what lies beside the planes is on the nearest. */
  voxelAt(place: readonly number[]): [number, number, number] {
    const { scene } = this.source;
    const [rows, columns, normal] = axesOf(scene);
    const offset = (plane: number): number[] =>
      originOf(scene, plane).map((each, axis) => place[axis]! - each);
    const [first] = this.shown;
    const plane =
      first?.view.kind === 'stack' ? this.stack().getCurrentImageIdIndex() : nearest(scene, place, normal);
    const [between, beside] = scene.pixel_spacing ?? [1, 1];
    return [
      Math.round(dot(offset(plane), rows) / beside),
      Math.round(dot(offset(plane), columns) / between),
      plane
    ];
  }

  setWindow(center: number, width: number, curve: readonly number[], invert: boolean): void {
    if (this.source.scene.samples !== 1) {
      return;
    }
    const wanted = { voiRange: range(this.source.scene, center, width), invert };
    for (const each of this.flat) {
      if (each.view.kind === 'stack') {
        this.stack().setProperties(wanted, true);
      } else {
        this.viewport(each).setProperties(wanted, this.volumeId, true);
      }
      shape(this.viewport(each), curve, wanted);
    }
    engine().renderViewports(this.flat.map(each => each.id));
  }

  /** Sections through so many mm, of whose values one is shown; 0 mm is a plane. */
  setSlab(thickness: number, kind: SlabKind): void {
    this.slab = { millimetres: thickness <= PLANE_MM ? 0 : thickness, kind };
    for (const each of this.flat.filter(({ view }) => view.kind === 'section')) {
      const viewport = this.viewport(each);
      const isPlane = thickness <= PLANE_MM;
      const actors = viewport.getActors().filter(actor => actor.referencedId === this.volumeId);
      const ours = actors.map(actor => actor.uid);
      for (const { actor } of actors) {
        const mapper = (actor as Types.VolumeActor).getMapper();
        mapper?.setSampleDistance(Math.min(...mapper.getInputData().getSpacing()) / LOOKS_A_VOXEL);
      }
      viewport.setBlendMode(isPlane ? Enums.BlendModes.COMPOSITE : BLENDS[kind], ours, false);
      if (isPlane) {
        viewport.resetSlabThickness();
      } else {
        viewport.setSlabThickness(thickness / 2, ours); // which the engine takes to both sides
      }
      viewport.render();
    }
  }

  cameras(): Record<string, Camera> {
    return Object.fromEntries(
      this.flat.map(({ view, id }) => {
        const { rotation, zoom, pan, flipHorizontal, flipVertical } = engine()
          .getViewport(id)
          .getViewPresentation();
        return [
          view.name,
          {
            rotation: round(rotation ?? 0),
            zoom: round(zoom ?? 1),
            pan: [round(pan?.[0] ?? 0), round(pan?.[1] ?? 0)],
            flip_horizontal: flipHorizontal ?? false,
            flip_vertical: flipVertical ?? false
          }
        ];
      })
    );
  }

  setCameras(wanted: Readonly<Record<string, Camera>>): void {
    for (const { view, id } of this.flat) {
      const camera = wanted[view.name];
      if (camera === undefined || JSON.stringify(camera) === JSON.stringify(this.cameras()[view.name])) {
        continue;
      }
      this.filling = true;
      this.lay(id, camera);
      if (camera.area !== undefined) {
        const whole = { ...camera, zoom: 1, pan: [0, 0] as [number, number] };
        this.lay(id, whole);
        this.lay(id, { ...whole, ...this.toSee(camera.area) });
      }
      this.filling = false;
      engine().getViewport(id).render();
    }
  }

  private lay(id: string, camera: Camera): void {
    const viewport = engine().getViewport(id);
    viewport.setViewPresentation({
      ...viewport.getViewPresentation(),
      rotation: camera.rotation,
      zoom: camera.zoom,
      pan: camera.pan,
      flipHorizontal: camera.flip_horizontal,
      flipVertical: camera.flip_vertical
    });
  }

  /** How a stack that is shown whole is to lie so that a part of it is seen as large as it fits. */
  private toSee([left, top, right, bottom]: NonNullable<Camera['area']>): Pick<Camera, 'zoom' | 'pan'> {
    const { rows, columns } = this.source.scene;
    const { clientWidth: width, clientHeight: height } = this.shown[0]!.element;
    const corners = cornersOf(this.stack());
    if (corners === undefined || width * height === 0) {
      return { zoom: 1, pan: [0, 0] };
    }
    const [start, across, down] = corners as [number[], number[], number[]];
    const place = (column: number, row: number): number[] =>
      start.map(
        (each, axis) =>
          each + ((across[axis]! - each) * column) / columns + ((down[axis]! - each) * row) / rows
      );
    const [one, other] = [place(left, top), place(right, bottom)];
    const size = one.map((each, axis) => Math.abs(other[axis]! - each));
    const middle = one.map((each, axis) => (each + other[axis]!) / 2);
    return {
      zoom: Math.min(width / size[0]!, height / size[1]!),
      pan: [width / 2 - middle[0]!, height / 2 - middle[1]!]
    };
  }

  /** Show each image whole again, unturned. */
  reset(): void {
    for (const { id } of this.shown) {
      const viewport = engine().getViewport(id) as Types.IStackViewport;
      viewport.setViewPresentation({
        ...viewport.getViewPresentation(),
        rotation: 0,
        flipHorizontal: false,
        flipVertical: false
      });
      viewport.resetCamera();
      viewport.render();
    }
  }

  private readonly movedTo = (event: Event): void => {
    const { imageIdIndex } = (event as CustomEvent<{ imageIdIndex: number }>).detail;
    this.prefetch.around(this.stack().getImageIds(), imageIdIndex);
  };

  /** Whether the stack has the planes of an index. */
  private isFilledWith(index: readonly number[]): boolean {
    return this.stack().getImageIds()[0] === imageId(this.source.id, [...index.slice(0, -1), 0]);
  }

  private stack(): Types.IStackViewport {
    return engine().getViewport(this.shown[0]!.id) as Types.IStackViewport;
  }

  private viewport(shown: Shown): Types.IVolumeViewport {
    return engine().getViewport(shown.id) as Types.IVolumeViewport;
  }

  private async fillStack(index: readonly number[]): Promise<void> {
    const ids = imageIds(this.source, index.slice(0, -1));
    const plane = index[index.length - 1]!;
    const { element } = this.shown[0]!;
    element.removeEventListener(Enums.Events.STACK_NEW_IMAGE, this.movedTo);
    element.addEventListener(Enums.Events.STACK_NEW_IMAGE, this.movedTo);
    this.prefetch.turnTo(ids, plane);
    await this.stack().setStack(ids, plane);
  }

  private async fillVolume(index: readonly number[]): Promise<void> {
    const leading = index.slice(0, -1);
    const ids = imageIds(this.source, leading);
    const isFirst =
      this.volumeId === '' || this.shown.some(each => this.viewport(each).getActors().length === 0);
    this.volumeId = volumeName(this.source, leading);
    let loaded = 0;
    const images = await Promise.all(
      ids.map(each =>
        loadedOnce(each).then(image => {
          this.progress(++loaded, ids.length);
          return image;
        })
      )
    );
    this.loaded = images.map(each => each.getPixelData() as Values);
    const volume = await volumeLoader.createAndCacheVolumeFromImages(this.volumeId, ids);
    volume.modified(); // else the engine takes values to the card after the first time that it draws them
    for (const each of this.shown) {
      if (each.view.kind !== '3d' || !hasNoCard()) {
        await this.fillOne(each, this.volumeId, isFirst);
      } else if (hasDepth()) {
        this.solid = { shown: each, isFirst };
      }
    }
  }

  private async fillOne(shown: Shown, volumeId: string, isFirst: boolean): Promise<void> {
    const viewport = this.viewport(shown);
    const camera = viewport.getCamera();
    await viewport.setVolumes([{ volumeId }]);
    if (shown.view.kind === '3d') {
      viewport.setProperties({ preset: this.source.scene.modality === 'CT' ? 'CT-Bone' : 'MR-Default' });
      viewport.setCamera({ viewPlaneNormal: [0, -1, 0], viewUp: [0, 0, 1] }); // seen from the front
      viewport.resetCamera({ resetOrientation: false });
    }
    if (!isFirst) {
      viewport.setCamera(camera); // another time is looked at from where the one before was
    }
    viewport.render();
  }

  /** Whether three dimensions are still to come. */
  get isFlat(): boolean {
    return this.solid !== undefined;
  }

  /** Show three dimensions of a coarser volume, where they are still to come. */
  async fillSolid(): Promise<void> {
    const { solid } = this;
    this.solid = undefined;
    if (solid !== undefined && this.shown.includes(solid.shown)) {
      drawByEngine(this.viewport(solid.shown));
      await this.fillOne(solid.shown, coarser(this.volumeId, this.source.scene, this.loaded), solid.isFirst);
      this.viewport(solid.shown).setProperties({ sampleDistanceMultiplier: STEP });
    }
  }

  /** The section whose planes are those of the array, or lie nearest to them. */
  private alongPlanes(): Shown | undefined {
    const { scene } = this.source;
    const sections = this.flat.filter(each => each.view.kind === 'section');
    if (scene.orientation.length !== 6 || sections.length === 0) {
      return undefined;
    }
    const normal = axesOf(scene)[2];
    const slant = (each: Shown): number =>
      Math.abs(dot(this.viewport(each).getCamera().viewPlaneNormal ?? [0, 0, 0], normal));
    return sections.reduce((best, each) => (slant(each) > slant(best) ? each : best));
  }

  private planeOf(shown: Shown): number {
    const { focalPoint, viewPlaneNormal } = this.viewport(shown).getCamera();
    return nearest(this.source.scene, focalPoint!, viewPlaneNormal!);
  }

  private planeShownBy(shown: Shown): { start: number[]; normal: number[] } {
    const viewport = engine().getViewport(shown.id) as Types.IStackViewport;
    const { scene } = this.source;
    return { start: originOf(scene, viewport.getCurrentImageIdIndex()), normal: axesOf(scene)[2] };
  }
}

/** The plane whose middle lies nearest to a point along a normal: of a section, which may lie slanting. */
function nearest(scene: Scene, point: readonly number[], normal: readonly number[]): number {
  const distance = (plane: number): number =>
    Math.abs(
      dot(
        normal,
        middleOf(scene, plane).map((each, axis) => each - point[axis]!)
      )
    );
  let found = 0;
  for (let plane = 1; plane < planes(scene); plane += 1) {
    if (distance(plane) < distance(found)) {
      found = plane;
    }
  }
  return found;
}

function round(value: number): number {
  return Number(value.toFixed(6));
}

/** A plane that somebody else gave up while it came is asked for again; in the cache when this resolves. */
async function loadedOnce(id: string): Promise<Types.IImage> {
  await loadedImage(id).catch(() => loadedImage(id));
  return cache.getImage(id) ?? loadedImage(id);
}
