// The viewer of a series: which image, which window, playing; what is on show is what the address and the fields say.
"use strict";
(async () => {
  const AHEAD = 4; // images that are fetched before they are asked for
  const BEHIND = 2;
  const AHEAD_PLAYING = 10;
  const LARGE = 4 << 20; // pixels; above, pictures come as JPEG
  const PAGE = 1000; // instances of one answer
  const $ = (id) => document.getElementById(id);
  const viewer = $("viewer");
  const stage = new Stage($("stage"), $("canvas"));
  const frames = new Frames();
  const ruler = new Ruler(stage);
  const series = viewer.dataset.series;
  const study_page = viewer.dataset.study;

  const places = []; // every frame of every instance, in order: { instance, frame }
  let at = 0;
  let own = null; // the window chosen by hand or preset, { center, width }, or { table }; null: as sent
  let choice = "sent";
  let shown = {}; // what the server said of the picture on show
  let playing = null;
  let rate_is_own = false;
  let overlays = true; // are to be seen

  function say(text) {
    if ($("message").textContent !== text) $("message").textContent = text;
  }

  function address(place) {
    const { instance, frame } = place;
    const large = (instance.rows || 0) * (instance.columns || 0) > LARGE;
    const query = new URLSearchParams({ v: instance.digest, placeholder: "true" });
    for (const [name, value] of Object.entries(own || {})) query.set(name, value);
    const longest = Math.max(instance.rows || 0, instance.columns || 0);
    const needed = Math.max($("stage").clientWidth, $("stage").clientHeight) * (window.devicePixelRatio || 1) * stage.zoom;
    const size = [1024, 2048, 4096].find((each) => each >= needed && each < longest);
    if (size) query.set("size", size);
    return `${series}/instances/${encodeURIComponent(instance.address)}/frames/${frame}.${large ? "jpg" : "png"}?${query}`;
  }

  function overlay_address({ instance, frame }) {
    return `${series}/instances/${encodeURIComponent(instance.address)}/frames/${frame}/overlays.png?v=${instance.digest}`;
  }

  /** Show the place `at`; ahead of it, fetch what is likely to be next. */
  async function show() {
    const place = places[at];
    tell(place);
    if (place.instance.no_image) {
      frames.want([]);
      ruler.show("");
      stage.show(null, {});
      shown = {};
      say(`${place.instance.no_image}: no picture. Its elements can be looked at, and its file downloaded.`);
      return;
    }
    const here = address(place);
    const found = frames.have(here);
    frames.want([here, ...neighbours().map((each) => address(places[each]))]);
    if (found) {
      put(place, found);
      return;
    }
    const slow = setTimeout(() => places[at] === place && !stage.picture && say("Loading…"), 400);
    try {
      const made = await frames.get(here);
      if (places[at] === place && address(place) === here) put(place, made);
    } catch (error) {
      if (error.name !== "AbortError" && places[at] === place) {
        stage.show(null, {});
        say(`No picture: ${error.message}`);
      }
    } finally {
      clearTimeout(slow);
    }
  }

  function neighbours() {
    const found = [];
    const many = playing ? AHEAD_PLAYING : AHEAD;
    for (let by = 1; by <= many; by++) {
      for (const other of by <= BEHIND && !playing ? [at + by, at - by] : [at + by]) {
        const wrapped = playing ? after(at, by) : other;
        if (wrapped >= 0 && wrapped < places.length && !places[wrapped].instance.no_image) found.push(wrapped);
      }
    }
    return [...new Set(found)];
  }

  function put(place, made) {
    shown = made.info;
    say(made.reason ? `No picture: ${made.reason}` : "");
    ruler.show(`${place.instance.address} ${place.frame}`);
    stage.show(made.picture, made.info);
    lay_over(place);
    if (!rate_is_own && shown.rate) $("rate").value = Math.round(shown.rate * 2) / 2;
    $("window-tools").hidden = shown.grey === false;
    offer(shown);
    if (shown.grey && document.activeElement !== $("center") && document.activeElement !== $("width")) {
      $("center").value = tidy(chosen().center);
      $("width").value = tidy(chosen().width);
    }
    for (const side of ["left", "right", "top", "bottom"]) $(`side-${side}`).textContent = (shown.sides || {})[side] || "";
    tell(place);
  }

  /** The window as it is, or is about to be. */
  const chosen = () => (own && own.width ? own : shown);

  /** The frame's overlays, which come by themselves: no window changes them. */
  async function lay_over(place) {
    $("overlays").hidden = !shown.overlays;
    if (!shown.overlays || !overlays) return;
    const here = overlay_address(place);
    try {
      const made = frames.have(here) || (await frames.get(here));
      if (places[at] === place) stage.lay_over(made.picture);
    } catch (error) {
      if (error.name !== "AbortError" && places[at] === place) say(`No overlays: ${error.message}`);
    }
  }

  const tidy = (value) => Number(value.toPrecision(6));

  /** What the image says of itself, in words. */
  function tell(place) {
    const { instance, frame } = place;
    $("said-image").textContent = `Image ${at + 1} of ${places.length}` + (instance.instance_number ? ` · number ${instance.instance_number}` : "");
    $("said-frame").textContent = instance.frames > 1 ? `Frame ${frame} of ${instance.frames}` : "";
    const window_said = shown.grey ? `C ${tidy(chosen().center)} W ${tidy(chosen().width)} ${shown.unit || ""}` : "";
    $("said-window").textContent = window_said;
    $("canvas").setAttribute("aria-label", `${$("said-image").textContent} ${$("said-frame").textContent} ${window_said}`);
    $("position").value = at + 1;
    $("position").setAttribute("aria-valuetext", `${$("said-image").textContent} ${$("said-frame").textContent}`);
    const uid = encodeURIComponent(instance.address);
    $("elements").href = `${study_page}/instances/${uid}`;
    $("download").href = `${series}/instances/${uid}/file`;
    for (const card of document.querySelectorAll(".viewer-card")) {
      card.classList.toggle("is-current", card.dataset.instance === instance.address);
    }
  }

  /** Windows and VOI LUTs that the instance has beside the first, which is what is sent. */
  function offer({ windows = [], tables = [] }) {
    const select = $("preset");
    const named = (name, { center, width }) => `${name} (${tidy(center)} / ${tidy(width)})`;
    const options = windows.slice(1).map((each, index) => [named(each.name || `As sent, ${index + 2}`, each), `${each.center},${each.width}`]);
    tables.forEach((name, index) => {
      if (index || windows.length) options.push([name || `VOI LUT ${index + 1}`, `table:${index + 1}`]);
    });
    const first = windows.length ? windows[0].name : tables[0];
    const wanted = JSON.stringify([first, options]);
    if (select.dataset.offered === wanted) return;
    select.dataset.offered = wanted;
    for (const option of select.querySelectorAll("[data-sent]")) option.remove();
    select.options[0].text = first ? `As sent: ${first}` : "As sent";
    options.forEach(([text, value], index) => {
      const option = new Option(text, value);
      option.dataset.sent = "";
      select.insertBefore(option, select.options[1 + index]);
    });
    select.value = choice;
  }

  function go(to) {
    const bounded = Math.min(Math.max(to, 0), places.length - 1);
    if (bounded === at && stage.picture) return;
    at = bounded;
    show();
  }

  function choose(window_wanted, name) {
    own = window_wanted;
    choice = name;
    $("preset").value = name;
    show();
  }

  // Playing: through the frames of a multi-frame instance, else through the series; no faster than pictures come.
  function after(from, by) {
    const { instance } = places[from];
    const first = instance.frames > 1 ? from - (places[from].frame - 1) : 0;
    const count = instance.frames > 1 ? instance.frames : places.length;
    return first + ((from - first + by) % count);
  }

  function play(on) {
    if (Boolean(playing) === on) return;
    $("play").setAttribute("aria-pressed", on);
    $("play-name").textContent = on ? "Pause" : "Play";
    if (!on) {
      clearTimeout(playing.timer);
      playing = null;
      return;
    }
    playing = { timer: 0 };
    const mine = playing;
    let due = performance.now();
    const step = async () => {
      const next = after(at, 1);
      if (!places[next].instance.no_image) await frames.get(address(places[next])).catch(() => {});
      if (playing !== mine) return;
      go(next);
      const rate = Math.min(Math.max(Number($("rate").value) || 10, 0.5), 60);
      due = Math.max(due + 1000 / rate, performance.now());
      mine.timer = setTimeout(step, due - performance.now());
    };
    mine.timer = setTimeout(step, 0);
  }

  // Dragging. A window is asked for once the one before has come: the latest counts.
  let asked = false;
  async function soon() {
    if (asked) return;
    asked = true;
    const before = own;
    await show();
    asked = false;
    if (own !== before) soon();
  }

  let rest = 0; // of a drag or wheel that is no whole image yet
  const tool = () => document.querySelector("input[name=drag]:checked").value;
  stage.listen({
    dragged(dx, dy, event) {
      const what = event.buttons === 4 || event.shiftKey ? "pan" : event.buttons === 2 ? "zoom" : tool();
      if (what === "pan") return stage.move_by(dx, dy);
      if (what === "zoom") return stage.zoom_by(Math.exp(-dy / 150));
      if (what === "measure") return ruler.drag(event, dx, dy);
      if (what === "scroll") {
        rest += dy / 6;
        go(at + Math.trunc(rest));
        rest -= Math.trunc(rest);
        return undefined;
      }
      if (!shown.grey) return undefined;
      const from = chosen();
      const per_pixel = Math.max((shown.high - shown.low) / 1000, from.width / 400, 1e-6);
      own = { center: tidy(from.center + dy * per_pixel), width: Math.max(tidy(from.width + dx * per_pixel), per_pixel) };
      choice = $("preset").value = "own";
      $("center").value = own.center;
      $("width").value = own.width;
      return soon();
    },
    ended() {
      rest = 0;
      ruler.end();
      show();
    },
    wheeled(delta) {
      rest += Math.abs(delta) >= 50 ? Math.sign(delta) : delta / 50;
      go(at + Math.trunc(rest));
      rest -= Math.trunc(rest);
    },
  });

  const keys = {
    ArrowDown: () => go(at + 1), ArrowRight: () => go(at + 1), ArrowUp: () => go(at - 1), ArrowLeft: () => go(at - 1),
    PageDown: () => go(at + 10), PageUp: () => go(at - 10), Home: () => go(0), End: () => go(places.length - 1),
    " ": () => play(!playing), "+": () => stage.zoom_by(1.25), "=": () => stage.zoom_by(1.25), "-": () => stage.zoom_by(0.8),
    f: () => stage.fit(), i: () => invert(), o: () => switch_overlays(), r: () => reset(),
    m: () => $("drag-measure").click(), w: () => $("drag-window").click(),
  };
  $("stage").addEventListener("keydown", (event) => {
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  if (document.activeElement === document.body) $("stage").focus({ preventScroll: true }); // its keys work at once

  function invert() {
    stage.inverted = !stage.inverted;
    $("invert").setAttribute("aria-pressed", stage.inverted);
    stage.draw();
  }

  function switch_overlays() {
    overlays = !overlays;
    $("overlays").setAttribute("aria-pressed", overlays);
    if (overlays) lay_over(places[at]);
    else stage.lay_over(null);
  }

  function reset() {
    if (stage.inverted) invert();
    stage.fit();
    ruler.clear();
    choose(null, "sent");
  }

  $("stage").addEventListener("drawn", () => {
    $("said-zoom").textContent = `Zoom ${Math.round(stage.scale() * 100)} %`;
  });
  $("before").addEventListener("click", () => go(at - 1));
  $("next").addEventListener("click", () => go(at + 1));
  $("position").addEventListener("input", () => go(Number($("position").value) - 1));
  $("play").addEventListener("click", () => play(!playing));
  $("rate").addEventListener("input", () => { rate_is_own = true; });
  $("zoom-in").addEventListener("click", () => { stage.zoom_by(1.25); show(); });
  $("zoom-out").addEventListener("click", () => stage.zoom_by(0.8));
  $("fit").addEventListener("click", () => stage.fit());
  $("invert").addEventListener("click", invert);
  $("overlays").addEventListener("click", switch_overlays);
  $("reset").addEventListener("click", reset);
  $("labels").addEventListener("click", () => {
    const off = $("stage").classList.toggle("no-labels");
    $("labels").setAttribute("aria-pressed", !off);
  });
  for (const id of ["center", "width"]) {
    $(id).addEventListener("change", () => {
      const center = Number($("center").value);
      const width = Number($("width").value);
      if (Number.isFinite(center) && width > 0) choose({ center, width }, "own");
    });
  }
  $("preset").addEventListener("change", () => {
    const name = $("preset").value;
    if (name === "sent") return choose(null, name);
    if (name === "all") return choose({ center: (shown.low + shown.high) / 2, width: Math.max(shown.high - shown.low, 1) }, name);
    if (name.startsWith("table:")) return choose({ table: Number(name.slice(6)) }, name);
    const [center, width] = name.split(",").map(Number);
    return choose({ center, width }, name);
  });
  $("grid").addEventListener("click", (event) => {
    const link = event.target.closest(".viewer-go");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const uid = link.closest(".viewer-card").dataset.instance;
    const index = places.findIndex((each) => each.instance.address === uid);
    if (index < 0 || places[index].instance.no_image) return; // on to its elements
    event.preventDefault();
    go(index);
    $("stage").focus({ preventScroll: true });
    viewer.scrollIntoView({ block: "nearest" });
  });

  async function list() {
    for (let offset = 0; ; offset += PAGE) {
      const answer = await fetch(`${series}/instances?offset=${offset}&limit=${PAGE}`);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const found = await answer.json();
      for (const instance of found.instances) {
        for (let frame = 1; frame <= instance.frames; frame++) places.push({ instance, frame });
      }
      $("position").max = places.length;
      if (!offset && places.length) {
        const first = places.findIndex((each) => !each.instance.no_image);
        go(Math.max(first, 0));
      }
      if (offset + PAGE >= found.total) return;
    }
  }

  try {
    await list();
    if (places.length) tell(places[at]);
    for (const id of ["before", "next", "play", "position"]) $(id).disabled = places.length < 2;
  } catch (error) {
    say(`The list of images did not come: ${error.message}`);
  }
})();
