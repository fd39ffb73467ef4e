import type { Kernel } from '@jupyterlab/services';

/** What anywidget gives: the traits of `workbench.widgets.viewer`, which Python has, too. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, listener: (...given: any[]) => void): void;
  off(event: string, listener: (...given: any[]) => void): void;
  /** Of ipywidgets in JupyterLab. */
  widget_manager?: { kernel?: Kernel.IKernelConnection | null };
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}
