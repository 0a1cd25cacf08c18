// Swagger UI, with what it does not do by itself: light always (see api_docs.css), headings in order, landmarks.
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
}).observe(document.body, { childList: true, subtree: true });
SwaggerUIBundle({ url: document.getElementById("docs").dataset.url, dom_id: "#docs", validatorUrl: null, defaultModelsExpandDepth: -1 });
