// Thumbnails: asked for again when the server was busy; one that stands for no picture says why to who cannot see it.
"use strict";
(() => {
  const TRIES = 6;
  const PLACEHOLDER_WIDTH = 161; // pixels; a picture is no wider than 160

  function failed(image) {
    const tries = Number(image.dataset.tries || 0) + 1;
    image.dataset.tries = tries;
    if (tries > TRIES) return;
    setTimeout(() => {
      const address = new URL(image.src);
      address.searchParams.set("try", tries);
      image.src = address;
    }, 1000 * tries);
  }

  async function loaded(image) {
    if (image.naturalWidth !== PLACEHOLDER_WIDTH || image.dataset.reason) return;
    const answer = await fetch(image.src, { cache: "force-cache" });
    image.dataset.reason = decodeURIComponent(answer.headers.get("Noctis-Reason") || "");
    image.alt = (image.alt ? `${image.alt}: ` : "") + image.dataset.reason;
  }

  const ours = (event) => event.target instanceof HTMLImageElement && "thumbnail" in event.target.dataset;
  document.addEventListener("error", (event) => ours(event) && failed(event.target), true);
  document.addEventListener("load", (event) => ours(event) && loaded(event.target), true);
  for (const image of document.querySelectorAll("img[data-thumbnail]")) {
    if (image.complete && image.src) image.naturalWidth ? loaded(image) : failed(image);
  }
})();
