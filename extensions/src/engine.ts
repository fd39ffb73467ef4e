import { cache, getShouldUseCPURendering, init as initCore, RenderingEngine } from '@cornerstonejs/core';
import { addTool, init as initTools, TrackballRotateTool } from '@cornerstonejs/tools';
import { register } from './loader';
import { keepApart } from './marks';
import { ALL_TOOLS } from './tools';

/** One engine a page: all viewers share it, as browsers give a page few WebGL contexts. */

const CONTEXTS = 2;
/** Of planes that a page keeps; what is larger has no sections. */
export const CACHE_BYTES = 1 << 30;

let started: RenderingEngine | undefined;

export function engine(): RenderingEngine {
  if (started === undefined) {
    initCore({ rendering: { webGlContextCount: CONTEXTS }, debug: {} });
    initTools();
    for (const tool of [...ALL_TOOLS, TrackballRotateTool]) {
      addTool(tool);
    }
    cache.setMaxCacheSize(CACHE_BYTES);
    register();
    keepApart();
    started = new RenderingEngine('imaging-workbench');
  }
  return started;
}

/** Whether there is WebGL: sections and three dimensions need it, planes do not. */
export function hasWebGL(): boolean {
  engine();
  return !getShouldUseCPURendering();
}
