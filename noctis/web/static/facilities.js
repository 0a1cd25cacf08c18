// Live parts say when they are not live any more; the chart of a facility's last hour.
"use strict";

const STALE_MS = 10000; // without an answer to what is asked every two seconds

let answered = Date.now();
document.addEventListener("htmx:after:swap", () => { answered = Date.now(); });
setInterval(() => {
  for (const part of document.querySelectorAll("[data-live]")) {
    part.classList.toggle("stale", Date.now() - answered > (Number(part.dataset.live) || STALE_MS));
  }
}, 1000);

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The last hour of one facility: minutes as the server has them, again every five seconds.
async function chart(place) {
  let plot = null;
  async function draw() {
    const answer = await fetch(place.dataset.chart);
    if (!answer.ok) return;
    const told = await answer.json();
    const data = [told.minutes.map((_, index) => told.last_minute - 60 * (told.minutes.length - 1 - index)), told.minutes];
    if (plot) {
      plot.setData(data);
      return;
    }
    const axis = { stroke: colour("--tblr-body-color"), grid: { stroke: colour("--tblr-border-color") } };
    plot = new uPlot({
      width: place.clientWidth, height: 180, legend: { show: false }, cursor: { show: false },
      scales: { y: { range: (_, least, most) => [0, Math.max(1, most)] } },
      axes: [{ ...axis }, { ...axis, size: 60 }],
      series: [{}, { stroke: colour("--tblr-primary"), width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
    }, data, place);
    addEventListener("resize", () => plot.setSize({ width: place.clientWidth, height: 180 }));
  }
  await draw();
  setInterval(() => draw().catch(() => {}), 5000);
}
document.querySelectorAll("[data-chart]").forEach((place) => { chart(place).catch(() => {}); });
