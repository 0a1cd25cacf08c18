// The stage: one picture on a canvas, moved, made larger, inverted; and what mouse, wheel and fingers do on it.
"use strict";

class Stage {
  constructor(element, canvas) {
    this.element = element;
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.picture = null;
    this.layer = null; // overlays, see-through
    this.info = {};
    this.inverted = false;
    this.box = null; // where the picture lies on the canvas, its pixels
    this.fit();
    new ResizeObserver(() => this.draw()).observe(element);
  }

  fit() {
    this.zoom = 1; // 1: the whole picture, as large as it fits
    this.x = this.y = 0; // of the picture's middle from the stage's, CSS pixels
    this.draw();
  }

  zoom_by(factor, x = 0, y = 0) {
    const zoom = Math.min(40, Math.max(0.2, this.zoom * factor));
    const by = zoom / this.zoom;
    this.x = x + (this.x - x) * by; // what is under the pointer stays there
    this.y = y + (this.y - y) * by;
    this.zoom = zoom;
    this.draw();
  }

  move_by(x, y) {
    this.x += x;
    this.y += y;
    this.draw();
  }

  show(picture, info) {
    if (picture !== this.picture) this.layer = null;
    this.picture = picture;
    this.info = info;
    this.draw();
  }

  lay_over(layer) {
    this.layer = layer;
    this.draw();
  }

  /** CSS pixels of one pixel of the frame. */
  scale() {
    const { rows, columns } = this.info;
    if (!rows) return 1;
    return this.zoom * Math.min(this.element.clientWidth / this.width(), this.element.clientHeight / this.height());
  }

  // Of the frame with square pixels: the picture has their shape, maybe fewer of them.
  width() {
    const longest = Math.max(this.picture.width, this.picture.height);
    return this.picture.width * (Math.max(this.info.rows, this.info.columns) / longest);
  }

  height() {
    return this.width() * (this.picture.height / this.picture.width);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.element.clientWidth * ratio);
    const height = Math.round(this.element.clientHeight * ratio);
    if (!width || !this.context) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalCompositeOperation = "source-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (!this.picture) return;
    const scale = this.scale() * ratio;
    const w = this.width() * scale;
    const h = this.height() * scale;
    const left = width / 2 + this.x * ratio - w / 2;
    const top = height / 2 + this.y * ratio - h / 2;
    this.box = { left, top, width: w, height: h, ratio };
    context.imageSmoothingEnabled = scale < 3; // beyond that one wants to see the pixels
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, left, top, w, h);
    if (this.inverted) {
      context.globalCompositeOperation = "difference";
      context.fillStyle = "#fff";
      context.fillRect(left, top, w, h);
    }
    if (this.layer) {
      context.globalCompositeOperation = "source-over";
      context.drawImage(this.layer, left, top, w, h);
    }
    this.element.dispatchEvent(new CustomEvent("drawn"));
  }

  /** Dragging with one pointer goes to `dragged(dx, dy, event)`; two fingers zoom and move. `ended` at the end. */
  listen({ dragged, ended, wheeled }) {
    const pointers = new Map();
    const middle = () => {
      const all = [...pointers.values()];
      const x = all.reduce((sum, each) => sum + each.x, 0) / all.length;
      const y = all.reduce((sum, each) => sum + each.y, 0) / all.length;
      const spread = all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0;
      return { x, y, spread };
    };
    const from_middle = (event) => {
      const box = this.element.getBoundingClientRect();
      return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    };
    this.element.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      this.element.setPointerCapture(event.pointerId);
    });
    this.element.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const was = middle();
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      const is = middle();
      if (pointers.size === 1) {
        dragged(event.clientX - before.x, event.clientY - before.y, event);
      } else {
        this.move_by(is.x - was.x, is.y - was.y);
        if (was.spread) this.zoom_by(is.spread / was.spread);
      }
    });
    const up = (event) => {
      if (pointers.delete(event.pointerId) && !pointers.size) ended();
    };
    this.element.addEventListener("pointerup", up);
    this.element.addEventListener("pointercancel", up);
    this.element.addEventListener("contextmenu", (event) => event.preventDefault());
    this.element.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) this.zoom_by(Math.exp(-event.deltaY / 300), ...from_middle(event));
      else wheeled(event.deltaY);
    }, { passive: false });
  }
}
