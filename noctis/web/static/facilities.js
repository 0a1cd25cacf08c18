// Live parts say when they are not live any more; the chart of a facility's last hour.
"use strict";

const STALE_MS = 10000; // without an answer to what is asked every two seconds

let answered = Date.now();
document.addEventListener("htmx:after:swap", () => { answered = Date.now(); });
setInterval(() => {
  for (const part of document.querySelectorAll("[data-live]")) {
    part.classList.toggle("stale", Date.now() - answered > STALE_MS);
  }
}, 1000);
