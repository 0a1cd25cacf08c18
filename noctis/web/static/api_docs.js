"use strict";
SwaggerUIBundle({ url: document.getElementById("docs").dataset.url, dom_id: "#docs", validatorUrl: null });
