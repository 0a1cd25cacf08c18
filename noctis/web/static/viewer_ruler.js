// The ruler: lines that were drawn over a frame, and how long they are by what the frame says of its pixels.
"use strict";

class Ruler {
  static LINES_MAX = 20; // of one frame

  constructor(stage) {
    this.stage = stage;
    this.kept = new Map(); // frame → lines { from: [x, y], to: [x, y] }, pixels of the frame
    this.lines = [];
    this.drawn = null; // the line that is being drawn
    stage.element.addEventListener("drawn", () => this.draw());
  }

  /** Another frame is on show. */
  show(frame) {
    if (!this.kept.has(frame)) this.kept.set(frame, []);
    this.lines = this.kept.get(frame);
    document.getElementById("said-length").textContent = "";
  }

  clear() {
    this.kept.clear();
    this.lines = [];
    this.drawn = null;
    this.stage.draw();
  }

  /** Where in the frame a place of the window is. */
  place(x, y) {
    const outer = this.stage.element.getBoundingClientRect();
    const { left, top, width, height, ratio } = this.stage.box;
    const { columns, rows } = this.stage.info;
    return [(((x - outer.left) * ratio - left) / width) * columns, (((y - outer.top) * ratio - top) / height) * rows];
  }

  drag(event, dx, dy) {
    if (!this.stage.picture || !this.stage.box) return;
    const to = this.place(event.clientX, event.clientY);
    if (!this.drawn) {
      this.drawn = { from: this.place(event.clientX - dx, event.clientY - dy), to };
      this.lines.push(this.drawn);
      if (this.lines.length > Ruler.LINES_MAX) this.lines.shift();
    }
    this.drawn.to = to;
    this.stage.draw();
  }

  end() {
    this.drawn = null;
  }

  /** How long a line is, in words. */
  length({ from, to }) {
    const { spacing, spacing_of, regions } = this.stage.info;
    const x = Math.abs(to[0] - from[0]);
    const y = Math.abs(to[1] - from[1]);
    const said = (mm) => `${mm < 10 ? mm.toFixed(2) : mm.toFixed(1)} mm`;
    if (spacing) {
      const where = { detector: " on the detector", scan: " as scanned" }[spacing_of] || "";
      return said(Math.hypot(x * spacing[1], y * spacing[0])) + where;
    }
    const inside = ([left, top, right, bottom], [px, py]) => px >= left && px <= right + 1 && py >= top && py <= bottom + 1;
    const region = (regions || []).find((each) => inside(each, from) && inside(each, to));
    if (region) return said(Math.hypot(x * region[4], y * region[5]));
    return `${Math.hypot(x, y).toFixed(1)} pixels`;
  }

  draw() {
    const { box, context, info, picture } = this.stage;
    const last = this.lines[this.lines.length - 1];
    document.getElementById("said-length").textContent = last && picture ? `Length ${this.length(last)}` : "";
    if (!picture || !box) return;
    const at = ([x, y]) => [box.left + (x / info.columns) * box.width, box.top + (y / info.rows) * box.height];
    context.globalCompositeOperation = "source-over";
    context.font = `${13 * box.ratio}px sans-serif`;
    for (const line of this.lines) {
      const [from, to] = [at(line.from), at(line.to)];
      for (const [width, colour] of [[4, "#000"], [1.5, "#ffd60a"]]) {
        context.lineWidth = width * box.ratio;
        context.strokeStyle = colour;
        context.beginPath();
        context.moveTo(...from);
        context.lineTo(...to);
        context.stroke();
      }
      context.lineWidth = 3 * box.ratio;
      context.strokeStyle = "#000";
      context.fillStyle = "#ffd60a";
      const text = [this.length(line), to[0] + 6 * box.ratio, to[1] - 6 * box.ratio];
      context.strokeText(...text);
      context.fillText(...text);
    }
  }
}
