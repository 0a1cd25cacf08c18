// Sequences fold: the rows below one that are deeper than it are hidden with it.
"use strict";
document.addEventListener("click", (event) => {
  const button = event.target.closest(".viewer-fold");
  if (!button) return;
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", open);
  const row = button.closest("tr");
  const depth = Number(row.dataset.depth);
  let closed = Infinity; // the depth of a sequence inside that is folded itself
  for (let next = row.nextElementSibling; next && Number(next.dataset.depth) > depth; next = next.nextElementSibling) {
    const at = Number(next.dataset.depth);
    if (at <= closed) closed = Infinity;
    next.hidden = !open || at > closed;
    const inner = next.querySelector(".viewer-fold");
    if (closed === Infinity && inner && inner.getAttribute("aria-expanded") === "false") closed = at;
  }
});
