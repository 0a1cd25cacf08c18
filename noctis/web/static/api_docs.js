// Swagger UI, with what it does not do by itself: light always (see api_docs.css), headings in order, landmarks, a
// dialog "Authorize" that says what it is and closes with Escape.
"use strict";
const root = document.documentElement;
new MutationObserver(() => root.classList.remove("dark-mode")).observe(root, { attributes: true, attributeFilter: ["class"] });
new MutationObserver(() => {
  for (const each of document.querySelectorAll("h3.opblock-tag:not([aria-level])")) {
    each.setAttribute("role", "heading");
    each.setAttribute("aria-level", "2");
  }
  const about = document.querySelector(".information-container:not([role])");
  if (about) {
    about.setAttribute("role", "region");
    about.setAttribute("aria-label", "About this API");
  }
  const dialog = document.querySelector(".modal-ux:not([role])");
  if (dialog) {
    dialog.setAttribute("role", "dialog");
    dialog.setAttribute("aria-modal", "true");
    dialog.setAttribute("aria-label", "Authorize");
    dialog.querySelector(".close-modal").setAttribute("aria-label", "Close");
  }
  for (const [kind, level] of [["h3", "2"], ["h4", "3"], ["h6", "4"]]) {
    for (const each of document.querySelectorAll(`.modal-ux ${kind}:not([aria-level])`)) {
      each.setAttribute("role", "heading");
      each.setAttribute("aria-level", level);
    }
  }
  for (const each of document.querySelectorAll(".modal-ux .auth[aria-label]")) each.removeAttribute("aria-label");
  document.getElementById("auth-bearer-value")?.setAttribute("aria-label", "Token");
}).observe(document.body, { childList: true, subtree: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".modal-ux .close-modal")?.click();
});
SwaggerUIBundle({ url: document.getElementById("docs").dataset.url, dom_id: "#docs", validatorUrl: null, defaultModelsExpandDepth: -1 });
