// Printing; the chart of a facility's last hour.
"use strict";

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});

// A canvas takes no variable of CSS: the place of the chart has them as colours of its own (noctis.css).
function colours(place) {
  const { color: text, outlineColor: grid, caretColor: line } = getComputedStyle(place);
  return { text, grid, line };
}

// The last hour of one facility: minutes as the server has them, again every five seconds.
async function chart(place) {
  let plot = null;
  async function draw() {
    const answer = await fetch(place.dataset.chart, { headers: { "Noctis-Idle": "1" } }); // keeps no session alive
    if (!answer.ok) return;
    const told = await answer.json();
    const data = [told.minutes.map((_, index) => told.last_minute - 60 * (told.minutes.length - 1 - index)), told.minutes];
    if (plot) {
      plot.setData(data);
      return;
    }
    const { text, grid, line } = colours(place);
    const axis = () => ({ stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } });
    const clock = (_, times) => times.map((each) => new Date(each * 1000).toTimeString().slice(0, 5));
    plot = new uPlot({
      width: place.clientWidth, height: 180, legend: { show: false }, cursor: { show: false },
      scales: { y: { range: (_, least, most) => [0, Math.max(1, most)] } },
      axes: [{ ...axis(), values: clock }, { ...axis(), size: 60, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000, 50000] }],
      series: [{}, { stroke: line, width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
    }, data, place);
    addEventListener("resize", () => plot.setSize({ width: place.clientWidth, height: 180 }));
  }
  await draw();
  setInterval(() => draw().catch(() => {}), 5000);
}
document.querySelectorAll("[data-chart]").forEach((place) => { chart(place).catch(() => {}); });
