import { Enums } from '@cornerstonejs/core';

/** How images are laid out: what each layout shows, in the order of the cells of its grid. */

export type Layout = 'stack' | 'mpr' | '3d';

export interface View {
  name: 'planes' | 'axial' | 'coronal' | 'sagittal' | '3d';
  kind: 'stack' | 'section' | '3d';
}

export const LAYOUTS: Record<Layout, readonly View[]> = {
  stack: [{ name: 'planes', kind: 'stack' }],
  mpr: [
    { name: 'axial', kind: 'section' },
    { name: 'coronal', kind: 'section' },
    { name: 'sagittal', kind: 'section' },
    { name: '3d', kind: '3d' }
  ],
  '3d': [{ name: '3d', kind: '3d' }]
};

export const TYPES: Record<View['kind'], Enums.ViewportType> = {
  stack: Enums.ViewportType.STACK,
  section: Enums.ViewportType.ORTHOGRAPHIC,
  '3d': Enums.ViewportType.VOLUME_3D
};

export const ORIENTATIONS: Partial<Record<View['name'], Enums.OrientationAxis>> = {
  axial: Enums.OrientationAxis.AXIAL,
  coronal: Enums.OrientationAxis.CORONAL,
  sagittal: Enums.OrientationAxis.SAGITTAL
};
