"use strict";
// Swagger UI goes dark by itself; see api_docs.css.
const root = document.documentElement;
new MutationObserver(() => root.classList.remove("dark-mode")).observe(root, { attributes: true, attributeFilter: ["class"] });
SwaggerUIBundle({ url: document.getElementById("docs").dataset.url, dom_id: "#docs", validatorUrl: null });
