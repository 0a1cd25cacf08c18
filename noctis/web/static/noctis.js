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

// While no answer comes, the page says so and from when it is; it goes on by itself once there is one.
const PATIENCE_MS = 8000; // for which an answer is waited for
const LIVE = "[hx-trigger*='every ']"; // parts that are asked for again and again
let waiting = 0; // since when an answer is waited for; 0: for none
let trouble = ""; // what the last request came to; "": to an answer
let answered = Date.now();
document.addEventListener("htmx:before:request", () => { waiting ||= Date.now(); });
document.addEventListener("htmx:finally:request", () => { waiting = 0; });
document.addEventListener("htmx:after:request", (event) => {
  const { response, sourceElement } = event.detail.ctx;
  trouble = "";
  if (response.status >= 500) trouble = "Noctis cannot look at this moment.";
  else if (response.status >= 400 && sourceElement?.matches(LIVE)) trouble = "What this page shows is not there any more.";
  else answered = Date.now();
  away();
});
document.addEventListener("htmx:error", () => {
  if (waiting) trouble = "Noctis does not answer.";
  away();
});
setInterval(away, 1000);

function away() {
  const late = waiting !== 0 && Date.now() - waiting > PATIENCE_MS;
  const said = trouble || (late ? "Noctis does not answer." : "");
  for (const part of document.querySelectorAll(LIVE)) part.classList.toggle("stale", said !== "");
  const bar = document.getElementById("away");
  if (bar.hidden === (said === "") && bar.dataset.said === said) return;
  bar.hidden = said === "";
  bar.dataset.said = said;
  const when = new Date(answered).toTimeString().slice(0, 8);
  bar.textContent = said && `${said} This is how it was at ${when}. The page goes on by itself.`;
}

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
