// Lists of lines that can be chosen: one box chooses all; while something is chosen the list is not asked for again.
"use strict";

document.addEventListener("change", (event) => {
  const all = event.target.closest("[data-all]");
  if (all) {
    for (const each of all.closest("form").querySelectorAll(`input[name="${all.dataset.all}"]`)) each.checked = all.checked;
  }
});

document.addEventListener("htmx:before:request", (event) => {
  const live = event.target.closest?.("[data-live]");
  if (live?.querySelector("input[type=checkbox]:checked, dialog[open]")) event.preventDefault();
});
