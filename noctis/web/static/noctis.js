// What the pages do in the browser beside htmx: the theme, copying, asking before what cannot be undone.
"use strict";

document.addEventListener("click", (event) => {
  const theme = event.target.closest("#theme");
  if (theme) {
    const root = document.documentElement;
    root.dataset.bsTheme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.bsTheme);
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    copied(copy.dataset.copy).then(() => toast("Copied."), () => toast("The browser does not allow copying."));
  }
});

// Browsers give no clipboard to pages that came by HTTP from elsewhere: there the old way has to do.
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not copied");
}

// What a page asks for by itself keeps no session alive: it says when nobody has touched it for a while.
const IDLE_MS = 60000;
let touched = Date.now();
for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
  addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
}
document.addEventListener("htmx:config:request", (event) => {
  if (Date.now() - touched > IDLE_MS) event.detail.ctx.request.headers["Noctis-Idle"] = "1";
});

// A form with data-confirm asks first.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) {
    event.preventDefault();
    event.stopPropagation();
  }
}, true);

function toast(text) {
  const box = document.createElement("div");
  box.className = "toast show";
  const body = document.createElement("div");
  body.className = "toast-body";
  body.textContent = text;
  box.append(body);
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), 4000);
}
