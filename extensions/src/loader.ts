import { cache, imageLoader, metaData, Enums, type Types } from '@cornerstonejs/core';
import { DERIVED } from './solid';
import type { Source } from './source';
import { ARRAYS, originOf, planeBytes, type Scene, type Values } from './scene';

/** Planes of our arrays for Cornerstone: its images, and what its metadata modules ask of them. */

const SCHEME = 'workbench';
const sources = new Map<string, { source: Source; users: number; loaded: Set<string> }>();

export function register(): void {
  imageLoader.registerImageLoader(SCHEME, load as unknown as Types.ImageLoaderFn);
  metaData.addProvider((type: string, imageId: string) => described(type, imageId), 10_000);
}

/** Count a user of a source; the function that is returned takes it back: the last one gives back all memory. */
export function use(source: Source): () => void {
  const entry = sources.get(source.id) ?? { source, users: 0, loaded: new Set() };
  entry.users += 1;
  sources.set(source.id, entry);
  return () => {
    entry.users -= 1;
    if (entry.users === 0) {
      sources.delete(source.id);
      forget(source, entry.loaded);
    }
  };
}

function forget(source: Source, loaded: Iterable<string>): void {
  const ours = [...loaded];
  for (const { volumeId, imageIds: made } of cache.getVolumes()) {
    if (volumeId.replace(DERIVED, '').startsWith(volumeName(source, []))) {
      cache.removeVolumeLoadObject(volumeId);
      ours.push(...made);
    }
  }
  for (const id of ours) {
    if (cache.getImageLoadObject(id) !== undefined) {
      cache.removeImageLoadObject(id, { force: true });
    }
  }
}

/** Name of the volume of the planes along the last axis. */
export function volumeName(source: Source, leading: readonly number[]): string {
  return `${SCHEME}-volume:${source.id}/${leading.join('.')}`;
}

export function imageId(source: string, index: readonly number[]): string {
  return `${SCHEME}:${source}/${index.join('.')}`;
}

/** Names of the planes along the last axis. */
export function imageIds(source: Source, leading: readonly number[]): string[] {
  const count = source.scene.axes[source.scene.axes.length - 1]?.size ?? 1;
  return Array.from({ length: count }, (_, plane) => imageId(source.id, [...leading, plane]));
}

/** Source and index of an image, if it is one of ours. */
export function parse(id: string): { source: Source; index: number[] } | undefined {
  const [scheme, rest] = id.split(':', 2);
  const [name, index] = rest?.split('/', 2) ?? [];
  const source = name === undefined ? undefined : sources.get(name)?.source;
  if (scheme !== SCHEME || source === undefined || index === undefined) {
    return undefined;
  }
  return { source, index: index.split('.').map(Number) };
}

function load(id: string): { promise: Promise<Types.IImage>; cancelFn: () => void } {
  const found = parse(id);
  if (found === undefined) {
    throw new Error('no viewer of this page shows such an image');
  }
  sources.get(found.source.id)?.loaded.add(id);
  const abort = new AbortController();
  const { source, index } = found;
  const promise = source
    .plane(index, abort.signal)
    .catch((error: Error) => {
      if (abort.signal.aborted && !sources.has(source.id)) {
        // the last viewer went: the engine hears of no error that nobody can see
        return new ArrayBuffer(planeBytes(source.scene));
      }
      throw error;
    })
    .then(buffer => image(id, source.scene, new ARRAYS[source.scene.dtype](buffer)));
  const made = { promise, cancelFn: () => abort.abort() };
  loading.set(id, made);
  const ended = (): void => {
    if (loading.get(id) === made) {
      loading.delete(id);
    }
  };
  promise.then(ended, ended);
  put(id, made);
  return made;
}

interface Load {
  promise: Promise<Types.IImage>;
  cancelFn: () => void;
}

/** The newest load of each image that has not ended. */
const loading = new Map<string, Load>();

/**
 * Have the cache keep an image that is being loaded. The engine would put it there itself, and leave what goes
 * wrong to the console of the page. A load that fails takes along whatever the cache has under its name: one
 * that was given up must not take the one that came after it.
 */
function put(id: string, made: Load): void {
  cache.putImageLoadObject(id, made).catch(() => {
    const newer = loading.get(id);
    if (newer !== undefined && newer !== made && cache.getImageLoadObject(id) === undefined) {
      put(id, newer);
    }
  });
}

function image(id: string, scene: Scene, values: Values): Types.IImage {
  const [low, high] = extremes(values);
  const [rowSpacing, columnSpacing] = scene.pixel_spacing ?? [1, 1];
  const window = scene.windows[0] ?? { center: 128, width: 256 };
  return {
    imageId: id,
    minPixelValue: low,
    maxPixelValue: high,
    slope: 1,
    intercept: 0,
    windowCenter: window.center,
    windowWidth: window.width,
    voiLUTFunction: Enums.VOILUTFunctionType.LINEAR,
    getPixelData: () => values,
    getCanvas: undefined as unknown as () => HTMLCanvasElement,
    rows: scene.rows,
    columns: scene.columns,
    height: scene.rows,
    width: scene.columns,
    color: scene.samples === 3,
    rgba: false,
    numberOfComponents: scene.samples,
    columnPixelSpacing: columnSpacing,
    rowPixelSpacing: rowSpacing,
    invert: false,
    sizeInBytes: values.byteLength,
    dataType: values.constructor.name as Types.PixelDataTypedArrayString,
    photometricInterpretation: scene.samples === 3 ? 'RGB' : 'MONOCHROME2',
    imageFrame: {} as Types.IImageFrame
  } as Types.IImage;
}

function extremes(values: Values): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) {
      low = value;
    }
    if (value > high) {
      high = value;
    }
  }
  return low <= high ? [low, high] : [0, 0];
}

/** Frame of reference of a source: its own where it has none in the patient. */
export function frameOfReference(source: Source): string {
  return source.scene.frame_of_reference_uid || `${SCHEME}:${source.id}`;
}

function described(type: string, id: string): object | undefined {
  const found = typeof id === 'string' ? parse(id) : undefined;
  if (found === undefined) {
    return undefined;
  }
  const { source, index } = found;
  return MODULES[type]?.(source, index[index.length - 1] ?? 0);
}

const MODULES: Record<string, (source: Source, plane: number) => object | undefined> = {
  imagePlaneModule: (source, plane) => {
    const { scene } = source;
    const [rowPixelSpacing, columnPixelSpacing] = scene.pixel_spacing ?? [1, 1];
    const orientation = scene.orientation.length === 6 ? scene.orientation : [1, 0, 0, 0, 1, 0];
    return {
      frameOfReferenceUID: frameOfReference(source),
      rows: scene.rows,
      columns: scene.columns,
      imageOrientationPatient: orientation,
      rowCosines: orientation.slice(0, 3),
      columnCosines: orientation.slice(3),
      imagePositionPatient: originOf(scene, plane),
      pixelSpacing: [rowPixelSpacing, columnPixelSpacing],
      rowPixelSpacing,
      columnPixelSpacing,
      usingDefaultValues: scene.pixel_spacing === null
    };
  },
  imagePixelModule: ({ scene }) => {
    const bits = 8 * ARRAYS[scene.dtype].BYTES_PER_ELEMENT;
    return {
      samplesPerPixel: scene.samples,
      photometricInterpretation: scene.samples === 3 ? 'RGB' : 'MONOCHROME2',
      rows: scene.rows,
      columns: scene.columns,
      bitsAllocated: bits,
      bitsStored: bits,
      highBit: bits - 1,
      pixelRepresentation: scene.dtype === 'int16' ? 1 : 0
    };
  },
  generalSeriesModule: ({ scene }) => ({
    modality: scene.modality,
    seriesInstanceUID: scene.series_instance_uid
  }),
  modalityLutModule: () => ({ rescaleSlope: 1, rescaleIntercept: 0 }),
  voiLutModule: ({ scene }) => {
    const window = scene.windows[0];
    return window && { windowCenter: [window.center], windowWidth: [window.width] };
  }
};
