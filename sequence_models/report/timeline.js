"use strict";
// Draws the timeline and follows mouse, touch and keyboard. Reads recordings through Timeline (timeline_data.js) and shows
// frames through Pictures (timeline_pictures.js), which stand before it in the same script.
(() => {
  const { data, UNLABELLED, ABSENT, NO_FRAME, COARSER, opened, lastAt, labelAt, columnsOf, nameOf, timeText } = Timeline;
  const byId = (id) => document.getElementById(id);
  const view = byId("view"), readout = byId("readout");
  const GUTTER = 76, STRIP = 22, WRONG = 8, PROBABILITY = 44, AXIS = 20, MAP = 12, GAP = 5;
  const MOST_BOUTS = 100, LEAST_STEPS = 4, QUIET = 120;
  const PRINT = { ink: "#000", muted: "#505050", line: "#ddd", accent: "#1a56b0", warm: "#b53c0a" };
  let theme, chosen = 0, from = 0, to = 1, cursor = null, drawing = false, listing = 0;

  // ---- drawing ----

  function readTheme() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(Object.keys(PRINT).map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  function prepared(canvas, height) {
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.textBaseline = "middle";
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return { pen, width, scale };
  }

  function fillOf(pen, label) {
    if (label === ABSENT) return theme.line;
    if (label !== UNLABELLED) return data.colours[label];
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const inside = tile.getContext("2d");
    inside.strokeStyle = theme.muted;
    inside.beginPath(); inside.moveTo(0, 6); inside.lineTo(6, 0); inside.stroke();
    return pen.createPattern(tile, "repeat");
  }

  function inkOn(colour) {
    const [red, green, blue] = [1, 3, 5].map((k) => (parseInt(colour.slice(k, k + 2), 16) / 255) ** 2.2);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
  }

  function drawStrip(place, recording, runs, options) {
    const { pen, left, width, scale } = place, { top, height, colour, named } = options;
    const count = Math.max(1, Math.round(width * scale));
    const labels = columnsOf(recording, runs, options.start, options.end, count);
    for (let column = 0; column < count;) {
      let next = column + 1;
      while (next < count && labels[next] === labels[column]) next++;
      const label = labels[column], x = left + column / scale, wide = (next - column) / scale;
      if (label !== NO_FRAME) {
        pen.fillStyle = colour || fillOf(pen, label);
        pen.fillRect(x, top, wide, height);
        if (named && label >= 0 && wide > 16 && pen.measureText(data.classes[label]).width + 8 < wide) {
          pen.fillStyle = inkOn(data.colours[label]);
          pen.fillText(data.classes[label], x + 4, top + height / 2);
        }
      }
      column = next;
    }
    return count;
  }

  function drawProbability(place, recording, top) {
    const { pen, left, width, scale } = place, count = Math.round(width * scale), zoom = count / (to - from);
    const low = new Float64Array(count).fill(2), high = new Float64Array(count).fill(-1);
    const steps = recording.starts.length, seen = lastAt(recording.starts, to) - lastAt(recording.starts, from);
    let level = 0, size = data.every;  // timesteps of one value
    for (; level + 1 < recording.levels.length && seen / (size * COARSER) > count; level++) size *= COARSER;
    const values = recording.levels[level];
    for (let k = Math.floor(lastAt(recording.starts, from) / size); k < values.low.length; k++) {
      if (recording.starts[k * size] >= to) break;
      const first = Math.max(0, Math.floor((recording.starts[k * size] - from) * zoom));
      const last = Math.min(count, Math.ceil((recording.ends[Math.min((k + 1) * size, steps) - 1] - from) * zoom));
      for (let column = first; column < last; column++) {
        low[column] = Math.min(low[column], values.low[k] / 255);
        high[column] = Math.max(high[column], values.high[k] / 255);
      }
    }
    pen.fillStyle = theme.line;
    for (const level of [0, 0.5, 1]) pen.fillRect(left, top + (1 - level) * PROBABILITY, width, 1);
    pen.fillStyle = theme.accent;
    for (let column = 0; column < count; column++) {
      if (high[column] < 0) continue;
      const tall = Math.max(1.5, (high[column] - low[column]) * PROBABILITY);
      pen.fillRect(left + column / scale, top + (1 - high[column]) * PROBABILITY, 1 / scale, tall);
    }
  }

  function drawAxis({ pen, left, width }, top) {
    const wanted = ((to - from) / width) * 90, power = 10 ** Math.floor(Math.log10(wanted));
    const tick = [1, 2, 5, 10].map((k) => k * power).find((size) => size >= wanted);
    const digits = Math.max(0, -Math.floor(Math.log10(tick) + 1e-9));
    pen.fillStyle = theme.muted;
    for (let k = Math.ceil(from / tick); k * tick <= to; k++) {
      const x = left + ((k * tick - from) / (to - from)) * width, text = timeText(k * tick, digits);
      pen.fillRect(x, top, 1, 4);
      const wide = pen.measureText(text).width;
      pen.fillText(text, Math.min(Math.max(x - wide / 2, left), left + width - wide), top + 13);
    }
  }

  function drawSteps({ pen, left, width }, recording, top, height) {
    const first = lastAt(recording.starts, from), last = lastAt(recording.starts, to);
    if (width / (last - first + 1) < 6) return;
    pen.fillStyle = theme.muted;
    for (let step = first; step <= last; step++) {
      const x = ((recording.starts[step] - from) / (to - from)) * width;
      if (x >= 0) pen.fillRect(left + x, top, 0.5, height);
    }
  }

  function drawView() {
    drawing = false;
    if (view.clientWidth <= GUTTER) return;
    const recording = opened(chosen), named = data.multi_label ? 16 : 0, shows = !data.multi_label;
    const lane = named + 2 * (STRIP + 2) + WRONG + GAP;
    const bottom = recording.lanes.length * lane + (shows ? PROBABILITY + 2 * GAP : 0);
    const { pen, width, scale } = prepared(view, bottom + AXIS + MAP + GAP);
    const place = { pen, left: GUTTER, width: width - GUTTER, scale };
    let columns = 0;
    recording.lanes.forEach((each, number) => {
      const top = number * lane + named, options = { start: from, end: to, height: STRIP, named: true };
      pen.fillStyle = theme.muted;
      if (named) pen.fillText(each.name, GUTTER, top - 8);
      pen.fillText("truth", 0, top + STRIP / 2);
      pen.fillText("prediction", 0, top + STRIP * 1.5 + 2);
      columns = drawStrip(place, recording, each.truth, { ...options, top });
      drawStrip(place, recording, each.predicted, { ...options, top: top + STRIP + 2 });
      drawStrip(place, recording, each.wrong, { ...options, top: top + 2 * STRIP + 4, height: WRONG, colour: theme.warm, named: false });
      drawSteps(place, recording, top, 2 * STRIP + 4 + WRONG);
    });
    if (shows) {
      pen.fillStyle = theme.muted;
      pen.fillText("probability", 0, bottom - PROBABILITY / 2 - GAP);
      drawProbability(place, recording, bottom - PROBABILITY - GAP);
    }
    drawAxis(place, bottom);
    const mapped = { start: recording.first, end: recording.last, top: bottom + AXIS, height: MAP, colour: theme.warm };
    pen.fillStyle = theme.line;
    pen.fillRect(GUTTER, mapped.top, place.width, MAP);
    drawStrip(place, recording, recording.wrong, mapped);
    const whole = place.width / (recording.last - recording.first);
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 2;
    pen.strokeRect(GUTTER + (from - recording.first) * whole + 1, mapped.top + 1, Math.max(3, (to - from) * whole - 2), MAP - 2);
    if (cursor !== null && cursor >= from && cursor <= to) {
      pen.fillStyle = theme.ink;
      pen.fillRect(GUTTER + ((cursor - from) / (to - from)) * place.width, 0, 1, bottom);
    }
    const at = cursor !== null && cursor >= from && cursor <= to ? cursor : (from + to) / 2;
    Pictures.show(recording, at, GUTTER + ((at - from) / (to - from)) * place.width, width);
    Object.assign(view.dataset, { from, to, chosen, columns, cursor: cursor ?? "" });
  }

  function redraw() {
    clearTimeout(listing);
    listing = setTimeout(listBouts, QUIET);
    if (!drawing) { drawing = true; requestAnimationFrame(() => { drawView(); tell(); }); }
  }

  // ---- words ----

  function tell() {
    const recording = opened(chosen), at = cursor ?? (from + to) / 2, step = lastAt(recording.starts, at);
    const parts = recording.lanes.map((lane) => {
      const truth = labelAt(lane.truth, step), predicted = labelAt(lane.predicted, step);
      const mark = truth === UNLABELLED ? "" : truth === predicted ? " ✓" : " ✗";
      return `truth ${nameOf(lane, truth)}, prediction ${nameOf(lane, predicted)}${mark}`;
    });
    const k = Math.floor(step / data.every) * data.classes.length;
    const shares = Array.from(recording.shares.subarray(k, k + data.classes.length), (share, number) => [share / 255, number]);
    const best = shares.sort((a, b) => b[0] - a[0]).slice(0, 3).map(([share, number]) => `${data.classes[number]} ${share.toFixed(2)}`);
    const text = at > recording.ends[step] ? "no frames" : `${parts.join("; ")}. Probabilities: ${best.join(", ")}`;
    readout.textContent = `${timeText(at)} · timestep ${step + 1} of ${recording.starts.length} · ${text}`;
  }

  const element = (tag, text, properties = {}) => Object.assign(document.createElement(tag), text === null ? {} : { textContent: text }, properties);

  function isolated(text) { return element("bdi", text); }

  function boutsInView(recording) {
    const found = [];
    let count = 0;
    for (const lane of recording.lanes) {
      const { starts, stops, labels } = lane.predicted, most = found.length + MOST_BOUTS;
      for (let r = lastAt(starts, lastAt(recording.starts, from)); r < starts.length && recording.starts[starts[r]] < to; r++) {
        if (labels[r] < 0) continue;
        count++;
        if (found.length >= most) continue;
        const share = new Map();
        for (let t = lastAt(lane.truth.starts, starts[r]); t < lane.truth.starts.length && lane.truth.starts[t] < stops[r]; t++) {
          const steps = Math.min(lane.truth.stops[t], stops[r]) - Math.max(lane.truth.starts[t], starts[r]);
          share.set(lane.truth.labels[t], (share.get(lane.truth.labels[t]) || 0) + steps);
        }
        const [[truth]] = [...share].sort((a, b) => b[1] - a[1]);
        const known = stops[r] - starts[r] - (share.get(UNLABELLED) || 0);
        const right = known ? (share.get(labels[r]) || 0) / known : null;
        found.push({ start: recording.starts[starts[r]], end: recording.ends[stops[r] - 1], lane, label: labels[r], truth, right });
      }
    }
    return { found: found.sort((a, b) => a.start - b.start), count };
  }

  function listBouts() {
    const { found, count } = boutsInView(opened(chosen)), table = element("table", null), head = element("tr", null), body = element("tbody", null);
    for (const title of ["from", "lasts", "prediction", "mostly in truth", "right"]) head.append(element("th", title));
    for (const bout of found.slice(0, MOST_BOUTS)) {
      const row = element("tr", null), time = element("td", null, { className: "time" }), jump = element("button", timeText(bout.start), { type: "button" });
      jump.addEventListener("click", () => show(bout.start, bout.end));
      time.append(jump);
      row.append(time, element("td", timeText(bout.end - bout.start), { className: "time" }));
      for (const label of [bout.label, bout.truth]) {
        const cell = element("td", null);
        cell.append(isolated(nameOf(bout.lane, label)));
        row.append(cell);
      }
      row.append(element("td", bout.right === null ? "–" : bout.right.toFixed(2), { className: bout.right < 0.5 ? "wrong-mark" : "" }));
      body.append(row);
    }
    const header = element("thead", null);
    header.append(head);
    table.append(header, body);
    const more = count > MOST_BOUTS ? `, the first ${MOST_BOUTS}` : "";
    byId("bouts").replaceChildren(element("p", `${count.toLocaleString("en")} bout${count === 1 ? "" : "s"} in view${more}`, { className: "note" }), table);
  }

  // ---- moving ----

  function setView(start, end) {
    const recording = opened(chosen), whole = recording.last - recording.first;
    const wide = Math.min(whole, Math.max(end - start, LEAST_STEPS * recording.step));
    const middle = (start + end) / 2;
    from = Math.min(Math.max(middle - wide / 2, recording.first), recording.last - wide);
    to = from + wide;
    redraw();
  }

  const zoom = (factor, at = cursor !== null && cursor >= from && cursor <= to ? cursor : (from + to) / 2) =>
    setView(at - (at - from) * factor, at + (to - at) * factor);
  const pan = (share) => { cursor = null; setView(from + share * (to - from), to + share * (to - from)); };
  const timeAt = (x) => from + ((x - GUTTER) / (view.clientWidth - GUTTER)) * (to - from);

  function choose(number) {
    chosen = (number + data.recordings.length) % data.recordings.length;
    const recording = opened(chosen);
    cursor = null;
    byId("chosen").textContent = recording.id;
    [...byId("recordings").querySelectorAll("button")].forEach((button, k) => button.setAttribute("aria-pressed", String(k === chosen)));
    setView(recording.first, recording.last);
  }

  function show(start, end) {
    const wide = Math.max(6 * (end - start), 40 * opened(chosen).step), middle = (start + end) / 2;
    cursor = start;
    setView(middle - wide / 2, middle + wide / 2);
  }

  // To the next (+1) or previous (-1) disagreement; after the last one of a recording, on in the next recording.
  function jump(way) {
    const recording = opened(chosen), times = recording.wrong.starts.map((step) => recording.starts[step]);
    const at = cursor ?? (way > 0 ? from : to), slack = recording.step / 4;
    let k = way > 0 ? times.findIndex((time) => time > at + slack) : times.findLastIndex((time) => time < at - slack);
    if (cursor === null && way > 0 && times[0] >= from && times[0] <= from + slack) k = 0;
    for (let tried = 0; k < 0 && tried < data.recordings.length; tried++) {
      choose(chosen + way);
      const { length } = opened(chosen).wrong.starts;
      k = length ? (way > 0 ? 0 : length - 1) : -1;
    }
    if (k < 0) { readout.textContent = "There is no disagreement."; return; }
    const found = opened(chosen), { starts, stops } = found.wrong;
    show(found.starts[starts[k]], found.ends[stops[k] - 1]);
  }

  // ---- what people do ----

  const KEYS = {
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
    0: () => choose(chosen), n: () => jump(1), p: () => jump(-1), ArrowUp: () => choose(chosen - 1), ArrowDown: () => choose(chosen + 1),
  };
  view.addEventListener("keydown", (event) => {
    const act = KEYS[event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { act(); event.preventDefault(); }
  });
  for (const [id, act] of [["next", () => jump(1)], ["previous", () => jump(-1)], ["in", () => zoom(0.5)], ["out", () => zoom(2)], ["whole", () => choose(chosen)]])
    byId(id).addEventListener("click", act);

  view.addEventListener("wheel", (event) => {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!sideways && !event.ctrlKey && document.activeElement !== view) return;
    event.preventDefault();
    if (sideways) pan(event.deltaX / view.clientWidth);
    else zoom(2 ** (Math.max(-100, Math.min(100, event.deltaY)) / 150), timeAt(event.offsetX));
  }, { passive: false });

  const pointers = new Map();
  view.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event.offsetX);
    view.setPointerCapture(event.pointerId);
    cursor = timeAt(event.offsetX);
    redraw();
  });
  view.addEventListener("pointermove", (event) => {
    const before = [...pointers.values()];
    if (!pointers.has(event.pointerId)) {
      cursor = Math.min(to, Math.max(from, timeAt(event.offsetX)));
      redraw();
      return;
    }
    const fixed = timeAt(pointers.get(event.pointerId));
    pointers.set(event.pointerId, event.offsetX);
    const after = [...pointers.values()];
    if (after.length === 1) {
      const moved = fixed - timeAt(event.offsetX);
      setView(from + moved, to + moved);
    } else if (after.length === 2) {
      const apart = Math.max(8, Math.abs(after[0] - after[1])), was = Math.max(8, Math.abs(before[0] - before[1]));
      zoom(was / apart, timeAt((after[0] + after[1]) / 2));
    }
  });
  for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, (event) => pointers.delete(event.pointerId));

  // ---- the list of recordings ----

  function drawRow(canvas) {
    const recording = opened(Number(canvas.dataset.number)), { pen, width, scale } = prepared(canvas, 26);
    const place = { pen, left: 0, width, scale }, ends = { start: recording.first, end: recording.last };
    if (data.multi_label) {
      drawStrip(place, recording, recording.wrong, { ...ends, top: 8, height: 10, colour: theme.warm });
      return;
    }
    drawStrip(place, recording, recording.lanes[0].truth, { ...ends, top: 0, height: 9 });
    drawStrip(place, recording, recording.lanes[0].predicted, { ...ends, top: 10, height: 9 });
    drawStrip(place, recording, recording.wrong, { ...ends, top: 21, height: 5, colour: theme.warm });
  }

  document.querySelectorAll("a[data-recording]").forEach((link) => link.addEventListener("click", () => {
    const number = data.recordings.findIndex((recording) => recording.id === link.dataset.recording);
    if (number < 0) return;
    choose(number);
    show(Number(link.dataset.from), Number(link.dataset.to));
  }));
  const rows = [];
  const watched = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    target.dataset.drawn = isIntersecting ? "yes" : "";
    if (isIntersecting) drawRow(target); else target.width = 0;
  }));
  data.recordings.forEach((recording, number) => {
    const item = element("li", null), button = element("button", null, { type: "button" }), line = element("span", null, { className: "line" });
    const canvas = element("canvas", null);
    canvas.dataset.number = number;
    line.append(isolated(recording.id), element("span", recording.right === null ? "no label" : `${recording.right.toFixed(2)} right`, { className: "muted" }));
    button.append(line, canvas);
    button.addEventListener("click", () => choose(number));
    item.append(button);
    byId("recordings").append(item);
    rows.push(canvas);
    watched.observe(canvas);
  });
  data.classes.forEach((name, k) => {
    const item = element("li", null), patch = element("i", null);
    patch.style.background = data.colours[k];
    item.append(patch, isolated(name));
    byId("legend").append(item);
  });

  function repaint(colours) {
    theme = colours;
    drawView();
    rows.filter((canvas) => canvas.dataset.drawn || colours === PRINT).forEach(drawRow);
  }
  theme = readTheme();
  choose(0);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => repaint(readTheme()));
  addEventListener("resize", () => repaint(readTheme()));
  addEventListener("beforeprint", () => repaint(PRINT));
  addEventListener("afterprint", () => repaint(readTheme()));
})();
